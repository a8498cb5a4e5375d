//! An OpenTelemetry Collector to run or to embed.
//!
//! [`Plan::parse`] reads a configuration of the Go collector with a [`Registry`] of component types; [`Collector`]
//! builds and starts it; [`commands`] are what the binary and the Python package run. This crate owns the order of
//! starting and stopping and the messages about them; it moves no data.
#![forbid(unsafe_code)]

#[cfg(feature = "commands")]
pub mod commands;
mod embed;
mod nop;
mod plan;
mod registry;
#[cfg(feature = "commands")]
mod schema;
mod service;
#[cfg(feature = "commands")]
mod summary;
mod telemetry;

pub use embed::{
    CollectorSnapshot, CollectorState, ConfigDocument, DrivenCollector, EmbedError, EmbedOptions, EmbeddedCollector,
    EnvLookup, MemorySnapshot, QueueSnapshot, component_status_json, kind_name,
};
pub use otelcore_config as config;
pub use otelcore_http as http;
pub use otelcore_inproc as inproc;
pub use otelcore_net as net;
pub use otelcore_pdata as pdata;
pub use otelcore_pipeline as pipeline;
pub use otelcore_reactor as reactor;
pub use plan::{Plan, unsupported_types};
pub use registry::Registry;
pub use service::{BuildInfo, Collector, DEFAULT_GRACE_PERIOD, MetricSnapshot, ReloadError, RunError};

/// The README's Rust is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ReadmeExamples;

/// Compiles the example of the crate's own README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadmeExample;
