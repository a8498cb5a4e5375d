//! The `otlp` section.

use otelcore_config::declare::Optional;
use otelcore_config::{Section, config_struct};
use otelcore_net::config::{GrpcServerConfig, HttpServerConfig, ListenConfig};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Endpoint, ListenAddress, ReadFile,
    ServedProtocol, StartError,
};

use crate::protocol::new_receiver;

config_struct! {
    /// Receives OTLP over gRPC and HTTP.
    #[config(check = Self::check)]
    pub struct OtlpReceiverConfig {
        /// The protocols that are served; at least one.
        pub protocols: ProtocolsConfig,
    }
}

config_struct! {
    /// `protocols`.
    #[config(check = Self::check)]
    pub struct ProtocolsConfig {
        /// OTLP over gRPC.
        pub grpc: Optional<GrpcServerConfig> =
            Optional::on_null(GrpcServerConfig { listen: ListenConfig::at("localhost:4317"), ..GrpcServerConfig::default() }),
        /// OTLP over HTTP, in protobuf and JSON.
        pub http: Optional<OtlpHttpConfig> = Optional::on_null(OtlpHttpConfig::default()),
        /// A key that is not a protocol is written.
        #[config(skip)]
        pub has_unknown: bool,
    }
}

config_struct! {
    /// `protocols::http`.
    #[config(check = Self::check)]
    pub struct OtlpHttpConfig {
        /// The server.
        #[config(flatten)]
        pub server: HttpServerConfig = HttpServerConfig { listen: ListenConfig::at("localhost:4318"), ..HttpServerConfig::default() },
        /// Path of traces.
        pub traces_url_path: String = "/v1/traces".to_owned(),
        /// Path of metrics.
        pub metrics_url_path: String = "/v1/metrics".to_owned(),
        /// Path of logs.
        pub logs_url_path: String = "/v1/logs".to_owned(),
    }
}

impl OtlpReceiverConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let ProtocolsConfig { grpc, http, has_unknown } = &self.protocols;
        if !grpc.is_on() && !http.is_on() && !has_unknown {
            s.error("protocols", "must specify at least one protocol when using the OTLP receiver")
                .help("write `protocols:` with `grpc:` or `http:` in it");
        }
    }
}

impl ProtocolsConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        self.has_unknown = s.child_keys().iter().any(|key| !matches!(key.value.as_str(), "grpc" | "http"));
    }
}

impl OtlpHttpConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let written = [
            ("traces_url_path", &self.traces_url_path),
            ("metrics_url_path", &self.metrics_url_path),
            ("logs_url_path", &self.logs_url_path),
        ];
        for (key, written) in written {
            if url_path(written).is_none() {
                s.error(key, format!("invalid HTTP URL path set for signal: {written:?}"));
            }
        }
    }

    /// The path of a signal.
    #[must_use]
    pub fn path(&self, signal: Signal) -> String {
        let written = match signal {
            Signal::Traces => &self.traces_url_path,
            Signal::Metrics => &self.metrics_url_path,
            Signal::Logs => &self.logs_url_path,
        };
        url_path(written).unwrap_or_default()
    }
}

/// The `otlp` receiver.
#[derive(Clone, Copy, Debug)]
pub struct OtlpFactory;

impl ComponentType for OtlpFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "otlp",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Stable",
    };
    type Config = OtlpReceiverConfig;

    fn create(&self, config: &OtlpReceiverConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let http = config.protocols.http.get();
        let paths = http.map(|http| Signal::ALL.map(|signal| http.path(signal)));
        let http = http.zip(paths.as_ref()).map(|(http, paths)| (&http.server, paths));
        Ok(Component::Receiver(Box::new(new_receiver(config.protocols.grpc.get(), http, context)?)))
    }

    fn check_files(&self, config: &OtlpReceiverConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        let ProtocolsConfig { grpc, http, .. } = &config.protocols;
        grpc.get().map_or(Ok(()), |grpc| grpc.check_files(read))?;
        http.get().map_or(Ok(()), |http| http.server.check_files(read))
    }

    fn listen_addresses(&self, config: &OtlpReceiverConfig) -> Vec<ListenAddress> {
        let ProtocolsConfig { grpc, http, .. } = &config.protocols;
        let grpc = grpc.get().map(|s| (s.listen.address(), "protocols::grpc::endpoint", ServedProtocol::Grpc));
        let http = http.get().map(|h| (h.server.listen.address(), "protocols::http::endpoint", ServedProtocol::Http));
        let address = |(endpoint, config_key, protocol): (Result<Endpoint, StartError>, _, _)| {
            Some(ListenAddress { endpoint: endpoint.ok()?, config_key, protocol, path: String::new() })
        };
        [grpc, http].into_iter().flatten().filter_map(address).collect()
    }
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
    use otelcore_config::declare::Config;

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
        let _ = OtlpReceiverConfig::read_section(section, &OtlpReceiverConfig::default());
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
