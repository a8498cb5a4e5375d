//! Metric and label names in the text format.
//!
//! The text format only allows `[A-Za-z_:][A-Za-z0-9_:]*`; other names are escaped when a page is written, after
//! sorting and without sorting again. The same check applies to names of labels and metrics, as in prometheus/common.

/// Whether a name is valid in the text format without escaping.
#[must_use]
pub fn is_legacy_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().enumerate().all(|(i, b)| is_legacy_byte(*b, i))
}

fn is_legacy_byte(b: u8, at: usize) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b == b':' || (at > 0 && b.is_ascii_digit())
}

/// Appends a name with `escaping=underscores`: each invalid character becomes one `_`, and so does a leading digit.
/// Valid names are unchanged.
pub fn write_underscored(out: &mut Vec<u8>, name: &[u8]) {
    if is_legacy_name(name) {
        return out.extend_from_slice(name);
    }
    let start = out.len();
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            let at = out.len() - start;
            out.push(if c.is_ascii() && is_legacy_byte(c as u8, at) { c as u8 } else { b'_' });
        }
        out.extend(chunk.invalid().iter().map(|_| b'_'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_character_is_written_as_one_underscore() {
        let table: &[(&[u8], &str)] = &[
            (b"http_requests_total", "http_requests_total"),
            (b"a:b", "a:b"),
            (b"cpu.usage", "cpu_usage"),
            ("é".as_bytes(), "_"),
            ("世界.x".as_bytes(), "___x"),
            (b"1ns_up", "_ns_up"),
            (b"a1", "a1"),
            (b"a..b", "a__b"),
            (b"a\xff\xfeb", "a__b"),
            (b"", ""),
        ];
        for (name, expected) in table {
            let mut out = Vec::new();
            write_underscored(&mut out, name);
            assert_eq!(String::from_utf8(out).unwrap(), *expected);
        }
        assert!(!is_legacy_name(b"") && !is_legacy_name(b"0a") && is_legacy_name(b"_0"));
    }
}
