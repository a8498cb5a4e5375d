//! Collects the data points of a scraper, and writes them as the metrics of one resource.
//!
//! Points whose attributes are equal become one, by the strategy of the metric: so an attribute can be left out. Owns the
//! points between two calls of [`Recorder::emit`]; does not know where they come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use otelcore_pdata::build::{AttributesWriter, Body, NumberPointWriter, ResourceWriter};

use crate::config::{AggregationStrategy, MetricKind, MetricSetting};

/// The schema of all these metrics.
const SCHEMA_URL: &[u8] = b"https://opentelemetry.io/schemas/1.9.0";

/// The scope of a scraper is this, and its name.
const SCOPE_PREFIX: &str =
    "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/hostmetricsreceiver/internal/scraper/";

/// `cumulative` in OTLP.
const CUMULATIVE: i32 = 2;

/// The value of a point.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Value {
    Int(i64),
    Double(f64),
}

/// The values of the attributes that are kept.
type AttributeValues = Arc<[Box<str>]>;

#[derive(Debug)]
struct Point {
    time: u64,
    value: Value,
    /// How many were recorded.
    count: i64,
    attributes: AttributeValues,
}

#[derive(Debug)]
struct RecordedMetric {
    setting: MetricSetting,
    points: Vec<Point>,
    /// The position of a point by its attributes.
    index: BTreeMap<AttributeValues, usize>,
}

/// The metrics of a scraper. See the module.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// The end of the scope's name.
    scope: &'static str,
    metrics: Vec<RecordedMetric>,
}

impl Recorder {
    /// Has no points yet.
    pub(crate) fn new(scope: &'static str, settings: Vec<MetricSetting>) -> Self {
        let metric = |setting| RecordedMetric { setting, points: Vec::new(), index: BTreeMap::new() };
        Self { scope, metrics: settings.into_iter().map(metric).collect() }
    }

    /// Whether the metric is sent.
    pub(crate) fn is_enabled(&self, metric: impl Into<usize>) -> bool {
        self.metrics.get(metric.into()).is_some_and(|metric| metric.setting.is_enabled)
    }

    /// Never sends this metric.
    pub(crate) fn disable(&mut self, metric: impl Into<usize>) {
        if let Some(metric) = self.metrics.get_mut(metric.into()) {
            metric.setting.is_enabled = false;
        }
    }

    /// Adds a point, unless the metric is disabled. `attributes` are the values of all keys of the metric. `time` is in
    /// nanoseconds since the epoch.
    pub(crate) fn record(&mut self, metric: impl Into<usize>, time: u64, value: Value, attributes: &[&str]) {
        let Some(metric) = self.metrics.get_mut(metric.into()).filter(|metric| metric.setting.is_enabled) else {
            return;
        };
        let kept = attributes.iter().zip(&metric.setting.kept).filter(|(_, is_kept)| **is_kept);
        let attributes: AttributeValues = kept.map(|(value, _)| Box::from(*value)).collect();
        let known = metric.index.get(&attributes).and_then(|at| metric.points.get_mut(*at));
        if let Some(point) = known {
            point.value = join(metric.setting.strategy, point.value, value);
            point.count += 1;
            return;
        }
        metric.index.insert(attributes.clone(), metric.points.len());
        metric.points.push(Point { time, value, count: 1, attributes });
    }

    /// Adds an integer.
    pub(crate) fn int(&mut self, metric: impl Into<usize>, time: u64, value: i64, attributes: &[&str]) {
        self.record(metric, time, Value::Int(value), attributes);
    }

    /// Adds a number of bytes, of calls and so on: a number above the range of OTLP wraps, as in Go.
    pub(crate) fn uint(&mut self, metric: impl Into<usize>, time: u64, value: u64, attributes: &[&str]) {
        self.record(metric, time, Value::Int(value.cast_signed()), attributes);
    }

    /// Adds a fraction.
    pub(crate) fn double(&mut self, metric: impl Into<usize>, time: u64, value: f64, attributes: &[&str]) {
        self.record(metric, time, Value::Double(value), attributes);
    }

