//! The series and what they belong to: look-up, creation, update and removal of one series.
//!
//! A *stream* is the identity of a series without the attributes of its points; it has the translated name. A known
//! stream costs one look-up for each metric, a known series one for each point. This module uses no sockets and no
//! clock: the time of arrival is an argument, and expiry compares nothing else. Bodies are read in `intake`, pages are
//! rendered in `page`; nothing here visits all series at once.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::FixedState;
use otelcore_exposition::Kind;
use otelcore_pdata::views::Temporality;
use otelcore_pipeline::{Budget, Kept, Level, Mono};

use crate::config::PageSettings;
use crate::families::{Families, Member, PLACE, Place};
use crate::identity::{Pairs, Stem};
use crate::labels::{label_name, series_block};
use crate::names::{Shape, metric_name};
use crate::reading::{Point, Reading, Verdict};
use crate::report::{Reason, Report};
use crate::resources::Resources;
use crate::slots::{Index, Slots};
use crate::work::Work;

/// The number for "no series" or "no stream".
pub(crate) const NONE: usize = usize::MAX;

pub(crate) const TARGET_HELP: &[u8] = b"Target metadata";

/// Nothing could be gathered and something went wrong: the text of a page with status 500.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("An error has occurred while serving metrics:\n\n{0}\n")]
pub struct GatherError(pub(crate) String);

/// One series.
pub(crate) struct Series {
    /// Increases with each new series, for the order of arrival.
    seq: u64,
    hash: u64,
    pub(crate) stream: usize,
    shape: Shape,
    resource: usize,
    /// The family it is attached to; none if it has no name or an invalid label.
    pub(crate) family: Option<usize>,
    /// The reason in the series itself why it is not shown; its family may have another one.
    pub(crate) fault: Option<Reason>,
    /// An older series of its family has the same labels.
    pub(crate) twin: bool,
    pub(crate) arrived: Mono,
    pub(crate) attributes: Box<[u8]>,
    pub(crate) block: Rc<[u8]>,
    labels: u32,
    /// The series whose point came after the point of this series the last time.
    pub(crate) next: usize,
    pub(crate) reading: Reading,
}

impl Series {
    /// Bytes charged for the series without its reading: the struct, its entries in the index and in its family, and
    /// its attributes and block.
    fn cost(&self) -> u64 {
        (size_of::<Self>() + PLACE + 4 * size_of::<usize>()) as u64
            + allocated(self.attributes.len())
            + allocated(self.block.len())
    }

    pub(crate) fn kind(&self) -> Kind {
        kind(self.shape)
    }

    fn place(&self) -> Place {
        Place { block: self.block.clone(), labels: self.labels }
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

/// The type in the identity: whether a sum is monotonic is not part of it.
pub(crate) fn type_byte(shape: Shape) -> u8 {
    match shape {
        Shape::Gauge => 1,
        Shape::Counter | Shape::UpDownCounter => 2,
        Shape::Histogram => 3,
        Shape::Summary => 4,
    }
}

/// The series of one metric of one scope of one job and instance.
pub(crate) struct Stream {
    hash: u64,
    /// The identity without attributes.
    pub(crate) stem: Box<[u8]>,
    shape: Shape,
    unit: Box<[u8]>,
    help: Rc<[u8]>,
    pub(crate) family: Option<usize>,
    series: u64,
    /// The series whose point came first, and the stream that came next, the last time.
    pub(crate) first: usize,
    pub(crate) next: usize,
}

impl Stream {
    /// Bytes charged for it.
    fn cost(&self) -> u64 {
        let texts = [self.stem.len(), self.unit.len(), self.help.len()];
        (size_of::<Self>() + 4 * size_of::<usize>()) as u64 + texts.into_iter().map(allocated).sum::<u64>()
    }
}

/// A metric while its points are read.
pub(crate) struct Source<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) unit: &'a [u8],
    pub(crate) help: &'a [u8],
    pub(crate) shape: Shape,
    pub(crate) temporality: Temporality,
    pub(crate) resource: usize,
    pub(crate) now: Mono,
    pub(crate) stream: Option<usize>,
}

