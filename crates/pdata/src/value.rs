//! Values with nested content: their encoding, and an owned form in which one value can be changed.
//!
//! Only a value that changes inside is decoded into a [`Value`]; everything else is read through
//! [`AnyValue`] views.

use crate::MAX_NESTING;
use crate::views::{AnyValue, KeyValue};
use crate::wire_format::{
    put_bytes_field, put_fixed64_field, put_tag_and_len, put_varint_field, short_tag_field_len, varint_len,
};

/// A decoded value. Strings and keys are usually UTF-8, which is not checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// No value at all.
    #[default]
    Empty,
    /// A string.
    String(Vec<u8>),
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A list of values.
    Array(Vec<Self>),
    /// Values by key, in their order; a key can occur twice.
    Map(Vec<(Vec<u8>, Self)>),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// Decodes a view to full depth. What is nested deeper than [`MAX_NESTING`], which no checked body is, is left out.
    #[must_use]
    pub fn decode(view: AnyValue<'_>) -> Self {
        Self::decode_at(view, 0)
    }

    fn decode_at(view: AnyValue<'_>, depth: u8) -> Self {
        match view {
            AnyValue::Empty => Self::Empty,
            AnyValue::String(v) => Self::String(v.to_vec()),
            AnyValue::Bool(v) => Self::Bool(v),
            AnyValue::Int(v) => Self::Int(v),
            AnyValue::Double(v) => Self::Double(v),
            AnyValue::Bytes(v) => Self::Bytes(v.to_vec()),
            AnyValue::Array(_) | AnyValue::Map(_) if depth > MAX_NESTING => Self::Empty,
            AnyValue::Array(raw) => {
                Self::Array(AnyValue::array_elements(raw).map(|value| Self::decode_at(value, depth + 1)).collect())
            }
            AnyValue::Map(raw) => {
                let entry = |kv: KeyValue<'_>| (kv.key.to_vec(), Self::decode_at(kv.value, depth + 1));
                Self::Map(AnyValue::map_entries(raw).map(entry).collect())
            }
        }
    }

    /// Levels of values in it, itself included: 1 for a string or an empty list. Stops counting above [`MAX_NESTING`].
    #[must_use]
    pub fn depth(&self) -> u8 {
        fn below(value: &Value, left: u8) -> u8 {
            let Some(left) = left.checked_sub(1) else { return 1 };
            let inner = match value {
                Value::Array(values) => values.iter().map(|value| below(value, left)).max(),
                Value::Map(entries) => entries.iter().map(|(_, value)| below(value, left)).max(),
                _ => None,
            };
            1 + inner.unwrap_or(0)
        }
        below(self, MAX_NESTING + 1)
    }

    /// Appends the content of an `AnyValue` message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut lengths = Vec::new();
        self.measure(&mut lengths);
        self.write(&mut lengths.iter().copied(), out);
    }

    /// The length of the `AnyValue` message. Lengths of lists and their elements are appended in the order in which
    /// [`Value::write`] reads them, so that both passes are linear at any depth.
    fn measure(&self, lengths: &mut Vec<usize>) -> usize {
        let nested = matches!(self, Self::Array(_) | Self::Map(_));
        let at = lengths.len();
        if nested {
            lengths.push(0);
        }
        let list = match self {
            Self::Empty => return 0,
            Self::String(v) | Self::Bytes(v) => return short_tag_field_len(v.len()),
            Self::Bool(_) => return 2,
            Self::Int(v) => return 1 + varint_len(v.cast_unsigned()),
            Self::Double(_) => return 9,
            Self::Array(values) => {
                let element = |value: &Self| {
                    let at = lengths.len();
                    lengths.push(0);
                    let len = value.measure(lengths);
                    set(lengths, at, len);
                    short_tag_field_len(len)
                };
                values.iter().map(element).sum::<usize>()
            }
            Self::Map(entries) => {
                let entry = |(key, value): &(Vec<u8>, Self)| {
                    let at = lengths.len();
                    lengths.extend_from_slice(&[0, 0]);
                    let value = value.measure(lengths);
                    let len = key_len(key) + short_tag_field_len(value);
                    set(lengths, at, len);
                    set(lengths, at + 1, value);
                    short_tag_field_len(len)
                };
                entries.iter().map(entry).sum::<usize>()
            }
        };
        set(lengths, at, list);
        short_tag_field_len(list)
    }

    fn write(&self, lengths: &mut impl Iterator<Item = usize>, out: &mut Vec<u8>) {
        let mut next = || lengths.next().unwrap_or(0);
        match self {
            Self::Empty => {}
            Self::String(v) => put_bytes_field(out, 1, v),
            Self::Bool(v) => put_varint_field(out, 2, u64::from(*v)),
            Self::Int(v) => put_varint_field(out, 3, v.cast_unsigned()),
            Self::Double(v) => put_fixed64_field(out, 4, v.to_bits()),
            Self::Bytes(v) => put_bytes_field(out, 7, v),
            Self::Array(values) => {
                put_tag_and_len(out, 5, next());
                for value in values {
                    put_tag_and_len(out, 1, lengths.next().unwrap_or(0));
                    value.write(lengths, out);
                }
            }
            Self::Map(entries) => {
                put_tag_and_len(out, 6, next());
                for (key, value) in entries {
                    put_tag_and_len(out, 1, lengths.next().unwrap_or(0));
                    put_key(out, key);
                    put_tag_and_len(out, 2, lengths.next().unwrap_or(0));
                    value.write(lengths, out);
                }
            }
        }
    }
}

