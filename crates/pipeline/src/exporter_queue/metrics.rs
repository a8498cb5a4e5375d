//! The metrics of an exporter's queue, with the names of the Go collector.
//!
//! Registers and sets them. Decides nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use otelcore_pdata::Signal;

use super::Sizer;
use crate::queue_status::HeldTimes;
use crate::{Counter, Error, Gauge, Histogram, Labels, ListedQueue, MetricsLevel, Telemetry};

/// The metrics of the part of a queue that holds payloads: in memory, or on disk.
#[derive(Debug, Default)]
pub struct QueueMetrics {
    /// Items that were refused.
    pub enqueue_failed: Counter,
    /// The current size, in units of the sizer.
    pub size: Gauge,
    /// Items of each payload that is offered.
    offered_items: Histogram,
    /// Bytes of each payload that is offered.
    offered_bytes: Histogram,
}

const OFFERED_ITEMS_BOUNDS: &[f64] = &[
    10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0, 7000.0, 8000.0,
    9000.0, 10_000.0, 20_000.0, 30_000.0, 50_000.0, 100_000.0,
];
const OFFERED_BYTES_BOUNDS: &[f64] =
    &[10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0];

impl QueueMetrics {
    /// Registers the metrics of the queue of `exporter`, with its capacity in units of the sizer.
    #[must_use]
    pub fn new(telemetry: &Telemetry, exporter: &str, signal: Signal, capacity: u64) -> Self {
        let labels = || vec![("exporter", exporter.to_owned()), ("data_type", signal.name().to_owned())];
        let gauge = |name, help| telemetry.gauge(MetricsLevel::Basic, name, help, labels());
        gauge("otelcol_exporter_queue_capacity", "Fixed capacity of the retry queue (in batches). [Alpha]")
            .set(capacity);
        // Those of all signals of the exporter are one series, as in the Go collector.
        let histogram = |name, help, bounds| {
            let labels = vec![("exporter", exporter.to_owned())];
            telemetry.histogram(MetricsLevel::Detailed, name, help, labels, bounds)
        };
        Self {
            offered_items: histogram(
                "otelcol_exporter_queue_batch_send_size",
                "Number of units in the batch [Development]",
                OFFERED_ITEMS_BOUNDS,
            ),
            offered_bytes: histogram(
                "otelcol_exporter_queue_batch_send_size_bytes",
                "Number of bytes in batch that was sent. Only available on detailed level. [Development]",
                OFFERED_BYTES_BOUNDS,
            ),
            enqueue_failed: enqueue_failed_counter(telemetry, exporter, signal),
            size: gauge("otelcol_exporter_queue_size", "Current size of the retry queue (in batches). [Alpha]"),
        }
    }
}

impl QueueMetrics {
    /// Records the size of a payload that is offered, accepted or not.
    pub fn record_offer(&self, items: u64, bytes: u64) {
        self.offered_items.observe(items as f64);
        self.offered_bytes.observe(bytes as f64);
    }
}

fn enqueue_failed_counter(telemetry: &Telemetry, exporter: &str, signal: Signal) -> Counter {
    let (name, help) = match signal {
        Signal::Traces => (
            "otelcol_exporter_enqueue_failed_spans",
            "Number of spans failed to be added to the sending queue. [Alpha]",
        ),
        Signal::Metrics => (
            "otelcol_exporter_enqueue_failed_metric_points",
            "Number of metric points failed to be added to the sending queue. [Alpha]",
        ),
        Signal::Logs => (
            "otelcol_exporter_enqueue_failed_log_records",
            "Number of log records failed to be added to the sending queue. [Alpha]",
        ),
    };
    telemetry.counter(MetricsLevel::Basic, name, help, vec![("exporter", exporter.to_owned())])
}

/// Where a queue in memory shows how much it holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum SizeMetrics<'h> {
    /// There is no queue.
    None,
    /// As the size of the queue, which has this unit and this capacity, and is listed with the times of what it holds.
    Queue(Sizer, u64, &'h HeldTimes),
    /// Nowhere: it holds what is on disk, and the queue on disk shows it.
    OnDisk,
}

/// A counter that a queue shares with earlier ones of the same exporter, and its own part of it.
#[derive(Debug, Default)]
pub(super) struct OwnCounter {
    shared: Counter,
    own: Cell<u64>,
}

impl OwnCounter {
    pub(super) fn add(&self, n: u64) {
        self.shared.add(n);
        self.own.set(self.own.get().saturating_add(n));
    }

    pub(super) fn get(&self) -> u64 {
        self.own.get()
    }
}

