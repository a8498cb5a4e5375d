//! The series: points in, pages out.
//!
//! A *stream* is everything of a series' identity but the attributes of its points; it carries the translated name. A
//! known stream costs one look-up for each metric, a known series one for each point. No sockets, no clock: the time
//! of arrival is an argument, and expiry compares nothing else.

use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use otelcore_exposition::{Accept, Kind, compare_blocks, put_histogram, put_sample, put_summary};
use otelcore_pdata::views::{Data, Metric, Repeated, ResourceMetrics, ScopeMetrics, Temporality, entries};
use otelcore_pdata::{Rope, Signal};
use std::sync::Arc;

use otelcore_pipeline::{Budget, Kept, Level, Mono, Payload};
use slab::Slab;

use crate::config::PageSettings;
use crate::families::{Families, Family};
use crate::identity::{Pairs, Sorted, Stem, is_same, put_attributes, put_scope, put_target, sort};
use crate::labels::{label_name, series_block};
use crate::names::{Shape, metric_name};
use crate::reading::{Point, Reading, Value, Verdict, sample};
use crate::report::{Reason, Report};
use crate::resources::Resources;

/// No series, no stream.
const NONE: usize = usize::MAX;

pub(crate) const TARGET_HELP: &[u8] = b"Target metadata";

/// Nothing could be gathered and something went wrong: the text of a page with status 500.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("An error has occurred while serving metrics:\n\n{0}\n")]
pub struct GatherError(String);

/// One series.
pub(crate) struct Series {
    /// Counts up; tells it from an earlier one in the same slot, and who came first.
    pub(crate) seq: u64,
    hash: u64,
    stream: usize,
    shape: Shape,
    resource: usize,
    /// Where it is attached; none if it has no name or a label that can't be.
    pub(crate) family: Option<usize>,
    /// Description of its metric when it was attached.
    pub(crate) help: Rc<[u8]>,
    /// What keeps it from being shown.
    pub(crate) fault: Option<Reason>,
    arrived: Mono,
    attributes: Box<[u8]>,
    pub(crate) block: Box<[u8]>,
    pub(crate) labels: usize,
    /// The series whose point came after this one's last time.
    next: usize,
    reading: Reading,
}

impl Series {
    /// Bytes charged for it, but for its reading: itself, its places in the index, in its family and on the page.
    fn cost(&self) -> u64 {
        let places = 4 * size_of::<usize>() + size_of::<(usize, u64)>() + size_of::<crate::families::Shown>();
        (size_of::<Self>() + places) as u64 + allocated(self.attributes.len()) + allocated(self.block.len())
    }

    pub(crate) fn kind(&self) -> Kind {
        kind(self.shape)
    }
}

fn kind(shape: Shape) -> Kind {
    match shape {
        Shape::Gauge | Shape::UpDownCounter => Kind::Gauge,
        Shape::Counter => Kind::Counter,
        Shape::Histogram => Kind::Histogram,
        Shape::Summary => Kind::Summary,
    }
}

/// Type in the identity: whether a sum is monotonic is no part of it.
fn type_byte(shape: Shape) -> u8 {
    match shape {
        Shape::Gauge => 1,
        Shape::Counter | Shape::UpDownCounter => 2,
        Shape::Histogram => 3,
        Shape::Summary => 4,
    }
}

/// The series of one metric of one scope of one job and instance.
struct Stream {
    hash: u64,
    /// The identity without attributes.
    stem: Box<[u8]>,
    shape: Shape,
    unit: Box<[u8]>,
    help: Rc<[u8]>,
    family: Option<usize>,
    series: u64,
    /// The series whose point came first, and the stream that came next, last time.
    first: usize,
    next: usize,
}

impl Stream {
    /// Bytes charged for it.
    fn cost(&self) -> u64 {
        let texts = [self.stem.len(), self.unit.len(), self.help.len()];
        (size_of::<Self>() + 4 * size_of::<usize>()) as u64 + texts.into_iter().map(allocated).sum::<u64>()
    }
}

/// Buffers that are kept.
#[derive(Default)]
struct Scratch {
    stem: Vec<u8>,
    attributes: Vec<u8>,
    /// The stream of the metric before, in the same scope.
    before: Option<usize>,
}

/// A metric while its points are read.
struct Source<'a> {
    name: &'a [u8],
    unit: &'a [u8],
    help: &'a [u8],
    shape: Shape,
    temporality: Temporality,
    resource: usize,
    now: Mono,
    stream: Option<usize>,
}

