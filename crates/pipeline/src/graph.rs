//! The graph: how components are connected, and what it does in one turn.
//!
//! ```text
//!  receiver --Door--> pipeline: processor -> processor -> fan-out --> sending (queue, retry) --> exporter
//!     ^                                                                  |
//!     +------------------------- settlements <---------------------------+
//! ```
//! The loop that drives it delivers all events through [`Graph::event`]. Each call ends when nothing is left to do in
//! this turn: settlements are reported first, then jobs are given to exporters.

use std::rc::Rc;
use std::sync::Arc;

use otelcore_config::{ComponentId, PipelineId};
use otelcore_pdata::Signal;

use crate::ack::{Settlements, Target};
use crate::component::Fated;
use crate::sending::Sending;
use crate::{
    Ack, Budget, Cx, Done, Door, Event, Exporter, Extension, Field, JobId, Logger, Mono, Out, Outcome, Payload,
    Processor, Receiver, SendingSettings, StartError, Telemetry, TimerId, World,
};

/// A receiver in a [`GraphBuilder`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiverIndex(usize);

/// An exporter in a [`GraphBuilder`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExporterIndex(usize);

/// The data that was not delivered when the graph closed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Left {
    /// Components and their numbers of items; components without any are not listed.
    pub items: Vec<(String, u64)>,
}

/// The owner under which the graph itself arms timers.
const GRAPH: u32 = 0;

/// The graph's own keys: an attempt is due, the time of the receivers in a shutdown is over, and a queue continues in
/// the next turn.
const ATTEMPT: u64 = 0;
const RECEIVERS: u64 = 1;
const MORE_JOBS: u64 = 2;

/// Jobs that one exporter is given in one turn of the loop at most.
const JOBS_A_TURN: u32 = 128;

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
    own: bool,
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
    sendings: [Option<Sending>; 3],
    /// Jobs that it may still be given in this turn.
    jobs_left: u32,
}

/// Pipelines and exporters: everything that a receiver's [`Door`] leads to.
pub(crate) struct Flow {
    pub(crate) budget: Arc<Budget>,
    pipelines: Vec<Pipeline>,
    exporters: Vec<ExporterSlot>,
    settlements: Rc<Settlements>,
}

