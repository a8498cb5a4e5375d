//! Writes own metrics as OTLP: names, units, scopes and types as the Go collector pushes them.
//!
//! Keeps the values of the last push where counters start at zero with each one. Reads nothing from the system.

use std::collections::BTreeMap;

use otelcore_pdata::Rope;
use otelcore_pdata::build::{AttributesWriter, Body, NumberPointWriter, ScopeMetricsWriter};
use otelcore_pipeline::{FamilyKind, Labels, SeriesSample, SeriesValue};

use super::write_resource;
use crate::service::views::OwnMetric;
use crate::telemetry::TemporalityPreference;

const DELTA: i32 = 1;
const CUMULATIVE: i32 = 2;

/// The values of the last push.
type LastValues = BTreeMap<(String, Labels), SeriesValue>;

/// See the module.
pub(super) struct MetricsWriter {
    temporality: TemporalityPreference,
    /// When counting began, in nanoseconds since the epoch.
    start_time: u64,
    /// When the last push was made.
    last_time: u64,
    last_values: LastValues,
}

/// The points of one metric.
struct Points<'a> {
    family: &'a OwnMetric,
    samples: Vec<(&'a Labels, SeriesValue)>,
    is_delta: bool,
}

impl MetricsWriter {
    /// `start_time` is when counting began, in nanoseconds since the epoch.
    pub(super) fn new(temporality: TemporalityPreference, start_time: u64) -> Self {
        Self { temporality, start_time, last_time: start_time, last_values: LastValues::new() }
    }

    /// A request with these metrics as they are at `now`, in nanoseconds since the epoch. `None` if there is no point.
    pub(super) fn write(&mut self, families: &[OwnMetric], resource: &[(String, String)], now: u64) -> Option<Rope> {
        let mut by_scope: BTreeMap<&'static str, Vec<Points<'_>>> = BTreeMap::new();
        let mut values = LastValues::new();
        for family in families {
            let points = self.points(family, &mut values);
            if !points.samples.is_empty() {
                by_scope.entry(points.family.descriptor.scope).or_default().push(points);
            }
        }
        let times = Times { start: self.start_time, last: self.last_time, now };
        (self.last_values, self.last_time) = (values, now);
        if by_scope.is_empty() {
            return None;
        }
        let mut body = Body::new();
        {
            let mut entry = body.resource_metrics();
            write_resource(&mut entry.resource(), resource);
            for (name, metrics) in by_scope {
                let mut scope = entry.scope_metrics();
                scope.scope().name(name.as_bytes());
                metrics.iter().for_each(|points| points.write(&mut scope, times));
            }
        }
        Some(body.finish())
    }

    /// What is pushed of a family. With deltas that is what has changed; `values` gets the current ones.
    fn points<'a>(&self, family: &'a OwnMetric, values: &mut LastValues) -> Points<'a> {
        use TemporalityPreference::{Cumulative, Delta, LowMemory};
        let is_delta = match (self.temporality, family.kind) {
            (Cumulative, _) | (_, FamilyKind::Gauge) => false,
            (Delta, _) | (LowMemory, FamilyKind::Histogram) => true,
            // Fractions are read from the system, and not counted here.
            (LowMemory, FamilyKind::Counter) => !family.is_fractional,
        };
        let mut samples = Vec::new();
        for SeriesSample { labels, value } in &family.samples {
            if !is_delta {
                samples.push((labels, value.clone()));
                continue;
            }
            let key = (family.name.clone().into_owned(), labels.clone());
            let delta = difference(value, self.last_values.get(&key));
            values.insert(key, value.clone());
            if family.is_fractional || !is_zero(&delta) {
                samples.push((labels, delta));
            }
        }
        Points { family, samples, is_delta }
    }
}

fn is_zero(value: &SeriesValue) -> bool {
    match value {
        SeriesValue::Number(v) => *v == 0.0,
        SeriesValue::Histogram { counts, .. } => counts.iter().all(|count| *count == 0),
    }
}

/// What was added since `last`.
fn difference(value: &SeriesValue, last: Option<&SeriesValue>) -> SeriesValue {
    match (value, last) {
        (SeriesValue::Number(now), Some(SeriesValue::Number(last))) if now >= last => SeriesValue::Number(now - last),
        (
            SeriesValue::Histogram { bounds, counts, sum },
            Some(SeriesValue::Histogram { counts: last, sum: last_sum, .. }),
        ) => {
            let counts = counts.iter().zip(last).map(|(now, last)| now.saturating_sub(*last)).collect();
            SeriesValue::Histogram { bounds, counts, sum: sum - last_sum }
        }
        _ => value.clone(),
    }
}

