//! The processor in a world of its own, beside an API server that the test plays.

mod differential;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::{Metadata, Outcome, Processor};
use otelcore_testkit::{PeerStream, ProcessorTest, TestContext, parse_config, payload, processor};
use prost::Message;

use crate::K8sAttributesFactory;

const ID: &str = "k8s_attributes";
const KUBECONFIG: &str = "{current-context: c, contexts: [{name: c, context: {cluster: k}}], clusters: \
    [{name: k, cluster: {server: 'http://10.0.0.1:8001'}}]}";

/// The API server: the objects of each resource, and the connections of its watches.
#[derive(Default)]
struct Server {
    objects: BTreeMap<String, Vec<String>>,
    watches: BTreeMap<String, PeerStream>,
    peers: Vec<PeerStream>,
    /// Targets of requests since the last look.
    targets: Vec<String>,
    is_silent: bool,
}

impl Server {
    /// Responds to requests; true if there were any.
    fn respond(&mut self) -> bool {
        if self.is_silent {
            return false;
        }
        let before = self.targets.len();
        for peer in &self.peers {
            let request = String::from_utf8(peer.take_received()).unwrap();
            let Some(target) = request.split(' ').nth(1) else { continue };
            self.targets.push(target.to_owned());
            let (path, query) = target.split_once('?').unwrap();
            let resource = path.rsplit('/').next().unwrap();
            if query.contains("watch=true") {
                peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                self.watches.insert(resource.to_owned(), peer.clone());
            } else {
                let items = self.objects.get(resource).map(|items| items.join(",")).unwrap_or_default();
                let body = format!(r#"{{"metadata":{{"resourceVersion":"5"}},"items":[{items}]}}"#);
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            }
        }
        self.targets.len() > before
    }
}

struct Test {
    context: TestContext,
    processor: ProcessorTest<dyn Processor>,
    server: Server,
}

impl Test {
    fn new(yaml: &str, objects: &[(&'static str, &[String])]) -> Self {
        let mut test = Self::not_started(yaml);
        test.server.objects =
            objects.iter().map(|(resource, items)| ((*resource).to_owned(), items.to_vec())).collect();
        test.processor.start().unwrap();
        test.run();
        test
    }

    fn not_started(yaml: &str) -> Self {
        let context = TestContext::new();
        let yaml = match yaml.strip_prefix('{') {
            Some(rest) => format!("{{auth_type: kubeConfig, {rest}"),
            None => format!("auth_type: kubeConfig\n{yaml}"),
        };
        let mut processor = ProcessorTest::new(processor(context.create(&K8sAttributesFactory, ID, &yaml).unwrap()));
        processor.world.set_env("HOME", "/home/me");
        processor.world.disk().write("/home/me/.kube/config", KUBECONFIG);
        Self { context, processor, server: Server::default() }
    }

    fn run(&mut self) {
        self.run_for(Duration::ZERO);
    }

    fn run_for(&mut self, time: Duration) {
        self.processor.run_for(time);
        loop {
            self.server.peers.extend(self.processor.world.take_connections().into_iter().map(|(_, peer)| peer));
            if !self.server.respond() {
                return;
            }
            self.processor.run();
        }
    }

    fn event(&mut self, resource: &str, kind: &str, object: &str) {
        let event = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        self.server.watches[resource].send(format!("{:x}\r\n{event}\r\n", event.len()));
        self.run();
    }

    /// Sends a span of a resource.
    fn send(&mut self, client: &str, attributes: &[(&str, &str)]) -> u64 {
        let attribute = |(key, value): &(&str, &str)| KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue((*value).to_owned())) }),
            ..KeyValue::default()
        };
        let attributes = attributes.iter().map(attribute).collect();
        let resource = Some(Resource { attributes, ..Resource::default() });
        let scope_spans = vec![ScopeSpans { spans: vec![Span::default()], ..ScopeSpans::default() }];
        let entry = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
        let body = ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec();
        let items = check(Signal::Traces, &body).unwrap().items;
        let mut payload = payload(Signal::Traces, Rope::new(body.into(), items));
        payload.metadata = Some(Arc::new(Metadata::of_client(client.parse().ok())));
        self.processor.process(payload)
    }

    /// The attributes of the resource that was passed on, sorted.
    fn passed_on(&mut self) -> Option<String> {
        let (payload, ack) = self.processor.take_passed_on().pop()?;
        ack.settle(Outcome::Delivered);
        let bytes = payload.body.to_bytes();
        assert_eq!(check(Signal::Traces, &bytes).unwrap().items, payload.items());
        let request = ExportTraceServiceRequest::decode(bytes).unwrap();
        let resource = request.resource_spans.into_iter().next().unwrap().resource.unwrap_or_default();
        let mut texts: Vec<String> = resource.attributes.iter().map(show).collect();
        texts.sort_unstable();
        Some(texts.join(" "))
    }

    fn enriched(&mut self, client: &str, attributes: &[(&str, &str)]) -> String {
        self.send(client, attributes);
        self.passed_on().unwrap()
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.context.telemetry.collect();
        let found = families.iter().filter(|family| family.name == name).flat_map(|family| &family.samples);
        found
            .map(|sample| match sample.value {
                otelcore_pipeline::SeriesValue::Number(number) => number,
                otelcore_pipeline::SeriesValue::Histogram { .. } => 0.0,
            })
            .sum()
    }
}

