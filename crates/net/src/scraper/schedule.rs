//! When a target is scraped: at a time of its own within the interval, which follows from its hash, as in Prometheus.
//!
//! Reads no clock.

use std::time::Duration;

use otelcore_pipeline::{MonotonicTime, WallTime};

/// FNV-1a with 64 bits over a text that identifies a target, such as its labels and URL.
#[must_use]
pub fn hash_target(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The time from `wall` to the next scrape of the target with this hash. The times of its scrapes are fixed points of the
/// wall clock, so that they stay the same when the collector is restarted.
#[must_use]
pub fn scrape_offset(hash: u64, seed: u64, interval: Duration, wall: WallTime) -> Duration {
    let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    let until_interval = interval - wall.0 % interval;
    let next = until_interval.saturating_add((hash ^ seed) % interval);
    Duration::from_nanos(if next > interval { next - interval } else { next })
}

/// The first time after `now` that is a number of intervals after `due`: times that have passed are left out.
pub(super) fn next_after(due: MonotonicTime, interval: Duration, now: MonotonicTime) -> MonotonicTime {
    let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    let passed = now.0.saturating_sub(due.0) / interval;
    MonotonicTime(due.0.saturating_add(interval.saturating_mul(passed.saturating_add(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_has_the_same_time_in_every_interval() {
        let interval = Duration::from_secs(15);
        let hash = hash_target("http://host:9100/metrics");
        let at =
            |wall: u64| (wall + scrape_offset(hash, 0, interval, WallTime(wall)).as_nanos() as u64) % 15_000_000_000;
        let expected = hash % 15_000_000_000;
        for wall in [0, 1, 14_999_999_999, 1_700_000_000_123_456_789] {
            assert_eq!(at(wall), expected, "{wall}");
            assert!(scrape_offset(hash, 0, interval, WallTime(wall)) <= interval);
        }
    }

    #[test]
    fn targets_are_spread_over_the_interval() {
        let interval = Duration::from_secs(10);
        let mut per_second = [0; 10];
        for i in 0..1000 {
            let offset = scrape_offset(hash_target(&format!("http://10.0.0.{i}/metrics")), 7, interval, WallTime(5));
            per_second[(offset.as_secs() as usize).min(9)] += 1;
        }
        assert!(per_second.iter().all(|count| (50..150).contains(count)), "{per_second:?}");
    }

    #[test]
    fn scrape_that_took_longer_than_intervals_leaves_them_out() {
        let next = |now| next_after(MonotonicTime(100), Duration::from_nanos(10), MonotonicTime(now)).0;
        assert_eq!([next(100), next(105), next(110), next(135)], [110, 110, 120, 140]);
    }

    #[test]
    fn hash_is_fnv_1a() {
        assert_eq!((hash_target(""), hash_target("a")), (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c));
    }
}
