//! An exporter over HTTP: one message, one POST.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use http::Method;
use otelcore_http::{Coding, Workspace};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    AttemptId, BuildContext, CallResult, ClientAuth, Cx, Delivery, Encode, EncodeLimits, EncodedMessage, EncodedPiece,
    Event, Exporter, Labels, LeftOutItems, Logger, MonotonicTime, Outcome, Outcomes, Payload, Piece, StartError,
    UsedMetadata,
};
use smallvec::smallvec;

use super::call_result;
use crate::clock_check::DestinationClock;
use crate::config::{CompressionConfig, HttpClientConfig};
use crate::request_metrics::HttpClientMetrics;
use crate::{BodyParts, HeaderField, HttpClient, HttpRequest, HttpRequestError, HttpResponse, Url};

/// What an exporter over HTTP defines: its URLs, its bodies, and what responses mean.
///
/// Bodies are made by copies of the protocol, on helper threads if they are long; all other methods are called on the
/// thread of the loop, on one value.
pub trait HttpProtocol: Clone + Send + 'static {
    /// Where items of this signal are sent. `None` if it is not configured; such payloads are refused.
    fn url(&self, signal: Signal) -> Option<Arc<Url>>;

    /// Labels of the counts of what is sent, such as the peer's address.
    fn destination_labels(&self, signal: Signal) -> Labels {
        let _ = signal;
        Labels::new()
    }

    /// `Content-Type` of the bodies.
    fn content_type(&self) -> &'static str;

    /// The body of the request for these items, not compressed.
    fn encode(&self, signal: Signal, items: &Rope) -> EncodedBody;

    /// The bodies of the requests for a piece, or for its beginning. By default it is cut where its bytes are too many;
    /// a protocol in which a request has to contain certain items together cuts by itself.
    fn encode_piece(&self, signal: Signal, piece: Piece, limits: EncodeLimits) -> EncodedPiece<EncodedBody> {
        let count = (limits.total_bytes / limits.message_bytes.max(1)).clamp(1, limits.max_messages);
        let (bodies, rest) = piece.cut(signal, limits.message_bytes, count);
        let message = |body: Rope| {
            let mut content = self.encode(signal, &body);
            EncodedMessage { left_out: content.left_out.take(), content, bytes: body.len(), body }
        };
        EncodedPiece { messages: bodies.into_iter().map(message).collect(), rest }
    }

    /// The largest number of requests in flight.
    fn max_requests(&self) -> usize {
        usize::MAX
    }

    /// Called before bodies may be made, with the clock that helper threads do not have.
    fn begin_turn(&mut self, cx: &Cx<'_>) {
        let _ = cx;
    }

    /// Whether [`HttpProtocol::encode`] only shares the bytes of the items, and so costs almost nothing.
    fn shares_bytes(&self) -> bool {
        false
    }

    /// Whether a request with this response may be made again. By default as OTLP specifies.
    fn is_retryable(&self, response: &HttpResponse) -> bool {
        matches!(response.status, 429 | 502..=504)
    }

    /// The reason in a response that is not 2xx.
    fn error_message(&self, response: &HttpResponse) -> Option<String> {
        let _ = response;
        None
    }

    /// What a response that is not 2xx means, where it is not what its status says.
    fn read_error(&mut self, sent: &SentItems<'_>, response: &HttpResponse) -> Option<CallResult> {
        let _ = (sent, response);
        None
    }

    /// What a 2xx response to a request with the items of `sent` means.
    fn read_response(&mut self, sent: &SentItems<'_>, response: &HttpResponse) -> CallResult {
        let _ = (sent, response);
        CallResult::Delivered { rejected: 0 }
    }
}

/// The body of a request.
#[derive(Debug)]
pub struct EncodedBody {
    /// The body in parts.
    pub parts: BodyParts,
    /// The items that it does not contain.
    pub left_out: Option<LeftOutItems>,
    /// Header fields of this request, besides `Content-Type` and `Content-Encoding`.
    pub headers: Vec<HeaderField>,
    /// How much it contains, in a unit of the protocol. Only passed on, to [`SentItems::units`].
    pub units: u32,
}

