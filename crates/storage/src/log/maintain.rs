//! What is done beside writing records: marks, removals, `dead/`, and segments made ahead.
//!
//! Owns which of that is due. A segment is removed only in a job that has made the marks of its records durable first.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use otelcore_pipeline::{FileJob, FileSystem};

use super::{Log, PendingRecord, Phase};
use crate::dead::DeadWrite;
use crate::event::{LogEvent, Trouble};
use crate::faults::{Fault, is_planted};
use crate::layout::RESERVE;
use crate::marks::MarksWrite;
use crate::slot::Slot;

/// How many segments one job removes at most.
const MAX_REMOVALS: usize = 64;

/// Zeros are written in parts of this size.
const ZEROS: &[u8] = &[0; 64 << 10];

/// What is due.
#[derive(Debug, Default)]
pub(crate) struct Maintenance {
    /// Segments that may be removable.
    pub(crate) check: BTreeSet<u64>,
    /// Segments without records, whose files can go.
    pub(crate) useless: BTreeSet<u64>,
    /// Segments whose removal has failed.
    failed: BTreeSet<u64>,
    pub(crate) is_retry_wanted: bool,
    failed_preparations: u32,
    pub(crate) has_reserve: bool,
    /// Segments that the running job removes.
    removing: Vec<u64>,
}

/// What a job does.
struct MaintainPlan {
    marks: Option<MarksWrite>,
    removals: Vec<(u64, PathBuf)>,
    dead: Option<DeadWrite>,
    prepare: Option<(u64, PathBuf, u64)>,
    reserve: Option<(PathBuf, u64)>,
    /// The length of the record that is written next, and [`crate::LogConfig::min_free_bytes`] where it is set.
    min_room: Option<(u64, u64)>,
    dir: PathBuf,
    file_mode: u32,
    fsync: bool,
}

/// What a job has done. `None` for what it had not to do.
#[derive(Debug, Default)]
pub(crate) struct MaintainResult {
    marks: Option<(Result<u64, Trouble>, bool)>,
    removed: Vec<(u64, bool)>,
    dead: Option<(DeadWrite, Result<(), Trouble>)>,
    prepared: Option<(u64, u64, Result<(), Trouble>)>,
    has_reserve: Option<bool>,
    /// Nothing is known about what was planned.
    is_lost: Option<Option<Trouble>>,
}

impl MaintainResult {
    pub(crate) fn not_run() -> Self {
        Self { is_lost: Some(None), ..Self::default() }
    }

    pub(crate) fn failed(trouble: &Trouble) -> Self {
        Self { is_lost: Some(Some(trouble.clone())), ..Self::default() }
    }
}

impl Maintenance {
    /// Whether the removal of a segment has failed.
    pub(crate) fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }
}

impl Log {
    /// The next job of this kind, if something is due.
    pub(crate) fn maintain_job(&mut self) -> Option<FileJob> {
        let is_retry = std::mem::take(&mut self.maintenance.is_retry_wanted);
        if is_retry {
            let failed = std::mem::take(&mut self.maintenance.failed);
            self.maintenance.check.extend(failed);
        }
        let removals = self.take_removals();
        let marks = self.take_marks(!removals.is_empty());
        // Marks that could not be written keep their segments.
        let removals = if self.marks.has_failed && self.marks.has_unsynced() {
            self.maintenance.failed.extend(removals);
            Vec::new()
        } else {
            removals
        };
        let dead = self.dead.take_write(&self.dir, self.identity, &self.config);
        let prepare = self.take_preparation(is_retry);
        // A record that is larger than a segment extends it.
        let next_record = self.pending.front().map_or(0, PendingRecord::length);
        let min_free_bytes = self.config.min_free_bytes;
        let reserve = (prepare.is_some() && !self.maintenance.has_reserve && self.config.reserve_bytes > 0)
            .then(|| (self.dir.join(RESERVE), self.config.reserve_bytes));
        if marks.is_none() && removals.is_empty() && dead.is_none() && prepare.is_none() {
            return None;
        }
        self.maintenance.removing.clone_from(&removals);
        let plan = MaintainPlan {
            marks,
            removals: removals.iter().map(|number| (*number, self.segment_path(*number))).collect(),
            dead,
            prepare: prepare.map(|(number, bytes)| (number, self.segment_path(number), bytes)),
            reserve,
            min_room: (min_free_bytes > 0).then_some((next_record, min_free_bytes)),
            dir: self.dir().to_owned(),
            file_mode: self.config.file_mode,
            fsync: self.config.fsync,
        };
        let (job, slot) = Slot::new(move |files| plan.run(files));
        self.maintain_slot = Some(slot);
        Some(job)
    }

