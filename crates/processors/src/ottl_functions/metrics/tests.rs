//! What the functions make of metrics, apart from OTTL; the comparison with the Go functions is in `tests/ottl`.

use otelcore_ottl::contexts::OwnedMetric;
use otelcore_pdata::build::{self, Body};
use otelcore_pdata::edit::MetricKind;
use otelcore_pdata::views::{Metric, NumberValue, View};
use otelcore_pdata::{Signal, check};

use super::aggregate::{Aggregation, on_attribute_value, on_attributes};
use super::convert::{SummaryValue, gauge_to_sum, sum_to_gauge, summary_quantiles_to_gauge, summary_to_sum};
use super::explicit_buckets::{Distribution, to_explicit_buckets};
use super::extract::{Extracted, extract};
use super::histogram_buckets::{limit_buckets, max_buckets, remove_bound};
use super::percentile::{extract_percentile, percentile_name};
use super::scale::scale;

fn metric(write: impl FnOnce(&mut build::MetricWriter<'_>)) -> OwnedMetric {
    let mut body = Body::new();
    write(build::MetricWriter::content(&mut body).name(b"m").unit(b"s"));
    OwnedMetric::copy_of(&Metric::parse(body.bytes()))
}

/// The metric as it is encoded, which is checked.
fn checked(metric: &OwnedMetric) -> OwnedMetric {
    let mut raw = Vec::new();
    metric.encode(&mut raw);
    let field = |number: u8, content: &[u8]| {
        let mut out = vec![number << 3 | 2];
        otelcore_pdata::wire_format::put_varint(&mut out, content.len() as u64);
        out.extend_from_slice(content);
        out
    };
    let body = field(1, &field(2, &field(2, &raw)));
    assert!(check(Signal::Metrics, &body).is_ok());
    OwnedMetric::copy_of(&Metric::parse(&raw))
}

fn values(metric: &OwnedMetric) -> Vec<String> {
    let show = |value: NumberValue| match value {
        NumberValue::Int(v) => v.to_string(),
        NumberValue::Double(v) => format!("{v:?}"),
        NumberValue::Empty => "none".to_owned(),
    };
    checked(metric).number_points().map(|point| show(point.value.0)).collect()
}

fn numbers(values: &[(i64, &str)]) -> OwnedMetric {
    metric(|metric| {
        let mut gauge = metric.gauge();
        for (value, attribute) in values {
            gauge.point().int(*value).attributes().string(b"a", attribute.as_bytes()).int(b"n", *value);
        }
    })
}

#[test]
fn gauge_and_sum_become_each_other_and_keep_their_points() {
    let mut found = numbers(&[(1, "x"), (2, "y")]);
    gauge_to_sum(&mut found, 2, true);
    let sum = checked(&found);
    assert_eq!((sum.kind, sum.temporality, sum.is_monotonic), (MetricKind::Sum, 2, true));
    assert_eq!(values(&sum), ["1", "2"]);
    sum_to_gauge(&mut found);
    let gauge = checked(&found);
    assert_eq!((gauge.kind, gauge.temporality), (MetricKind::Gauge, 0));
    let before = found.clone();
    sum_to_gauge(&mut found);
    assert_eq!(found, before);
}

fn summary() -> OwnedMetric {
    metric(|metric| {
        let mut summary = metric.summary();
        let mut point = summary.point();
        point.count(3).sum(1.5).quantile_value().quantile(0.5).value(2.0);
        point.quantile_value().quantile(0.9).value(3.0);
    })
}

#[test]
fn counts_sums_and_quantiles_of_summaries_become_metrics() {
    let made = summary_to_sum(&summary(), SummaryValue::Count, 1, true, b"_count").unwrap();
    assert_eq!(
        (&made.name[..], made.kind, &values(&made)[..]),
        (&b"m_count"[..], MetricKind::Sum, &["3".to_owned()][..])
    );
    assert_eq!(values(&summary_to_sum(&summary(), SummaryValue::Sum, 1, true, b"").unwrap()), ["1.5"]);
    assert_eq!(values(&summary_quantiles_to_gauge(&summary(), b"quantile", b".q").unwrap()), ["2.0", "3.0"]);
    assert_eq!(values(&extract(&summary(), Extracted::Sum, false, b"_sum").unwrap().unwrap()), ["1.5"]);
    assert!(extract(&numbers(&[(1, "x")]), Extracted::Sum, false, b"").unwrap_err().ends_with("got Gauge"));
}

fn histogram(counts: &[u64], bounds: &[f64]) -> OwnedMetric {
    metric(|metric| {
        let mut histogram = metric.histogram();
        let mut point = histogram.aggregation_temporality(2).point();
        point.count(counts.iter().sum()).sum(5.0).bucket_counts(counts).explicit_bounds(bounds);
    })
}

#[test]
fn percentile_is_interpolated_in_its_bucket() {
    let of = |percentile: f64, metric: &OwnedMetric| {
        extract_percentile(metric, percentile, b"_p").unwrap().map(|made| values(&made)).unwrap_or_default()
    };
    assert_eq!(of(50.0, &histogram(&[2, 2], &[1.0])), ["1.0"]);
    assert_eq!(of(75.0, &histogram(&[0, 4, 0], &[1.0, 3.0])), ["2.5"]);
    // Nothing to interpolate with above the last bound.
    assert_eq!(of(99.0, &histogram(&[0, 4], &[1.0])), ["1.0"]);
    assert_eq!(of(99.0, &numbers(&[(1, "x")])), [""; 0]);
    assert!(extract_percentile(&histogram(&[1, 2], &[]), 50.0, b"").unwrap_err().contains("malformed data"));
    assert_eq!([percentile_name(99.9), percentile_name(50.0), percentile_name(1e-5)], ["p99.9", "p50", "p1e-05"]);
}

#[test]
fn scaled_values_are_multiplied_and_exponential_histograms_are_refused() {
    let mut found = numbers(&[(5, "x"), (-3, "y")]);
    scale(&mut found, 2.5).unwrap();
    assert_eq!(values(&found), ["12", "-7"]);
    let mut found = histogram(&[1, 2], &[1.0]);
    scale(&mut found, 2.0).unwrap();
    let point = checked(&found);
    let point = point.histogram_points().next().unwrap();
    assert_eq!((point.sum, point.explicit_bounds().collect::<Vec<_>>()), (Some(10.0), vec![2.0]));
    let mut exponential = metric(|metric| drop(metric.exponential_histogram()));
    assert!(scale(&mut exponential, 2.0).unwrap_err().contains("not supported"));
}

#[test]
fn points_with_the_same_attributes_are_joined_in_the_order_of_their_first() {
    let keys = [b"a".to_vec()];
    let joined = |aggregation: Aggregation| {
        let mut found = numbers(&[(3, "x"), (10, "y"), (1, "x"), (5, "x")]);
        on_attributes(&mut found, aggregation, Some(&keys)).unwrap();
        values(&found)
    };
    assert_eq!(joined(Aggregation::Sum), ["9", "10"]);
    assert_eq!(joined(Aggregation::Mean), ["3", "10"]);
    assert_eq!(joined(Aggregation::Median), ["3", "10"]);
    assert_eq!(joined(Aggregation::Max), ["5", "10"]);
    assert_eq!(joined(Aggregation::Min), ["1", "10"]);
    assert_eq!(joined(Aggregation::Count), ["3", "10"]);
    let mut found = numbers(&[(3, "x"), (10, "y")]);
    on_attributes(&mut found, Aggregation::Sum, Some(&[])).unwrap();
    assert_eq!(values(&found), ["13"]);
    let mut found = numbers(&[(3, "x"), (3, "y")]);
    on_attribute_value(&mut found, Aggregation::Sum, b"a", &[b"x".to_vec(), b"y".to_vec()], b"z").unwrap();
    assert_eq!(values(&found), ["6"]);
    assert!(on_attributes(&mut summary(), Aggregation::Sum, None).is_err());
}

#[test]
fn exponential_histograms_with_other_offsets_are_added_bucket_by_bucket() {
    let two = |first: (i32, &[u64]), second: (i32, &[u64])| {
        metric(|metric| {
            let mut histogram = metric.exponential_histogram();
            for (offset, counts) in [first, second] {
                let mut point = histogram.point();
                point.count(counts.iter().sum()).positive().offset(offset).bucket_counts(counts);
            }
        })
    };
    let mut found = two((2, &[1, 2]), (-1, &[0, 5, 0, 7]));
    on_attributes(&mut found, Aggregation::Sum, None).unwrap();
    let joined = checked(&found);
    let point = joined.exponential_points().next().unwrap();
    assert_eq!((point.count, point.positive.offset.0), (15, 0));
    assert_eq!(point.positive.bucket_counts().collect::<Vec<_>>(), [5, 0, 8, 2]);
    let mut apart = two((i32::MIN, &[1]), (i32::MAX, &[1]));
    assert!(on_attributes(&mut apart, Aggregation::Sum, None).unwrap_err().contains("apart"));
}

#[test]
fn exponential_histogram_converted_with_any_distribution_keeps_its_count() {
    for distribution in ["upper", "midpoint", "random", "uniform"] {
        let mut found = metric(|metric| {
            let mut histogram = metric.exponential_histogram();
            let mut point = histogram.point();
            point.count(u64::MAX / 2 + 5).zero_count(2).positive().offset(-1).bucket_counts(&[3, u64::MAX / 2]);
        });
        let mut random = 0_u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random
        };
        let bounds = [0.0, 0.5, 1.2, 1.4, 8.0];
        to_explicit_buckets(&mut found, Distribution::by_name(distribution).unwrap(), &bounds, &mut next);
        let made = checked(&found);
        let point = made.histogram_points().next().unwrap();
        let counts: Vec<u64> = point.bucket_counts().collect();
        assert_eq!((counts.len(), counts.iter().sum::<u64>()), (bounds.len(), point.count), "{distribution}");
    }
}

#[test]
fn buckets_are_joined_at_a_bound_or_down_to_a_number() {
    assert_eq!(remove_bound(&[1.0, 2.0], &[1, 2, 3], 1.0), Some((vec![2.0], vec![3, 3])));
    assert_eq!(remove_bound(&[1.0, 2.0], &[1, 2, 3], 1.5), None);
    assert_eq!(remove_bound(&[1.0], &[1], 1.0), None);
    assert_eq!(limit_buckets(&[1.0, 2.0, 3.0], &[1, 2, 3, 4], 2), Some((vec![2.0], vec![3, 7])));
    assert_eq!(limit_buckets(&[1.0, 2.0], &[1, 2, 3], 3), None);
    assert_eq!(limit_buckets(&[2.0, 1.0], &[1, 2, 3], 1), None);
    assert!(max_buckets(1.5).is_err() && max_buckets(0.0).is_err());
    assert_eq!(max_buckets(2.0), Ok(2));
}
