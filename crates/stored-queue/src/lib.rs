//! The queue on disk in front of an exporter.
//!
//! [`DiskQueue`] connects a log on disk ([`otelcore_storage::Log`]) with the queue in memory of an exporter. It is a
//! machine: what it does with files are jobs, and time is an argument.
//!
//! ```text
//!  offer --> appended --> durable: the sender has its answer --> in memory --> exporter --> marked delivered
//!    |           |                          |                       ^    \
//!    |           +-> refused                +--> on disk only ------+     +--> dead
//!    +-> waits (files are being opened, or no room with block_on_overflow)
//! ```
//! A payload that has just become durable goes on to the exporter from memory while nothing older is on disk only and the
//! window has room; otherwise it is read again in its turn. So the order of what is sent is that of what was received,
//! and memory is bounded whatever the backlog.
#![forbid(unsafe_code)]

mod context;
mod metrics;
mod queue;
mod reports;
#[cfg(test)]
mod tests;

pub use context::{decode_metadata, encode_metadata};
pub use queue::DiskQueue;
