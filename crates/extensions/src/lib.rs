//! Components that serve the collector itself.
#![forbid(unsafe_code)]

mod ballast;
mod health_check;

pub use ballast::MemoryBallastFactory;
pub use health_check::{HealthCheck, HealthCheckFactory};
