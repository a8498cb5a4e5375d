//! `verbosity: normal`: a line for each resource, each scope, and each span, data point or log record.
//!
//! Pure functions: the input is a checked body, the output is text.

use otelcore_pdata::views::{
    Data, ExponentialHistogramPoint, HistogramPoint, KeyValue, Metric, Number, NumberPoint, Repeated, Resource,
    ResourceLogs, ResourceMetrics, ResourceSpans, Scope, SummaryPoint, entries,
};
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
        resource(t, "ResourceTraces #", i, entry.schema_url, &entry.resource);
        for (j, group) in entry.scope_spans().enumerate() {
            scope(t, "ScopeTraces #", j, group.schema_url, &group.scope);
            for span in group.spans() {
                t.put(span.name).put(" ").id(span.trace_id).put(" ").id(span.span_id);
                words(t, span.attributes());
                t.end();
            }
        }
    }
}

fn logs(t: &mut Text, body: &Rope) {
    for (i, entry) in entries::<ResourceLogs<'_>>(body).enumerate() {
        resource(t, "ResourceLog #", i, entry.schema_url, &entry.resource);
        for (j, group) in entry.scope_logs().enumerate() {
            scope(t, "ScopeLog #", j, group.schema_url, &group.scope);
            for record in group.log_records() {
                // The blank is written even if there are no attributes.
                t.value(record.body).put(" ");
                list(t, record.attributes(), " ");
                t.end();
            }
        }
    }
}

fn metrics(t: &mut Text, body: &Rope) {
    for (i, entry) in entries::<ResourceMetrics<'_>>(body).enumerate() {
        resource(t, "ResourceMetrics #", i, entry.schema_url, &entry.resource);
        for (j, group) in entry.scope_metrics().enumerate() {
            scope(t, "ScopeMetrics #", j, group.schema_url, &group.scope);
            for metric in group.metrics() {
                points(t, &metric);
            }
        }
    }
}

/// `[schemaurl] k=v`; empty parts are left out.
fn resource(t: &mut Text, label: &str, index: usize, schema_url: &[u8], resource: &Resource<'_>) {
    t.put(label).show(index);
    if !schema_url.is_empty() {
        t.put(" [").put(schema_url).put("]");
    }
    words(t, resource.attributes());
    t.end();
}

/// `name@version [schemaurl] k=v`; empty parts are left out.
fn scope(t: &mut Text, label: &str, index: usize, schema_url: &[u8], scope: &Scope<'_>) {
    t.put(label).show(index);
    if !scope.name.is_empty() || !scope.version.is_empty() {
        t.put(" ").put(scope.name);
    }
    if !scope.version.is_empty() {
        t.put("@").put(scope.version);
    }
    if !schema_url.is_empty() {
        t.put(" [").put(schema_url).put("]");
    }
    words(t, scope.attributes());
    t.end();
}

/// ` k=v k2=v2`.
fn words(t: &mut Text, attributes: Repeated<'_, KeyValue<'_>>) {
    for kv in attributes {
        t.put(" ").put(kv.key).put("=").value(kv.value);
    }
}

/// `k=v,k2=v2`.
fn list(t: &mut Text, attributes: Repeated<'_, KeyValue<'_>>, separator: &str) {
    for (i, kv) in attributes.enumerate() {
        t.put(if i > 0 { separator } else { "" }).put(kv.key).put("=").value(kv.value);
    }
}

fn points(t: &mut Text, metric: &Metric<'_>) {
    match metric.data {
        Data::Empty => {}
        Data::Gauge(gauge) => gauge.points().for_each(|p| number(t, metric.name, &p)),
        Data::Sum(sum) => sum.points().for_each(|p| number(t, metric.name, &p)),
        Data::Histogram(h) => h.points().for_each(|p| histogram(t, metric.name, &p)),
        Data::ExponentialHistogram(h) => h.exponential_points().for_each(|p| exponential(t, metric.name, &p)),
        Data::Summary(s) => s.points().for_each(|p| summary(t, metric.name, &p)),
    }
}

/// `metric{k=v,k2=v2} `.
fn series(t: &mut Text, name: &[u8], attributes: Repeated<'_, KeyValue<'_>>) {
    t.put(name).put("{");
    list(t, attributes, ",");
    t.put("} ");
}

fn number(t: &mut Text, name: &[u8], point: &NumberPoint<'_>) {
    series(t, name, point.attributes());
    match point.value.0 {
        Number::Empty => {}
        Number::Int(v) => {
            t.show(v);
        }
        Number::Double(v) => {
            t.general(v);
        }
    }
    t.end();
}

fn totals(t: &mut Text, count: u64, optional: [(&str, Option<f64>); 3]) {
    t.put("count=").show(count);
    for (label, value) in optional {
        if let Some(value) = value {
            t.put(label).general(value);
        }
    }
}

fn histogram(t: &mut Text, name: &[u8], point: &HistogramPoint<'_>) {
    series(t, name, point.attributes());
    totals(t, point.count, [(" sum=", point.sum), (" min=", point.min), (" max=", point.max)]);
    let mut bounds = point.explicit_bounds();
    for count in point.bucket_counts() {
        t.put(" ");
        if let Some(bound) = bounds.next() {
            t.put("le").general(bound).put("=");
        }
        t.show(count);
    }
    t.end();
}

fn exponential(t: &mut Text, name: &[u8], point: &ExponentialHistogramPoint<'_>) {
    series(t, name, point.attributes());
    totals(t, point.count, [(" sum=", point.sum), (" min=", point.min), (" max=", point.max)]);
    let bounds = Bounds::of(point.scale.0);
    for (index, count) in buckets(&point.negative).into_iter().rev() {
        t.put(" le").general(-bounds.lower(index)).put("=").show(count);
    }
    if point.zero_count != 0 {
        t.put(" zero=").show(point.zero_count);
    }
    for (index, count) in buckets(&point.positive) {
        t.put(" le").general(bounds.lower(index + 1.0)).put("=").show(count);
    }
    t.end();
}

fn summary(t: &mut Text, name: &[u8], point: &SummaryPoint<'_>) {
    series(t, name, point.attributes());
    t.put("count=").show(point.count).put(" sum=").fixed(point.sum);
    for quantile in point.quantile_values() {
        t.put(" q").general(quantile.quantile).put("=").general(quantile.value);
    }
    t.end();
}
