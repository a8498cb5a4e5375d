//! The value of a series after some points.

use super::*;

fn delta(name: &str, monotonic: bool, spans: &[(u64, u64, f64)]) -> Metric {
    let points = spans.iter().map(|(from, to, v)| with_start(point(*to, *v, &[]), *from)).collect();
    sum(name, "", DELTA, monotonic, points)
}

#[test]
fn adjacent_delta_points_are_added() {
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, vec![delta("d", true, &[(0, 10, 5.0), (10, 20, 7.0), (20, 30, 1.0)])]);
    assert_eq!(fixture.samples(0), ["d_total 13"]);
}

#[test]
fn gap_between_delta_points_restarts_the_sum() {
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, vec![delta("d", true, &[(0, 10, 5.0), (15, 20, 7.0)])]);
    assert_eq!(fixture.samples(0), ["d_total 7"]);
    // A point that is older than the stored end is ignored.
    fixture.metrics(0, vec![delta("d", true, &[(5, 15, 100.0)])]);
    assert_eq!(fixture.samples(0), ["d_total 7"]);
    assert_eq!(fixture.dropped(DropReason::OlderPoint), 1);
}

#[test]
fn delta_point_of_the_other_number_type_restarts_from_zero() {
    let mut fixture = Fixture::without_scope_info();
    let points = vec![
        with_start(point(10, 2.5, &[]), 0),
        with_int(with_start(point(20, 0.0, &[]), 10), 3),
        with_int(with_start(point(30, 0.0, &[]), 20), 4),
    ];
    fixture.metrics(0, vec![sum("d", "", DELTA, true, points)]);
    assert_eq!(fixture.samples(0), ["d_total 7"]);
}

#[test]
fn sums_of_unsupported_temporality_are_dropped_and_counted() {
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, vec![delta("d", false, &[(0, 1, 1.0)]), sum("u", "", 0, true, vec![point(1, 1.0, &[])])]);
    assert_eq!(fixture.page(0), "");
    assert_eq!((fixture.dropped(DropReason::DeltaUpDown), fixture.dropped(DropReason::Temporality)), (1, 1));
}

#[test]
fn gauge_point_with_a_later_or_equal_time_replaces_the_stored_one() {
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, vec![gauge("g", "", vec![point(10, 1.0, &[]), point(9, 2.0, &[])])]);
    assert_eq!(fixture.samples(0), ["g 1"]);
    fixture.metrics(0, vec![gauge("g", "", vec![point(10, 3.0, &[])])]);
    assert_eq!(fixture.samples(0), ["g 3"]);
    let mut empty = point(11, 0.0, &[]);
    empty.value = None;
    fixture.metrics(0, vec![gauge("g", "", vec![empty])]);
    assert_eq!(fixture.samples(0), ["g 0"]);
}

#[test]
fn non_monotonic_sums_are_gauges_and_counters_may_restart() {
    let mut fixture = Fixture::without_scope_info();
    let up_down = |v| sum("queue", "", CUMULATIVE, false, vec![point(1, v, &[])]);
    fixture.metrics(0, vec![up_down(4.0), counter("c", vec![point(1, 9.0, &[])])]);
    fixture.metrics(0, vec![up_down(-2.0), counter("c", vec![point(2, 1.0, &[])])]);
    let expected = "# HELP c_total \n# TYPE c_total counter\nc_total 1\n\
        # HELP queue \n# TYPE queue gauge\nqueue -2\n";
    assert_eq!(fixture.page(0), expected);
}

