//! The client side of a gRPC connection.
//!
//! Sends the parts of a message without joining them, handles deadlines and keepalive, and reports for each call how it
//! ended and whether it is certain that the peer did not process it. Never connects, reconnects or retries: the channel
//! does that.

mod call;
mod config;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::io::{Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::PingPong;
use h2::client::{Connection, SendRequest};
use http::header::{CONTENT_TYPE, HeaderName, TE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use slab::Slab;
use smallvec::SmallVec;

use self::call::{ActiveCall, CallProgress};
pub use self::config::GrpcClientConnConfig;
use super::header::{
    APPLICATION_GRPC, CallId, GRPC_ACCEPT_ENCODING, GRPC_ENCODING, GRPC_TIMEOUT, MIN_COMPRESS_SIZE, format_timeout,
};
use super::keepalive::{ClientKeepalive, KeepaliveAction};
use super::message::SendBuf;
use crate::coding::Coding;
use crate::connection::{CloseReason, PollResult, earliest};
use crate::h2_core::{LINGER, NO_ERROR};
use crate::h2_io::{H2Io, H2Transport};
use crate::status::Status;

/// A call to make.
#[derive(Debug)]
pub struct OutgoingCall<'a, M> {
    /// `/package.Service/Method`.
    pub path: &'a PathAndQuery,
    /// Request metadata.
    pub metadata: &'a [(HeaderName, HeaderValue)],
    /// How to compress the message.
    pub encoding: Coding,
    /// The message is already compressed with `encoding`.
    pub compressed: bool,
    /// The parts of the message, in order.
    pub message: M,
    /// When the call fails with DEADLINE_EXCEEDED.
    pub deadline: Option<u64>,
}

/// No call can begin on this connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartCallError {
    /// The handshake is not done, the peer sent GOAWAY, or the connection has ended.
    #[error("connection is not ready")]
    Connection,
    /// The number of calls in progress has reached the limit of the peer or of this client.
    #[error("too many concurrent streams")]
    Streams,
    /// The message is longer than 4 GiB, or a header is not valid.
    #[error("call cannot be encoded")]
    Call,
}

/// A call that ended, and how.
#[derive(Debug)]
pub struct CompletedCall {
    /// From [`GrpcClientConn::start`].
    pub id: CallId,
    /// The response message, decompressed, or the status.
    pub result: Result<Bytes, Status>,
    /// False when it is certain that the peer did not process the call, so that it may be sent again in every case.
    pub may_be_processed: bool,
}

/// Most calls in progress on one connection. A peer need not set a limit, and handling one of its frames can cost one
/// step for each call.
const MAX_CALLS: usize = 1024;

enum State<T> {
    Open(Box<Connection<H2Io<T>, SendBuf>>, SendRequest<SendBuf>),
    Linger(u64),
    Closed,
}

/// A gRPC client connection over any non-blocking stream. See the crate's call order.
pub struct GrpcClientConn<T: Read + Write> {
    state: State<T>,
    transport: H2Transport<T>,
    cfg: Rc<GrpcClientConnConfig>,
    calls: Slab<ActiveCall>,
    slots_by_id: BTreeMap<u32, usize>,
    completed_calls: VecDeque<CompletedCall>,
    readable_streams: Vec<u32>,
    /// Deadline and stream id of each call that has a deadline.
    deadlines: BTreeSet<(u64, u32)>,
    keepalive: ClientKeepalive,
    ping_pong: Option<PingPong>,
    /// The last stream id in the GOAWAY of the peer; `None` before a GOAWAY arrived.
    goaway_last_stream_id: Option<u32>,
    close_reason: Option<CloseReason>,
}

impl<T: Read + Write> GrpcClientConn<T> {
    /// A connection on a stream that was just connected. `poll` sends the preface.
    pub fn new(io: T, cfg: Rc<GrpcClientConnConfig>, now: u64) -> Self {
        let (transport, h2_io) = H2Transport::new(io, cfg.workspace.clone(), false, cfg.write_buffer);
        // The preface is written into the buffer of the transport, so the future is ready at the first poll.
        let cx = &mut Context::from_waker(Waker::noop());
        let (state, ping_pong) = match std::pin::pin!(cfg.builder().handshake(h2_io)).poll(cx) {
            Poll::Ready(Ok((send, mut conn))) => {
                let ping_pong = conn.ping_pong();
                (State::Open(Box::new(conn), send), ping_pong)
            }
            _ => (State::Closed, None),
        };
        Self {
            state,
            transport,
            keepalive: ClientKeepalive::new(cfg.keepalive.as_ref(), now),
            cfg,
            calls: Slab::new(),
            slots_by_id: BTreeMap::new(),
            completed_calls: VecDeque::new(),
            readable_streams: Vec::new(),
            deadlines: BTreeSet::new(),
            ping_pong,
            goaway_last_stream_id: None,
            close_reason: None,
        }
    }

