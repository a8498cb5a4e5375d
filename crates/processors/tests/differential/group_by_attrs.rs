//! Attributes that are moved to resources.
//!
//! Left out, because they differ on purpose: metrics of one name with different units, temporality or monotonicity, and
//! schema URLs.

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use otelcore_pdata::Signal;

use crate::telemetry::{KEYS, PointOptions, attributes, logs_body, metric, metrics_body, traces_body};
use crate::{Case, Choices};

pub fn generate(c: &mut Choices) -> Case {
    let signal = c.choose(&Signal::ALL);
    let mut keys = c.some_of(&["a", "b", "state", "none"]);
    if c.one_in(10) {
        keys.extend(["a", ""]);
    }
    let keys: Vec<String> = keys.iter().map(|key| format!("'{key}'")).collect();
    let yaml = format!("keys: [{}]", keys.join(", "));
    let body = match signal {
        Signal::Traces => traces_body(c, |c| Span {
            name: c.choose(&["x", "y"]).to_owned(),
            attributes: attributes(c, &KEYS),
            ..Span::default()
        }),
        Signal::Logs => logs_body(c, |c| LogRecord {
            severity_text: c.choose(&["x", "y"]).to_owned(),
            attributes: attributes(c, &KEYS),
            ..LogRecord::default()
        }),
        Signal::Metrics => metrics_body(c, |c| {
            let mut metric = metric(c, &[0, 1, 2, 3, 4], PointOptions::default());
            metric.unit = "s".to_owned();
            match metric.data.as_mut().unwrap() {
                Data::Sum(data) => (data.aggregation_temporality, data.is_monotonic) = (2, true),
                Data::Histogram(data) => data.aggregation_temporality = 1,
                Data::ExponentialHistogram(data) => data.aggregation_temporality = 1,
                Data::Gauge(_) | Data::Summary(_) => {}
            }
            metric
        }),
    };
    Case { signal, yaml, bodies: vec![body] }
}
