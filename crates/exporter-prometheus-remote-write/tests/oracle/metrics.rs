//! Metrics from seeds, with what translations have to decide.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelcore_test_support::random_bytes;
use prost::Message;

use super::generate::{self, Choices};

const KEYS: &str = "a b A a.b a_b a..b a__b _a __a .a 1a é_1 größe host.name service.name service.namespace service.instance.id \
    job instance otel_scope_name otel.scope.name __reserved__ x.y.z";
const SCOPE_KEYS: &str = "name version schema_url a a.b job Größe";
const NAMES: &str = "requests requests.total total http.server.duration http_server_duration cpu.ratio 1x größe.x a:b _x x_ x__y \
    process.seconds";
const UNITS: [&str; 10] = ["", "1", "s", "By", "By/s", "{req}", "{req}/s", "°C", "ms", "foo_"];
const WORDS: [&str; 9] = ["", "x", "y", "Größe", "a b", "\"\\\n", "3", "true", "x;y"];
const DOUBLES: [f64; 13] =
    [0.0, -0.0, 1.0, -1.5, 0.1, 2.5, 10.0, 1e21, 1e-7, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 123_456_789.125];
const TIMES: [u64; 6] =
    [0, 1, 999_999, 1_700_000_000_000_000_000, 1_700_000_000_123_456_789, 1_700_000_001_000_000_000];

/// The request of a body.
pub fn decode(body: &[u8]) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest::decode(body).unwrap()
}

fn word(c: &mut Choices<'_>, words: &str) -> String {
    let words: Vec<_> = words.split_whitespace().collect();
    words[c.below(words.len())].to_owned()
}

fn string(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) })
}

fn text(c: &mut Choices<'_>) -> String {
    WORDS[c.below(WORDS.len())].to_owned()
}

fn double(c: &mut Choices<'_>) -> f64 {
    DOUBLES[c.below(DOUBLES.len())]
}

fn time(c: &mut Choices<'_>) -> u64 {
    TIMES[c.below(TIMES.len())] + u64::from(c.byte()) * 1_000_000
}

/// Attributes with keys that are all different.
fn attributes(c: &mut Choices<'_>, keys: &str, max: usize) -> Vec<KeyValue> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for _ in 0..c.below(max + 1) {
        let key = word(c, keys);
        let value = match c.below(6) {
            0 => c.option(generate::value),
            1 => Some(AnyValue { value: Some(Value::IntValue(i64::from(c.byte()) - 9)) }),
            2 => Some(AnyValue { value: Some(Value::DoubleValue(double(c))) }),
            _ => string(&text(c)),
        };
        if seen.insert(key.clone()) {
            all.push(KeyValue { key, value, key_strindex: 0 });
        }
    }
    all
}

fn flags(c: &mut Choices<'_>) -> u32 {
    u32::from(c.below(8) == 0)
}

fn exemplars(c: &mut Choices<'_>) -> Vec<Exemplar> {
    let exemplar = |c: &mut Choices<'_>| {
        let long = if c.below(6) == 0 { "long ".repeat(30) } else { String::new() };
        let mut filtered_attributes = attributes(c, "user.id b größe", 2);
        if !long.is_empty() {
            filtered_attributes.push(KeyValue { key: "long".to_owned(), value: string(&long), key_strindex: 0 });
        }
        Exemplar {
            filtered_attributes,
            time_unix_nano: time(c),
            span_id: if c.bool() { c.id(8) } else { Vec::new() },
            trace_id: if c.bool() { c.id(16) } else { Vec::new() },
            value: match c.below(4) {
                0 => None,
                1 => Some(exemplar::Value::AsInt(i64::from(c.byte()))),
                _ => Some(exemplar::Value::AsDouble(double(c))),
            },
        }
    };
    (0..c.below(4).saturating_sub(1)).map(|_| exemplar(c)).collect()
}

fn number(c: &mut Choices<'_>) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(c, KEYS, 5),
        start_time_unix_nano: time(c),
        time_unix_nano: time(c),
        exemplars: exemplars(c),
        flags: flags(c),
        value: match c.below(6) {
            0 => None,
            1 | 2 => Some(number_data_point::Value::AsInt(i64::from(c.byte()) - 5)),
            _ => Some(number_data_point::Value::AsDouble(double(c))),
        },
    }
}

fn histogram(c: &mut Choices<'_>) -> HistogramDataPoint {
    let mut bounds: Vec<f64> = (0..c.below(5)).map(|_| double(c)).filter(|bound| bound.is_finite()).collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    let counts = bounds.len() + c.below(3);
    HistogramDataPoint {
        attributes: attributes(c, KEYS, 4),
        start_time_unix_nano: time(c),
        time_unix_nano: time(c),
        count: u64::from(c.byte()),
        sum: c.option(double),
        bucket_counts: (0..counts).map(|_| u64::from(c.byte())).collect(),
        explicit_bounds: bounds,
        exemplars: exemplars(c),
        flags: flags(c),
        min: c.option(double),
        max: None,
    }
}