fn set(lengths: &mut [usize], at: usize, len: usize) {
    if let Some(length) = lengths.get_mut(at) {
        *length = len;
    }
}

/// Bytes of the key of a `KeyValue`; an empty key is omitted.
pub(crate) fn key_len(key: &[u8]) -> usize {
    if key.is_empty() { 0 } else { short_tag_field_len(key.len()) }
}

pub(crate) fn put_key(out: &mut Vec<u8>, key: &[u8]) {
    if !key.is_empty() {
        put_bytes_field(out, 1, key);
    }
}

impl AnyValue<'_> {
    /// Bytes of the `AnyValue` message.
    #[inline]
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::String(v) | Self::Array(v) | Self::Map(v) | Self::Bytes(v) => short_tag_field_len(v.len()),
            Self::Bool(_) => 2,
            Self::Int(v) => 1 + varint_len(v.cast_unsigned()),
            Self::Double(_) => 9,
        }
    }

    /// Appends the content of the `AnyValue` message.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => {}
            Self::String(v) => put_bytes_field(out, 1, v),
            Self::Bool(v) => put_varint_field(out, 2, u64::from(*v)),
            Self::Int(v) => put_varint_field(out, 3, v.cast_unsigned()),
            Self::Double(v) => put_fixed64_field(out, 4, v.to_bits()),
            Self::Array(v) => put_bytes_field(out, 5, v),
            Self::Map(v) => put_bytes_field(out, 6, v),
            Self::Bytes(v) => put_bytes_field(out, 7, v),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::View;

    #[test]
    fn nested_value_encoded_and_decoded_is_the_same() {
        let mut value = Value::Map(vec![
            (b"a".to_vec(), Value::Array(vec![Value::Empty, Value::Int(-1), Value::String(vec![b'x'; 300])])),
            (Vec::new(), Value::Map(Vec::new())),
            (b"b".to_vec(), Value::Bytes(vec![0, 255])),
            (b"c".to_vec(), Value::Double(0.5)),
            (b"d".to_vec(), Value::Bool(true)),
        ]);
        for _ in 0..40 {
            value = Value::Array(vec![value, Value::Empty]);
        }
        let mut raw = Vec::new();
        value.encode(&mut raw);
        assert_eq!(Value::decode(AnyValue::parse(&raw)), value);
        assert_eq!(value.depth(), 43);
    }

    #[test]
    fn depth_above_the_limit_stops_counting() {
        let mut value = Value::Empty;
        for _ in 0..1000 {
            value = Value::Array(vec![value]);
        }
        assert_eq!(value.depth(), MAX_NESTING + 2);
    }
}
