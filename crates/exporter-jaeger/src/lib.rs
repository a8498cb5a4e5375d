//! The `jaeger` exporter.
//!
//! Each `ResourceSpans` becomes one `jaeger.api_v2.Batch`, written straight from the received bytes ([`encode`]), and
//! one `PostSpans` call. What a failed call did not deliver is sent again, and only that. The Go collector removed this
//! exporter in 0.86; its options are those of 0.85, its mapping that of the translator that is still kept.
#![forbid(unsafe_code)]

mod config;
pub mod encode;
mod exporter;

pub use config::{Jaeger, JaegerFactory};
