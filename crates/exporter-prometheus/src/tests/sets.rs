//! Which series are on a page together: target_info, conflicts, expiry.

use super::*;

const SVC: [(&str, &str); 2] = [("service.name", "svc"), ("service.instance.id", "i")];

fn one(name: &str, value: f64) -> Metric {
    gauge(name, "", vec![point(1, value, &[])])
}

fn from(list: &[(&str, &str)], metrics: Vec<Metric>) -> ResourceMetrics {
    resource(list, vec![scope("", "", metrics)])
}

fn targets(scene: &mut Scene, seconds: u64) -> Vec<String> {
    let mut samples = scene.samples(seconds);
    samples.retain(|l| l.starts_with("target_info"));
    samples
}

#[test]
fn target_info_needs_a_job_and_an_instance() {
    let mut scene = Scene::plain();
    scene.push(0, vec![from(&[("service.name", "a")], vec![one("a", 1.0)])]);
    scene.push(0, vec![from(&[("service.name", ""), ("service.instance.id", "i")], vec![one("b", 1.0)])]);
    assert!(targets(&mut scene, 0).is_empty());
    scene.push(0, vec![from(&SVC, vec![one("a", 1.0)])]);
    assert_eq!(targets(&mut scene, 0), ["target_info{instance=\"i\",job=\"svc\"} 1"]);
}

#[test]
fn target_info_joins_what_comes_to_one_name() {
    let mut scene = Scene::plain();
    let list = [SVC[0], SVC[1], ("a.b", "1"), ("a_b", "2"), ("job", "lost")];
    scene.push(0, vec![from(&list, vec![one("g", 1.0)])]);
    assert_eq!(targets(&mut scene, 0), ["target_info{a_b=\"1;2\",instance=\"i\",job=\"svc\"} 1"]);
}

#[test]
fn a_resource_without_a_label_name_spoils_all_and_a_reserved_one_its_own() {
    let mut scene = Scene::plain();
    let other = [("service.name", "other"), ("service.instance.id", "i"), ("__x", "1")];
    scene.push(0, vec![from(&SVC, vec![one("g", 1.0)]), from(&other, vec![one("g", 1.0)])]);
    assert_eq!(targets(&mut scene, 0), ["target_info{instance=\"i\",job=\"svc\"} 1"]);
    let bad = [("service.name", "bad"), ("service.instance.id", "i"), ("...", "1")];
    scene.push(0, vec![from(&bad, vec![one("g", 1.0)])]);
    assert!(targets(&mut scene, 0).is_empty());
    assert_eq!(scene.samples(0).len(), 3);
}

#[test]
fn target_info_follows_its_series() {
    let mut scene = Scene::plain();
    let version = |v: &'static str| [SVC[0], SVC[1], ("service.version", v)];
    scene.push(0, vec![from(&version("1"), vec![one("a", 1.0), one("b", 1.0)])]);
    // One series now comes from the newer resource; the older resource was first and still has a series.
    scene.push(100, vec![from(&version("2"), vec![one("a", 2.0)])]);
    let shown = |v: &str| vec![format!("target_info{{instance=\"i\",job=\"svc\",service_version=\"{v}\"}} 1")];
    assert_eq!(targets(&mut scene, 100), shown("1"));
    scene.push(100, vec![from(&version("2"), vec![one("b", 2.0)])]);
    assert_eq!(targets(&mut scene, 100), shown("2"));
    assert!(targets(&mut scene, 1000).is_empty());
    assert_eq!(scene.page(1000), "");
}

