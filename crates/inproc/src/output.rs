//! The output: the side of an exporter that the host program uses.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use otelcore_pdata::Signal;
use otelcore_pipeline::{AttemptId, Notifier};

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
        queue.closed = true;
        // The sending queue of the exporter still holds them, and reports them.
        queue.batches.clear();
        self.changed.notify_all();
    }
}

#[derive(Default)]
pub(crate) struct BatchQueue {
    pub(crate) notifier: Option<Arc<dyn Notifier>>,
    pub(crate) closed: bool,
    pub(crate) batches: VecDeque<(AttemptId, Signal, Bytes)>,
    /// The results that the host program has given since the loop last took them.
    pub(crate) results: BTreeMap<AttemptId, BatchResult>,
    /// How many waiting calls are to return [`NextBatchError::Woken`].
    pending_wakes: u64,
    waiting_calls: u64,
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

/// Why there is no batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NextBatchError {
    /// None came in time.
    Timeout,
    /// [`Output::wake`] was called.
    Woken,
    /// The collector has stopped, and every batch was taken.
    Closed,
    /// This process is a forked child of the one that the collector runs in.
    Forked,
}

impl std::fmt::Display for NextBatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no batch came in time",
            Self::Woken => "the wait was cancelled",
            Self::Closed => "the collector is closed",
            Self::Forked => "the collector runs in the parent of this process, not in this forked child",
        })
    }
}

impl std::error::Error for NextBatchError {}

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
    #[expect(clippy::disallowed_methods, reason = "it is the host's thread that waits, outside of any world")]
    pub fn next(&self, timeout: Option<Duration>) -> Result<Batch, NextBatchError> {
        if self.0.process.is_forked() {
            return Err(NextBatchError::Forked);
        }
        // A timeout that ends beyond the range of `Instant` is treated as none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut queue = lock_ignoring_poison(&self.0.queue);
        loop {
            if let Some((attempt, signal, data)) = queue.batches.pop_front() {
                return Ok(Batch { state: self.0.clone(), attempt, signal, data, is_finished: false });
            }
            if queue.closed {
                return Err(NextBatchError::Closed);
            }
            if queue.pending_wakes > 0 {
                queue.pending_wakes -= 1;
                return Err(NextBatchError::Woken);
            }
            let remaining = deadline.map(|until| until.saturating_duration_since(Instant::now()));
            if remaining == Some(Duration::ZERO) || timeout == Some(Duration::ZERO) {
                return Err(NextBatchError::Timeout);
            }
            queue.waiting_calls += 1;
            queue = match remaining {
                Some(left) => {
                    let result = self.0.changed.wait_timeout(queue, left);
                    result.unwrap_or_else(std::sync::PoisonError::into_inner).0
                }
                None => self.0.changed.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner),
            };
            queue.waiting_calls -= 1;
        }
    }

    /// Makes all calls that wait in [`Output::next`] return; if there are none, the next call that would wait.
    pub fn wake(&self) {
        if self.0.process.is_forked() {
            return;
        }
        let mut queue = lock_ignoring_poison(&self.0.queue);
        queue.pending_wakes = queue.waiting_calls.max(1);
        self.0.changed.notify_all();
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
