//! The `kafka` receiver against Apache Kafka, which `scripts/kafka` fetches: it reads what Kafka's own producer and the `kafka` exporter have
//! written, shares topics with other members, and loses nothing when it is killed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/kafka.rs"]
mod broker;
#[path = "support/kafka_load.rs"]
mod load;
mod support;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use broker::{ENCODINGS, Kafka};
use load::*;
use support::*;

/// A collector that writes what it reads of Kafka to a file.
fn receiver(kafka: &Kafka, name: &str, signal: &str, options: &str) -> (Process, PathBuf) {
    let file = kafka.dir.join(format!("{name}.json"));
    let config = format!(
        "receivers:
  kafka:
    brokers: [\"127.0.0.1:{}\"]
    initial_offset: earliest
    autocommit: {{interval: 200ms}}
{options}
processors: {{batch: {{timeout: 50ms}}}}
exporters: {{file: {{path: \"{}\", append: true, flush_interval: 50ms}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{{signal}: {{receivers: [kafka], processors: [batch], exporters: [file]}}}}
",
        kafka.plain,
        file.display()
    );
    (collector(&kafka.dir, name, &config), file)
}

fn lines(range: std::ops::Range<usize>) -> String {
    let mut lines = String::new();
    range.for_each(|n| writeln!(lines, "message-{n:06}").unwrap());
    lines
}

#[test]
#[ignore = "needs Kafka; run by scripts/kafka"]
fn messages_of_the_producer_of_kafka_are_received_once_and_committed() {
    let kafka = Kafka::start("kafka-receiver");
    for (name, options) in [
        ("none", ""),
        ("gzip", "    group_rebalance_strategies: [range]\n"),
        ("snappy", "    group_rebalance_strategies: [roundrobin]\n"),
        ("lz4", "    group_rebalance_strategies: [sticky]\n    group_instance_id: one\n"),
        ("zstd", "    protocol_version: 2.8.0\n    use_leader_epoch: false\n"),
    ] {
        let topic = format!("lines-{name}");
        kafka.create_topic(&topic, 3);
        kafka.produce(&topic, &lines(0..2000), &["--compression-codec", name]);
        let options = format!("{options}    group_id: {name}\n    logs: {{topics: [{topic}], encoding: text}}");
        let (mut process, file) = receiver(&kafka, name, "logs", &options);
        wait_for_texts(&[&file], "message-", 2000);
        process.signal("TERM");
        assert_eq!(process.wait_for_exit(Duration::from_secs(20)), 0, "{}", process.log_text());
        kafka.wait_for_no_lag(name);
        kafka.produce(&topic, &lines(2000..2100), &[]);
        let (mut process, _) = receiver(&kafka, name, "logs", &options);
        let found = wait_for_texts(&[&file], "message-", 2100);
        assert!(found.values().all(|count| *count == 1), "{name}: read twice");
        process.signal("TERM");
        assert_eq!(process.wait_for_exit(Duration::from_secs(20)), 0, "{}", process.log_text());
        println!("{name}: 2100 messages, each once");
    }
}

#[test]
#[ignore = "needs Kafka; run by scripts/kafka"]
fn members_that_come_and_go_share_topics_and_lose_nothing() {
    let kafka = Kafka::start("kafka-members");
    kafka.create_topic("shared-a", 4);
    kafka.create_topic("shared-b", 2);
    for strategy in ["cooperative-sticky", "range"] {
        let options = format!(
            "    group_id: {strategy}
    group_rebalance_strategies: [{strategy}]
    session_timeout: 6s
    heartbeat_interval: 500ms
    logs: {{topics: ['^shared-.*', '^other'], exclude_topics: ['^shared-c'], encoding: text}}"
        );
        let first = if strategy == "range" { 100_000 } else { 0 };
        let name = |n: usize| format!("{strategy}-{n}");
        let (_one, file_one) = receiver(&kafka, &name(1), "logs", &options);
        kafka.produce("shared-a", &lines(first..first + 3000), &[]);
        let (mut two, file_two) = receiver(&kafka, &name(2), "logs", &options);
        kafka.produce("shared-b", &lines(first + 3000..first + 6000), &[]);
        kafka.produce("shared-a", &lines(first + 6000..first + 9000), &[]);
        two.signal("TERM");
        assert_eq!(two.wait_for_exit(Duration::from_secs(20)), 0, "{}", two.log_text());
        kafka.produce("shared-b", &lines(first + 9000..first + 12_000), &[]);
        let prefix = if first == 0 { "message-0" } else { "message-1" };
        let found = wait_for_texts(&[&file_one, &file_two], prefix, 12_000);
        let twice = found.values().filter(|count| **count > 1).count();
        println!("{strategy}: 12000 messages, {twice} twice, {} by the second", texts(&[&file_two], prefix).len());
        assert_eq!(twice, 0, "partitions were given up in order");
        kafka.wait_for_no_lag(strategy);
    }
}

#[test]
#[ignore = "needs Kafka; run by scripts/kafka"]
fn receiver_that_is_killed_under_load_loses_nothing() {
    let kafka = Kafka::start("kafka-receiver-killed");
    kafka.create_topic("load", 3);
    let otlp = format!("127.0.0.1:{}", free_port());
    let file = kafka.dir.join("delivered.json");
    let _destination = destination(&kafka.dir, &otlp, &file);
    let config = format!(
        "receivers:
  kafka:
    brokers: [\"127.0.0.1:{}\"]
    initial_offset: earliest
    session_timeout: 6s
    heartbeat_interval: 500ms
    autocommit: {{interval: 50ms}}
    logs: {{topics: [load], encoding: text}}
processors: {{batch: {{send_batch_size: 500, timeout: 100ms}}}}
exporters: {{otlp_http: {{endpoint: \"http://{otlp}\"}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [kafka], processors: [batch], exporters: [otlp_http]}}}}
",
        kafka.plain
    );
    const ROUNDS: usize = 10;
    for round in 0..ROUNDS {
        let mut process = collector(&kafka.dir, &format!("killed-{round}"), &config);
        let start = round * 20_000;
        kafka.produce("load", &lines(start..start + 20_000), &["--compression-codec", "lz4"]);
        std::thread::sleep(Duration::from_millis(150 * round as u64));
        process.signal("KILL");
        process.wait_for_exit(Duration::from_secs(10));
        println!("round {round}: {} delivered", texts(&[&file], "message-").len());
    }
    let _last = collector(&kafka.dir, "killed-last", &config);
    let found = wait_for_texts(&[&file], "message-", ROUNDS * 20_000);
    let twice = found.values().filter(|count| **count > 1).count();
    println!("{} messages after {ROUNDS} kills: none lost, {twice} twice", found.len());
    kafka.wait_for_no_lag("otel-collector");
}

#[test]
#[ignore = "needs Kafka; run by scripts/kafka"]
fn messages_of_the_exporter_in_each_encoding_are_received() {
    let kafka = Kafka::start("kafka-round-trip");
    let trace = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
        "scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"span-first",
        "kind":2,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000000001000"}]}]}]}"#;
    let log = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
        "scopeLogs":[{"logRecords":[{"body":{"stringValue":"span-first"}}]}]}]}"#;
    let metric = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"span-first","gauge":{"dataPoints":[{"asInt":"7",
        "timeUnixNano":"1700000000000000000"}]}}]}]}]}"#;
    for (signal, encoding) in ENCODINGS {
        let topic = format!("{signal}-{encoding}");
        let otlp = format!("127.0.0.1:{}", free_port());
        let file = kafka.dir.join(format!("{topic}.json"));
        let config = format!(
            "receivers:
  otlp: {{protocols: {{http: {{endpoint: \"{otlp}\"}}}}}}
  kafka:
    brokers: [\"127.0.0.1:{port}\"]
    initial_offset: earliest
    group_id: {topic}
    header_extraction: {{extract_headers: true, headers: [origin]}}
    {signal}: {{topics: [{topic}], encoding: {encoding}}}
exporters:
  kafka:
    brokers: [\"127.0.0.1:{port}\"]
    record_headers: {{origin: test}}
    {signal}: {{topic: {topic}, encoding: {encoding}}}
  file: {{path: \"{file}\", flush_interval: 50ms}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    {signal}/in: {{receivers: [otlp], exporters: [kafka]}}
    {signal}/out: {{receivers: [kafka], exporters: [file]}}
",
            port = kafka.plain,
            file = file.display(),
        );
        let mut process = collector(&kafka.dir, &topic, &config);
        wait_for_listener(&otlp, &mut process);
        let body = match signal {
            "traces" => trace,
            "logs" => log,
            _ => metric,
        };
        let head = format!("POST /v1/{signal} HTTP/1.0\r\nHost: x\r\nContent-Type: application/json");
        let (status, answer) = http_request(&otlp, &head, body.as_bytes());
        assert_eq!(status, 200, "{answer}");
        if encoding == "raw" {
            // The exporter writes a text as JSON, and the receiver reads bytes.
            wait_for_texts(&[&file], "InNwYW4tZmlyc3Qi", 1);
        } else {
            wait_for_texts(&[&file], "span-first", 1);
        }
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("kafka.header.origin"), "{text}");
        println!("{topic}: received");
    }
}

#[test]
#[ignore = "needs Kafka; run by scripts/kafka"]
fn message_that_can_not_be_read_is_skipped_or_stops_its_partition_as_configured() {
    let kafka = Kafka::start("kafka-poison");
    for (name, marking, is_skipped) in [
        ("default", "{}", true),
        ("stops", "{after: true}", false),
        ("skips", "{after: true, on_permanent_error: true}", true),
    ] {
        kafka.create_topic(name, 1);
        kafka.produce(name, "{\"n\": \"json-1\"}\nnot json\n{\"n\": \"json-2\"}\n", &[]);
        let options = format!(
            "    group_id: {name}\n    message_marking: {marking}\n    logs: {{topics: [{name}], encoding: json}}"
        );
        let (process, file) = receiver(&kafka, name, "logs", &options);
        if is_skipped {
            wait_for_texts(&[&file], "json-", 2);
            kafka.wait_for_no_lag(name);
        } else {
            wait_for_texts(&[&file], "json-", 1);
            std::thread::sleep(Duration::from_secs(2));
            assert_eq!(kafka.lag(name), Some(2), "{}", process.log_text());
        }
        assert!(process.log_text().contains("A message can't be processed"), "{}", process.log_text());
        println!("{name}: as configured");
    }
}
