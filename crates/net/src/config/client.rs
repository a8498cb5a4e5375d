//! Configuration of gRPC clients.

use std::time::Duration;

use http::HeaderValue;
use http::uri::{Authority, Scheme};
use otelcore_config::{ComponentId, GoDuration, OptionalFlavor, Section};
use otelcore_http::Coding;
use otelcore_http::grpc::KeepaliveClientConfig;
use otelcore_http::grpc::client::GrpcClientConnConfig;

use super::Headers;
use crate::GrpcTarget;
use crate::tls::{TlsClientConfig, TlsClientSection};

/// How a channel distributes calls over the addresses of its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balancer {
    /// One connection, to the first address that can be connected to.
    PickFirst,
    /// A connection to each address, used in rotation.
    RoundRobin,
}

/// What differs between the exporters that have a gRPC client.
#[derive(Clone, Copy, Debug)]
pub struct GrpcClientDefaults {
    /// The error for an empty `endpoint`.
    pub empty_endpoint: &'static str,
    /// `compression` if the key is absent.
    pub compression: &'static str,
    /// `balancer_name` if the key is absent.
    pub balancer: Balancer,
    /// Whether the TLS keys may be beside `endpoint`, as before collector 0.36.
    pub allow_top_level_tls_keys: bool,
}

/// A gRPC client, its section read and checked.
#[derive(Clone, Debug)]
pub struct GrpcClientConfig {
    /// As the user wrote it, for logs.
    pub endpoint: String,
    /// Where to connect to.
    pub target: GrpcTarget,
    /// TLS, unless the connection is plaintext.
    pub tls: Option<TlsClientConfig>,
    /// The extension that provides the credentials.
    pub auth: Option<ComponentId>,
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

/// The TLS keys that may be beside `endpoint`.
const TOP_LEVEL_TLS_KEYS: [&str; 6] =
    ["insecure", "insecure_skip_verify", "ca_file", "cert_file", "key_file", "server_name_override"];

impl GrpcClientConfig {
    /// Takes the client's keys out of an exporter's section. `None` if it can't be used; the errors are in the
    /// section's diagnostics.
    #[must_use]
    pub fn parse(s: &mut Section<'_>, defaults: &GrpcClientDefaults) -> Option<Self> {
        let endpoint = s.str("endpoint", "");
        let target = if endpoint.is_empty() {
            s.error("endpoint", defaults.empty_endpoint).help("write `endpoint: \"host:port\"`");
            None
        } else {
            GrpcTarget::parse(&endpoint).map_err(|e| s.error("endpoint", e.to_string())).ok()
        };
        let tls = parse_tls(s, &endpoint, defaults);
        let compression = parse_compression(s, defaults);
        let mut headers = super::parse_headers(s);
        // As in grpc-go, gRPC's own headers can't be set; `host` is set with `authority`.
        headers.retain(|(name, _)| {
            let is_reserved =
                name.as_str().starts_with("grpc-") || matches!(name.as_str(), "content-type" | "host" | "user-agent");
            if is_reserved {
                s.warn("headers", format!("header \"{name}\" has no effect: it belongs to gRPC"))
                    .help("`authority` and `user_agent` have keys of their own");
            }
            !is_reserved
        });
        let wait_for_ready = s.bool("wait_for_ready", false);
        let balancer = match s.str("balancer_name", balancer_name(defaults.balancer)).as_str() {
            "" => defaults.balancer,
            "pick_first" => Balancer::PickFirst,
            "round_robin" => Balancer::RoundRobin,
            other => {
                s.error("balancer_name", format!("invalid balancer_name: {other}"))
                    .help("write pick_first or round_robin");
                defaults.balancer
            }
        };
        let authority = super::parse_header_text(s, "authority");
        let user_agent = super::parse_header_text(s, "user_agent");
        let read_buffer = s.int::<isize>("read_buffer_size", 0);
        let write_buffer = s.int::<isize>("write_buffer_size", 512 * 1024);
        let keepalive = s.optional_section("keepalive", OptionalFlavor::None).map(parse_keepalive);
        let auth = super::parse_auth(s).and_then(|(id, auth)| {
            auth.finish();
            id
        });
        super::refuse_middlewares(s);
        let target = target?;
        let authority = if authority.is_empty() { target.authority() } else { authority };
        let authority = Authority::try_from(authority.as_str())
            .map_err(|e| s.start_error("authority", format!("invalid authority \"{authority}\": {e}")))
            .ok()?;
        let agent = if user_agent.is_empty() { concat!("otelcore/", env!("CARGO_PKG_VERSION")) } else { &user_agent };
        let user_agent = HeaderValue::from_str(agent)
            .map_err(|_| s.start_error("user_agent", "user_agent has characters that a header can't have"))
            .ok()?;
        Some(Self {
            endpoint,
            target,
            tls,
            auth,
            compression,
            headers,
            wait_for_ready,
            balancer,
            keepalive,
            authority,
            user_agent,
            // Zero means Go's default size; smaller buffers are not faster.
            read_buffer_size: usize::try_from(read_buffer).unwrap_or(0).clamp(32 << 10, 512 << 10),
            // Larger buffers are not faster, and every connection would have one.
            write_buffer_size: usize::try_from(write_buffer).unwrap_or(0).clamp(16 << 10, 64 << 10),
        })
    }

