//! Counts and live samples of what passes the edges of a graph, for those who look at it.
//!
//! Owns who looks at which edges. The graph offers each payload with the edge that it passes; while nobody looks, that is one
//! load of an atomic and nothing is counted or kept. A tap keeps one payload at most, with its charge, and only when it is armed, so
//! that a watcher who reads slowly costs nothing more. Reads no telemetry.

use std::cmp::Ordering as CompareOrdering;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use otelcore_config::{ComponentId, PipelineId};
use otelcore_pdata::Signal;

use crate::{Notifier, Payload};

/// The most taps at a time.
pub const MAX_TAPS: usize = 8;

/// The end of an edge in a pipeline. `I` is the id of a component, or a reference to one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EdgeEnd<I> {
    /// What the pipeline takes from a receiver.
    Receiver(I),
    /// What it takes from a connector with these signals.
    SourceConnector(I, Signal, Signal),
    /// What its processor with this index is given.
    Processor(usize),
    /// What it passes to an exporter.
    Exporter(I),
    /// What it passes to a connector with these signals.
    TargetConnector(I, Signal, Signal),
}

impl EdgeEnd<ComponentId> {
    fn borrowed(&self) -> EdgeEnd<&ComponentId> {
        match self {
            Self::Receiver(id) => EdgeEnd::Receiver(id),
            Self::SourceConnector(id, from, to) => EdgeEnd::SourceConnector(id, *from, *to),
            Self::Processor(index) => EdgeEnd::Processor(*index),
            Self::Exporter(id) => EdgeEnd::Exporter(id),
            Self::TargetConnector(id, from, to) => EdgeEnd::TargetConnector(id, *from, *to),
        }
    }
}

/// An edge of the graph.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EdgePlace {
    /// The pipeline that it is a part of.
    pub pipeline: PipelineId,
    /// Its end in the pipeline.
    pub end: EdgeEnd<ComponentId>,
}

impl EdgePlace {
    fn compare(&self, pipeline: &PipelineId, end: EdgeEnd<&ComponentId>) -> CompareOrdering {
        self.pipeline.cmp(pipeline).then_with(|| self.end.borrowed().cmp(&end))
    }
}

/// What has passed an edge since the counts began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EdgeCounts {
    /// Spans, data points or log records.
    pub items: u64,
    /// Bytes of the payloads, as OTLP.
    pub bytes: u64,
}

struct Tap {
    number: u64,
    place: EdgePlace,
    is_armed: bool,
    waiting: Option<Payload>,
    notifier: Arc<dyn Notifier>,
}

#[derive(Default)]
struct Watched {
    /// Sorted by place; empty while nobody counts.
    counts: Vec<(EdgePlace, EdgeCounts)>,
    taps: Vec<Tap>,
    next_number: u64,
}

#[derive(Default)]
struct Shared {
    /// Whether anything is watched.
    is_active: AtomicBool,
    watched: Mutex<Watched>,
}

/// The edges that are looked at. Clones share them.
#[derive(Clone, Default)]
pub struct Taps(Arc<Shared>);

impl std::fmt::Debug for Taps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taps").field("is_active", &self.0.is_active).finish_non_exhaustive()
    }
}

impl Taps {
    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.0.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, watched: &Watched) {
        self.0.is_active.store(!watched.counts.is_empty() || !watched.taps.is_empty(), Ordering::Relaxed);
    }

    /// Whether anything is watched.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.0.is_active.load(Ordering::Relaxed)
    }

    /// A payload passes an edge.
    #[cold]
    pub(crate) fn offer(&self, pipeline: &PipelineId, end: EdgeEnd<&ComponentId>, payload: &Payload) {
        let mut watched = self.watched();
        let found = watched.counts.binary_search_by(|(place, _)| place.compare(pipeline, end));
        if let Some((_, counts)) = found.ok().and_then(|index| watched.counts.get_mut(index)) {
            counts.items = counts.items.saturating_add(u64::from(payload.items()));
            counts.bytes = counts.bytes.saturating_add(payload.body.len() as u64);
        }
        for tap in watched.taps.iter_mut().filter(|tap| tap.is_armed) {
            if tap.place.compare(pipeline, end).is_eq() {
                tap.is_armed = false;
                tap.waiting = Some(payload.clone());
                tap.notifier.notify();
            }
        }
    }

    /// Counts what passes these edges from now on. What was counted before of one of them stays.
    pub fn count(&self, mut places: Vec<EdgePlace>) {
        places.sort_unstable();
        places.dedup();
        let mut watched = self.watched();
        let before = std::mem::take(&mut watched.counts);
        let counts = places.into_iter().map(|place| {
            let known = before.binary_search_by(|(known, _)| known.cmp(&place)).ok();
            let counts =
                known.and_then(|index| before.get(index)).map_or_else(EdgeCounts::default, |(_, counts)| *counts);
            (place, counts)
        });
        watched.counts = counts.collect();
        self.update(&watched);
    }

    /// What has passed an edge; `None` while it is not counted.
    #[must_use]
    pub fn counts(&self, place: &EdgePlace) -> Option<EdgeCounts> {
        let watched = self.watched();
        let index = watched.counts.binary_search_by(|(known, _)| known.cmp(place)).ok()?;
        watched.counts.get(index).map(|(_, counts)| *counts)
    }

    /// Begins to look at an edge. `notifier` is notified when an armed tap has a payload. `None`: there are
    /// [`MAX_TAPS`] already.
    #[must_use]
    pub fn open(&self, place: EdgePlace, notifier: Arc<dyn Notifier>) -> Option<TapHandle> {
        let mut watched = self.watched();
        if watched.taps.len() >= MAX_TAPS {
            return None;
        }
        let number = watched.next_number;
        watched.next_number += 1;
        watched.taps.push(Tap { number, place, is_armed: false, waiting: None, notifier });
        self.update(&watched);
        Some(TapHandle { taps: self.clone(), number })
    }
}

