//! Own metrics and log records that the binary pushes: to an HTTP server directly, and over gRPC through a second collector.
//! Metrics are compared with the page of the same collector, and with what the Go collector pushes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/sink.rs"]
mod sink;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sink::OtlpHttpBackend;
use support::*;

/// What the Go collector 0.155 pushed: scope, name, unit, type and whether it is monotonic.
const OF_GO: &str = include_str!("data/pushed-metrics-of-go.tsv");

fn start(dir: &Path, name: &str, config: &str, listener: &str) -> Process {
    let path = dir.join(format!("{name}.yaml"));
    std::fs::write(&path, config).unwrap();
    let log = dir.join(format!("{name}.log"));
    let mut process = Process::start(Command::new(otelcore()).arg(format!("--config={}", path.display())), &log);
    wait_for_listener(listener, &mut process);
    process
}

/// A collector that passes on metrics and logs from gRPC to `backend`.
fn start_gateway(dir: &Path, backend: &OtlpHttpBackend) -> (Process, String) {
    let grpc = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"{grpc}\"}}}}}}}}
exporters: {{otlp_http: {{endpoint: \"{}\", compression: none}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    metrics: {{receivers: [otlp], exporters: [otlp_http]}}
    logs: {{receivers: [otlp], exporters: [otlp_http]}}
",
        backend.endpoint()
    );
    let process = start(dir, "gateway", &config, &grpc);
    (process, grpc)
}

fn text<'v>(item: &'v Value, key: &str) -> &'v str {
    item[key].as_str().unwrap_or_default()
}

/// `name{label="value"}` of a point with a number, as on the page, and its value.
fn page_line(item: &Value) -> Option<(String, f64)> {
    let value = &item["value"];
    let number = value["i"].as_str().or_else(|| value["d"].as_str())?.parse().ok()?;
    let attributes = item["attributes"].as_object().unwrap();
    let labels = attributes.iter().map(|(key, value)| {
        let value = value.as_str().unwrap_or_else(|| value["s"].as_str().unwrap_or_default());
        format!("{}=\"{value}\"", key.replace('.', "_"))
    });
    let labels = labels.collect::<Vec<_>>().join(",");
    let name = text(item, "name");
    Some((if labels.is_empty() { name.to_owned() } else { format!("{name}{{{labels}}}") }, number))
}

fn page_values(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).filter_map(|(k, v)| Some((k.to_owned(), v.parse().ok()?))).collect()
}

