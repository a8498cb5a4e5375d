//! HTTP/1.1, both sides, with a peer that may send anything.
//!
//! Checks: the same bytes give the same requests, responses and outcomes for every division into pieces; memory is
//! proportional to the input; and the connection ends after the peer is silent or has closed.

use std::io::Write;
use std::rc::Rc;

use bytes::Bytes;
use otelcore_http::h1::client::{H1ClientConn, H1ClientConnConfig, OutgoingRequest};
use otelcore_http::h1::{H1ServerConn, HttpServerConnConfig, RequestHead, Response};
use otelcore_http::{Admission, PollResult};

use crate::input::{Input, digest};
use crate::pipe::pipe;

const SEC: u64 = 1_000_000_000;
const LIMIT: u64 = 60_000;
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

struct CheckedAdmission;

impl Admission<RequestHead> for CheckedAdmission {
    type Permit = ();

    fn admit_head(&mut self, head: &RequestHead) -> Result<(), Response> {
        assert!(head.path().len() <= head.target().len());
        if head.path().starts_with("/no") { Err(Response::text(403, "no")) } else { Ok(()) }
    }

    fn grow(&mut self, (): &mut (), to: u64) -> Result<(), Response> {
        assert!(to <= LIMIT, "a request to grow to {to} bytes");
        Ok(())
    }
}

/// The result of a server's input: the requests, and the responses without interim ones, which only a waiting client
/// receives.
fn run_server(bytes: &[u8], size: usize, options: u8) -> (Vec<String>, String) {
    let (mut peer, end) = pipe(usize::MAX);
    let cfg = HttpServerConnConfig {
        max_body: LIMIT,
        max_head: 4096,
        read_timeout: Some(10 * SEC),
        write_timeout: Some(10 * SEC),
        ..HttpServerConnConfig::default()
    };
    let mut conn = H1ServerConn::new(end, Rc::new(cfg), SEC);
    let (mut now, mut sent, mut requests, mut waiting, mut last) =
        (SEC, 0, Vec::new(), Vec::new(), PollResult::default());
    let hold_responses = options & 1 != 0;
    let mut turn = |conn: &mut H1ServerConn<_, ()>, now, sent: usize, respond: bool| {
        for n in 0.. {
            assert!(n < 10_000, "turns without end");
            last = conn.poll(now, &mut CheckedAdmission);
            while let Some(r) = conn.poll_request() {
                assert!(r.body.len() as u64 <= LIMIT);
                let (sum, fields) = (digest(&r.body), r.head.headers().count());
                requests.push(format!("{} {} {fields} {} {sum}", r.head.method(), r.head.target(), r.body.len()));
                waiting.push((r.id, requests.len()));
            }
            if respond {
                for (id, n) in waiting.drain(..) {
                    conn.respond(id, Response::text(200, n.to_string()));
                }
            }
            let held = conn.buffered_bytes();
            assert!(held <= 8192 + 8 * sent, "{held} bytes held of {sent} sent");
            let flushed = conn.flush(now);
            let work_left = last.poll_again || flushed.poll_again;
            last = flushed;
            if last.closed || !work_left {
                return last.closed;
            }
        }
        false
    };
    for piece in bytes.chunks(size) {
        sent += piece.len();
        let _ = peer.write(piece);
        if turn(&mut conn, now, sent, !hold_responses) {
            break;
        }
    }
    if options & 2 != 0 {
        peer.close();
    }
    let mut closed = false;
    for _ in 0..50 {
        turn(&mut conn, now, sent, true);
        if options & 4 != 0 {
            conn.drain();
        }
        closed = turn(&mut conn, now, sent, true);
        if closed {
            break;
        }
        now = now.max(conn.poll_timeout().expect("a connection that is open has a timer"));
    }
    assert!(closed, "a connection without a peer ends");
    let output = String::from_utf8(peer.read_all()).expect("every response is text");
    assert!(output.is_empty() || output.starts_with("HTTP/1.1 "));
    (requests, output.replace(CONTINUE, ""))
}

/// Bytes as a client's stream.
pub fn server(data: &[u8]) {
    let mut input = Input(data);
    let options = input.byte();
    let once = run_server(input.0, usize::MAX, options);
    for size in [1, 2 + usize::from(options >> 3)] {
        assert_eq!(once, run_server(input.0, size, options), "whole and in pieces of {size}");
    }
}

/// Status, header fields, digest and length of the body, and whether it was truncated.
type ClientResult = (u16, Vec<(String, Vec<u8>)>, u64, usize, bool);

/// The outcome of the first request.
fn run_client(bytes: &[u8], size: usize, options: u8) -> Option<ClientResult> {
    let (mut peer, end) = pipe(usize::MAX);
    let cfg = H1ClientConnConfig { max_head: 4096, max_body: 1000, ..H1ClientConnConfig::default() };
    let mut conn = H1ClientConn::new(end, Rc::new(cfg), SEC);
    let method = ["POST", "GET", "HEAD", "POST"][usize::from(options) % 4];
    let begin = |conn: &mut H1ClientConn<_>| {
        let body = if method == "POST" { vec![Bytes::from_static(b"hello")] } else { Vec::new() };
        let headers = [("Host", "h"), ("Connection", if options & 4 == 0 { "keep-alive" } else { "close" })];
        let deadline = Some(10 * SEC);
        conn.start(SEC, OutgoingRequest { method, target: "/v1/traces", headers, body, deadline })
    };
    begin(&mut conn).expect("a fresh connection takes a request");
    let mut first = None;
    let mut turn = |conn: &mut H1ClientConn<_>, now| {
        for n in 0.. {
            assert!(n < 10_000, "turns without end");
            let last = conn.poll(now);
            if let Some(done) = conn.poll_response() {
                if let Ok(reply) = &done {
                    assert!(reply.body.len() <= 1000 && (200..1000).contains(&reply.status));
                }
                first.get_or_insert(done);
                // The bytes that follow are the response to the next request.
                if options & 8 != 0 && conn.can_start() {
                    begin(conn).expect("an idle connection takes a request");
                }
            }
            if last.closed || !last.poll_again {
                return last.closed;
            }
        }
        false
    };
    turn(&mut conn, SEC);
    for piece in bytes.chunks(size) {
        let _ = peer.write(piece);
        if turn(&mut conn, SEC) {
            break;
        }
    }
    if options & 16 != 0 {
        peer.close();
    }
    turn(&mut conn, SEC);
    turn(&mut conn, 10 * SEC);
    if !conn.is_idle() {
        assert!(conn.poll(10 * SEC).closed, "what passed its deadline is over");
    }
    let reply = first.expect("a request has an outcome").ok()?;
    let headers = reply.head.headers().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
    Some((reply.status, headers, digest(&reply.body), reply.body.len(), reply.is_truncated))
}

/// Bytes as a server's responses.
pub fn client(data: &[u8]) {
    let mut input = Input(data);
    let options = input.byte();
    let once = run_client(input.0, usize::MAX, options);
    for size in [1, 2 + usize::from(options >> 3)] {
        assert_eq!(once, run_client(input.0, size, options), "whole and in pieces of {size}");
    }
}
