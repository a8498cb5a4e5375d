//! Receivers of formats from before OTLP: bodies become OTLP when they arrive.
//!
//! Each receiver is a folder and a feature of its name. `span_groups` writes spans of one resource and scope together;
//! connections, limits, authentication and responses are [`otelcore_net::ingest::Ingest`].
#![forbid(unsafe_code)]

mod decode_error;
#[cfg(feature = "jaeger")]
#[doc(hidden)]
pub mod jaeger;
mod protobuf_fields;
mod span_groups;
#[cfg(feature = "zipkin")]
#[doc(hidden)]
pub mod zipkin;

#[doc(hidden)]
pub use decode_error::DecodeError;
#[cfg(feature = "jaeger")]
pub use jaeger::{JaegerProtocolsConfig, JaegerReceiverConfig, JaegerReceiverFactory, ThriftUdpConfig};
#[cfg(feature = "zipkin")]
pub use zipkin::{ZipkinReceiverConfig, ZipkinReceiverFactory};
