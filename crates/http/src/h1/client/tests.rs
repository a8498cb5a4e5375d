//! Answers written by hand into a pipe in memory, under a virtual clock.

use super::*;
use crate::pipe::{End, pipe};

const SEC: u64 = 1_000_000_000;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

struct Rig {
    now: u64,
    peer: End,
    conn: ClientConn<End>,
    last: Turn,
}

fn rig_with(cfg: ClientConfig, cap: usize) -> Rig {
    let (peer, end) = pipe(cap);
    Rig { now: SEC, peer, conn: ClientConn::new(end, Rc::new(cfg), SEC), last: Turn::default() }
}

fn rig() -> Rig {
    rig_with(ClientConfig::default(), usize::MAX)
}

impl Rig {
    fn begin(&mut self, method: &str, body: &[&'static str]) -> Result<(), NotReady> {
        let request = Outgoing {
            method,
            target: if method == "CONNECT" { "h:443" } else { "/v1/traces?a=b" },
            headers: [("Host", "h"), ("X-Key", "v")],
            body: body.iter().map(|part| Bytes::from_static(part.as_bytes())),
            deadline: Some(self.now + 10 * SEC),
        };
        self.conn.start(self.now, request)
    }

    fn post(&mut self) -> &mut Self {
        self.begin("POST", &["hello ", "", "world"]).unwrap();
        self.turn()
    }

    fn asked(&mut self, method: &str) -> &mut Self {
        self.begin(method, &[]).unwrap();
        self.turn()
    }

    fn turn(&mut self) -> &mut Self {
        loop {
            self.last = self.conn.turn(self.now);
            if !self.last.again {
                return self;
            }
        }
    }

    fn hear(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self.peer.write_all(text.as_ref()).unwrap();
        self.turn()
    }

    fn said(&mut self) -> String {
        String::from_utf8(self.peer.drain()).unwrap()
    }

    fn reply(&mut self) -> Reply {
        self.conn.poll_done().expect("an outcome").expect("a reply")
    }

    fn failure(&mut self) -> Failure {
        self.conn.poll_done().expect("an outcome").expect_err("a failure")
    }
}

#[test]
fn requests_are_framed_and_the_connection_is_kept_between_them() {
    let mut r = rig();
    assert!(r.conn.can_start() && r.conn.idle_since() == Some(SEC));
    r.post();
    let want = "POST /v1/traces?a=b HTTP/1.1\r\nHost: h\r\nX-Key: v\r\nContent-Length: 11\r\n\r\nhello world";
    assert_eq!(r.said(), want);
    assert_eq!(r.conn.io().writes(), 1, "head and parts go out together");
    assert!(!r.conn.can_start() && r.conn.poll_timeout() == Some(11 * SEC));
    assert_eq!(r.begin("GET", &[]), Err(NotReady::Busy));
    r.now += SEC;
    r.hear("HTTP/1.1 200 OK\r\nX-Some: thing\r\nContent-Length: 2\r\n\r\nok");
    assert!(!r.conn.can_start(), "the outcome was not taken");
    let reply = r.reply();
    assert_eq!((reply.status, &reply.body[..], reply.cut), (200, &b"ok"[..], false));
    assert_eq!((reply.head.get("x-some"), reply.head.headers().count()), (Some(&b"thing"[..]), 2));
    assert!(r.conn.can_start() && r.conn.idle_since() == Some(2 * SEC) && r.conn.poll_timeout().is_none());
    for (method, length) in [("GET", false), ("HEAD", false), ("POST", true), ("PUT", true)] {
        let mut r = rig();
        r.asked(method);
        assert_eq!(r.said().contains("Content-Length: 0\r\n"), length, "{method}");
    }
}

/// Status and body of an answer that arrives in these pieces, and whether the connection is kept.
fn outcome(pieces: impl IntoIterator<Item = Vec<u8>>, eof: bool) -> (Result<(u16, String), Closed>, bool) {
    let mut r = rig();
    r.post();
    for piece in pieces {
        r.hear(piece);
    }
    if eof {
        r.peer.close();
        r.turn();
    }
    let done = r.conn.poll_done().expect("an outcome");
    let done = done.map(|reply| (reply.status, String::from_utf8(reply.body.to_vec()).unwrap()));
    (done.map_err(|failure| failure.why), r.conn.can_start())
}

#[test]
fn an_answer_means_the_same_however_it_is_cut() {
    let answers = [
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
    for (answer, eof, (status, body), kept) in answers {
        let want = (Ok((status, body.to_owned())), kept);
        let all = answer.as_bytes();
        for cut in 0..=all.len() {
            assert_eq!(outcome([all[..cut].to_vec(), all[cut..].to_vec()], eof), want, "{answer:?} at {cut}");
        }
        assert_eq!(outcome(all.iter().map(|b| vec![*b]), eof), want, "{answer:?}");
    }
}

#[test]
fn an_answer_that_ends_early_is_a_failure_at_every_byte() {
    for answer in [OK, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"] {
        for cut in 0..answer.len() {
            let (done, kept) = outcome([answer.as_bytes()[..cut].to_vec()], true);
            assert_eq!((done, kept), (Err(Closed::Peer), false), "{cut} of {answer:?}");
        }
    }
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    let answers = [
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
    for answer in answers {
        let (done, kept) = outcome([answer.as_bytes().to_vec()], false);
        assert!(matches!(done, Err(Closed::Protocol(_))) && !kept, "{answer:?} gave {done:?}");
    }
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(outcome([(interim.repeat(5) + OK).into_bytes()], false), (Ok((200, "ok".to_owned())), true));
    let (done, _) = outcome([(interim.repeat(6) + OK).into_bytes()], false);
    assert_eq!(done, Err(Closed::Protocol("too many interim responses".to_owned())));
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(64 << 10));
    assert!(matches!(outcome([long.into_bytes()], false).0, Err(Closed::Protocol(_))));
}

#[test]
fn a_request_that_could_smuggle_another_is_never_begun() {
    let mut r = rig();
    let mut try_one = |method: &str, target: &str, headers: &[(&str, &str)], body: &'static str| {
        let body = [Bytes::from_static(body.as_bytes())];
        let outgoing = Outgoing { method, target, headers: headers.iter().copied(), body, deadline: None };
        r.conn.start(r.now, outgoing).unwrap_err()
    };
    let host = ("Host", "h");
    for method in ["", "GE T", "GET / HTTP/1.1\r\nHost: h\r\n\r\nPOST", "G\u{e9}T"] {
        assert_eq!(try_one(method, "/", &[host], ""), NotReady::Request("method"));
    }
    for target in ["", "/a b", "/\r\n", "/\u{e9}"] {
        assert_eq!(try_one("GET", target, &[host], ""), NotReady::Request("target"));
    }
    for name in ["", "A:", "A\r\nB", " A", "A "] {
        assert_eq!(try_one("GET", "/", &[host, (name, "v")], ""), NotReady::Request("header name"));
    }
    for value in ["a\r\nb: c", "a\nb", "a\rb", "\0", "\x7f"] {
        assert_eq!(try_one("GET", "/", &[host, ("A", value)], ""), NotReady::Request("header value"));
    }
    let fields = ["CONTENT-length", "transfer-encoding", "Connection", "Upgrade", "TE", "Trailer", "Expect"];
    for name in fields {
        let refused = NotReady::Request("header field about framing or the connection");
        assert_eq!(try_one("POST", "/", &[host, (name, "chunked")], "x"), refused, "{name}");
    }
    for hosts in [&[][..], &[host, host][..]] {
        assert_eq!(try_one("GET", "/", hosts, ""), NotReady::Request("exactly one Host is needed"));
    }
    assert_eq!(try_one("CONNECT", "h:1", &[host], "x"), NotReady::Request("CONNECT has no body"));
    r.turn();
    assert!(r.said().is_empty() && r.conn.can_start(), "the connection is as good as before");
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let mut r = rig();
        r.asked(method).hear(head);
        assert!(r.reply().body.is_empty() && r.conn.can_start(), "{method} {head:?}");
    }
}

