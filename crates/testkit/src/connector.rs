//! A harness that drives one connector.

use std::time::Duration;

use otelcore_pipeline::{
    Ack, AckRecorder, Component, ComponentKind, Connector, ConnectorOutput, Cx, Outcome, Payload, StartError,
};

use crate::TestWorld;
use crate::item_check::ItemCheck;

/// A payload that a connector has passed on: the pipeline that it is for, by its number in
/// [`TestContext::output_pipelines`](crate::TestContext::output_pipelines), or all of them.
pub type PassedOn = (Option<usize>, Payload, Ack);

/// A connector, driven by a test. Acks that the connector makes itself are not reported to it; a graph does that. After each
/// call its items must add up; see [`otelcore_pipeline::sum_law`].
#[derive(Debug)]
pub struct ConnectorTest<C: Connector + ?Sized = dyn Connector> {
    /// The world around it.
    pub world: TestWorld,
    /// The connector.
    pub connector: Box<C>,
    passed_on: Vec<PassedOn>,
    acks: AckRecorder,
    next_payload: u64,
    own_acks: AckRecorder,
    items: ItemCheck,
}

impl<C: Connector + ?Sized> ConnectorTest<C> {
    /// Not started.
    #[must_use]
    pub fn new(connector: Box<C>) -> Self {
        Self {
            world: TestWorld::new(),
            connector,
            passed_on: Vec::new(),
            acks: AckRecorder::default(),
            next_payload: 0,
            own_acks: AckRecorder::default(),
            items: ItemCheck::new("connector"),
        }
    }

    /// Counts what a call has passed on and reported, and keeps what it has passed on.
    fn end_call(&mut self, mut output: ConnectorOutput) {
        output.count_into(&mut self.items.flow, None);
        let held = self.connector.items();
        self.items.end_call(output.sent_under_own_acks(), held.input + held.output);
        self.passed_on.extend(output.take());
    }

    /// Calls [`Connector::start`].
    ///
    /// # Errors
    /// Those of the connector.
    pub fn start(&mut self) -> Result<(), StartError> {
        self.connector.start(&mut self.world.cx())
    }

    /// Calls a method of the connector, and keeps the payloads that it passes on.
    pub fn call<T>(&mut self, method: impl FnOnce(&mut C, &mut Cx<'_>, &mut ConnectorOutput) -> T) -> T {
        let mut output = ConnectorOutput::with_recorder(&self.own_acks);
        let result = method(&mut self.connector, &mut self.world.cx(), &mut output);
        self.end_call(output);
        result
    }

    /// Gives it a payload. [`ConnectorTest::take_outcomes`] has its outcome under the number that is returned: they count
    /// up from zero.
    pub fn process(&mut self, payload: Payload) -> u64 {
        let number = self.next_payload;
        self.next_payload += 1;
        let ack = self.acks.ack(number);
        self.items.flow.record_incoming(u64::from(payload.items()));
        self.call(|connector, cx, output| connector.process(cx, payload, ack, output));
        number
    }

    /// Reports the outcome of a payload that it has sent under an ack of its own.
    pub fn settle(&mut self, ack_id: u64, outcome: Outcome) {
        self.items.settle(ack_id, &outcome);
        self.call(|connector, cx, output| connector.settled(cx, ack_id, outcome, output));
    }

    /// Delivers the events that are due; see [`TestWorld::run`].
    pub fn run(&mut self) -> usize {
        self.run_for(Duration::ZERO)
    }

    /// Advances the clock and delivers the events on the way; see [`TestWorld::run_for`].
    pub fn run_for(&mut self, time: Duration) -> usize {
        let mut output = ConnectorOutput::with_recorder(&self.own_acks);
        let connector = &mut self.connector;
        let events = self.world.run_for(time, |cx, local, event| connector.handle_event(cx, local, event, &mut output));
        self.end_call(output);
        events
    }

    /// Takes the payloads that it has passed on since the last call. A dropped ack counts as lost.
    pub fn take_passed_on(&mut self) -> Vec<PassedOn> {
        std::mem::take(&mut self.passed_on)
    }

    /// Takes the outcomes of payloads since the last call.
    pub fn take_outcomes(&mut self) -> Vec<(u64, Outcome)> {
        self.acks.take()
    }
}

/// The connector in a component.
///
/// # Panics
/// When it is another kind of component.
#[must_use]
#[allow(clippy::panic, reason = "a test of another kind of component can't go on")]
pub fn connector(component: Component) -> Box<dyn Connector> {
    match component {
        Component::Connector(connector) => connector,
        other => panic!("expected a {}, found {other:?}", ComponentKind::Connector.name()),
    }
}
