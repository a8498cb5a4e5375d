//! A peer whose frames are written by the test, for input that no correct client sends.

use super::*;

pub(super) const POST_GRPC: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", EXPORT),
    (":authority", "a"),
    ("content-type", "application/grpc+proto"),
];

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

pub(super) struct Raw {
    pub(super) now: u64,
    pub(super) peer: End,
    pub(super) server: ServerConn<End, u64>,
    pub(super) gate: Bouncer,
    pub(super) last: Turn,
    pub(super) played: Vec<Frame>,
}

impl Raw {
    pub(super) fn silent(cfg: ServerConfig) -> Self {
        let (peer, end) = pipe(usize::MAX);
        let server = ServerConn::new(end, Rc::new(cfg), SEC, 1);
        Self { now: SEC, peer, server, gate: Bouncer::default(), last: Turn::default(), played: Vec::new() }
    }

    pub(super) fn new(cfg: ServerConfig) -> Self {
        let mut raw = Self::silent(cfg);
        raw.bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw.frame(4, 0, 0, &[]);
        raw.turn();
        raw.frames();
        raw
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        std::io::Write::write_all(&mut self.peer, bytes).unwrap();
    }

    pub(super) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut f = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        f.extend_from_slice(&[kind, flags]);
        f.extend_from_slice(&stream.to_be_bytes());
        f.extend_from_slice(payload);
        self.bytes(&f);
    }

    pub(super) fn headers(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) {
        self.frame(1, 4 | u8::from(end), stream, &hpack(fields));
    }

    pub(super) fn data(&mut self, stream: u32, payload: &[u8], end: bool) {
        self.frame(0, u8::from(end), stream, payload);
    }

    pub(super) fn turn(&mut self) {
        loop {
            self.last = self.server.turn(self.now, &mut self.gate);
            if !self.last.again {
                return;
            }
        }
    }

    pub(super) fn frames(&mut self) -> Vec<Frame> {
        let bytes = self.peer.drain();
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while let [a, b, c, kind, flags, s0, s1, s2, s3, tail @ ..] = rest {
            let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let stream = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
            frames.push(Frame { kind: *kind, flags: *flags, stream, payload: tail[..len].to_vec() });
            rest = &tail[len..];
        }
        assert!(rest.is_empty(), "whole frames only");
        frames
    }

    /// The code and debug data of the GOAWAY in the server's output.
    pub(super) fn goaway(&mut self) -> (u32, Vec<u8>) {
        let frames = self.frames();
        let f = frames.iter().rev().find(|f| f.kind == 7).unwrap_or_else(|| panic!("no GOAWAY in {frames:?}"));
        (u32::from_be_bytes(f.payload[4..8].try_into().unwrap()), f.payload[8..].to_vec())
    }

    /// The server's answer to a call with these headers and data.
    pub(super) fn ask(&mut self, stream: u32, fields: &[(&str, &str)], data: &[u8]) -> String {
        self.headers(stream, fields, data.is_empty());
        if !data.is_empty() {
            self.data(stream, data, true);
        }
        self.turn();
        let frames = self.frames();
        let answer = frames.iter().filter(|f| f.stream == stream).flat_map(|f| f.payload.clone()).collect::<Vec<u8>>();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Literal header fields without indexing or Huffman coding (RFC 7541, 6.2.2).
fn hpack(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "one length byte");
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

#[test]
fn garbage_and_other_protocols_get_a_goaway_and_a_close() {
    for hello in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n and more than twenty-four bytes"[..], &[0xff; 64]] {
        let mut raw = Raw::silent(ServerConfig::default());
        raw.bytes(hello);
        raw.turn();
        assert_eq!(raw.goaway().0, crate::engine::PROTOCOL_ERROR);
        assert!(raw.last.shut_write && !raw.last.closed && matches!(raw.last.why, Some(Closed::Protocol(_))));
        raw.peer.close();
        raw.turn();
        assert!(raw.last.closed);
    }
}

