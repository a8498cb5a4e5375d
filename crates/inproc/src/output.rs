//! The output: the side of an exporter that the host program uses.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use otelcore_pdata::Signal;
use otelcore_pipeline::{AttemptId, Notifier};

use crate::waiting::{
    HostQueue, NextBatchError, NextEntry, WaitState, WaitedQueue, notify, wait_for_entry, wake_calls,
};
use crate::{OwnerProcess, lock_ignoring_poison};

/// A host program's function for batches.
pub(crate) type BatchCallback = Box<dyn FnMut(Signal, &[u8]) -> BatchResult + Send>;

/// The state that an [`Output`] shares with its exporter.
#[derive(Default)]
pub(crate) struct OutputState {
    process: OwnerProcess,
    pub(crate) queue: Mutex<BatchQueue>,
    /// Notified of each new batch, of [`Output::wake`], and of the close.
    pub(crate) changed: Condvar,
    /// Not under the lock of the queue: it is called under this lock, and may use the output meanwhile.
    pub(crate) callback: Mutex<Option<BatchCallback>>,
}

impl OutputState {
    pub(crate) fn close(&self) {
        let mut queue = lock_ignoring_poison(&self.queue);
        queue.waits.closed = true;
        // The sending queue of the exporter still holds them, and reports them.
        queue.batches.clear();
        notify(self, queue, true);
    }

    /// An exporter has ended; with the last one, the host program gets nothing more.
    pub(crate) fn remove_exporter(&self, number: u64) {
        if self.process.is_forked() {
            return;
        }
        let mut queue = lock_ignoring_poison(&self.queue);
        let was_there = queue.exporters.remove(&number).is_some();
        queue.batches.retain(|batch| batch.exporter != number);
        let is_last = was_there && queue.exporters.is_empty();
        drop(queue);
        if is_last {
            self.close();
        }
    }
}

#[derive(Default)]
pub(crate) struct BatchQueue {
    /// The exporters whose batches the host program gets: while a changed configuration replaces one, two.
    exporters: BTreeMap<u64, OpenExporter>,
    next_exporter: u64,
    pub(crate) batches: VecDeque<WaitingBatch>,
    waits: WaitState,
}

struct OpenExporter {
    notifier: Arc<dyn Notifier>,
    /// The results that the host program has given since the loop last took them.
    results: BTreeMap<AttemptId, BatchResult>,
}

/// A batch that the host program has not taken.
pub(crate) struct WaitingBatch {
    pub(crate) exporter: u64,
    pub(crate) attempt: AttemptId,
    pub(crate) signal: Signal,
    pub(crate) data: Bytes,
}

impl BatchQueue {
    /// Adds an exporter; returns its number.
    pub(crate) fn add_exporter(&mut self, notifier: Arc<dyn Notifier>) -> u64 {
        let number = self.next_exporter;
        self.next_exporter += 1;
        self.exporters.insert(number, OpenExporter { notifier, results: BTreeMap::new() });
        self.waits.closed = false;
        number
    }

    /// Takes the results of an exporter's batches.
    pub(crate) fn take_results(&mut self, exporter: u64) -> BTreeMap<AttemptId, BatchResult> {
        self.exporters.get_mut(&exporter).map(|open| std::mem::take(&mut open.results)).unwrap_or_default()
    }
}

impl HostQueue for OutputState {
    type Queue = BatchQueue;

    fn queue(&self) -> &Mutex<BatchQueue> {
        &self.queue
    }

    fn changed(&self) -> &Condvar {
        &self.changed
    }

    fn is_forked(&self) -> bool {
        self.process.is_forked()
    }
}

impl WaitedQueue for BatchQueue {
    type Entry = WaitingBatch;

    fn pop(&mut self) -> Option<Self::Entry> {
        self.batches.pop_front()
    }

    fn wait_state(&mut self) -> &mut WaitState {
        &mut self.waits
    }
}

