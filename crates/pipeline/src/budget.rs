//! The count of bytes that the collector holds and keeps.
//!
//! *Held* are the bodies in flight: each is charged when its buffer is made and discharged when its last holder drops
//! it, so the count is exact by construction. *Kept* is state that components store for longer than the payload that it
//! came from (series, traces, tables): the component charges it, as close to the allocated size as it can determine. A
//! flush ([`Budget::mark`]) waits for what is held and never for what is kept. The memory limiter reads both, and sets
//! the limit above which components make no new state ([`Budget::has_room`]); existing state is still updated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;

/// How many periods are distinguished. A [`Budget::mark`] that finds the next one in use shares the current
/// one.
const PERIODS: usize = 16;

/// A shared count of held bytes.
#[derive(Debug, Default)]
pub struct Budget {
    held: AtomicU64,
    /// The current period: incremented by marks. Each charge stores the period in which it was made.
    period: AtomicU64,
    /// The number of existing charges, by the period in which they were made, modulo [`PERIODS`].
    charges: [AtomicU64; PERIODS],
    kept: AtomicU64,
    /// The distance of the lowest limit that was set from `u64::MAX`; zero without a limit.
    below_max: AtomicU64,
    /// The same for the hard limit.
    hard_below_max: AtomicU64,
    /// The limits that are set until they are dropped, as above: number, soft, hard.
    limits: Mutex<Vec<(u64, u64, u64)>>,
    /// How many limiters have found resident memory above their hard limit.
    limiters_over_hard_limit: AtomicU64,
}

/// The part of the limit that kept state may take. The remainder stays free for data in flight, so that existing state
/// can be updated when no new state is made any more.
const KEPT_SHARE: (u64, u64) = (3, 4);

impl Budget {
    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes of kept state.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Charges `bytes` of kept state until the returned value is dropped.
    #[must_use]
    pub fn keep(self: &Arc<Self>, bytes: u64) -> Kept {
        self.kept.fetch_add(bytes, Ordering::Relaxed);
        Kept { budget: self.clone(), bytes }
    }

    /// Sets both limits ([`Budget::set_limit`], [`Budget::set_hard_limit`]) until the returned value is dropped.
    #[must_use]
    pub fn limit_while(self: &Arc<Self>, bytes: u64, hard_bytes: u64) -> BudgetLimit {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let number = limits.last().map_or(0, |(number, ..)| number + 1);
        limits.push((number, u64::MAX - bytes, u64::MAX - hard_bytes));
        self.apply_limits(&limits);
        drop(limits);
        BudgetLimit { budget: self.clone(), number }
    }

    fn apply_limits(&self, limits: &[(u64, u64, u64)]) {
        let soft = limits.iter().map(|(_, soft, _)| *soft).max().unwrap_or_default();
        let hard = limits.iter().map(|(_, _, hard)| *hard).max().unwrap_or_default();
        self.below_max.store(soft, Ordering::Relaxed);
        self.hard_below_max.store(hard, Ordering::Relaxed);
    }

    /// Limits held and kept bytes together. The lowest limit of all calls applies, until the next call of
    /// [`Budget::limit_while`] or the end of such a limit.
    pub fn set_limit(&self, bytes: u64) {
        self.below_max.fetch_max(u64::MAX - bytes, Ordering::Relaxed);
    }

    /// The lowest limit that was set, in bytes; `u64::MAX` without one.
    #[must_use]
    pub fn limit(&self) -> u64 {
        u64::MAX - self.below_max.load(Ordering::Relaxed)
    }

    /// Limits the memory of bodies that are being read ([`Held::try_grow`]): they were admitted below the limit of
    /// [`Budget::set_limit`] and may grow up to this one. The lowest limit of all calls applies.
    pub fn set_hard_limit(&self, bytes: u64) {
        self.hard_below_max.fetch_max(u64::MAX - bytes, Ordering::Relaxed);
    }

    /// Bytes that may be held: the hard limit less what is kept, but a quarter of it at least, since refusing data does
    /// not lower what is kept. `u64::MAX` without a limit.
    #[must_use]
    pub fn held_limit(&self) -> u64 {
        match u64::MAX - self.hard_below_max.load(Ordering::Relaxed) {
            u64::MAX => u64::MAX,
            hard => hard.saturating_sub(self.kept()).max(hard / 4),
        }
    }

