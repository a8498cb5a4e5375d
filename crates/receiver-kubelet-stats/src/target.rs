//! Where the kubelet is, and with what it is asked.
//!
//! Reads files only when the receiver starts. Sends nothing.

use std::time::Duration;

use otelcore_kubernetes_client::{ApiServer, Credentials, KubernetesApiConfig, KubernetesAuthType, TOKEN_FILE};
use otelcore_net::config::HttpClientConfig;
use otelcore_pipeline::{Cx, LogField, Logger, StartError};

use crate::config::{KubeletStatsConfig, kubelet_url};

/// The authorities of the cluster.
const AUTHORITIES_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
/// How often they are read again.
const AUTHORITIES_INTERVAL: Duration = Duration::from_secs(300);
/// The name of this machine.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

/// The port with credentials.
const SECURE_PORT: u16 = 10250;
/// The port without.
const READ_ONLY_PORT: u16 = 10255;

/// Finds the kubelet, and checks the files that the requests need. For the start of the receiver.
///
/// # Errors
/// A file can't be read or is not valid.
pub(crate) fn find_kubelet(
    config: &KubeletStatsConfig,
    cx: &mut Cx<'_>,
    log: &Logger,
) -> Result<ApiServer, StartError> {
    if config.auth_type == KubernetesAuthType::KubeConfig {
        return through_api_server(config, cx);
    }
    let mut client = HttpClientConfig::default();
    client.tls.common = config.tls.clone();
    client.tls.insecure_skip_verify = config.insecure_skip_verify;
    let common = &mut client.tls.common;
    // The Go receiver adds the authorities of the system.
    common.include_system_ca_certs_pool = true;
    if config.auth_type != KubernetesAuthType::Tls {
        (common.cert_file, common.key_file) = (None, None);
        (common.cert_pem, common.key_pem) = Default::default();
    }
    let credentials = match config.auth_type {
        KubernetesAuthType::ServiceAccount => {
            if common.ca_pem.0.is_empty() && common.ca_file.as_ref().is_none_or(String::is_empty) {
                common.ca_file = Some(AUTHORITIES_FILE.to_owned());
                common.reload_interval = AUTHORITIES_INTERVAL;
            }
            Credentials::TokenFile(TOKEN_FILE.to_owned())
        }
        _ => Credentials::None,
    };
    let endpoint = match config.endpoint.as_str() {
        "" => default_endpoint(config.auth_type, cx, log)?,
        endpoint => endpoint.to_owned(),
    };
    ApiServer { url: kubelet_url(config.auth_type, &endpoint), client, credentials }.checked(cx)
}

/// The API server passes requests on to the kubelet of a node.
fn through_api_server(config: &KubeletStatsConfig, cx: &mut Cx<'_>) -> Result<ApiServer, StartError> {
    let api = KubernetesApiConfig {
        auth_type: KubernetesAuthType::KubeConfig,
        context: config.context.clone(),
        ..KubernetesApiConfig::default()
    };
    let mut server = ApiServer::find(&api, cx)?;
    server.client.tls.insecure_skip_verify |= config.insecure_skip_verify;
    server.url = format!("{}/api/v1/nodes/{}/proxy", server.url, config.endpoint);
    Ok(server)
}

/// This machine, as the Go receiver has it: with the network of the host it is the node.
fn default_endpoint(auth: KubernetesAuthType, cx: &mut Cx<'_>, log: &Logger) -> Result<String, StartError> {
    let name = cx.read_file(HOST_NAME_FILE).map_err(|error| {
        StartError::from(error).map_message(|error| format!("unable to get hostname for default endpoint: {error}"))
    })?;
    let name = String::from_utf8_lossy(&name).trim().to_owned();
    let endpoint = match auth {
        KubernetesAuthType::None => format!("http://{name}:{READ_ONLY_PORT}"),
        _ => format!("https://{name}:{SECURE_PORT}"),
    };
    log.warn("Kubelet endpoint not defined, using default endpoint", &[("endpoint", LogField::Str(&endpoint))]);
    Ok(endpoint)
}
