use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use otelcore_pdata::Signal;
use prost::Message;

use super::DeltaToCumulativeFactory;
use crate::testing::{Started, messages, metric_body};

const POINTS: &str = "otelcol_deltatocumulative_datapoints";
const TRACKED: &str = "otelcol_deltatocumulative_streams_tracked";

fn sum(name: &str, start: u64, time: u64, value: i64) -> Vec<u8> {
    metric_body(|metric| {
        metric.name(name.as_bytes());
        let mut sum = metric.sum();
        sum.aggregation_temporality(1);
        sum.point().start_time_unix_nano(start).time_unix_nano(time).int(value);
    })
}

/// The start and the value of the first point of a sum.
fn point(passed_on: &[bytes::Bytes]) -> (u64, String) {
    let request = ExportMetricsServiceRequest::decode(&*passed_on[0]).unwrap();
    let Some(Data::Sum(sum)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else { panic!("a sum") };
    assert_eq!(sum.aggregation_temporality, 2);
    (sum.data_points[0].start_time_unix_nano, format!("{:?}", sum.data_points[0].value.unwrap()))
}

#[test]
fn deltas_are_added_and_points_out_of_order_are_dropped() {
    let mut it = Started::new(&DeltaToCumulativeFactory, "{}", Signal::Metrics);
    assert_eq!(point(&it.process(sum("m", 10, 20, 3))), (10, "AsInt(3)".to_owned()));
    assert_eq!(point(&it.process(sum("m", 20, 30, 4))), (10, "AsInt(7)".to_owned()));
    assert!(it.process(sum("m", 20, 30, 4)).is_empty(), "the same point again");
    assert!(it.process(sum("m", 5, 40, 4)).is_empty(), "an older start");
    assert_eq!(point(&it.process(sum("m", 90, 100, 1))), (10, "AsInt(8)".to_owned()), "a gap");
    assert_eq!(it.metric(POINTS, &[("error", "delta.ErrOutOfOrder")]), 1.0);
    assert_eq!(it.metric(POINTS, &[("error", "delta.ErrOlderStart")]), 1.0);
    assert_eq!(it.metric(POINTS, &[]), 5.0);
}

#[test]
fn series_above_the_limit_are_dropped_until_others_are_stale() {
    let mut it = Started::new(&DeltaToCumulativeFactory, "{max_streams: 1, max_stale: 1m}", Signal::Metrics);
    assert_eq!(it.process(sum("a", 1, 2, 1)).len(), 1);
    assert!(it.process(sum("b", 1, 2, 1)).is_empty());
    assert_eq!((it.metric(POINTS, &[("error", "limit")]), it.metric(TRACKED, &[])), (1.0, 1.0));
    it.test.run_for(Duration::from_secs(130));
    assert_eq!((it.metric(TRACKED, &[]), it.context.budget.kept()), (0.0, 0));
    assert_eq!(it.process(sum("b", 1, 2, 1)).len(), 1);
    assert_eq!(it.metric("otelcol_deltatocumulative_streams_limit", &[]), 1.0);
    assert_eq!(it.metric("otelcol_deltatocumulative_streams_max_stale", &[]), 60.0);
}

#[test]
fn series_without_room_in_the_budget_is_dropped() {
    let mut it = Started::new(&DeltaToCumulativeFactory, "{}", Signal::Metrics);
    it.process(sum("a", 1, 2, 1));
    it.context.budget.set_limit(1);
    assert!(it.process(sum("b", 1, 2, 1)).is_empty());
    assert_eq!(it.process(sum("a", 2, 3, 1)).len(), 1, "a series that is known is updated");
}

#[test]
fn buckets_far_apart_are_bounded() {
    let body = |time: u64, offset: i32| {
        metric_body(|metric| {
            metric.name(b"m");
            let mut histogram = metric.exponential_histogram();
            histogram.aggregation_temporality(1);
            let mut point = histogram.point();
            point.time_unix_nano(time).count(1).scale(10);
            point.positive().offset(offset).bucket_counts(&[1]);
        })
    };
    let mut it = Started::new(&DeltaToCumulativeFactory, "{}", Signal::Metrics);
    it.process(body(1, i32::MIN));
    let edited = it.process(body(2, i32::MAX - 1));
    let request = ExportMetricsServiceRequest::decode(&*edited[0]).unwrap();
    let Some(Data::ExponentialHistogram(data)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else {
        panic!("a histogram");
    };
    let point = &data.data_points[0];
    let counts = &point.positive.as_ref().unwrap().bucket_counts;
    assert!(counts.len() <= 161 && counts.iter().sum::<u64>() == 2 && point.scale < 0, "{point:?}");
}

#[test]
fn mistakes_have_the_path_of_their_key() {
    for (yaml, expected) in [
        ("max_stale: 0", "max_stale: max_stale must be a positive duration"),
        ("max_streams: -1", "max_streams: max_streams must be a positive number (got -1)"),
    ] {
        let found = messages(&DeltaToCumulativeFactory, yaml);
        assert!(found.iter().any(|message| message.ends_with(expected)), "{found:?}");
    }
}
