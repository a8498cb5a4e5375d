//! The collector's functions for C: creation, running on its own thread or in the host's loop, flush, shutdown.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use otelcore::pipeline::UndeliveredItems;
use otelcore::reactor::{TrackedFd, install_fork_handlers};
use otelcore::{CollectorState, ConfigDocument, DrivenCollector, EmbedError, EmbedOptions, EmbeddedCollector};

use crate::boundary::{InCallback, bytes_from_c, run_export, run_export_or, text_from_c, write_out};
use crate::error::{CallError, Error};
use crate::log::HostLogSink;
use crate::per_process::PerProcess;
use crate::table::HandleTable;
use crate::{
    CallbackUser, FreeFn, LogFn, LogLevel, OTELCORE_INVALID_CONFIG, OTELCORE_STATE_NONE, OTELCORE_TIMEOUT, Status,
};

/// A collector. Any thread may use it; otelcore_collector_free() is the last call.
pub struct Collector(());

/// A callback of the host on an output.
pub(crate) struct OutputCallback {
    pub(crate) user: CallbackUser,
}

/// The object that a handle refers to.
pub(crate) struct CollectorObject {
    pub(crate) embedded: EmbeddedCollector,
    /// Locked while the state changes, so that a shutdown finds a start either complete or not begun.
    state_change: Mutex<()>,
    /// A start has failed: there is nothing to shut down.
    has_start_failed: AtomicBool,
    host_loop: OnceLock<HostLoop>,
    log_user: Option<Arc<CallbackUser>>,
    /// Callbacks of outputs, by their ids.
    pub(crate) output_callbacks: Mutex<Vec<(String, Arc<OutputCallback>)>>,
    /// A status callback was set.
    pub(crate) has_status_callback: AtomicBool,
}

pub(crate) static COLLECTORS: HandleTable<Collector, CollectorObject> = HandleTable::new(0);

/// Collectors that were freed where the thread could not wait for their end. A later call that may wait frees those
/// that have ended.
static ENDING_COLLECTORS: PerProcess<Mutex<Vec<Arc<CollectorObject>>>> = PerProcess::new();

fn free_ended_collectors() {
    if !InCallback::is_active() {
        let has_ended = |hosted: &mut Arc<CollectorObject>| hosted.embedded.state() >= CollectorState::Stopped;
        let ended: Vec<_> = lock(ENDING_COLLECTORS.get()).extract_if(.., has_ended).collect();
        ended.into_iter().for_each(CollectorObject::free);
    }
}

/// Every value locked here is consistent between two statements, so a poisoned lock can be used.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn collector_object(collector: *const Collector) -> Result<Arc<CollectorObject>, CallError> {
    COLLECTORS.get(collector).map_err(|error| CallError::invalid_handle("collector", error))
}

/// Longer waits are treated as unlimited.
const MAX_WAIT: Duration = Duration::from_secs(10 * 365 * 86400);

/// A time from C: negative is unlimited.
pub(crate) fn duration_of_ms(ms: i64) -> Duration {
    u64::try_from(ms).map_or(MAX_WAIT, |ms| Duration::from_millis(ms).min(MAX_WAIT))
}

/// A loop in the host's thread.
struct HostLoop {
    thread: ThreadId,
    /// A duplicate of the loop's descriptor, so that it stays valid until the host has freed the collector.
    descriptor: TrackedFd<OwnedFd>,
    /// `host_loop` is borrowed.
    is_borrowed: AtomicBool,
    driven: UnsafeCell<Option<DrivenCollector>>,
}

// SAFETY: `host_loop` is reached through `HostLoop::with_driven` alone, which permits one borrow at a time, on the
// thread that made it; on any other thread `Drop` does not drop it.
unsafe impl Send for HostLoop {}
// SAFETY: as above.
unsafe impl Sync for HostLoop {}

impl HostLoop {
    fn is_own_thread(&self) -> bool {
        self.thread == std::thread::current().id()
    }

