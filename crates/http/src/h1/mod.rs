//! HTTP/1.0 and 1.1 (RFC 9112): the server side is here, the client side in [`client`].
//!
//! Reads requests in the order they arrive, sends responses in that order, limits how many wait, and refuses every
//! framing that two parsers could read differently. An [`Admission`] admits or refuses a request from its head alone,
//! before the body is read. Never interprets a body and never decodes a content coding.

mod body;
pub mod client;
mod head;

#[cfg(test)]
mod tests;

pub(crate) use head::may_have_body;
pub use head::{RequestHead, ResponseHead};

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::rc::Rc;

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use self::body::{BodyDecoder, BodyError};
use self::head::{HeadBuffer, HeadError};
use crate::coding::{SCRATCH_SIZE, Workspace};
use crate::{CloseReason, PollResult, earliest};

/// How many requests may wait for their responses on one connection.
const MAX_PIPELINED: usize = 16;
/// A refused body is read to its end up to this size, as Go does; beyond it the connection is closed.
const MAX_DISCARD: u64 = 256 << 10;
/// How long a finished connection waits for the peer to close its side, as Go does.
const LINGER: u64 = 500_000_000;
/// When more output than this is waiting, no further requests are read. It bounds the responses to a client that sends
/// requests and does not read the responses.
const MAX_OUTPUT: usize = 64 << 10;

/// How long a piece of a streamed body may wait to be written because the client does not read.
pub(crate) const STALL_TIMEOUT: u64 = 30_000_000_000;

/// Configuration of an HTTP server connection, the same for HTTP/1 and HTTP/2. Nanoseconds and bytes; `None` disables a
/// timeout.
#[derive(Clone, Debug)]
pub struct HttpServerConnConfig {
    /// Longest body, unless [`Admission::admit_head`] sets a lower limit. Default 20 MiB.
    pub max_body: u64,
    /// Longest request line with header fields. Default 64 KiB, which is the fixed limit of HTTP/2 here.
    pub max_head: usize,
    /// From the first byte of a request, or the beginning of a connection, to the end of its head.
    pub read_header_timeout: Option<u64>,
    /// From there to the end of the body. It is used as the header timeout if that is `None`.
    pub read_timeout: Option<u64>,
    /// A body of which nothing arrives for this long is refused, independent of `read_timeout`. Default 60 s.
    pub body_timeout: u64,
    /// From the end of the head to the last byte of the response.
    pub write_timeout: Option<u64>,
    /// Between requests; `read_timeout` is used if this is `None`.
    pub idle_timeout: Option<u64>,
    /// Whether connections may carry more than one request.
    pub keep_alive: bool,
    /// Bytes read in one `poll`. Default 256 KiB.
    pub read_budget: usize,
    /// Shared by all connections of the thread.
    pub workspace: Workspace,
}

impl Default for HttpServerConnConfig {
    fn default() -> Self {
        Self {
            max_body: 20 << 20,
            max_head: 64 << 10,
            read_header_timeout: None,
            read_timeout: None,
            body_timeout: 60_000_000_000,
            write_timeout: None,
            idle_timeout: None,
            keep_alive: true,
            read_budget: 256 << 10,
            workspace: Workspace::new(),
        }
    }
}

/// Longest body of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit(pub u64);

/// Admits or refuses requests.
pub trait Admission {
    /// Owned by a request from its admission until the application drops it.
    type Permit;

    /// Called when the head was received, before the body is read. [`HttpServerConnConfig::max_body`] caps the limit.
    ///
    /// # Errors
    /// The response; the body is discarded.
    fn admit_head(&mut self, head: &RequestHead) -> Result<(Self::Permit, BodyLimit), Response>;

    /// Called before the buffer of the body grows to `to` bytes.
    ///
    /// # Errors
    /// The response; the body is discarded.
    fn grow(&mut self, permit: &mut Self::Permit, to: u64) -> Result<(), Response>;

    /// The response to a body beyond its limit. The connection is closed after it.
    fn body_too_large(&mut self, head: &RequestHead) -> Response;
}

/// One request of one connection; never reused while the connection exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

