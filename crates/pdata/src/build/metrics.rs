//! `metrics.proto`.

use super::writer::writer;
use super::{ResourceWriter, ScopeWriter};

writer! {
    /// The metrics of one resource.
    ResourceMetricsWriter in resource_metrics {
        /// Schema of the resource.
        SCHEMA_URL schema_url: text,
        @message /// The resource: at most once.
        RESOURCE resource: ResourceWriter MIDDLE,
        @message /// Adds the metrics of a scope.
        SCOPE_METRICS scope_metrics: ScopeMetricsWriter LARGE,
    }
}

writer! {
    /// The metrics of one scope.
    ScopeMetricsWriter in scope_metrics {
        /// Schema of the scope and its metrics.
        SCHEMA_URL schema_url: text,
        @message /// The scope: at most once.
        SCOPE scope: ScopeWriter SMALL,
        @message /// Adds a metric.
        METRICS metric: MetricWriter MIDDLE,
    }
}

writer! {
    /// One metric. Its data is written by one of `gauge`, `sum`, `histogram`, `exponential_histogram` and `summary`,
    /// once.
    MetricWriter in metric {
        /// Its name.
        NAME name: text,
        /// Description for users.
        DESCRIPTION description: text,
        /// UCUM unit.
        UNIT unit: text,
        @message /// It is a gauge.
        GAUGE gauge: GaugeWriter MIDDLE,
        @message /// It is a sum.
        SUM sum: SumWriter MIDDLE,
        @message /// It is a histogram with explicit bounds.
        HISTOGRAM histogram: HistogramWriter MIDDLE,
        @message /// It is a histogram with exponential bounds.
        EXPONENTIAL_HISTOGRAM exponential_histogram: ExponentialHistogramWriter MIDDLE,
        @message /// It is a summary.
        SUMMARY summary: SummaryWriter MIDDLE,
        @attributes /// Metadata attributes.
        METADATA metadata,
    }
}

writer! {
    /// The data of a gauge.
    GaugeWriter in gauge {
        @item /// Adds a point.
        DATA_POINTS point: NumberPointWriter,
    }
}

writer! {
    /// The data of a sum.
    SumWriter in sum {
        /// 1 delta, 2 cumulative.
        AGGREGATION_TEMPORALITY aggregation_temporality: int32,
        /// Never decreases.
        IS_MONOTONIC is_monotonic: bool,
        @item /// Adds a point.
        DATA_POINTS point: NumberPointWriter,
    }
}

writer! {
    /// The data of a histogram with explicit bounds.
    HistogramWriter in histogram {
        /// 1 delta, 2 cumulative.
        AGGREGATION_TEMPORALITY aggregation_temporality: int32,
        @item /// Adds a point.
        DATA_POINTS point: HistogramPointWriter,
    }
}

writer! {
    /// The data of a histogram with exponential bounds.
    ExponentialHistogramWriter in exponential_histogram {
        /// 1 delta, 2 cumulative.
        AGGREGATION_TEMPORALITY aggregation_temporality: int32,
        @item /// Adds a point.
        DATA_POINTS point: ExponentialHistogramPointWriter,
    }
}

writer! {
    /// The data of a summary.
    SummaryWriter in summary {
        @item /// Adds a point.
        DATA_POINTS point: SummaryPointWriter,
    }
}

writer! {
    /// One value of a gauge or sum.
    NumberPointWriter in number_point {
        /// Nanoseconds since the epoch.
        START_TIME_UNIX_NANO start_time_unix_nano: fixed64,
        /// Nanoseconds since the epoch.
        TIME_UNIX_NANO time_unix_nano: fixed64,
        /// The value, a double.
        AS_DOUBLE double: some_double,
        /// The value, an integer.
        AS_INT int: some_sfixed64,
        /// Bit 0: no recorded value.
        FLAGS flags: uint32,
        @message /// Adds an exemplar.
        EXEMPLARS exemplar: ExemplarWriter SMALL,
        @attributes /// Its attributes.
        ATTRIBUTES attributes,
    }
}

