//! The server side of an HTTP/1 connection: reads requests, sends responses in the order of the requests, and handles
//! its time limits.

mod input;
mod response_queue;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;

use bytes::Bytes;

use self::input::{BodyReading, IncomingBody, Input};
use self::response_queue::{EncodeContext, Encoded, PendingResponse, ResponseQueue, ResponseState};
use super::body::BodyDecoder;
use super::head::{HeadBuffer, HeadError, RequestHead};
use super::message::{HttpServerConnConfig, IncomingRequest, Request, RequestId, Response, STALL_TIMEOUT};
use super::output::Output;
use crate::admission::Admission;
use crate::coding::SCRATCH_SIZE;
use crate::connection::{CloseReason, PollResult, earliest};

/// How many requests may wait for their responses on one connection.
pub(super) const MAX_PIPELINED: usize = 16;
/// A refused body is read to its end up to this size, as Go does; beyond it the connection is closed.
pub(super) const MAX_DISCARD: u64 = 256 << 10;
/// How long a finished connection waits for the peer to close its side, as Go does.
pub(super) const LINGER: u64 = 500_000_000;
/// When more output than this is waiting, no further requests are read. It bounds the responses to a client that sends
/// requests and does not read the responses.
const MAX_OUTPUT: usize = 64 << 10;

/// How long the connection lasts.
///
/// ```text
///  Open --drain--> Draining
///    |                |
///    +----------------+--response with `Connection: close`--> LastResponse
///    |                |                                            |
///    |   no further requests, all responses written                | written
///    +----------------+-----------------> Lingering <--------------+
///                                             |
///                                             +--peer closes its side, time limit--> Closed
///
///  each of them --failed stream, write timeout, peer closes in the middle of a request--> Closed
/// ```
#[derive(Clone, Copy)]
enum Lifetime {
    Open,
    /// Accepts no further request, and responds to those already received.
    Draining,
    /// No output follows what is queued.
    LastResponse,
    /// Everything is written; waits for the peer to close its side.
    Lingering {
        until: u64,
    },
    Closed,
}

/// An HTTP/1 server connection over any non-blocking stream. See the crate's call order.
pub struct H1ServerConn<T, P> {
    io: T,
    cfg: Rc<HttpServerConnConfig>,
    lifetime: Lifetime,
    input: Input<P>,
    /// Input that was read but cannot be processed yet.
    unprocessed_input: Vec<u8>,
    ready_requests: VecDeque<Request<P>>,
    next_id: u64,
    /// From then on the next request is the last one.
    age_ends_at: Option<u64>,
    responses: ResponseQueue,
    output: Output,
    /// When the output must be written.
    write_deadline: Option<u64>,
    /// Why the connection ends. It may be known before it has ended.
    close_reason: Option<CloseReason>,
}

impl<T: Read + Write, P> H1ServerConn<T, P> {
    /// A connection that was just accepted.
    pub fn new(io: T, cfg: Rc<HttpServerConnConfig>, now: u64) -> Self {
        Self {
            io,
            lifetime: Lifetime::Open,
            input: Input::Head { since: now, buffer: HeadBuffer::new(cfg.max_head) },
            age_ends_at: cfg.age_ends_at(now),
            cfg,
            unprocessed_input: Vec::new(),
            ready_requests: VecDeque::new(),
            next_id: 0,
            responses: ResponseQueue::default(),
            output: Output::default(),
            write_deadline: None,
            close_reason: None,
        }
    }

    /// A connection that accepts no request: it sends `text` whatever input arrives, and closes as after any last
    /// response.
    pub fn new_refusing(
        io: T,
        cfg: Rc<HttpServerConnConfig>,
        now: u64,
        text: &'static [u8],
        reason: CloseReason,
    ) -> Self {
        let mut conn = Self::new(io, cfg, now);
        conn.output.push(Bytes::from_static(text));
        conn.write_deadline = conn.cfg.write_timeout.map(|t| now.saturating_add(t));
        conn.close_reason = Some(reason);
        conn.mark_last_response();
        conn
    }

