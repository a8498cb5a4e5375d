//! The `loki` exporter: log records to the push API of Loki, by the hints of the exporter that the Go collector had.
//!
//! `hints` finds the tenant, the labels and the format of a record; `line` and `logfmt` write its line; `streams`
//! collects lines by their labels and writes a request. A payload becomes a request for each tenant, and several where
//! one would be too long. Connections, retries and the queue are those of every exporter over HTTP.
#![forbid(unsafe_code)]

mod config;
mod hints;
mod line;
mod logfmt;
mod protocol;
mod requests;
mod streams;
mod tenants;
mod translate;

pub use config::{LokiExporterConfig, LokiExporterFactory};
#[doc(hidden)]
pub use hints::DefaultLabels;
#[doc(hidden)]
pub use requests::encode_logs;
