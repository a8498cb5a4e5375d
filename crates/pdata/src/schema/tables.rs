//! The tables: messages in the order of their definitions, fields in the order in which the Go collector writes them.

use super::FieldRule::{Oneof, Optional, Plain, Repeated};
use super::FieldType::{
    Bool, Bytes, Double, Entry, Enum, Fixed32, Fixed64, Int32, Int64, Item, KeyValue, Message, Nested, Sfixed64,
    Sint32, SpanId, String, TraceId, Uint32, Uint64, Wrapper,
};
use super::{FieldSchema, LEGACY_SCOPES, MessageSchema};

/// Declares messages: a table of each, and a module with the numbers of its fields.
macro_rules! messages {
    ($( $table:ident $module:ident $name:literal {
        $( $number:tt $field:ident $json:literal $proto:literal $ty:expr, $rule:ident; )*
    } )*) => {
        $(
            #[doc = concat!("`", $name, "`.")]
            pub static $table: MessageSchema = MessageSchema::new($name, &[ $(
                FieldSchema {
                    number: $number,
                    key_tail: concat!($json, "\":"),
                    name: $json,
                    proto_name: $proto,
                    kind: $ty,
                    rule: $rule,
                },
            )* ]);

            #[doc = concat!("The field numbers of `", $name, "`.")]
            pub mod $module {
                $(
                    #[doc = concat!("`", $proto, "`.")]
                    pub const $field: u32 = $crate::schema::tables::number!($number);
                )*
            }
        )*
    };
}

macro_rules! number {
    (LEGACY_SCOPES) => {
        $crate::schema::LEGACY_SCOPES
    };
    ($number:literal) => {
        $number
    };
}
pub(crate) use number;

