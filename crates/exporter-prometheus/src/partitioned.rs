//! Values by number, and numbers by hash, without an operation whose cost grows with the number of values.
//!
//! A vector that grows is copied, and a hash table that grows is rehashed, all at once. With a million series that
//! takes longer than a turn of the loop may take, so both are divided into parts that grow independently. Does not
//! depend on series.

use hashbrown::HashTable;
use slab::Slab;

/// A number in four bytes, of which there may be none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CompactId(u32);

impl CompactId {
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// The number; `usize::MAX` if there is none.
    #[inline]
    pub(crate) fn get(self) -> usize {
        if self == Self::NONE { usize::MAX } else { self.0 as usize }
    }

    pub(crate) fn option(self) -> Option<usize> {
        (self != Self::NONE).then_some(self.0 as usize)
    }
}

impl From<usize> for CompactId {
    /// Numbers are dense, and of four billion values none has room.
    fn from(id: usize) -> Self {
        Self(u32::try_from(id).unwrap_or(u32::MAX))
    }
}

impl From<Option<usize>> for CompactId {
    fn from(id: Option<usize>) -> Self {
        id.map_or(Self::NONE, Self::from)
    }
}

/// Values in one part.
const PART_SIZE: usize = 1 << 12;

/// A slab in parts. Numbers are reused.
pub(crate) struct PartitionedSlab<T> {
    parts: Vec<Slab<T>>,
    /// Parts that are not full; the last one is filled first.
    parts_with_room: Vec<usize>,
    len: usize,
}

impl<T> Default for PartitionedSlab<T> {
    fn default() -> Self {
        Self { parts: Vec::new(), parts_with_room: Vec::new(), len: 0 }
    }
}

impl<T> PartitionedSlab<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, id: usize) -> Option<&T> {
        self.parts.get(id / PART_SIZE)?.get(id % PART_SIZE)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: usize) -> Option<&mut T> {
        self.parts.get_mut(id / PART_SIZE)?.get_mut(id % PART_SIZE)
    }

    pub(crate) fn insert(&mut self, value: T) -> usize {
        let part = self.parts_with_room.last().copied().unwrap_or_else(|| {
            // Behind the first part it is not moved while it grows: memory is taken when it is written.
            self.parts.push(if self.parts.is_empty() { Slab::new() } else { Slab::with_capacity(PART_SIZE) });
            self.parts_with_room.push(self.parts.len() - 1);
            self.parts.len() - 1
        });
        let Some(slab) = self.parts.get_mut(part) else { return usize::MAX };
        let at = slab.insert(value);
        if slab.len() == PART_SIZE {
            self.parts_with_room.pop();
        }
        self.len += 1;
        part * PART_SIZE + at
    }

    pub(crate) fn remove(&mut self, id: usize) -> Option<T> {
        let part = id / PART_SIZE;
        let slab = self.parts.get_mut(part)?;
        let was_full = slab.len() == PART_SIZE;
        let value = slab.try_remove(id % PART_SIZE)?;
        self.len -= 1;
        if slab.is_empty() {
            // Its memory is freed; the part keeps its index.
            *slab = Slab::new();
        }
        if was_full {
            self.parts_with_room.push(part);
        }
        Some(value)
    }

    /// How many parts there are.
    pub(crate) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Numbers and values of one part.
    pub(crate) fn part(&self, part: usize) -> impl Iterator<Item = (usize, &T)> {
        self.parts
            .get(part)
            .into_iter()
            .flat_map(|slab| slab.iter())
            .map(move |(at, value)| (part * PART_SIZE + at, value))
    }
}

/// Tables in an index.
const TABLE_COUNT: usize = 256;

/// A number, and a part of its hash: without it, a table that grows or a search would read all of these values.
#[derive(Clone, Copy)]
struct IndexEntry {
    hash: u32,
    id: CompactId,
}

impl IndexEntry {
    fn new(hash: u64, id: usize) -> Self {
        Self { hash: (hash >> 32) as u32, id: id.into() }
    }

    /// The table: by the highest bits, which are then equal in each of its hashes.
    fn table(self) -> usize {
        (self.hash >> 24) as usize % TABLE_COUNT
    }

    /// The hash in a table, which uses the lowest and the highest bits.
    fn table_hash(&self) -> u64 {
        u64::from(self.hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Numbers by hash, in tables that grow independently.
pub(crate) struct PartitionedIndex {
    tables: Vec<HashTable<IndexEntry>>,
    /// How many numbers were moved into larger tables, to count the work.
    moved: u64,
}

impl Default for PartitionedIndex {
    fn default() -> Self {
        Self { tables: (0..TABLE_COUNT).map(|_| HashTable::new()).collect(), moved: 0 }
    }
}

impl PartitionedIndex {
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_same: impl FnMut(usize) -> bool) -> Option<usize> {
        let wanted = IndexEntry::new(hash, 0);
        let is_same = |entry: &IndexEntry| entry.hash == wanted.hash && is_same(entry.id.get());
        self.tables.get(wanted.table())?.find(wanted.table_hash(), is_same).map(|entry| entry.id.get())
    }

    pub(crate) fn insert(&mut self, hash: u64, id: usize) {
        let entry = IndexEntry::new(hash, id);
        let Some(table) = self.tables.get_mut(entry.table()) else { return };
        if table.len() == table.capacity() {
            self.moved += table.len() as u64;
        }
        table.insert_unique(entry.table_hash(), entry, IndexEntry::table_hash);
    }

    pub(crate) fn remove(&mut self, hash: u64, id: usize) {
        let wanted = IndexEntry::new(hash, id);
        let Some(table) = self.tables.get_mut(wanted.table()) else { return };
        if let Ok(entry) = table.find_entry(wanted.table_hash(), |entry| entry.id == wanted.id) {
            entry.remove();
        }
        if table.is_empty() {
            *table = HashTable::new();
        }
    }

    /// How many numbers were moved since the last call.
    pub(crate) fn take_moved(&mut self) -> u64 {
        std::mem::take(&mut self.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_slab_numbers_are_reused() {
        let mut slots = PartitionedSlab::default();
        let ids: Vec<usize> = (0..3 * PART_SIZE).map(|i| slots.insert(i)).collect();
        assert_eq!((slots.len(), slots.parts()), (3 * PART_SIZE, 3));
        assert!(ids.iter().enumerate().all(|(i, id)| slots.get(*id) == Some(&i)));
        for id in &ids[PART_SIZE..2 * PART_SIZE] {
            assert!(slots.remove(*id).is_some() && slots.remove(*id).is_none() && slots.get(*id).is_none());
        }
        assert_eq!(slots.part(1).count(), 0);
        for i in 0..PART_SIZE {
            slots.insert(i);
        }
        assert_eq!((slots.len(), slots.parts()), (3 * PART_SIZE, 3), "no part is added while one has room");
        assert_eq!((0..3).map(|p| slots.part(p).count()).sum::<usize>(), 3 * PART_SIZE);
    }

    #[test]
    fn index_insertion_moves_only_one_table() {
        let mut index = PartitionedIndex::default();
        let hash = |id: usize| (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut max_moved = 0;
        for id in 0..200_000 {
            index.insert(hash(id), id);
            max_moved = max_moved.max(index.take_moved());
        }
        assert!(max_moved < 2000, "{max_moved}");
        assert!((0..200_000).all(|id| index.find(hash(id), |at| at == id) == Some(id)));
        (0..200_000).for_each(|id| index.remove(hash(id), id));
        assert_eq!(index.find(hash(7), |_| true), None);
    }
}
