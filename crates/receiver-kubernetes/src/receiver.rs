//! The receiver of objects: when it reads, and what becomes of what it has read.
//!
//! ```text
//!  standby -- leads --> versions of the storage --> discovery --> running -- leads no longer --> standby
//!                            ^                         |
//!                            +------- a pause ---------+ not found, or the server can't be asked
//!
//!  running: batch --> records (long ones in a job) --> pipeline --> outcome --> the next batch
//! ```
//! One payload is on its way at a time, and nothing is read meanwhile: so the objects keep their order, what waits is bounded
//! by what a turn reads, and a payload that is refused for now is sent again. Versions are stored when what came before them
//! is delivered.

use std::sync::Arc;
use std::time::Duration;

use otelcore_kubernetes_client::{ApiResource, ApiServer, KubernetesApiConfig};
use otelcore_pdata::Signal;
use otelcore_pdata::build::Body;
use otelcore_pipeline::{
    BuildContext, Cx, Event, JobResult, LogField, Logger, MonotonicTime, Outcome, Payload, PipelineInput, Receiver,
    ReceiverMetrics, StartError, TimerId,
};

use crate::begin_failures::BeginFailures;
use crate::discovery_run::DiscoveryRun;
use crate::leader_condition::LeaderCondition;
use crate::records::{ReadObject, RecordFormat, WrittenBatch, write_batch};
use crate::running::{RunContext, Running};
use crate::source::{ObjectSource, ReadMode};
use crate::versions::{StoreEvent, StoredVersions};

/// Local keys of the receiver itself. Those of clients are above, with the number of the run in their upper bits, so that
/// events of an earlier run are known as such.
const LEADER_KEY: u64 = 0;
const BEGIN_TIMER: u64 = 1;
const STORE_JOB: u64 = 2;
const STORE_TIMER: u64 = 3;
const WRITE_JOB: u64 = 4;
const RETRY_TIMER: u64 = 5;
const PULL_KEYS: u64 = 1 << 20;
const RUN_SHIFT: u32 = 40;
/// Of the client of lists and watches, above the first key of the run.
const WATCH_KEYS: u64 = 1 << 39;

/// A longer batch becomes records in a job.
const MAX_INLINE: usize = 64 << 10;
/// How often versions are stored, as in the Go receiver.
const STORE_INTERVAL: Duration = Duration::from_secs(5);
/// The pause before the storage is asked again.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Pauses before a payload is sent again, and for how long that is tried, as in the queues of exporters.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(30);
const MAX_RETRY_TIME: Duration = Duration::from_secs(300);

/// Names of resources in an error message.
const MAX_NAMES: usize = 100;

/// What is done about a resource that the server does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MissingResource {
    /// Nothing is read until the server has it.
    Fail,
    /// The others are read, and it is logged.
    Log,
    /// The others are read.
    Ignore,
}

/// Makes the format of the records of sources that were found, with the time of the receiver's start in nanoseconds since
/// the epoch.
pub(crate) type MakeFormat = fn(u64, &[ObjectSource], &[ApiResource]) -> Arc<dyn RecordFormat>;

/// What a receiver is made from.
pub(crate) struct ReceiverParts {
    pub(crate) api: KubernetesApiConfig,
    pub(crate) sources: Vec<ObjectSource>,
    pub(crate) missing: MissingResource,
    pub(crate) make_format: MakeFormat,
    pub(crate) condition: LeaderCondition,
    pub(crate) values: Option<Box<dyn otelcore_pipeline::ValueStore>>,
}

enum Phase {
    /// It does not lead, or is closed.
    Standby,
    /// The versions are read.
    Loading,
    Discovering(Box<DiscoveryRun>),
    /// Discovery is repeated later.
    Waiting(TimerId),
    /// The sources of which the resource was found, and what reads them.
    Running(Box<(Vec<ObjectSource>, Running)>),
}

