//! The way of payloads through pipelines, connectors and queues.
//!
//! Owns these components and passes payloads between them. It delivers no events and decides nothing about a shutdown.

use std::rc::Rc;
use std::sync::Arc;

use otelcore_config::{ComponentId, PipelineId};
use otelcore_pdata::Signal;

use super::flows::{ConnectorFlow, ExporterFlow, ReceiverFlows};
use super::slots::{PartState, Slot};
use super::traces::ReceiverTraces;
use super::{GRAPH_OWNER, MORE_ATTEMPTS, UndeliveredItems};
use crate::ack::{AckTarget, SentItems, Settlements};
use crate::attempt::AttemptOutcome;
use crate::component::InputTarget;
use crate::component_status::FIRST_GRAPH_PART;
use crate::exporter_queue::ExporterQueue;
use crate::{
    Ack, AttemptId, Budget, Connector, ConnectorOutput, Cx, Downstream, EdgeEnd, Exporter, ItemFlow, LossReason,
    MonotonicTime, Outcome, Outcomes, Payload, Processor, StartError, StatusReport, StatusTable, StoredQueue, Taps,
    World, order_by_needs,
};

/// The first part of an exporter's status that stands for a queue on disk, by signal.
const FIRST_STORED_PART: u64 = FIRST_GRAPH_PART + 8;

const UNSUPPORTED_SIGNAL: &str = "telemetry type is not supported";

pub(super) struct ProcessorSlot {
    pub(super) id: ComponentId,
    pub(super) owner: u32,
    pub(super) processor: Box<dyn Processor>,
    pub(super) flow: ItemFlow,
    pub(super) state: PartState,
}

pub(super) struct Pipeline {
    pub(super) id: PipelineId,
    pub(super) signal: Signal,
    pub(super) receivers: Vec<usize>,
    pub(super) processors: Vec<ProcessorSlot>,
    pub(super) exporters: Vec<usize>,
    /// The connectors that it ends in.
    pub(super) connectors: Vec<usize>,
    /// Where its payloads go instead: to a processor of another pipeline, or to its end. Of the processors that a change has
    /// taken out of a pipeline.
    pub(super) continues_in: Option<(usize, usize)>,
    pub(super) state: PartState,
    /// It leads to a queue on disk: another pipeline that accepts a payload does not replace it.
    pub(super) is_stored: bool,
}

pub(super) struct ExporterSlot {
    pub(super) id: ComponentId,
    pub(super) owner: u32,
    pub(super) exporter: Box<dyn Exporter>,
    /// By signal.
    pub(super) queues: [Option<ExporterQueue>; 3],
    /// Attempts that it may still be given in this turn.
    pub(super) attempts_left: u32,
    /// Whether the last attempt has failed, by signal.
    pub(super) has_failed: [bool; 3],
    /// The queues on disk in front of `queues`, by signal.
    pub(super) stored: [Option<StoredQueueSlot>; 3],
    /// Its counts, by signal.
    pub(super) flows: [Option<ExporterFlow>; 3],
    pub(super) state: PartState,
}

/// A queue on disk.
pub(super) struct StoredQueueSlot {
    /// Its own owner number: it has keys beside those of the exporter.
    pub(super) owner: u32,
    pub(super) queue: Box<dyn StoredQueue>,
}

pub(super) struct ConnectorSlot {
    pub(super) id: ComponentId,
    pub(super) owner: u32,
    pub(super) connector: Box<dyn Connector>,
    pub(super) signals: (Signal, Signal),
    /// The pipelines that it feeds.
    pub(super) targets: Vec<usize>,
    /// One of them leads to a queue on disk.
    pub(super) is_stored: bool,
    pub(super) flow: ConnectorFlow,
    pub(super) state: PartState,
}

impl ProcessorSlot {
    /// Counts what a call has passed on and reported.
    fn count(&mut self, downstream: &Downstream) {
        downstream.count_into(&mut self.flow);
        self.flow.set_held(self.processor.held_items());
    }
}

/// An element of the order in which a shutdown drains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OrderedPart {
    Pipeline(usize),
    Connector(usize),
}

/// A payload on its way to processor `index` of a pipeline, or to its end.
struct PendingPayload {
    pipeline: usize,
    index: usize,
    payload: Payload,
    ack: Ack,
}

