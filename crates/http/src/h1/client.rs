//! HTTP/1.1, the client side: one request at a time, on a connection that is kept open between requests.
//!
//! Writes the framing of requests itself and refuses header values that could end a line early. Refuses every answer
//! that two parsers could read differently, and bytes that arrive without a request. A [`Failure`] says whether the
//! request may be repeated; this module never repeats one, and never interprets a body.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::rc::Rc;

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use super::body::Reading;
use super::head::{HeadBuffer, ReplyHead, may_have_body};
use crate::coding::{SCRATCH, Workspace};
use crate::{Closed, Turn};

/// The part of a body that is not kept is read to its end up to this size; if it is longer, the connection is closed.
const DRAIN: u64 = 256 << 10;
/// Most interim (1xx) answers accepted before the final one, as in Go.
const MAX_INTERIM: u8 = 5;
/// Header fields about the framing of a message or about the connection. The caller may not set them; the connection
/// writes those that are needed.
const OURS: [&str; 8] =
    ["content-length", "transfer-encoding", "trailer", "te", "upgrade", "keep-alive", "proxy-connection", "expect"];

/// Settings of an HTTP/1.1 client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Longest status line with header fields. Default 64 KiB.
    pub max_head: usize,
    /// Longest part of an answer's body that is kept. Default 64 KiB, as in the Go collector's OTLP exporter.
    pub max_body: u64,
    /// Bytes read in one turn. Default 256 KiB.
    pub read_budget: usize,
    /// Shared by all connections of the thread.
    pub workspace: Workspace,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { max_head: 64 << 10, max_body: 64 << 10, read_budget: 256 << 10, workspace: Workspace::new() }
    }
}

/// A request to send.
#[derive(Debug)]
pub struct Outgoing<'a, H, B> {
    /// `GET`, `POST`, ...: case-sensitive.
    pub method: &'a str,
    /// Path and query; an absolute URI for a proxy; `host:port` for CONNECT.
    pub target: &'a str,
    /// Header fields, one `Host` among them. `Connection` may say `close` or `keep-alive`; other fields about framing
    /// or the connection are refused.
    pub headers: H,
    /// The body, in parts that are written as they are.
    pub body: B,
    /// When the request fails if it has no answer by then.
    pub deadline: Option<u64>,
}

/// Why a request was not begun. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
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

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// 200 to 999.
    pub status: u16,
    /// Header fields.
    pub head: ReplyHead,
    /// The body without its transfer coding, up to [`ClientConfig::max_body`].
    pub body: Bytes,
    /// The body was longer than the part that was kept.
    pub cut: bool,
}

/// A request that got no answer. The connection has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    /// What happened.
    pub why: Closed,
    /// At least one byte of the request was written.
    pub sent: bool,
    /// The connection had completed a request before, and it ended or failed before any byte of this answer arrived:
    /// most likely the peer had closed it before the request arrived.
    pub reused: bool,
}

impl Failure {
    /// Whether the request may be sent again on another connection, by the rules of Go's transport for requests that
    /// can be replayed.
    #[must_use]
    pub fn may_repeat(&self) -> bool {
        !self.sent || self.reused
    }
}

enum State {
    Idle,
    /// Waiting for the head of an answer, or inside it.
    Head,
    Body(Box<Incoming>),
    /// A CONNECT succeeded: the stream is for the caller to take with `into_io`.
    Tunnel,
    Over,
}

struct Incoming {
    head: ReplyHead,
    framing: Framing,
    body: Vec<u8>,
    beyond: u64,
    /// Whether the connection may be used again.
    keep: bool,
}

enum Framing {
    Reading(Reading),
    UntilClose,
}

/// The request in progress.
struct Asked {
    head_only: bool,
    connect: bool,
    close: bool,
    deadline: Option<u64>,
    wrote: bool,
    /// A byte of an answer was received.
    answered: bool,
    interim: u8,
}

/// An HTTP/1.1 client connection over any non-blocking stream. See the crate's call order.
pub struct ClientConn<T> {
    io: T,
    cfg: Rc<ClientConfig>,
    state: State,
    head: HeadBuffer,
    asked: Option<Asked>,
    done: Option<Result<Reply, Failure>>,
    out: VecDeque<Bytes>,
    /// The stream accepted all output but still buffers some of it.
    unflushed: bool,
    /// Writing failed; the answer that explains it may still be readable.
    broken: Option<ErrorKind>,
    reused: bool,
    idle_since: u64,
    why: Option<Closed>,
}

