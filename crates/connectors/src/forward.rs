//! The `forward` connector: passes each payload on as it is, to every pipeline of the same signal.
//!
//! Holds nothing: the outcome of a payload is that of the pipelines behind it.

use otelcore_config::config_struct;
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Ack, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Connector, ConnectorOutput, Cx, Payload,
    StartError,
};

config_struct! {
    /// Passes everything on to the pipelines that name it as a receiver. It has no settings.
    pub struct ForwardConfig {}
}

/// Makes `forward` connectors.
#[derive(Clone, Copy, Debug)]
pub struct ForwardFactory;

impl ComponentType for ForwardFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Connector,
        type_name: "forward",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    const SIGNAL_PAIRS: &'static [(Signal, Signal)] = crate::SAME_SIGNAL_PAIRS;
    type Config = ForwardConfig;

    fn create(&self, _: &ForwardConfig, _: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Connector(Box::new(Forward)))
    }
}

struct Forward;

impl Connector for Forward {
    fn process(&mut self, _: &mut Cx<'_>, payload: Payload, ack: Ack, output: &mut ConnectorOutput) {
        output.send(payload, ack);
    }
}
