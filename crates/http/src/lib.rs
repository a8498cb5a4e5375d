//! The network protocols of an OpenTelemetry collector: gRPC, HTTP/2, HTTP/1.1 and content codings, as state machines.
//!
//! Bytes are read from and written to a non-blocking `Read + Write`; time is a number of nanoseconds that the caller
//! passes in; the caller takes what a peer sent with `poll_*`. Nothing here opens a socket, reads a clock, starts a
//! thread or depends on telemetry.
//!
//! Call order for every connection: `poll` after each readiness event or timeout, then its `poll_*` until they are
//! empty, then `respond`/`start`, then `flush` (or `poll`), and set a timer for `poll_timeout`.
//!
//! The features `grpc` (gRPC and HTTP/2) and `zstd` are on by default. Without them the crate imports nothing on
//! WebAssembly: no runtime traits and no C code.
#![forbid(unsafe_code)]

mod admission;
#[cfg(feature = "grpc")]
mod authority;
pub mod coding;
mod connection;
pub mod date;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod h1;
#[cfg(feature = "grpc")]
pub mod h2;
#[cfg(feature = "grpc")]
mod h2_core;
#[cfg(feature = "grpc")]
mod h2_io;
pub mod status;

#[cfg(test)]
mod pipe;

pub use admission::{Admission, AdmitAll, Head};
pub use bytes::Bytes;
pub use coding::{Coding, Workspace};
pub use connection::{CloseReason, PollResult};
pub use http::{HeaderMap, HeaderName, HeaderValue};
pub use status::{Code, Status};
