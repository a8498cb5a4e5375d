//! The segments of an open log.
//!
//! Owns what is known of each, and which ones can be removed. Performs no IO.

use std::ops::Range;

use super::Log;
use crate::faults::{Fault, is_planted};

/// A segment with records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Segment {
    /// The sequence of its first record.
    pub(crate) first: u64,
    /// The sequence after its last durable record.
    pub(crate) end: u64,
    /// How many bytes are durable.
    pub(crate) used: u64,
    pub(crate) items: u64,
    /// The length of the file.
    pub(crate) file_bytes: u64,
    /// From this sequence on, a crash may have left what was not acknowledged.
    pub(crate) torn_from: Option<u64>,
}

impl Segment {
    pub(crate) fn range(&self) -> Range<u64> {
        self.first..self.end
    }
}

impl Log {
    /// The segments whose ranges overlap `range`, in order.
    pub(crate) fn segments_in(&self, range: &Range<u64>) -> impl Iterator<Item = (u64, Segment)> {
        let end = range.end;
        self.by_end
            .range(range.start.saturating_add(1)..)
            .filter_map(|(_, number)| self.segments.get(number).map(|segment| (*number, *segment)))
            .take_while(move |(_, segment)| segment.first < end)
    }

    /// How many records of the range are durable.
    pub(super) fn durable_in(&self, range: &Range<u64>) -> u64 {
        let overlap = |segment: Segment| segment.end.min(range.end).saturating_sub(segment.first.max(range.start));
        self.segments_in(range).map(|(_, segment)| overlap(segment)).sum()
    }

    /// How many of them are delivered.
    pub(super) fn delivered_durable_in(&self, range: &Range<u64>) -> u64 {
        let overlap = |segment: Segment| segment.first.max(range.start)..segment.end.min(range.end);
        self.segments_in(range).map(|(_, segment)| self.delivered.count_in(&overlap(segment))).sum()
    }

    /// Adds a segment, or replaces its entry.
    pub(crate) fn set_segment(&mut self, number: u64, segment: Segment) {
        if let Some(old) = self.segments.insert(number, segment) {
            self.segment_bytes = self.segment_bytes.saturating_sub(old.file_bytes);
            if self.by_end.get(&old.end) == Some(&number) {
                self.by_end.remove(&old.end);
            }
        }
        self.segment_bytes += segment.file_bytes;
        if !segment.range().is_empty() {
            self.by_end.insert(segment.end, number);
        }
    }

    pub(crate) fn forget_segment(&mut self, number: u64) {
        if let Some(old) = self.segments.remove(&number) {
            self.segment_bytes = self.segment_bytes.saturating_sub(old.file_bytes);
            if self.by_end.get(&old.end) == Some(&number) {
                self.by_end.remove(&old.end);
            }
        }
    }

    /// Whether everything in a segment is delivered, and nothing is written to it any more.
    pub(crate) fn is_removable(&self, number: u64, segment: &Segment) -> bool {
        let range = if is_planted(Fault::RemoveTooEarly) {
            segment.first..segment.end.saturating_sub(1).max(segment.first)
        } else {
            segment.range()
        };
        let is_written =
            self.active == Some(number) || self.group.as_ref().is_some_and(|group| group.segment == number);
        !is_written && self.delivered.covers(&range)
    }

    /// Notes the segments of a range that may have become removable.
    pub(super) fn find_removable(&mut self, range: &Range<u64>) {
        let numbers: Vec<u64> = self.segments_in(range).map(|(number, _)| number).collect();
        self.maintenance.check.extend(numbers);
    }
}
