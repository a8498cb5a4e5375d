//! The `k8s_cluster` receiver: metrics of a cluster, from the objects of its API server.
//!
//! - `config`, `metrics`: the configuration, with the tables of metrics and attributes
//! - `kinds`, `objects`: what is watched, and the members that are read
//! - `record`, `entry`, `names`: what is kept of an object
//! - `tables`: the entries of all objects, and their metrics as payloads
//! - `receiver`: when all this happens

mod config;
mod entry;
mod kinds;
mod metrics;
mod names;
mod objects;
mod receiver;
mod record;
mod tables;

use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

pub use config::K8sClusterConfig;
pub use metrics::{ClusterAttributesConfig, ClusterMetricsConfig};
use receiver::ClusterReceiver;

/// The `k8s_cluster` receiver.
#[derive(Clone, Copy, Debug)]
pub struct K8sClusterFactory;

impl ComponentType for K8sClusterFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "k8s_cluster",
        aliases: &[],
        signals: &[Signal::Metrics],
        stability: "Beta",
    };
    type Config = K8sClusterConfig;

    fn create(&self, config: &K8sClusterConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(ClusterReceiver::new(config, context)?)))
    }
}
