//! Armed timers, by due time.

use std::collections::BTreeMap;

use otelcore_pipeline::{Key, Mono, TimerId};

/// Timers of one world. Ids are never used twice.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<(Mono, TimerId), Key>,
    armed: BTreeMap<TimerId, Mono>,
    next: u64,
}

impl Timers {
    pub(crate) fn arm(&mut self, key: Key, at: Mono) -> TimerId {
        let id = TimerId(self.next);
        self.next += 1;
        self.due.insert((at, id), key);
        self.armed.insert(id, at);
        id
    }

    pub(crate) fn cancel(&mut self, id: TimerId) {
        if let Some(at) = self.armed.remove(&id) {
            self.due.remove(&(at, id));
        }
    }

    pub(crate) fn next(&self) -> Option<Mono> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the earliest timer that is due at `now`.
    pub(crate) fn pop(&mut self, now: Mono) -> Option<Key> {
        let entry = self.due.first_entry().filter(|e| e.key().0 <= now)?;
        let ((_, id), key) = entry.remove_entry();
        self.armed.remove(&id);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_cancelled_ones_never() {
        let mut timers = Timers::default();
        let key = |local| Key { owner: 1, local };
        timers.arm(key(2), Mono(20));
        let cancelled = timers.arm(key(3), Mono(15));
        timers.arm(key(1), Mono(10));
        timers.cancel(cancelled);
        timers.cancel(cancelled);
        assert_eq!(timers.next(), Some(Mono(10)));
        assert_eq!(timers.pop(Mono(5)), None);
        assert_eq!(timers.pop(Mono(30)), Some(key(1)));
        assert_eq!(timers.pop(Mono(30)), Some(key(2)));
        assert_eq!(timers.pop(Mono(30)), None);
    }
}
