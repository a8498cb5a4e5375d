//! The processor: takes payloads apart, keeps the time of decisions, passes sampled traces on.
//!
//! Payloads that arrive while a long one is taken apart wait behind it. While later components accept nothing, decisions
//! wait; above the bounds payloads are then refused, retryably.
//!
//! A payload is in custody here when it is taken apart. With `await_delivery` its sender has the outcome when all of its traces have theirs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use otelcore_pdata::edit::EditError;
use otelcore_pdata::{Rope, Signal, StepBudget};
use otelcore_pipeline::{
    Ack, AckPieces, Budget, BuildContext, Cx, Downstream, Error, Event, JobResult, Kept, LogField, Logger,
    MonotonicTime, Outcome, Payload, PeriodicCount, Processor, StartError, TimerId,
};

use crate::config::{SamplingStrategy, TailSamplingConfig};
use crate::decision_cache::{DecisionCache, ENTRY_BYTES};
use crate::metrics::TailSamplingMetrics;
use crate::policy::{Answers, Policies, TraceView};
use crate::span_groups::{SpanGroup, groups_of};
use crate::traces::{Decision, TraceId, Traces};

/// The time between two looks at what is due.
const TICK: Duration = Duration::from_secs(1);
/// The bound of bytes without a memory limiter.
const DEFAULT_MAX_BYTES: u64 = 512 << 20;
/// Payloads above this size are taken apart on a helper thread, and traces above it are decided there.
const MAX_INLINE_BYTES: usize = 256 << 10;
/// Units of work for a trace and for each byte that a policy reads.
const WORK_PER_TRACE: u64 = 2000;
const WORK_PER_BYTE: u64 = 2;
/// Sampled traces are passed on together up to these bounds.
const MAX_OUTPUT_SPANS: u32 = 512;
const MAX_OUTPUT_BYTES: usize = 1 << 20;
/// Payloads that are passed on and not settled, at most.
const MAX_IN_FLIGHT: usize = 64;
/// Bytes of payloads that may wait behind one that is taken apart.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// The pause before a refused payload is passed on again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The shortest time between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The local keys of events.
const TICK_KEY: u64 = 0;
const NEXT_TURN_KEY: u64 = 1;
const RETRY_KEY: u64 = 2;
const GROUP_JOB_KEY: u64 = 3;
const DECISION_JOB_KEY: u64 = 4;

/// A payload that is taken apart.
enum Intake {
    /// On a helper thread.
    Job(JobResult<Result<Vec<SpanGroup>, EditError>>, Ack, u32),
    /// The groups that are not added yet.
    Groups(std::vec::IntoIter<SpanGroup>, IntakeAck),
}

/// When the sender of a payload gets the outcome.
enum IntakeAck {
    /// When it is taken apart.
    Whole(Ack),
    /// When each of its traces has one.
    Pieces(AckPieces),
}

/// Sampled traces that are passed on, and the acks of the payloads that they came with.
struct Sent {
    payload: Payload,
    acks: Vec<Ack>,
}

fn settle_all(acks: impl IntoIterator<Item = Ack>, outcome: &Outcome) {
    acks.into_iter().for_each(|ack| ack.settle(outcome.clone()));
}

/// A decision, with the policies that made it and the spans that it is about.
struct DecisionEnd {
    policies: Policies,
    decision: Decision,
    answers: Answers,
    body: Rope,
}

/// A trace that is decided on a helper thread.
struct DecisionJob {
    id: TraceId,
    result: JobResult<DecisionEnd>,
    spans: u32,
}

pub(crate) struct TailSamplingProcessor {
    config: TailSamplingConfig,
    /// That of the configuration, or its default.
    max_bytes: u64,
    /// `None` while a helper thread has them.
    policies: Option<Policies>,
    traces: Traces,
    sampled: DecisionCache,
    not_sampled: DecisionCache,
    /// When the processor was started: ticks are counted from then on.
    started: MonotonicTime,
    timer: Option<TimerId>,
    is_draining: bool,
    intake: Option<Intake>,
    waiting: VecDeque<(Payload, Ack)>,
    waiting_bytes: usize,
    /// Spans of payloads that wait or are taken apart.
    entering_spans: u64,
    decision_job: Option<DecisionJob>,
    output: Rope,
    output_acks: Vec<Ack>,
    in_flight: BTreeMap<u64, Sent>,
    refused: BTreeMap<u64, Sent>,
    retry_timer: Option<TimerId>,
    next_payload: u64,
    work_left: StepBudget,
    is_turn_requested: bool,
    budget: Arc<Budget>,
    kept: Kept,
    metrics: TailSamplingMetrics,
    log: Logger,
    error_count: PeriodicCount,
}

