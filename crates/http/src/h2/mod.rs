//! HTTP semantics over HTTP/2 (RFC 9113), the server side, with the interface of [`crate::h1::H1ServerConn`].
//!
//! The same [`crate::Admission`] admits or refuses a request from its head alone, and the same limits and timeouts apply. What
//! a refused client still sends is discarded up to a limit, then its stream is reset with NO_ERROR. Responses may be
//! sent in any order. Never interprets a body and never decodes a content coding.

mod stream;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::rc::Rc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use slab::Slab;

use self::stream::{BodyBuf, RequestStream, StreamProgress};
use crate::admission::Admission;
use crate::connection::{CloseReason, PollResult, earliest};
use crate::h1::{HttpServerConnConfig, Request, RequestHead, RequestId, Response};
use crate::h2_core::{H2Limits, H2ServerCore, NO_ERROR};

/// Limit of concurrent streams, as in Go's server.
const MAX_CONCURRENT_STREAMS: u32 = 250;
/// Largest header list.
const MAX_HEADER_LIST: u32 = 64 << 10;
/// Flow-control windows of a stream and of the connection: the most that h2 buffers before it is read here.
const WINDOW: u32 = 1 << 20;
/// Output buffered before it is written to the stream.
const WRITE_BUFFER: usize = 32 << 10;
/// A client that has not finished its preface and SETTINGS by then is closed, as in Go.
const HANDSHAKE_TIMEOUT: u64 = 10_000_000_000;

/// An HTTP/2 server connection over any non-blocking stream. See the crate's call order.
pub struct H2ServerConn<T: Read + Write, P> {
    core: H2ServerCore<T, BodyBuf>,
    cfg: Rc<HttpServerConnConfig>,
    /// From then on the next request is the last one.
    age_ends_at: Option<u64>,
    streams: Slab<RequestStream<P>>,
    slots_by_id: BTreeMap<u32, usize>,
    ready_requests: VecDeque<Request<P>>,
    /// Streams with a response that is not sent completely or whose input has not ended.
    responded: Vec<u32>,
    /// No stream has an earlier deadline; it may be later.
    next_deadline: Option<u64>,
    /// When the responses that h2 has framed must be written to the stream.
    write_deadline: Option<u64>,
    /// GOAWAY is to be sent with the next `poll` or `flush`.
    drain_requested: bool,
    waiting: Waiting,
}

/// The request that the connection waits for while it has no stream, and since when.
#[derive(Clone, Copy)]
enum Waiting {
    First { since: u64 },
    Next { since: u64 },
}

impl<T: Read + Write, P> H2ServerConn<T, P> {
    /// A connection that was just accepted and that uses HTTP/2.
    pub fn new(io: T, cfg: Rc<HttpServerConnConfig>, now: u64) -> Self {
        let limits = H2Limits {
            max_concurrent_streams: MAX_CONCURRENT_STREAMS,
            max_header_list: MAX_HEADER_LIST,
            stream_window: WINDOW,
            connection_window: WINDOW,
            max_frame_size: 16 << 10,
            read_budget: cfg.read_budget,
        };
        Self {
            core: H2ServerCore::new(io, cfg.workspace.clone(), &limits, WRITE_BUFFER, now),
            age_ends_at: cfg.age_ends_at(now),
            cfg,
            streams: Slab::new(),
            slots_by_id: BTreeMap::new(),
            ready_requests: VecDeque::new(),
            responded: Vec::new(),
            next_deadline: None,
            write_deadline: None,
            drain_requested: false,
            waiting: Waiting::First { since: now },
        }
    }

