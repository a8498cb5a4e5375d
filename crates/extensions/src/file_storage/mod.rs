//! The `file_storage` extension: directories in which other components keep data, and queues on disk for exporters.
//!
//! Gives names and settings. What is in a directory belongs to the component that asked for it.

mod names;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use otelcore_config::{GoDuration, Section, config_struct};
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Event, Extension, FileSystem, JobResult,
    LogField, Logger, OfferedCapabilities, StartError, Storage, StorageLocation, StorageUser, StoredQueue,
    StoredQueueContext, ValueStore,
};
use otelcore_storage::{ValueFile, find_bbolt_file};
use otelcore_stored_queue::DiskQueue;

/// The default of the Go collector.
const DEFAULT_DIRECTORY: &str = "/var/lib/otelcol/file_storage";

config_struct! {
    /// Keeps data of other components on disk, such as the queue of an exporter that names it in `sending_queue::storage`.
    #[config(check = Self::check)]
    pub struct FileStorageConfig {
        /// The directory. Each component has a directory of its own in it. Only one collector may use it at a time.
        pub directory: String = DEFAULT_DIRECTORY.to_owned(),
        /// How long to wait for another process that uses a directory, before that is reported as an error. Meanwhile, and
        /// afterwards, senders are refused with an error that may be tried again.
        pub timeout: GoDuration = GoDuration::from_secs(1),
        /// Compaction of files.
        pub compaction: CompactionConfig,
        /// Data is synced to the disk before its sender has its answer. Without it, data survives the end of the process, not
        /// a loss of power.
        pub fsync: bool = true,
        /// How many bytes queues leave free on the file system, for others that use it. A queue that needs more refuses senders
        /// with an error that may be tried again, until there is room. Zero for no such bound: then a queue refuses when the disk
        /// is full.
        #[config(unit = "bytes")]
        #[config(at_least(0, "'min_free_bytes' must not be negative"))]
        pub min_free_bytes: i64 = 0,
        /// The directory is made if it does not exist.
        pub create_directory: bool,
        /// The permission bits of directories that are made, in octal, less the umask. Files are readable for their owner
        /// only.
        pub directory_permissions: String = "0750".to_owned(),
        /// A queue of which nothing can be read is renamed, with the time and `.backup` at its end, and an empty one is used.
        /// Damaged parts of a queue are skipped and kept in `quarantine` in any case.
        pub recreate: bool,
    }
}

config_struct! {
    /// `compaction`: a file is removed when everything in it is delivered, so that nothing has to be compacted.
    pub struct CompactionConfig {
        /// Compaction at a start.
        #[config(ignored = "files are removed as soon as everything in them is delivered")]
        pub on_start: bool,
        /// Compaction while the collector runs.
        #[config(ignored = "files are removed as soon as everything in them is delivered")]
        pub on_rebound: bool,
        /// Where temporary files are made.
        #[config(ignored = "no temporary files are made")]
        pub directory: String = DEFAULT_DIRECTORY.to_owned(),
        /// From which size on a compaction is needed.
        #[config(unit = "MiB")]
        #[config(ignored = "files are removed as soon as everything in them is delivered")]
        pub rebound_needed_threshold_mib: i64 = 100,
        /// Below which size it begins.
        #[config(unit = "MiB")]
        #[config(ignored = "files are removed as soon as everything in them is delivered")]
        pub rebound_trigger_threshold_mib: i64 = 10,
        /// Items in one step of it.
        #[config(at_least(0, "max transaction size for compaction cannot be less than 0"))]
        #[config(ignored = "files are removed as soon as everything in them is delivered")]
        pub max_transaction_size: i64 = 65_536,
        /// How often it is checked.
        #[config(ignored = "files are removed as soon as everything in them is delivered")]
        pub check_interval: GoDuration = GoDuration::from_secs(5),
        /// Temporary files are removed at a start.
        #[config(ignored = "no temporary files are made")]
        pub cleanup_on_start: bool,
    }
}

impl FileStorageConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.directory.is_empty() {
            s.error("directory", "directory must exist: stat : no such file or directory")
                .help("write the path of a directory");
        }
        if self.compaction.on_rebound && self.compaction.check_interval <= GoDuration::ZERO {
            let message = "compaction check interval must be positive when rebound compaction is set";
            s.error("compaction::check_interval", message);
        }
        if self.create_directory
            && let Err(message) = parse_permissions(&self.directory_permissions)
        {
            s.error("directory_permissions", message).help("write octal digits in quotes, such as \"0750\"");
        }
    }

    /// The permission bits of directories that are made; `None` where none are made.
    #[must_use]
    pub fn directory_mode(&self) -> Option<u32> {
        parse_permissions(&self.directory_permissions).ok().filter(|_| self.create_directory)
    }
}

