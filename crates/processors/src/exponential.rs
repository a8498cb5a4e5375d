//! Arithmetic of exponential histograms: coarser buckets, wider zero buckets, sums and differences.
//!
//! Indexes are those of the peer, so every step is bounded by the number of counts that are stored, never by the
//! distance of two indexes.

use crate::owned_metric::{Buckets, ExponentialHistogram};

impl Buckets {
    /// Index after the last bucket.
    fn end(&self) -> i64 {
        i64::from(self.offset) + self.counts.len() as i64
    }

    /// The indexes of the first bucket that is not empty, and after the last.
    fn used(&self) -> Option<(i64, i64)> {
        let first = self.counts.iter().position(|count| *count != 0)?;
        let last = self.counts.iter().rposition(|count| *count != 0)?;
        let offset = i64::from(self.offset);
        Some((offset + first as i64, offset + last as i64 + 1))
    }

    /// Merges each `2^by` buckets into one.
    pub(crate) fn coarsen(&mut self, by: u32) {
        let by = by.min(62);
        if by == 0 {
            return;
        }
        let offset = i64::from(self.offset);
        let first = offset >> by;
        let mut counts: Vec<u64> = Vec::new();
        for (at, count) in self.counts.iter().enumerate() {
            // At most the index of the old bucket.
            let index = (((offset + at as i64) >> by) - first) as usize;
            if counts.len() <= index {
                counts.resize(index + 1, 0);
            }
            if let Some(sum) = counts.get_mut(index) {
                *sum = sum.wrapping_add(*count);
            }
        }
        self.offset = clamp_index(first);
        self.counts = counts;
    }

    /// Removes the buckets up to and with this index, and returns what they counted.
    pub(crate) fn remove_through(&mut self, index: i64) -> u64 {
        let removed =
            (index.saturating_add(1).saturating_sub(i64::from(self.offset))).clamp(0, self.counts.len() as i64);
        let counted = self.counts.drain(..removed as usize).fold(0, u64::wrapping_add);
        self.offset = clamp_index(i64::from(self.offset) + removed);
        counted
    }

    /// Adds the counts of `other`. Empty buckets at both ends are removed. The caller has made sure that the indexes are
    /// close enough.
    fn add(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        if self.counts.is_empty() {
            self.clone_from(other);
            return;
        }
        let (low, end) = merged_range(self, other);
        let mut counts = vec![0_u64; (end - low).max(0) as usize];
        for buckets in [&*self, other] {
            for (at, count) in buckets.counts.iter().enumerate() {
                let index = usize::try_from(i64::from(buckets.offset) + at as i64 - low);
                if let Some(sum) = index.ok().and_then(|index| counts.get_mut(index)) {
                    *sum = sum.wrapping_add(*count);
                }
            }
        }
        self.offset = clamp_index(low);
        self.counts = counts;
    }

    /// The counts that are above those of an earlier histogram. A count that has decreased is left out.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut out = Self::default();
        for (at, count) in self.counts.iter().enumerate() {
            let index = i64::from(self.offset) + at as i64;
            let before = usize::try_from(index - i64::from(earlier.offset)).ok();
            let before = before.and_then(|at| earlier.counts.get(at)).copied().unwrap_or(0);
            if *count > before {
                if out.counts.is_empty() {
                    out.offset = clamp_index(index);
                }
                // Not further than the counts of `self` reach.
                out.counts.resize((index - i64::from(out.offset)) as usize, 0);
                out.counts.push(count - before);
            }
        }
        out
    }
}

/// The range of the buckets that are not empty in one of them; where all are empty, nothing at the end of both.
fn merged_range(a: &Buckets, b: &Buckets) -> (i64, i64) {
    match (a.used(), b.used()) {
        (None, None) => {
            let end = a.end().max(b.end());
            (end, end)
        }
        (Some(range), None) | (None, Some(range)) => range,
        (Some(a), Some(b)) => (a.0.min(b.0), a.1.max(b.1)),
    }
}

