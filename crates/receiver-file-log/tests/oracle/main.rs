//! Records compared with those of the Go receiver: recorded answers in the first tier, the running Go code by
//! `scripts/differential`.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "a test")]

mod cases;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_pipeline::FileSystem;
use otelcore_reactor::SimDisk;
use otelcore_receiver_file_log::{FileConsumer, FileLogConfig, StepOutput, StepTime};
use otelcore_test_support::{ask_about_seeds, read_corpus};
use prost::Message;
use serde_json::Value;

const CASES: u64 = 700;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/file_log.corpus.zst");

/// The directory of the files, in the place of the one that Go has.
const DIR: &str = "/DIR";

fn show_value(value: &AnyValue, out: &mut String) {
    match &value.value {
        None => out.push_str("nil"),
        Some(ProtoValue::ArrayValue(array)) => {
            out.push('[');
            for value in &array.values {
                show_value(value, out);
                out.push(' ');
            }
            out.push(']');
        }
        Some(ProtoValue::KvlistValue(map)) => show_map(&map.values, out),
        Some(other) => out.push_str(&format!("{other:?}")),
    }
}

fn show_map(entries: &[KeyValue], out: &mut String) {
    let mut entries: Vec<&KeyValue> = entries.iter().collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    out.push('{');
    for entry in entries {
        out.push_str(&format!("{}: ", entry.key));
        if let Some(value) = &entry.value {
            show_value(value, out);
        }
        out.push_str(", ");
    }
    out.push('}');
}

fn show_record(resource: &str, scope: &str, record: &LogRecord) -> String {
    let mut out = format!("{} sev={} {:?} body=", record.time_unix_nano, record.severity_number, record.severity_text);
    let no_body = AnyValue::default();
    show_value(record.body.as_ref().unwrap_or(&no_body), &mut out);
    out.push_str(" attributes=");
    show_map(&record.attributes, &mut out);
    out.push_str(&format!(
        " resource={resource} scope={scope:?} ids={:02x?} {:02x?} {}",
        record.trace_id, record.span_id, record.flags
    ));
    out
}

/// The records of a request as text, sorted: the order of files is not defined.
fn show(body: &[u8]) -> Vec<String> {
    let request = ExportLogsServiceRequest::decode(body).unwrap();
    let mut records = Vec::new();
    for resource in &request.resource_logs {
        let mut shown = String::new();
        show_map(resource.resource.as_ref().map_or(&[], |resource| &resource.attributes), &mut shown);
        for scope in &resource.scope_logs {
            let name = scope.scope.as_ref().map_or("", |scope| &scope.name);
            records.extend(scope.log_records.iter().map(|record| show_record(&shown, name, record)));
        }
    }
    records.sort();
    records
}

struct Run {
    disk: SimDisk,
    consumer: FileConsumer,
    now: u64,
    body: Vec<u8>,
}

impl Run {
    fn take(&mut self, output: StepOutput) -> bool {
        if let Some(logs) = output.logs {
            // Requests one after the other are one request.
            self.body.extend(logs.body.to_bytes());
        }
        output.has_ended
    }

    fn poll(&mut self, millis: u64) {
        for _ in 0..millis / 50 {
            self.now += 50_000_000;
            for _ in 0..1000 {
                let output = self.consumer.step(&mut self.disk, StepTime { wall_nanos: self.now, seed: 1 });
                if self.take(output) {
                    break;
                }
            }
        }
    }

    fn step(&mut self, step: &Value) -> io::Result<()> {
        let path = |key: &str| PathBuf::from(DIR).join(step[key].as_str().unwrap_or_default());
        let (file, to) = (path("file"), path("to"));
        self.disk.set_now(otelcore_pipeline::WallTime(self.now));
        match step["op"].as_str().unwrap_or_default() {
            "write" => {
                let data = base64::engine::general_purpose::STANDARD.decode(step["data"].as_str().unwrap()).unwrap();
                self.disk.create_dir_all(file.parent().unwrap(), 0o755)?;
                if self.disk.metadata(&file).is_err() {
                    self.disk.create_file(&file, 0o644)?;
                }
                self.disk.append(&file, &[&data]).map(drop)
            }
            "copy" => {
                let content = self.disk.content(&file).unwrap_or_default();
                let _ = self.disk.remove_file(&to);
                self.disk.create_file(&to, 0o644)?;
                self.disk.append(&to, &[&content]).map(drop)
            }
            "truncate" => self.disk.set_len(&file, 0),
            "rename" => self.disk.rename(&file, &to),
            "wait" => {
                self.poll(400);
                Ok(())
            }
            other => panic!("{other}"),
        }
    }
}

