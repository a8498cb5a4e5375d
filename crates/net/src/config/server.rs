//! Settings of gRPC and HTTP servers: `configgrpc.ServerConfig` and `confighttp.ServerConfig`.

use std::rc::Rc;
use std::time::Duration;

use http::HeaderValue;
use otelcore_config::declare::Optional;
use otelcore_config::{ComponentId, GoDuration, Section, config_struct};
use otelcore_http::grpc::KeepaliveServerConfig;
use otelcore_http::grpc::server::GrpcServerConnConfig;
use otelcore_http::h1::HttpServerConnConfig;
use otelcore_pipeline::{Capabilities, Endpoint, ReadFile, ServerAuth, StartError};

use super::{AuthConfig, HttpAuthConfig, MIDDLEWARES, ResponseHeaders, buffer};
use crate::endpoint::parse_listen_endpoint;
use crate::tls::TlsServerConfig;

/// The transports of `confignet`. Transports that are not streams are left out: a server needs a stream.
const TRANSPORTS: [&str; 5] = ["tcp", "tcp4", "tcp6", "unix", "npipe"];

config_struct! {
    /// `dialer`, which the Go collector has for servers too.
    pub struct DialerConfig {
        /// Time limit of a connection attempt.
        #[config(ignored = "a server makes no connections")]
        pub timeout: GoDuration,
    }
}

config_struct! {
    /// The address of a server.
    #[config(check = Self::check)]
    pub struct ListenConfig {
        /// Address to listen at: `host:port`; `0.0.0.0:port` or `:port` for every interface; a path for `unix`.
        pub endpoint: String,
        /// `tcp`, `tcp4`, `tcp6` or `unix`.
        pub transport: String = "tcp".to_owned(),
        /// For clients.
        pub dialer: DialerConfig,
        /// The error for a blank `endpoint` and its hint; `None` where a blank endpoint is as any other.
        #[config(skip)]
        pub blank_endpoint: Option<(&'static str, &'static str)>,
    }
}

