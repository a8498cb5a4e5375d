//! `queue replay`: a collector whose only source is a queue on disk, with an OTLP exporter behind it.
//!
//! What the exporter has delivered is marked delivered in the queue, as in the collector that wrote it. What the endpoint
//! refuses for good ends the replay and stays: an endpoint with a mistake must not empty a queue.

use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use otelcore_config::declare::NoKeys;
use otelcore_config::{Diagnostics, FeatureGates};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Ack, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Event, Extension,
    OfferedCapabilities, Outcome, Payload, StartError, Storage, StorageLocation, StorageUser, StoredItemCounts,
    StoredQueue, StoredQueueContext, StoredQueueStatus, ValueStore,
};
use otelcore_reactor::{EventLoop, FINISH_TIMEOUT, RealWorld, with_files};
use otelcore_storage::ValueFile;
use otelcore_stored_queue::DiskQueue;

use super::find::{FoundQueue, OpenQueue};
use super::{READ_BYTES, signal_of};
use crate::commands::{SystemSources, Terminal};
use crate::plan::Plan;
use crate::registry::Registry;
use crate::service::{BuildInfo, Collector, DEFAULT_GRACE_PERIOD};

/// How often the progress is looked at, at least.
const TURN: Duration = Duration::from_millis(200);

/// How long a line of progress is the last one, at least.
const SHOW_PERIOD: Duration = Duration::from_secs(1);

