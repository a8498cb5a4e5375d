//! Reads bodies into series, in steps.
//!
//! An [`Intake`] is a body and the position up to which it has been read. [`Registry::take_step`] continues from there
//! until the work of a step is done; at most one point is read between two checks of the work.

use std::ops::Range;

use otelcore_pdata::views::{
    Data, ExponentialHistogramPoint, HistogramPoint, Metric, NumberPoint, Repeated, ResourceMetrics, ScopeMetrics,
    SummaryPoint, Temporality, View,
};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{Mono, Payload};

use crate::identity::{Sorted, is_same, put_attributes, put_scope, put_target, sort};
use crate::names::{MAX_NAME, Shape};
use crate::reading::{MAX_BUCKETS, Point};
use crate::registry::{Identity, NONE, Registry, Source, type_byte};
use crate::report::Reason;
use crate::work::Work;

/// Units of work for a field: reading its tag and length.
const FIELD: u64 = 40;
/// Units of work for a metric: its look-up and its parts.
const METRIC: u64 = 200;
/// Units of work for a point of a known series.
const POINT: u64 = 250;

/// A range of bytes in a part of the body.
type Place = Range<usize>;

/// A body that is being read.
#[derive(Debug)]
pub struct Intake {
    body: Rope,
    part: usize,
    /// Entries of the part that have not been read; at first all.
    entries: Option<Place>,
    entry: Option<InEntry>,
    scope: Option<InScope>,
    metric: Option<InMetric>,
    /// The identity up to the metric.
    stem: Vec<u8>,
    attributes: Vec<u8>,
}

/// The position within the metrics of one resource.
#[derive(Debug)]
struct InEntry {
    scopes: Place,
    resource: usize,
    /// Length of the stem.
    stem: usize,
    refused: Option<Reason>,
}

/// The position within the metrics of one scope.
#[derive(Debug)]
struct InScope {
    metrics: Place,
    stem: usize,
    refused: Option<Reason>,
    /// The stream of the previous metric.
    before: Option<usize>,
}

/// The position within one metric.
#[derive(Debug)]
struct InMetric {
    name: Place,
    unit: Place,
    help: Place,
    points: Place,
    kind: PointKind,
    shape: Shape,
    temporality: Temporality,
    refused: Option<Reason>,
    /// The series of the previous point.
    before: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum PointKind {
    Number,
    Histogram,
    Exponential,
    Summary,
}

/// The range of `piece` in `part`. An empty range if `piece` is in another buffer.
fn locate(part: &[u8], piece: &[u8]) -> Place {
    let start = piece.as_ptr().addr().wrapping_sub(part.as_ptr().addr());
    if start <= part.len() && piece.len() <= part.len() - start { start..start + piece.len() } else { 0..0 }
}

fn at<'a>(part: &'a [u8], place: &Place) -> &'a [u8] {
    part.get(place.clone()).unwrap_or_default()
}

/// The next message with field number `number` in the rest at `place`; `place` is advanced past it.
fn next<'a, V: View<'a>>(part: &'a [u8], place: &mut Place, number: u32) -> Option<V> {
    let mut rest = Repeated::<V>::new(at(part, place), number);
    let found = rest.next();
    place.start = place.end - rest.rest().len().min(place.len());
    found
}

impl Intake {
    /// An intake at the beginning of a checked body.
    #[must_use]
    pub fn new(body: Rope) -> Self {
        Self {
            body,
            part: 0,
            entries: None,
            entry: None,
            scope: None,
            metric: None,
            stem: Vec::new(),
            attributes: Vec::new(),
        }
    }
}

impl Registry {
    /// Reads a whole payload of metrics that arrived at `now`; other payloads are ignored. For tests and tools: a loop
    /// reads it in steps with [`Registry::take_step`].
    pub fn push(&mut self, payload: &Payload, now: Mono) {
        if payload.signal == Signal::Metrics {
            self.push_body(&payload.body, now);
        }
    }

    /// The same for a checked body.
    pub fn push_body(&mut self, body: &Rope, now: Mono) {
        let mut intake = Intake::new(body.clone());
        while !self.take_step(&mut intake, now, &mut Work::step()) {}
    }

