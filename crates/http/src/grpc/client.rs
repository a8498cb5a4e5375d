//! The client side of a gRPC connection.
//!
//! Sends the parts of a rope without joining them, handles deadlines and keepalive, and reports for every call how it
//! ended and whether it is certain that the peer did not process it. Never connects, reconnects or retries: the channel
//! does that.

mod call;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::io::{Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::PingPong;
use h2::client::{Builder, Connection, SendRequest};
use http::header::{CONTENT_TYPE, HeaderName, TE, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use slab::Slab;
use smallvec::SmallVec;

use self::call::{News, Pending};
use super::keepalive::{ClientKeep, Due};
use super::message::Rope;
use super::{
    APPLICATION_GRPC, COMPRESS_FROM, CallId, GRPC_ACCEPT_ENCODING, GRPC_ENCODING, GRPC_TIMEOUT, KeepaliveClient,
    format_timeout,
};
use crate::coding::{Coding, Workspace};
use crate::engine::{LINGER, NO_ERROR};
use crate::status::Status;
use crate::wire::{Link, Wire};
use crate::{Closed, Turn, earliest};

/// Settings of a gRPC client; nanoseconds and bytes.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Longest reply, before and after decompression. Default 4 MiB.
    pub max_recv_message: u32,
    /// Largest header list accepted. Default 64 KiB: statuses with details can be long.
    pub max_header_list: u32,
    /// Flow-control window of a reply. Default 64 KiB.
    pub initial_stream_window: u32,
    /// Flow-control window of all replies. Default 1 MiB.
    pub initial_connection_window: u32,
    /// Largest frame accepted. Default 16 KiB.
    pub max_frame_size: u32,
    /// Bytes read in one turn. Default 256 KiB.
    pub read_budget: usize,
    /// Output buffered before it is written to the stream. Default 32 KiB.
    pub write_buffer: usize,
    /// Off when `None`.
    pub keepalive: Option<KeepaliveClient>,
    /// `user-agent`.
    pub user_agent: HeaderValue,
    /// `:authority`.
    pub authority: Authority,
    /// `:scheme`.
    pub scheme: Scheme,
    /// Shared by all connections of the thread.
    pub workspace: Workspace,
}

impl ClientConfig {
    /// The defaults, with this scheme, authority and user agent.
    #[must_use]
    pub fn new(scheme: Scheme, authority: Authority, user_agent: HeaderValue) -> Self {
        Self {
            max_recv_message: 4 << 20,
            max_header_list: 64 << 10,
            initial_stream_window: 64 << 10,
            initial_connection_window: 1 << 20,
            max_frame_size: 16 << 10,
            read_budget: 256 << 10,
            write_buffer: 32 << 10,
            keepalive: None,
            user_agent,
            authority,
            scheme,
            workspace: Workspace::new(),
        }
    }

