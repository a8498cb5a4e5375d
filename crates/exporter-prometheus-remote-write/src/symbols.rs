//! The table of symbols of a request of version 2: each text once.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use otelcore_pdata::wire_format::{put_bytes_field, short_tag_field_len};

/// Texts by number. Number 0 is the empty text, as the specification says.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    index: HashTable<u32>,
    hasher: RandomState,
    text: Vec<u8>,
    /// Where each text ends.
    ends: Vec<usize>,
    encoded_len: usize,
}

fn text_at<'a>(text: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = number.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    ends.get(number).and_then(|end| text.get(start..*end)).unwrap_or_default()
}

impl Symbols {
    /// The number of a text.
    pub(crate) fn number_of(&mut self, symbol: &[u8]) -> u32 {
        if self.ends.is_empty() {
            self.push(b"");
        }
        if symbol.is_empty() {
            return 0;
        }
        let hash = self.hasher.hash_one(symbol);
        let Self { index, hasher, text, ends, .. } = &mut *self;
        if let Some(number) = index.find(hash, |number| text_at(text, ends, *number) == symbol) {
            return *number;
        }
        let number = u32::try_from(ends.len()).unwrap_or(u32::MAX);
        index.insert_unique(hash, number, |number| hasher.hash_one(text_at(text, ends, *number)));
        self.push(symbol);
        number
    }

    fn push(&mut self, symbol: &[u8]) {
        self.text.extend_from_slice(symbol);
        self.ends.push(self.text.len());
        self.encoded_len += short_tag_field_len(symbol.len());
    }

    /// Bytes of the field `symbols`.
    pub(crate) fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// Appends the field `symbols`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut start = 0;
        for end in &self.ends {
            put_bytes_field(out, 4, self.text.get(start..*end).unwrap_or_default());
            start = *end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_one_number_and_the_empty_text_is_zero() {
        let mut symbols = Symbols::default();
        let numbers: Vec<_> =
            ["a", "", "b", "a", "ab", "b"].iter().map(|text| symbols.number_of(text.as_bytes())).collect();
        assert_eq!(numbers, [1, 0, 2, 1, 3, 2]);
        let mut out = Vec::new();
        symbols.write(&mut out);
        assert_eq!(out, b"\x22\0\x22\x01a\x22\x01b\x22\x02ab");
        assert_eq!(symbols.encoded_len(), out.len());
    }
}
