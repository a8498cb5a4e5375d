//! Builds the graph of a plan. Of a graph that follows a running one, it makes only the instances that the running one does not
//! have. Opens and starts nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use otelcore_config::{ComponentId, PipelineId};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Capabilities, Component, ComponentConfig, ComponentIdentity, ComponentKind, ConnectorParts,
    ExporterIndex, Graph, GraphBuilder, InstanceIdentity, LogScope, Logger, PipelineIndex, ProcessorParts, QueueConfig,
    ReceiverIndex, StartError, Storage,
};

use super::Collector;
use super::extension_order::extension_order;
use super::own_metrics::OwnMetricsPage;
use super::push::{PushContext, TelemetryPush, trace_parts};
use crate::plan::PipelinePlan;

/// Builds what the plan of `collector` describes.
///
/// # Errors
/// Settings of a component that can't be applied.
pub(super) fn build(collector: &Collector, graph: GraphBuilder<'_>) -> Result<Graph, StartError> {
    // The pipelines behind a receiver that awaits delivery, and those that lead to a queue on disk, pass the outcomes of
    // deliveries on to those that sent the data, and take custody of nothing.
    let awaits = |id: &ComponentId| collector.plan.receivers.get(id).is_some_and(|receiver| receiver.awaits_delivery());
    let awaited = collector.plan.pipelines_behind(awaits);
    let mut builder = ComponentBuilder { collector, graph, capabilities: Capabilities::default(), awaited };
    builder.capabilities.add_of_service(Rc::new(collector.view.clone()));
    builder.add_internal_parts()?;
    builder.add_extensions()?;
    let exporters = builder.add_exporters()?;
    let receivers = builder.add_receivers()?;
    let plan = &collector.plan;
    let has_storage = |id: &&ComponentId| exporters.get(*id).is_some_and(|index| builder.graph.has_storage(*index));
    let stored_exporters: BTreeSet<&ComponentId> = plan.exporters.keys().filter(has_storage).collect();
    let to_storage = plan.pipelines_before(|id| stored_exporters.contains(id));
    let mut pipelines = Vec::new();
    for (index, pipeline) in plan.pipelines.iter().enumerate() {
        let is_awaited = builder.awaited.get(index).copied().unwrap_or(false);
        let forwards_outcomes = is_awaited || to_storage.get(index).copied().unwrap_or(false);
        let processors = builder.build_processors(pipeline, forwards_outcomes)?;
        let sources: Vec<_> = pipeline.receivers.iter().filter_map(|id| receivers.get(id).copied()).collect();
        let sinks: Vec<_> = pipeline.exporters.iter().filter_map(|id| exporters.get(id).copied()).collect();
        let id = pipeline.id.clone();
        pipelines.push(builder.graph.add_pipeline_of(id, pipeline.signal, &sources, processors, &sinks));
    }
    let connectors = builder.build_connectors(&pipelines)?;
    builder.graph.add_connectors(connectors)?;
    Ok(builder.graph.build())
}

/// What is around an instance.
#[derive(Clone, Copy, Default)]
struct Surroundings<'a> {
    /// The pipeline of a processor.
    pipeline: &'a str,
    /// The signals of a connector, as a text.
    connected_signals: &'a str,
    /// The pipelines that a connector feeds.
    output_pipelines: &'a [PipelineId],
    /// The pipeline of a processor leads to a queue on disk, or comes from a receiver that awaits delivery, as what an exporter gets does.
    forwards_outcomes: bool,
}

/// Makes instances of components.
struct ComponentBuilder<'a, 'p> {
    collector: &'a Collector,
    graph: GraphBuilder<'p>,
    capabilities: Capabilities,
    /// By pipeline: a receiver awaits the delivery of what comes out of it.
    awaited: Vec<bool>,
}

