//! The exporter: the side of an output that runs on the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use otelcore_config::{ComponentId, GoDuration, Section};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    AttemptId, BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, Cx, Event, Exporter,
    ExporterQueueConfig, Factory, MonotonicTime, Outcome, Outcomes, Payload, StartError,
};

use crate::output::{BatchResult, OutputState};
use crate::{HostIo, lock_ignoring_poison};

/// Local keys: the notifier; timers of attempts that have a deadline.
const NOTIFIER_KEY: u64 = 0;
const DEADLINE_KEY: u64 = 1;

/// Makes `inproc` exporters.
#[derive(Debug)]
pub struct InprocExporterFactory(HostIo);

impl InprocExporterFactory {
    /// A factory whose outputs are found in `hub`.
    #[must_use]
    pub fn new(hub: &HostIo) -> Self {
        Self(hub.clone())
    }
}

struct InprocExporterConfig {
    state: Arc<OutputState>,
    queue_config: ExporterQueueConfig,
}

impl Factory for InprocExporterFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Exporter,
            type_name: "inproc",
            aliases: &[],
            signals: &Signal::ALL,
            stability: "Beta",
        }
    }

    fn parse(&self, id: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        // A host program may be slow: unless the user sets a timeout, there is none.
        let queue_config = ExporterQueueConfig::parse(&mut s, GoDuration::ZERO);
        s.finish();
        Some(Box::new(InprocExporterConfig { state: self.0.output_state(id), queue_config }))
    }
}

impl ComponentConfig for InprocExporterConfig {
    fn create(&self, _: &BuildContext<'_>) -> Result<Component, StartError> {
        let exporter =
            HostExporter { state: self.state.clone(), in_flight: BTreeSet::new(), deadlines: BTreeMap::new() };
        Ok(Component::Exporter(Box::new(exporter), self.queue_config.clone()))
    }
}

struct HostExporter {
    state: Arc<OutputState>,
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
        lock_ignoring_poison(&self.state.queue).notifier = Some(cx.notifier(NOTIFIER_KEY));
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
        self.in_flight.insert(attempt);
        if deadline != MonotonicTime::NEVER {
            self.deadlines.insert((deadline, attempt), ());
            cx.set_timer(DEADLINE_KEY, deadline);
        }
        lock_ignoring_poison(&self.state.queue).batches.push_back((attempt, payload.signal, data));
        self.state.changed.notify_one();
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, outcomes: &mut Outcomes) {
        let mut queue = lock_ignoring_poison(&self.state.queue);
        for (attempt, result) in std::mem::take(&mut queue.results) {
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
                    queue.batches.retain(|(queued, ..)| *queued != attempt);
                    outcomes.push(attempt, Outcome::retry("the host program did not finish the batch in time"));
                }
            }
        }
    }

    fn close(&mut self, _: &mut Cx<'_>) {
        self.state.close();
    }
}
