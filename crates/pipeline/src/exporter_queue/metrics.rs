//! The metrics of an exporter's queue, with the names of the Go collector.
//!
//! Registers and sets them. Decides nothing.

use std::cell::Cell;

use otelcore_pdata::Signal;

use super::Sizer;
use crate::queue_status::HeldTimes;
use crate::{Counter, Gauge, ListedQueue, MetricsLevel, Telemetry};

/// The metrics of the part of a queue that holds payloads: in memory, or on disk.
#[derive(Debug, Default)]
pub struct QueueMetrics {
    /// Items that were refused.
    pub enqueue_failed: Counter,
    /// The current size, in units of the sizer.
    pub size: Gauge,
}

impl QueueMetrics {
    /// Registers the metrics of the queue of `exporter`, with its capacity in units of the sizer.
    #[must_use]
    pub fn new(telemetry: &Telemetry, exporter: &str, signal: Signal, capacity: u64) -> Self {
        let labels = || vec![("exporter", exporter.to_owned()), ("data_type", signal.name().to_owned())];
        let gauge = |name, help| telemetry.gauge(MetricsLevel::Basic, name, help, labels());
        gauge("otelcol_exporter_queue_capacity", "Fixed capacity of the retry queue (in batches). [Alpha]")
            .set(capacity);
        Self {
            enqueue_failed: enqueue_failed_counter(telemetry, exporter, signal),
            size: gauge("otelcol_exporter_queue_size", "Current size of the retry queue (in batches). [Alpha]"),
        }
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SizeMetrics {
    /// There is no queue.
    None,
    /// As the size of the queue, which has this unit and this capacity.
    Queue(Sizer, u64),
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

/// The metrics of attempts and of the queue in memory.
#[derive(Debug)]
pub(super) struct ExporterMetrics {
    pub(super) sent: OwnCounter,
    pub(super) send_failed: OwnCounter,
    pub(super) in_flight: Gauge,
    pub(super) queue: QueueMetrics,
    /// The queue in memory in the table of queues.
    _listed: Option<ListedQueue>,
}

impl ExporterMetrics {
    pub(super) fn new(
        telemetry: &Telemetry,
        exporter: &str,
        signal: Signal,
        size: SizeMetrics,
        held: &HeldTimes,
    ) -> Self {
        let (sent, send_failed) = match signal {
            Signal::Traces => (
                ("otelcol_exporter_sent_spans", "Number of spans successfully sent to destination. [Alpha]"),
                (
                    "otelcol_exporter_send_failed_spans",
                    "Number of spans in failed attempts to send to destination. [Alpha]",
                ),
            ),
            Signal::Metrics => (
                (
                    "otelcol_exporter_sent_metric_points",
                    "Number of metric points successfully sent to destination. [Alpha]",
                ),
                (
                    "otelcol_exporter_send_failed_metric_points",
                    "Number of metric points in failed attempts to send to destination. [Alpha]",
                ),
            ),
            Signal::Logs => (
                ("otelcol_exporter_sent_log_records", "Number of log record successfully sent to destination. [Alpha]"),
                (
                    "otelcol_exporter_send_failed_log_records",
                    "Number of log records in failed attempts to send to destination. [Alpha]",
                ),
            ),
        };
        let counter = |(name, help): (&'static str, &'static str)| {
            telemetry.counter(MetricsLevel::Basic, name, help, vec![("exporter", exporter.to_owned())])
        };
        let in_flight = || {
            telemetry.gauge(
                MetricsLevel::Basic,
                "otelcol_exporter_in_flight_requests",
                "Number of requests that are being sent, pauses between attempts included. [Alpha]",
                vec![("exporter", exporter.to_owned()), ("data_type", signal.name().to_owned())],
            )
        };
        let (queue, in_flight) = match size {
            SizeMetrics::Queue(_, capacity) => (QueueMetrics::new(telemetry, exporter, signal, capacity), in_flight()),
            SizeMetrics::OnDisk => (QueueMetrics::default(), in_flight()),
            SizeMetrics::None => {
                let enqueue_failed = enqueue_failed_counter(telemetry, exporter, signal);
                (QueueMetrics { enqueue_failed, size: Gauge::default() }, Gauge::default())
            }
        };
        let own = |shared| OwnCounter { shared, own: Cell::default() };
        let listed = match size {
            SizeMetrics::Queue(unit, capacity) => {
                let queues = telemetry.queues();
                Some(queues.list_in_memory((exporter, signal), (unit.into(), capacity), queue.size.number(), held))
            }
            SizeMetrics::OnDisk | SizeMetrics::None => None,
        };
        Self { sent: own(counter(sent)), send_failed: own(counter(send_failed)), in_flight, queue, _listed: listed }
    }
}
