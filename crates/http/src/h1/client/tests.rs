//! Responses written by hand into a pipe in memory, under a virtual clock.

use super::*;
use crate::pipe::{PipeEnd, pipe};

const SEC: u64 = 1_000_000_000;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

struct TestClient {
    now: u64,
    peer: PipeEnd,
    conn: H1ClientConn<PipeEnd>,
    last_poll: PollResult,
}

fn client_with(cfg: H1ClientConnConfig, pipe_capacity: usize) -> TestClient {
    let (peer, end) = pipe(pipe_capacity);
    TestClient { now: SEC, peer, conn: H1ClientConn::new(end, Rc::new(cfg), SEC), last_poll: PollResult::default() }
}

fn client() -> TestClient {
    client_with(H1ClientConnConfig::default(), usize::MAX)
}

impl TestClient {
    fn start(&mut self, method: &str, body: &[&'static str]) -> Result<(), StartRequestError> {
        let request = OutgoingRequest {
            method,
            target: if method == "CONNECT" { "h:443" } else { "/v1/traces?a=b" },
            headers: [("Host", "h"), ("X-Key", "v")],
            body: body.iter().map(|part| Bytes::from_static(part.as_bytes())),
            deadline: Some(self.now + 10 * SEC),
        };
        self.conn.start(self.now, request)
    }

    fn post(&mut self) -> &mut Self {
        self.start("POST", &["hello ", "", "world"]).unwrap();
        self.poll()
    }

    fn request(&mut self, method: &str) -> &mut Self {
        self.start(method, &[]).unwrap();
        self.poll()
    }

    fn poll(&mut self) -> &mut Self {
        loop {
            self.last_poll = self.conn.poll(self.now);
            if !self.last_poll.poll_again {
                return self;
            }
        }
    }

    fn receive(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self.peer.write_all(text.as_ref()).unwrap();
        self.poll()
    }

    fn take_output(&mut self) -> String {
        String::from_utf8(self.peer.read_all()).unwrap()
    }

    fn take_response(&mut self) -> ClientResponse {
        self.conn.poll_response().expect("an outcome").expect("a reply")
    }

    fn take_error(&mut self) -> RequestError {
        self.conn.poll_response().expect("an outcome").expect_err("a failure")
    }
}

#[test]
fn requests_are_framed_and_the_connection_is_reused() {
    let mut r = client();
    assert!(r.conn.can_start() && r.conn.idle_since() == Some(SEC));
    r.post();
    let want = "POST /v1/traces?a=b HTTP/1.1\r\nHost: h\r\nX-Key: v\r\nContent-Length: 11\r\n\r\nhello world";
    assert_eq!(r.take_output(), want);
    assert_eq!(r.conn.io().write_calls(), 1, "head and parts go out together");
    assert!(!r.conn.can_start() && r.conn.poll_timeout() == Some(11 * SEC));
    assert_eq!(r.start("GET", &[]), Err(StartRequestError::Busy));
    r.now += SEC;
    r.receive("HTTP/1.1 200 OK\r\nX-Some: thing\r\nContent-Length: 2\r\n\r\nok");
    assert!(!r.conn.can_start(), "the outcome was not taken");
    let response = r.take_response();
    assert_eq!((response.status, &response.body[..], response.is_truncated), (200, &b"ok"[..], false));
    assert_eq!((response.head.get("x-some"), response.head.headers().count()), (Some(&b"thing"[..]), 2));
    assert!(r.conn.can_start() && r.conn.idle_since() == Some(2 * SEC) && r.conn.poll_timeout().is_none());
    for (method, length) in [("GET", false), ("HEAD", false), ("POST", true), ("PUT", true)] {
        let mut r = client();
        r.request(method);
        assert_eq!(r.take_output().contains("Content-Length: 0\r\n"), length, "{method}");
    }
}

/// Status and body of a response that arrives in these pieces, and whether the connection is kept.
fn response_from(pieces: impl IntoIterator<Item = Vec<u8>>, eof: bool) -> (Result<(u16, String), CloseReason>, bool) {
    let mut r = client();
    r.post();
    for piece in pieces {
        r.receive(piece);
    }
    if eof {
        r.peer.close();
        r.poll();
    }
    let done = r.conn.poll_response().expect("an outcome");
    let done = done.map(|reply| (reply.status, String::from_utf8(reply.body.to_vec()).unwrap()));
    (done.map_err(|failure| failure.close_reason), r.conn.can_start())
}

#[test]
fn response_cut_anywhere_gives_the_same_result() {
    let responses = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, (200, "hello"), true),
        ("HTTP/1.1 503\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\n!", false, (503, "!"), false),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n",
            false,
            (200, "hello"),
            true,
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
            false,
            (204, ""),
            true,
        ),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", false, (200, "a"), true),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", false, (200, "a"), false),
        ("HTTP/1.0 200 OK\r\n\r\nto the end", true, (200, "to the end"), false),
        ("HTTP/1.1 200 OK\r\n\r\nto the end", true, (200, "to the end"), false),
    ];
    for (response, eof, (status, body), kept) in responses {
        let want = (Ok((status, body.to_owned())), kept);
        let all = response.as_bytes();
        for cut in 0..=all.len() {
            assert_eq!(response_from([all[..cut].to_vec(), all[cut..].to_vec()], eof), want, "{response:?} at {cut}");
        }
        assert_eq!(response_from(all.iter().map(|b| vec![*b]), eof), want, "{response:?}");
    }
}

