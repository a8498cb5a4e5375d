//! The bearer token of requests, which is read again while it is in use, and the rate of requests.

use std::path::Path;
use std::time::Duration;

use otelcore_pipeline::{Cx, JobResult, LogField, Logger, MonotonicTime};

use crate::credentials::Credentials;

/// A token that was read earlier is read again before a request, as in client-go.
const TOKEN_AGE: Duration = Duration::from_secs(60);
/// The same after a failure.
const RETRY_AGE: Duration = Duration::from_secs(10);
/// The longest token.
const MAX_TOKEN: usize = 64 << 10;

pub(crate) struct TokenSource {
    /// The path of its file, if it is in one.
    file: Option<String>,
    /// Empty for none, or if it is not known yet.
    token: String,
    /// When the token is read again.
    read_again_at: MonotonicTime,
    job: Option<JobResult<Result<Vec<u8>, String>>>,
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSource").field("file", &self.file).finish_non_exhaustive()
    }
}

impl TokenSource {
    pub(crate) fn new(credentials: &Credentials) -> Self {
        let (file, token) = match credentials {
            Credentials::None => (None, String::new()),
            Credentials::Token(token) => (None, token.clone()),
            Credentials::TokenFile(path) => (Some(path.clone()), String::new()),
        };
        Self { file, token, read_again_at: MonotonicTime(0), job: None }
    }

    /// Whether a request can be sent now; otherwise the file is being read, and an event follows under `key`.
    pub(crate) fn is_ready(&mut self, cx: &mut Cx<'_>, key: u64) -> bool {
        let Some(path) = &self.file else { return true };
        if self.job.is_some() {
            return false;
        }
        if cx.now() < self.read_again_at {
            return true;
        }
        let path = path.clone();
        let read = cx.run_file_job(key, move |files| {
            files.read_at(Path::new(&path), 0, MAX_TOKEN).map_err(|e| format!("{path}: {e}"))
        });
        // With too many jobs the token of before is used.
        self.job = read.ok();
        self.job.is_none()
    }

    pub(crate) fn is_reading(&self) -> bool {
        self.job.is_some()
    }

    /// The file has been read. If it could not be, that is logged, and the token of before stays.
    pub(crate) fn end_reading(&mut self, now: MonotonicTime, log: &Logger) {
        let Some(job) = self.job.take() else { return };
        let result = job.take().unwrap_or_else(|| Err("the job has failed".to_owned()));
        let token = result.and_then(|bytes| match String::from_utf8_lossy(&bytes).trim() {
            "" => Err("it is empty".to_owned()),
            token => Ok(token.to_owned()),
        });
        match token {
            Ok(token) => (self.token, self.read_again_at) = (token, now + TOKEN_AGE),
            Err(error) => {
                self.read_again_at = now + RETRY_AGE;
                let error = ("error", LogField::Str(&error));
                log.warn("the token for the Kubernetes API server can't be read", &[error]);
            }
        }
    }

    /// The server does not accept the token: it is read again before the next request.
    pub(crate) fn expire(&mut self) {
        self.read_again_at = MonotonicTime(0);
    }

    /// The value of `Authorization`.
    pub(crate) fn header(&self) -> Option<String> {
        (!self.token.is_empty()).then(|| format!("Bearer {}", self.token))
    }
}

/// How many requests may be sent: `kube_api_qps` and `kube_api_burst`.
#[derive(Debug)]
pub(crate) struct RequestRate {
    per_second: f64,
    burst: f64,
    left: f64,
    at: MonotonicTime,
}

impl RequestRate {
    pub(crate) fn new(per_second: f64, burst: f64, now: MonotonicTime) -> Self {
        Self { per_second, burst, left: burst, at: now }
    }

    fn refill(&mut self, now: MonotonicTime) {
        self.left = (self.left + now.since(self.at).as_secs_f64() * self.per_second).min(self.burst);
        self.at = now;
    }

    /// Whether a request may be sent now.
    pub(crate) fn take(&mut self, now: MonotonicTime) -> bool {
        self.refill(now);
        let is_free = self.left >= 1.0;
        if is_free {
            self.left -= 1.0;
        }
        is_free
    }

    /// When the next request may be sent.
    pub(crate) fn next_at(&mut self, now: MonotonicTime) -> MonotonicTime {
        self.refill(now);
        if self.left >= 1.0 {
            return now;
        }
        let seconds = (1.0 - self.left) / self.per_second;
        // One more nanosecond than the quotient: rounding must not bring the timer before the request.
        now + Duration::try_from_secs_f64(seconds).unwrap_or(TOKEN_AGE) + Duration::from_nanos(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_above_the_burst_wait_for_their_rate() {
        let now = MonotonicTime(5_000_000_000);
        let mut rate = RequestRate::new(5.0, 2.0, now);
        assert!(rate.take(now) && rate.take(now) && !rate.take(now));
        let next = rate.next_at(now);
        assert!((199..=201).contains(&next.since(now).as_millis()));
        assert!(rate.take(next) && !rate.take(next));
    }
}
