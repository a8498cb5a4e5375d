//! The reading side of a server connection: which part of the input comes next.

use crate::Admission;
use crate::h1::body::{BodyDecoder, BodyError};
use crate::h1::head::{HeadBuffer, RequestHead};
use crate::h1::message::{IncomingRequest, Response};

/// The part of the input that is read next.
///
/// ```text
///  Idle --first byte--> Head --blank line, admitted--> Body --its end--> Idle
///                         |                              |
///                         +--refused--> Refused <--------+
///                                          |
///                                          +--end of the body--> Idle
///
///  each of them --last request, malformed input, drain, time limit--> Discarding --end of input--> Ended
/// ```
///
/// A connection begins in `Head`, without a byte of it. A body without bytes passes through `Body` at once.
pub(super) enum Input<P> {
    /// Between requests.
    Idle { since: u64 },
    /// Before the first byte of the first request, or inside a head.
    Head { since: u64, buffer: HeadBuffer },
    /// Inside the body of an admitted request.
    Body(Box<IncomingBody<P>>),
    /// Inside the body of a refused request.
    Refused(BodyReading),
    /// No more requests are read: further input is read and discarded, because closing with unread input would reset
    /// the connection.
    Discarding,
    /// The peer has closed its side.
    Ended,
}

/// The position in a body, and since when it is read.
pub(super) struct BodyReading {
    pub(super) decoder: BodyDecoder,
    /// Since when the request is read.
    pub(super) since: u64,
    /// When bytes of the body last arrived.
    pub(super) progress_at: u64,
}

/// The body of an admitted request.
pub(super) struct IncomingBody<P> {
    pub(super) request: IncomingRequest<P>,
    pub(super) reading: BodyReading,
    /// `100 Continue` is expected and not sent yet.
    pub(super) awaits_continue: bool,
}

impl<P> Input<P> {
    /// No byte of a request has been read since the last one was complete.
    pub(super) fn is_between_requests(&self) -> bool {
        match self {
            Self::Idle { .. } => true,
            Self::Head { buffer, .. } => buffer.is_empty(),
            _ => false,
        }
    }

    /// Whether no more requests are read.
    pub(super) fn is_finished(&self) -> bool {
        matches!(self, Self::Discarding | Self::Ended)
    }

    /// Reads no more requests.
    pub(super) fn discard(&mut self) {
        if !matches!(self, Self::Ended) {
            *self = Self::Discarding;
        }
    }

    /// Bytes held by an incomplete head.
    pub(super) fn head_bytes(&self) -> usize {
        if let Self::Head { buffer, .. } = self { buffer.buffered_bytes() } else { 0 }
    }

    /// Bytes held by an incomplete body.
    pub(super) fn body_bytes(&self) -> usize {
        if let Self::Body(body) = self { body.request.buffered_bytes() } else { 0 }
    }
}

impl BodyReading {
    /// When the wait for more of the body times out, and the name of that timeout.
    pub(super) fn deadline(&self, body_timeout: u64, read_timeout: Option<u64>) -> (u64, &'static str) {
        let body = (self.progress_at.saturating_add(body_timeout), "body_timeout");
        let request = read_timeout.map(|limit| (self.since.saturating_add(limit), "read_timeout"));
        request.filter(|request| request.0 <= body.0).unwrap_or(body)
    }
}

impl<P> IncomingBody<P> {
    /// Takes the bytes of the body from the input. True when it is complete.
    pub(super) fn read<D: Admission<RequestHead, Permit = P> + ?Sized>(
        &mut self,
        input: &mut &[u8],
        now: u64,
        admission: &mut D,
    ) -> Result<bool, Response> {
        if !input.is_empty() {
            self.reading.progress_at = now;
            self.awaits_continue = false; // the client did not wait for `100 Continue`
        }
        let bad_request = |e: BodyError| Response::text(400, format!("400 Bad Request: {e}")).with_close();
        while let Some(piece) = self.reading.decoder.next_piece(input).map_err(bad_request)? {
            self.request.append(piece, admission)?;
        }
        Ok(self.reading.decoder.is_done())
    }
}
