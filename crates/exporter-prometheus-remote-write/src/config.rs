//! The `prometheus_remote_write` section, and its checks.

use std::rc::Rc;
use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_config::{ComponentId, Section, config_struct};
use otelcore_net::config::{HttpClientConfig, HttpCompression};
use otelcore_net::{HttpSender, Url};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, ExporterQueueConfig, QueueConfig, ReadFile,
    RetryConfig, StartError,
};
use otelcore_prometheus_translation::{LabelNaming, TranslationStrategy, put_label_name};

use crate::format::{ExternalLabels, ProtobufMessage, RemoteWriteFormat, ResourceLabels};
use crate::protocol::RemoteWriteProtocol;

/// Put in `max_batch_size_bytes` for zero.
const DEFAULT_BATCH_BYTES: i64 = 3_000_000;

config_struct! {
    /// `remote_write_queue`.
    pub struct RemoteWriteQueueConfig {
        /// Whether there is a queue. Without it a sender waits for the response.
        pub enabled: bool = true,
        /// Payloads that wait, at most.
        #[config(at_least(0, "remote write queue size can't be negative"))]
        pub queue_size: i64 = 10_000,
        /// Requests of one payload that are sent at the same time, where `max_batch_request_parallelism` is not written.
        #[config(at_least(0, "remote write consumer number can't be negative"))]
        pub num_consumers: i64 = 5,
        /// The id of a storage extension, such as `file_storage`: payloads are kept on its disk until they are delivered.
        pub storage: String,
    }
}

config_struct! {
    /// `resource_to_telemetry_conversion`.
    pub struct ResourceConversionConfig {
        /// Every resource attribute becomes a label.
        pub enabled: bool,
        /// Except those of the service: `service.name`, `service.namespace`, `service.instance.id`.
        pub exclude_service_attributes: bool,
    }
}

config_struct! {
    /// `target_info`.
    pub struct TargetInfoConfig {
        /// Whether there is a series `target_info` for each resource.
        pub enabled: bool = true,
    }
}

config_struct! {
    /// Sends metrics with the remote write protocol of Prometheus. Payloads are sent one at a time, in their order.
    #[config(check = Self::check)]
    #[config(unsupported("wal", "write `remote_write_queue: {storage: file_storage}`, and that extension, to keep on disk what waits"))]
    pub struct PrometheusRemoteWriteConfig {
        /// The URL: `http://host:9090/api/v1/write`.
        pub endpoint: String,
        /// The client. Requests are always compressed with snappy.
        #[config(flatten)]
        pub client: HttpClientConfig = HttpClientConfig {
            timeout: Duration::from_secs(5),
            compression: HttpCompression::Snappy,
            ..HttpClientConfig::default()
        },
        /// What happens with a payload that can't be sent now. Those behind it wait.
        pub retry_on_failure: RetryConfig =
            RetryConfig { initial_interval: Duration::from_millis(50), ..RetryConfig::default() },
        /// The queue.
        pub remote_write_queue: RemoteWriteQueueConfig,
        /// Prefix of every name.
        pub namespace: String,
        /// Labels of every series that does not have them.
        pub external_labels: Vec<(String, String)>,
        /// The largest request, before it is compressed; zero for the default. A payload above it becomes several, with
        /// different series.
        #[config(unit = "bytes")]
        #[config(at_least(0, "max_batch_byte_size must be greater than 0"))]
        pub max_batch_size_bytes: i64 = DEFAULT_BATCH_BYTES,
        /// Requests of one payload that are sent at the same time.
        #[config(at_least(1, "max_batch_request_parallelism can't be set to below 1"))]
        pub max_batch_request_parallelism: Option<i64>,
        /// Resource attributes as labels of every series.
        pub resource_to_telemetry_conversion: ResourceConversionConfig,
        /// The series `target_info`.
        pub target_info: TargetInfoConfig,
        /// Whether the labels `otel_scope_*` are left out.
        pub disable_scope_info: bool,
        /// Whether unit and type are added to names. `translation_strategy` takes precedence.
        pub add_metric_suffixes: bool = true,
        /// How names are made: which characters are replaced, and whether unit and type are added.
        pub translation_strategy: TranslationStrategy,
        /// Whether type, help and unit of metrics are sent. Remote write 2.0 always has them.
        pub send_metadata: bool,
        /// The message: remote write 1.0 or 2.0.
        pub protobuf_message: ProtobufMessage,
    }
}

impl PrometheusRemoteWriteConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let example = "write `endpoint: \"http://host:9090/api/v1/write\"`";
        if self.endpoint.is_empty() {
            s.error("endpoint", "endpoint required").help(example);
        } else if let Err(e) = Url::parse(&self.endpoint) {
            s.start_error("endpoint", format!("invalid endpoint: {e}")).help(example);
        }
        let queue = &self.remote_write_queue;
        if queue.enabled && queue.queue_size == 0 {
            s.error("remote_write_queue::queue_size", "a 0 size queue will drop all the data");
        }
        if !queue.storage.is_empty()
            && let Err(e) = queue.storage.parse::<ComponentId>()
        {
            s.error("remote_write_queue::storage", format!("'storage' {e}"))
                .help("write the id of an extension such as `file_storage`");
        }
        if self.max_batch_size_bytes == 0 {
            self.max_batch_size_bytes = DEFAULT_BATCH_BYTES;
        }
        if self.client.compression != HttpCompression::Snappy && s.contains_key("compression") {
            s.error("compression", "compression type must be snappy").help("leave it out");
        }
        self.client.compression = HttpCompression::Snappy;
        self.check_names(s);
        if let Err(e) = self.external_label_set() {
            s.start_error("external_labels", e);
        }
    }

    fn check_names(&mut self, s: &mut Section<'_>) {
        if s.contains_key("translation_strategy") {
            let strategy = self.translation_strategy;
            if strategy.keeps_utf8() && self.protobuf_message == ProtobufMessage::Version1 {
                let name = strategy.name();
                let message =
                    format!("translation strategy {name} requires Prometheus Remote Write 2.0 (UTF-8 support)");
                s.error("translation_strategy", message)
                    .help("write `protobuf_message: io.prometheus.write.v2.Request`, if the receiver supports it");
            }
        } else if !self.add_metric_suffixes {
            s.warn_deprecated("add_metric_suffixes", "translation_strategy: UnderscoreEscapingWithoutSuffixes");
            self.translation_strategy = TranslationStrategy::UnderscoreEscapingWithoutSuffixes;
        }
    }

    /// The external labels with their translated names.
    fn external_label_set(&self) -> Result<ExternalLabels, String> {
        let naming = LabelNaming { joins_underscores: true, prefixes_underscore: true, ..LabelNaming::default() };
        let mut labels = Vec::new();
        for (key, value) in &self.external_labels {
            if key.is_empty() || value.is_empty() {
                return Err(
                    "prometheus remote write: external labels configuration contains an empty key or value".to_owned()
                );
            }
            let mut name = Vec::new();
            put_label_name(&mut name, key.as_bytes(), naming).map_err(|e| e.to_string())?;
            labels.push((name, value.as_bytes().to_vec()));
        }
        Ok(labels)
    }

    /// What requests look like.
    ///
    /// # Errors
    /// What is wrong with the external labels.
    #[doc(hidden)]
    pub fn format(&self) -> Result<RemoteWriteFormat, String> {
        let conversion = &self.resource_to_telemetry_conversion;
        Ok(RemoteWriteFormat {
            message: self.protobuf_message,
            namespace: self.namespace.clone(),
            external_labels: self.external_label_set()?,
            strategy: self.translation_strategy,
            target_info: self.target_info.enabled,
            scope_labels: !self.disable_scope_info,
            metadata: self.send_metadata,
            resource_labels: match (conversion.enabled, conversion.exclude_service_attributes) {
                (false, _) => ResourceLabels::None,
                (true, false) => ResourceLabels::All,
                (true, true) => ResourceLabels::AllButService,
            },
        })
    }

    fn queue(&self) -> ExporterQueueConfig {
        let queue = QueueConfig {
            num_consumers: 1,
            queue_size: self.remote_write_queue.queue_size.max(1),
            storage: self.remote_write_queue.storage.clone(),
            ..QueueConfig::default()
        };
        ExporterQueueConfig {
            queue: if self.remote_write_queue.enabled { Optional::on(queue) } else { Optional::default() },
            // Receivers refuse samples that come out of order.
            retry: RetryConfig { keeps_order: true, ..self.retry_on_failure.clone() },
            timeout: self.client.timeout,
        }
    }

    /// Requests that are sent at the same time.
    fn parallelism(&self) -> usize {
        let number = self.max_batch_request_parallelism.unwrap_or(self.remote_write_queue.num_consumers);
        usize::try_from(number).unwrap_or(1).max(1)
    }
}

/// The `prometheus_remote_write` exporter.
#[derive(Clone, Copy, Debug)]
pub struct PrometheusRemoteWriteFactory;

impl ComponentType for PrometheusRemoteWriteFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "prometheus_remote_write",
        aliases: &["prometheusremotewrite"],
        signals: &[Signal::Metrics],
        stability: "Beta",
    };
    type Config = PrometheusRemoteWriteConfig;

    fn create(
        &self,
        config: &PrometheusRemoteWriteConfig,
        context: &BuildContext<'_>,
    ) -> Result<Component, StartError> {
        let url = Url::parse(&config.endpoint).map_err(|e| StartError::Config(format!("invalid endpoint: {e}")))?;
        let format = config.format().map_err(StartError::Config)?;
        let max_bytes = usize::try_from(config.max_batch_size_bytes).unwrap_or(usize::MAX);
        let limits = (max_bytes, config.parallelism());
        let protocol = RemoteWriteProtocol::new(url, format, limits, &context.id.to_string(), context.telemetry);
        let exporter = HttpSender::new(protocol, Rc::new(config.client.clone()), context)?;
        Ok(Component::Exporter(Box::new(exporter), config.queue()))
    }

    fn check_files(&self, config: &PrometheusRemoteWriteConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        config.client.tls.check_files(read)
    }
}

