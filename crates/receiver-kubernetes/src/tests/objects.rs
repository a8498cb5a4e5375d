//! `k8s_objects`: configuration and records.

use std::time::Duration;

use serde_json::json;

use super::{START, Test, messages, names, object};
use crate::K8sObjectsFactory as Objects;

const PODS: &str = "/api/v1/pods";
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn pulled_objects_are_records_of_their_namespaces_with_the_kind_of_the_list() {
    let mut test =
        Test::new(&Objects, "{objects: [{name: pods, label_selector: 'a=b', field_selector: 'status.phase=Running'}]}");
    let pod = json!({"metadata": {"name": "a", "namespace": "shop"}, "spec": {"n": 3, "f": 1.5, "none": null, "list": [true, {"x": "y"}]}});
    test.list(
        PODS,
        7,
        &[
            pod,
            object("b", "other", 2),
            object("c", "shop", 3),
            json!({"kind": "X", "apiVersion": "y/v1", "metadata": {"name": "d"}}),
        ],
    );
    test.run();
    assert_eq!(
        test.take_targets().last().unwrap(),
        "/api/v1/pods?limit=500&labelSelector=a%3Db&fieldSelector=status.phase%3DRunning"
    );
    let records = test.records();
    assert_eq!(names(&records), ["a", "c", "b", "d"]);
    let first = &records[0];
    assert_eq!(
        first.body,
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"n": 3, "f": 1.5, "none": null, "list": [true, {"x": "y"}]}})
    );
    assert_eq!(first.resource, json!({"k8s.namespace.name": "shop"}));
    assert_eq!(first.attributes, json!({"k8s.resource.name": "pods"}));
    assert_eq!((first.time, first.observed), (0, START));
    assert!(first.scope.ends_with("/receiver/k8sobjectsreceiver"));
    assert_eq!(records[3].resource, json!({}));
    assert_eq!((&records[3].body["kind"], &records[3].body["apiVersion"]), (&json!("X"), &json!("y/v1")));
    // Once an hour.
    test.run_for(HOUR - Duration::from_secs(1));
    assert!(test.take_targets().is_empty());
    test.run_for(Duration::from_secs(2));
    assert_eq!((test.records().len(), test.take_targets().len()), (4, 1));
}

#[test]
fn changes_are_records_with_their_type_and_the_name_of_the_object() {
    let mut test = Test::new(
        &Objects,
        "{objects: [{name: events, mode: watch, group: events.k8s.io, namespaces: [shop], exclude_watch_type: [DELETED]}]}",
    );
    let path = "/apis/events.k8s.io/v1/namespaces/shop/events";
    test.list(path, 7, &[object("old", "shop", 5)]);
    test.run();
    let targets = test.take_targets();
    assert!(targets[targets.len() - 2].ends_with("/events?limit=1"), "{targets:?}");
    assert!(targets.last().unwrap().ends_with("&resourceVersion=7"), "{targets:?}");
    assert!(test.records().is_empty());
    test.event(path, "ADDED", &object("a", "shop", 8));
    test.event(path, "DELETED", &object("a", "shop", 9));
    test.event(path, "BOOKMARK", &object("", "", 10));
    test.event(path, "MODIFIED", &json!({"metadata": {"namespace": "shop", "resourceVersion": "11"}}));
    let records = test.records();
    assert_eq!(records[0].body, json!({"type": "ADDED", "object": object("a", "shop", 8)}));
    assert_eq!(records[0].attributes, json!({"k8s.resource.name": "events", "event.domain": "k8s", "event.name": "a"}));
    assert_eq!(records[0].resource, json!({"k8s.namespace.name": "shop"}));
    assert_eq!((records.len(), records[1].body["type"].as_str()), (2, Some("MODIFIED")));
    assert_eq!(records[1].attributes, json!({"k8s.resource.name": "events"}));
}

#[test]
fn objects_of_excluded_namespaces_are_left_out() {
    let mut test =
        Test::new(&Objects, "{objects: [{name: pods, exclude_namespaces: [{regexp: '^kube-'}, {strict: shop}]}]}");
    let namespaces = ["kube-system", "shop", "shop2", "a-kube-b"];
    let mut items: Vec<_> = namespaces.iter().map(|namespace| object(namespace, namespace, 1)).collect();
    items.push(json!({"metadata": {"name": "cluster-wide"}}));
    test.list(PODS, 7, &items);
    test.run();
    assert_eq!(names(&test.records()), ["shop2", "a-kube-b", "cluster-wide"]);
}

