//! Tests of the receiver in a world of its own, against a kubelet and an API server that the test plays.

mod differential;
mod kubelets;

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use otelcore_pdata::Signal;
use otelcore_pipeline::{Component, Graph, LogLevel, SeriesValue, WallTime};
use otelcore_testkit::{PeerStream, RecordedPayloads, TestContext, TestWorld, parse_config, receiver_graph};
use prost::Message;

use crate::KubeletStatsFactory;

const ID: &str = "kubelet_stats";
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const KUBECONFIG: &str = "{current-context: c, contexts: [{name: c, context: {cluster: k}}], \
    clusters: [{name: k, cluster: {server: 'http://10.0.0.1:8001'}}]}";

const SUMMARY: &str = r#"{"node":{"nodeName":"n1","startTime":"2024-01-01T00:00:00Z","cpu":{"usageNanoCores":250000000},"memory":{"usageBytes":1024}},
    "pods":[{"podRef":{"name":"p1","namespace":"shop","uid":"u1"},"startTime":"2024-01-01T00:00:00Z",
    "containers":[{"name":"c1","startTime":null,"cpu":{"usageNanoCores":100000000}}],
    "volume":[{"name":"v1","capacityBytes":7}]}]}"#;

const PODS: &str = r#"{"items":[{"metadata":{"uid":"u1"},"spec":{"containers":[{"name":"c1","resources":{"limits":{"cpu":"200m"}}}],
    "volumes":[{"name":"v1","persistentVolumeClaim":{"claimName":"claim"}}]},
    "status":{"containerStatuses":[{"name":"c1","containerID":"containerd://abc"}]}}]}"#;

/// The receiver, and what it talks to.
struct Fixture {
    world: TestWorld,
    graph: Graph,
    sent: RecordedPayloads,
    context: TestContext,
    peers: Vec<(PeerStream, Vec<u8>)>,
    /// Status and body by path, without the query.
    answers: BTreeMap<String, (u16, String)>,
    /// The heads of all requests.
    requests: Vec<String>,
    /// No request is answered.
    is_silent: bool,
}

/// `collection_interval` is ten seconds, and the first scrape comes a second after the start.
fn create(yaml: &str) -> Fixture {
    let context = TestContext { signals: vec![Signal::Metrics], ..TestContext::new() };
    let receiver = match context.create(&KubeletStatsFactory, ID, yaml) {
        Ok(Component::Receiver(receiver)) => receiver,
        other => unreachable!("{other:?}"),
    };
    let mut world = TestWorld::new();
    world.set_wall_time(WallTime(1_800_000_000_000_000_000));
    world.set_env("KUBECONFIG", "/kubeconfig");
    world.disk().write("/kubeconfig", KUBECONFIG);
    world.disk().write(TOKEN, "secret-1\n");
    let (graph, sent) = receiver_graph(receiver, &context);
    let (peers, answers, requests) = (Vec::new(), BTreeMap::new(), Vec::new());
    Fixture { world, graph, sent, context, peers, answers, requests, is_silent: false }
}

impl Fixture {
    /// A receiver that has been started.
    fn new(yaml: &str) -> Self {
        let mut fixture = create(yaml);
        fixture.answer("/stats/summary", 200, SUMMARY);
        fixture.answer("/pods", 200, PODS);
        fixture.start();
        fixture
    }

    fn start(&mut self) {
        self.graph.start(&mut self.world).expect("it starts");
        self.run();
    }

    fn answer(&mut self, path: &str, status: u16, body: &str) {
        self.answers.insert(path.to_owned(), (status, body.to_owned()));
    }

    fn run(&mut self) {
        for _ in 0..1000 {
            self.world.run_graph(&mut self.graph);
            self.peers.extend(self.world.take_connections().into_iter().map(|(_, peer)| (peer, Vec::new())));
            if !self.serve() {
                return;
            }
        }
        unreachable!("the receiver does not stop asking");
    }

    fn run_for(&mut self, time: Duration) {
        self.run();
        let end = self.world.cx().now() + time;
        while let Some(at) = self.world.next_timer().filter(|at| *at <= end) {
            let now = self.world.cx().now();
            self.world.advance(if at > now { at.since(now) } else { Duration::ZERO });
            self.run();
        }
        let now = self.world.cx().now();
        self.world.advance(if end > now { end.since(now) } else { Duration::ZERO });
        self.run();
    }

