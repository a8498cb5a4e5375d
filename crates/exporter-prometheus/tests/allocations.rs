//! Points of known series allocate nothing.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelcore_exporter_prometheus::{DroppedPoints, PageConfig, SeriesRegistry};
use otelcore_exposition::NegotiatedFormat;
use otelcore_pdata::Rope;
use otelcore_pipeline::MonotonicTime;
use otelcore_test_support::CountingAllocator;
use prost::Message;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A hundred points with two labels: gauges, counters, delta sums and histograms.
fn body(round: u64) -> Rope {
    let list = |i: u64| {
        let mut list = vec![
            attribute("http.method", any_value::Value::StringValue("GET".into())),
            attribute("http.status_code", any_value::Value::IntValue(200 + i.cast_signed())),
        ];
        if round % 2 == 1 {
            list.reverse();
        }
        list
    };
    let point = |i: u64| NumberDataPoint {
        attributes: list(i),
        start_time_unix_nano: round,
        time_unix_nano: round + 1,
        value: Some(number_data_point::Value::AsDouble(i as f64)),
        ..NumberDataPoint::default()
    };
    let bars = |i: u64| HistogramDataPoint {
        attributes: list(i),
        time_unix_nano: round + 1,
        count: 3,
        sum: Some(1.0),
        bucket_counts: vec![1, 1, 1],
        explicit_bounds: vec![1.0, 2.0],
        ..HistogramDataPoint::default()
    };
    let sum = |temporality| {
        let data_points = (0..25).map(point).collect();
        metric::Data::Sum(Sum { data_points, aggregation_temporality: temporality, is_monotonic: true })
    };
    let histogram = Histogram { data_points: (0..25).map(bars).collect(), aggregation_temporality: 2 };
    let data = [
        metric::Data::Gauge(Gauge { data_points: (0..25).map(point).collect() }),
        sum(1),
        sum(2),
        metric::Data::Histogram(histogram),
    ];
    let metrics = data.into_iter().enumerate().map(|(i, data)| Metric {
        name: format!("requests.{i}"),
        description: "Requests".to_owned(),
        unit: "ms".to_owned(),
        data: Some(data),
        ..Metric::default()
    });
    let scope = Some(InstrumentationScope { name: "lib".to_owned(), ..InstrumentationScope::default() });
    let scope_metrics = vec![ScopeMetrics { scope, metrics: metrics.collect(), ..ScopeMetrics::default() }];
    let attributes = ["service.name", "service.instance.id", "host.name"]
        .map(|k| attribute(k, any_value::Value::StringValue("x".into())));
    let resource = Some(Resource { attributes: attributes.to_vec(), ..Resource::default() });
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }],
    };
    Rope::new(Bytes::from(request.encode_to_vec()), 100)
}

#[test]
fn point_of_a_known_series_allocates_nothing_and_a_page_little() {
    let mut registry = SeriesRegistry::new(&PageConfig::default(), 1, DroppedPoints::without_log());
    let bodies: Vec<Rope> = (0..20).map(body).collect();
    for body in &bodies[..2] {
        registry.push_body(body, MonotonicTime(0));
    }
    // A buffer that is shared for the first time allocates its count of references.
    let _shared = bodies.clone();
    let before = ALLOCATOR.count();
    for body in &bodies[2..] {
        registry.push_body(body, MonotonicTime(0));
    }
    assert_eq!(ALLOCATOR.count() - before, 0);
    assert_eq!(registry.len(), 100);

    let first = registry.render(MonotonicTime(0), &NegotiatedFormat::default()).unwrap();
    let before = ALLOCATOR.count();
    let second = registry.render(MonotonicTime(0), &NegotiatedFormat::default()).unwrap();
    assert!(ALLOCATOR.count() - before < 64);
    assert_eq!(first, second);
    assert!(first.len() > 10_000);
}
