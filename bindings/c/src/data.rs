//! Data into and out of a collector: inputs, outputs, batches.

use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use otelcore::inproc::{Finish, NoBatch};
use otelcore::{inproc, pdata};

use crate::border::{InCallback, bytes, cross, cross_or, put, stop_in_child, text};
use crate::collector::{Collector, Hosted, hosted, lock, time};
use crate::error::{Error, Fault};
use crate::per_process::depth;
use crate::table::Table;
use crate::{
    ExportFn, FreeFn, OTELCORE_LOGS, OTELCORE_METRICS, OTELCORE_NOT_FOUND, OTELCORE_OK, OTELCORE_OVERLOADED,
    OTELCORE_TIMEOUT, OTELCORE_TRACES, OTELCORE_UNAVAILABLE, Owned, Signal, Status,
};

/// Where telemetry is put in: an `inproc` receiver. Any thread may use it. It may outlive its collector, and then answers
/// OTELCORE_CLOSED.
pub struct Input(());

/// Where telemetry is taken out: an `inproc` exporter. Any thread may use it. It may outlive its collector, and then
/// answers OTELCORE_CLOSED.
pub struct Output(());

/// Telemetry on its way out, which waits for otelcore_batch_finish().
pub struct Batch(());

struct Entrance {
    input: inproc::Input,
    name: String,
    signals: Vec<pdata::Signal>,
}

struct Exit {
    output: inproc::Output,
    name: String,
    collector: Weak<Hosted>,
}

struct Held {
    signal: pdata::Signal,
    data: bytes::Bytes,
    /// Empty after the batch is finished.
    batch: Mutex<Option<inproc::Batch>>,
}

static INPUTS: Table<Input, Entrance> = Table::new(1);
static OUTPUTS: Table<Output, Exit> = Table::new(2);
static BATCHES: Table<Batch, Held> = Table::new(3);

/// A callback of the host on an output.
pub(crate) struct Outlet {
    pub(crate) user: Owned,
}

fn parse(signal: Signal) -> Result<pdata::Signal, Fault> {
    match signal {
        OTELCORE_TRACES => Ok(pdata::Signal::Traces),
        OTELCORE_METRICS => Ok(pdata::Signal::Metrics),
        OTELCORE_LOGS => Ok(pdata::Signal::Logs),
        _ => Err(Fault::argument("there is no such signal")),
    }
}

fn number(signal: pdata::Signal) -> Signal {
    match signal {
        pdata::Signal::Traces => OTELCORE_TRACES,
        pdata::Signal::Metrics => OTELCORE_METRICS,
        pdata::Signal::Logs => OTELCORE_LOGS,
    }
}

fn not_found(kind: &str, name: &str, others: &[String]) -> Fault {
    let others = if others.is_empty() { "it has none".to_owned() } else { format!("it has {}", others.join(", ")) };
    Fault::new(OTELCORE_NOT_FOUND, format!("the configuration uses no {kind} {name:?}; {others}"))
}

/// The input of the `inproc` receiver of this id, "inproc/app" for one. The input is the caller's to free.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_input(
    collector: *const Collector,
    id: *const c_char,
    out: *mut *mut Input,
    err: *mut *mut Error,
) -> Status {
    cross(err, || {
        let hosted = hosted(collector)?;
        if out.is_null() {
            return Err(Fault::argument("there is no place for the input"));
        }
        // SAFETY: the header says that it is a text.
        let id = unsafe { text(id, "the id")? };
        let input = hosted.embedded.input(id);
        let input = input.ok_or_else(|| not_found("inproc receiver", id, &hosted.embedded.ends().0))?;
        let entrance = Entrance { input, name: id.to_owned(), signals: hosted.embedded.input_signals(id) };
        let handle = INPUTS.insert(entrance);
        // SAFETY: not NULL, and the header asks for a place to write to.
        unsafe { put(out, handle) };
        Ok(())
    })
}

