//! The input: the side of a receiver that the host program uses.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use bytes::Bytes;
use otelcore_pdata::{Signal, checked_rope};
use otelcore_pipeline::{Budget, Notifier, Payload};

use crate::{OwnerProcess, lock_ignoring_poison};

/// The state that an [`Input`] shares with its receiver.
#[derive(Default)]
pub(crate) struct InputState {
    process: OwnerProcess,
    pub(crate) queue: Mutex<PayloadQueue>,
    /// By signal: whether a limiter refused when the loop checked last.
    pub(crate) is_refusing: [AtomicBool; 3],
}

impl InputState {
    pub(crate) fn is_forked(&self) -> bool {
        self.process.is_forked()
    }

    /// The bytes whose outcome is not known, and their bound.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let queue = lock_ignoring_poison(&self.queue);
        (queue.bytes, queue.open.as_ref().map_or(0, |open| open.max_bytes))
    }

    pub(crate) fn close(&self) -> u64 {
        let mut queue = lock_ignoring_poison(&self.queue);
        queue.open = None;
        queue.closed = true;
        queue.payloads.drain(..).map(|submitted| u64::from(submitted.payload.items())).sum()
    }
}

/// A payload, and the caller that waits for its outcome, if one does.
pub(crate) struct Submitted {
    pub(crate) payload: Payload,
    pub(crate) result: Option<ResultSender>,
}

#[derive(Default)]
struct PendingResult {
    result: Mutex<Option<Result<(), SubmitError>>>,
    is_known: Condvar,
}

/// The loop's side of a result that a caller waits for. Dropped without one, the caller gets [`SubmitError::Closed`].
pub(crate) struct ResultSender(Arc<PendingResult>);

impl ResultSender {
    pub(crate) fn send(self, result: Result<(), SubmitError>) {
        self.set(result);
    }

    fn set(&self, result: Result<(), SubmitError>) {
        lock_ignoring_poison(&self.0.result).get_or_insert(result);
        self.0.is_known.notify_one();
    }
}

impl Drop for ResultSender {
    fn drop(&mut self) {
        self.set(Err(SubmitError::Closed));
    }
}

impl PendingResult {
    fn wait(&self, timeout: Duration) -> Result<(), SubmitError> {
        let result = lock_ignoring_poison(&self.result);
        let waited = self.is_known.wait_timeout_while(result, timeout, |result| result.is_none());
        let (mut result, _) = waited.unwrap_or_else(PoisonError::into_inner);
        result.take().unwrap_or(Err(SubmitError::NoResult))
    }
}

#[derive(Default)]
pub(crate) struct PayloadQueue {
    pub(crate) open: Option<OpenInput>,
    /// It was closed; a later configuration may open it again.
    pub(crate) closed: bool,
    /// The receiver that takes the payloads. When a changed configuration has another receiver of this id, the payloads are that
    /// one's.
    pub(crate) receiver: u64,
    pub(crate) payloads: VecDeque<Submitted>,
    /// Bytes of the payloads in the queue, and of those that the receiver has taken and whose outcome is not final.
    pub(crate) bytes: usize,
}

/// The state of an input while the collector runs.
pub(crate) struct OpenInput {
    pub(crate) notifier: Arc<dyn Notifier>,
    pub(crate) budget: Arc<Budget>,
    /// The signals for which a pipeline uses this input.
    pub(crate) signals: Vec<Signal>,
    pub(crate) max_bytes: usize,
    /// How long a caller waits for the outcome. `None`: it does not.
    pub(crate) result_timeout: Option<Duration>,
    /// The thread of the loop, which can't wait for itself.
    pub(crate) loop_thread: ThreadId,
}

/// Why a body was not accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SubmitError {
    /// The collector has not been started.
    NotStarted,
    /// The collector is stopping, or has stopped.
    Closed,
    /// No pipeline of this signal uses this input.
    Signal(Signal),
    /// The bytes are no valid request of this signal; the text says where and why.
    Invalid(String),
    /// The collector holds too much data; the same bytes may be accepted later, after the pause.
    Overloaded(Duration),
    /// The pipelines have refused the data for good.
    Refused(String),
    /// With `wait_for_result`: there is no outcome in time. The data may be delivered, or not.
    NoResult,
    /// With `wait_for_result`: the collector's loop runs on this thread.
    LoopThread,
    /// This process is a forked child of the one that the collector runs in.
    Forked,
}

impl std::fmt::Display for SubmitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotStarted => f.write_str("the collector has not been started"),
            Self::Closed => f.write_str("the collector is closed"),
            Self::Signal(signal) => write!(f, "no pipeline takes {signal} from this input; name it under `receivers`"),
            Self::Invalid(why) => f.write_str(why),
            Self::Overloaded(_) => f.write_str("the collector holds as much as it may; try again later"),
            Self::Refused(why) => write!(f, "the collector has refused the data: {why}"),
            Self::NoResult => f.write_str(
                "no outcome came within 'result_timeout' of the input; the data may be delivered or not, so submit it again",
            ),
            Self::LoopThread => f.write_str(
                "the collector's loop runs on this thread, which can't wait for it; submit on another thread, or leave out 'wait_for_result' of the input",
            ),
            Self::Forked => f.write_str("the collector runs in the parent of this process, not in this forked child"),
        }
    }
}