    fn with_driven<T>(&self, body: impl FnOnce(&mut DrivenCollector) -> T) -> Result<T, CallError> {
        if !self.is_own_thread() {
            return Err(CallError::invalid_state("not on this thread: another one drives the collector"));
        }
        if self.is_borrowed.swap(true, Ordering::Acquire) {
            return Err(CallError::new(crate::OTELCORE_REENTRANT, "a turn is under way"));
        }
        // SAFETY: this is the thread that made it, and `is_borrowed` rejects a call from inside a turn.
        let driven = unsafe { &mut *self.driven.get() };
        let result = driven.as_mut().map(body);
        self.is_borrowed.store(false, Ordering::Release);
        result.ok_or_else(|| CallError::invalid_state("the collector is not driven"))
    }

    /// One turn. `false` when the collector has ended.
    fn turn(&self) -> Result<bool, CallError> {
        Ok(self.with_driven(DrivenCollector::turn)??)
    }

    fn deadline(&self) -> Result<Option<Duration>, CallError> {
        self.with_driven(|driven| driven.deadline())
    }

    /// Runs turns until `done` is true, `deadline` has passed or the collector has ended. `false` if `deadline` has
    /// passed.
    fn run_turns_until(&self, deadline: Instant, mut condition: impl FnMut() -> bool) -> Result<bool, CallError> {
        loop {
            if !self.turn()? || condition() {
                return Ok(true);
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Ok(false);
            }
            let timeout = self.deadline()?.unwrap_or(MAX_WAIT).min(remaining).min(POLL_INTERVAL);
            let mut fd = libc::pollfd { fd: self.descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let timeout = c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX);
            // SAFETY: one descriptor in a local variable of this function.
            unsafe { libc::poll(&raw mut fd, 1, timeout) };
        }
    }
}

impl Drop for HostLoop {
    fn drop(&mut self) {
        if !self.is_own_thread() {
            // The loop is used on another thread, so it is not dropped on this one.
            std::mem::forget(self.driven.get_mut().take());
        }
    }
}

/// The interval at which a wait checks its condition again.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

impl CollectorObject {
    fn start(&self) -> Result<(), CallError> {
        InCallback::check_inactive()?;
        let _state_change = lock(&self.state_change);
        let result = self.embedded.start();
        self.record_start(result)
    }

    fn record_start<T>(&self, result: Result<T, EmbedError>) -> Result<T, CallError> {
        if !matches!(result, Ok(_) | Err(EmbedError::State(_))) {
            self.has_start_failed.store(true, Ordering::Release);
        }
        result.map_err(Into::into)
    }

    fn start_in_host_loop(&self) -> Result<(), CallError> {
        InCallback::check_inactive()?;
        let _state_change = lock(&self.state_change);
        let driven = self.embedded.start_in_host_loop();
        let driven = self.record_start(driven)?;
        // SAFETY: the loop keeps it open at least as long as `host_loop` exists.
        let descriptor = driven.descriptor().map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
        let descriptor = descriptor.ok_or_else(|| CallError::invalid_state("the collector is not driven"))?;
        let descriptor = TrackedFd::open(|| descriptor.try_clone_to_owned()).map_err(EmbedError::Io)?;
        let host_loop = HostLoop {
            thread: std::thread::current().id(),
            descriptor,
            is_borrowed: AtomicBool::new(false),
            driven: UnsafeCell::new(Some(driven)),
        };
        // The cell is empty: a collector starts once.
        let _ = self.host_loop.set(host_loop);
        Ok(())
    }

    fn host_loop(&self) -> Result<&HostLoop, CallError> {
        self.host_loop.get().ok_or_else(|| CallError::invalid_state("the collector is not driven"))
    }

    /// The loop that this thread drives.
    fn own_host_loop(&self) -> Option<&HostLoop> {
        self.host_loop.get().filter(|drive| drive.is_own_thread())
    }

    fn flush(&self, timeout: Duration) -> Result<(), CallError> {
        InCallback::check_inactive()?;
        let Some(host_loop) = self.own_host_loop() else { return Ok(self.embedded.flush(timeout)?) };
        let deadline = Instant::now() + timeout;
        let mark = self.embedded.begin_flush()?;
        let flushed = host_loop.run_turns_until(deadline, || {
            // Data of a flushed batch may wait again in a later batch processor.
            self.embedded.is_flushed(mark) || self.embedded.begin_flush().is_err()
        })?;
        if flushed { Ok(()) } else { Err(EmbedError::Timeout(UndeliveredItems::default()).into()) }
    }

