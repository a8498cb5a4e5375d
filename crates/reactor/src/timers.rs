//! Armed timers, by due time.

use std::collections::BTreeMap;

use otelcore_pipeline::{Key, MonotonicTime, TimerId};

/// Timers of one world. Ids are never used twice.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_due_time: BTreeMap<(MonotonicTime, TimerId), Key>,
    by_id: BTreeMap<TimerId, MonotonicTime>,
    next_id: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, key: Key, at: MonotonicTime) -> TimerId {
        let id = TimerId(self.next_id);
        self.next_id += 1;
        self.by_due_time.insert((at, id), key);
        self.by_id.insert(id, at);
        id
    }

    pub(crate) fn cancel(&mut self, id: TimerId) {
        if let Some(at) = self.by_id.remove(&id) {
            self.by_due_time.remove(&(at, id));
        }
    }

    pub(crate) fn next_due(&self) -> Option<MonotonicTime> {
        self.by_due_time.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the earliest timer that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: MonotonicTime) -> Option<Key> {
        let entry = self.by_due_time.first_entry().filter(|e| e.key().0 <= now)?;
        let ((_, id), key) = entry.remove_entry();
        self.by_id.remove(&id);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_of_due_time_and_cancelled_timers_never() {
        let mut timers = Timers::default();
        let key = |local| Key { owner: 1, local };
        timers.set(key(2), MonotonicTime(20));
        let cancelled = timers.set(key(3), MonotonicTime(15));
        timers.set(key(1), MonotonicTime(10));
        timers.cancel(cancelled);
        timers.cancel(cancelled);
        assert_eq!(timers.next_due(), Some(MonotonicTime(10)));
        assert_eq!(timers.pop_due(MonotonicTime(5)), None);
        assert_eq!(timers.pop_due(MonotonicTime(30)), Some(key(1)));
        assert_eq!(timers.pop_due(MonotonicTime(30)), Some(key(2)));
        assert_eq!(timers.pop_due(MonotonicTime(30)), None);
    }
}
