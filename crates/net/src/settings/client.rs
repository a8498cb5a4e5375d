//! Settings of gRPC clients.

use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue};
use otelcore_config::{Dur, Flavour, Section};
use otelcore_http::Coding;
use otelcore_http::grpc::KeepaliveClient;
use otelcore_http::grpc::client::ClientConfig;

use super::NO_TLS;
use crate::Target;
use crate::channel::{Headers, coding};

/// How a channel spreads calls over the addresses of its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balancer {
    /// One connection, to the first address that answers.
    PickFirst,
    /// A connection to each address, taking turns.
    RoundRobin,
}

/// What differs between the exporters that have a gRPC client.
#[derive(Clone, Copy, Debug)]
pub struct GrpcClientDefaults {
    /// Said when `endpoint` is empty.
    pub empty_endpoint: &'static str,
    /// `compression` when it is not written.
    pub compression: &'static str,
    /// `balancer_name` when it is not written.
    pub balancer: Balancer,
    /// Whether the TLS keys may stand beside `endpoint`, as they did before collector 0.36.
    pub tls_keys_outside: bool,
}

/// A gRPC client, its section read and checked.
#[derive(Clone, Debug)]
pub struct GrpcClient {
    /// As the user wrote it, for logs.
    pub endpoint: String,
    /// Where to connect to.
    pub target: Target,
    /// Coding of requests.
    pub compression: Coding,
    /// Headers of every call.
    pub headers: Headers,
    /// Wait for a connection instead of failing.
    pub wait_for_ready: bool,
    /// How calls spread over addresses.
    pub balancer: Balancer,
    /// Pings.
    pub keepalive: Option<KeepaliveClient>,
    /// `:authority`, where it is not the endpoint's.
    pub authority: Authority,
    /// `user-agent`.
    pub user_agent: HeaderValue,
    /// Bytes read in one turn.
    pub read_buffer_size: usize,
    /// Bytes gathered before they are written.
    pub write_buffer_size: usize,
}

/// The old TLS keys beside `endpoint`, and whether they are strings.
const OLD_TLS_KEYS: [(&str, bool); 6] = [
    ("insecure", false),
    ("insecure_skip_verify", false),
    ("ca_file", true),
    ("cert_file", true),
    ("key_file", true),
    ("server_name_override", true),
];

impl GrpcClient {
    /// Takes the client's keys out of an exporter's section. `None` when it can't be used; the section knows why.
    #[must_use]
    pub fn parse(s: &mut Section<'_>, defaults: &GrpcClientDefaults) -> Option<Self> {
        let endpoint = s.str("endpoint", "");
        let target = if endpoint.is_empty() {
            s.error("endpoint", defaults.empty_endpoint).hint("write `endpoint: \"host:port\"`");
            None
        } else {
            Target::parse(&endpoint).map_err(|e| s.error("endpoint", e.to_string())).ok()
        };
        let plain = plaintext(s, &endpoint, defaults);
        let known = ["gzip", "snappy", "zstd", "none", "", "deflate", "zlib", "lz4", "x-snappy-framed"];
        let compression = s.str("compression", defaults.compression);
        if !known.contains(&compression.as_str()) {
            s.error("compression", format!("'compression' unsupported compression type \"{compression}\""))
                .hint("write gzip or none");
        } else if !matches!(compression.as_str(), "gzip" | "none" | "") {
            s.error("compression", format!("compression \"{compression}\" is not supported yet"))
                .hint("write gzip or none");
        }
        let headers = headers(s);
        let wait_for_ready = s.bool("wait_for_ready", false);
        let balancer = match s.str("balancer_name", name(defaults.balancer)).as_str() {
            "" => defaults.balancer,
            "pick_first" => Balancer::PickFirst,
            "round_robin" => Balancer::RoundRobin,
            other => {
                s.error("balancer_name", format!("invalid balancer_name: {other}"))
                    .hint("write pick_first or round_robin");
                defaults.balancer
            }
        };
        let authority = s.str("authority", "");
        let agent = s.str("user_agent", "");
        let read_buffer = s.int::<isize>("read_buffer_size", 0);
        let write_buffer = s.int::<isize>("write_buffer_size", 512 * 1024);
        let keepalive = s.optional("keepalive", Flavour::None).map(keepalive);
        super::refuse_extensions(s);
        let target = target.filter(|_| plain)?;
        let authority = if authority.is_empty() { target.authority() } else { authority };
        let authority = Authority::try_from(authority.as_str())
            .map_err(|e| s.error("authority", format!("invalid authority \"{authority}\": {e}")))
            .ok()?;
        let agent = if agent.is_empty() { concat!("otelcore/", env!("CARGO_PKG_VERSION")) } else { &agent };
        let user_agent = HeaderValue::from_str(agent)
            .map_err(|_| s.error("user_agent", "user_agent has characters that a header can't have"))
            .ok()?;
        Some(Self {
            endpoint,
            target,
            compression: coding(&compression),
            headers,
            wait_for_ready,
            balancer,
            keepalive,
            authority,
            user_agent,
            // Zero is Go's default size, below which nothing gets faster.
            read_buffer_size: usize::try_from(read_buffer).unwrap_or(0).clamp(32 << 10, 512 << 10),
            // Larger writes than this gain nothing, and every connection would hold them.
            write_buffer_size: usize::try_from(write_buffer).unwrap_or(0).clamp(16 << 10, 64 << 10),
        })
    }