fn show(attribute: &KeyValue) -> String {
    let text = |value: &Option<Value>| match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::ArrayValue(array)) => format!("{:?}", array.values.len()),
        other => format!("{other:?}"),
    };
    format!("{}={}", attribute.key, text(&attribute.value.as_ref().and_then(|value| value.value.clone())))
}

/// A pod of the deployment `web`.
fn pod(name: &str, uid: &str, ip: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"shop","uid":"{uid}","creationTimestamp":"2024-02-29T12:00:00Z","resourceVersion":"6",
        "labels":{{"app":"web","pod-template-hash":"abc","app.kubernetes.io/version":"1.2"}},
        "annotations":{{"team":"red","resource.opentelemetry.io/service.name":"shop-web"}},
        "ownerReferences":[{{"kind":"ReplicaSet","name":"web-abc","uid":"rs-1","controller":true}}]}},
        "spec":{{"nodeName":"n1","hostname":"h","containers":[{{"name":"main","image":"ghcr.io/shop/web:2.0"}}]}},
        "status":{{"podIP":"{ip}","startTime":"2024-02-29T12:00:01Z","containerStatuses":[
          {{"name":"main","containerID":"containerd://c1","restartCount":0,
            "imageID":"ghcr.io/shop/web@sha256:b248ef911f93ae27cbbc85056d1ffacc87fd941bbdc2ffd951b6df8df72b8096"}}]}}}}"#
    )
}

fn object(name: &str, namespace: &str, uid: &str, rest: &str) -> String {
    format!(r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}","uid":"{uid}","resourceVersion":"7"{rest}}}}}"#)
}

const DEFAULTS: &str = "container.image.name=ghcr.io/shop/web container.image.tag=2.0 k8s.deployment.name=web \
    k8s.namespace.name=shop k8s.node.name=n1 k8s.pod.name=web-1 k8s.pod.start_time=2024-02-29T12:00:00Z k8s.pod.uid=u1";

#[test]
fn pod_of_the_connection_gives_the_default_attributes() {
    let mut test = Test::new("{}", &[("pods", &[pod("web-1", "u1", "10.1.0.1")])]);
    assert_eq!(test.enriched("10.1.0.1", &[]), DEFAULTS);
    assert_eq!(test.enriched("::ffff:10.1.0.1", &[]), DEFAULTS);
    assert_eq!(test.enriched("10.1.0.2", &[("a", "b")]), "a=b", "no pod of this address");
    // Addresses in attributes come before the connection, and one in `host.name` after it.
    let by_attribute = test.enriched("10.9.9.9", &[("k8s.pod.ip", "10.1.0.1")]);
    assert!(by_attribute.contains("k8s.pod.name=web-1"), "{by_attribute}");
    assert!(test.enriched("", &[("host.name", "10.1.0.1")]).contains("k8s.pod.name=web-1"));
    assert_eq!(test.enriched("", &[("host.name", "web-1")]), "host.name=web-1");
    // What is there stays, unless it is empty.
    let kept = test.enriched("10.1.0.1", &[("k8s.pod.name", "mine"), ("k8s.node.name", "")]);
    assert!(kept.contains("k8s.pod.name=mine") && kept.contains("k8s.node.name=n1"), "{kept}");
    assert_eq!(test.metric("otelcol_otelsvc_k8s_pod_added"), 1.0);
    assert_eq!(test.metric("otelcol_otelsvc_k8s_ip_lookup_miss"), 1.0);
    assert_eq!(test.metric("otelcol_k8s_pod_association"), 7.0);
    assert_eq!(test.metric("otelcol_otelsvc_k8s_pod_table_size"), 1.0);
}

