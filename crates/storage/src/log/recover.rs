//! Opens a log: finds its segments, and what in them is durable.
//!
//! Owns what is found until the log is open. Each job reads a bounded part. Where a later segment says what is durable in
//! one, only its header is read; the last one is read whole, once. What a crash left of a write that was not
//! acknowledged is cut off. Every step may be repeated after a crash.

pub(crate) mod directory;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use otelcore_pipeline::{DirEntry, FileJob, FileLock, FileSystem};

use self::directory::begin;
use super::{Log, Phase, Segment};
use crate::config::LogConfig;
use crate::event::{LogEvent, OpenError, Recovered};
use crate::faults::{Fault, is_planted};
use crate::format::{FileHeader, FileKey, HEADER_BYTES, RECORD_HEADER_BYTES};
use crate::interval_set::IntervalSet;
use crate::layout::{DEAD, QUARANTINE, make_dir, segment_number, segment_path};
use crate::marks::FoundMarks;
use crate::scan::{Found, Progress, Scanner};
use crate::slot::Slot;

/// How far the recovery is.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    /// What was found. `None` before the first job, and while a job has it.
    found: Option<Box<FoundLog>>,
    progress: (u64, u64),
}

impl Recovery {
    pub(crate) fn progress(&self) -> (u64, u64) {
        self.progress
    }
}

/// The result of a job: more is to be read, everything is known, or the log can't be opened.
pub(crate) type RecoveryStep = Result<(Box<FoundLog>, bool), OpenError>;

/// A file with the name of a segment.
#[derive(Clone, Copy, Debug)]
struct SegmentFile {
    length: u64,
    header: Option<FileHeader>,
}

/// What was read in a segment.
#[derive(Clone, Copy, Debug, Default)]
struct Summary {
    records: u64,
    first: u64,
    end: u64,
    used: u64,
    items: u64,
    /// The first sequence of the last group.
    last_group: u64,
    /// Bytes behind the last record that are not zeros.
    tail: u64,
}

/// What a start has found.
#[derive(Debug)]
pub(crate) struct FoundLog {
    /// `None` where the directory is read only.
    lock: Option<FileLock>,
    pub(crate) identity: [u8; 16],
    files: BTreeMap<u64, SegmentFile>,
    summaries: BTreeMap<u64, Summary>,
    /// Segments that are still to be read, the last one first.
    to_scan: Vec<u64>,
    scan: Option<(u64, Scanner, u64, Summary)>,
    pub(crate) marks: FoundMarks,
    next_number: u64,
    pub(crate) dead: (u64, u64),
    has_reserve: bool,
    /// Segments of the open log, and those that hold nothing.
    pub(crate) segments: BTreeMap<u64, Segment>,
    empty: Vec<u64>,
    pub(crate) torn: Vec<(u64, u64)>,
    pub(crate) missing: u64,
    /// Sequences that no record has.
    gaps: IntervalSet,
    progress: (u64, u64),
}

impl Log {
    pub(crate) fn recovery_job(&mut self) -> Option<FileJob> {
        let Phase::Recovering(recovery) = &mut self.phase else { return None };
        let found = recovery.found.take();
        let (dir, config, identity) = (self.dir.clone(), self.config.clone(), self.new_identity);
        let (job, slot) = Slot::new(move |files| -> RecoveryStep {
            let Some(mut found) = found else { return Ok((Box::new(begin(files, &dir, &config, identity)?), false)) };
            if found.scan_part(files, &dir, &config).map_err(|e| OpenError::Io(e.to_string()))? {
                return Ok((found, false));
            }
            found.resolve();
            found.finish(files, &dir, &config).map_err(|e| OpenError::Io(e.to_string()))?;
            Ok((found, true))
        });
        self.recover_slot = Some(slot);
        Some(job)
    }

    /// What was found was dropped with the job.
    pub(crate) fn recovery_not_run(&mut self) {
        if let Phase::Recovering(recovery) = &mut self.phase {
            *recovery = Recovery::default();
        }
    }

    pub(crate) fn recovery_failed(&mut self, error: OpenError) {
        if matches!(self.phase, Phase::Recovering(_)) {
            self.phase = Phase::Failed;
        }
        self.report(LogEvent::OpenFailed(error));
    }

    pub(crate) fn recovery_step_ended(&mut self, step: RecoveryStep) {
        let (found, is_done) = match step {
            Err(e) => return self.recovery_failed(e),
            Ok(step) => step,
        };
        // Closed meanwhile: what was found, with the lock, is dropped.
        let Phase::Recovering(recovery) = &mut self.phase else { return };
        if !is_done {
            recovery.progress = found.progress;
            recovery.found = Some(found);
            return;
        }
        self.open(*found);
    }

