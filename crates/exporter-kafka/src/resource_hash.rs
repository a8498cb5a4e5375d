//! The hash of a resource's attributes that is the key of its messages, as the Go collector computes it, so that both send the messages
//! of a resource to the same partition. Reads attributes and changes nothing.

use otelcore_pdata::views::{AnyValue, KeyValue};
use twox_hash::XxHash64;

/// The hash of these attributes; their order does not matter.
pub(crate) fn hash_attributes<'a>(attributes: impl Iterator<Item = KeyValue<'a>>) -> [u8; 16] {
    let mut bytes = Vec::with_capacity(512);
    put_map(&mut bytes, attributes);
    let mut hash = [0; 16];
    if bytes.is_empty() {
        return hash;
    }
    let (low, high) = hash.split_at_mut(8);
    low.copy_from_slice(&XxHash64::oneshot(0, &bytes).to_le_bytes());
    bytes.push(0xf3);
    high.copy_from_slice(&XxHash64::oneshot(0, &bytes).to_le_bytes());
    hash
}

fn put_map<'a>(out: &mut Vec<u8>, entries: impl Iterator<Item = KeyValue<'a>>) {
    let mut entries: Vec<(&[u8], AnyValue<'_>)> = entries.map(|entry| (entry.key, entry.value)).collect();
    // A stable sort: of equal keys the first one has the value of all of them.
    entries.sort_by_key(|(key, _)| *key);
    let mut first: Option<(&[u8], AnyValue<'_>)> = None;
    for (key, value) in entries {
        let value = match first {
            Some((before, value)) if before == key => value,
            _ => value,
        };
        first = Some((key, value));
        out.push(0xf4);
        out.extend_from_slice(key);
        put_value(out, value);
    }
}

fn put_value(out: &mut Vec<u8>, value: AnyValue<'_>) {
    match value {
        AnyValue::Empty => out.push(0xf5),
        AnyValue::Bytes(bytes) => {
            out.push(0xf6);
            out.extend_from_slice(bytes);
        }
        AnyValue::String(text) => {
            out.push(0xf7);
            out.extend_from_slice(text);
        }
        AnyValue::Bool(true) => out.push(0xf8),
        AnyValue::Bool(false) => out.push(0xf9),
        AnyValue::Int(number) => {
            out.push(0xfa);
            out.extend_from_slice(&number.to_le_bytes());
        }
        AnyValue::Double(number) => {
            out.push(0xfb);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        AnyValue::Map(raw) => {
            out.push(0xfc);
            put_map(out, AnyValue::map_entries(raw));
            out.push(0xfd);
        }
        AnyValue::Array(raw) => {
            out.push(0xfe);
            AnyValue::array_elements(raw).for_each(|element| put_value(out, element));
            out.push(0xff);
        }
    }
}
