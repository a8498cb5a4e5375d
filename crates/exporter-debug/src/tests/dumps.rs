//! Dumps against golden texts, trailing blanks included.

use otelcore_pdata::{Rope, Signal};

use super::telemetry;
use crate::dumps;

fn assert_dump(dump: Vec<u8>, golden: &str) {
    let dump = String::from_utf8(dump).unwrap();
    for (number, (line, expected)) in dump.lines().zip(golden.lines()).enumerate() {
        assert_eq!(line, expected, "line {}", number + 1);
    }
    assert_eq!(dump, golden);
}

#[test]
fn detailed_dump_of_spans_has_every_field() {
    assert_dump(dumps::detailed_dump(Signal::Traces, &telemetry::traces()), include_str!("golden/traces_detailed.txt"));
}

#[test]
fn normal_dump_of_spans_has_one_line_each() {
    assert_dump(dumps::normal_dump(Signal::Traces, &telemetry::traces()), include_str!("golden/traces_normal.txt"));
}

#[test]
fn detailed_dump_of_metrics_has_every_field() {
    assert_dump(
        dumps::detailed_dump(Signal::Metrics, &telemetry::metrics()),
        include_str!("golden/metrics_detailed.txt"),
    );
}

#[test]
fn normal_dump_of_metrics_has_one_line_for_each_point() {
    assert_dump(dumps::normal_dump(Signal::Metrics, &telemetry::metrics()), include_str!("golden/metrics_normal.txt"));
}

#[test]
fn detailed_dump_of_log_records_has_every_field() {
    assert_dump(dumps::detailed_dump(Signal::Logs, &telemetry::logs()), include_str!("golden/logs_detailed.txt"));
}

#[test]
fn normal_dump_of_log_records_has_one_line_each() {
    assert_dump(dumps::normal_dump(Signal::Logs, &telemetry::logs()), include_str!("golden/logs_normal.txt"));
}

#[test]
fn dump_of_several_bodies_numbers_resources_across_them() {
    let mut batch = telemetry::traces();
    batch.append(telemetry::traces());
    let dump = String::from_utf8(dumps::normal_dump(Signal::Traces, &batch)).unwrap();
    let numbers: Vec<_> = dump.lines().filter(|l| l.starts_with("ResourceTraces #")).map(|l| &l[15..17]).collect();
    assert_eq!(numbers, ["#0", "#1", "#2", "#3"]);
}

#[test]
fn dump_of_an_empty_body_is_empty() {
    for signal in Signal::ALL {
        assert_eq!(dumps::normal_dump(signal, &Rope::default()), b"");
        assert_eq!(dumps::detailed_dump(signal, &Rope::default()), b"");
    }
}