/// Items that failed. At the level `detailed` each kind of error has a series of its own.
#[derive(Debug)]
pub(super) struct FailedCounter {
    /// All of them, except at the level `detailed`.
    without_error: OwnCounter,
    /// By the type of the error and whether it is permanent. Both are of small sets.
    by_error: RefCell<BTreeMap<(&'static str, bool), Counter>>,
    telemetry: Telemetry,
    /// Name and help.
    family: (&'static str, &'static str),
    labels: Labels,
}

impl FailedCounter {
    pub(super) fn add(&self, items: u64, error_type: &'static str, is_permanent: bool) {
        let own = &self.without_error.own;
        own.set(own.get().saturating_add(items));
        if self.telemetry.level() < MetricsLevel::Detailed {
            return self.without_error.shared.add(items);
        }
        let mut by_error = self.by_error.borrow_mut();
        let counter = by_error.entry((error_type, is_permanent)).or_insert_with(|| {
            let mut labels = self.labels.clone();
            labels.push(("error_permanent", is_permanent.to_string()));
            labels.push(("error_type", error_type.to_owned()));
            self.telemetry.counter(MetricsLevel::Detailed, self.family.0, self.family.1, labels)
        });
        counter.add(items);
    }

    pub(super) fn get(&self) -> u64 {
        self.without_error.get()
    }
}

/// The type of an error for which there is no name.
pub(super) const OTHER_ERROR: &str = "_OTHER";

/// The type of an error, as the Go collector names it: the name of the gRPC code, where a peer gave one.
pub(super) fn error_type(error: &Error) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    error.code.and_then(|code| NAMES.get(usize::try_from(code).ok()?)).copied().unwrap_or(OTHER_ERROR)
}

/// The metrics of attempts and of the queue in memory.
#[derive(Debug)]
pub(super) struct ExporterMetrics {
    pub(super) sent: OwnCounter,
    pub(super) send_failed: FailedCounter,
    pub(super) in_flight: Gauge,
    pub(super) queue: QueueMetrics,
    /// The queue in memory in the table of queues.
    _listed: Option<ListedQueue>,
}

impl ExporterMetrics {
    /// `destination` are labels of where the exporter sends to.
    pub(super) fn new(
        telemetry: &Telemetry,
        exporter: &str,
        signal: Signal,
        size: SizeMetrics<'_>,
        destination: &Labels,
    ) -> Self {
        let (sent, send_failed) = match signal {
            Signal::Traces => (
                ("otelcol_exporter_sent_spans", "Number of spans successfully sent to destination. [Alpha]"),
                (
                    "otelcol_exporter_send_failed_spans",
                    "Number of spans in failed attempts to send to destination. At detailed telemetry level, includes \
                     attributes: error.type (semantic convention), error.permanent. [Alpha]",
                ),
            ),
            Signal::Metrics => (
                (
                    "otelcol_exporter_sent_metric_points",
                    "Number of metric points successfully sent to destination. [Alpha]",
                ),
                (
                    "otelcol_exporter_send_failed_metric_points",
                    "Number of metric points in failed attempts to send to destination. At detailed telemetry level, includes \
                     attributes: error.type (semantic convention), error.permanent. [Alpha]",
                ),
            ),
            Signal::Logs => (
                ("otelcol_exporter_sent_log_records", "Number of log record successfully sent to destination. [Alpha]"),
                (
                    "otelcol_exporter_send_failed_log_records",
                    "Number of log records in failed attempts to send to destination. At detailed telemetry level, includes \
                     attributes: error.type (semantic convention), error.permanent. [Alpha]",
                ),
            ),
        };
        let labels = || {
            let mut labels = destination.clone();
            labels.push(("exporter", exporter.to_owned()));
            labels
        };
        let counter =
            |(name, help): (&'static str, &'static str)| telemetry.counter(MetricsLevel::Basic, name, help, labels());
        let in_flight = telemetry.gauge(
            MetricsLevel::Basic,
            "otelcol_exporter_in_flight_requests",
            "Number of export requests currently in-flight (including retry backoff). [Development]",
            vec![("exporter", exporter.to_owned()), ("data_type", signal.name().to_owned())],
        );
        let (queue, listed) = match size {
            SizeMetrics::Queue(unit, capacity, held) => {
                let queue = QueueMetrics::new(telemetry, exporter, signal, capacity);
                let (of, bound) = ((exporter, signal), (unit.into(), capacity));
                let listed = telemetry.queues().list_in_memory(of, bound, queue.size.number(), held);
                (queue, Some(listed))
            }
            SizeMetrics::OnDisk => (QueueMetrics::default(), None),
            SizeMetrics::None => {
                let enqueue_failed = enqueue_failed_counter(telemetry, exporter, signal);
                (QueueMetrics { enqueue_failed, ..QueueMetrics::default() }, None)
            }
        };
        let own = |shared| OwnCounter { shared, own: Cell::default() };
        let send_failed = FailedCounter {
            without_error: own(counter(send_failed)),
            by_error: RefCell::default(),
            telemetry: telemetry.clone(),
            family: send_failed,
            labels: labels(),
        };
        Self { sent: own(counter(sent)), send_failed, in_flight, queue, _listed: listed }
    }
}
