//! Configuration of gRPC and HTTP servers.

use std::rc::Rc;

use http::HeaderValue;
use otelcore_config::{ComponentId, GoDuration, OptionalFlavor, Section};
use otelcore_http::grpc::KeepaliveServerConfig;
use otelcore_http::grpc::server::GrpcServerConnConfig;
use otelcore_http::h1::HttpServerConnConfig;
use otelcore_pipeline::{Capabilities, Endpoint, ServerAuth, StartError};

use crate::endpoint::parse_listen_endpoint;
use crate::tls::TlsServerConfig;

/// A gRPC server, its section read and checked.
#[derive(Clone, Debug)]
pub struct GrpcServerConfig {
    /// As the user wrote it, for logs.
    pub endpoint: String,
    /// Where to listen.
    pub listen: Endpoint,
    /// Whether request metadata is kept for processors.
    pub include_metadata: bool,
    /// TLS, if it is configured.
    pub tls: Option<TlsServerConfig>,
    /// The extension that authenticates the clients.
    pub auth: Option<ComponentId>,
    max_recv_message: u32,
    max_concurrent_streams: Option<u32>,
    read_budget: usize,
    write_buffer: usize,
    keepalive: KeepaliveServerConfig,
}

/// The transports of `confignet`. Transports that are not streams are left out: a server needs a stream.
const TRANSPORTS: [&str; 5] = ["tcp", "tcp4", "tcp6", "unix", "npipe"];

/// Reads `endpoint` and `transport`.
fn read_listen_endpoint(s: &mut Section<'_>, endpoint: &str) -> Option<(String, Endpoint)> {
    let endpoint = s.str("endpoint", endpoint);
    let transport = s.str("transport", "tcp");
    let mut dialer = s.section("dialer");
    // Accepted, but without effect for servers, as in the Go collector.
    let _ = dialer.duration("timeout", GoDuration::ZERO);
    dialer.finish();
    match transport.as_str() {
        "tcp" | "tcp4" | "tcp6" | "unix" => {}
        "" => {
            s.error("transport", "invalid transport type \"\"").help("write tcp or unix");
            return None;
        }
        other => {
            let nearest = otelcore_config::nearest_name(other, TRANSPORTS).unwrap_or("tcp or unix");
            s.error("transport", format!("'transport' unsupported transport type \"{other}\""))
                .help(format!("write {nearest}"));
            return None;
        }
    }
    match parse_listen_endpoint(&endpoint, &transport) {
        Ok(listen) => Some((endpoint, listen)),
        Err(e) => {
            s.start_error("endpoint", e.to_string()).help("write `endpoint: \"host:port\"`");
            None
        }
    }
}

fn positive_nanos(d: GoDuration) -> Option<u64> {
    (!d.is_zero() && !d.is_negative()).then(|| d.nanos_or_zero())
}

impl GrpcServerConfig {
    /// Reads a whole `grpc` section. `None` if it can't be used; the errors are in the section's diagnostics.
    #[must_use]
    pub fn parse(mut s: Section<'_>, endpoint: &str) -> Option<Self> {
        let listen = read_listen_endpoint(&mut s, endpoint);
        let mib = s.int::<isize>("max_recv_msg_size_mib", 0);
        let max_recv_message = match u32::try_from(mib) {
            Ok(0) => Some(4 << 20),
            Ok(mib) if mib < 4096 => Some(mib.saturating_mul(1 << 20)),
            _ => None,
        };
        if max_recv_message.is_none() {
            s.error(
                "max_recv_msg_size_mib",
                format!("invalid max_recv_msg_size_mib value, must be between 1 and 4095: {mib}"),
            );
        }
        let max_concurrent_streams = s.int::<u32>("max_concurrent_streams", 0);
        let read_buffer = s.int::<isize>("read_buffer_size", 512 * 1024);
        let write_buffer = s.int::<isize>("write_buffer_size", 0);
        for (key, value) in [("read_buffer_size", read_buffer), ("write_buffer_size", write_buffer)] {
            if value < 0 {
                s.error(key, format!("invalid {key} value: {value}"));
            }
        }
        let keepalive =
            s.optional_section("keepalive", OptionalFlavor::Some).map_or_else(default_keepalive, parse_keepalive);
        let include_metadata = s.bool("include_metadata", false);
        let tls = TlsServerConfig::parse(&mut s);
        let auth = super::parse_auth(&mut s).and_then(|(id, auth)| {
            auth.finish();
            id
        });
        super::refuse_middlewares(&mut s);
        s.finish();
        let (endpoint, listen) = listen?;
        Some(Self {
            endpoint,
            listen,
            include_metadata,
            tls,
            auth,
            max_recv_message: max_recv_message?,
            max_concurrent_streams: (max_concurrent_streams > 0).then_some(max_concurrent_streams),
            // Bytes that a connection reads before other connections are run.
            read_budget: usize::try_from(read_buffer).unwrap_or(0).clamp(16 << 10, 512 << 10),
            // Larger buffers are not faster, and every connection would have one.
            write_buffer: usize::try_from(write_buffer).unwrap_or(0).clamp(8 << 10, 64 << 10),
            keepalive,
        })
    }

