//! The `prometheus` receiver as a type of component.

use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, ReadFile, StartError};

use crate::config::PrometheusReceiverConfig;
use crate::receiver::PrometheusReceiver;

/// The `prometheus` receiver.
#[derive(Clone, Copy, Debug)]
pub struct PrometheusReceiverFactory;

impl ComponentType for PrometheusReceiverFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "prometheus",
        aliases: &[],
        signals: &[Signal::Metrics],
        stability: "Beta",
    };
    type Config = PrometheusReceiverConfig;

    fn create(&self, config: &PrometheusReceiverConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(PrometheusReceiver::new(config, context)?)))
    }

    fn check_files(&self, config: &PrometheusReceiverConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        for job in &config.config.scrape_configs {
            job.http.client_config().tls.check_files(read)?;
        }
        if let Some(allocator) = &config.target_allocator {
            allocator.client.tls.check_files(read)?;
            if let Some(http) = &allocator.http_scrape_config {
                http.client_config().tls.check_files(read)?;
            }
        }
        Ok(())
    }
}
