//! Client and server joined by a pipe in memory, under a virtual clock.

mod raw;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue};

use self::raw::{POST_GRPC, Raw};
use super::client::{ClientConfig, ClientConn, Done, NotReady, Outgoing};
use super::server::{Call, CallHead, Gate, ServerConfig, ServerConn, unknown_method, unknown_service};
use super::*;
use crate::coding::Coding;
use crate::pipe::{End, pipe};
use crate::status::{Code, Status};
use crate::{Closed, Turn};

const SEC: u64 = 1_000_000_000;
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Counts what it admits; refuses when configured to.
#[derive(Default)]
struct Bouncer {
    refuse: Option<Status>,
    budget: Option<u64>,
    admitted: usize,
    grown: Vec<u64>,
    seen: Vec<CallHead>,
}

impl Gate for Bouncer {
    type Permit = u64;

    fn route(&mut self, path: &str) -> Result<u32, Status> {
        match path {
            EXPORT => Ok(7),
            p if p.starts_with("/opentelemetry.proto.collector.trace.v1.TraceService/") => Err(unknown_method(p)),
            p => Err(unknown_service(p)),
        }
    }

    fn open(&mut self, call: &CallHead, _: usize) -> Result<u64, Status> {
        self.seen.push(call.clone());
        Ok(0)
    }

    fn admit(&mut self, permit: &mut u64, _: &CallHead, len: u32) -> Result<(), Status> {
        match &self.refuse {
            Some(status) => Err(status.clone()),
            None => {
                self.admitted += 1;
                *permit = u64::from(len);
                Ok(())
            }
        }
    }

    fn grow(&mut self, permit: &mut u64, to: u64) -> Result<(), Status> {
        self.grown.push(to);
        if self.budget.is_some_and(|max| to > max) {
            return Err(Status::unavailable("data refused due to high memory usage"));
        }
        *permit = to;
        Ok(())
    }
}

struct Pair {
    now: u64,
    client: ClientConn<End>,
    server: ServerConn<End, u64>,
    gate: Bouncer,
    calls: Vec<Call<u64>>,
    cancelled: Vec<CallId>,
    done: Vec<Done>,
    client_turn: Turn,
    server_turn: Turn,
}

fn client_config() -> ClientConfig {
    let authority = Authority::from_static("collector:4317");
    ClientConfig::new(Scheme::HTTP, authority, HeaderValue::from_static("otelcore-test"))
}

impl Pair {
    fn new() -> Self {
        Self::with(ServerConfig::default(), client_config(), usize::MAX)
    }

    fn with(server: ServerConfig, client: ClientConfig, cap: usize) -> Self {
        let (a, b) = pipe(cap);
        Self {
            now: SEC,
            client: ClientConn::new(a, Rc::new(client), SEC),
            server: ServerConn::new(b, Rc::new(server), SEC, 42),
            gate: Bouncer::default(),
            calls: Vec::new(),
            cancelled: Vec::new(),
            done: Vec::new(),
            client_turn: Turn::default(),
            server_turn: Turn::default(),
        }
    }

    fn ready() -> Self {
        let mut p = Self::new();
        p.run();
        assert!(p.client.can_start());
        p
    }

    fn turn_server(&mut self) {
        self.server_turn = self.server.turn(self.now, &mut self.gate);
        self.calls.extend(std::iter::from_fn(|| self.server.poll_call()));
        self.cancelled.extend(std::iter::from_fn(|| self.server.poll_cancelled()));
    }

    fn turn_client(&mut self) {
        self.client_turn = self.client.turn(self.now);
        self.done.extend(std::iter::from_fn(|| self.client.poll_done()));
    }

    /// Calls `turn` on both sides until no more bytes move.
    fn run(&mut self) {
        for _ in 0..100_000 {
            let before = self.client.io().moved();
            self.turn_client();
            self.turn_server();
            let moved = self.client.io().moved() != before;
            if !moved
                && !self.server_turn.again
                && !self.client_turn.again
                && !self.client.io().readable()
                && !self.server.io().readable()
            {
                return;
            }
            let gone = self.client_turn.closed || self.server_turn.closed;
            if gone {
                self.turn_client();
                self.turn_server();
                return;
            }
        }
        panic!("never quiet");
    }

