//! A collector inside a host program: the handle that the bindings of every language are built on.
//!
//! [`EmbeddedCollector::new`] reads and checks a configuration and opens nothing. The collector then runs in one of two
//! ways: on its own thread ([`EmbeddedCollector::start`]), or in the host's loop
//! ([`EmbeddedCollector::start_in_host_loop`], a descriptor to wait for, a deadline, and [`DrivenCollector::turn`]). It
//! installs no signal handler and no global logger, and starts no thread before `start`. After a panic of the loop the
//! state is always [`CollectorState::Failed`].

mod reload;
mod snapshot;

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use otelcore_config::{ConfigSources, Diagnostics, FeatureGates, Severity, UnreadableSource, codes};
use otelcore_inproc::{
    HostIo, HostProcessor, InprocExporterFactory, InprocProcessorFactory, InprocReceiverFactory, Input, Output,
    is_in_process_callback,
};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    CODE_FIELD, ComponentStatusEntry, LogField, LogSink, Logger, NoopLogSink, StartError, UndeliveredItems, catch_panic,
};
use otelcore_reactor::{EventLoop, LoopHandle, RealWorld, ShutdownReport, SignalsBlocked};

use self::snapshot::LoopClock;
pub use self::snapshot::{CollectorSnapshot, MemorySnapshot, QueueSnapshot, component_status_json, kind_name};
use crate::plan::Plan;
use crate::registry::Registry;
use crate::service::{BuildInfo, Collector, RunError};

/// The state of a collector.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum CollectorState {
    /// The configuration is checked, and nothing is open.
    Created,
    /// Opening what the configuration names.
    Starting,
    /// Receivers listen, and inputs accept telemetry.
    Running,
    /// Draining: what is held is being delivered.
    Stopping,
    /// Ended by a shutdown.
    Stopped,
    /// Ended by a failed start or by a fault of this library.
    Failed,
}

impl CollectorState {
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
    Start(StartError),
    /// A reload would change something that can't change while the collector runs: a new collector is needed.
    NeedsRestart(String),
    /// The system refused what the loop needs.
    Io(std::io::Error),
    /// The call is not possible in this state.
    State(CollectorState),
    /// The time is up. At a shutdown, with what was not delivered.
    Timeout(UndeliveredItems),
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
            Self::Config(text) => f.write_str(text.trim_end()),
            Self::Start(e) => f.write_str(e.to_string().trim_end()),
            Self::NeedsRestart(why) => {
                write!(f, "the configuration can't be used without a restart of the collector: {}", why.trim_end())
            }
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
            RunError::Start(e) => Self::Start(e),
            RunError::System(e) => Self::Io(e),
        }
    }
}

/// What `${env:NAME}` means.
pub type EnvLookup = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What a host program decides about its collector.
pub struct EmbedOptions {
    /// The sink of its log. By default records are dropped.
    pub log: Arc<dyn LogSink>,
    /// Its name and version.
    pub identity: BuildInfo,
    /// The component types. `inproc` is added to them.
    pub registry: Registry,
    /// What `${env:NAME}` means; the process's environment by default.
    pub env: EnvLookup,
    /// How messages call the configuration.
    pub config_name: String,
    /// Whether own metrics are served on `localhost:8888` where the configuration names no reader, as the program does.
    /// Off by default: a library should open no port that the host program has not configured, and two collectors of one
    /// process would both need it. [`EmbeddedCollector::metrics`] gives the metrics in both cases.
    pub default_metrics_page: bool,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        Self {
            log: Arc::new(NoopLogSink),
            identity: BuildInfo::default(),
            registry: Registry::default(),
            env: Box::new(otelcore_reactor::env_var),
            config_name: "config.yaml".to_owned(),
            default_metrics_page: false,
        }
    }
}

impl std::fmt::Debug for EmbedOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbedOptions").field("name", &self.config_name).finish_non_exhaustive()
    }
}

