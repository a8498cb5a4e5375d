//! Native histograms: their buckets by index, fewer of them where there is a limit, and dense counts as OTLP has them.
//!
//! Reads no page.

use otelcore_exposition::parse::{BucketCounts, HistogramCount, NativeBuckets, NativeHistogram};

/// The smallest and the largest exponential schema.
const MIN_SCHEMA: i32 = -4;
const MAX_SCHEMA: i32 = 8;
/// Buckets of one sign that are written, with those that are empty, at most.
const MAX_DENSE_BUCKETS: i64 = 1 << 16;

/// The stale marker of Prometheus: a NaN with these bits.
pub(crate) const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a value is the stale marker.
pub(crate) fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE.to_bits()
}

/// A count as OTLP has it. What is negative, or no number, is zero.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the conversion saturates")]
pub(crate) fn count_of(value: f64) -> u64 {
    value as u64
}

/// A native histogram of a scrape.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct NativeValue {
    pub(crate) schema: i32,
    pub(crate) is_float: bool,
    pub(crate) count: f64,
    /// The count, if it is an integer.
    pub(crate) int_count: u64,
    pub(crate) sum: f64,
    pub(crate) zero_threshold: f64,
    pub(crate) zero_count: u64,
    pub(crate) positive: Vec<(i64, f64)>,
    pub(crate) negative: Vec<(i64, f64)>,
}

/// Why a histogram can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NativeError {
    /// It has more buckets than the limit at the lowest resolution.
    BucketLimit,
    /// Its buckets are too far apart.
    TooManyBuckets,
}

impl NativeValue {
    pub(crate) fn new(histogram: &NativeHistogram<'_>) -> Self {
        let number = |count: HistogramCount| match count {
            HistogramCount::Integer(n) => (n, n as f64),
            HistogramCount::Float(v) => (count_of(v), v),
        };
        let (int_count, count) = number(histogram.count);
        Self {
            schema: histogram.schema,
            is_float: matches!(histogram.count, HistogramCount::Float(_)),
            count,
            int_count,
            sum: histogram.sum,
            zero_threshold: histogram.zero_threshold,
            zero_count: number(histogram.zero_count).0,
            positive: indexed(&histogram.positive),
            negative: indexed(&histogram.negative),
        }
    }

    /// The value that ends a series.
    pub(crate) fn stale() -> Self {
        Self {
            schema: 0,
            is_float: false,
            count: 0.0,
            int_count: 0,
            sum: STALE,
            zero_threshold: 0.0,
            zero_count: 0,
            positive: Vec::new(),
            negative: Vec::new(),
        }
    }

    fn buckets(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        (size_of::<Self>() + 16 * self.buckets()) as u64
    }

    /// Lowers the resolution to `max_schema`, and further until there are at most `limit` buckets; zero is no limit.
    pub(crate) fn limit(&mut self, max_schema: i32, limit: usize) -> Result<(), NativeError> {
        let is_exponential = (MIN_SCHEMA..=MAX_SCHEMA).contains(&self.schema);
        if limit > 0 {
            if self.buckets() > limit && !is_exponential {
                return Err(NativeError::BucketLimit);
            }
            while self.buckets() > limit {
                if self.schema <= MIN_SCHEMA {
                    return Err(NativeError::BucketLimit);
                }
                self.reduce(self.schema - 1);
            }
        }
        if is_exponential && self.schema > max_schema {
            self.reduce(max_schema);
        }
        Ok(())
    }

    fn reduce(&mut self, schema: i32) {
        let steps = u32::try_from(self.schema - schema).unwrap_or(0).min(62);
        for side in [&mut self.positive, &mut self.negative] {
            let mut reduced: Vec<(i64, f64)> = Vec::with_capacity(side.len() / 2 + 1);
            for (index, count) in side.drain(..) {
                let index = ((index - 1) >> steps) + 1;
                match reduced.last_mut() {
                    Some((last, sum)) if *last == index => *sum += count,
                    _ => reduced.push((index, count)),
                }
            }
            *side = reduced;
        }
        self.schema = schema;
    }

    /// Whether it can be written: the buckets between the first and the last of a sign are not too many.
    pub(crate) fn check(&self) -> Result<(), NativeError> {
        let is_long = |side: &[(i64, f64)]| match (side.first(), side.last()) {
            (Some((first, _)), Some((last, _))) => last - first >= MAX_DENSE_BUCKETS,
            _ => false,
        };
        let is_long = is_long(&self.positive) || is_long(&self.negative);
        if is_long { Err(NativeError::TooManyBuckets) } else { Ok(()) }
    }
}

