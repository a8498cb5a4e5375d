//! What is known of one file: where reading goes on, and what of it has been delivered.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use otelcore_stanza::Map;

use crate::file_set::Fingerprinted;

/// A place in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Position {
    /// Bytes of the file. In a compressed file, where its compressed part begins.
    pub(crate) offset: u64,
    /// Bytes behind `offset` after decompression.
    pub(crate) skip: u64,
    /// Entries before it.
    pub(crate) record_number: u64,
    /// The rest of an entry that was cut is not read.
    pub(crate) skips_rest: bool,
}

/// A part of a file that is on its way: it is delivered when nobody holds its token.
#[derive(Debug)]
struct Part {
    end: Position,
    token: Weak<()>,
}

/// The state of a file, which outlives its open handle.
#[derive(Debug, Default)]
pub(crate) struct FileState {
    pub(crate) fingerprint: Vec<u8>,
    /// Where reading goes on.
    pub(crate) read: Position,
    /// Everything before it has been delivered.
    delivered: Position,
    parts: VecDeque<Part>,
    /// Attributes from the header.
    pub(crate) header_attributes: Map,
    pub(crate) header_is_read: bool,
    pub(crate) is_gzip: bool,
    /// The length of the entry without an end at the end of the file, and since when it has it, in nanoseconds.
    pub(crate) rest_length: usize,
    pub(crate) rest_since: u64,
}

impl Fingerprinted for FileState {
    fn fingerprint(&self) -> &[u8] {
        &self.fingerprint
    }
}

impl FileState {
    /// A file that was not read yet.
    pub(crate) fn new(fingerprint: Vec<u8>) -> Self {
        Self { fingerprint, ..Self::default() }
    }

    /// Goes on at a place; what is on its way does not matter any more.
    pub(crate) fn move_to(&mut self, at: Position) {
        self.read = at;
        self.delivered = at;
        self.parts.clear();
    }

    /// A token for what was read up to a place.
    pub(crate) fn begin_part(&mut self, end: Position) -> Arc<()> {
        let token = Arc::new(());
        self.parts.push_back(Part { end, token: Arc::downgrade(&token) });
        self.read = end;
        token
    }

    /// What was read up to a place needs no delivery.
    pub(crate) fn pass(&mut self, end: Position) {
        self.read = end;
        if self.parts.is_empty() {
            self.delivered = end;
        } else {
            self.parts.push_back(Part { end, token: Weak::new() });
        }
    }

    /// Up to where everything has been delivered.
    pub(crate) fn delivered(&mut self) -> Position {
        while self.parts.front().is_some_and(|part| part.token.strong_count() == 0) {
            if let Some(part) = self.parts.pop_front() {
                self.delivered = part.end;
            }
        }
        self.delivered
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_delivered(&mut self) -> bool {
        self.delivered();
        self.parts.is_empty()
    }
}
