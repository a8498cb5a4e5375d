//! Reads records back.
//!
//! Owns the position of the last read. What is no record is skipped and copied to `quarantine/`; a part of a file that
//! can't be read is skipped at the third attempt.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use otelcore_pipeline::{FileJob, FileSystem, WallTime};

use super::{Log, Phase, Segment};
use crate::event::{LogEvent, ReadResult};
use crate::faults::{Fault, is_planted};
use crate::format::{FileKey, HEADER_BYTES, RECORD_HEADER_BYTES, Record, RecordHeader, RecordMeta};
use crate::layout::{QUARANTINE, make_dir};
use crate::scan::{Found, Progress, Scanner};
use crate::slot::Slot;

/// How many parts of a file one job reads at most.
const MAX_PARTS: u32 = 8;

/// How many attempts of a read may fail before what can't be read is skipped.
const MAX_FAILURES: u32 = 2;

/// What is read at a time where some of it can't be read.
const PAGE_BYTES: usize = 4096;

/// A position in a segment.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    number: u64,
    scanner: Scanner,
    /// The sequence of the next record.
    expected: u64,
}

impl Cursor {
    /// The begin of a segment.
    pub(crate) fn new(key: FileKey, segment: &Segment) -> Self {
        let scanner = Scanner::new(key, HEADER_BYTES as u64, segment.used);
        Self { number: key.number, scanner, expected: segment.first }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.scanner.is_at_end()
    }
}

/// What a job reads.
pub(crate) struct ReadPlan {
    pub(crate) path: PathBuf,
    /// Where bytes that are no record are copied to, if they are.
    pub(crate) quarantine: Option<PathBuf>,
    pub(crate) cursor: Cursor,
    pub(crate) from: u64,
    /// The sequence after the last record of the segment.
    pub(crate) end: u64,
    pub(crate) max_bytes: usize,
    pub(crate) part_bytes: usize,
    /// Whether what can't be read is taken for zeros.
    pub(crate) skips_unreadable: bool,
    pub(crate) modes: (u32, u32),
}

/// Records that are lost.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) sequences: Range<u64>,
    pub(crate) bytes: u64,
    copy: Option<PathBuf>,
    /// The bytes could not be read or copied. They stay where they are, for the next process.
    is_kept: bool,
}

#[derive(Debug, Default)]
pub(crate) struct ReadDone {
    pub(crate) records: Vec<Record>,
    pub(crate) lost: Vec<Lost>,
}

#[derive(Debug)]
pub(crate) struct ReadOutcome {
    result: Result<(ReadDone, Cursor), String>,
    from: u64,
    end: u64,
    max_bytes: usize,
    number: u64,
}

impl ReadOutcome {
    pub(crate) fn failed(text: String) -> Self {
        Self { result: Err(text), from: 0, end: 0, max_bytes: 0, number: u64::MAX }
    }
}

impl Log {
    /// The job of the read that is wanted.
    pub(crate) fn read_job(&mut self) -> Option<FileJob> {
        if !matches!(self.phase, Phase::Open) {
            return None;
        }
        let (from, max_bytes) = self.wanted_read.take()?;
        let found = self.by_end.range(from.saturating_add(1)..).next();
        let found = found.and_then(|(_, number)| self.segments.get(number).map(|segment| (*number, *segment)));
        let Some((number, segment)) = found else {
            let next = self.durable;
            self.report(LogEvent::Read(ReadResult { records: Vec::new(), next }));
            return None;
        };
        let cursor = match self.cursor.take() {
            Some(mut cursor) if cursor.number == number && cursor.expected <= from => {
                cursor.scanner.set_limit(segment.used);
                cursor
            }
            _ => Cursor::new(self.key(number), &segment),
        };
        let plan = ReadPlan {
            path: self.segment_path(number),
            quarantine: Some(self.dir.join(QUARANTINE)),
            cursor,
            from,
            end: segment.end,
            max_bytes: max_bytes.max(1),
            part_bytes: self.config.read_bytes.max(PAGE_BYTES),
            skips_unreadable: self.failed_reads >= MAX_FAILURES,
            modes: (self.config.directory_mode, self.config.file_mode),
        };
        let (job, slot) = Slot::new(move |files| plan.run(files));
        self.read_slot = Some(slot);
        self.running_read = Some((from, max_bytes));
        Some(job)
    }

