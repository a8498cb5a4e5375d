//! The detector `eks`: whether the pod runs on EKS, and what the instance metadata service or the node says.

use std::time::Duration;

use otelcore_kubernetes_client::KubernetesAuthType;
use serde_json::Value;

use super::super::{json_document, kubernetes, text};
use super::ec2::DOCUMENT;
use super::imds::{self, Repetition};
use crate::answers::{Answers, Halt};
use crate::config::EksConfig;
use crate::detected::{DetectedResource, ResourceBuilder};

/// Attributes for which the metadata service or the EC2 API is needed.
const FROM_INSTANCE: [&str; 4] = ["cloud.account.id", "host.image.id", "host.type", "host.name"];
/// Attributes that are in the node's object as well.
const FROM_NODE: [&str; 3] = ["host.id", "cloud.availability_zone", "cloud.region"];

pub(crate) fn detect(config: &EksConfig, answers: &mut Answers<'_>) -> Result<DetectedResource, Halt> {
    if !is_eks(answers)? {
        return Ok(DetectedResource::default());
    }
    let is_enabled = |key: &str| config.resource_attributes.is_enabled(key);
    let mut resource = ResourceBuilder::new(&is_enabled);
    resource.set_str("cloud.provider", "aws");
    resource.set_str("cloud.platform", "aws_eks");
    let needs_instance = FROM_INSTANCE.into_iter().any(is_enabled);
    if !needs_instance && !FROM_NODE.into_iter().any(is_enabled) {
        return Ok(resource.finish());
    }
    let repetition = Repetition { max_attempts: 1, max_backoff: Duration::ZERO };
    let opened = match imds::open(answers, repetition)? {
        Ok(imds) => imds.metadata(answers, "instance-id")?.map(|_| imds),
        Err(error) => Err(error),
    };
    match opened {
        Ok(imds) => {
            let document = imds.identity_document(answers)?.map_err(Halt::Failed)?;
            let hostname = imds.metadata(answers, "hostname")?.map_err(Halt::Failed)?;
            for (key, member) in DOCUMENT {
                resource.set_str(key, text(&document, member));
            }
            resource.set_str("host.name", hostname);
        }
        Err(error) if needs_instance => {
            return Err(Halt::Failed(format!(
                "{error}; the EC2 API (DescribeInstances), which has the same, is not supported yet: turn off {}",
                FROM_INSTANCE.into_iter().filter(|key| is_enabled(key)).collect::<Vec<_>>().join(", ")
            )));
        }
        Err(_) => {
            let node = node(config, answers)?;
            let provider_id = node.get("spec").map(|spec| text(spec, "providerID")).unwrap_or_default();
            let (zone, instance) = parse_provider_id(provider_id).ok_or_else(|| {
                Halt::Failed(format!("failed to retrieve region or instanceId from providerID: {provider_id}"))
            })?;
            resource.set_str("host.id", instance);
            resource.set_str("cloud.availability_zone", zone);
            let region = zone.char_indices().next_back().map_or("", |(last, _)| zone.get(..last).unwrap_or_default());
            resource.set_str("cloud.region", region);
        }
    }
    Ok(resource.finish())
}

/// By the paths of tokens that EKS sets, by the issuer of tokens, or by the version of the cluster.
fn is_eks(answers: &mut Answers<'_>) -> Result<bool, Halt> {
    if answers.env("KUBERNETES_SERVICE_HOST").is_empty() {
        return Ok(false);
    }
    if answers.env("AWS_WEB_IDENTITY_TOKEN_FILE").contains("eks.amazonaws.com")
        || answers.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").contains("eks-pod-identity")
    {
        return Ok(true);
    }
    let auth = KubernetesAuthType::ServiceAccount;
    let configuration = kubernetes::get(answers, auth, "/.well-known/openid-configuration")?;
    let configuration = configuration.and_then(|response| json_document(&response));
    if configuration.is_ok_and(|document| text(&document, "issuer").contains("oidc.eks.")) {
        return Ok(true);
    }
    let version = kubernetes::get(answers, auth, "/version")?.and_then(|response| json_document(&response));
    match version {
        Ok(version) => Ok(text(&version, "gitVersion").contains("-eks-")),
        Err(e) => Err(Halt::Failed(format!(
            "isEks() error retrieving cluster version: failed to retrieve cluster version: {e}"
        ))),
    }
}

fn node(config: &EksConfig, answers: &mut Answers<'_>) -> Result<Value, Halt> {
    let name = answers.env(&config.node_from_env_var);
    if name.is_empty() {
        let message = "can't get K8s Instance Metadata; node name is empty";
        return Err(Halt::Failed(message.to_owned()));
    }
    kubernetes::node(answers, KubernetesAuthType::ServiceAccount, &name)
}

/// Zone and instance of `aws:///us-west-2a/i-0123`.
fn parse_provider_id(id: &str) -> Option<(&str, &str)> {
    let mut parts = id.split('/');
    let scheme = parts.next()?;
    let (zone, instance) = (parts.nth(2)?, parts.next()?);
    (scheme == "aws:" && !zone.is_empty() && !instance.is_empty()).then_some((zone, instance))
}