    /// Forgets the points.
    pub(crate) fn clear(&mut self) {
        for metric in &mut self.metrics {
            metric.points.clear();
            metric.index.clear();
        }
    }

    /// Writes the points as the metrics of one resource, and forgets them. `start` is the start time of all of them, in
    /// nanoseconds since the epoch. Returns the number of metrics; nothing is written where there is none.
    pub(crate) fn emit(
        &mut self,
        body: &mut Body,
        start: u64,
        resource: impl FnOnce(&mut AttributesWriter<'_>),
    ) -> usize {
        let count = self.metrics.iter().filter(|metric| !metric.points.is_empty()).count();
        if count == 0 {
            return 0;
        }
        let mut entry = body.resource_metrics();
        entry.schema_url(SCHEMA_URL);
        {
            let mut writer: ResourceWriter<'_> = entry.resource();
            resource(&mut writer.attributes());
        }
        let mut scope = entry.scope_metrics();
        scope
            .scope()
            .name(format!("{SCOPE_PREFIX}{}", self.scope).as_bytes())
            .version(env!("CARGO_PKG_VERSION").as_bytes());
        for metric in &mut self.metrics {
            if metric.points.is_empty() {
                continue;
            }
            let spec = metric.setting.spec;
            let mut writer = scope.metric();
            writer.name(spec.name.as_bytes()).description(spec.description.as_bytes()).unit(spec.unit.as_bytes());
            match spec.kind {
                MetricKind::Gauge => {
                    let mut gauge = writer.gauge();
                    metric.points.iter().for_each(|point| write(&mut gauge.point(), point, &metric.setting, start));
                }
                MetricKind::Sum { is_monotonic } => {
                    let mut sum = writer.sum();
                    sum.aggregation_temporality(CUMULATIVE).is_monotonic(is_monotonic);
                    metric.points.iter().for_each(|point| write(&mut sum.point(), point, &metric.setting, start));
                }
            }
            metric.points.clear();
            metric.index.clear();
        }
        count
    }
}

fn write(writer: &mut NumberPointWriter<'_>, point: &Point, setting: &MetricSetting, start: u64) {
    writer.start_time_unix_nano(start).time_unix_nano(point.time);
    match (point.value, setting.strategy) {
        (Value::Int(v), AggregationStrategy::Avg) => writer.int(v.checked_div(point.count).unwrap_or(v)),
        (Value::Int(v), _) => writer.int(v),
        (Value::Double(v), AggregationStrategy::Avg) => writer.double(v / point.count as f64),
        (Value::Double(v), _) => writer.double(v),
    };
    let kept = setting.spec.attributes.iter().zip(&setting.kept).filter(|(_, is_kept)| **is_kept);
    let mut attributes = writer.attributes();
    for ((key, _), value) in kept.zip(point.attributes.iter()) {
        attributes.string(key.as_bytes(), value.as_bytes());
    }
}

/// The value of two points that have become one. An average is divided when it is written.
fn join(strategy: AggregationStrategy, old: Value, new: Value) -> Value {
    match (strategy, old, new) {
        (AggregationStrategy::Sum | AggregationStrategy::Avg, Value::Int(a), Value::Int(b)) => {
            Value::Int(a.wrapping_add(b))
        }
        (AggregationStrategy::Sum | AggregationStrategy::Avg, Value::Double(a), Value::Double(b)) => {
            Value::Double(a + b)
        }
        (AggregationStrategy::Min, Value::Int(a), Value::Int(b)) => Value::Int(a.min(b)),
        (AggregationStrategy::Max, Value::Int(a), Value::Int(b)) => Value::Int(a.max(b)),
        (AggregationStrategy::Min, Value::Double(a), Value::Double(b)) => Value::Double(if a > b { b } else { a }),
        (AggregationStrategy::Max, Value::Double(a), Value::Double(b)) => Value::Double(if a < b { b } else { a }),
        // A metric has values of one type.
        (_, old, _) => old,
    }
}