/// The result of a batch, as the host program reports it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BatchResult {
    /// The host program has processed it.
    Delivered,
    /// Not now: the batch is given again, not before the pause is over.
    Retry(Option<Duration>),
    /// Never: the batch is dropped, and reported with this reason.
    Permanent(String),
}

/// Gives telemetry to a host program. Any thread may use it; clones are the same output, and share its batches.
#[derive(Clone)]
pub struct Output(Arc<OutputState>);

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Output");
        if !self.0.process.is_forked() {
            out.field("batches", &lock_ignoring_poison(&self.0.queue).batches.len());
        }
        out.finish_non_exhaustive()
    }
}

impl Output {
    pub(crate) fn new(state: Arc<OutputState>) -> Self {
        Self(state)
    }

    /// The next batch. Waits for it until `timeout` has passed; without a timeout there is no limit.
    ///
    /// # Errors
    /// The reason why there is none.
    pub fn next(&self, timeout: Option<Duration>) -> Result<Batch, NextBatchError> {
        if self.0.process.is_forked() {
            return Err(NextBatchError::Forked);
        }
        Ok(Batch::new(&self.0, wait_for_entry(&*self.0, timeout)?))
    }

    /// The next batch as a future, for any executor: it is woken in the collector's thread. Dropped, it takes no batch.
    /// There is no timeout; [`Output::wake`] ends it as it ends calls.
    ///
    /// Resolves to an error with the reason why there is none.
    pub fn next_async(&self) -> impl Future<Output = Result<Batch, NextBatchError>> + Send + use<> {
        let state = self.0.clone();
        async move { Ok(Batch::new(&state, NextEntry::new(state.clone()).await?)) }
    }

    /// Makes all calls that wait in [`Output::next`] return; if there are none, the next call that would wait.
    pub fn wake(&self) {
        if !self.0.process.is_forked() {
            wake_calls(&*self.0);
        }
    }

    /// Passes batches to `callback` in the collector's thread, one after another, instead of [`Output::next`].
    /// It must not wait for the collector. Returns `false` when the collector has already been started.
    pub fn set_callback(&self, callback: impl FnMut(Signal, &[u8]) -> BatchResult + Send + 'static) -> bool {
        if self.0.process.is_forked() || lock_ignoring_poison(&self.0.queue).next_exporter > 0 {
            return false;
        }
        *lock_ignoring_poison(&self.0.callback) = Some(Box::new(callback));
        true
    }
}

/// Telemetry for the host program: an `Export*ServiceRequest` in protobuf. A batch that is dropped unfinished is given
/// again.
pub struct Batch {
    state: Arc<OutputState>,
    exporter: u64,
    attempt: AttemptId,
    signal: Signal,
    data: Bytes,
    is_finished: bool,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("signal", &self.signal).field("bytes", &self.data.len()).finish_non_exhaustive()
    }
}

impl Batch {
    fn new(state: &Arc<OutputState>, waiting: WaitingBatch) -> Self {
        let WaitingBatch { exporter, attempt, signal, data } = waiting;
        Self { state: state.clone(), exporter, attempt, signal, data, is_finished: false }
    }

    /// The signal of its items.
    #[must_use]
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The request message.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Reports its result.
    pub fn finish(mut self, result: BatchResult) {
        self.set_result(result);
    }

    fn set_result(&mut self, result: BatchResult) {
        if std::mem::replace(&mut self.is_finished, true) || self.state.process.is_forked() {
            return;
        }
        let mut queue = lock_ignoring_poison(&self.state.queue);
        // The sending queue of an exporter that has ended has reported the batch.
        let Some(open) = queue.exporters.get_mut(&self.exporter) else { return };
        open.results.insert(self.attempt, result);
        let notifier = open.notifier.clone();
        drop(queue);
        notifier.notify();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.set_result(BatchResult::Retry(None));
    }
}
