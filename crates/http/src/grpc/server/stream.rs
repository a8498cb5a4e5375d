//! One call on a server connection, from its headers to its response.
//!
//! ```text
//! Receiving --message complete, END_STREAM--> Dispatched --response--> (removed)
//!     |                                              |
//!     +--refused, failed, too late--> Discarding-----+--END_STREAM, reset, time limit over--> (removed)
//! ```

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use smallvec::smallvec;

use super::config::GrpcServerConnConfig;
use super::incoming::IncomingCall;
use crate::admission::Admission;
use crate::coding::{Coding, DecompressError, Workspace};
use crate::connection::earliest;
use crate::grpc::call_head::CallHead;
use crate::grpc::header::{
    APPLICATION_GRPC, CallId, GRPC_ACCEPT_ENCODING, GRPC_DETAILS, GRPC_ENCODING, GRPC_MESSAGE, GRPC_STATUS,
    GRPC_TIMEOUT, MIN_COMPRESS_SIZE, is_grpc_content_type, parse_timeout,
};
use crate::grpc::message::{MessageBuffer, MessagePrefix, SendBuf};
use crate::status::{Code, Status, base64_encode, percent_encode};

/// What a refused client may still send before its stream is reset, beyond one message of the allowed size.
const DISCARD_SLACK: usize = 1 << 20;

pub(super) struct CallStream<P> {
    id: u32,
    response_sender: SendResponse<SendBuf>,
    body: RecvStream,
    phase: Phase<P>,
    coding: Coding,
    deadline: Option<u64>,
    /// Time limit for the next bytes of the message.
    message_deadline: u64,
    /// The client has sent everything.
    input_ended: bool,
}

enum Phase<P> {
    Receiving(Box<Receiving<P>>),
    Dispatched,
    /// The response is sent; at most this many more bytes are read and discarded.
    Discarding(usize),
}

struct Receiving<P> {
    head: CallHead,
    message: MessageBuffer,
    permit: P,
    admitted: bool,
    wire_len: u32,
}

/// The result of reading a stream.
pub(super) enum StreamProgress<P> {
    Pending,
    Call(Box<IncomingCall<P>>),
    Refuse(Status),
    /// The response is sent and the input has ended.
    Finished,
    /// The client reset the stream, or it failed.
    Cancelled,
}

/// Why a call ends with its headers.
pub(super) enum Refusal {
    /// The request is not gRPC.
    Http(StatusCode, String),
    Grpc(Status),
    /// The response lists the accepted encodings.
    Encoding(Status),
}

impl<P> CallStream<P> {
    pub(super) fn new<G: Admission<CallHead, Permit = P> + ?Sized>(
        request: Request<RecvStream>,
        response_sender: SendResponse<SendBuf>,
        now: u64,
        cfg: &GrpcServerConnConfig,
        admission: &mut G,
    ) -> (Self, Option<Refusal>) {
        let (parts, body) = request.into_parts();
        let mut stream = Self {
            id: response_sender.stream_id().as_u32(),
            response_sender,
            input_ended: body.is_end_stream(),
            body,
            phase: Phase::Dispatched,
            coding: Coding::Identity,
            deadline: None,
            message_deadline: now.saturating_add(cfg.message_timeout),
        };
        match admit_head(parts, cfg, admission) {
            Ok((head, permit)) => {
                stream.coding = head.encoding.clone();
                stream.deadline = head.timeout.map(|t| now.saturating_add(nanos(t)));
                let receiving =
                    Receiving { head, message: MessageBuffer::default(), permit, admitted: false, wire_len: 0 };
                stream.phase = Phase::Receiving(Box::new(receiving));
                (stream, None)
            }
            Err(refusal) => (stream, Some(refusal)),
        }
    }

