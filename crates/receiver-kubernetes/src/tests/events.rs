//! `k8s_events`.

use serde_json::json;

use super::{START, Test, messages};
use crate::K8sEventsFactory as Events;

const PATH: &str = "/api/v1/namespaces/shop/events";

#[test]
fn events_are_records_with_their_message_and_what_they_are_about() {
    let mut test = Test::new(&Events, "{namespaces: [shop]}");
    test.list(PATH, 7, &[]);
    test.run();
    // Without discovery.
    assert_eq!(test.take_targets().len(), 2);
    let event = json!({"metadata": {"name": "e.1", "uid": "u1", "namespace": "shop", "resourceVersion": "8",
            "creationTimestamp": "2024-02-29T12:00:05Z"},
        "involvedObject": {"kind": "Pod", "name": "web", "uid": "u2", "namespace": "shop", "apiVersion": "v1",
            "resourceVersion": "6", "fieldPath": "spec.containers{web}"},
        "reason": "BackOff", "message": "Back-off", "source": {"component": "kubelet", "host": "n1"},
        "firstTimestamp": "2024-02-29T11:00:00Z", "lastTimestamp": "2024-02-29T12:00:06Z", "count": 3, "type": "Warning",
        "eventTime": null, "reportingComponent": "kubelet", "reportingInstance": "n1"});
    test.event(PATH, "ADDED", &event);
    test.event(PATH, "DELETED", &event);
    let records = test.records();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(
        record.resource,
        json!({"k8s.node.name": "n1", "k8s.object.kind": "Pod", "k8s.object.name": "web", "k8s.object.uid": "u2",
            "k8s.object.fieldpath": "spec.containers{web}", "k8s.object.api_version": "v1",
            "k8s.object.resource_version": "6"})
    );
    assert_eq!(
        record.attributes,
        json!({"k8s.event.reason": "BackOff", "k8s.event.action": "", "k8s.event.name": "e.1", "k8s.event.uid": "u1",
            "k8s.event.start_time": "2024-02-29 12:00:05 +0000 UTC", "k8s.namespace.name": "shop",
            "k8s.event.reporting_controller": "kubelet", "k8s.event.reporting_instance": "n1", "k8s.event.count": 3})
    );
    assert_eq!((record.body.as_str(), record.time), (Some("Back-off"), START + 6_000_000_000));
    assert_eq!((record.severity.0, record.severity.1.as_str(), record.observed), (13, "Warning", 0));
}

#[test]
fn events_of_before_the_start_are_left_out() {
    let mut test = Test::new(&Events, "{namespaces: [shop]}");
    test.list(PATH, 7, &[]);
    test.run();
    let event = |time: &str, version: u32| json!({"metadata": {"resourceVersion": version.to_string()}, "eventTime": time, "type": "Other"});
    test.event(PATH, "MODIFIED", &event("2024-02-29T11:59:59.999999Z", 8));
    test.event(PATH, "MODIFIED", &event("2024-02-29T12:00:00.000001Z", 9));
    let records = test.records();
    assert_eq!((records.len(), records[0].time, records[0].severity.0), (1, START + 1000, 0));
    assert_eq!(records[0].attributes["k8s.event.start_time"], "0001-01-01 00:00:00 +0000 UTC");
}

#[test]
fn ids_of_extensions_are_checked() {
    assert!(messages(&Events, "{storage: 'a b'}").contains("'storage' "));
    assert_eq!(messages(&Events, "{namespaces: [a, b]}"), "");
}
