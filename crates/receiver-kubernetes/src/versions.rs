//! Up to which version changes have been delivered, kept in a storage.
//!
//! Owns the values and the jobs that read and write them, one at a time. Does not know what has been delivered.

use std::collections::BTreeMap;
use std::io;

use otelcore_pipeline::{Cx, JobResult, LogField, Logger, ValueChange, ValueStore};

type LoadJob = JobResult<(Box<dyn ValueStore>, io::Result<BTreeMap<String, Vec<u8>>>)>;
type WriteJob = JobResult<(Box<dyn ValueStore>, io::Result<()>)>;

enum StoreState {
    /// No storage.
    None,
    Idle(Box<dyn ValueStore>),
    Loading(LoadJob),
    Writing(WriteJob),
}

/// The versions by the keys that the Go receivers use.
pub(crate) struct StoredVersions {
    state: StoreState,
    known: BTreeMap<String, String>,
    /// What has changed since the last write.
    changed: BTreeMap<String, String>,
    job_key: u64,
    log: Logger,
}

/// What an ended job means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoreEvent {
    Nothing,
    Loaded,
    /// Another process uses the store: it is to be loaded again later.
    Busy,
}

/// The key of a resource in a namespace, or in all where it is empty.
pub(crate) fn version_key(resource: &str, namespace: &str) -> String {
    match namespace {
        "" => format!("latestResourceVersion/{resource}"),
        namespace => format!("latestResourceVersion/{resource}.{namespace}"),
    }
}

impl StoredVersions {
    /// `job_key` is the local key of its jobs.
    pub(crate) fn new(store: Option<Box<dyn ValueStore>>, job_key: u64, log: Logger) -> Self {
        let state = store.map_or(StoreState::None, StoreState::Idle);
        Self { state, known: BTreeMap::new(), changed: BTreeMap::new(), job_key, log }
    }

    pub(crate) fn has_store(&self) -> bool {
        !matches!(self.state, StoreState::None)
    }

    /// The version of a key; empty for none.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.known.get(key).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn set(&mut self, key: &str, version: &str) {
        if self.has_store() && self.get(key) != version {
            self.known.insert(key.to_owned(), version.to_owned());
            self.changed.insert(key.to_owned(), version.to_owned());
        }
    }

    /// Begins to read the values. False if nothing is to be waited for.
    pub(crate) fn load(&mut self, cx: &mut Cx<'_>) -> bool {
        match std::mem::replace(&mut self.state, StoreState::None) {
            StoreState::Idle(mut store) => {
                let job = cx.run_file_job(self.job_key, move |files| {
                    let mut values = store.load(files);
                    // Values that are damaged have been set aside.
                    if values.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
                        values = store.load(files);
                    }
                    (store, values)
                });
                match job {
                    Ok(job) => self.state = StoreState::Loading(job),
                    Err(error) => self.warn(&error.to_string()),
                }
                self.has_store()
            }
            other => {
                self.state = other;
                matches!(self.state, StoreState::Loading(_))
            }
        }
    }

    /// Begins to write what has changed, unless a job runs.
    pub(crate) fn write(&mut self, cx: &mut Cx<'_>) {
        if self.changed.is_empty() {
            return;
        }
        match std::mem::replace(&mut self.state, StoreState::None) {
            StoreState::Idle(mut store) => {
                let changed = std::mem::take(&mut self.changed);
                let changes = changed.into_iter().map(|(key, version)| ValueChange::Set(key, version.into_bytes()));
                let changes: Vec<ValueChange> = changes.collect();
                let job = cx.run_file_job(self.job_key, move |files| {
                    let result = store.apply(files, changes);
                    (store, result)
                });
                match job {
                    Ok(job) => self.state = StoreState::Writing(job),
                    Err(error) => self.warn(&error.to_string()),
                }
            }
            other => self.state = other,
        }
    }

    /// A job may have ended.
    pub(crate) fn handle_job(&mut self) -> StoreEvent {
        match std::mem::replace(&mut self.state, StoreState::None) {
            StoreState::Loading(job) if job.has_ended() => match job.take() {
                Some((store, Ok(values))) => {
                    self.state = StoreState::Idle(store);
                    let text = |(key, value): (String, Vec<u8>)| Some((key, String::from_utf8(value).ok()?));
                    self.known = values.into_iter().filter_map(text).collect();
                    StoreEvent::Loaded
                }
                Some((store, Err(error))) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.state = StoreState::Idle(store);
                    StoreEvent::Busy
                }
                Some((store, Err(error))) => {
                    self.state = StoreState::Idle(store);
                    self.warn(&error.to_string());
                    StoreEvent::Loaded
                }
                None => {
                    self.warn("the job has failed");
                    StoreEvent::Loaded
                }
            },
            StoreState::Writing(job) if job.has_ended() => {
                match job.take() {
                    Some((store, result)) => {
                        self.state = StoreState::Idle(store);
                        if let Err(error) = result {
                            self.warn(&error.to_string());
                        }
                    }
                    None => self.warn("the job has failed"),
                }
                StoreEvent::Nothing
            }
            other => {
                self.state = other;
                StoreEvent::Nothing
            }
        }
    }

    pub(crate) fn is_writing(&self) -> bool {
        matches!(self.state, StoreState::Writing(_))
    }

    fn warn(&self, error: &str) {
        self.log.warn("versions of objects can't be kept in the storage", &[("error", LogField::Str(error))]);
    }
}
