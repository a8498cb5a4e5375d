//! h2's own client against the server, over a pipe in memory, under a virtual clock.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{SendStream, client};
use http::{Method, Version};

use super::*;
use crate::h1::RequestHead;
use crate::h2_io::{H2Io, H2Transport};
use crate::pipe::{PipeEnd, pipe};

const SEC: u64 = 1_000_000_000;

#[derive(Default)]
struct TestAdmission {
    requested_sizes: Vec<u64>,
    max_growth: Option<u64>,
    heads: Vec<RequestHead>,
}

impl Admission<RequestHead> for TestAdmission {
    type Permit = Rc<()>;

    fn admit_head(&mut self, head: &RequestHead) -> Result<Rc<()>, Response> {
        self.heads.push(head.clone());
        if head.path().starts_with("/no") {
            return Err(Response::text(403, "no").with_close());
        }
        Ok(Rc::new(()))
    }

    fn grow(&mut self, _: &mut Rc<()>, to: u64) -> Result<(), Response> {
        self.requested_sizes.push(to);
        if self.max_growth.is_some_and(|max| to > max) { Err(Response::text(503, "full")) } else { Ok(()) }
    }

    fn too_large(&mut self, _: &RequestHead, _: Option<u64>, _: u64) -> Response {
        Response::text(400, "http: request body too large")
    }
}

/// A request of the client and its result.
struct ClientRequest {
    response: Option<ResponseFuture>,
    send: SendStream<Bytes>,
    body: Option<RecvStream>,
    status: Option<u16>,
    headers: http::HeaderMap,
    received: Vec<u8>,
    ended: bool,
    interim: Vec<u16>,
    error: Option<Reason>,
}

struct ClientAndServer {
    now: u64,
    transport: H2Transport<PipeEnd>,
    send: SendRequest<Bytes>,
    client: Option<Connection<H2Io<PipeEnd>, Bytes>>,
    client_requests: Vec<ClientRequest>,
    server: H2ServerConn<PipeEnd, Rc<()>>,
    admission: TestAdmission,
    requests: Vec<Request<Rc<()>>>,
    last_poll: PollResult,
    client_reads: bool,
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl ClientAndServer {
    fn with_config(cfg: HttpServerConnConfig, admission: TestAdmission) -> Self {
        let (a, b) = pipe(usize::MAX);
        let (transport, h2_io) = H2Transport::new(a, cfg.workspace.clone(), false, 1 << 20);
        let server = H2ServerConn::new(b, Rc::new(cfg), SEC);
        transport.begin_poll(usize::MAX);
        let Poll::Ready(Ok((send, client))) = pin!(client::handshake(h2_io)).poll(&mut context()) else { panic!() };
        let mut pair = Self {
            now: SEC,
            transport,
            send,
            client: Some(client),
            client_requests: Vec::new(),
            server,
            admission,
            requests: Vec::new(),
            last_poll: PollResult::default(),
            client_reads: true,
        };
        pair.run_until_idle();
        pair
    }

    fn new() -> Self {
        Self::with_config(HttpServerConnConfig::default(), TestAdmission::default())
    }

    fn poll_client(&mut self) {
        self.transport.begin_poll(if self.client_reads { usize::MAX } else { 0 });
        let polled = self.client.as_mut().map(|conn| Pin::new(conn).poll(&mut context()));
        if matches!(polled, Some(Poll::Ready(_))) {
            self.client = None;
        }
        for request in &mut self.client_requests {
            request.poll();
        }
        if let Some(conn) = &mut self.client {
            let _ = Pin::new(conn).poll(&mut context());
        }
        self.transport.finish_poll(false);
    }

    /// Calls `poll` on both sides until no more bytes move.
    fn run_until_idle(&mut self) -> &mut Self {
        for _ in 0..10_000 {
            let before = self.transport.io().progress();
            self.poll_client();
            self.last_poll = self.server.poll(self.now, &mut self.admission);
            self.requests.extend(std::iter::from_fn(|| self.server.poll_request()));
            if self.transport.io().progress() == before && !self.last_poll.poll_again {
                return self;
            }
        }
        panic!("never quiet");
    }

    /// Advances the time, stopping at every timeout of the server.
    fn advance_time(&mut self, nanos: u64) -> &mut Self {
        let end = self.now + nanos;
        while let Some(at) = self.server.poll_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "a timeout in the past would spin");
            self.now = at;
            self.run_until_idle();
            assert!(self.server.poll_timeout().is_none_or(|next| next > at), "nothing was done at {at}");
        }
        self.now = end;
        self.run_until_idle()
    }

    fn start_request(&mut self, request: http::Request<()>, end_stream: bool) -> usize {
        let (response, send) = self.send.send_request(request, end_stream).unwrap();
        self.client_requests.push(ClientRequest {
            response: Some(response),
            send,
            body: None,
            status: None,
            headers: http::HeaderMap::new(),
            received: Vec::new(),
            ended: false,
            interim: Vec::new(),
            error: None,
        });
        self.client_requests.len() - 1
    }

    fn request(method: Method, path: &str) -> http::Request<()> {
        let uri = format!("https://collector:4318{path}");
        http::Request::builder().method(method).version(Version::HTTP_2).uri(uri).body(()).unwrap()
    }

    fn post(&mut self, path: &str, body: impl Into<Bytes>) -> usize {
        let at = self.start_request(Self::request(Method::POST, path), false);
        self.client_requests[at].send.send_data(body.into(), true).unwrap();
        self.run_until_idle();
        at
    }

    fn get(&mut self, method: Method, path: &str) -> usize {
        let at = self.start_request(Self::request(method, path), true);
        self.run_until_idle();
        at
    }

    /// Responds to each waiting request with its own path and the length of its body.
    fn echo(&mut self) -> &mut Self {
        for r in std::mem::take(&mut self.requests) {
            self.server.respond(r.id, Response::text(200, format!("{} {}", r.head.path(), r.body.len())));
        }
        let _ = self.server.flush(self.now);
        self.run_until_idle()
    }

    fn response(&self, at: usize) -> (u16, &str) {
        let request = &self.client_requests[at];
        (request.status.unwrap_or_default(), std::str::from_utf8(&request.received).unwrap())
    }
}