/// Index and count of each bucket that is not empty.
fn indexed(buckets: &NativeBuckets<'_>) -> Vec<(i64, f64)> {
    let mut counts = Vec::new();
    match buckets.counts {
        BucketCounts::Deltas(deltas) => {
            let mut count = 0i64;
            counts.extend(deltas.iter().map(|delta| {
                count = count.wrapping_add(*delta);
                count as f64
            }));
        }
        BucketCounts::Floats(floats) => counts.extend_from_slice(floats),
    }
    let mut indexes = Vec::with_capacity(counts.len());
    let mut index = 0i64;
    for span in buckets.spans {
        index += i64::from(span.offset);
        for _ in 0..span.length.min(u32::try_from(counts.len()).unwrap_or(u32::MAX)) {
            indexes.push(index);
            index += 1;
        }
    }
    indexes.into_iter().zip(counts).filter(|(_, count)| *count != 0.0).collect()
}

/// The offset and the dense counts of OTLP.
pub(crate) fn dense(side: &[(i64, f64)]) -> Option<(i32, Vec<u64>)> {
    let (first, _) = side.first()?;
    let mut counts: Vec<u64> = Vec::with_capacity(side.len());
    for (index, count) in side {
        let at = usize::try_from(index - first).unwrap_or(0).min(MAX_DENSE_BUCKETS as usize);
        while counts.len() < at {
            counts.push(0);
        }
        counts.push(count_of(*count));
    }
    // The index of Prometheus names the upper bound of a bucket, that of OTLP the lower one.
    i32::try_from(first - 1).ok().map(|offset| (offset, counts))
}

/// The highest schema of which a bucket is at least this factor above the one before.
pub(crate) fn max_schema(factor: f64) -> i32 {
    let factor = if factor <= 1.0 { 1.00271 } else { factor };
    let floor = (-factor.log2().log2()).floor();
    if floor >= f64::from(MAX_SCHEMA) {
        MAX_SCHEMA
    } else if floor <= f64::from(MIN_SCHEMA) {
        MIN_SCHEMA
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "within the bounds above")]
        let schema = floor as i32;
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(schema: i32, positive: &[(i64, f64)]) -> NativeValue {
        NativeValue { schema, positive: positive.to_vec(), ..NativeValue::stale() }
    }

    #[test]
    fn buckets_are_merged_until_they_are_few_enough() {
        let mut histogram = value(3, &[(-3, 1.0), (-2, 1.0), (1, 2.0), (2, 3.0), (3, 4.0), (4, 5.0)]);
        histogram.limit(8, 3).unwrap();
        assert_eq!((histogram.schema, histogram.positive), (2, vec![(-1, 2.0), (1, 5.0), (2, 9.0)]));
        assert_eq!(value(-4, &[(1, 1.0), (5, 1.0)]).limit(8, 1), Err(NativeError::BucketLimit));
        let mut histogram = value(5, &[(1, 1.0), (8, 1.0)]);
        histogram.limit(2, 0).unwrap();
        assert_eq!((histogram.schema, histogram.positive), (2, vec![(1, 2.0)]));
    }

    #[test]
    fn gaps_are_filled_with_zeros_up_to_a_limit() {
        assert_eq!(dense(&[(3, 1.0), (6, 2.0)]), Some((2, vec![1, 0, 0, 2])));
        assert_eq!(dense(&[]), None);
        assert_eq!(value(0, &[(0, 1.0), (1 << 30, 1.0)]).check(), Err(NativeError::TooManyBuckets));
        assert_eq!(value(0, &[(0, 1.0), (65_535, 1.0)]).check(), Ok(()));
    }

    #[test]
    fn schema_of_a_factor_is_that_of_prometheus() {
        for (factor, schema) in [(0.0, 8), (1.1, 2), (2.0, 0), (4.0, -1), (65536.0, -4), (1e300, -4)] {
            assert_eq!(max_schema(factor), schema, "{factor}");
        }
    }

    #[test]
    fn counts_that_are_no_counts_are_zero() {
        assert_eq!([count_of(-1.0), count_of(f64::NAN), count_of(2.9)], [0, 0, 2]);
    }
}
