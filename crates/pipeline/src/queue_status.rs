//! What the queues of exporters hold at a moment, for readers on any thread, whether or not it is measured as metrics.
//!
//! Owns the list of the queues that exist, and the times at which what they hold was accepted. Decides nothing, and reads no
//! clock: a reader says what time it is.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use otelcore_pdata::Signal;

use crate::MonotonicTime;

/// The unit of a queue's size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueUnit {
    /// Payloads.
    Requests,
    /// Spans, data points, log records.
    Items,
    /// OTLP bytes.
    Bytes,
}

impl QueueUnit {
    /// `requests`, `items` or `bytes`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Items => "items",
            Self::Bytes => "bytes",
        }
    }
}

/// A queue at the time of reading.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueStatus {
    /// The exporter's id.
    pub exporter: String,
    /// What it carries.
    pub signal: Signal,
    /// The unit of `size` and `capacity`.
    pub unit: QueueUnit,
    /// How much it holds, what is being sent included.
    pub size: u64,
    /// The bound of `size`.
    pub capacity: u64,
    /// It is on disk.
    pub is_on_disk: bool,
    /// How long ago the oldest payload was accepted that it holds; of one on disk in whole seconds.
    pub oldest_age: Option<Duration>,
}

/// When the oldest payload was accepted.
#[derive(Debug)]
enum Oldest {
    /// In the time of the loop, in nanoseconds; `u64::MAX` where there is none.
    Since(Arc<AtomicU64>),
    /// The queue on disk measures it itself, in seconds; zero where there is none.
    AgeSeconds(Arc<AtomicU64>),
}

#[derive(Debug)]
struct QueueEntry {
    exporter: String,
    signal: Signal,
    unit: QueueUnit,
    capacity: u64,
    size: Arc<AtomicU64>,
    oldest: Oldest,
}

/// A queue in the table: it is listed until this is dropped.
#[derive(Debug)]
pub struct ListedQueue(#[expect(dead_code, reason = "the table refers to it")] Arc<QueueEntry>);

/// The queues that exist. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct QueueTable(Arc<Mutex<Vec<Weak<QueueEntry>>>>);

impl QueueTable {
    fn list(&self, entry: QueueEntry) -> ListedQueue {
        let entry = Arc::new(entry);
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.strong_count() > 0);
        entries.push(Arc::downgrade(&entry));
        ListedQueue(entry)
    }

    /// Lists a queue in memory, whose size is in `size`.
    pub(crate) fn list_in_memory(
        &self,
        (exporter, signal): (&str, Signal),
        (unit, capacity): (QueueUnit, u64),
        size: Arc<AtomicU64>,
        held: &HeldTimes,
    ) -> ListedQueue {
        let (exporter, oldest) = (exporter.to_owned(), Oldest::Since(held.oldest.clone()));
        self.list(QueueEntry { exporter, signal, unit, capacity, size, oldest })
    }

    /// Lists a queue on disk, whose size is in `size` and whose oldest payload has the age in `age_seconds`.
    #[must_use]
    pub fn list_on_disk(
        &self,
        (exporter, signal): (&str, Signal),
        (unit, capacity): (QueueUnit, u64),
        size: Arc<AtomicU64>,
        age_seconds: Arc<AtomicU64>,
    ) -> ListedQueue {
        let (exporter, oldest) = (exporter.to_owned(), Oldest::AgeSeconds(age_seconds));
        self.list(QueueEntry { exporter, signal, unit, capacity, size, oldest })
    }

    /// All queues, in the order in which they were made. `now` is the time of the loop.
    #[must_use]
    pub fn read(&self, now: MonotonicTime) -> Vec<QueueStatus> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter_map(Weak::upgrade).map(|entry| entry.read(now)).collect()
    }
}

