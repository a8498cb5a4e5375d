//! Components from their configuration, and harnesses that drive one of them.

use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{Diagnostics, EffectiveValue, PipelineId, Section, from_yaml};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    Ack, AckRecorder, AttemptId, Budget, BuildContext, Capabilities, Component, ComponentConfig, ComponentKind, Cx,
    Downstream, Event, Exporter, Factory, Held, LogLevel, LogScope, MetricsLevel, MonotonicTime, Outcome, Outcomes,
    Payload, Processor, StartError, Telemetry,
};

use crate::item_check::ItemCheck;
use crate::{TestLog, TestWorld};

/// What components are made with: metrics, a log that is recorded, a budget.
#[derive(Debug)]
pub struct TestContext {
    /// The registry of the components' metrics, all of them enabled.
    pub telemetry: Telemetry,
    /// The count of held bytes, without a limit.
    pub budget: Arc<Budget>,
    /// What the components log, from `info` on.
    pub log: Arc<TestLog>,
    /// What extensions offer; nothing at first.
    pub capabilities: Capabilities,
    /// The signals of the pipelines that use the component; all of them at first.
    pub signals: Vec<Signal>,
    /// For connectors: the pipelines that they feed; none at first.
    pub output_pipelines: Vec<PipelineId>,
}

impl Default for TestContext {
    fn default() -> Self {
        Self::new()
    }
}

/// A configuration that was read from YAML.
pub struct ParsedConfig {
    /// The configuration; `None` when it can't be used.
    pub config: Option<Box<dyn ComponentConfig>>,
    /// The messages of the diagnostics, in their order.
    pub messages: Vec<String>,
    /// The configuration with its defaults, as `print-config` shows it.
    pub effective: EffectiveValue,
}

impl std::fmt::Debug for ParsedConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParsedConfig").field("messages", &self.messages).finish_non_exhaustive()
    }
}

/// Reads the configuration of a component, for example `timeout: 5s`.
///
/// # Panics
/// When `id` is no component id.
#[allow(clippy::expect_used, reason = "a test with a wrong id can't go on")]
pub fn parse_config(factory: &dyn Factory, id: &str, yaml: &str) -> ParsedConfig {
    let diagnostics = Diagnostics::new();
    let node = from_yaml(yaml, &diagnostics);
    let id = id.parse().expect("a component id");
    let kind = factory.info().kind;
    let section = Section::new(node.as_ref(), &format!("{}s::{id}", kind.name()), &diagnostics);
    let recorder = section.recorder();
    let config = factory.parse(&id, section);
    let messages = diagnostics.items().into_iter().map(|item| item.message).collect();
    ParsedConfig { config, messages, effective: recorder.snapshot() }
}

impl TestContext {
    /// See the fields.
    #[must_use]
    pub fn new() -> Self {
        Self {
            telemetry: Telemetry::new(MetricsLevel::Detailed),
            budget: Arc::default(),
            log: TestLog::new(Some(LogLevel::Info)),
            capabilities: Capabilities::default(),
            signals: Signal::ALL.to_vec(),
            output_pipelines: Vec::new(),
        }
    }

    /// Makes a component from its configuration.
    ///
    /// # Errors
    /// The diagnostics of the configuration, or the reason why it can't be made.
    ///
    /// # Panics
    /// When `id` is no component id.
    #[allow(clippy::expect_used, reason = "a test with a wrong id can't go on")]
    pub fn create(&self, factory: &dyn Factory, id: &str, yaml: &str) -> Result<Component, String> {
        let parsed = parse_config(factory, id, yaml);
        let config = parsed.config.ok_or_else(|| parsed.messages.join("\n"))?;
        let id = id.parse().expect("a component id");
        let scope = LogScope { kind: factory.info().kind.name(), id: format!("{id}"), ..LogScope::default() };
        let context = BuildContext {
            id: &id,
            signals: &self.signals,
            telemetry: &self.telemetry,
            log: self.log.logger().with_scope(scope),
            budget: &self.budget,
            capabilities: &self.capabilities,
            output_pipelines: &self.output_pipelines,
            forwards_outcomes: false,
        };
        config.create(&context).map_err(|e| e.to_string())
    }