    /// Reads up to the budget, writes what can be written, and handles the timers that are due.
    pub fn poll<D: Admission<RequestHead, Permit = P> + ?Sized>(&mut self, now: u64, admission: &mut D) -> PollResult {
        if self.core.begin_poll() {
            self.drain_if_requested(now);
            while let Some((request, response_sender)) = self.core.accept(now) {
                self.open_stream(request, response_sender, now, admission);
            }
            let readable_streams = self.core.take_readable_streams();
            for id in &readable_streams {
                self.read_stream(*id, now, admission);
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

    /// The next request for the application.
    pub fn poll_request(&mut self) -> Option<Request<P>> {
        self.ready_requests.pop_front()
    }

    /// Responds to a request. Unknown ids, requests that the client has reset, and second responses are ignored.
    pub fn respond(&mut self, id: RequestId, response: Response) {
        let Ok(id) = u32::try_from(id.0) else { return };
        let Some(stream) = self.slots_by_id.get(&id).and_then(|slot| self.streams.get_mut(*slot)) else { return };
        if stream.is_dispatched() {
            self.drain_requested |= response.close;
            stream.respond_whole(response);
            self.responded.push(id);
        }
    }

    /// Refuses the requests whose body is being read and whose permit `matches`. Iterates over the requests in flight.
    pub fn refuse_incomplete(
        &mut self,
        now: u64,
        matches: impl Fn(&P) -> bool,
        make_response: impl Fn(&P) -> Response,
    ) {
        for (_, stream) in &mut self.streams {
            if let Some(response) = stream.incomplete_permit().filter(|permit| matches(permit)).map(&make_response) {
                stream.refuse(response, now);
                self.next_deadline = earliest(self.next_deadline, stream.deadline());
                self.responded.push(stream.id());
            }
        }
    }

    /// Sends a head; the body follows in pieces ([`H2ServerConn::send_data`]). False when no body is to follow: for
    /// HEAD, statuses without a body, unknown ids and second responses.
    pub fn respond_streaming(&mut self, id: RequestId, response: Response) -> bool {
        let Some(stream) = self.stream_mut(id).filter(|s| s.is_dispatched()) else { return false };
        let (close, is_streaming) = (response.close, stream.respond_streaming(response));
        self.drain_requested |= close;
        self.responded.extend(u32::try_from(id.0));
        is_streaming
    }

    /// Whether the next piece of this body can be sent: h2 has dropped the previous one.
    #[must_use]
    pub fn can_send_data(&self, id: RequestId) -> bool {
        self.slot_of(id).is_some_and(|slot| self.streams.get(slot).is_some_and(RequestStream::can_send_data))
    }

    /// Whether pieces of this body are still to be sent.
    #[must_use]
    pub fn is_streaming(&self, id: RequestId) -> bool {
        self.slot_of(id).is_some_and(|slot| self.streams.get(slot).is_some_and(RequestStream::is_streaming))
    }

    /// Sends the next piece of a body. Call it when [`H2ServerConn::can_send_data`] is true.
    pub fn send_data(&mut self, now: u64, id: RequestId, piece: Bytes) {
        if let Some(stream) = self.stream_mut(id).filter(|_| !piece.is_empty()) {
            stream.send_data(now, piece);
            let deadline = stream.deadline();
            self.next_deadline = earliest(self.next_deadline, deadline);
        }
    }

    /// The body is complete.
    pub fn finish_response(&mut self, id: RequestId, now: u64) {
        if let Some(stream) = self.stream_mut(id) {
            stream.send_data(now, Bytes::new());
        }
    }

    /// The body can't be completed. Its stream is reset, so that the client sees that the body is incomplete.
    pub fn abort_response(&mut self, id: RequestId) {
        if self.is_streaming(id)
            && let Ok(id) = u32::try_from(id.0)
            && let Some(mut stream) = self.remove(id)
        {
            stream.reset(Reason::INTERNAL_ERROR);
        }
    }

    fn slot_of(&self, id: RequestId) -> Option<usize> {
        self.slots_by_id.get(&u32::try_from(id.0).ok()?).copied()
    }

    fn stream_mut(&mut self, id: RequestId) -> Option<&mut RequestStream<P>> {
        let slot = self.slot_of(id)?;
        self.streams.get_mut(slot)
    }

    /// When `poll` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        if let Some(linger_deadline) = self.core.linger_deadline() {
            return linger_deadline;
        }
        let stream_deadline = earliest(self.next_deadline, self.write_deadline);
        let wait_deadline = earliest(self.handshake_deadline(), self.request_deadline().map(|(at, _)| at));
        let drained = self.core.drain_deadline().filter(|_| !self.has_pending_responses());
        earliest(earliest(stream_deadline, wait_deadline), drained)
    }

    /// Sends GOAWAY with the next `poll` or `flush`, responds to the requests already received, then closes.
    pub fn drain(&mut self) {
        self.drain_requested = true;
    }

    /// The next request is the last one: GOAWAY goes with its response.
    pub fn end_with_next_request(&mut self, now: u64) {
        self.age_ends_at = Some(now);
    }

    /// No request is being read or processed, and no response is being sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.core.transport.is_flushed()
    }

