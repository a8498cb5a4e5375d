//! The `otlp_grpc` and `otlp_http` exporters, also known as `otlp` and `otlphttp`.
//!
//! What was received is sent on as it is: the parts of a payload's rope go out one behind the other, compressed where
//! that is wanted, or as JSON. What the peer says becomes an [`otelcore_pipeline::Outcome`]; when to try again is the
//! queue's business.
#![forbid(unsafe_code)]

mod answer;
mod grpc;
mod http;

pub use grpc::{OtlpGrpc, OtlpGrpcFactory};
pub use http::{Encoding, OtlpHttp, OtlpHttpFactory};
