//! The `zipkin` exporter: OTLP spans to the spans of Zipkin's API, version 2, as JSON or protobuf.
//!
//! `span` maps a span by the rules of the Go translator: attributes of the resource, the scope and the span become
//! tags, events annotations, links tags. The two formats write what it returns. Connections, retries and the queue are
//! those of every exporter over HTTP.
#![forbid(unsafe_code)]

mod config;
#[doc(hidden)]
pub mod encode;
mod format;
mod json;
mod protobuf;
mod span;

pub use config::{ZipkinExporterConfig, ZipkinExporterFactory};
pub use format::Format;
