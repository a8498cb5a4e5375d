//! The `count_to_stdout` exporter: writes a line with the running count for each payload.
//!
//! An exporter gets one attempt at a time and reports its outcome through `outcomes`, now or after a later event. Queue
//! and retry come before it if its configuration asks for them; this one reports at once and needs neither.

use std::io::Write;

use otelcore::config::{ComponentId, Section};
use otelcore::pdata::Signal;
use otelcore::pipeline::{
    About, Build, Component, Cx, Done, Exporter, Factory, JobId, Kind, Mono, Outcome, Payload, SendingSettings,
    Settings, StartError,
};

/// The section of a `count_to_stdout`, which has no keys.
#[derive(Clone, Debug)]
pub struct CountConfig;

/// Makes `count_to_stdout` exporters.
#[derive(Debug)]
pub struct CountFactory;

impl Factory for CountFactory {
    fn about(&self) -> About {
        About {
            kind: Kind::Exporter,
            type_name: "count_to_stdout",
            aliases: &[],
            signals: &Signal::ALL,
            stability: "Development",
        }
    }

    fn parse(&self, _: &ComponentId, s: Section<'_>) -> Option<Box<dyn Settings>> {
        s.finish();
        Some(Box::new(CountConfig))
    }
}

impl Settings for CountConfig {
    fn create(&self, _: &Build<'_>) -> Result<Component, StartError> {
        Ok(Component::Exporter(Box::new(CountExporter { out: None, total: 0 }), SendingSettings::direct()))
    }
}

struct CountExporter {
    out: Option<Box<dyn Write>>,
    total: u64,
}

impl Exporter for CountExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.out = Some(cx.output("stdout").map_err(|e| StartError(e.to_string()))?);
        Ok(())
    }

    fn send(&mut self, _: &mut Cx<'_>, attempt: JobId, payload: &Payload, _: Mono, outcomes: &mut Done) {
        self.total += u64::from(payload.items());
        let line = format!("{} {}\n", self.total, payload.signal.item_name());
        let written = self.out.as_mut().map_or(Ok(()), |out| out.write_all(line.as_bytes()));
        outcomes.push(
            attempt,
            match written {
                Ok(()) => Outcome::Delivered,
                Err(e) => Outcome::permanent(e.to_string()),
            },
        );
    }
}
