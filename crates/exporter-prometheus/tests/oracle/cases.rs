//! The generated cases: the configuration, the header `Accept`, and bodies of a seed.

use std::collections::BTreeSet;

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
use otelcore_test_support::{push_frame, random_bytes};
use prost::Message;

use crate::generate::{self, Choices};

/// Placeholder for the same number of bytes that are not UTF-8, which a Rust string can't contain.
const PLACEHOLDER: &str = "not-utf8";
const NOT_UTF8: &[u8; 8] = b"a\xff\xc3(\xe2\x82\xed\xa0";

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
        let key = c.choose(&keys[..common]);
        let value = match c.below(4) {
            0 => generate::value(c),
            1 => AnyValue { value: Some(Value::StringValue(c.choose(&WORDS).to_owned())) },
            _ => AnyValue { value: Some(Value::StringValue(c.choose(&WORDS[..6]).to_owned())) },
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
        attributes.push(text("service.name", c.choose(&["svc", "shop", ""])));
    }
    if c.bool() {
        attributes.push(text("service.namespace", c.choose(&["ns", ""])));
    }
    if c.below(4) > 0 {
        attributes.insert(0, text("service.instance.id", &format!("i{number}")));
    }
    Resource { attributes, dropped_attributes_count: 0, entity_refs: vec![] }
}

fn scope(c: &mut Choices<'_>, number: usize, is_distinct: bool) -> (InstrumentationScope, String) {
    const KEYS: [&str; 11] = ["a", "a.b", "name", "version", "schema_url", "b", "c", "d", "e", "é", "schema.url"];
    let scope = InstrumentationScope {
        name: format!("{}{number}", c.choose(&["", "lib", "größe"])),
        version: c.choose(&["", "1.2"]).to_owned(),
        attributes: attributes(c, if is_distinct { &KEYS[..10] } else { &KEYS }),
        dropped_attributes_count: 0,
    };
    (scope, c.choose(&["", "https://example.com/schema"]).to_owned())
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
    let name = format!("{}m{number}z{}", c.choose(before), c.choose(after));
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
            description: c.choose(&HELP).to_owned(),
            unit: c.choose(&UNITS).to_owned(),
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
    let mut accept = c.choose(&FORMATS).to_owned();
    if !escaping_parameter.is_empty() && !accept.is_empty() {
        accept = format!(
            "{};escaping={escaping_parameter}",
            accept.replace(',', &format!(";escaping={escaping_parameter},"))
        );
    }
    (CONFIGURATIONS[number], accept, number >= 4)
}

/// The input of a seed.
pub fn input(seed: u64) -> Vec<u8> {
    let content = random_bytes(seed, 8_000);
    let mut c = Choices(&content);
    let (config, accept, is_distinct) = request(&mut c);
    let mut input = Vec::new();
    push_frame(&mut input, config.as_bytes());
    push_frame(&mut input, accept.as_bytes());
    requests(&mut c, is_distinct).iter().for_each(|request| push_frame(&mut input, &encode(request)));
    input
}

/// The input of a seed with any configuration, and names and labels that become equal when they are escaped.
pub fn input_with_equal_names(seed: u64) -> Vec<u8> {
    let content = random_bytes(seed, 8_000);
    let mut c = Choices(&content);
    let (config, accept, _) = request(&mut c);
    let mut input = Vec::new();
    push_frame(&mut input, config.as_bytes());
    push_frame(&mut input, accept.as_bytes());
    // The same names in several metrics and scopes, and labels that samples and exporters have themselves.
    const NAMES: [&str; 9] =
        ["a.b", "a_b", "a__b", "a_dot_b", "U__a_2e_b", "a.b.total", "a.b_count", "a.b_bucket", "target.info"];
    const KEYS: [&str; 8] = ["le", "quantile", "x.y", "x_y", "x:y", "otel_scope_name", "zone", "job"];
    for mut request in requests(&mut c, false) {
        for resource in &mut request.resource_metrics {
            for scope in &mut resource.scope_metrics {
                for metric in &mut scope.metrics {
                    if c.below(3) > 0 {
                        metric.name = c.choose(&NAMES).to_owned();
                    }
                    add_attributes(metric, |i| text(KEYS[(seed as usize + i) % KEYS.len()], "v"));
                }
            }
        }
        push_frame(&mut input, &encode(&request));
    }
    input
}

/// Adds an attribute to each point.
fn add_attributes(metric: &mut Metric, attribute: impl Fn(usize) -> KeyValue) {
    let lists: Vec<&mut Vec<KeyValue>> = match &mut metric.data {
        Some(Data::Gauge(data)) => data.data_points.iter_mut().map(|p| &mut p.attributes).collect(),
        Some(Data::Sum(data)) => data.data_points.iter_mut().map(|p| &mut p.attributes).collect(),
        Some(Data::Histogram(data)) => data.data_points.iter_mut().map(|p| &mut p.attributes).collect(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.iter_mut().map(|p| &mut p.attributes).collect(),
        Some(Data::Summary(data)) => data.data_points.iter_mut().map(|p| &mut p.attributes).collect(),
        None => vec![],
    };
    lists.into_iter().enumerate().for_each(|(i, list)| list.push(attribute(i)));
}

fn requests(c: &mut Choices<'_>, is_distinct: bool) -> Vec<ExportMetricsServiceRequest> {
    let resources: Vec<_> = (0..3).map(|n| resource(c, n, is_distinct)).collect();
    let scopes: Vec<_> = (0..2).map(|n| scope(c, n, is_distinct)).collect();
    let mut series = 0;
    let mut plans: Vec<_> = (0..6).map(|n| plan_metric(c, n, &mut series, is_distinct)).collect();
    let mut requests = Vec::new();
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
        requests.push(ExportMetricsServiceRequest { resource_metrics });
    }
    requests
}

/// The bytes of a request, with bytes that are not UTF-8 in the places of [`PLACEHOLDER`].
fn encode(request: &ExportMetricsServiceRequest) -> Vec<u8> {
    let mut bytes = request.encode_to_vec();
    while let Some(at) = bytes.windows(8).position(|w| w == PLACEHOLDER.as_bytes()) {
        bytes[at..at + 8].copy_from_slice(NOT_UTF8);
    }
    bytes
}
