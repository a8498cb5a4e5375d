//! Panics end at the exported function: their text is kept, and nothing unwinds into C. Values are written through
//! pointers of the host.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::per_process::current_depth;

/// The largest fork depth at which a process may have collectors: the depth is a part of each handle.
pub(crate) const MAX_FORK_DEPTH: u32 = 0xff;

/// Runs the body of an exported function that returns no status: `default` is returned after a panic.
pub(crate) fn run_export_or<T>(default: T, body: impl FnOnce() -> T) -> T {
    if current_depth() > MAX_FORK_DEPTH {
        return default;
    }
    catch_panic(body).unwrap_or(default)
}

/// Runs `body`; `Err` is the text of a panic.
pub(crate) fn catch_panic<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        // The panic's payload may panic when it is dropped.
        std::mem::forget(panic);
        text.unwrap_or_else(|| "a panic".to_owned())
    })
}

/// Writes an out-parameter.
///
/// # Safety
/// `out` is NULL or may be written to.
pub(crate) unsafe fn write_out<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: not NULL; the rest is guaranteed by the caller.
        unsafe { out.write(value) };
    }
}
