//! What is in the directory of a log: files of others, the lock, the identity, the headers of the segments.
//!
//! Owns nothing. The first job of a recovery, in steps that may each be repeated after a crash.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use otelcore_pipeline::{DirEntry, FileKind, FileLock, FileSystem};

use super::{FoundLog, SegmentFile};
use crate::config::LogConfig;
use crate::event::OpenError;
use crate::faults::{Fault, is_planted};
use crate::format::{FORMAT_VERSION, FileHeader, FoundHeader, HEADER_BYTES, IDENTITY_MAGIC, SEGMENT_MAGIC};
use crate::interval_set::IntervalSet;
use crate::layout::{IDENTITY, LOCK, MARKS, RESERVE, find_bbolt_file, make_dirs, segment_number, sync_dirs};
use crate::marks::{self, FoundMarks};

fn io_error(e: &io::Error) -> OpenError {
    OpenError::Io(e.to_string())
}

fn other_version(path: PathBuf, found: u32) -> OpenError {
    let known = FORMAT_VERSION;
    if found > known { OpenError::Newer { path, found, known } } else { OpenError::Older { path, found, known } }
}

/// The first job: what is in the directory.
pub(super) fn begin(
    files: &mut dyn FileSystem,
    dir: &Path,
    config: &LogConfig,
    new_identity: [u8; 16],
) -> Result<FoundLog, OpenError> {
    if config.create_directory {
        make_dirs(files, dir, config.directory_mode).map_err(|e| io_error(&e))?;
    }
    if let Some(path) = find_bbolt_file(files, dir).map_err(|e| io_error(&e))? {
        return Err(OpenError::GoFiles(path));
    }
    let lock = match files.lock_file(&dir.join(LOCK), config.file_mode) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock && is_planted(Fault::IgnoreLock) => FileLock::new(()),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(OpenError::InUse(dir.to_owned())),
        locked => locked.map_err(|e| io_error(&e))?,
    };
    if config.fsync && !is_planted(Fault::SkipStartDirectorySync) {
        sync_dirs(files, dir).map_err(|e| io_error(&e))?;
    }
    // Others may have changed it before the lock.
    find(files, dir, config, Some(lock), new_identity)
}

/// What is in the directory. Without a lock, nothing is changed.
pub(crate) fn find(
    files: &mut dyn FileSystem,
    dir: &Path,
    config: &LogConfig,
    lock: Option<FileLock>,
    new_identity: [u8; 16],
) -> Result<FoundLog, OpenError> {
    let entries = files.read_dir(dir).map_err(|e| io_error(&e))?;
    let segments = read_headers(files, dir, &entries)?;
    let mut marks = marks::load(files, &dir.join(MARKS)).map_err(|e| io_error(&e))?;
    if let Some(version) = marks.other_version {
        return Err(other_version(dir.join(MARKS), version));
    }
    if is_planted(Fault::ForgetMarks) {
        marks.delivered = IntervalSet::default();
    }
    let writes = lock.is_some();
    let identity = find_identity(files, dir, config.file_mode, (&segments, &marks), new_identity, writes)?;
    if marks.log.is_some_and(|log| log != identity) {
        marks = FoundMarks { is_damaged: true, ..FoundMarks::default() };
    }
    let mut found = FoundLog {
        lock,
        identity,
        summaries: BTreeMap::new(),
        to_scan: Vec::new(),
        scan: None,
        marks,
        next_number: 1,
        dead: (0, 1),
        has_reserve: entries.iter().any(|entry| entry.name == RESERVE),
        segments: BTreeMap::new(),
        empty: Vec::new(),
        torn: Vec::new(),
        missing: 0,
        gaps: IntervalSet::default(),
        progress: (0, 0),
        files: segments,
    };
    found.find_numbers(files, dir).map_err(|e| io_error(&e))?;
    found.choose_scans();
    Ok(found)
}

fn read_headers(
    files: &mut dyn FileSystem,
    dir: &Path,
    entries: &[DirEntry],
) -> Result<BTreeMap<u64, SegmentFile>, OpenError> {
    let mut segments = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.kind == FileKind::File) {
        let Some(number) = segment_number(&entry.name) else { continue };
        let path = dir.join(&entry.name);
        let length = files.metadata(&path).map_err(|e| io_error(&e))?.length;
        let bytes = files.read_at(&path, 0, HEADER_BYTES).map_err(|e| io_error(&e))?;
        let header = match FileHeader::decode(&bytes, SEGMENT_MAGIC) {
            FoundHeader::Valid(header) => Some(header),
            FoundHeader::OtherVersion(version) => return Err(other_version(path, version)),
            FoundHeader::Zeros | FoundHeader::Bad => None,
        };
        // A header that a disk has written to another file is none.
        let header = header.filter(|header| header.number == number);
        segments.insert(number, SegmentFile { length, header });
    }
    Ok(segments)
}

/// Which log this is: `log` says it, or else a segment. A log without segments and marks is a new one.
fn find_identity(
    files: &mut dyn FileSystem,
    dir: &Path,
    mode: u32,
    (segments, marks): (&BTreeMap<u64, SegmentFile>, &FoundMarks),
    new_identity: [u8; 16],
    writes: bool,
) -> Result<[u8; 16], OpenError> {
    let path = dir.join(IDENTITY);
    let bytes = match files.read_at(&path, 0, HEADER_BYTES) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        bytes => bytes.map_err(|e| io_error(&e))?,
    };
    match FileHeader::decode(&bytes, IDENTITY_MAGIC) {
        FoundHeader::Valid(header) => return Ok(header.log),
        FoundHeader::OtherVersion(version) => return Err(other_version(path, version)),
        FoundHeader::Zeros | FoundHeader::Bad => {}
    }
    let in_segment = segments.values().find_map(|file| file.header.map(|header| header.log));
    let identity = match in_segment.or(marks.log) {
        Some(identity) => identity,
        None if segments.is_empty() => new_identity,
        None => return Err(OpenError::Damaged(path)),
    };
    let header = FileHeader { log: identity, ..FileHeader::default() }.encode(IDENTITY_MAGIC);
    if writes {
        files.replace(&path, mode, &[&header]).map_err(|e| io_error(&e))?;
    }
    Ok(identity)
}
