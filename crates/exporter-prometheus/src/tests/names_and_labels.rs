//! The name and the labels of a series.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};

use super::*;
use crate::{ResourceLabelsConfig, TranslationStrategy};

#[test]
fn example_of_the_documentation_is_rendered() {
    let mut fixture = Fixture::new();
    let metric =
        sum("http.requests", "1", CUMULATIVE, true, vec![with_int(point(1, 0.0, &[("http.method", "GET")]), 3)]);
    let list = [("service.name", "svc"), ("service.instance.id", "i1"), ("host.name", "h")];
    fixture.push(0, vec![resource(&list, vec![scope("lib", "1.2", vec![with_description(metric, "Total")])])]);
    let expected = "# HELP http_requests_total Total\n# TYPE http_requests_total counter\n\
        http_requests_total{http_method=\"GET\",instance=\"i1\",job=\"svc\",otel_scope_name=\"lib\",\
        otel_scope_schema_url=\"\",otel_scope_version=\"1.2\"} 3\n\
        # HELP target_info Target metadata\n# TYPE target_info gauge\n\
        target_info{host_name=\"h\",instance=\"i1\",job=\"svc\"} 1\n";
    assert_eq!(fixture.page(0), expected);
}

fn labels_of(fixture: &mut Fixture, list: Attributes<'_>) -> Vec<String> {
    fixture.metrics(0, vec![gauge("g", "", vec![point(1, 1.0, list)])]);
    fixture.samples(0)
}

#[test]
fn series_with_an_invalid_label_is_dropped() {
    let bad: [Attributes<'_>; 6] =
        [&[("é", "x")], &[("...", "x")], &[("", "x")], &[("__name__", "x")], &[("..x", "x")], &[("__x", "x")]];
    for list in bad {
        let mut fixture = Fixture::without_scope_info();
        assert!(labels_of(&mut fixture, list).is_empty(), "{list:?}");
        // From then on the series is known, and its points are counted again.
        labels_of(&mut fixture, list);
        assert_eq!((fixture.dropped(DropReason::Label), fixture.0.len()), (2, 1), "{list:?}");
    }
}

#[test]
fn labels_of_equal_translated_names_are_merged_and_counted() {
    let mut fixture = Fixture::without_scope_info();
    assert_eq!(labels_of(&mut fixture, &[("a.b", "1"), ("a_b", "2")]), ["g{a_b=\"1;2\"} 1"]);
    assert_eq!(fixture.0.dropped().merged_labels(), 1);

    let mut fixture = Fixture::new();
    let samples = labels_of(&mut fixture, &[("otel.scope.name", "1")]);
    assert_eq!(samples, ["g{otel_scope_name=\"\",otel_scope_schema_url=\"\",otel_scope_version=\"\"} 1"]);

    let mut fixture = Fixture::with_config(|s| {
        s.without_scope_info = true;
        s.const_labels = vec![("a_b".to_owned(), "c".to_owned())];
    });
    assert_eq!(labels_of(&mut fixture, &[("a.b", "1")]), ["g{a_b=\"1\"} 1"]);

    let mut fixture = Fixture::without_scope_info();
    let metrics = vec![gauge("g", "", vec![point(1, 1.0, &[("job", "x")])])];
    fixture.push(0, vec![resource(&[("service.name", "svc")], vec![scope("", "", metrics)])]);
    assert_eq!(fixture.samples(0), ["g{job=\"svc\"} 1"]);
}

#[test]
fn labels_are_sorted_before_they_are_escaped() {
    let mut fixture = Fixture::with_config(|s| {
        s.strategy = TranslationStrategy::NoTranslation;
        s.without_scope_info = true;
    });
    let list = [("é", "x"), ("http.method", "GET"), ("inst", ""), ("quoted", "a\"b\\c\nd")];
    fixture.metrics(0, vec![gauge("cpu.usage", "s", vec![point(1, 0.5, &list)])]);
    let expected = "# HELP cpu_usage \n# TYPE cpu_usage gauge\n\
        cpu_usage{http_method=\"GET\",inst=\"\",quoted=\"a\\\"b\\\\c\\nd\",_=\"x\"} 0.5\n";
    assert_eq!(fixture.page(0), expected);
}

#[test]
fn attribute_values_are_compared_and_shown_as_text() {
    let with = |value: Value| {
        let mut p = point(1, 1.0, &[]);
        p.attributes = vec![KeyValue { key: "k".to_owned(), value: wrap_value(value), ..KeyValue::default() }];
        p
    };
    let mut fixture = Fixture::without_scope_info();
    let list = Value::ArrayValue(ArrayValue {
        values: vec![
            AnyValue { value: Some(Value::IntValue(1)) },
            AnyValue { value: Some(Value::StringValue("a".into())) },
        ],
    });
    let points = [
        Value::IntValue(1),
        Value::StringValue("1".into()),
        Value::BoolValue(true),
        Value::DoubleValue(1e-7),
        Value::BytesValue(b"ab".to_vec()),
        list,
    ];
    fixture.metrics(0, vec![gauge("g", "", points.into_iter().map(with).collect())]);
    let expected =
        ["g{k=\"1\"} 1", "g{k=\"1e-7\"} 1", "g{k=\"YWI=\"} 1", "g{k=\"[1,\\\"a\\\"]\"} 1", "g{k=\"true\"} 1"];
    assert_eq!(fixture.samples(0), expected);
}

#[test]
fn attributes_in_another_order_are_the_same_series() {
    let mut fixture = Fixture::without_scope_info();
    labels_of(&mut fixture, &[("a", "1"), ("b", "2"), ("c", "3")]);
    labels_of(&mut fixture, &[("c", "3"), ("a", "1"), ("b", "2")]);
    assert_eq!((fixture.0.len(), fixture.samples(0).len()), (1, 1));
}

#[test]
fn scope_attributes_are_labels_except_the_three_reserved() {
    let mut fixture = Fixture::new();
    let mut of_scope = scope("n", "v", vec![gauge("g", "", vec![point(1, 1.0, &[])])]);
    of_scope.schema_url = "u".to_owned();
    of_scope.scope.as_mut().unwrap().attributes =
        attributes(&[("s.a", "1"), ("name", "no"), ("version", "no"), ("schema_url", "no")]);
    fixture.push(0, vec![resource(&[], vec![of_scope])]);
    let expected =
        "g{otel_scope_name=\"n\",otel_scope_s_a=\"1\",otel_scope_schema_url=\"u\",otel_scope_version=\"v\"} 1";
    assert_eq!(fixture.samples(0), [expected]);
}

#[test]
fn job_and_instance_are_made_of_the_service_attributes() {
    let job = |list: Attributes<'_>| {
        let mut fixture = Fixture::without_scope_info();
        fixture.push(0, vec![resource(list, vec![scope("", "", vec![gauge("g", "", vec![point(1, 1.0, &[])])])])]);
        fixture.samples(0).remove(0)
    };
    assert_eq!(job(&[("service.name", "a"), ("service.namespace", "ns")]), "g{job=\"ns/a\"} 1");
    assert_eq!(job(&[("service.name", "")]), "g{job=\"\"} 1");
    assert_eq!(job(&[("service.namespace", "ns"), ("service.instance.id", "7")]), "g{instance=\"7\"} 1");
    assert_eq!(job(&[("host.name", "h")]), "g 1");
}