#[test]
fn bytes_that_nobody_asked_for_end_the_connection() {
    let mut r = rig();
    r.post().hear(format!("{OK}{OK}"));
    assert_eq!(r.reply().status, 200);
    let unsolicited = Some(Closed::Protocol("unsolicited response".to_owned()));
    assert_eq!((r.last.closed, r.last.why.clone()), (true, unsolicited.clone()));
    let mut r = rig();
    r.hear(OK);
    assert_eq!((r.last.closed, r.last.why.clone()), (true, unsolicited));
    // An answer that arrived before the request was written is not its answer.
    let mut r = rig();
    r.post().hear(OK);
    assert_eq!(r.reply().status, 200);
    r.said();
    r.begin("POST", &["x"]).unwrap();
    r.hear(OK);
    let failure = r.failure();
    assert!(!failure.sent && failure.may_repeat() && r.said().is_empty());
}

#[test]
fn a_reused_connection_that_the_peer_had_closed_can_be_told_from_a_lost_request() {
    // Closed while idle, and noticed before anything was written.
    let mut r = rig();
    r.post().hear(OK);
    r.reply();
    r.begin("POST", &["x"]).unwrap();
    r.peer.close();
    r.turn();
    assert_eq!(r.failure(), Failure { why: Closed::Peer, sent: false, reused: true });
    // Closed while idle, and the request was written before the close was noticed.
    let mut r = rig();
    r.post().hear(OK);
    r.reply();
    r.peer.close();
    r.begin("POST", &["x"]).unwrap();
    assert!(!r.conn.flush(r.now).again);
    r.turn();
    let failure = r.failure();
    assert_eq!(failure, Failure { why: Closed::Peer, sent: true, reused: true });
    assert!(failure.may_repeat() && r.last.closed);
    // After a byte of an answer, the request counts as processed.
    let mut r = rig();
    r.post().hear(OK);
    r.reply();
    r.post().hear("H").peer.close();
    r.turn();
    assert_eq!(r.failure(), Failure { why: Closed::Peer, sent: true, reused: false });
    // The first request of a connection.
    let mut r = rig();
    r.post().peer.close();
    r.turn();
    let failure = r.failure();
    assert_eq!(failure, Failure { why: Closed::Peer, sent: true, reused: false });
    assert!(!failure.may_repeat());
    // An idle connection ends without a failure.
    let mut r = rig();
    r.peer.close();
    r.turn();
    assert!(r.last.closed && r.conn.poll_done().is_none() && !r.conn.can_start());
}

