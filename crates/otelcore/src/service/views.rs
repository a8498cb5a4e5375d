//! Own metrics as every reader shows them: collected, and changed by the configured views.
//!
//! A view that selects a metric makes a stream of it; a metric that no view selects stays as it is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use otelcore_config::matches_wildcard;
use otelcore_pipeline::{FamilyKind, Labels, MetricFamily, SeriesSample, SeriesValue};

use super::descriptors::{Descriptor, descriptor, is_observable};
use crate::telemetry::{InstrumentType, ViewConfig, ViewSelectorConfig, ViewStreamConfig};

/// A metric and its series.
pub(crate) struct OwnMetric {
    pub(crate) name: Cow<'static, str>,
    pub(crate) help: Cow<'static, str>,
    pub(crate) kind: FamilyKind,
    /// Its numbers are fractions, read from the system.
    pub(crate) is_fractional: bool,
    pub(crate) descriptor: Descriptor,
    /// Sorted by labels.
    pub(crate) samples: Vec<SeriesSample>,
}

impl OwnMetric {
    fn new(family: MetricFamily) -> Self {
        let MetricFamily { name, help, kind, is_fractional, samples } = family;
        let descriptor = descriptor(name);
        Self { name: name.into(), help: help.into(), kind, is_fractional, descriptor, samples }
    }
}

