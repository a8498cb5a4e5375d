//! A metric apart from its payload: what a function that changes the structure of a metric works on.
//!
//! The metric's own fields are decoded; its points, of which there may be many, stay the bytes that they were. Fields
//! that OTLP does not have are lost.

use otelcore_pdata::edit::MetricKind;
use otelcore_pdata::schema::{gauge, metric};
use otelcore_pdata::views::{
    ExponentialHistogramPoint, HistogramPoint, KeyValue, Metric, MetricData, NumberPoint, RepeatedMessages,
    SummaryPoint, Temporality,
};
use otelcore_pdata::wire_format::{
    MessageFields, WireValue, put_bytes_field, put_tag_and_len, put_varint_field, varint_len,
};

/// The field number of points in the data of every kind.
const POINTS: u32 = gauge::DATA_POINTS;

/// The field number of entries in a `KeyValueList`.
const ENTRIES: u32 = 1;

/// A metric apart from its payload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnedMetric {
    /// Its name.
    pub name: Vec<u8>,
    /// Description for users.
    pub description: Vec<u8>,
    /// UCUM unit.
    pub unit: Vec<u8>,
    /// Metadata attributes: the content of a `KeyValueList`.
    pub metadata: Vec<u8>,
    /// What data it has.
    pub kind: MetricKind,
    /// 1 delta, 2 cumulative.
    pub temporality: i32,
    /// Never decreases. For sums.
    pub is_monotonic: bool,
    /// Its points, as whole fields `data_points`.
    pub points: Vec<u8>,
}

/// The number of a kind's field in `Metric`; zero for none.
pub(super) fn data_number(kind: MetricKind) -> u32 {
    match kind {
        MetricKind::Empty => 0,
        MetricKind::Gauge => metric::GAUGE,
        MetricKind::Sum => metric::SUM,
        MetricKind::Histogram => metric::HISTOGRAM,
        MetricKind::ExponentialHistogram => metric::EXPONENTIAL_HISTOGRAM,
        MetricKind::Summary => metric::SUMMARY,
    }
}

/// The kind of a metric, the content of its data, and its temporality and monotonicity.
pub(super) fn data_of<'a>(metric: &Metric<'a>) -> (MetricKind, &'a [u8], Temporality, bool) {
    let none = Temporality::Unspecified;
    match metric.data {
        MetricData::Empty => (MetricKind::Empty, &[], none, false),
        MetricData::Gauge(data) => (MetricKind::Gauge, data.raw, none, false),
        MetricData::Sum(data) => (MetricKind::Sum, data.raw, data.temporality, data.is_monotonic),
        MetricData::Histogram(data) => (MetricKind::Histogram, data.raw, data.temporality, false),
        MetricData::ExponentialHistogram(data) => (MetricKind::ExponentialHistogram, data.raw, data.temporality, false),
        MetricData::Summary(data) => (MetricKind::Summary, data.raw, none, false),
    }
}

impl OwnedMetric {
    /// A copy of a metric.
    #[must_use]
    pub fn copy_of(metric: &Metric<'_>) -> Self {
        let (kind, data, temporality, is_monotonic) = data_of(metric);
        let mut metadata = Vec::new();
        for attribute in metric.metadata() {
            put_bytes_field(&mut metadata, ENTRIES, attribute.raw);
        }
        let mut points = Vec::new();
        for (number, wire) in MessageFields::new(data) {
            if let (POINTS, WireValue::Len(point)) = (number, wire) {
                put_bytes_field(&mut points, POINTS, point);
            }
        }
        Self {
            name: metric.name.to_vec(),
            description: metric.description.to_vec(),
            unit: metric.unit.to_vec(),
            metadata,
            kind,
            temporality: match temporality {
                Temporality::Unspecified => 0,
                Temporality::Delta => 1,
                Temporality::Cumulative => 2,
            },
            is_monotonic,
            points,
        }
    }

    /// Appends the content of the `Metric` message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for (number, text) in
            [(metric::NAME, &self.name), (metric::DESCRIPTION, &self.description), (metric::UNIT, &self.unit)]
        {
            if !text.is_empty() {
                put_bytes_field(out, number, text);
            }
        }
        let number = data_number(self.kind);
        if number != 0 {
            let has_temporality =
                matches!(self.kind, MetricKind::Sum | MetricKind::Histogram | MetricKind::ExponentialHistogram);
            let temporality = if has_temporality { i64::from(self.temporality).cast_unsigned() } else { 0 };
            let is_monotonic = self.kind == MetricKind::Sum && self.is_monotonic;
            let temporality_len = if temporality == 0 { 0 } else { 1 + varint_len(temporality) };
            put_tag_and_len(out, number, self.points.len() + temporality_len + 2 * usize::from(is_monotonic));
            out.extend_from_slice(&self.points);
            if temporality != 0 {
                put_varint_field(out, 2, temporality);
            }
            if is_monotonic {
                put_varint_field(out, 3, 1);
            }
        }
        for attribute in RepeatedMessages::<KeyValue<'_>>::new(&self.metadata, ENTRIES) {
            put_bytes_field(out, metric::METADATA, attribute.raw);
        }
    }

    /// A metric of the same name, description and unit, with other data and no points.
    #[must_use]
    pub fn with_data(&self, kind: MetricKind, temporality: i32, is_monotonic: bool) -> Self {
        Self {
            name: self.name.clone(),
            description: self.description.clone(),
            unit: self.unit.clone(),
            kind,
            temporality,
            is_monotonic,
            ..Self::default()
        }
    }

    /// Adds a point.
    pub fn push_point(&mut self, point: &[u8]) {
        put_bytes_field(&mut self.points, POINTS, point);
    }

    /// The points of a gauge or sum.
    #[must_use]
    pub fn number_points(&self) -> RepeatedMessages<'_, NumberPoint<'_>> {
        RepeatedMessages::new(&self.points, POINTS)
    }

    /// The points of a histogram with explicit bounds.
    #[must_use]
    pub fn histogram_points(&self) -> RepeatedMessages<'_, HistogramPoint<'_>> {
        RepeatedMessages::new(&self.points, POINTS)
    }

    /// The points of a histogram with exponential bounds.
    #[must_use]
    pub fn exponential_points(&self) -> RepeatedMessages<'_, ExponentialHistogramPoint<'_>> {
        RepeatedMessages::new(&self.points, POINTS)
    }

    /// The points of a summary.
    #[must_use]
    pub fn summary_points(&self) -> RepeatedMessages<'_, SummaryPoint<'_>> {
        RepeatedMessages::new(&self.points, POINTS)
    }

    /// The content of each point.
    pub fn raw_points(&self) -> impl Iterator<Item = &[u8]> {
        MessageFields::new(&self.points).filter_map(|(number, wire)| match wire {
            WireValue::Len(point) if number == POINTS => Some(point),
            _ => None,
        })
    }
}
