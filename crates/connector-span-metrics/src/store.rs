//! Resources and their series, what they take, and in which order resources are exported and forgotten.
//!
//! Everything here is charged to the budget. Without room for a new series there is one for all that are not known, and
//! without room for a new resource one resource for all.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pdata::views::AnyValue;
use otelcore_pipeline::{Budget, Kept, MonotonicTime};

use crate::attribute_list::encode;
use crate::histogram::Histogram;
use crate::key_table::KeyTable;
use crate::settings::HistogramKind;

/// The bound of bytes without a memory limiter.
const DEFAULT_MAX_BYTES: u64 = 512 << 20;

/// The key of the series for all that are not known; no hash of a series is it, but for one in 2^128.
const OVERFLOW: u128 = 0;

/// The id of the resource for all that are not known.
const OVERFLOW_RESOURCE: u128 = u128::MAX;

/// Bytes of a table's entry and of the pointer to what it leads to.
const ENTRY_OVERHEAD: usize = 56;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Exemplar {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) value: f64,
}

/// The counts of one combination of dimensions.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) key: u128,
    /// The entries of a map.
    pub(crate) attributes: Box<[u8]>,
    /// Nanoseconds since the epoch.
    pub(crate) start: u64,
    pub(crate) last_seen: MonotonicTime,
    pub(crate) count: u64,
    /// It has not been exported yet.
    pub(crate) is_new: bool,
    pub(crate) histogram: Option<Histogram>,
    pub(crate) exemplars: Vec<Exemplar>,
}

impl Series {
    pub(crate) fn bytes(&self) -> u64 {
        let heap = self.attributes.len()
            + self.histogram.as_ref().map_or(0, Histogram::heap_bytes)
            + self.exemplars.capacity() * size_of::<Exemplar>();
        (size_of::<Self>() + ENTRY_OVERHEAD + heap) as u64
    }
}

/// What a series is made of when it is not known.
pub(crate) struct NewSeries<'s, F> {
    /// Gives the entries of a map.
    pub(crate) attributes: F,
    /// `None` without durations.
    pub(crate) histogram: Option<&'s HistogramKind>,
}

/// What a series counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GroupId {
    /// Spans, and their durations where these have the same dimensions.
    Calls,
    Durations,
    Events,
}

/// The series of one metric.
#[derive(Debug)]
pub(crate) struct SeriesGroup {
    index: KeyTable<u32>,
    #[expect(clippy::vec_box, reason = "a vector of large values is moved as a whole when it grows")]
    pub(crate) series: Vec<Box<Series>>,
}

impl SeriesGroup {
    fn new() -> Self {
        Self { index: KeyTable::new(), series: Vec::new() }
    }

    /// Removes a series; the last one takes its place.
    fn remove(&mut self, at: usize) -> Option<Box<Series>> {
        if at >= self.series.len() {
            return None;
        }
        let removed = self.series.swap_remove(at);
        self.index.remove(removed.key);
        if let Some(moved) = self.series.get(at)
            && let Some(position) = self.index.get_mut(moved.key)
        {
            *position = at as u32;
        }
        Some(removed)
    }
}

#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) id: u128,
    /// The entries of a map.
    pub(crate) attributes: Box<[u8]>,
    /// Its place in the order of use.
    stamp: u64,
    pub(crate) is_evicted: bool,
    pub(crate) last_seen: MonotonicTime,
    /// The number of the last export in which it was.
    pub(crate) exported_in: u64,
    groups: [SeriesGroup; 3],
}

impl Resource {
    pub(crate) fn group(&self, id: GroupId) -> &SeriesGroup {
        let [calls, durations, events] = &self.groups;
        match id {
            GroupId::Calls => calls,
            GroupId::Durations => durations,
            GroupId::Events => events,
        }
    }

    pub(crate) fn group_mut(&mut self, id: GroupId) -> &mut SeriesGroup {
        let [calls, durations, events] = &mut self.groups;
        match id {
            GroupId::Calls => calls,
            GroupId::Durations => durations,
            GroupId::Events => events,
        }
    }

    /// Bytes without its series.
    fn bytes(&self) -> u64 {
        (size_of::<Self>() + ENTRY_OVERHEAD * 2 + self.attributes.len()) as u64
    }
}

