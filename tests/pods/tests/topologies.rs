//! The topologies of `deploy/kustomize`, run from the original files: agents and gateways with Jaeger and Prometheus, a
//! sidecar next to an application, restarts of all of them under load. Acknowledged data is counted and must be found.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use otelcore_pods::load::{self, SPANS, in_jaeger, until};
use otelcore_pods::{Cluster, Pod, http, inside, manifest, tool};
use serde_json::Value;
use support::*;

const GATEWAY: &str = "Deployment/observability/otelcore-gateway";
const AGENT: &str = "DaemonSet/observability/otelcore-agent";

/// The documents of a folder of `deploy/kustomize`.
fn deploy(folder: &str) -> Vec<Value> {
    manifest::kustomization(&otelcore_pods::root().join("deploy/kustomize").join(folder))
}

/// A Prometheus that discovers the gateways by their headless service.
fn prometheus(cluster: &Cluster) -> Option<Arc<Pod>> {
    let program = tool("prometheus")?;
    let dir = scratch();
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
fn scratch() -> PathBuf {
    let dir = otelcore_pods::free(env!("CARGO_TARGET_TMPDIR"), "prometheus");
    let config = "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: gateway\n  dns_sd_configs: [{names: [otelcore-gateway-headless.observability.svc.cluster.local], type: A, port: 8889, refresh_interval: 1s}]\n";
    std::fs::write(dir.join("prometheus.yml"), config).unwrap();
    dir
}

/// An application that sends for some seconds and then waits until it is stopped; the result that it prints at the end
/// is used for the count.
fn sends(to: &str, service: &str, first: u64, seconds: u64) -> Value {
    let script = format!(
        "trap 'exit 0' TERM; {} send {to} {service} {first} {seconds} 5; while :; do sleep 0.05; done",
        env!("CARGO_BIN_EXE_pods")
    );
    serde_json::json!({"name": "app", "image": "machine", "command": ["sh", "-c", script]})
}

fn application(name: &str, node: &str, container: &Value) -> Value {
    serde_json::json!({
        "kind": "Pod", "metadata": {"name": name, "namespace": "observability"},
        "spec": {"nodeName": node, "containers": [container]},
    })
}

/// The number of an application's requests that were acknowledged, and of attempts that were not.
fn counted(app: &Pod) -> (u64, u64) {
    let said = until("the application has counted", Duration::from_secs(150), || {
        let said = app.said("app");
        assert!(app.exits("app").is_empty() && !said.contains("panicked"), "{}", app.last_words());
        said.lines().find(|l| l.starts_with("acknowledged ")).map(str::to_owned)
    });
    let words: Vec<u64> = said.split(' ').filter_map(|w| w.parse().ok()).collect();
    (words[0], words[1])
}

/// Checks that every span of `requests` requests from `first` on is in Jaeger; returns how many are there more than
/// once.
fn all_arrived(cluster: &Cluster, service: &str, first: u64, requests: u64) -> usize {
    let query = cluster.pod("jaeger").at(16686);
    let ids = first * SPANS + 1..(first + requests) * SPANS + 1;
    let lost = |seen: &BTreeMap<u64, u32>| ids.clone().filter(|id| !seen.contains_key(id)).count();
    let ends = Instant::now() + SOON;
    let mut seen = BTreeMap::new();
    while lost(&seen) > 0 && Instant::now() < ends {
        std::thread::sleep(Duration::from_millis(300));
        seen = in_jaeger(query, service).unwrap_or_default();
    }
    assert_eq!(lost(&seen), 0, "of {} spans of {service} that were acknowledged these are lost", requests * SPANS);
    assert_eq!(seen.keys().filter(|id| !ids.contains(id)).count(), 0, "spans that nobody acknowledged");
    seen.values().filter(|times| **times > 1).count()
}

#[test]
fn agents_and_gateways_bring_everything_to_jaeger_and_prometheus() {
    inside("agents_and_gateways_bring_everything_to_jaeger_and_prometheus", image, |tree| {
        let cluster = cluster("agent-gateway", 2, tree);
        if !jaeger(&cluster, "observability") {
            return;
        }
        let prometheus = prometheus(&cluster);
        let passed_over = cluster.apply_all(&deploy("agent-gateway"));
        eprintln!("not acted on: {passed_over:?}");
        cluster.ready(Duration::from_secs(60));
        assert_eq!(cluster.pods(GATEWAY).len(), 2, "what the autoscaler keeps at least");
        assert_eq!(cluster.pods(AGENT).len(), 2, "one for each node");

        for node in 0..2 {
            let first = node * 1_000_000;
            let to = "otelcore-agent.observability:4318";
            let app = sends(to, &format!("shop-{node}"), first, 3);
            cluster.apply_all(&[application(&format!("app-{node}"), &format!("node-{node}"), &app)]);
        }
        // The agent of a node serves only the applications on that node: the policy of the service says so.
        for (node, agent) in cluster.pods(AGENT).iter().enumerate() {
            let (acknowledged, refused) = counted(&cluster.pod(&format!("app-{node}")));
            assert!(acknowledged > 50 && refused == 0, "{acknowledged} acknowledged, {refused} refused");
            let twice = all_arrived(&cluster, &format!("shop-{node}"), node as u64 * 1_000_000, acknowledged);
            assert_eq!(twice, 0, "nothing failed, so nothing is there twice");
            let accepted = (acknowledged * SPANS) as f64;
            metric_is(agent, "otelcol_receiver_accepted_spans", "http", accepted);
        }
        // The agents' balancers used both gateways.
        for gateway in cluster.pods(GATEWAY) {
            assert!(metric(gateway.at(8888), "otelcol_receiver_accepted_spans", "grpc").unwrap_or(0.0) > 0.0);
        }
        let agent = cluster.pods(AGENT)[0].at(4318);
        assert_eq!(load::post(agent, "logs", &load::log("a line")), 200);
        if let Some(prometheus) = prometheus {
            until("a series in Prometheus", SOON, || {
                assert_eq!(load::post(agent, "metrics", &load::point("orders", 7)), 200);
                let (_, answer) = http::get(prometheus.at(9090), "/api/v1/query?query=orders").ok()?;
                answer.contains("\"__name__\":\"orders\"").then_some(())
            });
        }
        for pod in cluster.pods(AGENT).iter().chain(&cluster.pods(GATEWAY)) {
            assert_eq!(pod.exits("otelcore"), [0; 0], "restarted: {}", pod.last_words());
        }
    });
}

#[test]
fn a_sidecar_is_there_before_its_application_and_goes_after_it() {
    inside("a_sidecar_is_there_before_its_application_and_goes_after_it", image, |tree| {
        let cluster = cluster("beside", 1, tree);
        if !jaeger(&cluster, "observability") {
            return;
        }
        cluster.apply_all(&deploy("gateway"));
        cluster.ready(Duration::from_secs(60));
        let mut documents = deploy("sidecar");
        for document in documents.iter_mut().filter(|d| manifest::text(d, "kind") == "Deployment") {
            // The application is one that counts; the sidecar and everything else are from the file.
            document["spec"]["template"]["spec"]["containers"] =
                serde_json::json!([sends("127.0.0.1:4318", "beside", 0, 3)]);
        }
        cluster.apply_all(&documents);
        cluster.ready(Duration::from_secs(60));
        let pod = cluster.pods("Deployment/observability/app-with-sidecar")[0].clone();
        let (acknowledged, refused) = counted(&pod);
        // The sidecar was already listening at the application's first request.
        assert_eq!(refused, 0, "{}", pod.last_words());
        assert!(acknowledged > 50, "{acknowledged}");
        // Data that the sidecar still held when it was asked to stop arrives as well.
        assert_eq!(pod.stop(), [0, 0], "{}", pod.last_words());
        assert_eq!(all_arrived(&cluster, "beside", 0, acknowledged), 0);
    });
}

#[test]
fn restarts_of_agents_and_gateways_under_load_lose_nothing() {
    inside("restarts_of_agents_and_gateways_under_load_lose_nothing", image, |tree| {
        let cluster = cluster("restarts", 2, tree);
        if !jaeger(&cluster, "observability") {
            return;
        }
        cluster.apply_all(&deploy("agent-gateway"));
        cluster.ready(Duration::from_secs(60));
        for node in 0..2 {
            let app = sends("otelcore-agent.observability:4318", &format!("load-{node}"), node * 1_000_000, 40);
            cluster.apply_all(&[application(&format!("app-{node}"), &format!("node-{node}"), &app)]);
        }
        std::thread::sleep(Duration::from_secs(1));
        for workload in [GATEWAY, AGENT] {
            let before = cluster.pods(workload);
            let exits = cluster.restart(workload);
            assert_eq!(exits, [[0], [0]], "{workload}: {}", before.iter().map(|p| p.last_words()).collect::<String>());
            for pod in before {
                let said = pod.said("otelcore");
                assert!(said.contains("\"undelivered_items\": 0"), "{}", pod.last_words());
            }
            assert_eq!(cluster.pods(workload).len(), 2);
        }
        for node in 0..2 {
            let (acknowledged, refused) = counted(&cluster.pod(&format!("app-{node}")));
            assert!(acknowledged > 500, "only {acknowledged} requests");
            let twice = all_arrived(&cluster, &format!("load-{node}"), node * 1_000_000, acknowledged);
            eprintln!(
                "node-{node}: {} spans acknowledged, none lost, {twice} more than once, {refused} tries refused",
                acknowledged * SPANS
            );
        }
    });
}

#[test]
fn an_agent_at_its_nodes_port_may_be_away_for_a_while() {
    inside("an_agent_at_its_nodes_port_may_be_away_for_a_while", image, |tree| {
        let cluster = cluster("host-port", 1, tree);
        if !jaeger(&cluster, "observability") {
            return;
        }
        cluster.apply_all(&deploy("gateway"));
        cluster.apply_all(&deploy("agent-host-port"));
        cluster.ready(Duration::from_secs(60));
        // As an application's manifest passes the address of its node to it.
        let mut app = sends("$(NODE_IP):4318", "node-port", 0, 15);
        app["env"] =
            serde_json::json!([{"name": "NODE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}]);
        cluster.apply_all(&[application("app", "node-0", &app)]);
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(cluster.restart("DaemonSet/observability-agent/otelcore-agent"), [[0]]);
        let (acknowledged, refused) = counted(&cluster.pod("app"));
        assert!(refused > 0, "a port of the node is nobody's while its agent is replaced");
        let twice = all_arrived(&cluster, "node-port", 0, acknowledged);
        eprintln!(
            "{acknowledged} requests acknowledged, none lost, {twice} spans more than once, {refused} tries refused"
        );
    });
}

#[test]
fn what_the_chart_makes_of_our_values_delivers() {
    inside("what_the_chart_makes_of_our_values_delivers", image, |tree| {
        let cluster = cluster("values", 2, tree);
        if !jaeger(&cluster, "observability") {
            return;
        }
        // The chart's agents send to the gateway of the plain manifests.
        cluster.apply_all(&deploy("gateway"));
        for mode in ["daemonset", "deployment", "statefulset"] {
            let file = otelcore_pods::root().join("tests/deploy/chart").join(format!("{mode}.yaml"));
            cluster.apply(&std::fs::read_to_string(file).unwrap());
        }
        cluster.ready(Duration::from_secs(60));
        let mut sent = 0;
        let charts: Vec<_> =
            cluster.workloads().into_iter().filter(|w| w.contains("opentelemetry-collector")).collect();
        assert_eq!(charts.len(), 3, "{charts:?}");
        for pod in charts.iter().flat_map(|workload| cluster.pods(workload)) {
            let status = load::post(pod.at(4318), "traces", &load::request("values", sent));
            assert_eq!(status, 200, "{}", pod.last_words());
            sent += 1;
        }
        // Agents are reachable at the ports of their nodes as well.
        for node in 0..2 {
            assert_eq!(load::post(cluster.node_at(node, 4318), "traces", &load::request("values", sent)), 200);
            sent += 1;
        }
        assert!(sent >= 6, "{sent}");
        assert_eq!(all_arrived(&cluster, "values", 0, sent), 0);
        for pod in charts.iter().flat_map(|workload| cluster.pods(workload)) {
            assert!(pod.exits("opentelemetry-collector").is_empty(), "restarted: {}", pod.last_words());
        }
    });
}

#[test]
fn the_tutorials_deployment_is_at_its_node_port() {
    inside("the_tutorials_deployment_is_at_its_node_port", image, |tree| {
        let cluster = cluster("tutorial", 1, tree);
        if !jaeger(&cluster, "istio-system") {
            return;
        }
        let Some(telemetrygen) = tool("telemetrygen") else { return };
        cluster.apply_all(&deploy("tutorial"));
        cluster.ready(Duration::from_secs(60));
        let node = cluster.node_at(0, 30080);
        for (kind, count) in [("traces", "--traces"), ("metrics", "--metrics")] {
            let mut sender = std::process::Command::new(&telemetrygen);
            sender.args([kind, "--otlp-insecure", "--otlp-endpoint", &node.to_string(), count, "5"]);
            let done = sender.args(["--service", "tutorial"]).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        let query = cluster.pod("jaeger").at(16686);
        // Each of its traces has a client span and a server span.
        until("ten spans in Jaeger", SOON, || in_jaeger(query, "tutorial").filter(|seen| seen.len() == 10));
        // The service's port for the page is the exporter's, as the manifest explains.
        let page = cluster.service_at("observability", "otel-collector", 8889);
        until("the points on the page", SOON, || {
            http::get(page, "/metrics").ok().filter(|(_, page)| page.contains("default_gen"))
        });
        let pod = cluster.pods("Deployment/observability/otel-collector")[0].clone();
        assert_eq!(pod.stop(), [0], "{}", pod.last_words());
    });
}
