//! Settings of HTTP clients: `confighttp.ClientConfig`.

use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_config::{ComponentId, GoDuration, Section, config_enum, config_struct};
use otelcore_http::Coding;

use super::{AuthConfig, MIDDLEWARES, RequestHeaders, buffer, header_text};
use crate::proxy::{Proxy, ProxyError};
use crate::tls::{OldTlsConfig, TlsClientConfig};

config_enum! {
    /// `compression` of an HTTP client.
    #[config(
        unknown = "'compression' unsupported compression type \"{word}\"",
        hint = "write gzip, zlib, deflate, snappy, x-snappy-framed, zstd, lz4 or none"
    )]
    pub enum HttpCompression {
        /// Requests are sent as they are.
        None = "none" | "",
        /// gzip.
        Gzip = "gzip",
        /// zlib.
        Zlib = "zlib",
        /// The name that Go has for zlib.
        Deflate = "deflate",
        /// Snappy without frames.
        Snappy = "snappy",
        /// Snappy with frames.
        SnappyFramed = "x-snappy-framed",
        /// Zstandard.
        Zstd = "zstd",
        /// LZ4.
        Lz4 = "lz4",
    }
}

/// How requests are compressed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompressionConfig {
    /// The coding.
    pub coding: Coding,
    /// `compression_params::level`; `None` is the library's own.
    pub level: Option<i32>,
}

config_struct! {
    /// `compression_params`.
    pub struct CompressionParamsConfig {
        /// The level, in the numbers of the coding; zero is its default.
        pub level: i32 = 0,
    }
}

config_struct! {
    /// `keepalive` of an HTTP client, which replaces four keys from collector 0.162 on.
    pub struct HttpClientKeepaliveConfig {
        /// The largest number of idle connections, in total; zero for no limit.
        pub max_idle_conns: Option<usize>,
        /// The same for each host; zero for 2.
        pub max_idle_conns_per_host: Option<usize>,
        /// How long an idle connection is kept; zero for no limit.
        pub idle_conn_timeout: Option<Duration>,
    }
}

config_struct! {
    /// `cookies` of an HTTP client: those that servers set are kept, and sent.
    pub struct CookiesConfig {}
}

config_struct! {
    /// An HTTP client. Endpoints belong to the component.
    #[config(check = Self::check)]
    #[config(unsupported("middlewares", MIDDLEWARES))]
    pub struct HttpClientConfig {
        /// TLS, for URLs with `https`.
        pub tls: TlsClientConfig,
        /// The TLS keys of old versions.
        #[config(flatten)]
        pub old_tls_keys: OldTlsConfig,
        /// The time limit of a whole exchange; zero for no limit.
        #[config(at_least(GoDuration::ZERO, "'timeout' must be non-negative"))]
        pub timeout: Duration,
        /// Coding of requests.
        pub compression: HttpCompression,
        /// Parameters of the coding.
        pub compression_params: CompressionParamsConfig,
        /// Sent with every request, in place of the client's own headers of the same name; `host` sets the request's
        /// host.
        pub headers: RequestHeaders,
        /// The proxy for every request; if empty, the proxies of the environment are used.
        pub proxy_url: String,
        /// The largest number of idle connections that are kept, in total; zero for no limit.
        pub max_idle_conns: usize = 100,
        /// The same for each host; zero for 2.
        pub max_idle_conns_per_host: usize = 0,
        /// The largest number of connections to each host; zero for no limit.
        pub max_conns_per_host: usize = 0,
        /// How long an idle connection is kept; zero for no limit.
        pub idle_conn_timeout: Duration = Duration::from_secs(90),
        /// A new connection for each request.
        pub disable_keep_alives: bool,
        /// From collector 0.162 on: idle connections.
        #[config(only_if_written = true)]
        pub keepalive: Optional<HttpClientKeepaliveConfig> = Optional::on(HttpClientKeepaliveConfig::default()),
        /// How long a connection of HTTP/2 is idle before it is checked.
        #[config(ignored = "requests are sent over HTTP/1.1")]
        pub http2_read_idle_timeout: Duration,
        /// How long a check of a connection of HTTP/2 waits.
        #[config(ignored = "requests are sent over HTTP/1.1")]
        pub http2_ping_timeout: Duration,
        /// Uses HTTP/2 where the server has it.
        #[config(ignored = "requests are sent over HTTP/1.1")]
        pub force_attempt_http2: bool = true,
        /// Keeps the cookies that servers set, and sends them.
        pub cookies: Optional<CookiesConfig>,
        /// Bytes that are read from a connection in one turn.
        #[config(unit = "bytes")]
        pub read_buffer_size: isize = 0,
        /// Bytes that are gathered before they are written.
        #[config(unit = "bytes")]
        #[config(ignored = "a request is written as a whole")]
        pub write_buffer_size: isize = 512 * 1024,
        /// Credentials.
        pub auth: Optional<AuthConfig>,
        /// Which proxy is used, where that does not follow from `proxy_url` alone.
        #[config(skip)]
        pub proxy: ClientProxy,
        /// Responses that are redirects are returned, and not followed.
        #[config(skip)]
        pub keeps_redirects: bool,
    }
}

