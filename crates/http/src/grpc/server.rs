//! The server side of a gRPC connection.
//!
//! A call is admitted in three steps: by its head ([`Gate::open`]), by the length in the five-byte prefix
//! ([`Gate::admit`]), and with each growth of the buffer that its message is read into ([`Gate::grow`]). What a refused
//! client still sends is read and discarded, because resetting its stream would count against the connection.
//! Deadlines, keepalive, connection ages and the ping policy are handled here. Never calls the application: the
//! application takes calls with `poll_call` and answers them by id.

mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Uri};
use slab::Slab;

pub use self::stream::decompress_status;
use self::stream::{Refusal, Step, Stream};
use super::keepalive::{Due, ServerKeep};
use super::message::Rope;
use super::{CallId, ENHANCE_YOUR_CALM, KeepaliveServer};
use crate::coding::{Coding, Workspace};
use crate::engine::{Engine, Limits, NO_ERROR};
use crate::status::Status;
use crate::{Closed, Turn, earliest};

/// How long a refused client may continue to send its message, which is discarded.
const DISCARD_PATIENCE: u64 = 10_000_000_000;
/// Limit of concurrent streams, advertised and enforced when the configuration sets none. h2 decodes the header lists
/// of one read before any of them can be refused: with 16 KiB each, 8 MiB.
const STREAM_CAP: u32 = 1 << 9;

/// Admits or refuses calls.
pub trait Gate {
    /// Owned by a call from its head until it is answered or cancelled: typically a charge on a memory budget.
    type Permit;

    /// Returns the number of the method with this path. It is available later as [`CallHead::method`].
    ///
    /// # Errors
    /// The answer for a path that is not served; see [`unknown_service`] and [`unknown_method`].
    fn route(&mut self, path: &str) -> Result<u32, Status> {
        Err(unknown_service(path))
    }

    /// Called when the head of a call was received. The head still has all metadata here, whether or not the
    /// configuration keeps it; `metadata_bytes` is its total size.
    ///
    /// # Errors
    /// The answer; the message is discarded and the connection stays open.
    fn open(&mut self, call: &CallHead, metadata_bytes: usize) -> Result<Self::Permit, Status>;

    /// Called when the prefix of a call's message was received; `len` is the size on the wire. A peer may claim any
    /// length, so nothing should be charged for it yet.
    ///
    /// # Errors
    /// The answer; the message is discarded and the connection stays open.
    fn admit(&mut self, permit: &mut Self::Permit, call: &CallHead, len: u32) -> Result<(), Status> {
        let _ = (permit, call, len);
        Ok(())
    }

    /// Called before the message takes `to` bytes of memory: while it arrives, and again when it is decompressed here.
    ///
    /// # Errors
    /// The answer; the message is discarded and the connection stays open.
    fn grow(&mut self, permit: &mut Self::Permit, to: u64) -> Result<(), Status>;
}

/// grpc-go's answer for a path whose service is not served.
#[must_use]
pub fn unknown_service(path: &str) -> Status {
    match split_path(path) {
        Some((service, _)) => Status::unimplemented(format!("unknown service {service}")),
        None => Status::unimplemented(format!("malformed method name: {path:?}")),
    }
}

/// grpc-go's answer for a path whose service is served but not this method.
#[must_use]
pub fn unknown_method(path: &str) -> Status {
    match split_path(path) {
        Some((service, method)) => Status::unimplemented(format!("unknown method {method} for service {service}")),
        None => Status::unimplemented(format!("malformed method name: {path:?}")),
    }
}

/// The status for a message that stopped arriving. UNAVAILABLE lets the client retry: its network may have failed.
fn stalled(timeout: u64) -> Status {
    Status::unavailable(format!("nothing of the message arrived for {} s", timeout / 1_000_000_000))
}

fn split_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/').unwrap_or(path).rsplit_once('/')
}

