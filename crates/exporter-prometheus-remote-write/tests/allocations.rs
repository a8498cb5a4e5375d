//! Points and labels are translated without allocations of their own.
#![allow(clippy::unwrap_used, reason = "a test")]

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use otelcore_exporter_prometheus_remote_write::{ProtobufMessage, RemoteWriteFormat, encode_requests};
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::{EncodeLimits, Piece};
use otelcore_test_support::CountingAllocator;
use prost::Message;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Points with ten labels: of a counter, and of a histogram with three bounds.
fn body(points: u64) -> Rope {
    let attribute = |key: String, value: String| KeyValue {
        key,
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value)) }),
        ..KeyValue::default()
    };
    let attributes =
        |i: u64| (0..10).map(|at| attribute(format!("http.key_{at}"), format!("value {i}"))).collect::<Vec<_>>();
    let number = |i: u64| NumberDataPoint {
        attributes: attributes(i),
        time_unix_nano: 1_700_000_000_000_000_000,
        value: Some(number_data_point::Value::AsDouble(1.5)),
        ..NumberDataPoint::default()
    };
    let histogram = |i: u64| HistogramDataPoint {
        attributes: attributes(i),
        time_unix_nano: 1_700_000_000_000_000_000,
        count: 3,
        sum: Some(1.0),
        bucket_counts: vec![1, 1, 1, 0],
        explicit_bounds: vec![1.0, 2.0, 3.0],
        ..HistogramDataPoint::default()
    };
    let data = [
        metric::Data::Sum(Sum {
            data_points: (0..points).map(number).collect(),
            aggregation_temporality: 2,
            is_monotonic: true,
        }),
        metric::Data::Histogram(Histogram {
            data_points: (0..points).map(histogram).collect(),
            aggregation_temporality: 2,
        }),
    ];
    let metrics = data.into_iter().enumerate().map(|(at, data)| Metric {
        name: format!("requests.{at}"),
        data: Some(data),
        ..Metric::default()
    });
    let scope_metrics = vec![ScopeMetrics { metrics: metrics.collect(), ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    let bytes = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
    let items = check(Signal::Metrics, &bytes).unwrap().items;
    Rope::new(bytes.into(), items)
}

fn allocations(message: ProtobufMessage, points: u64) -> u64 {
    let format = RemoteWriteFormat { message, scope_labels: true, target_info: true, ..RemoteWriteFormat::default() };
    let piece = Piece { body: body(points), ..Piece::default() };
    let limits = EncodeLimits { message_bytes: usize::MAX, max_messages: 10, total_bytes: usize::MAX };
    let before = ALLOCATOR.count();
    let (encoded, counts) = encode_requests(&format, usize::MAX, piece, limits);
    let after = ALLOCATOR.count();
    assert_eq!((encoded.messages.len(), counts.series as u64), (1, 7 * points));
    after - before
}

#[test]
fn allocations_grow_with_the_logarithm_of_the_number_of_points() {
    for message in [ProtobufMessage::Version1, ProtobufMessage::Version2] {
        let (few, many) = (allocations(message, 100), allocations(message, 1600));
        // Buffers double: each of about ten has four steps more.
        assert!(many < few + 80, "{few} and {many}");
    }
}