/// Takes a copy of `len` bytes of `otlp`, an `Export*ServiceRequest` in protobuf. Never waits. What is taken is in the
/// collector's custody: delivered, or reported as lost. OTELCORE_OVERLOADED says that the same bytes may be taken later.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_input_submit(
    input: *const Input,
    signal: Signal,
    otlp: *const u8,
    len: usize,
    err: *mut *mut Error,
) -> Status {
    cross(err, || {
        let input = INPUTS.get(input).map_err(|miss| Fault::miss("input", miss))?;
        // SAFETY: the header says that there are `len` bytes.
        let body = unsafe { bytes(otlp, len)? };
        Ok(input.input.submit(parse(signal)?, body)?)
    })
}

/// Whether a pipeline takes this signal from the input; it may be asked before the start. OTELCORE_NOT_FOUND where none
/// does, with what is taken.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_input_accepts(input: *const Input, signal: Signal, err: *mut *mut Error) -> Status {
    cross(err, || {
        let entrance = INPUTS.get(input).map_err(|miss| Fault::miss("input", miss))?;
        let signal = parse(signal)?;
        if entrance.signals.contains(&signal) {
            return Ok(());
        }
        let others: Vec<_> = entrance.signals.iter().map(ToString::to_string).collect();
        let others =
            if others.is_empty() { "none names it".to_owned() } else { format!("they take {}", others.join(", ")) };
        let text = format!("no pipeline takes {signal} from the input {:?}; {others}", entrance.name);
        Err(Fault::new(OTELCORE_NOT_FOUND, text))
    })
}

/// Frees an input. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_input_free(input: *mut Input) {
    cross_or((), || drop(INPUTS.remove(input)));
}

/// The output of the `inproc` exporter of this id, "inproc/app" for one. The output is the caller's to free.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_output(
    collector: *const Collector,
    id: *const c_char,
    out: *mut *mut Output,
    err: *mut *mut Error,
) -> Status {
    cross(err, || {
        let hosted = hosted(collector)?;
        if out.is_null() {
            return Err(Fault::argument("there is no place for the output"));
        }
        // SAFETY: the header says that it is a text.
        let id = unsafe { text(id, "the id")? };
        let output = hosted.embedded.output(id);
        let output = output.ok_or_else(|| not_found("inproc exporter", id, &hosted.embedded.ends().1))?;
        let handle = OUTPUTS.insert(Exit { output, name: id.to_owned(), collector: Arc::downgrade(&hosted) });
        // SAFETY: not NULL, and the header asks for a place to write to.
        unsafe { put(out, handle) };
        Ok(())
    })
}

fn exit(output: *const Output) -> Result<Arc<Exit>, Fault> {
    OUTPUTS.get(output).map_err(|miss| Fault::miss("output", miss))
}

/// Has every batch handed to `call` in the thread of the collector's loop, instead of otelcore_output_next(). Before the
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
    cross(err, || {
        let exit = exit(output)?;
        let call = call.ok_or_else(|| Fault::argument("the callback is NULL"))?;
        let closed = || Fault::from(NoBatch::Closed);
        let hosted = exit.collector.upgrade().ok_or_else(closed)?;
        let mut outlets = lock(&hosted.outlets);
        if outlets.iter().any(|(name, _)| *name == exit.name) {
            return Err(Fault::state("the output has a callback"));
        }
        let outlet = Arc::new(Outlet { user: Owned::new(user, free_user) });
        let own = outlet.clone();
        let set = exit.output.set_callback(move |signal, body| {
            let (before, _inside) = (depth(), InCallback::enter());
            // SAFETY: the host's own function, with its own `user`, which is freed after the loop has ended; the bytes
            // are valid until it returns.
            let status = unsafe { call(own.user.user(), number(signal), body.as_ptr(), body.len()) };
            stop_in_child(before);
            finish(status, "the callback")
        });
        if !set {
            outlet.user.keep();
            return Err(Fault::state("the collector has been started"));
        }
        outlets.push((exit.name.clone(), outlet));
        Ok(())
    })
}

