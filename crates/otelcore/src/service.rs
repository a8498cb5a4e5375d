//! Builds a collector from a plan, and starts it.

mod extension_order;
pub(crate) mod logs;
pub(crate) mod own_metrics;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use otelcore_config::{ComponentId, PipelineId};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Budget, BuildContext, Capabilities, Component, ComponentConfig, ComponentKind, ComponentStatusEntry,
    ConnectorParts, Graph, GraphBuilder, LogScope, LogSink, Logger, NoopLogSink, OfferedCapabilities, PipelineIndex,
    QueueConfig, StartError, StatusTable, Storage, Telemetry,
};
use otelcore_reactor::{EventLoop, LoopHandle, Outputs, RealWorld, ShutdownReport};

use crate::plan::Plan;
use logs::{HostLog, LogLineWriter};
use own_metrics::{OwnMetricsPage, ProcessMetrics};

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
    resource: Vec<(String, String)>,
    log: Logger,
    telemetry: Telemetry,
    process_metrics: ProcessMetrics,
    budget: Arc<Budget>,
    statuses: Arc<StatusTable>,
    started: OnceLock<Instant>,
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

impl Collector {
    /// A collector that logs where its configuration says.
    ///
    /// # Errors
    /// When a log file can't be opened.
    pub fn new(plan: Plan, build_info: BuildInfo) -> Result<Self, RunError> {
        let resource = resource(&plan, &build_info);
        let settings = plan.telemetry.logs.clone();
        let outputs = Outputs::new();
        let opened = open_outputs(&settings.output_paths, &outputs)?;
        let lines = LogLineWriter::new(settings, &resource, opened, otelcore_reactor::unix_time_nanos);
        Ok(Self::assemble(plan, build_info, resource, Logger::new(Arc::new(lines)), outputs))
    }

    fn assemble(
        plan: Plan,
        build_info: BuildInfo,
        resource: Vec<(String, String)>,
        log: Logger,
        outputs: Outputs,
    ) -> Self {
        let telemetry = Telemetry::new(plan.telemetry.metrics.level.0);
        let process_metrics = ProcessMetrics::new(&telemetry, outputs.clone());
        let statuses = Arc::new(StatusTable::new(&telemetry));
        let (budget, started) = (Arc::default(), OnceLock::new());
        Self {
            plan,
            build_info,
            resource,
            log,
            telemetry,
            process_metrics,
            budget,
            statuses,
            started,
            outputs,
            host_log: None,
        }
    }

    /// A collector whose log records go to `sink`.
    #[must_use]
    pub fn with_log(plan: Plan, build_info: BuildInfo, sink: Arc<dyn LogSink>) -> Self {
        let resource = resource(&plan, &build_info);
        Self::assemble(plan, build_info, resource, Logger::new(sink), Outputs::new())
    }

