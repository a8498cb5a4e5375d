//! The setup of the tutorial with its real parts: Jaeger, Prometheus, the Go client, and the collector with the
//! tutorial's configuration and command line.
//!
//! As root it runs in its own network namespace, where 192.168.0.152, port 30080 and the name of Jaeger's service lead
//! to the same parts as in the tutorial's cluster. Otherwise these three are substituted.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use support::*;

/// Set for the test process that runs inside the namespace.
const INSIDE: &str = "OTELCORE_SCENE_INSIDE";
const JAEGER: &str = "jaeger-collector.istio-system.svc.cluster.local";

#[test]
fn spans_reach_jaeger_and_series_reach_prometheus() {
    if std::env::var_os(INSIDE).is_some() {
        set_up_cluster_network();
        return run_tutorial(&Environment { client: "192.168.0.152:30080", substituted: false });
    }
    let unshare = ["--net", "--mount", "--pid", "--fork", "--kill-child"];
    let can = Command::new("unshare").args(unshare).arg("true").output().is_ok_and(|o| o.status.success());
    if !can {
        eprintln!("no namespaces here: address, port and name are substituted");
        return run_tutorial(&Environment { client: "127.0.0.1:4317", substituted: true });
    }
    let status = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "spans_reach_jaeger_and_series_reach_prometheus", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "the scene failed inside its namespace: {status}");
}

struct Environment {
    client: &'static str,
    substituted: bool,
}

fn run_script(command: &str) {
    let done = Command::new("sh").args(["-ec", command]).status().unwrap();
    assert!(done.success(), "{command}: {done}");
}

/// Sets up the node's address, the node port and the service's name.
fn set_up_cluster_network() {
    run_script("ip link set lo up && ip addr add 192.168.0.152/32 dev lo");
    let hosts = empty_test_dir("scene-hosts").join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 localhost {JAEGER}\n")).unwrap();
    run_script(&format!("mount --bind {} /etc/hosts", hosts.display()));
    // A NodePort service: connections to port 30080 go to the pod's port 4317.
    let node_port = TcpListener::bind("192.168.0.152:30080").unwrap();
    thread::spawn(move || {
        for client in node_port.incoming().flatten() {
            if let Ok(pod) = TcpStream::connect("127.0.0.1:4317") {
                relay(client.try_clone().unwrap(), pod.try_clone().unwrap());
                relay(pod, client);
            }
        }
    });
}

fn relay(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(n) = from.read(&mut buffer)
            && n > 0
            && to.write_all(&buffer[..n]).is_ok()
        {}
        let _ = to.shutdown(Shutdown::Write);
    });
}

