//! A metric with its points as values that can be moved, joined and written again.
//!
//! What is not changed borrows from the body, or from the configuration of the processor. Unknown fields of metrics and
//! points are kept as bytes. Never visits a metric that its caller does not decode.

use std::borrow::Cow;

use otelcore_pdata::edit::MetricKind;
use otelcore_pdata::schema::{buckets, exponential_point, histogram_point, metric, number_point, sum, summary_point};
use otelcore_pdata::views::{AnyValue, KeyValue, NumberValue, View};
use otelcore_pdata::wire_format::{
    MessageFields, WireValue, decode_zigzag32, encode_zigzag32, put_bytes_field, put_fixed64_field, put_tag_and_len,
    put_varint, put_varint_field, raw_fields, read_varint, short_tag_field_len, varint_len,
};

/// Bit 0 of the flags of a point: it has no recorded value.
pub(crate) const NO_RECORDED_VALUE: u32 = 1;

/// `AggregationTemporality`.
pub(crate) const DELTA: i32 = 1;
/// See [`DELTA`].
pub(crate) const CUMULATIVE: i32 = 2;

/// The value of an attribute.
#[derive(Clone, Debug)]
pub(crate) enum AttributeValue<'a> {
    View(AnyValue<'a>),
    Text(Cow<'a, [u8]>),
}

impl AttributeValue<'_> {
    pub(crate) fn view(&self) -> AnyValue<'_> {
        match self {
            Self::View(view) => *view,
            Self::Text(text) => AnyValue::String(text),
        }
    }

    /// The text of a string; empty for other types, as in Go.
    pub(crate) fn text(&self) -> &[u8] {
        match self.view() {
            AnyValue::String(text) => text,
            _ => &[],
        }
    }
}

/// One attribute of a point.
#[derive(Clone, Debug)]
pub(crate) struct Attribute<'a> {
    pub(crate) key: Cow<'a, [u8]>,
    pub(crate) value: AttributeValue<'a>,
}

/// Buckets of an exponential histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Buckets {
    /// The index of the first bucket.
    pub(crate) offset: i32,
    pub(crate) counts: Vec<u64>,
}

/// A histogram with explicit bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Histogram {
    pub(crate) count: u64,
    pub(crate) sum: Option<f64>,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) bounds: Vec<f64>,
    pub(crate) counts: Vec<u64>,
}

/// A histogram with exponential bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ExponentialHistogram {
    pub(crate) count: u64,
    pub(crate) sum: Option<f64>,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) scale: i32,
    pub(crate) zero_count: u64,
    pub(crate) zero_threshold: f64,
    pub(crate) positive: Buckets,
    pub(crate) negative: Buckets,
}

/// The value of a point, by the kind of its metric.
#[derive(Clone, Debug)]
pub(crate) enum PointValue {
    Number(NumberValue),
    Histogram(Histogram),
    Exponential(ExponentialHistogram),
    /// The value of a summary is among the other fields of its point.
    Summary,
}

/// A data point.
#[derive(Clone, Debug)]
pub(crate) struct Point<'a> {
    pub(crate) attributes: Vec<Attribute<'a>>,
    pub(crate) start: u64,
    pub(crate) time: u64,
    pub(crate) flags: u32,
    pub(crate) value: PointValue,
    /// `Exemplar` messages.
    pub(crate) exemplars: Vec<Cow<'a, [u8]>>,
    /// Fields that are not known here, as they are.
    other: Vec<&'a [u8]>,
}

/// A metric.
#[derive(Clone, Debug)]
pub(crate) struct OwnedMetric<'a> {
    pub(crate) name: Cow<'a, [u8]>,
    pub(crate) description: &'a [u8],
    pub(crate) unit: &'a [u8],
    pub(crate) kind: MetricKind,
    pub(crate) temporality: i32,
    pub(crate) is_monotonic: bool,
    pub(crate) points: Vec<Point<'a>>,
    /// Fields that are not known here and the metadata, as they are.
    other: Vec<&'a [u8]>,
}

/// The number of the field with a metric's data.
pub(crate) fn data_field(kind: MetricKind) -> u32 {
    match kind {
        MetricKind::Empty => 0,
        MetricKind::Gauge => metric::GAUGE,
        MetricKind::Sum => metric::SUM,
        MetricKind::Histogram => metric::HISTOGRAM,
        MetricKind::ExponentialHistogram => metric::EXPONENTIAL_HISTOGRAM,
        MetricKind::Summary => metric::SUMMARY,
    }
}

