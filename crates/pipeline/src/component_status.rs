//! The status of each component: what it reports, and since when.
//!
//! The states are those of the Go collector's `componentstatus`. A component reports for each of its parts (a listener, a
//! scraped target, a signal of an exporter), and its status is that of its worst part. Any thread may read the table. It
//! never decides what an error is: components and the graph report, and readers (own metrics, host programs) take copies.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Gauge, MetricsLevel, Telemetry, WallTime};

/// The longest message that is kept, in bytes.
const MAX_MESSAGE: usize = 1024;

/// The metric of each component's status.
const METRIC: &str = "otelcore_component_status";
const METRIC_HELP: &str =
    "Status of the component: 1 starting, 2 ok, 3 recoverable error, 4 permanent error, 6 stopping, 7 stopped";

/// Parts from here on are the graph's own; the ones of components are below.
pub(crate) const FIRST_GRAPH_PART: u64 = 1 << 63;

/// The states of a component.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum ComponentStatus {
    /// Not started yet.
    None,
    /// It is being started.
    Starting,
    /// It runs without errors.
    Ok,
    /// It has failed, and may succeed without a change, for example when a peer can be reached again.
    RecoverableError,
    /// It has failed, and a repetition would fail as well: a person has to change something.
    PermanentError,
    /// A shutdown has begun.
    Stopping,
    /// It has ended.
    Stopped,
}

impl ComponentStatus {
    /// `none`, `starting`, `ok`, `recoverable_error`, `permanent_error`, `stopping`, `stopped`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::RecoverableError => "recoverable_error",
            Self::PermanentError => "permanent_error",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// Its number in the Go collector: 0 to 4, 6 and 7.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Starting => 1,
            Self::Ok => 2,
            Self::RecoverableError => 3,
            Self::PermanentError => 4,
            Self::Stopping => 6,
            Self::Stopped => 7,
        }
    }
}

/// What a component reports about one of its parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusReport<'a> {
    /// It is not ready yet, though the component has started.
    Starting,
    /// It works, or works again.
    Ok,
    /// See [`ComponentStatus::RecoverableError`].
    RecoverableError(&'a str),
    /// See [`ComponentStatus::PermanentError`].
    PermanentError(&'a str),
}

/// The status of one component at the time of reading.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ComponentStatusEntry {
    /// `receiver`, `processor`, `exporter`, `connector`, `extension`.
    pub kind: &'static str,
    /// Its id as the user wrote it.
    pub id: String,
    /// The pipeline of a processor, the signals of a connector (`traces to metrics`); otherwise empty.
    pub instance: String,
    /// Its status.
    pub status: ComponentStatus,
    /// The last error, while the status is an error; otherwise empty.
    pub message: String,
    /// When the status changed last.
    pub changed_at: WallTime,
    /// Where it listens, for a configured port 0 with the port that it got: `127.0.0.1:4317`, or the path of a socket.
    pub addresses: Vec<String>,
    /// The last error that was reported. It stays when the component works again.
    pub last_error: Option<LastError>,
}

/// An error, and how often in a row it was reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LastError {
    /// Its text.
    pub message: String,
    /// When it was reported last.
    pub at: WallTime,
    /// Reports with this text, without another error between them.
    pub count: u64,
}

#[derive(Debug)]
struct Component {
    entry: ComponentStatusEntry,
    /// What the graph does with it: `None`, `Starting`, `Ok`, `PermanentError` for a failed start, `Stopping`, `Stopped`.
    lifecycle: (ComponentStatus, String),
    /// The parts that have failed or are not ready, the worst first.
    failed: BTreeMap<(Reverse<ComponentStatus>, u64), String>,
    /// Where it listens, by its own numbers of the sockets.
    addresses: BTreeMap<u64, String>,
    gauge: Gauge,
}

/// Gets a component when its status has changed, on the thread of the loop. It must not wait.
#[derive(Clone)]
pub struct StatusObserver(Arc<dyn Fn(&ComponentStatusEntry) + Send + Sync>);

impl StatusObserver {
    /// One that calls `observe`.
    #[must_use]
    pub fn new(observe: impl Fn(&ComponentStatusEntry) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }
}

impl std::fmt::Debug for StatusObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StatusObserver")
    }
}

/// The statuses of the components of one graph.
#[derive(Debug, Default)]
pub struct StatusTable {
    telemetry: Option<Telemetry>,
    /// By owner number; without the graph itself and internal parts.
    components: Mutex<BTreeMap<u32, Component>>,
    observer: Mutex<Option<StatusObserver>>,
}

