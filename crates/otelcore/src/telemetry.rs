//! `service::telemetry`: the configuration of the collector's own logs, metrics and identity.

mod logs;
mod push;
mod push_client;
mod traces;
mod views;

use std::time::Duration;

use otelcore_config::declare::{Config, ConfigValue, Field, Shape};
use otelcore_config::{DiagnosticKind, EffectiveValue, NodeValue, Section, config_struct};
use otelcore_pipeline::{Endpoint, MetricsLevel};

#[cfg(test)]
pub(crate) use self::logs::SamplingConfig;
pub(crate) use self::logs::{LogConfig, LogEncoding};
pub(crate) use self::push::{
    BatchLogProcessorConfig, LogProcessorConfig, OtlpPushConfig, PeriodicReaderConfig, TemporalityPreference,
};
#[cfg(feature = "commands")]
pub(crate) use self::push_client::check_push_files;
pub(crate) use self::push_client::push_exporter;
pub(crate) use self::traces::{BatchSpanProcessorConfig, SpanProcessorConfig, TracesConfig};
pub(crate) use self::views::{InstrumentType, ViewConfig, ViewSelectorConfig, ViewStreamConfig};

config_struct! {
    /// What the collector says about itself.
    pub(crate) struct TelemetryConfig {
        /// Its log.
        pub(crate) logs: LogConfig,
        /// Its metrics.
        pub(crate) metrics: MetricsConfig,
        /// Its traces.
        pub(crate) traces: TracesConfig,
        /// Attributes of its own resource.
        pub(crate) resource: ResourceConfig,
    }
}

#[cfg(feature = "commands")]
impl TelemetryConfig {
    /// Every peer that own telemetry is pushed to, with the place of its keys.
    pub(crate) fn push_targets(&self) -> Vec<(String, &OtlpPushConfig)> {
        let readers = self.metrics.pushes().filter_map(|(index, reader)| {
            Some((format!("service::telemetry::metrics::readers[{index}]"), &reader.exporter.otlp.as_ref()?.peer))
        });
        let processors = self.logs.processors.iter().enumerate().filter_map(|(index, processor)| {
            Some((format!("service::telemetry::logs::processors[{index}]"), processor.otlp()?))
        });
        let traces = self.traces.processors.iter().enumerate().filter_map(|(index, processor)| {
            Some((format!("service::telemetry::traces::processors[{index}]"), processor.otlp()?))
        });
        readers.chain(processors).chain(traces).collect()
    }
}

config_struct! {
    /// `service::telemetry::metrics`.
    #[config(check = Self::check)]
    pub(crate) struct MetricsConfig {
        /// How many metrics there are.
        pub(crate) level: OwnMetricsLevel,
        /// Where metrics are read; without the key, a page at `localhost:8888`.
        pub(crate) readers: Vec<ReaderConfig>,
        /// Which metrics are left out, renamed, or lose attributes; with the level `detailed` only.
        pub(crate) views: Vec<ViewConfig>,
        /// Of the page, as `host:port`.
        #[config(deprecated = "`readers:` with `- pull: {exporter: {prometheus: {host: ..., port: ...}}}`")]
        pub(crate) address: Option<String>,
        /// The addresses and forms of the metrics pages; empty when there is no page.
        #[config(skip)]
        pub(crate) pages: Vec<MetricsPageConfig>,
        /// Whether the configuration names such a page or an `address`, so that it is not the default one.
        #[config(skip)]
        pub(crate) page_is_named: bool,
    }
}

config_struct! {
    /// One of `readers`.
    #[config(check = Self::check)]
    // Producers would add metrics of other libraries; there are none in this program.
    #[config(unsupported("producers", "metric producers are not supported"))]
    pub(crate) struct ReaderConfig {
        /// Pushes.
        pub(crate) periodic: Option<PeriodicReaderConfig>,
        /// A page that is scraped.
        pub(crate) pull: Option<PullConfig>,
    }
}

config_struct! {
    /// `pull`.
    // Producers would add metrics of other libraries; there are none in this program.
    #[config(unsupported("producers", "metric producers are not supported"))]
    pub(crate) struct PullConfig {
        /// The form of the page.
        pub(crate) exporter: PullExporterConfig,
    }
}

config_struct! {
    /// `pull::exporter`.
    #[config(check = Self::check)]
    pub(crate) struct PullExporterConfig {
        /// A page for Prometheus.
        pub(crate) prometheus: Option<MetricsPageConfig>,
    }
}