    /// Bytes held by incomplete bodies. Iterates over the requests in flight.
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

    fn open_stream<D: Admission<RequestHead, Permit = P> + ?Sized>(
        &mut self,
        request: http::Request<RecvStream>,
        response_sender: SendResponse<BodyBuf>,
        now: u64,
        admission: &mut D,
    ) {
        self.waiting = Waiting::Next { since: now };
        self.drain_requested |= !self.cfg.keep_alive || self.age_ends_at.is_some_and(|at| now >= at);
        let stream = RequestStream::open(request, response_sender, now, &self.cfg, admission);
        let id = stream.id();
        if stream.is_refused() {
            self.responded.push(id);
        }
        self.next_deadline = earliest(self.next_deadline, stream.deadline());
        let slot = self.streams.insert(stream);
        self.slots_by_id.insert(id, slot);
        self.read_stream(id, now, admission);
        if let Some(stream) = self.streams.get_mut(slot) {
            stream.send_continue();
        }
    }

    fn read_stream<D: Admission<RequestHead, Permit = P> + ?Sized>(&mut self, id: u32, now: u64, admission: &mut D) {
        let Some(stream) = self.slots_by_id.get(&id).and_then(|slot| self.streams.get_mut(*slot)) else { return };
        match stream.read(now, &self.cfg, admission) {
            StreamProgress::Pending => {}
            StreamProgress::Request(request) => self.ready_requests.push_back(*request),
            StreamProgress::Refuse(response) => {
                stream.refuse(response, now);
                self.next_deadline = earliest(self.next_deadline, stream.deadline());
                self.responded.push(id);
                // Input after the refused part is read too. There is no endless recursion: a refused stream is not
                // refused again.
                self.read_stream(id, now, admission);
            }
            StreamProgress::Reset => drop(self.remove(id)),
        }
    }

    /// Removes a stream. If h2 still has its body, h2 sends that, and then RST_STREAM with NO_ERROR if there is
    /// unread input.
    fn remove(&mut self, id: u32) -> Option<RequestStream<P>> {
        let stream = self.streams.try_remove(self.slots_by_id.remove(&id)?)?;
        if stream.is_dispatched() {
            self.ready_requests.retain(|r| r.id.0 != u64::from(id));
        }
        Some(stream)
    }

    /// A request has no response yet, or h2 still has a part of its body.
    fn has_pending_responses(&self) -> bool {
        self.streams.iter().any(|(_, s)| !s.is_response_sent())
    }

    fn drain_if_requested(&mut self, now: u64) {
        if self.drain_requested {
            self.core.drain(now);
        }
    }

    fn handle_deadlines(&mut self, now: u64) {
        if self.next_deadline.is_none_or(|at| now < at) {
            return;
        }
        let is_due = |s: &RequestStream<P>| s.deadline().is_some_and(|at| now >= at);
        let due: Vec<u32> = self.streams.iter().filter(|(_, s)| is_due(s)).map(|(_, s)| s.id()).collect();
        for id in due {
            let Some(stream) = self.slots_by_id.get(&id).and_then(|slot| self.streams.get_mut(*slot)) else { continue };
            if stream.is_input_overdue(now) {
                stream.refuse(Response::text(408, "408 Request Timeout"), now);
                self.responded.push(id);
            } else if let Some(mut stream) = self.remove(id)
                && !stream.is_response_sent()
            {
                stream.reset(Reason::INTERNAL_ERROR); // as Go does
            }
        }
        self.next_deadline = self.streams.iter().filter_map(|(_, s)| s.deadline()).min();
    }