#[test]
fn a_metric_called_target_info_shares_the_family_only_if_it_looks_the_same() {
    let mut scene = Scene::plain();
    let metric = described(gauge("target.info", "", vec![point(1, 5.0, &[("a", "b")])]), "Target metadata");
    scene.push(0, vec![from(&SVC, vec![one("zz", 1.0)]), from(&[], vec![metric])]);
    let expected = "# HELP target_info Target metadata\n# TYPE target_info gauge\ntarget_info{a=\"b\"} 5\n\
        target_info{instance=\"i\",job=\"svc\"} 1\n";
    assert!(scene.page(0).starts_with(expected), "{}", scene.page(0));

    let mut scene = Scene::plain();
    let metric = described(gauge("target.info", "", vec![point(1, 5.0, &[("a", "b")])]), "mine");
    scene.push(0, vec![from(&SVC, vec![one("a", 1.0)]), from(&[], vec![metric.clone()])]);
    assert_eq!(scene.samples(0), ["a{instance=\"i\",job=\"svc\"} 1", "target_info{instance=\"i\",job=\"svc\"} 1"]);
    // Without targets only the metric is shown.
    let mut scene = Scene::plain();
    scene.push(0, vec![from(&[], vec![metric])]);
    assert_eq!(scene.samples(0), ["target_info{a=\"b\"} 5"]);
}

#[test]
fn the_first_type_of_a_name_wins_until_it_has_gone_and_been_forgotten() {
    let mut scene = Scene::plain();
    scene.metrics(0, vec![one("x_total", 1.0)]);
    scene.metrics(10, vec![counter("x", vec![point(1, 7.0, &[])])]);
    assert_eq!(scene.page(10), "# HELP x_total \n# TYPE x_total gauge\nx_total 1\n");
    scene.metrics(20, vec![counter("x", vec![point(2, 8.0, &[])])]);
    assert!(scene.dropped(Reason::TypeConflict) >= 1);
    // The counter keeps arriving, the gauge does not; at 301 s it expires, but the name was shown at 290 s.
    for seconds in [290, 305, 580] {
        scene.metrics(seconds, vec![counter("x", vec![point(3, 9.0, &[])])]);
        let page = scene.page(seconds);
        assert_eq!(page.is_empty(), seconds > 300, "{seconds}: {page}");
    }
    scene.metrics(600, vec![counter("x", vec![point(4, 9.0, &[])])]);
    assert_eq!(scene.page(600), "# HELP x_total \n# TYPE x_total counter\nx_total 9\n");
}

#[test]
fn the_first_help_of_a_name_is_shown() {
    let mut scene = Scene::plain();
    scene.metrics(0, vec![described(gauge("g", "", vec![point(1, 1.0, &[("a", "1")])]), "first")]);
    scene.metrics(0, vec![described(gauge("g", "", vec![point(1, 2.0, &[("a", "2")])]), "second")]);
    assert_eq!(scene.page(0), "# HELP g first\n# TYPE g gauge\ng{a=\"1\"} 1\ng{a=\"2\"} 2\n");
}

#[test]
fn of_series_with_equal_labels_the_first_is_served() {
    let mut scene = Scene::plain();
    let of = |name: &str, v: f64| resource(&[], vec![scope(name, "", vec![one("g", v)])]);
    scene.push(0, vec![of("first", 1.0), of("second", 2.0)]);
    assert_eq!(scene.samples(0), ["g 1"]);
    scene.push(1, vec![of("second", 3.0)]);
    assert_eq!((scene.samples(1), scene.dropped(Reason::DuplicateSeries)), (vec!["g 1".to_owned()], 2));
    // When the first expires, the second is shown at once.
    assert_eq!(scene.samples(301), ["g 3"]);
    assert_eq!(scene.0.len(), 1);
}

#[test]
fn with_timestamps_equal_labels_are_served_at_different_times() {
    let mut scene = Scene::with(|s| {
        s.without_scope_info = true;
        s.send_timestamps = true;
    });
    let of = |name: &str, time: u64| {
        resource(&[], vec![scope(name, "", vec![gauge("g", "", vec![point(time, time as f64, &[])])])])
    };
    scene.push(0, vec![of("a", 20), of("b", 10), of("c", 20)]);
    assert_eq!(scene.samples(0), ["g 10 10000", "g 20 20000"]);
}

#[test]
fn timestamps_stand_on_every_line_but_target_info() {
    let mut scene = Scene::with(|s| {
        s.without_scope_info = true;
        s.send_timestamps = true;
    });
    let h = histogram("h", CUMULATIVE, vec![buckets((0, 3), &[1.0], &[1, 1], 2.0)]);
    scene.push(0, vec![from(&SVC, vec![h])]);
    let timed = scene.samples(0).iter().map(|l| l.ends_with(" 3000")).collect::<Vec<_>>();
    assert_eq!(timed, [true, true, true, true, false]);
}

