//! The bytes that were passed and not yet parsed. Knows nothing about the formats.

use memchr::memchr;

#[derive(Debug, Default)]
pub(super) struct Buffer {
    data: Vec<u8>,
    /// The first unread byte.
    start: usize,
    /// No line feed is in `data[start..searched]`.
    searched: usize,
    /// The bytes of the page before `data`.
    discarded: u64,
    ended: bool,
}

impl Buffer {
    pub(super) fn push(&mut self, more: &[u8]) {
        // Moving only when at least half is read keeps the cost of all moves linear.
        if self.start > 0 && self.start * 2 >= self.data.len() {
            self.data.drain(..self.start);
            self.searched = self.searched.saturating_sub(self.start);
            self.discarded += self.start as u64;
            self.start = 0;
        }
        self.data.extend_from_slice(more);
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn unread(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or_default()
    }

    /// The position of the first unread byte in the page, from 0.
    pub(super) fn offset(&self) -> u64 {
        self.discarded + self.start as u64
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.data.len());
        self.searched = self.searched.max(self.start);
    }

    /// The length of the first unread line, without its line feed, if the line is complete.
    pub(super) fn line_len(&mut self) -> Option<usize> {
        match memchr(b'\n', self.data.get(self.searched..).unwrap_or_default()) {
            Some(n) => {
                self.searched += n;
                Some(self.searched - self.start)
            }
            None => {
                self.searched = self.data.len();
                None
            }
        }
    }
}
