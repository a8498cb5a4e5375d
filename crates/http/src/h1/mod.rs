//! HTTP/1.0 and 1.1 (RFC 9112): the server side is here, the client side in [`client`].
//!
//! Reads requests in the order they arrive, answers in that order, limits how many wait, and refuses every framing that
//! two parsers could read differently. A [`Door`] admits or refuses a request from its head alone, before the body is
//! read. Never interprets a body and never decodes a content coding.

mod body;
pub mod client;
mod head;

#[cfg(test)]
mod tests;

pub(crate) use head::may_have_body;
pub use head::{ReplyHead, RequestHead};

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::rc::Rc;

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use self::body::{BodyError, Reading};
use self::head::{BadHead, HeadBuffer};
use crate::coding::{SCRATCH, Workspace};
use crate::{Closed, Turn, earliest};

/// How many requests may wait for their answers on one connection.
const PIPELINE: usize = 16;
/// A refused body is read to its end up to this size, as Go does; beyond it the connection is closed.
const DRAIN: u64 = 256 << 10;
/// How long a finished connection waits for the peer to close its side, as Go does.
const LINGER: u64 = 500_000_000;
/// When more output than this is waiting, no further requests are read. It bounds the answers of a client that sends
/// requests and does not read the answers.
const OUT_HIGH: usize = 64 << 10;

/// How long a piece of a streamed answer may wait to be written because the client does not read.
pub(crate) const STALL: u64 = 30_000_000_000;

/// Settings of an HTTP server, the same for HTTP/1 and HTTP/2. Units are nanoseconds and bytes; `None` disables a
/// timeout.
#[derive(Clone, Debug)]
pub struct H1Config {
    /// Longest body, unless [`Door::head`] sets a lower limit. Default 20 MiB.
    pub max_body: u64,
    /// Longest request line with header fields. Default 64 KiB, which is the fixed limit of HTTP/2 here.
    pub max_head: usize,
    /// From the first byte of a request, or the beginning of a connection, to the end of its head.
    pub read_header_timeout: Option<u64>,
    /// From there to the end of the body. It is used as the header timeout if that is `None`.
    pub read_timeout: Option<u64>,
    /// A body of which nothing arrives for this long is refused, independent of `read_timeout`. Default 60 s.
    pub body_timeout: u64,
    /// From the end of the head to the last byte of the answer.
    pub write_timeout: Option<u64>,
    /// Between requests; `read_timeout` is used if this is `None`.
    pub idle_timeout: Option<u64>,
    /// Whether connections may carry more than one request.
    pub keep_alive: bool,
    /// Bytes read in one turn. Default 256 KiB.
    pub read_budget: usize,
    /// Shared by all connections of the thread.
    pub workspace: Workspace,
}

impl Default for H1Config {
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
pub trait Door {
    /// Owned by a request from its admission until the application drops it.
    type Permit;

    /// Called when the head was received, before the body is read. The limit is capped by [`H1Config::max_body`].
    ///
    /// # Errors
    /// The answer; the body is discarded.
    fn head(&mut self, head: &RequestHead) -> Result<(Self::Permit, BodyLimit), Response>;

    /// Called before the buffer of the body grows to `to` bytes.
    ///
    /// # Errors
    /// The answer; the body is discarded.
    fn grow(&mut self, permit: &mut Self::Permit, to: u64) -> Result<(), Response>;

    /// The answer to a body beyond its limit. The connection is closed after it.
    fn too_large(&mut self, head: &RequestHead) -> Response;
}

/// One request of one connection; never reused while the connection exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

/// A request for the application. It must be answered with [`H1Conn::respond`].
#[derive(Debug)]
pub struct Request<P> {
    /// Identifies the request in [`H1Conn::respond`].
    pub id: RequestId,
    /// Request line and header fields.
    pub head: RequestHead,
    /// The body without its transfer coding.
    pub body: Bytes,
    /// What [`Door::head`] returned.
    pub permit: P,
}

/// An answer.
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
    /// An answer with a body.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, headers: Vec::new(), body: smallvec::smallvec![body.into()], close: false }
    }

    /// A plain text answer.
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
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