/// A request for the application. The application must call [`H1ServerConn::respond`].
#[derive(Debug)]
pub struct Request<P> {
    /// Identifies the request in [`H1ServerConn::respond`].
    pub id: RequestId,
    /// Request line and header fields.
    pub head: RequestHead,
    /// The body without its transfer coding.
    pub body: Bytes,
    /// What [`Admission::admit_head`] returned.
    pub permit: P,
}

/// A response.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// `Content-Type`; the field is not sent when this is empty.
    pub content_type: &'static str,
    /// More header fields. Invalid names and values are left out. Framing fields are left out too, because the
    /// connection writes them itself.
    pub headers: Vec<(String, String)>,
    /// The body, in parts.
    pub body: SmallVec<[Bytes; 2]>,
    /// Close the connection after it.
    pub close: bool,
}

impl Response {
    /// A response with a body.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, headers: Vec::new(), body: smallvec::smallvec![body.into()], close: false }
    }

    /// A plain text response.
    pub fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Closes the connection after it.
    #[must_use]
    pub fn with_close(mut self) -> Self {
        self.close = true;
        self
    }
}

/// Which part of the input is read next.
enum State<P> {
    /// Between requests, or inside a head.
    Head,
    /// Inside the body of an admitted request.
    Body(Box<IncomingRequest<P>>, BodyDecoder),
    /// Inside the body of a refused request.
    Refused(BodyDecoder),
    /// No more requests are read, further input is discarded, and the last response closes the connection.
    Discarding,
}

/// A request whose body is being read.
pub(crate) struct IncomingRequest<P> {
    pub(crate) head: RequestHead,
    body: Vec<u8>,
    limit: u64,
    permit: P,
}

impl<P> IncomingRequest<P> {
    pub(crate) fn new(head: RequestHead, limit: u64, permit: P) -> Self {
        Self { head, body: Vec::new(), limit, permit }
    }

    /// Appends a piece of the body. Calls [`Admission::grow`] before the buffer grows.
    pub(crate) fn append<D: Admission<Permit = P> + ?Sized>(
        &mut self,
        piece: &[u8],
        admission: &mut D,
    ) -> Result<(), Response> {
        let Self { head, body, limit, permit } = self;
        let total = body.len() + piece.len();
        if total as u64 > *limit {
            return Err(admission.body_too_large(head).with_close());
        }
        if total > body.capacity() {
            // A declared length is known to be within the limit; the buffer of a body without one doubles.
            let capacity = match head.content_length() {
                Some(declared) => crate::receive_capacity(usize::try_from(declared).unwrap_or(usize::MAX), total),
                None => total.max(body.capacity().saturating_mul(2)).min(usize::try_from(*limit).unwrap_or(usize::MAX)),
            };
            let capacity = capacity.max(total);
            admission.grow(permit, capacity as u64)?;
            body.reserve_exact(capacity - body.len());
        }
        body.extend_from_slice(piece);
        Ok(())
    }

    pub(crate) fn buffered_bytes(&self) -> usize {
        self.body.capacity()
    }

    pub(crate) fn permit(&self) -> &P {
        &self.permit
    }

    pub(crate) fn complete(self, id: RequestId) -> Request<P> {
        let Self { head, mut body, permit, .. } = self;
        if body.capacity() - body.len() > body.len() / 4 {
            body.shrink_to_fit();
        }
        Request { id, head, body: body.into(), permit }
    }
}

/// A request in the queue that keeps the order of responses.
struct PendingResponse {
    id: RequestId,
    response: Option<Response>,
    head_only: bool,
    is_http_1_0: bool,
    keep_alive: bool,
    write_deadline: Option<u64>,
    /// The body of the response follows in pieces.
    is_streaming: bool,
}

/// A response whose body follows in pieces. Its head is already in the output.
struct StreamingResponse {
    id: RequestId,
    is_chunked: bool,
    close: bool,
    write_deadline: Option<u64>,
}