/// The kind of the data in a field of a metric.
pub(crate) fn kind_of_field(number: u32) -> MetricKind {
    match number {
        metric::GAUGE => MetricKind::Gauge,
        metric::SUM => MetricKind::Sum,
        metric::HISTOGRAM => MetricKind::Histogram,
        metric::EXPONENTIAL_HISTOGRAM => MetricKind::ExponentialHistogram,
        metric::SUMMARY => MetricKind::Summary,
        _ => MetricKind::Empty,
    }
}

/// The name of a kind in Go's messages.
pub(crate) fn kind_name(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Empty => "Empty",
        MetricKind::Gauge => "Gauge",
        MetricKind::Sum => "Sum",
        MetricKind::Histogram => "Histogram",
        MetricKind::ExponentialHistogram => "ExponentialHistogram",
        MetricKind::Summary => "Summary",
    }
}

impl<'a> OwnedMetric<'a> {
    /// Decodes a `Metric` message. Of several kinds of data the last counts.
    pub(crate) fn decode(raw: &'a [u8]) -> Self {
        let mut new = Self {
            name: Cow::Borrowed(&[]),
            description: &[],
            unit: &[],
            kind: MetricKind::Empty,
            temporality: 0,
            is_monotonic: false,
            points: Vec::new(),
            other: Vec::new(),
        };
        let mut data: &[u8] = &[];
        for (field, number, wire) in raw_fields(raw) {
            match (number, wire) {
                (metric::NAME, WireValue::Len(v)) => new.name = Cow::Borrowed(v),
                (metric::DESCRIPTION, WireValue::Len(v)) => new.description = v,
                (metric::UNIT, WireValue::Len(v)) => new.unit = v,
                (number, WireValue::Len(v)) if kind_of_field(number) != MetricKind::Empty => {
                    (new.kind, data) = (kind_of_field(number), v);
                }
                _ => new.other.push(field),
            }
        }
        for (number, wire) in MessageFields::new(data) {
            match (number, wire) {
                (1, WireValue::Len(point)) => new.points.push(Point::decode(new.kind, point)),
                // The low 32 bits, as for every int32.
                (sum::AGGREGATION_TEMPORALITY, WireValue::Varint(v)) => new.temporality = (v as u32).cast_signed(),
                (sum::IS_MONOTONIC, WireValue::Varint(v)) => new.is_monotonic = v != 0,
                _ => {}
            }
        }
        new
    }

    /// A metric with the same fields and no points.
    pub(crate) fn without_points(&self) -> Self {
        Self { points: Vec::new(), other: self.other.clone(), name: self.name.clone(), ..*self }
    }

    /// Appends a `Metric` message.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_text(out, metric::NAME, &self.name);
        put_text(out, metric::DESCRIPTION, self.description);
        put_text(out, metric::UNIT, self.unit);
        if self.kind != MetricKind::Empty {
            let mut data = Vec::new();
            let mut point = Vec::new();
            for one in &self.points {
                point.clear();
                one.encode(self.kind, &mut point);
                put_bytes_field(&mut data, 1, &point);
            }
            if matches!(self.kind, MetricKind::Sum | MetricKind::Histogram | MetricKind::ExponentialHistogram) {
                put_plain(&mut data, sum::AGGREGATION_TEMPORALITY, i64::from(self.temporality).cast_unsigned());
            }
            if self.kind == MetricKind::Sum {
                put_plain(&mut data, sum::IS_MONOTONIC, u64::from(self.is_monotonic));
            }
            put_bytes_field(out, data_field(self.kind), &data);
        }
        self.other.iter().for_each(|field| out.extend_from_slice(field));
    }
}

/// The numbers of the fields that all points have.
struct PointFields {
    attributes: u32,
    exemplars: u32,
    flags: u32,
}

fn point_fields(kind: MetricKind) -> PointFields {
    match kind {
        MetricKind::Empty | MetricKind::Gauge | MetricKind::Sum => PointFields {
            attributes: number_point::ATTRIBUTES,
            exemplars: number_point::EXEMPLARS,
            flags: number_point::FLAGS,
        },
        MetricKind::Histogram => PointFields {
            attributes: histogram_point::ATTRIBUTES,
            exemplars: histogram_point::EXEMPLARS,
            flags: histogram_point::FLAGS,
        },
        MetricKind::ExponentialHistogram => PointFields {
            attributes: exponential_point::ATTRIBUTES,
            exemplars: exponential_point::EXEMPLARS,
            flags: exponential_point::FLAGS,
        },
        // A summary has no exemplars; no field has the number 0.
        MetricKind::Summary => {
            PointFields { attributes: summary_point::ATTRIBUTES, exemplars: 0, flags: summary_point::FLAGS }
        }
    }
}