#[test]
fn a_slow_preface_and_an_unfinished_header_block_are_timed_out() {
    let mut raw = Raw::silent(ServerConfig::default());
    raw.bytes(b"PRI * HTTP");
    raw.turn();
    raw.now = raw.server.poll_timeout().unwrap();
    assert_eq!(raw.now, 121 * SEC);
    raw.turn();
    assert_eq!(raw.last.why, Some(Closed::Timeout("handshake")));

    let mut raw = Raw::new(ServerConfig::default());
    raw.frame(1, 0, 1, &hpack(&[(":method", "POST")]));
    raw.turn();
    raw.now = raw.server.poll_timeout().unwrap();
    assert_eq!(raw.now, 121 * SEC);
    raw.turn();
    assert_eq!(raw.last.why, Some(Closed::Timeout("handshake")));
}

#[test]
fn a_call_over_a_unix_socket_may_have_its_path_for_an_authority() {
    let mut raw = Raw::new(ServerConfig::default());
    for (stream, authority, shown) in
        [(1, "tmp%2Fotel.sock", "tmp-2Fotel.sock"), (3, "/tmp/otel.sock", "-tmp-otel.sock"), (5, "a:4317", "a:4317")]
    {
        let fields = POST_GRPC.iter().map(|f| if f.0 == ":authority" { (f.0, authority) } else { *f });
        raw.headers(stream, &fields.collect::<Vec<_>>(), false);
        raw.data(stream, &[0, 0, 0, 0, 0], true);
        raw.turn();
        assert_eq!(raw.server.poll_call().unwrap().head.authority(), Some(shown));
    }
}

#[test]
fn a_header_list_over_the_limit_fails_its_call_alone() {
    let mut raw = Raw::new(ServerConfig { max_header_list: 16 << 10, ..ServerConfig::default() });
    let value = "v".repeat(100);
    let many: Vec<(&str, &str)> = (0..150).map(|_| ("x-filler", &value[..])).collect();
    let block = hpack(&[POST_GRPC, &many].concat());
    let (first, rest) = block.split_at(10_000);
    raw.frame(1, 1, 1, first);
    raw.frame(9, 4, 1, rest);
    raw.turn();
    assert!(!raw.last.closed && raw.gate.seen.is_empty());
    assert!(raw.frames().iter().any(|f| f.kind == 1 && f.stream == 1), "431");
    raw.headers(3, POST_GRPC, false);
    raw.data(3, &[0, 0, 0, 0, 0], true);
    raw.turn();
    assert!(raw.server.poll_call().is_some());
}

#[test]
fn snappy_is_taken_in_both_formats_and_answered_in_the_framed_one() {
    let mut raw = Raw::new(ServerConfig::default());
    let plain = b"span ".repeat(1000);
    for (stream, written) in [(1, Coding::Snappy), (3, Coding::SnappyFramed)] {
        let message = crate::Workspace::new().compress(&written, [&plain[..]]);
        let prefix = [&[1][..], &(message.len() as u32).to_be_bytes()].concat();
        raw.headers(stream, &[POST_GRPC, &[("grpc-encoding", "snappy")]].concat(), false);
        raw.data(stream, &[&prefix[..], &message].concat(), true);
        raw.turn();
        let call = raw.server.poll_call().unwrap();
        assert_eq!(call.message, plain);
        raw.server.reply_ok(call.id, call.message);
        raw.turn();
        let data = raw.frames().into_iter().find(|f| f.kind == 0 && f.stream == stream).unwrap().payload;
        assert_eq!((data[0], &data[5..15]), (1, &b"\xff\x06\x00\x00sNaPpY"[..]));
    }
}

#[test]
fn those_who_do_not_speak_grpc_get_an_http_answer_with_a_body() {
    let mut raw = Raw::new(ServerConfig::default());
    let get = &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    assert!(raw.ask(1, get, &[]).contains("Received a HEADERS frame with :method \"GET\" which should be POST"));
    let json = &[(":method", "POST"), (":scheme", "http"), (":path", EXPORT), ("content-type", "application/json")];
    assert!(raw.ask(3, json, b"{}").contains("invalid gRPC request content-type \"application/json\""));
    let web = &[(":method", "POST"), (":scheme", "http"), (":path", EXPORT), ("content-type", "application/grpc-web")];
    assert!(raw.ask(5, web, b"{}").contains("invalid gRPC request content-type"));
    assert!(raw.server.is_idle());
}