/// Which part of the input is read next.
enum State<P> {
    /// Between requests, or inside a head.
    Head,
    /// Inside the body of an admitted request.
    Body(Box<Incoming<P>>, Reading),
    /// Inside the body of a refused request.
    Refused(Reading),
    /// No more requests are read, further input is discarded, and the last answer closes the connection.
    Deaf,
}

/// A request whose body is being read.
pub(crate) struct Incoming<P> {
    pub(crate) head: RequestHead,
    body: Vec<u8>,
    limit: u64,
    permit: P,
}

impl<P> Incoming<P> {
    pub(crate) fn new(head: RequestHead, limit: u64, permit: P) -> Self {
        Self { head, body: Vec::new(), limit, permit }
    }

    /// Appends a piece of the body. Calls [`Door::grow`] before the buffer grows.
    pub(crate) fn take<D: Door<Permit = P> + ?Sized>(&mut self, piece: &[u8], door: &mut D) -> Result<(), Response> {
        let Self { head, body, limit, permit } = self;
        let total = body.len() + piece.len();
        if total as u64 > *limit {
            return Err(door.too_large(head).closing());
        }
        if total > body.capacity() {
            // A declared length is known to be within the limit; the buffer of a body without one doubles.
            let to = match head.content_length() {
                Some(declared) => crate::room(usize::try_from(declared).unwrap_or(usize::MAX), total),
                None => total.max(body.capacity().saturating_mul(2)).min(usize::try_from(*limit).unwrap_or(usize::MAX)),
            };
            let to = to.max(total);
            door.grow(permit, to as u64)?;
            body.reserve_exact(to - body.len());
        }
        body.extend_from_slice(piece);
        Ok(())
    }

