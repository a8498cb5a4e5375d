//! `k8s_cluster`.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, number_data_point};
use prost::Message;
use serde_json::{Value, json};

use super::{Test, context_of, messages, plain_map, with_elector};
use crate::K8sClusterFactory as Cluster;
use otelcore_pdata::Signal;
use otelcore_testkit::TestWorld;

const SEC: Duration = Duration::from_secs(1);
const APPS: &str = r#"{"resources":[{"name":"deployments","kind":"Deployment"}]}"#;
const CORE: &str = r#"{"resources":[{"name":"pods","kind":"Pod"},{"name":"nodes","kind":"Node"}]}"#;

fn point(point: &NumberDataPoint) -> Value {
    let value = match point.value {
        Some(number_data_point::Value::AsInt(value)) => json!(value),
        Some(number_data_point::Value::AsDouble(value)) => json!(value),
        None => Value::Null,
    };
    json!([plain_map(&point.attributes), value])
}

/// One line for each metric of each resource, sorted, without times.
pub(super) fn decode_metrics(body: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in ExportMetricsServiceRequest::decode(body).unwrap().resource_metrics {
        let resource = entry.resource.unwrap_or_default();
        let refs = resource.entity_refs.iter().map(|reference| {
            let (mut ids, mut descriptions) = (reference.id_keys.clone(), reference.description_keys.clone());
            ids.sort();
            descriptions.sort();
            format!("{} {ids:?} {descriptions:?}", reference.r#type)
        });
        let refs: Vec<String> = refs.collect();
        let resource = format!("{} {} {}", plain_map(&resource.attributes), refs.join(","), entry.schema_url);
        for scope in entry.scope_metrics {
            let name = scope.scope.unwrap_or_default().name;
            for metric in scope.metrics {
                let (kind, points) = match &metric.data {
                    Some(Data::Gauge(gauge)) => ("gauge".to_owned(), &gauge.data_points),
                    Some(Data::Sum(sum)) => {
                        (format!("sum {} {}", sum.is_monotonic, sum.aggregation_temporality), &sum.data_points)
                    }
                    other => unreachable!("{other:?}"),
                };
                let mut points: Vec<String> = points.iter().map(|p| point(p).to_string()).collect();
                points.sort();
                let head = format!("{} ({}) {kind} {:?}", metric.name, metric.unit, metric.description);
                lines.push(format!("{resource} {name} {head} {points:?}"));
            }
        }
    }
    lines.sort();
    lines
}

/// The metrics of one collection, which follows within ten seconds.
pub(super) fn metrics_of(test: &mut Test) -> Vec<String> {
    drop(test.payloads.take());
    for _ in 0..100 {
        test.run_for(Duration::from_millis(100));
        let payloads = test.payloads.take();
        if !payloads.is_empty() {
            let mut lines: Vec<String> =
                payloads.iter().flat_map(|payload| decode_metrics(&payload.body.to_bytes())).collect();
            lines.sort();
            return lines;
        }
    }
    Vec::new()
}

fn cluster(yaml: &str) -> Test {
    let test = Test::new(&Cluster, yaml);
    test.answer("/api/v1?", 200, CORE);
    test.answer("/apis?", 200, r#"{"groups":[{"name":"apps","versions":[{"version":"v1"}]}]}"#);
    test.answer("/apis/apps/v1?", 200, APPS);
    test.list("/api/v1/pods", 7, &[]);
    test.list("/api/v1/nodes", 7, &[]);
    test.list("/apis/apps/v1/deployments", 7, &[deployment("web", 3)]);
    test
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "9"},
        "spec": {"replicas": replicas}, "status": {"availableReplicas": 2}})
}

