//! The `host_metrics` receiver: CPU, memory, disks, file systems, network and processes of a Linux machine.
//!
//! Everything is read from `/proc` and `/sys` in jobs on files, never on the loop, and written as OTLP there. Names,
//! units, attributes and values are those of the Go receiver, whose tests answer for them (see `tests/differential.rs`).
//!
//! - `config`: the section, and the tables of all metrics
//! - `host`: where the files of the machine are, and how they are read
//! - `scrapers`: one module for each scraper
//! - `mounts`: asks file systems how full they are, some of which never answer
//! - `receiver`: when scrapes are made, and what is sent and logged of them
#![forbid(unsafe_code)]

mod config;
mod entity_event;
mod factory;
mod host;
mod mounts;
mod numbers;
mod receiver;
mod scrapers;
#[cfg(test)]
mod tests;

pub use config::*;
pub use factory::HostMetricsFactory;
