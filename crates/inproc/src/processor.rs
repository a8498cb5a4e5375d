//! The processor: the side of a host program's processor that runs on the loop.
//!
//! Acks stay here, payloads go to the host's threads. Never waits for the host: a payload whose time is over is refused,
//! and its late result is ignored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{ComponentId, GoDuration, config_struct};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Ack, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Downstream, Event, LogField, Logger,
    MonotonicTime, Outcome, Payload, Processor, StartError,
};

use crate::host_processor::{PayloadOutcome, ProcessorState};
use crate::waiting::notify;
use crate::{HostIo, lock_ignoring_poison};

/// Local keys: the notifier; the timer of deadlines.
const NOTIFIER_KEY: u64 = 0;
const DEADLINE_KEY: u64 = 1;

/// Results handled in one turn.
const MAX_RESULTS_PER_TURN: usize = 64;

config_struct! {
    /// Gives telemetry to the program that the collector is in, which changes it or drops items of it.
    pub struct InprocProcessorConfig {
        /// How long the program may take for a payload, with the time that the payload waits for it. Then the payload is
        /// refused, and its sender may send it again. Zero is no limit.
        #[config(at_least(GoDuration::ZERO, "'timeout' must be non-negative"))]
        pub timeout: Duration = Duration::from_secs(5),
        /// The most bytes that wait for the program or are in it; above it payloads are refused, and their senders may
        /// send them again. One payload may be larger.
        #[config(unit = "bytes")]
        #[config(at_least(1, "'max_queue_bytes' must be positive"))]
        pub max_queue_bytes: u64 = 64 << 20,
    }
}

/// The `inproc` processor.
#[derive(Clone, Debug)]
pub struct InprocProcessorFactory(HostIo);

impl InprocProcessorFactory {
    /// A factory whose processors are found in `hub`.
    #[must_use]
    pub fn new(hub: &HostIo) -> Self {
        Self(hub.clone())
    }
}

impl ComponentType for InprocProcessorFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "inproc",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = InprocProcessorConfig;

    fn prepare(&self, id: &ComponentId) {
        self.0.processor_state(id);
    }

    fn create(&self, config: &InprocProcessorConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let state = self.0.processor_state(context.id);
        Ok(Component::Processor(Box::new(ProcessorInstance {
            instance: None,
            state,
            id: context.id.clone(),
            timeout: config.timeout,
            max_bytes: usize::try_from(config.max_queue_bytes).unwrap_or(usize::MAX),
            in_flight: BTreeMap::new(),
            has_timer: false,
            held_items: 0,
            log: context.log.clone(),
        })))
    }
}

/// A payload that the host program has, or that waits for it.
struct InFlight {
    ack: Ack,
    items: u32,
    deadline: MonotonicTime,
}

/// The processor of one pipeline. All of one id share the state of the host's side.
struct ProcessorInstance {
    /// Its number on the host's side, once it is started.
    instance: Option<u64>,
    state: Arc<ProcessorState>,
    id: ComponentId,
    timeout: Duration,
    max_bytes: usize,
    /// In the order of their tickets, which is the order of their deadlines: all have the same timeout.
    in_flight: BTreeMap<u64, InFlight>,
    /// A timer is set, at the first of the deadlines or before.
    has_timer: bool,
    held_items: u64,
    log: Logger,
}

fn overloaded() -> Outcome {
    Outcome::retry("the host program has as much data to process as it may")
}

impl ProcessorInstance {
    fn take(&mut self, ticket: u64) -> Option<InFlight> {
        let in_flight = self.in_flight.remove(&ticket)?;
        self.held_items -= u64::from(in_flight.items);
        Some(in_flight)
    }

    /// The next deadline, and the ticket of its payload.
    fn first_deadline(&self) -> Option<(MonotonicTime, u64)> {
        let (ticket, first) = self.in_flight.first_key_value()?;
        (first.deadline != MonotonicTime::NEVER).then_some((first.deadline, *ticket))
    }

