//! One request on an HTTP/2 connection, from its head until its response is sent and its input has ended.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::earliest;
use crate::grpc::SendBuf;
use crate::h1::{
    Admission, BodyLimit, HttpServerConnConfig, IncomingRequest, Request, RequestHead, RequestId, Response,
    STALL_TIMEOUT, may_have_body,
};

/// What a refused client may still send before its stream is reset, as in HTTP/1.
const MAX_DISCARD: u64 = 256 << 10;
/// How long a refused client may continue to send before its stream is reset.
const DISCARD_TIMEOUT: u64 = 10_000_000_000;
/// Fields that are not allowed in HTTP/2 (RFC 9113, 8.2.2), and `content-length`, which is set here.
const FORBIDDEN_FIELDS: [&str; 7] =
    ["content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade", "te"];

/// An outgoing body. h2 drops it once it was framed; the drop shows that h2 has finished with it.
pub(super) struct BodyBuf {
    buf: SendBuf,
    _handle: Rc<()>,
}

impl Buf for BodyBuf {
    fn remaining(&self) -> usize {
        self.buf.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.buf.chunk()
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [std::io::IoSlice<'a>]) -> usize {
        self.buf.chunks_vectored(dst)
    }

    fn advance(&mut self, n: usize) {
        self.buf.advance(n);
    }
}

pub(super) struct RequestStream<P> {
    id: u32,
    response_sender: SendResponse<BodyBuf>,
    body: RecvStream,
    phase: Phase<P>,
    head_only: bool,
    /// `100 Continue` is expected and not sent yet.
    continue_pending: bool,
    /// The client has sent everything.
    input_ended: bool,
    read_deadline: Option<u64>,
    /// Time limit for the next bytes of the body.
    body_deadline: u64,
    write_deadline: Option<u64>,
    /// This reference stays here; each [`BodyBuf`] that h2 holds has another one.
    body_handle: Rc<()>,
    /// The body of the response follows in pieces.
    body_sender: Option<SendStream<BodyBuf>>,
    /// Time limit for h2 to send the last piece given to it.
    stall_deadline: Option<u64>,
}

enum Phase<P> {
    Body(Box<IncomingRequest<P>>),
    Dispatched,
    /// At most this many more bytes are read and discarded.
    Responded(u64),
}

/// The result of reading a stream.
pub(super) enum StreamProgress<P> {
    Pending,
    Request(Box<Request<P>>),
    Refuse(Response),
    /// The client reset the stream, or sends more than is discarded.
    Reset,
}

impl<P> RequestStream<P> {
    /// Calls [`Admission::admit_head`]; a stream that it refuses is returned with its response already sent.
    pub(super) fn open<D: Admission<Permit = P> + ?Sized>(
        request: http::Request<RecvStream>,
        response_sender: SendResponse<BodyBuf>,
        now: u64,
        cfg: &HttpServerConnConfig,
        admission: &mut D,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let deadline_after = |limit: Option<u64>| limit.map(|l| now.saturating_add(l));
        let mut stream = Self {
            id: response_sender.stream_id().as_u32(),
            response_sender,
            input_ended: body.is_end_stream(),
            body,
            phase: Phase::Dispatched,
            head_only: parts.method == http::Method::HEAD,
            continue_pending: false,
            read_deadline: deadline_after(cfg.read_timeout),
            body_deadline: now.saturating_add(cfg.body_timeout),
            write_deadline: deadline_after(cfg.write_timeout),
            body_handle: Rc::new(()),
            body_sender: None,
            stall_deadline: None,
        };
        match admit_head(&parts, cfg, admission) {
            Ok(incoming) => {
                stream.continue_pending = incoming.head.expects_continue() && !stream.input_ended;
                stream.phase = Phase::Body(Box::new(incoming));
            }
            Err(response) => stream.refuse(response, now),
        }
        stream
    }

