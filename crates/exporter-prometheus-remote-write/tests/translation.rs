//! Cases in which the translation differs from Go's on purpose, and properties for any metrics.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, reason = "a test")]

#[path = "oracle/content.rs"]
mod content;
#[path = "../../pdata/tests/oracle/generate.rs"]
mod generate;
#[path = "oracle/proto.rs"]
mod proto;

use content::{Content, Labels, Series};
use generate::Choices;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, number_data_point,
};
use otelcore_exporter_prometheus_remote_write::{ProtobufMessage, RemoteWriteFormat, encode_requests};
use otelcore_net::EncodedBody;
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::{EncodeLimits, EncodedPiece, Piece};
use proptest::prelude::*;
use prost::Message;

const SECOND: u64 = 1_000_000_000;

fn format(message: ProtobufMessage) -> RemoteWriteFormat {
    RemoteWriteFormat { message, scope_labels: true, target_info: true, ..RemoteWriteFormat::default() }
}

fn encode(format: &RemoteWriteFormat, max_bytes: usize, piece: Piece) -> EncodedPiece<EncodedBody> {
    let limits = EncodeLimits { message_bytes: usize::MAX, max_messages: 100, total_bytes: usize::MAX };
    encode_requests(format, max_bytes, piece, limits).0
}

fn body(metrics: Vec<Metric>) -> Rope {
    let scope = InstrumentationScope { attributes: vec![attribute("empty", "")], ..InstrumentationScope::default() };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    rope(&ExportMetricsServiceRequest { resource_metrics })
}

fn rope(request: &ExportMetricsServiceRequest) -> Rope {
    let bytes = request.encode_to_vec();
    let items = check(Signal::Metrics, &bytes).unwrap().items;
    Rope::new(bytes.into(), items)
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn metric(name: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), data: Some(data), ..Metric::default() }
}

fn number(time: u64, value: f64, attributes: Vec<KeyValue>) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: 5 * SECOND,
        time_unix_nano: time * SECOND,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn translate(message: ProtobufMessage, metrics: Vec<Metric>) -> (Content, Option<(u32, &'static str)>) {
    let mut encoded = encode(&format(message), usize::MAX, Piece { body: body(metrics), ..Piece::default() });
    let request = encoded.messages.pop().unwrap();
    let bytes = request.content.parts.concat();
    let content = Content::new(&[&bytes], message == ProtobufMessage::Version2);
    (content, request.left_out.map(|left_out| (left_out.count, left_out.reason)))
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn series<'c>(content: &'c Content, pairs: &[(&str, &str)]) -> &'c Series {
    content.series.get(&(labels(pairs), false)).unwrap_or_else(|| panic!("{content:#?}"))
}

#[test]
fn samples_of_a_series_are_in_the_order_of_time() {
    let points = [9, 3, 7, 5].map(|time| number(time, time as f64, vec![attribute("k", "v")]));
    let data = Data::Gauge(Gauge { data_points: points.to_vec() });
    for message in [ProtobufMessage::Version1, ProtobufMessage::Version2] {
        let (content, left_out) = translate(message, vec![metric("m", data.clone())]);
        let samples = &series(&content, &[("__name__", "m"), ("k", "v")]).samples;
        assert_eq!(samples.iter().map(|(time, _)| *time).collect::<Vec<_>>(), [3000, 5000, 7000, 9000]);
        assert_eq!(left_out, None);
    }
}

#[test]
fn labels_of_the_exporter_replace_attributes_of_their_names() {
    let point = HistogramDataPoint {
        attributes: vec![attribute("le", "x"), attribute("__name__", "y")],
        time_unix_nano: SECOND,
        count: 2,
        bucket_counts: vec![1, 1],
        explicit_bounds: vec![0.5],
        ..HistogramDataPoint::default()
    };
    let data = Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: 2 });
    let (content, _) = translate(ProtobufMessage::Version1, vec![metric("h", data)]);
    for bound in ["0.5", "+Inf"] {
        series(&content, &[("__name__", "h_bucket"), ("le", bound)]);
    }
    // A label of a series that has none of its own.
    series(&content, &[("__name__", "h_count"), ("le", "x")]);
}

#[test]
fn points_that_can_not_be_expressed_are_left_out_with_the_first_reason() {
    let sum = |temporality| {
        let points = vec![number(9, 1.0, Vec::new()), number(9, 1.0, vec![attribute("k", "v")])];
        Data::Sum(Sum { data_points: points, aggregation_temporality: temporality, is_monotonic: true })
    };
    let long = "x".repeat(70 << 10);
    let gauge = Data::Gauge(Gauge {
        data_points: vec![
            number(1, 1.0, vec![attribute("...", "v")]),
            number(1, 1.0, vec![attribute("____", "v")]),
            number(1, 1.0, vec![attribute("k", &long)]),
        ],
    });
    let (content, left_out) =
        translate(ProtobufMessage::Version2, vec![metric("c", sum(2)), metric("d", sum(1)), metric("g", gauge)]);
    let (count, reason) = left_out.unwrap();
    assert_eq!(count, 4);
    assert!(reason.contains("not cumulative"), "{reason}");
    assert_eq!(series(&content, &[("__name__", "c_total")]).starts, [5000]);
    assert_eq!(content.series.len(), 3);
}

