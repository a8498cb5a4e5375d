//! Components that serve the collector itself, and authenticators for its servers and clients.
#![forbid(unsafe_code)]

mod ballast;
mod basic_auth;
mod bearer_token_auth;
mod health_check;
mod secret;
mod watched;

pub use ballast::MemoryBallastFactory;
pub use basic_auth::{BasicAuth, BasicAuthFactory, ClientCredentials, Htpasswd, Source};
pub use bearer_token_auth::{BearerTokenAuth, BearerTokenAuthFactory};
pub use health_check::{HealthCheck, HealthCheckFactory};
pub use secret::Secret;

#[cfg(test)]
mod tests;
