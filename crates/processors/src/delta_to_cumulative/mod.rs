//! The `deltatocumulative` processor: makes sums and histograms with delta temporality cumulative.
//!
//! The sum of each series is kept until no point has come for `max_stale`. Gauges, summaries and what is cumulative
//! already are not changed.

mod aggregate;
#[cfg(test)]
mod tests;

use std::time::Duration;

use aggregate::{Refusal, Total};
use otelcore_config::{GoDuration, Section, config_struct};
use otelcore_pdata::Signal;
use otelcore_pdata::edit::{
    Descend, Edited, Editor, Keep, MetricMut, OutputLimit, Point, PointMut, ResourceMut, ScopeMut,
};
use otelcore_pdata::views::{MetricData, Temporality};
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Counter, Gauge, MetricsLevel, Payload,
    StartError, Telemetry, WallTime,
};

use crate::edit_processor::{EditProcessor, PayloadEditor};
use crate::owned_metric::CUMULATIVE;
use crate::series::{IdentityHasher, SeriesId, SeriesTable};

config_struct! {
    /// Makes sums and histograms with delta temporality cumulative.
    #[config(check = Self::check)]
    pub struct DeltaToCumulativeConfig {
        /// The time without a point after which a series is forgotten.
        #[config(above(GoDuration::ZERO, "max_stale must be a positive duration"))]
        pub max_stale: Duration = Duration::from_secs(300),
        /// How many series are kept at most. Points of further ones are dropped.
        pub max_streams: i64 = i64::MAX,
    }
}

impl DeltaToCumulativeConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.max_streams < 0 {
            s.error("max_streams", format!("max_streams must be a positive number (got {})", self.max_streams));
        }
    }
}

/// Makes `deltatocumulative` processors.
#[derive(Clone, Copy, Debug)]
pub struct DeltaToCumulativeFactory;

impl ComponentType for DeltaToCumulativeFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "deltatocumulative",
        aliases: &[],
        signals: &[Signal::Metrics],
        stability: "Alpha",
    };
    type Config = DeltaToCumulativeConfig;

    fn create(&self, config: &DeltaToCumulativeConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let metrics = Metrics::new(context.telemetry, &context.id.to_string(), config);
        let (budget, max_stale) = (context.budget.clone(), config.max_stale);
        let max_streams = usize::try_from(config.max_streams).unwrap_or(usize::MAX);
        let new_editor = move |now: WallTime, random| DeltaToCumulative {
            max_stale,
            max_streams,
            series: SeriesTable::new(&budget, random),
            hasher: IdentityHasher::new(random),
            now: now.0,
            metrics: metrics.clone(),
            counts: [0; Refusal::NAMES.len()],
            resource: 0,
            scope: 0,
            metric: 0,
        };
        Ok(Component::Processor(Box::new(EditProcessor::new(new_editor))))
    }
}

/// How often old series are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
struct Metrics {
    telemetry: Telemetry,
    /// By [`Refusal`]; the first one is of points that are passed on.
    points: [Option<Counter>; Refusal::NAMES.len()],
    tracked: Gauge,
}

impl Metrics {
    fn new(telemetry: &Telemetry, id: &str, config: &DeltaToCumulativeConfig) -> Self {
        let gauge = |name, help| telemetry.gauge(MetricsLevel::Normal, name, help, vec![("processor", id.to_owned())]);
        gauge(
            "otelcol_deltatocumulative_streams_max_stale",
            "duration after which streams inactive streams are dropped [Development]",
        )
        .set(config.max_stale.as_secs());
        gauge("otelcol_deltatocumulative_streams_limit", "upper limit of tracked streams [Development]")
            .set(u64::try_from(config.max_streams).unwrap_or(0));
        let tracked = gauge("otelcol_deltatocumulative_streams_tracked", "number of streams tracked [Development]");
        Self { telemetry: telemetry.clone(), points: Default::default(), tracked }
    }

    fn add(&mut self, counts: &mut [u64; Refusal::NAMES.len()]) {
        for ((error, counter), count) in Refusal::NAMES.iter().zip(&mut self.points).zip(counts) {
            if *count == 0 {
                continue;
            }
            let new = || {
                let labels = if error.is_empty() { Vec::new() } else { vec![("error", (*error).to_owned())] };
                let help = "total number of datapoints processed. may have 'error' attribute, if processing failed [Development]";
                self.telemetry.counter(MetricsLevel::Normal, "otelcol_deltatocumulative_datapoints", help, labels)
            };
            counter.get_or_insert_with(new).add(std::mem::take(count));
        }
    }
}

