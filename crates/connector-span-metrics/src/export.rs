//! One export: all resources in the order of their use, as metrics in payloads of bounded size.
//!
//! A machine that stops after a counted amount of work; spans may be added between two steps. With deltas a resource is
//! taken out of the store before it is written, so that nothing is added to what is written already.

use otelcore_pdata::build::{Body, ScopeMetricsWriter};
use otelcore_pdata::views::AnyValue;
use otelcore_pdata::{Rope, StepBudget};
use otelcore_pipeline::MonotonicTime;

use crate::aggregator::Aggregator;
use crate::config::DurationUnit;
use crate::histogram::Histogram;
use crate::points::{PointParts, put_parts, write_histogram};
use crate::settings::{SCOPE_NAME, Settings};
use crate::store::{GroupId, Resource, Series};
use crate::timestamps::{self, ExportTimes};

/// A payload ends at the first of these bounds.
const MAX_BYTES: usize = 1 << 20;
const MAX_POINTS: usize = 4096;

/// Units of work for a resource, a point, and a series that is looked at.
const WORK_PER_RESOURCE: u64 = 400;
const WORK_PER_POINT: u64 = 400;
const WORK_PER_SERIES: u64 = 60;

/// The numbers of `AggregationTemporality`.
const DELTA: i32 = 1;
const CUMULATIVE: i32 = 2;

/// What is done with a resource, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Calls,
    Durations,
    Events,
    /// What is not needed any more is removed from the series of a group.
    CleanUp(GroupId),
}

impl Stage {
    fn next(self) -> Option<Self> {
        match self {
            Self::Calls => Some(Self::Durations),
            Self::Durations => Some(Self::Events),
            Self::Events => Some(Self::CleanUp(GroupId::Calls)),
            Self::CleanUp(GroupId::Calls) => Some(Self::CleanUp(GroupId::Durations)),
            Self::CleanUp(GroupId::Durations) => Some(Self::CleanUp(GroupId::Events)),
            Self::CleanUp(GroupId::Events) => None,
        }
    }

    /// The group whose series are written.
    fn group(self, settings: &Settings) -> Option<GroupId> {
        match self {
            Self::Calls => Some(GroupId::Calls),
            Self::Durations if settings.histogram.is_none() => None,
            Self::Durations if settings.shares_series => Some(GroupId::Calls),
            Self::Durations => Some(GroupId::Durations),
            Self::Events => settings.has_events.then_some(GroupId::Events),
            Self::CleanUp(_) => None,
        }
    }
}

#[derive(Debug)]
enum Place {
    InStore(u32),
    Removed(Box<Resource>),
}

#[derive(Debug)]
struct Current {
    place: Place,
    stage: Stage,
    /// The series of the stage that is next.
    position: usize,
    /// When it was removed, in nanoseconds since the epoch.
    time: u64,
    /// It is forgotten with this export.
    leaves: bool,
}

/// The state of an export.
#[derive(Debug)]
pub(crate) struct Export {
    /// Counts up from one.
    number: u64,
    /// Counts that were not exported yet are written as they are, and not as zero first.
    is_final: bool,
    /// The last resource in the order of use that was looked at.
    stamp: u64,
    current: Option<Current>,
    /// Counts were written as zero.
    pub(crate) has_withheld: bool,
}

/// The end of a step.
#[derive(Debug)]
pub(crate) enum ExportStep {
    Payload(Rope),
    /// The work is spent.
    Pause,
    Done,
}

impl Export {
    pub(crate) fn new(number: u64, is_final: bool) -> Self {
        Self { number, is_final, stamp: 0, current: None, has_withheld: false }
    }

    /// Writes the next payload, within the work.
    pub(crate) fn step(
        &mut self,
        aggregator: &mut Aggregator,
        (now, wall_nanos): (MonotonicTime, u64),
        work: &mut StepBudget,
    ) -> ExportStep {
        let mut body = Body::new();
        let mut is_done = false;
        while !work.is_spent() && body.bytes().len() < MAX_BYTES && (body.items() as usize) < MAX_POINTS {
            let Some(mut current) = self.current.take() else {
                is_done = !self.begin_resource(aggregator, wall_nanos, work);
                if is_done {
                    break;
                }
                continue;
            };
            let is_left = if let Stage::CleanUp(group) = current.stage {
                clean_up(aggregator, &mut current, group, now, work)
            } else {
                self.write(aggregator, &mut current, (now, wall_nanos), &mut body, work);
                true
            };
            self.current = is_left.then_some(current);
        }
        if body.items() > 0 {
            ExportStep::Payload(body.finish())
        } else if is_done {
            ExportStep::Done
        } else {
            ExportStep::Pause
        }
    }