fn clamp_index(index: i64) -> i32 {
    index.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// How many times the scale is lowered by one until both fit into so many buckets.
fn steps_to_fit(a: &Buckets, b: &Buckets, max_buckets: i64) -> u32 {
    let (mut low, mut end) = merged_range(a, b);
    let mut steps = 0;
    while end - low > max_buckets {
        low /= 2;
        end /= 2;
        steps += 1;
    }
    steps
}

impl ExponentialHistogram {
    /// Lowers the scale.
    fn lower_scale(&mut self, by: u32) {
        self.positive.coarsen(by);
        self.negative.coarsen(by);
        self.scale = self.scale.saturating_sub_unsigned(by);
    }

    /// The index of the last bucket that is within the zero bucket of this width.
    pub(crate) fn index_of(scale: i32, width: f64) -> i64 {
        let bits = width.to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
        if width > 0.0 && width.is_finite() && bits.trailing_zeros() >= 52 && exponent > -1023 {
            // A power of two is the upper bound of its bucket.
            return if scale >= 0 {
                exponent.saturating_mul(1_i64 << scale.min(50)) - 1
            } else {
                (exponent - 1) >> scale.unsigned_abs().min(62)
            };
        }
        // Saturates at the ends; zero for what is not a number.
        (width.ln() * std::f64::consts::LOG2_E * 2_f64.powi(scale)).floor() as i64
    }

    /// Widens the zero bucket, and moves the counts that are then within it.
    fn widen_zero(&mut self, width: f64) {
        let index = Self::index_of(self.scale, width);
        let moved = self.positive.remove_through(index).wrapping_add(self.negative.remove_through(index));
        self.zero_count = self.zero_count.wrapping_add(moved);
        self.zero_threshold =
            ((index as f64 + 1.0) * std::f64::consts::LN_2 * 2_f64.powi(self.scale.saturating_neg())).exp();
    }

    /// Adds the measurements of `other`, at the lower of both scales or one at which there are at most about
    /// `max_buckets`.
    pub(crate) fn add(&mut self, mut other: Self, max_buckets: i64) {
        let difference = self.scale.abs_diff(other.scale);
        if self.scale > other.scale {
            self.lower_scale(difference);
        } else {
            other.lower_scale(difference);
        }
        let steps = steps_to_fit(&self.positive, &other.positive, max_buckets).max(steps_to_fit(
            &self.negative,
            &other.negative,
            max_buckets,
        ));
        self.lower_scale(steps);
        other.lower_scale(steps);
        if self.zero_threshold < other.zero_threshold {
            self.widen_zero(other.zero_threshold);
        } else if other.zero_threshold < self.zero_threshold {
            other.widen_zero(self.zero_threshold);
        }
        self.positive.add(&other.positive);
        self.negative.add(&other.negative);
        self.count = self.count.wrapping_add(other.count);
        self.zero_count = self.zero_count.wrapping_add(other.zero_count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(offset: i32, counts: &[u64]) -> Buckets {
        Buckets { offset, counts: counts.to_vec() }
    }

    #[test]
    fn coarser_buckets_have_the_counts_of_their_halves() {
        for (offset, expected) in
            [(0, buckets(0, &[3, 7, 5])), (1, buckets(0, &[1, 5, 9])), (-3, buckets(-2, &[1, 5, 9]))]
        {
            let mut it = buckets(offset, &[1, 2, 3, 4, 5]);
            it.coarsen(1);
            assert_eq!(it, expected, "{offset}");
        }
        let mut it = buckets(i32::MIN, &[1, 2]);
        it.coarsen(100);
        assert_eq!(it, buckets(-1, &[3]));
    }

    #[test]
    fn histograms_far_apart_are_added_at_a_lower_scale() {
        let mut a =
            ExponentialHistogram { scale: 20, count: 1, positive: buckets(i32::MIN, &[1]), ..Default::default() };
        let b = ExponentialHistogram {
            scale: 20,
            count: 2,
            positive: buckets(i32::MAX - 1, &[0, 2]),
            ..Default::default()
        };
        a.add(b, 160);
        assert_eq!(a.count, 3);
        assert!(a.scale < 0 && a.positive.counts.len() <= 161, "{a:?}");
        assert_eq!(a.positive.counts.iter().sum::<u64>(), 3);
    }

    #[test]
    fn wider_zero_bucket_takes_the_counts_below_it() {
        let mut a = ExponentialHistogram { zero_threshold: 4.0, zero_count: 1, ..Default::default() };
        let b = ExponentialHistogram { positive: buckets(-1, &[1, 2, 3, 4]), zero_count: 5, ..Default::default() };
        a.add(b, 160);
        // The buckets (1, 2] and (2, 4] and those below are within [-4, 4].
        assert_eq!((a.zero_count, a.positive), (1 + 5 + 1 + 2 + 3, buckets(2, &[4])));
    }

    #[test]
    fn index_of_a_width_is_that_of_the_bucket_below_it() {
        for (scale, width, expected) in [
            (0, 4.0, 1),
            (0, 5.0, 2),
            (1, 4.0, 3),
            (-1, 4.0, 0),
            (-1, 2.0, 0),
            (-1, 1.0, -1),
            (0, 1.0, -1),
            (0, 0.5, -2),
        ] {
            assert_eq!(ExponentialHistogram::index_of(scale, width), expected, "{scale} {width}");
        }
        assert_eq!(ExponentialHistogram::index_of(0, f64::INFINITY), i64::MAX);
        assert_eq!(ExponentialHistogram::index_of(0, 0.0), i64::MIN);
    }

    #[test]
    fn difference_leaves_out_counts_that_decreased() {
        assert_eq!(buckets(2, &[5, 0, 9, 1]).since(&buckets(1, &[3, 0, 6, 1, 1])), buckets(2, &[5, 0, 8]));
        assert_eq!(buckets(10, &[0, 1]).since(&buckets(10, &[0, 2])), Buckets::default());
        assert_eq!(buckets(100, &[0, 0, 9]).since(&buckets(0, &[])), buckets(102, &[9]));
    }
}
