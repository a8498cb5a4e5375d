//! The server side of an HTTP/2 connection, for HTTP and gRPC alike: accepting, draining, lingering.
//!
//! Owns h2's connection and its transport. The caller keeps the streams and drops them when the engine is no longer
//! live. Never answers a request.

use std::future::Future;
use std::io::{Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Buf;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{PingPong, RecvStream};
use http::Request;

use crate::coding::Workspace;
use crate::wire::{Link, Wire, goaway_frame};
use crate::{Closed, Turn, earliest};

/// Error codes (RFC 9113, 7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
/// How long a finished connection waits for the peer to close its side before it is closed completely.
pub(crate) const LINGER: u64 = 1_000_000_000;
/// How long a drain waits for the acknowledgement of the client (the same time as in grpc-go).
pub(crate) const DRAIN_ACK: u64 = 5_000_000_000;

/// What a peer may do, in bytes and streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) streams: u32,
    pub(crate) header_list: u32,
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) frame: u32,
    pub(crate) read_budget: usize,
}

impl Limits {
    fn builder(&self) -> Builder {
        const WINDOW: u32 = (1 << 31) - 1;
        let mut b = Builder::new();
        b.initial_window_size(self.stream_window.min(WINDOW))
            .initial_connection_window_size(self.connection_window.min(WINDOW))
            .max_frame_size(self.frame.clamp(1 << 14, (1 << 24) - 1))
            .max_header_list_size(self.header_list)
            .max_send_buffer_size(1 << 20)
            // These are counted over the lifetime of a connection, and none of them costs more than the frame that
            // causes it: admission limits the work for a call, the read budget limits the frames.
            .max_local_error_reset_streams(Some(1 << 20))
            .max_concurrent_reset_streams(1 << 10)
            .max_pending_accept_reset_streams(1 << 14)
            .data_frame_budget(self.read_budget.saturating_mul(32).max(1 << 20));
        // h2 has one number for the advertised and the enforced limit.
        b.max_concurrent_streams(self.streams);
        b
    }
}

enum State<T, B: Buf> {
    Handshake(Handshake<Wire<T>, B>),
    Open(Connection<Wire<T>, B>),
    /// No more output is added; waits until this time for the peer to close its side.
    Linger(u64),
    Closed,
}

pub(crate) struct Engine<T: Read + Write, B: Buf> {
    state: State<T, B>,
    pub(crate) link: Link<T>,
    read_budget: usize,
    touched: Vec<u32>,
    began: u64,
    block_since: Option<u64>,
    drain_since: Option<u64>,
    pings: Option<PingPong>,
    why: Option<Closed>,
}

impl<T: Read + Write, B: Buf> Engine<T, B> {
    pub(crate) fn new(io: T, workspace: Workspace, limits: &Limits, write_buffer: usize, now: u64) -> Self {
        let (link, wire) = Link::new(io, workspace, true, write_buffer);
        Self {
            state: State::Handshake(limits.builder().handshake(wire)),
            link,
            read_budget: limits.read_budget,
            touched: Vec::new(),
            began: now,
            block_since: None,
            drain_since: None,
            pings: None,
            why: None,
        }
    }