    /// Takes the next resource. False: there is none.
    fn begin_resource(&mut self, aggregator: &mut Aggregator, wall_nanos: u64, work: &mut StepBudget) -> bool {
        let Some((stamp, at)) = aggregator.store.resource_after(self.stamp) else { return false };
        self.stamp = stamp;
        work.charge(WORK_PER_RESOURCE);
        let is_delta = aggregator.settings.is_delta;
        let Some(resource) = aggregator.store.get_mut(at) else { return true };
        if std::mem::replace(&mut resource.exported_in, self.number) == self.number {
            // It was used after it was exported.
            return true;
        }
        let leaves = resource.is_evicted || is_delta;
        let place = if is_delta { aggregator.store.take_resource(at).map(Place::Removed) } else { None };
        self.current = Some(Current {
            place: place.unwrap_or(Place::InStore(at)),
            stage: Stage::Calls,
            position: 0,
            time: wall_nanos,
            leaves,
        });
        true
    }

    /// Writes series of a resource until one of the bounds, or all.
    fn write(
        &mut self,
        aggregator: &mut Aggregator,
        current: &mut Current,
        (now, wall_nanos): (MonotonicTime, u64),
        body: &mut Body,
        work: &mut StepBudget,
    ) {
        let Aggregator { settings, store, times, .. } = aggregator;
        let (resource, time) = match &mut current.place {
            Place::Removed(resource) => (Some(&mut **resource), current.time),
            Place::InStore(at) => (store.get_mut(*at), wall_nanos),
        };
        let Some(resource) = resource else {
            current.stage = Stage::CleanUp(GroupId::Calls);
            return;
        };
        let room = (MAX_BYTES.saturating_sub(body.bytes().len()), MAX_POINTS.saturating_sub(body.items() as usize));
        let begin = (current.stage, current.position);
        // The writers borrow the body, so what fits is determined first.
        let fitting = fitting(settings, resource, begin, room);
        if fitting.points > 0 {
            let is_final = self.is_final || current.leaves;
            let mut writing = Writing { settings, times, now, time, is_final, has_withheld: false };
            let mut entry = body.resource_metrics();
            {
                let mut writer = entry.resource();
                let mut attributes = writer.attributes();
                for attribute in AnyValue::map_entries(&resource.attributes) {
                    attributes.push(attribute.key, attribute.value);
                }
            }
            let mut scope_metrics = entry.scope_metrics();
            scope_metrics.scope().name(SCOPE_NAME);
            writing.write_range(&mut scope_metrics, resource, begin, fitting.end);
            self.has_withheld |= writing.has_withheld;
        }
        work.charge(fitting.points as u64 * WORK_PER_POINT + fitting.bytes as u64 + resource.attributes.len() as u64);
        (current.stage, current.position) = fitting.end;
    }
}

/// What fits into a payload.
struct Fitting {
    end: (Stage, usize),
    /// About the bytes of the points.
    bytes: usize,
    points: usize,
}

/// Up to which stage and series the points of a resource fit, from a series on.
fn fitting(settings: &Settings, resource: &Resource, begin: (Stage, usize), room: (usize, usize)) -> Fitting {
    let (mut stage, mut position) = begin;
    let (mut bytes, mut points) = (0, 0);
    loop {
        let series = stage.group(settings).map(|group| resource.group(group).series.iter().skip(position));
        for series in series.into_iter().flatten() {
            if bytes >= room.0 || points >= room.1 {
                return Fitting { end: (stage, position), bytes, points };
            }
            let buckets = series.histogram.as_ref().map_or(0, Histogram::written_buckets);
            bytes += 64 + series.attributes.len() + 8 * buckets + 64 * series.exemplars.len();
            points += 1;
            position += 1;
        }
        (stage, position) = (stage.next().unwrap_or(Stage::CleanUp(GroupId::Calls)), 0);
        if let Stage::CleanUp(_) = stage {
            return Fitting { end: (stage, position), bytes, points };
        }
    }
}

/// What the points of one payload share.
struct Writing<'a> {
    settings: &'a Settings,
    times: &'a ExportTimes,
    now: MonotonicTime,
    time: u64,
    is_final: bool,
    has_withheld: bool,
}

