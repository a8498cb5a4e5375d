//! The wire of an OpenTelemetry collector: gRPC, HTTP/2, HTTP/1.1 and content codings, as machines.
//!
//! Bytes go in and come out through a non-blocking `Read + Write`; time is a number of nanoseconds that the caller
//! hands in; what a peer sent is taken out with `poll_*`. Nothing here opens a socket, reads a clock, starts a thread
//! or knows what telemetry is.
//!
//! Call order for every connection: `turn` after each readiness event or timeout, then its `poll_*` until they are
//! empty, then `reply`/`respond`/`start`, then `flush` (or `turn`), and arm a timer for `poll_timeout`.
#![forbid(unsafe_code)]

mod authority;
pub mod coding;
pub mod date;
mod engine;
pub mod grpc;
pub mod h1;
pub mod h2;
pub mod status;
mod wire;

#[cfg(test)]
mod pipe;

pub use bytes::Bytes;
pub use coding::{Coding, Workspace};
pub use http::{HeaderMap, HeaderName, HeaderValue};
pub use status::{Code, Status};

/// What a turn of a connection left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Turn {
    /// The read budget is spent and there may be more to read: call `turn` again without waiting for readiness.
    pub again: bool,
    /// Nothing more will be sent: half-close the stream for writing (a full close with unread input would reset it
    /// and destroy what the peer has not read yet). The connection stays until `closed`.
    pub shut_write: bool,
    /// The connection is over; drop it and its stream.
    pub closed: bool,
    /// Why, once `closed` or `shut_write`.
    pub why: Option<Closed>,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Closed {
    /// The peer closed its side in an orderly way.
    #[error("closed by the peer")]
    Peer,
    /// The transport failed.
    #[error("transport: {0}")]
    Io(std::io::ErrorKind),
    /// The peer broke the protocol; the text says how.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// An HTTP/2 connection preface arrived on an HTTP/1.1 port.
    #[error("HTTP/2 connection preface on an HTTP/1.1 port")]
    Http2Preface,
    /// The peer said nothing useful for too long; the text names the limit.
    #[error("timeout: {0}")]
    Timeout(&'static str),
    /// The peer sent more keepalive pings than the policy allows.
    #[error("too_many_pings")]
    TooManyPings,
    /// We asked for it: drained, too old, idle, or closed by command.
    #[error("closed: {0}")]
    Local(&'static str),
}

/// The earlier of two moments, where `None` means never.
pub(crate) fn earliest(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// How much room to make for a message of `declared` bytes when `have` of them are here: four times what came, so that
/// a false length costs its sender more than it costs us, and never more than declared.
pub(crate) fn room(declared: usize, have: usize) -> usize {
    declared.min(have.saturating_mul(4))
}
