//! One request on an HTTP/2 connection, from its head until its answer is sent and its input has ended.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::earliest;
use crate::grpc::Rope;
use crate::h1::{BodyLimit, Door, H1Config, Incoming, Request, RequestHead, RequestId, Response, STALL, may_have_body};

/// What a refused client may still send before its stream is reset, as in HTTP/1.
const DISCARD: u64 = 256 << 10;
/// How long a refused client may continue to send before its stream is reset.
const DISCARD_PATIENCE: u64 = 10_000_000_000;
/// Fields that are not allowed in HTTP/2 (RFC 9113, 8.2.2), and `content-length`, which is set here.
const DROPPED: [&str; 7] =
    ["content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade", "te"];

/// An outgoing body. h2 drops it once it was framed; the drop shows that h2 has finished with it.
pub(super) struct Answer {
    rope: Rope,
    _alive: Rc<()>,
}

impl Buf for Answer {
    fn remaining(&self) -> usize {
        self.rope.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.rope.chunk()
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [std::io::IoSlice<'a>]) -> usize {
        self.rope.chunks_vectored(dst)
    }

    fn advance(&mut self, n: usize) {
        self.rope.advance(n);
    }
}

pub(super) struct Stream<P> {
    id: u32,
    respond: SendResponse<Answer>,
    body: RecvStream,
    phase: Phase<P>,
    head_only: bool,
    /// An `Expect: 100-continue` is not answered yet.
    go_on: bool,
    /// The client has sent everything.
    ended: bool,
    read_by: Option<u64>,
    /// Time limit for the next bytes of the body.
    body_by: u64,
    write_by: Option<u64>,
    /// This reference stays here; each [`Answer`] that h2 holds has another one.
    alive: Rc<()>,
    /// The body of the answer follows in pieces.
    streaming: Option<SendStream<Answer>>,
    /// Time limit for h2 to send the last piece given to it.
    stall_by: Option<u64>,
}

enum Phase<P> {
    Body(Box<Incoming<P>>),
    WithApp,
    /// At most this many more bytes are read and discarded.
    Answered(u64),
}

/// The result of reading a stream.
pub(super) enum Step<P> {
    Wait,
    Request(Box<Request<P>>),
    Refuse(Response),
    /// The client reset the stream, or sends more than is discarded.
    Gone,
}

impl<P> Stream<P> {
    /// Calls [`Door::head`]; a stream that it refuses is returned already answered.
    pub(super) fn open<D: Door<Permit = P> + ?Sized>(
        request: http::Request<RecvStream>,
        respond: SendResponse<Answer>,
        now: u64,
        cfg: &H1Config,
        door: &mut D,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let after = |limit: Option<u64>| limit.map(|l| now.saturating_add(l));
        let mut stream = Self {
            id: respond.stream_id().as_u32(),
            respond,
            ended: body.is_end_stream(),
            body,
            phase: Phase::WithApp,
            head_only: parts.method == http::Method::HEAD,
            go_on: false,
            read_by: after(cfg.read_timeout),
            body_by: now.saturating_add(cfg.body_timeout),
            write_by: after(cfg.write_timeout),
            alive: Rc::new(()),
            streaming: None,
            stall_by: None,
        };
        match admit(&parts, cfg, door) {
            Ok(incoming) => {
                stream.go_on = incoming.head.expects_continue() && !stream.ended;
                stream.phase = Phase::Body(Box::new(incoming));
            }
            Err(response) => stream.refuse(response, now),
        }
        stream
    }

    /// Reads all input that has arrived for this request.
    pub(super) fn read<D: Door<Permit = P> + ?Sized>(&mut self, now: u64, cfg: &H1Config, door: &mut D) -> Step<P> {
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            match self.body.poll_data(cx) {
                Poll::Pending => return Step::Wait,
                Poll::Ready(Some(Err(_))) => return Step::Gone,
                Poll::Ready(Some(Ok(chunk))) => {
                    self.go_on = false; // the client did not wait for `100 Continue`
                    // Flow-control windows limit the unread input; the permit limits the input that was read.
                    let _ = self.body.flow_control().release_capacity(chunk.len());
                    match &mut self.phase {
                        Phase::Body(incoming) => {
                            if !chunk.is_empty() {
                                self.body_by = now.saturating_add(cfg.body_timeout);
                            }
                            if let Err(response) = incoming.take(&chunk, door) {
                                return Step::Refuse(response);
                            }
                        }
                        Phase::Answered(left) => match left.checked_sub(chunk.len() as u64) {
                            Some(rest) => *left = rest,
                            None => return Step::Gone,
                        },
                        Phase::WithApp => {}
                    }
                }
                Poll::Ready(None) => return self.end_of_input(),
            }
        }
    }

    fn end_of_input(&mut self) -> Step<P> {
        self.ended = true;
        // After END_STREAM, h2 reports a reset only on the sending half.
        if let Poll::Ready(Ok(_)) = self.respond.poll_reset(&mut Context::from_waker(Waker::noop())) {
            return Step::Gone;
        }
        match std::mem::replace(&mut self.phase, Phase::WithApp) {
            Phase::Body(incoming) => Step::Request(Box::new(incoming.complete(RequestId(u64::from(self.id))))),
            other => {
                self.phase = other;
                Step::Wait
            }
        }
    }

