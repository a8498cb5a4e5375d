//! The `kubelet_stats` receiver: metrics of a node, its pods, their containers and volumes.
//!
//! The kubelet is asked for `/stats/summary`, and for `/pods` where something in that answer is needed. The answers are read
//! and become OTLP in jobs, never on the loop. Names, units, attributes and values are those of the Go receiver, whose
//! answers to recorded summaries are compared in `tests/differential.rs`.
//!
//! - `config`: the section, and the tables of metrics and attributes
//! - `target`: where the kubelet is, and with what it is asked
//! - `summary`, `pods`: the answers as structs
//! - `volumes`: the attributes of volumes
//! - `writer`: makes metrics of the answers
//! - `claims`, `node`: what the Kubernetes API server is asked
//! - `scrape`: the requests and jobs of one scrape
//! - `receiver`: when scrapes are made, and what is sent and logged of them
#![forbid(unsafe_code)]

mod claims;
mod config;
mod factory;
mod node;
mod pods;
mod receiver;
mod scrape;
mod summary;
mod target;
#[cfg(test)]
mod tests;
mod volumes;
mod writer;

pub use config::*;
pub use factory::KubeletStatsFactory;