    /// A collector in a host program: log records go to `sink` as far as `service::telemetry::logs` admits them, and as
    /// lines to its `output_paths`, from the start on, where it names any.
    #[must_use]
    pub fn new_in_host(plan: Plan, build_info: BuildInfo, sink: Arc<dyn LogSink>) -> Self {
        let resource = resource(&plan, &build_info);
        let lines =
            LogLineWriter::new(plan.telemetry.logs.clone(), &resource, Vec::new(), otelcore_reactor::unix_time_nanos);
        let log = Arc::new(HostLog::new(sink, lines));
        let mut collector = Self::assemble(plan, build_info, resource, Logger::new(log.clone()), Outputs::new());
        collector.host_log = Some(log);
        collector
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
        own_metrics::render_page(&self.telemetry.collect(), &self.resource, false)
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
        let plan = &self.plan;
        let (telemetry, budget) = (&self.telemetry, &self.budget);
        let mut graph = GraphBuilder::new(budget.clone(), self.log.clone()).with_statuses(&self.statuses);
        for settings in &plan.telemetry.metrics.pages {
            let page = OwnMetricsPage::new(
                settings.clone(),
                telemetry.clone(),
                self.process_metrics.clone(),
                self.resource.clone(),
                budget.clone(),
                self.log.clone(),
            );
            graph.add_internal(Box::new(page), self.log.clone());
        }
        let mut builder =
            ComponentBuilder { plan, telemetry, budget, log: &self.log, capabilities: Capabilities::default() };
        for id in extension_order::extension_order(&plan.started_extensions, &plan.extensions)? {
            if let Some(settings) = plan.extensions.get(id) {
                let (component, log) = builder.build(ComponentKind::Extension, id, settings, "")?;
                if let Component::Extension(extension) = component {
                    let mut offered = OfferedCapabilities::default();
                    extension.offer_capabilities(&mut offered);
                    builder.capabilities.add(id, offered);
                    graph.add_extension(extension, log);
                }
            }
        }
        let (mut exporters, mut stored_exporters) = (BTreeMap::new(), BTreeSet::new());
        for (id, settings) in &plan.exporters {
            let signals = plan.signals_of(ComponentKind::Exporter, id);
            if signals.is_empty() {
                continue;
            }
            let (component, log) = builder.build(ComponentKind::Exporter, id, settings, "")?;
            if let Component::Exporter(exporter, queue_config) = component {
                let index = graph.add_exporter(id.clone(), exporter, &queue_config, &signals, telemetry, &log);
                if let Some(storage_id) = queue_config.queue.get().and_then(QueueConfig::storage_id) {
                    let storage = builder.capabilities.get::<dyn Storage>(&storage_id);
                    let storage = storage.map_err(|e| {
                        e.in_context(format_args!("cannot start pipelines: failed to start \"{id}\" exporter"))
                    })?;
                    graph.add_storage(index, &*storage, &queue_config, telemetry, &log);
                    stored_exporters.insert(id);
                }
                exporters.insert(id, index);
            }
        }
        let mut receivers = BTreeMap::new();
        for (id, settings) in &plan.receivers {
            if plan.signals_of(ComponentKind::Receiver, id).is_empty() {
                continue;
            }
            let (component, _) = builder.build(ComponentKind::Receiver, id, settings, "")?;
            if let Component::Receiver(receiver) = component {
                receivers.insert(id, graph.add_receiver(id.clone(), receiver));
            }
        }
        let mut pipelines = Vec::new();
        let leads_to_storage = pipelines_to_storage(plan, &stored_exporters);
        for (pipeline, leads_to_storage) in plan.pipelines.iter().zip(leads_to_storage) {
            let mut processors = Vec::new();
            for id in &pipeline.processors {
                let Some(settings) = plan.processors.get(id) else { continue };
                let component = builder.build_processor(id, settings, &pipeline.id, leads_to_storage)?;
                if let Component::Processor(processor) = component {
                    processors.push((id.clone(), processor));
                }
            }
            let sources: Vec<_> = pipeline.receivers.iter().filter_map(|id| receivers.get(id).copied()).collect();
            let sinks: Vec<_> = pipeline.exporters.iter().filter_map(|id| exporters.get(id).copied()).collect();
            pipelines.push(graph.add_pipeline(pipeline.id.clone(), pipeline.signal, &sources, processors, &sinks));
        }
        graph.add_connectors(builder.build_connectors(&pipelines)?)?;
        Ok(graph.build())
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

/// Which pipelines of a plan lead to one of these exporters, directly or through connectors. Linear in the plan.
fn pipelines_to_storage(plan: &Plan, stored: &BTreeSet<&ComponentId>) -> Vec<bool> {
    let has_stored = |exporters: &[ComponentId]| exporters.iter().any(|id| stored.contains(id));
    let mut leads: Vec<bool> = plan.pipelines.iter().map(|pipeline| has_stored(&pipeline.exporters)).collect();
    let mut feeding: Vec<Vec<usize>> = vec![Vec::new(); plan.pipelines.len()];
    for (index, instance) in plan.connector_instances.iter().enumerate() {
        instance.targets.iter().for_each(|target| feeding[*target].push(index));
    }
    let mut is_followed = vec![false; plan.connector_instances.len()];
    let mut found: Vec<usize> = (0..leads.len()).filter(|pipeline| leads[*pipeline]).collect();
    while let Some(pipeline) = found.pop() {
        for connector in std::mem::take(&mut feeding[pipeline]) {
            if std::mem::replace(&mut is_followed[connector], true) {
                continue;
            }
            for source in &plan.connector_instances[connector].sources {
                if !std::mem::replace(&mut leads[*source], true) {
                    found.push(*source);
                }
            }
        }
    }
    leads
}

/// What is around an instance.
#[derive(Clone, Copy, Default)]
struct Surroundings<'a> {
    /// The pipeline of a processor.
    pipeline: &'a str,
    /// The pipelines that a connector feeds.
    output_pipelines: &'a [PipelineId],
    /// The pipeline of a processor leads to a queue on disk.
    leads_to_storage: bool,
}

/// Makes instances of components.
struct ComponentBuilder<'a> {
    plan: &'a Plan,
    telemetry: &'a Telemetry,
    budget: &'a Arc<Budget>,
    log: &'a Logger,
    capabilities: Capabilities,
}

