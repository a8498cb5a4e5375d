//! Processors of the host program: payloads that it takes out of a pipeline, changes, and returns to it.

use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use otelcore::inproc::{self, BatchResult, ProcessResult, Visit};
use otelcore::pdata;

use crate::boundary::{InCallback, bytes_from_c, run_export, run_export_or, unwind_in_child, write_out};
use crate::collector::{Collector, duration_of_ms};
use crate::data::{not_found, result_of_status, signal_number, write_component};
use crate::error::{CallError, Error};
use crate::item::{Item, VisitFn, visit_item};
use crate::per_process::current_depth;
use crate::table::HandleTable;
use crate::{CallbackUser, FreeFn, OTELCORE_CLOSED, OTELCORE_INVALID_DATA, OTELCORE_REENTRANT, Signal, Status};

/// The host program's side of the `inproc` processors of one id. Any thread may use it. It may outlive its collector;
/// calls then return OTELCORE_CLOSED.
pub struct Processor(());

/// A payload that the host program processes: a request in a pipeline.
pub struct Payload(());

/// Processes a payload, which is valid until it returns. It returns OTELCORE_OK to have the payload passed on as it is
/// then, changed or not (one without any item is dropped); OTELCORE_UNAVAILABLE, OTELCORE_OVERLOADED or OTELCORE_TIMEOUT
/// to have it refused, so that its sender may send it again; anything else to have it refused permanently, and reported.
/// Calls of one processor never overlap. They are made in a thread of this processor, so that the collector does not wait
/// for them. A call that takes longer than `timeout` of the processor's configuration: the payload is refused, its sender
/// may send it again, and what the call returns later is ignored. It must not leave by an exception or longjmp.
pub type ProcessFn = Option<unsafe extern "C" fn(user: *mut c_void, payload: *mut Payload) -> Status>;

struct ProcessorObject {
    processor: inproc::HostProcessor,
}

struct OpenPayload {
    payload: inproc::HostPayload,
    /// The bytes that the host program has read.
    data: Option<bytes::Bytes>,
}

struct PayloadObject {
    signal: pdata::Signal,
    /// `None` after it is finished. Locked during an edit.
    open: Mutex<Option<OpenPayload>>,
}

static PROCESSORS: HandleTable<Processor, ProcessorObject> = HandleTable::new(6);
static PAYLOADS: HandleTable<Payload, PayloadObject> = HandleTable::new(7);

fn insert_payload(payload: inproc::HostPayload) -> *mut Payload {
    let signal = payload.signal();
    PAYLOADS.insert(PayloadObject { signal, open: Mutex::new(Some(OpenPayload { payload, data: None })) })
}

fn payload_object(payload: *const Payload) -> Result<Arc<PayloadObject>, CallError> {
    PAYLOADS.get(payload).map_err(|error| CallError::invalid_handle("payload", error))
}

fn finished_error() -> CallError {
    CallError::new(OTELCORE_CLOSED, "the payload is finished")
}

impl PayloadObject {
    /// Runs `body` on the payload, unless it is being edited: then this is a call from inside the edit.
    fn with_open<T>(&self, body: impl FnOnce(&mut OpenPayload) -> Result<T, CallError>) -> Result<T, CallError> {
        let mut open = match self.open.try_lock() {
            Ok(open) => open,
            Err(TryLockError::Poisoned(open)) => open.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(CallError::new(OTELCORE_REENTRANT, "the payload is being edited"));
            }
        };
        body(open.as_mut().ok_or_else(finished_error)?)
    }
}

fn process_result(status: Status, source: &str) -> ProcessResult {
    match result_of_status(status, source) {
        BatchResult::Delivered => ProcessResult::Pass,
        BatchResult::Retry(after) => ProcessResult::Retry(after),
        BatchResult::Permanent(why) => ProcessResult::Permanent(why),
    }
}

