//! The receiver `kafka_metrics` beside the one of the Go collector, over one broker with topics and groups: every point of every metric.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/kafka.rs"]
mod broker;
#[path = "support/kafka_load.rs"]
mod load;
mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use broker::Kafka;
use load::*;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use otelcore_test_support::{ask_oracle, tool_path};
use prost::Message;
use support::*;

/// Metrics that are off by default.
const OFF: [&str; 5] = [
    "kafka.broker.log_retention_period",
    "kafka.topic.log_retention_period",
    "kafka.topic.log_retention_size",
    "kafka.topic.min_insync_replicas",
    "kafka.topic.replication_factor",
];

/// The options of both receivers.
fn section(kafka: &Kafka, indent: &str) -> String {
    let mut section = format!(
        "{indent}brokers: [\"{}\"]\n{indent}scrapers: [brokers, topics, consumers]\n{indent}initial_delay: 0s\n\
         {indent}cluster_alias: main\n{indent}group_match: ^group-\n{indent}resource_attributes: {{kafka.cluster.alias: {{enabled: true}}}}\n\
         {indent}metrics:\n",
        kafka.address()
    );
    OFF.iter().for_each(|name| writeln!(section, "{indent}  {name}: {{enabled: true}}").unwrap());
    section
}

/// Each point with its resource and metric, apart from its time.
fn points(request: ExportMetricsServiceRequest) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in request.resource_metrics {
        let resource = entry.resource.unwrap_or_default().attributes;
        for scope in entry.scope_metrics {
            let of_scope = scope.scope.unwrap_or_default().name;
            for metric in scope.metrics {
                let (kind, points) = match metric.data.unwrap() {
                    Data::Gauge(gauge) => ("gauge".to_owned(), gauge.data_points),
                    Data::Sum(sum) => {
                        (format!("sum {} {}", sum.aggregation_temporality, sum.is_monotonic), sum.data_points)
                    }
                    other => panic!("{other:?}"),
                };
                for mut point in points {
                    point.attributes.sort_by(|a, b| a.key.cmp(&b.key));
                    let attributes: Vec<String> =
                        point.attributes.iter().map(|a| format!("{}={:?}", a.key, a.value)).collect();
                    let line = format!(
                        "{} {kind} {} {:?} {:?} {attributes:?} {resource:?} {of_scope}",
                        metric.name, metric.unit, metric.description, point.value
                    );
                    assert!(found.insert(line.clone()), "twice: {line}");
                }
            }
        }
    }
    found
}

/// A collector that reads a topic in a group until nothing is left.
fn reader(kafka: &Kafka, group: &str, topic: &str) -> Process {
    let config = format!(
        "receivers:
  kafka:
    brokers: [\"{}\"]
    group_id: {group}
    initial_offset: earliest
    autocommit: {{interval: 200ms}}
    logs: {{topics: [{topic}], encoding: text}}
exporters: {{debug: {{}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [kafka], exporters: [debug]}}}}
",
        kafka.address()
    );
    let process = collector(&kafka.dir, group, &config);
    kafka.wait_for_no_lag(group);
    process
}

/// Writes messages to every partition of a topic: each has a key of its own.
fn produce(kafka: &Kafka, topic: &str, range: std::ops::Range<usize>) {
    let mut lines = String::new();
    range.for_each(|n| writeln!(lines, "key-{n}:message-{n}").unwrap());
    kafka.produce(topic, &lines, &["--property", "parse.key=true", "--property", "key.separator=:"]);
}

/// What ours sends of the first scrape: a length and a request.
fn scraped(kafka: &Kafka) -> BTreeSet<String> {
    let file = kafka.dir.join("metrics.bin");
    let config = format!(
        "receivers:\n  kafka_metrics:\n{}exporters: {{file: {{path: \"{}\", format: proto, flush_interval: 50ms}}}}\n\
         service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{metrics: {{receivers: [kafka_metrics], exporters: [file]}}}}}}\n",
        section(kafka, "    "),
        file.display()
    );
    let _process = collector(&kafka.dir, "metrics", &config);
    let mut found = Vec::new();
    wait_until("the metrics of a scrape", || {
        let bytes = std::fs::read(&file).ok()?;
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        found = rest.get(..u32::from_be_bytes(*len) as usize)?.to_vec();
        Some(String::new())
    });
    points(ExportMetricsServiceRequest::decode(&found[..]).unwrap())
}

#[test]
#[ignore = "needs Kafka and the Go receiver; run by scripts/kafka"]
fn points_of_a_cluster_are_those_of_the_go_receiver() {
    let Some(oracle) = tool_path("kafka-metrics-oracle") else { return };
    let kafka = Kafka::start("kafka-metrics");
    kafka.create_topic("busy", 3);
    kafka.create_topic_with(
        "small",
        1,
        1,
        &["--config", "retention.ms=60000", "--config", "retention.bytes=1000000", "--config", "min.insync.replicas=1"],
    );
    kafka.create_topic("empty", 2);
    produce(&kafka, "busy", 0..300);
    produce(&kafka, "small", 0..20);
    let mut gone = reader(&kafka, "group-gone", "busy");
    gone.signal("TERM");
    assert_eq!(gone.wait_for_exit(Duration::from_secs(20)), 0, "{}", gone.log_text());
    produce(&kafka, "busy", 300..400);
    let _reads = reader(&kafka, "group-reads", "busy");
    let _reads_too = reader(&kafka, "group-reads-too", "small");
    let _other = reader(&kafka, "other", "small");

    let cases = ask_oracle(&oracle, &[], vec![section(&kafka, "").into_bytes()]);
    let (0, answer) = cases[0].answer.split_first().unwrap() else {
        panic!("{}", String::from_utf8_lossy(&cases[0].answer[1..]))
    };
    let mut expected = points(ExportMetricsServiceRequest::decode(answer).unwrap());
    // The configuration of topics is that of all topics there, whatever `topic_match` is.
    let before = expected.len();
    expected.retain(|line| !line.contains("__consumer_offsets"));
    let of_internal = before - expected.len();
    let found = scraped(&kafka);
    for (what, lines, others) in [("ours", &found, &expected), ("Go", &expected, &found)] {
        lines.difference(others).for_each(|line| println!("only {what}: {line}"));
    }
    assert!(found == expected, "the points differ");
    let names: BTreeSet<&str> = found.iter().filter_map(|line| line.split(' ').next()).collect();
    println!(
        "{} points of {} metrics are the same; {of_internal} of internal topics are Go's only",
        found.len(),
        names.len()
    );
    assert_eq!(names.len(), 16, "every metric was compared: {names:?}");
}
