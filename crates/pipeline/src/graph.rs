//! The graph: how components are connected, and what it does in one turn.
//!
//! ```text
//!  receiver --PipelineInput--> pipeline: processor -> processor -> fan-out --> queue and retry --> exporter
//!     ^                                                                              |
//!     +------------------------------- settlements <---------------------------------+
//! ```
//! The loop that drives it delivers all events through [`Graph::handle_event`]. Each call ends when nothing is left to
//! do in this turn: settlements are reported first, then attempts are given to exporters.

use std::rc::Rc;
use std::sync::Arc;

use otelcore_config::{ComponentId, PipelineId};
use otelcore_pdata::Signal;

use crate::ack::{AckTarget, Settlements};
use crate::attempt::AttemptOutcome;
use crate::component::InputTarget;
use crate::exporter_queue::ExporterQueue;
use crate::{
    Ack, AttemptId, Budget, Cx, Downstream, Event, Exporter, ExporterQueueConfig, Extension, LogField, Logger,
    MonotonicTime, Outcome, Outcomes, Payload, PipelineInput, Processor, Receiver, StartError, Telemetry, TimerId,
    World,
};

/// A receiver in a [`GraphBuilder`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiverIndex(usize);

/// An exporter in a [`GraphBuilder`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExporterIndex(usize);

/// The items that were not delivered when the graph closed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UndeliveredItems {
    /// Components and their numbers of items; components without any are not listed.
    pub items: Vec<(String, u64)>,
}

/// The owner under which the graph itself sets timers.
const GRAPH_OWNER: u32 = 0;

/// The graph's own keys: an attempt is due, the time of the receivers in a shutdown is over, and a queue continues in
/// the next turn.
const RETRY_TIMER: u64 = 0;
const RECEIVERS_TIMER: u64 = 1;
const MORE_ATTEMPTS: u64 = 2;

/// Attempts that one exporter is given in one turn of the loop at most.
const MAX_ATTEMPTS_PER_TURN: u32 = 128;

struct ReceiverSlot {
    id: ComponentId,
    owner: u32,
    receiver: Box<dyn Receiver>,
}

struct ExtensionSlot {
    owner: u32,
    extension: Box<dyn Extension>,
    log: Logger,
    /// Part of the service itself: its start is not logged, and its errors are reported without a prefix.
    is_internal: bool,
}

struct ProcessorSlot {
    id: ComponentId,
    owner: u32,
    processor: Box<dyn Processor>,
}

struct Pipeline {
    id: PipelineId,
    signal: Signal,
    receivers: Vec<usize>,
    processors: Vec<ProcessorSlot>,
    exporters: Vec<usize>,
}

struct ExporterSlot {
    id: ComponentId,
    owner: u32,
    exporter: Box<dyn Exporter>,
    /// By signal.
    queues: [Option<ExporterQueue>; 3],
    /// Attempts that it may still be given in this turn.
    attempts_left: u32,
}

/// Pipelines and exporters: everything that a receiver's [`PipelineInput`] leads to.
struct DataPath {
    budget: Arc<Budget>,
    pipelines: Vec<Pipeline>,
    exporters: Vec<ExporterSlot>,
    settlements: Rc<Settlements>,
}

/// The component that an owner number refers to.
#[derive(Clone, Copy)]
enum ComponentIndex {
    Graph,
    Receiver(usize),
    Processor(usize, usize),
    Exporter(usize),
    Extension(usize),
}

/// Builds a graph.
pub struct GraphBuilder {
    graph: Graph,
}

impl std::fmt::Debug for GraphBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphBuilder").finish_non_exhaustive()
    }
}

impl GraphBuilder {
    /// An empty graph. Receivers charge bodies to `budget`.
    #[must_use]
    pub fn new(budget: Arc<Budget>, log: Logger) -> Self {
        let flow = DataPath {
            budget,
            pipelines: Vec::new(),
            exporters: Vec::new(),
            settlements: Rc::new(Settlements::default()),
        };
        Self {
            graph: Graph {
                receivers: Vec::new(),
                extensions: Vec::new(),
                data_path: flow,
                components: vec![ComponentIndex::Graph],
                timer: None,
                phase: Phase::Running,
                log,
            },
        }
    }

