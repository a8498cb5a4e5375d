//! `service::telemetry`: the collector's own logs, metrics and identity.

use otelcore_config::{Effective, Flavour, Kind, Section, Value};
use otelcore_pipeline::{Detail, Endpoint, Level};

use crate::service::logs::LogSettings;

/// The section, read and checked.
#[derive(Clone, Debug)]
pub(crate) struct TelemetrySettings {
    pub(crate) logs: LogSettings,
    pub(crate) level: Detail,
    /// The addresses and forms of the metrics pages; empty when there is no page.
    pub(crate) metrics: Vec<MetricsPage>,
    /// Whether the configuration names such a page or an `address`, so that it is not the default one.
    pub(crate) page_is_named: bool,
    /// The configured attributes of the collector's own resource; null removes a default.
    pub(crate) resource: Vec<(String, Option<String>)>,
}

/// A pull reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricsPage {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether the names of counters end in `_total`.
    pub(crate) type_suffix: bool,
}

impl MetricsPage {
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp { host: self.host.clone(), port: self.port }
    }
}

impl TelemetrySettings {
    pub(crate) fn parse(mut s: Section<'_>) -> Self {
        let logs = LogSettings::parse(s.section("logs"));
        let section = s.section("metrics");
        let page_is_named = section.has("readers") || section.has("address");
        let (level, metrics) = metrics(section);
        let mut traces = s.section("traces");
        // The collector makes no traces of its own: only check that it is a level.
        let _ = metrics_level(&mut traces, "basic");
        for name in traces.str_list("propagators", &[]) {
            if !matches!(name.as_str(), "tracecontext" | "b3") {
                traces.error("propagators", format!("unsupported trace propagator: {name}"));
            }
        }
        traces.unsupported("processors", "this collector makes no traces of its own; leave `processors` out");
        traces.finish();
        let resource = resource(s.section("resource"));
        s.finish();
        Self { logs, level, metrics, page_is_named, resource }
    }
}

/// `level` of metrics and traces. Null is the zero value, which is basic; an empty text is no level.
fn metrics_level(s: &mut Section<'_>, default: &str) -> Detail {
    let empty = s.node("level").is_some_and(|node| node.as_str() == Some(""));
    let written = s.str("level", default);
    match written.to_ascii_lowercase().as_str() {
        "none" => Detail::None,
        "normal" => Detail::Normal,
        "detailed" => Detail::Detailed,
        "basic" => Detail::Basic,
        "" if !empty => Detail::Basic,
        _ => {
            s.error("level", format!("'level' unknown metrics level {written:?}"))
                .hint("write none, basic, normal or detailed");
            Detail::Normal
        }
    }
}

fn metrics(mut s: Section<'_>) -> (Detail, Vec<MetricsPage>) {
    let level = metrics_level(&mut s, "normal");
    let default = MetricsPage { host: "localhost".to_owned(), port: 8888, type_suffix: false };
    let mut pages = if s.has("readers") { Vec::new() } else { vec![default] };
    if s.deprecated("address", "`readers:` with `- pull: {exporter: {prometheus: {host: ..., port: ...}}}`") {
        let address = s.str("address", "");
        match otelcore_net::listen_endpoint(&address, "tcp") {
            Ok(Endpoint::Tcp { host, port }) => pages = vec![MetricsPage { host, port, type_suffix: false }],
            Ok(Endpoint::Unix(_)) => {}
            Err(e) => {
                s.error("address", e.to_string());
            }
        }
    }
    for mut reader in s.sections("readers") {
        reader.unsupported("periodic", "own metrics can be scraped but not pushed yet; write a `pull` reader");
        if reader.has("pull") {
            pages.extend(pull(reader.section("pull")));
        }
        reader.finish();
    }
    s.unsupported("views", "views of own metrics are not supported yet");
    if level == Detail::None {
        pages.clear();
    } else if pages.is_empty() {
        s.error(
            "readers",
            "service::telemetry: collector telemetry metrics reader should exist when metric level is not none",
        )
        .hint("write `level: none` to have no metrics");
    }
    s.finish();
    (level, pages)
}

fn pull(mut s: Section<'_>) -> Option<MetricsPage> {
    let mut exporter = s.section("exporter");
    let page = exporter.has("prometheus").then(|| {
        let mut p = exporter.section("prometheus");
        let host = p.str("host", "localhost");
        let port = p.int::<u16>("port", 8888);
        for key in ["without_scope_info", "without_units"] {
            if !p.bool(key, true) {
                p.warn(key, format!("'{key}: false' has no effect: own metrics have neither scopes nor unit suffixes"));
            }
        }
        let type_suffix = !p.bool("without_type_suffix", true);
        p.unsupported("with_resource_constant_labels", "own metrics have no resource labels; see target_info");
        p.finish();
        MetricsPage { host, port, type_suffix }
    });
    if page.is_none() {
        exporter
            .error_of(&["prometheus"], "must specify one exporter")
            .kind(Kind::Invalid)
            .hint("write `prometheus: {host: localhost, port: 8888}`");
    }
    exporter.finish();
    // Producers would add metrics of other libraries; there are none in this program.
    s.unsupported("producers", "metric producers are not supported");
    s.finish();
    page
}

/// `attributes: [{name, value}]`, or the older form where each key is an attribute.
fn resource(mut s: Section<'_>) -> Vec<(String, Option<String>)> {
    let mut said = Vec::new();
    let _ = s.opt_str("schema_url");
    s.unsupported("attributes_list", "write `attributes:` as a list of `name` and `value`");
    let listed = s.has("attributes");
    for mut attribute in s.sections("attributes") {
        let name = attribute.str("name", "");
        let value = attribute.node("value").map(|node| match &node.value {
            Value::Str(text) => text.to_string(),
            Value::Int(v) => v.to_string(),
            Value::Float(v) => v.to_string(),
            Value::Bool(v) => v.to_string(),
            Value::Null | Value::List(_) | Value::Map(_) => String::new(),
        });
        let _ = attribute.str("type", "");
        attribute.finish();
        said.push((name, value));
    }
    for key in s.child_keys() {
        let name = key.value.as_str();
        if matches!(name, "attributes" | "schema_url" | "attributes_list") {
            continue;
        }
        if listed {
            s.error(name, "resource::attributes cannot be used together with legacy inline attributes");
        }
        let value = match s.node(name).map(|node| (&node.value, &node.raw)) {
            Some((Value::Str(text), _)) => Some(text.to_string()),
            // For example the node name `123`, which an environment variable gives as a number.
            Some((_, Some(raw))) => Some(raw.to_string()),
            Some((Value::Null, None)) | None => None,
            Some(_) => {
                s.error(name, format!("legacy resource attribute \"{name}\" must be string or null"));
                None
            }
        };
        s.record(name, value.clone().map_or(Effective::Null, Effective::Str));
        said.push((name.to_owned(), value));
    }
    s.finish();
    said
}

/// The level of a name of zap's in upper or lower case. No record has a level above error, so `dpanic`, `panic` and
/// `fatal` are error.
pub(crate) fn log_level(name: &str) -> Option<Level> {
    Some(match name.to_ascii_lowercase().as_str() {
        "debug" => Level::Debug,
        "info" | "" => Level::Info,
        "warn" | "warning" => Level::Warn,
        "error" | "dpanic" | "panic" | "fatal" => Level::Error,
        _ => return None,
    })
}

/// The optional section `sampling` of logs is on unless it is disabled.
pub(crate) const SAMPLING: Flavour = Flavour::Some;