impl StatusTable {
    /// An empty table that shows each status as the metric `otelcore_component_status` in `telemetry`.
    #[must_use]
    pub fn new(telemetry: &Telemetry) -> Self {
        Self { telemetry: Some(telemetry.clone()), ..Self::default() }
    }

    /// Has `observer` called for each change of a status from now on, instead of an earlier one.
    pub fn set_observer(&self, observer: Option<StatusObserver>) {
        *self.observer.lock().unwrap_or_else(PoisonError::into_inner) = observer;
    }

    /// Passes changed components to the observer. No lock is held, so that it may read the table.
    fn notify(&self, changed: impl IntoIterator<Item = ComponentStatusEntry>) {
        let observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(StatusObserver(observe)) = observer {
            changed.into_iter().for_each(|entry| observe(&entry));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Component>> {
        // After a panic of another thread each component is still consistent enough to be shown.
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies of all statuses, in the order in which components were added.
    #[must_use]
    pub fn entries(&self) -> Vec<ComponentStatusEntry> {
        self.lock().values().map(|component| component.entry.clone()).collect()
    }

    /// The kind and the id of each component by its owner number in the graph.
    #[must_use]
    pub fn owners(&self) -> BTreeMap<u32, (&'static str, String)> {
        self.lock().iter().map(|(owner, found)| (*owner, (found.entry.kind, found.entry.id.clone()))).collect()
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Removes the component of this owner number. Its metric keeps its value.
    pub(crate) fn remove(&self, owner: u32) {
        self.lock().remove(&owner);
    }

    /// Takes the components of another table, which has no metrics, and shows their statuses.
    pub(crate) fn take_over(&self, other: &Self) {
        for (owner, mut component) in std::mem::take(&mut *other.lock()) {
            let ComponentStatusEntry { kind, id, instance, .. } = &component.entry;
            component.gauge = self.gauge(kind, id, instance);
            component.gauge.set(u64::from(component.entry.status.number()));
            let entry = component.entry.clone();
            self.lock().insert(owner, component);
            self.notify(Some(entry).filter(|entry| entry.status != ComponentStatus::None));
        }
    }

    fn gauge(&self, kind: &'static str, id: &str, instance: &str) -> Gauge {
        let gauge = self.telemetry.as_ref().map(|telemetry| {
            let mut labels = vec![("otelcol_component_id", id.to_owned()), ("otelcol_component_kind", kind.to_owned())];
            if !instance.is_empty() {
                labels.push(("otelcore_component_instance", instance.to_owned()));
            }
            telemetry.gauge(MetricsLevel::Normal, METRIC, METRIC_HELP, labels)
        });
        gauge.unwrap_or_default()
    }

    /// Adds the component of this owner number.
    pub(crate) fn add(&self, owner: u32, kind: &'static str, id: &str, instance: String) {
        let gauge = self.gauge(kind, id, &instance);
        let entry = ComponentStatusEntry {
            kind,
            id: id.to_owned(),
            instance,
            status: ComponentStatus::None,
            message: String::new(),
            changed_at: WallTime(0),
            addresses: Vec::new(),
            last_error: None,
        };
        let lifecycle = (ComponentStatus::None, String::new());
        let (failed, addresses) = (BTreeMap::new(), BTreeMap::new());
        self.lock().insert(owner, Component { entry, lifecycle, failed, addresses, gauge });
    }

    /// Records a report of a component about one of its parts. A part that works takes no memory.
    pub(crate) fn report(&self, owner: u32, part: u64, report: StatusReport<'_>, now: WallTime) {
        let mut components = self.lock();
        let Some(component) = components.get_mut(&owner) else { return };
        for status in [ComponentStatus::Starting, ComponentStatus::RecoverableError, ComponentStatus::PermanentError] {
            component.failed.remove(&(Reverse(status), part));
        }
        let failure = match report {
            StatusReport::Ok => None,
            StatusReport::Starting => Some((ComponentStatus::Starting, "")),
            StatusReport::RecoverableError(message) => Some((ComponentStatus::RecoverableError, message)),
            StatusReport::PermanentError(message) => Some((ComponentStatus::PermanentError, message)),
        };
        if let Some((status, message)) = failure {
            if status > ComponentStatus::Starting {
                component.note_error(truncate(message), now);
            }
            component.failed.insert((Reverse(status), part), truncate(message).to_owned());
        }
        let changed = component.update(now);
        drop(components);
        self.notify(changed);
    }

    /// Records where the socket `local` of a component is bound.
    pub(crate) fn set_address(&self, owner: u32, local: u64, address: String) {
        if let Some(component) = self.lock().get_mut(&owner) {
            component.addresses.insert(local, address);
            component.entry.addresses = component.addresses.values().cloned().collect();
        }
    }

    /// Sets what the graph does with a component.
    pub(crate) fn set_lifecycle(&self, owner: u32, status: ComponentStatus, message: &str, now: WallTime) {
        let changed = self.lock().get_mut(&owner).and_then(|component| {
            component.lifecycle = (status, truncate(message).to_owned());
            if !message.is_empty() {
                component.note_error(truncate(message), now);
            }
            component.update(now)
        });
        self.notify(changed);
    }

    /// Sets what the graph does with all components.
    pub(crate) fn set_all(&self, status: ComponentStatus, now: WallTime) {
        let mut changed = Vec::new();
        for component in self.lock().values_mut() {
            component.lifecycle = (status, String::new());
            changed.extend(component.update(now));
        }
        self.notify(changed);
    }
}

impl Component {
    fn note_error(&mut self, message: &str, at: WallTime) {
        match &mut self.entry.last_error {
            Some(last) if last.message == message => {
                last.at = at;
                last.count = last.count.saturating_add(1);
            }
            last => *last = Some(LastError { message: message.to_owned(), at, count: 1 }),
        }
    }

    /// Sets the status by what was reported; returns a copy where it has changed.
    fn update(&mut self, now: WallTime) -> Option<ComponentStatusEntry> {
        let (status, message) = match (&self.lifecycle, self.failed.first_key_value()) {
            ((ComponentStatus::Starting | ComponentStatus::Ok, _), Some(((Reverse(status), _), message))) => {
                (*status, message)
            }
            ((status, message), _) => (*status, message),
        };
        if status == ComponentStatus::Stopped {
            self.addresses.clear();
            self.entry.addresses.clear();
        }
        let has_changed = self.entry.status != status;
        if has_changed {
            self.entry.status = status;
            self.entry.changed_at = now;
            self.gauge.set(u64::from(status.number()));
        }
        if self.entry.message != *message {
            self.entry.message.clone_from(message);
        }
        has_changed.then(|| self.entry.clone())
    }
}

/// As much of a text as is kept.
fn truncate(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_MESSAGE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> StatusTable {
        let table = StatusTable::new(&Telemetry::new(MetricsLevel::Normal));
        table.add(2, "exporter", "otlp/a", String::new());
        table
    }

    fn status(table: &StatusTable) -> (ComponentStatus, String, u64) {
        let entry = table.entries().remove(0);
        (entry.status, entry.message, entry.changed_at.0)
    }

    #[test]
    fn component_has_the_status_of_its_worst_part() {
        let table = table();
        assert_eq!(status(&table), (ComponentStatus::None, String::new(), 0));
        table.set_lifecycle(2, ComponentStatus::Ok, "", WallTime(1));
        table.report(2, 7, StatusReport::RecoverableError("down"), WallTime(2));
        table.report(2, 8, StatusReport::PermanentError("refused"), WallTime(3));
        table.report(2, 9, StatusReport::RecoverableError("slow"), WallTime(4));
        assert_eq!(status(&table), (ComponentStatus::PermanentError, "refused".to_owned(), 3));
        table.report(2, 8, StatusReport::Ok, WallTime(5));
        assert_eq!(status(&table), (ComponentStatus::RecoverableError, "down".to_owned(), 5));
        table.report(2, 7, StatusReport::RecoverableError("still down"), WallTime(6));
        assert_eq!(status(&table), (ComponentStatus::RecoverableError, "still down".to_owned(), 5), "the same status");
        table.report(2, 7, StatusReport::Ok, WallTime(7));
        table.report(2, 9, StatusReport::Ok, WallTime(8));
        assert_eq!(status(&table), (ComponentStatus::Ok, String::new(), 8));
    }

    #[test]
    fn last_error_stays_and_counts_its_repetitions() {
        let table = table();
        let last = || table.entries().remove(0).last_error;
        table.set_lifecycle(2, ComponentStatus::Ok, "", WallTime(1));
        assert_eq!(last(), None);
        for at in 2..5 {
            table.report(2, 0, StatusReport::RecoverableError("down"), WallTime(at));
        }
        table.report(2, 0, StatusReport::Ok, WallTime(5));
        let expected =
            |message: &str, at, count| Some(LastError { message: message.to_owned(), at: WallTime(at), count });
        assert_eq!(last(), expected("down", 4, 3));
        table.report(2, 0, StatusReport::Starting, WallTime(6));
        assert_eq!(last(), expected("down", 4, 3));
        table.report(2, 1, StatusReport::PermanentError("refused"), WallTime(7));
        assert_eq!(last(), expected("refused", 7, 1));
    }

    #[test]
    fn component_that_stops_is_not_in_error() {
        let table = table();
        table.set_lifecycle(2, ComponentStatus::Ok, "", WallTime(1));
        table.report(2, 0, StatusReport::RecoverableError("down"), WallTime(2));
        table.set_all(ComponentStatus::Stopping, WallTime(3));
        assert_eq!(status(&table), (ComponentStatus::Stopping, String::new(), 3));
        table.report(2, 0, StatusReport::Ok, WallTime(4));
        table.set_all(ComponentStatus::Stopped, WallTime(5));
        assert_eq!(status(&table), (ComponentStatus::Stopped, String::new(), 5));
    }

    #[test]
    fn failed_start_has_its_message_and_unknown_owners_are_ignored() {
        let table = table();
        table.set_lifecycle(2, ComponentStatus::PermanentError, "address already in use", WallTime(1));
        table.report(1, 0, StatusReport::PermanentError("x"), WallTime(2));
        table.report(99, 0, StatusReport::PermanentError("x"), WallTime(2));
        assert_eq!(status(&table), (ComponentStatus::PermanentError, "address already in use".to_owned(), 1));
    }

    #[test]
    fn addresses_are_those_of_the_sockets_until_the_component_has_stopped() {
        let table = table();
        table.set_address(2, 1, "127.0.0.1:4318".to_owned());
        table.set_address(2, 0, "127.0.0.1:1".to_owned());
        table.set_address(2, 0, "127.0.0.1:4317".to_owned());
        table.set_address(99, 0, "127.0.0.1:1".to_owned());
        table.set_all(ComponentStatus::Stopping, WallTime(1));
        assert_eq!(table.entries()[0].addresses, ["127.0.0.1:4317", "127.0.0.1:4318"]);
        table.set_all(ComponentStatus::Stopped, WallTime(2));
        assert!(table.entries()[0].addresses.is_empty());
    }

    #[test]
    fn observer_gets_each_change_of_a_status_and_no_repetition() {
        let (table, seen) = (table(), Arc::<Mutex<Vec<_>>>::default());
        let to = seen.clone();
        table.set_observer(Some(StatusObserver::new(move |entry: &ComponentStatusEntry| {
            to.lock().unwrap().push((entry.id.clone(), entry.status, entry.message.clone()));
        })));
        table.set_lifecycle(2, ComponentStatus::Ok, "", WallTime(1));
        table.report(2, 0, StatusReport::RecoverableError("down"), WallTime(2));
        table.report(2, 0, StatusReport::RecoverableError("still down"), WallTime(3));
        table.set_all(ComponentStatus::Stopped, WallTime(4));
        table.set_observer(None);
        table.set_all(ComponentStatus::Ok, WallTime(5));
        let change = |status, message: &str| ("otlp/a".to_owned(), status, message.to_owned());
        let expected = [
            change(ComponentStatus::Ok, ""),
            change(ComponentStatus::RecoverableError, "down"),
            change(ComponentStatus::Stopped, ""),
        ];
        assert_eq!(*seen.lock().unwrap(), expected);
    }

    #[test]
    fn long_message_is_truncated_at_a_character() {
        let table = table();
        table.set_lifecycle(2, ComponentStatus::Ok, "", WallTime(1));
        table.report(2, 0, StatusReport::RecoverableError(&"é".repeat(5000)), WallTime(2));
        assert_eq!(status(&table).1.len(), MAX_MESSAGE);
        table.report(2, 0, StatusReport::RecoverableError(&format!("x{}", "é".repeat(5000))), WallTime(2));
        assert_eq!(status(&table).1.len(), MAX_MESSAGE - 1);
    }

    #[test]
    fn status_is_a_series_with_the_number_of_the_go_collector() {
        let telemetry = Telemetry::new(MetricsLevel::Normal);
        let table = StatusTable::new(&telemetry);
        table.add(1, "processor", "batch", "traces".to_owned());
        table.set_lifecycle(1, ComponentStatus::Ok, "", WallTime(1));
        let families = telemetry.collect();
        assert_eq!(families[0].name, METRIC);
        assert_eq!(families[0].samples[0].value, crate::SeriesValue::Number(2.0));
        assert_eq!(families[0].samples[0].labels.len(), 3);
    }
}
