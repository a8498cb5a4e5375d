//! A gRPC server connection and a client that may send anything.
//!
//! Checks: messages are within the limit; memory and output are proportional to the input; permits are returned; only
//! calls that the application has are cancelled; only complete frames are sent; and after a drain the connection ends
//! through timers alone.

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;

use bytes::Bytes;
use otelcore_http::coding::Coding;
use otelcore_http::grpc::server::{CallHead, Gate, ServerConfig, ServerConn, unknown_service};
use otelcore_http::grpc::{CallId, KeepaliveServer};
use otelcore_http::{Code, Status, Turn, Workspace};

use crate::frames::{self, Op, Phrases};
use crate::input::{Input, pieces};
use crate::pipe::{End, pipe};

pub const LIMIT: u32 = 64 << 10;
pub const SEC: u64 = 1_000_000_000;

const POST: (&str, &str) = (":method", "POST");
const HTTP: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "a");
const PATH: (&str, &str) = (":path", "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
const GRPC: (&str, &str) = ("content-type", "application/grpc");

static PHRASES: Phrases = Phrases {
    lists: &[
        &[POST, HTTP, PATH, AUTHORITY, GRPC, ("te", "trailers")],
        &[POST, HTTP, PATH, AUTHORITY, GRPC, ("grpc-encoding", "gzip")],
        &[POST, HTTP, PATH, AUTHORITY, GRPC, ("grpc-encoding", "zstd")],
        &[POST, HTTP, PATH, AUTHORITY, GRPC, ("grpc-encoding", "snappy"), ("grpc-timeout", "1S")],
        &[POST, HTTP, PATH, AUTHORITY, GRPC, ("grpc-timeout", "10m")],
        &[POST, HTTP, (":path", "/unknown/x"), AUTHORITY, GRPC],
        &[(":method", "GET"), HTTP, PATH, AUTHORITY],
        &[POST, HTTP, PATH, AUTHORITY],
        &[POST, HTTP],
        &[],
    ],
    fields: &[
        GRPC,
        ("content-type", "text/plain"),
        ("grpc-encoding", "br"),
        ("grpc-encoding", "identity"),
        ("grpc-timeout", "99999999H"),
        ("grpc-timeout", "0n"),
        ("grpc-timeout", "x"),
        ("content-length", "5"),
        ("content-length", "0"),
        ("connection", "close"),
        ("UPPER", "x"),
        POST,
        PATH,
        (":status", "200"),
    ],
};

/// Admits every call with a known path, and counts the permits.
struct Open(Rc<Cell<usize>>);

/// Counts the live permits.
pub struct Permit(Rc<Cell<usize>>);

impl Permit {
    pub fn new(alive: &Rc<Cell<usize>>) -> Self {
        alive.set(alive.get() + 1);
        Self(Rc::clone(alive))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Gate for Open {
    type Permit = Permit;

    fn route(&mut self, path: &str) -> Result<u32, Status> {
        if path.starts_with("/unknown") { Err(unknown_service(path)) } else { Ok(1) }
    }

    fn open(&mut self, _: &CallHead, _: usize) -> Result<Permit, Status> {
        Ok(Permit::new(&self.0))
    }

    fn admit(&mut self, _: &mut Permit, _: &CallHead, len: u32) -> Result<(), Status> {
        assert!(len <= LIMIT, "asked to admit {len} bytes");
        Ok(())
    }

    fn grow(&mut self, _: &mut Permit, to: u64) -> Result<(), Status> {
        assert!(to <= u64::from(LIMIT), "asked to grow to {to} bytes");
        Ok(())
    }
}

struct Rig {
    now: u64,
    peer: End,
    conn: ServerConn<End, Permit>,
    gate: Open,
    permits: Rc<Cell<usize>>,
    waiting: Vec<CallId>,
    sent: usize,
    replied: usize,
    said: Vec<u8>,
    last: Turn,
}

impl Rig {
    fn new(how: u8) -> Self {
        let (peer, end) = pipe(if how & 8 == 0 { usize::MAX } else { 64 });
        let keepalive = KeepaliveServer {
            max_age: Some(3600 * SEC),
            max_age_grace: Some(10 * SEC),
            max_idle: (how & 16 != 0).then_some(30 * SEC),
            ..KeepaliveServer::default()
        };
        let cfg = ServerConfig {
            max_recv_message: LIMIT,
            initial_stream_window: 64 << 10,
            max_concurrent_streams: (how & 32 != 0).then_some(2),
            keep_metadata: how & 64 != 0,
            keepalive,
            accept: vec![Coding::Gzip, Coding::Zstd, Coding::Snappy],
            ..ServerConfig::default()
        };
        let permits = Rc::new(Cell::new(0));
        Self {
            now: SEC,
            peer,
            conn: ServerConn::new(end, Rc::new(cfg), SEC, u64::from(how)),
            gate: Open(Rc::clone(&permits)),
            permits,
            waiting: Vec::new(),
            sent: 0,
            replied: 0,
            said: Vec::new(),
            last: Turn::default(),
        }
    }

    fn send(&mut self, mut bytes: &[u8]) {
        for _ in 0..100_000 {
            if bytes.is_empty() || self.last.closed {
                return;
            }
            let n = self.peer.write(bytes).unwrap_or(0);
            self.sent += n;
            bytes = &bytes[n..];
            if n == 0 {
                let unread = self.peer.unread();
                self.turn();
                if self.peer.unread() == unread {
                    return; // the connection does not read any more
                }
            }
        }
    }

    fn turn(&mut self) {
        for n in 0.. {
            assert!(n < 10_000, "turns without end");
            if self.last.closed {
                return;
            }
            self.last = self.conn.turn(self.now, &mut self.gate);
            self.collect();
            if !self.last.again {
                return;
            }
        }
    }

    fn collect(&mut self) {
        while let Some(call) = self.conn.poll_call() {
            assert!(call.message.len() <= LIMIT as usize, "a message of {} bytes", call.message.len());
            assert!(call.wire_len <= LIMIT);
            assert!(!self.waiting.contains(&call.id), "a call came twice");
            self.waiting.push(call.id);
        }
        while let Some(id) = self.conn.poll_cancelled() {
            let at = self.waiting.iter().position(|w| *w == id);
            self.waiting.remove(at.expect("only what the application has is cancelled"));
        }
        let held = self.conn.held();
        assert!(held <= 4096 + 4 * self.sent, "{held} bytes held of {} sent", self.sent);
    }

    fn hear(&mut self) {
        self.said.extend(self.peer.drain());
        let most = (1 << 20) + 1024 * self.sent + self.replied;
        assert!(self.said.len() <= most, "{} bytes said to {}", self.said.len(), self.sent);
    }

    fn reply(&mut self, how: u8) {
        let Some(id) = (!self.waiting.is_empty()).then(|| self.waiting.remove(0)) else { return };
        if how & 1 == 0 {
            let len = usize::from(how) << (how & 7);
            self.replied += len + 1024;
            self.conn.reply_ok(id, Bytes::from(vec![how; len]));
        } else {
            self.conn.reply_err(id, &Status::new(Code::from_number(i64::from(how % 18)), "wörk\n").with_details(how));
        }
        self.last = self.conn.flush(self.now);
        self.collect();
    }

    /// Every call is answered, the connection is drained, and after that only time passes.
    fn end(mut self, whole: bool) {
        self.turn();
        self.conn.drain(self.now);
        let mut stuck = 0;
        for _ in 0..500 {
            self.turn();
            while !self.waiting.is_empty() {
                self.reply(2);
            }
            self.hear();
            if self.last.closed {
                break;
            }
            self.turn();
            if self.last.closed {
                break;
            }
            let at = self.conn.poll_timeout().expect("a connection that lives has a timer");
            stuck = if at <= self.now { stuck + 1 } else { 0 };
            assert!(stuck < 50, "a timer that is due does nothing");
            self.now = self.now.max(at);
        }
        assert!(self.last.closed, "a drained connection ends");
        self.hear();
        assert_eq!(self.permits.get(), 0, "permits that nobody gave back");
        assert!(self.conn.is_idle() && self.conn.held() == 0);
        frames::assert_frames(&self.said, whole);
    }
}

trait WithDetails {
    fn with_details(self, how: u8) -> Self;
}

impl WithDetails for Status {
    fn with_details(self, how: u8) -> Self {
        if how & 32 == 0 { self } else { self.with_retry_after(std::time::Duration::from_millis(u64::from(how))) }
    }
}

/// Bytes as a client's stream, in pieces.
pub fn raw(data: &[u8]) {
    let mut input = Input(data);
    let how = input.byte();
    let mut rig = Rig::new(how & !8);
    for piece in pieces(input.0, how) {
        rig.send(piece);
        rig.turn();
        if how & 128 == 0 {
            rig.reply(how >> 4);
        }
        rig.hear();
    }
    rig.end(true);
}

/// Frames, mostly valid ones, and events.
pub fn script(data: &[u8]) {
    let mut input = Input(data);
    let how = input.byte();
    let mut rig = Rig::new(how);
    let workspace = Workspace::new();
    if how & 1 == 0 {
        rig.send(frames::PREFACE);
        rig.send(&frames::frame(4, 0, 0, &[]));
        rig.turn();
    }
    let mut quiet = false;
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
            Op::App(how) => rig.reply(how),
            Op::Read => rig.hear(),
            Op::Drain => rig.conn.drain(rig.now),
            Op::Close => {
                rig.peer.close();
                quiet = true;
            }
        }
        if rig.last.closed {
            break;
        }
    }
    // If the pipe was full at the end of the connection, it may hold an incomplete frame.
    rig.end(how & 8 == 0 && !quiet);
}