    fn reload(&self, config: HostConfig<'_>, grace: Duration) -> Result<(), CallError> {
        InCallback::check_inactive()?;
        let Some(host_loop) = self.own_host_loop() else {
            return Ok(match &config {
                HostConfig::Yaml(yaml) => self.embedded.reload(yaml, grace),
                HostConfig::Merged(documents) => self.embedded.reload_merged(documents, grace),
            }
            .map(drop)?);
        };
        let number = match &config {
            HostConfig::Yaml(yaml) => self.embedded.begin_reload(yaml, grace),
            HostConfig::Merged(documents) => self.embedded.begin_reload_merged(documents, grace),
        }?;
        let mut result = None;
        host_loop.run_turns_until(Instant::now() + MAX_WAIT, || {
            result = self.embedded.reload_result(number);
            result.is_some()
        })?;
        match result.or_else(|| self.embedded.reload_result(number)) {
            Some(result) => Ok(result.map(drop)?),
            None => Err(EmbedError::State(self.embedded.state()).into()),
        }
    }

    fn shutdown(&self, grace: Duration) -> Result<(), CallError> {
        InCallback::check_inactive()?;
        let _state_change = lock(&self.state_change);
        let result = self.shut_down(grace);
        if self.embedded.state() >= CollectorState::Stopped {
            self.free_callbacks();
        }
        result
    }

    fn shut_down(&self, grace: Duration) -> Result<(), CallError> {
        if self.has_start_failed.load(Ordering::Acquire) {
            return Ok(());
        }
        if let Some(host_loop) = self.own_host_loop()
            && self.embedded.begin_shutdown(grace).is_ok()
        {
            // The loop enforces the time limit.
            host_loop.run_turns_until(Instant::now() + MAX_WAIT, || false)?;
        }
        match self.embedded.shutdown(grace) {
            Err(EmbedError::Timeout(_)) if self.embedded.state() < CollectorState::Stopped => Err(CallError::new(
                OTELCORE_TIMEOUT,
                match self.host_loop.get() {
                    Some(_) => "the host did not turn the collector to its end",
                    None => "the collector did not end in time: a callback holds it",
                },
            )),
            ended => Ok(ended?),
        }
    }

    /// Frees the callbacks' `user` values. The loop has ended, so there are no more calls.
    fn free_callbacks(&self) {
        for (_, callback) in lock(&self.output_callbacks).iter() {
            callback.user.free();
        }
    }

    fn free(self: Arc<Self>) {
        if InCallback::is_active() {
            // This thread can't wait for the end here, so the collector ends asynchronously.
            let _ = self.embedded.begin_shutdown(Duration::ZERO);
            lock(ENDING_COLLECTORS.get()).push(self);
            return;
        }
        if self.host_loop.get().is_some_and(|drive| !drive.is_own_thread()) {
            self.embedded.abandon("it was freed on a thread that does not drive it");
        }
        // Undelivered data is not reported here: a caller that needs the report calls shutdown first.
        let _ = self.shutdown(Duration::ZERO);
        if let Some(user) = self.log_user.clone() {
            // `user` is dropped last: dropping the collector may still log.
            drop(self);
            drop(user);
        }
    }
}

/// A part of a configuration: YAML or JSON, which is YAML too.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Config {
    /// How messages call it.
    pub name: *const c_char,
    /// Its text, `len` bytes.
    pub text: *const c_char,
    /// The bytes of `text`.
    pub len: usize,
}