/// The bytes that identify a series.
#[derive(Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) stem: &'a [u8],
    pub(crate) attributes: &'a [u8],
}

/// All series of one exporter.
pub struct Registry {
    pub(crate) settings: PageSettings,
    pub(crate) expiration: u64,
    hasher: FixedState,
    index: Index,
    pub(crate) series: Slots<Series>,
    stream_index: Index,
    pub(crate) streams: Slots<Stream>,
    pub(crate) resources: Resources,
    pub(crate) families: Families,
    pub(crate) target_name: Rc<[u8]>,
    pub(crate) report: Report,
    /// Reused buffers for identities.
    pub(crate) spare: [Vec<u8>; 2],
    next: u64,
    /// The charge for everything that is kept here.
    pub(crate) kept: Kept,
    /// Points that were refused for lack of memory since [`Registry::take_refused`].
    pub(crate) refused: u64,
    /// No stored point arrived before this.
    pub(crate) oldest: Mono,
    /// The search for expired series, while it runs.
    pub(crate) sweep: Option<Sweep>,
    /// Series that make a page an error if nothing else is on it.
    pub(crate) quantile: BTreeSet<usize>,
}

/// A search for expired series.
pub(crate) struct Sweep {
    pub(crate) part: usize,
    pub(crate) oldest: Mono,
}

