//! Reads bodies into series, in steps.
//!
//! A [`BodyReader`] is a body and the position up to which it is read. [`SeriesRegistry::read_step`] continues there
//! until the work of a step is done; at most one point is read between two checks of the work.

use std::ops::Range;

use otelcore_pdata::views::{
    ExponentialHistogramPoint, HistogramPoint, Metric, MetricData, NumberPoint, RepeatedMessages, ResourceMetrics,
    ScopeMetrics, SummaryPoint, Temporality, View,
};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{MonotonicTime, Payload};
use otelcore_prometheus_translation::{MAX_NAME_BYTES, OtlpMetricKind};

use crate::dropped_points::DropReason;
use crate::identity::{AttributeBytes, SortedAttributes, is_same, put_job_and_instance, put_scope, sort_attributes};
use crate::registry::{CurrentMetric, NO_ID, SeriesIdentity, SeriesRegistry};
use crate::series_state::{DataPoint, MAX_BUCKETS};
use crate::step_budget::StepBudget;
use crate::stream::type_byte;

/// Units of work for a field: reading its tag and length.
const UNITS_PER_FIELD: u64 = 40;
/// Units of work for a metric: its look-up and its parts.
const UNITS_PER_METRIC: u64 = 200;
/// Units of work for a point of a known series.
const UNITS_PER_POINT: u64 = 250;

/// A range of bytes in a part of the body.
type ByteRange = Range<usize>;

/// A body that is being read.
#[derive(Debug)]
pub struct BodyReader {
    body: Rope,
    part: usize,
    /// Entries of the part that have not been read; at first all.
    entries: Option<ByteRange>,
    entry: Option<EntryPosition>,
    scope: Option<ScopePosition>,
    metric: Option<MetricPosition>,
    /// The identity up to the metric, without the attributes of its points.
    identity_prefix: Vec<u8>,
    attributes: AttributeBytes,
}

/// The position within the metrics of one resource.
#[derive(Debug)]
struct EntryPosition {
    scopes: ByteRange,
    resource: usize,
    /// Length of the identity prefix.
    prefix_len: usize,
    drop_reason: Option<DropReason>,
}

/// The position within the metrics of one scope.
#[derive(Debug)]
struct ScopePosition {
    metrics: ByteRange,
    prefix_len: usize,
    drop_reason: Option<DropReason>,
    /// The stream of the previous metric.
    previous_stream: Option<usize>,
}

/// The position within one metric.
#[derive(Debug)]
struct MetricPosition {
    name: ByteRange,
    unit: ByteRange,
    help: ByteRange,
    points: ByteRange,
    point_kind: PointKind,
    metric_kind: OtlpMetricKind,
    temporality: Temporality,
    drop_reason: Option<DropReason>,
    /// The series of the previous point.
    previous_series: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum PointKind {
    Number,
    Histogram,
    ExponentialHistogram,
    Summary,
}

/// The range of `piece` in `part`. An empty range if `piece` is in another buffer.
fn range_in(part: &[u8], piece: &[u8]) -> ByteRange {
    let start = piece.as_ptr().addr().wrapping_sub(part.as_ptr().addr());
    if start <= part.len() && piece.len() <= part.len() - start { start..start + piece.len() } else { 0..0 }
}

fn bytes_at<'a>(part: &'a [u8], range: &ByteRange) -> &'a [u8] {
    part.get(range.clone()).unwrap_or_default()
}

/// The next message with field number `number` in the rest at `range`; `range` is advanced past it.
fn next_message<'a, V: View<'a>>(part: &'a [u8], range: &mut ByteRange, number: u32) -> Option<V> {
    let mut rest = RepeatedMessages::<V>::new(bytes_at(part, range), number);
    let found = rest.next();
    range.start = range.end - rest.rest().len().min(range.len());
    found
}

impl BodyReader {
    /// A reader at the beginning of a checked body.
    #[must_use]
    pub fn new(body: Rope) -> Self {
        Self {
            body,
            part: 0,
            entries: None,
            entry: None,
            scope: None,
            metric: None,
            identity_prefix: Vec::new(),
            attributes: AttributeBytes::default(),
        }
    }
}

impl SeriesRegistry {
    /// Reads a whole payload of metrics that arrived at `now`; other payloads are ignored. For tests and tools: a loop
    /// reads it in steps with [`SeriesRegistry::read_step`].
    pub fn push(&mut self, payload: &Payload, now: MonotonicTime) {
        if payload.signal == Signal::Metrics {
            self.push_body(&payload.body, now);
        }
    }

