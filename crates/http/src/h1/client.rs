//! HTTP/1.1, the client side: one request at a time, on a connection that is kept open between requests.
//!
//! Writes the framing of requests itself and refuses header values that could end a line early. Refuses every response
//! that two parsers could read differently, and bytes that arrive without a request. A [`RequestError`] says if the
//! request may be repeated; this module never repeats one, and never interprets a body.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::rc::Rc;

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use super::body::BodyDecoder;
use super::head::{HeadBuffer, ResponseHead, may_have_body};
use crate::coding::{SCRATCH_SIZE, Workspace};
use crate::{CloseReason, PollResult};

/// The part of a body that is not kept is read to its end up to this size; if it is longer, the connection is closed.
const MAX_DISCARD: u64 = 256 << 10;
/// Most interim (1xx) responses accepted before the final one, as in Go.
const MAX_INTERIM: u8 = 5;
/// Header fields about the framing of a message or about the connection. The caller may not set them; the connection
/// writes those that are needed.
const FRAMING_FIELDS: [&str; 8] =
    ["content-length", "transfer-encoding", "trailer", "te", "upgrade", "keep-alive", "proxy-connection", "expect"];

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

/// A request to send.
#[derive(Debug)]
pub struct OutgoingRequest<'a, H, B> {
    /// `GET`, `POST`, ...: case-sensitive.
    pub method: &'a str,
    /// Path and query; an absolute URI for a proxy; `host:port` for CONNECT.
    pub target: &'a str,
    /// Header fields, one `Host` among them. `Connection` may say `close` or `keep-alive`; other fields about framing
    /// or the connection are refused.
    pub headers: H,
    /// The body, in parts that are written as they are.
    pub body: B,
    /// When the request fails if it has no response by then.
    pub deadline: Option<u64>,
}

/// Why a request was not begun. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartRequestError {
    /// The connection has ended, or is a tunnel now.
    #[error("connection not usable")]
    Connection,
    /// Another request is in progress, or its outcome was not taken yet.
    #[error("another request is under way")]
    Busy,
    /// The request is not valid on any connection; the text says what is wrong with it.
    #[error("invalid request: {0}")]
    Request(&'static str),
}

