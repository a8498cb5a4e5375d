//! The component: takes payloads in, keeps the time of exports, passes metrics on.
//!
//! Payloads that arrive while a long one is aggregated wait behind it. While later components accept nothing, exports
//! wait, and spans are still aggregated: nothing that is counted is lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use otelcore_pdata::{Signal, StepBudget};
use otelcore_pipeline::{
    Ack, Budget, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Connector, ConnectorOutput, Cx,
    Event, Held, HeldItems, JobResult, LogField, Logger, LossReason, MonotonicTime, Outcome, Payload, StartError,
    TimerId,
};

use crate::aggregator::Aggregator;
use crate::config::SpanMetricsConfig;
use crate::export::{Export, ExportStep};
use crate::settings::Settings;

/// Payloads that are passed on and not settled, at most.
const MAX_IN_FLIGHT: usize = 16;
/// Bytes that wait behind a long payload, at most.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// The pause before a refused payload is passed on again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Units of work for a span beside its bytes.
const WORK_PER_SPAN: u64 = 300;

/// The local keys of events.
const EXPORT_KEY: u64 = 0;
const NEXT_TURN_KEY: u64 = 1;
const RETRY_KEY: u64 = 2;
const JOB_KEY: u64 = 3;

/// Makes `span_metrics` connectors.
#[derive(Clone, Copy, Debug)]
pub struct SpanMetricsFactory;

impl ComponentType for SpanMetricsFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Connector,
        type_name: "span_metrics",
        aliases: &["spanmetrics"],
        signals: &[Signal::Traces],
        stability: "Alpha",
    };
    const SIGNAL_PAIRS: &'static [(Signal, Signal)] = &[(Signal::Traces, Signal::Metrics)];
    type Config = SpanMetricsConfig;

    fn create(&self, config: &SpanMetricsConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let settings = Settings::new(config).map_err(StartError::Config)?;
        Ok(Component::Connector(Box::new(SpanMetrics::new(settings, context))))
    }
}

/// A payload that a helper thread aggregates.
struct RunningJob {
    result: JobResult<Aggregator>,
    ack: Ack,
    spans: u64,
    /// A charge of no bytes, made from that of the payload.
    held: Held,
}

/// Spans whose counts no later component has yet.
#[derive(Default)]
struct Unexported {
    /// Since the last export began.
    pending: u64,
    /// In the export that is being made.
    in_export: u64,
    /// In series that the last export has begun at zero.
    withheld: u64,
}

impl Unexported {
    fn total(&self) -> u64 {
        self.pending + self.in_export + self.withheld
    }
}

struct SpanMetrics {
    settings: Arc<Settings>,
    /// `None` before the start, and while a helper thread has it.
    aggregator: Option<Aggregator>,
    instance_id: String,
    job: Option<RunningJob>,
    waiting: VecDeque<(Payload, Ack)>,
    waiting_bytes: usize,
    waiting_spans: u64,
    started: MonotonicTime,
    export: Option<Export>,
    exports: u64,
    /// An export is to begin, and whether it is a final one.
    requested: Option<bool>,
    unexported: Unexported,
    /// Charges of no bytes from those of the first payloads that are not exported, so that a flush waits for their counts.
    pending_held: Held,
    export_held: Held,
    in_flight: BTreeMap<u64, Payload>,
    refused: BTreeMap<u64, Payload>,
    retry_timer: Option<TimerId>,
    next_payload: u64,
    is_draining: bool,
    work_left: StepBudget,
    is_turn_requested: bool,
    has_warned: bool,
    budget: Arc<Budget>,
    log: Logger,
}

impl SpanMetrics {
    fn new(settings: Settings, context: &BuildContext<'_>) -> Self {
        Self {
            settings: Arc::new(settings),
            aggregator: None,
            instance_id: String::new(),
            job: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            waiting_spans: 0,
            started: MonotonicTime::default(),
            export: None,
            exports: 0,
            requested: None,
            unexported: Unexported::default(),
            pending_held: Held::default(),
            export_held: Held::default(),
            in_flight: BTreeMap::new(),
            refused: BTreeMap::new(),
            retry_timer: None,
            next_payload: 0,
            is_draining: false,
            work_left: StepBudget::for_one_step(),
            is_turn_requested: false,
            has_warned: false,
            budget: context.budget.clone(),
            log: context.log.clone(),
        }
    }

    fn new_aggregator(&self, cx: &mut Cx<'_>) -> Aggregator {
        Aggregator::new(self.settings.clone(), &self.budget, &self.instance_id, cx.random())
    }

    // ---- payloads ---------------------------------------------------------------------------------------------------