/// A payload without an outcome.
struct InFlight {
    request: u64,
    payload: Payload,
    sent_at: MonotonicTime,
    pause: Duration,
    /// While it waits to be sent again.
    timer: Option<TimerId>,
    /// Up to which versions changes are delivered with it.
    versions: Vec<(String, String)>,
}

/// The receiver. See the module.
pub(crate) struct ObjectReceiver {
    parts: ReceiverParts,
    server: Option<ApiServer>,
    started: u64,
    log: Logger,
    metrics: ReceiverMetrics,
    versions: StoredVersions,
    store_timer: Option<TimerId>,
    phase: Phase,
    run: u64,
    failures: BeginFailures,
    writing: Option<JobResult<WrittenBatch>>,
    in_flight: Option<InFlight>,
    next_request: u64,
    left_out: u64,
    is_closed: bool,
}

impl ObjectReceiver {
    pub(crate) fn new(mut parts: ReceiverParts, context: &BuildContext<'_>) -> Self {
        let values = parts.values.take();
        Self {
            versions: StoredVersions::new(values, STORE_JOB, context.log.clone()),
            parts,
            server: None,
            started: 0,
            log: context.log.clone(),
            metrics: ReceiverMetrics::new(context.telemetry, &context.id.to_string(), "http", context.signals),
            store_timer: None,
            phase: Phase::Standby,
            run: 0,
            failures: BeginFailures::new(),
            writing: None,
            in_flight: None,
            next_request: 0,
            left_out: 0,
            is_closed: false,
        }
    }

    // ---- from standby to running ----------------------------------------------------------------------------------

    fn handle_leadership(&mut self, cx: &mut Cx<'_>) {
        let is_running = !matches!(self.phase, Phase::Standby);
        match (self.parts.condition.is_met(), is_running) {
            (true, false) => {
                if self.parts.condition.has_election() {
                    self.log.info("the receiver starts, because its collector leads", &[]);
                }
                self.begin(cx);
            }
            (false, true) => {
                self.log.info("no longer leader, stopping watches", &[]);
                self.stop(cx);
            }
            _ => {}
        }
    }

    /// Begins a run with the versions of the storage.
    fn begin(&mut self, cx: &mut Cx<'_>) {
        self.run += 1;
        self.phase = Phase::Loading;
        if !self.versions.load(cx) {
            self.discover(cx);
        }
    }

    fn handle_store_job(&mut self, cx: &mut Cx<'_>) {
        match (self.versions.handle_job(), &self.phase) {
            (StoreEvent::Loaded, Phase::Loading) => self.discover(cx),
            (StoreEvent::Busy, Phase::Loading) => self.wait(cx, BUSY_PAUSE),
            _ => {}
        }
    }

    fn discover(&mut self, cx: &mut Cx<'_>) {
        let known: Option<Vec<ApiResource>> = self.parts.sources.iter().map(|source| source.resource.clone()).collect();
        if let Some(known) = known {
            return self.run_sources(cx, self.parts.sources.clone(), known);
        }
        let Some(server) = self.server.clone() else { return };
        let run = DiscoveryRun::begin(cx, server, &self.parts.api, self.log.clone(), self.run << RUN_SHIFT);
        self.phase = Phase::Discovering(Box::new(run));
    }

    fn handle_discovery(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        let Phase::Discovering(run) = &mut self.phase else { return };
        match run.handle_event(cx, local, event) {
            None => {}
            Some(Ok(discovery)) => {
                let (resources, failed) = (discovery.resources(), discovery.failed_groups().join("; "));
                self.select(cx, &resources, &failed);
            }
            Some(Err(error)) => self.fail(cx, &error),
        }
    }

