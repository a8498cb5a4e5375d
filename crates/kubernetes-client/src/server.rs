//! Where the API server is, and with which credentials it is asked.
//!
//! Reads files only when a component starts. Sends nothing.

use std::time::Duration;

use otelcore_net::config::HttpClientConfig;
use otelcore_pipeline::{Cx, StartError};

use crate::config::{KubernetesApiConfig, KubernetesAuthType};
use crate::credentials::Credentials;
use crate::kubeconfig::{self, KubeConfig};

/// The token of the pod's service account. The kubelet replaces it before it expires.
pub const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// The authorities of the cluster.
const AUTHORITIES_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// The error of [`ApiServer::find`] outside of a cluster, with the text of the Go collector.
pub const NOT_IN_CLUSTER: &str =
    "unable to load k8s config, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined";

/// How often the authorities are read again.
const AUTHORITIES_INTERVAL: Duration = Duration::from_secs(300);

/// The URL of the API server, from the variables of a pod; `None` outside of a cluster.
#[must_use]
pub fn in_cluster_url(env: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let host = env("KUBERNETES_SERVICE_HOST").filter(|host| !host.is_empty())?;
    let port = env("KUBERNETES_SERVICE_PORT").filter(|port| !port.is_empty())?;
    Some(if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") })
}

/// The HTTP client for the API server in a pod: its certificate is of the cluster's authorities, and is not checked without
/// credentials.
#[must_use]
pub fn in_cluster_client_config(auth: KubernetesAuthType) -> HttpClientConfig {
    let mut config = HttpClientConfig::default();
    if auth == KubernetesAuthType::None {
        config.tls.insecure_skip_verify = true;
    } else {
        config.tls.common.ca_file = Some(AUTHORITIES_FILE.to_owned());
        config.tls.common.reload_interval = AUTHORITIES_INTERVAL;
    }
    config
}

/// An API server.
#[derive(Clone, Debug)]
pub struct ApiServer {
    /// Its URL, without a slash at the end.
    pub url: String,
    /// The configuration of the HTTP client, with its authorities and the certificate of the client.
    pub client: HttpClientConfig,
    /// What else requests are sent with.
    pub credentials: Credentials,
}

impl ApiServer {
    /// Finds the server that a configuration means. For the start of a component: it reads files.
    ///
    /// # Errors
    /// The collector is not in a cluster, or a file can't be read or is not valid.
    pub fn find(config: &KubernetesApiConfig, cx: &mut Cx<'_>) -> Result<Self, StartError> {
        let server = match config.auth_type {
            KubernetesAuthType::KubeConfig => Self::from_kubeconfig(config, cx).map_err(|error| {
                StartError::Config(format!("error connecting to k8s with auth_type=kubeConfig: {error}"))
            })?,
            auth => Self::in_cluster(auth, &|name: &str| cx.env_var(name))?,
        };
        server.checked(cx)
    }

    /// Finds the server of the current context of a file of kubectl. For the start of a component: it reads files.
    ///
    /// # Errors
    /// A file can't be read or is not valid.
    pub fn from_kubeconfig_file(path: &str, cx: &mut Cx<'_>) -> Result<Self, StartError> {
        let text = cx.read_file(path)?;
        let parsed = KubeConfig::parse(&String::from_utf8_lossy(&text), path);
        let (url, client, credentials) = parsed.and_then(|file| file.server("")).map_err(StartError::Config)?;
        Self { url, client, credentials }.checked(cx)
    }

    /// Checks the files that it names. For the start of a component: it reads them.
    ///
    /// # Errors
    /// A file can't be read or is not valid.
    pub fn checked(self, cx: &mut Cx<'_>) -> Result<Self, StartError> {
        let server = self;
        if let Credentials::TokenFile(path) = &server.credentials {
            let token = cx.read_file(path)?;
            if token.trim_ascii().is_empty() {
                return Err(StartError::Config(format!("read empty token from file {path:?}")));
            }
        }
        if server.url.starts_with("https:") {
            let common = &server.client.tls.common;
            for path in [&common.ca_file, &common.cert_file, &common.key_file].into_iter().flatten() {
                cx.read_file(path)?;
            }
            let cx = std::cell::RefCell::new(cx);
            let read = |path: &str| cx.borrow_mut().read_file(path).ok();
            server.client.tls.check_files(&read)?;
        }
        Ok(server)
    }

    fn in_cluster(auth: KubernetesAuthType, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, StartError> {
        let url = in_cluster_url(env).ok_or_else(|| StartError::Config(NOT_IN_CLUSTER.to_owned()))?;
        let credentials = match auth {
            KubernetesAuthType::None => Credentials::None,
            _ => Credentials::TokenFile(TOKEN_FILE.to_owned()),
        };
        Ok(Self { url, client: in_cluster_client_config(auth), credentials })
    }

    fn from_kubeconfig(config: &KubernetesApiConfig, cx: &mut Cx<'_>) -> Result<Self, String> {
        let from_env = cx.env_var(kubeconfig::VARIABLE).filter(|paths| !paths.is_empty());
        let paths: Vec<String> = match from_env {
            Some(paths) => paths.split(':').filter(|path| !path.is_empty()).map(str::to_owned).collect(),
            None => cx.env_var("HOME").into_iter().map(|home| format!("{home}/.kube/config")).collect(),
        };
        let mut merged = KubeConfig::default();
        let mut first_error = None;
        for path in paths {
            match cx.read_file(&path) {
                Ok(text) => merged.merge(KubeConfig::parse(&String::from_utf8_lossy(&text), &path)?),
                Err(error) => drop(first_error.get_or_insert_with(|| error.to_string())),
            }
        }
        if merged.is_empty() {
            let error = first_error.map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(format!("invalid configuration: no configuration has been provided{error}"));
        }
        let (url, client, credentials) = merged.server(&config.context)?;
        Ok(Self { url, client, credentials })
    }
}
