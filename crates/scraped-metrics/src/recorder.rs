//! Collects the data points of a scraper, and writes them as the metrics of one resource.
//!
//! Points whose attributes are equal become one, by the strategy of the metric: so an attribute can be left out. Owns the
//! points between two calls of [`Recorder::emit`]; does not know where they come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use otelcore_pdata::build::{AttributesWriter, Body, NumberPointWriter, ResourceWriter};

use crate::metric_config::{AggregationStrategy, MetricKind, MetricSetting};
use crate::resource::ResourceAttributes;

/// `cumulative` in OTLP.
const CUMULATIVE: i32 = 2;

/// The value of a point.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum PointValue {
    /// An integer.
    Int(i64),
    /// A fraction.
    Double(f64),
}

/// The values of the attributes that are kept.
type AttributeValues = Arc<[Box<str>]>;

#[derive(Debug)]
struct Point {
    time: u64,
    value: PointValue,
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
pub struct Recorder {
    /// The name of the scope.
    scope: String,
    /// Empty for none.
    schema_url: &'static str,
    metrics: Vec<RecordedMetric>,
    /// The attributes whose values are integers.
    number_attributes: &'static [&'static str],
}

impl Recorder {
    /// A recorder without points, for the metrics of a table in its order. `scope` is the name of their scope;
    /// `schema_url` may be empty.
    #[must_use]
    pub fn new(scope: impl Into<String>, schema_url: &'static str, settings: Vec<MetricSetting>) -> Self {
        let metric = |setting| RecordedMetric { setting, points: Vec::new(), index: BTreeMap::new() };
        Self {
            scope: scope.into(),
            schema_url,
            metrics: settings.into_iter().map(metric).collect(),
            number_attributes: &[],
        }
    }

    /// The values of these attributes are recorded as decimal texts, and sent as integers.
    #[must_use]
    pub fn with_number_attributes(mut self, keys: &'static [&'static str]) -> Self {
        self.number_attributes = keys;
        self
    }

    /// Whether the metric is sent.
    #[must_use]
    pub fn is_enabled(&self, metric: impl Into<usize>) -> bool {
        self.metrics.get(metric.into()).is_some_and(|metric| metric.setting.is_enabled)
    }

    /// Never sends this metric.
    pub fn disable(&mut self, metric: impl Into<usize>) {
        if let Some(metric) = self.metrics.get_mut(metric.into()) {
            metric.setting.is_enabled = false;
        }
    }

    /// Adds a point, unless the metric is disabled. `attributes` are the values of all keys of the metric. `time` is in
    /// nanoseconds since the epoch.
    pub fn record(&mut self, metric: impl Into<usize>, time: u64, value: PointValue, attributes: &[&str]) {
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
    pub fn int(&mut self, metric: impl Into<usize>, time: u64, value: i64, attributes: &[&str]) {
        self.record(metric, time, PointValue::Int(value), attributes);
    }

    /// Adds a number of bytes, of calls and so on: a number above the range of OTLP wraps, as in Go.
    pub fn uint(&mut self, metric: impl Into<usize>, time: u64, value: u64, attributes: &[&str]) {
        self.record(metric, time, PointValue::Int(value.cast_signed()), attributes);
    }

    /// Adds a fraction.
    pub fn double(&mut self, metric: impl Into<usize>, time: u64, value: f64, attributes: &[&str]) {
        self.record(metric, time, PointValue::Double(value), attributes);
    }

    /// Forgets the points.
    pub fn clear(&mut self) {
        for metric in &mut self.metrics {
            metric.points.clear();
            metric.index.clear();
        }
    }

    /// Writes the points as the metrics of this resource if its filters send it, and forgets them. See
    /// [`Recorder::emit`].
    pub fn emit_for(&mut self, body: &mut Body, start: u64, resource: &ResourceAttributes) -> usize {
        if resource.is_sent() {
            return self.emit(body, start, |attributes| resource.write(attributes));
        }
        self.clear();
        0
    }

    /// Writes the points as the metrics of one resource, and forgets them. `start` is the start time of all of them, in
    /// nanoseconds since the epoch. Returns the number of metrics; nothing is written where there is none.
    pub fn emit(&mut self, body: &mut Body, start: u64, resource: impl FnOnce(&mut AttributesWriter<'_>)) -> usize {
        self.emit_resource(body, start, |writer| resource(&mut writer.attributes()))
    }

    /// The same, for a resource that has more than attributes.
    pub fn emit_resource(
        &mut self,
        body: &mut Body,
        start: u64,
        resource: impl FnOnce(&mut ResourceWriter<'_>),
    ) -> usize {
        let count = self.metrics.iter().filter(|metric| !metric.points.is_empty()).count();
        if count == 0 {
            return 0;
        }
        let mut entry = body.resource_metrics();
        if !self.schema_url.is_empty() {
            entry.schema_url(self.schema_url.as_bytes());
        }
        resource(&mut entry.resource());
        let mut scope = entry.scope_metrics();
        scope.scope().name(self.scope.as_bytes()).version(env!("CARGO_PKG_VERSION").as_bytes());
        let numbers = self.number_attributes;
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
                    metric
                        .points
                        .iter()
                        .for_each(|point| write(&mut gauge.point(), point, &metric.setting, start, numbers));
                }
                MetricKind::Sum { is_monotonic } => {
                    let mut sum = writer.sum();
                    sum.aggregation_temporality(CUMULATIVE).is_monotonic(is_monotonic);
                    metric
                        .points
                        .iter()
                        .for_each(|point| write(&mut sum.point(), point, &metric.setting, start, numbers));
                }
            }
            metric.points.clear();
            metric.index.clear();
        }
        count
    }
}

