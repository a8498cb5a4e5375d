//! The traces in memory: their spans, when they are due, and what was decided. Makes no decisions.

use std::collections::{BTreeMap, VecDeque};

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use otelcore_pdata::Rope;
use otelcore_pipeline::{Ack, MonotonicTime};

/// 16 bytes; all zeros for spans without one.
pub(crate) type TraceId = [u8; 16];

/// Bytes of memory that a trace takes beside its spans, about.
const TRACE_BYTES: u64 = 256;
/// Bytes of memory that an ack takes, about.
const ACK_BYTES: u64 = 96;

/// What was decided about a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    Sampled,
    NotSampled,
    /// By a policy of the type `drop`.
    Dropped,
}

/// A trace in memory.
#[derive(Debug)]
pub(crate) struct Trace {
    /// When its first span arrived.
    pub(crate) arrived: MonotonicTime,
    /// Its spans, as the body of a request. Empty once it is decided.
    pub(crate) body: Vec<u8>,
    pub(crate) spans: u64,
    /// The spans in `body`.
    held_spans: u32,
    /// Those of payloads with its spans whose senders wait for the delivery.
    acks: Vec<Ack>,
    /// The bytes of all its spans so far.
    pub(crate) size: u64,
    pub(crate) decision: Option<(Decision, MonotonicTime)>,
    /// The tick at which it is decided.
    due: u64,
    /// Its place among the traces by arrival.
    number: u64,
    /// It is decided early, at a bound, and forgotten then.
    is_early: bool,
}

/// The traces.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    by_id: HashMap<TraceId, Trace, RandomState>,
    /// The ids by arrival.
    by_arrival: BTreeMap<u64, TraceId>,
    next_number: u64,
    /// The ids that are due at a tick. An id may stand at several; the one of its trace counts.
    due: BTreeMap<u64, Vec<TraceId>>,
    /// The ids that are due now.
    ready: VecDeque<TraceId>,
    /// Bytes of spans, and spans, that are not decided.
    bytes: u64,
    pending_spans: u64,
    pending_traces: usize,
    acks: u64,
}

impl Traces {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Bytes of spans.
    pub(crate) fn span_bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of memory, about.
    pub(crate) fn memory(&self) -> u64 {
        self.bytes.saturating_add(self.by_id.len() as u64 * TRACE_BYTES + self.acks * ACK_BYTES)
    }

    /// Spans that are not decided.
    pub(crate) fn pending_spans(&self) -> u64 {
        self.pending_spans
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.pending_traces > 0
    }

    pub(crate) fn get(&self, id: &TraceId) -> Option<&Trace> {
        self.by_id.get(id)
    }

    /// Begins a trace that is due at a tick.
    pub(crate) fn insert(&mut self, id: TraceId, arrived: MonotonicTime, due: u64) {
        let number = self.next_number;
        self.next_number += 1;
        self.by_arrival.insert(number, id);
        self.due.entry(due).or_default().push(id);
        self.pending_traces += 1;
        let trace = Trace {
            arrived,
            body: Vec::new(),
            spans: 0,
            held_spans: 0,
            acks: Vec::new(),
            size: 0,
            decision: None,
            due,
            number,
            is_early: false,
        };
        self.by_id.insert(id, trace);
    }

    /// Counts spans, whatever was decided; returns the bytes of the trace.
    pub(crate) fn count(&mut self, id: &TraceId, spans: u32, bytes: usize) -> u64 {
        let Some(trace) = self.by_id.get_mut(id) else { return 0 };
        trace.spans += u64::from(spans);
        trace.size += bytes as u64;
        trace.size
    }

    /// Adds spans to a trace that is not decided.
    pub(crate) fn append(&mut self, id: &TraceId, entry: &[u8], spans: u32) {
        if let Some(trace) = self.by_id.get_mut(id) {
            trace.body.extend_from_slice(entry);
            trace.held_spans = trace.held_spans.saturating_add(spans);
            self.bytes += entry.len() as u64;
            self.pending_spans += u64::from(spans);
        }
    }

