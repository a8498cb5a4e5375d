//! The metrics of a queue on disk.
//!
//! Registers them. Decides nothing.

use otelcore_pipeline::{Counter, Gauge, ListedQueue, MetricsLevel, QueueMetrics, StoredQueueContext};

#[derive(Debug)]
pub(crate) struct StoredQueueMetrics {
    pub(crate) queue: QueueMetrics,
    pub(crate) oldest_age: Gauge,
    pub(crate) disk_bytes: Gauge,
    pub(crate) quarantined: Counter,
    pub(crate) dead: Counter,
    /// The queue in the table of queues.
    _listed: ListedQueue,
}

impl StoredQueueMetrics {
    pub(crate) fn new(context: &StoredQueueContext<'_>) -> Self {
        let exporter = context.exporter.to_string();
        let labels = || vec![("exporter", exporter.clone()), ("data_type", context.signal.name().to_owned())];
        let gauge = |name, help| context.telemetry.gauge(MetricsLevel::Basic, name, help, labels());
        let counter = |name, help| context.telemetry.counter(MetricsLevel::Basic, name, help, labels());
        let queue = QueueMetrics::new(context.telemetry, &exporter, context.signal, context.config.size());
        let oldest_age = gauge(
            "otelcore_exporter_queue_oldest_age_seconds",
            "Age of the oldest payload of the queue on disk that is not delivered, zero without any",
        );
        let (of, bound) = ((exporter.as_str(), context.signal), (context.config.sizer.into(), context.config.size()));
        Self {
            _listed: context.telemetry.queues().list_on_disk(of, bound, queue.size.number(), oldest_age.number()),
            queue,
            oldest_age,
            disk_bytes: gauge("otelcore_exporter_queue_disk_bytes", "Bytes of the files of the queue on disk"),
            quarantined: counter(
                "otelcore_exporter_queue_quarantined_records",
                "Payloads of the queue on disk that were damaged and are skipped",
            ),
            dead: counter(
                "otelcore_exporter_queue_dead_items",
                "Spans, data points or log records that were given up and are kept in the folder dead",
            ),
        }
    }
}
