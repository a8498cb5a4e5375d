//! Requests written by hand into a pipe in memory, under a virtual clock.

use std::io::{ErrorKind, Write};
use std::rc::Rc;

use bytes::Bytes;
use proptest::prelude::*;

use super::head::{HeadBuffer, HeadError};
use super::server::{LINGER, MAX_PIPELINED};
use super::*;
use crate::admission::Admission;
use crate::connection::{CloseReason, PollResult};
use crate::pipe::{PipeEnd, pipe};

const SEC: u64 = 1_000_000_000;

/// Refuses paths under `/no`, and counts.
#[derive(Default)]
struct TestAdmission {
    requested_sizes: Vec<u64>,
    max_growth: Option<u64>,
}

impl Admission<RequestHead> for TestAdmission {
    type Permit = ();

    fn admit_head(&mut self, head: &RequestHead) -> Result<(), Response> {
        if head.path().starts_with("/no") {
            return Err(Response::text(403, "no"));
        }
        Ok(())
    }

    fn grow(&mut self, (): &mut (), to: u64) -> Result<(), Response> {
        self.requested_sizes.push(to);
        if self.max_growth.is_some_and(|max| to > max) { Err(Response::text(503, "full")) } else { Ok(()) }
    }

    fn too_large(&mut self, _: &RequestHead, _: Option<u64>, _: u64) -> Response {
        Response::text(400, "http: request body too large")
    }
}

struct TestServer {
    now: u64,
    peer: PipeEnd,
    conn: H1ServerConn<PipeEnd, ()>,
    admission: TestAdmission,
    last_poll: PollResult,
    requests: Vec<String>,
    holds_responses: bool,
    held_requests: Vec<RequestId>,
}

impl TestServer {
    fn new(cfg: HttpServerConnConfig) -> Self {
        let (peer, end) = pipe(usize::MAX);
        let conn = H1ServerConn::new(end, Rc::new(cfg), SEC);
        let (admission, last_poll) = (TestAdmission::default(), PollResult::default());
        Self {
            now: SEC,
            peer,
            conn,
            admission,
            last_poll,
            requests: Vec::new(),
            holds_responses: false,
            held_requests: Vec::new(),
        }
    }

    fn send(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self.peer.write_all(text.as_ref()).unwrap();
        self.poll()
    }

    /// Calls `poll` until nothing changes; responds to everything at once unless set to hold the responses.
    fn poll(&mut self) -> &mut Self {
        loop {
            self.last_poll = self.conn.poll(self.now, &mut self.admission);
            while let Some(r) = self.conn.poll_request() {
                let body = String::from_utf8_lossy(&r.body).into_owned();
                self.requests.push(format!("{} {} {body}", r.head.method(), r.head.target()));
                if self.holds_responses {
                    self.held_requests.push(r.id);
                } else {
                    self.conn.respond(r.id, Response::text(200, format!("<{body}>")));
                }
            }
            let flushed = self.conn.flush(self.now);
            let work_left = self.last_poll.poll_again || flushed.poll_again;
            self.last_poll = flushed;
            if !work_left {
                return self;
            }
        }
    }

    fn take_output(&mut self) -> String {
        String::from_utf8(self.peer.read_all()).unwrap()
    }

    fn statuses(&mut self) -> Vec<u16> {
        let output = self.take_output();
        output.match_indices("HTTP/1.1 ").map(|(at, m)| output[at + m.len()..][..3].parse().unwrap()).collect()
    }
}

