//! Attributes of one message under edit: `repeated KeyValue`.
//!
//! Keys are compared as bytes. A key that occurs twice is not legal in OTLP; the first occurrence is then the one that
//! is read and written, and [`AttributesMut::remove`] removes all.

use super::message::MessageMut;
use super::read_index::{self, Found};
use crate::MAX_NESTING;
use crate::value::{Value, key_len, put_key};
use crate::views::{AnyValue, KeyValue, RepeatedMessages, View};
use crate::wire_format::{WireValue, put_tag_and_len, raw_fields, short_tag_field_len};

/// Reads and changes attributes. Reads see what has been written.
///
/// A write that does not change the bytes is none: the payload's buffer stays shared.
#[derive(Debug)]
pub struct AttributesMut<'a> {
    message: MessageMut<'a>,
    /// The field number of the attributes; below 16.
    number: u32,
}

impl<'a> AttributesMut<'a> {
    pub(super) fn new(message: MessageMut<'a>, number: u32) -> Self {
        Self { message, number }
    }

    /// All attributes, in their order.
    #[must_use]
    pub fn iter(&self) -> RepeatedMessages<'_, KeyValue<'_>> {
        RepeatedMessages::new(self.message.raw(), self.number)
    }

    /// The value under `key`.
    #[inline]
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<AnyValue<'_>> {
        self.message.attribute(self.number, key)
    }

    /// Whether there is an attribute with this key.
    #[inline]
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// Adds an attribute at the end, unless there is one with this key. Returns whether it was added.
    #[inline]
    pub fn insert(&mut self, key: &[u8], value: AnyValue<'_>) -> bool {
        self.find(key).is_none() && self.push(key, value)
    }

    /// Adds an attribute at the end without looking for its key.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: AnyValue<'_>) -> bool {
        let number = self.number;
        self.message.put(None, |out| put_attribute(out, number, key, value))
    }

    /// Sets the value of an attribute, if there is one with this key. Returns whether there is.
    #[inline]
    pub fn update(&mut self, key: &[u8], value: AnyValue<'_>) -> bool {
        self.message.begin();
        match self.find(key) {
            Some(found) => self.set_value(found, value),
            None => false,
        }
    }

    /// Sets the value of an attribute, or adds one at the end.
    #[inline]
    pub fn upsert(&mut self, key: &[u8], value: AnyValue<'_>) {
        if !self.update(key, value) {
            self.push(key, value);
        }
    }

    /// Removes every attribute with this key. Returns whether there was one.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.message.begin();
        let Some(found) = self.find(key) else { return false };
        let raw = self.message.raw();
        if read_index::find(raw.get(found.field.end..).unwrap_or_default(), self.number, key).is_some() {
            self.retain(|attribute| attribute.key != key);
        } else {
            self.message.remove_range(found.field);
        }
        true
    }

    /// Removes the attributes for which `keep` returns false.
    pub fn retain(&mut self, mut keep: impl FnMut(KeyValue<'_>) -> bool) {
        let number = self.number;
        self.message.retain(|found, wire| match wire {
            WireValue::Len(raw) if found == number => keep(KeyValue::parse(raw)),
            _ => true,
        });
    }

    /// Removes all attributes.
    pub fn clear(&mut self) {
        self.retain(|_| false);
    }

    /// Removes all attributes and adds these.
    pub fn replace_all<'v>(&mut self, attributes: impl IntoIterator<Item = (&'v [u8], AnyValue<'v>)>) {
        self.clear();
        for (key, value) in attributes {
            self.push(key, value);
        }
    }

    /// Changes any of the attributes in one pass: `change` is called once for each, in their order.
    pub fn for_each(&mut self, mut change: impl FnMut(&mut AttributeMut<'_>)) {
        let number = self.number;
        self.message.rewrite(|raw, found, wire, out| match wire {
            WireValue::Len(content) if found == number => {
                let start = out.len();
                let mut attribute = AttributeMut { number, content, out, start, is_written: false };
                change(&mut attribute);
                if !attribute.is_written {
                    out.extend_from_slice(raw);
                }
            }
            _ => out.extend_from_slice(raw),
        });
    }

    /// Decodes one value, has `change` change it, and encodes it again. Returns false if there is no attribute with
    /// this key, or if the new value is nested more than [`MAX_NESTING`] deep; such a value is not written.
    pub fn update_nested(&mut self, key: &[u8], change: impl FnOnce(&mut Value)) -> bool {
        let Some(mut value) = self.get(key).map(Value::decode) else { return false };
        change(&mut value);
        if value.depth() > MAX_NESTING {
            return false;
        }
        let mut raw = Vec::new();
        value.encode(&mut raw);
        self.update(key, AnyValue::parse(&raw))
    }

    #[inline]
    fn find(&self, key: &[u8]) -> Option<Found> {
        self.message.find(self.number, key)
    }

    #[inline]
    fn set_value(&mut self, found: Found, value: AnyValue<'_>) -> bool {
        let Found { field, content } = found;
        // The new attribute is written from the old one, which is in the message that changes.
        let mut new = std::mem::take(&mut self.message.message.value);
        new.clear();
        let old = self.message.raw().get(content).unwrap_or_default();
        put_changed(&mut new, self.number, old, value);
        let fits = self.message.put(Some(field), |out| out.extend_from_slice(&new));
        self.message.message.value = new;
        fits
    }
}

