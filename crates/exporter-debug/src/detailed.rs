//! `verbosity: detailed`: every field, one on each line.
//!
//! Pure functions: the input is a checked body, the output is text. Labels are exactly those of the Go collector,
//! including blanks and irregular ones (`Attributes::`), because people and tests search for them.

use otelcore_pdata::views::{
    AnyValue, EntityRef, Event, Exemplar, ExponentialHistogramPoint, HistogramPoint, KeyValue, Link, LogRecord, Metric,
    MetricData, NumberPoint, NumberValue, RepeatedMessages, Resource, ResourceLogs, ResourceMetrics, ResourceSpans,
    Scope, Span, SummaryPoint, Temporality, resource_entries,
};
use otelcore_pdata::wire_format::{MessageFields, WireValue};
use otelcore_pdata::{Rope, Signal};

use crate::text::{BucketBounds, TextBuffer, indexed_buckets};

/// Appends the dump of a body.
pub(crate) fn write_dump(t: &mut TextBuffer, signal: Signal, body: &Rope) {
    match signal {
        Signal::Traces => write_traces(t, body),
        Signal::Metrics => write_metrics(t, body),
        Signal::Logs => write_logs(t, body),
    }
}

fn write_traces(t: &mut TextBuffer, body: &Rope) {
    for (i, entry) in resource_entries::<ResourceSpans<'_>>(body).enumerate() {
        t.push("ResourceSpans #").push_display(i).end_line();
        write_resource(t, entry.schema_url, &entry.resource);
        for (j, group) in entry.scope_spans().enumerate() {
            t.push("ScopeSpans #").push_display(j).end_line();
            t.push("ScopeSpans SchemaURL: ").push(group.schema_url).end_line();
            write_scope(t, &group.scope);
            for (k, one) in group.spans().enumerate() {
                t.push("Span #").push_display(k).end_line();
                write_span(t, &one);
            }
        }
    }
}

fn write_metrics(t: &mut TextBuffer, body: &Rope) {
    for (i, entry) in resource_entries::<ResourceMetrics<'_>>(body).enumerate() {
        t.push("ResourceMetrics #").push_display(i).end_line();
        write_resource(t, entry.schema_url, &entry.resource);
        for (j, group) in entry.scope_metrics().enumerate() {
            t.push("ScopeMetrics #").push_display(j).end_line();
            t.push("ScopeMetrics SchemaURL: ").push(group.schema_url).end_line();
            write_scope(t, &group.scope);
            for (k, one) in group.metrics().enumerate() {
                t.push("Metric #").push_display(k).end_line();
                write_metric(t, &one);
            }
        }
    }
}

fn write_logs(t: &mut TextBuffer, body: &Rope) {
    for (i, entry) in resource_entries::<ResourceLogs<'_>>(body).enumerate() {
        t.push("ResourceLog #").push_display(i).end_line();
        write_resource(t, entry.schema_url, &entry.resource);
        for (j, group) in entry.scope_logs().enumerate() {
            t.push("ScopeLogs #").push_display(j).end_line();
            t.push("ScopeLogs SchemaURL: ").push(group.schema_url).end_line();
            write_scope(t, &group.scope);
            for (k, one) in group.log_records().enumerate() {
                t.push("LogRecord #").push_display(k).end_line();
                write_log_record(t, &one);
            }
        }
    }
}

// ---- shared by all signals ------------------------------------------------------------------------------------------

const ITEM_PREFIX: &str = "     -> ";
const NESTED_ITEM_PREFIX: &str = "          -> ";
const DOUBLY_NESTED_ITEM_PREFIX: &str = "               -> ";

fn write_resource(t: &mut TextBuffer, schema_url: &[u8], resource: &Resource<'_>) {
    t.push("Resource SchemaURL: ").push(schema_url).end_line();
    write_attributes(t, "Resource attributes:", ITEM_PREFIX, resource.attributes());
    for (i, entity) in resource.entity_refs().enumerate() {
        if i == 0 {
            t.push("Resource entity refs:").end_line();
        }
        t.push(ITEM_PREFIX).push("Entity ref #").push_display(i).push(":").end_line();
        write_entity_ref(t, &entity);
    }
}