    /// Finds the resources of the sources.
    fn select(&mut self, cx: &mut Cx<'_>, resources: &[ApiResource], failed_groups: &str) {
        let (mut sources, mut found) = (Vec::new(), Vec::new());
        for source in &self.parts.sources {
            let Some(resource) = source.find(resources) else {
                let error = not_found(&source.name, resources, failed_groups);
                match self.parts.missing {
                    MissingResource::Fail => return self.fail(cx, &error),
                    MissingResource::Log => self.log.info(&error, &[]),
                    MissingResource::Ignore => {}
                }
                continue;
            };
            found.push(resource.clone());
            sources.push(source.clone());
        }
        if sources.is_empty() {
            return self.fail(cx, "no valid Kubernetes objects found to watch");
        }
        self.run_sources(cx, sources, found);
    }

    fn run_sources(&mut self, cx: &mut Cx<'_>, sources: Vec<ObjectSource>, found: Vec<ApiResource>) {
        let Some(server) = &self.server else { return };
        for (source, resource) in sources.iter().zip(&found) {
            let name = format!("{}/{}", resource.api_version(), resource.name);
            let mode = if matches!(source.mode, ReadMode::Pull { .. }) { "pull" } else { "watch" };
            let namespaces = source.namespaces.join(", ");
            let fields = [
                ("resource", LogField::Str(&name)),
                ("mode", LogField::Str(mode)),
                ("namespaces", LogField::Str(&namespaces)),
            ];
            self.log.info("Started collecting", &fields);
        }
        self.failures.end(cx);
        let format = (self.parts.make_format)(self.started, &sources, &found);
        let context = RunContext {
            server,
            api: &self.parts.api,
            log: &self.log,
            versions: &self.versions,
            client_keys: (self.run << RUN_SHIFT) + WATCH_KEYS,
            pull_keys: PULL_KEYS,
        };
        let mut running = Running::start(cx, &context, &sources, found, format);
        running.set_paused(cx, self.is_occupied());
        self.phase = Phase::Running(Box::new((sources, running)));
        if self.versions.has_store() {
            self.store_timer = Some(cx.set_timer(STORE_TIMER, cx.now() + STORE_INTERVAL));
        }
    }

    /// Nothing is read for now.
    fn fail(&mut self, cx: &mut Cx<'_>, error: &str) {
        let (is_new, pause) = self.failures.fail(cx, error);
        if is_new {
            self.log.error("the objects to collect can't be found", &[("error", LogField::Str(error))]);
        }
        self.wait(cx, pause);
    }

    fn wait(&mut self, cx: &mut Cx<'_>, pause: Duration) {
        self.close_clients(cx);
        self.phase = Phase::Waiting(cx.set_timer(BEGIN_TIMER, cx.now() + pause));
    }

    fn close_clients(&mut self, cx: &mut Cx<'_>) {
        match &mut self.phase {
            Phase::Discovering(run) => run.close(cx),
            Phase::Running(running) => running.1.close(cx),
            Phase::Waiting(timer) => cx.cancel_timer(*timer),
            Phase::Standby | Phase::Loading => {}
        }
    }

    /// Ends the run. A payload that is on its way gets its outcome.
    fn stop(&mut self, cx: &mut Cx<'_>) {
        self.close_clients(cx);
        self.phase = Phase::Standby;
        self.writing = None;
        if let Some(timer) = self.store_timer.take() {
            cx.cancel_timer(timer);
        }
        self.give_up_retry(cx);
        self.versions.write(cx);
    }

    // ---- from objects to payloads ---------------------------------------------------------------------------------

    /// Whether a batch or a payload is on its way, so that nothing is to be read.
    fn is_occupied(&self) -> bool {
        self.writing.is_some() || self.in_flight.is_some()
    }

    /// Turns what has been read into records, and sends them.
    fn advance(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        if let Some(job) = self.writing.take_if(|job| job.has_ended()) {
            match job.take() {
                Some(written) => self.send(cx, written, input),
                None => self
                    .log
                    .error("records of objects can't be made", &[("error", LogField::Str("the job has failed"))]),
            }
        }
        if !self.is_occupied()
            && let Phase::Running(running) = &mut self.phase
        {
            let batch = running.1.take_batch();
            if !batch.is_empty() {
                let (resources, format) = (running.1.resources.clone(), running.1.format.clone());
                self.write(cx, batch, (resources, format), input);
            }
        }
        let is_occupied = self.is_occupied();
        if let Phase::Running(running) = &mut self.phase {
            running.1.set_paused(cx, is_occupied);
        }
    }

