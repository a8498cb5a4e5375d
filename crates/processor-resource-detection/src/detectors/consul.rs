//! The detector `consul`: what the agent of Consul says of itself.
//!
//! As in Consul's own programs, variables of the environment stand for what is not configured.

use std::fmt::Write as _;

use otelcore_net::query_escape;
use otelcore_pdata::text::put_base64;
use serde_json::Value;

use crate::answers::{Answers, Halt, Request, Response};
use crate::config::ConsulConfig;
use crate::detected::{DetectedResource, ResourceBuilder};

/// Settings of TLS in the environment that are not read.
const TLS_VARIABLES: [&str; 6] = [
    "CONSUL_CACERT",
    "CONSUL_CAPATH",
    "CONSUL_CLIENT_CERT",
    "CONSUL_CLIENT_KEY",
    "CONSUL_HTTP_SSL_VERIFY",
    "CONSUL_TLS_SERVER_NAME",
];

/// A member of the agent's configuration, and what it is in an error.
const MEMBERS: [(&str, &str, &str); 3] = [
    ("host.name", "NodeName", "consul hostname"),
    ("cloud.region", "Datacenter", "consul datacenter"),
    ("host.id", "NodeID", "node ID"),
];

pub(super) fn detect(config: &ConsulConfig, answers: &mut Answers<'_>) -> Result<DetectedResource, Halt> {
    let mut request = Request::get(url(config, answers)?);
    let token = token(config, answers)?;
    if !token.is_empty() {
        request = request.header("X-Consul-Token", token);
    }
    let credentials = answers.env("CONSUL_HTTP_AUTH");
    if !credentials.is_empty() {
        let colon = if credentials.contains(':') { "" } else { ":" };
        let mut encoded = Vec::new();
        put_base64(&mut encoded, format!("{credentials}{colon}").as_bytes());
        request = request.header("Authorization", format!("Basic {}", String::from_utf8_lossy(&encoded)));
    }
    let document = answers.http(request)?.and_then(|response| document(&response));
    let failed = |error: String| Halt::Failed(format!("failed to get consul metadata: {error}"));
    let agent = document.map_err(|error| failed(format!("failed to get local agent information: {error}")))?;
    let Some(found) = agent.get("Config").filter(|found| found.is_object()) else {
        let error = "failed getting consul agent configuration. was 'Config' returned by consul?";
        return Err(failed(error.to_owned()));
    };
    let is_enabled = |key: &str| config.resource_attributes.is_enabled(key);
    let mut resource = ResourceBuilder::new(&is_enabled);
    for (key, member, what) in MEMBERS {
        let value = found.get(member).and_then(Value::as_str);
        let error = || failed(format!("failed getting {what}. was '{member}' returned by consul?"));
        resource.set_str(key, value.ok_or_else(error)?);
    }
    for key in config.meta_keys() {
        if let Some(value) = agent.get("Meta").and_then(|meta| meta.get(key)).and_then(Value::as_str) {
            resource.set_always(key, value);
        }
    }
    Ok(resource.finish())
}

/// The URL of the request.
fn url(config: &ConsulConfig, answers: &Answers<'_>) -> Result<String, Halt> {
    let failed = |error: String| Halt::Failed(format!("failed creating consul client: {error}"));
    let of_env = |configured: &str, variable: &str| {
        if configured.is_empty() { answers.env(variable) } else { configured.to_owned() }
    };
    let mut address = of_env(&config.address, "CONSUL_HTTP_ADDR");
    if address.is_empty() {
        "127.0.0.1:8500".clone_into(&mut address);
    }
    let is_tls = matches!(answers.env("CONSUL_HTTP_SSL").as_str(), "1" | "t" | "T" | "TRUE" | "true" | "True");
    let (scheme, rest) = match address.split_once("://") {
        Some(("http", rest)) => (if is_tls { "https" } else { "http" }, rest),
        Some(("https", rest)) => ("https", rest),
        Some(("unix", _)) => return Err(failed("sockets in the file system are not supported yet".to_owned())),
        Some((scheme, _)) => return Err(failed(format!("Unknown protocol scheme: {scheme}"))),
        None => (if is_tls { "https" } else { "http" }, address.as_str()),
    };
    if scheme == "https"
        && let Some(variable) = TLS_VARIABLES.iter().find(|variable| !answers.env(variable).is_empty())
    {
        let error = format!("the variable {variable} is not supported yet: write `tls` of the processor");
        return Err(failed(error));
    }
    let mut url = format!("{scheme}://{rest}/v1/agent/self");
    let namespace = of_env(&config.namespace, "CONSUL_NAMESPACE");
    let parameters =
        [("dc", config.datacenter.clone()), ("ns", namespace), ("partition", answers.env("CONSUL_PARTITION"))];
    let mut separator = '?';
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(url, "{separator}{name}={}", query_escape(value));
        separator = '&';
    }
    Ok(url)
}

/// The token: of the file that is configured, the one that is configured, of the environment's file, of the environment.
fn token(config: &ConsulConfig, answers: &mut Answers<'_>) -> Result<String, Halt> {
    let (env_file, env_token) = (answers.env("CONSUL_HTTP_TOKEN_FILE"), answers.env("CONSUL_HTTP_TOKEN"));
    let configured = &config.token.0;
    let file = match (config.token_file.as_str(), configured.as_str()) {
        ("", "") => env_file,
        ("", token) if *token != env_token => String::new(),
        ("", _) => env_file,
        (file, _) => file.to_owned(),
    };
    let other = if configured.is_empty() { env_token } else { configured.clone() };
    if file.is_empty() {
        return Ok(other);
    }
    match answers.file(file.as_str())? {
        Ok(content) => {
            let token = String::from_utf8_lossy(&content).trim().to_owned();
            Ok(if token.is_empty() { other } else { token })
        }
        Err(error) => {
            Err(Halt::Failed(format!("failed creating consul client: Error loading token file {file} : {error}")))
        }
    }
}

/// The agent's description of itself.
fn document(response: &Response) -> Result<Value, String> {
    if response.status != 200 {
        let body = String::from_utf8_lossy(&response.body);
        return Err(format!("Unexpected response code: {} ({})", response.status, body.trim()));
    }
    serde_json::from_slice(&response.body).map_err(|e| format!("invalid JSON: {e}"))
}
