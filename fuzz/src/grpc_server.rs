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
use otelcore_http::grpc::server::{CallHead, GrpcServerConn, GrpcServerConnConfig, unknown_service};
use otelcore_http::grpc::{CallId, KeepaliveServerConfig};
use otelcore_http::{Admission, Code, PollResult, Status, Workspace};

use crate::frames::{self, HeaderChoices, ScriptEvent};
use crate::input::{Input, pieces};
use crate::pipe::{PipeEnd, pipe};

pub const LIMIT: u32 = 64 << 10;
pub const SEC: u64 = 1_000_000_000;

const POST: (&str, &str) = (":method", "POST");
const HTTP: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "a");
const PATH: (&str, &str) = (":path", "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
const GRPC: (&str, &str) = ("content-type", "application/grpc");

static HEADER_CHOICES: HeaderChoices = HeaderChoices {
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
struct CountingAdmission(Rc<Cell<usize>>);

/// Counts the live permits.
pub struct Permit(Rc<Cell<usize>>);

impl Permit {
    pub fn new(live_permits: &Rc<Cell<usize>>) -> Self {
        live_permits.set(live_permits.get() + 1);
        Self(Rc::clone(live_permits))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Admission<CallHead> for CountingAdmission {
    type Permit = Permit;

    fn route(&mut self, path: &str) -> Result<u32, Status> {
        if path.starts_with("/unknown") { Err(unknown_service(path)) } else { Ok(1) }
    }

    fn admit_head(&mut self, _: &CallHead) -> Result<Permit, Status> {
        Ok(Permit::new(&self.0))
    }

    fn admit_message(&mut self, _: &mut Permit, _: &CallHead, len: u32) -> Result<(), Status> {
        assert!(len <= LIMIT, "a request to admit {len} bytes");
        Ok(())
    }

    fn grow(&mut self, _: &mut Permit, to: u64) -> Result<(), Status> {
        assert!(to <= u64::from(LIMIT), "a request to grow to {to} bytes");
        Ok(())
    }
}

struct ServerFixture {
    now: u64,
    peer: PipeEnd,
    conn: GrpcServerConn<PipeEnd, Permit>,
    admission: CountingAdmission,
    permits: Rc<Cell<usize>>,
    unanswered: Vec<CallId>,
    bytes_to_server: usize,
    bytes_replied: usize,
    bytes_from_server: Vec<u8>,
    last_result: PollResult,
}

impl ServerFixture {
    fn new(options: u8) -> Self {
        let (peer, end) = pipe(if options & 8 == 0 { usize::MAX } else { 64 });
        let keepalive = KeepaliveServerConfig {
            max_age: Some(3600 * SEC),
            max_age_grace: Some(10 * SEC),
            max_idle: (options & 16 != 0).then_some(30 * SEC),
            ..KeepaliveServerConfig::default()
        };
        let cfg = GrpcServerConnConfig {
            max_recv_message: LIMIT,
            initial_stream_window: 64 << 10,
            max_concurrent_streams: (options & 32 != 0).then_some(2),
            keep_metadata: options & 64 != 0,
            keepalive,
            accept: vec![Coding::Gzip, Coding::Zstd, Coding::Snappy],
            ..GrpcServerConnConfig::default()
        };
        let permits = Rc::new(Cell::new(0));
        Self {
            now: SEC,
            peer,
            conn: GrpcServerConn::new(end, Rc::new(cfg), SEC, u64::from(options)),
            admission: CountingAdmission(Rc::clone(&permits)),
            permits,
            unanswered: Vec::new(),
            bytes_to_server: 0,
            bytes_replied: 0,
            bytes_from_server: Vec::new(),
            last_result: PollResult::default(),
        }
    }

    fn send(&mut self, mut bytes: &[u8]) {
        for _ in 0..100_000 {
            if bytes.is_empty() || self.last_result.closed {
                return;
            }
            let n = self.peer.write(bytes).unwrap_or(0);
            self.bytes_to_server += n;
            bytes = &bytes[n..];
            if n == 0 {
                let unread = self.peer.unread_len();
                self.run_until_blocked();
                if self.peer.unread_len() == unread {
                    return; // the connection does not read any more
                }
            }
        }
    }

    fn run_until_blocked(&mut self) {
        for n in 0.. {
            assert!(n < 10_000, "turns without end");
            if self.last_result.closed {
                return;
            }
            self.last_result = self.conn.poll(self.now, &mut self.admission);
            self.collect_calls();
            if !self.last_result.poll_again {
                return;
            }
        }
    }

    fn collect_calls(&mut self) {
        while let Some(call) = self.conn.poll_call() {
            assert!(call.message.len() <= LIMIT as usize, "a message of {} bytes", call.message.len());
            assert!(call.wire_len <= LIMIT);
            assert!(!self.unanswered.contains(&call.id), "a call came twice");
            self.unanswered.push(call.id);
        }
        while let Some(id) = self.conn.poll_cancelled() {
            let at = self.unanswered.iter().position(|w| *w == id);
            self.unanswered.remove(at.expect("only what the application has is cancelled"));
        }
        let held = self.conn.buffered_bytes();
        assert!(held <= 4096 + 4 * self.bytes_to_server, "{held} bytes held of {} sent", self.bytes_to_server);
    }

    fn read_output(&mut self) {
        self.bytes_from_server.extend(self.peer.read_all());
        let limit = (1 << 20) + 1024 * self.bytes_to_server + self.bytes_replied;
        assert!(
            self.bytes_from_server.len() <= limit,
            "{} bytes sent for {}",
            self.bytes_from_server.len(),
            self.bytes_to_server
        );
    }

    fn reply(&mut self, options: u8) {
        let Some(id) = (!self.unanswered.is_empty()).then(|| self.unanswered.remove(0)) else { return };
        if options & 1 == 0 {
            let len = usize::from(options) << (options & 7);
            self.bytes_replied += len + 1024;
            self.conn.respond(id, Bytes::from(vec![options; len]));
        } else {
            self.conn.respond_error(
                id,
                &Status::new(Code::from_number(i64::from(options % 18)), "wörk\n").with_random_details(options),
            );
        }
        self.last_result = self.conn.flush(self.now);
        self.collect_calls();
    }

    /// Every call gets a response, the connection is drained, and after that only time passes.
    fn drain_and_check(mut self, is_complete: bool) {
        self.run_until_blocked();
        self.conn.drain(self.now);
        let mut stuck = 0;
        for _ in 0..500 {
            self.run_until_blocked();
            while !self.unanswered.is_empty() {
                self.reply(2);
            }
            self.read_output();
            if self.last_result.closed {
                break;
            }
            self.run_until_blocked();
            if self.last_result.closed {
                break;
            }
            let at = self.conn.poll_timeout().expect("a connection that is open has a timer");
            stuck = if at <= self.now { stuck + 1 } else { 0 };
            assert!(stuck < 50, "a timer that is due does nothing");
            self.now = self.now.max(at);
        }
        assert!(self.last_result.closed, "a drained connection ends");
        self.read_output();
        assert_eq!(self.permits.get(), 0, "permits that were not returned");
        assert!(self.conn.is_idle() && self.conn.buffered_bytes() == 0);
        frames::assert_frames(&self.bytes_from_server, is_complete);
    }
}

trait WithRandomDetails {
    fn with_random_details(self, options: u8) -> Self;
}

impl WithRandomDetails for Status {
    fn with_random_details(self, options: u8) -> Self {
        if options & 32 == 0 {
            self
        } else {
            self.with_retry_after(std::time::Duration::from_millis(u64::from(options)))
        }
    }
}

/// Bytes as a client's stream, in pieces.
pub fn raw(data: &[u8]) {
    let mut input = Input(data);
    let options = input.byte();
    let mut fixture = ServerFixture::new(options & !8);
    for piece in pieces(input.0, options) {
        fixture.send(piece);
        fixture.run_until_blocked();
        if options & 128 == 0 {
            fixture.reply(options >> 4);
        }
        fixture.read_output();
    }
    fixture.drain_and_check(true);
}

/// Frames, mostly valid ones, and events.
pub fn script(data: &[u8]) {
    let mut input = Input(data);
    let options = input.byte();
    let mut fixture = ServerFixture::new(options);
    let workspace = Workspace::new();
    if options & 1 == 0 {
        fixture.send(frames::PREFACE);
        fixture.send(&frames::frame(4, 0, 0, &[]));
        fixture.run_until_blocked();
    }
    let mut peer_closed = false;
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
            ScriptEvent::Application(options) => fixture.reply(options),
            ScriptEvent::PeerReads => fixture.read_output(),
            ScriptEvent::Drain => fixture.conn.drain(fixture.now),
            ScriptEvent::PeerCloses => {
                fixture.peer.close();
                peer_closed = true;
            }
        }
        if fixture.last_result.closed {
            break;
        }
    }
    // If the pipe was full at the end of the connection, it may hold an incomplete frame.
    fixture.drain_and_check(options & 8 == 0 && !peer_closed);
}
