//! Generated requests, and their items as lines of text.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_pdata::Signal;
use otelcore_test_support::Choices;
use prost::Message;

pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn attributes(c: &mut Choices) -> Vec<KeyValue> {
    let mut attributes = Vec::new();
    if c.below(3) > 0 {
        attributes.push(text("s", c.choose(&["a", "b", "c", ""])));
    }
    if c.below(2) == 0 {
        let number = c.below(4) as i64;
        attributes.push(if c.below(5) == 0 { text("n", "abc") } else { attribute("n", Value::IntValue(number)) });
    }
    attributes
}

fn resource(c: &mut Choices) -> Option<Resource> {
    (c.below(8) > 0).then(|| Resource { attributes: attributes(c), ..Resource::default() })
}

fn scope(c: &mut Choices) -> Option<InstrumentationScope> {
    let name = c.choose(&["lib", "other"]).to_owned();
    (c.below(4) > 0).then(|| InstrumentationScope { name, ..InstrumentationScope::default() })
}

/// A body of the signal.
pub(crate) fn body(c: &mut Choices, signal: Signal) -> Vec<u8> {
    let resources = 1 + c.below(3);
    match signal {
        Signal::Traces => {
            let entry = |c: &mut Choices, r: usize| ResourceSpans {
                resource: resource(c),
                scope_spans: (0..1 + c.below(2))
                    .map(|s| ScopeSpans {
                        scope: scope(c),
                        spans: (0..1 + c.below(3)).map(|n| span(c, format!("{r}-{s}-{n}"))).collect(),
                        ..ScopeSpans::default()
                    })
                    .collect(),
                schema_url: c.choose(&["", "u"]).to_owned(),
            };
            ExportTraceServiceRequest { resource_spans: (0..resources).map(|r| entry(c, r)).collect() }.encode_to_vec()
        }
        Signal::Logs => {
            let entry = |c: &mut Choices, r: usize| ResourceLogs {
                resource: resource(c),
                scope_logs: (0..1 + c.below(2))
                    .map(|s| ScopeLogs {
                        scope: scope(c),
                        log_records: (0..1 + c.below(3)).map(|n| log(c, format!("{r}-{s}-{n}"))).collect(),
                        ..ScopeLogs::default()
                    })
                    .collect(),
                schema_url: c.choose(&["", "u"]).to_owned(),
            };
            ExportLogsServiceRequest { resource_logs: (0..resources).map(|r| entry(c, r)).collect() }.encode_to_vec()
        }
        Signal::Metrics => {
            let entry = |c: &mut Choices, r: usize| ResourceMetrics {
                resource: resource(c),
                scope_metrics: (0..1 + c.below(2))
                    .map(|s| ScopeMetrics {
                        scope: scope(c),
                        metrics: (0..1 + c.below(3)).map(|n| metric(c, &format!("{r}-{s}-{n}"))).collect(),
                        ..ScopeMetrics::default()
                    })
                    .collect(),
                schema_url: c.choose(&["", "u"]).to_owned(),
            };
            let resource_metrics = (0..resources).map(|r| entry(c, r)).collect();
            ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
        }
    }
}

fn span(c: &mut Choices, name: String) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        parent_span_id: if c.below(2) == 0 { Vec::new() } else { vec![1; 8] },
        kind: c.below(6) as i32,
        attributes: attributes(c),
        name,
        ..Span::default()
    }
}

fn log(c: &mut Choices, text: String) -> LogRecord {
    LogRecord {
        severity_number: c.below(24) as i32,
        severity_text: text,
        attributes: attributes(c),
        ..LogRecord::default()
    }
}