    fn apply(&mut self, ticket: u64, outcome: PayloadOutcome, downstream: &mut Downstream) {
        // The result of a payload that was refused for its time is ignored.
        let Some(InFlight { ack, items, .. }) = self.take(ticket) else { return };
        match outcome {
            PayloadOutcome::Pass(payload) => {
                downstream.record_dropped("host", u64::from(items.saturating_sub(payload.items())));
                downstream.record_created("host", u64::from(payload.items().saturating_sub(items)));
                match payload.items() {
                    0 => ack.settle(Outcome::Delivered),
                    _ => downstream.send(*payload, ack),
                }
            }
            PayloadOutcome::Retry(after) => {
                let why = otelcore_pipeline::Error::new("the host program could not process the data now");
                downstream.refuse(ack, items, Outcome::Retry { after, why });
            }
            PayloadOutcome::Permanent(why) => {
                let fields = [("error", LogField::Str(&why)), ("dropped_items", LogField::Uint(u64::from(items)))];
                self.log.error("The host program refused what it was to process.", &fields);
                downstream.refuse(ack, items, Outcome::permanent(why));
            }
        }
    }

    fn refuse_late(&mut self, now: MonotonicTime, downstream: &mut Downstream) {
        while let Some((deadline, ticket)) = self.first_deadline()
            && deadline <= now
        {
            lock_ignoring_poison(&self.state.queue).forget_waiting(ticket);
            if let Some(late) = self.take(ticket) {
                let outcome = Outcome::retry("the host program did not process the data in time");
                downstream.refuse(late.ack, late.items, outcome);
            }
        }
    }
}

impl Processor for ProcessorInstance {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let mut queue = lock_ignoring_poison(&self.state.queue);
        if !queue.has_host {
            return Err(StartError::Config(format!(
                "processor {:?}: the program has nothing that processes its data; give it a callback, or take its payloads, \
                 before the start",
                self.id.to_string()
            )));
        }
        self.instance = Some(queue.add_instance(cx.notifier(NOTIFIER_KEY), self.max_bytes));
        Ok(())
    }

    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        let items = payload.items();
        let Some(instance) = self.instance else { return downstream.refuse(ack, items, overloaded()) };
        let mut queue = lock_ignoring_poison(&self.state.queue);
        if queue.bytes > 0 && queue.bytes.saturating_add(payload.body.len()) > self.max_bytes {
            return downstream.refuse(ack, items, overloaded());
        }
        let ticket = queue.push(instance, payload);
        notify(&*self.state, queue, false);
        let deadline = if self.timeout.is_zero() { MonotonicTime::NEVER } else { cx.now() + self.timeout };
        // A timer that is set is not too late for this payload.
        if deadline != MonotonicTime::NEVER && !std::mem::replace(&mut self.has_timer, true) {
            cx.set_timer(DEADLINE_KEY, deadline);
        }
        self.held_items += u64::from(items);
        self.in_flight.insert(ticket, InFlight { ack, items, deadline });
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, downstream: &mut Downstream) {
        let Some(instance) = self.instance else { return };
        for _ in 0..MAX_RESULTS_PER_TURN {
            let Some((ticket, outcome)) = lock_ignoring_poison(&self.state.queue).next_result(instance) else { break };
            self.apply(ticket, outcome, downstream);
        }
        if lock_ignoring_poison(&self.state.queue).has_results(instance) {
            cx.request_ready(NOTIFIER_KEY);
        }
        if local == DEADLINE_KEY {
            self.refuse_late(cx.now(), downstream);
            let next = self.first_deadline();
            self.has_timer = next.is_some();
            if let Some((deadline, _)) = next {
                cx.set_timer(DEADLINE_KEY, deadline);
            }
        }
    }

    fn refusal(&self) -> Option<Outcome> {
        (lock_ignoring_poison(&self.state.queue).bytes >= self.max_bytes).then(overloaded)
    }

    fn held_items(&self) -> u64 {
        self.held_items
    }
}

impl Drop for ProcessorInstance {
    /// The end of the loop: calls of the host that wait return.
    fn drop(&mut self) {
        if let Some(instance) = self.instance {
            self.state.remove_instance(instance);
        }
    }
}