    fn new_owner(&mut self, component: ComponentIndex) -> u32 {
        self.graph.components.push(component);
        // A configuration of four billion components does not fit into memory.
        u32::try_from(self.graph.components.len() - 1).unwrap_or(u32::MAX)
    }

    /// Adds an extension. They start in this order, before everything else.
    pub fn add_extension(&mut self, extension: Box<dyn Extension>, log: Logger) {
        let owner = self.new_owner(ComponentIndex::Extension(self.graph.extensions.len()));
        self.graph.extensions.push(ExtensionSlot { owner, extension, log, is_internal: false });
    }

    /// Adds a part of the service itself, which is driven like an extension and starts before all extensions.
    pub fn add_internal(&mut self, extension: Box<dyn Extension>, log: Logger) {
        let owner = self.new_owner(ComponentIndex::Extension(self.graph.extensions.len()));
        self.graph.extensions.push(ExtensionSlot { owner, extension, log, is_internal: true });
    }

    /// Adds an exporter that serves `signals`, with a queue of its own for each.
    pub fn add_exporter(
        &mut self,
        id: ComponentId,
        exporter: Box<dyn Exporter>,
        config: &ExporterQueueConfig,
        signals: &[Signal],
        telemetry: &Telemetry,
        log: &Logger,
    ) -> ExporterIndex {
        let index = self.graph.data_path.exporters.len();
        let owner = self.new_owner(ComponentIndex::Exporter(index));
        let sendings = Signal::ALL.map(|signal| {
            let name = id.to_string();
            signals.contains(&signal).then(|| ExporterQueue::new(config.clone(), signal, &name, telemetry, log.clone()))
        });
        self.graph.data_path.exporters.push(ExporterSlot {
            id,
            owner,
            exporter,
            queues: sendings,
            attempts_left: MAX_ATTEMPTS_PER_TURN,
        });
        ExporterIndex(index)
    }

    /// Adds a receiver; pipelines name it afterwards.
    pub fn add_receiver(&mut self, id: ComponentId, receiver: Box<dyn Receiver>) -> ReceiverIndex {
        let index = self.graph.receivers.len();
        let owner = self.new_owner(ComponentIndex::Receiver(index));
        self.graph.receivers.push(ReceiverSlot { id, owner, receiver });
        ReceiverIndex(index)
    }

    /// Adds a pipeline of components added before.
    pub fn add_pipeline(
        &mut self,
        id: PipelineId,
        signal: Signal,
        receivers: &[ReceiverIndex],
        processors: Vec<(ComponentId, Box<dyn Processor>)>,
        exporters: &[ExporterIndex],
    ) {
        let index = self.graph.data_path.pipelines.len();
        let processors = processors
            .into_iter()
            .enumerate()
            .map(|(i, (id, processor))| ProcessorSlot {
                id,
                owner: self.new_owner(ComponentIndex::Processor(index, i)),
                processor,
            })
            .collect();
        self.graph.data_path.pipelines.push(Pipeline {
            id,
            signal,
            receivers: receivers.iter().map(|r| r.0).collect(),
            processors,
            exporters: exporters.iter().map(|e| e.0).collect(),
        });
    }

    /// The graph, not started.
    #[must_use]
    pub fn build(self) -> Graph {
        self.graph
    }
}

/// The phase of a shutdown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Running,
    /// Receivers finish the requests that have begun.
    ClosingReceivers(MonotonicTime),
    /// Processors pass on what they held back, and queues send what they hold.
    Draining(MonotonicTime),
    Closed,
}

