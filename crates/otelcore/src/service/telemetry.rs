//! `service::telemetry`: the collector's own logs, metrics and identity.

use otelcore_config::{DiagnosticKind, EffectiveValue, NodeValue, OptionalFlavor, Section};
use otelcore_pipeline::{Endpoint, LogLevel, MetricsLevel};

use crate::service::logs::LogConfig;

/// The section, read and checked.
#[derive(Clone, Debug)]
pub(crate) struct TelemetryConfig {
    pub(crate) logs: LogConfig,
    pub(crate) level: MetricsLevel,
    /// The addresses and forms of the metrics pages; empty when there is no page.
    pub(crate) metrics_pages: Vec<MetricsPageConfig>,
    /// Whether the configuration names such a page or an `address`, so that it is not the default one.
    pub(crate) has_explicit_page: bool,
    /// The configured attributes of the collector's own resource; null removes a default.
    pub(crate) resource: Vec<(String, Option<String>)>,
}

/// A pull reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricsPageConfig {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether the names of counters end in `_total`.
    pub(crate) type_suffix: bool,
}

impl MetricsPageConfig {
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp { host: self.host.clone(), port: self.port }
    }
}

impl TelemetryConfig {
    pub(crate) fn parse(mut s: Section<'_>) -> Self {
        let logs = LogConfig::parse(s.section("logs"));
        let section = s.section("metrics");
        let has_explicit_page = section.contains_key("readers") || section.contains_key("address");
        let (level, metrics_pages) = parse_metrics(section);
        let mut traces = s.section("traces");
        // The collector makes no traces of its own: only check that it is a level.
        let _ = parse_level(&mut traces, "basic");
        for name in traces.str_list("propagators", &[]) {
            if !matches!(name.as_str(), "tracecontext" | "b3") {
                traces.error("propagators", format!("unsupported trace propagator: {name}"));
            }
        }
        traces.refuse_unsupported("processors", "this collector makes no traces of its own; leave `processors` out");
        traces.finish();
        let resource = parse_resource(s.section("resource"));
        s.finish();
        Self { logs, level, metrics_pages, has_explicit_page, resource }
    }
}

/// `level` of metrics and traces. Null is the zero value, which is basic; an empty text is no level.
fn parse_level(s: &mut Section<'_>, default: &str) -> MetricsLevel {
    let is_empty_text = s.raw_node("level").is_some_and(|node| node.as_str() == Some(""));
    let text = s.str("level", default);
    match text.to_ascii_lowercase().as_str() {
        "none" => MetricsLevel::None,
        "normal" => MetricsLevel::Normal,
        "detailed" => MetricsLevel::Detailed,
        "basic" => MetricsLevel::Basic,
        "" if !is_empty_text => MetricsLevel::Basic,
        _ => {
            s.error("level", format!("'level' unknown metrics level {text:?}"))
                .help("write none, basic, normal or detailed");
            MetricsLevel::Normal
        }
    }
}

fn parse_metrics(mut s: Section<'_>) -> (MetricsLevel, Vec<MetricsPageConfig>) {
    let level = parse_level(&mut s, "normal");
    let default = MetricsPageConfig { host: "localhost".to_owned(), port: 8888, type_suffix: false };
    let mut pages = if s.contains_key("readers") { Vec::new() } else { vec![default] };
    if s.warn_deprecated("address", "`readers:` with `- pull: {exporter: {prometheus: {host: ..., port: ...}}}`") {
        let address = s.str("address", "");
        match otelcore_net::parse_listen_endpoint(&address, "tcp") {
            Ok(Endpoint::Tcp { host, port }) => pages = vec![MetricsPageConfig { host, port, type_suffix: false }],
            Ok(Endpoint::Unix(_)) => {}
            Err(e) => {
                s.error("address", e.to_string());
            }
        }
    }
    for mut reader in s.sections("readers") {
        reader.refuse_unsupported("periodic", "own metrics can be scraped but not pushed yet; write a `pull` reader");
        if reader.contains_key("pull") {
            pages.extend(parse_pull_reader(reader.section("pull")));
        }
        reader.finish();
    }
    s.refuse_unsupported("views", "views of own metrics are not supported yet");
    if level == MetricsLevel::None {
        pages.clear();
    } else if pages.is_empty() {
        s.error(
            "readers",
            "service::telemetry: collector telemetry metrics reader should exist when metric level is not none",
        )
        .help("write `level: none` to have no metrics");
    }
    s.finish();
    (level, pages)
}

fn parse_pull_reader(mut s: Section<'_>) -> Option<MetricsPageConfig> {
    let mut exporter = s.section("exporter");
    let page = exporter.contains_key("prometheus").then(|| {
        let mut p = exporter.section("prometheus");
        let host = p.str("host", "localhost");
        let port = p.int::<u16>("port", 8888);
        for key in ["without_scope_info", "without_units"] {
            if !p.bool(key, true) {
                p.warn(key, format!("'{key}: false' has no effect: own metrics have neither scopes nor unit suffixes"));
            }
        }
        let type_suffix = !p.bool("without_type_suffix", true);
        p.refuse_unsupported("with_resource_constant_labels", "own metrics have no resource labels; see target_info");
        p.finish();
        MetricsPageConfig { host, port, type_suffix }
    });
    if page.is_none() {
        exporter
            .error_for_keys(&["prometheus"], "must specify one exporter")
            .kind(DiagnosticKind::Invalid)
            .help("write `prometheus: {host: localhost, port: 8888}`");
    }
    exporter.finish();
    // Producers would add metrics of other libraries; there are none in this program.
    s.refuse_unsupported("producers", "metric producers are not supported");
    s.finish();
    page
}

/// `attributes: [{name, value}]`, or the older form where each key is an attribute.
fn parse_resource(mut s: Section<'_>) -> Vec<(String, Option<String>)> {
    let mut attributes = Vec::new();
    let _ = s.opt_str("schema_url");
    s.refuse_unsupported("attributes_list", "write `attributes:` as a list of `name` and `value`");
    let is_list = s.contains_key("attributes");
    for mut attribute in s.sections("attributes") {
        let name = attribute.str("name", "");
        let value = attribute.raw_node("value").map(|node| match &node.value {
            NodeValue::Str(text) => text.to_string(),
            NodeValue::Int(v) => v.to_string(),
            NodeValue::Float(v) => v.to_string(),
            NodeValue::Bool(v) => v.to_string(),
            NodeValue::Null | NodeValue::List(_) | NodeValue::Map(_) => String::new(),
        });
        let _ = attribute.str("type", "");
        attribute.finish();
        attributes.push((name, value));
    }
    for key in s.child_keys() {
        let name = key.value.as_str();
        if matches!(name, "attributes" | "schema_url" | "attributes_list") {
            continue;
        }
        if is_list {
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
    attributes
}

/// The level of a name of zap's in upper or lower case. No record has a level above error, so `dpanic`, `panic` and
/// `fatal` are error.
pub(crate) fn parse_log_level(name: &str) -> Option<LogLevel> {
    Some(match name.to_ascii_lowercase().as_str() {
        "debug" => LogLevel::Debug,
        "info" | "" => LogLevel::Info,
        "warn" | "warning" => LogLevel::Warn,
        "error" | "dpanic" | "panic" | "fatal" => LogLevel::Error,
        _ => return None,
    })
}

/// The optional section `sampling` of logs is on unless it is disabled.
pub(crate) const SAMPLING_FLAVOR: OptionalFlavor = OptionalFlavor::Some;
