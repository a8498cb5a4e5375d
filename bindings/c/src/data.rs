//! Data into and out of a collector: inputs, outputs, batches.

use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use otelcore::inproc::{BatchResult, NextBatchError};
use otelcore::{inproc, pdata};

use crate::boundary::{InCallback, bytes_from_c, run_export, run_export_or, text_from_c, unwind_in_child, write_out};
use crate::collector::{Collector, CollectorObject, OutputCallback, collector_object, duration_of_ms, lock};
use crate::error::{CallError, Error};
use crate::per_process::current_depth;
use crate::table::HandleTable;
use crate::{
    CallbackUser, ExportFn, FreeFn, OTELCORE_INVALID_ARGUMENT, OTELCORE_LOGS, OTELCORE_METRICS, OTELCORE_NOT_FOUND,
    OTELCORE_OK, OTELCORE_OVERLOADED, OTELCORE_TIMEOUT, OTELCORE_TRACES, OTELCORE_UNAVAILABLE, Signal, Status,
};

/// The input of an `inproc` receiver. Any thread may use it. It may outlive its collector; calls then return
/// OTELCORE_CLOSED.
pub struct Input(());

/// The output of an `inproc` exporter. Any thread may use it. It may outlive its collector; calls then return
/// OTELCORE_CLOSED.
pub struct Output(());

/// A batch of telemetry from an output. otelcore_batch_finish() ends it.
pub struct Batch(());

struct InputObject {
    input: inproc::Input,
    name: String,
    signals: Vec<pdata::Signal>,
}

struct OutputObject {
    output: inproc::Output,
    name: String,
    collector: Weak<CollectorObject>,
}

struct BatchObject {
    signal: pdata::Signal,
    data: bytes::Bytes,
    /// Empty after the batch is finished.
    batch: Mutex<Option<inproc::Batch>>,
}

static INPUTS: HandleTable<Input, InputObject> = HandleTable::new(1);
static OUTPUTS: HandleTable<Output, OutputObject> = HandleTable::new(2);
static BATCHES: HandleTable<Batch, BatchObject> = HandleTable::new(3);

fn parse_signal(signal: Signal) -> Result<pdata::Signal, CallError> {
    match signal {
        OTELCORE_TRACES => Ok(pdata::Signal::Traces),
        OTELCORE_METRICS => Ok(pdata::Signal::Metrics),
        OTELCORE_LOGS => Ok(pdata::Signal::Logs),
        _ => Err(CallError::invalid_argument("there is no such signal")),
    }
}

pub(crate) fn signal_number(signal: pdata::Signal) -> Signal {
    match signal {
        pdata::Signal::Traces => OTELCORE_TRACES,
        pdata::Signal::Metrics => OTELCORE_METRICS,
        pdata::Signal::Logs => OTELCORE_LOGS,
    }
}

pub(crate) fn not_found(kind: &str, name: &str, others: &[String]) -> CallError {
    let others = if others.is_empty() { "it has none".to_owned() } else { format!("it has {}", others.join(", ")) };
    CallError::new(OTELCORE_NOT_FOUND, format!("the configuration uses no {kind} {name:?}; {others}"))
}

/// Writes the handle of a component of a collector, which `find` makes; `name` is that of the handle in messages.
pub(crate) fn write_component<H>(
    collector: *const Collector,
    id: *const c_char,
    out: *mut *mut H,
    name: &str,
    find: impl FnOnce(&Arc<CollectorObject>, &str) -> Result<*mut H, CallError>,
) -> Result<(), CallError> {
    let collector = collector_object(collector)?;
    if out.is_null() {
        return Err(CallError::new(OTELCORE_INVALID_ARGUMENT, format!("there is no place for the {name}")));
    }
    // SAFETY: the header says that it is a text.
    let id = unsafe { text_from_c(id, "the id")? };
    let handle = find(&collector, id)?;
    // SAFETY: not NULL, and the header asks for a place to write to.
    unsafe { write_out(out, handle) };
    Ok(())
}

/// The input of the `inproc` receiver of this id, "inproc/app" for one. The input is the caller's to free.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_input(
    collector: *const Collector,
    id: *const c_char,
    out: *mut *mut Input,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        write_component(collector, id, out, "input", |collector, id| {
            let input = collector.embedded.input(id);
            let input =
                input.ok_or_else(|| not_found("inproc receiver", id, &collector.embedded.input_and_output_ids().0))?;
            let signals = collector.embedded.input_signals(id);
            Ok(INPUTS.insert(InputObject { input, name: id.to_owned(), signals }))
        })
    })
}

