//! Errors as C gets them: an object with a code, a text, and whether a retry may succeed.

use std::borrow::Cow;
use std::ffi::{CString, c_char};
use std::sync::atomic::Ordering;
use std::time::Duration;

use otelcore::EmbedError;
use otelcore::inproc::{NextBatchError, SubmitError};

use crate::panics::{run_export_or, write_out};
use crate::table::{HandleError, HandleTable};
use crate::{
    OTELCORE_CANCELLED, OTELCORE_CLOSED, OTELCORE_FORKED, OTELCORE_INVALID_ARGUMENT, OTELCORE_INVALID_CONFIG,
    OTELCORE_INVALID_DATA, OTELCORE_INVALID_STATE, OTELCORE_IO, OTELCORE_NOT_FOUND, OTELCORE_OVERLOADED,
    OTELCORE_PANIC, OTELCORE_REENTRANT, OTELCORE_TIMEOUT, OTELCORE_UNAVAILABLE, Status,
};

/// Why a call failed. The caller frees it.
pub struct Error(());

pub(crate) struct ErrorObject {
    code: Status,
    message: CString,
    retry_after: Option<Duration>,
}

static ERRORS: HandleTable<Error, ErrorObject> = HandleTable::new(5);

/// The error for handles that a forked child has inherited; in the child it also replaces errors of the parent. Its
/// address is that of a byte, so it is no handle, and it needs no memory.
static FORKED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);
const FORKED_TEXT: &std::ffi::CStr =
    c"this is of the parent process, and this process is a forked child of it: make a collector here, or exec";

fn forked_handle() -> *mut Error {
    std::ptr::from_ref(&FORKED).cast_mut().cast()
}

/// Why the body of an exported function fails.
pub(crate) struct CallError {
    code: Status,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
}

impl CallError {
    pub(crate) fn new(code: Status, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    pub(crate) fn invalid_argument(message: &'static str) -> Self {
        Self::new(OTELCORE_INVALID_ARGUMENT, message)
    }

    pub(crate) fn invalid_state(message: &'static str) -> Self {
        Self::new(OTELCORE_INVALID_STATE, message)
    }

    pub(crate) fn forked() -> Self {
        Self::new(OTELCORE_FORKED, "")
    }

    pub(crate) fn invalid_handle(kind: &'static str, error: HandleError) -> Self {
        match error {
            HandleError::Null => Self::new(OTELCORE_INVALID_ARGUMENT, format!("the {kind} is NULL")),
            HandleError::Foreign => Self::new(OTELCORE_INVALID_ARGUMENT, format!("this is no {kind}")),
            HandleError::Freed => Self::new(OTELCORE_CLOSED, format!("the {kind} was freed")),
            HandleError::Inherited => Self::forked(),
        }
    }
}

impl From<EmbedError> for CallError {
    fn from(e: EmbedError) -> Self {
        let code = match &e {
            EmbedError::Config(_) => OTELCORE_INVALID_CONFIG,
            EmbedError::Start(_) | EmbedError::Io(_) => OTELCORE_IO,
            EmbedError::State(otelcore::CollectorState::Stopping | otelcore::CollectorState::Stopped) => {
                OTELCORE_CLOSED
            }
            EmbedError::State(_) | EmbedError::NeedsRestart(_) => OTELCORE_INVALID_STATE,
            EmbedError::Timeout(_) => OTELCORE_TIMEOUT,
            EmbedError::Reentrant => OTELCORE_REENTRANT,
            EmbedError::Forked => return Self::forked(),
            _ => OTELCORE_PANIC,
        };
        Self::new(code, e.to_string())
    }
}

impl From<SubmitError> for CallError {
    fn from(e: SubmitError) -> Self {
        let code = match e {
            SubmitError::NotStarted => OTELCORE_INVALID_STATE,
            SubmitError::Closed => OTELCORE_CLOSED,
            SubmitError::Signal(_) => OTELCORE_NOT_FOUND,
            SubmitError::NoResult => OTELCORE_TIMEOUT,
            SubmitError::LoopThread => OTELCORE_REENTRANT,
            SubmitError::Forked => return Self::forked(),
            SubmitError::Overloaded(after) => {
                let message = "the collector holds as much as it may; try again later".into();
                return Self { code: OTELCORE_OVERLOADED, message, retry_after: Some(after) };
            }
            _ => OTELCORE_INVALID_DATA,
        };
        Self::new(code, e.to_string())
    }
}

impl From<NextBatchError> for CallError {
    fn from(e: NextBatchError) -> Self {
        match e {
            NextBatchError::Timeout => Self::new(OTELCORE_TIMEOUT, "no batch came in time"),
            NextBatchError::Forked => Self::forked(),
            NextBatchError::Woken => Self::new(OTELCORE_CANCELLED, "the wait was cancelled"),
            _ => Self::new(OTELCORE_CLOSED, "the collector is closed"),
        }
    }
}

/// Whether the same call may succeed later.
pub(crate) fn is_retryable(code: Status) -> bool {
    matches!(code, OTELCORE_OVERLOADED | OTELCORE_TIMEOUT | OTELCORE_UNAVAILABLE)
}

/// Writes an error to `err` as an error object.
pub(crate) fn write_error(err: *mut *mut Error, error: CallError) -> Status {
    let code = error.code;
    if err.is_null() {
        return code;
    }
    let handle = if code == OTELCORE_FORKED {
        forked_handle()
    } else {
        let mut message = error.message.into_owned().into_bytes();
        message.retain(|byte| *byte != 0);
        ERRORS.insert(ErrorObject {
            code,
            message: CString::new(message).unwrap_or_default(),
            retry_after: error.retry_after,
        })
    };
    // SAFETY: not NULL, and the header asks for a place to write to.
    unsafe { write_out(err, handle) };
    code
}

fn with_error<T>(error: *const Error, in_child: T, none: T, read: impl FnOnce(&ErrorObject) -> T) -> T {
    if error == forked_handle().cast_const() {
        // So that the byte has a unique address.
        FORKED.load(Ordering::Relaxed);
        return in_child;
    }
    match ERRORS.get(error) {
        Ok(object) => read(&object),
        Err(HandleError::Inherited) => in_child,
        Err(_) => none,
    }
}

/// The code of an error; OTELCORE_INVALID_ARGUMENT for an invalid handle.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_error_code(error: *const Error) -> Status {
    with_error(error, OTELCORE_FORKED, OTELCORE_INVALID_ARGUMENT, |object| object.code)
}

/// What went wrong, for people: UTF-8, with all mistakes and their places where a configuration has some. The text
/// stays until the error is freed. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_error_message(error: *const Error) -> *const c_char {
    // The table keeps the object, and with it the text, until the error is freed.
    with_error(error, FORKED_TEXT.as_ptr(), c"this is no error".as_ptr(), |object| object.message.as_ptr())
}

/// Whether the same call may succeed later.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_error_is_retryable(error: *const Error) -> bool {
    with_error(error, false, false, |object| is_retryable(object.code))
}

/// After how many milliseconds a retry is useful; 0 where that is not known.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_error_retry_after_ms(error: *const Error) -> u64 {
    let millis = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    with_error(error, 0, 0, |object| object.retry_after.map_or(0, millis))
}

/// Frees an error. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_error_free(error: *mut Error) {
    run_export_or((), || drop(ERRORS.remove(error)));
}
