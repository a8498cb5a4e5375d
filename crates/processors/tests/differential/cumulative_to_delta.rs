//! Series over several bodies.
//!
//! Left out, because they differ on purpose: exponential histograms whose count decreases, and patterns that are not valid.

use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use otelcore_pdata::Signal;

use crate::telemetry::{METRICS, PointOptions, SECOND, metric, metrics_body};
use crate::{Case, Choices};

/// After the time of the processor's start, there and here.
const FUTURE: u64 = 4_000_000_000 * SECOND;

pub fn generate(c: &mut Choices) -> Case {
    let mut lines = Vec::new();
    if c.one_in(2) {
        lines.push(format!("initial_value: {}", c.choose(&["auto", "keep", "drop"])));
    }
    if c.one_in(20) {
        lines.push("initial_value: last".to_owned());
        lines.swap_remove(0);
    }
    if c.one_in(3) {
        lines.push(format!("max_staleness: {}", c.choose(&["0", "1h"])));
    }
    for key in ["include", "exclude"] {
        if c.one_in(3) {
            lines.push(format!("{key}: {{{}}}", matching(c)));
        }
    }
    let kinds = c.choose(&[&[0, 1, 2, 3, 4][..], &[1], &[2], &[3]]);
    let bodies = 2 + c.below(4);
    let bodies = (0..bodies as u64).map(|round| {
        let times = [FUTURE + 1000 * round * SECOND, FUTURE + (1000 * round + 10) * SECOND];
        metrics_body(c, |c| one_metric(c, kinds, round, times))
    });
    let bodies = bodies.collect();
    let yaml = if lines.is_empty() { "{}".to_owned() } else { lines.join("\n") };
    Case { signal: Signal::Metrics, yaml, bodies }
}

fn matching(c: &mut Choices) -> String {
    let mut fields = Vec::new();
    if c.one_in(2) {
        let is_regexp = c.one_in(2);
        let text = if is_regexp { c.choose(&["^m", "total$", "one|two"]) } else { c.choose(&METRICS) };
        if !c.one_in(10) {
            fields.push(format!("metrics: ['{text}']"));
        }
        if !c.one_in(10) {
            fields.push(format!("match_type: {}", if is_regexp { "regexp" } else { "strict" }));
        }
    }
    if c.one_in(2) {
        fields.push(format!("metric_types: [{}]", c.choose(&["sum", "histogram", "ExponentialHistogram, sum"])));
    }
    fields.join(", ")
}

/// A metric with one time for each of its points, so that series have their points in order.
fn one_metric(c: &mut Choices, kinds: &[usize], round: u64, times: [u64; 2]) -> Metric {
    let o = PointOptions {
        starts: &[0, 500 * SECOND, FUTURE - SECOND],
        offsets: &[0, 1, -2],
        scales: &[1],
        ..PointOptions::default()
    };
    let mut metric = metric(c, kinds, o);
    metric.unit = "s".to_owned();
    // Few series.
    let keep = |attributes: &mut Vec<_>| attributes.truncate(1);
    match metric.data.as_mut().unwrap() {
        Data::Gauge(data) => data.data_points.iter_mut().for_each(|point| keep(&mut point.attributes)),
        Data::Sum(data) => data.data_points.iter_mut().for_each(|point| {
            keep(&mut point.attributes);
            point.time_unix_nano = c.choose(&times);
        }),
        Data::Histogram(data) => data.data_points.iter_mut().for_each(|point| {
            keep(&mut point.attributes);
            point.time_unix_nano = c.choose(&times);
            if c.one_in(20) {
                point.bucket_counts.pop();
            }
            if c.one_in(20) {
                point.sum = if c.one_in(2) { None } else { Some(f64::NAN) };
            }
        }),
        Data::ExponentialHistogram(data) => data.data_points.iter_mut().for_each(|point| {
            keep(&mut point.attributes);
            point.time_unix_nano = c.choose(&times);
            // Counts grow, the scale falls, the zero bucket grows.
            point.count = 100 * round + times.iter().position(|time| *time == point.time_unix_nano).unwrap() as u64;
            point.scale = 3 - round as i32 / 2;
            point.zero_threshold = if round > 2 { 1.5 } else { 0.0 };
            point.positive.as_mut().unwrap().bucket_counts.iter_mut().for_each(|count| *count += 7 * round);
        }),
        Data::Summary(_) => {}
    }
    metric
}
