use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use otelcore_pdata::Signal;
use prost::Message;

use crate::AttributesFactory;
use crate::testing::{attributes, process_body, request, string};

#[test]
fn points_of_every_kind_of_metric_are_changed() {
    let data = [
        Data::Gauge(Gauge { data_points: vec![NumberDataPoint::default()] }),
        Data::Sum(Sum { data_points: vec![NumberDataPoint::default()], ..Sum::default() }),
        Data::Histogram(Histogram { data_points: vec![HistogramDataPoint::default()], ..Histogram::default() }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![ExponentialHistogramDataPoint::default()],
            ..ExponentialHistogram::default()
        }),
        Data::Summary(Summary { data_points: vec![SummaryDataPoint::default()] }),
    ];
    let metrics = data.map(|data| Metric { data: Some(data), ..Metric::default() }).to_vec();
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let entry = ResourceMetrics { scope_metrics, ..ResourceMetrics::default() };
    let body = ExportMetricsServiceRequest { resource_metrics: vec![entry] }.encode_to_vec();
    let yaml = "actions: [{key: a, value: 1, action: insert}]";
    let edited = process_body(&AttributesFactory, yaml, Signal::Metrics, body, None);
    let edited = ExportMetricsServiceRequest::decode(edited.to_bytes()).unwrap();
    for metric in &edited.resource_metrics[0].scope_metrics[0].metrics {
        let attributes = match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => &gauge.data_points[0].attributes,
            Data::Sum(sum) => &sum.data_points[0].attributes,
            Data::Histogram(histogram) => &histogram.data_points[0].attributes,
            Data::ExponentialHistogram(histogram) => &histogram.data_points[0].attributes,
            Data::Summary(summary) => &summary.data_points[0].attributes,
        };
        assert_eq!(attributes.len(), 1, "{metric:?}");
    }
}

#[test]
fn resource_and_events_are_not_changed() {
    let entries = [("a", string("x"))];
    let event = Event { attributes: attributes(&entries), ..Event::default() };
    let span = Span { attributes: attributes(&entries), events: vec![event], ..Span::default() };
    let request = request(&entries, vec![span]);
    let yaml = "actions: [{key: a, action: delete}]";
    let edited = process_body(&AttributesFactory, yaml, Signal::Traces, request.encode_to_vec(), None);
    let mut edited = ExportTraceServiceRequest::decode(edited.to_bytes()).unwrap();
    let span = &mut edited.resource_spans[0].scope_spans[0].spans[0];
    assert!(span.attributes.is_empty());
    span.attributes = attributes(&entries);
    assert_eq!(edited, request);
}

#[test]
fn payload_in_which_nothing_changes_is_the_same_buffer() {
    let request = request(&[("service.name", string("svc"))], vec![Span::default(); 10]);
    for yaml in [
        "actions: [{key: a, value: 1, action: update}]",
        "actions: [{key: a, value: 1, action: insert}]\ninclude: {match_type: strict, services: [other]}",
        "actions: [{key: a, action: delete, pattern: b}, {key: a, action: hash}, {key: a, from_attribute: b, action: upsert}]",
    ] {
        let body = bytes::Bytes::from(request.encode_to_vec());
        let address = body.as_ptr();
        let edited = process_body(&AttributesFactory, yaml, Signal::Traces, body, None);
        assert_eq!(edited.parts()[0].bytes.as_ptr(), address, "{yaml}");
    }
}
