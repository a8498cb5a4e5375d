//! The file of kubectl: clusters, users, and the contexts that join them.
//!
//! Knows the members that say where a server is, and with what it is asked. What would need another program, or is not
//! built, is refused by its name. Performs no IO.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use otelcore_config::declare::OpaqueString;
use otelcore_config::{ConfigNode, Diagnostics, SourceText, parse_documents};
use otelcore_net::Url;
use otelcore_net::config::HttpClientConfig;

use crate::credentials::Credentials;

/// The URL of a server, the client for it, and what else requests are sent with.
type FoundServer = (String, HttpClientConfig, Credentials);

/// The variable with the paths of the files.
pub(crate) const VARIABLE: &str = "KUBECONFIG";

/// Users may have these, for which nothing is built here.
const UNSUPPORTED_OF_USERS: [&str; 7] = ["exec", "auth-provider", "username", "password", "as", "as-groups", "as-uid"];

/// What files say; the first file that has a name decides.
#[derive(Default, Debug)]
pub(crate) struct KubeConfig {
    clusters: Vec<Entry>,
    contexts: Vec<Entry>,
    users: Vec<Entry>,
    current_context: String,
}

/// A named part of a file.
#[derive(Debug)]
struct Entry {
    name: String,
    node: ConfigNode,
    /// The folder of the file; paths in it are relative to that.
    folder: String,
}

fn member<'n>(node: &'n ConfigNode, key: &str) -> Option<&'n ConfigNode> {
    node.as_map()?.get(key).map(|entry| &entry.node)
}

/// The text of a scalar, as it is in the file; empty without one.
fn text(node: &ConfigNode, key: &str) -> String {
    let found = member(node, key);
    let scalar = found.and_then(|node| node.as_str().or_else(|| node.source_scalar()));
    scalar.unwrap_or_default().to_owned()
}

fn is_true(node: &ConfigNode, key: &str) -> bool {
    text(node, key) == "true"
}

impl Entry {
    /// The path that a key has.
    fn path(&self, key: &str) -> Option<String> {
        let path = text(&self.node, key);
        match path.starts_with('/') || self.folder.is_empty() {
            _ if path.is_empty() => None,
            true => Some(path),
            false => Some(format!("{}/{path}", self.folder)),
        }
    }

    /// The content of `{key}-data`, which is base64 of PEM.
    fn pem(&self, key: &str) -> Result<OpaqueString, String> {
        let key = format!("{key}-data");
        let encoded = text(&self.node, &key);
        let bytes = STANDARD.decode(encoded.trim()).map_err(|e| format!("{}: {key}: {e}", self.name))?;
        String::from_utf8(bytes).map(OpaqueString).map_err(|_| format!("{}: {key} is not PEM", self.name))
    }
}

fn find<'e>(entries: &'e [Entry], name: &str) -> Option<&'e Entry> {
    entries.iter().find(|entry| entry.name == name)
}

impl KubeConfig {
    /// Reads a file.
    pub(crate) fn parse(yaml: &str, path: &str) -> Result<Self, String> {
        let diagnostics = Diagnostics::new();
        // Not as a configuration, in which `$` has a meaning.
        let root = parse_documents(&SourceText::new(path, yaml), &diagnostics).into_iter().next();
        if diagnostics.has_errors() {
            let message = diagnostics.items().into_iter().next().map(|item| item.message).unwrap_or_default();
            return Err(format!("error loading config file {path:?}: {message}"));
        }
        let Some(root) = root else { return Ok(Self::default()) };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let entries = |list: &str, part: &str| -> Vec<Entry> {
            let items = member(&root, list).map(ConfigNode::items).unwrap_or_default();
            let entry = |item: &ConfigNode| {
                let node = member(item, part)?.clone();
                Some(Entry { name: text(item, "name"), node, folder: folder.to_owned() })
            };
            items.iter().filter_map(entry).collect()
        };
        Ok(Self {
            clusters: entries("clusters", "cluster"),
            contexts: entries("contexts", "context"),
            users: entries("users", "user"),
            current_context: text(&root, "current-context"),
        })
    }

    /// Adds what another file has and this one has not.
    pub(crate) fn merge(&mut self, other: Self) {
        self.clusters.extend(other.clusters);
        self.contexts.extend(other.contexts);
        self.users.extend(other.users);
        if self.current_context.is_empty() {
            self.current_context = other.current_context;
        }
    }

    /// Nothing has been read.
    pub(crate) fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.contexts.is_empty() && self.users.is_empty()
    }

    /// The server of a context; an empty name is the current one.
    pub(crate) fn server(&self, context: &str) -> Result<FoundServer, String> {
        let name = if context.is_empty() { self.current_context.as_str() } else { context };
        let context = find(&self.contexts, name).ok_or_else(|| format!("context {name:?} does not exist"))?;
        let cluster = text(&context.node, "cluster");
        let cluster = find(&self.clusters, &cluster).ok_or_else(|| format!("cluster {cluster:?} does not exist"))?;
        let mut client = HttpClientConfig::default();
        let url = read_cluster(cluster, &mut client)?;
        let user = text(&context.node, "user");
        let credentials = match find(&self.users, &user) {
            Some(user) => read_user(user, &mut client)?,
            None if user.is_empty() => Credentials::None,
            None => return Err(format!("auth info {user:?} does not exist")),
        };
        Ok((url, client, credentials))
    }
}

