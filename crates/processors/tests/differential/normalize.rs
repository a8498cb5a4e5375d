//! Bodies in one form, as text: without what Go writes and we don't or the other way around, and sorted where the order
//! in Go is random.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use otelcore_pdata::Signal;
use prost::Message;

/// Empty if nothing is left.
pub fn show(signal: Signal, body: &[u8]) -> String {
    match signal {
        Signal::Traces => traces(body),
        Signal::Metrics => metrics(body),
        Signal::Logs => logs(body),
    }
}

/// With each attribute and each number on one line.
fn compact(text: &str) -> String {
    let mut out = String::new();
    let mut depth_at_start = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let depth = line.len() - trimmed.len();
        match depth_at_start {
            None => {
                out.push_str(line);
                if trimmed == "KeyValue {" || trimmed.ends_with(": Some(") {
                    depth_at_start = Some(depth);
                } else {
                    out.push('\n');
                }
            }
            Some(start) => {
                out.push_str(trimmed);
                if depth == start {
                    depth_at_start = None;
                    out.push('\n');
                }
            }
        }
    }
    out
}

fn sort(attributes: &mut [KeyValue]) {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
}

/// Go's deletion moves the last entry.
fn sort_maps(value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::ArrayValue(array)) => array.values.iter_mut().for_each(sort_maps),
        Some(Value::KvlistValue(map)) => {
            sort(&mut map.values);
            map.values.iter_mut().filter_map(|entry| entry.value.as_mut()).for_each(sort_maps);
        }
        _ => {}
    }
}

fn traces(body: &[u8]) -> String {
    let mut request = ExportTraceServiceRequest::decode(body).unwrap();
    for entry in &mut request.resource_spans {
        sort(&mut entry.resource.get_or_insert_default().attributes);
        entry.scope_spans.retain(|scope| !scope.spans.is_empty());
        for scope in &mut entry.scope_spans {
            sort(&mut scope.scope.get_or_insert_default().attributes);
            for span in &mut scope.spans {
                sort(&mut span.attributes);
                span.events.iter_mut().for_each(|event| sort(&mut event.attributes));
                span.status.get_or_insert_default();
            }
        }
    }
    request.resource_spans.retain(|entry| !entry.scope_spans.is_empty());
    if request.resource_spans.is_empty() { String::new() } else { compact(&format!("{request:#?}")) }
}

fn logs(body: &[u8]) -> String {
    let mut request = ExportLogsServiceRequest::decode(body).unwrap();
    for entry in &mut request.resource_logs {
        sort(&mut entry.resource.get_or_insert_default().attributes);
        entry.scope_logs.retain(|scope| !scope.log_records.is_empty());
        for scope in &mut entry.scope_logs {
            sort(&mut scope.scope.get_or_insert_default().attributes);
            for record in &mut scope.log_records {
                sort(&mut record.attributes);
                sort_maps(record.body.get_or_insert_default());
            }
        }
    }
    request.resource_logs.retain(|entry| !entry.scope_logs.is_empty());
    if request.resource_logs.is_empty() { String::new() } else { compact(&format!("{request:#?}")) }
}

/// To 12 digits: functions of doubles differ in the last one.
fn round(v: &mut f64) {
    *v = format!("{v:.11e}").parse().unwrap();
}

/// Without empty buckets at both ends.
fn trim(buckets: &mut Option<Buckets>) {
    let buckets = buckets.get_or_insert_default();
    while buckets.bucket_counts.last() == Some(&0) {
        buckets.bucket_counts.pop();
    }
    let first = buckets.bucket_counts.iter().position(|count| *count != 0).unwrap_or(buckets.bucket_counts.len());
    buckets.bucket_counts.drain(..first);
    buckets.offset = if buckets.bucket_counts.is_empty() { 0 } else { buckets.offset + first as i32 };
}

fn metrics(body: &[u8]) -> String {
    let mut request = ExportMetricsServiceRequest::decode(body).unwrap();
    for entry in &mut request.resource_metrics {
        sort(&mut entry.resource.get_or_insert_default().attributes);
        entry.scope_metrics.retain(|scope| !scope.metrics.is_empty());
        for scope in &mut entry.scope_metrics {
            sort(&mut scope.scope.get_or_insert_default().attributes);
            scope.metrics.iter_mut().filter_map(|metric| metric.data.as_mut()).for_each(points);
        }
    }
    request.resource_metrics.retain(|entry| !entry.scope_metrics.is_empty());
    if request.resource_metrics.is_empty() { String::new() } else { compact(&format!("{request:#?}")) }
}

macro_rules! each_point {
    ($data:expr, |$point:ident| $normalize:block) => {{
        for $point in &mut $data.data_points {
            sort(&mut $point.attributes);
            $normalize
        }
        $data.data_points.sort_by_key(|point| format!("{point:?}"));
    }};
}

fn points(data: &mut Data) {
    match data {
        Data::Gauge(data) => each_point!(data, |_point| {}),
        Data::Sum(data) => each_point!(data, |_point| {}),
        Data::Histogram(data) => each_point!(data, |_point| {}),
        Data::Summary(data) => each_point!(data, |_point| {}),
        Data::ExponentialHistogram(data) => each_point!(data, |point| {
            trim(&mut point.positive);
            trim(&mut point.negative);
            round(&mut point.zero_threshold);
        }),
    }
}