/// Bytes that an allocation costs in addition to its content.
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
    /// An empty registry. `seed` prevents senders from choosing attributes whose hashes collide.
    #[must_use]
    pub fn new(settings: &PageSettings, seed: u64, mut report: Report) -> Self {
        let hasher = FixedState::with_seed(seed);
        let mut target_name = Vec::new();
        if !settings.namespace.is_empty() {
            // By the rule for labels, unlike the names of metrics, as in the Go collector.
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
            index: Index::default(),
            series: Slots::default(),
            stream_index: Index::default(),
            streams: Slots::default(),
            resources: Resources::new(hasher),
            families: Families::new(settings.send_timestamps),
            target_name: target_name.into(),
            report,
            spare: Default::default(),
            next: 0,
            kept: Arc::<Budget>::default().keep(0),
            refused: 0,
            oldest: Mono::NEVER,
            sweep: None,
            quantile: BTreeSet::new(),
        }
    }

    /// Charges the kept state to `budget`. When [`Budget::has_room`] is false, points of new series are refused.
    #[must_use]
    pub fn charged_to(mut self, budget: &Arc<Budget>) -> Self {
        self.kept = budget.keep(self.kept.bytes());
        self
    }

    /// Bytes charged for the kept state.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.kept.bytes()
    }

    /// Points that were refused for lack of memory since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Series that are kept, shown or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// True when there is no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.len() == 0
    }

    /// The counts of points that are not shown.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Logs why points of a metric are dropped.
    pub(crate) fn say_dropped(&mut self, reason: Reason, metric: &[u8]) {
        let why = match reason {
            Reason::ExponentialHistogram => "exponential histograms are not supported yet",
            Reason::Temporality => "its temporality is neither delta nor cumulative",
            Reason::DeltaUpDown => "a delta sum that is not monotonic can't be accumulated",
            Reason::Misaligned => "delta histogram points overlap",
            Reason::TooLarge => "more attributes or buckets, or longer ones, than one series can have",
            // Late points are normal, and are only counted.
            _ => return,
        };
        self.report.say(reason, Level::Warn, metric, || {
            format!("points of metric {:?} are dropped: {why}", String::from_utf8_lossy(metric))
        });
    }

    /// Stores that series `slot` came after `before`, or was the first of its stream.
    pub(crate) fn foresee(&mut self, before: Option<usize>, source: &Source<'_>, slot: usize) {
        if let Some(series) = before.and_then(|slot| self.series.get_mut(slot)) {
            series.next = slot;
        } else if let Some(stream) = source.stream.and_then(|id| self.streams.get_mut(id)) {
            stream.first = slot;
        }
    }

    /// The stream of the stem, if it is known. `before` is the stream of the metric before, in the same scope.
    pub(crate) fn find_stream(&mut self, source: &mut Source<'_>, stem: &[u8], before: Option<usize>) {
        let same = |id: usize| self.streams.get(id).is_some_and(|s| *s.stem == *stem);
        let guess = before.and_then(|id| self.streams.get(id)).map_or(NONE, |s| s.next);
        source.stream = if same(guess) {
            Some(guess)
        } else {
            let found = self.stream_index.find(self.hash(0, stem), |id| same(*id));
            if let (Some(found), Some(before)) = (found, before.and_then(|id| self.streams.get_mut(id))) {
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

    pub(crate) fn find(&self, stream: usize, attributes: &[u8]) -> Option<usize> {
        let same =
            |slot: &usize| self.series.get(*slot).is_some_and(|s| s.stream == stream && *s.attributes == *attributes);
        self.index.find(self.hash(stream, attributes), same)
    }

    pub(crate) fn update<'a>(&mut self, slot: usize, source: &Source<'_>, point: &impl Point<'a>, work: &mut Work) {
        let Some(series) = self.series.get_mut(slot) else { return };
        let before = series.reading.cost();
        // Only a point with more buckets than before needs more memory.
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
        let before = std::mem::replace(&mut series.resource, source.resource);
        let (id, family, shape, fault) = (series.stream, series.family, series.shape, series.fault);
        if let Some(reason) = self.fault(slot) {
            self.report.count(reason, 1);
        }
        if before != source.resource {
            self.enter_resource(source.resource);
            self.leave_resource(before);
        }
        let Some(stream) = self.streams.get(id) else { return };
        let moves = family != stream.family || shape != stream.shape;
        if moves && !matches!(fault, Some(Reason::Label | Reason::DuplicateLabel | Reason::Quantile)) {
            self.detach(slot, work);
            self.attach(slot, work);
        }
    }

    /// The reason why a series is not shown, if any.
    #[inline]
    fn fault(&self, slot: usize) -> Option<Reason> {
        let series = self.series.get(slot)?;
        let of_family = || {
            let family = self.families.get(series.family?)?;
            family.fault(series.kind(), series.twin && !self.settings.send_timestamps)
        };
        series.fault.or_else(of_family)
    }

    fn enter_resource(&mut self, resource: usize) {
        let had = self.resources.has_targets();
        self.resources.enter(resource, &self.settings, &mut self.report);
        self.targets_changed(had);
    }

    fn leave_resource(&mut self, resource: usize) {
        let had = self.resources.has_targets();
        self.resources.leave(resource, &self.settings, &mut self.report, &mut self.kept);
        self.targets_changed(had);
    }

    fn targets_changed(&mut self, had: bool) {
        if had != self.resources.has_targets() {
            self.families.targets_changed(&self.target_name);
        }
    }

    fn detach(&mut self, slot: usize, work: &mut Work) {
        let Some(series) = self.series.get_mut(slot) else { return };
        if let Some(family) = series.family.take() {
            let (seq, place, kind) = (series.seq, series.place(), series.kind());
            let member = Member { slot, seq, place, kind, help: &Rc::default() };
            self.families.detach(family, member, &mut self.series, work);
        }
    }

    /// Adds a series to the family of its stream.
    fn attach(&mut self, slot: usize, work: &mut Work) {
        let Some(series) = self.series.get_mut(slot) else { return };
        let Some(stream) = self.streams.get(series.stream) else { return };
        series.shape = stream.shape;
        series.family = stream.family;
        series.fault = if stream.family.is_none() { Some(Reason::Name) } else { None };
        series.twin = false;
        if let Some(family) = stream.family {
            let (seq, place, kind) = (series.seq, series.place(), series.kind());
            let member = Member { slot, seq, place, kind, help: &stream.help };
            self.families.attach(family, member, &mut self.series, &mut self.report, work);
        }
    }

    /// Adds a series with a new identity. Returns its slot.
    pub(crate) fn add(
        &mut self,
        source: &mut Source<'_>,
        reading: Reading,
        identity: Identity<'_>,
        work: &mut Work,
    ) -> usize {
        work.spend(2500 + 8 * (identity.stem.len() + identity.attributes.len()) as u64);
        let stream = match source.stream {
            Some(stream) => stream,
            None => *source.stream.insert(self.add_stream(source, identity.stem, work)),
        };
        let hash = self.hash(stream, identity.attributes);
        let is_summary = source.shape == Shape::Summary;
        let block = match Stem::read(identity.stem) {
            Some(stem) => series_block(&self.settings, &stem, Pairs(identity.attributes), source.name, is_summary),
            None => Err((Reason::Label, "identity too large".to_owned())),
        };
        let (block, labels, fault) = match block {
            Ok(block) => (block.bytes, block.labels, None),
            Err((reason, why)) => {
                // The series is kept nevertheless: its resource stays in target_info, and its next point does not
                // create it again.
                self.report.say(reason, Level::Error, source.name, || {
                    format!("failed to convert metric {}: {why}", String::from_utf8_lossy(source.name))
                });
                (Rc::default(), 0, Some(reason))
            }
        };
        let slot = self.series.insert(Series {
            seq: self.next,
            hash,
            stream,
            shape: source.shape,
            resource: source.resource,
            family: None,
            fault,
            twin: false,
            arrived: source.now,
            attributes: identity.attributes.into(),
            block,
            labels,
            next: NONE,
            reading,
        });
        self.next += 1;
        if let Some(series) = self.series.get(slot) {
            self.kept.grow(series.cost() + series.reading.cost());
        }
        self.oldest = self.oldest.min(source.now);
        if fault == Some(Reason::Quantile) {
            self.quantile.insert(slot);
        }
        let series = &self.series;
        self.index.insert(hash, slot, |slot| series.get(slot).map_or(0, |s| s.hash));
        // Each of them is in another part of memory.
        work.spend(50 * self.index.take_moved());
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.series += 1;
        }
        self.enter_resource(source.resource);
        if fault.is_none() {
            self.attach(slot, work);
        }
        if let Some(reason) = self.fault(slot) {
            self.report.count(reason, 1);
        }
        slot
    }

    fn add_stream(&mut self, source: &Source<'_>, stem: &[u8], work: &mut Work) -> usize {
        work.spend(2500 + 8 * (source.name.len() + source.help.len()) as u64);
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
        self.stream_index.insert(hash, id, |id| streams.get(id).map_or(0, |s| s.hash));
        work.spend(50 * self.stream_index.take_moved());
        self.name(id, source);
        id
    }

    /// Uses unit, kind and description of the newest metric. A series of the stream is updated when it takes a point.
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

    pub(crate) fn remove(&mut self, slot: usize, work: &mut Work) {
        work.spend(2000);
        self.detach(slot, work);
        let Some(series) = self.series.remove(slot) else { return };
        self.kept.shrink(series.cost() + series.reading.cost());
        self.index.remove(series.hash, slot);
        if series.fault == Some(Reason::Quantile) {
            self.quantile.remove(&slot);
        }
        self.leave_resource(series.resource);
        let Some(stream) = self.streams.get_mut(series.stream) else { return };
        stream.series = stream.series.saturating_sub(1);
        if stream.series == 0
            && let Some(stream) = self.streams.remove(series.stream)
        {
            self.kept.shrink(stream.cost());
            self.stream_index.remove(stream.hash, series.stream);
            if let Some(family) = stream.family {
                self.families.leave(family);
            }
        }
    }
}