#[test]
fn response_truncated_anywhere_is_an_error() {
    for response in [OK, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"] {
        for cut in 0..response.len() {
            let (done, kept) = response_from([response.as_bytes()[..cut].to_vec()], true);
            assert_eq!((done, kept), (Err(CloseReason::Peer), false), "{cut} of {response:?}");
        }
    }
}

#[test]
fn response_that_two_parsers_could_read_differently_is_refused() {
    let responses = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 099 What\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "\0\0\x12\x04\0\0\0\0\0",
    ];
    for response in responses {
        let (done, kept) = response_from([response.as_bytes().to_vec()], false);
        assert!(matches!(done, Err(CloseReason::Protocol(_))) && !kept, "{response:?} gave {done:?}");
    }
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(response_from([(interim.repeat(5) + OK).into_bytes()], false), (Ok((200, "ok".to_owned())), true));
    let (done, _) = response_from([(interim.repeat(6) + OK).into_bytes()], false);
    assert_eq!(done, Err(CloseReason::Protocol("too many interim responses".to_owned())));
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(64 << 10));
    assert!(matches!(response_from([long.into_bytes()], false).0, Err(CloseReason::Protocol(_))));
}

#[test]
fn request_that_could_smuggle_another_is_refused() {
    let mut r = client();
    let mut try_one = |method: &str, target: &str, headers: &[(&str, &str)], body: &'static str| {
        let body = [Bytes::from_static(body.as_bytes())];
        let outgoing = OutgoingRequest { method, target, headers: headers.iter().copied(), body, deadline: None };
        r.conn.start(r.now, outgoing).unwrap_err()
    };
    let host = ("Host", "h");
    for method in ["", "GE T", "GET / HTTP/1.1\r\nHost: h\r\n\r\nPOST", "G\u{e9}T"] {
        assert_eq!(try_one(method, "/", &[host], ""), StartRequestError::Request("method"));
    }
    for target in ["", "/a b", "/\r\n", "/\u{e9}"] {
        assert_eq!(try_one("GET", target, &[host], ""), StartRequestError::Request("target"));
    }
    for name in ["", "A:", "A\r\nB", " A", "A "] {
        assert_eq!(try_one("GET", "/", &[host, (name, "v")], ""), StartRequestError::Request("header name"));
    }
    for value in ["a\r\nb: c", "a\nb", "a\rb", "\0", "\x7f"] {
        assert_eq!(try_one("GET", "/", &[host, ("A", value)], ""), StartRequestError::Request("header value"));
    }
    let fields = ["CONTENT-length", "transfer-encoding", "Connection", "Upgrade", "TE", "Trailer", "Expect"];
    for name in fields {
        let refused = StartRequestError::Request("header field about framing or the connection");
        assert_eq!(try_one("POST", "/", &[host, (name, "chunked")], "x"), refused, "{name}");
    }
    for hosts in [&[][..], &[host, host][..]] {
        assert_eq!(try_one("GET", "/", hosts, ""), StartRequestError::Request("exactly one Host is needed"));
    }
    assert_eq!(try_one("CONNECT", "h:1", &[host], "x"), StartRequestError::Request("CONNECT has no body"));
    r.poll();
    assert!(r.take_output().is_empty() && r.conn.can_start(), "the connection is as good as before");
}

