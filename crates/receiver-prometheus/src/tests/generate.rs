//! Cases for the comparison with the Go receiver: a configuration, and the pages of a target.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use otelcore_test_support::Choices;
use serde_json::{Value, json};

/// Configurations of which most have a mistake. They are tried without pages.
const CONFIGS: &[&str] = &[
    "{}",
    "config: {}",
    "config: {scrape_configs: []}",
    "config: {scrape_configs: [{}]}",
    "config: {scrape_configs: [{job_name: a}]}",
    "config: {scrape_configs: [{job_name: 5}]}",
    "config: {scrape_configs: [{job_name: a}, {job_name: a}]}",
    "config: {scrape_configs: [{job_name: a, scrape_interval: 5}]}",
    "config: {scrape_configs: [{job_name: a, scrape_interval: 5x}]}",
    "config: {scrape_configs: [{job_name: a, scrape_interval: 5s, scrape_timeout: 6s}]}",
    "config: {global: {scrape_interval: 5s, scrape_timeout: 6s}, scrape_configs: [{job_name: a}]}",
    "config: {global: {scrape_interval: 5s}, scrape_configs: [{job_name: a, scrape_timeout: 6s}]}",
    "config: {global: {scrape_timeout: 50s}, scrape_configs: [{job_name: a, scrape_interval: 30s}]}",
    "config: {global: {external_labels: {a: b}}, scrape_configs: [{job_name: a}]}",
    "config: {global: {metric_name_validation_scheme: legacy, external_labels: {a.b: c}}, scrape_configs: [{job_name: a}]}",
    "config: {global: {metric_name_validation_scheme: legacy}, scrape_configs: [{job_name: a}]}",
    "config: {global: {metric_name_validation_scheme: other}, scrape_configs: [{job_name: a}]}",
    "config: {scrape_configs: [{job_name: a, metric_name_validation_scheme: legacy}]}",
    "config: {scrape_configs: [{job_name: a, metric_name_validation_scheme: legacy, metric_name_escaping_scheme: allow-utf-8}]}",
    "config: {scrape_configs: [{job_name: a, metric_name_escaping_scheme: other}]}",
    "config: {scrape_configs: [{job_name: a, metric_name_escaping_scheme: dots}]}",
    "config: {global: {metric_name_escaping_scheme: other}, scrape_configs: [{job_name: a}]}",
    "config: {scrape_configs: [{job_name: a, scrape_protocols: []}]}",
    "config: {scrape_configs: [{job_name: a, scrape_protocols: [PrometheusText0.0.4, PrometheusText0.0.4]}]}",
    "config: {scrape_configs: [{job_name: a, scrape_protocols: [PrometheusText9]}]}",
    "config: {global: {scrape_protocols: [x]}, scrape_configs: [{job_name: a}]}",
    "config: {scrape_configs: [{job_name: a, fallback_scrape_protocol: x}]}",
    "config: {scrape_configs: [{job_name: a, fallback_scrape_protocol: PrometheusProto}]}",
    "config: {scrape_configs: [{job_name: a, body_size_limit: 5}]}",
    "config: {scrape_configs: [{job_name: a, body_size_limit: 5MB}]}",
    "config: {scrape_configs: [{job_name: a, static_configs: [{targets: ['http://a:80']}]}]}",
    "config: {scrape_configs: [{job_name: a, static_configs: [{targets: ['a:80'], labels: {x: 1}}]}]}",
    "config: {scrape_configs: [{job_name: a, relabel_configs: [{action: x}]}]}",
    "config: {scrape_configs: [{job_name: a, relabel_configs: [{action: keep}]}]}",
    "config: {scrape_configs: [{job_name: a, metric_relabel_configs: [{regex: '('}]}]}",
    "config: {scrape_configs: [{job_name: a, metric_relabel_configs: [{source_labels: [x], action: hashmod, target_label: y}]}]}",
    "config: {scrape_configs: [{job_name: a, params: {module: [x, y]}}]}",
    "config: {scrape_configs: [{job_name: a, basic_auth: {username: u}, bearer_token: x}]}",
    "config: {scrape_configs: [{job_name: a, authorization: {type: Basic}}]}",
    "config: {remote_write: [{url: 'http://a'}], scrape_configs: [{job_name: a}]}",
    "config: {rule_files: [a.yml], scrape_configs: [{job_name: a}]}",
    "config: {scrape_configs: [{job_name: a}], alerting: {alertmanagers: [{static_configs: [{targets: ['a:1']}]}]}}",
    "config: {scrape_configs: [{job_name: a, sample_limit: -1}]}",
    "config: {scrape_configs: [{job_name: a, honor_labels: x}]}",
    "{trim_metric_suffixes: true, config: {scrape_configs: [{job_name: a}]}}",
    "{initial_scrape_offset: 5s, scrape_on_shutdown: true, config: {scrape_configs: [{job_name: a}]}}",
    "config: {scrape_configs: [{job_name: a, track_timestamps_staleness: true, keep_dropped_targets: 5}]}",
];

