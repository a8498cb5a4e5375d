//! An HTTP/2 server connection and a client that may send anything. Checks the same as for a gRPC server.

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;

use otelcore_http::h1::{BodyLimit, Door, H1Config, RequestHead, RequestId, Response};
use otelcore_http::h2::ServerConn;
use otelcore_http::{Turn, Workspace};

use crate::frames::{self, Op, Phrases};
use crate::grpc_server::{Permit, SEC};
use crate::input::{Input, digest};
use crate::pipe::{End, pipe};

const LIMIT: u64 = 64 << 10;
const HTTP: (&str, &str) = (":scheme", "http");
const POST: (&str, &str) = (":method", "POST");
const PATH: (&str, &str) = (":path", "/v1/traces");

static PHRASES: Phrases = Phrases {
    lists: &[
        &[POST, HTTP, PATH, (":authority", "a"), ("content-type", "application/x-protobuf")],
        &[POST, HTTP, PATH, (":authority", "a"), ("content-length", "5")],
        &[POST, HTTP, PATH, (":authority", "a"), ("content-length", "100000")],
        &[POST, HTTP, (":path", "/no"), ("host", "a")],
        &[(":method", "GET"), HTTP, (":path", "/metrics"), (":authority", "a")],
        &[(":method", "HEAD"), HTTP, (":path", "/"), (":authority", "a")],
        &[(":method", "OPTIONS"), HTTP, (":path", "*"), (":authority", "a")],
        &[(":method", "CONNECT"), (":authority", "a:1")],
        &[POST, HTTP],
        &[],
    ],
    fields: &[
        ("content-length", "5"),
        ("content-length", "0"),
        ("content-length", "-1"),
        ("expect", "100-continue"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("cookie", "a=b"),
        ("UPPER", "x"),
        ("te", "trailers"),
        PATH,
        (":status", "200"),
        ("content-length", "60000"),
    ],
};

struct Porter(Rc<Cell<usize>>);

impl Door for Porter {
    type Permit = Permit;

    fn head(&mut self, head: &RequestHead) -> Result<(Permit, BodyLimit), Response> {
        if head.path().starts_with("/no") {
            return Err(Response::text(403, "no"));
        }
        Ok((Permit::new(&self.0), BodyLimit(LIMIT)))
    }

    fn grow(&mut self, _: &mut Permit, to: u64) -> Result<(), Response> {
        assert!(to <= LIMIT, "asked to grow to {to} bytes");
        Ok(())
    }

    fn too_large(&mut self, _: &RequestHead) -> Response {
        Response::text(413, "too large")
    }
}

struct Rig {
    now: u64,
    peer: End,
    conn: ServerConn<End, Permit>,
    door: Porter,
    permits: Rc<Cell<usize>>,
    waiting: Vec<RequestId>,
    sent: usize,
    replied: usize,
    said: Vec<u8>,
    last: Turn,
}

impl Rig {
    fn new(how: u8) -> Self {
        let (peer, end) = pipe(if how & 8 == 0 { usize::MAX } else { 64 });
        let cfg = H1Config {
            max_body: if how & 16 == 0 { 1 << 20 } else { 1000 },
            read_header_timeout: Some(20 * SEC),
            read_timeout: Some(60 * SEC),
            write_timeout: Some(30 * SEC),
            idle_timeout: Some(40 * SEC),
            ..H1Config::default()
        };
        let permits = Rc::new(Cell::new(0));
        Self {
            now: SEC,
            peer,
            conn: ServerConn::new(end, Rc::new(cfg), SEC),
            door: Porter(Rc::clone(&permits)),
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
                    return;
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
            self.last = self.conn.turn(self.now, &mut self.door);
            self.collect();
            if !self.last.again {
                return;
            }
        }
    }

    fn collect(&mut self) {
        while let Some(request) = self.conn.poll_request() {
            assert!(request.body.len() as u64 <= LIMIT, "a body of {} bytes", request.body.len());
            if let Some(declared) = request.head.content_length() {
                assert_eq!(declared, request.body.len() as u64, "of the declared length");
            }
            assert!(!self.waiting.contains(&request.id));
            self.waiting.push(request.id);
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
        let len = usize::from(how) << (how & 7);
        self.replied += len + 1024;
        let mut response =
            Response::text([200, 204, 304, 503, 99, 100, 429, 200][usize::from(how & 7)], vec![how; len])
                .header("X-Digest", digest(&[how]).to_string());
        response.close = how & 64 != 0;
        self.conn.respond(id, response);
        self.last = self.conn.flush(self.now);
        self.collect();
    }

    fn end(mut self, whole: bool) {
        self.turn();
        self.conn.drain();
        let mut stuck = 0;
        for _ in 0..500 {
            self.turn();
            while !self.waiting.is_empty() {
                self.reply(8);
            }
            self.hear();
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
        assert!(self.conn.held() == 0);
        frames::assert_frames(&self.said, whole);
    }
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
    let mut whole = how & 8 == 0;
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
            Op::Drain => rig.conn.drain(),
            Op::Close => {
                rig.peer.close();
                whole = false;
            }
        }
        if rig.last.closed {
            break;
        }
    }
    rig.end(whole);
}
