//! Settings of gRPC clients: `configgrpc.ClientConfig`.

use std::time::Duration;

use http::HeaderValue;
use http::uri::{Authority, Scheme};
use otelcore_config::declare::{ConfigValue, Optional, Shape};
use otelcore_config::{ComponentId, EffectiveValue, Section, config_enum, config_struct};
use otelcore_http::Coding;
use otelcore_http::grpc::KeepaliveClientConfig;
use otelcore_http::grpc::client::GrpcClientConnConfig;
use otelcore_pipeline::{ReadFile, StartError};

use super::{AuthConfig, Headers, MIDDLEWARES, RequestHeaders, buffer, header_text};
use crate::GrpcTarget;
use crate::tls::{OldTlsConfig, TlsClientConfig};

config_enum! {
    /// How a channel distributes calls over the addresses of its target.
    #[config(unknown = "invalid {key}: {word}", hint = "write pick_first or round_robin")]
    pub enum Balancer {
        /// One connection, to the first address that can be connected to.
        PickFirst = "pick_first" | "",
        /// A connection to each address, used in rotation.
        RoundRobin = "round_robin",
    }
}

/// `compression` of a gRPC client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrpcCompression(pub Coding);

/// The codings by name, the default first.
const CODINGS: [(&str, Coding); 5] = [
    ("", Coding::Identity),
    ("none", Coding::Identity),
    ("gzip", Coding::Gzip),
    ("snappy", Coding::Snappy),
    ("zstd", Coding::Zstd),
];

impl GrpcCompression {
    fn name(&self) -> &'static str {
        CODINGS.iter().find(|(_, coding)| *coding == self.0).map_or("", |(name, _)| *name)
    }
}

impl Default for GrpcCompression {
    fn default() -> Self {
        Self(Coding::Identity)
    }
}

/// A coding that the Go collector has for other clients but not for gRPC is an error when the configuration is checked,
/// not only at the start.
impl ConfigValue for GrpcCompression {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        let name = s.str(key, default.name());
        if let Some((_, coding)) = CODINGS.iter().find(|(known, _)| *known == name) {
            return Self(coding.clone());
        }
        if matches!(name.as_str(), "deflate" | "zlib" | "lz4" | "x-snappy-framed") {
            s.start_error(key, format!("unsupported compression type \"{name}\""))
                .help("gRPC knows gzip, snappy, zstd and none");
        } else {
            s.error(key, format!("'compression' unsupported compression type \"{name}\""))
                .help("write gzip, snappy, zstd or none");
        }
        Self::default()
    }

    fn shape(_: &Self) -> Shape {
        Shape::OneOf(CODINGS.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect())
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.name().to_owned())
    }
}

config_struct! {
    /// `keepalive` of a gRPC client: pings on connections that are idle.
    pub struct ClientKeepaliveConfig {
        /// A ping is sent when a connection has been idle for this long; 10 seconds at least.
        pub time: Duration = Duration::from_secs(10),
        /// The connection is closed if no response to the ping comes within this time.
        pub timeout: Duration = Duration::from_secs(10),
        /// Whether pings are sent while there is no call.
        pub permit_without_stream: bool,
    }
}

config_struct! {
    /// A gRPC client.
    #[config(check = Self::check)]
    #[config(unsupported("middlewares", MIDDLEWARES))]
    pub struct GrpcClientConfig {
        /// Where to connect to: `host:port`, `dns:///host:port` or `unix:///path`. With `https://` in front, TLS is used
        /// even with `insecure`.
        pub endpoint: String,
        /// TLS. Without `insecure: true` in it connections are encrypted.
        pub tls: TlsClientConfig,
        /// The TLS keys of old versions.
        #[config(flatten)]
        pub old_tls_keys: OldTlsConfig,
        /// Coding of requests.
        pub compression: GrpcCompression,
        /// Header fields of every call.
        pub headers: RequestHeaders,
        /// Calls wait for a connection instead of failing.
        pub wait_for_ready: bool,
        /// How calls are distributed over the addresses of the endpoint.
        pub balancer_name: Balancer,
        /// The value of `:authority`; without it, host and port of the endpoint.
        pub authority: String,
        /// The value of `user-agent`; without it, the name and version of the collector.
        pub user_agent: String,
        /// Bytes that are read from a connection in one turn.
        #[config(unit = "bytes")]
        pub read_buffer_size: isize = 0,
        /// Bytes that are gathered before they are written.
        #[config(unit = "bytes")]
        pub write_buffer_size: isize = 512 * 1024,
        /// Pings.
        pub keepalive: Optional<ClientKeepaliveConfig>,
        /// Credentials.
        pub auth: Optional<AuthConfig>,
        /// The error for an empty `endpoint`.
        #[config(skip)]
        pub empty_endpoint: &'static str = "requires a non-empty \"endpoint\"",
    }
}

