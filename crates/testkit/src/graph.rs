//! A graph around a receiver: every payload that it sends is recorded.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_pipeline::{
    AttemptId, Cx, Exporter, ExporterQueueConfig, Graph, GraphBuilder, MonotonicTime, Outcome, Outcomes, Payload,
    Receiver,
};

use crate::TestContext;

/// The payloads that a receiver has sent, and the outcomes that it gets. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecordedPayloads(Rc<RefCell<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    payloads: Vec<Payload>,
    outcomes: VecDeque<Outcome>,
}

impl RecordedPayloads {
    /// Takes the payloads since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Payload> {
        std::mem::take(&mut self.0.borrow_mut().payloads)
    }

    /// Sets the outcome of the next payload for which none is set. Without one, a payload is delivered.
    pub fn push_outcome(&self, outcome: Outcome) {
        self.0.borrow_mut().outcomes.push_back(outcome);
    }
}

struct RecordingExporter(RecordedPayloads);

impl Exporter for RecordingExporter {
    fn send(
        &mut self,
        _: &mut Cx<'_>,
        attempt: AttemptId,
        payload: &Payload,
        _: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
        let mut recorded = self.0.0.borrow_mut();
        recorded.payloads.push(payload.clone());
        outcomes.push(attempt, recorded.outcomes.pop_front().unwrap_or(Outcome::Delivered));
    }
}

/// A graph, not started, with a pipeline from the receiver to a record for each signal of `context`. There is no queue:
/// the receiver gets the outcomes that the test sets. The receiver has the id of its metrics in `context`, and `test` if it
/// has none.
///
/// # Panics
/// Never: the ids are valid.
#[must_use]
#[allow(clippy::expect_used, reason = "the ids are constants")]
pub fn receiver_graph(receiver: Box<dyn Receiver>, context: &TestContext) -> (Graph, RecordedPayloads) {
    let recorded = RecordedPayloads::default();
    let log = context.log.logger();
    let mut builder = GraphBuilder::new(Arc::clone(&context.budget), log.clone()).with_telemetry(&context.telemetry);
    let id = receiver_id(context).and_then(|id| id.parse().ok());
    let receiver = builder.add_receiver(id.unwrap_or_else(|| "test".parse().expect("an id")), receiver);
    let queue = ExporterQueueConfig::without_queue();
    let exporter = builder.add_exporter(
        "recorded".parse().expect("an id"),
        Box::new(RecordingExporter(recorded.clone())),
        &queue,
        &context.signals,
        &context.telemetry,
        &log,
    );
    for signal in &context.signals {
        let id = signal.name().parse().expect("an id");
        builder.add_pipeline(id, *signal, &[receiver], Vec::new(), &[exporter]);
    }
    (builder.build(), recorded)
}

/// The label of the receiver's own metrics: its items add up only under one id.
fn receiver_id(context: &TestContext) -> Option<String> {
    let samples = context.telemetry.collect().into_iter().flat_map(|family| family.samples);
    samples.flat_map(|sample| sample.labels).find(|(name, _)| *name == "receiver").map(|(_, id)| id)
}
