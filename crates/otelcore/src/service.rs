//! Builds a collector from a plan, and starts it.

mod build;
mod descriptors;
mod extension_order;
#[cfg(feature = "commands")]
mod idle_pipelines;
pub(crate) mod logs;
pub(crate) mod own_metrics;
pub(crate) mod push;
mod reload;
mod views;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use otelcore_config::ComponentId;
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Budget, CollectorView, ComponentKind, ComponentStatusEntry, Extension, Graph, GraphBuilder, LogSink, Logger,
    NoopLogSink, QueueTable, RecentLog, StartError, StatusObserver, StatusTable, Telemetry,
};
use otelcore_reactor::{EventLoop, LoopHandle, Outputs, RealWorld, ShutdownReport};

use crate::plan::Plan;
use logs::{HostLog, LogLineWriter, ReplaceableLog};
pub use own_metrics::MetricSnapshot;
use own_metrics::ProcessMetrics;
use push::log_buffer::LogBuffer;
pub use reload::ReloadError;

/// The time that a shutdown may take unless the user sets another: five seconds less than Kubernetes' default.
pub const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(25);

/// The name and version of this collector.
#[derive(Clone, Debug)]
pub struct BuildInfo {
    /// `service.name`, and the command in messages: the name that it was started under.
    pub command: String,
    /// `service.version`.
    pub version: String,
}

