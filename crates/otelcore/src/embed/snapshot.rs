//! A collector at a moment as data: its state, the statuses of components, queues, memory and own metrics.
//!
//! Owns nothing after it is made; everything is read from what the collector counts anyway. Changes nothing.

use std::time::{Duration, Instant};

use otelcore_pdata::Signal;
use otelcore_pdata::text::{put_json_string, put_rfc3339};
use otelcore_pipeline::{
    ComponentStatusEntry, FamilyKind, Labels, MonotonicTime, QueueUnit, SeriesSample, SeriesValue, StatusObserver,
    catch_panic,
};

use super::{CollectorState, EmbeddedCollector};
use crate::service::MetricSnapshot;

/// A queue of an exporter, an input or a processor of the host program.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct QueueSnapshot {
    /// `exporter`, `receiver` or `processor`.
    pub kind: &'static str,
    /// The id of the component.
    pub id: String,
    /// What it carries; `None` is every signal.
    pub signal: Option<Signal>,
    /// The unit of `size` and `capacity`.
    pub unit: QueueUnit,
    /// How much it holds, what is being sent included.
    pub size: u64,
    /// The bound of `size`.
    pub capacity: u64,
    /// It is on disk.
    pub is_on_disk: bool,
    /// How long ago the oldest payload was accepted that it holds. `None`: it holds none, or it is the queue of an input or a
    /// processor of the host program.
    pub oldest_age: Option<Duration>,
}

/// Memory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MemorySnapshot {
    /// Telemetry that the collector holds, counted exactly.
    pub held_bytes: u64,
    /// State that components keep, such as series.
    pub kept_bytes: u64,
    /// The limit of a `memory_limiter`, if there is one.
    pub limit_bytes: Option<u64>,
    /// Resident memory of the whole process.
    pub resident_bytes: u64,
}

/// A collector at a moment.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct CollectorSnapshot {
    /// Its state.
    pub state: CollectorState,
    /// Why it has failed.
    pub failure: Option<String>,
    /// Memory.
    pub memory: MemorySnapshot,
    /// The status of each component, from the start on.
    pub components: Vec<ComponentStatusEntry>,
    /// Its queues, from the start on.
    pub queues: Vec<QueueSnapshot>,
    /// Its own metrics up to the configured level.
    pub metrics: Vec<MetricSnapshot>,
}

/// The time of the loop and that of the host's threads at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoopClock {
    host: Instant,
    event_loop: MonotonicTime,
}

impl LoopClock {
    #[expect(clippy::disallowed_methods, reason = "the time of the host's threads, outside of any world")]
    pub(super) fn new(event_loop: MonotonicTime) -> Self {
        Self { host: Instant::now(), event_loop }
    }

    fn now(self) -> MonotonicTime {
        self.event_loop + self.host.elapsed()
    }
}

impl EmbeddedCollector {
    /// Everything that there is to know about it at this moment; in a forked child a failed collector without anything.
    #[must_use]
    pub fn snapshot(&self) -> CollectorSnapshot {
        let mut snapshot = CollectorSnapshot {
            state: self.state(),
            failure: None,
            memory: MemorySnapshot { held_bytes: 0, kept_bytes: 0, limit_bytes: None, resident_bytes: 0 },
            components: Vec::new(),
            queues: Vec::new(),
            metrics: Vec::new(),
        };
        if self.is_inherited() {
            snapshot.failure = Some(super::EmbedError::Forked.to_string());
            return snapshot;
        }
        let collector = self.shared.collector();
        let (metrics, resident_bytes) = collector.metric_values();
        let budget = collector.budget();
        snapshot.failure.clone_from(&self.shared.inner().failure);
        snapshot.memory = MemorySnapshot {
            held_bytes: budget.held(),
            kept_bytes: budget.kept(),
            limit_bytes: Some(budget.limit()).filter(|limit| *limit != u64::MAX),
            resident_bytes,
        };
        snapshot.components = collector.component_statuses();
        let now = self.shared.clock.get().map_or_else(MonotonicTime::default, |clock| clock.now());
        let exporters = collector.queues().read(now).into_iter().map(|queue| QueueSnapshot {
            kind: "exporter",
            id: queue.exporter,
            signal: Some(queue.signal),
            unit: queue.unit,
            size: queue.size,
            capacity: queue.capacity,
            is_on_disk: queue.is_on_disk,
            oldest_age: queue.oldest_age,
        });
        let host = self.shared.hub.queues().into_iter().map(|queue| QueueSnapshot {
            kind: queue.kind.name(),
            id: queue.id,
            signal: None,
            unit: QueueUnit::Bytes,
            size: queue.bytes as u64,
            capacity: queue.max_bytes as u64,
            is_on_disk: false,
            oldest_age: None,
        });
        snapshot.queues = exporters.chain(host).collect();
        snapshot.metrics = metrics;
        snapshot
    }

    /// Has `observe` called with each component whose status has changed, in the collector's thread, instead of an earlier
    /// function. It must not wait for the collector. The statuses until then are in [`EmbeddedCollector::component_statuses`].
    pub fn on_status_change(&self, observe: impl Fn(&ComponentStatusEntry) + Send + Sync + 'static) {
        if self.is_inherited() {
            return;
        }
        let observer = StatusObserver::new(move |entry: &ComponentStatusEntry| {
            let depth_before = otelcore_reactor::fork_depth();
            // A panic of the host's function is not one of the component that reports.
            if let Err(why) = catch_panic(|| observe(entry))
                && depth_before != otelcore_reactor::fork_depth()
            {
                // It has forked and has returned in the child, in which the loop must not go on.
                std::panic::resume_unwind(Box::new(why));
            }
        });
        self.shared.collector().set_status_observer(observer);
    }
}

