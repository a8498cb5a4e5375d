//! The responses of a server connection, in the order of the requests (RFC 9112, 9.3.2), and their encoding.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::connection::earliest;
use crate::h1::head::{encode_field, may_have_body};
use crate::h1::message::{RequestId, Response, STALL_TIMEOUT};
use crate::h1::output::Output;

/// A request and its response.
pub(super) struct PendingResponse {
    pub(super) id: RequestId,
    pub(super) state: ResponseState,
    pub(super) head_only: bool,
    pub(super) is_http_1_0: bool,
    pub(super) keep_alive: bool,
    pub(super) write_deadline: Option<u64>,
}

/// How far a response is.
///
/// ```text
/// Awaited --respond-----------> Whole ---------encoded----------> (removed)
///    |                            ^
///    |                            | no body is allowed
///    +--respond_streaming----> Streamed --head encoded--> Streaming --finish_response--> (removed)
/// ```
pub(super) enum ResponseState {
    /// The application has not responded.
    Awaited,
    /// The complete response. It waits for those before it.
    Whole(Response),
    /// A head, whose body follows in pieces. It waits for the responses before it.
    Streamed(Response),
    /// The head is in the output, and the body follows in pieces.
    Streaming { is_chunked: bool, close: bool },
}

/// What the rest of the connection is like while a response is encoded.
#[derive(Clone, Copy)]
pub(super) struct EncodeContext {
    /// The connection accepts no further requests.
    pub(super) is_draining: bool,
    /// The body of the last request in the queue is still being read.
    pub(super) is_reading_body: bool,
}

/// The result of encoding the responses that are ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoded {
    /// Nothing, or responses after which the connection stays open.
    Open,
    /// The last response was a response after which the connection closes.
    Last,
}

/// The requests without a complete response, in order.
#[derive(Default)]
pub(super) struct ResponseQueue(VecDeque<PendingResponse>);

