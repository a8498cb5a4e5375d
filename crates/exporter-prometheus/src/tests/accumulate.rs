//! The value of a series after some points.

use super::*;

fn delta(name: &str, monotonic: bool, spans: &[(u64, u64, f64)]) -> Metric {
    let points = spans.iter().map(|(from, to, v)| since(point(*to, *v, &[]), *from)).collect();
    sum(name, "", DELTA, monotonic, points)
}

#[test]
fn delta_counters_add_up_while_each_begins_where_the_last_ended() {
    let mut scene = Scene::plain();
    scene.metrics(0, vec![delta("d", true, &[(0, 10, 5.0), (10, 20, 7.0), (20, 30, 1.0)])]);
    assert_eq!(scene.samples(0), ["d_total 13"]);
}

#[test]
fn a_gap_between_deltas_is_a_restart() {
    let mut scene = Scene::plain();
    scene.metrics(0, vec![delta("d", true, &[(0, 10, 5.0), (15, 20, 7.0)])]);
    assert_eq!(scene.samples(0), ["d_total 7"]);
    // A point that is older than the stored end is ignored.
    scene.metrics(0, vec![delta("d", true, &[(5, 15, 100.0)])]);
    assert_eq!(scene.samples(0), ["d_total 7"]);
    assert_eq!(scene.dropped(Reason::Older), 1);
}

#[test]
fn a_delta_of_the_other_number_type_starts_from_zero() {
    let mut scene = Scene::plain();
    let points = vec![
        since(point(10, 2.5, &[]), 0),
        int(since(point(20, 0.0, &[]), 10), 3),
        int(since(point(30, 0.0, &[]), 20), 4),
    ];
    scene.metrics(0, vec![sum("d", "", DELTA, true, points)]);
    assert_eq!(scene.samples(0), ["d_total 7"]);
}

#[test]
fn sums_that_cannot_be_accumulated_are_dropped_and_counted() {
    let mut scene = Scene::plain();
    scene.metrics(0, vec![delta("d", false, &[(0, 1, 1.0)]), sum("u", "", 0, true, vec![point(1, 1.0, &[])])]);
    assert_eq!(scene.page(0), "");
    assert_eq!((scene.dropped(Reason::DeltaUpDown), scene.dropped(Reason::Temporality)), (1, 1));
}

#[test]
fn of_gauges_the_newest_wins_and_an_equal_time_replaces() {
    let mut scene = Scene::plain();
    scene.metrics(0, vec![gauge("g", "", vec![point(10, 1.0, &[]), point(9, 2.0, &[])])]);
    assert_eq!(scene.samples(0), ["g 1"]);
    scene.metrics(0, vec![gauge("g", "", vec![point(10, 3.0, &[])])]);
    assert_eq!(scene.samples(0), ["g 3"]);
    let mut empty = point(11, 0.0, &[]);
    empty.value = None;
    scene.metrics(0, vec![gauge("g", "", vec![empty])]);
    assert_eq!(scene.samples(0), ["g 0"]);
}

#[test]
fn sums_that_may_fall_are_gauges_and_counters_may_restart() {
    let mut scene = Scene::plain();
    let up_down = |v| sum("queue", "", CUMULATIVE, false, vec![point(1, v, &[])]);
    scene.metrics(0, vec![up_down(4.0), counter("c", vec![point(1, 9.0, &[])])]);
    scene.metrics(0, vec![up_down(-2.0), counter("c", vec![point(2, 1.0, &[])])]);
    let expected = "# HELP c_total \n# TYPE c_total counter\nc_total 1\n\
        # HELP queue \n# TYPE queue gauge\nqueue -2\n";
    assert_eq!(scene.page(0), expected);
}

#[test]
fn histograms_are_shown_with_cumulative_buckets() {
    let mut scene = Scene::plain();
    let mut h = buckets((0, 1), &[0.005, 0.1, 1.0, 10.0], &[1, 2, 3, 4, 5], 12.5);
    h.attributes = attributes(&[("route", "/x")]);
    let mut metric = histogram("http.duration", CUMULATIVE, vec![h]);
    metric.unit = "s".to_owned();
    scene.metrics(0, vec![metric]);
    let expected = [
        "http_duration_seconds_bucket{route=\"/x\",le=\"0.005\"} 1",
        "http_duration_seconds_bucket{route=\"/x\",le=\"0.1\"} 3",
        "http_duration_seconds_bucket{route=\"/x\",le=\"1\"} 6",
        "http_duration_seconds_bucket{route=\"/x\",le=\"10\"} 10",
        "http_duration_seconds_bucket{route=\"/x\",le=\"+Inf\"} 15",
        "http_duration_seconds_sum{route=\"/x\"} 12.5",
        "http_duration_seconds_count{route=\"/x\"} 15",
    ];
    assert_eq!(scene.samples(0), expected);
}

