//! The effects of fork and of interpreter exit on handles.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use otelcore::inproc::NextBatchError;
use pyo3::prelude::*;

use crate::errors::{self, ExceptionClass};

/// A value that belongs to the process that made it. In a forked child it can't be reached, and is never dropped: the
/// child shares the parent's sockets and epoll, and a lock may be held for ever by a thread that the child does not
/// have.
pub(crate) struct ProcessOwned<T> {
    value: Option<T>,
    pid: u32,
}

impl<T> ProcessOwned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), pid: std::process::id() }
    }

    pub(crate) fn is_inherited(&self) -> bool {
        self.pid != std::process::id()
    }

    pub(crate) fn get(&self) -> PyResult<&T> {
        match &self.value {
            Some(value) if !self.is_inherited() => Ok(value),
            _ => Err(inherited_error()),
        }
    }

    pub(crate) fn get_mut(&mut self) -> PyResult<&mut T> {
        let is_inherited = self.is_inherited();
        match &mut self.value {
            Some(value) if !is_inherited => Ok(value),
            _ => Err(inherited_error()),
        }
    }

    pub(crate) fn take(mut self) -> PyResult<T> {
        if self.is_inherited() { Err(inherited_error()) } else { self.value.take().ok_or_else(inherited_error) }
    }
}

impl<T> Drop for ProcessOwned<T> {
    fn drop(&mut self) {
        if self.is_inherited() {
            mem::forget(self.value.take());
        }
    }
}

fn inherited_error() -> PyErr {
    errors::new_exception(
        ExceptionClass::Forked,
        "this collector runs in the parent process, not in this forked child; start() it here, or make it after the fork",
    )
}

/// The interpreter is about to exit: no thread may release the GIL any more, because a thread that asks for it back
/// later would be ended while Rust frames are on its stack.
static EXITING: AtomicBool = AtomicBool::new(false);

/// The number of calls that have released the GIL.
static CALLS_WITHOUT_GIL: AtomicUsize = AtomicUsize::new(0);

struct GilReleased;

impl GilReleased {
    fn enter() -> Self {
        CALLS_WITHOUT_GIL.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for GilReleased {
    fn drop(&mut self) {
        // The count can be zero here only after a fork.
        let _ = CALLS_WITHOUT_GIL.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    }
}

/// Runs `f` without the GIL; while the interpreter exits, with it.
pub(crate) fn without_gil<T: Send>(py: Python<'_>, f: impl FnOnce() -> T + Send) -> T {
    let _guard = GilReleased::enter();
    if is_exiting() { f() } else { py.detach(f) }
}

pub(crate) fn is_exiting() -> bool {
    EXITING.load(Ordering::SeqCst)
}

/// The length of one wait without the GIL.
pub(crate) const WAIT_SLICE: Duration = Duration::from_millis(100);

/// Waits in slices until `poll` returns a value, or until `deadline`. Ctrl-C ends the wait with its exception, and the
/// interpreter's exit ends it with `None`.
pub(crate) fn wait_in_slices<T: Send>(
    py: Python<'_>,
    deadline: Option<Instant>,
    poll: impl Fn(Duration) -> Option<T> + Sync,
) -> PyResult<Option<T>> {
    loop {
        let remaining =
            deadline.map_or(WAIT_SLICE, |until| until.saturating_duration_since(Instant::now()).min(WAIT_SLICE));
        let slice = if is_exiting() { Duration::ZERO } else { remaining };
        if let Some(value) = without_gil(py, || poll(slice)) {
            return Ok(Some(value));
        }
        py.check_signals()?;
        if remaining.is_zero() || is_exiting() {
            return Ok(None);
        }
    }
}

/// Waits for what `next` returns. `None` when the timeout has passed; `Err` when the collector has ended, or the
/// interpreter is exiting.
pub(crate) fn wait_for_next<T: Send>(
    py: Python<'_>,
    timeout: Option<Duration>,
    next: impl Fn(Duration) -> Result<T, NextBatchError> + Sync,
) -> PyResult<Result<Option<T>, ()>> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let result = wait_in_slices(py, deadline, |slice| match next(slice) {
        Ok(value) => Some(Some(value)),
        Err(NextBatchError::Closed) => Some(None),
        Err(_) => None,
    })?;
    Ok(match result {
        Some(Some(value)) => Ok(Some(value)),
        Some(None) => Err(()),
        None if timeout.is_some() => Ok(None),
        // Without a timeout, `None` means that the interpreter is exiting.
        None => Err(()),
    })
}

/// The same as [`wait_in_slices`] for a condition that must be polled.
pub(crate) fn wait_until(
    py: Python<'_>,
    deadline: Option<Instant>,
    condition: impl Fn() -> bool + Sync,
) -> PyResult<bool> {
    /// The polling interval.
    const POLL_INTERVAL: Duration = Duration::from_millis(2);
    let result = wait_in_slices(py, deadline, |slice| {
        let end = Instant::now() + slice;
        loop {
            if condition() {
                return Some(());
            }
            if Instant::now() >= end {
                return None;
            }
            sleep(POLL_INTERVAL);
        }
    })?;
    Ok(result.is_some())
}

/// Called when the interpreter exits: from now on no call waits. Returns when no call runs without the GIL, or after a
/// second.
#[pyfunction]
pub(crate) fn exiting(py: Python<'_>) {
    EXITING.store(true, Ordering::SeqCst);
    py.detach(|| {
        let end = Instant::now() + Duration::from_secs(1);
        while CALLS_WITHOUT_GIL.load(Ordering::SeqCst) > 0 && Instant::now() < end {
            sleep(Duration::from_millis(2));
        }
    });
}

/// Called in a forked child: the parent's other threads do not exist in it.
#[pyfunction]
pub(crate) fn forked() {
    CALLS_WITHOUT_GIL.store(0, Ordering::SeqCst);
}

/// A duration in seconds as Python gives it; `None` is no limit.
pub(crate) fn duration(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    seconds
        .map(|s| {
            Duration::try_from_secs_f64(s)
                .map_err(|_| pyo3::exceptions::PyValueError::new_err(format!("{s} is no time to wait, in seconds")))
        })
        .transpose()
}
