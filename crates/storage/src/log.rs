//! The log as its owner sees it.
//!
//! Owns what is in memory: records that wait to be written, an entry for each segment, and the delivered sequences.
//! Performs no IO: the jobs of its modules do.

mod commit;
mod maintain;
pub(crate) mod read;
pub(crate) mod recover;
mod segments;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use otelcore_pipeline::{FileJob, FileLock};

use crate::config::LogConfig;
use crate::dead::DeadFiles;
use crate::event::{LogEvent, Refused, Stats, Trouble};
use crate::faults::{Fault, is_planted};
use crate::format::{FileKey, Record, RecordMeta, record_length};
use crate::interval_set::IntervalSet;
use crate::layout::segment_path;
use crate::marks::Marks;
use crate::slot::{JobEnd, Slot};

use self::commit::{CommitResult, Group};
use self::maintain::{MaintainResult, Maintenance};
use self::read::{Cursor, ReadOutcome};
use self::recover::{Recovery, RecoveryStep};
pub(crate) use self::segments::Segment;

/// Which job was given out. Jobs of different kinds may run at the same time; each needs a key of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum JobKind {
    /// Writes and syncs a group of records. Before the log is open, recovers it.
    Write,
    /// Reads records.
    Read,
    /// Makes segments ahead, marks deliveries, removes segments.
    Maintain,
}

impl JobKind {
    /// A number below 3, for local keys.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Write => 0,
            Self::Read => 1,
            Self::Maintain => 2,
        }
    }
}

/// The size of the first segment of a process. Each further one has twice the size, up to that of the configuration.
const FIRST_SEGMENT_BYTES: u64 = 1 << 20;

/// How many records may wait to be written.
const MAX_PENDING_RECORDS: usize = 1 << 16;

/// How far the log is.
#[derive(Debug)]
pub(crate) enum Phase {
    Recovering(Recovery),
    /// Recovery has failed, and [`Log::retry`] was not called.
    Failed,
    Open,
    /// What waits is written, then the lock is given back.
    Closing,
    Closed,
}

/// A record that is not durable.
#[derive(Clone, Debug)]
pub(crate) struct PendingRecord {
    pub(crate) sequence: u64,
    pub(crate) meta: RecordMeta,
    pub(crate) body: Bytes,
}

impl PendingRecord {
    /// Its bytes on disk.
    pub(crate) fn length(&self) -> u64 {
        record_length(self.meta.context.len(), self.body.len())
    }
}

/// A log on disk. See the crate's documentation for how it is driven.
#[derive(Debug)]
pub struct Log {
    pub(crate) dir: PathBuf,
    pub(crate) config: LogConfig,
    pub(crate) phase: Phase,
    /// The identity that a new log gets.
    pub(crate) new_identity: [u8; 16],
    pub(crate) identity: [u8; 16],
    pub(crate) lock: Option<FileLock>,

    pub(crate) next_sequence: u64,
    pub(crate) durable: u64,
    pub(crate) pending: VecDeque<PendingRecord>,
    /// Bytes on disk that the pending records and the group need.
    pub(crate) pending_bytes: u64,
    pub(crate) group: Option<Group>,
    pub(crate) failed_groups: u32,

    pub(crate) segments: BTreeMap<u64, Segment>,
    /// The number of each segment by the end of its range.
    pub(crate) by_end: BTreeMap<u64, u64>,
    /// The segment that is written to.
    pub(crate) active: Option<u64>,
    /// Number and content of the segment with records that was written before.
    pub(crate) previous: (u64, Segment),
    /// Number and bytes of the segment that was made ahead.
    pub(crate) prepared: Option<(u64, u64)>,
    /// The size of the next one.
    pub(crate) next_size: u64,
    pub(crate) next_number: u64,
    /// Undelivered records of all segments.
    pub(crate) undelivered: u64,
    /// Bytes of the files of all segments.
    pub(crate) segment_bytes: u64,

    pub(crate) delivered: IntervalSet,
    pub(crate) marks: Marks,
    pub(crate) dead: DeadFiles,
    pub(crate) maintenance: Maintenance,
    pub(crate) trouble: Option<Trouble>,

    pub(crate) cursor: Option<Cursor>,
    pub(crate) wanted_read: Option<(u64, usize)>,
    pub(crate) running_read: Option<(u64, usize)>,
    pub(crate) failed_reads: u32,

