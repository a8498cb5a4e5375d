//! Reads the records in `dead/` without changing them.
//!
//! Owns the position of the reader. Takes no lock.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use otelcore_pipeline::FileSystem;

use super::Damage;
use crate::format::{DEAD_NUMBERS, FileKey, HEADER_BYTES, Record};
use crate::layout::{DEAD, segment_number, segment_path};
use crate::log::read::record_of;
use crate::scan::{Found, Progress, Scanner};

/// A record that was given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadRecord {
    /// The record as it was in the queue.
    pub record: Record,
    /// Why it was given up.
    pub reason: String,
}

/// What a step of a [`DeadReader`] has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeadStep {
    /// Records in the order in which they were given up.
    pub records: Vec<DeadRecord>,
    /// What is damaged. The sequences are not known.
    pub damage: Vec<Damage>,
    /// Bytes at the end of a file that are no record, as a crash leaves them. Their records are still in the queue.
    pub torn_bytes: u64,
}

/// Reads the records in `dead/`, file by file.
#[derive(Debug)]
pub struct DeadReader {
    log: [u8; 16],
    /// Number, path and length of each file.
    files: Vec<(u64, PathBuf, u64)>,
    next: usize,
    scanner: Option<Scanner>,
    needed: u64,
}

impl DeadReader {
    pub(super) fn open(files: &mut dyn FileSystem, dir: &Path, log: [u8; 16]) -> io::Result<Self> {
        let dir = dir.join(DEAD);
        let entries = match files.read_dir(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries?,
        };
        let mut found = Vec::new();
        for number in entries.iter().filter_map(|entry| segment_number(&entry.name)) {
            let path = segment_path(&dir, number);
            let length = files.metadata(&path)?.length;
            found.push((number, path, length));
        }
        Ok(Self { log, files: found, next: 0, scanner: None, needed: 0 })
    }

    /// The next records, at most about `max_bytes` and at least one; `None` at the end. Checks the checksum of each. A step
    /// may be empty though more follow.
    ///
    /// # Errors
    /// That of the system. The next call tries again.
    pub fn read(&mut self, files: &mut dyn FileSystem, max_bytes: usize) -> io::Result<Option<DeadStep>> {
        let Some((number, path, length)) = self.files.get(self.next) else { return Ok(None) };
        let key = FileKey { log: self.log, number: DEAD_NUMBERS | number };
        let begin = (HEADER_BYTES as u64).min(*length);
        let mut scanner = self.scanner.clone().unwrap_or_else(|| Scanner::new(key, begin, *length));
        let left = scanner.limit().saturating_sub(scanner.position());
        let wanted = (max_bytes.max(4096) as u64).max(self.needed).min(left);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let mut part = files.read_at(path, scanner.position(), wanted)?;
        part.resize(wanted, 0);
        let part = Bytes::from(part);
        let (mut found, mut step) = (Vec::new(), DeadStep::default());
        let progress = scanner.scan(&part, usize::MAX, &mut found);
        for found in found {
            match found {
                Found::Record { header, payload, .. } => {
                    step.records.push(without_reason(record_of(&part, &header, payload)));
                }
                Found::Bad { range, .. } if range.end >= *length => step.torn_bytes += range.end - range.start,
                Found::Bad { range, .. } => {
                    let bytes = range.end - range.start;
                    step.damage.push(Damage { segment: path.clone(), bytes, sequences: 0..0 });
                }
            }
        }
        match progress {
            Progress::NeedsBytes(needed) => (self.scanner, self.needed) = (Some(scanner), needed),
            Progress::End => {
                self.next += 1;
                (self.scanner, self.needed) = (None, 0);
            }
        }
        Ok(Some(step))
    }
}

/// Splits the context, which begins with the length of the reason and the reason.
fn without_reason(mut record: Record) -> DeadRecord {
    let context = record.meta.context.clone();
    let length = context.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    let end = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(4).min(context.len());
    let reason = String::from_utf8_lossy(context.get(4..end).unwrap_or_default()).into_owned();
    record.meta.context = context.slice(end..);
    DeadRecord { record, reason }
}
