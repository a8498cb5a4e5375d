//! Reads a log's directory without changing it: for commands that list, check or export a queue.
//!
//! Owns the position of the reader. Takes no lock: where a process has the log open, what it does meanwhile may be seen
//! or not. Each call reads a bounded part, so that a long directory can be shown with progress.

mod dead;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use otelcore_pipeline::{FileKind, FileLock, FileSystem};

pub use self::dead::{DeadReader, DeadRecord, DeadStep};

use crate::config::LogConfig;
use crate::event::OpenError;
use crate::format::{FileKey, Record};
use crate::interval_set::IntervalSet;
use crate::layout::{LOCK, QUARANTINE, find_bbolt_file, segment_path};
use crate::log::Segment;
use crate::log::read::{Cursor, ReadPlan};
use crate::log::recover::directory::find;

/// A segment, as its header and the next one describe it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentSummary {
    /// Its file.
    pub path: PathBuf,
    /// The sequences of its records.
    pub sequences: Range<u64>,
    /// How many of them are not delivered.
    pub undelivered: u64,
    /// How many items all its records have.
    pub items: u64,
    /// How many bytes all its records have.
    pub bytes: u64,
}

/// Bytes that are no record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file.
    pub segment: PathBuf,
    /// How many bytes are bad. Zero where records are missing without a trace.
    pub bytes: u64,
    /// The sequences that are lost.
    pub sequences: Range<u64>,
}

/// What a step of a reader has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReaderStep {
    /// Records in order.
    pub records: Vec<Record>,
    /// What is damaged.
    pub damage: Vec<Damage>,
}

/// Reads the records of a log in order.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    log: [u8; 16],
    segments: Vec<(u64, Segment)>,
    delivered: IntervalSet,
    /// Bytes of segments that are missing, and marks that are damaged.
    missing: u64,
    are_marks_damaged: bool,
    torn_bytes: u64,
    dead_bytes: u64,
    next: usize,
    cursor: Option<Cursor>,
    done_bytes: u64,
}

/// Locks the directory of a log, so that no process opens the log meanwhile. `None` where there is nothing to lock: no
/// process has opened the log, or files can't be changed there.
///
/// # Errors
/// [`OpenError::InUse`], and those of the system.
pub fn lock_log(files: &mut dyn FileSystem, dir: &Path) -> Result<Option<FileLock>, OpenError> {
    let path = dir.join(LOCK);
    let locked = files.metadata(&path).and_then(|_| files.lock_file(&path, LogConfig::default().file_mode));
    match locked {
        Ok(lock) => Ok(Some(lock)),
        Err(e) => match e.kind() {
            io::ErrorKind::WouldBlock => Err(OpenError::InUse(dir.to_owned())),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Ok(None),
            _ => Err(OpenError::Io(e.to_string())),
        },
    }
}

impl LogReader {
    /// Reads the headers of the segments, the marks, and the last segment. Time and memory are linear in the number of
    /// segments.
    ///
    /// # Errors
    /// See [`OpenError`]; `InUse` is none of them.
    pub fn open(files: &mut dyn FileSystem, dir: &Path) -> Result<Self, OpenError> {
        let io_error = |e: io::Error| OpenError::Io(e.to_string());
        if let Some(path) = find_bbolt_file(files, dir).map_err(io_error)? {
            return Err(OpenError::GoFiles(path));
        }
        let config = LogConfig::default();
        let mut found = find(files, dir, &config, None, [0; 16])?;
        while found.scan_part(files, dir, &config).map_err(io_error)? {}
        found.resolve();
        Ok(Self {
            dir: dir.to_owned(),
            log: found.identity,
            segments: found.segments.into_iter().collect(),
            delivered: found.marks.delivered,
            missing: found.missing,
            are_marks_damaged: found.marks.is_damaged,
            torn_bytes: found.torn.iter().map(|(_, bytes)| bytes).sum(),
            dead_bytes: found.dead.0,
            next: 0,
            cursor: None,
            done_bytes: 0,
        })
    }

    /// The segments, in order.
    pub fn segments(&self) -> impl Iterator<Item = SegmentSummary> {
        self.segments.iter().map(|(number, segment)| SegmentSummary {
            path: segment_path(&self.dir, *number),
            sequences: segment.range(),
            undelivered: segment.end - segment.first - self.delivered.count_in(&segment.range()),
            items: segment.items,
            bytes: segment.used,
        })
    }

