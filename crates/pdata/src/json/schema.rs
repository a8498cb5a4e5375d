//! The messages of OTLP as tables: both names of each field, its number and its type, in the order in which the Go
//! collector writes them. In this module, only these tables define fields; the reader and the writer use them. Field
//! numbers: opentelemetry-proto v1. `key_strindex` and `string_value_strindex`, which were added to `common.proto` for
//! profiles, are included because Go's codec reads and writes them.

use crate::Signal;
use crate::check::LEGACY_SCOPES;

/// The type of a value, in JSON and in the wire format.
#[derive(Clone, Copy)]
pub(super) enum JsonFieldType {
    Str,
    /// Base64 in JSON.
    Bytes,
    /// 16 bytes, hexadecimal in JSON.
    TraceId,
    /// 8 bytes, hexadecimal in JSON.
    SpanId,
    Bool,
    /// `int32` as a varint.
    Int32,
    /// `sint32`: zigzag.
    Sint32,
    /// `uint32` as a varint.
    Uint32,
    /// `fixed32`.
    Fixed32,
    /// `int64` as a varint.
    Int64,
    /// `sfixed64`.
    Sfixed64,
    /// `uint64` as a varint.
    Uint64,
    /// `fixed64`.
    Fixed64,
    Double,
    /// The names of the values 0, 1, 2 and so on.
    Enum(&'static [&'static str]),
    Message(&'static MessageSchema),
    /// A value inside a value, which counts as one level of nesting.
    Nested(&'static MessageSchema),
}

/// How often a field can be in its message, and when it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldRule {
    /// Once; omitted if it is zero, unless it is a message.
    Plain,
    /// Once; zero is not absence.
    Optional,
    /// One of the alternatives of its message, of which the last one is valid; zero is not absence. No message has two
    /// sets of alternatives.
    Oneof,
    /// Repeated: each element is appended; numbers are packed.
    Repeated,
}

pub(super) struct FieldSchema {
    pub number: u32,
    /// `name":`, what follows the opening quote of a key.
    pub key_tail: &'static str,
    pub name: &'static str,
    /// The name in the protobuf definition, which the reader also accepts.
    pub proto_name: &'static str,
    pub kind: JsonFieldType,
    pub rule: FieldRule,
}

/// The largest number of fields of any message, and one more than the highest field number, `LEGACY_SCOPES` excepted.
pub(super) const MAX_FIELDS: usize = 17;

pub(super) struct MessageSchema {
    pub fields: &'static [FieldSchema],
    /// Index into `fields` by number; [`NO_FIELD`] where there is no such field.
    indices: [u8; MAX_FIELDS],
}

const NO_FIELD: u8 = u8::MAX;

impl MessageSchema {
    const fn new(fields: &'static [FieldSchema]) -> Self {
        let mut indices = [NO_FIELD; MAX_FIELDS];
        let mut i = 0;
        while i < fields.len() {
            let number = fields[i].number as usize;
            if number < MAX_FIELDS {
                indices[number] = i as u8;
            }
            i += 1;
        }
        Self { fields, indices }
    }

    /// The index of the field with this number. `LEGACY_SCOPES` has none: such fields are renumbered before.
    #[inline]
    pub(super) fn index_of_number(&self, number: u32) -> Option<usize> {
        self.indices.get(number as usize).copied().filter(|i| *i != NO_FIELD).map(usize::from)
    }

    /// The index of the field with this name.
    pub(super) fn index_of_name(&self, name: &[u8]) -> Option<usize> {
        self.fields.iter().position(|f| f.name.as_bytes() == name || f.proto_name.as_bytes() == name)
    }
}

macro_rules! field {
    ($number:expr, $name:literal, $snake:literal, $kind:expr, $rule:expr) => {
        FieldSchema {
            number: $number,
            key_tail: concat!($name, "\":"),
            name: $name,
            proto_name: $snake,
            kind: $kind,
            rule: $rule,
        }
    };
    ($number:expr, $name:literal, $kind:expr, $rule:expr) => {
        field!($number, $name, $name, $kind, $rule)
    };
}

use FieldRule::{Oneof, Optional, Plain, Repeated};
use JsonFieldType::{
    Bool, Bytes, Double, Enum, Fixed32, Fixed64, Int32, Int64, Message, Nested, Sfixed64, Sint32, SpanId, Str, TraceId,
    Uint32, Uint64,
};

