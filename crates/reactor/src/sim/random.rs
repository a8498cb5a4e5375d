//! The source of every random choice of a simulation.

use std::time::Duration;

/// SplitMix64. Equal seeds give equal numbers.
#[derive(Debug)]
pub(crate) struct RandomSource(pub(crate) u64);

impl RandomSource {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A time from `min` to `max`, both included.
    pub(crate) fn duration_between(&mut self, min: Duration, max: Duration) -> Duration {
        let span = max.saturating_sub(min).as_nanos();
        let span = u64::try_from(span).unwrap_or(u64::MAX).saturating_add(1);
        min + Duration::from_nanos(self.next() % span)
    }

    /// A number below `end`; zero where `end` is zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // The bias of the remainder is far too small to affect a test.
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or(0)
    }
}