fn write_entity_ref(t: &mut TextBuffer, entity: &EntityRef<'_>) {
    t.push(NESTED_ITEM_PREFIX).push("Type: ").push(entity.kind).end_line();
    if !entity.schema_url.is_empty() {
        t.push(NESTED_ITEM_PREFIX).push("Schema URL: ").push(entity.schema_url).end_line();
    }
    // `id_keys` and `description_keys`.
    for (number, label) in [(3, "ID keys:"), (4, "Description keys:")] {
        let keys = MessageFields::new(entity.raw).filter_map(|field| match field {
            (n, WireValue::Len(key)) if n == number => Some(key),
            _ => None,
        });
        for (i, key) in keys.enumerate() {
            if i == 0 {
                t.push(NESTED_ITEM_PREFIX).push(label).end_line();
            }
            t.push(DOUBLY_NESTED_ITEM_PREFIX).push(key).end_line();
        }
    }
}

fn write_scope(t: &mut TextBuffer, scope: &Scope<'_>) {
    t.push("InstrumentationScope ").push(scope.name).push(" ").push(scope.version).end_line();
    write_attributes(t, "InstrumentationScope attributes:", ITEM_PREFIX, scope.attributes());
}

/// A header and an item for each attribute; nothing without attributes.
fn write_attributes(
    t: &mut TextBuffer,
    header: &str,
    item_prefix: &str,
    attributes: RepeatedMessages<'_, KeyValue<'_>>,
) {
    for (i, kv) in attributes.enumerate() {
        if i == 0 {
            t.push(header).end_line();
        }
        t.push(item_prefix).push(kv.key).push(": ");
        write_typed_value(t, kv.value).end_line();
    }
}

/// A value with its type: `Str(text)` and similar.
fn write_typed_value<'t>(t: &'t mut TextBuffer, value: AnyValue<'_>) -> &'t mut TextBuffer {
    let kind = match value {
        AnyValue::Empty => "Empty(",
        AnyValue::String(_) => "Str(",
        AnyValue::Bool(_) => "Bool(",
        AnyValue::Int(_) => "Int(",
        AnyValue::Double(_) => "Double(",
        AnyValue::Map(_) => "Map(",
        AnyValue::Array(_) => "Slice(",
        AnyValue::Bytes(_) => "Bytes(",
    };
    t.push(kind).push_value(value).push(")")
}

/// The name for the number of an enum; empty for a number that Go does not know.
fn enum_name<'n>(names: &[&'n str], number: i32) -> &'n str {
    usize::try_from(number).ok().and_then(|n| names.get(n)).copied().unwrap_or("")
}

// ---- traces ---------------------------------------------------------------------------------------------------------

const SPAN_KINDS: [&str; 6] = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];
const STATUS_CODES: [&str; 3] = ["Unset", "Ok", "Error"];

fn write_span(t: &mut TextBuffer, span: &Span<'_>) {
    t.push("    Trace ID       : ").push_id(span.trace_id).end_line();
    t.push("    Parent ID      : ").push_id(span.parent_span_id).end_line();
    t.push("    ID             : ").push_id(span.span_id).end_line();
    t.push("    Name           : ").push(span.name).end_line();
    t.push("    Kind           : ").push(enum_name(&SPAN_KINDS, span.kind)).end_line();
    if !span.trace_state.is_empty() {
        t.push("    TraceState     : ").push(span.trace_state).end_line();
    }
    t.push("    Start time     : ").push_time(span.start_time_unix_nano).end_line();
    t.push("    End time       : ").push_time(span.end_time_unix_nano).end_line();
    t.push("    Status code    : ").push(enum_name(&STATUS_CODES, span.status.code)).end_line();
    t.push("    Status message : ").push(span.status.message).end_line();
    t.push("    DroppedAttributesCount: ").push_display(span.dropped_attributes_count).end_line();
    t.push("    DroppedEventsCount: ").push_display(span.dropped_events_count).end_line();
    t.push("    DroppedLinksCount: ").push_display(span.dropped_links_count).end_line();
    write_attributes(t, "Attributes:", ITEM_PREFIX, span.attributes());
    for (i, one) in span.events().enumerate() {
        if i == 0 {
            t.push("Events:").end_line();
        }
        t.push("SpanEvent #").push_display(i).end_line();
        write_event(t, &one);
    }
    for (i, one) in span.links().enumerate() {
        if i == 0 {
            t.push("Links:").end_line();
        }
        t.push("SpanLink #").push_display(i).end_line();
        write_link(t, &one);
    }
}

fn write_event(t: &mut TextBuffer, event: &Event<'_>) {
    t.push("     -> Name: ").push(event.name).end_line();
    t.push("     -> Timestamp: ").push_time(event.time_unix_nano).end_line();
    t.push("     -> DroppedAttributesCount: ").push_display(event.dropped_attributes_count).end_line();
    write_attributes(t, "     -> Attributes::", NESTED_ITEM_PREFIX, event.attributes());
}