#[test]
fn configured_resource_attributes_become_labels() {
    let list = [("service.name", "svc"), ("host.name", "h"), ("k8s.pod.name", "p"), ("a", "resource")];
    let page = |labels: ResourceLabelsConfig| {
        let mut fixture = Fixture::with_config(|s| {
            s.without_scope_info = true;
            s.resource_labels = labels;
        });
        let metrics = vec![gauge("g", "", vec![point(1, 1.0, &[("z", "1"), ("a", "point")])])];
        fixture.push(0, vec![resource(&list, vec![scope("", "", metrics)])]);
        fixture.samples(0)
    };
    let words = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let all = ResourceLabelsConfig { included: words(&["*"]), excluded: words(&["service.name"]) };
    assert_eq!(page(all), ["g{a=\"resource\",host_name=\"h\",job=\"svc\",k8s_pod_name=\"p\",z=\"1\"} 1"]);
    let some = ResourceLabelsConfig { included: words(&["k8s.*"]), excluded: vec![] };
    assert_eq!(page(some), ["g{a=\"point\",job=\"svc\",k8s_pod_name=\"p\",z=\"1\"} 1"]);
}

#[test]
fn namespace_and_constant_labels_are_on_all_series_but_target_info() {
    let mut fixture = Fixture::with_config(|s| {
        s.without_scope_info = true;
        s.namespace = "1ns".to_owned();
        s.const_labels = vec![("zone".to_owned(), "a".to_owned())];
    });
    let list = [("service.name", "svc"), ("service.instance.id", "i")];
    fixture.push(0, vec![resource(&list, vec![scope("", "", vec![gauge("up", "", vec![point(1, 1.0, &[])])])])]);
    let expected =
        ["_1ns_up{instance=\"i\",job=\"svc\",zone=\"a\"} 1", "key_1ns_target_info{instance=\"i\",job=\"svc\"} 1"];
    assert_eq!(fixture.samples(0), expected);
    // A namespace that can't be part of a label name is not used for target_info.
    let mut fixture = Fixture::with_config(|s| s.namespace = "__".to_owned());
    fixture.push(0, vec![resource(&list, vec![scope("", "", vec![gauge("up", "", vec![point(1, 1.0, &[])])])])]);
    let samples = fixture.samples(0);
    assert!(samples[0].starts_with("___up{") && samples[1].starts_with("target_info{"), "{samples:?}");
}

#[test]
fn labels_that_samples_have_themselves_are_left_out() {
    let mut fixture = Fixture::without_scope_info();
    let mut h = buckets((0, 1), &[1.0], &[1, 2], 3.0);
    h.attributes = attributes(&[("le", "x")]);
    fixture.metrics(0, vec![summary("s", 1, &[], &[("quantile", "x")]), histogram("h", CUMULATIVE, vec![h])]);
    fixture.metrics(0, vec![gauge("g", "", vec![point(1, 1.0, &[("le", "1"), ("quantile", "2")])])]);
    let expected = [
        "g{le=\"1\",quantile=\"2\"} 1",
        "h_bucket{le=\"1\"} 1",
        "h_bucket{le=\"+Inf\"} 3",
        "h_sum 3",
        "h_count 3",
        "s_sum 10.5",
        "s_count 4",
    ];
    assert_eq!(fixture.samples(0), expected);
    assert_eq!(fixture.0.dropped().merged_labels(), 2);
}
