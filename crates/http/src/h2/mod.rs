//! HTTP semantics over HTTP/2 (RFC 9113), the server side, with the interface of [`crate::h1::H1Conn`].
//!
//! The same [`Door`] admits or refuses a request from its head alone, and the same limits and timeouts apply. What a
//! refused client still sends is discarded up to a limit, then its stream is reset with NO_ERROR. Answers may be sent
//! in any order. Never interprets a body and never decodes a content coding.

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

use self::stream::{Answer, Step, Stream};
use crate::engine::{Engine, Limits, NO_ERROR};
use crate::h1::{Door, H1Config, Request, RequestId, Response};
use crate::{Closed, Turn, earliest};

/// Limit of concurrent streams, as in Go's server.
const STREAMS: u32 = 250;
/// Largest header list.
const HEADER_LIST: u32 = 64 << 10;
/// Flow-control windows of a stream and of the connection: the most that h2 buffers before it is read here.
const WINDOW: u32 = 1 << 20;
/// Output buffered before it is written to the stream.
const WRITE_BUFFER: usize = 32 << 10;
/// A client that has not finished its preface and SETTINGS by then is closed, as in Go.
const GREETING: u64 = 10_000_000_000;

/// An HTTP/2 server connection over any non-blocking stream. See the crate's call order.
pub struct ServerConn<T: Read + Write, P> {
    engine: Engine<T, Answer>,
    cfg: Rc<H1Config>,
    streams: Slab<Stream<P>>,
    by_id: BTreeMap<u32, usize>,
    ready: VecDeque<Request<P>>,
    /// Answered streams whose answer is not sent completely or whose input has not ended.
    answered: Vec<u32>,
    /// No stream has an earlier deadline; it may be later.
    next_deadline: Option<u64>,
    /// When the answers that h2 has framed must be written to the stream.
    write_by: Option<u64>,
    wants_drain: bool,
    served_any: bool,
    /// Since when the connection waits for its first request, or for the next one.
    since: u64,
}

impl<T: Read + Write, P> ServerConn<T, P> {
    /// A connection that was just accepted and that uses HTTP/2.
    pub fn new(io: T, cfg: Rc<H1Config>, now: u64) -> Self {
        let limits = Limits {
            streams: STREAMS,
            header_list: HEADER_LIST,
            stream_window: WINDOW,
            connection_window: WINDOW,
            frame: 16 << 10,
            read_budget: cfg.read_budget,
        };
        Self {
            engine: Engine::new(io, cfg.workspace.clone(), &limits, WRITE_BUFFER, now),
            cfg,
            streams: Slab::new(),
            by_id: BTreeMap::new(),
            ready: VecDeque::new(),
            answered: Vec::new(),
            next_deadline: None,
            write_by: None,
            wants_drain: false,
            served_any: false,
            since: now,
        }
    }

    /// Reads up to the budget, writes what can be written, and handles the timers that are due.
    pub fn turn<D: Door<Permit = P> + ?Sized>(&mut self, now: u64, door: &mut D) -> Turn {
        if self.engine.begin() {
            self.heed_drain(now);
            while let Some((request, respond)) = self.engine.accept(now) {
                self.open(request, respond, now, door);
            }
            let touched = self.engine.take_touched();
            for id in &touched {
                self.read_stream(*id, now, door);
            }
            self.engine.put_touched(touched);
            self.engine.link.stop_reading();
        }
        self.settle(now)
    }

    /// Writes without reading: for use after `respond`, when there was no readiness event.
    pub fn flush(&mut self, now: u64) -> Turn {
        self.engine.link.begin(0);
        self.settle(now)
    }

    /// The next request for the application.
    pub fn poll_request(&mut self) -> Option<Request<P>> {
        self.ready.pop_front()
    }

    /// Answers a request. Unknown ids, requests whose client has reset the stream, and second answers are ignored.
    pub fn respond(&mut self, id: RequestId, response: Response) {
        let Ok(id) = u32::try_from(id.0) else { return };
        let Some(stream) = self.by_id.get(&id).and_then(|slot| self.streams.get_mut(*slot)) else { return };
        if stream.is_with_app() {
            self.wants_drain |= response.close;
            stream.answer(response);
            self.answered.push(id);
        }
    }

    /// Refuses the requests whose body is being read and whose permit `matches`. Iterates over the requests in flight.
    pub fn refuse_reading(&mut self, now: u64, matches: impl Fn(&P) -> bool, answer: impl Fn(&P) -> Response) {
        for (_, stream) in &mut self.streams {
            if let Some(response) = stream.reading().filter(|permit| matches(permit)).map(&answer) {
                stream.refuse(response, now);
                self.next_deadline = earliest(self.next_deadline, stream.deadline());
                self.answered.push(stream.id());
            }
        }
    }