#[test]
fn bucket_of_version_2_has_its_exemplar_and_its_start() {
    let exemplar = Exemplar {
        time_unix_nano: 8 * SECOND,
        trace_id: vec![7; 16],
        value: Some(exemplar::Value::AsDouble(0.7)),
        ..Exemplar::default()
    };
    let point = HistogramDataPoint {
        start_time_unix_nano: 5 * SECOND,
        time_unix_nano: 9 * SECOND,
        count: 2,
        bucket_counts: vec![1, 1, 0],
        explicit_bounds: vec![0.5, 1.0],
        exemplars: vec![exemplar],
        ..HistogramDataPoint::default()
    };
    let data = Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: 2 });
    let (content, _) = translate(ProtobufMessage::Version2, vec![metric("h", data)]);
    let bucket = series(&content, &[("__name__", "h_bucket"), ("le", "1")]);
    assert_eq!((bucket.starts.as_slice(), bucket.exemplars.len()), (&[5000][..], 1));
    assert_eq!(bucket.exemplars[0].labels, labels(&[("trace_id", &"07".repeat(16))]));
    assert_eq!(series(&content, &[("__name__", "h_bucket"), ("le", "0.5")]).exemplars, []);
}

#[test]
fn buckets_of_a_scale_above_8_are_joined_also_after_empty_ones() {
    let point = ExponentialHistogramDataPoint {
        time_unix_nano: SECOND,
        count: 8,
        scale: 9,
        positive: Some(Buckets { offset: 0, bucket_counts: vec![0, 0, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1] }),
        negative: Some(Buckets { offset: -3, bucket_counts: vec![1, 2, 5] }),
        ..ExponentialHistogramDataPoint::default()
    };
    let data =
        Data::ExponentialHistogram(ExponentialHistogram { data_points: vec![point], aggregation_temporality: 2 });
    let (content, _) = translate(ProtobufMessage::Version1, vec![metric("e", data)]);
    let found = &content.series[&(labels(&[("__name__", "e")]), true)].histograms[0];
    assert_eq!(found.schema, 8);
    assert_eq!(found.positive.iter().map(|(at, count)| (*at, *count)).collect::<Vec<_>>(), [(2, 7), (7, 1)]);
    assert_eq!(found.negative.iter().map(|(at, count)| (*at, *count)).collect::<Vec<_>>(), [(-1, 1), (0, 7)]);
}

#[test]
fn piece_that_was_refused_for_its_size_is_divided_however_short_it_is() {
    let points = (0..64).map(|i| number(i + 1, 1.0, vec![attribute("k", &i.to_string())])).collect();
    let body = body(vec![metric("m", Data::Gauge(Gauge { data_points: points }))]);
    let piece = Piece { body, too_large: true, ..Piece::default() };
    let encoded = encode(&format(ProtobufMessage::Version1), usize::MAX, piece);
    assert_eq!(encoded.messages.len(), 2);
    assert_eq!(encoded.messages.iter().map(|message| message.body.items()).sum::<u32>(), 64);
    // One series can't be divided.
    let points = (1..9).map(|time| number(time, 1.0, Vec::new())).collect();
    let body = self::body(vec![metric("m", Data::Gauge(Gauge { data_points: points }))]);
    let piece = Piece { body, too_large: true, ..Piece::default() };
    assert_eq!(encode(&format(ProtobufMessage::Version1), 10, piece).messages.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_metrics_give_requests_that_can_be_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..3000), version in 0..2) {
        let request = generate::metrics(&mut Choices(&bytes));
        let message = if version == 0 { ProtobufMessage::Version1 } else { ProtobufMessage::Version2 };
        let body = rope(&request);
        for max_bytes in [usize::MAX, 1000] {
            let encoded = encode(&format(message), max_bytes, Piece { body: body.clone(), ..Piece::default() });
            let items: u32 = encoded.messages.iter().map(|message| message.body.items()).sum();
            prop_assert!(items <= body.items());
            for message in encoded.messages {
                let request = message.content.parts.concat();
                if message.left_out.is_none_or(|left_out| left_out.count < message.body.items()) {
                    Content::new(&[&request], version == 1);
                }
            }
        }
    }
}