    /// The same for a checked body.
    pub fn push_body(&mut self, body: &Rope, now: MonotonicTime) {
        let mut reader = BodyReader::new(body.clone());
        while !self.read_step(&mut reader, now, &mut StepBudget::for_one_step()) {}
    }

    /// Continues reading a body until it is read or the work of the step is done. True when it is read.
    pub fn read_step(&mut self, reader: &mut BodyReader, now: MonotonicTime, budget: &mut StepBudget) -> bool {
        if reader.identity_prefix.capacity() == 0 {
            (reader.identity_prefix, reader.attributes) = std::mem::take(&mut self.spare_buffers);
        }
        while !budget.is_spent() {
            let Some(part) = reader.body.parts().get(reader.part) else {
                self.spare_buffers =
                    (std::mem::take(&mut reader.identity_prefix), std::mem::take(&mut reader.attributes));
                return true;
            };
            let part: &[u8] = &part.bytes;
            if let Some(metric) = &mut reader.metric {
                let (Some(entry), Some(scope)) = (&reader.entry, &mut reader.scope) else {
                    reader.metric = None;
                    continue;
                };
                let mut metric_reader = MetricReader {
                    part,
                    metric,
                    identity_prefix: &reader.identity_prefix,
                    attributes: &mut reader.attributes,
                };
                let is_read = match metric_reader.metric.point_kind {
                    PointKind::Number => metric_reader.read_points::<NumberPoint<'_>>(self, entry, scope, now, budget),
                    PointKind::Histogram => {
                        metric_reader.read_points::<HistogramPoint<'_>>(self, entry, scope, now, budget)
                    }
                    PointKind::Summary => {
                        metric_reader.read_points::<SummaryPoint<'_>>(self, entry, scope, now, budget)
                    }
                    PointKind::ExponentialHistogram => {
                        metric_reader.read_points::<ExponentialHistogramPoint<'_>>(self, entry, scope, now, budget)
                    }
                };
                if is_read {
                    reader.metric = None;
                }
            } else if let Some(scope) = &mut reader.scope {
                match next_message::<Metric<'_>>(part, &mut scope.metrics, 2) {
                    Some(metric) => {
                        budget.charge(UNITS_PER_METRIC + metric.raw.len() as u64 / 8);
                        reader.identity_prefix.truncate(scope.prefix_len);
                        reader.metric = start_metric(part, &metric, scope, &mut reader.identity_prefix);
                    }
                    None => reader.scope = None,
                }
            } else if let Some(entry) = &mut reader.entry {
                match next_message::<ScopeMetrics<'_>>(part, &mut entry.scopes, 2) {
                    Some(metrics) => {
                        budget.charge(UNITS_PER_FIELD + metrics.raw.len() as u64 / 8);
                        reader.identity_prefix.truncate(entry.prefix_len);
                        let too_large = put_scope(&mut reader.identity_prefix, &metrics).is_err();
                        reader.scope = Some(ScopePosition {
                            metrics: range_in(part, metrics.raw),
                            prefix_len: reader.identity_prefix.len(),
                            drop_reason: entry.drop_reason.or_else(|| too_large.then_some(DropReason::TooLarge)),
                            previous_stream: None,
                        });
                    }
                    None => {
                        self.resources.unpin(entry.resource, &mut self.kept);
                        reader.entry = None;
                    }
                }
            } else {
                let entries = reader.entries.get_or_insert(0..part.len());
                match next_message::<ResourceMetrics<'_>>(part, entries, 1) {
                    Some(metrics) => {
                        reader.entry = Some(self.start_entry(part, &metrics, &mut reader.identity_prefix, budget))
                    }
                    None => {
                        reader.part += 1;
                        reader.entries = None;
                    }
                }
            }
        }
        false
    }

    /// Releases the resource that is in use by a body that is not read to its end.
    pub fn abandon(&mut self, reader: &BodyReader) {
        if let Some(entry) = &reader.entry {
            self.resources.unpin(entry.resource, &mut self.kept);
        }
    }

    fn start_entry(
        &mut self,
        part: &[u8],
        metrics: &ResourceMetrics<'_>,
        identity_prefix: &mut Vec<u8>,
        budget: &mut StepBudget,
    ) -> EntryPosition {
        let raw = metrics.resource.raw;
        budget.charge(UNITS_PER_FIELD + (metrics.raw.len() + raw.len()) as u64 / 8);
        let (resource, is_new) = self.resources.pin(raw, &self.config, &mut self.kept);
        if is_new {
            budget.charge(1000 + 8 * raw.len() as u64 + 50 * self.resources.index.take_moved());
        }
        identity_prefix.clear();
        let resource_state = self.resources.get(resource);
        if let Some(found) = resource_state {
            put_job_and_instance(identity_prefix, found.job.as_deref(), found.instance.as_deref());
        }
        EntryPosition {
            scopes: range_in(part, metrics.raw),
            resource,
            prefix_len: identity_prefix.len(),
            drop_reason: resource_state.is_some_and(|r| r.too_large).then_some(DropReason::TooLarge),
        }
    }
}

