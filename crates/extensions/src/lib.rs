//! Components that serve the collector itself, and authenticators for its servers and clients.
#![forbid(unsafe_code)]

mod basic_auth;
mod bearer_token_auth;
mod health_check;
mod memory_ballast;
mod secret;
mod watched_file;

pub use basic_auth::{BasicAuthConfig, BasicAuthFactory, ClientCredentialsConfig, HtpasswdConfig};
pub use bearer_token_auth::{BearerTokenAuthConfig, BearerTokenAuthFactory};
pub use health_check::{HealthCheckConfig, HealthCheckFactory, PipelineCheckConfig, ResponseBodyConfig};
pub use memory_ballast::{MemoryBallastConfig, MemoryBallastFactory};
pub use secret::Secret;

#[cfg(test)]
mod tests;