/// An HTTP/1 server connection over any non-blocking stream. See the crate's call order.
pub struct H1ServerConn<T, P> {
    io: T,
    cfg: Rc<HttpServerConnConfig>,
    state: State<P>,
    head_buffer: HeadBuffer,
    pending_responses: VecDeque<PendingResponse>,
    ready_requests: VecDeque<Request<P>>,
    next_id: u64,
    /// Input that was read but cannot be processed yet.
    unprocessed_input: Vec<u8>,
    output: VecDeque<Bytes>,
    output_len: usize,
    /// The stream accepted all output but still buffers some of it: records that a TLS stream could not write.
    flush_pending: bool,
    /// `100 Continue` is expected and not sent yet.
    continue_pending: bool,
    has_served: bool,
    is_draining: bool,
    eof: bool,
    /// Start of the current wait: for a head, for a body, or between requests.
    waiting_since: u64,
    /// When bytes of the current body last arrived.
    body_progress_at: u64,
    write_deadline: Option<u64>,
    streaming: Option<StreamingResponse>,
    last_response_queued: bool,
    linger_deadline: Option<u64>,
    closed: bool,
    close_reason: Option<CloseReason>,
}

impl<T: Read + Write, P> H1ServerConn<T, P> {
    /// A connection that was just accepted.
    pub fn new(io: T, cfg: Rc<HttpServerConnConfig>, now: u64) -> Self {
        Self {
            io,
            head_buffer: HeadBuffer::new(cfg.max_head),
            cfg,
            state: State::Head,
            pending_responses: VecDeque::new(),
            ready_requests: VecDeque::new(),
            next_id: 0,
            unprocessed_input: Vec::new(),
            output: VecDeque::new(),
            output_len: 0,
            flush_pending: false,
            continue_pending: false,
            has_served: false,
            is_draining: false,
            eof: false,
            waiting_since: now,
            body_progress_at: now,
            write_deadline: None,
            streaming: None,
            last_response_queued: false,
            linger_deadline: None,
            closed: false,
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
        conn.output_len = text.len();
        conn.output.push_back(Bytes::from_static(text));
        conn.write_deadline = conn.cfg.write_timeout.map(|t| now.saturating_add(t));
        conn.last_response_queued = true;
        conn.close_reason = Some(reason);
        conn.discard_input();
        conn
    }

    /// Reads up to the budget, writes what can be written, and handles the timers that are due.
    pub fn poll<D: Admission<Permit = P> + ?Sized>(&mut self, now: u64, admission: &mut D) -> PollResult {
        let mut more_input = false;
        if !self.closed {
            more_input = self.read(now, admission);
            self.handle_timeouts(now);
            self.write_output(now);
            // A written response may allow input that was read earlier to be processed.
            more_input |= !self.unprocessed_input.is_empty() && self.accepts_input();
        }
        self.poll_result(more_input)
    }

    /// Writes without reading: for use after `respond`, when there was no readiness event. `poll_again` is true when
    /// input that was read earlier can be processed now.
    pub fn flush(&mut self, now: u64) -> PollResult {
        if !self.closed {
            self.handle_timeouts(now);
            self.write_output(now);
        }
        let more_input = !self.closed && !self.unprocessed_input.is_empty() && self.accepts_input();
        self.poll_result(more_input)
    }

    /// The next request for the application.
    pub fn poll_request(&mut self) -> Option<Request<P>> {
        self.ready_requests.pop_front()
    }

    /// Responds to a request. Unknown ids and second responses are ignored.
    pub fn respond(&mut self, id: RequestId, response: Response) {
        if let Some(slot) = self.pending_responses.iter_mut().find(|s| s.id == id && s.response.is_none()) {
            slot.response = Some(response);
        }
        self.encode_responses();
    }

    /// Refuses the request whose body is being read, if its permit `matches`. `make_response` is called then only.
    pub fn refuse_incomplete(
        &mut self,
        now: u64,
        matches: impl Fn(&P) -> bool,
        make_response: impl FnOnce(&P) -> Response,
    ) {
        match std::mem::replace(&mut self.state, State::Head) {
            State::Body(incoming, decoder) if matches(incoming.permit()) => {
                let response = make_response(incoming.permit());
                drop(incoming);
                // A client that still waits for `100 Continue` may never send the body.
                let awaits_continue = self.continue_pending;
                self.refuse_body(response, decoder, awaits_continue, now);
            }
            other => self.state = other,
        }
    }

    /// Sends a head; the body follows in pieces ([`H1ServerConn::send_data`]). False when no body is to follow: for
    /// HEAD, statuses without a body, unknown ids and second responses.
    pub fn respond_streaming(&mut self, id: RequestId, response: Response) -> bool {
        let mut is_streaming = false;
        if let Some(slot) = self.pending_responses.iter_mut().find(|s| s.id == id && s.response.is_none()) {
            is_streaming = !slot.head_only && may_have_body(response.status);
            (slot.response, slot.is_streaming) = (Some(response), true);
        }
        self.encode_responses();
        is_streaming
    }

    /// Whether the next piece of this body can be sent: everything before it has been written.
    #[must_use]
    pub fn can_send_data(&self, id: RequestId) -> bool {
        self.streaming.as_ref().is_some_and(|s| s.id == id) && self.is_flushed()
    }

    /// Whether pieces of this body are still to be sent, now or after the responses before it.
    #[must_use]
    pub fn is_streaming(&self, id: RequestId) -> bool {
        self.streaming.as_ref().is_some_and(|s| s.id == id)
            || self.pending_responses.iter().any(|s| s.id == id && s.is_streaming)
    }

    /// Whether the response to this request is the next to be sent.
    #[must_use]
    pub fn is_next_response(&self, id: RequestId) -> bool {
        self.streaming.is_none() && self.pending_responses.front().is_some_and(|s| s.id == id)
    }

    /// Sends the next piece of a body. Call it when [`H1ServerConn::can_send_data`] is true.
    pub fn send_data(&mut self, now: u64, id: RequestId, piece: Bytes) {
        let Some(streaming) = self.streaming.as_ref().filter(|s| s.id == id && !piece.is_empty()) else { return };
        let size = if streaming.is_chunked { format!("{:x}\r\n", piece.len()) } else { String::new() };
        let end = if streaming.is_chunked { Bytes::from_static(b"\r\n") } else { Bytes::new() };
        for part in [Bytes::from(size), piece, end].into_iter().filter(|part| !part.is_empty()) {
            self.output_len += part.len();
            self.output.push_back(part);
        }
        self.write_deadline = earliest(self.write_deadline, Some(now.saturating_add(STALL_TIMEOUT)));
    }

    /// The body is complete.
    pub fn finish_response(&mut self, id: RequestId, now: u64) {
        let Some(streaming) = self.streaming.take_if(|s| s.id == id) else { return };
        if streaming.is_chunked {
            let end = Bytes::from_static(b"0\r\n\r\n");
            self.output_len += end.len();
            self.output.push_back(end);
        }
        let stall_deadline = Some(now.saturating_add(STALL_TIMEOUT));
        self.write_deadline = earliest(earliest(self.write_deadline, streaming.write_deadline), stall_deadline);
        if streaming.close {
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
        self.head_buffer.buffered_bytes() + self.unprocessed_input.capacity()
    }

    /// Refuses the request whose head is being read: `response` is sent, and the connection closes.
    pub fn refuse_head(&mut self, now: u64, response: Response) {
        if matches!(self.state, State::Head) && !self.head_buffer.is_empty() {
            self.head_buffer = HeadBuffer::new(self.cfg.max_head);
            self.respond_to_head(response, now);
        }
    }

    /// When `poll` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.closed {
            None
        } else {
            self.linger_deadline
                .or_else(|| earliest(self.read_deadline().map(|(at, _)| at), self.next_write_deadline()))
        }
    }

