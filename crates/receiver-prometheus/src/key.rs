//! Keys of series: hashes, with seeds that a target does not know, and tables by them.
//!
//! Nothing here knows what the texts mean.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Makes 128-bit keys of texts.
#[derive(Clone, Debug)]
pub(crate) struct KeyHasher {
    seeds: [FixedState; 2],
}

impl KeyHasher {
    pub(crate) fn new(seed: u64) -> Self {
        let second = seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15;
        Self { seeds: [FixedState::with_seed(seed), FixedState::with_seed(second)] }
    }

    /// The key of several texts; it depends on where one ends and the next begins.
    #[inline]
    pub(crate) fn texts<'t>(&self, texts: impl Iterator<Item = &'t str>) -> u128 {
        let mut hashers = [self.seeds[0].build_hasher(), self.seeds[1].build_hasher()];
        for text in texts {
            for hasher in &mut hashers {
                hasher.write(text.as_bytes());
                hasher.write_usize(text.len());
            }
        }
        combined(hashers)
    }

    /// A key that follows from two others.
    #[inline]
    pub(crate) fn pair(&self, a: u128, b: u128) -> u128 {
        let mut hashers = [self.seeds[0].build_hasher(), self.seeds[1].build_hasher()];
        for hasher in &mut hashers {
            hasher.write_u128(a);
            hasher.write_u128(b);
        }
        combined(hashers)
    }
}

fn combined(hashers: [impl Hasher; 2]) -> u128 {
    u128::from(hashers[0].finish()) << 64 | u128::from(hashers[1].finish())
}

/// Entries from which on a table is divided, and into how many.
const UNDIVIDED: usize = 8192;
const TABLES: usize = 256;

/// Numbers by key. A large table is divided, because a table that grows is rehashed in one go.
#[derive(Debug)]
pub(crate) struct KeyTable {
    tables: Vec<HashTable<(u128, u32)>>,
    len: usize,
}

impl Default for KeyTable {
    fn default() -> Self {
        Self { tables: vec![HashTable::new()], len: 0 }
    }
}

/// The bits that a table uses; the upper ones choose it.
fn low(key: u128) -> u64 {
    key as u64
}

impl KeyTable {
    #[inline]
    fn table(&self, key: u128) -> usize {
        if self.tables.len() == 1 { 0 } else { (key >> 120) as usize }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, key: u128) -> Option<u32> {
        self.tables.get(self.table(key))?.find(low(key), |entry| entry.0 == key).map(|entry| entry.1)
    }

    /// Adds a key, or changes its number.
    pub(crate) fn set(&mut self, key: u128, number: u32) {
        if self.tables.len() == 1 && self.len >= UNDIVIDED {
            let undivided = std::mem::replace(&mut self.tables, (0..TABLES).map(|_| HashTable::new()).collect());
            for entry in undivided.into_iter().flatten() {
                let at = self.table(entry.0);
                if let Some(table) = self.tables.get_mut(at) {
                    table.insert_unique(low(entry.0), entry, |entry| low(entry.0));
                }
            }
        }
        let at = self.table(key);
        let Some(table) = self.tables.get_mut(at) else { return };
        if let Some(entry) = table.find_mut(low(key), |entry| entry.0 == key) {
            entry.1 = number;
        } else {
            table.insert_unique(low(key), (key, number), |entry| low(entry.0));
            self.len += 1;
        }
    }

    pub(crate) fn remove(&mut self, key: u128) {
        let at = self.table(key);
        let Some(table) = self.tables.get_mut(at) else { return };
        if let Ok(entry) = table.find_entry(low(key), |entry| entry.0 == key) {
            entry.remove();
            self.len -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_depend_on_the_ends_of_texts_and_on_the_seed() {
        let hasher = KeyHasher::new(1);
        let key = |texts: &[&str]| hasher.texts(texts.iter().copied());
        assert_ne!(key(&["a", "bc"]), key(&["ab", "c"]));
        assert_ne!(key(&["a"]), key(&["a", ""]));
        assert_eq!(key(&["a", "bc"]), key(&["a", "bc"]));
        assert_ne!(key(&["a"]), KeyHasher::new(2).texts(["a"].into_iter()));
    }

    #[test]
    fn table_finds_what_was_set_before_and_after_it_was_divided() {
        let hasher = KeyHasher::new(7);
        let mut table = KeyTable::default();
        let key = |i: u32| hasher.pair(u128::from(i), 0);
        for i in 0..20_000 {
            table.set(key(i), i);
        }
        table.set(key(5), 6);
        table.remove(key(6));
        assert_eq!((table.len(), table.get(key(5)), table.get(key(6))), (19_999, Some(6), None));
        assert!((7..20_000).all(|i| table.get(key(i)) == Some(i)));
    }
}