/// A response.
#[derive(Clone, Debug)]
pub struct ClientResponse {
    /// 200 to 999.
    pub status: u16,
    /// Header fields.
    pub head: ResponseHead,
    /// The body without its transfer coding, up to [`H1ClientConnConfig::max_body`].
    pub body: Bytes,
    /// The body was longer than the part that was kept.
    pub is_truncated: bool,
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

enum State {
    Idle,
    /// Waiting for the head of a response, or inside it.
    Head,
    Body(Box<IncomingResponse>),
    /// A CONNECT succeeded: the stream is for the caller to take with `into_io`.
    Tunnel,
    Ended,
}

struct IncomingResponse {
    head: ResponseHead,
    framing: Framing,
    body: Vec<u8>,
    discarded: u64,
    /// Whether the connection may be used again.
    keep_alive: bool,
}

enum Framing {
    Decoder(BodyDecoder),
    UntilClose,
}

/// The request in progress.
struct ActiveRequest {
    is_head: bool,
    is_connect: bool,
    close: bool,
    deadline: Option<u64>,
    has_sent_bytes: bool,
    /// A byte of a response was received.
    response_begun: bool,
    interim_count: u8,
}

/// An HTTP/1.1 client connection over any non-blocking stream. See the crate's call order.
pub struct H1ClientConn<T> {
    io: T,
    cfg: Rc<H1ClientConnConfig>,
    state: State,
    head_buffer: HeadBuffer,
    request: Option<ActiveRequest>,
    result: Option<Result<ClientResponse, RequestError>>,
    output: VecDeque<Bytes>,
    /// The stream accepted all output but still buffers some of it.
    flush_pending: bool,
    /// Writing failed; the response that explains it may still be readable.
    write_error: Option<ErrorKind>,
    is_reused: bool,
    idle_since: u64,
    close_reason: Option<CloseReason>,
}

impl<T: Read + Write> H1ClientConn<T> {
    /// A connection on a stream that was just connected. Nothing is sent before a request.
    pub fn new(io: T, cfg: Rc<H1ClientConnConfig>, now: u64) -> Self {
        Self {
            io,
            head_buffer: HeadBuffer::new(cfg.max_head),
            cfg,
            state: State::Idle,
            request: None,
            result: None,
            output: VecDeque::new(),
            flush_pending: false,
            write_error: None,
            is_reused: false,
            idle_since: now,
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
        match self.state {
            State::Idle if self.result.is_none() => {}
            State::Tunnel | State::Ended => return Err(StartRequestError::Connection),
            _ => return Err(StartRequestError::Busy),
        }
        let OutgoingRequest { method, target, headers, body, deadline } = request;
        let parts: SmallVec<[Bytes; 8]> = body.into_iter().filter(|part| !part.is_empty()).collect();
        let length = parts.iter().map(|part| part.len() as u64).sum();
        let (head, close) = encode_request_head(method, target, headers, length)?;
        self.output.push_back(head);
        self.output.extend(parts);
        self.request = Some(ActiveRequest {
            is_head: method == "HEAD",
            is_connect: method == "CONNECT",
            close,
            deadline,
            has_sent_bytes: false,
            response_begun: false,
            interim_count: 0,
        });
        self.state = State::Head;
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

    /// A request may start now.
    #[must_use]
    pub fn can_start(&self) -> bool {
        matches!(self.state, State::Idle) && self.result.is_none()
    }

    /// No request is in progress, and the connection is usable.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Since when the connection is idle; `None` if it is not.
    #[must_use]
    pub fn idle_since(&self) -> Option<u64> {
        self.is_idle().then_some(self.idle_since)
    }

    /// When `poll` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.request.as_ref().and_then(|request| request.deadline)
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
        matches!(self.state, State::Idle | State::Head | State::Body(_))
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
            let n = budget.min(SCRATCH_SIZE);
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
                State::Head => self.feed_head(&mut input, now),
                State::Body(mut incoming) => match incoming.append(&mut input, self.cfg.max_body) {
                    Ok(false) => self.state = State::Body(incoming),
                    Ok(true) => self.complete_response(*incoming, now),
                    Err(text) => return self.fail(CloseReason::Protocol(text)),
                },
                // Bytes that arrive without a request would be read as the response to the next request.
                idle @ (State::Idle | State::Tunnel) => {
                    self.state = idle;
                    return self.fail(CloseReason::Protocol("unsolicited response".to_owned()));
                }
                State::Ended => return,
            }
        }
    }

    fn feed_head(&mut self, input: &mut &[u8], now: u64) {
        let Some(request) = &mut self.request else { return };
        if !request.has_sent_bytes {
            return self.fail(CloseReason::Protocol("unsolicited response".to_owned()));
        }
        request.response_begun = true;
        let is_connect = request.is_connect;
        let malformed = |what: String| CloseReason::Protocol(format!("malformed HTTP response: {what}"));
        match self.head_buffer.collect(input) {
            Ok(Some(raw)) => match ResponseHead::parse(raw, is_connect) {
                Ok(head) => self.handle_head(head, input, now),
                Err(e) => self.fail(malformed(format!("{e:?}"))),
            },
            // A peer that uses another protocol may never send a blank line.
            Ok(None) if !self.head_buffer.bytes().iter().zip(b"HTTP/1.").all(|(a, b)| a == b) => {
                self.fail(malformed("not HTTP/1".to_owned()));
            }
            Ok(None) => self.state = State::Head,
            Err(e) => self.fail(malformed(format!("{e:?}"))),
        }
    }