#[test]
fn histogram_buckets_are_cumulative() {
    let mut fixture = Fixture::without_scope_info();
    let mut h = buckets((0, 1), &[0.005, 0.1, 1.0, 10.0], &[1, 2, 3, 4, 5], 12.5);
    h.attributes = attributes(&[("route", "/x")]);
    let mut metric = histogram("http.duration", CUMULATIVE, vec![h]);
    metric.unit = "s".to_owned();
    fixture.metrics(0, vec![metric]);
    let expected = [
        "http_duration_seconds_bucket{route=\"/x\",le=\"0.005\"} 1",
        "http_duration_seconds_bucket{route=\"/x\",le=\"0.1\"} 3",
        "http_duration_seconds_bucket{route=\"/x\",le=\"1\"} 6",
        "http_duration_seconds_bucket{route=\"/x\",le=\"10\"} 10",
        "http_duration_seconds_bucket{route=\"/x\",le=\"+Inf\"} 15",
        "http_duration_seconds_sum{route=\"/x\"} 12.5",
        "http_duration_seconds_count{route=\"/x\"} 15",
    ];
    assert_eq!(fixture.samples(0), expected);
}

/// Bucket counts, sum and count of the only histogram.
fn shown(fixture: &mut Fixture) -> Vec<String> {
    fixture.samples(0).iter().map(|l| l.rsplit(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn unordered_buckets_are_sorted() {
    let mut fixture = Fixture::without_scope_info();
    let h = |bounds: &[f64], counts: &[u64]| histogram("h", CUMULATIVE, vec![buckets((0, 1), bounds, counts, 1.0)]);
    // Bounds out of order, a repeated bound, a missing count, and a bound that is NaN.
    fixture.metrics(0, vec![h(&[5.0, 1.0, 5.0, f64::NAN, 9.0], &[1, 2, 4, 8])]);
    let expected = ["h_bucket{le=\"1\"} 2", "h_bucket{le=\"5\"} 3", "h_bucket{le=\"9\"} 3", "h_bucket{le=\"+Inf\"} 15"];
    assert_eq!(fixture.samples(0)[..4], expected);
    fixture.metrics(0, vec![h(&[1.0, f64::INFINITY], &[2, 3, 4])]);
    let expected = ["h_bucket{le=\"1\"} 2", "h_bucket{le=\"+Inf\"} 5", "h_sum 1", "h_count 9"];
    assert_eq!(fixture.samples(0), expected);
    fixture.metrics(0, vec![h(&[], &[])]);
    assert_eq!(fixture.samples(0), ["h_bucket{le=\"+Inf\"} 0", "h_sum 1", "h_count 0"]);
}

#[test]
fn delta_histograms_are_added_or_restarted() {
    let mut fixture = Fixture::without_scope_info();
    let push = |fixture: &mut Fixture, span, bounds: &[f64], counts: &[u64]| {
        fixture.metrics(0, vec![histogram("h", DELTA, vec![buckets(span, bounds, counts, 1.0)])]);
        shown(fixture)
    };
    assert_eq!(push(&mut fixture, (0, 10), &[1.0], &[1, 2]), ["1", "3", "1", "3"]);
    assert_eq!(push(&mut fixture, (10, 20), &[1.0], &[1, 1]), ["2", "5", "2", "5"]);
    // It overlaps: dropped.
    assert_eq!(push(&mut fixture, (15, 25), &[1.0], &[9, 9]), ["2", "5", "2", "5"]);
    assert_eq!(fixture.dropped(DropReason::MisalignedDelta), 1);
    // Other bounds: the new values replace the old ones.
    assert_eq!(push(&mut fixture, (20, 30), &[2.0], &[1, 0]), ["1", "1", "1", "1"]);
    // A gap: a restart.
    assert_eq!(push(&mut fixture, (40, 50), &[2.0], &[0, 4]), ["0", "4", "1", "4"]);
}

#[test]
fn histogram_without_temporality_keeps_its_first_point() {
    let mut fixture = Fixture::without_scope_info();
    let h = |count| histogram("h", 0, vec![buckets((0, count), &[], &[count], 1.0)]);
    fixture.metrics(0, vec![h(3), h(4)]);
    assert_eq!(shown(&mut fixture), ["3", "1", "3"]);
    assert_eq!(fixture.dropped(DropReason::Temporality), 1);
}

#[test]
fn quantiles_are_sorted_and_the_last_of_equal_ones_is_kept() {
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, vec![summary("s", 1, &[(0.99, 3.0), (0.5, 1.0), (0.99, 4.0)], &[("a", "b")])]);
    let expected = [
        "s{a=\"b\",quantile=\"0.5\"} 1",
        "s{a=\"b\",quantile=\"0.99\"} 4",
        "s_sum{a=\"b\"} 10.5",
        "s_count{a=\"b\"} 4",
    ];
    assert_eq!(fixture.samples(0), expected);
    fixture.metrics(0, vec![summary("s", 0, &[], &[("a", "b")])]);
    assert_eq!(fixture.samples(0), expected);
}

#[test]
fn exponential_histograms_have_one_bucket_in_text() {
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, vec![exponential("e", CUMULATIVE, vec![exponential_point((0, 1), 3, -2, &[1, 0, 3])])]);
    assert_eq!(fixture.samples(0), ["e_bucket{le=\"+Inf\"} 4", "e_sum 1.5", "e_count 4"]);
}

#[test]
fn delta_exponential_histograms_are_added_or_restarted() {
    let mut fixture = Fixture::without_scope_info();
    let push = |fixture: &mut Fixture, span, scale, counts: &[u64]| {
        fixture.metrics(0, vec![exponential("e", DELTA, vec![exponential_point(span, scale, 0, counts)])]);
        shown(fixture)[2].clone()
    };
    assert_eq!(push(&mut fixture, (0, 10), 2, &[1, 2]), "3");
    assert_eq!(push(&mut fixture, (10, 20), 0, &[4]), "7");
    // It overlaps: dropped.
    assert_eq!(push(&mut fixture, (15, 25), 2, &[9]), "7");
    assert_eq!(fixture.dropped(DropReason::MisalignedDelta), 1);
    // A gap: a restart.
    assert_eq!(push(&mut fixture, (40, 50), 2, &[5]), "5");
}

#[test]
fn exponential_histograms_that_prometheus_does_not_have_are_dropped() {
    let mut fixture = Fixture::without_scope_info();
    let mut inconsistent = exponential_point((0, 1), 0, 0, &[1]);
    inconsistent.count = 2;
    let mut not_a_number = inconsistent.clone();
    not_a_number.sum = Some(f64::NAN);
    fixture.metrics(
        0,
        vec![
            exponential("a", CUMULATIVE, vec![exponential_point((0, 1), -5, 0, &[1])]),
            exponential("b", CUMULATIVE, vec![inconsistent]),
            exponential("c", CUMULATIVE, vec![not_a_number]),
        ],
    );
    assert_eq!(fixture.samples(0), ["c_bucket{le=\"+Inf\"} 2", "c_sum NaN", "c_count 2"]);
    assert_eq!((fixture.dropped(DropReason::ExponentialScale), fixture.dropped(DropReason::BucketCounts)), (1, 1));
}

#[test]
fn series_above_the_limit_are_dropped_and_known_ones_updated() {
    let mut fixture = Fixture::with_config(|s| {
        s.without_scope_info = true;
        s.max_series = Some(2);
    });
    let points = |values: &[(&str, f64)]| values.iter().map(|(a, v)| point(1, *v, &[("a", a)])).collect();
    fixture.metrics(0, vec![gauge("g", "", points(&[("1", 1.0), ("2", 2.0), ("3", 3.0)]))]);
    fixture.metrics(0, vec![gauge("g", "", points(&[("4", 1.0), ("2", 5.0)]))]);
    assert_eq!(fixture.samples(0), ["g{a=\"1\"} 1", "g{a=\"2\"} 5"]);
    assert_eq!(fixture.dropped(DropReason::SeriesLimit), 2);
    // There is room when they have expired.
    fixture.page(400);
    fixture.metrics(400, vec![gauge("g", "", points(&[("5", 1.0)]))]);
    assert_eq!(fixture.samples(400), ["g{a=\"5\"} 1"]);
}
