//! Normalizes messages that OTLP/JSON does not distinguish: absent and empty messages, ids of zeros and absent ids, and
//! minus zero where zero is absence.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::Exemplar;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelcore_pdata::Signal;
use prost::Message;

/// The message as text: as text, NaN equals NaN, and zeros of different sign differ.
pub fn text(signal: Signal, bytes: &[u8]) -> String {
    match signal {
        Signal::Traces => format!("{:#?}", traces(ExportTraceServiceRequest::decode(bytes).unwrap())),
        Signal::Metrics => format!("{:#?}", metrics(ExportMetricsServiceRequest::decode(bytes).unwrap())),
        Signal::Logs => format!("{:#?}", logs(ExportLogsServiceRequest::decode(bytes).unwrap())),
    }
}

fn traces(mut message: ExportTraceServiceRequest) -> ExportTraceServiceRequest {
    for entry in &mut message.resource_spans {
        resource(&mut entry.resource);
        for scoped in &mut entry.scope_spans {
            scope(&mut scoped.scope);
            for span in &mut scoped.spans {
                id(&mut span.trace_id);
                id(&mut span.span_id);
                id(&mut span.parent_span_id);
                attributes(&mut span.attributes);
                span.status.get_or_insert_default();
                span.events.iter_mut().for_each(|event| attributes(&mut event.attributes));
                for link in &mut span.links {
                    id(&mut link.trace_id);
                    id(&mut link.span_id);
                    attributes(&mut link.attributes);
                }
            }
        }
    }
    message
}

fn logs(mut message: ExportLogsServiceRequest) -> ExportLogsServiceRequest {
    for entry in &mut message.resource_logs {
        resource(&mut entry.resource);
        for scoped in &mut entry.scope_logs {
            scope(&mut scoped.scope);
            for record in &mut scoped.log_records {
                id(&mut record.trace_id);
                id(&mut record.span_id);
                value(record.body.get_or_insert_default());
                attributes(&mut record.attributes);
            }
        }
    }
    message
}

fn metrics(mut message: ExportMetricsServiceRequest) -> ExportMetricsServiceRequest {
    for entry in &mut message.resource_metrics {
        resource(&mut entry.resource);
        for scoped in &mut entry.scope_metrics {
            scope(&mut scoped.scope);
            for metric in &mut scoped.metrics {
                attributes(&mut metric.metadata);
                points(metric.data.as_mut());
            }
        }
    }
    message
}

fn points(data: Option<&mut Data>) {
    match data {
        None => {}
        Some(Data::Gauge(d)) => numbers(&mut d.data_points),
        Some(Data::Sum(d)) => numbers(&mut d.data_points),
        Some(Data::Histogram(d)) => {
            for point in &mut d.data_points {
                attributes(&mut point.attributes);
                exemplars(&mut point.exemplars);
            }
        }
        Some(Data::ExponentialHistogram(d)) => {
            for point in &mut d.data_points {
                attributes(&mut point.attributes);
                exemplars(&mut point.exemplars);
                point.positive.get_or_insert_default();
                point.negative.get_or_insert_default();
                zero(&mut point.zero_threshold);
            }
        }
        Some(Data::Summary(d)) => {
            for point in &mut d.data_points {
                attributes(&mut point.attributes);
                zero(&mut point.sum);
                for at in &mut point.quantile_values {
                    zero(&mut at.quantile);
                    zero(&mut at.value);
                }
            }
        }
    }
}

fn numbers(points: &mut [opentelemetry_proto::tonic::metrics::v1::NumberDataPoint]) {
    for point in points {
        attributes(&mut point.attributes);
        exemplars(&mut point.exemplars);
    }
}

fn exemplars(exemplars: &mut [Exemplar]) {
    for exemplar in exemplars {
        id(&mut exemplar.trace_id);
        id(&mut exemplar.span_id);
        attributes(&mut exemplar.filtered_attributes);
    }
}

fn resource(resource: &mut Option<Resource>) {
    attributes(&mut resource.get_or_insert_default().attributes);
}

fn scope(scope: &mut Option<InstrumentationScope>) {
    attributes(&mut scope.get_or_insert_default().attributes);
}

fn attributes(attributes: &mut [KeyValue]) {
    for attribute in attributes {
        value(attribute.value.get_or_insert_default());
    }
}

fn value(any: &mut AnyValue) {
    match &mut any.value {
        Some(Value::ArrayValue(array)) => array.values.iter_mut().for_each(value),
        Some(Value::KvlistValue(map)) => attributes(&mut map.values),
        _ => {}
    }
}

fn id(id: &mut Vec<u8>) {
    if id.iter().all(|b| *b == 0) {
        id.clear();
    }
}

fn zero(v: &mut f64) {
    if *v == 0.0 {
        *v = 0.0;
    }
}