fn run_tutorial(environment: &Environment) {
    let tools = ["jaeger-all-in-one", "telemetrygen", "prometheus", "example-client"].map(tool);
    let [Some(jaeger), Some(telemetrygen), Some(prometheus), Some(example)] = tools else { return };
    let dir = empty_test_dir("scene");

    let jaeger_log = dir.join("jaeger.log");
    // Its OTLP ports are off: in the cluster they belong to another pod.
    let mut jaeger = Process::start(
        Command::new(jaeger).arg("--collector.otlp.enabled=false").env("SPAN_STORAGE_TYPE", "memory"),
        &jaeger_log,
    );
    wait_for_listener("127.0.0.1:14250", &mut jaeger);
    wait_for_listener("127.0.0.1:16686", &mut jaeger);

    let scrape = "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: otel-collector\n    static_configs: [{targets: [\"127.0.0.1:9092\"]}]\n";
    std::fs::write(dir.join("prometheus.yml"), scrape).unwrap();
    let mut prometheus = Process::start(
        Command::new(prometheus)
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg("--web.listen-address=127.0.0.1:9090"),
        &dir.join("prometheus.log"),
    );

    let mut collector = collector(&dir, environment);
    wait_for_listener("127.0.0.1:4317", &mut collector);
    let (status, health) = http_get("127.0.0.1:13133", "/");
    assert_eq!(status, 200, "{health}");

    // The client: the tutorial's file where it is beside the project.
    let (_, is_seed) = tutorial_file("main.go", "main.go");
    let client = if is_seed { tool("tutorial-client") } else { None }.unwrap_or(example);
    if environment.substituted {
        eprintln!("skipped: the Go client dials 192.168.0.152:30080, which needs a namespace");
    } else {
        let mut client = Process::start(&mut Command::new(client), &dir.join("client.log"));
        assert_eq!(client.wait_for_exit(Duration::from_secs(60)), 0, "{}", client.log_text());
    }
    let mut metrics_client =
        Process::start(
            Command::new(telemetrygen)
                .args(["metrics", "--otlp-insecure", "--otlp-endpoint", environment.client])
                .args(["--metrics", "5", "--otlp-metric-name", "scene"]),
            &dir.join("telemetrygen.log"),
        );
    assert_eq!(metrics_client.wait_for_exit(Duration::from_secs(60)), 0, "{}", metrics_client.log_text());

    if !environment.substituted {
        let spans = wait_until("eleven spans in Jaeger", || {
            let (_, response) = http_get("127.0.0.1:16686", "/api/traces?service=test-service");
            (response.matches("\"spanID\"").count() >= 21).then_some(response)
        });
        for name in ["CollectorExporter-Example", "Sample-0", "Sample-9", "chocolate", "CHILD_OF", "test-tracer"] {
            assert!(spans.contains(name), "{name} is missing in {spans}");
        }
        // Eleven spans, ten of them with a reference to the parent.
        assert_eq!(spans.matches("\"operationName\"").count(), 11, "{spans}");
        assert_eq!(spans.matches("\"refType\":\"CHILD_OF\"").count(), 10, "{spans}");
    }
    wait_for_listener("127.0.0.1:9090", &mut prometheus);
    wait_until("a series in Prometheus", || {
        let (_, response) = http_get("127.0.0.1:9090", "/api/v1/query?query=default_scene");
        response.contains("\"__name__\":\"default_scene\"").then_some(response)
    });
    let (_, page) = http_get("127.0.0.1:9092", "/metrics");
    assert!(page.contains("# TYPE default_scene gauge"), "{page}");

    collector.signal("TERM");
    assert_eq!(collector.wait_for_exit(Duration::from_secs(30)), 0, "{}", collector.log_text());
    let log = collector.log_text();
    for message in [
        "--mem-ballast-size-mib is deprecated",
        "'insecure' is deprecated",
        "the logging exporter has been deprecated, use the debug exporter instead",
        "the jaeger exporter has been removed from the Go collector; it is kept here",
        "Everything is ready. Begin running and processing data.",
        "Shutdown complete.",
    ] {
        assert_eq!(log.matches(message).count(), 1, "{message} once in\n{log}");
    }
}

/// The collector with the ConfigMap's configuration, under the Deployment's command line.
fn collector(dir: &Path, environment: &Environment) -> Process {
    let (manifest, is_seed) = tutorial_file("otel-collector.yaml", "otel-collector-config.yaml");
    let mut config = std::fs::read_to_string(manifest).unwrap();
    if is_seed {
        config = block_scalar(&config, "otel-collector-config");
    }
    if environment.substituted {
        config = config.replace(JAEGER, "127.0.0.1");
    }
    let path = dir.join("otel-collector-config.yaml");
    std::fs::write(&path, config).unwrap();
    // Started under the name of the command in the manifest.
    let command = dir.join("otelcol");
    std::os::unix::fs::symlink(otelcore(), &command).unwrap();
    Process::start(
        Command::new(&command)
            .arg(format!("--config={}", path.display()))
            .arg("--mem-ballast-size-mib=683")
            .env("GOGC", "80"),
        &dir.join("collector.log"),
    )
}
