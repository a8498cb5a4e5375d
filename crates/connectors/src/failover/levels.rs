//! Which level gets a payload: a machine under a clock that is handed in.
//!
//! ```text
//!  level 0 --fails--> level 1 --fails--> ... --fails--> none: every payload tries all levels again
//!     ^                  |
//!     +---- recovers ----+  when, after an interval, a payload tries the levels above the current one first
//! ```

use std::time::Duration;

use otelcore_pipeline::MonotonicTime;

/// The levels of one connector.
#[derive(Debug)]
pub(super) struct Levels {
    count: usize,
    /// The level that payloads go to; `count` if all have failed.
    current: usize,
    interval: Duration,
    /// When the levels above the current one are tried again; `None` at level 0.
    retry_at: Option<MonotonicTime>,
    /// The next payload tries the levels above the current one.
    is_retry_due: bool,
}

/// Where a payload is tried next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attempt {
    pub(super) level: usize,
    /// The payload tries levels that have failed, up to this one.
    until: Option<usize>,
}

impl Levels {
    pub(super) fn new(count: usize, interval: Duration) -> Self {
        Self { count, current: 0, interval, retry_at: None, is_retry_due: false }
    }

    /// Where a new payload is tried first.
    pub(super) fn begin(&mut self) -> Option<Attempt> {
        let retries = std::mem::take(&mut self.is_retry_due) || self.current >= self.count;
        let until = Some(self.current.min(self.count)).filter(|until| retries && *until > 0);
        let level = if until.is_some() { 0 } else { self.current };
        (level < self.count).then_some(Attempt { level, until })
    }

    /// A payload was accepted.
    pub(super) fn handle_success(&mut self, attempt: Attempt) {
        if attempt.until.is_none() {
            return;
        }
        self.current = attempt.level;
        if self.current == 0 {
            self.retry_at = None;
            self.is_retry_due = false;
        }
    }

    /// A payload was refused. Returns where it is tried next; each payload goes down the levels at most twice.
    pub(super) fn handle_failure(&mut self, now: MonotonicTime, attempt: Attempt) -> Option<Attempt> {
        let Attempt { level, until } = attempt;
        let below = level + 1;
        if let Some(until) = until {
            if below < until {
                return Some(Attempt { level: below, until: Some(until) });
            }
            // All levels above the current one still fail.
            return (self.current < self.count).then_some(Attempt { level: self.current, until: None });
        }
        if level == self.current {
            self.current = below;
            self.retry_at.get_or_insert(now + self.interval);
        }
        let next = self.current.max(below);
        (next < self.count).then_some(Attempt { level: next, until: None })
    }

    /// When [`Levels::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.retry_at
    }

    /// Has the next payload try the levels above the current one, if the interval is over.
    pub(super) fn handle_timeout(&mut self, now: MonotonicTime) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.is_retry_due = true;
            self.retry_at = Some(now + self.interval);
        }
    }

    /// The level that payloads go to; `None` if all have failed.
    pub(super) fn current(&self) -> Option<usize> {
        (self.current < self.count).then_some(self.current)
    }
}
