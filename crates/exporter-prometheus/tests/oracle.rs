//! Compares whole pages with those of the Go collector's exporter, for telemetry from fixed seeds.
//!
//! Cases in which the result of the Go exporter is random are avoided: every metric has a unique name, every series a
//! unique label, every resource a unique instance. Also avoided are exponential histograms, which are not supported
//! yet; the end of a series among other points of its metric, where 0.155 drops the others; and bounds and quantiles
//! that are NaN.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, reason = "a test")]

#[path = "../../pdata/tests/oracle/generate.rs"]
mod generate;

use std::collections::BTreeSet;
use std::path::Path;

use generate::Choices;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
    SummaryDataPoint,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelcore_exporter_prometheus::oracle::render_page;
use otelcore_exporter_prometheus::{PageConfig, ResourceLabelsConfig, TranslationStrategy};
use otelcore_test_support::{random_bytes, run_tool, take_u32, tool_path};
use prost::Message;

const CASES: u64 = 120;

/// Placeholder for the same number of bytes that are not UTF-8, which a Rust string can't contain.
const PLACEHOLDER: &str = "not-utf8";
const NOT_UTF8: &[u8; 8] = b"a\xff\xc3(\xe2\x82\xed\xa0";

fn choose<'a>(c: &mut Choices<'_>, from: &[&'a str]) -> &'a str {
    from[c.below(from.len())]
}

const BEFORE: [&str; 12] = ["", "", "http.", "_", "__", "1", "世界", "total.", "ratio_", "a b-", ":", "seconds."];
const AFTER: [&str; 14] = [
    "",
    "",
    ".total",
    "_total",
    "_ratio",
    ".bytes",
    "_seconds",
    "__x",
    "_",
    "..",
    ".é",
    "bytestotal",
    ":rate",
    ".per_second",
];
const UNITS: [&str; 20] = [
    "", "", "1", "s", "ms", "By", "KiBy", "%", "{req}", "{x}/s", "By/s", "m/m", "a/b/c", "foo_", "°C", "1/s", "s/",
    "/s", " By ", "TiBy",
];
const HELP: [&str; 5] = ["", "Total", "with \\ and \"quotes\"\nand a line", "größe", "two  spaces "];
const KEYS: [&str; 16] = [
    "a",
    "a.b",
    "a_b",
    "a..b",
    "1x",
    "_x",
    "é",
    "größe",
    "http.method",
    "le",
    "quantile",
    "zone",
    "job",
    "",
    "__x",
    "otel.scope.name",
];
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

fn resource(c: &mut Choices<'_>, number: usize) -> Resource {
    const KEYS: [&str; 12] =
        ["host.name", "a", "a.b", "a_b", "zone", "k8s.pod.name", "région", "1st", "job", "instance", "__reserved", "é"];
    // A key that has no label name removes every target_info; only one resource in eight may have such a key.
    let keys = if c.below(8) == 0 { &KEYS[8..] } else { &KEYS[..8] };
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

fn scope(c: &mut Choices<'_>, number: usize) -> (InstrumentationScope, String) {
    let scope = InstrumentationScope {
        name: format!("{}{number}", choose(c, &["", "lib", "größe"])),
        version: choose(c, &["", "1.2"]).to_owned(),
        attributes: attributes(
            c,
            &["a", "a.b", "name", "version", "schema_url", "b", "c", "d", "e", "é", "schema.url"],
        ),
        dropped_attributes_count: 0,
    };
    (scope, choose(c, &["", "https://example.com/schema"]).to_owned())
}

#[derive(Clone, Copy, PartialEq)]
enum MetricKind {
    Gauge,
    Sum,
    Histogram,
    Summary,
}

/// The parts of a metric and its series that are the same in all bodies of a case.
struct MetricPlan {
    metric: Metric,
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

fn plan_metric(c: &mut Choices<'_>, number: usize, series: &mut usize) -> MetricPlan {
    let kind =
        [MetricKind::Gauge, MetricKind::Sum, MetricKind::Sum, MetricKind::Histogram, MetricKind::Summary][c.below(5)];
    // The number in the middle keeps the names distinct after any translation of the rest.
    let name = format!("{}m{number}z{}", choose(c, &BEFORE), choose(c, &AFTER));
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
        let mut all = attributes(c, &KEYS);
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
        temporality: if c.below(8) == 0 { 0 } else { 1 + c.below(2) as i32 },
        monotonic: c.below(4) > 0,
        resource: c.below(4),
        scope: c.below(3),
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
        let (mut numbers, mut histograms, mut summaries) = (vec![], vec![], vec![]);
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
                        exemplars: vec![],
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
                        exemplars: vec![],
                        flags,
                        min: c.option(double),
                        max: c.option(double),
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
            MetricKind::Summary => Data::Summary(Summary { data_points: summaries }),
        });
        metric
    }
}

