//! Own spans: the buffers in which they wait, the part that makes the tracer, and their form as OTLP.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use otelcore_pdata::Rope;
use otelcore_pdata::build::{AttributesWriter, Body};
use otelcore_pipeline::{
    Cx, EndedSpan, Event, Extension, MonotonicTime, Notifier, Sampler, SpanSink, SpanValue, StartError, Telemetry,
    TimerId, Tracer,
};

use super::write_resource;

/// How often the clock of spans is compared with that of the wall.
const CLOCK_INTERVAL: Duration = Duration::from_mins(1);

/// `Status.code` of an error.
const STATUS_ERROR: i32 = 2;
/// `SpanKind` of a step inside of a program.
const KIND_INTERNAL: i32 = 1;

/// Spans that wait to be pushed: beyond the bound the newest are dropped, as in the SDKs, and counted.
pub(super) struct SpanBuffer {
    max_spans: usize,
    /// With this number of spans, what pushes them is notified again.
    batch_size: usize,
    state: Mutex<BufferState>,
}

#[derive(Default)]
struct BufferState {
    spans: VecDeque<EndedSpan>,
    /// Not reported yet.
    dropped: u64,
    notifier: Option<Arc<dyn Notifier>>,
}

impl SpanBuffer {
    pub(super) fn new(max_spans: usize, batch_size: usize) -> Self {
        Self { max_spans: max_spans.max(1), batch_size, state: Mutex::default() }
    }

    fn push(&self, span: EndedSpan) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.spans.len() >= self.max_spans {
            state.dropped += 1;
            return;
        }
        state.spans.push_back(span);
        let count = state.spans.len();
        if (count == 1 || count == self.batch_size)
            && let Some(notifier) = &state.notifier
        {
            notifier.notify();
        }
    }

    pub(super) fn set_notifier(&self, notifier: Arc<dyn Notifier>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).notifier = Some(notifier);
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).spans.len()
    }

    pub(super) fn take(&self, max: usize) -> Vec<EndedSpan> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let count = state.spans.len().min(max);
        state.spans.drain(..count).collect()
    }

    pub(super) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).dropped)
    }
}

/// Gives each span to all processors.
struct AllBuffers(Vec<Arc<SpanBuffer>>);

impl SpanSink for AllBuffers {
    fn record(&self, span: EndedSpan) {
        if let Some((last, others)) = self.0.split_last() {
            others.iter().for_each(|buffer| buffer.push(span.clone()));
            last.push(span);
        }
    }
}

/// The part that makes the tracer when it starts, and takes it away when it ends.
pub(in crate::service) struct TracerPart {
    telemetry: Telemetry,
    sampler: Sampler,
    reads_traceparent: bool,
    buffers: Vec<Arc<SpanBuffer>>,
    tracer: Option<Tracer>,
    timer: Option<TimerId>,
}

impl TracerPart {
    pub(super) fn new(
        telemetry: Telemetry,
        sampler: Sampler,
        reads_traceparent: bool,
        buffers: Vec<Arc<SpanBuffer>>,
    ) -> Self {
        Self { telemetry, sampler, reads_traceparent, buffers, tracer: None, timer: None }
    }

    fn set_clock(&mut self, cx: &mut Cx<'_>) {
        if let Some(tracer) = &self.tracer {
            tracer.set_clock(cx.now(), cx.wall_time());
            self.timer = Some(cx.set_timer(0, cx.now() + CLOCK_INTERVAL));
        }
    }
}

impl Extension for TracerPart {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let sink = Arc::new(AllBuffers(self.buffers.clone()));
        let tracer = Tracer::new(self.sampler.clone(), sink, self.reads_traceparent, cx.random());
        self.tracer = Some(tracer.clone());
        self.set_clock(cx);
        self.telemetry.tracer().set(tracer);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, _: u64, _: Event<'_>) {
        self.set_clock(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        if let Some(tracer) = self.tracer.take() {
            self.telemetry.tracer().remove(&tracer);
        }
        if let Some(id) = self.timer.take() {
            cx.cancel_timer(id);
        }
    }
}

