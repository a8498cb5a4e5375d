//! Native histograms from exponential ones.
//!
//! Bucket 0 of OpenTelemetry is (1, base], bucket 0 of Prometheus (base^-1, 1]: indexes differ by one. A scale above 8, which
//! Prometheus does not have, is lowered by joining buckets.
//!
//! Schema, the same in both versions: Histogram{1 count_int, 3 sum, 4 schema, 5 zero_threshold, 6 zero_count_int, 8
//! negative_spans, 9 negative_deltas, 11 positive_spans, 12 positive_deltas, 15 timestamp, 17 start_timestamp (version 2)};
//! BucketSpan{1 offset, 2 length}.

use otelcore_pdata::views::{Buckets, ExponentialHistogramPoint};
use otelcore_pdata::wire_format::{
    encode_zigzag32, put_bytes_field, put_tag_and_len, put_varint, put_varint_field, varint_len,
};

use crate::series::{STALE_NAN, put_double_field, put_integer_field};

/// The scales that Prometheus has.
const MIN_SCALE: i32 = -4;
const MAX_SCALE: i32 = 8;
/// Used where the point has none, as in Go.
const DEFAULT_ZERO_THRESHOLD: f64 = 1e-128;
/// Empty buckets in a row, at most, that are written instead of a new span.
const MAX_EMPTY_BUCKETS: i64 = 2;

/// Encodes points. Its buffers are used again.
#[derive(Debug, Default)]
pub(crate) struct NativeHistogramEncoder {
    spans: Vec<u8>,
    deltas: Vec<u64>,
    span: Vec<u8>,
}

impl NativeHistogramEncoder {
    /// Appends the message of a point with this timestamp and start (both in milliseconds, zero for none).
    ///
    /// # Errors
    /// Why it has no form in Prometheus.
    pub(crate) fn encode(
        &mut self,
        out: &mut Vec<u8>,
        point: &ExponentialHistogramPoint<'_>,
        (timestamp, start): (i64, i64),
        is_stale: bool,
    ) -> Result<(), &'static str> {
        let scale = point.scale.0;
        if scale < MIN_SCALE {
            return Err("an exponential histogram has a scale below -4, the lowest of a native histogram");
        }
        let joined_bits = scale.saturating_sub(MAX_SCALE).clamp(0, 63);
        let stale = f64::from_bits(STALE_NAN);
        put_varint_field(out, 1, if is_stale { STALE_NAN } else { point.count });
        put_double_field(out, 3, if is_stale { stale } else { point.sum.unwrap_or(0.0) });
        let schema = scale.min(MAX_SCALE);
        if schema != 0 {
            put_varint_field(out, 4, encode_zigzag32(schema));
        }
        let threshold = point.zero_threshold;
        put_double_field(out, 5, if threshold == 0.0 { DEFAULT_ZERO_THRESHOLD } else { threshold });
        put_varint_field(out, 6, point.zero_count);
        for (number, buckets) in [(8, &point.negative), (11, &point.positive)] {
            self.collect(buckets, joined_bits, number)?;
            out.extend_from_slice(&self.spans);
            if !self.deltas.is_empty() {
                put_tag_and_len(out, number + 1, self.deltas.iter().map(|delta| varint_len(*delta)).sum());
                self.deltas.iter().for_each(|delta| put_varint(out, *delta));
            }
        }
        put_integer_field(out, 15, timestamp);
        put_integer_field(out, 17, start);
        Ok(())
    }

    /// Makes spans, as fields called `number`, and deltas.
    fn collect(&mut self, buckets: &Buckets<'_>, joined_bits: i32, number: u32) -> Result<(), &'static str> {
        self.spans.clear();
        self.deltas.clear();
        let mut span = OpenSpan::default();
        let (mut current, mut count) = (None, 0_u64);
        for (index, bucket_count) in (i64::from(buckets.offset.0)..).zip(buckets.bucket_counts()) {
            let bucket = (index >> joined_bits) + 1;
            if bucket_count == 0 {
                continue;
            }
            if let Some(previous) = current.filter(|current| *current != bucket) {
                self.add(&mut span, previous, count, number)?;
                count = 0;
            }
            current = Some(bucket);
            count = count.wrapping_add(bucket_count);
        }
        if let Some(last) = current {
            self.add(&mut span, last, count, number)?;
        }
        self.end(&span, number);
        Ok(())
    }

    /// Adds a bucket that is not empty.
    fn add(&mut self, span: &mut OpenSpan, bucket: i64, count: u64, number: u32) -> Result<(), &'static str> {
        let gap = bucket - span.next;
        if span.length == 0 || gap > MAX_EMPTY_BUCKETS {
            self.end(span, number);
            let too_far = "an exponential histogram has a bucket whose index has more than 32 bits";
            span.offset = i32::try_from(gap).map_err(|_| too_far)?;
            span.length = 0;
        } else {
            for _ in 0..gap {
                self.put_delta(span, 0);
            }
        }
        self.put_delta(span, count);
        span.next = bucket + 1;
        Ok(())
    }

    fn put_delta(&mut self, span: &mut OpenSpan, count: u64) {
        let delta = count.wrapping_sub(span.previous_count).cast_signed();
        self.deltas.push((delta << 1 ^ delta >> 63).cast_unsigned());
        span.previous_count = count;
        span.length += 1;
    }

    fn end(&mut self, span: &OpenSpan, number: u32) {
        if span.length > 0 {
            self.span.clear();
            if span.offset != 0 {
                put_varint_field(&mut self.span, 1, encode_zigzag32(span.offset));
            }
            put_varint_field(&mut self.span, 2, span.length);
            put_bytes_field(&mut self.spans, number, &self.span);
        }
    }
}

/// The span that buckets are added to.
#[derive(Debug, Default)]
struct OpenSpan {
    /// From the end of the span before; of the first one, its first bucket.
    offset: i32,
    length: u64,
    /// The bucket behind its last one.
    next: i64,
    previous_count: u64,
}
