//! The `jaeger` section of receivers.

use otelcore_config::declare::Optional;
use otelcore_config::{Section, config_struct};
use otelcore_net::config::{GrpcServerConfig, HttpServerConfig, ListenConfig};
use otelcore_pipeline::{Endpoint, StartError};

config_struct! {
    /// Receives spans as Jaeger's collector does, over gRPC and HTTP, and as its agent does, over UDP.
    #[config(check = Self::check)]
    #[config(unsupported("remote_sampling", "the Go collector refuses it too; remote sampling is served by the extension `jaegerremotesampling`, which is not supported yet"))]
    pub struct JaegerReceiverConfig {
        /// The protocols that are served; at least one.
        pub protocols: JaegerProtocolsConfig,
    }
}

config_struct! {
    /// `protocols`.
    #[config(check = Self::check)]
    pub struct JaegerProtocolsConfig {
        /// Protobuf over gRPC: `jaeger.api_v2.CollectorService/PostSpans`.
        pub grpc: Optional<GrpcServerConfig> =
            Optional::on_null(GrpcServerConfig { listen: ListenConfig::at("localhost:14250"), ..GrpcServerConfig::default() }),
        /// Thrift's binary protocol over HTTP, at `/api/traces`.
        pub thrift_http: Optional<HttpServerConfig> =
            Optional::on_null(HttpServerConfig { listen: ListenConfig::at("localhost:14268"), ..HttpServerConfig::default() }),
        /// Thrift's binary protocol over UDP.
        pub thrift_binary: Optional<ThriftUdpConfig> = Optional::on_null(ThriftUdpConfig::at("localhost:6832")),
        /// Thrift's compact protocol over UDP.
        pub thrift_compact: Optional<ThriftUdpConfig> = Optional::on_null(ThriftUdpConfig::at("localhost:6831")),
        /// A key that is not a protocol is written.
        #[config(skip)]
        pub has_unknown: bool,
    }
}

config_struct! {
    /// `protocols::thrift_binary` and `protocols::thrift_compact`.
    #[config(check = Self::check)]
    pub struct ThriftUdpConfig {
        /// Address to listen at: `host:port`; `0.0.0.0:port` or `:port` for every interface.
        pub endpoint: String,
        /// Together with `workers`, the most datagrams that are in the pipelines without an outcome. Others are dropped and
        /// counted.
        pub queue_size: i64 = 1000,
        /// The longest datagram that is accepted, in bytes. Longer ones are dropped and counted.
        pub max_packet_size: i64 = 65_000,
        /// Added to `queue_size`. There are no threads that work on datagrams.
        pub workers: i64 = 10,
        /// The receive buffer of the socket, in bytes; zero for the system's default.
        pub socket_buffer_size: i64,
    }
}

impl ThriftUdpConfig {
    fn at(endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), ..Self::default() }
    }

    fn check(&mut self, s: &mut Section<'_>) {
        if self.queue_size < 0 {
            s.start_error("queue_size", "'queue_size' must be non-negative").help("write `queue_size: 1000`");
        }
        if self.max_packet_size <= 0 {
            s.start_error("max_packet_size", "'max_packet_size' must be positive")
                .help("write `max_packet_size: 65000`");
        }
        if self.workers <= 0 {
            let message = format!("number of processors must be greater than 0, called with {}", self.workers);
            s.start_error("workers", message).help("write `workers: 10`");
        }
    }

    /// The address.
    ///
    /// # Errors
    /// It is not an address. A configuration that was read without errors has one.
    pub fn address(&self) -> Result<Endpoint, StartError> {
        ListenConfig::at(&self.endpoint).address()
    }
}

impl JaegerReceiverConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let JaegerProtocolsConfig { grpc, thrift_http, thrift_binary, thrift_compact, has_unknown } = &self.protocols;
        let is_on = grpc.is_on() || thrift_http.is_on() || thrift_binary.is_on() || thrift_compact.is_on();
        if !is_on && !has_unknown {
            s.error("protocols", "must specify at least one protocol when using the Jaeger receiver")
                .help("write `protocols:` with `grpc:`, `thrift_http:`, `thrift_compact:` or `thrift_binary:` in it");
        }
    }
}

