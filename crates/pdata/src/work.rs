//! The budget of one step of work that can be suspended.
//!
//! Work whose amount depends on a peer is done in steps, so that one large body does not block the loop. A step ends
//! when its [`Work`] is spent; it may exceed it by one piece of work that is not divided further, which each state
//! machine documents.

/// The budget that a step has left, in units of about half a nanosecond: one for a copied byte, [`Work::FIELD`] for a
/// field.
#[derive(Clone, Debug)]
pub struct Work {
    left: u64,
    done: u64,
}

impl Work {
    /// Units of one step: about 5 ms on a machine of 2020.
    pub const STEP: u64 = 8 << 20;

    /// Units for reading a field's tag and length.
    pub const FIELD: u64 = 40;

    /// A budget of `units`.
    #[must_use]
    pub fn new(units: u64) -> Self {
        Self { left: units, done: 0 }
    }

    /// A budget of [`Work::STEP`].
    #[must_use]
    pub fn step() -> Self {
        Self::new(Self::STEP)
    }

    /// A budget that is never spent: for work whose size is bounded otherwise.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Counts work that has been done.
    #[inline]
    pub fn charge(&mut self, units: u64) {
        self.left = self.left.saturating_sub(units);
        self.done = self.done.saturating_add(units);
    }

    /// Whether the step must end.
    #[inline]
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Units left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Units charged since the budget was made.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done
    }
}
