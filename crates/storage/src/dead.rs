//! `dead/`: records that were given up, with the reason.
//!
//! Owns what waits to be written there and the position in the last file. Nothing is removed from the directory.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use otelcore_pipeline::FileSystem;

use crate::config::LogConfig;
use crate::event::Refused;
use crate::format::{
    DEAD_NUMBERS, FLAG_DEAD, FileHeader, FileKey, HEADER_BYTES, Record, RecordHeader, SEGMENT_MAGIC, record_length,
};
use crate::layout::{DEAD, make_dir, segment_path};

/// Longer reasons are cut.
const MAX_REASON_BYTES: usize = 4096;

/// The files of given-up records.
#[derive(Debug, Default)]
pub(crate) struct DeadFiles {
    /// Records whose context begins with the reason.
    pub(crate) waiting: VecDeque<Record>,
    waiting_bytes: u64,
    /// Bytes of all files.
    pub(crate) bytes: u64,
    /// The number of the next file.
    pub(crate) next_number: u64,
    /// Number and length of the file that is written to.
    open: Option<(u64, u64)>,
}

/// Records on their way to a file.
#[derive(Debug)]
pub(crate) struct DeadWrite {
    dir: PathBuf,
    log: [u8; 16],
    number: u64,
    /// `None` for a new file.
    offset: Option<u64>,
    pub(crate) records: Vec<Record>,
    pub(crate) length: u64,
    modes: (u32, u32),
    fsync: bool,
}

fn length(record: &Record) -> u64 {
    record_length(record.meta.context.len(), record.body.len())
}

impl DeadFiles {
    pub(crate) fn push(&mut self, mut record: Record, reason: &str, config: &LogConfig) -> Result<(), Refused> {
        let end = (0..=reason.len().min(MAX_REASON_BYTES)).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        let reason = reason.get(..end).unwrap_or_default();
        let mut context = u32::try_from(reason.len()).unwrap_or(0).to_le_bytes().to_vec();
        context.extend_from_slice(reason.as_bytes());
        context.extend_from_slice(&record.meta.context);
        record.meta.context = Bytes::from(context);
        let length = length(&record);
        let used = self.bytes.saturating_add(self.waiting_bytes);
        if used.saturating_add(length) > config.max_dead_bytes {
            return Err(Refused::Full { used, max: config.max_dead_bytes });
        }
        let waiting = usize::try_from(self.waiting_bytes).unwrap_or(usize::MAX);
        if waiting > 0 && waiting as u64 + length > config.max_pending_bytes as u64 {
            return Err(Refused::Busy(waiting));
        }
        self.waiting_bytes += length;
        self.waiting.push_back(record);
        Ok(())
    }

    /// The next records, as many as a group has.
    pub(crate) fn take_write(&mut self, dir: &Path, log: [u8; 16], config: &LogConfig) -> Option<DeadWrite> {
        self.waiting.front()?;
        let (mut records, mut total) = (Vec::new(), 0);
        while let Some(record) = self.waiting.front() {
            let length = length(record);
            if total > 0 && total + length > config.max_group_bytes as u64 {
                break;
            }
            total += length;
            records.extend(self.waiting.pop_front());
        }
        self.waiting_bytes = self.waiting_bytes.saturating_sub(total);
        let open = self.open.filter(|(_, length)| length + total <= config.segment_bytes);
        let number = open.map_or(self.next_number, |(number, _)| number);
        if open.is_none() {
            self.next_number += 1;
        }
        let offset = open.map(|(_, length)| length);
        let modes = (config.directory_mode, config.file_mode);
        let (dir, fsync) = (dir.to_owned(), config.fsync);
        Some(DeadWrite { dir, log, number, offset, records, length: total, modes, fsync })
    }

    /// The write has ended. After an error its file is not written to again.
    pub(crate) fn write_ended(&mut self, write: &DeadWrite, is_ok: bool) {
        let begin = write.offset.unwrap_or(HEADER_BYTES as u64);
        self.open = is_ok.then_some((write.number, begin + write.length));
        let header = if write.offset.is_none() { HEADER_BYTES as u64 } else { 0 };
        self.bytes += write.length + header;
    }
}

impl DeadWrite {
    pub(crate) fn run(&self, files: &mut dyn FileSystem) -> io::Result<()> {
        let dir = self.dir.join(DEAD);
        let path = segment_path(&dir, self.number);
        let number = DEAD_NUMBERS | self.number;
        let key = FileKey { log: self.log, number };
        let header = FileHeader { log: self.log, number, ..FileHeader::default() }.encode(SEGMENT_MAGIC);
        let mut bytes = Vec::new();
        if self.offset.is_none() {
            make_dir(files, &dir, self.modes.0)?;
            files.create_file(&path, self.modes.1)?;
            bytes.extend_from_slice(&header);
        }
        let begin = self.offset.unwrap_or(0);
        for (index, record) in self.records.iter().enumerate() {
            let header = RecordHeader {
                sequence: record.sequence,
                items: record.meta.items,
                kind: record.meta.kind,
                flags: FLAG_DEAD,
                index_in_group: u32::try_from(index).unwrap_or(u32::MAX),
                time: record.meta.time.0,
                ..RecordHeader::default()
            };
            let offset = begin + bytes.len() as u64;
            bytes.extend_from_slice(&header.encode(&key, offset, &record.meta.context, &record.body));
            bytes.extend_from_slice(&record.meta.context);
            bytes.extend_from_slice(&record.body);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        files.write_at(&path, begin, &[&bytes])?;
        if self.fsync {
            files.sync_file(&path)?;
        }
        if self.fsync && self.offset.is_none() { files.sync_dir(&dir) } else { Ok(()) }
    }
}