/// All series of one exporter.
pub struct Registry {
    settings: PageSettings,
    expiration: u64,
    hasher: FixedState,
    index: HashTable<usize>,
    series: Slab<Series>,
    stream_index: HashTable<usize>,
    streams: Slab<Stream>,
    resources: Resources,
    families: Families,
    target_name: Box<[u8]>,
    report: Report,
    scratch: Scratch,
    next: u64,
    /// Bytes of the last page.
    page: usize,
    /// The charge for everything that is kept here.
    kept: Kept,
    /// Points of new series that found no room since [`Registry::take_refused`].
    refused: u64,
}

/// What an allocation costs beyond its bytes.
const ALLOCATION: u64 = 16;

/// Bytes that a separate allocation of `len` bytes takes.
pub(crate) fn allocated(len: usize) -> u64 {
    if len == 0 { 0 } else { len as u64 + ALLOCATION }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("series", &self.series.len()).finish_non_exhaustive()
    }
}

impl Registry {
    /// An empty registry. `seed` keeps senders from choosing attributes that collide.
    #[must_use]
    pub fn new(settings: &PageSettings, seed: u64, mut report: Report) -> Self {
        let hasher = FixedState::with_seed(seed);
        let mut target_name = Vec::new();
        if !settings.namespace.is_empty() {
            // By the rule for labels, unlike the names of metrics; so it is in the Go collector.
            match label_name(settings.namespace.as_bytes(), settings.strategy.keeps_utf8()) {
                Ok(namespace) => {
                    target_name = namespace;
                    target_name.push(b'_');
                }
                Err((_, why)) => report.say(Reason::Label, Level::Error, b"namespace", || {
                    format!("the namespace is left out of target_info: {why}")
                }),
            }
        }
        target_name.extend_from_slice(b"target_info");
        Self {
            settings: settings.clone(),
            expiration: u64::try_from(settings.metric_expiration.as_nanos()).unwrap_or(u64::MAX),
            hasher: hasher.clone(),
            index: HashTable::new(),
            series: Slab::new(),
            stream_index: HashTable::new(),
            streams: Slab::new(),
            resources: Resources::new(hasher),
            families: Families::new(settings.send_timestamps),
            target_name: target_name.into(),
            report,
            scratch: Scratch::default(),
            next: 0,
            page: 0,
            kept: Arc::<Budget>::default().keep(0),
            refused: 0,
        }
    }

    /// Charges what it keeps to `budget`. From [`Budget::has_room`] on, points of series that are not known are refused.
    #[must_use]
    pub fn charged_to(mut self, budget: &Arc<Budget>) -> Self {
        self.kept = budget.keep(self.kept.bytes());
        self
    }