impl JaegerProtocolsConfig {
    /// Each protocol that is on: its key, its name in messages, and its address.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&'static str, &'static str, Result<Endpoint, StartError>)> {
        let grpc = self.grpc.get().map(|config| config.listen.address());
        let http = self.thrift_http.get().map(|config| config.listen.address());
        let udp = |config: &Optional<ThriftUdpConfig>| config.get().map(ThriftUdpConfig::address);
        let all = [
            ("grpc", "gRPC", grpc),
            ("thrift_http", "Thrift HTTP", http),
            ("thrift_binary", "Thrift UDP Binary", udp(&self.thrift_binary)),
            ("thrift_compact", "Thrift UDP Compact", udp(&self.thrift_compact)),
        ];
        all.into_iter().filter_map(|(key, name, address)| Some((key, name, address?)))
    }

    fn check(&mut self, s: &mut Section<'_>) {
        let known = ["grpc", "thrift_http", "thrift_binary", "thrift_compact"];
        self.has_unknown = s.child_keys().iter().any(|key| !known.contains(&key.value.as_str()));
        for (key, name, address) in self.addresses() {
            let why = match address {
                Ok(Endpoint::Tcp { port: 0, .. }) => "port number must be between 1 and 65535".to_owned(),
                // The section of a TCP server reports its address itself.
                Err(e) if key != "grpc" && key != "thrift_http" => e.to_string(),
                _ => continue,
            };
            s.start_error(key, format!("invalid port number for the {name} endpoint: {why}"))
                .help("write `endpoint: \"host:port\"`");
        }
    }
}

#[cfg(test)]
mod tests {
    use otelcore_config::declare::Config;

    use super::*;

    fn parse(yaml: &str) -> Vec<String> {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "receivers::jaeger", &d);
        let _ = JaegerReceiverConfig::read_section(section, &JaegerReceiverConfig::default());
        d.items().into_iter().map(|item| item.message).collect()
    }

    #[test]
    fn null_protocols_are_on_with_their_defaults() {
        let none = ["must specify at least one protocol when using the Jaeger receiver"];
        assert_eq!(
            parse("protocols: {grpc: , thrift_http: , thrift_binary: , thrift_compact: }"),
            Vec::<String>::new()
        );
        assert_eq!(parse("protocols:\n"), none);
        assert_eq!(parse("protocols: {thrift_compact: {enabled: false}}"), none);
        assert_eq!(parse("protocols: {grpc: , thrift_htttp: }"), ["'protocols' has invalid keys: thrift_htttp"]);
    }

    #[test]
    fn remote_sampling_is_refused_by_name() {
        let found = parse("protocols: {grpc: }\nremote_sampling: {strategy_file: x}");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found.iter().all(|message| message.contains("'remote_sampling' is not supported")), "{found:?}");
    }

    #[test]
    fn addresses_without_a_port_and_numbers_that_mean_nothing_are_refused() {
        for (yaml, message) in [
            ("grpc: {endpoint: 'localhost:0'}", "invalid port number for the gRPC endpoint: port number must be"),
            ("thrift_http: {endpoint: ':0'}", "invalid port number for the Thrift HTTP endpoint: port number must be"),
            ("thrift_binary: {endpoint: '9876'}", "invalid port number for the Thrift UDP Binary endpoint: "),
            ("thrift_compact: {endpoint: ''}", "invalid port number for the Thrift UDP Compact endpoint: "),
            ("thrift_compact: {workers: 0}", "number of processors must be greater than 0, called with 0"),
            ("thrift_compact: {queue_size: -1}", "'queue_size' must be non-negative"),
            ("thrift_compact: {max_packet_size: 0}", "'max_packet_size' must be positive"),
        ] {
            let found = parse(&format!("protocols: {{{yaml}}}"));
            assert_eq!(found.len(), 1, "{yaml}: {found:?}");
            assert!(found.iter().all(|found| found.starts_with(message)), "{yaml}: {found:?}");
        }
        let sizes = "{queue_size: 100_000, max_packet_size: 131_072, workers: 100, socket_buffer_size: 65_536}";
        assert_eq!(parse(&format!("protocols: {{thrift_compact: {sizes}}}")), Vec::<String>::new());
    }
}
