//! The other machines of the simulated world: a backend that accepts everything, a client with one request, a scraper.
//!
//! None of them parses the data that it gets.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::uri::PathAndQuery;
use otelcore::config::declare::Config;
use otelcore::config::{Diagnostics, Section, from_yaml};
use otelcore::pdata::Signal;
use otelcore::pipeline::{
    Budget, Cx, Endpoint, Event, Extension, Graph, GraphBuilder, Logger, MonotonicTime, NoopLogSink, PeerAddr,
    StartError, Stream,
};
use otelcore_http::grpc::server::{GrpcServerConn, GrpcServerConnConfig};
use otelcore_http::h1::client::{H1ClientConn, H1ClientConnConfig, OutgoingRequest};
use otelcore_http::h1::{H1ServerConn, HttpServerConnConfig, Response};
use otelcore_http::{AdmitAll, Bytes};
use otelcore_net::config::GrpcClientConfig;
use otelcore_net::{Acceptor, GrpcChannel, ProtocolMachine, UnaryRequest, bind};
use otelcore_test_support::PeerConn;

pub(crate) const GRPC_BACKEND: u16 = 14250;
pub(crate) const HTTP_BACKEND: u16 = 14318;

const MAX_MESSAGE: u32 = 256 << 20;

pub(crate) fn single_extension_graph(extension: impl Extension + 'static) -> Graph {
    let log = Logger::new(Arc::new(NoopLogSink));
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), log.clone());
    builder.add_internal(Box::new(extension), log);
    builder.build()
}

// ---- backend --------------------------------------------------------------------------------------------------------

/// Takes every request on its port, and counts them.
struct Backend {
    port: u16,
    acceptor: Option<Acceptor<PeerConn>>,
    grpc: Rc<GrpcServerConnConfig>,
    http: Rc<HttpServerConnConfig>,
    requests: Rc<Cell<u64>>,
}

pub(crate) fn backend_graph(port: u16, requests: &Rc<Cell<u64>>) -> Graph {
    single_extension_graph(Backend {
        port,
        acceptor: None,
        grpc: Rc::new(GrpcServerConnConfig { max_recv_message: MAX_MESSAGE, ..GrpcServerConnConfig::default() }),
        http: Rc::new(HttpServerConnConfig { max_body: u64::from(MAX_MESSAGE), ..HttpServerConnConfig::default() }),
        requests: requests.clone(),
    })
}

impl Extension for Backend {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let listener = bind(cx, 0, &Endpoint::Tcp { host: String::new(), port: self.port });
        self.acceptor = Some(Acceptor::new(listener?, 0));
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        let Self { port, acceptor: Some(acceptor), grpc, http, requests } = self else { return };
        let make = |cx: &mut Cx<'_>, stream| {
            let now = cx.now().0;
            Some(if *port == HTTP_BACKEND {
                PeerConn::Http(Box::new(H1ServerConn::new(stream, http.clone(), now)))
            } else {
                PeerConn::Grpc(Box::new(GrpcServerConn::new(stream, grpc.clone(), now, cx.random())))
            })
        };
        for slot in acceptor.handle_event(cx, local, &event, make) {
            let Some((conn, _)) = acceptor.get(slot) else { continue };
            let now = cx.now().0;
            let mut turn = match conn {
                PeerConn::Grpc(conn) => {
                    let turn = conn.poll(now, &mut AdmitAll);
                    while let Some(call) = conn.poll_call() {
                        requests.set(requests.get() + 1);
                        conn.respond(call.id, Bytes::new());
                    }
                    turn
                }
                PeerConn::Http(conn) => {
                    let turn = conn.poll(now, &mut AdmitAll);
                    while let Some(request) = conn.poll_request() {
                        requests.set(requests.get() + 1);
                        conn.respond(request.id, Response::new(200, "application/x-protobuf", Bytes::new()));
                    }
                    turn
                }
            };
            let work_left = turn.poll_again;
            turn = conn.flush(now);
            turn.poll_again |= work_left;
            acceptor.apply_poll_result(cx, slot, &turn);
        }
    }
}

// ---- client ---------------------------------------------------------------------------------------------------------

/// The result of a request: the length of the body, or the error.
pub(crate) type SharedResult = Rc<RefCell<Option<Result<usize, String>>>>;

struct GrpcRequestClient {
    channel: GrpcChannel,
    signal: Signal,
    body: Bytes,
    result: SharedResult,
}

/// A client that sends `body` to `server` over gRPC.
pub(crate) fn grpc_request(
    server: SocketAddr,
    coding: &str,
    signal: Signal,
    body: Bytes,
    result: &SharedResult,
) -> Graph {
    let d = Diagnostics::new();
    let yaml =
        format!("{{endpoint: \"{server}\", tls: {{insecure: true}}, wait_for_ready: true, compression: {coding}}}");
    let node = from_yaml(&yaml, &d).unwrap();
    let section = Section::new(Some(&node), "client", &d);
    let client = Rc::new(GrpcClientConfig::read_section(section, &GrpcClientConfig::default()).channel().unwrap());
    let channel = GrpcChannel::new(client, None, Logger::new(Arc::new(NoopLogSink)), 0);
    single_extension_graph(GrpcRequestClient { channel, signal, body, result: result.clone() })
}

impl Extension for GrpcRequestClient {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)?;
        let path = PathAndQuery::from_static(match self.signal {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        });
        let message = std::iter::once(std::mem::take(&mut self.body)).collect();
        self.channel.start_call(cx, 0, UnaryRequest { path, message, deadline: MonotonicTime::NEVER, metadata: None });
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        self.channel.handle_event(cx, local, &event);
        while let Some((_, result)) = self.channel.poll_result() {
            *self.result.borrow_mut() = Some(result.map(|_| 0).map_err(|status| format!("{status:?}")));
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

struct HttpRequestClient {
    server: SocketAddr,
    request: HttpRequest,
    conn: Option<H1ClientConn<Box<dyn Stream>>>,
    result: SharedResult,
}

/// A client that sends `request` to `server`.
pub(crate) fn http_request(server: SocketAddr, request: HttpRequest, result: &SharedResult) -> Graph {
    single_extension_graph(HttpRequestClient { server, request, conn: None, result: result.clone() })
}

impl Extension for HttpRequestClient {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let stream = cx.connect(0, &PeerAddr::Ip(self.server))?;
        let config = Rc::new(H1ClientConnConfig { max_body: u64::from(MAX_MESSAGE), ..H1ClientConnConfig::default() });
        let mut conn = H1ClientConn::new(stream, config, cx.now().0);
        let HttpRequest { method, target, headers, body } = &self.request;
        let headers = std::iter::once(("Host", "collector")).chain(headers.iter().copied());
        let request = OutgoingRequest { method, target, headers, body: [body.clone()], deadline: None };
        conn.start(cx.now().0, request).map_err(|e| StartError::Config(e.to_string()))?;
        self.conn = Some(conn);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>) {
        let Some(conn) = &mut self.conn else { return };
        let turn = conn.poll(cx.now().0);
        if let Some(done) = conn.poll_response() {
            let result = done.map_err(|e| e.to_string()).and_then(|reply| match reply.status {
                200 => Ok(reply.body.len()),
                status => Err(format!("{status}: {}", String::from_utf8_lossy(&reply.body))),
            });
            *self.result.borrow_mut() = Some(result);
        } else if turn.poll_again {
            cx.request_ready(local);
        }
    }
}
