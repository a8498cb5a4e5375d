//! `metrics.proto`.

use super::{
    FromWireValue, KeyValue, MergeOneof, MessageFields, RepeatedFixed64, RepeatedMessages, RepeatedVarints, Resource,
    Scope, Sint32, View, WireValue, view,
};

view! {
    /// The metrics of one resource.
    ResourceMetrics<'a> {
        /// The resource that produced them.
        1 resource: Resource<'a>,
        /// Schema of the resource.
        3 schema_url: &'a [u8],
        repeated /// The metrics, by scope.
        2 scope_metrics: ScopeMetrics<'a>,
    }
}

view! {
    /// The metrics of one instrumentation scope.
    ScopeMetrics<'a> {
        /// The scope.
        1 scope: Scope<'a>,
        /// Schema of the scope and its metrics.
        3 schema_url: &'a [u8],
        repeated /// The metrics.
        2 metrics: Metric<'a>,
    }
}

view! {
    /// One metric and its points.
    Metric<'a> {
        /// Its name.
        1 name: &'a [u8],
        /// Description for users.
        2 description: &'a [u8],
        /// UCUM unit.
        3 unit: &'a [u8],
        repeated /// Metadata attributes.
        12 metadata: KeyValue<'a>,
        oneof /// Its kind and points.
        data: MetricData<'a>,
    }
}

/// The kind of a metric, with its points.
#[derive(Clone, Copy, Debug, Default)]
pub enum MetricData<'a> {
    /// No data.
    #[default]
    Empty,
    /// Values that are sampled.
    Gauge(Gauge<'a>),
    /// Values that can be added.
    Sum(Sum<'a>),
    /// Counts by explicit bounds.
    Histogram(Histogram<'a>),
    /// Counts by exponential bounds.
    ExponentialHistogram(Histogram<'a>),
    /// Quantiles computed by the source.
    Summary(Summary<'a>),
}

impl<'a> MergeOneof<'a> for MetricData<'a> {
    fn merge_oneof(&mut self, number: u32, wire: WireValue<'a>) {
        let WireValue::Len(raw) = wire else { return };
        *self = match number {
            5 => Self::Gauge(Gauge::parse(raw)),
            7 => Self::Sum(Sum::parse(raw)),
            9 => Self::Histogram(Histogram::parse(raw)),
            10 => Self::ExponentialHistogram(Histogram::parse(raw)),
            11 => Self::Summary(Summary::parse(raw)),
            _ => return,
        };
    }
}

/// Whether points count from a fixed start or from the previous point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temporality {
    /// Not specified, or an unknown number.
    #[default]
    Unspecified,
    /// Since the previous point.
    Delta,
    /// Since a fixed start.
    Cumulative,
}

impl FromWireValue<'_> for Temporality {
    fn from_wire_value(wire: WireValue<'_>) -> Option<Self> {
        match wire {
            WireValue::Varint(1) => Some(Self::Delta),
            WireValue::Varint(2) => Some(Self::Cumulative),
            WireValue::Varint(_) => Some(Self::Unspecified),
            WireValue::Fixed64(_) | WireValue::Len(_) | WireValue::Fixed32(_) => None,
        }
    }
}

view! {
    /// The points of a gauge.
    Gauge<'a> {
        repeated /// The points.
        1 points: NumberPoint<'a>,
    }
}

view! {
    /// The points of a sum.
    Sum<'a> {
        /// Delta or cumulative.
        2 temporality: Temporality,
        /// Never decreases.
        3 is_monotonic: bool,
        repeated /// The points.
        1 points: NumberPoint<'a>,
    }
}

view! {
    /// The points of a histogram of either kind: both messages have the same fields.
    Histogram<'a> {
        /// Delta or cumulative.
        2 temporality: Temporality,
        repeated /// The points, when the bounds are explicit.
        1 points: HistogramPoint<'a>,
        repeated /// The points, when the bounds are exponential.
        1 exponential_points: ExponentialHistogramPoint<'a>,
    }
}

view! {
    /// The points of a summary.
    Summary<'a> {
        repeated /// The points.
        1 points: SummaryPoint<'a>,
    }
}

/// The value of a number point or exemplar.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum NumberValue {
    /// No value.
    #[default]
    Empty,
    /// A double.
    Double(f64),
    /// A signed integer.
    Int(i64),
}

view! {
    /// One value of a gauge or sum.
    NumberPoint<'a> {
        /// Nanoseconds since the epoch.
        2 start_time_unix_nano: u64,
        /// Nanoseconds since the epoch.
        3 time_unix_nano: u64,
        /// Bit 0: no recorded value.
        8 flags: u32,
        repeated /// Attributes.
        7 attributes: KeyValue<'a>,
        repeated /// Examples of measurements.
        5 exemplars: Exemplar<'a>,
        oneof /// The value.
        value: PointValue,
    }
}

/// The oneof of [`NumberPoint`], as a [`NumberValue`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PointValue(pub NumberValue);

