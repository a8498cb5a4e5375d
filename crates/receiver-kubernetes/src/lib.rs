//! Receivers of a cluster's objects: `k8s_objects` and `k8s_events` as log records, `k8s_cluster` as metrics. Each is behind a
//! feature of its name.
//!
//! ```text
//!  (leads) -> versions from the storage -> discovery -> lists and watches -> batches -> records -> pipeline
//! ```
//! `receiver` is that machine for the first two. They differ in what is asked for (`source`) and in how an object becomes a
//! record (`records`). Requests to the API server are those of `otelcore-kubernetes-client`.
#![forbid(unsafe_code)]

mod begin_failures;
mod discovery_run;
mod extension_ids;
mod leader_condition;
#[cfg(any(feature = "k8s_events", feature = "k8s_objects"))]
mod receiver;
#[cfg(any(feature = "k8s_events", feature = "k8s_objects"))]
mod records;
#[cfg(any(feature = "k8s_events", feature = "k8s_objects"))]
mod running;
#[cfg(any(feature = "k8s_events", feature = "k8s_objects"))]
mod source;
#[cfg(any(feature = "k8s_events", feature = "k8s_objects"))]
mod versions;

#[cfg(feature = "k8s_cluster")]
mod cluster;
#[cfg(feature = "k8s_events")]
mod events;
#[cfg(feature = "k8s_objects")]
mod objects;
#[cfg(test)]
mod tests;

#[cfg(feature = "k8s_cluster")]
pub use cluster::{ClusterAttributesConfig, ClusterMetricsConfig, K8sClusterConfig, K8sClusterFactory};
#[cfg(feature = "k8s_events")]
pub use events::{K8sEventsConfig, K8sEventsFactory};
#[cfg(feature = "k8s_objects")]
pub use objects::{
    K8sObjectsConfig, K8sObjectsFactory, NamespaceFilterConfig, ObjectConfig, ObjectErrorMode, ObjectMode,
};
