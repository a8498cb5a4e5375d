//! Agent and gateway, this collector and the Go collector on either side: every signal arrives complete with every
//! compression.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::*;

/// The exporters from the agent to the gateway: each an id and its configuration.
fn exporters(grpc: u16, http: u16) -> Vec<(String, String)> {
    let over_grpc = ["none", "gzip", "zstd", "snappy"].map(|coding| {
        let settings = format!("{{endpoint: '127.0.0.1:{grpc}', tls: {{insecure: true}}, compression: {coding}}}");
        (format!("otlp_grpc/{coding}"), settings)
    });
    let codings = ["none", "gzip", "zlib", "deflate", "snappy", "x-snappy-framed", "zstd", "lz4"];
    let over_http = codings.map(|coding| {
        let settings = format!("{{endpoint: 'http://127.0.0.1:{http}', compression: {coding}}}");
        (format!("otlp_http/{coding}"), settings)
    });
    let json = ["none", "gzip"].map(|coding| {
        let settings = format!("{{endpoint: 'http://127.0.0.1:{http}', encoding: json, compression: {coding}}}");
        (format!("otlp_http/json-{coding}"), settings)
    });
    over_grpc.into_iter().chain(over_http).chain(json).collect()
}

/// Uses the old names of the Go collector, which all its versions accept.
fn agent_config(exporters: &[(String, String)], port: u16) -> String {
    let mut text =
        format!("receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}\nexporters:\n");
    for (id, settings) in exporters {
        let _ = writeln!(text, "  {id}: {settings}");
    }
    text.push_str("service:\n  telemetry: {metrics: {level: none}}\n  pipelines:\n");
    let ids = exporters.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ");
    for signal in ["traces", "metrics", "logs"] {
        let _ = writeln!(text, "    {signal}: {{receivers: [otlp], exporters: [{ids}]}}");
    }
    text
}

fn gateway_config(grpc: u16, http: u16, out: &Path) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}, http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
exporters: {{debug: {{verbosity: detailed, use_internal_logger: false, output_paths: ['{}']}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [debug]}}
    metrics: {{receivers: [otlp], exporters: [debug]}}
    logs: {{receivers: [otlp], exporters: [debug]}}
",
        out.display()
    )
}

const TRACES: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"größer"}}]},
"scopeSpans":[{"scope":{"name":"s","version":"1"},"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
"parentSpanId":"eee19b7ec3c1b173","name":"I'm a span","kind":2,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000",
"attributes":[{"key":"d","value":{"doubleValue":1.5}},{"key":"l","value":{"arrayValue":{"values":[{"intValue":"-7"},{"boolValue":true}]}}}],
"events":[{"timeUnixNano":"1544712660500000000","name":"e"}],"links":[{"traceId":"5b8efff798038103d269b633813fc60d","spanId":"eee19b7ec3c1b175"}],
"status":{"code":2,"message":"no"}}]}]}]}"#;
const METRICS: &str = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
{"name":"sum","unit":"By","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{"asInt":"5","timeUnixNano":"1544712660300000000","startTimeUnixNano":"1544712660000000000"}]}},
{"name":"gauge","gauge":{"dataPoints":[{"asDouble":-0.25,"timeUnixNano":"1544712660300000000"}]}},
{"name":"histogram","histogram":{"aggregationTemporality":1,"dataPoints":[{"count":"3","sum":6,"bucketCounts":["1","2"],"explicitBounds":[2],"min":1,"max":3,"timeUnixNano":"1544712660300000000"}]}},
{"name":"exp","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"count":"3","sum":6,"scale":1,"zeroCount":"1","positive":{"offset":1,"bucketCounts":["0","2"]},"timeUnixNano":"1544712660300000000"}]}},
{"name":"summary","summary":{"dataPoints":[{"count":"2","sum":3,"quantileValues":[{"quantile":0.5,"value":1}],"timeUnixNano":"1544712660300000000"}]}}
]}]}]}"#;
const LOGS: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1544712660300000000","observedTimeUnixNano":"1544712660300000000",
"severityNumber":10,"severityText":"Information","traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","eventName":"e",
"body":{"kvlistValue":{"values":[{"key":"k","value":{"bytesValue":"AAEC"}}]}},"attributes":[{"key":"a","value":{"stringValue":"b"}}]}]}]}]}"#;