    /// Aggregates a payload, or gives it to a helper thread. Returns the units of work that this turn has spent on it.
    fn take_in(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, output: &mut ConnectorOutput) -> u64 {
        let mut aggregator = self.aggregator.take().unwrap_or_else(|| self.new_aggregator(cx));
        let time = (cx.now(), cx.wall_time().0);
        let spans = u64::from(payload.items());
        let most_work = (payload.body.len() as u64)
            .saturating_mul(self.settings.work_per_byte())
            .saturating_add(spans * WORK_PER_SPAN);
        let held = payload.held.hold_derived(0);
        if most_work <= StepBudget::UNITS_PER_STEP {
            aggregator.add(&payload.body, time);
            self.aggregator = Some(aggregator);
            self.end_intake(ack, spans, held, output);
            return most_work / 4;
        }
        let job = move || {
            aggregator.add(&payload.body, time);
            drop(payload);
            aggregator
        };
        self.job = Some(RunningJob { result: cx.run_job(JOB_KEY, job), ack, spans, held });
        0
    }

    fn end_intake(&mut self, ack: Ack, spans: u64, held: Held, output: &mut ConnectorOutput) {
        ack.settle(Outcome::Delivered);
        output.record_dropped("aggregated", spans);
        self.unexported.pending += spans;
        if self.pending_held.budget().is_none() {
            self.pending_held = held;
        }
        let Some(aggregator) = &mut self.aggregator else { return };
        if std::mem::take(&mut aggregator.has_unnamed_service) && !std::mem::replace(&mut self.has_warned, true) {
            self.log.warn("Spans of a resource without service.name are not counted", &[]);
        }
        if self.is_draining {
            self.request_export(true);
        } else if aggregator.store.is_export_urgent() {
            self.request_export(false);
        }
    }

    fn end_job(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        let Some(RunningJob { result, ack, spans, held }) = self.job.take() else { return };
        match result.take() {
            Some(aggregator) => {
                self.aggregator = Some(aggregator);
                self.end_intake(ack, spans, held, output);
            }
            // The counts are gone with the job, and an export has no place to go on from.
            None => {
                self.log.error("Counts of spans are lost with a payload that could not be read", &[]);
                output.record_refused(spans);
                ack.settle(Outcome::Lost(LossReason::Dropped));
                self.aggregator = Some(self.new_aggregator(cx));
                self.unexported = Unexported::default();
                self.export = None;
            }
        }
    }

    fn take_in_waiting(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        while self.job.is_none() && !self.waiting.is_empty() {
            if self.work_left.is_spent() {
                return self.request_turn(cx);
            }
            let Some((payload, ack)) = self.waiting.pop_front() else { return };
            self.waiting_bytes -= payload.body.len();
            self.waiting_spans -= u64::from(payload.items());
            let work = self.take_in(cx, payload, ack, output);
            self.work_left.charge(work);
        }
    }

    // ---- exports ----------------------------------------------------------------------------------------------------

    fn request_export(&mut self, is_final: bool) {
        self.requested = Some(self.requested.unwrap_or(false) || is_final);
    }

    /// Requests an export of everything that no later component has yet.
    fn request_final_export(&mut self) {
        if self.unexported.total() > 0 || self.job.is_some() || !self.waiting.is_empty() {
            self.request_export(true);
        }
    }

    /// Begins an export when it is requested and all payloads of the one before are settled.
    fn begin_export(&mut self) {
        if self.export.is_some() || self.aggregator.is_none() || !self.in_flight.is_empty() || !self.refused.is_empty()
        {
            return;
        }
        let Some(is_final) = self.requested.take() else { return };
        if self.aggregator.as_ref().is_none_or(|aggregator| aggregator.store.is_empty()) {
            // There may be spans without a service, which nothing is made of.
            self.unexported = Unexported::default();
            self.pending_held = Held::default();
            return;
        }
        self.exports += 1;
        self.export = Some(Export::new(self.exports, is_final || self.is_draining));
        self.unexported = Unexported { in_export: self.unexported.total(), ..Unexported::default() };
        self.export_held = std::mem::take(&mut self.pending_held);
    }

    fn run_export(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        loop {
            self.begin_export();
            if self.in_flight.len() >= MAX_IN_FLIGHT || !self.refused.is_empty() {
                return;
            }
            let (Some(export), Some(aggregator)) = (&mut self.export, &mut self.aggregator) else { return };
            if self.work_left.is_spent() {
                return self.request_turn(cx);
            }
            match export.step(aggregator, (cx.now(), cx.wall_time().0), &mut self.work_left) {
                ExportStep::Payload(body) => {
                    let bytes = body.len() as u64;
                    let held = match self.export_held.budget() {
                        Some(_) => self.export_held.hold_derived(bytes),
                        None => self.budget.hold(bytes),
                    };
                    self.send(Payload { signal: Signal::Metrics, body, metadata: None, held }, output);
                }
                ExportStep::Pause => {}
                ExportStep::Done => self.end_export(),
            }
        }
    }

