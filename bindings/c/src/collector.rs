//! The collector's functions for C: creation, running on its own thread or in the host's loop, flush, shutdown.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use otelcore::pipeline::Left;
use otelcore::reactor::{Tracked, watch_forks};
use otelcore::{Driven, EmbedError, Embedded, Options, State};

use crate::border::{InCallback, bytes, cross, cross_or, put, text};
use crate::data::Outlet;
use crate::error::{Error, Fault};
use crate::log::Sink;
use crate::per_process::PerProcess;
use crate::table::Table;
use crate::{FreeFn, LogFn, LogLevel, OTELCORE_INVALID_CONFIG, OTELCORE_STATE_NONE, OTELCORE_TIMEOUT, Owned, Status};

/// A collector. Any thread may use it; otelcore_collector_free() is the last call.
pub struct Collector(());

/// The object that a handle refers to.
pub(crate) struct Hosted {
    pub(crate) embedded: Embedded,
    /// Locked while the state changes, so that a shutdown finds a start either complete or not begun.
    life: Mutex<()>,
    /// A start has failed: there is nothing to shut down.
    unstarted: AtomicBool,
    drive: OnceLock<Drive>,
    log_user: Option<Arc<Owned>>,
    /// Callbacks of outputs, by their ids.
    pub(crate) outlets: Mutex<Vec<(String, Arc<Outlet>)>>,
}

pub(crate) static COLLECTORS: Table<Collector, Hosted> = Table::new(0);

/// Collectors that were freed where the thread could not wait for their end. A later call that may wait frees those
/// that have ended.
static LEFT_BEHIND: PerProcess<Mutex<Vec<Arc<Hosted>>>> = PerProcess::new();

fn clear_away() {
    if !InCallback::is_here() {
        let has_ended = |hosted: &mut Arc<Hosted>| hosted.embedded.state() >= State::Stopped;
        let ended: Vec<_> = lock(LEFT_BEHIND.get()).extract_if(.., has_ended).collect();
        ended.into_iter().for_each(Hosted::free);
    }
}

/// Every value locked here is consistent between two statements, so a poisoned lock can be used.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn hosted(collector: *const Collector) -> Result<Arc<Hosted>, Fault> {
    COLLECTORS.get(collector).map_err(|miss| Fault::miss("collector", miss))
}

/// Longer waits are treated as unlimited.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86400);

/// A time from C: negative is unlimited.
pub(crate) fn time(ms: i64) -> Duration {
    u64::try_from(ms).map_or(LONGEST, |ms| Duration::from_millis(ms).min(LONGEST))
}

/// A loop in the host's thread.
struct Drive {
    thread: ThreadId,
    /// A duplicate of the loop's descriptor, so that it stays valid until the host has freed the collector.
    descriptor: Tracked<OwnedFd>,
    /// `driven` is borrowed.
    busy: AtomicBool,
    driven: UnsafeCell<Option<Driven>>,
}

// SAFETY: `driven` is reached through `Drive::with` alone, which permits one borrow at a time, on the thread that made
// it; on any other thread `Drop` does not drop it.
unsafe impl Send for Drive {}
// SAFETY: as above.
unsafe impl Sync for Drive {}

impl Drive {
    fn is_here(&self) -> bool {
        self.thread == std::thread::current().id()
    }

    fn with<T>(&self, body: impl FnOnce(&mut Driven) -> T) -> Result<T, Fault> {
        if !self.is_here() {
            return Err(Fault::state("not on this thread: another one drives the collector"));
        }
        if self.busy.swap(true, Ordering::Acquire) {
            return Err(Fault::new(crate::OTELCORE_REENTRANT, "a turn is under way"));
        }
        // SAFETY: this is the thread that made it, and `busy` rejects a call from inside a turn.
        let driven = unsafe { &mut *self.driven.get() };
        let done = driven.as_mut().map(body);
        self.busy.store(false, Ordering::Release);
        done.ok_or_else(|| Fault::state("the collector is not driven"))
    }

    /// One turn. `false` when the collector has ended.
    fn turn(&self) -> Result<bool, Fault> {
        Ok(self.with(Driven::turn)??)
    }