    /// From how many held bytes on a memory limiter refuses data now: the limit less what is kept, but a quarter of it at
    /// least; that quarter while resident memory is above the hard limit. `u64::MAX` without a limit.
    #[must_use]
    pub fn admission_limit(&self) -> u64 {
        match self.limit() {
            u64::MAX => u64::MAX,
            limit if self.limiters_over_hard_limit.load(Ordering::Relaxed) > 0 => limit / 4,
            limit => limit.saturating_sub(self.kept()).max(limit / 4),
        }
    }

    /// Bytes that kept state may take at most. The difference to [`Budget::limit`] is reserved for what is held.
    #[must_use]
    pub fn kept_limit(&self) -> u64 {
        let limit = self.limit();
        if limit == u64::MAX { limit } else { limit / KEPT_SHARE.1 * KEPT_SHARE.0 }
    }

    /// Counts one more (`true`) or one less limiter that has found resident memory above its hard limit.
    pub fn count_over_hard_limit(&self, over: bool) {
        if over {
            self.limiters_over_hard_limit.fetch_add(1, Ordering::Relaxed);
        } else {
            let less = |n: u64| Some(n.saturating_sub(1));
            let _ = self.limiters_over_hard_limit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    /// Whether new state may be kept: the limit is not reached, neither by what is kept nor together with what is held,
    /// and resident memory is below the hard limit. Always true without a memory limiter.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let limit = self.limit();
        if limit == u64::MAX {
            return true;
        }
        let kept = self.kept();
        kept < self.kept_limit()
            && self.held().saturating_add(kept) < limit
            && self.limiters_over_hard_limit.load(Ordering::Relaxed) == 0
    }

    /// Marks the current time: [`Budget::is_released`] is true when everything that is held now has been released.
    #[must_use]
    pub fn mark(&self) -> u64 {
        let period = self.period.load(Ordering::SeqCst);
        if self.charges_in(period + 1).load(Ordering::SeqCst) == 0 {
            // If another thread was faster, its mark serves for this call too.
            let _ = self.period.compare_exchange(period, period + 1, Ordering::SeqCst, Ordering::SeqCst);
        }
        period
    }

    /// Whether every charge that was made before the mark has been released.
    #[must_use]
    pub fn is_released(&self, mark: u64) -> bool {
        // Older periods than the array has entries have no charges, or the current one could not have begun.
        let first = self.period.load(Ordering::SeqCst).saturating_sub(PERIODS as u64 - 1);
        (first..=mark).all(|period| self.charges_in(period).load(Ordering::SeqCst) == 0)
    }

    fn charges_in(&self, period: u64) -> &AtomicU64 {
        // The remainder is below the length of the array.
        &self.charges[(period % PERIODS as u64) as usize]
    }

    /// Charges `bytes` until the returned value is dropped.
    #[must_use]
    pub fn hold(self: &Arc<Self>, bytes: u64) -> Held {
        let mut held = Held::default();
        held.0.push(Arc::new(Charge::new(self.clone(), bytes)));
        held
    }
}

/// Charges on a [`Budget`]. Clones share them, as clones of a body share its buffers.
#[derive(Clone, Debug, Default)]
pub struct Held(SmallVec<[Arc<Charge>; 1]>);

impl Held {
    /// Takes over the charges of `other`.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The budget of the first charge; `None` without any charge.
    #[must_use]
    pub fn budget(&self) -> Option<&Arc<Budget>> {
        self.0.first().map(|charge| &charge.budget)
    }

    /// Bytes of the first charge, which [`Held::grow`] raises.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.first().map_or(0, |charge| charge.bytes)
    }