    /// Reads up to the budget, writes what can be written, and handles the timers that are due.
    pub fn poll<D>(&mut self, now: u64, admission: &mut D) -> PollResult
    where
        D: Admission<RequestHead, Permit = P> + ?Sized,
    {
        let more_input = !self.is_closed() && self.read(now, admission);
        let flushed = self.flush(now);
        // A written response may allow input that was read earlier to be processed.
        PollResult { poll_again: flushed.poll_again || more_input && !self.is_closed(), ..flushed }
    }

    /// Writes without reading: for use after `respond`, when there was no readiness event. `poll_again` is true when
    /// input that was read earlier can be processed now.
    pub fn flush(&mut self, now: u64) -> PollResult {
        self.handle_timeouts(now);
        self.write_output(now);
        let ended = matches!(self.lifetime, Lifetime::Lingering { .. } | Lifetime::Closed);
        PollResult {
            poll_again: !self.unprocessed_input.is_empty() && self.accepts_input(),
            shutdown_write: ended && self.output.is_flushed(),
            closed: self.is_closed(),
            close_reason: self.close_reason.clone().filter(|_| ended),
        }
    }

    /// The next request for the application.
    pub fn poll_request(&mut self) -> Option<Request<P>> {
        self.ready_requests.pop_front()
    }

    /// Responds to a request. Unknown ids and second responses are ignored.
    pub fn respond(&mut self, id: RequestId, response: Response) {
        self.responses.respond(id, response);
        self.encode_responses();
    }

    /// Refuses the request whose body is being read, if its permit `matches`. `make_response` is called then only.
    pub fn refuse_incomplete(
        &mut self,
        now: u64,
        matches: impl Fn(&P) -> bool,
        make_response: impl FnOnce(&P) -> Response,
    ) {
        match std::mem::replace(&mut self.input, Input::Discarding) {
            Input::Body(body) if matches(body.request.permit()) => {
                let IncomingBody { request, reading, awaits_continue } = *body;
                let response = make_response(request.permit());
                drop(request);
                // A client that still waits for `100 Continue` may never send the body.
                self.refuse_body(response, reading, awaits_continue, now);
            }
            other => self.input = other,
        }
    }

    /// Sends a head; the body follows in pieces ([`H1ServerConn::send_data`]). False when no body is to follow: for
    /// HEAD, statuses without a body, unknown ids and second responses.
    pub fn respond_streaming(&mut self, id: RequestId, response: Response) -> bool {
        let has_body = self.responses.respond_streaming(id, response);
        self.encode_responses();
        has_body
    }

    /// Whether the next piece of this body can be sent: everything before it has been written.
    #[must_use]
    pub fn can_send_data(&self, id: RequestId) -> bool {
        self.responses.is_front_streaming(id) && self.output.is_flushed()
    }

    /// Whether pieces of this body are still to be sent, now or after the responses before it.
    #[must_use]
    pub fn is_streaming(&self, id: RequestId) -> bool {
        self.responses.is_streaming(id)
    }

    /// Whether the response to this request is the next to be sent.
    #[must_use]
    pub fn is_next_response(&self, id: RequestId) -> bool {
        self.responses.is_next(id)
    }

    /// Sends the next piece of a body. Call it when [`H1ServerConn::can_send_data`] is true.
    pub fn send_data(&mut self, now: u64, id: RequestId, piece: Bytes) {
        if self.responses.send_data(id, piece, &mut self.output) {
            self.write_deadline = earliest(self.write_deadline, Some(now.saturating_add(STALL_TIMEOUT)));
        }
    }

    /// The body is complete.
    pub fn finish_response(&mut self, id: RequestId, now: u64) {
        let Some((encoded, deadline)) = self.responses.finish(id, now, &mut self.output) else { return };
        self.write_deadline = earliest(self.write_deadline, deadline);
        if encoded == Encoded::Last {
            self.mark_last_response();
        }
        self.encode_responses();
    }