impl From<BodyParts> for EncodedBody {
    fn from(parts: BodyParts) -> Self {
        Self { parts, left_out: None, headers: Vec::new(), units: 0 }
    }
}

/// A request that has its response.
#[derive(Debug)]
pub struct SentItems<'a> {
    /// When the response is read.
    pub now: MonotonicTime,
    /// The signal of the items.
    pub signal: Signal,
    /// The number of items.
    pub items: u32,
    /// How much the request contained: [`EncodedBody::units`].
    pub units: u32,
    /// Where they were sent.
    pub url: &'a Url,
    /// The logger of the component.
    pub log: &'a Logger,
}

/// A request in flight.
#[derive(Clone, Copy, Debug, Default)]
struct InFlight {
    units: u32,
    /// When it began and the length of its body, where that is measured.
    measured: Option<(MonotonicTime, usize)>,
}

/// The exporter of an [`HttpProtocol`].
pub struct HttpSender<P: HttpProtocol> {
    protocol: P,
    client: HttpClient,
    content_encoding: Option<&'static str>,
    delivery: Delivery<BodyEncoder<P>>,
    /// The requests in flight, by their token.
    in_flight: BTreeMap<u64, InFlight>,
    metrics: HttpClientMetrics,
    used_metadata: UsedMetadata,
    log: Logger,
    clock: DestinationClock,
}

impl<P: HttpProtocol> std::fmt::Debug for HttpSender<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpSender").field("client", &self.client).finish_non_exhaustive()
    }
}

impl<P: HttpProtocol> HttpSender<P> {
    /// An exporter that connects when there is something to send.
    ///
    /// # Errors
    /// The authenticator that the configuration names can't be used.
    pub fn new(protocol: P, client: Rc<HttpClientConfig>, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let auth = client.authenticator().map(|id| context.capabilities.get::<dyn ClientAuth>(&id)).transpose()?;
        let used_metadata = auth.as_ref().map(|auth| auth.used_metadata()).unwrap_or_default();
        let CompressionConfig { coding, level } = client.compression();
        let log = context.log.clone();
        let content_encoding = (!coding.is_identity()).then(|| coding.name());
        let encoder = BodyEncoder { protocol: protocol.clone(), coding, level };
        Ok(Self {
            protocol,
            client: HttpClient::new(client, auth, log.clone(), 0),
            content_encoding,
            used_metadata,
            in_flight: BTreeMap::new(),
            metrics: HttpClientMetrics::new(context.telemetry),
            delivery: Delivery::new(encoder, &context.id.to_string(), context.telemetry, log.clone()),
            log,
            clock: DestinationClock::new(),
        })
    }

    /// Starts the requests that are ready and handles the results of ended ones, until there are none of either.
    fn advance(&mut self, cx: &mut Cx<'_>, outcomes: &mut Outcomes) {
        loop {
            if self.in_flight.len() < self.protocol.max_requests()
                && let Some(call) = self.delivery.poll_call(cx.now())
            {
                // Attempts without a URL were refused in `send`.
                let Some(url) = self.protocol.url(call.signal) else { continue };
                let mut request = HttpRequest::new(Method::POST, url);
                request.headers.push(("Content-Type".into(), self.protocol.content_type().into()));
                if let Some(encoding) = self.content_encoding {
                    request.headers.push(("Content-Encoding".into(), encoding.into()));
                }
                let EncodedBody { parts, headers, units, .. } = call.content;
                request.headers.extend(headers);
                (request.body, request.deadline, request.metadata) = (parts, call.deadline, call.metadata);
                let measured =
                    self.metrics.begin(cx).map(|now| (now, request.body.iter().map(|part| part.len()).sum()));
                self.in_flight.insert(call.token, InFlight { units, measured });
                self.client.start_request(cx, call.token, request);
            } else if let Some((token, result)) = self.client.poll_result() {
                let InFlight { units, measured } = self.in_flight.remove(&token).unwrap_or_default();
                let Some((signal, items)) = self.delivery.call_info(token) else { continue };
                if let (Some((started, bytes)), Some(url)) = (measured, self.protocol.url(signal)) {
                    let status = result.as_ref().ok().map(|response| response.status);
                    self.metrics.end(cx, started, &url, status, status.map_or(0, |_| bytes));
                }
                let result = self.result_of(cx, signal, (items, units), result);
                self.delivery.handle_result(cx, token, result, outcomes);
            } else {
                return;
            }
        }
    }