    /// Reads all input that has arrived for this request.
    pub(super) fn read<D: Admission<Permit = P> + ?Sized>(
        &mut self,
        now: u64,
        cfg: &HttpServerConnConfig,
        admission: &mut D,
    ) -> StreamProgress<P> {
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            match self.body.poll_data(cx) {
                Poll::Pending => return StreamProgress::Pending,
                Poll::Ready(Some(Err(_))) => return StreamProgress::Reset,
                Poll::Ready(Some(Ok(chunk))) => {
                    self.continue_pending = false; // the client did not wait for `100 Continue`
                    // Flow-control windows limit the unread input; the permit limits the input that was read.
                    let _ = self.body.flow_control().release_capacity(chunk.len());
                    match &mut self.phase {
                        Phase::Body(incoming) => {
                            if !chunk.is_empty() {
                                self.body_deadline = now.saturating_add(cfg.body_timeout);
                            }
                            if let Err(response) = incoming.append(&chunk, admission) {
                                return StreamProgress::Refuse(response);
                            }
                        }
                        Phase::Responded(left) => match left.checked_sub(chunk.len() as u64) {
                            Some(rest) => *left = rest,
                            None => return StreamProgress::Reset,
                        },
                        Phase::Dispatched => {}
                    }
                }
                Poll::Ready(None) => return self.end_of_input(),
            }
        }
    }

    fn end_of_input(&mut self) -> StreamProgress<P> {
        self.input_ended = true;
        // After END_STREAM, h2 reports a reset only on the sending half.
        if let Poll::Ready(Ok(_)) = self.response_sender.poll_reset(&mut Context::from_waker(Waker::noop())) {
            return StreamProgress::Reset;
        }
        match std::mem::replace(&mut self.phase, Phase::Dispatched) {
            Phase::Body(incoming) => {
                StreamProgress::Request(Box::new(incoming.complete(RequestId(u64::from(self.id)))))
            }
            other => {
                self.phase = other;
                StreamProgress::Pending
            }
        }
    }

    /// Sends `100 Continue` to a client that expects it and waits.
    pub(super) fn send_continue(&mut self) {
        if std::mem::take(&mut self.continue_pending) && matches!(self.phase, Phase::Body(_)) {
            let mut interim = http::Response::new(());
            *interim.status_mut() = StatusCode::CONTINUE;
            let _ = self.response_sender.send_informational(interim);
        }
    }

    /// Responds without the application; further input is discarded. Drops the permit.
    pub(super) fn refuse(&mut self, response: Response, now: u64) {
        self.read_deadline = Some(now.saturating_add(DISCARD_TIMEOUT));
        self.respond_whole(response);
    }

    // h2 rejects a response only if the stream has ended; its reset is reported separately.
    pub(super) fn respond_whole(&mut self, response: Response) {
        self.send_head_and_body(response, false);
    }

    /// Sends a head; the body follows with [`RequestStream::send_data`]. False when no body is to follow.
    pub(super) fn respond_streaming(&mut self, response: Response) -> bool {
        self.send_head_and_body(response, true);
        self.is_streaming()
    }

