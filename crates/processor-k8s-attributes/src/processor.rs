//! The processor: passes payloads through the tables, and the watches' events into them.
//!
//! A payload that takes long is edited on a helper thread, and the tables are there meanwhile: payloads behind it wait,
//! and nothing is read from the API server. With `wait_for_metadata` payloads wait for the first lists.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use otelcore_kubernetes_client::{ChangeKind, ObjectConsumer, WatchClient, WatchId};
use otelcore_pdata::edit::{EditPass, Edited, OutputLimit};
use otelcore_pdata::{Rope, StepBudget};
use otelcore_pipeline::{
    Ack, Budget, BuildContext, Cx, Downstream, Event, Held, JobResult, LogField, Logger, LossReason, MonotonicTime,
    Outcome, Payload, Processor, StartError, StatusReport, TimerId,
};

use crate::association::Associations;
use crate::config::K8sAttributesConfig;
use crate::enrich::Enricher;
use crate::fields::Kind;
use crate::image::ImageParser;
use crate::metrics::Metrics;
use crate::rules::Rules;
use crate::tables::Tables;
use crate::watches::{TableWriter, remove_unlisted, watch_specs};

/// Bytes of payloads that may wait.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// Units of work for a byte: each attribute is looked for among those of the resource.
const COST_PER_BYTE: u64 = 24;

/// Why payloads are refused after `wait_for_metadata_timeout`.
const NOT_KNOWN_YET: &str = "the metadata of the cluster is not known yet";

/// Local keys; those of the client are above them.
const JOB_KEY: u64 = 0;
const NEXT_TURN_KEY: u64 = 1;
const SYNC_KEY: u64 = 2;
const REMOVAL_KEY: u64 = 3;
const CLIENT_KEYS: u64 = 1 << 32;

/// Whether payloads wait for the first lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SyncState {
    Waiting,
    /// For longer than `wait_for_metadata_timeout`.
    Late,
    Done,
}

type EditResult = Result<(Rope, Edited, Held), Outcome>;

/// A pass over one payload, with what it needs.
struct EditTask {
    pass: EditPass,
    enricher: Box<Enricher>,
    /// The charge for the new bytes.
    output: Held,
}

impl EditTask {
    /// Goes on until the end (true) or the end of the step.
    fn step(&mut self, work: &mut StepBudget) -> Result<bool, Outcome> {
        let is_done =
            self.pass.step(&mut *self.enricher, work).map_err(|error| Outcome::permanent(error.to_string()))?;
        if !is_done {
            let written = self.pass.written() as u64;
            self.output.try_grow(written).map_err(|no_room| Outcome::retry(no_room.to_string()))?;
        }
        Ok(is_done)
    }

    fn end(self, result: Result<bool, Outcome>) -> (Box<Enricher>, EditResult) {
        let (rope, edited) = self.pass.finish();
        (self.enricher, result.map(|_| (rope, edited, self.output)))
    }

    /// Goes on until the end, however long that takes. For a helper thread.
    fn run(mut self) -> (Box<Enricher>, EditResult) {
        let result = loop {
            match self.step(&mut StepBudget::for_one_step()) {
                Ok(false) => {}
                ended => break ended,
            }
        };
        self.end(result)
    }
}

/// A payload that is edited on a helper thread.
struct RunningEdit {
    result: JobResult<(Box<Enricher>, EditResult)>,
    /// Without its body.
    payload: Payload,
    ack: Ack,
    items: u32,
}

/// One instance, of one pipeline.
pub(crate) struct K8sAttributesProcessor {
    config: K8sAttributesConfig,
    rules: Arc<Rules>,
    associations: Arc<Associations>,
    images: ImageParser,
    budget: Arc<Budget>,
    log: Logger,
    metrics: Metrics,
    client: Option<WatchClient>,
    kinds: Vec<Kind>,
    synced: Vec<bool>,
    sync: SyncState,
    /// `None` while a helper thread has it.
    enricher: Option<Box<Enricher>>,
    edit: Option<RunningEdit>,
    waiting: VecDeque<(Payload, Ack)>,
    waiting_bytes: usize,
    is_turn_requested: bool,
    removal_timer: Option<(MonotonicTime, TimerId)>,
}

impl K8sAttributesProcessor {
    pub(crate) fn new(config: &K8sAttributesConfig, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let pattern_error = |error: otelcore_go_regexp::PatternError| StartError::Config(error.to_string());
        let associations = Arc::new(Associations::compile(config));
        Ok(Self {
            rules: Arc::new(Rules::compile(config).map_err(pattern_error)?),
            images: ImageParser::new().map_err(pattern_error)?,
            metrics: Metrics::new(context.telemetry, &associations),
            associations,
            config: config.clone(),
            budget: context.budget.clone(),
            log: context.log.clone(),
            client: None,
            kinds: Vec::new(),
            synced: Vec::new(),
            sync: SyncState::Done,
            enricher: None,
            edit: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_turn_requested: false,
            removal_timer: None,
        })
    }

