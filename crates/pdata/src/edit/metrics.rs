//! Metrics and data points under edit.
//!
//! A metric is changed without its points, which are visited one by one. A change of its structure is a replacement:
//! [`MetricMut::replace`], [`MetricMut::append`].

use super::attributes::AttributesMut;
use super::context::{Contexts, Data, contexts, setters};
use super::message::{Message, MessageMut};
use crate::schema::{
    buckets, exponential_point, histogram_point, metric, number_point, scope_metrics, sum, summary_point,
    value_at_quantile,
};
use crate::views::{
    self, AnyValue, ExponentialHistogramPoint, Gauge, Histogram, HistogramPoint, Metric, NumberPoint, NumberValue, Sum,
    Summary, SummaryPoint, Temporality, View,
};
use crate::wire_format::{
    MessageFields, WireValue, encode_zigzag32, packed_varints_len, put_bytes_field, put_fixed64_field,
    put_packed_fixed64, put_packed_varints, put_tag_and_len, put_varint_field, short_tag_field_len, varint_len,
};

/// What data a metric has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricKind {
    /// No data.
    #[default]
    Empty,
    /// A gauge: number points.
    Gauge,
    /// A sum: number points.
    Sum,
    /// A histogram with explicit bounds.
    Histogram,
    /// A histogram with exponential bounds.
    ExponentialHistogram,
    /// A summary.
    Summary,
}

impl MetricKind {
    /// By the field number of the data in a metric.
    pub(super) fn of(number: u32) -> Self {
        match number {
            metric::GAUGE => Self::Gauge,
            metric::SUM => Self::Sum,
            metric::HISTOGRAM => Self::Histogram,
            metric::EXPONENTIAL_HISTOGRAM => Self::ExponentialHistogram,
            metric::SUMMARY => Self::Summary,
            _ => Self::Empty,
        }
    }
}

/// The fields of a metric that hold points.
pub(super) const DATA: &[u32] =
    &[metric::GAUGE, metric::SUM, metric::HISTOGRAM, metric::EXPONENTIAL_HISTOGRAM, metric::SUMMARY];

/// The fields of a metric that are not repeated and are not its data.
const METRIC_FIELDS: &[u32] = &[metric::NAME, metric::DESCRIPTION, metric::UNIT];

/// One metric, without its points.
#[derive(Debug)]
pub struct MetricMut<'a> {
    pub(super) message: &'a mut Message,
    pub(super) part: &'a [u8],
    pub(super) cx: &'a mut Contexts,
}

contexts!(MetricMut: scope);

setters!(MetricMut in metric {
    /// Sets the name.
    set_name: text NAME,
    /// Sets the description for users.
    set_description: text DESCRIPTION,
    /// Sets the unit.
    set_unit: text UNIT,});

