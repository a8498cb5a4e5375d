//! Exponential histograms: the stored buckets, sums of deltas of different scales, and their form as native histograms.
//!
//! A bucket `i` of scale `s` has the upper bound `2^((i + 1) * 2^-s)`. A scale that is lower by one joins two buckets,
//! `2i` and `2i + 1`, into `i`. A native histogram counts its indices from one, not from zero. Pure functions of counts; no
//! clock, no series.

use otelcore_exposition::TraceExemplar;
use otelcore_exposition::protobuf::NativeHistogramValue;
use otelcore_pdata::views::{Buckets, ExponentialHistogramPoint, KeyValue, RepeatedMessages, Temporality};

use crate::dropped_points::DropReason;
use crate::series_state::{
    DataPoint, HistogramUpdate, MAX_BUCKETS, MAX_EXEMPLARS, SeriesState, StoredValue, UpdateResult, histogram_update,
};

/// The scales of native histograms.
const MIN_SCALE: i32 = -4;
const MAX_SCALE: i32 = 8;

/// The threshold of a point that has none, as in the Go collector.
const DEFAULT_ZERO_THRESHOLD: f64 = 1e-128;

/// Consecutive buckets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct BucketRun {
    /// The index of the first.
    offset: i64,
    counts: Vec<u64>,
}

/// An exponential histogram as it arrived, or the sum of several.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct NativeValue {
    pub(crate) count: u64,
    /// None if a part of it has no sum.
    sum: Option<f64>,
    scale: i32,
    zero_threshold: f64,
    zero_count: u64,
    positive: BucketRun,
    negative: BucketRun,
}

impl BucketRun {
    fn replace(&mut self, buckets: &Buckets<'_>) {
        self.counts.clear();
        self.counts.extend(buckets.bucket_counts());
        self.offset = if self.counts.is_empty() { 0 } else { i64::from(buckets.offset.0) };
    }

    /// Joins buckets: their scale becomes lower by `shift`.
    fn downscale(&mut self, shift: u32) {
        if shift == 0 || self.counts.is_empty() {
            return;
        }
        let shift = shift.min(62);
        let first = self.offset >> shift;
        let mut joined = 0;
        for at in 0..self.counts.len() {
            let to = usize::try_from(((self.offset + at as i64) >> shift) - first).unwrap_or(0);
            let count = self.counts.get(at).copied().unwrap_or(0);
            // `to` is never after `at`, so that no count is overwritten before it is read.
            if let Some(sum) = self.counts.get_mut(to) {
                *sum = if to == joined && at > 0 { sum.wrapping_add(count) } else { count };
            }
            joined = to;
        }
        self.counts.truncate(joined + 1);
        self.offset = first;
    }

    /// The first index and the one after the last, at a scale that is lower by `shift`. None if there are no buckets.
    fn range_at(&self, shift: i32) -> Option<(i64, i64)> {
        let shift = shift.clamp(0, 62);
        let last = self.offset + i64::try_from(self.counts.len()).ok()?.checked_sub(1).filter(|n| *n >= 0)?;
        Some((self.offset >> shift, (last >> shift) + 1))
    }

    /// Adds buckets of the same scale, which with these are not more than [`MAX_BUCKETS`].
    fn add(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.clone_from(other);
            return;
        }
        if other.counts.is_empty() {
            return;
        }
        let first = self.offset.min(other.offset);
        let end = |run: &Self| run.offset + run.counts.len() as i64;
        let len = usize::try_from(end(self).max(end(other)) - first).unwrap_or(0);
        let before = usize::try_from(self.offset - first).unwrap_or(0);
        self.counts.splice(0..0, std::iter::repeat_n(0, before));
        self.counts.resize(len, 0);
        let at = usize::try_from(other.offset - first).unwrap_or(0);
        for (sum, count) in self.counts.iter_mut().skip(at).zip(&other.counts) {
            *sum = sum.wrapping_add(*count);
        }
        self.offset = first;
    }

    /// Removes the buckets whose upper bounds are not above the threshold. Returns their counts.
    fn take_below(&mut self, threshold: f64, scale: i32) -> u64 {
        let upper = |index: i64| ((index + 1) as f64 * f64::from(-scale).exp2()).exp2();
        let below = (0..self.counts.len()).take_while(|at| upper(self.offset + *at as i64) <= threshold).count();
        let taken = self.counts.drain(..below).fold(0_u64, u64::wrapping_add);
        self.offset = if self.counts.is_empty() { 0 } else { self.offset + below as i64 };
        taken
    }
}

impl NativeValue {
    fn replace(&mut self, point: &ExponentialHistogramPoint<'_>) {
        self.count = point.count;
        self.sum = point.sum;
        self.scale = point.scale.0;
        self.zero_threshold = point.zero_threshold;
        self.zero_count = point.zero_count;
        self.positive.replace(&point.positive);
        self.negative.replace(&point.negative);
    }

    fn downscale(&mut self, scale: i32) {
        let shift = self.scale.saturating_sub(scale).max(0).cast_unsigned();
        self.positive.downscale(shift);
        self.negative.downscale(shift);
        self.scale = self.scale.min(scale);
    }

