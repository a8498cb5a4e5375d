//! State by series: a table that grows and expires in parts, and hashes that identify a series.
//!
//! A table that grows is rehashed all at once, which for many series takes longer than a turn of the loop, so it is
//! divided into tables that grow independently. What is kept is charged to the budget; without room there no new series
//! is stored. Does not know what the state of a series is.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use otelcore_pipeline::{Budget, Kept};

/// Tables that grow independently.
const TABLES: usize = 256;

/// Series that are checked in one call of [`SeriesTable::expire`], about.
const CHECKED_AT_ONCE: usize = 20_000;

/// Bytes of a table's entry beside its key and value.
const ENTRY_OVERHEAD: usize = 24;

/// What identifies a series: 128 bits of hashes with secret seeds.
pub(crate) type SeriesId = u128;

/// Hashes parts of an identity, with seeds that a peer does not know.
#[derive(Clone, Debug)]
pub(crate) struct IdentityHasher {
    seeds: [FixedState; 2],
}

impl IdentityHasher {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seeds: [FixedState::with_seed(seed), FixedState::with_seed(seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15)],
        }
    }

    /// The hash of several texts in this order.
    pub(crate) fn hash(&self, parts: &[&[u8]]) -> SeriesId {
        let one = |state: &FixedState| {
            let mut hasher = state.build_hasher();
            for part in parts {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
            u128::from(hasher.finish())
        };
        one(&self.seeds[0]) << 64 | one(&self.seeds[1])
    }

    /// The hash of texts whose order does not matter, such as attributes.
    pub(crate) fn hash_set<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> SeriesId {
        parts.fold(0, |sum: u128, part| sum.wrapping_add(self.hash(&[part])))
    }

    /// The hash of hashes in this order.
    pub(crate) fn join(&self, ids: &[SeriesId], numbers: &[u64]) -> SeriesId {
        let one = |state: &FixedState| {
            let mut hasher = state.build_hasher();
            ids.iter().for_each(|id| hasher.write_u128(*id));
            numbers.iter().for_each(|number| hasher.write_u64(*number));
            u128::from(hasher.finish())
        };
        one(&self.seeds[0]) << 64 | one(&self.seeds[1])
    }
}

/// The state of a series.
pub(crate) trait SeriesState {
    /// Bytes on the heap.
    fn heap_bytes(&self) -> usize;
}

/// States by series.
pub(crate) struct SeriesTable<V> {
    tables: Vec<HashMap<SeriesId, V, FixedState>>,
    len: usize,
    kept: Kept,
    /// The table that is checked next.
    next_checked: usize,
}

