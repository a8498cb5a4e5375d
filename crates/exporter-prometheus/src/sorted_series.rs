//! The series of a family in the order of their labels, by number.
//!
//! The numbers are in chunks, and the chunks are in order; a comparison reads the labels in the series itself. So a place
//! takes four to eight bytes, where a tree with the labels as keys takes about ninety. A series that comes or goes moves
//! a part of its chunk, and seldom the list of chunks: chunks grow with their number, so that both are short. Does not
//! decide which series are shown.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::label_sets::LabelSetKey;
use crate::partitioned::{CompactId, PartitionedSlab};
use crate::series::Series;

/// Numbers in a chunk before it is divided, while there are few chunks.
const MIN_CHUNK_LIMIT: usize = 256;

/// What the removal of a series has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Removal {
    /// Its place is gone, or it had none.
    Place,
    /// The oldest of its place is the same as before.
    Younger,
    /// This one is now the oldest of its place.
    Successor(usize),
}

/// Series by their labels. Of those with equal labels the oldest one has the place.
#[derive(Debug, Default)]
pub(crate) struct SortedSeries {
    /// None is empty.
    chunks: Vec<Vec<CompactId>>,
    len: usize,
    /// The younger ones by number of arrival, by the slot of the oldest; most places have none.
    younger: BTreeMap<usize, BTreeMap<u64, usize>>,
}

/// Where a place is, or where it would be inserted: chunk and position in it.
type Place = (usize, Result<usize, usize>);

fn compare(series: &PartitionedSlab<Series>, id: CompactId, labels: &LabelSetKey) -> Ordering {
    let found = series.get(id.get());
    found.map_or(Ordering::Less, |s| labels.compare_with(&s.label_block, s.label_count).reverse())
}

impl SortedSeries {
    /// Places.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Numbers that are moved when a series comes or goes, at most.
    pub(crate) fn moved_at_most(&self) -> usize {
        // An entry of the list of chunks is as long as six numbers, and moves once in half a chunk.
        self.chunk_limit() + 12 * self.chunks.len() / MIN_CHUNK_LIMIT
    }

    fn chunk_limit(&self) -> usize {
        MIN_CHUNK_LIMIT.max(self.chunks.len() / 4)
    }

    fn find(&self, labels: &LabelSetKey, series: &PartitionedSlab<Series>) -> Place {
        let is_before = |chunk: &Vec<CompactId>| chunk.first().is_none_or(|id| compare(series, *id, labels).is_le());
        let chunk = self.chunks.partition_point(is_before).saturating_sub(1);
        let numbers = self.chunks.get(chunk).map_or(&[][..], Vec::as_slice);
        (chunk, numbers.binary_search_by(|id| compare(series, *id, labels)))
    }

    /// Whether there is a series with these labels.
    pub(crate) fn contains(&self, labels: &LabelSetKey, series: &PartitionedSlab<Series>) -> bool {
        self.find(labels, series).1.is_ok()
    }

    /// The slots behind these labels, each the oldest of its place.
    pub(crate) fn after<'a>(
        &'a self,
        labels: Option<&LabelSetKey>,
        series: &PartitionedSlab<Series>,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let (chunk, from) = match labels.map(|labels| self.find(labels, series)) {
            None => (0, 0),
            Some((chunk, Ok(at))) => (chunk, at + 1),
            Some((chunk, Err(at))) => (chunk, at),
        };
        let first = self.chunks.get(chunk).and_then(|numbers| numbers.get(from..)).unwrap_or_default();
        let others = self.chunks.get(chunk + 1..).unwrap_or_default();
        first.iter().chain(others.iter().flatten()).map(|id| id.get())
    }

    /// The younger series of the place whose oldest is in this slot, if there are any.
    pub(crate) fn younger_of(&self, oldest: usize) -> Option<&BTreeMap<u64, usize>> {
        if self.younger.is_empty() { None } else { self.younger.get(&oldest) }
    }

    /// Adds a series, which `series` has already. Returns the slot that is now a younger one of its place, if any.
    pub(crate) fn insert(
        &mut self,
        labels: &LabelSetKey,
        (seq, slot): (u64, usize),
        series: &PartitionedSlab<Series>,
    ) -> Option<usize> {
        let (chunk, place) = self.find(labels, series);
        match place {
            Ok(at) => {
                let number = self.chunks.get_mut(chunk)?.get_mut(at)?;
                let oldest = number.get();
                let oldest_seq = series.get(oldest).map_or(0, |s| s.seq);
                let mut younger = self.younger.remove(&oldest).unwrap_or_default();
                let ((first, _), (later, later_seq)) = if seq < oldest_seq {
                    ((slot, seq), (oldest, oldest_seq))
                } else {
                    ((oldest, oldest_seq), (slot, seq))
                };
                *number = first.into();
                younger.insert(later_seq, later);
                self.younger.insert(first, younger);
                Some(later)
            }
            Err(at) => {
                self.insert_number(chunk, at, slot.into());
                None
            }
        }
    }

    fn insert_number(&mut self, chunk: usize, at: usize, id: CompactId) {
        self.len += 1;
        let (limit, is_last) = (self.chunk_limit(), chunk + 1 >= self.chunks.len());
        let Some(numbers) = self.chunks.get_mut(chunk) else { return self.chunks.push(vec![id]) };
        if numbers.len() < limit {
            return numbers.insert(at, id);
        }
        // Behind all others a new chunk begins, so that series that come in order fill their chunks.
        let divided_at = if is_last && at == numbers.len() { at } else { numbers.len() / 2 };
        let mut behind = numbers.split_off(divided_at);
        if at > divided_at || behind.is_empty() {
            behind.insert(at - divided_at, id);
        } else {
            numbers.insert(at, id);
        }
        numbers.shrink_to_fit();
        self.chunks.insert(chunk + 1, behind);
    }

    /// Removes a series, which `series` still has.
    pub(crate) fn remove(
        &mut self,
        labels: &LabelSetKey,
        (seq, slot): (u64, usize),
        series: &PartitionedSlab<Series>,
    ) -> Removal {
        let (chunk, Ok(at)) = self.find(labels, series) else { return Removal::Place };
        let Some(numbers) = self.chunks.get_mut(chunk) else { return Removal::Place };
        let Some(number) = numbers.get_mut(at) else { return Removal::Place };
        let oldest = number.get();
        if let Some(mut younger) = self.younger.remove(&oldest) {
            let successor = if oldest == slot { younger.pop_first().map(|(_, slot)| slot) } else { None };
            younger.remove(&seq);
            if let Some(successor) = successor {
                *number = successor.into();
            }
            if !younger.is_empty() {
                self.younger.insert(successor.unwrap_or(oldest), younger);
            }
            return successor.map_or(Removal::Younger, Removal::Successor);
        }
        if oldest != slot {
            return Removal::Younger;
        }
        numbers.remove(at);
        self.len -= 1;
        if numbers.is_empty() {
            self.chunks.remove(chunk);
        }
        Removal::Place
    }
}
