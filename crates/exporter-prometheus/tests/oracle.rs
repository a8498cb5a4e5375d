//! Compares whole pages with those of the Go collector's exporter: byte for byte, in all formats and escapings.
//!
//! An input has frames: the configuration as YAML, the header `Accept`, and bodies. The corpus has the answers of Go to
//! the inputs of the first seeds; `scripts/differential` records it, and compares fresh seeds.
//!
//! Cases in which the result of the Go exporter is random are avoided: every metric has a unique name, every series a
//! unique label, every resource a unique instance. Also avoided is what is different by intent (`DIFFERENCES.md`): the
//! end of a series among other points of its metric, where 0.155 drops the others; bounds and quantiles that are NaN;
//! histograms with a label `le`; exponential histograms that are inconsistent, and sums of those of different scales or
//! thresholds; names that become equal when they are escaped. Series with labels of equal names are not shown here.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, reason = "a test")]

#[path = "../../pdata/tests/oracle/generate.rs"]
mod generate;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use generate::Choices;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_exporter_prometheus::PrometheusConfig;
use otelcore_exporter_prometheus::oracle::{check_page, render_page};
use otelcore_exposition::{NegotiatedFormat, SupportedFormats};
use otelcore_test_support::{
    CorpusCase, ask_oracle, push_frame, random_bytes, read_corpus, split_frames, tool_path, write_corpus,
};
use prost::Message;

/// Inputs in the corpus.
const CASES: u64 = 1000;

/// Placeholder for the same number of bytes that are not UTF-8, which a Rust string can't contain.
const PLACEHOLDER: &str = "not-utf8";
const NOT_UTF8: &[u8; 8] = b"a\xff\xc3(\xe2\x82\xed\xa0";

fn choose<'a>(c: &mut Choices<'_>, from: &[&'a str]) -> &'a str {
    from[c.below(from.len())]
}

/// Those from `"__"` on are not used where they could look like another name that is escaped.
const BEFORE: [&str; 12] = ["", "", "http.", "1", "世界", "total.", "a b-", ":", "seconds.", "__", "_", "ratio_"];
const AFTER: [&str; 14] = [
    "",
    "",
    ".total",
    ".bytes",
    "..",
    ".é",
    "bytestotal",
    ":rate",
    "_",
    "__x",
    "_total",
    "_ratio",
    "_seconds",
    ".per_second",
];
const UNITS: [&str; 20] = [
    "", "", "1", "s", "ms", "By", "KiBy", "%", "{req}", "{x}/s", "By/s", "m/m", "a/b/c", "foo_", "°C", "1/s", "s/",
    "/s", " By ", "TiBy",
];
const HELP: [&str; 5] = ["", "Total", "with \\ and \"quotes\"\nand a line", "größe", "two  spaces "];
const KEYS: [&str; 15] = [
    "a",
    "a.b",
    "a_b",
    "a..b",
    "1x",
    "_x",
    "é",
    "größe",
    "http.method",
    "zone",
    "job",
    "instance",
    "",
    "__x",
    "otel.scope.name",
];
/// Keys of which no two are equal when they are escaped.
const DISTINCT_KEYS: [&str; 9] = ["a", "a.b", "1x", "é", "größe", "http.method", "quantil", "", "__x"];
const WORDS: [&str; 8] = ["", "x", "GET", "with \\ and \"quotes\"\n", "größe", "\u{0}\u{7f}", "0", PLACEHOLDER];

/// Attributes with distinct keys. Those for which a series is dropped are so rare that most series are shown.
fn attributes(c: &mut Choices<'_>, keys: &[&str]) -> Vec<KeyValue> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for _ in 0..c.below(4) {
        let common = if c.below(3) > 0 { keys.len().min(9) } else { keys.len() };
        let key = choose(c, &keys[..common]);
        let value = match c.below(4) {
            0 => generate::value(c),
            1 => AnyValue { value: Some(Value::StringValue(choose(c, &WORDS).to_owned())) },
            _ => AnyValue { value: Some(Value::StringValue(choose(c, &WORDS[..6]).to_owned())) },
        };
        if seen.insert(key) {
            all.push(KeyValue { key: key.to_owned(), value: Some(value), key_strindex: 0 });
        }
    }
    all
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, key_strindex: 0 }
}