    pub(crate) fn read_not_run(&mut self) {
        if self.wanted_read.is_none() {
            self.wanted_read = self.running_read.take();
        }
    }

    pub(crate) fn read_ended(&mut self, outcome: ReadOutcome) {
        self.running_read = None;
        match outcome.result {
            Ok((done, cursor)) => {
                self.failed_reads = 0;
                for lost in done.lost {
                    self.records_are_lost(outcome.number, lost);
                }
                let has_ended = cursor.scanner.is_at_end();
                let next = if has_ended { outcome.end } else { cursor.expected }.max(outcome.from);
                self.cursor = Some(cursor);
                let delivered = &self.delivered;
                let records = done.records.into_iter().filter(|record| !delivered.contains(record.sequence)).collect();
                self.report(LogEvent::Read(ReadResult { records, next }));
            }
            // Everything in it was delivered meanwhile.
            Err(_) if !self.segments.contains_key(&outcome.number) && outcome.number != u64::MAX => {
                self.wanted_read.get_or_insert((outcome.from, outcome.max_bytes));
            }
            Err(text) => {
                self.failed_reads += 1;
                self.report(LogEvent::ReadFailed(text));
            }
        }
    }

    fn records_are_lost(&mut self, number: u64, lost: Lost) {
        let range = lost.sequences;
        let count = range.end.saturating_sub(range.start).saturating_sub(self.delivered.count_in(&range));
        let segment = self.segments.get(&number).copied().unwrap_or_default();
        let is_unacknowledged = segment.torn_from.is_some_and(|from| range.start >= from);
        // Without its header, a segment may seem to begin with records that another one had.
        let is_elsewhere = lost.bytes == 0 && range.start == segment.first;
        if !lost.is_kept || is_planted(Fault::GiveUpUnreadable) {
            self.mark_delivered(range);
        }
        if count > 0 && !is_elsewhere {
            self.stats.quarantined += count;
            let segment = self.segment_path(number);
            let (bytes, copy) = (lost.bytes, lost.copy);
            self.report(LogEvent::Quarantined { records: count, bytes, copy, segment, is_unacknowledged });
        }
    }
}

impl ReadPlan {
    fn run(mut self, files: &mut dyn FileSystem) -> ReadOutcome {
        let (number, from, end, max_bytes) = (self.cursor.number, self.from, self.end, self.max_bytes);
        let result = self.read(files).map(|done| (done, self.cursor)).map_err(|e| e.to_string());
        ReadOutcome { result, from, end, max_bytes, number }
    }

    pub(crate) fn read(&mut self, files: &mut dyn FileSystem) -> io::Result<ReadDone> {
        let mut done = ReadDone::default();
        let mut needed = RECORD_HEADER_BYTES as u64;
        let (mut bytes, mut parts) = (0, 0);
        let mut bad = Bad::default();
        while !self.cursor.scanner.is_at_end() && bytes < self.max_bytes && parts < MAX_PARTS {
            parts += 1;
            let position = self.cursor.scanner.position();
            let left = usize::try_from(self.cursor.scanner.limit() - position).unwrap_or(usize::MAX);
            let wanted = self.part_bytes.min((self.max_bytes - bytes).max(PAGE_BYTES));
            let wanted = wanted.max(usize::try_from(needed).unwrap_or(usize::MAX)).min(left);
            let (part, is_whole) = self.read_part(files, position, wanted)?;
            bad.is_unreadable |= !is_whole;
            let mut found = Vec::new();
            let progress = self.cursor.scanner.scan(&part, usize::MAX, &mut found);
            for found in found {
                match found {
                    Found::Bad { range, is_zero } => self.copy_bad(files, range, is_zero, &mut bad),
                    Found::Record { header, payload, .. } => {
                        if header.sequence < self.cursor.expected || header.sequence >= self.end {
                            continue;
                        }
                        self.lost_before(header.sequence, &mut bad, &mut done);
                        self.cursor.expected = header.sequence + 1;
                        if header.sequence >= self.from {
                            bytes += payload.len().max(RECORD_HEADER_BYTES);
                            done.records.push(record_of(&part, &header, payload));
                        }
                    }
                }
            }
            needed = match progress {
                Progress::NeedsBytes(needed) => needed,
                Progress::End => break,
            };
        }
        if self.cursor.scanner.is_at_end() {
            self.lost_before(self.end, &mut bad, &mut done);
            self.cursor.expected = self.end;
        }
        Ok(done)
    }

