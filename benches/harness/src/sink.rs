//! The sink: accepts any gRPC call or HTTP request, answers with an empty message, and counts items.
//!
//! It counts spans, after decompression, for `PostSpans` and for OTLP traces, by their fields; and every byte read from
//! its sockets. It answers at once, or at a limited rate of spans per second, or never.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use otelcore::pipeline::{Cx, Endpoint, Event, Extension, Mono, StartError, Stream};
use otelcore_http::grpc::CallId;
use otelcore_http::grpc::server::{CallHead, Gate, ServerConfig, ServerConn};
use otelcore_http::h1::{BodyLimit, Door, H1Config, H1Conn, RequestHead, RequestId, Response};
use otelcore_http::{Coding, Status, Turn, Workspace};
use otelcore_net::{Acceptor, Machine, bind};
use otelcore_pdata::wire::{Fields, Wire};

use crate::{host, measure};

const LIMIT: u32 = 64 << 20;

/// A stream that counts what is read from it.
struct Counted(Box<dyn Stream>, Rc<Cell<u64>>);

impl Read for Counted {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.read(to)?;
        self.1.set(self.1.get() + n as u64);
        Ok(n)
    }
}

impl Write for Counted {
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

impl Stream for Counted {
    fn peer(&self) -> String {
        self.0.peer()
    }

    fn shut_write(&mut self) {
        self.0.shut_write();
    }
}

/// Admits every request.
struct All;

impl Gate for All {
    type Permit = ();

    fn route(&mut self, path: &str) -> Result<u32, Status> {
        Ok(u32::from(path.contains("PostSpans")))
    }

    fn open(&mut self, _: &CallHead, _: usize) -> Result<(), Status> {
        Ok(())
    }

    fn grow(&mut self, (): &mut (), _: u64) -> Result<(), Status> {
        Ok(())
    }
}

impl Door for All {
    type Permit = ();

    fn head(&mut self, _: &RequestHead) -> Result<((), BodyLimit), Response> {
        Ok(((), BodyLimit(u64::from(LIMIT))))
    }

    fn grow(&mut self, (): &mut (), _: u64) -> Result<(), Response> {
        Ok(())
    }

    fn too_large(&mut self, _: &RequestHead) -> Response {
        Response::text(413, "too large")
    }
}

/// A connection of either protocol.
enum Conn {
    Grpc(Box<ServerConn<Box<dyn Stream>, ()>>),
    Http(Box<H1Conn<Box<dyn Stream>, ()>>),
}

impl Machine for Conn {
    fn poll_timeout(&self) -> Option<u64> {
        match self {
            Self::Grpc(conn) => conn.poll_timeout(),
            Self::Http(conn) => conn.poll_timeout(),
        }
    }

    fn drain(&mut self, now: u64) {
        match self {
            Self::Grpc(conn) => conn.drain(now),
            Self::Http(conn) => conn.drain(),
        }
    }

    fn flush(&mut self, now: u64) -> Turn {
        match self {
            Self::Grpc(conn) => conn.flush(now),
            Self::Http(conn) => conn.flush(now),
        }
    }

    fn shut_write(&mut self) {
        match self {
            Self::Grpc(conn) => conn.io_mut().shut_write(),
            Self::Http(conn) => conn.io_mut().shut_write(),
        }
    }
}

/// A request that has not been answered yet.
enum Asked {
    Call(CallId),
    Request(RequestId, bool),
}

impl Conn {
    /// Reads what has arrived: the requests and the number of spans in each.
    fn take(&mut self, now: u64, workspace: &Workspace, requests: &mut Vec<(Asked, u64)>) -> Turn {
        match self {
            Self::Grpc(conn) => {
                let turn = conn.turn(now, &mut All);
                while let Some(call) = conn.poll_call() {
                    let path: &[u32] = if call.head.method == 1 { &[1, 1] } else { &[1, 2, 2] };
                    requests.push((Asked::Call(call.id), count(&call.message, path)));
                }
                while conn.poll_cancelled().is_some() {}
                turn
            }
            Self::Http(conn) => {
                let turn = conn.turn(now, &mut All);
                while let Some(request) = conn.poll_request() {
                    let body = plain(&request.head, request.body, workspace);
                    let spans = body.as_ref().map_or(0, |body| count(body, &[1, 2, 2]));
                    requests.push((Asked::Request(request.id, body.is_some()), spans));
                }
                turn
            }
        }
    }

