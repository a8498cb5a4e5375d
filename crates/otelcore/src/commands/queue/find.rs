//! Finds the queues in a directory, and opens one for reading.
//!
//! Owns nothing.

use std::path::{Path, PathBuf};

use otelcore_pipeline::{FileKind, FileLock, FileSystem};
use otelcore_reactor::with_files;
use otelcore_storage::{BBOLT_NOTE, LogReader, OpenError, find_bbolt_file, lock_log};

/// The directory of a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct FoundQueue {
    pub(super) path: PathBuf,
    /// The last part of the path.
    pub(super) name: String,
}

impl FoundQueue {
    fn new(path: &Path) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { path: path.to_owned(), name }
    }
}

fn is_queue(files: &mut dyn FileSystem, dir: &Path) -> bool {
    let is_own = |name: &str| name == "log" || name == "delivered.log" || name.ends_with(".seg");
    let entries = files.read_dir(dir).unwrap_or_default();
    entries.iter().any(|entry| entry.kind == FileKind::File && entry.name.to_str().is_some_and(is_own))
}

/// The queues in a directory of `file_storage`, or the directory itself where it is a queue, and notes for the user.
///
/// # Errors
/// It can't be read, or there is no queue.
pub(super) fn find_queues(directory: &str) -> Result<(Vec<FoundQueue>, Vec<String>), String> {
    let help = "name the `directory` of a `file_storage` extension, or that of one queue in it";
    let directory = Path::new(directory);
    with_files(|files| {
        let entries = files.read_dir(directory).map_err(|e| format!("{e}: {help}"))?;
        if is_queue(files, directory) {
            return Ok((vec![FoundQueue::new(directory)], Vec::new()));
        }
        let mut notes = Vec::new();
        if let Ok(Some(file)) = find_bbolt_file(files, directory) {
            notes.push(format!("{}: {BBOLT_NOTE}, which is not read", file.display()));
        }
        let folders =
            entries.iter().filter(|entry| entry.kind == FileKind::Dir).map(|entry| directory.join(&entry.name));
        let folders: Vec<PathBuf> = folders.collect();
        let queues: Vec<FoundQueue> =
            folders.iter().filter(|folder| is_queue(files, folder)).map(|folder| FoundQueue::new(folder)).collect();
        if queues.is_empty() {
            let notes = notes.iter().fold(String::new(), |text, note| format!("{text} ({note})"));
            return Err(format!("{}: no queue is in this directory{notes}: {help}", directory.display()));
        }
        Ok((queues, notes))
    })
}

/// A queue that is open for reading.
#[derive(Debug)]
pub(super) struct OpenQueue {
    pub(super) reader: LogReader,
    /// Keeps collectors away meanwhile.
    _lock: Option<FileLock>,
}

impl OpenQueue {
    /// Opens a queue that no process uses, and keeps it so.
    ///
    /// # Errors
    /// It is in use, of another version, or can't be read; the text names it.
    pub(super) fn open(queue: &FoundQueue) -> Result<Self, String> {
        with_files(|files| {
            let lock = lock_log(files, &queue.path).map_err(|e| match e {
                OpenError::InUse(path) => {
                    let path = path.display();
                    format!("{path}: a collector uses this queue: stop it first (`queue ls` works while it runs)")
                }
                e => e.to_string(),
            })?;
            let reader = LogReader::open(files, &queue.path).map_err(|e| e.to_string())?;
            Ok(Self { reader, _lock: lock })
        })
    }

    /// Opens a queue, and finds out whether a process uses it: then what is read may be a little old.
    ///
    /// # Errors
    /// As [`OpenQueue::open`].
    pub(super) fn open_shared(queue: &FoundQueue) -> Result<(Self, bool), String> {
        with_files(|files| {
            let is_in_use = matches!(lock_log(files, &queue.path), Err(OpenError::InUse(_)));
            let reader = LogReader::open(files, &queue.path).map_err(|e| e.to_string())?;
            Ok((Self { reader, _lock: None }, is_in_use))
        })
    }
}