    /// Segments to be removed.
    fn take_removals(&mut self) -> Vec<u64> {
        let mut removals = Vec::new();
        while removals.len() < MAX_REMOVALS
            && let Some(number) = self.maintenance.useless.pop_first()
        {
            removals.push(number);
        }
        while removals.len() < MAX_REMOVALS
            && let Some(number) = self.maintenance.check.pop_first()
        {
            if let Some(segment) = self.segments.get(&number)
                && self.is_removable(number, segment)
            {
                removals.push(number);
            }
        }
        removals
    }

    fn take_marks(&mut self, has_removals: bool) -> Option<MarksWrite> {
        let is_new = self.marks.waiting.len() > 0 || self.marks.needs_rewrite;
        let sync = (self.marks.is_sync_wanted || has_removals) && self.marks.has_unsynced();
        if self.marks.has_failed || !(is_new || sync) {
            self.marks.is_sync_wanted &= self.marks.has_unsynced();
            return None;
        }
        self.marks.is_sync_wanted = false;
        // Below the first segment nothing is left.
        let base = self.segments.values().next().map_or(self.durable, |segment| segment.first);
        self.delivered.insert(0..base);
        let sync = sync && self.config.fsync && !(has_removals && is_planted(Fault::RemoveBeforeMarksAreDurable));
        Some(self.marks.take_write(&self.dir, self.identity, &self.config, sync, &self.delivered))
    }

    /// The number and size of the segment to be made ahead.
    fn take_preparation(&mut self, is_retry: bool) -> Option<(u64, u64)> {
        let is_active_half_full = self
            .active
            .and_then(|number| self.segments.get(&number))
            .is_some_and(|segment| segment.used >= segment.file_bytes / 2);
        let is_needed = if self.trouble.is_some() {
            is_retry
        } else {
            !self.pending.is_empty() && self.active_room() == 0 || is_active_half_full
        };
        if self.prepared.is_some() || !is_needed || !matches!(self.phase, Phase::Open | Phase::Closing) {
            return None;
        }
        let number = self.next_number;
        self.next_number += 1;
        Some((number, self.next_size))
    }

    /// Bytes that the first waiting record may have in the active segment; zero where it does not fit.
    fn active_room(&self) -> u64 {
        let length = self.pending.front().map_or(0, PendingRecord::length);
        let active = self.active.and_then(|number| self.segments.get(&number));
        active
            .map_or(0, |segment| segment.file_bytes.saturating_sub(segment.used))
            .saturating_sub(length.saturating_sub(1))
    }

    pub(crate) fn maintain_ended(&mut self, result: MaintainResult) {
        let removing = std::mem::take(&mut self.maintenance.removing);
        self.marks.is_writing = false;
        if let Some(lost) = result.is_lost {
            // Files that were made are removed at the next start; marks are written anew.
            self.marks.needs_rewrite = true;
            self.maintenance.failed.extend(removing);
            self.maintenance.is_retry_wanted = lost.is_none();
            if let Some(trouble) = lost {
                self.marks.has_failed = true;
                self.set_trouble(trouble);
            }
            return;
        }
        if let Some((marks, sync)) = result.marks {
            match marks {
                Ok(bytes) => {
                    self.marks.file_bytes = bytes;
                    self.marks.is_unsynced = !sync;
                    self.marks.needs_rewrite = false;
                }
                Err(_) => {
                    self.marks.needs_rewrite = true;
                    self.marks.has_failed = true;
                }
            }
        }
        if let Some(has_reserve) = result.has_reserve {
            self.maintenance.has_reserve = has_reserve;
        }
        for number in removing {
            if result.removed.contains(&(number, true)) {
                self.forget_segment(number);
                // Room for a new segment.
                self.maintenance.is_retry_wanted |= matches!(self.trouble, Some(Trouble::NoSpace(_)));
            } else {
                self.maintenance.failed.insert(number);
            }
        }
        if let Some((write, result)) = result.dead {
            self.dead.write_ended(&write, result.is_ok());
            for record in write.records {
                let sequence = record.sequence;
                if result.is_ok() {
                    self.mark_delivered(sequence..sequence + 1);
                }
                self.report(LogEvent::Buried { sequence, result: result.clone() });
            }
        }
        if let Some((number, bytes, result)) = result.prepared {
            self.preparation_ended(number, bytes, result);
        }
    }