/// The schema of a signal's export request.
pub(super) fn request_schema(signal: Signal) -> &'static MessageSchema {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

/// The schema of a signal's export response.
pub(super) fn response_schema(signal: Signal) -> &'static MessageSchema {
    match signal {
        Signal::Traces => &TRACES_RESPONSE,
        Signal::Metrics => &METRICS_RESPONSE,
        Signal::Logs => &LOGS_RESPONSE,
    }
}

static TRACES: MessageSchema =
    MessageSchema::new(&[field!(1, "resourceSpans", "resource_spans", Message(&RESOURCE_SPANS), Repeated)]);
static RESOURCE_SPANS: MessageSchema = MessageSchema::new(&[
    field!(1, "resource", Message(&RESOURCE), Plain),
    field!(2, "scopeSpans", "scope_spans", Message(&SCOPE_SPANS), Repeated),
    field!(3, "schemaUrl", "schema_url", Str, Plain),
    field!(LEGACY_SCOPES, "deprecatedScopeSpans", "deprecated_scope_spans", Message(&SCOPE_SPANS), Repeated),
]);
static SCOPE_SPANS: MessageSchema = MessageSchema::new(&[
    field!(1, "scope", Message(&SCOPE), Plain),
    field!(2, "spans", Message(&SPAN), Repeated),
    field!(3, "schemaUrl", "schema_url", Str, Plain),
]);
static SPAN: MessageSchema = MessageSchema::new(&[
    field!(1, "traceId", "trace_id", TraceId, Plain),
    field!(2, "spanId", "span_id", SpanId, Plain),
    field!(3, "traceState", "trace_state", Str, Plain),
    field!(4, "parentSpanId", "parent_span_id", SpanId, Plain),
    field!(16, "flags", Fixed32, Plain),
    field!(5, "name", Str, Plain),
    field!(6, "kind", Enum(&SPAN_KIND), Plain),
    field!(7, "startTimeUnixNano", "start_time_unix_nano", Fixed64, Plain),
    field!(8, "endTimeUnixNano", "end_time_unix_nano", Fixed64, Plain),
    field!(9, "attributes", Message(&KEY_VALUE), Repeated),
    field!(10, "droppedAttributesCount", "dropped_attributes_count", Uint32, Plain),
    field!(11, "events", Message(&EVENT), Repeated),
    field!(12, "droppedEventsCount", "dropped_events_count", Uint32, Plain),
    field!(13, "links", Message(&LINK), Repeated),
    field!(14, "droppedLinksCount", "dropped_links_count", Uint32, Plain),
    field!(15, "status", Message(&STATUS), Plain),
]);
static EVENT: MessageSchema = MessageSchema::new(&[
    field!(1, "timeUnixNano", "time_unix_nano", Fixed64, Plain),
    field!(2, "name", Str, Plain),
    field!(3, "attributes", Message(&KEY_VALUE), Repeated),
    field!(4, "droppedAttributesCount", "dropped_attributes_count", Uint32, Plain),
]);
static LINK: MessageSchema = MessageSchema::new(&[
    field!(1, "traceId", "trace_id", TraceId, Plain),
    field!(2, "spanId", "span_id", SpanId, Plain),
    field!(3, "traceState", "trace_state", Str, Plain),
    field!(4, "attributes", Message(&KEY_VALUE), Repeated),
    field!(5, "droppedAttributesCount", "dropped_attributes_count", Uint32, Plain),
    field!(6, "flags", Fixed32, Plain),
]);
static STATUS: MessageSchema =
    MessageSchema::new(&[field!(2, "message", Str, Plain), field!(3, "code", Enum(&STATUS_CODE), Plain)]);

static METRICS: MessageSchema =
    MessageSchema::new(&[field!(1, "resourceMetrics", "resource_metrics", Message(&RESOURCE_METRICS), Repeated)]);
