//! Spans of an exporter: of queueing a payload, and of sending it with all its attempts.
//!
//! Owns the names. Makes nothing where the collector makes no traces of its own.

use std::time::Duration;

use otelcore_pdata::Signal;

use crate::own_traces::{ActiveSpan, SpanContext, SpanValue, TracerSlot};
use crate::{Error, MonotonicTime, Outcome, Telemetry};

/// The instrumentation scope, as in the Go collector.
const SCOPE: &str = "go.opentelemetry.io/collector/exporter/exporterhelper";

/// Makes the spans of one exporter and signal.
#[derive(Debug)]
pub(super) struct ExporterTraces {
    tracer: TracerSlot,
    exporter: String,
    signal: Signal,
}

/// What is known of a payload's spans.
#[derive(Debug, Default)]
pub(super) struct ItemTrace {
    /// The span that sending it follows from.
    parent: Option<SpanContext>,
    span: Option<Box<SendSpan>>,
}

#[derive(Debug)]
struct SendSpan {
    span: ActiveSpan,
    items: i64,
    attempts: i64,
}

impl ExporterTraces {
    pub(super) fn new(telemetry: &Telemetry, exporter: &str, signal: Signal) -> Self {
        Self { tracer: telemetry.tracer().clone(), exporter: exporter.to_owned(), signal }
    }

    /// A payload that follows from `parent` is offered to the queue; `is_accepted` says whether it has room.
    pub(super) fn record_offer(&self, parent: Option<SpanContext>, now: MonotonicTime, is_accepted: bool) -> ItemTrace {
        let Some(tracer) = self.tracer.get() else { return ItemTrace::default() };
        let mut span = tracer.start(SCOPE, "exporter/enqueue".to_owned(), parent, now);
        span.add_event(now, if is_accepted { "Enqueued item." } else { "Failed to enqueue item." }, Vec::new);
        let context = span.context();
        span.end(now, None);
        ItemTrace { parent: Some(context), span: None }
    }

    /// A payload is given to an exporter without a queue.
    pub(super) fn unqueued(parent: Option<SpanContext>) -> ItemTrace {
        ItemTrace { parent, span: None }
    }

    /// An attempt to send so many items begins.
    pub(super) fn begin_attempt(&self, trace: &mut ItemTrace, items: u32, now: MonotonicTime) {
        if trace.span.is_none() {
            let Some(tracer) = self.tracer.get() else { return };
            let name = format!("exporter/{}/{}", self.exporter, self.signal.name());
            let mut span = tracer.start(SCOPE, name, trace.parent, now);
            span.set("exporter", SpanValue::Str(self.exporter.clone()));
            span.set("data_type", SpanValue::Str(self.signal.name().to_owned()));
            trace.span = Some(Box::new(SendSpan { span, items: i64::from(items), attempts: 0 }));
        }
        if let Some(send) = &mut trace.span {
            let number = send.attempts;
            send.attempts += 1;
            send.span.add_event(now, "Sending request.", || vec![("retry_num", SpanValue::Int(number))]);
        }
    }
}

impl ItemTrace {
    /// The next attempt follows after a pause.
    pub(super) fn record_retry(&mut self, now: MonotonicTime, why: &Error, pause: Duration) {
        if let Some(send) = &mut self.span {
            send.span.add_event(now, "Exporting failed. Will retry the request after interval.", || {
                let interval = SpanValue::Str(format!("{}s", pause.as_secs_f64()));
                vec![("interval", interval), ("error", SpanValue::Str(why.to_string()))]
            });
        }
    }

    /// The outcome is known.
    pub(super) fn end(&mut self, now: MonotonicTime, outcome: &Outcome) {
        let Some(send) = self.span.take() else { return };
        let SendSpan { mut span, items, .. } = *send;
        let (sent, failed) = if *outcome == Outcome::Delivered { (items, 0) } else { (0, items) };
        span.set("items.sent", SpanValue::Int(sent));
        span.set("items.failed", SpanValue::Int(failed));
        match outcome {
            Outcome::Delivered => span.end(now, None),
            Outcome::Retry { why, .. } | Outcome::Permanent(why) => span.end(now, Some(why)),
            Outcome::Lost(_) => span.end(now, Some(&"the data was lost")),
        }
    }
}
