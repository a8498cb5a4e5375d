//! The pods of the Operator and the community chart, in files that we wrote in the same structure: each starts with its
//! command line and environment, is reported healthy by its probes, passes data, and ends when it is asked to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use otelcore_pods::load::{self, until};
use otelcore_pods::{Cluster, Pod, http, inside};
use support::*;

fn applied(test: &str, nodes: u8, vectors: &[&str], tree: std::path::PathBuf) -> Cluster {
    let cluster = cluster(test, nodes, tree);
    for name in vectors {
        cluster.apply(&vector(name));
    }
    cluster.ready(SOON);
    cluster
}

/// Checks that spans sent to a pod's own address reach its `debug` exporter, and that its own page counts them.
fn passes_spans(pod: &Pod) {
    assert_eq!(load::post(pod.at(4318), "traces", &load::request("shop", 1)), 200, "{}", pod.all_said());
    metric_is(pod, "otelcol_receiver_accepted_spans", "http", 10.0);
    metric_is(pod, "otelcol_exporter_sent_spans", "\"debug\"", 10.0);
}

/// Checks that there were no errors, and that each container of the pod ended with 0 after SIGTERM.
fn leaves_well(pod: &Pod) {
    let exits = pod.stop();
    assert!(exits.iter().all(|e| *e == 0), "{exits:?}\n{}", pod.all_said());
    let said = pod.all_said();
    assert!(said.contains("Shutdown complete"), "{said}");
    assert!(!said.contains("\"level\":\"error\"") && !said.contains("\terror\t"), "{said}");
}

#[test]
fn the_operators_simplest_deployment_serves() {
    inside("the_operators_simplest_deployment_serves", image, |tree| {
        let cluster = applied("simplest", 1, &["operator-simplest.yaml"], tree);
        let pod = &cluster.pods("Deployment/default/simplest-collector")[0];
        // There is no probe, so ready means only that it runs.
        until("it listens", SOON, || TcpStream::connect(pod.at(4318)).ok());
        passes_spans(pod);
        // It is reachable by a ClusterIP as well, and its own page by the monitoring service.
        let through = cluster.service_at("default", "simplest-collector", 4318);
        assert_eq!(load::post(through, "traces", &load::request("shop", 2)), 200);
        let page = cluster.service_at("default", "simplest-collector-monitoring", 8888);
        until("twenty spans", SOON, || metric(page, "otelcol_exporter_sent_spans", "").filter(|v| *v > 19.5));
        leaves_well(pod);
    });
}

#[test]
fn the_operators_gateway_takes_flags_floats_and_brackets_and_an_agent_finds_it() {
    inside("the_operators_gateway_takes_flags_floats_and_brackets_and_an_agent_finds_it", image, |tree| {
        let cluster = applied("gateway", 2, &["operator-gateway.yaml", "operator-agent.yaml"], tree);
        let gateways = cluster.pods("Deployment/default/gateway-collector");
        assert_eq!(gateways.len(), 2);
        for pod in &gateways {
            assert_eq!(http::get(pod.at(13133), "/").unwrap().0, 200);
            TcpStream::connect(pod.at(4317)).unwrap();
            TcpStream::connect(pod.at(14317)).unwrap();
            for gate in ["component.UseLocalHostAsDefaultHost", "confmap.unifyEnvVarExpansion"] {
                assert!(pod.all_said().contains(gate), "nothing is said of {gate}:\n{}", pod.all_said());
            }
        }
        // Each node's agent listens at the node's own address, and sends to the service of the gateway.
        let agents = cluster.pods("DaemonSet/default/agent-collector");
        assert_eq!(agents.iter().map(|a| a.node_name()).collect::<Vec<_>>(), ["node-0", "node-1"]);
        for (n, agent) in agents.iter().enumerate() {
            assert_eq!(agent.at(4318), cluster.node_at(n, 4318));
            until("it listens", SOON, || TcpStream::connect(agent.at(4318)).ok());
            assert_eq!(load::post(agent.at(4318), "traces", &load::request("shop", n as u64)), 200);
            assert_eq!(load::post(agent.at(4318), "metrics", &load::point("orders", 7)), 200);
            assert_eq!(load::post(agent.at(4318), "logs", &load::log("a line")), 200);
        }
        let sum = |name: &str| gateways.iter().filter_map(|g| metric(g.at(8888), name, "")).sum::<f64>();
        until("twenty spans", SOON, || (sum("otelcol_exporter_sent_spans") > 19.5).then_some(()));
        until("two lines", SOON, || (sum("otelcol_exporter_sent_log_records") > 1.5).then_some(()));
        let shows = |g: &Pod| http::get(g.at(8889), "/metrics").is_ok_and(|(_, page)| page.contains("orders{"));
        until("the point on a page", SOON, || gateways.iter().any(|g| shows(g)).then_some(()));
        agents.iter().chain(&gateways).for_each(|p| leaves_well(p));
    });
}

