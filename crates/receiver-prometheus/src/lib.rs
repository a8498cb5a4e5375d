//! The `prometheus` receiver: scrapes targets as Prometheus does, and translates their pages to OTLP as the Go collector
//! does.
//!
//! Targets are discovered and relabelled by `otelcore-prometheus-discovery`, requested by [`otelcore_net::Scraper`], and
//! their pages are parsed by `otelcore-exposition` as they arrive. What is known of a target's series between two scrapes is
//! charged as kept state. The points of a scrape are sent when it has ended, since a mistake or a limit refuses all of it.
#![forbid(unsafe_code)]

mod allocator;
mod cache;
mod config;
mod consumer;
mod factory;
mod family;
mod job;
mod job_set;
mod key;
mod labels;
mod metadata;
mod names;
mod native;
mod output;
mod protocol;
mod receiver;
mod resource;
mod series;
mod sets;
mod settings;
mod target;
mod transaction;

pub use config::{
    AllocatorHttpSdConfig, ByteSize, GlobalConfig, PromConfig, PrometheusReceiverConfig, QueryParameters, ScrapeConfig,
    TargetAllocatorConfig,
};
pub use factory::PrometheusReceiverFactory;

#[cfg(test)]
mod tests;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
