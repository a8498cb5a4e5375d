//! The pods of the Operator and the community chart, in files that we wrote in the same structure: each starts with its
//! command line and environment, is reported healthy by its probes, passes data, and ends when it is asked to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use otelcore_pods::load::{self, wait_until};
use otelcore_pods::{Cluster, Pod, http, run_in_namespaces};
use support::*;

fn start_with_vectors(test: &str, nodes: u8, vectors: &[&str], tree: std::path::PathBuf) -> Cluster {
    let cluster = cluster(test, nodes, tree);
    for name in vectors {
        cluster.apply(&read_vector(name));
    }
    cluster.wait_until_ready(TIME_LIMIT);
    cluster
}

/// Checks that spans sent to a pod's own address reach its `debug` exporter, and that its own page counts them.
fn assert_passes_spans(pod: &Pod) {
    assert_eq!(load::post(pod.address(4318), "traces", &load::trace_request("shop", 1)), 200, "{}", pod.all_output());
    wait_for_metric(pod, "otelcol_receiver_accepted_spans", "http", 10.0);
    wait_for_metric(pod, "otelcol_exporter_sent_spans", "\"debug\"", 10.0);
}

/// Checks that there were no errors, and that each container of the pod ended with 0 after SIGTERM.
fn assert_stops_cleanly(pod: &Pod) {
    let exits = pod.stop();
    assert!(exits.iter().all(|e| *e == 0), "{exits:?}\n{}", pod.all_output());
    let output = pod.all_output();
    assert!(output.contains("Shutdown complete"), "{output}");
    assert!(!output.contains("\"level\":\"error\"") && !output.contains("\terror\t"), "{output}");
}

#[test]
fn operator_simplest_deployment_serves() {
    run_in_namespaces("operator_simplest_deployment_serves", image, |tree| {
        let cluster = start_with_vectors("simplest", 1, &["operator-simplest.yaml"], tree);
        let pod = &cluster.pods("Deployment/default/simplest-collector")[0];
        // There is no probe, so ready means only that it runs.
        wait_until("it listens", TIME_LIMIT, || TcpStream::connect(pod.address(4318)).ok());
        assert_passes_spans(pod);
        // It is reachable by a ClusterIP as well, and its own page by the monitoring service.
        let service = cluster.service_address("default", "simplest-collector", 4318);
        assert_eq!(load::post(service, "traces", &load::trace_request("shop", 2)), 200);
        let page = cluster.service_address("default", "simplest-collector-monitoring", 8888);
        wait_until("twenty spans", TIME_LIMIT, || {
            metric_sum(page, "otelcol_exporter_sent_spans", "").filter(|v| *v > 19.5)
        });
        assert_stops_cleanly(pod);
    });
}

#[test]
fn operator_gateway_accepts_its_arguments_and_the_agent_connects() {
    run_in_namespaces("operator_gateway_accepts_its_arguments_and_the_agent_connects", image, |tree| {
        let cluster = start_with_vectors("gateway", 2, &["operator-gateway.yaml", "operator-agent.yaml"], tree);
        let gateways = cluster.pods("Deployment/default/gateway-collector");
        assert_eq!(gateways.len(), 2);
        for pod in &gateways {
            assert_eq!(http::get(pod.address(13133), "/").unwrap().0, 200);
            TcpStream::connect(pod.address(4317)).unwrap();
            TcpStream::connect(pod.address(14317)).unwrap();
            for gate in ["component.UseLocalHostAsDefaultHost", "confmap.unifyEnvVarExpansion"] {
                assert!(pod.all_output().contains(gate), "no line about {gate}:\n{}", pod.all_output());
            }
        }
        // Each node's agent listens at the node's own address, and sends to the service of the gateway.
        let agents = cluster.pods("DaemonSet/default/agent-collector");
        assert_eq!(agents.iter().map(|a| a.node_name()).collect::<Vec<_>>(), ["node-0", "node-1"]);
        for (n, agent) in agents.iter().enumerate() {
            assert_eq!(agent.address(4318), cluster.node_address(n, 4318));
            wait_until("it listens", TIME_LIMIT, || TcpStream::connect(agent.address(4318)).ok());
            assert_eq!(load::post(agent.address(4318), "traces", &load::trace_request("shop", n as u64)), 200);
            assert_eq!(load::post(agent.address(4318), "metrics", &load::gauge_request("orders", 7)), 200);
            assert_eq!(load::post(agent.address(4318), "logs", &load::log_request("a line")), 200);
        }
        let sum = |name: &str| gateways.iter().filter_map(|g| metric_sum(g.address(8888), name, "")).sum::<f64>();
        wait_until("twenty spans", TIME_LIMIT, || (sum("otelcol_exporter_sent_spans") > 19.5).then_some(()));
        wait_until("two lines", TIME_LIMIT, || (sum("otelcol_exporter_sent_log_records") > 1.5).then_some(()));
        let shows = |g: &Pod| http::get(g.address(8889), "/metrics").is_ok_and(|(_, page)| page.contains("orders{"));
        wait_until("the point on a page", TIME_LIMIT, || gateways.iter().any(|g| shows(g)).then_some(()));
        agents.iter().chain(&gateways).for_each(|p| assert_stops_cleanly(p));
    });
}

