//! HTTP/1.1, the client side: one request at a time, on a connection that is kept open between requests.
//!
//! Writes the framing of requests itself and refuses header values that could end a line early. Refuses every response
//! that two parsers could read differently, and bytes that arrive without a request. A [`RequestError`] says if the
//! request may be repeated; this module never repeats one, and never interprets a body.

mod request;
mod response;
mod streamed;

use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

use self::request::encode_request_head;
pub use self::request::{OutgoingRequest, StartRequestError};
pub use self::response::ClientResponse;
use self::response::{Framing, IncomingResponse};
use self::streamed::StreamedBody;
pub use self::streamed::{BodyChunk, MAX_CHUNK};
use super::body::BodyDecoder;
use super::head::{HeadBuffer, ResponseHead, may_have_body};
use super::output::Output;
use crate::coding::{SCRATCH_SIZE, Workspace};
use crate::connection::{CloseReason, PollResult};

/// Most interim (1xx) responses accepted before the final one, as in Go.
const MAX_INTERIM: u8 = 5;
/// Configuration of an HTTP/1.1 client connection.
#[derive(Clone, Debug)]
pub struct H1ClientConnConfig {
    /// Longest status line with header fields. Default 64 KiB.
    pub max_head: usize,
    /// Longest part of a response's body that is kept. Default 64 KiB, as in the Go collector's OTLP exporter.
    pub max_body: u64,
    /// Bytes read in one `poll`. Default 256 KiB.
    pub read_budget: usize,
    /// Shared by all connections of the thread.
    pub workspace: Workspace,
}

impl Default for H1ClientConnConfig {
    fn default() -> Self {
        Self { max_head: 64 << 10, max_body: 64 << 10, read_budget: 256 << 10, workspace: Workspace::new() }
    }
}

/// A request that got no response. The connection has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{close_reason}")]
pub struct RequestError {
    /// What happened.
    pub close_reason: CloseReason,
    /// At least one byte of the request was written.
    pub sent: bool,
    /// The connection had completed a request before, and it ended or failed before any byte of this response arrived:
    /// most likely the peer had closed it before the request arrived.
    pub reused: bool,
}

impl RequestError {
    /// Whether the request may be sent again on another connection, by the rules of Go's transport for requests that
    /// can be replayed.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        !self.sent || self.reused
    }
}

/// ```text
///  Idle --start--> Head --final head--> Body --its end--> Idle
///                   |  ^                  |
///                   |  +--interim head    +--its end, and the connection is not kept--> Ended
///                   |
///                   +--2xx to CONNECT--> Tunnel
///
///  each of them but Tunnel --end of input, error, deadline--> Ended
/// ```
///
/// A response without a body passes through `Body` at once.
enum State {
    Idle {
        since: u64,
        /// The connection has completed a request.
        is_reused: bool,
    },
    /// Waiting for the head of a response, or inside it.
    Head(Box<ActiveRequest>),
    Body(Box<ActiveRequest>, Box<IncomingResponse>),
    /// A CONNECT succeeded: the stream is for the caller to take with `into_io`.
    Tunnel,
    Ended,
}

/// The request in progress.
struct ActiveRequest {
    /// The part of a response's head that was received.
    head_buffer: HeadBuffer,
    is_head: bool,
    is_connect: bool,
    close: bool,
    deadline: Option<u64>,
    has_sent_bytes: bool,
    /// The connection had completed a request before.
    on_reused: bool,
    /// A byte of a response was received.
    response_begun: bool,
    interim_count: u8,
}

/// An HTTP/1.1 client connection over any non-blocking stream. See the crate's call order.
pub struct H1ClientConn<T> {
    io: T,
    cfg: Rc<H1ClientConnConfig>,
    state: State,
    result: Option<Result<ClientResponse, RequestError>>,
    /// The body of the response is passed on as it arrives: that of the request in progress, or of the last one until all
    /// of it is taken.
    streamed: Option<StreamedBody>,
    output: Output,
    /// Writing failed; the response that explains it may still be readable.
    write_error: Option<ErrorKind>,
    close_reason: Option<CloseReason>,
}

impl<T: Read + Write> H1ClientConn<T> {
    /// A connection on a stream that was just connected. Nothing is sent before a request.
    pub fn new(io: T, cfg: Rc<H1ClientConnConfig>, now: u64) -> Self {
        Self {
            io,
            cfg,
            state: State::Idle { since: now, is_reused: false },
            result: None,
            streamed: None,
            output: Output::default(),
            write_error: None,
            close_reason: None,
        }
    }

