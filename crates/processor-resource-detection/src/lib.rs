//! The `resource_detection` processor: finds out where the collector runs, and adds that to the resources of telemetry.
//!
//! A detector is a function from what is known to attributes (`detectors`): each time it needs a file, a variable or a
//! response that is not known yet, it ends, and `detection` gets that and calls it again from its begin. So detectors
//! are plain code without states, and are tested without a world. `processor` holds payloads back until the first
//! detection has ended, which is when its time limit has passed at the latest, and adds the attributes.
//!
//! Nothing here sends telemetry, or asks a service that no detector of the configuration needs.
#![forbid(unsafe_code)]

mod answers;
mod config;
mod detected;
mod detection;
mod detector_kind;
mod detectors;
mod interfaces;
mod processor;
mod unix_request;

#[cfg(test)]
mod tests;

use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

pub use config::{
    AksAttributesConfig, AksConfig, AttributeConfig, AzureAttributesConfig, AzureConfig, ConsulAttributesConfig,
    ConsulConfig, DockerAttributesConfig, DockerConfig, Ec2AttributesConfig, Ec2Config, EcsAttributesConfig, EcsConfig,
    EksAttributesConfig, EksConfig, GcpAttributesConfig, GcpConfig, HerokuAttributesConfig, HerokuConfig,
    K8sApiAttributesConfig, K8sApiConfig, LambdaAttributesConfig, LambdaConfig, OpenShiftAttributesConfig,
    OpenShiftConfig, ResourceDetectionConfig, SystemAttributesConfig, SystemConfig,
};
pub use otelcore_kubernetes_client::KubernetesAuthType;

/// Makes `resource_detection` processors.
#[derive(Clone, Copy, Debug)]
pub struct ResourceDetectionFactory;

impl ComponentType for ResourceDetectionFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "resource_detection",
        aliases: &["resourcedetection"],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = ResourceDetectionConfig;

    fn create(&self, config: &ResourceDetectionConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Processor(Box::new(processor::ResourceDetectionProcessor::new(config, context)?)))
    }
}
