//! A collector inside a host program: the handle that the bindings of every language are built on.
//!
//! [`Embedded::new`] reads and checks a configuration and opens nothing. The collector then runs in one of two ways: on
//! its own thread ([`Embedded::start`]), or in the host's loop ([`Embedded::drive`], a descriptor to wait for, a
//! deadline, and [`Driven::turn`]). It installs no signal handler and no global logger, and starts no thread before
//! `start`. After a panic of the loop the state is always [`State::Failed`].

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use otelcore_config::{Diagnostics, Gates, Severity, Sources};
use otelcore_inproc::{Hub, InprocExporterFactory, InprocReceiverFactory, Input, Output};
use otelcore_pdata::Signal;
use otelcore_pipeline::{Field, Left, LogSink, Logger, NoLog, StartError};
use otelcore_reactor::{Ending, Real, Remote, Runner, Unsignalled};

use crate::plan::Plan;
use crate::registry::Registry;
use crate::service::{Collector, Identity, RunError};

/// The state of a collector.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum State {
    /// The configuration is checked, and nothing is open.
    Created,
    /// Opening what the configuration names.
    Starting,
    /// Listening, and taking what is submitted.
    Running,
    /// Draining.
    Stopping,
    /// Ended by a shutdown.
    Stopped,
    /// Ended by a failed start or by a fault of this library.
    Failed,
}

impl State {
    const ALL: [Self; 6] = [Self::Created, Self::Starting, Self::Running, Self::Stopping, Self::Stopped, Self::Failed];

    /// `created`, `running` and so on.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// Why a call has failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum EmbedError {
    /// The configuration has mistakes: the text lists all of them, each with its place.
    Config(String),
    /// A component could not start.
    Start(String),
    /// A component could not start because the system refused a socket: with the system's error number, for example
    /// that of `EADDRINUSE`.
    Listen(String, i32),
    /// The system refused what the loop needs.
    Io(std::io::Error),
    /// The call is not possible in this state.
    State(State),
    /// The time is up. At a shutdown, with what was not delivered.
    Timeout(Left),
    /// The call came from the loop's own thread, which would wait for itself.
    Reentrant,
    /// The loop has panicked.
    Failed(String),
    /// This process is a forked child of the one that the collector runs in.
    Forked,
}

impl std::fmt::Display for EmbedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(text) | Self::Start(text) | Self::Listen(text, _) => f.write_str(text.trim_end()),
            Self::Io(e) => e.fmt(f),
            Self::State(state) => write!(f, "the collector is {}", state.name()),
            Self::Timeout(left) if left.total() > 0 => {
                write!(f, "{} items were not delivered in time:", left.total())?;
                left.items.iter().try_for_each(|(component, items)| write!(f, " {items} in {component};"))
            }
            Self::Timeout(_) => f.write_str("not everything was delivered in time"),
            Self::Reentrant => f.write_str("the collector's own thread can't wait for the collector"),
            Self::Failed(why) => write!(f, "the collector has failed: {why}"),
            Self::Forked => f.write_str("the collector runs in the parent of this process, not in this forked child"),
        }
    }
}

impl std::error::Error for EmbedError {}

impl From<RunError> for EmbedError {
    fn from(e: RunError) -> Self {
        match e {
            RunError::Start(e) => Self::Start(e.to_string()),
            RunError::Listen(e, errno) => Self::Listen(e.to_string(), errno),
            RunError::System(e) => Self::Io(e),
        }
    }
}

/// What `${env:NAME}` means.
pub type Environment = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What a host program decides about its collector.
pub struct Options {
    /// The sink of its log. By default records are dropped.
    pub log: Arc<dyn LogSink>,
    /// Its name and version.
    pub identity: Identity,
    /// The component types. `inproc` is added to them.
    pub registry: Registry,
    /// What `${env:NAME}` means; the process's environment by default.
    pub env: Environment,
    /// How messages call the configuration.
    pub name: String,
    /// Whether own metrics are served on `localhost:8888` where the configuration names no reader, as the program does.
    /// Off by default: a library should open no port that was not asked for, and two collectors of one process would
    /// both need it. [`Embedded::metrics`] gives the metrics in both cases.
    pub default_metrics_page: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            log: Arc::new(NoLog),
            identity: Identity::default(),
            registry: Registry::default(),
            env: Box::new(otelcore_reactor::env),
            name: "config.yaml".to_owned(),
            default_metrics_page: false,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A source of files: the configuration's text under its name, and other files from the disk.
struct Given<'a> {
    yaml: &'a str,
    options: &'a Options,
}

