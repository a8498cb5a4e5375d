//! `sending_queue`, `retry_on_failure` and `timeout`: the keys that exporters share.

use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_config::{ComponentId, GoDuration, Section, config_enum, config_struct};

config_enum! {
    /// The unit of `queue_size`.
    pub enum Sizer {
        /// Payloads.
        Requests = "requests",
        /// Spans, data points, log records.
        Items = "items",
        /// OTLP bytes.
        Bytes = "bytes",
    }
}

config_enum! {
    /// The unit of the sizes of `batch`.
    pub enum BatchSizer {
        /// That of the queue, if it is written; else items.
        Inherited = "",
        /// Spans, data points, log records.
        Items = "items",
        /// OTLP bytes.
        Bytes = "bytes",
        /// Not allowed.
        Requests = "requests",
    }
}

config_struct! {
    /// `sending_queue`: payloads wait here between the pipeline and the exporter.
    #[config(check = Self::check)]
    #[derive(PartialEq, Eq)]
    pub struct QueueConfig {
        /// Payloads that are sent at the same time.
        #[config(at_least(1, "`num_consumers` must be positive"))]
        pub num_consumers: i64 = 10,
        /// Capacity, in units of `sizer`. Payloads that are being sent, and those that wait for their next attempt, are
        /// included. In addition, a queue in memory holds at most 256 MiB.
        #[config(at_least(1, "`queue_size` must be positive"))]
        pub queue_size: i64 = 1000,
        /// Unit of `queue_size`: payloads, spans (or data points, log records), or OTLP bytes.
        pub sizer: Sizer = Sizer::Requests,
        /// When the queue is full, payloads wait for room instead of being refused.
        pub block_on_overflow: bool,
        /// The sender waits for the outcome of its payload.
        pub wait_for_result: bool,
        /// The id of a storage extension, such as `file_storage`: payloads are kept on its disk until they are delivered. The
        /// sender has its answer when its payload is durable. `queue_size` then limits what is on disk, without the limit in
        /// memory.
        pub storage: String,
        /// Groups payloads before they are sent.
        pub batch: Optional<QueueBatchConfig> = Optional::on_null(QueueBatchConfig::default()),
        /// Capacity in bytes, for every sizer: 1000 requests of 8192 spans are gigabytes.
        #[config(skip)]
        pub max_bytes: u64 = QueueConfig::MAX_BYTES,
    }
}

impl QueueConfig {
    /// Bytes that a queue holds at most by default.
    pub const MAX_BYTES: u64 = 256 << 20;

    /// The rules that concern queue and `batch` together.
    fn check(&mut self, s: &mut Section<'_>) {
        if !self.storage.is_empty() {
            if let Err(e) = self.storage.parse::<ComponentId>() {
                s.error("storage", format!("'storage' {e}"))
                    .help("write the id of an extension such as `file_storage`");
            }
            if self.wait_for_result {
                let message = "`wait_for_result` is not supported with a persistent queue configured with `storage`";
                s.error("wait_for_result", message)
                    .help("leave one of them out: with `storage`, the sender waits until its payload is durable");
            }
        }
        let sizer_is_written = s.contains_key("sizer");
        let (queue_sizer, queue_size) = (self.sizer, self.queue_size);
        let Some(batch) = self.batch.get_mut() else { return };
        if batch.sizer == BatchSizer::Inherited {
            batch.sizer = match queue_sizer {
                _ if !sizer_is_written || batch.is_empty => BatchSizer::Items,
                Sizer::Requests => BatchSizer::Requests,
                Sizer::Items => BatchSizer::Items,
                Sizer::Bytes => BatchSizer::Bytes,
            };
        }
        if batch.sizer == BatchSizer::Requests {
            s.error("batch::sizer", "`batch` supports only `items` or `bytes` sizer, found \"requests\"")
                .help("write `sizer: items` in `batch`");
        }
        if batch.sizer.name() == queue_sizer.name() && batch.min_size > queue_size {
            s.error("batch::min_size", "`min_size` must be less than or equal to `queue_size`");
        }
    }

    /// The id of the extension that `storage` names. `None` for a queue in memory.
    #[must_use]
    pub fn storage_id(&self) -> Option<ComponentId> {
        self.storage.parse().ok()
    }

    pub(super) fn consumers(&self) -> usize {
        usize::try_from(self.num_consumers).unwrap_or(0)
    }

    /// Capacity, in units of `sizer`.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::try_from(self.queue_size).unwrap_or(0)
    }
}

config_struct! {
    /// `sending_queue::batch`.
    #[config(check = Self::check)]
    #[derive(PartialEq, Eq)]
    pub struct QueueBatchConfig {
        /// Unit of both sizes: items or bytes. Without it that of the queue, if it is written; else items.
        pub sizer: BatchSizer,
        /// How long a group waits for more payloads.
        #[config(above(GoDuration::ZERO, "`flush_timeout` must be positive"))]
        pub flush_timeout: Duration = Duration::from_millis(200),
        /// A group of this size is sent at once.
        #[config(at_least(0, "`min_size` must be non-negative"))]
        pub min_size: i64 = 8192,
        /// A larger group is cut; zero disables the limit.
        #[config(at_least(0, "`max_size` must be non-negative"))]
        pub max_size: i64 = 0,
        /// Which payloads are not grouped together.
        pub partition: PartitionConfig,
        /// The section has no keys: then it has its own unit.
        #[config(skip)]
        pub is_empty: bool,
    }
}