    /// Begins a request; `poll` or `flush` sends it. `poll` first checks whether the peer has closed the idle
    /// connection; if so, nothing is sent.
    ///
    /// # Errors
    /// See [`StartRequestError`].
    pub fn start<'h, H, B>(&mut self, _now: u64, request: OutgoingRequest<'_, H, B>) -> Result<(), StartRequestError>
    where
        H: IntoIterator<Item = (&'h str, &'h str)>,
        B: IntoIterator<Item = Bytes>,
    {
        let on_reused = match self.state {
            State::Idle { is_reused, .. } if self.result.is_none() && self.streamed.is_none() => is_reused,
            State::Tunnel | State::Ended => return Err(StartRequestError::Connection),
            _ => return Err(StartRequestError::Busy),
        };
        let OutgoingRequest { method, target, headers, body, deadline } = request;
        let parts: SmallVec<[Bytes; 8]> = body.into_iter().collect();
        let length = parts.iter().map(|part| part.len() as u64).sum();
        let (head, close) = encode_request_head(method, target, headers, length)?;
        self.output.push(head);
        parts.into_iter().for_each(|part| self.output.push(part));
        self.state = State::Head(Box::new(ActiveRequest {
            head_buffer: HeadBuffer::new(self.cfg.max_head),
            is_head: method == "HEAD",
            is_connect: method == "CONNECT",
            close,
            deadline,
            has_sent_bytes: false,
            on_reused,
            response_begun: false,
            interim_count: 0,
        }));
        Ok(())
    }

    /// Reads up to the budget, writes what can be written, and handles the timers that are due.
    pub fn poll(&mut self, now: u64) -> PollResult {
        let mut more_input = self.read(now);
        let had_write_error = self.write_error.is_some();
        self.handle_timeouts(now);
        self.write_output();
        if self.write_error.is_some() && !had_write_error && !more_input {
            more_input = self.read(now);
        }
        if let Some(kind) = self.write_error
            && !more_input
        {
            self.fail(CloseReason::Io(kind));
        }
        self.poll_result(more_input)
    }

    /// Writes without reading: for use after `start`, when there was no readiness event. `poll_again` is true when
    /// writing failed and `poll` must read to find the reason.
    pub fn flush(&mut self, now: u64) -> PollResult {
        self.handle_timeouts(now);
        self.write_output();
        self.poll_result(self.write_error.is_some())
    }

    /// The outcome of the request; returned once.
    pub fn poll_response(&mut self) -> Option<Result<ClientResponse, RequestError>> {
        self.result.take()
    }

    /// Passes the body of the response to the request that was just begun on as it arrives:
    /// [`H1ClientConn::poll_response`] returns the head alone, then [`H1ClientConn::poll_chunk`] the body. Without a
    /// request in progress it has no effect.
    pub fn stream_body(&mut self) {
        if matches!(self.state, State::Head(_)) {
            self.streamed = Some(StreamedBody::default());
        }
    }

    /// The next part of a streamed body. After data `poll` must be called again, since reading may have stopped because of
    /// it. The next request may start once the end was returned.
    pub fn poll_chunk(&mut self) -> Option<BodyChunk> {
        let chunk = self.streamed.as_mut()?.take()?;
        if !matches!(chunk, BodyChunk::Data(_)) {
            self.streamed = None;
        }
        Some(chunk)
    }

    /// Whether [`H1ClientConn::poll_chunk`] returns something.
    #[must_use]
    pub fn is_chunk_ready(&self) -> bool {
        self.streamed.as_ref().is_some_and(StreamedBody::is_readable)
    }

    /// A request may start now.
    #[must_use]
    pub fn can_start(&self) -> bool {
        matches!(self.state, State::Idle { .. }) && self.result.is_none() && self.streamed.is_none()
    }

    /// No request is in progress, and the connection is usable.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle { .. })
    }

    /// Since when the connection is idle; `None` if it is not.
    #[must_use]
    pub fn idle_since(&self) -> Option<u64> {
        if let State::Idle { since, .. } = self.state { Some(since) } else { None }
    }

    /// When `poll` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match &self.state {
            State::Head(request) | State::Body(request, _) => request.deadline,
            State::Idle { .. } | State::Tunnel | State::Ended => None,
        }
    }

    /// Ends the connection; a request in progress fails.
    pub fn close(&mut self) {
        self.fail(CloseReason::Local("closed"));
    }

    /// The underlying stream.
    pub fn io(&self) -> &T {
        &self.io
    }

    /// The underlying stream, for the caller's own bookkeeping. Reading from it or writing to it breaks the connection.
    pub fn io_mut(&mut self) -> &mut T {
        &mut self.io
    }

    /// The stream, once the response to a CONNECT was 2xx with no bytes after the head; `None` otherwise.
    pub fn into_io(self) -> Option<T> {
        matches!(self.state, State::Tunnel).then_some(self.io)
    }

    fn poll_result(&self, more_input: bool) -> PollResult {
        let closed = matches!(self.state, State::Ended);
        PollResult {
            poll_again: more_input && !closed,
            shutdown_write: closed,
            closed,
            close_reason: self.close_reason.clone().filter(|_| closed),
        }
    }

    fn accepts_input(&self) -> bool {
        matches!(self.state, State::Idle { .. } | State::Head(_) | State::Body(..))
    }

    /// Reads until the stream returns `WouldBlock`, the budget is used up, or no more input is accepted. True when
    /// there may be more input.
    fn read(&mut self, now: u64) -> bool {
        let mut budget = self.cfg.read_budget;
        let mut scratch = self.cfg.workspace.take_scratch();
        let mut more_input = false;
        while self.accepts_input() {
            if budget == 0 {
                more_input = true;
                break;
            }
            let room = self.streamed.as_ref().map_or(usize::MAX, StreamedBody::room);
            if room == 0 {
                // The caller polls again when it has taken some of the body.
                break;
            }
            let n = budget.min(SCRATCH_SIZE).min(room);
            match self.io.read(&mut scratch[..n]) {
                Ok(0) => self.end_of_input(now),
                Ok(n) => {
                    budget -= n;
                    self.feed(scratch.get(..n).unwrap_or_default(), now);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => self.fail(CloseReason::Io(self.write_error.unwrap_or_else(|| e.kind()))),
            }
        }
        self.cfg.workspace.return_scratch(scratch);
        more_input
    }

    fn feed(&mut self, mut input: &[u8], now: u64) {
        while !input.is_empty() {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Head(request) => self.feed_head(request, &mut input, now),
                State::Body(request, mut incoming) => {
                    match incoming.feed(&mut input, self.cfg.max_body, self.streamed.as_mut()) {
                        Ok(false) => self.state = State::Body(request, incoming),
                        Ok(true) => self.complete_response(*incoming, now),
                        Err(e) => return self.fail_request(&request, malformed(e)),
                    }
                }
                // Bytes that arrive without a request would be read as the response to the next request.
                State::Idle { .. } | State::Tunnel => {
                    return self.end(CloseReason::Protocol("unsolicited response".to_owned()));
                }
                State::Ended => return,
            }
        }
    }

    fn feed_head(&mut self, mut request: Box<ActiveRequest>, input: &mut &[u8], now: u64) {
        if !request.has_sent_bytes {
            return self.fail_request(&request, CloseReason::Protocol("unsolicited response".to_owned()));
        }
        request.response_begun = true;
        match request.head_buffer.collect(input) {
            Ok(Some(raw)) => match ResponseHead::parse(raw, request.is_connect) {
                Ok(head) => self.handle_head(request, head, input, now),
                Err(e) => self.fail_request(&request, malformed(format_args!("{e:?}"))),
            },
            // A peer that uses another protocol may never send a blank line.
            Ok(None) if !request.head_buffer.bytes().iter().zip(b"HTTP/1.").all(|(a, b)| a == b) => {
                self.fail_request(&request, malformed("not HTTP/1"));
            }
            Ok(None) => self.state = State::Head(request),
            Err(e) => self.fail_request(&request, malformed(format_args!("{e:?}"))),
        }
    }

    fn handle_head(&mut self, mut request: Box<ActiveRequest>, head: ResponseHead, input: &[u8], now: u64) {
        let fail = |conn: &mut Self, text: &str| conn.fail_request(&request, CloseReason::Protocol(text.to_owned()));
        match head.status {
            101 => return fail(self, "101 Switching Protocols was not asked for"),
            100..200 if request.interim_count >= MAX_INTERIM => return fail(self, "too many interim responses"),
            100..200 => {
                request.interim_count += 1;
                self.state = State::Head(request);
                return;
            }
            _ => {}
        }
        let request_unsent = !self.output.is_flushed() || self.write_error.is_some();
        let keep_alive = head.wants_keep_alive() && !request.close && !request_unsent;
        let is_tunnel = request.is_connect && (200..300).contains(&head.status);
        let has_no_body = request.is_head || is_tunnel || !may_have_body(head.status);
        if request_unsent {
            // The peer responded early, so the rest of the request is not sent.
            self.output.discard_unwritten();
        }
        if is_tunnel {
            if request_unsent || !input.is_empty() {
                return fail(self, "bytes before the tunnel was ours");
            }
            self.result =
                Some(Ok(ClientResponse { status: head.status, head, body: Bytes::new(), is_truncated: false }));
            self.state = State::Tunnel;
            return;
        }
        let framing = match (has_no_body, head.chunked, head.length) {
            (true, ..) => Framing::Decoder(BodyDecoder::new(false, None, 0)),
            (_, false, None) => Framing::UntilClose,
            (_, chunked, length) => Framing::Decoder(BodyDecoder::new(chunked, length, self.cfg.max_head)),
        };
        let incoming = IncomingResponse { head, framing, body: Vec::new(), discarded: 0, keep_alive };
        if let Some(streamed) = &mut self.streamed {
            streamed.has_head = true;
            let (status, head) = (incoming.head.status, incoming.head.clone());
            self.result = Some(Ok(ClientResponse { status, head, body: Bytes::new(), is_truncated: false }));
        }
        match incoming.is_done() {
            true => self.complete_response(incoming, now),
            false => self.state = State::Body(request, Box::new(incoming)),
        }
    }

    fn complete_response(&mut self, incoming: IncomingResponse, now: u64) {
        let keep_alive = incoming.keep_alive && incoming.is_done() && !matches!(incoming.framing, Framing::UntilClose);
        let IncomingResponse { head, mut body, discarded: beyond, .. } = incoming;
        if body.capacity() - body.len() > body.len() / 4 {
            body.shrink_to_fit();
        }
        match &mut self.streamed {
            Some(streamed) => streamed.end = Some(Ok(())),
            None => {
                let (status, body) = (head.status, body.into());
                self.result = Some(Ok(ClientResponse { status, head, body, is_truncated: beyond > 0 }));
            }
        }
        if keep_alive {
            self.state = State::Idle { since: now, is_reused: true };
        } else {
            self.end(CloseReason::Local("connection: close"));
        }
    }

    fn end_of_input(&mut self, now: u64) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Body(_, incoming) if matches!(incoming.framing, Framing::UntilClose) => {
                self.complete_response(*incoming, now);
            }
            other => {
                self.state = other;
                self.fail(self.write_error.map_or(CloseReason::Peer, CloseReason::Io));
            }
        }
    }

    fn write_output(&mut self) {
        if self.write_error.is_some() || !self.accepts_input() {
            return;
        }
        let unwritten = self.output.len();
        let written = self.output.write(&mut self.io);
        if self.output.len() < unwritten
            && let State::Head(request) | State::Body(request, _) = &mut self.state
        {
            request.has_sent_bytes = true;
        }
        if let Err(kind) = written {
            self.write_error = Some(kind);
            self.output.discard_unwritten();
        }
    }

    fn handle_timeouts(&mut self, now: u64) {
        if self.poll_timeout().is_some_and(|at| now >= at) {
            self.fail(CloseReason::Timeout("deadline"));
        }
    }

    /// Ends the connection and fails the request in progress.
    fn fail(&mut self, reason: CloseReason) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Head(request) | State::Body(request, _) => self.fail_request(&request, reason),
            State::Idle { .. } | State::Tunnel | State::Ended => self.end(reason),
        }
    }

    fn fail_request(&mut self, request: &ActiveRequest, reason: CloseReason) {
        let by_peer = matches!(reason, CloseReason::Peer | CloseReason::Io(_));
        let reused = request.on_reused && by_peer && !request.response_begun;
        let error = RequestError { close_reason: reason.clone(), sent: request.has_sent_bytes, reused };
        match self.streamed.as_mut().filter(|streamed| streamed.has_head) {
            Some(streamed) => streamed.end = Some(Err(error)),
            None => (self.result, self.streamed) = (Some(Err(error)), None),
        }
        self.end(reason);
    }

    fn end(&mut self, reason: CloseReason) {
        self.close_reason.get_or_insert(reason);
        self.state = State::Ended;
        self.output.clear();
    }
}

fn malformed(what: impl std::fmt::Display) -> CloseReason {
    CloseReason::Protocol(format!("malformed HTTP response: {what}"))
}

#[cfg(test)]
mod tests;