/// How far a replay is. The queue writes it, the command reads it.
#[derive(Debug, Default)]
struct ReplayState {
    /// The exporter has a queue.
    is_made: bool,
    /// The last status of the queue, `None` before the first one.
    status: Option<StoredQueueStatus>,
    /// Requests that are still in the queue.
    left: u64,
    delivered: u64,
    /// Why the endpoint has refused a request for good.
    refusal: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct SharedState(Arc<Mutex<ReplayState>>);

impl SharedState {
    fn get(&self) -> MutexGuard<'_, ReplayState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a queue to `endpoint`: a URL for OTLP over HTTP, `host:port` for OTLP over gRPC. `set` has further keys of the
/// exporter. True where everything is delivered.
pub(super) fn replay(
    queue: &FoundQueue,
    endpoint: &str,
    set: &[String],
    registry: &Registry,
    terminal: &mut Terminal<'_>,
) -> Result<bool, String> {
    let name = &queue.name;
    let Some(signal) = signal_of_queue(queue)? else {
        let _ = writeln!(terminal.err, "{name}: nothing to send");
        return Ok(true);
    };
    let state = SharedState::default();
    let mut registry = registry.clone();
    registry.add(ReplayStorageFactory { directory: queue.path.clone(), state: state.clone() });
    let plan = plan(signal, endpoint, set, &registry, terminal)?;
    let collector = Collector::new(plan, BuildInfo::default()).map_err(|e| e.to_string())?;
    let world = RealWorld::new().map_err(|e| e.to_string())?;
    let ended = collector.start(world).map_err(|e| e.to_string());
    let ended = ended.and_then(|event_loop| {
        if !state.get().is_made {
            return Err(format!(
                "{name}: a replay needs the queue of its exporter: leave out --set=sending_queue.enabled"
            ));
        }
        run(name, &collector, event_loop, &state, terminal.err)
    });
    let _ = collector.outputs().finish(FINISH_TIMEOUT);
    ended
}

/// The signal of what is in a queue; `None` where all is delivered. The queue is closed again.
fn signal_of_queue(queue: &FoundQueue) -> Result<Option<Signal>, String> {
    let mut reader = OpenQueue::open(queue)?.reader;
    while let Some(step) = with_files(|files| reader.read(files, READ_BYTES)).map_err(|e| e.to_string())? {
        if let Some(record) = step.records.iter().find(|record| !reader.is_delivered(record.sequence)) {
            let kind = record.meta.kind;
            let unknown = || format!("{}: its signal (number {kind}) is not known", queue.path.display());
            return signal_of(record).map(Some).ok_or_else(unknown);
        }
    }
    Ok(None)
}

/// Runs the collector until the queue is empty, or can't be opened, or the endpoint has refused something for good.
fn run(
    name: &str,
    collector: &Collector,
    mut event_loop: EventLoop,
    state: &SharedState,
    err: &mut dyn Write,
) -> Result<bool, String> {
    let (mut signals, mut shown, mut is_closing, mut was_open) = (Vec::new(), None, false, false);
    let mut open_error = None;
    loop {
        let deadline = event_loop.now() + TURN;
        event_loop.turn(deadline, &mut signals).map_err(|e| e.to_string())?;
        if is_closing && event_loop.shutdown_report().is_some() {
            break;
        }
        let (status, left, is_refused) = {
            let state = state.get();
            (state.status.clone(), state.left, state.refusal.is_some())
        };
        let is_open = status == Some(StoredQueueStatus::Ok);
        was_open |= is_open;
        if let (false, Some(StoredQueueStatus::RecoverableError(text))) = (was_open, status) {
            open_error.get_or_insert(text);
        }
        if !is_closing && (is_refused || open_error.is_some() || (is_open && left == 0)) {
            is_closing = true;
            event_loop.close(DEFAULT_GRACE_PERIOD);
        }
        let now = event_loop.now();
        let is_due = shown.as_ref().is_none_or(|(_, shown_at)| now.since(*shown_at) >= SHOW_PERIOD);
        if was_open && !is_closing && is_due {
            let line = progress(name, collector, left);
            if shown.as_ref().is_none_or(|(last, _)| *last != line) {
                let _ = writeln!(err, "{line}");
                shown = Some((line, now));
            }
        }
    }
    if let Some(text) = open_error {
        return Err(format!("{name}: {text}"));
    }
    let state = state.get();
    let (delivered, left) = (state.delivered, state.left);
    let _ = writeln!(err, "{name}: {delivered} requests are delivered and removed, {left} are left");
    match &state.refusal {
        Some(why) => Err(format!(
            "{name}: the endpoint refuses a request for good, which stays in the queue with what is left: {why}. Check the endpoint; a \
             collector with this queue would move such requests to its folder `dead` and go on"
        )),
        None => Ok(left == 0),
    }
}

/// What is left, and what the exporter waits for.
fn progress(name: &str, collector: &Collector, left: u64) -> String {
    let statuses = collector.component_statuses();
    let message = statuses.into_iter().find(|status| status.kind == "exporter").map(|status| status.message);
    match message.as_deref() {
        None | Some("") => format!("{name}: {left} requests are left"),
        Some(error) => format!("{name}: {left} requests are left: {error}"),
    }
}

/// A configuration with one pipeline.
fn plan(
    signal: Signal,
    endpoint: &str,
    set: &[String],
    registry: &Registry,
    terminal: &Terminal<'_>,
) -> Result<Plan, String> {
    let exporter = if endpoint.contains("://") { "otlp_http" } else { "otlp_grpc" };
    let yaml = format!(
        "extensions: {{queue_replay: }}\nreceivers: {{nop: }}\nexporters: {{{exporter}: }}\nservice:\n  extensions: [queue_replay]\n  \
         telemetry: {{logs: {{level: error}}, metrics: {{level: none}}}}\n  \
         pipelines: {{{signal}: {{receivers: [nop], exporters: [{exporter}]}}}}\n"
    );
    let key = |rest: &str| format!("exporters.{exporter}.{rest}");
    let mut settings = vec![key(&format!("endpoint={endpoint}"))];
    settings.extend(set.iter().map(|rest| key(rest)));
    settings.push(key("sending_queue.storage=queue_replay"));
    let (d, gates) = (Diagnostics::new(), FeatureGates::parse::<&str>(&[]).0);
    let sources = SystemSources::new(terminal.env);
    let root = otelcore_config::load(&[format!("yaml:{yaml}")], &settings, &sources, &gates, &d);
    let plan = root.and_then(|root| Plan::parse(&root, registry, &gates, &d));
    plan.ok_or_else(|| format!("the exporter of the replay has a mistake:\n{}", d.render_to_string(false)))
}

/// Makes the extension that offers one directory as the queue of the exporter.
#[derive(Clone, Debug)]
struct ReplayStorageFactory {
    directory: PathBuf,
    state: SharedState,
}

impl ComponentType for ReplayStorageFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Extension,
        type_name: "queue_replay",
        aliases: &[],
        signals: &[],
        stability: "Development",
    };
    type Config = NoKeys;

