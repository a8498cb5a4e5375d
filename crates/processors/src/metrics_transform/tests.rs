use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use otelcore_pdata::Signal;
use otelcore_pdata::build::{Body, MetricWriter};
use prost::Message;

use super::MetricsTransformFactory;
use crate::testing::{Started, messages, metric_body, show};

/// A gauge with integers, each with one attribute.
fn gauge(metric: &mut MetricWriter<'_>, name: &str, points: Points<'_>) {
    metric.name(name.as_bytes());
    let mut gauge = metric.gauge();
    for (key, value, number) in points {
        let mut point = gauge.point();
        point.attributes().string(key.as_bytes(), value.as_bytes());
        point.int(*number);
    }
}

/// The key and the value of an attribute, and the number.
type Points<'a> = &'a [(&'a str, &'a str, i64)];

fn gauges(metrics: &[(&str, Points<'_>)]) -> Vec<u8> {
    let mut body = Body::new();
    {
        let mut entry = body.resource_metrics();
        entry.resource().attributes().string(b"r", b"1");
        let mut scope = entry.scope_metrics();
        for (name, points) in metrics {
            gauge(&mut scope.metric(), name, points);
        }
    }
    body.bytes().to_vec()
}

fn show_metric(metric: &Metric) -> String {
    let points = match metric.data.as_ref().unwrap() {
        Data::Gauge(data) => &data.data_points,
        Data::Sum(data) => &data.data_points,
        other => return format!("{} {other:?}", metric.name),
    };
    let points = points.iter().map(|point| {
        let attributes: Vec<_> = point.attributes.iter().map(show).collect();
        match point.value {
            Some(Number::AsInt(v)) => format!("{{{}}}{v}", attributes.join(",")),
            ref other => format!("{{{}}}{other:?}", attributes.join(",")),
        }
    });
    format!("{} {}", metric.name, points.collect::<Vec<_>>().join(" "))
}

/// The metrics of each entry afterwards.
fn transformed(yaml: &str, body: Vec<u8>) -> Vec<Vec<String>> {
    let mut it = Started::new(&MetricsTransformFactory, yaml, Signal::Metrics);
    let passed_on = it.process(body);
    let Some(body) = passed_on.first() else { return Vec::new() };
    let request = ExportMetricsServiceRequest::decode(&**body).unwrap();
    let metrics = request
        .resource_metrics
        .iter()
        .map(|entry| entry.scope_metrics.iter().flat_map(|scope| &scope.metrics).map(show_metric).collect());
    metrics.collect()
}

#[test]
fn payload_without_a_match_is_the_same_buffer() {
    let yaml = "transforms: [{include: x, action: update, new_name: y}]";
    let mut it = Started::new(&MetricsTransformFactory, yaml, Signal::Metrics);
    let body = gauges(&[("m", &[("k", "v", 1)])]);
    assert_eq!(it.process(body.clone()), [body]);
}

#[test]
fn key_and_value_of_a_label_are_changed_together() {
    let yaml = "transforms: [{include: m, action: update, operations: [{action: update_label, label: k, new_label: n, \
                value_actions: [{value: v, new_value: 'w{{version}}'}]}]}]";
    let expected = format!("m {{n=\"w{}\"}}1 {{n=\"x\"}}2", env!("CARGO_PKG_VERSION"));
    assert_eq!(transformed(yaml, gauges(&[("m", &[("k", "v", 1), ("k", "x", 2)])])), [[expected]]);
}

#[test]
fn count_of_a_single_point_is_one() {
    let yaml = "transforms: [{include: m, action: update, operations: [{action: aggregate_labels, label_set: [], \
                aggregation_type: count}]}]";
    assert_eq!(transformed(yaml, gauges(&[("m", &[("k", "v", 7)])])), [["m {}1"]]);
    assert_eq!(transformed(yaml, gauges(&[("m", &[("k", "v", 7), ("k", "w", 7)])])), [["m {}2"]]);
}

#[test]
fn points_that_do_not_match_stay_when_others_are_grouped_or_combined() {
    let body = || gauges(&[("m", &[("k", "v", 1), ("k", "x", 2)])]);
    let group = "transforms: [{include: m, action: group, experimental_match_labels: {k: v}, \
                 group_resource_labels: {g: h}}]";
    assert_eq!(transformed(group, body()), [["m {k=\"x\"}2"], ["m {k=\"v\"}1"]]);
    let combine = "transforms: [{include: m, action: combine, experimental_match_labels: {k: v}, new_name: n, \
                   aggregation_type: sum}]";
    assert_eq!(transformed(combine, body()), [["m {k=\"x\"}2", "n {k=\"v\"}1"]]);
}

#[test]
fn case_of_a_group_is_changed_where_the_configuration_says_so() {
    let yaml = "transforms: [{include: '^m_(?P<kind>.*)$', match_type: regexp, action: combine, new_name: m, \
                aggregation_type: sum, submatch_case: upper}]";
    let body = gauges(&[("m_a", &[("k", "v", 1)]), ("m_b", &[("k", "v", 2)])]);
    assert_eq!(transformed(yaml, body), [["m {k=\"v\",kind=\"A\"}1 {k=\"v\",kind=\"B\"}2"]]);
}

#[test]
fn metrics_that_can_not_be_combined_stay_and_are_logged_once() {
    let yaml = "transforms: [{include: '^m', match_type: regexp, action: combine, new_name: n, aggregation_type: sum}]";
    let mut it = Started::new(&MetricsTransformFactory, yaml, Signal::Metrics);
    let body = gauges(&[("m1", &[("k", "v", 1)]), ("m2", &[("other", "v", 2)])]);
    assert_eq!(it.process(body.clone()), std::slice::from_ref(&body));
    assert_eq!(it.process(body.clone()), [body]);
    let lines = it.context.log.take_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("metrics cannot be combined as they have different attributes: m1 (k) and m2 (other)"));
}

#[test]
fn summary_is_not_aggregated_but_renamed() {
    let body = metric_body(|metric| {
        metric.name(b"m");
        metric.summary().point().count(3).attributes().string(b"k", b"v");
    });
    let yaml = "transforms: [{include: m, action: update, new_name: n, operations: [{action: aggregate_label_values, \
                label: x, aggregated_values: [a], new_value: b, aggregation_type: sum}]}]";
    let metrics = transformed(yaml, body);
    assert!(metrics[0][0].starts_with("n Summary") && metrics[0][0].contains("count: 3"), "{metrics:?}");
}

#[test]
fn copies_of_copies_are_bounded() {
    let copy = "{include: '.', match_type: regexp, action: insert, new_name: 'x$0'}";
    let yaml = format!("transforms: [{}]", vec![copy; 14].join(", "));
    let points: Vec<_> = (0..2000).map(|n| ("key", "a value of some length", n)).collect();
    let mut it = Started::new(&MetricsTransformFactory, &yaml, Signal::Metrics);
    assert!(it.process(gauges(&[("m", &points)])).is_empty());
    let outcomes = it.test.take_outcomes();
    assert!(format!("{outcomes:?}").contains("the changed telemetry is larger than"), "{outcomes:?}");
}

#[test]
fn mistakes_have_the_path_of_their_key() {
    for (yaml, expected) in [
        ("[{action: update}]", "transforms[0]::include: missing required field \"include\""),
        (
            "[{include: a, action: group}]",
            "transforms[0]::group_resource_labels: missing required field \"group_resource_labels\" while \"action\" is group",
        ),
        (
            "[{include: a, action: update, operations: [{action: add_label}]}]",
            "transforms[0]::operations[0]::new_label: operation 1: missing required field \"new_label\" while \"action\" is add_label",
        ),
        (
            "[{include: '(', match_type: regexp, action: update}]",
            "transforms[0]::include: \"include\", error parsing regexp: missing closing ): `(`",
        ),
        (
            "[{include: a, action: update, operations: [{action: experimental_scale_value, experimental_scale: -1}]}]",
            "transforms[0]::operations[0]::experimental_scale: a negative scale is not applied to histograms",
        ),
    ] {
        let found = messages(&MetricsTransformFactory, &format!("transforms: {yaml}"));
        assert!(found.iter().any(|message| message.ends_with(expected)), "{found:?}");
    }
}

/// The outcome of a body that is not passed on.
fn refused(yaml: &str, body: Vec<u8>) -> String {
    let mut it = Started::new(&MetricsTransformFactory, yaml, Signal::Metrics);
    assert!(it.process(body).is_empty());
    format!("{:?}", it.test.take_outcomes())
}

#[test]
fn resource_that_each_group_repeats_is_bounded() {
    let body = |scopes: usize| {
        let mut body = Body::new();
        {
            let mut entry = body.resource_metrics();
            entry.resource().attributes().string(b"long", &[b'x'; 1 << 16]);
            for _ in 0..scopes {
                gauge(&mut entry.scope_metrics().metric(), "m", &[("k", "v", 1)]);
            }
        }
        body.bytes().to_vec()
    };
    let yaml = "transforms: [{include: m, action: group, group_resource_labels: {g: h}}]";
    assert_eq!(transformed(yaml, body(10)).len(), 10);
    let outcomes = refused(yaml, body(2000));
    assert!(outcomes.contains("Permanent") && outcomes.contains("the changed telemetry is larger than"), "{outcomes}");
}

#[test]
fn name_that_each_point_repeats_is_bounded() {
    let yaml = "transforms: [{include: '^m_(?P<kind>.*)$', match_type: regexp, action: combine, new_name: m, \
                aggregation_type: sum}]";
    let body = |points: i64| {
        let values: Vec<String> = (0..points).map(|point| point.to_string()).collect();
        let points: Vec<_> = values.iter().map(|value| ("k", value.as_str(), 1)).collect();
        gauges(&[(&format!("m_{}", "x".repeat(1 << 16)), &points)])
    };
    assert_eq!(transformed(yaml, body(10)).len(), 1);
    let outcomes = refused(yaml, body(2000));
    assert!(outcomes.contains("Permanent") && outcomes.contains("the changed telemetry is larger than"), "{outcomes}");
}