    /// Continues reading a body until it is read or the work of the step is done. True when it is read.
    pub fn take_step(&mut self, intake: &mut Intake, now: Mono, work: &mut Work) -> bool {
        if intake.stem.capacity() == 0 {
            [intake.stem, intake.attributes] = std::mem::take(&mut self.spare);
        }
        while !work.is_spent() {
            let Some(part) = intake.body.parts().get(intake.part) else {
                self.spare = [std::mem::take(&mut intake.stem), std::mem::take(&mut intake.attributes)];
                return true;
            };
            let part: &[u8] = &part.bytes;
            if let Some(metric) = &mut intake.metric {
                let (Some(entry), Some(scope)) = (&intake.entry, &mut intake.scope) else {
                    intake.metric = None;
                    continue;
                };
                let mut reader = Reader { part, metric, stem: &intake.stem, attributes: &mut intake.attributes };
                let ended = match reader.metric.kind {
                    PointKind::Number => reader.points::<NumberPoint<'_>>(self, entry, scope, now, work),
                    PointKind::Histogram => reader.points::<HistogramPoint<'_>>(self, entry, scope, now, work),
                    PointKind::Summary => reader.points::<SummaryPoint<'_>>(self, entry, scope, now, work),
                    PointKind::Exponential => reader.refuse::<ExponentialHistogramPoint<'_>>(self, work),
                };
                if ended {
                    intake.metric = None;
                }
            } else if let Some(scope) = &mut intake.scope {
                match next::<Metric<'_>>(part, &mut scope.metrics, 2) {
                    Some(metric) => {
                        work.spend(METRIC + metric.raw.len() as u64 / 8);
                        intake.stem.truncate(scope.stem);
                        intake.metric = begin(part, &metric, scope, &mut intake.stem);
                    }
                    None => intake.scope = None,
                }
            } else if let Some(entry) = &mut intake.entry {
                match next::<ScopeMetrics<'_>>(part, &mut entry.scopes, 2) {
                    Some(metrics) => {
                        work.spend(FIELD + metrics.raw.len() as u64 / 8);
                        intake.stem.truncate(entry.stem);
                        let large = put_scope(&mut intake.stem, &metrics).is_err();
                        intake.scope = Some(InScope {
                            metrics: locate(part, metrics.raw),
                            stem: intake.stem.len(),
                            refused: entry.refused.or_else(|| large.then_some(Reason::TooLarge)),
                            before: None,
                        });
                    }
                    None => {
                        self.resources.unpin(entry.resource, &mut self.kept);
                        intake.entry = None;
                    }
                }
            } else {
                let entries = intake.entries.get_or_insert(0..part.len());
                match next::<ResourceMetrics<'_>>(part, entries, 1) {
                    Some(metrics) => intake.entry = Some(self.enter(part, &metrics, &mut intake.stem, work)),
                    None => {
                        intake.part += 1;
                        intake.entries = None;
                    }
                }
            }
        }
        false
    }

    /// Releases the resource that is in use by a body that is not read to its end.
    pub fn give_up(&mut self, intake: &Intake) {
        if let Some(entry) = &intake.entry {
            self.resources.unpin(entry.resource, &mut self.kept);
        }
    }

    fn enter(&mut self, part: &[u8], metrics: &ResourceMetrics<'_>, stem: &mut Vec<u8>, work: &mut Work) -> InEntry {
        let raw = metrics.resource.raw;
        work.spend(FIELD + (metrics.raw.len() + raw.len()) as u64 / 8);
        let (resource, is_new) = self.resources.pin(raw, &self.settings, &mut self.kept);
        if is_new {
            work.spend(1000 + 8 * raw.len() as u64 + 50 * self.resources.index.take_moved());
        }
        stem.clear();
        let found = self.resources.get(resource);
        if let Some(found) = found {
            put_target(stem, found.job.as_deref(), found.instance.as_deref());
        }
        InEntry {
            scopes: locate(part, metrics.raw),
            resource,
            stem: stem.len(),
            refused: found.is_some_and(|r| r.too_large).then_some(Reason::TooLarge),
        }
    }
}

/// Begins a metric: returns its data that is kept between steps. None if it has no data.
fn begin(part: &[u8], metric: &Metric<'_>, scope: &InScope, stem: &mut Vec<u8>) -> Option<InMetric> {
    use PointKind::{Exponential, Histogram, Number, Summary};
    let cumulative = Temporality::Cumulative;
    let (kind, shape, temporality, raw, reason) = match metric.data {
        Data::Empty => return None,
        Data::Gauge(gauge) => (Number, Shape::Gauge, cumulative, gauge.raw, None),
        Data::Sum(sum) => {
            let shape = if sum.is_monotonic { Shape::Counter } else { Shape::UpDownCounter };
            let reason = match (sum.temporality, sum.is_monotonic) {
                (Temporality::Unspecified, _) => Some(Reason::Temporality),
                (Temporality::Delta, false) => Some(Reason::DeltaUpDown),
                _ => None,
            };
            (Number, shape, sum.temporality, sum.raw, reason)
        }
        Data::Histogram(histogram) => (Histogram, Shape::Histogram, histogram.temporality, histogram.raw, None),
        Data::Summary(summary) => (Summary, Shape::Summary, cumulative, summary.raw, None),
        Data::ExponentialHistogram(histogram) => {
            (Exponential, Shape::Histogram, cumulative, histogram.raw, Some(Reason::ExponentialHistogram))
        }
    };
    let too_large = metric.name.len() > MAX_NAME || metric.unit.len() > MAX_NAME;
    let refused = reason.or(scope.refused).or_else(|| too_large.then_some(Reason::TooLarge));
    if refused.is_none() {
        stem.push(type_byte(shape));
        stem.extend_from_slice(metric.name);
    }
    Some(InMetric {
        name: locate(part, metric.name),
        unit: locate(part, metric.unit),
        help: locate(part, metric.description),
        points: locate(part, raw),
        kind,
        shape,
        temporality,
        refused,
        before: None,
    })
}