/// Which proxy a client uses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ClientProxy {
    /// That of `proxy_url`; without one, those of the environment.
    #[default]
    UrlOrEnvironment,
    /// None.
    None,
    /// That of `proxy_url`, except for these hosts, in the form of the variable `NO_PROXY`.
    UrlExceptFor(String),
}

/// Go's `http.DefaultMaxIdleConnsPerHost`.
const IDLE_PER_HOST: usize = 2;

impl HttpClientConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let mut old = std::mem::take(&mut self.old_tls_keys);
        old.merge_into(&mut self.tls);
        if let Err(e) = self.proxy() {
            s.start_error("proxy_url", e.to_string());
        }
        if s.contains_key("keepalive") {
            match self.keepalive.get() {
                Some(keepalive) => {
                    self.max_idle_conns = keepalive.max_idle_conns.unwrap_or(self.max_idle_conns);
                    let per_host = keepalive.max_idle_conns_per_host;
                    self.max_idle_conns_per_host = per_host.unwrap_or(self.max_idle_conns_per_host);
                    self.idle_conn_timeout = keepalive.idle_conn_timeout.unwrap_or(self.idle_conn_timeout);
                }
                None => self.disable_keep_alives = true,
            }
        }
        for (key, value) in
            [("http2_read_idle_timeout", self.http2_read_idle_timeout), ("http2_ping_timeout", self.http2_ping_timeout)]
        {
            if !value.is_zero() {
                s.warn(key, format!("'{key}' has no effect: requests are sent over HTTP/1.1")).help("leave it out");
            }
        }
        let (level, name) = (self.compression_params.level, self.compression.name());
        let allowed = match self.compression {
            HttpCompression::Gzip | HttpCompression::Zlib | HttpCompression::Deflate => (-2..=9).contains(&level),
            HttpCompression::Zstd => true,
            _ => level == 0,
        };
        if !allowed {
            let message = format!("unsupported parameters {{Level:{level}}} for compression type \"{name}\"");
            s.error("compression_params::level", message);
        }
    }

    fn proxy(&self) -> Result<Option<Proxy>, ProxyError> {
        let url = self.proxy_url();
        if url.is_empty() { Ok(None) } else { Proxy::parse(url).map(Some) }
    }

    pub(crate) fn proxy_url(&self) -> &str {
        header_text(&self.proxy_url)
    }

    /// The extension that provides the credentials.
    #[must_use]
    pub fn authenticator(&self) -> Option<ComponentId> {
        self.auth.get().and_then(AuthConfig::id)
    }

    /// Coding of requests, and its level.
    #[must_use]
    pub fn compression(&self) -> CompressionConfig {
        let coding = match self.compression {
            HttpCompression::None => Coding::Identity,
            HttpCompression::Gzip => Coding::Gzip,
            HttpCompression::Zlib => Coding::Zlib,
            HttpCompression::Deflate => Coding::Deflate,
            HttpCompression::Snappy => Coding::Snappy,
            HttpCompression::SnappyFramed => Coding::SnappyFramed,
            HttpCompression::Zstd => Coding::Zstd,
            HttpCompression::Lz4 => Coding::Lz4,
        };
        CompressionConfig { coding, level: Some(self.compression_params.level).filter(|level| *level != 0) }
    }

    pub(crate) fn idle_limit(&self) -> usize {
        if self.max_idle_conns == 0 { usize::MAX } else { self.max_idle_conns }
    }

    pub(crate) fn idle_limit_per_host(&self) -> usize {
        if self.max_idle_conns_per_host == 0 { IDLE_PER_HOST } else { self.max_idle_conns_per_host }
    }

    pub(crate) fn read_budget(&self) -> usize {
        buffer(self.read_buffer_size, 32 << 10, 512 << 10)
    }
}