    fn deadline(&self) -> Result<Option<Duration>, Fault> {
        self.with(|driven| driven.deadline())
    }

    /// Runs turns until `done` is true, `until` has passed or the collector has ended. `false` if `until` has passed.
    fn turn_until(&self, until: Instant, mut done: impl FnMut() -> bool) -> Result<bool, Fault> {
        loop {
            if !self.turn()? || done() {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let pause = self.deadline()?.unwrap_or(LONGEST).min(left).min(LOOK);
            let mut fd = libc::pollfd { fd: self.descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let pause = c_int::try_from(pause.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX);
            // SAFETY: one descriptor in a local variable of this function.
            unsafe { libc::poll(&raw mut fd, 1, pause) };
        }
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        if !self.is_here() {
            // The loop is used on another thread, so it is not dropped on this one.
            std::mem::forget(self.driven.get_mut().take());
        }
    }
}

/// The interval at which a wait checks its condition again.
const LOOK: Duration = Duration::from_millis(2);

impl Hosted {
    fn start(&self) -> Result<(), Fault> {
        InCallback::refuse()?;
        let _life = lock(&self.life);
        let started = self.embedded.start();
        self.started(started)
    }

    fn started<T>(&self, started: Result<T, EmbedError>) -> Result<T, Fault> {
        if !matches!(started, Ok(_) | Err(EmbedError::State(_))) {
            self.unstarted.store(true, Ordering::Release);
        }
        started.map_err(Into::into)
    }

    fn drive_start(&self) -> Result<(), Fault> {
        InCallback::refuse()?;
        let _life = lock(&self.life);
        let driven = self.embedded.drive();
        let driven = self.started(driven)?;
        // SAFETY: the loop keeps it open at least as long as `driven` exists.
        let descriptor = driven.descriptor().map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
        let descriptor = descriptor.ok_or_else(|| Fault::state("the collector is not driven"))?;
        let descriptor = Tracked::open(|| descriptor.try_clone_to_owned()).map_err(EmbedError::Io)?;
        let drive = Drive {
            thread: std::thread::current().id(),
            descriptor,
            busy: AtomicBool::new(false),
            driven: UnsafeCell::new(Some(driven)),
        };
        // The cell is empty: a collector starts once.
        let _ = self.drive.set(drive);
        Ok(())
    }

    fn driven(&self) -> Result<&Drive, Fault> {
        self.drive.get().ok_or_else(|| Fault::state("the collector is not driven"))
    }

    /// The loop that this thread drives.
    fn own_drive(&self) -> Option<&Drive> {
        self.drive.get().filter(|drive| drive.is_here())
    }

    fn flush(&self, timeout: Duration) -> Result<(), Fault> {
        InCallback::refuse()?;
        let Some(drive) = self.own_drive() else { return Ok(self.embedded.flush(timeout)?) };
        let until = Instant::now() + timeout;
        let mark = self.embedded.begin_flush()?;
        let flushed = drive.turn_until(until, || {
            // Data of a flushed batch may wait again in a later batch processor.
            self.embedded.is_flushed(mark) || self.embedded.begin_flush().is_err()
        })?;
        if flushed { Ok(()) } else { Err(EmbedError::Timeout(Left::default()).into()) }
    }

    fn shutdown(&self, grace: Duration) -> Result<(), Fault> {
        InCallback::refuse()?;
        let _life = lock(&self.life);
        let ended = self.end(grace);
        if self.embedded.state() >= State::Stopped {
            self.free_callbacks();
        }
        ended
    }

    fn end(&self, grace: Duration) -> Result<(), Fault> {
        if self.unstarted.load(Ordering::Acquire) {
            return Ok(());
        }
        if let Some(drive) = self.own_drive()
            && self.embedded.begin_shutdown(grace).is_ok()
        {
            // The loop enforces the time limit.
            drive.turn_until(Instant::now() + LONGEST, || false)?;
        }
        match self.embedded.shutdown(grace) {
            Err(EmbedError::Timeout(_)) if self.embedded.state() < State::Stopped => Err(Fault::new(
                OTELCORE_TIMEOUT,
                match self.drive.get() {
                    Some(_) => "the host did not turn the collector to its end",
                    None => "the collector did not end in time: a callback holds it",
                },
            )),
            ended => Ok(ended?),
        }
    }

    /// Frees the callbacks' `user` values. The loop has ended, so there are no more calls.
    fn free_callbacks(&self) {
        for (_, outlet) in lock(&self.outlets).iter() {
            outlet.user.free();
        }
    }

    fn free(self: Arc<Self>) {
        if InCallback::is_here() {
            // This thread can't wait for the end here, so the collector ends asynchronously.
            let _ = self.embedded.begin_shutdown(Duration::ZERO);
            lock(LEFT_BEHIND.get()).push(self);
            return;
        }
        if self.drive.get().is_some_and(|drive| !drive.is_here()) {
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
unsafe fn read_options(options: *const CollectorOptions) -> Result<Option<CollectorOptions>, Fault> {
    const KNOWN: usize = size_of::<CollectorOptions>();
    if options.is_null() {
        return Ok(None);
    }
    if !options.is_aligned() {
        return Err(Fault::argument("the options are not aligned"));
    }
    // SAFETY: not NULL, aligned, and each has a size; the rest is guaranteed by the caller.
    let size = unsafe { (&raw const (*options).struct_size).read() };
    if !(KNOWN..=4096).contains(&size) {
        return Err(Fault::argument("the options have no valid struct_size; begin with OTELCORE_OPTIONS_INIT"));
    }
    // SAFETY: they have `size` bytes, which is the size of our struct or more.
    let newer = unsafe { std::slice::from_raw_parts(options.cast::<u8>().add(KNOWN), size - KNOWN) };
    if newer.iter().any(|byte| *byte != 0) {
        return Err(Fault::argument("the options say something that this version of the library does not know"));
    }
    // SAFETY: as above; every bit pattern that C can write is one of these types.
    Ok(Some(unsafe { options.read() }))
}

/// Reads and checks a configuration, `yaml_len` bytes of YAML as the Go collector takes it, and opens nothing. `options`
/// may be NULL. The collector is the caller's to free.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_new(
    yaml: *const c_char,
    yaml_len: usize,
    options: *const CollectorOptions,
    out: *mut *mut Collector,
    err: *mut *mut Error,
) -> Status {
    cross(err, || {
        if out.is_null() {
            return Err(Fault::argument("there is no place for the collector"));
        }
        // SAFETY: the header says so of both.
        let (yaml, given) = unsafe { (bytes(yaml.cast(), yaml_len)?, read_options(options)?) };
        let yaml = std::str::from_utf8(yaml)
            .map_err(|e| Fault::new(OTELCORE_INVALID_CONFIG, format!("the configuration is not UTF-8: {e}")))?;
        let mut options = Options::default();
        let mut log_user = None;
        if let Some(given) = given {
            if !given.config_name.is_null() {
                // SAFETY: the header says that it is a text.
                options.name = unsafe { text(given.config_name, "config_name")? }.to_owned();
            }
            if let Some(sink) = Sink::new(given.log_level, given.log, given.log_user, given.log_free) {
                log_user = Some(sink.user.clone());
                options.log = Arc::new(sink);
            }
        }
        watch_forks();
        clear_away();
        let embedded = Embedded::new(yaml, options).inspect_err(|_| {
            if let Some(user) = &log_user {
                user.keep();
            }
        })?;
        let collector = COLLECTORS.insert(Hosted {
            embedded,
            life: Mutex::default(),
            unstarted: AtomicBool::new(false),
            drive: OnceLock::new(),
            log_user,
            outlets: Mutex::default(),
        });
        // SAFETY: not NULL, and the header asks for a place to write to.
        unsafe { put(out, collector) };
        Ok(())
    })
}

/// Starts the collector on a thread of its own, and returns when everything listens.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_start(collector: *mut Collector, err: *mut *mut Error) -> Status {
    cross(err, || hosted(collector)?.start())
}

/// Starts the collector in the caller's own loop: nothing happens but in otelcore_collector_drive_turn(). Wait until
/// otelcore_collector_drive_fd() is readable or otelcore_collector_drive_deadline_ms() have passed, then turn. All of
/// that on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_drive_start(collector: *mut Collector, err: *mut *mut Error) -> Status {
    cross(err, || hosted(collector)?.drive_start())
}

/// The descriptor that becomes readable when a turn has something to do, for poll, epoll and the like. Do not read,
/// write or close it: it is the collector's, and stays open until the collector is freed. -1 where nothing drives it.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_drive_fd(collector: *const Collector) -> c_int {
    cross_or(-1, || {
        let Ok(hosted) = hosted(collector) else { return -1 };
        hosted.drive.get().map_or(-1, |drive| drive.descriptor.as_raw_fd())
    })
}

/// After how many milliseconds a turn is due though the descriptor stays quiet: 0 is now, -1 never. It changes with
/// each turn.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_drive_deadline_ms(collector: *const Collector) -> i64 {
    cross_or(-1, || {
        let deadline = hosted(collector).and_then(|hosted| hosted.driven()?.deadline());
        // Rounded up, so that no turn runs before its deadline.
        let millis = |after: Duration| i64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
        deadline.ok().flatten().map_or(-1, millis)
    })
}