/// A running collector's components.
pub struct Graph {
    receivers: Vec<ReceiverSlot>,
    extensions: Vec<ExtensionSlot>,
    data_path: DataPath,
    components: Vec<ComponentIndex>,
    timer: Option<(MonotonicTime, TimerId)>,
    phase: Phase,
    log: Logger,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Graph {
    /// Starts extensions, exporters, processors, and receivers last.
    ///
    /// # Errors
    /// The first component that can't start; the message is that of the Go collector.
    pub fn start(&mut self, world: &mut dyn World) -> Result<(), StartError> {
        for slot in self.extensions.iter_mut().filter(|slot| slot.is_internal) {
            slot.extension.start(&mut Cx::new(world, slot.owner))?;
        }
        self.log.info("Starting extensions...", &[]);
        for slot in self.extensions.iter_mut().filter(|slot| !slot.is_internal) {
            slot.log.info("Extension is starting...", &[]);
            let started = slot.extension.start(&mut Cx::new(world, slot.owner));
            started.map_err(|e| StartError(format!("failed to start extensions: {e}")))?;
            slot.log.info("Extension started.", &[]);
        }
        let failed = |id: &ComponentId, kind: &str, e: StartError| {
            StartError(format!("cannot start pipelines: failed to start \"{id}\" {kind}: {e}"))
        };
        for slot in &mut self.data_path.exporters {
            let started = slot.exporter.start(&mut Cx::new(world, slot.owner));
            started.map_err(|e| failed(&slot.id, "exporter", e))?;
        }
        for slot in self.data_path.pipelines.iter_mut().flat_map(|p| p.processors.iter_mut()) {
            let started = slot.processor.start(&mut Cx::new(world, slot.owner));
            started.map_err(|e| failed(&slot.id, "processor", e))?;
        }
        for slot in &mut self.receivers {
            let started = slot.receiver.open(&mut Cx::new(world, slot.owner));
            started.map_err(|e| failed(&slot.id, "receiver", e))?;
        }
        for slot in &mut self.extensions {
            slot.extension.set_ready(&mut Cx::new(world, slot.owner), true);
        }
        self.run_turn(world);
        Ok(())
    }

    /// Delivers an event under a key, and runs until nothing is left to do in this turn.
    pub fn handle_event(&mut self, world: &mut dyn World, owner: u32, local: u64, event: Event<'_>) {
        let Some(component) = self.components.get(owner as usize).copied() else { return };
        let mut cx = Cx::new(world, owner);
        match component {
            ComponentIndex::Graph if local == RECEIVERS_TIMER => {
                if let Phase::ClosingReceivers(deadline) = self.phase {
                    self.drain(world, deadline);
                }
            }
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
                self.data_path.pass_all(&mut cx, pipeline, index + 1, downstream);
            }
            ComponentIndex::Exporter(index) => {
                let mut outcomes = Outcomes::default();
                self.data_path.exporters[index].exporter.handle_event(&mut cx, local, event, &mut outcomes);
                self.data_path.handle_outcomes(&mut cx, index, &mut outcomes);
            }
            ComponentIndex::Extension(index) => self.extensions[index].extension.handle_event(&mut cx, local, event),
        }
        self.run_turn(world);
    }

    /// Makes processors and queues pass on the data that they hold back, whether to collect more or for a pause between
    /// attempts.
    pub fn flush(&mut self, world: &mut dyn World) {
        self.data_path.flush_all(world, None);
        self.run_turn(world);
    }

