//! Components that serve the collector itself, and authenticators for its servers and clients. Each is behind a feature of its
//! name.
#![forbid(unsafe_code)]

#[cfg(feature = "basicauth")]
mod basic_auth;
#[cfg(feature = "bearertokenauth")]
mod bearer_token_auth;
#[cfg(feature = "file_storage")]
mod file_storage;
#[cfg(any(feature = "basicauth", feature = "bearertokenauth", feature = "headers_setter"))]
mod header_syntax;
#[cfg(feature = "headers_setter")]
mod headers_setter;
#[cfg(feature = "health_check")]
mod health_check;
#[cfg(feature = "k8s_leader_elector")]
mod k8s_leader_elector;
#[cfg(feature = "memory_ballast")]
mod memory_ballast;
#[cfg(feature = "pprof")]
mod pprof;
#[cfg(any(feature = "basicauth", feature = "bearertokenauth"))]
mod secret;
#[cfg(any(feature = "basicauth", feature = "bearertokenauth"))]
mod watched_file;
#[cfg(feature = "zpages")]
mod zpages;

#[cfg(feature = "basicauth")]
pub use basic_auth::{BasicAuthConfig, BasicAuthFactory, ClientCredentialsConfig, HtpasswdConfig};
#[cfg(feature = "bearertokenauth")]
pub use bearer_token_auth::{BearerTokenAuthConfig, BearerTokenAuthFactory};
#[cfg(feature = "file_storage")]
pub use file_storage::{CompactionConfig, FileStorageConfig, FileStorageFactory};
#[cfg(feature = "headers_setter")]
pub use headers_setter::{HeaderAction, HeaderConfig, HeadersSetterConfig, HeadersSetterFactory};
#[cfg(feature = "health_check")]
pub use health_check::{HealthCheckConfig, HealthCheckFactory, PipelineCheckConfig, ResponseBodyConfig};
#[cfg(feature = "k8s_leader_elector")]
pub use k8s_leader_elector::{K8sLeaderElectorConfig, K8sLeaderElectorFactory};
#[cfg(feature = "memory_ballast")]
pub use memory_ballast::{MemoryBallastConfig, MemoryBallastFactory};
#[cfg(feature = "pprof")]
pub use pprof::{PprofConfig, PprofFactory};
#[cfg(any(feature = "basicauth", feature = "bearertokenauth"))]
pub use secret::Secret;
#[cfg(feature = "zpages")]
pub use zpages::{ExpvarConfig, ZPagesConfig, ZPagesFactory};

#[cfg(test)]
#[cfg(all(feature = "basicauth", feature = "bearertokenauth", feature = "headers_setter"))]
mod tests;
