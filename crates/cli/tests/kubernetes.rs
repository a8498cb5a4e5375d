//! The components that ask a Kubernetes API server, against a real one: what they see as objects come, change and go, what they
//! do when it restarts or has forgotten its history, and what they say where a right is missing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/kubernetes.rs"]
mod cluster;
mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cluster::{ADDRESSES, Cluster};
use serde_json::Value;
use support::*;

const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: sales}}
---
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {zone: a}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec: {containers: [{name: main, image: "shop/cart:1.2"}]}
"#;

/// A pod of the deployment `cart`.
fn pod(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shop\n  labels: {{app: cart, tier: front, pod-template-hash: 5d9c7b8f6}}\n  \
         ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: cart-5d9c7b8f6, uid: 8e1e5b0a-0000-4000-8000-000000000001, controller: true}}]\n\
         spec: {{nodeName: node-1, containers: [{{name: main, image: \"shop/cart:1.2\"}}]}}\n"
    )
}

/// The status that a kubelet gives to a pod that runs.
fn running(ip: &str) -> String {
    format!(
        r#"{{"phase": "Running", "podIP": "{ip}", "podIPs": [{{"ip": "{ip}"}}], "startTime": "2026-01-01T00:00:00Z", "conditions": [{{"type": "Ready", "status": "True"}}],
        "containerStatuses": [{{"name": "main", "ready": true, "restartCount": 2, "image": "shop/cart:1.2", "imageID": "x", "containerID": "containerd://c1", "state": {{"running": {{}}}}}}]}}"#
    )
}

/// Requests that the exporter `file` has written.
fn requests(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Attributes of JSON as `key=value`.
fn attributes(value: &Value) -> Vec<String> {
    let text = |value: &Value| value["stringValue"].as_str().map_or_else(|| value.to_string(), str::to_owned);
    let pair = |pair: &Value| format!("{}={}", pair["key"].as_str().unwrap_or(""), text(&pair["value"]));
    value.as_array().into_iter().flatten().map(pair).collect()
}

fn has_all(attributes: &[String], expected: &[&str]) -> bool {
    expected.iter().all(|expected| attributes.iter().any(|attribute| attribute == expected))
}

/// Polls for two minutes.
fn wait_long(what: &str, process: &Process, mut is_done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !is_done() {
        assert!(Instant::now() < end, "never came: {what}\n{}", process.log_text());
        std::thread::sleep(Duration::from_millis(100));
    }
}

const READ_ALL: &str = "[{apiGroups: ['', apps, batch, autoscaling, discovery.k8s.io, events.k8s.io], resources: ['*'], verbs: [get, list, watch]}, \
     {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}]";

/// Sends a span of a pod with this address until the collector's file has a resource with it and `expected`.
fn wait_for_resource(otlp: &str, process: &Process, out: &Path, ip: &str, expected: &[&str]) {
    let span = format!(
        r#"{{"resourceSpans": [{{"resource": {{"attributes": [{{"key": "k8s.pod.ip", "value": {{"stringValue": "{ip}"}}}}]}},
        "scopeSpans": [{{"spans": [{{"traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "0102030405060708", "name": "s"}}]}}]}}]}}"#
    );
    let head = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/json";
    wait_long(&format!("{ip} with {expected:?}"), process, || {
        let sent = http_request(otlp, head, span.as_bytes()).0 == 200;
        std::thread::sleep(Duration::from_millis(200));
        let last = requests(out).pop().map(|last| attributes(&last["resourceSpans"][0]["resource"]["attributes"]));
        sent && last.is_some_and(|last| has_all(&last, expected) && has_all(&last, &[&format!("k8s.pod.ip={ip}")]))
    });
}

#[test]
#[ignore = "needs an API server; run by scripts/api-server"]
fn pods_are_found_through_restarts_of_the_server_and_after_it_has_forgotten_its_history() {
    let mut cluster = Cluster::start("kubernetes-attributes");
    cluster.apply(SHOP);
    cluster.apply(&pod("cart-1"));
    cluster.set_status("pod/cart-1", &running("192.0.2.1"));
    cluster.add_account("reader", READ_ALL);
    cluster.mount_account("reader");
    let (otlp, out) = (format!("127.0.0.1:{}", free_port()), cluster.dir.join("out"));
    let config = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '{otlp}'}}}}}}}}
processors:
  k8s_attributes:
    pod_delete_grace_period: 1s
    extract:
      metadata: [k8s.namespace.name, k8s.pod.name, k8s.pod.uid, k8s.deployment.name, k8s.node.name, k8s.replicaset.name]
      labels: [{{tag_name: tier, key: tier, from: pod}}, {{tag_name: team, key: team, from: namespace}}, {{tag_name: zone, key: zone, from: node}}]
    pod_association: [{{sources: [{{from: resource_attribute, name: k8s.pod.ip}}]}}]
  resource_detection:
    detectors: [k8s_api]
    k8s_api: {{resource_attributes: {{k8s.cluster.uid: {{enabled: true}}}}}}
exporters: {{file: {{path: '{}'}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: debug}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [k8s_attributes, resource_detection], exporters: [file]}}}}
",
        out.display()
    );
    let mut collector = cluster.start_collector("collector", &config, &[("K8S_NODE_NAME", "node-1")]);
    wait_for_listener(&otlp, &mut collector);
    let uid = |object: &str| cluster.kubectl(&["get", "--namespace=shop", object, "--output=jsonpath={.metadata.uid}"]);
    let expected = [
        "k8s.namespace.name=shop",
        "k8s.pod.name=cart-1",
        "k8s.deployment.name=cart",
        "k8s.replicaset.name=cart-5d9c7b8f6",
        "k8s.node.name=node-1",
        "tier=front",
        "team=sales",
        "zone=a",
        &format!("k8s.pod.uid={}", uid("pod/cart-1")),
        &format!("k8s.node.uid={}", uid("node/node-1")),
        &format!("k8s.cluster.uid={}", uid("namespace/kube-system")),
    ];
    wait_for_resource(&otlp, &collector, &out, "192.0.2.1", &expected);
    // A change is watched.
    cluster.kubectl(&["label", "--overwrite", "--namespace=shop", "pod/cart-1", "tier=back"]);
    wait_for_resource(&otlp, &collector, &out, "192.0.2.1", &["tier=back"]);
    // The server restarts.
    cluster.stop_api_server();
    std::thread::sleep(Duration::from_secs(2));
    cluster.start_api_server();
    cluster.apply(&pod("cart-2"));
    cluster.set_status("pod/cart-2", &running("192.0.2.2"));
    wait_for_resource(&otlp, &collector, &out, "192.0.2.2", &["k8s.pod.name=cart-2"]);
    wait_for_resource(&otlp, &collector, &out, "192.0.2.1", &["k8s.pod.name=cart-1"]);
    // While it is away, objects come and go. The server that comes back knows no changes from before its start: the watches
    // are answered with 410.
    let pods: Value = serde_json::from_str(&cluster.kubectl(&["get", "--raw=/api/v1/namespaces/shop/pods"])).unwrap();
    let version = pods["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    cluster.stop_api_server();
    {
        let other = cluster.other_api_server();
        other.kubectl(&["delete", "--namespace=shop", "--grace-period=0", "--force", "pod/cart-1"], "");
        other.kubectl(&["label", "--overwrite", "namespace/shop", "team=stores"], "");
        other.kubectl(&["apply", "--server-side", "-f", "-"], &pod("cart-3"));
        let patch = format!("--patch={{\"status\": {}}}", running("192.0.2.3"));
        other.kubectl(&["patch", "--subresource=status", "--type=merge", "--namespace=shop", "pod/cart-3", &patch], "");
    }
    cluster.start_api_server();
    let watched = cluster.watch_pods_after(&version);
    assert!(watched.contains("too old resource version"), "{version}: {watched}");
    wait_for_resource(&otlp, &collector, &out, "192.0.2.3", &["k8s.pod.name=cart-3", "team=stores"]);
    wait_long("pod cart-1 is forgotten", &collector, || {
        let head = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/json";
        let span = r#"{"resourceSpans": [{"resource": {"attributes": [{"key": "k8s.pod.ip", "value": {"stringValue": "192.0.2.1"}}]}, "scopeSpans": [{"spans": [{"name": "s"}]}]}]}"#;
        http_request(&otlp, head, span.as_bytes());
        std::thread::sleep(Duration::from_millis(200));
        let last = requests(&out).pop().map(|last| attributes(&last["resourceSpans"][0]["resource"]["attributes"]));
        last.is_some_and(|last| !last.iter().any(|attribute| attribute.starts_with("k8s.pod.name")))
    });
}

