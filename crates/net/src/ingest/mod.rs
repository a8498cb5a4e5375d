//! What every receiver that is sent telemetry over HTTP or gRPC has in common.
//!
//! [`Ingest`] is a complete receiver: it listens, authenticates, applies limits, reads bodies into memory that is
//! charged while it grows, decompresses and decodes them (on a helper thread if that takes long), sends the payloads
//! into the pipelines and responds when their outcome is known. An [`IngestProtocol`] says how bodies become payloads
//! and what responses look like. Never interprets telemetry itself.

mod bodies;
mod body;
mod grpc;
mod http;
mod protocol;
mod receiver;
mod requests;
mod status;

#[cfg(test)]
mod tests;

pub use grpc::{GrpcMethod, GrpcService};
pub use http::HttpRoute;
pub use protocol::{DecodedBody, IngestProtocol};
pub use receiver::Ingest;
pub use status::{no_room_status, status_response};