    fn answer(&mut self, asked: &Asked) {
        match (self, asked) {
            (Self::Grpc(conn), Asked::Call(id)) => conn.reply_ok(*id, Bytes::new()),
            (Self::Http(conn), Asked::Request(id, true)) => {
                conn.respond(*id, Response::new(200, "application/x-protobuf", Bytes::new()));
            }
            (Self::Http(conn), Asked::Request(id, false)) => conn.respond(*id, Response::text(400, "not understood")),
            _ => {}
        }
    }
}

fn plain(head: &RequestHead, body: Bytes, workspace: &Workspace) -> Option<Bytes> {
    let coding = Coding::parse(head.get("content-encoding").unwrap_or_default()).ok()?;
    workspace.decompress(&coding, body, u64::from(LIMIT), |_| Ok::<(), ()>(())).ok()
}

/// Counts the spans in a message: `path` has the field numbers of nested repeated fields, the last of which is counted.
fn count(message: &[u8], path: &[u32]) -> u64 {
    let Some((first, rest)) = path.split_first() else { return 1 };
    let inner = |(number, wire)| match wire {
        Wire::Len(inner) if number == *first => count(inner, rest),
        _ => 0,
    };
    Fields::new(message).map(inner).sum()
}

struct Sink {
    http: bool,
    port: u16,
    grpc_config: Rc<ServerConfig>,
    http_config: Rc<H1Config>,
    acceptor: Option<Acceptor<Conn>>,
    spans: u64,
    bytes: Rc<Cell<u64>>,
    pace: Pace,
    /// The time when all requests so far will have been processed.
    free: Mono,
    /// Answers that are due later, in the order of their times.
    late: VecDeque<(Mono, usize, u64, Asked, u64)>,
    /// The file for the counts, which the harness reads.
    report: std::fs::File,
}

/// When a request is answered.
#[derive(Clone, Copy)]
enum Pace {
    Now,
    /// At this many spans per second.
    Spans(u64),
    Never,
}

/// The timer that writes the counts.
const REPORT: u64 = u64::MAX;
/// The timer of the next answer.
const ANSWER: u64 = u64::MAX - 1;

impl Sink {
    /// Sends the answers that are due, and counts their spans.
    fn due(&mut self, cx: &mut Cx<'_>) {
        let Some(acceptor) = &mut self.acceptor else { return };
        while let Some((at, ..)) = self.late.front() {
            if *at > cx.now() {
                cx.arm(ANSWER, *at);
                break;
            }
            let Some((_, slot, serial, asked, spans)) = self.late.pop_front() else { break };
            if let Some(conn) = acceptor.answer(slot, serial) {
                conn.answer(&asked);
                self.spans += spans;
            }
        }
        acceptor.flush(cx);
    }
}

impl Extension for Sink {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let at = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: self.port };
        let listener = bind(cx, 0, &at).map_err(|e| StartError(e.to_string()))?;
        self.acceptor = Some(Acceptor::new(listener, 0));
        let at = cx.now() + Duration::from_millis(20);
        cx.arm(REPORT, at);
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        if local == REPORT {
            // A short write leaves an older count, which the next write replaces.
            let _ = writeln!(self.report, "{:020} {:020}", self.spans, self.bytes.get());
            let at = cx.now() + Duration::from_millis(20);
            cx.arm(REPORT, at);
            return;
        }
        if local == ANSWER {
            return self.due(cx);
        }
        let Self { acceptor: Some(acceptor), http, bytes, grpc_config, http_config, .. } = self else { return };
        let make = |cx: &mut Cx<'_>, stream| {
            let (now, stream) = (cx.now().0, Box::new(Counted(stream, bytes.clone())));
            Some(if *http {
                Conn::Http(Box::new(H1Conn::new(stream, http_config.clone(), now)))
            } else {
                Conn::Grpc(Box::new(ServerConn::new(stream, grpc_config.clone(), now, 0)))
            })
        };
        let mut requests = Vec::new();
        for slot in acceptor.event(cx, local, &event, make) {
            let Some((conn, serial)) = acceptor.get(slot) else { continue };
            let now = cx.now();
            let turn = conn.take(now.0, &http_config.workspace, &mut requests);
            for (asked, spans) in requests.drain(..) {
                match self.pace {
                    Pace::Now => {
                        conn.answer(&asked);
                        self.spans += spans;
                    }
                    Pace::Spans(rate) => {
                        let took = Duration::from_nanos(spans * 1_000_000_000 / rate.max(1));
                        self.free = self.free.max(now) + took;
                        if self.late.is_empty() {
                            cx.arm(ANSWER, self.free);
                        }
                        self.late.push_back((self.free, slot, serial, asked, spans));
                    }
                    Pace::Never => {}
                }
            }
            let mut after = conn.flush(now.0);
            after.again |= turn.again;
            acceptor.after(cx, slot, &after);
        }
    }
}

/// `sink grpc|http PORT REPORT_FILE [SPANS_A_SECOND|never]`
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [wire, port, report, pace @ ..] = args else { return Err("sink: three arguments".to_owned()) };
    let pace = match pace {
        [] => Pace::Now,
        [never] if never == "never" => Pace::Never,
        [rate, ..] => Pace::Spans(rate.parse().map_err(|e| format!("{rate}: {e}"))?),
    };
    measure::pin(1);
    let sink = Sink {
        http: wire == "http",
        port: port.parse().map_err(|e| format!("{port}: {e}"))?,
        grpc_config: Rc::new(ServerConfig { max_recv_message: LIMIT, ..ServerConfig::default() }),
        http_config: Rc::new(H1Config { max_body: u64::from(LIMIT), ..H1Config::default() }),
        acceptor: None,
        spans: 0,
        bytes: Rc::default(),
        pace,
        free: Mono::default(),
        late: VecDeque::new(),
        report: std::fs::File::create(report).map_err(|e| e.to_string())?,
    };
    host::run(Box::new(sink), || false)
}