fn finish(status: Status, who: &str) -> Finish {
    match status {
        OTELCORE_OK => Finish::Delivered,
        OTELCORE_OVERLOADED | OTELCORE_TIMEOUT | OTELCORE_UNAVAILABLE => Finish::Retry(None),
        status => Finish::Permanent(format!("{who} of the host program answered with status {status}")),
    }
}

fn next(exit: &Exit, timeout: Duration) -> Result<inproc::Batch, Fault> {
    if !timeout.is_zero() {
        InCallback::refuse()?;
    }
    if exit.collector.upgrade().is_some_and(|hosted| lock(&hosted.outlets).iter().any(|(name, _)| *name == exit.name)) {
        return Err(Fault::state("the output has a callback"));
    }
    Ok(exit.output.next(Some(timeout))?)
}

/// The next batch, waiting for it until `timeout_ms` have passed: 0 does not wait, negative is however long it takes.
/// Finish it with otelcore_batch_finish(). OTELCORE_CLOSED says that there will never be one again.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_output_next(
    output: *const Output,
    timeout_ms: i64,
    out: *mut *mut Batch,
    err: *mut *mut Error,
) -> Status {
    cross(err, || {
        let exit = exit(output)?;
        if out.is_null() {
            return Err(Fault::argument("there is no place for the batch"));
        }
        let batch = next(&exit, time(timeout_ms))?;
        let (signal, data) = (batch.signal(), batch.data().clone());
        let handle = BATCHES.insert(Held { signal, data, batch: Mutex::new(Some(batch)) });
        // SAFETY: not NULL, and the header asks for a place to write to.
        unsafe { put(out, handle) };
        Ok(())
    })
}

/// Has everyone who waits in otelcore_output_next() return with OTELCORE_CANCELLED; where nobody does, the next one who
/// would.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_output_wake(output: *const Output, err: *mut *mut Error) -> Status {
    cross(err, || {
        exit(output)?.output.wake();
        Ok(())
    })
}

/// Frees an output. NULL is fine. Its batches and its callback stay.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_output_free(output: *mut Output) {
    cross_or((), || drop(OUTPUTS.remove(output)));
}

/// What a batch carries; -1 where it is none.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_batch_signal(batch: *const Batch) -> Signal {
    cross_or(-1, || BATCHES.get(batch).map_or(-1, |held| number(held.signal)))
}

/// The bytes of a batch, an `Export*ServiceRequest` in protobuf, and how many they are. They stay until it is finished.
/// NULL where it is no batch.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_batch_data(batch: *const Batch, len: *mut usize) -> *const u8 {
    let none = (std::ptr::null(), 0);
    // The table keeps the bytes until the batch is finished.
    let (data, size) = cross_or(none, || BATCHES.get(batch).map_or(none, |held| (held.data.as_ptr(), held.data.len())));
    // SAFETY: NULL, or a place to write to, as the header says.
    unsafe { put(len, size) };
    data
}

/// Says what became of a batch, and frees it. The status is as a callback's: OTELCORE_OK when it is done with;
/// OTELCORE_UNAVAILABLE, OTELCORE_OVERLOADED or OTELCORE_TIMEOUT to have it given again after a pause; anything else to
/// have it dropped, and reported.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_batch_finish(batch: *mut Batch, status: Status, err: *mut *mut Error) -> Status {
    cross(err, || {
        let held = BATCHES.remove(batch).map_err(|miss| Fault::miss("batch", miss))?;
        if let Some(batch) = lock(&held.batch).take() {
            batch.finish(finish(status, "the taker"));
        }
        Ok(())
    })
}

/// Has a batch given again no sooner than after this pause, and frees it.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_batch_retry_after(batch: *mut Batch, after_ms: u64, err: *mut *mut Error) -> Status {
    cross(err, || {
        let held = BATCHES.remove(batch).map_err(|miss| Fault::miss("batch", miss))?;
        if let Some(batch) = lock(&held.batch).take() {
            batch.finish(Finish::Retry(Some(Duration::from_millis(after_ms))));
        }
        Ok(())
    })
}
