//! An exponential histogram of latencies whose number of buckets is bounded: buckets are joined in pairs where there would
//! be more. The scale begins at the finest, so that the result depends on the measurements only, not on a setting.

use std::collections::VecDeque;

const FINEST_SCALE: i32 = 20;

/// The sizes that the Go collector's histogram accepts.
const SIZES: std::ops::RangeInclusive<usize> = 2..=16_384;

/// Measurements that are not negative.
#[derive(Clone, Debug)]
pub(super) struct ExponentialHistogram {
    max_size: usize,
    scale: i32,
    /// The index of the first bucket.
    first: i32,
    buckets: VecDeque<u64>,
    pub(super) zero_count: u64,
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// The bucket of a positive number. A bucket has its upper bound, and not its lower one.
fn bucket_of(value: f64, scale: i32) -> i32 {
    const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
    let bits = value.to_bits();
    let exponent = (bits >> FRACTION_BITS) as i32 - 1023;
    let is_bound = bits.trailing_zeros() >= FRACTION_BITS;
    match scale {
        ..=0 => (exponent - i32::from(is_bound)) >> -scale,
        _ if is_bound => (exponent << scale) - 1,
        _ => (value.ln() * (std::f64::consts::LOG2_E * f64::from(1 << scale))).floor() as i32,
    }
}

impl ExponentialHistogram {
    pub(super) fn new(max_size: usize) -> Self {
        Self {
            max_size: max_size.clamp(*SIZES.start(), *SIZES.end()),
            scale: FINEST_SCALE,
            first: 0,
            buckets: VecDeque::new(),
            zero_count: 0,
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    pub(super) fn record(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if value <= 0.0 {
            self.zero_count += 1;
            return;
        }
        loop {
            let bucket = bucket_of(value, self.scale);
            let last = self.first + self.buckets.len() as i32 - 1;
            let (low, high) =
                if self.buckets.is_empty() { (bucket, bucket) } else { (self.first.min(bucket), last.max(bucket)) };
            if ((high - low) as usize) < self.max_size {
                return self.add(bucket, low, high);
            }
            self.join_pairs();
        }
    }

    fn add(&mut self, bucket: i32, low: i32, high: i32) {
        if self.buckets.is_empty() {
            self.first = bucket;
        }
        for _ in low..self.first {
            self.buckets.push_front(0);
        }
        self.first = low;
        self.buckets.resize((high - low) as usize + 1, 0);
        if let Some(count) = self.buckets.get_mut((bucket - low) as usize) {
            *count += 1;
        }
    }

    fn join_pairs(&mut self) {
        self.scale -= 1;
        let first = self.first >> 1;
        let mut joined = VecDeque::with_capacity(self.buckets.len() / 2 + 1);
        for (index, count) in (self.first..).zip(&self.buckets) {
            let at = ((index >> 1) - first) as usize;
            match joined.get_mut(at) {
                Some(sum) => *sum += count,
                None => joined.push_back(*count),
            }
        }
        (self.first, self.buckets) = (first, joined);
    }

    pub(super) fn scale(&self) -> i32 {
        if self.buckets.is_empty() { 0 } else { self.scale }
    }

    /// The index of the first bucket, and the counts.
    pub(super) fn buckets(&self) -> (i32, Vec<u64>) {
        (self.first, self.buckets.iter().copied().collect())
    }

    pub(super) fn bytes(&self) -> usize {
        self.buckets.capacity() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_joined_where_there_would_be_too_many() {
        let mut histogram = ExponentialHistogram::new(4);
        [1.0, 2.0, 4.0].into_iter().for_each(|value| histogram.record(value));
        assert_eq!((histogram.scale(), histogram.buckets()), (0, (-1, vec![1, 1, 1])));
        histogram.record(0.0);
        histogram.record(100.0);
        assert_eq!((histogram.scale(), histogram.buckets()), (-2, (-1, vec![1, 2, 1])));
        assert_eq!((histogram.count, histogram.zero_count, histogram.sum), (5, 1, 107.0));
        assert_eq!((histogram.min, histogram.max), (0.0, 100.0));
    }

    #[test]
    fn number_of_buckets_is_bounded_for_all_latencies() {
        let mut histogram = ExponentialHistogram::new(2);
        for exponent in (-30..64).chain((-30..64).rev()) {
            histogram.record(2_f64.powi(exponent) * 1.3);
            assert!(histogram.buckets().1.len() <= 2);
        }
        assert_eq!(histogram.buckets().1.iter().sum::<u64>(), histogram.count);
    }
}