#[test]
fn an_answer_before_the_request_is_out_stops_it_and_ends_the_connection() {
    let mut r = rig_with(ClientConfig::default(), 100);
    r.begin("POST", &["0123456789"; 100]).unwrap();
    r.turn();
    assert_eq!(r.conn.io().unread(), 100, "the pipe is full");
    r.hear("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno");
    assert!(r.conn.poll_done().is_none());
    r.said();
    r.hear("!");
    assert_eq!(r.said(), "", "nothing more was written");
    let reply = r.reply();
    assert_eq!((reply.status, &reply.body[..]), (413, &b"no!"[..]));
    assert!(r.last.closed);
}

#[test]
fn an_answer_is_found_when_writing_fails() {
    let mut r = rig_with(ClientConfig::default(), 100);
    r.begin("POST", &["0123456789"; 100]).unwrap();
    r.turn();
    r.said();
    r.peer.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").unwrap();
    r.conn.io().close(); // writing fails from here on
    assert!(r.conn.flush(r.now).again, "somebody has to look why");
    r.turn();
    assert_eq!(r.reply().status, 503);
    let mut r = rig();
    r.conn.io().close();
    r.post();
    assert_eq!(r.failure(), Failure { why: Closed::Io(ErrorKind::BrokenPipe), sent: false, reused: false });
}

#[test]
fn a_request_is_not_out_before_the_flush_succeeds() {
    let mut r = rig();
    r.conn.io().cork(true);
    r.post();
    assert_eq!(r.said(), "");
    r.conn.io().cork(false);
    let _ = r.conn.flush(r.now);
    assert!(r.said().ends_with("hello world"));
    assert_eq!(r.hear(OK).reply().status, 200);
    assert!(r.conn.can_start());
    r.conn.io().cork(true);
    r.post().hear(OK);
    assert_eq!(r.reply().status, 200);
    assert!(r.last.closed, "an answer to a request that was not out yet");
    let mut r = rig();
    r.conn.io().break_flush(ErrorKind::ConnectionReset);
    r.post();
    assert_eq!(r.failure().why, Closed::Io(ErrorKind::ConnectionReset));
}