#[test]
fn calls_that_break_the_framing_are_named() {
    let mut raw = Raw::new(ServerConfig::default());
    let gzip = &[POST_GRPC, &[("grpc-encoding", "gzip")]].concat()[..];
    let brotli = &[POST_GRPC, &[("grpc-encoding", "br")]].concat()[..];
    let hurry = &[POST_GRPC, &[("grpc-timeout", "soon")]].concat()[..];
    let one: &[u8] = &[0, 0, 0, 0, 1, 9];
    let two = [one, one].concat();
    for (n, (fields, data, code, text)) in [
        (POST_GRPC, &b""[..], 13, "cardinality violation: received no request message"),
        (POST_GRPC, &two[..], 13, "cardinality violation: received multiple request messages"),
        (POST_GRPC, &[0, 0, 0, 0, 9, 1][..], 13, "unexpected EOF"),
        (POST_GRPC, &[0, 0, 0][..], 13, "unexpected EOF"),
        (POST_GRPC, &[1, 0, 0, 0, 1, 9][..], 13, "grpc: compressed flag set with identity or empty encoding"),
        (POST_GRPC, &[2, 0, 0, 0, 1, 9][..], 13, "grpc: received unexpected payload format 2"),
        (gzip, &[1, 0, 0, 0, 1, 9][..], 13, "grpc: failed to decompress the received message: gzip: invalid header"),
        (brotli, one, 12, "grpc: Decompressor is not installed for grpc-encoding"),
        (hurry, one, 13, "malformed grpc-timeout"),
    ]
    .into_iter()
    .enumerate()
    {
        raw.headers(2 * n as u32 + 1, fields, data.is_empty());
        if !data.is_empty() {
            raw.data(2 * n as u32 + 1, data, true);
        }
        raw.turn();
        let got = raw.answer(2 * n as u32 + 1);
        assert_eq!(got.get("grpc-status").unwrap().as_bytes(), code.to_string().as_bytes(), "{text}");
        let message = got.get("grpc-message").unwrap().to_str().unwrap();
        assert!(message.starts_with(text), "{message}");
        assert_eq!(got.contains_key("grpc-accept-encoding"), code == 12);
    }
    assert!(raw.server.poll_call().is_none() && raw.server.is_idle());
}

impl Raw {
    /// The headers of the answer on a stream, decoded by an h2 client that has sent a request on that stream.
    fn answer(&mut self, stream: u32) -> http::HeaderMap {
        use std::future::Future;
        use std::pin::{Pin, pin};
        use std::task::{Context, Poll, Waker};
        let frames = self.frames();
        let (mut far, near) = pipe(usize::MAX);
        // The answers of one connection share HPACK state, so all of them are kept and replayed.
        self.played.extend(frames.into_iter().filter(|f| f.kind == 1 || f.kind == 0));
        let cx = &mut Context::from_waker(Waker::noop());
        let (link, wire) = crate::wire::Link::new(near, crate::Workspace::new(), false, 1 << 20);
        let Poll::Ready(Ok((mut send, mut conn))) = pin!(h2::client::handshake(wire)).poll(cx) else { panic!() };
        let mut responses = Vec::new();
        let last = self.played.iter().map(|f| f.stream).max().unwrap();
        for _ in (1..=last).step_by(2) {
            responses.push(send.send_request(http::Request::get("http://a/").body(()).unwrap(), true).unwrap().0);
        }
        let mut bytes = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
        for f in &self.played {
            bytes.extend_from_slice(&(f.payload.len() as u32).to_be_bytes()[1..]);
            bytes.extend_from_slice(&[f.kind, f.flags]);
            bytes.extend_from_slice(&f.stream.to_be_bytes());
            bytes.extend_from_slice(&f.payload);
        }
        link.begin(1 << 20);
        let _ = Pin::new(&mut conn).poll(cx);
        std::io::Write::write_all(&mut far, &bytes).unwrap();
        link.begin(1 << 20);
        let _ = Pin::new(&mut conn).poll(cx);
        match Pin::new(&mut responses[(stream / 2) as usize]).poll(cx) {
            Poll::Ready(Ok(response)) => response.headers().clone(),
            other => panic!("stream {stream}: {other:?}"),
        }
    }
}