#[test]
fn a_name_that_a_histogram_writes_is_taken() {
    let h = || histogram("h", CUMULATIVE, vec![buckets((0, 3), &[], &[1], 2.0)]);
    for name in ["h_count", "h_sum", "h_bucket"] {
        let mut scene = Scene::plain();
        scene.metrics(0, vec![h(), one(name, 1.0)]);
        assert_eq!(scene.samples(0).len(), 3, "{name}");
        let mut scene = Scene::plain();
        scene.metrics(0, vec![one(name, 1.0), h()]);
        assert_eq!(scene.samples(0), [format!("{name} 1")]);
        // The histogram is shown when the other metric has expired.
        scene.metrics(200, vec![h()]);
        assert_eq!(scene.samples(400).len(), 3, "{name}");
    }
    let mut scene = Scene::plain();
    scene.metrics(0, vec![summary("s", 1, &[], &[]), one("s_bucket", 1.0), one("s_count", 1.0)]);
    assert_eq!(scene.samples(0), ["s_sum 10.5", "s_count 4", "s_bucket 1"]);
}

#[test]
fn series_expire_by_the_arrival_of_their_last_accepted_point() {
    let mut scene = Scene::plain();
    let at = |time: u64| vec![gauge("g", "", vec![point(time, 1.0, &[])])];
    scene.metrics(0, at(10));
    scene.metrics(200, at(11));
    assert_eq!(scene.samples(500).len(), 1);
    // Older data is refused and does not extend the life of a series.
    scene.metrics(499, at(5));
    assert_eq!(scene.page(501), "");
    assert!(scene.0.is_empty());
}

#[test]
fn the_background_sweep_needs_no_scrape() {
    let mut scene = Scene::plain();
    scene.metrics(0, vec![one("g", 1.0)]);
    scene.0.expire(at(MINUTES_5.as_secs()));
    assert_eq!(scene.0.len(), 1);
    scene.0.expire(at(MINUTES_5.as_secs() + 1));
    assert!(scene.0.is_empty());
}

#[test]
fn an_expiration_of_zero_hides_everything() {
    let mut scene = Scene::with(|s| s.metric_expiration = Duration::ZERO);
    scene.metrics(0, vec![one("g", 1.0)]);
    assert_eq!(scene.page(1), "");
}

#[test]
fn no_recorded_value_removes_every_series_that_has_ended() {
    let mut scene = Scene::plain();
    let points = |list: &[(&str, bool)]| {
        let each = |(name, ends): &(&str, bool)| {
            let p = point(1, 1.0, &[("a", name)]);
            if *ends { stale(p) } else { p }
        };
        vec![gauge("g", "", list.iter().map(each).collect())]
    };
    scene.metrics(0, points(&[("1", false), ("2", false), ("3", false)]));
    scene.metrics(0, points(&[("1", true), ("2", true), ("4", false)]));
    assert_eq!(scene.samples(0), ["g{a=\"3\"} 1", "g{a=\"4\"} 1"]);
    // The last series of a stream ends, and another one begins in the same message.
    scene.metrics(0, points(&[("3", true), ("4", true), ("5", false)]));
    assert_eq!(scene.samples(0), ["g{a=\"5\"} 1"]);
    scene.metrics(0, points(&[("5", true), ("9", true)]));
    assert_eq!((scene.page(0), scene.0.len()), (String::new(), 0));
}

