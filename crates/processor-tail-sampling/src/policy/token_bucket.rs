//! A rate with bursts.

use otelcore_pipeline::MonotonicTime;

/// A bucket that holds up to `burst` tokens and gets `rate` of them a second.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    updated: Option<MonotonicTime>,
}

impl TokenBucket {
    /// A full bucket. A burst of zero or less is twice the rate.
    #[expect(clippy::cast_precision_loss, reason = "numbers of spans and bytes a second")]
    pub(crate) fn new(rate: i64, burst: i64) -> Self {
        let burst = if burst > 0 { burst } else { rate.saturating_mul(2) } as f64;
        Self { rate: rate as f64, burst, tokens: burst, updated: None }
    }

    /// Takes tokens if there are enough of them.
    #[expect(clippy::cast_precision_loss, reason = "numbers of spans and bytes of a trace")]
    pub(crate) fn take(&mut self, now: MonotonicTime, count: u64) -> bool {
        let elapsed = self.updated.map_or(0.0, |updated| now.since(updated).as_secs_f64());
        let tokens = (self.tokens + elapsed * self.rate).min(self.burst);
        let left = tokens - count as f64;
        if left < 0.0 {
            return false;
        }
        (self.tokens, self.updated) = (left, Some(now));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn tokens_come_back_with_time_up_to_the_burst() {
        let mut bucket = TokenBucket::new(10, 0);
        let at = |millis| MonotonicTime(0) + Duration::from_millis(millis);
        assert!(bucket.take(at(0), 15));
        assert!(!bucket.take(at(0), 6));
        assert!(bucket.take(at(100), 6), "5 and 1");
        assert!(!bucket.take(at(10_000), 21), "more than the burst");
        assert!(bucket.take(at(10_000), 20));
        assert!(!bucket.take(at(10_050), 1));
    }
}
