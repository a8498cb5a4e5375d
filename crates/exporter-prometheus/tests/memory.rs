//! What a series costs: bytes of memory, and work to update it among many others.

use std::ops::Range;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelcore_exporter_prometheus::{BodyReader, DroppedPoints, PageConfig, SeriesRegistry, StepBudget};
use otelcore_pdata::Rope;
use otelcore_pipeline::MonotonicTime;
use otelcore_test_support::CountingAllocator;
use prost::Message;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// A counter with a series for each number.
fn body(series: Range<u32>) -> Rope {
    let point = |i: u32| NumberDataPoint {
        attributes: vec![
            text("http.route", &format!("/products/{}", i / 8)),
            text("http.method", "GET"),
            text("http.status_code", &(200 + i % 8).to_string()),
        ],
        start_time_unix_nano: 1_700_000_000_000_000_000,
        time_unix_nano: 1_700_000_001_000_000_000,
        value: Some(number_data_point::Value::AsInt(i64::from(i))),
        ..NumberDataPoint::default()
    };
    let sum = Sum { data_points: series.clone().map(point).collect(), aggregation_temporality: 2, is_monotonic: true };
    let metric = Metric { name: "http.requests".to_owned(), data: Some(metric::Data::Sum(sum)), ..Metric::default() };
    let attributes = vec![text("service.name", "checkout"), text("service.instance.id", "7f6c")];
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    };
    Rope::new(Bytes::from(request.encode_to_vec()), series.len() as u32)
}

fn registry_with(series: u32) -> SeriesRegistry {
    let config = PageConfig { without_scope_info: true, ..PageConfig::default() };
    let mut registry = SeriesRegistry::new(&config, 1, DroppedPoints::without_log());
    for first in (0..series).step_by(1000) {
        registry.push_body(&body(first..first + 1000), MonotonicTime(0));
    }
    registry
}

/// The work to update a thousand series, in an order that is not that in which they came.
fn work_of_update(registry: &mut SeriesRegistry, series: u32) -> u64 {
    let step = series / 1000;
    let bodies: Vec<Rope> = (0..1000).map(|i| i * 7919 % 1000 * step).map(|i| body(i..i + 1)).collect();
    let mut work = 0;
    for body in bodies {
        let mut reader = BodyReader::new(body);
        loop {
            let mut budget = StepBudget::for_one_step();
            let is_read = registry.read_step(&mut reader, MonotonicTime(1), &mut budget);
            work += budget.spent();
            if is_read {
                break;
            }
        }
    }
    work
}

#[test]
fn series_takes_at_most_200_bytes_and_its_update_costs_the_same_among_many() {
    const SERIES: u32 = 30_000;
    let mut few = registry_with(1000);
    let before = ALLOCATOR.live_bytes();
    let mut many = registry_with(SERIES);
    let bytes = (ALLOCATOR.live_bytes() - before) / u64::from(SERIES);
    assert_eq!(many.len(), SERIES as usize);
    assert!(bytes <= 200, "{bytes} bytes a series");
    // What is charged is what is taken, within a third.
    let charged = many.kept_bytes() / u64::from(SERIES);
    assert!(charged * 4 >= bytes * 3 && charged * 3 <= bytes * 4, "{charged} bytes are charged, {bytes} are taken");

    let allocations = ALLOCATOR.count();
    let (small, large) = (work_of_update(&mut few, 1000), work_of_update(&mut many, SERIES));
    assert!(large <= small * 2, "the work of an update grew from {small} to {large}");
    // The bodies of the test itself are most of them.
    assert!(ALLOCATOR.count() - allocations < 2 * 60 * 1000);
}
