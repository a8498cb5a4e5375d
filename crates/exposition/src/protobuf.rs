//! Writes `io.prometheus.client` messages: a page is a series of `MetricFamily`, each behind its length.
//!
//! Fields are written in the order of their numbers, and as Go writes them: those that are set are written even if they are
//! zero. A [`FamilyMessage`] collects the metrics of one message; labels are passed as pairs of names and values, with
//! values still escaped as in a block.

use crate::{MetricType, TraceExemplar, unescape};

/// The metrics of a message that is being written.
#[derive(Debug, Default)]
pub struct FamilyMessage {
    /// Fields `metric`.
    metrics: Vec<u8>,
}

/// The value of a metric.
#[derive(Clone, Copy, Debug)]
pub enum MetricValue<'a> {
    /// A counter, with the last exemplar.
    Counter(f64, Option<&'a TraceExemplar>),
    /// A gauge.
    Gauge(f64),
    /// Sum, count, and ascending quantiles with their values.
    Summary(f64, u64, &'a [(f64, f64)]),
    /// A classic histogram: sum, count, and ascending upper bounds with cumulative counts.
    Histogram(f64, u64, &'a [(f64, u64, Option<TraceExemplar>)]),
    /// A native histogram.
    Native(NativeHistogramValue<'a>),
}

/// A native histogram.
#[derive(Clone, Copy, Debug)]
pub struct NativeHistogramValue<'a> {
    /// The sum of the observations.
    pub sum: f64,
    /// Their number.
    pub count: u64,
    /// The resolution: a bucket's bound is the previous one times `2^(2^-schema)`.
    pub schema: i32,
    /// The largest absolute value in the zero bucket.
    pub zero_threshold: f64,
    /// The observations in the zero bucket.
    pub zero_count: u64,
    /// The index of the first bucket of positive values, and the counts from there on.
    pub positive: (i32, &'a [u64]),
    /// The same of negative values.
    pub negative: (i32, &'a [u64]),
    /// Examples of observations.
    pub exemplars: &'a [TraceExemplar],
}

/// When a series began: `created_timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Created {
    /// It is not known, and the field is left out.
    Unset,
    /// Seconds and nanoseconds since the epoch.
    At(i64, u32),
}

impl FamilyMessage {
    /// Bytes of the metrics so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.metrics.len()
    }

    /// Whether there is no metric.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty()
    }

    /// Adds a metric.
    pub fn push<'l>(
        &mut self,
        labels: impl Iterator<Item = (&'l [u8], &'l [u8])>,
        value: &MetricValue<'_>,
        created: Created,
        timestamp_ms: Option<i64>,
    ) {
        put_message(&mut self.metrics, 4, |out| {
            for (name, value) in labels {
                put_message(out, 1, |out| {
                    put_bytes(out, 1, name);
                    put_message(out, 2, |out| out.extend(unescape(value)));
                });
            }
            match value {
                MetricValue::Gauge(value) => put_message(out, 2, |out| put_double(out, 1, *value)),
                MetricValue::Counter(value, exemplar) => put_message(out, 3, |out| {
                    put_double(out, 1, *value);
                    exemplar.iter().for_each(|exemplar| put_exemplar(out, 2, exemplar));
                    put_created(out, 3, created);
                }),
                MetricValue::Summary(sum, count, quantiles) => put_message(out, 4, |out| {
                    put_varint_field(out, 1, *count);
                    put_double(out, 2, *sum);
                    for (quantile, value) in *quantiles {
                        put_message(out, 3, |out| {
                            put_double(out, 1, *quantile);
                            put_double(out, 2, *value);
                        });
                    }
                    put_created(out, 4, created);
                }),
                MetricValue::Histogram(..) | MetricValue::Native(_) => {}
            }
            if let Some(at) = timestamp_ms {
                put_varint_field(out, 6, at.cast_unsigned());
            }
            match value {
                MetricValue::Histogram(sum, count, buckets) => put_message(out, 7, |out| {
                    put_varint_field(out, 1, *count);
                    put_double(out, 2, *sum);
                    for (bound, cumulative, exemplar) in *buckets {
                        put_message(out, 3, |out| {
                            put_varint_field(out, 1, *cumulative);
                            put_double(out, 2, *bound);
                            exemplar.iter().for_each(|exemplar| put_exemplar(out, 3, exemplar));
                        });
                    }
                    put_created(out, 15, created);
                }),
                MetricValue::Native(native) => put_message(out, 7, |out| put_native(out, native, created)),
                _ => {}
            }
        });
    }

    /// Appends the message to a page, behind its length, and removes the metrics.
    pub fn finish(&mut self, out: &mut Vec<u8>, name: &[u8], help: &[u8], metric_type: MetricType) {
        let mut head = Vec::with_capacity(name.len() + help.len() + 24);
        put_bytes(&mut head, 1, name);
        put_bytes(&mut head, 2, help);
        put_varint_field(&mut head, 3, type_number(metric_type));
        put_varint(out, (head.len() + self.metrics.len()) as u64);
        out.append(&mut head);
        out.append(&mut self.metrics);
    }
}

fn type_number(metric_type: MetricType) -> u64 {
    match metric_type {
        MetricType::Counter => 0,
        MetricType::Gauge => 1,
        MetricType::Summary => 2,
        MetricType::Untyped => 3,
        MetricType::Histogram => 4,
    }
}

