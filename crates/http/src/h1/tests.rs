//! Requests written by hand into a pipe in memory, under a virtual clock.

use std::rc::Rc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::pipe::{End, pipe};

const SEC: u64 = 1_000_000_000;

/// Refuses paths under `/no`, limits bodies under `/small`, and counts.
#[derive(Default)]
struct Porter {
    limit: Option<u64>,
    grown: Vec<u64>,
    max_held: Option<u64>,
}

impl Door for Porter {
    type Permit = ();

    fn head(&mut self, head: &RequestHead) -> Result<((), BodyLimit), Response> {
        if head.path().starts_with("/no") {
            return Err(Response::text(403, "no"));
        }
        Ok(((), BodyLimit(self.limit.unwrap_or(1 << 30))))
    }

    fn grow(&mut self, (): &mut (), to: u64) -> Result<(), Response> {
        self.grown.push(to);
        if self.max_held.is_some_and(|max| to > max) { Err(Response::text(503, "full")) } else { Ok(()) }
    }

    fn too_large(&mut self, _: &RequestHead) -> Response {
        Response::text(400, "http: request body too large")
    }
}

struct Rig {
    now: u64,
    peer: End,
    conn: H1Conn<End, ()>,
    door: Porter,
    last: Turn,
    seen: Vec<String>,
    hold: bool,
    waiting: Vec<RequestId>,
}

impl Rig {
    fn new(cfg: H1Config) -> Self {
        let (peer, end) = pipe(usize::MAX);
        let conn = H1Conn::new(end, Rc::new(cfg), SEC);
        let (door, last) = (Porter::default(), Turn::default());
        Self { now: SEC, peer, conn, door, last, seen: Vec::new(), hold: false, waiting: Vec::new() }
    }

    fn send(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self.peer.write_all(text.as_ref()).unwrap();
        self.turn()
    }

    /// Calls `turn` until nothing changes; answers everything at once unless set to hold the answers.
    fn turn(&mut self) -> &mut Self {
        loop {
            self.last = self.conn.turn(self.now, &mut self.door);
            while let Some(r) = self.conn.poll_request() {
                let body = String::from_utf8_lossy(&r.body).into_owned();
                self.seen.push(format!("{} {} {body}", r.head.method(), r.head.target()));
                if self.hold {
                    self.waiting.push(r.id);
                } else {
                    self.conn.respond(r.id, Response::text(200, format!("<{body}>")));
                }
            }
            let flushed = self.conn.flush(self.now);
            let again = self.last.again || flushed.again;
            self.last = flushed;
            if !again {
                return self;
            }
        }
    }

    fn said(&mut self) -> String {
        String::from_utf8(self.peer.drain()).unwrap()
    }

    fn statuses(&mut self) -> Vec<u16> {
        let said = self.said();
        said.match_indices("HTTP/1.1 ").map(|(at, m)| said[at + m.len()..][..3].parse().unwrap()).collect()
    }
}

