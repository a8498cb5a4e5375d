//! One request on an HTTP/2 connection, from its head until its response is sent and its input has ended.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::admission::Admission;
use crate::connection::earliest;
use crate::grpc::SendBuf;
use crate::h1::{
    HttpServerConnConfig, IncomingRequest, Request, RequestHead, RequestId, Response, STALL_TIMEOUT, may_have_body,
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
    /// Time limit for the last byte of the response.
    write_deadline: Option<u64>,
    /// This reference stays here; each [`BodyBuf`] that h2 holds has another one.
    body_handle: Rc<()>,
    /// Time limit for h2 to send the last piece given to it.
    stall_deadline: Option<u64>,
}

/// How far a request is.
///
/// ```text
///  Reading --END_STREAM--> Dispatched --respond--> Responded
///     |                        |                       ^
///     |                        +--respond_streaming--> Streaming --last piece
///     +--refused, time limit--> Discarding --END_STREAM--^
/// ```
///
/// A stream is removed when its input has ended and h2 has dropped its response, when the client resets it, or when
/// more than [`MAX_DISCARD`] would be discarded.
enum Phase<P> {
    /// The body of an admitted request is being read.
    Reading(Box<ReadingBody<P>>),
    /// The application has the request; the client has sent everything.
    Dispatched,
    /// The head of the response is sent, and its body follows in pieces.
    Streaming(SendStream<BodyBuf>),
    /// The request was refused while the client sends: at most `left` more bytes are discarded, until `deadline`.
    Discarding { left: u64, deadline: u64 },
    /// The whole response was given to h2, and the client has sent everything.
    Responded,
}