/// In nanoseconds since the epoch.
#[derive(Clone, Copy)]
struct Times {
    start: u64,
    last: u64,
    now: u64,
}

impl Points<'_> {
    fn write(&self, scope: &mut ScopeMetricsWriter<'_>, times: Times) {
        let Self { family, samples, is_delta } = self;
        let descriptor = family.descriptor;
        let start = if *is_delta { times.last } else { times.start };
        let temporality = if *is_delta { DELTA } else { CUMULATIVE };
        let mut metric = scope.metric();
        metric.name(family.name.as_bytes()).description(family.help.as_bytes()).unit(descriptor.unit.as_bytes());
        if family.kind == FamilyKind::Histogram {
            let mut histogram = metric.histogram();
            histogram.aggregation_temporality(temporality);
            for (labels, value) in samples {
                let SeriesValue::Histogram { bounds, counts, sum } = value else { continue };
                let mut point = histogram.point();
                point.start_time_unix_nano(start).time_unix_nano(times.now);
                point.count(counts.iter().sum()).sum(*sum).bucket_counts(counts).explicit_bounds(bounds);
                write_labels(&mut point.attributes(), labels);
            }
            return;
        }
        let is_sum = family.kind == FamilyKind::Counter || descriptor.is_up_down_counter;
        let numbers = samples.iter().filter_map(|(labels, value)| match value {
            SeriesValue::Number(v) => Some((labels, *v)),
            SeriesValue::Histogram { .. } => None,
        });
        let write_number = |mut point: NumberPointWriter<'_>, labels: &Labels, value: f64| {
            point.start_time_unix_nano(start).time_unix_nano(times.now);
            if family.is_fractional {
                point.double(value)
            } else {
                point.int(value as i64)
            };
            write_labels(&mut point.attributes(), labels);
        };
        if is_sum {
            let mut sum = metric.sum();
            sum.aggregation_temporality(temporality).is_monotonic(family.kind == FamilyKind::Counter);
            numbers.for_each(|(labels, value)| write_number(sum.point(), labels, value));
        } else {
            let mut gauge = metric.gauge();
            numbers.for_each(|(labels, value)| write_number(gauge.point(), labels, value));
        }
    }
}

/// Labels of the page that are attributes of the semantic conventions.
const CONVENTIONS: [&str; 5] = ["error_permanent", "error_type", "server_address", "server_port", "url_path"];

