//! The series of a target that are known from its last scrapes: which entry of a page is which series, and which series
//! have ended.
//!
//! ```text
//!  entry of a page (name and labels as they are there) -> series (labels after relabelling), or dropped
//! ```
//! Holds no values. What it has is charged by its owner.

use std::rc::Rc;

use slab::Slab;

use crate::key::KeyTable;
use crate::series::Series;

/// About the bytes of an entry with its key in the table.
const ENTRY_BYTES: u64 = size_of::<Entry>() as u64 + 48;

/// Without a whole page, entries are forgotten when there are twice as many as after the last whole one, and this many.
const SPARE_ENTRIES: usize = 1000;

#[derive(Debug)]
struct Entry {
    key: u128,
    /// `None` for an entry that relabelling drops.
    series: Option<Rc<Series>>,
    last_seen: u64,
    /// The scrape that added it.
    added: u64,
}

/// Which entries are forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Forgotten {
    /// Those that were not on the page of this scrape.
    NotSeenIn(u64),
    /// Those that this scrape added.
    AddedIn(u64),
}

/// What is known of an entry of a page.
#[derive(Debug)]
pub(crate) enum Known {
    Dropped,
    /// The series, and whether the page had it before.
    Series(Rc<Series>, bool),
}

/// The known series of a target.
#[derive(Debug, Default)]
pub(crate) struct SeriesCache {
    entries: Slab<Entry>,
    by_key: KeyTable,
    series: Slab<Rc<Series>>,
    by_identity: KeyTable,
    /// Entries after the last whole page.
    whole_count: usize,
    pub(crate) bytes: u64,
}

impl SeriesCache {
    /// What is known of the entry with this key; it is on the page of this scrape.
    pub(crate) fn find(&mut self, key: u128, scrape: u64) -> Option<Known> {
        let entry = self.entries.get_mut(self.by_key.get(key)? as usize)?;
        let was_seen = std::mem::replace(&mut entry.last_seen, scrape) == scrape;
        Some(entry.series.as_ref().map_or(Known::Dropped, |series| Known::Series(series.clone(), was_seen)))
    }

    /// The series with these labels that is known already, or this one.
    pub(crate) fn unique(&self, series: Series) -> Rc<Series> {
        let known = self.by_identity.get(series.identity).and_then(|at| self.series.get(at as usize));
        known.cloned().unwrap_or_else(|| Rc::new(series))
    }

    /// Adds an entry that is not known.
    pub(crate) fn add(&mut self, key: u128, series: Option<Rc<Series>>, scrape: u64) {
        if let Some(series) = &series {
            series.entries.set(series.entries.get().saturating_add(1));
            if series.slot.get().is_none() {
                let at = u32::try_from(self.series.insert(series.clone())).unwrap_or(u32::MAX);
                series.slot.set(Some(at));
                self.by_identity.set(series.identity, at);
                self.bytes += series.bytes();
            }
        }
        let at = self.entries.insert(Entry { key, series, last_seen: scrape, added: scrape });
        self.by_key.set(key, u32::try_from(at).unwrap_or(u32::MAX));
        self.bytes += ENTRY_BYTES;
    }

    /// The series at a position, up to [`SeriesCache::positions`].
    pub(crate) fn series_at(&self, at: usize) -> Option<&Rc<Series>> {
        self.series.get(at)
    }

    pub(crate) fn positions(&self) -> usize {
        self.series.capacity()
    }

    /// Whether entries that were not on the page are forgotten now. `others` are entries of other tables that count too.
    pub(crate) fn must_forget(&mut self, is_whole_page: bool, others: usize) -> bool {
        let count = self.entries.len() + others;
        if is_whole_page {
            self.whole_count = count;
        }
        is_whole_page || count > self.whole_count * 2 + SPARE_ENTRIES
    }

    /// Forgets entries, beginning at a position, of at most `count` entries. Returns the next position, `None` at the end.
    pub(crate) fn forget(&mut self, from: usize, count: usize, which: Forgotten) -> Option<usize> {
        let end = from.saturating_add(count).min(self.entries.capacity());
        for at in from..end {
            let is_forgotten = |entry: &Entry| match which {
                Forgotten::NotSeenIn(scrape) => entry.last_seen != scrape,
                Forgotten::AddedIn(scrape) => entry.added == scrape,
            };
            if !self.entries.get(at).is_some_and(is_forgotten) {
                continue;
            }
            let Some(entry) = self.entries.try_remove(at) else { continue };
            self.by_key.remove(entry.key);
            self.bytes = self.bytes.saturating_sub(ENTRY_BYTES);
            let Some(series) = entry.series else { continue };
            series.entries.set(series.entries.get().saturating_sub(1));
            if series.entries.get() == 0
                && let Some(slot) = series.slot.take()
            {
                self.series.try_remove(slot as usize);
                self.by_identity.remove(series.identity);
                self.bytes = self.bytes.saturating_sub(series.bytes());
            }
        }
        (end < self.entries.capacity()).then_some(end)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.entries.len(), self.series.len())
    }
}