    /// Answers a request with a head and a body that follows in pieces ([`ServerConn::give`]). False when no body is to
    /// follow: for HEAD, statuses without a body, unknown ids and second answers.
    pub fn respond_streaming(&mut self, id: RequestId, response: Response) -> bool {
        let Some(stream) = self.stream(id).filter(|s| s.is_with_app()) else { return false };
        let (close, streams) = (response.close, stream.begin(response));
        self.wants_drain |= close;
        self.answered.extend(u32::try_from(id.0));
        streams
    }

    /// Whether the next piece of this answer can be given: h2 has dropped the previous one.
    #[must_use]
    pub fn wants(&self, id: RequestId) -> bool {
        self.find(id).is_some_and(|slot| self.streams.get(slot).is_some_and(Stream::wants))
    }

    /// Whether pieces of this answer are still to be given.
    #[must_use]
    pub fn is_streaming(&self, id: RequestId) -> bool {
        self.find(id).is_some_and(|slot| self.streams.get(slot).is_some_and(Stream::is_streaming))
    }

    /// Sends the next piece of an answer. Call it when [`ServerConn::wants`] is true.
    pub fn give(&mut self, now: u64, id: RequestId, piece: Bytes) {
        if let Some(stream) = self.stream(id).filter(|_| !piece.is_empty()) {
            stream.give(now, piece);
            let deadline = stream.deadline();
            self.next_deadline = earliest(self.next_deadline, deadline);
        }
    }

    /// The answer is complete.
    pub fn finish(&mut self, id: RequestId, now: u64) {
        if let Some(stream) = self.stream(id) {
            stream.give(now, Bytes::new());
        }
    }

    /// The answer can't be completed. Its stream is reset, so that the client sees that the body is incomplete.
    pub fn abandon(&mut self, id: RequestId) {
        if self.is_streaming(id)
            && let Ok(id) = u32::try_from(id.0)
            && let Some(mut stream) = self.remove(id)
        {
            stream.reset(Reason::INTERNAL_ERROR);
        }
    }

    fn find(&self, id: RequestId) -> Option<usize> {
        self.by_id.get(&u32::try_from(id.0).ok()?).copied()
    }

    fn stream(&mut self, id: RequestId) -> Option<&mut Stream<P>> {
        let slot = self.find(id)?;
        self.streams.get_mut(slot)
    }

