//! Builds a graph: components, and which passes data to which. Starts nothing.
//!
//! A graph that follows a running one ([`GraphBuilder::following`]) has places for the instances that it keeps of it, and new
//! instances for the others; [`Graph::change`] moves the kept ones into their places.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_config::{ComponentId, PipelineId};
use otelcore_pdata::Signal;

use super::data_path::{ConnectorSlot, DataPath, ExporterSlot, OrderedPart, Pipeline, ProcessorSlot, StoredQueueSlot};
use super::flows::{ConnectorFlow, ExporterFlow};
use super::slots::{Absent, ComponentIndex, ComponentTable, ExtensionSlot, KnownInstance, PartState, ReceiverSlot};
use super::{ComponentIdentity, GRAPH_OWNER, Graph, MAX_ATTEMPTS_PER_TURN, Phase};
use crate::exporter_queue::ExporterQueue;
use crate::{
    Budget, ComponentKind, Connector, Exporter, ExporterQueueConfig, Extension, ItemFlow, Logger, MetricsLevel,
    OfferedCapabilities, Processor, Receiver, StartError, StatusTable, Storage, StoredQueueContext, Taps, Telemetry,
    UsedMetadata,
};

/// A receiver in a [`GraphBuilder`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiverIndex(usize);

/// An exporter in a [`GraphBuilder`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExporterIndex(usize);

/// A pipeline in a [`GraphBuilder`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PipelineIndex(usize);

/// What an instance was made from, and which extensions it asked for.
#[derive(Clone, Debug)]
pub struct InstanceIdentity {
    /// What it was made from.
    pub identity: ComponentIdentity,
    /// The extensions whose capabilities it has.
    pub uses: BTreeSet<ComponentId>,
}

/// An instance of a processor for a [`GraphBuilder`].
pub struct ProcessorParts {
    /// Its id.
    pub id: ComponentId,
    /// The instance. `None`: the running one of the same identity, which [`GraphBuilder::can_keep`] has found.
    pub processor: Option<Box<dyn Processor>>,
    /// `None` where no change of the graph shall keep it.
    pub identity: Option<InstanceIdentity>,
}

impl std::fmt::Debug for ProcessorParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessorParts").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An instance of a connector for a [`GraphBuilder`]: one for each id and pair of signals, as in the Go collector.
pub struct ConnectorParts {
    /// Its id.
    pub id: ComponentId,
    /// The instance. `None`: the running one of the same identity, which [`GraphBuilder::can_keep`] has found.
    pub connector: Option<Box<dyn Connector>>,
    /// `None` where no change of the graph shall keep it.
    pub identity: Option<InstanceIdentity>,
    /// The signal that it accepts, and the one that it makes of it.
    pub signals: (Signal, Signal),
    /// The pipelines that end in it, all of the first signal.
    pub sources: Vec<PipelineIndex>,
    /// The pipelines that it feeds, all of the second signal, in the order of [`crate::BuildContext::output_pipelines`].
    pub targets: Vec<PipelineIndex>,
}

impl std::fmt::Debug for ConnectorParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectorParts").field("id", &self.id).field("signals", &self.signals).finish_non_exhaustive()
    }
}

/// Builds a graph.
pub struct GraphBuilder<'p> {
    graph: Graph,
    /// The running graph that it follows.
    previous: Option<&'p Graph>,
    kept_extensions: BTreeSet<ComponentId>,
    /// The owner number of the component that was added last.
    last_owner: u32,
}

impl std::fmt::Debug for GraphBuilder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphBuilder").finish_non_exhaustive()
    }
}