    fn result_of(
        &mut self,
        cx: &Cx<'_>,
        signal: Signal,
        (items, units): (u32, u32),
        result: Result<HttpResponse, HttpRequestError>,
    ) -> CallResult {
        let (response, url) = match (result, self.protocol.url(signal)) {
            (Ok(response), Some(url)) => (response, url),
            (Ok(_), None) => return CallResult::Delivered { rejected: 0 },
            (Err(e), _) => return call_result::result_of_http_error(&e),
        };
        self.clock.check(cx, &response, &url, &self.log);
        let sent = SentItems { now: cx.now(), signal, items, units, url: &url, log: &self.log };
        if !(200..300).contains(&response.status) {
            if let Some(result) = self.protocol.read_error(&sent, &response) {
                return result;
            }
            let message = self.protocol.error_message(&response);
            let retryable = self.protocol.is_retryable(&response);
            let wall_nanos = cx.wall_time().0;
            return call_result::result_of_error_response(&url, &response, message.as_deref(), retryable, wall_nanos);
        }
        call_result::result_of_html_page(&url, &response)
            .unwrap_or_else(|| self.protocol.read_response(&sent, &response))
    }
}

impl<P: HttpProtocol> Exporter for HttpSender<P> {
    fn used_metadata(&self) -> UsedMetadata {
        self.used_metadata.clone()
    }

    fn destination_labels(&self, signal: Signal) -> Labels {
        self.protocol.destination_labels(signal)
    }

    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let urls: Vec<Arc<Url>> = Signal::ALL.into_iter().filter_map(|signal| self.protocol.url(signal)).collect();
        self.client.start(cx, &urls.iter().map(|url| &**url).collect::<Vec<_>>())
    }

    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        attempt: AttemptId,
        payload: &Payload,
        deadline: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
        if self.protocol.url(payload.signal).is_none() {
            return outcomes.push(attempt, Outcome::permanent("no endpoint for this signal"));
        }
        self.protocol.begin_turn(cx);
        self.delivery.send(cx, attempt, payload, deadline, outcomes);
        self.advance(cx, outcomes);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, outcomes: &mut Outcomes) {
        self.protocol.begin_turn(cx);
        if !self.delivery.handle_event(cx, local, outcomes) {
            self.client.handle_event(cx, local, &event);
        }
        self.advance(cx, outcomes);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.client.close(cx);
    }
}

/// Makes the compressed bodies of a protocol.
#[derive(Clone)]
struct BodyEncoder<P> {
    protocol: P,
    coding: Coding,
    level: Option<i32>,
}

thread_local! {
    /// Codec states of the loop and of each helper thread.
    static WORKSPACE: Workspace = Workspace::new();
}

impl<P: HttpProtocol> Encode for BodyEncoder<P> {
    type Message = EncodedBody;

    fn encode(&self, signal: Signal, piece: Piece, limits: EncodeLimits) -> EncodedPiece<EncodedBody> {
        let mut encoded = self.protocol.encode_piece(signal, piece, limits);
        if !self.coding.is_identity() {
            for message in &mut encoded.messages {
                let content = &mut message.content.parts;
                let parts = content.iter().map(|part| &part[..]);
                let compressed = WORKSPACE.with(|w| w.compress_with_level(&self.coding, self.level, parts));
                *content = smallvec![compressed];
            }
        }
        encoded
    }

    fn estimate_work(&self, piece: &Piece, limit: usize) -> usize {
        if self.protocol.shares_bytes() && self.coding.is_identity() {
            piece.sharing_work(limit)
        } else {
            // Compression and other formats are slow, and read all bytes.
            piece.sharing_work(0).saturating_mul(8)
        }
    }
}