/// The component that an owner number refers to.
#[derive(Clone, Copy)]
enum Slot {
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
        let flow =
            Flow { budget, pipelines: Vec::new(), exporters: Vec::new(), settlements: Rc::new(Settlements::default()) };
        Self {
            graph: Graph {
                receivers: Vec::new(),
                extensions: Vec::new(),
                flow,
                slots: vec![Slot::Graph],
                timer: None,
                phase: Phase::Running,
                log,
            },
        }
    }

    fn owner(&mut self, slot: Slot) -> u32 {
        self.graph.slots.push(slot);
        // A configuration of four billion components does not fit into memory.
        u32::try_from(self.graph.slots.len() - 1).unwrap_or(u32::MAX)
    }

    /// Adds an extension. They start in this order, before everything else.
    pub fn extension(&mut self, extension: Box<dyn Extension>, log: Logger) {
        let owner = self.owner(Slot::Extension(self.graph.extensions.len()));
        self.graph.extensions.push(ExtensionSlot { owner, extension, log, own: false });
    }

    /// Adds a part of the service itself, which is driven like an extension and starts before all extensions.
    pub fn own(&mut self, extension: Box<dyn Extension>, log: Logger) {
        let owner = self.owner(Slot::Extension(self.graph.extensions.len()));
        self.graph.extensions.push(ExtensionSlot { owner, extension, log, own: true });
    }

    /// Adds an exporter that serves `signals`, with a queue of its own for each.
    pub fn exporter(
        &mut self,
        id: ComponentId,
        exporter: Box<dyn Exporter>,
        settings: &SendingSettings,
        signals: &[Signal],
        telemetry: &Telemetry,
        log: &Logger,
    ) -> ExporterIndex {
        let index = self.graph.flow.exporters.len();
        let owner = self.owner(Slot::Exporter(index));
        let sendings = Signal::ALL.map(|signal| {
            let name = id.to_string();
            signals.contains(&signal).then(|| Sending::new(settings.clone(), signal, &name, telemetry, log.clone()))
        });
        self.graph.flow.exporters.push(ExporterSlot { id, owner, exporter, sendings, jobs_left: JOBS_A_TURN });
        ExporterIndex(index)
    }

    /// Adds a receiver; pipelines name it afterwards.
    pub fn receiver(&mut self, id: ComponentId, receiver: Box<dyn Receiver>) -> ReceiverIndex {
        let index = self.graph.receivers.len();
        let owner = self.owner(Slot::Receiver(index));
        self.graph.receivers.push(ReceiverSlot { id, owner, receiver });
        ReceiverIndex(index)
    }

    /// Adds a pipeline of components added before.
    pub fn pipeline(
        &mut self,
        id: PipelineId,
        signal: Signal,
        receivers: &[ReceiverIndex],
        processors: Vec<(ComponentId, Box<dyn Processor>)>,
        exporters: &[ExporterIndex],
    ) {
        let index = self.graph.flow.pipelines.len();
        let processors = processors
            .into_iter()
            .enumerate()
            .map(|(i, (id, processor))| ProcessorSlot { id, owner: self.owner(Slot::Processor(index, i)), processor })
            .collect();
        self.graph.flow.pipelines.push(Pipeline {
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
    ClosingReceivers(Mono),
    /// Processors pass on what they held back, and queues send what they hold.
    Draining(Mono),
    Closed,
}

/// A running collector's components.
pub struct Graph {
    receivers: Vec<ReceiverSlot>,
    extensions: Vec<ExtensionSlot>,
    flow: Flow,
    slots: Vec<Slot>,
    timer: Option<(Mono, TimerId)>,
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
        for slot in self.extensions.iter_mut().filter(|slot| slot.own) {
            slot.extension.start(&mut Cx::new(world, slot.owner))?;
        }
        self.log.info("Starting extensions...", &[]);
        for slot in self.extensions.iter_mut().filter(|slot| !slot.own) {
            slot.log.info("Extension is starting...", &[]);
            let started = slot.extension.start(&mut Cx::new(world, slot.owner));
            started.map_err(|e| StartError(format!("failed to start extensions: {e}")))?;
            slot.log.info("Extension started.", &[]);
        }
        let failed = |id: &ComponentId, kind: &str, e: StartError| {
            StartError(format!("cannot start pipelines: failed to start \"{id}\" {kind}: {e}"))
        };
        for slot in &mut self.flow.exporters {
            let started = slot.exporter.start(&mut Cx::new(world, slot.owner));
            started.map_err(|e| failed(&slot.id, "exporter", e))?;
        }
        for slot in self.flow.pipelines.iter_mut().flat_map(|p| p.processors.iter_mut()) {
            let started = slot.processor.start(&mut Cx::new(world, slot.owner));
            started.map_err(|e| failed(&slot.id, "processor", e))?;
        }
        for slot in &mut self.receivers {
            let started = slot.receiver.open(&mut Cx::new(world, slot.owner));
            started.map_err(|e| failed(&slot.id, "receiver", e))?;
        }
        for slot in &mut self.extensions {
            slot.extension.ready(&mut Cx::new(world, slot.owner), true);
        }
        self.settle(world);
        Ok(())
    }

    /// Delivers an event under a key, and runs until nothing is left to do in this turn.
    pub fn event(&mut self, world: &mut dyn World, owner: u32, local: u64, event: Event<'_>) {
        let Some(slot) = self.slots.get(owner as usize).copied() else { return };
        let mut cx = Cx::new(world, owner);
        match slot {
            Slot::Graph if local == RECEIVERS => {
                if let Phase::ClosingReceivers(until) = self.phase {
                    self.drain(world, until);
                }
            }
            Slot::Graph if local == MORE_JOBS => {
                for slot in &mut self.flow.exporters {
                    slot.jobs_left = JOBS_A_TURN;
                    slot.sendings.iter_mut().flatten().for_each(Sending::begin_turn);
                }
            }
            Slot::Graph => {
                self.timer = None;
                let now = cx.now();
                for sending in self.flow.exporters.iter_mut().flat_map(|e| e.sendings.iter_mut().flatten()) {
                    sending.handle_timeout(now);
                }
            }
            Slot::Receiver(index) => {
                let slot = &mut self.receivers[index];
                slot.receiver.event(&mut cx, local, event, &mut Door { flow: &mut self.flow, receiver: index });
            }
            Slot::Processor(pipeline, index) => {
                let mut out = self.flow.out(pipeline, index);
                self.flow.pipelines[pipeline].processors[index].processor.event(&mut cx, local, event, &mut out);
                self.flow.run(&mut cx, pipeline, index + 1, out);
            }
            Slot::Exporter(index) => {
                let mut done = Done::default();
                self.flow.exporters[index].exporter.event(&mut cx, local, event, &mut done);
                self.flow.done(&mut cx, index, &mut done);
            }
            Slot::Extension(index) => self.extensions[index].extension.event(&mut cx, local, event),
        }
        self.settle(world);
    }

    /// Makes processors and queues pass on the data that they hold back, whether to collect more or for a pause between
    /// attempts.
    pub fn flush(&mut self, world: &mut dyn World) {
        self.flow.hand_on(world, None);
        self.settle(world);
    }

    /// Begins a shutdown that ends by `until`.
    pub fn close(&mut self, world: &mut dyn World, until: Mono) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::ClosingReceivers(until);
        for slot in &mut self.extensions {
            slot.extension.ready(&mut Cx::new(world, slot.owner), false);
        }
        // A client that stops sending must not use up the time in which the held data could be delivered.
        let now = world.now();
        let receivers = now + until.since(now) / 2;
        for slot in &mut self.receivers {
            slot.receiver.close(&mut Cx::new(world, slot.owner), receivers);
        }
        Cx::new(world, GRAPH).arm(RECEIVERS, receivers);
        self.settle(world);
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
        &self.flow.budget
    }

    /// The components that still hold data, for the report of a shutdown.
    #[must_use]
    pub fn left(&self) -> Left {
        let mut left = Left::default();
        for slot in &self.receivers {
            left.add(format!("receiver {}", slot.id), slot.receiver.holds());
        }
        for pipeline in &self.flow.pipelines {
            for slot in &pipeline.processors {
                left.add(format!("processor {} of pipeline {}", slot.id, pipeline.id), slot.processor.holds());
            }
        }
        for slot in &self.flow.exporters {
            let items = slot.sendings.iter().flatten().map(|s| s.holds() + s.lost()).sum();
            left.add(format!("exporter {}", slot.id), items);
        }
        left
    }

    /// Ends now, even if data is left, and reports the outcome to all senders that still wait. Returns what was left.
    pub fn abandon(&mut self, world: &mut dyn World) -> Left {
        let left = self.left();
        for slot in &mut self.flow.exporters {
            for sending in slot.sendings.iter_mut().flatten() {
                sending.abandon();
            }
            slot.exporter.close(&mut Cx::new(world, slot.owner));
        }
        self.tell(world);
        self.phase = Phase::Closed;
        left
    }

    /// Runs until nothing is left to do in this turn.
    fn settle(&mut self, world: &mut dyn World) {
        loop {
            let mut busy = self.tell(world);
            busy |= self.flow.pump(&mut Cx::new(world, GRAPH));
            busy |= self.advance(world);
            if !busy {
                break;
            }
        }
        for slot in &mut self.receivers {
            slot.receiver.flush(&mut Cx::new(world, slot.owner));
        }
        // `Receiver::flush` may have closed the last connection that a shutdown waited for.
        if self.phase != Phase::Running && self.advance(world) {
            return self.settle(world);
        }
        if self.flow.exporters.iter().flat_map(|e| e.sendings.iter().flatten()).any(Sending::wants_turn) {
            Cx::new(world, GRAPH).again(MORE_JOBS);
        }
        let due =
            self.flow.exporters.iter().flat_map(|e| e.sendings.iter().flatten()).filter_map(Sending::poll_timeout);
        let due = due.min();
        if due != self.timer.map(|(at, _)| at) {
            let mut cx = Cx::new(world, GRAPH);
            if let Some((_, id)) = self.timer.take() {
                cx.cancel(id);
            }
            self.timer = due.map(|at| (at, cx.arm(ATTEMPT, at)));
        }
    }

    /// Called when the receivers are closed or their time is over: from now on, processors and queues hold nothing
    /// back.
    fn drain(&mut self, world: &mut dyn World, until: Mono) {
        self.phase = Phase::Draining(until);
        self.flow.hand_on(world, Some(until));
    }

    /// Reports the outcomes of payloads to their senders.
    fn tell(&mut self, world: &mut dyn World) -> bool {
        let mut busy = false;
        while let Some((target, outcome)) = self.flow.settlements.pop() {
            busy = true;
            match target {
                Target::Receiver(index, request) => {
                    if let Some(slot) = self.receivers.get_mut(index) {
                        slot.receiver.settled(&mut Cx::new(world, slot.owner), request, outcome);
                    }
                }
                Target::Processor(pipeline, index, job) => {
                    let mut out = self.flow.out(pipeline, index);
                    let slot = &mut self.flow.pipelines[pipeline].processors[index];
                    let mut cx = Cx::new(world, slot.owner);
                    slot.processor.settled(&mut cx, job, outcome, &mut out);
                    self.flow.run(&mut cx, pipeline, index + 1, out);
                }
                Target::Nobody => {}
            }
        }
        busy
    }

    /// Takes the next step of a shutdown when the previous one is done.
    fn advance(&mut self, world: &mut dyn World) -> bool {
        match self.phase {
            Phase::Running | Phase::Closed => false,
            Phase::ClosingReceivers(until) => {
                if !self.receivers.iter().all(|r| r.receiver.is_closed()) {
                    return false;
                }
                self.drain(world, until);
                true
            }
            Phase::Draining(_) => {
                let flow = &mut self.flow;
                let processors = flow.pipelines.iter().flat_map(|p| &p.processors).any(|p| p.processor.holds() > 0);
                let queues = flow.exporters.iter().flat_map(|e| e.sendings.iter().flatten()).any(|s| s.holds() > 0);
                if processors || queues {
                    return false;
                }
                for slot in &mut flow.exporters {
                    slot.exporter.close(&mut Cx::new(world, slot.owner));
                }
                self.phase = Phase::Closed;
                true
            }
        }
    }
}

