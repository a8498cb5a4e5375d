//! A condition that begins, lasts and ends, and when that is to be logged.
//!
//! Pure: no clock, no log. A condition that begins and ends again and again is reported at most once in [`EVERY`];
//! events that are not reported are counted in the next report.

use std::time::Duration;

use crate::Mono;

/// Shortest time between two reports that it begins.
const EVERY: Duration = Duration::from_secs(10);

/// The state of one condition, and of its reports.
#[derive(Clone, Debug, Default)]
pub struct Episode {
    /// Since when it lasts.
    begun: Option<Mono>,
    /// Its begin has been reported, so its end will be reported too.
    is_reported: bool,
    /// When a begin was last reported.
    reported: Option<Mono>,
    /// Events since the last report.
    count: u64,
}

/// What to log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpisodeReport {
    /// It has begun, or lasts and was not reported before.
    Begins {
        /// Events since the last report.
        count: u64,
    },
    /// It has ended.
    Ends {
        /// How long it lasted.
        lasted: Duration,
        /// Events since its begin was reported.
        count: u64,
    },
}

impl Episode {
    /// Records the condition at `now`, and `count` events that it caused since the last call.
    pub fn observe(&mut self, now: Mono, is_active: bool, count: u64) -> Option<EpisodeReport> {
        self.count = self.count.saturating_add(count);
        if !is_active {
            let begun = self.begun.take()?;
            if !std::mem::take(&mut self.is_reported) {
                return None;
            }
            let count = std::mem::take(&mut self.count);
            return Some(EpisodeReport::Ends { lasted: now.since(begun), count });
        }
        self.begun.get_or_insert(now);
        if self.is_reported || self.reported.is_some_and(|at| now.since(at) < EVERY) {
            return None;
        }
        self.is_reported = true;
        self.reported = Some(now);
        Some(EpisodeReport::Begins { count: std::mem::take(&mut self.count) })
    }

    /// Whether it lasts.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.begun.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Mono {
        Mono::default() + Duration::from_secs(secs)
    }

    #[test]
    fn episode_that_lasts_is_reported_at_its_begin_and_end() {
        let mut episode = Episode::default();
        assert_eq!(episode.observe(at(0), false, 0), None);
        assert_eq!(episode.observe(at(1), true, 2), Some(EpisodeReport::Begins { count: 2 }));
        assert_eq!(episode.observe(at(2), true, 3), None);
        assert_eq!(episode.observe(at(60), true, 4), None);
        let ends = EpisodeReport::Ends { lasted: Duration::from_secs(60), count: 7 };
        assert_eq!(episode.observe(at(61), false, 0), Some(ends));
        assert_eq!(episode.observe(at(62), false, 0), None);
    }

    #[test]
    fn episode_that_comes_and_goes_is_reported_once_in_ten_seconds_and_all_counted() {
        let mut episode = Episode::default();
        let (mut begins, mut ends, mut counted) = (0, 0, 0);
        for second in 0..100 {
            match episode.observe(at(second), second % 2 == 0, 1) {
                Some(EpisodeReport::Begins { count }) => (begins, counted) = (begins + 1, counted + count),
                Some(EpisodeReport::Ends { count, .. }) => (ends, counted) = (ends + 1, counted + count),
                None => {}
            }
        }
        assert_eq!((begins, ends), (10, 10));
        assert!(counted > 85, "{counted}");
    }

    #[test]
    fn episode_that_began_unreported_is_reported_when_it_lasts() {
        let mut episode = Episode::default();
        assert!(episode.observe(at(0), true, 0).is_some());
        assert!(episode.observe(at(1), false, 0).is_some());
        assert_eq!(episode.observe(at(2), true, 5), None);
        assert_eq!(episode.observe(at(10), true, 5), Some(EpisodeReport::Begins { count: 10 }));
    }
}
