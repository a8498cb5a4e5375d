//! The name and the labels of a series.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};

use super::*;
use crate::{ResourceLabels, Strategy};

#[test]
fn the_worked_example() {
    let mut scene = Scene::new();
    let metric = sum("http.requests", "1", CUMULATIVE, true, vec![int(point(1, 0.0, &[("http.method", "GET")]), 3)]);
    let list = [("service.name", "svc"), ("service.instance.id", "i1"), ("host.name", "h")];
    scene.push(0, vec![resource(&list, vec![scope("lib", "1.2", vec![described(metric, "Total")])])]);
    let expected = "# HELP http_requests_total Total\n# TYPE http_requests_total counter\n\
        http_requests_total{http_method=\"GET\",instance=\"i1\",job=\"svc\",otel_scope_name=\"lib\",\
        otel_scope_schema_url=\"\",otel_scope_version=\"1.2\"} 3\n\
        # HELP target_info Target metadata\n# TYPE target_info gauge\n\
        target_info{host_name=\"h\",instance=\"i1\",job=\"svc\"} 1\n";
    assert_eq!(scene.page(0), expected);
}

fn labels_of(scene: &mut Scene, list: Attributes<'_>) -> Vec<String> {
    scene.metrics(0, vec![gauge("g", "", vec![point(1, 1.0, list)])]);
    scene.samples(0)
}

#[test]
fn one_bad_label_costs_the_series() {
    let bad: [Attributes<'_>; 6] =
        [&[("é", "x")], &[("...", "x")], &[("", "x")], &[("__name__", "x")], &[("..x", "x")], &[("__x", "x")]];
    for list in bad {
        let mut scene = Scene::plain();
        assert!(labels_of(&mut scene, list).is_empty(), "{list:?}");
        // From then on the series is known, and its points are counted again.
        labels_of(&mut scene, list);
        assert_eq!((scene.dropped(Reason::Label), scene.0.len()), (2, 1), "{list:?}");
    }
}

#[test]
fn labels_that_come_to_one_name_cost_the_series() {
    let mut scene = Scene::plain();
    assert!(labels_of(&mut scene, &[("a.b", "1"), ("a_b", "2")]).is_empty());
    assert_eq!(scene.dropped(Reason::DuplicateLabel), 1);

    let mut scene = Scene::new();
    assert!(labels_of(&mut scene, &[("otel.scope.name", "1")]).is_empty());

    let mut scene = Scene::with(|s| s.const_labels = vec![("a_b".to_owned(), "c".to_owned())]);
    assert!(labels_of(&mut scene, &[("a.b", "1")]).is_empty());

    let mut scene = Scene::plain();
    let metrics = vec![gauge("g", "", vec![point(1, 1.0, &[("job", "x")])])];
    scene.push(0, vec![resource(&[("service.name", "svc")], vec![scope("", "", metrics)])]);
    assert_eq!(scene.page(0), "");
}

#[test]
fn labels_are_sorted_before_they_are_escaped() {
    let mut scene = Scene::with(|s| {
        s.strategy = Strategy::NoTranslation;
        s.without_scope_info = true;
    });
    let list = [("é", "x"), ("http.method", "GET"), ("inst", ""), ("quoted", "a\"b\\c\nd")];
    scene.metrics(0, vec![gauge("cpu.usage", "s", vec![point(1, 0.5, &list)])]);
    let expected = "# HELP cpu_usage \n# TYPE cpu_usage gauge\n\
        cpu_usage{http_method=\"GET\",inst=\"\",quoted=\"a\\\"b\\\\c\\nd\",_=\"x\"} 0.5\n";
    assert_eq!(scene.page(0), expected);
}

#[test]
fn attribute_values_are_compared_and_shown_by_their_text() {
    let with = |value: Value| {
        let mut p = point(1, 1.0, &[]);
        p.attributes = vec![KeyValue { key: "k".to_owned(), value: any(value), ..KeyValue::default() }];
        p
    };
    let mut scene = Scene::plain();
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
    scene.metrics(0, vec![gauge("g", "", points.into_iter().map(with).collect())]);
    let expected =
        ["g{k=\"1\"} 1", "g{k=\"1e-7\"} 1", "g{k=\"YWI=\"} 1", "g{k=\"[1,\\\"a\\\"]\"} 1", "g{k=\"true\"} 1"];
    assert_eq!(scene.samples(0), expected);
}

#[test]
fn the_order_of_attributes_makes_no_new_series() {
    let mut scene = Scene::plain();
    labels_of(&mut scene, &[("a", "1"), ("b", "2"), ("c", "3")]);
    labels_of(&mut scene, &[("c", "3"), ("a", "1"), ("b", "2")]);
    assert_eq!((scene.0.len(), scene.samples(0).len()), (1, 1));
}

#[test]
fn scope_attributes_are_labels_except_for_three() {
    let mut scene = Scene::new();
    let mut of_scope = scope("n", "v", vec![gauge("g", "", vec![point(1, 1.0, &[])])]);
    of_scope.schema_url = "u".to_owned();
    of_scope.scope.as_mut().unwrap().attributes =
        attributes(&[("s.a", "1"), ("name", "no"), ("version", "no"), ("schema_url", "no")]);
    scene.push(0, vec![resource(&[], vec![of_scope])]);
    let expected =
        "g{otel_scope_name=\"n\",otel_scope_s_a=\"1\",otel_scope_schema_url=\"u\",otel_scope_version=\"v\"} 1";
    assert_eq!(scene.samples(0), [expected]);
}

#[test]
fn job_and_instance_come_from_the_service() {
    let job = |list: Attributes<'_>| {
        let mut scene = Scene::plain();
        scene.push(0, vec![resource(list, vec![scope("", "", vec![gauge("g", "", vec![point(1, 1.0, &[])])])])]);
        scene.samples(0).remove(0)
    };
    assert_eq!(job(&[("service.name", "a"), ("service.namespace", "ns")]), "g{job=\"ns/a\"} 1");
    assert_eq!(job(&[("service.name", "")]), "g{job=\"\"} 1");
    assert_eq!(job(&[("service.namespace", "ns"), ("service.instance.id", "7")]), "g{instance=\"7\"} 1");
    assert_eq!(job(&[("host.name", "h")]), "g 1");
}