    /// The configuration of the protocol machine.
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

fn balancer_name(balancer: Balancer) -> &'static str {
    match balancer {
        Balancer::PickFirst => "pick_first",
        Balancer::RoundRobin => "round_robin",
    }
}

/// The client's TLS configuration: `None` for plaintext, which must be configured explicitly.
fn parse_tls(s: &mut Section<'_>, endpoint: &str, defaults: &GrpcClientDefaults) -> Option<TlsClientConfig> {
    let mut section = TlsClientSection::parse(s.section("tls"));
    if defaults.allow_top_level_tls_keys {
        parse_top_level_tls_keys(s, &mut section);
    }
    // `https://` means TLS regardless of `insecure`; `http://` has no effect on it.
    let plaintext = section.insecure && !crate::endpoint::is_https(endpoint);
    (!plaintext).then_some(section.tls)
}

/// Reads the TLS keys beside `endpoint`.
pub(super) fn parse_top_level_tls_keys(s: &mut Section<'_>, section: &mut TlsClientSection) {
    for key in TOP_LEVEL_TLS_KEYS {
        if s.warn_deprecated(key, &format!("`tls:` with `{key}:` in it")) {
            section.parse_top_level_key(s, key);
        }
    }
}

/// Reads `compression`. A coding that the Go collector has for other clients but not for gRPC is an error when the
/// configuration is checked, not only at the start.
fn parse_compression(s: &mut Section<'_>, defaults: &GrpcClientDefaults) -> Coding {
    let name = s.str("compression", defaults.compression);
    match name.as_str() {
        "" | "none" => Coding::Identity,
        "gzip" => Coding::Gzip,
        "snappy" => Coding::Snappy,
        "zstd" => Coding::Zstd,
        "deflate" | "zlib" | "lz4" | "x-snappy-framed" => {
            s.start_error("compression", format!("unsupported compression type \"{name}\""))
                .help("gRPC knows gzip, snappy, zstd and none");
            Coding::Identity
        }
        _ => {
            s.error("compression", format!("'compression' unsupported compression type \"{name}\""))
                .help("write gzip, snappy, zstd or none");
            Coding::Identity
        }
    }
}

/// The shortest ping interval; grpc-go raises shorter ones to it.
const MIN_PING_INTERVAL: Duration = Duration::from_secs(10);

fn parse_keepalive(mut s: Section<'_>) -> KeepaliveClientConfig {
    let time = s.duration("time", GoDuration::from_secs(10));
    let timeout = s.duration("timeout", GoDuration::from_secs(10));
    let permit_without_stream = s.bool("permit_without_stream", false);
    s.finish();
    let min_time = u64::try_from(MIN_PING_INTERVAL.as_nanos()).unwrap_or(u64::MAX);
    KeepaliveClientConfig {
        time: time.nanos_or_zero().max(min_time),
        timeout: timeout.nanos_or_zero().max(1),
        permit_without_stream,
    }
}
