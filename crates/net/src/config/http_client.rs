//! Configuration of HTTP clients: `confighttp.ClientConfig`.

use std::time::Duration;

use otelcore_config::{ComponentId, GoDuration, OptionalFlavor, Section};
use otelcore_http::Coding;

use super::Headers;
use crate::proxy::Proxy;
use crate::tls::{TlsClientConfig, TlsClientSection};

/// What differs between the components that have an HTTP client.
#[derive(Clone, Copy, Debug)]
pub struct HttpClientDefaults {
    /// `compression` if the key is absent.
    pub compression: &'static str,
    /// `timeout` if the key is absent.
    pub timeout: GoDuration,
}

/// How requests are compressed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompressionConfig {
    /// The coding.
    pub coding: Coding,
    /// `compression_params::level`; `None` is the library's own.
    pub level: Option<i32>,
}

/// An HTTP client, its keys read and checked. Endpoints belong to the component.
#[derive(Clone, Debug)]
pub struct HttpClientConfig {
    /// Certificates, for URLs with `https`.
    pub tls: TlsClientConfig,
    /// The time limit of a whole exchange; zero for no limit.
    pub timeout: Duration,
    /// Coding of requests.
    pub compression: CompressionConfig,
    /// Sent with every request, in place of the client's own headers of the same name; `host` sets the request's host.
    pub headers: Headers,
    /// The proxy for every request; if empty, the proxies of the environment are used.
    pub proxy_url: String,
    /// The extension that provides the credentials.
    pub auth: Option<ComponentId>,
    /// The largest number of idle connections that are kept, in total.
    pub max_idle_conns: usize,
    /// The same for each host.
    pub max_idle_conns_per_host: usize,
    /// The largest number of connections to each host; zero for no limit.
    pub max_conns_per_host: usize,
    /// How long an idle connection is kept; zero for no limit.
    pub idle_conn_timeout: Duration,
    /// Use a new connection for each request.
    pub disable_keep_alives: bool,
    /// Keep the cookies that servers set, and send them.
    pub cookies: bool,
    /// Bytes read in one turn.
    pub read_buffer_size: usize,
    /// Bytes gathered before they are written.
    pub write_buffer_size: usize,
}

/// Go's `http.DefaultMaxIdleConnsPerHost`.
const DEFAULT_MAX_IDLE_CONNS_PER_HOST: usize = 2;

impl HttpClientConfig {
    /// Reads the client's keys from a component's section. Errors are added to the section's diagnostics.
    pub fn parse(s: &mut Section<'_>, defaults: &HttpClientDefaults) -> Self {
        let mut tls = TlsClientSection::parse(s.section("tls"));
        super::client::parse_top_level_tls_keys(s, &mut tls);
        let tls = tls.tls;
        let timeout = s.duration("timeout", defaults.timeout);
        if timeout.is_negative() {
            s.error("timeout", "'timeout' must be non-negative");
        }
        let compression = parse_compression(s, defaults);
        let headers = super::parse_headers(s);
        let proxy_url = super::parse_header_text(s, "proxy_url");
        if let Err(e) = (!proxy_url.is_empty()).then(|| Proxy::parse(&proxy_url)).transpose() {
            s.start_error("proxy_url", e.to_string());
        }
        let mut max_idle_conns = s.int::<usize>("max_idle_conns", 100);
        let mut max_idle_conns_per_host = s.int::<usize>("max_idle_conns_per_host", 0);
        let max_conns_per_host = s.int::<usize>("max_conns_per_host", 0);
        let mut idle_conn_timeout = s.duration("idle_conn_timeout", GoDuration::from_secs(90));
        let mut disable_keep_alives = s.bool("disable_keep_alives", false);
        if s.contains_key("keepalive") {
            // The section that replaces four keys from collector 0.162 on.
            match s.optional_section("keepalive", OptionalFlavor::Some) {
                Some(mut keepalive) => {
                    max_idle_conns = keepalive.int::<usize>("max_idle_conns", max_idle_conns);
                    max_idle_conns_per_host =
                        keepalive.int::<usize>("max_idle_conns_per_host", max_idle_conns_per_host);
                    idle_conn_timeout = keepalive.duration("idle_conn_timeout", idle_conn_timeout);
                    keepalive.finish();
                }
                None => disable_keep_alives = true,
            }
        }
        // Requests are sent over HTTP/1.1, so that the settings of HTTP/2 have no effect.
        for key in ["http2_read_idle_timeout", "http2_ping_timeout"] {
            if !s.duration(key, GoDuration::ZERO).is_zero() {
                s.warn(key, format!("'{key}' has no effect: requests are sent over HTTP/1.1")).help("leave it out");
            }
        }
        let _ = s.bool("force_attempt_http2", true);
        let cookies = match s.optional_section("cookies", OptionalFlavor::None) {
            Some(cookies) => {
                cookies.finish();
                true
            }
            None => false,
        };
        let read_buffer = s.int::<isize>("read_buffer_size", 0);
        let write_buffer = s.int::<isize>("write_buffer_size", 512 * 1024);
        let auth = super::parse_auth(s).and_then(|(id, auth)| {
            auth.finish();
            id
        });
        super::refuse_middlewares(s);
        Self {
            tls,
            timeout: Duration::from_nanos(timeout.nanos_or_zero()),
            compression,
            headers,
            proxy_url,
            auth,
            max_idle_conns: if max_idle_conns == 0 { usize::MAX } else { max_idle_conns },
            max_idle_conns_per_host: if max_idle_conns_per_host == 0 {
                DEFAULT_MAX_IDLE_CONNS_PER_HOST
            } else {
                max_idle_conns_per_host
            },
            max_conns_per_host,
            idle_conn_timeout: Duration::from_nanos(idle_conn_timeout.nanos_or_zero()),
            disable_keep_alives,
            cookies,
            read_buffer_size: usize::try_from(read_buffer).unwrap_or(0).clamp(32 << 10, 512 << 10),
            write_buffer_size: usize::try_from(write_buffer).unwrap_or(0).clamp(16 << 10, 512 << 10),
        }
    }
}

/// `compression` and `compression_params`.
fn parse_compression(s: &mut Section<'_>, defaults: &HttpClientDefaults) -> CompressionConfig {
    let name = s.str("compression", defaults.compression);
    let coding = match name.as_str() {
        "" | "none" => Coding::Identity,
        "gzip" => Coding::Gzip,
        "zlib" => Coding::Zlib,
        "deflate" => Coding::Deflate,
        "snappy" => Coding::Snappy,
        "x-snappy-framed" => Coding::SnappyFramed,
        "zstd" => Coding::Zstd,
        "lz4" => Coding::Lz4,
        _ => {
            s.error("compression", format!("'compression' unsupported compression type \"{name}\""))
                .help("write gzip, zlib, deflate, snappy, x-snappy-framed, zstd, lz4 or none");
            Coding::Identity
        }
    };
    let mut params = s.section("compression_params");
    let level = params.int::<i32>("level", 0);
    let allowed = match coding {
        Coding::Gzip | Coding::Zlib | Coding::Deflate => (-2..=9).contains(&level),
        Coding::Zstd => true,
        _ => level == 0,
    };
    if !allowed {
        params.error("level", format!("unsupported parameters {{Level:{level}}} for compression type \"{name}\""));
    }
    params.finish();
    CompressionConfig { coding, level: (level != 0).then_some(level) }
}
