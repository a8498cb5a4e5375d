//! Converts one node to one Go type: which values convert, and the message if they do not.
//!
//! Strict, with the exceptions of the Go collector: for a duration, an integer is nanoseconds; floats are truncated to
//! integers; null is the zero value. Keys, defaults and sections are not handled here.

use crate::diag::Kind;
use crate::duration;
use crate::load::missing_space;
use crate::node::{Map, Node, Value};

/// Why a value does not convert; the message is shown after the key in quotes.
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Refusal {
    fn new(kind: Kind, message: String) -> Self {
        Self { kind, message, help: None }
    }

    pub(crate) fn expected(target: &str, node: &Node) -> Self {
        let message = format!("expected type '{target}', got unconvertible type '{}'", node.value.go_type());
        Self::new(Kind::WrongType, message)
    }

    fn helped(mut self, help: impl Into<String>) -> Self {
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
pub(crate) fn secret(node: &Node) -> Result<String, Refusal> {
    string(node).map_err(|refusal| Refusal { help: Some("quote it".to_owned()), ..refusal })
}

pub(crate) fn string(node: &Node) -> Result<String, Refusal> {
    match (&node.value, &node.raw) {
        (Value::Str(text), _) | (_, Some(text)) => Ok(text.to_string()),
        (Value::Null, None) => Ok(String::new()),
        (value, None) => {
            let refusal = Refusal::expected("string", node);
            Err(match value {
                Value::Int(_) | Value::Bool(_) | Value::Float(_) => match node.written() {
                    Some(text) => refusal.helped(format!("quote it: \"{text}\"")),
                    None => refusal.helped("quote it"),
                },
                _ => refusal,
            })
        }
    }
}

pub(crate) fn boolean(node: &Node) -> Result<bool, Refusal> {
    match &node.value {
        Value::Bool(v) => Ok(*v),
        Value::Null => Ok(false),
        Value::Str(text) => {
            let help = match text.to_lowercase().as_str() {
                "true" | "yes" | "on" | "y" => Some("write true, without quotes"),
                "false" | "no" | "off" | "n" => Some("write false, without quotes"),
                _ => None,
            };
            Err(Refusal { help: help.map(str::to_owned), ..Refusal::expected("bool", node) })
        }
        _ => Err(Refusal::expected("bool", node)),
    }
}

pub(crate) fn integer<T: Integer>(node: &Node) -> Result<T, Refusal> {
    let overflow = |shown: String, ty: &str| {
        Refusal::new(Kind::OutOfRange, format!("cannot parse value as '{}': {shown} overflows {ty}", T::GO))
    };
    let (value, shown) = match &node.value {
        Value::Int(v) => (*v, v.to_string()),
        // A cast from float truncates and saturates, so a value out of range is still out of range below; NaN is
        // refused in the next arm, because the cast would make it zero.
        #[expect(clippy::cast_possible_truncation, reason = "Go cuts floats to integers")]
        Value::Float(v) if !v.is_nan() => (v.trunc() as i128, format!("{v:.6}")),
        Value::Float(_) => return Err(overflow("NaN".to_owned(), T::GO)),
        Value::Null => (0, "0".to_owned()),
        Value::Str(text) => {
            let refusal = Refusal::expected(T::GO, node);
            // Without quotes `0123` would be octal.
            return Err(match text.trim().parse::<i64>() {
                Ok(number) => refusal.helped(format!("write {number}, without quotes")),
                Err(_) => refusal,
            });
        }
        _ => return Err(Refusal::expected(T::GO, node)),
    };
    let ty = if value < 0 && T::UNSIGNED { "uint" } else { T::GO };
    T::from_i128(value).ok_or_else(|| overflow(shown, ty))
}

#[expect(clippy::cast_precision_loss, reason = "the field is a float")]
pub(crate) fn float(node: &Node) -> Result<f64, Refusal> {
    match &node.value {
        Value::Float(v) => Ok(*v),
        Value::Int(v) => Ok(*v as f64),
        Value::Null => Ok(0.0),
        _ => Err(Refusal::expected("float64", node)),
    }
}

/// Nanoseconds.
pub(crate) fn nanos(node: &Node) -> Result<i64, Refusal> {
    match &node.value {
        Value::Str(text) => duration::parse(text).map_err(|error| {
            let refusal = Refusal::new(Kind::BadValue, error.to_string());
            match error {
                duration::DurationError::UnknownUnit(..) => {
                    refusal.helped("units are ns, us, ms, s, m and h, as in 1h5m")
                }
                duration::DurationError::MissingUnit(_) => refusal.helped(format!("write {text}s for seconds")),
                duration::DurationError::Invalid(_) => refusal.helped("write a duration such as 300ms, 5s or 1h5m"),
            }
        }),
        Value::Bool(_) | Value::List(_) | Value::Map(_) => Err(Refusal::expected("time.Duration", node)),
        _ => integer::<i64>(node),
    }
}

/// `Ok(None)` for null, which is an empty section.
pub(crate) fn map(node: &Node) -> Result<Option<&Map>, Refusal> {
    match &node.value {
        Value::Map(map) => Ok(Some(map)),
        Value::Null => Ok(None),
        other => {
            let message = format!("expected a map or struct, got \"{}\"", other.go_kind());
            Err(Refusal { help: missing_space(other).map(str::to_owned), ..Refusal::new(Kind::WrongType, message) })
        }
    }
}

/// `Ok(None)` for null, which keeps the default.
pub(crate) fn list(node: &Node) -> Result<Option<&[Node]>, Refusal> {
    match &node.value {
        Value::List(items) => Ok(Some(items)),
        Value::Null => Ok(None),
        other => {
            let message = format!("source data must be an array or slice, got {}", other.go_kind());
            let help = matches!(other, Value::Str(_)).then(|| "write a list: [a, b]".to_owned());
            Err(Refusal { help, ..Refusal::new(Kind::WrongType, message) })
        }
    }
}