/// A request with these spans, by their scopes.
pub(super) fn write_spans(spans: &[EndedSpan], resource: &[(String, String)]) -> Rope {
    let mut scopes: BTreeMap<&str, Vec<&EndedSpan>> = BTreeMap::new();
    spans.iter().for_each(|span| scopes.entry(&span.scope).or_default().push(span));
    let mut body = Body::new();
    {
        let mut entry = body.resource_spans();
        write_resource(&mut entry.resource(), resource);
        for (name, spans) in scopes {
            let mut scope_spans = entry.scope_spans();
            scope_spans.scope().name(name.as_bytes());
            for span in spans {
                let mut writer = scope_spans.span();
                writer.trace_id(&span.context.trace_id).span_id(&span.context.span_id);
                if let Some(parent) = &span.parent {
                    writer.parent_span_id(parent);
                }
                writer.name(span.name.as_bytes()).kind(KIND_INTERNAL);
                writer.start_time_unix_nano(span.start).end_time_unix_nano(span.end);
                writer.dropped_events_count(span.dropped_events).flags(u32::from(span.context.is_sampled));
                span.attributes.iter().for_each(|(key, value)| write_value(&mut writer.attributes(), key, value));
                for event in &span.events {
                    let mut of_event = writer.event();
                    of_event.time_unix_nano(event.time).name(event.name.as_bytes());
                    let mut attributes = of_event.attributes();
                    event.attributes.iter().for_each(|(key, value)| write_value(&mut attributes, key, value));
                }
                if let Some(error) = &span.error {
                    writer.status().message(error.as_bytes()).code(STATUS_ERROR);
                }
            }
        }
    }
    body.finish()
}

fn write_value(attributes: &mut AttributesWriter<'_>, key: &str, value: &SpanValue) {
    match value {
        SpanValue::Str(text) => attributes.string(key.as_bytes(), text.as_bytes()),
        SpanValue::Int(number) => attributes.int(key.as_bytes(), *number),
    };
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use otelcore_pdata::{Signal, check};
    use otelcore_pipeline::{SpanContext, SpanEvent};
    use prost::Message;

    use super::*;

    fn span(scope: &str, error: Option<&str>) -> EndedSpan {
        EndedSpan {
            scope: scope.to_owned(),
            name: "exporter/otlp/traces".to_owned(),
            context: SpanContext { trace_id: [1; 16], span_id: [2; 8], is_sampled: true },
            parent: Some([3; 8]),
            start: 5,
            end: 9,
            attributes: vec![("items.sent", SpanValue::Int(7)), ("exporter", SpanValue::Str("otlp".to_owned()))],
            events: vec![SpanEvent {
                time: 6,
                name: "Sending request.",
                attributes: vec![("retry_num", SpanValue::Int(0))],
            }],
            dropped_events: 0,
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn spans_are_grouped_by_scope_and_have_all_their_parts() {
        let rope = write_spans(&[span("b", None), span("a", Some("no")), span("b", None)], &[]);
        let bytes = rope.to_bytes();
        assert_eq!(check(Signal::Traces, &bytes).unwrap().items, 3);
        let request = ExportTraceServiceRequest::decode(bytes.as_ref()).unwrap();
        let scopes = &request.resource_spans[0].scope_spans;
        let counts: Vec<_> = scopes.iter().map(|s| (s.scope.as_ref().unwrap().name.as_str(), s.spans.len())).collect();
        assert_eq!(counts, [("a", 1), ("b", 2)]);
        let span = &scopes[0].spans[0];
        assert_eq!(
            (span.parent_span_id.as_slice(), span.events[0].name.as_str()),
            (&[3_u8; 8][..], "Sending request.")
        );
        assert_eq!(span.status.as_ref().map(|status| (status.code, status.message.as_str())), Some((2, "no")));
        assert_eq!((scopes[1].spans[0].status.is_none(), span.attributes.len(), span.flags), (true, 2, 1));
    }

    #[test]
    fn newest_spans_are_dropped_and_counted_when_the_buffer_is_full() {
        let buffer = SpanBuffer::new(2, 1);
        ["a", "b", "c"].into_iter().for_each(|scope| buffer.push(span(scope, None)));
        let scopes: Vec<String> = buffer.take(9).into_iter().map(|span| span.scope).collect();
        assert_eq!((scopes, buffer.take_dropped(), buffer.len()), (vec!["a".to_owned(), "b".to_owned()], 1, 0));
    }
}
