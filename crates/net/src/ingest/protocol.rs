//! What distinguishes one receiver from another: its bodies and its responses.

use std::fmt::Debug;

use otelcore_http::h1::{RequestHead, Response};
use otelcore_http::{Bytes, Status};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::Held;
use smallvec::SmallVec;

/// The telemetry of one request: at most one rope for each signal.
#[derive(Debug, Default)]
pub struct DecodedBody(SmallVec<[(Signal, Rope); 1]>);

impl DecodedBody {
    /// Telemetry of one signal.
    #[must_use]
    pub fn new(signal: Signal, rope: Rope) -> Self {
        Self(smallvec::smallvec![(signal, rope)])
    }

    /// Adds the telemetry of another signal; of a signal that it has, the new rope replaces the old one.
    #[must_use]
    pub fn with(mut self, signal: Signal, rope: Rope) -> Self {
        self.0.retain(|(present, _)| *present != signal);
        self.0.push((signal, rope));
        self
    }

    /// The telemetry, one rope for each signal.
    pub fn ropes(&self) -> impl Iterator<Item = &(Signal, Rope)> {
        self.0.iter()
    }

    pub(super) fn into_ropes(self) -> SmallVec<[(Signal, Rope); 1]> {
        self.0
    }
}

/// How the bodies of a protocol become payloads, and how requests are responded to. Helper threads share the value.
pub trait IngestProtocol: Send + Sync + 'static {
    /// What the head of a request says about its body and its response, for example whether they are JSON.
    type Format: Clone + Debug + Send + Sync + 'static;

    /// The label `transport` of the metrics of what is received over HTTP.
    const HTTP_TRANSPORT: &'static str = "http";

    /// Reads the format of an HTTP request, valid or not: refusals have it too.
    fn read_format(&self, head: &RequestHead) -> Self::Format;

    /// Refuses an HTTP request whose path, coding and method are served; for example because of its media type.
    fn refuse_head(&self, head: &RequestHead, format: &Self::Format) -> Option<Response> {
        let _ = (head, format);
        None
    }

    /// The longest body, in bytes without compression, that is decoded on the loop: decoding it must take less than two
    /// milliseconds. A longer one is decoded on a helper thread.
    fn max_inline_decoded(&self, format: &Self::Format) -> usize {
        let _ = format;
        128 << 10
    }

    /// Decodes a body that is not compressed any more. `route` is the one of its `HttpRoute` or `GrpcMethod`. `held` is
    /// charged for the body itself; memory that the result takes in addition is to be charged to it, before it is
    /// allocated where its size is known ([`Held::try_grow`] and [`super::no_room_status`]).
    ///
    /// # Errors
    /// The status for the client: INVALID_ARGUMENT for a body that is malformed.
    fn decode(&self, route: u32, format: &Self::Format, body: Bytes, held: &mut Held) -> Result<DecodedBody, Status>;

    /// The response to an HTTP request: to accepted telemetry, or for the status with which it is refused
    /// ([`super::status_response`]).
    fn respond(&self, route: Option<u32>, format: &Self::Format, result: Result<(), &Status>) -> Response;
}