/// A configuration as a host gives it.
enum HostConfig<'a> {
    /// One text, under the name in the options.
    Yaml(&'a str),
    /// Documents that are merged in their order.
    Merged(Vec<ConfigDocument<'a>>),
}

/// A text of a configuration that C passed in.
///
/// # Safety
/// `text` is NULL or points to `len` bytes that are not written to during `'a`.
unsafe fn config_text<'a>(text: *const c_char, len: usize) -> Result<&'a str, CallError> {
    // SAFETY: guaranteed by the caller.
    let bytes = unsafe { bytes_from_c(text.cast(), len)? };
    std::str::from_utf8(bytes)
        .map_err(|e| CallError::new(OTELCORE_INVALID_CONFIG, format!("the configuration is not UTF-8: {e}")))
}

/// Documents that C passed in.
///
/// # Safety
/// `configs` is NULL or points to `count` documents that are valid during `'a`.
unsafe fn merged_configs<'a>(configs: *const Config, count: usize) -> Result<HostConfig<'a>, CallError> {
    const MAX_DOCUMENTS: usize = 1024;
    if configs.is_null() || !configs.is_aligned() || !(1..=MAX_DOCUMENTS).contains(&count) {
        return Err(CallError::invalid_argument("there have to be 1 to 1024 documents of the configuration"));
    }
    // SAFETY: not NULL and aligned; the rest is guaranteed by the caller.
    let configs = unsafe { std::slice::from_raw_parts(configs, count) };
    let documents = configs.iter().map(|config| {
        // SAFETY: guaranteed by the caller.
        let (name, text) = unsafe { (text_from_c(config.name, "name")?, config_text(config.text, config.len)?) };
        Ok(ConfigDocument { name, text })
    });
    Ok(HostConfig::Merged(documents.collect::<Result<_, CallError>>()?))
}

/// What a host decides about a collector. Begin with OTELCORE_OPTIONS_INIT: what is added later is then there.
#[repr(C)]
pub struct CollectorOptions {
    /// sizeof(otelcore_options).
    pub struct_size: usize,
    /// How messages call the configuration; NULL is "config.yaml".
    pub config_name: *const c_char,
    /// The least urgent records that `log` gets.
    pub log_level: LogLevel,
    /// Gets the collector's own log; NULL for none. Called from otelcore_collector_new() on.
    pub log: LogFn,
    /// Handed to `log`.
    pub log_user: *mut c_void,
    /// Frees `log_user` after the last record. NULL for nothing. Not called where otelcore_collector_new() fails.
    pub log_free: FreeFn,
}

/// The part of a host's options that this version of the library has.
///
/// # Safety
/// `options` is NULL or has as many bytes as its first field says.
unsafe fn read_options(options: *const CollectorOptions) -> Result<Option<CollectorOptions>, CallError> {
    const KNOWN_SIZE: usize = size_of::<CollectorOptions>();
    if options.is_null() {
        return Ok(None);
    }
    if !options.is_aligned() {
        return Err(CallError::invalid_argument("the options are not aligned"));
    }
    // SAFETY: not NULL, aligned, and each has a size; the rest is guaranteed by the caller.
    let size = unsafe { (&raw const (*options).struct_size).read() };
    if !(KNOWN_SIZE..=4096).contains(&size) {
        return Err(CallError::invalid_argument(
            "the options have no valid struct_size; begin with OTELCORE_OPTIONS_INIT",
        ));
    }
    // SAFETY: they have `size` bytes, which is the size of our struct or more.
    let unknown = unsafe { std::slice::from_raw_parts(options.cast::<u8>().add(KNOWN_SIZE), size - KNOWN_SIZE) };
    if unknown.iter().any(|byte| *byte != 0) {
        return Err(CallError::invalid_argument(
            "the options say something that this version of the library does not know",
        ));
    }
    // SAFETY: as above; every bit pattern that C can write is one of these types.
    Ok(Some(unsafe { options.read() }))
}

/// Reads and checks a configuration, `yaml_len` bytes of YAML as the Go collector takes it, and opens nothing.
/// `options` may be NULL. The collector is the caller's to free.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_new(
    yaml: *const c_char,
    yaml_len: usize,
    options: *const CollectorOptions,
    out: *mut *mut Collector,
    err: *mut *mut Error,
) -> Status {
    // SAFETY: the header says so.
    run_export(err, || new_collector(unsafe { config_text(yaml, yaml_len).map(HostConfig::Yaml) }, options, out))
}

/// The same for `count` documents, which are merged in their order: maps key by key, everything else by the last value. So data of
/// the program as JSON changes a configuration in YAML. Messages have the name of the document that a mistake is in, and its path
/// in it; `config_name` of the options is not used.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_new_merged(
    configs: *const Config,
    count: usize,
    options: *const CollectorOptions,
    out: *mut *mut Collector,
    err: *mut *mut Error,
) -> Status {
    // SAFETY: the header says so.
    run_export(err, || new_collector(unsafe { merged_configs(configs, count) }, options, out))
}

