use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, ScopeMetrics, metric::Data};
use opentelemetry_proto::tonic::trace::v1::Span;
use otelcore_pdata::Signal;
use prost::Message;

use crate::ResourceFactory;
use crate::testing::{attributes, process_body, request, show, string};

#[test]
fn every_resource_is_changed_and_nothing_below_it() {
    let yaml = "attributes: [{key: a, value: 1, action: upsert}, {key: old, action: delete}]";
    let span = Span { attributes: attributes(&[("a", string("x"))]), ..Span::default() };
    let mut request = request(&[("old", string("1"))], vec![span]);
    request.resource_spans.push(request.resource_spans[0].clone());
    let edited = process_body(&ResourceFactory, yaml, Signal::Traces, request.encode_to_vec(), None);
    let mut edited = ExportTraceServiceRequest::decode(edited.to_bytes()).unwrap();
    for (entry, before) in edited.resource_spans.iter_mut().zip(&request.resource_spans) {
        assert_eq!(entry.resource.take().unwrap().attributes.iter().map(show).collect::<Vec<_>>(), ["a=1"]);
        assert_eq!(entry.scope_spans, before.scope_spans);
    }
    assert_eq!(edited.resource_spans.len(), 2);
}

#[test]
fn entry_without_a_resource_gets_one() {
    let metric = Metric {
        data: Some(Data::Gauge(Gauge { data_points: vec![NumberDataPoint::default()] })),
        ..Metric::default()
    };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let entry = ResourceMetrics { scope_metrics, ..ResourceMetrics::default() };
    let body = ExportMetricsServiceRequest { resource_metrics: vec![entry] }.encode_to_vec();
    let yaml = "attributes: [{key: a, value: x, action: insert}]";
    let edited = process_body(&ResourceFactory, yaml, Signal::Metrics, body, None);
    let edited = ExportMetricsServiceRequest::decode(edited.to_bytes()).unwrap();
    let resource = edited.resource_metrics[0].resource.as_ref().unwrap();
    assert_eq!(resource.attributes.iter().map(show).collect::<Vec<_>>(), ["a=\"x\""]);
}
