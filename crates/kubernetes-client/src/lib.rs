//! Lists and watches objects of a Kubernetes API server over the HTTP client of `otelcore-net`.
//!
//! [`ApiServer`] says where the server is and with which credentials it is asked: those of the pod's service account, or
//! those of a kubeconfig. [`WatchClient`] keeps what a component wants to know up to date: it lists each resource in
//! pages, watches it from there, and passes the objects on one by one, as JSON. [`Pod`] and [`PartialObject`] are such
//! objects as structs, [`Quantity`] is what resources are counted in, and [`ObjectTable`] finds out what a new list lacks.
//!
//! Nothing here writes to the server, and no list is in memory as a whole.
#![forbid(unsafe_code)]

mod api_client;
mod client;
mod config;
mod credentials;
mod kubeconfig;
mod list_watch;
mod objects;
mod quantity;
mod server;
mod splitter;
mod table;

#[cfg(test)]
mod tests;

pub use api_client::{ApiClient, ApiRequest, ApiResponse};
pub use client::{ChangeKind, ObjectConsumer, WatchClient, WatchId};
pub use config::{KubernetesApiConfig, KubernetesAuthType};
pub use credentials::Credentials;
pub use list_watch::WatchSpec;
pub use objects::{
    Container, ContainerStatus, ObjectMeta, OwnerReference, PartialObject, Pod, PodSpec, PodStatus, parse_object,
    parse_time, parse_time_nanos,
};
pub use quantity::Quantity;
pub use server::{ApiServer, NOT_IN_CLUSTER, TOKEN_FILE, in_cluster_client_config, in_cluster_url};
pub use splitter::MAX_OBJECT;
pub use table::ObjectTable;