/// The input of a seed, as the oracle reads it.
pub(super) fn input(seed: u64) -> Vec<u8> {
    let config = usize::try_from(seed).ok().and_then(|seed| CONFIGS.get(seed));
    let case = match config {
        Some(config) => json!({"config": config, "pages": []}),
        None => pages_case(&mut Choices::new(seed, 4000)),
    };
    serde_json::to_vec(&case).unwrap()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    OpenMetrics,
    Protobuf,
}

fn pages_case(c: &mut Choices) -> Value {
    let format = [Format::Text, Format::Text, Format::OpenMetrics, Format::OpenMetrics, Format::Protobuf][c.below(5)];
    let config = config(c, format);
    let families: Vec<Family> = (0..1 + c.below(6)).map(|number| Family::new(c, format, number)).collect();
    let pages: Vec<Value> = (0..3).map(|number| page(c, format, &families, number)).collect();
    json!({"config": config, "pages": pages})
}

fn config(c: &mut Choices, format: Format) -> String {
    let mut global = vec!["scrape_interval: 1s".to_owned(), "scrape_timeout: 1s".to_owned()];
    let mut job = vec!["job_name: shop".to_owned()];
    let mut push = |c: &mut Choices, chance: usize, options: &[&str]| {
        if c.one_in(chance) {
            job.push(c.choose(options).to_owned());
        }
    };
    push(c, 3, &["honor_labels: true"]);
    push(c, 4, &["honor_timestamps: false"]);
    push(c, 3, &["track_timestamps_staleness: true"]);
    // The samples of a histogram in protobuf have another order in Go, which matters where a limit is in their middle.
    if format != Format::Protobuf {
        push(c, 6, &["sample_limit: 3", "sample_limit: 12"]);
    }
    push(c, 8, &["label_limit: 3", "label_limit: 6"]);
    push(c, 8, &["label_name_length_limit: 4", "label_name_length_limit: 12"]);
    push(c, 8, &["label_value_length_limit: 4", "label_value_length_limit: 12"]);
    push(c, 8, &["body_size_limit: 200B", "body_size_limit: 1KB"]);
    push(c, 5, &["extra_scrape_metrics: true"]);
    push(c, 8, &["enable_compression: false"]);
    push(c, 8, &["metric_name_validation_scheme: legacy", "metric_name_escaping_scheme: values"]);
    push(c, 3, &["scrape_native_histograms: true"]);
    push(c, 4, &["always_scrape_classic_histograms: true"]);
    push(c, 8, &["native_histogram_bucket_limit: 3", "native_histogram_min_bucket_factor: 1.5"]);
    push(
        c,
        8,
        &["scrape_protocols: [PrometheusText0.0.4]", "scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0]"],
    );
    push(
        c,
        4,
        &[
            "metric_relabel_configs: [{source_labels: [__name__], regex: 'm1.*', action: drop}]",
            "metric_relabel_configs: [{source_labels: [__name__], regex: '(m2.*)', target_label: __name__, replacement: 'renamed_$1'}]",
            "metric_relabel_configs: [{regex: code, action: labeldrop}]",
            "metric_relabel_configs: [{source_labels: [code], regex: '2..', target_label: class, replacement: ok}]",
            "metric_relabel_configs: [{source_labels: [a], target_label: instance}, {regex: a, action: labeldrop}]",
            "metric_relabel_configs: [{regex: instance, action: labeldrop}]",
        ],
    );
    push(
        c,
        5,
        &[
            "relabel_configs: [{target_label: job, replacement: other}]",
            "relabel_configs: [{source_labels: [__address__], regex: '(.*):.*', target_label: instance}]",
            "relabel_configs: [{target_label: __scheme__, replacement: http}, {target_label: zone, replacement: eu}]",
        ],
    );
    if c.one_in(6) {
        global.push("external_labels: {region: north, code: external}".to_owned());
    }
    let fallback = if format == Format::Text { "" } else { "fallback_scrape_protocol: PrometheusProto, " };
    let fallback = if c.one_in(4) { fallback } else { "" };
    let address = c.choose(&["case.test:80", "10.1.2.3:9100", "127.0.0.1:80", "localhost:80", "case.test"]);
    let labels = c.choose(&["", "", ", labels: {a: target, zone: z1}", ", labels: {code: '9', exported_code: '8'}"]);
    let trim = if c.one_in(4) { "trim_metric_suffixes: true\n" } else { "" };
    format!(
        "{trim}config:\n  global: {{{}}}\n  scrape_configs: [{{{fallback}{}, static_configs: [{{targets: ['{address}']{labels}}}]}}]\n",
        global.join(", "),
        job.join(", ")
    )
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    Unknown,
    Untyped,
    Info,
    StateSet,
    GaugeHistogram,
    Native,
    TargetInfo,
    ScopeInfo,
}

