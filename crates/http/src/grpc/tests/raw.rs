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
    pub(super) frame_type: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

pub(super) struct RawPeer {
    pub(super) now: u64,
    pub(super) peer: PipeEnd,
    pub(super) server: GrpcServerConn<PipeEnd, u64>,
    pub(super) admission: TestAdmission,
    pub(super) last_poll: PollResult,
    pub(super) replayed: Vec<Frame>,
}

impl RawPeer {
    pub(super) fn without_preface(cfg: GrpcServerConnConfig) -> Self {
        let (peer, end) = pipe(usize::MAX);
        let server = GrpcServerConn::new(end, Rc::new(cfg), SEC, 1);
        Self {
            now: SEC,
            peer,
            server,
            admission: TestAdmission::default(),
            last_poll: PollResult::default(),
            replayed: Vec::new(),
        }
    }

    pub(super) fn new(cfg: GrpcServerConnConfig) -> Self {
        let mut raw = Self::without_preface(cfg);
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw.send_frame(4, 0, 0, &[]);
        raw.poll();
        raw.received_frames();
        raw
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        std::io::Write::write_all(&mut self.peer, bytes).unwrap();
    }

    pub(super) fn send_frame(&mut self, frame_type: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut f = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        f.extend_from_slice(&[frame_type, flags]);
        f.extend_from_slice(&stream.to_be_bytes());
        f.extend_from_slice(payload);
        self.send(&f);
    }

    pub(super) fn send_headers(&mut self, stream: u32, fields: &[(&str, &str)], end_stream: bool) {
        self.send_frame(1, 4 | u8::from(end_stream), stream, &hpack(fields));
    }

    pub(super) fn send_data(&mut self, stream: u32, payload: &[u8], end_stream: bool) {
        self.send_frame(0, u8::from(end_stream), stream, payload);
    }

    pub(super) fn poll(&mut self) {
        loop {
            self.last_poll = self.server.poll(self.now, &mut self.admission);
            if !self.last_poll.poll_again {
                return;
            }
        }
    }

    pub(super) fn received_frames(&mut self) -> Vec<Frame> {
        let bytes = self.peer.read_all();
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while let [a, b, c, kind, flags, s0, s1, s2, s3, tail @ ..] = rest {
            let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let stream = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
            frames.push(Frame { frame_type: *kind, flags: *flags, stream, payload: tail[..len].to_vec() });
            rest = &tail[len..];
        }
        assert!(rest.is_empty(), "whole frames only");
        frames
    }

    /// The code and debug data of the GOAWAY in the server's output.
    pub(super) fn received_goaway(&mut self) -> (u32, Vec<u8>) {
        let frames = self.received_frames();
        let f = frames.iter().rev().find(|f| f.frame_type == 7).unwrap_or_else(|| panic!("no GOAWAY in {frames:?}"));
        (u32::from_be_bytes(f.payload[4..8].try_into().unwrap()), f.payload[8..].to_vec())
    }