/// The processor of this id, "inproc/enrich" for one. The processor is the caller's to free. A collector with a processor
/// that the program has not asked for does not start.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_processor(
    collector: *const Collector,
    id: *const c_char,
    out: *mut *mut Processor,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        write_component(collector, id, out, "processor", |collector, id| {
            let processor = collector.embedded.processor(id);
            let processor =
                processor.ok_or_else(|| not_found("inproc processor", id, &collector.embedded.processor_ids()))?;
            Ok(PROCESSORS.insert(ProcessorObject { processor }))
        })
    })
}

fn processor_object(processor: *const Processor) -> Result<Arc<ProcessorObject>, CallError> {
    PROCESSORS.get(processor).map_err(|error| CallError::invalid_handle("processor", error))
}

/// Has `call` called for each payload, instead of otelcore_processor_next(). Before the start, and once for each
/// processor. `free_user`, which may be NULL, is called with `user` after the last call, in the thread of the processor.
/// Where this function fails, `user` stays the caller's. From inside the callback everything may be called that does not
/// wait; calls that wait return OTELCORE_REENTRANT.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_processor_set_callback(
    processor: *mut Processor,
    call: ProcessFn,
    user: *mut c_void,
    free_user: FreeFn,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let object = processor_object(processor)?;
        let call = call.ok_or_else(|| CallError::invalid_argument("the callback is NULL"))?;
        let user = Arc::new(CallbackUser::new(user, free_user));
        let own_user = user.clone();
        let is_set = object.processor.set_callback(move |payload| {
            let (depth_before, _inside) = (current_depth(), InCallback::enter());
            let handle = insert_payload(payload.take());
            // SAFETY: the host's own function, with its own `user`, which is freed after the last call.
            let status = unsafe { call(own_user.user(), handle) };
            unwind_in_child(depth_before);
            finish(handle, process_result(status, "the callback"));
            ProcessResult::Pass
        });
        if !is_set {
            user.release_to_host();
            return Err(CallError::invalid_state("the collector has been started, or the processor has a callback"));
        }
        Ok(())
    })
}

/// Finishes a payload. False: it is finished already.
fn finish(payload: *const Payload, result: ProcessResult) -> bool {
    let Ok(object) = PAYLOADS.remove(payload) else { return false };
    let open = object.open.lock().unwrap_or_else(PoisonError::into_inner).take();
    open.map(|open| open.payload.finish(result)).is_some()
}

/// Finishes a payload that is not being edited: an edit uses the payload.
fn finish_open(payload: *const Payload, result: ProcessResult) -> Result<(), CallError> {
    payload_object(payload)?.with_open(|_| Ok(()))?;
    if finish(payload, result) { Ok(()) } else { Err(finished_error()) }
}

/// The next payload, waiting for it until `timeout_ms` have passed: 0 does not wait, negative has no limit.
/// Finish it with otelcore_payload_finish(), within `timeout` of the processor's configuration. OTELCORE_CLOSED says that
/// there will never be one again.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_processor_next(
    processor: *const Processor,
    timeout_ms: i64,
    out: *mut *mut Payload,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let object = processor_object(processor)?;
        if out.is_null() {
            return Err(CallError::invalid_argument("there is no place for the payload"));
        }
        let timeout = duration_of_ms(timeout_ms);
        if !timeout.is_zero() {
            InCallback::check_inactive()?;
        }
        let handle = insert_payload(object.processor.next(Some(timeout))?);
        // SAFETY: not NULL, and the header asks for a place to write to.
        unsafe { write_out(out, handle) };
        Ok(())
    })
}

/// Makes all calls that wait in otelcore_processor_next() return OTELCORE_CANCELLED; if there are none, the next call
/// that would wait.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_processor_wake(processor: *const Processor, err: *mut *mut Error) -> Status {
    run_export(err, || {
        processor_object(processor)?.processor.wake();
        Ok(())
    })
}

