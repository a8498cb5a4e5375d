//! The detectors `azure` and `aks`: the instance metadata service of Azure.

use otelcore_go_regexp::GoRegexp;
use serde_json::Value;

use super::{json_document, text};
use crate::answers::{Answers, Halt, MAX_QUESTIONS, Request};
use crate::config::{AksConfig, AzureConfig};
use crate::detected::{DetectedResource, ResourceBuilder};

const URL: &str = "http://169.254.169.254/metadata/instance/compute?api-version=2020-09-01&format=json";

/// Attributes, and the members of the document that they are from.
const MEMBERS: [(&str, &str); 6] = [
    ("cloud.region", "location"),
    ("host.id", "vmId"),
    ("cloud.account.id", "subscriptionId"),
    ("azure.vm.name", "name"),
    ("azure.vm.size", "vmSize"),
    ("azure.resourcegroup.name", "resourceGroupName"),
];

/// The document about the machine; `None` where there is no Azure.
fn compute(answers: &mut Answers<'_>) -> Result<Option<Value>, Halt> {
    let response = answers.http(Request::get(URL).header("Metadata", "true"))?;
    Ok(response.and_then(|response| json_document(&response)).ok())
}

pub(super) fn detect(
    config: &AzureConfig,
    tags: Option<&GoRegexp>,
    answers: &mut Answers<'_>,
) -> Result<DetectedResource, Halt> {
    let Some(compute) = compute(answers)? else { return Ok(DetectedResource::default()) };
    let is_enabled = |key: &str| config.resource_attributes.is_enabled(key);
    let mut resource = ResourceBuilder::new(&is_enabled);
    resource.set_str("cloud.provider", "azure");
    resource.set_str("cloud.platform", "azure.vm");
    let computer = compute.get("osProfile").map(|profile| text(profile, "computerName")).unwrap_or_default();
    if let Some(name) = [computer, text(&compute, "name")].into_iter().find(|name| !name.is_empty()) {
        resource.set_str("host.name", name);
    }
    for (key, member) in MEMBERS {
        resource.set_str(key, text(&compute, member));
    }
    for (key, member) in [("cloud.availability_zone", "zone"), ("azure.vm.scaleset.name", "vmScaleSetName")] {
        if !text(&compute, member).is_empty() {
            resource.set_str(key, text(&compute, member));
        }
    }
    if let Some(patterns) = tags {
        let tags = compute.get("tagsList").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let is_wanted = |tag: &&Value| patterns.is_match(text(tag, "name").as_bytes());
        for tag in tags.iter().filter(is_wanted).take(MAX_QUESTIONS) {
            resource.set_always(&format!("azure.tag.{}", text(tag, "name")), text(tag, "value"));
        }
    }
    Ok(resource.finish())
}

pub(super) fn detect_aks(config: &AksConfig, answers: &mut Answers<'_>) -> Result<DetectedResource, Halt> {
    if answers.env("KUBERNETES_SERVICE_HOST").is_empty() {
        return Ok(DetectedResource::default());
    }
    let Some(compute) = compute(answers)? else { return Ok(DetectedResource::default()) };
    let is_enabled = |key: &str| config.resource_attributes.is_enabled(key);
    let mut resource = ResourceBuilder::new(&is_enabled);
    resource.set_str("cloud.provider", "azure");
    resource.set_str("cloud.platform", "azure.aks");
    resource.set_str("k8s.cluster.name", cluster_name(text(&compute, "resourceGroupName")));
    Ok(resource.finish())
}

/// `CLUSTER` of the generated `MC_GROUP_CLUSTER_LOCATION`; else the group itself, which is unique as well.
fn cluster_name(group: &str) -> &str {
    match group.split('_').collect::<Vec<_>>().as_slice() {
        [prefix, _, cluster, _] if prefix.eq_ignore_ascii_case("mc") => cluster,
        _ => group,
    }
}
