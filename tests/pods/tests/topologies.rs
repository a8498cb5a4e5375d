//! The topologies of `deploy/kustomize`, run from the original files: agents and gateways with Jaeger and Prometheus, a
//! sidecar next to an application, restarts of all of them under load. Acknowledged data is counted and must be found.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use otelcore_pods::load::{self, SPANS_PER_REQUEST, spans_in_jaeger, wait_until};
use otelcore_pods::{Cluster, Pod, http, manifest, run_in_namespaces, tool};
use serde_json::Value;
use support::*;

const GATEWAY: &str = "Deployment/observability/otelcore-gateway";
const AGENT: &str = "DaemonSet/observability/otelcore-agent";

/// The documents of a folder of `deploy/kustomize`.
fn read_kustomization(folder: &str) -> Vec<Value> {
    manifest::kustomization(&otelcore_pods::project_root().join("deploy/kustomize").join(folder))
}

/// A Prometheus that discovers the gateways by their headless service.
fn start_prometheus(cluster: &Cluster) -> Option<Arc<Pod>> {
    let program = tool("prometheus")?;
    let dir = prometheus_dir();
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: prometheus, namespace: observability}}\nspec:\n  containers:\n  - name: prometheus\n    image: machine\n    \
         command: [{}, --config.file={}/prometheus.yml, --storage.tsdb.path={}/data]\n    \
         readinessProbe: {{httpGet: {{port: 9090, path: /-/ready}}, periodSeconds: 1}}\n",
        program.display(),
        dir.display(),
        dir.display(),
    ));
    Some(cluster.pod("prometheus"))
}

/// The folder of Prometheus' configuration and data: it runs on the machine's own root.
fn prometheus_dir() -> PathBuf {
    let dir = otelcore_pods::empty_dir(env!("CARGO_TARGET_TMPDIR"), "prometheus");
    let config = "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: gateway\n  dns_sd_configs: [{names: [otelcore-gateway-headless.observability.svc.cluster.local], type: A, port: 8889, refresh_interval: 1s}]\n";
    std::fs::write(dir.join("prometheus.yml"), config).unwrap();
    dir
}

/// An application that sends for some seconds and then waits until it is stopped; the result that it prints at the end
/// is used for the count.
fn sending_container(to: &str, service: &str, first: u64, seconds: u64) -> Value {
    let script = format!(
        "trap 'exit 0' TERM; {} send {to} {service} {first} {seconds} 5; while :; do sleep 0.05; done",
        env!("CARGO_BIN_EXE_pods")
    );
    serde_json::json!({"name": "app", "image": "machine", "command": ["sh", "-c", script]})
}

fn application_pod(name: &str, node: &str, container: &Value) -> Value {
    serde_json::json!({
        "kind": "Pod", "metadata": {"name": name, "namespace": "observability"},
        "spec": {"nodeName": node, "containers": [container]},
    })
}

/// The number of an application's requests that were acknowledged, and of attempts that were not.
fn load_result(app: &Pod) -> (u64, u64) {
    let line = wait_until("the application has counted", Duration::from_secs(150), || {
        let output = app.output("app");
        assert!(app.exits("app").is_empty() && !output.contains("panicked"), "{}", app.last_output());
        output.lines().find(|l| l.starts_with("acknowledged ")).map(str::to_owned)
    });
    let words: Vec<u64> = line.split(' ').filter_map(|w| w.parse().ok()).collect();
    (words[0], words[1])
}

/// Checks that every span of `requests` requests from `first` on is in Jaeger; returns how many are there more than
/// once.
fn count_repeated_spans(cluster: &Cluster, service: &str, first: u64, requests: u64) -> usize {
    let query = cluster.pod("jaeger").address(16686);
    let ids = first * SPANS_PER_REQUEST + 1..(first + requests) * SPANS_PER_REQUEST + 1;
    let lost = |seen: &BTreeMap<u64, u32>| ids.clone().filter(|id| !seen.contains_key(id)).count();
    let deadline = Instant::now() + TIME_LIMIT;
    let mut found = BTreeMap::new();
    while lost(&found) > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(300));
        found = spans_in_jaeger(query, service).unwrap_or_default();
    }
    assert_eq!(
        lost(&found),
        0,
        "of {} spans of {service} that were acknowledged these are lost",
        requests * SPANS_PER_REQUEST
    );
    assert_eq!(found.keys().filter(|id| !ids.contains(id)).count(), 0, "spans without an acknowledgement");
    found.values().filter(|times| **times > 1).count()
}

