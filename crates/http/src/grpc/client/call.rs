//! One call on a client connection, from its request to its status.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::config::GrpcClientConnConfig;
use crate::coding::{Coding, DecompressError};
use crate::grpc::header::{GRPC_DETAILS, GRPC_ENCODING, GRPC_MESSAGE, GRPC_STATUS, is_grpc_content_type};
use crate::grpc::message::{MessageBuffer, SendBuf};
use crate::status::{Code, Status, base64_decode, client_code_from_http, percent_decode};

pub(super) struct ActiveCall {
    id: u32,
    send: SendStream<SendBuf>,
    state: ReadState,
    message: MessageBuffer,
    coding: Coding,
    deadline: Option<u64>,
}

enum ReadState {
    Head(ResponseFuture),
    Body(RecvStream),
    Finished,
}

/// The result of reading a call.
pub(super) enum CallProgress {
    Pending,
    Completed(Result<Bytes, Status>),
    /// The peer refused the stream without processing it.
    Refused(Status),
    /// The connection ended, or the peer sent GOAWAY with a last stream id below this stream.
    ConnectionLost,
}

impl ActiveCall {
    pub(super) fn new(id: u32, response: ResponseFuture, send: SendStream<SendBuf>, deadline: Option<u64>) -> Self {
        Self {
            id,
            send,
            state: ReadState::Head(response),
            message: MessageBuffer::default(),
            coding: Coding::Identity,
            deadline,
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Resets the stream. h2 sends no frame if the stream is closed and all its frames are sent.
    pub(super) fn reset(&mut self) {
        self.send.send_reset(Reason::CANCEL);
    }

    pub(super) fn read(&mut self, cfg: &GrpcClientConnConfig) -> CallProgress {
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            match &mut self.state {
                ReadState::Finished => return CallProgress::Pending,
                ReadState::Head(future) => match Pin::new(future).poll(cx) {
                    Poll::Pending => return CallProgress::Pending,
                    Poll::Ready(Err(e)) => return progress_after_error(&e),
                    Poll::Ready(Ok(response)) => {
                        if let Err(status) = self.receive_head(response) {
                            self.state = ReadState::Finished;
                            return CallProgress::Completed(Err(status));
                        }
                    }
                },
                ReadState::Body(body) => match body.poll_data(cx) {
                    Poll::Pending => return CallProgress::Pending,
                    Poll::Ready(Some(Err(e))) => return progress_after_error(&e),
                    Poll::Ready(Some(Ok(mut chunk))) => {
                        let _ = body.flow_control().release_capacity(chunk.len());
                        if let Err(status) = self.receive_data(&mut chunk, cfg) {
                            return CallProgress::Completed(Err(status));
                        }
                    }
                    Poll::Ready(None) => {
                        let trailers = match body.poll_trailers(cx) {
                            Poll::Pending => return CallProgress::Pending,
                            Poll::Ready(Err(e)) => return progress_after_error(&e),
                            Poll::Ready(Ok(trailers)) => trailers,
                        };
                        return CallProgress::Completed(match trailers {
                            None => Err(Status::internal("server closed the stream without sending trailers")),
                            Some(trailers) => match parse_status(&trailers) {
                                None => Err(Status::new(Code::Unknown, "")),
                                Some(status) if !status.is_ok() => Err(status),
                                Some(_) => self.complete(cfg),
                            },
                        });
                    }
                },
            }
        }
    }

    fn receive_head(&mut self, response: Response<RecvStream>) -> Result<(), Status> {
        let (parts, body) = response.into_parts();
        let content_type = parts.headers.get(CONTENT_TYPE);
        if !is_grpc_content_type(content_type) {
            return Err(not_grpc_status(parts.status, content_type));
        }
        if let Some(status) = parse_status(&parts.headers) {
            // "Trailers-only". For a unary call, OK without a message is an error.
            return Err(if status.is_ok() { no_message_status() } else { status });
        }
        if body.is_end_stream() {
            let code = client_code_from_http(parts.status.as_u16());
            return Err(if parts.status == StatusCode::OK {
                Status::new(Code::Unknown, "")
            } else {
                Status::new(code, http_status_text(parts.status))
            });
        }
        let name = parts.headers.get(&GRPC_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
        self.coding = Coding::parse(name).map_err(|e| {
            Status::internal(format!("grpc: Decompressor is not installed for grpc-encoding {:?}", e.0))
        })?;
        self.state = ReadState::Body(body);
        Ok(())
    }

    fn receive_data(&mut self, chunk: &mut Bytes, cfg: &GrpcClientConnConfig) -> Result<(), Status> {
        if let Some(prefix) = self.message.read_prefix(chunk) {
            match prefix.compressed_flag {
                0 => {}
                1 if self.coding.is_identity() => {
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
        }
        if !chunk.is_empty() {
            self.message.read_body(chunk);
        }
        if chunk.is_empty() {
            return Ok(());
        }
        Err(Status::internal(
            "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message",
        ))
    }

    fn complete(&mut self, cfg: &GrpcClientConnConfig) -> Result<Bytes, Status> {
        if self.message.is_empty() {
            return Err(no_message_status());
        }
        if !self.message.is_complete() {
            return Err(Status::internal("unexpected EOF"));
        }
        let compressed = self.message.is_compressed();
        let message = self.message.take();
        if !compressed {
            return Ok(message);
        }
        let limit = u64::from(cfg.max_recv_message);
        cfg.workspace.decompress(&self.coding, message, limit, |_| Ok::<(), ()>(())).map_err(|e| match e {
            DecompressError::TooLarge(max) | DecompressError::BlockTooLarge(max) => {
                Status::resource_exhausted(format!("grpc: received message after decompression larger than max {max}"))
            }
            other => Status::internal(format!("grpc: failed to decompress the received message: {other}")),
        })
    }
}

fn no_message_status() -> Status {
    Status::internal("cardinality violation: received no response message from non-server-streaming RPC")
}

/// The status in headers or trailers, with the content of its details.
fn parse_status(headers: &HeaderMap) -> Option<Status> {
    let raw = headers.get(&GRPC_STATUS)?.as_bytes();
    let number = std::str::from_utf8(raw).ok().and_then(|t| t.parse::<u32>().ok());
    let Some(number) = number else {
        let text = format!("transport: malformed grpc-status: {:?}", String::from_utf8_lossy(raw));
        return Some(Status::internal(text));
    };
    let mut status = Status::new(Code::from_number(i64::from(number)), "");
    if status.is_ok() {
        return Some(status);
    }
    if let Some(message) = headers.get(&GRPC_MESSAGE) {
        status.message = percent_decode(message.as_bytes()).into();
    }
    let details = headers.get(&GRPC_DETAILS).and_then(|v| base64_decode(v.as_bytes())).map(Bytes::from);
    // Like grpc-go, use the details only if their code is the code of the header.
    if let Some(full) = details.and_then(Status::from_proto).filter(|full| full.code == status.code) {
        status.retry_after = full.retry_after;
        status.details = full.details;
    }
    Some(status)
}

fn http_status_text(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    format!("unexpected HTTP status code received from server: {} ({reason})", status.as_u16())
}

fn not_grpc_status(status: StatusCode, content_type: Option<&HeaderValue>) -> Status {
    let problem = match content_type {
        None => String::from("malformed header: missing HTTP content-type"),
        Some(received) => {
            format!("transport: received unexpected content-type {:?}", String::from_utf8_lossy(received.as_bytes()))
        }
    };
    match status {
        StatusCode::OK => Status::new(Code::Unknown, problem),
        _ => Status::new(client_code_from_http(status.as_u16()), format!("{}; {problem}", http_status_text(status))),
    }
}

/// Maps RST_STREAM codes as grpc-go does; every other error means that the connection failed.
fn progress_after_error(e: &h2::Error) -> CallProgress {
    let Some(reason) = e.reason().filter(|_| e.is_reset()) else { return CallProgress::ConnectionLost };
    let code = match reason {
        Reason::REFUSED_STREAM => Code::Unavailable,
        Reason::CANCEL => Code::Canceled,
        Reason::ENHANCE_YOUR_CALM | Reason::FLOW_CONTROL_ERROR => Code::ResourceExhausted,
        Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    };
    let text = if e.is_remote() {
        format!("stream terminated by RST_STREAM with error code: {reason:?}")
    } else {
        format!("stream error: {e}")
    };
    let status = Status::new(code, text);
    if reason == Reason::REFUSED_STREAM && e.is_remote() {
        CallProgress::Refused(status)
    } else {
        CallProgress::Completed(Err(status))
    }
}