/// What is known about a call before its message.
#[derive(Clone, Debug)]
pub struct CallHead {
    /// What [`Gate::route`] returned.
    pub method: u32,
    /// `:path` and `:authority`.
    pub uri: Uri,
    /// Request metadata; empty after [`Gate::open`] unless [`ServerConfig::keep_metadata`].
    pub metadata: HeaderMap,
    /// `grpc-timeout`.
    pub timeout: Option<Duration>,
    /// `grpc-encoding`.
    pub encoding: Coding,
}

impl CallHead {
    /// `/package.Service/Method`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// `:authority`. If the client sent the path of a unix socket, each byte that is not allowed in an authority is
    /// replaced by `-`.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.uri.authority().map(http::uri::Authority::as_str)
    }

    /// `user-agent`, if the metadata is available.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        self.metadata.get(http::header::USER_AGENT)?.to_str().ok()
    }
}

/// A call for the application. It must be answered with `reply_ok` or `reply_err`, unless `poll_cancelled` returns its
/// id.
#[derive(Debug)]
pub struct Call<P> {
    /// Identifies the call in `reply_ok` and `reply_err`.
    pub id: CallId,
    /// Head and, if kept, metadata.
    pub head: CallHead,
    /// The message, compressed with `coding`.
    pub message: Bytes,
    /// How the message is still compressed: identity, unless its content is longer than
    /// [`ServerConfig::inline_decompress`].
    pub coding: Coding,
    /// Size of the message on the wire.
    pub wire_len: u32,
    /// What [`Gate::open`] returned.
    pub permit: P,
    /// The deadline of the client; when it passes, the connection answers DEADLINE_EXCEEDED by itself.
    pub deadline: Option<u64>,
}

/// Settings of a gRPC server; nanoseconds and bytes.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Advertised limit of concurrent calls. `None` means 512. Clients at the limit wait and do not fail their calls.
    pub max_concurrent_streams: Option<u32>,
    /// Longest message, before and after decompression. Default 4 MiB.
    pub max_recv_message: u32,
    /// A message whose content is longer is passed on compressed, so that the application can decompress it where that
    /// does not block the event loop. Default: no such limit.
    pub inline_decompress: u32,
    /// A call is refused if no part of its message arrives for this long. Default 60 s.
    pub message_timeout: u64,
    /// Largest header list. Default 64 KiB, as in HTTP/1.1.
    pub max_header_list: u32,
    /// Flow-control window of a call: the most a client may send before the call is admitted. Default 1 MiB.
    pub initial_stream_window: u32,
    /// Flow-control window of the connection: the most that h2 buffers before it is read here. Default 1 MiB.
    pub initial_connection_window: u32,
    /// Largest frame accepted, 16 KiB to 16 MiB. Default 16 KiB.
    pub max_frame_size: u32,
    /// Bytes read in one turn. Default 256 KiB.
    pub read_budget: usize,
    /// Output buffered before it is written to the stream. Default 32 KiB.
    pub write_buffer: usize,
    /// The connection of a client that takes longer than this for its preface and SETTINGS, or for a header block, is
    /// closed. Default 120 s.
    pub handshake_timeout: u64,
    /// Pings, ages and the ping policy.
    pub keepalive: KeepaliveServer,
    /// Keep request metadata with the call.
    pub keep_metadata: bool,
    /// Message codings accepted besides identity. Default gzip, zstd and snappy.
    pub accept: Vec<Coding>,
    /// Shared by all connections of the thread.
    pub workspace: Workspace,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_concurrent_streams: None,
            max_recv_message: 4 << 20,
            inline_decompress: u32::MAX,
            message_timeout: 60_000_000_000,
            max_header_list: 64 << 10,
            initial_stream_window: 1 << 20,
            initial_connection_window: 1 << 20,
            max_frame_size: 16 << 10,
            read_budget: 256 << 10,
            write_buffer: 32 << 10,
            handshake_timeout: 120_000_000_000,
            keepalive: KeepaliveServer::default(),
            keep_metadata: false,
            accept: vec![Coding::Gzip, Coding::Zstd, Coding::Snappy],
            workspace: Workspace::new(),
        }
    }
}