/// Pipelines and exporters: everything that a receiver's [`PipelineInput`] leads to.
pub(super) struct DataPath {
    pub(super) budget: Arc<Budget>,
    pub(super) pipelines: Vec<Pipeline>,
    pub(super) exporters: Vec<ExporterSlot>,
    pub(super) connectors: Vec<ConnectorSlot>,
    /// Pipelines and connectors; each feeds only later ones.
    pub(super) order: Vec<OrderedPart>,
    /// Payloads that have not reached their next component; empty between calls.
    pending: Vec<PendingPayload>,
    pub(super) settlements: Rc<Settlements>,
    pub(super) receiver_flows: ReceiverFlows,
    /// Who looks at what passes.
    pub(super) taps: Taps,
    pub(super) receiver_traces: ReceiverTraces,
}

impl Pipeline {
    pub(super) fn add_undelivered(&self, undelivered: &mut UndeliveredItems) {
        for slot in &self.processors {
            undelivered.add(format!("processor {} of pipeline {}", slot.id, self.id), slot.processor.held_items());
        }
    }
}

impl ExporterSlot {
    /// Measures what it holds.
    pub(super) fn count(&mut self) {
        for ((flow, queue), stored) in self.flows.iter_mut().zip(&self.queues).zip(&self.stored) {
            if let (Some(flow), Some(queue)) = (flow, queue) {
                flow.update(queue, stored.as_ref().map(|stored| &*stored.queue));
            }
        }
    }

    pub(super) fn add_undelivered(&self, undelivered: &mut UndeliveredItems) {
        let queues = self.queues.iter().flatten().filter(|queue| !queue.is_stored());
        let in_memory: u64 = queues.map(|s| s.held_items() + s.lost_items()).sum();
        let waiting: u64 = self.stored.iter().flatten().map(|stored| stored.queue.waiting_items()).sum();
        undelivered.add(format!("exporter {}", self.id), in_memory + waiting);
        let on_disk: u64 = self.stored.iter().flatten().map(|stored| stored.queue.stored_items()).sum();
        undelivered.add_stored(format!("exporter {}", self.id), on_disk);
    }

    /// Whether queues hold items whose senders or custody end with it.
    pub(super) fn holds_items(&self) -> bool {
        self.queues.iter().flatten().any(|queue| queue.held_items() > 0)
            || self.stored.iter().flatten().any(|stored| stored.queue.waiting_items() > 0)
    }
}

impl Slot for ExporterSlot {
    fn owner(&self) -> u32 {
        self.owner
    }

    fn state_mut(&mut self) -> &mut PartState {
        &mut self.state
    }
}

impl Slot for ConnectorSlot {
    fn owner(&self) -> u32 {
        self.owner
    }

    fn state_mut(&mut self) -> &mut PartState {
        &mut self.state
    }
}

impl InputTarget for DataPath {
    fn accept_payload(&mut self, cx: &mut Cx<'_>, receiver: usize, request: u64, payload: Payload, is_new: bool) {
        let sent = SentItems { signal: payload.signal, items: u64::from(payload.items()) };
        let ack = Ack::new(AckTarget::Receiver(cx.owner(), request), &self.settlements).for_items(sent);
        self.receiver_flows.record_sent(cx.owner(), sent, is_new);
        self.receiver_traces.begin(cx.owner(), request, &payload, cx.now());
        if payload.items() == 0 {
            // An empty payload enters no pipeline and is not counted, as in the Go collector.
            ack.settle(Outcome::Delivered);
            return;
        }
        let mut is_accepted = false;
        for index in 0..self.pipelines.len() {
            let pipeline = &self.pipelines[index];
            if pipeline.signal == payload.signal && pipeline.receivers.contains(&receiver) {
                is_accepted = true;
                if self.taps.is_active()
                    && let Some(id) = self.receiver_flows.id(cx.owner())
                {
                    self.taps.offer(&pipeline.id, EdgeEnd::Receiver(id), &payload);
                }
                let (payload, ack) = (payload.clone(), ack.branch().required(pipeline.is_stored));
                self.pending.push(PendingPayload { pipeline: index, index: 0, payload, ack });
                self.pass_pending(cx);
            }
        }
        // The branch of this call itself: the outcome of every pipeline takes precedence over it.
        let unsupported = Outcome::permanent(UNSUPPORTED_SIGNAL);
        ack.settle(if is_accepted { Outcome::Lost(LossReason::Dropped) } else { unsupported });
    }

