//! The `load_balancing` exporter: telemetry that belongs together goes to the same one of several backends.
//!
//! Which one is decided by consistent hashing, with the ring and the keys of the Go collector, so that collectors of both
//! kinds in front of the same backends agree. There is one queue, in front of the ring: nothing is kept for a backend that
//! has gone. Knows the protocol to the backends only as the exporter `otlp_grpc` does.

mod backend;
mod balancer;
mod config;
mod identity;
mod metrics;
mod resolver;
mod ring;
mod rule;
mod split;
#[cfg(test)]
mod tests;

use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, ReadFile, StartError};

use balancer::LoadBalancer;
pub use config::{
    DnsResolverConfig, K8sResolverConfig, LoadBalancingConfig, ProtocolConfig, ResolverConfig, StaticResolverConfig,
};

/// Makes `load_balancing` exporters.
#[derive(Clone, Copy, Debug)]
pub struct LoadBalancingFactory;

impl ComponentType for LoadBalancingFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "load_balancing",
        aliases: &["loadbalancing"],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = LoadBalancingConfig;

    fn create(&self, config: &LoadBalancingConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let exporter = LoadBalancer::new(config, context)?;
        Ok(Component::Exporter(Box::new(exporter), config.exporter_queue()))
    }

    fn check_files(&self, config: &LoadBalancingConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        config.protocol.otlp.client.check_files(read)
    }
}
