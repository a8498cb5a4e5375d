//! The server side of an HTTP/2 connection, for HTTP and gRPC alike: accepting, draining, lingering.
//!
//! Owns h2's connection and its transport. The caller keeps the streams and drops them when the connection is no longer
//! live. Never responds to a request.

use std::future::Future;
use std::io::{Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Buf;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{PingPong, RecvStream};
use http::Request;

use crate::coding::Workspace;
use crate::connection::{CloseReason, PollResult, earliest};
use crate::h2_io::{H2Io, H2Transport, goaway_frame};

/// Error codes (RFC 9113, 7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
/// How long a finished connection waits for the peer to close its side before it is closed completely.
pub(crate) const LINGER: u64 = 1_000_000_000;
/// How long a drain waits for the acknowledgement of the client (the same time as in grpc-go).
pub(crate) const DRAIN_ACK_TIMEOUT: u64 = 5_000_000_000;

/// What a peer may do, in bytes and streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct H2Limits {
    pub(crate) max_concurrent_streams: u32,
    pub(crate) max_header_list: u32,
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) max_frame_size: u32,
    pub(crate) read_budget: usize,
}

impl H2Limits {
    fn builder(&self) -> Builder {
        const WINDOW: u32 = (1 << 31) - 1;
        let mut b = Builder::new();
        b.initial_window_size(self.stream_window.min(WINDOW))
            .initial_connection_window_size(self.connection_window.min(WINDOW))
            .max_frame_size(self.max_frame_size.clamp(1 << 14, (1 << 24) - 1))
            .max_header_list_size(self.max_header_list)
            .max_send_buffer_size(1 << 20)
            // These are counted over the lifetime of a connection, and none of them costs more than the frame that
            // causes it: admission limits the work for a call, the read budget limits the frames.
            .max_local_error_reset_streams(Some(1 << 20))
            .max_concurrent_reset_streams(1 << 10)
            .max_pending_accept_reset_streams(1 << 14)
            .data_frame_budget(self.read_budget.saturating_mul(32).max(1 << 20));
        // h2 has one number for the advertised and the enforced limit.
        b.max_concurrent_streams(self.max_concurrent_streams);
        b
    }
}

/// ```text
///  Handshake --preface and SETTINGS--> Open --drained, GOAWAY sent, h2 has ended--> Linger --peer closes its side,
///      |                                |                                            ^          time limit--> Closed
///      +--bad preface, drained----------|--------------------------------------------+
///      |                                |
///      +--failed transport--------------+--> Closed
/// ```
enum State<T, B: Buf> {
    Handshake(Handshake<H2Io<T>, B>),
    Open {
        conn: Connection<H2Io<T>, B>,
        ping_pong: Option<PingPong>,
        /// Since when no new requests are accepted: GOAWAY is sent, and requests in flight continue.
        drain_since: Option<u64>,
    },
    /// No more output is added; waits until this time for the peer to close its side.
    Linger(u64),
    Closed,
}

pub(crate) struct H2ServerCore<T: Read + Write, B: Buf> {
    state: State<T, B>,
    pub(crate) transport: H2Transport<T>,
    read_budget: usize,
    readable_streams: Vec<u32>,
    started_at: u64,
    header_block_since: Option<u64>,
    close_reason: Option<CloseReason>,
}

impl<T: Read + Write, B: Buf> H2ServerCore<T, B> {
    pub(crate) fn new(io: T, workspace: Workspace, limits: &H2Limits, write_buffer: usize, now: u64) -> Self {
        let (transport, h2_io) = H2Transport::new(io, workspace, true, write_buffer);
        Self {
            state: State::Handshake(limits.builder().handshake(h2_io)),
            transport,
            read_budget: limits.read_budget,
            readable_streams: Vec::new(),
            started_at: now,
            header_block_since: None,
            close_reason: None,
        }
    }