#[test]
#[ignore = "needs an API server; run by scripts/api-server"]
fn missing_right_is_in_the_log_with_what_grants_it_and_ends_when_it_is_granted() {
    let cluster = Cluster::start("kubernetes-rights");
    cluster.apply(SHOP);
    cluster.apply(&pod("cart-1"));
    cluster.set_status("pod/cart-1", &running("192.0.2.1"));
    cluster.add_account("stranger", "[{apiGroups: ['apps'], resources: [deployments], verbs: [get]}]");
    cluster.mount_account("stranger");
    let (otlp, out) = (format!("127.0.0.1:{}", free_port()), cluster.dir.join("out"));
    let config = format!(
        "receivers:
  otlp: {{protocols: {{http: {{endpoint: '{otlp}'}}}}}}
  k8s_cluster:
  k8s_events: {{namespaces: [shop]}}
processors: {{k8s_attributes: {{pod_association: [{{sources: [{{from: resource_attribute, name: k8s.pod.ip}}]}}]}}}}
exporters:
  file: {{path: '{}'}}
  nop:
  load_balancing: {{resolver: {{k8s: {{service: gateway.shop}}}}, protocol: {{otlp: {{tls: {{insecure: true}}}}}}}}
service:
  # Each resource has a line of the same message.
  telemetry: {{metrics: {{level: none}}, logs: {{sampling: {{enabled: false}}}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [k8s_attributes], exporters: [file]}}
    traces/2: {{receivers: [otlp], exporters: [load_balancing]}}
    metrics: {{receivers: [k8s_cluster], exporters: [nop]}}
    logs: {{receivers: [k8s_events], exporters: [nop]}}
",
        out.display()
    );
    let mut collector = cluster.start_collector("collector", &config, &[]);
    wait_for_listener(&otlp, &mut collector);
    let user = "system:serviceaccount:default:stranger";
    for resource in ["pods", "events", "endpointslices", "nodes"] {
        wait_long(resource, &collector, || {
            let is_of_it = |line: &str| {
                line.contains("403")
                    && line.contains(user)
                    && line.contains(&format!("\"{resource}\""))
                    && line.contains("grant")
                    || line.contains("403")
                        && line.contains(user)
                        && line.contains(&format!("\\\"{resource}\\\""))
                        && line.contains("grant")
            };
            collector.log_text().lines().any(is_of_it)
        });
    }
    // Each line once, and not with each attempt.
    std::thread::sleep(Duration::from_secs(5));
    let lines = collector.log_text().lines().filter(|line| line.contains("403")).count();
    assert!(lines < 60, "{}", collector.log_text());
    cluster.add_account("stranger", READ_ALL);
    wait_for_resource(&otlp, &collector, &out, "192.0.2.1", &["k8s.pod.name=cart-1"]);
    wait_long("the end of the condition", &collector, || {
        collector.log_text().contains("objects of the Kubernetes API server are read again")
    });
}

/// The slice of the service `gateway` with these addresses.
fn slice(addresses: &[&str]) -> String {
    let endpoints: Vec<String> = addresses.iter().map(|address| format!("{{addresses: ['{address}']}}")).collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: gateway-1, namespace: shop, labels: {{kubernetes.io/service-name: gateway}}}}\n\
         addressType: IPv4\nports: [{{name: otlp, port: 4317}}]\nendpoints: [{}]\n",
        endpoints.join(", ")
    )
}