    /// The settings of the protocol machine.
    pub(crate) fn machine(&self) -> ClientConfig {
        ClientConfig {
            keepalive: self.keepalive.clone(),
            read_budget: self.read_buffer_size,
            write_buffer: self.write_buffer_size,
            ..ClientConfig::new(Scheme::HTTP, self.authority.clone(), self.user_agent.clone())
        }
    }
}

fn name(balancer: Balancer) -> &'static str {
    match balancer {
        Balancer::PickFirst => "pick_first",
        Balancer::RoundRobin => "round_robin",
    }
}

/// Whether the section asks for plaintext. Anything else is an error that says so.
fn plaintext(s: &mut Section<'_>, endpoint: &str, defaults: &GrpcClientDefaults) -> bool {
    let mut insecure = false;
    let mut other_keys = Vec::new();
    if defaults.tls_keys_outside {
        for (key, text) in OLD_TLS_KEYS {
            if s.deprecated(key, &format!("`tls:` with `{key}:` in it")) {
                if text {
                    other_keys.extend(s.opt_str(key).map(|_| key.to_owned()));
                } else if s.bool(key, false) {
                    insecure |= key == "insecure";
                }
            }
        }
    }
    let mut tls = s.section("tls");
    insecure |= tls.bool("insecure", false);
    // Verification settings change nothing in plaintext; certificates and authorities mean TLS whatever `insecure` says.
    let _ = tls.bool("insecure_skip_verify", false);
    let _ = tls.str("server_name_override", "");
    for key in tls.child_keys() {
        if !["insecure", "insecure_skip_verify", "server_name_override"].contains(&key.value.as_str()) {
            let _ = tls.node(&key.value);
            other_keys.push(key.value.clone());
        }
    }
    let _ = tls.finish();
    let secure_url = endpoint.starts_with("https://");
    if insecure && other_keys.iter().all(|k| !k.starts_with("ca_")) && !secure_url {
        return true;
    }
    s.error("tls", format!("{NO_TLS}, and without `insecure: true` this exporter means TLS"))
        .hint("write `tls:` with `insecure: true` in it to send in plaintext");
    false
}

/// `headers`, with what HTTP can't carry refused.
fn headers(s: &mut Section<'_>) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in s.headers("headers") {
        let parsed = HeaderName::try_from(name.to_ascii_lowercase()).ok().zip(HeaderValue::from_str(&value).ok());
        match parsed {
            Some((name, mut value)) => {
                value.set_sensitive(true);
                headers.push((name, value));
            }
            None => {
                s.error("headers", format!("header \"{name}\" has characters that a header can't have"));
            }
        }
    }
    headers
}

/// grpc-go raises shorter ping intervals to this.
const MIN_PING: Duration = Duration::from_secs(10);

fn keepalive(mut s: Section<'_>) -> KeepaliveClient {
    let time = s.duration("time", Dur::from_secs(10));
    let timeout = s.duration("timeout", Dur::from_secs(10));
    let permit_without_stream = s.bool("permit_without_stream", false);
    s.finish();
    let least = u64::try_from(MIN_PING.as_nanos()).unwrap_or(u64::MAX);
    KeepaliveClient { time: time.nanos().max(least), timeout: timeout.nanos().max(1), permit_without_stream }
}