#[test]
fn operator_sidecar_reads_a_variable_and_ends_after_its_application() {
    run_in_namespaces("operator_sidecar_reads_a_variable_and_ends_after_its_application", image, |tree| {
        let cluster = start_with_vectors("sidecar", 1, &["operator-gateway.yaml", "operator-sidecar.yaml"], tree);
        let (pod, gateways) = (cluster.pod("app"), cluster.pods("Deployment/default/gateway-collector"));
        assert_eq!(load::post(pod.address(4318), "traces", &load::trace_request("shop", 1)), 200);
        let sent = |g: &std::sync::Arc<Pod>| metric_sum(g.address(8888), "otelcol_exporter_sent_spans", "");
        wait_until("ten spans behind the gateway", TIME_LIMIT, || {
            (gateways.iter().filter_map(sent).sum::<f64>() > 9.5).then_some(())
        });
        // The kubelet replaced `$$` by `$` in `$$literal $${env:NO}`, so that the second part is expanded and the first
        // stays.
        assert_eq!(load::post(pod.address(4318), "metrics", &load::gauge_request("orders", 7)), 200);
        let page = wait_until("the point on its page", TIME_LIMIT, || {
            http::get(pod.address(8889), "/metrics").ok().map(|(_, page)| page).filter(|page| page.contains("orders{"))
        });
        assert!(page.contains(r#"bare="app""#) && page.contains(r#"literal="$literal .""#), "{page}");
        let exits = pod.stop();
        let sidecar = pod.container_names().iter().position(|n| *n == "otc-container").unwrap();
        assert_eq!(exits[sidecar], 0, "{}", pod.all_output());
    });
}

#[test]
fn operator_statefulset_keeps_its_claim_after_a_restart() {
    run_in_namespaces("operator_statefulset_keeps_its_claim_after_a_restart", image, |tree| {
        let cluster = start_with_vectors("statefulset", 1, &["operator-statefulset.yaml"], tree);
        for name in ["prom-collector-0", "prom-collector-1"] {
            let pod = cluster.pod(name);
            wait_until("it listens", TIME_LIMIT, || TcpStream::connect(pod.address(4318)).ok());
            assert_passes_spans(&pod);
        }
        let exits = cluster.restart("StatefulSet/default/prom-collector");
        assert_eq!(exits, [[0], [0]]);
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("statefulset/claims/q-prom-collector-0");
        let written = std::fs::read_to_string(folder.join("prom-collector-0")).unwrap();
        assert!(written.contains("resource spans"), "{written}");
    });
}

fn run_chart_test(mode: &str, test: &str, check: impl FnOnce(&Cluster, &Pod)) {
    run_in_namespaces(test, image, |tree| {
        let cluster = start_with_vectors(&format!("chart-{mode}"), 1, &[&format!("chart-{mode}.yaml")], tree);
        let pod = cluster.pods(&cluster.workloads()[0])[0].clone();
        assert_eq!(http::get(pod.address(13133), "/").unwrap().0, 200);
        assert_passes_spans(&pod);
        assert_eq!(load::post(pod.address(4318), "metrics", &load::gauge_request("orders", 7)), 200);
        assert_eq!(load::post(pod.address(4318), "logs", &load::log_request("a line")), 200);
        wait_for_metric(&pod, "otelcol_exporter_sent_metric_points", "\"debug\"", 1.0);
        wait_for_metric(&pod, "otelcol_exporter_sent_log_records", "\"debug\"", 1.0);
        // The attributes of the chart's resource are strings, whatever their values look like.
        let (_, page) = http::get(pod.address(8888), "/metrics").unwrap();
        assert!(page.contains(&format!("k8s_pod_name=\"{}\"", pod.name())), "{page}");
        assert!(page.contains("k8s_node_name=\"node-0\""), "{page}");
        check(&cluster, &pod);
    });
}

#[test]
fn chart_deployment_finishes_open_requests_while_not_healthy() {
    let test = "chart_deployment_finishes_open_requests_while_not_healthy";
    run_chart_test("deployment", test, |_, pod| {
        // The limit of the container, to which the chart's percentages refer.
        assert!(pod.all_output().contains("256"), "the limit is not what it counts from:\n{}", pod.all_output());
        let body = load::trace_request("shop", 2);
        let mut slow_request = TcpStream::connect(pod.address(4318)).unwrap();
        slow_request.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        let head = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/json\r\n";
        write!(slow_request, "{head}Content-Length: {}\r\n\r\n{}", body.len(), &body[..100]).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        std::thread::scope(|scope| {
            let stopping = scope.spawn(|| pod.stop());
            wait_until("health says no", TIME_LIMIT, || {
                http::get(pod.address(13133), "/").ok().filter(|(status, _)| *status == 503)
            });
            slow_request.write_all(&body.as_bytes()[100..]).unwrap();
            let mut response = String::new();
            slow_request.read_to_string(&mut response).unwrap();
            assert!(response.starts_with("HTTP/1.1 200") || response.starts_with("HTTP/1.0 200"), "{response}");
            assert_eq!(stopping.join().unwrap(), [0], "{}", pod.all_output());
        });
        assert!(pod.all_output().contains("\"undelivered_items\": 0"), "{}", pod.all_output());
    });
}

#[test]
fn chart_daemonset_is_reachable_at_host_ports() {
    run_chart_test("daemonset", "chart_daemonset_is_reachable_at_host_ports", |cluster, pod| {
        assert_eq!(load::post(cluster.node_address(0, 4318), "traces", &load::trace_request("shop", 2)), 200);
        wait_for_metric(pod, "otelcol_exporter_sent_spans", "\"debug\"", 20.0);
        assert_stops_cleanly(pod);
    });
}

#[test]
fn chart_statefulset_serves() {
    run_chart_test("statefulset", "chart_statefulset_serves", |_, pod| {
        assert!(pod.name().ends_with("-0"), "{}", pod.name());
        assert_stops_cleanly(pod);
    });
}

#[test]
fn configuration_of_older_operators_serves() {
    run_in_namespaces("configuration_of_older_operators_serves", image, |tree| {
        let cluster = start_with_vectors("old", 1, &["operator-old-spellings.yaml"], tree);
        let pod = cluster.pods("Deployment/default/old-collector")[0].clone();
        assert_eq!(
            load::post(pod.address(4318), "traces", &load::trace_request("shop", 1)),
            200,
            "{}",
            pod.all_output()
        );
        wait_for_metric(&pod, "otelcol_exporter_sent_spans", "logging", 10.0);
        let (_, page) = http::get(pod.address(8888), "/metrics").unwrap();
        assert!(page.contains("k8s_node_name=\"123\""), "a name that looks like a number stays one: {page}");
        let output = pod.all_output();
        for old in ["logging", "otlphttp", "memory_ballast", "address", "component.UseLocalHostAsDefaultHost"] {
            let is_reported =
                output.lines().any(|l| l.contains(old) && (l.contains("warn") || l.contains("deprecated")));
            assert!(is_reported, "no line about {old}:\n{output}");
        }
        assert_stops_cleanly(&pod);
    });
}

#[test]
fn every_argument_spelling_and_command_name_starts() {
    run_in_namespaces("every_argument_spelling_and_command_name_starts", image, |tree| {
        let cluster = cluster("spellings", 1, tree);
        let chart = read_vector("chart-deployment.yaml");
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
        cluster.wait_until_ready(TIME_LIMIT);
        let pods = cluster.pods("");
        assert_eq!(pods.len(), spellings.len());
        for pod in &pods {
            assert_eq!(
                load::post(pod.address(4318), "traces", &load::trace_request("shop", 1)),
                200,
                "{}",
                pod.all_output()
            );
        }
        pods.iter().for_each(|pod| assert_stops_cleanly(pod));
    });
}

#[test]
fn image_default_configuration_serves() {
    run_in_namespaces("image_default_configuration_serves", image, |tree| {
        let cluster = cluster("bare", 1, tree);
        cluster.apply(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: bare}\nspec:\n  securityContext: {runAsNonRoot: true, runAsUser: 10001}\n  containers:\n  - name: c\n    image: ours\n    \
             securityContext: {readOnlyRootFilesystem: true}\n    readinessProbe: {httpGet: {port: 13133}}\n",
        );
        cluster.wait_until_ready(TIME_LIMIT);
        let pod = cluster.pod("bare");
        assert_passes_spans(&pod);
        assert_stops_cleanly(&pod);
    });
}
