//! The boundary code that every exported function runs in.
//!
//! No panic unwinds into C, a forked child has its own tables, and a thread can check whether it is inside a callback
//! of the host. This module does not use collectors.

use std::cell::Cell;

use otelcore::pipeline::catch_panic;

use crate::Status;
use crate::error::{CallError, Error, write_error};
use crate::panics::MAX_FORK_DEPTH;
pub(crate) use crate::panics::{run_export_or, write_out};
use crate::per_process::current_depth;

thread_local! {
    /// How many callbacks of the host this thread is in.
    static CALLBACKS: Cell<u32> = const { Cell::new(0) };
}

/// Runs the body of an exported function.
pub(crate) fn run_export(err: *mut *mut Error, body: impl FnOnce() -> Result<(), CallError>) -> Status {
    let depth_before = current_depth();
    if depth_before > MAX_FORK_DEPTH {
        return write_error(err, CallError::forked());
    }
    let result = catch_panic(body)
        .unwrap_or_else(|text| Err(CallError::new(crate::OTELCORE_PANIC, format!("a fault in libotelcore: {text}"))));
    match result {
        // A callback has forked, and has returned in the child.
        _ if depth_before != current_depth() => write_error(err, CallError::forked()),
        Ok(()) => crate::OTELCORE_OK,
        Err(error) => write_error(err, error),
    }
}

/// Unwinds to the exported function if a callback that was called at fork depth `depth_before` has returned in a forked
/// child: the calling frames belong to the parent and would continue with its sockets.
pub(crate) fn unwind_in_child(depth_before: u32) {
    if depth_before != current_depth() {
        std::panic::resume_unwind(Box::new("a callback has forked, and has returned in the child"));
    }
}

/// While a value exists, this thread is inside a callback of the host.
pub(crate) struct InCallback(());

impl InCallback {
    pub(crate) fn enter() -> Self {
        CALLBACKS.set(CALLBACKS.get() + 1);
        Self(())
    }

    /// Whether this thread is in a callback, so that it must not wait for the collector.
    pub(crate) fn is_active() -> bool {
        CALLBACKS.get() > 0
    }

    /// Returns an error if this thread is in a callback.
    pub(crate) fn check_inactive() -> Result<(), CallError> {
        if Self::is_active() {
            return Err(CallError::new(crate::OTELCORE_REENTRANT, "not from inside a callback"));
        }
        Ok(())
    }
}

impl Drop for InCallback {
    fn drop(&mut self) {
        CALLBACKS.set(CALLBACKS.get() - 1);
    }
}

/// Bytes that C passed in. NULL is allowed if `len` is 0.
///
/// # Safety
/// `data` is NULL or points to `len` bytes that are not written to during `'a`.
pub(crate) unsafe fn bytes_from_c<'a>(data: *const u8, len: usize) -> Result<&'a [u8], CallError> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(CallError::invalid_argument("the bytes are NULL though their length is not 0"));
    }
    if isize::try_from(len).is_err() {
        return Err(CallError::invalid_argument("the length is more than an object can have"));
    }
    // SAFETY: not NULL and not longer than an object may be; the rest is guaranteed by the caller.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

/// A NUL-terminated UTF-8 text that C passed in.
///
/// # Safety
/// `text_from_c` is NULL or ends with a NUL, and is not written to during `'a`.
pub(crate) unsafe fn text_from_c<'a>(
    text: *const std::ffi::c_char,
    argument: &'static str,
) -> Result<&'a str, CallError> {
    if text.is_null() {
        return Err(CallError::new(crate::OTELCORE_INVALID_ARGUMENT, format!("{argument} is NULL")));
    }
    // SAFETY: not NULL; the rest is guaranteed by the caller.
    let text = unsafe { std::ffi::CStr::from_ptr(text) };
    text.to_str().map_err(|_| CallError::new(crate::OTELCORE_INVALID_ARGUMENT, format!("{argument} is not UTF-8")))
}