    fn open(&mut self, found: FoundLog) {
        self.phase = Phase::Open;
        self.identity = found.identity;
        self.lock = found.lock;
        self.next_number = found.next_number;
        self.delivered = found.marks.delivered;
        self.marks.generation = found.marks.generation;
        self.marks.file_bytes = found.marks.file_bytes;
        // The process before may have ended between a write and its sync.
        self.marks.is_unsynced = !is_planted(Fault::TrustLoadedMarks);
        self.marks.needs_rewrite =
            found.marks.is_damaged || found.marks.file_bytes == 0 || found.missing > 0 || found.marks.log.is_none();
        (self.dead.bytes, self.dead.next_number) = found.dead;
        self.maintenance.has_reserve = found.has_reserve;
        let last = found.segments.iter().next_back().map(|(number, segment)| (*number, *segment));
        let marked = self.delivered.iter().last().map_or(1, |range| range.end);
        self.next_sequence = last.map_or(1, |(_, segment)| segment.end).max(marked).max(self.next_sequence);
        self.durable = self.next_sequence;
        // The segments that say so may be removed before others: the marks say it then.
        let mut gaps = found.gaps;
        gaps.insert(last.map_or(1, |(_, segment)| segment.end)..self.durable);
        for gap in gaps.iter() {
            if !self.delivered.covers(&gap) && !is_planted(Fault::ForgetGaps) {
                self.marks.waiting.insert(gap.clone());
                self.delivered.insert(gap);
            }
        }
        let none = Segment { first: self.durable, end: self.durable, ..Segment::default() };
        self.previous = last.unwrap_or((0, none));
        self.maintenance.check.extend(found.segments.keys());
        let mut recovered = Recovered { first: self.durable, ..Recovered::default() };
        for (number, segment) in &found.segments {
            self.set_segment(*number, *segment);
            let all = segment.end - segment.first;
            let left = all.saturating_sub(self.delivered.count_in(&segment.range()));
            let share = |value: u64| {
                let share = u128::from(value) * u128::from(left) / u128::from(all.max(1));
                u64::try_from(share).unwrap_or(u64::MAX)
            };
            if left > 0 {
                recovered.first = recovered.first.min(self.delivered.first_missing(segment.first));
            }
            recovered.records += left;
            recovered.items += share(segment.items);
            recovered.bytes += share(segment.used);
        }
        self.undelivered = recovered.records;
        if found.marks.is_damaged {
            self.report(LogEvent::MarksDamaged);
        }
        for (number, bytes) in found.torn {
            let segment = self.segment_path(number);
            self.report(LogEvent::TornTail { bytes, segment });
        }
        if found.missing > 0 {
            self.report(LogEvent::Missing { records: found.missing });
        }
        self.report(LogEvent::Recovered(recovered));
    }
}

