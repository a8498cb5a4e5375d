//! The graph: how components are connected, and what it does in one turn.
//!
//! ```text
//!  receiver --PipelineInput--> pipeline: processor -> processor -> fan-out --> queue and retry --> exporter
//!     ^                                                |                             |
//!     |                                                +--> connector --> other pipelines
//!     +------------------------------- settlements <---------------------------------+
//! ```
//! The loop that drives it delivers all events through [`Graph::handle_event`]. Each call ends when nothing is left to
//! do in this turn: settlements are reported first, then attempts are given to exporters.

mod builder;
mod change;
mod data_path;
mod flows;
mod retirement;
mod slots;
mod traces;
mod undelivered;

use std::collections::BTreeMap;
use std::sync::Arc;

use otelcore_config::ComponentId;

pub use self::builder::{
    ConnectorParts, ExporterIndex, GraphBuilder, InstanceIdentity, PipelineIndex, ProcessorParts, ReceiverIndex,
};
pub use self::change::{ChangeError, GraphChange};
use self::data_path::{DataPath, OrderedPart};
pub use self::slots::ComponentIdentity;
use self::slots::{ComponentIndex, ComponentTable, ExtensionSlot, KnownInstance, PartState, ReceiverSlot};
pub use self::undelivered::UndeliveredItems;
use crate::ack::AckTarget;
use crate::exporter_queue::ExporterQueue;
use crate::{
    Budget, ComponentItems, ComponentStatus, Cx, Event, Imbalance, ItemSums, Logger, MonotonicTime, Outcome, Outcomes,
    PipelineInput, StartError, StatusTable, Telemetry, TimerId, World, sum_law,
};

/// The owner under which the graph itself sets timers.
const GRAPH_OWNER: u32 = 0;

/// The graph's own keys: an attempt is due, the time of the receivers in a shutdown is over, and a queue continues in
/// the next turn.
const RETRY_TIMER: u64 = 0;
const RECEIVERS_TIMER: u64 = 1;
const MORE_ATTEMPTS: u64 = 2;
/// The time of components that a change has ended is over.
const RETIREMENT_TIMER: u64 = 3;

/// Attempts that one exporter is given in one turn of the loop at most.
const MAX_ATTEMPTS_PER_TURN: u32 = 128;

/// The phase of a shutdown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Running,
    /// Receivers finish the requests that have begun.
    ClosingReceivers(MonotonicTime),
    /// Processors pass on what they held back, and queues send what they hold.
    Draining(MonotonicTime),
    /// Extensions send what they hold themselves.
    ClosingExtensions,
    Closed,
}

