//! `libotelcore`: the collector for C, and for every language that can call C.
//!
//! `include/otelcore.h` is generated from this crate (a test compares them), so the documentation of a public item is
//! what a C programmer reads. A handle is a number in the form of a pointer ([`table`]); every function runs inside one
//! boundary ([`boundary`]), which no panic passes. A forked child has its own tables. This crate has no collector
//! logic.

// The functions take pointers of every kind, and `boundary` and `table` check them: NULL, foreign and freed ones are
// errors. The other requirements on the host are in the header; an `unsafe fn` would not make them any clearer in C.
#![allow(clippy::not_unsafe_ptr_arg_deref, reason = "the callers are C")]

mod boundary;
pub mod collector;
pub mod data;
pub mod error;
pub mod item;
mod log;
pub mod observe;
mod panics;
mod per_process;
pub mod processor;
pub mod snapshot;
mod table;

use std::ffi::{c_char, c_void};

/// The result of a call. Values are added, never changed.
pub type Status = i32;

/// Success.
pub const OTELCORE_OK: Status = 0;
/// An argument is NULL, foreign, or out of its range.
pub const OTELCORE_INVALID_ARGUMENT: Status = 1;
/// The configuration has mistakes; the message has all of them, with their places.
pub const OTELCORE_INVALID_CONFIG: Status = 2;
/// The bytes are no request of this signal. The same bytes never will be.
pub const OTELCORE_INVALID_DATA: Status = 3;
/// The configuration names nothing of this id, or no pipeline for this signal.
pub const OTELCORE_NOT_FOUND: Status = 4;
/// Not in this state of the collector, or not on this thread.
pub const OTELCORE_INVALID_STATE: Status = 5;
/// The collector holds too much data. The same call may succeed later.
pub const OTELCORE_OVERLOADED: Status = 6;
/// The time is up. For a shutdown: the message says what was not delivered.
pub const OTELCORE_TIMEOUT: Status = 7;
/// The collector has stopped, or the handle was freed.
pub const OTELCORE_CLOSED: Status = 8;
/// The system refused something: a port that is in use, for one.
pub const OTELCORE_IO: Status = 9;
/// Not now. A callback returns this to get its batch again.
pub const OTELCORE_UNAVAILABLE: Status = 10;
/// Not from inside a callback: it would wait for itself.
pub const OTELCORE_REENTRANT: Status = 11;
/// The argument belongs to the parent process, and this one is a forked child of it. The call had no effect.
pub const OTELCORE_FORKED: Status = 12;
/// An error in the library. The collector's state is not known; free it.
pub const OTELCORE_PANIC: Status = 13;
/// otelcore_output_wake() ended the wait.
pub const OTELCORE_CANCELLED: Status = 14;

/// A kind of telemetry.
pub type Signal = i32;

/// Spans: an `ExportTraceServiceRequest`.
pub const OTELCORE_TRACES: Signal = 0;
/// Metrics: an `ExportMetricsServiceRequest`.
pub const OTELCORE_METRICS: Signal = 1;
/// Log records: an `ExportLogsServiceRequest`.
pub const OTELCORE_LOGS: Signal = 2;

/// The state of a collector.
pub type State = i32;

/// No collector, or the parent's in a forked child.
pub const OTELCORE_STATE_NONE: State = -1;
/// The configuration is checked, and nothing is open.
pub const OTELCORE_STATE_CREATED: State = 0;
/// Opening what the configuration names.
pub const OTELCORE_STATE_STARTING: State = 1;
/// Listening, and taking what is submitted.
pub const OTELCORE_STATE_RUNNING: State = 2;
/// Draining.
pub const OTELCORE_STATE_STOPPING: State = 3;
/// Ended by a shutdown.
pub const OTELCORE_STATE_STOPPED: State = 4;
/// Ended by a failed start or an error of the library.
pub const OTELCORE_STATE_FAILED: State = 5;

/// How urgent a record of the collector's own log is.
pub type LogLevel = i32;