/// The attributes of a point. Those that the page has under the name of a label have dots here.
fn write_labels(attributes: &mut AttributesWriter<'_>, labels: &Labels) {
    for (name, value) in labels {
        if name.starts_with("otelcol_") || CONVENTIONS.contains(name) {
            attributes.string(name.replace('_', ".").as_bytes(), value.as_bytes());
        } else {
            attributes.string(name.as_bytes(), value.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
    use otelcore_pdata::{Signal, check};
    use otelcore_pipeline::{MetricsLevel, Telemetry};
    use prost::Message;

    use super::*;
    use crate::service::views::apply_views;

    const BASIC: MetricsLevel = MetricsLevel::Basic;

    /// `scope name unit type start value` of each point, without the parts that a test does not name.
    fn lines(rope: &Rope) -> Vec<String> {
        let bytes = rope.to_bytes();
        check(Signal::Metrics, &bytes).unwrap();
        let request = ExportMetricsServiceRequest::decode(bytes.as_ref()).unwrap();
        let mut lines = Vec::new();
        for scope in request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics) {
            for metric in &scope.metrics {
                let name = format!("{} [{}]", metric.name, metric.unit);
                let number = |value: &Option<Value>| match value {
                    Some(Value::AsInt(v)) => v.to_string(),
                    Some(Value::AsDouble(v)) => format!("{v:?}"),
                    None => "none".to_owned(),
                };
                match metric.data.as_ref().unwrap() {
                    Data::Gauge(gauge) => {
                        lines.extend(gauge.data_points.iter().map(|p| format!("{name} gauge {}", number(&p.value))));
                    }
                    Data::Sum(sum) => lines.extend(sum.data_points.iter().map(|p| {
                        let (kind, start) = (sum.aggregation_temporality, p.start_time_unix_nano);
                        let kind = if kind == DELTA { "delta" } else { "cumulative" };
                        let monotonic = if sum.is_monotonic { "counter" } else { "sum" };
                        format!("{name} {monotonic} {kind} from {start}: {}", number(&p.value))
                    })),
                    Data::Histogram(histogram) => lines.extend(histogram.data_points.iter().map(|p| {
                        let kind = if histogram.aggregation_temporality == DELTA { "delta" } else { "cumulative" };
                        format!("{name} histogram {kind} {:?} {:?}", p.bucket_counts, p.sum)
                    })),
                    _ => lines.push("other".to_owned()),
                }
            }
        }
        lines
    }

    fn push(writer: &mut MetricsWriter, telemetry: &Telemetry, now: u64) -> Vec<String> {
        writer.write(&apply_views(&[], telemetry.collect()), &[], now).as_ref().map(lines).unwrap_or_default()
    }

    #[test]
    fn types_units_and_numbers_are_those_that_the_go_collector_pushes() {
        let telemetry = Telemetry::new(MetricsLevel::Detailed);
        let labels = || vec![("exporter", "otlp".to_owned())];
        telemetry.counter(BASIC, "otelcol_exporter_sent_spans", "Sent", labels()).add(3);
        telemetry.gauge(BASIC, "otelcol_exporter_queue_size", "Size", labels()).set(2);
        telemetry.gauge(BASIC, "otelcol_exporter_in_flight_requests", "In flight", labels()).set(1);
        telemetry.float_counter(BASIC, "otelcol_process_uptime", "Uptime", vec![]).set_float(1.5);
        telemetry.counter(BASIC, "otelcore_accept_failures", "Ours", vec![]).add(1);
        let mut writer = MetricsWriter::new(TemporalityPreference::Cumulative, 10);
        let expected = [
            "otelcol_exporter_in_flight_requests [{request}] sum cumulative from 10: 1",
            "otelcol_exporter_queue_size [{batch}] gauge 2",
            "otelcol_exporter_sent_spans [{span}] counter cumulative from 10: 3",
            "otelcol_process_uptime [s] counter cumulative from 10: 1.5",
            "otelcore_accept_failures [] counter cumulative from 10: 1",
        ];
        assert_eq!(push(&mut writer, &telemetry, 20), expected);
        assert_eq!(push(&mut writer, &telemetry, 30), expected);
    }

    #[test]
    fn deltas_are_what_was_counted_since_the_last_push() {
        let telemetry = Telemetry::new(MetricsLevel::Normal);
        let sent = telemetry.counter(BASIC, "otelcol_exporter_sent_spans", "Sent", vec![]);
        let uptime = telemetry.float_counter(BASIC, "otelcol_process_uptime", "Uptime", vec![]);
        let sizes = telemetry.histogram(BASIC, "otelcol_processor_batch_batch_send_size", "S", vec![], &[10.0]);
        let gauge = telemetry.gauge(BASIC, "otelcol_exporter_queue_size", "Size", vec![]);
        for preference in [TemporalityPreference::Delta, TemporalityPreference::LowMemory] {
            let mut writer = MetricsWriter::new(preference, 10);
            let _ = push(&mut writer, &telemetry, 20);
            sent.add(4);
            uptime.set_float(2.0);
            sizes.observe(3.0);
            gauge.set(7);
            let is_delta = preference == TemporalityPreference::Delta;
            let second = push(&mut writer, &telemetry, 30);
            assert!(second.contains(&"otelcol_exporter_sent_spans [{span}] counter delta from 20: 4".to_owned()));
            assert!(second.contains(&"otelcol_exporter_queue_size [{batch}] gauge 7".to_owned()), "{second:?}");
            let sizes = "otelcol_processor_batch_batch_send_size [{unit}] histogram delta [1, 0] Some(3.0)".to_owned();
            assert!(second.contains(&sizes), "{second:?}");
            let uptime_kind = if is_delta { "delta from 20" } else { "cumulative from 10" };
            assert!(second.iter().any(|line| line.contains(&format!("uptime [s] counter {uptime_kind}"))));
            // Counters that have not changed are left out.
            let third = push(&mut writer, &telemetry, 40);
            assert!(third.iter().all(|line| !line.contains("sent_spans") && !line.contains("send_size")), "{third:?}");
        }
    }

    #[test]
    fn nothing_is_written_without_a_point() {
        let mut writer = MetricsWriter::new(TemporalityPreference::Delta, 10);
        assert!(writer.write(&[], &[], 20).is_none());
    }
}