impl<'a> Point<'a> {
    /// Decodes a point of a metric of this kind.
    pub(crate) fn decode(kind: MetricKind, raw: &'a [u8]) -> Self {
        let mut new = Self {
            attributes: Vec::new(),
            start: 0,
            time: 0,
            flags: 0,
            value: match kind {
                MetricKind::Empty | MetricKind::Gauge | MetricKind::Sum => PointValue::Number(NumberValue::Empty),
                MetricKind::Histogram => PointValue::Histogram(Histogram::default()),
                MetricKind::ExponentialHistogram => PointValue::Exponential(ExponentialHistogram::default()),
                MetricKind::Summary => PointValue::Summary,
            },
            exemplars: Vec::new(),
            other: Vec::new(),
        };
        let fields = point_fields(kind);
        for (field, number, wire) in raw_fields(raw) {
            match wire {
                WireValue::Len(v) if number == fields.attributes => {
                    let KeyValue { key, value, .. } = KeyValue::parse(v);
                    new.attributes.push(Attribute { key: Cow::Borrowed(key), value: AttributeValue::View(value) });
                }
                WireValue::Len(v) if number == fields.exemplars => new.exemplars.push(Cow::Borrowed(v)),
                // All kinds of points have these two.
                WireValue::Fixed64(v) if number == number_point::START_TIME_UNIX_NANO => new.start = v,
                WireValue::Fixed64(v) if number == number_point::TIME_UNIX_NANO => new.time = v,
                WireValue::Varint(v) if number == fields.flags => new.flags = v as u32,
                _ if new.value.merge(number, wire) => {}
                _ => new.other.push(field),
            }
        }
        new
    }

    /// Appends the point as a message of the kind.
    pub(crate) fn encode(&self, kind: MetricKind, out: &mut Vec<u8>) {
        let fields = point_fields(kind);
        for attribute in &self.attributes {
            put_attribute(out, fields.attributes, &attribute.key, attribute.value.view());
        }
        put_plain_fixed64(out, number_point::START_TIME_UNIX_NANO, self.start);
        put_plain_fixed64(out, number_point::TIME_UNIX_NANO, self.time);
        put_plain(out, fields.flags, u64::from(self.flags));
        self.value.encode(out);
        if fields.exemplars != 0 {
            self.exemplars.iter().for_each(|exemplar| put_bytes_field(out, fields.exemplars, exemplar));
        }
        self.other.iter().for_each(|field| out.extend_from_slice(field));
    }

    /// The value under a key.
    pub(crate) fn attribute(&self, key: &[u8]) -> Option<&AttributeValue<'a>> {
        self.attributes.iter().find(|attribute| *attribute.key == *key).map(|attribute| &attribute.value)
    }

    /// Sets the value of an attribute, or adds one.
    pub(crate) fn set_attribute(&mut self, key: Cow<'a, [u8]>, value: AttributeValue<'a>) {
        match self.attributes.iter_mut().find(|attribute| attribute.key == key) {
            Some(attribute) => attribute.value = value,
            None => self.attributes.push(Attribute { key, value }),
        }
    }

    /// Appends a key that is equal for points with the same attributes in any order.
    pub(crate) fn put_attributes_key(&self, out: &mut Vec<u8>) {
        let mut sorted: Vec<&Attribute<'_>> = self.attributes.iter().collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        for Attribute { key, value } in sorted {
            put_attribute(out, 1, key, value.view());
        }
    }
}

