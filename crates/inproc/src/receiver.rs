//! The receiver: the side of an input that runs on the loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use otelcore_config::{ComponentId, Section};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    About, Build, Component, Cx, Door, Event, Factory, Field, Kind, Logger, Mono, Outcome, Payload, Receiver,
    ReceiverMetrics, Settings, StartError, TimerId,
};

use crate::input::{Open, Shared};
use crate::{Hub, lock};

/// Local keys: the notifier, and the timer for refused payloads.
const BELL: u64 = 0;
const AGAIN: u64 = 1;

/// The pause before a refused payload is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// Payloads taken from the queue in one turn, so that a host program that submits without pause does not delay all
/// others.
const TURN: usize = 256;

/// Makes `inproc` receivers.
#[derive(Debug)]
pub struct InprocReceiverFactory(Hub);

impl InprocReceiverFactory {
    /// A factory whose inputs are found in `hub`.
    #[must_use]
    pub fn new(hub: &Hub) -> Self {
        Self(hub.clone())
    }
}

struct InprocReceiver {
    shared: Arc<Shared>,
    max_bytes: usize,
}

/// The default of `max_queue_bytes`.
const MAX_BYTES: u64 = 64 << 20;

impl Factory for InprocReceiverFactory {
    fn about(&self) -> About {
        About { kind: Kind::Receiver, type_name: "inproc", aliases: &[], signals: &Signal::ALL, stability: "Beta" }
    }

    fn parse(&self, id: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn Settings>> {
        let max = s.int::<u64>("max_queue_bytes", MAX_BYTES);
        if max == 0 {
            s.error("max_queue_bytes", "'max_queue_bytes' must be positive");
        }
        s.finish();
        let max_bytes = usize::try_from(max).unwrap_or(usize::MAX);
        Some(Box::new(InprocReceiver { shared: self.0.make_input(id), max_bytes }))
    }
}

impl Settings for InprocReceiver {
    fn create(&self, build: &Build<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(End {
            shared: self.shared.clone(),
            max_bytes: self.max_bytes,
            signals: build.signals.to_vec(),
            budget: build.budget.clone(),
            metrics: ReceiverMetrics::new(build.telemetry, &build.id.to_string(), "inproc", build.signals),
            log: build.log.clone(),
            sent: BTreeMap::new(),
            refused: BTreeMap::new(),
            next: 0,
            timer: None,
            closing: false,
        })))
    }
}

struct End {
    shared: Arc<Shared>,
    max_bytes: usize,
    signals: Vec<Signal>,
    budget: Arc<otelcore_pipeline::Budget>,
    metrics: ReceiverMetrics,
    log: Logger,
    /// Payloads in the pipelines that are not settled.
    sent: BTreeMap<u64, Payload>,
    /// Refused payloads that are to be sent again.
    refused: BTreeMap<u64, Payload>,
    next: u64,
    timer: Option<TimerId>,
    closing: bool,
}

impl End {
    fn pass(&mut self, cx: &mut Cx<'_>, door: &mut Door<'_>, payload: Payload) {
        let number = self.next;
        self.next += 1;
        self.sent.insert(number, payload.clone());
        door.send(cx, number, payload);
    }

    /// Frees the room of a payload that has been delivered, refused permanently, or lost.
    fn free(&self, payload: &Payload) {
        lock(&self.shared.queue).bytes -= payload.body.len();
    }
}

impl Receiver for End {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let open = Open {
            bell: cx.bell(BELL),
            budget: self.budget.clone(),
            signals: self.signals.clone(),
            max_bytes: self.max_bytes,
        };
        lock(&self.shared.queue).open = Some(open);
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, door: &mut Door<'_>) {
        if local == AGAIN {
            self.timer = None;
            for (_, payload) in std::mem::take(&mut self.refused) {
                self.pass(cx, door, payload);
            }
        }
        for signal in &self.signals {
            self.shared.refusing[*signal as usize].store(door.refusal(*signal).is_some(), Ordering::Relaxed);
        }
        for _ in 0..TURN {
            let Some(payload) = lock(&self.shared.queue).payloads.pop_front() else { return };
            self.pass(cx, door, payload);
        }
        cx.again(BELL);
    }

    fn settled(&mut self, cx: &mut Cx<'_>, request: u64, outcome: Outcome) {
        let Some(payload) = self.sent.remove(&request) else { return };
        match outcome {
            Outcome::Retry { after, .. } => {
                // `Input::submit` has reported it as accepted, so it is kept until a pipeline accepts it.
                self.refused.insert(request, payload);
                if self.timer.is_none() {
                    let pause = if self.closing { PAUSE } else { after.unwrap_or_default().max(PAUSE) };
                    let at = cx.now() + pause;
                    self.timer = Some(cx.arm(AGAIN, at));
                }
                return;
            }
            Outcome::Permanent(ref why) => {
                let fields =
                    [("error", Field::Str(&why.message)), ("dropped_items", Field::Uint(u64::from(payload.items())))];
                self.log.error("The pipeline refused what the host program has submitted.", &fields);
            }
            Outcome::Delivered | Outcome::Lost(_) => {}
        }
        self.metrics.settled(payload.signal, payload.items(), &outcome);
        self.free(&payload);
    }

    fn close(&mut self, cx: &mut Cx<'_>, _: Mono) {
        self.closing = true;
        let mut queue = lock(&self.shared.queue);
        queue.open = None;
        queue.closed = true;
        drop(queue);
        cx.again(BELL);
    }

    fn is_closed(&self) -> bool {
        self.closing && self.holds() == 0 && self.sent.is_empty()
    }

    fn holds(&self) -> u64 {
        let queued: u64 = lock(&self.shared.queue).payloads.iter().map(|p| u64::from(p.items())).sum();
        queued + self.refused.values().map(|p| u64::from(p.items())).sum::<u64>()
    }
}
