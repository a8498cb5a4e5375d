//! The host's end of a receiver.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use otelcore_pdata::{Signal, admit};
use otelcore_pipeline::{Bell, Budget, Payload};

use crate::{Process, lock};

/// What both ends of an input share.
#[derive(Default)]
pub(crate) struct Shared {
    process: Process,
    pub(crate) queue: Mutex<Queue>,
    /// By signal: a limiter refuses, as far as the loop knows.
    pub(crate) refusing: [AtomicBool; 3],
}

impl Shared {
    pub(crate) fn close(&self) -> u64 {
        let mut queue = lock(&self.queue);
        queue.open = None;
        queue.closed = true;
        queue.payloads.drain(..).map(|payload| u64::from(payload.items())).sum()
    }
}

#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) open: Option<Open>,
    /// It has been open, and never will be again.
    pub(crate) closed: bool,
    pub(crate) payloads: VecDeque<Payload>,
    /// Bytes of the payloads in the queue, and of those that the receiver has taken and not handed on for good.
    pub(crate) bytes: usize,
}

/// What is known once the collector runs.
pub(crate) struct Open {
    pub(crate) bell: Arc<dyn Bell>,
    pub(crate) budget: Arc<Budget>,
    /// The signals that some pipeline takes from it.
    pub(crate) signals: Vec<Signal>,
    pub(crate) max_bytes: usize,
}

/// Why a body was not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refused {
    /// The collector has not been started.
    NotStarted,
    /// The collector is stopping, or has stopped.
    Closed,
    /// No pipeline takes this signal from this input.
    Signal(Signal),
    /// The bytes are no request of this signal; the text says where and why.
    Invalid(String),
    /// There is too much already; the same bytes may be taken later.
    Overloaded(Duration),
    /// This process is a forked child of the one that the collector runs in.
    Forked,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotStarted => f.write_str("the collector has not been started"),
            Self::Closed => f.write_str("the collector is closed"),
            Self::Signal(signal) => write!(f, "no pipeline takes {signal} from this input; name it under `receivers`"),
            Self::Invalid(why) => f.write_str(why),
            Self::Overloaded(_) => f.write_str("the collector holds as much as it may; try again later"),
            Self::Forked => f.write_str("the collector runs in the parent of this process, not in this forked child"),
        }
    }
}

impl std::error::Error for Refused {}

/// When an overloaded collector is worth another try.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a host program puts telemetry in. Any thread may use it; clones are the same input. It outlives its collector,
/// and then answers [`Refused::Closed`].
#[derive(Clone)]
pub struct Input(Arc<Shared>);

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Input");
        if !self.0.process.is_forked() {
            out.field("queued_bytes", &lock(&self.0.queue).bytes);
        }
        out.finish_non_exhaustive()
    }
}

impl Input {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Takes a copy of `body`, an `Export*ServiceRequest` in protobuf. Never waits. What is taken is in the collector's
    /// custody: delivered, or reported as lost.
    ///
    /// # Errors
    /// Why it was not taken; nothing has happened then.
    pub fn submit(&self, signal: Signal, body: &[u8]) -> Result<(), Refused> {
        self.submit_bytes(signal, Bytes::copy_from_slice(body))
    }

    /// The same for bytes that need not be copied.
    ///
    /// # Errors
    /// Why it was not taken; nothing has happened then.
    pub fn submit_bytes(&self, signal: Signal, body: Bytes) -> Result<(), Refused> {
        let budget = self.check(signal, body.len())?;
        // The walk is the expensive part: it runs in the caller's thread and under no lock.
        let held = budget.hold(body.len() as u64);
        let body = admit(signal, body).map_err(|e| Refused::Invalid(e.to_string()))?;
        if body.items() == 0 {
            return Ok(());
        }
        let mut queue = lock(&self.0.queue);
        let Some(bell) = queue.open.as_ref().map(|open| open.bell.clone()) else { return Err(Refused::Closed) };
        queue.bytes += body.len();
        queue.payloads.push_back(Payload { signal, body, meta: None, held });
        drop(queue);
        bell.ring();
        Ok(())
    }

    fn check(&self, signal: Signal, len: usize) -> Result<Arc<Budget>, Refused> {
        if self.0.process.is_forked() {
            return Err(Refused::Forked);
        }
        let queue = lock(&self.0.queue);
        let open = match &queue.open {
            Some(open) => open,
            None if queue.closed => return Err(Refused::Closed),
            None => return Err(Refused::NotStarted),
        };
        if !open.signals.contains(&signal) {
            return Err(Refused::Signal(signal));
        }
        if self.0.refusing[signal as usize].load(Ordering::Relaxed) {
            // The loop looks whether that is still so.
            open.bell.ring();
            return Err(Refused::Overloaded(PAUSE));
        }
        // A body that is larger than the bound passes while nothing else waits.
        if queue.bytes > 0 && queue.bytes + len > open.max_bytes {
            return Err(Refused::Overloaded(PAUSE));
        }
        Ok(open.budget.clone())
    }
}