    /// Adds a histogram: at the lower scale and the higher threshold of both, or at a lower scale if there would be more
    /// than [`MAX_BUCKETS`]. False if the buckets are too far apart at every scale; then nothing is added.
    fn add(&mut self, mut other: Self) -> bool {
        let mut scale = self.scale.min(other.scale);
        let fits = |own: &BucketRun, own_scale: i32, added: &BucketRun, added_scale: i32, scale: i32| {
            let ranges =
                own.range_at(own_scale.saturating_sub(scale)).zip(added.range_at(added_scale.saturating_sub(scale)));
            ranges.is_none_or(|(a, b)| a.1.max(b.1) - a.0.min(b.0) <= MAX_BUCKETS as i64)
        };
        while !fits(&self.positive, self.scale, &other.positive, other.scale, scale)
            || !fits(&self.negative, self.scale, &other.negative, other.scale, scale)
        {
            if scale == MIN_SCALE {
                return false;
            }
            scale -= 1;
        }
        let zero_threshold = self.zero_threshold.max(other.zero_threshold);
        for histogram in [&mut *self, &mut other] {
            histogram.downscale(scale);
            histogram.raise_threshold(zero_threshold);
        }
        self.positive.add(&other.positive);
        self.negative.add(&other.negative);
        self.zero_count = self.zero_count.wrapping_add(other.zero_count);
        self.count = self.count.wrapping_add(other.count);
        self.sum = self.sum.zip(other.sum).map(|(a, b)| a + b);
        true
    }

    /// Counts buckets that a higher threshold covers as zero.
    fn raise_threshold(&mut self, threshold: f64) {
        if threshold > self.zero_threshold {
            for run in [&mut self.positive, &mut self.negative] {
                self.zero_count = self.zero_count.wrapping_add(run.take_below(threshold, self.scale));
            }
            self.zero_threshold = threshold;
        }
    }

    pub(crate) fn charged_bytes(&self) -> u64 {
        (size_of::<Self>() + 8 * (self.positive.counts.capacity() + self.negative.counts.capacity())) as u64
    }

    pub(crate) fn sum(&self) -> f64 {
        self.sum.unwrap_or(0.0)
    }

    /// Number of buckets.
    pub(crate) fn bucket_count(&self) -> usize {
        self.positive.counts.len() + self.negative.counts.len()
    }

    /// Passes the histogram as a native one to `write`: at a scale of at most 8.
    pub(crate) fn with_native<R>(
        &self,
        exemplars: &[TraceExemplar],
        write: impl FnOnce(NativeHistogramValue<'_>) -> R,
    ) -> R {
        let mut downscaled = None;
        let value = if self.scale > MAX_SCALE {
            let value = downscaled.insert(self.clone());
            value.downscale(MAX_SCALE);
            &*value
        } else {
            self
        };
        let run = |run: &BucketRun| i32::try_from(run.offset + 1).unwrap_or(i32::MAX);
        write(NativeHistogramValue {
            sum: value.sum(),
            count: value.count,
            schema: value.scale,
            zero_threshold: if value.zero_threshold == 0.0 { DEFAULT_ZERO_THRESHOLD } else { value.zero_threshold },
            zero_count: value.zero_count,
            positive: (run(&value.positive), &value.positive.counts),
            negative: (run(&value.negative), &value.negative.counts),
            exemplars,
        })
    }
}

impl<'a> DataPoint<'a> for ExponentialHistogramPoint<'a> {
    /// Most buckets are one byte, and are visited several times.
    const UNITS_PER_BYTE: u64 = 4;

