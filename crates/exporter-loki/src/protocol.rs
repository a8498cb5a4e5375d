//! The push API over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use otelcore_net::{BodyParts, EncodedBody, HttpProtocol, HttpResponse, SentItems, Url};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{CallResult, Counter, Cx, EncodeLimits, EncodedPiece, Piece};

use crate::hints::DefaultLabels;
use crate::requests::encode_logs;

/// In Loki's response to a stream without labels.
const MISSING_LABELS: &[u8] = b"error at least one label pair is required per stream";

/// The protocol of one exporter.
#[derive(Clone)]
pub(crate) struct LokiProtocol {
    pub(crate) url: Arc<Url>,
    pub(crate) defaults: DefaultLabels,
    /// The present time, for records without one: nanoseconds since the epoch, set by the loop and shared with the copies
    /// of the protocol that make bodies.
    pub(crate) wall_nanos: Arc<AtomicU64>,
    /// Records that were refused because they have no label.
    pub(crate) missing_labels: Counter,
}

impl HttpProtocol for LokiProtocol {
    fn url(&self, signal: Signal) -> Option<Arc<Url>> {
        (signal == Signal::Logs).then(|| self.url.clone())
    }

    fn content_type(&self) -> &'static str {
        "application/x-protobuf"
    }

    fn encode(&self, signal: Signal, items: &Rope) -> EncodedBody {
        let piece = Piece { body: items.clone(), ..Piece::default() };
        let (message_bytes, total_bytes) = (usize::MAX, usize::MAX);
        let limits = EncodeLimits { message_bytes, max_messages: 1, total_bytes };
        let first = self.encode_piece(signal, piece, limits).messages.pop();
        first.map_or_else(|| BodyParts::new().into(), |message| message.content)
    }

    fn encode_piece(&self, _: Signal, piece: Piece, limits: EncodeLimits) -> EncodedPiece<EncodedBody> {
        encode_logs(self.defaults, self.wall_nanos.load(Ordering::Relaxed), piece, limits)
    }

    fn begin_turn(&mut self, cx: &Cx<'_>) {
        self.wall_nanos.store(cx.wall_time().0, Ordering::Relaxed);
    }

    fn is_retryable(&self, response: &HttpResponse) -> bool {
        matches!(response.status, 429 | 500..600)
    }

    fn error_message(&self, response: &HttpResponse) -> Option<String> {
        Some(response.body_start())
    }

    fn read_error(&mut self, sent: &SentItems<'_>, response: &HttpResponse) -> Option<CallResult> {
        if response.body.windows(MISSING_LABELS.len()).any(|window| window == MISSING_LABELS) {
            self.missing_labels.add(sent.items.into());
        }
        None
    }
}