/// A running collector's components.
pub struct Graph {
    receivers: Vec<ReceiverSlot>,
    extensions: Vec<ExtensionSlot>,
    data_path: DataPath,
    components: ComponentTable,
    /// The next owner number.
    next_owner: u32,
    /// The instances that belong to the configuration, as far as it is known what they were made from.
    identities: BTreeMap<ComponentIdentity, KnownInstance>,
    /// How often it was to be changed.
    generation: u64,
    /// The generation of the running graph that this one is to replace.
    follows: Option<u64>,
    /// Components that do not belong to the configuration any more have not all ended.
    has_retired: bool,
    timer: Option<(MonotonicTime, TimerId)>,
    phase: Phase,
    statuses: Arc<StatusTable>,
    telemetry: Telemetry,
    /// It has been reported to extensions that it is ready.
    is_ready: bool,
    log: Logger,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Graph {
    /// Starts extensions, exporters, then processors and connectors, each after those that it passes data to, and receivers last.
    ///
    /// # Errors
    /// The first component that can't start; the message is that of the Go collector.
    pub fn start(&mut self, world: &mut dyn World) -> Result<(), StartError> {
        self.start_parts(world)?;
        self.run_turn(world);
        Ok(())
    }

    /// Starts the components that do not run yet.
    fn start_parts(&mut self, world: &mut dyn World) -> Result<(), StartError> {
        self.start_extensions(world)?;
        let statuses = &self.statuses;
        let failed = |id: &ComponentId, kind: &str, e: StartError| {
            e.in_context(format_args!("cannot start pipelines: failed to start \"{id}\" {kind}"))
        };
        for slot in self.data_path.exporters.iter_mut().filter(|slot| slot.state == PartState::Live) {
            let started = start_component(statuses, world, slot.owner, |cx| slot.exporter.start(cx));
            started.map_err(|e| failed(&slot.id, "exporter", e))?;
            for stored in slot.stored.iter_mut().flatten() {
                stored.queue.start(&mut Cx::new(world, stored.owner).with_statuses(statuses));
            }
        }
        for part in self.data_path.order.clone().into_iter().rev() {
            match part {
                OrderedPart::Pipeline(index) => {
                    let processors = &mut self.data_path.pipelines[index].processors;
                    for slot in processors.iter_mut().rev().filter(|slot| slot.state == PartState::Live) {
                        let started = start_component(statuses, world, slot.owner, |cx| slot.processor.start(cx));
                        started.map_err(|e| failed(&slot.id, "processor", e))?;
                    }
                }
                OrderedPart::Connector(index) => {
                    let slot = &mut self.data_path.connectors[index];
                    if slot.state == PartState::Live {
                        let started = start_component(statuses, world, slot.owner, |cx| slot.connector.start(cx));
                        started.map_err(|e| failed(&slot.id, "connector", e))?;
                    }
                }
            }
        }
        for slot in self.receivers.iter_mut().filter(|slot| slot.state == PartState::Live) {
            let started = start_component(statuses, world, slot.owner, |cx| slot.receiver.open(cx));
            started.map_err(|e| failed(&slot.id, "receiver", e))?;
        }
        Ok(())
    }

    fn start_extensions(&mut self, world: &mut dyn World) -> Result<(), StartError> {
        let live = |slot: &&mut ExtensionSlot| slot.state == PartState::Live;
        for slot in self.extensions.iter_mut().filter(live).filter(|slot| slot.is_internal) {
            slot.extension.start(&mut Cx::new(world, slot.owner))?;
        }
        let has_new = self.extensions.iter().any(|slot| slot.state == PartState::Live && !slot.is_internal);
        if has_new || self.follows.is_none() {
            self.log.info("Starting extensions...", &[]);
        }
        for slot in self.extensions.iter_mut().filter(live).filter(|slot| !slot.is_internal) {
            slot.log.info("Extension is starting...", &[]);
            let started = start_component(&self.statuses, world, slot.owner, |cx| slot.extension.start(cx));
            started.map_err(|e| e.in_context("failed to start extensions"))?;
            slot.log.info("Extension started.", &[]);
        }
        Ok(())
    }

    /// Reports once to extensions that everything has started, when all queues on disk are open. One that can't be opened
    /// does not delay it: its exporter refuses, and has a status.
    fn report_ready(&mut self, world: &mut dyn World) {
        if self.is_ready || self.phase != Phase::Running {
            return;
        }
        self.is_ready = !self.data_path.stored_queues().any(|stored| stored.queue.is_opening());
        for slot in self.extensions.iter_mut().filter(|_| self.is_ready) {
            slot.extension.set_ready(&mut Cx::new(world, slot.owner).with_statuses(&self.statuses), true);
        }
    }

    /// Delivers an event under a key, and runs until nothing is left to do in this turn.
    pub fn handle_event(&mut self, world: &mut dyn World, owner: u32, local: u64, event: Event<'_>) {
        let Some(component) = self.components.get(owner) else { return };
        let mut cx = Cx::new(world, owner).with_statuses(&self.statuses);
        match component {
            ComponentIndex::Graph if local == RECEIVERS_TIMER => {
                if let Phase::ClosingReceivers(deadline) = self.phase {
                    self.drain(world, deadline);
                }
            }
            // The turn ends the components whose time is over.
            ComponentIndex::Graph if local == RETIREMENT_TIMER => {}
            ComponentIndex::Graph if local == MORE_ATTEMPTS => {
                for slot in &mut self.data_path.exporters {
                    slot.attempts_left = MAX_ATTEMPTS_PER_TURN;
                    slot.queues.iter_mut().flatten().for_each(ExporterQueue::begin_turn);
                }
            }
            ComponentIndex::Graph => {
                self.timer = None;
                let now = cx.now();
                for queue in self.data_path.exporters.iter_mut().flat_map(|e| e.queues.iter_mut().flatten()) {
                    queue.handle_timeout(now);
                }
            }
            ComponentIndex::Receiver(index) => {
                let slot = &mut self.receivers[index];
                slot.receiver.handle_event(
                    &mut cx,
                    local,
                    event,
                    &mut PipelineInput { target: &mut self.data_path, receiver: index },
                );
            }
            ComponentIndex::Processor(pipeline, index) => {
                let mut downstream = self.data_path.new_downstream(pipeline, index);
                self.data_path.pipelines[pipeline].processors[index].processor.handle_event(
                    &mut cx,
                    local,
                    event,
                    &mut downstream,
                );
                self.data_path.pass_all(&mut cx, pipeline, index, downstream);
            }
            ComponentIndex::Connector(index) => {
                let mut output = self.data_path.new_connector_output(index);
                self.data_path.connectors[index].connector.handle_event(&mut cx, local, event, &mut output);
                self.data_path.pass_connector_output(&mut cx, index, output);
            }
            ComponentIndex::Exporter(index) => {
                let mut outcomes = Outcomes::default();
                self.data_path.exporters[index].exporter.handle_event(&mut cx, local, event, &mut outcomes);
                self.data_path.handle_outcomes(&mut cx, index, &mut outcomes);
            }
            ComponentIndex::Extension(index) => self.extensions[index].extension.handle_event(&mut cx, local, event),
            ComponentIndex::StoredQueue(exporter, signal) => {
                if let Some(stored) = &mut self.data_path.exporters[exporter].stored[signal] {
                    stored.queue.handle_event(&mut cx, local, &event);
                }
            }
        }
        self.run_turn(world);
    }

    /// Makes processors and queues pass on the data that they hold back, whether to collect more or for a pause between
    /// attempts.
    pub fn flush(&mut self, world: &mut dyn World) {
        self.data_path.flush_all(world, &self.statuses, None);
        self.run_turn(world);
    }

    /// Begins a shutdown that ends by `deadline`.
    pub fn close(&mut self, world: &mut dyn World, deadline: MonotonicTime) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::ClosingReceivers(deadline);
        for slot in &mut self.extensions {
            slot.extension.set_ready(&mut Cx::new(world, slot.owner).with_statuses(&self.statuses), false);
        }
        // A client that stops sending must not use up the time in which the held data could be delivered.
        let now = world.now();
        let receivers_deadline = now + deadline.since(now) / 2;
        // Those of an earlier configuration are closing already.
        for slot in self.receivers.iter_mut().filter(|slot| slot.state == PartState::Live) {
            self.statuses.set_lifecycle(slot.owner, ComponentStatus::Stopping, "", world.wall_time());
            slot.receiver.close(&mut Cx::new(world, slot.owner).with_statuses(&self.statuses), receivers_deadline);
        }
        Cx::new(world, GRAPH_OWNER).set_timer(RECEIVERS_TIMER, receivers_deadline);
        self.run_turn(world);
    }