    /// Begins a shutdown that ends by `deadline`.
    pub fn close(&mut self, world: &mut dyn World, deadline: MonotonicTime) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::ClosingReceivers(deadline);
        for slot in &mut self.extensions {
            slot.extension.set_ready(&mut Cx::new(world, slot.owner), false);
        }
        // A client that stops sending must not use up the time in which the held data could be delivered.
        let now = world.now();
        let receivers_deadline = now + deadline.since(now) / 2;
        for slot in &mut self.receivers {
            slot.receiver.close(&mut Cx::new(world, slot.owner), receivers_deadline);
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

    /// The components that still hold data, for the report of a shutdown.
    #[must_use]
    pub fn undelivered(&self) -> UndeliveredItems {
        let mut undelivered = UndeliveredItems::default();
        for slot in &self.receivers {
            undelivered.add(format!("receiver {}", slot.id), slot.receiver.held_items());
        }
        for pipeline in &self.data_path.pipelines {
            for slot in &pipeline.processors {
                undelivered
                    .add(format!("processor {} of pipeline {}", slot.id, pipeline.id), slot.processor.held_items());
            }
        }
        for slot in &self.data_path.exporters {
            let items = slot.queues.iter().flatten().map(|s| s.held_items() + s.lost_items()).sum();
            undelivered.add(format!("exporter {}", slot.id), items);
        }
        undelivered
    }

    /// Ends now, even if data is left, and reports the outcome to all senders that still wait. Returns what was left.
    pub fn abort(&mut self, world: &mut dyn World) -> UndeliveredItems {
        let undelivered = self.undelivered();
        for slot in &mut self.data_path.exporters {
            for queue in slot.queues.iter_mut().flatten() {
                queue.abort();
            }
            slot.exporter.close(&mut Cx::new(world, slot.owner));
        }
        self.deliver_outcomes(world);
        self.phase = Phase::Closed;
        undelivered
    }

    /// Runs until nothing is left to do in this turn.
    fn run_turn(&mut self, world: &mut dyn World) {
        loop {
            let mut has_worked = self.deliver_outcomes(world);
            has_worked |= self.data_path.start_attempts(&mut Cx::new(world, GRAPH_OWNER));
            has_worked |= self.advance_shutdown(world);
            if !has_worked {
                break;
            }
        }
        for slot in &mut self.receivers {
            slot.receiver.flush(&mut Cx::new(world, slot.owner));
        }
        // `Receiver::flush` may have closed the last connection that a shutdown waited for.
        if self.phase != Phase::Running && self.advance_shutdown(world) {
            return self.run_turn(world);
        }
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
        self.data_path.flush_all(world, Some(deadline));
    }

    /// Reports the outcomes of payloads to their senders.
    fn deliver_outcomes(&mut self, world: &mut dyn World) -> bool {
        let mut has_worked = false;
        while let Some((target, outcome)) = self.data_path.settlements.pop() {
            has_worked = true;
            match target {
                AckTarget::Receiver(index, request) => {
                    if let Some(slot) = self.receivers.get_mut(index) {
                        slot.receiver.settled(&mut Cx::new(world, slot.owner), request, outcome);
                    }
                }
                AckTarget::Processor(pipeline, index, ack_id) => {
                    let mut downstream = self.data_path.new_downstream(pipeline, index);
                    let slot = &mut self.data_path.pipelines[pipeline].processors[index];
                    let mut cx = Cx::new(world, slot.owner);
                    slot.processor.settled(&mut cx, ack_id, outcome, &mut downstream);
                    self.data_path.pass_all(&mut cx, pipeline, index + 1, downstream);
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
            Phase::Draining(_) => {
                let data_path = &mut self.data_path;
                let has_processor_items =
                    data_path.pipelines.iter().flat_map(|p| &p.processors).any(|p| p.processor.held_items() > 0);
                let has_queued_items =
                    data_path.exporters.iter().flat_map(|e| e.queues.iter().flatten()).any(|s| s.held_items() > 0);
                if has_processor_items || has_queued_items {
                    return false;
                }
                for slot in &mut data_path.exporters {
                    slot.exporter.close(&mut Cx::new(world, slot.owner));
                }
                self.phase = Phase::Closed;
                true
            }
        }
    }
}

impl UndeliveredItems {
    fn add(&mut self, component: String, items: u64) {
        if items > 0 {
            self.items.push((component, items));
        }
    }

    /// All items together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.items.iter().map(|(_, n)| n).sum()
    }

    /// Writes one line for each component that could not deliver.
    pub fn report(&self, log: &Logger) {
        for (component, items) in &self.items {
            let fields = [("component", LogField::Str(component)), ("items", LogField::Uint(*items))];
            log.error("Shutdown left data undelivered.", &fields);
        }
    }
}

impl InputTarget for DataPath {
    fn accept_payload(&mut self, cx: &mut Cx<'_>, receiver: usize, request: u64, payload: Payload) {
        let ack = Ack::new(AckTarget::Receiver(receiver, request), &self.settlements);
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
                self.pass_payload(cx, index, 0, payload.clone(), ack.branch());
            }
        }
        // The branch of this call itself: the outcome of every pipeline takes precedence over it.
        let unsupported = Outcome::permanent("telemetry type is not supported");
        ack.settle(if is_accepted { Outcome::Lost(crate::LossReason::Dropped) } else { unsupported });
    }