    /// A payload whose bytes are charged to the budget.
    #[must_use]
    pub fn payload(&self, signal: Signal, body: Rope) -> Payload {
        let held = self.budget.hold(body.len() as u64);
        Payload { signal, body, metadata: None, held }
    }
}

/// A payload whose bytes are not charged.
#[must_use]
pub fn payload(signal: Signal, body: Rope) -> Payload {
    Payload { signal, body, metadata: None, held: Held::default() }
}

/// A processor, driven by a test. After each call its items must add up; see [`otelcore_pipeline::sum_law`].
#[derive(Debug)]
pub struct ProcessorTest<P: Processor + ?Sized = dyn Processor> {
    /// The world around it.
    pub world: TestWorld,
    /// The processor.
    pub processor: Box<P>,
    passed_on: Vec<(Payload, Ack)>,
    acks: AckRecorder,
    next_payload: u64,
    own_acks: AckRecorder,
    items: ItemCheck,
}

impl<P: Processor + ?Sized> ProcessorTest<P> {
    /// Not started.
    #[must_use]
    pub fn new(processor: Box<P>) -> Self {
        Self {
            world: TestWorld::new(),
            processor,
            passed_on: Vec::new(),
            acks: AckRecorder::default(),
            next_payload: 0,
            own_acks: AckRecorder::default(),
            items: ItemCheck::new("processor"),
        }
    }

    /// Counts what a call has passed on and reported, and keeps what it has passed on.
    fn end_call(&mut self, mut downstream: Downstream) {
        downstream.count_into(&mut self.items.flow);
        self.items.end_call(downstream.sent_under_own_acks(), self.processor.held_items());
        self.passed_on.extend(downstream.take());
    }

    /// Items that the test gives to the processor in another way than by [`ProcessorTest::process`].
    pub fn record_incoming(&mut self, items: u32) {
        self.items.flow.record_incoming(u64::from(items));
    }

    /// Calls [`Processor::start`].
    ///
    /// # Errors
    /// Those of the processor.
    pub fn start(&mut self) -> Result<(), StartError> {
        self.processor.start(&mut self.world.cx())
    }

    /// Calls a method of the processor, and keeps the payloads that it passes on.
    pub fn call<T>(&mut self, method: impl FnOnce(&mut P, &mut Cx<'_>, &mut Downstream) -> T) -> T {
        let mut downstream = Downstream::with_recorder(&self.own_acks);
        let result = method(&mut self.processor, &mut self.world.cx(), &mut downstream);
        self.end_call(downstream);
        result
    }

    /// Gives it a payload. [`ProcessorTest::take_outcomes`] has its outcome under the number that is returned: they
    /// count up from zero.
    pub fn process(&mut self, payload: Payload) -> u64 {
        let number = self.next_payload;
        self.next_payload += 1;
        let ack = self.acks.ack(number);
        self.record_incoming(payload.items());
        self.call(|processor, cx, downstream| processor.process(cx, payload, ack, downstream));
        number
    }

    /// Reports the outcome of a payload that it has sent under an ack of its own.
    pub fn settle(&mut self, ack_id: u64, outcome: Outcome) {
        self.items.settle(ack_id, &outcome);
        self.call(|processor, cx, downstream| processor.settled(cx, ack_id, outcome, downstream));
    }

    /// Delivers the events that are due; see [`TestWorld::run`].
    pub fn run(&mut self) -> usize {
        self.run_for(Duration::ZERO)
    }

    /// Advances the clock and delivers the events on the way; see [`TestWorld::run_for`].
    pub fn run_for(&mut self, time: Duration) -> usize {
        let mut downstream = Downstream::with_recorder(&self.own_acks);
        let processor = &mut self.processor;
        let events =
            self.world.run_for(time, |cx, local, event| processor.handle_event(cx, local, event, &mut downstream));
        self.end_call(downstream);
        events
    }

    /// Takes the payloads that it has passed on since the last call, with their acks. A dropped ack counts as lost.
    pub fn take_passed_on(&mut self) -> Vec<(Payload, Ack)> {
        std::mem::take(&mut self.passed_on)
    }

    /// Takes the outcomes of payloads since the last call.
    pub fn take_outcomes(&mut self) -> Vec<(u64, Outcome)> {
        self.acks.take()
    }
}

/// An exporter, driven by a test.
#[derive(Debug)]
pub struct ExporterTest<E: Exporter + ?Sized = dyn Exporter> {
    /// The world around it.
    pub world: TestWorld,
    /// The exporter.
    pub exporter: Box<E>,
    next_attempt: u64,
}

impl<E: Exporter + ?Sized> ExporterTest<E> {
    /// Not started.
    #[must_use]
    pub fn new(exporter: Box<E>) -> Self {
        Self { world: TestWorld::new(), exporter, next_attempt: 0 }
    }