/// A family, the same on all pages but for its values.
struct Family {
    name: String,
    kind: Kind,
    help: &'static str,
    unit: &'static str,
    has_type: bool,
    series: Vec<Vec<(String, String)>>,
    has_timestamps: bool,
    has_exemplars: bool,
    has_created: bool,
}

impl Family {
    fn new(c: &mut Choices, format: Format, number: usize) -> Self {
        use Kind::{
            Counter, Gauge, GaugeHistogram, Histogram, Info, Native, ScopeInfo, StateSet, Summary, TargetInfo, Unknown,
            Untyped,
        };
        let kinds: &[Kind] = match format {
            Format::Text => &[Counter, Gauge, Histogram, Summary, Unknown, Untyped, TargetInfo, ScopeInfo],
            Format::OpenMetrics => &[
                Counter,
                Counter,
                Gauge,
                Histogram,
                Histogram,
                Summary,
                Unknown,
                Info,
                StateSet,
                GaugeHistogram,
                TargetInfo,
                ScopeInfo,
            ],
            Format::Protobuf => &[Counter, Gauge, Histogram, Summary, Untyped, Native, Native, Native, TargetInfo],
        };
        let kind = kinds[c.below(kinds.len())];
        let unit = if c.one_in(3) && !matches!(kind, Info | StateSet) {
            ["seconds", "bytes", "meters_per_second", "widgets"][c.below(4)]
        } else {
            ""
        };
        let stem = ["m1", "m2", "metric", "a:b", "http_requests"][c.below(5)];
        let mut name = format!("{stem}_{number}");
        if !unit.is_empty() {
            name = format!("{name}_{unit}");
        }
        if c.one_in(12) && format == Format::OpenMetrics {
            name = format!("dotted.{name}");
        }
        if kind == Counter && format != Format::OpenMetrics && c.one_in(2) {
            name.push_str("_total");
        }
        match kind {
            TargetInfo => name = "target".to_owned(),
            ScopeInfo => name = "otel_scope".to_owned(),
            _ => {}
        }
        let count = if matches!(kind, TargetInfo | ScopeInfo) { 1 } else { 1 + c.below(3) };
        let series = (0..count).map(|number| labels(c, number)).collect();
        Self {
            name,
            kind,
            help: ["", "some help", "line \"one\" \\ two"][c.below(3)],
            unit,
            has_type: !c.one_in(8),
            series,
            has_timestamps: c.one_in(6),
            has_exemplars: c.one_in(3),
            has_created: c.one_in(3),
        }
    }
}