    /// Raises the charge to `bytes` like [`Held::grow`], unless more would then be held than [`Budget::held_limit`].
    ///
    /// # Errors
    /// When there is no room; the charge is then as it was.
    pub fn try_grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        if let Some(charge) = self.0.first() {
            let more = bytes.saturating_sub(charge.bytes);
            if more > 0 && charge.budget.held().saturating_add(more) > charge.budget.held_limit() {
                return Err(NoRoom);
            }
        }
        self.grow(bytes);
        Ok(())
    }

    /// Raises the charge to `bytes`, unless it is shared with a clone. Never lowers it.
    pub fn grow(&mut self, bytes: u64) {
        if let Some(charge) = self.0.first_mut().and_then(Arc::get_mut) {
            let more = bytes.saturating_sub(charge.bytes);
            charge.budget.held.fetch_add(more, Ordering::Relaxed);
            charge.bytes += more;
        }
    }

    /// Charges `bytes` in addition to the first charge: for a copy of the data that the first charge is for.
    pub fn charge_copy(&mut self, bytes: u64) {
        if bytes > 0
            && let Some(first) = self.0.first()
        {
            let copy = first.charge_in_same_period(bytes, Self::default());
            self.0.push(copy);
        }
    }

    /// A charge of `bytes` for data that is made from the data of this charge. It is released by itself; marks treat both
    /// alike. Without any charge there is none.
    #[must_use]
    pub fn hold_derived(&self, bytes: u64) -> Self {
        Self(self.0.first().map(|first| first.charge_in_same_period(bytes, Self::default())).into_iter().collect())
    }

    /// Combines many charges into one, so that a clone costs the same however many there are.
    pub fn bundle(&mut self) {
        if self.0.len() > 1
            && let Some(first) = self.0.first().cloned()
        {
            let all = std::mem::take(self);
            self.0.push(first.charge_in_same_period(0, all));
        }
    }
}

/// Limits of a [`Budget`] that apply until this is dropped.
#[derive(Debug)]
pub struct BudgetLimit {
    budget: Arc<Budget>,
    number: u64,
}

impl Drop for BudgetLimit {
    fn drop(&mut self) {
        let mut limits = self.budget.limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.retain(|(number, ..)| *number != self.number);
        self.budget.apply_limits(&limits);
    }
}

/// More would be held than the memory limit allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("data refused due to high memory usage")]
pub struct NoRoom;

/// A charge of kept state on a [`Budget`]. The owner of the state changes it as the state grows and shrinks.
#[derive(Debug)]
pub struct Kept {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Kept {
    /// Bytes charged.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Charges `bytes` instead of what was charged.
    pub fn set(&mut self, bytes: u64) {
        if bytes >= self.bytes {
            self.budget.kept.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            self.budget.kept.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// Charges `bytes` more.
    pub fn grow(&mut self, bytes: u64) {
        self.set(self.bytes.saturating_add(bytes));
    }

    /// Charges `bytes` less, but not less than zero.
    pub fn shrink(&mut self, bytes: u64) {
        self.set(self.bytes.saturating_sub(bytes));
    }

    /// See [`Budget::has_room`].
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.budget.has_room()
    }

    /// The budget that it is charged to.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[derive(Debug)]
struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
    period: u64,
    /// Charges that are released together with this one, see [`Held::bundle`].
    _bundled: Held,
}

impl Charge {
    fn new(budget: Arc<Budget>, bytes: u64) -> Self {
        budget.held.fetch_add(bytes, Ordering::Relaxed);
        let period = budget.period.load(Ordering::SeqCst);
        budget.charges_in(period).fetch_add(1, Ordering::SeqCst);
        Self { budget, bytes, period, _bundled: Held::default() }
    }

