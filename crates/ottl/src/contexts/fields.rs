//! The fields that paths are resolved to, by the message that they are of.

/// A field of a resource, and of the entry that has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ResourceField {
    /// `attributes`
    Attributes,
    /// `dropped_attributes_count`
    DroppedAttributesCount,
    /// `schema_url`
    SchemaUrl,
}

/// A field of an instrumentation scope, and of the entry that has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ScopeField {
    /// `name`
    Name,
    /// `version`
    Version,
    /// `attributes`
    Attributes,
    /// `dropped_attributes_count`
    DroppedAttributesCount,
    /// `schema_url`
    SchemaUrl,
}

/// A field of a span.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum SpanField {
    /// `trace_id`
    TraceId,
    /// `trace_id.string`
    TraceIdString,
    /// `span_id`
    SpanId,
    /// `span_id.string`
    SpanIdString,
    /// `trace_state`; with a key the value of a list member.
    TraceState,
    /// `parent_span_id`
    ParentSpanId,
    /// `parent_span_id.string`
    ParentSpanIdString,
    /// `name`
    Name,
    /// `kind`
    Kind,
    /// `kind.string`
    KindString,
    /// `kind.deprecated_string`
    KindDeprecatedString,
    /// `start_time_unix_nano`
    StartTimeUnixNano,
    /// `end_time_unix_nano`
    EndTimeUnixNano,
    /// `start_time`
    StartTime,
    /// `end_time`
    EndTime,
    /// `attributes`
    Attributes,
    /// `dropped_attributes_count`
    DroppedAttributesCount,
    /// `events`
    Events,
    /// `dropped_events_count`
    DroppedEventsCount,
    /// `links`
    Links,
    /// `dropped_links_count`
    DroppedLinksCount,
    /// `status`
    Status,
    /// `status.code`
    StatusCode,
    /// `status.message`
    StatusMessage,
    /// `flags`
    Flags,
}

/// A field of an event of a span.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum SpanEventField {
    /// `time_unix_nano`
    TimeUnixNano,
    /// `time`
    Time,
    /// `name`
    Name,
    /// `attributes`
    Attributes,
    /// `dropped_attributes_count`
    DroppedAttributesCount,
    /// `event_index`
    EventIndex,
}

/// A field of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum MetricField {
    /// `name`
    Name,
    /// `description`
    Description,
    /// `unit`
    Unit,
    /// `type`
    Type,
    /// `aggregation_temporality`
    AggregationTemporality,
    /// `is_monotonic`
    IsMonotonic,
    /// `data_points`
    DataPoints,
    /// `metadata`
    Metadata,
}

/// A field of a data point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum DataPointField {
    /// `attributes`
    Attributes,
    /// `start_time_unix_nano`
    StartTimeUnixNano,
    /// `time_unix_nano`
    TimeUnixNano,
    /// `start_time`
    StartTime,
    /// `time`
    Time,
    /// `value_double`
    ValueDouble,
    /// `value_int`
    ValueInt,
    /// `exemplars`
    Exemplars,
    /// `flags`
    Flags,
    /// `count`
    Count,
    /// `sum`
    Sum,
    /// `bucket_counts`
    BucketCounts,
    /// `explicit_bounds`
    ExplicitBounds,
    /// `scale`
    Scale,
    /// `zero_count`
    ZeroCount,
    /// `positive`
    Positive,
    /// `positive.offset`
    PositiveOffset,
    /// `positive.bucket_counts`
    PositiveBucketCounts,
    /// `negative`
    Negative,
    /// `negative.offset`
    NegativeOffset,
    /// `negative.bucket_counts`
    NegativeBucketCounts,
    /// `quantile_values`
    QuantileValues,
}

/// A field of a log record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum LogField {
    /// `time_unix_nano`
    TimeUnixNano,
    /// `observed_time_unix_nano`
    ObservedTimeUnixNano,
    /// `time`
    Time,
    /// `observed_time`
    ObservedTime,
    /// `severity_number`
    SeverityNumber,
    /// `severity_text`
    SeverityText,
    /// `body`
    Body,
    /// `body.string`
    BodyString,
    /// `attributes`
    Attributes,
    /// `dropped_attributes_count`
    DroppedAttributesCount,
    /// `flags`
    Flags,
    /// `trace_id`
    TraceId,
    /// `trace_id.string`
    TraceIdString,
    /// `span_id`
    SpanId,
    /// `span_id.string`
    SpanIdString,
    /// `event_name`
    EventName,
}

/// A field of the request with which the telemetry came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum RequestField {
    /// `otelcol.client.metadata`
    ClientMetadata,
    /// `otelcol.client.auth.attributes`
    ClientAuthAttributes,
    /// `otelcol.grpc.metadata`
    GrpcMetadata,
}
