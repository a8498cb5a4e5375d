//! A table by 128-bit keys that are hashes already. A large one is divided, because a table that grows is rehashed in one go.

use hashbrown::HashTable;

/// Entries from which on it is divided, and into how many.
const UNDIVIDED: usize = 8192;
const TABLES: usize = 256;

#[derive(Debug)]
pub(crate) struct KeyTable<V> {
    tables: Vec<HashTable<(u128, V)>>,
    len: usize,
}

/// The bits that a table uses; the upper ones choose it.
fn hash(key: u128) -> u64 {
    key as u64
}

impl<V> KeyTable<V> {
    pub(crate) fn new() -> Self {
        Self { tables: vec![HashTable::new()], len: 0 }
    }

    #[inline]
    fn table(&self, key: u128) -> usize {
        if self.tables.len() == 1 { 0 } else { (key >> 120) as usize }
    }

    #[inline]
    pub(crate) fn get(&self, key: u128) -> Option<&V> {
        let table = self.tables.get(self.table(key))?;
        table.find(hash(key), |entry| entry.0 == key).map(|entry| &entry.1)
    }

    pub(crate) fn get_mut(&mut self, key: u128) -> Option<&mut V> {
        let at = self.table(key);
        self.tables.get_mut(at)?.find_mut(hash(key), |entry| entry.0 == key).map(|entry| &mut entry.1)
    }

    /// Adds a key that is not there.
    pub(crate) fn insert(&mut self, key: u128, value: V) {
        if self.tables.len() == 1 && self.len >= UNDIVIDED {
            let undivided = std::mem::replace(&mut self.tables, (0..TABLES).map(|_| HashTable::new()).collect());
            for entry in undivided.into_iter().flatten() {
                let at = self.table(entry.0);
                if let Some(table) = self.tables.get_mut(at) {
                    table.insert_unique(hash(entry.0), entry, |entry| hash(entry.0));
                }
            }
        }
        let at = self.table(key);
        if let Some(table) = self.tables.get_mut(at) {
            table.insert_unique(hash(key), (key, value), |entry| hash(entry.0));
            self.len += 1;
        }
    }

    pub(crate) fn remove(&mut self, key: u128) -> Option<V> {
        let at = self.table(key);
        let entry = self.tables.get_mut(at)?.find_entry(hash(key), |entry| entry.0 == key).ok()?;
        self.len -= 1;
        Some(entry.remove().0.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_before_and_after_the_table_is_divided() {
        let mut table = KeyTable::new();
        let key = |n: u64| u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(n.wrapping_mul(77));
        for n in 0..20_000 {
            assert_eq!(table.get(key(n)), None);
            table.insert(key(n), n);
        }
        assert!((0..20_000).all(|n| table.get(key(n)) == Some(&n)));
        assert!((0..20_000).step_by(2).all(|n| table.remove(key(n)) == Some(n)));
        let changed = table.get_mut(key(3)).copied();
        assert_eq!((table.get(key(2)), changed, table.len), (None, Some(3), 10_000));
    }
}