    /// The configuration of the protocol machine.
    #[must_use]
    pub fn connection_config(&self) -> GrpcServerConnConfig {
        GrpcServerConnConfig {
            max_concurrent_streams: self.max_concurrent_streams,
            max_recv_message: self.max_recv_message,
            read_budget: self.read_budget,
            write_buffer: self.write_buffer,
            keepalive: self.keepalive.clone(),
            keep_metadata: self.include_metadata,
            ..GrpcServerConnConfig::default()
        }
    }
}

/// `keepalive: {enabled: false}`: grpc-go's own defaults, which are the same.
fn default_keepalive() -> KeepaliveServerConfig {
    KeepaliveServerConfig::default()
}

fn parse_keepalive(mut s: Section<'_>) -> KeepaliveServerConfig {
    let mut keepalive = KeepaliveServerConfig::default();
    if let Some(mut p) = s.optional_section("server_parameters", OptionalFlavor::Some) {
        keepalive.max_idle = positive_nanos(p.duration("max_connection_idle", GoDuration::ZERO));
        keepalive.max_age = positive_nanos(p.duration("max_connection_age", GoDuration::ZERO));
        keepalive.max_age_grace = positive_nanos(p.duration("max_connection_age_grace", GoDuration::ZERO));
        keepalive.time = positive_nanos(p.duration("time", GoDuration::ZERO)).or(keepalive.time);
        keepalive.timeout = positive_nanos(p.duration("timeout", GoDuration::ZERO)).unwrap_or(keepalive.timeout);
        p.finish();
    }
    if let Some(mut p) = s.optional_section("enforcement_policy", OptionalFlavor::Some) {
        keepalive.min_time = positive_nanos(p.duration("min_time", GoDuration::ZERO)).unwrap_or(keepalive.min_time);
        keepalive.permit_without_stream = p.bool("permit_without_stream", false);
        p.finish();
    }
    s.finish();
    keepalive
}

/// What differs between the HTTP servers.
#[derive(Clone, Copy, Debug)]
pub struct HttpServerDefaults {
    /// `endpoint` if the key is absent.
    pub endpoint: &'static str,
    /// `read_header_timeout`; zero for no limit.
    pub read_header_timeout: GoDuration,
    /// `write_timeout`; zero for no limit.
    pub write_timeout: GoDuration,
    /// `idle_timeout`; zero for no limit.
    pub idle_timeout: GoDuration,
}

impl HttpServerDefaults {
    /// The defaults of `confighttp` for servers of pages, in exporters and extensions.
    #[must_use]
    pub const fn for_page_server(endpoint: &'static str) -> Self {
        Self {
            endpoint,
            read_header_timeout: GoDuration::from_secs(60),
            write_timeout: GoDuration::from_secs(30),
            idle_timeout: GoDuration::from_secs(60),
        }
    }
}