#[test]
fn initial_state_is_sent_once_as_added() {
    let mut test = Test::new(&Objects, "{include_initial_state: true, objects: [{name: pods, mode: watch}]}");
    test.list(PODS, 7, &[object("a", "shop", 5)]);
    test.run();
    let records = test.records();
    assert_eq!((names(&records), records[0].body["type"].as_str()), (vec!["a".to_owned()], Some("ADDED")));
    assert_eq!(records[0].body["object"]["kind"], "Pod");
    // The version is gone: what was listed is not sent again.
    test.take_targets();
    test.list(PODS, 9, &[object("a", "shop", 5), object("b", "shop", 8)]);
    test.event(PODS, "ERROR", &json!({"kind": "Status", "code": 410, "message": "too old"}));
    test.run_for(Duration::from_secs(5));
    let targets = test.take_targets();
    assert!(targets[0].ends_with("?limit=1") && targets[1].ends_with("resourceVersion=9"), "{targets:?}");
    assert!(test.records().is_empty());
}

#[test]
fn watch_that_ends_with_an_error_goes_on_from_the_last_version() {
    let mut test = Test::new(&Objects, "{objects: [{name: pods, mode: watch}]}");
    test.list(PODS, 7, &[]);
    test.run();
    test.event(PODS, "ADDED", &object("a", "shop", 8));
    test.take_targets();
    test.event(PODS, "ERROR", &json!({"kind": "Status", "code": 500, "message": "etcd"}));
    test.run_for(Duration::from_secs(5));
    let targets = test.take_targets();
    assert!(targets.len() == 1 && targets[0].ends_with("&resourceVersion=8"), "{targets:?}");
}

#[test]
fn version_that_is_configured_is_watched_from_and_pulled_exactly() {
    let mut test = Test::new(
        &Objects,
        "{objects: [{name: pods, mode: watch, resource_version: '41'}, {name: nodes, resource_version: '5'}]}",
    );
    test.list("/api/v1/nodes", 5, &[]);
    test.run();
    let targets = test.take_targets();
    assert!(
        targets.iter().any(|target| target.starts_with("/api/v1/pods?watch=true") && target.ends_with("=41")),
        "{targets:?}"
    );
    assert!(
        targets.contains(&"/api/v1/nodes?limit=500&resourceVersion=5&resourceVersionMatch=Exact".to_owned()),
        "{targets:?}"
    );
}

#[test]
fn object_that_is_nested_too_deep_is_left_out_and_logged() {
    let mut test = Test::new(&Objects, "{objects: [{name: pods}]}");
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    let list = format!(
        r#"{{"metadata":{{}},"items":[{{"metadata":{{"name":"a"}},"x":{deep}}},{{"metadata":{{"name":"b"}}}}]}}"#
    );
    test.answer("/api/v1/pods?limit", 200, &list);
    test.run();
    assert_eq!(names(&test.records()), ["b"]);
    assert!(test.log_lines().contains("an object becomes no record"));
}

#[test]
fn configuration_has_the_messages_of_the_go_receiver() {
    for (yaml, message) in [
        ("{objects: [{name: pods, mode: x}]}", "invalid mode: x"),
        (
            "{error_mode: x, objects: [{name: a}]}",
            "invalid error_mode \"x\": must be one of 'propagate', 'ignore', or 'silent'",
        ),
        (
            "{objects: [{name: a, exclude_watch_type: [DELETED]}]}",
            "the Exclude config can only be used with watch mode",
        ),
        (
            "{include_initial_state: true, objects: [{name: a}]}",
            "include_initial_state can only be used with watch mode",
        ),
        (
            "{objects: [{name: a, namespaces: [b], exclude_namespaces: [{regexp: c}]}]}",
            "namespaces and exclude_namespaces cannot both be set at the same time",
        ),
        (
            "{storage: file_storage, objects: [{name: a, mode: watch, resource_version: '2'}]}",
            "resource_version cannot be set on an object when storage is configured for persistence",
        ),
        ("{objects: [{name: a, exclude_namespaces: [{regexp: '('}]}]}", "missing closing )"),
        ("{objects: [{name: a, exclude_namespaces: [{}]}]}", "must specify either strict or regex"),
        (
            "{objects: [{name: a, exclude_namespaces: [{strict: a, regexp: a}]}]}",
            "strict and regex cannot be used together",
        ),
        ("{objects: [{mode: watch}]}", "an object needs 'name'"),
        ("{}", "no valid Kubernetes objects found to watch"),
        ("{objects: [{name: a, interval: -1s}]}", "'interval' must not be negative"),
        ("{objects: [{name: a, mode: watch, interval: 1s}]}", "'interval' has no effect with `mode: watch`"),
        ("{objects: [{name: a, mode: watch, exclude_watch_type: [x]}]}", "no change has the type \"x\""),
        ("{k8s_leader_elector: 'a b', objects: [{name: a}]}", "'k8s_leader_elector' "),
    ] {
        let found = messages(&Objects, yaml);
        assert!(found.contains(message), "{yaml}: {found}");
    }
    assert_eq!(messages(&Objects, "{objects: [{name: pods, mode: pull, interval: 15m}]}"), "");
}
