//! The receiver that makes the test telemetry, at a rate and with a bounded number of requests without an answer.
//!
//! Owns the schedule and what it counts of the outcomes. Knows nothing about the protocol.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use otelcore_config::declare::NoKeys;
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Event, MonotonicTime, Outcome, Payload,
    PipelineInput, Receiver, ReceiverMetrics, StartError,
};

use super::LoadOptions;
use super::report::Results;
use super::telemetry::Request;

/// The only local key: the timer of the schedule, and further turns.
const SCHEDULE_KEY: u64 = 0;
/// The requests that are made in one turn.
const MAX_REQUESTS_PER_TURN: usize = 8;
/// The pause after a request that failed, so that a peer that is not there costs no core.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// The results, which the receiver writes and the command reads.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedResults(Arc<Mutex<Results>>);

impl SharedResults {
    pub(super) fn get(&self) -> MutexGuard<'_, Results> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the receiver.
#[derive(Clone, Debug)]
pub(super) struct LoadFactory {
    pub(super) options: LoadOptions,
    pub(super) results: SharedResults,
}

impl ComponentType for LoadFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "load",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Development",
    };
    type Config = NoKeys;

    fn create(&self, _: &NoKeys, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(Load {
            options: self.options.clone(),
            results: self.results.clone(),
            metrics: ReceiverMetrics::new(context.telemetry, &context.id.to_string(), "", context.signals),
            padding: vec![b'x'; self.options.size],
            begin: None,
            sent: [0; 3],
            next_signal: 0,
            waiting: BTreeMap::new(),
            next_request: 0,
            not_before: MonotonicTime(0),
            is_closing: false,
        })))
    }
}

/// A request without an outcome.
struct SentRequest {
    signal: Signal,
    items: u32,
    at: MonotonicTime,
}

struct Load {
    options: LoadOptions,
    results: SharedResults,
    metrics: ReceiverMetrics,
    padding: Vec<u8>,
    /// When the load began, and the time of day then.
    begin: Option<(MonotonicTime, u64)>,
    /// Items, by signal.
    sent: [u64; 3],
    /// The index of the signal whose turn it is.
    next_signal: usize,
    waiting: BTreeMap<u64, SentRequest>,
    next_request: u64,
    /// Nothing is sent earlier: the pause after a failure.
    not_before: MonotonicTime,
    is_closing: bool,
}

/// What to do next.
#[derive(PartialEq, Eq, Debug)]
enum Next {
    Send(Signal, u32),
    /// Nothing is due before this time.
    WaitUntil(MonotonicTime),
    /// Everything is sent.
    Ended,
}

impl Load {
    /// What is due now: of the signal whose turn it is, so that all signals are equally far.
    fn next(&self, now: MonotonicTime, begin: MonotonicTime) -> Next {
        let elapsed = now.since(begin);
        if self.options.duration.is_some_and(|duration| elapsed >= duration) {
            return Next::Ended;
        }
        let signals = &self.options.signals;
        let Some(signal) = signals.get(self.next_signal % signals.len().max(1)).copied() else { return Next::Ended };
        let sent = *signal.entry_of(&self.sent);
        let left = self.options.count.map_or(u64::MAX, |count| count.saturating_sub(sent));
        if left == 0 {
            return Next::Ended;
        }
        let items = self.options.batch.min(u32::try_from(left).unwrap_or(u32::MAX));
        match self.options.rate {
            // The first request is due at once; each later one when the items before it are.
            Some(rate) if elapsed.as_secs_f64() * rate < sent as f64 => {
                let due = Duration::try_from_secs_f64(sent as f64 / rate).unwrap_or(Duration::MAX);
                Next::WaitUntil(begin + due.min(self.options.duration.unwrap_or(Duration::MAX)))
            }
            _ => Next::Send(signal, items),
        }
    }

    fn send(&mut self, cx: &mut Cx<'_>, signal: Signal, items: u32, begin: u64, input: &mut PipelineInput<'_>) {
        let now = cx.wall_time().0;
        let first = *signal.entry_of(&self.sent);
        let request =
            Request { signal, items, first, service: &self.options.service, padding: &self.padding, begin, now };
        let body = request.body(&mut || cx.random());
        let held = input.budget().hold(body.len() as u64);
        if let Some(sent) = self.sent.get_mut(signal as usize) {
            *sent += u64::from(items);
        }
        self.next_signal += 1;
        self.results.get().add_sent(signal, items, body.len());
        let number = self.next_request;
        self.next_request += 1;
        self.waiting.insert(number, SentRequest { signal, items, at: cx.now() });
        input.send(cx, number, Payload { signal, body, metadata: None, held });
    }

    fn note_end(&mut self, now: MonotonicTime) {
        if let (true, Some((begin, _))) = (self.waiting.is_empty(), self.begin) {
            let mut results = self.results.get();
            results.has_ended = true;
            results.elapsed = now.since(begin);
        }
    }
}

impl Receiver for Load {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        cx.request_ready(SCHEDULE_KEY);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, _: u64, _: Event<'_>, input: &mut PipelineInput<'_>) {
        let now = cx.now();
        let (begin, begin_wall) = *self.begin.get_or_insert_with(|| (now, cx.wall_time().0));
        if self.is_closing {
            return;
        }
        self.results.get().elapsed = now.since(begin);
        if now < self.not_before {
            cx.set_timer(SCHEDULE_KEY, self.not_before);
            return;
        }
        for _ in 0..MAX_REQUESTS_PER_TURN {
            if self.waiting.len() >= self.options.concurrency {
                // The next outcome continues.
                return;
            }
            match self.next(now, begin) {
                Next::Send(signal, items) => self.send(cx, signal, items, begin_wall, input),
                Next::WaitUntil(at) => {
                    cx.set_timer(SCHEDULE_KEY, at);
                    return;
                }
                Next::Ended => {
                    self.is_closing = true;
                    return self.note_end(now);
                }
            }
        }
        cx.request_ready(SCHEDULE_KEY);
    }

    fn settled(&mut self, cx: &mut Cx<'_>, request: u64, outcome: Outcome) {
        let Some(sent) = self.waiting.remove(&request) else { return };
        let now = cx.now();
        self.metrics.record_outcome(sent.signal, sent.items, &outcome);
        if outcome != Outcome::Delivered {
            self.not_before = now + PAUSE_AFTER_FAILURE;
        }
        self.results.get().add_outcome(sent.signal, sent.items, now.since(sent.at), &outcome);
        if self.is_closing {
            self.note_end(now);
        } else {
            cx.request_ready(SCHEDULE_KEY);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        self.is_closing = true;
        self.note_end(cx.now());
    }

    fn is_closed(&self) -> bool {
        self.is_closing && self.waiting.is_empty()
    }
}