    fn end_export(&mut self) {
        let Some(export) = self.export.take() else { return };
        let exported = std::mem::take(&mut self.unexported.in_export);
        let held = std::mem::take(&mut self.export_held);
        if export.has_withheld {
            self.unexported.withheld = exported;
            // It is the older one of both.
            self.pending_held = held;
        }
    }

    fn send(&mut self, payload: Payload, output: &mut ConnectorOutput) {
        let number = self.next_payload;
        self.next_payload += 1;
        output.record_created("aggregated", u64::from(payload.items()));
        self.send_as(number, payload, output);
    }

    fn send_as(&mut self, number: u64, payload: Payload, output: &mut ConnectorOutput) {
        output.send(payload.clone(), output.new_ack(number));
        self.in_flight.insert(number, payload);
    }

    fn request_turn(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.is_turn_requested, true) {
            cx.request_ready(NEXT_TURN_KEY);
        }
    }

    fn advance(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        self.take_in_waiting(cx, output);
        self.run_export(cx, output);
    }

    /// Sets the timer to the next multiple of the interval since the start.
    fn set_timer(&self, cx: &mut Cx<'_>) {
        let interval = self.settings.interval.as_nanos().max(1);
        let passed = cx.now().since(self.started).as_nanos() / interval;
        let next = u64::try_from((passed + 1).saturating_mul(interval)).unwrap_or(u64::MAX);
        cx.set_timer(EXPORT_KEY, self.started + Duration::from_nanos(next));
    }
}

/// A random UUID, version 4.
fn random_uuid(high: u64, low: u64) -> String {
    let (high, low) = (high & !0xf000 | 0x4000, low & !(0b11 << 62) | 0b10 << 62);
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
}

impl Connector for SpanMetrics {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.started = cx.now();
        self.instance_id = random_uuid(cx.random(), cx.random());
        self.aggregator = Some(self.new_aggregator(cx));
        self.set_timer(cx);
        Ok(())
    }

    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, output: &mut ConnectorOutput) {
        if self.job.is_none() && self.waiting.is_empty() {
            self.take_in(cx, payload, ack, output);
            return self.run_export(cx, output);
        }
        let bytes = self.waiting_bytes + payload.body.len();
        if bytes > MAX_WAITING_BYTES {
            return output.refuse(ack, payload.items(), Outcome::retry("too much data waits for a connector"));
        }
        self.waiting_bytes = bytes;
        self.waiting_spans += u64::from(payload.items());
        self.waiting.push_back((payload, ack));
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, output: &mut ConnectorOutput) {
        match local {
            EXPORT_KEY => {
                self.set_timer(cx);
                self.request_export(false);
            }
            NEXT_TURN_KEY => {
                self.work_left = StepBudget::for_one_step();
                self.is_turn_requested = false;
            }
            RETRY_KEY => {
                self.retry_timer = None;
                for (number, payload) in std::mem::take(&mut self.refused) {
                    self.send_as(number, payload, output);
                }
            }
            JOB_KEY => self.end_job(cx, output),
            _ => return,
        }
        self.advance(cx, output);
    }

    fn settled(&mut self, cx: &mut Cx<'_>, number: u64, outcome: Outcome, output: &mut ConnectorOutput) {
        let Some(payload) = self.in_flight.remove(&number) else { return };
        let points = u64::from(payload.items());
        match outcome {
            Outcome::Delivered => {}
            Outcome::Retry { after, .. } => {
                self.refused.insert(number, payload);
                if self.retry_timer.is_none() {
                    let at = cx.now() + after.unwrap_or_default().max(RETRY_PAUSE);
                    self.retry_timer = Some(cx.set_timer(RETRY_KEY, at));
                }
                return;
            }
            Outcome::Permanent(why) => {
                let fields = [("error", LogField::Str(&why.message)), ("dropped_items", LogField::Uint(points))];
                self.log.error("Failed ConsumeMetrics", &fields);
                output.record_output_dropped("refused_downstream", points);
            }
            Outcome::Lost(_) => {
                self.log.error("Failed ConsumeMetrics", &[("dropped_items", LogField::Uint(points))]);
                output.record_output_dropped("refused_downstream", points);
            }
        }
        self.advance(cx, output);
    }

    fn flush(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        self.request_final_export();
        self.advance(cx, output);
    }

    fn drain(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        self.is_draining = true;
        self.request_final_export();
        self.advance(cx, output);
    }

    fn held_items(&self) -> u64 {
        let HeldItems { input, output } = self.items();
        input + output + self.unexported.total()
    }

    fn items(&self) -> HeldItems {
        let payloads = self.in_flight.values().chain(self.refused.values());
        HeldItems {
            input: self.waiting_spans + self.job.as_ref().map_or(0, |job| job.spans),
            output: payloads.map(|payload| u64::from(payload.items())).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_id_is_a_random_uuid() {
        assert_eq!(random_uuid(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(random_uuid(0, 1), "00000000-0000-4000-8000-000000000001");
    }
}