impl<T: Read + Write> ClientConn<T> {
    /// A connection on a stream that was just connected. Nothing is sent before a request.
    pub fn new(io: T, cfg: Rc<ClientConfig>, now: u64) -> Self {
        Self {
            io,
            head: HeadBuffer::new(cfg.max_head),
            cfg,
            state: State::Idle,
            asked: None,
            done: None,
            out: VecDeque::new(),
            unflushed: false,
            broken: None,
            reused: false,
            idle_since: now,
            why: None,
        }
    }

    /// Begins a request; `turn` or `flush` sends it. `turn` first checks whether the peer has closed the idle
    /// connection; if so, nothing is sent.
    ///
    /// # Errors
    /// See [`NotReady`].
    pub fn start<'h, H, B>(&mut self, _now: u64, request: Outgoing<'_, H, B>) -> Result<(), NotReady>
    where
        H: IntoIterator<Item = (&'h str, &'h str)>,
        B: IntoIterator<Item = Bytes>,
    {
        match self.state {
            State::Idle if self.done.is_none() => {}
            State::Tunnel | State::Over => return Err(NotReady::Connection),
            _ => return Err(NotReady::Busy),
        }
        let Outgoing { method, target, headers, body, deadline } = request;
        let parts: SmallVec<[Bytes; 8]> = body.into_iter().filter(|part| !part.is_empty()).collect();
        let length = parts.iter().map(|part| part.len() as u64).sum();
        let (head, close) = request_head(method, target, headers, length)?;
        self.out.push_back(head);
        self.out.extend(parts);
        self.asked = Some(Asked {
            head_only: method == "HEAD",
            connect: method == "CONNECT",
            close,
            deadline,
            wrote: false,
            answered: false,
            interim: 0,
        });
        self.state = State::Head;
        Ok(())
    }

    /// Reads up to the budget, writes what can be written, and handles the timers that are due.
    pub fn turn(&mut self, now: u64) -> Turn {
        let mut again = self.read(now);
        let was_broken = self.broken.is_some();
        self.fire(now);
        self.push();
        if self.broken.is_some() && !was_broken && !again {
            again = self.read(now);
        }
        if let Some(kind) = self.broken
            && !again
        {
            self.fail(Closed::Io(kind));
        }
        self.report(again)
    }

    /// Writes without reading: for use after `start`, when there was no readiness event. `again` is true when writing
    /// failed and `turn` must read to find the reason.
    pub fn flush(&mut self, now: u64) -> Turn {
        self.fire(now);
        self.push();
        self.report(self.broken.is_some())
    }

    /// The outcome of the request; returned once.
    pub fn poll_done(&mut self) -> Option<Result<Reply, Failure>> {
        self.done.take()
    }

    /// A request may start now.
    #[must_use]
    pub fn can_start(&self) -> bool {
        matches!(self.state, State::Idle) && self.done.is_none()
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

    /// When `turn` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.asked.as_ref().and_then(|asked| asked.deadline)
    }

    /// Ends the connection; a request in progress fails.
    pub fn close(&mut self) {
        self.fail(Closed::Local("closed"));
    }

    /// The underlying stream.
    pub fn io(&self) -> &T {
        &self.io
    }

    /// The underlying stream, for the caller's own bookkeeping. Reading from it or writing to it breaks the connection.
    pub fn io_mut(&mut self) -> &mut T {
        &mut self.io
    }

    /// The stream, once a CONNECT was answered with 2xx and no bytes after the head; `None` otherwise.
    pub fn into_io(self) -> Option<T> {
        matches!(self.state, State::Tunnel).then_some(self.io)
    }

    fn report(&self, again: bool) -> Turn {
        let closed = matches!(self.state, State::Over);
        Turn { again: again && !closed, shut_write: closed, closed, why: self.why.clone().filter(|_| closed) }
    }

    fn reads(&self) -> bool {
        matches!(self.state, State::Idle | State::Head | State::Body(_))
    }

    /// Reads until the stream returns `WouldBlock`, the budget is used up, or no more input is accepted. True when
    /// there may be more input.
    fn read(&mut self, now: u64) -> bool {
        let mut budget = self.cfg.read_budget;
        let mut scratch = self.cfg.workspace.take_scratch();
        let mut again = false;
        while self.reads() {
            if budget == 0 {
                again = true;
                break;
            }
            let n = budget.min(SCRATCH);
            match self.io.read(&mut scratch[..n]) {
                Ok(0) => self.end_of_input(now),
                Ok(n) => {
                    budget -= n;
                    self.feed(scratch.get(..n).unwrap_or_default(), now);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => self.fail(Closed::Io(self.broken.unwrap_or_else(|| e.kind()))),
            }
        }
        self.cfg.workspace.put_scratch(scratch);
        again
    }

    fn feed(&mut self, mut input: &[u8], now: u64) {
        while !input.is_empty() {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Head => self.feed_head(&mut input, now),
                State::Body(mut incoming) => match incoming.take(&mut input, self.cfg.max_body) {
                    Ok(false) => self.state = State::Body(incoming),
                    Ok(true) => self.finish(*incoming, now),
                    Err(text) => return self.fail(Closed::Protocol(text)),
                },
                // Bytes that arrive without a request would be read as the answer to the next request.
                idle @ (State::Idle | State::Tunnel) => {
                    self.state = idle;
                    return self.fail(Closed::Protocol("unsolicited response".to_owned()));
                }
                State::Over => return,
            }
        }
    }

    fn feed_head(&mut self, input: &mut &[u8], now: u64) {
        let Some(asked) = &mut self.asked else { return };
        if !asked.wrote {
            return self.fail(Closed::Protocol("unsolicited response".to_owned()));
        }
        asked.answered = true;
        let tunnel = asked.connect;
        let bad = |what: String| Closed::Protocol(format!("malformed HTTP response: {what}"));
        match self.head.collect(input) {
            Ok(Some(raw)) => match ReplyHead::parse(raw, tunnel) {
                Ok(head) => self.take_head(head, input, now),
                Err(e) => self.fail(bad(format!("{e:?}"))),
            },
            // A peer that uses another protocol may never send a blank line.
            Ok(None) if !self.head.bytes().iter().zip(b"HTTP/1.").all(|(a, b)| a == b) => {
                self.fail(bad("not HTTP/1".to_owned()));
            }
            Ok(None) => self.state = State::Head,
            Err(e) => self.fail(bad(format!("{e:?}"))),
        }
    }

    fn take_head(&mut self, head: ReplyHead, input: &[u8], now: u64) {
        let early = !self.out.is_empty() || self.unflushed || self.broken.is_some();
        let Some(asked) = &mut self.asked else { return };
        match head.status {
            101 => return self.fail(Closed::Protocol("101 Switching Protocols was not asked for".to_owned())),
            100..200 if asked.interim >= MAX_INTERIM => {
                return self.fail(Closed::Protocol("too many interim responses".to_owned()));
            }
            100..200 => {
                asked.interim += 1;
                self.state = State::Head;
                return;
            }
            _ => {}
        }
        let keep = head.keeps_alive() && !asked.close && !early;
        let tunnel = asked.connect && (200..300).contains(&head.status);
        let bodiless = asked.head_only || tunnel || !may_have_body(head.status);
        if early {
            // The peer answered early, so the rest of the request is not sent.
            self.out.clear();
        }
        if tunnel {
            if early || !input.is_empty() {
                return self.fail(Closed::Protocol("bytes before the tunnel was ours".to_owned()));
            }
            self.asked = None;
            self.done = Some(Ok(Reply { status: head.status, head, body: Bytes::new(), cut: false }));
            self.state = State::Tunnel;
            return;
        }
        let framing = match (bodiless, head.chunked, head.length) {
            (true, ..) => Framing::Reading(Reading::new(false, None, 0)),
            (_, false, None) => Framing::UntilClose,
            (_, chunked, length) => Framing::Reading(Reading::new(chunked, length, self.cfg.max_head)),
        };
        let incoming = Incoming { head, framing, body: Vec::new(), beyond: 0, keep };
        match incoming.is_done() {
            true => self.finish(incoming, now),
            false => self.state = State::Body(Box::new(incoming)),
        }
    }

    fn finish(&mut self, incoming: Incoming, now: u64) {
        let keep = incoming.keep && incoming.is_done() && !matches!(incoming.framing, Framing::UntilClose);
        let Incoming { head, mut body, beyond, .. } = incoming;
        if body.capacity() - body.len() > body.len() / 4 {
            body.shrink_to_fit();
        }
        self.done = Some(Ok(Reply { status: head.status, head, body: body.into(), cut: beyond > 0 }));
        self.asked = None;
        self.reused = true;
        self.idle_since = now;
        self.state = State::Idle;
        if !keep {
            self.over(Closed::Local("connection: close"));
        }
    }

    fn end_of_input(&mut self, now: u64) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Body(incoming) if matches!(incoming.framing, Framing::UntilClose) => self.finish(*incoming, now),
            _ => self.fail(self.broken.map_or(Closed::Peer, Closed::Io)),
        }
    }

    fn push(&mut self) {
        while !self.out.is_empty() && self.broken.is_none() {
            let written = {
                let slices: SmallVec<[IoSlice<'_>; 16]> = self.out.iter().take(64).map(|b| IoSlice::new(b)).collect();
                self.io.write_vectored(&slices)
            };
            match written {
                Ok(0) => self.write_failed(ErrorKind::WriteZero),
                Ok(n) => self.sent(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => self.write_failed(e.kind()),
            }
        }
        while self.broken.is_none() && self.reads() {
            match self.io.flush() {
                Ok(()) => {
                    self.unflushed = false;
                    return;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.unflushed = true;
                    return;
                }
                Err(e) => self.write_failed(e.kind()),
            }
        }
    }

    fn write_failed(&mut self, kind: ErrorKind) {
        self.broken = Some(kind);
        self.out.clear();
    }

    fn sent(&mut self, mut n: usize) {
        if let Some(asked) = &mut self.asked {
            asked.wrote = true;
        }
        while let Some(front) = self.out.front_mut() {
            if n < front.len() {
                front.advance(n);
                return;
            }
            n -= front.len();
            self.out.pop_front();
        }
    }

    fn fire(&mut self, now: u64) {
        if self.poll_timeout().is_some_and(|at| now >= at) {
            self.fail(Closed::Timeout("deadline"));
        }
    }

    /// Ends the connection and fails the request in progress.
    fn fail(&mut self, why: Closed) {
        if let Some(asked) = self.asked.take() {
            let by_peer = matches!(why, Closed::Peer | Closed::Io(_));
            let reused = self.reused && by_peer && !asked.answered;
            self.done = Some(Err(Failure { why: why.clone(), sent: asked.wrote, reused }));
        }
        self.over(why);
    }

    fn over(&mut self, why: Closed) {
        self.why.get_or_insert(why);
        self.state = State::Over;
        self.out = VecDeque::new();
        self.unflushed = false;
    }
}

impl Incoming {
    fn is_done(&self) -> bool {
        matches!(&self.framing, Framing::Reading(reading) if reading.is_done())
    }

    /// Processes input; true when the body is complete, or when more than [`DRAIN`] bytes of it would be discarded.
    fn take(&mut self, input: &mut &[u8], max: u64) -> Result<bool, String> {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        loop {
            let (piece, declared) = match &mut self.framing {
                Framing::UntilClose if input.is_empty() => return Ok(false),
                Framing::UntilClose => (std::mem::take(input), None),
                Framing::Reading(reading) => {
                    match reading.piece(input).map_err(|e| format!("malformed HTTP response: {e}"))? {
                        Some(piece) => (piece, self.head.length),
                        None => return Ok(reading.is_done()),
                    }
                }
            };
            let kept = piece.get(..piece.len().min(max - self.body.len())).unwrap_or_default();
            let total = self.body.len() + kept.len();
            if total > self.body.capacity() {
                let room = match declared {
                    Some(n) => crate::room(usize::try_from(n).unwrap_or(usize::MAX), total),
                    None => self.body.capacity().saturating_mul(2),
                };
                self.body.reserve_exact(room.min(max).max(total) - self.body.len());
            }
            self.body.extend_from_slice(kept);
            self.beyond = self.beyond.saturating_add((piece.len() - kept.len()) as u64);
            let rest = match &self.framing {
                Framing::Reading(reading) => reading.declared_rest().unwrap_or(0),
                Framing::UntilClose => 0,
            };
            if self.beyond.saturating_add(rest) > DRAIN && self.beyond > 0 {
                return Ok(true);
            }
        }
    }
}

/// The encoded head of a request, and whether it contains `Connection: close`.
fn request_head<'h>(
    method: &str,
    target: &str,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    length: u64,
) -> Result<(Bytes, bool), NotReady> {
    if !is_token(method) {
        return Err(NotReady::Request("method"));
    }
    if target.is_empty() || !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(NotReady::Request("target"));
    }
    let mut out = Vec::with_capacity(512);
    for part in [method, " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    let (mut hosts, mut close) = (0, false);
    for (name, value) in headers {
        if !is_token(name) {
            return Err(NotReady::Request("header name"));
        }
        if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
            return Err(NotReady::Request("header value"));
        }
        if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            return Err(NotReady::Request("header field about framing or the connection"));
        }
        if name.eq_ignore_ascii_case("connection") {
            match value.trim() {
                v if v.eq_ignore_ascii_case("close") => close = true,
                v if v.eq_ignore_ascii_case("keep-alive") => {}
                _ => return Err(NotReady::Request("header field about framing or the connection")),
            }
        }
        hosts += usize::from(name.eq_ignore_ascii_case("host"));
        super::head::field(&mut out, name, value);
    }
    if hosts != 1 {
        return Err(NotReady::Request("exactly one Host is needed"));
    }
    match (method, length) {
        ("CONNECT", 0) => {}
        ("CONNECT", _) => return Err(NotReady::Request("CONNECT has no body")),
        // A server may expect a length for a method that usually has a body (RFC 9110, 8.6).
        ("POST" | "PUT" | "PATCH", _) | (_, 1..) => {
            super::head::field(&mut out, "Content-Length", itoa::Buffer::new().format(length));
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