    pub(crate) fn held(&self) -> usize {
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

/// A request in the queue that keeps the order of answers.
struct Slot {
    id: RequestId,
    answer: Option<Response>,
    head_only: bool,
    old: bool,
    keep: bool,
    write_by: Option<u64>,
    /// The body of the answer follows in pieces.
    streams: bool,
}

/// An answer whose body follows in pieces. Its head is already in the output.
struct Streaming {
    id: RequestId,
    chunked: bool,
    close: bool,
    write_by: Option<u64>,
}

/// An HTTP/1 server connection over any non-blocking stream. See the crate's call order.
pub struct H1Conn<T, P> {
    io: T,
    cfg: Rc<H1Config>,
    state: State<P>,
    head: HeadBuffer,
    slots: VecDeque<Slot>,
    ready: VecDeque<Request<P>>,
    next_id: u64,
    /// Input that was read but cannot be processed yet.
    stash: Vec<u8>,
    out: VecDeque<Bytes>,
    out_len: usize,
    /// The stream accepted all output but still buffers some of it: records that a TLS stream could not write.
    unflushed: bool,
    /// An `Expect: 100-continue` is not answered yet.
    go_on: bool,
    served_any: bool,
    draining: bool,
    eof: bool,
    /// Start of the current wait: for a head, for a body, or between requests.
    since: u64,
    /// When bytes of the current body last arrived.
    body_since: u64,
    write_by: Option<u64>,
    streaming: Option<Streaming>,
    last_said: bool,
    linger: Option<u64>,
    closed: bool,
    why: Option<Closed>,
}

impl<T: Read + Write, P> H1Conn<T, P> {
    /// A connection that was just accepted.
    pub fn new(io: T, cfg: Rc<H1Config>, now: u64) -> Self {
        Self {
            io,
            head: HeadBuffer::new(cfg.max_head),
            cfg,
            state: State::Head,
            slots: VecDeque::new(),
            ready: VecDeque::new(),
            next_id: 0,
            stash: Vec::new(),
            out: VecDeque::new(),
            out_len: 0,
            unflushed: false,
            go_on: false,
            served_any: false,
            draining: false,
            eof: false,
            since: now,
            body_since: now,
            write_by: None,
            streaming: None,
            last_said: false,
            linger: None,
            closed: false,
            why: None,
        }
    }

    /// A connection that accepts no request: it sends `words` whatever input arrives, and closes as after any last
    /// answer.
    pub fn refusing(io: T, cfg: Rc<H1Config>, now: u64, words: &'static [u8], why: Closed) -> Self {
        let mut conn = Self::new(io, cfg, now);
        conn.out_len = words.len();
        conn.out.push_back(Bytes::from_static(words));
        conn.write_by = conn.cfg.write_timeout.map(|t| now.saturating_add(t));
        conn.last_said = true;
        conn.why = Some(why);
        conn.go_deaf();
        conn
    }

    /// Reads up to the budget, writes what can be written, and handles the timers that are due.
    pub fn turn<D: Door<Permit = P> + ?Sized>(&mut self, now: u64, door: &mut D) -> Turn {
        let mut again = false;
        if !self.closed {
            again = self.read(now, door);
            self.fire(now);
            self.push(now);
            // A written answer may allow input that was read earlier to be processed.
            again |= !self.stash.is_empty() && self.takes_more();
        }
        self.report(again)
    }

    /// Writes without reading: for use after `respond`, when there was no readiness event. `again` is true when input
    /// that was read earlier can be processed now.
    pub fn flush(&mut self, now: u64) -> Turn {
        if !self.closed {
            self.fire(now);
            self.push(now);
        }
        let again = !self.closed && !self.stash.is_empty() && self.takes_more();
        self.report(again)
    }

    /// The next request for the application.
    pub fn poll_request(&mut self) -> Option<Request<P>> {
        self.ready.pop_front()
    }

    /// Answers a request. Unknown ids and second answers are ignored.
    pub fn respond(&mut self, id: RequestId, response: Response) {
        if let Some(slot) = self.slots.iter_mut().find(|s| s.id == id && s.answer.is_none()) {
            slot.answer = Some(response);
        }
        self.line_up();
    }

    /// Refuses the request whose body is being read, if its permit `matches`. `answer` is called in that case only.
    pub fn refuse_reading(&mut self, now: u64, matches: impl Fn(&P) -> bool, answer: impl FnOnce(&P) -> Response) {
        match std::mem::replace(&mut self.state, State::Head) {
            State::Body(incoming, reading) if matches(incoming.permit()) => {
                let response = answer(incoming.permit());
                drop(incoming);
                // A client that still waits for `100 Continue` may never send the body.
                let waits = self.go_on;
                self.refuse_body(response, reading, waits, now);
            }
            other => self.state = other,
        }
    }

    /// Answers a request with a head and a body that follows in pieces ([`H1Conn::give`]). False when no body is to
    /// follow: for HEAD, statuses without a body, unknown ids and second answers.
    pub fn respond_streaming(&mut self, id: RequestId, response: Response) -> bool {
        let mut streams = false;
        if let Some(slot) = self.slots.iter_mut().find(|s| s.id == id && s.answer.is_none()) {
            streams = !slot.head_only && may_have_body(response.status);
            (slot.answer, slot.streams) = (Some(response), true);
        }
        self.line_up();
        streams
    }

    /// Whether the next piece of this answer can be given: everything before it has been written.
    #[must_use]
    pub fn wants(&self, id: RequestId) -> bool {
        self.streaming.as_ref().is_some_and(|s| s.id == id) && self.all_sent()
    }

    /// Whether pieces of this answer are still to be given, now or after the answers before it.
    #[must_use]
    pub fn is_streaming(&self, id: RequestId) -> bool {
        self.streaming.as_ref().is_some_and(|s| s.id == id) || self.slots.iter().any(|s| s.id == id && s.streams)
    }

    /// Whether this request is the next to be answered.
    #[must_use]
    pub fn is_turn(&self, id: RequestId) -> bool {
        self.streaming.is_none() && self.slots.front().is_some_and(|s| s.id == id)
    }

    /// Sends the next piece of an answer. Call it when [`H1Conn::wants`] is true.
    pub fn give(&mut self, now: u64, id: RequestId, piece: Bytes) {
        let Some(streaming) = self.streaming.as_ref().filter(|s| s.id == id && !piece.is_empty()) else { return };
        let size = if streaming.chunked { format!("{:x}\r\n", piece.len()) } else { String::new() };
        let end = if streaming.chunked { Bytes::from_static(b"\r\n") } else { Bytes::new() };
        for part in [Bytes::from(size), piece, end].into_iter().filter(|part| !part.is_empty()) {
            self.out_len += part.len();
            self.out.push_back(part);
        }
        self.write_by = earliest(self.write_by, Some(now.saturating_add(STALL)));
    }

    /// The answer is complete.
    pub fn finish(&mut self, id: RequestId, now: u64) {
        let Some(streaming) = self.streaming.take_if(|s| s.id == id) else { return };
        if streaming.chunked {
            let end = Bytes::from_static(b"0\r\n\r\n");
            self.out_len += end.len();
            self.out.push_back(end);
        }
        let stall = Some(now.saturating_add(STALL));
        self.write_by = earliest(earliest(self.write_by, streaming.write_by), stall);
        if streaming.close {
            self.say_last();
        }
        self.line_up();
    }

    /// The answer can't be completed. The connection is closed, so that the client sees that the body is incomplete.
    pub fn abandon(&mut self, id: RequestId) {
        if self.is_streaming(id) {
            self.close(Closed::Local("answer cut off"));
        }
    }

    /// Bytes of input that no [`Door`] has admitted: an incomplete head, and input that waits behind a request.
    #[must_use]
    pub fn unadmitted(&self) -> usize {
        self.head.held() + self.stash.capacity()
    }

    /// Refuses the request whose head is being read: `response` is its answer, and the connection closes.
    pub fn refuse_head(&mut self, now: u64, response: Response) {
        if matches!(self.state, State::Head) && !self.head.is_empty() {
            self.head = HeadBuffer::new(self.cfg.max_head);
            self.answer_head(response, now);
        }
    }

    /// When `turn` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.closed {
            None
        } else {
            self.linger.or_else(|| earliest(self.read_by().map(|(at, _)| at), self.write_at()))
        }
    }