impl ListenConfig {
    /// A server that listens at `endpoint` by default.
    #[must_use]
    pub fn at(endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), ..Self::default() }
    }

    fn check(&mut self, s: &mut Section<'_>) {
        if let Some((message, hint)) = self.blank_endpoint.filter(|_| self.endpoint.trim().is_empty()) {
            s.start_error("endpoint", message).help(hint);
            return;
        }
        match self.transport.as_str() {
            "tcp" | "tcp4" | "tcp6" | "unix" => {
                if let Err(e) = parse_listen_endpoint(&self.endpoint, &self.transport) {
                    s.start_error("endpoint", e.to_string()).help("write `endpoint: \"host:port\"`");
                }
            }
            "" => drop(s.error("transport", "invalid transport type \"\"").help("write tcp or unix")),
            other => {
                let known = otelcore_config::nearest_name(other, TRANSPORTS).unwrap_or("tcp or unix");
                s.error("transport", format!("'transport' unsupported transport type \"{other}\""))
                    .help(format!("write {known}"));
            }
        }
    }

    /// The address.
    ///
    /// # Errors
    /// It is not an address. A configuration that was read without errors has one.
    pub fn address(&self) -> Result<Endpoint, StartError> {
        parse_listen_endpoint(&self.endpoint, &self.transport).map_err(|e| StartError::Config(e.to_string()))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn positive(time: Duration) -> Option<u64> {
    Some(nanos(time)).filter(|nanos| *nanos > 0)
}

config_struct! {
    /// `keepalive::server_parameters`.
    pub struct ServerParametersConfig {
        /// A connection without a call for this long is closed; zero for never.
        pub max_connection_idle: Duration,
        /// A connection is closed at this age; zero for never.
        pub max_connection_age: Duration,
        /// Calls may go on for this long after `max_connection_age`; zero for no limit.
        pub max_connection_age_grace: Duration,
        /// A ping is sent on a connection that has been idle for this long; zero for two hours.
        pub time: Duration,
        /// The connection is closed if no response to the ping comes within this time; zero for 20 seconds.
        pub timeout: Duration,
    }
}

config_struct! {
    /// `keepalive::enforcement_policy`.
    pub struct EnforcementPolicyConfig {
        /// A client that sends pings more often is disconnected; zero for five minutes.
        pub min_time: Duration,
        /// Whether clients may send pings while there is no call.
        pub permit_without_stream: bool,
    }
}

config_struct! {
    /// `keepalive` of a gRPC server.
    pub struct ServerKeepaliveConfig {
        /// Pings and the age of connections.
        pub server_parameters: Optional<ServerParametersConfig> = Optional::on(ServerParametersConfig::default()),
        /// Pings of clients.
        pub enforcement_policy: Optional<EnforcementPolicyConfig> = Optional::on(EnforcementPolicyConfig::default()),
    }
}

impl ServerKeepaliveConfig {
    /// The settings of the protocol machine. Zero is grpc-go's own default.
    fn connection_config(&self) -> KeepaliveServerConfig {
        let mut machine = KeepaliveServerConfig::default();
        if let Some(p) = self.server_parameters.get() {
            machine.max_idle = positive(p.max_connection_idle);
            machine.max_age = positive(p.max_connection_age);
            machine.max_age_grace = positive(p.max_connection_age_grace);
            machine.time = positive(p.time).or(machine.time);
            machine.timeout = positive(p.timeout).unwrap_or(machine.timeout);
        }
        if let Some(p) = self.enforcement_policy.get() {
            machine.min_time = positive(p.min_time).unwrap_or(machine.min_time);
            machine.permit_without_stream = p.permit_without_stream;
        }
        machine
    }
}

config_struct! {
    /// `load_skew` of a server: a connection that carries much more than the others is told to end, so that its client
    /// connects again, to another server behind the same name or address.
    #[derive(PartialEq)]
    pub struct LoadSkewConfig {
        /// A connection ends if it carried more than this many times the mean of the connections that had requests, and not
        /// more than all the others together. A request is as much load as its bytes and 8 KiB.
        #[config(above(1.0, "'max_ratio' must be greater than 1", "write 2 for twice the mean"))]
        pub max_ratio: f64 = 2.0,
        /// How long loads are added up before they are compared; at most one connection ends in this time.
        #[config(at_least(GoDuration::from_secs(1), "'interval' must be at least 1s"))]
        pub interval: Duration = Duration::from_mins(1),
    }
}

config_struct! {
    /// A gRPC server.
    #[config(check = Self::check)]
    #[config(unsupported("middlewares", MIDDLEWARES))]
    pub struct GrpcServerConfig {
        /// The address.
        #[config(flatten)]
        pub listen: ListenConfig,
        /// The largest message; zero for 4 MiB.
        #[config(unit = "MiB")]
        pub max_recv_msg_size_mib: isize = 0,
        /// Calls at the same time on one connection; zero for no limit.
        pub max_concurrent_streams: u32 = 0,
        /// Bytes that a connection reads before other connections are run.
        #[config(unit = "bytes")]
        pub read_buffer_size: isize = 512 * 1024,
        /// Bytes that are gathered before they are written.
        #[config(unit = "bytes")]
        pub write_buffer_size: isize = 0,
        /// Pings, and the age of connections.
        pub keepalive: Optional<ServerKeepaliveConfig> = Optional::on(ServerKeepaliveConfig::default()),
        /// Connections that carry much more than the others end, by GOAWAY after their calls. Off unless it is written.
        #[config(only_if_written = true)]
        pub load_skew: Optional<LoadSkewConfig> = Optional::on_null(LoadSkewConfig::default()),
        /// Whether the metadata of requests is kept for processors.
        pub include_metadata: bool,
        /// TLS. Without it the server is plaintext.
        #[config(was("tls_settings", "`tls:`"))]
        pub tls: Optional<TlsServerConfig>,
        /// How clients are authenticated.
        pub auth: Optional<AuthConfig>,
    }
}

/// The largest message, in bytes, where `max_recv_msg_size_mib` is zero.
const MAX_RECV_MESSAGE: u32 = 4 << 20;

impl GrpcServerConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let mib = self.max_recv_msg_size_mib;
        if !(0..4096).contains(&mib) {
            s.error(
                "max_recv_msg_size_mib",
                format!("invalid max_recv_msg_size_mib value, must be between 1 and 4095: {mib}"),
            );
        }
        let buffers = [("read_buffer_size", self.read_buffer_size), ("write_buffer_size", self.write_buffer_size)];
        for (key, value) in buffers {
            if value < 0 {
                s.error(key, format!("invalid {key} value: {value}"));
            }
        }
    }

    /// The extension that authenticates the clients.
    #[must_use]
    pub fn authenticator(&self) -> Option<ComponentId> {
        self.auth.get().and_then(AuthConfig::id)
    }

    /// Checks the files that it names, as far as they are available.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_files(&self, read: ReadFile<'_>) -> Result<(), StartError> {
        self.tls.get().map_or(Ok(()), |tls| tls.check_files(read))
    }

    /// The settings of the protocol machine.
    #[must_use]
    pub fn connection_config(&self) -> GrpcServerConnConfig {
        let mib = u32::try_from(self.max_recv_msg_size_mib).unwrap_or(0);
        GrpcServerConnConfig {
            max_concurrent_streams: (self.max_concurrent_streams > 0).then_some(self.max_concurrent_streams),
            max_recv_message: if mib == 0 { MAX_RECV_MESSAGE } else { mib.saturating_mul(1 << 20) },
            read_budget: buffer(self.read_buffer_size, 16 << 10, 512 << 10),
            // Larger buffers are not faster, and every connection would have one.
            write_buffer: buffer(self.write_buffer_size, 8 << 10, 64 << 10),
            // `keepalive: {enabled: false}`: grpc-go's own defaults, which are the same.
            keepalive: self
                .keepalive
                .get()
                .map_or_else(KeepaliveServerConfig::default, ServerKeepaliveConfig::connection_config),
            keep_metadata: self.include_metadata,
            ..GrpcServerConnConfig::default()
        }
    }
}