/// A part of a configuration: YAML, or JSON, which is YAML too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigDocument<'a> {
    /// How messages call it.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// Reads configurations as the host program has decided it.
struct ConfigReader {
    registry: Registry,
    env: EnvLookup,
    config_name: String,
    default_metrics_page: bool,
}

/// What is to be said about a configuration that is valid.
struct ConfigWarnings {
    diagnostics: Diagnostics,
    without_effect: Option<(&'static str, &'static str)>,
}

impl ConfigReader {
    /// Reads documents that are merged in their order, as several `--config` of the command line are.
    fn read(&self, documents: &[ConfigDocument<'_>]) -> Result<(Plan, ConfigWarnings), EmbedError> {
        for (position, document) in documents.iter().enumerate() {
            if documents.iter().take(position).any(|other| other.name == document.name) {
                let text = format!("two documents of the configuration have the name {:?}", document.name);
                return Err(EmbedError::Config(text));
            }
        }
        let diagnostics = Diagnostics::new();
        let (gates, _) = FeatureGates::parse::<&str>(&[]);
        let uris: Vec<_> = documents.iter().map(|document| format!("file:{}", document.name)).collect();
        let sources = ConfigTexts { documents, reader: self };
        let plan = otelcore_config::load(&uris, &[], &sources, &gates, &diagnostics)
            .and_then(|root| Plan::parse(&root, &self.registry, &gates, &diagnostics));
        let mut plan = plan.ok_or_else(|| EmbedError::Config(diagnostics.render_to_string(false)))?;
        if !(self.default_metrics_page || plan.telemetry.metrics.page_is_named) {
            plan.telemetry.metrics.pages.clear();
        }
        let without_effect = plan.telemetry.logs.key_without_effect_in_host();
        Ok((plan, ConfigWarnings { diagnostics, without_effect }))
    }
}

impl ConfigWarnings {
    fn report(&self, log: &Logger) {
        for item in self.diagnostics.items().into_iter().filter(|item| item.severity != Severity::Error) {
            let code = (CODE_FIELD, LogField::Str(item.kind.code()));
            log.warn(&item.message, &[("key", LogField::Str(&item.path)), code]);
        }
        if let Some((key, text)) = self.without_effect {
            let code = (CODE_FIELD, LogField::Str(codes::INVALID));
            log.warn(text, &[("key", LogField::Str(key)), code]);
        }
    }
}

/// A source of files: the documents under their names, and other files from the disk.
struct ConfigTexts<'a> {
    documents: &'a [ConfigDocument<'a>],
    reader: &'a ConfigReader,
}

impl ConfigSources for ConfigTexts<'_> {
    fn read_file(&self, path: &str) -> Result<Vec<u8>, UnreadableSource> {
        match self.documents.iter().find(|document| document.name == path) {
            Some(document) => Ok(document.text.as_bytes().to_vec()),
            None => otelcore_reactor::read_file(path).map_err(|e| UnreadableSource(e.to_string())),
        }
    }

    fn env_var(&self, name: &str) -> Option<String> {
        (self.reader.env)(name)
    }
}

/// What the handle and the loop share.
struct SharedState {
    state: AtomicU8,
    inner: Mutex<Inner>,
    /// Notified at every change of state.
    changed: Condvar,
    hub: HostIo,
    log: Logger,
    reader: ConfigReader,
    /// The collector of the configuration that runs.
    collector: Mutex<Arc<Collector>>,
    reloads: reload::Reloads,
    /// Set at the start.
    clock: OnceLock<LoopClock>,
}

#[derive(Default)]
struct Inner {
    loop_handle: Option<LoopHandle>,
    undelivered: Option<UndeliveredItems>,
    failure: Option<String>,
    /// Why it could not start.
    start_error: Option<RunError>,
    /// The thread that turns the loop.
    thread: Option<ThreadId>,
}

impl SharedState {
    fn state(&self) -> CollectorState {
        // The number was written by `set_state`.
        CollectorState::ALL
            .get(usize::from(self.state.load(Ordering::Acquire)))
            .copied()
            .unwrap_or(CollectorState::Failed)
    }

