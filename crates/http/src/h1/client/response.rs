//! Responses that a client receives, and the reading of their bodies.

use bytes::Bytes;

use super::streamed::StreamedBody;
use crate::connection::receive_capacity;
use crate::h1::body::{BodyDecoder, BodyError};
use crate::h1::head::ResponseHead;

/// The part of a body that is not kept is read to its end up to this size; if it is longer, the connection is closed.
const MAX_DISCARD: u64 = 256 << 10;

/// A response.
#[derive(Clone, Debug)]
pub struct ClientResponse {
    /// 200 to 999.
    pub status: u16,
    /// Header fields.
    pub head: ResponseHead,
    /// The body without its transfer coding, up to [`super::H1ClientConnConfig::max_body`].
    pub body: Bytes,
    /// The body was longer than the part that was kept.
    pub is_truncated: bool,
}

/// A response whose body is being read.
pub(super) struct IncomingResponse {
    pub(super) head: ResponseHead,
    pub(super) framing: Framing,
    pub(super) body: Vec<u8>,
    pub(super) discarded: u64,
    /// Whether the connection may be used again.
    pub(super) keep_alive: bool,
}

/// How the end of a body is known.
pub(super) enum Framing {
    Decoder(BodyDecoder),
    UntilClose,
}

impl IncomingResponse {
    pub(super) fn is_done(&self) -> bool {
        matches!(&self.framing, Framing::Decoder(reading) if reading.is_done())
    }

    /// Processes input for a body that is kept, or passed on as it arrives. True as in [`IncomingResponse::append`].
    pub(super) fn feed(
        &mut self,
        input: &mut &[u8],
        max_body: u64,
        streamed: Option<&mut StreamedBody>,
    ) -> Result<bool, BodyError> {
        let Some(streamed) = streamed else { return self.append(input, max_body) };
        loop {
            let piece = match &mut self.framing {
                Framing::UntilClose if input.is_empty() => return Ok(false),
                Framing::UntilClose => std::mem::take(input),
                Framing::Decoder(decoder) => match decoder.next_piece(input)? {
                    Some(piece) => piece,
                    None => return Ok(decoder.is_done()),
                },
            };
            streamed.push(piece);
        }
    }

    /// Processes input; true when the body is complete, or when more than [`MAX_DISCARD`] bytes would be discarded.
    pub(super) fn append(&mut self, input: &mut &[u8], max_body: u64) -> Result<bool, BodyError> {
        let max_body = usize::try_from(max_body).unwrap_or(usize::MAX);
        loop {
            let (piece, declared) = match &mut self.framing {
                Framing::UntilClose if input.is_empty() => return Ok(false),
                Framing::UntilClose => (std::mem::take(input), None),
                Framing::Decoder(decoder) => match decoder.next_piece(input)? {
                    Some(piece) => (piece, self.head.length),
                    None => return Ok(decoder.is_done()),
                },
            };
            let kept = piece.get(..piece.len().min(max_body - self.body.len())).unwrap_or_default();
            let total = self.body.len() + kept.len();
            if total > self.body.capacity() {
                let capacity = match declared {
                    Some(n) => receive_capacity(usize::try_from(n).unwrap_or(usize::MAX), total),
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
