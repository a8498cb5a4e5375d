//! Text that nobody is to read: tokens and passwords.

use otelcore_config::Section;
use subtle::ConstantTimeEq;

/// A token, a password, or the file that has them. Shows itself to nobody.
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
    /// Takes a key that `print-config` redacts; absent is empty.
    pub(crate) fn take(s: &mut Section<'_>, key: &str) -> Self {
        Self(s.opaque(key, ""))
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in a time that depends on the lengths alone.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(other).into()
    }
}
