//! An exponential histogram of durations: it begins with the finest buckets, and joins neighbours where the durations need
//! more buckets than there may be. Buckets and scales are those of the Go collector for the same durations in the same
//! order. Values are not negative and far from the limits of doubles.

use std::collections::VecDeque;

/// The finest scale: a bucket is wider than the one before it by the factor 2^(2^-20).
const MAX_SCALE: i32 = 20;

#[derive(Debug)]
pub(crate) struct ExponentialHistogram {
    max_buckets: usize,
    scale: i32,
    /// The index of the first bucket.
    start: i32,
    pub(crate) counts: VecDeque<u64>,
    pub(crate) count: u64,
    pub(crate) zero_count: u64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
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

impl ExponentialHistogram {
    pub(crate) fn new(max_buckets: usize) -> Self {
        Self {
            max_buckets,
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

    /// The scale; without any bucket it does not matter.
    pub(crate) fn scale(&self) -> i32 {
        if self.counts.is_empty() { 0 } else { self.scale }
    }

    /// The index of the first bucket.
    pub(crate) fn offset(&self) -> i32 {
        self.start
    }

    /// Records a value so many times.
    pub(crate) fn record(&mut self, value: f64, times: u64) {
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
        while (high - low) as usize >= self.max_buckets {
            (low, high, by) = (low >> 1, high >> 1, by + 1);
        }
        if by > 0 {
            self.coarsen(by);
            index = index_of(value, self.scale);
        }
        self.add(index, times);
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

    #[test]
    fn buckets_of_few_values_are_fine_and_join_when_values_are_far_apart() {
        let mut histogram = ExponentialHistogram::new(4);
        histogram.record(1.0, 1);
        assert_eq!((histogram.scale(), histogram.offset(), histogram.counts.len()), (20, -1, 1));
        histogram.record(0.0, 2);
        assert_eq!((histogram.zero_count, histogram.count, histogram.min), (2, 3, 0.0));
        // 2 and 16 are the upper bounds of their buckets.
        histogram.record(2.0, 1);
        histogram.record(16.0, 3);
        assert_eq!(histogram.scale(), -1);
        assert_eq!((histogram.offset(), Vec::from(histogram.counts.clone())), (-1, vec![1, 1, 3]));
        assert_eq!((histogram.sum, histogram.max), (51.0, 16.0));
    }

    #[test]
    fn number_of_buckets_is_bounded_for_any_values() {
        let mut histogram = ExponentialHistogram::new(2);
        let mut value = 1e-9;
        while value < 2e13 {
            histogram.record(value, 1);
            histogram.record(1e13 / value, 1);
            assert!(histogram.counts.len() <= 2);
            value *= 1.7;
        }
        assert_eq!(histogram.counts.iter().sum::<u64>(), histogram.count);
    }
}
