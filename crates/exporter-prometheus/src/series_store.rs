//! The series by number and by identity, their labels and the order of these. Does not decide what is shown.

use std::cmp::Ordering;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use otelcore_exposition::{compare_blocks, has_escapes};

use crate::key_sets::{KeySet, hash_with_seed, values_of};
use crate::label_sets::LabelSetKey;
use crate::partitioned::{PartitionedIndex, PartitionedSlab};
use crate::series::Series;

/// All series, and the sets of keys of their attributes.
pub(crate) struct SeriesStore {
    hasher: FixedState,
    series: PartitionedSlab<Series>,
    index: PartitionedIndex,
    key_sets: PartitionedSlab<KeySet>,
    key_set_index: PartitionedIndex,
}

impl SeriesStore {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self {
            hasher,
            series: PartitionedSlab::default(),
            index: PartitionedIndex::default(),
            key_sets: PartitionedSlab::default(),
            key_set_index: PartitionedIndex::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    #[inline]
    pub(crate) fn get(&self, slot: usize) -> Option<&Series> {
        self.series.get(slot)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut Series> {
        self.series.get_mut(slot)
    }

    /// How many parts there are.
    pub(crate) fn parts(&self) -> usize {
        self.series.parts()
    }

    /// Numbers and series of one part.
    pub(crate) fn part(&self, part: usize) -> impl Iterator<Item = (usize, &Series)> {
        self.series.part(part)
    }

    /// Numbers that were moved in an index since the last call.
    pub(crate) fn take_moved(&mut self) -> u64 {
        self.index.take_moved() + self.key_set_index.take_moved()
    }

    #[inline]
    pub(crate) fn key_set(&self, id: usize) -> Option<&KeySet> {
        self.key_sets.get(id)
    }

    #[inline]
    pub(crate) fn key_set_of(&self, series: &Series) -> Option<&KeySet> {
        self.key_sets.get(series.key_set.get())
    }

    pub(crate) fn stream_of(&self, series: &Series) -> Option<usize> {
        Some(self.key_set_of(series)?.stream)
    }

    pub(crate) fn find_key_set(&self, stream: usize, keys: &[u8]) -> Option<usize> {
        let same = |id: usize| self.key_sets.get(id).is_some_and(|set| set.stream == stream && *set.keys == *keys);
        self.key_set_index.find(hash_with_seed(&self.hasher, stream, keys), same)
    }

    pub(crate) fn add_key_set(&mut self, key_set: KeySet) -> usize {
        let hash = hash_with_seed(&self.hasher, key_set.stream, &key_set.keys);
        let id = self.key_sets.insert(key_set);
        self.key_set_index.insert(hash, id);
        id
    }

    pub(crate) fn find(&self, key_set: usize, values: &[u8]) -> Option<usize> {
        let same = |slot| self.get(slot).is_some_and(|s| s.key_set.get() == key_set && *s.values == *values);
        self.index.find(hash_with_seed(&self.hasher, key_set, values), same)
    }

    /// Adds a series with a new identity.
    pub(crate) fn insert(&mut self, series: Series) -> usize {
        if let Some(key_set) = self.key_sets.get_mut(series.key_set.get()) {
            key_set.series_count += 1;
        }
        let hash = hash_with_seed(&self.hasher, series.key_set.get(), &series.values);
        let slot = self.series.insert(series);
        self.index.insert(hash, slot);
        slot
    }

    /// Removes a series; also returns its set of keys if that was its last series.
    pub(crate) fn remove(&mut self, slot: usize) -> Option<(Series, Option<KeySet>)> {
        let series = self.series.remove(slot)?;
        let id = series.key_set.get();
        self.index.remove(hash_with_seed(&self.hasher, id, &series.values), slot);
        let mut unused = None;
        if let Some(key_set) = self.key_sets.get_mut(id) {
            key_set.series_count = key_set.series_count.saturating_sub(1);
            if key_set.series_count == 0 {
                self.key_set_index.remove(hash_with_seed(&self.hasher, key_set.stream, &key_set.keys), id);
                unused = self.key_sets.remove(id);
            }
        }
        Some((series, unused))
    }

    /// Appends the labels of a series as they are on a page without escaping.
    pub(crate) fn write_labels(&self, series: &Series, out: &mut Vec<u8>) {
        if let Some(template) = self.key_set_of(series).and_then(|set| set.template.as_ref()) {
            // The length of a value may look like what is escaped, in which case each is looked at.
            template.write(&values_of(&series.values), !has_escapes(&series.values), out);
        }
    }

    /// The hash of labels as pages without UTF-8 names have them, sorted.
    pub(crate) fn hash_of_escaped(&self, block: &[u8]) -> u64 {
        self.hasher.hash_one(block)
    }

    /// Whether names of a series' labels are escaped for pages without UTF-8 names.
    pub(crate) fn has_quoted_names(&self, series: &Series) -> bool {
        let template = self.key_set_of(series).and_then(|set| set.template.as_ref());
        template.is_some_and(|template| template.has_quoted_names())
    }

    /// The labels of a series as a key.
    pub(crate) fn labels(&self, series: &Series) -> LabelSetKey {
        let mut block = Vec::new();
        self.write_labels(series, &mut block);
        LabelSetKey {
            block: block.into(),
            labels: self.label_count(series),
            has_quoted_names: self.has_quoted_names(series),
        }
    }

    fn label_count(&self, series: &Series) -> u32 {
        let template = self.key_set_of(series).and_then(|set| set.template.as_ref());
        u32::try_from(template.map_or(0, |template| template.label_count())).unwrap_or(u32::MAX)
    }

    /// The order of the labels of two series.
    pub(crate) fn compare(&self, a: &Series, b: &Series) -> Ordering {
        #[cfg(test)]
        crate::label_sets::COMPARED.with(|n| n.set(n.get() + a.values.len().min(b.values.len()) as u64 + 50));
        let (x, y) = (self.key_set_of(a), self.key_set_of(b));
        if let Some(set) = x.filter(|_| a.key_set == b.key_set) {
            return set.compare(&a.values, &b.values);
        }
        match (x.and_then(|set| set.template.as_ref()), y.and_then(|set| set.template.as_ref())) {
            (Some(x), Some(y)) => x.compare(&values_of(&a.values), y, &values_of(&b.values)),
            (x, y) => x.is_some().cmp(&y.is_some()),
        }
    }

    /// The order of the labels of a series and of a key. `block` is reused.
    pub(crate) fn compare_with(&self, series: &Series, labels: &LabelSetKey, block: &mut Vec<u8>) -> Ordering {
        block.clear();
        self.write_labels(series, block);
        #[cfg(test)]
        crate::label_sets::COMPARED.with(|n| n.set(n.get() + block.len() as u64 + 50));
        let count = self.label_count(series);
        compare_blocks((block, count as usize), (&labels.block, labels.labels as usize))
    }

    /// Units of work for a comparison of the labels of a series with those of another one.
    pub(crate) fn comparison_cost(&self, series: &Series) -> u64 {
        150 + (series.values.len() as u64 + self.key_set_of(series).map_or(0, KeySet::len)) / 8
    }
}