fn exponential(c: &mut Choices<'_>) -> ExponentialHistogramDataPoint {
    let buckets = |c: &mut Choices<'_>| Buckets {
        offset: i32::from(c.byte()) - 100,
        bucket_counts: (0..c.below(12)).map(|_| u64::from(c.byte() / 100)).collect(),
    };
    ExponentialHistogramDataPoint {
        attributes: attributes(c, KEYS, 4),
        start_time_unix_nano: time(c),
        time_unix_nano: time(c),
        count: u64::from(c.byte()),
        sum: c.option(double),
        // Above 8, Go joins buckets wrongly after empty ones.
        scale: [-11, -5, -4, 0, 3, 8][c.below(6)],
        zero_count: u64::from(c.byte()),
        positive: c.option(buckets),
        negative: c.option(buckets),
        flags: flags(c),
        exemplars: exemplars(c),
        min: None,
        max: None,
        zero_threshold: if c.bool() { 0.0 } else { 0.25 },
    }
}

fn summary(c: &mut Choices<'_>) -> SummaryDataPoint {
    SummaryDataPoint {
        attributes: attributes(c, KEYS, 4),
        start_time_unix_nano: time(c),
        time_unix_nano: time(c),
        count: u64::from(c.byte()),
        sum: double(c),
        quantile_values: (0..c.below(4))
            .map(|at| ValueAtQuantile { quantile: [0.5, 0.99, 0.0, 1.0][at], value: double(c) })
            .collect(),
        flags: flags(c),
    }
}

fn temporality(c: &mut Choices<'_>) -> i32 {
    [2, 2, 2, 2, 2, 1, 0][c.below(7)]
}

fn points<T>(c: &mut Choices<'_>, one: fn(&mut Choices<'_>) -> T) -> Vec<T> {
    (0..c.below(4)).map(|_| one(c)).collect()
}

fn metric(c: &mut Choices<'_>) -> Metric {
    let data = match c.below(7) {
        0 => Some(Data::Gauge(Gauge { data_points: points(c, number) })),
        1 | 2 => Some(Data::Sum(Sum {
            data_points: points(c, number),
            aggregation_temporality: temporality(c),
            is_monotonic: c.bool(),
        })),
        3 => Some(Data::Histogram(Histogram {
            data_points: points(c, histogram),
            aggregation_temporality: temporality(c),
        })),
        4 => Some(Data::ExponentialHistogram(ExponentialHistogram {
            data_points: points(c, exponential),
            aggregation_temporality: temporality(c),
        })),
        5 => Some(Data::Summary(Summary { data_points: points(c, summary) })),
        _ => c.option(|c| Data::Gauge(Gauge { data_points: points(c, number) })),
    };
    let kind = ["unknown", "info", "stateset", "x"][c.below(4)];
    let metadata = KeyValue { key: "prometheus.type".to_owned(), value: string(kind), key_strindex: 0 };
    Metric {
        name: word(c, NAMES),
        description: text(c),
        unit: UNITS[c.below(UNITS.len())].to_owned(),
        metadata: if c.bool() { vec![metadata] } else { Vec::new() },
        data,
    }
}

/// The request of a seed.
pub fn request(seed: u64) -> ExportMetricsServiceRequest {
    let content = random_bytes(seed, 4000);
    let mut c = Choices(&content);
    let c = &mut c;
    let scope = |c: &mut Choices<'_>| InstrumentationScope {
        name: text(c),
        version: text(c),
        attributes: attributes(c, SCOPE_KEYS, 3),
        dropped_attributes_count: 0,
    };
    let scope_metrics = |c: &mut Choices<'_>| ScopeMetrics {
        scope: c.option(scope),
        metrics: (0..=c.below(4)).map(|_| metric(c)).collect(),
        schema_url: String::new(),
    };
    let resource = |c: &mut Choices<'_>| Resource {
        attributes: attributes(c, KEYS, 6),
        dropped_attributes_count: 0,
        entity_refs: Vec::new(),
    };
    let resource_metrics = (0..=c.below(3))
        .map(|_| ResourceMetrics {
            resource: c.option(resource),
            scope_metrics: (0..=c.below(2)).map(|_| scope_metrics(c)).collect(),
            schema_url: String::new(),
        })
        .collect();
    ExportMetricsServiceRequest { resource_metrics }
}