    fn refusal(&self, receiver: usize, signal: Signal) -> Option<Outcome> {
        // One pipeline that accepts the data is enough for success, so all must refuse.
        let mut refusal = None;
        for pipeline in self.pipelines.iter().filter(|p| p.signal == signal && p.receivers.contains(&receiver)) {
            let of_processors = || pipeline.processors.iter().find_map(|slot| slot.processor.refusal());
            refusal = Some(of_processors().or_else(|| self.refusal_of_connectors(pipeline))?);
        }
        refusal
    }

    fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }
}

impl DataPath {
    /// The refusal of a pipeline that has no exporter and whose connectors all refuse.
    fn refusal_of_connectors(&self, pipeline: &Pipeline) -> Option<Outcome> {
        if !pipeline.exporters.is_empty() {
            return None;
        }
        let mut refusal = None;
        for index in &pipeline.connectors {
            refusal = Some(self.connectors[*index].connector.refusal(pipeline.signal)?);
        }
        refusal
    }

    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            pipelines: Vec::new(),
            exporters: Vec::new(),
            connectors: Vec::new(),
            order: Vec::new(),
            pending: Vec::new(),
            settlements: Rc::new(Settlements::default()),
            receiver_flows: ReceiverFlows::default(),
            taps: Taps::default(),
            receiver_traces: ReceiverTraces::default(),
        }
    }

    /// Measures what exporters hold, at the end of a turn.
    pub(super) fn count_exporters(&mut self) {
        self.exporters.iter_mut().for_each(ExporterSlot::count);
    }

    /// The process has ended: what is held is dropped.
    pub(super) fn abort_flows(&mut self) {
        for slot in self.pipelines.iter_mut().flat_map(|pipeline| &mut pipeline.processors) {
            slot.flow.abort();
        }
        self.receiver_flows.abort();
        self.count_exporters();
    }

    /// Orders pipelines and connectors by the flow of data.
    pub(super) fn order_parts(&mut self) -> Result<(), StartError> {
        let first_connector = self.pipelines.len();
        let of_pipeline = |p: &Pipeline| {
            let connectors = p.connectors.iter().map(|index| first_connector + index);
            connectors.chain(p.continues_in.map(|(pipeline, _)| pipeline)).collect()
        };
        let feeds: Vec<Vec<usize>> = self
            .pipelines
            .iter()
            .map(of_pipeline)
            .chain(self.connectors.iter().map(|connector| connector.targets.clone()))
            .collect();
        let part = |node: usize| match node.checked_sub(first_connector) {
            Some(connector) => OrderedPart::Connector(connector),
            None => OrderedPart::Pipeline(node),
        };
        let order = order_by_needs(&feeds).map_err(|cycle| {
            let path: Vec<OrderedPart> = cycle.path.into_iter().map(part).collect();
            StartError::Config(format!("failed to build pipelines: cycle detected: {}", self.describe_cycle(&path)))
        })?;
        self.order = order.into_iter().rev().map(part).collect();
        Ok(())
    }

    /// The components on a cycle, from a connector to the same one.
    fn describe_cycle(&self, path: &[OrderedPart]) -> String {
        let start = path.iter().position(|part| matches!(part, OrderedPart::Connector(_))).unwrap_or(0);
        let mut names: Vec<String> = Vec::new();
        for part in path.iter().cycle().skip(start).take(path.len() + 1) {
            match part {
                OrderedPart::Pipeline(index) => {
                    let pipeline = &self.pipelines[*index];
                    let name =
                        |slot: &ProcessorSlot| format!("processor \"{}\" in pipeline \"{}\"", slot.id, pipeline.id);
                    names.extend(pipeline.processors.iter().map(name));
                }
                OrderedPart::Connector(index) => {
                    let slot = &self.connectors[*index];
                    names.push(format!("connector \"{}\" ({} to {})", slot.id, slot.signals.0, slot.signals.1));
                }
            }
        }
        names.join(" -> ")
    }

    /// Whether processors, connectors or queues hold items.
    pub(super) fn has_items(&self) -> bool {
        self.pipelines.iter().flat_map(|p| &p.processors).any(|slot| slot.processor.held_items() > 0)
            || self.connectors.iter().any(|slot| slot.connector.held_items() > 0)
            || self.exporters.iter().flat_map(|e| e.queues.iter().flatten()).any(|queue| queue.held_items() > 0)
            || self.stored_queues().any(|slot| slot.queue.waiting_items() > 0)
    }

    /// Adds what processors, connectors and queues hold.
    pub(super) fn add_undelivered(&self, undelivered: &mut UndeliveredItems) {
        for pipeline in &self.pipelines {
            pipeline.add_undelivered(undelivered);
        }
        for slot in &self.connectors {
            undelivered.add(format!("connector {}", slot.id), slot.connector.held_items());
        }
        for slot in &self.exporters {
            slot.add_undelivered(undelivered);
        }
    }

    pub(super) fn stored_queues(&self) -> impl Iterator<Item = &StoredQueueSlot> {
        self.exporters.iter().flat_map(|exporter| exporter.stored.iter().flatten())
    }

    pub(super) fn stored_queues_mut(&mut self) -> impl Iterator<Item = &mut StoredQueueSlot> {
        self.exporters.iter_mut().flat_map(|exporter| exporter.stored.iter_mut().flatten())
    }

    /// Finds the pipelines and connectors that lead to a queue on disk.
    pub(super) fn mark_stored_parts(&mut self) {
        // Each part feeds only later ones.
        for part in self.order.clone().into_iter().rev() {
            match part {
                OrderedPart::Pipeline(index) => {
                    let (exporters, connectors) = (&self.exporters, &self.connectors);
                    let continues_in = self.pipelines.get(index).and_then(|pipeline| pipeline.continues_in);
                    let continues = continues_in.and_then(|(next, _)| self.pipelines.get(next));
                    let continues_to_storage = continues.is_some_and(|next| next.is_stored);
                    let Some(pipeline) = self.pipelines.get_mut(index) else { continue };
                    let signal = pipeline.signal as usize;
                    let is_stored = |i: &usize| exporters.get(*i).is_some_and(|slot| slot.stored[signal].is_some());
                    let has_stored_connector = |i: &usize| connectors.get(*i).is_some_and(|slot| slot.is_stored);
                    pipeline.is_stored = continues_to_storage
                        || pipeline.exporters.iter().any(is_stored)
                        || pipeline.connectors.iter().any(has_stored_connector);
                }
                OrderedPart::Connector(index) => {
                    let pipelines = &self.pipelines;
                    let Some(slot) = self.connectors.get_mut(index) else { continue };
                    let is_stored = |i: &usize| pipelines.get(*i).is_some_and(|pipeline| pipeline.is_stored);
                    slot.is_stored = slot.targets.iter().any(is_stored);
                }
            }
        }
    }

    /// Gives an exporter's queue in memory the payloads that its queue on disk gives out. True if there were any.
    fn take_stored(&mut self, cx: &mut Cx<'_>, exporter: usize, signal: Signal) -> bool {
        let slot = &mut self.exporters[exporter];
        let signal = signal as usize;
        let (Some(stored), Some(queue)) = (slot.stored[signal].as_mut(), slot.queues[signal].as_mut()) else {
            return false;
        };
        let mut has_worked = false;
        while let Some((record, payload)) = stored.queue.poll_payload(&mut cx.for_owner(stored.owner)) {
            has_worked = true;
            let ack = Ack::new(AckTarget::StoredRecord(stored.owner, record), &self.settlements);
            let ack = ack.for_items(SentItems { signal: payload.signal, items: u64::from(payload.items()) });
            if let Some(flow) = &mut slot.flows[signal] {
                flow.record_given_out(payload.items());
            }
            queue.offer(payload, ack);
        }
        has_worked
    }

    /// Ends a turn of the queues on disk: their jobs begin, and their status is reported.
    pub(super) fn flush_stored(&mut self, cx: &mut Cx<'_>) {
        for slot in &mut self.exporters {
            for (signal, stored) in (0..).zip(&mut slot.stored) {
                let Some(stored) = stored else { continue };
                stored.queue.flush(&mut cx.for_owner(stored.owner));
                if let Some(status) = stored.queue.poll_status() {
                    cx.for_owner(slot.owner).report_status(FIRST_STORED_PART + signal, status.report());
                }
            }
        }
    }

    pub(super) fn new_downstream(&self, pipeline: usize, index: usize) -> Downstream {
        let owner =
            self.pipelines.get(pipeline).and_then(|pipeline| pipeline.processors.get(index)).map(|slot| slot.owner);
        let ack_target = owner.map(|owner| (self.settlements.clone(), owner));
        Downstream { ack_target, ..Downstream::default() }
    }

    pub(super) fn new_connector_output(&self, index: usize) -> ConnectorOutput {
        let owner = self.connectors.get(index).map(|slot| slot.owner);
        let ack_target = owner.map(|owner| (self.settlements.clone(), owner));
        ConnectorOutput { ack_target, ..ConnectorOutput::default() }
    }

    /// Passes what processor `index` of a pipeline has passed on to the next one, or to the end of the pipeline.
    pub(super) fn pass_all(&mut self, cx: &mut Cx<'_>, pipeline: usize, index: usize, downstream: Downstream) {
        if let Some(slot) = self.pipelines[pipeline].processors.get_mut(index) {
            slot.count(&downstream);
        }
        self.add_pending(pipeline, index + 1, downstream);
        self.pass_pending(cx);
    }

    /// Passes the payloads of a connector to the pipelines that it feeds.
    pub(super) fn pass_connector_output(&mut self, cx: &mut Cx<'_>, connector: usize, output: ConnectorOutput) {
        if let Some(slot) = self.connectors.get_mut(connector) {
            slot.flow.count(&output, slot.connector.items());
        }
        self.add_pending_output(connector, output);
        self.pass_pending(cx);
    }

    fn add_pending(&mut self, pipeline: usize, index: usize, downstream: Downstream) {
        let pending = |(payload, ack)| PendingPayload { pipeline, index, payload, ack };
        self.pending.extend(downstream.payloads.into_iter().rev().map(pending));
    }

    fn add_pending_output(&mut self, connector: usize, output: ConnectorOutput) {
        let Some(slot) = self.connectors.get(connector) else { return };
        for (target, payload, ack) in output.payloads.into_iter().rev() {
            if payload.items() == 0 {
                ack.settle(Outcome::Delivered);
            } else if payload.signal != slot.signals.1 {
                ack.settle(Outcome::permanent(UNSUPPORTED_SIGNAL));
            } else if let Some(target) = target {
                match slot.targets.get(target) {
                    Some(&pipeline) => {
                        self.offer_to_taps(pipeline, source_of(slot), &payload);
                        self.pending.push(PendingPayload { pipeline, index: 0, payload, ack });
                    }
                    None => ack.settle(Outcome::permanent("the connector does not feed this pipeline")),
                }
            } else {
                let ack = ack.required(false);
                for &pipeline in slot.targets.iter().rev() {
                    let is_stored = self.pipelines.get(pipeline).is_some_and(|pipeline| pipeline.is_stored);
                    let (payload, ack) = (payload.clone(), ack.branch().required(is_stored));
                    self.offer_to_taps(pipeline, source_of(slot), &payload);
                    self.pending.push(PendingPayload { pipeline, index: 0, payload, ack });
                }
                // A connector feeds at least one pipeline, whose outcome takes precedence over this.
                ack.settle(Outcome::Lost(LossReason::Dropped));
            }
        }
    }

    /// Passes payloads on until each is with a component that keeps it: a loop instead of a recursion, so that the length
    /// of a pipeline does not matter.
    fn pass_pending(&mut self, cx: &mut Cx<'_>) {
        while let Some(PendingPayload { pipeline, index, payload, ack }) = self.pending.pop() {
            let mut downstream = self.new_downstream(pipeline, index);
            self.offer_to_taps(pipeline, EdgeEnd::Processor(index), &payload);
            if let Some(slot) = self.pipelines[pipeline].processors.get_mut(index) {
                slot.flow.record_incoming(u64::from(payload.items()));
                let traced = self.receiver_traces.is_active().then(|| (ack.target(), payload.signal));
                if let Some((target, signal)) = traced {
                    let event = "Start processing.";
                    self.receiver_traces.record_processing(target, signal, &slot.id, event, cx.now());
                }
                slot.processor.process(&mut cx.for_owner(slot.owner), payload, ack, &mut downstream);
                if let Some((target, signal)) = traced {
                    let event = "End processing.";
                    self.receiver_traces.record_processing(target, signal, &slot.id, event, cx.now());
                }
                slot.count(&downstream);
                self.add_pending(pipeline, index + 1, downstream);
            } else if let Some((pipeline, index)) = self.pipelines[pipeline].continues_in {
                self.pending.push(PendingPayload { pipeline, index, payload, ack });
            } else {
                self.fan_out(cx, pipeline, payload, ack);
            }
        }
    }

    /// A payload passes an edge of a pipeline.
    #[inline]
    fn offer_to_taps(&self, pipeline: usize, end: EdgeEnd<&ComponentId>, payload: &Payload) {
        if self.taps.is_active()
            && let Some(pipeline) = self.pipelines.get(pipeline)
        {
            self.taps.offer(&pipeline.id, end, payload);
        }
    }

    /// Passes a payload to the exporters and connectors at the end of a pipeline.
    fn fan_out(&mut self, cx: &mut Cx<'_>, pipeline: usize, payload: Payload, ack: Ack) {
        // Each branch says for itself whether it is required.
        let ack = ack.required(false);
        for i in 0..self.pipelines[pipeline].exporters.len() {
            let exporter = self.pipelines[pipeline].exporters[i];
            let signal = payload.signal as usize;
            self.offer_to_taps(pipeline, EdgeEnd::Exporter(&self.exporters[exporter].id), &payload);
            let slot = &mut self.exporters[exporter];
            if let Some(flow) = &slot.flows[signal] {
                flow.record_incoming(payload.items());
            }
            if let Some(stored) = slot.stored[signal].as_mut() {
                let ack = ack.branch().required(true);
                stored.queue.offer(&mut cx.for_owner(stored.owner), payload.clone(), ack);
            } else if let Some(queue) = slot.queues[signal].as_mut() {
                let parent = match self.receiver_traces.is_active() {
                    true => self.receiver_traces.context(ack.target(), payload.signal),
                    false => None,
                };
                queue.offer_traced(cx.now(), payload.clone(), ack.branch(), parent);
            }
        }
        for i in 0..self.pipelines[pipeline].connectors.len() {
            let connector = self.pipelines[pipeline].connectors[i];
            let mut output = self.new_connector_output(connector);
            let slot = &self.connectors[connector];
            let end = EdgeEnd::TargetConnector(&slot.id, slot.signals.0, slot.signals.1);
            self.offer_to_taps(pipeline, end, &payload);
            let slot = &mut self.connectors[connector];
            let ack = ack.branch().required(slot.is_stored);
            slot.flow.record_incoming(payload.items());
            slot.connector.process(&mut cx.for_owner(slot.owner), payload.clone(), ack, &mut output);
            slot.flow.count(&output, slot.connector.items());
            self.add_pending_output(connector, output);
        }
        // A pipeline has at least one exporter or connector, whose outcome takes precedence over this.
        ack.settle(Outcome::Lost(LossReason::Dropped));
    }

    /// Gives attempts to exporters while consumers are free and the limit of the turn is not reached.
    pub(super) fn start_attempts(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut has_worked = false;
        for index in 0..self.exporters.len() {
            for signal in Signal::ALL {
                has_worked |= self.take_stored(cx, index, signal);
                loop {
                    let slot = &mut self.exporters[index];
                    let Some(queue) = slot.queues[signal as usize].as_mut() else { break };
                    if slot.attempts_left == 0 {
                        // The next turn finds out whether there is another attempt.
                        cx.for_owner(GRAPH_OWNER).request_ready(MORE_ATTEMPTS);
                        break;
                    }
                    let Some((number, payload, deadline)) = queue.poll_attempt(cx.now()) else { break };
                    slot.attempts_left -= 1;
                    has_worked = true;
                    let mut outcomes = Outcomes::default();
                    let attempt = AttemptId { signal: signal as u8, number };
                    let mut cx = cx.for_owner(slot.owner);
                    slot.exporter.send(&mut cx, attempt, &payload, deadline, &mut outcomes);
                    self.handle_outcomes(&mut cx, index, &mut outcomes);
                }
            }
        }
        has_worked
    }

    pub(super) fn handle_outcomes(&mut self, cx: &mut Cx<'_>, exporter: usize, done: &mut Outcomes) {
        for (attempt, attempt_outcome) in done.drain() {
            let (now, random) = (cx.now(), cx.random());
            let signal = usize::from(attempt.signal);
            let slot = &mut self.exporters[exporter];
            let Some(Some(queue)) = slot.queues.get_mut(signal) else { continue };
            if let Some(has_failed) = slot.has_failed.get_mut(signal) {
                let mut cx = cx.for_owner(slot.owner);
                report_attempt(&mut cx, FIRST_GRAPH_PART + u64::from(attempt.signal), &attempt_outcome, has_failed);
            }
            queue.handle_attempt(now, attempt.number, attempt_outcome, random);
        }
    }

    /// Makes processors and connectors pass on what they hold, in the direction of the data, and queues shorten their
    /// pauses. `deadline` is that of a shutdown: then nothing waits for more data from now on.
    pub(super) fn flush_all(&mut self, world: &mut dyn World, statuses: &StatusTable, deadline: Option<MonotonicTime>) {
        for i in 0..self.order.len() {
            match self.order[i] {
                OrderedPart::Pipeline(pipeline) => self.flush_pipeline(world, statuses, pipeline, deadline.is_some()),
                OrderedPart::Connector(index) => self.flush_connector(world, statuses, index, deadline.is_some()),
            }
        }
        let now = world.now();
        for queue in self.exporters.iter_mut().flat_map(|e| e.queues.iter_mut().flatten()) {
            match deadline {
                Some(deadline) => queue.drain(now, deadline),
                None => queue.flush(now),
            }
        }
        if deadline.is_some() {
            for stored in self.stored_queues_mut() {
                stored.queue.drain(&mut Cx::new(world, stored.owner).with_statuses(statuses));
            }
        }
    }

    pub(super) fn flush_connector(
        &mut self,
        world: &mut dyn World,
        statuses: &StatusTable,
        index: usize,
        is_shutdown: bool,
    ) {
        let mut output = self.new_connector_output(index);
        let slot = &mut self.connectors[index];
        let mut cx = Cx::new(world, slot.owner).with_statuses(statuses);
        if is_shutdown {
            slot.connector.drain(&mut cx, &mut output);
        } else {
            slot.connector.flush(&mut cx, &mut output);
        }
        self.pass_connector_output(&mut cx, index, output);
    }

    pub(super) fn flush_pipeline(
        &mut self,
        world: &mut dyn World,
        statuses: &StatusTable,
        pipeline: usize,
        is_shutdown: bool,
    ) {
        for index in 0..self.pipelines[pipeline].processors.len() {
            let mut downstream = self.new_downstream(pipeline, index);
            let slot = &mut self.pipelines[pipeline].processors[index];
            let mut cx = Cx::new(world, slot.owner).with_statuses(statuses);
            if is_shutdown {
                slot.processor.drain(&mut cx, &mut downstream);
            } else {
                slot.processor.flush(&mut cx, &mut downstream);
            }
            self.pass_all(&mut cx, pipeline, index, downstream);
        }
    }
}

