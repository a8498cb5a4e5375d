//! `verbosity: detailed`: every field, one on each line.
//!
//! Pure functions: the input is a checked body, the output is text. Labels are exactly those of the Go collector,
//! including blanks and irregular ones (`Attributes::`), because people and tests search for them.

use otelcore_pdata::views::{
    AnyValue, Data, EntityRef, Event, Exemplar, ExponentialHistogramPoint, HistogramPoint, KeyValue, Link, LogRecord,
    Metric, Number, NumberPoint, Repeated, Resource, ResourceLogs, ResourceMetrics, ResourceSpans, Scope, Span,
    SummaryPoint, Temporality, entries,
};
use otelcore_pdata::wire::{Fields, Wire};
use otelcore_pdata::{Rope, Signal};

use crate::text::{Bounds, Text, buckets};

/// Appends the dump of a body.
pub(crate) fn write(t: &mut Text, signal: Signal, body: &Rope) {
    match signal {
        Signal::Traces => traces(t, body),
        Signal::Metrics => metrics(t, body),
        Signal::Logs => logs(t, body),
    }
}

fn traces(t: &mut Text, body: &Rope) {
    for (i, entry) in entries::<ResourceSpans<'_>>(body).enumerate() {
        t.put("ResourceSpans #").show(i).end();
        resource(t, entry.schema_url, &entry.resource);
        for (j, group) in entry.scope_spans().enumerate() {
            t.put("ScopeSpans #").show(j).end();
            t.put("ScopeSpans SchemaURL: ").put(group.schema_url).end();
            scope(t, &group.scope);
            for (k, one) in group.spans().enumerate() {
                t.put("Span #").show(k).end();
                span(t, &one);
            }
        }
    }
}

fn metrics(t: &mut Text, body: &Rope) {
    for (i, entry) in entries::<ResourceMetrics<'_>>(body).enumerate() {
        t.put("ResourceMetrics #").show(i).end();
        resource(t, entry.schema_url, &entry.resource);
        for (j, group) in entry.scope_metrics().enumerate() {
            t.put("ScopeMetrics #").show(j).end();
            t.put("ScopeMetrics SchemaURL: ").put(group.schema_url).end();
            scope(t, &group.scope);
            for (k, one) in group.metrics().enumerate() {
                t.put("Metric #").show(k).end();
                metric(t, &one);
            }
        }
    }
}

fn logs(t: &mut Text, body: &Rope) {
    for (i, entry) in entries::<ResourceLogs<'_>>(body).enumerate() {
        t.put("ResourceLog #").show(i).end();
        resource(t, entry.schema_url, &entry.resource);
        for (j, group) in entry.scope_logs().enumerate() {
            t.put("ScopeLogs #").show(j).end();
            t.put("ScopeLogs SchemaURL: ").put(group.schema_url).end();
            scope(t, &group.scope);
            for (k, one) in group.log_records().enumerate() {
                t.put("LogRecord #").show(k).end();
                record(t, &one);
            }
        }
    }
}

// ---- shared by all signals ------------------------------------------------------------------------------------------

const ITEM: &str = "     -> ";
const DEEPER_ITEM: &str = "          -> ";
const DEEPEST_ITEM: &str = "               -> ";

fn resource(t: &mut Text, schema_url: &[u8], resource: &Resource<'_>) {
    t.put("Resource SchemaURL: ").put(schema_url).end();
    attributes(t, "Resource attributes:", ITEM, resource.attributes());
    for (i, entity) in resource.entity_refs().enumerate() {
        if i == 0 {
            t.put("Resource entity refs:").end();
        }
        t.put(ITEM).put("Entity ref #").show(i).put(":").end();
        entity_ref(t, &entity);
    }
}

fn entity_ref(t: &mut Text, entity: &EntityRef<'_>) {
    t.put(DEEPER_ITEM).put("Type: ").put(entity.kind).end();
    if !entity.schema_url.is_empty() {
        t.put(DEEPER_ITEM).put("Schema URL: ").put(entity.schema_url).end();
    }
    // `id_keys` and `description_keys`.
    for (number, label) in [(3, "ID keys:"), (4, "Description keys:")] {
        let keys = Fields::new(entity.raw).filter_map(|field| match field {
            (n, Wire::Len(key)) if n == number => Some(key),
            _ => None,
        });
        for (i, key) in keys.enumerate() {
            if i == 0 {
                t.put(DEEPER_ITEM).put(label).end();
            }
            t.put(DEEPEST_ITEM).put(key).end();
        }
    }
}

fn scope(t: &mut Text, scope: &Scope<'_>) {
    t.put("InstrumentationScope ").put(scope.name).put(" ").put(scope.version).end();
    attributes(t, "InstrumentationScope attributes:", ITEM, scope.attributes());
}

/// A header and an item for each attribute; nothing without attributes.
fn attributes(t: &mut Text, header: &str, item: &str, attributes: Repeated<'_, KeyValue<'_>>) {
    for (i, kv) in attributes.enumerate() {
        if i == 0 {
            t.put(header).end();
        }
        t.put(item).put(kv.key).put(": ");
        typed(t, kv.value).end();
    }
}

