//! The metrics of the receiver, by the names of the Go collector. Counts only.

use std::collections::BTreeMap;

use otelcore_kafka_client::FetchedRecords;
use otelcore_pdata::Signal;
use otelcore_pipeline::{Counter, Gauge, Histogram, MetricsLevel, Telemetry};

const LEVEL: MetricsLevel = MetricsLevel::Basic;
const LATENCY_BOUNDS: &[f64] =
    &[0.0, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 25.0, 50.0, 75.0, 100.0];
const DELAY_BOUNDS: &[f64] = &[
    0.0, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 25.0, 50.0, 75.0, 100.0,
    250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10_000.0,
];

/// Those of the receiver as a whole.
#[derive(Debug)]
pub(crate) struct KafkaMetrics {
    telemetry: Telemetry,
    pub(crate) partitions_started: Counter,
    pub(crate) partitions_closed: Counter,
    latencies: BTreeMap<i32, Histogram>,
    measures_delay: bool,
}

impl KafkaMetrics {
    pub(crate) fn new(telemetry: &Telemetry, measures_delay: bool) -> Self {
        let counter = |name, help| telemetry.counter(LEVEL, name, help, Vec::new());
        Self {
            partitions_started: counter("otelcol_kafka_receiver_partition_start", "Number of started partitions"),
            partitions_closed: counter("otelcol_kafka_receiver_partition_close", "Number of finished partitions"),
            telemetry: telemetry.clone(),
            latencies: BTreeMap::new(),
            measures_delay,
        }
    }

    /// A broker has answered a fetch request.
    pub(crate) fn record_latency(&mut self, node: i32, seconds: f64) {
        let telemetry = &self.telemetry;
        let histogram = self.latencies.entry(node).or_insert_with(|| {
            let labels = vec![("node_id", node.to_string()), ("outcome", "success".to_owned())];
            let help = "The time it took in seconds to receive a batch of records.";
            telemetry.histogram(LEVEL, "otelcol_kafka_receiver_read_latency", help, labels, LATENCY_BOUNDS)
        });
        histogram.observe(seconds);
    }

    /// Those of a partition.
    pub(crate) fn partition(&self, signal: Signal, topic: &str, index: i32) -> PartitionMetrics {
        let labels = || vec![("topic", topic.to_owned()), ("partition", index.to_string())];
        let gauge = |name, help| self.telemetry.gauge(LEVEL, name, help, labels());
        let (failed, help) = match signal {
            Signal::Traces => {
                ("otelcol_kafka_receiver_unmarshal_failed_spans", "Number of spans failed to be unmarshaled")
            }
            Signal::Metrics => (
                "otelcol_kafka_receiver_unmarshal_failed_metric_points",
                "Number of metric points failed to be unmarshaled",
            ),
            Signal::Logs => (
                "otelcol_kafka_receiver_unmarshal_failed_log_records",
                "Number of log records failed to be unmarshaled",
            ),
        };
        let delay = self.measures_delay.then(|| {
            let help = "The time in seconds between producing and receiving a batch of records.";
            self.telemetry.histogram(LEVEL, "otelcol_kafka_receiver_records_delay", help, labels(), DELAY_BOUNDS)
        });
        PartitionMetrics {
            telemetry: self.telemetry.clone(),
            labels: labels(),
            current_offset: gauge("otelcol_kafka_receiver_current_offset", "Current message offset"),
            offset_lag: gauge("otelcol_kafka_receiver_offset_lag", "Current offset lag"),
            unmarshal_failed: self.telemetry.counter(LEVEL, failed, help, labels()),
            delay,
            read: BTreeMap::new(),
        }
    }
}

/// Those of one partition.
#[derive(Debug)]
pub(crate) struct PartitionMetrics {
    telemetry: Telemetry,
    labels: Vec<(&'static str, String)>,
    pub(crate) current_offset: Gauge,
    pub(crate) offset_lag: Gauge,
    pub(crate) unmarshal_failed: Counter,
    pub(crate) delay: Option<Histogram>,
    /// Records, bytes and uncompressed bytes, by broker and coding.
    read: BTreeMap<(i32, &'static str), [Counter; 3]>,
}

impl PartitionMetrics {
    /// Counts what was fetched.
    pub(crate) fn record_fetched(&mut self, node: i32, records: &FetchedRecords, now_ms: i64) {
        for counts in &records.counts {
            let (telemetry, labels) = (&self.telemetry, &self.labels);
            let key = (node, counts.compression.name());
            let [of_records, bytes, plain] = self.read.entry(key).or_insert_with(|| {
                let more = [
                    ("node_id", node.to_string()),
                    ("compression_codec", key.1.to_owned()),
                    ("outcome", "success".to_owned()),
                ];
                let counter = |name, help| {
                    let labels = labels.iter().cloned().chain(more.clone()).collect();
                    telemetry.counter(LEVEL, name, help, labels)
                };
                [
                    counter("otelcol_kafka_receiver_records", "The number of received records."),
                    counter(
                        "otelcol_kafka_receiver_bytes",
                        "The size in bytes of received records seen by the broker.",
                    ),
                    counter(
                        "otelcol_kafka_receiver_bytes_uncompressed",
                        "The uncompressed size in bytes of received records seen by the client.",
                    ),
                ]
            });
            of_records.add(counts.records);
            bytes.add(counts.compressed_bytes);
            plain.add(counts.plain_bytes);
        }
        if let Some(delay) = &self.delay {
            for fetched in &records.records {
                let ms = now_ms.saturating_sub(fetched.record.timestamp_ms).max(0);
                delay.observe(std::time::Duration::from_millis(ms.unsigned_abs()).as_secs_f64());
            }
        }
    }
}
