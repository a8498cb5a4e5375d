//! The `groupbytrace` processor: waits for the spans of a trace, and passes them on together.
//!
//! Takes custody: a payload is delivered when its spans are stored. Nothing stored is ever dropped: the oldest traces are
//! passed on early where there are too many, and all at a flush and at the shutdown. While the next component accepts
//! nothing, traces stay stored; above the bounds payloads are then refused, retryably.

mod config;
mod split;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use config::{GroupByTraceConfig, GroupByTraceFactory};
use otelcore_pdata::edit::EditError;
use otelcore_pdata::{Rope, Signal, StepBudget};
use otelcore_pipeline::{
    Ack, Budget, Counter, Cx, Downstream, Event, Gauge, JobResult, LogField, Logger, LossReason, MetricsLevel,
    MonotonicTime, Outcome, Payload, Processor, StartError, Telemetry,
};
use split::{TracePart, split};

use crate::series::{IdentityHasher, SeriesId, SeriesState, SeriesTable};

/// The local keys of events.
const RELEASE_KEY: u64 = 0;
const JOB_KEY: u64 = 1;
const NEXT_TURN_KEY: u64 = 2;
const RETRY_KEY: u64 = 3;

/// Traces that are stored or passed on in one turn at most.
const TRACES_PER_TURN: usize = 1000;

/// Bytes of payloads that may wait behind one that is divided on a helper thread.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// Payloads that are passed on and whose outcome is not known yet, at most.
const MAX_IN_FLIGHT: usize = 64;

/// Traces whose time is over and which the next component does not accept, at which new payloads are refused.
const MAX_OVERDUE: usize = 10_000;

/// Traces that are passed on early at most when one is stored.
const MAX_EVICTED: usize = 4;

/// The shortest pause before refused payloads are passed on again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Units of work that a byte costs when it is divided.
const COST_PER_BYTE: u64 = 20;

/// A trace that is stored.
#[derive(Debug)]
struct Trace {
    entries: Vec<u8>,
    spans: u32,
}

impl SeriesState for Trace {
    fn heap_bytes(&self) -> usize {
        self.entries.capacity()
    }
}

#[derive(Debug)]
struct Metrics {
    in_memory: Gauge,
    waiting: Gauge,
    evicted: Counter,
    spans_released: Counter,
    traces_released: Counter,
}

impl Metrics {
    fn new(telemetry: &Telemetry, id: &str, num_traces: usize) -> Self {
        let level = MetricsLevel::Normal;
        let gauge = |name, help| telemetry.gauge(level, name, help, vec![("processor", id.to_owned())]);
        let counter = |name, help| telemetry.counter(level, name, help, Vec::new());
        gauge(
            "otelcol_processor_groupbytrace_conf_num_traces",
            "Maximum number of traces to hold in the internal storage [Development]",
        )
        .set(num_traces as u64);
        // Stays zero: a trace is removed only when it is passed on.
        counter(
            "otelcol_processor_groupbytrace_incomplete_releases",
            "Releases that are suspected to have been incomplete [Development]",
        );
        Self {
            in_memory: gauge(
                "otelcol_processor_groupbytrace_num_traces_in_memory",
                "Number of traces currently in the in-memory storage [Development]",
            ),
            waiting: gauge(
                "otelcol_processor_groupbytrace_num_events_in_queue",
                "Number of events currently in the queue [Development]",
            ),
            evicted: counter(
                "otelcol_processor_groupbytrace_traces_evicted",
                "Traces evicted from the internal buffer [Development]",
            ),
            spans_released: counter(
                "otelcol_processor_groupbytrace_spans_released",
                "Spans released to the next consumer [Development]",
            ),
            traces_released: counter(
                "otelcol_processor_groupbytrace_traces_released",
                "Traces released to the next consumer [Development]",
            ),
        }
    }
}

/// A payload that is divided.
struct Dividing {
    result: JobResult<Result<Vec<TracePart>, EditError>>,
    payload: Payload,
    ack: Ack,
}

/// The parts of a payload that are being stored.
struct Storing {
    parts: std::vec::IntoIter<TracePart>,
    ack: Ack,
    /// Its charge is released when everything is stored.
    _payload: Payload,
}

