//! What is read again and again in one message: its attributes by key, and its fields without attributes and children.
//!
//! Items read the messages around them: each span looks up attributes of its resource, each event the name of its
//! span. A message is walked for the first reads. When these have read it several times over, an index is made, and
//! what later reads cost does not depend on the message's length. Short messages have no index, and a write discards
//! it. This module finds positions in bytes; whose bytes they are, and who is charged, it does not know.

use std::cell::{Cell, OnceCell};
use std::ops::Range;

use crate::views::{KeyValue, View};
use crate::wire_format::{MessageFields, WireValue, raw_fields};

/// Messages that are shorter are walked each time: that takes about as long as an index.
const MIN_LEN: usize = 1024;

/// How many times over attributes are walked before they are sorted, which takes about as long as these walks.
const ATTRIBUTE_WALKS: u64 = 8;

/// The same for the other fields, which are only copied.
const FIELD_WALKS: u64 = 2;

/// Bytes that are as much work as one step of a search.
const SEARCH_COST: usize = 16;

/// Where an attribute is in its message.
pub(super) struct Found {
    /// The whole field.
    pub(super) field: Range<usize>,
    /// The `KeyValue`.
    pub(super) content: Range<usize>,
}

/// What earlier reads of a message have found.
#[derive(Debug, Default)]
pub(super) struct ReadIndex {
    /// Bytes that were walked since the last write; not zero if there is an index.
    walked: Cell<u64>,
    attributes: OnceCell<AttributeIndex>,
    fields: OnceCell<Vec<u8>>,
}

impl ReadIndex {
    /// Whether an index may be made for a message.
    #[inline]
    pub(super) fn is_for(raw: &[u8]) -> bool {
        raw.len() >= MIN_LEN
    }

    /// The message changes, or is another one.
    #[inline]
    pub(super) fn clear(&mut self) {
        if *self.walked.get_mut() != 0 {
            *self = Self::default();
        }
    }

    /// As [`find`], with the bytes that were read.
    pub(super) fn find(&self, raw: &[u8], number: u32, key: &[u8]) -> (Option<Found>, usize) {
        let len = raw.len();
        let mut cost = 0;
        if self.attributes.get().is_none() && self.walked.get() >= ATTRIBUTE_WALKS * len as u64 {
            cost += len * ATTRIBUTE_WALKS as usize;
            // There is none yet.
            let _ = self.attributes.set(AttributeIndex::new(raw, number));
        }
        if let Some(index) = self.attributes.get().filter(|index| index.number == number) {
            let found = index.find(raw, key);
            cost += SEARCH_COST * (1 + index.entries.len().checked_ilog2().unwrap_or(0) as usize);
            cost += found.as_ref().map_or(0, |found| found.content.len());
            return (found, cost);
        }
        let found = find(raw, number, key);
        cost += found.as_ref().map_or(len, |found| found.field.end);
        self.walked.set(self.walked.get().saturating_add(cost.max(1) as u64));
        (found, cost)
    }

    /// The last occurrence of each field of `keep`, whose numbers are below 32, with the bytes that were read. Until the
    /// message has been read several times over, that is the message itself.
    pub(super) fn fields<'r>(&'r self, raw: &'r [u8], keep: &[u32]) -> (&'r [u8], usize) {
        if let Some(fields) = self.fields.get() {
            return (fields, fields.len());
        }
        let len = raw.len();
        if self.walked.get() < FIELD_WALKS * len as u64 {
            self.walked.set(self.walked.get().saturating_add(len as u64));
            return (raw, len);
        }
        (self.fields.get_or_init(|| last_fields(raw, keep)), len)
    }
}

/// The last occurrence of each field of `keep`, whose numbers are below 32.
fn last_fields(raw: &[u8], keep: &[u32]) -> Vec<u8> {
    let mut last: [&[u8]; 32] = [&[]; 32];
    for (bytes, number, _) in raw_fields(raw) {
        if keep.contains(&number)
            && let Some(place) = usize::try_from(number).ok().and_then(|number| last.get_mut(number))
        {
            *place = bytes;
        }
    }
    last.concat()
}

/// The attributes of a message, sorted by key; those of the same key in their order.
#[derive(Debug)]
struct AttributeIndex {
    /// The number of their field.
    number: u32,
    /// The first bytes of the key, as a number that is ordered as they are, and where the field begins. Eight bytes for
    /// each attribute, so that the index of a message of very many is not much larger than the message.
    entries: Vec<(u32, u32)>,
}

impl AttributeIndex {
    fn new(raw: &[u8], number: u32) -> Self {
        let mut entries = Vec::new();
        let mut fields = MessageFields::new(raw);
        loop {
            let start = raw.len() - fields.rest().len();
            let Some((found, wire)) = fields.next() else { break };
            if let WireValue::Len(content) = wire
                && found == number
                && let Ok(start) = u32::try_from(start)
            {
                entries.push((prefix(KeyValue::parse(content).key), start));
            }
        }
        entries.sort_unstable_by(|a, b| {
            let keys = || key_at(raw, a.1).cmp(key_at(raw, b.1));
            a.0.cmp(&b.0).then_with(keys).then(a.1.cmp(&b.1))
        });
        Self { number, entries }
    }

    /// The first attribute with a key.
    fn find(&self, raw: &[u8], key: &[u8]) -> Option<Found> {
        let wanted = prefix(key);
        let at = self
            .entries
            .partition_point(|(found, start)| found.cmp(&wanted).then_with(|| key_at(raw, *start).cmp(key)).is_lt());
        let (_, start) = self.entries.get(at)?;
        let start = *start as usize;
        let rest = raw.get(start..)?;
        let mut fields = MessageFields::new(rest);
        let WireValue::Len(content) = fields.next()?.1 else { return None };
        let end = raw.len() - fields.rest().len();
        (KeyValue::parse(content).key == key).then(|| Found { field: start..end, content: end - content.len()..end })
    }
}