impl PointValue {
    /// Reads a field of the point, if it is one of the value.
    fn merge(&mut self, number: u32, wire: WireValue<'_>) -> bool {
        match self {
            Self::Summary => return false,
            Self::Number(value) => match (number, wire) {
                (number_point::AS_DOUBLE, WireValue::Fixed64(v)) => *value = NumberValue::Double(f64::from_bits(v)),
                (number_point::AS_INT, WireValue::Fixed64(v)) => *value = NumberValue::Int(v.cast_signed()),
                _ => return false,
            },
            Self::Histogram(value) => return value.merge(number, wire),
            Self::Exponential(value) => return value.merge(number, wire),
        }
        true
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Summary | Self::Number(NumberValue::Empty) => {}
            Self::Number(NumberValue::Double(v)) => put_fixed64_field(out, number_point::AS_DOUBLE, v.to_bits()),
            Self::Number(NumberValue::Int(v)) => put_fixed64_field(out, number_point::AS_INT, v.cast_unsigned()),
            Self::Histogram(value) => value.encode(out),
            Self::Exponential(value) => value.encode(out),
        }
    }
}

impl Histogram {
    fn merge(&mut self, number: u32, wire: WireValue<'_>) -> bool {
        match (number, wire) {
            (histogram_point::COUNT, WireValue::Fixed64(v)) => self.count = v,
            (histogram_point::SUM, WireValue::Fixed64(v)) => self.sum = Some(f64::from_bits(v)),
            (histogram_point::MIN, WireValue::Fixed64(v)) => self.min = Some(f64::from_bits(v)),
            (histogram_point::MAX, WireValue::Fixed64(v)) => self.max = Some(f64::from_bits(v)),
            (histogram_point::BUCKET_COUNTS, WireValue::Fixed64(v)) => self.counts.push(v),
            (histogram_point::BUCKET_COUNTS, WireValue::Len(v)) => self.counts.extend(fixed64_values(v)),
            (histogram_point::EXPLICIT_BOUNDS, WireValue::Fixed64(v)) => self.bounds.push(f64::from_bits(v)),
            (histogram_point::EXPLICIT_BOUNDS, WireValue::Len(v)) => {
                self.bounds.extend(fixed64_values(v).map(f64::from_bits));
            }
            _ => return false,
        }
        true
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_plain_fixed64(out, histogram_point::COUNT, self.count);
        put_optional(out, histogram_point::SUM, self.sum);
        put_packed(out, histogram_point::BUCKET_COUNTS, &self.counts, |v| *v);
        put_packed(out, histogram_point::EXPLICIT_BOUNDS, &self.bounds, |v| v.to_bits());
        put_optional(out, histogram_point::MIN, self.min);
        put_optional(out, histogram_point::MAX, self.max);
    }
}

impl ExponentialHistogram {
    fn merge(&mut self, number: u32, wire: WireValue<'_>) -> bool {
        match (number, wire) {
            (exponential_point::COUNT, WireValue::Fixed64(v)) => self.count = v,
            (exponential_point::SUM, WireValue::Fixed64(v)) => self.sum = Some(f64::from_bits(v)),
            (exponential_point::MIN, WireValue::Fixed64(v)) => self.min = Some(f64::from_bits(v)),
            (exponential_point::MAX, WireValue::Fixed64(v)) => self.max = Some(f64::from_bits(v)),
            (exponential_point::SCALE, WireValue::Varint(v)) => self.scale = decode_zigzag32(v),
            (exponential_point::ZERO_COUNT, WireValue::Fixed64(v)) => self.zero_count = v,
            (exponential_point::ZERO_THRESHOLD, WireValue::Fixed64(v)) => self.zero_threshold = f64::from_bits(v),
            (exponential_point::POSITIVE, WireValue::Len(v)) => self.positive.merge(v),
            (exponential_point::NEGATIVE, WireValue::Len(v)) => self.negative.merge(v),
            _ => return false,
        }
        true
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_plain_fixed64(out, exponential_point::COUNT, self.count);
        put_optional(out, exponential_point::SUM, self.sum);
        put_plain(out, exponential_point::SCALE, encode_zigzag32(self.scale));
        put_plain_fixed64(out, exponential_point::ZERO_COUNT, self.zero_count);
        self.positive.encode(out, exponential_point::POSITIVE);
        self.negative.encode(out, exponential_point::NEGATIVE);
        put_optional(out, exponential_point::MIN, self.min);
        put_optional(out, exponential_point::MAX, self.max);
        put_plain_fixed64(out, exponential_point::ZERO_THRESHOLD, self.zero_threshold.to_bits());
    }
}