fn new_collector(
    config: Result<HostConfig<'_>, CallError>,
    options: *const CollectorOptions,
    out: *mut *mut Collector,
) -> Result<(), CallError> {
    if out.is_null() {
        return Err(CallError::invalid_argument("there is no place for the collector"));
    }
    let config = config?;
    // SAFETY: the header says so.
    let host_options = unsafe { read_options(options)? };
    let mut options = EmbedOptions::default();
    let mut log_user = None;
    if let Some(host_options) = host_options {
        if !host_options.config_name.is_null() {
            // SAFETY: the header says that it is a text.
            options.config_name = unsafe { text_from_c(host_options.config_name, "config_name")? }.to_owned();
        }
        if let Some(sink) =
            HostLogSink::new(host_options.log_level, host_options.log, host_options.log_user, host_options.log_free)
        {
            log_user = Some(sink.user.clone());
            options.log = Arc::new(sink);
        }
    }
    install_fork_handlers();
    free_ended_collectors();
    let embedded = match config {
        HostConfig::Yaml(yaml) => EmbeddedCollector::new(yaml, options),
        HostConfig::Merged(documents) => EmbeddedCollector::new_merged(&documents, options),
    };
    let embedded = embedded.inspect_err(|_| {
        if let Some(user) = &log_user {
            user.release_to_host();
        }
    })?;
    let collector = COLLECTORS.insert(CollectorObject {
        embedded,
        state_change: Mutex::default(),
        has_start_failed: AtomicBool::new(false),
        host_loop: OnceLock::new(),
        log_user,
        output_callbacks: Mutex::default(),
        has_status_callback: AtomicBool::new(false),
    });
    // SAFETY: not NULL, and the header asks for a place to write to.
    unsafe { write_out(out, collector) };
    Ok(())
}

/// Starts the collector on a thread of its own, and returns when everything listens.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_start(collector: *mut Collector, err: *mut *mut Error) -> Status {
    run_export(err, || collector_object(collector)?.start())
}

/// Starts the collector in the caller's own loop: nothing happens but in otelcore_collector_drive_turn(). Wait until
/// otelcore_collector_drive_fd() is readable or otelcore_collector_drive_deadline_ms() have passed, then turn. All of
/// that on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_drive_start(collector: *mut Collector, err: *mut *mut Error) -> Status {
    run_export(err, || collector_object(collector)?.start_in_host_loop())
}

/// The descriptor that becomes readable when a turn has something to do, for poll, epoll and the like. Do not read,
/// write or close it: it is the collector's, and stays open until the collector is freed. -1 where nothing drives it.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_drive_fd(collector: *const Collector) -> c_int {
    run_export_or(-1, || {
        let Ok(hosted) = collector_object(collector) else { return -1 };
        hosted.host_loop.get().map_or(-1, |drive| drive.descriptor.as_raw_fd())
    })
}

/// After how many milliseconds a turn is due even if the descriptor is not readable: 0 is now, -1 never. Changes with
/// each turn.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_drive_deadline_ms(collector: *const Collector) -> i64 {
    run_export_or(-1, || {
        let deadline = collector_object(collector).and_then(|hosted| hosted.host_loop()?.deadline());
        // Rounded up, so that no turn runs before its deadline.
        let millis = |after: Duration| i64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
        deadline.ok().flatten().map_or(-1, millis)
    })
}

/// Does what there is to do, without waiting. `running`, which may be NULL, becomes false when the collector has
/// ended.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_drive_turn(
    collector: *mut Collector,
    running: *mut bool,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        InCallback::check_inactive()?;
        let result = collector_object(collector)?.host_loop()?.turn();
        // SAFETY: NULL, or a place to write to, as the header says.
        unsafe { write_out(running, matches!(result, Ok(true))) };
        result.map(drop)
    })
}

