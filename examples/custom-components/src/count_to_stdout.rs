//! The `count_to_stdout` exporter: writes a line with the running count for each payload.
//!
//! An exporter gets one job at a time and reports its outcome through `done`, now or after a later event. Queue and
//! retry come before it if its settings ask for them; this one reports at once and needs neither.

use std::io::Write;

use otelcore::config::{ComponentId, Section};
use otelcore::pdata::Signal;
use otelcore::pipeline::{
    About, Build, Component, Cx, Done, Exporter, Factory, JobId, Kind, Mono, Outcome, Payload, SendingSettings,
    Settings, StartError,
};

/// The section of a `count_to_stdout`, which has no keys.
#[derive(Clone, Debug)]
pub struct CountSettings;

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
        Some(Box::new(CountSettings))
    }
}

impl Settings for CountSettings {
    fn create(&self, _: &Build<'_>) -> Result<Component, StartError> {
        Ok(Component::Exporter(Box::new(Count { out: None, total: 0 }), SendingSettings::direct()))
    }
}

struct Count {
    out: Option<Box<dyn Write>>,
    total: u64,
}

impl Exporter for Count {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.out = Some(cx.output("stdout").map_err(|e| StartError(e.to_string()))?);
        Ok(())
    }

    fn send(&mut self, _: &mut Cx<'_>, job: JobId, payload: &Payload, _: Mono, done: &mut Done) {
        self.total += u64::from(payload.items());
        let line = format!("{} {}\n", self.total, payload.signal.items());
        let written = self.out.as_mut().map_or(Ok(()), |out| out.write_all(line.as_bytes()));
        done.push(
            job,
            match written {
                Ok(()) => Outcome::Delivered,
                Err(e) => Outcome::permanent(e.to_string()),
            },
        );
    }
}