    fn raw(&self) -> &'a [u8] {
        self.raw
    }

    fn flags(&self) -> u32 {
        self.flags
    }

    fn attributes(&self) -> RepeatedMessages<'a, KeyValue<'a>> {
        self.attributes()
    }

    fn bucket_count(&self) -> usize {
        let count = |buckets: &Buckets<'_>| buckets.bucket_counts().take(MAX_BUCKETS + 1).count();
        count(&self.positive) + count(&self.negative)
    }

    fn charged_bytes(&self) -> u64 {
        let cells = self.positive.bucket_counts().count() + self.negative.bucket_counts().count();
        (size_of::<NativeValue>() + 8 * cells) as u64
    }

    fn drop_reason(&self) -> Option<DropReason> {
        if self.scale.0 < MIN_SCALE {
            return Some(DropReason::ExponentialScale);
        }
        let end = |buckets: &Buckets<'_>| i64::from(buckets.offset.0) + buckets.bucket_counts().count() as i64;
        if end(&self.positive).max(end(&self.negative)) > i64::from(i32::MAX) {
            return Some(DropReason::TooLarge);
        }
        let counts = self.positive.bucket_counts().chain(self.negative.bucket_counts());
        let total = counts.fold(self.zero_count, u64::wrapping_add);
        // What is not a number is in no bucket, and makes the sum not a number.
        let is_consistent = total == self.count || (self.sum.is_some_and(f64::is_nan) && total < self.count);
        (!is_consistent).then_some(DropReason::BucketCounts)
    }

    fn initial_state(&self, keeps_exemplars: bool) -> SeriesState {
        let mut value = Box::<NativeValue>::default();
        value.replace(self);
        let mut state = SeriesState::new(self.start_time_unix_nano, self.time_unix_nano, StoredValue::Native(value));
        if keeps_exemplars {
            state.set_exemplars(self.exemplars(), MAX_EXEMPLARS);
        }
        state
    }

    fn update(&self, state: &mut SeriesState, temporality: Temporality, keeps_exemplars: bool) -> UpdateResult {
        let (start, time) = (self.start_time_unix_nano.cast_signed(), self.time_unix_nano.cast_signed());
        let StoredValue::Native(value) = &mut state.value else {
            return UpdateResult::Refused(DropReason::Temporality);
        };
        match histogram_update(temporality, (start, time), state.time) {
            HistogramUpdate::Refuse(reason) => return UpdateResult::Refused(reason),
            HistogramUpdate::Add => {
                let mut added = NativeValue::default();
                added.replace(self);
                if !value.add(added) {
                    return UpdateResult::Refused(DropReason::TooLarge);
                }
                if time < state.time {
                    state.start = start;
                } else {
                    state.time = time;
                }
                state.set_exemplars(std::iter::empty(), 0);
            }
            HistogramUpdate::Replace => {
                value.replace(self);
                (state.start, state.time) = (start, time);
                if keeps_exemplars {
                    state.set_exemplars(self.exemplars(), MAX_EXEMPLARS);
                }
            }
        }
        UpdateResult::Applied
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(offset: i64, counts: &[u64]) -> BucketRun {
        BucketRun { offset, counts: counts.to_vec() }
    }

    #[test]
    fn lower_scale_joins_pairs_of_buckets_below_and_above_zero() {
        let mut buckets = run(-3, &[1, 2, 4, 8, 16]);
        buckets.downscale(1);
        // -3 | -2 -1 | 0 1
        assert_eq!(buckets, run(-2, &[1, 6, 24]));
        buckets.downscale(40);
        assert_eq!(buckets, run(-1, &[7, 24]));
    }

    #[test]
    fn buckets_below_a_higher_threshold_are_counted_as_zero() {
        let value = |threshold, offset, counts: &[u64]| NativeValue {
            count: counts.iter().sum(),
            sum: Some(1.0),
            scale: 1,
            zero_threshold: threshold,
            positive: run(offset, counts),
            negative: run(offset, counts),
            ..NativeValue::default()
        };
        // Bounds of scale 1: index 1 ends at 2, index 2 at 2.83.
        let mut sum = value(0.0, 0, &[1, 2, 4]);
        assert!(sum.add(value(2.0, 3, &[8])));
        assert_eq!((sum.zero_count, sum.zero_threshold), (6, 2.0));
        assert_eq!(sum.positive, run(2, &[4, 8]));
        assert_eq!(sum.negative, sum.positive);
    }

    #[test]
    fn buckets_that_are_far_apart_are_added_at_a_lower_scale_or_not_at_all() {
        let value =
            |scale, offset| NativeValue { count: 1, scale, positive: run(offset, &[1]), ..NativeValue::default() };
        let mut sum = value(3, 0);
        assert!(sum.add(value(3, 100_000)));
        assert_eq!((sum.scale, sum.positive.counts.len()), (2, 50_001));
        assert_eq!(sum.positive.counts.iter().sum::<u64>(), 2);
        let before = sum.clone();
        assert!(!sum.add(value(0, i64::from(i32::MIN))));
        assert_eq!(sum, before);
    }

    proptest! {
        #[test]
        fn sum_of_two_histograms_has_the_counts_of_both(
            (a_scale, a_offset) in (-4..12_i32, -300..300_i64),
            (b_scale, b_offset) in (-4..12_i32, -300..300_i64),
            a_counts in proptest::collection::vec(0..9_u64, 0..40),
            b_counts in proptest::collection::vec(0..9_u64, 0..40),
        ) {
            let value = |scale, offset, counts: &[u64]| NativeValue {
                count: counts.iter().sum(),
                scale,
                positive: run(if counts.is_empty() { 0 } else { offset }, counts),
                ..NativeValue::default()
            };
            let scale = a_scale.min(b_scale);
            let mut expected = std::collections::BTreeMap::<i64, u64>::new();
            for (own, offset, counts) in [(a_scale, a_offset, &a_counts), (b_scale, b_offset, &b_counts)] {
                for (i, count) in counts.iter().enumerate() {
                    *expected.entry((offset + i as i64) >> (own - scale)).or_default() += count;
                }
            }
            let mut sum = value(a_scale, a_offset, &a_counts);
            prop_assert!(sum.add(value(b_scale, b_offset, &b_counts)));
            prop_assert_eq!(sum.scale, scale);
            prop_assert_eq!(sum.count, expected.values().sum::<u64>());
            for (i, count) in sum.positive.counts.iter().enumerate() {
                prop_assert_eq!(expected.remove(&(sum.positive.offset + i as i64)).unwrap_or(0), *count);
            }
            prop_assert!(expected.is_empty());
        }
    }
}
