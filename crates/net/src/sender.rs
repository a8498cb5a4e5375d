//! Exporters over gRPC and HTTP: everything but the form of the requests and the meaning of the responses.
//!
//! ```text
//!  ExporterQueue -> sender -> Delivery (pieces, messages) -> GrpcChannel or HttpClient -> peer
//!                     ^                                                                    |
//!                     +-- protocol: what the response means (CallResult) <-----------------+
//! ```
//! A component implements [`GrpcProtocol`] or [`HttpProtocol`]; [`GrpcSender`] and [`HttpSender`] are then the exporter:
//! they connect with the configured TLS, proxy and credentials, compress, split what the peer refuses for its size, send
//! again only what failed, and decide which responses may be retried. Queue and retry belong to the pipeline. Never
//! reads telemetry itself.

mod call_result;
mod grpc;
mod http;
#[cfg(test)]
mod tests;

pub use call_result::{parse_retry_after, result_of_grpc_status};
pub use grpc::{GrpcProtocol, GrpcSender, GrpcSenders};
pub use http::{EncodedBody, HttpProtocol, HttpSender, SentItems};
pub use otelcore_pipeline::LeftOutItems;