fn resource(c: &mut Choices<'_>, number: usize, is_distinct: bool) -> Resource {
    const KEYS: [&str; 12] =
        ["host.name", "a", "a.b", "a_b", "zone", "k8s.pod.name", "région", "1st", "job", "instance", "__reserved", "é"];
    const DISTINCT_KEYS: [&str; 12] =
        ["host.name", "a", "a.b", "a", "zone", "k8s.pod.name", "région", "1x", "1x", "__reserved", "__reserved", "é"];
    let all = if is_distinct { &DISTINCT_KEYS } else { &KEYS };
    // A key that has no label name removes every target_info; only one resource in eight may have such a key.
    let keys = if c.below(8) == 0 { &all[8..] } else { &all[..8] };
    let mut attributes = attributes(c, keys);
    if c.below(4) > 0 {
        attributes.push(text("service.name", choose(c, &["svc", "shop", ""])));
    }
    if c.bool() {
        attributes.push(text("service.namespace", choose(c, &["ns", ""])));
    }
    if c.below(4) > 0 {
        attributes.insert(0, text("service.instance.id", &format!("i{number}")));
    }
    Resource { attributes, dropped_attributes_count: 0, entity_refs: vec![] }
}

fn scope(c: &mut Choices<'_>, number: usize, is_distinct: bool) -> (InstrumentationScope, String) {
    const KEYS: [&str; 11] = ["a", "a.b", "name", "version", "schema_url", "b", "c", "d", "e", "é", "schema.url"];
    let scope = InstrumentationScope {
        name: format!("{}{number}", choose(c, &["", "lib", "größe"])),
        version: choose(c, &["", "1.2"]).to_owned(),
        attributes: attributes(c, if is_distinct { &KEYS[..10] } else { &KEYS }),
        dropped_attributes_count: 0,
    };
    (scope, choose(c, &["", "https://example.com/schema"]).to_owned())
}

