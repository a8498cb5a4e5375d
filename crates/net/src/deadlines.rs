//! Deadlines in order, and lists of calls that wait for a connection.
//!
//! The time of every operation grows with the logarithm of the number of entries, so that very many waiting calls are
//! not slow. Reads no clock and arms no timer.

use std::collections::{BTreeMap, BTreeSet};

use otelcore_pipeline::MonotonicTime;

/// At most one deadline for each key.
#[derive(Debug)]
pub(crate) struct DeadlineQueue<K> {
    by_key: BTreeMap<K, MonotonicTime>,
    by_time: BTreeSet<(MonotonicTime, K)>,
}

impl<K> Default for DeadlineQueue<K> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> DeadlineQueue<K> {
    /// Sets the deadline of `key`, and replaces an earlier one. `None` removes it.
    pub(crate) fn set(&mut self, key: K, deadline: Option<MonotonicTime>) {
        let at = deadline.filter(|at| *at != MonotonicTime::NEVER);
        let previous = match at {
            Some(at) => self.by_key.insert(key, at),
            None => self.by_key.remove(&key),
        };
        if previous == at {
            return;
        }
        if let Some(before) = previous {
            self.by_time.remove(&(before, key));
        }
        if let Some(at) = at {
            self.by_time.insert((at, key));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<MonotonicTime> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Removes the earliest deadline that is not after `now`.
    pub(crate) fn pop_due(&mut self, now: MonotonicTime) -> Option<K> {
        let (_, key) = *self.by_time.first().filter(|(at, _)| *at <= now)?;
        self.set(key, None);
        Some(key)
    }

    /// Whether the deadline of `key` is not after `now`.
    pub(crate) fn is_due(&self, key: K, now: MonotonicTime) -> bool {
        self.by_key.get(&key).is_some_and(|at| *at <= now)
    }

    pub(crate) fn clear(&mut self) {
        self.by_key.clear();
        self.by_time.clear();
    }
}

/// Values in the order in which they were added, each with a deadline.
#[derive(Debug)]
pub(crate) struct WaitList<T, At = MonotonicTime> {
    values: BTreeMap<i64, (At, T)>,
    by_time: BTreeSet<(At, i64)>,
}

impl<T, At> Default for WaitList<T, At> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

impl<T, At: Ord + Copy> WaitList<T, At> {
    pub(crate) fn push_back(&mut self, deadline: At, value: T) {
        let position = self.values.last_key_value().map_or(0, |(last, _)| last + 1);
        self.insert(position, deadline, value);
    }

    pub(crate) fn push_front(&mut self, deadline: At, value: T) {
        let position = self.values.first_key_value().map_or(0, |(first, _)| first - 1);
        self.insert(position, deadline, value);
    }

    fn insert(&mut self, position: i64, deadline: At, value: T) {
        self.by_time.insert((deadline, position));
        self.values.insert(position, (deadline, value));
    }

    pub(crate) fn front(&self) -> Option<&T> {
        self.values.first_key_value().map(|(_, (_, value))| value)
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        self.values.first_entry().map(|entry| &mut entry.into_mut().1)
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let (position, (by, value)) = self.values.pop_first()?;
        self.by_time.remove(&(by, position));
        Some(value)
    }

    /// Removes the value with the earliest deadline, if that is not after `now`.
    pub(crate) fn pop_due(&mut self, now: At) -> Option<T> {
        let (by, position) = *self.by_time.first().filter(|(by, _)| *by <= now)?;
        self.by_time.remove(&(by, position));
        self.values.remove(&position).map(|(_, value)| value)
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<At> {
        self.by_time.first().map(|(by, _)| *by)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::cmp::Ordering;

    use super::*;

    thread_local! {
        static COMPARISONS: Cell<u64> = const { Cell::new(0) };
    }

    /// Counts how often it is compared.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Counted(u64);

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl Ord for Counted {
        fn cmp(&self, other: &Self) -> Ordering {
            COMPARISONS.set(COMPARISONS.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    #[test]
    fn deadline_queue_with_moved_deadlines_returns_the_earliest_first() {
        let mut queue = DeadlineQueue::default();
        queue.set('a', Some(MonotonicTime(30)));
        queue.set('b', Some(MonotonicTime(20)));
        queue.set('c', Some(MonotonicTime(10)));
        queue.set('a', Some(MonotonicTime(5)));
        queue.set('c', None);
        queue.set('d', Some(MonotonicTime::NEVER));
        assert_eq!(queue.next_deadline(), Some(MonotonicTime(5)));
        assert_eq!(queue.pop_due(MonotonicTime(4)), None);
        assert_eq!(queue.pop_due(MonotonicTime(50)), Some('a'));
        assert_eq!(queue.pop_due(MonotonicTime(50)), Some('b'));
        assert_eq!((queue.pop_due(MonotonicTime(50)), queue.next_deadline()), (None, None));
    }

    #[test]
    fn wait_list_with_expired_values_keeps_the_order_of_the_rest() {
        let mut list = WaitList::default();
        for (by, value) in [(50, 1), (10, 2), (40, 3), (10, 4)] {
            list.push_back(MonotonicTime(by), value);
        }
        list.push_front(MonotonicTime(60), 0);
        assert_eq!((list.next_deadline(), list.front()), (Some(MonotonicTime(10)), Some(&0)));
        assert_eq!(
            (list.pop_due(MonotonicTime(9)), list.pop_due(MonotonicTime(10)), list.pop_due(MonotonicTime(10))),
            (None, Some(2), Some(4))
        );
        assert_eq!(std::iter::from_fn(|| list.pop_front()).collect::<Vec<_>>(), [0, 1, 3]);
        assert!(list.is_empty() && list.next_deadline().is_none());
    }

    #[test]
    fn wait_list_of_many_values_takes_logarithmic_steps() {
        let steps = |count: u64| {
            let mut list = WaitList::default();
            COMPARISONS.set(0);
            for i in 0..count {
                list.push_back(Counted(i.wrapping_mul(0x9e37_79b9) % count), i);
                assert!(list.next_deadline().is_some());
            }
            for i in 0..count {
                assert!(if i % 2 == 0 { list.pop_front() } else { list.pop_due(Counted(count)) }.is_some());
            }
            COMPARISONS.get()
        };
        let (few, many) = (steps(1000), steps(64_000));
        assert!(many < few * 64 * 2, "{few} comparisons for a thousand, {many} for 64 thousand");
    }
}