/// Begins a metric: returns its data that is kept between steps. None if it has no data.
fn start_metric(
    part: &[u8],
    metric: &Metric<'_>,
    scope: &ScopePosition,
    identity_prefix: &mut Vec<u8>,
) -> Option<MetricPosition> {
    use PointKind::{ExponentialHistogram, Histogram, Number, Summary};
    let cumulative = Temporality::Cumulative;
    let (kind, metric_kind, temporality, raw, reason) = match metric.data {
        MetricData::Empty => return None,
        MetricData::Gauge(gauge) => (Number, OtlpMetricKind::Gauge, cumulative, gauge.raw, None),
        MetricData::Sum(sum) => {
            let shape = if sum.is_monotonic { OtlpMetricKind::Counter } else { OtlpMetricKind::UpDownCounter };
            let reason = match (sum.temporality, sum.is_monotonic) {
                (Temporality::Unspecified, _) => Some(DropReason::Temporality),
                (Temporality::Delta, false) => Some(DropReason::DeltaUpDown),
                _ => None,
            };
            (Number, shape, sum.temporality, sum.raw, reason)
        }
        MetricData::Histogram(histogram) => {
            (Histogram, OtlpMetricKind::Histogram, histogram.temporality, histogram.raw, None)
        }
        MetricData::Summary(summary) => (Summary, OtlpMetricKind::Summary, cumulative, summary.raw, None),
        MetricData::ExponentialHistogram(histogram) => {
            (ExponentialHistogram, OtlpMetricKind::Histogram, histogram.temporality, histogram.raw, None)
        }
    };
    let too_large = metric.name.len() > MAX_NAME_BYTES || metric.unit.len() > MAX_NAME_BYTES;
    let refused = reason.or(scope.drop_reason).or_else(|| too_large.then_some(DropReason::TooLarge));
    if refused.is_none() {
        identity_prefix.push(type_byte(metric_kind, matches!(kind, ExponentialHistogram)));
        identity_prefix.extend_from_slice(metric.name);
    }
    Some(MetricPosition {
        name: range_in(part, metric.name),
        unit: range_in(part, metric.unit),
        help: range_in(part, metric.description),
        points: range_in(part, raw),
        point_kind: kind,
        metric_kind,
        temporality,
        drop_reason: refused,
        previous_series: None,
    })
}

/// A metric with the part of the body it is in.
struct MetricReader<'a> {
    part: &'a [u8],
    metric: &'a mut MetricPosition,
    identity_prefix: &'a [u8],
    attributes: &'a mut AttributeBytes,
}

