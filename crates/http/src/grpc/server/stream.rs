//! One call on a server connection, from its headers to its answer.
//!
//! ```text
//! Receiving --message complete, END_STREAM--> WithApp --reply--> (removed)
//!     |                                          |
//!     +--refused, failed, too late--> Discarding-+--END_STREAM, reset, time limit over--> (removed)
//! ```

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use smallvec::smallvec;

use super::{Call, CallHead, Gate, ServerConfig};
use crate::coding::{Coding, InflateError, Workspace};
use crate::earliest;
use crate::grpc::message::{Assembly, Prefix, Rope};
use crate::grpc::{
    APPLICATION_GRPC, COMPRESS_FROM, CallId, GRPC_ACCEPT_ENCODING, GRPC_DETAILS, GRPC_ENCODING, GRPC_MESSAGE,
    GRPC_STATUS, GRPC_TIMEOUT, is_grpc_content_type, parse_timeout,
};
use crate::status::{Code, Status, base64_encode, percent_encode};

/// What a refused client may still send before its stream is reset, beyond one message of the allowed size.
const DISCARD_SLACK: usize = 1 << 20;

pub(super) struct Stream<P> {
    id: u32,
    respond: SendResponse<Rope>,
    body: RecvStream,
    phase: Phase<P>,
    coding: Coding,
    deadline: Option<u64>,
    /// Time limit for the next bytes of the message.
    message_by: u64,
    /// The client has sent everything.
    ended: bool,
}

enum Phase<P> {
    Receiving(Box<Receiving<P>>),
    WithApp,
    /// Answered; at most this many more bytes are read and discarded.
    Discarding(usize),
}

struct Receiving<P> {
    head: CallHead,
    message: Assembly,
    permit: P,
    admitted: bool,
    wire_len: u32,
}

/// The result of reading a stream.
pub(super) enum Step<P> {
    Wait,
    Call(Box<Call<P>>),
    Refuse(Status),
    /// Answered and fully read.
    Over,
    /// The client reset the stream, or it failed.
    Gone,
}

/// Why a call ends with its headers.
pub(super) enum Refusal {
    /// The request is not gRPC.
    Http(StatusCode, String),
    Grpc(Status),
    /// The answer lists the accepted encodings.
    Encoding(Status),
}

impl<P> Stream<P> {
    pub(super) fn open<G: Gate<Permit = P> + ?Sized>(
        request: Request<RecvStream>,
        respond: SendResponse<Rope>,
        now: u64,
        cfg: &ServerConfig,
        gate: &mut G,
    ) -> (Self, Option<Refusal>) {
        let (parts, body) = request.into_parts();
        let mut stream = Self {
            id: respond.stream_id().as_u32(),
            respond,
            ended: body.is_end_stream(),
            body,
            phase: Phase::WithApp,
            coding: Coding::Identity,
            deadline: None,
            message_by: now.saturating_add(cfg.message_timeout),
        };
        match head(parts, cfg, gate) {
            Ok((head, permit)) => {
                stream.coding = head.encoding.clone();
                stream.deadline = head.timeout.map(|t| now.saturating_add(nanos(t)));
                let receiving = Receiving { head, message: Assembly::default(), permit, admitted: false, wire_len: 0 };
                stream.phase = Phase::Receiving(Box::new(receiving));
                (stream, None)
            }
            Err(refusal) => (stream, Some(refusal)),
        }
    }