    fn new_enricher(&self) -> Box<Enricher> {
        let tables = Tables::new(self.budget.clone(), self.config.pod_delete_grace_period);
        let (rules, associations) = (self.rules.clone(), self.associations.clone());
        Box::new(Enricher::new(rules, associations, tables, self.config.passthrough))
    }

    /// The node of `filter`.
    fn node(&self, cx: &Cx<'_>) -> Result<String, StartError> {
        let filter = &self.config.filter;
        if filter.node_from_env_var.is_empty() {
            return Ok(filter.node.clone());
        }
        let variable = &filter.node_from_env_var;
        cx.env_var(variable).ok_or_else(|| {
            StartError::Config(format!("`node_from_env_var` is configured but envvar {variable:?} is not set"))
        })
    }

    fn start_watches(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let node = self.node(cx)?;
        let mut client = WatchClient::start(&self.config.api, cx, self.log.clone(), CLIENT_KEYS)?;
        let specs = watch_specs(&self.config, &self.rules, &node);
        self.kinds = specs.iter().map(|(kind, _)| *kind).collect();
        self.synced = vec![false; specs.len()];
        self.metrics.add_kinds(&self.kinds);
        for (_, spec) in specs {
            client.add_watch(cx, spec);
        }
        self.client = Some(client);
        if self.config.wait_for_metadata {
            self.sync = SyncState::Waiting;
            cx.set_timer(SYNC_KEY, cx.now() + self.config.wait_for_metadata_timeout);
        }
        Ok(())
    }

    // ---- payloads -----------------------------------------------------------------------------------------------

    /// Edits a payload and passes it on, or gives it to a helper thread.
    fn edit(
        &mut self,
        cx: &mut Cx<'_>,
        mut payload: Payload,
        ack: Ack,
        work: &mut StepBudget,
        downstream: &mut Downstream,
    ) {
        let mut enricher = self.enricher.take().unwrap_or_else(|| self.new_enricher());
        enricher.begin(&payload);
        let OutputLimit { factor, extra } = OutputLimit::default();
        let limit = OutputLimit { factor, extra: extra.saturating_add(enricher.max_added(&payload)) };
        let body = std::mem::take(&mut payload.body);
        let most_work = (body.len() as u64).saturating_mul(COST_PER_BYTE);
        let items = body.items();
        let output = payload.held.hold_derived(0);
        let mut task = EditTask { pass: EditPass::new(payload.signal, body, limit), enricher, output };
        if most_work <= StepBudget::UNITS_PER_STEP {
            match task.step(work) {
                Ok(false) => {}
                ended => {
                    let (enricher, result) = task.end(ended);
                    return self.end_edit(enricher, payload, ack, result, downstream);
                }
            }
        }
        if let Some(client) = &mut self.client {
            client.set_paused(cx, true);
        }
        let result = cx.run_job(JOB_KEY, move || task.run());
        self.edit = Some(RunningEdit { result, payload, ack, items });
    }

    fn end_edit(
        &mut self,
        mut enricher: Box<Enricher>,
        payload: Payload,
        ack: Ack,
        result: EditResult,
        downstream: &mut Downstream,
    ) {
        self.metrics.take(payload.signal, &mut enricher.counts);
        self.enricher = Some(enricher);
        pass_on(payload, ack, result, downstream);
    }

    /// The job of an edit has ended.
    fn finish_job(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        let Some(RunningEdit { result, payload, ack, .. }) = self.edit.take() else { return };
        match result.take() {
            Some((enricher, result)) => self.end_edit(enricher, payload, ack, result, downstream),
            // It has panicked, and the tables are lost with it.
            None => {
                ack.settle(Outcome::Lost(LossReason::Dropped));
                self.enricher = Some(self.new_enricher());
                if let Some(client) = &mut self.client {
                    client.reset(cx);
                }
            }
        }
        if let Some(client) = &mut self.client {
            client.set_paused(cx, false);
        }
    }

    /// Edits payloads that wait, until one takes longer or the work of this turn is done.
    fn edit_waiting(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        let mut work = StepBudget::for_one_step();
        while self.sync == SyncState::Done
            && self.edit.is_none()
            && let Some((payload, ack)) = self.waiting.pop_front()
        {
            if work.is_spent() {
                self.waiting.push_front((payload, ack));
                return self.request_turn(cx);
            }
            self.waiting_bytes -= payload.body.len();
            let mut step = StepBudget::for_one_step();
            // What the next components do with it in the same turn.
            work.charge(payload.body.len() as u64);
            self.edit(cx, payload, ack, &mut step, downstream);
            work.charge(step.spent());
        }
    }