    fn refusal(&self, receiver: usize, signal: Signal) -> Option<Outcome> {
        // One pipeline that accepts the data is enough for success, so all must refuse.
        let mut refusal = None;
        for pipeline in self.pipelines.iter().filter(|p| p.signal == signal && p.receivers.contains(&receiver)) {
            refusal = Some(pipeline.processors.iter().find_map(|p| p.processor.refusal())?);
        }
        refusal
    }

    fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }
}

impl DataPath {
    fn new_downstream(&self, pipeline: usize, index: usize) -> Downstream {
        Downstream { payloads: Vec::new(), ack_target: Some((self.settlements.clone(), pipeline, index)) }
    }

    /// Passes a payload to processor `index` of a pipeline, or to its exporters after the last processor.
    fn pass_payload(&mut self, cx: &mut Cx<'_>, pipeline: usize, index: usize, payload: Payload, ack: Ack) {
        let mut downstream = self.new_downstream(pipeline, index);
        if let Some(slot) = self.pipelines[pipeline].processors.get_mut(index) {
            slot.processor.process(&mut cx.for_owner(slot.owner), payload, ack, &mut downstream);
            self.pass_all(cx, pipeline, index + 1, downstream);
            return;
        }
        for i in 0..self.pipelines[pipeline].exporters.len() {
            let exporter = self.pipelines[pipeline].exporters[i];
            let signal = payload.signal as usize;
            if let Some(queue) = self.exporters[exporter].queues[signal].as_mut() {
                queue.offer(payload.clone(), ack.branch());
            }
        }
        // A pipeline has at least one exporter, whose outcome takes precedence over this.
        ack.settle(Outcome::Lost(crate::LossReason::Dropped));
    }

    fn pass_all(&mut self, cx: &mut Cx<'_>, pipeline: usize, next: usize, downstream: Downstream) {
        for (payload, ack) in downstream.payloads {
            self.pass_payload(cx, pipeline, next, payload, ack);
        }
    }

    /// Gives attempts to exporters while consumers are free and the limit of the turn is not reached.
    fn start_attempts(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut has_worked = false;
        for index in 0..self.exporters.len() {
            for signal in Signal::ALL {
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

    fn handle_outcomes(&mut self, cx: &mut Cx<'_>, exporter: usize, done: &mut Outcomes) {
        for (attempt, attempt_outcome) in done.drain() {
            let (now, random) = (cx.now(), cx.random());
            let Some(Some(queue)) = self.exporters[exporter].queues.get_mut(usize::from(attempt.signal)) else {
                continue;
            };
            match attempt_outcome {
                AttemptOutcome::Whole(outcome) => queue.handle_outcome(now, attempt.number, outcome, random),
                AttemptOutcome::Pieces(partial) => queue.handle_partial_outcome(now, attempt.number, partial, random),
            }
        }
    }

    /// Makes processors pass on what they hold, first to last, and queues shorten their pauses. `deadline` is that of a
    /// shutdown: then nothing waits for more data from now on.
    fn flush_all(&mut self, world: &mut dyn World, deadline: Option<MonotonicTime>) {
        for pipeline in 0..self.pipelines.len() {
            for index in 0..self.pipelines[pipeline].processors.len() {
                let mut downstream = self.new_downstream(pipeline, index);
                let slot = &mut self.pipelines[pipeline].processors[index];
                let mut cx = Cx::new(world, slot.owner);
                if deadline.is_some() {
                    slot.processor.drain(&mut cx, &mut downstream);
                } else {
                    slot.processor.flush(&mut cx, &mut downstream);
                }
                self.pass_all(&mut cx, pipeline, index + 1, downstream);
            }
        }
        let now = world.now();
        for queue in self.exporters.iter_mut().flat_map(|e| e.queues.iter_mut().flatten()) {
            match deadline {
                Some(deadline) => queue.drain(now, deadline),
                None => queue.flush(now),
            }
        }
    }
}
