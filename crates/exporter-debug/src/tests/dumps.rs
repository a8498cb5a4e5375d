//! Dumps against golden texts, trailing blanks included.

use otelcore_pdata::{Rope, Signal};

use super::telemetry;
use crate::oracle;

fn same(dump: Vec<u8>, golden: &str) {
    let dump = String::from_utf8(dump).unwrap();
    for (number, (line, expected)) in dump.lines().zip(golden.lines()).enumerate() {
        assert_eq!(line, expected, "line {}", number + 1);
    }
    assert_eq!(dump, golden);
}

#[test]
fn spans_show_every_field() {
    same(oracle::detailed(Signal::Traces, &telemetry::traces()), include_str!("golden/traces_detailed.txt"));
}

#[test]
fn spans_show_one_line_each() {
    same(oracle::normal(Signal::Traces, &telemetry::traces()), include_str!("golden/traces_normal.txt"));
}

#[test]
fn metrics_of_every_kind_show_every_field() {
    same(oracle::detailed(Signal::Metrics, &telemetry::metrics()), include_str!("golden/metrics_detailed.txt"));
}

#[test]
fn metrics_of_every_kind_show_one_line_for_each_point() {
    same(oracle::normal(Signal::Metrics, &telemetry::metrics()), include_str!("golden/metrics_normal.txt"));
}

#[test]
fn log_records_show_every_field() {
    same(oracle::detailed(Signal::Logs, &telemetry::logs()), include_str!("golden/logs_detailed.txt"));
}

#[test]
fn log_records_show_one_line_each() {
    same(oracle::normal(Signal::Logs, &telemetry::logs()), include_str!("golden/logs_normal.txt"));
}

#[test]
fn a_batch_of_several_bodies_counts_resources_through_all_of_them() {
    let mut batch = telemetry::traces();
    batch.append(telemetry::traces());
    let dump = String::from_utf8(oracle::normal(Signal::Traces, &batch)).unwrap();
    let numbers: Vec<_> = dump.lines().filter(|l| l.starts_with("ResourceTraces #")).map(|l| &l[15..17]).collect();
    assert_eq!(numbers, ["#0", "#1", "#2", "#3"]);
}

#[test]
fn an_empty_body_has_an_empty_dump() {
    for signal in Signal::ALL {
        assert_eq!(oracle::normal(signal, &Rope::default()), b"");
        assert_eq!(oracle::detailed(signal, &Rope::default()), b"");
    }
}