messages! {
    TRACES traces "ExportTraceServiceRequest" {
        1 RESOURCE_SPANS "resourceSpans" "resource_spans" Entry(&RESOURCE_SPANS), Repeated;
    }
    RESOURCE_SPANS resource_spans "ResourceSpans" {
        1 RESOURCE "resource" "resource" Message(&RESOURCE), Plain;
        2 SCOPE_SPANS "scopeSpans" "scope_spans" Wrapper(&SCOPE_SPANS), Repeated;
        3 SCHEMA_URL "schemaUrl" "schema_url" String, Plain;
        LEGACY_SCOPES DEPRECATED "deprecatedScopeSpans" "deprecated_scope_spans" Message(&SCOPE_SPANS), Repeated;
    }
    SCOPE_SPANS scope_spans "ScopeSpans" {
        1 SCOPE "scope" "scope" Message(&SCOPE), Plain;
        2 SPANS "spans" "spans" Item(&SPAN), Repeated;
        3 SCHEMA_URL "schemaUrl" "schema_url" String, Plain;
    }
    SPAN span "Span" {
        1 TRACE_ID "traceId" "trace_id" TraceId, Plain;
        2 SPAN_ID "spanId" "span_id" SpanId, Plain;
        3 TRACE_STATE "traceState" "trace_state" String, Plain;
        4 PARENT_SPAN_ID "parentSpanId" "parent_span_id" SpanId, Plain;
        16 FLAGS "flags" "flags" Fixed32, Plain;
        5 NAME "name" "name" String, Plain;
        6 KIND "kind" "kind" Enum(&SPAN_KIND), Plain;
        7 START_TIME_UNIX_NANO "startTimeUnixNano" "start_time_unix_nano" Fixed64, Plain;
        8 END_TIME_UNIX_NANO "endTimeUnixNano" "end_time_unix_nano" Fixed64, Plain;
        9 ATTRIBUTES "attributes" "attributes" KeyValue, Repeated;
        10 DROPPED_ATTRIBUTES_COUNT "droppedAttributesCount" "dropped_attributes_count" Uint32, Plain;
        11 EVENTS "events" "events" Message(&EVENT), Repeated;
        12 DROPPED_EVENTS_COUNT "droppedEventsCount" "dropped_events_count" Uint32, Plain;
        13 LINKS "links" "links" Message(&LINK), Repeated;
        14 DROPPED_LINKS_COUNT "droppedLinksCount" "dropped_links_count" Uint32, Plain;
        15 STATUS "status" "status" Message(&STATUS), Plain;
    }
    EVENT event "Span.Event" {
        1 TIME_UNIX_NANO "timeUnixNano" "time_unix_nano" Fixed64, Plain;
        2 NAME "name" "name" String, Plain;
        3 ATTRIBUTES "attributes" "attributes" KeyValue, Repeated;
        4 DROPPED_ATTRIBUTES_COUNT "droppedAttributesCount" "dropped_attributes_count" Uint32, Plain;
    }
    LINK link "Span.Link" {
        1 TRACE_ID "traceId" "trace_id" TraceId, Plain;
        2 SPAN_ID "spanId" "span_id" SpanId, Plain;
        3 TRACE_STATE "traceState" "trace_state" String, Plain;
        4 ATTRIBUTES "attributes" "attributes" KeyValue, Repeated;
        5 DROPPED_ATTRIBUTES_COUNT "droppedAttributesCount" "dropped_attributes_count" Uint32, Plain;
        6 FLAGS "flags" "flags" Fixed32, Plain;
    }
    STATUS status "Status" {
        2 MESSAGE "message" "message" String, Plain;
        3 CODE "code" "code" Enum(&STATUS_CODE), Plain;
    }
    METRICS metrics "ExportMetricsServiceRequest" {
        1 RESOURCE_METRICS "resourceMetrics" "resource_metrics" Entry(&RESOURCE_METRICS), Repeated;
    }
    RESOURCE_METRICS resource_metrics "ResourceMetrics" {
        1 RESOURCE "resource" "resource" Message(&RESOURCE), Plain;
        2 SCOPE_METRICS "scopeMetrics" "scope_metrics" Wrapper(&SCOPE_METRICS), Repeated;
        3 SCHEMA_URL "schemaUrl" "schema_url" String, Plain;
        LEGACY_SCOPES DEPRECATED "deprecatedScopeMetrics" "deprecated_scope_metrics" Message(&SCOPE_METRICS), Repeated;
    }
    SCOPE_METRICS scope_metrics "ScopeMetrics" {
        1 SCOPE "scope" "scope" Message(&SCOPE), Plain;
        2 METRICS "metrics" "metrics" Wrapper(&METRIC), Repeated;
        3 SCHEMA_URL "schemaUrl" "schema_url" String, Plain;
    }
    METRIC metric "Metric" {
        1 NAME "name" "name" String, Plain;
        2 DESCRIPTION "description" "description" String, Plain;
        3 UNIT "unit" "unit" String, Plain;
        5 GAUGE "gauge" "gauge" Wrapper(&GAUGE), Oneof;
        7 SUM "sum" "sum" Wrapper(&SUM), Oneof;
        9 HISTOGRAM "histogram" "histogram" Wrapper(&HISTOGRAM), Oneof;
        10 EXPONENTIAL_HISTOGRAM "exponentialHistogram" "exponential_histogram" Wrapper(&EXPONENTIAL_HISTOGRAM), Oneof;
        11 SUMMARY "summary" "summary" Wrapper(&SUMMARY), Oneof;
        12 METADATA "metadata" "metadata" KeyValue, Repeated;
    }
    GAUGE gauge "Gauge" {
        1 DATA_POINTS "dataPoints" "data_points" Item(&NUMBER_POINT), Repeated;
    }
    SUM sum "Sum" {
        1 DATA_POINTS "dataPoints" "data_points" Item(&NUMBER_POINT), Repeated;
        2 AGGREGATION_TEMPORALITY "aggregationTemporality" "aggregation_temporality" Enum(&TEMPORALITY), Plain;
        3 IS_MONOTONIC "isMonotonic" "is_monotonic" Bool, Plain;
    }
    HISTOGRAM histogram "Histogram" {
        1 DATA_POINTS "dataPoints" "data_points" Item(&HISTOGRAM_POINT), Repeated;
        2 AGGREGATION_TEMPORALITY "aggregationTemporality" "aggregation_temporality" Enum(&TEMPORALITY), Plain;
    }
    EXPONENTIAL_HISTOGRAM exponential_histogram "ExponentialHistogram" {
        1 DATA_POINTS "dataPoints" "data_points" Item(&EXPONENTIAL_POINT), Repeated;
        2 AGGREGATION_TEMPORALITY "aggregationTemporality" "aggregation_temporality" Enum(&TEMPORALITY), Plain;
    }
    SUMMARY summary "Summary" {
        1 DATA_POINTS "dataPoints" "data_points" Item(&SUMMARY_POINT), Repeated;
    }
    NUMBER_POINT number_point "NumberDataPoint" {
        7 ATTRIBUTES "attributes" "attributes" KeyValue, Repeated;
        2 START_TIME_UNIX_NANO "startTimeUnixNano" "start_time_unix_nano" Fixed64, Plain;
        3 TIME_UNIX_NANO "timeUnixNano" "time_unix_nano" Fixed64, Plain;
        4 AS_DOUBLE "asDouble" "as_double" Double, Oneof;
        6 AS_INT "asInt" "as_int" Sfixed64, Oneof;
        5 EXEMPLARS "exemplars" "exemplars" Message(&EXEMPLAR), Repeated;
        8 FLAGS "flags" "flags" Uint32, Plain;
    }
    HISTOGRAM_POINT histogram_point "HistogramDataPoint" {
        9 ATTRIBUTES "attributes" "attributes" KeyValue, Repeated;
        2 START_TIME_UNIX_NANO "startTimeUnixNano" "start_time_unix_nano" Fixed64, Plain;
        3 TIME_UNIX_NANO "timeUnixNano" "time_unix_nano" Fixed64, Plain;
        4 COUNT "count" "count" Fixed64, Plain;
        5 SUM "sum" "sum" Double, Optional;
        6 BUCKET_COUNTS "bucketCounts" "bucket_counts" Fixed64, Repeated;
        7 EXPLICIT_BOUNDS "explicitBounds" "explicit_bounds" Double, Repeated;
        8 EXEMPLARS "exemplars" "exemplars" Message(&EXEMPLAR), Repeated;
        10 FLAGS "flags" "flags" Uint32, Plain;
        11 MIN "min" "min" Double, Optional;
        12 MAX "max" "max" Double, Optional;
    }
    EXPONENTIAL_POINT exponential_point "ExponentialHistogramDataPoint" {
        1 ATTRIBUTES "attributes" "attributes" KeyValue, Repeated;
        2 START_TIME_UNIX_NANO "startTimeUnixNano" "start_time_unix_nano" Fixed64, Plain;
        3 TIME_UNIX_NANO "timeUnixNano" "time_unix_nano" Fixed64, Plain;
        4 COUNT "count" "count" Fixed64, Plain;
        5 SUM "sum" "sum" Double, Optional;
        6 SCALE "scale" "scale" Sint32, Plain;
        7 ZERO_COUNT "zeroCount" "zero_count" Fixed64, Plain;
        8 POSITIVE "positive" "positive" Message(&BUCKETS), Plain;
        9 NEGATIVE "negative" "negative" Message(&BUCKETS), Plain;
        10 FLAGS "flags" "flags" Uint32, Plain;
        11 EXEMPLARS "exemplars" "exemplars" Message(&EXEMPLAR), Repeated;
        12 MIN "min" "min" Double, Optional;
        13 MAX "max" "max" Double, Optional;
        14 ZERO_THRESHOLD "zeroThreshold" "zero_threshold" Double, Plain;
    }
    BUCKETS buckets "Buckets" {
        1 OFFSET "offset" "offset" Sint32, Plain;
        2 BUCKET_COUNTS "bucketCounts" "bucket_counts" Uint64, Repeated;
    }
    SUMMARY_POINT summary_point "SummaryDataPoint" {
        7 ATTRIBUTES "attributes" "attributes" KeyValue, Repeated;
        2 START_TIME_UNIX_NANO "startTimeUnixNano" "start_time_unix_nano" Fixed64, Plain;
        3 TIME_UNIX_NANO "timeUnixNano" "time_unix_nano" Fixed64, Plain;
        4 COUNT "count" "count" Fixed64, Plain;
        5 SUM "sum" "sum" Double, Plain;
        6 QUANTILE_VALUES "quantileValues" "quantile_values" Message(&VALUE_AT_QUANTILE), Repeated;
        8 FLAGS "flags" "flags" Uint32, Plain;
    }
    VALUE_AT_QUANTILE value_at_quantile "ValueAtQuantile" {
        1 QUANTILE "quantile" "quantile" Double, Plain;
        2 VALUE "value" "value" Double, Plain;
    }
    EXEMPLAR exemplar "Exemplar" {
        7 FILTERED_ATTRIBUTES "filteredAttributes" "filtered_attributes" KeyValue, Repeated;
        2 TIME_UNIX_NANO "timeUnixNano" "time_unix_nano" Fixed64, Plain;
        3 AS_DOUBLE "asDouble" "as_double" Double, Oneof;
        6 AS_INT "asInt" "as_int" Sfixed64, Oneof;
        5 TRACE_ID "traceId" "trace_id" TraceId, Plain;
        4 SPAN_ID "spanId" "span_id" SpanId, Plain;
    }
    LOGS logs "ExportLogsServiceRequest" {
        1 RESOURCE_LOGS "resourceLogs" "resource_logs" Entry(&RESOURCE_LOGS), Repeated;
    }
    RESOURCE_LOGS resource_logs "ResourceLogs" {
        1 RESOURCE "resource" "resource" Message(&RESOURCE), Plain;
        2 SCOPE_LOGS "scopeLogs" "scope_logs" Wrapper(&SCOPE_LOGS), Repeated;
        3 SCHEMA_URL "schemaUrl" "schema_url" String, Plain;
        LEGACY_SCOPES DEPRECATED "deprecatedScopeLogs" "deprecated_scope_logs" Message(&SCOPE_LOGS), Repeated;
    }
    SCOPE_LOGS scope_logs "ScopeLogs" {
        1 SCOPE "scope" "scope" Message(&SCOPE), Plain;
        2 LOG_RECORDS "logRecords" "log_records" Item(&LOG_RECORD), Repeated;
        3 SCHEMA_URL "schemaUrl" "schema_url" String, Plain;
    }
    LOG_RECORD log_record "LogRecord" {
        1 TIME_UNIX_NANO "timeUnixNano" "time_unix_nano" Fixed64, Plain;
        11 OBSERVED_TIME_UNIX_NANO "observedTimeUnixNano" "observed_time_unix_nano" Fixed64, Plain;
        2 SEVERITY_NUMBER "severityNumber" "severity_number" Enum(&SEVERITY), Plain;
        3 SEVERITY_TEXT "severityText" "severity_text" String, Plain;
        5 BODY "body" "body" Message(&ANY_VALUE), Plain;
        6 ATTRIBUTES "attributes" "attributes" KeyValue, Repeated;
        7 DROPPED_ATTRIBUTES_COUNT "droppedAttributesCount" "dropped_attributes_count" Uint32, Plain;
        8 FLAGS "flags" "flags" Fixed32, Plain;
        9 TRACE_ID "traceId" "trace_id" TraceId, Plain;
        10 SPAN_ID "spanId" "span_id" SpanId, Plain;
        12 EVENT_NAME "eventName" "event_name" String, Plain;
    }
    RESOURCE resource "Resource" {
        1 ATTRIBUTES "attributes" "attributes" KeyValue, Repeated;
        2 DROPPED_ATTRIBUTES_COUNT "droppedAttributesCount" "dropped_attributes_count" Uint32, Plain;
        3 ENTITY_REFS "entityRefs" "entity_refs" Message(&ENTITY_REF), Repeated;
    }
    ENTITY_REF entity_ref "EntityRef" {
        1 SCHEMA_URL "schemaUrl" "schema_url" String, Plain;
        2 TYPE "type" "type" String, Plain;
        3 ID_KEYS "idKeys" "id_keys" String, Repeated;
        4 DESCRIPTION_KEYS "descriptionKeys" "description_keys" String, Repeated;
    }
    SCOPE scope "InstrumentationScope" {
        1 NAME "name" "name" String, Plain;
        2 VERSION "version" "version" String, Plain;
        3 ATTRIBUTES "attributes" "attributes" KeyValue, Repeated;
        4 DROPPED_ATTRIBUTES_COUNT "droppedAttributesCount" "dropped_attributes_count" Uint32, Plain;
    }
    KEY_VALUE key_value "KeyValue" {
        1 KEY "key" "key" String, Plain;
        2 VALUE "value" "value" Nested(&ANY_VALUE), Plain;
        3 KEY_STRINDEX "keyStrindex" "key_strindex" Int32, Plain;
    }
    ANY_VALUE any_value "AnyValue" {
        1 STRING_VALUE "stringValue" "string_value" String, Oneof;
        2 BOOL_VALUE "boolValue" "bool_value" Bool, Oneof;
        3 INT_VALUE "intValue" "int_value" Int64, Oneof;
        4 DOUBLE_VALUE "doubleValue" "double_value" Double, Oneof;
        5 ARRAY_VALUE "arrayValue" "array_value" Message(&ARRAY_VALUE), Oneof;
        6 KVLIST_VALUE "kvlistValue" "kvlist_value" Message(&KEY_VALUE_LIST), Oneof;
        7 BYTES_VALUE "bytesValue" "bytes_value" Bytes, Oneof;
        8 STRING_VALUE_STRINDEX "stringValueStrindex" "string_value_strindex" Int32, Oneof;
    }
    ARRAY_VALUE array_value "ArrayValue" {
        1 VALUES "values" "values" Nested(&ANY_VALUE), Repeated;
    }
    KEY_VALUE_LIST key_value_list "KeyValueList" {
        1 VALUES "values" "values" KeyValue, Repeated;
    }
    TRACES_RESPONSE traces_response "ExportTraceServiceResponse" {
        1 PARTIAL_SUCCESS "partialSuccess" "partial_success" Message(&REJECTED_SPANS), Plain;
    }
    METRICS_RESPONSE metrics_response "ExportMetricsServiceResponse" {
        1 PARTIAL_SUCCESS "partialSuccess" "partial_success" Message(&REJECTED_POINTS), Plain;
    }
    LOGS_RESPONSE logs_response "ExportLogsServiceResponse" {
        1 PARTIAL_SUCCESS "partialSuccess" "partial_success" Message(&REJECTED_RECORDS), Plain;
    }
    REJECTED_SPANS rejected_spans "ExportTracePartialSuccess" {
        1 REJECTED_SPANS "rejectedSpans" "rejected_spans" Int64, Plain;
        2 ERROR_MESSAGE "errorMessage" "error_message" String, Plain;
    }
    REJECTED_POINTS rejected_points "ExportMetricsPartialSuccess" {
        1 REJECTED_DATA_POINTS "rejectedDataPoints" "rejected_data_points" Int64, Plain;
        2 ERROR_MESSAGE "errorMessage" "error_message" String, Plain;
    }
    REJECTED_RECORDS rejected_records "ExportLogsPartialSuccess" {
        1 REJECTED_LOG_RECORDS "rejectedLogRecords" "rejected_log_records" Int64, Plain;
        2 ERROR_MESSAGE "errorMessage" "error_message" String, Plain;
    }
    RPC_STATUS rpc_status "google.rpc.Status" {
        1 CODE "code" "code" Int32, Plain;
        2 MESSAGE "message" "message" String, Plain;
    }
}

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
