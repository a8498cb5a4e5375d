//! A client: sends requests of spans over gRPC at planned times, and records the result of each.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use http::uri::{Authority, PathAndQuery};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_http::{Bytes, Coding, Status};
use otelcore_net::config::{Balancer, GrpcChannelConfig};
use otelcore_net::{GrpcChannel, GrpcTarget, UnaryRequest};
use otelcore_pipeline::{
    Budget, Cx, Event, Graph, GraphBuilder, Logger, MonotonicTime, NoopLogSink, Outcome, PipelineInput, Receiver,
    StartError,
};
use prost::Message;

/// The requests that a client sends.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Makes span ids of different clients different.
    pub(crate) client: u64,
    pub(crate) start_after: Duration,
    pub(crate) interval: Duration,
    pub(crate) requests: u64,
    pub(crate) spans: u64,
    /// The number of traces that the spans are of, in turn; those of all clients are the same. Zero: each span is a trace.
    pub(crate) traces: u64,
    /// Bytes of an attribute that each span carries.
    pub(crate) padding: usize,
    /// The `SpanKind` of each span.
    pub(crate) kind: i32,
    /// The client whose spans are the parents, each of the span of the same number. Zero: spans have no parent.
    pub(crate) parents: u64,
    /// Whether refused requests are sent again, not before the time that the refusal asks to wait.
    pub(crate) retry: bool,
    /// The header field of each request.
    pub(crate) authorization: Option<&'static str>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            client: 1,
            start_after: Duration::from_secs(1),
            interval: Duration::from_millis(10),
            requests: 1,
            spans: 1,
            traces: 0,
            padding: 0,
            kind: 0,
            parents: 0,
            retry: false,
            authorization: None,
        }
    }
}

impl Load {
    fn request_span_ids(&self, request: u64) -> impl Iterator<Item = u64> + use<> {
        let base = self.client << 48 | request << 16;
        (0..self.spans).map(move |i| base | i)
    }

    pub(crate) fn span_ids(&self) -> BTreeSet<u64> {
        (0..self.requests).flat_map(|r| self.request_span_ids(r)).collect()
    }

    /// The number of a span's trace.
    fn trace_number(&self, id: u64) -> u64 {
        let (request, span) = (id >> 16 & 0xffff_ffff, id & 0xffff);
        (request * self.spans + span) % self.traces
    }

    /// The spans of the traces with these numbers.
    pub(crate) fn span_ids_of_traces(&self, numbers: std::ops::Range<u64>) -> BTreeSet<u64> {
        self.span_ids().into_iter().filter(|id| numbers.contains(&self.trace_number(*id))).collect()
    }

    fn trace_id(&self, id: u64) -> Vec<u8> {
        let (first, second) = if self.traces == 0 { (id, id) } else { (1, self.trace_number(id)) };
        [first.to_be_bytes(), second.to_be_bytes()].concat()
    }

    fn parent_id(&self, id: u64) -> Vec<u8> {
        const NUMBER: u64 = (1 << 48) - 1;
        let parent = self.parents << 48 | id & NUMBER;
        if self.parents == 0 { Vec::new() } else { parent.to_be_bytes().to_vec() }
    }

    pub(crate) fn body(&self, request: u64) -> Bytes {
        let padding = (self.padding > 0).then(|| string_attribute("padding", "x".repeat(self.padding)));
        let span = |id: u64| Span {
            trace_id: self.trace_id(id),
            span_id: id.to_be_bytes().to_vec(),
            parent_span_id: self.parent_id(id),
            kind: self.kind,
            name: "work".to_owned(),
            attributes: padding.iter().cloned().collect(),
            ..Span::default()
        };
        let spans = self.request_span_ids(request).map(span).collect();
        let resource = Resource {
            attributes: vec![string_attribute("service.name", format!("client-{}", self.client))],
            ..Resource::default()
        };
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
    }
}