#[derive(Clone, Copy, PartialEq)]
enum MetricKind {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

/// The parts of a metric and its series that are the same in all bodies of a case.
struct MetricPlan {
    metric: Metric,
    scale: i32,
    offset: i32,
    kind: MetricKind,
    temporality: i32,
    monotonic: bool,
    resource: usize,
    scope: usize,
    series: Vec<Vec<KeyValue>>,
    bounds: Vec<f64>,
    /// The end of the last point of each series.
    ends: Vec<u64>,
}

fn plan_metric(c: &mut Choices<'_>, number: usize, series: &mut usize, is_distinct: bool) -> MetricPlan {
    use MetricKind::{Exponential, Gauge, Histogram, Sum, Summary};
    let kind = [Gauge, Sum, Sum, Histogram, Histogram, Exponential, Exponential, Summary][c.below(8)];
    let (before, after) = if is_distinct { (&BEFORE[..9], &AFTER[..8]) } else { (&BEFORE[..], &AFTER[..]) };
    // The number in the middle keeps the names distinct after any translation of the rest.
    let name = format!("{}m{number}z{}", choose(c, before), choose(c, after));
    let count = 1 + c.below(3);
    let bounds = match c.below(6) {
        0 => vec![],
        1 => vec![1.0, 0.5, 1.0, 10.0],
        2 => vec![0.0, f64::INFINITY],
        3 => vec![f64::NEG_INFINITY, -1e-7, 1e6, 123_456.789],
        _ => vec![0.005, 0.1, 1.0, 10.0],
    };
    let series = (0..count).map(|_| {
        *series += 1;
        let mut all = attributes(c, if is_distinct { &DISTINCT_KEYS } else { &KEYS });
        all.push(text("series", &series.to_string()));
        all
    });
    let series: Vec<_> = series.collect();
    MetricPlan {
        metric: Metric {
            name,
            description: choose(c, &HELP).to_owned(),
            unit: choose(c, &UNITS).to_owned(),
            metadata: vec![],
            data: None,
        },
        kind,
        scale: [0, 3, -4, 8, 9, 20][c.below(6)],
        offset: i32::from(c.byte()) - 128,
        temporality: if c.below(8) == 0 { 0 } else { 1 + c.below(2) as i32 },
        monotonic: c.below(4) > 0,
        resource: c.below(3),
        scope: c.below(2),
        ends: vec![BASE; series.len()],
        series,
        bounds,
    }
}

const BASE: u64 = 1_700_000_000_123_456_789;
const STEP: u64 = 10_000_000_000;

/// When a point begins and ends: after the last one, with a gap, overlapping it, before it, or with times of zero.
fn times(c: &mut Choices<'_>, last: &mut u64) -> (u64, u64) {
    let (start, end) = match c.below(10) {
        0 => (*last + STEP / 2, *last + STEP),
        1 => (*last - STEP / 2, *last + STEP),
        2 => (*last - 2 * STEP, *last - STEP),
        3 => (*last - STEP, *last),
        4 => (0, 0),
        _ => (*last, *last + STEP),
    };
    *last = (*last).max(end);
    (start, end)
}

fn exemplars(c: &mut Choices<'_>) -> Vec<Exemplar> {
    let count = if c.below(3) == 0 { c.below(5) } else { 0 };
    let id = |c: &mut Choices<'_>, len: usize| match c.below(3) {
        0 => vec![],
        1 => vec![0; len],
        _ => (0..len).map(|_| c.byte()).collect(),
    };
    let one = |c: &mut Choices<'_>| Exemplar {
        trace_id: id(c, 16),
        span_id: id(c, 8),
        time_unix_nano: [0, 1, BASE, BASE + 1_000_000_000][c.below(4)],
        value: match c.below(3) {
            0 => Some(exemplar::Value::AsInt(i64::from(c.byte()))),
            1 => Some(exemplar::Value::AsDouble(Some(double(c)).filter(|v| !v.is_nan()).unwrap_or(0.7))),
            _ => Some(exemplar::Value::AsDouble(f64::from(c.byte()) / 16.0)),
        },
        ..Exemplar::default()
    };
    (0..count).map(|_| one(c)).collect()
}

fn buckets(c: &mut Choices<'_>, offset: i32) -> Option<Buckets> {
    let len = c.below(4) * c.below(4);
    let bucket_counts = (0..len).map(|_| if c.bool() { 0 } else { u64::from(c.byte()) }).collect();
    (c.below(4) > 0).then_some(Buckets { offset: offset + c.below(5) as i32, bucket_counts })
}

