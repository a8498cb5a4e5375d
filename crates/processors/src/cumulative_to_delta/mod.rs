//! The `cumulativetodelta` processor: makes monotonic sums and histograms with cumulative temporality deltas.
//!
//! The last point of each series is kept. Gauges, summaries, sums that may decrease and points that are deltas already are
//! not changed.

mod config;
mod convert;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use config::{CumulativeToDeltaConfig, MetricMatchConfig};
use config::{InitialValue, MetricMatcher};
use convert::{Conversion, DropReason, LastPoint};
use otelcore_pdata::Signal;
use otelcore_pdata::edit::{
    Descend, Edited, Editor, Keep, MetricKind, MetricMut, OutputLimit, Point, PointMut, ResourceMut, ScopeMut,
};
use otelcore_pdata::views::{MetricData, Temporality};
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Counter, Gauge, LogField, Logger,
    MetricsLevel, Payload, StartError, Telemetry, WallTime,
};

use crate::edit_processor::{EditProcessor, PayloadEditor};
use crate::owned_metric::{DELTA, NO_RECORDED_VALUE};
use crate::series::{IdentityHasher, SeriesId, SeriesTable};

/// Makes `cumulativetodelta` processors.
#[derive(Clone, Copy, Debug)]
pub struct CumulativeToDeltaFactory;

impl ComponentType for CumulativeToDeltaFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "cumulativetodelta",
        aliases: &[],
        signals: &[Signal::Metrics],
        stability: "Beta",
    };
    type Config = CumulativeToDeltaConfig;

    fn create(&self, config: &CumulativeToDeltaConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let matcher = Arc::new(MetricMatcher::compile(config).map_err(|error| StartError::Config(error.message))?);
        let initial_value = InitialValue::parse(&config.initial_value).unwrap_or_default();
        let max_staleness = config.max_staleness;
        let (budget, log) = (context.budget.clone(), context.log.clone());
        let metrics = Metrics::new(context.telemetry, &context.id.to_string());
        let new_editor = move |now: WallTime, random| CumulativeToDelta {
            matcher: matcher.clone(),
            initial_value,
            max_staleness,
            series: SeriesTable::new(&budget, random),
            hasher: IdentityHasher::new(random),
            started: now.0,
            log: log.clone(),
            is_mismatch_reported: false,
            metrics: metrics.clone(),
            converted: [0; KINDS.len()],
            dropped: [[0; DropReason::ALL.len()]; KINDS.len()],
            resource: 0,
            scope: 0,
            metric: 0,
            kind: 0,
        };
        Ok(Component::Processor(Box::new(EditProcessor::new(new_editor))))
    }
}

/// The kinds of metric that are converted, by their names in metrics of the collector.
const KINDS: [(MetricKind, &str); 3] = [
    (MetricKind::Sum, "sum"),
    (MetricKind::Histogram, "histogram"),
    (MetricKind::ExponentialHistogram, "exponential_histogram"),
];

#[derive(Clone, Debug)]
struct Metrics {
    /// By kind.
    converted: [Counter; KINDS.len()],
    /// By kind and reason.
    dropped: [[Counter; DropReason::ALL.len()]; KINDS.len()],
    tracked: Gauge,
}

impl Metrics {
    fn new(telemetry: &Telemetry, id: &str) -> Self {
        let level = MetricsLevel::Normal;
        let converted = KINDS.map(|(_, kind)| {
            let help = "Number of datapoints converted from cumulative to delta temporality. [Development]";
            telemetry.counter(
                level,
                "otelcol_cumulativetodelta_datapoints",
                help,
                vec![("metric_type", kind.to_owned())],
            )
        });
        let dropped = KINDS.map(|(_, kind)| {
            DropReason::ALL.map(|reason| {
                let labels = vec![("metric_type", kind.to_owned()), ("reason", reason.name().to_owned())];
                let help = "Number of datapoints dropped instead of being converted. [Development]";
                telemetry.counter(level, "otelcol_cumulativetodelta_datapoints_dropped", help, labels)
            })
        });
        let tracked = telemetry.gauge(
            level,
            "otelcol_cumulativetodelta_streams_tracked",
            "Number of metric streams currently tracked in memory for cumulative-to-delta conversion. [Development]",
            vec![("processor", id.to_owned())],
        );
        Self { converted, dropped, tracked }
    }
}

/// Converts the points of one pipeline.
struct CumulativeToDelta {
    matcher: Arc<MetricMatcher>,
    initial_value: InitialValue,
    /// Zero: series are kept for ever.
    max_staleness: Duration,
    series: SeriesTable<LastPoint>,
    hasher: IdentityHasher,
    /// When the processor started.
    started: u64,
    log: Logger,
    /// That buckets differ has been logged.
    is_mismatch_reported: bool,
    metrics: Metrics,
    /// Counts that are not in `metrics` yet.
    converted: [u64; KINDS.len()],
    dropped: [[u64; DropReason::ALL.len()]; KINDS.len()],
    /// Of the resource, the scope and the metric that are visited.
    resource: SeriesId,
    scope: SeriesId,
    metric: SeriesId,
    /// The index of its kind in [`KINDS`].
    kind: usize,
}