static RESOURCE_METRICS: MessageSchema = MessageSchema::new(&[
    field!(1, "resource", Message(&RESOURCE), Plain),
    field!(2, "scopeMetrics", "scope_metrics", Message(&SCOPE_METRICS), Repeated),
    field!(3, "schemaUrl", "schema_url", Str, Plain),
    field!(LEGACY_SCOPES, "deprecatedScopeMetrics", "deprecated_scope_metrics", Message(&SCOPE_METRICS), Repeated),
]);
static SCOPE_METRICS: MessageSchema = MessageSchema::new(&[
    field!(1, "scope", Message(&SCOPE), Plain),
    field!(2, "metrics", Message(&METRIC), Repeated),
    field!(3, "schemaUrl", "schema_url", Str, Plain),
]);
static METRIC: MessageSchema = MessageSchema::new(&[
    field!(1, "name", Str, Plain),
    field!(2, "description", Str, Plain),
    field!(3, "unit", Str, Plain),
    field!(5, "gauge", Message(&GAUGE), Oneof),
    field!(7, "sum", Message(&SUM), Oneof),
    field!(9, "histogram", Message(&HISTOGRAM), Oneof),
    field!(10, "exponentialHistogram", "exponential_histogram", Message(&EXPONENTIAL_HISTOGRAM), Oneof),
    field!(11, "summary", Message(&SUMMARY), Oneof),
    field!(12, "metadata", Message(&KEY_VALUE), Repeated),
]);
static GAUGE: MessageSchema =
    MessageSchema::new(&[field!(1, "dataPoints", "data_points", Message(&NUMBER_POINT), Repeated)]);
static SUM: MessageSchema = MessageSchema::new(&[
    field!(1, "dataPoints", "data_points", Message(&NUMBER_POINT), Repeated),
    field!(2, "aggregationTemporality", "aggregation_temporality", Enum(&TEMPORALITY), Plain),
    field!(3, "isMonotonic", "is_monotonic", Bool, Plain),
]);
static HISTOGRAM: MessageSchema = MessageSchema::new(&[
    field!(1, "dataPoints", "data_points", Message(&HISTOGRAM_POINT), Repeated),
    field!(2, "aggregationTemporality", "aggregation_temporality", Enum(&TEMPORALITY), Plain),
]);
static EXPONENTIAL_HISTOGRAM: MessageSchema = MessageSchema::new(&[
    field!(1, "dataPoints", "data_points", Message(&EXPONENTIAL_POINT), Repeated),
    field!(2, "aggregationTemporality", "aggregation_temporality", Enum(&TEMPORALITY), Plain),
]);
static SUMMARY: MessageSchema =
    MessageSchema::new(&[field!(1, "dataPoints", "data_points", Message(&SUMMARY_POINT), Repeated)]);
static NUMBER_POINT: MessageSchema = MessageSchema::new(&[
    field!(7, "attributes", Message(&KEY_VALUE), Repeated),
    field!(2, "startTimeUnixNano", "start_time_unix_nano", Fixed64, Plain),
    field!(3, "timeUnixNano", "time_unix_nano", Fixed64, Plain),
    field!(4, "asDouble", "as_double", Double, Oneof),
    field!(6, "asInt", "as_int", Sfixed64, Oneof),
    field!(5, "exemplars", Message(&EXEMPLAR), Repeated),
    field!(8, "flags", Uint32, Plain),
]);
static HISTOGRAM_POINT: MessageSchema = MessageSchema::new(&[
    field!(9, "attributes", Message(&KEY_VALUE), Repeated),
    field!(2, "startTimeUnixNano", "start_time_unix_nano", Fixed64, Plain),
    field!(3, "timeUnixNano", "time_unix_nano", Fixed64, Plain),
    field!(4, "count", Fixed64, Plain),
    field!(5, "sum", Double, Optional),
    field!(6, "bucketCounts", "bucket_counts", Fixed64, Repeated),
    field!(7, "explicitBounds", "explicit_bounds", Double, Repeated),
    field!(8, "exemplars", Message(&EXEMPLAR), Repeated),
    field!(10, "flags", Uint32, Plain),
    field!(11, "min", Double, Optional),
    field!(12, "max", Double, Optional),
]);
static EXPONENTIAL_POINT: MessageSchema = MessageSchema::new(&[
    field!(1, "attributes", Message(&KEY_VALUE), Repeated),
    field!(2, "startTimeUnixNano", "start_time_unix_nano", Fixed64, Plain),
    field!(3, "timeUnixNano", "time_unix_nano", Fixed64, Plain),
    field!(4, "count", Fixed64, Plain),
    field!(5, "sum", Double, Optional),
    field!(6, "scale", Sint32, Plain),
    field!(7, "zeroCount", "zero_count", Fixed64, Plain),
    field!(8, "positive", Message(&BUCKETS), Plain),
    field!(9, "negative", Message(&BUCKETS), Plain),
    field!(10, "flags", Uint32, Plain),
    field!(11, "exemplars", Message(&EXEMPLAR), Repeated),
    field!(12, "min", Double, Optional),
    field!(13, "max", Double, Optional),
    field!(14, "zeroThreshold", "zero_threshold", Double, Plain),
]);
static BUCKETS: MessageSchema = MessageSchema::new(&[
    field!(1, "offset", Sint32, Plain),
    field!(2, "bucketCounts", "bucket_counts", Uint64, Repeated),
]);
static SUMMARY_POINT: MessageSchema = MessageSchema::new(&[
    field!(7, "attributes", Message(&KEY_VALUE), Repeated),
    field!(2, "startTimeUnixNano", "start_time_unix_nano", Fixed64, Plain),
    field!(3, "timeUnixNano", "time_unix_nano", Fixed64, Plain),
    field!(4, "count", Fixed64, Plain),
    field!(5, "sum", Double, Plain),
    field!(6, "quantileValues", "quantile_values", Message(&VALUE_AT_QUANTILE), Repeated),
    field!(8, "flags", Uint32, Plain),
]);
static VALUE_AT_QUANTILE: MessageSchema =
    MessageSchema::new(&[field!(1, "quantile", Double, Plain), field!(2, "value", Double, Plain)]);