    fn preparation_ended(&mut self, number: u64, bytes: u64, result: Result<(), Trouble>) {
        match result {
            Ok(()) => {
                self.maintenance.failed_preparations = 0;
                self.prepared = Some((number, bytes));
                self.next_size = bytes.saturating_mul(2).min(self.config.segment_size());
                if self.trouble.take().is_some() {
                    self.report(LogEvent::Working);
                }
            }
            Err(trouble) => {
                self.maintenance.failed_preparations += 1;
                let is_final = self.maintenance.failed_preparations > 1 || !matches!(trouble, Trouble::Broken(_));
                if is_final || self.trouble.is_some() {
                    self.maintenance.failed_preparations = 0;
                    self.set_trouble(trouble);
                }
            }
        }
    }
}

impl MaintainPlan {
    fn run(self, files: &mut dyn FileSystem) -> MaintainResult {
        let mut result = MaintainResult::default();
        let mut are_marks_written = true;
        if let Some(marks) = &self.marks {
            let written = marks.run(files).map_err(|e| Trouble::of(&e));
            are_marks_written = written.is_ok();
            let is_synced = marks.sync || marks.offset.is_none() || !self.fsync;
            result.marks = Some((written, is_synced));
            // It may have been given up.
            result.has_reserve = files.metadata(&self.dir.join(RESERVE)).map(|_| true).ok().or(Some(false));
        }
        if are_marks_written {
            for (number, path) in &self.removals {
                let is_gone = match files.remove_file(path) {
                    Err(e) => e.kind() == io::ErrorKind::NotFound,
                    Ok(()) => true,
                };
                result.removed.push((*number, is_gone));
            }
        }
        if let Some(dead) = self.dead {
            let written = dead.run(files).map_err(|e| Trouble::of(&e));
            result.dead = Some((dead, written));
        }
        if let Some((number, path, bytes)) = &self.prepare {
            let has_room = match self.min_room {
                Some((next_record, min_free)) => check_room(files, &self.dir, next_record.max(*bytes), min_free),
                None => Ok(()),
            };
            let made =
                has_room.and_then(|()| make_segment(files, (&self.dir, path), *bytes, self.file_mode, self.fsync));
            result.prepared = Some((*number, *bytes, made.map_err(|e| Trouble::of(&e))));
        }
        if let Some((path, bytes)) = &self.reserve {
            result.has_reserve = Some(make_zeros(files, path, *bytes, self.file_mode).is_ok());
        }
        result
    }
}

/// An error of a full disk where a file of so many bytes leaves fewer than `min_free` to the others of this file system.
fn check_room(files: &mut dyn FileSystem, dir: &Path, bytes: u64, min_free: u64) -> io::Result<()> {
    let free = files.free_space(dir)?;
    if free >= min_free.saturating_add(bytes) {
        return Ok(());
    }
    let text = format!("{free} bytes are free, and a file of {bytes} would leave less than min_free_bytes, {min_free}");
    Err(io::Error::new(io::ErrorKind::StorageFull, text))
}

/// Makes a segment that takes its bytes without another change of the file system's own data.
fn make_segment(
    files: &mut dyn FileSystem,
    (dir, path): (&Path, &Path),
    bytes: u64,
    mode: u32,
    fsync: bool,
) -> io::Result<()> {
    let made = make_zeros(files, path, bytes, mode).and_then(|()| {
        if fsync {
            files.sync_file(path)?;
        }
        if fsync && !is_planted(Fault::SkipDirectorySync) { files.sync_dir(dir) } else { Ok(()) }
    });
    if made.is_err() {
        let _ = files.remove_file(path);
    }
    made
}

fn make_zeros(files: &mut dyn FileSystem, path: &Path, bytes: u64, mode: u32) -> io::Result<()> {
    match files.create_file(path, mode) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        created => created?,
    }
    let parts = vec![ZEROS; 16];
    let mut offset = 0;
    while offset < bytes {
        let left = bytes - offset;
        if left >= (16 * ZEROS.len()) as u64 {
            files.write_at(path, offset, &parts)?;
            offset += (16 * ZEROS.len()) as u64;
        } else {
            let length = left.min(ZEROS.len() as u64);
            files.write_at(path, offset, &[ZEROS.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default()])?;
            offset += length;
        }
    }
    Ok(())
}
