//! The detectors. Each is a function from what is known to a resource; see [`crate::answers`].
//!
//! A detector that finds that the collector does not run where it detects returns an empty resource. It fails only where
//! the Go collector's detector does.

mod aws;
mod azure;
mod consul;
mod docker;
mod env;
mod gcp;
mod heroku;
mod kubernetes;
mod openshift;
mod system;
mod system_hosts;
mod system_platform;

#[cfg(test)]
mod tests;

use otelcore_go_regexp::GoRegexp;
use serde_json::Value;

use crate::answers::{Answers, Halt, Response};
use crate::config::ResourceDetectionConfig;
use crate::detected::{DetectedResource, ResourceBuilder};
use crate::detector_kind::DetectorKind;

/// The patterns for keys of tags, compiled; `None` where none are configured.
#[derive(Debug)]
pub(crate) struct TagPatterns {
    ec2: Option<GoRegexp>,
    azure: Option<GoRegexp>,
}

impl TagPatterns {
    /// Those of a configuration that was checked.
    pub(crate) fn new(config: &ResourceDetectionConfig) -> Self {
        let compile = |tags: &[String]| if tags.is_empty() { None } else { GoRegexp::compile_any(tags).ok() };
        Self { ec2: compile(&config.ec2.tags), azure: compile(&config.azure.tags) }
    }
}

/// Detects, or asks for what it needs.
pub(crate) fn detect(
    kind: DetectorKind,
    config: &ResourceDetectionConfig,
    tags: &TagPatterns,
    answers: &mut Answers<'_>,
) -> Result<DetectedResource, Halt> {
    match kind {
        DetectorKind::Env => env::detect(answers),
        DetectorKind::System => system::detect(&config.system, answers),
        DetectorKind::Ec2 => aws::ec2::detect(&config.ec2, tags.ec2.as_ref(), answers),
        DetectorKind::Docker => docker::detect(&config.docker, answers),
        DetectorKind::Gcp => gcp::detect(&config.gcp, answers),
        DetectorKind::Ecs => aws::ecs::detect(&config.ecs, answers),
        DetectorKind::Eks => aws::eks::detect(&config.eks, answers),
        DetectorKind::Azure => azure::detect(&config.azure, tags.azure.as_ref(), answers),
        DetectorKind::Aks => azure::detect_aks(&config.aks, answers),
        DetectorKind::Heroku => heroku::detect(&config.heroku, answers),
        DetectorKind::Lambda => aws::lambda::detect(&config.lambda, answers),
        DetectorKind::Consul => consul::detect(&config.consul, answers),
        DetectorKind::OpenShift => openshift::detect(&config.openshift, answers),
        DetectorKind::K8sApi => kubernetes::detect(&config.k8s_api, answers),
        DetectorKind::K8sNode => kubernetes::detect(&config.k8snode, answers),
    }
}

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
    String::from_utf8(response.body.into()).map_err(|_| "the response is not UTF-8".to_owned())
}
