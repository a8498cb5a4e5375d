//! An HTTP/2 server connection and a client that may send anything. Checks the same as for a gRPC server.

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;

use otelcore_http::h1::{HttpServerConnConfig, RequestHead, RequestId, Response};
use otelcore_http::h2::H2ServerConn;
use otelcore_http::{Admission, PollResult, Workspace};

use crate::frames::{self, HeaderChoices, ScriptEvent};
use crate::grpc_server::{Permit, SEC};
use crate::input::{Input, digest};
use crate::pipe::{PipeEnd, pipe};

const LIMIT: u64 = 64 << 10;
const HTTP: (&str, &str) = (":scheme", "http");
const POST: (&str, &str) = (":method", "POST");
const PATH: (&str, &str) = (":path", "/v1/traces");

static HEADER_CHOICES: HeaderChoices = HeaderChoices {
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

struct CountingAdmission(Rc<Cell<usize>>);

impl Admission<RequestHead> for CountingAdmission {
    type Permit = Permit;

    fn admit_head(&mut self, head: &RequestHead) -> Result<Permit, Response> {
        if head.path().starts_with("/no") {
            return Err(Response::text(403, "no"));
        }
        Ok(Permit::new(&self.0))
    }

    fn grow(&mut self, _: &mut Permit, to: u64) -> Result<(), Response> {
        assert!(to <= LIMIT, "a request to grow to {to} bytes");
        Ok(())
    }
}

struct ServerFixture {
    now: u64,
    peer: PipeEnd,
    conn: H2ServerConn<PipeEnd, Permit>,
    admission: CountingAdmission,
    permits: Rc<Cell<usize>>,
    unanswered: Vec<RequestId>,
    bytes_to_server: usize,
    bytes_replied: usize,
    bytes_from_server: Vec<u8>,
    last_result: PollResult,
}

impl ServerFixture {
    fn new(options: u8) -> Self {
        let (peer, end) = pipe(if options & 8 == 0 { usize::MAX } else { 64 });
        let cfg = HttpServerConnConfig {
            max_body: if options & 16 == 0 { LIMIT } else { 1000 },
            read_header_timeout: Some(20 * SEC),
            read_timeout: Some(60 * SEC),
            write_timeout: Some(30 * SEC),
            idle_timeout: Some(40 * SEC),
            ..HttpServerConnConfig::default()
        };
        let permits = Rc::new(Cell::new(0));
        Self {
            now: SEC,
            peer,
            conn: H2ServerConn::new(end, Rc::new(cfg), SEC),
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
                    return;
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
            self.collect_requests();
            if !self.last_result.poll_again {
                return;
            }
        }
    }

    fn collect_requests(&mut self) {
        while let Some(request) = self.conn.poll_request() {
            assert!(request.body.len() as u64 <= LIMIT, "a body of {} bytes", request.body.len());
            if let Some(declared) = request.head.content_length() {
                assert_eq!(declared, request.body.len() as u64, "of the declared length");
            }
            assert!(!self.unanswered.contains(&request.id));
            self.unanswered.push(request.id);
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
        let len = usize::from(options) << (options & 7);
        self.bytes_replied += len + 1024;
        let mut response =
            Response::text([200, 204, 304, 503, 99, 100, 429, 200][usize::from(options & 7)], vec![options; len])
                .header("X-Digest", digest(&[options]).to_string());
        response.close = options & 64 != 0;
        self.conn.respond(id, response);
        self.last_result = self.conn.flush(self.now);
        self.collect_requests();
    }

    fn drain_and_check(mut self, is_complete: bool) {
        self.run_until_blocked();
        self.conn.drain();
        let mut stuck = 0;
        for _ in 0..500 {
            self.run_until_blocked();
            while !self.unanswered.is_empty() {
                self.reply(8);
            }
            self.read_output();
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
        assert!(self.conn.buffered_bytes() == 0);
        frames::assert_frames(&self.bytes_from_server, is_complete);
    }
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
    let mut is_complete = options & 8 == 0;
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
            ScriptEvent::Drain => fixture.conn.drain(),
            ScriptEvent::PeerCloses => {
                fixture.peer.close();
                is_complete = false;
            }
        }
        if fixture.last_result.closed {
            break;
        }
    }
    fixture.drain_and_check(is_complete);
}
