//! What a log must have, whatever happens: a model in memory beside a log on a simulated disk.
//!
//! Owns the invariants. Each has its number in the messages:
//! - I1: what was reported durable is read after a restart, unless it was marked delivered.
//! - I2: what is read was appended, byte for byte, and in order.
//! - I3: a group is durable as a whole and in order.
//! - I4: a mark never covers a record that was not marked.
//! - I5: bytes on disk and in memory are bounded.
//! - I6: a recovery reads each byte at most twice.
//! - I7: a crash during a recovery changes none of this.
//! - I9: damage that nobody has done is not reported.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use otelcore_pipeline::WallTime;
use otelcore_reactor::{DiskFaults, SimDisk};

use super::rig::{DIR, Rig};
use crate::log::Phase;
use crate::{JobKind, LogConfig, LogEvent, OpenError, Record, RecordMeta, Refused, Trouble};

/// A record of the model.
#[derive(Clone, Debug, Default)]
struct Known {
    length: usize,
    is_durable: bool,
    is_refused: bool,
    is_marked: bool,
    /// The mark is durable.
    is_surely_marked: bool,
    /// The process that has marked it.
    marked_by: u64,
    /// It is in `dead/`, or on the way.
    is_buried: bool,
}

/// The state of a run.
pub(super) struct Model {
    pub(super) rig: Rig,
    records: BTreeMap<u64, Known>,
    /// Records by sequence that this process has appended or read.
    sequences: BTreeMap<u64, u64>,
    next_id: u64,
    process: u64,
    polls: u64,
    next_read: u64,
    last_read: u64,
    /// Bits that were flipped, and writes that went elsewhere.
    pub(super) flips: u64,
    had_sync_errors: bool,
    had_io_errors: bool,
    has_crashed: bool,
    reported: u64,
    torn: u64,
    bytes_before_open: u64,
    pub(super) coverage: BTreeMap<String, u64>,
    pub(super) trace: u64,
    has_known_bound: bool,
    /// Makes the run fail: a record is expected that was never appended.
    pub(super) expects_another_record: bool,
    /// The first crash is followed by another one after so many operations.
    pub(super) crash_again_after: Option<u64>,
    /// Prints what happens.
    pub(super) is_verbose: bool,
}

fn content(id: u64, length: usize) -> (RecordMeta, Bytes) {
    let context = if id.is_multiple_of(2) { Bytes::from(format!("record {id}")) } else { Bytes::new() };
    let meta = RecordMeta { kind: (id % 3) as u8, items: (id % 7) as u32, time: WallTime(id), context };
    (meta, (0..length).map(|at| (id * 31 + at as u64 * 7) as u8).collect::<Vec<u8>>().into())
}

macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(format!($($text)*));
        }
    };
}

impl Model {
    pub(super) fn new(disk: SimDisk, config: LogConfig) -> Self {
        Self {
            rig: Rig::new(disk, config),
            records: BTreeMap::new(),
            sequences: BTreeMap::new(),
            next_id: 1,
            process: 1,
            polls: 0,
            next_read: 0,
            last_read: 0,
            flips: 0,
            had_sync_errors: false,
            had_io_errors: false,
            has_crashed: false,
            reported: 0,
            torn: 0,
            bytes_before_open: 0,
            coverage: BTreeMap::new(),
            trace: 0,
            has_known_bound: true,
            expects_another_record: false,
            crash_again_after: None,
            is_verbose: false,
        }
    }

    pub(super) fn count(&mut self, what: impl Into<String>) {
        *self.coverage.entry(what.into()).or_default() += 1;
    }