    /// Reads all input that has arrived for this call.
    pub(super) fn read<G: Gate<Permit = P> + ?Sized>(&mut self, now: u64, cfg: &ServerConfig, gate: &mut G) -> Step<P> {
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            match self.body.poll_data(cx) {
                Poll::Pending => return Step::Wait,
                Poll::Ready(Some(Err(_))) => return Step::Gone,
                Poll::Ready(Some(Ok(mut chunk))) => {
                    // Flow-control windows limit the unread input; the permit limits the input that was read.
                    let _ = self.body.flow_control().release_capacity(chunk.len());
                    match &mut self.phase {
                        Phase::Receiving(r) => {
                            if !chunk.is_empty() {
                                self.message_by = now.saturating_add(cfg.message_timeout);
                            }
                            if let Err(status) = r.take(&mut chunk, cfg, gate) {
                                return Step::Refuse(status);
                            }
                        }
                        Phase::Discarding(left) => match left.checked_sub(chunk.len()) {
                            Some(rest) => *left = rest,
                            None => {
                                self.reset();
                                return Step::Over;
                            }
                        },
                        Phase::WithApp => {}
                    }
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    return self.end_of_input(cfg, gate);
                }
            }
        }
    }

    fn end_of_input<G: Gate<Permit = P> + ?Sized>(&mut self, cfg: &ServerConfig, gate: &mut G) -> Step<P> {
        // After END_STREAM, h2 reports a reset only on the sending half.
        let reset = self.respond.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready();
        if reset && !self.is_discarding() {
            return Step::Gone;
        }
        match std::mem::replace(&mut self.phase, Phase::WithApp) {
            Phase::WithApp => Step::Wait,
            Phase::Discarding(left) => {
                self.phase = Phase::Discarding(left);
                Step::Over
            }
            Phase::Receiving(r) => match r.complete(cfg, gate) {
                Ok(taken) => {
                    let (id, deadline) = (CallId(self.id), self.deadline);
                    let Taken { head, message, coding, wire_len, permit } = taken;
                    Step::Call(Box::new(Call { id, head, message, coding, wire_len, permit, deadline }))
                }
                Err(status) => Step::Refuse(status),
            },
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        match &self.phase {
            Phase::Receiving(_) => earliest(self.deadline, Some(self.message_by)),
            Phase::WithApp | Phase::Discarding(_) => self.deadline,
        }
    }

    /// The message stopped arriving.
    pub(super) fn is_stalled(&self, now: u64) -> bool {
        now >= self.message_by && self.deadline.is_none_or(|at| now < at)
    }

    /// The permit of a call whose message is being read.
    pub(super) fn reading(&self) -> Option<&P> {
        match &self.phase {
            Phase::Receiving(r) => Some(&r.permit),
            Phase::WithApp | Phase::Discarding(_) => None,
        }
    }

    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    pub(super) fn is_with_app(&self) -> bool {
        matches!(self.phase, Phase::WithApp)
    }

    pub(super) fn is_discarding(&self) -> bool {
        matches!(self.phase, Phase::Discarding(_))
    }

    pub(super) fn held(&self) -> usize {
        match &self.phase {
            Phase::Receiving(r) => r.message.held(),
            _ => 0,
        }
    }

    /// Discards input from now on, until the given time. Drops the permit.
    pub(super) fn discard(&mut self, until: u64) {
        self.deadline = Some(until);
        let declared = match &self.phase {
            Phase::Receiving(r) => usize::try_from(r.wire_len).unwrap_or(usize::MAX),
            _ => 0,
        };
        self.phase = Phase::Discarding(declared.min(64 << 20).saturating_add(DISCARD_SLACK));
    }

    pub(super) fn reset(&mut self) {
        self.respond.send_reset(Reason::NO_ERROR);
    }

    // h2 rejects a reply only if the stream has ended; its reset is reported separately.

    pub(super) fn reply_ok(&mut self, message: Bytes, workspace: &Workspace) {
        let compress = !self.coding.is_identity() && message.len() >= COMPRESS_FROM;
        let message = if compress { workspace.compress(&self.coding.in_grpc(), [&message[..]]) } else { message };
        let Some(rope) = Rope::new(compress, smallvec![message]) else {
            return self.reply_err(&Status::internal("reply longer than 4 GiB"), None);
        };
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
        if !self.coding.is_identity() {
            headers.insert(GRPC_ENCODING, HeaderValue::from_static(self.coding.name()));
        }
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        if let Ok(mut send) = self.respond.send_response(response, false) {
            let mut trailers = HeaderMap::with_capacity(1);
            trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
            let _ = send.send_data(rope, false);
            let _ = send.send_trailers(trailers);
        }
    }

    /// A "trailers-only" answer.
    pub(super) fn reply_err(&mut self, status: &Status, accept: Option<&[Coding]>) {
        let mut headers = HeaderMap::with_capacity(5);
        headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
        headers.insert(GRPC_STATUS, HeaderValue::from_static(status.code.digits()));
        if !status.message.is_empty()
            && let Ok(message) = HeaderValue::from_str(&percent_encode(&status.message))
        {
            headers.insert(GRPC_MESSAGE, message);
        }
        if status.retry_after.is_some() || !status.details.is_empty() {
            let details = status.to_proto();
            // Longer details could exceed the client's limit for header lists.
            if details.len() <= 4096
                && let Ok(value) = HeaderValue::from_str(&base64_encode(&details))
            {
                headers.insert(GRPC_DETAILS, value);
            }
        }
        if let Some(accept) = accept {
            let names: Vec<_> = accept.iter().map(Coding::name).collect();
            if let Ok(value) = HeaderValue::from_str(&names.join(",")) {
                headers.insert(GRPC_ACCEPT_ENCODING, value);
            }
        }
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        let _ = self.respond.send_response(response, true);
    }

    /// An HTTP answer for a client that does not use gRPC.
    pub(super) fn reply_http(&mut self, status: StatusCode, text: &str) {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if let Ok(mut send) = self.respond.send_response(response, text.is_empty()) {
            let _ = send.send_data(Rope::plain([Bytes::copy_from_slice(text.as_bytes())]), true);
        }
    }
}