impl Left {
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
            let fields = [("component", Field::Str(component)), ("items", Field::Uint(*items))];
            log.error("Shutdown left data undelivered.", &fields);
        }
    }
}

impl Flow {
    fn out(&self, pipeline: usize, index: usize) -> Out {
        Out { payloads: Vec::new(), settle: Some((self.settlements.clone(), pipeline, index)) }
    }

    /// Sends a receiver's payload into every pipeline of its signal.
    pub(crate) fn enter(&mut self, cx: &mut Cx<'_>, receiver: usize, request: u64, payload: Payload) {
        let ack = Ack::new(Target::Receiver(receiver, request), &self.settlements);
        if payload.items() == 0 {
            // An empty payload enters no pipeline and is not counted, as in the Go collector.
            ack.settle(Outcome::Delivered);
            return;
        }
        let mut entered = false;
        for index in 0..self.pipelines.len() {
            let pipeline = &self.pipelines[index];
            if pipeline.signal == payload.signal && pipeline.receivers.contains(&receiver) {
                entered = true;
                self.pass(cx, index, 0, payload.clone(), ack.branch());
            }
        }
        // The branch of this call itself: the outcome of every pipeline takes precedence over it.
        let unheard = Outcome::permanent("telemetry type is not supported");
        ack.settle(if entered { Outcome::Lost(crate::Lost::Dropped) } else { unheard });
    }

