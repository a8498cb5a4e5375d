//! Labels as keys, in their order, and series that are equal where names of labels are escaped.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use otelcore_exposition::compare_blocks;
use otelcore_prometheus_translation::LabelBlock;

/// The labels of a series or of `target_info`, as the position where a page continues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LabelSetKey {
    pub(crate) block: Rc<[u8]>,
    pub(crate) labels: u32,
    /// Some names are escaped for pages without UTF-8 names.
    pub(crate) has_quoted_names: bool,
}

impl LabelSetKey {
    pub(crate) fn of(labels: LabelBlock) -> Self {
        Self { block: labels.bytes, labels: labels.label_count, has_quoted_names: labels.has_quoted_names }
    }
}

/// Series whose labels are equal on a page. If there are several, the oldest one is the first.
#[derive(Debug)]
pub(crate) struct EqualLabelSeries {
    pub(crate) oldest: (u64, usize),
    /// The younger ones, by number; most places have none.
    #[expect(clippy::box_collection, reason = "eight bytes where there is one series, not twenty-four")]
    younger: Option<Box<BTreeMap<u64, usize>>>,
}

impl EqualLabelSeries {
    pub(crate) fn new(seq: u64, slot: usize) -> Self {
        Self { oldest: (seq, slot), younger: None }
    }

    /// The slot of the oldest.
    pub(crate) fn oldest(&self) -> usize {
        self.oldest.1
    }

    /// Adds a series. Returns the slot that is now a younger one.
    pub(crate) fn add(&mut self, seq: u64, slot: usize) -> usize {
        let new = (seq, slot);
        let (first, younger) = if seq < self.oldest.0 { (new, self.oldest) } else { (self.oldest, new) };
        self.oldest = first;
        self.younger.get_or_insert_default().insert(younger.0, younger.1);
        younger.1
    }

    /// Removes a series. Returns the slot that is now the oldest, if that changed; `Err` when it was the only series.
    pub(crate) fn remove(&mut self, seq: u64) -> Result<Option<usize>, ()> {
        let is_first = self.oldest.0 == seq;
        let Some(younger) = &mut self.younger else { return if is_first { Err(()) } else { Ok(None) } };
        let successor = if is_first { younger.pop_first() } else { None };
        younger.remove(&seq);
        if younger.is_empty() {
            self.younger = None;
        }
        self.oldest = successor.unwrap_or(self.oldest);
        Ok(successor.map(|(_, slot)| slot))
    }
}

impl Ord for LabelSetKey {
    fn cmp(&self, other: &Self) -> Ordering {
        #[cfg(test)]
        COMPARED.with(|n| n.set(n.get() + self.block.len().min(other.block.len()) as u64 + 50));
        compare_blocks((&self.block, self.labels as usize), (&other.block, other.labels as usize))
    }
}

impl PartialOrd for LabelSetKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

// Work done so far for comparisons of places.
#[cfg(test)]
thread_local!(pub(crate) static COMPARED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });

/// Bytes of a [`LabelSetKey`] in a tree, with its share of the nodes. The block is charged apart.
pub(crate) const LABEL_SET_KEY_BYTES: usize = 2 * size_of::<LabelSetKey>();