/// A collector at this address that writes what it gets into a file.
fn backend(cluster: &Cluster, address: &str) -> (Process, PathBuf) {
    let out = cluster.dir.join(format!("out-{address}"));
    let config = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '{address}:4317'}}}}}}}}\nexporters: {{file: {{path: '{}'}}}}\n\
         service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}}}\n",
        out.display()
    );
    let mut process = cluster.start_collector(&format!("backend-{address}"), &config, &[]);
    wait_for_listener(&format!("{address}:4317"), &mut process);
    (process, out)
}

#[test]
#[ignore = "needs an API server; run by scripts/api-server"]
fn traces_are_balanced_over_the_endpoints_that_a_service_has() {
    let mut cluster = Cluster::start("kubernetes-balancing");
    cluster.apply(SHOP);
    cluster.apply("apiVersion: v1\nkind: Service\nmetadata: {name: gateway, namespace: shop}\nspec: {clusterIP: None, ports: [{port: 4317}]}\n");
    cluster.apply(&slice(&ADDRESSES[..1]));
    cluster.add_account("balancer", READ_ALL);
    let kubeconfig = cluster.kubeconfig("balancer");
    let backends: Vec<(Process, PathBuf)> = ADDRESSES.iter().map(|address| backend(&cluster, address)).collect();
    let otlp = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '{otlp}'}}}}}}}}