    pub(crate) events: VecDeque<LogEvent>,
    pub(crate) stats: Stats,

    pub(crate) recover_slot: Option<Slot<RecoveryStep>>,
    pub(crate) write_slot: Option<Slot<CommitResult>>,
    pub(crate) read_slot: Option<Slot<ReadOutcome>>,
    pub(crate) maintain_slot: Option<Slot<MaintainResult>>,
}

impl Log {
    /// A log in this directory. `random` becomes the identity of a log that does not exist yet, and must be another one
    /// for each log. The first jobs recover it; [`LogEvent::Recovered`] or [`LogEvent::OpenFailed`] follows.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, config: LogConfig, random: [u64; 2]) -> Self {
        let mut identity = [0; 16];
        for (place, byte) in identity.iter_mut().zip(random.iter().flat_map(|n| n.to_le_bytes())) {
            *place = byte;
        }
        let dir = dir.into();
        Self {
            phase: Phase::Recovering(Recovery::default()),
            new_identity: identity,
            identity,
            lock: None,
            next_sequence: 1,
            durable: 1,
            pending: VecDeque::new(),
            pending_bytes: 0,
            group: None,
            failed_groups: 0,
            segments: BTreeMap::new(),
            by_end: BTreeMap::new(),
            active: None,
            previous: (0, Segment { first: 1, end: 1, ..Segment::default() }),
            prepared: None,
            next_size: config.segment_size().min(FIRST_SEGMENT_BYTES),
            next_number: 1,
            undelivered: 0,
            segment_bytes: 0,
            delivered: IntervalSet::default(),
            marks: Marks::default(),
            dead: DeadFiles::default(),
            maintenance: Maintenance::default(),
            trouble: None,
            cursor: None,
            wanted_read: None,
            running_read: None,
            failed_reads: 0,
            events: VecDeque::new(),
            stats: Stats::default(),
            recover_slot: None,
            write_slot: None,
            read_slot: None,
            maintain_slot: None,
            dir,
            config,
        }
    }

    // ---- commands ----------------------------------------------------------------------------------------------

    /// Takes a record, to be written with what else waits. [`LogEvent::Durable`] with a larger sequence, or
    /// [`LogEvent::Refused`], follows. Returns its sequence.
    ///
    /// # Errors
    /// The record was not taken, and why.
    pub fn append(&mut self, meta: RecordMeta, body: Bytes) -> Result<u64, Refused> {
        if !matches!(self.phase, Phase::Open) {
            return Err(Refused::NotOpen);
        }
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone().into());
        }
        let size = meta.context.len().saturating_add(body.len());
        let max = self.config.max_record_bytes.min(1 << 31);
        if size > max {
            return Err(Refused::TooLarge { size, max });
        }
        let length = record_length(meta.context.len(), body.len());
        let used = self.bytes();
        if let Some(max) = self.config.max_bytes
            && used.saturating_add(length) > max
            && !is_planted(Fault::IgnoreMaxBytes)
        {
            return Err(Refused::Full { used, max });
        }
        let waiting = usize::try_from(self.pending_bytes).unwrap_or(usize::MAX);
        let is_full = waiting.saturating_add(size) > self.config.max_pending_bytes;
        if waiting > 0 && (is_full || self.pending.len() >= MAX_PENDING_RECORDS) {
            return Err(Refused::Busy(waiting));
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.pending_bytes += length;
        self.pending.push_back(PendingRecord { sequence, meta, body });
        Ok(sequence)
    }

    /// Reads from this sequence on, until the bodies have `max_bytes` together, at least one record.
    /// [`LogEvent::Read`] or [`LogEvent::ReadFailed`] follows. Replaces a read that was not given out as a job yet.
    pub fn read(&mut self, from: u64, max_bytes: usize) {
        self.wanted_read = Some((from, max_bytes));
    }

    /// Whether a read was requested whose event has not been polled.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        let is_read = |event: &LogEvent| matches!(event, LogEvent::Read(_) | LogEvent::ReadFailed(_));
        self.wanted_read.is_some() || self.read_slot.is_some() || self.events.iter().any(is_read)
    }

    /// Marks records as delivered. They are not read again, and a segment without others is removed. Records that are
    /// not durable yet may be marked. The marks are written soon, and synced before a segment is removed;
    /// [`Log::sync_marks`] syncs them earlier.
    pub fn mark_delivered(&mut self, range: Range<u64>) {
        let range = range.start..range.end.min(self.next_sequence);
        if range.is_empty() || self.delivered.covers(&range) {
            return;
        }
        let new = self.durable_in(&range).saturating_sub(self.delivered_durable_in(&range));
        self.undelivered = self.undelivered.saturating_sub(new);
        self.marks.waiting.insert(range.clone());
        self.find_removable(&range);
        self.delivered.insert(range);
    }

    /// Makes the marks of delivered records durable. A component calls it each second while
    /// [`Log::has_unsynced_marks`]: after a crash of the machine, what was delivered since then is delivered again.
    pub fn sync_marks(&mut self) {
        self.marks.is_sync_wanted = true;
    }

    /// Whether a crash of the machine could undo marks.
    #[must_use]
    pub fn has_unsynced_marks(&self) -> bool {
        self.marks.has_unsynced()
    }

    /// Writes a record to `dead/` with the reason why it is given up, and marks it delivered then.
    /// [`LogEvent::Buried`] follows.
    ///
    /// # Errors
    /// The record stays as it is: `dead/` has as many bytes as it may have, or too much waits to be written.
    pub fn bury(&mut self, record: Record, reason: &str) -> Result<(), Refused> {
        if !matches!(self.phase, Phase::Open) {
            return Err(Refused::NotOpen);
        }
        self.dead.push(record, reason, &self.config)
    }

    /// Tries again what has failed: opening the log, making segments, marks, removals. A component calls it from a
    /// timer, for example each second, while [`Log::needs_retry`].
    pub fn retry(&mut self) {
        match self.phase {
            Phase::Failed => self.phase = Phase::Recovering(Recovery::default()),
            Phase::Recovering(_) | Phase::Closed => {}
            Phase::Open | Phase::Closing => {
                self.maintenance.is_retry_wanted = true;
                self.marks.has_failed = false;
            }
        }
    }

    /// Refuses new records, writes what waits and the marks, and gives back the lock. [`LogEvent::Closed`] follows when
    /// nothing is left to do, also where the disk does not work.
    pub fn close(&mut self) {
        match self.phase {
            Phase::Open => {
                self.phase = Phase::Closing;
                self.marks.is_sync_wanted = true;
            }
            Phase::Recovering(_) | Phase::Failed => self.phase = Phase::Closing,
            Phase::Closing | Phase::Closed => {}
        }
        self.close_if_idle();
    }

    // ---- getters -----------------------------------------------------------------------------------------------

    /// All records below this sequence that were not refused are durable.
    #[must_use]
    pub fn durable_up_to(&self) -> u64 {
        self.durable
    }

    /// The first sequence that is not delivered.
    #[must_use]
    pub fn first_undelivered(&self) -> u64 {
        let first = self.segments.values().next().map_or(self.durable, |segment| segment.first);
        self.delivered.first_missing(first).min(self.next_sequence)
    }

    /// Why the disk does not take records now.
    #[must_use]
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Whether something has failed that [`Log::retry`] tries again: opening the log, records, marks, removals. It is
    /// tried again by itself when records can be written.
    #[must_use]
    pub fn needs_retry(&self) -> bool {
        let is_open = matches!(self.phase, Phase::Open | Phase::Closing);
        let has_failed = self.trouble.is_some() || self.marks.has_failed || self.maintenance.has_failures();
        matches!(self.phase, Phase::Failed) || (is_open && has_failed)
    }

    /// Counts.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            records: self.undelivered,
            bytes: self.bytes(),
            segments: self.segments.len(),
            pending_bytes: usize::try_from(self.pending_bytes).unwrap_or(usize::MAX),
            intervals: self.delivered.len(),
            dead_bytes: self.dead.bytes,
            ..self.stats
        }
    }

    /// Bytes that the recovery has read, and how many it will read. `None` once it has ended.
    #[must_use]
    pub fn recovery_progress(&self) -> Option<(u64, u64)> {
        match &self.phase {
            Phase::Recovering(recovery) => Some(recovery.progress()),
            _ => None,
        }
    }

    /// Bytes that count for the limit: whole files, except for that of the active segment.
    fn bytes(&self) -> u64 {
        let slack = self
            .active
            .and_then(|number| self.segments.get(&number))
            .map_or(0, |active| active.file_bytes.saturating_sub(active.used));
        self.segment_bytes.saturating_sub(slack).saturating_add(self.pending_bytes)
    }

    // ---- jobs --------------------------------------------------------------------------------------------------

    /// The next job, if there is one to be done now.
    pub fn poll_job(&mut self) -> Option<(JobKind, FileJob)> {
        if self.write_slot.is_none() && self.recover_slot.is_none() {
            let job = if matches!(self.phase, Phase::Recovering(_)) { self.recovery_job() } else { self.group_job() };
            if let Some(job) = job {
                return Some((JobKind::Write, job));
            }
        }
        if !matches!(self.phase, Phase::Open | Phase::Closing) || self.recover_slot.is_some() {
            return None;
        }
        if self.maintain_slot.is_none()
            && let Some(job) = self.maintain_job()
        {
            return Some((JobKind::Maintain, job));
        }
        if self.read_slot.is_none()
            && let Some(job) = self.read_job()
        {
            return Some((JobKind::Read, job));
        }
        None
    }

    /// Takes the results of jobs that have ended. One that was dropped before it ran is given out again.
    pub fn handle_job_ends(&mut self) {
        let panicked = || "a file operation has panicked".to_owned();
        if let Some(slot) = self.recover_slot.take() {
            match slot.end() {
                JobEnd::Pending => self.recover_slot = Some(slot),
                JobEnd::NotRun => self.recovery_not_run(),
                JobEnd::Panicked => self.recovery_failed(crate::OpenError::Io(panicked())),
                JobEnd::Done(step) => self.recovery_step_ended(step),
            }
        }
        if let Some(slot) = self.write_slot.take() {
            match slot.end() {
                JobEnd::Pending => self.write_slot = Some(slot),
                JobEnd::NotRun => self.group_not_run(),
                JobEnd::Panicked => self.group_ended(Err(Trouble::Broken(panicked()))),
                JobEnd::Done(result) => self.group_ended(result),
            }
        }
        if let Some(slot) = self.maintain_slot.take() {
            match slot.end() {
                JobEnd::Pending => self.maintain_slot = Some(slot),
                JobEnd::NotRun => self.maintain_ended(MaintainResult::not_run()),
                JobEnd::Panicked => self.maintain_ended(MaintainResult::failed(&Trouble::Broken(panicked()))),
                JobEnd::Done(result) => self.maintain_ended(result),
            }
        }
        if let Some(slot) = self.read_slot.take() {
            match slot.end() {
                JobEnd::Pending => self.read_slot = Some(slot),
                JobEnd::NotRun => self.read_not_run(),
                JobEnd::Panicked => self.read_ended(ReadOutcome::failed(panicked())),
                JobEnd::Done(result) => self.read_ended(result),
            }
        }
        self.close_if_idle();
    }

    /// What has happened, in order.
    pub fn poll_event(&mut self) -> Option<LogEvent> {
        self.events.pop_front()
    }

    // ---- what the other modules share --------------------------------------------------------------------------

    pub(crate) fn report(&mut self, event: LogEvent) {
        if let (LogEvent::Durable { up_to }, Some(LogEvent::Durable { up_to: last })) = (&event, self.events.back_mut())
        {
            *last = *up_to;
            return;
        }
        self.events.push_back(event);
    }

    pub(crate) fn key(&self, number: u64) -> FileKey {
        FileKey { log: self.identity, number }
    }

    pub(crate) fn segment_path(&self, number: u64) -> PathBuf {
        segment_path(&self.dir, number)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn close_if_idle(&mut self) {
        if !matches!(self.phase, Phase::Closing) || self.has_job() {
            return;
        }
        let has_work = self.lock.is_some() && self.has_closing_work();
        if !has_work {
            self.refuse_waiting(&Trouble::Broken("closed before it was written".to_owned()));
            self.phase = Phase::Closed;
            self.lock = None;
            self.report(LogEvent::Closed);
        }
    }

    fn has_job(&self) -> bool {
        self.recover_slot.is_some()
            || self.write_slot.is_some()
            || self.read_slot.is_some()
            || self.maintain_slot.is_some()
    }

    /// Whether a job can still save something. After a failure nothing is tried again.
    fn has_closing_work(&self) -> bool {
        let writes = self.trouble.is_none() && !(self.pending.is_empty() && self.group.is_none());
        let marks = !self.marks.has_failed && self.marks.has_unsynced();
        writes || marks || !self.dead.waiting.is_empty()
    }
}