config_struct! {
    /// `cors` of an HTTP server: which pages of other origins may send.
    #[config(check = Self::check)]
    #[derive(PartialEq, Eq)]
    pub struct CorsConfig {
        /// Origins, each with at most one `*`. Without any there is no access.
        pub allowed_origins: Vec<String>,
        /// Header fields that a page may send in addition to the simple ones; `*` for any.
        pub allowed_headers: Vec<String>,
        /// Header fields of responses that a page may read.
        pub exposed_headers: Vec<String>,
        /// How long the response to a preflight may be cached; if it is not above zero, the response does not say.
        #[config(unit = "seconds")]
        pub max_age: i64 = 0,
    }
}

impl CorsConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.allowed_origins.is_empty() && !self.allowed_headers.is_empty() {
            s.warn(
                "allowed_headers",
                "The CORS configuration specifies allowed headers but no allowed origins, and is therefore ignored.",
            )
            .help("write `allowed_origins:` too");
        }
        if HeaderValue::from_str(&self.exposed_headers.join(", ")).is_err() {
            s.start_error("exposed_headers", "'exposed_headers' has characters that a header can't have");
        }
    }
}

config_struct! {
    /// `keepalive` of an HTTP server, which replaces two keys from collector 0.160 on.
    pub struct HttpServerKeepaliveConfig {
        /// How long a connection may be idle between two requests; zero for no limit.
        pub idle_timeout: Duration = Duration::from_mins(1),
    }
}

config_struct! {
    /// An HTTP server.
    #[config(check = Self::check)]
    #[config(unsupported("middlewares", MIDDLEWARES))]
    pub struct HttpServerConfig {
        /// The address.
        #[config(flatten)]
        pub listen: ListenConfig,
        /// The largest body, before and after decompression; zero for 20 MiB.
        #[config(unit = "bytes")]
        pub max_request_body_size: i64 = 0,
        /// Time limit for reading a request; zero for no limit.
        pub read_timeout: Duration,
        /// Time limit from the start of the connection, or the last response, to the end of the head; zero for no limit.
        pub read_header_timeout: Duration,
        /// Time limit for writing a response; zero for no limit.
        pub write_timeout: Duration,
        /// How long a connection may be idle between two requests; zero for no limit.
        pub idle_timeout: Duration,
        /// Whether connections are kept after a response.
        pub keep_alives_enabled: bool = true,
        /// The age from which on a connection carries one more request, so that clients connect again, to another server
        /// behind the same name or address too; up to a tenth more or less. Zero for no limit.
        #[config(at_least(GoDuration::ZERO, "'max_connection_age' must be non-negative"))]
        pub max_connection_age: Duration = Duration::ZERO,
        /// Connections that carry much more than the others end, with `Connection: close` or GOAWAY in the response to their
        /// next request. Off unless it is written.
        #[config(only_if_written = true)]
        pub load_skew: Optional<LoadSkewConfig> = Optional::on_null(LoadSkewConfig::default()),
        /// From collector 0.160 on: idle connections.
        #[config(only_if_written = true)]
        pub keepalive: Optional<HttpServerKeepaliveConfig> = Optional::on(HttpServerKeepaliveConfig::default()),
        /// Whether the header fields of requests are kept for processors.
        pub include_metadata: bool,
        /// Header fields that are set on every response.
        pub response_headers: ResponseHeaders,
        /// Accepted codings; the empty name is a body without a coding. By default all are accepted.
        #[config(only_if_written = true)]
        pub compression_algorithms: Option<Vec<String>>,
        /// Which pages of other origins may send.
        pub cors: Optional<CorsConfig>,
        /// Before collector 0.43: origins.
        #[config(deprecated = "`cors:` with `allowed_origins:` in it")]
        pub cors_allowed_origins: Vec<String>,
        /// Before collector 0.43: header fields.
        #[config(deprecated = "`cors:` with `allowed_headers:` in it")]
        pub cors_allowed_headers: Vec<String>,
        /// TLS. Without it the server is plaintext.
        #[config(was("tls_settings", "`tls:`"))]
        pub tls: Optional<TlsServerConfig>,
        /// How clients are authenticated.
        pub auth: Optional<HttpAuthConfig>,
    }
}

