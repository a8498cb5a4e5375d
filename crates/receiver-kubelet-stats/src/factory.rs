//! The type `kubelet_stats`.

use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

use crate::config::KubeletStatsConfig;
use crate::receiver::KubeletStatsReceiver;

/// The `kubelet_stats` receiver.
#[derive(Clone, Copy, Debug)]
pub struct KubeletStatsFactory;

impl ComponentType for KubeletStatsFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "kubelet_stats",
        aliases: &["kubeletstats"],
        signals: &[Signal::Metrics],
        stability: "Beta",
    };
    type Config = KubeletStatsConfig;

    fn create(&self, config: &KubeletStatsConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(KubeletStatsReceiver::new(config, context))))
    }
}
