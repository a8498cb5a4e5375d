//! When objects are watched, and when their metrics are sent.
//!
//! ```text
//!  standby -- leads --> discovery --> watching -- all are listed --> at each interval: job over all objects -> payloads
//!     ^                                  |
//!     +---------- leads no longer -------+
//! ```
//! While the job has the tables, nothing is read. An interval whose job or payloads are on their way still is left out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use otelcore_kubernetes_client::{
    ApiServer, ChangeKind, Discovery, ImageParser, ObjectConsumer, WatchClient, WatchId, WatchSpec,
};
use otelcore_pdata::Signal;
use otelcore_pdata::build::Body;
use otelcore_pipeline::{
    Budget, BuildContext, Cx, Event, JobResult, LogField, Logger, MonotonicTime, Outcome, Payload, PeriodicCount,
    PipelineInput, Receiver, ReceiverMetrics, StartError, StatusReport, TimerId,
};
use otelcore_scraped_metrics::ResourceAttributes;

use super::config::K8sClusterConfig;
use super::kinds::needed_kinds;
use super::record::EntryMaker;
use super::tables::ClusterTables;
use crate::begin_failures::{BeginFailures, DISCOVERY_PART};
use crate::discovery_run::DiscoveryRun;
use crate::leader_condition::LeaderCondition;

const LEADER_KEY: u64 = 0;
const BEGIN_TIMER: u64 = 1;
const COLLECT_TIMER: u64 = 2;
const WRITE_JOB: u64 = 3;
const REMOVE_TURN: u64 = 4;
const SYNC_TIMER: u64 = 5;
const RUN_SHIFT: u32 = 40;
const WATCH_KEYS: u64 = 1 << 39;

/// After this it is an error that not all objects have been listed, as in the Go receiver.
const SYNC_TIME: Duration = Duration::from_secs(600);
/// How often intervals that are left out are logged.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// The status of the first lists, beside that of discovery and those of watches.
const SYNC_PART: u64 = DISCOVERY_PART + 1;

enum Phase {
    Standby,
    Discovering(Box<DiscoveryRun>),
    Waiting(TimerId),
    Watching(Box<WatchClient>),
}

/// Writes what the client passes on to the tables.
struct TableWriter<'a>(&'a mut ClusterTables);

impl ObjectConsumer for TableWriter<'_> {
    fn begin_list(&mut self, watch: WatchId) {
        self.0.begin_list(watch.0);
    }

    fn apply(&mut self, _: &mut Cx<'_>, watch: WatchId, change: ChangeKind, object: &[u8]) -> Result<(), String> {
        self.0.apply(watch.0, change, object)
    }

    fn end_list(&mut self, cx: &mut Cx<'_>, watch: WatchId) {
        self.0.end_list(watch.0);
        cx.request_ready(REMOVE_TURN);
    }
}

/// For the client while it is paused: it passes nothing on.
struct Nobody;

impl ObjectConsumer for Nobody {
    fn begin_list(&mut self, _: WatchId) {}

    fn apply(&mut self, _: &mut Cx<'_>, _: WatchId, _: ChangeKind, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn end_list(&mut self, _: &mut Cx<'_>, _: WatchId) {}
}

/// The receiver. See the module.
pub(super) struct ClusterReceiver {
    config: K8sClusterConfig,
    condition: LeaderCondition,
    server: Option<ApiServer>,
    log: Logger,
    metrics: ReceiverMetrics,
    budget: Arc<Budget>,
    started: u64,
    /// `None` while the job has them.
    tables: Option<Box<ClusterTables>>,
    writing: Option<JobResult<(Box<ClusterTables>, Vec<Body>)>>,
    phase: Phase,
    run: u64,
    failures: BeginFailures,
    timers: Vec<TimerId>,
    is_collecting: bool,
    /// The items of payloads without an outcome.
    sent: BTreeMap<u64, u32>,
    next_request: u64,
    left_out: PeriodicCount,
    is_closed: bool,
}

impl ClusterReceiver {
    pub(super) fn new(config: &K8sClusterConfig, context: &BuildContext<'_>) -> Result<Self, StartError> {
        Ok(Self {
            condition: LeaderCondition::new(&config.k8s_leader_elector, context)?,
            config: config.clone(),
            server: None,
            log: context.log.clone(),
            metrics: ReceiverMetrics::new(context.telemetry, &context.id.to_string(), "http", context.signals),
            budget: context.budget.clone(),
            started: 0,
            tables: None,
            writing: None,
            phase: Phase::Standby,
            run: 0,
            failures: BeginFailures::new(),
            timers: Vec::new(),
            is_collecting: false,
            sent: BTreeMap::new(),
            next_request: 0,
            left_out: PeriodicCount::new(LOG_PERIOD),
            is_closed: false,
        })
    }

