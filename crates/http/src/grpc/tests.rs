//! Client and server joined by a pipe in memory, under a virtual clock.

mod raw;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue};

use self::raw::{POST_GRPC, RawPeer};
use super::client::{CompletedCall, GrpcClientConn, GrpcClientConnConfig, OutgoingCall, StartCallError};
use super::header::{ENHANCE_YOUR_CALM, format_timeout, is_grpc_content_type, parse_timeout};
use super::server::{CallHead, GrpcServerConn, GrpcServerConnConfig, IncomingCall, unknown_method, unknown_service};
use super::*;
use crate::admission::Admission;
use crate::coding::Coding;
use crate::pipe::{PipeEnd, pipe};
use crate::status::{Code, Status};
use crate::{CloseReason, PollResult};

const SEC: u64 = 1_000_000_000;
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Counts what it admits; refuses when configured to.
#[derive(Default)]
struct TestAdmission {
    refuse: Option<Status>,
    max_growth: Option<u64>,
    admitted: usize,
    requested_sizes: Vec<u64>,
    heads: Vec<CallHead>,
}

impl Admission<CallHead> for TestAdmission {
    type Permit = u64;

    fn route(&mut self, path: &str) -> Result<u32, Status> {
        match path {
            EXPORT => Ok(7),
            p if p.starts_with("/opentelemetry.proto.collector.trace.v1.TraceService/") => Err(unknown_method(p)),
            p => Err(unknown_service(p)),
        }
    }

    fn admit_head(&mut self, call: &CallHead) -> Result<u64, Status> {
        self.heads.push(call.clone());
        Ok(0)
    }

    fn admit_message(&mut self, permit: &mut u64, _: &CallHead, len: u32) -> Result<(), Status> {
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
        self.requested_sizes.push(to);
        if self.max_growth.is_some_and(|max| to > max) {
            return Err(Status::unavailable("data refused due to high memory usage"));
        }
        *permit = to;
        Ok(())
    }
}

struct ClientAndServer {
    now: u64,
    client: GrpcClientConn<PipeEnd>,
    server: GrpcServerConn<PipeEnd, u64>,
    admission: TestAdmission,
    calls: Vec<IncomingCall<u64>>,
    cancelled: Vec<CallId>,
    completed: Vec<CompletedCall>,
    client_poll: PollResult,
    server_poll: PollResult,
}

fn client_config() -> GrpcClientConnConfig {
    let authority = Authority::from_static("collector:4317");
    GrpcClientConnConfig::new(Scheme::HTTP, authority, HeaderValue::from_static("otelcore-test"))
}

impl ClientAndServer {
    fn new() -> Self {
        Self::with_config(GrpcServerConnConfig::default(), client_config(), usize::MAX)
    }

    fn with_config(server: GrpcServerConnConfig, client: GrpcClientConnConfig, pipe_capacity: usize) -> Self {
        let (a, b) = pipe(pipe_capacity);
        Self {
            now: SEC,
            client: GrpcClientConn::new(a, Rc::new(client), SEC),
            server: GrpcServerConn::new(b, Rc::new(server), SEC, 42),
            admission: TestAdmission::default(),
            calls: Vec::new(),
            cancelled: Vec::new(),
            completed: Vec::new(),
            client_poll: PollResult::default(),
            server_poll: PollResult::default(),
        }
    }

    fn connected() -> Self {
        let mut p = Self::new();
        p.run_until_idle();
        assert!(p.client.can_start());
        p
    }

    fn poll_server(&mut self) {
        self.server_poll = self.server.poll(self.now, &mut self.admission);
        self.calls.extend(std::iter::from_fn(|| self.server.poll_call()));
        self.cancelled.extend(std::iter::from_fn(|| self.server.poll_cancelled()));
    }

    fn poll_client(&mut self) {
        self.client_poll = self.client.poll(self.now);
        self.completed.extend(std::iter::from_fn(|| self.client.poll_completed()));
    }

    /// Calls `poll` on both sides until no more bytes move.
    fn run_until_idle(&mut self) {
        for _ in 0..100_000 {
            let before = self.client.io().progress();
            self.poll_client();
            self.poll_server();
            let progressed = self.client.io().progress() != before;
            if !progressed
                && !self.server_poll.poll_again
                && !self.client_poll.poll_again
                && !self.client.io().is_readable()
                && !self.server.io().is_readable()
            {
                return;
            }
            let closed = self.client_poll.closed || self.server_poll.closed;
            if closed {
                self.poll_client();
                self.poll_server();
                return;
            }
        }
        panic!("never quiet");
    }

