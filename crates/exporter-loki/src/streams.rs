//! The streams of one request: each label set once, with its entries in their order.
//!
//! Schema: PushRequest{1 streams}; Stream{1 labels, 2 entries}; Entry{1 timestamp, 2 line}; Timestamp{1 seconds, 2 nanos}.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use otelcore_pdata::wire_format::{put_bytes_field, put_tag_and_len, put_varint_field, varint_len};

const NONE: usize = usize::MAX;

#[derive(Debug)]
struct Stream {
    labels: (usize, usize),
    first: usize,
    last: usize,
    /// Bytes of the entries, with their tags.
    entries_len: usize,
}

/// An entry, and the next one of its stream.
#[derive(Debug)]
struct Entry {
    bytes: (usize, usize),
    next: usize,
}

/// The streams of one request.
#[derive(Debug, Default)]
pub(crate) struct StreamTable {
    index: HashTable<usize>,
    hasher: RandomState,
    streams: Vec<Stream>,
    entries: Vec<Entry>,
    /// Labels and encoded entries.
    bytes: Vec<u8>,
    timestamp: Vec<u8>,
    encoded_len: usize,
}

impl StreamTable {
    /// The bytes of the request so far, about.
    pub(crate) fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Adds an entry to the stream with these labels. The time is in nanoseconds since the epoch.
    pub(crate) fn add(&mut self, labels: &[u8], time: u64, line: &[u8]) {
        let stream = self.stream(labels);
        let start = self.bytes.len();
        let time = time.cast_signed();
        let (seconds, nanos) = (time.div_euclid(1_000_000_000), time.rem_euclid(1_000_000_000));
        self.timestamp.clear();
        for (number, value) in [(1, seconds), (2, nanos)] {
            if value != 0 {
                put_varint_field(&mut self.timestamp, number, value.cast_unsigned());
            }
        }
        put_bytes_field(&mut self.bytes, 1, &self.timestamp);
        if !line.is_empty() {
            put_bytes_field(&mut self.bytes, 2, line);
        }
        let len = self.bytes.len() - start;
        let new = self.entries.len();
        self.entries.push(Entry { bytes: (start, self.bytes.len()), next: NONE });
        let Some(stream) = self.streams.get_mut(stream) else { return };
        match self.entries.get_mut(stream.last) {
            Some(last) => last.next = new,
            None => stream.first = new,
        }
        stream.last = new;
        let field_len = 1 + varint_len(len as u64) + len;
        stream.entries_len += field_len;
        self.encoded_len += field_len;
    }

    fn stream(&mut self, labels: &[u8]) -> usize {
        let hash = self.hasher.hash_one(labels);
        let Self { index, streams, bytes, hasher, .. } = &mut *self;
        let labels_of = |stream: usize| {
            let range = streams.get(stream).map_or((0, 0), |stream| stream.labels);
            bytes.get(range.0..range.1).unwrap_or_default()
        };
        if let Some(found) = index.find(hash, |stream| labels_of(*stream) == labels) {
            return *found;
        }
        let number = streams.len();
        index.insert_unique(hash, number, |stream| hasher.hash_one(labels_of(*stream)));
        let start = self.bytes.len();
        self.bytes.extend_from_slice(labels);
        let labels = (start, self.bytes.len());
        self.streams.push(Stream { labels, first: NONE, last: NONE, entries_len: 0 });
        self.encoded_len += 12 + labels.1 - labels.0;
        number
    }

    /// The body of the request.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let at = |range: (usize, usize)| self.bytes.get(range.0..range.1).unwrap_or_default();
        let mut out = Vec::with_capacity(self.encoded_len);
        for stream in &self.streams {
            let labels = at(stream.labels);
            put_tag_and_len(&mut out, 1, 1 + varint_len(labels.len() as u64) + labels.len() + stream.entries_len);
            put_bytes_field(&mut out, 1, labels);
            let mut next = stream.first;
            while let Some(entry) = self.entries.get(next) {
                put_bytes_field(&mut out, 2, at(entry.bytes));
                next = entry.next;
            }
        }
        out
    }
}