/// Changes metrics by the views. Sorted by name, as `families` are.
pub(crate) fn apply_views(views: &[ViewConfig], families: Vec<MetricFamily>) -> Vec<OwnMetric> {
    let metrics = families.into_iter().map(OwnMetric::new);
    if views.is_empty() {
        return metrics.collect();
    }
    let mut all = Vec::new();
    for metric in metrics {
        let selects =
            |view: &&ViewConfig| view.selector.as_ref().is_some_and(|selector| is_selected(selector, &metric));
        let mut is_viewed = false;
        for view in views.iter().filter(selects) {
            is_viewed = true;
            if view.stream.aggregation.drop.is_none() {
                all.push(stream(&view.stream, &metric));
            }
        }
        if !is_viewed {
            all.push(metric);
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn is_selected(selector: &ViewSelectorConfig, metric: &OwnMetric) -> bool {
    let equals = |wanted: &str, text: &str| wanted.is_empty() || wanted == text;
    let name = &selector.instrument_name;
    let kind = selector.instrument_type;
    (name.is_empty() || matches_wildcard(name.as_bytes(), metric.name.as_bytes()))
        && (kind == InstrumentType::Any || kind == instrument_type(metric))
        && equals(&selector.unit, metric.descriptor.unit)
        && equals(&selector.meter_name, metric.descriptor.scope)
        && equals(&selector.meter_version, "")
        && equals(&selector.meter_schema_url, "")
}

/// The type of the instrument in the Go collector.
fn instrument_type(metric: &OwnMetric) -> InstrumentType {
    let is_observable = is_observable(&metric.name);
    match metric.kind {
        FamilyKind::Histogram => InstrumentType::Histogram,
        FamilyKind::Counter if is_observable || metric.is_fractional => InstrumentType::ObservableCounter,
        FamilyKind::Counter => InstrumentType::Counter,
        FamilyKind::Gauge => match (metric.descriptor.is_up_down_counter, is_observable) {
            (true, true) => InstrumentType::ObservableUpDownCounter,
            (true, false) => InstrumentType::UpDownCounter,
            (false, true) => InstrumentType::ObservableGauge,
            (false, false) => InstrumentType::Gauge,
        },
    }
}

fn stream(config: &ViewStreamConfig, metric: &OwnMetric) -> OwnMetric {
    let named = |new: &str, old: &Cow<'static, str>| match new {
        "" => old.clone(),
        new => Cow::Owned(new.to_owned()),
    };
    let is_sum = metric.kind != FamilyKind::Gauge || metric.descriptor.is_up_down_counter;
    let mut joined: BTreeMap<Labels, SeriesValue> = BTreeMap::new();
    for sample in &metric.samples {
        let kept = sample.labels.iter().filter(|(key, _)| config.attribute_keys.keeps(key));
        let labels: Labels = kept.cloned().collect();
        match joined.get_mut(&labels) {
            Some(value) => join(value, &sample.value, is_sum),
            None => drop(joined.insert(labels, sample.value.clone())),
        }
    }
    OwnMetric {
        name: named(&config.name, &metric.name),
        help: named(&config.description, &metric.help),
        kind: metric.kind,
        is_fractional: metric.is_fractional,
        descriptor: metric.descriptor,
        samples: joined.into_iter().map(|(labels, value)| SeriesSample { labels, value }).collect(),
    }
}

/// Joins another value: by adding it, or, of a gauge, by taking it instead.
fn join(value: &mut SeriesValue, other: &SeriesValue, is_sum: bool) {
    match (value, other) {
        (SeriesValue::Number(value), SeriesValue::Number(other)) => {
            *value = if is_sum { *value + other } else { *other };
        }
        (SeriesValue::Histogram { counts, sum, .. }, SeriesValue::Histogram { counts: more, sum: more_sum, .. }) => {
            counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
            *sum += more_sum;
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use otelcore_config::declare::ConfigItem;
    use otelcore_config::{Diagnostics, Section, from_yaml};
    use otelcore_pipeline::{MetricsLevel, Telemetry};

    use super::*;

    fn views(yaml: &str) -> Vec<ViewConfig> {
        let d = Diagnostics::new();
        let node = from_yaml(&format!("views: {yaml}"), &d).unwrap();
        let views = ViewConfig::read_list(&mut Section::new(Some(&node), "", &d), "views", &[]);
        assert!(d.items().is_empty(), "{:?}", d.items());
        views
    }

    /// `name{labels} value` of each series under these views.
    fn shown(yaml: &str) -> Vec<String> {
        let telemetry = Telemetry::new(MetricsLevel::Detailed);
        let labels = |exporter: &str, other: &str| vec![("exporter", exporter.to_owned()), ("z", other.to_owned())];
        for (exporter, other, value) in [("a", "1", 1), ("a", "2", 2), ("b", "1", 4)] {
            let labels = || labels(exporter, other);
            let basic = MetricsLevel::Basic;
            telemetry.counter(basic, "otelcol_exporter_sent_spans", "Sent", labels()).add(value);
            telemetry.gauge(basic, "otelcol_exporter_queue_size", "Size", labels()).set(value);
            let sizes = telemetry.histogram(basic, "otelcol_processor_batch_batch_send_size", "S", labels(), &[1.0]);
            sizes.observe(value as f64);
        }
        let metrics = apply_views(&views(yaml), telemetry.collect());
        let lines = metrics.iter().flat_map(|metric| {
            metric.samples.iter().map(move |sample| {
                let values: Vec<&str> = sample.labels.iter().map(|(_, value)| value.as_str()).collect();
                let value = match &sample.value {
                    SeriesValue::Number(v) => v.to_string(),
                    SeriesValue::Histogram { counts, sum, .. } => format!("{counts:?} {sum}"),
                };
                format!("{}{{{}}} {value}", metric.name, values.join(","))
            })
        });
        lines.collect()
    }

    #[test]
    fn dropped_metrics_are_left_out_and_others_stay() {
        let drop_all = "[{selector: {instrument_name: 'otelcol_exporter_*'}, stream: {aggregation: {drop: {}}}}]";
        assert!(shown(drop_all).iter().all(|line| line.starts_with("otelcol_processor_batch")));
        assert_eq!(shown(drop_all).len(), 3);
        let by_type = "[{selector: {instrument_type: counter}, stream: {aggregation: {drop: {}}}},
            {selector: {instrument_type: observable_gauge}, stream: {aggregation: {drop: {}}}}]";
        assert_eq!(shown(by_type), shown(drop_all));
        let by_meter = "[{selector: {meter_name: go.opentelemetry.io/collector/exporter/exporterhelper}, stream: {aggregation: {drop: {}}}}]";
        assert_eq!(shown(by_meter), shown(drop_all));
        let no_match = "[{selector: {meter_version: v1}, stream: {aggregation: {drop: {}}}}]";
        assert_eq!(shown(no_match).len(), 9);
    }

    #[test]
    fn points_without_an_attribute_are_joined() {
        let views = "[{selector: {instrument_name: '*'}, stream: {attribute_keys: {excluded: [z]}}}]";
        assert_eq!(
            shown(views),
            [
                "otelcol_exporter_queue_size{a} 2",
                "otelcol_exporter_queue_size{b} 4",
                "otelcol_exporter_sent_spans{a} 3",
                "otelcol_exporter_sent_spans{b} 4",
                "otelcol_processor_batch_batch_send_size{a} [1, 1] 3",
                "otelcol_processor_batch_batch_send_size{b} [0, 1] 4",
            ]
        );
    }

    #[test]
    fn each_view_makes_a_stream_under_its_name() {
        let views = "[{selector: {instrument_name: otelcol_exporter_sent_spans}, stream: {name: sent, attribute_keys: {included: [exporter]}}},
            {selector: {instrument_name: otelcol_exporter_sent_spans}, stream: {name: a_total, attribute_keys: {excluded: [exporter, z]}}},
            {selector: {instrument_type: histogram}, stream: {aggregation: {drop: {}}}}]";
        let sent: Vec<String> =
            shown(views).into_iter().filter(|line| !line.starts_with("otelcol_exporter_queue")).collect();
        assert_eq!(sent, ["a_total{} 7", "sent{a} 3", "sent{b} 4"]);
    }
}
