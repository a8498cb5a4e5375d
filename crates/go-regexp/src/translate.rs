//! Parses a pattern by the rules of Go's `regexp/syntax`, and writes it in the syntax of the `regex` crate.

use super::PatternError;

/// A pattern in the syntax of the `regex` crate.
pub(super) struct Translated {
    pub(super) pattern: String,
    /// The name of each group; empty for a group without one.
    pub(super) names: Vec<String>,
}

/// The flags `i`, `m`, `s` and `U`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Flags([bool; 4]);

const FLAG_LETTERS: [char; 4] = ['i', 'm', 's', 'U'];

impl Flags {
    fn set(&mut self, letter: char, on: bool) -> bool {
        let index = FLAG_LETTERS.iter().position(|flag| *flag == letter);
        match index.and_then(|index| self.0.get_mut(index)) {
            Some(flag) => {
                *flag = on;
                true
            }
            None => false,
        }
    }

    fn directive(self) -> String {
        let with = |on: bool| FLAG_LETTERS.iter().zip(self.0).filter(move |(_, flag)| *flag == on).map(|(c, _)| *c);
        let (on, off): (String, String) = (with(true).collect(), with(false).collect());
        if off.is_empty() { format!("(?{on})") } else { format!("(?{on}-{off})") }
    }
}

/// What is restored at the end of a group.
struct Group {
    flags: Flags,
    written_flags: Flags,
}

struct Translator<'p> {
    pattern: &'p str,
    /// What is not read yet.
    rest: &'p str,
    out: String,
    names: Vec<String>,
    groups: Vec<Group>,
    flags: Flags,
    /// The flags that are in force in `out`. A change is written before the next atom, since in Go a repetition may
    /// follow it and then repeats what is before it.
    written_flags: Flags,
    /// There is something that can be repeated.
    has_atom: bool,
    /// Where the repetition that was read last begins, if nothing follows it yet.
    repetition: Option<usize>,
}

const MISSING_ARGUMENT: &str = "missing argument to repetition operator";
const INVALID_ESCAPE: &str = "invalid escape sequence";
const INVALID_RANGE: &str = "invalid character class range";
const INVALID_PERL: &str = "invalid or unsupported Perl syntax";
const INVALID_NAME: &str = "invalid named capture";

/// The largest count of a repetition.
const MAX_REPEAT: u32 = 1000;

pub(super) fn translate(pattern: &str) -> Result<Translated, PatternError> {
    let mut translator = Translator {
        pattern,
        rest: pattern,
        out: String::with_capacity(pattern.len() * 2),
        names: Vec::new(),
        groups: Vec::new(),
        flags: Flags::default(),
        written_flags: Flags::default(),
        has_atom: false,
        repetition: None,
    };
    translator.run()?;
    Ok(Translated { pattern: translator.out, names: translator.names })
}

impl<'p> Translator<'p> {
    fn offset(&self) -> usize {
        self.pattern.len() - self.rest.len()
    }

    /// An error about the part of the pattern from `start` to what was read.
    fn error(&self, code: &'static str, start: usize) -> PatternError {
        self.error_about(code, start, self.pattern.get(start..self.offset()).unwrap_or_default())
    }

    fn error_about(&self, code: &'static str, start: usize, argument: &str) -> PatternError {
        let at = self.pattern.get(..start).map_or(0, |before| before.chars().count());
        PatternError { code, argument: argument.to_owned(), at }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        Some(c)
    }

    fn skip(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Before an atom is written.
    fn begin_atom(&mut self) {
        if self.written_flags != self.flags {
            self.out.push_str(&self.flags.directive());
            self.written_flags = self.flags;
        }
        self.has_atom = true;
        self.repetition = None;
    }

    fn atom(&mut self, text: &str) {
        self.begin_atom();
        self.out.push_str(text);
    }

    fn literal(&mut self, c: char) {
        self.begin_atom();
        push_literal(&mut self.out, c);
    }

    fn run(&mut self) -> Result<(), PatternError> {
        while let Some(c) = self.peek() {
            let start = self.offset();
            match c {
                '(' => self.open_group()?,
                ')' => {
                    let Some(group) = self.groups.pop() else {
                        return Err(self.error_about("unexpected )", start, self.pattern));
                    };
                    self.next();
                    self.out.push(')');
                    (self.flags, self.written_flags) = (group.flags, group.written_flags);
                    (self.has_atom, self.repetition) = (true, None);
                }
                '|' => {
                    self.next();
                    self.out.push('|');
                    (self.has_atom, self.repetition) = (false, None);
                }
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    self.next();
                    self.repeat(start, c.encode_utf8(&mut [0; 4]))?;
                }
                '{' => match self.counts()? {
                    Some(counts) => self.repeat(start, &counts)?,
                    None => {
                        self.next();
                        self.literal('{');
                    }
                },
                '\\' => self.escape()?,
                '^' | '$' | '.' => {
                    self.next();
                    self.atom(c.encode_utf8(&mut [0; 4]));
                }
                _ => {
                    self.next();
                    self.literal(c);
                }
            }
        }
        if self.groups.is_empty() {
            Ok(())
        } else {
            Err(self.error_about("missing closing )", self.pattern.len(), self.pattern))
        }
    }

