//! Log lines about failed requests: the first of each kind at once, the others as one line with their number for each
//! period, so that a destination that refuses everything does not fill the log.
//!
//! Reads no clock, and does not decide what happens with a request.

use std::time::Duration;

use super::mistakes::LoggedMistakes;
use crate::{Error, LogField, Logger, MonotonicTime};

/// Shortest time between two lines of one kind.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// What happens with a request after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FailureKind {
    /// It is sent again after a pause.
    Retried,
    /// Its sender gets the error.
    Rejected,
    /// It is dropped.
    Dropped,
    /// It is moved to the folder of what was given up, in its queue on disk.
    SetAside,
}

/// A failed request.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    /// Put in front of the error.
    pub(super) prefix: &'static str,
    pub(super) why: Error,
    /// The items of the request.
    pub(super) items: u64,
    /// The pause before the next attempt.
    pub(super) pause: Duration,
}

/// The lines of one kind.
#[derive(Debug, Default)]
struct KindReports {
    last_at: Option<MonotonicTime>,
    /// The last failure that is not reported yet, with the items of all of them.
    unreported: Option<Failure>,
    /// How many those are.
    requests: u64,
}

/// The failures of one queue.
#[derive(Debug)]
pub(super) struct FailureLog {
    log: Logger,
    kinds: [KindReports; 4],
    mistakes: LoggedMistakes,
}

impl FailureLog {
    pub(super) fn new(log: Logger) -> Self {
        Self { log, kinds: std::array::from_fn(|_| KindReports::default()), mistakes: LoggedMistakes::default() }
    }

    /// Reports a failure, now or with later ones.
    pub(super) fn record(&mut self, now: MonotonicTime, mut failure: Failure) {
        let reports = &mut self.kinds[failure.kind as usize];
        failure.items = failure.items.saturating_add(reports.unreported.as_ref().map_or(0, |earlier| earlier.items));
        reports.unreported = Some(failure);
        reports.requests += 1;
        if reports.last_at.is_none_or(|at| now.since(at) >= REPORT_INTERVAL) {
            if let Some(failure) = &reports.unreported {
                self.mistakes.log(&failure.why.message, &self.log);
            }
            reports.report(now, &self.log);
        }
    }

    /// When [`FailureLog::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<MonotonicTime> {
        let waiting = self.kinds.iter().filter(|reports| reports.unreported.is_some());
        waiting.filter_map(|reports| reports.last_at).map(|at| at + REPORT_INTERVAL).min()
    }

    /// Reports the failures whose period is over.
    pub(super) fn handle_timeout(&mut self, now: MonotonicTime) {
        for reports in &mut self.kinds {
            if reports.last_at.is_some_and(|at| now.since(at) >= REPORT_INTERVAL) {
                if let Some(failure) = &reports.unreported {
                    self.mistakes.log(&failure.why.message, &self.log);
                }
                reports.report(now, &self.log);
            }
        }
    }

    /// Reports all failures that are left.
    pub(super) fn flush(&mut self, now: MonotonicTime) {
        self.kinds.iter_mut().for_each(|reports| reports.report(now, &self.log));
    }
}

impl KindReports {
    fn report(&mut self, now: MonotonicTime, log: &Logger) {
        let Some(failure) = self.unreported.take() else { return };
        self.last_at = Some(now);
        let requests = std::mem::take(&mut self.requests);
        let message = format!("{}{}", failure.prefix, failure.why);
        let mut fields = vec![("error", LogField::Str(&message))];
        match failure.kind {
            FailureKind::Retried => fields.push(("interval", LogField::Float(failure.pause.as_secs_f64()))),
            FailureKind::Rejected => fields.push(("rejected_items", LogField::Uint(failure.items))),
            FailureKind::Dropped => fields.push(("dropped_items", LogField::Uint(failure.items))),
            FailureKind::SetAside => fields.push(("items", LogField::Uint(failure.items))),
        }
        if requests > 1 {
            fields.push(("requests", LogField::Uint(requests)));
        }
        match failure.kind {
            FailureKind::Retried => log.info("Exporting failed. Will retry the request after interval.", &fields),
            FailureKind::Rejected => log.error("Exporting failed. Rejecting data.", &fields),
            FailureKind::Dropped => log.error("Exporting failed. Dropping data.", &fields),
            FailureKind::SetAside => log.error("Exporting failed. Data is kept in `dead` beside its queue.", &fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{LogEntry, LogLevel, LogSink};

    #[derive(Default)]
    struct RecordedLines(Mutex<Vec<String>>);

    impl LogSink for RecordedLines {
        fn enabled(&self, _: LogLevel) -> bool {
            true
        }

        fn log(&self, entry: &LogEntry<'_>) {
            self.0.lock().unwrap().push(format!("{} {:?}", entry.message, entry.fields));
        }
    }

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime::default() + Duration::from_millis(millis)
    }

    fn failure(kind: FailureKind, text: &str) -> Failure {
        Failure {
            kind,
            prefix: "no more retries left: ",
            why: Error::new(text.to_owned()),
            items: 8,
            pause: Duration::from_secs(5),
        }
    }

    #[test]
    fn failures_of_one_kind_are_one_line_for_each_period_with_their_number() {
        let lines = Arc::new(RecordedLines::default());
        let mut failures = FailureLog::new(Logger::new(lines.clone()));
        for i in 0..1000 {
            failures.record(at(i * 15), failure(FailureKind::Dropped, &format!("down {i}")));
            failures.handle_timeout(at(i * 15));
        }
        assert_eq!(lines.0.lock().unwrap().len(), 2);
        assert_eq!(failures.poll_timeout(), Some(at(20_005)));
        failures.handle_timeout(at(20_004));
        failures.handle_timeout(at(20_005));
        assert_eq!(failures.poll_timeout(), None);
        let lines = lines.0.lock().unwrap();
        assert!(lines[0].contains("down 0") && !lines[0].contains("requests"), "{lines:?}");
        assert!(lines[1].contains("down 667") && lines[1].contains("667") && lines[1].contains("5336"), "{lines:?}");
        assert!(lines[2].contains("down 999") && lines[2].contains("332"), "{lines:?}");
    }

    #[test]
    fn failures_of_other_kinds_are_reported_apart_and_a_flush_reports_all() {
        let lines = Arc::new(RecordedLines::default());
        let mut failures = FailureLog::new(Logger::new(lines.clone()));
        for kind in [FailureKind::Retried, FailureKind::Dropped, FailureKind::Retried, FailureKind::Rejected] {
            failures.record(at(1), failure(kind, "busy"));
        }
        assert_eq!(lines.0.lock().unwrap().len(), 3);
        failures.flush(at(2));
        failures.flush(at(3));
        assert_eq!(lines.0.lock().unwrap().len(), 4);
    }
}