    /// A new charge in the same period as this one, so that marks treat both alike. This one still exists, so its
    /// period is in use.
    fn charge_in_same_period(&self, bytes: u64, bundled: Held) -> Arc<Self> {
        self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        self.budget.charges_in(self.period).fetch_add(1, Ordering::SeqCst);
        Arc::new(Self { budget: self.budget.clone(), bytes, period: self.period, _bundled: bundled })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.charges_in(self.period).fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_applies_until_it_is_dropped() {
        let budget = Arc::new(Budget::default());
        let first = budget.limit_while(100, 120);
        let second = budget.limit_while(200, 240);
        assert_eq!((budget.limit(), budget.held_limit()), (100, 120), "the lowest applies");
        drop(first);
        assert_eq!((budget.limit(), budget.held_limit()), (200, 240));
        let third = budget.limit_while(50, 60);
        drop(second);
        assert_eq!(budget.limit(), 50);
        drop(third);
        assert_eq!((budget.limit(), budget.held_limit()), (u64::MAX, u64::MAX));
    }

    #[test]
    fn mark_is_released_when_all_older_charges_are_dropped() {
        let budget = Arc::new(Budget::default());
        let old = budget.hold(1);
        let first = budget.mark();
        let new = budget.hold(1);
        assert!(!budget.is_released(first));
        drop(old);
        assert!(budget.is_released(first), "what came after the mark does not count");
        let second = budget.mark();
        assert!(!budget.is_released(second));
        // More marks than there are periods, while one charge still exists.
        let last = (0..40).fold(0, |_, _| budget.mark());
        assert!(!budget.is_released(last) && !budget.is_released(second));
        let newest = budget.hold(1);
        drop(new);
        assert!(budget.is_released(second));
        drop(newest);
        assert!(budget.is_released(budget.mark()));
    }

    #[test]
    fn held_bytes_count_until_the_last_clone_is_dropped() {
        let budget = Arc::new(Budget::default());
        let mut a = budget.hold(10);
        a.grow(15);
        a.grow(3);
        let mut batch = a.clone();
        batch.merge(budget.hold(100));
        assert_eq!(budget.held(), 115);
        drop(a);
        assert_eq!(budget.held(), 115, "the batch shares the first body");
        drop(batch);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn derived_charge_is_released_by_itself_and_has_the_marks_of_the_first() {
        let budget = Arc::new(Budget::default());
        let old = budget.hold(10);
        let mark = budget.mark();
        let mut new = old.hold_derived(0);
        new.grow(25);
        assert_eq!(budget.held(), 35);
        drop(old);
        assert_eq!((budget.held(), budget.is_released(mark)), (25, false));
        drop(new);
        assert!(budget.is_released(mark));
        assert!(Held::default().hold_derived(5).budget().is_none());
    }

    #[test]
    fn bundle_of_many_charges_is_one_that_releases_all() {
        let budget = Arc::new(Budget::default());
        let mut all = Held::default();
        (0..1000).for_each(|_| all.merge(budget.hold(3)));
        all.charge_copy(50);
        all.bundle();
        assert_eq!((all.0.len(), budget.held()), (1, 3050));
        let mark = budget.mark();
        let clone = all.clone();
        let mut nested = budget.hold(1);
        nested.merge(all);
        nested.bundle();
        drop(nested);
        assert_eq!(budget.held(), 3050, "a clone shares the charges");
        assert!(!budget.is_released(mark));
        drop(clone);
        assert_eq!(budget.held(), 0);
        assert!(budget.is_released(mark));
        let mut none = Held::default();
        none.charge_copy(5);
        none.bundle();
        assert_eq!(none.0.len(), 0);
    }

    #[test]
    fn kept_bytes_are_counted_separately_and_no_mark_waits_for_them() {
        let budget = Arc::new(Budget::default());
        let mut series = budget.keep(100);
        assert_eq!((budget.kept(), budget.held()), (100, 0));
        assert!(budget.is_released(budget.mark()), "a flush does not wait for what is kept");
        series.grow(50);
        series.shrink(20);
        let other = budget.keep(7);
        assert_eq!((series.bytes(), budget.kept()), (130, 137));
        series.shrink(1000);
        assert_eq!(budget.kept(), 7);
        series.set(9);
        drop((series, other));
        assert_eq!(budget.kept(), 0);
    }

    #[test]
    fn new_state_below_the_lowest_limit_has_room() {
        let budget = Arc::new(Budget::default());
        let mut kept = budget.keep(u64::MAX / 2);
        assert!(budget.has_room(), "without a limit there is always room");
        assert_eq!((budget.limit(), budget.kept_limit()), (u64::MAX, u64::MAX));
        budget.set_limit(400);
        budget.set_limit(4000);
        assert_eq!((budget.limit(), budget.kept_limit()), (400, 300));
        assert!(!budget.has_room());
        kept.set(299);
        assert!(budget.has_room());
        let held = budget.hold(101);
        assert!(!budget.has_room(), "held and kept bytes count together");
        drop(held);
        kept.set(300);
        assert!(!budget.has_room(), "a quarter is left for what is held");
        kept.set(0);
        budget.count_over_hard_limit(true);
        assert!(!budget.has_room(), "resident memory is above the hard limit");
        budget.count_over_hard_limit(false);
        budget.count_over_hard_limit(false);
        assert!(budget.has_room());
    }
}