impl<V: SeriesState> SeriesTable<V> {
    pub(crate) fn new(budget: &Arc<Budget>, seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            tables: (0..TABLES).map(|_| HashMap::with_hasher(hasher.clone())).collect(),
            len: 0,
            kept: budget.keep(0),
            next_checked: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether the budget has room for a new series.
    pub(crate) fn has_room(&self) -> bool {
        self.kept.has_room()
    }

    fn entry_bytes(state: &V) -> u64 {
        (state.heap_bytes() + size_of::<(SeriesId, V)>() + ENTRY_OVERHEAD) as u64
    }

    fn table_of(&mut self, id: SeriesId) -> Option<&mut HashMap<SeriesId, V, FixedState>> {
        // Bits that the hash of the table's own key does not need.
        self.tables.get_mut((id >> 120) as usize % TABLES)
    }

    /// Changes the state of a series, if it is known.
    pub(crate) fn update<R>(&mut self, id: SeriesId, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let state = self.table_of(id)?.get_mut(&id)?;
        let before = Self::entry_bytes(state);
        let result = change(state);
        let after = Self::entry_bytes(state);
        if after != before {
            self.kept.grow(after.saturating_sub(before));
            self.kept.shrink(before.saturating_sub(after));
        }
        Some(result)
    }

    /// Stores a series that is not known yet.
    pub(crate) fn insert(&mut self, id: SeriesId, state: V) {
        let bytes = Self::entry_bytes(&state);
        let Some(table) = self.table_of(id) else { return };
        if table.insert(id, state).is_none() {
            self.len += 1;
            self.kept.grow(bytes);
        }
    }

    /// Removes a series.
    pub(crate) fn remove(&mut self, id: SeriesId) -> Option<V> {
        let table = self.table_of(id)?;
        let state = table.remove(&id)?;
        shrink(table);
        self.len -= 1;
        self.kept.shrink(Self::entry_bytes(&state));
        Some(state)
    }

    /// Removes the series for which `is_old` is true, of as many tables as take some milliseconds. True: the last table
    /// has been checked, and the next call begins with the first.
    pub(crate) fn expire(&mut self, mut is_old: impl FnMut(&V) -> bool) -> bool {
        let mut checked = 0;
        while checked < CHECKED_AT_ONCE {
            let Some(table) = self.tables.get_mut(self.next_checked) else {
                self.next_checked = 0;
                return true;
            };
            checked += table.len() + 16;
            let (mut removed, mut bytes) = (0, 0);
            table.retain(|_, state| {
                let is_kept = !is_old(state);
                if !is_kept {
                    removed += 1;
                    bytes += Self::entry_bytes(state);
                }
                is_kept
            });
            shrink(table);
            self.len -= removed;
            self.kept.shrink(bytes);
            self.next_checked += 1;
        }
        false
    }
}

/// Releases the memory of a table of which few places are used. It must lose most of its series before that happens
/// again, so that this costs little for each of them.
fn shrink<V>(table: &mut HashMap<SeriesId, V, FixedState>) {
    // The capacity does not count the places of removed series that can't be used again yet.
    let places = table.allocation_size() / size_of::<(SeriesId, V)>();
    if table.len() < places / 8 {
        table.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl SeriesState for Vec<u8> {
        fn heap_bytes(&self) -> usize {
            self.capacity()
        }
    }

    #[test]
    fn removed_series_are_not_charged() {
        let budget = Arc::new(Budget::default());
        let mut table = SeriesTable::new(&budget, 1);
        let hasher = IdentityHasher::new(7);
        let ids: Vec<_> = (0..100_000_u64).map(|n| hasher.join(&[], &[n])).collect();
        for id in &ids {
            table.insert(*id, Vec::new());
        }
        assert_eq!(table.len(), ids.len());
        let without_heap = budget.kept();
        assert_eq!(table.update(ids[5], |state| state.reserve_exact(1000)), Some(()));
        assert_eq!(budget.kept(), without_heap + 1000);
        assert!(table.update(hasher.join(&[], &[100_000]), |_| ()).is_none());
        let mut steps = 1;
        while !table.expire(|state| state.capacity() == 0) {
            steps += 1;
        }
        assert!(steps > 3, "{steps}");
        assert_eq!(table.len(), 1);
        assert!(table.expire(|_| true) || table.len() <= 1);
        while !table.expire(|_| true) {}
        assert_eq!((table.len(), budget.kept()), (0, 0));
    }

    #[test]
    fn tables_shrink_when_series_are_removed() {
        let budget = Arc::new(Budget::default());
        let mut table = SeriesTable::new(&budget, 1);
        let hasher = IdentityHasher::new(7);
        let ids: Vec<_> = (0..100_000_u64).map(|n| hasher.join(&[], &[n])).collect();
        ids.iter().for_each(|id| table.insert(*id, Vec::new()));
        let allocated = |table: &SeriesTable<Vec<u8>>| table.tables.iter().map(HashMap::allocation_size).sum::<usize>();
        let before = allocated(&table);
        for id in &ids[1000..] {
            assert!(table.remove(*id).is_some());
        }
        assert_eq!(table.len(), 1000);
        assert!(allocated(&table) < before / 8, "{before} bytes, then {}", allocated(&table));
        assert!(ids[..1000].iter().all(|id| table.update(*id, |_| ()).is_some()));
    }

    #[test]
    fn attributes_in_any_order_are_one_series() {
        let hasher = IdentityHasher::new(7);
        let of = |texts: &[&[u8]]| hasher.hash_set(texts.iter().copied());
        assert_eq!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"ab"]));
        assert_ne!(hasher.hash(&[b"a", b"b"]), hasher.hash(&[b"ab", b""]));
    }
}
