//! JSON as Go's decoders turn it into values: all numbers are doubles, of equal keys the last one counts.

use otelcore_pdata::{MAX_NESTING, Value as Tree};

use crate::entries::Entries;

/// Parses a text that is one JSON value.
///
/// # Errors
/// It is not JSON, a number is too large, or it is nested more than [`MAX_NESTING`] deep.
pub fn parse(text: &[u8]) -> Result<Tree, String> {
    let mut parser = Parser { text, at: 0, keeps_integers: false };
    parser.skip_space();
    let value = parser.value(MAX_NESTING)?;
    parser.end()?;
    Ok(value)
}

/// Parses the first JSON value of a text. A number that is an integer of 64 bits is one in the result.
///
/// # Errors
/// As for [`parse`]; what is behind the value is no error.
pub fn parse_first_with_integers(text: &[u8]) -> Result<Tree, String> {
    let mut parser = Parser { text, at: 0, keeps_integers: true };
    parser.skip_space();
    parser.value(MAX_NESTING)
}

/// An element of an array, and its text.
pub type ElementText<'t> = (Tree, &'t [u8]);

/// Parses a text that is a JSON array, and gives each element with its text. `None` for another value.
///
/// # Errors
/// As for [`parse`].
pub fn parse_array(text: &[u8]) -> Result<Option<Vec<ElementText<'_>>>, String> {
    let mut parser = Parser { text, at: 0, keeps_integers: true };
    parser.skip_space();
    if parser.peek() != Some(b'[') {
        parser.value(MAX_NESTING)?;
        parser.end()?;
        return Ok(None);
    }
    parser.at += 1;
    let mut elements = Vec::new();
    parser.skip_space();
    if parser.peek() == Some(b']') {
        parser.at += 1;
        parser.end()?;
        return Ok(Some(elements));
    }
    loop {
        parser.skip_space();
        let start = parser.at;
        let element = parser.value(MAX_NESTING)?;
        elements.push((element, text.get(start..parser.at).unwrap_or_default()));
        parser.skip_space();
        match parser.peek() {
            Some(b',') => parser.at += 1,
            Some(b']') => {
                parser.at += 1;
                parser.end()?;
                return Ok(Some(elements));
            }
            _ => return Err(parser.unexpected("after array element")),
        }
    }
}

struct Parser<'t> {
    text: &'t [u8],
    at: usize,
    /// Whether a number without a fraction is an integer; all are doubles otherwise.
    keeps_integers: bool,
}

fn shown(b: u8) -> String {
    match b {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        _ => {
            let quoted = crate::quote::quote(char::from(b).encode_utf8(&mut [0; 4]).as_bytes());
            format!("'{}'", quoted.trim_matches('"'))
        }
    }
}

impl Parser<'_> {
    fn end(&mut self) -> Result<(), String> {
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(b) => Err(format!("invalid character {} after top-level value", shown(b))),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    #[cold]
    fn unexpected(&self, place: &str) -> String {
        match self.peek() {
            Some(b) => format!("invalid character {} {place}", shown(b)),
            None => "unexpected end of JSON input".to_owned(),
        }
    }

    fn word(&mut self, word: &str, value: Tree) -> Result<Tree, String> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            self.at += word.len();
            return Ok(value);
        }
        Err(format!("invalid character in literal {word}"))
    }

    fn value(&mut self, levels: u8) -> Result<Tree, String> {
        let Some(inner) = levels.checked_sub(1) else {
            return Err(format!("the value is nested more than {MAX_NESTING} deep"));
        };
        match self.peek() {
            Some(b'{') => self.object(inner),
            Some(b'[') => self.array(inner),
            Some(b'"') => self.string().map(Tree::String),
            Some(b't') => self.word("true", Tree::Bool(true)),
            Some(b'f') => self.word("false", Tree::Bool(false)),
            Some(b'n') => self.word("null", Tree::Empty),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn object(&mut self, levels: u8) -> Result<Tree, String> {
        self.at += 1;
        let mut entries = Entries::default();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Tree::Map(Vec::new()));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            self.skip_space();
            entries.put(&key, self.value(levels)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Tree::Map(entries.into_map()));
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }

    fn array(&mut self, levels: u8) -> Result<Tree, String> {
        self.at += 1;
        let mut elements = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Tree::Array(elements));
        }
        loop {
            self.skip_space();
            elements.push(self.value(levels)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Tree::Array(elements));
                }
                _ => return Err(self.unexpected("after array element")),
            }
        }
    }

    fn number(&mut self) -> Result<Tree, String> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let digits = self.text.get(start..self.at).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.unwrap_or_default();
        let failed = |reason: &str| format!("strconv.ParseFloat: parsing {digits:?}: {reason}");
        if self.keeps_integers
            && let Ok(value) = digits.parse()
        {
            return Ok(Tree::Int(value));
        }
        // Zeros in front and a dot at the end are accepted, as by the decoder of the Go collector.
        let value: f64 = digits.parse().map_err(|_| failed("invalid syntax"))?;
        if value.is_infinite() {
            return Err(failed("value out of range"));
        }
        Ok(Tree::Double(value))
    }

    fn string(&mut self) -> Result<Vec<u8>, String> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = rest.iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0)).count();
            out.extend_from_slice(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => self.escape(&mut out)?,
                _ => return Err(self.unexpected("in string literal")),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        self.at += 1;
        let plain = match self.peek() {
            Some(b @ (b'"' | b'\\' | b'/')) => b,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                self.at += 1;
                let unit = self.hex()?;
                let c = match unit {
                    // The first half of a pair, if the second one follows.
                    0xd800..0xdc00 if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(b"\\u")) => {
                        let before = self.at;
                        self.at += 2;
                        let second = self.hex()?;
                        let pair = (0xdc00..0xe000).contains(&second);
                        if !pair {
                            self.at = before;
                        }
                        let combined = 0x10000 + ((unit - 0xd800) << 10) + (second.wrapping_sub(0xdc00) & 0x3ff);
                        if pair { char::from_u32(combined) } else { None }
                    }
                    _ => char::from_u32(unit),
                };
                let c = c.unwrap_or('\u{fffd}');
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        out.push(plain);
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, String> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            let Some(digit) = digit else { return Err(self.unexpected("in \\u hexadecimal character escape")) };
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }
}
