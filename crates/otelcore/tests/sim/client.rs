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
use otelcore_net::settings::{Balancer, GrpcClient};
use otelcore_net::{Channel, NewCall, Target};
use otelcore_pipeline::{
    Budget, Cx, Door, Event, Graph, GraphBuilder, Logger, Mono, NoLog, Outcome, Receiver, StartError,
};
use prost::Message;

/// The requests that a client sends.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Makes span ids of different clients different.
    pub(crate) client: u64,
    pub(crate) from: Duration,
    pub(crate) every: Duration,
    pub(crate) requests: u64,
    pub(crate) spans: u64,
    /// Bytes of an attribute that each span carries.
    pub(crate) padding: usize,
    /// Whether refused requests are sent again, not before the time that the refusal asks to wait.
    pub(crate) again: bool,
    /// The header field of each request.
    pub(crate) authorization: Option<&'static str>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            client: 1,
            from: Duration::from_secs(1),
            every: Duration::from_millis(10),
            requests: 1,
            spans: 1,
            padding: 0,
            again: false,
            authorization: None,
        }
    }
}

impl Load {
    fn ids(&self, request: u64) -> impl Iterator<Item = u64> + use<> {
        let base = self.client << 48 | request << 16;
        (0..self.spans).map(move |i| base | i)
    }

    pub(crate) fn all(&self) -> BTreeSet<u64> {
        (0..self.requests).flat_map(|r| self.ids(r)).collect()
    }

    fn body(&self, request: u64) -> Bytes {
        let padding = (self.padding > 0).then(|| text("padding", "x".repeat(self.padding)));
        let span = |id: u64| Span {
            trace_id: [id.to_be_bytes(), id.to_be_bytes()].concat(),
            span_id: id.to_be_bytes().to_vec(),
            name: "work".to_owned(),
            attributes: padding.iter().cloned().collect(),
            ..Span::default()
        };
        let spans = self.ids(request).map(span).collect();
        let resource = Resource {
            attributes: vec![text("service.name", format!("client-{}", self.client))],
            ..Resource::default()
        };
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
    }
}

fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// The results of a client's requests.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Answers in order: the time, the request and the result.
    pub(crate) answers: Vec<(Mono, u64, Result<(), Status>)>,
    /// Spans of requests that were answered with success.
    pub(crate) acknowledged: BTreeSet<u64>,
}

impl Heard {
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&Mono, &Status)> {
        self.answers.iter().filter_map(|(at, _, answer)| Some((at, answer.as_ref().err()?)))
    }
}

struct Client {
    load: Load,
    channel: Channel,
    planned: VecDeque<u64>,
    /// Requests to send again, by the time at which they are due.
    later: BTreeMap<(Mono, u64), ()>,
    heard: Rc<RefCell<Heard>>,
    started: Mono,
}

const TIMER: u64 = 1 << 50;
const PATIENCE: Duration = Duration::from_secs(10);

/// A graph that sends `load` to the collector called `to`.
pub(crate) fn client(to: &str, load: &Load) -> (Graph, Rc<RefCell<Heard>>) {
    let settings = GrpcClient {
        endpoint: format!("{to}:4317"),
        target: Target::Host { host: to.to_owned(), port: 4317 },
        tls: None,
        auth: None,
        compression: Coding::Identity,
        headers: load.authorization.iter().map(|value| (AUTHORIZATION, HeaderValue::from_static(value))).collect(),
        wait_for_ready: false,
        balancer: Balancer::PickFirst,
        keepalive: None,
        authority: Authority::from_static("collector:4317"),
        user_agent: HeaderValue::from_static("story"),
        read_buffer_size: 64 << 10,
        write_buffer_size: 32 << 10,
    };
    let heard = Rc::new(RefCell::new(Heard::default()));
    let log = Logger::new(Arc::new(NoLog));
    let receiver = Client {
        load: load.clone(),
        channel: Channel::new(Rc::new(settings), None, log.clone(), 0),
        planned: (0..load.requests).collect(),
        later: BTreeMap::new(),
        heard: heard.clone(),
        started: Mono::default(),
    };
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), log);
    builder.receiver("client".parse().unwrap(), Box::new(receiver));
    (builder.build(), heard)
}

impl Client {
    fn send(&mut self, cx: &mut Cx<'_>, request: u64) {
        let path = PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
        let message = std::iter::once(self.load.body(request)).collect();
        let by = cx.now() + PATIENCE;
        self.channel.call(cx, request, NewCall { path, message, by });
    }

    fn hear(&mut self, cx: &mut Cx<'_>) {
        while let Some((request, result)) = self.channel.poll_done() {
            let mut heard = self.heard.borrow_mut();
            match &result {
                Ok(_) => heard.acknowledged.extend(self.load.ids(request)),
                Err(status) if self.load.again => {
                    let pause = status.retry_after.unwrap_or_default().max(Duration::from_secs(1));
                    let at = cx.now() + pause;
                    self.later.insert((at, request), ());
                    cx.arm(TIMER, at);
                }
                Err(_) => {}
            }
            heard.answers.push((cx.now(), request, result.map(drop)));
        }
    }

    fn due(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        while let Some(entry) = self.later.first_entry()
            && entry.key().0 <= now
        {
            let (_, request) = *entry.key();
            entry.remove();
            self.send(cx, request);
        }
        while let Some(&request) = self.planned.front() {
            let at = self.started + self.load.from + self.load.every * u32::try_from(request).unwrap();
            if at > now {
                cx.arm(TIMER, at);
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
        self.due(cx);
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut Door<'_>) {
        if local == TIMER {
            self.due(cx);
        } else {
            self.channel.event(cx, local, &event);
        }
        self.hear(cx);
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: Mono) {}

    fn is_closed(&self) -> bool {
        true
    }
}