impl TailSamplingProcessor {
    pub(crate) fn new(config: &TailSamplingConfig, policies: Policies, context: &BuildContext<'_>) -> Self {
        let max_bytes = match (config.max_bytes, context.budget.limit()) {
            (0, u64::MAX) => DEFAULT_MAX_BYTES,
            (0, limit) => limit / 2,
            (bytes, _) => bytes,
        };
        let id = context.id.to_string();
        let name = id.split_once('/').map_or("", |(_, name)| name);
        Self {
            config: config.clone(),
            max_bytes,
            metrics: TailSamplingMetrics::new(context.telemetry, name, &policies),
            policies: Some(policies),
            traces: Traces::default(),
            sampled: DecisionCache::new(config.decision_cache.sampled_cache_size),
            not_sampled: DecisionCache::new(config.decision_cache.non_sampled_cache_size),
            started: MonotonicTime::default(),
            timer: None,
            is_draining: false,
            intake: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            entering_spans: 0,
            decision_job: None,
            output: Rope::default(),
            output_acks: Vec::new(),
            in_flight: BTreeMap::new(),
            refused: BTreeMap::new(),
            retry_timer: None,
            next_payload: 0,
            work_left: StepBudget::for_one_step(),
            is_turn_requested: false,
            budget: context.budget.clone(),
            kept: context.budget.keep(0),
            log: context.log.clone(),
            error_count: PeriodicCount::new(LOG_INTERVAL),
        }
    }

    /// The ticks since the start.
    fn tick(&self, now: MonotonicTime) -> u64 {
        if self.is_draining { u64::MAX } else { now.since(self.started).as_secs() / TICK.as_secs() }
    }

    fn decides_at_arrival(&self) -> bool {
        self.config.sampling_strategy == SamplingStrategy::SpanIngest
    }

    fn is_blocked(&self) -> bool {
        !self.refused.is_empty() || self.in_flight.len() >= MAX_IN_FLIGHT
    }

    /// Whether there is no room for another trace.
    fn is_full(&self) -> bool {
        self.traces.len() >= self.config.num_traces || self.traces.span_bytes() >= self.max_bytes
    }

    /// The refusal of a payload, if there is one. Early decisions make room; where they have to wait, payloads wait too.
    fn intake_refusal(&self) -> Option<Outcome> {
        let max_traces = self.config.num_traces;
        let is_far_above = self.traces.span_bytes() / 5 * 4 > self.max_bytes
            || self.traces.len() > max_traces.saturating_add(max_traces / 4 + 1000);
        let refuses = self.config.block_on_overflow && self.is_full() && self.traces.has_pending();
        if refuses || is_far_above {
            let why = Error::new("the tail_sampling processor is full");
            return Some(Outcome::Retry { after: Some(TICK), why });
        }
        if self.in_flight.len() + self.refused.len() >= MAX_IN_FLIGHT {
            return Some(Outcome::Retry { after: Some(RETRY_PAUSE), why: Error::new("sending queue is full") });
        }
        if self.waiting_bytes > MAX_WAITING_BYTES {
            return Some(Outcome::Retry { after: Some(RETRY_PAUSE), why: Error::new("too many payloads are waiting") });
        }
        if !self.kept.has_room() && !self.traces.has_pending() {
            return Some(Outcome::Retry { after: None, why: Error::new("data refused due to high memory usage") });
        }
        None
    }

    // ---- payloads ---------------------------------------------------------------------------------------------------