/// Frees a processor. NULL is fine. Its payloads and its callback stay.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_processor_free(processor: *mut Processor) {
    run_export_or((), || drop(PROCESSORS.remove(processor)));
}

/// The signal of a payload; -1 for an invalid handle.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_payload_signal(payload: *const Payload) -> Signal {
    run_export_or(-1, || PAYLOADS.get(payload).map_or(-1, |object| signal_number(object.signal)))
}

/// The bytes of a payload, an `Export*ServiceRequest` in protobuf, and how many they are. They stay until it is replaced,
/// edited or finished. NULL where it is no payload, or is being edited.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_payload_data(payload: *const Payload, len: *mut usize) -> *const u8 {
    let none = (std::ptr::null(), 0);
    let (data, size) = run_export_or(none, || {
        let bytes = payload_object(payload).and_then(|object| {
            object.with_open(|open| {
                let data = open.data.get_or_insert_with(|| open.payload.data());
                Ok((data.as_ptr(), data.len()))
            })
        });
        bytes.unwrap_or(none)
    });
    // SAFETY: NULL, or a place to write to, as the header says.
    unsafe { write_out(len, size) };
    data
}

/// Replaces a payload by a copy of `len` bytes of `otlp`, a request of the same signal. OTELCORE_INVALID_DATA: they are
/// none; the payload is then as it was.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_payload_replace(
    payload: *mut Payload,
    otlp: *const u8,
    len: usize,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let object = payload_object(payload)?;
        // SAFETY: the header says that there are `len` bytes.
        let body = unsafe { bytes_from_c(otlp, len)? };
        object.with_open(|open| {
            let body = bytes::Bytes::copy_from_slice(body);
            open.payload.replace(body).map_err(|e| CallError::new(OTELCORE_INVALID_DATA, e.to_string()))?;
            open.data = None;
            Ok(())
        })
    })
}

/// Calls `visit` for each resource, scope, span, event, link, metric, data point and log record of a payload, from the
/// outside to the inside. In it an item can be read and changed, and its return value says whether the item stays.
/// Bytes of the payload that were read before are invalid afterwards. OTELCORE_INVALID_DATA: the result would be larger
/// than four times the payload and 1 MiB; the payload is then as it was.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_payload_edit(
    payload: *mut Payload,
    visit: VisitFn,
    user: *mut c_void,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let object = payload_object(payload)?;
        let visit = visit.ok_or_else(|| CallError::invalid_argument("the function is NULL"))?;
        object.with_open(|open| {
            open.data = None;
            let depth_before = current_depth();
            let mut has_invalid_keep = false;
            let edited = open.payload.visit(|item| {
                let result = visit_item(item, |handle: *mut Item| {
                    // SAFETY: the host's own function, with its own `user`.
                    unsafe { visit(user, handle) }
                });
                unwind_in_child(depth_before);
                result.unwrap_or_else(|| {
                    has_invalid_keep = true;
                    Visit::Keep
                })
            });
            edited.map_err(|e| CallError::new(OTELCORE_INVALID_DATA, e.to_string()))?;
            if has_invalid_keep {
                return Err(CallError::invalid_argument(
                    "the function has returned something else than OTELCORE_KEEP, \
                    OTELCORE_SKIP or OTELCORE_DROP; these items are kept",
                ));
            }
            Ok(())
        })
    })
}

/// Reports what is to be done with a payload, and frees it. The status is as a callback's. Not inside a callback for its
/// own payload: there the return value decides.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_payload_finish(payload: *mut Payload, status: Status, err: *mut *mut Error) -> Status {
    run_export(err, || finish_open(payload, process_result(status, "the taker")))
}

/// Refuses a payload, so that its sender may send it again, not before this pause is over, and frees it.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_payload_retry_after(payload: *mut Payload, after_ms: u64, err: *mut *mut Error) -> Status {
    run_export(err, || finish_open(payload, ProcessResult::Retry(Some(Duration::from_millis(after_ms)))))
}