#[test]
fn metrics_follow_changes_of_objects() {
    let mut test = cluster("{collection_interval: 10s}");
    let lines = metrics_of(&mut test);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[0].contains("k8s.deployment.available ({pod}) gauge") && lines[0].ends_with(r#"["[{},2]"]"#),
        "{}",
        lines[0]
    );
    let entity = r#"k8s.deployment ["k8s.deployment.uid"] ["k8s.deployment.name"]"#;
    assert!(lines[0].contains(entity), "{}", lines[0]);
    assert!(lines[0].contains("https://opentelemetry.io/schemas/1.18.0"), "{}", lines[0]);
    test.event("/apis/apps/v1/deployments", "MODIFIED", &deployment("web", 5));
    assert!(metrics_of(&mut test)[1].ends_with(r#"["[{},5]"]"#));
    test.event("/apis/apps/v1/deployments", "DELETED", &deployment("web", 5));
    assert!(metrics_of(&mut test).is_empty());
    assert!(test.log_lines().contains("Server doesn't support any of the group versions defined for the kind"));
}

#[test]
fn nothing_is_sent_before_all_objects_are_listed() {
    let mut test = cluster("{}");
    test.answer("/api/v1/nodes?limit", 403, r#"{"message":"no"}"#);
    test.run_for(60 * SEC);
    assert!(test.payloads.take().is_empty());
    test.run_for(600 * SEC);
    assert!(test.log_lines().contains("Timed out waiting for initial cache sync."));
    test.list("/api/v1/nodes", 7, &[]);
    test.run_for(120 * SEC);
    assert!(!test.payloads.take().is_empty());
}

#[test]
fn object_that_a_new_list_lacks_has_no_metrics() {
    let mut test = cluster("{}");
    assert_eq!(metrics_of(&mut test).len(), 2);
    test.list("/apis/apps/v1/deployments", 20, &[deployment("other", 1)]);
    test.event("/apis/apps/v1/deployments", "ERROR", &json!({"kind": "Status", "code": 410, "message": "too old"}));
    test.run_for(20 * SEC);
    let lines = metrics_of(&mut test);
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("uid-other")), "{lines:#?}");
}

#[test]
fn namespaces_are_watched_alone_and_what_has_none_is_not() {
    let mut test = cluster("{namespaces: [shop, b]}");
    test.list("/apis/apps/v1/namespaces/shop/deployments", 7, &[]);
    test.run_for(SEC);
    let targets = test.take_targets().join("\n");
    assert!(
        targets.contains("/api/v1/namespaces/shop/pods?") && targets.contains("/namespaces/b/deployments?"),
        "{targets}"
    );
    assert!(!targets.contains("/api/v1/nodes"), "{targets}");
}

#[test]
fn metrics_are_sent_while_the_collector_leads() {
    let (context, leadership) = with_elector(context_of(Signal::Metrics));
    let mut test = Test::with_context(&Cluster, "{k8s_leader_elector: elector}", context, TestWorld::new());
    test.run_for(60 * SEC);
    assert!(test.take_targets().is_empty());
    let other = cluster("{}");
    test.answers = other.answers.clone();
    leadership.set(true);
    assert_eq!(metrics_of(&mut test).len(), 2);
    leadership.set(false);
    test.run_for(60 * SEC);
    drop(test.payloads.take());
    test.take_targets();
    test.run_for(60 * SEC);
    assert!(test.payloads.take().is_empty() && test.take_targets().is_empty());
}

#[test]
fn configuration_has_the_messages_of_the_go_receiver() {
    for (yaml, message) in [
        ("{distribution: x}", "\"x\" is not a supported distribution. Must be one of: \"openshift\", \"kubernetes\""),
        ("{metadata_exporters: [signalfx]}", "'metadata_exporters' is not supported"),
        ("{collection_interval: 0s}", "'collection_interval' must be positive"),
        ("{namespace: a}", "'namespace' is deprecated"),
        ("{metrics: {openshift.clusterquota.limit: {attributes: [resource]}}}", "attributes"),
        (
            "{metrics: {openshift.appliedclusterquota.limit: {attributes: [k8s.namespace.name]}}}",
            "resource is a required attribute for openshift.appliedclusterquota.limit metric and must be included",
        ),
    ] {
        let found = messages(&Cluster, yaml);
        assert!(found.contains(message), "{yaml}: {found}");
    }
    // What the chart's preset and the stack of the Operator write.
    let yaml = "{collection_interval: 10s, auth_type: serviceAccount, node_conditions_to_report: [Ready, MemoryPressure], \
        allocatable_types_to_report: [cpu, memory, storage], metadata_exporters: [], k8s_leader_elector: k8s_leader_elector/a, \
        resource_attributes: {os.type: {enabled: true}}, metrics: {k8s.node.condition: {enabled: true}}}";
    assert_eq!(messages(&Cluster, yaml), "");
    let events = "{objects: [{name: events, mode: watch, group: events.k8s.io, exclude_watch_type: [DELETED]}]}";
    assert_eq!(messages(&crate::K8sObjectsFactory, events), "");
}
