//! `metrics.proto`.

use super::writer::writer;
use super::{ResourceWriter, ScopeWriter};

writer! {
    /// The metrics of one resource.
    ResourceMetricsWriter {
        /// Schema of the resource.
        3 schema_url: text,
        message /// The resource: at most once.
        1 resource: ResourceWriter MIDDLE,
        message /// Adds the metrics of a scope.
        2 scope_metrics: ScopeMetricsWriter LARGE,
    }
}

writer! {
    /// The metrics of one scope.
    ScopeMetricsWriter {
        /// Schema of the scope and its metrics.
        3 schema_url: text,
        message /// The scope: at most once.
        1 scope: ScopeWriter SMALL,
        message /// Adds a metric.
        2 metric: MetricWriter MIDDLE,
    }
}

writer! {
    /// One metric. Its data is written by one of `gauge`, `sum`, `histogram`, `exponential_histogram` and `summary`,
    /// once.
    MetricWriter {
        /// Its name.
        1 name: text,
        /// Description for users.
        2 description: text,
        /// UCUM unit.
        3 unit: text,
        message /// It is a gauge.
        5 gauge: GaugeWriter MIDDLE,
        message /// It is a sum.
        7 sum: SumWriter MIDDLE,
        message /// It is a histogram with explicit bounds.
        9 histogram: HistogramWriter MIDDLE,
        message /// It is a histogram with exponential bounds.
        10 exponential_histogram: ExponentialHistogramWriter MIDDLE,
        message /// It is a summary.
        11 summary: SummaryWriter MIDDLE,
        attributes /// Metadata attributes.
        12 metadata,
    }
}

writer! {
    /// The data of a gauge.
    GaugeWriter {
        item /// Adds a point.
        1 point: NumberPointWriter,
    }
}

writer! {
    /// The data of a sum.
    SumWriter {
        /// 1 delta, 2 cumulative.
        2 aggregation_temporality: int32,
        /// Never decreases.
        3 is_monotonic: bool,
        item /// Adds a point.
        1 point: NumberPointWriter,
    }
}

writer! {
    /// The data of a histogram with explicit bounds.
    HistogramWriter {
        /// 1 delta, 2 cumulative.
        2 aggregation_temporality: int32,
        item /// Adds a point.
        1 point: HistogramPointWriter,
    }
}

writer! {
    /// The data of a histogram with exponential bounds.
    ExponentialHistogramWriter {
        /// 1 delta, 2 cumulative.
        2 aggregation_temporality: int32,
        item /// Adds a point.
        1 point: ExponentialHistogramPointWriter,
    }
}

writer! {
    /// The data of a summary.
    SummaryWriter {
        item /// Adds a point.
        1 point: SummaryPointWriter,
    }
}

writer! {
    /// One value of a gauge or sum.
    NumberPointWriter {
        /// Nanoseconds since the epoch.
        2 start_time_unix_nano: fixed64,
        /// Nanoseconds since the epoch.
        3 time_unix_nano: fixed64,
        /// The value, a double.
        4 double: some_double,
        /// The value, an integer.
        6 int: some_sfixed64,
        /// Bit 0: no recorded value.
        8 flags: uint32,
        message /// Adds an exemplar.
        5 exemplar: ExemplarWriter SMALL,
        attributes /// Its attributes.
        7 attributes,
    }
}

writer! {
    /// One histogram with explicit bounds.
    HistogramPointWriter {
        /// Nanoseconds since the epoch.
        2 start_time_unix_nano: fixed64,
        /// Nanoseconds since the epoch.
        3 time_unix_nano: fixed64,
        /// Number of measurements.
        4 count: fixed64,
        /// Their sum.
        5 sum: some_double,
        /// Counts by bucket, one more than there are bounds: at most once.
        6 bucket_counts: packed_fixed64,
        /// Upper bounds of the buckets, ascending: at most once.
        7 explicit_bounds: packed_double,
        /// Bit 0: no recorded value.
        10 flags: uint32,
        /// Smallest measurement.
        11 min: some_double,
        /// Largest measurement.
        12 max: some_double,
        message /// Adds an exemplar.
        8 exemplar: ExemplarWriter SMALL,
        attributes /// Its attributes.
        9 attributes,
    }
}

writer! {
    /// One histogram with exponential bounds.
    ExponentialHistogramPointWriter {
        /// Nanoseconds since the epoch.
        2 start_time_unix_nano: fixed64,
        /// Nanoseconds since the epoch.
        3 time_unix_nano: fixed64,
        /// Number of measurements.
        4 count: fixed64,
        /// Their sum.
        5 sum: some_double,
        /// The base is 2^(2^-scale).
        6 scale: sint32,
        /// Number of measurements close to zero.
        7 zero_count: fixed64,
        /// Bit 0: no recorded value.
        10 flags: uint32,
        /// Smallest measurement.
        12 min: some_double,
        /// Largest measurement.
        13 max: some_double,
        /// Values from `-zero_threshold` to `zero_threshold` are counted as zero.
        14 zero_threshold: double,
        message /// Buckets of positive measurements: at most once.
        8 positive: BucketsWriter SMALL,
        message /// Buckets of negative measurements: at most once.
        9 negative: BucketsWriter SMALL,
        message /// Adds an exemplar.
        11 exemplar: ExemplarWriter SMALL,
        attributes /// Its attributes.
        1 attributes,
    }
}

writer! {
    /// Consecutive exponential buckets.
    BucketsWriter {
        /// Index of the first.
        1 offset: sint32,
        /// Counts by bucket: at most once.
        2 bucket_counts: packed_varint,
    }
}

writer! {
    /// One summary.
    SummaryPointWriter {
        /// Nanoseconds since the epoch.
        2 start_time_unix_nano: fixed64,
        /// Nanoseconds since the epoch.
        3 time_unix_nano: fixed64,
        /// Number of measurements.
        4 count: fixed64,
        /// Their sum.
        5 sum: double,
        /// Bit 0: no recorded value.
        8 flags: uint32,
        message /// Adds the value of a quantile.
        6 quantile_value: QuantileWriter SMALL,
        attributes /// Its attributes.
        7 attributes,
    }
}

writer! {
    /// A quantile of a summary.
    QuantileWriter {
        /// From 0 to 1.
        1 quantile: double,
        /// The value there.
        2 value: double,
    }
}

writer! {
    /// An example of a measurement.
    ExemplarWriter {
        /// Nanoseconds since the epoch.
        2 time_unix_nano: fixed64,
        /// The value, a double.
        3 double: some_double,
        /// The span id.
        4 span_id: id8,
        /// The trace id.
        5 trace_id: id16,
        /// The value, an integer.
        6 int: some_sfixed64,
        attributes /// Attributes that the point does not have.
        7 filtered_attributes,
    }
}
