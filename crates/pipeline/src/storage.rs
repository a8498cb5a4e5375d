//! What a storage extension offers: directories for components, and queues on disk in front of exporters.
//!
//! Owns the interfaces and their errors. Touches no file: the implementations give jobs to the world.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::ComponentId;
use otelcore_pdata::Signal;

use crate::{
    Ack, Budget, Capability, ComponentKind, Cx, Event, FileSystem, Logger, Outcome, Payload, QueueConfig, StartError,
    StatusReport, Telemetry, UsedMetadata,
};

/// Who stores something.
#[derive(Clone, Copy, Debug)]
pub struct StorageUser<'a> {
    /// The kind of the component.
    pub kind: ComponentKind,
    /// Its id as the user wrote it.
    pub id: &'a ComponentId,
    /// The signal of what is stored; `None` where it belongs to no signal.
    pub signal: Option<Signal>,
    /// What is stored, such as `queue`, in letters that are valid in the name of a file. Each purpose has a directory of
    /// its own.
    pub purpose: &'a str,
}

/// Where and how something is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorageLocation {
    /// A directory for this user and purpose alone. It may not exist; its parent does, or is made by `root_mode`.
    pub directory: PathBuf,
    /// The permission bits with which missing directories above `directory` are made; `None`: they must exist.
    pub root_mode: Option<u32>,
    /// Whether data is synced to the disk before it counts as stored.
    pub fsync: bool,
    /// How many bytes a queue leaves free on the file system.
    pub min_free_bytes: u64,
    /// How long to wait for a directory that another process uses before that is reported.
    pub lock_timeout: Duration,
    /// Whether a directory that can't be read is renamed, and an empty one is used instead of it.
    pub recreate: bool,
}

/// What a queue on disk is made from.
#[derive(Debug)]
pub struct StoredQueueContext<'a> {
    /// The exporter behind the queue.
    pub exporter: &'a ComponentId,
    /// The signal of its payloads.
    pub signal: Signal,
    /// The configuration of the queue.
    pub config: &'a QueueConfig,
    /// The metadata that must be stored with payloads: what queue and exporter read.
    pub used_metadata: UsedMetadata,
    /// The registry of metrics.
    pub telemetry: &'a Telemetry,
    /// The exporter's logger.
    pub log: Logger,
    /// The count of held bytes, to which payloads that are read from disk are charged.
    pub budget: &'a Arc<Budget>,
}