    fn builder(&self) -> Builder {
        const WINDOW: u32 = (1 << 31) - 1;
        let mut b = Builder::new();
        b.initial_window_size(self.initial_stream_window.min(WINDOW))
            .initial_connection_window_size(self.initial_connection_window.min(WINDOW))
            .max_frame_size(self.max_frame_size.clamp(1 << 14, (1 << 24) - 1))
            .max_header_list_size(self.max_header_list)
            .enable_push(false)
            // Frames for calls that were cancelled here may still arrive; they must never count against the connection.
            .max_local_error_reset_streams(None)
            .max_concurrent_reset_streams(1 << 10)
            .data_frame_budget(self.read_budget.saturating_mul(32).max(1 << 20));
        b
    }
}

/// A call to make.
#[derive(Debug)]
pub struct Outgoing<'a, M> {
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
pub enum NotReady {
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

/// How a call ended.
#[derive(Debug)]
pub struct Done {
    /// From [`ClientConn::start`].
    pub id: CallId,
    /// The reply message, decompressed, or the status.
    pub result: Result<Bytes, Status>,
    /// False when it is certain that the peer did not process the call, so that it may be sent again in every case.
    pub sent: bool,
}

/// Most calls in progress on one connection. A peer need not set a limit, and handling one of its frames can cost one
/// step for each call.
const MAX_CALLS: usize = 1024;

enum State<T> {
    Open(Box<Connection<Wire<T>, Rope>>, SendRequest<Rope>),
    Linger(u64),
    Closed,
}

/// A gRPC client connection over any non-blocking stream. See the crate's call order.
pub struct ClientConn<T: Read + Write> {
    h2: State<T>,
    link: Link<T>,
    cfg: Rc<ClientConfig>,
    calls: Slab<Pending>,
    by_id: BTreeMap<u32, usize>,
    done: VecDeque<Done>,
    touched: Vec<u32>,
    /// Deadline and stream id of each call that has a deadline.
    deadlines: BTreeSet<(u64, u32)>,
    keep: ClientKeep,
    pings: Option<PingPong>,
    /// The last stream id in the GOAWAY of the peer; `None` before a GOAWAY arrived.
    last_stream: Option<u32>,
    why: Option<Closed>,
}

impl<T: Read + Write> ClientConn<T> {
    /// A connection on a stream that was just connected. `turn` sends the preface.
    pub fn new(io: T, cfg: Rc<ClientConfig>, now: u64) -> Self {
        let (link, wire) = Link::new(io, cfg.workspace.clone(), false, cfg.write_buffer);
        // The preface is written into the link's buffer, so the future is ready at the first poll.
        let cx = &mut Context::from_waker(Waker::noop());
        let (h2, pings) = match std::pin::pin!(cfg.builder().handshake(wire)).poll(cx) {
            Poll::Ready(Ok((send, mut conn))) => {
                let pings = conn.ping_pong();
                (State::Open(Box::new(conn), send), pings)
            }
            _ => (State::Closed, None),
        };
        Self {
            h2,
            link,
            keep: ClientKeep::new(cfg.keepalive.as_ref(), now),
            cfg,
            calls: Slab::new(),
            by_id: BTreeMap::new(),
            done: VecDeque::new(),
            touched: Vec::new(),
            deadlines: BTreeSet::new(),
            pings,
            last_stream: None,
            why: None,
        }
    }

    /// Reads up to the budget, writes what can be written, and handles the timers that are due.
    pub fn turn(&mut self, now: u64) -> Turn {
        self.link.begin(self.cfg.read_budget);
        if matches!(self.h2, State::Linger(_)) {
            self.link.discard_input(self.cfg.read_budget);
        } else {
            self.drive(now);
            self.read_touched();
            self.link.stop_reading();
        }
        self.settle(now)
    }

    /// Writes without reading: for use after `start` or `cancel`, when there was no readiness event.
    pub fn flush(&mut self, now: u64) -> Turn {
        self.link.begin(0);
        self.settle(now)
    }

    /// The SETTINGS of the peer arrived, it has not sent GOAWAY, and the connection is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.h2, State::Open(..)) && self.last_stream.is_none() && self.link.scan(|s| s.settings)
    }

    /// A call may start now: ready, and below the peer's limit of concurrent calls.
    #[must_use]
    pub fn can_start(&self) -> bool {
        self.is_ready() && self.capacity() > 0
    }

    /// How many more calls may start now. The limit is that of the peer, 1024 at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match &self.h2 {
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
    pub fn going_away(&self) -> bool {
        self.last_stream.is_some() || !matches!(self.h2, State::Open(..))
    }

    /// Begins a call.
    ///
    /// # Errors
    /// See [`NotReady`]; nothing was sent.
    pub fn start<M>(&mut self, now: u64, call: Outgoing<'_, M>) -> Result<CallId, NotReady>
    where
        M: IntoIterator<Item = Bytes>,
    {
        if !self.is_ready() {
            return Err(NotReady::Connection);
        }
        if self.capacity() == 0 {
            return Err(NotReady::Streams);
        }
        let mut parts: SmallVec<[Bytes; 4]> = call.message.into_iter().collect();
        let length = parts.iter().map(Bytes::len).sum::<usize>();
        let compress = call.compressed || !call.encoding.is_identity() && length >= COMPRESS_FROM;
        if compress && !call.compressed {
            let packed = self.cfg.workspace.compress(&call.encoding.in_grpc(), parts.iter().map(|p| &p[..]));
            parts = smallvec::smallvec![packed];
        }
        let rope = Rope::new(compress, parts).ok_or(NotReady::Call)?;
        let left = call.deadline.map(|at| at.saturating_sub(now));
        let request = self.request(call.path, call.metadata, &call.encoding, left)?;
        let State::Open(_, send) = &mut self.h2 else { return Err(NotReady::Connection) };
        let cx = &mut Context::from_waker(Waker::noop());
        match send.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Err(NotReady::Connection),
            Poll::Pending => return Err(NotReady::Streams),
        }
        let (response, mut body) = send.send_request(request, false).map_err(|_| NotReady::Connection)?;
        let id = response.stream_id().as_u32();
        // An error means that the stream has already ended; its end is reported like that of any other call.
        let _ = body.send_data(rope, true);
        let slot = self.calls.insert(Pending::new(id, response, body, call.deadline));
        self.by_id.insert(id, slot);
        self.deadlines.extend(call.deadline.map(|at| (at, id)));
        Ok(CallId(id))
    }