/// A tap, which ends when this is dropped.
#[derive(Debug)]
pub struct TapHandle {
    taps: Taps,
    number: u64,
}

impl TapHandle {
    /// Keeps the next payload that passes.
    pub fn arm(&self) {
        let mut watched = self.taps.watched();
        if let Some(tap) = watched.taps.iter_mut().find(|tap| tap.number == self.number && tap.waiting.is_none()) {
            tap.is_armed = true;
        }
    }

    /// The payload that is kept.
    #[must_use]
    pub fn take(&self) -> Option<Payload> {
        let mut watched = self.taps.watched();
        watched.taps.iter_mut().find(|tap| tap.number == self.number)?.waiting.take()
    }
}

impl Drop for TapHandle {
    fn drop(&mut self) {
        let mut watched = self.taps.watched();
        watched.taps.retain(|tap| tap.number != self.number);
        self.taps.update(&watched);
    }
}

#[cfg(test)]
mod tests {
    use otelcore_pdata::build::Body;

    use super::*;
    use crate::Held;
    use crate::world::NoopNotifier;

    fn payload() -> Payload {
        let mut body = Body::new();
        body.resource_logs().scope_logs().log_record().time_unix_nano(1);
        Payload { signal: Signal::Logs, body: body.finish(), metadata: None, held: Held::default() }
    }

    fn place(end: EdgeEnd<ComponentId>) -> EdgePlace {
        EdgePlace { pipeline: "logs".parse().unwrap(), end }
    }

    #[test]
    fn nothing_is_watched_before_and_after_a_tap() {
        let taps = Taps::default();
        assert!(!taps.is_active());
        let id: ComponentId = "debug".parse().unwrap();
        let tap = taps.open(place(EdgeEnd::Exporter(id.clone())), Arc::new(NoopNotifier)).unwrap();
        assert!(taps.is_active());
        let pipeline = "logs".parse().unwrap();
        taps.offer(&pipeline, EdgeEnd::Exporter(&id), &payload());
        assert!(tap.take().is_none(), "not armed");
        tap.arm();
        taps.offer(&pipeline, EdgeEnd::Processor(0), &payload());
        assert!(tap.take().is_none(), "another edge");
        taps.offer(&pipeline, EdgeEnd::Exporter(&id), &payload());
        taps.offer(&pipeline, EdgeEnd::Exporter(&id), &payload());
        assert_eq!(tap.take().map(|payload| payload.items()), Some(1));
        assert!(tap.take().is_none(), "one at a time");
        drop(tap);
        assert!(!taps.is_active());
    }

    #[test]
    fn items_and_bytes_are_counted_while_somebody_counts() {
        let taps = Taps::default();
        let pipeline = "logs".parse().unwrap();
        let edge = place(EdgeEnd::Processor(0));
        taps.count(vec![edge.clone(), place(EdgeEnd::Processor(1))]);
        taps.offer(&pipeline, EdgeEnd::Processor(0), &payload());
        let bytes = payload().body.len() as u64;
        assert_eq!(taps.counts(&edge), Some(EdgeCounts { items: 1, bytes }));
        taps.count(vec![edge.clone()]);
        taps.offer(&pipeline, EdgeEnd::Processor(0), &payload());
        taps.offer(&pipeline, EdgeEnd::Processor(1), &payload());
        assert_eq!(taps.counts(&edge), Some(EdgeCounts { items: 2, bytes: 2 * bytes }));
        taps.count(Vec::new());
        assert!(taps.counts(&edge).is_none() && !taps.is_active());
    }

    #[test]
    fn number_of_taps_is_bounded() {
        let taps = Taps::default();
        let open = || taps.open(place(EdgeEnd::Processor(0)), Arc::new(NoopNotifier));
        let handles: Vec<_> = (0..MAX_TAPS).map(|_| open().unwrap()).collect();
        assert!(open().is_none());
        drop(handles);
        assert!(open().is_some());
    }
}