fn write_link(t: &mut TextBuffer, link: &Link<'_>) {
    t.push("     -> Trace ID: ").push_id(link.trace_id).end_line();
    t.push("     -> ID: ").push_id(link.span_id).end_line();
    t.push("     -> TraceState: ").push(link.trace_state).end_line();
    t.push("     -> DroppedAttributesCount: ").push_display(link.dropped_attributes_count).end_line();
    write_attributes(t, "     -> Attributes::", NESTED_ITEM_PREFIX, link.attributes());
}

// ---- logs -----------------------------------------------------------------------------------------------------------

#[rustfmt::skip]
const SEVERITIES: [&str; 25] = [
    "Unspecified",
    "Trace", "Trace2", "Trace3", "Trace4",
    "Debug", "Debug2", "Debug3", "Debug4",
    "Info", "Info2", "Info3", "Info4",
    "Warn", "Warn2", "Warn3", "Warn4",
    "Error", "Error2", "Error3", "Error4",
    "Fatal", "Fatal2", "Fatal3", "Fatal4",
];

fn write_log_record(t: &mut TextBuffer, record: &LogRecord<'_>) {
    let severity = record.severity_number;
    t.push("ObservedTimestamp: ").push_time(record.observed_time_unix_nano).end_line();
    t.push("Timestamp: ").push_time(record.time_unix_nano).end_line();
    t.push("SeverityText: ").push(record.severity_text).end_line();
    t.push("SeverityNumber: ")
        .push(enum_name(&SEVERITIES, severity))
        .push("(")
        .push_display(severity)
        .push(")")
        .end_line();
    if !record.event_name.is_empty() {
        t.push("EventName: ").push(record.event_name).end_line();
    }
    t.push("Body: ");
    write_typed_value(t, record.body).end_line();
    write_attributes(t, "Attributes:", ITEM_PREFIX, record.attributes());
    t.push("Trace ID: ").push_id(record.trace_id).end_line();
    t.push("Span ID: ").push_id(record.span_id).end_line();
    t.push("Flags: ").push_display(record.flags).end_line();
}

// ---- metrics --------------------------------------------------------------------------------------------------------

fn write_metric(t: &mut TextBuffer, metric: &Metric<'_>) {
    let data_type = match metric.data {
        MetricData::Empty => "Empty",
        MetricData::Gauge(_) => "Gauge",
        MetricData::Sum(_) => "Sum",
        MetricData::Histogram(_) => "Histogram",
        MetricData::ExponentialHistogram(_) => "ExponentialHistogram",
        MetricData::Summary(_) => "Summary",
    };
    t.push("Descriptor:").end_line();
    t.push("     -> Name: ").push(metric.name).end_line();
    t.push("     -> Description: ").push(metric.description).end_line();
    t.push("     -> Unit: ").push(metric.unit).end_line();
    t.push("     -> DataType: ").push(data_type).end_line();
    write_attributes(t, "     -> Metadata:", NESTED_ITEM_PREFIX, metric.metadata());
    match metric.data {
        MetricData::Empty => {}
        MetricData::Gauge(gauge) => write_number_points(t, gauge.points()),
        MetricData::Sum(sum) => {
            t.push("     -> IsMonotonic: ").push_display(sum.is_monotonic).end_line();
            write_temporality(t, sum.temporality);
            write_number_points(t, sum.points());
        }
        MetricData::Histogram(data) => {
            write_temporality(t, data.temporality);
            for (i, point) in data.points().enumerate() {
                t.push("HistogramDataPoints #").push_display(i).end_line();
                write_histogram(t, &point);
            }
        }
        MetricData::ExponentialHistogram(data) => {
            write_temporality(t, data.temporality);
            for (i, point) in data.exponential_points().enumerate() {
                t.push("ExponentialHistogramDataPoints #").push_display(i).end_line();
                write_exponential_histogram(t, &point);
            }
        }
        MetricData::Summary(data) => {
            for (i, point) in data.points().enumerate() {
                t.push("SummaryDataPoints #").push_display(i).end_line();
                write_summary(t, &point);
            }
        }
    }
}

fn write_temporality(t: &mut TextBuffer, temporality: Temporality) {
    let name = match temporality {
        Temporality::Unspecified => "Unspecified",
        Temporality::Delta => "Delta",
        Temporality::Cumulative => "Cumulative",
    };
    t.push("     -> AggregationTemporality: ").push(name).end_line();
}

