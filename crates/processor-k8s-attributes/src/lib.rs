//! The `k8s_attributes` processor: adds metadata of pods, and of what they belong to, to the resources of telemetry.
//!
//! ```text
//!  API server -> WatchClient -> tables (pods by identifier, namespaces, nodes, owners)
//!                                  |
//!  payload ----> association ------+--> attributes of its resources
//! ```
//! `extract` makes attributes of an object when it arrives, `tables` keeps them, `association` finds the pod of a resource,
//! and `enrich` writes the attributes, once for each resource. What follows from two objects (the deployment of a
//! pod by its replica set) is looked up when it is written, so that it does not depend on which of them arrived first.
#![forbid(unsafe_code)]

mod association;
mod config;
mod enrich;
mod extract;
mod fields;
mod metrics;
mod processor;
mod rules;
mod tables;
mod watches;

#[cfg(test)]
mod tests;

use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

pub use config::{
    ExcludeConfig, ExcludePodConfig, ExtractConfig, FieldExtractConfig, FieldFilterConfig, FilterConfig,
    K8sAttributesConfig, PodAssociationConfig, PodAssociationSourceConfig,
};

/// Makes `k8s_attributes` processors.
#[derive(Clone, Copy, Debug)]
pub struct K8sAttributesFactory;

impl ComponentType for K8sAttributesFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "k8s_attributes",
        aliases: &["k8sattributes"],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = K8sAttributesConfig;

    fn create(&self, config: &K8sAttributesConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Processor(Box::new(processor::K8sAttributesProcessor::new(config, context)?)))
    }
}
