//! What the registry charges for its kept state, and what it refuses above the limit.

use std::sync::Arc;

use otelcore_pipeline::Budget;

use super::*;

fn fixture_with_limit(limit: u64) -> (Fixture, Arc<Budget>) {
    let budget = Arc::new(Budget::default());
    budget.set_limit(limit);
    let settings = PageConfig { without_scope_info: true, ..PageConfig::default() };
    (Fixture(SeriesRegistry::new(&settings, 7, DroppedPoints::without_log()).with_budget(&budget)), budget)
}

fn new_metrics(round: usize, count: usize) -> Vec<Metric> {
    (0..count).map(|i| gauge(&format!("m.{round}.{i}"), "s", vec![point(1, 1.0, &[("a", "b")])])).collect()
}

#[test]
fn kept_bytes_without_series_are_zero() {
    let (mut fixture, budget) = fixture_with_limit(1 << 30);
    let list = [("service.name", "svc"), ("service.instance.id", "i"), ("host", "h")];
    for round in 0..4 {
        let mut metrics = new_metrics(round, 20);
        let bounds: Vec<f64> = (0..50).map(f64::from).collect();
        metrics.push(histogram(
            "h",
            CUMULATIVE,
            vec![buckets((1, 2 + round as u64), &bounds[..10 * round], &[1], 1.0)],
        ));
        metrics.push(summary("s", 2 + round as u64, &[(0.5, 1.0), (0.9, 2.0)][..round.min(2)], &[]));
        metrics.push(with_description(gauge("m.0.0", ["s", "ms"][round % 2], vec![point(9, 1.0, &[])]), "text"));
        fixture.push(round as u64, vec![resource(&list, vec![scope("lib", "", metrics)])]);
        fixture.page(round as u64);
    }
    assert!(budget.kept() > 80 * 300, "{}", budget.kept());
    assert_eq!(budget.kept(), fixture.0.kept_bytes());
    // Families are kept for `metric_expiration` after their last series was shown.
    fixture.page(310);
    assert!(fixture.0.is_empty());
    fixture.page(1000);
    assert_eq!(budget.kept(), 0);
}

#[test]
fn new_series_above_the_limit_are_refused_and_known_ones_updated() {
    let (mut fixture, budget) = fixture_with_limit(256 << 10);
    fixture.metrics(0, vec![gauge("known", "", vec![point(1, 1.0, &[])])]);
    for round in 0..50 {
        fixture.metrics(1, new_metrics(round, 100));
    }
    assert!(budget.kept() < 192 * 1024 + 1000, "{}", budget.kept());
    let refused = fixture.0.take_refused();
    assert!(fixture.0.len() > 50 && fixture.0.len() as u64 + refused == 5001, "{} {refused}", fixture.0.len());
    assert_eq!(fixture.dropped(DropReason::Memory), refused);
    fixture.metrics(2, vec![gauge("known", "", vec![point(2, 5.0, &[])])]);
    assert_eq!(fixture.0.take_refused(), 0);
    assert!(fixture.samples(2).contains(&"known 5".to_owned()));
    // The series expire, and there is room for new ones.
    fixture.page(1000);
    fixture.page(2000);
    fixture.metrics(2000, new_metrics(0, 1));
    assert_eq!((fixture.0.take_refused(), fixture.0.len()), (0, 1));
}

#[test]
fn known_histogram_above_the_limit_does_not_grow() {
    let (mut fixture, _budget) = fixture_with_limit(64 << 10);
    let bars = |time, n: u32| {
        let bounds: Vec<f64> = (0..n).map(f64::from).collect();
        vec![histogram("h", CUMULATIVE, vec![buckets((1, time), &bounds, &[1], 1.0)])]
    };
    fixture.metrics(0, bars(1, 10));
    for round in 0..10 {
        fixture.metrics(1, new_metrics(round, 100));
    }
    fixture.0.take_refused();
    fixture.metrics(2, bars(2, 10));
    assert_eq!(fixture.0.take_refused(), 0);
    fixture.metrics(3, bars(3, 3000));
    assert_eq!(fixture.0.take_refused(), 1);
    assert_eq!(fixture.samples(3).iter().filter(|l| l.starts_with("h_bucket")).count(), 11);
}

#[test]
fn long_metric_name_is_not_kept_by_the_log_filter() {
    let mut report = DroppedPoints::without_log();
    let mut logged = 0;
    for name in [vec![b'a'; 1 << 20], vec![b'a'; 1 << 20], vec![b'b'; 1 << 20]] {
        report.log_once(DropReason::Name, otelcore_pipeline::LogLevel::Warn, &name, || {
            logged += 1;
            String::new()
        });
    }
    assert_eq!(logged, 0, "without a log nothing is formatted");
    assert!(format!("{report:?}").len() < 4096);
}
