//! A small pod runner for the tests: the manifests of a cluster, run as processes in namespaces.
//!
//! A [`Cluster`] lives in a network, mount and pid namespace of its own ([`inside`]), so that nothing outlives its test.
//! Nodes are network namespaces on a bridge; a pod has a network namespace with an address, each of its containers a pid
//! and a mount namespace, a root made of the image's tree, a numeric user, no capabilities, the downward API's environment,
//! probes, a memory limit where cgroups can be written, and SIGTERM with a grace period.
//!
//! What a real cluster has and this has not: there is no API server, scheduler, kube-proxy or CNI. A ClusterIP is a relay
//! that picks a ready pod for each TCP connection, a hostPort a relay on the node, DNS a server of a page. Policies,
//! autoscalers and CPU limits are read past, and [`Cluster::apply`] returns what it has not acted on.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod cgroup;
mod cluster;
mod container;
mod dns;
pub mod http;
mod inside;
pub mod load;
pub mod manifest;
mod network;
mod pod;
pub mod relay;
mod spec;

pub use cgroup::enforces_memory;
pub use cluster::{Cluster, Setup};
pub use inside::{free, image, inside, root, tool};
pub use pod::Pod;
pub use spec::{Image, expand, quantity};
