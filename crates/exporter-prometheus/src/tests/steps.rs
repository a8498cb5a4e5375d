//! How much work the worst cases cause: in one step never more than the work of a step and one item, in total no more
//! than n log n. Work is counted by the state machines and by the comparisons of labels, never timed.

use std::sync::Arc;

use otelcore_exposition::{NameEscaping, PageFormat};
use otelcore_pdata::Rope;
use otelcore_pipeline::Budget;

use super::*;
use crate::label_sets::COMPARED;
use crate::step_budget::UNITS_PER_STEP;
use crate::{
    BodyReader, MAX_BUCKETS, MAX_LABEL_BYTES, MAX_LABELS, PIECE_SIZE, PageRendering, RenderProgress, StepBudget,
};

fn compared() -> u64 {
    COMPARED.with(std::cell::Cell::get)
}

/// The work done for one input.
#[derive(Debug, Default)]
struct MeasuredWork {
    total: u64,
    /// The largest step.
    largest_step: u64,
}

impl MeasuredWork {
    fn step(&mut self, f: impl FnOnce(&mut StepBudget) -> bool) -> bool {
        let (mut work, before) = (StepBudget::for_one_step(), compared());
        let ended = f(&mut work);
        self.total += work.spent() + compared() - before;
        self.largest_step = self.largest_step.max(work.spent());
        ended
    }
}

/// Reads a body, renders a page and removes everything: the work of each.
fn measure(body: &Rope) -> [MeasuredWork; 3] {
    let mut registry = SeriesRegistry::new(&PageConfig::default(), 3, DroppedPoints::without_log());
    let [mut read, mut page, mut expired] = [MeasuredWork::default(), MeasuredWork::default(), MeasuredWork::default()];
    let mut intake = BodyReader::new(body.clone());
    while !read.step(|work| registry.read_step(&mut intake, at(1), work)) {}
    let budget = Arc::new(Budget::default());
    let mut rendering = PageRendering::new(at(1), NegotiatedFormat::default(), &budget);
    loop {
        let mut piece = Vec::new();
        if page.step(|work| registry.render_step(&mut rendering, &mut piece, work).unwrap() == RenderProgress::Complete)
        {
            break;
        }
        assert!(piece.len() <= PIECE_SIZE, "{}", piece.len());
        assert!(budget.kept() < (3 * PIECE_SIZE + 40 * MAX_BUCKETS) as u64, "{}", budget.kept());
    }
    // The other formats, with names that are escaped.
    for format in [PageFormat::OpenMetrics1, PageFormat::Protobuf] {
        let format = NegotiatedFormat { format, escaping: NameEscaping::Values };
        let (mut rendering, mut work) = (PageRendering::new(at(1), format, &budget), MeasuredWork::default());
        loop {
            let mut piece = Vec::new();
            let is_complete = |progress| progress == RenderProgress::Complete;
            if work.step(|work| is_complete(registry.render_step(&mut rendering, &mut piece, work).unwrap())) {
                break;
            }
            assert!(piece.len() <= PIECE_SIZE, "{}", piece.len());
        }
        assert!(work.largest_step <= 3 * UNITS_PER_STEP, "{format:?}: a step did {}", work.largest_step);
    }
    while !expired.step(|work| registry.expire_step(at(1000), work)) {}
    assert!(registry.is_empty());
    [read, page, expired]
}

fn body_of(metrics: Vec<Metric>) -> Rope {
    rope(vec![resource(&[("service.name", "s"), ("service.instance.id", "i")], vec![scope("lib", "1", metrics)])])
}

fn labels(i: usize, count: usize) -> Vec<(String, String)> {
    (0..count).map(|k| (format!("k{k}"), format!("{}", (i * 7919 + k) % 100_003))).collect()
}

fn point_of(list: &[(String, String)]) -> opentelemetry_proto::tonic::metrics::v1::NumberDataPoint {
    let list: Vec<_> = list.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    point(1, 1.0, &list)
}