impl Default for BuildInfo {
    fn default() -> Self {
        Self { command: "otelcore".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// A collector that is built and has nothing open yet.
pub struct Collector {
    plan: Plan,
    build_info: BuildInfo,
    /// The default `service.instance.id` of this process.
    instance: String,
    resource: Vec<(String, String)>,
    log: Logger,
    telemetry: Telemetry,
    process_metrics: ProcessMetrics,
    budget: Arc<Budget>,
    statuses: Arc<StatusTable>,
    /// What extensions read of this collector.
    view: CollectorView,
    started: Arc<OnceLock<Instant>>,
    /// The log that components write to, where a configuration decides its form.
    replaceable_log: Option<Arc<ReplaceableLog>>,
    /// What replaces the log when this collector takes over from another one.
    next_log: Option<Arc<dyn LogSink>>,
    /// A part of the service that the caller adds; it is kept through changes of the configuration.
    internal_parts: Vec<InternalPart>,
    /// The records of each processor of the log, which wait for being pushed.
    log_buffers: Vec<Arc<LogBuffer>>,
    /// In a host program: the log whose outputs are opened at the start.
    host_log: Option<Arc<HostLog>>,
    outputs: Outputs,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// Why a collector could not start, or ended without a shutdown.
#[derive(Debug)]
pub enum RunError {
    /// A component could not be made or started.
    Start(StartError),
    /// The system refused what the loop itself needs.
    System(io::Error),
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start(e) => e.fmt(f),
            Self::System(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

impl From<StartError> for RunError {
    fn from(e: StartError) -> Self {
        Self::Start(e)
    }
}

impl From<io::Error> for RunError {
    fn from(e: io::Error) -> Self {
        Self::System(e)
    }
}

/// Makes a part of the service.
pub(crate) type InternalPart = Arc<dyn Fn() -> Box<dyn Extension> + Send + Sync>;

impl Collector {
    /// A collector that logs where its configuration says.
    ///
    /// # Errors
    /// When a log file can't be opened.
    pub fn new(plan: Plan, build_info: BuildInfo) -> Result<Self, RunError> {
        let (instance, resource) = resource(&plan, &build_info, None);
        let settings = plan.telemetry.logs.clone();
        let outputs = Outputs::new();
        let opened = open_outputs(&settings.output_paths, &outputs)?;
        let buffers = log_buffers(&plan);
        let lines = LogLineWriter::new(settings, &resource, opened, otelcore_reactor::unix_time_nanos);
        let lines = lines.with_buffers(&buffers);
        let log = ReplaceableLog::new(Arc::new(lines));
        let mut collector = Self::assemble(plan, build_info, (instance, resource), log.clone(), outputs);
        (collector.replaceable_log, collector.log_buffers) = (Some(log), buffers);
        Ok(collector)
    }

    fn assemble(
        plan: Plan,
        build_info: BuildInfo,
        (instance, resource): (String, Vec<(String, String)>),
        sink: Arc<dyn LogSink>,
        outputs: Outputs,
    ) -> Self {
        let recent_log = RecentLog::new(sink, otelcore_reactor::unix_time_nanos);
        let log = Logger::new(recent_log.clone());
        let telemetry = Telemetry::new(plan.telemetry.metrics.level.0);
        let process_metrics = ProcessMetrics::new(&telemetry, outputs.clone());
        let statuses = Arc::new(StatusTable::new(&telemetry));
        let (budget, started): (Arc<Budget>, _) = Default::default();
        let description = plan.describe(&build_info.command, &build_info.version);
        let view = CollectorView::new(description, telemetry.clone(), budget.clone(), statuses.clone(), recent_log);
        Self {
            plan,
            build_info,
            instance,
            resource,
            log,
            telemetry,
            process_metrics,
            budget,
            statuses,
            view,
            started,
            outputs,
            replaceable_log: None,
            next_log: None,
            internal_parts: Vec::new(),
            log_buffers: Vec::new(),
            host_log: None,
        }
    }

    /// A collector whose log records go to `sink`.
    #[must_use]
    pub fn with_log(plan: Plan, build_info: BuildInfo, sink: Arc<dyn LogSink>) -> Self {
        let (instance, resource) = resource(&plan, &build_info, None);
        let buffers = log_buffers(&plan);
        let sink = if buffers.is_empty() {
            sink
        } else {
            let config = plan.telemetry.logs.clone();
            let lines = LogLineWriter::new(config, &resource, Vec::new(), otelcore_reactor::unix_time_nanos);
            Arc::new(HostLog::new(sink, lines.with_buffers(&buffers)))
        };
        let mut collector = Self::assemble(plan, build_info, (instance, resource), sink, Outputs::new());
        collector.log_buffers = buffers;
        collector
    }

    /// A collector in a host program: log records go to `sink` as far as `service::telemetry::logs` admits them, and as
    /// lines to its `output_paths`, from the start on, where it names any.
    #[must_use]
    pub fn new_in_host(plan: Plan, build_info: BuildInfo, sink: Arc<dyn LogSink>) -> Self {
        let (instance, resource) = resource(&plan, &build_info, None);
        let lines =
            LogLineWriter::new(plan.telemetry.logs.clone(), &resource, Vec::new(), otelcore_reactor::unix_time_nanos);
        let buffers = log_buffers(&plan);
        let log = Arc::new(HostLog::new(sink, lines.with_buffers(&buffers)));
        let replaceable = ReplaceableLog::new(log.clone());
        let sink = replaceable.clone();
        let mut collector = Self::assemble(plan, build_info, (instance, resource), sink, Outputs::new());
        (collector.replaceable_log, collector.host_log) = (Some(replaceable), Some(log));
        collector.log_buffers = buffers;
        collector
    }

    /// Adds a part to the service, which runs in the graph as long as the process.
    #[cfg(feature = "commands")]
    pub(crate) fn add_internal_part(&mut self, part: InternalPart) {
        self.internal_parts.push(part);
    }

    /// Has pipelines that nothing reaches named in the log.
    #[cfg(feature = "commands")]
    pub(crate) fn report_idle_pipelines(&mut self) {
        let (view, log) = (self.view.clone(), self.log.clone());
        let part =
            move || Box::new(idle_pipelines::IdlePipelines::new(view.clone(), log.clone())) as Box<dyn Extension>;
        self.add_internal_part(Arc::new(part));
    }

    /// The signals that pipelines take from a receiver.
    #[must_use]
    pub fn receiver_signals(&self, id: &ComponentId) -> Vec<Signal> {
        self.plan.signals_of(ComponentKind::Receiver, id)
    }

    /// The counter of the bytes that it holds.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// The outputs that it writes its log to, and components their text. See [`Outputs::finish`].
    #[must_use]
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// Its own metrics as a Prometheus page, up to the configured level, also where no port serves them. Any thread may
    /// call this.
    #[must_use]
    pub fn metrics(&self) -> Vec<u8> {
        let uptime = self.started.get().map(Instant::elapsed).unwrap_or_default();
        self.process_metrics.update(&otelcore_reactor::process_sample(uptime), &self.budget);
        let metrics = views::apply_views(&self.plan.telemetry.metrics.views, self.telemetry.collect());
        own_metrics::render_page(&metrics, &self.resource, false)
    }

    /// The same as values, and the resident memory of the process in bytes. Any thread may call this.
    pub(crate) fn metric_values(&self) -> (Vec<MetricSnapshot>, u64) {
        let uptime = self.started.get().map(Instant::elapsed).unwrap_or_default();
        let sample = otelcore_reactor::process_sample(uptime);
        self.process_metrics.update(&sample, &self.budget);
        let metrics = views::apply_views(&self.plan.telemetry.metrics.views, self.telemetry.collect());
        (metrics.into_iter().map(MetricSnapshot::from).collect(), sample.resident)
    }

    /// The queues of its exporters.
    pub(crate) fn queues(&self) -> &QueueTable {
        self.telemetry.queues()
    }

    /// Has `observer` called for each change of a status.
    pub(crate) fn set_status_observer(&self, observer: StatusObserver) {
        self.statuses.set_observer(Some(observer));
    }

    /// The status of each component since the start. Any thread may call this.
    #[must_use]
    pub fn component_statuses(&self) -> Vec<ComponentStatusEntry> {
        self.statuses.entries()
    }

    /// Its logger.
    #[must_use]
    pub fn log(&self) -> &Logger {
        &self.log
    }

    /// Builds the graph of components. Opens nothing.
    ///
    /// # Errors
    /// Settings of a component that can't be applied.
    pub fn build_graph(&self) -> Result<Graph, StartError> {
        let graph = GraphBuilder::new(self.budget.clone(), self.log.clone())
            .with_statuses(&self.statuses)
            .with_telemetry(&self.telemetry)
            .with_taps(self.view.taps());
        build::build(self, graph)
    }

    /// Builds the graph that the running graph of an earlier collector is changed into ([`EventLoop::change`]): it keeps the
    /// components that have not changed. Opens nothing.
    ///
    /// # Errors
    /// As [`Collector::build_graph`].
    pub fn build_next_graph(&self, running: &Graph) -> Result<Graph, StartError> {
        build::build(self, GraphBuilder::following(running))
    }

    /// The same graph, separate from this collector and without a log, for a trial start.
    ///
    /// # Errors
    /// As [`Collector::build_graph`].
    pub fn build_trial_graph(&self) -> Result<Graph, StartError> {
        Self::with_log(self.plan.clone(), self.build_info.clone(), Arc::new(NoopLogSink)).build_graph()
    }

    /// Builds and starts everything in `world`. The loop makes no turn yet.
    ///
    /// # Errors
    /// The first component that can't start; those that had started are closed.
    #[expect(clippy::disallowed_methods, reason = "the loop's start, from which any thread may count")]
    pub fn start(&self, mut world: RealWorld) -> Result<EventLoop, RunError> {
        let _ = self.started.set(Instant::now());
        if let Some(log) = self.host_log.as_ref().filter(|log| log.has_outputs()) {
            log.set_outputs(open_outputs(&self.plan.telemetry.logs.output_paths, &self.outputs)?);
        }
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let fields = [
            ("Version", otelcore_pipeline::LogField::Str(&self.build_info.version)),
            ("NumCPU", otelcore_pipeline::LogField::Uint(cpus as u64)),
        ];
        self.log.info(&format!("Starting {}...", self.build_info.command), &fields);
        world.set_outputs(&self.outputs);
        let mut graph = self.build_graph()?;
        graph.start(&mut world)?;
        self.log.info("Everything is ready. Begin running and processing data.", &[]);
        Ok(EventLoop::new(world, graph))
    }

    /// Starts, and runs until a shutdown is requested through the handle that `on_ready` gets.
    ///
    /// # Errors
    /// A failed start, or that the system can't wait for sockets any more.
    pub fn run(&self, on_ready: impl FnOnce(LoopHandle)) -> Result<ShutdownReport, RunError> {
        let event_loop = self.start(RealWorld::new()?)?;
        on_ready(event_loop.handle());
        Ok(event_loop.run(|_, _| {})?)
    }
}

fn open_outputs(paths: &[String], outputs: &Outputs) -> Result<Vec<Box<dyn io::Write + Send>>, StartError> {
    let mut opened: Vec<Box<dyn io::Write + Send>> = Vec::new();
    for path in paths {
        let output = outputs.open(path);
        let output =
            output.map_err(|e| StartError::from(e).in_context(format_args!("failed to create logger: open {path}")))?;
        opened.push(Box::new(output));
    }
    Ok(opened)
}

/// A buffer for each processor of the log.
fn log_buffers(plan: &Plan) -> Vec<Arc<LogBuffer>> {
    plan.telemetry.logs.processors.iter().map(push::new_log_buffer).collect()
}

/// The collector's own resource: three default attributes, and what the user configures. `instance` is the default
/// `service.instance.id`, a new one where there is none yet.
fn resource(plan: &Plan, build_info: &BuildInfo, instance: Option<String>) -> (String, Vec<(String, String)>) {
    let instance = instance.unwrap_or_else(otelcore_reactor::uuid);
    let mut all = BTreeMap::from([
        ("service.instance.id".to_owned(), instance.clone()),
        ("service.name".to_owned(), build_info.command.clone()),
        ("service.version".to_owned(), build_info.version.clone()),
    ]);
    for (name, value) in &plan.telemetry.resource.0 {
        match value {
            Some(value) => all.insert(name.clone(), value.clone()),
            None => all.remove(name),
        };
    }
    (instance, all.into_iter().collect())
}
