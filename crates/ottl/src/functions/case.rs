//! Upper and lower case, snake case and camel case, by the rules of Go's `strings` and of `strcase`.

/// Maps each character; a byte that is not UTF-8 becomes U+FFFD, as in Go.
fn map(text: &[u8], map: impl Fn(char) -> char) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut put = |c: char| out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    for chunk in text.utf8_chunks() {
        chunk.valid().chars().for_each(|c| put(map(c)));
        chunk.invalid().iter().for_each(|_| put('\u{fffd}'));
    }
    out
}

/// In lower case, a character for a character.
pub(super) fn to_lower(text: &[u8]) -> Vec<u8> {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    map(text, |c| {
        let mut lower = c.to_lowercase();
        match (lower.next(), lower.next()) {
            (Some(lower), None) => lower,
            // The only character with more than one in lower case.
            _ if c == '\u{130}' => 'i',
            _ => c,
        }
    })
}

/// In upper case, a character for a character.
pub(super) fn to_upper(text: &[u8]) -> Vec<u8> {
    if text.is_ascii() {
        return text.to_ascii_uppercase();
    }
    map(text, |c| {
        let mut upper = c.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(upper), None) => upper,
            _ => match c {
                // Greek letters with an iota below, which have a form of their own.
                '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
                    char::from_u32(u32::from(c) + 8).unwrap_or(c)
                }
                '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => char::from_u32(u32::from(c) + 9).unwrap_or(c),
                _ => c,
            },
        }
    })
}

/// Without white space at both ends, as Go's `strings.TrimSpace`.
pub(super) fn trim_space(text: &[u8]) -> &[u8] {
    // In Unicode, U+0085 and U+00A0 are spaces as well; a byte that is not UTF-8 is none.
    let start = text.utf8_chunks().next().map_or(0, |chunk| {
        let valid = chunk.valid();
        valid.len() - valid.trim_start().len()
    });
    let text = text.get(start..).unwrap_or_default();
    let mut end = text.len();
    loop {
        let rest = text.get(..end).unwrap_or_default();
        let Some(start) = rest.iter().rposition(|b| b & 0xc0 != 0x80) else { break };
        let last = rest.get(start..).and_then(|bytes| std::str::from_utf8(bytes).ok());
        if !last.is_some_and(|last| last.chars().all(char::is_whitespace)) {
            break;
        }
        end = start;
    }
    text.get(..end).unwrap_or_default()
}

/// `someName` as `some_name`.
pub(super) fn to_snake(text: &[u8]) -> Vec<u8> {
    let text = trim_space(text);
    let mut out = Vec::with_capacity(text.len() + 2);
    for (index, original) in text.iter().enumerate() {
        let (is_upper, is_lower) = (original.is_ascii_uppercase(), original.is_ascii_lowercase());
        let is_number = original.is_ascii_digit();
        let letter = original.to_ascii_lowercase();
        if let Some(next) = text.get(index + 1) {
            let (next_upper, next_lower) = (next.is_ascii_uppercase(), next.is_ascii_lowercase());
            let next_number = next.is_ascii_digit();
            let is_border = is_upper && (next_lower || next_number)
                || is_lower && (next_upper || next_number)
                || is_number && (next_upper || next_lower);
            if is_border {
                let before = index.checked_sub(1).and_then(|index| text.get(index));
                if is_upper && next_lower && before.is_some_and(u8::is_ascii_uppercase) {
                    out.push(b'_');
                }
                out.push(letter);
                if is_lower || is_number || next_number {
                    out.push(b'_');
                }
                continue;
            }
        }
        out.push(if matches!(letter, b' ' | b'_' | b'-' | b'.') { b'_' } else { letter });
    }
    out
}

/// `some_name` as `SomeName`. Bytes that are not ASCII are left out, as in Go.
pub(super) fn to_camel(text: &[u8]) -> Vec<u8> {
    let text = trim_space(text);
    let mut out = Vec::with_capacity(text.len());
    let (mut upper_next, mut was_upper) = (true, false);
    for original in text {
        let is_upper = original.is_ascii_uppercase();
        let letter = if upper_next {
            original.to_ascii_uppercase()
        } else if was_upper && is_upper {
            original.to_ascii_lowercase()
        } else {
            *original
        };
        was_upper = is_upper;
        if original.is_ascii_alphabetic() {
            out.push(letter);
            upper_next = false;
        } else if original.is_ascii_digit() {
            out.push(letter);
            upper_next = true;
        } else {
            upper_next = matches!(original, b'_' | b' ' | b'-' | b'.');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers are those of Go.
    #[test]
    fn case_is_converted() {
        let text = |out: Vec<u8>| String::from_utf8(out).expect("text");
        for (from, snake, camel) in [
            ("someName", "some_name", "SomeName"),
            ("JSONData", "json_data", "Jsondata"),
            ("userID2Name", "user_id_2_name", "UserId2Name"),
            (" a-b.c d_e ", "a_b_c_d_e", "ABCDE"),
            ("ABC", "abc", "Abc"),
        ] {
            assert_eq!(text(to_snake(from.as_bytes())), snake);
            assert_eq!(text(to_camel(from.as_bytes())), camel, "{from}");
        }
        assert_eq!(text(to_upper("straße ǆ ŉ ᾳ".as_bytes())), "STRAßE Ǆ ŉ ᾼ");
        assert_eq!(text(to_lower("İΣ ΑΣ".as_bytes())), "iσ ας".replace('ς', "σ"));
        assert_eq!(to_lower(b"\xffA\xc3\x84"), "\u{fffd}a\u{e4}".as_bytes());
    }
}
