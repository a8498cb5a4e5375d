//! An exponential histogram of measurements that are not negative. It begins with the finest buckets, and joins neighbours
//! where the measurements need more buckets than there may be. Buckets and scales are those of the Go collector for the
//! same measurements in the same order.
//!
//! Writes no times and attributes of a point: these are its caller's.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::build::ExponentialHistogramPointWriter;

/// The finest scale: a bucket is wider than the one before it by the factor 2^(2^-20).
const MAX_SCALE: i32 = 20;

/// Collects measurements that are not negative, such as durations. A negative one counts as zero.
#[derive(Clone, Debug)]
pub struct ExponentialRecorder {
    max_buckets: usize,
    scale: i32,
    /// The index of the first bucket.
    start: i32,
    counts: VecDeque<u64>,
    count: u64,
    zero_count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

/// The index of the bucket of a positive value. The upper bound belongs to a bucket, the lower one does not.
fn index_of(value: f64, scale: i32) -> i32 {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let is_power_of_two = bits & ((1 << 52) - 1) == 0;
    if scale <= 0 {
        return (exponent - i32::from(is_power_of_two)) >> -scale;
    }
    if is_power_of_two {
        return (exponent << scale) - 1;
    }
    // Exact: a multiplication by a power of two.
    let buckets_per_e = std::f64::consts::LOG2_E * f64::from(1 << scale);
    (value.ln() * buckets_per_e).floor() as i32
}

impl ExponentialRecorder {
    /// The numbers of buckets that the Go collector's histogram accepts.
    pub const SIZES: RangeInclusive<usize> = 2..=16_384;

    /// With at most so many buckets, or the nearest of [`ExponentialRecorder::SIZES`].
    #[must_use]
    pub fn new(max_buckets: usize) -> Self {
        Self {
            max_buckets: max_buckets.clamp(*Self::SIZES.start(), *Self::SIZES.end()),
            scale: MAX_SCALE,
            start: 0,
            counts: VecDeque::new(),
            count: 0,
            zero_count: 0,
            sum: 0.0,
            min: 0.0,
            max: 0.0,
        }
    }

    /// Records a value so many times.
    pub fn record(&mut self, value: f64, times: u64) {
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        } else {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
        self.count = self.count.wrapping_add(times);
        if value <= 0.0 {
            self.zero_count = self.zero_count.wrapping_add(times);
            return;
        }
        self.sum += value * times as f64;
        let mut index = index_of(value, self.scale);
        let (mut low, mut high) = (index, index);
        if !self.counts.is_empty() {
            low = low.min(self.start);
            high = high.max(self.end());
        }
        let mut by = 0;
        while high.abs_diff(low) as usize >= self.max_buckets {
            (low, high, by) = (low >> 1, high >> 1, by + 1);
        }
        if by > 0 {
            self.coarsen(by);
            index = index_of(value, self.scale);
        }
        self.add(index, times);
    }

    /// The number of buckets, also of empty ones between others.
    #[must_use]
    pub fn bucket_count(&self) -> usize {
        self.counts.len()
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<u64>()
    }

    /// Writes the measurements.
    pub fn write(&self, point: &mut ExponentialHistogramPointWriter<'_>) {
        // Without any bucket the scale does not matter.
        let scale = if self.counts.is_empty() { 0 } else { self.scale };
        point.count(self.count).sum(self.sum).scale(scale).zero_count(self.zero_count);
        if self.count > 0 {
            point.min(self.min).max(self.max);
        }
        if !self.counts.is_empty() {
            let counts: Vec<u64> = self.counts.iter().copied().collect();
            point.positive().offset(self.start).bucket_counts(&counts);
        }
    }

    /// The index of the last bucket.
    fn end(&self) -> i32 {
        self.start + self.counts.len() as i32 - 1
    }

    /// Joins each `2^by` buckets.
    fn coarsen(&mut self, by: u32) {
        self.scale -= by as i32;
        let start = self.start >> by;
        let mut joined: VecDeque<u64> = VecDeque::new();
        for (at, count) in self.counts.iter().enumerate() {
            let index = (((self.start + at as i32) >> by) - start) as usize;
            match joined.get_mut(index) {
                Some(sum) => *sum = sum.wrapping_add(*count),
                None => joined.push_back(*count),
            }
        }
        self.start = start;
        self.counts = joined;
    }

    /// Adds to a bucket that is near enough to the others.
    fn add(&mut self, index: i32, times: u64) {
        if self.counts.is_empty() {
            self.start = index;
        }
        while index < self.start {
            self.counts.push_front(0);
            self.start -= 1;
        }
        let at = (index - self.start) as usize;
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.wrapping_add(times);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(histogram: &ExponentialRecorder) -> (i32, i32, Vec<u64>) {
        (histogram.scale, histogram.start, Vec::from(histogram.counts.clone()))
    }

    #[test]
    fn buckets_of_few_values_are_fine_and_join_when_values_are_far_apart() {
        let mut histogram = ExponentialRecorder::new(4);
        histogram.record(1.0, 1);
        assert_eq!(buckets(&histogram), (20, -1, vec![1]));
        histogram.record(0.0, 2);
        assert_eq!((histogram.zero_count, histogram.count, histogram.min), (2, 3, 0.0));
        // 2 and 16 are the upper bounds of their buckets.
        histogram.record(2.0, 1);
        histogram.record(16.0, 3);
        assert_eq!(buckets(&histogram), (-1, -1, vec![1, 1, 3]));
        assert_eq!((histogram.sum, histogram.max), (51.0, 16.0));
    }

    #[test]
    fn buckets_are_joined_where_there_would_be_too_many() {
        let mut histogram = ExponentialRecorder::new(4);
        [1.0, 2.0, 4.0].into_iter().for_each(|value| histogram.record(value, 1));
        assert_eq!(buckets(&histogram), (0, -1, vec![1, 1, 1]));
        histogram.record(0.0, 1);
        histogram.record(100.0, 1);
        assert_eq!(buckets(&histogram), (-2, -1, vec![1, 2, 1]));
        assert_eq!((histogram.count, histogram.zero_count, histogram.sum), (5, 1, 107.0));
        assert_eq!((histogram.min, histogram.max), (0.0, 100.0));
    }

    #[test]
    fn number_of_buckets_is_bounded_for_any_values() {
        let mut histogram = ExponentialRecorder::new(2);
        let mut value = 1e-9;
        while value < 2e13 {
            histogram.record(value, 1);
            histogram.record(1e13 / value, 1);
            assert!(histogram.bucket_count() <= 2);
            value *= 1.7;
        }
        for exponent in (-30..64).chain((-30..64).rev()) {
            histogram.record(2_f64.powi(exponent) * 1.3, 1);
            assert!(histogram.bucket_count() <= 2);
        }
        assert_eq!(histogram.counts.iter().sum::<u64>(), histogram.count);
    }

    #[test]
    fn ends_of_the_doubles_are_recorded() {
        let mut histogram = ExponentialRecorder::new(2);
        for value in [f64::MIN_POSITIVE, f64::MAX, 5e-324, f64::INFINITY, f64::NAN, -1.0] {
            histogram.record(value, 1);
        }
        assert_eq!((histogram.zero_count, histogram.counts.iter().sum::<u64>()), (1, 5));
    }

    #[test]
    fn size_that_go_does_not_accept_is_replaced_by_the_nearest() {
        for (size, expected) in [(0, 2), (1, 2), (2, 2), (16_384, 16_384), (usize::MAX, 16_384)] {
            assert_eq!(ExponentialRecorder::new(size).max_buckets, expected, "{size}");
        }
    }
}