/// Copies `len` bytes of `otlp`, an `Export*ServiceRequest` in protobuf. Never waits. Accepted data is in the
/// collector's custody: delivered, or reported as lost. OTELCORE_OVERLOADED: the same bytes may be accepted later.
/// With `wait_for_result: true` in the configuration of the input it waits for the outcome: where the pipelines lead to a
/// queue on disk, accepted data is on disk. OTELCORE_TIMEOUT: there is none in time, and the data may be delivered or not.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_input_submit(
    input: *const Input,
    signal: Signal,
    otlp: *const u8,
    len: usize,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let input = INPUTS.get(input).map_err(|error| CallError::invalid_handle("input", error))?;
        // SAFETY: the header says that there are `len` bytes.
        let body = unsafe { bytes_from_c(otlp, len)? };
        Ok(input.input.submit(parse_signal(signal)?, body)?)
    })
}

/// The same for `len` bytes of `json`, a request in OTLP/JSON: it is converted in this call.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_input_submit_json(
    input: *const Input,
    signal: Signal,
    json: *const c_char,
    len: usize,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let input = INPUTS.get(input).map_err(|error| CallError::invalid_handle("input", error))?;
        // SAFETY: the header says that there are `len` bytes.
        let body = unsafe { bytes_from_c(json.cast(), len)? };
        Ok(input.input.submit_json(parse_signal(signal)?, body)?)
    })
}

/// Whether a pipeline takes this signal from the input; may be called before the start. OTELCORE_NOT_FOUND where none
/// does; the message names the signals that are taken.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_input_accepts(input: *const Input, signal: Signal, err: *mut *mut Error) -> Status {
    run_export(err, || {
        let object = INPUTS.get(input).map_err(|error| CallError::invalid_handle("input", error))?;
        let signal = parse_signal(signal)?;
        if object.signals.contains(&signal) {
            return Ok(());
        }
        let others: Vec<_> = object.signals.iter().map(ToString::to_string).collect();
        let others =
            if others.is_empty() { "none names it".to_owned() } else { format!("they take {}", others.join(", ")) };
        let text = format!("no pipeline takes {signal} from the input {:?}; {others}", object.name);
        Err(CallError::new(OTELCORE_NOT_FOUND, text))
    })
}

/// Frees an input. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_input_free(input: *mut Input) {
    run_export_or((), || drop(INPUTS.remove(input)));
}

/// The output of the `inproc` exporter of this id, "inproc/app" for one. The output is the caller's to free.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_output(
    collector: *const Collector,
    id: *const c_char,
    out: *mut *mut Output,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        write_component(collector, id, out, "output", |collector, id| {
            let output = collector.embedded.output(id);
            let output =
                output.ok_or_else(|| not_found("inproc exporter", id, &collector.embedded.input_and_output_ids().1))?;
            Ok(OUTPUTS.insert(OutputObject { output, name: id.to_owned(), collector: Arc::downgrade(collector) }))
        })
    })
}

fn output_object(output: *const Output) -> Result<Arc<OutputObject>, CallError> {
    OUTPUTS.get(output).map_err(|error| CallError::invalid_handle("output", error))
}

/// Passes every batch to `call` in the thread of the collector's loop, instead of otelcore_output_next(). Before the
/// start, and once for each output. `free_user`, which may be NULL, is called with `user` after the last call: in
/// otelcore_collector_shutdown() or otelcore_collector_free(). Where this function fails, `user` stays the caller's.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_output_set_callback(
    output: *mut Output,
    call: ExportFn,
    user: *mut c_void,
    free_user: FreeFn,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let object = output_object(output)?;
        let call = call.ok_or_else(|| CallError::invalid_argument("the callback is NULL"))?;
        let closed = || CallError::from(NextBatchError::Closed);
        let collector = object.collector.upgrade().ok_or_else(closed)?;
        let mut callbacks = lock(&collector.output_callbacks);
        if callbacks.iter().any(|(name, _)| *name == object.name) {
            return Err(CallError::invalid_state("the output has a callback"));
        }
        let callback = Arc::new(OutputCallback { user: CallbackUser::new(user, free_user) });
        let own_callback = callback.clone();
        let is_set = object.output.set_callback(move |signal, body| {
            let (depth_before, _inside) = (current_depth(), InCallback::enter());
            // SAFETY: the host's own function, with its own `user`, which is freed after the loop has ended; the bytes
            // are valid until it returns.
            let status = unsafe { call(own_callback.user.user(), signal_number(signal), body.as_ptr(), body.len()) };
            unwind_in_child(depth_before);
            result_of_status(status, "the callback")
        });
        if !is_set {
            callback.user.release_to_host();
            return Err(CallError::invalid_state("the collector has been started"));
        }
        callbacks.push((object.name.clone(), callback));
        Ok(())
    })
}