#[test]
fn response_without_a_body_ends_with_its_head() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let mut r = client();
        r.request(method).receive(head);
        assert!(r.take_response().body.is_empty() && r.conn.can_start(), "{method} {head:?}");
    }
}

#[test]
fn bytes_without_a_request_close_the_connection() {
    let mut r = client();
    r.post().receive(format!("{OK}{OK}"));
    assert_eq!(r.take_response().status, 200);
    let unsolicited = Some(CloseReason::Protocol("unsolicited response".to_owned()));
    assert_eq!((r.last_poll.closed, r.last_poll.close_reason.clone()), (true, unsolicited.clone()));
    let mut r = client();
    r.receive(OK);
    assert_eq!((r.last_poll.closed, r.last_poll.close_reason.clone()), (true, unsolicited));
    // A response that arrived before the request was written does not belong to it.
    let mut r = client();
    r.post().receive(OK);
    assert_eq!(r.take_response().status, 200);
    r.take_output();
    r.start("POST", &["x"]).unwrap();
    r.receive(OK);
    let failure = r.take_error();
    assert!(!failure.sent && failure.may_retry() && r.take_output().is_empty());
}

#[test]
fn request_on_a_closed_reused_connection_is_retryable_and_a_lost_one_is_not() {
    // Closed while idle, and noticed before anything was written.
    let mut r = client();
    r.post().receive(OK);
    r.take_response();
    r.start("POST", &["x"]).unwrap();
    r.peer.close();
    r.poll();
    assert_eq!(r.take_error(), RequestError { close_reason: CloseReason::Peer, sent: false, reused: true });
    // Closed while idle, and the request was written before the close was noticed.
    let mut r = client();
    r.post().receive(OK);
    r.take_response();
    r.peer.close();
    r.start("POST", &["x"]).unwrap();
    assert!(!r.conn.flush(r.now).poll_again);
    r.poll();
    let failure = r.take_error();
    assert_eq!(failure, RequestError { close_reason: CloseReason::Peer, sent: true, reused: true });
    assert!(failure.may_retry() && r.last_poll.closed);
    // After a byte of a response, the request counts as processed.
    let mut r = client();
    r.post().receive(OK);
    r.take_response();
    r.post().receive("H").peer.close();
    r.poll();
    assert_eq!(r.take_error(), RequestError { close_reason: CloseReason::Peer, sent: true, reused: false });
    // The first request of a connection.
    let mut r = client();
    r.post().peer.close();
    r.poll();
    let failure = r.take_error();
    assert_eq!(failure, RequestError { close_reason: CloseReason::Peer, sent: true, reused: false });
    assert!(!failure.may_retry());
    // An idle connection ends without a failure.
    let mut r = client();
    r.peer.close();
    r.poll();
    assert!(r.last_poll.closed && r.conn.poll_response().is_none() && !r.conn.can_start());
}

#[test]
fn response_before_the_request_is_sent_stops_it_and_closes_the_connection() {
    let mut r = client_with(H1ClientConnConfig::default(), 100);
    r.start("POST", &["0123456789"; 100]).unwrap();
    r.poll();
    assert_eq!(r.conn.io().unread_len(), 100, "the pipe is full");
    r.receive("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno");
    assert!(r.conn.poll_response().is_none());
    r.take_output();
    r.receive("!");
    assert_eq!(r.take_output(), "", "nothing more was written");
    let response = r.take_response();
    assert_eq!((response.status, &response.body[..]), (413, &b"no!"[..]));
    assert!(r.last_poll.closed);
}

#[test]
fn response_received_before_a_write_error_is_returned() {
    let mut r = client_with(H1ClientConnConfig::default(), 100);
    r.start("POST", &["0123456789"; 100]).unwrap();
    r.poll();
    r.take_output();
    r.peer.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").unwrap();
    r.conn.io().close(); // writing fails from here on
    assert!(r.conn.flush(r.now).poll_again, "somebody has to look why");
    r.poll();
    assert_eq!(r.take_response().status, 503);
    let mut r = client();
    r.conn.io().close();
    r.post();
    assert_eq!(
        r.take_error(),
        RequestError { close_reason: CloseReason::Io(ErrorKind::BrokenPipe), sent: false, reused: false }
    );
}

