//! The `k8s_objects` receiver: objects of a cluster, pulled or watched, as log records.

mod config;
mod format;

use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

use crate::extension_ids::open_values;
use crate::leader_condition::LeaderCondition;
use crate::receiver::{MissingResource, ObjectReceiver, ReceiverParts};
pub use config::{K8sObjectsConfig, NamespaceFilterConfig, ObjectConfig, ObjectErrorMode, ObjectMode};
use format::ObjectFormat;

/// The `k8s_objects` receiver.
#[derive(Clone, Copy, Debug)]
pub struct K8sObjectsFactory;

impl ComponentType for K8sObjectsFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "k8s_objects",
        aliases: &["k8sobjects"],
        signals: &[Signal::Logs],
        stability: "Beta",
    };
    type Config = K8sObjectsConfig;

    fn create(&self, config: &K8sObjectsConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let initial = config.include_initial_state;
        let parts = ReceiverParts {
            api: config.api.clone(),
            sources: config.objects.iter().map(|object| object.source(initial)).collect(),
            missing: match config.error_mode {
                ObjectErrorMode::Propagate => MissingResource::Fail,
                ObjectErrorMode::Ignore => MissingResource::Log,
                ObjectErrorMode::Silent => MissingResource::Ignore,
            },
            make_format: ObjectFormat::of_sources,
            condition: LeaderCondition::new(&config.k8s_leader_elector, context)?,
            values: open_values(&config.storage, Self::INFO.type_name, context)?,
        };
        Ok(Component::Receiver(Box::new(ObjectReceiver::new(parts, context))))
    }
}
