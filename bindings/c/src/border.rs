//! The boundary code that every exported function runs in.
//!
//! No panic unwinds into C, a forked child has its own tables, and a thread can check whether it is inside a callback
//! of the host. This module does not use collectors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Status;
use crate::error::{Error, Fault, report};
use crate::per_process::depth;

thread_local! {
    /// How many callbacks of the host this thread is in.
    static CALLBACKS: Cell<u32> = const { Cell::new(0) };
}

/// The largest fork depth at which a process may have collectors: the depth is a part of each handle.
const DEEPEST: u32 = 0xff;

/// Runs the body of an exported function.
pub(crate) fn cross(err: *mut *mut Error, body: impl FnOnce() -> Result<(), Fault>) -> Status {
    let before = depth();
    if before > DEEPEST {
        return report(err, Fault::forked());
    }
    match guarded(body) {
        // A callback has forked, and has returned in the child.
        _ if before != depth() => report(err, Fault::forked()),
        Ok(Ok(())) => crate::OTELCORE_OK,
        Ok(Err(fault)) | Err(fault) => report(err, fault),
    }
}

/// The same for a function that returns no status: `otherwise` is returned after a panic.
pub(crate) fn cross_or<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    if depth() > DEEPEST {
        return otherwise;
    }
    guarded(body).unwrap_or(otherwise)
}

/// Unwinds to the exported function if a callback that was called at fork depth `before` has returned in a forked
/// child: the calling frames belong to the parent and would continue with its sockets.
pub(crate) fn stop_in_child(before: u32) {
    if before != depth() {
        std::panic::resume_unwind(Box::new("a callback has forked, and has returned in the child"));
    }
}

fn guarded<T>(body: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        // The panic's payload may panic when it is dropped.
        std::mem::forget(panic);
        Fault::new(crate::OTELCORE_PANIC, format!("a fault in libotelcore: {}", text.as_deref().unwrap_or("a panic")))
    })
}

/// While a value exists, this thread is inside a callback of the host.
pub(crate) struct InCallback(());

impl InCallback {
    pub(crate) fn enter() -> Self {
        CALLBACKS.set(CALLBACKS.get() + 1);
        Self(())
    }

    /// Whether this thread is in a callback, so that it must not wait for the collector.
    pub(crate) fn is_here() -> bool {
        CALLBACKS.get() > 0
    }

    /// Returns an error if this thread is in a callback.
    pub(crate) fn refuse() -> Result<(), Fault> {
        if Self::is_here() {
            return Err(Fault::new(crate::OTELCORE_REENTRANT, "not from inside a callback"));
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
pub(crate) unsafe fn bytes<'a>(data: *const u8, len: usize) -> Result<&'a [u8], Fault> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Fault::argument("the bytes are NULL though their length is not 0"));
    }
    if isize::try_from(len).is_err() {
        return Err(Fault::argument("the length is more than an object can have"));
    }
    // SAFETY: not NULL and not longer than an object may be; the rest is guaranteed by the caller.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

/// A NUL-terminated UTF-8 text that C passed in.
///
/// # Safety
/// `text` is NULL or ends with a NUL, and is not written to during `'a`.
pub(crate) unsafe fn text<'a>(text: *const std::ffi::c_char, what: &'static str) -> Result<&'a str, Fault> {
    if text.is_null() {
        return Err(Fault::new(crate::OTELCORE_INVALID_ARGUMENT, format!("{what} is NULL")));
    }
    // SAFETY: not NULL; the rest is guaranteed by the caller.
    let text = unsafe { std::ffi::CStr::from_ptr(text) };
    text.to_str().map_err(|_| Fault::new(crate::OTELCORE_INVALID_ARGUMENT, format!("{what} is not UTF-8")))
}

/// Writes an out-parameter.
///
/// # Safety
/// `out` is NULL or may be written to.
pub(crate) unsafe fn put<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: not NULL; the rest is guaranteed by the caller.
        unsafe { out.write(value) };
    }
}
