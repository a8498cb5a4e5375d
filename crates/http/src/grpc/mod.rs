//! gRPC over HTTP/2 (the protocol of `PROTOCOL-HTTP2.md`), unary calls only.
//!
//! Implements the five-byte message prefix, metadata, timeouts and statuses; h2 implements frames, HPACK and flow
//! control. Never interprets a message.

mod call_head;
pub mod client;
mod header;
mod keepalive;
mod message;
pub mod server;

#[cfg(test)]
mod tests;

pub use header::CallId;
pub use keepalive::{KeepaliveClientConfig, KeepaliveServerConfig};
pub(crate) use message::SendBuf;