fn parse_permissions(text: &str) -> Result<u32, &'static str> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| i32::try_from(*bits).is_ok());
    let bits = bits.ok_or("directory_permissions value must be a valid octal representation")?;
    if bits & 0o777 == bits && (bits == 0 || !text.starts_with('-')) {
        Ok(bits)
    } else {
        Err("directory_permissions contain invalid bits for file access")
    }
}

/// The `file_storage` extension.
#[derive(Clone, Copy, Debug)]
pub struct FileStorageFactory;

impl ComponentType for FileStorageFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Extension,
        type_name: "file_storage",
        aliases: &[],
        signals: &[],
        stability: "Beta",
    };
    type Config = FileStorageConfig;

    fn create(&self, config: &FileStorageConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let storage = Rc::new(FileStorage {
            directory: PathBuf::from(&config.directory),
            root_mode: config.directory_mode(),
            fsync: config.fsync,
            min_free_bytes: u64::try_from(config.min_free_bytes).unwrap_or(0),
            lock_timeout: Duration::from_nanos(u64::try_from(config.timeout.0).unwrap_or(0)),
            recreate: config.recreate,
        });
        let log = context.log.clone();
        Ok(Component::Extension(Box::new(FileStorageExtension { storage, log, search: None })))
    }
}

struct FileStorageExtension {
    storage: Rc<FileStorage>,
    log: Logger,
    /// Finds a file of the Go collector.
    search: Option<JobResult<Option<PathBuf>>>,
}

struct FileStorage {
    directory: PathBuf,
    root_mode: Option<u32>,
    fsync: bool,
    min_free_bytes: u64,
    lock_timeout: Duration,
    recreate: bool,
}

impl Extension for FileStorageExtension {
    /// Finds out whether the directory exists, as the Go collector does before it starts.
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let directory = self.storage.directory.display().to_string();
        match cx.read_file(&directory) {
            Err(e) if e.kind() == std::io::ErrorKind::IsADirectory => {
                let directory = self.storage.directory.clone();
                let search = move |files: &mut dyn FileSystem| find_bbolt_file(files, &directory).ok().flatten();
                self.search = cx.run_file_job(0, search).ok();
                Ok(())
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.storage.root_mode.is_some() => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(StartError::Config(format!(
                "directory must exist: stat {directory}: no such file or directory. You can enable the create_directory option to automatically create it"
            ))),
            Err(e) => {
                let context = format!("problem accessing configured directory: {directory}, err");
                Err(StartError::from(e).in_context(context))
            }
            Ok(_) => Err(StartError::Config(format!("{directory} is not a directory"))),
        }
    }

    /// The search has ended.
    fn handle_event(&mut self, _: &mut Cx<'_>, _: u64, _: Event<'_>) {
        if let Some(Some(file)) = self.search.take().and_then(|search| search.take()) {
            let file = file.display().to_string();
            self.log.warn(
                "The directory has a file of the Go collector. It is left as it is, and nothing of it is sent.",
                &[("file", LogField::Str(&file))],
            );
        }
    }

    fn offer_capabilities(&self, offered: &mut OfferedCapabilities) {
        offered.add::<dyn Storage>(self.storage.clone());
    }
}

impl Storage for FileStorage {
    fn location(&self, user: &StorageUser<'_>) -> StorageLocation {
        StorageLocation {
            directory: self.directory.join(names::directory_name(user)),
            root_mode: self.root_mode,
            fsync: self.fsync,
            min_free_bytes: self.min_free_bytes,
            lock_timeout: self.lock_timeout,
            recreate: self.recreate,
        }
    }

    fn open_values(&self, user: &StorageUser<'_>) -> Box<dyn ValueStore> {
        Box::new(ValueFile::new(self.location(user)))
    }

    fn open_queue(&self, context: StoredQueueContext<'_>) -> Box<dyn StoredQueue> {
        let user = StorageUser {
            kind: ComponentKind::Exporter,
            id: context.exporter,
            signal: Some(context.signal),
            purpose: "queue",
        };
        Box::new(DiskQueue::new(self.location(&user), context))
    }
}