static EXEMPLAR: MessageSchema = MessageSchema::new(&[
    field!(7, "filteredAttributes", "filtered_attributes", Message(&KEY_VALUE), Repeated),
    field!(2, "timeUnixNano", "time_unix_nano", Fixed64, Plain),
    field!(3, "asDouble", "as_double", Double, Oneof),
    field!(6, "asInt", "as_int", Sfixed64, Oneof),
    field!(5, "traceId", "trace_id", TraceId, Plain),
    field!(4, "spanId", "span_id", SpanId, Plain),
]);

static LOGS: MessageSchema =
    MessageSchema::new(&[field!(1, "resourceLogs", "resource_logs", Message(&RESOURCE_LOGS), Repeated)]);
static RESOURCE_LOGS: MessageSchema = MessageSchema::new(&[
    field!(1, "resource", Message(&RESOURCE), Plain),
    field!(2, "scopeLogs", "scope_logs", Message(&SCOPE_LOGS), Repeated),
    field!(3, "schemaUrl", "schema_url", Str, Plain),
    field!(LEGACY_SCOPES, "deprecatedScopeLogs", "deprecated_scope_logs", Message(&SCOPE_LOGS), Repeated),
]);
static SCOPE_LOGS: MessageSchema = MessageSchema::new(&[
    field!(1, "scope", Message(&SCOPE), Plain),
    field!(2, "logRecords", "log_records", Message(&LOG_RECORD), Repeated),
    field!(3, "schemaUrl", "schema_url", Str, Plain),
]);
static LOG_RECORD: MessageSchema = MessageSchema::new(&[
    field!(1, "timeUnixNano", "time_unix_nano", Fixed64, Plain),
    field!(11, "observedTimeUnixNano", "observed_time_unix_nano", Fixed64, Plain),
    field!(2, "severityNumber", "severity_number", Enum(&SEVERITY), Plain),
    field!(3, "severityText", "severity_text", Str, Plain),
    field!(5, "body", Message(&ANY_VALUE), Plain),
    field!(6, "attributes", Message(&KEY_VALUE), Repeated),
    field!(7, "droppedAttributesCount", "dropped_attributes_count", Uint32, Plain),
    field!(8, "flags", Fixed32, Plain),
    field!(9, "traceId", "trace_id", TraceId, Plain),
    field!(10, "spanId", "span_id", SpanId, Plain),
    field!(12, "eventName", "event_name", Str, Plain),
]);