    /// The server's response to a call with these headers and data.
    pub(super) fn request(&mut self, stream: u32, fields: &[(&str, &str)], data: &[u8]) -> String {
        self.send_headers(stream, fields, data.is_empty());
        if !data.is_empty() {
            self.send_data(stream, data, true);
        }
        self.poll();
        let frames = self.received_frames();
        let response =
            frames.iter().filter(|f| f.stream == stream).flat_map(|f| f.payload.clone()).collect::<Vec<u8>>();
        String::from_utf8_lossy(&response).into_owned()
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
fn invalid_preface_is_refused_with_goaway_and_close() {
    for preface in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n and more than twenty-four bytes"[..], &[0xff; 64]] {
        let mut raw = RawPeer::without_preface(GrpcServerConnConfig::default());
        raw.send(preface);
        raw.poll();
        assert_eq!(raw.received_goaway().0, crate::h2_core::PROTOCOL_ERROR);
        assert!(
            raw.last_poll.shutdown_write
                && !raw.last_poll.closed
                && matches!(
                    raw.last_poll.close_reason,
                    Some(CloseReason::Protocol(_) | CloseReason::OtherProtocol("HTTP/1"))
                )
        );
        raw.peer.close();
        raw.poll();
        assert!(raw.last_poll.closed);
    }
}

#[test]
fn slow_preface_or_header_block_is_timed_out() {
    let mut raw = RawPeer::without_preface(GrpcServerConnConfig::default());
    raw.send(b"PRI * HTTP");
    raw.poll();
    raw.now = raw.server.poll_timeout().unwrap();
    assert_eq!(raw.now, 121 * SEC);
    raw.poll();
    assert_eq!(raw.last_poll.close_reason, Some(CloseReason::Timeout("handshake")));

    let mut raw = RawPeer::new(GrpcServerConnConfig::default());
    raw.send_frame(1, 0, 1, &hpack(&[(":method", "POST")]));
    raw.poll();
    raw.now = raw.server.poll_timeout().unwrap();
    assert_eq!(raw.now, 121 * SEC);
    raw.poll();
    assert_eq!(raw.last_poll.close_reason, Some(CloseReason::Timeout("handshake")));
}

#[test]
fn call_with_a_socket_path_as_authority_is_accepted() {
    let mut raw = RawPeer::new(GrpcServerConnConfig::default());
    for (stream, authority, shown) in
        [(1, "tmp%2Fotel.sock", "tmp-2Fotel.sock"), (3, "/tmp/otel.sock", "-tmp-otel.sock"), (5, "a:4317", "a:4317")]
    {
        let fields = POST_GRPC.iter().map(|f| if f.0 == ":authority" { (f.0, authority) } else { *f });
        raw.send_headers(stream, &fields.collect::<Vec<_>>(), false);
        raw.send_data(stream, &[0, 0, 0, 0, 0], true);
        raw.poll();
        assert_eq!(raw.server.poll_call().unwrap().head.authority(), Some(shown));
    }
}

#[test]
fn header_list_above_the_limit_fails_only_its_call() {
    let mut raw = RawPeer::new(GrpcServerConnConfig { max_header_list: 16 << 10, ..GrpcServerConnConfig::default() });
    let value = "v".repeat(100);
    let many: Vec<(&str, &str)> = (0..150).map(|_| ("x-filler", &value[..])).collect();
    let block = hpack(&[POST_GRPC, &many].concat());
    let (first, rest) = block.split_at(10_000);
    raw.send_frame(1, 1, 1, first);
    raw.send_frame(9, 4, 1, rest);
    raw.poll();
    assert!(!raw.last_poll.closed && raw.admission.heads.is_empty());
    assert!(raw.received_frames().iter().any(|f| f.frame_type == 1 && f.stream == 1), "431");
    raw.send_headers(3, POST_GRPC, false);
    raw.send_data(3, &[0, 0, 0, 0, 0], true);
    raw.poll();
    assert!(raw.server.poll_call().is_some());
}

#[test]
fn snappy_in_both_formats_is_accepted_and_the_response_is_framed() {
    let mut raw = RawPeer::new(GrpcServerConnConfig::default());
    let plain = b"span ".repeat(1000);
    for (stream, written) in [(1, Coding::Snappy), (3, Coding::SnappyFramed)] {
        let message = crate::Workspace::new().compress(&written, [&plain[..]]);
        let prefix = [&[1][..], &(message.len() as u32).to_be_bytes()].concat();
        raw.send_headers(stream, &[POST_GRPC, &[("grpc-encoding", "snappy")]].concat(), false);
        raw.send_data(stream, &[&prefix[..], &message].concat(), true);
        raw.poll();
        let call = raw.server.poll_call().unwrap();
        assert_eq!(call.message, plain);
        raw.server.respond(call.id, call.message);
        raw.poll();
        let data = raw.received_frames().into_iter().find(|f| f.frame_type == 0 && f.stream == stream).unwrap().payload;
        assert_eq!((data[0], &data[5..15]), (1, &b"\xff\x06\x00\x00sNaPpY"[..]));
    }
}

#[test]
fn request_that_is_not_grpc_gets_an_http_response_with_a_body() {
    let mut raw = RawPeer::new(GrpcServerConnConfig::default());
    let get = &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    assert!(raw.request(1, get, &[]).contains("Received a HEADERS frame with :method \"GET\" which should be POST"));
    let json = &[(":method", "POST"), (":scheme", "http"), (":path", EXPORT), ("content-type", "application/json")];
    assert!(raw.request(3, json, b"{}").contains("invalid gRPC request content-type \"application/json\""));
    let web = &[(":method", "POST"), (":scheme", "http"), (":path", EXPORT), ("content-type", "application/grpc-web")];
    assert!(raw.request(5, web, b"{}").contains("invalid gRPC request content-type"));
    assert!(raw.server.is_idle());
}

#[test]
fn invalid_call_gets_a_status_with_its_cause() {
    let mut raw = RawPeer::new(GrpcServerConnConfig::default());
    let gzip = &[POST_GRPC, &[("grpc-encoding", "gzip")]].concat()[..];
    let brotli = &[POST_GRPC, &[("grpc-encoding", "br")]].concat()[..];
    let bad_timeout = &[POST_GRPC, &[("grpc-timeout", "soon")]].concat()[..];
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
        (bad_timeout, one, 13, "malformed grpc-timeout"),
    ]
    .into_iter()
    .enumerate()
    {
        raw.send_headers(2 * n as u32 + 1, fields, data.is_empty());
        if !data.is_empty() {
            raw.send_data(2 * n as u32 + 1, data, true);
        }
        raw.poll();
        let got = raw.response_headers(2 * n as u32 + 1);
        assert_eq!(got.get("grpc-status").unwrap().as_bytes(), code.to_string().as_bytes(), "{text}");
        let message = got.get("grpc-message").unwrap().to_str().unwrap();
        assert!(message.starts_with(text), "{message}");
        assert_eq!(got.contains_key("grpc-accept-encoding"), code == 12);
    }
    assert!(raw.server.poll_call().is_none() && raw.server.is_idle());
}

