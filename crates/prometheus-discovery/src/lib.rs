//! Relabelling and service discovery of Prometheus, for components that scrape.
//!
//! [`relabel`] and [`RelabelRules`] change labels by rules. [`Discovery`] runs the discoveries of scrape configurations
//! ([`DiscoveryConfigs`]) and gives out groups of targets as they change; [`populate_labels`] makes what is scraped of a
//! target. [`PrometheusHttpConfig`] and [`HttpCredentials`] are the HTTP client that scrapes and discoveries have.
//!
//! Nothing here scrapes.
#![forbid(unsafe_code)]

mod config;
mod credentials;
#[cfg(test)]
mod differential;
mod discovery;
mod dns;
mod duration;
mod file;
mod groups;
mod http;
mod http_config;
mod kubernetes;
mod labels;
mod provider;
mod relabel;
mod targets;
#[cfg(test)]
mod tests;
mod text;
mod updates;

pub use config::{DiscoveryConfigs, StaticConfig};
pub use credentials::HttpCredentials;
pub use discovery::Discovery;
pub use dns::{DnsRecordType, DnsSdConfig};
pub use duration::{PrometheusDuration, parse_duration};
pub use file::FileSdConfig;
pub use http::HttpSdConfig;
pub use http_config::{
    AuthorizationConfig, BasicAuthConfig, HttpHeaderConfig, PrometheusHttpConfig, PrometheusTlsConfig,
    PrometheusTlsVersion, Secrets,
};
pub use kubernetes::{
    KubernetesMetadataConfig, KubernetesNamespaceConfig, KubernetesRole, KubernetesSdConfig, KubernetesSelectorConfig,
};
pub use labels::{LabelBuilder, LabelSet};
pub use relabel::{
    NameValidation, RelabelAction, RelabelConfig, RelabelError, RelabelPattern, RelabelRules, SourceLabels, relabel,
};
pub use targets::{ScrapeTarget, TargetDefaults, TargetGroup, check_target_address, populate_labels};
pub use text::{YamlLabels, YamlString};
pub use updates::{GroupId, TargetChange};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