impl Buckets {
    fn merge(&mut self, raw: &[u8]) {
        for (number, wire) in MessageFields::new(raw) {
            match (number, wire) {
                (buckets::OFFSET, WireValue::Varint(v)) => self.offset = decode_zigzag32(v),
                (buckets::BUCKET_COUNTS, WireValue::Varint(v)) => self.counts.push(v),
                (buckets::BUCKET_COUNTS, WireValue::Len(mut packed)) => {
                    while let Some((v, rest)) = read_varint(packed) {
                        self.counts.push(v);
                        packed = rest;
                    }
                }
                _ => {}
            }
        }
    }

    fn encode(&self, out: &mut Vec<u8>, field: u32) {
        if *self == Self::default() {
            return;
        }
        let offset = encode_zigzag32(self.offset);
        let offset_len = if offset == 0 { 0 } else { 1 + varint_len(offset) };
        let counts: usize = self.counts.iter().map(|count| varint_len(*count)).sum();
        let counts_len = if counts == 0 { 0 } else { short_tag_field_len(counts) };
        put_tag_and_len(out, field, offset_len + counts_len);
        put_plain(out, buckets::OFFSET, offset);
        if counts > 0 {
            put_tag_and_len(out, buckets::BUCKET_COUNTS, counts);
            self.counts.iter().for_each(|count| put_varint(out, *count));
        }
    }
}

fn fixed64_values(packed: &[u8]) -> impl Iterator<Item = u64> {
    packed.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Appends an attribute as a field of its message.
pub(crate) fn put_attribute(out: &mut Vec<u8>, number: u32, key: &[u8], value: AnyValue<'_>) {
    let value_len = value.encoded_len();
    let key_len = if key.is_empty() { 0 } else { short_tag_field_len(key.len()) };
    put_tag_and_len(out, number, key_len + short_tag_field_len(value_len));
    put_text(out, 1, key);
    put_tag_and_len(out, 2, value_len);
    value.encode(out);
}

pub(crate) fn put_text(out: &mut Vec<u8>, number: u32, text: &[u8]) {
    if !text.is_empty() {
        put_bytes_field(out, number, text);
    }
}

pub(crate) fn put_plain(out: &mut Vec<u8>, number: u32, v: u64) {
    if v != 0 {
        put_varint_field(out, number, v);
    }
}

fn put_plain_fixed64(out: &mut Vec<u8>, number: u32, v: u64) {
    if v != 0 {
        put_fixed64_field(out, number, v);
    }
}

fn put_optional(out: &mut Vec<u8>, number: u32, v: Option<f64>) {
    if let Some(v) = v {
        put_fixed64_field(out, number, v.to_bits());
    }
}

fn put_packed<T>(out: &mut Vec<u8>, number: u32, values: &[T], bits: impl Fn(&T) -> u64) {
    if !values.is_empty() {
        put_tag_and_len(out, number, values.len() * 8);
        values.iter().for_each(|value| out.extend_from_slice(&bits(value).to_le_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use otelcore_pdata::build::Body;

    use super::*;

    #[test]
    fn metric_decoded_and_encoded_is_the_same() {
        let mut body = Body::new();
        let mut metric = otelcore_pdata::build::MetricWriter::content(&mut body);
        metric.name(b"m").unit(b"s").description(b"d");
        let mut histogram = metric.exponential_histogram();
        histogram.aggregation_temporality(2);
        let mut point = histogram.point();
        point.attributes().string(b"k", b"v").int(b"n", -1);
        point.time_unix_nano(5).start_time_unix_nano(4).count(9).sum(0.5).scale(-3).zero_count(1).flags(1);
        point.positive().offset(-7).bucket_counts(&[0, 300, 1]);
        point.negative().offset(2);
        point.min(0.0).max(1.0).zero_threshold(0.1);
        point.exemplar().int(3);
        drop(point);
        drop(histogram);
        drop(metric);
        let raw = body.bytes().to_vec();
        let decoded = OwnedMetric::decode(&raw);
        let mut out = Vec::new();
        decoded.encode(&mut out);
        let mut again = Vec::new();
        OwnedMetric::decode(&out).encode(&mut again);
        assert_eq!(out, again);
        assert_eq!(out.len(), raw.len());
        let point = &decoded.points[0];
        assert_eq!((point.start, point.time, point.flags, point.exemplars.len()), (4, 5, 1, 1));
        let PointValue::Exponential(value) = &point.value else { panic!("{point:?}") };
        assert_eq!(value.positive, Buckets { offset: -7, counts: vec![0, 300, 1] });
        assert_eq!((value.count, value.sum, value.scale, value.negative.offset), (9, Some(0.5), -3, 2));
    }
}
