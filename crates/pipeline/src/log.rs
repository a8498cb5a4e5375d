//! The collector's own log, as records for a [`LogSink`].
//!
//! Nothing is formatted here and no global state is used: the sink is a parameter, so a library writes no log until its
//! host program provides a sink.

use std::sync::Arc;

use otelcore_config::codes;

/// The name of the field of a record that has its code.
pub const CODE_FIELD: &str = "code";

/// The severity of a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    /// For developers.
    Debug,
    /// Normal operation.
    Info,
    /// Something unexpected; the work goes on.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// `debug`, `info`, `warn`, `error`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A value in a record.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum LogField<'a> {
    /// Text.
    Str(&'a str),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating-point number; durations are seconds.
    Float(f64),
    /// A boolean.
    Bool(bool),
}

/// The component that a record is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogScope {
    /// `receiver`, `processor`, `exporter`, `extension`; empty for the service itself.
    pub kind: &'static str,
    /// Its id as the user wrote it.
    pub id: String,
    /// `traces`, `metrics`, `logs`, where it serves one signal.
    pub signal: &'static str,
    /// Its pipeline, for processors.
    pub pipeline: String,
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub struct LogEntry<'a> {
    /// Its severity.
    pub level: LogLevel,
    /// What happened.
    pub message: &'a str,
    /// Facts about it.
    pub fields: &'a [(&'a str, LogField<'a>)],
    /// The component that it is about.
    pub scope: &'a LogScope,
}

/// Receives records. May be called from any thread.
pub trait LogSink: Send + Sync {
    /// Whether it uses records of this level; the others need not be made.
    fn enabled(&self, level: LogLevel) -> bool;
    /// Receives one record.
    fn log(&self, record: &LogEntry<'_>);
}

/// A sink that discards every record.
#[derive(Debug, Default)]
pub struct NoopLogSink;

impl LogSink for NoopLogSink {
    fn enabled(&self, _: LogLevel) -> bool {
        false
    }

    fn log(&self, _: &LogEntry<'_>) {}
}

/// The logger of a component.
#[derive(Clone)]
pub struct Logger {
    sink: Arc<dyn LogSink>,
    scope: Arc<LogScope>,
}

impl std::fmt::Debug for Logger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Logger").field(&self.scope).finish()
    }
}

impl Logger {
    /// The logger of the service itself.
    #[must_use]
    pub fn new(sink: Arc<dyn LogSink>) -> Self {
        Self { sink, scope: Arc::default() }
    }

    /// The same sink under another scope.
    #[must_use]
    pub fn with_scope(&self, scope: LogScope) -> Self {
        Self { sink: self.sink.clone(), scope: Arc::new(scope) }
    }

    /// The scope of its records.
    #[must_use]
    pub fn scope(&self) -> &LogScope {
        &self.scope
    }

    /// Whether its sink uses records of this level.
    #[must_use]
    pub fn enabled(&self, level: LogLevel) -> bool {
        self.sink.enabled(level)
    }

    /// Writes one record. A warning or an error gets the field `code` of its message ([`otelcore_config::codes`]), unless
    /// it has one.
    pub fn log(&self, level: LogLevel, message: &str, fields: &[(&str, LogField<'_>)]) {
        if !self.sink.enabled(level) {
            return;
        }
        let needs_code = level >= LogLevel::Warn && fields.iter().all(|(name, _)| *name != CODE_FIELD);
        let Some(code) = needs_code.then(|| codes::of_log_message(message)).flatten() else {
            return self.sink.log(&LogEntry { level, message, fields, scope: &self.scope });
        };
        let fields = [fields, &[(CODE_FIELD, LogField::Str(code))]].concat();
        self.sink.log(&LogEntry { level, message, fields: &fields, scope: &self.scope });
    }

    /// [`LogLevel::Debug`].
    pub fn debug(&self, message: &str, fields: &[(&str, LogField<'_>)]) {
        self.log(LogLevel::Debug, message, fields);
    }

    /// [`LogLevel::Info`].
    pub fn info(&self, message: &str, fields: &[(&str, LogField<'_>)]) {
        self.log(LogLevel::Info, message, fields);
    }

    /// [`LogLevel::Warn`].
    pub fn warn(&self, message: &str, fields: &[(&str, LogField<'_>)]) {
        self.log(LogLevel::Warn, message, fields);
    }

    /// [`LogLevel::Error`].
    pub fn error(&self, message: &str, fields: &[(&str, LogField<'_>)]) {
        self.log(LogLevel::Error, message, fields);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct RecordedFields(Mutex<Vec<String>>);

    impl LogSink for RecordedFields {
        fn enabled(&self, _: LogLevel) -> bool {
            true
        }

        fn log(&self, entry: &LogEntry<'_>) {
            self.0.lock().unwrap().push(format!("{:?}", entry.fields));
        }
    }

    #[test]
    fn warning_with_a_known_message_has_its_code_unless_it_names_one() {
        let sink = Arc::new(RecordedFields::default());
        let log = Logger::new(sink.clone());
        log.warn("Sender failed", &[("x", LogField::Uint(1))]);
        log.error("Sender failed", &[(CODE_FIELD, LogField::Str("OC999"))]);
        log.info("Sender failed", &[]);
        log.warn("a message that is not in the table", &[]);
        let expected = ["[(\"x\", Uint(1)), (\"code\", Str(\"OC303\"))]", "[(\"code\", Str(\"OC999\"))]", "[]", "[]"];
        assert_eq!(*sink.0.lock().unwrap(), expected);
    }
}
