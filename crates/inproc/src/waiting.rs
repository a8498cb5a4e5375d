//! Calls in which a thread of the host program waits for something from the loop.
//!
//! Has the wait, its timeout, and what ends it early. Knows nothing of what is waited for.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::lock_ignoring_poison;

/// Why there is no batch, or no payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NextBatchError {
    /// None came in time.
    Timeout,
    /// `wake` was called.
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

/// What ends the calls that wait for a queue.
#[derive(Default)]
pub(crate) struct WaitState {
    /// Nothing is added any more.
    pub(crate) closed: bool,
    /// How many waiting calls are to return [`NextBatchError::Woken`].
    pending_wakes: u64,
    waiting_calls: u64,
}

/// A queue for whose entries calls wait.
pub(crate) trait WaitedQueue {
    type Entry;

    fn pop(&mut self) -> Option<Self::Entry>;

    fn wait_state(&mut self) -> &mut WaitState;
}

/// The next entry. Waits for it until `timeout` has passed; without a timeout there is no limit. `changed` is notified
/// of each new entry, of [`wake_calls`], and of the close.
#[expect(clippy::disallowed_methods, reason = "it is the host's thread that waits, outside of any world")]
pub(crate) fn wait_for_entry<Q: WaitedQueue>(
    queue: &Mutex<Q>,
    changed: &Condvar,
    timeout: Option<Duration>,
) -> Result<Q::Entry, NextBatchError> {
    // A timeout that ends beyond the range of `Instant` is treated as none.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut queue = lock_ignoring_poison(queue);
    loop {
        if let Some(entry) = queue.pop() {
            return Ok(entry);
        }
        let state = queue.wait_state();
        if state.closed {
            return Err(NextBatchError::Closed);
        }
        if state.pending_wakes > 0 {
            state.pending_wakes -= 1;
            return Err(NextBatchError::Woken);
        }
        let remaining = deadline.map(|until| until.saturating_duration_since(Instant::now()));
        if remaining == Some(Duration::ZERO) || timeout == Some(Duration::ZERO) {
            return Err(NextBatchError::Timeout);
        }
        state.waiting_calls += 1;
        queue = match remaining {
            Some(left) => changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
            None => changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
        };
        queue.wait_state().waiting_calls -= 1;
    }
}

/// Makes all calls that wait return; if there are none, the next call that would wait.
pub(crate) fn wake_calls<Q: WaitedQueue>(queue: &Mutex<Q>, changed: &Condvar) {
    let mut queue = lock_ignoring_poison(queue);
    let state = queue.wait_state();
    state.pending_wakes = state.waiting_calls.max(1);
    changed.notify_all();
}
