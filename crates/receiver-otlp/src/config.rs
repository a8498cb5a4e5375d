//! The `otlp` section.

use otelcore_config::{ComponentId, GoDuration, OptionalFlavor, Section};
use otelcore_net::config::{GrpcServerConfig, HttpServerConfig, HttpServerDefaults};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, Factory, ListenAddress, ReadFile,
    ServedProtocol, StartError,
};

use crate::protocol::new_receiver;

/// Configuration of an `otlp` receiver; at least one protocol is enabled.
#[derive(Clone, Debug)]
pub struct OtlpReceiverConfig {
    /// `protocols::grpc`.
    pub grpc: Option<GrpcServerConfig>,
    /// `protocols::http`.
    pub http: Option<OtlpHttpConfig>,
}

/// `protocols::http`.
#[derive(Clone, Debug)]
pub struct OtlpHttpConfig {
    /// The server.
    pub server: HttpServerConfig,
    /// Path of each signal, by `Signal as usize`.
    pub paths: [String; 3],
}

impl ComponentConfig for OtlpReceiverConfig {
    fn create(&self, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let http = self.http.as_ref().map(|http| (&http.server, &http.paths));
        Ok(Component::Receiver(Box::new(new_receiver(self.grpc.as_ref(), http, context)?)))
    }

    fn check_files(&self, read_file: ReadFile<'_>) -> Result<(), String> {
        let grpc = self.grpc.iter().filter_map(|grpc| grpc.tls.as_ref());
        let http = self.http.iter().filter_map(|http| http.server.tls.as_ref());
        grpc.chain(http).try_for_each(|tls| tls.check_files(read_file))
    }

    fn listen_addresses(&self) -> Vec<ListenAddress> {
        let grpc = self.grpc.iter().map(|s| (&s.listen, "protocols::grpc::endpoint", ServedProtocol::Grpc));
        let http = self.http.iter().map(|h| (&h.server.listen, "protocols::http::endpoint", ServedProtocol::Http));
        grpc.chain(http)
            .map(|(at, key, serves)| ListenAddress {
                endpoint: at.clone(),
                config_key: key,
                protocol: serves,
                path: String::new(),
            })
            .collect()
    }
}

/// Makes `otlp` receivers.
#[derive(Debug)]
pub struct OtlpFactory;

const HTTP_DEFAULTS: HttpServerDefaults = HttpServerDefaults {
    endpoint: "localhost:4318",
    read_header_timeout: GoDuration::ZERO,
    write_timeout: GoDuration::ZERO,
    idle_timeout: GoDuration::ZERO,
};

impl Factory for OtlpFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Receiver,
            type_name: "otlp",
            aliases: &[],
            signals: &Signal::ALL,
            stability: "Stable",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let mut protocols = s.section("protocols");
        let section = protocols.optional_section("grpc", OptionalFlavor::Default);
        let is_grpc_enabled = section.is_some();
        let grpc = section.map(|s| GrpcServerConfig::parse(s, "localhost:4317"));
        let section = protocols.optional_section("http", OptionalFlavor::Default);
        let is_http_enabled = section.is_some();
        let http = section.map(parse_http);
        let has_unknown_protocol =
            protocols.child_keys().iter().any(|key| !matches!(key.value.as_str(), "grpc" | "http"));
        protocols.finish();
        if !is_grpc_enabled && !is_http_enabled && !has_unknown_protocol {
            s.error("protocols", "must specify at least one protocol when using the OTLP receiver")
                .help("write `protocols:` with `grpc:` or `http:` in it");
        }
        s.finish();
        // A protocol that is enabled but can't be used makes the whole receiver unusable; the diagnostics say why.
        let grpc = match grpc {
            Some(parsed) => Some(parsed?),
            None => None,
        };
        let http = match http {
            Some(parsed) => Some(parsed?),
            None => None,
        };
        Some(Box::new(OtlpReceiverConfig { grpc, http }))
    }
}

fn parse_http(mut s: Section<'_>) -> Option<OtlpHttpConfig> {
    let server = HttpServerConfig::parse(&mut s, &HTTP_DEFAULTS);
    let keys = [("traces_url_path", "/v1/traces"), ("metrics_url_path", "/v1/metrics"), ("logs_url_path", "/v1/logs")];
    let paths = keys.map(|(key, default)| {
        let path = s.str(key, default);
        url_path(&path).unwrap_or_else(|| {
            s.error(key, format!("invalid HTTP URL path set for signal: {path:?}"));
            default.to_owned()
        })
    });
    s.finish();
    Some(OtlpHttpConfig { server: server?, paths })
}

/// The path of a URL or path, with a slash in front.
fn url_path(url: &str) -> Option<String> {
    let after_host = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| rest.get(at..).unwrap_or("")),
        None => url,
    };
    let path = after_host.split(['?', '#']).next().unwrap_or("");
    if path.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return None;
    }
    Some(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_path_without_host_and_query_is_used() {
        for (written, path) in [
            ("/v1/traces", "/v1/traces"),
            ("v1/traces", "/v1/traces"),
            ("", "/"),
            ("http://host:1/a/b?x=1", "/a/b"),
            ("http://host", "/"),
        ] {
            assert_eq!(url_path(written).as_deref(), Some(path));
        }
        assert_eq!(url_path("/a b"), None);
    }

    fn parse(yaml: &str) -> Vec<String> {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "receivers::otlp", &d);
        let _ = OtlpFactory.parse(&"otlp".parse().unwrap(), section);
        d.items().into_iter().map(|item| item.message).collect()
    }

    #[test]
    fn protocols_with_null_are_enabled_with_defaults() {
        assert_eq!(parse("protocols:\n  grpc:\n  http:\n"), Vec::<String>::new());
        assert_eq!(parse("protocols:\n"), ["must specify at least one protocol when using the OTLP receiver"]);
        assert_eq!(
            parse("protocols: {grpc: {enabled: false}}"),
            ["must specify at least one protocol when using the OTLP receiver"]
        );
    }

    #[test]
    fn unsupported_setting_is_refused_by_name() {
        let messages = parse("protocols: {grpc: {middlewares: [{id: a}]}, http: {middlewares: [{id: a}]}}");
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(messages.iter().all(|m| m.contains("not supported yet")), "{messages:?}");
    }

    #[test]
    fn tls_config_without_key_or_with_unsupported_algorithms_is_refused() {
        let messages = parse(
            "protocols:
  grpc: {tls: {cert_file: x}}
  http: {tls: {cert_file: x, key_file: y, min_version: '1.0', cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA], curve_preferences: [P521]}}
",
        );
        assert_eq!(
            messages,
            [
                "TLS configuration must include both certificate and key (CertFile/CertPem and KeyFile/KeyPem)",
                "TLS 1.0 is not supported: RFC 8996 forbids it",
                "invalid TLS cipher suite: \"TLS_RSA_WITH_AES_128_CBC_SHA\"",
                "invalid curve type: P521",
            ]
        );
        assert_eq!(
            parse("protocols: {grpc: {tls: {}}}"),
            ["TLS configuration must include both certificate and key for server connections"]
        );
        assert_eq!(parse("protocols: {grpc: {tls: }}"), Vec::<String>::new());
    }

    #[test]
    fn unknown_protocol_is_reported_as_in_the_go_collector() {
        let messages = parse("protocols:\n  grpc:\n    endpont: x\n  htttp:\n");
        assert_eq!(messages, ["'protocols.grpc' has invalid keys: endpont", "'protocols' has invalid keys: htttp"]);
    }
}
