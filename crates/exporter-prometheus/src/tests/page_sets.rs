//! Which series are on a page together: target_info, conflicts, expiry.

use std::collections::BTreeSet;

use super::*;

const SVC: [(&str, &str); 2] = [("service.name", "svc"), ("service.instance.id", "i")];

fn gauge_metric(name: &str, value: f64) -> Metric {
    gauge(name, "", vec![point(1, value, &[])])
}

fn resource_metrics(list: &[(&str, &str)], metrics: Vec<Metric>) -> ResourceMetrics {
    resource(list, vec![scope("", "", metrics)])
}

fn target_lines(fixture: &mut Fixture, seconds: u64) -> Vec<String> {
    let mut samples = fixture.samples(seconds);
    samples.retain(|l| l.starts_with("target_info"));
    samples
}

#[test]
fn target_info_needs_a_job_and_an_instance() {
    let mut fixture = Fixture::without_scope_info();
    fixture.push(0, vec![resource_metrics(&[("service.name", "a")], vec![gauge_metric("a", 1.0)])]);
    fixture.push(
        0,
        vec![resource_metrics(&[("service.name", ""), ("service.instance.id", "i")], vec![gauge_metric("b", 1.0)])],
    );
    assert!(target_lines(&mut fixture, 0).is_empty());
    fixture.push(0, vec![resource_metrics(&SVC, vec![gauge_metric("a", 1.0)])]);
    assert_eq!(target_lines(&mut fixture, 0), ["target_info{instance=\"i\",job=\"svc\"} 1"]);
}

#[test]
fn target_info_joins_attributes_of_equal_translated_names() {
    let mut fixture = Fixture::without_scope_info();
    let list = [SVC[0], SVC[1], ("a.b", "1"), ("a_b", "2"), ("job", "lost")];
    fixture.push(0, vec![resource_metrics(&list, vec![gauge_metric("g", 1.0)])]);
    assert_eq!(target_lines(&mut fixture, 0), ["target_info{a_b=\"1;2\",instance=\"i\",job=\"svc\"} 1"]);
}

#[test]
fn attribute_without_label_name_removes_all_target_info_and_a_reserved_name_only_its_own() {
    let mut fixture = Fixture::without_scope_info();
    let other = [("service.name", "other"), ("service.instance.id", "i"), ("__x", "1")];
    fixture.push(
        0,
        vec![
            resource_metrics(&SVC, vec![gauge_metric("g", 1.0)]),
            resource_metrics(&other, vec![gauge_metric("g", 1.0)]),
        ],
    );
    assert_eq!(target_lines(&mut fixture, 0), ["target_info{instance=\"i\",job=\"svc\"} 1"]);
    let bad = [("service.name", "bad"), ("service.instance.id", "i"), ("...", "1")];
    fixture.push(0, vec![resource_metrics(&bad, vec![gauge_metric("g", 1.0)])]);
    assert!(target_lines(&mut fixture, 0).is_empty());
    assert_eq!(fixture.samples(0).len(), 3);
}

#[test]
fn target_info_is_shown_while_its_resource_has_series() {
    let mut fixture = Fixture::without_scope_info();
    let version = |v: &'static str| [SVC[0], SVC[1], ("service.version", v)];
    fixture.push(0, vec![resource_metrics(&version("1"), vec![gauge_metric("a", 1.0), gauge_metric("b", 1.0)])]);
    // One series now comes from the newer resource; the older resource was first and still has a series.
    fixture.push(100, vec![resource_metrics(&version("2"), vec![gauge_metric("a", 2.0)])]);
    let shown = |v: &str| vec![format!("target_info{{instance=\"i\",job=\"svc\",service_version=\"{v}\"}} 1")];
    assert_eq!(target_lines(&mut fixture, 100), shown("1"));
    fixture.push(100, vec![resource_metrics(&version("2"), vec![gauge_metric("b", 2.0)])]);
    assert_eq!(target_lines(&mut fixture, 100), shown("2"));
    assert!(target_lines(&mut fixture, 1000).is_empty());
    assert_eq!(fixture.page(1000), "");
}

