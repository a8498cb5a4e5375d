//! The `otlp` section.

use otelcore_config::{ComponentId, Dur, Flavour, Section};
use otelcore_net::settings::{GrpcServer, HttpServer, HttpServerDefaults};
use otelcore_pdata::Signal;
use otelcore_pipeline::{About, Build, Component, Factory, Kind, Listens, ReadFile, Serves, Settings, StartError};

use crate::receiver::OtlpReceiver;

/// Settings of an `otlp` receiver; at least one protocol is enabled.
#[derive(Clone, Debug)]
pub struct Otlp {
    /// `protocols::grpc`.
    pub grpc: Option<GrpcServer>,
    /// `protocols::http`.
    pub http: Option<OtlpHttp>,
}

/// `protocols::http`.
#[derive(Clone, Debug)]
pub struct OtlpHttp {
    /// The server.
    pub server: HttpServer,
    /// Path of each signal, by `Signal as usize`.
    pub paths: [String; 3],
}

impl Settings for Otlp {
    fn create(&self, build: &Build<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(OtlpReceiver::new(self, build)?)))
    }

    fn check_files(&self, read: ReadFile<'_>) -> Result<(), String> {
        let grpc = self.grpc.iter().filter_map(|grpc| grpc.tls.as_ref());
        let http = self.http.iter().filter_map(|http| http.server.tls.as_ref());
        grpc.chain(http).try_for_each(|tls| tls.check_files(read))
    }

    fn listens(&self) -> Vec<Listens> {
        let grpc = self.grpc.iter().map(|s| (&s.listen, "protocols::grpc::endpoint", Serves::Grpc));
        let http = self.http.iter().map(|h| (&h.server.listen, "protocols::http::endpoint", Serves::Http));
        grpc.chain(http).map(|(at, key, serves)| Listens { at: at.clone(), key, serves, path: String::new() }).collect()
    }
}

/// Makes `otlp` receivers.
#[derive(Debug)]
pub struct OtlpFactory;

const HTTP: HttpServerDefaults = HttpServerDefaults {
    endpoint: "localhost:4318",
    read_header_timeout: Dur::ZERO,
    write_timeout: Dur::ZERO,
    idle_timeout: Dur::ZERO,
};

impl Factory for OtlpFactory {
    fn about(&self) -> About {
        About { kind: Kind::Receiver, type_name: "otlp", aliases: &[], signals: &Signal::ALL, stability: "Stable" }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn Settings>> {
        let mut protocols = s.section("protocols");
        let written = protocols.optional("grpc", Flavour::Default);
        let grpc_on = written.is_some();
        let grpc = written.map(|s| GrpcServer::parse(s, "localhost:4317"));
        let written = protocols.optional("http", Flavour::Default);
        let http_on = written.is_some();
        let http = written.map(http);
        let typo = protocols.child_keys().iter().any(|key| !matches!(key.value.as_str(), "grpc" | "http"));
        protocols.finish();
        if !grpc_on && !http_on && !typo {
            s.error("protocols", "must specify at least one protocol when using the OTLP receiver")
                .hint("write `protocols:` with `grpc:` or `http:` in it");
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
        Some(Box::new(Otlp { grpc, http }))
    }
}

fn http(mut s: Section<'_>) -> Option<OtlpHttp> {
    let server = HttpServer::parse(&mut s, &HTTP);
    let keys = [("traces_url_path", "/v1/traces"), ("metrics_url_path", "/v1/metrics"), ("logs_url_path", "/v1/logs")];
    let paths = keys.map(|(key, default)| {
        let written = s.str(key, default);
        url_path(&written).unwrap_or_else(|| {
            s.error(key, format!("invalid HTTP URL path set for signal: {written:?}"));
            default.to_owned()
        })
    });
    s.finish();
    Some(OtlpHttp { server: server?, paths })
}

/// The path of a URL or path, with a slash in front.
fn url_path(written: &str) -> Option<String> {
    let after_host = match written.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| rest.get(at..).unwrap_or("")),
        None => written,
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
    fn only_the_path_of_a_url_counts() {
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
    fn null_protocols_are_on_with_their_defaults() {
        assert_eq!(parse("protocols:\n  grpc:\n  http:\n"), Vec::<String>::new());
        assert_eq!(parse("protocols:\n"), ["must specify at least one protocol when using the OTLP receiver"]);
        assert_eq!(
            parse("protocols: {grpc: {enabled: false}}"),
            ["must specify at least one protocol when using the OTLP receiver"]
        );
    }

    #[test]
    fn what_is_not_built_yet_is_refused_by_name() {
        let found = parse("protocols: {grpc: {middlewares: [{id: a}]}, http: {middlewares: [{id: a}]}}");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|m| m.contains("not supported yet")), "{found:?}");
    }

    #[test]
    fn half_a_certificate_is_refused_and_so_is_what_rustls_does_not_have() {
        let found = parse(
            "protocols:
  grpc: {tls: {cert_file: x}}
  http: {tls: {cert_file: x, key_file: y, min_version: '1.0', cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA], curve_preferences: [P521]}}
",
        );
        assert_eq!(
            found,
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
    fn mistyped_protocols_are_told_in_the_go_collectors_words() {
        let found = parse("protocols:\n  grpc:\n    endpont: x\n  htttp:\n");
        assert_eq!(found, ["'protocols.grpc' has invalid keys: endpont", "'protocols' has invalid keys: htttp"]);
    }
}
