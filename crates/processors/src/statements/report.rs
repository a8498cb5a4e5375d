//! Statements that fail while data flows: counted by statement, and logged once each with an example.

use std::sync::Arc;

use otelcore_config::ComponentId;
use otelcore_ottl::contexts::RequestMetadata;
use otelcore_ottl::{ErrorMode, EvalError};
use otelcore_pipeline::{Counter, LogField, Logger, Metadata, MetricsLevel, Telemetry};

/// By signal, how many statements there are before those of it, if each has so many.
pub(crate) fn first_reports([traces, metrics, _]: [usize; 3]) -> [usize; 3] {
    [0, traces, traces + metrics]
}

/// The counts and the logger of one instance. Used on the loop.
pub(crate) struct FailureReports {
    log: Logger,
    statements: Vec<StatementReport>,
}

struct StatementReport {
    text: String,
    error_mode: ErrorMode,
    count: Counter,
    is_logged: bool,
}

/// What failed in one payload. Used where the payload is edited.
#[derive(Debug, Default)]
pub(crate) struct FailureCounts {
    /// By statement; empty as long as nothing failed.
    counts: Vec<u64>,
    /// The first error of a payload with its statement, and of later ones those of other statements.
    examples: Vec<(usize, String)>,
}

impl FailureCounts {
    /// Counts an error. The first of each statement is kept as its example.
    #[cold]
    pub(crate) fn add(&mut self, statement: usize, error: &EvalError) {
        if self.counts.len() <= statement {
            self.counts.resize(statement + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(statement) {
            if *count == 0 {
                self.examples.push((statement, error.to_string()));
            }
            *count += 1;
        }
    }
}

impl FailureReports {
    /// Registers a counter for each statement: its text and what is done about its errors, by their number.
    pub(crate) fn new<'t>(
        telemetry: &Telemetry,
        id: &ComponentId,
        log: &Logger,
        statements: impl Iterator<Item = (&'t str, ErrorMode)>,
    ) -> Self {
        let report = |(text, error_mode): (&str, ErrorMode)| {
            let labels = vec![("processor", id.to_string()), ("statement", text.to_owned())];
            let help = "Items on which a statement or condition could not be evaluated.";
            let count = telemetry.counter(MetricsLevel::Basic, "otelcol_processor_ottl_errors", help, labels);
            StatementReport { text: text.to_owned(), error_mode, count, is_logged: false }
        };
        Self { log: log.clone(), statements: statements.map(report).collect() }
    }

    /// Reports what failed in a payload, and empties it.
    pub(crate) fn report(&mut self, counts: &mut FailureCounts) {
        for (statement, count) in self.statements.iter().zip(&counts.counts) {
            statement.count.add(*count);
        }
        counts.counts.clear();
        for (index, error) in counts.examples.drain(..) {
            let Some(statement) = self.statements.get_mut(index) else { continue };
            if statement.error_mode == ErrorMode::Ignore && !std::mem::replace(&mut statement.is_logged, true) {
                let fields = [("statement", LogField::Str(&statement.text)), ("error", LogField::Str(&error))];
                self.log.warn("failed to evaluate a statement; further failures of it are only counted", &fields);
            }
        }
    }
}

/// The headers of a request as paths of `otelcol` read them.
#[derive(Debug, Default)]
pub(crate) struct RequestHeaders(pub(crate) Option<Arc<Metadata>>);

impl RequestMetadata for RequestHeaders {
    fn values(&self, name: &str) -> &[String] {
        self.0.as_ref().map(|metadata| metadata.get(name)).unwrap_or_default()
    }

    fn entries(&self) -> Vec<(&str, &[String])> {
        self.0.iter().flat_map(|metadata| metadata.iter()).collect()
    }

    fn auth_attributes(&self) -> &[(String, String)] {
        self.0.as_ref().map(|metadata| metadata.auth_attributes()).unwrap_or_default()
    }
}
