//! Panics end at the exported function, and nothing unwinds into C. Values are written through pointers of the host.

use otelcore::pipeline::catch_panic;

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