fn string_attribute(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// The results of a client's requests.
#[derive(Debug, Default)]
pub(crate) struct ClientResults {
    /// Responses in order: the time, the request and the result.
    pub(crate) responses: Vec<(MonotonicTime, u64, Result<(), Status>)>,
    /// Spans of requests that succeeded.
    pub(crate) acknowledged: BTreeSet<u64>,
}

impl ClientResults {
    pub(crate) fn errors(&self) -> impl Iterator<Item = (&MonotonicTime, &Status)> {
        self.responses.iter().filter_map(|(at, _, response)| Some((at, response.as_ref().err()?)))
    }
}

struct Client {
    load: Load,
    channel: GrpcChannel,
    planned: VecDeque<u64>,
    /// Requests to send again, by the time at which they are due.
    retries: BTreeMap<(MonotonicTime, u64), ()>,
    results: Rc<RefCell<ClientResults>>,
    started: MonotonicTime,
}

const TIMER: u64 = 1 << 50;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A graph that sends `load` to the node called `collector`.
pub(crate) fn client_graph(collector: &str, load: &Load) -> (Graph, Rc<RefCell<ClientResults>>) {
    let config = GrpcChannelConfig {
        endpoint: format!("{collector}:4317"),
        target: GrpcTarget::Host { host: collector.to_owned(), port: 4317 },
        tls: None,
        compression: Coding::Identity,
        headers: load.authorization.iter().map(|value| (AUTHORIZATION, HeaderValue::from_static(value))).collect(),
        wait_for_ready: false,
        balancer: Balancer::PickFirst,
        keepalive: None,
        authority: Authority::from_static("collector:4317"),
        user_agent: HeaderValue::from_static("test-client"),
        read_buffer_size: 64 << 10,
        write_buffer_size: 32 << 10,
    };
    let results = Rc::new(RefCell::new(ClientResults::default()));
    let log = Logger::new(Arc::new(NoopLogSink));
    let receiver = Client {
        load: load.clone(),
        channel: GrpcChannel::new(Rc::new(config), None, log.clone(), 0),
        planned: (0..load.requests).collect(),
        retries: BTreeMap::new(),
        results: results.clone(),
        started: MonotonicTime::default(),
    };
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), log);
    builder.add_receiver("client".parse().unwrap(), Box::new(receiver));
    (builder.build(), results)
}

impl Client {
    fn send(&mut self, cx: &mut Cx<'_>, request: u64) {
        let path = PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
        let message = std::iter::once(self.load.body(request)).collect();
        let by = cx.now() + REQUEST_TIMEOUT;
        self.channel.start_call(cx, request, UnaryRequest { path, message, deadline: by, metadata: None });
    }

    fn take_results(&mut self, cx: &mut Cx<'_>) {
        while let Some((request, result)) = self.channel.poll_result() {
            let mut results = self.results.borrow_mut();
            match &result {
                Ok(_) => results.acknowledged.extend(self.load.request_span_ids(request)),
                Err(status) if self.load.retry => {
                    let delay = status.retry_after.unwrap_or_default().max(Duration::from_secs(1));
                    let at = cx.now() + delay;
                    self.retries.insert((at, request), ());
                    cx.set_timer(TIMER, at);
                }
                Err(_) => {}
            }
            results.responses.push((cx.now(), request, result.map(drop)));
        }
    }

    fn send_due_requests(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        while let Some(entry) = self.retries.first_entry()
            && entry.key().0 <= now
        {
            let (_, request) = *entry.key();
            entry.remove();
            self.send(cx, request);
        }
        while let Some(&request) = self.planned.front() {
            let at = self.started + self.load.start_after + self.load.interval * u32::try_from(request).unwrap();
            if at > now {
                cx.set_timer(TIMER, at);
                break;
            }
            self.planned.pop_front();
            self.send(cx, request);
        }
    }
}

impl Receiver for Client {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.started = cx.now();
        self.channel.start(cx)?;
        self.send_due_requests(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        if local == TIMER {
            self.send_due_requests(cx);
        } else {
            self.channel.handle_event(cx, local, &event);
        }
        self.take_results(cx);
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}
