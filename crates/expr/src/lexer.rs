//! Words, strings, numbers and symbols of an expression.

/// The most of them in one expression.
const MAX_TOKENS: usize = 1000;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Word(String),
    Text(Vec<u8>),
    Int(i64),
    Double(f64),
    Symbol(&'static str),
}

impl Token {
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Word(word) => format!("`{word}`"),
            Self::Text(_) => "a string".to_owned(),
            Self::Int(v) => format!("`{v}`"),
            Self::Double(v) => format!("`{v}`"),
            Self::Symbol(symbol) => format!("`{symbol}`"),
        }
    }

    /// The name of an operator; empty for strings and numbers.
    pub(crate) fn operator(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Symbol(symbol) => symbol,
            _ => "",
        }
    }
}

/// The longer ones first.
const SYMBOLS: [&str; 34] = [
    "?.", "??", "**", "..", "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", "{", "}", ",", ".",
    "?", ":", "+", "-", "*", "/", "%", "^", "#", "|", ";", "=", "&",
];

/// The tokens of an expression, each with its position in characters, from 1.
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, String> {
    let mut found = Vec::new();
    // The position of the byte `begin`.
    let (mut rest, mut at, mut begin) = (text, 1, 0);
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let before = std::mem::replace(&mut begin, text.len() - rest.len());
        at += text.get(before..begin).map_or(0, |between| between.chars().count());
        if found.len() > MAX_TOKENS {
            return Err(format!("the expression has more than {MAX_TOKENS} words and symbols"));
        }
        let Some(first) = rest.chars().next() else { return Ok(found) };
        if first.is_alphabetic() || first == '_' || first == '$' {
            let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(len).unwrap_or((rest, ""));
            found.push((Token::Word(word.to_owned()), at));
            rest = after;
        } else if first.is_ascii_digit() {
            let (number, after) = number(rest).ok_or_else(|| format!("number at character {at} is not valid"))?;
            found.push((number, at));
            rest = after;
        } else if let Some(inside) = rest.strip_prefix(['"', '\'', '`']) {
            let (literal, after) =
                string(inside, first).ok_or_else(|| format!("string at character {at} is not valid"))?;
            found.push((Token::Text(literal), at));
            rest = after;
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            found.push((Token::Symbol(symbol), at));
            rest = rest.get(symbol.len()..).unwrap_or_default();
        } else {
            return Err(format!("`{first}` at character {at} is not supported"));
        }
    }
}

/// The value of a number, and the text behind it. A dot is part of it only in front of a digit, because of ranges.
fn number(text: &str) -> Option<(Token, &str)> {
    for (prefix, radix) in [("0x", 16), ("0b", 2), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let len = digits.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(digits.len());
            let (digits, after) = digits.split_at_checked(len)?;
            return Some((Token::Int(i64::from_str_radix(&digits.replace('_', ""), radix).ok()?), after));
        }
    }
    let bytes = text.as_bytes();
    let (mut end, mut is_double) = (0, false);
    while let Some(b) = bytes.get(end) {
        let next_is_digit = bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        match b {
            b'0'..=b'9' | b'_' => {}
            b'.' if next_is_digit && !is_double => is_double = true,
            b'e' | b'E' if next_is_digit || matches!(bytes.get(end + 1), Some(b'+' | b'-')) => {
                is_double = true;
                end += 1;
            }
            b'a'..=b'z' | b'A'..=b'Z' => return None,
            _ => break,
        }
        end += 1;
    }
    let (digits, after) = text.split_at_checked(end)?;
    let digits = digits.replace('_', "");
    let token = if is_double { Token::Double(digits.parse().ok()?) } else { Token::Int(digits.parse().ok()?) };
    Some((token, after))
}

/// The value of a string literal, and the text behind it.
fn string(inside: &str, quote: char) -> Option<(Vec<u8>, &str)> {
    let mut value = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((value.into_bytes(), inside.get(at + 1..)?)),
            '\\' if quote != '`' => value.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'v' => '\x0b',
                escaped @ ('\\' | '"' | '\'') => escaped,
                // Two digits of ASCII.
                'x' => char::from_u32(hex(&mut chars, 2)?).filter(char::is_ascii)?,
                'u' => char::from_u32(hex(&mut chars, 4)?)?,
                'U' => char::from_u32(hex(&mut chars, 8)?)?,
                _ => return None,
            }),
            '\n' if quote != '`' => return None,
            c => value.push(c),
        }
    }
    None
}

fn hex(chars: &mut std::str::CharIndices<'_>, digits: usize) -> Option<u32> {
    (0..digits).try_fold(0_u32, |value, _| value.checked_mul(16)?.checked_add(chars.next()?.1.to_digit(16)?))
}