fn double(c: &mut Choices<'_>) -> f64 {
    const VALUES: [f64; 16] = [
        0.0,
        -0.0,
        1.0,
        0.5,
        100_000.0,
        999_999.999_9,
        1e6,
        1_234_567.0,
        1e21,
        1e-4,
        9.9e-5,
        1e-7,
        5e-324,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    if c.bool() { VALUES[c.below(VALUES.len())] } else { c.f64() }
}

impl MetricPlan {
    /// The metric with a new point for each of its series.
    fn next_metric(&mut self, c: &mut Choices<'_>) -> Metric {
        let mut metric = self.metric.clone();
        let alone = self.series.len() == 1;
        let (mut numbers, mut histograms, mut exponential, mut summaries) = (vec![], vec![], vec![], vec![]);
        for (attributes, last) in self.series.iter().zip(&mut self.ends) {
            let (start, end) = times(c, last);
            let flags = u32::from(alone && c.below(12) == 0);
            let attributes = attributes.clone();
            match self.kind {
                MetricKind::Gauge | MetricKind::Sum => {
                    let value = match c.below(8) {
                        0 => None,
                        1..=3 => Some(Number::AsDouble(double(c))),
                        4 => Some(Number::AsInt(c.u64().cast_signed())),
                        _ => Some(Number::AsInt(i64::from(c.byte()))),
                    };
                    numbers.push(NumberDataPoint {
                        attributes,
                        start_time_unix_nano: start,
                        time_unix_nano: end,
                        exemplars: exemplars(c),
                        flags,
                        value,
                    });
                }
                MetricKind::Histogram => {
                    let mut bounds = self.bounds.clone();
                    if c.below(8) == 0 {
                        bounds.iter_mut().for_each(|b| *b += 1.0);
                    }
                    histograms.push(HistogramDataPoint {
                        attributes,
                        start_time_unix_nano: start,
                        time_unix_nano: end,
                        count: u64::from(c.byte()) * 3,
                        sum: c.option(double),
                        bucket_counts: (0..=bounds.len()).map(|_| u64::from(c.byte())).collect(),
                        explicit_bounds: bounds,
                        exemplars: exemplars(c),
                        flags,
                        min: c.option(double),
                        max: c.option(double),
                    });
                }
                MetricKind::Exponential => {
                    let (positive, negative) = (buckets(c, self.offset), buckets(c, -self.offset));
                    let zero_count = u64::from(c.byte()) / 64;
                    let counts = [&positive, &negative].into_iter().flatten().flat_map(|b| &b.bucket_counts);
                    exponential.push(ExponentialHistogramDataPoint {
                        attributes,
                        start_time_unix_nano: start,
                        time_unix_nano: end,
                        count: counts.sum::<u64>() + zero_count,
                        sum: c.option(double).filter(|v| !v.is_nan()),
                        scale: self.scale,
                        zero_count,
                        positive,
                        negative,
                        flags,
                        exemplars: exemplars(c),
                        min: c.option(double),
                        max: c.option(double),
                        zero_threshold: if self.offset % 3 == 0 { 1e-9 } else { 0.0 },
                    });
                }
                MetricKind::Summary => {
                    const QUANTILES: [f64; 6] = [0.99, 0.5, 0.0, 1.0, 0.5, 1e-7];
                    let quantile = |c: &mut Choices<'_>| ValueAtQuantile {
                        quantile: QUANTILES[c.below(QUANTILES.len())],
                        value: double(c),
                    };
                    summaries.push(SummaryDataPoint {
                        attributes,
                        start_time_unix_nano: start,
                        time_unix_nano: end,
                        count: u64::from(c.byte()),
                        sum: double(c),
                        quantile_values: c.vec(quantile),
                        flags,
                    });
                }
            }
        }
        metric.data = Some(match self.kind {
            MetricKind::Gauge => Data::Gauge(Gauge { data_points: numbers }),
            MetricKind::Sum => Data::Sum(Sum {
                data_points: numbers,
                aggregation_temporality: self.temporality,
                is_monotonic: self.monotonic,
            }),
            MetricKind::Histogram => {
                Data::Histogram(Histogram { data_points: histograms, aggregation_temporality: self.temporality })
            }
            MetricKind::Exponential => Data::ExponentialHistogram(ExponentialHistogram {
                data_points: exponential,
                aggregation_temporality: self.temporality,
            }),
            MetricKind::Summary => Data::Summary(Summary { data_points: summaries }),
        });
        metric
    }
}

const CONFIGURATIONS: [&str; 7] = [
    "{enable_open_metrics: true}",
    "{namespace: test-space, const_labels: {zone: a, B: 'x\"y'}, send_timestamps: true}",
    "{resource_to_telemetry_conversion: {enabled: true}, without_scope_info: true, enable_open_metrics: true}",
    "{translation_strategy: UnderscoreEscapingWithoutSuffixes, namespace: _n__, enable_open_metrics: true, \
     const_labels: {'d.e': f}}",
    // From here on any name may occur.
    "{translation_strategy: NoUTF8EscapingWithSuffixes, namespace: 1ns, send_timestamps: true, \
     enable_open_metrics: true}",
    "{translation_strategy: NoTranslation, enable_open_metrics: true, \
     resource_to_telemetry_conversion: {enabled: true, exclude_service_attributes: true}}",
    "{translation_strategy: NoTranslation}",
];