/// A value with its type: `Str(text)` and similar.
fn typed<'t>(t: &'t mut Text, value: AnyValue<'_>) -> &'t mut Text {
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
    t.put(kind).value(value).put(")")
}

/// The name for the number of an enum; empty for a number that Go does not know.
fn name<'n>(names: &[&'n str], number: i32) -> &'n str {
    usize::try_from(number).ok().and_then(|n| names.get(n)).copied().unwrap_or("")
}

// ---- traces ---------------------------------------------------------------------------------------------------------

const KINDS: [&str; 6] = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];
const STATUS_CODES: [&str; 3] = ["Unset", "Ok", "Error"];

fn span(t: &mut Text, span: &Span<'_>) {
    t.put("    Trace ID       : ").id(span.trace_id).end();
    t.put("    Parent ID      : ").id(span.parent_span_id).end();
    t.put("    ID             : ").id(span.span_id).end();
    t.put("    Name           : ").put(span.name).end();
    t.put("    Kind           : ").put(name(&KINDS, span.kind)).end();
    if !span.trace_state.is_empty() {
        t.put("    TraceState     : ").put(span.trace_state).end();
    }
    t.put("    Start time     : ").time(span.start_time_unix_nano).end();
    t.put("    End time       : ").time(span.end_time_unix_nano).end();
    t.put("    Status code    : ").put(name(&STATUS_CODES, span.status.code)).end();
    t.put("    Status message : ").put(span.status.message).end();
    t.put("    DroppedAttributesCount: ").show(span.dropped_attributes_count).end();
    t.put("    DroppedEventsCount: ").show(span.dropped_events_count).end();
    t.put("    DroppedLinksCount: ").show(span.dropped_links_count).end();
    attributes(t, "Attributes:", ITEM, span.attributes());
    for (i, one) in span.events().enumerate() {
        if i == 0 {
            t.put("Events:").end();
        }
        t.put("SpanEvent #").show(i).end();
        event(t, &one);
    }
    for (i, one) in span.links().enumerate() {
        if i == 0 {
            t.put("Links:").end();
        }
        t.put("SpanLink #").show(i).end();
        link(t, &one);
    }
}

fn event(t: &mut Text, event: &Event<'_>) {
    t.put("     -> Name: ").put(event.name).end();
    t.put("     -> Timestamp: ").time(event.time_unix_nano).end();
    t.put("     -> DroppedAttributesCount: ").show(event.dropped_attributes_count).end();
    attributes(t, "     -> Attributes::", DEEPER_ITEM, event.attributes());
}