#[test]
fn only_what_the_configuration_needs_is_watched() {
    let resources = |yaml: &str| {
        let mut test = Test::new(yaml, &[]);
        let mut paths: Vec<String> = std::mem::take(&mut test.server.targets);
        paths.retain(|target| !target.contains("watch=true"));
        paths
    };
    assert_eq!(resources("{}"), ["/api/v1/pods?limit=500&resourceVersion=0"]);
    let all = resources(
        "{extract: {metadata: [k8s.deployment.uid, k8s.node.uid, k8s.cronjob.uid, k8s.cluster.uid], labels: [{key: a, from: \
         statefulset}, {key: a, from: daemonset}]}, filter: {namespace: shop, node: n1, labels: [{key: app, value: web}]}}",
    );
    let list = "limit=500&resourceVersion=0";
    assert_eq!(
        all,
        [
            format!("/apis/apps/v1/namespaces/shop/replicasets?{list}"),
            format!("/api/v1/namespaces?{list}&fieldSelector=metadata.name%3Dkube-system"),
            format!("/api/v1/nodes?{list}&fieldSelector=metadata.name%3Dn1"),
            format!("/apis/apps/v1/namespaces/shop/statefulsets?{list}"),
            format!("/apis/apps/v1/namespaces/shop/daemonsets?{list}"),
            format!("/apis/batch/v1/namespaces/shop/jobs?{list}"),
            format!("/api/v1/namespaces/shop/pods?{list}&labelSelector=app%3Dweb&fieldSelector=spec.nodeName%3Dn1"),
        ]
    );
}

#[test]
fn metadata_of_the_pod_its_container_and_its_owners_is_extracted() {
    let replica_set = object(
        "web-abc",
        "shop",
        "rs-1",
        r#","ownerReferences":[{"kind":"Deployment","name":"the-web","uid":"d-1","controller":true}]"#,
    );
    let yaml = "{extract: {metadata: [k8s.pod.hostname, k8s.pod.ip, k8s.replicaset.name, k8s.replicaset.uid, \
        k8s.deployment.name, k8s.deployment.uid, container.id, k8s.container.name, container.image.repo_digests, \
        service.namespace, service.name, service.version, service.instance.id, k8s.cluster.uid]}}";
    let objects: &[(&'static str, &[String])] = &[
        ("replicasets", std::slice::from_ref(&replica_set)),
        ("namespaces", &[object("kube-system", "", "cluster-1", "")]),
        ("pods", &[pod("web-1", "u1", "10.1.0.1")]),
    ];
    let expected = "container.id=c1 container.image.repo_digests=1 k8s.cluster.uid=cluster-1 k8s.container.name=main \
        k8s.deployment.name=the-web k8s.deployment.uid=d-1 k8s.pod.hostname=h k8s.pod.ip=10.1.0.1 k8s.replicaset.name=web-abc \
        k8s.replicaset.uid=rs-1 service.instance.id=shop.web-1.main service.name=the-web service.namespace=shop \
        service.version=1.2";
    let mut test = Test::new(yaml, objects);
    assert_eq!(test.enriched("10.1.0.1", &[]), expected);
    // The replica set arrives after the pod.
    let mut test = Test::new(yaml, &objects[1..]);
    let before = test.enriched("10.1.0.1", &[]);
    assert!(before.contains("k8s.deployment.name=web ") && !before.contains("deployment.uid"), "{before}");
    test.event("replicasets", "ADDED", &replica_set);
    assert_eq!(test.enriched("10.1.0.1", &[]), expected);
    test.event("replicasets", "DELETED", &replica_set);
    assert_eq!(test.enriched("10.1.0.1", &[]), before);
}

#[test]
fn labels_and_annotations_of_all_origins_become_attributes() {
    let labels = r#","labels":{"zone":"a","env.prod":"yes"},"annotations":{"note":"x"}"#;
    let yaml = r#"{extract: {metadata: [k8s.node.name, k8s.statefulset.uid], otel_annotations: true,
        labels: [{key: app}, {tag_name: v, key: app.kubernetes.io/version, from: pod}, {key: zone, from: namespace},
                 {tag_name: "env_$1", key_regex: "env\\.(.*)", from: node}, {tag_name: ignored, key_regex: "zo.*", from: node},
                 {key: zone, from: statefulset}, {key: none}],
        annotations: [{key: team}, {key: note, from: namespace}, {key: note, from: statefulset}]}}"#;
    let stateful = pod("db-0", "u2", "10.1.0.2").replace("ReplicaSet", "StatefulSet").replace("rs-1", "ss-1");
    let mut test = Test::new(
        yaml,
        &[
            ("pods", &[stateful]),
            ("namespaces", &[object("shop", "", "ns-1", labels)]),
            ("nodes", &[object("n1", "", "node-1", labels)]),
            ("statefulsets", &[object("db", "shop", "ss-1", labels)]),
        ],
    );
    assert_eq!(
        test.enriched("10.1.0.2", &[]),
        "env_prod=yes k8s.namespace.annotations.note=x k8s.namespace.labels.zone=a k8s.node.labels.zone=a k8s.node.name=n1 \
         k8s.node.uid=node-1 k8s.pod.annotations.team=red k8s.pod.labels.app=web k8s.statefulset.annotation.note=x \
         k8s.statefulset.label.zone=a k8s.statefulset.uid=ss-1 service.name=shop-web v=1.2"
    );
    // Without a pod, what the resource says of its namespace and node is used.
    let by_names = test.enriched("", &[("k8s.namespace.name", "shop"), ("k8s.statefulset.uid", "ss-1")]);
    assert_eq!(
        by_names,
        "k8s.namespace.annotations.note=x k8s.namespace.labels.zone=a k8s.namespace.name=shop \
         k8s.statefulset.annotation.note=x k8s.statefulset.label.zone=a k8s.statefulset.uid=ss-1"
    );
}