    /// Cancels a call. No `Done` follows.
    pub fn cancel(&mut self, id: CallId) {
        if let Some(slot) = self.by_id.remove(&id.0)
            && let Some(mut call) = self.calls.try_remove(slot)
        {
            self.forget_deadline(&call);
            call.reset();
        }
    }

    /// The next call that ended.
    pub fn poll_done(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    /// When `turn` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.h2 {
            State::Linger(until) => Some(until),
            State::Closed => None,
            State::Open(..) => earliest(self.deadlines.first().map(|(at, _)| *at), self.keep.poll_timeout()),
        }
    }

    /// Ends the connection; calls in progress end with UNAVAILABLE. Call `turn` or `flush` after it.
    pub fn close(&mut self, now: u64) {
        for (_, call) in &mut self.calls {
            call.reset();
        }
        if let State::Open(conn, _) = &mut self.h2 {
            let _ = Pin::new(conn).poll(&mut Context::from_waker(Waker::noop()));
            // h2's client sends no GOAWAY by itself while handles exist.
            self.link.inject(&crate::wire::goaway_frame(0, NO_ERROR, b""));
        }
        self.end(now, Closed::Local("closed"));
    }

    /// The underlying stream.
    pub fn io(&self) -> std::cell::Ref<'_, T> {
        self.link.io()
    }

    /// The underlying stream, for the caller's own bookkeeping. Reading from it or writing to it breaks the connection.
    pub fn io_mut(&self) -> std::cell::RefMut<'_, T> {
        self.link.io_mut()
    }

    fn request(
        &self,
        path: &PathAndQuery,
        metadata: &[(HeaderName, HeaderValue)],
        encoding: &Coding,
        left: Option<u64>,
    ) -> Result<Request<()>, NotReady> {
        let mut headers = HeaderMap::with_capacity(6 + metadata.len());
        headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
        headers.insert(USER_AGENT, self.cfg.user_agent.clone());
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if let Some(left) = left {
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
        *request.uri_mut() = Uri::from_parts(uri).map_err(|_| NotReady::Call)?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Polls the h2 connection, which reads and writes.
    fn drive(&mut self, now: u64) {
        let State::Open(conn, _) = &mut self.h2 else { return };
        let polled = Pin::new(conn).poll(&mut Context::from_waker(Waker::noop()));
        self.note_goaway();
        match polled {
            Poll::Pending => {}
            Poll::Ready(result) => {
                self.read_all();
                let why = match (self.link.ended(), result) {
                    (Some(ended), _) => ended,
                    (None, Ok(())) => Closed::Peer,
                    (None, Err(e)) => Closed::Protocol(e.to_string()),
                };
                self.end(now, why);
            }
        }
    }

    fn note_goaway(&mut self) {
        if let Some(last) = self.link.scan(|s| s.goaway.as_ref().map(|g| g.last)) {
            // h2 fails the streams above the last one internally; no frame arrives for them.
            if self.last_stream != Some(last) {
                self.last_stream = Some(last);
                self.read_all();
            }
        }
    }

    fn read_all(&mut self) {
        let slots: Vec<usize> = self.calls.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.read_call(slot);
        }
    }

    fn read_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        self.link.take_touched(&mut touched);
        for id in &touched {
            if let Some(&slot) = self.by_id.get(id) {
                self.read_call(slot);
            }
        }
        touched.clear();
        touched.shrink_to(64);
        self.touched = touched;
    }

    fn read_call(&mut self, slot: usize) {
        let Some(call) = self.calls.get_mut(slot) else { return };
        match call.read(&self.cfg) {
            News::Nothing => {}
            News::Done(result) => self.finish(slot, result, true),
            News::Refused(status) => self.finish(slot, Err(status), false),
            News::Broken => {
                let above = self.last_stream.is_some_and(|last| call.id() > last);
                let status = self.lost();
                self.finish(slot, Err(status), !above);
            }
        }
    }

    /// The status of a call whose connection ended, in the wording of grpc-go.
    fn lost(&self) -> Status {
        use std::fmt::Write;
        let mut text = match self.why.clone().or_else(|| self.link.ended()) {
            Some(Closed::Timeout(_)) => String::from("keepalive ping failed to receive ACK within timeout"),
            Some(Closed::Peer) | None => String::from("error reading from server: EOF"),
            Some(Closed::Local(_)) => String::from("grpc: the client connection is closing"),
            Some(other) => format!("error reading from server: {other}"),
        };
        self.link.scan(|s| {
            if let Some(goaway) = &s.goaway {
                let reason = format!("{:?}", h2::Reason::from(goaway.code));
                let _ = write!(text, ", received prior goaway: code: {reason}");
                if !goaway.debug.is_empty() {
                    let _ = write!(text, ", debug data: {:?}", String::from_utf8_lossy(&goaway.debug));
                }
            }
        });
        Status::unavailable(text)
    }

    fn finish(&mut self, slot: usize, result: Result<Bytes, Status>, sent: bool) {
        let Some(mut call) = self.calls.try_remove(slot) else { return };
        self.by_id.remove(&call.id());
        self.forget_deadline(&call);
        call.reset(); // no frame unless something of the request is still unsent
        self.done.push_back(Done { id: CallId(call.id()), result, sent });
    }

    fn forget_deadline(&mut self, call: &Pending) {
        if let Some(at) = call.deadline() {
            self.deadlines.remove(&(at, call.id()));
        }
    }

    fn fire_deadlines(&mut self, now: u64) {
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.remove(&(at, id));
            if let Some(slot) = self.by_id.get(&id).copied() {
                self.finish(slot, Err(Status::deadline_exceeded()), true);
            }
        }
    }

    fn settle(&mut self, now: u64) -> Turn {
        if let State::Open(..) = self.h2 {
            self.fire_deadlines(now);
            self.keep.observe(now, self.link.read_bytes(), !self.calls.is_empty());
            match self.keep.due(now) {
                Due::Ping => {
                    let cx = &mut Context::from_waker(Waker::noop());
                    if let Some(pings) = &mut self.pings {
                        let _ = pings.poll_pong(cx);
                        let _ = pings.send_ping(h2::Ping::opaque());
                    }
                }
                Due::Dead => self.end(now, Closed::Timeout("keepalive ping")),
                _ => {}
            }
            self.link.stop_reading();
            self.drive(now);
        }
        self.link.finish(self.calls.is_empty());
        if self.calls.is_empty() && self.calls.capacity() > 16 {
            self.calls = Slab::new();
        }
        if let Some(ended) = self.link.ended()
            && (matches!(self.h2, State::Linger(_)) || !matches!(ended, Closed::Peer))
        {
            self.end(now, ended);
            self.h2 = State::Closed;
        }
        if matches!(self.h2, State::Linger(until) if now >= until) {
            self.h2 = State::Closed;
        }
        let over = !matches!(self.h2, State::Open(..));
        Turn {
            again: !matches!(self.h2, State::Closed) && self.link.again(),
            shut_write: over && self.link.all_sent(),
            closed: matches!(self.h2, State::Closed),
            why: self.why.clone().filter(|_| over),
        }
    }

    fn end(&mut self, now: u64, why: Closed) {
        self.why.get_or_insert(why);
        let slots: Vec<usize> = self.calls.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let above = self.calls.get(slot).is_some_and(|call| self.last_stream.is_some_and(|last| call.id() > last));
            let status = self.lost();
            self.finish(slot, Err(status), !above);
        }
        self.deadlines.clear();
        self.pings = None;
        if matches!(self.h2, State::Open(..)) {
            let gone = self.link.ended().is_some() || matches!(self.why, Some(Closed::Timeout(_)));
            self.h2 = if gone { State::Closed } else { State::Linger(now.saturating_add(LINGER)) };
        }
    }
}
