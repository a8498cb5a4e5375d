//! Compares what the receiver sends and logs of generated kubelets with the Go receiver.
//!
//! The kubelets and Go's answers are recorded in `tests/data/kubelet_stats.corpus.zst`, and replayed here. The test that is
//! ignored asks the Go receiver (`tests/tools/kubelet-oracle`) and compares fresh kubelets too; see
//! `scripts/differential`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, number_data_point};
use otelcore_pipeline::{LogLevel, WallTime};
use otelcore_test_support::{CorpusCase, ask_about_seeds, read_corpus};
use prost::Message;
use serde_json::{Value, json};

use super::kubelets::kubelet;
use super::{attributes, create};

const SEEDS: u64 = 200;

/// The start time of something without one, as the Go receiver sends it.
const NO_TIME: u64 = 11_651_379_494_838_206_464;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kubelet_stats.corpus.zst")
}

/// What our receiver sends and logs at this time.
fn ours(case: &Value, time: u64) -> Vec<String> {
    let mut config = case["config"].clone();
    config["auth_type"] = json!("none");
    config["endpoint"] = json!("http://10.0.0.9:10255");
    let mut fixture = create(&config.to_string());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    fixture.answer("/stats/summary", 200, &text(&case["summary"]));
    fixture.answer("/pods", 200, &text(&case["pods"]));
    let list = format!("{{\"metadata\":{{\"resourceVersion\":\"1\"}},\"items\":[{}]}}", text(&case["node"]));
    fixture.answer("/api/v1/nodes", 200, &list);
    for (path, object) in case["objects"].as_object().into_iter().flatten() {
        fixture.answer(path, 200, &text(object));
    }
    fixture.start();
    drop(fixture.context.log.take_entries());
    let delay = if config["initial_delay"] == json!("1ms") { 1 } else { 400 };
    fixture.world.advance(Duration::from_millis(delay));
    fixture.world.set_wall_time(WallTime(time));
    fixture.run();
    let mut lines = Vec::new();
    for payload in fixture.sent.take() {
        lines.extend(metric_lines(&payload.body.to_bytes(), time));
    }
    for entry in fixture.context.log.take_entries() {
        if entry.level >= LogLevel::Warn {
            let field = |name: &str| entry.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            let fields = ["pod", "container", "volume", "error"].into_iter().filter_map(field);
            lines.push(logged(std::iter::once(entry.message.as_str()).chain(fields)));
        }
    }
    lines
}

/// The texts of errors in JSON are not those of Go.
fn logged<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let text = parts.collect::<Vec<_>>().join("|");
    if text.starts_with("Error scraping metrics") { "failed".to_owned() } else { text }
}

fn compared(answer: &Value) -> Vec<String> {
    let body = answer["body"].as_str().unwrap_or_default();
    let byte = |at: usize| u8::from_str_radix(&body[at..at + 2], 16).expect("hexadecimal digits");
    let body: Vec<u8> = (0..body.len()).step_by(2).map(byte).collect();
    let mut lines = metric_lines(&body, answer["time"].as_u64().unwrap_or_default());
    for entry in answer["logs"].as_array().into_iter().flatten() {
        let text = entry.as_str().unwrap_or_default();
        if !text.starts_with("call to ") {
            lines.push(logged(text.split('|')));
        }
    }
    lines
}

fn metric_lines(body: &[u8], time: u64) -> Vec<String> {
    let request = ExportMetricsServiceRequest::decode(body).expect("OTLP");
    let mut lines = Vec::new();
    for entry in &request.resource_metrics {
        let resource = entry.resource.as_ref().map(|resource| attributes(&resource.attributes)).unwrap_or_default();
        for scope in &entry.scope_metrics {
            let name = scope.scope.as_ref().map(|scope| scope.name.as_str()).unwrap_or_default();
            lines.push(format!("{} {resource} {name}", entry.schema_url));
            for metric in &scope.metrics {
                let (kind, points) = match &metric.data {
                    Some(Data::Gauge(gauge)) => ("gauge".to_owned(), &gauge.data_points),
                    Some(Data::Sum(sum)) => {
                        (format!("sum {} {}", sum.aggregation_temporality, sum.is_monotonic), &sum.data_points)
                    }
                    other => unreachable!("{other:?}"),
                };
                let head = format!("  {} {:?} {} {kind}", metric.name, metric.description, metric.unit);
                lines.extend(points.iter().map(|point| format!("{head} {}", point_text(&metric.name, point, time))));
            }
        }
    }
    lines
}

fn point_text(metric: &str, point: &NumberDataPoint, time: u64) -> String {
    let value = match point.value {
        Some(number_data_point::Value::AsDouble(v)) => format!("{v:?}"),
        Some(number_data_point::Value::AsInt(v)) => format!("int {v}"),
        None => "none".to_owned(),
    };
    // Volumes have the time when the receiver was made.
    let is_volume = metric.contains(".volume.");
    let start = match point.start_time_unix_nano {
        start if is_volume => u64::from(start != 0),
        NO_TIME => 0,
        start => start,
    };
    let offset = i128::from(point.time_unix_nano) - i128::from(time);
    format!("{} {start} {offset} {value}", attributes(&point.attributes))
}

fn check(cases: &[CorpusCase]) {
    let (mut compared_cases, mut points, mut differences) = (0, 0, Vec::new());
    for case in cases {
        let input: Value = serde_json::from_slice(&case.input).expect("JSON");
        let answer: Value = serde_json::from_slice(&case.answer).expect("JSON");
        if let Some(error) = answer["error"].as_str() {
            differences.push(format!("{error}: {input}"));
            continue;
        }
        let time = answer["time"].as_u64().filter(|time| *time > 0).unwrap_or(1_800_000_000_000_000_000);
        let (ours, theirs) = (ours(&input, time), compared(&answer));
        compared_cases += 1;
        points += theirs.len();
        if ours != theirs {
            let only = |lines: &[String], others: &[String]| {
                lines.iter().filter(|line| !others.contains(line)).take(4).cloned().collect::<Vec<_>>()
            };
            let (ours, theirs) = (only(&ours, &theirs), only(&theirs, &ours));
            differences.push(format!("only ours: {ours:#?}\nonly Go's: {theirs:#?}\nof the kubelet {input}"));
        }
    }
    let count = differences.len();
    differences.truncate(5);
    assert_eq!(count, 0, "{}", differences.join("\n\n"));
    assert!(compared_cases == cases.len() && points > 20 * cases.len(), "{compared_cases} cases, {points} lines");
}

#[test]
fn metrics_of_recorded_kubelets_are_those_of_the_go_receiver() {
    check(&read_corpus(&corpus()));
}

#[test]
#[ignore = "asks the Go receiver: run by scripts/differential"]
fn metrics_of_generated_kubelets_are_those_of_the_go_receiver() {
    let Some(cases) = ask_about_seeds("kubelet-oracle", &corpus(), SEEDS, |seed| kubelet(seed).into_bytes()) else {
        return;
    };
    check(&cases);
}