    pub(crate) fn refusal(&self, receiver: usize, signal: Signal) -> Option<Outcome> {
        // One pipeline that takes the data is enough for success, so all must refuse.
        let mut refusal = None;
        for pipeline in self.pipelines.iter().filter(|p| p.signal == signal && p.receivers.contains(&receiver)) {
            refusal = Some(pipeline.processors.iter().find_map(|p| p.processor.refusal())?);
        }
        refusal
    }

    /// Passes a payload to processor `index` of a pipeline, or to its exporters after the last processor.
    fn pass(&mut self, cx: &mut Cx<'_>, pipeline: usize, index: usize, payload: Payload, ack: Ack) {
        let mut out = self.out(pipeline, index);
        if let Some(slot) = self.pipelines[pipeline].processors.get_mut(index) {
            slot.processor.process(&mut cx.of(slot.owner), payload, ack, &mut out);
            self.run(cx, pipeline, index + 1, out);
            return;
        }
        for i in 0..self.pipelines[pipeline].exporters.len() {
            let exporter = self.pipelines[pipeline].exporters[i];
            let signal = payload.signal as usize;
            if let Some(sending) = self.exporters[exporter].sendings[signal].as_mut() {
                sending.offer(payload.clone(), ack.branch());
            }
        }
        // A pipeline has at least one exporter, whose outcome takes precedence over this.
        ack.settle(Outcome::Lost(crate::Lost::Dropped));
    }

