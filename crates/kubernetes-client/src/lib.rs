//! Lists and watches objects of a Kubernetes API server over the HTTP client of `otelcore-net`.
//!
//! [`ApiServer`] says where the server is and with which credentials it is asked: those of the pod's service account, or
//! those of a kubeconfig. [`WatchClient`] keeps what a component wants to know up to date: it lists each resource in
//! pages, watches it from there, and passes the objects on one by one, as JSON. [`Pod`] and [`PartialObject`] are such
//! objects as structs, [`Quantity`] is what resources are counted in, and [`ObjectTable`] finds out what a new list lacks.
//!
//! [`ApiClient`] sends single requests; [`Discovery`] finds out with them which resources the server has. [`Leadership`] says
//! whether this collector is the one of several that asks.
//!
//! Lists and watches write nothing to the server, and no list is in memory as a whole.
#![forbid(unsafe_code)]

mod api_client;
mod client;
mod config;
mod credentials;
mod discovery;
mod image;
mod kubeconfig;
mod leadership;
mod list_watch;
mod objects;
mod quantity;
mod server;
mod splitter;
mod table;
mod token;

#[cfg(test)]
mod tests;

pub use api_client::{ApiClient, ApiRequest, ApiResponse};
pub use client::{ChangeKind, ObjectConsumer, WatchClient, WatchId};
pub use config::{KubernetesApiConfig, KubernetesAuthType};
pub use credentials::Credentials;
pub use discovery::{ApiResource, Discovery};
pub use image::{ImageName, ImageParser};
pub use leadership::Leadership;
pub use list_watch::{WatchMode, WatchSpec};
pub use objects::{
    Container, ContainerStatus, ObjectMeta, OwnerReference, PartialObject, Pod, PodSpec, PodStatus, parse_object,
    parse_time, parse_time_nanos,
};
pub use quantity::Quantity;
pub use server::{ApiServer, NOT_IN_CLUSTER, TOKEN_FILE, in_cluster_client_config, in_cluster_url};
pub use splitter::MAX_OBJECT;
pub use table::ObjectTable;