    /// Sends `100 Continue` to a client that asked for it and waits.
    pub(super) fn go_on(&mut self) {
        if std::mem::take(&mut self.go_on) && matches!(self.phase, Phase::Body(_)) {
            let mut interim = http::Response::new(());
            *interim.status_mut() = StatusCode::CONTINUE;
            let _ = self.respond.send_informational(interim);
        }
    }

    /// Answers without the application; further input is discarded. Drops the permit.
    pub(super) fn refuse(&mut self, response: Response, now: u64) {
        self.read_by = Some(now.saturating_add(DISCARD_PATIENCE));
        self.answer(response);
    }

    // h2 rejects an answer only if the stream has ended; its reset is reported separately.
    pub(super) fn answer(&mut self, response: Response) {
        self.respond(response, false);
    }

    /// Answers with a head; the body follows with [`Stream::give`]. False when no body is to follow.
    pub(super) fn begin(&mut self, response: Response) -> bool {
        self.respond(response, true);
        self.is_streaming()
    }

    fn respond(&mut self, response: Response, streams: bool) {
        self.go_on = false;
        self.phase = Phase::Answered(DISCARD);
        let status = StatusCode::from_u16(response.status).ok().filter(|s| (200..600).contains(&s.as_u16()));
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::with_capacity(response.headers.len() + 2);
        if !response.content_type.is_empty()
            && let Ok(value) = HeaderValue::from_str(response.content_type)
        {
            headers.insert(CONTENT_TYPE, value);
        }
        for (name, value) in &response.headers {
            if !DROPPED.iter().any(|dropped| name.eq_ignore_ascii_case(dropped))
                && let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value))
            {
                headers.append(name, value);
            }
        }
        let length = response.body.iter().map(Bytes::len).sum::<usize>();
        let bodied = may_have_body(status.as_u16());
        if bodied && !streams {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let bodied = bodied && !self.head_only && (length > 0 || streams);
        let mut head = http::Response::new(());
        *head.status_mut() = status;
        *head.headers_mut() = headers;
        if let Ok(mut send) = self.respond.send_response(head, !bodied)
            && bodied
        {
            if streams {
                self.streaming = Some(send);
                return;
            }
            let _ = send.send_data(Answer { rope: Rope::plain(response.body), _alive: Rc::clone(&self.alive) }, true);
        }
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn is_with_app(&self) -> bool {
        matches!(self.phase, Phase::WithApp)
    }

    pub(super) fn is_answered(&self) -> bool {
        matches!(self.phase, Phase::Answered(_))
    }

    /// Answered, and h2 has dropped the answer.
    pub(super) fn is_out(&self) -> bool {
        self.is_answered() && self.streaming.is_none() && self.has_left()
    }

    /// h2 has dropped everything that it was given.
    fn has_left(&self) -> bool {
        Rc::strong_count(&self.alive) == 1
    }

    /// Whether the body of the answer follows in pieces.
    pub(super) fn is_streaming(&self) -> bool {
        self.streaming.is_some()
    }

    /// Whether the next piece can be given.
    pub(super) fn wants(&self) -> bool {
        self.is_streaming() && self.has_left()
    }

    /// Passes the next piece to h2; an empty one ends the answer.
    pub(super) fn give(&mut self, now: u64, piece: Bytes) {
        let last = piece.is_empty();
        let answer = Answer { rope: Rope::plain([piece]), _alive: Rc::clone(&self.alive) };
        if let Some(send) = &mut self.streaming {
            let _ = send.send_data(answer, last);
            self.stall_by = Some(now.saturating_add(STALL));
        }
        if last {
            self.streaming = None;
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn is_late_reading(&self, now: u64) -> bool {
        matches!(self.phase, Phase::Body(_)) && self.reads_until().is_some_and(|at| now >= at)
    }

    /// The next time limit: for input, or for the answer.
    pub(super) fn deadline(&self) -> Option<u64> {
        let writing = earliest(self.write_by.filter(|_| !self.is_out()), self.stall_by.filter(|_| !self.has_left()));
        earliest(self.reads_until(), writing)
    }

    /// Time limit for the end of the input, or for the next bytes of it.
    fn reads_until(&self) -> Option<u64> {
        match &self.phase {
            _ if self.ended => None,
            Phase::Body(_) => earliest(self.read_by, Some(self.body_by)),
            Phase::WithApp | Phase::Answered(_) => self.read_by,
        }
    }

    /// The permit of a request whose body is being read.
    pub(super) fn reading(&self) -> Option<&P> {
        match &self.phase {
            Phase::Body(incoming) => Some(incoming.permit()),
            Phase::WithApp | Phase::Answered(_) => None,
        }
    }

    /// The time limit for the last byte of the answer; returned once.
    pub(super) fn take_write_by(&mut self) -> Option<u64> {
        self.write_by.take()
    }

    pub(super) fn held(&self) -> usize {
        match &self.phase {
            Phase::Body(incoming) => incoming.held(),
            _ => 0,
        }
    }
}

fn admit<D: Door + ?Sized>(
    parts: &http::request::Parts,
    cfg: &H1Config,
    door: &mut D,
) -> Result<Incoming<D::Permit>, Response> {
    let head = RequestHead::from_parts(parts).map_err(|bad| {
        let (status, text) = bad.answer();
        Response::text(status, text)
    })?;
    let (permit, BodyLimit(limit)) = door.head(&head)?;
    let limit = limit.min(cfg.max_body);
    if head.content_length().is_some_and(|n| n > limit) {
        return Err(door.too_large(&head));
    }
    Ok(Incoming::new(head, limit, permit))
}
