//! A condition that begins, lasts and ends, and when that is to be logged.
//!
//! No clock and no log is used. A condition that begins and ends repeatedly is reported at most once in
//! [`MIN_REPORT_INTERVAL`]; events that are not reported are counted in the next report.

use std::time::Duration;

use crate::MonotonicTime;

/// Shortest time between two reports that the condition has begun.
const MIN_REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The state of one condition, and of its reports.
#[derive(Clone, Debug, Default)]
pub struct ConditionReporter {
    /// Since when it lasts.
    began_at: Option<MonotonicTime>,
    /// Its begin has been reported, so its end will be reported too.
    is_reported: bool,
    /// When a begin was last reported.
    last_reported_at: Option<MonotonicTime>,
    /// Events since the last report.
    count: u64,
}

/// What to log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConditionReport {
    /// It has begun, or lasts and was not reported before.
    Began {
        /// Events since the last report.
        count: u64,
    },
    /// It has ended.
    Ended {
        /// How long it lasted.
        duration: Duration,
        /// Events since its begin was reported.
        count: u64,
    },
}

impl ConditionReporter {
    /// Records the condition at `now`, and `count` events that it caused since the last call.
    pub fn observe(&mut self, now: MonotonicTime, is_active: bool, count: u64) -> Option<ConditionReport> {
        self.count = self.count.saturating_add(count);
        if !is_active {
            let begun = self.began_at.take()?;
            if !std::mem::take(&mut self.is_reported) {
                return None;
            }
            let count = std::mem::take(&mut self.count);
            return Some(ConditionReport::Ended { duration: now.since(begun), count });
        }
        self.began_at.get_or_insert(now);
        if self.is_reported || self.last_reported_at.is_some_and(|at| now.since(at) < MIN_REPORT_INTERVAL) {
            return None;
        }
        self.is_reported = true;
        self.last_reported_at = Some(now);
        Some(ConditionReport::Began { count: std::mem::take(&mut self.count) })
    }

    /// Whether it lasts.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.began_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> MonotonicTime {
        MonotonicTime::default() + Duration::from_secs(secs)
    }

    #[test]
    fn condition_that_lasts_is_reported_at_its_begin_and_end() {
        let mut condition = ConditionReporter::default();
        assert_eq!(condition.observe(at(0), false, 0), None);
        assert_eq!(condition.observe(at(1), true, 2), Some(ConditionReport::Began { count: 2 }));
        assert_eq!(condition.observe(at(2), true, 3), None);
        assert_eq!(condition.observe(at(60), true, 4), None);
        let ends = ConditionReport::Ended { duration: Duration::from_secs(60), count: 7 };
        assert_eq!(condition.observe(at(61), false, 0), Some(ends));
        assert_eq!(condition.observe(at(62), false, 0), None);
    }

    #[test]
    fn condition_that_begins_repeatedly_is_reported_once_in_ten_seconds_with_all_events() {
        let mut condition = ConditionReporter::default();
        let (mut begins, mut ends, mut counted) = (0, 0, 0);
        for second in 0..100 {
            match condition.observe(at(second), second % 2 == 0, 1) {
                Some(ConditionReport::Began { count }) => (begins, counted) = (begins + 1, counted + count),
                Some(ConditionReport::Ended { count, .. }) => (ends, counted) = (ends + 1, counted + count),
                None => {}
            }
        }
        assert_eq!((begins, ends), (10, 10));
        assert!(counted > 85, "{counted}");
    }

    #[test]
    fn condition_that_began_unreported_is_reported_when_it_lasts() {
        let mut condition = ConditionReporter::default();
        assert!(condition.observe(at(0), true, 0).is_some());
        assert!(condition.observe(at(1), false, 0).is_some());
        assert_eq!(condition.observe(at(2), true, 5), None);
        assert_eq!(condition.observe(at(10), true, 5), Some(ConditionReport::Began { count: 10 }));
    }
}