    /// Advances the time, stopping at every timeout of either side.
    fn pass(&mut self, nanos: u64) {
        let end = self.now + nanos;
        loop {
            self.run();
            match crate::earliest(self.client.poll_timeout(), self.server.poll_timeout()) {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            if self.client_turn.closed && self.server_turn.closed {
                break;
            }
        }
        self.now = end;
        self.run();
    }

    fn start_with(
        &mut self,
        encoding: Coding,
        parts: Vec<Bytes>,
        metadata: &[(HeaderName, HeaderValue)],
        within: Option<u64>,
    ) -> CallId {
        let path = PathAndQuery::from_static(EXPORT);
        let deadline = within.map(|w| self.now + w);
        self.client
            .start(self.now, Outgoing { path: &path, metadata, encoding, compressed: false, message: parts, deadline })
            .unwrap()
    }

    fn start(&mut self, parts: Vec<Bytes>) -> CallId {
        self.start_with(Coding::Identity, parts, &[], None)
    }

    fn start_at(&mut self, path: &'static str) -> CallId {
        let path = PathAndQuery::from_static(path);
        let message = [Bytes::from_static(b"x")];
        let call = Outgoing {
            path: &path,
            metadata: &[],
            encoding: Coding::Identity,
            compressed: false,
            message,
            deadline: None,
        };
        self.client.start(self.now, call).unwrap()
    }

    /// Answers every waiting call with its own message.
    fn echo(&mut self) {
        for call in self.calls.drain(..) {
            self.server.reply_ok(call.id, call.message);
        }
        self.run();
    }

    fn one_done(&mut self) -> Result<Bytes, Status> {
        assert_eq!(self.done.len(), 1, "{:?}", self.done);
        self.done.pop().unwrap().result
    }

    fn one_error(&mut self) -> Status {
        self.one_done().unwrap_err()
    }
}

fn noise(n: usize, seed: u32) -> Bytes {
    (0..n as u32).map(|i| ((i ^ seed).wrapping_mul(2_654_435_761) >> 11) as u8).collect::<Vec<u8>>().into()
}

#[test]
fn a_call_is_echoed_with_its_head() {
    let mut p =
        Pair::with(ServerConfig { keep_metadata: true, ..ServerConfig::default() }, client_config(), usize::MAX);
    p.run();
    let tenant = (HeaderName::from_static("x-tenant"), HeaderValue::from_static("acme"));
    let id = p.start_with(Coding::Identity, vec![noise(1024, 1)], &[tenant], Some(5 * SEC));
    p.run();
    let call = &p.calls[0];
    assert_eq!((call.head.method, call.head.path(), call.head.authority()), (7, EXPORT, Some("collector:4317")));
    assert_eq!(call.head.metadata.get("x-tenant").unwrap(), "acme");
    assert_eq!(call.head.user_agent(), Some("otelcore-test"));
    assert_eq!(call.head.timeout, Some(Duration::from_secs(5)));
    assert_eq!((call.deadline, call.wire_len, call.permit), (Some(p.now + 5 * SEC), 1024, 1024));
    assert_eq!((p.server.in_flight(), p.client.in_flight()), (1, 1));
    p.echo();
    assert_eq!(p.done[0].id, id);
    assert_eq!(p.one_done().unwrap(), noise(1024, 1));
    assert!(p.server.is_idle() && p.client.in_flight() == 0 && p.server.held() == 0);
}

#[test]
fn metadata_is_seen_at_admission_and_not_kept_unless_asked_for() {
    let mut p = Pair::ready();
    let token = (HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer t"));
    p.start_with(Coding::Identity, vec![noise(10, 1)], &[token], None);
    p.run();
    assert_eq!(p.gate.seen[0].metadata.get("authorization").unwrap(), "Bearer t");
    assert!(p.calls[0].head.metadata.is_empty());
}

#[test]
fn a_rope_of_a_mebibyte_passes_through_narrow_pipes_and_windows() {
    for (cap, window, budget) in [(usize::MAX, 1 << 20, 1 << 18), (1000, 65_535, 3000), (77, 1000, 50)] {
        let server = ServerConfig {
            initial_stream_window: window,
            initial_connection_window: window.max(65_535),
            read_budget: budget,
            ..ServerConfig::default()
        };
        let mut p = Pair::with(server, client_config(), cap);
        p.run();
        let size = if cap == 77 { 1 << 16 } else { 1 << 20 };
        let parts: Vec<Bytes> = noise(size, 3).chunks(10_007).map(Bytes::copy_from_slice).collect();
        p.start(parts);
        p.run();
        assert_eq!(p.calls[0].message, noise(size, 3), "cap {cap}");
        p.echo();
        assert_eq!(p.one_done().unwrap(), noise(size, 3), "cap {cap}");
    }
}

#[test]
fn gzip_goes_both_ways_and_the_permit_grows_with_the_message() {
    let mut p = Pair::ready();
    let plain = Bytes::from("span ".repeat(20_000));
    p.start_with(Coding::Gzip, vec![plain.slice(..500), plain.slice(500..)], &[], None);
    p.run();
    assert_eq!((&p.calls[0].message, &p.calls[0].head.encoding), (&plain, &Coding::Gzip));
    assert!(p.calls[0].wire_len < 2000 && p.calls[0].permit >= 100_000);
    assert!(p.gate.grown.is_sorted(), "asked before each growth: {:?}", p.gate.grown);
    let before = p.server.io().unread();
    assert_eq!(before, 0);
    p.echo();
    assert_eq!(p.one_done().unwrap(), plain);
    // A message too small for compression is sent uncompressed with the same `grpc-encoding`.
    p.start_with(Coding::Gzip, vec![Bytes::from_static(b"tiny")], &[], None);
    p.run();
    assert_eq!(p.calls[0].wire_len, 4);
    p.echo();
    assert_eq!(p.one_done().unwrap(), "tiny");
}

#[test]
fn zstd_and_snappy_go_both_ways_and_others_are_not_installed() {
    let mut p = Pair::ready();
    let plain = Bytes::from("span ".repeat(20_000));
    for coding in [Coding::Zstd, Coding::Snappy] {
        p.start_with(coding.clone(), vec![plain.slice(..500), plain.slice(500..)], &[], None);
        p.run();
        assert_eq!((&p.calls[0].message, &p.calls[0].head.encoding), (&plain, &coding));
        let framed = crate::Workspace::new().compress(&coding.in_grpc(), [&plain[..500], &plain[500..]]);
        assert_eq!(p.calls[0].wire_len as usize, framed.len(), "what gRPC calls {}", coding.name());
        p.echo();
        assert_eq!(p.one_done().unwrap(), plain);
    }
    p.start_with(Coding::Lz4, vec![plain], &[], None);
    p.run();
    let status = p.one_error();
    assert_eq!(status.code, Code::Unimplemented);
    assert_eq!(status.message, "grpc: Decompressor is not installed for grpc-encoding \"lz4\"");
}

#[test]
fn a_compressed_message_is_bounded_while_it_is_inflated() {
    let mut p = Pair::ready();
    for coding in [Coding::Gzip, Coding::Zstd, Coding::Snappy] {
        p.start_with(coding, vec![Bytes::from(vec![0; 5 << 20])], &[], None);
        p.run();
        let status = p.one_error();
        assert_eq!(status.code, Code::ResourceExhausted);
        assert_eq!(status.message, "grpc: received message after decompression larger than max 4194304");
    }
    p.gate.budget = Some(100_000);
    p.start_with(Coding::Gzip, vec![Bytes::from(vec![0; 1 << 20])], &[], None);
    p.run();
    let status = p.one_error();
    assert_eq!((status.code, status.message.as_ref()), (Code::Unavailable, "data refused due to high memory usage"));
    assert!(p.calls.is_empty() && p.server.is_idle());
}

#[test]
fn a_message_over_the_limit_is_refused_at_its_prefix() {
    let mut p = Pair::with(
        ServerConfig { max_recv_message: 1000, initial_stream_window: 65_535, ..ServerConfig::default() },
        client_config(),
        usize::MAX,
    );
    p.run();
    p.start(vec![noise(1001, 1)]);
    p.run();
    let status = p.one_error();
    assert_eq!(status.code, Code::ResourceExhausted);
    assert_eq!(status.message, "grpc: received message larger than max (1001 vs. 1000)");
    assert_eq!(p.gate.admitted, 0);
    p.start(vec![noise(1000, 1)]);
    p.run();
    p.echo();
    assert!(p.one_done().is_ok());
}

#[test]
fn a_reply_over_the_limit_fails_the_call_alone() {
    let mut p =
        Pair::with(ServerConfig::default(), ClientConfig { max_recv_message: 100, ..client_config() }, usize::MAX);
    p.run();
    p.start(vec![noise(101, 1)]);
    p.run();
    p.echo();
    assert_eq!(p.one_error().message, "grpc: received message larger than max (101 vs. 100)");
    p.start(vec![noise(100, 1)]);
    p.run();
    p.echo();
    assert!(p.one_done().is_ok());
}

#[test]
fn thousands_of_refusals_leave_the_connection_alive() {
    let mut p = Pair::with(
        ServerConfig { initial_stream_window: 65_535, initial_connection_window: 65_535, ..ServerConfig::default() },
        client_config(),
        usize::MAX,
    );
    p.run();
    p.gate.refuse =
        Some(Status::unavailable("data refused due to high memory usage").with_retry_after(Duration::from_millis(250)));
    // Bodies larger than the windows: the client is still sending when the refusal comes.
    let body = noise(100_000, 5);
    for round in 0..600 {
        for _ in 0..10 {
            p.start(vec![body.clone()]);
        }
        p.run();
        assert_eq!(p.done.len(), 10, "round {round}: {:?} {:?}", p.client_turn, p.server_turn);
        for done in p.done.drain(..) {
            let status = done.result.unwrap_err();
            assert_eq!((status.code, status.retry_after), (Code::Unavailable, Some(Duration::from_millis(250))));
            assert!(done.sent);
        }
        assert_eq!((p.server.held(), p.server.in_flight(), p.server.is_idle()), (0, 0, true), "round {round}");
    }
    p.gate.refuse = None;
    p.start(vec![body.clone()]);
    p.run();
    p.echo();
    assert_eq!(p.one_done().unwrap(), body);
}

#[test]
fn a_client_that_ignores_its_refusal_is_read_out_and_then_reset() {
    let mut raw = Raw::new(ServerConfig { max_recv_message: 1000, ..ServerConfig::default() });
    raw.headers(1, POST_GRPC, false);
    raw.data(1, &[&[0][..], &5000_u32.to_be_bytes(), &[7; 5000]].concat(), true);
    raw.turn();
    let frames = raw.frames();
    assert!(!frames.iter().any(|f| f.kind == 3), "no RST_STREAM for one who finishes: {frames:?}");
    assert!(raw.server.is_idle());
    // Another client never stops sending.
    raw.headers(3, POST_GRPC, false);
    raw.data(3, &[&[0][..], &5000_u32.to_be_bytes()].concat(), false);
    let mut reset = false;
    for _ in 0..200 {
        raw.data(3, &[0; 16_384], false);
        raw.turn();
        reset |= raw.frames().iter().any(|f| f.kind == 3 && f.stream == 3);
        if reset {
            break;
        }
    }
    assert!(reset && raw.server.is_idle());
}

#[test]
fn paths_that_are_not_served_are_unimplemented_in_grpc_go_words() {
    let mut p = Pair::ready();
    for (path, text) in [
        (
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            "unknown service opentelemetry.proto.collector.logs.v1.LogsService",
        ),
        (
            "/opentelemetry.proto.collector.trace.v1.TraceService/Exp",
            "unknown method Exp for service opentelemetry.proto.collector.trace.v1.TraceService",
        ),
        ("/nothing", "malformed method name: \"/nothing\""),
    ] {
        p.start_at(path);
        p.run();
        let status = p.one_error();
        assert_eq!((status.code, status.message.as_ref()), (Code::Unimplemented, text), "{path}");
    }
}

#[test]
fn errors_carry_text_and_retry_delay_to_the_client() {
    let mut p = Pair::ready();
    p.start(vec![noise(10, 1)]);
    p.run();
    let status = Status::resource_exhausted("zu viel: 100% ü\n").with_retry_after(Duration::from_secs(3));
    let id = p.calls.pop().unwrap().id;
    p.server.reply_err(id, &status);
    p.server.reply_err(id, &status);
    p.run();
    let got = p.one_error();
    assert_eq!((got.code, &got.message, got.retry_after), (status.code, &status.message, status.retry_after));
}

#[test]
fn a_deadline_ends_the_call_on_both_sides() {
    let mut p = Pair::ready();
    p.start_with(Coding::Identity, vec![noise(10, 1)], &[], Some(2 * SEC));
    p.run();
    let id = p.calls[0].id;
    p.pass(3 * SEC);
    let status = p.one_error();
    assert_eq!((status.code, status.message.as_ref()), (Code::DeadlineExceeded, "context deadline exceeded"));
    assert_eq!(p.cancelled, [id]);
    p.server.reply_ok(id, Bytes::new());
    p.run();
    assert!(p.done.is_empty() && p.server.is_idle());
    // The connection still works.
    p.calls.clear();
    p.start(vec![noise(10, 1)]);
    p.run();
    p.echo();
    assert!(p.one_done().is_ok());
}

#[test]
fn the_server_answers_a_deadline_that_the_client_does_not_watch() {
    let mut raw = Raw::new(ServerConfig::default());
    raw.headers(1, &[POST_GRPC, &[("grpc-timeout", "100m")]].concat(), false);
    raw.data(1, &[0, 0, 0, 0, 1, 9], true);
    raw.turn();
    let call = raw.server.poll_call().unwrap();
    assert_eq!(raw.server.poll_timeout(), Some(SEC + 100_000_000));
    raw.now += 100_000_000;
    raw.turn();
    assert_eq!(raw.server.poll_cancelled(), Some(call.id));
    let frames = raw.frames();
    assert!(frames.iter().any(|f| f.kind == 1 && f.flags & 1 == 1 && f.stream == 1), "{frames:?}");
}

#[test]
fn a_cancelled_call_is_reported_once_and_its_answer_ignored() {
    let mut p = Pair::ready();
    let first = p.start(vec![noise(10, 1)]);
    let second = p.start(vec![noise(20, 1)]);
    p.run();
    p.client.cancel(first);
    p.run();
    assert_eq!((p.cancelled.len(), p.cancelled[0]), (1, p.calls[0].id));
    p.echo();
    assert_eq!(p.done.len(), 1);
    assert_eq!((p.done[0].id, p.done[0].result.as_ref().unwrap().len()), (second, 20));
}

#[test]
fn a_call_cancelled_before_it_was_taken_just_vanishes() {
    let mut p = Pair::ready();
    let id = p.start(vec![noise(10, 1)]);
    p.turn_client();
    let _ = p.server.turn(p.now, &mut p.gate);
    p.client.cancel(id);
    p.run();
    assert!(p.calls.is_empty() && p.cancelled.is_empty() && p.server.is_idle());
}

#[test]
fn a_drain_finishes_what_is_in_flight_and_lets_nothing_new_in() {
    let mut p = Pair::ready();
    p.start(vec![noise(10, 1)]);
    p.run();
    p.server.drain(p.now);
    p.run();
    assert!(p.client.going_away() && !p.client.can_start() && !p.server_turn.closed);
    let path = PathAndQuery::from_static(EXPORT);
    let call = Outgoing {
        path: &path,
        metadata: &[],
        encoding: Coding::Identity,
        compressed: false,
        message: [Bytes::new()],
        deadline: None,
    };
    assert_eq!(p.client.start(p.now, call), Err(NotReady::Connection));
    p.echo();
    assert!(p.one_done().is_ok());
    p.pass(2 * SEC);
    assert!(p.server_turn.shut_write && p.server_turn.closed);
    assert_eq!(p.server_turn.why, Some(Closed::Local("drained")));
    assert!(p.client.going_away());
}

#[test]
fn a_drain_does_not_wait_for_a_client_that_never_acknowledges() {
    let mut raw = Raw::new(ServerConfig::default());
    raw.server.drain(raw.now);
    raw.turn();
    assert_eq!(raw.frames().iter().filter(|f| f.kind == 7).count(), 1);
    for _ in 0..3 {
        raw.now = raw.server.poll_timeout().unwrap_or(raw.now);
        raw.turn();
    }
    assert!(raw.last.closed && raw.now <= 8 * SEC, "{:?} at {}", raw.last, raw.now);
    assert_eq!(raw.frames().iter().filter(|f| f.kind == 7).count(), 1);
}

#[test]
fn old_connections_are_drained_and_after_the_grace_closed() {
    let mut cfg = ServerConfig::default();
    cfg.keepalive.max_age = Some(100 * SEC);
    cfg.keepalive.max_age_grace = Some(10 * SEC);
    let mut p = Pair::with(cfg, client_config(), usize::MAX);
    p.run();
    p.start(vec![noise(10, 1)]);
    p.pass(89 * SEC);
    assert!(!p.client.going_away());
    p.pass(21 * SEC);
    assert!(p.client.going_away() && p.done.is_empty(), "the call goes on");
    p.pass(12 * SEC);
    assert_eq!(p.server_turn.why, Some(Closed::Local("max_age")));
    assert!(p.server_turn.closed);
    assert_eq!(p.cancelled.len(), 1);
}

#[test]
fn idle_connections_are_drained() {
    let mut cfg = ServerConfig::default();
    cfg.keepalive.max_idle = Some(10 * SEC);
    let mut p = Pair::with(cfg, client_config(), usize::MAX);
    p.run();
    p.pass(9 * SEC);
    p.start(vec![noise(10, 1)]);
    p.run();
    p.pass(60 * SEC);
    assert!(!p.client.going_away(), "a call is going on");
    p.echo();
    p.pass(13 * SEC);
    assert_eq!(p.server_turn.why, Some(Closed::Local("max_idle")));
}

#[test]
fn a_dead_peer_is_found_by_keepalive_from_either_side() {
    let client = ClientConfig { keepalive: Some(KeepaliveClient::default()), ..client_config() };
    let mut p = Pair::with(ServerConfig::default(), client, usize::MAX);
    p.run();
    p.start(vec![noise(10, 1)]);
    p.run();
    // From here on, only the client's `turn` is called.
    for _ in 0..3 {
        p.now = p.client.poll_timeout().unwrap_or(p.now);
        p.turn_client();
    }
    assert_eq!(p.now, 21 * SEC);
    let status = p.one_error();
    assert_eq!(status.code, Code::Unavailable);
    assert_eq!(status.message, "keepalive ping failed to receive ACK within timeout");
    assert!(p.client_turn.closed);

    let mut raw = Raw::new(ServerConfig::default());
    for _ in 0..3 {
        raw.now = raw.server.poll_timeout().unwrap_or(raw.now);
        raw.turn();
    }
    assert_eq!(raw.now, SEC + (7200 + 20) * SEC + SEC, "two hours, twenty seconds and the linger");
    assert_eq!(raw.last.why, Some(Closed::Timeout("keepalive ping")));
}

#[test]
fn answered_pings_keep_a_quiet_connection() {
    let client = ClientConfig {
        keepalive: Some(KeepaliveClient { permit_without_stream: true, ..KeepaliveClient::default() }),
        ..client_config()
    };
    let mut cfg = ServerConfig::default();
    cfg.keepalive.min_time = 5 * SEC;
    cfg.keepalive.permit_without_stream = true;
    let mut p = Pair::with(cfg, client, usize::MAX);
    p.run();
    p.pass(3600 * SEC);
    assert!(p.client.is_ready() && !p.client_turn.closed);
}

#[test]
fn a_client_that_pings_too_often_is_told_so() {
    let client = ClientConfig {
        keepalive: Some(KeepaliveClient { permit_without_stream: true, ..KeepaliveClient::default() }),
        ..client_config()
    };
    let mut p = Pair::with(ServerConfig::default(), client, usize::MAX);
    p.run();
    p.start(vec![noise(10, 1)]);
    p.pass(60 * SEC);
    assert_eq!(p.server_turn.why, Some(Closed::TooManyPings));
    let status = p.one_error();
    assert_eq!(status.code, Code::Unavailable);
    assert!(status.message.contains("code: ENHANCE_YOUR_CALM, debug data: \"too_many_pings\""), "{}", status.message);
}

#[test]
fn a_client_that_measures_its_bandwidth_with_pings_is_not_struck() {
    // To measure bandwidth, grpc-go sends one PING for each series of DATA frames.
    let mut raw = Raw::new(ServerConfig::default());
    raw.headers(1, POST_GRPC, false);
    raw.data(1, &[0, 0, 0, 0, 1, 9], true);
    raw.turn();
    let call = raw.server.poll_call().unwrap();
    raw.server.reply_ok(call.id, noise(400_000, 1));
    raw.turn();
    let mut got = 0;
    while got < 400_005 {
        got += raw.frames().iter().filter(|f| f.kind == 0).map(|f| f.payload.len()).sum::<usize>();
        raw.frame(6, 0, 0, &[0; 8]);
        raw.frame(8, 0, 0, &20_000_u32.to_be_bytes());
        raw.frame(8, 0, 1, &20_000_u32.to_be_bytes());
        raw.turn();
        assert!(!raw.last.shut_write, "struck after {got} bytes");
    }
    for _ in 0..4 {
        raw.frame(6, 0, 0, &[0; 8]);
        raw.turn();
    }
    assert_eq!(raw.goaway(), (ENHANCE_YOUR_CALM, b"too_many_pings".to_vec()));
}

#[test]
fn a_lost_connection_ends_every_call_with_unavailable() {
    let mut p = Pair::ready();
    p.start(vec![noise(10, 1)]);
    p.start(vec![noise(10, 1)]);
    p.run();
    p.server.io().close();
    p.run();
    assert_eq!(p.done.len(), 2);
    for done in p.done.drain(..) {
        let status = done.result.unwrap_err();
        assert_eq!((status.code, status.message.as_ref()), (Code::Unavailable, "error reading from server: EOF"));
        assert!(done.sent, "the server may have done it");
    }
    assert!(p.client_turn.closed);
    p.client.io().close();
    p.turn_server();
    assert_eq!(p.cancelled.len(), 2);
    assert_eq!(p.server_turn.why, Some(Closed::Peer));
}

#[test]
fn a_closed_client_tells_its_calls_and_the_server() {
    let mut p = Pair::ready();
    p.start(vec![noise(10, 1)]);
    p.run();
    p.client.close(p.now);
    p.run();
    assert_eq!(p.one_error().message, "grpc: the client connection is closing");
    assert_eq!(p.cancelled.len(), 1);
}

#[test]
fn a_stalled_window_stops_a_call_and_a_reader_resumes_it() {
    let (a, b) = pipe(20_000);
    let mut p = Pair::ready();
    p.client = ClientConn::new(a, Rc::new(client_config()), p.now);
    p.server = ServerConn::new(b, Rc::new(ServerConfig::default()), p.now, 1);
    p.run();
    p.start(vec![noise(500_000, 2)]);
    for _ in 0..5 {
        p.turn_client();
    }
    assert_eq!(p.client.io().unread(), 20_000, "the pipe is full and the server does not read");
    p.run();
    p.echo();
    assert_eq!(p.one_done().unwrap().len(), 500_000);
}

#[test]
fn the_peers_limit_of_streams_is_kept() {
    let mut p = Pair::with(
        ServerConfig { max_concurrent_streams: Some(3), ..ServerConfig::default() },
        client_config(),
        1 << 20,
    );
    p.run();
    for _ in 0..3 {
        p.start(vec![noise(10, 1)]);
    }
    assert!(p.client.is_ready() && !p.client.can_start());
    p.run();
    p.echo();
    assert_eq!((p.done.len(), p.client.capacity()), (3, 3));
}

#[test]
fn one_greedy_connection_is_read_no_further_than_its_budget() {
    let mut p =
        Pair::with(ServerConfig { read_budget: 10_000, ..ServerConfig::default() }, client_config(), usize::MAX);
    p.run();
    p.start(vec![noise(60_000, 1)]);
    p.turn_client();
    let before = p.client.io().unread();
    p.turn_server();
    assert!(p.server_turn.again);
    assert_eq!(before - p.client.io().unread(), 10_000);
    p.run();
    assert_eq!(p.calls.len(), 1);
}

#[test]
fn small_calls_are_written_together() {
    let mut p = Pair::ready();
    let before = p.client.io().writes();
    for _ in 0..20 {
        p.start(vec![noise(100, 1), noise(100, 2)]);
    }
    let _ = p.client.flush(p.now);
    assert_eq!(p.client.io().writes() - before, 1);
    p.turn_server();
    assert_eq!(p.calls.len(), 20);
    let before = p.server.io().writes();
    for call in p.calls.drain(..) {
        p.server.reply_ok(call.id, Bytes::new());
    }
    let _ = p.server.flush(p.now);
    assert_eq!(p.server.io().writes() - before, 1);
    p.run();
    assert_eq!(p.done.len(), 20);
}

#[test]
fn a_goaway_that_a_flush_could_not_push_out_is_not_said_yet() {
    let mut p = Pair::ready();
    p.server.io().cork(true);
    p.start(vec![noise(10, 1)]);
    p.run();
    let call = p.calls.pop().unwrap();
    p.server.reply_ok(call.id, call.message);
    p.server.drain(p.now);
    p.run();
    assert!(p.done.is_empty() && !p.server_turn.shut_write);
    p.server.io().cork(false);
    p.turn_server();
    p.run();
    assert_eq!(p.one_done().unwrap().len(), 10);
    let mut p = Pair::ready();
    p.client.io().cork(true);
    p.client.close(p.now);
    p.turn_client();
    assert!(!p.client_turn.shut_write, "the GOAWAY is still below");
    p.client.io().cork(false);
    p.turn_client();
    assert!(p.client_turn.shut_write);
}

#[test]
fn a_flush_that_fails_ends_the_connection() {
    let mut p = Pair::ready();
    p.server.io().break_flush(std::io::ErrorKind::ConnectionReset);
    p.turn_server();
    assert!(p.server_turn.closed);
    assert_eq!(p.server_turn.why, Some(Closed::Io(std::io::ErrorKind::ConnectionReset)));
}

#[test]
fn compressed_message_longer_than_the_inline_limit_is_handed_out_as_it_came() {
    let server = ServerConfig { inline_decompress: 50_000, ..ServerConfig::default() };
    let mut p = Pair::with(server, client_config(), usize::MAX);
    p.run();
    let long = Bytes::from("span ".repeat(20_000));
    for coding in [Coding::Gzip, Coding::Zstd, Coding::Snappy] {
        p.start_with(coding.clone(), vec![long.clone()], &[], None);
        p.run();
        let call = p.calls.pop().unwrap();
        assert_eq!((&call.coding, call.message.len()), (&coding, call.wire_len as usize));
        let content =
            crate::Workspace::new().decompress(&coding.in_grpc(), call.message, 1 << 20, |_| Ok::<_, ()>(())).unwrap();
        assert_eq!(content, long);
        p.server.reply_ok(call.id, Bytes::new());
        p.run();
        p.one_done().unwrap();
        p.start_with(coding, vec![long.slice(..40_000)], &[], None);
        p.run();
        assert_eq!((&p.calls[0].coding, p.calls[0].message.len()), (&Coding::Identity, 40_000));
        p.echo();
        p.one_done().unwrap();
    }
}
