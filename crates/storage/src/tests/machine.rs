//! The log on the files of the machine, whose jobs run on helper threads.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use otelcore_pipeline::{Cx, World};
use otelcore_reactor::RealWorld;

use super::rig::{body, meta};
use crate::{Log, LogConfig, LogEvent, OpenError};

/// Steps of a millisecond that a test waits at most.
const PATIENCE: u32 = 60_000;

/// A directory that is removed at the end.
struct TemporaryDir(PathBuf);

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Machine {
    world: RealWorld,
    log: Log,
    events: Vec<LogEvent>,
}

impl Machine {
    fn new(dir: &TemporaryDir) -> Self {
        let mut world = RealWorld::new().unwrap();
        let random = [world.random(), world.random()];
        let log = Log::new(dir.0.join("otlp"), LogConfig::default(), random);
        Self { world, log, events: Vec::new() }
    }

    fn turn(&mut self) {
        self.log.handle_job_ends();
        while let Some((kind, job)) = self.log.poll_job() {
            let _ = Cx::new(&mut self.world, 1).run_file_job(kind.number(), job);
        }
        while let Some(event) = self.log.poll_event() {
            self.events.push(event);
        }
    }

    fn wait_for(&mut self, what: &str, is_it: impl Fn(&LogEvent) -> bool) -> LogEvent {
        for _ in 0..PATIENCE {
            self.turn();
            if let Some(at) = self.events.iter().position(&is_it) {
                return self.events.remove(at);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("{what} does not come: {:?}", self.events);
    }
}

fn temporary_dir() -> TemporaryDir {
    let random = RealWorld::new().unwrap().random();
    TemporaryDir(std::env::temp_dir().join(format!("otelcore-storage-{random:016x}")))
}

#[test]
fn log_of_a_process_that_ended_is_read_by_the_next_one_and_by_no_second_one() {
    let dir = temporary_dir();
    let mut first = Machine::new(&dir);
    first.wait_for("the log", |event| matches!(event, LogEvent::Recovered(_)));
    for number in 1..=100 {
        first.log.append(meta(number), body(number, 3000)).unwrap();
        first.turn();
    }
    first.wait_for("the last record", |event| *event == LogEvent::Durable { up_to: 101 });
    first.log.mark_delivered(1..50);
    for _ in 0..PATIENCE {
        first.turn();
        if first.log.maintain_slot.is_none() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }

    let mut second = Machine::new(&dir);
    let event = second.wait_for("the refusal", |event| matches!(event, LogEvent::OpenFailed(_)));
    assert!(matches!(event, LogEvent::OpenFailed(OpenError::InUse(_))), "{event:?}");
    // The process ends without closing it.
    drop(first);
    second.log.retry();
    let event = second.wait_for("the log", |event| matches!(event, LogEvent::Recovered(_)));
    let LogEvent::Recovered(recovered) = event else { panic!("{event:?}") };
    assert_eq!((recovered.records, recovered.first), (51, 50));
    second.log.read(0, 1 << 20);
    let event = second.wait_for("records", |event| matches!(event, LogEvent::Read(_)));
    let LogEvent::Read(result) = event else { panic!("{event:?}") };
    let read: Vec<_> = result.records.iter().map(|record| (record.sequence, record.body.clone())).collect();
    let expected: Vec<_> = (50..=100_u8).map(|number| (u64::from(number), body(number, 3000))).collect();
    assert_eq!(read, expected);
    second.log.close();
    second.wait_for("the end", |event| *event == LogEvent::Closed);
}

/// Prints what the disk allows: `cargo test --release -p otelcore-storage -- --ignored --nocapture throughput`.
#[test]
#[ignore = "a measurement"]
fn throughput_of_durable_records() {
    for clients in [1_usize, 10, 100] {
        let dir = temporary_dir();
        let mut machine = Machine::new(&dir);
        machine.wait_for("the log", |event| matches!(event, LogEvent::Recovered(_)));
        let record = Bytes::from(vec![7; 20_000]);
        let begin = machine.world.now();
        let (mut sent, mut durable) = (0_u64, 0_u64);
        while durable < 3000 {
            while sent < durable + clients as u64 {
                machine.log.append(meta(1), record.clone()).unwrap();
                sent += 1;
            }
            machine.turn();
            for event in machine.events.drain(..) {
                if let LogEvent::Durable { up_to } = event {
                    durable = up_to - 1;
                }
            }
            machine.log.mark_delivered(0..durable.saturating_sub(1000));
            std::thread::yield_now();
        }
        let seconds = machine.world.now().since(begin).as_secs_f64();
        let groups = machine.log.stats().groups;
        println!(
            "{clients} clients: {:.0} records/s, {:.1} MB/s, {groups} syncs",
            durable as f64 / seconds,
            durable as f64 * 0.02 / seconds
        );
    }
}
