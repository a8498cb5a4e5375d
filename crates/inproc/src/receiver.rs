//! The receiver: the side of an input that runs on the loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use otelcore_config::{ComponentId, GoDuration, config_struct};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Event, LogField, Logger, MonotonicTime,
    Outcome, Payload, PipelineInput, Receiver, ReceiverMetrics, StartError, TimerId,
};

use crate::input::{InputState, OVERLOAD_RETRY_DELAY, OpenInput, SubmitError, Submitted};
use crate::{HostIo, lock_ignoring_poison};

/// Local keys: the notifier, and the timer for refused payloads.
const NOTIFIER_KEY: u64 = 0;
const RETRY_KEY: u64 = 1;

/// The pause before a refused payload is tried again.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(50);

/// Payloads taken from the queue in one turn, so that a host program that submits without pause does not delay all
/// others.
const MAX_PAYLOADS_PER_TURN: usize = 256;

config_struct! {
    /// Takes telemetry from the program that the collector is in.
    pub struct InprocReceiverConfig {
        /// The most bytes that wait for the collector.
        #[config(unit = "bytes")]
        #[config(at_least(1, "'max_queue_bytes' must be positive"))]
        pub max_queue_bytes: u64 = 64 << 20,
        /// `submit` waits until the pipelines have accepted the data, or refused it: behind an exporter with a queue on disk
        /// what it has accepted is on disk. Otherwise it never waits, and what it has accepted is in memory.
        pub wait_for_result: bool = false,
        /// How long `submit` waits with `wait_for_result`.
        #[config(above(GoDuration::ZERO, "'result_timeout' must be positive"))]
        pub result_timeout: Duration = Duration::from_secs(30),
    }
}

/// The `inproc` receiver.
#[derive(Clone, Debug)]
pub struct InprocReceiverFactory(HostIo);

impl InprocReceiverFactory {
    /// A factory whose inputs are found in `hub`.
    #[must_use]
    pub fn new(hub: &HostIo) -> Self {
        Self(hub.clone())
    }
}

impl ComponentType for InprocReceiverFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "inproc",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = InprocReceiverConfig;

    fn prepare(&self, id: &ComponentId) {
        self.0.input_state(id);
    }

    fn create(&self, config: &InprocReceiverConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(HostReceiver {
            state: self.0.input_state(context.id),
            max_bytes: usize::try_from(config.max_queue_bytes).unwrap_or(usize::MAX),
            signals: context.signals.to_vec(),
            result_timeout: config.wait_for_result.then_some(config.result_timeout),
            budget: context.budget.clone(),
            metrics: ReceiverMetrics::new(context.telemetry, &context.id.to_string(), "inproc", context.signals),
            log: context.log.clone(),
            unsettled: BTreeMap::new(),
            awaiting_retry: BTreeMap::new(),
            next_request: 0,
            retry_timer: None,
            is_closing: false,
            number: 0,
            replaced: None,
        })))
    }
}

struct HostReceiver {
    state: Arc<InputState>,
    max_bytes: usize,
    signals: Vec<Signal>,
    result_timeout: Option<Duration>,
    budget: Arc<otelcore_pipeline::Budget>,
    metrics: ReceiverMetrics,
    log: Logger,
    /// Payloads in the pipelines that are not settled.
    unsettled: BTreeMap<u64, Submitted>,
    /// Refused payloads that are to be sent again.
    awaiting_retry: BTreeMap<u64, Payload>,
    next_request: u64,
    retry_timer: Option<TimerId>,
    is_closing: bool,
    /// Its number among the receivers that have opened the input; zero before that.
    number: u64,
    /// What it has replaced in this turn: where the change of the configuration fails, that is put back.
    replaced: Option<(OpenInput, u64)>,
}

impl HostReceiver {
    fn track(&mut self, submitted: Submitted) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        self.unsettled.insert(request, submitted);
        request
    }

    /// Frees the room of a payload that has been delivered, refused permanently, or lost.
    fn release_room(&self, payload: &Payload) {
        lock_ignoring_poison(&self.state.queue).bytes -= payload.body.len();
    }
}

