//! Metric and label names on a page, by the way in which the scraper wants them escaped.
//!
//! Names of the form `[A-Za-z_:][A-Za-z0-9_:]*` are *legacy* names; in names of labels Prometheus reads no colon. Others are
//! escaped when a page is written, after sorting and without sorting again, or quoted.

use std::borrow::Cow;

use memchr::memmem;

use crate::NameEscaping;

/// How the names of a page are escaped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NameEscaper {
    /// The scraper's choice.
    pub escaping: NameEscaping,
    /// Whether legacy names that could be another name in its escaped form are escaped as well, so that no two names become
    /// equal that [`NameEscaping::Underscores`] keeps apart. Necessary where any name may occur.
    pub escapes_lookalikes: bool,
}

impl From<NameEscaping> for NameEscaper {
    /// As in Go: legacy names are never escaped.
    fn from(escaping: NameEscaping) -> Self {
        Self { escaping, escapes_lookalikes: false }
    }
}

impl NameEscaper {
    /// Whether it leaves all legacy names as they are.
    #[must_use]
    pub fn keeps_legacy_names(self) -> bool {
        !self.escapes_lookalikes || matches!(self.escaping, NameEscaping::Underscores | NameEscaping::AllowUtf8)
    }
}

/// Whether the name of a label is valid in the text format without escaping.
#[must_use]
pub fn is_legacy_label_name(name: &[u8]) -> bool {
    is_legacy_name(name) && !name.contains(&b':')
}

/// Whether the name of a metric is valid in the text format without escaping.
#[must_use]
pub fn is_legacy_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().enumerate().all(|(i, b)| is_legacy_byte(*b, i))
}

fn is_legacy_byte(b: u8, at: usize) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b == b':' || (at > 0 && b.is_ascii_digit())
}

/// Whether a legacy name could be another name in its escaped form, and is escaped as well.
fn looks_escaped(name: &[u8], escaper: NameEscaper) -> bool {
    if escaper.keeps_legacy_names() {
        return false;
    }
    match escaper.escaping {
        NameEscaping::Underscores | NameEscaping::AllowUtf8 => false,
        NameEscaping::Dots => memmem::find(name, b"__").is_some() || memmem::find(name, b"_dot_").is_some(),
        NameEscaping::Values => name.starts_with(b"U__"),
    }
}

/// The name of a metric on a page with this escaping. With [`NameEscaping::AllowUtf8`] it is unchanged, and may have to be
/// quoted.
#[must_use]
pub fn escape_name(name: &[u8], escaper: NameEscaper) -> Cow<'_, [u8]> {
    let is_kept =
        escaper.escaping == NameEscaping::AllowUtf8 || (is_legacy_name(name) && !looks_escaped(name, escaper));
    if is_kept { Cow::Borrowed(name) } else { Cow::Owned(escape(name, escaper.escaping, true)) }
}

/// The name of a label on a page with this escaping, like [`escape_name`].
#[must_use]
pub fn escape_label_name(name: &[u8], escaper: NameEscaper) -> Cow<'_, [u8]> {
    let is_kept =
        escaper.escaping == NameEscaping::AllowUtf8 || (is_legacy_label_name(name) && !looks_escaped(name, escaper));
    if is_kept { Cow::Borrowed(name) } else { Cow::Owned(escape(name, escaper.escaping, false)) }
}

fn escape(name: &[u8], escaping: NameEscaping, keeps_colons: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 8);
    if escaping == NameEscaping::Values {
        out.extend_from_slice(b"U__");
    }
    let mut at = 0;
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            let is_legacy = |b: &u8| is_legacy_byte(*b, at) && (keeps_colons || *b != b':');
            let legacy = u8::try_from(c).ok().filter(is_legacy);
            at += c.len_utf8();
            match (escaping, legacy) {
                (NameEscaping::Dots | NameEscaping::Values, Some(b'_')) => out.extend_from_slice(b"__"),
                (_, Some(b)) => out.push(b),
                (NameEscaping::Dots, None) if c == '.' => out.extend_from_slice(b"_dot_"),
                (NameEscaping::Dots, None) => out.extend_from_slice(b"__"),
                (NameEscaping::Values, None) => out.extend_from_slice(format!("_{:x}_", u32::from(c)).as_bytes()),
                (NameEscaping::Underscores | NameEscaping::AllowUtf8, None) => out.push(b'_'),
            }
        }
        at += chunk.invalid().len();
        out.extend(chunk.invalid().iter().map(|_| b'_'));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(name: &[u8], escaping: NameEscaping) -> String {
        String::from_utf8(escape_name(name, escaping.into()).into_owned()).unwrap()
    }

    #[test]
    fn names_are_escaped_as_in_go() {
        let table: &[(&[u8], &str, &str, &str)] = &[
            (b"http_requests_total", "http_requests_total", "http_requests_total", "http_requests_total"),
            (b"a:b", "a:b", "a:b", "a:b"),
            (b"cpu.usage", "cpu_usage", "cpu_dot_usage", "U__cpu_2e_usage"),
            ("é".as_bytes(), "_", "__", "U___e9_"),
            ("世界.x".as_bytes(), "___x", "_____dot_x", "U___4e16__754c__2e_x"),
            (b"1ns_up", "_ns_up", "__ns__up", "U___31_ns__up"),
            (b"a1", "a1", "a1", "a1"),
            (b"a..b", "a__b", "a_dot__dot_b", "U__a_2e__2e_b"),
            (b"a\xff\xfeb", "a__b", "a__b", "U__a__b"),
        ];
        for (name, underscores, dots, values) in table {
            assert_eq!(escaped(name, NameEscaping::Underscores), *underscores);
            assert_eq!(escaped(name, NameEscaping::Dots), *dots);
            assert_eq!(escaped(name, NameEscaping::Values), *values);
            assert_eq!(&*escape_name(name, NameEscaping::AllowUtf8.into()), *name);
        }
        assert!(!is_legacy_name(b"") && !is_legacy_name(b"0a") && is_legacy_name(b"_0"));
    }

    #[test]
    fn colon_is_kept_in_names_of_metrics_only() {
        let label = |escaping: NameEscaping| escape_label_name(b"a:b", escaping.into()).into_owned();
        assert_eq!(label(NameEscaping::Underscores), b"a_b");
        assert_eq!(label(NameEscaping::Dots), b"a__b");
        assert_eq!(label(NameEscaping::Values), b"U__a_3a_b");
        assert_eq!(label(NameEscaping::AllowUtf8), b"a:b");
        assert!(is_legacy_name(b"a:b") && !is_legacy_label_name(b"a:b") && is_legacy_label_name(b"a_b"));
    }

    #[test]
    fn legacy_name_that_looks_escaped_is_escaped_on_demand() {
        let table: [(&[u8], _, _); 4] = [
            (b"a_dot_b", NameEscaping::Dots, "a__dot__b"),
            (b"a__b", NameEscaping::Dots, "a____b"),
            (b"U__a_2e_b", NameEscaping::Values, "U__U____a__2e__b"),
            (b"a_dot_b", NameEscaping::Underscores, "a_dot_b"),
        ];
        for (name, escaping, expected) in table {
            let escaper = NameEscaper { escaping, escapes_lookalikes: true };
            assert_eq!(&*escape_name(name, escaper), expected.as_bytes());
            assert_eq!(escaped(name, escaping).as_bytes(), name);
        }
    }
}