impl ResponseQueue {
    pub(super) fn push(&mut self, pending: PendingResponse) {
        self.0.push_back(pending);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The request that was received last.
    pub(super) fn last(&self) -> Option<&PendingResponse> {
        self.0.back()
    }

    /// Sets the response to the request that was received last, if it has none.
    pub(super) fn respond_to_last(&mut self, response: Response) {
        if let Some(slot) = self.0.back_mut().filter(|slot| slot.is_awaited()) {
            slot.state = ResponseState::Whole(response);
        }
    }

    /// The request with this id, if it has no response yet.
    fn awaited_mut(&mut self, id: RequestId) -> Option<&mut PendingResponse> {
        self.0.iter_mut().find(|slot| slot.id == id && slot.is_awaited())
    }

    pub(super) fn respond(&mut self, id: RequestId, response: Response) {
        if let Some(slot) = self.awaited_mut(id) {
            slot.state = ResponseState::Whole(response);
        }
    }

    /// False when no body is to follow.
    pub(super) fn respond_streaming(&mut self, id: RequestId, response: Response) -> bool {
        let Some(slot) = self.awaited_mut(id) else { return false };
        let has_body = !slot.head_only && may_have_body(response.status);
        slot.state = ResponseState::Streamed(response);
        has_body
    }

    /// Whether the head of this response is in the output, and its body follows.
    pub(super) fn is_front_streaming(&self, id: RequestId) -> bool {
        self.0.front().is_some_and(|slot| slot.id == id && matches!(slot.state, ResponseState::Streaming { .. }))
    }

    /// Whether pieces of this body are still to be sent, now or after the responses before it.
    pub(super) fn is_streaming(&self, id: RequestId) -> bool {
        let is_streamed =
            |state: &ResponseState| matches!(state, ResponseState::Streamed(_) | ResponseState::Streaming { .. });
        self.0.iter().any(|slot| slot.id == id && is_streamed(&slot.state))
    }

    /// Whether the response to this request is the next to be sent.
    pub(super) fn is_next(&self, id: RequestId) -> bool {
        self.0.front().is_some_and(|slot| slot.id == id && !matches!(slot.state, ResponseState::Streaming { .. }))
    }

    /// The time limit for the last byte of the first response.
    pub(super) fn write_deadline(&self) -> Option<u64> {
        self.0.front().and_then(|slot| slot.write_deadline)
    }

    /// Appends a piece of the streamed body to the output.
    pub(super) fn send_data(&self, id: RequestId, piece: Bytes, output: &mut Output) -> bool {
        let Some(ResponseState::Streaming { is_chunked, .. }) =
            self.0.front().filter(|slot| slot.id == id && !piece.is_empty()).map(|slot| &slot.state)
        else {
            return false;
        };
        if *is_chunked {
            output.push(format!("{:x}\r\n", piece.len()).into());
            output.push(piece);
            output.push(Bytes::from_static(b"\r\n"));
        } else {
            output.push(piece);
        }
        true
    }

    /// Ends the streamed body. Returns whether the connection closes after it, and the time limit for its last byte;
    /// `None` if this response is not being streamed.
    pub(super) fn finish(&mut self, id: RequestId, now: u64, output: &mut Output) -> Option<(Encoded, Option<u64>)> {
        let front = self.0.front().filter(|slot| slot.id == id)?;
        let ResponseState::Streaming { is_chunked, close } = front.state else { return None };
        let deadline = earliest(front.write_deadline, Some(now.saturating_add(STALL_TIMEOUT)));
        if is_chunked {
            output.push(Bytes::from_static(b"0\r\n\r\n"));
        }
        self.0.pop_front();
        Some((if close { Encoded::Last } else { Encoded::Open }, deadline))
    }

    /// Encodes the responses that are ready and whose turn it is. Lowers `write_deadline` to theirs.
    pub(super) fn encode(
        &mut self,
        context: EncodeContext,
        output: &mut Output,
        write_deadline: &mut Option<u64>,
    ) -> Encoded {
        loop {
            let is_last = self.0.len() == 1;
            let Some(front) = self.0.front_mut() else { return Encoded::Open };
            let (response, wants_streaming) = match std::mem::replace(&mut front.state, ResponseState::Awaited) {
                ResponseState::Whole(response) => (response, false),
                ResponseState::Streamed(response) => (response, true),
                waiting @ (ResponseState::Awaited | ResponseState::Streaming { .. }) => {
                    front.state = waiting;
                    return Encoded::Open;
                }
            };
            let has_body = !front.head_only && may_have_body(response.status);
            let is_streaming = wants_streaming && has_body;
            // A client that is still sending the body of this request, and, before HTTP/1.1, a body without a length
            // make the connection close.
            let close = response.close
                || !front.keep_alive
                || is_last && (context.is_draining || context.is_reading_body)
                || is_streaming && front.is_http_1_0;
            output.push(encode_head(&response, close, front.is_http_1_0, is_streaming));
            if is_streaming {
                front.state = ResponseState::Streaming { is_chunked: !front.is_http_1_0, close };
                return Encoded::Open;
            }
            *write_deadline = earliest(*write_deadline, front.write_deadline);
            self.0.pop_front();
            if has_body {
                response.body.into_iter().for_each(|part| output.push(part));
            }
            if close {
                return Encoded::Last;
            }
        }
    }
}

impl PendingResponse {
    fn is_awaited(&self) -> bool {
        matches!(self.state, ResponseState::Awaited)
    }
}

/// Encodes status line and header fields. `is_streaming`: the body follows in chunks or, before HTTP/1.1, until the
/// connection ends.
fn encode_head(response: &Response, close: bool, is_http_1_0: bool, is_streaming: bool) -> Bytes {
    let mut out = Vec::with_capacity(160);
    let status = if (200..600).contains(&response.status) { response.status } else { 500 };
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Unknown");
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(number.format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    if !response.content_type.is_empty() {
        encode_field(&mut out, "Content-Type", response.content_type);
    }
    for (name, value) in &response.headers {
        let is_framing_field =
            ["content-length", "transfer-encoding", "connection"].iter().any(|o| name.eq_ignore_ascii_case(o));
        // Values from a configuration or a request cannot end the line early.
        let valid = http::HeaderName::from_bytes(name.as_bytes()).is_ok() && http::HeaderValue::from_str(value).is_ok();
        if valid && !is_framing_field {
            encode_field(&mut out, name, value);
        }
    }
    if is_streaming {
        if !is_http_1_0 {
            encode_field(&mut out, "Transfer-Encoding", "chunked");
        }
    } else if may_have_body(status) {
        let length = response.body.iter().map(Bytes::len).sum::<usize>();
        encode_field(&mut out, "Content-Length", number.format(length));
    }
    if close {
        encode_field(&mut out, "Connection", "close");
    } else if is_http_1_0 {
        encode_field(&mut out, "Connection", "keep-alive");
    }
    out.extend_from_slice(b"\r\n");
    out.into()
}