    /// Accepts no further request, responds to those already received, then closes.
    pub fn drain(&mut self) {
        self.is_draining = true;
        if matches!(self.state, State::Head) && self.head_buffer.is_empty() {
            self.discard_input();
            self.close_reason.get_or_insert(CloseReason::Local("drained"));
        }
        self.encode_responses();
    }

    /// No request is being read or processed, and no response is being sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head | State::Discarding)
            && self.pending_responses.is_empty()
            && self.streaming.is_none()
            && self.is_flushed()
            && self.head_buffer.is_empty()
            && self.unprocessed_input.is_empty()
    }

    /// Bytes held by an incomplete head or body, and by input that cannot be processed yet.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        let body = match &self.state {
            State::Body(incoming, _) => incoming.buffered_bytes(),
            _ => 0,
        };
        body + self.unprocessed_input.capacity() + self.head_buffer.buffered_bytes()
    }

    /// The underlying stream.
    pub fn io(&self) -> &T {
        &self.io
    }

    /// The underlying stream, for the caller's own bookkeeping. Reading from it or writing to it breaks the connection.
    pub fn io_mut(&mut self) -> &mut T {
        &mut self.io
    }

    fn poll_result(&self, more_input: bool) -> PollResult {
        let ended = self.closed || self.linger_deadline.is_some();
        PollResult {
            poll_again: more_input && !self.closed,
            shutdown_write: ended && self.is_flushed(),
            closed: self.closed,
            close_reason: self.close_reason.clone().filter(|_| ended),
        }
    }

    fn is_flushed(&self) -> bool {
        self.output.is_empty() && !self.flush_pending
    }

    fn accepts_input(&self) -> bool {
        self.linger_deadline.is_none()
            && match self.state {
                State::Head => self.pending_responses.len() < MAX_PIPELINED && self.output_len < MAX_OUTPUT,
                State::Body(..) | State::Refused(_) => true,
                State::Discarding => false,
            }
    }

    /// Reads until the stream returns `WouldBlock`, the budget is used up, or no more input is accepted. True when
    /// there may be more input.
    fn read<D: Admission<Permit = P> + ?Sized>(&mut self, now: u64, admission: &mut D) -> bool {
        let mut budget = self.cfg.read_budget;
        if !self.unprocessed_input.is_empty() && self.accepts_input() {
            let input = std::mem::take(&mut self.unprocessed_input);
            budget = budget.saturating_sub(input.len());
            let rest = self.feed(&input, now, admission);
            self.unprocessed_input = rest.to_vec();
        }
        // In `State::Discarding`, input is read and discarded: closing with unread input would reset the connection.
        let discards = |s: &Self| s.linger_deadline.is_some() || matches!(s.state, State::Discarding);
        let mut scratch = self.cfg.workspace.take_scratch();
        let mut may_have_more = true;
        while may_have_more
            && !self.eof
            && !self.closed
            && (discards(self) || self.accepts_input() && self.unprocessed_input.is_empty())
        {
            if budget == 0 {
                self.cfg.workspace.return_scratch(scratch);
                return true;
            }
            let n = budget.min(SCRATCH_SIZE);
            match self.io.read(&mut scratch[..n]) {
                Ok(0) => self.end_of_input(),
                Ok(n) => {
                    budget -= n;
                    if !discards(self) {
                        let received = scratch.get(..n).unwrap_or_default();
                        let rest = self.feed(received, now, admission);
                        if !matches!(self.state, State::Discarding) {
                            self.unprocessed_input.extend_from_slice(rest);
                        }
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => may_have_more = false,
                Err(e) => self.close(CloseReason::Io(e.kind())),
            }
        }
        self.cfg.workspace.return_scratch(scratch);
        false
    }

    /// Processes input; returns the rest that cannot be processed yet.
    fn feed<'a, D: Admission<Permit = P> + ?Sized>(
        &mut self,
        mut input: &'a [u8],
        now: u64,
        admission: &mut D,
    ) -> &'a [u8] {
        while self.accepts_input() {
            let state = std::mem::replace(&mut self.state, State::Head);
            match state {
                State::Head => {
                    if input.is_empty() {
                        break;
                    }
                    if self.head_buffer.is_empty() && self.has_served {
                        self.waiting_since = now; // the idle time is over
                    }
                    match self.head_buffer.read_request_head(&mut input) {
                        Ok(None) => {
                            if input.is_empty() {
                                break;
                            }
                        }
                        Ok(Some(head)) => self.begin_request(head, now, admission),
                        Err(error) => self.refuse_bad_head(error, now),
                    }
                }
                State::Body(mut incoming, mut decoder) => {
                    if !input.is_empty() {
                        self.body_progress_at = now;
                    }
                    let result = self.feed_body(&mut incoming, &mut decoder, &mut input, admission);
                    match result {
                        Ok(true) => self.complete_request(*incoming, now),
                        Ok(false) => {
                            self.state = State::Body(incoming, decoder);
                            break;
                        }
                        Err(response) => self.refuse_body(response, decoder, false, now),
                    }
                }
                State::Refused(mut decoder) => match decoder.skip(&mut input) {
                    Ok(true) => self.next_request(now),
                    Ok(false) if decoder.skipped() > MAX_DISCARD => self.discard_input(),
                    Ok(false) => {
                        self.state = State::Refused(decoder);
                        break;
                    }
                    Err(_) => self.discard_input(),
                },
                State::Discarding => {
                    self.state = State::Discarding;
                    break;
                }
            }
        }
        input
    }

    /// Handles a complete head: adds an entry to the queue of responses and calls [`Admission::admit_head`].
    fn begin_request<D: Admission<Permit = P> + ?Sized>(&mut self, head: RequestHead, now: u64, admission: &mut D) {
        self.has_served = true;
        self.body_progress_at = now;
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let keep_alive = self.cfg.keep_alive && !self.is_draining && head.wants_keep_alive();
        self.pending_responses.push_back(PendingResponse {
            id,
            response: None,
            head_only: head.method() == "HEAD",
            is_http_1_0: head.version() == 0,
            keep_alive,
            write_deadline: self.cfg.write_timeout.map(|t| now.saturating_add(t)),
            is_streaming: false,
        });
        let expects_continue = head.expects_continue();
        let decoder = BodyDecoder::new(head.is_chunked(), head.content_length(), self.cfg.max_head);
        match admission.admit_head(&head) {
            Ok((permit, BodyLimit(limit))) => {
                let limit = limit.min(self.cfg.max_body);
                if head.content_length().is_some_and(|n| n > limit) {
                    let response = admission.body_too_large(&head);
                    return self.refuse_body(response, decoder, true, now);
                }
                self.continue_pending = expects_continue && !decoder.is_done();
                self.state = State::Body(Box::new(IncomingRequest::new(head, limit, permit)), decoder);
            }
            // A client that waits for `100 Continue` may never send the body, so the start of the next request is
            // unknown.
            Err(response) => self.refuse_body(response, decoder, expects_continue, now),
        }
        self.encode_responses();
    }

    fn feed_body<D: Admission<Permit = P> + ?Sized>(
        &mut self,
        incoming: &mut IncomingRequest<P>,
        decoder: &mut BodyDecoder,
        input: &mut &[u8],
        admission: &mut D,
    ) -> Result<bool, Response> {
        if !input.is_empty() {
            self.continue_pending = false; // the client did not wait for `100 Continue`
        }
        let bad_request = |e: BodyError| Response::text(400, format!("400 Bad Request: {e}")).with_close();
        while let Some(piece) = decoder.next_piece(input).map_err(bad_request)? {
            incoming.append(piece, admission)?;
        }
        Ok(decoder.is_done())
    }

    fn complete_request(&mut self, incoming: IncomingRequest<P>, now: u64) {
        if let Some(slot) = self.pending_responses.back() {
            self.ready_requests.push_back(incoming.complete(slot.id));
        }
        self.next_request(now);
    }

    /// Chooses the next state after a request was read to its end.
    fn next_request(&mut self, now: u64) {
        self.waiting_since = now;
        if self.is_draining || self.pending_responses.back().is_some_and(|s| !s.keep_alive) {
            self.discard_input();
        } else {
            self.state = State::Head;
        }
    }

    /// Responds to the request whose body is being read, and either discards the rest of the body or closes.
    fn refuse_body(&mut self, mut response: Response, mut decoder: BodyDecoder, close: bool, now: u64) {
        self.continue_pending = false;
        let rest = if decoder.is_done() { 0 } else { decoder.remaining_length().unwrap_or(0) };
        response.close |= close || rest > MAX_DISCARD;
        let close = response.close;
        if let Some(slot) = self.pending_responses.back_mut() {
            slot.response.get_or_insert(response);
        }
        if close {
            self.discard_input();
        } else if decoder.is_done() {
            self.next_request(now);
        } else {
            decoder.reset_skipped();
            self.state = State::Refused(decoder);
        }
        self.encode_responses();
    }

    fn refuse_bad_head(&mut self, error: HeadError, now: u64) {
        if matches!(error, HeadError::Http2) {
            return self.close(CloseReason::Http2Preface);
        }
        let (status, text) = error.status_and_text();
        self.close_reason.get_or_insert_with(|| CloseReason::Protocol(text.to_owned()));
        self.respond_to_head(Response::text(status, text), now);
    }

    /// Responds to a request whose head is incomplete or malformed, and reads no further request.
    fn respond_to_head(&mut self, response: Response, now: u64) {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let write_by = self.cfg.write_timeout.map(|t| now.saturating_add(t));
        let response = Some(response.with_close());
        self.pending_responses.push_back(PendingResponse {
            id,
            response,
            head_only: false,
            is_http_1_0: false,
            keep_alive: false,
            write_deadline: write_by,
            is_streaming: false,
        });
        self.discard_input();
        self.encode_responses();
    }

    fn discard_input(&mut self) {
        self.state = State::Discarding;
        self.unprocessed_input = Vec::new();
    }

    fn end_of_input(&mut self) {
        self.eof = true;
        let between_requests = matches!(self.state, State::Head) && self.head_buffer.is_empty();
        // A client may half-close and still read its responses.
        let all_responded = self.pending_responses.is_empty() && self.streaming.is_none();
        if all_responded && self.is_flushed() || !between_requests && !matches!(self.state, State::Discarding) {
            self.close(CloseReason::Peer);
        } else {
            self.discard_input();
            self.close_reason.get_or_insert(CloseReason::Peer);
        }
    }

    /// Encodes the responses at the front of the queue into the output.
    fn encode_responses(&mut self) {
        while self.pending_responses.front().is_some_and(|s| s.response.is_some())
            && !self.last_response_queued
            && self.streaming.is_none()
        {
            let Some(PendingResponse {
                id,
                response: Some(response),
                head_only,
                is_http_1_0,
                keep_alive,
                write_deadline,
                is_streaming: wants_streaming,
            }) = self.pending_responses.pop_front()
            else {
                return;
            };
            // If the client is still sending the body of this request, the connection closes after the response.
            let body_unread = self.pending_responses.is_empty() && matches!(self.state, State::Body(..));
            let is_streaming = wants_streaming && !head_only && may_have_body(response.status);
            // Before HTTP/1.1, a body without a length ends with the connection.
            let until_close = is_streaming && is_http_1_0;
            let close = response.close
                || !keep_alive
                || self.is_draining && self.pending_responses.is_empty()
                || body_unread
                || until_close;
            let head = head::encode_response_head(&response, close, is_http_1_0, is_streaming);
            self.output_len += head.len();
            self.output.push_back(head);
            if is_streaming {
                self.streaming = Some(StreamingResponse { id, is_chunked: !is_http_1_0, close, write_deadline });
                break;
            }
            if !head_only && may_have_body(response.status) {
                for part in response.body.into_iter().filter(|p| !p.is_empty()) {
                    self.output_len += part.len();
                    self.output.push_back(part);
                }
            }
            self.write_deadline = earliest(self.write_deadline, write_deadline);
            if close {
                self.mark_last_response();
            }
        }
        if self.continue_pending && self.pending_responses.len() == 1 && !self.last_response_queued {
            self.continue_pending = false;
            let interim = Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.output_len += interim.len();
            self.output.push_back(interim);
        }
    }

    /// No output follows this response.
    fn mark_last_response(&mut self) {
        self.last_response_queued = true;
        self.pending_responses.clear();
        self.ready_requests.clear();
        self.discard_input();
    }

    fn write_output(&mut self, now: u64) {
        self.encode_responses();
        while !self.output.is_empty() {
            let written = {
                let slices: SmallVec<[IoSlice<'_>; 16]> =
                    self.output.iter().take(64).map(|b| IoSlice::new(b)).collect();
                self.io.write_vectored(&slices)
            };
            match written {
                Ok(0) => return self.close(CloseReason::Io(ErrorKind::WriteZero)),
                Ok(n) => self.advance_output(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => return self.close(CloseReason::Io(e.kind())),
            }
        }
        loop {
            match self.io.flush() {
                Ok(()) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.flush_pending = true;
                    return;
                }
                Err(e) => return self.close(CloseReason::Io(e.kind())),
            }
        }
        self.flush_pending = false;
        self.write_deadline = None;
        if self.streaming.is_some() {
            return;
        }
        let all_responded =
            self.last_response_queued || matches!(self.state, State::Discarding) && self.pending_responses.is_empty();
        if all_responded && self.linger_deadline.is_none() {
            self.linger_deadline = Some(now.saturating_add(LINGER));
            self.close_reason.get_or_insert(CloseReason::Local("connection: close"));
        }
        if self.linger_deadline.is_some() && self.eof {
            self.closed = true;
        }
    }

    fn advance_output(&mut self, mut n: usize) {
        self.output_len -= n.min(self.output_len);
        while let Some(front) = self.output.front_mut() {
            if n < front.len() {
                front.advance(n);
                return;
            }
            n -= front.len();
            self.output.pop_front();
        }
    }

    /// When the wait for input times out, and the name of that timeout.
    fn read_deadline(&self) -> Option<(u64, &'static str)> {
        let c = &*self.cfg;
        let (limit, name) = match &self.state {
            State::Discarding => return None,
            State::Head if !self.accepts_input() => return None,
            State::Head if self.head_buffer.is_empty() && self.has_served => {
                // The idle time begins after the last response. While a request is processed or its response is sent,
                // there is no idle timeout.
                if !self.pending_responses.is_empty() || self.streaming.is_some() || !self.is_flushed() {
                    return None;
                }
                (c.idle_timeout.or(c.read_timeout), "idle_timeout")
            }
            State::Head => (c.read_header_timeout.or(c.read_timeout), "read_header_timeout"),
            State::Body(..) | State::Refused(_) => {
                let body_deadline = (self.body_progress_at.saturating_add(c.body_timeout), "body_timeout");
                let request_deadline =
                    c.read_timeout.map(|limit| (self.waiting_since.saturating_add(limit), "read_timeout"));
                return Some(request_deadline.filter(|late| late.0 <= body_deadline.0).unwrap_or(body_deadline));
            }
        };
        Some((self.waiting_since.saturating_add(limit?), name))
    }

    fn next_write_deadline(&self) -> Option<u64> {
        let streaming = self.streaming.as_ref().and_then(|s| s.write_deadline);
        earliest(
            earliest(self.write_deadline, streaming),
            self.pending_responses.front().and_then(|s| s.write_deadline),
        )
    }

    fn handle_timeouts(&mut self, now: u64) {
        if self.linger_deadline.is_some_and(|at| now >= at) {
            return self.close(CloseReason::Local("linger"));
        }
        if self.linger_deadline.is_some() {
            return;
        }
        if self.next_write_deadline().is_some_and(|at| now >= at) {
            return self.close(CloseReason::Timeout("write_timeout"));
        }
        if let Some((at, name)) = self.read_deadline()
            && now >= at
        {
            match std::mem::replace(&mut self.state, State::Discarding) {
                State::Body(..) => {
                    self.close_reason.get_or_insert(CloseReason::Timeout(name));
                    let response = Response::text(408, "408 Request Timeout").with_close();
                    if let Some(slot) = self.pending_responses.back_mut() {
                        slot.response.get_or_insert(response);
                    }
                }
                State::Head if self.pending_responses.is_empty() && self.is_flushed() => {
                    self.close(CloseReason::Timeout(name))
                }
                _ => {
                    self.close_reason.get_or_insert(CloseReason::Timeout(name));
                }
            }
        }
    }

    fn close(&mut self, reason: CloseReason) {
        self.close_reason.get_or_insert(reason);
        self.closed = true;
        self.streaming = None;
        self.pending_responses.clear();
        self.ready_requests.clear();
        self.output.clear();
        self.output_len = 0;
        self.flush_pending = false;
        self.discard_input();
    }
}
