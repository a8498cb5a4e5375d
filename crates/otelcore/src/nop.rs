//! Components that do nothing: a receiver that receives nothing, an exporter that drops what it gets.

use otelcore_config::{ComponentId, Section};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    About, Build, Component, Cx, Done, Door, Event, Exporter, Factory, JobId, Kind, Mono, Outcome, Payload, Receiver,
    SendingSettings, Settings, StartError,
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

    fn event(&mut self, _: &mut Cx<'_>, _: u64, _: Event<'_>, _: &mut Door<'_>) {}

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, _: &mut Cx<'_>, _: Mono) {
        self.closed = true;
    }

    fn is_closed(&self) -> bool {
        self.closed
    }
}

impl Exporter for Nop {
    fn send(&mut self, _: &mut Cx<'_>, job: JobId, _: &Payload, _: Mono, done: &mut Done) {
        done.push(job, Outcome::Delivered);
    }
}

struct NopReceiver;
struct NopExporter;

impl Settings for NopReceiver {
    fn create(&self, _: &Build<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(Nop::default())))
    }
}

impl Settings for NopExporter {
    fn create(&self, _: &Build<'_>) -> Result<Component, StartError> {
        Ok(Component::Exporter(Box::new(Nop::default()), SendingSettings::direct()))
    }
}

fn about(kind: Kind) -> About {
    About { kind, type_name: "nop", aliases: &[], signals: &Signal::ALL, stability: "Beta" }
}

impl Factory for NopReceiverFactory {
    fn about(&self) -> About {
        about(Kind::Receiver)
    }

    fn parse(&self, _: &ComponentId, s: Section<'_>) -> Option<Box<dyn Settings>> {
        s.finish();
        Some(Box::new(NopReceiver))
    }
}

impl Factory for NopExporterFactory {
    fn about(&self) -> About {
        about(Kind::Exporter)
    }

    fn parse(&self, _: &ComponentId, s: Section<'_>) -> Option<Box<dyn Settings>> {
        s.finish();
        Some(Box::new(NopExporter))
    }
}
