//! The output: the side of an exporter that the host program uses.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use otelcore_pdata::Signal;
use otelcore_pipeline::{AttemptId, Notifier};

use crate::waiting::{NextBatchError, WaitState, WaitedQueue, wait_for_entry, wake_calls};
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
        self.changed.notify_all();
    }
}

#[derive(Default)]
pub(crate) struct BatchQueue {
    pub(crate) notifier: Option<Arc<dyn Notifier>>,
    pub(crate) batches: VecDeque<(AttemptId, Signal, Bytes)>,
    /// The results that the host program has given since the loop last took them.
    pub(crate) results: BTreeMap<AttemptId, BatchResult>,
    waits: WaitState,
}

impl WaitedQueue for BatchQueue {
    type Entry = (AttemptId, Signal, Bytes);

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
        let (attempt, signal, data) = wait_for_entry(&self.0.queue, &self.0.changed, timeout)?;
        Ok(Batch { state: self.0.clone(), attempt, signal, data, is_finished: false })
    }

    /// Makes all calls that wait in [`Output::next`] return; if there are none, the next call that would wait.
    pub fn wake(&self) {
        if !self.0.process.is_forked() {
            wake_calls(&self.0.queue, &self.0.changed);
        }
    }

    /// Passes batches to `callback` in the collector's thread, one after another, instead of [`Output::next`].
    /// It must not wait for the collector. Returns `false` when the collector has already been started.
    pub fn set_callback(&self, callback: impl FnMut(Signal, &[u8]) -> BatchResult + Send + 'static) -> bool {
        if self.0.process.is_forked() || lock_ignoring_poison(&self.0.queue).notifier.is_some() {
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
        queue.results.insert(self.attempt, result);
        let notifier = queue.notifier.clone();
        drop(queue);
        if let Some(notifier) = notifier {
            notifier.notify();
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.set_result(BatchResult::Retry(None));
    }
}