/// One instance, of one pipeline.
pub(crate) struct GroupByTrace {
    wait: Duration,
    num_traces: usize,
    budget: Arc<Budget>,
    traces: SeriesTable<Trace>,
    /// Spans of all of them.
    stored_spans: u64,
    /// When each trace is passed on, in that order: one entry for each trace that is stored.
    deadlines: VecDeque<(MonotonicTime, SeriesId)>,
    is_timer_set: bool,
    hasher: IdentityHasher,
    dividing: Option<Dividing>,
    storing: Option<Storing>,
    waiting: VecDeque<(Payload, Ack)>,
    waiting_bytes: usize,
    /// Spans of payloads that wait, that are divided, and that are being stored.
    entering_spans: u64,
    /// Spans of payloads that are in flight or refused.
    sent_spans: u64,
    /// Payloads whose outcome is not known yet, by ack.
    in_flight: BTreeMap<u64, Payload>,
    next_ack: u64,
    /// Payloads that are passed on again when the retry timer fires, by ack.
    refused: BTreeMap<u64, Payload>,
    is_retry_timer_set: bool,
    /// More than [`MAX_OVERDUE`] traces wait for the next component.
    is_overdue: bool,
    /// Everything is passed on at once.
    is_draining: bool,
    is_turn_requested: bool,
    /// Traces that may still be stored or passed on in this turn, about.
    turn_left: usize,
    /// Traces that a flush still passes on.
    flushing: usize,
    is_eviction_reported: bool,
    log: Logger,
    metrics: Metrics,
}

impl GroupByTrace {
    fn new(config: &GroupByTraceConfig, id: &str, telemetry: &Telemetry, budget: &Arc<Budget>, log: Logger) -> Self {
        let num_traces = usize::try_from(config.num_traces).unwrap_or(usize::MAX);
        Self {
            wait: config.wait_duration,
            num_traces,
            budget: budget.clone(),
            traces: SeriesTable::new(budget, 0),
            stored_spans: 0,
            deadlines: VecDeque::new(),
            is_timer_set: false,
            hasher: IdentityHasher::new(0),
            dividing: None,
            storing: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            entering_spans: 0,
            sent_spans: 0,
            in_flight: BTreeMap::new(),
            next_ack: 0,
            refused: BTreeMap::new(),
            is_retry_timer_set: false,
            is_overdue: false,
            is_draining: false,
            is_turn_requested: false,
            turn_left: TRACES_PER_TURN,
            flushing: 0,
            is_eviction_reported: false,
            log,
            metrics: Metrics::new(telemetry, id, num_traces),
        }
    }