impl RawPeer {
    /// The headers of the response on a stream, decoded by an h2 client that has sent a request on that stream.
    fn response_headers(&mut self, stream: u32) -> http::HeaderMap {
        use std::future::Future;
        use std::pin::{Pin, pin};
        use std::task::{Context, Poll, Waker};
        let frames = self.received_frames();
        let (mut far, near) = pipe(usize::MAX);
        // The responses of one connection share HPACK state, so all of them are kept and replayed.
        self.replayed.extend(frames.into_iter().filter(|f| f.frame_type == 1 || f.frame_type == 0));
        let cx = &mut Context::from_waker(Waker::noop());
        let (transport, h2_io) = crate::h2_io::H2Transport::new(near, crate::Workspace::new(), false, 1 << 20);
        let Poll::Ready(Ok((mut send, mut conn))) = pin!(h2::client::handshake(h2_io)).poll(cx) else { panic!() };
        let mut responses = Vec::new();
        let last = self.replayed.iter().map(|f| f.stream).max().unwrap();
        for _ in (1..=last).step_by(2) {
            responses.push(send.send_request(http::Request::get("http://a/").body(()).unwrap(), true).unwrap().0);
        }
        let mut bytes = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
        for f in &self.replayed {
            bytes.extend_from_slice(&(f.payload.len() as u32).to_be_bytes()[1..]);
            bytes.extend_from_slice(&[f.frame_type, f.flags]);
            bytes.extend_from_slice(&f.stream.to_be_bytes());
            bytes.extend_from_slice(&f.payload);
        }
        transport.begin_poll(1 << 20);
        let _ = Pin::new(&mut conn).poll(cx);
        std::io::Write::write_all(&mut far, &bytes).unwrap();
        transport.begin_poll(1 << 20);
        let _ = Pin::new(&mut conn).poll(cx);
        match Pin::new(&mut responses[(stream / 2) as usize]).poll(cx) {
            Poll::Ready(Ok(response)) => response.headers().clone(),
            other => panic!("stream {stream}: {other:?}"),
        }
    }
}

