//! `verbosity: normal`: a line for each resource, each scope, and each span, data point or log record.
//!
//! Pure functions: the input is a checked body, the output is text.

use otelcore_pdata::views::{
    ExponentialHistogramPoint, HistogramPoint, KeyValue, Metric, MetricData, NumberPoint, NumberValue,
    RepeatedMessages, Resource, ResourceLogs, ResourceMetrics, ResourceSpans, Scope, SummaryPoint, resource_entries,
};
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
        write_resource(t, "ResourceTraces #", i, entry.schema_url, &entry.resource);
        for group in entry.scope_spans() {
            write_scope(t, "ScopeTraces #", i, group.schema_url, &group.scope);
            for span in group.spans() {
                t.push(span.name).push(" ").push_id(span.trace_id).push(" ").push_id(span.span_id);
                write_attributes_after_blanks(t, span.attributes());
                t.end_line();
            }
        }
    }
}

fn write_logs(t: &mut TextBuffer, body: &Rope) {
    for (i, entry) in resource_entries::<ResourceLogs<'_>>(body).enumerate() {
        write_resource(t, "ResourceLog #", i, entry.schema_url, &entry.resource);
        for group in entry.scope_logs() {
            write_scope(t, "ScopeLog #", i, group.schema_url, &group.scope);
            for record in group.log_records() {
                // The blank is written even if there are no attributes.
                t.push_value(record.body).push(" ");
                write_attributes(t, record.attributes(), " ");
                t.end_line();
            }
        }
    }
}

fn write_metrics(t: &mut TextBuffer, body: &Rope) {
    for (i, entry) in resource_entries::<ResourceMetrics<'_>>(body).enumerate() {
        write_resource(t, "ResourceMetrics #", i, entry.schema_url, &entry.resource);
        for group in entry.scope_metrics() {
            write_scope(t, "ScopeMetrics #", i, group.schema_url, &group.scope);
            for metric in group.metrics() {
                write_points(t, &metric);
            }
        }
    }
}

/// `[schemaurl] k=v`; empty parts are left out.
fn write_resource(t: &mut TextBuffer, label: &str, index: usize, schema_url: &[u8], resource: &Resource<'_>) {
    t.push(label).push_display(index);
    if !schema_url.is_empty() {
        t.push(" [").push(schema_url).push("]");
    }
    write_attributes_after_blanks(t, resource.attributes());
    t.end_line();
}

/// `name@version [schemaurl] k=v`; empty parts are left out. The number is that of the resource, as in Go.
fn write_scope(t: &mut TextBuffer, label: &str, index: usize, schema_url: &[u8], scope: &Scope<'_>) {
    t.push(label).push_display(index);
    if !scope.name.is_empty() || !scope.version.is_empty() {
        t.push(" ").push(scope.name);
    }
    if !scope.version.is_empty() {
        t.push("@").push(scope.version);
    }
    if !schema_url.is_empty() {
        t.push(" [").push(schema_url).push("]");
    }
    write_attributes_after_blanks(t, scope.attributes());
    t.end_line();
}

/// ` k=v k2=v2`.
fn write_attributes_after_blanks(t: &mut TextBuffer, attributes: RepeatedMessages<'_, KeyValue<'_>>) {
    for kv in attributes {
        t.push(" ").push(kv.key).push("=").push_value(kv.value);
    }
}

/// `k=v,k2=v2`.
fn write_attributes(t: &mut TextBuffer, attributes: RepeatedMessages<'_, KeyValue<'_>>, separator: &str) {
    for (i, kv) in attributes.enumerate() {
        t.push(if i > 0 { separator } else { "" }).push(kv.key).push("=").push_value(kv.value);
    }
}

fn write_points(t: &mut TextBuffer, metric: &Metric<'_>) {
    match metric.data {
        MetricData::Empty => {}
        MetricData::Gauge(gauge) => gauge.points().for_each(|p| write_number_point(t, metric.name, &p)),
        MetricData::Sum(sum) => sum.points().for_each(|p| write_number_point(t, metric.name, &p)),
        MetricData::Histogram(h) => h.points().for_each(|p| write_histogram(t, metric.name, &p)),
        MetricData::ExponentialHistogram(h) => {
            h.exponential_points().for_each(|p| write_exponential_histogram(t, metric.name, &p))
        }
        MetricData::Summary(s) => s.points().for_each(|p| write_summary(t, metric.name, &p)),
    }
}

/// `metric{k=v,k2=v2} `.
fn write_series(t: &mut TextBuffer, name: &[u8], attributes: RepeatedMessages<'_, KeyValue<'_>>) {
    t.push(name).push("{");
    write_attributes(t, attributes, ",");
    t.push("} ");
}

fn write_number_point(t: &mut TextBuffer, name: &[u8], point: &NumberPoint<'_>) {
    write_series(t, name, point.attributes());
    match point.value.0 {
        NumberValue::Empty => {}
        NumberValue::Int(v) => {
            t.push_display(v);
        }
        NumberValue::Double(v) => {
            t.push_general(v);
        }
    }
    t.end_line();
}

fn write_totals(t: &mut TextBuffer, count: u64, optional: [(&str, Option<f64>); 3]) {
    t.push("count=").push_display(count);
    for (label, value) in optional {
        if let Some(value) = value {
            t.push(label).push_general(value);
        }
    }
}

fn write_histogram(t: &mut TextBuffer, name: &[u8], point: &HistogramPoint<'_>) {
    write_series(t, name, point.attributes());
    write_totals(t, point.count, [(" sum=", point.sum), (" min=", point.min), (" max=", point.max)]);
    let mut bounds = point.explicit_bounds();
    for count in point.bucket_counts() {
        t.push(" ");
        if let Some(bound) = bounds.next() {
            t.push("le").push_general(bound).push("=");
        }
        t.push_display(count);
    }
    t.end_line();
}

fn write_exponential_histogram(t: &mut TextBuffer, name: &[u8], point: &ExponentialHistogramPoint<'_>) {
    write_series(t, name, point.attributes());
    write_totals(t, point.count, [(" sum=", point.sum), (" min=", point.min), (" max=", point.max)]);
    let bounds = BucketBounds::from_scale(point.scale.0);
    for (index, count) in indexed_buckets(&point.negative).into_iter().rev() {
        t.push(" le").push_general(-bounds.lower_bound(index)).push("=").push_display(count);
    }
    if point.zero_count != 0 {
        t.push(" zero=").push_display(point.zero_count);
    }
    for (index, count) in indexed_buckets(&point.positive) {
        t.push(" le").push_general(bounds.lower_bound(index + 1.0)).push("=").push_display(count);
    }
    t.end_line();
}

fn write_summary(t: &mut TextBuffer, name: &[u8], point: &SummaryPoint<'_>) {
    write_series(t, name, point.attributes());
    t.push("count=").push_display(point.count).push(" sum=").push_fixed(point.sum);
    for quantile in point.quantile_values() {
        t.push(" q").push_general(quantile.quantile).push("=").push_general(quantile.value);
    }
    t.end_line();
}