exporters: {{load_balancing: {{resolver: {{k8s: {{service: gateway.shop, ports: [4317]}}}}, protocol: {{otlp: {{tls: {{insecure: true}}}}}}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [load_balancing]}}}}
"
    );
    let kubeconfig = kubeconfig.display().to_string();
    let mut collector = cluster.start_collector("balancer", &config, &[("KUBECONFIG", &kubeconfig)]);
    wait_for_listener(&otlp, &mut collector);
    let mut trace = 0_u32;
    // Sends new traces until those of a round go to these backends, and to no other.
    let mut wait_for_backends = |what: &str, expected: &[usize]| {
        wait_long(what, &collector, || {
            let counts = || backends.iter().map(|(_, out)| requests(out).len()).collect::<Vec<_>>();
            let before = counts();
            for _ in 0..40 {
                trace += 1;
                let span = format!(
                    r#"{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{{"traceId": "{trace:032x}", "spanId": "0102030405060708", "name": "s"}}]}}]}}]}}"#
                );
                let head = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/json";
                assert_eq!(http_request(&otlp, head, span.as_bytes()).0, 200);
            }
            std::thread::sleep(Duration::from_millis(500));
            let got: Vec<usize> = (0..3).filter(|index| counts()[*index] > before[*index]).collect();
            got == expected
        });
    };
    wait_for_backends("one endpoint", &[0]);
    cluster.apply(&slice(&ADDRESSES));
    wait_for_backends("three endpoints", &[0, 1, 2]);
    cluster.stop_api_server();
    wait_for_backends("the server is away", &[0, 1, 2]);
    cluster.start_api_server();
    cluster.apply(&slice(&ADDRESSES[1..]));
    wait_for_backends("one endpoint has gone", &[1, 2]);
    // A second slice of the service.
    cluster.apply(&slice(&ADDRESSES[..1]).replace("gateway-1", "gateway-2"));
    wait_for_backends("a second slice", &[0, 1, 2]);
    cluster.kubectl(&["delete", "--namespace=shop", "endpointslice/gateway-1"]);
    wait_for_backends("the first slice has gone", &[0]);
}

/// Serves a page of one metric to whoever asks, until the test ends.
fn serve_page(address: &str) -> String {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let body = "# TYPE shop_orders counter\nshop_orders_total 7\n";
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    port.to_string()
}