    /// Takes payloads apart, one after another, within the work of the turn.
    fn take_in(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        loop {
            match self.intake.take() {
                Some(Intake::Groups(mut groups, ack)) => {
                    while !self.work_left.is_spent() {
                        let Some(group) = groups.next() else { break };
                        self.work_left.charge(WORK_PER_TRACE / 4 + group.entry.len() as u64);
                        let piece = match &ack {
                            IntakeAck::Whole(_) => None,
                            IntakeAck::Pieces(pieces) => Some(pieces.piece()),
                        };
                        self.add(cx, group, piece, downstream);
                    }
                    if groups.len() > 0 {
                        self.intake = Some(Intake::Groups(groups, ack));
                        return self.request_turn(cx);
                    }
                    if let IntakeAck::Whole(ack) = ack {
                        ack.settle(Outcome::Delivered);
                    }
                }
                Some(job @ Intake::Job(..)) => {
                    self.intake = Some(job);
                    return;
                }
                None => {
                    let Some((payload, ack)) = self.waiting.pop_front() else { return };
                    self.waiting_bytes -= payload.body.len();
                    self.begin(cx, payload, ack, downstream);
                }
            }
        }
    }

    fn begin(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        let spans = payload.items();
        let body = payload.body;
        if body.len() > MAX_INLINE_BYTES {
            let held = payload.held;
            let group = move || {
                let groups = groups_of(&body);
                drop(held);
                groups
            };
            self.intake = Some(Intake::Job(cx.run_job(GROUP_JOB_KEY, group), ack, spans));
        } else {
            self.work_left.charge(body.len() as u64);
            self.begin_groups(groups_of(&body), ack, spans, downstream);
        }
    }

    fn begin_groups(
        &mut self,
        groups: Result<Vec<SpanGroup>, EditError>,
        ack: Ack,
        spans: u32,
        downstream: &mut Downstream,
    ) {
        match groups {
            Ok(groups) => {
                let ack = if self.config.await_delivery {
                    IntakeAck::Pieces(ack.into_pieces())
                } else {
                    IntakeAck::Whole(ack)
                };
                self.intake = Some(Intake::Groups(groups.into_iter(), ack));
            }
            Err(error) => self.refuse_taken(ack, spans, Outcome::permanent(error.to_string()), downstream),
        }
    }

    /// Refuses a payload that was accepted before.
    fn refuse_taken(&mut self, ack: Ack, spans: u32, outcome: Outcome, downstream: &mut Downstream) {
        self.entering_spans -= u64::from(spans);
        downstream.refuse(ack, spans, outcome);
    }

    fn end_group_job(&mut self, downstream: &mut Downstream) {
        match self.intake.take() {
            Some(Intake::Job(result, ack, spans)) => match result.take() {
                Some(groups) => self.begin_groups(groups, ack, spans, downstream),
                None => {
                    let outcome = Outcome::permanent("the traces could not be separated");
                    self.refuse_taken(ack, spans, outcome, downstream);
                }
            },
            other => self.intake = other,
        }
    }