    /// Advances the time, stopping at every timeout of either side.
    fn advance_time(&mut self, nanos: u64) {
        let end = self.now + nanos;
        loop {
            self.run_until_idle();
            match crate::connection::earliest(self.client.poll_timeout(), self.server.poll_timeout()) {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            if self.client_poll.closed && self.server_poll.closed {
                break;
            }
        }
        self.now = end;
        self.run_until_idle();
    }

    fn start_with(
        &mut self,
        encoding: Coding,
        parts: Vec<Bytes>,
        metadata: &[(HeaderName, HeaderValue)],
        timeout: Option<u64>,
    ) -> CallId {
        let path = PathAndQuery::from_static(EXPORT);
        let deadline = timeout.map(|w| self.now + w);
        self.client
            .start(
                self.now,
                OutgoingCall { path: &path, metadata, encoding, compressed: false, message: parts, deadline },
            )
            .unwrap()
    }

    fn start(&mut self, parts: Vec<Bytes>) -> CallId {
        self.start_with(Coding::Identity, parts, &[], None)
    }

    fn start_path(&mut self, path: &'static str) -> CallId {
        let path = PathAndQuery::from_static(path);
        let message = [Bytes::from_static(b"x")];
        let call = OutgoingCall {
            path: &path,
            metadata: &[],
            encoding: Coding::Identity,
            compressed: false,
            message,
            deadline: None,
        };
        self.client.start(self.now, call).unwrap()
    }

    /// Responds to every waiting call with its own message.
    fn echo(&mut self) {
        for call in self.calls.drain(..) {
            self.server.respond(call.id, call.message);
        }
        self.run_until_idle();
    }

    fn take_result(&mut self) -> Result<Bytes, Status> {
        assert_eq!(self.completed.len(), 1, "{:?}", self.completed);
        self.completed.pop().unwrap().result
    }

    fn take_error(&mut self) -> Status {
        self.take_result().unwrap_err()
    }
}

fn pseudo_random_bytes(n: usize, seed: u32) -> Bytes {
    (0..n as u32).map(|i| ((i ^ seed).wrapping_mul(2_654_435_761) >> 11) as u8).collect::<Vec<u8>>().into()
}

#[test]
fn call_is_received_with_its_head_and_gets_its_response() {
    let mut p = ClientAndServer::with_config(
        GrpcServerConnConfig { keep_metadata: true, ..GrpcServerConnConfig::default() },
        client_config(),
        usize::MAX,
    );
    p.run_until_idle();
    let tenant = (HeaderName::from_static("x-tenant"), HeaderValue::from_static("acme"));
    let id = p.start_with(Coding::Identity, vec![pseudo_random_bytes(1024, 1)], &[tenant], Some(5 * SEC));
    p.run_until_idle();
    let call = &p.calls[0];
    assert_eq!((call.head.method, call.head.path(), call.head.authority()), (7, EXPORT, Some("collector:4317")));
    assert_eq!(call.head.metadata.get("x-tenant").unwrap(), "acme");
    assert_eq!(call.head.user_agent(), Some("otelcore-test"));
    assert_eq!(call.head.timeout, Some(Duration::from_secs(5)));
    assert_eq!((call.deadline, call.wire_len, call.permit), (Some(p.now + 5 * SEC), 1024, 1024));
    assert_eq!((p.server.in_flight(), p.client.in_flight()), (1, 1));
    p.echo();
    assert_eq!(p.completed[0].id, id);
    assert_eq!(p.take_result().unwrap(), pseudo_random_bytes(1024, 1));
    assert!(p.server.is_idle() && p.client.in_flight() == 0 && p.server.buffered_bytes() == 0);
}

#[test]
fn metadata_is_available_at_admission_and_dropped_by_default() {
    let mut p = ClientAndServer::connected();
    let token = (HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer t"));
    p.start_with(Coding::Identity, vec![pseudo_random_bytes(10, 1)], &[token], None);
    p.run_until_idle();
    assert_eq!(p.admission.heads[0].metadata.get("authorization").unwrap(), "Bearer t");
    assert!(p.calls[0].head.metadata.is_empty());
}

#[test]
fn message_of_many_parts_passes_small_pipes_and_windows() {
    for (cap, window, budget) in [(usize::MAX, 1 << 20, 1 << 18), (1000, 65_535, 3000), (77, 1000, 50)] {
        let server = GrpcServerConnConfig {
            initial_stream_window: window,
            initial_connection_window: window.max(65_535),
            read_budget: budget,
            ..GrpcServerConnConfig::default()
        };
        let mut p = ClientAndServer::with_config(server, client_config(), cap);
        p.run_until_idle();
        let size = if cap == 77 { 1 << 16 } else { 1 << 20 };
        let parts: Vec<Bytes> = pseudo_random_bytes(size, 3).chunks(10_007).map(Bytes::copy_from_slice).collect();
        p.start(parts);
        p.run_until_idle();
        assert_eq!(p.calls[0].message, pseudo_random_bytes(size, 3), "cap {cap}");
        p.echo();
        assert_eq!(p.take_result().unwrap(), pseudo_random_bytes(size, 3), "cap {cap}");
    }
}

#[test]
fn gzip_message_is_decompressed_and_grows_its_permit() {
    let mut p = ClientAndServer::connected();
    let plain = Bytes::from("span ".repeat(20_000));
    p.start_with(Coding::Gzip, vec![plain.slice(..500), plain.slice(500..)], &[], None);
    p.run_until_idle();
    assert_eq!((&p.calls[0].message, &p.calls[0].head.encoding), (&plain, &Coding::Gzip));
    assert!(p.calls[0].wire_len < 2000 && p.calls[0].permit >= 100_000);
    assert!(p.admission.requested_sizes.is_sorted(), "requested before each growth: {:?}", p.admission.requested_sizes);
    let before = p.server.io().unread_len();
    assert_eq!(before, 0);
    p.echo();
    assert_eq!(p.take_result().unwrap(), plain);
    // A message too small for compression is sent uncompressed with the same `grpc-encoding`.
    p.start_with(Coding::Gzip, vec![Bytes::from_static(b"tiny")], &[], None);
    p.run_until_idle();
    assert_eq!(p.calls[0].wire_len, 4);
    p.echo();
    assert_eq!(p.take_result().unwrap(), "tiny");
}

#[test]
fn zstd_and_snappy_are_decompressed_and_other_encodings_unimplemented() {
    let mut p = ClientAndServer::connected();
    let plain = Bytes::from("span ".repeat(20_000));
    for coding in [Coding::Zstd, Coding::Snappy] {
        p.start_with(coding.clone(), vec![plain.slice(..500), plain.slice(500..)], &[], None);
        p.run_until_idle();
        assert_eq!((&p.calls[0].message, &p.calls[0].head.encoding), (&plain, &coding));
        let framed = crate::Workspace::new().compress(&coding.in_grpc(), [&plain[..500], &plain[500..]]);
        assert_eq!(p.calls[0].wire_len as usize, framed.len(), "what gRPC calls {}", coding.name());
        p.echo();
        assert_eq!(p.take_result().unwrap(), plain);
    }
    p.start_with(Coding::Lz4, vec![plain], &[], None);
    p.run_until_idle();
    let status = p.take_error();
    assert_eq!(status.code, Code::Unimplemented);
    assert_eq!(status.message, "grpc: Decompressor is not installed for grpc-encoding \"lz4\"");
}

#[test]
fn compressed_message_above_the_limit_is_refused() {
    let mut p = ClientAndServer::connected();
    for coding in [Coding::Gzip, Coding::Zstd, Coding::Snappy] {
        p.start_with(coding, vec![Bytes::from(vec![0; 5 << 20])], &[], None);
        p.run_until_idle();
        let status = p.take_error();
        assert_eq!(status.code, Code::ResourceExhausted);
        assert_eq!(status.message, "grpc: received message after decompression larger than max 4194304");
    }
    p.admission.max_growth = Some(100_000);
    p.start_with(Coding::Gzip, vec![Bytes::from(vec![0; 1 << 20])], &[], None);
    p.run_until_idle();
    let status = p.take_error();
    assert_eq!((status.code, status.message.as_ref()), (Code::Unavailable, "data refused due to high memory usage"));
    assert!(p.calls.is_empty() && p.server.is_idle());
}

#[test]
fn message_above_the_limit_is_refused_at_its_prefix() {
    let mut p = ClientAndServer::with_config(
        GrpcServerConnConfig {
            max_recv_message: 1000,
            initial_stream_window: 65_535,
            ..GrpcServerConnConfig::default()
        },
        client_config(),
        usize::MAX,
    );
    p.run_until_idle();
    p.start(vec![pseudo_random_bytes(1001, 1)]);
    p.run_until_idle();
    let status = p.take_error();
    assert_eq!(status.code, Code::ResourceExhausted);
    assert_eq!(status.message, "grpc: received message larger than max (1001 vs. 1000)");
    assert_eq!(p.admission.admitted, 0);
    p.start(vec![pseudo_random_bytes(1000, 1)]);
    p.run_until_idle();
    p.echo();
    assert!(p.take_result().is_ok());
}

#[test]
fn response_above_the_limit_fails_only_its_call() {
    let mut p = ClientAndServer::with_config(
        GrpcServerConnConfig::default(),
        GrpcClientConnConfig { max_recv_message: 100, ..client_config() },
        usize::MAX,
    );
    p.run_until_idle();
    p.start(vec![pseudo_random_bytes(101, 1)]);
    p.run_until_idle();
    p.echo();
    assert_eq!(p.take_error().message, "grpc: received message larger than max (101 vs. 100)");
    p.start(vec![pseudo_random_bytes(100, 1)]);
    p.run_until_idle();
    p.echo();
    assert!(p.take_result().is_ok());
}

#[test]
fn connection_after_thousands_of_refusals_still_works() {
    let mut p = ClientAndServer::with_config(
        GrpcServerConnConfig {
            initial_stream_window: 65_535,
            initial_connection_window: 65_535,
            ..GrpcServerConnConfig::default()
        },
        client_config(),
        usize::MAX,
    );
    p.run_until_idle();
    p.admission.refuse =
        Some(Status::unavailable("data refused due to high memory usage").with_retry_after(Duration::from_millis(250)));
    // Bodies larger than the windows: the client is still sending when the refusal comes.
    let body = pseudo_random_bytes(100_000, 5);
    for round in 0..600 {
        for _ in 0..10 {
            p.start(vec![body.clone()]);
        }
        p.run_until_idle();
        assert_eq!(p.completed.len(), 10, "round {round}: {:?} {:?}", p.client_poll, p.server_poll);
        for done in p.completed.drain(..) {
            let status = done.result.unwrap_err();
            assert_eq!((status.code, status.retry_after), (Code::Unavailable, Some(Duration::from_millis(250))));
            assert!(done.may_be_processed);
        }
        assert_eq!(
            (p.server.buffered_bytes(), p.server.in_flight(), p.server.is_idle()),
            (0, 0, true),
            "round {round}"
        );
    }
    p.admission.refuse = None;
    p.start(vec![body.clone()]);
    p.run_until_idle();
    p.echo();
    assert_eq!(p.take_result().unwrap(), body);
}

#[test]
fn refused_client_that_keeps_sending_is_discarded_and_then_reset() {
    let mut raw = RawPeer::new(GrpcServerConnConfig { max_recv_message: 1000, ..GrpcServerConnConfig::default() });
    raw.send_headers(1, POST_GRPC, false);
    raw.send_data(1, &[&[0][..], &5000_u32.to_be_bytes(), &[7; 5000]].concat(), true);
    raw.poll();
    let frames = raw.received_frames();
    assert!(!frames.iter().any(|f| f.frame_type == 3), "no RST_STREAM for one who finishes: {frames:?}");
    assert!(raw.server.is_idle());
    // Another client never stops sending.
    raw.send_headers(3, POST_GRPC, false);
    raw.send_data(3, &[&[0][..], &5000_u32.to_be_bytes()].concat(), false);
    let mut reset = false;
    for _ in 0..200 {
        raw.send_data(3, &[0; 16_384], false);
        raw.poll();
        reset |= raw.received_frames().iter().any(|f| f.frame_type == 3 && f.stream == 3);
        if reset {
            break;
        }
    }
    assert!(reset && raw.server.is_idle());
}

#[test]
fn unknown_path_is_unimplemented_with_the_text_of_grpc_go() {
    let mut p = ClientAndServer::connected();
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
        p.start_path(path);
        p.run_until_idle();
        let status = p.take_error();
        assert_eq!((status.code, status.message.as_ref()), (Code::Unimplemented, text), "{path}");
    }
}

#[test]
fn error_reaches_the_client_with_text_and_retry_delay() {
    let mut p = ClientAndServer::connected();
    p.start(vec![pseudo_random_bytes(10, 1)]);
    p.run_until_idle();
    let status = Status::resource_exhausted("zu viel: 100% ü\n").with_retry_after(Duration::from_secs(3));
    let id = p.calls.pop().unwrap().id;
    p.server.respond_error(id, &status);
    p.server.respond_error(id, &status);
    p.run_until_idle();
    let got = p.take_error();
    assert_eq!((got.code, &got.message, got.retry_after), (status.code, &status.message, status.retry_after));
}

#[test]
fn deadline_ends_the_call_on_both_sides() {
    let mut p = ClientAndServer::connected();
    p.start_with(Coding::Identity, vec![pseudo_random_bytes(10, 1)], &[], Some(2 * SEC));
    p.run_until_idle();
    let id = p.calls[0].id;
    p.advance_time(3 * SEC);
    let status = p.take_error();
    assert_eq!((status.code, status.message.as_ref()), (Code::DeadlineExceeded, "context deadline exceeded"));
    assert_eq!(p.cancelled, [id]);
    p.server.respond(id, Bytes::new());
    p.run_until_idle();
    assert!(p.completed.is_empty() && p.server.is_idle());
    // The connection still works.
    p.calls.clear();
    p.start(vec![pseudo_random_bytes(10, 1)]);
    p.run_until_idle();
    p.echo();
    assert!(p.take_result().is_ok());
}

#[test]
fn deadline_ignored_by_the_client_is_enforced_by_the_server() {
    let mut raw = RawPeer::new(GrpcServerConnConfig::default());
    raw.send_headers(1, &[POST_GRPC, &[("grpc-timeout", "100m")]].concat(), false);
    raw.send_data(1, &[0, 0, 0, 0, 1, 9], true);
    raw.poll();
    let call = raw.server.poll_call().unwrap();
    assert_eq!(raw.server.poll_timeout(), Some(SEC + 100_000_000));
    raw.now += 100_000_000;
    raw.poll();
    assert_eq!(raw.server.poll_cancelled(), Some(call.id));
    let frames = raw.received_frames();
    assert!(frames.iter().any(|f| f.frame_type == 1 && f.flags & 1 == 1 && f.stream == 1), "{frames:?}");
}

#[test]
fn cancelled_call_is_reported_once_and_its_response_ignored() {
    let mut p = ClientAndServer::connected();
    let first = p.start(vec![pseudo_random_bytes(10, 1)]);
    let second = p.start(vec![pseudo_random_bytes(20, 1)]);
    p.run_until_idle();
    p.client.cancel(first);
    p.run_until_idle();
    assert_eq!((p.cancelled.len(), p.cancelled[0]), (1, p.calls[0].id));
    p.echo();
    assert_eq!(p.completed.len(), 1);
    assert_eq!((p.completed[0].id, p.completed[0].result.as_ref().unwrap().len()), (second, 20));
}

#[test]
fn call_cancelled_before_it_was_taken_is_not_reported() {
    let mut p = ClientAndServer::connected();
    let id = p.start(vec![pseudo_random_bytes(10, 1)]);
    p.poll_client();
    let _ = p.server.poll(p.now, &mut p.admission);
    p.client.cancel(id);
    p.run_until_idle();
    assert!(p.calls.is_empty() && p.cancelled.is_empty() && p.server.is_idle());
}

#[test]
fn drained_connection_finishes_calls_in_flight_and_refuses_new_ones() {
    let mut p = ClientAndServer::connected();
    p.start(vec![pseudo_random_bytes(10, 1)]);
    p.run_until_idle();
    p.server.drain(p.now);
    p.run_until_idle();
    assert!(p.client.is_going_away() && !p.client.can_start() && !p.server_poll.closed);
    let path = PathAndQuery::from_static(EXPORT);
    let call = OutgoingCall {
        path: &path,
        metadata: &[],
        encoding: Coding::Identity,
        compressed: false,
        message: [Bytes::new()],
        deadline: None,
    };
    assert_eq!(p.client.start(p.now, call), Err(StartCallError::Connection));
    p.echo();
    assert!(p.take_result().is_ok());
    p.advance_time(2 * SEC);
    assert!(p.server_poll.shutdown_write && p.server_poll.closed);
    assert_eq!(p.server_poll.close_reason, Some(CloseReason::Local("drained")));
    assert!(p.client.is_going_away());
}

#[test]
fn connection_drained_for_a_reason_finishes_its_calls_and_ends_with_the_reason() {
    let mut p = ClientAndServer::connected();
    p.start(vec![pseudo_random_bytes(10, 1)]);
    p.run_until_idle();
    p.server.drain_because(p.now, "load_skew");
    p.run_until_idle();
    assert!(p.client.is_going_away());
    p.echo();
    assert!(p.take_result().is_ok());
    p.advance_time(2 * SEC);
    assert!(p.server_poll.closed);
    assert_eq!(p.server_poll.close_reason, Some(CloseReason::Local("load_skew")));
}

#[test]
fn drained_connection_without_acknowledgement_is_closed() {
    let mut raw = RawPeer::new(GrpcServerConnConfig::default());
    raw.server.drain(raw.now);
    raw.poll();
    assert_eq!(raw.received_frames().iter().filter(|f| f.frame_type == 7).count(), 1);
    for _ in 0..3 {
        raw.now = raw.server.poll_timeout().unwrap_or(raw.now);
        raw.poll();
    }
    assert!(raw.last_poll.closed && raw.now <= 8 * SEC, "{:?} at {}", raw.last_poll, raw.now);
    assert_eq!(raw.received_frames().iter().filter(|f| f.frame_type == 7).count(), 1);
}

#[test]
fn connection_at_max_age_is_drained_and_closed_after_the_grace_period() {
    let mut cfg = GrpcServerConnConfig::default();
    cfg.keepalive.max_age = Some(100 * SEC);
    cfg.keepalive.max_age_grace = Some(10 * SEC);
    let mut p = ClientAndServer::with_config(cfg, client_config(), usize::MAX);
    p.run_until_idle();
    p.start(vec![pseudo_random_bytes(10, 1)]);
    p.advance_time(89 * SEC);
    assert!(!p.client.is_going_away());
    p.advance_time(21 * SEC);
    assert!(p.client.is_going_away() && p.completed.is_empty(), "the call goes on");
    p.advance_time(12 * SEC);
    assert_eq!(p.server_poll.close_reason, Some(CloseReason::Local("max_age")));
    assert!(p.server_poll.closed);
    assert_eq!(p.cancelled.len(), 1);
}

#[test]
fn connection_idle_for_max_idle_is_drained() {
    let mut cfg = GrpcServerConnConfig::default();
    cfg.keepalive.max_idle = Some(10 * SEC);
    let mut p = ClientAndServer::with_config(cfg, client_config(), usize::MAX);
    p.run_until_idle();
    p.advance_time(9 * SEC);
    p.start(vec![pseudo_random_bytes(10, 1)]);
    p.run_until_idle();
    p.advance_time(60 * SEC);
    assert!(!p.client.is_going_away(), "a call is going on");
    p.echo();
    p.advance_time(13 * SEC);
    assert_eq!(p.server_poll.close_reason, Some(CloseReason::Local("max_idle")));
}

#[test]
fn peer_that_answers_no_keepalive_ping_is_disconnected() {
    let client = GrpcClientConnConfig { keepalive: Some(KeepaliveClientConfig::default()), ..client_config() };
    let mut p = ClientAndServer::with_config(GrpcServerConnConfig::default(), client, usize::MAX);
    p.run_until_idle();
    p.start(vec![pseudo_random_bytes(10, 1)]);
    p.run_until_idle();
    // From here on, only the client's `poll` is called.
    for _ in 0..3 {
        p.now = p.client.poll_timeout().unwrap_or(p.now);
        p.poll_client();
    }
    assert_eq!(p.now, 21 * SEC);
    let status = p.take_error();
    assert_eq!(status.code, Code::Unavailable);
    assert_eq!(status.message, "keepalive ping failed to receive ACK within timeout");
    assert!(p.client_poll.closed);

    let mut raw = RawPeer::new(GrpcServerConnConfig::default());
    for _ in 0..3 {
        raw.now = raw.server.poll_timeout().unwrap_or(raw.now);
        raw.poll();
    }
    assert_eq!(raw.now, SEC + (7200 + 20) * SEC + SEC, "two hours, twenty seconds and the linger");
    assert_eq!(raw.last_poll.close_reason, Some(CloseReason::Timeout("keepalive ping")));
}

#[test]
fn idle_connection_with_answered_pings_stays_open() {
    let client = GrpcClientConnConfig {
        keepalive: Some(KeepaliveClientConfig { permit_without_stream: true, ..KeepaliveClientConfig::default() }),
        ..client_config()
    };
    let mut cfg = GrpcServerConnConfig::default();
    cfg.keepalive.min_time = 5 * SEC;
    cfg.keepalive.permit_without_stream = true;
    let mut p = ClientAndServer::with_config(cfg, client, usize::MAX);
    p.run_until_idle();
    p.advance_time(3600 * SEC);
    assert!(p.client.is_ready() && !p.client_poll.closed);
}

#[test]
fn client_that_pings_too_often_gets_too_many_pings() {
    let client = GrpcClientConnConfig {
        keepalive: Some(KeepaliveClientConfig { permit_without_stream: true, ..KeepaliveClientConfig::default() }),
        ..client_config()
    };
    let mut p = ClientAndServer::with_config(GrpcServerConnConfig::default(), client, usize::MAX);
    p.run_until_idle();
    p.start(vec![pseudo_random_bytes(10, 1)]);
    p.advance_time(60 * SEC);
    assert_eq!(p.server_poll.close_reason, Some(CloseReason::TooManyPings));
    let status = p.take_error();
    assert_eq!(status.code, Code::Unavailable);
    assert!(status.message.contains("code: ENHANCE_YOUR_CALM, debug data: \"too_many_pings\""), "{}", status.message);
}

#[test]
fn pings_of_bandwidth_estimation_are_accepted() {
    // To measure bandwidth, grpc-go sends one PING for each series of DATA frames.
    let mut raw = RawPeer::new(GrpcServerConnConfig::default());
    raw.send_headers(1, POST_GRPC, false);
    raw.send_data(1, &[0, 0, 0, 0, 1, 9], true);
    raw.poll();
    let call = raw.server.poll_call().unwrap();
    raw.server.respond(call.id, pseudo_random_bytes(400_000, 1));
    raw.poll();
    let mut got = 0;
    while got < 400_005 {
        got += raw.received_frames().iter().filter(|f| f.frame_type == 0).map(|f| f.payload.len()).sum::<usize>();
        raw.send_frame(6, 0, 0, &[0; 8]);
        raw.send_frame(8, 0, 0, &20_000_u32.to_be_bytes());
        raw.send_frame(8, 0, 1, &20_000_u32.to_be_bytes());
        raw.poll();
        assert!(!raw.last_poll.shutdown_write, "struck after {got} bytes");
    }
    for _ in 0..4 {
        raw.send_frame(6, 0, 0, &[0; 8]);
        raw.poll();
    }
    assert_eq!(raw.received_goaway(), (ENHANCE_YOUR_CALM, b"too_many_pings".to_vec()));
}

#[test]
fn lost_connection_ends_every_call_with_unavailable() {
    let mut p = ClientAndServer::connected();
    p.start(vec![pseudo_random_bytes(10, 1)]);
    p.start(vec![pseudo_random_bytes(10, 1)]);
    p.run_until_idle();
    p.server.io().close();
    p.run_until_idle();
    assert_eq!(p.completed.len(), 2);
    for done in p.completed.drain(..) {
        let status = done.result.unwrap_err();
        assert_eq!((status.code, status.message.as_ref()), (Code::Unavailable, "error reading from server: EOF"));
        assert!(done.may_be_processed, "the server may have done it");
    }
    assert!(p.client_poll.closed);
    p.client.io().close();
    p.poll_server();
    assert_eq!(p.cancelled.len(), 2);
    assert_eq!(p.server_poll.close_reason, Some(CloseReason::Peer));
}

#[test]
fn closed_client_ends_its_calls_on_both_sides() {
    let mut p = ClientAndServer::connected();
    p.start(vec![pseudo_random_bytes(10, 1)]);
    p.run_until_idle();
    p.client.close(p.now);
    p.run_until_idle();
    assert_eq!(p.take_error().message, "grpc: the client connection is closing");
    assert_eq!(p.cancelled.len(), 1);
}

#[test]
fn call_blocked_by_a_full_pipe_continues_after_a_read() {
    let (a, b) = pipe(20_000);
    let mut p = ClientAndServer::connected();
    p.client = GrpcClientConn::new(a, Rc::new(client_config()), p.now);
    p.server = GrpcServerConn::new(b, Rc::new(GrpcServerConnConfig::default()), p.now, 1);
    p.run_until_idle();
    p.start(vec![pseudo_random_bytes(500_000, 2)]);
    for _ in 0..5 {
        p.poll_client();
    }
    assert_eq!(p.client.io().unread_len(), 20_000, "the pipe is full and the server does not read");
    p.run_until_idle();
    p.echo();
    assert_eq!(p.take_result().unwrap().len(), 500_000);
}

#[test]
fn client_at_the_stream_limit_of_the_peer_starts_no_call() {
    let mut p = ClientAndServer::with_config(
        GrpcServerConnConfig { max_concurrent_streams: Some(3), ..GrpcServerConnConfig::default() },
        client_config(),
        1 << 20,
    );
    p.run_until_idle();
    for _ in 0..3 {
        p.start(vec![pseudo_random_bytes(10, 1)]);
    }
    assert!(p.client.is_ready() && !p.client.can_start());
    p.run_until_idle();
    p.echo();
    assert_eq!((p.completed.len(), p.client.capacity()), (3, 3));
}

#[test]
fn connection_with_much_input_is_read_up_to_its_budget() {
    let mut p = ClientAndServer::with_config(
        GrpcServerConnConfig { read_budget: 10_000, ..GrpcServerConnConfig::default() },
        client_config(),
        usize::MAX,
    );
    p.run_until_idle();
    p.start(vec![pseudo_random_bytes(60_000, 1)]);
    p.poll_client();
    let before = p.client.io().unread_len();
    p.poll_server();
    assert!(p.server_poll.poll_again);
    assert_eq!(before - p.client.io().unread_len(), 10_000);
    p.run_until_idle();
    assert_eq!(p.calls.len(), 1);
}

#[test]
fn small_calls_are_sent_in_one_write() {
    let mut p = ClientAndServer::connected();
    let before = p.client.io().write_calls();
    for _ in 0..20 {
        p.start(vec![pseudo_random_bytes(100, 1), pseudo_random_bytes(100, 2)]);
    }
    let _ = p.client.flush(p.now);
    assert_eq!(p.client.io().write_calls() - before, 1);
    p.poll_server();
    assert_eq!(p.calls.len(), 20);
    let before = p.server.io().write_calls();
    for call in p.calls.drain(..) {
        p.server.respond(call.id, Bytes::new());
    }
    let _ = p.server.flush(p.now);
    assert_eq!(p.server.io().write_calls() - before, 1);
    p.run_until_idle();
    assert_eq!(p.completed.len(), 20);
}

#[test]
fn goaway_that_is_not_flushed_delays_shutdown() {
    let mut p = ClientAndServer::connected();
    p.server.io().set_corked(true);
    p.start(vec![pseudo_random_bytes(10, 1)]);
    p.run_until_idle();
    let call = p.calls.pop().unwrap();
    p.server.respond(call.id, call.message);
    p.server.drain(p.now);
    p.run_until_idle();
    assert!(p.completed.is_empty() && !p.server_poll.shutdown_write);
    p.server.io().set_corked(false);
    p.poll_server();
    p.run_until_idle();
    assert_eq!(p.take_result().unwrap().len(), 10);
    let mut p = ClientAndServer::connected();
    p.client.io().set_corked(true);
    p.client.close(p.now);
    p.poll_client();
    assert!(!p.client_poll.shutdown_write, "the GOAWAY is still below");
    p.client.io().set_corked(false);
    p.poll_client();
    assert!(p.client_poll.shutdown_write);
}

#[test]
fn failed_flush_closes_the_connection() {
    let mut p = ClientAndServer::connected();
    p.server.io().fail_flush(std::io::ErrorKind::ConnectionReset);
    p.poll_server();
    assert!(p.server_poll.closed);
    assert_eq!(p.server_poll.close_reason, Some(CloseReason::Io(std::io::ErrorKind::ConnectionReset)));
}

#[test]
fn compressed_message_above_the_inline_limit_is_passed_on_compressed() {
    let server = GrpcServerConnConfig { inline_decompress: 50_000, ..GrpcServerConnConfig::default() };
    let mut p = ClientAndServer::with_config(server, client_config(), usize::MAX);
    p.run_until_idle();
    let long = Bytes::from("span ".repeat(20_000));
    for coding in [Coding::Gzip, Coding::Zstd, Coding::Snappy] {
        p.start_with(coding.clone(), vec![long.clone()], &[], None);
        p.run_until_idle();
        let call = p.calls.pop().unwrap();
        assert_eq!((&call.coding, call.message.len()), (&coding, call.wire_len as usize));
        let content =
            crate::Workspace::new().decompress(&coding.in_grpc(), call.message, 1 << 20, |_| Ok::<_, ()>(())).unwrap();
        assert_eq!(content, long);
        p.server.respond(call.id, Bytes::new());
        p.run_until_idle();
        p.take_result().unwrap();
        p.start_with(coding, vec![long.slice(..40_000)], &[], None);
        p.run_until_idle();
        assert_eq!((&p.calls[0].coding, p.calls[0].message.len()), (&Coding::Identity, 40_000));
        p.echo();
        p.take_result().unwrap();
    }
}
