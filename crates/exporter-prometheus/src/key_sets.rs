//! What series have in common: those of one stream whose points have the same attribute keys.
//!
//! There may be a million series, but few sets of keys: a series itself has only the values.

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use otelcore_prometheus_translation::LabelTemplate;
use smallvec::SmallVec;

use crate::identity::Texts;
use crate::series::allocated;

/// The series of one stream whose points have the same attribute keys.
pub(crate) struct KeySet {
    pub(crate) stream: usize,
    /// The sorted keys, as identity bytes.
    pub(crate) keys: Box<[u8]>,
    /// The labels of its series without their values; none if a label is invalid in all of them.
    pub(crate) template: Option<LabelTemplate>,
    /// Each key is one label, and these are in the order of the keys, which is so of nearly all.
    is_in_order: bool,
    pub(crate) series_count: u64,
}

/// The values of a point's attributes, on the stack.
pub(crate) type Values<'a> = SmallVec<[&'a [u8]; 12]>;

/// The values of identity bytes.
pub(crate) fn values_of(values: &[u8]) -> Values<'_> {
    Texts(values).collect()
}

impl KeySet {
    pub(crate) fn new(stream: usize, keys: &[u8], template: Option<LabelTemplate>) -> Self {
        let count = Texts(keys).count();
        let is_in_order = template.as_ref().is_some_and(|template| template.is_in_order_of_attributes(count));
        Self { stream, keys: keys.into(), template, is_in_order, series_count: 0 }
    }

    /// The order of the labels of two of its series, by their values.
    pub(crate) fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        match &self.template {
            Some(_) if self.is_in_order => Texts(a).cmp(Texts(b)),
            Some(template) => template.compare(&values_of(a), template, &values_of(b)),
            None => Ordering::Equal,
        }
    }

    /// Bytes charged for it, with its entry in the index.
    pub(crate) fn charged_bytes(&self) -> u64 {
        let template = self.template.as_ref().map_or(0, LabelTemplate::allocated_bytes);
        // The template consists of three allocations.
        (size_of::<Self>() + 6 * size_of::<usize>()) as u64 + allocated(self.keys.len()) + 2 * allocated(template)
    }

    /// Bytes that a comparison may read beside the values.
    pub(crate) fn len(&self) -> u64 {
        self.template.as_ref().map_or(0, LabelTemplate::allocated_bytes) as u64
    }
}

/// The hash of bytes of a key set or a stream.
pub(crate) fn hash_with_seed(hasher: &FixedState, seed: usize, bytes: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_usize(seed);
    hasher.write(bytes);
    hasher.finish()
}