impl ComponentBuilder<'_> {
    fn build(
        &self,
        kind: ComponentKind,
        id: &ComponentId,
        settings: &Arc<dyn ComponentConfig>,
        pipeline: &str,
    ) -> Result<(Component, Logger), StartError> {
        let signals = self.plan.signals_of(kind, id);
        self.build_for(kind, id, settings, &signals, Surroundings { pipeline, ..Surroundings::default() })
    }

    /// An instance of a processor for one pipeline.
    fn build_processor(
        &self,
        id: &ComponentId,
        settings: &Arc<dyn ComponentConfig>,
        pipeline: &PipelineId,
        leads_to_storage: bool,
    ) -> Result<Component, StartError> {
        let kind = ComponentKind::Processor;
        let signals = self.plan.signals_of(kind, id);
        let pipeline = pipeline.to_string();
        let surroundings = Surroundings { pipeline: &pipeline, leads_to_storage, ..Surroundings::default() };
        self.build_for(kind, id, settings, &signals, surroundings).map(|(component, _)| component)
    }

    /// One instance of each connector for each pair of signals that its pipelines have.
    fn build_connectors(&self, pipelines: &[PipelineIndex]) -> Result<Vec<ConnectorParts>, StartError> {
        let indexes = |all: &[usize]| all.iter().filter_map(|i| pipelines.get(*i).copied()).collect();
        let mut built = Vec::new();
        for instance in &self.plan.connector_instances {
            let id = &instance.id;
            let Some(settings) = self.plan.connectors.get(id) else { continue };
            let targets = instance.targets.iter().filter_map(|i| self.plan.pipelines.get(*i));
            let targets: Vec<PipelineId> = targets.map(|pipeline| pipeline.id.clone()).collect();
            let surroundings = Surroundings { output_pipelines: &targets, ..Surroundings::default() };
            let (component, _) =
                self.build_for(ComponentKind::Connector, id, settings, &[instance.signals.0], surroundings)?;
            if let Component::Connector(connector) = component {
                built.push(ConnectorParts {
                    id: id.clone(),
                    connector,
                    signals: instance.signals,
                    sources: indexes(&instance.sources),
                    targets: indexes(&instance.targets),
                });
            }
        }
        Ok(built)
    }

    fn build_for(
        &self,
        kind: ComponentKind,
        id: &ComponentId,
        settings: &Arc<dyn ComponentConfig>,
        signals: &[Signal],
        surroundings: Surroundings<'_>,
    ) -> Result<(Component, Logger), StartError> {
        let Surroundings { pipeline, output_pipelines, leads_to_storage } = surroundings;
        let signal = match signals {
            [only] if matches!(kind, ComponentKind::Exporter | ComponentKind::Connector) => only.name(),
            _ => "",
        };
        let scope = LogScope { kind: kind.name(), id: id.to_string(), signal, pipeline: pipeline.to_owned() };
        let log = self.log.with_scope(scope);
        let context = BuildContext {
            id,
            signals,
            output_pipelines,
            telemetry: self.telemetry,
            log: log.clone(),
            budget: self.budget,
            capabilities: &self.capabilities,
            leads_to_storage,
        };
        let made = settings.create(&context);
        made.map(|component| (component, log)).map_err(|e| match kind {
            ComponentKind::Extension => {
                e.in_context(format_args!("failed to build extensions: failed to create extension \"{id}\""))
            }
            _ => {
                let kind = kind.name();
                e.in_context(format_args!("failed to build pipelines: failed to create \"{id}\" {kind}"))
            }
        })
    }
}

/// The collector's own resource: three default attributes, and what the user configures.
fn resource(plan: &Plan, build_info: &BuildInfo) -> Vec<(String, String)> {
    let mut all = BTreeMap::from([
        ("service.instance.id".to_owned(), otelcore_reactor::uuid()),
        ("service.name".to_owned(), build_info.command.clone()),
        ("service.version".to_owned(), build_info.version.clone()),
    ]);
    for (name, value) in &plan.telemetry.resource.0 {
        match value {
            Some(value) => all.insert(name.clone(), value.clone()),
            None => all.remove(name),
        };
    }
    all.into_iter().collect()
}