impl MergeOneof<'_> for PointValue {
    #[inline]
    fn merge_oneof(&mut self, number: u32, wire: WireValue<'_>) {
        self.0 = match (number, wire) {
            (4, WireValue::Fixed64(v)) => NumberValue::Double(f64::from_bits(v)),
            (6, WireValue::Fixed64(v)) => NumberValue::Int(v.cast_signed()),
            _ => return,
        };
    }
}

view! {
    /// One histogram with explicit bounds.
    HistogramPoint<'a> {
        /// Nanoseconds since the epoch.
        2 start_time_unix_nano: u64,
        /// Nanoseconds since the epoch.
        3 time_unix_nano: u64,
        /// Number of measurements.
        4 count: u64,
        /// Their sum, if known.
        5 sum: Option<f64>,
        /// Bit 0: no recorded value.
        10 flags: u32,
        /// Smallest measurement, if known.
        11 min: Option<f64>,
        /// Largest measurement, if known.
        12 max: Option<f64>,
        repeated /// Attributes.
        9 attributes: KeyValue<'a>,
        repeated /// Examples of measurements.
        8 exemplars: Exemplar<'a>,
    }
}

impl<'a> HistogramPoint<'a> {
    /// Counts by bucket, one more than there are bounds.
    #[must_use]
    pub fn bucket_counts(&self) -> RepeatedFixed64<'a> {
        RepeatedFixed64::new(self.raw, 6)
    }

    /// Upper bounds of the buckets, ascending.
    pub fn explicit_bounds(&self) -> impl Iterator<Item = f64> + Clone + use<'a> {
        RepeatedFixed64::new(self.raw, 7).map(f64::from_bits)
    }
}

view! {
    /// One histogram with exponential bounds.
    ExponentialHistogramPoint<'a> {
        /// Nanoseconds since the epoch.
        2 start_time_unix_nano: u64,
        /// Nanoseconds since the epoch.
        3 time_unix_nano: u64,
        /// Number of measurements.
        4 count: u64,
        /// Their sum, if known.
        5 sum: Option<f64>,
        /// The base is 2^(2^-scale).
        6 scale: Sint32,
        /// Number of measurements close to zero.
        7 zero_count: u64,
        /// Buckets of positive measurements.
        8 positive: Buckets<'a>,
        /// Buckets of negative measurements.
        9 negative: Buckets<'a>,
        /// Bit 0: no recorded value.
        10 flags: u32,
        /// Smallest measurement, if known.
        12 min: Option<f64>,
        /// Largest measurement, if known.
        13 max: Option<f64>,
        /// Values from `-zero_threshold` to `zero_threshold` are counted as zero.
        14 zero_threshold: f64,
        repeated /// Attributes.
        1 attributes: KeyValue<'a>,
        repeated /// Examples of measurements.
        11 exemplars: Exemplar<'a>,
    }
}

view! {
    /// Consecutive exponential buckets.
    Buckets<'a> {
        /// Index of the first.
        1 offset: Sint32,
    }
}

impl<'a> Buckets<'a> {
    /// Counts by bucket.
    #[must_use]
    pub fn bucket_counts(&self) -> RepeatedVarints<'a> {
        RepeatedVarints::new(self.raw, 2)
    }
}

view! {
    /// One summary.
    SummaryPoint<'a> {
        /// Nanoseconds since the epoch.
        2 start_time_unix_nano: u64,
        /// Nanoseconds since the epoch.
        3 time_unix_nano: u64,
        /// Number of measurements.
        4 count: u64,
        /// Their sum.
        5 sum: f64,
        /// Bit 0: no recorded value.
        8 flags: u32,
        repeated /// Attributes.
        7 attributes: KeyValue<'a>,
        repeated /// Values by quantile.
        6 quantile_values: ValueAtQuantile<'a>,
    }
}

view! {
    /// A quantile of a summary.
    ValueAtQuantile<'a> {
        /// From 0 to 1.
        1 quantile: f64,
        /// The value there.
        2 value: f64,
    }
}

view! {
    /// An example of a measurement.
    Exemplar<'a> {
        /// Nanoseconds since the epoch.
        2 time_unix_nano: u64,
        /// 8 bytes, or none.
        4 span_id: &'a [u8],
        /// 16 bytes, or none.
        5 trace_id: &'a [u8],
        repeated /// Attributes that the point does not have.
        7 filtered_attributes: KeyValue<'a>,
        oneof /// The value.
        value: ExemplarValue,
    }
}

/// The oneof of [`Exemplar`], as a [`NumberValue`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExemplarValue(pub NumberValue);

impl MergeOneof<'_> for ExemplarValue {
    #[inline]
    fn merge_oneof(&mut self, number: u32, wire: WireValue<'_>) {
        self.0 = match (number, wire) {
            (3, WireValue::Fixed64(v)) => NumberValue::Double(f64::from_bits(v)),
            (6, WireValue::Fixed64(v)) => NumberValue::Int(v.cast_signed()),
            _ => return,
        };
    }
}