fn rig() -> Rig {
    Rig::new(H1Config::default())
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_request_is_answered_and_the_connection_kept() {
    let mut r = rig();
    r.send(post("/v1/traces?x=1", "hello"));
    assert_eq!(r.seen, ["POST /v1/traces?x=1 hello"]);
    let want = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 7\r\n\r\n<hello>";
    assert_eq!(r.said(), want);
    assert!(r.conn.is_idle() && !r.last.shut_write && r.conn.held() == 0);
    r.send("\r\n\r\nGET http://a:80/metrics?a=b HTTP/1.1\r\nhOsT: a\r\n\r\n");
    assert_eq!(r.seen[1], "GET http://a:80/metrics?a=b ");
    assert_eq!(r.statuses(), [200]);
}

#[test]
fn heads_are_read_as_they_came() {
    let mut r = rig();
    r.peer
        .write_all(b"PUT http://h/p/q?k=v&l HTTP/1.1\r\nHost: h\r\nX-A:  one \r\nx-a: two\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let _ = r.conn.turn(r.now, &mut r.door);
    let head = r.conn.poll_request().unwrap().head;
    assert_eq!((head.method(), head.path(), head.query(), head.version()), ("PUT", "/p/q", Some("k=v&l"), 1));
    assert_eq!(head.get("x-A"), Some(&b"one"[..]));
    assert_eq!(head.headers().filter(|(n, _)| n.eq_ignore_ascii_case("x-a")).count(), 2);
    assert_eq!((head.content_length(), head.is_chunked(), head.get("none")), (Some(0), false, None));
    for (target, path, query) in
        [("http://h", "/", None), ("http://h?q", "/", Some("q")), ("/?", "/", Some("")), ("*", "*", None)]
    {
        let mut r = rig();
        r.peer.write_all(format!("OPTIONS {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
        let _ = r.conn.turn(r.now, &mut r.door);
        let head = r.conn.poll_request().unwrap().head;
        assert_eq!((head.path(), head.query()), (path, query), "{target}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_whatever_the_order_of_answers() {
    let mut r = rig();
    r.hold = true;
    r.send((0..5).map(|i| post(&format!("/{i}"), &i.to_string())).collect::<String>());
    assert_eq!(r.waiting.len(), 5);
    for i in [3, 0, 4, 2, 1] {
        let id = r.waiting[i];
        r.conn.respond(id, Response::text(200, format!("[{i}]")));
        r.conn.respond(id, Response::text(500, "twice"));
        r.turn();
    }
    let said = r.said();
    let order: Vec<usize> = (0..5).map(|i| said.find(&format!("[{i}]")).unwrap()).collect();
    assert!(order.is_sorted() && !said.contains("500"), "{said}");
}

#[test]
fn a_long_pipeline_waits_its_turn_and_nothing_is_lost() {
    let mut r = rig();
    r.hold = true;
    r.send((0..100).map(|i| post("/", &i.to_string())).collect::<String>());
    assert_eq!(r.waiting.len(), PIPELINE);
    let mut answered = 0;
    while answered < r.waiting.len() {
        let id = r.waiting[answered];
        r.conn.respond(id, Response::text(204, ""));
        answered += 1;
        r.turn();
        assert!(r.waiting.len() - answered <= PIPELINE);
    }
    assert_eq!((answered, r.statuses().len(), &r.seen[99][..]), (100, 100, "POST / 99"));
}

#[test]
fn chunks_extensions_and_trailers_are_understood() {
    let mut r = rig();
    r.send("POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
            5\r\nhello\r\n1;name=value\r\n \r\n00A ; x\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(r.seen, ["POST /c hello 0123456789", "GET /next "]);
    assert_eq!(r.statuses(), [200, 200]);
}

#[test]
fn broken_chunks_are_refused_and_the_connection_closed() {
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
        let mut r = rig();
        r.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        assert_eq!(r.statuses(), [400], "{body:?}");
        assert!(r.seen.is_empty() && r.last.shut_write && !r.last.closed);
    }
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
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
        let mut r = rig();
        r.send([text, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
        let said = r.said();
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{text:?}: {said}");
        assert!(said.contains("Connection: close") && r.seen.is_empty() && r.last.shut_write, "{text:?}");
    }
    let mut r = rig();
    r.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(r.seen, ["POST / ok"], "the same length twice is no conflict");
}

#[test]
fn what_cannot_begin_a_method_is_refused_without_waiting_for_a_head_to_end() {
    for text in ["\x16\x03\x01\x02\0\x01", "\r\n\r\n\x16", " GET", "\n", "\0", "{", "\u{f6}"] {
        let mut r = rig();
        let said = r.send(text).said();
        assert!(
            said.starts_with("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"),
            "{text:?}"
        );
        assert!(
            said.contains("Connection: close\r\n") && said.ends_with("\r\n\r\n400 Bad Request"),
            "{text:?}: {said}"
        );
        assert!(r.last.shut_write && !r.last.closed);
    }
    let mut r = rig();
    for piece in ["\r", "\n", "!", "#~"] {
        assert_eq!(r.send(piece).said(), "", "a token may still become a method");
    }
}

#[test]
fn a_connection_that_only_refuses_says_so_and_takes_nothing() {
    let (peer, end) = pipe(usize::MAX);
    let why = Closed::Protocol("wrong door".to_owned());
    let mut r = rig();
    r.conn =
        H1Conn::refusing(end, Rc::new(H1Config::default()), SEC, b"HTTP/1.0 400 Bad Request\r\n\r\nno\n", why.clone());
    r.peer = peer;
    assert_eq!(r.turn().said(), "HTTP/1.0 400 Bad Request\r\n\r\nno\n");
    assert_eq!(r.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").said(), "");
    assert!(r.seen.is_empty() && r.last.shut_write && !r.last.closed && r.last.why == Some(why));
    r.now = r.conn.poll_timeout().unwrap();
    assert!(r.turn().last.closed, "it waits for the peer to leave, but not for ever");
}

#[test]
fn an_oversized_head_is_431_and_a_head_of_the_limit_is_not() {
    let cfg = || H1Config { max_head: 1000, ..H1Config::default() };
    let frame = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    for (pad, status) in [(1000 - frame, 200), (1001 - frame, 431), (5000, 431)] {
        let mut r = Rig::new(cfg());
        r.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(pad)));
        assert_eq!(r.statuses(), [status], "{pad}");
    }
    let mut r = Rig::new(cfg());
    r.send("x".repeat(1001));
    assert_eq!(r.statuses(), [431], "without waiting for an end that never comes");
    let mut r = rig();
    r.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(2000)));
    assert_eq!(r.statuses(), [431]);
}

#[test]
fn an_http2_client_is_recognized() {
    let mut r = rig();
    r.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(r.last.closed);
    assert_eq!(r.last.why, Some(Closed::Http2Preface));
}

#[test]
fn bodies_over_the_limit_get_the_doors_answer_and_a_close() {
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
        let mut r = rig();
        r.door.limit = Some(100);
        r.send(request);
        let said = r.said();
        assert!(said.starts_with("HTTP/1.1 400 ") && said.ends_with("http: request body too large"), "{said}");
        assert!(r.last.shut_write && r.seen.is_empty());
        assert_eq!(r.door.grown.is_empty(), known || r.door.grown.iter().all(|g| *g <= 100));
    }
    let mut r = rig();
    r.door.limit = Some(100);
    r.send(post("/", &"x".repeat(100)));
    assert_eq!(r.statuses(), [200]);
}

#[test]
fn a_refused_body_is_read_out_if_it_is_short_and_cut_off_if_it_is_long() {
    let mut r = rig();
    r.send([post("/no", &"x".repeat(1000)), post("/yes", "1")].concat());
    assert_eq!((r.statuses(), r.seen.len()), (vec![403, 200], 1));
    r.send(post("/no", &"x".repeat(300 << 10)));
    assert_eq!(r.statuses(), [403]);
    assert!(r.last.shut_write && !r.last.closed, "it is read on so that the answer survives");
    r.peer.close();
    r.turn();
    assert!(r.last.closed);
    let mut r = rig();
    r.send("POST /no HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /yes HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((r.statuses(), r.seen.len()), (vec![403, 200], 1));
    let mut r = rig();
    r.send("POST /no HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..30 {
        r.send(format!("2800\r\n{}\r\n", "x".repeat(0x2800)));
    }
    assert!(r.last.shut_write, "an endless refused body");
}

#[test]
fn a_body_that_memory_has_no_room_for_is_refused_while_it_grows() {
    let mut r = rig();
    r.door.max_held = Some(10_000);
    r.send("POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n".to_owned() + &"x".repeat(100));
    assert_eq!(r.door.grown, [400], "four times what came, not what was promised");
    r.send("x".repeat(19_900));
    assert_eq!(r.statuses(), [503]);
    r.send(post("/ok", "1"));
    assert_eq!(r.statuses(), [200], "the connection goes on");
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on_or_not() {
    let ask =
        |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n");
    let mut r = rig();
    r.send(ask("/"));
    assert_eq!(r.said(), "HTTP/1.1 100 Continue\r\n\r\n");
    r.send("ok");
    assert_eq!(r.statuses(), [200]);
    r.send(ask("/") + "ok");
    assert_eq!(r.statuses().last(), Some(&200));
    r.send(ask("/no"));
    let said = r.said();
    assert!(said.starts_with("HTTP/1.1 403") && said.contains("Connection: close"));
    // After a request that is not answered yet, `100 Continue` has to wait.
    let mut r = rig();
    r.hold = true;
    r.send(post("/first", "") + &ask("/second"));
    assert_eq!(r.said(), "");
    let id = r.waiting[0];
    r.conn.respond(id, Response::text(200, "first"));
    r.turn();
    assert!(r.said().ends_with("firstHTTP/1.1 100 Continue\r\n\r\n"));
}

#[test]
fn head_and_bodyless_statuses_have_no_body() {
    let mut r = rig();
    r.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let said = r.said();
    assert!(said.contains("Content-Length: 2\r\n") && said.ends_with("\r\n\r\n"), "{said}");
    r.hold = true;
    r.send(post("/", ""));
    let id = r.waiting[0];
    r.conn.respond(id, Response::text(204, "nothing"));
    r.turn();
    let said = r.said();
    assert!(said.starts_with("HTTP/1.1 204 No Content\r\n") && !said.contains("nothing") && !said.contains("Length"));
}

#[test]
fn connections_close_when_either_side_says_so() {
    for (request, close) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n", true),
        ("GET / HTTP/1.0\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
    ] {
        let mut r = rig();
        r.send(request);
        let said = r.said();
        assert_eq!((said.contains("Connection: close"), r.last.shut_write), (close, close), "{request:?}");
        assert_eq!(said.contains("Connection: keep-alive"), !close && request.contains("1.0"));
    }
    let mut r = Rig::new(H1Config { keep_alive: false, ..H1Config::default() });
    r.send([post("/1", "a"), post("/2", "b")].concat());
    assert_eq!((r.statuses(), r.seen.len()), (vec![200], 1));
    assert!(!r.last.closed);
    r.now = r.conn.poll_timeout().unwrap();
    r.turn();
    assert!(r.last.closed, "a peer that does not leave is left");
}

#[test]
fn headers_from_elsewhere_cannot_break_the_answer() {
    let mut r = rig();
    r.hold = true;
    r.send(post("/", ""));
    let evil = Response::text(200, "ok")
        .header("X-Good", "1")
        .header("X-Evil", "1\r\nX-Injected: 1")
        .header("X Evil", "1")
        .header("Content-Length", "99")
        .header("Transfer-Encoding", "chunked");
    r.conn.respond(r.waiting[0], evil);
    r.turn();
    let said = r.said();
    assert!(
        said.contains("X-Good: 1\r\n") && !said.contains("Evil") && !said.contains("99") && !said.contains("chunked")
    );
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    let mut r = rig();
    r.hold = true;
    r.send(post("/", "x"));
    r.peer.close();
    r.turn();
    assert!(!r.last.closed);
    r.conn.respond(r.waiting[0], Response::text(200, "late"));
    r.turn();
    assert!(r.said().ends_with("late") && r.last.closed);
    let mut r = rig();
    r.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    r.peer.close();
    r.turn();
    assert_eq!((r.last.closed, &r.last.why, r.seen.len()), (true, &Some(Closed::Peer), 0));
}

#[test]
fn a_drain_answers_what_is_here_and_takes_nothing_new() {
    let mut r = rig();
    r.conn.drain();
    r.turn();
    assert!(r.last.shut_write, "an idle connection leaves at once");
    let mut r = rig();
    r.hold = true;
    r.send(post("/1", "a"));
    r.conn.drain();
    r.send(post("/2", "b"));
    assert_eq!(r.seen.len(), 1);
    r.conn.respond(r.waiting[0], Response::text(200, "done"));
    r.turn();
    let said = r.said();
    assert!(said.contains("Connection: close") && said.ends_with("done") && r.last.shut_write);
}

#[test]
fn every_timeout_fires_when_it_should_and_not_before() {
    let cfg = || H1Config {
        read_header_timeout: Some(10 * SEC),
        read_timeout: Some(30 * SEC),
        write_timeout: Some(40 * SEC),
        idle_timeout: Some(60 * SEC),
        ..H1Config::default()
    };
    let wait = |r: &mut Rig, by: u64| {
        assert_eq!(r.conn.poll_timeout(), Some(r.now + by));
        r.now += by - 1;
        r.turn();
        assert!(!r.last.closed && !r.last.shut_write);
        r.now += 1;
        r.turn();
    };
    let mut r = Rig::new(cfg());
    wait(&mut r, 10 * SEC);
    assert_eq!((r.last.closed, &r.last.why), (true, &Some(Closed::Timeout("read_header_timeout"))));

    let mut r = Rig::new(cfg());
    r.send("GET / HT");
    wait(&mut r, 10 * SEC);
    assert!(r.last.closed);

    let mut r = Rig::new(cfg());
    r.send(post("/", "a"));
    r.said();
    wait(&mut r, 60 * SEC);
    assert_eq!((r.last.closed, &r.last.why), (true, &Some(Closed::Timeout("idle_timeout"))));

    let mut r = Rig::new(cfg());
    r.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    wait(&mut r, 30 * SEC);
    assert_eq!((r.statuses(), &r.last.why), (vec![408], &Some(Closed::Timeout("read_timeout"))));

    let mut r = Rig::new(cfg());
    r.hold = true;
    r.send(post("/", "a"));
    wait(&mut r, 40 * SEC);
    assert_eq!((r.last.closed, &r.last.why), (true, &Some(Closed::Timeout("write_timeout"))));

    let mut r = Rig::new(H1Config::default());
    r.send("GET / HT");
    assert_eq!(r.conn.poll_timeout(), None);
}

#[test]
fn a_slow_reader_gets_everything_and_one_who_never_reads_is_timed_out() {
    let (mut peer, end) = pipe(100);
    let cfg = H1Config { write_timeout: Some(SEC), ..H1Config::default() };
    let mut conn: H1Conn<End, ()> = H1Conn::new(end, Rc::new(cfg), SEC);
    let mut door = Porter::default();
    peer.write_all(post("/", "x").as_bytes()).unwrap();
    let _ = conn.turn(SEC, &mut door);
    let body: Bytes = "y".repeat(5000).into();
    let id = conn.poll_request().unwrap().id;
    conn.respond(id, Response::text(200, body.clone()));
    let mut got = Vec::new();
    while !got.ends_with(&body) {
        assert!(got.len() < 6000);
        assert!(!conn.flush(SEC).closed);
        got.extend(peer.drain());
    }
    peer.write_all(post("/", "x").as_bytes()).unwrap();
    let _ = conn.turn(SEC, &mut door);
    let id = conn.poll_request().unwrap().id;
    conn.respond(id, Response::text(200, body));
    assert!(!conn.flush(SEC).closed);
    assert_eq!(conn.poll_timeout(), Some(2 * SEC));
    assert!(conn.turn(2 * SEC, &mut door).closed);
}

#[test]
fn one_greedy_connection_is_read_no_further_than_its_budget() {
    let mut r = Rig::new(H1Config { read_budget: 1000, ..H1Config::default() });
    r.peer.write_all(post("/", &"x".repeat(5000)).as_bytes()).unwrap();
    let before = r.peer.unread();
    assert!(r.conn.turn(r.now, &mut r.door).again);
    assert_eq!(before - r.peer.unread(), 1000);
    r.turn();
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

fn outcome(pieces: impl IntoIterator<Item = Vec<u8>>) -> (Vec<String>, String) {
    let mut r = rig();
    for piece in pieces {
        r.send(piece);
    }
    (r.seen.clone(), r.said())
}

#[test]
fn a_stream_cut_anywhere_means_the_same() {
    let all = stream();
    let want = outcome([all.clone()]);
    assert_eq!(want.0.len(), 6);
    for cut in 0..all.len() {
        assert_eq!(outcome([all[..cut].to_vec(), all[cut..].to_vec()]), want, "cut at {cut}");
    }
    assert_eq!(outcome(all.iter().map(|b| vec![*b])), want, "byte by byte");
}

#[test]
fn an_answer_that_a_flush_could_not_push_out_is_not_said_yet() {
    let cfg = H1Config { write_timeout: Some(5 * SEC), idle_timeout: Some(SEC), ..H1Config::default() };
    let mut r = Rig::new(cfg);
    r.conn.io().cork(true);
    r.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!((r.said().as_str(), r.last.shut_write, r.conn.is_idle()), ("", false, false));
    assert_eq!(r.conn.poll_timeout(), Some(6 * SEC), "the write timeout goes on");
    r.peer.close();
    r.turn();
    assert!(!r.last.shut_write && !r.last.closed, "a client that half-closed still waits");
    r.conn.io().cork(false);
    r.turn();
    assert_eq!(r.statuses(), [200]);
    assert!(r.last.shut_write && r.last.closed);
}

#[test]
fn a_flush_that_blocks_for_too_long_or_fails_ends_the_connection() {
    let mut r = Rig::new(H1Config { write_timeout: Some(5 * SEC), ..H1Config::default() });
    r.conn.io().cork(true);
    r.send(post("/", "x"));
    r.now += 5 * SEC;
    r.turn();
    assert_eq!((r.last.closed, r.last.why.clone()), (true, Some(Closed::Timeout("write_timeout"))));
    let mut r = rig();
    r.conn.io().break_flush(ErrorKind::ConnectionReset);
    r.send(post("/", "x"));
    assert_eq!((r.last.closed, r.last.why.clone()), (true, Some(Closed::Io(ErrorKind::ConnectionReset))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_cut_into_any_pieces_means_the_same(cuts in prop::collection::vec(1..60_usize, 1..40)) {
        let all = stream();
        let mut pieces = Vec::new();
        let mut rest = &all[..];
        for cut in cuts {
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece.to_vec());
            rest = tail;
        }
        pieces.push(rest.to_vec());
        prop_assert_eq!(outcome(pieces), outcome([all.clone()]));
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0..200_usize) {
        let mut all = stream();
        let at = at.min(all.len());
        all.splice(at..at, bytes);
        let mut r = rig();
        r.send(all);
        r.peer.close();
        r.turn();
        r.now += LINGER;
        r.turn();
        prop_assert!(r.last.closed);
    }
}

#[test]
fn body_that_stops_arriving_is_answered_with_408() {
    let mut r = rig();
    r.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    r.now += 59 * SEC;
    r.send("d");
    r.now += 59 * SEC;
    r.turn();
    assert!(r.said().is_empty(), "it makes progress");
    r.now += SEC;
    r.turn();
    assert_eq!(r.statuses(), [408]);
}

#[test]
fn refuse_reading_answers_the_request_whose_body_is_read() {
    let mut r = rig();
    r.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    r.conn.refuse_reading(r.now, |()| false, |()| Response::text(503, "no room"));
    r.turn();
    assert!(r.said().is_empty());
    r.conn.refuse_reading(r.now, |()| true, |()| Response::text(503, "no room"));
    r.turn();
    assert_eq!((r.statuses(), r.conn.held()), (vec![503], 0));
    // The rest is discarded, and the next request is served.
    r.send("x".repeat(97)).send(post("/next", "hello"));
    assert_eq!(r.statuses(), [200]);
    assert_eq!(r.seen, ["POST /next hello"]);
}

#[test]
fn streamed_answer_each_piece_is_wanted_when_the_one_before_is_written() {
    let mut r = rig();
    r.hold = true;
    r.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    let (a, b) = (r.waiting[0], r.waiting[1]);
    assert!(r.conn.is_turn(a) && !r.conn.is_turn(b));
    assert!(r.conn.respond_streaming(a, Response::text(200, "")));
    r.conn.respond(b, Response::text(200, "b"));
    assert!(!r.conn.wants(a), "its head is not written yet");
    r.turn();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!((r.said().as_str(), r.conn.wants(a), r.conn.wants(b)), (head, true, false));
    r.conn.io().cork(true);
    r.conn.give(r.now, a, "x".repeat(18).into());
    r.turn();
    assert!(!r.conn.wants(a) && r.conn.is_streaming(a) && !r.conn.is_idle());
    r.conn.io().cork(false);
    r.turn();
    assert!(r.conn.wants(a));
    r.conn.finish(a, r.now);
    r.turn();
    let said = r.said();
    assert!(said.starts_with("12\r\nxxxxxxxxxxxxxxxxxx\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n"), "{said}");
    assert!(said.ends_with("Content-Length: 1\r\n\r\nb") && r.conn.is_idle());
}

#[test]
fn streamed_answer_before_http_1_1_ends_with_the_connection_and_head_has_none() {
    let mut r = rig();
    r.hold = true;
    r.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let id = r.waiting[0];
    assert!(r.conn.respond_streaming(id, Response::new(200, "", "")));
    r.turn();
    r.conn.give(r.now, id, "abc".into());
    r.turn();
    r.conn.finish(id, r.now);
    r.turn();
    assert_eq!(r.said(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
    assert!(r.last.shut_write);

    let mut r = rig();
    r.hold = true;
    r.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(!r.conn.respond_streaming(r.waiting[0], Response::new(200, "", "")));
    r.turn();
    assert!(r.said().starts_with("HTTP/1.1 200 OK\r\n") && r.conn.is_idle());
}

#[test]
fn streamed_answer_that_nobody_reads_or_that_is_cut_off_ends_the_connection() {
    for cfg in [H1Config::default(), H1Config { write_timeout: Some(5 * SEC), ..H1Config::default() }] {
        let limit = cfg.write_timeout.unwrap_or(STALL);
        let mut r = Rig::new(cfg);
        r.hold = true;
        r.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let id = r.waiting[0];
        r.conn.respond_streaming(id, Response::new(200, "", ""));
        r.turn();
        r.conn.io().cork(true);
        r.conn.give(r.now, id, "abc".into());
        r.turn();
        assert_eq!(r.conn.poll_timeout(), Some(r.now + limit));
        r.now += limit;
        r.turn();
        assert_eq!(r.last.why, Some(Closed::Timeout("write_timeout")));
        assert!(r.last.closed && !r.conn.is_streaming(id));
    }
    let mut r = rig();
    r.hold = true;
    r.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let id = r.waiting[0];
    r.conn.respond_streaming(id, Response::new(200, "", ""));
    r.turn();
    r.conn.give(r.now, id, "abc".into());
    r.turn();
    r.conn.abandon(id);
    r.turn();
    assert!(r.last.closed && !r.said().contains("0\r\n\r\n"));
}

#[test]
fn refuse_head_answers_an_unfinished_head_and_closes() {
    let mut r = rig();
    r.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(10_000)));
    assert!(r.conn.unadmitted() >= 10_000);
    r.conn.refuse_head(r.now, Response::text(503, "no room"));
    r.turn();
    assert_eq!(r.statuses(), [503]);
    assert!(r.last.shut_write && r.conn.unadmitted() == 0);
    // Between requests there is nothing to refuse.
    let mut r = rig();
    r.send(post("/", "x"));
    r.conn.refuse_head(r.now, Response::text(503, "no room"));
    r.send(post("/", "x"));
    assert_eq!(r.statuses(), [200, 200]);
}

#[test]
fn head_whose_lines_all_end_in_line_feeds_is_taken_in_any_pieces() {
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
                } else if let Some(head) = buffer.feed(&mut piece).unwrap() {
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

fn head_of(fields: usize) -> Result<Option<RequestHead>, BadHead> {
    let fields: String = (0..fields).map(|n| format!("x-{n}: y\r\n")).collect();
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    HeadBuffer::new(64 << 10).feed(&mut text.as_bytes())
}

#[test]
fn header_fields_up_to_1024_are_taken() {
    for fields in [10, 63, 64, 127, 128, 500, 1023] {
        assert_eq!(head_of(fields).unwrap().unwrap().headers().count(), fields + 1, "{fields}");
    }
    assert_eq!(head_of(1024).unwrap_err(), BadHead::TooLarge);
}

#[test]
fn path_with_empty_or_dotted_segments_belongs_elsewhere() {
    let clean = |target: &str| {
        let text = format!("POST {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        HeadBuffer::new(1000).feed(&mut text.as_bytes()).unwrap().unwrap().clean_target()
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