#[test]
fn agents_and_gateways_deliver_to_jaeger_and_prometheus() {
    run_in_namespaces("agents_and_gateways_deliver_to_jaeger_and_prometheus", image, |tree| {
        let cluster = cluster("agent-gateway", 2, tree);
        if !start_jaeger(&cluster, "observability") {
            return;
        }
        let prometheus = start_prometheus(&cluster);
        let ignored = cluster.apply_all(&read_kustomization("agent-gateway"));
        eprintln!("not acted on: {ignored:?}");
        cluster.wait_until_ready(Duration::from_secs(60));
        assert_eq!(cluster.pods(GATEWAY).len(), 2, "what the autoscaler keeps at least");
        assert_eq!(cluster.pods(AGENT).len(), 2, "one for each node");

        for node in 0..2 {
            let first = node * 1_000_000;
            let to = "otelcore-agent.observability:4318";
            let app = sending_container(to, &format!("shop-{node}"), first, 3);
            cluster.apply_all(&[application_pod(&format!("app-{node}"), &format!("node-{node}"), &app)]);
        }
        // The agent of a node serves only the applications on that node: the policy of the service says so.
        for (node, agent) in cluster.pods(AGENT).iter().enumerate() {
            let (acknowledged, refused) = load_result(&cluster.pod(&format!("app-{node}")));
            assert!(acknowledged > 50 && refused == 0, "{acknowledged} acknowledged, {refused} refused");
            let twice = count_repeated_spans(&cluster, &format!("shop-{node}"), node as u64 * 1_000_000, acknowledged);
            assert_eq!(twice, 0, "nothing failed, so nothing is there twice");
            let accepted = (acknowledged * SPANS_PER_REQUEST) as f64;
            wait_for_metric(agent, "otelcol_receiver_accepted_spans", "http", accepted);
        }
        // The agents' balancers used both gateways.
        for gateway in cluster.pods(GATEWAY) {
            assert!(metric_sum(gateway.address(8888), "otelcol_receiver_accepted_spans", "grpc").unwrap_or(0.0) > 0.0);
        }
        let agent = cluster.pods(AGENT)[0].address(4318);
        assert_eq!(load::post(agent, "logs", &load::log_request("a line")), 200);
        if let Some(prometheus) = prometheus {
            wait_until("a series in Prometheus", TIME_LIMIT, || {
                assert_eq!(load::post(agent, "metrics", &load::gauge_request("orders", 7)), 200);
                let (_, response) = http::get(prometheus.address(9090), "/api/v1/query?query=orders").ok()?;
                response.contains("\"__name__\":\"orders\"").then_some(())
            });
        }
        for pod in cluster.pods(AGENT).iter().chain(&cluster.pods(GATEWAY)) {
            assert_eq!(pod.exits("otelcore"), [0; 0], "restarted: {}", pod.last_output());
        }
    });
}

