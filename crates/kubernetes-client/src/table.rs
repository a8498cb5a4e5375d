//! What is known of a resource: an entry for each object, so that a new list shows which objects are gone.
//!
//! Entries that a list lacks are removed some at a time, because there may be very many.

use std::collections::BTreeMap;
use std::ops::Bound;

/// The entries of one watch, by namespace and name.
#[derive(Debug)]
pub struct ObjectTable<T> {
    entries: BTreeMap<Box<str>, (u64, T)>,
    /// The number of the list that is being read, or was read last.
    list: u64,
    /// Entries up to this one have been compared with the list; `None` unless they are being compared.
    compared: Option<Box<str>>,
}

impl<T> Default for ObjectTable<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), list: 0, compared: None }
    }
}

impl<T> ObjectTable<T> {
    /// A list begins.
    pub fn begin_list(&mut self) {
        self.list += 1;
        self.compared = None;
    }

    /// The list has ended: what it lacks is returned by [`ObjectTable::remove_unlisted`].
    pub fn end_list(&mut self) {
        self.compared = Some("".into());
    }

    /// Sets the entry of an object; returns the one before.
    pub fn set(&mut self, key: &str, value: T) -> Option<T> {
        let entry = (self.list, value);
        match self.entries.get_mut(key) {
            Some(old) => Some(std::mem::replace(old, entry).1),
            None => {
                self.entries.insert(key.into(), entry);
                None
            }
        }
    }

    /// The entry of an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&T> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// The entries of all objects, by their keys.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.values().map(|(_, value)| value)
    }

    /// Removes the entry of an object.
    pub fn remove(&mut self, key: &str) -> Option<T> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Without entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether [`ObjectTable::remove_unlisted`] has something to compare.
    #[must_use]
    pub fn has_unlisted(&self) -> bool {
        self.compared.is_some()
    }

    /// Compares the next `max` entries with the last list, and removes those that it lacks, with their keys.
    pub fn remove_unlisted(&mut self, max: usize) -> Vec<(Box<str>, T)> {
        let Some(compared) = self.compared.take() else { return Vec::new() };
        let from = if compared.is_empty() { Bound::Unbounded } else { Bound::Excluded(compared) };
        let next = self.entries.range((from, Bound::Unbounded)).take(max);
        let next: Vec<(Box<str>, bool)> = next.map(|(key, (list, _))| (key.clone(), *list != self.list)).collect();
        if next.len() == max {
            self.compared = next.last().map(|(key, _)| key.clone());
        }
        let unlisted = next.into_iter().filter(|(_, is_unlisted)| *is_unlisted);
        unlisted.filter_map(|(key, _)| self.remove(&key).map(|value| (key, value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_a_list_lacks_are_removed_in_parts() {
        let mut table = ObjectTable::default();
        table.begin_list();
        for n in 0..10 {
            assert_eq!(table.set(&format!("a/{n}"), n), None);
        }
        table.end_list();
        assert!(table.remove_unlisted(100).is_empty());
        assert!(!table.has_unlisted());
        table.begin_list();
        assert_eq!(table.set("a/3", 33), Some(3));
        table.end_list();
        // Between the list and the comparison.
        table.set("a/0x", 1);
        let mut removed = Vec::new();
        let mut parts = 0;
        while table.has_unlisted() {
            removed.extend(table.remove_unlisted(3).into_iter().map(|(_, n)| n));
            parts += 1;
        }
        assert_eq!(removed, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
        assert_eq!((table.len(), table.get("a/3"), parts), (2, Some(&33), 4));
    }
}