/// Writes a list of what `write` writes.
fn put_list<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Writes a key with a text.
fn put_text(out: &mut Vec<u8>, key: &str, value: &str) {
    put(out, key);
    put_json_string(out, value.as_bytes());
}

/// A number as JSON: one that JSON does not have is `null`.
fn put_number(out: &mut Vec<u8>, value: f64) {
    put(out, &if value.is_finite() { value.to_string() } else { "null".to_owned() });
}

pub(super) fn put_component(out: &mut Vec<u8>, entry: &ComponentStatusEntry) {
    put_text(out, "{\"kind\":", entry.kind);
    put_text(out, ",\"id\":", &entry.id);
    put_text(out, ",\"instance\":", &entry.instance);
    put_text(out, ",\"status\":", entry.status.name());
    put_text(out, ",\"message\":", &entry.message);
    put(out, ",\"changed_at\":\"");
    put_rfc3339(out, entry.changed_at.0);
    put(out, "\",\"last_error\":");
    if let Some(error) = &entry.last_error {
        put_text(out, "{\"message\":", &error.message);
        put(out, ",\"at\":\"");
        put_rfc3339(out, error.at.0);
        put(out, &format!("\",\"count\":{}}}", error.count));
    } else {
        put(out, "null");
    }
    put(out, ",\"addresses\":");
    put_list(out, &entry.addresses, |out, address| put_json_string(out, address.as_bytes()));
    out.push(b'}');
}

/// [`ComponentStatusEntry`] as a JSON object, with the keys of [`EmbeddedCollector::component_statuses_json`].
#[must_use]
pub fn component_status_json(entry: &ComponentStatusEntry) -> String {
    let mut out = Vec::new();
    put_component(&mut out, entry);
    String::from_utf8(out).unwrap_or_default()
}

/// The same of several.
pub(super) fn component_statuses_json(entries: &[ComponentStatusEntry]) -> String {
    let mut out = Vec::new();
    put_list(&mut out, entries, put_component);
    String::from_utf8(out).unwrap_or_default()
}

fn put_queue(out: &mut Vec<u8>, queue: &QueueSnapshot) {
    put_text(out, "{\"kind\":", queue.kind);
    put_text(out, ",\"id\":", &queue.id);
    match queue.signal {
        Some(signal) => put_text(out, ",\"signal\":", signal.name()),
        None => put(out, ",\"signal\":null"),
    }
    put_text(out, ",\"unit\":", queue.unit.name());
    let (size, capacity, is_on_disk) = (queue.size, queue.capacity, queue.is_on_disk);
    put(out, &format!(",\"size\":{size},\"capacity\":{capacity},\"on_disk\":{is_on_disk},\"oldest_age_seconds\":"));
    match queue.oldest_age {
        Some(age) => put_number(out, age.as_secs_f64()),
        None => put(out, "null"),
    }
    out.push(b'}');
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (position, (name, value)) in labels.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        put_json_string(out, name.as_bytes());
        out.push(b':');
        put_json_string(out, value.as_bytes());
    }
    out.push(b'}');
}

fn put_series(out: &mut Vec<u8>, series: &SeriesSample) {
    put(out, "{\"labels\":");
    put_labels(out, &series.labels);
    match &series.value {
        SeriesValue::Number(value) => {
            put(out, ",\"value\":");
            put_number(out, *value);
        }
        SeriesValue::Histogram { bounds, counts, sum } => {
            put(out, ",\"bounds\":");
            put_list(out, bounds, |out, bound| put_number(out, *bound));
            put(out, ",\"counts\":");
            put_list(out, counts, |out, count| put(out, &count.to_string()));
            put(out, ",\"sum\":");
            put_number(out, *sum);
        }
    }
    out.push(b'}');
}

fn put_metric(out: &mut Vec<u8>, metric: &MetricSnapshot) {
    put_text(out, "{\"name\":", &metric.name);
    put_text(out, ",\"help\":", &metric.help);
    put_text(out, ",\"unit\":", &metric.unit);
    put_text(out, ",\"kind\":", kind_name(metric.kind));
    put(out, ",\"series\":");
    put_list(out, &metric.series, put_series);
    out.push(b'}');
}

/// `counter`, `gauge` or `histogram`.
#[must_use]
pub fn kind_name(kind: FamilyKind) -> &'static str {
    match kind {
        FamilyKind::Counter => "counter",
        FamilyKind::Gauge => "gauge",
        FamilyKind::Histogram => "histogram",
    }
}

impl CollectorSnapshot {
    /// The same as a JSON object: `state`, `error`, `memory`, `components` as in
    /// [`EmbeddedCollector::component_statuses_json`], `queues` and `metrics`. Later versions may add keys.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        put_text(&mut out, "{\"state\":", self.state.name());
        match &self.failure {
            Some(why) => put_text(&mut out, ",\"error\":", why),
            None => put(&mut out, ",\"error\":null"),
        }
        let MemorySnapshot { held_bytes, kept_bytes, limit_bytes, resident_bytes } = self.memory;
        let limit = limit_bytes.map_or_else(|| "null".to_owned(), |limit| limit.to_string());
        put(&mut out, &format!(",\"memory\":{{\"held_bytes\":{held_bytes},\"kept_bytes\":{kept_bytes},"));
        put(&mut out, &format!("\"limit_bytes\":{limit},\"resident_bytes\":{resident_bytes}}},\"components\":"));
        put_list(&mut out, &self.components, put_component);
        put(&mut out, ",\"queues\":");
        put_list(&mut out, &self.queues, put_queue);
        put(&mut out, ",\"metrics\":");
        put_list(&mut out, &self.metrics, put_metric);
        out.push(b'}');
        String::from_utf8(out).unwrap_or_default()
    }
}