/// Waits until all that was accepted before this call is delivered, or reported as lost. On the thread that drives the
/// collector it turns it meanwhile. A negative timeout means no limit.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_flush(collector: *mut Collector, timeout_ms: i64, err: *mut *mut Error) -> Status {
    run_export(err, || collector_object(collector)?.flush(duration_of_ms(timeout_ms)))
}

/// Begins a flush without waiting for it; `mark` is for otelcore_collector_is_flushed(). Callbacks may do this.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_begin_flush(
    collector: *mut Collector,
    mark: *mut u64,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        let new_mark = collector_object(collector)?.embedded.begin_flush()?;
        // SAFETY: NULL, or a place to write to, as the header says.
        unsafe { write_out(mark, new_mark) };
        Ok(())
    })
}

/// Whether all that was accepted before the flush of this mark is delivered, or reported as lost. What comes out of one
/// batch may be held back in the next: where there are several, begin again until it is.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_is_flushed(collector: *const Collector, mark: u64) -> bool {
    run_export_or(false, || collector_object(collector).is_ok_and(|hosted| hosted.embedded.is_flushed(mark)))
}

/// Changes a collector that runs to another configuration, `yaml_len` bytes of YAML. Components whose configuration is the same go
/// on with their state, and inputs and outputs of theirs stay valid; those that end have `grace_ms` for what they hold, while the new
/// ones run. Where it fails the collector goes on as before: OTELCORE_INVALID_CONFIG has all mistakes, OTELCORE_IO says what can't
/// start, and OTELCORE_INVALID_STATE that only a new collector can have this configuration, or that this one does not run. A callback
/// of a new output or processor is set after a call that has failed for the lack of it. On the thread that drives the collector it
/// turns it meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_reload(
    collector: *mut Collector,
    yaml: *const c_char,
    yaml_len: usize,
    grace_ms: i64,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        // SAFETY: the header says so.
        let yaml = unsafe { config_text(yaml, yaml_len)? };
        collector_object(collector)?.reload(HostConfig::Yaml(yaml), duration_of_ms(grace_ms))
    })
}

/// The same for `count` documents, as otelcore_collector_new_merged() takes them.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_reload_merged(
    collector: *mut Collector,
    configs: *const Config,
    count: usize,
    grace_ms: i64,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || {
        // SAFETY: the header says so.
        let config = unsafe { merged_configs(configs, count)? };
        collector_object(collector)?.reload(config, duration_of_ms(grace_ms))
    })
}

/// Takes nothing new, delivers what it holds, and ends within `timeout_ms`; negative is however long it takes. Returns
/// when it has ended. OTELCORE_TIMEOUT says that something was not delivered; the message says what, and the collector
/// has ended all the same. One that has never been started, or has ended before, is no error. On the thread that drives
/// the collector it turns it meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_shutdown(
    collector: *mut Collector,
    timeout_ms: i64,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || collector_object(collector)?.shutdown(duration_of_ms(timeout_ms)))
}

/// Begins a shutdown without waiting for it: turn until the end, or poll otelcore_collector_state(). A call of
/// otelcore_collector_shutdown() afterwards reports what was not delivered. Callbacks may do this.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_begin_shutdown(
    collector: *mut Collector,
    timeout_ms: i64,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || Ok(collector_object(collector)?.embedded.begin_shutdown(duration_of_ms(timeout_ms))?))
}

/// The state of the collector.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_state(collector: *const Collector) -> crate::State {
    run_export_or(OTELCORE_STATE_NONE, || {
        collector_object(collector)
            .map_or(OTELCORE_STATE_NONE, |hosted| crate::State::from(hosted.embedded.state() as u8))
    })
}

/// Frees a collector; one that still runs is ended at once, and what it holds is lost. NULL is fine. Callbacks may be
/// called until this returns. Its inputs, outputs and batches stay valid, and return OTELCORE_CLOSED. In a
/// callback the collector ends by itself, and its memory is freed in a later call of this or otelcore_collector_new().
/// One that is driven is freed on the thread that drives it: from another, what its loop holds stays.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_free(collector: *mut Collector) {
    run_export_or((), || {
        free_ended_collectors();
        if let Ok(hosted) = COLLECTORS.remove(collector) {
            hosted.free();
        }
    });
}
