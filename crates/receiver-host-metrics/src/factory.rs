//! The type `host_metrics`.

use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

use crate::config::HostMetricsConfig;
use crate::receiver::HostMetricsReceiver;

/// The `host_metrics` receiver.
#[derive(Clone, Copy, Debug)]
pub struct HostMetricsFactory;

impl ComponentType for HostMetricsFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "host_metrics",
        aliases: &["hostmetrics"],
        signals: &[Signal::Metrics, Signal::Logs],
        stability: "Beta",
    };
    type Config = HostMetricsConfig;

    fn create(&self, config: &HostMetricsConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(HostMetricsReceiver::new(config, context))))
    }
}
