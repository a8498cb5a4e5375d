//! A Jaeger collector, or another OTLP collector, that responds as the test sets and counts the spans that it accepted.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelcore_http::grpc::CallId;
use otelcore_http::grpc::server::{CallHead, GrpcServerConn, GrpcServerConnConfig, IncomingCall, unknown_service};
use otelcore_http::{Admission, Bytes, Status};
use otelcore_net::Acceptor;
use otelcore_pipeline::{
    Budget, Cx, Endpoint, Event, Graph, GraphBuilder, Logger, MonotonicTime, NoopLogSink, Outcome, PipelineInput,
    Receiver, StartError, Stream,
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

/// The response to a request, planned by the test.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlannedResponse {
    pub(crate) delay: Duration,
    pub(crate) error: Option<Status>,
    /// The reply where there is no refusal.
    pub(crate) reply: Bytes,
}

impl PlannedResponse {
    pub(crate) fn error(status: Status) -> Self {
        Self { error: Some(status), ..Self::default() }
    }
}

/// One PostSpans request.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) at: MonotonicTime,
    pub(crate) ids: Vec<u64>,
    pub(crate) accepted: bool,
    /// The header field `x-tenant`.
    pub(crate) tenant: Option<String>,
}

/// What a test sets for a backend, and what the backend has received. It outlives the backend's process.
#[derive(Debug, Default)]
pub(crate) struct BackendState {
    /// The responses to the next requests.
    pub(crate) next_responses: VecDeque<PlannedResponse>,
    /// The response to all others.
    pub(crate) default_response: PlannedResponse,
    pub(crate) requests: Vec<ReceivedRequest>,
    /// Whether whole OTLP requests are kept, in `otlp_requests`.
    pub(crate) keeps_otlp_requests: bool,
    pub(crate) otlp_requests: Vec<ExportTraceServiceRequest>,
    /// The requests of metrics that were accepted.
    pub(crate) metrics_requests: Vec<ExportMetricsServiceRequest>,
    /// The requests of logs that were accepted.
    pub(crate) logs_requests: Vec<ExportLogsServiceRequest>,
    /// The longest message that it accepts from its next start on; 4 MiB by default.
    pub(crate) max_message: Option<u32>,
}

impl BackendState {
    pub(crate) fn delivered(&self) -> BTreeSet<u64> {
        self.requests.iter().filter(|p| p.accepted).flat_map(|p| p.ids.iter().copied()).collect()
    }
}

pub(crate) type SharedBackendState = Rc<RefCell<BackendState>>;

type BackendConn = GrpcServerConn<Box<dyn Stream>, ()>;

struct Backend {
    state: SharedBackendState,
    acceptor: Option<Acceptor<BackendConn>>,
    config: Rc<GrpcServerConnConfig>,
    delayed: BTreeMap<u64, (usize, u64, CallId, Result<Bytes, Status>)>,
    next_timer: u64,
}

const FIRST_TIMER: u64 = 1 << 50;

/// A graph that listens on port 14250, with the settings in `state`.
pub(crate) fn backend_graph(state: &SharedBackendState) -> Graph {
    let receiver = Backend {
        state: state.clone(),
        acceptor: None,
        config: Rc::new(GrpcServerConnConfig {
            max_recv_message: state.borrow().max_message.unwrap_or(4 << 20),
            keep_metadata: true,
            ..GrpcServerConnConfig::default()
        }),
        delayed: BTreeMap::new(),
        next_timer: FIRST_TIMER,
    };
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoopLogSink)));
    builder.add_receiver("jaeger".parse().unwrap(), Box::new(receiver));
    builder.build()
}

struct AcceptAll;

impl Admission<CallHead> for AcceptAll {
    type Permit = ();

    fn route(&mut self, path: &str) -> Result<u32, Status> {
        match path {
            "/jaeger.api_v2.CollectorService/PostSpans" => Ok(0),
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Ok(1),
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Ok(2),
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Ok(3),
            _ => Err(unknown_service(path)),
        }
    }

    fn admit_head(&mut self, _: &CallHead) -> Result<(), Status> {
        Ok(())
    }

