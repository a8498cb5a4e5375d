//! The `zipkin` receiver in the binary: bodies of each form, refusals, and what our own exporter sends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::process::Command;

use support::*;

/// A collector whose `zipkin` receiver ends in `debug`, and whose OTLP goes to that receiver through both formats of the
/// `zipkin` exporter.
fn start(name: &str) -> (Process, String, String) {
    let dir = empty_test_dir(name);
    let [zipkin, otlp] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let config = format!(
        "receivers:
  zipkin: {{endpoint: \"{zipkin}\"}}
  otlp: {{protocols: {{http: {{endpoint: \"{otlp}\"}}}}}}
exporters:
  debug: {{verbosity: detailed}}
  zipkin/json: {{endpoint: \"http://{zipkin}/api/v2/spans\", format: json}}
  zipkin/proto: {{endpoint: \"http://{zipkin}/api/v2/spans\", format: proto}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces/received: {{receivers: [zipkin], exporters: [debug]}}
    traces/sent: {{receivers: [otlp], exporters: [zipkin/json, zipkin/proto]}}
"
    );
    let path = dir.join("config.yaml");
    std::fs::write(&path, config).unwrap();
    let mut process =
        Process::start(Command::new(otelcore()).arg(format!("--config={}", path.display())), &dir.join("log"));
    wait_for_listener(&zipkin, &mut process);
    wait_for_listener(&otlp, &mut process);
    (process, zipkin, otlp)
}

fn post(address: &str, path: &str, media_type: &str, body: &[u8]) -> (u16, String) {
    let head = format!("POST {path} HTTP/1.0\r\nHost: x\r\nContent-Type: {media_type}");
    http_request(address, &head, body)
}

#[test]
fn zipkin_spans_of_both_versions_arrive() {
    let (process, zipkin, _) = start("zipkin-versions");
    let v2 = br#"[{"traceId":"463ac35c9f6413ad","id":"a2fb4a1d1a96d312","name":"second version","kind":"SERVER",
        "timestamp":1700000000000000,"duration":10,"localEndpoint":{"serviceName":"shop"},"tags":{"k":"v"}}]"#;
    assert_eq!(post(&zipkin, "/api/v2/spans", "application/json", v2).0, 202);
    let v1 = br#"[{"traceId":"463ac35c9f6413ad","id":"a2fb4a1d1a96d313","name":"first version",
        "annotations":[{"timestamp":1700000000000000,"value":"sr","endpoint":{"serviceName":"cart"}}]}]"#;
    assert_eq!(post(&zipkin, "/api/v1/spans", "application/json", v1).0, 202);
    wait_until("both spans", || {
        let log = process.log_text();
        ["second version", "service.name: Str(shop)", "first version", "service.name: Str(cart)"]
            .iter()
            .all(|text| log.contains(text))
            .then(String::new)
    });
}

#[test]
fn body_that_is_no_list_of_spans_is_refused_with_its_place() {
    let (_process, zipkin, _) = start("zipkin-refused");
    let (status, message) = post(&zipkin, "/api/v2/spans", "application/json", b"[{\"id\":\"1\",\n\"name\":7}]");
    assert_eq!((status, message.as_str()), (400, "invalid type: integer `7`, expected a string at line 2 column 8\n"));
    let (status, message) = post(&zipkin, "/api/v2/spans", "application/json", b"[{\"traceId\":\"1\"}]");
    assert_eq!((status, message.as_str()), (400, "valid span id required\n"));
    let (status, message) = post(&zipkin, "/api/v1/spans", "application/x-thrift", b"\x0c\0\0\0\x01\x0b");
    assert_eq!((status, message.as_str()), (400, "unexpected end of the thrift data at byte 6\n"));
    assert_eq!(post(&zipkin, "/api/v3/spans", "application/json", b"[]").0, 404);
    assert_eq!(post(&zipkin, "/api/v2/spans", "application/json", b"[]").0, 202);
}

#[test]
fn spans_of_the_exporter_arrive_in_both_formats() {
    let (process, _, otlp) = start("zipkin-exporter");
    let span = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"463ac35c9f6413ad48485a3953bb6124",
        "spanId":"a2fb4a1d1a96d312","name":"there and back","startTimeUnixNano":"1700000000000000000"}]}]}]}"#;
    assert_eq!(post(&otlp, "/v1/traces", "application/json", span).0, 200);
    wait_until("the span twice", || (process.log_text().matches("there and back").count() == 2).then(String::new));
}