/// Does what there is to do, without waiting. `running`, which may be NULL, becomes false when the collector has come
/// to its end.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_drive_turn(
    collector: *mut Collector,
    running: *mut bool,
    err: *mut *mut Error,
) -> Status {
    cross(err, || {
        InCallback::refuse()?;
        let turned = hosted(collector)?.driven()?.turn();
        // SAFETY: NULL, or a place to write to, as the header says.
        unsafe { put(running, matches!(turned, Ok(true))) };
        turned.map(drop)
    })
}

/// Waits until all that was accepted before this call is delivered, or reported as lost. On the thread that drives the
/// collector it turns it meanwhile. A negative timeout is none.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_flush(collector: *mut Collector, timeout_ms: i64, err: *mut *mut Error) -> Status {
    cross(err, || hosted(collector)?.flush(time(timeout_ms)))
}

/// Begins a flush without waiting for it; `mark` is for otelcore_collector_is_flushed(). Callbacks may do this.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_begin_flush(
    collector: *mut Collector,
    mark: *mut u64,
    err: *mut *mut Error,
) -> Status {
    cross(err, || {
        let begun = hosted(collector)?.embedded.begin_flush()?;
        // SAFETY: NULL, or a place to write to, as the header says.
        unsafe { put(mark, begun) };
        Ok(())
    })
}