    fn request_turn(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.is_turn_requested, true) {
            cx.request_ready(NEXT_TURN_KEY);
        }
    }

    // ---- objects ------------------------------------------------------------------------------------------------

    /// Passes an event on to the client, and what it has read to the tables.
    fn handle_client_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        let Some(client) = &mut self.client else { return };
        match &mut self.enricher {
            Some(enricher) => {
                let mut writer = TableWriter {
                    enricher,
                    images: &self.images,
                    kinds: &self.kinds,
                    synced: &mut self.synced,
                    metrics: &self.metrics,
                };
                client.handle_event(cx, local, event, &mut writer);
            }
            // It is paused, and passes nothing on.
            None => client.handle_event(cx, local, event, &mut Discard),
        }
        if self.sync != SyncState::Done && self.synced.iter().all(|synced| *synced) {
            if self.sync == SyncState::Late {
                cx.report_status(SYNC_KEY, StatusReport::Ok);
            }
            self.sync = SyncState::Done;
        }
    }

    /// Removes what is gone, some of it.
    fn remove_old(&mut self, cx: &mut Cx<'_>) {
        let Some(enricher) = &mut self.enricher else { return };
        enricher.tables.remove_due(cx.now());
        let has_more = remove_unlisted(cx, enricher, &self.kinds, &self.metrics);
        self.metrics.set_table_size(enricher.tables.key_count());
        let next = enricher.tables.next_removal();
        if has_more || next.is_some_and(|due| due <= cx.now()) {
            return self.request_turn(cx);
        }
        // A timer that fires too early is harmless.
        if let Some(due) = next
            && self.removal_timer.as_ref().is_none_or(|(at, _)| *at > due)
        {
            if let Some((_, id)) = self.removal_timer.take() {
                cx.cancel_timer(id);
            }
            // Several of them are removed at once.
            let due = due + Duration::from_secs(1);
            self.removal_timer = Some((due, cx.set_timer(REMOVAL_KEY, due)));
        }
    }

    /// The objects have not been listed in time.
    fn end_waiting(&mut self, cx: &mut Cx<'_>) {
        if self.sync != SyncState::Waiting {
            return;
        }
        self.sync = SyncState::Late;
        let client = self.client.as_ref();
        let missing = self.synced.iter().enumerate().filter(|(_, synced)| !**synced);
        let errors = missing.map(|(index, _)| {
            let error = client.and_then(|client| client.error(WatchId(index)));
            error.unwrap_or("no answer").to_owned()
        });
        let errors = errors.collect::<Vec<_>>().join("; ");
        let error = ("error", LogField::Str(&errors));
        self.log.error("failed to wait for caches to sync; data is refused until they are", &[error]);
        let text = format!("failed to wait for caches to sync: {errors}");
        cx.report_status(SYNC_KEY, StatusReport::RecoverableError(&text));
        for (_, ack) in std::mem::take(&mut self.waiting) {
            ack.settle(Outcome::retry(NOT_KNOWN_YET));
        }
        self.waiting_bytes = 0;
    }
}

/// For the client while it is paused.
struct Discard;

impl ObjectConsumer for Discard {
    fn begin_list(&mut self, _: WatchId) {}

    fn apply(&mut self, _: &mut Cx<'_>, _: WatchId, _: ChangeKind, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn end_list(&mut self, _: &mut Cx<'_>, _: WatchId) {}
}

fn pass_on(mut payload: Payload, ack: Ack, result: EditResult, downstream: &mut Downstream) {
    let (rope, edited, mut output) = match result {
        Ok(ended) => ended,
        Err(outcome) => return ack.settle(outcome),
    };
    if edited.changed_parts > 0 {
        output.grow(rope.len() as u64);
        if edited.shared_parts == 0 {
            payload.held = output;
        } else {
            payload.held.merge(output);
        }
    }
    payload.body = rope;
    downstream.send(payload, ack);
}

impl Processor for K8sAttributesProcessor {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.enricher = Some(self.new_enricher());
        if self.config.passthrough { Ok(()) } else { self.start_watches(cx) }
    }

    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        if self.sync == SyncState::Late {
            return ack.settle(Outcome::retry(NOT_KNOWN_YET));
        }
        if self.sync == SyncState::Done && self.edit.is_none() && self.waiting.is_empty() {
            return self.edit(cx, payload, ack, &mut StepBudget::for_one_step(), downstream);
        }
        let bytes = self.waiting_bytes + payload.body.len();
        if bytes > MAX_WAITING_BYTES && !self.waiting.is_empty() {
            return ack.settle(Outcome::retry("too much data waits for a processor"));
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back((payload, ack));
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, downstream: &mut Downstream) {
        match local {
            JOB_KEY => self.finish_job(cx, downstream),
            NEXT_TURN_KEY => self.is_turn_requested = false,
            SYNC_KEY => self.end_waiting(cx),
            REMOVAL_KEY => self.removal_timer = None,
            CLIENT_KEYS.. => self.handle_client_event(cx, local, &event),
            _ => {}
        }
        self.remove_old(cx);
        self.edit_waiting(cx, downstream);
    }

    fn refusal(&self) -> Option<Outcome> {
        (self.sync == SyncState::Late).then(|| Outcome::retry(NOT_KNOWN_YET))
    }

    /// Passes on what waits, with what is known.
    fn drain(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        self.sync = SyncState::Done;
        if let Some(client) = &mut self.client {
            client.close(cx);
        }
        self.edit_waiting(cx, downstream);
    }

    fn held_items(&self) -> u64 {
        let waiting = self.waiting.iter().map(|(payload, _)| u64::from(payload.items()));
        waiting.sum::<u64>() + self.edit.as_ref().map_or(0, |edit| u64::from(edit.items))
    }
}