#[test]
fn points_are_found_in_any_order_and_after_their_stream_began_anew() {
    let mut scene = Scene::plain();
    let g = |name: &str, keys: &[&str]| {
        gauge(name, "", keys.iter().enumerate().map(|(i, k)| point(1, i as f64, &[("k", k)])).collect())
    };
    for keys in [["1", "2", "3"], ["1", "2", "3"], ["3", "1", "2"], ["2", "2", "1"]] {
        scene.metrics(0, vec![g("a", &keys), g("b", &keys)]);
        assert_eq!(scene.0.len(), 6, "{keys:?}");
    }
    let expected = ["a{k=\"1\"} 2", "a{k=\"2\"} 1", "a{k=\"3\"} 0", "b{k=\"1\"} 2", "b{k=\"2\"} 1", "b{k=\"3\"} 0"];
    assert_eq!(scene.samples(0), expected);
    // All series of b end and one series begins, with the same stem, several times.
    let ended = ["1", "2", "3"].map(|k| stale(point(2, 0.0, &[("k", k)])));
    let anew = || gauge("b", "", ended.iter().cloned().chain([point(2, 9.0, &[("k", "4")])]).collect());
    for _ in 0..3 {
        scene.metrics(0, vec![g("a", &["1"]), anew()]);
        assert_eq!(scene.0.len(), 4);
    }
    assert_eq!(scene.samples(0).last().map(String::as_str), Some("b{k=\"4\"} 9"));
}

#[test]
fn a_series_moves_when_its_unit_or_kind_changes() {
    let mut scene = Scene::plain();
    scene.metrics(0, vec![gauge("g", "s", vec![point(1, 1.0, &[])])]);
    assert_eq!(scene.samples(0), ["g_seconds 1"]);
    scene.metrics(0, vec![gauge("g", "By", vec![point(2, 2.0, &[])])]);
    assert_eq!((scene.samples(0), scene.0.len()), (vec!["g_bytes 2".to_owned()], 1));
    scene.metrics(0, vec![gauge("g", "s", vec![point(3, 3.0, &[])])]);
    assert_eq!(scene.samples(0), ["g_seconds 3"]);
    scene.metrics(0, vec![counter("c", vec![point(1, 1.0, &[])])]);
    scene.metrics(0, vec![sum("c", "", CUMULATIVE, false, vec![point(1, 2.0, &[])])]);
    assert_eq!(scene.samples(0), ["c 2", "g_seconds 3"]);
    // A metric without a valid name has one when it has a unit.
    scene.metrics(0, vec![gauge("世", "", vec![point(1, 1.0, &[])])]);
    assert_eq!(scene.dropped(Reason::Name), 1);
    scene.metrics(0, vec![gauge("世", "s", vec![point(2, 4.0, &[])])]);
    assert_eq!(scene.samples(0), ["c 2", "g_seconds 3", "seconds 4"]);
}

#[test]
fn a_series_that_changes_its_name_all_the_time_leaves_no_trail() {
    let mut scene = Scene::plain();
    for i in 0..10_000_u64 {
        let unit = if i % 2 == 0 { "s" } else { "By" };
        scene.metrics(0, vec![gauge("g", unit, vec![point(i, 1.0, &[])])]);
    }
    assert_eq!(scene.samples(0), ["g_bytes 1"]);
    // At the end all names and series have expired.
    scene.page(400);
    let page = scene.page(800);
    assert_eq!((page.as_str(), scene.0.len()), ("", 0));
}

#[test]
fn families_and_series_are_in_order() {
    let mut scene = Scene::plain();
    let p = |v: f64, list: Attributes<'_>| point(1, v, list);
    let points = vec![p(1.0, &[("b", "1"), ("c", "1")]), p(2.0, &[("z", "2")]), p(3.0, &[("z", "10")]), p(4.0, &[])];
    scene.metrics(0, vec![gauge("b", "", points), one("a", 1.0), one("B", 1.0)]);
    let expected = ["B 1", "a 1", "b 4", "b{z=\"10\"} 3", "b{z=\"2\"} 2", "b{b=\"1\",c=\"1\"} 1"];
    assert_eq!(scene.samples(0), expected);
}

#[test]
fn a_page_from_bytes() {
    let settings = PageSettings { without_scope_info: true, ..PageSettings::default() };
    let payload = bytes(vec![from(&[], vec![one("g", 1.5)])]);
    let page = crate::oracle::page_of(&settings, &[&payload, b"\xff"]);
    assert_eq!(String::from_utf8(page).unwrap(), "# HELP g \n# TYPE g gauge\ng 1.5\n");
}
