//! A body as text in one form: messages that Go always writes are there, and what has no order is sorted.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, exponential_histogram_data_point::Buckets};
use otelcore_pdata::Signal;
use prost::Message;

pub fn shown(signal: Signal, body: &[u8]) -> String {
    if body.is_empty() {
        return String::new();
    }
    match signal {
        Signal::Traces => format!("{:#?}", traces(body)),
        Signal::Metrics => format!("{:#?}", metrics(body)),
        Signal::Logs => format!("{:#?}", logs(body)),
    }
}

/// Whether a body in this form has no span, point or record: such a payload is not passed on.
pub fn has_no_items(shown: &str) -> bool {
    !["Span {", "DataPoint {", "LogRecord {"].iter().any(|item| shown.contains(item))
}

fn value(value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::KvlistValue(list)) => attributes(&mut list.values),
        Some(Value::ArrayValue(list)) => list.values.iter_mut().for_each(self::value),
        _ => {}
    }
}

fn attributes(list: &mut [KeyValue]) {
    list.iter_mut().for_each(|attribute| value(attribute.value.get_or_insert_default()));
    list.sort_by(|a, b| a.key.cmp(&b.key));
}

fn exemplars(list: &mut [Exemplar]) {
    list.iter_mut().for_each(|exemplar| attributes(&mut exemplar.filtered_attributes));
}

fn sort<T: Message>(list: &mut [T]) {
    list.sort_by_key(Message::encode_to_vec);
}

fn traces(body: &[u8]) -> ExportTraceServiceRequest {
    let mut request = ExportTraceServiceRequest::decode(body).unwrap();
    for entry in &mut request.resource_spans {
        attributes(&mut entry.resource.get_or_insert_default().attributes);
        for spans in &mut entry.scope_spans {
            attributes(&mut spans.scope.get_or_insert_default().attributes);
            for span in &mut spans.spans {
                attributes(&mut span.attributes);
                span.events.iter_mut().for_each(|event| attributes(&mut event.attributes));
                span.links.iter_mut().for_each(|link| attributes(&mut link.attributes));
                span.status.get_or_insert_default();
            }
        }
    }
    request
}

fn logs(body: &[u8]) -> ExportLogsServiceRequest {
    let mut request = ExportLogsServiceRequest::decode(body).unwrap();
    for entry in &mut request.resource_logs {
        attributes(&mut entry.resource.get_or_insert_default().attributes);
        for records in &mut entry.scope_logs {
            attributes(&mut records.scope.get_or_insert_default().attributes);
            for record in &mut records.log_records {
                attributes(&mut record.attributes);
                value(record.body.get_or_insert_default());
            }
        }
    }
    request
}

fn metrics(body: &[u8]) -> ExportMetricsServiceRequest {
    let mut request = ExportMetricsServiceRequest::decode(body).unwrap();
    for entry in &mut request.resource_metrics {
        attributes(&mut entry.resource.get_or_insert_default().attributes);
        for metrics in &mut entry.scope_metrics {
            attributes(&mut metrics.scope.get_or_insert_default().attributes);
            for metric in &mut metrics.metrics {
                attributes(&mut metric.metadata);
                if let Some(data) = &mut metric.data {
                    points(data);
                }
            }
            // Those that statements add are after their metric, and at the end in Go.
            sort(&mut metrics.metrics);
        }
    }
    request
}

/// In Go, points that were joined have a random order.
fn points(data: &mut Data) {
    let numbers = |points: &mut Vec<opentelemetry_proto::tonic::metrics::v1::NumberDataPoint>| {
        for point in points.iter_mut() {
            attributes(&mut point.attributes);
            exemplars(&mut point.exemplars);
        }
        sort(points);
    };
    match data {
        Data::Gauge(data) => numbers(&mut data.data_points),
        Data::Sum(data) => numbers(&mut data.data_points),
        Data::Histogram(data) => {
            for point in &mut data.data_points {
                attributes(&mut point.attributes);
                exemplars(&mut point.exemplars);
            }
            sort(&mut data.data_points);
        }
        Data::ExponentialHistogram(data) => {
            for point in &mut data.data_points {
                attributes(&mut point.attributes);
                exemplars(&mut point.exemplars);
                point.positive.get_or_insert_with(Buckets::default);
                point.negative.get_or_insert_with(Buckets::default);
            }
            sort(&mut data.data_points);
        }
        Data::Summary(data) => {
            data.data_points.iter_mut().for_each(|point| attributes(&mut point.attributes));
            sort(&mut data.data_points);
        }
    }
}
