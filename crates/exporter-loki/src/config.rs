//! The `loki` section.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_config::{Section, config_struct};
use otelcore_net::config::{HttpClientConfig, HttpCompression};
use otelcore_net::{HttpSender, Url};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, ExporterQueueConfig, LogField, MetricsLevel,
    QueueConfig, ReadFile, RetryConfig, StartError,
};

use crate::hints::DefaultLabels;
use crate::protocol::LokiProtocol;

/// What older versions of the exporter had instead of hints.
const HINTS: &str = "the attributes `loki.attribute.labels`, `loki.resource.labels`, `loki.format` and `loki.tenant` of the \
    telemetry say it; set them with the processors `attributes` and `resource`";

config_struct! {
    /// `default_labels_enabled`: the labels that records have without a hint.
    pub struct DefaultLabelsConfig {
        /// The label `exporter="OTLP"`.
        pub exporter: bool = true,
        /// The label `job`, from `service.namespace` and `service.name`.
        pub job: bool = true,
        /// The label `instance`, from `service.instance.id`.
        pub instance: bool = true,
        /// The label `level`, from the attribute of this name, or the number of the severity.
        pub level: bool = true,
    }
}

config_struct! {
    /// Sends logs to the push API of Loki. Newer versions of Loki accept OTLP, from the exporter `otlp_http`.
    #[config(check = Self::check)]
    #[config(unsupported("labels", HINTS))]
    #[config(unsupported("tenant", HINTS))]
    #[config(unsupported("format", HINTS))]
    pub struct LokiExporterConfig {
        /// The URL of the push API: `http://host:3100/loki/api/v1/push`.
        pub endpoint: String,
        /// The client. Requests are always compressed with snappy.
        #[config(flatten)]
        pub client: HttpClientConfig = HttpClientConfig {
            timeout: Duration::from_secs(30),
            compression: HttpCompression::Snappy,
            ..HttpClientConfig::default()
        },
        /// What happens with a payload that can't be sent now.
        pub retry_on_failure: RetryConfig,
        /// The queue.
        pub sending_queue: Optional<QueueConfig> = Optional::on(QueueConfig::default()),
        /// The labels that records have without a hint.
        pub default_labels_enabled: DefaultLabelsConfig,
    }
}

impl LokiExporterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let example = "write `endpoint: \"http://host:3100/loki/api/v1/push\"`";
        if self.endpoint.is_empty() {
            s.error("endpoint", "\"endpoint\" must be a valid URL").help(example);
        } else if let Err(e) = Url::parse(&self.endpoint) {
            s.start_error("endpoint", format!("\"endpoint\" must be a valid URL: {e}")).help(example);
        }
        if self.client.compression != HttpCompression::Snappy && s.contains_key("compression") {
            s.error("compression", "compression type must be snappy").help("leave it out");
        }
        self.client.compression = HttpCompression::Snappy;
    }
}

/// The `loki` exporter.
#[derive(Clone, Copy, Debug)]
pub struct LokiExporterFactory;

impl ComponentType for LokiExporterFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "loki",
        aliases: &[],
        signals: &[Signal::Logs],
        stability: "Deprecated",
    };
    type Config = LokiExporterConfig;

    fn create(&self, config: &LokiExporterConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let url = Url::parse(&config.endpoint)
            .map_err(|e| StartError::Config(format!("\"endpoint\" must be a valid URL: {e}")))?;
        let otlp = format!("endpoint: {}/otlp", config.endpoint.trim_end_matches("/loki/api/v1/push"));
        let fields = [("exporter", LogField::Str("otlp_http")), ("config", LogField::Str(&otlp))];
        context.log.warn("the exporter is deprecated: Loki accepts OTLP since version 3", &fields);
        let defaults = &config.default_labels_enabled;
        let (exporter, job, instance, level) = (defaults.exporter, defaults.job, defaults.instance, defaults.level);
        let missing_labels = context.telemetry.counter(
            MetricsLevel::Basic,
            "otelcol_lokiexporter_send_failed_due_to_missing_labels",
            "Number of log records failed to send because labels were missing [Development]",
            vec![("exporter", context.id.to_string())],
        );
        let defaults = DefaultLabels { exporter, job, instance, level };
        let protocol = LokiProtocol { url: Arc::new(url), defaults, wall_nanos: Arc::default(), missing_labels };
        let exporter = HttpSender::new(protocol, Rc::new(config.client.clone()), context)?;
        let exporter_queue = ExporterQueueConfig {
            queue: config.sending_queue.clone(),
            retry: config.retry_on_failure.clone(),
            timeout: config.client.timeout,
        };
        Ok(Component::Exporter(Box::new(exporter), exporter_queue))
    }

    fn check_files(&self, config: &LokiExporterConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        config.client.tls.check_files(read)
    }
}

#[cfg(test)]
mod tests {
    use otelcore_config::declare::Config;
    use otelcore_config::{Diagnostics, from_yaml};

    use super::*;

    fn parse(yaml: &str) -> (LokiExporterConfig, String) {
        let d = Diagnostics::new();
        let node = from_yaml(yaml, &d);
        let section = Section::new(node.as_ref(), "exporters::loki", &d);
        let parsed = LokiExporterConfig::read_section(section, &LokiExporterConfig::default());
        (parsed, d.render_to_string(false))
    }

    #[test]
    fn options_are_read() {
        let (parsed, diagnostics) = parse(
            "endpoint: http://loki:3100/loki/api/v1/push\ndefault_labels_enabled: {exporter: false, job: true}\n\
             sending_queue: {enabled: false}\n",
        );
        assert_eq!(diagnostics, "");
        let labels = &parsed.default_labels_enabled;
        assert_eq!((labels.exporter, labels.job, labels.level), (false, true, true));
        assert_eq!((parsed.sending_queue.is_on(), parsed.client.timeout), (false, Duration::from_secs(30)));
    }

    #[test]
    fn mistakes_and_options_of_older_versions_are_reported() {
        for (yaml, expected) in [
            ("{}", "\"endpoint\" must be a valid URL"),
            ("endpoint: 'loki:3100'", "\"endpoint\" must be a valid URL: "),
            ("{endpoint: 'http://h/', compression: gzip}", "compression type must be snappy"),
            (
                "{endpoint: 'http://h/', format: json}",
                "'format' is not supported: the attributes `loki.attribute.labels`",
            ),
            ("{endpoint: 'http://h/', labels: {attributes: {a: b}}}", "'labels' is not supported"),
            ("{endpoint: 'http://h/', tenant: {source: static}}", "'tenant' is not supported"),
            ("{endpoint: 'http://h/', default_labels_enabled: {x: true}}", "invalid keys: x"),
        ] {
            let (_, diagnostics) = parse(yaml);
            assert!(diagnostics.contains(expected), "{yaml}: {diagnostics}");
        }
    }
}