    /// Bytes charged for what is kept.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.kept.bytes()
    }

    /// Points that were refused for want of memory since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Takes a payload of metrics that arrived at `now`; others are ignored.
    pub fn push(&mut self, payload: &Payload, now: Mono) {
        if payload.signal == Signal::Metrics {
            self.push_body(&payload.body, now);
        }
    }

    /// The same for a checked body.
    pub fn push_body(&mut self, body: &Rope, now: Mono) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for metrics in entries::<ResourceMetrics<'_>>(body) {
            let resource = self.resources.pin(metrics.resource.raw, &self.settings, &mut self.kept);
            scratch.stem.clear();
            if let Some(found) = self.resources.get(resource) {
                put_target(&mut scratch.stem, found.job.as_deref(), found.instance.as_deref());
            }
            let target = scratch.stem.len();
            for scope in metrics.scope_metrics() {
                scratch.stem.truncate(target);
                self.push_scope(&scope, resource, now, &mut scratch);
            }
            self.resources.unpin(resource, &mut self.kept);
        }
        self.scratch = scratch;
    }

    /// Series that are kept, shown or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// True without any series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// What was not shown, counted.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    fn push_scope(&mut self, metrics: &ScopeMetrics<'_>, resource: usize, now: Mono, scratch: &mut Scratch) {
        put_scope(&mut scratch.stem, metrics);
        let scope = scratch.stem.len();
        scratch.before = None;
        for metric in metrics.metrics() {
            scratch.stem.truncate(scope);
            self.push_metric(&metric, resource, now, scratch);
        }
    }

    fn push_metric(&mut self, metric: &Metric<'_>, resource: usize, now: Mono, scratch: &mut Scratch) {
        let mut source = Source {
            name: metric.name,
            unit: metric.unit,
            help: metric.description,
            shape: Shape::Gauge,
            temporality: Temporality::Cumulative,
            resource,
            now,
            stream: None,
        };
        match metric.data {
            Data::Empty => {}
            Data::Gauge(gauge) => self.push_points(source, gauge.points(), scratch),
            Data::Sum(sum) => {
                source.shape = if sum.is_monotonic { Shape::Counter } else { Shape::UpDownCounter };
                source.temporality = sum.temporality;
                let reason = match (sum.temporality, sum.is_monotonic) {
                    (Temporality::Unspecified, _) => Reason::Temporality,
                    (Temporality::Delta, false) => Reason::DeltaUpDown,
                    _ => return self.push_points(source, sum.points(), scratch),
                };
                self.drop_points(reason, metric.name, sum.points().count());
            }
            Data::Histogram(histogram) => {
                source.shape = Shape::Histogram;
                source.temporality = histogram.temporality;
                self.push_points(source, histogram.points(), scratch);
            }
            Data::Summary(summary) => {
                source.shape = Shape::Summary;
                self.push_points(source, summary.points(), scratch);
            }
            Data::ExponentialHistogram(histogram) => {
                let points = histogram.exponential_points().count();
                self.drop_points(Reason::ExponentialHistogram, metric.name, points);
            }
        }
    }

    fn drop_points(&mut self, reason: Reason, metric: &[u8], points: usize) {
        self.report.count(reason, points as u64);
        if points > 0 {
            self.say_dropped(reason, metric);
        }
    }

    fn say_dropped(&mut self, reason: Reason, metric: &[u8]) {
        let why = match reason {
            Reason::ExponentialHistogram => "exponential histograms are not supported yet",
            Reason::Temporality => "its temporality is neither delta nor cumulative",
            Reason::DeltaUpDown => "a delta sum that is not monotonic can't be accumulated",
            Reason::Misaligned => "delta histogram points overlap",
            // Late points are normal, and are only counted.
            _ => return,
        };
        self.report.say(reason, Level::Warn, metric, || {
            format!("points of metric {:?} are dropped: {why}", String::from_utf8_lossy(metric))
        });
    }

    fn push_points<'a, P: Point<'a>>(
        &mut self,
        mut source: Source<'_>,
        points: Repeated<'a, P>,
        scratch: &mut Scratch,
    ) {
        scratch.stem.push(type_byte(source.shape));
        scratch.stem.extend_from_slice(source.name);
        self.find_stream(&mut source, scratch);
        let mut sorted = Sorted::new();
        let mut before: Option<usize> = None;
        for point in points {
            sort(&mut sorted, point.attributes());
            // Senders keep their points in order, so the series after the last one is nearly always the one.
            let guess = match (before, source.stream) {
                (Some(slot), _) => self.series.get(slot).map_or(NONE, |s| s.next),
                (None, Some(stream)) => self.streams.get(stream).map_or(NONE, |s| s.first),
                (None, None) => NONE,
            };
            let over = self.resources.get(source.resource).map_or(&[][..], |r| &r.copied);
            let fits = |s: &Series| Some(s.stream) == source.stream && is_same(&s.attributes, &sorted);
            let found = if over.is_empty() && self.series.get(guess).is_some_and(fits) {
                Some(guess)
            } else {
                scratch.attributes.clear();
                put_attributes(&mut scratch.attributes, &sorted, over);
                source.stream.and_then(|stream| self.find(stream, &scratch.attributes))
            };
            match found {
                // No recorded value: the source says that the series has ended.
                Some(slot) if point.flags() & 1 != 0 => {
                    self.remove(slot);
                    // The stream goes with its last series.
                    let stays = |id: &usize| self.streams.get(*id).is_some_and(|s| *s.stem == *scratch.stem);
                    source.stream = source.stream.filter(stays);
                }
                None if point.flags() & 1 != 0 => {}
                None if !self.kept.has_room() => {
                    self.refused += 1;
                    self.report.count(Reason::Memory, 1);
                }
                Some(slot) => {
                    self.update(slot, &source, &point);
                    if slot != guess {
                        self.foresee(before, &source, slot);
                    }
                    before = Some(slot);
                }
                None => {
                    let slot = self.add(&mut source, point.first(), scratch);
                    self.foresee(before, &source, slot);
                    before = Some(slot);
                }
            }
        }
        scratch.before = source.stream;
    }

    /// Remembers which series came after `before`, or first.
    fn foresee(&mut self, before: Option<usize>, source: &Source<'_>, slot: usize) {
        if let Some(series) = before.and_then(|slot| self.series.get_mut(slot)) {
            series.next = slot;
        } else if let Some(stream) = source.stream.and_then(|id| self.streams.get_mut(id)) {
            stream.first = slot;
        }
    }

    /// The stream of the stem, if it is known.
    fn find_stream(&mut self, source: &mut Source<'_>, scratch: &Scratch) {
        let same = |id: usize| self.streams.get(id).is_some_and(|s| *s.stem == *scratch.stem);
        let guess = scratch.before.and_then(|id| self.streams.get(id)).map_or(NONE, |s| s.next);
        source.stream = if same(guess) {
            Some(guess)
        } else {
            let found = self.stream_index.find(self.hash(0, &scratch.stem), |id| same(*id)).copied();
            if let (Some(found), Some(before)) = (found, scratch.before.and_then(|id| self.streams.get_mut(id))) {
                before.next = found;
            }
            found
        };
        if let Some(id) = source.stream {
            self.follow(id, source);
        }
    }

    fn hash(&self, first: usize, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_usize(first);
        hasher.write(bytes);
        hasher.finish()
    }

    fn find(&self, stream: usize, attributes: &[u8]) -> Option<usize> {
        let same =
            |slot: &usize| self.series.get(*slot).is_some_and(|s| s.stream == stream && *s.attributes == *attributes);
        self.index.find(self.hash(stream, attributes), same).copied()
    }

    fn update<'a>(&mut self, slot: usize, source: &Source<'_>, point: &impl Point<'a>) {
        let Some(series) = self.series.get_mut(slot) else { return };
        let before = series.reading.cost();
        // Only a point with more buckets than before takes more room.
        if before > 0 && !self.kept.has_room() && point.cost() > before {
            self.refused += 1;
            return self.report.count(Reason::Memory, 1);
        }
        if let Verdict::Refused(reason) = point.update(&mut series.reading, source.temporality) {
            self.report.count(reason, 1);
            return self.say_dropped(reason, source.name);
        }
        let after = series.reading.cost();
        if before != after {
            self.kept.grow(after);
            self.kept.shrink(before);
        }
        series.arrived = source.now;
        if let Some(reason) = series.fault {
            self.report.count(reason, 1);
        }
        if series.resource != source.resource {
            let before = std::mem::replace(&mut series.resource, source.resource);
            self.resources.enter(source.resource);
            self.resources.leave(before, &mut self.kept);
        }
        let Some(stream) = self.streams.get(series.stream) else { return };
        let moves = series.family != stream.family || series.shape != stream.shape;
        if moves && !matches!(series.fault, Some(Reason::Label | Reason::DuplicateLabel | Reason::Quantile)) {
            if let Some(family) = series.family {
                self.families.detach(family);
            }
            self.attach(slot);
        }
    }

    /// Puts a series into the family of its stream.
    fn attach(&mut self, slot: usize) {
        let Some(series) = self.series.get_mut(slot) else { return };
        let Some(stream) = self.streams.get(series.stream) else { return };
        series.shape = stream.shape;
        series.help = stream.help.clone();
        series.family = stream.family;
        let joins = (series.seq, series.kind());
        let fault = match stream.family {
            Some(family) => self.families.attach(family, slot, &self.series, joins),
            None => Some(Reason::Name),
        };
        if let Some(series) = self.series.get_mut(slot) {
            series.fault = fault;
        }
    }

    /// A series of an identity that is not known. Gives its slot.
    fn add(&mut self, source: &mut Source<'_>, reading: Reading, scratch: &Scratch) -> usize {
        let stream = match source.stream {
            Some(stream) => stream,
            None => *source.stream.insert(self.add_stream(source, &scratch.stem)),
        };
        let hash = self.hash(stream, &scratch.attributes);
        let attributes = Pairs(&scratch.attributes);
        let is_summary = source.shape == Shape::Summary;
        let block = match Stem::read(&scratch.stem) {
            Some(stem) => series_block(&self.settings, &stem, attributes, source.name, is_summary),
            None => Err((Reason::Label, "identity too large".to_owned())),
        };
        let (block, labels, fault) = match block {
            Ok(block) => (block.bytes, block.labels, None),
            Err((reason, why)) => {
                // Kept all the same: it holds its place in target_info, and is not taken for new at the next point.
                self.report.say(reason, Level::Error, source.name, || {
                    format!("failed to convert metric {}: {why}", String::from_utf8_lossy(source.name))
                });
                (Box::default(), 0, Some(reason))
            }
        };
        let slot = self.series.insert(Series {
            seq: self.next,
            hash,
            stream,
            shape: source.shape,
            resource: source.resource,
            family: None,
            help: Rc::default(),
            fault,
            arrived: source.now,
            attributes: scratch.attributes.as_slice().into(),
            block,
            labels,
            next: NONE,
            reading,
        });
        self.next += 1;
        if let Some(series) = self.series.get(slot) {
            self.kept.grow(series.cost() + series.reading.cost());
        }
        let series = &self.series;
        self.index.insert_unique(hash, slot, |slot| series.get(*slot).map_or(0, |s| s.hash));
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.series += 1;
        }
        self.resources.enter(source.resource);
        if fault.is_none() {
            self.attach(slot);
        }
        if let Some(reason) = self.series.get(slot).and_then(|s| s.fault) {
            self.report.count(reason, 1);
        }
        slot
    }

    fn add_stream(&mut self, source: &Source<'_>, stem: &[u8]) -> usize {
        let hash = self.hash(0, stem);
        let id = self.streams.insert(Stream {
            hash,
            stem: stem.into(),
            shape: source.shape,
            unit: source.unit.into(),
            help: source.help.into(),
            family: None,
            series: 0,
            first: NONE,
            next: NONE,
        });
        self.kept.grow(self.streams.get(id).map_or(0, Stream::cost));
        let streams = &self.streams;
        self.stream_index.insert_unique(hash, id, |id| streams.get(*id).map_or(0, |s| s.hash));
        self.name(id, source);
        id
    }

    /// Takes over unit, kind and description of the newest metric. A series follows when it takes a point.
    fn follow(&mut self, id: usize, source: &Source<'_>) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let renamed = stream.shape != source.shape || *stream.unit != *source.unit;
        let described = *stream.help != *source.help;
        if !renamed && !described {
            return;
        }
        let cost = stream.cost();
        if described {
            stream.help = source.help.into();
        }
        if renamed {
            stream.shape = source.shape;
            stream.unit = source.unit.into();
        }
        self.kept.grow(stream.cost());
        self.kept.shrink(cost);
        if renamed {
            let before = stream.family;
            self.name(id, source);
            if let Some(before) = before {
                self.families.leave(before);
            }
        }
    }

    /// Translates the name of a stream.
    fn name(&mut self, id: usize, source: &Source<'_>) {
        let PageSettings { strategy, namespace, .. } = &self.settings;
        let family = match metric_name(*strategy, namespace, source.name, source.unit, source.shape) {
            Ok(name) => Some(self.families.enter(&name, kind(source.shape), source.help, source.now, &mut self.kept)),
            Err(why) => {
                self.report.say(Reason::Name, Level::Error, source.name, || {
                    let name = String::from_utf8_lossy(source.name);
                    format!("failed to convert metric {name}: normalization for metric {name:?} {why}")
                });
                None
            }
        };
        if let Some(stream) = self.streams.get_mut(id) {
            stream.family = family;
        }
    }

    fn remove(&mut self, slot: usize) {
        let Some(series) = self.series.try_remove(slot) else { return };
        self.kept.shrink(series.cost() + series.reading.cost());
        if let Ok(entry) = self.index.find_entry(series.hash, |at| *at == slot) {
            entry.remove();
        }
        if let Some(family) = series.family {
            self.families.detach(family);
        }
        self.resources.leave(series.resource, &mut self.kept);
        let Some(stream) = self.streams.get_mut(series.stream) else { return };
        stream.series = stream.series.saturating_sub(1);
        if stream.series == 0 {
            let stream = self.streams.remove(series.stream);
            self.kept.shrink(stream.cost());
            if let Ok(entry) = self.stream_index.find_entry(stream.hash, |at| *at == series.stream) {
                entry.remove();
            }
            if let Some(family) = stream.family {
                self.families.leave(family);
            }
        }
    }

    /// Removes the series whose last point is older than `metric_expiration`, and brings the groups up to date.
    pub fn expire(&mut self, now: Mono) {
        let old = |s: &Series| now.0.saturating_sub(s.arrived.0) > self.expiration;
        let gone: Vec<usize> = self.series.iter().filter(|(_, s)| old(s)).map(|(slot, _)| slot).collect();
        for slot in gone {
            self.remove(slot);
        }
        let changed = self.resources.refresh(&self.settings, &mut self.report);
        let targets = (!self.resources.targets().is_empty()).then_some(&*self.target_name);
        let times = (now, self.expiration);
        self.families.refresh(&mut self.series, times, (targets, changed), &mut self.report, &mut self.kept);
    }

    /// The page at `now`, in the format that was agreed on. Today that is always text.
    ///
    /// # Errors
    /// When there is nothing to show because of errors alone.
    pub fn render(&mut self, now: Mono, _: &Accept) -> Result<Vec<u8>, GatherError> {
        self.expire(now);
        let mut out = Vec::with_capacity(self.page + self.page / 8);
        let mut targets = !self.resources.targets().is_empty();
        for (name, family) in self.families.iter().filter(|(_, f)| !f.order.is_empty() && !f.hidden) {
            if targets && *self.target_name <= *name {
                targets = false;
                if *self.target_name == *name {
                    self.render_targets(&mut out, Some(family));
                    continue;
                }
                self.render_targets(&mut out, None);
            }
            self.render_family(&mut out, family);
        }
        if targets {
            self.render_targets(&mut out, None);
        }
        self.families.seen(now);
        self.page = out.len();
        let refused = |s: &&Series| s.fault == Some(Reason::Quantile);
        match self.series.iter().map(|(_, s)| s).find(refused) {
            Some(series) if out.is_empty() => {
                let name = self.streams.get(series.stream).map_or_else(String::new, |s| self.shown_name(s));
                Err(GatherError(format!("collected metric {name:?} must not have an explicit \"quantile\" label")))
            }
            _ => Ok(out),
        }
    }

    fn shown_name(&self, stream: &Stream) -> String {
        let family = stream.family.and_then(|id| self.families.get(id));
        family.map_or_else(String::new, |f| String::from_utf8_lossy(&f.wire).into_owned())
    }

    fn timestamp(&self, series: &Series) -> Option<i64> {
        self.settings.send_timestamps.then(|| series.reading.time.div_euclid(1_000_000))
    }

    fn render_family(&self, out: &mut Vec<u8>, family: &Family) {
        out.extend_from_slice(&family.header);
        let mut order = family.order.iter().peekable();
        while let Some(shown) = order.next() {
            let Some(series) = self.series.get(shown.slot) else { continue };
            if order.peek().is_none_or(|next| !next.twin) {
                self.render_series(out, family, series);
                continue;
            }
            // Series of equal labels. Without timestamps the first is served; with them, one for each timestamp.
            let mut twins = vec![series];
            while let Some(twin) = order.next_if(|next| next.twin) {
                twins.extend(self.series.get(twin.slot));
            }
            twins.sort_by_key(|s| (self.timestamp(s), s.seq));
            twins.dedup_by_key(|s| self.timestamp(s));
            twins.iter().for_each(|s| self.render_series(out, family, s));
        }
    }

    fn render_series(&self, out: &mut Vec<u8>, family: &Family, series: &Series) {
        let at = self.timestamp(series);
        let (name, block) = (&family.wire, &series.block);
        match &series.reading.value {
            Value::Number(v) => put_sample(out, name, block, sample(*v), at),
            Value::Histogram(h) => put_histogram(out, name, block, h.buckets(), (h.sum, h.count), at),
            Value::Summary(s) => put_summary(out, name, block, s.quantiles.iter().copied(), (s.sum, s.count), at),
        }
    }

    /// `target_info`, with the series of a metric that has the same name.
    fn render_targets(&self, out: &mut Vec<u8>, family: Option<&Family>) {
        let mut lines: Vec<(&[u8], usize, Option<&Series>)> =
            self.resources.targets().iter().map(|t| (&*t.bytes, t.labels, None)).collect();
        let shown = family.iter().flat_map(|f| &f.order).filter(|s| !s.twin);
        lines.extend(shown.filter_map(|s| self.series.get(s.slot)).map(|s| (&*s.block, s.labels, Some(s))));
        lines.sort_by(|a, b| compare_blocks((a.0, a.1), (b.0, b.1)));
        lines.dedup_by_key(|l| l.0);
        let mut wire = Vec::new();
        otelcore_exposition::put_underscored(&mut wire, &self.target_name);
        otelcore_exposition::put_family(out, &wire, TARGET_HELP, Kind::Gauge);
        for (block, _, series) in lines {
            match (series, family) {
                (Some(series), Some(family)) => self.render_series(out, family, series),
                _ => put_sample(out, &wire, block, 1.0, None),
            }
        }
    }
}