impl ClientRequest {
    fn poll(&mut self) {
        if let Some(response) = &mut self.response {
            while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(&mut context()) {
                self.interim.push(interim.status().as_u16());
            }
            match Pin::new(response).poll(&mut context()) {
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
        if let Poll::Ready(Ok(reason)) = self.send.poll_reset(&mut context()) {
            self.error = Some(reason);
        }
        let Some(body) = &mut self.body else { return };
        loop {
            match body.poll_data(&mut context()) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(chunk))) => {
                    body.flow_control().release_capacity(chunk.len()).unwrap();
                    self.received.extend_from_slice(&chunk);
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
fn request_has_the_head_of_http_1_and_gets_its_response() {
    let mut r = ClientAndServer::new();
    let mut request = ClientAndServer::request(Method::POST, "/v1/traces?a=b");
    request.headers_mut().insert("content-type", "application/x-protobuf".parse().unwrap());
    request.headers_mut().append("x-key", "one".parse().unwrap());
    request.headers_mut().append("x-key", "two".parse().unwrap());
    request.headers_mut().insert("content-length", "5".parse().unwrap());
    let at = r.start_request(request, false);
    r.client_requests[at].send.send_data(Bytes::from_static(b"hello"), true).unwrap();
    r.run_until_idle();
    let head = &r.requests[0].head;
    assert_eq!((head.method(), head.target(), head.path()), ("POST", "/v1/traces?a=b", "/v1/traces"));
    assert_eq!((head.query(), head.version(), head.content_length()), (Some("a=b"), 2, Some(5)));
    assert_eq!((head.get("Host"), head.get("X-Key")), (Some(&b"collector:4318"[..]), Some(&b"one"[..])));
    assert_eq!((head.headers().count(), head.is_chunked()), (5, false));
    assert_eq!((&r.requests[0].body[..], &r.admission.requested_sizes[..]), (&b"hello"[..], &[5][..]));
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
    r.run_until_idle();
    assert_eq!(r.response(at), (200, "abcd"));
    let names: Vec<_> =
        r.client_requests[at].headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
    assert_eq!(names, ["content-type=text/x", "x-more=1", "content-length=4"]);
    assert!(
        r.client_requests[at].ended
            && r.server.is_idle()
            && r.server.buffered_bytes() == 0
            && r.client_requests[at].error.is_none()
    );
}

#[test]
fn concurrent_requests_get_responses_in_any_order() {
    let mut r = ClientAndServer::new();
    let sent: Vec<usize> = (0..100).map(|i| r.post(&format!("/{i}"), vec![b'x'; i * 100])).collect();
    assert_eq!(r.requests.len(), 100);
    r.requests.reverse();
    r.echo();
    for (i, at) in sent.into_iter().enumerate() {
        assert_eq!(r.response(at), (200, format!("/{i} {}", i * 100).as_str()));
    }
    assert!(r.server.is_idle());
}

#[test]
fn body_larger_than_the_window_arrives_whole_both_ways() {
    let mut r = ClientAndServer::new();
    let at = r.post("/big", vec![7; 5 << 20]);
    assert_eq!(r.requests[0].body.len(), 5 << 20);
    assert!(
        r.admission.requested_sizes.is_sorted() && r.admission.requested_sizes.len() < 20,
        "{:?}",
        r.admission.requested_sizes
    );
    r.server.respond(r.requests[0].id, Response::new(200, "", vec![b'y'; 3 << 20]));
    r.run_until_idle();
    assert_eq!((r.response(at).0, r.client_requests[at].received.len()), (200, 3 << 20));
    assert!(r.server.is_idle());
}

#[test]
fn request_refused_at_its_head_gets_a_response_and_the_connection_continues() {
    let mut r = ClientAndServer::new();
    // The body never arrives: the response is sent at once, and the stream reset with NO_ERROR after the time limit.
    let at = r.start_request(ClientAndServer::request(Method::POST, "/no"), false);
    r.run_until_idle();
    assert_eq!(r.response(at), (403, "no"));
    assert!(r.client_requests[at].ended && r.requests.is_empty() && r.client_requests[at].error.is_none());
    r.advance_time(11 * SEC);
    assert_eq!(r.client_requests[at].error, Some(Reason::NO_ERROR));
    assert!(r.server.is_idle());
    // A body that arrives is discarded to its end.
    let at = r.post("/no", vec![0; 200 << 10]);
    assert_eq!((r.response(at), r.client_requests[at].error), ((403, "no"), None));
    assert!(r.server.is_idle() && r.admission.requested_sizes.is_empty());
    // A body beyond the limit is reset, after the whole response.
    let at = r.start_request(ClientAndServer::request(Method::POST, "/no"), false);
    r.client_requests[at].send.send_data(vec![0; 1 << 20].into(), false).unwrap();
    r.run_until_idle();
    assert_eq!((r.response(at), r.client_requests[at].error), ((403, "no"), Some(Reason::NO_ERROR)));
    assert!(r.server.is_idle());
    let at = r.post("/yes", "x");
    r.echo();
    assert_eq!(r.response(at), (200, "/yes 1"));
}

#[test]
fn body_above_the_limit_declared_or_not_is_refused() {
    let mut r = ClientAndServer::with_config(
        HttpServerConnConfig { max_body: 1000, ..HttpServerConnConfig::default() },
        TestAdmission::default(),
    );
    let mut request = ClientAndServer::request(Method::POST, "/declared");
    request.headers_mut().insert("content-length", "1001".parse().unwrap());
    let declared = r.start_request(request, false);
    r.run_until_idle();
    assert_eq!(r.response(declared), (400, "http: request body too large"));
    r.client_requests[declared].send.send_data(vec![0; 1001].into(), true).unwrap();
    let found = r.post("/found", vec![0; 100_000]);
    assert_eq!(r.response(found), (400, "http: request body too large"));
    let fits = r.post("/fits", vec![0; 1000]);
    r.echo();
    assert_eq!(r.response(fits), (200, "/fits 1000"));
    r.admission = TestAdmission { max_growth: Some(100), ..TestAdmission::default() };
    let at = r.post("/full", vec![0; 101]);
    assert_eq!((r.response(at), r.server.is_idle()), ((503, "full"), true));
}

#[test]
fn response_to_head_or_with_status_204_has_no_body() {
    let mut r = ClientAndServer::new();
    let at = r.get(Method::HEAD, "/abc");
    r.echo();
    assert_eq!((r.response(at), r.client_requests[at].ended), ((200, ""), true));
    assert_eq!(r.client_requests[at].headers["content-length"], "6", "that of the body it would have had");
    let at = r.get(Method::GET, "/");
    r.server.respond(r.requests[0].id, Response::text(204, "nothing"));
    r.run_until_idle();
    assert_eq!((r.response(at), r.client_requests[at].headers.contains_key("content-length")), ((204, ""), false));
    assert!(r.server.is_idle());
}

#[test]
fn client_that_expects_100_continue_gets_it() {
    let mut r = ClientAndServer::new();
    let expecting = |path: &str| {
        let mut request = ClientAndServer::request(Method::POST, path);
        request.headers_mut().insert("expect", "100-continue".parse().unwrap());
        request
    };
    let at = r.start_request(expecting("/"), false);
    r.run_until_idle();
    assert_eq!((&r.client_requests[at].interim[..], r.client_requests[at].status), (&[100][..], None));
    r.client_requests[at].send.send_data(Bytes::from_static(b"x"), true).unwrap();
    r.run_until_idle().echo();
    assert_eq!(r.response(at), (200, "/ 1"));
    let at = r.start_request(expecting("/no"), false);
    r.run_until_idle();
    assert_eq!((&r.client_requests[at].interim[..], r.response(at)), (&[][..], (403, "no")));
    let at = r.start_request(expecting("/"), false);
    r.client_requests[at].send.send_data(Bytes::from_static(b"x"), true).unwrap();
    r.run_until_idle().echo();
    assert_eq!((r.client_requests[at].interim.len(), r.response(at)), (0, (200, "/ 1")), "it did not wait");
}

#[test]
fn host_that_differs_from_the_authority_is_refused() {
    let mut r = ClientAndServer::new();
    for (host, status) in [("collector:4318", 200), ("other", 400)] {
        let mut request = ClientAndServer::request(Method::GET, "/");
        request.headers_mut().insert("host", host.parse().unwrap());
        let at = r.start_request(request, true);
        r.run_until_idle().echo();
        assert_eq!(r.response(at).0, status, "{host}");
    }
    assert_eq!(r.admission.heads[0].headers().filter(|(n, _)| *n == "host").count(), 1);
}

#[test]
fn drained_connection_responds_to_started_requests_and_closes() {
    let mut r = ClientAndServer::new();
    let first = r.post("/first", "x");
    let second = r.start_request(ClientAndServer::request(Method::POST, "/second"), false);
    r.run_until_idle();
    r.server.drain();
    r.run_until_idle();
    assert!(!r.last_poll.shutdown_write);
    r.client_requests[second].send.send_data(Bytes::from_static(b"xy"), true).unwrap();
    r.run_until_idle().echo();
    assert_eq!((r.response(first), r.response(second)), ((200, "/first 1"), (200, "/second 2")));
    assert_eq!(
        (r.last_poll.shutdown_write, r.last_poll.close_reason.clone()),
        (true, Some(CloseReason::Local("drained")))
    );
    assert!(r.client.is_none());
    r.transport.io().close();
    r.run_until_idle();
    assert!(r.last_poll.closed && r.server.poll_timeout().is_none());
    // A connection without requests closes at once; one whose client does not acknowledge closes later.
    let mut r = ClientAndServer::new();
    r.server.drain();
    r.client_reads = false;
    r.run_until_idle();
    assert!(!r.last_poll.shutdown_write);
    r.advance_time(5 * SEC);
    assert!(r.last_poll.shutdown_write && !r.last_poll.closed);
    r.advance_time(SEC);
    assert!(r.last_poll.closed);
}

#[test]
fn response_with_close_or_disabled_keep_alive_drains_the_connection() {
    let mut r = ClientAndServer::new();
    let at = r.post("/", "x");
    r.server.respond(r.requests[0].id, Response::text(200, "bye").with_close());
    r.run_until_idle();
    assert_eq!((r.response(at), r.last_poll.shutdown_write), ((200, "bye"), true));
    let mut r = ClientAndServer::with_config(
        HttpServerConnConfig { keep_alive: false, ..HttpServerConnConfig::default() },
        TestAdmission::default(),
    );
    let at = r.post("/", "x");
    r.echo();
    assert_eq!((r.response(at), r.last_poll.shutdown_write), ((200, "/ 1"), true));
}

#[test]
fn connection_whose_age_is_over_gets_one_more_request_and_goaway() {
    let cfg = HttpServerConnConfig { max_age: Some(100 * SEC), ..HttpServerConnConfig::default() };
    let mut r = ClientAndServer::with_config(cfg, TestAdmission::default());
    let first = r.post("/", "x");
    r.echo();
    assert_eq!((r.response(first), r.last_poll.shutdown_write), ((200, "/ 1"), false));
    r.advance_time(111 * SEC);
    let second = r.post("/", "x");
    r.echo();
    assert_eq!((r.response(second), r.last_poll.shutdown_write), ((200, "/ 1"), true));
}

#[test]
fn connection_that_is_to_end_gets_one_more_request_and_goaway() {
    let mut r = ClientAndServer::new();
    let first = r.post("/", "x");
    r.echo();
    r.server.end_with_next_request(r.now);
    r.run_until_idle();
    assert_eq!((r.response(first), r.last_poll.shutdown_write), ((200, "/ 1"), false));
    let second = r.post("/", "x");
    r.echo();
    assert_eq!((r.response(second), r.last_poll.shutdown_write), ((200, "/ 1"), true));
}

#[test]
fn slow_body_gets_408_and_other_requests_continue() {
    let cfg = HttpServerConnConfig {
        read_timeout: Some(5 * SEC),
        idle_timeout: Some(60 * SEC),
        ..HttpServerConnConfig::default()
    };
    let mut r = ClientAndServer::with_config(cfg, TestAdmission::default());
    let slow = r.start_request(ClientAndServer::request(Method::POST, "/slow"), false);
    r.run_until_idle().advance_time(3 * SEC);
    let other = r.post("/other", "x");
    r.advance_time(2 * SEC);
    assert_eq!(r.response(slow), (408, "408 Request Timeout"));
    r.echo();
    assert_eq!(r.response(other), (200, "/other 1"));
    r.advance_time(10 * SEC);
    assert!(r.server.is_idle() && !r.last_poll.closed);
}

#[test]
fn response_not_sent_in_time_is_aborted() {
    let cfg = || HttpServerConnConfig { write_timeout: Some(5 * SEC), ..HttpServerConnConfig::default() };
    // The application is late: its stream is reset and its response ignored.
    let mut r = ClientAndServer::with_config(cfg(), TestAdmission::default());
    let at = r.post("/", "x");
    r.advance_time(5 * SEC);
    assert_eq!(r.client_requests[at].error, Some(Reason::INTERNAL_ERROR));
    r.echo();
    assert!(r.server.is_idle() && !r.last_poll.closed);
    // The client's flow-control window stays closed: the same result.
    let at = r.post("/", "x");
    r.server.respond(r.requests[0].id, Response::new(200, "", vec![0; 1 << 20]));
    let body = |r: &mut ClientAndServer| r.client_requests[at].body.take();
    for _ in 0..3 {
        r.poll_client();
        let _ = r.server.poll(r.now, &mut r.admission);
        std::mem::forget(body(&mut r));
    }
    assert!(!r.server.is_idle());
    r.advance_time(5 * SEC);
    assert!(r.server.is_idle() && !r.last_poll.closed);
    // The underlying stream accepts nothing: the connection ends.
    let mut r = ClientAndServer::with_config(cfg(), TestAdmission::default());
    r.post("/", "x");
    r.server.io().set_corked(true);
    r.echo();
    assert!(!r.server.is_idle());
    r.advance_time(5 * SEC);
    assert_eq!(r.last_poll.close_reason, Some(CloseReason::Timeout("write_timeout")));
    r.advance_time(SEC);
    assert!(r.last_poll.closed);
}

#[test]
fn silent_connection_is_closed_and_idle_connection_drained() {
    let cfg = HttpServerConnConfig {
        read_header_timeout: Some(3 * SEC),
        idle_timeout: Some(7 * SEC),
        ..HttpServerConnConfig::default()
    };
    let mut r = ClientAndServer::with_config(cfg.clone(), TestAdmission::default());
    r.advance_time(3 * SEC);
    assert_eq!(
        (r.last_poll.shutdown_write, r.last_poll.close_reason.clone()),
        (true, Some(CloseReason::Timeout("read_header_timeout")))
    );
    let mut r = ClientAndServer::with_config(cfg, TestAdmission::default());
    r.advance_time(2 * SEC);
    let at = r.post("/", "x");
    r.advance_time(20 * SEC);
    assert!(!r.last_poll.shutdown_write, "a request is being worked on");
    r.echo();
    assert_eq!(r.response(at), (200, "/ 1"));
    r.advance_time(6 * SEC);
    assert!(!r.last_poll.shutdown_write);
    r.advance_time(SEC);
    assert_eq!(
        (r.last_poll.shutdown_write, r.last_poll.close_reason.clone()),
        (true, Some(CloseReason::Timeout("idle_timeout")))
    );
    // A peer that does not read the server's output is not treated as busy.
    let cfg = HttpServerConnConfig { read_header_timeout: Some(3 * SEC), ..HttpServerConnConfig::default() };
    let mut r = ClientAndServer::with_config(cfg, TestAdmission::default());
    r.server.io().set_corked(true);
    let mut pings = r.client.as_mut().unwrap().ping_pong().unwrap();
    pings.send_ping(h2::Ping::opaque()).unwrap();
    r.run_until_idle();
    assert!(!r.server.is_idle(), "the PONG waits");
    r.advance_time(3 * SEC);
    assert_eq!(r.last_poll.close_reason, Some(CloseReason::Timeout("read_header_timeout")));
    // A peer that never sends its preface.
    let (_peer, end) = pipe(usize::MAX);
    let mut server: H2ServerConn<PipeEnd, Rc<()>> =
        H2ServerConn::new(end, Rc::new(HttpServerConnConfig::default()), SEC);
    let _ = server.poll(SEC, &mut TestAdmission::default());
    assert_eq!(server.poll_timeout(), Some(11 * SEC));
    assert_eq!(
        server.poll(11 * SEC, &mut TestAdmission::default()).close_reason,
        Some(CloseReason::Timeout("handshake"))
    );
}

#[test]
fn reset_request_releases_its_permit() {
    let mut r = ClientAndServer::new();
    let at = r.post("/", "x");
    let permit = Rc::downgrade(&r.requests[0].permit);
    let half = r.start_request(ClientAndServer::request(Method::POST, "/half"), false);
    r.run_until_idle();
    r.client_requests[at].send.send_reset(Reason::CANCEL);
    r.client_requests[half].send.send_reset(Reason::CANCEL);
    r.run_until_idle();
    assert!(r.server.is_idle() && permit.upgrade().is_some(), "the application has it");
    r.echo();
    assert!(permit.upgrade().is_none() && !r.last_poll.closed);
    r.post("/", "x");
    r.transport.io().close();
    r.run_until_idle();
    assert_eq!((r.last_poll.closed, r.last_poll.close_reason.clone()), (true, Some(CloseReason::Peer)));
    r.echo();
}

#[test]
fn invalid_preface_closes_the_connection() {
    let (mut peer, end) = pipe(usize::MAX);
    let mut server: H2ServerConn<PipeEnd, Rc<()>> =
        H2ServerConn::new(end, Rc::new(HttpServerConnConfig::default()), SEC);
    Write::write_all(&mut peer, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let result = server.poll(SEC, &mut TestAdmission::default());
    assert!(result.close_reason == Some(CloseReason::OtherProtocol("HTTP/1")) && result.shutdown_write);
    let result = server.poll(2 * SEC, &mut TestAdmission::default());
    assert!(result.closed);
}

#[test]
fn body_that_stops_arriving_gets_408() {
    let mut pair = ClientAndServer::new();
    let request = ClientAndServer::request(Method::POST, "/");
    let at = pair.start_request(request, false);
    pair.run_until_idle();
    pair.advance_time(59 * SEC);
    assert_eq!(pair.response(at).0, 0);
    pair.advance_time(2 * SEC);
    assert_eq!(pair.response(at).0, 408);
}

#[test]
fn streamed_response_next_piece_can_be_sent_after_h2_dropped_the_previous() {
    let mut r = ClientAndServer::new();
    let at = r.get(Method::GET, "/");
    let id = r.requests.remove(0).id;
    assert!(r.server.respond_streaming(id, Response::text(200, "")));
    let piece = 64 << 10;
    let mut given = 0;
    while given < 40 * piece {
        let _ = r.server.flush(r.now);
        r.run_until_idle();
        assert!(r.server.can_send_data(id) && r.server.is_streaming(id) && !r.server.is_idle());
        r.server.send_data(r.now, id, vec![b'x'; piece].into());
        assert!(!r.server.can_send_data(id));
        given += piece;
    }
    r.run_until_idle();
    r.server.finish_response(id, r.now);
    r.run_until_idle();
    assert_eq!(
        (r.client_requests[at].status, r.client_requests[at].received.len(), r.client_requests[at].ended),
        (Some(200), given, true)
    );
    assert!(r.server.is_idle() && r.client_requests[at].headers.get("content-length").is_none());

    let at = r.get(Method::HEAD, "/");
    let id = r.requests.remove(0).id;
    assert!(!r.server.respond_streaming(id, Response::text(200, "")));
    let _ = r.server.flush(r.now);
    r.run_until_idle();
    assert_eq!(r.client_requests[at].status, Some(200));
    assert!(r.server.is_idle());
}

#[test]
fn streamed_response_aborted_or_not_read_is_reset() {
    let mut r = ClientAndServer::new();
    let at = r.get(Method::GET, "/");
    let id = r.requests.remove(0).id;
    r.server.respond_streaming(id, Response::text(200, ""));
    r.server.send_data(r.now, id, "abc".into());
    let _ = r.server.flush(r.now);
    r.run_until_idle();
    r.server.abort_response(id);
    let _ = r.server.flush(r.now);
    r.run_until_idle();
    assert_eq!((r.client_requests[at].error, r.client_requests[at].ended), (Some(Reason::INTERNAL_ERROR), false));
    assert!(r.server.is_idle());

    let at = r.get(Method::GET, "/");
    let id = r.requests.remove(0).id;
    r.server.respond_streaming(id, Response::text(200, ""));
    // The client's window fills.
    for _ in 0..100 {
        if r.server.can_send_data(id) {
            r.server.send_data(r.now, id, vec![0; 64 << 10].into());
        }
        let _ = r.server.poll(r.now, &mut r.admission);
        r.poll_client();
        if let Some(body) = r.client_requests[at].body.take() {
            std::mem::forget(body);
        }
    }
    assert!(!r.server.can_send_data(id) && r.server.is_streaming(id));
    r.advance_time(31 * SEC);
    assert!(r.server.is_idle());
}