/// An HTTP server, its keys read and checked.
#[derive(Clone, Debug)]
pub struct HttpServerConfig {
    /// As the user wrote it, for logs.
    pub endpoint: String,
    /// Where to listen.
    pub listen: Endpoint,
    /// Bytes of a body, before and after decompression.
    pub max_request_body_size: u64,
    /// Whether request headers are kept for processors.
    pub include_metadata: bool,
    /// Set on every response.
    pub response_headers: Vec<(String, String)>,
    /// TLS, if it is configured.
    pub tls: Option<TlsServerConfig>,
    /// How clients are authenticated.
    pub auth: Option<HttpAuthConfig>,
    /// Which pages of other origins may send.
    pub cors: Option<CorsConfig>,
    /// Accepted codings; the empty name is identity. `None` for the default set.
    pub compression_algorithms: Option<Vec<String>>,
    /// Time limits, here and below, are in nanoseconds; zero for no limit. This one is for reading a request.
    pub read_timeout: u64,
    /// From the start of the connection, or the last response, to the end of the head.
    pub read_header_timeout: u64,
    /// For a response.
    pub write_timeout: u64,
    /// Between requests.
    pub idle_timeout: u64,
    /// Whether connections are kept after a response.
    pub keep_alives_enabled: bool,
}

/// `auth` of an HTTP server.
#[derive(Clone, Debug)]
pub struct HttpAuthConfig {
    /// The extension that authenticates.
    pub authenticator: ComponentId,
    /// Query parameters that are used in place of header fields of the same name, and take precedence over them.
    pub request_params: Vec<String>,
}

/// `cors` of an HTTP server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorsConfig {
    /// Origins, each with at most one `*`; never empty.
    pub allowed_origins: Vec<String>,
    /// Header fields that a page may send in addition to the simple ones; `*` for any.
    pub allowed_headers: Vec<String>,
    /// Header fields of responses that a page may read.
    pub exposed_headers: Vec<String>,
    /// How many seconds the response to a preflight may be cached; if zero, the response does not say.
    pub max_age: u64,
}

impl CorsConfig {
    fn parse(mut s: Section<'_>) -> Option<Self> {
        let allowed_origins = s.str_list("allowed_origins", &[]);
        let allowed_headers = s.str_list("allowed_headers", &[]);
        let exposed_headers = s.str_list("exposed_headers", &[]);
        let max_age = s.int::<i64>("max_age", 0);
        if allowed_origins.is_empty() && !allowed_headers.is_empty() {
            s.warn(
                "allowed_headers",
                "The CORS configuration specifies allowed headers but no allowed origins, and is therefore ignored.",
            )
            .help("write `allowed_origins:` too");
        }
        if HeaderValue::from_str(&exposed_headers.join(", ")).is_err() {
            s.start_error("exposed_headers", "'exposed_headers' has characters that a header can't have");
        }
        s.finish();
        // In Go a negative age means that nothing may be cached.
        let max_age = u64::try_from(max_age).unwrap_or(0);
        (!allowed_origins.is_empty()).then_some(Self { allowed_origins, allowed_headers, exposed_headers, max_age })
    }
}

/// The keys that were beside `endpoint` before collector 0.43.
fn parse_top_level_cors(s: &mut Section<'_>, cors: Option<CorsConfig>) -> Option<CorsConfig> {
    let mut parse_list = |old: &str, new: &str| {
        let is_set = s.warn_deprecated(old, &format!("`cors:` with `{new}:` in it"));
        if is_set { s.str_list(old, &[]) } else { Vec::new() }
    };
    let origins = parse_list("cors_allowed_origins", "allowed_origins");
    let headers = parse_list("cors_allowed_headers", "allowed_headers");
    match cors {
        Some(mut cors) => {
            cors.allowed_origins.extend(origins);
            cors.allowed_headers.extend(headers);
            Some(cors)
        }
        None if origins.is_empty() => None,
        None => Some(CorsConfig {
            allowed_origins: origins,
            allowed_headers: headers,
            exposed_headers: Vec::new(),
            max_age: 0,
        }),
    }
}

/// The names that `compression_algorithms` accepts; the empty one means a body without a coding.
const COMPRESSION_ALGORITHMS: [&str; 8] = ["", "gzip", "zstd", "zlib", "snappy", "deflate", "lz4", "x-snappy-framed"];

/// The default limit of a body: 20 MiB.
const DEFAULT_MAX_BODY: u64 = 20 << 20;

