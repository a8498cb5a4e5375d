//! Requests and responses as the application sees them, and the configuration of a server connection. The same for
//! HTTP/1.1 and HTTP/2.

use bytes::Bytes;
use smallvec::SmallVec;

use super::head::RequestHead;
use crate::admission::{Admission, Head};
use crate::coding::Workspace;
use crate::connection::receive_capacity;

/// How long a piece of a streamed body may wait to be written because the client does not read.
pub(crate) const STALL_TIMEOUT: u64 = 30_000_000_000;

/// Configuration of an HTTP server connection, the same for HTTP/1 and HTTP/2. Nanoseconds and bytes; `None` disables a
/// timeout.
#[derive(Clone, Debug)]
pub struct HttpServerConnConfig {
    /// Longest body. Default 20 MiB.
    pub max_body: u64,
    /// Longest request line with header fields. Default 64 KiB, which is the fixed limit of HTTP/2 here.
    pub max_head: usize,
    /// From the first byte of a request, or the beginning of a connection, to the end of its head.
    pub read_header_timeout: Option<u64>,
    /// From there to the end of the body. It is used as the header timeout if that is `None`.
    pub read_timeout: Option<u64>,
    /// A body of which nothing arrives for this long is refused, independent of `read_timeout`. Default 60 s.
    pub body_timeout: u64,
    /// From the end of the head to the last byte of the response.
    pub write_timeout: Option<u64>,
    /// Between requests; `read_timeout` is used if this is `None`.
    pub idle_timeout: Option<u64>,
    /// Whether connections may carry more than one request.
    pub keep_alive: bool,
    /// From the beginning of a connection until the next request is the last one: its response has `Connection: close`, or
    /// GOAWAY goes with it. Each connection has up to a tenth more or less. `None`: there is no such time.
    pub max_age: Option<u64>,
    /// Bytes read in one `poll`. Default 256 KiB.
    pub read_budget: usize,
    /// Shared by all connections of the thread.
    pub workspace: Workspace,
}

impl Default for HttpServerConnConfig {
    fn default() -> Self {
        Self {
            max_body: 20 << 20,
            max_head: 64 << 10,
            read_header_timeout: None,
            read_timeout: None,
            body_timeout: 60_000_000_000,
            write_timeout: None,
            idle_timeout: None,
            keep_alive: true,
            max_age: None,
            read_budget: 256 << 10,
            workspace: Workspace::new(),
        }
    }
}

impl HttpServerConnConfig {
    /// When a connection that begins now gets its last request. The connections that one event has caused do not end at
    /// the same time: the difference comes from the digits of the time at which each begins.
    pub(crate) fn age_ends_at(&self, now: u64) -> Option<u64> {
        let age = self.max_age?;
        // The golden ratio in 64 bits spreads consecutive numbers evenly; from 0 to 1999.
        let spread = (now.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 2000;
        let tenth = age / 10;
        let varied = (age - tenth).saturating_add((u128::from(tenth) * u128::from(spread) / 1000) as u64);
        Some(now.saturating_add(varied))
    }
}

/// One request of one connection; never reused while the connection exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

/// A request for the application, which must respond to it.
#[derive(Debug)]
pub struct Request<P> {
    /// Identifies the request in `respond`.
    pub id: RequestId,
    /// Request line and header fields.
    pub head: RequestHead,
    /// The body without its transfer coding.
    pub body: Bytes,
    /// What [`Admission::admit_head`] returned.
    pub permit: P,
}

/// A response.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// `Content-Type`; the field is not sent when this is empty.
    pub content_type: &'static str,
    /// More header fields. Invalid names and values are left out. Framing fields are left out too, because the
    /// connection writes them itself.
    pub headers: Vec<(String, String)>,
    /// The body, in parts.
    pub body: SmallVec<[Bytes; 2]>,
    /// Close the connection after it.
    pub close: bool,
}

impl Response {
    /// A response with a body.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, headers: Vec::new(), body: smallvec::smallvec![body.into()], close: false }
    }

    /// A plain text response.
    pub fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Closes the connection after it.
    #[must_use]
    pub fn with_close(mut self) -> Self {
        self.close = true;
        self
    }
}

impl Head for RequestHead {
    type Refusal = Response;

    fn too_large(&self, _: Option<u64>, _: u64) -> Response {
        Response::text(413, "413 Request Entity Too Large\n")
    }
}

/// A request whose body is being read.
pub(crate) struct IncomingRequest<P> {
    pub(crate) head: RequestHead,
    body: Vec<u8>,
    limit: u64,
    permit: P,
}

impl<P> IncomingRequest<P> {
    /// Asks the admission for a permit. A body whose declared length exceeds the limit is refused at once; discarding it
    /// would take too long, so that HTTP/1 closes the connection.
    pub(crate) fn admit<D: Admission<RequestHead, Permit = P> + ?Sized>(
        head: RequestHead,
        limit: u64,
        admission: &mut D,
    ) -> Result<Self, Response> {
        let permit = admission.admit_head(&head)?;
        if let Some(length) = head.content_length().filter(|length| *length > limit) {
            return Err(admission.too_large(&head, Some(length), limit).with_close());
        }
        Ok(Self { head, body: Vec::new(), limit, permit })
    }

    /// Appends a piece of the body. Calls [`Admission::grow`] before the buffer grows.
    pub(crate) fn append<D: Admission<RequestHead, Permit = P> + ?Sized>(
        &mut self,
        piece: &[u8],
        admission: &mut D,
    ) -> Result<(), Response> {
        let Self { head, body, limit, permit } = self;
        let total = body.len() + piece.len();
        if total as u64 > *limit {
            return Err(admission.too_large(head, head.content_length(), *limit).with_close());
        }
        if total > body.capacity() {
            // A declared length is known to be within the limit; the buffer of a body without one doubles.
            let capacity = match head.content_length() {
                Some(declared) => receive_capacity(usize::try_from(declared).unwrap_or(usize::MAX), total),
                None => total.max(body.capacity().saturating_mul(2)).min(usize::try_from(*limit).unwrap_or(usize::MAX)),
            };
            let capacity = capacity.max(total);
            admission.grow(permit, capacity as u64)?;
            body.reserve_exact(capacity - body.len());
        }
        body.extend_from_slice(piece);
        Ok(())
    }

    pub(crate) fn buffered_bytes(&self) -> usize {
        self.body.capacity()
    }

    pub(crate) fn permit(&self) -> &P {
        &self.permit
    }

    pub(crate) fn complete(self, id: RequestId) -> Request<P> {
        let Self { head, mut body, permit, .. } = self;
        if body.capacity() - body.len() > body.len() / 4 {
            body.shrink_to_fit();
        }
        Request { id, head, body: body.into(), permit }
    }
}