/// Whether all that was accepted before the flush of this mark is delivered, or reported as lost. What comes out of one
/// batch may be held back in the next: where there are several, begin again until it is.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_is_flushed(collector: *const Collector, mark: u64) -> bool {
    cross_or(false, || hosted(collector).is_ok_and(|hosted| hosted.embedded.is_flushed(mark)))
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
    cross(err, || hosted(collector)?.shutdown(time(timeout_ms)))
}

/// Begins a shutdown without waiting for it: turn until the end, or ask otelcore_collector_state(). What was left is
/// told by an otelcore_collector_shutdown() afterwards. Callbacks may do this.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_begin_shutdown(
    collector: *mut Collector,
    timeout_ms: i64,
    err: *mut *mut Error,
) -> Status {
    cross(err, || Ok(hosted(collector)?.embedded.begin_shutdown(time(timeout_ms))?))
}

/// Where the collector is in its life.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_state(collector: *const Collector) -> crate::State {
    cross_or(OTELCORE_STATE_NONE, || {
        hosted(collector).map_or(OTELCORE_STATE_NONE, |hosted| crate::State::from(hosted.embedded.state() as u8))
    })
}

/// Frees a collector; one that still runs is ended at once, and what it holds is lost. NULL is fine. Callbacks may be
/// called until this returns. Its inputs, outputs and batches stay good, and answer OTELCORE_CLOSED. From inside a
/// callback the collector ends by itself, and its memory is freed in a later call of this or otelcore_collector_new().
/// One that is driven is freed on the thread that drives it: from another, what its loop holds stays.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_free(collector: *mut Collector) {
    cross_or((), || {
        clear_away();
        if let Ok(hosted) = COLLECTORS.remove(collector) {
            hosted.free();
        }
    });
}