impl HttpServerConfig {
    /// Reads the server's keys from a section. `None` if it can't be used; the errors are in the section's diagnostics.
    #[must_use]
    pub fn parse(s: &mut Section<'_>, defaults: &HttpServerDefaults) -> Option<Self> {
        let listen = read_listen_endpoint(s, defaults.endpoint);
        let max_request_body_size = s.int::<i64>("max_request_body_size", 0);
        let mut timeout = |key: &str, default: GoDuration| s.duration(key, default).nanos_or_zero();
        let read_timeout = timeout("read_timeout", GoDuration::ZERO);
        let read_header_timeout = timeout("read_header_timeout", defaults.read_header_timeout);
        let write_timeout = timeout("write_timeout", defaults.write_timeout);
        let mut idle_timeout = timeout("idle_timeout", defaults.idle_timeout);
        let mut keep_alives_enabled = s.bool("keep_alives_enabled", true);
        if s.contains_key("keepalive") {
            // The section that replaces the two keys from collector 0.160 on.
            match s.optional_section("keepalive", OptionalFlavor::Some) {
                Some(mut keepalive) => {
                    idle_timeout = keepalive.duration("idle_timeout", GoDuration::from_secs(60)).nanos_or_zero();
                    keepalive.finish();
                }
                None => keep_alives_enabled = false,
            }
        }
        let include_metadata = s.bool("include_metadata", false);
        let response_headers = super::parse_response_headers(s);
        let compression_algorithms =
            s.contains_key("compression_algorithms").then(|| s.str_list("compression_algorithms", &[]));
        for name in compression_algorithms.iter().flatten() {
            if !COMPRESSION_ALGORITHMS.contains(&name.as_str()) {
                s.error("compression_algorithms", format!("unsupported compression type {name:?}"))
                    .help(format!("what works is {:?}", COMPRESSION_ALGORITHMS));
            }
        }
        let cors = s.optional_section("cors", OptionalFlavor::None).and_then(CorsConfig::parse);
        let cors = parse_top_level_cors(s, cors);
        let tls = TlsServerConfig::parse(s);
        let auth = super::parse_auth(s).and_then(|(id, mut auth)| {
            let request_params = auth.str_list("request_params", &[]);
            auth.finish();
            id.map(|authenticator| HttpAuthConfig { authenticator, request_params })
        });
        super::refuse_middlewares(s);
        let (endpoint, listen) = listen?;
        Some(Self {
            endpoint,
            listen,
            max_request_body_size: u64::try_from(max_request_body_size)
                .ok()
                .filter(|b| *b > 0)
                .unwrap_or(DEFAULT_MAX_BODY),
            include_metadata,
            response_headers,
            tls,
            auth,
            cors,
            compression_algorithms,
            read_timeout,
            read_header_timeout,
            write_timeout,
            idle_timeout,
            keep_alives_enabled,
        })
    }

    /// The authenticator that `auth` names, if there is an `auth`.
    ///
    /// # Errors
    /// There is no authenticator of that name.
    pub fn authenticator(&self, capabilities: &Capabilities) -> Result<Option<Rc<dyn ServerAuth>>, StartError> {
        self.auth.as_ref().map(|auth| capabilities.get(&auth.authenticator)).transpose()
    }

    /// The configuration of a server without a section, with the given defaults.
    #[must_use]
    pub fn with_defaults(listen: Endpoint, defaults: &HttpServerDefaults) -> Self {
        Self {
            endpoint: defaults.endpoint.to_owned(),
            listen,
            max_request_body_size: DEFAULT_MAX_BODY,
            include_metadata: false,
            response_headers: Vec::new(),
            tls: None,
            auth: None,
            cors: None,
            compression_algorithms: None,
            read_timeout: 0,
            read_header_timeout: defaults.read_header_timeout.nanos_or_zero(),
            write_timeout: defaults.write_timeout.nanos_or_zero(),
            idle_timeout: defaults.idle_timeout.nanos_or_zero(),
            keep_alives_enabled: true,
        }
    }

    /// The configuration of the protocol machine.
    #[must_use]
    pub fn connection_config(&self) -> HttpServerConnConfig {
        let nonzero = |nanos: u64| (nanos > 0).then_some(nanos);
        HttpServerConnConfig {
            max_body: self.max_request_body_size,
            read_header_timeout: nonzero(self.read_header_timeout),
            read_timeout: nonzero(self.read_timeout),
            write_timeout: nonzero(self.write_timeout),
            idle_timeout: nonzero(self.idle_timeout),
            keep_alive: self.keep_alives_enabled,
            ..HttpServerConnConfig::default()
        }
    }
}
