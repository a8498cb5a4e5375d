//! h2's own client against the server, over a pipe in memory, under a virtual clock.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{SendStream, client};
use http::{Method, Version};

use super::*;
use crate::h1::{BodyLimit, RequestHead};
use crate::pipe::{End, pipe};
use crate::wire::{Link, Wire};

const SEC: u64 = 1_000_000_000;

#[derive(Default)]
struct Porter {
    limit: Option<u64>,
    grown: Vec<u64>,
    max_held: Option<u64>,
    heads: Vec<RequestHead>,
}

impl Door for Porter {
    type Permit = Rc<()>;

    fn head(&mut self, head: &RequestHead) -> Result<(Rc<()>, BodyLimit), Response> {
        self.heads.push(head.clone());
        if head.path().starts_with("/no") {
            return Err(Response::text(403, "no").closing());
        }
        Ok((Rc::new(()), BodyLimit(self.limit.unwrap_or(1 << 30))))
    }

    fn grow(&mut self, _: &mut Rc<()>, to: u64) -> Result<(), Response> {
        self.grown.push(to);
        if self.max_held.is_some_and(|max| to > max) { Err(Response::text(503, "full")) } else { Ok(()) }
    }

    fn too_large(&mut self, _: &RequestHead) -> Response {
        Response::text(400, "http: request body too large")
    }
}

/// A request of the client and its outcome.
struct Asked {
    response: Option<ResponseFuture>,
    send: SendStream<Bytes>,
    body: Option<RecvStream>,
    status: Option<u16>,
    headers: http::HeaderMap,
    got: Vec<u8>,
    ended: bool,
    interim: Vec<u16>,
    error: Option<Reason>,
}

struct Rig {
    now: u64,
    link: Link<End>,
    send: SendRequest<Bytes>,
    client: Option<Connection<Wire<End>, Bytes>>,
    asked: Vec<Asked>,
    server: ServerConn<End, Rc<()>>,
    door: Porter,
    requests: Vec<Request<Rc<()>>>,
    last: Turn,
    client_reads: bool,
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Rig {
    fn with(cfg: H1Config, door: Porter) -> Self {
        let (a, b) = pipe(usize::MAX);
        let (link, wire) = Link::new(a, cfg.workspace.clone(), false, 1 << 20);
        let server = ServerConn::new(b, Rc::new(cfg), SEC);
        link.begin(usize::MAX);
        let Poll::Ready(Ok((send, client))) = pin!(client::handshake(wire)).poll(&mut cx()) else { panic!() };
        let mut rig = Self {
            now: SEC,
            link,
            send,
            client: Some(client),
            asked: Vec::new(),
            server,
            door,
            requests: Vec::new(),
            last: Turn::default(),
            client_reads: true,
        };
        rig.run();
        rig
    }

    fn new() -> Self {
        Self::with(H1Config::default(), Porter::default())
    }

    fn client_turn(&mut self) {
        self.link.begin(if self.client_reads { usize::MAX } else { 0 });
        let polled = self.client.as_mut().map(|conn| Pin::new(conn).poll(&mut cx()));
        if matches!(polled, Some(Poll::Ready(_))) {
            self.client = None;
        }
        for asked in &mut self.asked {
            asked.poll();
        }
        if let Some(conn) = &mut self.client {
            let _ = Pin::new(conn).poll(&mut cx());
        }
        self.link.finish(false);
    }

    /// Calls `turn` on both sides until no more bytes move.
    fn run(&mut self) -> &mut Self {
        for _ in 0..10_000 {
            let before = self.link.io().moved();
            self.client_turn();
            self.last = self.server.turn(self.now, &mut self.door);
            self.requests.extend(std::iter::from_fn(|| self.server.poll_request()));
            if self.link.io().moved() == before && !self.last.again {
                return self;
            }
        }
        panic!("never quiet");
    }

    /// Advances the time, stopping at every timeout of the server.
    fn pass(&mut self, nanos: u64) -> &mut Self {
        let end = self.now + nanos;
        while let Some(at) = self.server.poll_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "a timeout in the past would spin");
            self.now = at;
            self.run();
            assert!(self.server.poll_timeout().is_none_or(|next| next > at), "nothing was done at {at}");
        }
        self.now = end;
        self.run()
    }

    fn ask_with(&mut self, request: http::Request<()>, end: bool) -> usize {
        let (response, send) = self.send.send_request(request, end).unwrap();
        self.asked.push(Asked {
            response: Some(response),
            send,
            body: None,
            status: None,
            headers: http::HeaderMap::new(),
            got: Vec::new(),
            ended: false,
            interim: Vec::new(),
            error: None,
        });
        self.asked.len() - 1
    }

    fn request(method: Method, path: &str) -> http::Request<()> {
        let uri = format!("https://collector:4318{path}");
        http::Request::builder().method(method).version(Version::HTTP_2).uri(uri).body(()).unwrap()
    }

    fn post(&mut self, path: &str, body: impl Into<Bytes>) -> usize {
        let at = self.ask_with(Self::request(Method::POST, path), false);
        self.asked[at].send.send_data(body.into(), true).unwrap();
        self.run();
        at
    }

    fn get(&mut self, method: Method, path: &str) -> usize {
        let at = self.ask_with(Self::request(method, path), true);
        self.run();
        at
    }

    /// Answers each waiting request with its own path and the length of its body.
    fn echo(&mut self) -> &mut Self {
        for r in std::mem::take(&mut self.requests) {
            self.server.respond(r.id, Response::text(200, format!("{} {}", r.head.path(), r.body.len())));
        }
        let _ = self.server.flush(self.now);
        self.run()
    }

    fn answer(&self, at: usize) -> (u16, &str) {
        let asked = &self.asked[at];
        (asked.status.unwrap_or_default(), std::str::from_utf8(&asked.got).unwrap())
    }
}

