//! Keys of series: hashes, with seeds that a peer does not know, over what makes a series different from others.
//!
//! A text goes into a key as an [`Element`], of bounded length, so that a long text of a resource costs its hash once and
//! not once for each span.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use otelcore_pdata::text::{put_json, put_value};
use otelcore_pdata::views::{AnyValue, KeyValue};

/// Longer texts are represented by their hash.
const MAX_TEXT: usize = 32;

/// What stands for a text that is longer, or not there; no length is one of these.
const HASHED: u8 = 0xff;
const ABSENT: u8 = 0xfe;

#[derive(Clone, Debug)]
pub(crate) struct KeyHasher {
    seeds: [FixedState; 2],
}

impl KeyHasher {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seeds: [FixedState::with_seed(seed), FixedState::with_seed(seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15)],
        }
    }

    #[inline]
    pub(crate) fn hash(&self, bytes: &[u8]) -> u128 {
        let one = |state: &FixedState| {
            let mut hasher = state.build_hasher();
            hasher.write(bytes);
            // A text that another one begins with has another hash.
            hasher.write_usize(bytes.len());
            u128::from(hasher.finish())
        };
        one(&self.seeds[0]) << 64 | one(&self.seeds[1])
    }

    /// The hash of an attribute. Values of different types are different.
    pub(crate) fn hash_attribute(&self, attribute: &KeyValue<'_>, scratch: &mut Vec<u8>) -> u128 {
        scratch.clear();
        Element::new(self, attribute.key).put(scratch);
        let value = attribute.value;
        scratch.push(match value {
            AnyValue::Empty => 0,
            AnyValue::String(_) => 1,
            AnyValue::Bool(_) => 2,
            AnyValue::Int(_) => 3,
            AnyValue::Double(_) => 4,
            AnyValue::Array(_) => 5,
            AnyValue::Map(_) => 6,
            AnyValue::Bytes(_) => 7,
        });
        match value {
            AnyValue::String(v) | AnyValue::Bytes(v) => scratch.extend_from_slice(v),
            AnyValue::Double(v) => scratch.extend_from_slice(&v.to_bits().to_le_bytes()),
            AnyValue::Array(v) | AnyValue::Map(v) => {
                // The keys of a map can have any order. Without a JSON form, the bytes have to do.
                let start = scratch.len();
                if put_json(scratch, value).is_err() {
                    scratch.truncate(start);
                    scratch.extend_from_slice(v);
                }
            }
            AnyValue::Empty | AnyValue::Bool(_) | AnyValue::Int(_) => put_value(scratch, value),
        }
        self.hash(scratch)
    }

    /// The hash of a key and the text of its value.
    pub(crate) fn hash_entry(&self, key: &[u8], value: &Element, scratch: &mut Vec<u8>) -> u128 {
        scratch.clear();
        Element::new(self, key).put(scratch);
        value.put(scratch);
        self.hash(scratch)
    }
}

/// A text in a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element {
    len: u8,
    bytes: [u8; MAX_TEXT],
}

impl Element {
    pub(crate) const ABSENT: Self = Self { len: ABSENT, bytes: [0; MAX_TEXT] };

    #[inline]
    pub(crate) fn new(hasher: &KeyHasher, text: &[u8]) -> Self {
        let mut bytes = [0; MAX_TEXT];
        match bytes.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text);
                Self { len: text.len() as u8, bytes }
            }
            None => {
                let (hash, _) = bytes.split_at_mut(16);
                hash.copy_from_slice(&hasher.hash(text).to_le_bytes());
                Self { len: HASHED, bytes }
            }
        }
    }

    /// Of the text of a value.
    #[inline]
    pub(crate) fn of_value(hasher: &KeyHasher, value: AnyValue<'_>, scratch: &mut Vec<u8>) -> Self {
        if let AnyValue::String(text) = value {
            return Self::new(hasher, text);
        }
        scratch.clear();
        put_value(scratch, value);
        Self::new(hasher, scratch)
    }

    #[inline]
    pub(crate) fn put(&self, key: &mut Vec<u8>) {
        key.push(self.len);
        let len = match self.len {
            HASHED => 16,
            ABSENT => 0,
            len => usize::from(len),
        };
        key.extend_from_slice(self.bytes.get(..len).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_different_texts_are_different() {
        let hasher = KeyHasher::new(3);
        let mut all = std::collections::BTreeSet::new();
        let mut put = |element: Element| {
            let mut key = Vec::new();
            element.put(&mut key);
            assert!(key.len() <= 1 + MAX_TEXT && all.insert(key));
        };
        put(Element::ABSENT);
        for len in 0..100 {
            put(Element::new(&hasher, &vec![b'x'; len]));
        }
        let mut scratch = Vec::new();
        let long = vec![b'y'; 1 << 20];
        put(Element::of_value(&hasher, AnyValue::String(&long), &mut scratch));
        put(Element::of_value(&hasher, AnyValue::Int(5), &mut scratch));
    }

    #[test]
    fn attributes_of_different_types_are_different() {
        let hasher = KeyHasher::new(3);
        let mut scratch = Vec::new();
        let mut hash = |value| hasher.hash_attribute(&KeyValue { key: b"k", value, raw: b"" }, &mut scratch);
        let values = [AnyValue::Int(1), AnyValue::String(b"1"), AnyValue::Double(1.0), AnyValue::Bytes(b"1")];
        let hashes: std::collections::BTreeSet<u128> = values.into_iter().map(&mut hash).collect();
        assert_eq!(hashes.len(), values.len());
    }
}