impl ServerConfig {
    fn limits(&self) -> Limits {
        Limits {
            streams: self.max_concurrent_streams.unwrap_or(STREAM_CAP),
            header_list: self.max_header_list,
            stream_window: self.initial_stream_window,
            connection_window: self.initial_connection_window,
            frame: self.max_frame_size,
            read_budget: self.read_budget,
        }
    }
}

/// A gRPC server connection over any non-blocking stream. See the crate's call order.
pub struct ServerConn<T: Read + Write, P> {
    engine: Engine<T, Rope>,
    cfg: Rc<ServerConfig>,
    streams: Slab<Stream<P>>,
    by_id: BTreeMap<u32, usize>,
    /// Number of streams that are answered and whose input has not ended.
    discarding: usize,
    ready: VecDeque<Call<P>>,
    cancelled: VecDeque<CallId>,
    /// No stream has an earlier deadline; it may be later.
    next_deadline: Option<u64>,
    keep: ServerKeep,
}

impl<T: Read + Write, P> ServerConn<T, P> {
    /// A connection that was just accepted. `seed` varies its maximum age.
    pub fn new(io: T, cfg: Rc<ServerConfig>, now: u64, seed: u64) -> Self {
        Self {
            engine: Engine::new(io, cfg.workspace.clone(), &cfg.limits(), cfg.write_buffer, now),
            keep: ServerKeep::new(&cfg.keepalive, now, seed),
            cfg,
            streams: Slab::new(),
            by_id: BTreeMap::new(),
            discarding: 0,
            ready: VecDeque::new(),
            cancelled: VecDeque::new(),
            next_deadline: None,
        }
    }

    /// Reads up to the budget, writes what can be written, and handles the timers that are due.
    pub fn turn<G: Gate<Permit = P> + ?Sized>(&mut self, now: u64, gate: &mut G) -> Turn {
        if self.engine.begin() {
            while let Some((request, respond)) = self.engine.accept(now) {
                self.open(request, respond, now, gate);
            }
            let touched = self.engine.take_touched();
            for id in &touched {
                if let Some(&slot) = self.by_id.get(id) {
                    self.read_stream(slot, now, gate);
                }
            }
            self.engine.put_touched(touched);
            self.engine.link.stop_reading();
        }
        self.settle(now)
    }

    /// Writes without reading: for use after replies, when there was no readiness event.
    pub fn flush(&mut self, now: u64) -> Turn {
        self.engine.link.begin(0);
        self.settle(now)
    }

    /// The next call for the application.
    pub fn poll_call(&mut self) -> Option<Call<P>> {
        self.ready.pop_front()
    }

    /// The next call that the application has taken and that needs no answer any more: the client cancelled it, its
    /// deadline passed, or the connection ended. A call that was not yet taken with `poll_call` is dropped and not
    /// reported here.
    pub fn poll_cancelled(&mut self) -> Option<CallId> {
        self.cancelled.pop_front()
    }

    /// Refuses the calls whose message is still being read and whose permit `matches`. Iterates over the calls in
    /// flight.
    pub fn refuse_reading(&mut self, now: u64, matches: impl Fn(&P) -> bool, status: &Status) {
        let reading = |(slot, stream): (usize, &Stream<P>)| stream.reading().is_some_and(&matches).then_some(slot);
        let slots: Vec<usize> = self.streams.iter().filter_map(reading).collect();
        for slot in slots {
            self.refuse(slot, now, status);
        }
    }

    /// Answers a call with a message. Unknown and cancelled ids are ignored.
    pub fn reply_ok(&mut self, id: CallId, message: Bytes) {
        if let Some(mut stream) = self.remove_with_app(id) {
            stream.reply_ok(message, &self.cfg.workspace);
        }
    }