impl Asked {
    fn poll(&mut self) {
        if let Some(response) = &mut self.response {
            while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(&mut cx()) {
                self.interim.push(interim.status().as_u16());
            }
            match Pin::new(response).poll(&mut cx()) {
                Poll::Pending => return,
                Poll::Ready(Ok(response)) => {
                    let (parts, body) = response.into_parts();
                    self.status = Some(parts.status.as_u16());
                    self.headers = parts.headers;
                    self.body = Some(body);
                }
                Poll::Ready(Err(e)) => self.error = e.reason(),
            }
            self.response = None;
        }
        if let Poll::Ready(Ok(reason)) = self.send.poll_reset(&mut cx()) {
            self.error = Some(reason);
        }
        let Some(body) = &mut self.body else { return };
        loop {
            match body.poll_data(&mut cx()) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(chunk))) => {
                    body.flow_control().release_capacity(chunk.len()).unwrap();
                    self.got.extend_from_slice(&chunk);
                }
                Poll::Ready(Some(Err(e))) => {
                    self.error = e.reason();
                    self.body = None;
                    return;
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    self.body = None;
                    return;
                }
            }
        }
    }
}

#[test]
fn a_request_reads_as_one_of_http_1_and_is_answered() {
    let mut r = Rig::new();
    let mut request = Rig::request(Method::POST, "/v1/traces?a=b");
    request.headers_mut().insert("content-type", "application/x-protobuf".parse().unwrap());
    request.headers_mut().append("x-key", "one".parse().unwrap());
    request.headers_mut().append("x-key", "two".parse().unwrap());
    request.headers_mut().insert("content-length", "5".parse().unwrap());
    let at = r.ask_with(request, false);
    r.asked[at].send.send_data(Bytes::from_static(b"hello"), true).unwrap();
    r.run();
    let head = &r.requests[0].head;
    assert_eq!((head.method(), head.target(), head.path()), ("POST", "/v1/traces?a=b", "/v1/traces"));
    assert_eq!((head.query(), head.version(), head.content_length()), (Some("a=b"), 2, Some(5)));
    assert_eq!((head.get("Host"), head.get("X-Key")), (Some(&b"collector:4318"[..]), Some(&b"one"[..])));
    assert_eq!((head.headers().count(), head.is_chunked()), (5, false));
    assert_eq!((&r.requests[0].body[..], &r.door.grown[..]), (&b"hello"[..], &[5][..]));
    let response = Response::new(200, "text/x", Bytes::from_static(b"ab"))
        .header("X-More", "1")
        .header("Connection", "keep-alive")
        .header("Transfer-Encoding", "chunked")
        .header("Keep-Alive", "1")
        .header("TE", "gzip")
        .header("Content-Length", "77")
        .header("bad name", "x")
        .header("Bad", "a\r\nb");
    let mut response = response;
    response.body.push(Bytes::from_static(b"cd"));
    r.server.respond(r.requests[0].id, response);
    r.server.respond(r.requests[0].id, Response::text(500, "twice"));
    r.run();
    assert_eq!(r.answer(at), (200, "abcd"));
    let names: Vec<_> = r.asked[at].headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
    assert_eq!(names, ["content-type=text/x", "x-more=1", "content-length=4"]);
    assert!(r.asked[at].ended && r.server.is_idle() && r.server.held() == 0 && r.asked[at].error.is_none());
}

