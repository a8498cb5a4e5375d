//! The `round_robin` connector: passes each payload to one of the pipelines that it feeds, in turn.
//!
//! Holds nothing: the outcome of a payload is that of its pipeline. A payload that is refused is not passed to another one.

use otelcore_config::config_struct;
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Ack, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Connector, ConnectorOutput, Cx, Payload,
    StartError,
};

config_struct! {
    /// Passes each payload to one of the pipelines that name it as a receiver, in turn. It has no settings.
    pub struct RoundRobinConfig {}
}

/// Makes `round_robin` connectors.
#[derive(Clone, Copy, Debug)]
pub struct RoundRobinFactory;

impl ComponentType for RoundRobinFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Connector,
        type_name: "round_robin",
        aliases: &["roundrobin"],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    const SIGNAL_PAIRS: &'static [(Signal, Signal)] = crate::SAME_SIGNAL_PAIRS;
    type Config = RoundRobinConfig;

    fn create(&self, _: &RoundRobinConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let connector = RoundRobin { pipelines: context.output_pipelines.len(), next: 0 };
        Ok(Component::Connector(Box::new(connector)))
    }
}

struct RoundRobin {
    pipelines: usize,
    next: usize,
}

impl Connector for RoundRobin {
    fn process(&mut self, _: &mut Cx<'_>, payload: Payload, ack: Ack, output: &mut ConnectorOutput) {
        output.send_to(self.next, payload, ack);
        self.next += 1;
        if self.next >= self.pipelines {
            self.next = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use otelcore_pdata::Rope;
    use otelcore_testkit::{ConnectorTest, TestContext, connector, payload};

    use super::*;

    #[test]
    fn payloads_go_to_the_pipelines_in_turn() {
        let mut context = TestContext::new();
        context.output_pipelines = ["logs/a", "logs/b", "logs/c"].map(|id| id.parse().unwrap()).to_vec();
        let component = context.create(&RoundRobinFactory, "round_robin", "").unwrap();
        let mut test: ConnectorTest<dyn Connector> = ConnectorTest::new(connector(component));
        for round in 0..7 {
            test.process(payload(Signal::Logs, Rope::default()));
            let [(pipeline, ..)] = &test.take_passed_on()[..] else { unreachable!("it is passed on once") };
            assert_eq!(*pipeline, Some(round % 3));
        }
    }
}
