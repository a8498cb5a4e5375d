//! The HTTP client of Prometheus, as scrape configurations and discoveries configure it.
//!
//! Reads and checks the keys, and says what they mean for the client of `otelcore-net`. Credentials are applied by
//! [`crate::HttpCredentials`].

use std::collections::BTreeMap;
use std::time::Duration;

use otelcore_config::declare::{ConfigValue, OpaqueString, Shape};
use otelcore_config::{EffectiveValue, Section, config_struct};
use otelcore_net::Proxy;
use otelcore_net::config::{ClientProxy, HttpClientConfig};
use otelcore_net::tls::TlsVersion;

/// How often files with certificates are read again.
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);
/// The time after which Prometheus closes an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

const NO_SECRET_MANAGER: &str = "there is no secret manager; write the value, or the path of a file with it";

config_struct! {
    /// `basic_auth`: a name and a password.
    #[config(unsupported("username_ref", NO_SECRET_MANAGER))]
    #[config(unsupported("password_ref", NO_SECRET_MANAGER))]
    #[derive(PartialEq, Eq)]
    pub struct BasicAuthConfig {
        /// The name.
        pub username: String,
        /// The path of a file with the name.
        pub username_file: String,
        /// The password.
        pub password: OpaqueString,
        /// The path of a file with the password.
        pub password_file: String,
    }
}

config_struct! {
    /// `authorization`: a header with credentials.
    #[config(unsupported("credentials_ref", NO_SECRET_MANAGER))]
    #[derive(PartialEq, Eq)]
    pub struct AuthorizationConfig {
        /// The type of the credentials; if empty, `Bearer`.
        #[config(key = "type")]
        pub kind: String,
        /// The credentials.
        pub credentials: OpaqueString,
        /// The path of a file with the credentials.
        pub credentials_file: String,
    }
}

/// `min_version` and `max_version` in Prometheus's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PrometheusTlsVersion(pub TlsVersion);

impl ConfigValue for PrometheusTlsVersion {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        match s.str(key, "").as_str() {
            "" => return *default,
            "TLS12" => return Self(TlsVersion::Tls12),
            "TLS13" => return Self(TlsVersion::Tls13),
            old @ ("TLS10" | "TLS11") => s.error(key, format!("{old} is not supported: RFC 8996 forbids it")),
            other => s.error(key, format!("unknown TLS version: {other}")),
        }
        .help("write TLS12 or TLS13");
        *default
    }

    fn shape(_: &Self) -> Shape {
        Shape::OneOf(vec!["TLS12", "TLS13"])
    }

    fn effective(&self) -> EffectiveValue {
        let word = match self.0 {
            TlsVersion::Any => "",
            TlsVersion::Tls12 => "TLS12",
            TlsVersion::Tls13 => "TLS13",
        };
        EffectiveValue::Str(word.to_owned())
    }
}

config_struct! {
    /// `tls_config`: TLS of a client.
    #[config(check = Self::check)]
    #[config(unsupported("ca_ref", NO_SECRET_MANAGER))]
    #[config(unsupported("cert_ref", NO_SECRET_MANAGER))]
    #[config(unsupported("key_ref", NO_SECRET_MANAGER))]
    #[derive(PartialEq, Eq)]
    pub struct PrometheusTlsConfig {
        /// The authorities, in PEM.
        pub ca: OpaqueString,
        /// The path of the authorities.
        pub ca_file: String,
        /// The certificate of the client, in PEM.
        pub cert: OpaqueString,
        /// The path of the certificate.
        pub cert_file: String,
        /// The key of the certificate, in PEM.
        pub key: OpaqueString,
        /// The path of the key.
        pub key_file: String,
        /// The name that the server's certificate must have.
        pub server_name: String,
        /// Accepts any certificate.
        pub insecure_skip_verify: bool,
        /// The lowest version of TLS: `TLS12` or `TLS13`.
        pub min_version: PrometheusTlsVersion,
        /// The highest version of TLS: `TLS12` or `TLS13`.
        pub max_version: PrometheusTlsVersion,
    }
}

impl PrometheusTlsConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let both = |inline: &OpaqueString, file: &str| !inline.0.is_empty() && !file.is_empty();
        let any = |inline: &OpaqueString, file: &str| !inline.0.is_empty() || !file.is_empty();
        let (has_cert, has_key) = (any(&self.cert, &self.cert_file), any(&self.key, &self.key_file));
        if both(&self.ca, &self.ca_file) {
            s.error("ca_file", "at most one of ca, ca_file & ca_ref must be configured");
        } else if both(&self.cert, &self.cert_file) {
            s.error("cert_file", "at most one of cert, cert_file & cert_ref must be configured");
        } else if both(&self.key, &self.key_file) {
            s.error("key_file", "at most one of key and key_file must be configured");
        } else if has_cert && !has_key {
            let message = "exactly one of key or key_file must be configured when a client certificate is configured";
            s.error("key_file", message);
        } else if has_key && !has_cert {
            let message = "exactly one of cert or cert_file must be configured when a client key is configured";
            s.error("cert_file", message);
        }
    }
}