    /// Keeps the ack of a payload until the trace is decided.
    pub(crate) fn add_ack(&mut self, id: &TraceId, ack: Ack) {
        if let Some(trace) = self.by_id.get_mut(id) {
            trace.acks.push(ack);
            self.acks += 1;
        }
    }

    /// Takes the acks of a trace away.
    pub(crate) fn take_acks(&mut self, id: &TraceId) -> Vec<Ack> {
        let acks = self.by_id.get_mut(id).map(|trace| std::mem::take(&mut trace.acks)).unwrap_or_default();
        self.acks = self.acks.saturating_sub(acks.len() as u64);
        acks
    }

    /// Makes a trace due at an earlier tick, if it is not due before.
    pub(crate) fn make_due_by(&mut self, id: &TraceId, tick: u64) {
        if let Some(trace) = self.by_id.get_mut(id)
            && trace.decision.is_none()
            && tick < trace.due
        {
            trace.due = tick;
            self.due.entry(tick).or_default().push(*id);
        }
    }

    /// Makes ready what is due at a tick or before it.
    pub(crate) fn reach(&mut self, tick: u64) {
        while let Some(entry) = self.due.first_entry()
            && *entry.key() <= tick
        {
            self.ready.extend(entry.remove());
        }
    }

    /// Makes every trace ready, the oldest first.
    pub(crate) fn reach_end(&mut self) {
        self.due.clear();
        self.ready.extend(self.by_arrival.values().copied());
        self.by_id.values_mut().for_each(|trace| trace.due = 0);
    }

    /// Makes the oldest trace ready before all others if it is not decided, and forgets it if it is. Returns false when
    /// there is none.
    pub(crate) fn release_oldest(&mut self) -> bool {
        let Some((_, id)) = self.by_arrival.pop_first() else { return false };
        match self.by_id.get_mut(&id) {
            Some(trace) if trace.decision.is_none() => {
                (trace.due, trace.is_early) = (0, true);
                self.ready.push_back(id);
            }
            _ => drop(self.remove(&id)),
        }
        true
    }

    /// The next trace to decide.
    pub(crate) fn next_ready(&mut self, tick: u64) -> Option<TraceId> {
        while let Some(id) = self.ready.pop_front() {
            if self.by_id.get(&id).is_some_and(|trace| trace.decision.is_none() && trace.due <= tick) {
                return Some(id);
            }
        }
        None
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the spans of a trace away.
    pub(crate) fn take_spans(&mut self, id: &TraceId) -> Rope {
        let Some(trace) = self.by_id.get_mut(id) else { return Rope::default() };
        let (body, spans) = (std::mem::take(&mut trace.body), std::mem::take(&mut trace.held_spans));
        self.bytes -= body.len() as u64;
        self.pending_spans = self.pending_spans.saturating_sub(u64::from(spans));
        Rope::new(body.into(), spans)
    }

    /// Records a decision. Returns whether the trace is forgotten with it, because it was decided early.
    pub(crate) fn record_decision(&mut self, id: &TraceId, decision: Decision, now: MonotonicTime) -> bool {
        let Some(trace) = self.by_id.get_mut(id) else { return false };
        if trace.decision.is_none() {
            self.pending_traces -= 1;
        }
        trace.decision = Some((decision, now));
        trace.is_early
    }

    /// Forgets a trace; returns when it arrived.
    pub(crate) fn remove(&mut self, id: &TraceId) -> Option<MonotonicTime> {
        let trace = self.by_id.remove(id)?;
        self.by_arrival.remove(&trace.number);
        self.bytes -= trace.body.len() as u64;
        self.acks = self.acks.saturating_sub(trace.acks.len() as u64);
        self.pending_spans = self.pending_spans.saturating_sub(u64::from(trace.held_spans));
        if trace.decision.is_none() {
            self.pending_traces -= 1;
        }
        Some(trace.arrived)
    }
}