    fn send_head_and_body(&mut self, response: Response, is_streaming: bool) {
        self.continue_pending = false;
        self.phase = Phase::Responded(MAX_DISCARD);
        let status = StatusCode::from_u16(response.status).ok().filter(|s| (200..600).contains(&s.as_u16()));
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::with_capacity(response.headers.len() + 2);
        if !response.content_type.is_empty()
            && let Ok(value) = HeaderValue::from_str(response.content_type)
        {
            headers.insert(CONTENT_TYPE, value);
        }
        for (name, value) in &response.headers {
            if !FORBIDDEN_FIELDS.iter().any(|dropped| name.eq_ignore_ascii_case(dropped))
                && let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value))
            {
                headers.append(name, value);
            }
        }
        let length = response.body.iter().map(Bytes::len).sum::<usize>();
        let has_body = may_have_body(status.as_u16());
        if has_body && !is_streaming {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let sends_body = has_body && !self.head_only && (length > 0 || is_streaming);
        let mut head = http::Response::new(());
        *head.status_mut() = status;
        *head.headers_mut() = headers;
        if let Ok(mut send) = self.response_sender.send_response(head, !sends_body)
            && sends_body
        {
            if is_streaming {
                self.body_sender = Some(send);
                return;
            }
            let _ = send.send_data(
                BodyBuf { buf: SendBuf::without_prefix(response.body), _handle: Rc::clone(&self.body_handle) },
                true,
            );
        }
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        self.response_sender.send_reset(reason);
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn is_dispatched(&self) -> bool {
        matches!(self.phase, Phase::Dispatched)
    }

    pub(super) fn is_responded(&self) -> bool {
        matches!(self.phase, Phase::Responded(_))
    }

    /// The response is sent, and h2 has dropped its body.
    pub(super) fn is_response_sent(&self) -> bool {
        self.is_responded() && self.body_sender.is_none() && self.is_body_dropped()
    }

    /// h2 has dropped everything that it was given.
    fn is_body_dropped(&self) -> bool {
        Rc::strong_count(&self.body_handle) == 1
    }

    /// Whether the body of the response follows in pieces.
    pub(super) fn is_streaming(&self) -> bool {
        self.body_sender.is_some()
    }

    /// Whether the next piece can be sent.
    pub(super) fn can_send_data(&self) -> bool {
        self.is_streaming() && self.is_body_dropped()
    }

    /// Passes the next piece to h2; an empty one ends the body.
    pub(super) fn send_data(&mut self, now: u64, piece: Bytes) {
        let last = piece.is_empty();
        let body = BodyBuf { buf: SendBuf::without_prefix([piece]), _handle: Rc::clone(&self.body_handle) };
        if let Some(send) = &mut self.body_sender {
            let _ = send.send_data(body, last);
            self.stall_deadline = Some(now.saturating_add(STALL_TIMEOUT));
        }
        if last {
            self.body_sender = None;
        }
    }

    pub(super) fn input_ended(&self) -> bool {
        self.input_ended
    }

    pub(super) fn is_input_overdue(&self, now: u64) -> bool {
        matches!(self.phase, Phase::Body(_)) && self.input_deadline().is_some_and(|at| now >= at)
    }

    /// The next time limit: for input, or for the response.
    pub(super) fn deadline(&self) -> Option<u64> {
        let writing = earliest(
            self.write_deadline.filter(|_| !self.is_response_sent()),
            self.stall_deadline.filter(|_| !self.is_body_dropped()),
        );
        earliest(self.input_deadline(), writing)
    }

    /// Time limit for the end of the input, or for the next bytes of it.
    fn input_deadline(&self) -> Option<u64> {
        match &self.phase {
            _ if self.input_ended => None,
            Phase::Body(_) => earliest(self.read_deadline, Some(self.body_deadline)),
            Phase::Dispatched | Phase::Responded(_) => self.read_deadline,
        }
    }

    /// The permit of a request whose body is being read.
    pub(super) fn incomplete_permit(&self) -> Option<&P> {
        match &self.phase {
            Phase::Body(incoming) => Some(incoming.permit()),
            Phase::Dispatched | Phase::Responded(_) => None,
        }
    }

    /// The time limit for the last byte of the response; returned once.
    pub(super) fn take_write_deadline(&mut self) -> Option<u64> {
        self.write_deadline.take()
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        match &self.phase {
            Phase::Body(incoming) => incoming.buffered_bytes(),
            _ => 0,
        }
    }
}

fn admit_head<D: Admission + ?Sized>(
    parts: &http::request::Parts,
    cfg: &HttpServerConnConfig,
    admission: &mut D,
) -> Result<IncomingRequest<D::Permit>, Response> {
    let head = RequestHead::from_parts(parts).map_err(|error| {
        let (status, text) = error.status_and_text();
        Response::text(status, text)
    })?;
    let (permit, BodyLimit(limit)) = admission.admit_head(&head)?;
    let limit = limit.min(cfg.max_body);
    if head.content_length().is_some_and(|n| n > limit) {
        return Err(admission.body_too_large(&head));
    }
    Ok(IncomingRequest::new(head, limit, permit))
}