config_struct! {
    /// The values of a header field of `http_headers`.
    #[derive(PartialEq, Eq)]
    pub struct HttpHeaderConfig {
        /// Values.
        pub values: Vec<String>,
        /// Values that are secret.
        pub secrets: Secrets,
        /// Paths of files with values.
        pub files: Vec<String>,
    }
}

/// A list of texts that are redacted where a configuration is printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secrets(pub Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl ConfigValue for Secrets {
    fn read(s: &mut Section<'_>, key: &str, _: &Self) -> Self {
        let texts = s.str_list(key, &[]);
        s.record(key, EffectiveValue::List(texts.iter().cloned().map(EffectiveValue::Opaque).collect()));
        Self(texts)
    }

    fn shape(_: &Self) -> Shape {
        Shape::List(Box::new(Shape::Secret))
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::List(Vec::new())
    }
}

config_struct! {
    /// An HTTP client of Prometheus.
    #[config(check = Self::check)]
    #[config(unsupported("oauth2", "write `authorization` with `credentials_file`, into which a program writes tokens"))]
    #[config(unsupported("proxy_connect_header", "a tunnel is opened without further header fields"))]
    #[derive(PartialEq, Eq)]
    pub struct PrometheusHttpConfig {
        /// A name and a password.
        pub basic_auth: Option<BasicAuthConfig>,
        /// Credentials in the header `Authorization`.
        pub authorization: Option<AuthorizationConfig>,
        /// A token; `authorization` replaces it.
        pub bearer_token: OpaqueString,
        /// The path of a file with a token; `authorization` replaces it.
        pub bearer_token_file: String,
        /// TLS.
        pub tls_config: PrometheusTlsConfig,
        /// Follows redirects.
        pub follow_redirects: bool = true,
        /// Uses HTTP/2 where the server has it.
        #[config(ignored = "requests are sent over HTTP/1.1")]
        pub enable_http2: bool = true,
        /// The proxy for every request.
        pub proxy_url: String,
        /// Hosts, domains and networks that are reached without the proxy, between commas.
        pub no_proxy: String,
        /// Uses the proxies of the environment.
        pub proxy_from_environment: bool,
        /// Further header fields.
        pub http_headers: BTreeMap<String, HttpHeaderConfig>,
    }
}

/// Header fields that are not for `http_headers`.
const RESERVED_HEADERS: [&str; 18] = [
    "Authorization",
    "Host",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "User-Agent",
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Www-Authenticate",
    "Accept-Encoding",
    "X-Prometheus-Remote-Write-Version",
    "X-Prometheus-Remote-Read-Version",
    "X-Prometheus-Scrape-Timeout-Seconds",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "X-Amz-Content-Sha256",
];

