//! What a log is configured with.
//!
//! Owns the values and their defaults. Reads no configuration file.

use otelcore_pipeline::{PRIVATE_DIR, PRIVATE_FILE};

/// The configuration of a [`crate::Log`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// How many bytes the segments may take on disk before [`crate::Log::append`] refuses; what waits to be written
    /// counts too. A delivered record counts until its segment is removed. At most one segment more is used, the one
    /// that was made ahead. `None` for no bound but the disk's.
    pub max_bytes: Option<u64>,
    /// How many bytes stay free on the file system: a segment that would leave fewer is not made. Zero for no such bound.
    pub min_free_bytes: u64,
    /// The size of a segment in bytes. At most an eighth of `max_bytes` is used, at least 4096. A record that is larger
    /// has a segment of its own.
    pub segment_bytes: u64,
    /// How many bytes may wait in memory to be written.
    pub max_pending_bytes: usize,
    /// How many bytes of records are written and synced together. A larger record is a group of its own.
    pub max_group_bytes: usize,
    /// How many bytes context and body of a record may have together, at most 2^31.
    pub max_record_bytes: usize,
    /// How many bytes a job of the recovery, or of reading, takes from the disk at a time. A larger record is read
    /// whole.
    pub read_bytes: usize,
    /// How many bytes are kept reserved, so that deliveries can be marked on a full disk.
    pub reserve_bytes: u64,
    /// Above this size, and twice what its intervals need, the file of marks is written anew.
    pub max_marks_bytes: u64,
    /// How many bytes `dead/` may have. Above it, [`crate::Log::bury`] is refused.
    pub max_dead_bytes: u64,
    /// Whether records are synced before they are reported durable. Without it they survive the end of the process, not
    /// one of the machine.
    pub fsync: bool,
    /// Whether missing directories are made.
    pub create_directory: bool,
    /// The permission bits of directories that are made.
    pub directory_mode: u32,
    /// The permission bits of files that are made.
    pub file_mode: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            max_bytes: None,
            min_free_bytes: 0,
            segment_bytes: 16 << 20,
            max_pending_bytes: 16 << 20,
            max_group_bytes: 4 << 20,
            max_record_bytes: 256 << 20,
            read_bytes: 1 << 20,
            reserve_bytes: 1 << 20,
            max_marks_bytes: 256 << 10,
            max_dead_bytes: 1 << 30,
            fsync: true,
            create_directory: true,
            directory_mode: PRIVATE_DIR,
            file_mode: PRIVATE_FILE,
        }
    }
}

impl LogConfig {
    /// The size of segments that follows from the configuration.
    pub(crate) fn segment_size(&self) -> u64 {
        let share = self.max_bytes.map_or(u64::MAX, |max| max / 8);
        (self.segment_bytes.min(share).max(4096)).next_multiple_of(8).min(1 << 31)
    }
}
