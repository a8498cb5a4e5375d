//! The detectors. Each is a function from what is known to a resource; see [`crate::answers`].
//!
//! A detector that finds that the collector does not run where it detects returns an empty resource. It fails only where
//! the Go collector's detector does.

mod aws;
mod azure;
mod docker;
mod env;
mod gcp;
mod heroku;
mod kubernetes;
mod system;
mod system_hosts;
mod system_platform;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::answers::{Answers, Halt, Response};
use crate::config::ResourceDetectionConfig;
use crate::detected::{DetectedResource, ResourceBuilder};

/// Detectors of the Go collector that are not built yet.
pub(crate) const NOT_BUILT: &[&str] = &[
    "akamai",
    "alibaba_ecs",
    "consul",
    "digitalocean",
    "dynatrace",
    "elastic_beanstalk",
    "hetzner",
    "ibmcloud_classic",
    "ibmcloud_vpc",
    "kubeadm",
    "nova",
    "openshift",
    "oraclecloud",
    "scaleway",
    "tencent_cvm",
    "upcloud",
    "vultr",
];

/// A detector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DetectorKind {
    Env,
    System,
    Ec2,
    Docker,
    Gcp,
    Ecs,
    Eks,
    Azure,
    Aks,
    Heroku,
    Lambda,
    K8sApi,
    K8sNode,
}

impl DetectorKind {
    /// Every detector with its name.
    pub(crate) const ALL: &'static [(&'static str, Self)] = &[
        ("env", Self::Env),
        ("system", Self::System),
        ("ec2", Self::Ec2),
        ("docker", Self::Docker),
        ("gcp", Self::Gcp),
        ("ecs", Self::Ecs),
        ("eks", Self::Eks),
        ("azure", Self::Azure),
        ("aks", Self::Aks),
        ("heroku", Self::Heroku),
        ("lambda", Self::Lambda),
        ("k8s_api", Self::K8sApi),
        ("k8snode", Self::K8sNode),
    ];

    /// The detector of this name. `gce` and `gke` are older names of parts of `gcp`.
    pub(crate) fn find(name: &str) -> Option<Self> {
        let name = if matches!(name, "gce" | "gke") { "gcp" } else { name };
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| *name)
    }

    /// Whether it asks the Kubernetes API server.
    pub(crate) fn uses_kubernetes(self) -> bool {
        matches!(self, Self::Eks | Self::K8sApi | Self::K8sNode)
    }

    /// Detects, or asks for what it needs.
    pub(crate) fn detect(
        self,
        config: &ResourceDetectionConfig,
        answers: &mut Answers<'_>,
    ) -> Result<DetectedResource, Halt> {
        match self {
            Self::Env => env::detect(answers),
            Self::System => system::detect(&config.system, answers),
            Self::Ec2 => aws::ec2::detect(&config.ec2, answers),
            Self::Docker => docker::detect(&config.docker, answers),
            Self::Gcp => gcp::detect(&config.gcp, answers),
            Self::Ecs => aws::ecs::detect(&config.ecs, answers),
            Self::Eks => aws::eks::detect(&config.eks, answers),
            Self::Azure => azure::detect(&config.azure, answers),
            Self::Aks => azure::detect_aks(&config.aks, answers),
            Self::Heroku => heroku::detect(&config.heroku, answers),
            Self::Lambda => aws::lambda::detect(&config.lambda, answers),
            Self::K8sApi => kubernetes::detect(&config.k8s_api, answers),
            Self::K8sNode => kubernetes::detect(&config.k8snode, answers),
        }
    }
}

pub(crate) use kubernetes::api_client_config;

/// A member of a JSON object that is a string; empty without one.
fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The document of a successful response.
fn json_document(response: &Response) -> Result<Value, String> {
    if response.status != 200 {
        return Err(format!("the response has status {}", response.status));
    }
    serde_json::from_slice(&response.body).map_err(|e| format!("invalid JSON: {e}"))
}

/// The text of a successful response.
fn plain_text(response: Response) -> Result<String, String> {
    if response.status != 200 {
        return Err(format!("the response has status {}", response.status));
    }
    String::from_utf8(response.body).map_err(|_| "the response is not UTF-8".to_owned())
}