    /// Answers what was asked. False if nothing was.
    fn serve(&mut self) -> bool {
        let mut was_asked = false;
        for (peer, incoming) in &mut self.peers {
            incoming.extend(peer.take_received());
            while let Some(end) = incoming.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(incoming.drain(..end + 4).collect()).expect("UTF-8");
                was_asked = true;
                if !self.is_silent {
                    respond(peer, &self.answers, &head);
                }
                self.requests.push(head);
            }
        }
        self.peers.retain(|(peer, _)| !peer.is_closed());
        was_asked
    }

    /// The targets of the requests since the last call.
    fn targets(&mut self) -> Vec<String> {
        let target = |head: String| head.split(' ').nth(1).unwrap_or_default().to_owned();
        std::mem::take(&mut self.requests).into_iter().map(target).collect()
    }

    /// The resources that were sent since the last call, each with the names of its metrics.
    fn resources(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for payload in self.sent.take() {
            let request = ExportMetricsServiceRequest::decode(&payload.body.to_bytes()[..]).expect("OTLP");
            for entry in &request.resource_metrics {
                let attributes = entry.resource.as_ref().map(|resource| attributes(&resource.attributes));
                let metrics = entry.scope_metrics.iter().flat_map(|scope| &scope.metrics);
                let names: Vec<&str> = metrics.map(|metric| metric.name.as_str()).collect();
                lines.push(format!("{}: {}", attributes.unwrap_or_default(), names.join(" ")));
            }
        }
        lines
    }

    /// The warnings and errors since the last call.
    fn log(&self) -> Vec<String> {
        let entries = self.context.log.take_entries();
        let entry = |entry: otelcore_testkit::RecordedEntry| {
            let fields = entry.fields.iter().filter(|(key, _)| key != "code");
            let fields: String = fields.map(|(key, value)| format!(" {key}={value}")).collect();
            (entry.level >= LogLevel::Warn).then(|| format!("{}{fields}", entry.message))
        };
        entries.into_iter().filter_map(entry).collect()
    }
}