impl<P> Receiving<P> {
    fn take<G: Gate<Permit = P> + ?Sized>(
        &mut self,
        chunk: &mut Bytes,
        cfg: &ServerConfig,
        gate: &mut G,
    ) -> Result<(), Status> {
        if let Some(prefix) = self.message.prefix(chunk) {
            self.wire_len = prefix.len;
            admit(&mut self.permit, &self.head, prefix, cfg, gate)?;
            self.admitted = true;
        }
        if self.admitted {
            let to = self.message.held_with(chunk.len());
            if to > self.message.held() {
                gate.grow(&mut self.permit, to as u64)?;
            }
            self.message.body(chunk);
            if !chunk.is_empty() {
                return Err(Status::internal(
                    "cardinality violation: received multiple request messages for non-client-streaming RPC",
                ));
            }
        }
        Ok(())
    }

    fn complete<G: Gate<Permit = P> + ?Sized>(mut self, cfg: &ServerConfig, gate: &mut G) -> Result<Taken<P>, Status> {
        if self.message.is_empty() {
            return Err(Status::internal(
                "cardinality violation: received no request message from non-client-streaming RPC",
            ));
        }
        if !self.message.is_complete() {
            return Err(Status::internal("unexpected EOF"));
        }
        let compressed = self.message.is_compressed();
        let mut taken = Taken {
            message: self.message.take(),
            coding: Coding::Identity,
            head: self.head,
            wire_len: self.wire_len,
            permit: self.permit,
        };
        if compressed {
            taken.decompress(cfg, gate)?;
        }
        Ok(taken)
    }
}

/// The parts of a [`Call`].
struct Taken<P> {
    head: CallHead,
    message: Bytes,
    coding: Coding,
    wire_len: u32,
    permit: P,
}

impl<P> Taken<P> {
    /// Decompresses a message, unless its content is longer than [`ServerConfig::inline_decompress`].
    fn decompress<G: Gate<Permit = P> + ?Sized>(&mut self, cfg: &ServerConfig, gate: &mut G) -> Result<(), Status> {
        let limit = cfg.max_recv_message.min(cfg.inline_decompress);
        let packed = self.message.clone();
        let short = packed.len() <= limit as usize;
        let content = match short {
            true => {
                let grow = |to| gate.grow(&mut self.permit, to);
                cfg.workspace.decompress(&self.head.encoding, packed, u64::from(limit), grow)
            }
            false => Err(InflateError::TooLarge(u64::from(limit))),
        };
        match content {
            Ok(content) => self.message = content,
            Err(InflateError::TooLarge(_) | InflateError::BlockTooLarge(_)) if limit < cfg.max_recv_message => {
                self.coding = self.head.encoding.clone();
            }
            Err(InflateError::Refused(status)) => return Err(status),
            Err(e) => return Err(decompress_status(&e)),
        }
        Ok(())
    }
}

