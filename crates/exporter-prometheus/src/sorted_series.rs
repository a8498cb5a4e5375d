//! The series of a family in the order of their labels, by number.
//!
//! New series are kept in no order: they are sorted when a page needs them, in steps, so that points of new series cost no
//! comparisons. Sorted numbers are in chunks, and the chunks are in order; a comparison reads the labels in the series itself.
//! So a place takes four to eight bytes, where a tree with the labels as keys takes about ninety. A series that comes or goes
//! moves a part of its chunk, and seldom the list of chunks: chunks grow with their number, so that both are short. Does not
//! decide which series are shown.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::label_sets::LabelSetKey;
use crate::partitioned::CompactId;
use crate::series_store::SeriesStore;
use crate::step_budget::StepBudget;

/// Numbers in a chunk before it is divided, while there are few chunks.
const MIN_CHUNK_LIMIT: usize = 256;

/// Numbers in a chunk of series that are not sorted.
const UNSORTED_CHUNK: usize = 1 << 12;

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
    /// Where the last series was inserted: senders often have theirs in order.
    last_insertion: (usize, usize),
    /// New series in chunks, all but the last one full. Each has its position in [`Series::unsorted_at`].
    ///
    /// [`Series::unsorted_at`]: crate::series::Series::unsorted_at
    unsorted: Vec<Vec<CompactId>>,
}

/// Where a place is, or where it would be inserted: chunk and position in it.
type Place = (usize, Result<usize, usize>);