#[test]
fn resource_attributes_can_become_labels() {
    let list = [("service.name", "svc"), ("host.name", "h"), ("k8s.pod.name", "p"), ("a", "resource")];
    let page = |labels: ResourceLabels| {
        let mut scene = Scene::with(|s| {
            s.without_scope_info = true;
            s.resource_labels = labels;
        });
        let metrics = vec![gauge("g", "", vec![point(1, 1.0, &[("z", "1"), ("a", "point")])])];
        scene.push(0, vec![resource(&list, vec![scope("", "", metrics)])]);
        scene.samples(0)
    };
    let words = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let all = ResourceLabels { included: words(&["*"]), excluded: words(&["service.name"]) };
    assert_eq!(page(all), ["g{a=\"resource\",host_name=\"h\",job=\"svc\",k8s_pod_name=\"p\",z=\"1\"} 1"]);
    let some = ResourceLabels { included: words(&["k8s.*"]), excluded: vec![] };
    assert_eq!(page(some), ["g{a=\"point\",job=\"svc\",k8s_pod_name=\"p\",z=\"1\"} 1"]);
}

#[test]
fn a_namespace_and_constant_labels_go_everywhere_but_into_target_info() {
    let mut scene = Scene::with(|s| {
        s.without_scope_info = true;
        s.namespace = "1ns".to_owned();
        s.const_labels = vec![("zone".to_owned(), "a".to_owned())];
    });
    let list = [("service.name", "svc"), ("service.instance.id", "i")];
    scene.push(0, vec![resource(&list, vec![scope("", "", vec![gauge("up", "", vec![point(1, 1.0, &[])])])])]);
    let expected =
        ["_1ns_up{instance=\"i\",job=\"svc\",zone=\"a\"} 1", "key_1ns_target_info{instance=\"i\",job=\"svc\"} 1"];
    assert_eq!(scene.samples(0), expected);
    // A namespace that can't be part of a label name is not used for target_info.
    let mut scene = Scene::with(|s| s.namespace = "__".to_owned());
    scene.push(0, vec![resource(&list, vec![scope("", "", vec![gauge("up", "", vec![point(1, 1.0, &[])])])])]);
    let samples = scene.samples(0);
    assert!(samples[0].starts_with("___up{") && samples[1].starts_with("target_info{"), "{samples:?}");
}

#[test]
fn a_summary_with_a_quantile_label_is_refused_and_alone_an_error() {
    let mut scene = Scene::plain();
    scene.metrics(0, vec![summary("s", 1, &[], &[("quantile", "x")])]);
    let page = scene.page(0);
    assert!(page.starts_with("An error has occurred while serving metrics:\n\n"), "{page}");
    assert!(page.contains("collected metric \"s\" must not have an explicit \"quantile\" label\n"), "{page}");
    scene.metrics(0, vec![gauge("g", "", vec![point(1, 1.0, &[])])]);
    assert_eq!(scene.samples(0), ["g 1"]);
}