/// The names that `compression_algorithms` accepts; the empty one means a body without a coding.
const ALGORITHMS: [&str; 8] = ["", "gzip", "zstd", "zlib", "snappy", "deflate", "lz4", "x-snappy-framed"];

/// The default limit of a body: 20 MiB.
const MAX_BODY: u64 = 20 << 20;

impl HttpServerConfig {
    /// The defaults of `confighttp` for servers of pages, in exporters and extensions.
    #[must_use]
    pub fn for_page_server(endpoint: &str) -> Self {
        Self {
            listen: ListenConfig::at(endpoint),
            read_header_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            ..Self::default()
        }
    }

    fn check(&mut self, s: &mut Section<'_>) {
        if s.contains_key("keepalive") {
            match self.keepalive.get() {
                Some(keepalive) => self.idle_timeout = keepalive.idle_timeout,
                None => self.keep_alives_enabled = false,
            }
        }
        for name in self.compression_algorithms.iter().flatten() {
            if !ALGORITHMS.contains(&name.as_str()) {
                s.error("compression_algorithms", format!("unsupported compression type {name:?}"))
                    .help(format!("what works is {:?}", ALGORITHMS));
            }
        }
        let origins = std::mem::take(&mut self.cors_allowed_origins);
        let headers = std::mem::take(&mut self.cors_allowed_headers);
        match self.cors.get_mut().filter(|cors| !cors.allowed_origins.is_empty()) {
            Some(cors) => {
                cors.allowed_origins.extend(origins);
                cors.allowed_headers.extend(headers);
            }
            None if origins.is_empty() => {}
            None => {
                let cors = CorsConfig { allowed_origins: origins, allowed_headers: headers, ..CorsConfig::default() };
                self.cors = Optional::on(cors);
            }
        }
    }

    /// The authenticator that `auth` names, if there is an `auth`.
    ///
    /// # Errors
    /// There is no authenticator of that name.
    pub fn authenticator(&self, capabilities: &Capabilities) -> Result<Option<Rc<dyn ServerAuth>>, StartError> {
        self.auth.get().and_then(|auth| auth.auth.id()).map(|id| capabilities.get(&id)).transpose()
    }

    /// Query parameters that stand for header fields in `auth`.
    #[must_use]
    pub fn auth_params(&self) -> Vec<String> {
        self.auth.get().map(|auth| auth.request_params.clone()).unwrap_or_default()
    }

    /// `cors`, if it lets any origin in.
    #[must_use]
    pub fn cors(&self) -> Option<CorsConfig> {
        self.cors.get().filter(|cors| !cors.allowed_origins.is_empty()).cloned()
    }

    /// Checks the files that it names, as far as they are available.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_files(&self, read: ReadFile<'_>) -> Result<(), StartError> {
        self.tls.get().map_or(Ok(()), |tls| tls.check_files(read))
    }

    /// The largest body, in bytes.
    #[must_use]
    pub fn max_body(&self) -> u64 {
        u64::try_from(self.max_request_body_size).ok().filter(|bytes| *bytes > 0).unwrap_or(MAX_BODY)
    }

    /// The settings of the protocol machine.
    #[must_use]
    pub fn connection_config(&self) -> HttpServerConnConfig {
        HttpServerConnConfig {
            max_body: self.max_body(),
            read_header_timeout: positive(self.read_header_timeout),
            read_timeout: positive(self.read_timeout),
            write_timeout: positive(self.write_timeout),
            idle_timeout: positive(self.idle_timeout),
            keep_alive: self.keep_alives_enabled,
            max_age: positive(self.max_connection_age),
            ..HttpServerConnConfig::default()
        }
    }
}
