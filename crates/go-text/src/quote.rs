//! Quoted texts, as Go's `strconv` writes and reads them.

/// A text in quotes, as Go's `strconv.Quote` and `%q` write it.
#[must_use]
pub fn quote(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\x07' => out.push_str("\\a"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x0b' => out.push_str("\\v"),
                c if is_printable(c) => out.push(c),
                c if c < ' ' || c == '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c if u32::from(c) < 0x10000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
            }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out.push('"');
    out
}

/// Whether Go's `strconv.IsPrint` has a character: neither control, format, separator nor unassigned.
#[must_use]
pub fn is_printable(c: char) -> bool {
    // A mark that combines is escaped by Rust alone; it is not when it follows a letter.
    match c {
        ' '..='~' => true,
        _ => {
            let mut buffer = [0; 5];
            buffer[0] = b'a';
            let len = 1 + c.encode_utf8(&mut buffer[1..]).len();
            let pair = buffer.get(..len).and_then(|pair| std::str::from_utf8(pair).ok()).unwrap_or_default();
            pair.escape_debug().count() == 2
        }
    }
}

/// The text of a Go string or character literal: in double quotes or grave accents any text, in single quotes one
/// character. `None` where `strconv.Unquote` has an error.
#[must_use]
pub fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let (quote, inner) = match text {
        [first, inner @ .., last] if first == last => (*first, inner),
        _ => return None,
    };
    match quote {
        b'`' if inner.contains(&b'`') => None,
        b'`' => Some(inner.iter().copied().filter(|b| *b != b'\r').collect()),
        b'"' | b'\'' => {
            let (mut out, mut rest, mut count) = (Vec::with_capacity(inner.len()), inner, 0_usize);
            while let Some(first) = rest.first() {
                count += 1;
                if *first == quote || *first == b'\n' {
                    return None;
                }
                rest = if *first == b'\\' {
                    unescape(rest.get(1..)?, quote, &mut out)?
                } else {
                    copy_char(rest, &mut out)
                };
            }
            (quote == b'"' || count == 1).then_some(out)
        }
        _ => None,
    }
}

/// Appends the first character of a text, or the replacement character for a byte that is none, and returns the rest.
fn copy_char<'t>(text: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
    let head = text.get(..text.len().min(4)).unwrap_or_default();
    let first = head.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    let c = first.unwrap_or('\u{fffd}');
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    text.get(first.map_or(1, char::len_utf8)..).unwrap_or_default()
}

/// Appends what an escape stands for, and returns what is behind it.
fn unescape<'t>(text: &'t [u8], quote: u8, out: &mut Vec<u8>) -> Option<&'t [u8]> {
    let (kind, rest) = text.split_first()?;
    let digits = |count: usize, radix: u32| -> Option<u32> {
        let digits = rest.get(..count)?;
        digits.iter().try_fold(0_u32, |value, b| Some(value.checked_mul(radix)? + char::from(*b).to_digit(radix)?))
    };
    let plain = match kind {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' => b'\\',
        b'\'' | b'"' if *kind == quote => quote,
        b'x' => {
            out.push(u8::try_from(digits(2, 16)?).ok()?);
            return rest.get(2..);
        }
        b'u' | b'U' => {
            let count = if *kind == b'u' { 4 } else { 8 };
            let c = char::from_u32(digits(count, 16)?)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return rest.get(count..);
        }
        b'0'..=b'7' => {
            let digits = text.get(..3)?;
            let value = digits.iter().try_fold(0_u32, |value, b| Some(value * 8 + char::from(*b).to_digit(8)?))?;
            out.push(u8::try_from(value).ok()?);
            return text.get(3..);
        }
        _ => return None,
    };
    out.push(plain);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_unquoted_as_go_does() {
        for (text, expected) in [
            (r#""a\tb""#, Some("a\tb")),
            (r#""\u00e4\x41\101\U0001F600""#, Some("\u{e4}AA\u{1f600}")),
            ("`a\\n`", Some("a\\n")),
            ("'x'", Some("x")),
            ("'xy'", None),
            (r#""\'""#, None),
            (r#"'\''"#, Some("'")),
            ("\"a", None),
            ("\"a\nb\"", None),
            ("\"a\"b\"", None),
            ("plain", None),
            ("\"", None),
            ("", None),
            (r#""\ud800""#, None),
            (r#""\400""#, None),
        ] {
            assert_eq!(unquote(text.as_bytes()).as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }
}
