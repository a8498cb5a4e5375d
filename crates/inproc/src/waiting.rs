//! Calls and futures in which the host program waits for something from the loop.
//!
//! Has the wait, its timeout, and what ends it early. Knows nothing of what is waited for, and of no executor of futures.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
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
    /// The futures that wait.
    wakers: BTreeMap<u64, Waker>,
    next_future: u64,
}

impl WaitState {
    fn register(&mut self, number: Option<u64>, waker: &Waker) -> u64 {
        let number = number.unwrap_or_else(|| {
            self.next_future = self.next_future.wrapping_add(1);
            self.next_future
        });
        self.wakers.entry(number).and_modify(|known| known.clone_from(waker)).or_insert_with(|| waker.clone());
        number
    }
}

/// A queue for whose entries calls wait.
pub(crate) trait WaitedQueue {
    type Entry;

    fn pop(&mut self) -> Option<Self::Entry>;

    fn wait_state(&mut self) -> &mut WaitState;
}

/// A queue of the host program's side, by its lock.
pub(crate) trait HostQueue {
    type Queue: WaitedQueue;

    fn queue(&self) -> &Mutex<Self::Queue>;

    /// Notified of each new entry, of [`wake_calls`], and of the close.
    fn changed(&self) -> &Condvar;

    fn is_forked(&self) -> bool;
}

/// Ends a change of a queue: one call, or all that wait, look again, and all futures. Futures that find nothing wait on.
pub(crate) fn notify<S: HostQueue>(state: &S, mut queue: MutexGuard<'_, S::Queue>, all: bool) {
    let wakers = std::mem::take(&mut queue.wait_state().wakers);
    drop(queue);
    if all {
        state.changed().notify_all();
    } else {
        state.changed().notify_one();
    }
    wakers.into_values().for_each(Waker::wake);
}

/// The next entry as a future.
pub(crate) struct NextEntry<S: HostQueue> {
    state: Arc<S>,
    /// Its number among the wakers, once it has waited.
    number: Option<u64>,
}

impl<S: HostQueue> NextEntry<S> {
    pub(crate) fn new(state: Arc<S>) -> Self {
        Self { state, number: None }
    }
}

impl<S: HostQueue> Future for NextEntry<S> {
    type Output = Result<<S::Queue as WaitedQueue>::Entry, NextBatchError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.state.is_forked() {
            return Poll::Ready(Err(NextBatchError::Forked));
        }
        let state = self.state.clone();
        let mut queue = lock_ignoring_poison(state.queue());
        if let Some(entry) = queue.pop() {
            return Poll::Ready(Ok(entry));
        }
        let waits = queue.wait_state();
        if waits.closed {
            return Poll::Ready(Err(NextBatchError::Closed));
        }
        if waits.pending_wakes > 0 {
            waits.pending_wakes -= 1;
            return Poll::Ready(Err(NextBatchError::Woken));
        }
        self.number = Some(waits.register(self.number, cx.waker()));
        Poll::Pending
    }
}

impl<S: HostQueue> Drop for NextEntry<S> {
    fn drop(&mut self) {
        if let Some(number) = self.number
            && !self.state.is_forked()
        {
            lock_ignoring_poison(self.state.queue()).wait_state().wakers.remove(&number);
        }
    }
}

/// The next entry. Waits for it until `timeout` has passed; without a timeout there is no limit.
#[expect(clippy::disallowed_methods, reason = "it is the host's thread that waits, outside of any world")]
pub(crate) fn wait_for_entry<S: HostQueue>(
    state: &S,
    timeout: Option<Duration>,
) -> Result<<S::Queue as WaitedQueue>::Entry, NextBatchError> {
    let changed = state.changed();
    // A timeout that ends beyond the range of `Instant` is treated as none.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut queue = lock_ignoring_poison(state.queue());
    loop {
        if let Some(entry) = queue.pop() {
            return Ok(entry);
        }
        let waits = queue.wait_state();
        if waits.closed {
            return Err(NextBatchError::Closed);
        }
        if waits.pending_wakes > 0 {
            waits.pending_wakes -= 1;
            return Err(NextBatchError::Woken);
        }
        let remaining = deadline.map(|until| until.saturating_duration_since(Instant::now()));
        if remaining == Some(Duration::ZERO) || timeout == Some(Duration::ZERO) {
            return Err(NextBatchError::Timeout);
        }
        waits.waiting_calls += 1;
        queue = match remaining {
            Some(left) => changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
            None => changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
        };
        queue.wait_state().waiting_calls -= 1;
    }
}

/// Makes all calls that wait return; if there are none, the next call that would wait.
pub(crate) fn wake_calls<S: HostQueue>(state: &S) {
    let mut queue = lock_ignoring_poison(state.queue());
    let waits = queue.wait_state();
    waits.pending_wakes = (waits.waiting_calls + waits.wakers.len() as u64).max(1);
    notify(state, queue, true);
}
