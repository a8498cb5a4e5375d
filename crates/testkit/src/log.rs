//! A log that a test reads.

use std::sync::{Arc, Mutex, PoisonError};

use otelcore_pipeline::{LogEntry, LogField, LogLevel, LogScope, LogSink, Logger};

/// An entry of the log, with its fields as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedEntry {
    /// How urgent it is.
    pub level: LogLevel,
    /// What happened.
    pub message: String,
    /// The fields: name and value.
    pub fields: Vec<(String, String)>,
    /// The component that it is about.
    pub scope: LogScope,
}

/// `warn: the message name=value name=value`, without the code that the logger adds.
impl std::fmt::Display for RecordedEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.level.name(), self.message)?;
        let is_code = |(name, value): &&(String, String)| name == "code" && value.starts_with("OC");
        self.fields.iter().filter(|field| !is_code(field)).try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// Records what components log.
#[derive(Debug)]
pub struct TestLog {
    level: Option<LogLevel>,
    entries: Mutex<Vec<RecordedEntry>>,
}

impl TestLog {
    /// Records entries from this level on; `None` records none.
    #[must_use]
    pub fn new(level: Option<LogLevel>) -> Arc<Self> {
        Arc::new(Self { level, entries: Mutex::default() })
    }

    /// A logger that writes to it.
    #[must_use]
    pub fn logger(self: &Arc<Self>) -> Logger {
        Logger::new(self.clone())
    }

    /// Takes the entries since the last call.
    #[must_use]
    pub fn take_entries(&self) -> Vec<RecordedEntry> {
        std::mem::take(&mut *self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the entries since the last call as lines.
    #[must_use]
    pub fn take_lines(&self) -> Vec<String> {
        self.take_entries().iter().map(ToString::to_string).collect()
    }
}

impl LogSink for TestLog {
    fn enabled(&self, level: LogLevel) -> bool {
        self.level.is_some_and(|from| level >= from)
    }

    fn log(&self, entry: &LogEntry<'_>) {
        let text = |value: &LogField<'_>| match value {
            LogField::Str(value) => (*value).to_owned(),
            LogField::Int(value) => value.to_string(),
            LogField::Uint(value) => value.to_string(),
            LogField::Float(value) => value.to_string(),
            LogField::Bool(value) => value.to_string(),
        };
        let fields = entry.fields.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
        let (message, scope) = (entry.message.to_owned(), entry.scope.clone());
        let recorded = RecordedEntry { level: entry.level, message, fields, scope };
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
    }
}
