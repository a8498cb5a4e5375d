//! The `prometheus` section.

use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_config::{Section, config_struct, matches_wildcard};
use otelcore_net::config::{HttpServerConfig, ListenConfig};
use otelcore_pipeline::QueueConfig;
use otelcore_prometheus_translation::TranslationStrategy;

config_struct! {
    /// Serves metrics on a page for Prometheus.
    #[config(check = Self::check)]
    pub struct PrometheusConfig {
        /// The HTTP server that scrapers connect to.
        #[config(flatten)]
        pub server: HttpServerConfig = HttpServerConfig {
            listen: ListenConfig {
                blank_endpoint: Some((
                    "expecting a non-blank address to run the Prometheus metrics handler",
                    "write `endpoint: \"0.0.0.0:8889\"`",
                )),
                ..ListenConfig::default()
            },
            ..HttpServerConfig::for_page_server("")
        },
        /// Prefix of every name.
        pub namespace: String,
        /// Labels of every series except `target_info`.
        pub const_labels: Vec<(String, String)>,
        /// Whether the times of points are written.
        pub send_timestamps: bool,
        /// A series is removed this long after its last point; zero hides everything.
        pub metric_expiration: Duration = Duration::from_mins(5),
        /// Resource attributes that become labels.
        pub resource_constant_labels: ResourceLabelsConfig,
        /// The older form of `resource_constant_labels`.
        pub resource_to_telemetry_conversion: ResourceConversionConfig,
        /// Whether the labels `otel_scope_*` are left out.
        pub without_scope_info: bool,
        /// How names are made: which characters are replaced, and whether unit and type are added.
        pub translation_strategy: TranslationStrategy,
        /// Whether unit and type are added to names.
        #[config(ignored = "`translation_strategy` has replaced it")]
        pub add_metric_suffixes: bool = true,
        /// Whether scrapers that ask for OpenMetrics get it. Without it, they get the text format 0.0.4.
        pub enable_open_metrics: bool,
        /// The most series; points of new ones above it are dropped. Zero is no limit.
        pub max_series: usize,
        /// The queue.
        pub sending_queue: Optional<QueueConfig>,
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

/// What the page shows; [`Default`] has the Go collector's defaults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageConfig {
    /// Prefix of every name.
    pub namespace: String,
    /// Labels of every series except `target_info`.
    pub const_labels: Vec<(String, String)>,
    /// Whether the times of points are written.
    pub send_timestamps: bool,
    /// A series is removed this long after its last point; zero hides everything. Default 5 minutes.
    pub metric_expiration: Duration,
    /// Resource attributes that become labels.
    pub resource_labels: ResourceLabelsConfig,
    /// Whether the labels `otel_scope_*` are omitted.
    pub without_scope_info: bool,
    /// How names are made.
    pub strategy: TranslationStrategy,
    /// The most series.
    pub max_series: Option<usize>,
}

impl Default for PageConfig {
    fn default() -> Self {
        Self {
            namespace: String::new(),
            const_labels: Vec::new(),
            send_timestamps: false,
            metric_expiration: Duration::from_mins(5),
            resource_labels: ResourceLabelsConfig::default(),
            without_scope_info: false,
            strategy: TranslationStrategy::default(),
            max_series: None,
        }
    }
}

config_struct! {
    /// Resource attributes that are copied onto points, by patterns of `*` and `?`.
    #[derive(PartialEq, Eq)]
    pub struct ResourceLabelsConfig {
        /// Keys to copy.
        pub included: Vec<String>,
        /// Keys that are not copied, even if they are included.
        pub excluded: Vec<String>,
    }
}

impl ResourceLabelsConfig {
    /// Whether nothing is copied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.included.is_empty()
    }

    /// Whether an attribute is copied.
    #[must_use]
    pub fn includes(&self, key: &[u8]) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|p| matches_wildcard(p.as_bytes(), key));
        any(&self.included) && !any(&self.excluded)
    }
}

