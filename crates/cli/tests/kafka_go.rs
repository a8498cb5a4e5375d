//! The exporter and the receiver `kafka` beside those of the Go collector, over one broker, in every encoding: what both exporters write is
//! compared byte for byte, and what each receiver makes of the other's messages as OTLP.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/kafka.rs"]
mod broker;
#[path = "support/kafka_load.rs"]
mod load;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use broker::{ENCODINGS, Kafka};
use load::*;
use support::*;

const TRACES: &str = include_str!("data/kafka/traces.json");
const LOGS: &str = include_str!("data/kafka/logs.json");
const METRICS: &str = include_str!("data/kafka/metrics.json");

/// The Go collector, which `scripts/kafka` builds.
fn go_collector() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var("OTELCORE_KAFKA_GO").ok()?);
    path.is_file().then_some(path)
}

/// Sends the telemetry in each encoding to a topic of its own.
fn export(kafka: &Kafka, program: &Path, name: &str, options: &str) {
    let otlp = format!("127.0.0.1:{}", free_port());
    let (mut exporters, mut pipelines) = (String::new(), String::new());
    for (signal, encoding) in ENCODINGS {
        let id = format!("{signal}_{encoding}");
        writeln!(
            exporters,
            "  kafka/{id}:
    brokers: [\"{}\"]
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
    record_headers: [{{name: origin, value: test}}, {{name: second, value: \"äöü\"}}]
    producer: {{required_acks: all}}
    {signal}: {{topic: {name}-{signal}-{encoding}, encoding: {encoding}}}
{options}",
            kafka.address()
        )
        .unwrap();
        writeln!(pipelines, "    {signal}/{encoding}: {{receivers: [otlp], exporters: [kafka/{id}]}}").unwrap();
    }
    let config = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{otlp}\"}}}}}}}}
exporters:
{exporters}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
{pipelines}"
    );
    let mut process = start_program(program, &kafka.dir, &format!("{name}-exporter"), &config);
    wait_for_listener(&otlp, &mut process);
    for (signal, body) in [("traces", TRACES), ("logs", LOGS), ("metrics", METRICS)] {
        // Topics that are being made refuse the first attempts; each attempt goes to all of them.
        let status = try_post(&otlp, &format!("/v1/{signal}"), body);
        assert_eq!(status, Some(200), "{name} {signal}: {}", process.log_text());
    }
    process.signal("TERM");
    process.wait_for_exit(Duration::from_secs(20));
}

/// The messages of a topic, in an order of their own. The partition of a message without a key is any one.
fn messages(kafka: &Kafka, topic: &str, count: usize, signal: &str, encoding: &str) -> Vec<String> {
    let mut messages = kafka.consume_bytes(topic, count);
    for message in &mut messages {
        let mut fields: Vec<String> = message.split('\t').map(str::to_owned).collect();
        if fields.get(2).is_some_and(|key| key == "null") {
            fields[0] = "Partition:any".to_owned();
        }
        if let Some(value) = fields.last_mut() {
            match encoding {
                "otlp_proto" => *value = decoded(signal, &bytes_of(value)),
                // What is in it is compared where it is received: Go writes tags in any order.
                "zipkin_proto" => *value = String::new(),
                _ => {}
            }
        }
        *message = fields.join("\t");
    }
    messages.sort();
    messages
}

/// The bytes that a text of Kafka's tools stands for.
fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut parts = text.split("\\x");
    bytes.extend_from_slice(parts.next().unwrap_or("").as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

/// OTLP as protobuf, decoded: the order of fields, and whether an empty one is written, is not the same in Go.
fn decoded(signal: &str, bytes: &[u8]) -> String {
    use opentelemetry_proto::tonic::collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    };
    use prost::Message;
    match signal {
        "traces" => {
            let mut request = ExportTraceServiceRequest::decode(bytes).unwrap();
            let scopes = request.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans);
            for scope in scopes {
                scope.scope.get_or_insert_default();
                for span in &mut scope.spans {
                    span.status.get_or_insert_default();
                }
            }
            format!("{request:?}")
        }
        "logs" => {
            let mut request = ExportLogsServiceRequest::decode(bytes).unwrap();
            for scope in request.resource_logs.iter_mut().flat_map(|resource| &mut resource.scope_logs) {
                scope.scope.get_or_insert_default();
                for record in &mut scope.log_records {
                    record.body.get_or_insert_default();
                }
            }
            format!("{request:?}")
        }
        _ => {
            let mut request = ExportMetricsServiceRequest::decode(bytes).unwrap();
            for scope in request.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics) {
                scope.scope.get_or_insert_default();
            }
            format!("{request:?}")
        }
    }
}

/// A program reads these topics, and what it has made of each is in a file.
fn receive(kafka: &Kafka, program: &Path, name: &str, topics: &[(String, &str, &str)]) -> BTreeMap<String, PathBuf> {
    let (mut receivers, mut exporters, mut pipelines) = (String::new(), String::new(), String::new());
    let (mut in_receivers, mut in_exporters, mut in_pipelines) = (String::new(), String::new(), String::new());
    let mut files = BTreeMap::new();
    let mut last = String::new();
    for (topic, signal, encoding) in topics {
        let otlp = format!("127.0.0.1:{}", free_port());
        writeln!(
            receivers,
            "  kafka/{topic}:
    brokers: [\"{}\"]
    group_id: {name}-{topic}
    initial_offset: earliest
    header_extraction: {{extract_headers: true, headers: [origin, second]}}
    {signal}: {{topics: [{topic}], encoding: {encoding}}}",
            kafka.address()
        )
        .unwrap();
        writeln!(exporters, "  otlphttp/{topic}: {{endpoint: \"http://{otlp}\"}}").unwrap();
        writeln!(pipelines, "    {signal}/{topic}: {{receivers: [kafka/{topic}], exporters: [otlphttp/{topic}]}}")
            .unwrap();
        let file = kafka.dir.join(format!("{name}-{topic}.json"));
        writeln!(in_receivers, "  otlp/{topic}: {{protocols: {{http: {{endpoint: \"{otlp}\"}}}}}}").unwrap();
        writeln!(in_exporters, "  file/{topic}: {{path: \"{}\", flush_interval: 50ms}}", file.display()).unwrap();
        writeln!(in_pipelines, "    {signal}/{topic}: {{receivers: [otlp/{topic}], exporters: [file/{topic}]}}")
            .unwrap();
        files.insert(topic.clone(), file);
        last = otlp;
    }
    let config = |receivers: &str, exporters: &str, pipelines: &str| {
        format!(
            "receivers:\n{receivers}\nexporters:\n{exporters}\nservice:\n  telemetry: {{metrics: {{level: none}}}}\n  \
             pipelines:\n{pipelines}"
        )
    };
    let text = config(&in_receivers, &in_exporters, &in_pipelines);
    let mut destination = collector(&kafka.dir, &format!("{name}-destination"), &text);
    wait_for_listener(&last, &mut destination);
    let text = config(&receivers, &exporters, &pipelines);
    let process = start_program(program, &kafka.dir, &format!("{name}-receiver"), &text);
    // Until nothing more has come for some seconds.
    let size =
        || -> u64 { files.values().filter_map(|file| std::fs::metadata(file).ok()).map(|found| found.len()).sum() };
    let end = Instant::now() + Duration::from_secs(60);
    let (mut before, mut same) = (0, 0);
    while same < 20 {
        std::thread::sleep(Duration::from_millis(200));
        let is_complete = files.values().all(|file| std::fs::metadata(file).is_ok_and(|found| found.len() > 0));
        same = if is_complete && size() == before { same + 1 } else { 0 };
        before = size();
        if Instant::now() > end {
            println!("{name}: not every topic was received: {}", process.log_text());
            break;
        }
    }
    files
}

/// What a receiver has made of a topic: its lines, lists of objects and the objects in an order of their own, because those of Go have any
/// one, without the time at which it was.
fn received(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let in_order = |line: &str| {
        let value = serde_json::from_str(&without_observed_time(line)).unwrap();
        ordered(value).to_string()
    };
    let mut lines: Vec<String> = text.lines().map(in_order).collect();
    lines.sort();
    lines
}

fn ordered(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Array(values) => {
            let mut values: Vec<Value> = values.into_iter().map(ordered).collect();
            if values.iter().all(Value::is_object) {
                values.sort_by_key(Value::to_string);
            }
            Value::Array(values)
        }
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> =
                fields.into_iter().map(|(key, value)| (key, ordered(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        other => other,
    }
}

fn without_observed_time(line: &str) -> String {
    let mut parts = line.split("\"observedTimeUnixNano\":\"");
    let mut out = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        write!(out, "\"observedTimeUnixNano\":\"{rest}").unwrap();
    }
    out
}

fn compare(what: &str, ours: &[String], go: &[String], differences: &mut Vec<String>) {
    if ours == go && !ours.is_empty() {
        println!("{what}: {} the same", ours.len());
        return;
    }
    let mut text = format!("{what}: {} and {} of Go\n", ours.len(), go.len());
    for (label, lines, others) in [("  ours", ours, go), ("  Go  ", go, ours)] {
        for line in lines.iter().filter(|line| !others.contains(line)) {
            writeln!(text, "{label} {line}").unwrap();
        }
    }
    println!("DIFFERENT {text}");
    differences.push(what.to_owned());
}

#[test]
#[ignore = "needs Kafka and the Go collector; run by scripts/kafka"]
fn messages_of_both_collectors_are_the_same_and_are_read_by_both() {
    let Some(go) = go_collector() else {
        println!("skipped: scripts/kafka found no Go to build the other collector with");
        return;
    };
    let kafka = Kafka::start("kafka-go");
    let by_key = "    partition_traces_by_id: true
    partition_metrics_by_resource_attributes: true
    partition_logs_by_resource_attributes: true";
    let mut differences = Vec::new();
    for (name, options) in [("whole", ""), ("keyed", by_key)] {
        for (signal, encoding) in ENCODINGS {
            for origin in ["ours", "go"] {
                kafka.create_topic(&format!("{name}-{origin}-{signal}-{encoding}"), 5);
            }
        }
        export(&kafka, &otelcore(), &format!("{name}-ours"), options);
        export(&kafka, &go, &format!("{name}-go"), options);
        let counts = kafka.counts();
        for (signal, encoding) in ENCODINGS {
            let [ours, go] = ["ours", "go"].map(|origin| {
                let topic = format!("{name}-{origin}-{signal}-{encoding}");
                messages(&kafka, &topic, counts[&topic], signal, encoding)
            });
            compare(&format!("{name} messages {signal} {encoding}"), &ours, &go, &mut differences);
        }
    }
    let mut topics = Vec::new();
    for (signal, encoding) in ENCODINGS {
        for origin in ["ours", "go"] {
            topics.push((format!("keyed-{origin}-{signal}-{encoding}"), signal, encoding));
        }
    }
    let mut of_lines: Vec<(String, &str, &str)> = Vec::new();
    for encoding in ["text", "json", "raw", "text_utf-16le", "text_latin1"] {
        kafka.create_topic(&format!("lines-{encoding}"), 1);
        kafka.produce(
            &format!("lines-{encoding}"),
            "{\"a\":{\"b\":[1,2.5,null,true,\"x\"]},\"c\":7}\n{}\nno json, ä\n[1]\n\"x\"\n",
            &[],
        );
        of_lines.push((format!("lines-{encoding}"), "logs", encoding));
    }
    topics.append(&mut of_lines);
    let by_ours = receive(&kafka, &otelcore(), "ours", &topics);
    let by_go = receive(&kafka, &go, "go", &topics);
    for (topic, _, _) in &topics {
        let [ours, go] = [received(&by_ours[topic]), received(&by_go[topic])];
        compare(&format!("received {topic}"), &ours, &go, &mut differences);
    }
    assert_eq!(differences, Vec::<String>::new(), "these differ");
}