impl FoundLog {
    /// The numbers of files that exist, so that none is used again.
    fn find_numbers(&mut self, files: &mut dyn FileSystem, dir: &Path) -> io::Result<()> {
        let mut list = |path: &Path| match files.read_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries,
        };
        // A directory with too many files is no reason not to open the log.
        let quarantined = match list(&dir.join(QUARANTINE)) {
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Vec::new(),
            entries => entries?,
        };
        let dead = list(&dir.join(DEAD))?;
        let prefix = |entry: &DirEntry| u64::from_str_radix(entry.name.to_str()?.get(..16)?, 16).ok();
        let in_quarantine = quarantined.iter().filter_map(prefix).max().unwrap_or(0);
        let last = self.files.keys().next_back().copied().unwrap_or(0);
        self.next_number = last.max(in_quarantine) + u64::from(!is_planted(Fault::ReuseSegmentNumber) || last == 0);
        for entry in dead {
            if let Some(number) = segment_number(&entry.name) {
                let length = files.metadata(&dir.join(DEAD).join(&entry.name))?.length;
                self.dead = (self.dead.0 + length, self.dead.1.max(number + 1));
            }
        }
        Ok(())
    }

    /// The header that says what is durable in a segment.
    fn header_after(&self, number: u64) -> Option<FileHeader> {
        let next = self.files.range(number + 1..).find_map(|(_, file)| file.header);
        next.filter(|header| header.previous_number == number && header.log == self.identity)
    }

    /// Whether a later segment says that nothing is durable in this one.
    fn is_void(&self, number: u64) -> bool {
        let next = self.files.range(number + 1..).find_map(|(_, file)| file.header);
        next.is_some_and(|header| header.previous_number < number && header.log == self.identity)
    }

    fn choose_scans(&mut self) {
        let needs_scan = |(number, file): (&u64, &SegmentFile)| {
            let is_known = self.is_void(*number) || (self.header_after(*number).is_some() && file.header.is_some());
            (!is_known).then_some(*number)
        };
        self.to_scan = self.files.iter().filter_map(needs_scan).collect();
        let length = |number: &u64| self.files.get(number).map_or(0, |file| file.length);
        self.progress.1 = self.to_scan.iter().map(length).sum();
    }

    /// Reads a part of a segment. False where none is left to read.
    pub(crate) fn scan_part(&mut self, files: &mut dyn FileSystem, dir: &Path, config: &LogConfig) -> io::Result<bool> {
        let (number, mut scanner, needed, mut summary) = match self.scan.take() {
            Some(scan) => scan,
            None => {
                let Some(number) = self.to_scan.pop() else { return Ok(false) };
                let length = self.files.get(&number).map_or(0, |file| file.length);
                // Behind what a later segment knows to be durable is what a failed write has left.
                let limit = self.header_after(number).map_or(length, |header| u64::from(header.previous_used));
                let key = FileKey { log: self.identity, number };
                let begin = (HEADER_BYTES as u64).min(limit);
                (number, Scanner::new(key, begin, limit), RECORD_HEADER_BYTES as u64, Summary::default())
            }
        };
        let position = scanner.position();
        let left = usize::try_from(scanner.limit().saturating_sub(position)).unwrap_or(usize::MAX);
        let wanted = config.read_bytes.max(4096).max(usize::try_from(needed).unwrap_or(usize::MAX)).min(left);
        let mut part = files.read_at(&segment_path(dir, number), position, wanted)?;
        part.resize(wanted, 0);
        let mut found = Vec::new();
        let progress = scanner.scan(&part, usize::MAX, &mut found);
        for found in found {
            summary.add(found);
        }
        self.progress.0 += scanner.position() - position;
        match progress {
            Progress::NeedsBytes(needed) => self.scan = Some((number, scanner, needed, summary)),
            Progress::End => {
                self.summaries.insert(number, summary);
            }
        }
        Ok(true)
    }

    /// Decides what each segment holds.
    pub(crate) fn resolve(&mut self) {
        let mut end = None;
        let numbers: Vec<u64> = self.files.keys().copied().collect();
        for number in numbers {
            let Some(file) = self.files.get(&number).copied() else { continue };
            let summary = self.summaries.get(&number).copied().unwrap_or_default();
            let after = self.header_after(number);
            let header = file.header.filter(|header| header.log == self.identity);
            if self.is_void(number) || (after.is_none() && summary.records == 0) {
                if summary.tail > 0 || (header.is_some() && !self.is_void(number)) {
                    self.torn.push((number, summary.tail));
                } else {
                    self.empty.push(number);
                }
                continue;
            }
            let least = end.unwrap_or_else(|| self.marks.delivered.first_missing(0)).max(1);
            let first = header.map_or(least, |header| header.first);
            let segment = match after {
                Some(after) => Segment {
                    first,
                    end: after.previous_end.max(first),
                    used: u64::from(after.previous_used),
                    items: u64::from(after.previous_items),
                    file_bytes: file.length,
                    torn_from: (after.previous_torn_from > 0).then_some(after.previous_torn_from),
                },
                None => Segment {
                    first: first.min(summary.first),
                    end: summary.end,
                    used: summary.used,
                    items: summary.items,
                    file_bytes: file.length,
                    torn_from: Some(summary.last_group),
                },
            };
            if summary.tail > 0 && after.is_none() {
                self.torn.push((number, summary.tail));
            }
            // Records between two segments were in segments that are gone.
            let expected = header.map_or(segment.first, |header| header.previous_end);
            // Without a segment before it, none was left when it was begun.
            if header.is_none_or(|header| header.previous_number > 0) {
                self.note_missing(least..expected.min(segment.first));
            } else {
                self.gaps.insert(least..expected);
            }
            self.gaps.insert(expected..segment.first);
            end = Some(segment.end);
            self.segments.insert(number, segment);
        }
    }

    fn note_missing(&mut self, range: std::ops::Range<u64>) {
        if range.is_empty() {
            return;
        }
        let missing = range.end - range.start - self.marks.delivered.count_in(&range);
        if !self.marks.is_damaged {
            self.missing += missing;
        }
        self.marks.delivered.insert(range);
    }

    /// Makes durable what was found, and removes what holds nothing.
    fn finish(&mut self, files: &mut dyn FileSystem, dir: &Path, config: &LogConfig) -> io::Result<()> {
        if config.fsync {
            // A process may have ended between a write and its sync.
            for number in self.summaries.keys().filter(|number| self.segments.contains_key(number)) {
                files.sync_file(&segment_path(dir, *number))?;
            }
        }
        for number in &self.empty {
            files.remove_file(&segment_path(dir, *number))?;
        }
        let torn = self.torn.iter().filter(|(number, _)| !self.segments.contains_key(number));
        for (number, _) in torn {
            let quarantine = dir.join(QUARANTINE);
            make_dir(files, &quarantine, config.directory_mode)?;
            files.rename(&segment_path(dir, *number), &segment_path(&quarantine, *number))?;
        }
        Ok(())
    }
}

impl Summary {
    fn add(&mut self, found: Found) {
        match found {
            Found::Record { offset, header, .. } => {
                if self.records == 0 {
                    self.first = header.sequence;
                }
                self.records += 1;
                self.end = self.end.max(header.sequence.saturating_add(1));
                self.used = offset + header.length();
                self.items += u64::from(header.items);
                self.last_group = header.sequence.saturating_sub(u64::from(header.index_in_group));
                self.tail = 0;
            }
            Found::Bad { range, is_zero } => self.tail = if is_zero { 0 } else { range.end - range.start },
        }
    }
}