#[test]
fn timeout_is_parsed_and_formatted_as_specified() {
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
    let content_types = ["application/grpc", "application/grpc+proto", "application/grpc;x", "Application/gRPC"];
    assert!(content_types.iter().all(|k| is_grpc_content_type(Some(&HeaderValue::from_static(k)))));
    for other in ["application/grpc-web", "application/grp", "", "text/plain"] {
        assert!(!is_grpc_content_type(Some(&HeaderValue::from_static(other))));
    }
}

#[test]
fn response_without_grpc_status_is_mapped_as_grpc_specifies() {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};
    for (status, content_type, code, text) in [
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
        let mut client = GrpcClientConn::new(a, Rc::new(client_config()), 0);
        let (transport, h2_io) = crate::h2_io::H2Transport::new(b, crate::Workspace::new(), true, 1 << 16);
        let cx = &mut Context::from_waker(Waker::noop());
        let mut handshake = std::pin::pin!(h2::server::handshake(h2_io));
        let _ = client.poll(0);
        transport.begin_poll(1 << 20);
        let Poll::Ready(Ok(mut server)) = handshake.as_mut().poll(cx) else { panic!() };
        let _ = server.poll_accept(cx);
        transport.finish_poll(false);
        let _ = client.poll(0);
        let path = PathAndQuery::from_static(EXPORT);
        let call = OutgoingCall {
            path: &path,
            metadata: &[],
            encoding: Coding::Identity,
            compressed: false,
            message: [Bytes::new()],
            deadline: None,
        };
        client.start(0, call).unwrap();
        let _ = client.flush(0);
        transport.begin_poll(1 << 20);
        let Poll::Ready(Some(Ok((_, mut respond)))) = server.poll_accept(cx) else { panic!() };
        let response = http::Response::builder().status(status).header("content-type", content_type).body(()).unwrap();
        let mut body = respond.send_response(response, false).unwrap();
        body.send_data(Bytes::from_static(&[0, 0, 0, 0, 0]), true).unwrap();
        let _ = server.poll_closed(cx);
        transport.finish_poll(false);
        let _ = client.poll(0);
        let got = client.poll_completed().unwrap().result.unwrap_err();
        assert_eq!((got.code, got.message.as_ref()), (code, text));
    }
}