impl PrometheusConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.metric_expiration.is_zero() {
            s.warn("metric_expiration", "with a metric_expiration of zero every series is hidden at once")
                .help("write a large duration to keep series for good");
        }
        for (name, _) in &self.const_labels {
            if name.is_empty() || name.starts_with("__") {
                let message = format!("{name:?} is not a valid label name: every series will be dropped for it");
                s.warn("const_labels", message);
            }
        }
        if s.contains_key("resource_constant_labels") && s.contains_key("resource_to_telemetry_conversion") {
            s.error(
                "resource_to_telemetry_conversion",
                "`resource_to_telemetry_conversion` and `resource_constant_labels` can't be used together",
            )
            .help("keep `resource_constant_labels`");
        }
        if s.contains_key("add_metric_suffixes") {
            if self.add_metric_suffixes {
                s.warn_deprecated("add_metric_suffixes", "translation_strategy: UnderscoreEscapingWithSuffixes");
            } else {
                s.warn("add_metric_suffixes", "'add_metric_suffixes' has no effect any more, as in the Go collector")
                    .help("write translation_strategy: UnderscoreEscapingWithoutSuffixes");
            }
        }
    }

    /// What the page shows.
    #[must_use]
    pub fn page(&self) -> PageConfig {
        let old = &self.resource_to_telemetry_conversion;
        let mut resource_labels = self.resource_constant_labels.clone();
        if old.enabled {
            resource_labels.included = vec!["*".to_owned()];
            if old.exclude_service_attributes {
                let service = ["service.name", "service.namespace", "service.instance.id"];
                resource_labels.excluded = service.map(str::to_owned).to_vec();
            }
        }
        PageConfig {
            namespace: self.namespace.clone(),
            const_labels: self.const_labels.clone(),
            send_timestamps: self.send_timestamps,
            metric_expiration: self.metric_expiration,
            resource_labels,
            without_scope_info: self.without_scope_info,
            strategy: self.translation_strategy,
            max_series: Some(self.max_series).filter(|most| *most > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use otelcore_config::declare::Config;
    use otelcore_config::{Diagnostics, from_yaml};

    use super::*;

    fn parse(yaml: &str) -> (PrometheusConfig, String) {
        let d = Diagnostics::new();
        let node = from_yaml(yaml, &d);
        let section = Section::new(node.as_ref(), "exporters::prometheus", &d);
        let parsed = PrometheusConfig::read_section(section, &PrometheusConfig::default());
        (parsed, d.render_to_string(false))
    }

    #[test]
    fn defaults_are_those_of_the_go_collector() {
        let (parsed, diagnostics) = parse("endpoint: 127.0.0.1:8889");
        assert_eq!(
            (parsed.page(), parsed.sending_queue.is_on(), diagnostics.as_str()),
            (PageConfig::default(), false, "")
        );
    }

    #[test]
    fn blank_endpoint_is_refused() {
        for yaml in ["namespace: x", "endpoint: ' '"] {
            let (_, diagnostics) = parse(yaml);
            assert!(
                diagnostics.contains("expecting a non-blank address to run the Prometheus metrics handler"),
                "{diagnostics}"
            );
        }
    }

    #[test]
    fn options_are_all_read() {
        let (parsed, diagnostics) = parse(
            "endpoint: :8889\nnamespace: ns\nconst_labels: {a: x, b: y}\nsend_timestamps: true\n\
             metric_expiration: 180m\nresource_to_telemetry_conversion: {enabled: true, exclude_service_attributes: true}\n\
             without_scope_info: true\ntranslation_strategy: NoTranslation\nsending_queue: {queue_size: 5}\n\
             enable_open_metrics: true\nmax_series: 7\n",
        );
        assert_eq!(diagnostics, "");
        assert!(parsed.sending_queue.is_on() && parsed.enable_open_metrics);
        let excluded = ["service.name", "service.namespace", "service.instance.id"].map(str::to_owned).to_vec();
        let expected = PageConfig {
            namespace: "ns".to_owned(),
            const_labels: vec![("a".to_owned(), "x".to_owned()), ("b".to_owned(), "y".to_owned())],
            send_timestamps: true,
            metric_expiration: Duration::from_hours(3),
            resource_labels: ResourceLabelsConfig { included: vec!["*".to_owned()], excluded },
            without_scope_info: true,
            strategy: TranslationStrategy::NoTranslation,
            max_series: Some(7),
        };
        assert_eq!(parsed.page(), expected);
    }

    #[test]
    fn options_without_effect_and_invalid_options_are_reported() {
        let table = [
            ("add_metric_suffixes: false", true, "UnderscoreEscapingWithoutSuffixes"),
            ("add_metric_suffixes: true", true, "deprecated"),
            ("metric_expiration: 0s", true, "every series is hidden"),
            ("const_labels: {__x: y}", true, "not a valid label name"),
            ("translation_strategy: Nope", true, "invalid translation_strategy: Nope"),
            ("resource_constant_labels: {enabled: true}", true, "has invalid keys: enabled"),
            (
                "resource_constant_labels: {included: [a]}\nresource_to_telemetry_conversion: {enabled: true}",
                true,
                "can't be used together",
            ),
            ("tls: {cert_file: x}", true, "must include both certificate and key"),
            ("retry_on_failure: {}", true, "invalid keys: retry_on_failure"),
        ];
        for (yaml, _, expected) in table {
            let (_, diagnostics) = parse(&format!("endpoint: :8889\n{yaml}\n"));
            assert!(diagnostics.contains(expected), "{yaml}: {diagnostics}");
        }
    }
}