config_struct! {
    /// A page for Prometheus.
    #[config(check = Self::check)]
    #[config(unsupported(
        "with_resource_constant_labels",
        "own metrics have no resource labels; see target_info"
    ))]
    #[derive(PartialEq, Eq)]
    pub(crate) struct MetricsPageConfig {
        /// Where it listens.
        pub(crate) host: String = "localhost".to_owned(),
        /// Its port.
        pub(crate) port: u16 = 8888,
        /// Leaves the labels of scopes out.
        pub(crate) without_scope_info: bool = true,
        /// Leaves units out of names.
        pub(crate) without_units: bool = true,
        /// Leaves `_total` out of the names of counters.
        pub(crate) without_type_suffix: bool = true,
    }
}

/// `level` of metrics and traces. Null is the zero value, which is basic; an empty text is no level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnMetricsLevel(pub(crate) MetricsLevel);

const LEVELS: [(&str, MetricsLevel); 4] = [
    ("none", MetricsLevel::None),
    ("basic", MetricsLevel::Basic),
    ("normal", MetricsLevel::Normal),
    ("detailed", MetricsLevel::Detailed),
];

impl OwnMetricsLevel {
    fn name(self) -> &'static str {
        LEVELS.iter().find(|(_, level)| *level == self.0).map_or("", |(name, _)| *name)
    }
}

impl Default for OwnMetricsLevel {
    fn default() -> Self {
        Self(MetricsLevel::Normal)
    }
}

impl ConfigValue for OwnMetricsLevel {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        let empty = s.raw_node(key).is_some_and(|node| node.as_str() == Some(""));
        let written = s.str(key, default.name());
        let lower = written.to_ascii_lowercase();
        if let Some((_, level)) = LEVELS.iter().find(|(name, _)| *name == lower) {
            return Self(*level);
        }
        if lower.is_empty() && !empty {
            return Self(MetricsLevel::Basic);
        }
        s.error(key, format!("'level' unknown metrics level {written:?}"))
            .help("write none, basic, normal or detailed");
        Self::default()
    }

    fn shape(_: &Self) -> Shape {
        Shape::OneOf(LEVELS.iter().map(|(name, _)| *name).collect())
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.name().to_owned())
    }
}

impl MetricsPageConfig {
    /// `host:port`.
    pub(crate) fn endpoint(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    fn check(&mut self, s: &mut Section<'_>) {
        for (key, without) in [("without_scope_info", self.without_scope_info), ("without_units", self.without_units)] {
            if !without {
                s.warn(key, format!("'{key}: false' has no effect: own metrics have neither scopes nor unit suffixes"));
            }
        }
    }
}

impl ReaderConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.pull.is_some() && self.periodic.is_some() {
            s.error("periodic", "must not specify multiple metric reader type")
                .kind(DiagnosticKind::Invalid)
                .help("write two readers: `- periodic: ...` and `- pull: ...`");
        } else if self.pull.is_none() && self.periodic.is_none() && !s.contains_key("pull") {
            s.error_for_keys(&["pull"], "no valid metric reader")
                .kind(DiagnosticKind::Invalid)
                .help("write `pull: {exporter: {prometheus: {host: localhost, port: 8888}}}`");
        }
        if s.contains_key("pull") && self.pull.is_none() {
            s.error("pull", "must specify one exporter")
                .kind(DiagnosticKind::Invalid)
                .help("write `exporter: {prometheus: {host: localhost, port: 8888}}` in it");
        }
    }
}

impl PullExporterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if s.contains_key("prometheus") {
            self.prometheus.get_or_insert_default();
        } else {
            s.error_for_keys(&["prometheus"], "must specify one exporter")
                .kind(DiagnosticKind::Invalid)
                .help("write `prometheus: {host: localhost, port: 8888}`");
        }
    }
}

impl MetricsConfig {
    /// The readers that push, each with its index in `readers`.
    pub(crate) fn pushes(&self) -> impl Iterator<Item = (usize, &PeriodicReaderConfig)> {
        let readers = self.readers.iter().enumerate();
        readers.filter_map(|(index, reader)| Some((index, reader.periodic.as_ref()?)))
    }