fn write(writer: &mut NumberPointWriter<'_>, point: &Point, setting: &MetricSetting, start: u64, numbers: &[&str]) {
    writer.start_time_unix_nano(start).time_unix_nano(point.time);
    match (point.value, setting.strategy) {
        (PointValue::Int(v), AggregationStrategy::Avg) => writer.int(v.checked_div(point.count).unwrap_or(v)),
        (PointValue::Int(v), _) => writer.int(v),
        (PointValue::Double(v), AggregationStrategy::Avg) => writer.double(v / point.count as f64),
        (PointValue::Double(v), _) => writer.double(v),
    };
    let kept = setting.spec.attributes.iter().zip(&setting.kept).filter(|(_, is_kept)| **is_kept);
    let mut attributes = writer.attributes();
    for ((key, _), value) in kept.zip(point.attributes.iter()) {
        match value.parse() {
            Ok(number) if numbers.contains(key) => attributes.int(key.as_bytes(), number),
            _ => attributes.string(key.as_bytes(), value.as_bytes()),
        };
    }
}

/// The value of two points that have become one. An average is divided when it is written.
fn join(strategy: AggregationStrategy, old: PointValue, new: PointValue) -> PointValue {
    match (strategy, old, new) {
        (AggregationStrategy::Sum | AggregationStrategy::Avg, PointValue::Int(a), PointValue::Int(b)) => {
            PointValue::Int(a.wrapping_add(b))
        }
        (AggregationStrategy::Sum | AggregationStrategy::Avg, PointValue::Double(a), PointValue::Double(b)) => {
            PointValue::Double(a + b)
        }
        (AggregationStrategy::Min, PointValue::Int(a), PointValue::Int(b)) => PointValue::Int(a.min(b)),
        (AggregationStrategy::Max, PointValue::Int(a), PointValue::Int(b)) => PointValue::Int(a.max(b)),
        (AggregationStrategy::Min, PointValue::Double(a), PointValue::Double(b)) => {
            PointValue::Double(if a > b { b } else { a })
        }
        (AggregationStrategy::Max, PointValue::Double(a), PointValue::Double(b)) => {
            PointValue::Double(if a < b { b } else { a })
        }
        // A metric has values of one type.
        (_, old, _) => old,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point;
    use prost::Message;

    use super::*;

    crate::metric_table! {
        /// Metrics of a test.
        TestMetricsConfig TestMetric {
            Sum sum "a.sum" on counter "By" ["x" "y"] "Bytes.";
            Off off "a.off" off gauge "1" [] "Off.";
        }
    }

    fn sums(strategy: AggregationStrategy, attributes: &[&str]) -> Vec<(usize, i64)> {
        let mut config = TestMetricsConfig::default();
        config.sum.aggregation_strategy = strategy;
        config.sum.attributes = attributes.iter().map(|key| (*key).to_owned()).collect();
        let mut recorder = Recorder::new("scope", "", config.settings());
        for (x, y, value) in [("1", "1", 7), ("1", "2", 2), ("2", "1", 5)] {
            recorder.int(TestMetric::Sum, 9, value, &[x, y]);
            recorder.double(TestMetric::Off, 9, 1.0, &[]);
        }
        let mut body = Body::new();
        assert_eq!(recorder.emit(&mut body, 3, |_| {}), 1);
        assert_eq!(recorder.emit(&mut body, 3, |_| {}), 0, "points are written once");
        let request = ExportMetricsServiceRequest::decode(&body.finish().to_bytes()[..]).unwrap();
        let metric = &request.resource_metrics[0].scope_metrics[0].metrics[0];
        let Some(Data::Sum(sum)) = &metric.data else { unreachable!("{metric:?}") };
        let point = |point: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| match point.value {
            Some(number_data_point::Value::AsInt(value)) => (point.attributes.len(), value),
            other => unreachable!("{other:?}"),
        };
        sum.data_points.iter().map(point).collect()
    }

    #[test]
    fn points_that_differ_in_left_out_attributes_are_joined_by_the_strategy() {
        use AggregationStrategy::{Avg, Max, Min, Sum};
        assert_eq!(sums(Sum, &["x", "y"]), [(2, 7), (2, 2), (2, 5)]);
        assert_eq!(sums(Sum, &["x"]), [(1, 9), (1, 5)]);
        assert_eq!(sums(Avg, &["y"]), [(1, 6), (1, 2)]);
        assert_eq!(sums(Min, &[]), [(0, 2)]);
        assert_eq!(sums(Max, &[]), [(0, 7)]);
    }
}