impl<'p> GraphBuilder<'p> {
    /// An empty graph. Receivers charge bodies to `budget`.
    #[must_use]
    pub fn new(budget: Arc<Budget>, log: Logger) -> Self {
        let data_path = DataPath::new(budget);
        let graph = Graph {
            receivers: Vec::new(),
            extensions: Vec::new(),
            data_path,
            components: ComponentTable::new(vec![(GRAPH_OWNER, ComponentIndex::Graph)]),
            next_owner: GRAPH_OWNER + 1,
            identities: std::collections::BTreeMap::new(),
            generation: 0,
            follows: None,
            has_retired: false,
            timer: None,
            phase: Phase::Running,
            statuses: Arc::default(),
            telemetry: Telemetry::new(MetricsLevel::None),
            is_ready: false,
            log,
        };
        Self { graph, previous: None, kept_extensions: BTreeSet::new(), last_owner: GRAPH_OWNER }
    }

    /// An empty graph that a running one is to be changed into ([`Graph::change`]). Its instances may be kept.
    #[must_use]
    pub fn following(previous: &'p Graph) -> Self {
        let mut builder = Self::new(previous.data_path.budget.clone(), previous.log.clone());
        builder.graph.data_path.settlements = Rc::clone(&previous.data_path.settlements);
        builder.graph.next_owner = previous.next_owner;
        builder.graph.follows = Some(previous.generation);
        builder.graph.telemetry = previous.telemetry.clone();
        builder.previous = Some(previous);
        builder
    }