impl Sources for Given<'_> {
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        if path == self.options.name { Ok(self.yaml.as_bytes().to_vec()) } else { otelcore_reactor::read_file(path) }
    }

    fn env(&self, name: &str) -> Option<String> {
        (self.options.env)(name)
    }
}

/// What the handle and the loop share.
struct Shared {
    state: AtomicU8,
    inner: Mutex<Inner>,
    /// Notified at every change of state.
    news: Condvar,
    hub: Hub,
    log: Logger,
}

#[derive(Default)]
struct Inner {
    remote: Option<Remote>,
    ending: Option<Left>,
    failure: Option<String>,
    /// The system's number for a failed start.
    errno: Option<i32>,
    /// The thread that turns the loop.
    thread: Option<ThreadId>,
}

impl Shared {
    fn state(&self) -> State {
        // The number was written by `become_`.
        State::ALL.get(usize::from(self.state.load(Ordering::Acquire))).copied().unwrap_or(State::Failed)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn become_(&self, state: State, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner();
        change(&mut inner);
        self.state.store(state as u8, Ordering::Release);
        drop(inner);
        self.news.notify_all();
    }

    fn fail(&self, why: String) {
        // No component is left that would pass on what inputs take.
        let lost = self.hub.close();
        if lost > 0 {
            let fields = [("error", Field::Str(&why)), ("dropped_items", Field::Uint(lost))];
            self.log.error("The collector has failed; what was submitted is lost.", &fields);
        }
        self.become_(State::Failed, |inner| {
            inner.remote = None;
            inner.thread = None;
            inner.failure = Some(why);
        });
    }

    fn end(&self, ending: Ending) {
        self.become_(State::Stopped, |inner| {
            inner.remote = None;
            inner.thread = None;
            inner.ending = Some(ending.left);
        });
    }

    /// Waits until `done` returns true, until `until` at most. `false` when the time is up.
    #[expect(clippy::disallowed_methods, reason = "it is the host's thread that waits, outside of any world")]
    fn wait(&self, until: Option<Instant>, mut done: impl FnMut(&Inner, State) -> bool) -> bool {
        let mut inner = self.inner();
        loop {
            if done(&inner, self.state()) {
                return true;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return false;
            }
            inner = match left {
                Some(left) => self.news.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.news.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// A collector in a host program. Every method may be called from any thread.
///
/// In a forked child its sockets are closed, and it can't be used: calls return [`EmbedError::Forked`], and dropping it
/// does nothing. The child may make its own collectors.
pub struct Embedded {
    collector: Arc<Collector>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    depth: u32,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Reads and checks a configuration of the Go collector. Nothing is opened.
    ///
    /// # Errors
    /// Every mistake in it, with its place.
    pub fn new(yaml: &str, options: Options) -> Result<Self, EmbedError> {
        let hub = Hub::new();
        let mut registry = options.registry.clone();
        registry.add(InprocReceiverFactory::new(&hub));
        registry.add(InprocExporterFactory::new(&hub));
        let diagnostics = Diagnostics::new();
        let (gates, _) = Gates::parse::<&str>(&[]);
        let uri = format!("file:{}", options.name);
        let given = Given { yaml, options: &options };
        let plan = otelcore_config::load(&[uri], &[], &given, &gates, &diagnostics)
            .and_then(|root| Plan::parse(&root, &registry, &gates, &diagnostics));
        let mut plan = plan.ok_or_else(|| EmbedError::Config(diagnostics.to_text(false)))?;
        if !(options.default_metrics_page || plan.telemetry.page_is_named) {
            plan.telemetry.metrics.clear();
        }
        let without_effect = plan.telemetry.logs.without_effect_in_host();
        let collector = Collector::in_host(plan, options.identity, options.log);
        for item in diagnostics.items().into_iter().filter(|item| item.severity != Severity::Error) {
            collector.log().warn(&item.message, &[("key", Field::Str(&item.path))]);
        }
        if let Some((key, text)) = without_effect {
            collector.log().warn(text, &[("key", Field::Str(key))]);
        }
        let log = collector.log().clone();
        Ok(Self {
            collector: Arc::new(collector),
            shared: Arc::new(Shared {
                state: AtomicU8::new(State::Created as u8),
                inner: Mutex::default(),
                news: Condvar::new(),
                hub,
                log,
            }),
            thread: Mutex::default(),
            depth: otelcore_reactor::fork_depth(),
        })
    }

    /// Whether it runs in a parent of this process: then none of its locks may be waited for, and nothing of it
    /// dropped.
    fn is_inherited(&self) -> bool {
        self.depth != otelcore_reactor::fork_depth()
    }

    fn check_process(&self) -> Result<(), EmbedError> {
        if self.is_inherited() { Err(EmbedError::Forked) } else { Ok(()) }
    }

    /// Its state; in a forked child [`State::Failed`].
    #[must_use]
    pub fn state(&self) -> State {
        if self.is_inherited() { State::Failed } else { self.shared.state() }
    }

    /// The input of an `inproc` receiver, by its id.
    #[must_use]
    pub fn input(&self, id: &str) -> Option<Input> {
        self.check_process().ok()?;
        self.shared.hub.input(&id.parse().ok()?)
    }

    /// The output of an `inproc` exporter, by its id.
    #[must_use]
    pub fn output(&self, id: &str) -> Option<Output> {
        self.check_process().ok()?;
        self.shared.hub.output(&id.parse().ok()?)
    }

    /// The signals that pipelines take from the `inproc` receiver of this id. Known before the start.
    #[must_use]
    pub fn input_signals(&self, id: &str) -> Vec<Signal> {
        id.parse().map(|id| self.collector.receiver_signals(&id)).unwrap_or_default()
    }

    /// The ids of all inputs, and of all outputs.
    #[must_use]
    pub fn ends(&self) -> (Vec<String>, Vec<String>) {
        if self.is_inherited() { Default::default() } else { self.shared.hub.names() }
    }

    /// Its logger.
    #[must_use]
    pub fn log(&self) -> &Logger {
        self.collector.log()
    }

    fn begin(&self) -> Result<(), EmbedError> {
        self.check_process()?;
        let (from, to) = (State::Created as u8, State::Starting as u8);
        let begun = self.shared.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        begun.map(drop).map_err(|_| EmbedError::State(self.state()))
    }

    /// Starts it on its own thread, and returns when everything listens.
    ///
    /// # Errors
    /// Why it could not start, for example because a port is in use.
    pub fn start(&self) -> Result<(), EmbedError> {
        self.begin()?;
        let (collector, shared) = (self.collector.clone(), self.shared.clone());
        let unsignalled = Unsignalled::here();
        let spawned = std::thread::Builder::new().name("otelcore".to_owned()).spawn(move || live(&collector, &shared));
        drop(unsignalled);
        match spawned {
            Ok(thread) => *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread),
            Err(e) => {
                self.shared.fail(e.to_string());
                return Err(EmbedError::Io(e));
            }
        }
        self.shared.wait(None, |_, state| state > State::Starting);
        if self.state() == State::Failed {
            let inner = self.shared.inner();
            let why = inner.failure.clone().unwrap_or_default();
            return Err(match inner.errno {
                Some(errno) => EmbedError::Listen(why, errno),
                None => EmbedError::Start(why),
            });
        }
        Ok(())
    }

    /// Starts it in the host's loop: from now on the caller's thread has to call [`Driven::turn`].
    ///
    /// # Errors
    /// Why it could not start, for example because a port is in use.
    pub fn drive(&self) -> Result<Driven, EmbedError> {
        self.begin()?;
        let started = Real::in_host().map_err(RunError::from).and_then(|world| self.collector.start(world));
        match started {
            Ok(runner) => {
                self.shared.become_(State::Running, |inner| {
                    inner.remote = Some(runner.remote());
                    inner.thread = Some(std::thread::current().id());
                });
                Ok(Driven { runner: Some(runner), shared: self.shared.clone(), depth: self.depth, here: PhantomData })
            }
            Err(e) => {
                self.shared.fail(e.to_string());
                Err(e.into())
            }
        }
    }

    fn remote(&self) -> Result<Remote, EmbedError> {
        self.check_process()?;
        let inner = self.shared.inner();
        match (&inner.remote, &inner.failure) {
            (Some(remote), _) => Ok(remote.clone()),
            (None, Some(why)) => Err(EmbedError::Failed(why.clone())),
            (None, None) => Err(EmbedError::State(self.state())),
        }
    }

    fn is_own_thread(&self) -> bool {
        self.shared.inner().thread == Some(std::thread::current().id())
    }

    /// Begins a flush: components send what they hold back to collect more. [`Embedded::is_flushed`] reports when all
    /// that was accepted before this call is delivered, or reported as lost.
    ///
    /// # Errors
    /// When it does not run.
    pub fn begin_flush(&self) -> Result<u64, EmbedError> {
        let remote = self.remote()?;
        let mark = self.collector.budget().mark();
        remote.flush();
        Ok(mark)
    }

    /// Whether a flush has ended; `mark` is the result of [`Embedded::begin_flush`].
    #[must_use]
    pub fn is_flushed(&self, mark: u64) -> bool {
        self.collector.budget().is_past(mark)
    }

    /// Waits until all that was accepted before this call is delivered, or reported as lost.
    ///
    /// # Errors
    /// When it does not run, when the time is up, or when called in the collector's own thread.
    #[expect(clippy::disallowed_methods, reason = "it is the host's thread that waits, outside of any world")]
    pub fn flush(&self, timeout: Duration) -> Result<(), EmbedError> {
        self.check_process()?;
        if self.is_own_thread() {
            return Err(EmbedError::Reentrant);
        }
        /// How often the flush is repeated: what one component sends may be held back by the next one.
        const LOOK: Duration = Duration::from_millis(2);
        let until = Instant::now().checked_add(timeout);
        let mark = self.begin_flush()?;
        while !self.is_flushed(mark) {
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                return Err(EmbedError::Timeout(Left::default()));
            }
            if self.shared.wait(Some(now + LOOK), |_, state| state >= State::Stopped) {
                break;
            }
            // It may have ended since the last check.
            if let Ok(remote) = self.remote() {
                remote.flush();
            }
        }
        Ok(())
    }

    /// Asks it to take nothing new, to deliver what it holds, and to end within `grace`. Returns at once.
    ///
    /// # Errors
    /// When it does not run.
    pub fn begin_shutdown(&self, grace: Duration) -> Result<(), EmbedError> {
        let remote = self.remote()?;
        let (from, to) = (State::Running as u8, State::Stopping as u8);
        let _ = self.shared.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        remote.shutdown(grace);
        Ok(())
    }

    /// Takes nothing new, delivers what it holds, and ends. It is no error where the collector was never started or has
    /// ended before.
    ///
    /// # Errors
    /// What was not delivered in time; that the loop has failed; or that the call came from the collector's own thread.
    #[expect(clippy::disallowed_methods, reason = "it is the host's thread that waits, outside of any world")]
    pub fn shutdown(&self, grace: Duration) -> Result<(), EmbedError> {
        self.check_process()?;
        if self.is_own_thread() {
            return Err(EmbedError::Reentrant);
        }
        let (from, to) = (State::Created as u8, State::Stopped as u8);
        if self.shared.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.shared.hub.close();
            return Ok(());
        }
        // A start that is under way is waited for; the shutdown follows it.
        self.shared.wait(None, |_, state| state > State::Starting);
        let asked = self.begin_shutdown(grace);
        if matches!(asked, Err(EmbedError::Failed(_))) {
            return asked;
        }
        // The loop ends in time by itself, but the host may not turn it or may block in a callback: this thread then
        // stops waiting one second later.
        let until = Instant::now().checked_add(grace.saturating_add(Duration::from_secs(1)));
        if !self.shared.wait(until, |_, state| state >= State::Stopped) {
            return Err(EmbedError::Timeout(Left::default()));
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The text of a panic has been stored before.
            let _ = thread.join();
        }
        let inner = self.shared.inner();
        match (&inner.failure, &inner.ending) {
            (Some(why), _) => Err(EmbedError::Failed(why.clone())),
            (None, Some(left)) if left.total() > 0 => Err(EmbedError::Timeout(left.clone())),
            _ => Ok(()),
        }
    }

    /// Gives up a loop in the host's thread that will not be turned again: its inputs and outputs close, calls that
    /// wait for it return, and what it holds is lost.
    pub fn abandon(&self, why: &str) {
        // In a forked child the state is `Failed` already.
        if matches!(self.state(), State::Running | State::Stopping) {
            self.shared.fail(why.to_owned());
        }
    }

    /// Its own metrics as a Prometheus page, up to `service::telemetry::metrics::level`, also where no port serves
    /// them.
    #[must_use]
    pub fn metrics(&self) -> Vec<u8> {
        if self.is_inherited() { Vec::new() } else { self.collector.metrics() }
    }

    /// `{"state":"running"}`, with an `"error"` where it has failed.
    #[must_use]
    pub fn health(&self) -> String {
        if self.is_inherited() {
            return format!("{{\"state\":\"failed\",\"error\":\"{}\",\"held_bytes\":0}}", EmbedError::Forked);
        }
        let mut out = format!("{{\"state\":\"{}\"", self.state().name()).into_bytes();
        if let Some(why) = &self.shared.inner().failure {
            out.extend_from_slice(b",\"error\":");
            otelcore_pdata::text::put_json_string(&mut out, why.as_bytes());
        }
        out.extend_from_slice(b",\"held_bytes\":");
        out.extend_from_slice(self.collector.budget().held().to_string().as_bytes());
        out.push(b'}');
        String::from_utf8(out).unwrap_or_default()
    }
}

impl Drop for Embedded {
    /// To learn what is lost, call [`Embedded::shutdown`] before.
    fn drop(&mut self) {
        if self.is_inherited() {
            // They are leaked: what they own stays as long as the child runs.
            std::mem::forget((self.collector.clone(), self.shared.clone()));
            std::mem::forget(self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take());
            return;
        }
        let threaded = self.thread.lock().is_ok_and(|thread| thread.is_some());
        if !self.is_own_thread() && (threaded || self.state() == State::Created) {
            let _ = self.shutdown(Duration::ZERO);
        }
    }
}

/// Runs a collector on its own thread, from its start to its end.
fn live(collector: &Collector, shared: &Shared) {
    let depth = otelcore_reactor::fork_depth();
    let lived = catch_unwind(AssertUnwindSafe(|| -> Result<Ending, RunError> {
        let runner = collector.start(Real::in_host()?)?;
        shared.become_(State::Running, |inner| {
            inner.remote = Some(runner.remote());
            inner.thread = Some(std::thread::current().id());
        });
        let ending = runner.run(|_, _| {})?;
        ending.left.report(collector.log());
        Ok(ending)
    }));
    if depth != otelcore_reactor::fork_depth() {
        // A callback of the host has forked in this thread and has returned in the child: the child's only thread ends
        // here.
        return;
    }
    match lived {
        Ok(Ok(ending)) => shared.end(ending),
        Ok(Err(e)) => {
            if let RunError::Listen(_, errno) = &e {
                shared.inner().errno = Some(*errno);
            }
            shared.fail(e.to_string());
        }
        Err(panic) => shared.fail(panic_text(&*panic)),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// A collector in the host's loop. It stays in the thread that made it.
pub struct Driven {
    runner: Option<Runner>,
    shared: Arc<Shared>,
    depth: u32,
    here: PhantomData<*const ()>,
}

impl std::fmt::Debug for Driven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driven").field("state", &self.shared.state()).finish_non_exhaustive()
    }
}

impl Driven {
    fn is_inherited(&self) -> bool {
        self.depth != otelcore_reactor::fork_depth()
    }

    /// The descriptor to wait for: it is readable when a turn has something to do. `None` when the collector has ended.
    #[must_use]
    pub fn descriptor(&self) -> Option<std::os::fd::RawFd> {
        self.runner.as_ref().filter(|_| !self.is_inherited()).map(|runner| runner.world().descriptor())
    }

    /// How long the host may wait for the descriptor before the next turn; `None` means without limit.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let runner = self.runner.as_ref().filter(|_| !self.is_inherited())?;
        runner.deadline().map(|at| at.since(runner.now()))
    }

    /// Does what there is to do, without waiting. `false` when the collector has ended.
    ///
    /// # Errors
    /// When the system can't wait for sockets any more, or after a fault of this library; the collector has ended then.
    pub fn turn(&mut self) -> Result<bool, EmbedError> {
        if self.is_inherited() {
            return Err(EmbedError::Forked);
        }
        let Some(runner) = &mut self.runner else { return Ok(false) };
        let turned = catch_unwind(AssertUnwindSafe(|| {
            let now = runner.now();
            runner.turn(now, &mut Vec::new())?;
            Ok::<_, std::io::Error>(runner.ending())
        }));
        if self.is_inherited() {
            // A callback of the host has forked and has returned in the child.
            return Err(EmbedError::Forked);
        }
        match turned {
            Ok(Ok(None)) => Ok(true),
            Ok(Ok(Some(ending))) => {
                self.runner = None;
                self.shared.end(ending);
                Ok(false)
            }
            Ok(Err(e)) => {
                self.runner = None;
                self.shared.fail(e.to_string());
                Err(EmbedError::Io(e))
            }
            Err(panic) => {
                let why = panic_text(&*panic);
                // After a panic the loop may be in any state: it is not used again, and not dropped.
                std::mem::forget(self.runner.take());
                self.shared.fail(why.clone());
                Err(EmbedError::Failed(why))
            }
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if self.is_inherited() {
            std::mem::forget((self.runner.take(), self.shared.clone()));
            return;
        }
        if self.runner.take().is_some() {
            self.shared.fail("the loop was dropped before its end".to_owned());
        }
    }
}

impl From<StartError> for EmbedError {
    fn from(e: StartError) -> Self {
        Self::Start(e.to_string())
    }
}
