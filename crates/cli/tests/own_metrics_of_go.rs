//! The page of own metrics beside that of the Go collector 0.155, after the same traffic, at each level: names, types, help, labels, bounds of
//! histograms, and the values of what is counted. The Go collector's answer is recorded, and compared with the running one where
//! `scripts/tools` has built it.
//!
//! `OTELCORE_OWN_METRICS=write cargo test -p otelcore-cli --test own_metrics_of_go` writes the record.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/sink.rs"]
mod sink;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sink::OtlpHttpBackend;
use support::*;

const RECORD: &str = "data/own-metrics-of-go.tsv";
const LEVELS: [&str; 3] = ["basic", "normal", "detailed"];

/// Families of the Go collector that are not here, each with the reason.
const ABSENT: [(&str, &str); 2] = [
    ("promhttp_", "of Go's library of Prometheus, about its own page"),
    ("otelcol_process_runtime_total_alloc_bytes", "no allocator counts it"),
];

/// Families whose help is another, since the value is another.
const OTHER_HELP: [&str; 2] =
    ["otelcol_process_runtime_heap_alloc_bytes", "otelcol_process_runtime_total_sys_memory_bytes"];

/// A family: its type, its help, and its series by their labels, each with a value or bounds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Family {
    kind: String,
    help: String,
    series: BTreeMap<String, String>,
}

/// What was counted exactly, so that it is the same in every run.
fn has_known_value(family: &str) -> bool {
    ["otelcol_receiver_", "otelcol_exporter_sent_", "otelcol_exporter_send_failed_", "otelcol_exporter_queue_capacity"]
        .iter()
        .any(|start| family.starts_with(start))
}

/// The families of a page. `ports` are replaced by their names; what differs from run to run is left out.
fn families(page: &str, ports: &[(u16, &str)]) -> BTreeMap<String, Family> {
    let mut found: BTreeMap<String, Family> = BTreeMap::new();
    for line in page.lines() {
        if let Some((name, text)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            found.entry(name.to_owned()).or_default().help = text.to_owned();
        } else if let Some((name, text)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            found.entry(name.to_owned()).or_default().kind = text.to_owned();
        } else if !line.starts_with('#') {
            let (head, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = head.split_once('{').unwrap_or((head, ""));
            let is_part = |suffix: &str| name.strip_suffix(suffix).filter(|family| found.contains_key(*family));
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|s| is_part(s)).unwrap_or(name).to_owned();
            let mut bound = None;
            let mut kept = Vec::new();
            for label in labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty()) {
                let (key, value) = label.split_once("=\"").unwrap();
                let value = value.trim_end_matches('"');
                let port = ports.iter().find(|(port, _)| port.to_string() == value).map(|(_, name)| *name);
                match key {
                    "le" => bound = Some(value.to_owned()),
                    _ => kept.push(format!("{key}={}", port.unwrap_or(value))),
                }
            }
            kept.sort();
            let known = has_known_value(&family);
            let series = found.entry(family).or_default().series.entry(kept.join(",")).or_default();
            match bound {
                Some(bound) => _ = write!(series, "{}{bound}", if series.is_empty() { "le " } else { " " }),
                None if known => series.push_str(value),
                None => {}
            }
        }
    }
    found.remove("target_info");
    found
}

/// Runs a collector with the traffic of the comparison, and returns its page.
fn page_of(binary: &Path, name: &str, level: &str) -> BTreeMap<String, Family> {
    let dir = empty_test_dir(&format!("own-metrics-{name}-{level}"));
    let backend = OtlpHttpBackend::start();
    let [grpc, http, page, closed] = std::array::from_fn(|_| free_port());
    let config = format!(
        "receivers:
  otlp: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{grpc}\"}}, http: {{endpoint: \"127.0.0.1:{http}\"}}}}}}
processors:
  batch: {{timeout: 100ms}}
exporters:
  debug: {{verbosity: basic}}
  otlp_grpc: {{endpoint: \"127.0.0.1:{closed}\", tls: {{insecure: true}}, retry_on_failure: {{enabled: false}}}}
  otlp_http: {{endpoint: \"{}\", compression: none}}
service:
  telemetry:
    metrics: {{level: {level}, readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {page}}}}}}}}}]}}
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [debug, otlp_grpc]}}
    metrics: {{receivers: [otlp], processors: [batch], exporters: [debug, otlp_http]}}
    logs: {{receivers: [otlp], processors: [batch], exporters: [debug]}}