    /// How many records were in segments that are missing, and were not delivered.
    #[must_use]
    pub fn missing_records(&self) -> u64 {
        self.missing
    }

    /// Whether marks of deliveries are damaged: then some of the records that are read were delivered.
    #[must_use]
    pub fn are_marks_damaged(&self) -> bool {
        self.are_marks_damaged
    }

    /// How many bytes a crash has left behind the last record.
    #[must_use]
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// How many bytes the files of given-up records have.
    #[must_use]
    pub fn dead_bytes(&self) -> u64 {
        self.dead_bytes
    }

    /// The records that were given up.
    ///
    /// # Errors
    /// That of the system.
    pub fn dead_records(&self, files: &mut dyn FileSystem) -> io::Result<DeadReader> {
        DeadReader::open(files, &self.dir, self.log)
    }

    /// How many bytes are in `quarantine/`. Linear in the number of its files.
    ///
    /// # Errors
    /// That of the system.
    pub fn quarantined_bytes(&self, files: &mut dyn FileSystem) -> io::Result<u64> {
        bytes_of_files(files, &self.dir.join(QUARANTINE))
    }

    /// How many bytes the files of the log have, those in `dead/` and `quarantine/` included. Linear in their number.
    ///
    /// # Errors
    /// That of the system.
    pub fn bytes_on_disk(&self, files: &mut dyn FileSystem) -> io::Result<u64> {
        let own = bytes_of_files(files, &self.dir)?;
        Ok(own.saturating_add(self.quarantined_bytes(files)?).saturating_add(self.dead_bytes))
    }

    /// Whether a record is marked delivered.
    #[must_use]
    pub fn is_delivered(&self, sequence: u64) -> bool {
        self.delivered.contains(sequence)
    }

    /// Bytes of the segments that were read, and of all.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.done_bytes, self.segments.iter().map(|(_, segment)| segment.used).sum())
    }

    /// The next records, delivered ones too, at most about `max_bytes` and at least one; `None` at the end. Checks the
    /// checksum of each. A step may be empty though more follow.
    ///
    /// # Errors
    /// That of the system. The next call tries again.
    pub fn read(&mut self, files: &mut dyn FileSystem, max_bytes: usize) -> io::Result<Option<ReaderStep>> {
        let Some((number, segment)) = self.segments.get(self.next).copied() else { return Ok(None) };
        let config = LogConfig::default();
        let key = FileKey { log: self.log, number };
        let path = segment_path(&self.dir, number);
        let mut plan = ReadPlan {
            path: path.clone(),
            quarantine: None,
            cursor: self.cursor.clone().unwrap_or_else(|| Cursor::new(key, &segment)),
            from: 0,
            end: segment.end,
            max_bytes: max_bytes.max(1),
            part_bytes: config.read_bytes,
            skips_unreadable: false,
            modes: (config.directory_mode, config.file_mode),
        };
        let done = plan.read(files)?;
        if plan.cursor.is_at_end() {
            self.done_bytes += segment.used;
            self.next += 1;
            self.cursor = None;
        } else {
            self.cursor = Some(plan.cursor);
        }
        let is_lost = |range: &Range<u64>| !self.delivered.covers(range);
        let damage = done.lost.into_iter().filter(|lost| lost.bytes > 0 || is_lost(&lost.sequences));
        let damage = damage.map(|lost| Damage { segment: path.clone(), bytes: lost.bytes, sequences: lost.sequences });
        Ok(Some(ReaderStep { damage: damage.collect(), records: done.records }))
    }
}

/// How long the files of a directory are, without those in directories below it. Zero where there is no such directory.
fn bytes_of_files(files: &mut dyn FileSystem, dir: &Path) -> io::Result<u64> {
    let entries = match files.read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0_u64;
    for entry in entries.iter().filter(|entry| entry.kind == FileKind::File) {
        match files.metadata(&dir.join(&entry.name)) {
            // It was removed meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            found => bytes = bytes.saturating_add(found?.length),
        }
    }
    Ok(bytes)
}