/// One attribute in [`AttributesMut::for_each`].
#[derive(Debug)]
pub struct AttributeMut<'a> {
    number: u32,
    content: &'a [u8],
    out: &'a mut Vec<u8>,
    /// Where the attribute begins in `out`.
    start: usize,
    is_written: bool,
}

impl<'a> AttributeMut<'a> {
    /// Its key and value as they were before the pass.
    #[must_use]
    pub fn view(&self) -> KeyValue<'a> {
        KeyValue::parse(self.content)
    }

    /// Keeps the key and sets the value. Of several calls of these methods the last one counts.
    pub fn set_value(&mut self, value: AnyValue<'_>) {
        self.begin();
        put_changed(self.out, self.number, self.content, value);
    }

    /// Sets both.
    pub fn set(&mut self, key: &[u8], value: AnyValue<'_>) {
        self.begin();
        put_attribute(self.out, self.number, key, value);
    }

    /// Removes it.
    pub fn remove(&mut self) {
        self.begin();
    }

    fn begin(&mut self) {
        self.out.truncate(self.start);
        self.is_written = true;
    }
}

/// Where the key ends in a `KeyValue` that is a key, followed by a value, and nothing else, with lengths of one byte.
/// Nearly all are.
#[inline]
fn plain_key(content: &[u8]) -> Option<usize> {
    let [0x0a, key_len @ ..0x80, ..] = content else { return None };
    let key_end = 2 + usize::from(*key_len);
    let [0x12, value_len @ ..0x80, value @ ..] = content.get(key_end..)? else { return None };
    (value.len() == usize::from(*value_len)).then_some(key_end)
}

/// Appends an attribute as a field of its message.
#[inline]
pub(crate) fn put_attribute(out: &mut Vec<u8>, number: u32, key: &[u8], value: AnyValue<'_>) {
    let value_len = value.encoded_len();
    put_tag_and_len(out, number, key_len(key) + short_tag_field_len(value_len));
    put_key(out, key);
    put_tag_and_len(out, 2, value_len);
    value.encode(out);
}

/// Appends an attribute that has all fields of `old` but its value.
#[inline]
fn put_changed(out: &mut Vec<u8>, number: u32, old: &[u8], value: AnyValue<'_>) {
    let value_len = value.encoded_len();
    if let Some(before) = plain_key(old).and_then(|end| old.get(..end)) {
        put_tag_and_len(out, number, before.len() + short_tag_field_len(value_len));
        out.extend_from_slice(before);
        put_tag_and_len(out, 2, value_len);
        return value.encode(out);
    }
    let others = || raw_fields(old).filter(|(_, found, _)| *found != 2).map(|(raw, _, _)| raw);
    put_tag_and_len(out, number, others().map(<[u8]>::len).sum::<usize>() + short_tag_field_len(value_len));
    others().for_each(|raw| out.extend_from_slice(raw));
    put_tag_and_len(out, 2, value_len);
    value.encode(out);
}
