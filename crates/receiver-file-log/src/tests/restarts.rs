//! Rotations and restarts at every point, from seeds: no line is lost, and none is read twice without a crash.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use otelcore_go_text::time::Location;
use otelcore_pipeline::{FileSystem, StorageLocation};
use otelcore_reactor::SimDisk;
use otelcore_stanza::encode::EncodedLogs;
use otelcore_storage::ValueFile;
use otelcore_test_support::Choices;
use prost::Message;

use super::config;
use crate::{FileConsumer, StepOutput, StepTime};

const YAML: &str = "{include: [/logs/*], start_at: beginning, storage: file_storage}";

/// A machine with a file of logs, and a collector that reads it.
struct Machine {
    disk: SimDisk,
    consumer: FileConsumer,
    now: u64,
    /// How many lines have been written.
    written: usize,
    /// How often each line was delivered.
    delivered: BTreeMap<String, usize>,
    /// Requests without an outcome.
    waiting: Vec<EncodedLogs>,
}

fn consumer() -> FileConsumer {
    let (config, messages) = config(YAML);
    assert_eq!(messages, Vec::<String>::new());
    let location = StorageLocation {
        directory: "/storage/positions".into(),
        root_mode: Some(0o750),
        fsync: true,
        min_free_bytes: 0,
        lock_timeout: Duration::ZERO,
        recreate: false,
    };
    let consumer = FileConsumer::new(&config, BTreeMap::new(), Location::utc()).unwrap();
    consumer.with_store(Box::new(ValueFile::new(location)), 0)
}

impl Machine {
    fn new(seed: u64) -> Self {
        let mut disk = SimDisk::new(seed);
        disk.create_dir_all(Path::new("/logs"), 0o755).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        Self {
            disk,
            consumer: consumer(),
            now: 1_790_000_000_000_000_000,
            written: 0,
            delivered: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Writes a line durably, perhaps in two parts.
    fn write(&mut self, c: &mut Choices) {
        let path = Path::new("/logs/a.log");
        if self.disk.metadata(path).is_err() {
            self.disk.create_file(path, 0o644).unwrap();
        }
        let line = format!("line {} of the log, with some text behind it\n", self.written);
        self.written += 1;
        let (first, second) = line.split_at(c.below(line.len()));
        self.disk.append(path, &[first.as_bytes()]).unwrap();
        if c.one_in(3) {
            self.step();
        }
        self.disk.append(path, &[second.as_bytes()]).unwrap();
        self.disk.sync_file(path).unwrap();
        self.disk.sync_dir(Path::new("/logs")).unwrap();
    }

    /// Renames the files, the oldest first.
    fn rotate(&mut self) {
        for number in (0..4).rev() {
            let from = if number == 0 { "/logs/a.log".to_owned() } else { format!("/logs/a.log.{number}") };
            let to = format!("/logs/a.log.{}", number + 1);
            if self.disk.metadata(Path::new(&from)).is_ok() && self.disk.metadata(Path::new(&to)).is_err() {
                self.disk.rename(Path::new(&from), Path::new(&to)).unwrap();
            }
        }
        self.disk.sync_dir(Path::new("/logs")).unwrap();
    }

    fn take(&mut self, output: StepOutput) -> bool {
        self.waiting.extend(output.logs);
        output.has_ended
    }

    fn step(&mut self) -> bool {
        self.now += 50_000_000;
        let output = self.consumer.step(&mut self.disk, StepTime { wall_nanos: self.now, seed: 7 });
        self.take(output)
    }

    /// The oldest request is delivered.
    fn deliver(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let logs = self.waiting.remove(0);
        let request = ExportLogsServiceRequest::decode(&logs.body.to_bytes()[..]).unwrap();
        let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        for record in scopes.flat_map(|scope| scope.log_records) {
            let Some(ProtoValue::StringValue(text)) = record.body.and_then(|body| body.value) else { panic!("a text") };
            *self.delivered.entry(text).or_default() += 1;
        }
    }

    /// The process ends, and another one starts.
    fn restart(&mut self) {
        self.waiting.clear();
        self.consumer = consumer();
    }

    fn finish(&mut self) {
        for _ in 0..8 {
            while !self.step() {}
            while !self.waiting.is_empty() {
                self.deliver();
            }
        }
    }

    /// Every line was delivered, and no more than `most` times.
    fn check(&self, what: &str, most: usize) {
        for number in 0..self.written {
            let line = format!("line {number} of the log, with some text behind it");
            let count = self.delivered.get(&line).copied().unwrap_or(0);
            assert!((1..=most).contains(&count), "{what}: {line:?} was delivered {count} times");
        }
        assert_eq!(self.delivered.len(), self.written, "{what}: nothing else is delivered");
    }
}

#[test]
fn lines_are_delivered_once_through_rotations_and_orderly_restarts() {
    for seed in 0..60 {
        let mut machine = Machine::new(seed);
        let mut c = Choices::new(seed, 2000);
        for _ in 0..30 {
            match c.below(8) {
                0..=3 => machine.write(&mut c),
                4 => machine.rotate(),
                5 => drop(machine.step()),
                6 => machine.deliver(),
                _ => {
                    while !machine.waiting.is_empty() {
                        machine.deliver();
                    }
                    let time = StepTime { wall_nanos: machine.now, seed: 7 };
                    let saved = machine.consumer.save(&mut machine.disk, time);
                    assert_eq!(saved.notices, []);
                    machine.restart();
                }
            }
        }
        machine.finish();
        machine.check(&format!("seed {seed}"), 1);
    }
}

#[test]
fn no_line_is_lost_by_a_crash_of_process_or_machine_at_any_operation() {
    for seed in 0..8 {
        for crash_after in 0..40 {
            let mut machine = Machine::new(seed);
            let mut c = Choices::new(seed, 2000);
            for _ in 0..6 {
                machine.write(&mut c);
            }
            if c.one_in(2) {
                machine.rotate();
            }
            machine.step();
            if c.one_in(2) {
                machine.deliver();
            }
            machine.write(&mut c);
            // The poll that follows stops at this operation: in the middle of reading, or of storing positions.
            if c.one_in(2) {
                machine.disk.crash_after(crash_after);
                machine.step();
                machine.disk.crash();
            } else {
                // Only the process ends: nothing of the disk is lost.
                machine.now += 50_000_000;
                let time = StepTime { wall_nanos: machine.now, seed: 7 };
                let mut consumer = std::mem::replace(&mut machine.consumer, consumer());
                let step = move |files: &mut dyn FileSystem| drop(consumer.step(files, time));
                machine.disk.run_in_part(Box::new(step), crash_after);
            }
            machine.restart();
            machine.write(&mut c);
            machine.finish();
            machine.check(&format!("seed {seed}, crash after {crash_after}"), 2);
        }
    }
}
