//! The `prometheus` section.

use std::time::Duration;

use otelcore_config::{ComponentId, GoDuration, OptionalFlavor, Section};
use otelcore_net::config::{HttpServerConfig, HttpServerDefaults};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, ExporterQueueConfig, Factory,
    ListenAddress, QueueConfig, ReadFile, ServedProtocol, StartError,
};

use crate::dropped_points::DroppedPoints;
use crate::exporter::PrometheusExporter;
use crate::names::TranslationStrategy;

/// Settings of a `prometheus` exporter.
#[derive(Clone, Debug)]
pub struct PrometheusConfig {
    /// The HTTP server that scrapers connect to.
    pub server: HttpServerConfig,
    /// `sending_queue`, off by default.
    pub queue: QueueConfig,
    /// What the page shows.
    pub page: PageConfig,
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
        }
    }
}

/// Resource attributes that are copied onto points, by patterns of `*` and `?`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResourceLabelsConfig {
    /// Keys to copy.
    pub included: Vec<String>,
    /// Keys that are not copied, even if they are included.
    pub excluded: Vec<String>,
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

/// `*` is any text, `?` one character.
fn matches_wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while let Some(&b) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                t += 1;
                while text.get(t).is_some_and(|b| b & 0xc0 == 0x80) {
                    t += 1;
                }
            }
            Some(c) if *c == b => {
                p += 1;
                t += 1;
            }
            _ => match star {
                // The last star matches one byte more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|b| *b == b'*')
}

impl ComponentConfig for PrometheusConfig {
    fn create(&self, build: &BuildContext<'_>) -> Result<Component, StartError> {
        let dropped = DroppedPoints::new(build.telemetry, &build.id.to_string(), build.log.clone());
        let exporter = PrometheusExporter::new(self, dropped, build)?;
        let sending = ExporterQueueConfig { queue: self.queue.clone(), ..ExporterQueueConfig::without_queue() };
        Ok(Component::Exporter(Box::new(exporter), sending))
    }

    fn check_files(&self, read: ReadFile<'_>) -> Result<(), String> {
        self.server.tls.as_ref().map_or(Ok(()), |tls| tls.check_files(read))
    }

    fn listen_addresses(&self) -> Vec<ListenAddress> {
        let endpoint = self.server.listen.clone();
        vec![ListenAddress {
            endpoint,
            config_key: "endpoint",
            protocol: ServedProtocol::Metrics,
            path: "/metrics".to_owned(),
        }]
    }
}

/// Makes `prometheus` exporters.
#[derive(Debug)]
pub struct PrometheusFactory;

impl Factory for PrometheusFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Exporter,
            type_name: "prometheus",
            aliases: &[],
            signals: &[Signal::Metrics],
            stability: "Beta",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let is_blank = s.str("endpoint", "").trim().is_empty();
        if is_blank {
            s.start_error("endpoint", "expecting a non-blank address to run the Prometheus metrics handler")
                .help("write `endpoint: \"0.0.0.0:8889\"`");
            s.mark_reported("endpoint");
        }
        let server = HttpServerConfig::parse(&mut s, &HttpServerDefaults::for_page_server("localhost:0"));
        let expiration = s.duration("metric_expiration", GoDuration::from_secs(300));
        if expiration.nanos_or_zero() == 0 {
            s.warn("metric_expiration", "with a metric_expiration of zero every series is hidden at once")
                .help("write a large duration to keep series for good");
        }
        let page = PageConfig {
            namespace: s.str("namespace", ""),
            const_labels: const_labels(&mut s),
            send_timestamps: s.bool("send_timestamps", false),
            metric_expiration: Duration::from_nanos(expiration.nanos_or_zero()),
            resource_labels: resource_labels(&mut s),
            without_scope_info: s.bool("without_scope_info", false),
            strategy: strategy(&mut s),
        };
        if s.bool("enable_open_metrics", false) {
            s.warn("enable_open_metrics", "OpenMetrics is not supported yet: scrapers get the text format 0.0.4");
        }
        let queue = QueueConfig::parse(s.optional_section("sending_queue", OptionalFlavor::None));
        s.finish();
        let server = server.filter(|_| !is_blank)?;
        Some(Box::new(PrometheusConfig { server, queue, page }))
    }
}

fn const_labels(s: &mut Section<'_>) -> Vec<(String, String)> {
    let labels = s.str_map("const_labels");
    for (name, _) in &labels {
        if name.is_empty() || name.starts_with("__") {
            s.warn("const_labels", format!("{name:?} is not a valid label name: every series will be dropped for it"));
        }
    }
    labels
}

