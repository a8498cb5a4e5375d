//! Remote write over HTTP: header fields, responses, and the exporter's own metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use otelcore_net::{EncodedBody, HttpProtocol, HttpResponse, SentItems, Url};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    CallResult, Counter, EncodeLimits, EncodedPiece, LogField, MetricsLevel, PeriodicCount, Piece, Telemetry,
};

use crate::format::RemoteWriteFormat;
use crate::requests::encode_requests;

/// The shortest time between two warnings of the same kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// What a receiver of version 2 has written: samples, histograms, exemplars.
const WRITTEN_HEADERS: [&str; 3] = [
    "X-Prometheus-Remote-Write-Samples-Written",
    "X-Prometheus-Remote-Write-Histograms-Written",
    "X-Prometheus-Remote-Write-Exemplars-Written",
];

/// The protocol of one exporter.
#[derive(Clone)]
pub(crate) struct RemoteWriteProtocol {
    url: Arc<Url>,
    format: Arc<RemoteWriteFormat>,
    max_bytes: usize,
    max_requests: usize,
    metrics: RemoteWriteMetrics,
    missing_headers: PeriodicCount,
    partial_writes: PeriodicCount,
}

/// The exporter's own metrics.
#[derive(Clone)]
struct RemoteWriteMetrics {
    /// Counted by helper threads, and added to the counters by the loop.
    series: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
    translated_series: Counter,
    failed_translations: Counter,
    sent_batches: Counter,
    written: [Counter; 3],
}

impl RemoteWriteMetrics {
    fn new(telemetry: &Telemetry, exporter: &str, url: &Url, consumers: usize) -> Self {
        let labels = || vec![("exporter", exporter.to_owned()), ("endpoint", url.to_string())];
        let counter = |name, help| telemetry.counter(MetricsLevel::Basic, name, help, labels());
        let gauge = telemetry.gauge(
            MetricsLevel::Basic,
            "otelcol_exporter_prometheusremotewrite_consumers",
            "Number of configured workers to use to fan out the outgoing requests [Development]",
            labels(),
        );
        gauge.set(consumers as u64);
        Self {
            series: Arc::default(),
            failures: Arc::default(),
            translated_series: counter(
                "otelcol_exporter_prometheusremotewrite_translated_time_series",
                "Number of Prometheus time series that were translated from OTel metrics [Development]",
            ),
            failed_translations: counter(
                "otelcol_exporter_prometheusremotewrite_failed_translations",
                "Number of translation operations that failed to translate metrics from Otel to Prometheus [Development]",
            ),
            sent_batches: counter(
                "otelcol_exporter_prometheusremotewrite_sent_batches",
                "Number of remote write request batches sent to the remote write endpoint regardless of success or failure [Development]",
            ),
            written: [
                counter(
                    "otelcol_exporter_prometheusremotewrite_written_samples",
                    "Number of Prometheus Samples that were successfully written to the remote write endpoint (only available when using remote write v2) [Development]",
                ),
                counter(
                    "otelcol_exporter_prometheusremotewrite_written_histograms",
                    "Number of Prometheus Histograms that were successfully written to the remote write endpoint (only available when using remote write v2) [Development]",
                ),
                counter(
                    "otelcol_exporter_prometheusremotewrite_written_exemplars",
                    "Number of Prometheus Exemplars that were successfully written to the remote write endpoint (only available when using remote write v2) [Development]",
                ),
            ],
        }
    }

    /// Counts a request that has its response.
    fn record_request(&self) {
        self.sent_batches.add(1);
        self.translated_series.add(self.series.swap(0, Ordering::Relaxed));
        self.failed_translations.add(self.failures.swap(0, Ordering::Relaxed));
    }
}

impl RemoteWriteProtocol {
    pub(crate) fn new(
        url: Url,
        format: RemoteWriteFormat,
        (max_bytes, max_requests): (usize, usize),
        exporter: &str,
        telemetry: &Telemetry,
    ) -> Self {
        Self {
            metrics: RemoteWriteMetrics::new(telemetry, exporter, &url, max_requests),
            url: Arc::new(url),
            format: Arc::new(format),
            max_bytes,
            max_requests,
            missing_headers: PeriodicCount::new(WARNING_INTERVAL),
            partial_writes: PeriodicCount::new(WARNING_INTERVAL),
        }
    }