fn put_native(out: &mut Vec<u8>, native: &NativeHistogramValue<'_>, created: Created) {
    put_varint_field(out, 1, native.count);
    put_double(out, 2, native.sum);
    put_varint_field(out, 5, zigzag(i64::from(native.schema)));
    put_double(out, 6, native.zero_threshold);
    put_varint_field(out, 7, native.zero_count);
    put_buckets(out, 9, native.negative);
    put_buckets(out, 12, native.positive);
    put_created(out, 15, created);
    native.exemplars.iter().for_each(|exemplar| put_exemplar(out, 16, exemplar));
}

/// One span, in field `number`, and the differences of the counts in the next field.
fn put_buckets(out: &mut Vec<u8>, number: u32, (first, counts): (i32, &[u64])) {
    if counts.is_empty() {
        return;
    }
    put_message(out, number, |out| {
        put_varint_field(out, 1, zigzag(i64::from(first)));
        put_varint_field(out, 2, counts.len() as u64);
    });
    let mut previous = 0_i64;
    for count in counts {
        let count = count.cast_signed();
        put_varint_field(out, number + 1, zigzag(count.wrapping_sub(previous)));
        previous = count;
    }
}

fn put_exemplar(out: &mut Vec<u8>, number: u32, exemplar: &TraceExemplar) {
    put_message(out, number, |out| {
        for (name, id) in exemplar.labels() {
            put_message(out, 1, |out| {
                put_bytes(out, 1, name.as_bytes());
                put_bytes(out, 2, &id);
            });
        }
        put_double(out, 2, exemplar.value);
        let nanos = exemplar.time_unix_nano;
        put_timestamp(out, 3, nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000) as u32);
    });
}

fn put_created(out: &mut Vec<u8>, number: u32, created: Created) {
    if let Created::At(seconds, nanos) = created {
        put_timestamp(out, number, seconds, nanos);
    }
}

/// A `google.protobuf.Timestamp`, whose zeros are left out.
fn put_timestamp(out: &mut Vec<u8>, number: u32, seconds: i64, nanos: u32) {
    put_message(out, number, |out| {
        if seconds != 0 {
            put_varint_field(out, 1, seconds.cast_unsigned());
        }
        if nanos != 0 {
            put_varint_field(out, 2, u64::from(nanos));
        }
    });
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u32) {
    put_varint(out, u64::from(number << 3 | wire_type));
}

fn put_varint_field(out: &mut Vec<u8>, number: u32, value: u64) {
    put_tag(out, number, 0);
    put_varint(out, value);
}

fn put_double(out: &mut Vec<u8>, number: u32, value: f64) {
    put_tag(out, number, 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A message whose length is known when it is written. Most have less than 128 bytes, so that one byte is kept for it.
fn put_message(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_tag(out, number, 2);
    let at = out.len();
    out.push(0);
    write(out);
    let len = out.len() - at - 1;
    if let (Ok(short), Some(byte)) = (u8::try_from(len), out.get_mut(at))
        && short < 0x80
    {
        *byte = short;
        return;
    }
    let mut varint = Vec::with_capacity(10);
    put_varint(&mut varint, len as u64);
    out.splice(at..=at, varint);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PageFormat;
    use crate::parse::{PageParser, ParserLimits};

    #[test]
    fn messages_have_the_bytes_of_go() {
        let mut message = FamilyMessage::default();
        message.push([(&b"a"[..], &b"x\\n"[..])].into_iter(), &MetricValue::Gauge(0.0), Created::Unset, None);
        let mut out = Vec::new();
        message.finish(&mut out, b"g", b"", MetricType::Gauge);
        let expected = b"\x1e\x0a\x01g\x12\x00\x18\x01\x22\x14\x0a\x07\x0a\x01a\x12\x02x\n\x12\x09\x09\0\0\0\0\0\0\0\0";
        assert_eq!(out[1..], expected[1..]);
        assert_eq!(usize::from(out[0]), out.len() - 1);
        assert!(message.is_empty());
    }

    #[test]
    fn long_message_is_read_by_the_parser() {
        let value = "v".repeat(1000);
        let counts: Vec<u64> = (0..200).map(|i| i % 7).collect();
        let exemplar =
            TraceExemplar { trace_id: [1; 16], value: 3.0, time_unix_nano: 2_000_000_001, ..TraceExemplar::default() };
        let native = NativeHistogramValue {
            sum: 1.5,
            count: counts.iter().sum(),
            schema: -3,
            zero_threshold: 1e-128,
            zero_count: 0,
            positive: (-5, &counts),
            negative: (0, &[]),
            exemplars: &[exemplar],
        };
        let mut message = FamilyMessage::default();
        let created = Created::At(-62_135_596_800, 0);
        message.push([(&b"k.x"[..], value.as_bytes())].into_iter(), &MetricValue::Native(native), created, Some(-1));
        let mut page = Vec::new();
        message.finish(&mut page, b"h", b"help", MetricType::Histogram);
        let mut parser = PageParser::new(PageFormat::Protobuf, ParserLimits::default());
        parser.handle_data(&page);
        parser.handle_end();
        let mut text = String::new();
        while let Some(event) = parser.poll_event() {
            text.push_str(&format!("{:?}\n", event.unwrap()));
        }
        assert!(text.contains("schema: -3") && text.contains("BucketSpan { offset: -5, length: 200 }"), "{text}");
        assert!(text.contains("timestamp_ms: Some(-1)") && text.contains("timestamp_ms: Some(2000)"), "{text}");
    }
}