    /// Writes a repetition that begins at `start`.
    fn repeat(&mut self, start: usize, repetition: &str) -> Result<(), PatternError> {
        let is_lazy = self.skip("?");
        if let Some(before) = self.repetition {
            return Err(self.error("invalid nested repetition operator", before));
        }
        if !self.has_atom {
            return Err(self.error(MISSING_ARGUMENT, start));
        }
        self.out.push_str(repetition);
        if is_lazy {
            self.out.push('?');
        }
        self.repetition = Some(start);
        Ok(())
    }

    /// Reads `{n}`, `{n,}` or `{n,m}`; `None` if the brace is a literal.
    fn counts(&mut self) -> Result<Option<String>, PatternError> {
        let Some((inside, rest)) = self.rest.get(1..).and_then(|inside| inside.split_once('}')) else {
            return Ok(None);
        };
        let number = |text: &str| {
            let is_number = text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty();
            // A number has no zeros in front.
            (is_number && (text == "0" || !text.starts_with('0'))).then(|| text.parse().unwrap_or(u32::MAX))
        };
        let (min, max) = match inside.split_once(',') {
            None => (number(inside), number(inside)),
            Some((min, "")) => (number(min), Some(0)),
            Some((min, max)) => (number(min), number(max)),
        };
        let (Some(min), Some(max)) = (min, max) else { return Ok(None) };
        let start = self.offset();
        self.rest = rest;
        let is_open = inside.ends_with(',');
        if min > MAX_REPEAT || max > MAX_REPEAT || !is_open && min > max {
            return Err(self.error("invalid repeat count", start));
        }
        Ok(Some(format!("{{{inside}}}")))
    }

