//! Files that are known by what they begin with.

use std::collections::BTreeMap;

/// What has a fingerprint: the first bytes of a file.
pub(crate) trait Fingerprinted {
    fn fingerprint(&self) -> &[u8];
}

/// Values by fingerprint. A look-up takes a search for each length of fingerprint that is in the set, of which there are
/// no more than the longest fingerprint has bytes.
#[derive(Debug)]
pub(crate) struct FileSet<T> {
    items: BTreeMap<u64, T>,
    next: u64,
    by_fingerprint: BTreeMap<Vec<u8>, Vec<u64>>,
    /// How many fingerprints have each length.
    lengths: BTreeMap<usize, usize>,
}

impl<T> Default for FileSet<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), next: 0, by_fingerprint: BTreeMap::new(), lengths: BTreeMap::new() }
    }
}

impl<T: Fingerprinted> FileSet<T> {
    pub(crate) fn add(&mut self, item: T) {
        let id = self.next;
        self.next += 1;
        self.index(id, &item);
        self.items.insert(id, item);
    }

    fn index(&mut self, id: u64, item: &T) {
        let fingerprint = item.fingerprint();
        if !fingerprint.is_empty() {
            *self.lengths.entry(fingerprint.len()).or_default() += 1;
            self.by_fingerprint.entry(fingerprint.to_vec()).or_default().push(id);
        }
    }

    fn unindex(&mut self, id: u64, fingerprint: &[u8]) {
        let Some(ids) = self.by_fingerprint.get_mut(fingerprint) else { return };
        let before = ids.len();
        ids.retain(|other| *other != id);
        let removed = before - ids.len();
        if ids.is_empty() {
            self.by_fingerprint.remove(fingerprint);
        }
        if let Some(count) = self.lengths.get_mut(&fingerprint.len()) {
            *count = count.saturating_sub(removed);
            if *count == 0 {
                self.lengths.remove(&fingerprint.len());
            }
        }
    }

    /// Takes an item out. Changes of its fingerprint take effect when it is added again.
    pub(crate) fn take(&mut self, id: u64, indexed: &[u8]) -> Option<T> {
        let item = self.items.remove(&id)?;
        self.unindex(id, indexed);
        Some(item)
    }

    /// Whether a fingerprint is in the set.
    pub(crate) fn contains(&self, fingerprint: &[u8]) -> bool {
        self.by_fingerprint.contains_key(fingerprint)
    }

    /// Whether a fingerprint in the set begins with this one.
    pub(crate) fn has_longer(&self, fingerprint: &[u8]) -> bool {
        let next = self.by_fingerprint.range(fingerprint.to_vec()..).next();
        !fingerprint.is_empty() && next.is_some_and(|(found, _)| found.starts_with(fingerprint))
    }

    /// Takes the item out whose fingerprint is the longest begin of this one.
    pub(crate) fn take_begin_of(&mut self, fingerprint: &[u8]) -> Option<T> {
        let lengths = self.lengths.keys().rev().filter_map(|length| fingerprint.get(..*length));
        let found = lengths.filter_map(|begin| Some((begin.to_vec(), *self.by_fingerprint.get(begin)?.last()?))).next();
        let (indexed, id) = found?;
        self.take(id, &indexed)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.values_mut()
    }

    pub(crate) fn drain(&mut self) -> Vec<T> {
        let items = std::mem::take(self).items;
        items.into_values().collect()
    }
}