impl CumulativeToDelta {
    fn drop_point(&mut self, reason: DropReason) -> Keep {
        if let Some(count) = self.dropped.get_mut(self.kind).and_then(|of_kind| of_kind.get_mut(reason as usize)) {
            *count += 1;
        }
        Keep::Drop
    }

    /// The first point of a series.
    fn convert_first(&mut self, id: SeriesId, last: LastPoint, point: &mut PointMut<'_>, start: u64) -> Keep {
        if !self.series.has_room() {
            return self.drop_point(DropReason::Memory);
        }
        let time = last.time;
        let start = match self.initial_value {
            InitialValue::Auto if start < self.started || time == start => None,
            InitialValue::Auto => Some(start),
            InitialValue::Keep => Some(0),
            InitialValue::Drop => None,
        };
        let Some(start) = start else {
            self.series.insert(id, last);
            return self.drop_point(DropReason::Initial);
        };
        point.set_start_time_unix_nano(start);
        last.value.write(point);
        self.series.insert(id, last);
        self.count_converted();
        Keep::Keep
    }

    fn count_converted(&mut self) {
        if let Some(count) = self.converted.get_mut(self.kind) {
            *count += 1;
        }
    }
}

impl PayloadEditor for CumulativeToDelta {
    const DROP_REASON: &'static str = "no_delta";

    fn begin(&mut self, _: &Payload) {}

    fn output_limit(&self, _: &Payload) -> OutputLimit {
        OutputLimit::default()
    }

    fn cost_per_byte(&self) -> u64 {
        self.matcher.cost_per_byte() + 10
    }

    fn end(&mut self, _: Option<&Edited>) {
        for (counter, count) in self.metrics.converted.iter().zip(&mut self.converted) {
            counter.add(std::mem::take(count));
        }
        let counters = self.metrics.dropped.iter().flatten();
        for (counter, count) in counters.zip(self.dropped.iter_mut().flatten()) {
            counter.add(std::mem::take(count));
        }
        self.metrics.tracked.set(self.series.len() as u64);
    }

    fn expiry_interval(&self) -> Option<Duration> {
        (!self.max_staleness.is_zero()).then_some(self.max_staleness)
    }

    fn expire(&mut self, now: WallTime) -> bool {
        let oldest = now.0.saturating_sub(u64::try_from(self.max_staleness.as_nanos()).unwrap_or(u64::MAX));
        self.series.expire(|last| last.time < oldest)
    }
}

impl Editor for CumulativeToDelta {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        self.resource = self.hasher.hash_set(resource.view().attributes().map(|attribute| attribute.raw));
        Descend::Children
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        let view = scope.view();
        self.scope = self.hasher.hash(&[view.name, view.version]);
        Descend::Children
    }

    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        let view = metric.view();
        let is_cumulative = match view.data {
            MetricData::Sum(sum) => sum.is_monotonic && sum.temporality == Temporality::Cumulative,
            MetricData::Histogram(histogram) | MetricData::ExponentialHistogram(histogram) => {
                histogram.temporality == Temporality::Cumulative
            }
            MetricData::Empty | MetricData::Gauge(_) | MetricData::Summary(_) => false,
        };
        let kind = metric.kind();
        if !is_cumulative || !self.matcher.matches(view.name, kind) {
            return Descend::Skip;
        }
        self.kind = KINDS.iter().position(|(of, _)| *of == kind).unwrap_or(0);
        let of_metric = self.hasher.hash(&[view.name, view.unit]);
        self.metric = self.hasher.join(&[self.resource, self.scope, of_metric], &[self.kind as u64]);
        metric.set_temporality(DELTA);
        Descend::Children
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        let (start, time, flags) = match point.view() {
            Point::Number(view) => (view.start_time_unix_nano, view.time_unix_nano, view.flags),
            Point::Histogram(view) => (view.start_time_unix_nano, view.time_unix_nano, view.flags),
            Point::ExponentialHistogram(view) => (view.start_time_unix_nano, view.time_unix_nano, view.flags),
            Point::Summary(_) => return Keep::Keep,
        };
        if flags & NO_RECORDED_VALUE != 0 {
            return Keep::Drop;
        }
        let Some((last, value_type)) = LastPoint::read(time, point) else { return Keep::Keep };
        let attributes = self.hasher.hash_set(point.attributes().iter().map(|attribute| attribute.raw));
        let id = self.hasher.join(&[self.metric, attributes], &[start, value_type]);
        let mut last = Some(last);
        let conversion = self.series.update(id, |previous| previous.convert(&mut last));
        match conversion {
            None => match last {
                Some(last) => self.convert_first(id, last, point, start),
                None => Keep::Keep,
            },
            Some(Conversion::Delta { start, value }) => {
                point.set_start_time_unix_nano(start);
                value.write(point);
                self.count_converted();
                Keep::Keep
            }
            Some(Conversion::Drop(reason)) => {
                if reason == DropReason::BucketMismatch && !std::mem::replace(&mut self.is_mismatch_reported, true) {
                    let metric = point.metric();
                    let name = String::from_utf8_lossy(metric.name);
                    let fields = [("metric_name", LogField::Str(&name))];
                    self.log
                        .warn("Points in histogram series have different buckets; some data will be dropped", &fields);
                }
                self.drop_point(reason)
            }
        }
    }
}
