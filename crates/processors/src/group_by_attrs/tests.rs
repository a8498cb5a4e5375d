use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use otelcore_pdata::Signal;
use otelcore_pdata::build::Body;
use prost::Message;

use super::GroupByAttrsFactory;
use crate::testing::{Started, attributes, request, show, string};

#[test]
fn equal_resources_are_joined_whatever_the_order_of_their_attributes() {
    let mut both = request(&[("a", string("1")), ("b", string("2"))], vec![Span::default()]);
    let other = request(&[("b", string("2")), ("a", string("1"))], vec![Span::default()]);
    both.resource_spans.extend(other.resource_spans);
    let mut it = Started::new(&GroupByAttrsFactory, "{}", Signal::Traces);
    let passed_on = it.process(both.encode_to_vec());
    let joined = ExportTraceServiceRequest::decode(&*passed_on[0]).unwrap();
    assert_eq!(joined.resource_spans.len(), 1);
    assert_eq!(joined.resource_spans[0].scope_spans[0].spans.len(), 2);
    assert_eq!(it.metric("otelcol_processor_groupbyattrs_num_non_grouped_spans", &[]), 2.0);
    assert_eq!(it.metric("otelcol_processor_groupbyattrs_span_groups", &[]), 1.0);
}

#[test]
fn moved_attribute_takes_the_place_of_that_of_the_resource() {
    let span =
        |value: &str| Span { attributes: attributes(&[("k", string(value)), ("x", string("y"))]), ..Span::default() };
    let body = request(&[("k", string("old"))], vec![span("1"), span("2"), span("1")]);
    let mut it = Started::new(&GroupByAttrsFactory, "keys: [k]", Signal::Traces);
    let grouped = ExportTraceServiceRequest::decode(&*it.process(body.encode_to_vec())[0]).unwrap();
    let found: Vec<_> = grouped
        .resource_spans
        .iter()
        .map(|entry| {
            let spans = &entry.scope_spans[0].spans;
            assert!(spans.iter().all(|span| span.attributes.iter().map(show).eq(["x=\"y\""])));
            (show(&entry.resource.as_ref().unwrap().attributes[0]), spans.len())
        })
        .collect();
    assert_eq!(found, [("k=\"1\"".to_owned(), 2), ("k=\"2\"".to_owned(), 1)]);
}

#[test]
fn metrics_of_one_name_with_other_temporalities_stay_apart() {
    let mut body = Body::new();
    for temporality in [1, 2] {
        let mut entry = body.resource_metrics();
        entry.schema_url(b"url");
        let mut scope = entry.scope_metrics();
        let mut metric = scope.metric();
        metric.name(b"m");
        let mut sum = metric.sum();
        sum.aggregation_temporality(temporality);
        sum.point().int(1);
    }
    let mut it = Started::new(&GroupByAttrsFactory, "{}", Signal::Metrics);
    let grouped = ExportMetricsServiceRequest::decode(&*it.process(body.bytes().to_vec())[0]).unwrap();
    assert_eq!((grouped.resource_metrics.len(), grouped.resource_metrics[0].schema_url.as_str()), (1, "url"));
    assert_eq!(grouped.resource_metrics[0].scope_metrics[0].metrics.len(), 2);
}

#[test]
fn repeated_resource_is_bounded() {
    let long = "x".repeat(1 << 16);
    let spans = (0..2000).map(|n| Span { attributes: attributes(&[("k", string(&n.to_string()))]), ..Span::default() });
    let body = request(&[("long", string(&long))], spans.collect());
    let mut it = Started::new(&GroupByAttrsFactory, "keys: [k]", Signal::Traces);
    assert!(it.process(body.encode_to_vec()).is_empty());
    let outcomes = format!("{:?}", it.test.take_outcomes());
    assert!(outcomes.contains("the changed telemetry is larger than"), "{outcomes}");
}

#[test]
fn key_that_is_there_twice_is_logged() {
    let it = Started::new(&GroupByAttrsFactory, "keys: [a, a, '']", Signal::Logs);
    assert!(it.context.log.take_lines()[0].contains("A grouping key is already present"));
}

#[test]
fn resources_that_become_equal_are_joined() {
    // In any order, one of them has the key twice.
    let span = |entries: &[(&str, &str)]| {
        let entries: Vec<_> = entries.iter().map(|(key, value)| (*key, string(value))).collect();
        Span { attributes: attributes(&entries), ..Span::default() }
    };
    let moved = span(&[("k", "1"), ("l", "2")]);
    let mut body = request(&[("k", string("old")), ("a", string("b")), ("k", string("older"))], vec![moved]);
    for resource in [
        vec![("a", string("b")), ("l", string("2")), ("k", string("1"))],
        vec![("l", string("other")), ("a", string("b"))],
    ] {
        let spans =
            if body.resource_spans.len() == 1 { vec![span(&[])] } else { vec![span(&[("l", "2"), ("k", "1")])] };
        body.resource_spans.extend(request(&resource, spans).resource_spans);
    }
    let mut it = Started::new(&GroupByAttrsFactory, "keys: [k, l]", Signal::Traces);
    let grouped = ExportTraceServiceRequest::decode(&*it.process(body.encode_to_vec())[0]).unwrap();
    assert_eq!(grouped.resource_spans.len(), 1);
    let mut found: Vec<_> = grouped.resource_spans[0].resource.as_ref().unwrap().attributes.iter().map(show).collect();
    found.sort();
    assert_eq!(found, ["a=\"b\"", "k=\"1\"", "l=\"2\""]);
    assert_eq!(grouped.resource_spans[0].scope_spans.iter().map(|scope| scope.spans.len()).sum::<usize>(), 3);
}
