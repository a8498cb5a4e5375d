//! Series over several bodies.
//!
//! Left out, because they differ on purpose: exemplars and flags, and series whose values are integers and doubles.

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, number_data_point};
use otelcore_pdata::Signal;

use crate::telemetry::{PointOptions, SECOND, metric, metrics_body};
use crate::{Case, Choices};

pub fn generate(c: &mut Choices) -> Case {
    let mut lines = Vec::new();
    if c.one_in(4) {
        lines.push(format!("max_streams: {}", c.choose(&["3", "0", "1", "-1"])));
    }
    if c.one_in(4) {
        lines.push(format!("max_stale: {}", c.choose(&["1h", "5m", "30s"])));
    }
    let kinds = c.choose(&[&[0, 1, 2, 3, 4][..], &[1], &[2], &[3], &[3]]);
    let rounds = 2 + c.below(4) as u64;
    let bodies = (0..rounds).map(|round| metrics_body(c, |c| one_metric(c, kinds, round))).collect();
    let yaml = if lines.is_empty() { "{}".to_owned() } else { lines.join("\n") };
    Case { signal: Signal::Metrics, yaml, bodies }
}

fn one_metric(c: &mut Choices, kinds: &[usize], round: u64) -> Metric {
    let o = PointOptions {
        starts: &[0, 100 * SECOND, 100 * SECOND, 500 * SECOND],
        offsets: &[0, 1, -2, 40, -170, 300],
        scales: &[0, 1, 2, -1],
        zero_thresholds: &[0.0, 0.0, 1.5],
        one_stale_in: usize::MAX,
        ..PointOptions::default()
    };
    let times = [1000 * round * SECOND, (1000 * round + 10) * SECOND, 1500 * SECOND];
    let mut metric = metric(c, kinds, o);
    metric.unit = "s".to_owned();
    macro_rules! each {
        ($data:expr) => {
            for point in &mut $data.data_points {
                point.attributes.truncate(1);
                point.exemplars.clear();
                point.flags = 0;
                point.time_unix_nano = c.choose(&times);
            }
        };
    }
    match metric.data.as_mut().unwrap() {
        Data::Gauge(data) => each!(data),
        Data::Sum(data) => {
            each!(data);
            for point in &mut data.data_points {
                if let Some(number_data_point::Value::AsInt(v)) = point.value {
                    point.value = Some(number_data_point::Value::AsDouble(v as f64));
                }
            }
        }
        Data::Histogram(data) => {
            each!(data);
            for point in &mut data.data_points {
                if c.one_in(5) {
                    point.sum = None;
                }
            }
        }
        Data::ExponentialHistogram(data) => each!(data),
        Data::Summary(_) => {}
    }
    metric
}