    fn write(
        &mut self,
        cx: &mut Cx<'_>,
        batch: Vec<ReadObject>,
        (resources, format): (Arc<[ApiResource]>, Arc<dyn RecordFormat>),
        input: &mut PipelineInput<'_>,
    ) {
        let now = cx.wall_time().0;
        let bytes: usize = batch.iter().map(|object| object.json.len()).sum();
        if bytes <= MAX_INLINE {
            let written = write_batch(batch, &resources, &format, now);
            self.send(cx, written, input);
        } else {
            self.writing = Some(cx.run_job(WRITE_JOB, move || write_batch(batch, &resources, &format, now)));
        }
    }

    fn send(&mut self, cx: &mut Cx<'_>, written: WrittenBatch, input: &mut PipelineInput<'_>) {
        if let Some((count, reason)) = written.left_out {
            let before = self.left_out;
            self.left_out += count;
            // At the first one, and whenever their number has doubled.
            if before.checked_ilog2() != self.left_out.checked_ilog2() {
                let fields = [("reason", LogField::Str(&reason)), ("count", LogField::Uint(self.left_out))];
                self.log.warn("an object becomes no record", &fields);
            }
        }
        let body: Body = written.body;
        if body.items() == 0 || self.is_closed {
            return;
        }
        let body = body.finish();
        let held = input.budget().hold(body.len() as u64);
        let payload = Payload { signal: Signal::Logs, body, metadata: None, held };
        let request = self.next_request;
        self.next_request += 1;
        let (pause, sent_at) = (FIRST_RETRY, cx.now());
        let versions = self.read_versions();
        self.in_flight = Some(InFlight { request, payload: payload.clone(), sent_at, pause, timer: None, versions });
        input.send(cx, request, payload);
    }

    fn retry(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        let Some(in_flight) = self.in_flight.as_mut().filter(|in_flight| in_flight.timer.is_some()) else { return };
        in_flight.timer = None;
        in_flight.request = self.next_request;
        self.next_request += 1;
        let (request, payload) = (in_flight.request, in_flight.payload.clone());
        self.metrics.record_resent(Signal::Logs, payload.items());
        input.resend(cx, request, payload);
    }

    /// A payload that waits to be sent again is given up.
    fn give_up_retry(&mut self, cx: &mut Cx<'_>) {
        if let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.timer.is_some()) {
            in_flight.timer.into_iter().for_each(|timer| cx.cancel_timer(timer));
            let outcome = Outcome::retry("the receiver stops");
            // It is kept no more.
            self.metrics.record_resent(Signal::Logs, in_flight.payload.items());
            self.finish(&in_flight.payload, &outcome);
        }
    }

    fn finish(&self, payload: &Payload, outcome: &Outcome) {
        self.metrics.record_outcome(Signal::Logs, payload.items(), outcome);
    }

    /// Up to which versions changes have been read.
    fn read_versions(&self) -> Vec<(String, String)> {
        match &self.phase {
            Phase::Running(running) if self.versions.has_store() => running.1.read_versions(&running.0),
            _ => Vec::new(),
        }
    }

    /// Notes up to which versions changes are delivered, if nothing is on its way.
    fn note_versions(&mut self) {
        if !self.is_occupied() {
            self.read_versions().iter().for_each(|(key, version)| self.versions.set(key, version));
        }
    }

    fn store_versions(&mut self, cx: &mut Cx<'_>) {
        self.note_versions();
        self.versions.write(cx);
        if matches!(self.phase, Phase::Running(_)) {
            self.store_timer = Some(cx.set_timer(STORE_TIMER, cx.now() + STORE_INTERVAL));
        }
    }
}