    /// Adds the spans of one trace, or does with them what was decided.
    fn add(&mut self, cx: &mut Cx<'_>, group: SpanGroup, ack: Option<Ack>, downstream: &mut Downstream) {
        let SpanGroup { trace_id: id, entry, spans, has_root } = group;
        let now = cx.now();
        self.entering_spans -= u64::from(spans);
        if self.sampled.use_id(&id) {
            self.metrics.released_sampled.add(u64::from(spans));
            return self.emit(Rope::new(entry.into(), spans), ack, downstream);
        }
        if self.not_sampled.use_id(&id) {
            settle_all(ack, &Outcome::Delivered);
            downstream.record_dropped("not_sampled", u64::from(spans));
            return self.metrics.released_not_sampled.add(u64::from(spans));
        }
        if self.traces.get(&id).is_none() {
            if self.is_full() || !self.kept.has_room() {
                self.make_room(cx);
            }
            self.metrics.new_traces.add(1);
            let wait_ticks = self.config.decision_wait.as_secs().max(1);
            self.traces.insert(id, now, self.tick(now).saturating_add(wait_ticks + 1));
            self.set_timer(cx);
        }
        let size = self.traces.count(&id, spans, entry.len());
        let root_wait = self.config.decision_wait_after_root_received;
        if has_root && !root_wait.is_zero() {
            self.traces.make_due_by(&id, self.tick(now).saturating_add(root_wait.as_secs() + 1));
        }
        let decision = self.traces.get(&id).and_then(|trace| trace.decision);
        let mut ack = ack;
        if decision.is_none()
            && let Some(ack) = ack.take()
        {
            self.traces.add_ack(&id, ack);
        }
        match decision {
            Some((decision, decided)) => {
                self.metrics.late_span_age.observe(now.since(decided).as_secs_f64().floor());
                if decision == Decision::Sampled {
                    self.emit(Rope::new(entry.into(), spans), ack, downstream);
                } else {
                    settle_all(ack, &Outcome::Delivered);
                    downstream.record_dropped("not_sampled", u64::from(spans));
                }
            }
            None if (1..size).contains(&self.config.maximum_trace_size_bytes) => {
                self.metrics.too_large.add(1);
                self.release(cx, &id, Decision::NotSampled, Rope::new(entry.into(), spans), downstream);
            }
            None if self.decides_at_arrival() => {
                self.decide_arrived(cx, &id, Rope::new(entry.into(), spans), downstream);
            }
            None => self.traces.append(&id, &entry, spans),
        }
        self.update_charge();
    }

    /// Decides the oldest traces early, or forgets old decisions, until one more fits.
    fn make_room(&mut self, cx: &mut Cx<'_>) {
        if self.config.block_on_overflow && self.traces.has_pending() {
            return;
        }
        if self.traces.release_oldest() && self.traces.has_ready() {
            self.request_turn(cx);
        }
    }

    /// With `span-ingest`: decides by the spans that arrived.
    fn decide_arrived(&mut self, cx: &mut Cx<'_>, id: &TraceId, entry: Rope, downstream: &mut Downstream) {
        let total = self.traces.get(id).map_or(0, |trace| trace.spans);
        let view = TraceView { id, body: &entry, spans: total, now: cx.now(), wall_time: cx.wall_time() };
        // Without jobs the policies are always here.
        let Some(policies) = &mut self.policies else {
            return self.traces.append(id, &entry.to_bytes(), entry.items());
        };
        self.work_left.charge(policies.passes() * WORK_PER_BYTE * entry.len() as u64);
        let (decision, answers) = policies.decide_at_arrival(&view);
        self.count_answers(cx.now(), &answers);
        match decision {
            None => self.traces.append(id, &entry.to_bytes(), entry.items()),
            Some(decision) => {
                let mut body = self.traces.take_spans(id);
                body.append(entry);
                self.metrics.count_decision(decision);
                self.release(cx, id, decision, body, downstream);
            }
        }
    }

    // ---- decisions --------------------------------------------------------------------------------------------------

    /// Decides what is due, within the work of the turn and while later components accept what is sampled.
    fn decide_ready(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        let now = cx.now();
        let tick = self.tick(now);
        self.traces.reach(tick);
        while !self.is_blocked() && self.decision_job.is_none() {
            if self.work_left.is_spent() {
                if self.traces.has_ready() {
                    self.request_turn(cx);
                }
                break;
            }
            let Some(id) = self.traces.next_ready(tick) else { break };
            if self.decides_at_arrival() {
                // No policy has sampled it.
                self.metrics.count_decision(Decision::NotSampled);
                self.release(cx, &id, Decision::NotSampled, Rope::default(), downstream);
                self.forget(&id, now);
            } else {
                self.decide(cx, id, downstream);
            }
        }
        self.flush_output(downstream);
        self.metrics.on_memory.set(self.traces.len() as u64);
        self.update_charge();
        self.set_timer(cx);
    }

