//! What a log reports, and why it refuses.
//!
//! Owns the types and their texts.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::format::Record;

/// Why the disk can't take records now. [`crate::Log::retry`] tries again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// The file system is full, or a quota is reached.
    #[error("no space is left on the disk: {0}")]
    NoSpace(String),
    /// The file system does not take changes.
    #[error("the file system is read-only: {0}")]
    ReadOnly(String),
    /// A write or a sync has failed, and the attempt with another file as well.
    #[error("the disk has failed: {0}")]
    Broken(String),
}

impl Trouble {
    /// What an error of the system means for the log.
    pub(crate) fn of(e: &io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(e.to_string()),
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(e.to_string()),
            _ => Self::Broken(e.to_string()),
        }
    }
}

/// Why [`crate::Log::append`] or [`crate::Log::bury`] has not taken a record. A retry may help, except for `TooLarge`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The log has as many bytes as it may have.
    #[error("the queue on disk is full: {used} of {max} bytes are used")]
    Full {
        /// Bytes of the segments, with what waits to be written.
        used: u64,
        /// [`crate::LogConfig::max_bytes`].
        max: u64,
    },
    /// So much waits to be written that no more is kept in memory.
    #[error("the disk is slower than what arrives: {0} bytes wait to be written")]
    Busy(usize),
    /// The record is larger than [`crate::LogConfig::max_record_bytes`].
    #[error("the record has {size} bytes, more than the permitted {max}")]
    TooLarge {
        /// Bytes of context and body.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The disk can't take records.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// The log is not open: not recovered yet, refused, or closed.
    #[error("the queue on disk is not open")]
    NotOpen,
}

/// Why a log could not be opened. Nothing in its directory was changed then, apart from the file `lock`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another component of this one, has it open.
    #[error("{0}: another collector uses this directory; each needs a directory of its own")]
    InUse(PathBuf),
    /// A newer version has written it.
    #[error(
        "{path}: written by a newer version (format {found}, this one reads {known}); it is left as it is: run that version, or choose another directory"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: u32,
        /// [`crate::FORMAT_VERSION`].
        known: u32,
    },
    /// An older version has written it, whose format is not read.
    #[error(
        "{path}: written by an older version (format {found}, this one reads {known}); it is left as it is: empty it with that version, or choose another directory"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: u32,
        /// [`crate::FORMAT_VERSION`].
        known: u32,
    },
    /// The Go collector's `file_storage` has written there.
    #[error(
        "{0}: a file of the Go collector's file_storage, which is left as it is: send what it holds with the Go collector, or choose another directory"
    )]
    GoFiles(PathBuf),
    /// No file says which log this is.
    #[error(
        "{0}: damaged, and no segment beside it says which log this is; nothing was changed: move the directory away, or choose another one"
    )]
    Damaged(PathBuf),
    /// The system refused.
    #[error("{0}")]
    Io(String),
}

/// What a start has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Records that are not delivered.
    pub records: u64,
    /// Their items. An estimate where a part of a segment is delivered.
    pub items: u64,
    /// Their bytes on disk. An estimate likewise.
    pub bytes: u64,
    /// The first sequence that is not delivered; [`crate::Log::durable_up_to`] where there is none.
    pub first: u64,
}

/// What a read has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadResult {
    /// Records that are not delivered, in order. May be empty though more follow.
    pub records: Vec<Record>,
    /// Where the next read begins. Reading ends where this is [`crate::Log::durable_up_to`].
    pub next: u64,
}

/// What has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogEvent {
    /// The log is open.
    Recovered(Recovered),
    /// The log could not be opened. [`crate::Log::retry`] tries again.
    OpenFailed(OpenError),
    /// All records below this sequence that were not refused are durable.
    Durable {
        /// The first sequence that may not be.
        up_to: u64,
    },
    /// Records that [`crate::Log::append`] has taken could not be written. They may be found after a restart.
    Refused {
        /// Their sequences.
        range: Range<u64>,
        /// Why.
        trouble: Trouble,
    },
    /// The result of [`crate::Log::read`].
    Read(ReadResult),
    /// The system has refused to read. The same read may be tried again; the third time, what can't be read is skipped.
    ReadFailed(String),
    /// Records were damaged on disk, and are skipped.
    Quarantined {
        /// How many are lost.
        records: u64,
        /// How many bytes they had.
        bytes: u64,
        /// The copy of these bytes. `None` where they are zeros, and where they could not be read or copied; in the
        /// last case they stay where they are, and the next process tries again.
        copy: Option<PathBuf>,
        /// The segment.
        segment: PathBuf,
        /// They are in the last group that was written before a crash. If it was not acknowledged, nothing is lost.
        is_unacknowledged: bool,
    },
    /// The last segment ended with bytes that are no record, as a crash leaves them: what was in them was not
    /// acknowledged.
    TornTail {
        /// How many bytes.
        bytes: u64,
        /// The segment.
        segment: PathBuf,
    },
    /// Segments are missing.
    Missing {
        /// How many records were in them that were not delivered.
        records: u64,
    },
    /// Marks of delivered records were damaged: records may be delivered again.
    MarksDamaged,
    /// The disk can't take records now: appends are refused until [`LogEvent::Working`].
    Trouble(Trouble),
    /// The disk takes records again.
    Working,
    /// [`crate::Log::bury`] has ended: the record is in `dead/` and marked delivered, or neither.
    Buried {
        /// Its sequence.
        sequence: u64,
        /// Why it is not.
        result: Result<(), Trouble>,
    },
    /// [`crate::Log::close`] has ended. The files may be used by another process.
    Closed,
}

/// Counts of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Records that are durable and not delivered.
    pub records: u64,
    /// Bytes of all segments on disk, with what waits to be written, as it counts for [`crate::LogConfig::max_bytes`].
    pub bytes: u64,
    /// Segments that have records.
    pub segments: usize,
    /// Bytes that wait to be written, or are being written.
    pub pending_bytes: usize,
    /// Gaps between delivered sequences.
    pub intervals: usize,
    /// Bytes in `dead/`.
    pub dead_bytes: u64,
    /// Groups that were written.
    pub groups: u64,
    /// Records that were written in them.
    pub written: u64,
    /// Damaged records that were skipped since the start.
    pub quarantined: u64,
}