impl std::error::Error for SubmitError {}

/// The pause before another attempt, when the collector is overloaded.
pub(crate) const OVERLOAD_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Accepts telemetry from a host program. Any thread may use it; clones are the same input. It may outlive its
/// collector; then it returns [`SubmitError::Closed`].
#[derive(Clone)]
pub struct Input(Arc<InputState>);

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Input");
        if !self.0.process.is_forked() {
            out.field("queued_bytes", &lock_ignoring_poison(&self.0.queue).bytes);
        }
        out.finish_non_exhaustive()
    }
}

impl Input {
    pub(crate) fn new(state: Arc<InputState>) -> Self {
        Self(state)
    }

    /// Submits a copy of `body`, an `Export*ServiceRequest` in protobuf. Never waits. Accepted data is in the
    /// collector's custody: it is delivered, or reported as lost.
    ///
    /// With `wait_for_result` of the receiver it waits for the outcome. Accepted data has then been accepted by the
    /// pipelines: where they lead to a queue on disk, it is on disk, and is delivered whatever happens to the process.
    ///
    /// # Errors
    /// The reason why it was not accepted; the call had no effect then.
    pub fn submit(&self, signal: Signal, body: &[u8]) -> Result<(), SubmitError> {
        self.submit_bytes(signal, Bytes::copy_from_slice(body))
    }

    /// The same for bytes that need not be copied.
    ///
    /// # Errors
    /// The reason why it was not accepted; the call had no effect then.
    pub fn submit_bytes(&self, signal: Signal, body: Bytes) -> Result<(), SubmitError> {
        let (budget, result_timeout) = self.check_admission(signal, body.len())?;
        // The check is the expensive part: it runs in the caller's thread and under no lock.
        let held = budget.hold(body.len() as u64);
        let body = checked_rope(signal, body).map_err(|e| SubmitError::Invalid(e.to_string()))?;
        if body.items() == 0 {
            return Ok(());
        }
        let mut queue = lock_ignoring_poison(&self.0.queue);
        let Some(notifier) = queue.open.as_ref().map(|open| open.notifier.clone()) else {
            return Err(SubmitError::Closed);
        };
        queue.bytes += body.len();
        let pending = result_timeout.map(|timeout| (Arc::<PendingResult>::default(), timeout));
        let result = pending.as_ref().map(|(pending, _)| ResultSender(pending.clone()));
        queue.payloads.push_back(Submitted { payload: Payload { signal, body, metadata: None, held }, result });
        drop(queue);
        notifier.notify();
        pending.map_or(Ok(()), |(pending, timeout)| pending.wait(timeout))
    }

    /// The same for `json`, a request in OTLP/JSON: it is converted in this call.
    ///
    /// # Errors
    /// The reason why it was not accepted; the call had no effect then.
    pub fn submit_json(&self, signal: Signal, json: &[u8]) -> Result<(), SubmitError> {
        // What is refused anyway is not converted.
        self.check_admission(signal, json.len())?;
        let mut body = Vec::new();
        otelcore_pdata::json::decode(signal, json, &mut body).map_err(|e| SubmitError::Invalid(e.to_string()))?;
        self.submit_bytes(signal, Bytes::from(body))
    }

    fn check_admission(&self, signal: Signal, len: usize) -> Result<(Arc<Budget>, Option<Duration>), SubmitError> {
        if self.0.process.is_forked() {
            return Err(SubmitError::Forked);
        }
        let queue = lock_ignoring_poison(&self.0.queue);
        let open = match &queue.open {
            Some(open) => open,
            None if queue.closed => return Err(SubmitError::Closed),
            None => return Err(SubmitError::NotStarted),
        };
        if !open.signals.contains(&signal) {
            return Err(SubmitError::Signal(signal));
        }
        if open.result_timeout.is_some() && std::thread::current().id() == open.loop_thread {
            return Err(SubmitError::LoopThread);
        }
        if self.0.is_refusing[signal as usize].load(Ordering::Relaxed) {
            // The loop checks whether a limiter still refuses.
            open.notifier.notify();
            return Err(SubmitError::Overloaded(OVERLOAD_RETRY_DELAY));
        }
        // A body that is larger than the limit is accepted while no other data waits.
        if queue.bytes > 0 && queue.bytes + len > open.max_bytes {
            return Err(SubmitError::Overloaded(OVERLOAD_RETRY_DELAY));
        }
        Ok((open.budget.clone(), open.result_timeout))
    }
}
