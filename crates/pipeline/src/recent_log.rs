//! The last records of the collector's own log, for a page that shows them.
//!
//! Owns a bounded number of records, from the moment on at which a reader has asked for them; before that it only passes
//! records on. Writes nothing and decides about no level: what the sink behind it uses is what is kept.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{LogEntry, LogField, LogLevel, LogSink, WallTime};

/// The most records that are kept.
const MAX_RECORDS: usize = 100;

/// The longest text of a record that is kept, in bytes.
const MAX_TEXT: usize = 1024;

/// A record as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RecentLogRecord {
    /// Counts all records that were kept, from zero.
    pub number: u64,
    /// When it was written.
    pub time: WallTime,
    /// Its severity.
    pub level: LogLevel,
    /// The component that it is about, such as `exporter otlp`; empty for the service itself.
    pub component: String,
    /// The message and its fields as `name=value`, at most about 1 KiB.
    pub text: String,
}

#[derive(Debug, Default)]
struct KeptRecords {
    records: VecDeque<RecentLogRecord>,
    next: u64,
}

/// A sink that passes every record on and keeps the last ones.
pub struct RecentLog {
    sink: Arc<dyn LogSink>,
    clock: fn() -> u64,
    is_kept: AtomicBool,
    kept: Mutex<KeptRecords>,
}

impl std::fmt::Debug for RecentLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecentLog").field("is_kept", &self.is_kept).finish_non_exhaustive()
    }
}

impl RecentLog {
    /// Passes records on to `sink`. `clock` gives nanoseconds since the Unix epoch.
    #[must_use]
    pub fn new(sink: Arc<dyn LogSink>, clock: fn() -> u64) -> Arc<Self> {
        Arc::new(Self { sink, clock, is_kept: AtomicBool::new(false), kept: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, KeptRecords> {
        // After a panic of another thread the records are still complete.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps records from now on.
    pub fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// Copies of the records that are kept, the oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<RecentLogRecord> {
        self.lock().records.iter().cloned().collect()
    }
}

impl LogSink for RecentLog {
    fn enabled(&self, level: LogLevel) -> bool {
        self.sink.enabled(level)
    }

    fn log(&self, record: &LogEntry<'_>) {
        // Not under the lock: a sink of a host program may do anything.
        self.sink.log(record);
        if !self.is_kept.load(Ordering::Relaxed) {
            return;
        }
        let scope = record.scope;
        let component = if scope.id.is_empty() { String::new() } else { format!("{} {}", scope.kind, scope.id) };
        let (time, text) = (WallTime((self.clock)()), text_of(record));
        let mut kept = self.lock();
        let number = kept.next;
        kept.next += 1;
        if kept.records.len() >= MAX_RECORDS {
            kept.records.pop_front();
        }
        kept.records.push_back(RecentLogRecord { number, time, level: record.level, component, text });
    }
}

fn text_of(record: &LogEntry<'_>) -> String {
    let mut text = truncated(record.message).to_owned();
    for (name, value) in record.fields {
        // Writing to a string does not fail.
        let _ = match value {
            LogField::Str(v) => write!(text, " {name}={}", truncated(v)),
            LogField::Int(v) => write!(text, " {name}={v}"),
            LogField::Uint(v) => write!(text, " {name}={v}"),
            LogField::Float(v) => write!(text, " {name}={v}"),
            LogField::Bool(v) => write!(text, " {name}={v}"),
        };
        if text.len() > MAX_TEXT {
            text.truncate(truncated(&text).len());
            break;
        }
    }
    text
}

fn truncated(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogScope, Logger, NoopLogSink};

    #[derive(Debug)]
    struct WarningSink;

    impl LogSink for WarningSink {
        fn enabled(&self, level: LogLevel) -> bool {
            level >= LogLevel::Warn
        }

        fn log(&self, _: &LogEntry<'_>) {}
    }

    #[test]
    fn records_are_kept_from_the_first_reader_on_and_only_those_that_the_sink_uses() {
        let recent = RecentLog::new(Arc::new(WarningSink), || 7);
        let log = Logger::new(recent.clone());
        log.warn("before", &[]);
        recent.keep();
        log.info("not used", &[]);
        let scope = LogScope { kind: "exporter", id: "otlp".to_owned(), ..LogScope::default() };
        log.with_scope(scope).warn("failed", &[("error", LogField::Str("down")), ("items", LogField::Uint(3))]);
        let records = recent.records();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].text, "failed error=down items=3");
        assert_eq!(
            (records[0].component.as_str(), records[0].time, records[0].number),
            ("exporter otlp", WallTime(7), 0)
        );
    }

    #[test]
    fn number_and_length_of_kept_records_are_bounded() {
        let recent = RecentLog::new(Arc::new(WarningSink), || 7);
        recent.keep();
        let log = Logger::new(recent.clone());
        for _ in 0..1000 {
            log.warn(&"é".repeat(5000), &[("a", LogField::Str(&"x".repeat(9000))), ("b", LogField::Uint(1))]);
        }
        let records = recent.records();
        assert_eq!((records.len(), records[99].number), (MAX_RECORDS, 999));
        assert!(records.iter().all(|record| record.text.len() <= MAX_TEXT));
    }

    #[test]
    fn log_without_a_sink_keeps_nothing() {
        let recent = RecentLog::new(Arc::new(NoopLogSink), || 7);
        recent.keep();
        Logger::new(recent.clone()).error("x", &[]);
        assert!(recent.records().is_empty());
    }
}