/// Bucket counts, sum and count of the only histogram.
fn shown(scene: &mut Scene) -> Vec<String> {
    scene.samples(0).iter().map(|l| l.rsplit(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn odd_buckets_are_put_in_order() {
    let mut scene = Scene::plain();
    let h = |bounds: &[f64], counts: &[u64]| histogram("h", CUMULATIVE, vec![buckets((0, 1), bounds, counts, 1.0)]);
    // Bounds out of order, a repeated bound, a missing count, and a bound that is NaN.
    scene.metrics(0, vec![h(&[5.0, 1.0, 5.0, f64::NAN, 9.0], &[1, 2, 4, 8])]);
    let expected = ["h_bucket{le=\"1\"} 2", "h_bucket{le=\"5\"} 3", "h_bucket{le=\"9\"} 3", "h_bucket{le=\"+Inf\"} 15"];
    assert_eq!(scene.samples(0)[..4], expected);
    scene.metrics(0, vec![h(&[1.0, f64::INFINITY], &[2, 3, 4])]);
    let expected = ["h_bucket{le=\"1\"} 2", "h_bucket{le=\"+Inf\"} 5", "h_sum 1", "h_count 9"];
    assert_eq!(scene.samples(0), expected);
    scene.metrics(0, vec![h(&[], &[])]);
    assert_eq!(scene.samples(0), ["h_bucket{le=\"+Inf\"} 0", "h_sum 1", "h_count 0"]);
}

#[test]
fn delta_histograms_add_up_or_start_anew() {
    let mut scene = Scene::plain();
    let push = |scene: &mut Scene, span, bounds: &[f64], counts: &[u64]| {
        scene.metrics(0, vec![histogram("h", DELTA, vec![buckets(span, bounds, counts, 1.0)])]);
        shown(scene)
    };
    assert_eq!(push(&mut scene, (0, 10), &[1.0], &[1, 2]), ["1", "3", "1", "3"]);
    assert_eq!(push(&mut scene, (10, 20), &[1.0], &[1, 1]), ["2", "5", "2", "5"]);
    // It overlaps: dropped.
    assert_eq!(push(&mut scene, (15, 25), &[1.0], &[9, 9]), ["2", "5", "2", "5"]);
    assert_eq!(scene.dropped(Reason::Misaligned), 1);
    // Other bounds: the new values replace the old ones.
    assert_eq!(push(&mut scene, (20, 30), &[2.0], &[1, 0]), ["1", "1", "1", "1"]);
    // A gap: a restart.
    assert_eq!(push(&mut scene, (40, 50), &[2.0], &[0, 4]), ["0", "4", "1", "4"]);
}

#[test]
fn of_histograms_without_temporality_only_the_first_point_is_served() {
    let mut scene = Scene::plain();
    let h = |count| histogram("h", 0, vec![buckets((0, count), &[], &[count], 1.0)]);
    scene.metrics(0, vec![h(3), h(4)]);
    assert_eq!(shown(&mut scene), ["3", "1", "3"]);
    assert_eq!(scene.dropped(Reason::Temporality), 1);
}

#[test]
fn quantiles_are_sorted_and_the_last_of_equals_wins() {
    let mut scene = Scene::plain();
    scene.metrics(0, vec![summary("s", 1, &[(0.99, 3.0), (0.5, 1.0), (0.99, 4.0)], &[("a", "b")])]);
    let expected = [
        "s{a=\"b\",quantile=\"0.5\"} 1",
        "s{a=\"b\",quantile=\"0.99\"} 4",
        "s_sum{a=\"b\"} 10.5",
        "s_count{a=\"b\"} 4",
    ];
    assert_eq!(scene.samples(0), expected);
    scene.metrics(0, vec![summary("s", 0, &[], &[("a", "b")])]);
    assert_eq!(scene.samples(0), expected);
}

#[test]
fn exponential_histograms_are_dropped_and_counted() {
    let mut scene = Scene::plain();
    scene.metrics(0, vec![exponential("e"), exponential("e"), gauge("g", "", vec![point(1, 1.0, &[])])]);
    assert_eq!(scene.samples(0), ["g 1"]);
    assert_eq!(scene.dropped(Reason::ExponentialHistogram), 2);
}