    /// True when the shutdown has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The log of the service itself.
    #[must_use]
    pub fn log(&self) -> &Logger {
        &self.log
    }

    /// The count of bytes that the graph holds.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.data_path.budget
    }

    /// The statuses of its components.
    #[must_use]
    pub fn statuses(&self) -> &Arc<StatusTable> {
        &self.statuses
    }

    /// Whether the items of each component add up; see [`sum_law`].
    ///
    /// # Errors
    /// The first component whose items do not.
    pub fn sum_law(&self) -> Result<(), Imbalance> {
        sum_law(&self.telemetry)
    }

    /// The components that still hold data, for the report of a shutdown.
    #[must_use]
    pub fn undelivered(&self) -> UndeliveredItems {
        let mut undelivered = UndeliveredItems::default();
        for slot in &self.receivers {
            undelivered.add(format!("receiver {}", slot.id), slot.receiver.held_items());
        }
        self.data_path.add_undelivered(&mut undelivered);
        undelivered.sums = self.item_sums();
        undelivered
    }

    fn item_sums(&self) -> Vec<ComponentItems> {
        let mut sums = ItemSums::default();
        sums.add_telemetry(&self.telemetry);
        sums.components().into_iter().filter(|items| !items.terms.is_empty()).collect()
    }

    /// Ends now, even if data is left, and reports the outcome to all senders that still wait. Returns what was left.
    pub fn abort(&mut self, world: &mut dyn World) -> UndeliveredItems {
        let undelivered = self.undelivered();
        for slot in &mut self.data_path.exporters {
            for (flow, stored) in slot.flows.iter_mut().zip(&slot.stored) {
                if let (Some(flow), Some(stored)) = (flow, stored) {
                    flow.abort(stored.queue.waiting_items());
                }
            }
            for queue in slot.queues.iter_mut().flatten() {
                queue.abort();
            }
            slot.stored.iter_mut().flatten().for_each(|stored| stored.queue.abort());
            slot.exporter.close(&mut Cx::new(world, slot.owner).with_statuses(&self.statuses));
        }
        for slot in &mut self.data_path.connectors {
            slot.flow.abort();
            slot.connector.abort();
        }
        self.deliver_outcomes(world);
        self.data_path.abort_flows();
        self.phase = Phase::Closed;
        self.statuses.set_all(ComponentStatus::Stopped, world.wall_time());
        UndeliveredItems { sums: self.item_sums(), ..undelivered }
    }

    /// Runs until nothing is left to do in this turn.
    fn run_turn(&mut self, world: &mut dyn World) {
        loop {
            let mut has_worked = self.deliver_outcomes(world);
            has_worked |= self.data_path.start_attempts(&mut Cx::new(world, GRAPH_OWNER).with_statuses(&self.statuses));
            has_worked |= self.advance_shutdown(world);
            has_worked |= self.has_retired && self.advance_retirement(world);
            if !has_worked {
                break;
            }
        }
        for slot in &mut self.receivers {
            slot.receiver.flush(&mut Cx::new(world, slot.owner).with_statuses(&self.statuses));
        }
        // `Receiver::flush` may have closed the last connection that a shutdown or a change waited for.
        let has_ended = if self.phase == Phase::Running {
            self.has_retired && self.advance_retirement(world)
        } else {
            self.advance_shutdown(world)
        };
        if has_ended {
            return self.run_turn(world);
        }
        self.data_path.flush_stored(&mut Cx::new(world, GRAPH_OWNER).with_statuses(&self.statuses));
        if self.data_path.exporters.iter().flat_map(|e| e.queues.iter().flatten()).any(ExporterQueue::needs_turn) {
            Cx::new(world, GRAPH_OWNER).request_ready(MORE_ATTEMPTS);
        }
        let due = self
            .data_path
            .exporters
            .iter()
            .flat_map(|e| e.queues.iter().flatten())
            .filter_map(ExporterQueue::poll_timeout);
        let due = due.min();
        self.data_path.count_exporters();
        self.report_ready(world);
        if due != self.timer.map(|(at, _)| at) {
            let mut cx = Cx::new(world, GRAPH_OWNER);
            if let Some((_, id)) = self.timer.take() {
                cx.cancel_timer(id);
            }
            self.timer = due.map(|at| (at, cx.set_timer(RETRY_TIMER, at)));
        }
    }

    /// Called when the receivers are closed or their time is over: from now on, processors and queues hold nothing
    /// back.
    fn drain(&mut self, world: &mut dyn World, deadline: MonotonicTime) {
        self.phase = Phase::Draining(deadline);
        self.statuses.set_all(ComponentStatus::Stopping, world.wall_time());
        self.data_path.flush_all(world, &self.statuses, Some(deadline));
    }

    /// Reports the outcomes of payloads to their senders.
    fn deliver_outcomes(&mut self, world: &mut dyn World) -> bool {
        let mut has_worked = false;
        while let Some((target, sent, outcome)) = self.data_path.settlements.pop_with_items() {
            has_worked = true;
            let delivered = if outcome == Outcome::Delivered { sent.items } else { 0 };
            match target {
                AckTarget::Receiver(owner, request) => {
                    self.data_path.receiver_flows.record_settled(owner, sent);
                    self.data_path.receiver_traces.end(owner, request, sent, &outcome, world.now());
                    if let Some(ComponentIndex::Receiver(index)) = self.components.get(owner) {
                        let mut cx = Cx::new(world, owner).with_statuses(&self.statuses);
                        self.receivers[index].receiver.settled(&mut cx, request, outcome);
                    }
                }
                AckTarget::Processor(owner, ack_id) => {
                    if let Some(ComponentIndex::Processor(pipeline, index)) = self.components.get(owner) {
                        let mut downstream = self.data_path.new_downstream(pipeline, index);
                        let slot = &mut self.data_path.pipelines[pipeline].processors[index];
                        slot.flow.record_outgoing(delivered);
                        let mut cx = Cx::new(world, owner).with_statuses(&self.statuses);
                        slot.processor.settled(&mut cx, ack_id, outcome, &mut downstream);
                        self.data_path.pass_all(&mut cx, pipeline, index, downstream);
                    }
                }
                AckTarget::Connector(owner, ack_id) => {
                    if let Some(ComponentIndex::Connector(index)) = self.components.get(owner) {
                        let mut output = self.data_path.new_connector_output(index);
                        let mut cx = Cx::new(world, owner).with_statuses(&self.statuses);
                        let slot = &mut self.data_path.connectors[index];
                        slot.flow.record_delivered(delivered);
                        slot.connector.settled(&mut cx, ack_id, outcome, &mut output);
                        self.data_path.pass_connector_output(&mut cx, index, output);
                    }
                }
                AckTarget::StoredRecord(owner, record) => {
                    let Some(ComponentIndex::StoredQueue(exporter, signal)) = self.components.get(owner) else {
                        continue;
                    };
                    let slot = &mut self.data_path.exporters[exporter];
                    if let Some(flow) = &mut slot.flows[signal] {
                        flow.record_outcome(sent.items, &outcome);
                    }
                    if let Some(stored) = &mut slot.stored[signal] {
                        let mut cx = Cx::new(world, owner).with_statuses(&self.statuses);
                        stored.queue.handle_outcome(&mut cx, record, outcome);
                    }
                }
                AckTarget::Detached => {}
            }
        }
        has_worked
    }

    /// Takes the next step of a shutdown when the previous one is done.
    fn advance_shutdown(&mut self, world: &mut dyn World) -> bool {
        match self.phase {
            Phase::Running | Phase::Closed => false,
            Phase::ClosingReceivers(deadline) => {
                if !self.receivers.iter().all(|r| r.receiver.is_closed()) {
                    return false;
                }
                self.drain(world, deadline);
                true
            }
            Phase::Draining(deadline) => {
                let data_path = &mut self.data_path;
                if data_path.has_items() {
                    return false;
                }
                for stored in data_path.stored_queues_mut() {
                    stored.queue.close(&mut Cx::new(world, stored.owner).with_statuses(&self.statuses));
                }
                if !data_path.stored_queues().all(|stored| stored.queue.is_closed()) {
                    return false;
                }
                for slot in &mut data_path.exporters {
                    slot.exporter.close(&mut Cx::new(world, slot.owner).with_statuses(&self.statuses));
                }
                self.phase = Phase::ClosingExtensions;
                for slot in &mut self.extensions {
                    slot.extension.close(&mut Cx::new(world, slot.owner).with_statuses(&self.statuses), deadline);
                }
                true
            }
            Phase::ClosingExtensions => {
                if !self.extensions.iter().all(|slot| slot.extension.is_closed()) {
                    return false;
                }
                self.phase = Phase::Closed;
                self.statuses.set_all(ComponentStatus::Stopped, world.wall_time());
                true
            }
        }
    }
}

/// Starts a component, and reports its status before and after.
fn start_component(
    statuses: &StatusTable,
    world: &mut dyn World,
    owner: u32,
    start: impl FnOnce(&mut Cx<'_>) -> Result<(), StartError>,
) -> Result<(), StartError> {
    statuses.set_lifecycle(owner, ComponentStatus::Starting, "", world.wall_time());
    let started = start(&mut Cx::new(world, owner).with_statuses(statuses));
    match &started {
        Ok(()) => statuses.set_lifecycle(owner, ComponentStatus::Ok, "", world.wall_time()),
        Err(e) => statuses.set_lifecycle(owner, ComponentStatus::PermanentError, &e.to_string(), world.wall_time()),
    }
    started
}