fn labels(c: &mut Choices, number: usize) -> Vec<(String, String)> {
    let mut labels = vec![("n".to_owned(), number.to_string())];
    let options: &[(&str, &[&str])] = &[
        ("a", &["", "1", "on page"]),
        ("code", &["200", "404"]),
        ("job", &["from_page"]),
        ("instance", &["page.test:99"]),
        ("otel_scope_name", &["lib"]),
        ("otel_scope_version", &["1.2"]),
        ("otel_scope_schema_url", &["http://schema"]),
        ("otel_scope_color", &["red", "blue"]),
        ("zone", &["z1", "a very long value of a label"]),
    ];
    for (at, (name, values)) in options.iter().enumerate() {
        let chance = if at < 2 { 2 } else { 7 };
        if c.one_in(chance) {
            labels.push(((*name).to_owned(), c.choose(values).to_owned()));
        }
    }
    labels
}

const TIME_MS: i64 = 1_700_000_000_000;

fn page(c: &mut Choices, format: Format, families: &[Family], number: usize) -> Value {
    let chosen: Vec<&Family> = families.iter().filter(|_| !c.one_in(5)).collect();
    let (mut body, content_type) = match format {
        Format::Protobuf => {
            let body = chosen
                .iter()
                .flat_map(|family| super::generate_protobuf::family(c, family_parts(family), number))
                .collect();
            (body, "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited")
        }
        _ => {
            let mut text = String::new();
            for family in &chosen {
                write_text(c, format, family, number, &mut text);
            }
            let content_type = match format {
                Format::OpenMetrics => {
                    text.push_str("# EOF\n");
                    "application/openmetrics-text; version=1.0.0; charset=utf-8"
                }
                _ => c.choose(&["text/plain; version=0.0.4", "text/plain", "", "text/html", "text/plain; charset"]),
            };
            (text.into_bytes(), content_type)
        }
    };
    let status = if c.one_in(10) { 503 } else { 200 };
    if c.one_in(12) && !body.is_empty() {
        // A mistake somewhere in the page.
        let at = c.below(256) * body.len() / 256;
        match format {
            Format::Protobuf => body.truncate(at),
            _ => {
                let line = body[..at].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                body.splice(line..line, b"no { page\n".iter().copied());
            }
        }
    }
    json!({"status": status, "content_type": content_type, "body": STANDARD.encode(body)})
}

/// What the writer of protobuf needs of a family.
pub(super) struct FamilyParts<'f> {
    pub(super) name: &'f str,
    pub(super) help: &'f str,
    pub(super) unit: &'f str,
    pub(super) type_number: u64,
    pub(super) is_native: bool,
    pub(super) series: &'f [Vec<(String, String)>],
    pub(super) timestamp_ms: Option<i64>,
    pub(super) has_exemplars: bool,
    pub(super) has_created: bool,
}

fn family_parts(family: &Family) -> FamilyParts<'_> {
    FamilyParts {
        name: if family.kind == Kind::TargetInfo { "target_info" } else { &family.name },
        help: family.help,
        unit: family.unit,
        type_number: match family.kind {
            Kind::Counter => 0,
            Kind::Gauge | Kind::TargetInfo => 1,
            Kind::Summary => 2,
            Kind::Histogram | Kind::Native => 4,
            _ => 3,
        },
        is_native: family.kind == Kind::Native,
        series: &family.series,
        timestamp_ms: family.has_timestamps.then_some(TIME_MS),
        has_exemplars: family.has_exemplars,
        has_created: family.has_created,
    }
}

fn label_text(labels: &[(String, String)], more: Option<(&str, &str)>) -> String {
    let all = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(more);
    let all: Vec<String> = all.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    all.join(",")
}

fn type_word(format: Format, kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::TargetInfo | Kind::ScopeInfo if format == Format::Text => "gauge",
        Kind::TargetInfo | Kind::ScopeInfo | Kind::Info => "info",
        Kind::Histogram => "histogram",
        Kind::Summary => "summary",
        Kind::StateSet => "stateset",
        Kind::GaugeHistogram => "gaugehistogram",
        _ if format == Format::Text => "untyped",
        _ => "unknown",
    }
}