    /// When the connection of a peer that is slow with its preface and SETTINGS, or with a header block, is closed.
    fn handshake_deadline(&self) -> Option<u64> {
        let limit = self.cfg.read_header_timeout.or(self.cfg.read_timeout);
        self.core
            .waiting_for_peer_since()
            .map(|at| at.saturating_add(limit.map_or(HANDSHAKE_TIMEOUT, |l| l.min(HANDSHAKE_TIMEOUT))))
    }

    /// When the wait for a request times out, and the name of that timeout.
    fn request_deadline(&self) -> Option<(u64, &'static str)> {
        let c = &*self.cfg;
        if !self.streams.is_empty() || self.core.is_draining() {
            return None;
        }
        let (since, limit, name) = match self.waiting {
            Waiting::First { since } => (since, c.read_header_timeout.or(c.read_timeout), "read_header_timeout"),
            Waiting::Next { since } => (since, c.idle_timeout.or(c.read_timeout), "idle_timeout"),
        };
        Some((since.saturating_add(limit?), name))
    }

    fn enforce_limits(&mut self, now: u64) {
        self.core.record_frames(now);
        if self.handshake_deadline().is_some_and(|at| now >= at) {
            return self.core.send_goaway(now, NO_ERROR, b"handshake timeout", CloseReason::Timeout("handshake"));
        }
        if self.write_deadline.is_some_and(|at| now >= at) {
            return self.core.send_goaway(now, NO_ERROR, b"write timeout", CloseReason::Timeout("write_timeout"));
        }
        match self.request_deadline() {
            Some((at, name)) if now >= at && matches!(self.waiting, Waiting::Next { .. }) => {
                self.core.set_close_reason(CloseReason::Timeout(name));
                self.core.drain(now);
            }
            Some((at, name)) if now >= at => {
                self.core.send_goaway(now, NO_ERROR, name.as_bytes(), CloseReason::Timeout(name))
            }
            _ => {}
        }
        if self.core.drain_deadline().is_some_and(|at| now >= at) && !self.has_pending_responses() {
            self.core.send_goaway(now, NO_ERROR, b"", CloseReason::Local("drained"));
        }
    }

    /// Handles the timers that are due, lets h2 write, and returns the state of the connection.
    fn finish_poll(&mut self, now: u64) -> PollResult {
        if self.core.is_live() {
            self.drain_if_requested(now);
            self.handle_deadlines(now);
            self.enforce_limits(now);
        }
        self.core.write(now);
        if !self.streams.is_empty() {
            self.waiting = Waiting::Next { since: now }; // the idle time begins with the end of the last stream
        }
        self.remove_finished_streams();
        if !self.core.is_live() {
            self.clear_streams();
        }
        let result = self.core.finish_poll(now, self.streams.is_empty());
        if !self.core.is_live() {
            self.clear_streams();
        }
        if self.core.transport.is_flushed() {
            self.write_deadline = None;
        }
        if self.streams.is_empty() && self.streams.capacity() > 16 {
            self.streams = Slab::new();
            self.ready_requests.shrink_to(16);
        }
        result
    }

    /// Removes the streams whose response is sent and whose input has ended.
    fn remove_finished_streams(&mut self) {
        let mut responded = std::mem::take(&mut self.responded);
        responded.retain(|id| {
            let Some(stream) = self.slots_by_id.get(id).and_then(|slot| self.streams.get_mut(*slot)) else {
                return false;
            };
            if stream.is_response_sent() {
                self.write_deadline = earliest(self.write_deadline, stream.take_write_deadline());
            }
            let is_finished = stream.is_response_sent() && stream.input_ended();
            if is_finished {
                drop(self.remove(*id));
            }
            !is_finished
        });
        self.responded = responded;
    }

    fn clear_streams(&mut self) {
        self.streams.clear();
        self.slots_by_id.clear();
        self.ready_requests.clear();
        self.responded.clear();
        self.next_deadline = None;
        self.write_deadline = None;
    }
}