    fn create(&self, _: &NoKeys, _: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Extension(Box::new(ReplayExtension(Rc::new(self.clone())))))
    }
}

struct ReplayExtension(Rc<ReplayStorageFactory>);

impl Extension for ReplayExtension {
    fn offer_capabilities(&self, offered: &mut OfferedCapabilities) {
        offered.add::<dyn Storage>(self.0.clone());
    }
}

impl Storage for ReplayStorageFactory {
    fn location(&self, _: &StorageUser<'_>) -> StorageLocation {
        StorageLocation {
            directory: self.directory.clone(),
            root_mode: None,
            fsync: true,
            min_free_bytes: 0,
            lock_timeout: Duration::ZERO,
            recreate: false,
        }
    }

    fn open_values(&self, user: &StorageUser<'_>) -> Box<dyn ValueStore> {
        Box::new(ValueFile::new(self.location(user)))
    }

    fn open_queue(&self, context: StoredQueueContext<'_>) -> Box<dyn StoredQueue> {
        let user = StorageUser {
            kind: ComponentKind::Exporter,
            id: context.exporter,
            signal: Some(context.signal),
            purpose: "queue",
        };
        let queue = DiskQueue::new(self.location(&user), context);
        self.state.get().is_made = true;
        Box::new(ReplayQueue { queue, state: self.state.clone() })
    }
}

/// The queue, which stops at the first request that is refused for good.
#[derive(Debug)]
struct ReplayQueue {
    queue: DiskQueue,
    state: SharedState,
}

impl ReplayQueue {
    fn note_left(&self) {
        self.state.get().left = self.queue.stored_records();
    }
}

impl StoredQueue for ReplayQueue {
    fn start(&mut self, cx: &mut Cx<'_>) {
        self.queue.start(cx);
    }

    fn offer(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack) {
        self.queue.offer(cx, payload, ack);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        self.queue.handle_event(cx, local, event);
        self.note_left();
    }

    fn poll_payload(&mut self, cx: &mut Cx<'_>) -> Option<(u64, Payload)> {
        self.queue.poll_payload(cx)
    }

    fn handle_outcome(&mut self, cx: &mut Cx<'_>, record: u64, outcome: Outcome) {
        match outcome {
            Outcome::Permanent(why) => {
                self.state.get().refusal.get_or_insert_with(|| why.message.to_string());
                // As at the end of a shutdown: nothing more is given out, and the record stays.
                self.queue.drain(cx);
                self.queue.handle_outcome(cx, record, Outcome::Retry { after: None, why });
            }
            outcome => {
                self.state.get().delivered += u64::from(matches!(outcome, Outcome::Delivered));
                self.queue.handle_outcome(cx, record, outcome);
            }
        }
        self.note_left();
    }

    fn flush(&mut self, cx: &mut Cx<'_>) {
        self.queue.flush(cx);
        self.note_left();
    }

    /// The number of requests is noted before the status, so that an open queue is not taken for an empty one.
    fn poll_status(&mut self) -> Option<StoredQueueStatus> {
        self.note_left();
        let status = self.queue.poll_status();
        if status.is_some() {
            self.state.get().status.clone_from(&status);
        }
        status
    }

    fn drain(&mut self, cx: &mut Cx<'_>) {
        self.queue.drain(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.queue.close(cx);
    }

    fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    fn abort(&mut self) {
        self.queue.abort();
    }

    fn waiting_items(&self) -> u64 {
        self.queue.waiting_items()
    }

    fn stored_items(&self) -> u64 {
        self.queue.stored_items()
    }

    fn is_opening(&self) -> bool {
        self.queue.is_opening()
    }

    fn undelivered_items(&self) -> u64 {
        self.queue.undelivered_items()
    }

    fn item_counts(&self) -> StoredItemCounts {
        self.queue.item_counts()
    }
}