    /// Bytes of the file, zeros behind its end, and whether all could be read.
    fn read_part(&self, files: &mut dyn FileSystem, offset: u64, length: usize) -> io::Result<(Bytes, bool)> {
        let mut is_whole = true;
        let mut part = match files.read_at(&self.path, offset, length) {
            Err(e) if !self.skips_unreadable || e.kind() == io::ErrorKind::NotFound => return Err(e),
            Err(_) => {
                is_whole = false;
                let mut pages = Vec::with_capacity(length);
                while pages.len() < length {
                    let page = PAGE_BYTES.min(length - pages.len());
                    let end = pages.len() + page;
                    pages.extend(files.read_at(&self.path, offset + pages.len() as u64, page).unwrap_or_default());
                    pages.resize(end, 0);
                }
                pages
            }
            part => part?,
        };
        part.resize(length, 0);
        Ok((Bytes::from(part), is_whole))
    }

    /// Notes that the records from the expected one to this one are lost.
    fn lost_before(&self, sequence: u64, bad: &mut Bad, done: &mut ReadDone) {
        let bad = std::mem::take(bad);
        if self.cursor.expected < sequence {
            done.lost.push(Lost {
                sequences: self.cursor.expected..sequence,
                bytes: bad.bytes,
                copy: bad.copy,
                is_kept: bad.is_unreadable,
            });
        }
    }

    /// Copies bytes that are no record to `quarantine/`.
    fn copy_bad(&self, files: &mut dyn FileSystem, range: Range<u64>, is_zero: bool, bad: &mut Bad) {
        bad.bytes += range.end - range.start;
        let Some(quarantine) = self.quarantine.as_ref().filter(|_| !is_zero && !is_planted(Fault::SkipQuarantine))
        else {
            return;
        };
        match self.copy(files, quarantine, range) {
            Ok(path) => bad.copy = Some(path),
            Err(_) => bad.is_unreadable = true,
        }
    }

    fn copy(&self, files: &mut dyn FileSystem, quarantine: &Path, range: Range<u64>) -> io::Result<PathBuf> {
        make_dir(files, quarantine, self.modes.0)?;
        let path = quarantine.join(format!("{:016x}-{:08x}.bad", self.cursor.number, range.start));
        let temporary = path.with_extension("tmp");
        match files.create_file(&temporary, self.modes.1) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => files.set_len(&temporary, 0)?,
            created => created?,
        }
        let mut offset = range.start;
        while offset < range.end {
            let length = usize::try_from(range.end - offset).unwrap_or(usize::MAX).min(self.part_bytes);
            let (part, is_whole) = self.read_part(files, offset, length)?;
            if !is_whole {
                return Err(io::Error::other("a part could not be read"));
            }
            files.write_at(&temporary, offset - range.start, &[&part])?;
            offset += length as u64;
        }
        files.sync_file(&temporary)?;
        files.rename(&temporary, &path)?;
        files.sync_dir(quarantine)?;
        Ok(path)
    }
}

/// Bytes that are no record, since the last record.
#[derive(Debug, Default)]
struct Bad {
    bytes: u64,
    copy: Option<PathBuf>,
    is_unreadable: bool,
}

/// A record of a buffer. A small one is copied, so that it does not keep the buffer.
pub(crate) fn record_of(part: &Bytes, header: &RecordHeader, payload: Range<usize>) -> Record {
    let copies = payload.len() < part.len() / 2;
    let context_end = payload.start.saturating_add(header.context_length as usize).min(payload.end);
    let slice = |range: Range<usize>| {
        let slice = part.slice(range.start.min(part.len())..range.end.min(part.len()));
        if copies { Bytes::copy_from_slice(&slice) } else { slice }
    };
    Record {
        sequence: header.sequence,
        meta: RecordMeta {
            kind: header.kind,
            items: header.items,
            time: WallTime(header.time),
            context: slice(payload.start..context_end),
        },
        body: slice(context_end..payload.end),
    }
}