/// The bodies of a seed.
fn bodies(seed: u64) -> Vec<Vec<u8>> {
    let content = random_bytes(seed, 20_000);
    let mut c = Choices(&content);
    let resources: Vec<_> = (0..4).map(|n| resource(&mut c, n)).collect();
    let scopes: Vec<_> = (0..3).map(|n| scope(&mut c, n)).collect();
    let mut series = 0;
    let mut plans: Vec<_> = (0..12).map(|n| plan_metric(&mut c, n, &mut series)).collect();
    let mut bodies = Vec::new();
    for _ in 0..1 + c.below(5) {
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
                let metric = plan.next_metric(&mut c);
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

/// The Go exporter's page for each case.
fn go_pages(oracle: &Path, config: &str, cases: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    let number = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let mut input = Vec::new();
    for bodies in cases {
        input.extend(number(bodies.len()));
        for body in bodies {
            input.extend(number(body.len()));
            input.extend_from_slice(body);
        }
    }
    let output = run_tool(oracle, &[config], &input);
    let mut rest = output.as_slice();
    let pages = cases.iter().map(|_| {
        let len = take_u32(&mut rest) as usize;
        let (page, after) = rest.split_at(len);
        rest = after;
        page.to_vec()
    });
    pages.collect()
}

/// The same configuration for both.
fn configurations() -> Vec<(&'static str, PageConfig)> {
    let everything = ResourceLabelsConfig { included: vec!["*".to_owned()], excluded: vec![] };
    let service = ["service.name", "service.namespace", "service.instance.id"];
    let no_service = ResourceLabelsConfig { excluded: service.map(str::to_owned).to_vec(), ..everything.clone() };
    let settings = PageConfig::default;
    vec![
        ("{}", settings()),
        (
            "{namespace: test-space, const_labels: {zone: a, B: 'x\"y'}, send_timestamps: true}",
            PageConfig {
                namespace: "test-space".to_owned(),
                const_labels: vec![("zone".to_owned(), "a".to_owned()), ("B".to_owned(), "x\"y".to_owned())],
                send_timestamps: true,
                ..settings()
            },
        ),
        (
            "{resource_to_telemetry_conversion: {enabled: true}, without_scope_info: true}",
            PageConfig { resource_labels: everything, without_scope_info: true, ..settings() },
        ),
        (
            "{translation_strategy: UnderscoreEscapingWithoutSuffixes, namespace: _n__}",
            PageConfig {
                strategy: TranslationStrategy::UnderscoreEscapingWithoutSuffixes,
                namespace: "_n__".to_owned(),
                ..settings()
            },
        ),
        (
            "{translation_strategy: NoUTF8EscapingWithSuffixes, namespace: 1ns, send_timestamps: true}",
            PageConfig {
                strategy: TranslationStrategy::NoUtf8EscapingWithSuffixes,
                namespace: "1ns".to_owned(),
                send_timestamps: true,
                ..settings()
            },
        ),
        (
            "{translation_strategy: NoTranslation, \
             resource_to_telemetry_conversion: {enabled: true, exclude_service_attributes: true}}",
            PageConfig { strategy: TranslationStrategy::NoTranslation, resource_labels: no_service, ..settings() },
        ),
    ]
}

#[test]
fn pages_are_byte_for_byte_those_of_the_go_exporter() {
    let Some(oracle) = tool_path("prometheus-oracle") else { return };
    let cases: Vec<_> = (0..CASES).map(bodies).collect();
    for (config, settings) in configurations() {
        let mut lines = 0;
        for (seed, (bodies, expected)) in cases.iter().zip(go_pages(&oracle, config, &cases)).enumerate() {
            let bodies: Vec<_> = bodies.iter().map(Vec::as_slice).collect();
            let page = render_page(&settings, &bodies);
            if page != expected {
                let (ours, theirs) = (String::from_utf8_lossy(&page), String::from_utf8_lossy(&expected));
                let (a, b): (BTreeSet<_>, BTreeSet<_>) = (ours.lines().collect(), theirs.lines().collect());
                let only = |x: &BTreeSet<&str>, y: &BTreeSet<&str>| {
                    x.difference(y).take(12).copied().collect::<Vec<_>>().join("\n")
                };
                panic!(
                    "seed {seed} of {config}; only here:\n{}\n\nonly there:\n{}\n\n(in another order: {})",
                    only(&a, &b),
                    only(&b, &a),
                    a == b
                );
            }
            lines += expected.split(|b| *b == b'\n').count();
        }
        // The seeds produce enough lines.
        assert!(lines > 5000, "{lines} lines of {config}");
    }
}