    /// The body can't be completed. The connection is closed, so that the client sees that the body is incomplete.
    pub fn abort_response(&mut self, id: RequestId) {
        if self.is_streaming(id) {
            self.close(CloseReason::Local("answer cut off"));
        }
    }

    /// Bytes of input that no [`Admission`] has admitted: an incomplete head, and input that waits behind a request.
    #[must_use]
    pub fn unadmitted_bytes(&self) -> usize {
        self.input.head_bytes() + self.unprocessed_input.capacity()
    }

    /// Refuses the request whose head is being read: `response` is sent, and the connection closes.
    pub fn refuse_head(&mut self, now: u64, response: Response) {
        if matches!(&self.input, Input::Head { buffer, .. } if !buffer.is_empty()) {
            self.respond_to_head(response, now);
        }
    }

    /// When `poll` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.lifetime {
            Lifetime::Closed => None,
            Lifetime::Lingering { until } => Some(until),
            _ => earliest(self.read_deadline().map(|(at, _)| at), self.next_write_deadline()),
        }
    }

    /// Accepts no further request, responds to those already received, then closes.
    pub fn drain(&mut self) {
        if matches!(self.lifetime, Lifetime::Open) {
            self.lifetime = Lifetime::Draining;
        }
        if self.input.is_between_requests() {
            self.discard_input();
            self.close_reason.get_or_insert(CloseReason::Local("drained"));
        }
        self.encode_responses();
    }

    /// The next request is the last one: its response has `Connection: close`. An idle connection stays open for it, since
    /// a request may be on its way.
    pub fn end_with_next_request(&mut self, now: u64) {
        self.age_ends_at = Some(now);
    }

    /// No request is being read or processed, and no response is being sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        (self.input.is_between_requests() || self.input.is_finished())
            && self.responses.is_empty()
            && self.output.is_flushed()
            && self.unprocessed_input.is_empty()
    }

    /// Bytes held by an incomplete head or body, and by input that cannot be processed yet.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.input.body_bytes() + self.unadmitted_bytes()
    }

    /// The underlying stream.
    pub fn io(&self) -> &T {
        &self.io
    }

    /// The underlying stream, for the caller's own bookkeeping. Reading from it or writing to it breaks the connection.
    pub fn io_mut(&mut self) -> &mut T {
        &mut self.io
    }

    fn is_closed(&self) -> bool {
        matches!(self.lifetime, Lifetime::Closed)
    }

    fn accepts_input(&self) -> bool {
        match self.input {
            Input::Idle { .. } | Input::Head { .. } => {
                self.responses.len() < MAX_PIPELINED && self.output.len() < MAX_OUTPUT
            }
            Input::Body(_) | Input::Refused(_) => true,
            Input::Discarding | Input::Ended => false,
        }
    }

    /// Reads until the stream returns `WouldBlock`, the budget is used up, or no more input is accepted. True when
    /// there may be more input.
    fn read<D>(&mut self, now: u64, admission: &mut D) -> bool
    where
        D: Admission<RequestHead, Permit = P> + ?Sized,
    {
        let mut budget = self.cfg.read_budget;
        if !self.unprocessed_input.is_empty() && self.accepts_input() {
            let input = std::mem::take(&mut self.unprocessed_input);
            budget = budget.saturating_sub(input.len());
            let rest = self.feed(&input, now, admission);
            self.unprocessed_input = rest.to_vec();
        }
        let mut scratch = self.cfg.workspace.take_scratch();
        let mut more_input = false;
        while !self.is_closed()
            && (matches!(self.input, Input::Discarding) || self.accepts_input() && self.unprocessed_input.is_empty())
        {
            if budget == 0 {
                more_input = true;
                break;
            }
            let n = budget.min(SCRATCH_SIZE);
            match self.io.read(&mut scratch[..n]) {
                Ok(0) => self.end_of_input(),
                Ok(n) => {
                    budget -= n;
                    let rest = self.feed(scratch.get(..n).unwrap_or_default(), now, admission);
                    if !self.input.is_finished() {
                        self.unprocessed_input.extend_from_slice(rest);
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => self.close(CloseReason::Io(e.kind())),
            }
        }
        self.cfg.workspace.return_scratch(scratch);
        more_input
    }

    /// Processes input; returns the rest that cannot be processed yet.
    fn feed<'a, D>(&mut self, mut input: &'a [u8], now: u64, admission: &mut D) -> &'a [u8]
    where
        D: Admission<RequestHead, Permit = P> + ?Sized,
    {
        while self.accepts_input() {
            let is_complete = match self.input {
                Input::Idle { .. } | Input::Head { .. } => self.feed_head(&mut input, now, admission),
                Input::Body(_) => self.feed_body(&mut input, now, admission),
                Input::Refused(_) => self.feed_refused(&mut input, now),
                Input::Discarding | Input::Ended => false,
            };
            if !is_complete {
                break;
            }
        }
        input
    }

    /// False when more input is needed.
    fn feed_head<D>(&mut self, input: &mut &[u8], now: u64, admission: &mut D) -> bool
    where
        D: Admission<RequestHead, Permit = P> + ?Sized,
    {
        if input.is_empty() {
            return false;
        }
        if matches!(self.input, Input::Idle { .. }) {
            self.input = Input::Head { since: now, buffer: HeadBuffer::new(self.cfg.max_head) };
        }
        let Input::Head { since, buffer } = &mut self.input else { return false };
        let since = *since;
        match buffer.read_request_head(input) {
            Ok(None) => {
                // Empty lines between requests do not begin a request.
                if buffer.is_empty() && self.next_id > 0 {
                    self.input = Input::Idle { since: now };
                }
                !input.is_empty()
            }
            Ok(Some(head)) => {
                self.begin_request(head, since, now, admission);
                true
            }
            Err(error) => {
                self.refuse_bad_head(error, now);
                true
            }
        }
    }

    /// False when more input is needed.
    fn feed_body<D>(&mut self, input: &mut &[u8], now: u64, admission: &mut D) -> bool
    where
        D: Admission<RequestHead, Permit = P> + ?Sized,
    {
        let Input::Body(mut body) = std::mem::replace(&mut self.input, Input::Discarding) else { return false };
        match body.read(input, now, admission) {
            Ok(true) => {
                if let Some(slot) = self.responses.last() {
                    self.ready_requests.push_back(body.request.complete(slot.id));
                }
                self.next_request(now);
            }
            Ok(false) => {
                self.input = Input::Body(body);
                return false;
            }
            Err(response) => self.refuse_body(response, body.reading, false, now),
        }
        true
    }

    /// False when more input is needed.
    fn feed_refused(&mut self, input: &mut &[u8], now: u64) -> bool {
        let Input::Refused(reading) = &mut self.input else { return false };
        match reading.decoder.skip(input) {
            Ok(true) => self.next_request(now),
            Ok(false) if reading.decoder.skipped() <= MAX_DISCARD => return false,
            Ok(false) | Err(_) => self.discard_input(),
        }
        true
    }

    /// Handles a complete head: adds an entry to the queue of responses and calls [`Admission::admit_head`].
    fn begin_request<D>(&mut self, head: RequestHead, since: u64, now: u64, admission: &mut D)
    where
        D: Admission<RequestHead, Permit = P> + ?Sized,
    {
        let is_young = self.age_ends_at.is_none_or(|at| now < at);
        let is_open = matches!(self.lifetime, Lifetime::Open);
        let keep_alive = self.cfg.keep_alive && is_open && is_young && head.wants_keep_alive();
        self.push_response(&head, keep_alive, now);
        let expects_continue = head.expects_continue();
        let decoder = BodyDecoder::new(head.is_chunked(), head.content_length(), self.cfg.max_head);
        let reading = BodyReading { decoder, since, progress_at: now };
        match IncomingRequest::admit(head, self.cfg.max_body, admission) {
            Ok(request) => {
                let awaits_continue = expects_continue && !reading.decoder.is_done();
                self.input = Input::Body(Box::new(IncomingBody { request, reading, awaits_continue }));
                self.encode_responses();
            }
            // A client that waits for `100 Continue` may never send the body, so the start of the next request is
            // unknown.
            Err(response) => self.refuse_body(response, reading, expects_continue, now),
        }
    }

    fn push_response(&mut self, head: &RequestHead, keep_alive: bool, now: u64) {
        self.responses.push(PendingResponse {
            id: RequestId(self.next_id),
            state: ResponseState::Awaited,
            head_only: head.method() == "HEAD",
            is_http_1_0: head.version() == 0,
            keep_alive,
            write_deadline: self.cfg.write_timeout.map(|t| now.saturating_add(t)),
        });
        self.next_id += 1;
    }

    /// Chooses the next part of the input after a request was read to its end.
    fn next_request(&mut self, now: u64) {
        let is_open = matches!(self.lifetime, Lifetime::Open);
        if is_open && self.responses.last().is_none_or(|slot| slot.keep_alive) {
            self.input = Input::Idle { since: now };
        } else {
            self.discard_input();
        }
    }

    /// Responds to the request whose body is being read, and either discards the rest of the body or closes.
    fn refuse_body(&mut self, mut response: Response, mut reading: BodyReading, close: bool, now: u64) {
        let is_done = reading.decoder.is_done();
        let rest = if is_done { 0 } else { reading.decoder.remaining_length().unwrap_or(0) };
        response.close |= close || rest > MAX_DISCARD;
        let close = response.close;
        self.responses.respond_to_last(response);
        if close {
            self.discard_input();
        } else if is_done {
            self.next_request(now);
        } else {
            reading.decoder.reset_skipped();
            self.input = Input::Refused(reading);
        }
        self.encode_responses();
    }

    fn refuse_bad_head(&mut self, error: HeadError, now: u64) {
        if matches!(error, HeadError::Http2) {
            return self.close(CloseReason::Http2Preface);
        }
        let (status, text) = error.status_and_text();
        self.close_reason.get_or_insert_with(|| match error {
            HeadError::Tls => CloseReason::OtherProtocol("TLS"),
            _ => CloseReason::Protocol(text.to_owned()),
        });
        self.respond_to_head(Response::text(status, text), now);
    }

    /// Responds to a request whose head is incomplete or malformed, and reads no further request.
    fn respond_to_head(&mut self, response: Response, now: u64) {
        self.responses.push(PendingResponse {
            id: RequestId(self.next_id),
            state: ResponseState::Whole(response.with_close()),
            head_only: false,
            is_http_1_0: false,
            keep_alive: false,
            write_deadline: self.cfg.write_timeout.map(|t| now.saturating_add(t)),
        });
        self.next_id += 1;
        self.discard_input();
        self.encode_responses();
    }

    fn discard_input(&mut self) {
        self.input.discard();
        self.unprocessed_input = Vec::new();
    }

    fn end_of_input(&mut self) {
        let is_in_request = !self.input.is_between_requests() && !self.input.is_finished();
        // A client may half-close and still read its responses.
        if is_in_request || self.responses.is_empty() && self.output.is_flushed() {
            self.close(CloseReason::Peer);
        } else {
            self.discard_input();
            self.close_reason.get_or_insert(CloseReason::Peer);
        }
        self.input = Input::Ended;
    }

    /// Encodes the responses at the front of the queue into the output.
    fn encode_responses(&mut self) {
        let context = EncodeContext {
            is_draining: matches!(self.lifetime, Lifetime::Draining),
            is_reading_body: matches!(self.input, Input::Body(_)),
        };
        if self.responses.encode(context, &mut self.output, &mut self.write_deadline) == Encoded::Last {
            self.mark_last_response();
        }
        if let Input::Body(body) = &mut self.input
            && self.responses.len() == 1
            && std::mem::take(&mut body.awaits_continue)
        {
            self.output.push(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
    }

    /// No output follows this response.
    fn mark_last_response(&mut self) {
        self.lifetime = Lifetime::LastResponse;
        self.responses.clear();
        self.ready_requests.clear();
        self.discard_input();
    }

    fn write_output(&mut self, now: u64) {
        if self.is_closed() {
            return;
        }
        self.encode_responses();
        match self.output.write(&mut self.io) {
            Ok(true) => self.write_deadline = None,
            Ok(false) => return,
            Err(kind) => return self.close(CloseReason::Io(kind)),
        }
        let is_complete = match self.lifetime {
            Lifetime::Open | Lifetime::Draining => self.input.is_finished() && self.responses.is_empty(),
            Lifetime::LastResponse => true,
            Lifetime::Lingering { .. } | Lifetime::Closed => false,
        };
        if is_complete {
            self.lifetime = Lifetime::Lingering { until: now.saturating_add(LINGER) };
            self.close_reason.get_or_insert(CloseReason::Local("connection: close"));
        }
        if matches!((self.lifetime, &self.input), (Lifetime::Lingering { .. }, Input::Ended)) {
            self.lifetime = Lifetime::Closed;
        }
    }

    /// When the wait for input times out, and the name of that timeout.
    fn read_deadline(&self) -> Option<(u64, &'static str)> {
        let c = &*self.cfg;
        let (since, limit, name) = match &self.input {
            Input::Discarding | Input::Ended => return None,
            Input::Idle { .. } | Input::Head { .. } if !self.accepts_input() => return None,
            // The idle time begins after the last response. While a request is processed or its response is sent,
            // there is no idle timeout.
            Input::Idle { .. } if !self.responses.is_empty() || !self.output.is_flushed() => return None,
            Input::Idle { since } => (since, c.idle_timeout.or(c.read_timeout), "idle_timeout"),
            Input::Head { since, .. } => (since, c.read_header_timeout.or(c.read_timeout), "read_header_timeout"),
            Input::Body(body) => return Some(body.reading.deadline(c.body_timeout, c.read_timeout)),
            Input::Refused(reading) => return Some(reading.deadline(c.body_timeout, c.read_timeout)),
        };
        Some((since.saturating_add(limit?), name))
    }

    fn next_write_deadline(&self) -> Option<u64> {
        earliest(self.write_deadline, self.responses.write_deadline())
    }

    fn handle_timeouts(&mut self, now: u64) {
        match self.lifetime {
            Lifetime::Closed => return,
            Lifetime::Lingering { until } if now >= until => return self.close(CloseReason::Local("linger")),
            Lifetime::Lingering { .. } => return,
            Lifetime::Open | Lifetime::Draining | Lifetime::LastResponse => {}
        }
        if self.next_write_deadline().is_some_and(|at| now >= at) {
            return self.close(CloseReason::Timeout("write_timeout"));
        }
        let Some((_, name)) = self.read_deadline().filter(|(at, _)| now >= *at) else { return };
        let reason = CloseReason::Timeout(name);
        match &self.input {
            Input::Idle { .. } | Input::Head { .. } if self.responses.is_empty() && self.output.is_flushed() => {
                return self.close(reason);
            }
            Input::Body(_) => {
                self.responses.respond_to_last(Response::text(408, "408 Request Timeout").with_close());
            }
            _ => {}
        }
        self.close_reason.get_or_insert(reason);
        self.discard_input();
    }

    fn close(&mut self, reason: CloseReason) {
        self.close_reason.get_or_insert(reason);
        self.lifetime = Lifetime::Closed;
        self.responses.clear();
        self.ready_requests.clear();
        self.output.clear();
        self.write_deadline = None;
        self.discard_input();
    }
}