/// A gRPC client's configuration, parsed: what a [`GrpcChannel`](crate::GrpcChannel) is made from.
#[derive(Clone, Debug)]
pub struct GrpcChannelConfig {
    /// As the user wrote it, for logs.
    pub endpoint: String,
    /// Where to connect to.
    pub target: GrpcTarget,
    /// TLS, unless the connection is plaintext.
    pub tls: Option<TlsClientConfig>,
    /// Coding of requests.
    pub compression: Coding,
    /// Headers of every call.
    pub headers: Headers,
    /// Wait for a connection instead of failing.
    pub wait_for_ready: bool,
    /// How calls are distributed over addresses.
    pub balancer: Balancer,
    /// Pings.
    pub keepalive: Option<KeepaliveClientConfig>,
    /// The value of `:authority`.
    pub authority: Authority,
    /// `user-agent`.
    pub user_agent: HeaderValue,
    /// Bytes read in one turn.
    pub read_buffer_size: usize,
    /// Bytes gathered before they are written.
    pub write_buffer_size: usize,
}

/// The shortest ping interval; grpc-go raises shorter ones to it.
const MIN_PING: Duration = Duration::from_secs(10);

impl GrpcClientConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let mut old = std::mem::take(&mut self.old_tls_keys);
        old.merge_into(&mut self.tls);
        // As in grpc-go, gRPC's own headers can't be set; `host` is set with `authority`.
        self.headers.0.retain(|(name, _)| {
            let own =
                name.as_str().starts_with("grpc-") || matches!(name.as_str(), "content-type" | "host" | "user-agent");
            if own {
                s.warn("headers", format!("header \"{name}\" has no effect: it belongs to gRPC"))
                    .help("`authority` and `user_agent` have keys of their own");
            }
            !own
        });
        if self.endpoint.is_empty() {
            s.error("endpoint", self.empty_endpoint).help("write `endpoint: \"host:port\"`");
            return;
        }
        match GrpcTarget::parse(&self.endpoint) {
            Ok(target) => {
                if let Err(e) = self.authority(&target) {
                    s.start_error("authority", e);
                }
            }
            Err(e) => drop(s.error("endpoint", e.to_string())),
        }
        if let Err(e) = self.user_agent() {
            s.start_error("user_agent", e);
        }
    }

    fn authority(&self, target: &GrpcTarget) -> Result<Authority, String> {
        let written = header_text(&self.authority);
        let authority = if written.is_empty() { target.authority() } else { written.to_owned() };
        Authority::try_from(authority.as_str()).map_err(|e| format!("invalid authority \"{authority}\": {e}"))
    }

    fn user_agent(&self) -> Result<HeaderValue, String> {
        let written = header_text(&self.user_agent);
        let agent = if written.is_empty() { concat!("otelcore/", env!("CARGO_PKG_VERSION")) } else { written };
        HeaderValue::from_str(agent).map_err(|_| "user_agent has characters that a header can't have".to_owned())
    }

    /// The extension that provides the credentials.
    #[must_use]
    pub fn authenticator(&self) -> Option<ComponentId> {
        self.auth.get().and_then(AuthConfig::id)
    }

    /// Checks the files that it names, as far as they are available.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_files(&self, read: ReadFile<'_>) -> Result<(), StartError> {
        if self.is_plaintext() { Ok(()) } else { self.tls.check_files(read) }
    }

    /// `https://` means TLS regardless of `insecure`; `http://` has no effect on it.
    fn is_plaintext(&self) -> bool {
        self.tls.is_plaintext() && !crate::endpoint::is_https(&self.endpoint)
    }

    /// Parses the values.
    ///
    /// # Errors
    /// The first value that can't be used. A configuration that was read without errors has none.
    pub fn channel(&self) -> Result<GrpcChannelConfig, StartError> {
        if self.endpoint.is_empty() {
            return Err(StartError::Config(self.empty_endpoint.to_owned()));
        }
        let target = GrpcTarget::parse(&self.endpoint).map_err(|e| StartError::Config(e.to_string()))?;
        let keepalive = self.keepalive.get().map(|keepalive| KeepaliveClientConfig {
            time: nanos(keepalive.time.max(MIN_PING)),
            timeout: nanos(keepalive.timeout).max(1),
            permit_without_stream: keepalive.permit_without_stream,
        });
        Ok(GrpcChannelConfig {
            endpoint: self.endpoint.clone(),
            tls: (!self.is_plaintext()).then(|| self.tls.clone()),
            compression: self.compression.0.clone(),
            headers: self.headers.0.clone(),
            wait_for_ready: self.wait_for_ready,
            balancer: self.balancer_name,
            keepalive,
            authority: self.authority(&target).map_err(StartError::Config)?,
            user_agent: self.user_agent().map_err(StartError::Config)?,
            // Zero means Go's default size; smaller buffers are not faster.
            read_buffer_size: buffer(self.read_buffer_size, 32 << 10, 512 << 10),
            // Larger buffers are not faster, and every connection would have one.
            write_buffer_size: buffer(self.write_buffer_size, 16 << 10, 64 << 10),
            target,
        })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl GrpcChannelConfig {
    /// The settings of the protocol machine.
    pub(crate) fn connection_config(&self) -> GrpcClientConnConfig {
        let scheme = if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        GrpcClientConnConfig {
            keepalive: self.keepalive.clone(),
            read_budget: self.read_buffer_size,
            write_buffer: self.write_buffer_size,
            ..GrpcClientConnConfig::new(scheme, self.authority.clone(), self.user_agent.clone())
        }
    }
}