#[test]
fn many_streams_are_served_at_once_and_answered_in_any_order() {
    let mut r = Rig::new();
    let sent: Vec<usize> = (0..100).map(|i| r.post(&format!("/{i}"), vec![b'x'; i * 100])).collect();
    assert_eq!(r.requests.len(), 100);
    r.requests.reverse();
    r.echo();
    for (i, at) in sent.into_iter().enumerate() {
        assert_eq!(r.answer(at), (200, format!("/{i} {}", i * 100).as_str()));
    }
    assert!(r.server.is_idle());
}

#[test]
fn bodies_larger_than_the_windows_arrive_whole_both_ways() {
    let mut r = Rig::new();
    let at = r.post("/big", vec![7; 5 << 20]);
    assert_eq!(r.requests[0].body.len(), 5 << 20);
    assert!(r.door.grown.is_sorted() && r.door.grown.len() < 20, "{:?}", r.door.grown);
    r.server.respond(r.requests[0].id, Response::new(200, "", vec![b'y'; 3 << 20]));
    r.run();
    assert_eq!((r.answer(at).0, r.asked[at].got.len()), (200, 3 << 20));
    assert!(r.server.is_idle());
}

#[test]
fn a_refusal_at_the_head_needs_no_body_and_the_connection_goes_on() {
    let mut r = Rig::new();
    // The body never arrives: answered at once, and reset with NO_ERROR after the time limit.
    let at = r.ask_with(Rig::request(Method::POST, "/no"), false);
    r.run();
    assert_eq!(r.answer(at), (403, "no"));
    assert!(r.asked[at].ended && r.requests.is_empty() && r.asked[at].error.is_none());
    r.pass(11 * SEC);
    assert_eq!(r.asked[at].error, Some(Reason::NO_ERROR));
    assert!(r.server.is_idle());
    // A body that arrives is discarded to its end.
    let at = r.post("/no", vec![0; 200 << 10]);
    assert_eq!((r.answer(at), r.asked[at].error), ((403, "no"), None));
    assert!(r.server.is_idle() && r.door.grown.is_empty());
    // A body beyond the limit is reset, after its whole answer.
    let at = r.ask_with(Rig::request(Method::POST, "/no"), false);
    r.asked[at].send.send_data(vec![0; 1 << 20].into(), false).unwrap();
    r.run();
    assert_eq!((r.answer(at), r.asked[at].error), ((403, "no"), Some(Reason::NO_ERROR)));
    assert!(r.server.is_idle());
    let at = r.post("/yes", "x");
    r.echo();
    assert_eq!(r.answer(at), (200, "/yes 1"));
}

#[test]
fn bodies_beyond_a_limit_are_refused_declared_or_not() {
    let mut r = Rig::with(H1Config { max_body: 1000, ..H1Config::default() }, Porter::default());
    let mut request = Rig::request(Method::POST, "/declared");
    request.headers_mut().insert("content-length", "1001".parse().unwrap());
    let declared = r.ask_with(request, false);
    r.run();
    assert_eq!(r.answer(declared), (400, "http: request body too large"));
    r.asked[declared].send.send_data(vec![0; 1001].into(), true).unwrap();
    let found = r.post("/found", vec![0; 100_000]);
    assert_eq!(r.answer(found), (400, "http: request body too large"));
    let fits = r.post("/fits", vec![0; 1000]);
    r.echo();
    assert_eq!(r.answer(fits), (200, "/fits 1000"));
    r.door.limit = Some(10);
    let at = r.post("/door", vec![0; 11]);
    assert_eq!(r.answer(at).0, 400);
    r.door = Porter { max_held: Some(100), ..Porter::default() };
    let at = r.post("/full", vec![0; 101]);
    assert_eq!((r.answer(at), r.server.is_idle()), ((503, "full"), true));
}