impl ComponentBuilder<'_, '_> {
    /// Adds the pages of the own metrics, what pushes own telemetry, and the part that the caller has added.
    fn add_internal_parts(&mut self) -> Result<(), StartError> {
        let collector = self.collector;
        let service: ComponentId = "service".parse().map_err(|e| StartError::Config(format!("service: {e}")))?;
        let identity = |place: String, content: String| ComponentIdentity {
            kind: ComponentKind::Extension,
            id: service.clone(),
            place,
            content,
        };
        for (index, part) in collector.internal_parts.iter().enumerate() {
            let identity = identity(format!("internal part {index}"), String::new());
            if self.graph.keep_extension(&identity).is_none() {
                self.graph.add_internal(part(), collector.log.clone());
                self.graph.set_identity(InstanceIdentity { identity, uses: BTreeSet::new() });
            }
        }
        for (index, settings) in collector.plan.telemetry.metrics.pages.iter().enumerate() {
            let views = &collector.plan.telemetry.metrics.views;
            let content = format!("{settings:?} {views:?} {:?}", collector.resource);
            let identity = identity(format!("metrics page {index}"), content);
            if self.graph.keep_extension(&identity).is_some() {
                continue;
            }
            let page = OwnMetricsPage::new(
                (settings.clone(), views.clone()),
                collector.telemetry.clone(),
                collector.process_metrics.clone(),
                collector.resource.clone(),
                collector.budget.clone(),
                collector.log.clone(),
            );
            self.graph.add_internal(Box::new(page), collector.log.clone());
            self.graph.set_identity(InstanceIdentity { identity, uses: BTreeSet::new() });
        }
        self.add_pushes(&service)
    }

    /// Adds the parts that push own metrics and logs. One goes on through a change of the configuration if nothing of its signal has
    /// changed.
    fn add_pushes(&mut self, service: &ComponentId) -> Result<(), StartError> {
        let collector = self.collector;
        let context = PushContext {
            telemetry: &collector.telemetry,
            views: &collector.plan.telemetry.metrics.views,
            process_metrics: &collector.process_metrics,
            resource: &collector.resource,
            budget: &collector.budget,
            log: &collector.log,
        };
        let identity = |place: String, tree: &str| ComponentIdentity {
            kind: ComponentKind::Extension,
            id: service.clone(),
            place,
            content: format!("{tree} {:?}", collector.resource),
        };
        let telemetry = &collector.plan.telemetry;
        for (index, reader) in telemetry.metrics.pushes() {
            let identity = identity(format!("metrics push {index}"), collector.plan.metrics_tree());
            if self.graph.keep_extension(&identity).is_none() {
                self.add_push(TelemetryPush::of_reader(index, reader, &context)?, identity);
            }
        }
        for (index, (config, buffer)) in telemetry.logs.processors.iter().zip(&collector.log_buffers).enumerate() {
            let identity = identity(format!("log push {index}"), collector.plan.log_tree());
            if self.graph.keep_extension(&identity).is_none() {
                self.add_push(TelemetryPush::of_log_processor(index, config, buffer, &context)?, identity);
            }
        }
        let place = identity("tracer".to_owned(), collector.plan.traces_tree());
        if telemetry.traces.is_on() && self.graph.keep_extension(&place).is_none() {
            let (pushes, tracer) = trace_parts(&telemetry.traces, &context)?;
            for (index, push) in pushes.into_iter().enumerate() {
                let place = format!("trace push {index}");
                self.add_push(Some(push), identity(place, collector.plan.traces_tree()));
            }
            self.graph.add_internal(Box::new(tracer), collector.log.clone());
            self.graph.set_identity(InstanceIdentity { identity: place, uses: BTreeSet::new() });
        } else if telemetry.traces.is_on() {
            for index in 0..telemetry.traces.processors.len() {
                let place = identity(format!("trace push {index}"), collector.plan.traces_tree());
                let _ = self.graph.keep_extension(&place);
            }
        }
        Ok(())
    }

    fn add_push(&mut self, push: Option<TelemetryPush>, identity: ComponentIdentity) {
        if let Some(push) = push {
            self.graph.add_internal(Box::new(push), self.collector.log.clone());
            self.graph.set_identity(InstanceIdentity { identity, uses: BTreeSet::new() });
        }
    }