#[test]
fn metric_named_target_info_shares_the_family_only_with_equal_type_and_help() {
    let mut fixture = Fixture::without_scope_info();
    let metric = with_description(gauge("target.info", "", vec![point(1, 5.0, &[("a", "b")])]), "Target metadata");
    fixture.push(0, vec![resource_metrics(&SVC, vec![gauge_metric("zz", 1.0)]), resource_metrics(&[], vec![metric])]);
    let expected = "# HELP target_info Target metadata\n# TYPE target_info gauge\ntarget_info{a=\"b\"} 5\n\
        target_info{instance=\"i\",job=\"svc\"} 1\n";
    assert!(fixture.page(0).starts_with(expected), "{}", fixture.page(0));

    let mut fixture = Fixture::without_scope_info();
    let metric = with_description(gauge("target.info", "", vec![point(1, 5.0, &[("a", "b")])]), "mine");
    fixture.push(
        0,
        vec![resource_metrics(&SVC, vec![gauge_metric("a", 1.0)]), resource_metrics(&[], vec![metric.clone()])],
    );
    assert_eq!(fixture.samples(0), ["a{instance=\"i\",job=\"svc\"} 1", "target_info{instance=\"i\",job=\"svc\"} 1"]);
    // Without targets only the metric is shown.
    let mut fixture = Fixture::without_scope_info();
    fixture.push(0, vec![resource_metrics(&[], vec![metric])]);
    assert_eq!(fixture.samples(0), ["target_info{a=\"b\"} 5"]);
}

#[test]
fn first_type_of_a_name_is_kept_until_the_name_expires() {
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, vec![gauge_metric("x_total", 1.0)]);
    fixture.metrics(10, vec![counter("x", vec![point(1, 7.0, &[])])]);
    assert_eq!(fixture.page(10), "# HELP x_total \n# TYPE x_total gauge\nx_total 1\n");
    fixture.metrics(20, vec![counter("x", vec![point(2, 8.0, &[])])]);
    assert!(fixture.dropped(DropReason::TypeConflict) >= 1);
    // The counter keeps arriving, the gauge does not; at 301 s it expires, but the name was shown at 290 s.
    for seconds in [290, 305, 580] {
        fixture.metrics(seconds, vec![counter("x", vec![point(3, 9.0, &[])])]);
        let page = fixture.page(seconds);
        assert_eq!(page.is_empty(), seconds > 300, "{seconds}: {page}");
    }
    fixture.metrics(600, vec![counter("x", vec![point(4, 9.0, &[])])]);
    assert_eq!(fixture.page(600), "# HELP x_total \n# TYPE x_total counter\nx_total 9\n");
}

#[test]
fn first_help_of_a_name_is_shown() {
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, vec![with_description(gauge("g", "", vec![point(1, 1.0, &[("a", "1")])]), "first")]);
    fixture.metrics(0, vec![with_description(gauge("g", "", vec![point(1, 2.0, &[("a", "2")])]), "second")]);
    assert_eq!(fixture.page(0), "# HELP g first\n# TYPE g gauge\ng{a=\"1\"} 1\ng{a=\"2\"} 2\n");
}

#[test]
fn series_with_equal_labels_show_the_first() {
    let mut fixture = Fixture::without_scope_info();
    let of = |name: &str, v: f64| resource(&[], vec![scope(name, "", vec![gauge_metric("g", v)])]);
    fixture.push(0, vec![of("first", 1.0), of("second", 2.0)]);
    assert_eq!(fixture.samples(0), ["g 1"]);
    fixture.push(1, vec![of("second", 3.0)]);
    assert_eq!((fixture.samples(1), fixture.dropped(DropReason::DuplicateSeries)), (vec!["g 1".to_owned()], 2));
    // When the first expires, the second is shown at once.
    assert_eq!(fixture.samples(301), ["g 3"]);
    assert_eq!(fixture.0.len(), 1);
}