    fn open_group(&mut self) -> Result<(), PatternError> {
        let (start, text) = (self.offset(), self.rest);
        self.next();
        let group = |translator: &Self| Group { flags: translator.flags, written_flags: translator.written_flags };
        if !self.skip("?") {
            self.begin_atom();
            self.groups.push(group(self));
            self.out.push('(');
            self.names.push(String::new());
            self.has_atom = false;
            return Ok(());
        }
        if self.skip("P<") || self.skip("<") {
            let Some((name, rest)) = self.rest.split_once('>') else {
                return Err(self.error_about(INVALID_NAME, start, text));
            };
            self.rest = rest;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(self.error(INVALID_NAME, start));
            }
            self.begin_atom();
            self.groups.push(group(self));
            self.out.push('(');
            self.names.push(name.to_owned());
            self.has_atom = false;
            return Ok(());
        }
        let mut flags = self.flags;
        let (mut is_on, mut has_flag) = (true, false);
        loop {
            match self.next() {
                Some('-') if is_on => (is_on, has_flag) = (false, false),
                Some(end @ (':' | ')')) if is_on || has_flag => {
                    if end == ':' {
                        self.begin_atom();
                        self.groups.push(group(self));
                        self.out.push_str("(?:");
                        self.has_atom = false;
                    }
                    self.flags = flags;
                    // A repetition after the flags repeats what is before them.
                    self.repetition = None;
                    return Ok(());
                }
                Some(c) if flags.set(c, is_on) => has_flag = true,
                _ => return Err(self.error(INVALID_PERL, start)),
            }
        }
    }

    fn escape(&mut self) -> Result<(), PatternError> {
        let start = self.offset();
        let mut chars = self.rest.chars().skip(1);
        match chars.next() {
            Some(letter @ ('A' | 'z')) => {
                self.rest = self.rest.get(2..).unwrap_or_default();
                self.atom(if letter == 'A' { r"\A" } else { r"\z" });
            }
            Some(letter @ ('b' | 'B')) => {
                self.rest = self.rest.get(2..).unwrap_or_default();
                self.atom(if letter == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
            }
            Some('Q') => {
                let quoted = self.rest.get(2..).unwrap_or_default();
                let (quoted, rest) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
                self.rest = rest;
                quoted.chars().for_each(|c| self.literal(c));
            }
            Some(letter @ ('d' | 'D' | 's' | 'S' | 'w' | 'W')) => {
                self.rest = self.rest.get(2..).unwrap_or_default();
                self.atom(&perl_class(letter));
            }
            Some('p' | 'P') => {
                let class = self.unicode_class()?;
                self.atom(&class);
            }
            _ => {
                let c = self.escaped_char(start)?;
                self.literal(c);
            }
        }
        Ok(())
    }

    /// Reads an escape that stands for one character.
    fn escaped_char(&mut self, start: usize) -> Result<char, PatternError> {
        self.next();
        let Some(c) = self.next() else {
            return Err(self.error_about("trailing backslash at end of expression", start, ""));
        };
        let octal = |c: Option<char>| c.and_then(|c| c.to_digit(8));
        Ok(match c {
            // A single digit that is not zero would be a reference to a group.
            '1'..='7' if octal(self.peek()).is_none() => return Err(self.error(INVALID_ESCAPE, start)),
            '0'..='7' => {
                let mut value = c.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = octal(self.peek()) else { break };
                    value = value * 8 + digit;
                    self.next();
                }
                char::from_u32(value).unwrap_or_default()
            }
            'x' => self.hex_char(start)?,
            'a' => '\x07',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            _ => return Err(self.error(INVALID_ESCAPE, start)),
        })
    }

    /// Reads what follows `\x`: two digits, or any number of them in braces.
    fn hex_char(&mut self, start: usize) -> Result<char, PatternError> {
        let is_braced = self.skip("{");
        let (mut value, mut digits) = (0_u32, 0);
        while is_braced || digits < 2 {
            let c = self.next();
            if is_braced && digits > 0 && c == Some('}') {
                break;
            }
            let Some(digit) = c.and_then(|c| c.to_digit(16)) else { return Err(self.error(INVALID_ESCAPE, start)) };
            value = value * 16 + digit;
            digits += 1;
            if value > 0x10_ffff {
                return Err(self.error(INVALID_ESCAPE, start));
            }
        }
        // Surrogates are no characters, and no text contains them.
        Ok(char::from_u32(value).unwrap_or('\u{fffd}'))
    }

    /// Reads `\pL`, `\p{Greek}` or `\p{^Greek}`.
    fn unicode_class(&mut self) -> Result<String, PatternError> {
        let start = self.offset();
        self.next();
        let mut is_negated = self.next() == Some('P');
        let name = if self.skip("{") {
            let Some((name, rest)) = self.rest.split_once('}') else {
                self.rest = "";
                return Err(self.error(INVALID_RANGE, start));
            };
            self.rest = rest;
            name
        } else {
            let rest = self.rest;
            self.next();
            rest.get(..rest.len() - self.rest.len()).unwrap_or_default()
        };
        let name = name.strip_prefix('^').inspect(|_| is_negated = !is_negated).unwrap_or(name);
        let class = format!("\\{}{{{name}}}", if is_negated { 'P' } else { 'p' });
        let is_word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_word || regex::bytes::Regex::new(&class).is_err() {
            return Err(self.error(INVALID_RANGE, start));
        }
        Ok(class)
    }

    /// A class in brackets.
    fn class(&mut self) -> Result<(), PatternError> {
        let (start, text) = (self.offset(), self.rest);
        self.begin_atom();
        self.next();
        self.out.push('[');
        if self.skip("^") {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            let at = self.offset();
            match self.peek() {
                None => return Err(self.error_about("missing closing ]", start, text)),
                Some(']') if !is_first => break,
                Some('[') if self.rest.starts_with("[:") && self.rest.contains(":]") => {
                    let (name, rest) = self.rest.split_once(":]").unwrap_or((self.rest, ""));
                    self.rest = rest;
                    let plain = name.trim_start_matches("[:").trim_start_matches('^');
                    if !POSIX_CLASSES.contains(&plain) {
                        return Err(self.error(INVALID_RANGE, at));
                    }
                    self.out.push_str(name);
                    self.out.push_str(":]");
                }
                Some('\\') => match self.rest.chars().nth(1) {
                    Some(letter @ ('d' | 'D' | 's' | 'S' | 'w' | 'W')) => {
                        self.rest = self.rest.get(2..).unwrap_or_default();
                        self.out.push_str(&perl_class(letter));
                    }
                    Some('p' | 'P') => {
                        let class = self.unicode_class()?;
                        self.out.push_str(&class);
                    }
                    _ => self.class_range(start, text)?,
                },
                Some(_) => self.class_range(start, text)?,
            }
            is_first = false;
        }
        self.next();
        self.out.push(']');
        Ok(())
    }

    /// One character of a class, or a range.
    fn class_range(&mut self, class_start: usize, class: &str) -> Result<(), PatternError> {
        let start = self.offset();
        let low = self.class_char(class_start, class)?;
        push_literal(&mut self.out, low);
        let is_range = self.rest.starts_with('-') && self.rest.len() > 1 && !self.rest.starts_with("-]");
        if is_range {
            self.next();
            let high = self.class_char(class_start, class)?;
            if high < low {
                return Err(self.error(INVALID_RANGE, start));
            }
            self.out.push('-');
            push_literal(&mut self.out, high);
        }
        Ok(())
    }

    fn class_char(&mut self, class_start: usize, class: &str) -> Result<char, PatternError> {
        let start = self.offset();
        match self.peek() {
            None => Err(self.error_about("missing closing ]", class_start, class)),
            Some('\\') => self.escaped_char(start),
            Some(c) => {
                self.next();
                Ok(c)
            }
        }
    }
}

const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// The ASCII class of a letter.
fn perl_class(letter: char) -> String {
    let members = match letter {
        'd' | 'D' => "0-9",
        's' | 'S' => r"\t\n\f\r ",
        _ => "0-9A-Za-z_",
    };
    format!("[{}{members}]", if letter.is_ascii_uppercase() { "^" } else { "" })
}

/// Writes a character that stands for itself, inside and outside of a class.
fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        out.push(c);
    } else {
        out.push_str(&format!("\\x{{{:x}}}", u32::from(c)));
    }
}