impl QueueEntry {
    fn read(&self, now: MonotonicTime) -> QueueStatus {
        let (is_on_disk, oldest_age) = match &self.oldest {
            Oldest::Since(since) => {
                let since = since.load(Ordering::Relaxed);
                (false, (since != u64::MAX).then(|| now.since(MonotonicTime(since))))
            }
            Oldest::AgeSeconds(age) => {
                (true, Some(Duration::from_secs(age.load(Ordering::Relaxed))).filter(|age| !age.is_zero()))
            }
        };
        let (exporter, unit) = (self.exporter.clone(), self.unit);
        let (signal, size, capacity) = (self.signal, self.size.load(Ordering::Relaxed), self.capacity);
        QueueStatus { exporter, signal, unit, size, capacity, is_on_disk, oldest_age }
    }
}

/// The times at which a queue accepted what it holds.
#[derive(Debug)]
pub(crate) struct HeldTimes {
    times: RefCell<BTreeSet<(MonotonicTime, u64)>>,
    next_number: Cell<u64>,
    /// The first of them, in nanoseconds.
    oldest: Arc<AtomicU64>,
}

impl Default for HeldTimes {
    fn default() -> Self {
        Self { times: RefCell::default(), next_number: Cell::default(), oldest: Arc::new(AtomicU64::new(u64::MAX)) }
    }
}

impl HeldTimes {
    /// Something was accepted at this time, and is held as long as the result exists.
    pub(crate) fn add(self: &Rc<Self>, at: MonotonicTime) -> HeldTime {
        let key = (at, self.next_number.get());
        self.next_number.set(key.1.wrapping_add(1));
        self.times.borrow_mut().insert(key);
        self.publish();
        HeldTime { times: self.clone(), key }
    }

    fn publish(&self) {
        let first = self.times.borrow().first().map_or(u64::MAX, |(at, _)| at.0);
        self.oldest.store(first, Ordering::Relaxed);
    }
}

/// The time at which something was accepted that is held.
#[derive(Debug)]
pub(crate) struct HeldTime {
    times: Rc<HeldTimes>,
    key: (MonotonicTime, u64),
}

impl Drop for HeldTime {
    fn drop(&mut self) {
        self.times.times.borrow_mut().remove(&self.key);
        self.times.publish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn oldest_age_is_that_of_the_earliest_time_that_is_held() {
        let (table, held, size) = (QueueTable::default(), Rc::<HeldTimes>::default(), Arc::<AtomicU64>::default());
        let listed = table.list_in_memory(("otlp", Signal::Traces), (QueueUnit::Items, 100), size.clone(), &held);
        let age = |now: u64| table.read(MonotonicTime(now * SECOND))[0].oldest_age;
        assert_eq!(age(9), None);
        let first = held.add(MonotonicTime(2 * SECOND));
        let (second, third) = (held.add(MonotonicTime(3 * SECOND)), held.add(MonotonicTime(3 * SECOND)));
        size.store(7, Ordering::Relaxed);
        assert_eq!(age(9), Some(Duration::from_secs(7)));
        drop(second);
        assert_eq!(age(9), Some(Duration::from_secs(7)));
        drop(first);
        assert_eq!(age(9), Some(Duration::from_secs(6)));
        drop(third);
        let expected = QueueStatus {
            exporter: "otlp".to_owned(),
            signal: Signal::Traces,
            unit: QueueUnit::Items,
            size: 7,
            capacity: 100,
            is_on_disk: false,
            oldest_age: None,
        };
        assert_eq!(table.read(MonotonicTime(0)), [expected]);
        drop(listed);
        assert!(table.read(MonotonicTime(0)).is_empty());
    }

    #[test]
    fn queue_on_disk_has_the_age_that_it_measures() {
        let (table, size, age) = (QueueTable::default(), Arc::default(), Arc::<AtomicU64>::default());
        let _listed = table.list_on_disk(("otlp", Signal::Logs), (QueueUnit::Requests, 5), size, age.clone());
        assert_eq!(table.read(MonotonicTime(0))[0].oldest_age, None);
        age.store(90, Ordering::Relaxed);
        let status = table.read(MonotonicTime(0)).remove(0);
        assert_eq!((status.is_on_disk, status.oldest_age), (true, Some(Duration::from_secs(90))));
    }
}
