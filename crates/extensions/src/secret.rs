//! Secret text: tokens and passwords.

use otelcore_config::declare::{ConfigItem, ConfigValue, Shape};
use otelcore_config::{EffectiveValue, Section};
use subtle::ConstantTimeEq;

use crate::header_syntax::remove_last_line_breaks;

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

/// Redacted by `print-config`. Line breaks at the end are removed: a value from a file or a variable often has one, and
/// no token or password ends in one.
impl ConfigValue for Secret {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        Self::without_line_breaks(s.opaque(key, &default.0))
    }

    fn shape(_: &Self) -> Shape {
        Shape::Secret
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Opaque(self.0.clone())
    }
}

/// Read as strings, but shown as secrets.
impl ConfigItem for Secret {
    fn read_list(s: &mut Section<'_>, key: &str, _: &[Self]) -> Vec<Self> {
        let list: Vec<Self> = s.str_list(key, &[]).into_iter().map(Self::without_line_breaks).collect();
        s.record(key, Self::list_effective(&list));
        list
    }

    fn list_shape() -> Shape {
        Shape::Words
    }

    fn list_effective(list: &[Self]) -> EffectiveValue {
        EffectiveValue::List(list.iter().map(ConfigValue::effective).collect())
    }
}

impl Secret {
    /// Without the line breaks at the end.
    pub(crate) fn without_line_breaks(mut text: String) -> Self {
        remove_last_line_breaks(&mut text);
        Self(text)
    }

    /// Whether a header field can carry it.
    #[cfg(feature = "bearertokenauth")]
    pub(crate) fn is_valid_field_value(&self) -> bool {
        crate::header_syntax::is_field_value(&self.0)
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
