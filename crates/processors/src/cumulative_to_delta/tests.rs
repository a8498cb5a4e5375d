use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use otelcore_pdata::Signal;
use otelcore_pipeline::WallTime;
use prost::Message;

use super::CumulativeToDeltaFactory;
use crate::testing::{Started, messages, metric_body};

const DROPPED: &str = "otelcol_cumulativetodelta_datapoints_dropped";
const TRACKED: &str = "otelcol_cumulativetodelta_streams_tracked";

fn sum(time: u64, value: i64) -> Vec<u8> {
    metric_body(|metric| {
        metric.name(b"m");
        let mut sum = metric.sum();
        sum.aggregation_temporality(2).is_monotonic(true);
        sum.point().time_unix_nano(time).int(value);
    })
}

fn exponential(time: u64, count: u64, scale: i32) -> Vec<u8> {
    metric_body(|metric| {
        metric.name(b"m");
        let mut histogram = metric.exponential_histogram();
        histogram.aggregation_temporality(2);
        let mut point = histogram.point();
        point.time_unix_nano(time).count(count).scale(scale);
        point.positive().offset(-1).bucket_counts(&[count, 0, 0]);
    })
}

fn data(passed_on: &[bytes::Bytes]) -> Option<Data> {
    let request = ExportMetricsServiceRequest::decode(&**passed_on.first()?).unwrap();
    request.resource_metrics[0].scope_metrics[0].metrics[0].data.clone()
}

#[test]
fn point_after_a_reset_is_the_difference_to_the_one_before() {
    let mut it = Started::new(&CumulativeToDeltaFactory, "initial_value: drop", Signal::Metrics);
    assert_eq!(it.process(sum(10, 100)), Vec::<bytes::Bytes>::new(), "the first");
    assert_eq!(it.process(sum(20, 40)), Vec::<bytes::Bytes>::new(), "a reset");
    let Some(Data::Sum(sum)) = data(&it.process(sum(30, 45))) else { panic!("a sum") };
    assert_eq!((sum.aggregation_temporality, sum.data_points[0].start_time_unix_nano), (1, 20));
    assert_eq!(format!("{:?}", sum.data_points[0].value), "Some(AsInt(5))");
    assert_eq!(it.metric(DROPPED, &[("reason", "initial"), ("metric_type", "sum")]), 1.0);
    assert_eq!(it.metric(DROPPED, &[("reason", "reset"), ("metric_type", "sum")]), 1.0);
    assert_eq!(it.metric("otelcol_cumulativetodelta_datapoints", &[("metric_type", "sum")]), 1.0);
    assert_eq!(it.metric(TRACKED, &[]), 1.0);
}

#[test]
fn exponential_histogram_goes_on_after_a_reset_and_at_a_lower_scale() {
    let mut it = Started::new(&CumulativeToDeltaFactory, "initial_value: drop", Signal::Metrics);
    for (time, count) in [(1, 100), (2, 7)] {
        assert!(it.process(exponential(time, count, 1)).is_empty());
    }
    let Some(Data::ExponentialHistogram(delta)) = data(&it.process(exponential(3, 10, 0))) else {
        panic!("a histogram")
    };
    let point = &delta.data_points[0];
    assert_eq!((point.count, point.scale), (3, 0));
    assert_eq!(point.positive.as_ref().unwrap().bucket_counts, [3]);
}

#[test]
fn series_that_is_stale_is_forgotten() {
    let mut it = Started::new(&CumulativeToDeltaFactory, "{max_staleness: 1m, initial_value: keep}", Signal::Metrics);
    it.test.world.set_wall_time(WallTime(1_000_000_000_000));
    it.process(sum(1_000_000_000_000, 100));
    assert_eq!(it.metric(TRACKED, &[]), 1.0);
    it.test.run_for(Duration::from_secs(130));
    assert_eq!(it.metric(TRACKED, &[]), 0.0);
    assert_eq!(it.context.budget.kept(), 0);
}

#[test]
fn new_series_without_room_is_dropped_and_counted() {
    let mut it = Started::new(&CumulativeToDeltaFactory, "initial_value: keep", Signal::Metrics);
    assert_eq!(it.process(sum(1, 1)).len(), 1);
    it.context.budget.set_limit(1);
    let other = |value| {
        metric_body(|metric| {
            metric.name(b"other");
            let mut sum = metric.sum();
            sum.aggregation_temporality(2).is_monotonic(true);
            sum.point().int(value);
        })
    };
    assert!(it.process(other(1)).is_empty());
    assert_eq!(it.metric(DROPPED, &[("reason", "memory_limit")]), 1.0);
    assert_eq!(it.process(sum(2, 5)).len(), 1, "a series that is known is updated");
}

#[test]
fn mistakes_have_the_path_of_their_key() {
    for (yaml, expected) in [
        ("initial_value: last", "initial_value: unknown initial_value: last"),
        ("include: {metrics: [a]}", "include::match_type: match_type must be set if metrics are supplied"),
        ("exclude: {match_type: strict}", "exclude::metrics: metrics must be supplied if match_type is set"),
        (
            "exclude: {metric_types: [gauge]}",
            "exclude::metric_types: found invalid metric type in exclude.metric_types: gauge. Valid values are [sum \
             histogram exponentialhistogram]",
        ),
        (
            "include: {metrics: ['('], match_type: regexp}",
            "include::metrics[0]: error parsing regexp: missing closing ): `(`",
        ),
    ] {
        let found = messages(&CumulativeToDeltaFactory, yaml);
        assert!(found.iter().any(|message| message.ends_with(expected)), "{found:?}");
    }
}