/// What a status means that the host program returns or reports; `source` is what returns it, in messages.
pub(crate) fn result_of_status(status: Status, source: &str) -> BatchResult {
    match status {
        OTELCORE_OK => BatchResult::Delivered,
        OTELCORE_OVERLOADED | OTELCORE_TIMEOUT | OTELCORE_UNAVAILABLE => BatchResult::Retry(None),
        status => BatchResult::Permanent(format!("{source} of the host program answered with status {status}")),
    }
}

fn next_batch(object: &OutputObject, timeout: Duration) -> Result<inproc::Batch, CallError> {
    if !timeout.is_zero() {
        InCallback::check_inactive()?;
    }
    if object
        .collector
        .upgrade()
        .is_some_and(|hosted| lock(&hosted.output_callbacks).iter().any(|(name, _)| *name == object.name))
    {
        return Err(CallError::invalid_state("the output has a callback"));
    }
    Ok(object.output.next(Some(timeout))?)
}

/// The next batch, waiting for it until `timeout_ms` have passed: 0 does not wait, negative has no limit.
/// Finish it with otelcore_batch_finish(). OTELCORE_CLOSED says that there will never be one again.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_output_next(
    output: *const Output,
    timeout_ms: i64,
    out: *mut *mut Batch,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let object = output_object(output)?;
        if out.is_null() {
            return Err(CallError::invalid_argument("there is no place for the batch"));
        }
        let batch = next_batch(&object, duration_of_ms(timeout_ms))?;
        let (signal, data) = (batch.signal(), batch.data().clone());
        let handle = BATCHES.insert(BatchObject { signal, data, batch: Mutex::new(Some(batch)) });
        // SAFETY: not NULL, and the header asks for a place to write to.
        unsafe { write_out(out, handle) };
        Ok(())
    })
}

/// Makes all calls that wait in otelcore_output_next() return OTELCORE_CANCELLED; if there are none, the next call that
/// would wait.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_output_wake(output: *const Output, err: *mut *mut Error) -> Status {
    run_export(err, || {
        output_object(output)?.output.wake();
        Ok(())
    })
}

/// Frees an output. NULL is fine. Its batches and its callback stay.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_output_free(output: *mut Output) {
    run_export_or((), || drop(OUTPUTS.remove(output)));
}

/// The signal of a batch; -1 for an invalid handle.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_batch_signal(batch: *const Batch) -> Signal {
    run_export_or(-1, || BATCHES.get(batch).map_or(-1, |object| signal_number(object.signal)))
}

/// The bytes of a batch, an `Export*ServiceRequest` in protobuf, and how many they are. They stay until it is finished.
/// NULL where it is no batch.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_batch_data(batch: *const Batch, len: *mut usize) -> *const u8 {
    let none = (std::ptr::null(), 0);
    // The table keeps the bytes until the batch is finished.
    let (data, size) =
        run_export_or(none, || BATCHES.get(batch).map_or(none, |object| (object.data.as_ptr(), object.data.len())));
    // SAFETY: NULL, or a place to write to, as the header says.
    unsafe { write_out(len, size) };
    data
}

/// Reports the result of a batch, and frees it. The status is as a callback's: OTELCORE_OK when it is delivered;
/// OTELCORE_UNAVAILABLE, OTELCORE_OVERLOADED or OTELCORE_TIMEOUT to have it given again after a pause; anything else to
/// have it dropped, and reported.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_batch_finish(batch: *mut Batch, status: Status, err: *mut *mut Error) -> Status {
    run_export(err, || {
        let object = BATCHES.remove(batch).map_err(|error| CallError::invalid_handle("batch", error))?;
        if let Some(batch) = lock(&object.batch).take() {
            batch.finish(result_of_status(status, "the taker"));
        }
        Ok(())
    })
}

/// Asks for another delivery of a batch, not before this pause is over, and frees it.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_batch_retry_after(batch: *mut Batch, after_ms: u64, err: *mut *mut Error) -> Status {
    run_export(err, || {
        let object = BATCHES.remove(batch).map_err(|error| CallError::invalid_handle("batch", error))?;
        if let Some(batch) = lock(&object.batch).take() {
            batch.finish(BatchResult::Retry(Some(Duration::from_millis(after_ms))));
        }
        Ok(())
    })
}
