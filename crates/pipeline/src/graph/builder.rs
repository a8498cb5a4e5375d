//! Builds a graph: components, and which passes data to which. Starts nothing.

use std::sync::Arc;

use otelcore_config::{ComponentId, PipelineId};
use otelcore_pdata::Signal;

use super::data_path::{ConnectorSlot, DataPath, ExporterSlot, OrderedPart, Pipeline, ProcessorSlot, StoredQueueSlot};
use super::{ComponentIndex, ExtensionSlot, Graph, MAX_ATTEMPTS_PER_TURN, Phase, ReceiverSlot};
use crate::exporter_queue::ExporterQueue;
use crate::{
    Budget, Connector, Exporter, ExporterQueueConfig, Extension, Logger, Processor, Receiver, StartError, StatusTable,
    Storage, StoredQueueContext, Telemetry, UsedMetadata,
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

/// An instance of a connector for a [`GraphBuilder`]: one for each id and pair of signals, as in the Go collector.
pub struct ConnectorParts {
    /// Its id.
    pub id: ComponentId,
    /// The instance.
    pub connector: Box<dyn Connector>,
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
pub struct GraphBuilder {
    graph: Graph,
}

impl std::fmt::Debug for GraphBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphBuilder").finish_non_exhaustive()
    }
}

impl GraphBuilder {
    /// An empty graph. Receivers charge bodies to `budget`.
    #[must_use]
    pub fn new(budget: Arc<Budget>, log: Logger) -> Self {
        let data_path = DataPath::new(budget);
        Self {
            graph: Graph {
                receivers: Vec::new(),
                extensions: Vec::new(),
                data_path,
                components: vec![ComponentIndex::Graph],
                timer: None,
                phase: Phase::Running,
                statuses: Arc::default(),
                log,
            },
        }
    }

    /// Keeps the statuses of components in this table. Called before components are added; removes what the table has.
    #[must_use]
    pub fn with_statuses(mut self, statuses: &Arc<StatusTable>) -> Self {
        statuses.clear();
        self.graph.statuses = statuses.clone();
        self
    }

    fn new_owner(&mut self, component: ComponentIndex) -> u32 {
        self.graph.components.push(component);
        // A configuration of four billion components does not fit into memory.
        u32::try_from(self.graph.components.len() - 1).unwrap_or(u32::MAX)
    }

    /// Adds an extension. They start in this order, before everything else.
    pub fn add_extension(&mut self, extension: Box<dyn Extension>, log: Logger) {
        let owner = self.new_owner(ComponentIndex::Extension(self.graph.extensions.len()));
        self.graph.statuses.add(owner, "extension", &log.scope().id, String::new());
        self.graph.extensions.push(ExtensionSlot { owner, extension, log, is_internal: false });
    }

    /// Adds a part of the service itself, which is driven like an extension and starts before all extensions.
    pub fn add_internal(&mut self, extension: Box<dyn Extension>, log: Logger) {
        let owner = self.new_owner(ComponentIndex::Extension(self.graph.extensions.len()));
        self.graph.extensions.push(ExtensionSlot { owner, extension, log, is_internal: true });
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
            let name = id.to_string();
            signals.contains(&signal).then(|| ExporterQueue::new(config.clone(), signal, &name, telemetry, log.clone()))
        });
        self.graph.data_path.exporters.push(ExporterSlot {
            id,
            owner,
            exporter,
            queues: sendings,
            attempts_left: MAX_ATTEMPTS_PER_TURN,
            has_failed: [false; 3],
            stored: [None, None, None],
        });
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
            let name = slot.id.to_string();
            let in_memory = ExporterQueue::new_stored(config.clone(), signal, &name, telemetry, log.clone());
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
        self.graph.receivers.push(ReceiverSlot { id, owner, receiver });
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
        let index = self.graph.data_path.pipelines.len();
        let processors = processors
            .into_iter()
            .enumerate()
            .map(|(i, (component, processor))| {
                let owner = self.new_owner(ComponentIndex::Processor(index, i));
                self.graph.statuses.add(owner, "processor", &component.to_string(), id.to_string());
                ProcessorSlot { id: component, owner, processor }
            })
            .collect();
        self.graph.data_path.pipelines.push(Pipeline {
            id,
            signal,
            receivers: receivers.iter().map(|r| r.0).collect(),
            processors,
            exporters: exporters.iter().map(|e| e.0).collect(),
            connectors: Vec::new(),
            is_stored: false,
        });
        self.graph.data_path.order.push(OrderedPart::Pipeline(index));
        PipelineIndex(index)
    }

    /// Adds all connectors, after all pipelines.
    ///
    /// # Errors
    /// Pipelines and connectors that feed each other in a cycle; the message, with the path, is that of the Go collector.
    pub fn add_connectors(&mut self, connectors: Vec<ConnectorParts>) -> Result<(), StartError> {
        for parts in connectors {
            let index = self.graph.data_path.connectors.len();
            let owner = self.new_owner(ComponentIndex::Connector(index));
            let signals = format!("{} to {}", parts.signals.0, parts.signals.1);
            self.graph.statuses.add(owner, "connector", &parts.id.to_string(), signals);
            let data_path = &mut self.graph.data_path;
            for source in &parts.sources {
                if let Some(pipeline) = data_path.pipelines.get_mut(source.0) {
                    pipeline.connectors.push(index);
                }
            }
            let targets = parts.targets.iter().map(|pipeline| pipeline.0).collect();
            data_path.connectors.push(ConnectorSlot {
                id: parts.id,
                owner,
                connector: parts.connector,
                signals: parts.signals,
                targets,
                is_stored: false,
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
