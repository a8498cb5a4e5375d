//! The `otlp_grpc` and `otlp_http` exporters, also known as `otlp` and `otlphttp`, and `load_balancing`, which sends to
//! several backends.
//!
//! Received payloads are sent unchanged: the parts of a payload's rope are sent one after another, compressed if
//! configured, or converted to JSON. The peer's response becomes an [`otelcore_pipeline::Outcome`]; the queue decides
//! when to retry.
#![forbid(unsafe_code)]

mod grpc;
mod http;
#[cfg(feature = "load-balancing")]
mod load_balancing;
mod partial_success;

pub use grpc::{OtlpGrpcExporterConfig, OtlpGrpcFactory};
pub use http::{Encoding, OtlpHttpExporterConfig, OtlpHttpFactory};
#[cfg(feature = "load-balancing")]
pub use load_balancing::{
    DnsResolverConfig, K8sResolverConfig, LoadBalancingConfig, LoadBalancingFactory, ProtocolConfig, ResolverConfig,
    StaticResolverConfig,
};