    fn grow(&mut self, (): &mut (), _: u64) -> Result<(), Status> {
        Ok(())
    }
}

impl Backend {
    fn handle_call(&mut self, cx: &mut Cx<'_>, slot: usize, serial: u64, call: IncomingCall<()>) {
        let id = call.id;
        let mut state = self.state.borrow_mut();
        let default_response = state.default_response.clone();
        let PlannedResponse { delay: after, error: refusal, reply } =
            state.next_responses.pop_front().unwrap_or(default_response);
        let ids: Vec<Vec<u8>> = if call.head.method == 0 {
            let spans = PostSpansRequest::decode(call.message).unwrap().batch.unwrap_or_default().spans;
            spans.into_iter().map(|s| s.span_id).collect()
        } else if call.head.method == 2 {
            if refusal.is_none() {
                state.metrics_requests.push(ExportMetricsServiceRequest::decode(call.message).unwrap());
            }
            Vec::new()
        } else if call.head.method == 3 {
            if refusal.is_none() {
                state.logs_requests.push(ExportLogsServiceRequest::decode(call.message).unwrap());
            }
            Vec::new()
        } else {
            let request = ExportTraceServiceRequest::decode(call.message).unwrap();
            if state.keeps_otlp_requests {
                state.otlp_requests.push(request.clone());
            }
            let scopes = request.resource_spans.into_iter().flat_map(|r| r.scope_spans);
            scopes.flat_map(|s| s.spans).map(|s| s.span_id).collect()
        };
        let ids = ids.iter().map(|id| u64::from_be_bytes(id.as_slice().try_into().unwrap())).collect();
        let tenant =
            call.head.metadata.get("x-tenant").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        state.requests.push(ReceivedRequest { at: cx.now(), ids, accepted: refusal.is_none(), tenant });
        drop(state);
        let response = refusal.map_or(Ok(reply), Err);
        if after.is_zero() {
            self.send_response(slot, serial, id, response);
        } else {
            self.delayed.insert(self.next_timer, (slot, serial, id, response));
            cx.set_timer(self.next_timer, cx.now() + after);
            self.next_timer += 1;
        }
    }

    fn send_response(&mut self, slot: usize, serial: u64, id: CallId, response: Result<Bytes, Status>) {
        let Some(conn) = self.acceptor.as_mut().and_then(|a| a.get_for_response(slot, serial)) else { return };
        match response {
            Ok(reply) => conn.respond(id, reply),
            Err(status) => conn.respond_error(id, &status),
        }
    }

    fn flush_acceptor(&mut self, cx: &mut Cx<'_>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.flush(cx);
        }
    }
}

impl Receiver for Backend {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let listener = cx.listen(0, &Endpoint::Tcp { host: String::new(), port: 14250 });
        self.acceptor = Some(Acceptor::new(listener?, 0));
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        if let Some((slot, serial, id, response)) = self.delayed.remove(&local) {
            self.send_response(slot, serial, id, response);
            return self.flush_acceptor(cx);
        }
        let Some(acceptor) = &mut self.acceptor else { return };
        let config = &self.config;
        let make = |cx: &mut Cx<'_>, stream| Some(GrpcServerConn::new(stream, config.clone(), cx.now().0, cx.random()));
        for slot in acceptor.handle_event(cx, local, &event, make) {
            let Some(acceptor) = &mut self.acceptor else { return };
            let Some((conn, serial)) = acceptor.get(slot) else { continue };
            let turn = conn.poll(cx.now().0, &mut AcceptAll);
            let calls: Vec<_> = std::iter::from_fn(|| conn.poll_call()).collect();
            while conn.poll_cancelled().is_some() {}
            acceptor.apply_poll_result(cx, slot, &turn);
            for call in calls {
                self.handle_call(cx, slot, serial, call);
            }
            self.flush_acceptor(cx);
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.close(cx);
        }
    }

    fn is_closed(&self) -> bool {
        true
    }
}

impl BackendState {
    /// Accepts everything from now on.
    pub(crate) fn accept_all_requests(&mut self) {
        self.next_responses.clear();
        self.default_response = PlannedResponse::default();
    }
}