impl Writing<'_> {
    /// Writes the series from one position to another.
    fn write_range(
        &mut self,
        out: &mut ScopeMetricsWriter<'_>,
        resource: &mut Resource,
        begin: (Stage, usize),
        end: (Stage, usize),
    ) {
        let id = resource.id;
        let (mut stage, mut from) = begin;
        loop {
            if let Some(group) = stage.group(self.settings) {
                let series = &mut resource.group_mut(group).series;
                let to = if stage == end.0 { end.1 } else { series.len() };
                if let Some(series) = series.get_mut(from..to).filter(|series| !series.is_empty()) {
                    self.write_metric(out, stage, id, series);
                }
            }
            match stage.next() {
                Some(next) if stage != end.0 && !matches!(next, Stage::CleanUp(_)) => (stage, from) = (next, 0),
                _ => return,
            }
        }
    }

    fn write_metric(
        &mut self,
        out: &mut ScopeMetricsWriter<'_>,
        stage: Stage,
        resource: u128,
        all: &mut [Box<Series>],
    ) {
        let settings = self.settings;
        let temporality = if settings.is_delta { DELTA } else { CUMULATIVE };
        let mut metric = out.metric();
        if stage == Stage::Durations {
            metric.name(&settings.duration_name).unit(match settings.unit {
                DurationUnit::Milliseconds => b"ms",
                DurationUnit::Seconds => b"s",
            });
            let Some(kind) = &settings.histogram else { return };
            write_histogram(&mut metric, kind, temporality, |point| {
                for series in all {
                    if let Some(histogram) = &series.histogram {
                        point(histogram, &self.parts(resource, series));
                    }
                }
            });
            return;
        }
        metric.name(if stage == Stage::Calls { &settings.calls_name } else { &settings.events_name });
        let mut sum = metric.sum();
        sum.aggregation_temporality(temporality).is_monotonic(true);
        for series in all {
            let expiration = settings.series_expiration;
            let leaves = !expiration.is_zero() && self.now.since(series.last_seen) >= expiration;
            // A new series begins at zero, so that a reader sees the difference to its first count.
            let is_withheld = std::mem::take(&mut series.is_new) && !self.is_final && !leaves;
            self.has_withheld |= is_withheld;
            let mut point = sum.point();
            point.int(if is_withheld { 0 } else { series.count.cast_signed() });
            let parts = self.parts(resource, series);
            put_parts!(point, parts);
        }
    }

    fn parts<'s>(&self, resource: u128, series: &'s Series) -> PointParts<'s> {
        let last = if self.settings.is_delta { self.times.get(series.key ^ resource) } else { None };
        PointParts {
            start: last.unwrap_or(series.start),
            time: self.time,
            attributes: &series.attributes,
            exemplars: &series.exemplars,
        }
    }
}

/// Removes what is not needed after an export from the series of a group. False: the resource is done with.
fn clean_up(
    aggregator: &mut Aggregator,
    current: &mut Current,
    group: GroupId,
    now: MonotonicTime,
    work: &mut StepBudget,
) -> bool {
    let Aggregator { settings, store, times, .. } = aggregator;
    if let (Place::InStore(at), true) = (&current.place, current.leaves)
        // It may have been used since.
        && store.get(*at).is_some_and(|resource| resource.is_evicted)
        && let Some(removed) = store.take_resource(*at)
    {
        current.place = Place::Removed(removed);
    }
    match &mut current.place {
        Place::Removed(resource) => {
            while !work.is_spent() {
                work.charge(2 * WORK_PER_SERIES);
                if settings.is_delta
                    && let Some(series) = resource.group(group).series.last()
                {
                    let before = times.len();
                    times.set(series.key ^ resource.id, current.time);
                    store.charge((times.len() - before) as u64 * timestamps::ENTRY_BYTES);
                }
                if !store.drop_last_series(resource, group) {
                    return next_group(current);
                }
            }
        }
        Place::InStore(at) => {
            if group == GroupId::Calls && current.position == 0 {
                store.evict_if_expired(*at, settings.resource_expiration, now);
            }
            let expiration = settings.series_expiration;
            if expiration.is_zero() && settings.max_exemplars == 0 {
                return next_group(current);
            }
            while !work.is_spent() {
                work.charge(WORK_PER_SERIES);
                let series = store.get(*at).and_then(|resource| resource.group(group).series.get(current.position));
                let Some(last_seen) = series.map(|series| series.last_seen) else { return next_group(current) };
                if !expiration.is_zero() && now.since(last_seen) >= expiration {
                    store.remove_series(*at, group, current.position);
                } else {
                    store.clear_exemplars(*at, group, current.position);
                    current.position += 1;
                }
            }
        }
    }
    true
}

fn next_group(current: &mut Current) -> bool {
    current.position = 0;
    match current.stage.next() {
        Some(stage) => {
            current.stage = stage;
            true
        }
        None => false,
    }
}