const FORMATS: [&str; 8] = [
    "",
    "*/*;q=0.8, application/openmetrics-text; version=2.0.0",
    "text/plain;version=0.0.4",
    "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    "application/openmetrics-text; version=0.0.1",
    "text/plain;q=0.3, application/openmetrics-text;version=1.0.0;q=0.7",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; q=0.9,text/plain;q=0.1",
];

/// The configuration and the header of a seed, and whether no two names may be equal when they are escaped.
fn request(c: &mut Choices<'_>) -> (&'static str, String, bool) {
    let number = c.below(CONFIGURATIONS.len());
    let escaping = c.below(6);
    let escaping_parameter = ["", "", "underscores", "dots", "values", "allow-utf-8"][escaping];
    let mut accept = choose(c, &FORMATS).to_owned();
    if !escaping_parameter.is_empty() && !accept.is_empty() {
        accept = format!(
            "{};escaping={escaping_parameter}",
            accept.replace(',', &format!(";escaping={escaping_parameter},"))
        );
    }
    (CONFIGURATIONS[number], accept, number >= 4)
}

/// The input of a seed.
fn input(seed: u64) -> Vec<u8> {
    let content = random_bytes(seed, 8_000);
    let mut c = Choices(&content);
    let (config, accept, is_distinct) = request(&mut c);
    let mut input = Vec::new();
    push_frame(&mut input, config.as_bytes());
    push_frame(&mut input, accept.as_bytes());
    bodies(&mut c, is_distinct).iter().for_each(|body| push_frame(&mut input, body));
    input
}

fn bodies(c: &mut Choices<'_>, is_distinct: bool) -> Vec<Vec<u8>> {
    let resources: Vec<_> = (0..3).map(|n| resource(c, n, is_distinct)).collect();
    let scopes: Vec<_> = (0..2).map(|n| scope(c, n, is_distinct)).collect();
    let mut series = 0;
    let mut plans: Vec<_> = (0..6).map(|n| plan_metric(c, n, &mut series, is_distinct)).collect();
    let mut bodies = Vec::new();
    for _ in 0..1 + c.below(4) {
        let mut resource_metrics: Vec<_> = resources
            .iter()
            .map(|r| ResourceMetrics {
                resource: Some(r.clone()),
                scope_metrics: scopes
                    .iter()
                    .map(|(scope, schema_url)| ScopeMetrics {
                        scope: Some(scope.clone()),
                        metrics: vec![],
                        schema_url: schema_url.clone(),
                    })
                    .collect(),
                schema_url: String::new(),
            })
            .collect();
        // A metric that is always valid, so that there is always a page.
        let plain = NumberDataPoint { value: Some(Number::AsInt(1)), time_unix_nano: 1, ..NumberDataPoint::default() };
        resource_metrics.push(ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![Metric {
                    name: "plain".to_owned(),
                    data: Some(Data::Gauge(Gauge { data_points: vec![plain] })),
                    ..Metric::default()
                }],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        });
        for plan in &mut plans {
            if c.below(5) > 0 {
                let metric = plan.next_metric(c);
                resource_metrics[plan.resource].scope_metrics[plan.scope].metrics.push(metric);
            }
        }
        let mut bytes = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        while let Some(at) = bytes.windows(8).position(|w| w == PLACEHOLDER.as_bytes()) {
            bytes[at..at + 8].copy_from_slice(NOT_UTF8);
        }
        bodies.push(bytes);
    }
    bodies
}

