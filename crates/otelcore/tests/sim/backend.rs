//! A Jaeger collector, or another OTLP collector, that answers as the test sets and counts the spans that it accepted.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelcore_http::grpc::CallId;
use otelcore_http::grpc::server::{Call, CallHead, Gate, ServerConfig, ServerConn, unknown_service};
use otelcore_http::{Bytes, Status};
use otelcore_net::Acceptor;
use otelcore_pipeline::{
    Budget, Cx, Door, Endpoint, Event, Graph, GraphBuilder, Logger, Mono, NoLog, Outcome, Receiver, StartError, Stream,
};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct PostSpansRequest {
    #[prost(message, optional, tag = "1")]
    batch: Option<Batch>,
}

#[derive(Clone, PartialEq, Message)]
struct Batch {
    #[prost(message, repeated, tag = "1")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
}

/// How a request is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) after: Duration,
    pub(crate) refusal: Option<Status>,
    /// The reply where there is no refusal.
    pub(crate) reply: Bytes,
}

impl Answer {
    pub(crate) fn refuse(status: Status) -> Self {
        Self { refusal: Some(status), ..Self::default() }
    }
}

/// One PostSpans request.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) at: Mono,
    pub(crate) ids: Vec<u64>,
    pub(crate) accepted: bool,
}

/// What a test sets for a backend, and what the backend has got. It lives longer than the backend's process.
#[derive(Debug, Default)]
pub(crate) struct Jaeger {
    /// The answers to the next requests.
    pub(crate) next: VecDeque<Answer>,
    /// The answer to all others.
    pub(crate) usual: Answer,
    pub(crate) posts: Vec<Post>,
    /// The longest message that it accepts from its next start on; 4 MiB by default.
    pub(crate) max_message: Option<u32>,
}

impl Jaeger {
    pub(crate) fn delivered(&self) -> BTreeSet<u64> {
        self.posts.iter().filter(|p| p.accepted).flat_map(|p| p.ids.iter().copied()).collect()
    }
}

pub(crate) type Told = Rc<RefCell<Jaeger>>;

type Conn = ServerConn<Box<dyn Stream>, ()>;

struct Backend {
    told: Told,
    acceptor: Option<Acceptor<Conn>>,
    config: Rc<ServerConfig>,
    late: BTreeMap<u64, (usize, u64, CallId, Result<Bytes, Status>)>,
    next: u64,
}

const TIMER: u64 = 1 << 50;

/// A graph that listens on port 14250, with the settings in `told`.
pub(crate) fn backend(told: &Told) -> Graph {
    let receiver = Backend {
        told: told.clone(),
        acceptor: None,
        config: Rc::new(ServerConfig {
            max_recv_message: told.borrow().max_message.unwrap_or(4 << 20),
            ..ServerConfig::default()
        }),
        late: BTreeMap::new(),
        next: TIMER,
    };
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoLog)));
    builder.receiver("jaeger".parse().unwrap(), Box::new(receiver));
    builder.build()
}

struct Open;

impl Gate for Open {
    type Permit = ();

    fn route(&mut self, path: &str) -> Result<u32, Status> {
        match path {
            "/jaeger.api_v2.CollectorService/PostSpans" => Ok(0),
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Ok(1),
            _ => Err(unknown_service(path)),
        }
    }

    fn open(&mut self, _: &CallHead, _: usize) -> Result<(), Status> {
        Ok(())
    }

    fn grow(&mut self, (): &mut (), _: u64) -> Result<(), Status> {
        Ok(())
    }
}

impl Backend {
    fn take(&mut self, cx: &mut Cx<'_>, slot: usize, serial: u64, call: Call<()>) {
        let id = call.id;
        let mut told = self.told.borrow_mut();
        let usual = told.usual.clone();
        let Answer { after, refusal, reply } = told.next.pop_front().unwrap_or(usual);
        let ids: Vec<Vec<u8>> = if call.head.method == 0 {
            let spans = PostSpansRequest::decode(call.message).unwrap().batch.unwrap_or_default().spans;
            spans.into_iter().map(|s| s.span_id).collect()
        } else {
            let request = ExportTraceServiceRequest::decode(call.message).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|r| r.scope_spans);
            scopes.flat_map(|s| s.spans).map(|s| s.span_id).collect()
        };
        let ids = ids.iter().map(|id| u64::from_be_bytes(id.as_slice().try_into().unwrap())).collect();
        told.posts.push(Post { at: cx.now(), ids, accepted: refusal.is_none() });
        drop(told);
        let answer = refusal.map_or(Ok(reply), Err);
        if after.is_zero() {
            self.answer(slot, serial, id, answer);
        } else {
            self.late.insert(self.next, (slot, serial, id, answer));
            cx.arm(self.next, cx.now() + after);
            self.next += 1;
        }
    }

    fn answer(&mut self, slot: usize, serial: u64, id: CallId, answer: Result<Bytes, Status>) {
        let Some(conn) = self.acceptor.as_mut().and_then(|a| a.answer(slot, serial)) else { return };
        match answer {
            Ok(reply) => conn.reply_ok(id, reply),
            Err(status) => conn.reply_err(id, &status),
        }
    }

    fn write(&mut self, cx: &mut Cx<'_>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.flush(cx);
        }
    }
}

impl Receiver for Backend {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let listener = cx.listen(0, &Endpoint::Tcp { host: String::new(), port: 14250 });
        self.acceptor = Some(Acceptor::new(listener.map_err(|e| StartError(e.to_string()))?, 0));
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut Door<'_>) {
        if let Some((slot, serial, id, answer)) = self.late.remove(&local) {
            self.answer(slot, serial, id, answer);
            return self.write(cx);
        }
        let Some(acceptor) = &mut self.acceptor else { return };
        let config = &self.config;
        let make = |cx: &mut Cx<'_>, stream| Some(ServerConn::new(stream, config.clone(), cx.now().0, cx.rand()));
        for slot in acceptor.event(cx, local, &event, make) {
            let Some(acceptor) = &mut self.acceptor else { return };
            let Some((conn, serial)) = acceptor.get(slot) else { continue };
            let turn = conn.turn(cx.now().0, &mut Open);
            let calls: Vec<_> = std::iter::from_fn(|| conn.poll_call()).collect();
            while conn.poll_cancelled().is_some() {}
            acceptor.after(cx, slot, &turn);
            for call in calls {
                self.take(cx, slot, serial, call);
            }
            self.write(cx);
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, cx: &mut Cx<'_>, _: Mono) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.close(cx);
        }
    }

    fn is_closed(&self) -> bool {
        true
    }
}

impl Jaeger {
    /// Accepts everything from now on.
    pub(crate) fn peace(&mut self) {
        self.next.clear();
        self.usual = Answer::default();
    }
}
