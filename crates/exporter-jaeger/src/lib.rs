//! The `jaeger` exporter.
//!
//! Each `ResourceSpans` becomes one `jaeger.api_v2.Batch`, written straight from the received bytes ([`encode`]), and
//! one `PostSpans` call. Only the data of failed calls is sent again. The Go collector removed this exporter in 0.86;
//! the options here are those of 0.85, the mapping is that of the Go translator, which is still maintained.
#![forbid(unsafe_code)]

mod config;
pub mod encode;
mod exporter;

pub use config::{JaegerConfig, JaegerFactory};