    /// Begins a turn. True when requests may arrive; otherwise the input is discarded.
    pub(crate) fn begin(&mut self) -> bool {
        self.link.begin(self.read_budget);
        if matches!(self.state, State::Linger(_)) {
            self.link.discard_input(self.read_budget);
        }
        self.is_live()
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state, State::Handshake(_) | State::Open(_))
    }

    /// The next request.
    pub(crate) fn accept(&mut self, now: u64) -> Option<(Request<RecvStream>, SendResponse<B>)> {
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            let polled = match &mut self.state {
                State::Handshake(shake) => match Pin::new(shake).poll(cx) {
                    Poll::Pending => return None,
                    Poll::Ready(Ok(mut conn)) => {
                        self.pings = conn.ping_pong();
                        self.state = State::Open(conn);
                        continue;
                    }
                    Poll::Ready(Err(e)) => {
                        if self.link.ended().is_none() {
                            self.link.inject(&goaway_frame(0, PROTOCOL_ERROR, b"bad connection preface"));
                        }
                        self.fail(now, &e);
                        return None;
                    }
                },
                State::Open(conn) => conn.poll_accept(cx),
                _ => return None,
            };
            match polled {
                Poll::Pending => {}
                Poll::Ready(Some(Ok(request))) => return Some(request),
                Poll::Ready(Some(Err(e))) => self.fail(now, &e),
                Poll::Ready(None) => self.finished(now),
            }
            return None;
        }
    }

    /// Streams that had frames. Return the list with `put_touched`.
    pub(crate) fn take_touched(&mut self) -> Vec<u32> {
        if !self.is_live() {
            return Vec::new(); // the caller drops all streams, whatever arrived for them
        }
        let mut touched = std::mem::take(&mut self.touched);
        self.link.take_touched(&mut touched);
        touched
    }

    pub(crate) fn put_touched(&mut self, mut touched: Vec<u32>) {
        touched.clear();
        touched.shrink_to(64);
        self.touched = touched;
    }

    /// Begins to drain: sends GOAWAY, and requests in flight continue. True when this call began it.
    pub(crate) fn drain(&mut self, now: u64) -> bool {
        match &mut self.state {
            State::Handshake(_) => self.end(now, Closed::Local("drained")),
            State::Open(conn) if self.drain_since.is_none() => {
                conn.graceful_shutdown();
                self.drain_since = Some(now);
                return true;
            }
            _ => {}
        }
        false
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain_since.is_some()
    }

    /// Sets the reason with which the connection will end, unless one is set.
    pub(crate) fn because(&mut self, why: Closed) {
        self.why.get_or_insert(why);
    }

    /// Since when the preface and SETTINGS, or the rest of a header block, are awaited.
    pub(crate) fn slow_since(&self) -> Option<u64> {
        let greeting = (!self.link.scan(|s| s.settings)).then_some(self.began);
        earliest(greeting, self.block_since)
    }

    /// When a drained connection without anything in flight is closed, whether the peer has acknowledged or not.
    pub(crate) fn drained_at(&self) -> Option<u64> {
        self.drain_since.map(|at| at.saturating_add(DRAIN_ACK))
    }

    /// `None` while it is live, else when lingering ends; `Some(None)` once it is closed.
    pub(crate) fn over_at(&self) -> Option<Option<u64>> {
        match self.state {
            State::Linger(until) => Some(Some(until)),
            State::Closed => Some(None),
            _ => None,
        }
    }

    /// Records what the frames of this turn showed; returns the number of PINGs among them.
    pub(crate) fn observe(&mut self, now: u64) -> u32 {
        let (pings, open_block) = self.link.scan(|s| (std::mem::take(&mut s.pings), s.open_block));
        self.block_since = if open_block { self.block_since.or(Some(now)) } else { None };
        pings
    }

    pub(crate) fn ping(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        if let Some(pings) = &mut self.pings {
            let _ = pings.poll_pong(cx); // takes an older answer, or h2 would refuse the next ping
            let _ = pings.send_ping(h2::Ping::opaque());
        }
    }

    /// Sends GOAWAY with a reason and ends the connection.
    pub(crate) fn goaway(&mut self, now: u64, code: u32, debug: &[u8], why: Closed) {
        let last = self.link.scan(|s| s.last_stream);
        self.link.inject(&goaway_frame(last, code, debug));
        self.end(now, why);
    }

    /// Polls h2, which writes.
    pub(crate) fn write(&mut self, now: u64) {
        if let State::Open(conn) = &mut self.state {
            match conn.poll_closed(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.finished(now),
                Poll::Ready(Err(e)) => self.fail(now, &e),
            }
        }
    }

    /// Ends a turn. `idle`: no stream is left.
    pub(crate) fn finish(&mut self, now: u64, idle: bool) -> Turn {
        self.link.finish(idle);
        if let Some(ended) = self.link.ended()
            && (self.is_live() && !matches!(ended, Closed::Peer) || matches!(self.state, State::Linger(_)))
        {
            self.end(now, ended);
            self.state = State::Closed;
        }
        if matches!(self.state, State::Linger(until) if now >= until) {
            self.state = State::Closed;
        }
        let over = !self.is_live();
        Turn {
            again: !matches!(self.state, State::Closed) && self.link.again(),
            shut_write: over && self.link.all_sent(),
            closed: matches!(self.state, State::Closed),
            why: self.why.clone().filter(|_| over),
        }
    }

    /// h2 ended the connection without an error.
    fn finished(&mut self, now: u64) {
        let why = match (self.link.ended(), self.drain_since) {
            (_, Some(_)) => Closed::Local("drained"),
            (Some(ended), _) => ended,
            (None, None) => Closed::Peer,
        };
        self.end(now, why);
    }

    fn fail(&mut self, now: u64, e: &h2::Error) {
        let why = self.link.ended().unwrap_or_else(|| Closed::Protocol(e.to_string()));
        self.end(now, why);
    }

    /// Ends the connection: it is not live any more. The underlying stream stays until its output is written and the
    /// peer has closed its side.
    pub(crate) fn end(&mut self, now: u64, why: Closed) {
        self.pings = None;
        self.why.get_or_insert(why);
        if self.is_live() {
            let gone = self.link.ended().is_some();
            self.state = if gone { State::Closed } else { State::Linger(now.saturating_add(LINGER)) };
        }
    }
}
