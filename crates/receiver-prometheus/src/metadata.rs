//! Type, help and unit of the families of a target, which stay known for some scrapes after they were last on the page.
//!
//! Reads no page.

use std::rc::Rc;

use otelcore_exposition::parse::FamilyType;
use slab::Slab;

use crate::key::{KeyHasher, KeyTable};

/// How many scrapes metadata are kept after the last page that had them.
const KEPT_SCRAPES: u64 = 10;

/// About the bytes of an entry without its texts.
const ENTRY_BYTES: u64 = 160;

/// What is known of a family.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    pub(crate) family: Rc<str>,
    pub(crate) family_type: FamilyType,
    pub(crate) help: Rc<str>,
    pub(crate) unit: Rc<str>,
}

#[derive(Debug)]
struct Entry {
    key: u128,
    metadata: Metadata,
    last_seen: u64,
}

impl Entry {
    fn bytes(&self) -> u64 {
        let Metadata { family, help, unit, .. } = &self.metadata;
        ENTRY_BYTES + (family.len() + help.len() + unit.len()) as u64
    }
}

/// The metadata of a target.
#[derive(Debug)]
pub(crate) struct MetadataStore {
    hasher: KeyHasher,
    entries: Slab<Entry>,
    by_name: KeyTable,
    /// Counts up when a family is new, changes its type, or is forgotten.
    pub(crate) generation: u64,
    pub(crate) bytes: u64,
}

impl MetadataStore {
    pub(crate) fn new(hasher: KeyHasher) -> Self {
        Self { hasher, entries: Slab::new(), by_name: KeyTable::default(), generation: 0, bytes: 0 }
    }

    fn key(&self, name: &str) -> u128 {
        self.hasher.texts([name].into_iter())
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Metadata> {
        let at = self.by_name.get(self.key(name))?;
        self.entries.get(at as usize).map(|entry| &entry.metadata)
    }

    fn entry(&mut self, name: &str, iteration: u64) -> Option<&mut Entry> {
        let key = self.key(name);
        let at = match self.by_name.get(key) {
            Some(at) => at as usize,
            None => {
                let empty: Rc<str> = "".into();
                let metadata = Metadata {
                    family: name.into(),
                    family_type: FamilyType::Unknown,
                    help: empty.clone(),
                    unit: empty,
                };
                let at = self.entries.insert(Entry { key, metadata, last_seen: iteration });
                self.by_name.set(key, u32::try_from(at).unwrap_or(u32::MAX));
                self.generation += 1;
                self.bytes += ENTRY_BYTES + name.len() as u64;
                at
            }
        };
        let entry = self.entries.get_mut(at)?;
        entry.last_seen = iteration;
        Some(entry)
    }

    pub(crate) fn set_type(&mut self, name: &str, family_type: FamilyType, iteration: u64) {
        let Some(entry) = self.entry(name, iteration) else { return };
        if std::mem::replace(&mut entry.metadata.family_type, family_type) != family_type {
            self.generation += 1;
        }
    }

    pub(crate) fn set_help(&mut self, name: &str, help: &str, iteration: u64) {
        self.set_text(name, help, iteration, |metadata| &mut metadata.help);
    }

    pub(crate) fn set_unit(&mut self, name: &str, unit: &str, iteration: u64) {
        self.set_text(name, unit, iteration, |metadata| &mut metadata.unit);
    }

    fn set_text(&mut self, name: &str, text: &str, iteration: u64, field: fn(&mut Metadata) -> &mut Rc<str>) {
        let Some(entry) = self.entry(name, iteration) else { return };
        let known = field(&mut entry.metadata);
        if **known != *text {
            let before = known.len() as u64;
            *known = text.into();
            self.bytes = (self.bytes + text.len() as u64).saturating_sub(before);
        }
    }

    /// Forgets what has not been on a page for long, beginning at a position, at most `count` entries. Returns the next
    /// position, `None` at the end.
    pub(crate) fn forget_old(&mut self, from: usize, count: usize, iteration: u64) -> Option<usize> {
        let end = from.saturating_add(count).min(self.entries.capacity());
        for at in from..end {
            let is_old = |entry: &Entry| iteration.saturating_sub(entry.last_seen) > KEPT_SCRAPES;
            if self.entries.get(at).is_some_and(is_old)
                && let Some(entry) = self.entries.try_remove(at)
            {
                self.by_name.remove(entry.key);
                self.bytes = self.bytes.saturating_sub(entry.bytes());
                self.generation += 1;
            }
        }
        (end < self.entries.capacity()).then_some(end)
    }
}

/// Help and unit of the series that the receiver makes itself.
pub(crate) fn of_report(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "up" => ("The scraping was successful", ""),
        "scrape_duration_seconds" => ("Duration of the scrape", "seconds"),
        "scrape_samples_scraped" => ("The number of samples the target exposed", ""),
        "scrape_series_added" => ("The approximate number of new series in this scrape", ""),
        "scrape_samples_post_metric_relabeling" => {
            ("The number of samples remaining after metric relabeling was applied", "")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_are_forgotten_ten_scrapes_after_they_were_seen() {
        let mut store = MetadataStore::new(KeyHasher::new(1));
        store.set_type("a", FamilyType::Counter, 1);
        store.set_help("a", "text", 1);
        store.set_help("b", "other", 5);
        assert_eq!(store.forget_old(0, 1, 11), Some(1));
        assert_eq!(store.len(), 2);
        assert!(store.forget_old(0, 100, 12).is_none());
        assert_eq!((store.get("a").is_none(), store.get("b").is_some(), store.len()), (true, true, 1));
        assert_eq!(store.bytes, ENTRY_BYTES + 6);
    }
}