#[test]
fn the_operators_sidecar_lives_by_a_variable_and_ends_after_its_application() {
    inside("the_operators_sidecar_lives_by_a_variable_and_ends_after_its_application", image, |tree| {
        let cluster = applied("sidecar", 1, &["operator-gateway.yaml", "operator-sidecar.yaml"], tree);
        let (pod, gateways) = (cluster.pod("app"), cluster.pods("Deployment/default/gateway-collector"));
        assert_eq!(load::post(pod.at(4318), "traces", &load::request("shop", 1)), 200);
        let sent = |g: &std::sync::Arc<Pod>| metric(g.at(8888), "otelcol_exporter_sent_spans", "");
        until("ten spans behind the gateway", SOON, || {
            (gateways.iter().filter_map(sent).sum::<f64>() > 9.5).then_some(())
        });
        // The kubelet replaced `$$` by `$` in `$$literal $${env:NO}`, so that the second part is expanded and the first
        // stays.
        assert_eq!(load::post(pod.at(4318), "metrics", &load::point("orders", 7)), 200);
        let page = until("the point on its page", SOON, || {
            http::get(pod.at(8889), "/metrics").ok().map(|(_, page)| page).filter(|page| page.contains("orders{"))
        });
        assert!(page.contains(r#"bare="app""#) && page.contains(r#"literal="$literal .""#), "{page}");
        let exits = pod.stop();
        let sidecar = pod.container_names().iter().position(|n| *n == "otc-container").unwrap();
        assert_eq!(exits[sidecar], 0, "{}", pod.all_said());
    });
}

#[test]
fn the_operators_statefulset_writes_to_its_claim_and_finds_it_again() {
    inside("the_operators_statefulset_writes_to_its_claim_and_finds_it_again", image, |tree| {
        let cluster = applied("statefulset", 1, &["operator-statefulset.yaml"], tree);
        for name in ["prom-collector-0", "prom-collector-1"] {
            let pod = cluster.pod(name);
            until("it listens", SOON, || TcpStream::connect(pod.at(4318)).ok());
            passes_spans(&pod);
        }
        let exits = cluster.restart("StatefulSet/default/prom-collector");
        assert_eq!(exits, [[0], [0]]);
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("statefulset/claims/q-prom-collector-0");
        let written = std::fs::read_to_string(folder.join("prom-collector-0")).unwrap();
        assert!(written.contains("resource spans"), "{written}");
    });
}

fn chart(mode: &str, test: &str, check: impl FnOnce(&Cluster, &Pod)) {
    inside(test, image, |tree| {
        let cluster = applied(&format!("chart-{mode}"), 1, &[&format!("chart-{mode}.yaml")], tree);
        let pod = cluster.pods(&cluster.workloads()[0])[0].clone();
        assert_eq!(http::get(pod.at(13133), "/").unwrap().0, 200);
        passes_spans(&pod);
        assert_eq!(load::post(pod.at(4318), "metrics", &load::point("orders", 7)), 200);
        assert_eq!(load::post(pod.at(4318), "logs", &load::log("a line")), 200);
        metric_is(&pod, "otelcol_exporter_sent_metric_points", "\"debug\"", 1.0);
        metric_is(&pod, "otelcol_exporter_sent_log_records", "\"debug\"", 1.0);
        // The attributes of the chart's resource are strings, whatever their values look like.
        let (_, page) = http::get(pod.at(8888), "/metrics").unwrap();
        assert!(page.contains(&format!("k8s_pod_name=\"{}\"", pod.name())), "{page}");
        assert!(page.contains("k8s_node_name=\"node-0\""), "{page}");
        check(&cluster, &pod);
    });
}

#[test]
fn the_charts_deployment_finishes_what_has_begun_while_its_health_says_no() {
    let test = "the_charts_deployment_finishes_what_has_begun_while_its_health_says_no";
    chart("deployment", test, |_, pod| {
        // The limit of the container, to which the chart's percentages refer.
        assert!(pod.all_said().contains("256"), "the limit is not what it counts from:\n{}", pod.all_said());
        let body = load::request("shop", 2);
        let mut slow = TcpStream::connect(pod.at(4318)).unwrap();
        slow.set_read_timeout(Some(SOON)).unwrap();
        let head = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/json\r\n";
        write!(slow, "{head}Content-Length: {}\r\n\r\n{}", body.len(), &body[..100]).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        std::thread::scope(|scope| {
            let stopping = scope.spawn(|| pod.stop());
            until("health says no", SOON, || http::get(pod.at(13133), "/").ok().filter(|(status, _)| *status == 503));
            slow.write_all(&body.as_bytes()[100..]).unwrap();
            let mut answer = String::new();
            slow.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200"), "{answer}");
            assert_eq!(stopping.join().unwrap(), [0], "{}", pod.all_said());
        });
        assert!(pod.all_said().contains("\"undelivered_items\": 0"), "{}", pod.all_said());
    });
}

#[test]
fn the_charts_daemonset_is_at_its_nodes_ports() {
    chart("daemonset", "the_charts_daemonset_is_at_its_nodes_ports", |cluster, pod| {
        assert_eq!(load::post(cluster.node_at(0, 4318), "traces", &load::request("shop", 2)), 200);
        metric_is(pod, "otelcol_exporter_sent_spans", "\"debug\"", 20.0);
        leaves_well(pod);
    });
}

#[test]
fn the_charts_statefulset_serves() {
    chart("statefulset", "the_charts_statefulset_serves", |_, pod| {
        assert!(pod.name().ends_with("-0"), "{}", pod.name());
        leaves_well(pod);
    });
}

#[test]
fn what_older_operators_brought_along_still_serves() {
    inside("what_older_operators_brought_along_still_serves", image, |tree| {
        let cluster = applied("old", 1, &["operator-old-spellings.yaml"], tree);
        let pod = cluster.pods("Deployment/default/old-collector")[0].clone();
        assert_eq!(load::post(pod.at(4318), "traces", &load::request("shop", 1)), 200, "{}", pod.all_said());
        metric_is(&pod, "otelcol_exporter_sent_spans", "logging", 10.0);
        let (_, page) = http::get(pod.at(8888), "/metrics").unwrap();
        assert!(page.contains("k8s_node_name=\"123\""), "a name that looks like a number stays one: {page}");
        let said = pod.all_said();
        for old in ["logging", "otlphttp", "memory_ballast", "address", "component.UseLocalHostAsDefaultHost"] {
            let told = said.lines().any(|l| l.contains(old) && (l.contains("warn") || l.contains("deprecated")));
            assert!(told, "nothing is said of {old}:\n{said}");
        }
        leaves_well(&pod);
    });
}

#[test]
fn arguments_in_every_spelling_and_under_every_name_start() {
    inside("arguments_in_every_spelling_and_under_every_name_start", image, |tree| {
        let cluster = cluster("spellings", 1, tree);
        let chart = vector("chart-deployment.yaml");
        let args = "          args:\n            - --config=/conf/relay.yaml\n";
        assert!(chart.contains(args));
        let spellings = [
            "args: [--config, /conf/relay.yaml]",
            "args: [-config=/conf/relay.yaml]",
            "args: ['--config=file:/conf/relay.yaml', --feature-gates=]",
            "args: [--config=/conf/relay.yaml, '--set=processors::batch::timeout=1e+08', --set=service.telemetry.logs.level=debug]",
            "command: [/otelcol-k8s]\n          args: [--config=/conf/relay.yaml]",
            "command: [/otelcol-contrib, --config=/conf/relay.yaml]",
            "command: [/otelcol-otlp, --config, /conf/relay.yaml]",
            "command: [/otelcore]\n          args: ['--config=$(DOLLAR)/relay.yaml']",
        ];
        for (n, spelling) in spellings.iter().enumerate() {
            let mut one = chart.replace(args, &format!("          {spelling}\n"));
            one = one.replace("my-otelcol-opentelemetry-collector", &format!("spelling-{n}"));
            one = one.replace(
                "            - name: MY_POD_IP",
                "            - name: DOLLAR\n              value: /conf\n            - name: MY_POD_IP",
            );
            cluster.apply(&one);
        }
        cluster.ready(SOON);
        let pods = cluster.pods("");
        assert_eq!(pods.len(), spellings.len());
        for pod in &pods {
            assert_eq!(load::post(pod.at(4318), "traces", &load::request("shop", 1)), 200, "{}", pod.all_said());
        }
        pods.iter().for_each(|pod| leaves_well(pod));
    });
}

#[test]
fn the_images_own_configuration_serves_where_a_pod_names_none() {
    inside("the_images_own_configuration_serves_where_a_pod_names_none", image, |tree| {
        let cluster = cluster("bare", 1, tree);
        cluster.apply(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: bare}\nspec:\n  securityContext: {runAsNonRoot: true, runAsUser: 10001}\n  containers:\n  - name: c\n    image: ours\n    \
             securityContext: {readOnlyRootFilesystem: true}\n    readinessProbe: {httpGet: {port: 13133}}\n",
        );
        cluster.ready(SOON);
        let pod = cluster.pod("bare");
        passes_spans(&pod);
        leaves_well(&pod);
    });
}
