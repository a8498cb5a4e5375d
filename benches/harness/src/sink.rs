//! The sink: accepts any gRPC call or HTTP request, responds with an empty message, and counts items.
//!
//! It counts spans, after decompression, for `PostSpans` and for OTLP traces, by their fields; and every byte read from
//! its sockets. It responds at once, or at a limited rate of spans per second, or never.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use otelcore::pipeline::{Cx, Endpoint, Event, Extension, MonotonicTime, StartError, Stream};
use otelcore_http::grpc::CallId;
use otelcore_http::grpc::server::{GrpcServerConn, GrpcServerConnConfig};
use otelcore_http::h1::{H1ServerConn, HttpServerConnConfig, RequestHead, RequestId, Response};
use otelcore_http::{AdmitAll, Coding, PollResult, Workspace};
use otelcore_net::{Acceptor, ProtocolMachine, bind};
use otelcore_pdata::wire_format::{MessageFields, WireValue};
use otelcore_test_support::PeerConn;

use crate::{component_loop, measure};

const LIMIT: u32 = 64 << 20;

/// A stream that counts what is read from it.
struct CountingStream(Box<dyn Stream>, Rc<Cell<u64>>);

impl Read for CountingStream {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.read(to)?;
        self.1.set(self.1.get() + n as u64);
        Ok(n)
    }
}

