//! Shared parts of the pod tests: the image's tree, a cluster of it, manifests, and reading the collector's own page.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use otelcore_pods::load::wait_until;
use otelcore_pods::{Cluster, ClusterConfig, Image, Pod, http, tool};

/// The time limit for anything that is expected to work: the machines of CI are small and busy.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The root tree of the image.
pub fn image() -> Option<PathBuf> {
    otelcore_pods::image(env!("CARGO_TARGET_TMPDIR"))
}

/// A cluster in which all images are ours, except for those of programs of this machine.
pub fn cluster(test: &str, nodes: u8, tree: PathBuf) -> Cluster {
    let image = Image {
        root: Some(tree),
        entrypoint: vec!["/otelcol".to_owned()],
        cmd: vec!["--config=/etc/otelcol/config.yaml".to_owned()],
        user: (10001, 10001),
    };
    let pods = env!("CARGO_BIN_EXE_pods");
    // An application that does nothing until it is stopped.
    let waiting_command = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"].map(str::to_owned).to_vec();
    let application = Image { entrypoint: waiting_command, ..Image::host() };
    Cluster::start(ClusterConfig {
        nodes,
        dir: otelcore_pods::empty_dir(env!("CARGO_TARGET_TMPDIR"), test),
        relay_binary: PathBuf::from(pods),
        image,
        images: vec![("application".to_owned(), application), ("machine".to_owned(), Image::host())],
    })
}

/// A manifest of `vectors/`.
pub fn read_vector(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name)).unwrap()
}

/// A file that the real charts or the real Operator have written, if it is next to the project.
pub fn read_rendered(name: &str) -> Option<String> {
    let found = std::fs::read_to_string(otelcore_pods::project_root().join("../shared/reference/k8s").join(name)).ok();
    if found.is_none() {
        eprintln!("skipped: {name} does not lie beside the project");
    }
    found
}

/// Starts a Jaeger in the cluster, under the service that the manifests name; returns false if there is no Jaeger
/// binary.
pub fn start_jaeger(cluster: &Cluster, namespace: &str) -> bool {
    let Some(program) = tool("jaeger-all-in-one") else { return false };
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: jaeger-collector, namespace: {namespace}}}\nspec: {{selector: {{app: jaeger}}, ports: [{{name: jaeger, port: 14250}}, {{name: otlp, port: 4317}}]}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: jaeger, namespace: {namespace}, labels: {{app: jaeger}}}}\nspec:\n  containers:\n  - name: jaeger\n    image: machine\n    \
         command: [{}, --collector.otlp.enabled=true, --collector.otlp.grpc.host-port=:4317]\n    env: [{{name: SPAN_STORAGE_TYPE, value: memory}}]\n    \
         readinessProbe: {{tcpSocket: {{port: 14250}}, periodSeconds: 1}}\n    startupProbe: {{httpGet: {{port: 16686, path: /}}, periodSeconds: 1, failureThreshold: 300}}\n",
        program.display()
    ));
    true
}

/// The sum of a metric's samples on the collector's own page, of those with a given label.
pub fn metric_sum(page: SocketAddr, name: &str, label: &str) -> Option<f64> {
    let (status, text) = http::get(page, "/metrics").ok()?;
    assert_eq!(status, 200, "{text}");
    let sample = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        ((labels.is_empty() || labels.starts_with('{')) && labels.contains(label)).then(|| value.parse::<f64>().ok())?
    };
    let found: Vec<f64> = text.lines().filter_map(sample).collect();
    (!found.is_empty()).then(|| found.iter().sum())
}

/// Waits until a metric has a value.
pub fn wait_for_metric(pod: &Pod, name: &str, label: &str, expected: f64) {
    let what = format!("{name}{{{label}}} of {} is {expected}", pod.name());
    wait_until(&what, TIME_LIMIT, || metric_sum(pod.address(8888), name, label).filter(|v| (v - expected).abs() < 0.5));
}