    fn has_damage(&self) -> bool {
        self.flips > 0 || self.rig.disk.misdirected() > 0
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.rig.log.phase, Phase::Open)
    }

    pub(super) fn set_faults(&mut self, faults: DiskFaults) {
        self.had_sync_errors |= faults.sync_errors > 0;
        self.had_io_errors |= faults != DiskFaults::default();
        self.has_known_bound &= faults.write_errors == 0 && !faults.is_read_only;
        self.rig.disk.set_faults(faults);
    }

    // ---- actions -----------------------------------------------------------------------------------------------

    pub(super) fn append(&mut self, length: usize) {
        let id = self.next_id;
        let (meta, body) = content(id, length);
        match self.rig.log.append(meta, body) {
            Ok(sequence) => {
                self.next_id += 1;
                self.records.insert(id, Known { length, ..Known::default() });
                self.sequences.insert(sequence, id);
            }
            Err(Refused::Full { .. }) => self.count("full"),
            Err(Refused::Busy(_)) => self.count("busy"),
            Err(_) => {}
        }
    }

    /// Marks records from `sequence` on that this process knows, at most `count`.
    pub(super) fn mark(&mut self, choice: u64, count: u64) {
        let is_candidate = |id: &u64| self.records.get(id).is_some_and(|known| !known.is_marked && !known.is_refused);
        let candidates: Vec<u64> =
            self.sequences.iter().filter(|(_, id)| is_candidate(id)).map(|(sequence, _)| *sequence).collect();
        // Mostly from the front, as a queue does.
        let index = if choice.is_multiple_of(3) { choice / 3 } else { 0 } % candidates.len().max(1) as u64;
        let Some(first) = candidates.get(index as usize).copied() else { return };
        let mut end = first;
        while end < first + count && candidates.binary_search(&end).is_ok() {
            if let Some(known) = self.sequences.get(&end).and_then(|id| self.records.get_mut(id)) {
                known.is_marked = true;
                known.marked_by = self.process;
            }
            end += 1;
        }
        if self.is_verbose {
            println!("mark {first}..{end}");
        }
        self.rig.log.mark_delivered(first..end);
    }

    pub(super) fn bury(&mut self) {
        let is_candidate = |id: &u64| {
            self.records.get(id).is_some_and(|known| known.is_durable && !known.is_marked && !known.is_buried)
        };
        let candidate = self.sequences.iter().find(|(_, id)| is_candidate(id)).map(|(sequence, id)| (*sequence, *id));
        let Some((sequence, id)) = candidate else { return };
        let Some(known) = self.records.get_mut(&id) else { return };
        let (meta, body) = content(id, known.length);
        if self.rig.log.bury(Record { sequence, meta, body }, "a reason").is_ok() {
            known.is_buried = true;
        }
    }

    pub(super) fn read(&mut self) {
        if !self.rig.log.is_reading() {
            self.rig.log.read(self.next_read, 1500);
        }
    }

    pub(super) fn flip_bit(&mut self) {
        if self.rig.disk.flip_bit().is_some() {
            self.flips += 1;
            self.count("bit flip");
        }
    }

    /// What a job does, for counting.
    fn state_of(&self, kind: JobKind) -> &'static str {
        match kind {
            JobKind::Write if matches!(self.rig.log.phase, Phase::Recovering(_)) => "recovery",
            JobKind::Write => "write",
            JobKind::Read => "read",
            JobKind::Maintain => "maintenance",
        }
    }

    pub(super) fn run_job(&mut self, index: usize) {
        let Some((kind, _)) = self.rig.jobs.get(index) else { return };
        let state = self.state_of(*kind);
        self.rig.run_job(index);
        if self.is_verbose {
            let paths = self.rig.disk.paths();
            let names = paths.iter().filter_map(|path| path.file_stem()).map(|name| name.to_string_lossy());
            let names: Vec<_> = names.map(|name| name.trim_start_matches('0').to_owned()).collect();
            println!("{state}: {}", names.join(" "));
        }
        if self.rig.disk.has_crashed() {
            self.count(format!("crash in {state}"));
            self.crash();
        }
    }

    /// The machine ends.
    pub(super) fn crash(&mut self) {
        self.has_crashed = true;
        self.rig.disk.crash();
        self.restart();
        if let Some(count) = self.crash_again_after.take() {
            self.rig.disk.crash_after(count);
        }
    }

    /// The process ends in the middle of its jobs. Each runs for `choose` operations.
    pub(super) fn kill(&mut self, mut choose: impl FnMut() -> u64) {
        self.has_crashed = true;
        for (kind, job) in std::mem::take(&mut self.rig.jobs) {
            let state = self.state_of(kind);
            self.rig.disk.run_in_part(job, choose());
            self.count(format!("kill in {state}"));
        }
        self.restart();
    }

    /// Another process begins on the same disk.
    pub(super) fn restart(&mut self) {
        if self.is_verbose {
            println!("restart");
        }
        let config = self.rig.log.config.clone();
        let placeholder = Rig::new(SimDisk::new(0), config);
        self.rig = std::mem::replace(&mut self.rig, placeholder).restart();
        self.sequences.clear();
        self.process += 1;
        self.next_read = 0;
        self.last_read = 0;
        self.bytes_before_open = self.rig.disk.bytes_read();
    }

    /// Another process tries to open the log.
    pub(super) fn second_process(&mut self) -> Result<(), String> {
        if !self.is_open() || self.rig.disk.faults() != DiskFaults::default() {
            return Ok(());
        }
        let mut second = crate::Log::new(DIR, self.rig.log.config.clone(), [3, 4]);
        if let Some((_, job)) = second.poll_job() {
            job(&mut self.rig.disk);
        }
        if self.rig.disk.has_crashed() {
            self.crash();
            return Ok(());
        }
        second.handle_job_ends();
        let event = second.poll_event();
        let is_refused = matches!(event, Some(LogEvent::OpenFailed(OpenError::InUse(_))));
        ensure!(is_refused, "a second process is not refused: {event:?}");
        self.count("second process");
        Ok(())
    }

    // ---- checks ------------------------------------------------------------------------------------------------

    pub(super) fn poll(&mut self) -> Result<(), String> {
        let generation = self.rig.log.marks.generation;
        self.rig.poll();
        if self.rig.log.failed_groups > 0 {
            self.count("group written again");
        }
        if self.rig.log.marks.generation > generation && generation > 0 {
            self.count("marks written anew");
        }
        for event in self.rig.take_events() {
            let text = format!("{event:?}");
            if self.is_verbose {
                println!("{text}");
            }
            self.trace = crc32c::crc32c_append(self.trace as u32, text.as_bytes()).into();
            self.handle(event)?;
        }
        if self.is_open() && !self.rig.log.has_unsynced_marks() {
            let process = self.process;
            for known in self.records.values_mut().filter(|known| known.marked_by == process) {
                known.is_surely_marked |= known.is_marked;
            }
        }
        self.polls += 1;
        if self.polls.is_multiple_of(16) { self.check_bounds() } else { Ok(()) }
    }

    fn handle(&mut self, event: LogEvent) -> Result<(), String> {
        let name = format!("{event:?}");
        let name = name.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
        self.count(name);
        let is_working = self.rig.disk.faults() == DiskFaults::default();
        match event {
            LogEvent::Durable { up_to } => self.are_durable(up_to),
            LogEvent::Refused { range, trouble } => {
                match trouble {
                    Trouble::NoSpace(_) => self.count("refused: no space"),
                    Trouble::ReadOnly(_) => self.count("refused: read-only"),
                    Trouble::Broken(_) => self.count("refused: broken"),
                }
                for (sequence, id) in self.sequences.range(range) {
                    let Some(known) = self.records.get_mut(id) else { continue };
                    ensure!(!known.is_durable, "I1: {sequence} was durable and is refused");
                    known.is_refused = true;
                }
            }
            LogEvent::Read(result) => {
                for record in &result.records {
                    self.check_record(record)?;
                }
                self.next_read = result.next;
            }
            LogEvent::Recovered(_) => self.check_recovery()?,
            LogEvent::Quarantined { records, copy, is_unacknowledged, .. } => {
                self.reported += records;
                let is_unreadable = copy.is_none() && self.had_io_errors;
                let is_expected = self.has_damage() || is_unacknowledged || is_unreadable || self.had_sync_errors;
                ensure!(is_expected, "I9: {records} records in quarantine without damage");
                let only_flips = self.flips < 10_000
                    && self.rig.disk.misdirected() == 0
                    && !self.had_io_errors
                    && !is_unacknowledged;
                ensure!(copy.is_some() || !only_flips, "damaged bytes are not copied");
            }
            LogEvent::TornTail { .. } => {
                self.torn += 1;
                ensure!(self.has_crashed || self.has_damage() || self.had_io_errors, "I9: torn without a crash");
            }
            LogEvent::Missing { records } => {
                self.reported += records;
                // A process that ended after a failed sync leaves records that are lost later, and were not acknowledged.
                let is_expected = self.has_damage() || self.had_sync_errors;
                ensure!(is_expected, "I9: {records} records are missing without damage");
            }
            LogEvent::MarksDamaged => {
                ensure!(self.has_crashed || self.has_damage() || self.had_io_errors, "I9: marks damaged");
            }
            LogEvent::OpenFailed(e) => ensure!(!is_working || self.has_damage() || self.had_io_errors, "{e}"),
            LogEvent::ReadFailed(e) => ensure!(!is_working || self.had_io_errors, "{e}"),
            LogEvent::Buried { sequence, result } => {
                if let Some(known) = self.sequences.get(&sequence).and_then(|id| self.records.get_mut(id)) {
                    known.is_marked |= result.is_ok();
                    known.is_buried = result.is_ok();
                    known.marked_by = self.process;
                }
            }
            LogEvent::Trouble(_) | LogEvent::Working | LogEvent::Closed => {}
        }
        Ok(())
    }

    fn are_durable(&mut self, up_to: u64) {
        for id in self.sequences.range(..up_to).map(|(_, id)| *id) {
            if let Some(known) = self.records.get_mut(&id)
                && !known.is_refused
            {
                known.is_durable = true;
            }
        }
    }

    fn check_record(&mut self, record: &Record) -> Result<(), String> {
        let (sequence, id) = (record.sequence, record.meta.time.0);
        let has_damage = self.has_damage();
        let Some(known) = self.records.get_mut(&id) else { return Err(format!("I2: {sequence} was never appended")) };
        let (meta, body) = content(id, known.length);
        ensure!(record.meta == meta && record.body == body, "I2: {sequence} has another content");
        let is_marked_here = known.is_marked && known.marked_by == self.process;
        ensure!(!is_marked_here, "{sequence} was marked and is read again");
        ensure!(!known.is_surely_marked || has_damage, "the durable mark of {sequence} is forgotten");
        ensure!(sequence > self.last_read, "I2: {sequence} is read after {}", self.last_read);
        self.last_read = sequence;
        if let Some(other) = self.sequences.insert(sequence, id) {
            ensure!(other == id, "I2: {sequence} is record {other} and record {id}");
        }
        Ok(())
    }

    fn check_recovery(&mut self) -> Result<(), String> {
        let mut on_disk = 0;
        for path in self.rig.disk.paths() {
            on_disk += self.rig.disk.content(path).map_or(0, |content| content.len() as u64);
        }
        let read = self.rig.disk.bytes_read() - self.bytes_before_open;
        let had_failures = self.had_io_errors;
        ensure!(had_failures || read <= 2 * on_disk + 8192, "I6: {read} of {on_disk} bytes were read");
        Ok(())
    }

    fn check_bounds(&self) -> Result<(), String> {
        let (log, config) = (&self.rig.log, &self.rig.log.config);
        let pending: usize = log.pending.iter().map(|record| record.body.len()).sum();
        ensure!(pending <= config.max_pending_bytes + config.max_record_bytes, "I5: {pending} bytes wait");
        ensure!(log.events.len() < 1000, "I5: {} events", log.events.len());
        if let Some(max) = config.max_bytes.filter(|_| self.has_known_bound) {
            let segments = self.rig.disk.paths().into_iter().filter(|path| path.parent() == Some(Path::new(DIR)));
            let segments = segments.filter(|path| path.extension().is_some_and(|extension| extension == "seg"));
            let used: usize = segments.filter_map(|path| self.rig.disk.content(path)).map(|c| c.len()).sum();
            let bound = max + 3 * config.segment_size() + 10_000;
            ensure!(used as u64 <= bound, "I5: {used} bytes on disk, {max} permitted");
        }
        Ok(())
    }

    /// Runs jobs until nothing is left to do.
    pub(super) fn rest(&mut self) -> Result<(), String> {
        for _ in 0..5000 {
            self.poll()?;
            if self.rig.jobs.is_empty() {
                return Ok(());
            }
            self.run_job(0);
        }
        Err("the log does not come to rest".to_owned())
    }

    /// Ends all faults, and brings the log to rest. False where it says that it can't be opened.
    fn settle(&mut self) -> Result<bool, String> {
        self.rig.disk.set_faults(DiskFaults::default());
        self.rig.disk.crash_after(u64::MAX);
        for _ in 0..3 {
            self.rig.log.retry();
            self.rest()?;
        }
        if !self.is_open() {
            ensure!(self.has_damage(), "the log does not open");
            return Ok(false);
        }
        ensure!(self.rig.log.trouble().is_none(), "trouble without a fault: {:?}", self.rig.log.trouble());
        for (sequence, id) in &self.sequences {
            let is_known = self.records.get(id).is_none_or(|known| known.is_durable || known.is_refused);
            let was_read = *sequence <= self.last_read;
            ensure!(is_known || was_read, "{sequence} is neither durable nor refused");
        }
        Ok(true)
    }

    /// Ends the run: after a crash, everything that has to be there is read, and can be delivered.
    pub(super) fn finish(&mut self, crashes: bool) -> Result<(), String> {
        if !self.settle()? {
            return Ok(());
        }
        if crashes {
            self.crash();
        } else {
            self.rig.log.close();
            self.rest()?;
            self.restart();
        }
        if !self.settle()? {
            return Ok(());
        }
        for _ in 0..1000 {
            if self.next_read >= self.rig.log.durable_up_to() {
                break;
            }
            self.read();
            self.rest()?;
        }
        ensure!(self.next_read >= self.rig.log.durable_up_to(), "reading does not end");
        self.check_loss()?;
        self.rig.log.mark_delivered(0..u64::MAX);
        self.rig.log.close();
        self.rest()?;
        self.restart();
        if self.settle()? {
            let stats = self.rig.log.stats();
            ensure!(stats.records == 0, "{} records are left", stats.records);
            ensure!(stats.segments == 0 || self.has_damage(), "{} segments are left", stats.segments);
        }
        Ok(())
    }

    fn check_loss(&mut self) -> Result<(), String> {
        if self.expects_another_record {
            self.records.insert(0, Known { is_durable: true, ..Known::default() });
        }
        let read: BTreeSet<u64> = self.sequences.values().copied().collect();
        let is_lost =
            |id: &u64, known: &Known| known.is_durable && !(known.is_marked || known.is_buried || read.contains(id));
        let lost: Vec<u64> = self.records.iter().filter(|(id, known)| is_lost(id, known)).map(|(id, _)| *id).collect();
        let permitted = self.flips + 80 * self.rig.disk.misdirected();
        ensure!(lost.len() as u64 <= permitted, "I1: lost {lost:?}, {permitted} permitted");
        let is_told =
            lost.len() as u64 <= self.reported + self.torn || permitted > 10_000 || self.rig.disk.misdirected() > 0;
        ensure!(is_told, "lost {lost:?}, {} reported", self.reported);
        Ok(())
    }
}
