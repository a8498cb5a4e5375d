//! How much work a step may do before it returns to the loop.
//!
//! Work is counted, not timed: a unit is about one nanosecond in this project's benches, so that a step takes some
//! milliseconds and a test can measure how the work grows with its input.

/// Units of one step.
pub(crate) const UNITS_PER_STEP: u64 = 4_000_000;

/// The budget that is left in a step.
#[derive(Debug)]
pub struct StepBudget {
    remaining: u64,
    spent: u64,
}

impl StepBudget {
    /// The work of one step.
    #[must_use]
    pub fn for_one_step() -> Self {
        Self { remaining: UNITS_PER_STEP, spent: 0 }
    }

    /// Counts work that was done, or that will be done without interruption.
    #[inline]
    pub(crate) fn charge(&mut self, units: u64) {
        self.remaining = self.remaining.saturating_sub(units);
        self.spent += units;
    }

    /// Whether the step should end.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.remaining == 0
    }

    /// Units that were spent.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent
    }
}