#[test]
fn timeouts_are_read_and_written_as_the_specification_says() {
    assert_eq!(parse_timeout(b"5S"), Some(Duration::from_secs(5)));
    assert_eq!(parse_timeout(b"99999999n"), Some(Duration::from_nanos(99_999_999)));
    for bad in [&b""[..], b"S", b"5", b"123456789S", b"-5S", b"5s", b"5x"] {
        assert_eq!(parse_timeout(bad), None);
    }
    for nanos in [0, 1, 99_999_999, 100_000_001, 5 * SEC, 3_600_000 * SEC, u64::MAX] {
        let text = format_timeout(nanos);
        let back = parse_timeout(text.as_bytes()).unwrap().as_nanos();
        let late = back.checked_sub(u128::from(nanos)).expect("rounded up");
        assert!(late <= u128::from(nanos) / 10_000, "{nanos} -> {text:?}");
    }
    let kinds = ["application/grpc", "application/grpc+proto", "application/grpc;x", "Application/gRPC"];
    assert!(kinds.iter().all(|k| is_grpc_content_type(Some(&HeaderValue::from_static(k)))));
    for other in ["application/grpc-web", "application/grp", "", "text/plain"] {
        assert!(!is_grpc_content_type(Some(&HeaderValue::from_static(other))));
    }
}

#[test]
fn replies_without_grpc_status_become_what_grpc_says() {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};
    for (status, kind, code, text) in [
        (
            503,
            "text/html",
            Code::Unavailable,
            "unexpected HTTP status code received from server: 503 (Service Unavailable); transport: received unexpected \
          content-type \"text/html\"",
        ),
        (200, "text/plain", Code::Unknown, "transport: received unexpected content-type \"text/plain\""),
        (200, "application/grpc", Code::Internal, "server closed the stream without sending trailers"),
    ] {
        let (a, b) = pipe(usize::MAX);
        let mut client = ClientConn::new(a, Rc::new(client_config()), 0);
        let (link, wire) = crate::wire::Link::new(b, crate::Workspace::new(), true, 1 << 16);
        let cx = &mut Context::from_waker(Waker::noop());
        let mut shake = std::pin::pin!(h2::server::handshake(wire));
        let _ = client.turn(0);
        link.begin(1 << 20);
        let Poll::Ready(Ok(mut server)) = shake.as_mut().poll(cx) else { panic!() };
        let _ = server.poll_accept(cx);
        link.finish(false);
        let _ = client.turn(0);
        let path = PathAndQuery::from_static(EXPORT);
        let call = Outgoing {
            path: &path,
            metadata: &[],
            encoding: Coding::Identity,
            compressed: false,
            message: [Bytes::new()],
            deadline: None,
        };
        client.start(0, call).unwrap();
        let _ = client.flush(0);
        link.begin(1 << 20);
        let Poll::Ready(Some(Ok((_, mut respond)))) = server.poll_accept(cx) else { panic!() };
        let response = http::Response::builder().status(status).header("content-type", kind).body(()).unwrap();
        let mut body = respond.send_response(response, false).unwrap();
        body.send_data(Bytes::from_static(&[0, 0, 0, 0, 0]), true).unwrap();
        let _ = server.poll_closed(cx);
        link.finish(false);
        let _ = client.turn(0);
        let got = client.poll_done().unwrap().result.unwrap_err();
        assert_eq!((got.code, got.message.as_ref()), (code, text));
    }
}

#[test]
fn only_calls_that_the_peer_surely_ignored_are_safe_to_send_again() {
    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut f = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        f.extend_from_slice(&[kind, 0]);
        f.extend_from_slice(&stream.to_be_bytes());
        f.extend_from_slice(payload);
        f
    }
    let (end, mut peer) = pipe(usize::MAX);
    let mut client = ClientConn::new(end, Rc::new(client_config()), 0);
    std::io::Write::write_all(&mut peer, &frame(4, 0, &[])).unwrap();
    let _ = client.turn(0);
    let path = PathAndQuery::from_static(EXPORT);
    let ids: Vec<CallId> = (0..4)
        .map(|_| {
            let message = [Bytes::new()];
            let encoding = Coding::Identity;
            client
                .start(0, Outgoing { path: &path, metadata: &[], encoding, compressed: false, message, deadline: None })
                .unwrap()
        })
        .collect();
    let _ = client.flush(0);
    let mut ended = |client: &mut ClientConn<End>, bytes: Vec<u8>| {
        std::io::Write::write_all(&mut peer, &bytes).unwrap();
        let _ = client.turn(0);
        std::iter::from_fn(|| client.poll_done())
            .map(|d| (d.id, d.result.unwrap_err().code, d.sent))
            .collect::<Vec<_>>()
    };
    // Streams 1, 3, 5 and 7. REFUSED_STREAM guarantees that the call was not processed, CANCEL does not.
    assert_eq!(ended(&mut client, frame(3, 1, &7_u32.to_be_bytes())), [(ids[0], Code::Unavailable, false)]);
    assert_eq!(ended(&mut client, frame(3, 3, &8_u32.to_be_bytes())), [(ids[1], Code::Canceled, true)]);
    // GOAWAY up to stream 5: the stream above was not processed, the one up to 5 continues.
    let goaway = [5_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    assert_eq!(ended(&mut client, frame(7, 0, &goaway)), [(ids[3], Code::Unavailable, false)]);
    assert!(client.going_away() && client.in_flight() == 1);
    peer.close();
    let _ = client.turn(0);
    let last = client.poll_done().unwrap();
    assert_eq!((last.id, last.sent), (ids[2], true));
}

