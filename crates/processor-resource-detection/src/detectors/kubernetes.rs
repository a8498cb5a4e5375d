//! The detector `k8s_api`, and requests to the Kubernetes API server for others.

use otelcore_kubernetes_client::{KubernetesAuthType, NOT_IN_CLUSTER, TOKEN_FILE, in_cluster_url};
use serde_json::Value;

use super::{json_document, text};
use crate::answers::{Answers, ClientKind, Halt, Request, Response};
use crate::config::K8sApiConfig;
use crate::detected::{DetectedResource, ResourceBuilder};

/// Requests an object of the API server.
pub(super) fn get(
    answers: &mut Answers<'_>,
    auth: KubernetesAuthType,
    path: &str,
) -> Result<Result<Response, String>, Halt> {
    let Some(url) = in_cluster_url(&|name: &str| answers.lookup_env(name)) else {
        return Ok(Err(NOT_IN_CLUSTER.to_owned()));
    };
    let mut request = Request { client: ClientKind::Kubernetes, ..Request::get(format!("{url}{path}")) };
    request = request.header("Accept", "application/json");
    if auth == KubernetesAuthType::ServiceAccount {
        match answers.file(TOKEN_FILE)? {
            Ok(token) => {
                let token = String::from_utf8_lossy(&token).trim().to_owned();
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    answers.http(request)
}

/// The object of a node.
pub(super) fn node(answers: &mut Answers<'_>, auth: KubernetesAuthType, name: &str) -> Result<Value, Halt> {
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    if !is_name {
        return Err(Halt::Failed(format!("{name:?} is not a name of a node")));
    }
    let response = get(answers, auth, &format!("/api/v1/nodes/{name}"))?;
    let document = response.and_then(|response| json_document(&response));
    document.map_err(|e| Halt::Failed(format!("failed to fetch node with name {name} from K8s API: {e}")))
}

fn metadata<'v>(object: &'v Value, key: &str) -> &'v str {
    object.get("metadata").map(|metadata| text(metadata, key)).unwrap_or_default()
}

pub(super) fn detect(config: &K8sApiConfig, answers: &mut Answers<'_>) -> Result<DetectedResource, Halt> {
    let variable = if config.node_from_env_var.is_empty() { "K8S_NODE_NAME" } else { &config.node_from_env_var };
    let node_name = answers.env(variable);
    if node_name.is_empty() {
        return Err(Halt::Failed(format!(
            "node name can't be found: the variable {variable} is not set; set it in the pod from `spec.nodeName`"
        )));
    }
    let is_enabled = |key: &str| config.resource_attributes.is_enabled(key);
    let mut resource = ResourceBuilder::new(&is_enabled);
    if is_enabled("k8s.node.uid") || is_enabled("k8s.node.name") {
        let node = node(answers, config.auth_type, &node_name)?;
        resource.set_str("k8s.node.uid", metadata(&node, "uid"));
        resource.set_str("k8s.node.name", metadata(&node, "name"));
    }
    if is_enabled("k8s.cluster.uid") {
        match get(answers, config.auth_type, "/api/v1/namespaces/kube-system")? {
            Ok(response) if matches!(response.status, 401 | 403) => answers.warn(
                "no permission to get kube-system namespace, skipping k8s.cluster.uid: disable the attribute or \
                 grant 'get' on namespaces/kube-system"
                    .to_owned(),
            ),
            response => {
                let namespace = response.and_then(|response| json_document(&response));
                let error = |e: String| Halt::Failed(format!("failed getting k8s cluster UID: {e}"));
                let namespace = namespace.map_err(error)?;
                if metadata(&namespace, "uid").is_empty() {
                    return Err(error("kube-system namespace UID is empty".to_owned()));
                }
                resource.set_str("k8s.cluster.uid", metadata(&namespace, "uid"));
            }
        }
    }
    Ok(resource.finish())
}
