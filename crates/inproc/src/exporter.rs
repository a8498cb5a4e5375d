//! The exporter: the side of an output that runs on the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{ComponentId, config_struct};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    AttemptId, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Event, Exporter,
    ExporterQueueConfig, MonotonicTime, Outcome, Outcomes, Payload, StartError,
};

use crate::output::{BatchResult, OutputState, WaitingBatch};
use crate::waiting::notify;
use crate::{HostIo, lock_ignoring_poison};

/// Local keys: the notifier; timers of attempts that have a deadline.
const NOTIFIER_KEY: u64 = 0;
const DEADLINE_KEY: u64 = 1;

config_struct! {
    /// Gives telemetry to the program that the collector is in.
    pub struct InprocExporterConfig {
        /// Queue, retry and timeout. A host program may be slow: without a timeout of the user's there is none.
        #[config(flatten)]
        pub exporter_queue: ExporterQueueConfig = ExporterQueueConfig { timeout: Duration::ZERO, ..ExporterQueueConfig::default() },
    }
}

/// The `inproc` exporter.
#[derive(Clone, Debug)]
pub struct InprocExporterFactory(HostIo);

impl InprocExporterFactory {
    /// A factory whose outputs are found in `hub`.
    #[must_use]
    pub fn new(hub: &HostIo) -> Self {
        Self(hub.clone())
    }
}

impl ComponentType for InprocExporterFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "inproc",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = InprocExporterConfig;

    fn prepare(&self, id: &ComponentId) {
        self.0.output_state(id);
    }

    fn create(&self, config: &InprocExporterConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let state = self.0.output_state(context.id);
        let exporter = HostExporter { state, number: None, in_flight: BTreeSet::new(), deadlines: BTreeMap::new() };
        Ok(Component::Exporter(Box::new(exporter), config.exporter_queue.clone()))
    }
}

struct HostExporter {
    state: Arc<OutputState>,
    /// Its number on the host's side, once it is started.
    number: Option<u64>,
    in_flight: BTreeSet<AttemptId>,
    deadlines: BTreeMap<(MonotonicTime, AttemptId), ()>,
}

fn outcome_of(result: BatchResult) -> Outcome {
    match result {
        BatchResult::Delivered => Outcome::Delivered,
        BatchResult::Retry(after) => {
            Outcome::Retry { after, why: otelcore_pipeline::Error::new("the host program could not take the batch") }
        }
        BatchResult::Permanent(why) if why.is_empty() => Outcome::permanent("the host program refused the batch"),
        BatchResult::Permanent(why) => Outcome::permanent(why),
    }
}

impl Exporter for HostExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.number = Some(lock_ignoring_poison(&self.state.queue).add_exporter(cx.notifier(NOTIFIER_KEY)));
        Ok(())
    }

    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        attempt: AttemptId,
        payload: &Payload,
        deadline: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
        let data = payload.body.to_bytes();
        if let Some(callback) = &mut *lock_ignoring_poison(&self.state.callback) {
            return outcomes.push(attempt, outcome_of(callback(payload.signal, &data)));
        }
        let Some(exporter) = self.number else {
            return outcomes.push(attempt, Outcome::retry("the exporter has ended"));
        };
        self.in_flight.insert(attempt);
        if deadline != MonotonicTime::NEVER {
            self.deadlines.insert((deadline, attempt), ());
            cx.set_timer(DEADLINE_KEY, deadline);
        }
        let batch = WaitingBatch { exporter, attempt, signal: payload.signal, data };
        let mut queue = lock_ignoring_poison(&self.state.queue);
        queue.batches.push_back(batch);
        notify(&*self.state, queue, false);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, outcomes: &mut Outcomes) {
        let Some(exporter) = self.number else { return };
        let mut queue = lock_ignoring_poison(&self.state.queue);
        for (attempt, result) in queue.take_results(exporter) {
            // The outcome of an attempt that has been given up is ignored.
            if self.in_flight.remove(&attempt) {
                outcomes.push(attempt, outcome_of(result));
            }
        }
        if local == DEADLINE_KEY {
            let now = cx.now();
            while let Some(entry) = self.deadlines.first_entry()
                && entry.key().0 <= now
            {
                let ((_, attempt), ()) = entry.remove_entry();
                if self.in_flight.remove(&attempt) {
                    queue.batches.retain(|batch| (batch.exporter, batch.attempt) != (exporter, attempt));
                    outcomes.push(attempt, Outcome::retry("the host program did not finish the batch in time"));
                }
            }
        }
    }

    fn close(&mut self, _: &mut Cx<'_>) {
        self.end();
    }
}

impl HostExporter {
    fn end(&mut self) {
        if let Some(number) = self.number.take() {
            self.state.remove_exporter(number);
        }
    }
}

impl Drop for HostExporter {
    /// The end of the loop, or of a change of the configuration that has failed: calls of the host that wait return.
    fn drop(&mut self) {
        self.end();
    }
}