#[test]
fn a_deadline_ends_request_and_connection() {
    let mut r = rig();
    r.post().hear("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    r.now = 11 * SEC - 1;
    r.turn();
    assert!(r.conn.poll_done().is_none());
    r.now += 1;
    let _ = r.conn.flush(r.now);
    let failure = r.failure();
    assert_eq!(failure, Failure { why: Closed::Timeout("deadline"), sent: true, reused: false });
    assert!(!failure.may_repeat() && r.turn().last.closed && r.conn.poll_timeout().is_none());
    assert_eq!(r.begin("GET", &[]), Err(NotReady::Connection));
}

#[test]
fn a_long_body_is_cut_and_a_very_long_one_ends_the_connection() {
    let cfg = || ClientConfig { max_body: 1000, read_budget: 5000, ..ClientConfig::default() };
    for (length, chunked, kept) in [
        (1000, false, true),
        (1001, false, true),
        (200_000, false, true),
        (300_000, false, false),
        (200_000, true, true),
        (300_000, true, false),
    ] {
        let mut r = rig_with(cfg(), usize::MAX);
        let body = "x".repeat(length);
        let (head, body) = if chunked {
            ("Transfer-Encoding: chunked".to_owned(), format!("{length:x}\r\n{body}\r\n0\r\n\r\n"))
        } else {
            (format!("Content-Length: {length}"), body)
        };
        r.post().hear(format!("HTTP/1.1 400 Bad\r\n{head}\r\n\r\n{body}"));
        let reply = r.reply();
        assert_eq!((reply.body.len(), reply.cut), (1000, length > 1000));
        assert_eq!(r.conn.can_start(), kept, "{length} {chunked}");
    }
    // A body with a length that will not be read to its end is neither awaited nor allocated.
    let mut r = rig_with(cfg(), usize::MAX);
    r.post().hear(format!("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n{}", "x".repeat(1001)));
    assert!(r.reply().cut && r.last.closed);
}

#[test]
fn a_tunnel_hands_its_stream_over_untouched() {
    let mut r = rig();
    r.asked("CONNECT");
    assert_eq!(r.said(), "CONNECT h:443 HTTP/1.1\r\nHost: h\r\nX-Key: v\r\n\r\n");
    r.hear("HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(r.reply().status, 200);
    assert!(!r.conn.can_start() && !r.last.closed);
    r.hear("TLS says");
    assert_eq!(r.begin("GET", &[]), Err(NotReady::Connection));
    let mut io = r.conn.into_io().unwrap();
    let mut bytes = [0; 16];
    assert_eq!(io.read(&mut bytes).unwrap(), 8, "what is behind the head was not read");
    let mut r = rig();
    r.asked("CONNECT").hear("HTTP/1.1 200 OK\r\n\r\nearly");
    assert!(matches!(r.failure().why, Closed::Protocol(_)) && r.conn.into_io().is_none());
    let mut r = rig();
    r.asked("CONNECT").hear("HTTP/1.1 407 Auth\r\nContent-Length: 4\r\n\r\nwho?");
    assert_eq!((r.reply().status, r.conn.can_start()), (407, true));
    assert!(r.conn.into_io().is_none());
}

#[test]
fn either_side_can_end_the_connection_with_a_request() {
    let mut r = rig();
    let headers = [("Host", "h"), ("Connection", "close")];
    let request = Outgoing { method: "GET", target: "http://h/", headers, body: [], deadline: None };
    r.conn.start(r.now, request).unwrap();
    r.turn().hear(OK);
    assert!(r.reply().status == 200 && r.last.closed);
    let mut r = rig();
    r.post();
    r.conn.close();
    assert_eq!(r.failure().why, Closed::Local("closed"));
    assert!(r.turn().last.closed);
}