#[test]
fn sidecar_starts_before_its_application_and_stops_after_it() {
    run_in_namespaces("sidecar_starts_before_its_application_and_stops_after_it", image, |tree| {
        let cluster = cluster("beside", 1, tree);
        if !start_jaeger(&cluster, "observability") {
            return;
        }
        cluster.apply_all(&read_kustomization("gateway"));
        cluster.wait_until_ready(Duration::from_secs(60));
        let mut documents = read_kustomization("sidecar");
        for document in documents.iter_mut().filter(|d| manifest::text(d, "kind") == "Deployment") {
            // The application is one that counts; the sidecar and everything else are from the file.
            document["spec"]["template"]["spec"]["containers"] =
                serde_json::json!([sending_container("127.0.0.1:4318", "beside", 0, 3)]);
        }
        cluster.apply_all(&documents);
        cluster.wait_until_ready(Duration::from_secs(60));
        let pod = cluster.pods("Deployment/observability/app-with-sidecar")[0].clone();
        let (acknowledged, refused) = load_result(&pod);
        // The sidecar was already listening at the application's first request.
        assert_eq!(refused, 0, "{}", pod.last_output());
        assert!(acknowledged > 50, "{acknowledged}");
        // Data that the sidecar still held when it was asked to stop arrives as well.
        assert_eq!(pod.stop(), [0, 0], "{}", pod.last_output());
        assert_eq!(count_repeated_spans(&cluster, "beside", 0, acknowledged), 0);
    });
}

#[test]
fn agent_and_gateway_restarts_under_load_lose_nothing() {
    run_in_namespaces("agent_and_gateway_restarts_under_load_lose_nothing", image, |tree| {
        let cluster = cluster("restarts", 2, tree);
        if !start_jaeger(&cluster, "observability") {
            return;
        }
        cluster.apply_all(&read_kustomization("agent-gateway"));
        cluster.wait_until_ready(Duration::from_secs(60));
        for node in 0..2 {
            let app =
                sending_container("otelcore-agent.observability:4318", &format!("load-{node}"), node * 1_000_000, 40);
            cluster.apply_all(&[application_pod(&format!("app-{node}"), &format!("node-{node}"), &app)]);
        }
        std::thread::sleep(Duration::from_secs(1));
        for workload in [GATEWAY, AGENT] {
            let before = cluster.pods(workload);
            let exits = cluster.restart(workload);
            assert_eq!(exits, [[0], [0]], "{workload}: {}", before.iter().map(|p| p.last_output()).collect::<String>());
            for pod in before {
                let output = pod.output("otelcore");
                assert!(output.contains("\"undelivered_items\": 0"), "{}", pod.last_output());
            }
            assert_eq!(cluster.pods(workload).len(), 2);
        }
        for node in 0..2 {
            let (acknowledged, refused) = load_result(&cluster.pod(&format!("app-{node}")));
            assert!(acknowledged > 500, "only {acknowledged} requests");
            let twice = count_repeated_spans(&cluster, &format!("load-{node}"), node * 1_000_000, acknowledged);
            eprintln!(
                "node-{node}: {} spans acknowledged, none lost, {twice} more than once, {refused} tries refused",
                acknowledged * SPANS_PER_REQUEST
            );
        }
    });
}

/// Sends to a collector with a queue on disk, kills each of its pods' processes, and finds what was acknowledged in Jaeger.
fn kill_under_load(cluster: &Cluster, workload: &str, service: &str, first: u64, address: &str) {
    let app = sending_container(address, service, first, 20);
    cluster.apply_all(&[application_pod(service, "node-0", &app)]);
    std::thread::sleep(Duration::from_secs(2));
    for pod in cluster.pods(workload) {
        pod.signal("otelcore", "KILL");
        wait_until("the process is started again", TIME_LIMIT, || (!pod.exits("otelcore").is_empty()).then_some(()));
        cluster.wait_until_ready(Duration::from_secs(60));
    }
    let (acknowledged, refused) = load_result(&cluster.pod(service));
    assert!(acknowledged > 50, "only {acknowledged} requests");
    let twice = count_repeated_spans(cluster, service, first, acknowledged);
    eprintln!(
        "{service}: {acknowledged} requests acknowledged, none lost, {twice} spans more than once, {refused} refused"
    );
}

