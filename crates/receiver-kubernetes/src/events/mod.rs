//! The `k8s_events` receiver: events of a cluster, each as a log record with its message.

mod format;

use otelcore_config::{Section, config_struct};
use otelcore_kubernetes_client::{ApiResource, KubernetesApiConfig};
use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

use crate::extension_ids::{check_id, open_values};
use crate::leader_condition::LeaderCondition;
use crate::receiver::{MissingResource, ObjectReceiver, ReceiverParts};
use crate::source::{ObjectSource, ReadMode};
use format::EventFormat;

config_struct! {
    /// Collects events of a cluster as log records.
    #[config(check = Self::check)]
    pub struct K8sEventsConfig {
        /// The API server.
        #[config(flatten)]
        pub api: KubernetesApiConfig,
        /// Only events of these namespaces. Without them, of all.
        pub namespaces: Vec<String>,
        /// The id of a storage extension that keeps up to which version events were delivered. Without it, they begin anew
        /// after a restart.
        pub storage: String,
        /// The id of a `k8s_leader_elector` extension: events are collected while this collector leads.
        pub k8s_leader_elector: String,
    }
}

impl K8sEventsConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        check_id(s, "k8s_leader_elector", &self.k8s_leader_elector, "k8s_leader_elector");
        check_id(s, "storage", &self.storage, "file_storage");
    }
}

/// The `k8s_events` receiver.
#[derive(Clone, Copy, Debug)]
pub struct K8sEventsFactory;

impl ComponentType for K8sEventsFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "k8s_events",
        aliases: &[],
        signals: &[Signal::Logs],
        stability: "Alpha",
    };
    type Config = K8sEventsConfig;

    fn create(&self, config: &K8sEventsConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let resource = ApiResource {
            group: String::new(),
            version: "v1".to_owned(),
            name: "events".to_owned(),
            kind: "Event".to_owned(),
        };
        let source = ObjectSource {
            name: resource.name.clone(),
            group: String::new(),
            resource: Some(resource),
            namespaces: config.namespaces.clone(),
            excluded_namespaces: [].into(),
            label_selector: String::new(),
            field_selector: String::new(),
            resource_version: String::new(),
            mode: ReadMode::Watch { has_initial_state: false },
            excluded_types: vec!["DELETED".to_owned()],
        };
        let is_stored = !config.storage.is_empty();
        let parts = ReceiverParts {
            api: config.api.clone(),
            sources: vec![source],
            missing: MissingResource::Fail,
            // What happened while the collector did not run is of interest if its place in the changes is kept.
            make_format: if is_stored { EventFormat::of_all } else { EventFormat::of_events_since },
            condition: LeaderCondition::new(&config.k8s_leader_elector, context)?,
            values: open_values(&config.storage, Self::INFO.type_name, context)?,
        };
        Ok(Component::Receiver(Box::new(ObjectReceiver::new(parts, context))))
    }
}