#[test]
fn answers_to_head_and_those_that_cannot_have_a_body_have_none() {
    let mut r = Rig::new();
    let at = r.get(Method::HEAD, "/abc");
    r.echo();
    assert_eq!((r.answer(at), r.asked[at].ended), ((200, ""), true));
    assert_eq!(r.asked[at].headers["content-length"], "6", "that of the body it would have had");
    let at = r.get(Method::GET, "/");
    r.server.respond(r.requests[0].id, Response::text(204, "nothing"));
    r.run();
    assert_eq!((r.answer(at), r.asked[at].headers.contains_key("content-length")), ((204, ""), false));
    assert!(r.server.is_idle());
}

#[test]
fn a_client_that_waits_for_permission_gets_it() {
    let mut r = Rig::new();
    let expecting = |path: &str| {
        let mut request = Rig::request(Method::POST, path);
        request.headers_mut().insert("expect", "100-continue".parse().unwrap());
        request
    };
    let at = r.ask_with(expecting("/"), false);
    r.run();
    assert_eq!((&r.asked[at].interim[..], r.asked[at].status), (&[100][..], None));
    r.asked[at].send.send_data(Bytes::from_static(b"x"), true).unwrap();
    r.run().echo();
    assert_eq!(r.answer(at), (200, "/ 1"));
    let at = r.ask_with(expecting("/no"), false);
    r.run();
    assert_eq!((&r.asked[at].interim[..], r.answer(at)), (&[][..], (403, "no")));
    let at = r.ask_with(expecting("/"), false);
    r.asked[at].send.send_data(Bytes::from_static(b"x"), true).unwrap();
    r.run().echo();
    assert_eq!((r.asked[at].interim.len(), r.answer(at)), (0, (200, "/ 1")), "it did not wait");
}

#[test]
fn a_host_that_contradicts_the_authority_is_refused() {
    let mut r = Rig::new();
    for (host, status) in [("collector:4318", 200), ("other", 400)] {
        let mut request = Rig::request(Method::GET, "/");
        request.headers_mut().insert("host", host.parse().unwrap());
        let at = r.ask_with(request, true);
        r.run().echo();
        assert_eq!(r.answer(at).0, status, "{host}");
    }
    assert_eq!(r.door.heads[0].headers().filter(|(n, _)| *n == "host").count(), 1);
}

#[test]
fn a_drained_connection_answers_what_is_under_way_and_takes_no_more() {
    let mut r = Rig::new();
    let first = r.post("/first", "x");
    let second = r.ask_with(Rig::request(Method::POST, "/second"), false);
    r.run();
    r.server.drain();
    r.run();
    assert!(!r.last.shut_write);
    r.asked[second].send.send_data(Bytes::from_static(b"xy"), true).unwrap();
    r.run().echo();
    assert_eq!((r.answer(first), r.answer(second)), ((200, "/first 1"), (200, "/second 2")));
    assert_eq!((r.last.shut_write, r.last.why.clone()), (true, Some(Closed::Local("drained"))));
    assert!(r.client.is_none());
    r.link.io().close();
    r.run();
    assert!(r.last.closed && r.server.poll_timeout().is_none());
    // A connection without requests closes at once; one whose client does not acknowledge closes later.
    let mut r = Rig::new();
    r.server.drain();
    r.client_reads = false;
    r.run();
    assert!(!r.last.shut_write);
    r.pass(5 * SEC);
    assert!(r.last.shut_write && !r.last.closed);
    r.pass(SEC);
    assert!(r.last.closed);
}

#[test]
fn a_response_that_closes_and_a_server_without_keep_alive_drain() {
    let mut r = Rig::new();
    let at = r.post("/", "x");
    r.server.respond(r.requests[0].id, Response::text(200, "bye").closing());
    r.run();
    assert_eq!((r.answer(at), r.last.shut_write), ((200, "bye"), true));
    let mut r = Rig::with(H1Config { keep_alive: false, ..H1Config::default() }, Porter::default());
    let at = r.post("/", "x");
    r.echo();
    assert_eq!((r.answer(at), r.last.shut_write), ((200, "/ 1"), true));
}

