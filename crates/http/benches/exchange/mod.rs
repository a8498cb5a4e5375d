//! Recorded connections for benches: what clients and servers send for [`REQUESTS`] requests with a body of telemetry's
//! size, and a stream that replays the bytes of one side. Never opens a socket.

#![allow(dead_code, clippy::unwrap_used, unreachable_pub, missing_docs, reason = "each bench uses a part")]

#[path = "../../src/pipe.rs"]
mod pipe;

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::rc::Rc;

use bytes::{Buf, Bytes};
use http::HeaderValue;
use http::uri::{Authority, PathAndQuery, Scheme};
use otelcore_http::grpc::client::{GrpcClientConn, GrpcClientConnConfig, OutgoingCall};
use otelcore_http::grpc::server::{GrpcServerConn, GrpcServerConnConfig};
use otelcore_http::h1::{H1ServerConn, HttpServerConnConfig, Response};
use otelcore_http::{AdmitAll, Coding};

use self::pipe::{PipeEnd, pipe};

/// Requests on one connection.
pub const REQUESTS: usize = 10;

const NOW: u64 = 1_000_000_000;

/// A stream of which the input is known: reads return it, writes are counted and discarded. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Replay(Rc<RefCell<ReplayState>>);

#[derive(Debug, Default)]
struct ReplayState {
    input: Bytes,
    written: usize,
}

impl Replay {
    /// A stream whose peer has sent these bytes.
    pub fn new(input: &Bytes) -> Self {
        Self(Rc::new(RefCell::new(ReplayState { input: input.clone(), written: 0 })))
    }

    /// The peer sends these bytes.
    pub fn set_input(&self, input: &Bytes) {
        self.0.borrow_mut().input = input.clone();
    }

    /// Bytes that were written.
    pub fn written(&self) -> usize {
        self.0.borrow().written
    }
}

impl Read for Replay {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let input = &mut self.0.borrow_mut().input;
        if input.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = buf.len().min(input.len());
        input.copy_to_slice(&mut buf[..n]);
        Ok(n)
    }
}

impl Write for Replay {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().written += buf.len();
        Ok(buf.len())
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let n = bufs.iter().map(|b| b.len()).sum();
        self.0.borrow_mut().written += n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One end of a pipe that records what is written to it.
struct Recorder(PipeEnd, Rc<RefCell<Vec<u8>>>);

impl Read for Recorder {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Recorder {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.0.write(buf)?;
        self.1.borrow_mut().extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The bytes of a gRPC connection with [`REQUESTS`] calls.
pub struct GrpcExchange {
    /// What the client sends before the first call: preface, SETTINGS and their acknowledgement.
    pub client_settings: Bytes,
    /// The calls.
    pub client_calls: Bytes,
    /// What the server sends before the first call.
    pub server_settings: Bytes,
    /// The responses.
    pub server_responses: Bytes,
    body: Bytes,
    client_config: Rc<GrpcClientConnConfig>,
    server_config: Rc<GrpcServerConnConfig>,
}

impl GrpcExchange {
    /// Records calls with this message.
    pub fn record(body: Bytes) -> Self {
        let agent = HeaderValue::from_static("otelcore");
        let client_config = GrpcClientConnConfig::new(Scheme::HTTP, Authority::from_static("collector:4317"), agent);
        let mut exchange = Self {
            client_settings: Bytes::new(),
            client_calls: Bytes::new(),
            server_settings: Bytes::new(),
            server_responses: Bytes::new(),
            body,
            client_config: Rc::new(client_config),
            server_config: Rc::new(GrpcServerConnConfig::default()),
        };
        let (a, b) = pipe(usize::MAX);
        let (sent, received) = (Rc::default(), Rc::default());
        let mut client = GrpcClientConn::new(Recorder(a, Rc::clone(&sent)), Rc::clone(&exchange.client_config), NOW);
        let mut server =
            GrpcServerConn::new(Recorder(b, Rc::clone(&received)), Rc::clone(&exchange.server_config), NOW, 1);
        let mut completed = 0;
        for started in [false, true] {
            if started {
                exchange.client_settings = sent.take().into();
                exchange.server_settings = received.take().into();
                exchange.start_calls(&mut client);
            }
            for _ in 0..100 {
                let _ = client.poll(NOW);
                let _ = server.poll(NOW, &mut AdmitAll);
                while let Some(call) = server.poll_call() {
                    server.respond(call.id, Bytes::new());
                }
                let _ = server.flush(NOW);
                while let Some(call) = client.poll_completed() {
                    call.result.unwrap();
                    completed += 1;
                }
            }
        }
        assert_eq!(completed, REQUESTS);
        exchange.client_calls = sent.take().into();
        exchange.server_responses = received.take().into();
        exchange
    }