fn strategy(s: &mut Section<'_>) -> TranslationStrategy {
    let value = s.str("translation_strategy", "");
    let strategy = TranslationStrategy::from_config_value(&value);
    if strategy.is_none() {
        let known = [
            "UnderscoreEscapingWithSuffixes",
            "UnderscoreEscapingWithoutSuffixes",
            "NoUTF8EscapingWithSuffixes",
            "NoTranslation",
        ];
        let help = otelcore_config::nearest_name(&value, known).map(|near| format!("did you mean `{near}`?"));
        s.error("translation_strategy", format!("invalid translation_strategy: {value}")).maybe_help(help);
    }
    if s.contains_key("add_metric_suffixes") {
        let kept = s.bool("add_metric_suffixes", true);
        if kept {
            s.warn_deprecated("add_metric_suffixes", "translation_strategy: UnderscoreEscapingWithSuffixes");
        } else {
            s.warn("add_metric_suffixes", "'add_metric_suffixes' has no effect any more, as in the Go collector")
                .help("write translation_strategy: UnderscoreEscapingWithoutSuffixes");
        }
    } else {
        let _ = s.bool("add_metric_suffixes", true);
    }
    strategy.unwrap_or_default()
}

fn resource_labels(s: &mut Section<'_>) -> ResourceLabelsConfig {
    if s.contains_key("resource_constant_labels") && s.contains_key("resource_to_telemetry_conversion") {
        s.error(
            "resource_to_telemetry_conversion",
            "`resource_to_telemetry_conversion` and `resource_constant_labels` can't be used together",
        )
        .help("keep `resource_constant_labels`");
    }
    let mut new = s.section("resource_constant_labels");
    let mut labels =
        ResourceLabelsConfig { included: new.str_list("included", &[]), excluded: new.str_list("excluded", &[]) };
    new.finish();
    let mut old = s.section("resource_to_telemetry_conversion");
    let enabled = old.bool("enabled", false);
    let without_service = old.bool("exclude_service_attributes", false);
    old.finish();
    if enabled {
        labels.included = vec!["*".to_owned()];
        if without_service {
            let service = ["service.name", "service.namespace", "service.instance.id"];
            labels.excluded = service.map(str::to_owned).to_vec();
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use otelcore_config::{Diagnostics, from_yaml};

    use super::*;

    #[test]
    fn wildcard_patterns_match_as_in_a_shell() {
        let table = [
            ("*", "", true),
            ("host.*", "host.name", true),
            ("host.*", "hostname", false),
            ("*.name", "k8s.pod.name", true),
            ("k8s.*.name", "k8s.pod.name", true),
            ("k8s.*.name", "k8s.pod.uid", false),
            ("a?c", "abc", true),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("a**b", "axxb", true),
            ("a", "a", true),
            ("", "a", false),
        ];
        for (pattern, key, expected) in table {
            assert_eq!(matches_wildcard(pattern.as_bytes(), key.as_bytes()), expected, "{pattern} {key}");
        }
    }

    fn parse(yaml: &str) -> (Option<PrometheusConfig>, String) {
        let d = Diagnostics::new();
        let node = from_yaml(yaml, &d);
        let section = Section::new(node.as_ref(), "exporters::prometheus", &d);
        let parsed = PrometheusFactory.parse(&"prometheus".parse().unwrap(), section);
        let any: Option<Box<dyn std::any::Any>> = parsed.map(|p| p as _);
        (any.and_then(|p| p.downcast().ok()).map(|p| *p), d.render_to_string(false))
    }

    #[test]
    fn defaults_are_those_of_the_go_collector() {
        let (parsed, diagnostics) = parse("endpoint: 127.0.0.1:8889");
        let parsed = parsed.unwrap();
        assert_eq!((parsed.page, parsed.queue.enabled, diagnostics.as_str()), (PageConfig::default(), false, ""));
    }

    #[test]
    fn blank_endpoint_is_refused() {
        for yaml in ["namespace: x", "endpoint: ' '"] {
            let (parsed, diagnostics) = parse(yaml);
            assert!(parsed.is_none());
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
             without_scope_info: true\ntranslation_strategy: NoTranslation\nsending_queue: {queue_size: 5}\n",
        );
        assert_eq!(diagnostics, "");
        let parsed = parsed.unwrap();
        assert!(parsed.queue.enabled);
        let excluded = ["service.name", "service.namespace", "service.instance.id"].map(str::to_owned).to_vec();
        let expected = PageConfig {
            namespace: "ns".to_owned(),
            const_labels: vec![("a".to_owned(), "x".to_owned()), ("b".to_owned(), "y".to_owned())],
            send_timestamps: true,
            metric_expiration: Duration::from_hours(3),
            resource_labels: ResourceLabelsConfig { included: vec!["*".to_owned()], excluded },
            without_scope_info: true,
            strategy: TranslationStrategy::NoTranslation,
        };
        assert_eq!(parsed.page, expected);
    }

    #[test]
    fn options_without_effect_and_invalid_options_are_reported() {
        let table = [
            ("add_metric_suffixes: false", true, "UnderscoreEscapingWithoutSuffixes"),
            ("add_metric_suffixes: true", true, "deprecated"),
            ("enable_open_metrics: true", true, "OpenMetrics is not supported yet"),
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