    /// Reads what a receiver of version 2 has written. `None` where the response does not say it.
    fn read_written(&mut self, response: &HttpResponse) -> Option<u64> {
        let mut written = None;
        for (at, (header, counter)) in WRITTEN_HEADERS.iter().zip(&self.metrics.written).enumerate() {
            let value = response.header(header).and_then(|value| std::str::from_utf8(value).ok());
            let Some(count) = value.and_then(|value| value.trim().parse::<u64>().ok()) else { continue };
            counter.add(count);
            if at < 2 {
                written = Some(written.unwrap_or(0_u64).saturating_add(count));
            }
        }
        written
    }

    /// The result of a request of which a part was written. Samples and histograms are counted, and a point is one or more
    /// of them, so that the number of points is an estimate.
    fn partly_written(&mut self, sent: &SentItems<'_>, written: u64, response: &HttpResponse) -> CallResult {
        let missing = u64::from(sent.units).saturating_sub(written);
        let share = missing.saturating_mul(u64::from(sent.items)).div_ceil(u64::from(sent.units).max(1));
        let rejected = u32::try_from(share).unwrap_or(u32::MAX).clamp(1, sent.items.max(1));
        if let Some(count) = self.partial_writes.add(sent.now, missing) {
            let reason = response.body_start();
            let fields = [("error", LogField::Str(&reason)), ("dropped_samples", LogField::Uint(count))];
            sent.log.warn("The remote write endpoint has written only a part of a request.", &fields);
        }
        CallResult::Delivered { rejected }
    }
}

impl HttpProtocol for RemoteWriteProtocol {
    fn url(&self, signal: Signal) -> Option<Arc<Url>> {
        (signal == Signal::Metrics).then(|| self.url.clone())
    }

    fn content_type(&self) -> &'static str {
        if self.format.is_version_2() {
            "application/x-protobuf;proto=io.prometheus.write.v2.Request"
        } else {
            "application/x-protobuf"
        }
    }

    fn encode(&self, signal: Signal, items: &Rope) -> EncodedBody {
        let piece = Piece { body: items.clone(), ..Piece::default() };
        let limits = EncodeLimits { message_bytes: usize::MAX, max_messages: 1, total_bytes: usize::MAX };
        let mut encoded = self.encode_piece(signal, piece, limits);
        let message = encoded.messages.pop();
        message.map_or_else(|| otelcore_net::BodyParts::new().into(), |message| message.content)
    }

    fn encode_piece(&self, _: Signal, piece: Piece, limits: EncodeLimits) -> EncodedPiece<EncodedBody> {
        let (mut encoded, counts) = encode_requests(&self.format, self.max_bytes, piece, limits);
        self.metrics.series.fetch_add(counts.series as u64, Ordering::Relaxed);
        self.metrics.failures.fetch_add(counts.failed as u64, Ordering::Relaxed);
        let version = if self.format.is_version_2() { "2.0.0" } else { "0.1.0" };
        for message in &mut encoded.messages {
            message.content.headers.push(("X-Prometheus-Remote-Write-Version".into(), version.into()));
        }
        encoded
    }

    fn max_requests(&self) -> usize {
        self.max_requests
    }

    /// By the specifications. Go retries 429 only with a feature gate.
    fn is_retryable(&self, response: &HttpResponse) -> bool {
        matches!(response.status, 429 | 500..600)
    }

    fn error_message(&self, response: &HttpResponse) -> Option<String> {
        Some(response.body_start())
    }

    fn read_error(&mut self, sent: &SentItems<'_>, response: &HttpResponse) -> Option<CallResult> {
        self.metrics.record_request();
        if !self.format.is_version_2() {
            return None;
        }
        let written = self.read_written(response)?;
        let is_final = (400..500).contains(&response.status) && response.status != 429;
        (is_final && written > 0).then(|| self.partly_written(sent, written, response))
    }

    fn read_response(&mut self, sent: &SentItems<'_>, response: &HttpResponse) -> CallResult {
        self.metrics.record_request();
        if !self.format.is_version_2() {
            return CallResult::Delivered { rejected: 0 };
        }
        match self.read_written(response) {
            Some(written) if written < u64::from(sent.units) => self.partly_written(sent, written, response),
            Some(_) => CallResult::Delivered { rejected: 0 },
            None => {
                if let Some(count) = self.missing_headers.add(sent.now, 1) {
                    let fields = [
                        ("header", LogField::Str(WRITTEN_HEADERS[0])),
                        ("url", LogField::Str(&sent.url.to_string())),
                        ("responses", LogField::Uint(count)),
                    ];
                    sent.log.warn(
                        "header is missing from the response, suggesting that the endpoint doesn't support RW2",
                        &fields,
                    );
                }
                CallResult::Delivered { rejected: 0 }
            }
        }
    }
}