    /// When `turn` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        if let Some(over) = self.engine.over_at() {
            return over;
        }
        let streams = earliest(self.next_deadline, self.write_by);
        let waits = earliest(self.slow_at(), self.pause_at().map(|(at, _)| at));
        let drained = self.engine.drained_at().filter(|_| !self.is_busy());
        earliest(earliest(streams, waits), drained)
    }

    /// Sends GOAWAY with the next `turn` or `flush`, answers the requests already received, then closes.
    pub fn drain(&mut self) {
        self.wants_drain = true;
    }

    /// No request is being read, processed or answered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.engine.link.all_sent()
    }

    /// Bytes held by incomplete bodies. Iterates over the requests in flight.
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

    fn open<D: Door<Permit = P> + ?Sized>(
        &mut self,
        request: http::Request<RecvStream>,
        respond: SendResponse<Answer>,
        now: u64,
        door: &mut D,
    ) {
        self.served_any = true;
        self.wants_drain |= !self.cfg.keep_alive;
        let stream = Stream::open(request, respond, now, &self.cfg, door);
        let id = stream.id();
        if stream.is_answered() {
            self.answered.push(id);
        }
        self.next_deadline = earliest(self.next_deadline, stream.deadline());
        let slot = self.streams.insert(stream);
        self.by_id.insert(id, slot);
        self.read_stream(id, now, door);
        if let Some(stream) = self.streams.get_mut(slot) {
            stream.go_on();
        }
    }

    fn read_stream<D: Door<Permit = P> + ?Sized>(&mut self, id: u32, now: u64, door: &mut D) {
        let Some(stream) = self.by_id.get(&id).and_then(|slot| self.streams.get_mut(*slot)) else { return };
        match stream.read(now, &self.cfg, door) {
            Step::Wait => {}
            Step::Request(request) => self.ready.push_back(*request),
            Step::Refuse(response) => {
                stream.refuse(response, now);
                self.next_deadline = earliest(self.next_deadline, stream.deadline());
                self.answered.push(id);
                // Input after the refused part is read too. There is no endless recursion: a refused stream is not
                // refused again.
                self.read_stream(id, now, door);
            }
            Step::Gone => drop(self.remove(id)),
        }
    }

    /// Removes a stream. If h2 still has its answer, h2 sends that, and then RST_STREAM with NO_ERROR if there is
    /// unread input.
    fn remove(&mut self, id: u32) -> Option<Stream<P>> {
        let stream = self.streams.try_remove(self.by_id.remove(&id)?)?;
        if stream.is_with_app() {
            self.ready.retain(|r| r.id.0 != u64::from(id));
        }
        Some(stream)
    }

    /// A request is not answered yet, or h2 still has a part of its answer.
    fn is_busy(&self) -> bool {
        self.streams.iter().any(|(_, s)| !s.is_out())
    }

    fn heed_drain(&mut self, now: u64) {
        if self.wants_drain {
            self.engine.drain(now);
        }
    }

    fn fire_deadlines(&mut self, now: u64) {
        if self.next_deadline.is_none_or(|at| now < at) {
            return;
        }
        let due = |s: &Stream<P>| s.deadline().is_some_and(|at| now >= at);
        let due: Vec<u32> = self.streams.iter().filter(|(_, s)| due(s)).map(|(_, s)| s.id()).collect();
        for id in due {
            let Some(stream) = self.by_id.get(&id).and_then(|slot| self.streams.get_mut(*slot)) else { continue };
            if stream.is_late_reading(now) {
                stream.refuse(Response::text(408, "408 Request Timeout"), now);
                self.answered.push(id);
            } else if let Some(mut stream) = self.remove(id)
                && !stream.is_out()
            {
                stream.reset(Reason::INTERNAL_ERROR); // as Go does
            }
        }
        self.next_deadline = self.streams.iter().filter_map(|(_, s)| s.deadline()).min();
    }

    /// When the connection of a peer that is slow with its preface and SETTINGS, or with a header block, is closed.
    fn slow_at(&self) -> Option<u64> {
        let limit = self.cfg.read_header_timeout.or(self.cfg.read_timeout);
        self.engine.slow_since().map(|at| at.saturating_add(limit.map_or(GREETING, |l| l.min(GREETING))))
    }

    /// When the wait for a request times out, and the name of that timeout.
    fn pause_at(&self) -> Option<(u64, &'static str)> {
        let c = &*self.cfg;
        if !self.streams.is_empty() || self.engine.is_draining() {
            return None;
        }
        let (limit, name) = match self.served_any {
            true => (c.idle_timeout.or(c.read_timeout), "idle_timeout"),
            false => (c.read_header_timeout.or(c.read_timeout), "read_header_timeout"),
        };
        Some((self.since.saturating_add(limit?), name))
    }

    fn police(&mut self, now: u64) {
        self.engine.observe(now);
        if self.slow_at().is_some_and(|at| now >= at) {
            return self.engine.goaway(now, NO_ERROR, b"handshake timeout", Closed::Timeout("handshake"));
        }
        if self.write_by.is_some_and(|at| now >= at) {
            return self.engine.goaway(now, NO_ERROR, b"write timeout", Closed::Timeout("write_timeout"));
        }
        match self.pause_at() {
            Some((at, name)) if now >= at && self.served_any => {
                self.engine.because(Closed::Timeout(name));
                self.engine.drain(now);
            }
            Some((at, name)) if now >= at => self.engine.goaway(now, NO_ERROR, name.as_bytes(), Closed::Timeout(name)),
            _ => {}
        }
        if self.engine.drained_at().is_some_and(|at| now >= at) && !self.is_busy() {
            self.engine.goaway(now, NO_ERROR, b"", Closed::Local("drained"));
        }
    }

    /// Handles the timers that are due, lets h2 write, and returns the state of the connection.
    fn settle(&mut self, now: u64) -> Turn {
        if self.engine.is_live() {
            self.heed_drain(now);
            self.fire_deadlines(now);
            self.police(now);
        }
        self.engine.write(now);
        if !self.streams.is_empty() {
            self.since = now; // the idle time begins with the end of the last stream
        }
        self.forget_answered();
        if !self.engine.is_live() {
            self.give_up();
        }
        let turn = self.engine.finish(now, self.streams.is_empty());
        if !self.engine.is_live() {
            self.give_up();
        }
        if self.engine.link.all_sent() {
            self.write_by = None;
        }
        if self.streams.is_empty() && self.streams.capacity() > 16 {
            self.streams = Slab::new();
            self.ready.shrink_to(16);
        }
        turn
    }

    /// Removes the streams whose answer is sent and whose input has ended.
    fn forget_answered(&mut self) {
        let mut answered = std::mem::take(&mut self.answered);
        answered.retain(|id| {
            let Some(stream) = self.by_id.get(id).and_then(|slot| self.streams.get_mut(*slot)) else { return false };
            if stream.is_out() {
                self.write_by = earliest(self.write_by, stream.take_write_by());
            }
            let over = stream.is_out() && stream.has_ended();
            if over {
                drop(self.remove(*id));
            }
            !over
        });
        self.answered = answered;
    }

    fn give_up(&mut self) {
        self.streams.clear();
        self.by_id.clear();
        self.ready.clear();
        self.answered.clear();
        self.next_deadline = None;
        self.write_by = None;
    }
}