/// Puts the two labels of an exemplar in order: in Go it is random.
fn sort_exemplar_labels(page: &mut [u8]) {
    // In text `span_id="…",trace_id="…"`, in protobuf two messages without a comma. Each id has a fixed length.
    for (span, span_len, comma, trace, trace_len) in [
        (&b"span_id=\""[..], 26, &b","[..], &b"trace_id=\""[..], 43),
        (b"\x0a\x1b\x0a\x07span_id\x12\x10", 29, b"", b"\x0a\x2c\x0a\x08trace_id\x12\x20", 46),
    ] {
        let mut at = 0;
        while let Some(found) = page[at..].windows(span.len()).position(|w| w == span) {
            let start = at + found;
            at = start + span.len();
            let Some(labels) = page.get_mut(start..start + span_len + comma.len() + trace_len) else { continue };
            let (first, rest) = labels.split_at(span_len);
            if let Some(second) = rest.strip_prefix(comma).filter(|second| second.starts_with(trace)) {
                let swapped = [second, comma, first].concat();
                labels.copy_from_slice(&swapped);
            }
        }
    }
}

/// Our answer: `Content-Type` and page.
fn own_answer(input: &[u8]) -> (String, Vec<u8>) {
    let frames = split_frames(input);
    let yaml = std::str::from_utf8(frames[0]).unwrap();
    let yaml = format!("{{endpoint: 'localhost:0', {}", yaml.strip_prefix('{').unwrap());
    let diagnostics = Diagnostics::new();
    let node = from_yaml(&yaml, &diagnostics);
    let section = Section::new(node.as_ref(), "exporters::prometheus", &diagnostics);
    let config = PrometheusConfig::read_section(section, &PrometheusConfig::default());
    assert!(!diagnostics.has_errors(), "{}", diagnostics.render_to_string(false));
    let supported =
        if config.enable_open_metrics { SupportedFormats::ALL } else { SupportedFormats::WITHOUT_OPEN_METRICS };
    let format = NegotiatedFormat::negotiate(std::str::from_utf8(frames[1]).unwrap(), supported);
    let page = render_page(&config.page(), format, true, &frames[2..]);
    check_page(format, &page).unwrap_or_else(|why| panic!("{why}\n{}", String::from_utf8_lossy(&page)));
    // With merged labels it is readable as well.
    let merged = render_page(&config.page(), format, false, &frames[2..]);
    check_page(format, &merged).unwrap_or_else(|why| panic!("{why}\n{}", String::from_utf8_lossy(&merged)));
    (format.content_type().to_owned(), page)
}

/// Why the answers differ, if they do.
fn difference(case: &CorpusCase) -> Option<String> {
    let frames = split_frames(&case.answer);
    let (expected_type, mut expected) = (String::from_utf8_lossy(frames[0]), frames[1].to_vec());
    sort_exemplar_labels(&mut expected);
    let (content_type, page) = own_answer(&case.input);
    if content_type != expected_type {
        return Some(format!("{content_type}, and not {expected_type}"));
    }
    if page == expected {
        return None;
    }
    let (ours, theirs) = (String::from_utf8_lossy(&page), String::from_utf8_lossy(&expected));
    let (a, b): (BTreeSet<_>, BTreeSet<_>) = (ours.lines().collect(), theirs.lines().collect());
    let only = |x: &BTreeSet<&str>, y: &BTreeSet<&str>| {
        x.difference(y).take(12).map(|line| format!("{line:?}")).collect::<Vec<_>>().join("\n")
    };
    let input = split_frames(&case.input);
    let (config, accept) = (String::from_utf8_lossy(input[0]), String::from_utf8_lossy(input[1]));
    Some(format!(
        "{config}, Accept: {accept}\nonly here:\n{}\n\nonly there:\n{}\n\n(in another order: {})",
        only(&a, &b),
        only(&b, &a),
        a == b
    ))
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/prometheus.corpus.zst")
}