fn link(t: &mut Text, link: &Link<'_>) {
    t.put("     -> Trace ID: ").id(link.trace_id).end();
    t.put("     -> ID: ").id(link.span_id).end();
    t.put("     -> TraceState: ").put(link.trace_state).end();
    t.put("     -> DroppedAttributesCount: ").show(link.dropped_attributes_count).end();
    attributes(t, "     -> Attributes::", DEEPER_ITEM, link.attributes());
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

fn record(t: &mut Text, record: &LogRecord<'_>) {
    let severity = record.severity_number;
    t.put("ObservedTimestamp: ").time(record.observed_time_unix_nano).end();
    t.put("Timestamp: ").time(record.time_unix_nano).end();
    t.put("SeverityText: ").put(record.severity_text).end();
    t.put("SeverityNumber: ").put(name(&SEVERITIES, severity)).put("(").show(severity).put(")").end();
    if !record.event_name.is_empty() {
        t.put("EventName: ").put(record.event_name).end();
    }
    t.put("Body: ");
    typed(t, record.body).end();
    attributes(t, "Attributes:", ITEM, record.attributes());
    t.put("Trace ID: ").id(record.trace_id).end();
    t.put("Span ID: ").id(record.span_id).end();
    t.put("Flags: ").show(record.flags).end();
}

// ---- metrics --------------------------------------------------------------------------------------------------------

fn metric(t: &mut Text, metric: &Metric<'_>) {
    let kind = match metric.data {
        Data::Empty => "Empty",
        Data::Gauge(_) => "Gauge",
        Data::Sum(_) => "Sum",
        Data::Histogram(_) => "Histogram",
        Data::ExponentialHistogram(_) => "ExponentialHistogram",
        Data::Summary(_) => "Summary",
    };
    t.put("Descriptor:").end();
    t.put("     -> Name: ").put(metric.name).end();
    t.put("     -> Description: ").put(metric.description).end();
    t.put("     -> Unit: ").put(metric.unit).end();
    t.put("     -> DataType: ").put(kind).end();
    attributes(t, "     -> Metadata:", DEEPER_ITEM, metric.metadata());
    match metric.data {
        Data::Empty => {}
        Data::Gauge(gauge) => numbers(t, gauge.points()),
        Data::Sum(sum) => {
            t.put("     -> IsMonotonic: ").show(sum.is_monotonic).end();
            temporality(t, sum.temporality);
            numbers(t, sum.points());
        }
        Data::Histogram(data) => {
            temporality(t, data.temporality);
            for (i, point) in data.points().enumerate() {
                t.put("HistogramDataPoints #").show(i).end();
                histogram(t, &point);
            }
        }
        Data::ExponentialHistogram(data) => {
            temporality(t, data.temporality);
            for (i, point) in data.exponential_points().enumerate() {
                t.put("ExponentialHistogramDataPoints #").show(i).end();
                exponential(t, &point);
            }
        }
        Data::Summary(data) => {
            for (i, point) in data.points().enumerate() {
                t.put("SummaryDataPoints #").show(i).end();
                summary(t, &point);
            }
        }
    }
}

fn temporality(t: &mut Text, temporality: Temporality) {
    let name = match temporality {
        Temporality::Unspecified => "Unspecified",
        Temporality::Delta => "Delta",
        Temporality::Cumulative => "Cumulative",
    };
    t.put("     -> AggregationTemporality: ").put(name).end();
}

/// The fields that every kind of point begins with.
fn point(t: &mut Text, labels: Repeated<'_, KeyValue<'_>>, start: u64, time: u64) {
    attributes(t, "Data point attributes:", ITEM, labels);
    t.put("StartTimestamp: ").time(start).end();
    t.put("Timestamp: ").time(time).end();
}

fn number(t: &mut Text, label: &str, number: Number) {
    match number {
        Number::Empty => {}
        Number::Int(v) => t.put(label).show(v).end(),
        Number::Double(v) => t.put(label).fixed(v).end(),
    }
}

fn numbers(t: &mut Text, points: Repeated<'_, NumberPoint<'_>>) {
    for (i, p) in points.enumerate() {
        t.put("NumberDataPoints #").show(i).end();
        point(t, p.attributes(), p.start_time_unix_nano, p.time_unix_nano);
        number(t, "Value: ", p.value.0);
        exemplars(t, p.exemplars());
    }
}

fn totals(t: &mut Text, count: u64, optional: [(&str, Option<f64>); 3]) {
    t.put("Count: ").show(count).end();
    for (label, value) in optional {
        if let Some(value) = value {
            t.put(label).fixed(value).end();
        }
    }
}

fn histogram(t: &mut Text, p: &HistogramPoint<'_>) {
    point(t, p.attributes(), p.start_time_unix_nano, p.time_unix_nano);
    totals(t, p.count, [("Sum: ", p.sum), ("Min: ", p.min), ("Max: ", p.max)]);
    for (i, bound) in p.explicit_bounds().enumerate() {
        t.put("ExplicitBounds #").show(i).put(": ").fixed(bound).end();
    }
    for (i, count) in p.bucket_counts().enumerate() {
        t.put("Buckets #").show(i).put(", Count: ").show(count).end();
    }
    exemplars(t, p.exemplars());
}

fn exponential(t: &mut Text, p: &ExponentialHistogramPoint<'_>) {
    point(t, p.attributes(), p.start_time_unix_nano, p.time_unix_nano);
    totals(t, p.count, [("Sum: ", p.sum), ("Min: ", p.min), ("Max: ", p.max)]);
    let bounds = Bounds::of(p.scale.0);
    for (index, count) in buckets(&p.negative).into_iter().rev() {
        let (lower, upper) = (bounds.lower(index), bounds.lower(index + 1.0));
        t.put("Bucket [").fixed(-upper).put(", ").fixed(-lower).put("), Count: ").show(count).end();
    }
    if p.zero_count != 0 {
        t.put("Bucket [0, 0], Count: ").show(p.zero_count).end();
    }
    for (index, count) in buckets(&p.positive) {
        let (lower, upper) = (bounds.lower(index), bounds.lower(index + 1.0));
        t.put("Bucket (").fixed(lower).put(", ").fixed(upper).put("], Count: ").show(count).end();
    }
    exemplars(t, p.exemplars());
}

fn summary(t: &mut Text, p: &SummaryPoint<'_>) {
    point(t, p.attributes(), p.start_time_unix_nano, p.time_unix_nano);
    t.put("Count: ").show(p.count).end();
    t.put("Sum: ").fixed(p.sum).end();
    for (i, q) in p.quantile_values().enumerate() {
        t.put("QuantileValue #").show(i).put(": Quantile ").fixed(q.quantile).put(", Value ").fixed(q.value).end();
    }
}

fn exemplars(t: &mut Text, exemplars: Repeated<'_, Exemplar<'_>>) {
    for (i, e) in exemplars.enumerate() {
        if i == 0 {
            t.put("Exemplars:").end();
        }
        t.put("Exemplar #").show(i).end();
        t.put("     -> Trace ID: ").id(e.trace_id).end();
        t.put("     -> Span ID: ").id(e.span_id).end();
        t.put("     -> Timestamp: ").time(e.time_unix_nano).end();
        number(t, "     -> Value: ", e.value.0);
        attributes(t, "     -> FilteredAttributes:", DEEPER_ITEM, e.filtered_attributes());
    }
}
