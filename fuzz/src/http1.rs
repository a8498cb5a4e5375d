//! HTTP/1.1, both sides, with a peer that may send anything.
//!
//! Checks: the same bytes give the same requests, answers and outcomes for every division into pieces; memory is
//! proportional to the input; and the connection ends after the peer is silent or has closed.

use std::io::Write;
use std::rc::Rc;

use bytes::Bytes;
use otelcore_http::Turn;
use otelcore_http::h1::client::{ClientConfig, ClientConn, Outgoing};
use otelcore_http::h1::{BodyLimit, Door, H1Config, H1Conn, RequestHead, Response};

use crate::input::{Input, digest};
use crate::pipe::pipe;

const SEC: u64 = 1_000_000_000;
const LIMIT: u64 = 60_000;
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

struct Porter;

impl Door for Porter {
    type Permit = ();

    fn head(&mut self, head: &RequestHead) -> Result<((), BodyLimit), Response> {
        assert!(head.path().len() <= head.target().len());
        if head.path().starts_with("/no") { Err(Response::text(403, "no")) } else { Ok(((), BodyLimit(LIMIT))) }
    }

    fn grow(&mut self, (): &mut (), to: u64) -> Result<(), Response> {
        assert!(to <= LIMIT, "asked to grow to {to} bytes");
        Ok(())
    }

    fn too_large(&mut self, _: &RequestHead) -> Response {
        Response::text(413, "too large")
    }
}

/// The result of a server's input: the requests, and the answers without interim ones, which are sent only to a client
/// that waits for them.
fn serve(bytes: &[u8], size: usize, how: u8) -> (Vec<String>, String) {
    let (mut peer, end) = pipe(usize::MAX);
    let cfg =
        H1Config { max_head: 4096, read_timeout: Some(10 * SEC), write_timeout: Some(10 * SEC), ..H1Config::default() };
    let mut conn = H1Conn::new(end, Rc::new(cfg), SEC);
    let (mut now, mut sent, mut seen, mut waiting, mut last) = (SEC, 0, Vec::new(), Vec::new(), Turn::default());
    let hold = how & 1 != 0;
    let mut turn = |conn: &mut H1Conn<_, ()>, now, sent: usize, answer: bool| {
        for n in 0.. {
            assert!(n < 10_000, "turns without end");
            last = conn.turn(now, &mut Porter);
            while let Some(r) = conn.poll_request() {
                assert!(r.body.len() as u64 <= LIMIT);
                let (sum, fields) = (digest(&r.body), r.head.headers().count());
                seen.push(format!("{} {} {fields} {} {sum}", r.head.method(), r.head.target(), r.body.len()));
                waiting.push((r.id, seen.len()));
            }
            if answer {
                for (id, n) in waiting.drain(..) {
                    conn.respond(id, Response::text(200, n.to_string()));
                }
            }
            let held = conn.held();
            assert!(held <= 8192 + 8 * sent, "{held} bytes held of {sent} sent");
            let flushed = conn.flush(now);
            let again = last.again || flushed.again;
            last = flushed;
            if last.closed || !again {
                return last.closed;
            }
        }
        false
    };
    for piece in bytes.chunks(size) {
        sent += piece.len();
        let _ = peer.write(piece);
        if turn(&mut conn, now, sent, !hold) {
            break;
        }
    }
    if how & 2 != 0 {
        peer.close();
    }
    let mut closed = false;
    for _ in 0..50 {
        turn(&mut conn, now, sent, true);
        if how & 4 != 0 {
            conn.drain();
        }
        closed = turn(&mut conn, now, sent, true);
        if closed {
            break;
        }
        now = now.max(conn.poll_timeout().expect("a connection that lives has a timer"));
    }
    assert!(closed, "a connection without a peer ends");
    let said = String::from_utf8(peer.drain()).expect("all that is said here is text");
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 "));
    (seen, said.replace(CONTINUE, ""))
}

/// Bytes as a client's stream.
pub fn server(data: &[u8]) {
    let mut input = Input(data);
    let how = input.byte();
    let once = serve(input.0, usize::MAX, how);
    for size in [1, 2 + usize::from(how >> 3)] {
        assert_eq!(once, serve(input.0, size, how), "whole and in pieces of {size}");
    }
}

/// Status, header fields, digest and length of the body, and whether it was truncated.
type Reply = (u16, Vec<(String, Vec<u8>)>, u64, usize, bool);

/// The outcome of the first request.
fn ask(bytes: &[u8], size: usize, how: u8) -> Option<Reply> {
    let (mut peer, end) = pipe(usize::MAX);
    let cfg = ClientConfig { max_head: 4096, max_body: 1000, ..ClientConfig::default() };
    let mut conn = ClientConn::new(end, Rc::new(cfg), SEC);
    let method = ["POST", "GET", "HEAD", "POST"][usize::from(how) % 4];
    let begin = |conn: &mut ClientConn<_>| {
        let body = if method == "POST" { vec![Bytes::from_static(b"hello")] } else { Vec::new() };
        let headers = [("Host", "h"), ("Connection", if how & 4 == 0 { "keep-alive" } else { "close" })];
        let deadline = Some(10 * SEC);
        conn.start(SEC, Outgoing { method, target: "/v1/traces", headers, body, deadline })
    };
    begin(&mut conn).expect("a fresh connection takes a request");
    let mut first = None;
    let mut turn = |conn: &mut ClientConn<_>, now| {
        for n in 0.. {
            assert!(n < 10_000, "turns without end");
            let last = conn.turn(now);
            if let Some(done) = conn.poll_done() {
                if let Ok(reply) = &done {
                    assert!(reply.body.len() <= 1000 && (200..1000).contains(&reply.status));
                }
                first.get_or_insert(done);
                // The bytes that follow are the answer to the next request.
                if how & 8 != 0 && conn.can_start() {
                    begin(conn).expect("an idle connection takes a request");
                }
            }
            if last.closed || !last.again {
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
    if how & 16 != 0 {
        peer.close();
    }
    turn(&mut conn, SEC);
    turn(&mut conn, 10 * SEC);
    if !conn.is_idle() {
        assert!(conn.turn(10 * SEC).closed, "what passed its deadline is over");
    }
    let reply = first.expect("a request has an outcome").ok()?;
    let headers = reply.head.headers().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
    Some((reply.status, headers, digest(&reply.body), reply.body.len(), reply.cut))
}

/// Bytes as a server's answers.
pub fn client(data: &[u8]) {
    let mut input = Input(data);
    let how = input.byte();
    let once = ask(input.0, usize::MAX, how);
    for size in [1, 2 + usize::from(how >> 3)] {
        assert_eq!(once, ask(input.0, size, how), "whole and in pieces of {size}");
    }
}