    fn request_turn(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.is_turn_requested, true) {
            cx.request_ready(NEXT_TURN_KEY);
        }
    }

    /// Begins a payload: divides it, on a helper thread if that takes long.
    fn begin(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        let work = (payload.body.len() as u64).saturating_mul(COST_PER_BYTE);
        if work <= StepBudget::UNITS_PER_STEP {
            let result = split(&payload.body, &self.hasher);
            return self.begin_storing(result, payload, ack, downstream);
        }
        let (body, hasher) = (payload.body.clone(), self.hasher.clone());
        let result = cx.run_job(JOB_KEY, move || split(&body, &hasher));
        self.dividing = Some(Dividing { result, payload, ack });
    }

    fn begin_storing(
        &mut self,
        result: Result<Vec<TracePart>, EditError>,
        payload: Payload,
        ack: Ack,
        downstream: &mut Downstream,
    ) {
        match result {
            Ok(parts) => {
                self.storing = Some(Storing { parts: parts.into_iter(), ack, _payload: payload });
            }
            Err(error) => self.refuse(&payload, ack, Outcome::permanent(error.to_string()), downstream),
        }
    }

    /// Refuses a payload that was accepted before.
    fn refuse(&mut self, payload: &Payload, ack: Ack, outcome: Outcome, downstream: &mut Downstream) {
        self.entering_spans -= u64::from(payload.items());
        downstream.refuse(ack, payload.items(), outcome);
    }

    /// Whether traces wait until the next component has accepted others. At the shutdown, when all that is passed on was
    /// stored before, only until it does not refuse.
    fn is_blocked(&self) -> bool {
        !self.refused.is_empty() || !self.is_draining && self.in_flight.len() >= MAX_IN_FLIGHT
    }

    /// Whether a trace has to be passed on early before another one is stored.
    fn is_full(&self) -> bool {
        !self.deadlines.is_empty() && (self.traces.len() >= self.num_traces || !self.traces.has_room())
    }

    /// Stores and passes on, as much as the turn permits.
    fn run(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        loop {
            self.release_due(cx, downstream);
            if self.turn_left == 0 {
                self.request_turn(cx);
                break;
            }
            if self.storing.is_some() && self.is_full() && self.is_blocked() {
                break;
            }
            if let Some(storing) = &mut self.storing {
                match storing.parts.next() {
                    Some(part) => {
                        self.turn_left -= 1;
                        self.store(cx, part, downstream);
                    }
                    None => {
                        if let Some(storing) = self.storing.take() {
                            storing.ack.settle(Outcome::Delivered);
                        }
                    }
                }
            } else if self.dividing.is_some() {
                break;
            } else if let Some((payload, ack)) = self.waiting.pop_front() {
                self.waiting_bytes -= payload.body.len();
                self.turn_left = self.turn_left.saturating_sub(payload.body.len() / 1024);
                self.begin(cx, payload, ack, downstream);
            } else {
                break;
            }
        }
        let now = cx.now();
        self.is_overdue = self.deadlines.get(MAX_OVERDUE).is_some_and(|(deadline, _)| *deadline <= now);
        self.set_timer(cx);
        self.metrics.in_memory.set(self.traces.len() as u64);
        self.metrics.waiting.set(self.waiting.len() as u64);
    }

    fn store(&mut self, cx: &mut Cx<'_>, part: TracePart, downstream: &mut Downstream) {
        let TracePart { id, entries, spans } = part;
        self.stored_spans += u64::from(spans);
        self.entering_spans -= u64::from(spans);
        let mut entries = Some(entries);
        let known = self.traces.update(id, |trace| {
            trace.entries.extend_from_slice(&entries.take().unwrap_or_default());
            trace.spans = trace.spans.saturating_add(spans);
        });
        if known.is_some() {
            return;
        }
        for _ in 0..MAX_EVICTED {
            if !self.is_full() || self.is_blocked() {
                break;
            }
            self.turn_left = self.turn_left.saturating_sub(1);
            self.evict_oldest(downstream);
        }
        self.traces.insert(id, Trace { entries: entries.unwrap_or_default(), spans });
        self.deadlines.push_back((cx.now() + self.wait, id));
        if self.is_draining || self.flushing > 0 {
            self.flushing = self.deadlines.len();
        }
    }

    /// Passes the oldest trace on early.
    fn evict_oldest(&mut self, downstream: &mut Downstream) {
        let Some((_, id)) = self.deadlines.pop_front() else { return };
        self.release(id, downstream);
        self.metrics.evicted.add(1);
        if !std::mem::replace(&mut self.is_eviction_reported, true) {
            let fields = [("num_traces", LogField::Uint(self.num_traces as u64))];
            self.log.warn("a trace is passed on before its time: in order to avoid this in the future, adjust the wait duration and/or number of traces to keep in memory", &fields);
        }
    }

    /// Passes traces on whose time is over, or that a flush passes on, while the next component accepts them.
    fn release_due(&mut self, cx: &Cx<'_>, downstream: &mut Downstream) {
        while self.turn_left > 0
            && !self.is_blocked()
            && let Some((deadline, id)) = self.deadlines.front().copied()
            && (self.flushing > 0 || deadline <= cx.now())
        {
            self.deadlines.pop_front();
            self.flushing = self.flushing.saturating_sub(1);
            self.turn_left -= 1;
            self.release(id, downstream);
        }
    }

    /// Passes a trace on.
    fn release(&mut self, id: SeriesId, downstream: &mut Downstream) {
        let Some(Trace { entries, spans }) = self.traces.remove(id) else { return };
        self.stored_spans -= u64::from(spans);
        self.metrics.traces_released.add(1);
        self.metrics.spans_released.add(u64::from(spans));
        self.sent_spans += u64::from(spans);
        let held = self.budget.hold(entries.len() as u64);
        let body = Rope::new(entries.into(), spans);
        let ack_id = self.next_ack;
        self.next_ack += 1;
        self.send(ack_id, Payload { signal: Signal::Traces, body, metadata: None, held }, downstream);
    }

    fn send(&mut self, ack_id: u64, payload: Payload, downstream: &mut Downstream) {
        downstream.send(payload.clone(), downstream.new_ack(ack_id));
        self.in_flight.insert(ack_id, payload);
    }

    /// Sets the timer for the next trace, unless something else happens before that lets traces be passed on.
    fn set_timer(&mut self, cx: &mut Cx<'_>) {
        if !self.is_timer_set
            && !self.is_blocked()
            && !self.is_turn_requested
            && let Some((deadline, _)) = self.deadlines.front()
        {
            self.is_timer_set = true;
            cx.set_timer(RELEASE_KEY, *deadline);
        }
    }
}

