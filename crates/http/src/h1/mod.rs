//! HTTP/1.0 and 1.1 (RFC 9112): [`H1ServerConn`] is the server side, [`client`] the client side.
//!
//! Reads requests in the order they arrive, sends responses in that order, limits how many wait, and refuses every
//! framing that two parsers could read differently. A [`crate::Admission`] admits or refuses a request from its head
//! alone, before the body is read. Never interprets a body and never decodes a content coding.

mod body;
pub mod client;
mod head;
mod message;
mod output;
mod server;

#[cfg(test)]
mod tests;

#[cfg(feature = "grpc")]
pub(crate) use head::may_have_body;
pub use head::{RequestHead, ResponseHead};
pub use message::{HttpServerConnConfig, Request, RequestId, Response};
#[cfg(feature = "grpc")]
pub(crate) use message::{IncomingRequest, STALL_TIMEOUT};
pub use server::H1ServerConn;