fn write_text(c: &mut Choices, format: Format, family: &Family, number: usize, out: &mut String) {
    let is_open = format == Format::OpenMetrics;
    let name = &family.name;
    let is_dotted = name.contains('.');
    let quoted = if is_dotted { format!("\"{name}\"") } else { name.clone() };
    // In text 0.0.4 a series of information has its suffix in its family's name.
    let is_info = matches!(family.kind, Kind::TargetInfo | Kind::ScopeInfo);
    let meta = if is_info && !is_open { format!("{name}_info") } else { quoted };
    if family.has_type {
        if !family.help.is_empty() {
            out.push_str(&format!(
                "# HELP {meta} {}\n",
                family.help.replace('\\', "\\\\").replace('"', if is_open { "\\\"" } else { "\"" })
            ));
        }
        out.push_str(&format!("# TYPE {meta} {}\n", type_word(format, family.kind)));
        if is_open && !family.unit.is_empty() {
            out.push_str(&format!("# UNIT {meta} {}\n", family.unit));
        }
    }
    let timestamp = match (family.has_timestamps, is_open) {
        (true, false) => format!(" {TIME_MS}"),
        (true, true) => " 1700000000.5".to_owned(),
        _ => String::new(),
    };
    let mut line = |suffix: &str, labels: &str, value: &str, exemplar: &str| {
        let sample = if is_dotted {
            let separator = if labels.is_empty() { "" } else { "," };
            format!("{{\"{name}{suffix}\"{separator}{labels}}}")
        } else {
            format!("{name}{suffix}{{{labels}}}")
        };
        out.push_str(&format!("{sample} {value}{timestamp}{exemplar}\n"));
    };
    for labels in &family.series {
        if c.one_in(8) {
            continue;
        }
        let value = (c.below(50) + number * 50).to_string();
        let exemplar = if family.has_exemplars && is_open {
            let ids = [
                "trace_id=\"0af7651916cd43dd8448eb211c80319c\",span_id=\"b7ad6b7169203331\"",
                "trace_id=\"abc\",x=\"y\"",
                "k=\"v\"",
                "",
            ];
            let time = if c.one_in(2) { " 1700000000.25" } else { "" };
            format!(" # {{{}}} {}{time}", c.choose(&ids), c.below(9))
        } else {
            String::new()
        };
        let plain = label_text(labels, None);
        let created = |line: &mut dyn FnMut(&str, &str, &str, &str)| {
            if family.has_created && is_open {
                line("_created", &plain, "1600000000.125", "");
            }
        };
        match family.kind {
            Kind::Counter => {
                let suffix = if is_open { "_total" } else { "" };
                line(suffix, &plain, &value, &exemplar);
                created(&mut line);
            }
            Kind::Histogram | Kind::GaugeHistogram => {
                let counts = [c.below(5), 5 + c.below(5), 10 + c.below(5)];
                for (bound, count) in ["0.5", "1", "+Inf"].into_iter().zip(counts) {
                    if bound != "1" || !c.one_in(6) {
                        line("_bucket", &label_text(labels, Some(("le", bound))), &count.to_string(), &exemplar);
                    }
                }
                let (sum, count) =
                    if family.kind == Kind::Histogram { ("_sum", "_count") } else { ("_gsum", "_gcount") };
                if !c.one_in(8) {
                    line(sum, &plain, "12.5", "");
                }
                if !c.one_in(10) {
                    line(count, &plain, &counts[2].to_string(), "");
                }
                created(&mut line);
            }
            Kind::Summary => {
                for quantile in ["0.5", "0.99"] {
                    line("", &label_text(labels, Some(("quantile", quantile))), &value, "");
                }
                line("_sum", &plain, "7.25", "");
                line("_count", &plain, &value, "");
                created(&mut line);
            }
            Kind::TargetInfo | Kind::ScopeInfo | Kind::Info => line("_info", &plain, "1", ""),
            Kind::StateSet => {
                let state = format!("{plain},{name}=\"on\"");
                line("", &state, &c.below(2).to_string(), "");
            }
            _ => {
                let value = if c.one_in(9) { "NaN" } else { &value };
                line("", &plain, value, "");
                if c.one_in(12) {
                    // The same series again.
                    line("", &plain, "77", "");
                }
            }
        }
    }
    if c.one_in(20) {
        out.push_str(if is_open { "" } else { "late_metric 1 4000000000000\n" });
    }
}
