//! The server side of a gRPC connection.
//!
//! A call is admitted in three steps: by its head ([`Admission::admit_head`]), by the length in the five-byte prefix
//! ([`Admission::admit_message`]), and with each growth of the buffer that its message is read into
//! ([`Admission::grow`]). What a refused client still sends is discarded: a reset would count against the connection.
//! Deadlines, keepalive, connection ages and the ping policy are handled here. Never calls the application: the
//! application takes calls with `poll_call` and responds to them by id.

mod config;
mod incoming;
mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::rc::Rc;

use bytes::Bytes;
use h2::server::SendResponse;
use http::Request;
use slab::Slab;

pub use self::config::GrpcServerConnConfig;
pub use self::incoming::IncomingCall;
pub use self::stream::decompress_status;
use self::stream::{CallStream, Refusal, StreamProgress};
pub use super::call_head::{CallHead, unknown_method, unknown_service};
use super::header::{CallId, ENHANCE_YOUR_CALM};
use super::keepalive::{KeepaliveAction, ServerKeepalive};
use super::message::SendBuf;
use crate::admission::Admission;
use crate::connection::{CloseReason, PollResult, earliest};
use crate::h2_core::{H2ServerCore, NO_ERROR};
use crate::status::Status;

/// How long a refused client may continue to send its message, which is discarded.
const DISCARD_TIMEOUT: u64 = 10_000_000_000;
/// The status for a message that stopped arriving. UNAVAILABLE lets the client retry: its network may have failed.
fn stalled_status(timeout: u64) -> Status {
    Status::unavailable(format!("nothing of the message arrived for {} s", timeout / 1_000_000_000))
}

/// A gRPC server connection over any non-blocking stream. See the crate's call order.
pub struct GrpcServerConn<T: Read + Write, P> {
    core: H2ServerCore<T, SendBuf>,
    cfg: Rc<GrpcServerConnConfig>,
    streams: Slab<CallStream<P>>,
    slots_by_id: BTreeMap<u32, usize>,
    /// Number of streams whose response is sent and whose input has not ended.
    discarding_count: usize,
    ready_calls: VecDeque<IncomingCall<P>>,
    cancelled: VecDeque<CallId>,
    /// No stream has an earlier deadline; it may be later.
    next_deadline: Option<u64>,
    keepalive: ServerKeepalive,
}

impl<T: Read + Write, P> GrpcServerConn<T, P> {
    /// A connection that was just accepted. `seed` varies its maximum age.
    pub fn new(io: T, cfg: Rc<GrpcServerConnConfig>, now: u64, seed: u64) -> Self {
        Self {
            core: H2ServerCore::new(io, cfg.workspace.clone(), &cfg.limits(), cfg.write_buffer, now),
            keepalive: ServerKeepalive::new(&cfg.keepalive, now, seed),
            cfg,
            streams: Slab::new(),
            slots_by_id: BTreeMap::new(),
            discarding_count: 0,
            ready_calls: VecDeque::new(),
            cancelled: VecDeque::new(),
            next_deadline: None,
        }
    }

    /// Reads up to the budget, writes what can be written, and handles the timers that are due.
    pub fn poll<G: Admission<CallHead, Permit = P> + ?Sized>(&mut self, now: u64, admission: &mut G) -> PollResult {
        if self.core.begin_poll() {
            while let Some((request, response_sender)) = self.core.accept(now) {
                self.open_stream(request, response_sender, now, admission);
            }
            let readable_streams = self.core.take_readable_streams();
            for id in &readable_streams {
                if let Some(&slot) = self.slots_by_id.get(id) {
                    self.read_stream(slot, now, admission);
                }
            }
            self.core.return_readable_streams(readable_streams);
            self.core.transport.stop_reading();
        }
        self.finish_poll(now)
    }

    /// Writes without reading: for use after `respond`, when there was no readiness event.
    pub fn flush(&mut self, now: u64) -> PollResult {
        self.core.transport.begin_poll(0);
        self.finish_poll(now)
    }

    /// The next call for the application.
    pub fn poll_call(&mut self) -> Option<IncomingCall<P>> {
        self.ready_calls.pop_front()
    }

    /// The next call that the application has taken and that needs no response any more: the client cancelled it, its
    /// deadline passed, or the connection ended. A call that was not yet taken with `poll_call` is dropped and not
    /// reported here.
    pub fn poll_cancelled(&mut self) -> Option<CallId> {
        self.cancelled.pop_front()
    }