#[test]
fn request_that_is_not_flushed_counts_as_unsent() {
    let mut r = client();
    r.conn.io().set_corked(true);
    r.post();
    assert_eq!(r.take_output(), "");
    r.conn.io().set_corked(false);
    let _ = r.conn.flush(r.now);
    assert!(r.take_output().ends_with("hello world"));
    assert_eq!(r.receive(OK).take_response().status, 200);
    assert!(r.conn.can_start());
    r.conn.io().set_corked(true);
    r.post().receive(OK);
    assert_eq!(r.take_response().status, 200);
    assert!(r.last_poll.closed, "an answer to a request that was not out yet");
    let mut r = client();
    r.conn.io().fail_flush(ErrorKind::ConnectionReset);
    r.post();
    assert_eq!(r.take_error().close_reason, CloseReason::Io(ErrorKind::ConnectionReset));
}

#[test]
fn deadline_ends_request_and_connection() {
    let mut r = client();
    r.post().receive("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    r.now = 11 * SEC - 1;
    r.poll();
    assert!(r.conn.poll_response().is_none());
    r.now += 1;
    let _ = r.conn.flush(r.now);
    let failure = r.take_error();
    assert_eq!(failure, RequestError { close_reason: CloseReason::Timeout("deadline"), sent: true, reused: false });
    assert!(!failure.may_retry() && r.poll().last_poll.closed && r.conn.poll_timeout().is_none());
    assert_eq!(r.start("GET", &[]), Err(StartRequestError::Connection));
}

#[test]
fn body_above_the_limit_is_truncated_and_a_very_long_one_closes_the_connection() {
    let cfg = || H1ClientConnConfig { max_body: 1000, read_budget: 5000, ..H1ClientConnConfig::default() };
    for (length, chunked, kept) in [
        (1000, false, true),
        (1001, false, true),
        (200_000, false, true),
        (300_000, false, false),
        (200_000, true, true),
        (300_000, true, false),
    ] {
        let mut r = client_with(cfg(), usize::MAX);
        let body = "x".repeat(length);
        let (head, body) = if chunked {
            ("Transfer-Encoding: chunked".to_owned(), format!("{length:x}\r\n{body}\r\n0\r\n\r\n"))
        } else {
            (format!("Content-Length: {length}"), body)
        };
        r.post().receive(format!("HTTP/1.1 400 Bad\r\n{head}\r\n\r\n{body}"));
        let response = r.take_response();
        assert_eq!((response.body.len(), response.is_truncated), (1000, length > 1000));
        assert_eq!(r.conn.can_start(), kept, "{length} {chunked}");
    }
    // A body with a length that will not be read to its end is neither awaited nor allocated.
    let mut r = client_with(cfg(), usize::MAX);
    r.post().receive(format!("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n{}", "x".repeat(1001)));
    assert!(r.take_response().is_truncated && r.last_poll.closed);
}

#[test]
fn tunnel_stream_is_returned_without_reading_from_it() {
    let mut r = client();
    r.request("CONNECT");
    assert_eq!(r.take_output(), "CONNECT h:443 HTTP/1.1\r\nHost: h\r\nX-Key: v\r\n\r\n");
    r.receive("HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(r.take_response().status, 200);
    assert!(!r.conn.can_start() && !r.last_poll.closed);
    r.receive("TLS says");
    assert_eq!(r.start("GET", &[]), Err(StartRequestError::Connection));
    let mut io = r.conn.into_io().unwrap();
    let mut bytes = [0; 16];
    assert_eq!(io.read(&mut bytes).unwrap(), 8, "what is behind the head was not read");
    let mut r = client();
    r.request("CONNECT").receive("HTTP/1.1 200 OK\r\n\r\nearly");
    assert!(matches!(r.take_error().close_reason, CloseReason::Protocol(_)) && r.conn.into_io().is_none());
    let mut r = client();
    r.request("CONNECT").receive("HTTP/1.1 407 Auth\r\nContent-Length: 4\r\n\r\nwho?");
    assert_eq!((r.take_response().status, r.conn.can_start()), (407, true));
    assert!(r.conn.into_io().is_none());
}

#[test]
fn connection_is_closed_by_connection_close_or_by_the_caller() {
    let mut r = client();
    let headers = [("Host", "h"), ("Connection", "close")];
    let request = OutgoingRequest { method: "GET", target: "http://h/", headers, body: [], deadline: None };
    r.conn.start(r.now, request).unwrap();
    r.poll().receive(OK);
    assert!(r.take_response().status == 200 && r.last_poll.closed);
    let mut r = client();
    r.post();
    r.conn.close();
    assert_eq!(r.take_error().close_reason, CloseReason::Local("closed"));
    assert!(r.poll().last_poll.closed);
}

/// All data that is ready, and the end of the body if it is there.
fn take_chunks(r: &mut TestClient) -> (Vec<u8>, Option<BodyChunk>) {
    let mut all = Vec::new();
    loop {
        match r.conn.poll_chunk() {
            Some(BodyChunk::Data(data)) => {
                assert!(data.len() <= MAX_CHUNK);
                all.extend_from_slice(&data);
                r.poll();
            }
            end => return (all, end),
        }
    }
}

#[test]
fn streamed_body_is_passed_on_as_it_arrives_and_the_connection_is_kept() {
    let mut r = client();
    for framing in ["Content-Length: 6", "Transfer-Encoding: chunked"] {
        r.start("GET", &[]).unwrap();
        r.conn.stream_body();
        r.poll();
        assert!(r.conn.poll_response().is_none());
        r.receive(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
        let head = r.take_response();
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert!(!r.conn.is_chunk_ready() && r.conn.poll_chunk().is_none());
        let [one, two] =
            if framing.starts_with('C') { ["abc", "def"] } else { ["3\r\nabc\r\n", "3\r\ndef\r\n0\r\n\r\n"] };
        r.receive(one);
        assert_eq!(take_chunks(&mut r).0, b"abc");
        r.receive(two);
        assert!(r.conn.is_chunk_ready() && !r.conn.can_start(), "the end is not taken");
        assert_eq!(r.start("GET", &[]), Err(StartRequestError::Busy));
        let (data, end) = take_chunks(&mut r);
        assert!(data == b"def" && matches!(end, Some(BodyChunk::End)), "{end:?}");
        assert!(r.conn.can_start() && r.conn.poll_chunk().is_none());
    }
    r.start("HEAD", &[]).unwrap();
    r.conn.stream_body();
    r.poll().receive("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
    assert!(r.take_response().status == 200 && matches!(r.conn.poll_chunk(), Some(BodyChunk::End)));
}

#[test]
fn streamed_body_that_is_not_taken_is_not_read() {
    let mut r = client_with(H1ClientConnConfig::default(), 4 << 20);
    r.start("GET", &[]).unwrap();
    r.conn.stream_body();
    let body = vec![b'x'; 1 << 20];
    r.poll().receive("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n");
    r.receive(&body);
    for _ in 0..10 {
        assert!(!r.poll().last_poll.poll_again);
    }
    let Some(BodyChunk::Data(first)) = r.conn.poll_chunk() else { panic!() };
    assert!(first.len() <= MAX_CHUNK && r.conn.poll_chunk().is_none());
    r.poll();
    let (rest, end) = take_chunks(&mut r);
    assert_eq!(first.len() + rest.len(), body.len());
    assert!(matches!(end, Some(BodyChunk::End)));
}

#[test]
fn streamed_body_that_fails_keeps_what_arrived() {
    let start = |text: &str| {
        let mut r = client();
        r.start("GET", &[]).unwrap();
        r.conn.stream_body();
        r.poll().receive(text);
        r
    };
    let mut torn = start("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    torn.peer.close();
    torn.poll();
    assert_eq!(torn.take_response().status, 200);
    let (data, end) = take_chunks(&mut torn);
    let Some(BodyChunk::Failed(e)) = end else { panic!("{end:?}") };
    assert_eq!((&data[..], e.close_reason), (&b"abc"[..], CloseReason::Peer));

    let mut late = start("HTTP/1.1 200 OK\r\n\r\nabc");
    late.now += 11 * SEC;
    late.poll();
    let (data, end) = take_chunks(&mut late);
    assert!(
        data == b"abc"
            && matches!(end, Some(BodyChunk::Failed(e)) if matches!(e.close_reason, CloseReason::Timeout(_)))
    );

    let mut until_close = start("HTTP/1.1 200 OK\r\n\r\nabc");
    until_close.peer.close();
    until_close.poll();
    let (data, end) = take_chunks(&mut until_close);
    assert!(data == b"abc" && matches!(end, Some(BodyChunk::End)));

    let mut without_head = start("HTTP/1.1 200 OK\r\nContent-");
    without_head.peer.close();
    without_head.poll();
    assert_eq!(without_head.take_error().close_reason, CloseReason::Peer);
    assert!(without_head.conn.poll_chunk().is_none());
}