#[derive(Debug)]
pub(crate) struct Store {
    resources: Vec<Option<Box<Resource>>>,
    free: Vec<u32>,
    index: KeyTable<u32>,
    /// Positions in the order of use.
    order: BTreeMap<u64, u32>,
    next_stamp: u64,
    /// The first resource that is not evicted has this stamp or a later one.
    first_live: u64,
    evicted: usize,
    max_resources: usize,
    kept: Kept,
    max_bytes: u64,
}

impl Store {
    pub(crate) fn new(budget: &Arc<Budget>, max_resources: usize) -> Self {
        Self {
            resources: Vec::new(),
            free: Vec::new(),
            index: KeyTable::new(),
            order: BTreeMap::new(),
            next_stamp: 1,
            first_live: 0,
            evicted: 0,
            max_resources,
            kept: budget.keep(0),
            max_bytes: if budget.limit() == u64::MAX { DEFAULT_MAX_BYTES } else { u64::MAX },
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.kept.has_room() && self.kept.bytes() < self.max_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether more evicted resources wait for an export than others are remembered.
    pub(crate) fn is_export_urgent(&self) -> bool {
        self.evicted > self.max_resources
    }

    pub(crate) fn get(&self, at: u32) -> Option<&Resource> {
        self.resources.get(at as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut Resource> {
        self.resources.get_mut(at as usize)?.as_deref_mut()
    }

    /// Charges for what has grown.
    #[inline]
    pub(crate) fn charge(&mut self, bytes: u64) {
        self.kept.grow(bytes);
    }

    /// Charges for what took so many bytes before and takes others now.
    #[inline]
    pub(crate) fn charge_change(&mut self, (before, after): (u64, u64)) {
        if before != after {
            self.kept.grow(after.saturating_sub(before));
            self.kept.shrink(before.saturating_sub(after));
        }
    }

    // ---- resources --------------------------------------------------------------------------------------------------

    /// The position of a resource, which is made if it is not known. It is then the one that was used last.
    pub(crate) fn use_resource(&mut self, id: u128, now: MonotonicTime, attributes: impl FnOnce() -> Box<[u8]>) -> u32 {
        if let Some(at) = self.index.get(id).copied() {
            self.touch(at, now);
            return at;
        }
        if !self.has_room() && id != OVERFLOW_RESOURCE {
            return self.use_resource(OVERFLOW_RESOURCE, now, Box::default);
        }
        let resource = Resource {
            id,
            attributes: attributes(),
            stamp: 0,
            is_evicted: false,
            last_seen: now,
            exported_in: 0,
            groups: [SeriesGroup::new(), SeriesGroup::new(), SeriesGroup::new()],
        };
        self.kept.grow(resource.bytes());
        let at = self.free.pop().unwrap_or_else(|| {
            self.resources.push(None);
            (self.resources.len() - 1) as u32
        });
        if let Some(place) = self.resources.get_mut(at as usize) {
            *place = Some(Box::new(resource));
        }
        self.index.insert(id, at);
        self.touch(at, now);
        at
    }

    /// Makes a resource the one that was used last, and evicts one of too many.
    fn touch(&mut self, at: u32, now: MonotonicTime) {
        let stamp = self.next_stamp;
        let Some(resource) = self.resources.get_mut(at as usize).and_then(Option::as_deref_mut) else { return };
        self.next_stamp += 1;
        self.order.remove(&std::mem::replace(&mut resource.stamp, stamp));
        resource.last_seen = now;
        if std::mem::take(&mut resource.is_evicted) {
            self.evicted -= 1;
        }
        self.order.insert(stamp, at);
        if self.order.len() - self.evicted <= self.max_resources {
            return;
        }
        let oldest = self.order.range(self.first_live..).next().map(|(stamp, at)| (*stamp, *at));
        if let Some((stamp, at)) = oldest {
            self.evict(stamp, at);
        }
    }

    /// Evicts a resource, the first one in the order of use that is not evicted: it leaves with the next export, if it is
    /// not used until then.
    fn evict(&mut self, stamp: u64, at: u32) {
        if let Some(resource) = self.get_mut(at)
            && !std::mem::replace(&mut resource.is_evicted, true)
        {
            self.evicted += 1;
            self.first_live = self.first_live.max(stamp + 1);
        }
    }

    /// Evicts a resource without spans for this time; zero for never.
    pub(crate) fn evict_if_expired(&mut self, at: u32, expiration: Duration, now: MonotonicTime) {
        if let Some(resource) = self.get(at)
            && !expiration.is_zero()
            && now.since(resource.last_seen) >= expiration
        {
            self.evict(resource.stamp, at);
        }
    }

    /// The first resource in the order of use after this stamp, with its own stamp.
    pub(crate) fn resource_after(&self, stamp: u64) -> Option<(u64, u32)> {
        self.order.range((Bound::Excluded(stamp), Bound::Unbounded)).next().map(|(stamp, at)| (*stamp, *at))
    }

    /// Removes a resource. What its series take stays charged until they are removed.
    pub(crate) fn take_resource(&mut self, at: u32) -> Option<Box<Resource>> {
        let resource = self.resources.get_mut(at as usize)?.take()?;
        self.free.push(at);
        self.index.remove(resource.id);
        self.order.remove(&resource.stamp);
        self.evicted -= usize::from(resource.is_evicted);
        self.kept.shrink(resource.bytes());
        Some(resource)
    }

    // ---- series -----------------------------------------------------------------------------------------------------

    /// A series, which is made if it is not known, and whether it is that for all that are not known. Of one metric of a
    /// resource there are at most `max_series`; zero for no limit.
    #[inline]
    pub(crate) fn series(
        &mut self,
        resource: u32,
        group: GroupId,
        key: u128,
        (now, wall_nanos): (MonotonicTime, u64),
        max_series: usize,
        new: NewSeries<'_, impl FnOnce() -> Box<[u8]>>,
    ) -> Option<(&mut Series, bool)> {
        let known = self.get(resource)?.group(group).index.get(key).copied();
        let (at, is_overflow) = match known {
            Some(at) => (at, false),
            None => self.add_series(resource, group, key, wall_nanos, max_series, new)?,
        };
        let series = self.get_mut(resource)?.group_mut(group).series.get_mut(at as usize)?;
        series.last_seen = now;
        Some((series, is_overflow))
    }

    #[cold]
    fn add_series(
        &mut self,
        resource: u32,
        group: GroupId,
        key: u128,
        start: u64,
        max_series: usize,
        new: NewSeries<'_, impl FnOnce() -> Box<[u8]>>,
    ) -> Option<(u32, bool)> {
        let has_room = self.has_room();
        let found = self.resources.get_mut(resource as usize)?.as_deref_mut()?;
        let has_room = has_room && found.id != OVERFLOW_RESOURCE;
        let group = found.group_mut(group);
        let is_overflow = !has_room || max_series > 0 && group.series.len() >= max_series;
        let key = if is_overflow { OVERFLOW } else { key };
        if is_overflow && let Some(at) = group.index.get(OVERFLOW) {
            return Some((*at, true));
        }
        let series = Series {
            key,
            attributes: if is_overflow { overflow_attributes() } else { (new.attributes)() },
            start,
            last_seen: MonotonicTime::default(),
            count: 0,
            is_new: true,
            histogram: new.histogram.map(Histogram::new),
            exemplars: Vec::new(),
        };
        let bytes = series.bytes();
        let at = u32::try_from(group.series.len()).ok()?;
        group.index.insert(key, at);
        group.series.push(Box::new(series));
        self.kept.grow(bytes);
        Some((at, is_overflow))
    }

    /// Removes a series of a resource.
    pub(crate) fn remove_series(&mut self, resource: u32, group: GroupId, at: usize) {
        let removed = self.get_mut(resource).and_then(|resource| resource.group_mut(group).remove(at));
        if let Some(series) = removed {
            self.kept.shrink(series.bytes());
        }
    }

    /// Removes the last series of a resource that is not here any more.
    pub(crate) fn drop_last_series(&mut self, resource: &mut Resource, group: GroupId) -> bool {
        let Some(series) = resource.group_mut(group).series.pop() else { return false };
        self.kept.shrink(series.bytes());
        true
    }

    /// Removes the exemplars of a series.
    pub(crate) fn clear_exemplars(&mut self, resource: u32, group: GroupId, at: usize) {
        let series = self.get_mut(resource).and_then(|resource| resource.group_mut(group).series.get_mut(at));
        let removed = series.map_or(0, |series| std::mem::take(&mut series.exemplars).capacity());
        self.kept.shrink((removed * size_of::<Exemplar>()) as u64);
    }
}

/// The attributes of the series for all that are not known.
fn overflow_attributes() -> Box<[u8]> {
    encode(std::iter::once((&b"otel.metric.overflow"[..], AnyValue::Bool(true))))
}
