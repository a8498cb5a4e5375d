//! The processor: passes payloads through the tables, and the watches' events into them.
//!
//! A payload that takes long is edited on a helper thread, and the tables are there meanwhile: payloads behind it wait,
//! and nothing is read from the API server. With `wait_for_metadata` payloads wait for the first lists.

use std::sync::Arc;
use std::time::Duration;

use otelcore_kubernetes_client::{ChangeKind, ObjectConsumer, WatchClient, WatchId};
use otelcore_pdata::StepBudget;
use otelcore_pdata::edit::OutputLimit;
use otelcore_pipeline::{
    Ack, Budget, BuildContext, Cx, Downstream, EditQueue, EditedPayload, Event, LogField, Logger, MonotonicTime,
    Outcome, Payload, Processor, SinglePass, StartError, StatusReport, TimerId,
};

use crate::association::Associations;
use crate::config::K8sAttributesConfig;
use crate::enrich::Enricher;
use crate::fields::Kind;
use crate::metrics::Metrics;
use crate::rules::Rules;
use crate::tables::Tables;
use crate::watches::{TableWriter, remove_unlisted, watch_specs};
use otelcore_kubernetes_client::ImageParser;

/// Units of work for a byte: each attribute is looked for among those of the resource.
const COST_PER_BYTE: u64 = 24;

/// Why payloads are refused after `wait_for_metadata_timeout`.
const NOT_KNOWN_YET: &str = "the metadata of the cluster is not known yet";

/// Local keys, beside those of [`EditQueue`]; those of the client are above them.
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
    edits: EditQueue<Box<Enricher>>,
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
            edits: EditQueue::default(),
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
        (payload, ack): (Payload, Ack),
        step: &mut StepBudget,
        downstream: &mut Downstream,
    ) {
        let mut enricher = self.enricher.take().unwrap_or_else(|| self.new_enricher());
        enricher.begin(&payload);
        let OutputLimit { factor, extra } = OutputLimit::default();
        let limit = OutputLimit { factor, extra: extra.saturating_add(enricher.max_added(&payload)) };
        let most_work = (payload.body.len() as u64).saturating_mul(COST_PER_BYTE);
        let begin = |signal, body| SinglePass::new(signal, body, limit, enricher);
        match self.edits.edit(cx, (payload, ack), most_work, step, begin) {
            Some((enricher, edited)) => self.end_edit(enricher, edited, downstream),
            None => self.set_client_paused(cx, true),
        }
    }

    fn end_edit(&mut self, mut enricher: Box<Enricher>, edited: EditedPayload, downstream: &mut Downstream) {
        self.metrics.take(edited.signal(), &mut enricher.counts);
        self.enricher = Some(enricher);
        edited.pass_on(downstream, "removed");
    }

    /// The job of an edit has ended.
    fn finish_job(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        match self.edits.end_job(downstream) {
            None => return,
            Some(Ok((enricher, edited))) => self.end_edit(enricher, edited, downstream),
            // The tables are lost.
            Some(Err(_)) => {
                self.enricher = Some(self.new_enricher());
                if let Some(client) = &mut self.client {
                    client.reset(cx);
                }
            }
        }
        self.set_client_paused(cx, false);
    }

    fn set_client_paused(&mut self, cx: &mut Cx<'_>, is_paused: bool) {
        if let Some(client) = &mut self.client {
            client.set_paused(cx, is_paused);
        }
    }

    /// Edits payloads that wait, until one takes longer or the work of this turn is done.
    fn edit_waiting(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        let mut turn = StepBudget::for_one_step();
        while self.sync == SyncState::Done
            && let Some(waiting) = self.edits.next_waiting(cx, &mut turn)
        {
            let mut step = StepBudget::for_one_step();
            self.edit(cx, waiting, &mut step, downstream);
            turn.charge(step.spent());
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
            return self.edits.request_turn(cx);
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
    fn end_waiting(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
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
        for (payload, ack) in self.edits.take_waiting() {
            downstream.refuse(ack, payload.items(), Outcome::retry(NOT_KNOWN_YET));
        }
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

impl Processor for K8sAttributesProcessor {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.enricher = Some(self.new_enricher());
        if self.config.passthrough { Ok(()) } else { self.start_watches(cx) }
    }

    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        if self.sync == SyncState::Late {
            return downstream.refuse(ack, payload.items(), Outcome::retry(NOT_KNOWN_YET));
        }
        if self.sync == SyncState::Done && self.edits.is_empty() {
            return self.edit(cx, (payload, ack), &mut StepBudget::for_one_step(), downstream);
        }
        self.edits.push(payload, ack, downstream);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, downstream: &mut Downstream) {
        match local {
            EditQueue::<Box<Enricher>>::JOB_KEY => self.finish_job(cx, downstream),
            EditQueue::<Box<Enricher>>::NEXT_TURN_KEY => self.edits.begin_turn(),
            SYNC_KEY => self.end_waiting(cx, downstream),
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
        self.edits.items()
    }
}