fn metric(c: &mut Choices, id: &str) -> Metric {
    let points = 1 + c.below(3);
    let numbers = |c: &mut Choices| {
        let point = |c: &mut Choices, n: usize| NumberDataPoint {
            attributes: attributes(c),
            time_unix_nano: n as u64 + 1,
            value: Some(number_data_point::Value::AsInt(c.below(5) as i64)),
            ..NumberDataPoint::default()
        };
        (0..points).map(|n| point(c, n)).collect::<Vec<_>>()
    };
    let data = match c.below(5) {
        0 => Data::Gauge(Gauge { data_points: numbers(c) }),
        1 => Data::Sum(Sum {
            data_points: numbers(c),
            aggregation_temporality: 1 + c.below(2) as i32,
            is_monotonic: c.below(2) == 0,
        }),
        2 => {
            let point = |c: &mut Choices, n: usize| HistogramDataPoint {
                attributes: attributes(c),
                time_unix_nano: n as u64 + 1,
                ..HistogramDataPoint::default()
            };
            let data_points = (0..points).map(|n| point(c, n)).collect();
            Data::Histogram(Histogram { data_points, aggregation_temporality: 2 })
        }
        3 => {
            let point = |c: &mut Choices, n: usize| ExponentialHistogramDataPoint {
                attributes: attributes(c),
                time_unix_nano: n as u64 + 1,
                ..ExponentialHistogramDataPoint::default()
            };
            let data_points = (0..points).map(|n| point(c, n)).collect();
            Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality: 2 })
        }
        _ => {
            let point = |c: &mut Choices, n: usize| SummaryDataPoint {
                attributes: attributes(c),
                time_unix_nano: n as u64 + 1,
                ..SummaryDataPoint::default()
            };
            Data::Summary(Summary { data_points: (0..points).map(|n| point(c, n)).collect() })
        }
    };
    let name = c.choose(&["cpu", "mem", "x"]).to_owned();
    let description = id.to_owned();
    Metric { name, description, unit: "1".to_owned(), data: Some(data), ..Metric::default() }
}

/// The attributes, sorted.
pub(crate) fn shown(attributes: &[KeyValue]) -> String {
    let value = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => format!("{text:?}"),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    };
    let mut all: Vec<String> = attributes.iter().map(|kv| format!("{}={}", kv.key, value(&kv.value))).collect();
    all.sort();
    all.join(" ")
}

/// Each item with what is around it, sorted.
pub(crate) fn items(signal: Signal, body: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let around = |resource: &Option<Resource>, url: &str, scope: &Option<InstrumentationScope>| {
        let resource = resource.as_ref().map(|resource| shown(&resource.attributes)).unwrap_or_default();
        let scope = scope.as_ref().map(|scope| scope.name.clone()).unwrap_or_default();
        format!("[{resource}] {url} [{scope}]")
    };
    match signal {
        Signal::Traces => {
            for entry in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
                for scope in entry.scope_spans {
                    let around = around(&entry.resource, &entry.schema_url, &scope.scope);
                    let line = |span: Span| format!("{around} {} {}", span.name, shown(&span.attributes));
                    lines.extend(scope.spans.into_iter().map(line));
                }
            }
        }
        Signal::Logs => {
            for entry in ExportLogsServiceRequest::decode(body).unwrap().resource_logs {
                for scope in entry.scope_logs {
                    let around = around(&entry.resource, &entry.schema_url, &scope.scope);
                    let line = |log: LogRecord| format!("{around} {} {}", log.severity_text, shown(&log.attributes));
                    lines.extend(scope.log_records.into_iter().map(line));
                }
            }
        }
        Signal::Metrics => {
            for entry in ExportMetricsServiceRequest::decode(body).unwrap().resource_metrics {
                for scope in entry.scope_metrics {
                    let around = around(&entry.resource, &entry.schema_url, &scope.scope);
                    for metric in scope.metrics {
                        let around = format!("{around} {} {} {}", metric.name, metric.description, metric.unit);
                        lines.extend(points(metric.data).into_iter().map(|point| format!("{around} {point}")));
                    }
                }
            }
        }
    }
    lines.sort();
    lines
}

fn points(data: Option<Data>) -> Vec<String> {
    let line = |kind: &str, time: u64, attributes: &[KeyValue]| format!("{kind} {time} {}", shown(attributes));
    match data {
        None => Vec::new(),
        Some(Data::Gauge(gauge)) => {
            gauge.data_points.iter().map(|p| line("gauge", p.time_unix_nano, &p.attributes)).collect()
        }
        Some(Data::Sum(sum)) => {
            let kind = format!("sum {} {}", sum.aggregation_temporality, sum.is_monotonic);
            sum.data_points.iter().map(|p| line(&kind, p.time_unix_nano, &p.attributes)).collect()
        }
        Some(Data::Histogram(data)) => {
            let kind = format!("histogram {}", data.aggregation_temporality);
            data.data_points.iter().map(|p| line(&kind, p.time_unix_nano, &p.attributes)).collect()
        }
        Some(Data::ExponentialHistogram(data)) => {
            let kind = format!("exponential {}", data.aggregation_temporality);
            data.data_points.iter().map(|p| line(&kind, p.time_unix_nano, &p.attributes)).collect()
        }
        Some(Data::Summary(data)) => {
            data.data_points.iter().map(|p| line("summary", p.time_unix_nano, &p.attributes)).collect()
        }
    }
}