    fn check(&mut self, s: &mut Section<'_>) {
        self.page_is_named = s.contains_key("readers") || s.contains_key("address");
        let mut pages = if s.contains_key("readers") { Vec::new() } else { vec![MetricsPageConfig::default()] };
        if let Some(address) = &self.address {
            match otelcore_net::parse_listen_endpoint(address, "tcp") {
                Ok(Endpoint::Tcp { host, port }) => {
                    pages = vec![MetricsPageConfig { host, port, ..MetricsPageConfig::default() }]
                }
                Ok(Endpoint::Unix(_)) => {}
                Err(e) => {
                    s.error("address", e.to_string());
                }
            }
        }
        pages.extend(self.readers.iter().filter_map(|reader| reader.pull.as_ref()?.exporter.prometheus.clone()));
        if self.level.0 == MetricsLevel::None {
            pages.clear();
            self.readers.clear();
        } else if pages.is_empty() && self.pushes().next().is_none() {
            s.error(
                "readers",
                "service::telemetry: collector telemetry metrics reader should exist when metric level is not none",
            )
            .help("write `level: none` to have no metrics");
        }
        self.pages = pages;
        if !self.views.is_empty() && self.level.0 != MetricsLevel::Detailed {
            s.error(
                "views",
                "service::telemetry::metrics::views can only be set when service::telemetry::metrics::level is detailed",
            )
            .kind(DiagnosticKind::Invalid)
            .help("write `level: detailed`");
        }
    }
}

/// Milliseconds as a configuration has them; what is not above zero is the default.
pub(crate) fn duration_or(millis: i64, default: u64) -> Duration {
    Duration::from_millis(u64::try_from(millis).ok().filter(|millis| *millis > 0).unwrap_or(default))
}

/// The configured attributes of the collector's own resource; null removes a default. They are a list
/// `attributes: [{name, value}]`, or in the older form each key is an attribute.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResourceConfig(pub(crate) Vec<(String, Option<String>)>);

config_struct! {
    /// The keys of `resource` that are not attributes.
    #[config(unsupported("attributes_list", "write `attributes:` as a list of `name` and `value`"))]
    struct ResourceKeysConfig {
        /// The URL of the schema of the attributes.
        #[config(ignored = "own telemetry has no schema")]
        schema_url: Option<String>,
        /// The attributes.
        attributes: Vec<ResourceAttributeConfig>,
    }
}

config_struct! {
    /// One of `attributes`.
    struct ResourceAttributeConfig {
        /// Its key.
        name: String,
        /// Its value.
        value: ResourceValue,
        /// The type of the value.
        #[config(key = "type")]
        #[config(ignored = "values are texts")]
        kind: String,
    }
}

/// Any scalar, as text.
#[derive(Clone, Debug, Default)]
struct ResourceValue(Option<String>);

impl ConfigValue for ResourceValue {
    fn read(s: &mut Section<'_>, key: &str, _: &Self) -> Self {
        Self(s.raw_node(key).map(|node| match &node.value {
            NodeValue::Str(text) => text.to_string(),
            NodeValue::Int(v) => v.to_string(),
            NodeValue::Float(v) => v.to_string(),
            NodeValue::Bool(v) => v.to_string(),
            NodeValue::Null | NodeValue::List(_) | NodeValue::Map(_) => String::new(),
        }))
    }

    fn shape(_: &Self) -> Shape {
        Shape::Any
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Null
    }
}

impl ConfigValue for ResourceConfig {
    fn read(s: &mut Section<'_>, key: &str, _: &Self) -> Self {
        let mut s = s.section(key);
        let listed = s.contains_key("attributes");
        let keys = ResourceKeysConfig::read_keys(&mut s, &ResourceKeysConfig::default());
        let mut attributes: Vec<_> = keys.attributes.into_iter().map(|a| (a.name, a.value.0)).collect();
        let known: Vec<&str> = resource_fields().iter().map(|field| field.key).collect();
        for key in s.child_keys() {
            let name = key.value.as_str();
            if known.contains(&name) {
                continue;
            }
            if listed {
                s.error(name, "resource::attributes cannot be used together with legacy inline attributes");
            }
            let value = match s.raw_node(name).map(|node| (&node.value, &node.raw)) {
                Some((NodeValue::Str(text), _)) => Some(text.to_string()),
                // For example the node name `123`, which an environment variable gives as a number.
                Some((_, Some(raw))) => Some(raw.to_string()),
                Some((NodeValue::Null, None)) | None => None,
                Some(_) => {
                    s.error(name, format!("legacy resource attribute \"{name}\" must be string or null"));
                    None
                }
            };
            s.record(name, value.clone().map_or(EffectiveValue::Null, EffectiveValue::Str));
            attributes.push((name.to_owned(), value));
        }
        s.finish();
        Self(attributes)
    }

    fn shape(_: &Self) -> Shape {
        Shape::Section { fields: resource_fields(), others: Some(Box::new(Shape::Str)) }
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Null
    }
}

fn resource_fields() -> Vec<Field> {
    ResourceKeysConfig::fields(&ResourceKeysConfig::default())
}