",
        backend.endpoint()
    );
    let path = dir.join("config.yaml");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(binary);
    let mut process = Process::start(command.arg(format!("--config={}", path.display())), &dir.join("log"));
    wait_for_listener(&format!("127.0.0.1:{http}"), &mut process);
    wait_for_listener(&format!("127.0.0.1:{grpc}"), &mut process);
    for (protocol, port) in [("grpc", grpc), ("http/protobuf", http)] {
        let endpoint = format!("--endpoint=http://127.0.0.1:{port}");
        let mut command = Command::new(otelcore());
        let sent = command.args(["send", &endpoint, &format!("--protocol={protocol}"), "--count=30"]).output().unwrap();
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stdout));
    }
    let ports = [(closed, "CLOSED"), (backend.port, "BACKEND"), (grpc, "GRPC"), (http, "HTTP")];
    let mut last = BTreeMap::new();
    wait_until(&format!("{name}: everything is counted"), || {
        last = families(&http_get(&format!("127.0.0.1:{page}"), "/metrics").1, &ports);
        let is_there = |family: &str, exporter: &str| {
            last.get(family).is_some_and(|family: &Family| {
                family.series.iter().any(|(labels, value)| labels.contains(exporter) && value == "60")
            })
        };
        let all = is_there("otelcol_exporter_sent_spans", "exporter=debug")
            && is_there("otelcol_exporter_sent_log_records", "exporter=debug")
            && is_there("otelcol_exporter_sent_metric_points", "exporter=debug")
            && is_there("otelcol_exporter_sent_metric_points", "exporter=otlp_http")
            && is_there("otelcol_exporter_send_failed_spans", "exporter=otlp_grpc");
        all.then(String::new)
    });
    process.signal("TERM");
    process.wait_for_exit(Duration::from_secs(60));
    last
}

fn write_record(levels: &[(&str, BTreeMap<String, Family>)]) -> String {
    let mut text = String::from(
        "# The page of own metrics of the Go collector 0.155: level, family, type, help, labels, value or bounds of a series.\n",
    );
    for (level, families) in levels {
        for (name, family) in families {
            for (labels, value) in &family.series {
                let _ = writeln!(text, "{level}\t{name}\t{}\t{}\t{labels}\t{value}", family.kind, family.help);
            }
        }
    }
    text
}

fn read_record(text: &str, level: &str) -> BTreeMap<String, Family> {
    let mut found: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [of, name, kind, help, labels, value] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        if of == level {
            let family = found.entry(name.to_owned()).or_default();
            (family.kind, family.help) = (kind.to_owned(), help.to_owned());
            family.series.insert(labels.to_owned(), value.to_owned());
        }
    }
    found
}

/// What the Go collector shows and we do not, or in another way.
fn differences(ours: &BTreeMap<String, Family>, go: &BTreeMap<String, Family>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, theirs) in go {
        if ABSENT.iter().any(|(start, _)| name.starts_with(start)) {
            assert!(!ours.contains_key(name), "{name} is here, and listed as absent");
            continue;
        }
        let Some(own) = ours.get(name) else {
            found.push(format!("{name} is not on the page"));
            continue;
        };
        if own.kind != theirs.kind {
            found.push(format!("{name} is a {}, in Go a {}", own.kind, theirs.kind));
        }
        if own.help != theirs.help && !OTHER_HELP.contains(&name.as_str()) {
            found.push(format!("{name} has the help {:?}, in Go {:?}", own.help, theirs.help));
        }
        for (labels, value) in &theirs.series {
            match own.series.get(labels) {
                None => found.push(format!("{name}{{{labels}}} is not on the page: {:?}", own.series)),
                Some(own) if own != value => found.push(format!("{name}{{{labels}}} is {own}, in Go {value}")),
                Some(_) => {}
            }
        }
    }
    found
}

#[test]
fn page_has_what_the_go_collector_shows_after_the_same_traffic() {
    let path = project_root().join("crates/cli/tests").join(RECORD);
    if let Some(go) = tool("otelcol-0.155") {
        let running = LEVELS.map(|level| (level, page_of(&go, "go", level)));
        let text = write_record(&running);
        if std::env::var("OTELCORE_OWN_METRICS").is_ok_and(|v| v == "write") {
            std::fs::write(&path, &text).unwrap();
        }
        let recorded = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(recorded == text, "{RECORD} is not what the Go collector shows; OTELCORE_OWN_METRICS=write writes it");
    }
    let recorded = std::fs::read_to_string(&path).unwrap();
    for level in LEVELS {
        let go = read_record(&recorded, level);
        assert!(go.len() > 20, "{}", go.len());
        assert_eq!(differences(&page_of(&otelcore(), "own", level), &go), Vec::<String>::new(), "at level {level}");
    }
}
