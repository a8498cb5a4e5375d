//! The connector around the machine.

use std::sync::Arc;

use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Ack, BuildContext, Component, Connector, ConnectorOutput, Cx, Event, Outcome, Payload, StartError,
};

use super::level::Level;
use super::pass::{ItemMachine, LevelMetrics};
use super::totals::Measure;
use crate::ordered_work::{Finished, OrderedWork};

pub(crate) struct ItemMetrics {
    work: OrderedWork<ItemMachine>,
}

impl ItemMetrics {
    pub(crate) const SIGNAL_PAIRS: &'static [(Signal, Signal)] =
        &[(Signal::Traces, Signal::Metrics), (Signal::Metrics, Signal::Metrics), (Signal::Logs, Signal::Metrics)];

    /// The component for its signal, with the metrics that `compile` gives for each of the signal's levels.
    ///
    /// # Errors
    /// The first mistake.
    pub(crate) fn create(
        context: &BuildContext<'_>,
        compile: impl Fn(Level) -> Result<LevelMetrics, String>,
        measure: Measure,
        scope_name: &'static str,
    ) -> Result<Component, StartError> {
        let signal = context.signals.first().copied().unwrap_or(Signal::Traces);
        // The upper level is the first.
        let levels = Level::ALL.into_iter().filter(|level| level.signal() == signal).map(compile);
        let levels: Arc<[LevelMetrics]> = levels.collect::<Result<_, _>>().map_err(StartError::Config)?;
        let new_work =
            move |cx: &mut Cx<'_>| ItemMachine::new(levels.clone(), measure, scope_name.as_bytes(), cx.random());
        Ok(Component::Connector(Box::new(Self { work: OrderedWork::new(new_work) })))
    }
}

/// Passes the metrics of a payload on, with its ack: its outcome is theirs.
fn finish(finished: Finished<ItemMachine>, output: &mut ConnectorOutput) {
    let Finished { payload, ack, items, output: result } = finished;
    let (body, mut held) = match result {
        Ok(done) => done,
        Err(outcome) => return output.refuse(ack, items, outcome),
    };
    output.record_dropped("aggregated", u64::from(items));
    output.record_created("aggregated", u64::from(body.items()));
    match body.items() {
        0 => ack.settle(Outcome::Delivered),
        _ => {
            held.charge_copy(payload.metadata_bytes());
            output.send(Payload { signal: Signal::Metrics, body, metadata: payload.metadata, held }, ack);
        }
    }
}

impl Connector for ItemMetrics {
    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, output: &mut ConnectorOutput) {
        if let Some(finished) = self.work.offer(cx, payload, ack, output) {
            finish(finished, output);
        }
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, output: &mut ConnectorOutput) {
        if let Some(finished) = self.work.handle_event(local, output) {
            finish(finished, output);
        }
        self.work.go_on(cx, &mut |finished| finish(finished, output));
    }

    fn held_items(&self) -> u64 {
        self.work.held_items()
    }
}