    fn run(&mut self, cx: &mut Cx<'_>, pipeline: usize, next: usize, out: Out) {
        for (payload, ack) in out.payloads {
            self.pass(cx, pipeline, next, payload, ack);
        }
    }

    /// Gives jobs to exporters while consumers are free and the limit of the turn is not reached.
    fn pump(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut busy = false;
        for index in 0..self.exporters.len() {
            for signal in Signal::ALL {
                loop {
                    let slot = &mut self.exporters[index];
                    let Some(sending) = slot.sendings[signal as usize].as_mut() else { break };
                    if slot.jobs_left == 0 {
                        // The next turn finds out whether there is another job.
                        cx.of(GRAPH).again(MORE_JOBS);
                        break;
                    }
                    let Some((number, payload, by)) = sending.poll_job(cx.now()) else { break };
                    slot.jobs_left -= 1;
                    busy = true;
                    let mut done = Done::default();
                    let job = JobId { signal: signal as u8, number };
                    let mut cx = cx.of(slot.owner);
                    slot.exporter.send(&mut cx, job, &payload, by, &mut done);
                    self.done(&mut cx, index, &mut done);
                }
            }
        }
        busy
    }

    fn done(&mut self, cx: &mut Cx<'_>, exporter: usize, done: &mut Done) {
        for (job, fated) in done.drain() {
            let (now, random) = (cx.now(), cx.rand());
            let Some(Some(sending)) = self.exporters[exporter].sendings.get_mut(usize::from(job.signal)) else {
                continue;
            };
            match fated {
                Fated::Whole(outcome) => sending.handle_done(now, job.number, outcome, random),
                Fated::Pieces(fate) => sending.handle_pieces(now, job.number, fate, random),
            }
        }
    }

    /// Makes processors pass on what they hold, first to last, and queues shorten their pauses. `until` is the deadline
    /// of a shutdown: then nothing waits for more data from now on.
    fn hand_on(&mut self, world: &mut dyn World, until: Option<Mono>) {
        for pipeline in 0..self.pipelines.len() {
            for index in 0..self.pipelines[pipeline].processors.len() {
                let mut out = self.out(pipeline, index);
                let slot = &mut self.pipelines[pipeline].processors[index];
                let mut cx = Cx::new(world, slot.owner);
                if until.is_some() {
                    slot.processor.drain(&mut cx, &mut out);
                } else {
                    slot.processor.flush(&mut cx, &mut out);
                }
                self.run(&mut cx, pipeline, index + 1, out);
            }
        }
        let now = world.now();
        for sending in self.exporters.iter_mut().flat_map(|e| e.sendings.iter_mut().flatten()) {
            match until {
                Some(until) => sending.drain(now, until),
                None => sending.flush(now),
            }
        }
    }
}