/// The edge from a connector to a pipeline.
fn source_of(slot: &ConnectorSlot) -> EdgeEnd<&ComponentId> {
    EdgeEnd::SourceConnector(&slot.id, slot.signals.0, slot.signals.1)
}

/// Reports the status of an exporter for one signal from the outcome of an attempt. A payload that was refused for what it
/// contains is a permanent error until a later one succeeds.
fn report_attempt(cx: &mut Cx<'_>, part: u64, outcome: &AttemptOutcome, has_failed: &mut bool) {
    let (error, is_permanent) = match outcome {
        AttemptOutcome::Whole(Outcome::Retry { why, .. }) => (Some(why), false),
        AttemptOutcome::Whole(Outcome::Permanent(why)) => (Some(why), true),
        AttemptOutcome::Whole(Outcome::Delivered) => (None, false),
        // The graph ends.
        AttemptOutcome::Whole(Outcome::Lost(_)) => return,
        AttemptOutcome::Pieces(partial) => match (&partial.retry, &partial.refused) {
            (Some((_, _, why)), _) => (Some(why), false),
            (None, Some((_, why))) => (Some(why), true),
            (None, None) => (None, false),
        },
    };
    match error {
        Some(why) => {
            let text = why.to_string();
            let report = StatusReport::RecoverableError(&text);
            cx.report_status(part, if is_permanent { StatusReport::PermanentError(&text) } else { report });
            *has_failed = true;
        }
        // Without a failure before, nothing has changed.
        None if *has_failed => {
            cx.report_status(part, StatusReport::Ok);
            *has_failed = false;
        }
        None => {}
    }
}