    fn decide(&mut self, cx: &mut Cx<'_>, id: TraceId, downstream: &mut Downstream) {
        let Some(mut policies) = self.policies.take() else { return };
        let body = self.traces.take_spans(&id);
        let (now, wall_time) = (cx.now(), cx.wall_time());
        let spans = body.items();
        let (bytes, passes) = (body.len(), policies.passes());
        let decide = move || {
            let view = TraceView { id: &id, body: &body, spans: u64::from(spans), now, wall_time };
            let (decision, answers) = policies.decide(&view);
            DecisionEnd { policies, decision, answers, body }
        };
        if bytes > MAX_INLINE_BYTES {
            self.decision_job = Some(DecisionJob { id, result: cx.run_job(DECISION_JOB_KEY, decide), spans });
            return;
        }
        self.work_left.charge(WORK_PER_TRACE + passes * WORK_PER_BYTE * bytes as u64);
        self.end_decision(cx, &id, decide(), downstream);
    }

    fn end_decision_job(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        let Some(DecisionJob { id, result, spans }) = self.decision_job.take() else { return };
        let Some(end) = result.take() else {
            // The policies are gone with the job; others take their place.
            self.policies = Policies::new(&self.config).ok();
            let fields = [("dropped_items", LogField::Uint(u64::from(spans)))];
            downstream.record_dropped("undecided", u64::from(spans));
            settle_all(self.traces.take_acks(&id), &Outcome::permanent("a trace could not be decided"));
            return self.log.error("A trace could not be decided.", &fields);
        };
        self.end_decision(cx, &id, end, downstream);
    }

    fn end_decision(&mut self, cx: &Cx<'_>, id: &TraceId, end: DecisionEnd, downstream: &mut Downstream) {
        let DecisionEnd { policies, decision, answers, body } = end;
        self.policies = Some(policies);
        self.count_answers(cx.now(), &answers);
        self.metrics.count_decision(decision);
        self.release(cx, id, decision, body, downstream);
    }

    /// Does with a trace what was decided. Spans that came meanwhile follow the decision.
    fn release(&mut self, cx: &Cx<'_>, id: &TraceId, decision: Decision, body: Rope, downstream: &mut Downstream) {
        let now = cx.now();
        let is_early = self.traces.record_decision(id, decision, now);
        if is_early {
            self.metrics.too_early.add(1);
        }
        let mut body = body;
        body.append(self.traces.take_spans(id));
        let acks = self.traces.take_acks(id);
        let cache = if decision == Decision::Sampled { &mut self.sampled } else { &mut self.not_sampled };
        let is_cached = cache.insert(*id);
        if decision == Decision::Sampled {
            self.emit(body, acks, downstream);
        } else {
            settle_all(acks, &Outcome::Delivered);
            downstream.record_dropped("not_sampled", u64::from(body.items()));
        }
        if is_cached || is_early {
            self.forget(id, now);
        }
    }

    fn forget(&mut self, id: &TraceId, now: MonotonicTime) {
        if let Some(arrived) = self.traces.remove(id) {
            self.metrics.removal_age.observe(now.since(arrived).as_secs_f64().floor());
        }
    }

    fn count_answers(&mut self, now: MonotonicTime, answers: &Answers) {
        self.metrics.count_answers(answers);
        let Some((index, error)) = answers.errors.first() else { return };
        if self.error_count.add(now, 1).is_some() {
            let policy = self.policies.as_ref().and_then(|policies| policies.names().nth(*index)).unwrap_or_default();
            self.log
                .warn("Sampling policy error", &[("policy", LogField::Str(policy)), ("error", LogField::Str(error))]);
        }
    }

    // ---- output -----------------------------------------------------------------------------------------------------

    fn emit(&mut self, body: Rope, acks: impl IntoIterator<Item = Ack>, downstream: &mut Downstream) {
        self.output.append(body);
        self.output_acks.extend(acks);
        if self.output.items() >= MAX_OUTPUT_SPANS || self.output.len() >= MAX_OUTPUT_BYTES {
            self.flush_output(downstream);
        }
    }

    fn flush_output(&mut self, downstream: &mut Downstream) {
        if self.output.is_empty() {
            return;
        }
        let body = std::mem::take(&mut self.output);
        let held = self.budget.hold(body.len() as u64);
        let payload = Payload { signal: Signal::Traces, body, metadata: None, held };
        let number = self.next_payload;
        self.next_payload += 1;
        downstream.send(payload.clone(), downstream.new_ack(number));
        self.in_flight.insert(number, Sent { payload, acks: std::mem::take(&mut self.output_acks) });
    }