    fn collector(&self) -> Arc<Collector> {
        self.collector.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_collector(&self, collector: Arc<Collector>) {
        *self.collector.lock().unwrap_or_else(PoisonError::into_inner) = collector;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_state(&self, state: CollectorState, update: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner();
        update(&mut inner);
        self.state.store(state as u8, Ordering::Release);
        drop(inner);
        self.changed.notify_all();
    }

    fn set_failed(&self, why: String) {
        // No component is left that would pass on what inputs take.
        let lost = self.hub.close();
        if lost > 0 {
            let fields = [("error", LogField::Str(&why)), ("dropped_items", LogField::Uint(lost))];
            self.log.error("The collector has failed; what was submitted is lost.", &fields);
        }
        self.set_state(CollectorState::Failed, |inner| {
            inner.loop_handle = None;
            inner.thread = None;
            inner.failure = Some(why);
        });
    }

    fn set_stopped(&self, report: ShutdownReport) {
        self.set_state(CollectorState::Stopped, |inner| {
            inner.loop_handle = None;
            inner.thread = None;
            inner.undelivered = Some(report.undelivered);
        });
    }

    /// Waits until `condition` returns true, until `deadline` at most. `false` when the time is up.
    #[expect(clippy::disallowed_methods, reason = "it is the host's thread that waits, outside of any world")]
    fn wait(&self, deadline: Option<Instant>, mut condition: impl FnMut(&Inner, CollectorState) -> bool) -> bool {
        let mut inner = self.inner();
        loop {
            if condition(&inner, self.state()) {
                return true;
            }
            let remaining = deadline.map(|until| until.saturating_duration_since(Instant::now()));
            if remaining == Some(Duration::ZERO) {
                return false;
            }
            inner = match remaining {
                Some(left) => self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// A collector in a host program. Every method may be called from any thread.
///
/// In a forked child its sockets are closed, and it can't be used: calls return [`EmbedError::Forked`], and dropping it
/// does nothing. The child may make its own collectors.
pub struct EmbeddedCollector {
    shared: Arc<SharedState>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The threads of the callbacks of `inproc` processors.
    processor_threads: Mutex<Vec<JoinHandle<()>>>,
    fork_depth: u32,
}

impl std::fmt::Debug for EmbeddedCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedCollector").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl EmbeddedCollector {
    /// Reads and checks a configuration of the Go collector. Nothing is opened.
    ///
    /// # Errors
    /// Every mistake in it, with its place.
    pub fn new(yaml: &str, options: EmbedOptions) -> Result<Self, EmbedError> {
        let name = options.config_name.clone();
        Self::new_merged(&[ConfigDocument { name: &name, text: yaml }], options)
    }

    /// The same for several documents, which are merged in their order: maps key by key, everything else by the last value.
    /// Messages have the name of the document that a mistake is in, and its path.
    ///
    /// # Errors
    /// Every mistake in them, with its place.
    pub fn new_merged(documents: &[ConfigDocument<'_>], options: EmbedOptions) -> Result<Self, EmbedError> {
        let hub = HostIo::new();
        let mut registry = options.registry.clone();
        registry.add(InprocReceiverFactory::new(&hub));
        registry.add(InprocProcessorFactory::new(&hub));
        registry.add(InprocExporterFactory::new(&hub));
        let EmbedOptions { log, identity, env, config_name, default_metrics_page, .. } = options;
        let reader = ConfigReader { registry, env, config_name, default_metrics_page };
        let (plan, warnings) = reader.read(documents)?;
        let collector = Collector::new_in_host(plan, identity, log);
        warnings.report(collector.log());
        let log = collector.log().clone();
        Ok(Self {
            shared: Arc::new(SharedState {
                state: AtomicU8::new(CollectorState::Created as u8),
                inner: Mutex::default(),
                changed: Condvar::new(),
                hub,
                log,
                reader,
                collector: Mutex::new(Arc::new(collector)),
                reloads: reload::Reloads::default(),
                clock: OnceLock::new(),
            }),
            thread: Mutex::default(),
            processor_threads: Mutex::default(),
            fork_depth: otelcore_reactor::fork_depth(),
        })
    }

    /// Whether it runs in a parent of this process: then none of its locks may be waited for, and nothing of it
    /// dropped.
    fn is_inherited(&self) -> bool {
        self.fork_depth != otelcore_reactor::fork_depth()
    }

    fn check_process(&self) -> Result<(), EmbedError> {
        if self.is_inherited() { Err(EmbedError::Forked) } else { Ok(()) }
    }

    /// Its state; in a forked child [`CollectorState::Failed`].
    #[must_use]
    pub fn state(&self) -> CollectorState {
        if self.is_inherited() { CollectorState::Failed } else { self.shared.state() }
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

    /// The host program's side of an `inproc` processor, by its id. A program that gets it has to process its payloads:
    /// by a callback ([`HostProcessor::set_callback`]), or by taking them ([`HostProcessor::next`]).
    #[must_use]
    pub fn processor(&self, id: &str) -> Option<HostProcessor> {
        self.check_process().ok()?;
        self.shared.hub.processor(&id.parse().ok()?)
    }

    /// The ids of all processors.
    #[must_use]
    pub fn processor_ids(&self) -> Vec<String> {
        if self.is_inherited() { Vec::new() } else { self.shared.hub.processor_ids() }
    }

    /// The signals that pipelines take from the `inproc` receiver of this id. Known before the start.
    #[must_use]
    pub fn input_signals(&self, id: &str) -> Vec<Signal> {
        if self.is_inherited() {
            return Vec::new();
        }
        id.parse().map(|id| self.shared.collector().receiver_signals(&id)).unwrap_or_default()
    }

    /// The ids of all inputs, and of all outputs.
    #[must_use]
    pub fn input_and_output_ids(&self) -> (Vec<String>, Vec<String>) {
        if self.is_inherited() { Default::default() } else { self.shared.hub.ids() }
    }

    /// Its logger.
    #[must_use]
    pub fn log(&self) -> &Logger {
        &self.shared.log
    }

    fn set_starting(&self) -> Result<(), EmbedError> {
        self.check_process()?;
        let (from, to) = (CollectorState::Created as u8, CollectorState::Starting as u8);
        let exchanged = self.shared.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        exchanged.map(drop).map_err(|_| EmbedError::State(self.state()))
    }

    /// Starts a thread for each callback of a processor. They end when the loop has dropped the processors.
    fn start_processor_threads(&self) -> Result<(), EmbedError> {
        let mut threads = self.processor_threads.lock().unwrap_or_else(PoisonError::into_inner);
        for runner in self.shared.hub.take_callback_runners() {
            threads.push(self.start_thread("otelcore-proc", move || runner.run())?);
        }
        Ok(())
    }

    /// Starts a thread in which no signal handler of the host runs. Where that fails, the collector has failed.
    fn start_thread(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, EmbedError> {
        let signals_blocked = SignalsBlocked::in_this_thread();
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        drop(signals_blocked);
        started.map_err(|e| {
            self.shared.set_failed(e.to_string());
            EmbedError::Io(e)
        })
    }

    /// Waits for the threads of callbacks, a second at most. One whose callback does not return is left: it ends with the
    /// callback.
    #[expect(clippy::disallowed_methods, reason = "it is the host's thread that waits, outside of any world")]
    fn join_processor_threads(&self) {
        // Those of processors of a configuration that was not used have waited until now.
        self.shared.hub.close();
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut threads = self.processor_threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }

    /// Starts it on its own thread, and returns when everything listens.
    ///
    /// # Errors
    /// Why it could not start, for example because a port is in use.
    pub fn start(&self) -> Result<(), EmbedError> {
        self.set_starting()?;
        self.start_processor_threads()?;
        let (collector, shared) = (self.shared.collector(), self.shared.clone());
        let thread = self.start_thread("otelcore", move || run_to_end(&collector, &shared))?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        self.shared.wait(None, |_, state| state > CollectorState::Starting);
        if self.state() == CollectorState::Failed {
            let mut inner = self.shared.inner();
            return Err(match inner.start_error.take() {
                Some(error) => error.into(),
                None => EmbedError::Failed(inner.failure.clone().unwrap_or_default()),
            });
        }
        Ok(())
    }

    /// Starts it in the host's loop: from now on the caller's thread has to call [`DrivenCollector::turn`].
    ///
    /// # Errors
    /// Why it could not start, for example because a port is in use.
    pub fn start_in_host_loop(&self) -> Result<DrivenCollector, EmbedError> {
        self.set_starting()?;
        self.start_processor_threads()?;
        let started =
            RealWorld::new_in_host().map_err(RunError::from).and_then(|world| self.shared.collector().start(world));
        match started {
            Ok(event_loop) => {
                let _ = self.shared.clock.set(LoopClock::new(event_loop.now()));
                self.shared.set_state(CollectorState::Running, |inner| {
                    inner.loop_handle = Some(event_loop.handle());
                    inner.thread = Some(std::thread::current().id());
                });
                Ok(DrivenCollector {
                    event_loop: Some(event_loop),
                    shared: self.shared.clone(),
                    fork_depth: self.fork_depth,
                    not_send: PhantomData,
                })
            }
            Err(e) => {
                self.shared.set_failed(e.to_string());
                Err(e.into())
            }
        }
    }

    fn loop_handle(&self) -> Result<LoopHandle, EmbedError> {
        self.check_process()?;
        let inner = self.shared.inner();
        match (&inner.loop_handle, &inner.failure) {
            (Some(loop_handle), _) => Ok(loop_handle.clone()),
            (None, Some(why)) => Err(EmbedError::Failed(why.clone())),
            (None, None) => Err(EmbedError::State(self.state())),
        }
    }

    /// Whether a wait of this thread for the collector would be a wait for itself.
    fn is_own_thread(&self) -> bool {
        is_in_process_callback() || self.shared.inner().thread == Some(std::thread::current().id())
    }

    /// Begins a flush: components send at once what they collect for larger batches. [`EmbeddedCollector::is_flushed`]
    /// reports when all that was accepted before this call is delivered, or reported as lost.
    ///
    /// # Errors
    /// When it does not run.
    pub fn begin_flush(&self) -> Result<u64, EmbedError> {
        let loop_handle = self.loop_handle()?;
        let mark = self.shared.collector().budget().mark();
        loop_handle.flush();
        Ok(mark)
    }

    /// Whether a flush has ended; `mark` is the result of [`EmbeddedCollector::begin_flush`].
    #[must_use]
    pub fn is_flushed(&self, mark: u64) -> bool {
        self.shared.collector().budget().is_released(mark)
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
        /// How often the flush is repeated: what one component sends may wait in the next one for a larger batch.
        const FLUSH_INTERVAL: Duration = Duration::from_millis(2);
        let deadline = Instant::now().checked_add(timeout);
        let mark = self.begin_flush()?;
        while !self.is_flushed(mark) {
            let now = Instant::now();
            if deadline.is_some_and(|until| now >= until) {
                return Err(EmbedError::Timeout(UndeliveredItems::default()));
            }
            if self.shared.wait(Some(now + FLUSH_INTERVAL), |_, state| state >= CollectorState::Stopped) {
                break;
            }
            // It may have ended since the last check.
            if let Ok(loop_handle) = self.loop_handle() {
                loop_handle.flush();
            }
        }
        Ok(())
    }

    /// Requests that it accepts nothing new, delivers what it holds, and ends within `grace`. Returns at once.
    ///
    /// # Errors
    /// When it does not run.
    pub fn begin_shutdown(&self, grace: Duration) -> Result<(), EmbedError> {
        let loop_handle = self.loop_handle()?;
        let (from, to) = (CollectorState::Running as u8, CollectorState::Stopping as u8);
        let _ = self.shared.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        loop_handle.shutdown(grace);
        Ok(())
    }

    /// Accepts nothing new, delivers what it holds, and ends. It is no error where the collector was never started or has
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
        let (from, to) = (CollectorState::Created as u8, CollectorState::Stopped as u8);
        if self.shared.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.shared.hub.close();
            return Ok(());
        }
        // A start that is under way is waited for; the shutdown follows it.
        self.shared.wait(None, |_, state| state > CollectorState::Starting);
        let result = self.begin_shutdown(grace);
        if matches!(result, Err(EmbedError::Failed(_))) {
            return result;
        }
        // The loop ends in time by itself, but the host may not turn it or may block in a callback: this thread then
        // stops waiting one second later.
        let deadline = Instant::now().checked_add(grace.saturating_add(Duration::from_secs(1)));
        if !self.shared.wait(deadline, |_, state| state >= CollectorState::Stopped) {
            return Err(EmbedError::Timeout(UndeliveredItems::default()));
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The text of a panic has been stored before.
            let _ = thread.join();
        }
        self.join_processor_threads();
        let inner = self.shared.inner();
        match (&inner.failure, &inner.undelivered) {
            (Some(why), _) => Err(EmbedError::Failed(why.clone())),
            (None, Some(left)) if left.total() > 0 => Err(EmbedError::Timeout(left.clone())),
            _ => Ok(()),
        }
    }

    /// Gives up a loop in the host's thread that will not be turned again: its inputs and outputs close, calls that
    /// wait for it return, and what it holds is lost.
    pub fn abandon(&self, why: &str) {
        // In a forked child the state is `Failed` already.
        if matches!(self.state(), CollectorState::Running | CollectorState::Stopping) {
            self.shared.set_failed(why.to_owned());
        }
    }

    /// Its own metrics as a Prometheus page, up to `service::telemetry::metrics::level`, also where no port serves
    /// them.
    #[must_use]
    pub fn metrics(&self) -> Vec<u8> {
        if self.is_inherited() { Vec::new() } else { self.shared.collector().metrics() }
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
        out.extend_from_slice(self.shared.collector().budget().held().to_string().as_bytes());
        out.push(b'}');
        String::from_utf8(out).unwrap_or_default()
    }

    /// The status of each component, from the start on; in a forked child none.
    #[must_use]
    pub fn component_statuses(&self) -> Vec<ComponentStatusEntry> {
        if self.is_inherited() { Vec::new() } else { self.shared.collector().component_statuses() }
    }

    /// [`EmbeddedCollector::component_statuses`] as a JSON array of objects with the keys `kind`, `id`, `instance`,
    /// `status`, `message`, `changed_at` (RFC 3339), `last_error` (`null`, or an object with
    /// `message`, `at` and `count`), and `addresses`, where it listens. Later versions may add keys.
    #[must_use]
    pub fn component_statuses_json(&self) -> String {
        snapshot::component_statuses_json(&self.component_statuses())
    }
}

impl Drop for EmbeddedCollector {
    /// To learn what is lost, call [`EmbeddedCollector::shutdown`] before.
    fn drop(&mut self) {
        if self.is_inherited() {
            // They are leaked: what they own stays as long as the child runs.
            std::mem::forget(self.shared.clone());
            std::mem::forget(self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take());
            let threads = self.processor_threads.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::take(threads));
            return;
        }
        let has_own_thread = self.thread.lock().is_ok_and(|thread| thread.is_some());
        if !self.is_own_thread() && (has_own_thread || self.state() == CollectorState::Created) {
            let _ = self.shutdown(Duration::ZERO);
        }
    }
}

/// Runs a collector on its own thread, from its start to its end.
fn run_to_end(collector: &Collector, shared: &SharedState) {
    let fork_depth = otelcore_reactor::fork_depth();
    let result = catch_panic(|| -> Result<ShutdownReport, RunError> {
        let event_loop = collector.start(RealWorld::new_in_host()?)?;
        let _ = shared.clock.set(LoopClock::new(event_loop.now()));
        shared.set_state(CollectorState::Running, |inner| {
            inner.loop_handle = Some(event_loop.handle());
            inner.thread = Some(std::thread::current().id());
        });
        let report = event_loop.run(|event_loop, _| shared.apply_reload(event_loop))?;
        report.undelivered.report(collector.log());
        Ok(report)
    });
    if fork_depth != otelcore_reactor::fork_depth() {
        // A callback of the host has forked in this thread and has returned in the child: the child's only thread ends
        // here.
        return;
    }
    match result {
        Ok(Ok(report)) => shared.set_stopped(report),
        Ok(Err(e)) => {
            let why = e.to_string();
            shared.inner().start_error = Some(e);
            shared.set_failed(why);
        }
        Err(why) => shared.set_failed(why),
    }
}

/// A collector in the host's loop. It stays in the thread that made it.
pub struct DrivenCollector {
    event_loop: Option<EventLoop>,
    shared: Arc<SharedState>,
    fork_depth: u32,
    not_send: PhantomData<*const ()>,
}

impl std::fmt::Debug for DrivenCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DrivenCollector").field("state", &self.shared.state()).finish_non_exhaustive()
    }
}

impl DrivenCollector {
    fn is_inherited(&self) -> bool {
        self.fork_depth != otelcore_reactor::fork_depth()
    }

    /// The descriptor to wait for: it is readable when a turn has something to do. `None` when the collector has ended.
    #[must_use]
    pub fn descriptor(&self) -> Option<std::os::fd::RawFd> {
        self.event_loop.as_ref().filter(|_| !self.is_inherited()).map(|runner| runner.world().poll_descriptor())
    }

    /// How long the host may wait for the descriptor before the next turn; `None` means without limit.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let event_loop = self.event_loop.as_ref().filter(|_| !self.is_inherited())?;
        event_loop.deadline().map(|at| at.since(event_loop.now()))
    }

    /// Does what there is to do, without waiting. `false` when the collector has ended.
    ///
    /// # Errors
    /// When the system can't wait for sockets any more, or after a fault of this library; the collector has ended then.
    pub fn turn(&mut self) -> Result<bool, EmbedError> {
        if self.is_inherited() {
            return Err(EmbedError::Forked);
        }
        let Some(event_loop) = &mut self.event_loop else { return Ok(false) };
        let result = catch_panic(|| {
            let now = event_loop.now();
            event_loop.turn(now, &mut Vec::new())?;
            self.shared.apply_reload(event_loop);
            Ok::<_, std::io::Error>(event_loop.shutdown_report())
        });
        if self.is_inherited() {
            // A callback of the host has forked and has returned in the child.
            return Err(EmbedError::Forked);
        }
        match result {
            Ok(Ok(None)) => Ok(true),
            Ok(Ok(Some(report))) => {
                self.event_loop = None;
                self.shared.set_stopped(report);
                Ok(false)
            }
            Ok(Err(e)) => {
                self.event_loop = None;
                self.shared.set_failed(e.to_string());
                Err(EmbedError::Io(e))
            }
            Err(why) => {
                // After a panic the loop may be in any state: it is not used again, and not dropped.
                std::mem::forget(self.event_loop.take());
                self.shared.set_failed(why.clone());
                Err(EmbedError::Failed(why))
            }
        }
    }
}

impl Drop for DrivenCollector {
    fn drop(&mut self) {
        if self.is_inherited() {
            std::mem::forget((self.event_loop.take(), self.shared.clone()));
            return;
        }
        if self.event_loop.take().is_some() {
            self.shared.set_failed("the loop was dropped before its end".to_owned());
        }
    }
}

impl From<StartError> for EmbedError {
    fn from(e: StartError) -> Self {
        Self::Start(e)
    }
}