/// The error of a resource that the server does not have.
fn not_found(name: &str, resources: &[ApiResource], failed_groups: &str) -> String {
    let mut names: Vec<&str> = resources.iter().map(|resource| resource.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let more = if names.len() > MAX_NAMES { " ..." } else { "" };
    names.truncate(MAX_NAMES);
    let mut text = format!("resource not found: {name}. Available resources in cluster: [{}{more}]", names.join(" "));
    if !failed_groups.is_empty() {
        text.push_str(&format!("; without the groups that can't be read: {failed_groups}"));
    }
    text
}

impl Receiver for ObjectReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.server = Some(ApiServer::find(&self.parts.api, cx)?);
        self.started = cx.wall_time().0;
        self.parts.condition.subscribe(cx, LEADER_KEY);
        cx.request_ready(LEADER_KEY);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, input: &mut PipelineInput<'_>) {
        if local == STORE_JOB {
            self.handle_store_job(cx);
        }
        if self.is_closed {
            if local == STORE_JOB {
                self.versions.write(cx);
            }
            return;
        }
        match local {
            LEADER_KEY => self.handle_leadership(cx),
            BEGIN_TIMER if matches!(self.phase, Phase::Waiting(_)) => self.begin(cx),
            STORE_TIMER => self.store_versions(cx),
            RETRY_TIMER => self.retry(cx, input),
            PULL_KEYS.. if local >> RUN_SHIFT == 0 => {
                if let Phase::Running(running) = &mut self.phase {
                    let source = usize::try_from(local - PULL_KEYS).unwrap_or(usize::MAX);
                    running.1.pull(cx, source, local, &running.0);
                }
            }
            _ if local >> RUN_SHIFT == self.run && self.run > 0 => {
                self.handle_discovery(cx, local, &event);
                if let Phase::Running(running) = &mut self.phase {
                    running.1.handle_event(cx, local, &event, &running.0);
                }
            }
            _ => {}
        }
        self.advance(cx, input);
    }

    fn settled(&mut self, cx: &mut Cx<'_>, request: u64, outcome: Outcome) {
        let Some(mut in_flight) = self.in_flight.take_if(|in_flight| in_flight.request == request) else { return };
        let is_running = matches!(self.phase, Phase::Running(_)) && !self.is_closed;
        if let Outcome::Retry { after, .. } = &outcome
            && is_running
            && cx.now().since(in_flight.sent_at) < MAX_RETRY_TIME
        {
            let pause = in_flight.pause.max(after.unwrap_or_default()).min(MAX_RETRY_TIME);
            in_flight.pause = (in_flight.pause * 2).min(MAX_RETRY);
            in_flight.timer = Some(cx.set_timer(RETRY_TIMER, cx.now() + pause));
            self.metrics.record_kept(Signal::Logs, in_flight.payload.items());
            self.in_flight = Some(in_flight);
            return;
        }
        if let Outcome::Retry { why, .. } | Outcome::Permanent(why) = &outcome {
            let items = u64::from(in_flight.payload.items());
            let why = why.to_string();
            let fields = [("error", LogField::Str(&why)), ("dropped_items", LogField::Uint(items))];
            self.log.error("records of objects are not delivered", &fields);
        }
        self.finish(&in_flight.payload, &outcome);
        in_flight.versions.iter().for_each(|(key, version)| self.versions.set(key, version));
        if self.is_closed {
            self.versions.write(cx);
        }
        if let Phase::Running(running) = &mut self.phase {
            running.1.set_paused(cx, self.writing.is_some());
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        self.is_closed = true;
        self.note_versions();
        self.stop(cx);
    }

    fn is_closed(&self) -> bool {
        self.is_closed && self.in_flight.is_none() && !self.versions.is_writing()
    }
}
