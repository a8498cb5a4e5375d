//! A small pod runner for the tests: runs the manifests of a cluster as processes in namespaces.
//!
//! A [`Cluster`] runs in its own network, mount and pid namespace ([`run_in_namespaces`]), so that no process outlives
//! its test. Nodes are network namespaces on a bridge; a pod has a network namespace with an address, each of its
//! containers a pid and a mount namespace, a root made from the image's tree, a numeric user, no capabilities, the
//! downward API's environment, probes, a memory limit where cgroups can be written, and SIGTERM with a grace period.
//!
//! Differences from a real cluster: there is no API server, scheduler, kube-proxy or CNI. A ClusterIP is a relay that
//! picks a ready pod for each TCP connection, a hostPort is a relay on the node, DNS is a small server. Policies,
//! autoscalers and CPU limits are ignored, and [`Cluster::apply`] returns the objects that it has not acted on.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod cgroup;
mod cluster;
mod container;
pub mod http;
pub mod load;
pub mod manifest;
mod namespaces;
mod network;
mod pod;
pub mod relay;
mod spec;

pub use cgroup::enforces_memory;
pub use cluster::{Cluster, ClusterConfig};
pub use namespaces::{empty_dir, image, project_root, run_in_namespaces};
pub use otelcore_test_support::tool_path as tool;
pub use pod::Pod;
pub use spec::{Image, expand, quantity};