/// grpc-go's answer to a message that can't be decompressed. A refusal by `grow` has its own status.
#[must_use]
pub fn decompress_status<E>(e: &InflateError<E>) -> Status
where
    InflateError<E>: std::fmt::Display,
{
    match e {
        InflateError::TooLarge(max) | InflateError::BlockTooLarge(max) => {
            Status::resource_exhausted(format!("grpc: received message after decompression larger than max {max}"))
        }
        other => Status::internal(format!("grpc: failed to decompress the received message: {other}")),
    }
}

fn admit<G: Gate + ?Sized>(
    permit: &mut G::Permit,
    head: &CallHead,
    prefix: Prefix,
    cfg: &ServerConfig,
    gate: &mut G,
) -> Result<(), Status> {
    match prefix.flag {
        0 => {}
        1 if head.encoding.is_identity() => {
            return Err(Status::internal("grpc: compressed flag set with identity or empty encoding"));
        }
        1 => {}
        other => return Err(Status::internal(format!("grpc: received unexpected payload format {other}"))),
    }
    if prefix.len > cfg.max_recv_message {
        return Err(Status::resource_exhausted(format!(
            "grpc: received message larger than max ({} vs. {})",
            prefix.len, cfg.max_recv_message
        )));
    }
    gate.admit(permit, head, prefix.len)
}

fn head<G: Gate + ?Sized>(
    parts: http::request::Parts,
    cfg: &ServerConfig,
    gate: &mut G,
) -> Result<(CallHead, G::Permit), Refusal> {
    if parts.method != Method::POST {
        let text = format!("Received a HEADERS frame with :method {:?} which should be POST\n", parts.method.as_str());
        let text = if parts.method == Method::HEAD { String::new() } else { text };
        return Err(Refusal::Http(StatusCode::METHOD_NOT_ALLOWED, text));
    }
    let content_type = parts.headers.get(CONTENT_TYPE);
    if !is_grpc_content_type(content_type) {
        let given = content_type.map_or(&b""[..], HeaderValue::as_bytes);
        let text = format!("invalid gRPC request content-type {:?}\n", String::from_utf8_lossy(given));
        return Err(Refusal::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let timeout = match parts.headers.get(&GRPC_TIMEOUT) {
        None => None,
        Some(value) => match parse_timeout(value.as_bytes()) {
            Some(timeout) => Some(timeout),
            None => {
                let text = format!("malformed grpc-timeout: {:?}", String::from_utf8_lossy(value.as_bytes()));
                return Err(Refusal::Grpc(Status::new(Code::Internal, text)));
            }
        },
    };
    let method = gate.route(parts.uri.path()).map_err(Refusal::Grpc)?;
    let name = parts.headers.get(&GRPC_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
    let encoding = match Coding::parse(name) {
        Ok(coding) if coding.is_identity() || cfg.accept.contains(&coding) => coding,
        _ => {
            let name = String::from_utf8_lossy(name);
            let text = format!("grpc: Decompressor is not installed for grpc-encoding {name:?}");
            return Err(Refusal::Encoding(Status::unimplemented(text)));
        }
    };
    let mut head = CallHead { method, uri: parts.uri, metadata: parts.headers, timeout, encoding };
    let bytes = head.metadata.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let permit = gate.open(&head, bytes).map_err(Refusal::Grpc)?;
    if !cfg.keep_metadata {
        head.metadata = HeaderMap::new();
    }
    Ok((head, permit))
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
