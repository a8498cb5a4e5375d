//! Spans of receivers: from a payload's entry into the pipelines until its outcome is known.
//!
//! Owns the spans in progress. Empty, and without cost, where the collector makes no traces of its own.

use std::collections::BTreeMap;

use otelcore_pdata::Signal;

use crate::ack::{AckTarget, SentItems};
use crate::own_traces::{ActiveSpan, SpanContext, SpanValue, TracerSlot};
use crate::{MonotonicTime, Outcome, Payload};

/// What a receiver does, in the names of spans.
const OPERATIONS: [&str; 3] = ["TraceDataReceived", "MetricsReceived", "LogsReceived"];

/// The attributes with the numbers of items, by signal.
const ITEM_KEYS: [[&str; 3]; 3] = [
    ["accepted_spans", "refused_spans", "failed_spans"],
    ["accepted_metric_points", "refused_metric_points", "failed_metric_points"],
    ["accepted_log_records", "refused_log_records", "failed_log_records"],
];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ReceiverTraces {
    pub(super) tracer: TracerSlot,
    /// The ids of the receivers, by owner number.
    receivers: BTreeMap<u32, String>,
    /// By receiver and request. A request may have a payload of each signal.
    spans: BTreeMap<(u32, u64), Vec<(Signal, ActiveSpan)>>,
}

impl ReceiverTraces {
    pub(super) fn add_receiver(&mut self, owner: u32, id: String) {
        self.receivers.insert(owner, id);
    }

    /// A receiver has ended.
    pub(super) fn remove_receiver(&mut self, owner: u32) {
        self.receivers.remove(&owner);
        self.spans.retain(|(of, _), _| *of != owner);
    }

    /// Adds what the graph has that this one is changed into.
    pub(super) fn adopt(&mut self, next: Self) {
        self.receivers.extend(next.receivers);
    }

    /// A receiver sends a payload.
    pub(super) fn begin(&mut self, owner: u32, request: u64, payload: &Payload, now: MonotonicTime) {
        let Some(tracer) = self.tracer.get() else { return };
        let Some(id) = self.receivers.get(&owner) else { return };
        let header = payload.metadata.as_ref().filter(|_| tracer.reads_traceparent());
        let parent = header.and_then(|metadata| SpanContext::from_traceparent(metadata.get("traceparent").first()?));
        let operation = OPERATIONS.get(payload.signal as usize).copied().unwrap_or_default();
        let span = tracer.start(id, format!("receiver/{id}/{operation}"), parent, now);
        self.spans.entry((owner, request)).or_default().push((payload.signal, span));
    }

    fn span(&mut self, target: Option<AckTarget>, signal: Signal) -> Option<&mut ActiveSpan> {
        if self.spans.is_empty() {
            return None;
        }
        let Some(AckTarget::Receiver(owner, request)) = target else { return None };
        let spans = self.spans.get_mut(&(owner, request))?;
        // A connector may have changed the signal.
        let index = spans.iter().position(|(of, _)| *of == signal).unwrap_or(0);
        spans.get_mut(index).map(|(_, span)| span)
    }

    /// Whether spans are in progress.
    pub(super) fn is_active(&self) -> bool {
        !self.spans.is_empty()
    }

    /// The span that a payload follows from, by the target of its ack.
    pub(super) fn context(&mut self, target: Option<AckTarget>, signal: Signal) -> Option<SpanContext> {
        self.span(target, signal).map(|span| span.context())
    }

    /// A processor begins or ends with a payload.
    pub(super) fn record_processing(
        &mut self,
        target: Option<AckTarget>,
        signal: Signal,
        processor: &dyn std::fmt::Display,
        event: &'static str,
        now: MonotonicTime,
    ) {
        if let Some(span) = self.span(target, signal) {
            span.add_event(now, event, || vec![("processor", SpanValue::Str(processor.to_string()))]);
        }
    }

    /// The outcome of a receiver's payload is known.
    pub(super) fn end(&mut self, owner: u32, request: u64, sent: SentItems, outcome: &Outcome, now: MonotonicTime) {
        if self.spans.is_empty() {
            return;
        }
        let Some(spans) = self.spans.get_mut(&(owner, request)) else { return };
        let Some(index) = spans.iter().position(|(signal, _)| *signal == sent.signal) else { return };
        let (signal, mut span) = spans.swap_remove(index);
        if spans.is_empty() {
            self.spans.remove(&(owner, request));
        }
        let items = i64::try_from(sent.items).unwrap_or(i64::MAX);
        let is_accepted = *outcome == Outcome::Delivered;
        // All errors count as refused, as in the metrics of receivers.
        let counts = if is_accepted { [items, 0, 0] } else { [0, items, 0] };
        for (key, count) in ITEM_KEYS.get(signal as usize).into_iter().flatten().zip(counts) {
            span.set(key, SpanValue::Int(count));
        }
        match outcome {
            Outcome::Delivered => span.end(now, None),
            Outcome::Retry { why, .. } | Outcome::Permanent(why) => span.end(now, Some(why)),
            Outcome::Lost(_) => span.end(now, Some(&"the data was lost")),
        }
    }
}