#[test]
fn series_of_one_metric_whose_keys_become_the_same_label_show_the_first() {
    let mut fixture = Fixture::without_scope_info();
    let of = |key: &str, v: f64| gauge("g", "", vec![point(1, v, &[(key, "x"), ("z", "1")])]);
    fixture.metrics(0, vec![of("a.b", 1.0), of("a_b", 2.0), of("a/b", 3.0), of("a", 4.0)]);
    assert_eq!(fixture.samples(0), ["g{a=\"x\",z=\"1\"} 4", "g{a_b=\"x\",z=\"1\"} 1"]);
    assert_eq!((fixture.dropped(DropReason::DuplicateSeries), fixture.0.len()), (2, 4));
    // The first one goes, and the second is shown.
    let gone = without_recorded_value(point(2, 1.0, &[("a.b", "x"), ("z", "1")]));
    fixture.metrics(1, vec![gauge("g", "", vec![gone])]);
    assert_eq!(fixture.samples(1), ["g{a=\"x\",z=\"1\"} 4", "g{a_b=\"x\",z=\"1\"} 2"]);
}

#[test]
fn series_of_different_sets_of_keys_are_in_order() {
    let mut fixture = Fixture::without_scope_info();
    let mut points = Vec::new();
    for i in 0..40 {
        // Every number of labels, and values that have to be escaped.
        let value = [["\n", "\""], ["a", "\\"], ["", "!"]][i % 3][i % 2];
        let keys = ["a", "b", "c", "d"];
        let list: Vec<_> = keys.iter().skip(i % 3).take(1 + i / 20).map(|key| (*key, value)).collect();
        points.push(point(1, i as f64, &list));
    }
    fixture.metrics(0, vec![gauge("g", "", points)]);
    let values = |line: &String| {
        let labels = &line[line.find('{').unwrap()..line.rfind('}').unwrap()];
        let values = labels.split('"').skip(1).step_by(2).map(|v| v.replace("\\n", "\n"));
        let values: Vec<_> = values.collect();
        (values.len(), values, labels.to_owned())
    };
    let samples: Vec<String> = fixture.samples(0).into_iter().filter(|line| !line.contains("\\\"")).collect();
    assert_eq!(samples.len(), 8, "{samples:?}");
    assert!(samples.is_sorted_by_key(values), "{samples:?}");
}

#[test]
fn series_with_equal_labels_are_all_shown_with_timestamps() {
    let mut fixture = Fixture::with_config(|s| {
        s.without_scope_info = true;
        s.send_timestamps = true;
    });
    let of = |name: &str, time: u64| {
        resource(&[], vec![scope(name, "", vec![gauge("g", "", vec![point(time, time as f64, &[])])])])
    };
    fixture.push(0, vec![of("a", 20), of("b", 10), of("c", 20)]);
    assert_eq!(fixture.samples(0), ["g 10 10000", "g 20 20000"]);
}

#[test]
fn timestamps_are_on_all_lines_but_target_info() {
    let mut fixture = Fixture::with_config(|s| {
        s.without_scope_info = true;
        s.send_timestamps = true;
    });
    let h = histogram("h", CUMULATIVE, vec![buckets((0, 3), &[1.0], &[1, 1], 2.0)]);
    fixture.push(0, vec![resource_metrics(&SVC, vec![h])]);
    let timed = fixture.samples(0).iter().map(|l| l.ends_with(" 3000")).collect::<Vec<_>>();
    assert_eq!(timed, [true, true, true, true, false]);
}

#[test]
fn metric_with_the_name_of_a_histogram_line_is_hidden() {
    let h = || histogram("h", CUMULATIVE, vec![buckets((0, 3), &[], &[1], 2.0)]);
    for name in ["h_count", "h_sum", "h_bucket"] {
        let mut fixture = Fixture::without_scope_info();
        fixture.metrics(0, vec![h(), gauge_metric(name, 1.0)]);
        assert_eq!(fixture.samples(0).len(), 3, "{name}");
        let mut fixture = Fixture::without_scope_info();
        fixture.metrics(0, vec![gauge_metric(name, 1.0), h()]);
        assert_eq!(fixture.samples(0), [format!("{name} 1")]);
        // The histogram is shown when the other metric has expired.
        fixture.metrics(200, vec![h()]);
        assert_eq!(fixture.samples(400).len(), 3, "{name}");
    }
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, vec![summary("s", 1, &[], &[]), gauge_metric("s_bucket", 1.0), gauge_metric("s_count", 1.0)]);
    assert_eq!(fixture.samples(0), ["s_sum 10.5", "s_count 4", "s_bucket 1"]);
}

