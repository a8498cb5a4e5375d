//! Kubernetes manifests as the surroundings of a collector.
//!
//! A [`Cluster`] holds the objects of one or more files. [`Cluster::collectors`] finds the containers that run a
//! collector, each with its command line; [`ContainerSources`] gives the variables and mounted files of a container as
//! [`ConfigSources`]; and [`Collector::check`] compares what the configuration does ([`ConfigEffects`]) with the
//! manifests.
//!
//! This crate opens no file, contains no component and connects to no cluster: what is not in the files may still be
//! right.
//!
//! [`ConfigSources`]: otelcore_config::ConfigSources
#![forbid(unsafe_code)]

mod checks;
mod cluster;
mod collector;
mod config_effects;
mod container_sources;
mod environment;
mod kustomize;
mod operator;
mod quantity;
mod volumes;

pub use checks::check_keys_of_topics;
pub use cluster::{Cluster, Object};
pub use collector::{Argument, Collector};
pub use config_effects::{
    ConfigEffects, ConfigFile, ListenSocket, MemoryLimiterLimit, ReadTopics, ServedProtocol, StorageDirectory,
    WrittenTopic,
};
pub use container_sources::ContainerSources;
pub use environment::{NODE_IP, POD_IP};
pub use kustomize::{GeneratedMap, KUSTOMIZATION_FILES as KUSTOMIZATIONS, Kustomization};
