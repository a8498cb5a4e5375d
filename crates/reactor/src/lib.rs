//! The worlds.
//!
//! [`Real`] is the machine: sockets on one `mio::Poll`, timers, names, files and the clock. [`run()`] is the loop that
//! drives a [`Graph`](otelcore_pipeline::Graph) in it. Everything else in the workspace sees only the
//! [`World`](otelcore_pipeline::World).

mod driver;
mod os;
mod real;
mod resolver;
mod sockets;
mod timers;

pub use driver::{Ending, Remote, Runner};
pub use os::{memory_total, resident};
pub use real::Real;
