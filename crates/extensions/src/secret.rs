//! Secret text: tokens and passwords.

use otelcore_config::Section;
use subtle::ConstantTimeEq;

/// A token, a password, or the content of a file with them. Redacted in `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Secret {
    /// Reads a key that `print-config` redacts; an absent key is empty. Line breaks at the end are removed: a value
    /// from a file or a variable often has one, and no token or password ends in one.
    pub(crate) fn parse(s: &mut Section<'_>, key: &str) -> Self {
        Self::without_line_breaks(s.opaque(key, ""))
    }

    /// Without the line breaks at the end.
    pub(crate) fn without_line_breaks(mut text: String) -> Self {
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        Self(text)
    }

    /// Whether a header field can carry it (RFC 9110, 5.5): no control characters inside.
    pub(crate) fn is_valid_field_value(&self) -> bool {
        self.0.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f))
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in a time that depends on the lengths only.
    #[must_use]
    pub fn constant_time_eq(&self, other: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(other).into()
    }
}
