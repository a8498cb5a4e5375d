//! The `count_to_stdout` exporter: writes a line with the running count for each payload.
//!
//! An exporter gets one attempt at a time and reports its outcome through `outcomes`, now or after a later event. Queue
//! and retry come before it if its configuration asks for them; this one reports at once and needs neither.

use std::io::Write;

use otelcore::config::declare::NoKeys;
use otelcore::pdata::Signal;
use otelcore::pipeline::{
    AttemptId, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Exporter, ExporterQueueConfig,
    MonotonicTime, Outcome, Outcomes, Payload, StartError,
};

/// The `count_to_stdout` exporter, which has no keys.
#[derive(Clone, Copy, Debug)]
pub struct CountFactory;

impl ComponentType for CountFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "count_to_stdout",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Development",
    };
    type Config = NoKeys;

    fn create(&self, _: &NoKeys, _: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Exporter(Box::new(CountExporter { out: None, total: 0 }), ExporterQueueConfig::without_queue()))
    }
}

struct CountExporter {
    out: Option<Box<dyn Write>>,
    total: u64,
}

impl Exporter for CountExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.out = Some(cx.open_output("stdout")?);
        Ok(())
    }

    fn send(
        &mut self,
        _: &mut Cx<'_>,
        attempt: AttemptId,
        payload: &Payload,
        _: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
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