#[test]
fn slow_bodies_are_answered_with_408_and_the_others_go_on() {
    let cfg = H1Config { read_timeout: Some(5 * SEC), idle_timeout: Some(60 * SEC), ..H1Config::default() };
    let mut r = Rig::with(cfg, Porter::default());
    let slow = r.ask_with(Rig::request(Method::POST, "/slow"), false);
    r.run().pass(3 * SEC);
    let other = r.post("/other", "x");
    r.pass(2 * SEC);
    assert_eq!(r.answer(slow), (408, "408 Request Timeout"));
    r.echo();
    assert_eq!(r.answer(other), (200, "/other 1"));
    r.pass(10 * SEC);
    assert!(r.server.is_idle() && !r.last.closed);
}

#[test]
fn answers_that_do_not_leave_in_time_are_given_up() {
    let cfg = || H1Config { write_timeout: Some(5 * SEC), ..H1Config::default() };
    // The application is late: its stream is reset and its answer ignored.
    let mut r = Rig::with(cfg(), Porter::default());
    let at = r.post("/", "x");
    r.pass(5 * SEC);
    assert_eq!(r.asked[at].error, Some(Reason::INTERNAL_ERROR));
    r.echo();
    assert!(r.server.is_idle() && !r.last.closed);
    // The client's flow-control window stays closed: the same result.
    let at = r.post("/", "x");
    r.server.respond(r.requests[0].id, Response::new(200, "", vec![0; 1 << 20]));
    let body = |r: &mut Rig| r.asked[at].body.take();
    for _ in 0..3 {
        r.client_turn();
        let _ = r.server.turn(r.now, &mut r.door);
        std::mem::forget(body(&mut r));
    }
    assert!(!r.server.is_idle());
    r.pass(5 * SEC);
    assert!(r.server.is_idle() && !r.last.closed);
    // The underlying stream accepts nothing: the connection ends.
    let mut r = Rig::with(cfg(), Porter::default());
    r.post("/", "x");
    r.server.io().cork(true);
    r.echo();
    assert!(!r.server.is_idle());
    r.pass(5 * SEC);
    assert_eq!(r.last.why, Some(Closed::Timeout("write_timeout")));
    r.pass(SEC);
    assert!(r.last.closed);
}

#[test]
fn silent_connections_are_closed_and_idle_ones_drained() {
    let cfg = H1Config { read_header_timeout: Some(3 * SEC), idle_timeout: Some(7 * SEC), ..H1Config::default() };
    let mut r = Rig::with(cfg.clone(), Porter::default());
    r.pass(3 * SEC);
    assert_eq!((r.last.shut_write, r.last.why.clone()), (true, Some(Closed::Timeout("read_header_timeout"))));
    let mut r = Rig::with(cfg, Porter::default());
    r.pass(2 * SEC);
    let at = r.post("/", "x");
    r.pass(20 * SEC);
    assert!(!r.last.shut_write, "a request is being worked on");
    r.echo();
    assert_eq!(r.answer(at), (200, "/ 1"));
    r.pass(6 * SEC);
    assert!(!r.last.shut_write);
    r.pass(SEC);
    assert_eq!((r.last.shut_write, r.last.why.clone()), (true, Some(Closed::Timeout("idle_timeout"))));
    // A peer that does not read the server's output is not treated as busy.
    let cfg = H1Config { read_header_timeout: Some(3 * SEC), ..H1Config::default() };
    let mut r = Rig::with(cfg, Porter::default());
    r.server.io().cork(true);
    let mut pings = r.client.as_mut().unwrap().ping_pong().unwrap();
    pings.send_ping(h2::Ping::opaque()).unwrap();
    r.run();
    assert!(!r.server.is_idle(), "the PONG waits");
    r.pass(3 * SEC);
    assert_eq!(r.last.why, Some(Closed::Timeout("read_header_timeout")));
    // A peer that never sends its preface.
    let (_peer, end) = pipe(usize::MAX);
    let mut server: ServerConn<End, Rc<()>> = ServerConn::new(end, Rc::new(H1Config::default()), SEC);
    let _ = server.turn(SEC, &mut Porter::default());
    assert_eq!(server.poll_timeout(), Some(11 * SEC));
    assert_eq!(server.turn(11 * SEC, &mut Porter::default()).why, Some(Closed::Timeout("handshake")));
}