writer! {
    /// One histogram with explicit bounds.
    HistogramPointWriter in histogram_point {
        /// Nanoseconds since the epoch.
        START_TIME_UNIX_NANO start_time_unix_nano: fixed64,
        /// Nanoseconds since the epoch.
        TIME_UNIX_NANO time_unix_nano: fixed64,
        /// Number of measurements.
        COUNT count: fixed64,
        /// Their sum.
        SUM sum: some_double,
        /// Counts by bucket, one more than there are bounds: at most once.
        BUCKET_COUNTS bucket_counts: packed_fixed64,
        /// Upper bounds of the buckets, ascending: at most once.
        EXPLICIT_BOUNDS explicit_bounds: packed_double,
        /// Bit 0: no recorded value.
        FLAGS flags: uint32,
        /// Smallest measurement.
        MIN min: some_double,
        /// Largest measurement.
        MAX max: some_double,
        @message /// Adds an exemplar.
        EXEMPLARS exemplar: ExemplarWriter SMALL,
        @attributes /// Its attributes.
        ATTRIBUTES attributes,
    }
}

writer! {
    /// One histogram with exponential bounds.
    ExponentialHistogramPointWriter in exponential_point {
        /// Nanoseconds since the epoch.
        START_TIME_UNIX_NANO start_time_unix_nano: fixed64,
        /// Nanoseconds since the epoch.
        TIME_UNIX_NANO time_unix_nano: fixed64,
        /// Number of measurements.
        COUNT count: fixed64,
        /// Their sum.
        SUM sum: some_double,
        /// The base is 2^(2^-scale).
        SCALE scale: sint32,
        /// Number of measurements close to zero.
        ZERO_COUNT zero_count: fixed64,
        /// Bit 0: no recorded value.
        FLAGS flags: uint32,
        /// Smallest measurement.
        MIN min: some_double,
        /// Largest measurement.
        MAX max: some_double,
        /// Values from `-zero_threshold` to `zero_threshold` are counted as zero.
        ZERO_THRESHOLD zero_threshold: double,
        @message /// Buckets of positive measurements: at most once.
        POSITIVE positive: BucketsWriter SMALL,
        @message /// Buckets of negative measurements: at most once.
        NEGATIVE negative: BucketsWriter SMALL,
        @message /// Adds an exemplar.
        EXEMPLARS exemplar: ExemplarWriter SMALL,
        @attributes /// Its attributes.
        ATTRIBUTES attributes,
    }
}

writer! {
    /// Consecutive exponential buckets.
    BucketsWriter in buckets {
        /// Index of the first.
        OFFSET offset: sint32,
        /// Counts by bucket: at most once.
        BUCKET_COUNTS bucket_counts: packed_varint,
    }
}

writer! {
    /// One summary.
    SummaryPointWriter in summary_point {
        /// Nanoseconds since the epoch.
        START_TIME_UNIX_NANO start_time_unix_nano: fixed64,
        /// Nanoseconds since the epoch.
        TIME_UNIX_NANO time_unix_nano: fixed64,
        /// Number of measurements.
        COUNT count: fixed64,
        /// Their sum.
        SUM sum: double,
        /// Bit 0: no recorded value.
        FLAGS flags: uint32,
        @message /// Adds the value of a quantile.
        QUANTILE_VALUES quantile_value: QuantileWriter SMALL,
        @attributes /// Its attributes.
        ATTRIBUTES attributes,
    }
}

writer! {
    /// A quantile of a summary.
    QuantileWriter in value_at_quantile {
        /// From 0 to 1.
        QUANTILE quantile: double,
        /// The value there.
        VALUE value: double,
    }
}

writer! {
    /// An example of a measurement.
    ExemplarWriter in exemplar {
        /// Nanoseconds since the epoch.
        TIME_UNIX_NANO time_unix_nano: fixed64,
        /// The value, a double.
        AS_DOUBLE double: some_double,
        /// The span id.
        SPAN_ID span_id: id8,
        /// The trace id.
        TRACE_ID trace_id: id16,
        /// The value, an integer.
        AS_INT int: some_sfixed64,
        @attributes /// Attributes that the point does not have.
        FILTERED_ATTRIBUTES filtered_attributes,
    }
}
