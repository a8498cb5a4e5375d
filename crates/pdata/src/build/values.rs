//! Attributes and values with nested content.

use super::{Body, DEEP, Message};
use crate::MAX_NESTING;
use crate::value::{Value, key_len, put_key};
use crate::views::AnyValue;
use crate::wire_format::{put_tag_and_len, short_tag_field_len};

/// Writes attributes: the entries of a `repeated KeyValue`, or of a map. A key that is written twice is there twice.
#[derive(Debug)]
pub struct AttributesWriter<'a> {
    body: &'a mut Body,
    /// The field number in the message around.
    number: u32,
    /// Levels of values around.
    depth: u8,
}

impl<'a> AttributesWriter<'a> {
    pub(super) fn new(body: &'a mut Body, number: u32) -> Self {
        Self { body, number, depth: 0 }
    }

    /// Adds an attribute.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: AnyValue<'_>) -> &mut Self {
        let out = &mut self.body.out;
        let value_len = value.encoded_len();
        put_tag_and_len(out, self.number, key_len(key) + short_tag_field_len(value_len));
        put_key(out, key);
        put_tag_and_len(out, 2, value_len);
        value.encode(out);
        self
    }

    /// Adds a string.
    #[inline]
    pub fn string(&mut self, key: &[u8], v: &[u8]) -> &mut Self {
        self.push(key, AnyValue::String(v))
    }

    /// Adds an integer.
    #[inline]
    pub fn int(&mut self, key: &[u8], v: i64) -> &mut Self {
        self.push(key, AnyValue::Int(v))
    }

    /// Adds a boolean.
    #[inline]
    pub fn bool(&mut self, key: &[u8], v: bool) -> &mut Self {
        self.push(key, AnyValue::Bool(v))
    }

    /// Adds a double.
    #[inline]
    pub fn double(&mut self, key: &[u8], v: f64) -> &mut Self {
        self.push(key, AnyValue::Double(v))
    }

    /// Adds bytes.
    #[inline]
    pub fn bytes(&mut self, key: &[u8], v: &[u8]) -> &mut Self {
        self.push(key, AnyValue::Bytes(v))
    }

    /// Adds a value of any depth; what is nested too deep is left out and counted in [`Body::omitted`].
    pub fn value(&mut self, key: &[u8], value: &Value) -> &mut Self {
        match value {
            Value::Empty => self.push(key, AnyValue::Empty),
            Value::String(v) => self.string(key, v),
            Value::Bool(v) => self.bool(key, *v),
            Value::Int(v) => self.int(key, *v),
            Value::Double(v) => self.double(key, *v),
            Value::Bytes(v) => self.bytes(key, v),
            Value::Array(values) => self.array(key, |array| values.iter().for_each(|value| array.value(value))),
            Value::Map(entries) => self.map(key, |map| {
                for (key, value) in entries {
                    map.value(key, value);
                }
            }),
        }
    }

    /// Adds a map, whose entries `write` writes.
    pub fn map(&mut self, key: &[u8], write: impl FnOnce(&mut AttributesWriter<'_>)) -> &mut Self {
        let Some(depth) = inside(self.body, self.depth) else { return self };
        let mut attribute = Message::begin(self.body, self.number, DEEP);
        put_key(&mut attribute.body.out, key);
        let mut value = attribute.nested(2, DEEP);
        let list = value.nested(6, DEEP);
        write(&mut AttributesWriter { body: list.body, number: 1, depth });
        drop(list);
        drop(value);
        drop(attribute);
        self
    }

    /// Adds a list, whose elements `write` writes.
    pub fn array(&mut self, key: &[u8], write: impl FnOnce(&mut ArrayWriter<'_>)) -> &mut Self {
        let Some(depth) = inside(self.body, self.depth) else { return self };
        let mut attribute = Message::begin(self.body, self.number, DEEP);
        put_key(&mut attribute.body.out, key);
        let mut value = attribute.nested(2, DEEP);
        let list = value.nested(5, DEEP);
        write(&mut ArrayWriter { body: list.body, depth });
        drop(list);
        drop(value);
        drop(attribute);
        self
    }
}

/// One level more; `None` if the values in it would be nested too deep.
fn inside(body: &mut Body, depth: u8) -> Option<u8> {
    if depth + 1 < MAX_NESTING {
        return Some(depth + 1);
    }
    body.omitted = body.omitted.saturating_add(1);
    None
}

/// Writes the elements of a list.
#[derive(Debug)]
pub struct ArrayWriter<'a> {
    body: &'a mut Body,
    /// Levels of values around.
    depth: u8,
}

impl<'a> ArrayWriter<'a> {
    pub(super) fn new(body: &'a mut Body) -> Self {
        Self { body, depth: 0 }
    }

    /// Adds an element.
    #[inline]
    pub fn push(&mut self, value: AnyValue<'_>) {
        put_tag_and_len(&mut self.body.out, 1, value.encoded_len());
        value.encode(&mut self.body.out);
    }

    /// Adds an element of any depth; what is nested too deep is left out and counted in [`Body::omitted`].
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Empty => self.push(AnyValue::Empty),
            Value::String(v) => self.push(AnyValue::String(v)),
            Value::Bool(v) => self.push(AnyValue::Bool(*v)),
            Value::Int(v) => self.push(AnyValue::Int(*v)),
            Value::Double(v) => self.push(AnyValue::Double(*v)),
            Value::Bytes(v) => self.push(AnyValue::Bytes(v)),
            Value::Array(values) => self.array(|array| values.iter().for_each(|value| array.value(value))),
            Value::Map(entries) => self.map(|map| {
                for (key, value) in entries {
                    map.value(key, value);
                }
            }),
        }
    }

    /// Adds a map, whose entries `write` writes.
    pub fn map(&mut self, write: impl FnOnce(&mut AttributesWriter<'_>)) {
        let Some(depth) = inside(self.body, self.depth) else { return };
        let mut value = Message::begin(self.body, 1, DEEP);
        let list = value.nested(6, DEEP);
        write(&mut AttributesWriter { body: list.body, number: 1, depth });
    }

    /// Adds a list, whose elements `write` writes.
    pub fn array(&mut self, write: impl FnOnce(&mut ArrayWriter<'_>)) {
        let Some(depth) = inside(self.body, self.depth) else { return };
        let mut value = Message::begin(self.body, 1, DEEP);
        let list = value.nested(5, DEEP);
        write(&mut ArrayWriter { body: list.body, depth });
    }
}