impl<'a> MetricReader<'a> {
    /// Counts points that are dropped. True at the end of the metric.
    fn drop_points<P: View<'a>>(&mut self, registry: &mut SeriesRegistry, budget: &mut StepBudget) -> bool {
        let reason = self.metric.drop_reason.unwrap_or(DropReason::Temporality);
        let mut count = 0;
        let mut is_read = false;
        while !budget.is_spent() && !is_read {
            budget.charge(UNITS_PER_FIELD);
            match next_message::<P>(self.part, &mut self.metric.points, 1) {
                Some(_) => count += 1,
                None => is_read = true,
            }
        }
        if count > 0 {
            registry.dropped.add(reason, count);
            registry.log_dropped(reason, bytes_at(self.part, &self.metric.name));
        }
        is_read
    }

    /// Adds points to series. True at the end of the metric.
    fn read_points<P: DataPoint<'a>>(
        &mut self,
        registry: &mut SeriesRegistry,
        entry: &EntryPosition,
        scope: &mut ScopePosition,
        now: MonotonicTime,
        budget: &mut StepBudget,
    ) -> bool {
        if self.metric.drop_reason.is_some() {
            return self.drop_points::<P>(registry, budget);
        }
        let mut current = CurrentMetric {
            name: bytes_at(self.part, &self.metric.name),
            unit: bytes_at(self.part, &self.metric.unit),
            help: bytes_at(self.part, &self.metric.help),
            metric_kind: self.metric.metric_kind,
            temporality: self.metric.temporality,
            resource: entry.resource,
            now,
            stream: None,
            key_set: None,
        };
        registry.find_stream(&mut current, self.identity_prefix, scope.previous_stream);
        let mut sorted = SortedAttributes::new();
        let mut points = RepeatedMessages::<P>::new(bytes_at(self.part, &self.metric.points), 1);
        let ended = loop {
            if budget.is_spent() {
                break false;
            }
            let Some(point) = points.next() else { break true };
            budget.charge(UNITS_PER_POINT + P::UNITS_PER_BYTE * point.raw().len() as u64);
            self.metric.previous_series = self.read_point(registry, &mut current, &point, &mut sorted, budget);
        };
        self.metric.points.start = self.metric.points.end - points.rest().len().min(self.metric.points.len());
        scope.previous_stream = current.stream;
        ended
    }

    /// Takes one point, and returns the series that is probably before that of the next point.
    fn read_point<P: DataPoint<'a>>(
        &mut self,
        registry: &mut SeriesRegistry,
        current: &mut CurrentMetric<'_>,
        point: &P,
        sorted: &mut SortedAttributes<'a>,
        budget: &mut StepBudget,
    ) -> Option<usize> {
        let previous = self.metric.previous_series;
        let too_large = point.raw().len() > MAX_BUCKETS && point.bucket_count() > MAX_BUCKETS;
        let too_large = too_large || sort_attributes(sorted, point.attributes()).is_err();
        let refused = if too_large { Some(DropReason::TooLarge) } else { point.drop_reason() };
        if let Some(reason) = refused.filter(|_| point.flags() & 1 == 0 || too_large) {
            registry.dropped.add(reason, 1);
            registry.log_dropped(reason, current.name);
            return previous;
        }
        // Senders keep their points in order, so the guess from the last time is nearly always right.
        let expected = match (previous, current.stream) {
            (Some(slot), _) => registry.series.get(slot).map_or(NO_ID, |s| s.expected_next.get()),
            (None, Some(stream)) => registry.streams.get(stream).map_or(NO_ID, |s| s.expected_first),
            (None, None) => NO_ID,
        };
        let overrides = registry.resources.get(current.resource).map_or(&[][..], |r| &r.copied_attributes);
        let matches = registry.series.get(expected).is_some_and(|s| {
            let key_set = registry.series.key_set_of(s).filter(|set| Some(set.stream) == current.stream);
            key_set.is_some_and(|set| is_same(&set.keys, &s.values, sorted))
        });
        let found = if overrides.is_empty() && matches {
            Some(expected)
        } else {
            self.attributes.set(sorted, overrides);
            registry.find(current, self.attributes)
        };
        match found {
            // No recorded value: the source reports that the series has ended.
            Some(slot) if point.flags() & 1 != 0 => {
                registry.remove(slot, budget);
                // The stream and the set of keys are removed with their last series.
                current.key_set = None;
                let is_same_stream =
                    |id: &usize| registry.streams.get(*id).is_some_and(|s| *s.identity_prefix == *self.identity_prefix);
                current.stream = current.stream.filter(is_same_stream);
                previous
            }
            None if point.flags() & 1 != 0 => previous,
            None if !registry.kept.has_room() => {
                registry.refused += 1;
                registry.dropped.add(DropReason::Memory, 1);
                previous
            }
            None if registry.config.max_series.is_some_and(|most| registry.series.len() >= most) => {
                registry.refuse_above_limit(current.name);
                previous
            }
            Some(slot) => {
                registry.update(slot, current, point, budget);
                if slot != expected {
                    registry.set_expected_next(previous, current, slot);
                }
                Some(slot)
            }
            None => {
                let identity = SeriesIdentity { prefix: self.identity_prefix, attributes: self.attributes };
                let slot =
                    registry.add_series(current, point.initial_state(current.keeps_exemplars()), identity, budget);
                registry.set_expected_next(previous, current, slot);
                Some(slot)
            }
        }
    }
}