/// A metric with the part of the body it is in.
struct Reader<'a> {
    part: &'a [u8],
    metric: &'a mut InMetric,
    stem: &'a [u8],
    attributes: &'a mut Vec<u8>,
}

impl<'a> Reader<'a> {
    /// Counts points that are dropped. True at the end of the metric.
    fn refuse<P: View<'a>>(&mut self, registry: &mut Registry, work: &mut Work) -> bool {
        let reason = self.metric.refused.unwrap_or(Reason::ExponentialHistogram);
        let mut count = 0;
        let mut ended = false;
        while !work.is_spent() && !ended {
            work.spend(FIELD);
            match next::<P>(self.part, &mut self.metric.points, 1) {
                Some(_) => count += 1,
                None => ended = true,
            }
        }
        if count > 0 {
            registry.report.count(reason, count);
            registry.say_dropped(reason, at(self.part, &self.metric.name));
        }
        ended
    }

    /// Adds points to series. True at the end of the metric.
    fn points<P: Point<'a>>(
        &mut self,
        registry: &mut Registry,
        entry: &InEntry,
        scope: &mut InScope,
        now: Mono,
        work: &mut Work,
    ) -> bool {
        if self.metric.refused.is_some() {
            return self.refuse::<P>(registry, work);
        }
        let mut source = Source {
            name: at(self.part, &self.metric.name),
            unit: at(self.part, &self.metric.unit),
            help: at(self.part, &self.metric.help),
            shape: self.metric.shape,
            temporality: self.metric.temporality,
            resource: entry.resource,
            now,
            stream: None,
        };
        registry.find_stream(&mut source, self.stem, scope.before);
        let mut sorted = Sorted::new();
        let mut points = Repeated::<P>::new(at(self.part, &self.metric.points), 1);
        let ended = loop {
            if work.is_spent() {
                break false;
            }
            let Some(point) = points.next() else { break true };
            work.spend(POINT + point.raw().len() as u64);
            self.metric.before = self.point(registry, &mut source, &point, &mut sorted, work);
        };
        self.metric.points.start = self.metric.points.end - points.rest().len().min(self.metric.points.len());
        scope.before = source.stream;
        ended
    }

    /// Takes one point, and returns the series that is probably before that of the next point.
    fn point<P: Point<'a>>(
        &mut self,
        registry: &mut Registry,
        source: &mut Source<'_>,
        point: &P,
        sorted: &mut Sorted<'a>,
        work: &mut Work,
    ) -> Option<usize> {
        let before = self.metric.before;
        let large = point.raw().len() > MAX_BUCKETS && point.buckets() > MAX_BUCKETS;
        if sort(sorted, point.attributes()).is_err() || large {
            registry.report.count(Reason::TooLarge, 1);
            registry.say_dropped(Reason::TooLarge, source.name);
            return before;
        }
        // Senders keep their points in order, so the guess from the last time is nearly always right.
        let guess = match (before, source.stream) {
            (Some(slot), _) => registry.series.get(slot).map_or(NONE, |s| s.next),
            (None, Some(stream)) => registry.streams.get(stream).map_or(NONE, |s| s.first),
            (None, None) => NONE,
        };
        let over = registry.resources.get(source.resource).map_or(&[][..], |r| &r.copied);
        let fits = registry
            .series
            .get(guess)
            .is_some_and(|s| Some(s.stream) == source.stream && is_same(&s.attributes, sorted));
        let found = if over.is_empty() && fits {
            Some(guess)
        } else {
            self.attributes.clear();
            put_attributes(self.attributes, sorted, over);
            source.stream.and_then(|stream| registry.find(stream, self.attributes))
        };
        match found {
            // No recorded value: the source reports that the series has ended.
            Some(slot) if point.flags() & 1 != 0 => {
                registry.remove(slot, work);
                // The stream is removed with its last series.
                let stays = |id: &usize| registry.streams.get(*id).is_some_and(|s| *s.stem == *self.stem);
                source.stream = source.stream.filter(stays);
                before
            }
            None if point.flags() & 1 != 0 => before,
            None if !registry.kept.has_room() => {
                registry.refused += 1;
                registry.report.count(Reason::Memory, 1);
                before
            }
            Some(slot) => {
                registry.update(slot, source, point, work);
                if slot != guess {
                    registry.foresee(before, source, slot);
                }
                Some(slot)
            }
            None => {
                let identity = Identity { stem: self.stem, attributes: self.attributes };
                let slot = registry.add(source, point.first(), identity, work);
                registry.foresee(before, source, slot);
                Some(slot)
            }
        }
    }
}