    /// Accepts no further request, answers those already received, then closes.
    pub fn drain(&mut self) {
        self.draining = true;
        if matches!(self.state, State::Head) && self.head.is_empty() {
            self.go_deaf();
            self.why.get_or_insert(Closed::Local("drained"));
        }
        self.line_up();
    }

    /// No request is being read, processed or answered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head | State::Deaf)
            && self.slots.is_empty()
            && self.streaming.is_none()
            && self.all_sent()
            && self.head.is_empty()
            && self.stash.is_empty()
    }

    /// Bytes held by an incomplete head or body, and by input that cannot be processed yet.
    #[must_use]
    pub fn held(&self) -> usize {
        let body = match &self.state {
            State::Body(incoming, _) => incoming.held(),
            _ => 0,
        };
        body + self.stash.capacity() + self.head.held()
    }

    /// The underlying stream.
    pub fn io(&self) -> &T {
        &self.io
    }

    /// The underlying stream, for the caller's own bookkeeping. Reading from it or writing to it breaks the connection.
    pub fn io_mut(&mut self) -> &mut T {
        &mut self.io
    }

    fn report(&self, again: bool) -> Turn {
        let over = self.closed || self.linger.is_some();
        Turn {
            again: again && !self.closed,
            shut_write: over && self.all_sent(),
            closed: self.closed,
            why: self.why.clone().filter(|_| over),
        }
    }

    fn all_sent(&self) -> bool {
        self.out.is_empty() && !self.unflushed
    }

    fn takes_more(&self) -> bool {
        self.linger.is_none()
            && match self.state {
                State::Head => self.slots.len() < PIPELINE && self.out_len < OUT_HIGH,
                State::Body(..) | State::Refused(_) => true,
                State::Deaf => false,
            }
    }

    /// Reads until the stream returns `WouldBlock`, the budget is used up, or no more input is accepted. True when
    /// there may be more input.
    fn read<D: Door<Permit = P> + ?Sized>(&mut self, now: u64, door: &mut D) -> bool {
        let mut budget = self.cfg.read_budget;
        if !self.stash.is_empty() && self.takes_more() {
            let stash = std::mem::take(&mut self.stash);
            budget = budget.saturating_sub(stash.len());
            let rest = self.feed(&stash, now, door);
            self.stash = rest.to_vec();
        }
        // In `State::Deaf`, input is read and discarded: closing with unread input would reset the connection.
        let deaf = |s: &Self| s.linger.is_some() || matches!(s.state, State::Deaf);
        let mut scratch = self.cfg.workspace.take_scratch();
        let mut more = true;
        while more && !self.eof && !self.closed && (deaf(self) || self.takes_more() && self.stash.is_empty()) {
            if budget == 0 {
                self.cfg.workspace.put_scratch(scratch);
                return true;
            }
            let n = budget.min(SCRATCH);
            match self.io.read(&mut scratch[..n]) {
                Ok(0) => self.end_of_input(),
                Ok(n) => {
                    budget -= n;
                    if !deaf(self) {
                        let got = scratch.get(..n).unwrap_or_default();
                        let rest = self.feed(got, now, door);
                        if !matches!(self.state, State::Deaf) {
                            self.stash.extend_from_slice(rest);
                        }
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => more = false,
                Err(e) => self.close(Closed::Io(e.kind())),
            }
        }
        self.cfg.workspace.put_scratch(scratch);
        false
    }

    /// Processes input; returns the rest that cannot be processed yet.
    fn feed<'a, D: Door<Permit = P> + ?Sized>(&mut self, mut input: &'a [u8], now: u64, door: &mut D) -> &'a [u8] {
        while self.takes_more() {
            let state = std::mem::replace(&mut self.state, State::Head);
            match state {
                State::Head => {
                    if input.is_empty() {
                        break;
                    }
                    if self.head.is_empty() && self.served_any {
                        self.since = now; // the idle time is over
                    }
                    match self.head.feed(&mut input) {
                        Ok(None) => {
                            if input.is_empty() {
                                break;
                            }
                        }
                        Ok(Some(head)) => self.begin(head, now, door),
                        Err(bad) => self.bad_head(bad, now),
                    }
                }
                State::Body(mut incoming, mut reading) => {
                    if !input.is_empty() {
                        self.body_since = now;
                    }
                    let step = self.feed_body(&mut incoming, &mut reading, &mut input, door);
                    match step {
                        Ok(true) => self.complete(*incoming, now),
                        Ok(false) => {
                            self.state = State::Body(incoming, reading);
                            break;
                        }
                        Err(response) => self.refuse_body(response, reading, false, now),
                    }
                }
                State::Refused(mut reading) => match reading.skip(&mut input) {
                    Ok(true) => self.next_request(now),
                    Ok(false) if reading.skipped() > DRAIN => self.go_deaf(),
                    Ok(false) => {
                        self.state = State::Refused(reading);
                        break;
                    }
                    Err(_) => self.go_deaf(),
                },
                State::Deaf => {
                    self.state = State::Deaf;
                    break;
                }
            }
        }
        input
    }

    /// Handles a complete head: adds a slot to the queue of answers and calls [`Door::head`].
    fn begin<D: Door<Permit = P> + ?Sized>(&mut self, head: RequestHead, now: u64, door: &mut D) {
        self.served_any = true;
        self.body_since = now;
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let keep = self.cfg.keep_alive && !self.draining && head.wants_keep_alive();
        self.slots.push_back(Slot {
            id,
            answer: None,
            head_only: head.method() == "HEAD",
            old: head.version() == 0,
            keep,
            write_by: self.cfg.write_timeout.map(|t| now.saturating_add(t)),
            streams: false,
        });
        let expects = head.expects_continue();
        let reading = Reading::new(head.is_chunked(), head.content_length(), self.cfg.max_head);
        match door.head(&head) {
            Ok((permit, BodyLimit(limit))) => {
                let limit = limit.min(self.cfg.max_body);
                if head.content_length().is_some_and(|n| n > limit) {
                    let response = door.too_large(&head);
                    return self.refuse_body(response, reading, true, now);
                }
                self.go_on = expects && !reading.is_done();
                self.state = State::Body(Box::new(Incoming::new(head, limit, permit)), reading);
            }
            // A client that waits for `100 Continue` may never send the body, so the start of the next request is
            // unknown.
            Err(response) => self.refuse_body(response, reading, expects, now),
        }
        self.line_up();
    }

    fn feed_body<D: Door<Permit = P> + ?Sized>(
        &mut self,
        incoming: &mut Incoming<P>,
        reading: &mut Reading,
        input: &mut &[u8],
        door: &mut D,
    ) -> Result<bool, Response> {
        if !input.is_empty() {
            self.go_on = false; // the client did not wait for `100 Continue`
        }
        let bad = |e: BodyError| Response::text(400, format!("400 Bad Request: {e}")).closing();
        while let Some(piece) = reading.piece(input).map_err(bad)? {
            incoming.take(piece, door)?;
        }
        Ok(reading.is_done())
    }

    fn complete(&mut self, incoming: Incoming<P>, now: u64) {
        if let Some(slot) = self.slots.back() {
            self.ready.push_back(incoming.complete(slot.id));
        }
        self.next_request(now);
    }

    /// Chooses the next state after a request was read to its end.
    fn next_request(&mut self, now: u64) {
        self.since = now;
        if self.draining || self.slots.back().is_some_and(|s| !s.keep) {
            self.go_deaf();
        } else {
            self.state = State::Head;
        }
    }

    /// Answers the request whose body is being read, and either discards the rest of the body or closes.
    fn refuse_body(&mut self, mut response: Response, mut reading: Reading, close: bool, now: u64) {
        self.go_on = false;
        let rest = if reading.is_done() { 0 } else { reading.declared_rest().unwrap_or(0) };
        response.close |= close || rest > DRAIN;
        let close = response.close;
        if let Some(slot) = self.slots.back_mut() {
            slot.answer.get_or_insert(response);
        }
        if close {
            self.go_deaf();
        } else if reading.is_done() {
            self.next_request(now);
        } else {
            reading.forget();
            self.state = State::Refused(reading);
        }
        self.line_up();
    }

    fn bad_head(&mut self, bad: BadHead, now: u64) {
        if matches!(bad, BadHead::Http2) {
            return self.close(Closed::Http2Preface);
        }
        let (status, text) = bad.answer();
        self.why.get_or_insert_with(|| Closed::Protocol(text.to_owned()));
        self.answer_head(Response::text(status, text), now);
    }

    /// Answers a request whose head is incomplete or malformed, and reads no further request.
    fn answer_head(&mut self, response: Response, now: u64) {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let write_by = self.cfg.write_timeout.map(|t| now.saturating_add(t));
        let answer = Some(response.closing());
        self.slots.push_back(Slot { id, answer, head_only: false, old: false, keep: false, write_by, streams: false });
        self.go_deaf();
        self.line_up();
    }

    fn go_deaf(&mut self) {
        self.state = State::Deaf;
        self.stash = Vec::new();
    }

    fn end_of_input(&mut self) {
        self.eof = true;
        let between = matches!(self.state, State::Head) && self.head.is_empty();
        // A client may half-close and still read its answers.
        let answered = self.slots.is_empty() && self.streaming.is_none();
        if answered && self.all_sent() || !between && !matches!(self.state, State::Deaf) {
            self.close(Closed::Peer);
        } else {
            self.go_deaf();
            self.why.get_or_insert(Closed::Peer);
        }
    }

    /// Encodes the answers at the front of the queue into the output.
    fn line_up(&mut self) {
        while self.slots.front().is_some_and(|s| s.answer.is_some()) && !self.last_said && self.streaming.is_none() {
            let Some(Slot { id, answer: Some(response), head_only, old, keep, write_by, streams }) =
                self.slots.pop_front()
            else {
                return;
            };
            // If the client is still sending the body of this request, the connection closes after the answer.
            let unread = self.slots.is_empty() && matches!(self.state, State::Body(..));
            let streams = streams && !head_only && may_have_body(response.status);
            // Before HTTP/1.1, a body without a length ends with the connection.
            let until_close = streams && old;
            let close = response.close || !keep || self.draining && self.slots.is_empty() || unread || until_close;
            let head = head::response_head(&response, close, old, streams);
            self.out_len += head.len();
            self.out.push_back(head);
            if streams {
                self.streaming = Some(Streaming { id, chunked: !old, close, write_by });
                break;
            }
            if !head_only && may_have_body(response.status) {
                for part in response.body.into_iter().filter(|p| !p.is_empty()) {
                    self.out_len += part.len();
                    self.out.push_back(part);
                }
            }
            self.write_by = earliest(self.write_by, write_by);
            if close {
                self.say_last();
            }
        }
        if self.go_on && self.slots.len() == 1 && !self.last_said {
            self.go_on = false;
            let interim = Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.out_len += interim.len();
            self.out.push_back(interim);
        }
    }

    /// No output follows this answer.
    fn say_last(&mut self) {
        self.last_said = true;
        self.slots.clear();
        self.ready.clear();
        self.go_deaf();
    }

    fn push(&mut self, now: u64) {
        self.line_up();
        while !self.out.is_empty() {
            let written = {
                let slices: SmallVec<[IoSlice<'_>; 16]> = self.out.iter().take(64).map(|b| IoSlice::new(b)).collect();
                self.io.write_vectored(&slices)
            };
            match written {
                Ok(0) => return self.close(Closed::Io(ErrorKind::WriteZero)),
                Ok(n) => self.sent(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => return self.close(Closed::Io(e.kind())),
            }
        }
        loop {
            match self.io.flush() {
                Ok(()) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.unflushed = true;
                    return;
                }
                Err(e) => return self.close(Closed::Io(e.kind())),
            }
        }
        self.unflushed = false;
        self.write_by = None;
        if self.streaming.is_some() {
            return;
        }
        let said_all = self.last_said || matches!(self.state, State::Deaf) && self.slots.is_empty();
        if said_all && self.linger.is_none() {
            self.linger = Some(now.saturating_add(LINGER));
            self.why.get_or_insert(Closed::Local("connection: close"));
        }
        if self.linger.is_some() && self.eof {
            self.closed = true;
        }
    }

    fn sent(&mut self, mut n: usize) {
        self.out_len -= n.min(self.out_len);
        while let Some(front) = self.out.front_mut() {
            if n < front.len() {
                front.advance(n);
                return;
            }
            n -= front.len();
            self.out.pop_front();
        }
    }

    /// When the wait for input times out, and the name of that timeout.
    fn read_by(&self) -> Option<(u64, &'static str)> {
        let c = &*self.cfg;
        let (limit, name) = match &self.state {
            State::Deaf => return None,
            State::Head if !self.takes_more() => return None,
            State::Head if self.head.is_empty() && self.served_any => {
                // The idle time begins after the last answer. While a request is processed or answered, there is no
                // idle timeout.
                if !self.slots.is_empty() || self.streaming.is_some() || !self.all_sent() {
                    return None;
                }
                (c.idle_timeout.or(c.read_timeout), "idle_timeout")
            }
            State::Head => (c.read_header_timeout.or(c.read_timeout), "read_header_timeout"),
            State::Body(..) | State::Refused(_) => {
                let stalled = (self.body_since.saturating_add(c.body_timeout), "body_timeout");
                let late = c.read_timeout.map(|limit| (self.since.saturating_add(limit), "read_timeout"));
                return Some(late.filter(|late| late.0 <= stalled.0).unwrap_or(stalled));
            }
        };
        Some((self.since.saturating_add(limit?), name))
    }

    fn write_at(&self) -> Option<u64> {
        let streaming = self.streaming.as_ref().and_then(|s| s.write_by);
        earliest(earliest(self.write_by, streaming), self.slots.front().and_then(|s| s.write_by))
    }

    fn fire(&mut self, now: u64) {
        if self.linger.is_some_and(|at| now >= at) {
            return self.close(Closed::Local("linger"));
        }
        if self.linger.is_some() {
            return;
        }
        if self.write_at().is_some_and(|at| now >= at) {
            return self.close(Closed::Timeout("write_timeout"));
        }
        if let Some((at, name)) = self.read_by()
            && now >= at
        {
            match std::mem::replace(&mut self.state, State::Deaf) {
                State::Body(..) => {
                    self.why.get_or_insert(Closed::Timeout(name));
                    let late = Response::text(408, "408 Request Timeout").closing();
                    if let Some(slot) = self.slots.back_mut() {
                        slot.answer.get_or_insert(late);
                    }
                }
                State::Head if self.slots.is_empty() && self.all_sent() => self.close(Closed::Timeout(name)),
                _ => {
                    self.why.get_or_insert(Closed::Timeout(name));
                }
            }
        }
    }

    fn close(&mut self, why: Closed) {
        self.why.get_or_insert(why);
        self.closed = true;
        self.streaming = None;
        self.slots.clear();
        self.ready.clear();
        self.out.clear();
        self.out_len = 0;
        self.unflushed = false;
        self.go_deaf();
    }
}
