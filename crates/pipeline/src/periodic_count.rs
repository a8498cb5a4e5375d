//! How often something is logged that may happen with every request.

use std::time::Duration;

use crate::MonotonicTime;

/// Counts events: the first is reported at once, further ones together, once a period.
#[derive(Clone, Debug)]
pub struct PeriodicCount {
    period: Duration,
    reported_at: Option<MonotonicTime>,
    unreported: u64,
}

impl PeriodicCount {
    /// Nothing has happened yet.
    #[must_use]
    pub const fn new(period: Duration) -> Self {
        Self { period, reported_at: None, unreported: 0 }
    }

    /// Adds `count` events. Returns all that were not reported, if they are to be reported now.
    #[must_use]
    pub fn add(&mut self, now: MonotonicTime, count: u64) -> Option<u64> {
        self.unreported = self.unreported.saturating_add(count);
        if self.reported_at.is_some_and(|at| now.since(at) < self.period) {
            return None;
        }
        self.reported_at = Some(now);
        Some(std::mem::take(&mut self.unreported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_event_is_reported_at_once_and_later_ones_together() {
        let at = |seconds| MonotonicTime(0) + Duration::from_secs(seconds);
        let mut count = PeriodicCount::new(Duration::from_secs(10));
        assert_eq!(count.add(at(0), 3), Some(3));
        assert_eq!([count.add(at(1), 1), count.add(at(9), 1)], [None, None]);
        assert_eq!(count.add(at(10), 5), Some(7));
        assert_eq!(count.add(at(11), 1), None);
    }
}