impl MetricMut<'_> {
    fn message(&mut self) -> MessageMut<'_> {
        MessageMut { source: self.part, message: self.message }
    }

    /// The metric as it is now, its points as they were before they were visited.
    #[must_use]
    pub fn view(&self) -> Metric<'_> {
        let points = self.part.get(self.cx.data.content.clone()).unwrap_or_default();
        view(self.message.read(self.part), &self.cx.data, points)
    }

    /// What data it has.
    #[must_use]
    pub fn kind(&self) -> MetricKind {
        MetricKind::of(self.cx.data.number)
    }

    /// Its metadata attributes.
    pub fn metadata(&mut self) -> AttributesMut<'_> {
        AttributesMut::new(self.message(), metric::METADATA)
    }

    /// Sets the temporality of a sum or histogram: 0 unspecified, 1 delta, 2 cumulative. No effect on others.
    pub fn set_temporality(&mut self, temporality: i32) {
        let data = &mut self.cx.data;
        if matches!(data.number, metric::SUM | metric::HISTOGRAM | metric::EXPONENTIAL_HISTOGRAM)
            && data.temporality() != temporality
        {
            data.new_temporality = Some(temporality);
        }
    }

    /// Sets whether a sum never decreases. No effect on other kinds.
    pub fn set_is_monotonic(&mut self, is_monotonic: bool) {
        let data = &mut self.cx.data;
        if data.number == metric::SUM && data.is_monotonic() != is_monotonic {
            data.new_is_monotonic = Some(is_monotonic);
        }
    }

    /// Puts metrics, `Metric` messages, in place of this one, once its callback has returned. Its points are not
    /// visited. With none the metric is removed, which does not count as dropped. From the callback of a point this has
    /// no effect.
    pub fn replace<'m>(&mut self, metrics: impl IntoIterator<Item = &'m [u8]>) {
        let mut fields = self.cx.replacement.take().unwrap_or_default();
        fields.clear();
        for metric in metrics {
            if metric.len() > self.cx.room.saturating_sub(fields.len()) {
                self.cx.overflow = true;
                break;
            }
            put_bytes_field(&mut fields, scope_metrics::METRICS, metric);
        }
        self.cx.replacement = Some(fields);
    }

    /// Adds a metric, a `Metric` message, after this one, also if this one is dropped. It is not visited.
    pub fn append(&mut self, metric: &[u8]) {
        if metric.len() > self.cx.room.saturating_sub(self.cx.appended.len()) {
            self.cx.overflow = true;
            return;
        }
        put_bytes_field(&mut self.cx.appended, scope_metrics::METRICS, metric);
    }
}

/// A metric's own fields in `raw`, with data of this kind and these points.
fn view<'a>(raw: &'a [u8], data: &Data, points: &'a [u8]) -> Metric<'a> {
    let mut metric = Metric { raw, ..Metric::default() };
    for (number, wire) in MessageFields::new(raw) {
        match (number, wire) {
            (metric::NAME, WireValue::Len(v)) => metric.name = v,
            (metric::DESCRIPTION, WireValue::Len(v)) => metric.description = v,
            (metric::UNIT, WireValue::Len(v)) => metric.unit = v,
            _ => {}
        }
    }
    let raw = points;
    let temporality = match data.temporality() {
        1 => Temporality::Delta,
        2 => Temporality::Cumulative,
        _ => Temporality::Unspecified,
    };
    metric.data = match MetricKind::of(data.number) {
        MetricKind::Empty => views::MetricData::Empty,
        MetricKind::Gauge => views::MetricData::Gauge(Gauge { raw }),
        MetricKind::Sum => views::MetricData::Sum(Sum { raw, temporality, is_monotonic: data.is_monotonic() }),
        MetricKind::Histogram => views::MetricData::Histogram(Histogram { raw, temporality }),
        MetricKind::ExponentialHistogram => views::MetricData::ExponentialHistogram(Histogram { raw, temporality }),
        MetricKind::Summary => views::MetricData::Summary(Summary { raw }),
    };
    metric
}

impl Data {
    pub(super) fn temporality(&self) -> i32 {
        self.new_temporality.unwrap_or(self.temporality)
    }

    pub(super) fn is_monotonic(&self) -> bool {
        self.new_is_monotonic.unwrap_or(self.is_monotonic)
    }

    /// Reads a field of the data that is not a point.
    pub(super) fn merge(&mut self, number: u32, wire: WireValue<'_>) {
        match (number, wire) {
            (sum::AGGREGATION_TEMPORALITY, WireValue::Varint(v)) => self.temporality = (v as u32).cast_signed(),
            (sum::IS_MONOTONIC, WireValue::Varint(v)) => self.is_monotonic = v != 0,
            _ => {}
        }
    }

    /// Appends the field `number` if it was set; nothing for a zero.
    pub(super) fn put_changed(&self, number: u32, out: &mut Vec<u8>) {
        let value = match number {
            sum::AGGREGATION_TEMPORALITY => self.new_temporality.map(|v| i64::from(v).cast_unsigned()),
            sum::IS_MONOTONIC => self.new_is_monotonic.map(u64::from),
            _ => None,
        };
        if let Some(v) = value {
            put_varint_field(out, number, v);
        }
    }

