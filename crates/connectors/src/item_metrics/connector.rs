//! The connector around the machine.

use std::sync::Arc;

use otelcore_pdata::Signal;
use otelcore_pipeline::{Ack, Connector, ConnectorOutput, Cx, Event, Outcome, Payload};

use super::pass::{ItemMachine, LevelMetrics};
use super::totals::Measure;
use crate::ordered_work::{Finished, OrderedWork};

pub(crate) struct ItemMetrics {
    work: OrderedWork<ItemMachine>,
}

impl ItemMetrics {
    /// `levels` are those of one signal, the upper one first.
    pub(crate) fn new(levels: Vec<LevelMetrics>, measure: Measure, scope_name: &'static str) -> Self {
        let levels: Arc<[LevelMetrics]> = levels.into();
        let new_work = move |cx: &mut Cx<'_>| {
            let mut machine = ItemMachine::new(levels.clone(), measure, scope_name.as_bytes(), cx.random());
            machine.set_time(cx.wall_time().0);
            machine
        };
        Self { work: OrderedWork::new(new_work) }
    }

    fn set_time(&mut self, cx: &mut Cx<'_>) {
        let now = cx.wall_time().0;
        if let Some(machine) = self.work.work(cx) {
            machine.set_time(now);
        }
    }
}

/// Passes the metrics of a payload on, with its ack: its outcome is theirs.
fn finish(finished: Finished<ItemMachine>, output: &mut ConnectorOutput) {
    let Finished { payload, ack, output: result } = finished;
    match result {
        Err(outcome) => ack.settle(outcome),
        Ok((body, _)) if body.items() == 0 => ack.settle(Outcome::Delivered),
        Ok((body, held)) => {
            output.send(Payload { signal: Signal::Metrics, body, metadata: payload.metadata, held }, ack);
        }
    }
}

impl Connector for ItemMetrics {
    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, output: &mut ConnectorOutput) {
        self.set_time(cx);
        if let Some(finished) = self.work.offer(cx, payload, ack) {
            finish(finished, output);
        }
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, output: &mut ConnectorOutput) {
        self.set_time(cx);
        if let Some(finished) = self.work.handle_event(local) {
            finish(finished, output);
        }
        self.work.go_on(cx, &mut |finished| finish(finished, output));
    }

    fn held_items(&self) -> u64 {
        self.work.held_items()
    }
}
