//! The permitted dependencies between the crates of the workspace, compared with `cargo metadata`.

use std::collections::BTreeMap;
use std::process::Command;

/// Every crate of the workspace, and the crates of the workspace that it may depend on. Tests may depend on any crate.
const ALLOWED_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("thrift", &[]),
    ("go-number", &[]),
    ("go-regexp", &[]),
    ("pdata", &["go-number"]),
    ("go-text", &["pdata"]),
    ("expr", &["go-regexp", "go-number", "go-text"]),
    ("stanza", &["expr", "config", "pdata", "go-text", "go-regexp", "go-number"]),
    ("config", &["go-number"]),
    ("kubernetes", &["config"]),
    ("http", &[]),
    ("exposition", &["go-number"]),
    ("prometheus-translation", &["config", "exposition"]),
    ("ottl", &["pdata", "go-text", "go-number", "go-regexp"]),
    ("pipeline", &["pdata", "config"]),
    ("net", &["pipeline", "http", "pdata", "config"]),
    ("kafka-client", &["net", "http", "pipeline", "config"]),
    ("kubernetes-client", &["net", "pipeline", "config", "go-regexp"]),
    ("prometheus-discovery", &["kubernetes-client", "net", "pipeline", "config", "go-regexp"]),
    ("reactor", &["pipeline"]),
    ("storage", &["pipeline"]),
    ("stored-queue", &["storage", "pipeline", "pdata"]),
    ("testkit", &["reactor", "pipeline", "pdata", "config"]),
    ("processor-batch", &["pipeline", "pdata", "config"]),
    ("processor-tail-sampling", &["pipeline", "pdata", "config", "ottl", "go-regexp"]),
    ("processors", &["pipeline", "pdata", "config", "expr", "go-number", "go-regexp", "ottl"]),
    ("connector-span-metrics", &["pipeline", "pdata", "config", "go-regexp"]),
    ("connectors", &["pipeline", "pdata", "config", "go-number", "ottl"]),
    ("processor-memory-limiter", &["pipeline", "pdata", "config"]),
    ("processor-k8s-attributes", &["kubernetes-client", "pipeline", "pdata", "config", "go-regexp"]),
    ("processor-resource-detection", &["kubernetes-client", "net", "pipeline", "http", "pdata", "config", "go-regexp"]),
    ("scraped-metrics", &["pipeline", "pdata", "config", "go-regexp"]),
    ("receiver-host-metrics", &["scraped-metrics", "pipeline", "pdata", "config", "go-regexp"]),
    (
        "receiver-kubernetes",
        &["kubernetes-client", "scraped-metrics", "pipeline", "pdata", "config", "go-text", "go-regexp"],
    ),
    ("receiver-kafka-metrics", &["kafka-client", "scraped-metrics", "pipeline", "pdata", "config", "go-regexp"]),
    ("receiver-kubelet-stats", &["scraped-metrics", "kubernetes-client", "net", "pipeline", "pdata", "config"]),
    ("receiver-otlp", COMPONENT_DEPENDENCIES),
    ("receiver-file-log", &["stanza", "pipeline", "pdata", "config", "go-text", "go-regexp"]),
    ("receiver-prometheus", &["prometheus-discovery", "net", "pipeline", "exposition", "pdata", "config", "go-number"]),
    ("receivers", &["thrift", "net", "pipeline", "http", "pdata", "config"]),
    ("exporter-file", COMPONENT_DEPENDENCIES),
    ("exporter-jaeger", &["jaeger-translation", "net", "pipeline", "http", "pdata", "config"]),
    ("zipkin-translation", &["pdata", "config"]),
    ("jaeger-translation", &["pdata"]),
    ("exporter-kafka", &["kafka-client", "jaeger-translation", "zipkin-translation", "pipeline", "pdata", "config"]),
    // Messages may have the bodies of the receivers `jaeger` and `zipkin`, which that crate decodes.
    ("receiver-kafka", &["kafka-client", "receivers", "pipeline", "pdata", "config", "go-text", "go-regexp"]),
    ("exporter-loki", &["net", "pipeline", "prometheus-translation", "pdata", "config", "go-number"]),
    (
        "exporter-prometheus-remote-write",
        &["net", "pipeline", "prometheus-translation", "pdata", "config", "go-number"],
    ),
    ("exporter-zipkin", &["zipkin-translation", "net", "pipeline", "pdata", "config"]),
    ("exporter-prometheus", COMPONENT_DEPENDENCIES),
    ("exporter-debug", COMPONENT_DEPENDENCIES),
    ("exporter-otlp", &["kubernetes-client", "net", "pipeline", "http", "pdata", "config"]),
    (
        "extensions",
        &["stored-queue", "storage", "kubernetes-client", "ottl", "net", "http", "pipeline", "pdata", "config"],
    ),
    ("inproc", COMPONENT_DEPENDENCIES),
    ("static-memory", &[]),
    ("cli", &["otelcore", "static-memory"]),
    ("capi", &["otelcore"]),
    ("wasm", &["pdata", "config", "exposition", "kubernetes", "http"]),
];

const COMPONENT_DEPENDENCIES: &[&str] =
    &["net", "pipeline", "http", "exposition", "prometheus-translation", "pdata", "config"];

/// Normal dependencies by package, ours without the prefix.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--edges",
            "normal",
            "--depth",
            "1",
            "--prefix",
            "depth",
            "--format",
            "{p}",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in String::from_utf8_lossy(&output.stdout).lines().filter(|l| !l.is_empty()) {
        let (depth, rest) = line.split_at(1);
        let name = rest.split(' ').next().unwrap_or_default();
        if depth == "0" {
            current = name.to_owned();
            found.entry(current.clone()).or_default();
        } else {
            found.entry(current.clone()).or_default().push(name.to_owned());
        }
    }
    found
}

#[test]
fn workspace_dependencies_are_all_allowed() {
    let found = dependencies();
    for (name, allowed) in ALLOWED_DEPENDENCIES {
        let package = format!("otelcore-{name}");
        let actual = found.get(&package).unwrap_or_else(|| panic!("{package} is not in the workspace"));
        for dependency in actual.iter().filter(|d| d.starts_with("otelcore")) {
            let short = dependency.strip_prefix("otelcore-").unwrap_or(dependency);
            assert!(allowed.contains(&short), "{package} must not depend on {dependency}");
        }
    }
    let known = |package: &str| {
        let short = package.strip_prefix("otelcore-").unwrap_or(package);
        ALLOWED_DEPENDENCIES.iter().any(|(name, _)| *name == short)
            || ["otelcore", "bench", "instructions", "pods", "test-support"].contains(&short)
    };
    for package in found.keys() {
        assert!(known(package), "{package} has no row in the map");
    }
}

#[test]
fn no_async_runtime_is_linked() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "-p", "otelcore-cli", "--edges", "normal,features", "--prefix", "none", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(tree.contains("h2 v0.4"), "{tree}");
    for forbidden in
        ["tokio feature \"rt\"", "tokio feature \"rt-multi-thread\"", "hyper v", "tonic v", "async-std v", "smol v"]
    {
        assert!(!tree.contains(forbidden), "{forbidden} is linked");
    }
}