/// Converts the points of one pipeline.
struct DeltaToCumulative {
    max_stale: Duration,
    max_streams: usize,
    series: SeriesTable<Total>,
    hasher: IdentityHasher,
    /// Nanoseconds since the epoch.
    now: u64,
    metrics: Metrics,
    /// Points that are not in `metrics` yet.
    counts: [u64; Refusal::NAMES.len()],
    /// Of the resource, the scope and the metric that are visited.
    resource: SeriesId,
    scope: SeriesId,
    metric: SeriesId,
}

impl DeltaToCumulative {
    fn count(&mut self, refusal: Refusal) {
        if let Some(count) = self.counts.get_mut(refusal as usize) {
            *count += 1;
        }
    }
}

impl PayloadEditor for DeltaToCumulative {
    const DROP_REASON: &'static str = "not_accumulated";

    fn set_time(&mut self, now: WallTime) {
        self.now = now.0;
    }

    fn begin(&mut self, _: &Payload) {}

    fn output_limit(&self, payload: &Payload) -> OutputLimit {
        // A point may get the buckets of all points before it.
        let limit = OutputLimit::default();
        let per_item = 20 * aggregate::MAX_BUCKETS as usize;
        OutputLimit { extra: limit.extra.saturating_add((payload.items() as usize).saturating_mul(per_item)), ..limit }
    }

    fn cost_per_byte(&self) -> u64 {
        20
    }

    fn end(&mut self, _: Option<&Edited>) {
        self.metrics.add(&mut self.counts);
        self.metrics.tracked.set(self.series.len() as u64);
    }

    fn expiry_interval(&self) -> Option<Duration> {
        Some(EXPIRY_INTERVAL)
    }

    fn expire(&mut self, now: WallTime) -> bool {
        let max_stale = u64::try_from(self.max_stale.as_nanos()).unwrap_or(u64::MAX);
        self.series.expire(|total| now.0.saturating_sub(total.seen) > max_stale)
    }
}

impl Editor for DeltaToCumulative {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        self.resource = self.hasher.hash_set(resource.view().attributes().map(|attribute| attribute.raw));
        Descend::Children
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        let view = scope.view();
        let attributes = self.hasher.hash_set(view.attributes().map(|attribute| attribute.raw));
        self.scope = self.hasher.join(&[self.hasher.hash(&[view.name, view.version]), attributes], &[]);
        Descend::Children
    }

    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        let view = metric.view();
        let (temporality, kind, is_monotonic) = match view.data {
            MetricData::Sum(sum) => (sum.temporality, 1, sum.is_monotonic),
            MetricData::Histogram(histogram) => (histogram.temporality, 2, true),
            MetricData::ExponentialHistogram(histogram) => (histogram.temporality, 3, true),
            MetricData::Empty | MetricData::Gauge(_) | MetricData::Summary(_) => return Descend::Skip,
        };
        if temporality != Temporality::Delta {
            return Descend::Skip;
        }
        let of_metric = self.hasher.hash(&[view.name, view.unit]);
        self.metric = self.hasher.join(&[self.resource, self.scope, of_metric], &[kind, u64::from(is_monotonic)]);
        metric.set_temporality(CUMULATIVE);
        Descend::Children
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        let (start, time) = match point.view() {
            Point::Number(view) => (view.start_time_unix_nano, view.time_unix_nano),
            Point::Histogram(view) => (view.start_time_unix_nano, view.time_unix_nano),
            Point::ExponentialHistogram(view) => (view.start_time_unix_nano, view.time_unix_nano),
            Point::Summary(_) => return Keep::Keep,
        };
        let Some(next) = Total::read(start, time, self.now, point) else { return Keep::Keep };
        let attributes = self.hasher.hash_set(point.attributes().iter().map(|attribute| attribute.raw));
        let id = self.hasher.join(&[self.metric, attributes], &[]);
        let mut next = Some(next);
        let result = self.series.update(id, |total| {
            let result = next.take().map_or(Ok(()), |next| total.add(next));
            result.map(|()| {
                point.set_start_time_unix_nano(total.start);
                total.write(point);
            })
        });
        let refusal = match (result, next) {
            (Some(Ok(())), _) => Refusal::None,
            (Some(Err(refusal)), _) => refusal,
            (None, Some(next)) if self.series.len() < self.max_streams && self.series.has_room() => {
                self.series.insert(id, next);
                Refusal::None
            }
            (None, _) => Refusal::Limit,
        };
        self.count(refusal);
        if refusal == Refusal::None { Keep::Keep } else { Keep::Drop }
    }
}