impl Receiver for HostReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let open = OpenInput {
            notifier: cx.notifier(NOTIFIER_KEY),
            budget: self.budget.clone(),
            signals: self.signals.clone(),
            max_bytes: self.max_bytes,
            result_timeout: self.result_timeout,
            loop_thread: std::thread::current().id(),
        };
        let mut queue = lock_ignoring_poison(&self.state.queue);
        self.number = queue.receiver + 1;
        let receiver = std::mem::replace(&mut queue.receiver, self.number);
        self.replaced = queue.open.replace(open).map(|open| (open, receiver));
        queue.closed = false;
        drop(queue);
        // Payloads may wait that the receiver before has been notified of.
        cx.request_ready(NOTIFIER_KEY);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, input: &mut PipelineInput<'_>) {
        if local == RETRY_KEY {
            self.retry_timer = None;
            for (_, payload) in std::mem::take(&mut self.awaiting_retry) {
                self.metrics.record_resent(payload.signal, payload.items());
                let request = self.track(Submitted { payload: payload.clone(), result: None });
                input.resend(cx, request, payload);
            }
        }
        for signal in &self.signals {
            self.state.is_refusing[*signal as usize].store(input.refusal(*signal).is_some(), Ordering::Relaxed);
        }
        for _ in 0..MAX_PAYLOADS_PER_TURN {
            let mut queue = lock_ignoring_poison(&self.state.queue);
            let is_own = queue.receiver == self.number;
            let Some(submitted) = is_own.then(|| queue.payloads.pop_front()).flatten() else { return };
            drop(queue);
            let payload = submitted.payload.clone();
            let request = self.track(submitted);
            input.send(cx, request, payload);
        }
        cx.request_ready(NOTIFIER_KEY);
    }

    fn settled(&mut self, cx: &mut Cx<'_>, request: u64, outcome: Outcome) {
        let Some(Submitted { payload, result }) = self.unsettled.remove(&request) else { return };
        if let Some(result) = result {
            // The caller knows, and may submit it again.
            result.send(match &outcome {
                Outcome::Delivered => Ok(()),
                Outcome::Retry { after, .. } => Err(SubmitError::Overloaded(after.unwrap_or(OVERLOAD_RETRY_DELAY))),
                Outcome::Permanent(why) => Err(SubmitError::Refused(why.to_string())),
                Outcome::Lost(_) => Err(SubmitError::Closed),
            });
            self.metrics.record_outcome(payload.signal, payload.items(), &outcome);
            return self.release_room(&payload);
        }
        match outcome {
            Outcome::Retry { after, .. } => {
                // `Input::submit` has reported it as accepted, so it is kept until a pipeline accepts it.
                self.metrics.record_kept(payload.signal, payload.items());
                self.awaiting_retry.insert(request, payload);
                if self.retry_timer.is_none() {
                    let delay =
                        if self.is_closing { MIN_RETRY_DELAY } else { after.unwrap_or_default().max(MIN_RETRY_DELAY) };
                    let at = cx.now() + delay;
                    self.retry_timer = Some(cx.set_timer(RETRY_KEY, at));
                }
                return;
            }
            Outcome::Permanent(ref why) => {
                let fields = [
                    ("error", LogField::Str(&why.message)),
                    ("dropped_items", LogField::Uint(u64::from(payload.items()))),
                ];
                self.log.error("The pipeline refused what the host program has submitted.", &fields);
            }
            Outcome::Delivered | Outcome::Lost(_) => {}
        }
        self.metrics.record_outcome(payload.signal, payload.items(), &outcome);
        self.release_room(&payload);
    }

    fn flush(&mut self, _: &mut Cx<'_>) {
        // The change that has started it has succeeded.
        self.replaced = None;
    }

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        self.is_closing = true;
        let mut queue = lock_ignoring_poison(&self.state.queue);
        if queue.receiver == self.number {
            queue.open = None;
            queue.closed = true;
        }
        drop(queue);
        cx.request_ready(NOTIFIER_KEY);
    }

    fn is_closed(&self) -> bool {
        self.is_closing && self.held_items() == 0 && self.unsettled.is_empty()
    }

    fn held_items(&self) -> u64 {
        let queue = lock_ignoring_poison(&self.state.queue);
        let is_own = queue.receiver == self.number;
        let queued: u64 = queue.payloads.iter().filter(|_| is_own).map(|it| u64::from(it.payload.items())).sum();
        drop(queue);
        queued + self.awaiting_retry.values().map(|p| u64::from(p.items())).sum::<u64>()
    }
}

impl Drop for HostReceiver {
    /// A receiver that never ran gives the input back. One that is dropped otherwise takes no payloads any more.
    fn drop(&mut self) {
        if self.number == 0 || self.state.is_forked() {
            return;
        }
        let mut queue = lock_ignoring_poison(&self.state.queue);
        if queue.receiver == self.number {
            match self.replaced.take() {
                Some((open, receiver)) => (queue.open, queue.receiver) = (Some(open), receiver),
                None => (queue.open, queue.closed) = (None, true),
            }
        }
    }
}
