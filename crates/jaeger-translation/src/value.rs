//! Attributes to `KeyValue`s.

use otelcore_pdata::text::put_value;
use otelcore_pdata::views::{AnyValue, KeyValue, View};
use otelcore_pdata::wire_format::{
    put_bytes_field, put_fixed64_field, put_tag_and_len, put_varint_field, short_string_attribute, short_tag_field_len,
    varint_len,
};

/// Whether HTTP status attributes get their current name: they do in spans and events, but not in resources.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpAttributeNames {
    Unchanged,
    Current,
}

const TYPE_INT64: u64 = 2;
const TYPE_BOOL: u64 = 1;
const TYPE_FLOAT64: u64 = 3;
const TYPE_BINARY: u64 = 4;

/// Appends an attribute, given by its bytes, as a `KeyValue` in field `number`.
#[inline]
pub(crate) fn put_attribute(out: &mut Vec<u8>, number: u32, raw: &[u8], names: HttpAttributeNames) {
    // The most common form: key and string are copied with their tags and lengths, unless the key may have to be
    // renamed.
    if let Some((key_end, string)) = short_string_attribute(raw)
        && let Some(key) = raw.get(..key_end)
        && (names == HttpAttributeNames::Unchanged || !key.get(2..).is_some_and(|k| k.starts_with(b"http.")))
    {
        put_tag_and_len(out, number, key.len() + 1 + string.len());
        out.extend_from_slice(key);
        out.push(0x1a);
        out.extend_from_slice(string);
    } else {
        put_tag(out, number, &KeyValue::parse(raw), names);
    }
}

/// Appends a `KeyValue` as field `number`.
pub(crate) fn put_tag(out: &mut Vec<u8>, number: u32, kv: &KeyValue<'_>, names: HttpAttributeNames) {
    let key = match (names, kv.key) {
        (HttpAttributeNames::Current, b"http.status_code") => b"http.response.status_code",
        (_, key) => key,
    };
    match kv.value {
        AnyValue::String(v) => put_string(out, number, key, v),
        AnyValue::Empty => put_string(out, number, key, b""),
        AnyValue::Bool(v) => {
            // v_type, and v_bool unless it is false.
            let len = key_len(key) + 2 + if v { 2 } else { 0 };
            put_key(out, number, len, key);
            put_varint_field(out, 2, TYPE_BOOL);
            if v {
                put_varint_field(out, 4, 1);
            }
        }
        AnyValue::Int(v) => {
            let v = v.cast_unsigned();
            let len = key_len(key) + 2 + if v == 0 { 0 } else { 1 + varint_len(v) };
            put_key(out, number, len, key);
            put_varint_field(out, 2, TYPE_INT64);
            if v != 0 {
                put_varint_field(out, 5, v);
            }
        }
        AnyValue::Double(v) => {
            // Zero of either sign is left out, because Go's encoder compares by value.
            let len = key_len(key) + 2 + if v == 0.0 { 0 } else { 9 };
            put_key(out, number, len, key);
            put_varint_field(out, 2, TYPE_FLOAT64);
            if v != 0.0 {
                put_fixed64_field(out, 6, v.to_bits());
            }
        }
        AnyValue::Bytes(v) => {
            let len = key_len(key) + 2 + if v.is_empty() { 0 } else { short_tag_field_len(v.len()) };
            put_key(out, number, len, key);
            put_varint_field(out, 2, TYPE_BINARY);
            if !v.is_empty() {
                put_bytes_field(out, 7, v);
            }
        }
        AnyValue::Array(_) | AnyValue::Map(_) => {
            let mut text = Vec::new();
            put_value(&mut text, kv.value);
            put_string(out, number, key, &text);
        }
    }
}

/// Appends a string tag.
#[inline]
pub(crate) fn put_string(out: &mut Vec<u8>, number: u32, key: &[u8], v: &[u8]) {
    let len = key_len(key) + if v.is_empty() { 0 } else { short_tag_field_len(v.len()) };
    put_key(out, number, len, key);
    if !v.is_empty() {
        put_bytes_field(out, 3, v);
    }
}

fn key_len(key: &[u8]) -> usize {
    if key.is_empty() { 0 } else { short_tag_field_len(key.len()) }
}

fn put_key(out: &mut Vec<u8>, number: u32, len: usize, key: &[u8]) {
    put_tag_and_len(out, number, len);
    if !key.is_empty() {
        put_bytes_field(out, 1, key);
    }
}