    fn start_calls<T: Read + Write>(&self, client: &mut GrpcClientConn<T>) {
        let path = PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
        for _ in 0..REQUESTS {
            let message = [self.body.clone()];
            let (path, encoding) = (&path, Coding::Identity);
            let call = OutgoingCall { path, metadata: &[], encoding, compressed: false, message, deadline: None };
            client.start(NOW, call).unwrap();
        }
    }

    /// A server connection receives the calls and responds to them. Returns the bytes of their messages.
    pub fn serve(&self) -> usize {
        let io = Replay::new(&self.client_settings);
        let mut server = GrpcServerConn::new(io.clone(), Rc::clone(&self.server_config), NOW, 1);
        // The client sends more than the initial window of a connection only after the server has enlarged it.
        let _ = server.poll(NOW, &mut AdmitAll);
        io.set_input(&self.client_calls);
        let (mut calls, mut bytes) = (0, 0);
        loop {
            let polled = server.poll(NOW, &mut AdmitAll);
            while let Some(call) = server.poll_call() {
                bytes += call.message.len();
                calls += 1;
                server.respond(call.id, Bytes::new());
            }
            if !server.flush(NOW).poll_again && !polled.poll_again {
                break;
            }
        }
        assert_eq!(calls, REQUESTS);
        bytes
    }

    /// A client connection makes the calls and receives the responses. Returns the bytes that were sent.
    pub fn call(&self) -> usize {
        let io = Replay::new(&self.server_settings);
        let mut client = GrpcClientConn::new(io.clone(), Rc::clone(&self.client_config), NOW);
        let _ = client.poll(NOW);
        self.start_calls(&mut client);
        let _ = client.flush(NOW);
        io.set_input(&self.server_responses);
        let mut completed = 0;
        while client.poll(NOW).poll_again || completed < REQUESTS {
            let before = completed;
            while let Some(call) = client.poll_completed() {
                call.result.unwrap();
                completed += 1;
            }
            assert!(completed > before, "a call is not completed");
        }
        io.written()
    }
}

/// The head of each HTTP/1.1 request.
pub fn h1_head(length: usize) -> String {
    format!(
        "POST /v1/traces HTTP/1.1\r\nHost: collector:4318\r\nUser-Agent: OTel-OTLP-Exporter-Python/1.30.0\r\n\
         Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n\
         Content-Type: application/x-protobuf\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// What an HTTP/1.1 client sends for [`REQUESTS`] requests with this body.
pub fn h1_requests(body: &[u8]) -> Bytes {
    [h1_head(body.len()).as_bytes(), body].concat().repeat(REQUESTS).into()
}

/// A server connection receives the requests and responds to them. Returns the bytes of their bodies.
pub fn serve_h1(requests: &Bytes, config: &Rc<HttpServerConnConfig>) -> usize {
    let mut server = H1ServerConn::new(Replay::new(requests), Rc::clone(config), NOW);
    let (mut count, mut bytes) = (0, 0);
    loop {
        let polled = server.poll(NOW, &mut AdmitAll);
        while let Some(request) = server.poll_request() {
            bytes += request.body.len();
            count += 1;
            server.respond(request.id, Response::new(200, "application/x-protobuf", Bytes::new()));
        }
        if !server.flush(NOW).poll_again && !polled.poll_again {
            break;
        }
    }
    assert_eq!(count, REQUESTS);
    bytes
}