#[test]
fn series_expire_after_the_arrival_of_their_last_accepted_point() {
    let mut fixture = Fixture::without_scope_info();
    let at = |time: u64| vec![gauge("g", "", vec![point(time, 1.0, &[])])];
    fixture.metrics(0, at(10));
    fixture.metrics(200, at(11));
    assert_eq!(fixture.samples(500).len(), 1);
    // Older data is refused and does not extend the life of a series.
    fixture.metrics(499, at(5));
    assert_eq!(fixture.page(501), "");
    assert!(fixture.0.is_empty());
}

#[test]
fn expired_series_are_removed_without_a_scrape() {
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, vec![gauge_metric("g", 1.0)]);
    fixture.0.expire(at(FIVE_MINUTES.as_secs()));
    assert_eq!(fixture.0.len(), 1);
    fixture.0.expire(at(FIVE_MINUTES.as_secs() + 1));
    assert!(fixture.0.is_empty());
}

#[test]
fn expiration_of_zero_hides_all_series() {
    let mut fixture = Fixture::with_config(|s| s.metric_expiration = Duration::ZERO);
    fixture.metrics(0, vec![gauge_metric("g", 1.0)]);
    assert_eq!(fixture.page(1), "");
}

#[test]
fn points_without_recorded_value_remove_their_series() {
    let mut fixture = Fixture::without_scope_info();
    let points = |list: &[(&str, bool)]| {
        let each = |(name, ends): &(&str, bool)| {
            let p = point(1, 1.0, &[("a", name)]);
            if *ends { without_recorded_value(p) } else { p }
        };
        vec![gauge("g", "", list.iter().map(each).collect())]
    };
    fixture.metrics(0, points(&[("1", false), ("2", false), ("3", false)]));
    fixture.metrics(0, points(&[("1", true), ("2", true), ("4", false)]));
    assert_eq!(fixture.samples(0), ["g{a=\"3\"} 1", "g{a=\"4\"} 1"]);
    // The last series of a stream ends, and another one begins in the same message.
    fixture.metrics(0, points(&[("3", true), ("4", true), ("5", false)]));
    assert_eq!(fixture.samples(0), ["g{a=\"5\"} 1"]);
    fixture.metrics(0, points(&[("5", true), ("9", true)]));
    assert_eq!((fixture.page(0), fixture.0.len()), (String::new(), 0));
}

#[test]
fn points_in_any_order_update_their_series() {
    let mut fixture = Fixture::without_scope_info();
    let g = |name: &str, keys: &[&str]| {
        gauge(name, "", keys.iter().enumerate().map(|(i, k)| point(1, i as f64, &[("k", k)])).collect())
    };
    for keys in [["1", "2", "3"], ["1", "2", "3"], ["3", "1", "2"], ["2", "2", "1"]] {
        fixture.metrics(0, vec![g("a", &keys), g("b", &keys)]);
        assert_eq!(fixture.0.len(), 6, "{keys:?}");
    }
    let expected = ["a{k=\"1\"} 2", "a{k=\"2\"} 1", "a{k=\"3\"} 0", "b{k=\"1\"} 2", "b{k=\"2\"} 1", "b{k=\"3\"} 0"];
    assert_eq!(fixture.samples(0), expected);
    // All series of b end and one series begins, with the same identity prefix, several times.
    let ended = ["1", "2", "3"].map(|k| without_recorded_value(point(2, 0.0, &[("k", k)])));
    let anew = || gauge("b", "", ended.iter().cloned().chain([point(2, 9.0, &[("k", "4")])]).collect());
    for _ in 0..3 {
        fixture.metrics(0, vec![g("a", &["1"]), anew()]);
        assert_eq!(fixture.0.len(), 4);
    }
    assert_eq!(fixture.samples(0).last().map(String::as_str), Some("b{k=\"4\"} 9"));
}