    /// Begins one `poll` of the connection. True when requests may arrive; otherwise the input is discarded.
    pub(crate) fn begin_poll(&mut self) -> bool {
        self.transport.begin_poll(self.read_budget);
        if matches!(self.state, State::Linger(_)) {
            self.transport.discard_input(self.read_budget);
        }
        self.is_live()
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state, State::Handshake(_) | State::Open { .. })
    }

    /// The next request.
    pub(crate) fn accept(&mut self, now: u64) -> Option<(Request<RecvStream>, SendResponse<B>)> {
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            let polled = match &mut self.state {
                State::Handshake(handshake) => match Pin::new(handshake).poll(cx) {
                    Poll::Pending => return None,
                    Poll::Ready(Ok(mut conn)) => {
                        let ping_pong = conn.ping_pong();
                        self.state = State::Open { conn, ping_pong, drain_since: None };
                        continue;
                    }
                    Poll::Ready(Err(e)) => {
                        if self.transport.close_reason().is_none() {
                            self.transport.append_frame(&goaway_frame(0, PROTOCOL_ERROR, b"bad connection preface"));
                        }
                        self.fail(now, &e);
                        return None;
                    }
                },
                State::Open { conn, .. } => conn.poll_accept(cx),
                _ => return None,
            };
            match polled {
                Poll::Pending => {}
                Poll::Ready(Some(Ok(request))) => return Some(request),
                Poll::Ready(Some(Err(e))) => self.fail(now, &e),
                Poll::Ready(None) => self.end_without_error(now),
            }
            return None;
        }
    }

    /// Streams that had frames. Return the list with `return_readable_streams`.
    pub(crate) fn take_readable_streams(&mut self) -> Vec<u32> {
        if !self.is_live() {
            return Vec::new(); // the caller drops all streams, whatever arrived for them
        }
        let mut readable_streams = std::mem::take(&mut self.readable_streams);
        self.transport.take_readable_streams(&mut readable_streams);
        readable_streams
    }

    pub(crate) fn return_readable_streams(&mut self, mut readable_streams: Vec<u32>) {
        readable_streams.clear();
        readable_streams.shrink_to(64);
        self.readable_streams = readable_streams;
    }

    /// Begins to drain: sends GOAWAY, and requests in flight continue. True when this call began it.
    pub(crate) fn drain(&mut self, now: u64) -> bool {
        match &mut self.state {
            State::Handshake(_) => self.end(now, CloseReason::Local("drained")),
            State::Open { conn, drain_since: drain_since @ None, .. } => {
                conn.graceful_shutdown();
                *drain_since = Some(now);
                return true;
            }
            _ => {}
        }
        false
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain_since().is_some()
    }

    fn drain_since(&self) -> Option<u64> {
        if let State::Open { drain_since, .. } = self.state { drain_since } else { None }
    }

    /// Sets the reason with which the connection will end, unless one is set.
    pub(crate) fn set_close_reason(&mut self, reason: CloseReason) {
        self.close_reason.get_or_insert(reason);
    }

    /// Since when the preface and SETTINGS, or the rest of a header block, are awaited.
    pub(crate) fn waiting_for_peer_since(&self) -> Option<u64> {
        let handshake_since = (!self.transport.with_scanner(|s| s.settings_received)).then_some(self.started_at);
        earliest(handshake_since, self.header_block_since)
    }

    /// When a drained connection without anything in flight is closed, whether the peer has acknowledged or not.
    pub(crate) fn drain_deadline(&self) -> Option<u64> {
        self.drain_since().map(|at| at.saturating_add(DRAIN_ACK_TIMEOUT))
    }

    /// `None` while it is live, else when lingering ends; `Some(None)` once it is closed.
    pub(crate) fn linger_deadline(&self) -> Option<Option<u64>> {
        match self.state {
            State::Linger(until) => Some(Some(until)),
            State::Closed => Some(None),
            _ => None,
        }
    }

    /// Records what the frames of this `poll` showed; returns the number of PINGs among them.
    pub(crate) fn record_frames(&mut self, now: u64) -> u32 {
        let (pings, open_block) =
            self.transport.with_scanner(|s| (std::mem::take(&mut s.ping_count), s.header_block_open));
        self.header_block_since = if open_block { self.header_block_since.or(Some(now)) } else { None };
        pings
    }

    pub(crate) fn send_ping(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        if let State::Open { ping_pong: Some(pings), .. } = &mut self.state {
            let _ = pings.poll_pong(cx); // takes an older answer, or h2 would refuse the next ping
            let _ = pings.send_ping(h2::Ping::opaque());
        }
    }

    /// Sends GOAWAY with a reason and ends the connection.
    pub(crate) fn send_goaway(&mut self, now: u64, code: u32, debug: &[u8], reason: CloseReason) {
        let last = self.transport.with_scanner(|s| s.last_stream_id);
        self.transport.append_frame(&goaway_frame(last, code, debug));
        self.end(now, reason);
    }

    /// Polls h2, which writes.
    pub(crate) fn write(&mut self, now: u64) {
        if let State::Open { conn, .. } = &mut self.state {
            match conn.poll_closed(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.end_without_error(now),
                Poll::Ready(Err(e)) => self.fail(now, &e),
            }
        }
    }

    /// Ends one `poll` of the connection. `idle`: no stream is left.
    pub(crate) fn finish_poll(&mut self, now: u64, idle: bool) -> PollResult {
        self.transport.finish_poll(idle);
        if let Some(transport_reason) = self.transport.close_reason()
            && (self.is_live() && !matches!(transport_reason, CloseReason::Peer)
                || matches!(self.state, State::Linger(_)))
        {
            self.end(now, transport_reason);
            self.state = State::Closed;
        }
        if matches!(self.state, State::Linger(until) if now >= until) {
            self.state = State::Closed;
        }
        let ended = !self.is_live();
        PollResult {
            poll_again: !matches!(self.state, State::Closed) && self.transport.has_more_input(),
            shutdown_write: ended && self.transport.is_flushed(),
            closed: matches!(self.state, State::Closed),
            close_reason: self.close_reason.clone().filter(|_| ended),
        }
    }

    /// h2 ended the connection without an error.
    fn end_without_error(&mut self, now: u64) {
        let reason = match (self.transport.close_reason(), self.drain_since()) {
            (_, Some(_)) => CloseReason::Local("drained"),
            (Some(ended), _) => ended,
            (None, None) => CloseReason::Peer,
        };
        self.end(now, reason);
    }

    fn fail(&mut self, now: u64, e: &h2::Error) {
        let reason = self.transport.close_reason().unwrap_or_else(|| CloseReason::Protocol(e.to_string()));
        self.end(now, reason);
    }

    /// Ends the connection: it is not live any more. The underlying stream stays until its output is written and the
    /// peer has closed its side.
    pub(crate) fn end(&mut self, now: u64, reason: CloseReason) {
        self.close_reason.get_or_insert_with(|| self.transport.other_protocol().unwrap_or(reason));
        if self.is_live() {
            let transport_ended = self.transport.close_reason().is_some();
            self.state = if transport_ended { State::Closed } else { State::Linger(now.saturating_add(LINGER)) };
        }
    }
}