type Case = (&'static str, usize, fn(usize) -> Rope);

/// Worst cases, each with its smaller size.
const CASES: [Case; 13] = [
    ("many new metrics", 2000, |n| {
        body_of((0..n).map(|i| gauge(&format!("{i:x}"), "", vec![point(1, 1.0, &[])])).collect())
    }),
    ("series in no order", 2000, |n| {
        body_of(vec![gauge("m", "", (0..n).map(|i| point_of(&labels(i * 7919 % n, 3))).collect())])
    }),
    ("a set of keys for each series", 2000, |n| {
        body_of(vec![gauge("m", "", (0..n).map(|i| point(1, 1.0, &[(&format!("k{i}"), "v")])).collect())])
    }),
    ("the same labels in every scope", 2000, |n| {
        let scopes = (0..n).map(|i| scope(&format!("s{i}"), "", vec![gauge("m", "", vec![point(1, 1.0, &[])])]));
        rope(vec![resource(&[], scopes.collect())])
    }),
    ("one type after another", 2000, |n| {
        let kinds = |i: usize| match i % 3 {
            0 => gauge("m", "", vec![point_of(&labels(i, 1))]),
            1 => sum("m", "", CUMULATIVE, false, vec![point_of(&labels(i, 1))]),
            _ => histogram("m", CUMULATIVE, vec![buckets((0, 1), &[1.0], &[1, 1], 1.0)]),
        };
        body_of((0..n).map(kinds).collect())
    }),
    ("names that collide", 500, |n| {
        // The name of each histogram collides with that of the next.
        let name = |i: usize| format!("h{}", "_sum".repeat(i % 8)) + if i < 8 { "" } else { "_x" };
        let metrics = (0..n).map(|i| {
            histogram(&format!("{}.{}", name(i), i / 8), CUMULATIVE, vec![buckets((0, 1), &[1.0], &[1, 1], 1.0)])
        });
        body_of(metrics.collect())
    }),
    ("resources", 1000, |n| {
        let of = |i: usize| {
            let id = format!("{}", i / 2);
            resource(
                &[("service.name", "s"), ("service.instance.id", &id), ("n", &i.to_string())],
                vec![scope("", "", vec![gauge("m", "", vec![point_of(&labels(i, 1))])])],
            )
        };
        rope((0..n).map(of).collect())
    }),
    ("labels that differ at their end", 8, |n| {
        let long = "x".repeat(100_000);
        body_of(vec![gauge("m", "", (0..n).map(|i| point(1, 1.0, &[("k", &format!("{long}{i}"))])).collect())])
    }),
    ("one long label", 50_000, |n| body_of(vec![gauge("m", "", vec![point(1, 1.0, &[("k", &"\"".repeat(n))])])])),
    ("many labels", 500, |n| body_of(vec![gauge("m", "", vec![point_of(&labels(1, n))])])),
    ("buckets with a long label", 200, |n| {
        let bounds: Vec<f64> = (0..n).map(|i| i as f64).collect();
        let mut h = buckets((0, 1), &bounds, &[1, 2, 3], 1.0);
        h.attributes = attributes(&[("k", &"x".repeat(10_000))]);
        body_of(vec![histogram("h", CUMULATIVE, vec![h])])
    }),
    ("buckets in no order", 2000, |n| {
        let bounds: Vec<f64> = (0..n).map(|i| (i * 7919 % n) as f64).collect();
        body_of(vec![histogram("h", CUMULATIVE, vec![buckets((0, 1), &bounds, &[1, 2, 3], 1.0)])])
    }),
    ("empty metrics and scopes", 5000, |n| {
        let empty = || metric_without_data("m");
        rope((0..n / 100).map(|_| resource(&[], vec![scope("", "", (0..100).map(|_| empty()).collect())])).collect())
    }),
];

fn metric_without_data(name: &str) -> Metric {
    Metric { name: name.to_owned(), ..Metric::default() }
}

#[test]
fn worst_cases_grow_no_faster_than_n_log_n_and_no_step_exceeds_its_work() {
    const GROWTH: usize = 8;
    for (case, n, make) in CASES {
        let (small, large) = (measure(&make(n)), measure(&make(GROWTH * n)));
        for (what, (small, large)) in ["read", "page", "expire"].iter().zip(small.iter().zip(&large)) {
            // One item more than the step: a point of the largest size.
            assert!(large.largest_step <= 3 * UNITS_PER_STEP, "{case}: a step of {what} did {}", large.largest_step);
            // Trees grow in steps, hence the additional two fifths; small amounts are ignored.
            let logarithm = ((GROWTH * n) as f64).log2() / (n as f64).log2();
            let most = small.total as f64 * GROWTH as f64 * logarithm * 1.4 + 200_000.0;
            assert!(large.total as f64 <= most, "{case}: {what} grew from {} to {}", small.total, large.total);
        }
    }
}

#[test]
fn small_delta_points_of_a_wide_histogram_are_charged_for_all_of_its_buckets() {
    let mut registry = SeriesRegistry::new(&PageConfig::default(), 3, DroppedPoints::without_log());
    let delta = |points| body_of(vec![exponential("h", DELTA, points)]);
    registry.push_body(&delta(vec![exponential_point((0, 1), 0, 0, &vec![1; 60_000])]), at(1));
    let points = (1..=400).map(|i| exponential_point((i, i + 1), 0, 5, &[1])).collect();
    let (mut reader, mut read) = (BodyReader::new(delta(points)), MeasuredWork::default());
    while !read.step(|work| registry.read_step(&mut reader, at(2), work)) {}
    assert!(read.total >= 400 * 60_000, "{}", read.total);
    assert!(read.largest_step <= 2 * UNITS_PER_STEP, "{}", read.largest_step);
}

#[test]
fn points_above_the_size_limits_of_a_series_are_dropped_and_logged() {
    let mut fixture = Fixture::without_scope_info();
    let many: Vec<_> = labels(1, MAX_LABELS + 1);
    let long = "x".repeat(MAX_LABEL_BYTES);
    let bounds: Vec<f64> = (0..=MAX_BUCKETS).map(|i| i as f64).collect();
    fixture.metrics(
        0,
        vec![
            gauge("many", "", vec![point_of(&many)]),
            gauge("long", "", vec![point(1, 1.0, &[("k", &long)])]),
            histogram("buckets", CUMULATIVE, vec![buckets((0, 1), &bounds, &[1], 1.0)]),
            gauge(&"n".repeat(crate::MAX_NAME_BYTES + 1), "", vec![point(1, 1.0, &[])]),
            gauge(
                "fits",
                "",
                vec![point_of(&many[..MAX_LABELS]), point(1, 1.0, &[("k", &long[..MAX_LABEL_BYTES - 100])])],
            ),
        ],
    );
    assert_eq!((fixture.dropped(DropReason::TooLarge), fixture.0.len()), (4, 2));
    // The points of such a resource are dropped, and nothing else.
    fixture.push(
        0,
        vec![
            resource(&[("service.name", &long)], vec![scope("", "", vec![gauge("a", "", vec![point(1, 1.0, &[])])])]),
            resource(&[], vec![scope("", "", vec![gauge("b", "", vec![point(1, 1.0, &[])])])]),
        ],
    );
    assert_eq!((fixture.dropped(DropReason::TooLarge), fixture.0.len()), (5, 3));
}

#[test]
fn page_of_many_new_series_is_begun_in_steps() {
    let mut registry = SeriesRegistry::new(&PageConfig::default(), 3, DroppedPoints::without_log());
    let points = |n: std::ops::Range<usize>| n.map(|i| point_of(&labels(i * 7919 % 40_000, 3))).collect();
    registry.push_body(&body_of(vec![gauge("m", "", points(0..20_000))]), at(1));
    let budget = Arc::new(Budget::default());
    let mut rendering = PageRendering::new(at(1), NegotiatedFormat::default(), &budget);
    let (mut page, mut steps, mut next, mut work) = (Vec::new(), 0, 20_000, MeasuredWork::default());
    let mut is_complete = false;
    while !is_complete {
        let mut piece = Vec::new();
        is_complete = work
            .step(|work| registry.render_step(&mut rendering, &mut piece, work).unwrap() == RenderProgress::Complete);
        steps += usize::from(page.is_empty() && piece.is_empty());
        page.append(&mut piece);
        // More series come in each step than it sorts: the page ends nevertheless.
        if next < 40_000 {
            registry.push_body(&body_of(vec![gauge("m", "", points(next..next + 2500))]), at(1));
            next += 2500;
        }
    }
    assert!(steps > 2 && work.largest_step < 2 * UNITS_PER_STEP, "{steps} {work:?}");
    assert_eq!(String::from_utf8(page).unwrap().lines().filter(|line| line.starts_with("m{")).count(), 20_000);
    let page = registry.render(at(1), &NegotiatedFormat::default()).unwrap();
    assert_eq!(String::from_utf8(page).unwrap().lines().filter(|line| line.starts_with("m{")).count(), next);
}

#[test]
fn page_rendered_while_points_arrive_has_each_series_once() {
    let mut registry = SeriesRegistry::new(
        &PageConfig { without_scope_info: true, ..PageConfig::default() },
        3,
        DroppedPoints::without_log(),
    );
    let of = |n: std::ops::Range<usize>| {
        body_of(vec![
            gauge(
                "a",
                "",
                n.clone().map(|i| point_of(&[("k".to_owned(), format!("{:05}", i * 7919 % 100_000))])).collect(),
            ),
            gauge("b", "", n.map(|i| point_of(&[("k".to_owned(), format!("{i:05}"))])).collect()),
        ])
    };
    registry.push_body(&of(0..3000), at(1));
    let budget = Arc::new(Budget::default());
    let (mut rendering, mut page, mut from) =
        (PageRendering::new(at(1), NegotiatedFormat::default(), &budget), Vec::new(), 3000);
    loop {
        let mut piece = Vec::new();
        let progress = registry.render_step(&mut rendering, &mut piece, &mut StepBudget::for_one_step()).unwrap();
        page.append(&mut piece);
        if progress == RenderProgress::Complete {
            break;
        }
        registry.push_body(&of(from..from + 50), at(2));
        from += 50;
    }
    let page = String::from_utf8(page).unwrap();
    let mut lines: Vec<&str> = page.lines().map(|l| l.rsplit_once(' ').map_or(l, |(series, _)| series)).collect();
    assert!(lines.len() > 6000 && from > 3100);
    lines.sort_unstable();
    let all = lines.len();
    lines.dedup();
    assert_eq!(lines.len(), all, "HELP, TYPE and every series stand there once");
    drop(rendering);
    assert_eq!(budget.kept(), 0);
}