#[test]
#[ignore = "needs an API server; run by scripts/api-server"]
fn objects_are_measured_and_scraped_and_one_of_two_collectors_reports_them() {
    let mut cluster = Cluster::start("kubernetes-receivers");
    cluster.apply(SHOP);
    let port = serve_page(ADDRESSES[0]);
    let with_port = pod("cart-1").replace("image:", &format!("ports: [{{containerPort: {port}}}], image:"));
    cluster.apply(&with_port);
    cluster.set_status("pod/cart-1", &running(ADDRESSES[0]));
    cluster.set_status("deployment/cart", r#"{"replicas": 3, "availableReplicas": 2, "readyReplicas": 2}"#);
    cluster.add_account("reader", READ_ALL);
    cluster.mount_account("reader");
    let start = |cluster: &Cluster, name: &str| {
        let out = |signal: &str| cluster.dir.join(format!("{name}-{signal}"));
        let config = format!(
            "extensions: {{k8s_leader_elector: {{lease_name: l, lease_namespace: default, lease_duration: 6s, renew_deadline: 4s, retry_period: 1s}}}}
receivers:
  k8s_cluster: {{collection_interval: 1s, k8s_leader_elector: k8s_leader_elector}}
  k8s_objects: {{k8s_leader_elector: k8s_leader_elector, objects: [{{name: pods, mode: watch, namespaces: [shop]}}]}}
  k8s_events: {{namespaces: [shop]}}
  prometheus:
    config:
      scrape_configs:
        - job_name: pods
          scrape_interval: 1s
          kubernetes_sd_configs: [{{role: pod}}]
          relabel_configs: [{{source_labels: [__meta_kubernetes_pod_label_tier], target_label: tier}}]
exporters:
  file/metrics: {{path: '{}'}}
  file/scraped: {{path: '{}'}}
  file/logs: {{path: '{}'}}
  file/events: {{path: '{}'}}
service:
  extensions: [k8s_leader_elector]
  telemetry: {{metrics: {{level: none}}, logs: {{level: debug}}}}
  pipelines:
    metrics: {{receivers: [k8s_cluster], exporters: [file/metrics]}}
    metrics/scraped: {{receivers: [prometheus], exporters: [file/scraped]}}
    logs: {{receivers: [k8s_objects], exporters: [file/logs]}}
    logs/events: {{receivers: [k8s_events], exporters: [file/events]}}
",
            out("metrics").display(),
            out("scraped").display(),
            out("logs").display(),
            out("events").display()
        );
        cluster.start_collector(name, &config, &[])
    };
    let has = |cluster: &Cluster, file: &str, words: &[&str]| {
        requests(&cluster.dir.join(file)).iter().any(|request| {
            let text = request.to_string();
            words.iter().all(|word| text.contains(word))
        })
    };
    let first = start(&cluster, "first");
    wait_long("metrics of objects", &first, || {
        has(&cluster, "first-metrics", &["k8s.deployment.available", "cart", "k8s.pod.phase", "k8s.container.restarts"])
    });
    wait_long("a scraped page", &first, || has(&cluster, "first-scraped", &["shop_orders_total", "\"front\""]));
    let second = start(&cluster, "second");
    wait_long("a scraped page", &second, || has(&cluster, "second-scraped", &["shop_orders_total"]));
    let change = |cluster: &Cluster, tier: &str| {
        cluster.kubectl(&["label", "--overwrite", "--namespace=shop", "pod/cart-1", &format!("tier={tier}")]);
    };
    // Changes are watched from some moment on, so there is another one until one is seen.
    let mut number = 0;
    let mut wait_for_change = |cluster: &Cluster, process: &Process, files: &[&str]| {
        number += 100;
        let start = format!("tier-{number}");
        wait_long("a change", process, || {
            number += 1;
            change(cluster, &format!("{start}-{number}"));
            std::thread::sleep(Duration::from_millis(500));
            files.iter().any(|file| has(cluster, file, &["MODIFIED", &start]))
        });
    };
    wait_for_change(&cluster, &first, &["first-logs"]);
    let mut events = 0;
    wait_long("an event", &first, || {
        events += 1;
        // Events from before the start of the collector are left out.
        cluster.apply(&format!(
            "apiVersion: v1\nkind: Event\nmetadata: {{name: e{events}, namespace: shop}}\ntype: Warning\nreason: BackOff\n\
             message: container is restarted\ninvolvedObject: {{kind: Pod, name: cart-1, namespace: shop}}\n\
             firstTimestamp: '2099-01-01T00:00:00Z'\nlastTimestamp: '2099-01-01T00:00:00Z'\n"
        ));
        std::thread::sleep(Duration::from_millis(500));
        has(&cluster, "first-events", &["container is restarted", "BackOff", "Pod"])
    });
    assert_eq!(requests(&cluster.dir.join("second-metrics")).len(), 0, "it does not lead");
    assert_eq!(requests(&cluster.dir.join("second-logs")).len(), 0, "it does not lead");
    // The server restarts: the leader stays or another is elected, and changes are seen again.
    cluster.stop_api_server();
    std::thread::sleep(Duration::from_secs(2));
    cluster.start_api_server();
    wait_for_change(&cluster, &first, &["first-logs", "second-logs"]);
    // The other one leads at the latest when the lease has ended.
    drop(first);
    wait_long("metrics of the second one", &second, || has(&cluster, "second-metrics", &["k8s.deployment.available"]));
    wait_for_change(&cluster, &second, &["second-logs"]);
    // A pod that is deleted is not scraped any more.
    cluster.kubectl(&["delete", "--namespace=shop", "--grace-period=0", "--force", "pod/cart-1"]);
    wait_long("the deletion", &second, || has(&cluster, "second-logs", &["DELETED"]));
    let stale = || {
        let text = std::fs::read_to_string(cluster.dir.join("second-scraped")).unwrap();
        text.lines().last().is_some_and(|last| last.contains("\"flags\":1"))
    };
    wait_long("the end of the series", &second, stale);
}