/// The key and the message of a mistake.
type Mistake = Option<(&'static str, String)>;

impl PrometheusHttpConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let mistake = self.check_credentials().or_else(|| self.check_proxy()).or_else(|| self.check_headers());
        if let Some((key, message)) = mistake {
            s.error(key, message);
        }
    }

    /// Prometheus's checks of credentials, in its order.
    fn check_credentials(&self) -> Mistake {
        let mistake = |key: &'static str, message: &str| Some((key, message.to_owned()));
        let (has_token, has_token_file) = (!self.bearer_token.0.is_empty(), !self.bearer_token_file.is_empty());
        if has_token && has_token_file {
            let message = "at most one of bearer_token & bearer_token_file must be configured";
            return mistake("bearer_token_file", message);
        }
        if self.basic_auth.is_some() && (has_token || has_token_file) {
            let message = "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured";
            return mistake("basic_auth", message);
        }
        if let Some(basic) = &self.basic_auth {
            if !basic.username.is_empty() && !basic.username_file.is_empty() {
                let message = "at most one of basic_auth username, username_file & username_ref must be configured";
                return mistake("basic_auth", message);
            }
            if !basic.password.0.is_empty() && !basic.password_file.is_empty() {
                let message = "at most one of basic_auth password, password_file & password_ref must be configured";
                return mistake("basic_auth", message);
            }
        }
        let authorization = self.authorization.as_ref()?;
        if has_token || has_token_file {
            let message = "authorization is not compatible with bearer_token & bearer_token_file";
            return mistake("authorization", message);
        }
        if !authorization.credentials.0.is_empty() && !authorization.credentials_file.is_empty() {
            let message = "at most one of authorization credentials & credentials_file must be configured";
            return mistake("authorization", message);
        }
        if authorization.kind.trim().eq_ignore_ascii_case("basic") {
            let message = "authorization type cannot be set to \"basic\", use \"basic_auth\" instead";
            return mistake("authorization", message);
        }
        if self.basic_auth.is_some() {
            let message = "at most one of basic_auth, oauth2 & authorization must be configured";
            return mistake("authorization", message);
        }
        None
    }

    fn check_proxy(&self) -> Mistake {
        let mistake = |key: &'static str, message: &str| Some((key, message.to_owned()));
        if self.proxy_from_environment && !self.proxy_url.is_empty() {
            let message = "if proxy_from_environment is configured, proxy_url must not be configured";
            return mistake("proxy_from_environment", message);
        }
        if self.proxy_from_environment && !self.no_proxy.is_empty() {
            let message = "if proxy_from_environment is configured, no_proxy must not be configured";
            return mistake("no_proxy", message);
        }
        if self.proxy_url.is_empty() {
            return if self.no_proxy.is_empty() {
                None
            } else {
                mistake("no_proxy", "if no_proxy is configured, proxy_url must also be configured")
            };
        }
        Proxy::parse(&self.proxy_url).err().map(|error| ("proxy_url", error.to_string()))
    }

    fn check_headers(&self) -> Mistake {
        let is_reserved = |name: &&String| RESERVED_HEADERS.iter().find(|known| known.eq_ignore_ascii_case(name));
        let name = self.http_headers.keys().find_map(|name| is_reserved(&name))?;
        Some(("http_headers", format!("setting header {name:?} is not allowed")))
    }

    /// Whether nothing is configured.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The client that sends the requests. Credentials and further header fields are not in it.
    #[must_use]
    pub fn client_config(&self) -> HttpClientConfig {
        let mut client = HttpClientConfig::default();
        let file = |path: &str| (!path.is_empty()).then(|| path.to_owned());
        let tls = &self.tls_config;
        client.tls.insecure_skip_verify = tls.insecure_skip_verify;
        client.tls.server_name_override.clone_from(&tls.server_name);
        let common = &mut client.tls.common;
        common.ca_pem = tls.ca.clone();
        common.ca_file = file(&tls.ca_file);
        common.cert_pem = tls.cert.clone();
        common.cert_file = file(&tls.cert_file);
        common.key_pem = tls.key.clone();
        common.key_file = file(&tls.key_file);
        common.min_version = tls.min_version.0;
        common.max_version = tls.max_version.0;
        common.reload_interval = RELOAD_INTERVAL;
        client.idle_conn_timeout = IDLE_TIMEOUT;
        client.max_idle_conns = 20_000;
        client.max_idle_conns_per_host = 1000;
        client.keeps_redirects = !self.follow_redirects;
        client.proxy_url.clone_from(&self.proxy_url);
        client.proxy = match (self.proxy_url.is_empty(), self.proxy_from_environment) {
            (true, false) => ClientProxy::None,
            (true, true) => ClientProxy::UrlOrEnvironment,
            (false, _) => ClientProxy::UrlExceptFor(self.no_proxy.clone()),
        };
        client
    }
}

#[cfg(test)]
mod tests {
    use otelcore_config::declare::Config;
    use otelcore_config::{Diagnostics, from_yaml};

    use super::*;

    fn read(yaml: &str) -> (PrometheusHttpConfig, Vec<String>) {
        let diagnostics = Diagnostics::new();
        let node = from_yaml(yaml, &diagnostics).unwrap();
        let section = Section::new(Some(&node), "", &diagnostics);
        let config = PrometheusHttpConfig::read_section(section, &PrometheusHttpConfig::default());
        (config, diagnostics.items().into_iter().map(|item| item.message).collect())
    }

    #[test]
    fn mistake_has_the_message_of_prometheus() {
        for (yaml, message) in [
            (
                "{bearer_token: a, bearer_token_file: b}",
                "at most one of bearer_token & bearer_token_file must be configured",
            ),
            (
                "{basic_auth: {username: a}, authorization: {credentials: b}}",
                "at most one of basic_auth, oauth2 & authorization must be configured",
            ),
            (
                "{authorization: {type: Basic, credentials: b}}",
                "authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
            ),
            ("{no_proxy: a}", "if no_proxy is configured, proxy_url must also be configured"),
            ("{http_headers: {host: {values: [a]}}}", "setting header \"Host\" is not allowed"),
            ("{tls_config: {min_version: TLS9}}", "unknown TLS version: TLS9"),
            (
                "{tls_config: {cert_file: a}}",
                "exactly one of key or key_file must be configured when a client certificate is configured",
            ),
        ] {
            assert_eq!(read(yaml).1, [message], "{yaml}");
        }
        let (_, messages) = read("{oauth2: {client_id: a}}");
        assert!(messages[0].starts_with("'oauth2' is not supported: "), "{messages:?}");
    }

    #[test]
    fn client_has_no_proxy_unless_one_is_configured() {
        let client = |yaml: &str| read(yaml).0.client_config();
        assert_eq!(client("{}").proxy, ClientProxy::None);
        assert_eq!(client("{proxy_from_environment: true}").proxy, ClientProxy::UrlOrEnvironment);
        let client =
            client("{proxy_url: 'http://p:1', no_proxy: 'a,b', follow_redirects: false, tls_config: {ca_file: c}}");
        assert_eq!(client.proxy, ClientProxy::UrlExceptFor("a,b".to_owned()));
        assert!(client.keeps_redirects);
        assert_eq!(client.tls.common.ca_file.as_deref(), Some("c"));
    }
}