impl SortedSeries {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0 && self.unsorted.is_empty()
    }

    /// Numbers that are moved when a series comes or goes, at most.
    fn moved_at_most(&self) -> usize {
        // An entry of the list of chunks is as long as six numbers, and moves once in half a chunk.
        self.chunk_limit() + 12 * self.chunks.len() / MIN_CHUNK_LIMIT
    }

    fn chunk_limit(&self) -> usize {
        MIN_CHUNK_LIMIT.max(self.chunks.len() / 4)
    }

    fn find(&self, mut compare: impl FnMut(CompactId) -> Ordering) -> Place {
        let chunk = self.chunks.partition_point(|chunk| chunk.first().is_none_or(|id| compare(*id).is_le()));
        let chunk = chunk.saturating_sub(1);
        let numbers = self.chunks.get(chunk).map_or(&[][..], Vec::as_slice);
        (chunk, numbers.binary_search_by(|id| compare(*id)))
    }

    /// The place of these labels.
    fn find_labels(&self, labels: &LabelSetKey, store: &SeriesStore) -> Place {
        let mut block = Vec::new();
        self.find(|id| store.get(id.get()).map_or(Ordering::Less, |s| store.compare_with(s, labels, &mut block)))
    }

    /// The place of a series, which is looked for beside the last one at first.
    fn find_series(&self, slot: usize, store: &SeriesStore, budget: &mut StepBudget) -> Place {
        let Some(series) = store.get(slot) else { return (0, Err(0)) };
        let cost = store.comparison_cost(series);
        let mut compare = |id: CompactId| {
            budget.charge(cost);
            store.get(id.get()).map_or(Ordering::Less, |other| store.compare(other, series))
        };
        self.find_beside_last(&mut compare).unwrap_or_else(|| self.find(compare))
    }

    fn find_beside_last(&self, mut compare: impl FnMut(CompactId) -> Ordering) -> Option<Place> {
        let (chunk, at) = self.last_insertion;
        let numbers = self.chunks.get(chunk)?;
        match compare(*numbers.get(at)?) {
            Ordering::Equal => Some((chunk, Ok(at))),
            Ordering::Less => match numbers.get(at + 1) {
                Some(next) => compare(*next).is_gt().then_some((chunk, Err(at + 1))),
                None => (chunk + 1 == self.chunks.len()).then_some((chunk, Err(at + 1))),
            },
            Ordering::Greater => match at.checked_sub(1) {
                Some(before) => compare(*numbers.get(before)?).is_lt().then_some((chunk, Err(at))),
                None => (chunk == 0).then_some((chunk, Err(at))),
            },
        }
    }

    /// Whether there is a series with these labels.
    pub(crate) fn contains(&self, labels: &LabelSetKey, store: &SeriesStore) -> bool {
        self.find_labels(labels, store).1.is_ok()
    }

    /// The slots behind these labels, each the oldest of its place.
    pub(crate) fn after<'a>(
        &'a self,
        labels: Option<&LabelSetKey>,
        store: &SeriesStore,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let (chunk, from) = match labels.map(|labels| self.find_labels(labels, store)) {
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

    /// Series that are not sorted.
    pub(crate) fn unsorted_len(&self) -> usize {
        let last = self.unsorted.last().map_or(0, Vec::len);
        self.unsorted.len().saturating_sub(1) * UNSORTED_CHUNK + last
    }

    /// Adds a series without sorting it.
    pub(crate) fn add_unsorted(&mut self, slot: usize, store: &mut SeriesStore) {
        if let Some(series) = store.get_mut(slot) {
            series.unsorted_at = self.unsorted_len().into();
        }
        match self.unsorted.last_mut().filter(|chunk| chunk.len() < UNSORTED_CHUNK) {
            Some(chunk) => chunk.push(slot.into()),
            None => self.unsorted.push(vec![slot.into()]),
        }
    }

    /// Removes the last series that is not sorted from their list.
    pub(crate) fn pop_unsorted(&mut self, store: &mut SeriesStore) -> Option<usize> {
        let chunk = self.unsorted.last_mut()?;
        let slot = chunk.pop()?.get();
        if chunk.is_empty() {
            self.unsorted.pop();
        }
        if let Some(series) = store.get_mut(slot) {
            series.unsorted_at = CompactId::NONE;
        }
        Some(slot)
    }

    /// Removes the series that is not sorted and has this position.
    fn remove_unsorted(&mut self, at: usize, store: &mut SeriesStore) {
        let Some(last) = self.pop_unsorted(store) else { return };
        // The last one takes the position, unless it was at this position itself.
        let place = self.unsorted.get_mut(at / UNSORTED_CHUNK).and_then(|chunk| chunk.get_mut(at % UNSORTED_CHUNK));
        if let Some(place) = place {
            let removed = std::mem::replace(place, last.into());
            for (slot, position) in [(last, at.into()), (removed.get(), CompactId::NONE)] {
                if let Some(series) = store.get_mut(slot) {
                    series.unsorted_at = position;
                }
            }
        }
    }

    /// Adds a series at its place. Returns the slot that is now a younger one of its place, if any.
    pub(crate) fn insert(&mut self, slot: usize, store: &SeriesStore, budget: &mut StepBudget) -> Option<usize> {
        budget.charge(100 + self.moved_at_most() as u64 / 8);
        let seq = store.get(slot)?.seq;
        let (chunk, place) = self.find_series(slot, store, budget);
        match place {
            Ok(at) => {
                let number = self.chunks.get_mut(chunk)?.get_mut(at)?;
                let oldest = number.get();
                let oldest_seq = store.get(oldest).map_or(0, |s| s.seq);
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
        self.last_insertion = (chunk, at);
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
            self.last_insertion = (chunk + 1, at - divided_at);
        } else {
            numbers.insert(at, id);
        }
        numbers.shrink_to_fit();
        self.chunks.insert(chunk + 1, behind);
    }

    /// Removes a series, which `store` still has.
    pub(crate) fn remove(&mut self, slot: usize, store: &mut SeriesStore, budget: &mut StepBudget) -> Removal {
        let Some(series) = store.get(slot) else { return Removal::Place };
        let seq = series.seq;
        if let Some(at) = series.unsorted_at.option() {
            self.remove_unsorted(at, store);
            return Removal::Place;
        }
        budget.charge(self.moved_at_most() as u64 / 8);
        let (chunk, Ok(at)) = self.find_series(slot, store, budget) else { return Removal::Place };
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