#[test]
fn first_association_of_which_all_sources_are_known_decides() {
    let yaml = "{extract: {metadata: [k8s.pod.name, container.id]}, pod_association: [{sources: [{from: resource_attribute, name: \
        k8s.pod.name}, {from: resource_attribute, name: k8s.namespace.name}]}, {sources: [{from: resource_attribute, name: \
        container.id}]}, {sources: [{from: resource_attribute, name: team}]}, {sources: [{from: connection}]}]}";
    let yaml = yaml.replace(
        "k8s.pod.name, container.id]",
        "k8s.pod.name, container.id], annotations: [{tag_name: team, key: team}]",
    );
    let mut test = Test::new(&yaml, &[("pods", &[pod("web-1", "u1", "10.1.0.1")])]);
    let found = "container.id=c1 k8s.pod.name=web-1 team=red";
    let by_name = [("k8s.pod.name", "web-1"), ("k8s.namespace.name", "shop")];
    assert_eq!(test.enriched("", &by_name), "container.id=c1 k8s.namespace.name=shop k8s.pod.name=web-1 team=red");
    assert_eq!(test.enriched("", &[("container.id", "c1")]), found);
    assert_eq!(test.enriched("", &[("team", "red")]), found);
    assert_eq!(test.enriched("10.1.0.1", &[]), found);
    // The first one is complete and finds nothing: the others are not tried.
    let other = [("k8s.pod.name", "x"), ("k8s.namespace.name", "shop"), ("container.id", "c1")];
    assert!(!test.enriched("10.1.0.1", &other).contains("team"));
}

#[test]
fn deleted_pod_is_found_for_a_while_and_its_address_by_the_next_pod() {
    let mut test = Test::new("{}", &[("pods", &[pod("web-1", "u1", "10.1.0.1")])]);
    test.event("pods", "DELETED", &pod("web-1", "u1", "10.1.0.1"));
    test.run_for(Duration::from_secs(119));
    assert_eq!(test.enriched("10.1.0.1", &[]), DEFAULTS);
    test.run_for(Duration::from_secs(5));
    assert_eq!(test.enriched("10.1.0.1", &[]), "");
    // Another pod gets the address while the first one is still known.
    let newer = |name: &str, uid: &str| pod(name, uid, "10.1.0.2").replace("12:00:01Z", "12:30:00Z");
    test.event("pods", "ADDED", &pod("a", "u3", "10.1.0.2"));
    test.event("pods", "ADDED", &newer("b", "u4"));
    test.event("pods", "MODIFIED", &pod("a", "u3", "10.1.0.2"));
    assert!(test.enriched("10.1.0.2", &[]).contains("k8s.pod.name=b"), "the older pod does not take it back");
    test.event("pods", "DELETED", &pod("a", "u3", "10.1.0.2"));
    test.run_for(Duration::from_secs(130));
    assert!(test.enriched("10.1.0.2", &[]).contains("k8s.pod.name=b"));
    assert_eq!(test.metric("otelcol_otelsvc_k8s_pod_deleted"), 2.0);
}

