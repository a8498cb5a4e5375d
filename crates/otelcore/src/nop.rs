//! Components that do nothing: a receiver that receives nothing, an exporter that drops what it gets.

use otelcore_config::{ComponentId, Section};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    AttemptId, BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, Cx, Event, Exporter,
    ExporterQueueConfig, Factory, MonotonicTime, Outcome, Outcomes, Payload, PipelineInput, Receiver, StartError,
};

/// Makes `nop` receivers.
#[derive(Debug)]
pub(crate) struct NopReceiverFactory;

/// Makes `nop` exporters.
#[derive(Debug)]
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

struct NopReceiverConfig;
struct NopExporterConfig;

impl ComponentConfig for NopReceiverConfig {
    fn create(&self, _: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(Nop::default())))
    }
}

impl ComponentConfig for NopExporterConfig {
    fn create(&self, _: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Exporter(Box::new(Nop::default()), ExporterQueueConfig::without_queue()))
    }
}

fn about(kind: ComponentKind) -> ComponentInfo {
    ComponentInfo { kind, type_name: "nop", aliases: &[], signals: &Signal::ALL, stability: "Beta" }
}

impl Factory for NopReceiverFactory {
    fn info(&self) -> ComponentInfo {
        about(ComponentKind::Receiver)
    }

    fn parse(&self, _: &ComponentId, s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        s.finish();
        Some(Box::new(NopReceiverConfig))
    }
}

impl Factory for NopExporterFactory {
    fn info(&self) -> ComponentInfo {
        about(ComponentKind::Exporter)
    }

    fn parse(&self, _: &ComponentId, s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        s.finish();
        Some(Box::new(NopExporterConfig))
    }
}