/// Runs one pair; returns the dumps of the gateway's `debug` exporter, each with the number of times that it came.
fn forwarded_dumps(name: &str, agent_binary: &Path, gateway_binary: &Path) -> BTreeMap<String, usize> {
    let dir = empty_test_dir(&format!("relays-{name}"));
    let [agent_port, grpc, http_port] = [free_port(), free_port(), free_port()];
    let (out, exporters) = (dir.join("out"), exporters(grpc, http_port));
    std::fs::write(dir.join("gateway.yaml"), gateway_config(grpc, http_port, &out)).unwrap();
    std::fs::write(dir.join("agent.yaml"), agent_config(&exporters, agent_port)).unwrap();
    let start = |binary: &Path, role: &str| {
        let config = format!("--config={}", dir.join(role).with_extension("yaml").display());
        Process::start(Command::new(binary).arg(config), &dir.join(role).with_extension("log"))
    };
    let mut gateway = start(gateway_binary, "gateway");
    wait_for_listener(&format!("127.0.0.1:{http_port}"), &mut gateway);
    let mut agent = start(agent_binary, "agent");
    let address = format!("127.0.0.1:{agent_port}");
    wait_for_listener(&address, &mut agent);
    for (path, body) in [("traces", TRACES), ("metrics", METRICS), ("logs", LOGS)] {
        let head = format!("POST /v1/{path} HTTP/1.0\r\nHost: x\r\nContent-Type: application/json");
        let (status, response) = http_request(&address, &head, body.as_bytes());
        assert_eq!(status, 200, "{response}");
    }
    let both_logs = |agent: &Process, gateway: &Process| format!("{}\n{}", agent.log_text(), gateway.log_text());
    let expected_count = exporters.len();
    wait_until(&format!("{name}: {expected_count} of each\n{}", both_logs(&agent, &gateway)), || {
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        let arrived = ["Span #0", "LogRecord #0", "Name: summary"].map(|mark| text.matches(mark).count());
        arrived.iter().all(|n| *n >= expected_count).then_some(String::new())
    });
    for process in [&mut agent, &mut gateway] {
        process.signal("TERM");
        assert_eq!(process.wait_for_exit(Duration::from_secs(30)), 0, "{}", process.log_text());
    }
    assert!(!agent.log_text().contains("Dropping data"), "{}", agent.log_text());
    // The dumps of one signal must all be equal. Their summary lines are written separately, and other dumps may come
    // in between.
    let text = std::fs::read_to_string(&out).unwrap();
    let summary = |line: &&str| !["Traces\t", "Metrics\t", "Logs\t"].iter().any(|s| line.starts_with(s));
    let text = text.lines().filter(summary).collect::<Vec<_>>().join("\n");
    let mut dumps = BTreeMap::new();
    for dump in text.split("\n\n").map(str::trim).filter(|dump| !dump.is_empty()) {
        *dumps.entry(dump.to_owned()).or_default() += 1;
    }
    dumps
}

fn assert_complete(name: &str, dumps: &BTreeMap<String, usize>) {
    let expected_count = exporters(0, 0).len();
    for (dump, count) in dumps {
        assert_eq!(*count, expected_count, "{name}: one way has changed something:\n{dump}");
    }
    assert_eq!(dumps.len(), 3, "{name}: {dumps:#?}");
}

#[test]
fn every_signal_arrives_complete_with_every_compression() {
    let ours = otelcore();
    let through_ours = forwarded_dumps("ours-ours", &ours, &ours);
    assert_complete("ours to ours", &through_ours);
    let Some(go): Option<PathBuf> = tool("otelcol-0.155") else { return };
    // The reference is the Go collector on both sides: its output as a gateway must be the same with our agent, and so
    // must our output with our agent.
    let through_go = forwarded_dumps("ours-go", &ours, &go);
    assert_complete("ours to Go", &through_go);
    assert_complete("Go to ours", &forwarded_dumps("go-ours", &go, &ours));
    let reference = forwarded_dumps("go-go", &go, &go);
    assert_complete("Go to Go", &reference);
    assert_eq!(through_go, reference, "the Go collector sees a difference between ours and itself in front of it");
    assert_eq!(through_ours, reference, "ours shows something else than the Go collector");
}