    fn add_extensions(&mut self) -> Result<(), StartError> {
        let (kind, plan) = (ComponentKind::Extension, &self.collector.plan);
        for id in extension_order(&plan.started_extensions, &plan.extensions)? {
            let Some(settings) = plan.extensions.get(id) else { continue };
            let identity = self.identity(kind, id, Surroundings::default());
            let offered = match self.graph.keep_extension(&identity) {
                Some(offered) => offered,
                None => {
                    let (component, log, uses) = self.create(kind, id, settings, Surroundings::default())?;
                    let Component::Extension(extension) = component else { continue };
                    let offered = self.graph.add_extension(extension, log);
                    self.graph.set_identity(InstanceIdentity { identity, uses });
                    offered
                }
            };
            self.capabilities.add(id, offered);
        }
        Ok(())
    }

    fn add_exporters(&mut self) -> Result<BTreeMap<ComponentId, ExporterIndex>, StartError> {
        let (kind, collector) = (ComponentKind::Exporter, self.collector);
        let mut added = BTreeMap::new();
        for (id, settings) in &collector.plan.exporters {
            let signals = collector.plan.signals_of(kind, id);
            if signals.is_empty() {
                continue;
            }
            let sources = collector.plan.pipelines.iter().zip(&self.awaited);
            let forwards_outcomes =
                sources.filter(|(_, is_awaited)| **is_awaited).any(|(pipeline, _)| pipeline.exporters.contains(id));
            let surroundings = Surroundings { forwards_outcomes, ..Surroundings::default() };
            let identity = self.identity(kind, id, surroundings);
            if let Some(index) = self.graph.keep_exporter(&identity) {
                added.insert(id.clone(), index);
                continue;
            }
            let (component, log, mut uses) = self.create(kind, id, settings, surroundings)?;
            let Component::Exporter(exporter, mut queue_config) = component else { continue };
            if forwards_outcomes
                && let Some(queue) = queue_config.queue.get_mut()
                && queue.storage_id().is_none()
            {
                queue.wait_for_result = true;
            }
            let telemetry = &collector.telemetry;
            let index = self.graph.add_exporter(id.clone(), exporter, &queue_config, &signals, telemetry, &log);
            if let Some(storage_id) = queue_config.queue.get().and_then(QueueConfig::storage_id) {
                let storage = self.capabilities.get::<dyn Storage>(&storage_id);
                let storage = storage.map_err(|e| {
                    e.in_context(format_args!("cannot start pipelines: failed to start \"{id}\" exporter"))
                })?;
                uses.extend(self.capabilities.take_used());
                self.graph.add_storage(index, &*storage, &queue_config, telemetry, &log);
            }
            self.graph.set_identity(InstanceIdentity { identity, uses });
            added.insert(id.clone(), index);
        }
        Ok(added)
    }

    fn add_receivers(&mut self) -> Result<BTreeMap<ComponentId, ReceiverIndex>, StartError> {
        let (kind, plan) = (ComponentKind::Receiver, &self.collector.plan);
        let mut added = BTreeMap::new();
        for (id, settings) in &plan.receivers {
            if plan.signals_of(kind, id).is_empty() {
                continue;
            }
            let identity = self.identity(kind, id, Surroundings::default());
            if let Some(index) = self.graph.keep_receiver(&identity) {
                added.insert(id.clone(), index);
                continue;
            }
            let (component, _, uses) = self.create(kind, id, settings, Surroundings::default())?;
            let Component::Receiver(receiver) = component else { continue };
            added.insert(id.clone(), self.graph.add_receiver(id.clone(), receiver));
            self.graph.set_identity(InstanceIdentity { identity, uses });
        }
        Ok(added)
    }

    /// The processors of one pipeline.
    fn build_processors(
        &self,
        pipeline: &PipelinePlan,
        forwards_outcomes: bool,
    ) -> Result<Vec<ProcessorParts>, StartError> {
        let kind = ComponentKind::Processor;
        let name = pipeline.id.to_string();
        let surroundings = Surroundings { pipeline: &name, forwards_outcomes, ..Surroundings::default() };
        let mut built = Vec::new();
        for id in &pipeline.processors {
            let Some(settings) = self.collector.plan.processors.get(id) else { continue };
            let identity = self.identity(kind, id, surroundings);
            let (processor, uses) = if self.graph.can_keep(&identity) {
                (None, BTreeSet::new())
            } else {
                let (component, _, uses) = self.create(kind, id, settings, surroundings)?;
                let Component::Processor(processor) = component else { continue };
                (Some(processor), uses)
            };
            let identity = Some(InstanceIdentity { identity, uses });
            built.push(ProcessorParts { id: id.clone(), processor, identity });
        }
        Ok(built)
    }