    fn handle_leadership(&mut self, cx: &mut Cx<'_>) {
        match (self.condition.is_met(), matches!(self.phase, Phase::Standby)) {
            (true, true) => {
                let with = if self.condition.has_election() { "with" } else { "without" };
                self.log.info(&format!("Starting k8sClusterReceiver {with} leader election"), &[]);
                self.begin(cx);
            }
            (false, false) => {
                self.log.info("Stopping the receiver", &[]);
                self.stop(cx);
            }
            _ => {}
        }
    }

    fn begin(&mut self, cx: &mut Cx<'_>) {
        let Some(server) = self.server.clone() else { return };
        self.run += 1;
        let run = DiscoveryRun::begin(cx, server, &self.config.api, self.log.clone(), self.run << RUN_SHIFT);
        self.phase = Phase::Discovering(Box::new(run));
    }

    fn handle_discovery(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        let Phase::Discovering(run) = &mut self.phase else { return };
        match run.handle_event(cx, local, event) {
            None => {}
            Some(Ok(discovery)) => self.watch(cx, &discovery),
            Some(Err(error)) => self.fail(cx, &error),
        }
    }

    fn watch(&mut self, cx: &mut Cx<'_>, discovery: &Discovery) {
        let Some(server) = self.server.clone() else { return };
        let images = match ImageParser::new() {
            Ok(images) => images,
            Err(error) => return self.fail(cx, &error.to_string()),
        };
        let maker = EntryMaker {
            images,
            node_conditions: self.config.node_conditions_to_report.clone(),
            allocatable_types: self.config.allocatable_types_to_report.clone(),
        };
        let recorder = ClusterTables::recorder(self.config.metrics.settings());
        let resource = ResourceAttributes::new(self.config.resource_attributes.settings());
        let budget = self.budget.clone();
        let mut tables = Box::new(ClusterTables::new(maker, recorder, resource, budget, self.started));
        let keys = (self.run << RUN_SHIFT) + WATCH_KEYS;
        let mut client = WatchClient::for_server(server, &self.config.api, cx, self.log.clone(), keys);
        let (namespaces, everywhere) = (self.config.watched_namespaces(), [String::new()]);
        let mut kinds = Vec::new();
        for spec in needed_kinds(&self.config) {
            if !spec.is_supported(discovery) {
                let kind = [("kind", LogField::Str(spec.name))];
                self.log.warn("Server doesn't support any of the group versions defined for the kind", &kind);
                continue;
            }
            let namespaces = if namespaces.is_empty() { &everywhere[..] } else { &namespaces };
            for namespace in namespaces {
                client.add_watch(cx, WatchSpec::new(spec.group, spec.version, spec.resource, namespace));
                kinds.push(spec.kind);
            }
        }
        if kinds.is_empty() {
            client.close(cx);
            return self.fail(cx, "the server has none of the kinds of objects that are watched");
        }
        tables.reset(kinds.into_iter());
        self.failures.end(cx);
        self.tables = Some(tables);
        self.phase = Phase::Watching(Box::new(client));
        self.timers = vec![cx.set_timer(SYNC_TIMER, cx.now() + SYNC_TIME)];
    }

    fn fail(&mut self, cx: &mut Cx<'_>, error: &str) {
        let (is_new, pause) = self.failures.fail(cx, error);
        if is_new {
            self.log.error("the cluster can't be watched", &[("error", LogField::Str(error))]);
        }
        self.close_clients(cx);
        self.phase = Phase::Waiting(cx.set_timer(BEGIN_TIMER, cx.now() + pause));
    }

    fn close_clients(&mut self, cx: &mut Cx<'_>) {
        match &mut self.phase {
            Phase::Discovering(run) => run.close(cx),
            Phase::Watching(client) => client.close(cx),
            Phase::Waiting(timer) => cx.cancel_timer(*timer),
            Phase::Standby => {}
        }
    }

    /// Ends the run. Payloads that are on their way get their outcomes.
    fn stop(&mut self, cx: &mut Cx<'_>) {
        self.close_clients(cx);
        self.phase = Phase::Standby;
        (self.tables, self.writing, self.is_collecting) = (None, None, false);
        self.timers.drain(..).for_each(|timer| cx.cancel_timer(timer));
    }

