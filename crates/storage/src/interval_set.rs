//! A set of sequences as intervals.
//!
//! Owns the intervals. Knows nothing of records.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint half-open intervals that don't touch. Every method takes time logarithmic in their number, and linear in
/// the number of intervals that it removes or returns.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct IntervalSet(BTreeMap<u64, u64>);

impl IntervalSet {
    pub(crate) fn insert(&mut self, added: Range<u64>) {
        let (mut start, mut end) = (added.start, added.end);
        if start >= end {
            return;
        }
        if let Some((before, before_end)) = self.0.range(..=start).next_back()
            && *before_end >= start
        {
            (start, end) = (*before, end.max(*before_end));
        }
        while let Some((next, next_end)) = self.0.range(start..=end).next().map(|(s, e)| (*s, *e)) {
            end = end.max(next_end);
            self.0.remove(&next);
        }
        self.0.insert(start, end);
    }

    pub(crate) fn contains(&self, sequence: u64) -> bool {
        self.0.range(..=sequence).next_back().is_some_and(|(_, end)| *end > sequence)
    }

    /// Whether every sequence of the range is in the set.
    pub(crate) fn covers(&self, range: &Range<u64>) -> bool {
        range.is_empty() || self.0.range(..=range.start).next_back().is_some_and(|(_, end)| *end >= range.end)
    }

    /// How many sequences of the range are in the set.
    pub(crate) fn count_in(&self, range: &Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let first = self.0.range(..=range.start).next_back().map(|(_, end)| (*end).min(range.end));
        let first = first.map_or(0, |end| end.saturating_sub(range.start));
        let rest = self.0.range(range.start.saturating_add(1)..range.end);
        rest.fold(first, |sum, (start, end)| sum + (*end).min(range.end) - start)
    }

    /// The first sequence from `from` on that is not in the set.
    pub(crate) fn first_missing(&self, from: u64) -> u64 {
        match self.0.range(..=from).next_back() {
            Some((_, end)) if *end > from => *end,
            _ => from,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(start, end)| *start..*end)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn intervals_behave_as_a_set_of_numbers() {
        let mut random = 1_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for _ in 0..200 {
            let (mut set, mut model) = (IntervalSet::default(), BTreeSet::new());
            for _ in 0..30 {
                let start = next(60);
                let end = start + next(8);
                set.insert(start..end);
                model.extend(start..end);
                let range = next(70)..next(70);
                let inside = range.clone().filter(|n| model.contains(n)).count() as u64;
                assert_eq!(set.count_in(&range), inside, "{set:?} {range:?}");
                assert_eq!(set.covers(&range), inside == range.end.saturating_sub(range.start), "{set:?} {range:?}");
                let from = next(70);
                assert_eq!(set.contains(from), model.contains(&from));
                assert_eq!(set.first_missing(from), (from..).find(|n| !model.contains(n)).unwrap());
            }
            let ranges: Vec<_> = set.iter().collect();
            assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "{ranges:?}");
            assert_eq!(set.len(), ranges.len());
        }
    }
}
