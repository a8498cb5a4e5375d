//! Finds the records of a segment, and what is none.
//!
//! Owns the position in the segment. Performs no IO. Each byte is looked at a constant number of times, whatever it is.
//!
//! A record is found by its header, whose checksum includes the position. A valid header says how long the record is, so
//! that one with a bad payload is skipped as a whole; elsewhere the next header is sought at each multiple of 8 bytes.

use std::ops::Range;

use crate::faults::{Fault, is_planted};
use crate::format::{FileKey, RECORD_HEADER_BYTES, RecordHeader};

/// What is found in a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// A record, and where its context and body are in the buffer.
    Record { offset: u64, header: RecordHeader, payload: Range<usize> },
    /// Bytes that are no record, with a record or the end of what is scanned behind them.
    Bad { range: Range<u64>, is_zero: bool },
}

/// How far a buffer was scanned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// The next buffer begins at [`Scanner::position`] and needs this many bytes at least.
    NeedsBytes(u64),
    /// The limit is reached.
    End,
}

/// A position in a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Scanner {
    key: FileKey,
    position: u64,
    limit: u64,
    /// Where bytes began that are no record.
    bad_from: Option<u64>,
    bad_is_zero: bool,
    has_stopped: bool,
}

impl Scanner {
    /// Scans the bytes of a file from `from` to below `limit`.
    pub(crate) fn new(key: FileKey, from: u64, limit: u64) -> Self {
        Self { key, position: from, limit, bad_from: None, bad_is_zero: true, has_stopped: false }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.position >= self.limit
    }

    /// Looks at `buffer`, which begins at the position. Returns what is found in order, at most `max` records.
    pub(crate) fn scan(&mut self, buffer: &[u8], max: usize, found: &mut Vec<Found>) -> Progress {
        let base = self.position;
        let mut records = 0;
        while records < max {
            let left = self.limit.saturating_sub(self.position);
            let at = usize::try_from(self.position - base).unwrap_or(usize::MAX);
            let rest = buffer.get(at..).unwrap_or_default();
            if left < RECORD_HEADER_BYTES as u64 {
                if left > 0 {
                    if (rest.len() as u64) < left {
                        return Progress::NeedsBytes(left);
                    }
                    self.skip(rest.get(..usize::try_from(left).unwrap_or(0)).unwrap_or_default(), left);
                }
                self.end_bad_range(found);
                return Progress::End;
            }
            if rest.len() < RECORD_HEADER_BYTES {
                return Progress::NeedsBytes(RECORD_HEADER_BYTES as u64);
            }
            let header = RecordHeader::decode(rest, &self.key, self.position).filter(|header| header.length() <= left);
            let Some(header) = header.filter(|_| !self.has_stopped) else {
                self.skip(rest.get(..8).unwrap_or_default(), 8);
                continue;
            };
            let length = header.length();
            if (rest.len() as u64) < length {
                return Progress::NeedsBytes(length);
            }
            let payload = at + RECORD_HEADER_BYTES..at + usize::try_from(header.payload_end()).unwrap_or(0);
            let bytes = buffer.get(payload.clone()).unwrap_or_default();
            if header.has_payload(&self.key, self.position, bytes) {
                self.end_bad_range(found);
                found.push(Found::Record { offset: self.position, header, payload });
                self.position += length;
                records += 1;
            } else {
                self.skip(&[1], length);
            }
        }
        if self.is_at_end() { Progress::End } else { Progress::NeedsBytes(RECORD_HEADER_BYTES as u64) }
    }

    fn skip(&mut self, bytes: &[u8], length: u64) {
        if self.bad_from.is_none() {
            self.bad_from = Some(self.position);
            self.bad_is_zero = true;
        }
        self.bad_is_zero &= bytes.iter().all(|b| *b == 0);
        self.position += length;
        self.has_stopped |= is_planted(Fault::StopAtFirstBadRecord);
    }

    fn end_bad_range(&mut self, found: &mut Vec<Found>) {
        if let Some(from) = self.bad_from.take() {
            found.push(Found::Bad { range: from..self.position, is_zero: self.bad_is_zero });
        }
    }
}
