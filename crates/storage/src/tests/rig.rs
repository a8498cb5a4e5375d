//! Runs a log and its jobs on a simulated disk.

use std::collections::VecDeque;

use bytes::Bytes;
use otelcore_pipeline::{FileJob, WallTime};
use otelcore_reactor::SimDisk;

use crate::{JobKind, Log, LogConfig, LogEvent, ReadResult, Record, RecordMeta};

pub(super) const DIR: &str = "/queue/otlp";

/// SplitMix64.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }
}

/// A small log: segments of a few records.
pub(super) fn small_config() -> LogConfig {
    LogConfig {
        segment_bytes: 4096,
        max_pending_bytes: 16 << 10,
        max_group_bytes: 2048,
        max_record_bytes: 64 << 10,
        read_bytes: 4096,
        reserve_bytes: 1024,
        max_marks_bytes: 256,
        max_dead_bytes: 64 << 10,
        ..LogConfig::default()
    }
}

/// A log on a disk, whose jobs run when a test says so.
pub(super) struct Rig {
    pub(super) disk: SimDisk,
    pub(super) log: Log,
    pub(super) jobs: VecDeque<(JobKind, FileJob)>,
    pub(super) events: Vec<LogEvent>,
}

impl Rig {
    pub(super) fn new(disk: SimDisk, config: LogConfig) -> Self {
        Self { disk, log: Log::new(DIR, config, [7, 9]), jobs: VecDeque::new(), events: Vec::new() }
    }

    /// An open log on an empty disk.
    pub(super) fn opened() -> Self {
        let mut rig = Self::new(SimDisk::new(1), small_config());
        rig.run();
        assert!(matches!(rig.take_events()[..], [LogEvent::Recovered(_)]));
        rig
    }

    /// Ends the process, and begins another one on the same disk.
    pub(super) fn restart(self) -> Self {
        let config = self.log.config.clone();
        drop((self.log, self.jobs));
        Self::new(self.disk, config)
    }

    pub(super) fn poll(&mut self) {
        self.log.handle_job_ends();
        while let Some(job) = self.log.poll_job() {
            assert!(self.jobs.iter().all(|(kind, _)| *kind != job.0), "two jobs of a kind");
            self.jobs.push_back(job);
        }
        while let Some(event) = self.log.poll_event() {
            self.events.push(event);
        }
    }

    /// Runs one of the waiting jobs.
    pub(super) fn run_job(&mut self, index: usize) {
        if let Some((_, job)) = self.jobs.remove(index) {
            job(&mut self.disk);
        }
    }

    /// Runs jobs until none waits.
    pub(super) fn run(&mut self) {
        for _ in 0..10_000 {
            self.poll();
            if self.jobs.is_empty() {
                return;
            }
            self.run_job(0);
        }
        panic!("the log does not come to rest");
    }

    pub(super) fn take_events(&mut self) -> Vec<LogEvent> {
        std::mem::take(&mut self.events)
    }

    pub(super) fn append(&mut self, number: u8, length: usize) -> u64 {
        self.log.append(meta(number), body(number, length)).unwrap()
    }

    /// Everything that is not delivered.
    pub(super) fn read_all(&mut self) -> Vec<Record> {
        let (mut records, mut next) = (Vec::new(), 0);
        for _ in 0..100_000 {
            if next >= self.log.durable_up_to() {
                return records;
            }
            let result = self.read(next);
            records.extend(result.records);
            next = result.next;
        }
        panic!("reading does not end");
    }

    pub(super) fn read(&mut self, from: u64) -> ReadResult {
        self.log.read(from, 2000);
        self.run();
        let mut result = None;
        self.events.retain(|event| match event {
            LogEvent::Read(read) => {
                result = Some(read.clone());
                false
            }
            _ => true,
        });
        result.expect("a result")
    }
}

pub(super) fn meta(number: u8) -> RecordMeta {
    let context = Bytes::from(format!("context {number}"));
    RecordMeta { kind: number % 3, items: u32::from(number), time: WallTime(u64::from(number)), context }
}

pub(super) fn body(number: u8, length: usize) -> Bytes {
    Bytes::from(vec![number; length])
}