static RESOURCE: MessageSchema = MessageSchema::new(&[
    field!(1, "attributes", Message(&KEY_VALUE), Repeated),
    field!(2, "droppedAttributesCount", "dropped_attributes_count", Uint32, Plain),
    field!(3, "entityRefs", "entity_refs", Message(&ENTITY_REF), Repeated),
]);
static ENTITY_REF: MessageSchema = MessageSchema::new(&[
    field!(1, "schemaUrl", "schema_url", Str, Plain),
    field!(2, "type", Str, Plain),
    field!(3, "idKeys", "id_keys", Str, Repeated),
    field!(4, "descriptionKeys", "description_keys", Str, Repeated),
]);
static SCOPE: MessageSchema = MessageSchema::new(&[
    field!(1, "name", Str, Plain),
    field!(2, "version", Str, Plain),
    field!(3, "attributes", Message(&KEY_VALUE), Repeated),
    field!(4, "droppedAttributesCount", "dropped_attributes_count", Uint32, Plain),
]);
pub(super) static KEY_VALUE: MessageSchema = MessageSchema::new(&[
    field!(1, "key", Str, Plain),
    field!(2, "value", Nested(&ANY_VALUE), Plain),
    field!(3, "keyStrindex", "key_strindex", Int32, Plain),
]);
pub(super) static ANY_VALUE: MessageSchema = MessageSchema::new(&[
    field!(1, "stringValue", "string_value", Str, Oneof),
    field!(2, "boolValue", "bool_value", Bool, Oneof),
    field!(3, "intValue", "int_value", Int64, Oneof),
    field!(4, "doubleValue", "double_value", Double, Oneof),
    field!(5, "arrayValue", "array_value", Message(&ARRAY_VALUE), Oneof),
    field!(6, "kvlistValue", "kvlist_value", Message(&KEY_VALUE_LIST), Oneof),
    field!(7, "bytesValue", "bytes_value", Bytes, Oneof),
    field!(8, "stringValueStrindex", "string_value_strindex", Int32, Oneof),
]);
static ARRAY_VALUE: MessageSchema = MessageSchema::new(&[field!(1, "values", Nested(&ANY_VALUE), Repeated)]);
static KEY_VALUE_LIST: MessageSchema = MessageSchema::new(&[field!(1, "values", Message(&KEY_VALUE), Repeated)]);

static TRACES_RESPONSE: MessageSchema =
    MessageSchema::new(&[field!(1, "partialSuccess", "partial_success", Message(&REJECTED_SPANS), Plain)]);
static METRICS_RESPONSE: MessageSchema =
    MessageSchema::new(&[field!(1, "partialSuccess", "partial_success", Message(&REJECTED_POINTS), Plain)]);
static LOGS_RESPONSE: MessageSchema =
    MessageSchema::new(&[field!(1, "partialSuccess", "partial_success", Message(&REJECTED_RECORDS), Plain)]);
static REJECTED_SPANS: MessageSchema = MessageSchema::new(&[
    field!(1, "rejectedSpans", "rejected_spans", Int64, Plain),
    field!(2, "errorMessage", "error_message", Str, Plain),
]);
static REJECTED_POINTS: MessageSchema = MessageSchema::new(&[
    field!(1, "rejectedDataPoints", "rejected_data_points", Int64, Plain),
    field!(2, "errorMessage", "error_message", Str, Plain),
]);
static REJECTED_RECORDS: MessageSchema = MessageSchema::new(&[
    field!(1, "rejectedLogRecords", "rejected_log_records", Int64, Plain),
    field!(2, "errorMessage", "error_message", Str, Plain),
]);

/// `google.rpc.Status` without its details.
pub(super) static RPC_STATUS: MessageSchema =
    MessageSchema::new(&[field!(1, "code", Int32, Plain), field!(2, "message", Str, Plain)]);

static SPAN_KIND: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
static STATUS_CODE: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];
static TEMPORALITY: [&str; 3] =
    ["AGGREGATION_TEMPORALITY_UNSPECIFIED", "AGGREGATION_TEMPORALITY_DELTA", "AGGREGATION_TEMPORALITY_CUMULATIVE"];
static SEVERITY: [&str; 25] = [
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE",
    "SEVERITY_NUMBER_TRACE2",
    "SEVERITY_NUMBER_TRACE3",
    "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG",
    "SEVERITY_NUMBER_DEBUG2",
    "SEVERITY_NUMBER_DEBUG3",
    "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO",
    "SEVERITY_NUMBER_INFO2",
    "SEVERITY_NUMBER_INFO3",
    "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN",
    "SEVERITY_NUMBER_WARN2",
    "SEVERITY_NUMBER_WARN3",
    "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR",
    "SEVERITY_NUMBER_ERROR2",
    "SEVERITY_NUMBER_ERROR3",
    "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL",
    "SEVERITY_NUMBER_FATAL2",
    "SEVERITY_NUMBER_FATAL3",
    "SEVERITY_NUMBER_FATAL4",
];