    /// Refuses the calls whose message is still being read and whose permit `matches`. Iterates over the calls in
    /// flight.
    pub fn refuse_incomplete(&mut self, now: u64, matches: impl Fn(&P) -> bool, status: &Status) {
        let incomplete =
            |(slot, stream): (usize, &CallStream<P>)| stream.incomplete_permit().is_some_and(&matches).then_some(slot);
        let slots: Vec<usize> = self.streams.iter().filter_map(incomplete).collect();
        for slot in slots {
            self.refuse(slot, now, status);
        }
    }

    /// Responds to a call with a message. Unknown and cancelled ids are ignored.
    pub fn respond(&mut self, id: CallId, message: Bytes) {
        if let Some(mut stream) = self.remove_dispatched(id) {
            stream.respond(message, &self.cfg.workspace);
        }
    }

    /// Responds to a call with an error. Unknown and cancelled ids are ignored.
    pub fn respond_error(&mut self, id: CallId, status: &Status) {
        if let Some(mut stream) = self.remove_dispatched(id) {
            stream.respond_error(status, None);
        }
    }

    /// When `poll` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        if let Some(linger_deadline) = self.core.linger_deadline() {
            return linger_deadline;
        }
        let deadline = earliest(self.keepalive.poll_timeout(), self.next_deadline);
        let drained = self.core.drain_deadline().filter(|_| self.in_flight() == 0);
        earliest(earliest(deadline, self.handshake_deadline()), drained)
    }

    /// Sends GOAWAY, finishes the calls in flight, then closes.
    pub fn drain(&mut self, now: u64) {
        if self.core.drain(now) {
            self.keepalive.set_draining();
        }
    }

    /// [`GrpcServerConn::drain`], with the reason that the connection ends with.
    pub fn drain_because(&mut self, now: u64, reason: &'static str) {
        self.drain(now);
        self.core.set_close_reason(CloseReason::Local(reason));
    }

    /// No call is in progress.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// Calls without a response yet, including those still arriving.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.streams.len() - self.discarding_count
    }

    /// Bytes held by incomplete messages. Iterates over the calls in flight.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.streams.iter().map(|(_, s)| s.buffered_bytes()).sum()
    }

    /// The underlying stream.
    pub fn io(&self) -> std::cell::Ref<'_, T> {
        self.core.transport.io()
    }

    /// The underlying stream, for the caller's own bookkeeping. Reading from it or writing to it breaks the connection.
    pub fn io_mut(&self) -> std::cell::RefMut<'_, T> {
        self.core.transport.io_mut()
    }

    fn open_stream<G: Admission<CallHead, Permit = P> + ?Sized>(
        &mut self,
        request: Request<h2::RecvStream>,
        response_sender: SendResponse<SendBuf>,
        now: u64,
        admission: &mut G,
    ) {
        let (mut stream, refusal) = CallStream::new(request, response_sender, now, &self.cfg, admission);
        if let Some(refusal) = refusal {
            match &refusal {
                Refusal::Http(status, text) => stream.respond_http(*status, text),
                Refusal::Grpc(status) => stream.respond_error(status, None),
                Refusal::Encoding(status) => stream.respond_error(status, Some(&self.cfg.accept)),
            }
            if stream.input_ended() {
                return;
            }
            stream.discard(now.saturating_add(DISCARD_TIMEOUT));
            self.discarding_count += 1;
        }
        self.next_deadline = earliest(self.next_deadline, stream.deadline());
        let id = stream.id();
        let slot = self.streams.insert(stream);
        self.slots_by_id.insert(id, slot);
        self.read_stream(slot, now, admission);
    }

    fn read_stream<G: Admission<CallHead, Permit = P> + ?Sized>(&mut self, slot: usize, now: u64, admission: &mut G) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        match stream.read(now, &self.cfg, admission) {
            StreamProgress::Pending => {}
            StreamProgress::Call(call) => self.ready_calls.push_back(*call),
            StreamProgress::Refuse(status) => self.refuse(slot, now, &status),
            StreamProgress::Finished => drop(self.remove(slot)),
            StreamProgress::Cancelled => self.cancel(slot),
        }
    }

    /// Refuses a call that the application has not received, and discards the rest of its input.
    fn refuse(&mut self, slot: usize, now: u64, status: &Status) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        stream.respond_error(status, None);
        if stream.input_ended() {
            drop(self.remove(slot));
        } else {
            let until = now.saturating_add(DISCARD_TIMEOUT);
            stream.discard(until);
            self.discarding_count += 1;
            self.next_deadline = earliest(self.next_deadline, Some(until));
        }
    }

    fn remove(&mut self, slot: usize) -> Option<CallStream<P>> {
        let stream = self.streams.try_remove(slot)?;
        self.slots_by_id.remove(&stream.id());
        if stream.is_discarding() {
            self.discarding_count -= 1;
        }
        Some(stream)
    }

    fn remove_dispatched(&mut self, id: CallId) -> Option<CallStream<P>> {
        let slot = *self.slots_by_id.get(&id.0)?;
        if self.streams.get(slot)?.is_dispatched() { self.remove(slot) } else { None }
    }

    /// Removes a stream whose call needs no response any more, and reports it if the application has taken it.
    fn cancel(&mut self, slot: usize) {
        let Some(stream) = self.remove(slot) else { return };
        if stream.is_dispatched() {
            let id = CallId(stream.id());
            // A call that the application has not taken yet is not reported.
            match self.ready_calls.iter().position(|call| call.id == id) {
                Some(at) => drop(self.ready_calls.remove(at)),
                None => self.cancelled.push_back(id),
            }
        }
    }

    fn handle_deadlines(&mut self, now: u64) {
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
            } else if stream.is_dispatched() {
                stream.respond_error(&Status::deadline_exceeded(), None);
                self.cancel(slot);
            } else if stream.is_stalled(now) {
                self.refuse(slot, now, &stalled_status(self.cfg.message_timeout));
            } else {
                self.refuse(slot, now, &Status::deadline_exceeded());
            }
        }
        self.next_deadline = self.streams.iter().filter_map(|(_, s)| s.deadline()).min();
    }

    /// When the connection of a peer that is slow with its preface and SETTINGS, or with a header block, is closed.
    fn handshake_deadline(&self) -> Option<u64> {
        self.core.waiting_for_peer_since().map(|at| at.saturating_add(self.cfg.handshake_timeout))
    }

    fn enforce_limits(&mut self, now: u64) {
        let has_calls = self.in_flight() > 0;
        let pings = self.core.record_frames(now);
        self.keepalive.record_activity(now, self.core.transport.read_bytes(), has_calls);
        if self.core.transport.take_wrote_headers_or_data() {
            self.keepalive.record_sent();
        }
        if self.keepalive.record_pings(now, pings, has_calls) {
            return self.core.send_goaway(now, ENHANCE_YOUR_CALM, b"too_many_pings", CloseReason::TooManyPings);
        }
        if self.handshake_deadline().is_some_and(|at| now >= at) {
            return self.core.send_goaway(now, NO_ERROR, b"handshake timeout", CloseReason::Timeout("handshake"));
        }
        match self.keepalive.poll_action(now) {
            KeepaliveAction::None => {}
            KeepaliveAction::Ping => self.core.send_ping(),
            KeepaliveAction::PingTimeout => return self.core.end(now, CloseReason::Timeout("keepalive ping")),
            KeepaliveAction::Drain(why) => self.drain_because(now, why),
            KeepaliveAction::GraceExpired => {
                return self.core.send_goaway(now, NO_ERROR, b"max_age", CloseReason::Local("max_age_grace"));
            }
        }
        if self.in_flight() == 0 && self.core.drain_deadline().is_some_and(|at| now >= at) {
            self.core.send_goaway(now, NO_ERROR, b"", CloseReason::Local("drained"));
        }
    }

    /// Handles the timers that are due, lets h2 write, and returns the state of the connection.
    fn finish_poll(&mut self, now: u64) -> PollResult {
        if self.core.is_live() {
            self.handle_deadlines(now);
            self.enforce_limits(now);
        }
        self.core.write(now);
        self.cancel_calls_if_closed();
        let result = self.core.finish_poll(now, self.streams.is_empty());
        self.cancel_calls_if_closed();
        if self.streams.is_empty() && self.streams.capacity() > 16 {
            self.streams = Slab::new();
            self.ready_calls.shrink_to(16);
        }
        result
    }

    /// Cancels every call once the connection has ended.
    fn cancel_calls_if_closed(&mut self) {
        if self.core.is_live() {
            return;
        }
        let slots: Vec<usize> = self.streams.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.cancel(slot);
        }
        self.next_deadline = None;
    }
}