/// The first four bytes of a key, with zeros behind a shorter one.
fn prefix(key: &[u8]) -> u32 {
    let mut first = [0; 4];
    for (to, from) in first.iter_mut().zip(key) {
        *to = *from;
    }
    u32::from_be_bytes(first)
}

/// The key of the attribute whose field begins at `start`.
fn key_at(raw: &[u8], start: u32) -> &[u8] {
    match MessageFields::new(raw.get(start as usize..).unwrap_or_default()).next() {
        Some((_, WireValue::Len(content))) => KeyValue::parse(content).key,
        _ => &[],
    }
}

/// The first attribute with a key in field `number`, which is below 16.
#[inline]
pub(super) fn find(raw: &[u8], number: u32, key: &[u8]) -> Option<Found> {
    // The tag of a field below 16 is one byte.
    let tag = (number << 3 | 2) as u8;
    let mut rest = raw;
    loop {
        let start = raw.len() - rest.len();
        if let Some((key_end, next)) = plain_attribute(rest, tag) {
            if rest.get(4..key_end) == Some(key) {
                let end = start + next;
                return Some(Found { field: start..end, content: start + 2..end });
            }
            rest = rest.get(next..)?;
            continue;
        }
        let mut fields = MessageFields::new(rest);
        let (found, wire) = fields.next()?;
        rest = fields.rest();
        if let WireValue::Len(content) = wire
            && found == number
            && KeyValue::parse(content).key == key
        {
            let end = raw.len() - rest.len();
            return Some(Found { field: start..end, content: end - content.len()..end });
        }
    }
}

/// Where the key and the whole attribute end at the beginning of `fields`, if it is `tag`, a key, a value and nothing
/// else, with lengths of one byte. Nearly all are.
#[inline]
fn plain_attribute(fields: &[u8], tag: u8) -> Option<(usize, usize)> {
    let [first, len, 0x0a, key_len, ..] = *fields else { return None };
    let (len, key_end) = (usize::from(len), 4 + usize::from(key_len));
    let [0x12, value_len] = *fields.get(key_end..key_end + 2)? else { return None };
    let value_len = usize::from(value_len);
    // The two other lengths are less than this one.
    let is_plain = first == tag && len < 0x80 && len == key_end + value_len;
    (is_plain && len + 2 <= fields.len()).then_some((key_end, len + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire_format::put_bytes_field;

    fn attribute(key: &[u8], value: &[u8]) -> Vec<u8> {
        let (mut any, mut pair, mut field) = (Vec::new(), Vec::new(), Vec::new());
        put_bytes_field(&mut any, 1, value);
        put_bytes_field(&mut pair, 1, key);
        put_bytes_field(&mut pair, 2, &any);
        put_bytes_field(&mut field, 1, &pair);
        field
    }

    #[test]
    fn index_finds_the_same_attributes_as_a_walk() {
        // Keys of equal beginnings, a key twice, one that is empty, one with zeros, and other fields between them.
        let keys: [&[u8]; 9] = [b"", b"\0", b"\0\0", b"k", b"key", b"keys", b"key1", b"key12", b"key"];
        let mut raw = Vec::new();
        for (number, key) in keys.iter().enumerate() {
            raw.extend(attribute(key, &[b'v'; 200][..number * 20]));
            raw.extend([0x10, 7]);
        }
        // A `KeyValue` without a key, whose key is empty.
        put_bytes_field(&mut raw, 1, b"");
        let index = AttributeIndex::new(&raw, 1);
        for key in keys.iter().chain(&[&b"ke"[..], b"kez", b"a", b"\0\0\0", b"key123"]) {
            let (walked, indexed) = (find(&raw, 1, key), index.find(&raw, key));
            assert_eq!(
                walked.map(|found| (found.field, found.content)),
                indexed.map(|found| (found.field, found.content))
            );
        }
        assert!(AttributeIndex::new(&raw, 3).find(&raw, b"key").is_none());
    }

    #[test]
    fn reads_after_the_first_do_not_depend_on_the_length() {
        let mut raw = Vec::new();
        (0..10_000).for_each(|n| raw.extend(attribute(format!("key-{n}").as_bytes(), b"value")));
        raw.extend([0x10, 7, 0x10, 8]);
        let mut index = ReadIndex::default();
        for key in [&b"absent"[..], b"key-9999", b"key-0"] {
            let costs: Vec<usize> = (0..100).map(|_| index.find(&raw, 1, key).1).collect();
            assert!(costs[80..].iter().all(|cost| *cost < 400), "{costs:?}");
        }
        assert_eq!(
            index.find(&raw, 1, b"key-77").0.map(|found| found.field),
            find(&raw, 1, b"key-77").map(|f| f.field)
        );
        let fields: Vec<_> = (0..4).map(|_| index.fields(&raw, &[2])).collect();
        assert_eq!(fields[3], (&[0x10, 8][..], 2));
        // After a write, the message is walked again.
        index.clear();
        assert_eq!(index.find(&raw, 1, b"absent").1, raw.len());
        assert_eq!(index.fields(&raw, &[2]), (&raw[..], raw.len()));
    }

    #[test]
    fn lookups_of_the_first_attributes_make_no_index_for_long() {
        let mut raw = attribute(b"first", b"value");
        (0..10_000).for_each(|n| raw.extend(attribute(format!("key-{n}").as_bytes(), b"value")));
        let index = ReadIndex::default();
        (0..1000).for_each(|_| assert!(index.find(&raw, 1, b"first").0.is_some()));
        assert!(index.attributes.get().is_none());
    }
}
