//! The known size of the longest message that a peer accepts.
//!
//! Learned from refusals, and raised again over time, since the limit of a peer may be changed. Never reads the text of
//! a refusal.

use std::time::Duration;

use crate::MonotonicTime;

/// How long a limit is applied before twice as much is tried.
const DOUBLING_INTERVAL: Duration = Duration::from_mins(10);
/// No limit below this is applied: a peer that accepts less accepts almost nothing.
const MIN_LIMIT: usize = 1024;
/// A limit above this is not stored: it is treated as no limit.
const MAX_LIMIT: usize = 1 << 32;

/// The limit that is applied for one peer, in bytes.
#[derive(Debug, Default)]
pub(crate) struct SizeLimit {
    known: Option<(usize, MonotonicTime)>,
}

impl SizeLimit {
    /// The length of the longest message to send now.
    pub(crate) fn bytes(&mut self, now: MonotonicTime) -> usize {
        while let Some((bytes, since)) = self.known {
            if now.since(since) < DOUBLING_INTERVAL {
                return bytes;
            }
            self.known = (bytes < MAX_LIMIT).then(|| (bytes.saturating_mul(2), since + DOUBLING_INTERVAL));
        }
        usize::MAX
    }

    /// A message of `size` bytes was refused; `named_limit` is the limit that the peer named.
    pub(crate) fn record_refusal(&mut self, now: MonotonicTime, size: usize, named_limit: Option<u64>) {
        let named_limit = named_limit
            .and_then(|named_limit| usize::try_from(named_limit).ok())
            .filter(|named_limit| (MIN_LIMIT..size).contains(named_limit));
        let limit = match named_limit {
            Some(named_limit) => named_limit,
            None => (size / 2).max(MIN_LIMIT).min(self.bytes(now)),
        };
        self.known = Some((limit, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_named_by_the_peer_is_used_if_it_is_plausible() {
        let mut limit = SizeLimit::default();
        let now = MonotonicTime(5);
        assert_eq!(limit.bytes(now), usize::MAX);
        limit.record_refusal(now, 5 << 20, Some(4 << 20));
        assert_eq!(limit.bytes(now), 4 << 20);
        for named_limit in [Some(0), Some(6 << 20), None] {
            let mut limit = SizeLimit::default();
            limit.record_refusal(now, 5 << 20, named_limit);
            assert_eq!(limit.bytes(now), 5 << 19);
        }
        limit.record_refusal(now, 100, None);
        assert_eq!(limit.bytes(now), MIN_LIMIT);
    }

    #[test]
    fn limit_without_refusals_is_doubled_until_it_is_removed() {
        let mut limit = SizeLimit::default();
        limit.record_refusal(MonotonicTime(0), 8 << 20, Some(4 << 20));
        assert_eq!(limit.bytes(MonotonicTime(0) + Duration::from_secs(599)), 4 << 20);
        assert_eq!(limit.bytes(MonotonicTime(0) + Duration::from_secs(600)), 8 << 20);
        assert_eq!(limit.bytes(MonotonicTime(0) + Duration::from_secs(1900)), 32 << 20);
        assert_eq!(limit.bytes(MonotonicTime(0) + Duration::from_hours(24)), usize::MAX);
    }
}
