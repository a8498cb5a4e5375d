//! Values without a type that is known before: what Go's `any` holds in an entry of a log.

use std::borrow::Cow;
use std::collections::BTreeMap;

use otelcore_go_text::time::Time;

/// A key of a [`Map`]. One that is known when the program is built needs no allocation.
pub type Key = Cow<'static, [u8]>;

/// Values by key. Go's maps have no order; this one has that of the keys.
pub type Map = BTreeMap<Key, Value>;

/// A key that is copied.
#[must_use]
pub fn key(text: &[u8]) -> Key {
    Cow::Owned(text.to_vec())
}

/// A value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Go's `nil`.
    #[default]
    Nil,
    /// A boolean.
    Bool(bool),
    /// An integer of any width.
    Int(i64),
    /// A double.
    Double(f64),
    /// A string; usually UTF-8, which is not checked.
    String(Vec<u8>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<Self>),
    /// A map.
    Map(Map),
    /// A point in time.
    Time(Time),
}

impl Value {
    /// A string.
    #[must_use]
    pub fn string(text: impl AsRef<[u8]>) -> Self {
        Self::String(text.as_ref().to_vec())
    }

    /// What is in it, borrowed.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        match self {
            Self::Nil => View::Nil,
            Self::Bool(v) => View::Bool(*v),
            Self::Int(v) => View::Int(*v),
            Self::Double(v) => View::Double(*v),
            Self::String(v) => View::String(v),
            Self::Bytes(v) => View::Bytes(v),
            Self::Array(v) => View::Array(v),
            Self::Map(v) => View::Map(v),
            Self::Time(v) => View::Time(v),
        }
    }

    /// The Go type, as `%T` prints it.
    #[must_use]
    pub fn go_type(&self) -> &'static str {
        self.view().go_type()
    }

    /// The text, if it is a string.
    #[must_use]
    pub fn as_string(&self) -> Option<&[u8]> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The map, if it is one.
    #[must_use]
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The map in it; a value that is none becomes an empty map.
    pub fn make_map(&mut self) -> &mut Map {
        if !matches!(self, Self::Map(_)) {
            *self = Self::Map(Map::new());
        }
        match self {
            Self::Map(map) => map,
            _ => unreachable!("it is a map"),
        }
    }

    /// Appends the value as `%v` prints it.
    pub fn print(&self, out: &mut Vec<u8>) {
        self.view().print(out);
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::String(v) | Self::Bytes(v) => v.capacity(),
                Self::Array(v) => v.iter().map(Self::memory_size).sum(),
                Self::Map(v) => map_memory_size(v),
                _ => 0,
            }
    }
}

/// About how many bytes of memory a map takes.
fn map_memory_size(map: &Map) -> usize {
    map.iter().map(|(key, value)| size_of::<Key>() + key.len() + value.memory_size()).sum()
}

/// A borrowed value.
#[derive(Clone, Copy, Debug)]
pub enum View<'v> {
    /// Go's `nil`.
    Nil,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A string.
    String(&'v [u8]),
    /// Bytes.
    Bytes(&'v [u8]),
    /// A list.
    Array(&'v [Value]),
    /// A map.
    Map(&'v Map),
    /// A point in time.
    Time(&'v Time),
}

impl View<'_> {
    /// A copy that borrows nothing.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self {
            Self::Nil => Value::Nil,
            Self::Bool(v) => Value::Bool(v),
            Self::Int(v) => Value::Int(v),
            Self::Double(v) => Value::Double(v),
            Self::String(v) => Value::String(v.to_vec()),
            Self::Bytes(v) => Value::Bytes(v.to_vec()),
            Self::Array(v) => Value::Array(v.to_vec()),
            Self::Map(v) => Value::Map(v.clone()),
            Self::Time(v) => Value::Time(v.clone()),
        }
    }

    /// The Go type, as `%T` prints it.
    #[must_use]
    pub fn go_type(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Double(_) => "float64",
            Self::String(_) => "string",
            Self::Bytes(_) => "[]uint8",
            Self::Array(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Time(_) => "time.Time",
        }
    }

    /// Appends the value as `%v` prints it.
    pub fn print(self, out: &mut Vec<u8>) {
        match self {
            Self::Nil => out.extend_from_slice(b"<nil>"),
            Self::Bool(v) => out.extend_from_slice(if v { b"true" } else { b"false" }),
            Self::Int(v) => out.extend_from_slice(v.to_string().as_bytes()),
            Self::Double(v) => otelcore_go_number::put_general(out, v),
            Self::String(v) => out.extend_from_slice(v),
            Self::Bytes(v) => print_list(out, v.iter(), |out, b| out.extend_from_slice(b.to_string().as_bytes())),
            Self::Array(v) => print_list(out, v.iter(), |out, value| value.print(out)),
            Self::Map(v) => {
                out.extend_from_slice(b"map");
                print_list(out, v.iter(), |out, (key, value)| {
                    out.extend_from_slice(key);
                    out.push(b':');
                    value.print(out);
                });
            }
            Self::Time(v) => {
                otelcore_go_text::time::layout::format("2006-01-02 15:04:05.999999999 -0700 MST", v, out);
            }
        }
    }

    /// Whether two values are equal: numbers by their value, lists and maps by their elements.
    #[must_use]
    pub fn equals(self, other: View<'_>) -> bool {
        match (self, other) {
            (Self::Nil, View::Nil) => true,
            (Self::Bool(a), View::Bool(b)) => a == b,
            (Self::Int(a), View::Int(b)) => a == b,
            (Self::Int(a), View::Double(b)) | (Self::Double(b), View::Int(a)) => to_double(a) == b,
            (Self::Double(a), View::Double(b)) => a == b,
            (Self::String(a), View::String(b)) | (Self::Bytes(a), View::Bytes(b)) => a == b,
            (Self::Array(a), View::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.view().equals(b.view()))
            }
            (Self::Map(a), View::Map(b)) => a == b,
            (Self::Time(a), View::Time(b)) => a.instant() == b.instant(),
            _ => false,
        }
    }
}

/// As Go converts an integer to a double.
#[expect(clippy::cast_precision_loss, reason = "that is the conversion")]
pub(crate) fn to_double(v: i64) -> f64 {
    v as f64
}

fn print_list<T>(out: &mut Vec<u8>, values: impl Iterator<Item = T>, print: impl Fn(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        print(out, value);
    }
    out.push(b']');
}

/// The error of an operand that is no string.
pub(crate) fn not_a_string(v: View<'_>) -> String {
    let found = if matches!(v, View::Nil) { "nil" } else { v.go_type() };
    format!("interface conversion: interface {{}} is {found}, not string")
}