#[test]
fn series_with_changed_unit_or_kind_moves_to_another_family() {
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, vec![gauge("g", "s", vec![point(1, 1.0, &[])])]);
    assert_eq!(fixture.samples(0), ["g_seconds 1"]);
    fixture.metrics(0, vec![gauge("g", "By", vec![point(2, 2.0, &[])])]);
    assert_eq!((fixture.samples(0), fixture.0.len()), (vec!["g_bytes 2".to_owned()], 1));
    fixture.metrics(0, vec![gauge("g", "s", vec![point(3, 3.0, &[])])]);
    assert_eq!(fixture.samples(0), ["g_seconds 3"]);
    fixture.metrics(0, vec![counter("c", vec![point(1, 1.0, &[])])]);
    fixture.metrics(0, vec![sum("c", "", CUMULATIVE, false, vec![point(1, 2.0, &[])])]);
    assert_eq!(fixture.samples(0), ["c 2", "g_seconds 3"]);
    // A metric without a valid name has one when it has a unit.
    fixture.metrics(0, vec![gauge("世", "", vec![point(1, 1.0, &[])])]);
    assert_eq!(fixture.dropped(DropReason::Name), 1);
    fixture.metrics(0, vec![gauge("世", "s", vec![point(2, 4.0, &[])])]);
    assert_eq!(fixture.samples(0), ["c 2", "g_seconds 3", "seconds 4"]);
}

#[test]
fn series_that_changes_its_name_repeatedly_leaves_no_families() {
    let mut fixture = Fixture::without_scope_info();
    for i in 0..10_000_u64 {
        let unit = if i % 2 == 0 { "s" } else { "By" };
        fixture.metrics(0, vec![gauge("g", unit, vec![point(i, 1.0, &[])])]);
    }
    assert_eq!(fixture.samples(0), ["g_bytes 1"]);
    // At the end all names and series have expired.
    fixture.page(400);
    let page = fixture.page(800);
    assert_eq!((page.as_str(), fixture.0.len()), ("", 0));
}

#[test]
fn families_and_series_are_in_order() {
    let mut fixture = Fixture::without_scope_info();
    let p = |v: f64, list: Attributes<'_>| point(1, v, list);
    let points = vec![p(1.0, &[("b", "1"), ("c", "1")]), p(2.0, &[("z", "2")]), p(3.0, &[("z", "10")]), p(4.0, &[])];
    fixture.metrics(0, vec![gauge("b", "", points), gauge_metric("a", 1.0), gauge_metric("B", 1.0)]);
    let expected = ["B 1", "a 1", "b 4", "b{z=\"10\"} 3", "b{z=\"2\"} 2", "b{b=\"1\",c=\"1\"} 1"];
    assert_eq!(fixture.samples(0), expected);
}

#[test]
fn page_is_rendered_from_request_bytes() {
    let settings = PageConfig { without_scope_info: true, ..PageConfig::default() };
    let payload = bytes(vec![resource_metrics(&[], vec![gauge_metric("g", 1.5)])]);
    let page = crate::oracle::render_page(&settings, NegotiatedFormat::default(), false, &[&payload, b"\xff"]);
    assert_eq!(String::from_utf8(page).unwrap(), "# HELP g \n# TYPE g gauge\ng 1.5\n");
}

#[test]
fn series_that_come_and_go_in_any_order_stay_sorted() {
    let mut fixture = Fixture::without_scope_info();
    let (mut expected, mut number) = (BTreeSet::new(), 0_u32);
    for round in 0..70 {
        let mut points = Vec::new();
        for _ in 0..100 {
            // Each number below 4096 in no order, some a second time: of these every third is removed.
            number = (number * 1229 + 3001) % 4096;
            let value = format!("{number:04}");
            let p = point(round, 1.0, &[("k", &value)]);
            if number % 3 == 0 && expected.remove(&value) {
                points.push(without_recorded_value(p));
            } else {
                expected.insert(value);
                points.push(p);
            }
        }
        fixture.metrics(round, vec![gauge("g", "", points)]);
        if round % 16 == 15 {
            // A page sorts the series that there are.
            fixture.page(round);
        }
    }
    // Every second goes, from the end.
    let all: Vec<String> = expected.iter().cloned().collect();
    let gone: Vec<_> = all.iter().rev().step_by(2).collect();
    let points = gone.iter().map(|k| without_recorded_value(point(99, 1.0, &[("k", k.as_str())]))).collect();
    fixture.metrics(99, vec![gauge("g", "", points)]);
    expected.retain(|k| !gone.contains(&k));
    let lines: Vec<String> = expected.iter().map(|k| format!("g{{k=\"{k}\"}} 1")).collect();
    assert!(lines.len() > 1000 && fixture.0.len() == lines.len());
    assert_eq!(fixture.samples(99), lines);
}
