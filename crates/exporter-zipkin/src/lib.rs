//! The `zipkin` exporter: OTLP spans to the spans of Zipkin's API, version 2, as JSON or protobuf.
//!
//! `otelcore-zipkin-translation` writes the spans. Connections, retries and the queue are those of every exporter over HTTP.
#![forbid(unsafe_code)]

mod config;
#[doc(hidden)]
pub mod encode;

pub use config::{ZipkinExporterConfig, ZipkinExporterFactory};
pub use otelcore_zipkin_translation::Format;
