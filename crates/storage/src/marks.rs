//! `delivered.log`: which records were delivered.
//!
//! Owns what is not in the file yet, and how the file is written. Marks are appended; the file is written anew when it
//! has become much larger than the intervals need, and after each error. A mark that is lost costs a repetition.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use otelcore_pipeline::FileSystem;

use crate::config::LogConfig;
use crate::faults::{Fault, is_planted};
use crate::format::{
    FileHeader, FileKey, FoundHeader, HEADER_BYTES, MARK_BYTES, MARKS_MAGIC, MARKS_NUMBERS, decode_mark, encode_mark,
};
use crate::interval_set::IntervalSet;
use crate::layout::{MARKS, RESERVE};

/// How many bytes are read at a time.
const PART_BYTES: usize = 1 << 20;

/// The marks of an open log.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Ranges that no write has taken.
    pub(crate) waiting: IntervalSet,
    /// The number of the file among those that had its name.
    pub(crate) generation: u64,
    /// Where the next mark goes.
    pub(crate) file_bytes: u64,
    pub(crate) is_unsynced: bool,
    /// A job writes marks.
    pub(crate) is_writing: bool,
    pub(crate) needs_rewrite: bool,
    pub(crate) is_sync_wanted: bool,
    /// A write has failed, and [`crate::Log::retry`] was not called.
    pub(crate) has_failed: bool,
}

/// What is written.
#[derive(Debug)]
pub(crate) struct MarksWrite {
    pub(crate) dir: PathBuf,
    pub(crate) log: [u8; 16],
    pub(crate) generation: u64,
    /// Where marks are appended. `None` for a new file.
    pub(crate) offset: Option<u64>,
    pub(crate) ranges: Vec<Range<u64>>,
    pub(crate) sync: bool,
    pub(crate) mode: u32,
}

/// The file as a start has found it.
#[derive(Debug, Default)]
pub(crate) struct FoundMarks {
    pub(crate) delivered: IntervalSet,
    pub(crate) generation: u64,
    pub(crate) file_bytes: u64,
    /// Something in it is not a mark.
    pub(crate) is_damaged: bool,
    /// It was written by another version.
    pub(crate) other_version: Option<u32>,
    pub(crate) log: Option<[u8; 16]>,
}

impl Marks {
    /// Whether there are marks that a crash of the machine could undo.
    pub(crate) fn has_unsynced(&self) -> bool {
        self.waiting.len() > 0 || self.is_unsynced || self.needs_rewrite || self.is_writing
    }

    /// Whether the file is much larger than these intervals need.
    fn is_oversized(&self, intervals: usize, least: u64) -> bool {
        let needed = (HEADER_BYTES + intervals * MARK_BYTES) as u64;
        self.file_bytes > needed.saturating_mul(2).max(least)
    }

    /// The next write. `all` is what a new file would have.
    pub(crate) fn take_write(
        &mut self,
        dir: &Path,
        log: [u8; 16],
        config: &LogConfig,
        sync: bool,
        all: &IntervalSet,
    ) -> MarksWrite {
        let is_new = self.needs_rewrite || self.is_oversized(all.len(), config.max_marks_bytes);
        let mode = config.file_mode;
        let waiting = std::mem::take(&mut self.waiting);
        self.is_writing = true;
        if is_new {
            self.generation += 1;
        }
        let mut ranges: Vec<Range<u64>> = if is_new { all.iter().collect() } else { waiting.iter().collect() };
        if is_planted(Fault::MarkOneTooMany) {
            ranges.iter_mut().for_each(|range| range.end += 1);
        }
        let offset = (!is_new).then_some(self.file_bytes);
        MarksWrite { dir: dir.to_owned(), log, generation: self.generation, offset, ranges, sync, mode }
    }
}

impl MarksWrite {
    /// Writes the marks. Returns the length of the file.
    pub(crate) fn run(&self, files: &mut dyn FileSystem) -> io::Result<u64> {
        let path = self.dir.join(MARKS);
        let number = MARKS_NUMBERS | self.generation;
        let key = FileKey { log: self.log, number };
        let begin = self.offset.unwrap_or(HEADER_BYTES as u64);
        let mut bytes = Vec::with_capacity(self.ranges.len() * MARK_BYTES);
        for range in &self.ranges {
            let mark = encode_mark(&key, begin + bytes.len() as u64, range.start, range.end);
            bytes.extend_from_slice(&mark);
        }
        let header = FileHeader { log: self.log, number, ..FileHeader::default() }.encode(MARKS_MAGIC);
        let write = |files: &mut dyn FileSystem| match self.offset {
            Some(offset) => {
                if !bytes.is_empty() {
                    files.write_at(&path, offset, &[&bytes])?;
                }
                if self.sync { files.sync_file(&path) } else { Ok(()) }
            }
            None if is_planted(Fault::RewriteMarksInPlace) => {
                let _ = files.create_file(&path, self.mode);
                files.set_len(&path, 0)?;
                files.write_at(&path, 0, &[&header, &bytes])?;
                files.sync_file(&path)
            }
            None => files.replace(&path, self.mode, &[&header, &bytes]),
        };
        match write(files) {
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                files.remove_file(&self.dir.join(RESERVE))?;
                write(files)?;
            }
            written => written?,
        }
        Ok(begin + bytes.len() as u64)
    }
}

/// Reads the file. One that does not exist has no marks.
pub(crate) fn load(files: &mut dyn FileSystem, path: &Path) -> io::Result<FoundMarks> {
    let mut found = FoundMarks::default();
    let header = match files.read_at(path, 0, HEADER_BYTES) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        header => header?,
    };
    let key = match FileHeader::decode(&header, MARKS_MAGIC) {
        FoundHeader::Valid(header) => FileKey { log: header.log, number: header.number },
        FoundHeader::OtherVersion(version) => {
            found.other_version = Some(version);
            return Ok(found);
        }
        FoundHeader::Zeros | FoundHeader::Bad => {
            found.is_damaged = true;
            return Ok(found);
        }
    };
    found.log = Some(key.log);
    found.generation = key.number & !MARKS_NUMBERS;
    found.file_bytes = HEADER_BYTES as u64;
    loop {
        let part = files.read_at(path, found.file_bytes, PART_BYTES)?;
        for bytes in part.chunks(MARK_BYTES) {
            match decode_mark(bytes, &key, found.file_bytes) {
                Some((start, end)) => found.delivered.insert(start..end),
                None => found.is_damaged = true,
            }
            found.file_bytes += bytes.len() as u64;
        }
        if part.len() < PART_BYTES {
            return Ok(found);
        }
    }
}