    /// Reads up to the budget, writes what can be written, and handles the timers that are due.
    pub fn poll(&mut self, now: u64) -> PollResult {
        self.transport.begin_poll(self.cfg.read_budget);
        if matches!(self.state, State::Linger(_)) {
            self.transport.discard_input(self.cfg.read_budget);
        } else {
            self.poll_h2(now);
            self.read_readable_streams();
            self.transport.stop_reading();
        }
        self.finish_poll(now)
    }

    /// Writes without reading: for use after `start` or `cancel`, when there was no readiness event.
    pub fn flush(&mut self, now: u64) -> PollResult {
        self.transport.begin_poll(0);
        self.finish_poll(now)
    }

    /// The SETTINGS of the peer arrived, it has not sent GOAWAY, and the connection is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Open(..))
            && self.goaway_last_stream_id.is_none()
            && self.transport.with_scanner(|s| s.settings_received)
    }

    /// A call may start now: ready, and below the peer's limit of concurrent calls.
    #[must_use]
    pub fn can_start(&self) -> bool {
        self.is_ready() && self.capacity() > 0
    }

    /// How many more calls may start now. The limit is that of the peer, 1024 at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match &self.state {
            State::Open(_, send) => send.current_max_send_streams().min(MAX_CALLS).saturating_sub(self.calls.len()),
            _ => 0,
        }
    }

    /// Number of calls in progress.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.calls.len()
    }

    /// The peer sent GOAWAY, or the connection has ended: start no more calls here.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        self.goaway_last_stream_id.is_some() || !matches!(self.state, State::Open(..))
    }

    /// Begins a call.
    ///
    /// # Errors
    /// See [`StartCallError`]; nothing was sent.
    pub fn start<M>(&mut self, now: u64, call: OutgoingCall<'_, M>) -> Result<CallId, StartCallError>
    where
        M: IntoIterator<Item = Bytes>,
    {
        if !self.is_ready() {
            return Err(StartCallError::Connection);
        }
        if self.capacity() == 0 {
            return Err(StartCallError::Streams);
        }
        let mut parts: SmallVec<[Bytes; 4]> = call.message.into_iter().collect();
        let length = parts.iter().map(Bytes::len).sum::<usize>();
        let compress = call.compressed || !call.encoding.is_identity() && length >= MIN_COMPRESS_SIZE;
        if compress && !call.compressed {
            let compressed = self.cfg.workspace.compress(&call.encoding.in_grpc(), parts.iter().map(|p| &p[..]));
            parts = smallvec::smallvec![compressed];
        }
        let buf = SendBuf::new(compress, parts).ok_or(StartCallError::Call)?;
        let time_left = call.deadline.map(|at| at.saturating_sub(now));
        let request = self.build_request(call.path, call.metadata, &call.encoding, time_left)?;
        let State::Open(_, send) = &mut self.state else { return Err(StartCallError::Connection) };
        let cx = &mut Context::from_waker(Waker::noop());
        match send.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Err(StartCallError::Connection),
            Poll::Pending => return Err(StartCallError::Streams),
        }
        let (response, mut body) = send.send_request(request, false).map_err(|_| StartCallError::Connection)?;
        let id = response.stream_id().as_u32();
        // An error means that the stream has already ended; its end is reported like that of any other call.
        let _ = body.send_data(buf, true);
        let slot = self.calls.insert(ActiveCall::new(id, response, body, call.deadline));
        self.slots_by_id.insert(id, slot);
        self.deadlines.extend(call.deadline.map(|at| (at, id)));
        Ok(CallId(id))
    }

    /// Cancels a call. No [`CompletedCall`] follows.
    pub fn cancel(&mut self, id: CallId) {
        if let Some(slot) = self.slots_by_id.remove(&id.0)
            && let Some(mut call) = self.calls.try_remove(slot)
        {
            self.remove_deadline(&call);
            call.reset();
        }
    }

    /// The next call that ended.
    pub fn poll_completed(&mut self) -> Option<CompletedCall> {
        self.completed_calls.pop_front()
    }

    /// When `poll` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.state {
            State::Linger(until) => Some(until),
            State::Closed => None,
            State::Open(..) => earliest(self.deadlines.first().map(|(at, _)| *at), self.keepalive.poll_timeout()),
        }
    }

    /// Ends the connection; calls in progress end with UNAVAILABLE. Call `poll` or `flush` after it.
    pub fn close(&mut self, now: u64) {
        for (_, call) in &mut self.calls {
            call.reset();
        }
        if let State::Open(conn, _) = &mut self.state {
            let _ = Pin::new(conn).poll(&mut Context::from_waker(Waker::noop()));
            // h2's client sends no GOAWAY by itself while handles exist.
            self.transport.append_frame(&crate::h2_io::goaway_frame(0, NO_ERROR, b""));
        }
        self.end(now, CloseReason::Local("closed"));
    }

    /// The underlying stream.
    pub fn io(&self) -> std::cell::Ref<'_, T> {
        self.transport.io()
    }

    /// The underlying stream, for the caller's own bookkeeping. Reading from it or writing to it breaks the connection.
    pub fn io_mut(&self) -> std::cell::RefMut<'_, T> {
        self.transport.io_mut()
    }

    fn build_request(
        &self,
        path: &PathAndQuery,
        metadata: &[(HeaderName, HeaderValue)],
        encoding: &Coding,
        time_left: Option<u64>,
    ) -> Result<Request<()>, StartCallError> {
        let mut headers = HeaderMap::with_capacity(6 + metadata.len());
        headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
        headers.insert(USER_AGENT, self.cfg.user_agent.clone());
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if let Some(left) = time_left {
            headers.insert(GRPC_TIMEOUT, format_timeout(left));
        }
        if !encoding.is_identity() {
            headers.insert(GRPC_ENCODING, HeaderValue::from_static(encoding.name()));
        }
        headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("gzip,zstd,snappy"));
        for (name, value) in metadata {
            headers.append(name.clone(), value.clone());
        }
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.cfg.scheme.clone());
        uri.authority = Some(self.cfg.authority.clone());
        uri.path_and_query = Some(path.clone());
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::from_parts(uri).map_err(|_| StartCallError::Call)?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Polls the h2 connection, which reads and writes.
    fn poll_h2(&mut self, now: u64) {
        let State::Open(conn, _) = &mut self.state else { return };
        let polled = Pin::new(conn).poll(&mut Context::from_waker(Waker::noop()));
        self.handle_goaway();
        match polled {
            Poll::Pending => {}
            Poll::Ready(result) => {
                self.read_all_calls();
                let reason = match (self.transport.close_reason(), result) {
                    (Some(ended), _) => ended,
                    (None, Ok(())) => CloseReason::Peer,
                    (None, Err(e)) => CloseReason::Protocol(e.to_string()),
                };
                self.end(now, reason);
            }
        }
    }

    fn handle_goaway(&mut self) {
        if let Some(last_stream_id) = self.transport.with_scanner(|s| s.goaway.as_ref().map(|g| g.last_stream_id)) {
            // h2 fails the streams above the last one internally; no frame arrives for them.
            if self.goaway_last_stream_id != Some(last_stream_id) {
                self.goaway_last_stream_id = Some(last_stream_id);
                self.read_all_calls();
            }
        }
    }

    fn read_all_calls(&mut self) {
        let slots: Vec<usize> = self.calls.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.read_call(slot);
        }
    }

    fn read_readable_streams(&mut self) {
        let mut readable_streams = std::mem::take(&mut self.readable_streams);
        self.transport.take_readable_streams(&mut readable_streams);
        for id in &readable_streams {
            if let Some(&slot) = self.slots_by_id.get(id) {
                self.read_call(slot);
            }
        }
        readable_streams.clear();
        readable_streams.shrink_to(64);
        self.readable_streams = readable_streams;
    }

    fn read_call(&mut self, slot: usize) {
        let Some(call) = self.calls.get_mut(slot) else { return };
        match call.read(&self.cfg) {
            CallProgress::Pending => {}
            CallProgress::Completed(result) => self.complete_call(slot, result, true),
            CallProgress::Refused(status) => self.complete_call(slot, Err(status), false),
            CallProgress::ConnectionLost => {
                let is_unprocessed = self.goaway_last_stream_id.is_some_and(|last| call.id() > last);
                let status = self.connection_lost_status();
                self.complete_call(slot, Err(status), !is_unprocessed);
            }
        }
    }

    /// The status of a call whose connection ended, in the wording of grpc-go.
    fn connection_lost_status(&self) -> Status {
        use std::fmt::Write;
        let mut text = match self.close_reason.clone().or_else(|| self.transport.close_reason()) {
            Some(CloseReason::Timeout(_)) => String::from("keepalive ping failed to receive ACK within timeout"),
            Some(CloseReason::Peer) | None => String::from("error reading from server: EOF"),
            Some(CloseReason::Local(_)) => String::from("grpc: the client connection is closing"),
            Some(other) => format!("error reading from server: {other}"),
        };
        self.transport.with_scanner(|s| {
            if let Some(goaway) = &s.goaway {
                let reason = format!("{:?}", h2::Reason::from(goaway.error_code));
                let _ = write!(text, ", received prior goaway: code: {reason}");
                if !goaway.debug_data.is_empty() {
                    let _ = write!(text, ", debug data: {:?}", String::from_utf8_lossy(&goaway.debug_data));
                }
            }
        });
        Status::unavailable(text)
    }

    fn complete_call(&mut self, slot: usize, result: Result<Bytes, Status>, may_be_processed: bool) {
        let Some(mut call) = self.calls.try_remove(slot) else { return };
        self.slots_by_id.remove(&call.id());
        self.remove_deadline(&call);
        call.reset(); // no frame unless something of the request is still unsent
        self.completed_calls.push_back(CompletedCall { id: CallId(call.id()), result, may_be_processed });
    }

    fn remove_deadline(&mut self, call: &ActiveCall) {
        if let Some(at) = call.deadline() {
            self.deadlines.remove(&(at, call.id()));
        }
    }

    fn handle_deadlines(&mut self, now: u64) {
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.remove(&(at, id));
            if let Some(slot) = self.slots_by_id.get(&id).copied() {
                self.complete_call(slot, Err(Status::deadline_exceeded()), true);
            }
        }
    }

    fn finish_poll(&mut self, now: u64) -> PollResult {
        if let State::Open(..) = self.state {
            self.handle_deadlines(now);
            self.keepalive.record_activity(now, self.transport.read_bytes(), !self.calls.is_empty());
            match self.keepalive.poll_action(now) {
                KeepaliveAction::Ping => {
                    let cx = &mut Context::from_waker(Waker::noop());
                    if let Some(pings) = &mut self.ping_pong {
                        let _ = pings.poll_pong(cx);
                        let _ = pings.send_ping(h2::Ping::opaque());
                    }
                }
                KeepaliveAction::PingTimeout => self.end(now, CloseReason::Timeout("keepalive ping")),
                _ => {}
            }
            self.transport.stop_reading();
            self.poll_h2(now);
        }
        self.transport.finish_poll(self.calls.is_empty());
        if self.calls.is_empty() && self.calls.capacity() > 16 {
            self.calls = Slab::new();
        }
        if let Some(transport_reason) = self.transport.close_reason()
            && (matches!(self.state, State::Linger(_)) || !matches!(transport_reason, CloseReason::Peer))
        {
            self.end(now, transport_reason);
            self.state = State::Closed;
        }
        if matches!(self.state, State::Linger(until) if now >= until) {
            self.state = State::Closed;
        }
        let ended = !matches!(self.state, State::Open(..));
        PollResult {
            poll_again: !matches!(self.state, State::Closed) && self.transport.has_more_input(),
            shutdown_write: ended && self.transport.is_flushed(),
            closed: matches!(self.state, State::Closed),
            close_reason: self.close_reason.clone().filter(|_| ended),
        }
    }

    fn end(&mut self, now: u64, reason: CloseReason) {
        self.close_reason.get_or_insert_with(|| self.transport.other_protocol().unwrap_or(reason));
        let slots: Vec<usize> = self.calls.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let is_unprocessed = self
                .calls
                .get(slot)
                .is_some_and(|call| self.goaway_last_stream_id.is_some_and(|last| call.id() > last));
            let status = self.connection_lost_status();
            self.complete_call(slot, Err(status), !is_unprocessed);
        }
        self.deadlines.clear();
        self.ping_pong = None;
        if matches!(self.state, State::Open(..)) {
            let transport_ended =
                self.transport.close_reason().is_some() || matches!(self.close_reason, Some(CloseReason::Timeout(_)));
            self.state = if transport_ended { State::Closed } else { State::Linger(now.saturating_add(LINGER)) };
        }
    }
}
