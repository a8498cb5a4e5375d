//! The detector `openshift`: the infrastructure object of OpenShift's API server.

use otelcore_kubernetes_client::{NOT_IN_CLUSTER, TOKEN_FILE, in_cluster_url};
use serde_json::Value;

use super::{json_document, text};
use crate::answers::{Answers, ClientKind, Halt, Request};
use crate::config::OpenShiftConfig;
use crate::detected::{DetectedResource, ResourceBuilder};

const PATH: &str = "/apis/config.openshift.io/v1/infrastructures/cluster/status";

/// Types of platforms, with the attributes `cloud.provider` and `cloud.platform` (empty for none), and where the region is.
const PLATFORMS: [[&str; 5]; 5] = [
    ["aws", "aws", "aws_openshift", "aws", "region"],
    ["azure", "azure", "azure.openshift", "azure", "cloudName"],
    ["gcp", "gcp", "gcp_openshift", "gcp", "region"],
    ["ibmcloud", "ibm_cloud", "ibm_cloud_openshift", "ibmcloud", "location"],
    ["openstack", "", "", "openstack", "cloudName"],
];

pub(super) fn detect(config: &OpenShiftConfig, answers: &mut Answers<'_>) -> Result<DetectedResource, Halt> {
    let token = if config.token.0.is_empty() {
        String::from_utf8_lossy(&answers.file(TOKEN_FILE)??).trim().to_owned()
    } else {
        config.token.0.clone()
    };
    let url = if config.address.is_empty() {
        let url = in_cluster_url(&|name: &str| answers.lookup_env(name));
        url.ok_or_else(|| Halt::Failed(format!("could not extract openshift api host: {NOT_IN_CLUSTER}")))?
    } else {
        config.address.clone()
    };
    let request = Request { client: ClientKind::OpenShift, ..Request::get(format!("{url}{PATH}")) };
    let response = answers.http(request.header("Authorization", format!("Bearer {token}")))?;
    let infrastructure = match response.and_then(|response| json_document(&response)) {
        Ok(infrastructure) => infrastructure,
        // As in the Go collector, this is the end of the detection.
        Err(error) => {
            answers.warn(format!("OpenShift detector metadata retrieval failed: {error}"));
            return Ok(DetectedResource::default());
        }
    };
    let is_enabled = |key: &str| config.resource_attributes.is_enabled(key);
    let mut resource = ResourceBuilder::new(&is_enabled);
    let status = infrastructure.get("status").unwrap_or(&Value::Null);
    let name = text(status, "infrastructureName");
    if !name.is_empty() {
        resource.set_str("k8s.cluster.name", name);
    }
    let platform = status.get("platformStatus").unwrap_or(&Value::Null);
    let kind = text(platform, "type").to_lowercase();
    if let Some([_, provider, cloud_platform, member, region]) = PLATFORMS.iter().find(|known| known[0] == kind) {
        for (key, value) in [("cloud.provider", provider), ("cloud.platform", cloud_platform)] {
            if !value.is_empty() {
                resource.set_str(key, *value);
            }
        }
        let region = platform.get(*member).map(|member| text(member, region)).unwrap_or_default();
        resource.set_str("cloud.region", region.to_lowercase());
    }
    Ok(resource.finish())
}
