//! The configuration of `k8s_cluster`, with the keys and messages of the Go collector.

use std::time::Duration;

use otelcore_config::{GoDuration, Section, config_struct};
use otelcore_kubernetes_client::KubernetesApiConfig;

use super::metrics::{ClusterAttributesConfig, ClusterMetricsConfig};
use crate::extension_ids::check_id;

const KUBERNETES: &str = "kubernetes";
const OPENSHIFT: &str = "openshift";

config_struct! {
    /// Metrics of a cluster: what its objects should be, and are.
    #[config(check = Self::check)]
    pub struct K8sClusterConfig {
        /// The API server.
        #[config(flatten)]
        pub api: KubernetesApiConfig,
        /// How often metrics are sent.
        #[config(above(GoDuration::ZERO, "'collection_interval' must be positive"))]
        pub collection_interval: Duration = Duration::from_secs(10),
        /// Conditions of nodes that become metrics: `Ready` is `k8s.node.condition_ready`.
        pub node_conditions_to_report: Vec<String> = vec!["Ready".to_owned()],
        /// Allocatable resources of nodes that become metrics: `cpu` is `k8s.node.allocatable_cpu`.
        pub allocatable_types_to_report: Vec<String>,
        /// Exporters of metadata. Only an empty list is accepted.
        pub metadata_exporters: Vec<String>,
        /// `kubernetes`, or `openshift` for its cluster resource quotas too.
        pub distribution: String = KUBERNETES.to_owned(),
        /// How often metadata is sent to `metadata_exporters`, and entities as events.
        #[config(at_least(GoDuration::ZERO, "'metadata_collection_interval' must not be negative"))]
        #[config(ignored = "metadata is sent to no exporter, and entities are not sent as events")]
        pub metadata_collection_interval: Duration = Duration::from_secs(300),
        /// The only namespace whose objects are watched.
        #[config(deprecated = "`namespaces:` with this one in it")]
        pub namespace: String,
        /// The namespaces whose objects are watched. With these, nodes, namespaces and volumes are not.
        pub namespaces: Vec<String>,
        /// The id of a `k8s_leader_elector` extension: metrics are sent while this collector leads.
        pub k8s_leader_elector: String,
        /// The metrics.
        pub metrics: ClusterMetricsConfig,
        /// The attributes of resources.
        pub resource_attributes: ClusterAttributesConfig,
    }
}

impl K8sClusterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if ![KUBERNETES, OPENSHIFT].contains(&self.distribution.as_str()) {
            let message = format!(
                "\"{}\" is not a supported distribution. Must be one of: \"openshift\", \"kubernetes\"",
                self.distribution
            );
            s.error("distribution", message);
        }
        if !self.metadata_exporters.is_empty() {
            s.error("metadata_exporters", "'metadata_exporters' is not supported: no exporter here takes metadata")
                .help("remove it, or write an empty list");
        }
        check_id(s, "k8s_leader_elector", &self.k8s_leader_elector, "k8s_leader_elector");
    }

    pub(super) fn is_openshift(&self) -> bool {
        self.distribution == OPENSHIFT
    }

    /// Empty for all.
    pub(super) fn watched_namespaces(&self) -> Vec<String> {
        match (self.namespaces.is_empty(), self.namespace.as_str()) {
            (true, "") => Vec::new(),
            (true, namespace) => vec![namespace.to_owned()],
            (false, _) => self.namespaces.clone(),
        }
    }
}
