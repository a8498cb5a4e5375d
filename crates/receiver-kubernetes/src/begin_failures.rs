//! Why a receiver can't begin to read, and when it tries again.
//!
//! Owns the pauses and the error that was reported last. Sets no timer and logs nothing.

use std::time::Duration;

use otelcore_pipeline::{Cx, StatusReport};

/// Pauses before discovery is repeated.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The status of discovery, beside those of watches.
pub(crate) const DISCOVERY_PART: u64 = 0;

/// See the module.
#[derive(Debug)]
pub(crate) struct BeginFailures {
    pause: Duration,
    /// Why it has failed last.
    error: Option<String>,
}

impl BeginFailures {
    pub(crate) fn new() -> Self {
        Self { pause: MIN_PAUSE, error: None }
    }

    /// It has failed. Returns whether the error is another one than before, so that it is to be logged, and the pause
    /// before the next attempt.
    pub(crate) fn fail(&mut self, cx: &mut Cx<'_>, error: &str) -> (bool, Duration) {
        let is_new = self.error.as_deref() != Some(error);
        if is_new {
            cx.report_status(DISCOVERY_PART, StatusReport::RecoverableError(error));
            self.error = Some(error.to_owned());
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(MAX_PAUSE);
        (is_new, pause)
    }

    /// It has begun.
    pub(crate) fn end(&mut self, cx: &mut Cx<'_>) {
        if self.error.take().is_some() {
            cx.report_status(DISCOVERY_PART, StatusReport::Ok);
        }
        self.pause = MIN_PAUSE;
    }
}
