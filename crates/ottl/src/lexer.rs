//! Text as tokens, by the rules of the Go collector's lexer, which takes the first rule that matches.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TokenKind {
    Bytes,
    Float,
    Int,
    String,
    Nil,
    Not,
    Or,
    And,
    Comparison,
    Arrow,
    AddSub,
    MultDiv,
    Boolean,
    Equal,
    OpenParenthesis,
    CloseParenthesis,
    OpenBrace,
    CloseBrace,
    Colon,
    Comma,
    Dot,
    OpenBracket,
    CloseBracket,
    Uppercase,
    Lowercase,
    Underscore,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) place: Range<usize>,
}

/// The tokens of a text, without white space.
///
/// # Errors
/// The position of the first character at which no token begins.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, usize> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let spaces = count(rest, |b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0c));
        if spaces > 0 {
            at += spaces;
            continue;
        }
        let (kind, len) = token(rest).ok_or(at)?;
        tokens.push(Token { kind, place: at..at + len });
        at += len;
    }
    Ok(tokens)
}

fn count(rest: &[u8], is: impl Fn(u8) -> bool) -> usize {
    rest.iter().take_while(|b| is(**b)).count()
}

/// The token at the beginning, and its length.
fn token(rest: &[u8]) -> Option<(TokenKind, usize)> {
    use TokenKind as Kind;
    let found = match *rest {
        [b'0', b'x', digit, ..] if digit.is_ascii_hexdigit() => {
            (Kind::Bytes, 2 + count(rest.get(2..)?, |b| b.is_ascii_hexdigit()))
        }
        [b'0'..=b'9', ..] | [b'.', b'0'..=b'9', ..] => number(rest)?,
        [b'"', ..] => (Kind::String, string(rest)?),
        [b'=' | b'!' | b'>' | b'<', b'=', ..] => (Kind::Comparison, 2),
        [b'>' | b'<', ..] => (Kind::Comparison, 1),
        [b'=', b'>', ..] => (Kind::Arrow, 2),
        [b'+' | b'-', ..] => (Kind::AddSub, 1),
        [b'/' | b'*', ..] => (Kind::MultDiv, 1),
        [b'=', ..] => (Kind::Equal, 1),
        [b'(', ..] => (Kind::OpenParenthesis, 1),
        [b')', ..] => (Kind::CloseParenthesis, 1),
        [b'{', ..] => (Kind::OpenBrace, 1),
        [b'}', ..] => (Kind::CloseBrace, 1),
        [b':', ..] => (Kind::Colon, 1),
        [b',', ..] => (Kind::Comma, 1),
        [b'.', ..] => (Kind::Dot, 1),
        [b'[', ..] => (Kind::OpenBracket, 1),
        [b']', ..] => (Kind::CloseBracket, 1),
        [b'A'..=b'Z', ..] => {
            (Kind::Uppercase, count(rest, |b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'))
        }
        [b'a'..=b'z', ..] => word(rest),
        [b'_', ..] if !rest.get(1).is_some_and(|b| is_word(*b)) => (Kind::Underscore, 1),
        _ => return None,
    };
    Some(found)
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// A keyword, or a name of lowercase letters, digits and underscores.
fn word(rest: &[u8]) -> (TokenKind, usize) {
    let whole = rest.get(..count(rest, is_word)).unwrap_or_default();
    let kind = match whole {
        b"nil" => TokenKind::Nil,
        b"not" => TokenKind::Not,
        b"or" => TokenKind::Or,
        b"and" => TokenKind::And,
        b"true" | b"false" => TokenKind::Boolean,
        _ => {
            let len = count(rest, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            return (TokenKind::Lowercase, len);
        }
    };
    (kind, whole.len())
}

/// `\d+`, or with a decimal point and an exponent `(\d+\.\d*|\d*\.\d+)([eE][-+]?\d+)?`.
fn number(rest: &[u8]) -> Option<(TokenKind, usize)> {
    let digits = |from: usize| rest.get(from..).map_or(0, |rest| count(rest, |b| b.is_ascii_digit()));
    let whole = digits(0);
    if rest.get(whole) != Some(&b'.') {
        return Some((TokenKind::Int, whole));
    }
    let mut len = whole + 1;
    let fraction = digits(len);
    if whole == 0 && fraction == 0 {
        return None;
    }
    len += fraction;
    if matches!(rest.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(len + 1), Some(b'-' | b'+')));
        let exponent = digits(len + 1 + sign);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    Some((TokenKind::Float, len))
}

/// A string with its quotes. A backslash is followed by any character but the end of a line.
fn string(rest: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match rest.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' if matches!(rest.get(at + 1), None | Some(b'\n')) => return None,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The content of a string token: escapes are those of Go.
///
/// # Errors
/// The position of an escape that Go does not know, in the token.
pub(crate) fn unquote(token: &str) -> Result<String, usize> {
    let content = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
    let mut out = String::with_capacity(content.len());
    let mut rest = content.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let at = content.len() - rest.as_str().len();
        out.push(escape(&mut rest).ok_or(at)?);
    }
    Ok(out)
}

/// The character of an escape after its backslash. A byte in hexadecimal or octal is a code point.
fn escape(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let code = |rest: &mut std::str::Chars<'_>, radix, first, digits| {
        let mut code: u32 = first;
        for _ in 0..digits {
            code = code * radix + rest.next()?.to_digit(radix)?;
        }
        char::from_u32(code)
    };
    match rest.next()? {
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        '\\' => Some('\\'),
        '"' => Some('"'),
        'x' => code(rest, 16, 0, 2),
        'u' => code(rest, 16, 0, 4),
        'U' => code(rest, 16, 0, 8),
        first @ '0'..='7' => code(rest, 8, first.to_digit(8)?, 2).filter(|c| u32::from(*c) <= 255),
        _ => None,
    }
}