#[cfg(test)]
mod tests {
    use otelcore_config::declare::Config;
    use otelcore_config::{Diagnostics, from_yaml};

    use super::*;

    fn parse(yaml: &str) -> (PrometheusRemoteWriteConfig, String) {
        let d = Diagnostics::new();
        let node = from_yaml(yaml, &d);
        let section = Section::new(node.as_ref(), "exporters::prometheus_remote_write", &d);
        let parsed = PrometheusRemoteWriteConfig::read_section(section, &PrometheusRemoteWriteConfig::default());
        (parsed, d.render_to_string(false))
    }

    #[test]
    fn payloads_are_sent_in_order_through_the_configured_queue() {
        let (parsed, diagnostics) = parse(
            "endpoint: http://h/write\nremote_write_queue: {queue_size: 7, num_consumers: 3, storage: file_storage}\n\
             max_batch_size_bytes: 0\nretry_on_failure: {max_interval: 9s}\ncompression: snappy\n",
        );
        assert_eq!(diagnostics, "");
        let queue = parsed.queue();
        assert!(queue.retry.keeps_order);
        assert_eq!(queue.retry.initial_interval, Duration::from_millis(50));
        let sending = queue.queue.get().unwrap();
        assert_eq!((sending.num_consumers, sending.queue_size, sending.storage.as_str()), (1, 7, "file_storage"));
        assert_eq!((parsed.parallelism(), parsed.max_batch_size_bytes), (3, DEFAULT_BATCH_BYTES));
        let (parsed, _) = parse(
            "endpoint: http://h/\nmax_batch_request_parallelism: 2\nremote_write_queue: {enabled: false, queue_size: 0}",
        );
        assert_eq!((parsed.parallelism(), parsed.queue().queue.get().is_none()), (2, true));
    }

    #[test]
    fn names_and_labels_follow_the_configuration() {
        let (parsed, diagnostics) = parse(
            "endpoint: http://h/\nexternal_labels: {a.b: x, 1c: y}\nadd_metric_suffixes: false\n\
             resource_to_telemetry_conversion: {enabled: true, exclude_service_attributes: true}\n",
        );
        assert!(diagnostics.contains("translation_strategy: UnderscoreEscapingWithoutSuffixes"), "{diagnostics}");
        let format = parsed.format().unwrap();
        assert_eq!(format.strategy, TranslationStrategy::UnderscoreEscapingWithoutSuffixes);
        assert_eq!(format.resource_labels, ResourceLabels::AllButService);
        let names: Vec<_> = format.external_labels.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
        assert_eq!(names, ["a_b", "key_1c"]);
    }

    #[test]
    fn mistakes_are_reported_with_the_messages_of_the_go_collector() {
        for (yaml, expected) in [
            ("namespace: x", "endpoint required"),
            ("endpoint: 'h:9090'", "invalid endpoint: "),
            ("remote_write_queue: {queue_size: -1}", "remote write queue size can't be negative"),
            ("remote_write_queue: {queue_size: 0}", "a 0 size queue will drop all the data"),
            ("remote_write_queue: {num_consumers: -1}", "remote write consumer number can't be negative"),
            ("remote_write_queue: {storage: '/x'}", "write the id of an extension such as `file_storage`"),
            ("max_batch_request_parallelism: 0", "max_batch_request_parallelism can't be set to below 1"),
            ("max_batch_size_bytes: -1", "max_batch_byte_size must be greater than 0"),
            ("compression: gzip", "compression type must be snappy"),
            ("compression: none", "compression type must be snappy"),
            (
                "protobuf_message: x",
                "unknown type for remote write protobuf message x, supported: prometheus.WriteRequest",
            ),
            ("translation_strategy: x", "invalid translation_strategy: x"),
            (
                "translation_strategy: NoTranslation",
                "translation strategy NoTranslation requires Prometheus Remote Write 2.0",
            ),
            ("external_labels: {a: ''}", "external labels configuration contains an empty key or value"),
            ("external_labels: {____: x}", "comes to underscores only"),
            ("wal: {directory: /wal}", "'wal' is not supported: write `remote_write_queue: {storage: file_storage}`"),
            ("sending_queue: {}", "invalid keys: sending_queue"),
        ] {
            let endpoint =
                if yaml.contains("endpoint:") || yaml.starts_with("namespace") { "" } else { "endpoint: http://h/" };
            let (_, diagnostics) = parse(&format!("{endpoint}\n{yaml}\n"));
            assert!(diagnostics.contains(expected), "{yaml}: {diagnostics}");
        }
        assert_eq!(parse("endpoint: http://h/\nwal: {}").1, "");
    }
}
