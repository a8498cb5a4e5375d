//! When series were exported last, for as many as the configuration allows: with deltas the next interval begins there.

use std::collections::BTreeMap;

use crate::key_table::KeyTable;

/// Bytes of an entry in both tables, about.
pub(crate) const ENTRY_BYTES: u64 = 128;

#[derive(Debug)]
pub(crate) struct ExportTimes {
    max: usize,
    /// The time, and when it was set, as a number that counts up.
    times: KeyTable<(u64, u64)>,
    order: BTreeMap<u64, u128>,
    next: u64,
}

impl ExportTimes {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, times: KeyTable::new(), order: BTreeMap::new(), next: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn get(&self, key: u128) -> Option<u64> {
        self.times.get(key).map(|(time, _)| *time)
    }

    /// Sets the time of a series. Of too many the one that was set first is forgotten.
    pub(crate) fn set(&mut self, key: u128, time: u64) {
        let number = self.next;
        self.next += 1;
        match self.times.get_mut(key) {
            Some(entry) => {
                let before = std::mem::replace(entry, (time, number)).1;
                self.order.remove(&before);
            }
            None => self.times.insert(key, (time, number)),
        }
        self.order.insert(number, key);
        if self.order.len() > self.max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.times.remove(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_that_was_set_first_is_forgotten_first() {
        let mut times = ExportTimes::new(2);
        times.set(1, 10);
        times.set(2, 10);
        times.set(1, 20);
        times.set(3, 20);
        assert_eq!((times.get(1), times.get(2), times.get(3), times.len()), (Some(20), None, Some(20), 2));
    }
}
