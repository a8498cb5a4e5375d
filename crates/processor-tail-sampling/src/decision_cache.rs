//! Decisions of traces that are not held any more, the ones used last.

use std::collections::BTreeMap;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use crate::traces::TraceId;

/// Bytes of memory that an entry takes in both tables, about.
pub(crate) const ENTRY_BYTES: u64 = 128;

/// A set of ids with a bound; the id that was used longest ago leaves first.
#[derive(Debug)]
pub(crate) struct DecisionCache {
    size: usize,
    /// The number of the last use of each id.
    uses: HashMap<TraceId, u64, RandomState>,
    /// The ids by the number of their last use.
    order: BTreeMap<u64, TraceId>,
    next_use: u64,
}

impl DecisionCache {
    /// A cache that remembers up to `size` ids; none with zero.
    pub(crate) fn new(size: usize) -> Self {
        Self { size, uses: HashMap::default(), order: BTreeMap::new(), next_use: 0 }
    }

    /// Whether an id is known; that counts as a use.
    pub(crate) fn use_id(&mut self, id: &TraceId) -> bool {
        let Some(last_use) = self.uses.get_mut(id) else { return false };
        self.order.remove(last_use);
        *last_use = self.next_use;
        self.order.insert(self.next_use, *id);
        self.next_use += 1;
        true
    }

    /// Remembers an id; returns whether this cache remembers anything.
    pub(crate) fn insert(&mut self, id: TraceId) -> bool {
        if self.size == 0 {
            return false;
        }
        if !self.use_id(&id) {
            if self.uses.len() >= self.size
                && let Some((_, oldest)) = self.order.pop_first()
            {
                self.uses.remove(&oldest);
            }
            self.uses.insert(id, self.next_use);
            self.order.insert(self.next_use, id);
            self.next_use += 1;
        }
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.uses.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_that_was_used_longest_ago_leaves_first() {
        let id = |n: u8| [n; 16];
        let mut cache = DecisionCache::new(2);
        assert!(cache.insert(id(1)) && cache.insert(id(2)));
        assert!(cache.use_id(&id(1)));
        cache.insert(id(3));
        assert_eq!([1, 2, 3].map(|n| cache.use_id(&id(n))), [true, false, true]);
        assert_eq!(cache.len(), 2);
        let mut none = DecisionCache::new(0);
        assert!(!none.insert(id(1)) && !none.use_id(&id(1)));
    }
}