/// For developers.
pub const OTELCORE_LOG_DEBUG: LogLevel = 0;
/// Normal operation.
pub const OTELCORE_LOG_INFO: LogLevel = 1;
/// Something that a person should look at.
pub const OTELCORE_LOG_WARN: LogLevel = 2;
/// Something failed.
pub const OTELCORE_LOG_ERROR: LogLevel = 3;

/// A form of the collector's own metrics.
pub type Format = i32;

/// A page in Prometheus' text format.
pub const OTELCORE_FORMAT_PROMETHEUS: Format = 0;

/// The ABI of this header. A library that says another number must not be used with it; the name for the loader
/// (`libotelcore.so.0`) sees to that.
pub const OTELCORE_ABI_VERSION: u32 = 0;

/// Takes a record of the log. The texts are valid until it returns: the component ("exporter inproc/out"; empty for
/// the collector itself), the message, and its fields as a JSON object. Any thread may call it, and calls may
/// overlap.
pub type LogFn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        level: LogLevel,
        component: *const c_char,
        message: *const c_char,
        fields_json: *const c_char,
    ),
>;

/// Takes a batch from an output: an `Export*ServiceRequest` in protobuf, valid until it returns. It returns
/// OTELCORE_OK when the batch is delivered; OTELCORE_UNAVAILABLE, OTELCORE_OVERLOADED or OTELCORE_TIMEOUT to get it
/// again after a pause; anything else to have it dropped, and reported. Calls of one output never overlap. It must
/// neither wait for the collector nor leave by an exception or longjmp.
pub type ExportFn =
    Option<unsafe extern "C" fn(user: *mut c_void, signal: Signal, otlp: *const u8, len: usize) -> Status>;

/// Frees a callback's `user`: called once, after the last call of that callback.
pub type FreeFn = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// The version of the library that is loaded: "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_version() -> *const c_char {
    const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    TEXT.as_ptr().cast()
}

/// The ABI of the library that is loaded, to be compared with OTELCORE_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_abi_version() -> u32 {
    OTELCORE_ABI_VERSION
}

/// Panics inside the boundary, for the tests.
#[cfg(feature = "test-panic")]
#[unsafe(no_mangle)]
pub extern "C" fn otelcore__test_panic(err: *mut *mut error::Error) -> Status {
    #[expect(clippy::panic, reason = "that is what is tested")]
    boundary::run_export(err, || panic!("on request"))
}

/// The pointer that a callback of the host is called with.
#[derive(Clone, Copy)]
pub(crate) struct UserPointer(pub(crate) *mut c_void);

// SAFETY: the header says that a callback, and what frees its `user`, may be called from any thread.
unsafe impl Send for UserPointer {}
// SAFETY: as above.
unsafe impl Sync for UserPointer {}

/// A callback's `user`, which is freed with it.
pub(crate) struct CallbackUser {
    user: UserPointer,
    free: FreeFn,
    /// No more calls are possible; or the host has kept `user`.
    is_released: std::sync::atomic::AtomicBool,
}

impl CallbackUser {
    pub(crate) fn new(user: *mut c_void, free: FreeFn) -> Self {
        Self { user: UserPointer(user), free, is_released: std::sync::atomic::AtomicBool::new(false) }
    }

    pub(crate) fn user(&self) -> *mut c_void {
        self.user.0
    }

    /// The host keeps ownership of `user`.
    pub(crate) fn release_to_host(&self) {
        self.is_released.store(true, std::sync::atomic::Ordering::Release);
    }

    /// Frees it, once. The callback must not be running, nor be called again.
    pub(crate) fn free(&self) {
        if !self.is_released.swap(true, std::sync::atomic::Ordering::AcqRel)
            && let Some(free) = self.free
        {
            let _inside = boundary::InCallback::enter();
            // SAFETY: the host gave both for this purpose, and `is_released` says that this is the first time.
            unsafe { free(self.user.0) };
        }
    }
}

impl Drop for CallbackUser {
    fn drop(&mut self) {
        self.free();
    }
}
