//! Tests of a whole collector in the simulated world.
//!
//! A collector is built from YAML as the binary builds it; its clients and backends are small graphs too. Each test
//! runs with several seeds, and a failure names its seed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test that can't go on has failed")]

mod auth;
mod backend;
mod chart;
mod client;
mod connectors;
mod delivery;
mod fixture;
mod forwarding;
mod headers;
mod kafka;
mod kafka_admin;
mod kafka_broker;
mod kafka_cluster;
mod kafka_coordinator;
mod kubelet;
mod kubernetes;
mod kubernetes_objects;
mod limits;
mod load_balancing;
mod metric_connectors;
mod own_telemetry;
mod processors;
mod prometheus;
mod reload;
mod routing;
mod service_graph;
mod several_collectors;
mod shutdown;
mod soak;
mod spreading;
mod stored;
mod tail_sampling;
mod timing;
mod topology_faults;
mod zpages;