    /// Reads all input that has arrived for this call.
    pub(super) fn read<G: Admission<CallHead, Permit = P> + ?Sized>(
        &mut self,
        now: u64,
        cfg: &GrpcServerConnConfig,
        admission: &mut G,
    ) -> StreamProgress<P> {
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            match self.body.poll_data(cx) {
                Poll::Pending => return StreamProgress::Pending,
                Poll::Ready(Some(Err(_))) => return StreamProgress::Cancelled,
                Poll::Ready(Some(Ok(mut chunk))) => {
                    // Flow-control windows limit the unread input; the permit limits the input that was read.
                    let _ = self.body.flow_control().release_capacity(chunk.len());
                    match &mut self.phase {
                        Phase::Receiving(r) => {
                            if !chunk.is_empty() {
                                self.message_deadline = now.saturating_add(cfg.message_timeout);
                            }
                            if let Err(status) = r.receive(&mut chunk, cfg, admission) {
                                return StreamProgress::Refuse(status);
                            }
                        }
                        Phase::Discarding(left) => match left.checked_sub(chunk.len()) {
                            Some(rest) => *left = rest,
                            None => {
                                self.reset();
                                return StreamProgress::Finished;
                            }
                        },
                        Phase::Dispatched => {}
                    }
                }
                Poll::Ready(None) => {
                    self.input_ended = true;
                    return self.end_of_input(cfg, admission);
                }
            }
        }
    }

    fn end_of_input<G: Admission<CallHead, Permit = P> + ?Sized>(
        &mut self,
        cfg: &GrpcServerConnConfig,
        admission: &mut G,
    ) -> StreamProgress<P> {
        // After END_STREAM, h2 reports a reset only on the sending half.
        let reset = self.response_sender.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready();
        if reset && !self.is_discarding() {
            return StreamProgress::Cancelled;
        }
        match std::mem::replace(&mut self.phase, Phase::Dispatched) {
            Phase::Dispatched => StreamProgress::Pending,
            Phase::Discarding(left) => {
                self.phase = Phase::Discarding(left);
                StreamProgress::Finished
            }
            Phase::Receiving(r) => match r.complete(cfg, admission) {
                Ok(parts) => {
                    let (id, deadline) = (CallId(self.id), self.deadline);
                    let CallParts { head, message, coding, wire_len, permit } = parts;
                    StreamProgress::Call(Box::new(IncomingCall {
                        id,
                        head,
                        message,
                        coding,
                        wire_len,
                        permit,
                        deadline,
                    }))
                }
                Err(status) => StreamProgress::Refuse(status),
            },
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        match &self.phase {
            Phase::Receiving(_) => earliest(self.deadline, Some(self.message_deadline)),
            Phase::Dispatched | Phase::Discarding(_) => self.deadline,
        }
    }

    /// The message stopped arriving.
    pub(super) fn is_stalled(&self, now: u64) -> bool {
        now >= self.message_deadline && self.deadline.is_none_or(|at| now < at)
    }

    /// The permit of a call whose message is being read.
    pub(super) fn incomplete_permit(&self) -> Option<&P> {
        match &self.phase {
            Phase::Receiving(r) => Some(&r.permit),
            Phase::Dispatched | Phase::Discarding(_) => None,
        }
    }

    pub(super) fn input_ended(&self) -> bool {
        self.input_ended
    }

    pub(super) fn is_dispatched(&self) -> bool {
        matches!(self.phase, Phase::Dispatched)
    }

    pub(super) fn is_discarding(&self) -> bool {
        matches!(self.phase, Phase::Discarding(_))
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        match &self.phase {
            Phase::Receiving(r) => r.message.buffered_bytes(),
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
        self.response_sender.send_reset(Reason::NO_ERROR);
    }

    // h2 rejects a response only if the stream has ended; its reset is reported separately.

    pub(super) fn respond(&mut self, message: Bytes, workspace: &Workspace) {
        let compress = !self.coding.is_identity() && message.len() >= MIN_COMPRESS_SIZE;
        let message = if compress { workspace.compress(&self.coding.in_grpc(), [&message[..]]) } else { message };
        let Some(buf) = SendBuf::new(compress, smallvec![message]) else {
            return self.respond_error(&Status::internal("reply longer than 4 GiB"), None);
        };
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
        if !self.coding.is_identity() {
            headers.insert(GRPC_ENCODING, HeaderValue::from_static(self.coding.name()));
        }
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        if let Ok(mut send) = self.response_sender.send_response(response, false) {
            let mut trailers = HeaderMap::with_capacity(1);
            trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
            let _ = send.send_data(buf, false);
            let _ = send.send_trailers(trailers);
        }
    }

    /// A "trailers-only" response.
    pub(super) fn respond_error(&mut self, status: &Status, accept: Option<&[Coding]>) {
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
        let _ = self.response_sender.send_response(response, true);
    }

    /// An HTTP response for a client that does not use gRPC.
    pub(super) fn respond_http(&mut self, status: StatusCode, text: &str) {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if let Ok(mut send) = self.response_sender.send_response(response, text.is_empty()) {
            let _ = send.send_data(SendBuf::without_prefix([Bytes::copy_from_slice(text.as_bytes())]), true);
        }
    }
}

impl<P> Receiving<P> {
    fn receive<G: Admission<CallHead, Permit = P> + ?Sized>(
        &mut self,
        chunk: &mut Bytes,
        cfg: &GrpcServerConnConfig,
        admission: &mut G,
    ) -> Result<(), Status> {
        if let Some(prefix) = self.message.read_prefix(chunk) {
            self.wire_len = prefix.len;
            admit_prefix(&mut self.permit, &self.head, prefix, cfg, admission)?;
            self.admitted = true;
        }
        if self.admitted {
            let total = self.message.buffered_bytes_with(chunk.len());
            if total > self.message.buffered_bytes() {
                admission.grow(&mut self.permit, total as u64)?;
            }
            self.message.read_body(chunk);
            if !chunk.is_empty() {
                return Err(Status::internal(
                    "cardinality violation: received multiple request messages for non-client-streaming RPC",
                ));
            }
        }
        Ok(())
    }

    fn complete<G: Admission<CallHead, Permit = P> + ?Sized>(
        mut self,
        cfg: &GrpcServerConnConfig,
        admission: &mut G,
    ) -> Result<CallParts<P>, Status> {
        if self.message.is_empty() {
            return Err(Status::internal(
                "cardinality violation: received no request message from non-client-streaming RPC",
            ));
        }
        if !self.message.is_complete() {
            return Err(Status::internal("unexpected EOF"));
        }
        let compressed = self.message.is_compressed();
        let mut parts = CallParts {
            message: self.message.take(),
            coding: Coding::Identity,
            head: self.head,
            wire_len: self.wire_len,
            permit: self.permit,
        };
        if compressed {
            parts.decompress(cfg, admission)?;
        }
        Ok(parts)
    }
}

/// The parts of an [`IncomingCall`].
struct CallParts<P> {
    head: CallHead,
    message: Bytes,
    coding: Coding,
    wire_len: u32,
    permit: P,
}

impl<P> CallParts<P> {
    /// Decompresses a message, unless its content is longer than [`GrpcServerConnConfig::inline_decompress`].
    fn decompress<G: Admission<CallHead, Permit = P> + ?Sized>(
        &mut self,
        cfg: &GrpcServerConnConfig,
        admission: &mut G,
    ) -> Result<(), Status> {
        let limit = cfg.max_recv_message.min(cfg.inline_decompress);
        let compressed = self.message.clone();
        let may_fit = compressed.len() <= limit as usize;
        let content = match may_fit {
            true => {
                let grow = |to| admission.grow(&mut self.permit, to);
                cfg.workspace.decompress(&self.head.encoding, compressed, u64::from(limit), grow)
            }
            false => Err(DecompressError::TooLarge(u64::from(limit))),
        };
        match content {
            Ok(content) => self.message = content,
            Err(DecompressError::TooLarge(_) | DecompressError::BlockTooLarge(_)) if limit < cfg.max_recv_message => {
                self.coding = self.head.encoding.clone();
            }
            Err(DecompressError::Refused(status)) => return Err(status),
            Err(e) => return Err(decompress_status(&e)),
        }
        Ok(())
    }
}

/// grpc-go's status for a message that can't be decompressed. A refusal by `grow` has its own status.
#[must_use]
pub fn decompress_status<E>(e: &DecompressError<E>) -> Status
where
    DecompressError<E>: std::fmt::Display,
{
    match e {
        DecompressError::TooLarge(max) | DecompressError::BlockTooLarge(max) => {
            Status::resource_exhausted(format!("grpc: received message after decompression larger than max {max}"))
        }
        other => Status::internal(format!("grpc: failed to decompress the received message: {other}")),
    }
}

fn admit_prefix<G: Admission<CallHead> + ?Sized>(
    permit: &mut G::Permit,
    head: &CallHead,
    prefix: MessagePrefix,
    cfg: &GrpcServerConnConfig,
    admission: &mut G,
) -> Result<(), Status> {
    match prefix.compressed_flag {
        0 => {}
        1 if head.encoding.is_identity() => {
            return Err(Status::internal("grpc: compressed flag set with identity or empty encoding"));
        }
        1 => {}
        other => return Err(Status::internal(format!("grpc: received unexpected payload format {other}"))),
    }
    if prefix.len > cfg.max_recv_message {
        return Err(admission.too_large(head, Some(u64::from(prefix.len)), u64::from(cfg.max_recv_message)));
    }
    admission.admit_message(permit, head, prefix.len)
}

fn admit_head<G: Admission<CallHead> + ?Sized>(
    parts: http::request::Parts,
    cfg: &GrpcServerConnConfig,
    admission: &mut G,
) -> Result<(CallHead, G::Permit), Refusal> {
    if parts.method != Method::POST {
        let text = format!("Received a HEADERS frame with :method {:?} which should be POST\n", parts.method.as_str());
        let text = if parts.method == Method::HEAD { String::new() } else { text };
        return Err(Refusal::Http(StatusCode::METHOD_NOT_ALLOWED, text));
    }
    let content_type = parts.headers.get(CONTENT_TYPE);
    if !is_grpc_content_type(content_type) {
        let received = content_type.map_or(&b""[..], HeaderValue::as_bytes);
        let text = format!("invalid gRPC request content-type {:?}\n", String::from_utf8_lossy(received));
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
    let method = admission.route(parts.uri.path()).map_err(Refusal::Grpc)?;
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
    let permit = admission.admit_head(&head).map_err(Refusal::Grpc)?;
    if !cfg.keep_metadata {
        head.metadata = HeaderMap::new();
    }
    Ok((head, permit))
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
