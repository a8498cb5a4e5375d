//! How much work a step may do before it returns to the loop.
//!
//! Work is counted, not timed: a unit is about one nanosecond in this project's benches, so that a step takes some
//! milliseconds and a test can measure how the work grows with its input.

/// Units of one step.
pub(crate) const STEP: u64 = 4_000_000;

/// The work that is left in a step.
#[derive(Debug)]
pub struct Work {
    left: u64,
    done: u64,
}

impl Work {
    /// The work of one step.
    #[must_use]
    pub fn step() -> Self {
        Self { left: STEP, done: 0 }
    }

    /// Counts work that was done, or that will be done without interruption.
    #[inline]
    pub(crate) fn spend(&mut self, units: u64) {
        self.left = self.left.saturating_sub(units);
        self.done += units;
    }

    /// Whether the step should end.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Units that were spent.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done
    }
}