/// Offered by a storage extension.
pub trait Storage {
    /// Where a component stores something. Two users never have the same directory.
    fn location(&self, user: &StorageUser<'_>) -> StorageLocation;

    /// A few values by key for one component. Nothing is opened yet.
    fn open_values(&self, user: &StorageUser<'_>) -> Box<dyn ValueStore>;

    /// A queue on disk in front of an exporter's queue in memory. Nothing is opened yet.
    fn open_queue(&self, context: StoredQueueContext<'_>) -> Box<dyn StoredQueue>;
}

impl Capability for dyn Storage {
    const NAME: &'static str = "storage extension";

    fn extension_not_found(id: &ComponentId) -> StartError {
        StartError::Config(format!(
            "no storage client extension found: `storage` names \"{id}\"; configure it under `extensions:` and name it in `service::extensions`"
        ))
    }

    fn not_offered(id: &ComponentId) -> StartError {
        StartError::Config(format!(
            "requested extension is not a storage extension: `storage` names \"{id}\"; write the id of a `file_storage` extension"
        ))
    }
}

/// A change of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ValueChange {
    /// Sets the value of a key.
    Set(String, Vec<u8>),
    /// Removes a key. One that does not exist is no error.
    Delete(String),
}

/// A few values by key on a disk: positions of a receiver, for example. Used inside of a file job, one at a time.
pub trait ValueStore: Send + std::fmt::Debug {
    /// Opens the store, locks it against other processes, and reads all values.
    ///
    /// # Errors
    /// Those of the system. `WouldBlock` while another process has it; `InvalidData` where the values are damaged: they are
    /// set aside, and the next call finds none.
    fn load(&mut self, files: &mut dyn FileSystem) -> io::Result<BTreeMap<String, Vec<u8>>>;

    /// Changes values. After a crash, all of the changes are there or none is.
    ///
    /// # Errors
    /// Those of the system; `InvalidInput` where the values would be too large. The old values are there then, unless the
    /// last step has failed.
    fn apply(&mut self, files: &mut dyn FileSystem, changes: Vec<ValueChange>) -> io::Result<()>;
}

/// A queue on disk in front of the queue in memory of an exporter, for one signal.
///
/// ```text
///  offer -> durable -> poll_payload -> (queue in memory, retry, exporter) -> handle_outcome -> removed
/// ```
/// The sender's ack is settled when its payload is durable. Payloads are given out in their order, as many as fit into
/// memory. What is not delivered stays on disk and is given out again after the next start.
///
/// The graph calls [`StoredQueue::flush`] once at the end of each turn in which it has called something else.
pub trait StoredQueue {
    /// Begins to open the files. Payloads may be offered from now on.
    fn start(&mut self, cx: &mut Cx<'_>);

    /// Accepts a payload, or refuses it through its ack.
    fn offer(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack);

    /// An event under one of its keys.
    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>);

    /// The next payload for the queue in memory, with the number of its record.
    fn poll_payload(&mut self, cx: &mut Cx<'_>) -> Option<(u64, Payload)>;

    /// The outcome of a record that [`StoredQueue::poll_payload`] has given out. `Delivered` removes it, `Permanent` sets
    /// it aside; with any other outcome it stays.
    fn handle_outcome(&mut self, cx: &mut Cx<'_>, record: u64, outcome: Outcome);

    /// Gives jobs on files to the world.
    fn flush(&mut self, cx: &mut Cx<'_>);

    /// The status, if it has changed.
    fn poll_status(&mut self) -> Option<StoredQueueStatus>;

    /// Begins a shutdown: what is only on disk stays there. Payloads may still be offered.
    fn drain(&mut self, cx: &mut Cx<'_>);

    /// Closes the files. Nothing is offered any more, and no record is given out. May be called several times.
    fn close(&mut self, cx: &mut Cx<'_>);

    /// True when, after [`StoredQueue::close`], the files are closed.
    fn is_closed(&self) -> bool;

    /// Ends now: senders that still wait get the outcome `Lost`.
    fn abort(&mut self);

    /// Items whose senders have no outcome yet.
    fn waiting_items(&self) -> u64;

    /// Items that are on disk and not delivered.
    fn stored_items(&self) -> u64;

    /// Whether the files are being opened for the first time, so that it can't store anything yet.
    fn is_opening(&self) -> bool {
        false
    }

    /// Items that were offered and not refused, or found on disk, and are neither delivered nor set aside, as far as
    /// [`StoredQueue::handle_outcome`] knows.
    fn undelivered_items(&self) -> u64 {
        self.waiting_items().saturating_add(self.stored_items())
    }

    /// What the queue has found on disk and what it has given up there, since it was made.
    fn item_counts(&self) -> StoredItemCounts {
        StoredItemCounts::default()
    }
}

/// Items that a queue on disk counts by itself. Each only grows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StoredItemCounts {
    /// Items that were found on disk.
    pub recovered: u64,
    /// Items of records that can't be read, as far as their number is known.
    pub damaged: u64,
    /// Items that were set aside without having been given out.
    pub set_aside: u64,
}

/// The status of a queue on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoredQueueStatus {
    /// The files are being opened, and what is in them is being counted.
    Starting,
    /// It works.
    Ok,
    /// It refuses payloads, and tries again.
    RecoverableError(String),
}

impl StoredQueueStatus {
    /// As a report for [`Cx::report_status`].
    #[must_use]
    pub fn report(&self) -> StatusReport<'_> {
        match self {
            Self::Starting => StatusReport::Starting,
            Self::Ok => StatusReport::Ok,
            Self::RecoverableError(text) => StatusReport::RecoverableError(text),
        }
    }
}