impl Processor for GroupByTrace {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let random = cx.random();
        self.hasher = IdentityHasher::new(random);
        self.traces = SeriesTable::new(&self.budget, random);
        Ok(())
    }

    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        if let Some(refusal) = self.refusal() {
            return downstream.refuse(ack, payload.items(), refusal);
        }
        let bytes = self.waiting_bytes + payload.body.len();
        if bytes > MAX_WAITING_BYTES && !self.waiting.is_empty() {
            return downstream.refuse(ack, payload.items(), Outcome::retry("too much data waits for a processor"));
        }
        self.waiting_bytes = bytes;
        self.entering_spans += u64::from(payload.items());
        self.waiting.push_back((payload, ack));
        self.run(cx, downstream);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, downstream: &mut Downstream) {
        match local {
            RELEASE_KEY => self.is_timer_set = false,
            NEXT_TURN_KEY => {
                self.is_turn_requested = false;
                self.turn_left = TRACES_PER_TURN;
            }
            JOB_KEY => {
                if let Some(Dividing { result, payload, ack }) = self.dividing.take() {
                    match result.take() {
                        Some(result) => self.begin_storing(result, payload, ack, downstream),
                        // It has panicked.
                        None => self.refuse(&payload, ack, Outcome::Lost(LossReason::Dropped), downstream),
                    }
                }
            }
            _ => {
                self.is_retry_timer_set = false;
                for (ack_id, payload) in std::mem::take(&mut self.refused) {
                    self.send(ack_id, payload, downstream);
                }
            }
        }
        self.run(cx, downstream);
    }

    fn settled(&mut self, cx: &mut Cx<'_>, ack_id: u64, outcome: Outcome, downstream: &mut Downstream) {
        let Some(payload) = self.in_flight.remove(&ack_id) else { return };
        let spans = u64::from(payload.items());
        if !matches!(outcome, Outcome::Retry { .. }) {
            self.sent_spans -= spans;
        }
        match outcome {
            Outcome::Delivered => {}
            Outcome::Retry { after, .. } => {
                self.refused.insert(ack_id, payload);
                if !std::mem::replace(&mut self.is_retry_timer_set, true) {
                    let at = cx.now() + after.unwrap_or_default().max(RETRY_PAUSE);
                    cx.set_timer(RETRY_KEY, at);
                }
                return;
            }
            other => {
                let reason = format!("{other:?}");
                let fields = [("spans", LogField::Uint(payload.items().into())), ("error", LogField::Str(&reason))];
                self.log.error("consume failed", &fields);
                downstream.record_dropped("refused_downstream", spans);
            }
        }
        self.run(cx, downstream);
    }

    fn refusal(&self) -> Option<Outcome> {
        self.is_overdue.then(|| Outcome::retry("the next component refuses data"))
    }

    fn flush(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        self.flushing = self.deadlines.len();
        self.run(cx, downstream);
    }

    fn drain(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        self.is_draining = true;
        self.flush(cx, downstream);
    }

    fn held_items(&self) -> u64 {
        self.entering_spans + self.stored_spans + self.sent_spans
    }
}
