//! The count of bytes that the collector holds.
//!
//! Every body is charged when its buffer is made and discharged when its last holder drops it, so the count is exact by
//! construction. The memory limiter reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

/// A shared count of held bytes.
#[derive(Debug, Default)]
pub struct Budget {
    held: AtomicU64,
}

impl Budget {
    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
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
}

impl Charge {
    fn new(budget: Arc<Budget>, bytes: u64) -> Self {
        budget.held.fetch_add(bytes, Ordering::Relaxed);
        Self { budget, bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