#[test]
fn address_that_a_pod_has_no_more_is_forgotten() {
    let mut test = Test::new("{pod_delete_grace_period: 10s}", &[("pods", &[pod("web-1", "u1", "10.1.0.1")])]);
    test.event("pods", "MODIFIED", &pod("web-1", "u1", "10.1.0.7"));
    assert_eq!(test.enriched("10.1.0.7", &[]), DEFAULTS);
    assert_eq!(test.enriched("10.1.0.1", &[]), DEFAULTS);
    test.run_for(Duration::from_secs(12));
    assert_eq!(test.enriched("10.1.0.7", &[]), DEFAULTS);
    assert_eq!(test.enriched("10.1.0.1", &[]), "");
}

#[test]
fn pods_that_a_new_list_lacks_are_forgotten() {
    let pods: Vec<String> = (0..5000)
        .map(|n| pod(&format!("p-{n}"), &format!("u-{n}"), &format!("10.2.{}.{}", n / 256, n % 256)))
        .collect();
    let mut test = Test::new("{pod_delete_grace_period: 1s}", &[("pods", &pods)]);
    assert!(test.enriched("10.2.19.135", &[]).contains("k8s.pod.name=p-4999"));
    let kept = test.context.budget.kept();
    assert!(kept > 5000 * 500, "{kept}");
    test.server.objects.insert("pods".to_owned(), pods[..10].to_vec());
    let gone = r#"{"kind":"Status","code":410,"message":"too old"}"#;
    test.event("pods", "ERROR", gone);
    // The pause before the list, and the grace period after it.
    test.run_for(Duration::from_secs(2));
    test.run_for(Duration::from_secs(5));
    assert_eq!(test.enriched("10.2.19.135", &[]), "");
    assert!(test.enriched("10.2.0.9", &[]).contains("k8s.pod.name=p-9"));
    assert!(test.context.budget.kept() < kept / 100, "{}", test.context.budget.kept());
    assert_eq!(test.metric("otelcol_otelsvc_k8s_pod_deleted"), 4990.0);
    assert_eq!(test.metric("otelcol_otelsvc_k8s_pod_table_size"), 10.0);
}

#[test]
fn excluded_and_ignored_pods_give_nothing() {
    let ignored = pod("web-2", "u2", "10.1.0.2").replace("\"team\"", "\"opentelemetry.io/k8s-processor/ignore\"");
    let ignored = ignored.replace("\"red\"", "\" True\"");
    let agent = pod("jaeger-agent-1", "u3", "10.1.0.3");
    let mut test = Test::new("{}", &[("pods", &[ignored.clone(), agent.clone(), pod("web-1", "u1", "10.1.0.1")])]);
    assert_eq!(test.enriched("10.1.0.2", &[]), "");
    assert_eq!(test.enriched("10.1.0.3", &[]), "");
    assert_eq!(test.enriched("10.1.0.1", &[]), DEFAULTS);
    let mut test =
        Test::new("{exclude: {pods: [{name: '^web'}]}}", &[("pods", &[agent, pod("web-1", "u1", "10.1.0.1")])]);
    assert_eq!(test.enriched("10.1.0.1", &[]), "");
    assert!(test.enriched("10.1.0.3", &[]).contains("jaeger-agent-1"));
}

#[test]
fn pod_on_the_network_of_its_node_is_not_found_by_the_connection() {
    let host = pod("web-1", "u1", "10.1.0.1").replace("\"nodeName\"", "\"hostNetwork\":true,\"nodeName\"");
    let mut test = Test::new("{}", &[("pods", &[host])]);
    assert_eq!(test.enriched("10.1.0.1", &[]), "");
}