    /// The running instance that was made from the same, if the extensions that it uses are kept.
    fn kept(&self, identity: &ComponentIdentity) -> Option<&'p KnownInstance> {
        let known = self.previous?.identities.get(identity)?;
        // Two instances can't have one place, whatever the configuration says.
        let is_free = !self.graph.identities.contains_key(identity);
        (is_free && known.uses.is_subset(&self.kept_extensions)).then_some(known)
    }

    /// Whether an instance that was made from the same runs, and can be kept. Extensions are to be added before.
    #[must_use]
    pub fn can_keep(&self, identity: &ComponentIdentity) -> bool {
        self.kept(identity).is_some()
    }

    /// Gives a running instance a place in this graph.
    fn keep(&mut self, identity: &ComponentIdentity) -> Option<u32> {
        let known = self.kept(identity)?.clone();
        let owner = known.owner;
        self.graph.identities.insert(identity.clone(), known);
        Some(owner)
    }

    /// Keeps an extension or a part of the service itself. Returns what it offers; `None` if there is none.
    pub fn keep_extension(&mut self, identity: &ComponentIdentity) -> Option<Rc<OfferedCapabilities>> {
        let owner = self.keep(identity)?;
        let slot = self.previous?.extensions.iter().find(|slot| slot.owner == owner)?;
        let (offered, log, is_internal) = (Rc::clone(&slot.offered), slot.log.clone(), slot.is_internal);
        let (extension, state) = (Box::new(Absent), PartState::Kept);
        let kept = ExtensionSlot { owner, extension, offered: Rc::clone(&offered), log, is_internal, state };
        self.graph.extensions.push(kept);
        if !is_internal {
            self.kept_extensions.insert(identity.id.clone());
        }
        Some(offered)
    }

    /// Keeps an exporter with its queues; `None` if there is none.
    pub fn keep_exporter(&mut self, identity: &ComponentIdentity) -> Option<ExporterIndex> {
        let owner = self.keep(identity)?;
        self.graph.data_path.exporters.push(ExporterSlot {
            id: identity.id.clone(),
            owner,
            exporter: Box::new(Absent),
            queues: [None, None, None],
            attempts_left: 0,
            has_failed: [false; 3],
            stored: [None, None, None],
            flows: [None, None, None],
            state: PartState::Kept,
        });
        Some(ExporterIndex(self.graph.data_path.exporters.len() - 1))
    }

    /// Whether an exporter has queues on disk.
    #[must_use]
    pub fn has_storage(&self, exporter: ExporterIndex) -> bool {
        let Some(slot) = self.graph.data_path.exporters.get(exporter.0) else { return false };
        let kept = self.previous.filter(|_| slot.state == PartState::Kept);
        let kept = kept.and_then(|previous| previous.data_path.exporters.iter().find(|old| old.owner == slot.owner));
        kept.unwrap_or(slot).stored.iter().any(Option::is_some)
    }

    /// Keeps a receiver; `None` if there is none.
    pub fn keep_receiver(&mut self, identity: &ComponentIdentity) -> Option<ReceiverIndex> {
        let owner = self.keep(identity)?;
        let (receiver, state) = (Box::new(Absent), PartState::Kept);
        self.graph.receivers.push(ReceiverSlot { id: identity.id.clone(), owner, receiver, state });
        Some(ReceiverIndex(self.graph.receivers.len() - 1))
    }

    /// Says what the extension, exporter or receiver that was added last was made from, so that a change of the graph may
    /// keep it.
    pub fn set_identity(&mut self, identity: InstanceIdentity) {
        self.identify(self.last_owner, identity);
    }

    fn identify(&mut self, owner: u32, InstanceIdentity { identity, uses }: InstanceIdentity) {
        self.graph.identities.insert(identity, KnownInstance { owner, uses });
    }

    /// Counts the items of components in this registry. Called before components are added.
    #[must_use]
    pub fn with_telemetry(mut self, telemetry: &Telemetry) -> Self {
        self.graph.telemetry = telemetry.clone();
        self.graph.data_path.receiver_traces.tracer = telemetry.tracer().clone();
        self
    }

    /// Offers what passes its edges to these taps.
    #[must_use]
    pub fn with_taps(mut self, taps: &Taps) -> Self {
        self.graph.data_path.taps = taps.clone();
        self
    }

    /// Keeps the statuses of components in this table. Called before components are added; removes what the table has.
    #[must_use]
    pub fn with_statuses(mut self, statuses: &Arc<StatusTable>) -> Self {
        statuses.clear();
        self.graph.statuses = statuses.clone();
        self
    }

    fn new_owner(&mut self, component: ComponentIndex) -> u32 {
        let owner = self.graph.next_owner;
        // Four billion components are not reached by changes of a configuration either.
        self.graph.next_owner = owner.saturating_add(1);
        self.graph.components.push(owner, component);
        owner
    }

    /// Adds an extension; returns what it offers. They start in this order, before everything else.
    pub fn add_extension(&mut self, extension: Box<dyn Extension>, log: Logger) -> Rc<OfferedCapabilities> {
        let owner = self.new_owner(ComponentIndex::Extension(self.graph.extensions.len()));
        self.graph.statuses.add(owner, ComponentKind::Extension.name(), &log.scope().id, String::new());
        self.push_extension(owner, extension, log, false)
    }

    /// Adds a part of the service itself, which is driven like an extension and starts before all extensions.
    pub fn add_internal(&mut self, extension: Box<dyn Extension>, log: Logger) {
        let owner = self.new_owner(ComponentIndex::Extension(self.graph.extensions.len()));
        self.push_extension(owner, extension, log, true);
    }

    fn push_extension(
        &mut self,
        owner: u32,
        extension: Box<dyn Extension>,
        log: Logger,
        is_internal: bool,
    ) -> Rc<OfferedCapabilities> {
        let mut offered = OfferedCapabilities::default();
        extension.offer_capabilities(&mut offered);
        let offered = Rc::new(offered);
        let slot =
            ExtensionSlot { owner, extension, offered: Rc::clone(&offered), log, is_internal, state: PartState::Live };
        self.graph.extensions.push(slot);
        self.last_owner = owner;
        offered
    }

    /// Adds an exporter that serves `signals`, with a queue in memory of its own for each.
    pub fn add_exporter(
        &mut self,
        id: ComponentId,
        exporter: Box<dyn Exporter>,
        config: &ExporterQueueConfig,
        signals: &[Signal],
        telemetry: &Telemetry,
        log: &Logger,
    ) -> ExporterIndex {
        let index = self.graph.data_path.exporters.len();
        let owner = self.new_owner(ComponentIndex::Exporter(index));
        self.graph.statuses.add(owner, "exporter", &id.to_string(), String::new());
        let sendings = Signal::ALL.map(|signal| {
            let (name, destination) = (id.to_string(), exporter.destination_labels(signal));
            signals.contains(&signal).then(|| {
                ExporterQueue::with_destination(config.clone(), signal, &name, &destination, telemetry, log.clone())
            })
        });
        let flow = |signal| signals.contains(&signal).then(|| ExporterFlow::new(telemetry, &id.to_string(), signal));
        let flows = Signal::ALL.map(flow);
        self.graph.data_path.exporters.push(ExporterSlot {
            id,
            owner,
            exporter,
            queues: sendings,
            attempts_left: MAX_ATTEMPTS_PER_TURN,
            has_failed: [false; 3],
            stored: [None, None, None],
            flows,
            state: PartState::Live,
        });
        self.last_owner = owner;
        ExporterIndex(index)
    }

    /// Puts queues on disk in front of those of an exporter that was added with the same configuration. Without
    /// `sending_queue` it has none.
    pub fn add_storage(
        &mut self,
        exporter: ExporterIndex,
        storage: &dyn Storage,
        config: &ExporterQueueConfig,
        telemetry: &Telemetry,
        log: &Logger,
    ) {
        let Some(queue_config) = config.queue.get() else { return };
        for signal in Signal::ALL {
            let Some(slot) = self.graph.data_path.exporters.get_mut(exporter.0) else { return };
            if slot.queues[signal as usize].is_none() {
                continue;
            }
            let mut used_metadata = slot.exporter.used_metadata();
            if let Some(batch) = queue_config.batch.get() {
                let headers = batch.partition.metadata_keys.clone();
                used_metadata.merge(UsedMetadata { headers, ..UsedMetadata::default() });
            }
            let queue = storage.open_queue(StoredQueueContext {
                exporter: &slot.id,
                signal,
                config: queue_config,
                used_metadata,
                telemetry,
                log: log.clone(),
                budget: &self.graph.data_path.budget,
            });
            let (name, destination) = (slot.id.to_string(), slot.exporter.destination_labels(signal));
            let in_memory =
                ExporterQueue::new_stored(config.clone(), signal, &name, &destination, telemetry, log.clone());
            slot.queues[signal as usize] = Some(in_memory);
            let owner = self.new_owner(ComponentIndex::StoredQueue(exporter.0, signal as usize));
            if let Some(slot) = self.graph.data_path.exporters.get_mut(exporter.0) {
                slot.stored[signal as usize] = Some(StoredQueueSlot { owner, queue });
            }
        }
    }

    /// Adds a receiver; pipelines name it afterwards.
    pub fn add_receiver(&mut self, id: ComponentId, receiver: Box<dyn Receiver>) -> ReceiverIndex {
        let index = self.graph.receivers.len();
        let owner = self.new_owner(ComponentIndex::Receiver(index));
        self.graph.statuses.add(owner, "receiver", &id.to_string(), String::new());
        self.graph.receivers.push(ReceiverSlot { id, owner, receiver, state: PartState::Live });
        self.last_owner = owner;
        ReceiverIndex(index)
    }

    /// Adds a pipeline of components added before.
    pub fn add_pipeline(
        &mut self,
        id: PipelineId,
        signal: Signal,
        receivers: &[ReceiverIndex],
        processors: Vec<(ComponentId, Box<dyn Processor>)>,
        exporters: &[ExporterIndex],
    ) -> PipelineIndex {
        let parts = |(id, processor)| ProcessorParts { id, processor: Some(processor), identity: None };
        self.add_pipeline_of(id, signal, receivers, processors.into_iter().map(parts).collect(), exporters)
    }

    /// The same, of processors that may be kept.
    pub fn add_pipeline_of(
        &mut self,
        id: PipelineId,
        signal: Signal,
        receivers: &[ReceiverIndex],
        processors: Vec<ProcessorParts>,
        exporters: &[ExporterIndex],
    ) -> PipelineIndex {
        let index = self.graph.data_path.pipelines.len();
        let mut slots = Vec::with_capacity(processors.len());
        for parts in processors {
            let place = ComponentIndex::Processor(index, slots.len());
            slots.push(self.processor_slot(parts, place, &id, signal));
        }
        for receiver in receivers {
            let Some(slot) = self.graph.receivers.get(receiver.0) else { continue };
            self.graph.data_path.receiver_flows.add_signal(&self.graph.telemetry, slot.owner, &slot.id, signal);
            self.graph.data_path.receiver_traces.add_receiver(slot.owner, slot.id.to_string());
        }
        self.graph.data_path.pipelines.push(Pipeline {
            id,
            signal,
            receivers: receivers.iter().map(|r| r.0).collect(),
            processors: slots,
            exporters: exporters.iter().map(|e| e.0).collect(),
            connectors: Vec::new(),
            continues_in: None,
            state: PartState::Live,
            is_stored: false,
        });
        self.graph.data_path.order.push(OrderedPart::Pipeline(index));
        PipelineIndex(index)
    }

    fn processor_slot(
        &mut self,
        parts: ProcessorParts,
        place: ComponentIndex,
        pipeline: &PipelineId,
        signal: Signal,
    ) -> ProcessorSlot {
        let ProcessorParts { id, processor, identity } = parts;
        let flow = ItemFlow::new(&self.graph.telemetry, "processor", &id.to_string(), signal);
        if processor.is_none()
            && let Some(owner) = identity.as_ref().and_then(|known| self.keep(&known.identity))
        {
            return ProcessorSlot { id, owner, processor: Box::new(Absent), flow, state: PartState::Kept };
        }
        let owner = self.new_owner(place);
        self.graph.statuses.add(owner, ComponentKind::Processor.name(), &id.to_string(), pipeline.to_string());
        if let Some(identity) = identity {
            self.identify(owner, identity);
        }
        let processor = processor.unwrap_or_else(|| Box::new(Absent));
        ProcessorSlot { id, owner, processor, flow, state: PartState::Live }
    }

    /// Adds all connectors, after all pipelines.
    ///
    /// # Errors
    /// Pipelines and connectors that feed each other in a cycle; the message, with the path, is that of the Go collector.
    pub fn add_connectors(&mut self, connectors: Vec<ConnectorParts>) -> Result<(), StartError> {
        for parts in connectors {
            let index = self.graph.data_path.connectors.len();
            let kept = parts.identity.as_ref().filter(|_| parts.connector.is_none());
            let kept = kept.and_then(|known| self.keep(&known.identity));
            let (owner, state) = match kept {
                Some(owner) => (owner, PartState::Kept),
                None => {
                    let owner = self.new_owner(ComponentIndex::Connector(index));
                    let signals = format!("{} to {}", parts.signals.0, parts.signals.1);
                    let kind = ComponentKind::Connector.name();
                    self.graph.statuses.add(owner, kind, &parts.id.to_string(), signals);
                    if let Some(identity) = parts.identity {
                        self.identify(owner, identity);
                    }
                    (owner, PartState::Live)
                }
            };
            let data_path = &mut self.graph.data_path;
            for source in &parts.sources {
                if let Some(pipeline) = data_path.pipelines.get_mut(source.0) {
                    pipeline.connectors.push(index);
                }
            }
            let targets = parts.targets.iter().map(|pipeline| pipeline.0).collect();
            let flow = ConnectorFlow::new(&self.graph.telemetry, &parts.id.to_string(), parts.signals);
            data_path.connectors.push(ConnectorSlot {
                id: parts.id,
                owner,
                connector: parts.connector.unwrap_or_else(|| Box::new(Absent)),
                signals: parts.signals,
                targets,
                is_stored: false,
                flow,
                state,
            });
        }
        self.graph.data_path.order_parts()
    }

    /// The graph, not started.
    #[must_use]
    pub fn build(mut self) -> Graph {
        self.graph.data_path.mark_stored_parts();
        self.graph
    }
}