#[test]
fn a_client_that_leaves_takes_its_requests_and_permits_with_it() {
    let mut r = Rig::new();
    let at = r.post("/", "x");
    let permit = Rc::downgrade(&r.requests[0].permit);
    let half = r.ask_with(Rig::request(Method::POST, "/half"), false);
    r.run();
    r.asked[at].send.send_reset(Reason::CANCEL);
    r.asked[half].send.send_reset(Reason::CANCEL);
    r.run();
    assert!(r.server.is_idle() && permit.upgrade().is_some(), "the application has it");
    r.echo();
    assert!(permit.upgrade().is_none() && !r.last.closed);
    r.post("/", "x");
    r.link.io().close();
    r.run();
    assert_eq!((r.last.closed, r.last.why.clone()), (true, Some(Closed::Peer)));
    r.echo();
}

#[test]
fn bytes_that_are_not_http_2_end_the_connection() {
    let (mut peer, end) = pipe(usize::MAX);
    let mut server: ServerConn<End, Rc<()>> = ServerConn::new(end, Rc::new(H1Config::default()), SEC);
    Write::write_all(&mut peer, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let turn = server.turn(SEC, &mut Porter::default());
    assert!(matches!(turn.why, Some(Closed::Protocol(_))) && turn.shut_write);
    let turn = server.turn(2 * SEC, &mut Porter::default());
    assert!(turn.closed);
}

#[test]
fn body_that_stops_arriving_is_answered_with_408() {
    let mut rig = Rig::new();
    let request = Rig::request(Method::POST, "/");
    let at = rig.ask_with(request, false);
    rig.run();
    rig.pass(59 * SEC);
    assert_eq!(rig.answer(at).0, 0);
    rig.pass(2 * SEC);
    assert_eq!(rig.answer(at).0, 408);
}

#[test]
fn streamed_answer_each_piece_is_wanted_when_h2_has_let_go_of_the_one_before() {
    let mut r = Rig::new();
    let at = r.get(Method::GET, "/");
    let id = r.requests.remove(0).id;
    assert!(r.server.respond_streaming(id, Response::text(200, "")));
    let piece = 64 << 10;
    let mut given = 0;
    while given < 40 * piece {
        let _ = r.server.flush(r.now);
        r.run();
        assert!(r.server.wants(id) && r.server.is_streaming(id) && !r.server.is_idle());
        r.server.give(r.now, id, vec![b'x'; piece].into());
        assert!(!r.server.wants(id));
        given += piece;
    }
    r.run();
    r.server.finish(id, r.now);
    r.run();
    assert_eq!((r.asked[at].status, r.asked[at].got.len(), r.asked[at].ended), (Some(200), given, true));
    assert!(r.server.is_idle() && r.asked[at].headers.get("content-length").is_none());

    let at = r.get(Method::HEAD, "/");
    let id = r.requests.remove(0).id;
    assert!(!r.server.respond_streaming(id, Response::text(200, "")));
    let _ = r.server.flush(r.now);
    r.run();
    assert_eq!(r.asked[at].status, Some(200));
    assert!(r.server.is_idle());
}

#[test]
fn streamed_answer_that_is_cut_off_or_not_read_is_reset() {
    let mut r = Rig::new();
    let at = r.get(Method::GET, "/");
    let id = r.requests.remove(0).id;
    r.server.respond_streaming(id, Response::text(200, ""));
    r.server.give(r.now, id, "abc".into());
    let _ = r.server.flush(r.now);
    r.run();
    r.server.abandon(id);
    let _ = r.server.flush(r.now);
    r.run();
    assert_eq!((r.asked[at].error, r.asked[at].ended), (Some(Reason::INTERNAL_ERROR), false));
    assert!(r.server.is_idle());

    let at = r.get(Method::GET, "/");
    let id = r.requests.remove(0).id;
    r.server.respond_streaming(id, Response::text(200, ""));
    // The client's window fills.
    for _ in 0..100 {
        if r.server.wants(id) {
            r.server.give(r.now, id, vec![0; 64 << 10].into());
        }
        let _ = r.server.turn(r.now, &mut r.door);
        r.client_turn();
        if let Some(body) = r.asked[at].body.take() {
            std::mem::forget(body);
        }
    }
    assert!(!r.server.wants(id) && r.server.is_streaming(id));
    r.pass(31 * SEC);
    assert!(r.server.is_idle());
}
