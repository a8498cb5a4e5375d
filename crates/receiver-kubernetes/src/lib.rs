//! Receivers of a cluster's objects: `k8s_objects` and `k8s_events`. Each is behind a feature of its name.
//!
//! ```text
//!  (leads) -> versions from the storage -> discovery -> lists and watches -> batches -> records -> pipeline
//! ```
//! [`receiver`] is that machine for both. They differ in what is asked for ([`source`]) and in how an object becomes a record
//! ([`records`]). Requests to the API server are those of `otelcore-kubernetes-client`.
#![forbid(unsafe_code)]

mod extension_ids;
mod leader_condition;
mod receiver;
mod records;
mod running;
mod source;
mod versions;

#[cfg(feature = "k8s_events")]
mod events;
#[cfg(feature = "k8s_objects")]
mod objects;
#[cfg(test)]
mod tests;

#[cfg(feature = "k8s_events")]
pub use events::{K8sEventsConfig, K8sEventsFactory};
#[cfg(feature = "k8s_objects")]
pub use objects::{
    K8sObjectsConfig, K8sObjectsFactory, NamespaceFilterConfig, ObjectConfig, ObjectErrorMode, ObjectMode,
};