impl Write for CountingStream {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        self.0.write(from)
    }

    fn write_vectored(&mut self, from: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
        self.0.write_vectored(from)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Stream for CountingStream {
    fn peer_addr(&self) -> String {
        self.0.peer_addr()
    }

    fn shutdown_write(&mut self) {
        self.0.shutdown_write();
    }
}

/// A request without a response yet.
enum PendingRequest {
    Call(CallId),
    Request(RequestId, bool),
}

/// Reads what has arrived: the requests and the number of spans in each.
fn read_requests(
    conn: &mut PeerConn,
    now: u64,
    workspace: &Workspace,
    requests: &mut Vec<(PendingRequest, u64)>,
) -> PollResult {
    match conn {
        PeerConn::Grpc(conn) => {
            let turn = conn.poll(now, &mut AdmitAll);
            while let Some(call) = conn.poll_call() {
                let path: &[u32] = if call.head.path().ends_with("/PostSpans") { &[1, 1] } else { &[1, 2, 2] };
                requests.push((PendingRequest::Call(call.id), count_spans(&call.message, path)));
            }
            while conn.poll_cancelled().is_some() {}
            turn
        }
        PeerConn::Http(conn) => {
            let turn = conn.poll(now, &mut AdmitAll);
            while let Some(request) = conn.poll_request() {
                let body = decompressed_body(&request.head, request.body, workspace);
                let spans = body.as_ref().map_or(0, |body| count_spans(body, &[1, 2, 2]));
                requests.push((PendingRequest::Request(request.id, body.is_some()), spans));
            }
            turn
        }
    }
}

fn respond(conn: &mut PeerConn, pending: &PendingRequest) {
    match (conn, pending) {
        (PeerConn::Grpc(conn), PendingRequest::Call(id)) => conn.respond(*id, Bytes::new()),
        (PeerConn::Http(conn), PendingRequest::Request(id, true)) => {
            conn.respond(*id, Response::new(200, "application/x-protobuf", Bytes::new()));
        }
        (PeerConn::Http(conn), PendingRequest::Request(id, false)) => {
            conn.respond(*id, Response::text(400, "not understood"))
        }
        _ => {}
    }
}

fn decompressed_body(head: &RequestHead, body: Bytes, workspace: &Workspace) -> Option<Bytes> {
    let coding = Coding::parse(head.get("content-encoding").unwrap_or_default()).ok()?;
    workspace.decompress(&coding, body, u64::from(LIMIT), |_| Ok::<(), ()>(())).ok()
}

/// Counts the spans in a message: `path` has the field numbers of nested repeated fields, the last of which is counted.
fn count_spans(message: &[u8], path: &[u32]) -> u64 {
    let Some((first, rest)) = path.split_first() else { return 1 };
    let inner = |(number, wire)| match wire {
        WireValue::Len(inner) if number == *first => count_spans(inner, rest),
        _ => 0,
    };
    MessageFields::new(message).map(inner).sum()
}

struct Sink {
    http: bool,
    port: u16,
    grpc_config: Rc<GrpcServerConnConfig>,
    http_config: Rc<HttpServerConnConfig>,
    acceptor: Option<Acceptor<PeerConn>>,
    spans: u64,
    bytes: Rc<Cell<u64>>,
    rate: ResponseRate,
    /// The time when all requests so far will have been processed.
    busy_until: MonotonicTime,
    /// Responses that are due later, in the order of their times.
    delayed: VecDeque<(MonotonicTime, usize, u64, PendingRequest, u64)>,
    /// The file for the counts, which the harness reads.
    report: std::fs::File,
}

/// When the response to a request is sent.
#[derive(Clone, Copy)]
enum ResponseRate {
    Immediate,
    /// At this many spans per second.
    SpansPerSecond(u64),
    Never,
}

/// The timer that writes the counts.
const REPORT_TIMER: u64 = u64::MAX;
/// The timer of the next response.
const RESPONSE_TIMER: u64 = u64::MAX - 1;

impl Sink {
    /// Sends the responses that are due, and counts their spans.
    fn send_due_responses(&mut self, cx: &mut Cx<'_>) {
        let Some(acceptor) = &mut self.acceptor else { return };
        while let Some((at, ..)) = self.delayed.front() {
            if *at > cx.now() {
                cx.set_timer(RESPONSE_TIMER, *at);
                break;
            }
            let Some((_, slot, serial, pending, spans)) = self.delayed.pop_front() else { break };
            if let Some(conn) = acceptor.get_for_response(slot, serial) {
                respond(conn, &pending);
                self.spans += spans;
            }
        }
        acceptor.flush(cx);
    }
}

impl Extension for Sink {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let at = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: self.port };
        let listener = bind(cx, 0, &at)?;
        self.acceptor = Some(Acceptor::new(listener, 0));
        let at = cx.now() + Duration::from_millis(20);
        cx.set_timer(REPORT_TIMER, at);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        if local == REPORT_TIMER {
            // A short write leaves an older count, which the next write replaces.
            let _ = writeln!(self.report, "{:020} {:020}", self.spans, self.bytes.get());
            let at = cx.now() + Duration::from_millis(20);
            cx.set_timer(REPORT_TIMER, at);
            return;
        }
        if local == RESPONSE_TIMER {
            return self.send_due_responses(cx);
        }
        let Self { acceptor: Some(acceptor), http, bytes, grpc_config, http_config, .. } = self else { return };
        let make = |cx: &mut Cx<'_>, stream| {
            let (now, stream) = (cx.now().0, Box::new(CountingStream(stream, bytes.clone())));
            Some(if *http {
                PeerConn::Http(Box::new(H1ServerConn::new(stream, http_config.clone(), now)))
            } else {
                PeerConn::Grpc(Box::new(GrpcServerConn::new(stream, grpc_config.clone(), now, 0)))
            })
        };
        let mut requests = Vec::new();
        for slot in acceptor.handle_event(cx, local, &event, make) {
            let Some((conn, serial)) = acceptor.get(slot) else { continue };
            let now = cx.now();
            let turn = read_requests(conn, now.0, &http_config.workspace, &mut requests);
            for (pending, spans) in requests.drain(..) {
                match self.rate {
                    ResponseRate::Immediate => {
                        respond(conn, &pending);
                        self.spans += spans;
                    }
                    ResponseRate::SpansPerSecond(rate) => {
                        let processing_time = Duration::from_nanos(spans * 1_000_000_000 / rate.max(1));
                        self.busy_until = self.busy_until.max(now) + processing_time;
                        if self.delayed.is_empty() {
                            cx.set_timer(RESPONSE_TIMER, self.busy_until);
                        }
                        self.delayed.push_back((self.busy_until, slot, serial, pending, spans));
                    }
                    ResponseRate::Never => {}
                }
            }
            let mut flushed = conn.flush(now.0);
            flushed.poll_again |= turn.poll_again;
            acceptor.apply_poll_result(cx, slot, &flushed);
        }
    }
}

/// `sink grpc|http PORT REPORT_FILE [SPANS_A_SECOND|never]`
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [protocol, port, report, rate_args @ ..] = args else { return Err("sink: three arguments".to_owned()) };
    let rate = match rate_args {
        [] => ResponseRate::Immediate,
        [never] if never == "never" => ResponseRate::Never,
        [rate, ..] => ResponseRate::SpansPerSecond(rate.parse().map_err(|e| format!("{rate}: {e}"))?),
    };
    measure::pin_to_core(1);
    let sink = Sink {
        http: protocol == "http",
        port: port.parse().map_err(|e| format!("{port}: {e}"))?,
        grpc_config: Rc::new(GrpcServerConnConfig { max_recv_message: LIMIT, ..GrpcServerConnConfig::default() }),
        http_config: Rc::new(HttpServerConnConfig { max_body: u64::from(LIMIT), ..HttpServerConnConfig::default() }),
        acceptor: None,
        spans: 0,
        bytes: Rc::default(),
        rate,
        busy_until: MonotonicTime::default(),
        delayed: VecDeque::new(),
        report: std::fs::File::create(report).map_err(|e| e.to_string())?,
    };
    component_loop::run(Box::new(sink), || false)
}