/// The URL of a cluster. Its authorities are set in `client`.
fn read_cluster(cluster: &Entry, client: &mut HttpClientConfig) -> Result<String, String> {
    let of_cluster = |error: String| format!("cluster {:?}: {error}", cluster.name);
    if !text(&cluster.node, "proxy-url").is_empty() {
        return Err(of_cluster("`proxy-url` is not supported".to_owned()));
    }
    let server = text(&cluster.node, "server");
    let url = if server.contains("://") { server.clone() } else { format!("https://{server}") };
    Url::parse(&url).map_err(|error| of_cluster(format!("server {server:?}: {error}")))?;
    let common = &mut client.tls.common;
    common.ca_pem = cluster.pem("certificate-authority")?;
    if common.ca_pem.0.is_empty() {
        common.ca_file = cluster.path("certificate-authority");
    }
    client.tls.insecure_skip_verify = is_true(&cluster.node, "insecure-skip-tls-verify");
    client.tls.server_name_override = text(&cluster.node, "tls-server-name");
    Ok(url.trim_end_matches('/').to_owned())
}

/// The credentials of a user. A certificate is set in `client`.
fn read_user(user: &Entry, client: &mut HttpClientConfig) -> Result<Credentials, String> {
    if let Some(key) = UNSUPPORTED_OF_USERS.iter().find(|key| member(&user.node, key).is_some()) {
        let instead = "write `token`, `tokenFile` or a client certificate";
        return Err(format!("user {:?}: `{key}` is not supported: {instead}", user.name));
    }
    let common = &mut client.tls.common;
    common.cert_pem = user.pem("client-certificate")?;
    if common.cert_pem.0.is_empty() {
        common.cert_file = user.path("client-certificate");
    }
    common.key_pem = user.pem("client-key")?;
    if common.key_pem.0.is_empty() {
        common.key_file = user.path("client-key");
    }
    // As in kubectl, a token in the file is used before the file of a token.
    let token = text(&user.node, "token");
    Ok(match user.path("tokenFile") {
        _ if !token.is_empty() => Credentials::Token(token),
        Some(path) => Credentials::TokenFile(path),
        None => Credentials::None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
apiVersion: v1
kind: Config
current-context: dev
clusters:
- name: dev
  cluster: {server: "https://dev.example:6443/", certificate-authority: ca.crt, tls-server-name: kube}
- name: local
  cluster: {server: "http://127.0.0.1:8001"}
- name: data
  cluster: {server: "10.0.0.1:6443", certificate-authority-data: LS0tLQo=, insecure-skip-tls-verify: true}
contexts:
- {name: dev, context: {cluster: dev, user: me, namespace: team}}
- {name: local, context: {cluster: local}}
- {name: data, context: {cluster: data, user: cert}}
- {name: other, context: {cluster: dev, user: login}}
- {name: half, context: {cluster: nowhere}}
users:
- {name: me, user: {tokenFile: token}}
- {name: cert, user: {client-certificate: /c.crt, client-key-data: LS0tLQo=, token: 1$$2}}
- {name: login, user: {exec: {command: aws}}}
"#;

    fn server(context: &str) -> Result<FoundServer, String> {
        KubeConfig::parse(FILE, "/home/me/.kube/config").unwrap().server(context)
    }

    #[test]
    fn context_joins_a_cluster_and_a_user_and_paths_are_relative_to_the_file() {
        let (url, client, credentials) = server("").unwrap();
        assert_eq!(url, "https://dev.example:6443");
        assert_eq!(credentials, Credentials::TokenFile("/home/me/.kube/token".to_owned()));
        assert_eq!(client.tls.common.ca_file.as_deref(), Some("/home/me/.kube/ca.crt"));
        assert_eq!(client.tls.server_name_override, "kube");
        let (url, _, credentials) = server("local").unwrap();
        assert_eq!((url.as_str(), credentials), ("http://127.0.0.1:8001", Credentials::None));
        let (url, client, credentials) = server("data").unwrap();
        assert_eq!((url.as_str(), credentials), ("https://10.0.0.1:6443", Credentials::Token("1$$2".to_owned())));
        assert!(client.tls.insecure_skip_verify);
        assert_eq!(client.tls.common.ca_pem.0, "----\n");
        assert_eq!(client.tls.common.key_pem.0, "----\n");
        assert_eq!(client.tls.common.cert_file.as_deref(), Some("/c.crt"));
    }

    #[test]
    fn what_is_missing_or_not_built_is_named() {
        let error = |context: &str| server(context).unwrap_err();
        assert_eq!(error("none"), "context \"none\" does not exist");
        assert_eq!(error("half"), "cluster \"nowhere\" does not exist");
        assert!(error("other").starts_with("user \"login\": `exec` is not supported"), "{}", error("other"));
        assert!(KubeConfig::parse("a: [", "/f").unwrap_err().starts_with("error loading config file \"/f\""));
        assert!(KubeConfig::parse("", "/f").unwrap().is_empty());
        assert!(KubeConfig::parse("clusters: 3", "/f").unwrap().is_empty());
    }

    #[test]
    fn first_of_several_files_decides() {
        let mut merged = KubeConfig::parse("current-context: b\n", "/a").unwrap();
        merged.merge(KubeConfig::parse(FILE, "/b").unwrap());
        assert_eq!(merged.server("").unwrap_err(), "context \"b\" does not exist");
        assert_eq!(merged.server("local").unwrap().0, "http://127.0.0.1:8001");
    }
}