    /// Calls [`Exporter::start`].
    ///
    /// # Errors
    /// Those of the exporter.
    pub fn start(&mut self) -> Result<(), StartError> {
        self.exporter.start(&mut self.world.cx())
    }

    /// Sends a payload without a deadline. Attempts are numbered from zero. Returns the outcomes that are there at
    /// once.
    pub fn send(&mut self, payload: &Payload) -> Vec<(AttemptId, Outcome)> {
        let attempt = AttemptId { signal: payload.signal as u8, number: self.next_attempt };
        self.next_attempt += 1;
        let mut outcomes = Outcomes::default();
        self.exporter.send(&mut self.world.cx(), attempt, payload, MonotonicTime::NEVER, &mut outcomes);
        outcomes.take()
    }

    /// Delivers one event; returns the outcomes of attempts that ended with it.
    pub fn handle_event(&mut self, local: u64, event: Event<'_>) -> Vec<(AttemptId, Outcome)> {
        let mut outcomes = Outcomes::default();
        self.exporter.handle_event(&mut self.world.cx(), local, event, &mut outcomes);
        outcomes.take()
    }

    /// Delivers the events that are due; see [`TestWorld::run`]. Returns the outcomes of attempts that ended with them.
    pub fn run(&mut self) -> Vec<(AttemptId, Outcome)> {
        self.run_for(Duration::ZERO)
    }

    /// Advances the clock and delivers the events on the way; see [`TestWorld::run_for`].
    pub fn run_for(&mut self, time: Duration) -> Vec<(AttemptId, Outcome)> {
        let mut outcomes = Outcomes::default();
        let exporter = &mut self.exporter;
        self.world.run_for(time, |cx, local, event| exporter.handle_event(cx, local, event, &mut outcomes));
        outcomes.take()
    }
}

/// The processor in a component.
///
/// # Panics
/// When it is another kind of component.
#[must_use]
#[allow(clippy::panic, reason = "a test of another kind of component can't go on")]
pub fn processor(component: Component) -> Box<dyn Processor> {
    match component {
        Component::Processor(processor) => processor,
        other => panic!("expected a {}, found {other:?}", ComponentKind::Processor.name()),
    }
}

/// The exporter in a component.
///
/// # Panics
/// When it is another kind of component.
#[must_use]
#[allow(clippy::panic, reason = "a test of another kind of component can't go on")]
pub fn exporter(component: Component) -> Box<dyn Exporter> {
    match component {
        Component::Exporter(exporter, _) => exporter,
        other => panic!("expected an {}, found {other:?}", ComponentKind::Exporter.name()),
    }
}

/// The extension in a component.
///
/// # Panics
/// When it is another kind of component.
#[must_use]
#[allow(clippy::panic, reason = "a test of another kind of component can't go on")]
pub fn extension(component: Component) -> Box<dyn otelcore_pipeline::Extension> {
    match component {
        Component::Extension(extension) => extension,
        other => panic!("expected an {}, found {other:?}", ComponentKind::Extension.name()),
    }
}
