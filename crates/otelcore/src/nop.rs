//! Components that do nothing: a receiver that receives nothing, an exporter that drops what it gets.

use otelcore_config::declare::NoKeys;
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    AttemptId, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Event, Exporter,
    ExporterQueueConfig, MonotonicTime, Outcome, Outcomes, Payload, PipelineInput, Receiver, StartError,
};

/// The `nop` receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NopReceiverFactory;

/// The `nop` exporter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NopExporterFactory;

#[derive(Debug, Default)]
struct Nop {
    closed: bool,
}

impl Receiver for Nop {
    fn open(&mut self, _: &mut Cx<'_>) -> Result<(), StartError> {
        Ok(())
    }

    fn handle_event(&mut self, _: &mut Cx<'_>, _: u64, _: Event<'_>, _: &mut PipelineInput<'_>) {}

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {
        self.closed = true;
    }

    fn is_closed(&self) -> bool {
        self.closed
    }
}

impl Exporter for Nop {
    fn send(&mut self, _: &mut Cx<'_>, attempt: AttemptId, _: &Payload, _: MonotonicTime, outcomes: &mut Outcomes) {
        outcomes.push(attempt, Outcome::Delivered);
    }
}

const fn info(kind: ComponentKind) -> ComponentInfo {
    ComponentInfo { kind, type_name: "nop", aliases: &[], signals: &Signal::ALL, stability: "Beta" }
}

impl ComponentType for NopReceiverFactory {
    const INFO: ComponentInfo = info(ComponentKind::Receiver);
    type Config = NoKeys;

    fn create(&self, _: &NoKeys, _: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(Nop::default())))
    }
}

impl ComponentType for NopExporterFactory {
    const INFO: ComponentInfo = info(ComponentKind::Exporter);
    type Config = NoKeys;

    fn create(&self, _: &NoKeys, _: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Exporter(Box::new(Nop::default()), ExporterQueueConfig::without_queue()))
    }
}
