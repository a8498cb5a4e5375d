//! The `kafka` exporter against Apache Kafka, which `scripts/kafka` fetches: what it produces is read back with Kafka's own consumer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/kafka.rs"]
mod broker;
mod support;

use std::path::Path;
use std::process::Command;

use broker::{Kafka, has_scram};
use support::*;

/// A collector whose OTLP over HTTP goes to `kafka` with these options.
fn collector(dir: &Path, options: &str) -> (Process, String) {
    let otlp = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{otlp}\"}}}}}}}}
exporters:
  kafka:
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
{options}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [kafka]}}
    logs: {{receivers: [otlp], exporters: [kafka]}}
"
    );
    let path = dir.join("config.yaml");
    std::fs::write(&path, config).unwrap();
    let mut process =
        Process::start(Command::new(otelcore()).arg(format!("--config={}", path.display())), &dir.join("log"));
    wait_for_listener(&otlp, &mut process);
    (process, otlp)
}

fn post_json(address: &str, path: &str, body: &str) -> u16 {
    let head = format!("POST {path} HTTP/1.0\r\nHost: x\r\nContent-Type: application/json");
    let (status, answer) = http_request(address, &head, body.as_bytes());
    if status != 200 {
        println!("{status}: {answer}");
    }
    status
}

const TRACE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
    "scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"first",
    "startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000000001000"}]}]}]}"#;

#[test]
#[ignore = "needs Kafka; run by scripts/kafka"]
fn messages_are_read_by_the_consumer_of_kafka() {
    let kafka = Kafka::start("kafka-live");
    let sasl = |mechanism: &str| {
        format!(
            "    brokers: [\"127.0.0.1:{}\"]
    auth: {{sasl: {{mechanism: {mechanism}, username: alice, password: secret}}}}",
            kafka.sasl
        )
    };
    let plain = format!("    brokers: [\"127.0.0.1:{}\"]", kafka.plain);
    let mut cases = vec![
        ("json", format!("{plain}\n    producer: {{required_acks: all}}")),
        ("gzip", format!("{plain}\n    producer: {{compression: gzip}}")),
        ("snappy", format!("{plain}\n    producer: {{compression: snappy, required_acks: all}}")),
        ("lz4", format!("{plain}\n    producer: {{compression: lz4}}")),
        ("zstd", format!("{plain}\n    producer: {{compression: zstd, required_acks: 0}}")),
        ("pinned", format!("{plain}\n    protocol_version: 2.8.0\n    producer: {{required_acks: all}}")),
        ("plain", sasl("PLAIN")),
    ];
    if has_scram() {
        cases.extend([("scram256", sasl("SCRAM-SHA-256")), ("scram512", sasl("SCRAM-SHA-512"))]);
    }
    for (name, options) in &cases {
        let topic = format!("spans-{name}");
        let options = format!(
            "{options}
    partition_traces_by_id: true
    record_headers: {{origin: test}}
    traces: {{topic: {topic}, encoding: otlp_json}}"
        );
        let (_collector, otlp) = collector(&kafka.dir, &options);
        for _ in 0..3 {
            assert_eq!(post_json(&otlp, "/v1/traces", TRACE), 200, "{name}");
        }
        let messages = kafka.consume(&topic, 3);
        assert_eq!(messages.len(), 3, "{name}: {messages:?}");
        for message in &messages {
            // The partition of this key among three, as Go's client computes it.
            let expected = "Partition:2\torigin:test\t0102030405060708090a0b0c0d0e0f10\t{\"resourceSpans\"";
            assert!(message.starts_with(expected) && message.contains("\"first\""), "{name}: {message}");
        }
        println!("{name}: 3 messages");
    }
    wrong_password_is_reported(&kafka);
    raw_logs_are_messages(&kafka, &plain);
}

fn wrong_password_is_reported(kafka: &Kafka) {
    for mechanism in ["PLAIN", "SCRAM-SHA-512"].into_iter().take(if has_scram() { 2 } else { 1 }) {
        let options = format!(
            "    brokers: [\"127.0.0.1:{}\"]
    timeout: 2s
    auth: {{sasl: {{mechanism: {mechanism}, username: alice, password: wrong}}}}",
            kafka.sasl
        );
        let (collector, otlp) = collector(&kafka.dir, &options);
        assert_eq!(post_json(&otlp, "/v1/traces", TRACE), 503);
        wait_until("a report of the failure", || {
            Some(collector.log_text()).filter(|text| text.contains("SASL authentication failed"))
        });
        println!("wrong password, {mechanism}: reported");
    }
}

fn raw_logs_are_messages(kafka: &Kafka, plain: &str) {
    let options = format!("{plain}\n    logs: {{encoding: raw, topic: raw-logs}}");
    let (_collector, otlp) = collector(&kafka.dir, &options);
    let body = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"text"}},
        {"body":{"kvlistValue":{"values":[{"key":"b","value":{"intValue":"7"}}]}}},{}]}]}]}"#;
    assert_eq!(post_json(&otlp, "/v1/logs", body), 200);
    let mut values: Vec<String> = kafka.consume("raw-logs", 2);
    values.iter_mut().for_each(|line| *line = line.rsplit('\t').next().unwrap_or("").to_owned());
    assert_eq!(values, ["\"text\"", "{\"b\":7}"]);
}

#[test]
#[ignore = "needs Kafka; run by scripts/kafka"]
fn broker_that_is_killed_and_restarted_loses_no_acknowledged_span() {
    let mut kafka = Kafka::start("kafka-killed");
    let options = format!(
        "    brokers: [\"127.0.0.1:{}\"]
    timeout: 3s
    producer: {{required_acks: all}}
    traces: {{topic: killed, encoding: otlp_json}}",
        kafka.plain
    );
    let (collector, otlp) = collector(&kafka.dir, &options);
    let mut acknowledged = 0;
    for round in 0..3 {
        for _ in 0..50 {
            acknowledged += usize::from(post_json(&otlp, "/v1/traces", TRACE) == 200);
        }
        println!("round {round}: {acknowledged} acknowledged");
        kafka.end("KILL");
        let lost = usize::from(post_json(&otlp, "/v1/traces", TRACE) == 200);
        assert_eq!(lost, 0, "nothing is acknowledged without a broker");
        kafka.restart();
    }
    assert!(acknowledged >= 100, "{}", collector.log_text());
    let messages = kafka.consume("killed", acknowledged);
    assert_eq!(messages.len(), acknowledged);
}