fn server() -> TestServer {
    TestServer::new(HttpServerConnConfig::default())
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn request_gets_its_response_and_the_connection_is_kept() {
    let mut r = server();
    r.send(post("/v1/traces?x=1", "hello"));
    assert_eq!(r.requests, ["POST /v1/traces?x=1 hello"]);
    let want = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 7\r\n\r\n<hello>";
    assert_eq!(r.take_output(), want);
    assert!(r.conn.is_idle() && !r.last_poll.shutdown_write && r.conn.buffered_bytes() == 0);
    r.send("\r\n\r\nGET http://a:80/metrics?a=b HTTP/1.1\r\nhOsT: a\r\n\r\n");
    assert_eq!(r.requests[1], "GET http://a:80/metrics?a=b ");
    assert_eq!(r.statuses(), [200]);
}

#[test]
fn head_is_parsed_as_received() {
    let mut r = server();
    r.peer
        .write_all(b"PUT http://h/p/q?k=v&l HTTP/1.1\r\nHost: h\r\nX-A:  one \r\nx-a: two\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let _ = r.conn.poll(r.now, &mut r.admission);
    let head = r.conn.poll_request().unwrap().head;
    assert_eq!((head.method(), head.path(), head.query(), head.version()), ("PUT", "/p/q", Some("k=v&l"), 1));
    assert_eq!(head.get("x-A"), Some(&b"one"[..]));
    assert_eq!(head.headers().filter(|(n, _)| n.eq_ignore_ascii_case("x-a")).count(), 2);
    assert_eq!((head.content_length(), head.is_chunked(), head.get("none")), (Some(0), false, None));
    for (target, path, query) in
        [("http://h", "/", None), ("http://h?q", "/", Some("q")), ("/?", "/", Some("")), ("*", "*", None)]
    {
        let mut r = server();
        r.peer.write_all(format!("OPTIONS {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
        let _ = r.conn.poll(r.now, &mut r.admission);
        let head = r.conn.poll_request().unwrap().head;
        assert_eq!((head.path(), head.query()), (path, query), "{target}");
    }
}

#[test]
fn pipelined_requests_get_responses_in_order_of_arrival() {
    let mut r = server();
    r.holds_responses = true;
    r.send((0..5).map(|i| post(&format!("/{i}"), &i.to_string())).collect::<String>());
    assert_eq!(r.held_requests.len(), 5);
    for i in [3, 0, 4, 2, 1] {
        let id = r.held_requests[i];
        r.conn.respond(id, Response::text(200, format!("[{i}]")));
        r.conn.respond(id, Response::text(500, "twice"));
        r.poll();
    }
    let output = r.take_output();
    let order: Vec<usize> = (0..5).map(|i| output.find(&format!("[{i}]")).unwrap()).collect();
    assert!(order.is_sorted() && !output.contains("500"), "{output}");
}

#[test]
fn pipeline_above_the_limit_waits_and_is_processed_completely() {
    let mut r = server();
    r.holds_responses = true;
    r.send((0..100).map(|i| post("/", &i.to_string())).collect::<String>());
    assert_eq!(r.held_requests.len(), MAX_PIPELINED);
    let mut responded = 0;
    while responded < r.held_requests.len() {
        let id = r.held_requests[responded];
        r.conn.respond(id, Response::text(204, ""));
        responded += 1;
        r.poll();
        assert!(r.held_requests.len() - responded <= MAX_PIPELINED);
    }
    assert_eq!((responded, r.statuses().len(), &r.requests[99][..]), (100, 100, "POST / 99"));
}

#[test]
fn chunked_body_with_extensions_and_trailers_is_decoded() {
    let mut r = server();
    r.send("POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
            5\r\nhello\r\n1;name=value\r\n \r\n00A ; x\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(r.requests, ["POST /c hello 0123456789", "GET /next "]);
    assert_eq!(r.statuses(), [200, 200]);
}

#[test]
fn invalid_chunk_is_refused_and_the_connection_closed() {
    for body in [
        "x\r\n",
        "\r\n",
        "5\nhello\r\n",
        "5\r\nhelloX\r\n",
        "-1\r\n",
        "0x5\r\n",
        "ffffffffffffffff\r\n",
        "5\rx",
        " 5\r\n",
        "0\r\nbad\n\r\n",
    ] {
        let mut r = server();
        r.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        assert_eq!(r.statuses(), [400], "{body:?}");
        assert!(r.requests.is_empty() && r.last_poll.shutdown_write && !r.last_poll.closed);
    }
}

#[test]
fn request_that_two_parsers_could_read_differently_is_refused() {
    for (status, text) in [
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n"),
        (400, "POST / HTTP/1.1\nHost: a\r\nX: 1\n\n"),
        (400, "POST / HTTP/1.1\nHost: a\nX: 1\r2\n\n"),
        (400, "POST / HTTP/1.1\nHost: a\nX: 1\r\n\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nX: 1\n\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "POST / HTTP/1.1\nHost: a\nContent-Length: 5\nTransfer-Encoding: chunked\n\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        (501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"),
        (505, "POST / HTTP/3.0\r\nHost: a\r\n\r\n"),
        (400, "POST nowhere HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n"),
    ] {
        let mut r = server();
        r.send([text, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
        let output = r.take_output();
        assert!(output.starts_with(&format!("HTTP/1.1 {status} ")), "{text:?}: {output}");
        assert!(
            output.contains("Connection: close") && r.requests.is_empty() && r.last_poll.shutdown_write,
            "{text:?}"
        );
    }
    let mut r = server();
    r.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(r.requests, ["POST / ok"], "the same length twice is no conflict");
}

#[test]
fn byte_that_cannot_begin_a_method_is_refused_at_once() {
    for text in ["\x16\x03\x01\x02\0\x01", "\r\n\r\n\x16", " GET", "\n", "\0", "{", "\u{f6}"] {
        let mut r = server();
        let output = r.send(text).take_output();
        assert!(
            output.starts_with("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"),
            "{text:?}"
        );
        assert!(
            output.contains("Connection: close\r\n") && output.ends_with("\r\n\r\n400 Bad Request"),
            "{text:?}: {output}"
        );
        assert!(r.last_poll.shutdown_write && !r.last_poll.closed);
    }
    let mut r = server();
    for piece in ["\r", "\n", "!", "#~"] {
        assert_eq!(r.send(piece).take_output(), "", "a token may still become a method");
    }
}

#[test]
fn refusing_connection_sends_its_text_and_accepts_no_request() {
    let (peer, end) = pipe(usize::MAX);
    let why = CloseReason::Protocol("wrong door".to_owned());
    let mut r = server();
    r.conn = H1ServerConn::new_refusing(
        end,
        Rc::new(HttpServerConnConfig::default()),
        SEC,
        b"HTTP/1.0 400 Bad Request\r\n\r\nno\n",
        why.clone(),
    );
    r.peer = peer;
    assert_eq!(r.poll().take_output(), "HTTP/1.0 400 Bad Request\r\n\r\nno\n");
    assert_eq!(r.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").take_output(), "");
    assert!(
        r.requests.is_empty()
            && r.last_poll.shutdown_write
            && !r.last_poll.closed
            && r.last_poll.close_reason == Some(why)
    );
    r.now = r.conn.poll_timeout().unwrap();
    assert!(r.poll().last_poll.closed, "it waits for the peer to leave, but not for ever");
}

#[test]
fn head_above_the_limit_gets_431_and_head_of_the_limit_is_accepted() {
    let cfg = || HttpServerConnConfig { max_head: 1000, ..HttpServerConnConfig::default() };
    let frame = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    for (pad, status) in [(1000 - frame, 200), (1001 - frame, 431), (5000, 431)] {
        let mut r = TestServer::new(cfg());
        r.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(pad)));
        assert_eq!(r.statuses(), [status], "{pad}");
    }
    let mut r = TestServer::new(cfg());
    r.send("x".repeat(1001));
    assert_eq!(r.statuses(), [431], "without waiting for an end that never comes");
    let mut r = server();
    r.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(2000)));
    assert_eq!(r.statuses(), [431]);
}

#[test]
fn http2_preface_closes_the_connection() {
    let mut r = server();
    r.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(r.last_poll.closed);
    assert_eq!(r.last_poll.close_reason, Some(CloseReason::Http2Preface));
}

#[test]
fn body_above_the_limit_gets_the_response_of_the_admission_and_a_close() {
    for (request, known) in [
        (post("/", &"x".repeat(101)), true),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n{}\r\n0\r\n\r\n",
                "x".repeat(101)
            ),
            false,
        ),
    ] {
        let mut r = TestServer::new(HttpServerConnConfig { max_body: 100, ..HttpServerConnConfig::default() });
        r.send(request);
        let output = r.take_output();
        assert!(output.starts_with("HTTP/1.1 400 ") && output.ends_with("http: request body too large"), "{output}");
        assert!(r.last_poll.shutdown_write && r.requests.is_empty());
        assert_eq!(
            r.admission.requested_sizes.is_empty(),
            known || r.admission.requested_sizes.iter().all(|g| *g <= 100)
        );
    }
    let mut r = TestServer::new(HttpServerConnConfig { max_body: 100, ..HttpServerConnConfig::default() });
    r.send(post("/", &"x".repeat(100)));
    assert_eq!(r.statuses(), [200]);
}

#[test]
fn refused_body_is_discarded_if_short_and_closes_the_connection_if_long() {
    let mut r = server();
    r.send([post("/no", &"x".repeat(1000)), post("/yes", "1")].concat());
    assert_eq!((r.statuses(), r.requests.len()), (vec![403, 200], 1));
    r.send(post("/no", &"x".repeat(300 << 10)));
    assert_eq!(r.statuses(), [403]);
    assert!(r.last_poll.shutdown_write && !r.last_poll.closed, "it is read on so that the answer survives");
    r.peer.close();
    r.poll();
    assert!(r.last_poll.closed);
    let mut r = server();
    r.send("POST /no HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /yes HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((r.statuses(), r.requests.len()), (vec![403, 200], 1));
    let mut r = server();
    r.send("POST /no HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..30 {
        r.send(format!("2800\r\n{}\r\n", "x".repeat(0x2800)));
    }
    assert!(r.last_poll.shutdown_write, "an endless refused body");
}

#[test]
fn body_above_the_memory_limit_is_refused_while_it_grows() {
    let mut r = server();
    r.admission.max_growth = Some(10_000);
    r.send("POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n".to_owned() + &"x".repeat(100));
    assert_eq!(r.admission.requested_sizes, [400], "four times what came, not what was promised");
    r.send("x".repeat(19_900));
    assert_eq!(r.statuses(), [503]);
    r.send(post("/ok", "1"));
    assert_eq!(r.statuses(), [200], "the connection goes on");
}

#[test]
fn client_that_expects_100_continue_gets_it_or_a_refusal() {
    let expecting =
        |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n");
    let mut r = server();
    r.send(expecting("/"));
    assert_eq!(r.take_output(), "HTTP/1.1 100 Continue\r\n\r\n");
    r.send("ok");
    assert_eq!(r.statuses(), [200]);
    r.send(expecting("/") + "ok");
    assert_eq!(r.statuses().last(), Some(&200));
    r.send(expecting("/no"));
    let output = r.take_output();
    assert!(output.starts_with("HTTP/1.1 403") && output.contains("Connection: close"));
    // After a request without a response, `100 Continue` has to wait.
    let mut r = server();
    r.holds_responses = true;
    r.send(post("/first", "") + &expecting("/second"));
    assert_eq!(r.take_output(), "");
    let id = r.held_requests[0];
    r.conn.respond(id, Response::text(200, "first"));
    r.poll();
    assert!(r.take_output().ends_with("firstHTTP/1.1 100 Continue\r\n\r\n"));
}

#[test]
fn response_to_head_or_with_status_204_has_no_body() {
    let mut r = server();
    r.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let output = r.take_output();
    assert!(output.contains("Content-Length: 2\r\n") && output.ends_with("\r\n\r\n"), "{output}");
    r.holds_responses = true;
    r.send(post("/", ""));
    let id = r.held_requests[0];
    r.conn.respond(id, Response::text(204, "nothing"));
    r.poll();
    let output = r.take_output();
    assert!(
        output.starts_with("HTTP/1.1 204 No Content\r\n") && !output.contains("nothing") && !output.contains("Length")
    );
}

#[test]
fn connection_is_closed_if_client_or_server_requests_it() {
    for (request, close) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n", true),
        ("GET / HTTP/1.0\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
    ] {
        let mut r = server();
        r.send(request);
        let output = r.take_output();
        assert_eq!((output.contains("Connection: close"), r.last_poll.shutdown_write), (close, close), "{request:?}");
        assert_eq!(output.contains("Connection: keep-alive"), !close && request.contains("1.0"));
    }
    let mut r = TestServer::new(HttpServerConnConfig { keep_alive: false, ..HttpServerConnConfig::default() });
    r.send([post("/1", "a"), post("/2", "b")].concat());
    assert_eq!((r.statuses(), r.requests.len()), (vec![200], 1));
    assert!(!r.last_poll.closed);
    r.now = r.conn.poll_timeout().unwrap();
    r.poll();
    assert!(r.last_poll.closed, "a peer that does not leave is left");
}

#[test]
fn first_request_after_the_age_of_a_connection_is_its_last_one() {
    let mut r = TestServer::new(HttpServerConnConfig { max_age: Some(100 * SEC), ..HttpServerConnConfig::default() });
    r.now += 89 * SEC;
    r.send(post("/1", "a"));
    assert!(!r.take_output().contains("Connection: close"));
    r.now += 22 * SEC;
    r.poll();
    assert!(!r.last_poll.shutdown_write, "an idle connection waits for the request");
    r.send(post("/2", "b"));
    assert!(r.take_output().contains("Connection: close") && r.last_poll.shutdown_write);
}

#[test]
fn connection_that_is_to_end_gets_one_more_request() {
    let mut r = server();
    r.send(post("/1", "a"));
    assert!(!r.take_output().contains("Connection: close"));
    r.conn.end_with_next_request(r.now);
    r.poll();
    assert!(!r.last_poll.shutdown_write && r.take_output().is_empty(), "it waits for the request");
    r.send(post("/2", "b"));
    assert!(r.take_output().contains("Connection: close") && r.last_poll.shutdown_write);
}

#[test]
fn ages_of_connections_are_spread_by_a_tenth() {
    let cfg = HttpServerConnConfig { max_age: Some(1000), ..HttpServerConnConfig::default() };
    let ages: Vec<u64> = (0..1000).map(|now| cfg.age_ends_at(now).unwrap() - now).collect();
    assert!(ages.iter().all(|age| (900..1100).contains(age)));
    assert!(ages.iter().min() < Some(&910) && ages.iter().max() > Some(&1090));
}

#[test]
fn invalid_response_headers_are_left_out() {
    let mut r = server();
    r.holds_responses = true;
    r.send(post("/", ""));
    let response = Response::text(200, "ok")
        .header("X-Good", "1")
        .header("X-Evil", "1\r\nX-Injected: 1")
        .header("X Evil", "1")
        .header("Content-Length", "99")
        .header("Transfer-Encoding", "chunked");
    r.conn.respond(r.held_requests[0], response);
    r.poll();
    let output = r.take_output();
    assert!(
        output.contains("X-Good: 1\r\n")
            && !output.contains("Evil")
            && !output.contains("99")
            && !output.contains("chunked")
    );
}

#[test]
fn half_closed_client_still_gets_its_response() {
    let mut r = server();
    r.holds_responses = true;
    r.send(post("/", "x"));
    r.peer.close();
    r.poll();
    assert!(!r.last_poll.closed);
    r.conn.respond(r.held_requests[0], Response::text(200, "late"));
    r.poll();
    assert!(r.take_output().ends_with("late") && r.last_poll.closed);
    let mut r = server();
    r.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    r.peer.close();
    r.poll();
    assert_eq!((r.last_poll.closed, &r.last_poll.close_reason, r.requests.len()), (true, &Some(CloseReason::Peer), 0));
}

#[test]
fn drained_connection_responds_to_received_requests_and_closes() {
    let mut r = server();
    r.conn.drain();
    r.poll();
    assert!(r.last_poll.shutdown_write, "an idle connection leaves at once");
    let mut r = server();
    r.holds_responses = true;
    r.send(post("/1", "a"));
    r.conn.drain();
    r.send(post("/2", "b"));
    assert_eq!(r.requests.len(), 1);
    r.conn.respond(r.held_requests[0], Response::text(200, "done"));
    r.poll();
    let output = r.take_output();
    assert!(output.contains("Connection: close") && output.ends_with("done") && r.last_poll.shutdown_write);
}

#[test]
fn each_timeout_fires_exactly_when_due() {
    let cfg = || HttpServerConnConfig {
        read_header_timeout: Some(10 * SEC),
        read_timeout: Some(30 * SEC),
        write_timeout: Some(40 * SEC),
        idle_timeout: Some(60 * SEC),
        ..HttpServerConnConfig::default()
    };
    let wait = |r: &mut TestServer, by: u64| {
        assert_eq!(r.conn.poll_timeout(), Some(r.now + by));
        r.now += by - 1;
        r.poll();
        assert!(!r.last_poll.closed && !r.last_poll.shutdown_write);
        r.now += 1;
        r.poll();
    };
    let mut r = TestServer::new(cfg());
    wait(&mut r, 10 * SEC);
    assert_eq!(
        (r.last_poll.closed, &r.last_poll.close_reason),
        (true, &Some(CloseReason::Timeout("read_header_timeout")))
    );

    let mut r = TestServer::new(cfg());
    r.send("GET / HT");
    wait(&mut r, 10 * SEC);
    assert!(r.last_poll.closed);

    let mut r = TestServer::new(cfg());
    r.send(post("/", "a"));
    r.take_output();
    wait(&mut r, 60 * SEC);
    assert_eq!((r.last_poll.closed, &r.last_poll.close_reason), (true, &Some(CloseReason::Timeout("idle_timeout"))));

    let mut r = TestServer::new(cfg());
    r.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    wait(&mut r, 30 * SEC);
    assert_eq!((r.statuses(), &r.last_poll.close_reason), (vec![408], &Some(CloseReason::Timeout("read_timeout"))));

    let mut r = TestServer::new(cfg());
    r.holds_responses = true;
    r.send(post("/", "a"));
    wait(&mut r, 40 * SEC);
    assert_eq!((r.last_poll.closed, &r.last_poll.close_reason), (true, &Some(CloseReason::Timeout("write_timeout"))));

    let mut r = TestServer::new(HttpServerConnConfig::default());
    r.send("GET / HT");
    assert_eq!(r.conn.poll_timeout(), None);
}

#[test]
fn slow_reader_gets_the_whole_response_and_a_reader_that_stops_a_timeout() {
    let (mut peer, end) = pipe(100);
    let cfg = HttpServerConnConfig { write_timeout: Some(SEC), ..HttpServerConnConfig::default() };
    let mut conn: H1ServerConn<PipeEnd, ()> = H1ServerConn::new(end, Rc::new(cfg), SEC);
    let mut admission = TestAdmission::default();
    peer.write_all(post("/", "x").as_bytes()).unwrap();
    let _ = conn.poll(SEC, &mut admission);
    let body: Bytes = "y".repeat(5000).into();
    let id = conn.poll_request().unwrap().id;
    conn.respond(id, Response::text(200, body.clone()));
    let mut got = Vec::new();
    while !got.ends_with(&body) {
        assert!(got.len() < 6000);
        assert!(!conn.flush(SEC).closed);
        got.extend(peer.read_all());
    }
    peer.write_all(post("/", "x").as_bytes()).unwrap();
    let _ = conn.poll(SEC, &mut admission);
    let id = conn.poll_request().unwrap().id;
    conn.respond(id, Response::text(200, body));
    assert!(!conn.flush(SEC).closed);
    assert_eq!(conn.poll_timeout(), Some(2 * SEC));
    assert!(conn.poll(2 * SEC, &mut admission).closed);
}

#[test]
fn connection_with_much_input_is_read_up_to_its_budget() {
    let mut r = TestServer::new(HttpServerConnConfig { read_budget: 1000, ..HttpServerConnConfig::default() });
    r.peer.write_all(post("/", &"x".repeat(5000)).as_bytes()).unwrap();
    let before = r.peer.unread_len();
    assert!(r.conn.poll(r.now, &mut r.admission).poll_again);
    assert_eq!(before - r.peer.unread_len(), 1000);
    r.poll();
    assert_eq!(r.statuses(), [200]);
}

/// A stream of requests of all kinds.
fn stream() -> Vec<u8> {
    let chunked = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10;e=f\r\n0123456789abcdef\r\n0\r\nT: 1\r\n\r\n";
    let parts = [
        post("/one", "first"),
        chunked.to_owned(),
        "\r\nGET http://a/two?q HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        post("/no", "refused body"),
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        post("/empty", ""),
        "GET /last HTTP/1.0\r\n\r\n".to_owned(),
        "ignored".to_owned(),
    ];
    parts.concat().into_bytes()
}

fn requests_and_output(pieces: impl IntoIterator<Item = Vec<u8>>) -> (Vec<String>, String) {
    let mut r = server();
    for piece in pieces {
        r.send(piece);
    }
    (r.requests.clone(), r.take_output())
}

#[test]
fn requests_cut_anywhere_give_the_same_result() {
    let all = stream();
    let want = requests_and_output([all.clone()]);
    assert_eq!(want.0.len(), 6);
    for cut in 0..all.len() {
        assert_eq!(requests_and_output([all[..cut].to_vec(), all[cut..].to_vec()]), want, "cut at {cut}");
    }
    assert_eq!(requests_and_output(all.iter().map(|b| vec![*b])), want, "byte by byte");
}

#[test]
fn response_that_is_not_flushed_delays_shutdown() {
    let cfg = HttpServerConnConfig {
        write_timeout: Some(5 * SEC),
        idle_timeout: Some(SEC),
        ..HttpServerConnConfig::default()
    };
    let mut r = TestServer::new(cfg);
    r.conn.io().set_corked(true);
    r.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!((r.take_output().as_str(), r.last_poll.shutdown_write, r.conn.is_idle()), ("", false, false));
    assert_eq!(r.conn.poll_timeout(), Some(6 * SEC), "the write timeout goes on");
    r.peer.close();
    r.poll();
    assert!(!r.last_poll.shutdown_write && !r.last_poll.closed, "a client that half-closed still waits");
    r.conn.io().set_corked(false);
    r.poll();
    assert_eq!(r.statuses(), [200]);
    assert!(r.last_poll.shutdown_write && r.last_poll.closed);
}

#[test]
fn flush_that_blocks_too_long_or_fails_closes_the_connection() {
    let mut r =
        TestServer::new(HttpServerConnConfig { write_timeout: Some(5 * SEC), ..HttpServerConnConfig::default() });
    r.conn.io().set_corked(true);
    r.send(post("/", "x"));
    r.now += 5 * SEC;
    r.poll();
    assert_eq!(
        (r.last_poll.closed, r.last_poll.close_reason.clone()),
        (true, Some(CloseReason::Timeout("write_timeout")))
    );
    let mut r = server();
    r.conn.io().fail_flush(ErrorKind::ConnectionReset);
    r.send(post("/", "x"));
    assert_eq!(
        (r.last_poll.closed, r.last_poll.close_reason.clone()),
        (true, Some(CloseReason::Io(ErrorKind::ConnectionReset)))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_cut_into_any_pieces_give_the_same_result(cuts in prop::collection::vec(1..60_usize, 1..40)) {
        let all = stream();
        let mut pieces = Vec::new();
        let mut rest = &all[..];
        for cut in cuts {
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece.to_vec());
            rest = tail;
        }
        pieces.push(rest.to_vec());
        prop_assert_eq!(requests_and_output(pieces), requests_and_output([all.clone()]));
    }

    #[test]
    fn random_bytes_in_the_input_close_the_connection_at_the_latest_after_linger(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0..200_usize) {
        let mut all = stream();
        let at = at.min(all.len());
        all.splice(at..at, bytes);
        let mut r = server();
        r.send(all);
        r.peer.close();
        r.poll();
        r.now += LINGER;
        r.poll();
        prop_assert!(r.last_poll.closed);
    }
}

#[test]
fn body_that_stops_arriving_gets_408() {
    let mut r = server();
    r.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    r.now += 59 * SEC;
    r.send("d");
    r.now += 59 * SEC;
    r.poll();
    assert!(r.take_output().is_empty(), "it makes progress");
    r.now += SEC;
    r.poll();
    assert_eq!(r.statuses(), [408]);
}

#[test]
fn refuse_incomplete_responds_to_the_request_whose_body_is_read() {
    let mut r = server();
    r.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    r.conn.refuse_incomplete(r.now, |()| false, |()| Response::text(503, "no room"));
    r.poll();
    assert!(r.take_output().is_empty());
    r.conn.refuse_incomplete(r.now, |()| true, |()| Response::text(503, "no room"));
    r.poll();
    assert_eq!((r.statuses(), r.conn.buffered_bytes()), (vec![503], 0));
    // The rest is discarded, and the next request is served.
    r.send("x".repeat(97)).send(post("/next", "hello"));
    assert_eq!(r.statuses(), [200]);
    assert_eq!(r.requests, ["POST /next hello"]);
}

#[test]
fn streamed_response_next_piece_can_be_sent_after_the_previous_is_written() {
    let mut r = server();
    r.holds_responses = true;
    r.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    let (a, b) = (r.held_requests[0], r.held_requests[1]);
    assert!(r.conn.is_next_response(a) && !r.conn.is_next_response(b));
    assert!(r.conn.respond_streaming(a, Response::text(200, "")));
    r.conn.respond(b, Response::text(200, "b"));
    assert!(!r.conn.can_send_data(a), "its head is not written yet");
    r.poll();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!((r.take_output().as_str(), r.conn.can_send_data(a), r.conn.can_send_data(b)), (head, true, false));
    r.conn.io().set_corked(true);
    r.conn.send_data(r.now, a, "x".repeat(18).into());
    r.poll();
    assert!(!r.conn.can_send_data(a) && r.conn.is_streaming(a) && !r.conn.is_idle());
    r.conn.io().set_corked(false);
    r.poll();
    assert!(r.conn.can_send_data(a));
    r.conn.finish_response(a, r.now);
    r.poll();
    let output = r.take_output();
    assert!(output.starts_with("12\r\nxxxxxxxxxxxxxxxxxx\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n"), "{output}");
    assert!(output.ends_with("Content-Length: 1\r\n\r\nb") && r.conn.is_idle());
}

#[test]
fn continue_for_the_next_request_waits_for_the_end_of_a_streamed_body() {
    let mut r = server();
    r.holds_responses = true;
    r.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let a = r.held_requests[0];
    assert!(r.conn.respond_streaming(a, Response::text(200, "")));
    r.poll();
    r.take_output();
    r.send("POST /b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    r.conn.send_data(r.now, a, "x".into());
    r.poll();
    assert_eq!(r.take_output(), "1\r\nx\r\n");
    r.conn.finish_response(a, r.now);
    r.poll();
    assert_eq!(r.take_output(), "0\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn streamed_response_of_http_1_0_ends_with_the_connection() {
    let mut r = server();
    r.holds_responses = true;
    r.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let id = r.held_requests[0];
    assert!(r.conn.respond_streaming(id, Response::new(200, "", "")));
    r.poll();
    r.conn.send_data(r.now, id, "abc".into());
    r.poll();
    r.conn.finish_response(id, r.now);
    r.poll();
    assert_eq!(r.take_output(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
    assert!(r.last_poll.shutdown_write);

    let mut r = server();
    r.holds_responses = true;
    r.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(!r.conn.respond_streaming(r.held_requests[0], Response::new(200, "", "")));
    r.poll();
    assert!(r.take_output().starts_with("HTTP/1.1 200 OK\r\n") && r.conn.is_idle());
}

#[test]
fn streamed_response_not_read_or_aborted_closes_the_connection() {
    for cfg in [
        HttpServerConnConfig::default(),
        HttpServerConnConfig { write_timeout: Some(5 * SEC), ..HttpServerConnConfig::default() },
    ] {
        let limit = cfg.write_timeout.unwrap_or(STALL_TIMEOUT);
        let mut r = TestServer::new(cfg);
        r.holds_responses = true;
        r.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let id = r.held_requests[0];
        r.conn.respond_streaming(id, Response::new(200, "", ""));
        r.poll();
        r.conn.io().set_corked(true);
        r.conn.send_data(r.now, id, "abc".into());
        r.poll();
        assert_eq!(r.conn.poll_timeout(), Some(r.now + limit));
        r.now += limit;
        r.poll();
        assert_eq!(r.last_poll.close_reason, Some(CloseReason::Timeout("write_timeout")));
        assert!(r.last_poll.closed && !r.conn.is_streaming(id));
    }
    let mut r = server();
    r.holds_responses = true;
    r.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let id = r.held_requests[0];
    r.conn.respond_streaming(id, Response::new(200, "", ""));
    r.poll();
    r.conn.send_data(r.now, id, "abc".into());
    r.poll();
    r.conn.abort_response(id);
    r.poll();
    assert!(r.last_poll.closed && !r.take_output().contains("0\r\n\r\n"));
}

#[test]
fn refuse_head_responds_to_an_incomplete_head_and_closes() {
    let mut r = server();
    r.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(10_000)));
    assert!(r.conn.unadmitted_bytes() >= 10_000);
    r.conn.refuse_head(r.now, Response::text(503, "no room"));
    r.poll();
    assert_eq!(r.statuses(), [503]);
    assert!(r.last_poll.shutdown_write && r.conn.unadmitted_bytes() == 0);
    // Between requests there is nothing to refuse.
    let mut r = server();
    r.send(post("/", "x"));
    r.conn.refuse_head(r.now, Response::text(503, "no room"));
    r.send(post("/", "x"));
    assert_eq!(r.statuses(), [200, 200]);
}

#[test]
fn head_with_bare_line_feeds_cut_anywhere_is_accepted() {
    let text = b"POST /c HTTP/1.1\nHost: a\nContent-Length: 2\nX: one\n\nokGET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    for step in 1..text.len() {
        let mut buffer = HeadBuffer::new(1000);
        let (mut heads, mut rest): (Vec<RequestHead>, &[u8]) = (Vec::new(), text);
        let mut skip = 0;
        while !rest.is_empty() {
            let (mut piece, later) = rest.split_at(step.min(rest.len()));
            rest = later;
            while !piece.is_empty() {
                if skip > 0 {
                    piece = &piece[1..];
                    skip -= 1;
                } else if let Some(head) = buffer.read_request_head(&mut piece).unwrap() {
                    skip = head.content_length().unwrap_or(0);
                    heads.push(head);
                }
            }
        }
        let paths: Vec<&str> = heads.iter().map(RequestHead::path).collect();
        assert_eq!(paths, ["/c", "/next"], "{step}");
        assert_eq!(heads[0].get("x"), Some(&b"one"[..]), "{step}");
    }
}

fn head_of(fields: usize) -> Result<Option<RequestHead>, HeadError> {
    let fields: String = (0..fields).map(|n| format!("x-{n}: y\r\n")).collect();
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    HeadBuffer::new(64 << 10).read_request_head(&mut text.as_bytes())
}

#[test]
fn head_with_up_to_1024_fields_is_accepted() {
    for fields in [10, 63, 64, 127, 128, 500, 1023] {
        assert_eq!(head_of(fields).unwrap().unwrap().headers().count(), fields + 1, "{fields}");
    }
    assert_eq!(head_of(1024).unwrap_err(), HeadError::TooLarge);
}

#[test]
fn path_with_empty_or_dotted_segments_is_cleaned() {
    let clean = |target: &str| {
        let text = format!("POST {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        HeadBuffer::new(1000).read_request_head(&mut text.as_bytes()).unwrap().unwrap().cleaned_target()
    };
    for (target, expected) in [
        ("//v1/traces", Some("/v1/traces")),
        ("/v1//traces", Some("/v1/traces")),
        ("/v1/../v1/./traces", Some("/v1/traces")),
        ("/../../v1/traces", Some("/v1/traces")),
        ("//v1/traces/", Some("/v1/traces/")),
        ("//v1/traces?a=b//c", Some("/v1/traces?a=b//c")),
        ("http://h//v1/traces", Some("/v1/traces")),
        ("//", Some("/")),
        ("/v1/traces", None),
        ("/v1/traces/", None),
        ("/", None),
        ("*", None),
        ("/\\elsewhere", None),
        ("//\\elsewhere", None),
        ("///\\elsewhere/..", Some("/")),
    ] {
        assert_eq!(clean(target).as_deref(), expected, "{target}");
    }
}
