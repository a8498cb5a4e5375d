//! A gRPC client connection with calls in progress and a server that may send anything.
//!
//! Checks: every call ends exactly once unless it was cancelled; replies are within the limit; output is proportional
//! to input; only complete frames are sent; and the connection ends after it is closed.

use std::io::Write;
use std::rc::Rc;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use otelcore_http::grpc::client::{ClientConfig, ClientConn, Outgoing};
use otelcore_http::grpc::{CallId, KeepaliveClient};
use otelcore_http::{Coding, HeaderValue, Turn, Workspace};

use crate::frames::{self, Op, PREFACE, Phrases};
use crate::input::Input;
use crate::pipe::{End, pipe};

const LIMIT: u32 = 64 << 10;
const SEC: u64 = 1_000_000_000;
const OK: (&str, &str) = (":status", "200");
const GRPC: (&str, &str) = ("content-type", "application/grpc");

static PHRASES: Phrases = Phrases {
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

struct Rig {
    now: u64,
    peer: End,
    conn: ClientConn<End>,
    open: Vec<CallId>,
    sent: usize,
    asked: usize,
    said: Vec<u8>,
    last: Turn,
}

impl Rig {
    fn new(how: u8) -> Self {
        let (peer, end) = pipe(usize::MAX);
        let authority = Authority::from_static("collector:4317");
        let mut cfg = ClientConfig::new(Scheme::HTTP, authority, HeaderValue::from_static("fuzz"));
        cfg.max_recv_message = LIMIT;
        cfg.keepalive = (how & 2 != 0).then(KeepaliveClient::default);
        let conn = ClientConn::new(end, Rc::new(cfg), SEC);
        Self { now: SEC, peer, conn, open: Vec::new(), sent: 0, asked: 0, said: Vec::new(), last: Turn::default() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.sent += self.peer.write(bytes).unwrap_or(0);
    }

    fn turn(&mut self) {
        for n in 0.. {
            assert!(n < 10_000, "turns without end");
            if self.last.closed {
                return;
            }
            self.last = self.conn.turn(self.now);
            self.collect();
            if !self.last.again {
                return;
            }
        }
    }

    fn collect(&mut self) {
        while let Some(done) = self.conn.poll_done() {
            let at = self.open.iter().position(|id| *id == done.id);
            self.open.remove(at.expect("a call ends once, and only if it was not cancelled"));
            match done.result {
                Ok(reply) => assert!(reply.len() <= LIMIT as usize, "a reply of {} bytes", reply.len()),
                Err(status) => assert!(!status.is_ok(), "a failure that says OK"),
            }
        }
        assert_eq!(self.conn.in_flight(), self.open.len());
        self.said.extend(self.peer.drain());
        let most = (1 << 20) + 1024 * self.sent + self.asked;
        assert!(self.said.len() <= most, "{} bytes said to {}", self.said.len(), self.sent);
    }

    fn act(&mut self, how: u8) {
        const CODINGS: [Coding; 4] = [Coding::Identity, Coding::Gzip, Coding::Zstd, Coding::Snappy];
        if how & 3 == 3 {
            if !self.open.is_empty() {
                let id = self.open.remove(usize::from(how >> 2) % self.open.len());
                self.conn.cancel(id);
            }
        } else {
            let len = usize::from(how) << (how & 7);
            self.asked += len + 1024;
            let call = Outgoing {
                path: &PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
                metadata: &[],
                encoding: CODINGS[usize::from(how >> 3) & 3].clone(),
                compressed: false,
                message: [Bytes::from(vec![how; len])],
                deadline: (how & 4 != 0).then(|| self.now + 5 * SEC),
            };
            match self.conn.start(self.now, call) {
                Ok(id) => {
                    assert!(!self.open.contains(&id));
                    self.open.push(id);
                }
                Err(_) => assert!(self.conn.in_flight() == self.open.len()),
            }
        }
        if !self.last.closed {
            self.last = self.conn.flush(self.now);
            self.collect();
        }
    }

    fn end(mut self) {
        self.turn();
        if !self.last.closed {
            self.conn.close(self.now);
        }
        for _ in 0..100 {
            self.turn();
            if self.last.closed {
                break;
            }
            let at = self.conn.poll_timeout().expect("a connection that ends has a timer");
            self.now = self.now.max(at);
        }
        assert!(self.last.closed, "a closed connection ends");
        self.collect();
        assert!(self.open.is_empty(), "calls without an end");
        let frames = self.said.strip_prefix(PREFACE).expect("the preface comes first");
        frames::assert_frames(frames, true);
    }
}

/// Frames, mostly valid ones, and events.
pub fn script(data: &[u8]) {
    let mut input = Input(data);
    let how = input.byte();
    let mut rig = Rig::new(how);
    let workspace = Workspace::new();
    rig.turn();
    if how & 1 == 0 {
        rig.send(&frames::frame(4, 0, 0, &[]));
        rig.turn();
        for n in 0..(how >> 2) & 3 {
            rig.act(n << 3);
        }
    }
    while let Some(op) = frames::next(&mut input, &PHRASES, &workspace) {
        match op {
            Op::Send(bytes, wait) => {
                rig.send(&bytes);
                if wait {
                    rig.turn();
                }
            }
            Op::Time(by) => {
                rig.now += by.min(600 * SEC);
                rig.turn();
            }
            Op::App(how) => rig.act(how),
            Op::Read => rig.turn(),
            Op::Drain => break,
            Op::Close => rig.peer.close(),
        }
        if rig.last.closed {
            break;
        }
    }
    rig.end();
}