/// Parts of an input that can be left out: metrics, then bodies.
fn smaller_inputs(input: &[u8]) -> Vec<Vec<u8>> {
    let frames = split_frames(input);
    let mut smaller = Vec::new();
    let join = |bodies: &[Vec<u8>]| {
        let mut out = Vec::new();
        frames[..2].iter().for_each(|frame| push_frame(&mut out, frame));
        bodies.iter().for_each(|body| push_frame(&mut out, body));
        out
    };
    let bodies: Vec<Vec<u8>> = frames[2..].iter().map(|body| body.to_vec()).collect();
    for i in 0..bodies.len() {
        let mut fewer = bodies.clone();
        fewer.remove(i);
        smaller.push(join(&fewer));
    }
    for (i, body) in bodies.iter().enumerate() {
        let request = ExportMetricsServiceRequest::decode(&body[..]).unwrap_or_default();
        for r in 0..request.resource_metrics.len() {
            for s in 0..request.resource_metrics[r].scope_metrics.len() {
                for m in 0..request.resource_metrics[r].scope_metrics[s].metrics.len() {
                    let mut less = request.clone();
                    less.resource_metrics[r].scope_metrics[s].metrics.remove(m);
                    let mut fewer = bodies.clone();
                    fewer[i] = less.encode_to_vec();
                    smaller.push(join(&fewer));
                }
            }
        }
    }
    smaller
}

/// Leaves parts of an input out as long as the answers differ, and shows what remains as OTLP/JSON.
fn shrink(tool: &Path, mut case: CorpusCase) -> String {
    'smaller: loop {
        for input in smaller_inputs(&case.input) {
            let Some(smaller) = ask_oracle(tool, &["page"], vec![input]).pop() else { continue };
            if difference(&smaller).is_some() {
                case = smaller;
                continue 'smaller;
            }
        }
        break;
    }
    let mut text = difference(&case).unwrap_or_default();
    for body in &split_frames(&case.input)[2..] {
        let request = ExportMetricsServiceRequest::decode(*body).unwrap_or_default();
        text.push_str(&format!("\n{request:?}"));
    }
    text
}

#[test]
fn pages_are_byte_for_byte_those_that_the_go_exporter_recorded() {
    let cases = read_corpus(&corpus());
    let differences: Vec<_> =
        cases.iter().enumerate().filter_map(|(i, case)| Some(format!("seed {i}: {}", difference(case)?))).collect();
    assert!(differences.is_empty(), "{} of {}: {}", differences.len(), cases.len(), differences[0]);
    assert!(cases.len() as u64 == CASES);
}

/// Run by `scripts/differential`.
#[test]
#[ignore = "needs the Go program"]
fn pages_are_byte_for_byte_those_of_the_running_go_exporter() {
    let tool = tool_path("prometheus-oracle").expect("the Go program is built");
    let ask = |first: u64| ask_oracle(&tool, &["page"], (first..first + CASES).map(input).collect());
    let mut cases = ask(0);
    if std::env::var_os("OTELCORE_CORPUS").is_some_and(|value| value == "write") {
        write_corpus(&corpus(), &cases);
    }
    cases.extend(ask(u64::from(std::process::id()) << 20));
    let mut different: Vec<_> = cases.iter().filter(|case| difference(case).is_some()).cloned().collect();
    let count = different.len();
    if let Some(case) = different.pop() {
        panic!("{count} of {}: {}", cases.len(), shrink(&tool, case));
    }
    // Prometheus itself can read every page.
    let mut pages = Vec::new();
    for case in &cases {
        let (content_type, page) = own_answer(&case.input);
        let mut frames = Vec::new();
        push_frame(&mut frames, content_type.as_bytes());
        push_frame(&mut frames, &page);
        pages.push(frames);
    }
    for (case, refused) in cases.iter().zip(ask_oracle(&tool, &["parse"], pages)) {
        let (why, page) = (String::from_utf8_lossy(&refused.answer), own_answer(&case.input).1);
        assert!(why.is_empty(), "{why}\n{}", String::from_utf8_lossy(&page));
    }
}