    fn handle_head(&mut self, head: ResponseHead, input: &[u8], now: u64) {
        let request_unsent = !self.output.is_empty() || self.flush_pending || self.write_error.is_some();
        let Some(request) = &mut self.request else { return };
        match head.status {
            101 => return self.fail(CloseReason::Protocol("101 Switching Protocols was not asked for".to_owned())),
            100..200 if request.interim_count >= MAX_INTERIM => {
                return self.fail(CloseReason::Protocol("too many interim responses".to_owned()));
            }
            100..200 => {
                request.interim_count += 1;
                self.state = State::Head;
                return;
            }
            _ => {}
        }
        let keep_alive = head.wants_keep_alive() && !request.close && !request_unsent;
        let is_tunnel = request.is_connect && (200..300).contains(&head.status);
        let has_no_body = request.is_head || is_tunnel || !may_have_body(head.status);
        if request_unsent {
            // The peer responded early, so the rest of the request is not sent.
            self.output.clear();
        }
        if is_tunnel {
            if request_unsent || !input.is_empty() {
                return self.fail(CloseReason::Protocol("bytes before the tunnel was ours".to_owned()));
            }
            self.request = None;
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
        match incoming.is_done() {
            true => self.complete_response(incoming, now),
            false => self.state = State::Body(Box::new(incoming)),
        }
    }

    fn complete_response(&mut self, incoming: IncomingResponse, now: u64) {
        let keep_alive = incoming.keep_alive && incoming.is_done() && !matches!(incoming.framing, Framing::UntilClose);
        let IncomingResponse { head, mut body, discarded: beyond, .. } = incoming;
        if body.capacity() - body.len() > body.len() / 4 {
            body.shrink_to_fit();
        }
        self.result =
            Some(Ok(ClientResponse { status: head.status, head, body: body.into(), is_truncated: beyond > 0 }));
        self.request = None;
        self.is_reused = true;
        self.idle_since = now;
        self.state = State::Idle;
        if !keep_alive {
            self.end(CloseReason::Local("connection: close"));
        }
    }

    fn end_of_input(&mut self, now: u64) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Body(incoming) if matches!(incoming.framing, Framing::UntilClose) => {
                self.complete_response(*incoming, now)
            }
            _ => self.fail(self.write_error.map_or(CloseReason::Peer, CloseReason::Io)),
        }
    }

    fn write_output(&mut self) {
        while !self.output.is_empty() && self.write_error.is_none() {
            let written = {
                let slices: SmallVec<[IoSlice<'_>; 16]> =
                    self.output.iter().take(64).map(|b| IoSlice::new(b)).collect();
                self.io.write_vectored(&slices)
            };
            match written {
                Ok(0) => self.write_failed(ErrorKind::WriteZero),
                Ok(n) => self.advance_output(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => self.write_failed(e.kind()),
            }
        }
        while self.write_error.is_none() && self.accepts_input() {
            match self.io.flush() {
                Ok(()) => {
                    self.flush_pending = false;
                    return;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.flush_pending = true;
                    return;
                }
                Err(e) => self.write_failed(e.kind()),
            }
        }
    }

    fn write_failed(&mut self, kind: ErrorKind) {
        self.write_error = Some(kind);
        self.output.clear();
    }

    fn advance_output(&mut self, mut n: usize) {
        if let Some(request) = &mut self.request {
            request.has_sent_bytes = true;
        }
        while let Some(front) = self.output.front_mut() {
            if n < front.len() {
                front.advance(n);
                return;
            }
            n -= front.len();
            self.output.pop_front();
        }
    }

    fn handle_timeouts(&mut self, now: u64) {
        if self.poll_timeout().is_some_and(|at| now >= at) {
            self.fail(CloseReason::Timeout("deadline"));
        }
    }

    /// Ends the connection and fails the request in progress.
    fn fail(&mut self, reason: CloseReason) {
        if let Some(request) = self.request.take() {
            let by_peer = matches!(reason, CloseReason::Peer | CloseReason::Io(_));
            let reused = self.is_reused && by_peer && !request.response_begun;
            self.result =
                Some(Err(RequestError { close_reason: reason.clone(), sent: request.has_sent_bytes, reused }));
        }
        self.end(reason);
    }

    fn end(&mut self, reason: CloseReason) {
        self.close_reason.get_or_insert(reason);
        self.state = State::Ended;
        self.output = VecDeque::new();
        self.flush_pending = false;
    }
}

impl IncomingResponse {
    fn is_done(&self) -> bool {
        matches!(&self.framing, Framing::Decoder(reading) if reading.is_done())
    }

    /// Processes input; true when the body is complete, or when more than [`MAX_DISCARD`] bytes would be discarded.
    fn append(&mut self, input: &mut &[u8], max_body: u64) -> Result<bool, String> {
        let max_body = usize::try_from(max_body).unwrap_or(usize::MAX);
        loop {
            let (piece, declared) = match &mut self.framing {
                Framing::UntilClose if input.is_empty() => return Ok(false),
                Framing::UntilClose => (std::mem::take(input), None),
                Framing::Decoder(decoder) => {
                    match decoder.next_piece(input).map_err(|e| format!("malformed HTTP response: {e}"))? {
                        Some(piece) => (piece, self.head.length),
                        None => return Ok(decoder.is_done()),
                    }
                }
            };
            let kept = piece.get(..piece.len().min(max_body - self.body.len())).unwrap_or_default();
            let total = self.body.len() + kept.len();
            if total > self.body.capacity() {
                let capacity = match declared {
                    Some(n) => crate::receive_capacity(usize::try_from(n).unwrap_or(usize::MAX), total),
                    None => self.body.capacity().saturating_mul(2),
                };
                self.body.reserve_exact(capacity.min(max_body).max(total) - self.body.len());
            }
            self.body.extend_from_slice(kept);
            self.discarded = self.discarded.saturating_add((piece.len() - kept.len()) as u64);
            let rest = match &self.framing {
                Framing::Decoder(reading) => reading.remaining_length().unwrap_or(0),
                Framing::UntilClose => 0,
            };
            if self.discarded.saturating_add(rest) > MAX_DISCARD && self.discarded > 0 {
                return Ok(true);
            }
        }
    }
}

/// The encoded head of a request, and whether it contains `Connection: close`.
fn encode_request_head<'h>(
    method: &str,
    target: &str,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    length: u64,
) -> Result<(Bytes, bool), StartRequestError> {
    if !is_token(method) {
        return Err(StartRequestError::Request("method"));
    }
    if target.is_empty() || !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(StartRequestError::Request("target"));
    }
    let mut out = Vec::with_capacity(512);
    for part in [method, " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    let (mut host_count, mut close) = (0, false);
    for (name, value) in headers {
        if !is_token(name) {
            return Err(StartRequestError::Request("header name"));
        }
        if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
            return Err(StartRequestError::Request("header value"));
        }
        if FRAMING_FIELDS.iter().any(|framing_field| name.eq_ignore_ascii_case(framing_field)) {
            return Err(StartRequestError::Request("header field about framing or the connection"));
        }
        if name.eq_ignore_ascii_case("connection") {
            match value.trim() {
                v if v.eq_ignore_ascii_case("close") => close = true,
                v if v.eq_ignore_ascii_case("keep-alive") => {}
                _ => return Err(StartRequestError::Request("header field about framing or the connection")),
            }
        }
        host_count += usize::from(name.eq_ignore_ascii_case("host"));
        super::head::encode_field(&mut out, name, value);
    }
    if host_count != 1 {
        return Err(StartRequestError::Request("exactly one Host is needed"));
    }
    match (method, length) {
        ("CONNECT", 0) => {}
        ("CONNECT", _) => return Err(StartRequestError::Request("CONNECT has no body")),
        // A server may expect a length for a method that usually has a body (RFC 9110, 8.6).
        ("POST" | "PUT" | "PATCH", _) | (_, 1..) => {
            super::head::encode_field(&mut out, "Content-Length", itoa::Buffer::new().format(length));
        }
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    Ok((out.into(), close))
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests;