#[test]
fn collectors_with_a_volume_that_are_killed_lose_nothing() {
    run_in_namespaces("collectors_with_a_volume_that_are_killed_lose_nothing", image, |tree| {
        let cluster = cluster("durable", 1, tree);
        if !start_jaeger(&cluster, "observability") {
            return;
        }
        cluster.apply_all(&read_kustomization("gateway-durable"));
        cluster.apply_all(&read_kustomization("agent-durable"));
        cluster.wait_until_ready(Duration::from_secs(60));
        let gateways = "StatefulSet/observability/otelcore-gateway";
        assert_eq!(cluster.pods(gateways).len(), 2);
        kill_under_load(&cluster, gateways, "volume", 0, "otelcore-gateway.observability:4318");
        let agents = "DaemonSet/observability-agent/otelcore-agent";
        kill_under_load(&cluster, agents, "host-path", 1_000_000, "otelcore-agent.observability-agent:4318");
    });
}

/// A request with one span of a trace of the service `sampled`; `is_error` is its status.
fn one_span(trace: u64, span: u64, is_error: bool) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let status = if is_error { "{\"code\":2}" } else { "{}" };
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"sampled"}}}}]}},"scopeSpans":[{{"spans":[{{"traceId":"{trace:032x}","spanId":"{span:016x}","name":"work","kind":2,"startTimeUnixNano":"{now}","endTimeUnixNano":"{}","status":{status}}}]}}]}}]}}"#,
        now + 1_000_000
    )
}

#[test]
fn spans_of_a_trace_from_different_requests_meet_at_one_sampler() {
    run_in_namespaces("spans_of_a_trace_from_different_requests_meet_at_one_sampler", image, |tree| {
        let cluster = cluster("sampling", 1, tree);
        if !start_jaeger(&cluster, "observability") {
            return;
        }
        cluster.apply_all(&read_kustomization("sampling"));
        cluster.wait_until_ready(Duration::from_secs(60));
        let balancers = cluster.pods("Deployment/observability/otelcore-balancer");
        let samplers = cluster.pods("Deployment/observability/otelcore-sampler");
        assert_eq!((balancers.len(), samplers.len()), (2, 2));
        const TRACES: u64 = 60;
        // The spans of a trace go through both balancers; the last span of every second trace is an error.
        for span in 0..3 {
            for trace in 1..=TRACES {
                let is_error = span == 2 && trace % 2 == 0;
                let balancer = balancers[(trace + span) as usize % 2].address(4318);
                wait_until("a balancer accepts a span", TIME_LIMIT, || {
                    (load::post(balancer, "traces", &one_span(trace, trace * 3 + span, is_error)) == 200).then_some(())
                });
            }
        }
        let query = cluster.pod("jaeger").address(16686);
        let spans_of = |found: &BTreeMap<u64, u32>, trace: u64| {
            (0..3).filter(|span| found.contains_key(&(trace * 3 + span))).count()
        };
        // Traces with an error are kept, the others are kept or dropped as a whole.
        let found = wait_until("every trace with an error in Jaeger, and no part of a trace", TIME_LIMIT, || {
            let found = spans_in_jaeger(query, "sampled")?;
            let is_whole = |trace: u64| match spans_of(&found, trace) {
                3 => true,
                spans => spans == 0 && trace % 2 == 1,
            };
            (1..=TRACES).all(is_whole).then_some(found)
        });
        let dropped = (1..=TRACES).filter(|trace| spans_of(&found, *trace) == 0).count();
        assert!(dropped > 15, "{dropped} of 30 traces without an error are dropped; one in ten is kept");
        for sampler in samplers {
            assert!(metric_sum(sampler.address(8888), "otelcol_receiver_accepted_spans", "grpc").unwrap_or(0.0) > 0.0);
        }
    });
}