    fn handle_watch_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        let Phase::Watching(client) = &mut self.phase else { return };
        match &mut self.tables {
            Some(tables) => client.handle_event(cx, local, event, &mut TableWriter(tables)),
            None => client.handle_event(cx, local, event, &mut Nobody),
        }
        if !self.is_collecting && self.tables.as_ref().is_some_and(|tables| tables.is_complete()) {
            self.is_collecting = true;
            self.log.info("Completed syncing shared informer caches.", &[]);
            cx.report_status(SYNC_PART, StatusReport::Ok);
            self.timers.drain(..).for_each(|timer| cx.cancel_timer(timer));
            self.set_collect_timer(cx);
        }
    }

    fn set_collect_timer(&mut self, cx: &mut Cx<'_>) {
        self.timers.clear();
        self.timers.push(cx.set_timer(COLLECT_TIMER, cx.now() + self.config.collection_interval));
    }

    /// An interval has passed.
    fn collect(&mut self, cx: &mut Cx<'_>) {
        if !self.is_collecting {
            return;
        }
        self.set_collect_timer(cx);
        let Some(mut tables) = self.tables.take_if(|_| self.sent.is_empty()) else {
            if let Some(count) = self.left_out.add(cx.now(), 1) {
                let fields = [("count", LogField::Uint(count))];
                self.log.warn("a scrape is left out, because the one before has not ended", &fields);
            }
            return;
        };
        if let Phase::Watching(client) = &mut self.phase {
            client.set_paused(cx, true);
        }
        let now = cx.wall_time().0;
        self.writing = Some(cx.run_job(WRITE_JOB, move || {
            let bodies = tables.write(now);
            (tables, bodies)
        }));
    }

    fn end_writing(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        let Some(job) = self.writing.take_if(|job| job.has_ended()) else { return };
        let Some((tables, bodies)) = job.take() else {
            // The tables are gone with the job.
            return self.fail(cx, "the metrics could not be written");
        };
        self.tables = Some(tables);
        cx.request_ready(REMOVE_TURN);
        if let Phase::Watching(client) = &mut self.phase {
            client.set_paused(cx, false);
        }
        for body in bodies.into_iter().filter(|_| !self.is_closed) {
            let items = body.items();
            let body = body.finish();
            let held = input.budget().hold(body.len() as u64);
            let request = self.next_request;
            self.next_request += 1;
            self.sent.insert(request, items);
            input.send(cx, request, Payload { signal: Signal::Metrics, body, metadata: None, held });
        }
    }

    /// Removes some of the objects that new lists lack.
    fn remove_unlisted(&mut self, cx: &mut Cx<'_>) {
        if self.tables.as_mut().is_some_and(|tables| tables.remove_unlisted()) {
            cx.request_ready(REMOVE_TURN);
        }
    }

    fn handle_sync_timer(&mut self, cx: &mut Cx<'_>) {
        if !self.is_collecting && matches!(self.phase, Phase::Watching(_)) {
            self.log.error("Timed out waiting for initial cache sync.", &[]);
            let error = "not all objects could be listed yet";
            cx.report_status(SYNC_PART, StatusReport::RecoverableError(error));
        }
    }
}

impl Receiver for ClusterReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.server = Some(ApiServer::find(&self.config.api, cx)?);
        self.started = cx.wall_time().0;
        self.condition.subscribe(cx, LEADER_KEY);
        cx.request_ready(LEADER_KEY);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, input: &mut PipelineInput<'_>) {
        if self.is_closed {
            return;
        }
        match local {
            LEADER_KEY => self.handle_leadership(cx),
            BEGIN_TIMER if matches!(self.phase, Phase::Waiting(_)) => self.begin(cx),
            COLLECT_TIMER => self.collect(cx),
            WRITE_JOB => self.end_writing(cx, input),
            SYNC_TIMER => self.handle_sync_timer(cx),
            REMOVE_TURN => self.remove_unlisted(cx),
            _ if local >> RUN_SHIFT == self.run && self.run > 0 => {
                self.handle_discovery(cx, local, &event);
                self.handle_watch_event(cx, local, &event);
            }
            _ => {}
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, request: u64, outcome: Outcome) {
        if let Some(items) = self.sent.remove(&request) {
            self.metrics.record_outcome(Signal::Metrics, items, &outcome);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        self.is_closed = true;
        self.stop(cx);
    }

    fn is_closed(&self) -> bool {
        self.is_closed && self.sent.is_empty()
    }
}