    /// Answers a call with an error. Unknown and cancelled ids are ignored.
    pub fn reply_err(&mut self, id: CallId, status: &Status) {
        if let Some(mut stream) = self.remove_with_app(id) {
            stream.reply_err(status, None);
        }
    }

    /// When `turn` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        if let Some(over) = self.engine.over_at() {
            return over;
        }
        let keep = earliest(self.keep.poll_timeout(), self.next_deadline);
        let drained = self.engine.drained_at().filter(|_| self.in_flight() == 0);
        earliest(earliest(keep, self.slow_at()), drained)
    }

    /// Sends GOAWAY, finishes the calls in flight, then closes.
    pub fn drain(&mut self, now: u64) {
        if self.engine.drain(now) {
            self.keep.draining();
        }
    }

    /// No call is in progress.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// Calls that are not answered yet, including those still arriving.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.streams.len() - self.discarding
    }

    /// Bytes held by incomplete messages. Iterates over the calls in flight.
    #[must_use]
    pub fn held(&self) -> usize {
        self.streams.iter().map(|(_, s)| s.held()).sum()
    }

    /// The underlying stream.
    pub fn io(&self) -> std::cell::Ref<'_, T> {
        self.engine.link.io()
    }

    /// The underlying stream, for the caller's own bookkeeping. Reading from it or writing to it breaks the connection.
    pub fn io_mut(&self) -> std::cell::RefMut<'_, T> {
        self.engine.link.io_mut()
    }

    fn open<G: Gate<Permit = P> + ?Sized>(
        &mut self,
        request: Request<h2::RecvStream>,
        respond: SendResponse<Rope>,
        now: u64,
        gate: &mut G,
    ) {
        let (mut stream, refusal) = Stream::open(request, respond, now, &self.cfg, gate);
        if let Some(refusal) = refusal {
            match &refusal {
                Refusal::Http(status, text) => stream.reply_http(*status, text),
                Refusal::Grpc(status) => stream.reply_err(status, None),
                Refusal::Encoding(status) => stream.reply_err(status, Some(&self.cfg.accept)),
            }
            if stream.ended() {
                return;
            }
            stream.discard(now.saturating_add(DISCARD_PATIENCE));
            self.discarding += 1;
        }
        self.next_deadline = earliest(self.next_deadline, stream.deadline());
        let id = stream.id();
        let slot = self.streams.insert(stream);
        self.by_id.insert(id, slot);
        self.read_stream(slot, now, gate);
    }

    fn read_stream<G: Gate<Permit = P> + ?Sized>(&mut self, slot: usize, now: u64, gate: &mut G) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        match stream.read(now, &self.cfg, gate) {
            Step::Wait => {}
            Step::Call(call) => self.ready.push_back(*call),
            Step::Refuse(status) => self.refuse(slot, now, &status),
            Step::Over => drop(self.remove(slot)),
            Step::Gone => self.cancel(slot),
        }
    }

    /// Answers a call that the application has not received, and discards the rest of its input.
    fn refuse(&mut self, slot: usize, now: u64, status: &Status) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        stream.reply_err(status, None);
        if stream.ended() {
            drop(self.remove(slot));
        } else {
            let until = now.saturating_add(DISCARD_PATIENCE);
            stream.discard(until);
            self.discarding += 1;
            self.next_deadline = earliest(self.next_deadline, Some(until));
        }
    }

    fn remove(&mut self, slot: usize) -> Option<Stream<P>> {
        let stream = self.streams.try_remove(slot)?;
        self.by_id.remove(&stream.id());
        if stream.is_discarding() {
            self.discarding -= 1;
        }
        Some(stream)
    }

    fn remove_with_app(&mut self, id: CallId) -> Option<Stream<P>> {
        let slot = *self.by_id.get(&id.0)?;
        if self.streams.get(slot)?.is_with_app() { self.remove(slot) } else { None }
    }

    /// Removes a stream whose call needs no answer any more, and reports it if the application has taken it.
    fn cancel(&mut self, slot: usize) {
        let Some(stream) = self.remove(slot) else { return };
        if stream.is_with_app() {
            let id = CallId(stream.id());
            // A call that the application has not taken yet is not reported.
            match self.ready.iter().position(|call| call.id == id) {
                Some(at) => drop(self.ready.remove(at)),
                None => self.cancelled.push_back(id),
            }
        }
    }

    fn fire_deadlines(&mut self, now: u64) {
        if self.next_deadline.is_none_or(|at| now < at) {
            return;
        }
        let due: Vec<usize> = self
            .streams
            .iter()
            .filter(|(_, s)| s.deadline().is_some_and(|at| now >= at))
            .map(|(slot, _)| slot)
            .collect();
        for slot in due {
            let Some(stream) = self.streams.get_mut(slot) else { continue };
            if stream.is_discarding() {
                stream.reset();
                drop(self.remove(slot));
            } else if stream.is_with_app() {
                stream.reply_err(&Status::deadline_exceeded(), None);
                self.cancel(slot);
            } else if stream.is_stalled(now) {
                self.refuse(slot, now, &stalled(self.cfg.message_timeout));
            } else {
                self.refuse(slot, now, &Status::deadline_exceeded());
            }
        }
        self.next_deadline = self.streams.iter().filter_map(|(_, s)| s.deadline()).min();
    }

    /// When the connection of a peer that is slow with its preface and SETTINGS, or with a header block, is closed.
    fn slow_at(&self) -> Option<u64> {
        self.engine.slow_since().map(|at| at.saturating_add(self.cfg.handshake_timeout))
    }

    fn police(&mut self, now: u64) {
        let busy = self.in_flight() > 0;
        let pings = self.engine.observe(now);
        self.keep.observe(now, self.engine.link.read_bytes(), busy);
        if self.engine.link.take_wrote() {
            self.keep.sent();
        }
        if self.keep.pinged(now, pings, busy) {
            return self.engine.goaway(now, ENHANCE_YOUR_CALM, b"too_many_pings", Closed::TooManyPings);
        }
        if self.slow_at().is_some_and(|at| now >= at) {
            return self.engine.goaway(now, NO_ERROR, b"handshake timeout", Closed::Timeout("handshake"));
        }
        match self.keep.due(now) {
            Due::Nothing => {}
            Due::Ping => self.engine.ping(),
            Due::Dead => return self.engine.end(now, Closed::Timeout("keepalive ping")),
            Due::Drain(why) => {
                self.drain(now);
                self.engine.because(Closed::Local(why));
            }
            Due::Expired => {
                return self.engine.goaway(now, NO_ERROR, b"max_age", Closed::Local("max_age_grace"));
            }
        }
        if self.in_flight() == 0 && self.engine.drained_at().is_some_and(|at| now >= at) {
            self.engine.goaway(now, NO_ERROR, b"", Closed::Local("drained"));
        }
    }

    /// Handles the timers that are due, lets h2 write, and returns the state of the connection.
    fn settle(&mut self, now: u64) -> Turn {
        if self.engine.is_live() {
            self.fire_deadlines(now);
            self.police(now);
        }
        self.engine.write(now);
        self.give_up_if_over();
        let turn = self.engine.finish(now, self.streams.is_empty());
        self.give_up_if_over();
        if self.streams.is_empty() && self.streams.capacity() > 16 {
            self.streams = Slab::new();
            self.ready.shrink_to(16);
        }
        turn
    }

    /// Cancels every call once the connection has ended.
    fn give_up_if_over(&mut self) {
        if self.engine.is_live() {
            return;
        }
        let slots: Vec<usize> = self.streams.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.cancel(slot);
        }
        self.next_deadline = None;
    }
}
