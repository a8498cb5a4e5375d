//! The count of bytes that the collector holds.
//!
//! Every body is charged when its buffer is made and discharged when its last holder drops it, so the count is exact by
//! construction. The memory limiter reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

/// How many spans of time are told apart. A [`Budget::mark`] that finds the next one taken shares the present one.
const SPANS: usize = 16;

/// A shared count of held bytes.
#[derive(Debug, Default)]
pub struct Budget {
    held: AtomicU64,
    /// Counts up with each mark; charges remember it.
    span: AtomicU64,
    /// Charges that live, by the span that they were made in, modulo [`SPANS`].
    live: [AtomicU64; SPANS],
}

impl Budget {
    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Remembers the present: [`Budget::is_past`] tells when everything that is held now is gone.
    #[must_use]
    pub fn mark(&self) -> u64 {
        let span = self.span.load(Ordering::SeqCst);
        if self.slot(span + 1).load(Ordering::SeqCst) == 0 {
            // Whoever is faster has marked the same moment.
            let _ = self.span.compare_exchange(span, span + 1, Ordering::SeqCst, Ordering::SeqCst);
        }
        span
    }

    /// Whether nothing lives any more that was charged before the mark.
    #[must_use]
    pub fn is_past(&self, mark: u64) -> bool {
        // Spans further back than there are slots must have ended, or the present one could not have begun.
        let first = self.span.load(Ordering::SeqCst).saturating_sub(SPANS as u64 - 1);
        (first..=mark).all(|span| self.slot(span).load(Ordering::SeqCst) == 0)
    }

    fn slot(&self, span: u64) -> &AtomicU64 {
        // The remainder is below the length of the array.
        &self.live[(span % SPANS as u64) as usize]
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

    /// Raises the charge to `bytes`, while nobody shares it. It never sinks.
    pub fn grow(&mut self, bytes: u64) {
        if let Some(charge) = self.0.first_mut().and_then(Arc::get_mut) {
            let more = bytes.saturating_sub(charge.bytes);
            charge.budget.held.fetch_add(more, Ordering::Relaxed);
            charge.bytes += more;
        }
    }
}

#[derive(Debug)]
struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
    span: u64,
}

impl Charge {
    fn new(budget: Arc<Budget>, bytes: u64) -> Self {
        budget.held.fetch_add(bytes, Ordering::Relaxed);
        let span = budget.span.load(Ordering::SeqCst);
        budget.slot(span).fetch_add(1, Ordering::SeqCst);
        Self { budget, bytes, span }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.slot(self.span).fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_past_when_everything_older_is_gone() {
        let budget = Arc::new(Budget::default());
        let old = budget.hold(1);
        let first = budget.mark();
        let new = budget.hold(1);
        assert!(!budget.is_past(first));
        drop(old);
        assert!(budget.is_past(first), "what came after the mark does not count");
        let second = budget.mark();
        assert!(!budget.is_past(second));
        // More marks than there are slots, while one charge lives on.
        let last = (0..40).fold(0, |_, _| budget.mark());
        assert!(!budget.is_past(last) && !budget.is_past(second));
        let newest = budget.hold(1);
        drop(new);
        assert!(budget.is_past(second));
        drop(newest);
        assert!(budget.is_past(budget.mark()));
    }

    #[test]
    fn bytes_count_until_the_last_holder_drops_them() {
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
}