#[test]
fn only_calls_certainly_not_processed_are_reported_as_such() {
    fn frame(frame_type: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut f = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        f.extend_from_slice(&[frame_type, 0]);
        f.extend_from_slice(&stream.to_be_bytes());
        f.extend_from_slice(payload);
        f
    }
    let (end, mut peer) = pipe(usize::MAX);
    let mut client = GrpcClientConn::new(end, Rc::new(client_config()), 0);
    std::io::Write::write_all(&mut peer, &frame(4, 0, &[])).unwrap();
    let _ = client.poll(0);
    let path = PathAndQuery::from_static(EXPORT);
    let ids: Vec<CallId> = (0..4)
        .map(|_| {
            let message = [Bytes::new()];
            let encoding = Coding::Identity;
            client
                .start(
                    0,
                    OutgoingCall { path: &path, metadata: &[], encoding, compressed: false, message, deadline: None },
                )
                .unwrap()
        })
        .collect();
    let _ = client.flush(0);
    let mut ended = |client: &mut GrpcClientConn<PipeEnd>, bytes: Vec<u8>| {
        std::io::Write::write_all(&mut peer, &bytes).unwrap();
        let _ = client.poll(0);
        std::iter::from_fn(|| client.poll_completed())
            .map(|d| (d.id, d.result.unwrap_err().code, d.may_be_processed))
            .collect::<Vec<_>>()
    };
    // Streams 1, 3, 5 and 7. REFUSED_STREAM guarantees that the call was not processed, CANCEL does not.
    assert_eq!(ended(&mut client, frame(3, 1, &7_u32.to_be_bytes())), [(ids[0], Code::Unavailable, false)]);
    assert_eq!(ended(&mut client, frame(3, 3, &8_u32.to_be_bytes())), [(ids[1], Code::Canceled, true)]);
    // GOAWAY up to stream 5: the stream above was not processed, the one up to 5 continues.
    let goaway = [5_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    assert_eq!(ended(&mut client, frame(7, 0, &goaway)), [(ids[3], Code::Unavailable, false)]);
    assert!(client.is_going_away() && client.in_flight() == 1);
    peer.close();
    let _ = client.poll(0);
    let last = client.poll_completed().unwrap();
    assert_eq!((last.id, last.may_be_processed), (ids[2], true));
}

/// The prefix of a message of 4 MiB, and the first bytes of it.
const PREFIX_OF_4_MIB: &[u8] = &[0, 0, 0x40, 0, 0, 1, 2, 3];

#[test]
fn declared_length_takes_no_memory_before_the_message_arrives() {
    let mut raw = RawPeer::new(GrpcServerConnConfig::default());
    for stream in [1, 3, 5] {
        raw.send_headers(stream, POST_GRPC, false);
        raw.send_data(stream, PREFIX_OF_4_MIB, false);
    }
    raw.poll();
    assert!(raw.admission.requested_sizes.iter().all(|to| *to <= 64), "{:?}", raw.admission.requested_sizes);
    assert!(raw.server.buffered_bytes() <= 3 * 64);
    raw.send_data(1, &[0; 16_000], false);
    raw.poll();
    assert!(
        raw.admission.requested_sizes.last().is_some_and(|to| (16_003..=4 * 16_003).contains(to)),
        "{:?}",
        raw.admission.requested_sizes
    );
}

#[test]
fn message_that_stops_arriving_is_refused_and_others_continue() {
    let mut raw = RawPeer::new(GrpcServerConnConfig::default());
    raw.send_headers(1, POST_GRPC, false);
    raw.send_data(1, PREFIX_OF_4_MIB, false);
    raw.send_headers(3, POST_GRPC, false);
    raw.send_data(3, PREFIX_OF_4_MIB, false);
    raw.poll();
    raw.now += 40 * SEC;
    raw.send_data(3, &[4, 5, 6], false);
    raw.poll();
    assert_eq!(raw.server.in_flight(), 2);
    raw.now += 20 * SEC;
    raw.poll();
    assert_eq!(raw.server.in_flight(), 1, "a minute without a byte");
    assert!(raw.received_frames().iter().any(|f| f.frame_type == 1 && f.stream == 1), "it gets a response");
    raw.now += 40 * SEC;
    raw.poll();
    assert_eq!(raw.server.in_flight(), 0, "progress puts the end off, and no more");
}

#[test]
fn refuse_incomplete_ends_only_matching_calls() {
    let mut raw = RawPeer::new(GrpcServerConnConfig::default());
    for stream in [1, 3] {
        raw.send_headers(stream, POST_GRPC, false);
        raw.send_data(stream, PREFIX_OF_4_MIB, false);
        raw.poll();
    }
    raw.send_data(3, &[0; 100], false);
    raw.poll();
    let smallest = *raw.admission.requested_sizes.first().unwrap();
    raw.server.refuse_incomplete(raw.now, |to| *to == smallest, &Status::unavailable("no room"));
    raw.poll();
    assert_eq!(raw.server.in_flight(), 1);
    assert!(raw.received_frames().iter().any(|f| f.frame_type == 1 && f.stream == 1 && !f.payload.is_empty()));
    // The rest of the refused message is discarded; the connection stays open.
    raw.send_data(1, &[0; 1000], true);
    raw.poll();
    assert!(!raw.last_poll.closed);
}

#[test]
fn metadata_of_40_kib_is_accepted() {
    let mut raw = RawPeer::new(GrpcServerConnConfig { keep_metadata: true, ..GrpcServerConnConfig::default() });
    let value = "v".repeat(100);
    let many: Vec<(&str, &str)> = (0..400).map(|_| ("x-filler", &value[..])).collect();
    let block = hpack(&[POST_GRPC, &many].concat());
    let mut pieces = block.chunks(16_000).peekable();
    let mut frame_type = 1;
    while let Some(piece) = pieces.next() {
        raw.send_frame(std::mem::replace(&mut frame_type, 9), if pieces.peek().is_none() { 4 } else { 0 }, 1, piece);
    }
    raw.send_data(1, &[0, 0, 0, 0, 0], true);
    raw.poll();
    assert_eq!(raw.server.poll_call().unwrap().head.metadata.get_all("x-filler").iter().count(), 400);
}
