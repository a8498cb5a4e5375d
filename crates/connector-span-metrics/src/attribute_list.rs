//! The attributes of a new series, each key once, in their order.

use std::collections::BTreeMap;

use otelcore_pdata::build::{Body, ResourceWriter};
use otelcore_pdata::views::AnyValue;

/// Up to this number, keys are searched one by one.
const LINEAR_SEARCH_MAX: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct AttributeList<'a> {
    entries: Vec<(&'a [u8], AnyValue<'a>)>,
    /// Positions by key, once there are many.
    index: BTreeMap<&'a [u8], usize>,
}

impl<'a> AttributeList<'a> {
    /// Adds an attribute, or sets the value of the one with this key.
    pub(crate) fn put(&mut self, key: &'a [u8], value: AnyValue<'a>) {
        let len = self.entries.len();
        let known = if len <= LINEAR_SEARCH_MAX {
            self.entries.iter().position(|(k, _)| *k == key)
        } else {
            if self.index.is_empty() {
                self.index = self.entries.iter().enumerate().map(|(at, (k, _))| (*k, at)).collect();
            }
            self.index.get(key).copied()
        };
        match known.and_then(|at| self.entries.get_mut(at)) {
            Some(entry) => entry.1 = value,
            None => {
                if len > LINEAR_SEARCH_MAX {
                    self.index.insert(key, len);
                }
                self.entries.push((key, value));
            }
        }
    }

    pub(crate) fn put_text(&mut self, key: &'a [u8], text: &'a [u8]) {
        self.put(key, AnyValue::String(text));
    }

    /// The entries of a map.
    pub(crate) fn encode(&self) -> Box<[u8]> {
        encode(self.entries.iter().copied())
    }
}

/// Attributes as the entries of a map.
pub(crate) fn encode<'a>(attributes: impl Iterator<Item = (&'a [u8], AnyValue<'a>)>) -> Box<[u8]> {
    let mut body = Body::new();
    {
        // A resource has its attributes under the number of a map's entries.
        let mut resource = ResourceWriter::content(&mut body);
        let mut writer = resource.attributes();
        for (key, value) in attributes {
            writer.push(key, value);
        }
    }
    body.bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_that_is_put_again_keeps_its_place() {
        let keys: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let mut list = AttributeList::default();
        keys.iter().for_each(|key| list.put_text(key.as_bytes(), b"first"));
        keys.iter().for_each(|key| list.put_text(key.as_bytes(), key.as_bytes()));
        let encoded = list.encode();
        let read: Vec<(&[u8], bool)> = AnyValue::map_entries(&encoded)
            .map(|entry| (entry.key, matches!(entry.value, AnyValue::String(text) if text == entry.key)))
            .collect();
        assert_eq!(read, keys.iter().map(|key| (key.as_bytes(), true)).collect::<Vec<_>>());
    }
}
