//! Converts one node to one Go type: which values convert, and the message if they do not.
//!
//! Strict, with the exceptions of the Go collector: for a duration, an integer is nanoseconds; floats are truncated to
//! integers; null is the zero value. Keys, defaults and sections are not handled here.

use crate::diagnostics::DiagnosticKind;
use crate::duration;
use crate::load::missing_space_hint;
use crate::node::{ConfigNode, NodeMap, NodeValue};

/// Why a value does not convert; the message is shown after the key in quotes.
pub(crate) struct ConversionError {
    pub(crate) kind: DiagnosticKind,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl ConversionError {
    fn new(kind: DiagnosticKind, message: String) -> Self {
        Self { kind, message, help: None }
    }

    pub(crate) fn expected(target: &str, node: &ConfigNode) -> Self {
        let message = format!("expected type '{target}', got unconvertible type '{}'", node.value.go_type());
        Self::new(DiagnosticKind::WrongType, message)
    }

    fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// An integer type that a field can have.
pub trait Integer: Copy {
    /// The name of the type in Go.
    const GO: &'static str;
    /// Whether it has no negative values.
    const UNSIGNED: bool;
    /// `None` outside of its range.
    fn from_i128(v: i128) -> Option<Self>;
    /// Always exact.
    fn to_i128(self) -> i128;
}

macro_rules! integers {
    ($($t:ty, $go:literal, $unsigned:literal;)*) => {$(
        impl Integer for $t {
            const GO: &'static str = $go;
            const UNSIGNED: bool = $unsigned;
            fn from_i128(v: i128) -> Option<Self> {
                v.try_into().ok()
            }
            fn to_i128(self) -> i128 {
                // Nothing here is wider than 64 bits.
                i128::try_from(self).unwrap_or_default()
            }
        }
    )*};
}

integers! {
    u8, "uint8", true; u16, "uint16", true; u32, "uint32", true; u64, "uint64", true; usize, "uint", true;
    i8, "int8", false; i16, "int16", false; i32, "int32", false; i64, "int64", false; isize, "int", false;
}

/// A string that may be a secret: the hint does not repeat it.
pub(crate) fn secret_string(node: &ConfigNode) -> Result<String, ConversionError> {
    string(node).map_err(|refusal| ConversionError { help: Some("quote it".to_owned()), ..refusal })
}

pub(crate) fn string(node: &ConfigNode) -> Result<String, ConversionError> {
    match (&node.value, &node.raw) {
        (NodeValue::Str(text), _) | (_, Some(text)) => Ok(text.to_string()),
        (NodeValue::Null, None) => Ok(String::new()),
        (value, None) => {
            let refusal = ConversionError::expected("string", node);
            Err(match value {
                NodeValue::Int(_) | NodeValue::Bool(_) | NodeValue::Float(_) => match node.source_scalar() {
                    Some(text) => refusal.with_help(format!("quote it: \"{text}\"")),
                    None => refusal.with_help("quote it"),
                },
                _ => refusal,
            })
        }
    }
}

pub(crate) fn boolean(node: &ConfigNode) -> Result<bool, ConversionError> {
    match &node.value {
        NodeValue::Bool(v) => Ok(*v),
        NodeValue::Null => Ok(false),
        NodeValue::Str(text) => {
            let help = match text.to_lowercase().as_str() {
                "true" | "yes" | "on" | "y" => Some("write true, without quotes"),
                "false" | "no" | "off" | "n" => Some("write false, without quotes"),
                _ => None,
            };
            Err(ConversionError { help: help.map(str::to_owned), ..ConversionError::expected("bool", node) })
        }
        _ => Err(ConversionError::expected("bool", node)),
    }
}

pub(crate) fn integer<T: Integer>(node: &ConfigNode) -> Result<T, ConversionError> {
    let overflow = |shown: String, ty: &str| {
        ConversionError::new(
            DiagnosticKind::OutOfRange,
            format!("cannot parse value as '{}': {shown} overflows {ty}", T::GO),
        )
    };
    let (value, shown) = match &node.value {
        NodeValue::Int(v) => (*v, v.to_string()),
        // A cast from float truncates and saturates, so a value out of range is still out of range below; NaN is
        // refused in the next arm, because the cast would make it zero.
        #[expect(clippy::cast_possible_truncation, reason = "Go cuts floats to integers")]
        NodeValue::Float(v) if !v.is_nan() => (v.trunc() as i128, format!("{v:.6}")),
        NodeValue::Float(_) => return Err(overflow("NaN".to_owned(), T::GO)),
        NodeValue::Null => (0, "0".to_owned()),
        NodeValue::Str(text) => {
            let refusal = ConversionError::expected(T::GO, node);
            // Without quotes `0123` would be octal.
            return Err(match text.trim().parse::<i64>() {
                Ok(number) => refusal.with_help(format!("write {number}, without quotes")),
                Err(_) => refusal,
            });
        }
        _ => return Err(ConversionError::expected(T::GO, node)),
    };
    let ty = if value < 0 && T::UNSIGNED { "uint" } else { T::GO };
    T::from_i128(value).ok_or_else(|| overflow(shown, ty))
}

#[expect(clippy::cast_precision_loss, reason = "the field is a float")]
pub(crate) fn float(node: &ConfigNode) -> Result<f64, ConversionError> {
    match &node.value {
        NodeValue::Float(v) => Ok(*v),
        NodeValue::Int(v) => Ok(*v as f64),
        NodeValue::Null => Ok(0.0),
        _ => Err(ConversionError::expected("float64", node)),
    }
}

/// Nanoseconds.
pub(crate) fn duration_nanos(node: &ConfigNode) -> Result<i64, ConversionError> {
    match &node.value {
        NodeValue::Str(text) => duration::parse(text).map_err(|error| {
            let refusal = ConversionError::new(DiagnosticKind::BadValue, error.to_string());
            match error {
                duration::DurationError::UnknownUnit(..) => {
                    refusal.with_help("units are ns, us, ms, s, m and h, as in 1h5m")
                }
                duration::DurationError::MissingUnit(_) => refusal.with_help(format!("write {text}s for seconds")),
                duration::DurationError::Invalid(_) => refusal.with_help("write a duration such as 300ms, 5s or 1h5m"),
            }
        }),
        NodeValue::Bool(_) | NodeValue::List(_) | NodeValue::Map(_) => {
            Err(ConversionError::expected("time.Duration", node))
        }
        _ => integer::<i64>(node),
    }
}

/// `Ok(None)` for null, which is an empty section.
pub(crate) fn map(node: &ConfigNode) -> Result<Option<&NodeMap>, ConversionError> {
    match &node.value {
        NodeValue::Map(map) => Ok(Some(map)),
        NodeValue::Null => Ok(None),
        other => {
            let message = format!("expected a map or struct, got \"{}\"", other.go_kind());
            Err(ConversionError {
                help: missing_space_hint(other).map(str::to_owned),
                ..ConversionError::new(DiagnosticKind::WrongType, message)
            })
        }
    }
}

/// `Ok(None)` for null, which keeps the default.
pub(crate) fn list(node: &ConfigNode) -> Result<Option<&[ConfigNode]>, ConversionError> {
    match &node.value {
        NodeValue::List(items) => Ok(Some(items)),
        NodeValue::Null => Ok(None),
        other => {
            let message = format!("source data must be an array or slice, got {}", other.go_kind());
            let help = matches!(other, NodeValue::Str(_)).then(|| "write a list: [a, b]".to_owned());
            Err(ConversionError { help, ..ConversionError::new(DiagnosticKind::WrongType, message) })
        }
    }
}