    pub(super) fn is_changed(&self, number: u32) -> bool {
        match number {
            sum::AGGREGATION_TEMPORALITY => self.new_temporality.is_some(),
            sum::IS_MONOTONIC => self.new_is_monotonic.is_some(),
            _ => false,
        }
    }
}

/// One data point as it is now.
#[derive(Clone, Copy, Debug)]
pub enum Point<'a> {
    /// Of a gauge or sum.
    Number(NumberPoint<'a>),
    /// Of a histogram with explicit bounds.
    Histogram(HistogramPoint<'a>),
    /// Of a histogram with exponential bounds.
    ExponentialHistogram(ExponentialHistogramPoint<'a>),
    /// Of a summary.
    Summary(SummaryPoint<'a>),
}

/// One data point. A setter has no effect on a point whose kind does not have the field.
#[derive(Debug)]
pub struct PointMut<'a> {
    pub(super) message: &'a mut Message,
    pub(super) outer: &'a mut Message,
    pub(super) part: &'a [u8],
    pub(super) cx: &'a mut Contexts,
}

contexts!(PointMut: scope);

setters!(PointMut in number_point {
    /// Sets the start, nanoseconds since the epoch.
    set_start_time_unix_nano: fixed64 START_TIME_UNIX_NANO,
    /// Sets the time, nanoseconds since the epoch.
    set_time_unix_nano: fixed64 TIME_UNIX_NANO,});

impl PointMut<'_> {
    fn message(&mut self) -> MessageMut<'_> {
        MessageMut { source: self.part, message: self.message }
    }

    /// What kind of metric it is a point of.
    #[must_use]
    pub fn kind(&self) -> MetricKind {
        MetricKind::of(self.cx.data.number)
    }

    /// The point as it is now.
    #[must_use]
    pub fn view(&self) -> Point<'_> {
        let raw = self.message.read(self.part);
        match self.kind() {
            MetricKind::Histogram => Point::Histogram(HistogramPoint::parse(raw)),
            MetricKind::ExponentialHistogram => Point::ExponentialHistogram(ExponentialHistogramPoint::parse(raw)),
            MetricKind::Summary => Point::Summary(SummaryPoint::parse(raw)),
            MetricKind::Empty | MetricKind::Gauge | MetricKind::Sum => Point::Number(NumberPoint::parse(raw)),
        }
    }

    /// The metric, its points as they were before they were visited.
    #[must_use]
    pub fn metric(&self) -> Metric<'_> {
        let points = self.part.get(self.cx.data.content.clone()).unwrap_or_default();
        view(self.outer.read(self.part), &self.cx.data, points)
    }

    /// The metric without its points, of which only fields that are not repeated may be read. However often its points
    /// read them, the metric is walked a few times only.
    #[must_use]
    pub fn metric_fields(&self) -> Metric<'_> {
        view(self.outer.fields(self.part, METRIC_FIELDS), &self.cx.data, &[])
    }

    /// The value of one of the metric's metadata attributes.
    #[must_use]
    pub fn metric_metadata(&self, key: &[u8]) -> Option<AnyValue<'_>> {
        self.outer.attribute(self.part, metric::METADATA, key)
    }

    /// The metric, to be changed for all points that are visited later.
    pub fn metric_mut(&mut self) -> MetricMut<'_> {
        MetricMut { message: self.outer, part: self.part, cx: self.cx }
    }

    fn attributes_number(&self) -> u32 {
        match self.kind() {
            MetricKind::Histogram => histogram_point::ATTRIBUTES,
            MetricKind::ExponentialHistogram => exponential_point::ATTRIBUTES,
            MetricKind::Summary => summary_point::ATTRIBUTES,
            MetricKind::Empty | MetricKind::Gauge | MetricKind::Sum => number_point::ATTRIBUTES,
        }
    }

    /// The value of one of its attributes.
    #[inline]
    #[must_use]
    pub fn attribute(&self, key: &[u8]) -> Option<AnyValue<'_>> {
        self.message.attribute(self.part, self.attributes_number(), key)
    }

    /// Its attributes.
    #[inline]
    pub fn attributes(&mut self) -> AttributesMut<'_> {
        let number = self.attributes_number();
        AttributesMut::new(self.message(), number)
    }

    fn is_number(&self) -> bool {
        matches!(self.kind(), MetricKind::Gauge | MetricKind::Sum)
    }

    /// Sets the flags: bit 0 means that there is no recorded value.
    pub fn set_flags(&mut self, flags: u32) {
        let number = match self.kind() {
            MetricKind::Histogram => histogram_point::FLAGS,
            MetricKind::ExponentialHistogram => exponential_point::FLAGS,
            MetricKind::Summary => summary_point::FLAGS,
            MetricKind::Empty | MetricKind::Gauge | MetricKind::Sum => number_point::FLAGS,
        };
        self.message().uint(number, u64::from(flags));
    }

    /// Sets the value of a number point.
    pub fn set_value(&mut self, value: NumberValue) {
        use number_point::{AS_DOUBLE, AS_INT};
        if self.is_number() {
            let mut message = self.message();
            match value {
                NumberValue::Double(v) => {
                    message.set(AS_DOUBLE, &[AS_INT], |out| put_fixed64_field(out, AS_DOUBLE, v.to_bits()));
                }
                NumberValue::Int(v) => {
                    message.set(AS_INT, &[AS_DOUBLE], |out| put_fixed64_field(out, AS_INT, v.cast_unsigned()));
                }
                NumberValue::Empty => message.retain(|number, _| number != AS_DOUBLE && number != AS_INT),
            }
        }
    }

    /// Sets the number of measurements of a histogram or summary.
    pub fn set_count(&mut self, count: u64) {
        match self.kind() {
            MetricKind::Gauge | MetricKind::Sum => {}
            MetricKind::Histogram => self.message().fixed64(histogram_point::COUNT, count),
            MetricKind::ExponentialHistogram => self.message().fixed64(exponential_point::COUNT, count),
            MetricKind::Empty | MetricKind::Summary => self.message().fixed64(summary_point::COUNT, count),
        }
    }

    /// Sets the sum of a histogram or summary; a summary has zero for none.
    pub fn set_sum(&mut self, sum: Option<f64>) {
        match self.kind() {
            MetricKind::Histogram => self.message().optional_double(histogram_point::SUM, sum),
            MetricKind::ExponentialHistogram => self.message().optional_double(exponential_point::SUM, sum),
            MetricKind::Summary => self.message().double(summary_point::SUM, sum.unwrap_or(0.0)),
            MetricKind::Empty | MetricKind::Gauge | MetricKind::Sum => {}
        }
    }

    /// Sets the smallest measurement of a histogram.
    pub fn set_min(&mut self, min: Option<f64>) {
        match self.kind() {
            MetricKind::Histogram => self.message().optional_double(histogram_point::MIN, min),
            MetricKind::ExponentialHistogram => self.message().optional_double(exponential_point::MIN, min),
            _ => {}
        }
    }

    /// Sets the largest measurement of a histogram.
    pub fn set_max(&mut self, max: Option<f64>) {
        match self.kind() {
            MetricKind::Histogram => self.message().optional_double(histogram_point::MAX, max),
            MetricKind::ExponentialHistogram => self.message().optional_double(exponential_point::MAX, max),
            _ => {}
        }
    }

    /// Sets the counts of a histogram with explicit bounds, written as one packed field.
    pub fn set_bucket_counts(&mut self, counts: &[u64]) {
        if self.kind() == MetricKind::Histogram {
            self.packed(histogram_point::BUCKET_COUNTS, counts, |count| *count);
        }
    }

    /// Sets the bounds of a histogram with explicit bounds, written as one packed field.
    pub fn set_explicit_bounds(&mut self, bounds: &[f64]) {
        if self.kind() == MetricKind::Histogram {
            self.packed(histogram_point::EXPLICIT_BOUNDS, bounds, |bound| bound.to_bits());
        }
    }

    fn packed<T>(&mut self, number: u32, values: &[T], bits: impl Fn(&T) -> u64) {
        self.message().set(number, &[], |out| put_packed_fixed64(out, number, values, bits));
    }

    /// Sets the scale of an exponential histogram.
    pub fn set_scale(&mut self, scale: i32) {
        if self.kind() == MetricKind::ExponentialHistogram {
            self.message().uint(exponential_point::SCALE, encode_zigzag32(scale));
        }
    }

    /// Sets the count of measurements close to zero of an exponential histogram.
    pub fn set_zero_count(&mut self, count: u64) {
        if self.kind() == MetricKind::ExponentialHistogram {
            self.message().fixed64(exponential_point::ZERO_COUNT, count);
        }
    }

    /// Sets the width of the zero bucket of an exponential histogram.
    pub fn set_zero_threshold(&mut self, threshold: f64) {
        if self.kind() == MetricKind::ExponentialHistogram {
            self.message().double(exponential_point::ZERO_THRESHOLD, threshold);
        }
    }

    /// Sets the buckets of positive measurements of an exponential histogram.
    pub fn set_positive(&mut self, offset: i32, counts: &[u64]) {
        self.buckets(exponential_point::POSITIVE, offset, counts);
    }

    /// Sets the buckets of negative measurements of an exponential histogram.
    pub fn set_negative(&mut self, offset: i32, counts: &[u64]) {
        self.buckets(exponential_point::NEGATIVE, offset, counts);
    }

    fn buckets(&mut self, number: u32, offset: i32, counts: &[u64]) {
        if self.kind() != MetricKind::ExponentialHistogram {
            return;
        }
        let offset = encode_zigzag32(offset);
        let offset_len = if offset == 0 { 0 } else { 1 + varint_len(offset) };
        let counts_len = if counts.is_empty() { 0 } else { short_tag_field_len(packed_varints_len(counts)) };
        self.message().message_field(number, offset_len + counts_len, |out| {
            if offset != 0 {
                put_varint_field(out, buckets::OFFSET, offset);
            }
            put_packed_varints(out, buckets::BUCKET_COUNTS, counts);
        });
    }

    /// Sets quantiles and their values of a summary.
    pub fn set_quantile_values(&mut self, values: &[(f64, f64)]) {
        if self.kind() != MetricKind::Summary {
            return;
        }
        self.message().set(summary_point::QUANTILE_VALUES, &[], |out| {
            for (quantile, value) in values {
                put_tag_and_len(out, summary_point::QUANTILE_VALUES, 18);
                put_fixed64_field(out, value_at_quantile::QUANTILE, quantile.to_bits());
                put_fixed64_field(out, value_at_quantile::VALUE, value.to_bits());
            }
        });
    }

    /// Removes all exemplars; a summary has none.
    pub fn clear_exemplars(&mut self) {
        let number = match self.kind() {
            MetricKind::Gauge | MetricKind::Sum => number_point::EXEMPLARS,
            MetricKind::Histogram => histogram_point::EXEMPLARS,
            MetricKind::ExponentialHistogram => exponential_point::EXEMPLARS,
            MetricKind::Empty | MetricKind::Summary => return,
        };
        self.message().retain(|found, _| found != number);
    }

    /// Replaces the whole point: a message of the same kind.
    pub fn replace(&mut self, point: &[u8]) {
        self.message().replace(point);
    }
}
