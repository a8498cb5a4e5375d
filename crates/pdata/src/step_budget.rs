//! The budget of one step of work that can be suspended.
//!
//! Work whose amount depends on a peer is done in steps, so that one large body does not block the loop. A step ends
//! when its [`StepBudget`] is spent; it may exceed it by one undivided piece of work, which each state
//! machine documents.

/// The budget left in a step, in units of half a nanosecond: one for a copied byte, [`StepBudget::UNITS_PER_FIELD`]
/// for a field.
#[derive(Clone, Debug)]
pub struct StepBudget {
    remaining: u64,
    spent: u64,
}

impl StepBudget {
    /// Units of one step: about 5 ms on a machine of 2020.
    pub const UNITS_PER_STEP: u64 = 8 << 20;

    /// Units for reading a field's tag and length.
    pub const UNITS_PER_FIELD: u64 = 40;

    /// A budget of `units`.
    #[must_use]
    pub fn new(units: u64) -> Self {
        Self { remaining: units, spent: 0 }
    }

    /// A budget of [`StepBudget::UNITS_PER_STEP`].
    #[must_use]
    pub fn for_one_step() -> Self {
        Self::new(Self::UNITS_PER_STEP)
    }

    /// A budget that is never spent: for work whose size is bounded otherwise.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Counts work that has been done.
    #[inline]
    pub fn charge(&mut self, units: u64) {
        self.remaining = self.remaining.saturating_sub(units);
        self.spent = self.spent.saturating_add(units);
    }

    /// Whether the step must end.
    #[inline]
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.remaining == 0
    }

    /// Units left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Units charged since the budget was made.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent
    }
}
