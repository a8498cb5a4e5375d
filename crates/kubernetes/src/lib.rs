//! Kubernetes manifests as the surroundings of a collector.
//!
//! A [`Cluster`] holds the objects of one or more files. [`Cluster::collectors`] finds the containers that run a
//! collector, each with its command line; [`Inside`] gives the variables and mounted files of such a container as
//! [`Sources`]; and [`Collector::check`] compares what the configuration does ([`Facts`]) with the manifests.
//!
//! This crate opens no file, contains no component and connects to no cluster: what is not in the files may still be
//! right.
//!
//! [`Sources`]: otelcore_config::Sources
#![forbid(unsafe_code)]

mod checks;
mod cluster;
mod collector;
mod environment;
mod facts;
mod inside;
mod kustomize;
mod operator;
mod quantity;
mod volumes;

pub use cluster::{Cluster, Object};
pub use collector::{Collector, Word};
pub use facts::{Facts, Limiter, Listen, NamedFile, Serves};
pub use inside::{Inside, NODE_IP, POD_IP};
pub use kustomize::{FILES as KUSTOMIZATIONS, GeneratedMap, Kustomization};