#[test]
fn container_is_found_by_name_id_and_restart_count() {
    let two = pod("web-1", "u1", "10.1.0.1").replace(
        r#"{"name":"main","containerID""#,
        r#"{"name":"side","containerID":"containerd://s3","restartCount":3},{"name":"main","containerID""#,
    );
    let yaml = "{extract: {metadata: [k8s.container.name, container.id]}}";
    let mut test = Test::new(yaml, &[("pods", &[two])]);
    assert_eq!(test.enriched("10.1.0.1", &[]), "", "which of two is not known");
    assert_eq!(test.enriched("10.1.0.1", &[("k8s.container.name", "side")]), "container.id=s3 k8s.container.name=side");
    assert_eq!(test.enriched("10.1.0.1", &[("container.id", "c1")]), "container.id=c1 k8s.container.name=main");
    assert_eq!(test.enriched("10.1.0.1", &[("k8s.container.name", "x")]), "k8s.container.name=x");
    for (count, expected) in [("3", "container.id=s3 "), ("2", ""), ("x", "")] {
        let found =
            test.enriched("10.1.0.1", &[("k8s.container.name", "side"), ("k8s.container.restart_count", count)]);
        assert_eq!(found, format!("{expected}k8s.container.name=side k8s.container.restart_count={count}"));
    }
}

#[test]
fn passthrough_adds_the_address_and_asks_nothing() {
    let mut test = Test::new("{passthrough: true}", &[]);
    assert_eq!(test.enriched("10.1.0.1", &[]), "k8s.pod.ip=10.1.0.1");
    assert_eq!(test.enriched("10.1.0.1", &[("k8s.pod.ip", "10.1.0.2")]), "k8s.pod.ip=10.1.0.2");
    assert!(test.server.targets.is_empty());
}

#[test]
fn payload_waits_for_the_first_lists() {
    let mut test = Test::not_started("wait_for_metadata: true");
    test.server.objects.insert("pods".to_owned(), vec![pod("web-1", "u1", "10.1.0.1")]);
    test.server.is_silent = true;
    test.processor.start().unwrap();
    test.run();
    test.send("10.1.0.1", &[]);
    test.run_for(Duration::from_secs(9));
    assert_eq!((test.passed_on(), test.processor.processor.held_items()), (None, 1));
    test.server.is_silent = false;
    test.run();
    assert_eq!(test.passed_on().as_deref(), Some(DEFAULTS));
    assert_eq!(test.processor.processor.held_items(), 0);
}

#[test]
fn payloads_are_refused_after_the_time_limit_until_the_objects_are_listed() {
    let mut test = Test::not_started("{wait_for_metadata: true, wait_for_metadata_timeout: 3s}");
    test.server.is_silent = true;
    test.processor.start().unwrap();
    test.run();
    test.send("10.1.0.1", &[]);
    test.run_for(Duration::from_secs(4));
    test.send("10.1.0.1", &[]);
    let outcomes = test.processor.take_outcomes();
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Retry { .. })), "{outcomes:?}");
    assert!(test.processor.processor.refusal().is_some());
    let lines = test.context.log.take_lines().join("\n");
    assert!(lines.contains("failed to wait for caches to sync"), "{lines}");
    test.server.is_silent = false;
    test.run();
    assert!(test.processor.processor.refusal().is_none());
    assert_eq!(test.enriched("10.1.0.1", &[("a", "b")]), "a=b");
}

#[test]
fn long_payload_is_edited_on_a_helper_thread_and_events_wait_for_it() {
    let mut test = Test::new("{}", &[("pods", &[pod("web-1", "u1", "10.1.0.1")])]);
    let padding = "x".repeat(1 << 20);
    test.send("10.1.0.1", &[("padding", &padding)]);
    assert_eq!(test.processor.world.job_count(), 1);
    // Meanwhile another payload and another pod arrive.
    test.send("10.1.0.2", &[]);
    let event = format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", pod("web-2", "u2", "10.1.0.2"));
    test.server.watches["pods"].send(format!("{:x}\r\n{event}\r\n", event.len()));
    test.run();
    let passed_on = test.processor.take_passed_on();
    assert_eq!(passed_on.len(), 2);
    assert!(test.enriched("10.1.0.2", &[]).contains("k8s.pod.name=web-2"));
    assert_eq!(test.processor.processor.held_items(), 0);
}

#[test]
fn tables_that_a_helper_thread_has_lost_are_listed_again() {
    let mut test = Test::new("{}", &[("pods", &[pod("web-1", "u1", "10.1.0.1")])]);
    test.send("10.1.0.1", &[("padding", &"x".repeat(1 << 20))]);
    test.processor.world.drop_job();
    test.run();
    assert!(matches!(test.processor.take_outcomes()[..], [(_, Outcome::Lost(_))]));
    assert_eq!(test.enriched("10.1.0.1", &[]), DEFAULTS);
}