fn respond(peer: &PeerStream, answers: &BTreeMap<String, (u16, String)>, head: &str) {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if query.contains("watch=true") {
        return peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    }
    let (kind, name) = path.rsplit_once('/').unwrap_or_default();
    let kind = kind.rsplit('/').next().unwrap_or_default();
    let missing = (404, serde_json::json!({"message": format!("{kind} {name:?} not found"), "code": 404}).to_string());
    let (status, body) = answers.get(path).unwrap_or(&missing);
    peer.send(format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
}

fn attributes(all: &[KeyValue]) -> String {
    let text = |attribute: &KeyValue| {
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
        match value {
            Some(any_value::Value::StringValue(v)) => format!("{}={v}", attribute.key),
            other => format!("{}={other:?}", attribute.key),
        }
    };
    all.iter().map(text).collect::<Vec<_>>().join(",")
}

const SECOND: Duration = Duration::from_secs(1);
const NO_CREDENTIALS: &str = "auth_type: none, endpoint: '10.0.0.9:10255'";

#[test]
fn node_pods_and_containers_are_sent_at_each_interval() {
    let mut fixture = Fixture::new(&format!("{{{NO_CREDENTIALS}}}"));
    assert!(fixture.targets().is_empty(), "the first scrape has its delay");
    fixture.run_for(SECOND);
    assert_eq!(fixture.targets(), ["/stats/summary"]);
    let expected = [
        "k8s.node.name=n1: k8s.node.cpu.usage k8s.node.memory.usage",
        "k8s.pod.uid=u1,k8s.pod.name=p1,k8s.namespace.name=shop,k8s.container.name=c1: container.cpu.usage",
    ];
    assert_eq!(fixture.resources(), expected);
    fixture.run_for(SECOND * 9);
    assert!(fixture.resources().is_empty());
    fixture.run_for(SECOND);
    assert_eq!(fixture.resources(), expected);
    assert_eq!(fixture.log(), [""; 0]);
    let families = fixture.context.telemetry.collect();
    let scraped = families.iter().find(|family| family.name == "otelcol_scraper_scraped_metric_points");
    let value = scraped.and_then(|family| family.samples.first()).map(|sample| sample.value.clone());
    assert!(matches!(value, Some(SeriesValue::Number(6.0))), "{value:?}");
}

#[test]
fn pods_and_claims_are_asked_for_where_they_are_needed() {
    let config = "extra_metadata_labels: [container.id, k8s.volume.type], metric_groups: [container, volume], \
        k8s_api_config: {auth_type: kubeConfig}, metrics: {k8s.container.cpu_limit_utilization: {enabled: true}}";
    let mut fixture = Fixture::new(&format!("{{{NO_CREDENTIALS}, {config}}}"));
    let claim = "/api/v1/namespaces/shop/persistentvolumeclaims/claim";
    fixture.answer(claim, 200, r#"{"spec":{"volumeName":"pv/1"}}"#);
    fixture.answer("/api/v1/persistentvolumes/pv%2F1", 200, r#"{"spec":{"local":{"path":"/x"}}}"#);
    fixture.run_for(SECOND);
    assert_eq!(fixture.targets(), ["/stats/summary", "/pods", claim, "/api/v1/persistentvolumes/pv%2F1"]);
    let pod = "k8s.pod.uid=u1,k8s.pod.name=p1,k8s.namespace.name=shop";
    let expected = [
        format!(
            "{pod},k8s.container.name=c1,container.id=abc: container.cpu.usage k8s.container.cpu_limit_utilization"
        ),
        format!(
            "{pod},k8s.volume.name=v1,k8s.volume.type=local,k8s.persistentvolumeclaim.name=claim: k8s.volume.capacity"
        ),
    ];
    assert_eq!(fixture.resources(), expected);
    fixture.run_for(SECOND * 10);
    assert_eq!(fixture.targets(), ["/stats/summary", "/pods"], "what is behind the claim is known");
    assert_eq!(fixture.resources(), expected);
}

#[test]
fn claim_that_is_not_found_leaves_the_volume_out_and_is_logged_once() {
    let config =
        "extra_metadata_labels: [k8s.volume.type], metric_groups: [volume], k8s_api_config: {auth_type: kubeConfig}";
    let mut fixture = Fixture::new(&format!("{{{NO_CREDENTIALS}, {config}}}"));
    fixture.run_for(SECOND);
    assert_eq!(
        fixture.log(),
        [
            "Failed to gather additional volume metadata. Skipping metric collection. pod=p1 volume=v1 error=failed to set extra \
             labels from metadata: failed to set labels from volume claim: persistentvolumeclaims \"claim\" not found"
        ]
    );
    assert!(fixture.resources().is_empty());
    let claim = "/api/v1/namespaces/shop/persistentvolumeclaims/claim";
    fixture.answer(claim, 403, r#"{"message":"forbidden","code":403}"#);
    fixture.run_for(SECOND * 10);
    let log = fixture.log();
    assert!(log[0].ends_with("forbidden; grant `get` on persistentvolumeclaims to the collector's account"), "{log:?}");
    fixture.run_for(SECOND * 10);
    assert_eq!(fixture.log(), [""; 0]);
}

#[test]
fn parts_of_the_node_follow_its_object() {
    let config = "node: n1, k8s_api_config: {auth_type: kubeConfig}, metric_groups: [pod, container], \
        metrics: {k8s.container.cpu.node.utilization: {enabled: true}}";
    let mut fixture = create(&format!("{{{NO_CREDENTIALS}, {config}}}"));
    fixture.answer("/stats/summary", 200, SUMMARY);
    let list = r#"{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"n1"},"status":{"capacity":{"cpu":"4"}}}]}"#;
    fixture.answer("/api/v1/nodes", 200, list);
    fixture.start();
    assert!(fixture.targets()[0].ends_with("&fieldSelector=metadata.name%3Dn1"));
    fixture.run_for(SECOND);
    let resources = fixture.resources();
    assert!(resources[0].ends_with(": container.cpu.usage k8s.container.cpu.node.utilization"), "{resources:?}");
}

#[test]
fn kubelet_that_refuses_is_logged_once_with_its_url() {
    let mut fixture = Fixture::new(&format!("{{{NO_CREDENTIALS}}}"));
    fixture.answer("/stats/summary", 403, "Forbidden (user=system:anonymous)");
    fixture.run_for(SECOND * 31);
    assert_eq!(fixture.targets().len(), 4);
    assert_eq!(
        fixture.log(),
        [
            "Error scraping metrics scraper=kubelet_stats error=call to /stats/summary endpoint failed: kubelet request GET \
             http://10.0.0.9:10255/stats/summary failed - \"403 Forbidden\", response: \"Forbidden (user=system:anonymous)\"; \
             grant `get` on nodes/stats to the collector's account"
        ]
    );
    fixture.answer("/stats/summary", 200, SUMMARY);
    fixture.run_for(SECOND * 10);
    assert_eq!((fixture.resources().len(), fixture.log().len()), (2, 0));
}

#[test]
fn answer_that_is_not_json_is_an_error_with_its_place() {
    let config = format!("{{{NO_CREDENTIALS}, extra_metadata_labels: [container.id]}}");
    let mut fixture = Fixture::new(&config);
    for (path, body, place) in [
        ("/stats/summary", "{\"node\":{\"cpu\":{\"usageNanoCores\":-1}}}", "line 1 column 35"),
        ("/stats/summary", "<html>", "line 1 column 1"),
        ("/stats/summary", "{\"pods\":[", "line 1 column 9"),
        (
            "/pods",
            "{\"items\":[{\"spec\":{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"x\"}}}]}}]}",
            "quantities",
        ),
    ] {
        fixture.answer("/stats/summary", 200, SUMMARY);
        fixture.answer(path, 200, body);
        fixture.run_for(SECOND * 10);
        let log = fixture.log().join("\n");
        assert!(log.contains(&format!("the answer of GET http://10.0.0.9:10255{path} is not valid: ")), "{log}");
        assert!(log.contains(place), "{place}: {log}");
        assert!(fixture.resources().is_empty());
    }
}

#[test]
fn silent_kubelet_ends_the_scrape_at_its_time_limit() {
    let mut fixture = Fixture::new(&format!("{{{NO_CREDENTIALS}, timeout: 15s}}"));
    fixture.is_silent = true;
    fixture.run_for(SECOND * 15);
    // The scrape that was due after eleven seconds is left out.
    assert_eq!(fixture.targets(), ["/stats/summary"]);
    assert_eq!(fixture.log(), ["a scrape is left out, because the one before has not ended count=1"]);
    fixture.run_for(SECOND * 2);
    let log = fixture.log().join("\n");
    assert!(log.contains("Get \"http://10.0.0.9:10255/stats/summary\": "), "{log}");
    fixture.is_silent = false;
    fixture.run_for(SECOND * 10);
    assert_eq!(fixture.resources().len(), 2);
}

#[test]
fn slow_kubelet_is_read_to_its_end() {
    let mut fixture = Fixture::new(&format!("{{{NO_CREDENTIALS}}}"));
    fixture.is_silent = true;
    fixture.run_for(SECOND);
    let peer = fixture.peers[0].0.clone();
    peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", SUMMARY.len()));
    for part in SUMMARY.as_bytes().chunks(100) {
        fixture.run_for(SECOND);
        assert!(fixture.resources().is_empty());
        peer.send(part);
    }
    fixture.run();
    assert_eq!((fixture.resources().len(), fixture.targets().len()), (2, 1));
}

#[test]
fn answer_above_the_limit_is_refused() {
    let mut fixture = Fixture::new(&format!("{{{NO_CREDENTIALS}}}"));
    fixture.answer("/stats/summary", 200, &" ".repeat(crate::scrape::MAX_ANSWER + 1));
    fixture.run_for(SECOND);
    let log = fixture.log().join("\n");
    assert!(log.contains("/stats/summary"), "{log}");
    assert_eq!(fixture.context.budget.held(), 0);
    fixture.answer("/stats/summary", 200, SUMMARY);
    fixture.run_for(SECOND * 10);
    assert_eq!(fixture.resources().len(), 2);
}

#[test]
fn token_is_read_again_when_it_is_refused() {
    let mut fixture = Fixture::new("{auth_type: serviceAccount, endpoint: 'http://10.0.0.9:10250'}");
    fixture.run_for(SECOND);
    assert!(fixture.requests[0].contains("Authorization: Bearer secret-1\r\n"), "{:?}", fixture.requests);
    fixture.world.disk().write(TOKEN, "secret-2\n");
    fixture.answer("/stats/summary", 401, "Unauthorized");
    fixture.run_for(SECOND * 10);
    assert!(fixture.log().join("\n").contains("\"401 Unauthorized\", response: \"Unauthorized\""));
    fixture.requests.clear();
    fixture.answer("/stats/summary", 200, SUMMARY);
    fixture.run_for(SECOND * 10);
    assert!(fixture.requests[0].contains("Authorization: Bearer secret-2\r\n"), "{:?}", fixture.requests);
}

#[test]
fn kubeconfig_asks_through_the_api_server() {
    let mut fixture = create("{auth_type: kubeConfig, endpoint: n1, initial_delay: 0s}");
    fixture.answer("/api/v1/nodes/n1/proxy/stats/summary", 200, SUMMARY);
    fixture.start();
    assert_eq!(fixture.targets(), ["/api/v1/nodes/n1/proxy/stats/summary"]);
    assert_eq!(fixture.resources().len(), 2);
}

#[test]
fn empty_endpoint_is_this_machine() {
    let mut fixture = create("{auth_type: none}");
    fixture.world.disk().write("/proc/sys/kernel/hostname", "node-7\n");
    fixture.start();
    let warning = "Kubelet endpoint not defined, using default endpoint endpoint=http://node-7:10255";
    assert_eq!(fixture.log(), [warning]);
}

#[test]
fn start_fails_without_the_files_of_the_credentials() {
    let start = |yaml: &str| {
        let mut fixture = create(yaml);
        fixture.world.disk().write("/cert", "no certificate");
        fixture.graph.start(&mut fixture.world).unwrap_err().to_string()
    };
    let error = start("{auth_type: tls, ca_file: /ca, cert_file: /cert, key_file: /key, endpoint: 'n1:10250'}");
    assert!(error.contains("/ca"), "{error}");
    let error = start("{auth_type: serviceAccount, endpoint: 'n1:10250'}");
    assert!(error.contains("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"), "{error}");
}

#[test]
fn mistakes_of_the_configuration_have_the_messages_of_the_go_collector() {
    let messages = |yaml: &str| parse_config(&KubeletStatsFactory, ID, yaml).messages;
    for (rest, expected) in [
        ("collection_interval: 0s", "\"collection_interval\": requires positive value"),
        ("timeout: -1s", "\"timeout\": requires positive value"),
        ("extra_metadata_labels: [x]", "label \"x\" is not supported"),
        ("extra_metadata_labels: [container.id, container.id]", "duplicate metadata label: \"container.id\""),
        ("metric_groups: [pods]", "invalid entry in metric_groups"),
        ("kube_api_burst: -1", "kube_api_burst must be greater than 0"),
        ("kube_api_qps: -1", "kube_api_qps must be greater than 0"),
        (
            "k8s_api_config: {}, metrics: {k8s.pod.cpu.node.utilization: {enabled: true}}",
            "for k8s.pod.cpu.node.utilization node setting is required. Check the readme on how to set the required setting",
        ),
        (
            "node: n, metrics: {k8s.pod.memory.node.utilization: {enabled: true}}",
            "for k8s.pod.memory.node.utilization the size of the node is asked of the Kubernetes API server",
        ),
        (
            "metrics: {k8s.node.network.io: {attributes: [x]}}",
            "metric k8s.node.network.io doesn't have an attribute x, valid attributes: [interface, direction]",
        ),
        (
            "resource_attributes: {fs.type: {enabled: true}}",
            "`fs.type` should not be enabled: This resource_attribute is deprecated and will be removed soon",
        ),
        ("context: x", "'context' has no effect without `auth_type: kubeConfig`"),
    ] {
        assert_eq!(messages(&format!("{{{NO_CREDENTIALS}, {rest}}}")), [expected], "{rest}");
    }
    assert_eq!(
        messages(&format!("{{{NO_CREDENTIALS}, cert_file: /x, key_file: /y}}")),
        ["'cert_file' has no effect without `auth_type: tls`", "'key_file' has no effect without `auth_type: tls`"]
    );
    assert_eq!(messages("{auth_type: x}"), ["invalid authType for kubernetes: x"]);
    assert_eq!(messages("{}"), ["`auth_type: tls` needs \"ca_file\""]);
    assert_eq!(
        messages("{auth_type: kubeConfig}"),
        ["with `auth_type: kubeConfig` the endpoint is the name of a node"]
    );
    assert!(!messages("{auth_type: none, endpoint: 'http://a b'}").is_empty());
    assert_eq!(messages("{auth_type: serviceAccount, insecure_skip_verify: true, metric_groups: []}"), [""; 0]);
}

#[test]
fn requests_end_when_the_receiver_is_closed() {
    let mut fixture = Fixture::new(&format!("{{{NO_CREDENTIALS}}}"));
    fixture.is_silent = true;
    fixture.run_for(SECOND);
    let deadline = fixture.world.cx().now() + SECOND;
    fixture.graph.close(&mut fixture.world, deadline);
    fixture.run();
    assert!(fixture.graph.is_closed());
    assert_eq!(fixture.context.budget.held(), 0);
}
