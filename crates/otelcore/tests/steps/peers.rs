//! The other machines of the simulated world: a backend that accepts everything, a client with one request, a scraper.
//!
//! None of them parses the data that it gets.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::uri::PathAndQuery;
use otelcore::config::{Diagnostics, Section, from_yaml};
use otelcore::pdata::Signal;
use otelcore::pipeline::{
    Budget, Cx, Endpoint, Event, Extension, Graph, GraphBuilder, Logger, Mono, NoLog, PeerAddr, StartError, Stream,
};
use otelcore_http::grpc::server::{CallHead, Gate, ServerConfig, ServerConn};
use otelcore_http::h1::client::{ClientConfig, ClientConn, Outgoing};
use otelcore_http::h1::{BodyLimit, Door, H1Config, H1Conn, RequestHead, Response};
use otelcore_http::{Bytes, Status, Turn};
use otelcore_net::settings::{Balancer, GrpcClient, GrpcClientDefaults};
use otelcore_net::{Acceptor, Channel, Machine, NewCall, bind};

pub(crate) const GRPC_BACKEND: u16 = 14250;
pub(crate) const HTTP_BACKEND: u16 = 14318;

const LIMIT: u32 = 256 << 20;

pub(crate) fn alone(extension: impl Extension + 'static) -> Graph {
    let log = Logger::new(Arc::new(NoLog));
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), log.clone());
    builder.own(Box::new(extension), log);
    builder.build()
}

// ---- backend --------------------------------------------------------------------------------------------------------

struct All;

impl Gate for All {
    type Permit = ();

    fn route(&mut self, _: &str) -> Result<u32, Status> {
        Ok(0)
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

/// Takes every request on its port, and counts them.
struct Backend {
    port: u16,
    acceptor: Option<Acceptor<Conn>>,
    grpc: Rc<ServerConfig>,
    http: Rc<H1Config>,
    requests: Rc<Cell<u64>>,
}

pub(crate) fn backend(port: u16, requests: &Rc<Cell<u64>>) -> Graph {
    alone(Backend {
        port,
        acceptor: None,
        grpc: Rc::new(ServerConfig { max_recv_message: LIMIT, ..ServerConfig::default() }),
        http: Rc::new(H1Config { max_body: u64::from(LIMIT), ..H1Config::default() }),
        requests: requests.clone(),
    })
}

impl Extension for Backend {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let listener = bind(cx, 0, &Endpoint::Tcp { host: String::new(), port: self.port });
        self.acceptor = Some(Acceptor::new(listener.map_err(|e| StartError(e.to_string()))?, 0));
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        let Self { port, acceptor: Some(acceptor), grpc, http, requests } = self else { return };
        let make = |cx: &mut Cx<'_>, stream| {
            let now = cx.now().0;
            Some(if *port == HTTP_BACKEND {
                Conn::Http(Box::new(H1Conn::new(stream, http.clone(), now)))
            } else {
                Conn::Grpc(Box::new(ServerConn::new(stream, grpc.clone(), now, cx.rand())))
            })
        };
        for slot in acceptor.event(cx, local, &event, make) {
            let Some((conn, _)) = acceptor.get(slot) else { continue };
            let now = cx.now().0;
            let mut turn = match conn {
                Conn::Grpc(conn) => {
                    let turn = conn.turn(now, &mut All);
                    while let Some(call) = conn.poll_call() {
                        requests.set(requests.get() + 1);
                        conn.reply_ok(call.id, Bytes::new());
                    }
                    turn
                }
                Conn::Http(conn) => {
                    let turn = conn.turn(now, &mut All);
                    while let Some(request) = conn.poll_request() {
                        requests.set(requests.get() + 1);
                        conn.respond(request.id, Response::new(200, "application/x-protobuf", Bytes::new()));
                    }
                    turn
                }
            };
            let again = turn.again;
            turn = conn.flush(now);
            turn.again |= again;
            acceptor.after(cx, slot, &turn);
        }
    }
}

// ---- client ---------------------------------------------------------------------------------------------------------

/// The answer to a request: the bytes of a body, or what went wrong.
pub(crate) type Answer = Rc<RefCell<Option<Result<usize, String>>>>;

const DEFAULTS: GrpcClientDefaults = GrpcClientDefaults {
    empty_endpoint: "an endpoint is needed",
    compression: "none",
    balancer: Balancer::PickFirst,
    tls_keys_outside: false,
};

struct GrpcRequest {
    channel: Channel,
    signal: Signal,
    body: Bytes,
    answer: Answer,
}

/// A client that sends `body` to `to` over gRPC.
pub(crate) fn grpc_request(to: SocketAddr, coding: &str, signal: Signal, body: Bytes, answer: &Answer) -> Graph {
    let d = Diagnostics::new();
    let yaml = format!("{{endpoint: \"{to}\", tls: {{insecure: true}}, wait_for_ready: true, compression: {coding}}}");
    let node = from_yaml(&yaml, &d).unwrap();
    let mut section = Section::new(Some(&node), "client", &d);
    let client = Rc::new(GrpcClient::parse(&mut section, &DEFAULTS).unwrap());
    let channel = Channel::new(client, None, Logger::new(Arc::new(NoLog)), 0);
    alone(GrpcRequest { channel, signal, body, answer: answer.clone() })
}

impl Extension for GrpcRequest {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)?;
        let path = PathAndQuery::from_static(match self.signal {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        });
        let message = std::iter::once(std::mem::take(&mut self.body)).collect();
        self.channel.call(cx, 0, NewCall { path, message, by: Mono::NEVER });
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        self.channel.event(cx, local, &event);
        while let Some((_, result)) = self.channel.poll_done() {
            *self.answer.borrow_mut() = Some(result.map(|_| 0).map_err(|status| format!("{status:?}")));
        }
    }
}

/// One request over HTTP/1.1.
pub(crate) struct HttpRequest {
    pub(crate) method: &'static str,
    pub(crate) target: &'static str,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Bytes,
}

struct HttpClient {
    to: SocketAddr,
    request: HttpRequest,
    conn: Option<ClientConn<Box<dyn Stream>>>,
    answer: Answer,
}

/// A client that sends `request` to `to`.
pub(crate) fn http_request(to: SocketAddr, request: HttpRequest, answer: &Answer) -> Graph {
    alone(HttpClient { to, request, conn: None, answer: answer.clone() })
}

impl Extension for HttpClient {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let stream = cx.connect(0, &PeerAddr::Ip(self.to)).map_err(|e| StartError(e.to_string()))?;
        let config = Rc::new(ClientConfig { max_body: u64::from(LIMIT), ..ClientConfig::default() });
        let mut conn = ClientConn::new(stream, config, cx.now().0);
        let HttpRequest { method, target, headers, body } = &self.request;
        let headers = std::iter::once(("Host", "collector")).chain(headers.iter().copied());
        let request = Outgoing { method, target, headers, body: [body.clone()], deadline: None };
        conn.start(cx.now().0, request).map_err(|e| StartError(e.to_string()))?;
        self.conn = Some(conn);
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>) {
        let Some(conn) = &mut self.conn else { return };
        let turn = conn.turn(cx.now().0);
        if let Some(done) = conn.poll_done() {
            let answer = done.map_err(|e| e.to_string()).and_then(|reply| match reply.status {
                200 => Ok(reply.body.len()),
                status => Err(format!("{status}: {}", String::from_utf8_lossy(&reply.body))),
            });
            *self.answer.borrow_mut() = Some(answer);
        } else if turn.again {
            cx.again(local);
        }
    }
}
