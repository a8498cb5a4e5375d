//! A gRPC client connection with calls in progress and a server that may send anything.
//!
//! Checks: every call ends exactly once unless it was cancelled; replies are within the limit; output is proportional
//! to input; only complete frames are sent; and the connection ends after it is closed.

use std::io::Write;
use std::rc::Rc;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use otelcore_http::grpc::client::{GrpcClientConn, GrpcClientConnConfig, OutgoingCall};
use otelcore_http::grpc::{CallId, KeepaliveClientConfig};
use otelcore_http::{Coding, HeaderValue, PollResult, Workspace};

use crate::frames::{self, HeaderChoices, PREFACE, ScriptEvent};
use crate::input::Input;
use crate::pipe::{PipeEnd, pipe};

const LIMIT: u32 = 64 << 10;
const SEC: u64 = 1_000_000_000;
const OK: (&str, &str) = (":status", "200");
const GRPC: (&str, &str) = ("content-type", "application/grpc");

static HEADER_CHOICES: HeaderChoices = HeaderChoices {
    lists: &[
        &[OK, GRPC],
        &[("grpc-status", "0")],
        &[("grpc-status", "14"), ("grpc-message", "full%21")],
        &[OK, GRPC, ("grpc-status", "8"), ("grpc-message", "no")],
        &[OK, GRPC, ("grpc-encoding", "gzip")],
        &[OK, GRPC, ("grpc-encoding", "zstd")],
        &[OK, GRPC, ("grpc-encoding", "snappy")],
        &[(":status", "100")],
        &[(":status", "503")],
        &[OK, ("content-type", "text/html")],
        &[],
    ],
    fields: &[
        GRPC,
        ("grpc-status", "0"),
        ("grpc-status", "99"),
        ("grpc-status", "x"),
        ("grpc-message", "%E4%FF%"),
        ("grpc-status-details-bin", "CA4SBGZ1bGwaKAodZ29vZ2xlYXBpcy5jb20v"),
        ("grpc-status-details-bin", "???"),
        ("grpc-encoding", "br"),
        ("content-length", "3"),
        ("connection", "close"),
        OK,
    ],
};

struct ClientFixture {
    now: u64,
    peer: PipeEnd,
    conn: GrpcClientConn<PipeEnd>,
    open_calls: Vec<CallId>,
    bytes_to_client: usize,
    bytes_requested: usize,
    bytes_from_client: Vec<u8>,
    last_result: PollResult,
}

impl ClientFixture {
    fn new(options: u8) -> Self {
        let (peer, end) = pipe(usize::MAX);
        let authority = Authority::from_static("collector:4317");
        let mut cfg = GrpcClientConnConfig::new(Scheme::HTTP, authority, HeaderValue::from_static("fuzz"));
        cfg.max_recv_message = LIMIT;
        cfg.keepalive = (options & 2 != 0).then(KeepaliveClientConfig::default);
        let conn = GrpcClientConn::new(end, Rc::new(cfg), SEC);
        Self {
            now: SEC,
            peer,
            conn,
            open_calls: Vec::new(),
            bytes_to_client: 0,
            bytes_requested: 0,
            bytes_from_client: Vec::new(),
            last_result: PollResult::default(),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.bytes_to_client += self.peer.write(bytes).unwrap_or(0);
    }

    fn run_until_blocked(&mut self) {
        for n in 0.. {
            assert!(n < 10_000, "turns without end");
            if self.last_result.closed {
                return;
            }
            self.last_result = self.conn.poll(self.now);
            self.check_results();
            if !self.last_result.poll_again {
                return;
            }
        }
    }

    fn check_results(&mut self) {
        while let Some(done) = self.conn.poll_completed() {
            let at = self.open_calls.iter().position(|id| *id == done.id);
            self.open_calls.remove(at.expect("a call ends once, and only if it was not cancelled"));
            match done.result {
                Ok(reply) => assert!(reply.len() <= LIMIT as usize, "a reply of {} bytes", reply.len()),
                Err(status) => assert!(!status.is_ok(), "a failure that says OK"),
            }
        }
        assert_eq!(self.conn.in_flight(), self.open_calls.len());
        self.bytes_from_client.extend(self.peer.read_all());
        let limit = (1 << 20) + 1024 * self.bytes_to_client + self.bytes_requested;
        assert!(
            self.bytes_from_client.len() <= limit,
            "{} bytes sent for {}",
            self.bytes_from_client.len(),
            self.bytes_to_client
        );
    }

    fn start_or_cancel_call(&mut self, options: u8) {
        const CODINGS: [Coding; 4] = [Coding::Identity, Coding::Gzip, Coding::Zstd, Coding::Snappy];
        if options & 3 == 3 {
            if !self.open_calls.is_empty() {
                let id = self.open_calls.remove(usize::from(options >> 2) % self.open_calls.len());
                self.conn.cancel(id);
            }
        } else {
            let len = usize::from(options) << (options & 7);
            self.bytes_requested += len + 1024;
            let call = OutgoingCall {
                path: &PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
                metadata: &[],
                encoding: CODINGS[usize::from(options >> 3) & 3].clone(),
                compressed: false,
                message: [Bytes::from(vec![options; len])],
                deadline: (options & 4 != 0).then(|| self.now + 5 * SEC),
            };
            match self.conn.start(self.now, call) {
                Ok(id) => {
                    assert!(!self.open_calls.contains(&id));
                    self.open_calls.push(id);
                }
                Err(_) => assert!(self.conn.in_flight() == self.open_calls.len()),
            }
        }
        if !self.last_result.closed {
            self.last_result = self.conn.flush(self.now);
            self.check_results();
        }
    }

    fn close_and_check(mut self) {
        self.run_until_blocked();
        if !self.last_result.closed {
            self.conn.close(self.now);
        }
        for _ in 0..100 {
            self.run_until_blocked();
            if self.last_result.closed {
                break;
            }
            let at = self.conn.poll_timeout().expect("a connection that ends has a timer");
            self.now = self.now.max(at);
        }
        assert!(self.last_result.closed, "a closed connection ends");
        self.check_results();
        assert!(self.open_calls.is_empty(), "calls without an end");
        let frames = self.bytes_from_client.strip_prefix(PREFACE).expect("the preface comes first");
        frames::assert_frames(frames, true);
    }
}

/// Frames, mostly valid ones, and events.
pub fn script(data: &[u8]) {
    let mut input = Input(data);
    let options = input.byte();
    let mut fixture = ClientFixture::new(options);
    let workspace = Workspace::new();
    fixture.run_until_blocked();
    if options & 1 == 0 {
        fixture.send(&frames::frame(4, 0, 0, &[]));
        fixture.run_until_blocked();
        for n in 0..(options >> 2) & 3 {
            fixture.start_or_cancel_call(n << 3);
        }
    }
    while let Some(op) = frames::next_event(&mut input, &HEADER_CHOICES, &workspace) {
        match op {
            ScriptEvent::PeerSends(bytes, wait) => {
                fixture.send(&bytes);
                if wait {
                    fixture.run_until_blocked();
                }
            }
            ScriptEvent::TimePasses(by) => {
                fixture.now += by.min(600 * SEC);
                fixture.run_until_blocked();
            }
            ScriptEvent::Application(options) => fixture.start_or_cancel_call(options),
            ScriptEvent::PeerReads => fixture.run_until_blocked(),
            ScriptEvent::Drain => break,
            ScriptEvent::PeerCloses => fixture.peer.close(),
        }
        if fixture.last_result.closed {
            break;
        }
    }
    fixture.close_and_check();
}
