//! What the registry charges for its kept state, and what it refuses above the limit.

use std::sync::Arc;

use otelcore_pipeline::Budget;

use super::*;

fn limited(limit: u64) -> (Scene, Arc<Budget>) {
    let budget = Arc::new(Budget::default());
    budget.set_limit(limit);
    let settings = PageSettings { without_scope_info: true, ..PageSettings::default() };
    (Scene(Registry::new(&settings, 7, Report::silent()).charged_to(&budget)), budget)
}

fn fresh(round: usize, count: usize) -> Vec<Metric> {
    (0..count).map(|i| gauge(&format!("m.{round}.{i}"), "s", vec![point(1, 1.0, &[("a", "b")])])).collect()
}

#[test]
fn kept_bytes_nothing_left_is_zero() {
    let (mut scene, budget) = limited(1 << 30);
    let list = [("service.name", "svc"), ("service.instance.id", "i"), ("host", "h")];
    for round in 0..4 {
        let mut metrics = fresh(round, 20);
        let bounds: Vec<f64> = (0..50).map(f64::from).collect();
        metrics.push(histogram(
            "h",
            CUMULATIVE,
            vec![buckets((1, 2 + round as u64), &bounds[..10 * round], &[1], 1.0)],
        ));
        metrics.push(summary("s", 2 + round as u64, &[(0.5, 1.0), (0.9, 2.0)][..round.min(2)], &[]));
        metrics.push(described(gauge("m.0.0", ["s", "ms"][round % 2], vec![point(9, 1.0, &[])]), "text"));
        scene.push(round as u64, vec![resource(&list, vec![scope("lib", "", metrics)])]);
        scene.page(round as u64);
    }
    assert!(budget.kept() > 80 * 300, "{}", budget.kept());
    assert_eq!(budget.kept(), scene.0.kept_bytes());
    // Families are kept for `metric_expiration` after their last series was shown.
    scene.page(310);
    assert!(scene.0.is_empty());
    scene.page(1000);
    assert_eq!(budget.kept(), 0);
}

#[test]
fn new_series_above_the_limit_are_refused_and_known_ones_updated() {
    let (mut scene, budget) = limited(256 << 10);
    scene.metrics(0, vec![gauge("known", "", vec![point(1, 1.0, &[])])]);
    for round in 0..50 {
        scene.metrics(1, fresh(round, 100));
    }
    assert!(budget.kept() < 192 * 1024 + 1000, "{}", budget.kept());
    let refused = scene.0.take_refused();
    assert!(scene.0.len() > 50 && scene.0.len() as u64 + refused == 5001, "{} {refused}", scene.0.len());
    assert_eq!(scene.dropped(Reason::Memory), refused);
    scene.metrics(2, vec![gauge("known", "", vec![point(2, 5.0, &[])])]);
    assert_eq!(scene.0.take_refused(), 0);
    assert!(scene.samples(2).contains(&"known 5".to_owned()));
    // The series expire, and there is room for new ones.
    scene.page(1000);
    scene.page(2000);
    scene.metrics(2000, fresh(0, 1));
    assert_eq!((scene.0.take_refused(), scene.0.len()), (0, 1));
}

#[test]
fn a_known_histogram_above_the_limit_gets_no_more_buckets() {
    let (mut scene, _budget) = limited(64 << 10);
    let bars = |time, n: u32| {
        let bounds: Vec<f64> = (0..n).map(f64::from).collect();
        vec![histogram("h", CUMULATIVE, vec![buckets((1, time), &bounds, &[1], 1.0)])]
    };
    scene.metrics(0, bars(1, 10));
    for round in 0..10 {
        scene.metrics(1, fresh(round, 100));
    }
    scene.0.take_refused();
    scene.metrics(2, bars(2, 10));
    assert_eq!(scene.0.take_refused(), 0);
    scene.metrics(3, bars(3, 3000));
    assert_eq!(scene.0.take_refused(), 1);
    assert_eq!(scene.samples(3).iter().filter(|l| l.starts_with("h_bucket")).count(), 11);
}

#[test]
fn a_name_of_a_megabyte_is_not_remembered_by_the_report() {
    let mut report = Report::silent();
    let mut said = 0;
    for name in [vec![b'a'; 1 << 20], vec![b'a'; 1 << 20], vec![b'b'; 1 << 20]] {
        report.say(Reason::Name, otelcore_pipeline::Level::Warn, &name, || {
            said += 1;
            String::new()
        });
    }
    assert_eq!(said, 0, "without a log nothing is formatted");
    assert!(format!("{report:?}").len() < 4096);
}