impl QueueBatchConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        self.is_empty = s.is_empty();
        let keys = &mut self.partition.metadata_keys;
        keys.iter_mut().for_each(|key| key.make_ascii_lowercase());
        keys.sort();
        if let Some([key, ..]) = keys.windows(2).find(|pair| pair.first() == pair.last()) {
            s.error("partition", format!("duplicate entry in metadata_keys: {key:?} (case-insensitive)"));
        }
        let (min_size, max_size) = (self.min_size, self.max_size);
        if max_size > 0 && max_size < min_size {
            s.error("max_size", format!("`max_size` ({max_size}) must be greater or equal to `min_size` ({min_size})"));
        }
    }

    pub(super) fn min(&self) -> u64 {
        u64::try_from(self.min_size).unwrap_or(0)
    }

    pub(super) fn max(&self) -> u64 {
        u64::try_from(self.max_size).unwrap_or(0)
    }
}

config_struct! {
    /// `sending_queue::batch::partition`.
    #[derive(PartialEq, Eq)]
    pub struct PartitionConfig {
        /// Metadata keys: payloads with different values of them are not grouped together. In lower case once they are
        /// read.
        pub metadata_keys: Vec<String>,
        /// The largest number of groups.
        #[config(ignored = "a group exists only while a payload waits in it")]
        pub cache_size: u64 = 10_000,
        /// How long a group without payloads is kept.
        #[config(ignored = "a group exists only while a payload waits in it")]
        pub idle_timeout: GoDuration = GoDuration::from_secs(90),
    }
}

config_struct! {
    /// `retry_on_failure`.
    #[config(check = Self::check)]
    #[derive(PartialEq)]
    pub struct RetryConfig {
        /// Whether retryable failures are retried.
        pub enabled: bool = true,
        /// The first pause.
        #[config(at_least(GoDuration::ZERO, "'initial_interval' must be non-negative"))]
        pub initial_interval: Duration = Duration::from_secs(5),
        /// Each pause is made longer or shorter at random, by up to this fraction of it.
        #[config(at_least(0, "'randomization_factor' must be within [0, 1]"))]
        #[config(at_most(1, "'randomization_factor' must be within [0, 1]"))]
        pub randomization_factor: f64 = 0.5,
        /// The factor by which the pause grows with each attempt.
        #[config(at_least(0, "'multiplier' must be non-negative"))]
        pub multiplier: f64 = 1.5,
        /// The longest pause.
        #[config(at_least(GoDuration::ZERO, "'max_interval' must be non-negative"))]
        pub max_interval: Duration = Duration::from_secs(30),
        /// The time from the first attempt after which a payload is given up; zero disables the limit. A queue on disk
        /// (`storage`) has no limit unless it is written here.
        #[config(at_least(GoDuration::ZERO, "'max_elapsed_time' must be non-negative"))]
        pub max_elapsed_time: Duration = Duration::from_mins(5),
        /// `max_elapsed_time` is written: only then it applies to a queue on disk.
        #[config(skip)]
        pub max_elapsed_time_is_written: bool,
        /// Payloads are sent one at a time, in their order: while one is sent or waits for its next attempt, no other is
        /// begun. For peers that refuse what comes out of order.
        #[config(skip)]
        pub keeps_order: bool,
    }
}

impl RetryConfig {
    /// For exporters that have no `retry_on_failure`.
    #[must_use]
    pub fn disabled() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    fn check(&mut self, s: &mut Section<'_>) {
        self.max_elapsed_time_is_written = s.contains_key("max_elapsed_time");
        if !self.max_elapsed_time.is_zero() {
            if self.max_elapsed_time < self.initial_interval {
                s.error("max_elapsed_time", "'max_elapsed_time' must not be less than 'initial_interval'");
            } else if self.max_elapsed_time < self.max_interval {
                s.error("max_elapsed_time", "'max_elapsed_time' must not be less than 'max_interval'");
            }
        }
    }
}

config_struct! {
    /// Queue, retry and timeout, which apply between the graph and an exporter's `send`.
    #[derive(PartialEq)]
    pub struct ExporterQueueConfig {
        /// Time limit of one attempt; zero disables it.
        #[config(at_least(GoDuration::ZERO, "'timeout' must be non-negative"))]
        pub timeout: Duration = Duration::from_secs(5),
        /// What happens with a payload that can't be sent now.
        #[config(key = "retry_on_failure")]
        pub retry: RetryConfig,
        /// The queue.
        #[config(key = "sending_queue")]
        pub queue: Optional<QueueConfig> = Optional::on(QueueConfig::default()),
    }
}

impl ExporterQueueConfig {
    /// For exporters that report the outcome at once: no queue, no retry, no timeout.
    #[must_use]
    pub fn without_queue() -> Self {
        Self { queue: Optional::default(), retry: RetryConfig::disabled(), timeout: Duration::ZERO }
    }
}