    /// One instance of each connector for each pair of signals that its pipelines have.
    fn build_connectors(&self, pipelines: &[PipelineIndex]) -> Result<Vec<ConnectorParts>, StartError> {
        let (kind, plan) = (ComponentKind::Connector, &self.collector.plan);
        let indexes = |all: &[usize]| all.iter().filter_map(|i| pipelines.get(*i).copied()).collect();
        let mut built = Vec::new();
        for instance in &plan.connector_instances {
            let id = &instance.id;
            let Some(settings) = plan.connectors.get(id) else { continue };
            let targets = instance.targets.iter().filter_map(|i| plan.pipelines.get(*i));
            let targets: Vec<PipelineId> = targets.map(|pipeline| pipeline.id.clone()).collect();
            let connected_signals = format!("{} to {}", instance.signals.0, instance.signals.1);
            let surroundings = Surroundings {
                output_pipelines: &targets,
                connected_signals: &connected_signals,
                ..Surroundings::default()
            };
            let identity = self.identity(kind, id, surroundings);
            let (connector, uses) = if self.graph.can_keep(&identity) {
                (None, BTreeSet::new())
            } else {
                let signals = [instance.signals.0];
                let (component, _, uses) = self.create_for(kind, id, settings, &signals, surroundings)?;
                let Component::Connector(connector) = component else { continue };
                (Some(connector), uses)
            };
            built.push(ConnectorParts {
                id: id.clone(),
                connector,
                identity: Some(InstanceIdentity { identity, uses }),
                signals: instance.signals,
                sources: indexes(&instance.sources),
                targets: indexes(&instance.targets),
            });
        }
        Ok(built)
    }

    /// What an instance is made from, apart from what all instances of this process share.
    fn identity(&self, kind: ComponentKind, id: &ComponentId, surroundings: Surroundings<'_>) -> ComponentIdentity {
        let plan = &self.collector.plan;
        let Surroundings { pipeline, connected_signals, output_pipelines, forwards_outcomes } = surroundings;
        let signals = plan.signals_of(kind, id);
        let tree = plan.component_tree(kind, id);
        let content = format!("{signals:?} {output_pipelines:?} {forwards_outcomes} {tree}");
        ComponentIdentity { kind, id: id.clone(), place: format!("{pipeline}{connected_signals}"), content }
    }

    fn create(
        &self,
        kind: ComponentKind,
        id: &ComponentId,
        settings: &Arc<dyn ComponentConfig>,
        surroundings: Surroundings<'_>,
    ) -> Result<(Component, Logger, BTreeSet<ComponentId>), StartError> {
        let signals = self.collector.plan.signals_of(kind, id);
        self.create_for(kind, id, settings, &signals, surroundings)
    }

    /// Makes an instance. Returns its logger, and the extensions that it uses.
    fn create_for(
        &self,
        kind: ComponentKind,
        id: &ComponentId,
        settings: &Arc<dyn ComponentConfig>,
        signals: &[Signal],
        surroundings: Surroundings<'_>,
    ) -> Result<(Component, Logger, BTreeSet<ComponentId>), StartError> {
        let Surroundings { pipeline, output_pipelines, forwards_outcomes, .. } = surroundings;
        let signal = match signals {
            [only] if matches!(kind, ComponentKind::Exporter | ComponentKind::Connector) => only.name(),
            _ => "",
        };
        let scope = LogScope { kind: kind.name(), id: id.to_string(), signal, pipeline: pipeline.to_owned() };
        let log = self.collector.log.with_scope(scope);
        let context = BuildContext {
            id,
            signals,
            output_pipelines,
            telemetry: &self.collector.telemetry,
            log: log.clone(),
            budget: &self.collector.budget,
            capabilities: &self.capabilities,
            forwards_outcomes,
        };
        let made = settings.create(&context);
        let uses = self.capabilities.take_used();
        made.map(|component| (component, log, uses)).map_err(|e| match kind {
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
