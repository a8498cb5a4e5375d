//! The `prometheus_remote_write` exporter: OTLP metrics as series of Prometheus, pushed with remote write 1.0 or 2.0.
//!
//! ```text
//!  body -> translate (labels, native histograms, exemplars) -> SeriesTable -> request
//!    ^                                                             |
//!    +------------- halves by the hash of the series <-- too long -+
//! ```
//! `translate` reads a body and adds samples to a `SeriesTable`, which has every series once and writes the request.
//! A body whose request would be too long is divided by series, so that each series is in one request only, and payloads
//! are sent one at a time: the samples of a series arrive in their order. Connections, retries and the queue are those of
//! every exporter over HTTP.
#![forbid(unsafe_code)]

mod config;
mod exemplars;
mod format;
mod labels;
mod metadata;
mod names;
mod native_histogram;
mod protocol;
mod requests;
mod series;
mod shards;
mod symbols;
mod translate;

pub use config::{PrometheusRemoteWriteConfig, PrometheusRemoteWriteFactory, RemoteWriteQueueConfig};
pub use format::ProtobufMessage;
#[doc(hidden)]
pub use format::{RemoteWriteFormat, ResourceLabels};
#[doc(hidden)]
pub use requests::{TranslationCounts, encode_requests};