#[test]
fn agent_with_a_host_port_restarts_without_loss() {
    run_in_namespaces("agent_with_a_host_port_restarts_without_loss", image, |tree| {
        let cluster = cluster("host-port", 1, tree);
        if !start_jaeger(&cluster, "observability") {
            return;
        }
        cluster.apply_all(&read_kustomization("gateway"));
        cluster.apply_all(&read_kustomization("agent-host-port"));
        cluster.wait_until_ready(Duration::from_secs(60));
        // As an application's manifest passes the address of its node to it.
        let mut app = sending_container("$(NODE_IP):4318", "node-port", 0, 15);
        app["env"] =
            serde_json::json!([{"name": "NODE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}]);
        cluster.apply_all(&[application_pod("app", "node-0", &app)]);
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(cluster.restart("DaemonSet/observability-agent/otelcore-agent"), [[0]]);
        let (acknowledged, refused) = load_result(&cluster.pod("app"));
        assert!(refused > 0, "no process listens on a port of the node while its agent is replaced");
        let twice = count_repeated_spans(&cluster, "node-port", 0, acknowledged);
        eprintln!(
            "{acknowledged} requests acknowledged, none lost, {twice} spans more than once, {refused} tries refused"
        );
    });
}

#[test]
fn chart_with_our_values_delivers() {
    run_in_namespaces("chart_with_our_values_delivers", image, |tree| {
        let cluster = cluster("values", 2, tree);
        if !start_jaeger(&cluster, "observability") {
            return;
        }
        // The chart's agents send to the gateway of the plain manifests.
        cluster.apply_all(&read_kustomization("gateway"));
        for mode in ["daemonset", "deployment", "statefulset"] {
            let file = otelcore_pods::project_root().join("tests/deploy/chart").join(format!("{mode}.yaml"));
            cluster.apply(&std::fs::read_to_string(file).unwrap());
        }
        cluster.wait_until_ready(Duration::from_secs(60));
        let mut sent = 0;
        let charts: Vec<_> =
            cluster.workloads().into_iter().filter(|w| w.contains("opentelemetry-collector")).collect();
        assert_eq!(charts.len(), 3, "{charts:?}");
        for pod in charts.iter().flat_map(|workload| cluster.pods(workload)) {
            let status = load::post(pod.address(4318), "traces", &load::trace_request("values", sent));
            assert_eq!(status, 200, "{}", pod.last_output());
            sent += 1;
        }
        // Agents are reachable at the ports of their nodes as well.
        for node in 0..2 {
            assert_eq!(
                load::post(cluster.node_address(node, 4318), "traces", &load::trace_request("values", sent)),
                200
            );
            sent += 1;
        }
        assert!(sent >= 6, "{sent}");
        assert_eq!(count_repeated_spans(&cluster, "values", 0, sent), 0);
        for pod in charts.iter().flat_map(|workload| cluster.pods(workload)) {
            assert!(pod.exits("opentelemetry-collector").is_empty(), "restarted: {}", pod.last_output());
        }
    });
}

#[test]
fn tutorial_deployment_is_reachable_at_its_node_port() {
    run_in_namespaces("tutorial_deployment_is_reachable_at_its_node_port", image, |tree| {
        let cluster = cluster("tutorial", 1, tree);
        if !start_jaeger(&cluster, "istio-system") {
            return;
        }
        let Some(telemetrygen) = tool("telemetrygen") else { return };
        cluster.apply_all(&read_kustomization("tutorial"));
        cluster.wait_until_ready(Duration::from_secs(60));
        let node = cluster.node_address(0, 30080);
        for (kind, count) in [("traces", "--traces"), ("metrics", "--metrics")] {
            let mut sender = std::process::Command::new(&telemetrygen);
            sender.args([kind, "--otlp-insecure", "--otlp-endpoint", &node.to_string(), count, "5"]);
            let done = sender.args(["--service", "tutorial"]).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        let query = cluster.pod("jaeger").address(16686);
        // Each of its traces has a client span and a server span.
        wait_until("ten spans in Jaeger", TIME_LIMIT, || {
            spans_in_jaeger(query, "tutorial").filter(|seen| seen.len() == 10)
        });
        // The service's port for the page is the exporter's, as the manifest explains.
        let page = cluster.service_address("observability", "otel-collector", 8889);
        wait_until("the points on the page", TIME_LIMIT, || {
            http::get(page, "/metrics").ok().filter(|(_, page)| page.contains("default_gen"))
        });
        let pod = cluster.pods("Deployment/observability/otel-collector")[0].clone();
        assert_eq!(pod.stop(), [0], "{}", pod.last_output());
    });
}