#[test]
fn new_pods_are_left_out_above_the_limit_and_known_ones_are_updated() {
    let mut test = Test::new("{}", &[("pods", &[pod("web-1", "u1", "10.1.0.1")])]);
    test.context.budget.set_limit(1);
    test.event("pods", "ADDED", &pod("web-2", "u2", "10.1.0.2"));
    test.event("pods", "MODIFIED", &pod("web-1", "u1", "10.1.0.1").replace("\"n1\"", "\"n2\""));
    assert_eq!(test.enriched("10.1.0.2", &[]), "");
    assert!(test.enriched("10.1.0.1", &[]).contains("k8s.node.name=n2"));
    let lines = test.context.log.take_lines().join("\n");
    assert!(lines.contains("an object of the Kubernetes API server is left out"), "{lines}");
}

#[test]
fn node_of_the_filter_comes_from_the_variable() {
    let mut test = Test::not_started("filter: {node_from_env_var: K8S_NODE_NAME}");
    let error = test.processor.start().unwrap_err().to_string();
    assert_eq!(error, "`node_from_env_var` is configured but envvar \"K8S_NODE_NAME\" is not set");
    let mut test = Test::not_started("filter: {node_from_env_var: K8S_NODE_NAME}");
    test.processor.world.set_env("K8S_NODE_NAME", "n7");
    test.processor.start().unwrap();
    test.run();
    assert!(test.server.targets[0].ends_with("&fieldSelector=spec.nodeName%3Dn7"), "{:?}", test.server.targets);
}

#[test]
fn mistakes_of_the_configuration_have_the_messages_of_the_go_collector() {
    let messages = |yaml: &str| parse_config(&K8sAttributesFactory, ID, yaml).messages;
    for (yaml, expected) in [
        ("{auth_type: x}", "invalid authType for kubernetes: x"),
        ("{auth_type: tls}", "`auth_type: tls` is not supported"),
        ("{kube_api_qps: -1}", "kube_api_qps must be greater than 0"),
        ("{kube_api_burst: -1}", "kube_api_burst must be greater than 0"),
        ("{watch_sync_period: -1s}", "watch_sync_period must be greater than or equal to 0"),
        ("{pod_delete_grace_period: -1s}", "pod_delete_grace_period must be greater than or equal to 0"),
        ("{extract: {metadata: [k8s.pod.nam]}}", "\"k8s.pod.nam\" is not a supported metadata field"),
        (
            "{extract: {labels: [{key: a, key_regex: b}]}}",
            "Out of Key or KeyRegex only one option is expected to be configured at a time, currently Key:a and KeyRegex:b",
        ),
        (
            "{extract: {annotations: [{key: a, from: cluster}]}}",
            "cluster is not a valid choice for From. Must be one of: pod, namespace, deployment, statefulset, daemonset, job, \
             node",
        ),
        (
            "{filter: {labels: [{key: a, value: b, op: like}]}}",
            "'like' is not a valid label filter operation for key=a, value=b",
        ),
        (
            "{filter: {fields: [{key: a, value: b, op: exists}]}}",
            "'exists' is not a valid label filter operation for key=a, value=b",
        ),
        ("{filter: {labels: [{key: a b, value: c}]}}", "\"a b\" is not the key of a label"),
        (
            "{pod_association: [{sources: [{from: connection}, {from: connection}, {from: connection}, {from: connection}, {from: \
             connection}]}]}",
            "too many association sources. limit is 4",
        ),
        ("{pod_association: [{sources: [{from: build_hostname}]}]}", "a source of \"build_hostname\" finds no pod"),
        (
            "{extract: {deployment_name_from_replicaset: false}}",
            "`deployment_name_from_replicaset: false` is deprecated and will be removed in future releases",
        ),
    ] {
        assert_eq!(messages(yaml), [expected], "{yaml}");
    }
    assert!(!messages("{extract: {labels: [{key_regex: '('}]}}").is_empty());
    assert!(!messages("{exclude: {pods: [{name: '('}]}}").is_empty());
    assert_eq!(messages("{pod_association: [{sources: [{from: connection}]}], passthrough: false}"), [""; 0]);
}