/// The prefix of a message of 4 MiB, and the first bytes of it.
const CLAIM: &[u8] = &[0, 0, 0x40, 0, 0, 1, 2, 3];

#[test]
fn claimed_length_takes_no_memory_before_the_message_arrives() {
    let mut raw = Raw::new(ServerConfig::default());
    for stream in [1, 3, 5] {
        raw.headers(stream, POST_GRPC, false);
        raw.data(stream, CLAIM, false);
    }
    raw.turn();
    assert!(raw.gate.grown.iter().all(|to| *to <= 64), "{:?}", raw.gate.grown);
    assert!(raw.server.held() <= 3 * 64);
    raw.data(1, &[0; 16_000], false);
    raw.turn();
    assert!(raw.gate.grown.last().is_some_and(|to| (16_003..=4 * 16_003).contains(to)), "{:?}", raw.gate.grown);
}

#[test]
fn message_that_stops_arriving_is_refused_and_others_go_on() {
    let mut raw = Raw::new(ServerConfig::default());
    raw.headers(1, POST_GRPC, false);
    raw.data(1, CLAIM, false);
    raw.headers(3, POST_GRPC, false);
    raw.data(3, CLAIM, false);
    raw.turn();
    raw.now += 40 * SEC;
    raw.data(3, &[4, 5, 6], false);
    raw.turn();
    assert_eq!(raw.server.in_flight(), 2);
    raw.now += 20 * SEC;
    raw.turn();
    assert_eq!(raw.server.in_flight(), 1, "a minute without a byte");
    assert!(raw.frames().iter().any(|f| f.kind == 1 && f.stream == 1), "it is told");
    raw.now += 40 * SEC;
    raw.turn();
    assert_eq!(raw.server.in_flight(), 0, "progress puts the end off, and no more");
}

#[test]
fn refuse_reading_ends_matching_messages_alone() {
    let mut raw = Raw::new(ServerConfig::default());
    for stream in [1, 3] {
        raw.headers(stream, POST_GRPC, false);
        raw.data(stream, CLAIM, false);
        raw.turn();
    }
    raw.data(3, &[0; 100], false);
    raw.turn();
    let smallest = *raw.gate.grown.first().unwrap();
    raw.server.refuse_reading(raw.now, |to| *to == smallest, &Status::unavailable("no room"));
    raw.turn();
    assert_eq!(raw.server.in_flight(), 1);
    assert!(raw.frames().iter().any(|f| f.kind == 1 && f.stream == 1 && !f.payload.is_empty()));
    // The rest of the refused message is discarded; the connection stays open.
    raw.data(1, &[0; 1000], true);
    raw.turn();
    assert!(!raw.last.closed);
}

#[test]
fn metadata_of_40_kib_is_taken() {
    let mut raw = Raw::new(ServerConfig { keep_metadata: true, ..ServerConfig::default() });
    let value = "v".repeat(100);
    let many: Vec<(&str, &str)> = (0..400).map(|_| ("x-filler", &value[..])).collect();
    let block = hpack(&[POST_GRPC, &many].concat());
    let mut pieces = block.chunks(16_000).peekable();
    let mut kind = 1;
    while let Some(piece) = pieces.next() {
        raw.frame(std::mem::replace(&mut kind, 9), if pieces.peek().is_none() { 4 } else { 0 }, 1, piece);
    }
    raw.data(1, &[0, 0, 0, 0, 0], true);
    raw.turn();
    assert_eq!(raw.server.poll_call().unwrap().head.metadata.get_all("x-filler").iter().count(), 400);
}
