//! The `file_log` section.

use std::time::Duration;

use otelcore_config::{ComponentId, GoDuration, config_struct};
use otelcore_stanza::{ByteSize, OperatorConfig};

config_struct! {
    /// One order of `sort_by`.
    pub struct SortConfig {
        /// `numeric`, `alphabetical`, `timestamp` or `mtime`.
        pub sort_type: String,
        /// The group of `regex` that is compared.
        pub regex_key: String,
        /// The smallest comes first.
        pub ascending: bool,
        /// For `timestamp`: the layout, in the form of strptime.
        pub layout: String,
        /// For `timestamp`: the zone; UTC by default.
        pub location: String,
    }
}

config_struct! {
    /// `ordering_criteria`: which of the files that match are read.
    pub struct OrderingCriteriaConfig {
        /// A pattern with named groups for paths.
        pub regex: String,
        /// How many files are read, of each group; one by default.
        pub top_n: i64,
        /// How files are ordered.
        pub sort_by: Vec<SortConfig>,
        /// A pattern for paths: files with the same first group belong together.
        pub group_by: String,
    }
}

config_struct! {
    /// `multiline`: entries of several lines.
    pub struct MultilineConfig {
        /// Matches the begin of an entry.
        pub line_start_pattern: String,
        /// Matches the end of an entry.
        pub line_end_pattern: String,
        /// What matches is left out of the entry.
        pub omit_pattern: bool,
    }
}

config_struct! {
    /// `header`: lines at the begin of a file that describe it.
    pub struct HeaderConfig {
        /// Matches a line of the header; the first other line ends it.
        pub pattern: String,
        /// Operators whose attributes are added to all entries of the file.
        pub metadata_operators: Vec<OperatorConfig>,
    }
}

config_struct! {
    /// `retry_on_failure`: for how long a request is sent again that was refused.
    pub struct RetryOnFailureConfig {
        /// Whether `max_elapsed_time` applies. Without it, a refused request is sent until it is accepted.
        pub enabled: bool,
        /// The first pause.
        pub initial_interval: Duration = Duration::from_secs(1),
        /// The longest pause.
        pub max_interval: Duration = Duration::from_secs(30),
        /// After this time, a request is given up and its entries are lost; zero disables the limit.
        pub max_elapsed_time: Duration = Duration::from_mins(5),
    }
}

config_struct! {
    /// Reads files that grow, line by line.
    #[config(check = Self::check)]
    #[config(unsupported("acquire_fs_lock", "locks on files that are read are not supported; leave the key out"))]
    #[config(unsupported("output", "the receiver has one output; name the operator that comes first by its place in `operators`"))]
    pub struct FileLogConfig {
        /// Patterns of paths that are read: `*`, `?`, `[a-z]`, `{a,b}`, and `**` for any directories.
        pub include: Vec<String>,
        /// Patterns of paths that are not read.
        pub exclude: Vec<String>,
        /// Files that were not changed for so long are not read; zero disables it.
        pub exclude_older_than: GoDuration,
        /// Which of the files that match are read.
        pub ordering_criteria: OrderingCriteriaConfig,
        /// `end` or `beginning`: where reading begins in files that exist at the start.
        pub start_at: String = "end".to_owned(),
        /// How often files are looked for and read.
        pub poll_interval: GoDuration = GoDuration::from_millis(200),
        /// How many bytes at the begin of a file identify it.
        #[config(unit = "bytes")]
        pub fingerprint_size: ByteSize = ByteSize(1000),
        /// How many bytes are read at first.
        #[config(ignored = "a buffer is as large as what is read")]
        #[config(unit = "bytes")]
        pub initial_buffer_size: ByteSize = ByteSize(16 << 10),
        /// The longest entry.
        #[config(unit = "bytes")]
        pub max_log_size: ByteSize = ByteSize(1 << 20),
        /// What is done with a longer one: `split` into several, or `truncate`.
        pub max_log_size_behavior: String = "split".to_owned(),
        /// Twice the number of files that are open at a time.
        pub max_concurrent_files: i64 = 1024,
        /// In a poll, at most so many times `max_concurrent_files` / 2 files are read; zero disables the limit.
        pub max_batches: i64,
        /// A file is removed when all of it has been delivered.
        pub delete_after_read: bool,
        /// The attribute `log.file.name`.
        pub include_file_name: bool = true,
        /// The attribute `log.file.path`.
        pub include_file_path: bool,
        /// The attribute `log.file.name_resolved`: without symbolic links.
        pub include_file_name_resolved: bool,
        /// The attribute `log.file.path_resolved`: without symbolic links.
        pub include_file_path_resolved: bool,
        /// The attribute `log.file.owner.name`.
        pub include_file_owner_name: bool,
        /// The attribute `log.file.owner.group.name`.
        pub include_file_owner_group_name: bool,
        /// The attribute `log.file.permissions`: octal digits.
        pub include_file_permissions: bool,
        /// The attribute `log.file.record_number`, from 1.
        pub include_file_record_number: bool,
        /// The attribute `log.file.record_offset`: where the entry begins, in bytes.
        pub include_file_record_offset: bool,
        /// White space at the begin of an entry is kept.
        pub preserve_leading_whitespaces: bool,
        /// White space at the end of an entry is kept.
        pub preserve_trailing_whitespaces: bool,
        /// The encoding of the files, such as `utf-8`, `utf-16le`, `iso-8859-1`; `nop` for bytes.
        pub encoding: String = "utf-8".to_owned(),
        /// Entries of several lines.
        pub multiline: MultilineConfig,
        /// An entry without its end is sent when nothing was added for so long; zero disables it.
        pub force_flush_period: GoDuration = GoDuration::from_millis(500),
        /// Lines at the begin of a file that describe it.
        pub header: Option<HeaderConfig>,
        /// `gzip`, or `auto` to find out for each file; empty for files that are not compressed.
        pub compression: String,
        /// For how many polls the position in a file that is gone is remembered beyond the usual three.
        pub polls_to_archive: i64,
        /// Hints for the cache of the system.
        #[config(no_effect = "no hints are given to the cache of the system")]
        pub file_cache_advise: Option<bool>,
        /// `ignore`, `read_whole_file` or `read_new`: what is done with a file that became shorter and begins as before.
        pub on_truncate: String = "ignore".to_owned(),
        /// Attributes of all entries; a value may have `EXPR(..)` in it.
        pub attributes: Vec<(String, String)>,
        /// Attributes of the resource of all entries; a value may have `EXPR(..)` in it.
        pub resource: Vec<(String, String)>,
        /// The id of the input among the operators.
        #[config(ignored = "no operator can have the input as its output")]
        pub id: Option<String>,
        /// The type of the input.
        #[config(ignored = "there is one type")]
        #[config(key = "type")]
        pub input_type: Option<String>,
        /// What is done with entries.
        pub operators: Vec<OperatorConfig>,
        /// The id of a storage extension that keeps the positions in files. Without it, they are lost with the process.
        pub storage: String,
        /// For how long a request is sent again that was refused.
        pub retry_on_failure: RetryOnFailureConfig,
    }
}

impl FileLogConfig {
    /// The id of the extension that `storage` names. `None` without it.
    #[must_use]
    pub fn storage_id(&self) -> Option<ComponentId> {
        self.storage.parse().ok()
    }
}
