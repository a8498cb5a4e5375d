//! The targets of a job as the scraper sees them: pages go to their target, and ends of scrapes into a queue.
//!
//! Owns the active targets of a job. Logs each failure of a target once, until a scrape of it succeeds. Starts no scrape.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use otelcore_net::{HttpResponse, Pushed, ScrapeConsumer, ScrapeError, ScrapeReport, TargetId, Url};
use otelcore_pipeline::{Cx, LogField, Logger, WallTime};

use crate::labels::label_text;
use crate::target::{PageError, ScrapeEnd, ScrapeNotes, Target};

/// A target that is scraped.
pub(crate) struct ActiveTarget {
    pub(crate) target: Target,
    pub(crate) url: Arc<Url>,
    pub(crate) interval: std::time::Duration,
    pub(crate) timeout_seconds: f64,
    /// The last scrape has failed, and this is in the log.
    is_failing: bool,
    /// What is in the log about its samples.
    logged: LoggedNotes,
}

/// Which notes are in the log, and not to be repeated while they stay true.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct LoggedNotes {
    duplicates: bool,
    out_of_bounds: bool,
    failed: bool,
    report: bool,
}

impl ActiveTarget {
    pub(crate) fn new(target: Target, url: Arc<Url>, interval: std::time::Duration, timeout_seconds: f64) -> Self {
        Self { target, url, interval, timeout_seconds, is_failing: false, logged: LoggedNotes::default() }
    }

    fn labels(&self) -> String {
        label_text(self.target.info.labels.iter())
    }

    fn log_failure(&mut self, log: &Logger, started_ms: i64, error: &str) {
        if std::mem::replace(&mut self.is_failing, true) {
            return;
        }
        log.warn(
            "Failed to scrape Prometheus endpoint",
            &[
                ("scrape_timestamp", LogField::Int(started_ms)),
                ("target_labels", LogField::Str(&self.labels())),
                ("url", LogField::Str(&url_text(&self.url))),
                ("error", LogField::Str(error)),
            ],
        );
    }

    fn log_success(&mut self, log: &Logger) {
        if std::mem::take(&mut self.is_failing) {
            let url = url_text(&self.url);
            log.info("Prometheus endpoint is scraped again", &[("url", LogField::Str(&url))]);
        }
    }

    /// Logs what is notable of the samples of a scrape, if it was not so in the scrape before.
    pub(crate) fn log_notes(&mut self, log: &Logger, notes: &ScrapeNotes) {
        let now = LoggedNotes {
            duplicates: notes.duplicates > 0,
            out_of_bounds: notes.out_of_bounds > 0,
            failed: notes.failed > 0,
            report: notes.report_error.is_some(),
        };
        let before = std::mem::replace(&mut self.logged, now);
        let labels = self.labels();
        let target = ("target_labels", LogField::Str(labels.as_str()));
        let dropped = |count: u64| [("num_dropped", LogField::Uint(count)), target];
        if now.duplicates && !before.duplicates {
            log.warn("Error on ingesting samples with different value but same timestamp", &dropped(notes.duplicates));
        }
        if now.out_of_bounds && !before.out_of_bounds {
            log.warn(
                "Error on ingesting samples that are too old or are too far into the future",
                &dropped(notes.out_of_bounds),
            );
        }
        if let Some((error, metric)) = notes.first_failure.as_ref().filter(|_| !before.failed) {
            let [count, target] = dropped(notes.failed);
            let fields =
                [("error", LogField::Str(error.as_str())), ("metric_name", LogField::Str(metric)), count, target];
            log.warn("failed to add datapoint", &fields);
        }
        if let Some(error) = notes.report_error.as_ref().filter(|_| !before.report) {
            log.warn("Appending scrape report failed", &[("err", LogField::Str(error)), target]);
        }
    }
}

/// A URL without a password.
fn url_text(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), url.authority(), url.path())
}

/// The active targets of a job.
pub(crate) struct JobTargets {
    pub(crate) log: Logger,
    pub(crate) active: BTreeMap<TargetId, ActiveTarget>,
    /// Targets whose scrape has ended, and is not finished.
    pub(crate) ended: VecDeque<TargetId>,
}

impl JobTargets {
    pub(crate) fn new(log: Logger) -> Self {
        Self { log, active: BTreeMap::new(), ended: VecDeque::new() }
    }
}

/// Nanoseconds as milliseconds.
pub(crate) fn millis(at: WallTime) -> i64 {
    i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX)
}

const BUSY: &str = "the scrape before is still being processed";

fn scrape_error(error: PageError) -> ScrapeError {
    match error {
        PageError::Page(text) => ScrapeError::Page(text),
        PageError::NoRoom => ScrapeError::NoRoom,
        PageError::Busy => ScrapeError::Page(BUSY.to_owned()),
    }
}

impl ScrapeConsumer for JobTargets {
    fn begin(
        &mut self,
        _: &mut Cx<'_>,
        target: TargetId,
        started: WallTime,
        response: &HttpResponse,
    ) -> Result<(), ScrapeError> {
        let Some(active) = self.active.get_mut(&target) else { return Err(ScrapeError::Cancelled) };
        active.target.begin(response.header("content-type"), millis(started)).map_err(scrape_error)
    }

    fn push(&mut self, _: &mut Cx<'_>, target: TargetId, part: &[u8]) -> Result<Pushed, ScrapeError> {
        let Some(active) = self.active.get_mut(&target) else { return Err(ScrapeError::Cancelled) };
        let (work, is_done) = active.target.push(part).map_err(scrape_error)?;
        Ok(Pushed { work, is_done })
    }

    fn end(&mut self, _: &mut Cx<'_>, target: TargetId, report: &ScrapeReport) {
        let Some(active) = self.active.get_mut(&target) else { return };
        let result = match &report.result {
            Err(ScrapeError::Cancelled) => return,
            Ok(()) => Ok(()),
            Err(ScrapeError::Page(text)) => Err(Some(PageError::Page(text.clone()))),
            Err(ScrapeError::NoRoom) => Err(Some(PageError::NoRoom)),
            Err(_) => Err(None),
        };
        let end = ScrapeEnd {
            started_ms: millis(report.started),
            seconds: report.duration.as_secs_f64(),
            timeout_seconds: active.timeout_seconds,
            page_bytes: report.page_bytes,
            is_too_large: report.result == Err(ScrapeError::TooLarge),
            has_failed: result == Err(None),
        };
        if active.target.is_finishing() {
            return active.log_failure(&self.log, end.started_ms, BUSY);
        }
        let error = match result {
            Err(Some(error)) => {
                active.target.end_refused(&end, error);
                report.result.clone().err().map(|error| error.to_string())
            }
            Ok(()) | Err(None) => {
                let refused = active.target.end(&end).err().map(|error| scrape_error(error).to_string());
                refused.or_else(|| report.result.clone().err().map(|error| error.to_string()))
            }
        };
        match error {
            Some(error) => active.log_failure(&self.log, end.started_ms, &error),
            None => active.log_success(&self.log),
        }
        self.ended.push_back(target);
    }
}