/// What this receiver makes of an input: records, or an error of the configuration.
fn answer(input: &[u8]) -> Result<Vec<String>, String> {
    let input: Value = serde_json::from_slice(input).unwrap();
    let yaml = input["config"].as_str().unwrap().replace("DIR", DIR);
    let d = Diagnostics::new();
    let node = from_yaml(&yaml, &d).unwrap();
    let config =
        FileLogConfig::read_section(Section::new(Some(&node), "receivers::file_log", &d), &FileLogConfig::default());
    let errors: Vec<String> = d
        .items()
        .into_iter()
        .filter(|item| item.severity == otelcore_config::Severity::Error)
        .map(|item| item.message)
        .collect();
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    let consumer = FileConsumer::new(&config, BTreeMap::new(), otelcore_go_text::time::Location::utc())?;
    let mut disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR), 0o755).unwrap();
    let mut run = Run { disk, consumer, now: 1_790_000_000_000_000_000, body: Vec::new() };
    for step in input["steps"].as_array().unwrap() {
        // A step that is not possible fails in Go as well, and then no records are compared.
        run.step(step).map_err(|error| error.to_string())?;
    }
    let rest = run.consumer.drain(StepTime { wall_nanos: run.now, seed: 1 });
    run.take(rest);
    Ok(show(&run.body).into_iter().map(|line| line.replace(DIR, "DIR")).collect())
}

/// Compares an answer of Go with ours; `None` where they agree.
fn difference(input: &[u8], go: &[u8]) -> Option<String> {
    let (kind, body) = go.split_first().unwrap();
    let go: Result<Vec<String>, String> =
        if *kind == 0 { Ok(show(body)) } else { Err(String::from_utf8_lossy(body).into_owned()) };
    let ours = answer(input);
    let agrees = match (&go, &ours) {
        (Ok(go), Ok(ours)) => go == ours,
        (Err(_), Err(_)) => true,
        _ => false,
    };
    let shown = || {
        let input: Value = serde_json::from_slice(input).unwrap();
        let mut text = format!("--- config\n{}\n--- steps\n", input["config"].as_str().unwrap());
        for step in input["steps"].as_array().unwrap() {
            let data = step["data"].as_str().map(|data| {
                String::from_utf8_lossy(&base64::engine::general_purpose::STANDARD.decode(data).unwrap()).into_owned()
            });
            text.push_str(&format!("{} {} {} {data:?}\n", step["op"], step["file"], step["to"]));
        }
        text.push_str(&format!("--- go\n{go:#?}\n--- ours\n{ours:#?}\n"));
        text
    };
    (!agrees).then(shown)
}

fn compare(cases: &[otelcore_test_support::CorpusCase]) {
    let mut differences = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        if let Some(text) = difference(&case.input, &case.answer) {
            differences.push(format!("===== case {index}\n{text}"));
        }
    }
    let shown = differences.iter().take(12).cloned().collect::<String>();
    assert!(differences.is_empty(), "{} of {} cases differ\n{shown}", differences.len(), cases.len());
}

#[test]
fn recorded_answers_of_the_go_receiver_are_the_same() {
    let cases = read_corpus(Path::new(CORPUS));
    assert!(cases.len() >= 600);
    compare(&cases);
}

/// Run by `scripts/differential`.
#[test]
#[ignore = "runs the Go receiver"]
fn answers_of_the_running_go_receiver_are_the_same() {
    let input = |seed| cases::input(seed).to_string().into_bytes();
    if let Some(cases) = ask_about_seeds("filelog-oracle", Path::new(CORPUS), CASES, input) {
        compare(&cases);
    }
}