/// The fields that points of every kind begin with.
fn write_point_header(t: &mut TextBuffer, labels: RepeatedMessages<'_, KeyValue<'_>>, start: u64, time: u64) {
    write_attributes(t, "Data point attributes:", ITEM_PREFIX, labels);
    t.push("StartTimestamp: ").push_time(start).end_line();
    t.push("Timestamp: ").push_time(time).end_line();
}

fn write_number(t: &mut TextBuffer, label: &str, number: NumberValue) {
    match number {
        NumberValue::Empty => {}
        NumberValue::Int(v) => t.push(label).push_display(v).end_line(),
        NumberValue::Double(v) => t.push(label).push_fixed(v).end_line(),
    }
}

fn write_number_points(t: &mut TextBuffer, points: RepeatedMessages<'_, NumberPoint<'_>>) {
    for (i, p) in points.enumerate() {
        t.push("NumberDataPoints #").push_display(i).end_line();
        write_point_header(t, p.attributes(), p.start_time_unix_nano, p.time_unix_nano);
        write_number(t, "Value: ", p.value.0);
        write_exemplars(t, p.exemplars());
    }
}

fn write_totals(t: &mut TextBuffer, count: u64, optional: [(&str, Option<f64>); 3]) {
    t.push("Count: ").push_display(count).end_line();
    for (label, value) in optional {
        if let Some(value) = value {
            t.push(label).push_fixed(value).end_line();
        }
    }
}

fn write_histogram(t: &mut TextBuffer, p: &HistogramPoint<'_>) {
    write_point_header(t, p.attributes(), p.start_time_unix_nano, p.time_unix_nano);
    write_totals(t, p.count, [("Sum: ", p.sum), ("Min: ", p.min), ("Max: ", p.max)]);
    for (i, bound) in p.explicit_bounds().enumerate() {
        t.push("ExplicitBounds #").push_display(i).push(": ").push_fixed(bound).end_line();
    }
    for (i, count) in p.bucket_counts().enumerate() {
        t.push("Buckets #").push_display(i).push(", Count: ").push_display(count).end_line();
    }
    write_exemplars(t, p.exemplars());
}

fn write_exponential_histogram(t: &mut TextBuffer, p: &ExponentialHistogramPoint<'_>) {
    write_point_header(t, p.attributes(), p.start_time_unix_nano, p.time_unix_nano);
    write_totals(t, p.count, [("Sum: ", p.sum), ("Min: ", p.min), ("Max: ", p.max)]);
    let bounds = BucketBounds::from_scale(p.scale.0);
    for (index, count) in indexed_buckets(&p.negative).into_iter().rev() {
        let (lower, upper) = (bounds.lower_bound(index), bounds.lower_bound(index + 1.0));
        t.push("Bucket [")
            .push_fixed(-upper)
            .push(", ")
            .push_fixed(-lower)
            .push("), Count: ")
            .push_display(count)
            .end_line();
    }
    if p.zero_count != 0 {
        t.push("Bucket [0, 0], Count: ").push_display(p.zero_count).end_line();
    }
    for (index, count) in indexed_buckets(&p.positive) {
        let (lower, upper) = (bounds.lower_bound(index), bounds.lower_bound(index + 1.0));
        t.push("Bucket (")
            .push_fixed(lower)
            .push(", ")
            .push_fixed(upper)
            .push("], Count: ")
            .push_display(count)
            .end_line();
    }
    write_exemplars(t, p.exemplars());
}

fn write_summary(t: &mut TextBuffer, p: &SummaryPoint<'_>) {
    write_point_header(t, p.attributes(), p.start_time_unix_nano, p.time_unix_nano);
    t.push("Count: ").push_display(p.count).end_line();
    t.push("Sum: ").push_fixed(p.sum).end_line();
    for (i, q) in p.quantile_values().enumerate() {
        t.push("QuantileValue #")
            .push_display(i)
            .push(": Quantile ")
            .push_fixed(q.quantile)
            .push(", Value ")
            .push_fixed(q.value)
            .end_line();
    }
}

fn write_exemplars(t: &mut TextBuffer, exemplars: RepeatedMessages<'_, Exemplar<'_>>) {
    for (i, e) in exemplars.enumerate() {
        if i == 0 {
            t.push("Exemplars:").end_line();
        }
        t.push("Exemplar #").push_display(i).end_line();
        t.push("     -> Trace ID: ").push_id(e.trace_id).end_line();
        t.push("     -> Span ID: ").push_id(e.span_id).end_line();
        t.push("     -> Timestamp: ").push_time(e.time_unix_nano).end_line();
        write_number(t, "     -> Value: ", e.value.0);
        write_attributes(t, "     -> FilteredAttributes:", NESTED_ITEM_PREFIX, e.filtered_attributes());
    }
}