#[test]
fn pushed_metrics_are_those_of_the_page_in_the_form_of_the_go_collector() {
    let dir = empty_test_dir("own-metrics");
    let backend = OtlpHttpBackend::start();
    let (_gateway, grpc) = start_gateway(&dir, &backend);
    let (otlp, page) = (format!("127.0.0.1:{}", free_port()), free_port());
    let config = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{otlp}\"}}}}}}}}
processors: {{batch: {{timeout: 50ms}}}}
exporters: {{debug: }}
service:
  telemetry:
    resource: {{attributes: [{{name: team, value: own}}, {{name: service.name, value: pushing}}]}}
    metrics:
      level: detailed
      readers:
        - periodic: {{interval: 200, exporter: {{otlp: {{protocol: grpc, endpoint: \"http://{grpc}\", compression: gzip}}}}}}
        - pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {page}}}}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [debug]}}
    metrics: {{receivers: [otlp], exporters: [debug]}}
"
    );
    let mut process = start(&dir, "pushing", &config, &otlp);
    let head = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf";
    assert_eq!(http_request(&otlp, head, &span_request("a")).0, 200);
    wait_until("the span at the exporter", || {
        let (_, page) = http_get(&format!("127.0.0.1:{page}"), "/metrics");
        page.contains("otelcol_exporter_sent_spans{exporter=\"debug\"} 1").then_some(page)
    });
    let (_, page_text) = http_get(&format!("127.0.0.1:{page}"), "/metrics");
    process.signal("TERM");
    assert_eq!(process.wait_for_exit(Duration::from_secs(60)), 0, "{}", process.log_text());
    let mut items = Vec::new();
    // The last push has the final values.
    wait_until("the last push", || {
        items.extend(backend.take());
        let has_span = |item: &Value| text(item, "name") == "otelcol_exporter_sent_spans" && item["value"]["i"] == "1";
        items.iter().any(has_span).then(String::new)
    });
    let last_time = items.iter().map(|item| text(item, "time").to_owned()).max().unwrap();
    let last: Vec<&Value> = items.iter().filter(|item| text(item, "time") == last_time).collect();

    let pushed: BTreeMap<String, f64> = last.iter().filter_map(|item| page_line(item)).collect();
    let on_page = page_values(&page_text);
    let numbers_of_page = on_page.iter().filter(|(name, _)| {
        !name.starts_with("target_info")
            && !["_bucket", "_sum", "_count"]
                .iter()
                .any(|end| name.split('{').next().is_some_and(|name| name.ends_with(end)))
    });
    for (name, value) in numbers_of_page {
        let Some(found) = pushed.get(name) else { panic!("{name} is not pushed: {:?}", pushed.keys()) };
        if name.starts_with("otelcol_receiver") || name.starts_with("otelcol_exporter_sent") {
            assert_eq!(found, value, "{name}");
        }
    }

    let forms: BTreeMap<&str, (String, String, String, String)> = last
        .iter()
        .map(|item| {
            let kind = match text(item, "kind") {
                "sum" => "Sum",
                "gauge" => "Gauge",
                _ => "Histogram",
            };
            let monotonic = item["monotonic"].as_bool().map(|is| is.to_string()).unwrap_or_default();
            let scope = item["scope"]["name"].as_str().unwrap_or_default().to_owned();
            (text(item, "name"), (scope, text(item, "unit").to_owned(), kind.to_owned(), monotonic))
        })
        .collect();
    let mut compared = BTreeSet::new();
    for line in OF_GO.lines().filter(|line| !line.starts_with('#')) {
        let [scope, name, unit, kind, monotonic] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        if let Some(ours) = forms.get(name) {
            let go = (scope.to_owned(), unit.to_owned(), kind.to_owned(), monotonic.to_owned());
            assert_eq!(*ours, go, "{name}");
            compared.insert(name);
        }
    }
    assert!(compared.len() >= 14, "{compared:?}");
    let resource = last[0]["resource"].to_string();
    for part in ["\"team\"", "\"own\"", "\"pushing\"", "\"service.version\"", "\"service.instance.id\""] {
        assert!(resource.contains(part), "{resource}");
    }
}

#[test]
fn own_log_records_are_pushed_over_http_with_their_fields_and_component() {
    let dir = empty_test_dir("own-logs");
    let backend = OtlpHttpBackend::start();
    let otlp = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{otlp}\"}}}}}}}}
exporters: {{debug: }}
service:
  telemetry:
    metrics: {{level: none}}
    logs:
      level: info
      processors:
        - batch: {{schedule_delay: 100, exporter: {{otlp: {{protocol: http/protobuf, endpoint: \"{}/v1/logs\", headers_list: 'a=b'}}}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}
",
        backend.endpoint()
    );
    let mut process = start(&dir, "logging", &config, &otlp);
    let mut items = Vec::new();
    wait_until("records", || {
        items.extend(backend.take());
        let all = Value::Array(items.clone()).to_string();
        (all.contains("Everything is ready") && all.contains("Starting HTTP server")).then_some(all)
    });
    process.signal("TERM");
    assert_eq!(process.wait_for_exit(Duration::from_secs(60)), 0, "{}", process.log_text());
    let server = items.iter().find(|item| item.to_string().contains("Starting HTTP server")).unwrap().to_string();
    for part in [
        "\"go.opentelemetry.io/collector/service\"",
        "\"otelcol.component.id\"",
        "\"otlp\"",
        "\"otelcol.component.kind\"",
        "\"receiver\"",
        "\"endpoint\"",
        &otlp,
        "\"service.name\"",
    ] {
        assert!(server.contains(part), "{part}: {server}");
    }
    // The lines are written as without a processor.
    assert!(process.log_text().contains("Starting HTTP server"));
}
