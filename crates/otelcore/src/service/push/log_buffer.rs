//! Own log records on their way from any thread to the part that pushes them.
//!
//! Owns the records that wait, and bounds their number and bytes: beyond a bound the oldest are dropped, and counted. Writes no
//! telemetry.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use otelcore_pipeline::{LogEntry, LogField, LogLevel, LogScope, Notifier};

/// The kind in the scope of what the parts log that push telemetry. Such records are not pushed, so that a failed push does not
/// cause the next one.
pub(crate) const PUSH_SCOPE_KIND: &str = "telemetry";

/// Bytes of records that wait, at most.
const MAX_BYTES: usize = 16 << 20;

/// A value of a record that is kept.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum OwnedField {
    Str(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl OwnedField {
    fn new(field: &LogField<'_>) -> Self {
        match field {
            LogField::Str(text) => Self::Str((*text).to_owned()),
            LogField::Int(v) => Self::Int(*v),
            LogField::Uint(v) => i64::try_from(*v).map_or(Self::Float(*v as f64), Self::Int),
            LogField::Float(v) => Self::Float(*v),
            LogField::Bool(v) => Self::Bool(*v),
        }
    }
}

/// A record that is kept.
#[derive(Clone, Debug)]
pub(super) struct OwnedRecord {
    /// Nanoseconds since the epoch.
    pub(super) time: u64,
    pub(super) level: LogLevel,
    pub(super) message: String,
    pub(super) fields: Vec<(String, OwnedField)>,
    pub(super) scope: LogScope,
}

impl OwnedRecord {
    fn new(record: &LogEntry<'_>, time: u64) -> Self {
        Self {
            time,
            level: record.level,
            message: record.message.to_owned(),
            fields: record.fields.iter().map(|(key, value)| ((*key).to_owned(), OwnedField::new(value))).collect(),
            scope: record.scope.clone(),
        }
    }

    fn bytes(&self) -> usize {
        let field = |(key, value): &(String, OwnedField)| {
            key.len()
                + size_of::<(String, OwnedField)>()
                + if let OwnedField::Str(text) = value { text.len() } else { 0 }
        };
        let scope = self.scope.id.len() + self.scope.pipeline.len();
        size_of::<Self>() + self.message.len() + scope + self.fields.iter().map(field).sum::<usize>()
    }
}

#[derive(Default)]
struct State {
    records: VecDeque<OwnedRecord>,
    bytes: usize,
    /// Not reported yet.
    dropped: u64,
    notifier: Option<Arc<dyn Notifier>>,
}

/// See the module.
pub(crate) struct LogBuffer {
    max_records: usize,
    /// With this number of records, what pushes them is notified again.
    batch_size: usize,
    state: Mutex<State>,
}

impl LogBuffer {
    pub(crate) fn new(max_records: usize, batch_size: usize) -> Self {
        Self { max_records: max_records.max(1), batch_size, state: Mutex::default() }
    }

    /// Adds a record that was made at `time`, in nanoseconds since the epoch.
    pub(crate) fn push(&self, record: &LogEntry<'_>, time: u64) {
        if record.scope.kind == PUSH_SCOPE_KIND {
            return;
        }
        let record = OwnedRecord::new(record, time);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes += record.bytes();
        state.records.push_back(record);
        while state.records.len() > self.max_records || state.bytes > MAX_BYTES {
            let Some(oldest) = state.records.pop_front() else { break };
            state.bytes = state.bytes.saturating_sub(oldest.bytes());
            state.dropped += 1;
        }
        let count = state.records.len();
        if (count == 1 || count == self.batch_size)
            && let Some(notifier) = &state.notifier
        {
            notifier.notify();
        }
    }

    /// Sets what is notified when there is a first record, and a batch of them.
    pub(super) fn set_notifier(&self, notifier: Arc<dyn Notifier>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).notifier = Some(notifier);
    }

    /// Records that wait.
    pub(super) fn len(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).records.len()
    }

    /// Takes the oldest records, `max` at most.
    pub(super) fn take(&self, max: usize) -> Vec<OwnedRecord> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let count = state.records.len().min(max);
        let taken: Vec<OwnedRecord> = state.records.drain(..count).collect();
        let bytes: usize = taken.iter().map(OwnedRecord::bytes).sum();
        state.bytes = state.bytes.saturating_sub(bytes);
        taken
    }

    /// Takes the number of records that were dropped since the last call.
    pub(super) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).dropped)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct CountingNotifier(AtomicU64);

    impl Notifier for CountingNotifier {
        fn notify(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn push(buffer: &LogBuffer, message: &str, kind: &'static str) {
        let scope = LogScope { kind, ..LogScope::default() };
        let fields = [("n", LogField::Uint(u64::MAX))];
        buffer.push(&LogEntry { level: LogLevel::Info, message, fields: &fields, scope: &scope }, 7);
    }

    #[test]
    fn oldest_records_are_dropped_beyond_the_bounds() {
        let buffer = LogBuffer::new(3, 2);
        ["a", "b", "c", "d", "e"].iter().for_each(|text| push(&buffer, text, ""));
        assert_eq!((buffer.len(), buffer.take_dropped(), buffer.take_dropped()), (3, 2, 0));
        let messages: Vec<String> = buffer.take(2).into_iter().map(|record| record.message).collect();
        assert_eq!((messages.as_slice(), buffer.len()), (["c".to_owned(), "d".to_owned()].as_slice(), 1));
        push(&buffer, &"x".repeat(MAX_BYTES), "");
        assert_eq!((buffer.len(), buffer.take_dropped()), (0, 2));
        push(&buffer, "fits", "");
        assert_eq!(buffer.take(9).len(), 1);
        assert_eq!(buffer.state.lock().unwrap().bytes, 0);
    }

    #[test]
    fn records_of_the_pushing_parts_are_not_kept() {
        let buffer = LogBuffer::new(3, 2);
        push(&buffer, "failed", PUSH_SCOPE_KIND);
        assert_eq!((buffer.len(), buffer.take_dropped()), (0, 0));
    }

    #[test]
    fn notifier_is_called_for_the_first_record_and_for_a_batch() {
        let (buffer, notifier) = (LogBuffer::new(10, 3), Arc::new(CountingNotifier(AtomicU64::new(0))));
        buffer.set_notifier(notifier.clone());
        let mut counts = Vec::new();
        for _ in 0..4 {
            push(&buffer, "a", "");
            counts.push(notifier.0.load(Ordering::Relaxed));
        }
        assert_eq!(counts, [1, 1, 2, 2]);
    }
}