    fn update_charge(&mut self) {
        let cached = (self.sampled.len() + self.not_sampled.len()) as u64 * ENTRY_BYTES;
        self.kept.set(self.traces.memory() + cached);
    }

    fn set_timer(&mut self, cx: &mut Cx<'_>) {
        if self.timer.is_none() && !self.is_draining && self.traces.has_pending() {
            let next = u32::try_from(self.tick(cx.now()) + 1).unwrap_or(u32::MAX);
            self.timer = Some(cx.set_timer(TICK_KEY, self.started + TICK * next));
        }
    }

    fn request_turn(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.is_turn_requested, true) {
            cx.request_ready(NEXT_TURN_KEY);
        }
    }

    fn advance(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        self.take_in(cx, downstream);
        self.decide_ready(cx, downstream);
    }
}

impl Processor for TailSamplingProcessor {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.started = cx.now();
        Ok(())
    }

    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        if let Some(refusal) = self.intake_refusal() {
            downstream.refuse(ack, payload.items(), refusal);
            return self.decide_ready(cx, downstream);
        }
        self.waiting_bytes += payload.body.len();
        self.entering_spans += u64::from(payload.items());
        self.waiting.push_back((payload, ack));
        self.take_in(cx, downstream);
        self.flush_output(downstream);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, downstream: &mut Downstream) {
        match local {
            TICK_KEY => self.timer = None,
            NEXT_TURN_KEY => {
                self.work_left = StepBudget::for_one_step();
                self.is_turn_requested = false;
            }
            RETRY_KEY => {
                self.retry_timer = None;
                for (number, sent) in std::mem::take(&mut self.refused) {
                    downstream.send(sent.payload.clone(), downstream.new_ack(number));
                    self.in_flight.insert(number, sent);
                }
            }
            GROUP_JOB_KEY => self.end_group_job(downstream),
            DECISION_JOB_KEY => self.end_decision_job(cx, downstream),
            _ => return,
        }
        self.advance(cx, downstream);
    }

    fn settled(&mut self, cx: &mut Cx<'_>, number: u64, outcome: Outcome, downstream: &mut Downstream) {
        let Some(sent) = self.in_flight.remove(&number) else { return };
        let items = u64::from(sent.payload.items());
        match &outcome {
            Outcome::Delivered => {}
            Outcome::Retry { after, .. } => {
                self.refused.insert(number, sent);
                if self.retry_timer.is_none() {
                    let at = cx.now() + after.unwrap_or_default().max(RETRY_PAUSE);
                    self.retry_timer = Some(cx.set_timer(RETRY_KEY, at));
                }
                return;
            }
            Outcome::Permanent(why) => {
                let fields = [("error", LogField::Str(&why.message)), ("dropped_items", LogField::Uint(items))];
                self.log.warn("Error sending spans to destination", &fields);
                downstream.record_dropped("refused_downstream", items);
            }
            Outcome::Lost(_) => {
                self.log.warn("Error sending spans to destination", &[("dropped_items", LogField::Uint(items))]);
                downstream.record_dropped("refused_downstream", items);
            }
        }
        settle_all(sent.acks, &outcome);
        self.advance(cx, downstream);
    }

    fn refusal(&self) -> Option<Outcome> {
        self.intake_refusal()
    }

    fn flush(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        self.traces.reach_end();
        self.advance(cx, downstream);
    }

    fn drain(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        self.is_draining = true;
        if self.config.drop_pending_traces_on_shutdown {
            downstream.record_dropped("shutdown", self.traces.pending_spans());
            self.traces = Traces::default();
        }
        self.traces.reach_end();
        self.advance(cx, downstream);
    }

    fn held_items(&self) -> u64 {
        let payloads = self.in_flight.values().chain(self.refused.values());
        payloads.map(|sent| u64::from(sent.payload.items())).sum::<u64>()
            + self.entering_spans
            + self.traces.pending_spans()
            + self.decision_job.as_ref().map_or(0, |job| u64::from(job.spans))
            + u64::from(self.output.items())
    }
}