struct ReadingBody<P> {
    request: IncomingRequest<P>,
    /// `100 Continue` is expected and not sent yet.
    awaits_continue: bool,
    /// Time limit for the end of the body.
    read_deadline: Option<u64>,
    /// Time limit for its next bytes.
    progress_deadline: u64,
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
    pub(super) fn open<D: Admission<RequestHead, Permit = P> + ?Sized>(
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
            body,
            phase: Phase::Dispatched,
            head_only: parts.method == http::Method::HEAD,
            write_deadline: deadline_after(cfg.write_timeout),
            body_handle: Rc::new(()),
            stall_deadline: None,
        };
        match admit_head(&parts, cfg, admission) {
            Ok(request) => {
                stream.phase = Phase::Reading(Box::new(ReadingBody {
                    awaits_continue: request.head.expects_continue() && !stream.body.is_end_stream(),
                    request,
                    read_deadline: deadline_after(cfg.read_timeout),
                    progress_deadline: now.saturating_add(cfg.body_timeout),
                }));
            }
            Err(response) => stream.refuse(response, now),
        }
        stream
    }

    /// Reads all input that has arrived for this request.
    pub(super) fn read<D: Admission<RequestHead, Permit = P> + ?Sized>(
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
                    // Flow-control windows limit the unread input; the permit limits the input that was read.
                    let _ = self.body.flow_control().release_capacity(chunk.len());
                    match &mut self.phase {
                        Phase::Reading(reading) => {
                            reading.awaits_continue = false; // the client did not wait for `100 Continue`
                            if !chunk.is_empty() {
                                reading.progress_deadline = now.saturating_add(cfg.body_timeout);
                            }
                            if let Err(response) = reading.request.append(&chunk, admission) {
                                return StreamProgress::Refuse(response);
                            }
                        }
                        Phase::Discarding { left, .. } => match left.checked_sub(chunk.len() as u64) {
                            Some(rest) => *left = rest,
                            None => return StreamProgress::Reset,
                        },
                        Phase::Dispatched | Phase::Streaming(_) | Phase::Responded => {}
                    }
                }
                Poll::Ready(None) => return self.end_of_input(),
            }
        }
    }

    fn end_of_input(&mut self) -> StreamProgress<P> {
        // After END_STREAM, h2 reports a reset only on the sending half.
        if let Poll::Ready(Ok(_)) = self.response_sender.poll_reset(&mut Context::from_waker(Waker::noop())) {
            return StreamProgress::Reset;
        }
        match std::mem::replace(&mut self.phase, Phase::Dispatched) {
            Phase::Reading(reading) => {
                StreamProgress::Request(Box::new(reading.request.complete(RequestId(u64::from(self.id)))))
            }
            Phase::Discarding { .. } => {
                self.phase = Phase::Responded;
                StreamProgress::Pending
            }
            other => {
                self.phase = other;
                StreamProgress::Pending
            }
        }
    }

    /// Sends `100 Continue` to a client that expects it and waits.
    pub(super) fn send_continue(&mut self) {
        if let Phase::Reading(reading) = &mut self.phase
            && std::mem::take(&mut reading.awaits_continue)
        {
            let mut interim = http::Response::new(());
            *interim.status_mut() = StatusCode::CONTINUE;
            let _ = self.response_sender.send_informational(interim);
        }
    }

    /// Responds without the application; further input is discarded. Drops the permit.
    pub(super) fn refuse(&mut self, response: Response, now: u64) {
        let deadline = now.saturating_add(DISCARD_TIMEOUT);
        self.phase = match self.body.is_end_stream() {
            true => Phase::Responded,
            false => Phase::Discarding { left: MAX_DISCARD, deadline },
        };
        let _ = self.send_head_and_body(response, false);
    }

    /// Responds to a request that the application has.
    pub(super) fn respond_whole(&mut self, response: Response) {
        self.phase = Phase::Responded;
        let _ = self.send_head_and_body(response, false);
    }

    /// Sends a head; the body follows with [`RequestStream::send_data`]. False when no body is to follow.
    pub(super) fn respond_streaming(&mut self, response: Response) -> bool {
        self.phase = Phase::Responded;
        if let Some(sender) = self.send_head_and_body(response, true) {
            self.phase = Phase::Streaming(sender);
        }
        self.is_streaming()
    }

    /// Returns the sender of the body, if it is to follow in pieces. h2 rejects a response only if the stream has ended;
    /// its reset is reported separately.
    fn send_head_and_body(&mut self, response: Response, is_streaming: bool) -> Option<SendStream<BodyBuf>> {
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
        let mut sender = self.response_sender.send_response(head, !sends_body).ok().filter(|_| sends_body)?;
        if is_streaming {
            return Some(sender);
        }
        let buf = SendBuf::without_prefix(response.body);
        let _ = sender.send_data(BodyBuf { buf, _handle: Rc::clone(&self.body_handle) }, true);
        None
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

    /// The request was refused: the application never gets it.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.phase, Phase::Discarding { .. } | Phase::Responded)
    }

    /// The response is sent, and h2 has dropped its body.
    pub(super) fn is_response_sent(&self) -> bool {
        matches!(self.phase, Phase::Discarding { .. } | Phase::Responded) && self.is_body_dropped()
    }

    /// h2 has dropped everything that it was given.
    fn is_body_dropped(&self) -> bool {
        Rc::strong_count(&self.body_handle) == 1
    }

    /// Whether the body of the response follows in pieces.
    pub(super) fn is_streaming(&self) -> bool {
        matches!(self.phase, Phase::Streaming(_))
    }

    /// Whether the next piece can be sent.
    pub(super) fn can_send_data(&self) -> bool {
        self.is_streaming() && self.is_body_dropped()
    }

    /// Passes the next piece to h2; an empty one ends the body.
    pub(super) fn send_data(&mut self, now: u64, piece: Bytes) {
        let Phase::Streaming(sender) = &mut self.phase else { return };
        let last = piece.is_empty();
        let body = BodyBuf { buf: SendBuf::without_prefix([piece]), _handle: Rc::clone(&self.body_handle) };
        let _ = sender.send_data(body, last);
        self.stall_deadline = Some(now.saturating_add(STALL_TIMEOUT));
        if last {
            self.phase = Phase::Responded;
        }
    }

    /// The client has sent everything.
    pub(super) fn input_ended(&self) -> bool {
        !matches!(self.phase, Phase::Reading(_) | Phase::Discarding { .. })
    }

    pub(super) fn is_input_overdue(&self, now: u64) -> bool {
        matches!(self.phase, Phase::Reading(_)) && self.input_deadline().is_some_and(|at| now >= at)
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
            Phase::Reading(reading) => earliest(reading.read_deadline, Some(reading.progress_deadline)),
            Phase::Discarding { deadline, .. } => Some(*deadline),
            Phase::Dispatched | Phase::Streaming(_) | Phase::Responded => None,
        }
    }

    /// The permit of a request whose body is being read.
    pub(super) fn incomplete_permit(&self) -> Option<&P> {
        if let Phase::Reading(reading) = &self.phase { Some(reading.request.permit()) } else { None }
    }

    /// The time limit for the last byte of the response; returned once.
    pub(super) fn take_write_deadline(&mut self) -> Option<u64> {
        self.write_deadline.take()
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        if let Phase::Reading(reading) = &self.phase { reading.request.buffered_bytes() } else { 0 }
    }
}

fn admit_head<D: Admission<RequestHead> + ?Sized>(
    parts: &http::request::Parts,
    cfg: &HttpServerConnConfig,
    admission: &mut D,
) -> Result<IncomingRequest<D::Permit>, Response> {
    let head = RequestHead::from_parts(parts).map_err(|error| {
        let (status, text) = error.status_and_text();
        Response::text(status, text)
    })?;
    IncomingRequest::admit(head, cfg.max_body, admission)
}
