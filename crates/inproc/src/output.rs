//! The output: the side of an exporter that the host program uses.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use otelcore_pdata::Signal;
use otelcore_pipeline::{Bell, JobId};

use crate::{Process, lock};

/// A host program's function for batches.
pub(crate) type Callback = Box<dyn FnMut(Signal, &[u8]) -> Finish + Send>;

/// The state that an [`Output`] shares with its exporter.
#[derive(Default)]
pub(crate) struct Shared {
    process: Process,
    pub(crate) queue: Mutex<Queue>,
    /// Notified of each new batch, of [`Output::wake`], and of the close.
    pub(crate) news: Condvar,
    /// Not under the lock of the queue: it is called under this lock, and may use the output meanwhile.
    pub(crate) callback: Mutex<Option<Callback>>,
}

impl Shared {
    pub(crate) fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.closed = true;
        // The sending queue of the exporter still holds them, and reports them.
        queue.batches.clear();
        self.news.notify_all();
    }
}

#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) bell: Option<Arc<dyn Bell>>,
    pub(crate) closed: bool,
    pub(crate) batches: VecDeque<(JobId, Signal, Bytes)>,
    /// The results that the host program has given since the loop last took them.
    pub(crate) finished: BTreeMap<JobId, Finish>,
    /// How many waiting calls are to return [`NoBatch::Woken`].
    wakes: u64,
    waiting: u64,
}

/// The result of a batch, as the host program reports it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finish {
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
pub enum NoBatch {
    /// None came in time.
    Timeout,
    /// [`Output::wake`] was called.
    Woken,
    /// The collector has stopped, and every batch was taken.
    Closed,
    /// This process is a forked child of the one that the collector runs in.
    Forked,
}

impl std::fmt::Display for NoBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no batch came in time",
            Self::Woken => "the wait was cancelled",
            Self::Closed => "the collector is closed",
            Self::Forked => "the collector runs in the parent of this process, not in this forked child",
        })
    }
}

impl std::error::Error for NoBatch {}

/// Gives telemetry to a host program. Any thread may use it; clones are the same output, and share its batches.
#[derive(Clone)]
pub struct Output(Arc<Shared>);

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Output");
        if !self.0.process.is_forked() {
            out.field("batches", &lock(&self.0.queue).batches.len());
        }
        out.finish_non_exhaustive()
    }
}

impl Output {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The next batch. Waits for it until `timeout` has passed; without a timeout there is no limit.
    ///
    /// # Errors
    /// The reason why there is none.
    #[expect(clippy::disallowed_methods, reason = "it is the host's thread that waits, outside of any world")]
    pub fn next(&self, timeout: Option<Duration>) -> Result<Batch, NoBatch> {
        if self.0.process.is_forked() {
            return Err(NoBatch::Forked);
        }
        // A timeout that ends beyond the range of `Instant` is treated as none.
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut queue = lock(&self.0.queue);
        loop {
            if let Some((job, signal, data)) = queue.batches.pop_front() {
                return Ok(Batch { shared: self.0.clone(), job, signal, data, finished: false });
            }
            if queue.closed {
                return Err(NoBatch::Closed);
            }
            if queue.wakes > 0 {
                queue.wakes -= 1;
                return Err(NoBatch::Woken);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) || timeout == Some(Duration::ZERO) {
                return Err(NoBatch::Timeout);
            }
            queue.waiting += 1;
            queue = match left {
                Some(left) => {
                    let waited = self.0.news.wait_timeout(queue, left);
                    waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
                }
                None => self.0.news.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner),
            };
            queue.waiting -= 1;
        }
    }

    /// Makes all calls that wait in [`Output::next`] return; if there are none, the next call that would wait.
    pub fn wake(&self) {
        if self.0.process.is_forked() {
            return;
        }
        let mut queue = lock(&self.0.queue);
        queue.wakes = queue.waiting.max(1);
        self.0.news.notify_all();
    }

    /// Passes batches to `callback` in the collector's thread, one after another, instead of [`Output::next`].
    /// It must not wait for the collector. Returns `false` when the collector has already been started.
    pub fn set_callback(&self, callback: impl FnMut(Signal, &[u8]) -> Finish + Send + 'static) -> bool {
        if self.0.process.is_forked() || lock(&self.0.queue).bell.is_some() {
            return false;
        }
        *lock(&self.0.callback) = Some(Box::new(callback));
        true
    }
}

/// Telemetry for the host program: an `Export*ServiceRequest` in protobuf. A batch that is dropped unfinished is given
/// again.
pub struct Batch {
    shared: Arc<Shared>,
    job: JobId,
    signal: Signal,
    data: Bytes,
    finished: bool,
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
    pub fn finish(mut self, finish: Finish) {
        self.tell(finish);
    }

    fn tell(&mut self, finish: Finish) {
        if std::mem::replace(&mut self.finished, true) || self.shared.process.is_forked() {
            return;
        }
        let mut queue = lock(&self.shared.queue);
        queue.finished.insert(self.job, finish);
        let bell = queue.bell.clone();
        drop(queue);
        if let Some(bell) = bell {
            bell.ring();
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.tell(Finish::Retry(None));
    }
}
