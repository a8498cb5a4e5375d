//! Endpoints as users write them.

use std::path::PathBuf;

use otelcore_pipeline::Endpoint;

use crate::idn::{IdnError, ascii_host};

/// Where a client connects to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GrpcTarget {
    /// A host name or address, and a port.
    Host {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// A path in the file system.
    Unix(PathBuf),
}

/// Why an endpoint can't be used, with the Go collector's texts.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EndpointError {
    /// No port.
    #[error("address {0}: missing port in address")]
    MissingPort(String),
    /// More colons than brackets allow.
    #[error("address {0}: too many colons in address")]
    TooManyColons(String),
    /// A port that is not a number up to 65535.
    #[error("invalid port \"{0}\"")]
    InvalidPort(String),
    /// `unix://` without a path.
    #[error("unix socket path cannot be empty")]
    EmptyPath,
    /// A name with non-ASCII characters that has no unique ASCII form.
    #[error("host \"{0}\" is not ASCII: {1}")]
    HostNotAscii(String, IdnError),
    /// A gRPC resolver that is not supported.
    #[error("unsupported scheme \"{0}\" in endpoint")]
    UnsupportedScheme(String),
}

impl GrpcTarget {
    /// Reads the endpoint of a gRPC client: `host:port`, a URL of which only host and port are used, or a resolver's
    /// URI.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(endpoint: &str) -> Result<Self, EndpointError> {
        let address = split_http_scheme(endpoint).map_or(endpoint, |(_, rest)| rest);
        if let Some(path) = address.strip_prefix("unix://").or_else(|| address.strip_prefix("unix:")) {
            return if path.is_empty() { Err(EndpointError::EmptyPath) } else { Ok(Self::Unix(path.into())) };
        }
        let host_port = match address.split_once("://") {
            Some(("dns" | "passthrough", rest)) => rest.rsplit('/').next().unwrap_or(rest),
            Some((scheme, _)) => return Err(EndpointError::UnsupportedScheme(scheme.to_owned())),
            None => address.strip_prefix("dns:").unwrap_or(address).trim_end_matches('/'),
        };
        let (host, port) = split_host_port(host_port)?;
        // In a URL the `%` before a zone is escaped (RFC 6874).
        let host = match host.split_once("%25") {
            Some((address, zone)) if address.contains(':') && !zone.is_empty() => format!("{address}%{zone}"),
            _ => host,
        };
        let host = ascii_host(&host).map_err(|ascii| EndpointError::HostNotAscii(host.clone(), ascii))?;
        Ok(Self::Host { host, port })
    }

    /// `host:port` or the path, for logs and `:authority`.
    #[must_use]
    pub fn authority(&self) -> String {
        match self {
            Self::Host { host, port } if host.contains(':') => format!("[{}]:{port}", without_zone(host)),
            Self::Host { host, port } => format!("{host}:{port}"),
            // What grpc-go sends for a socket in the file system.
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// If an endpoint begins with `http://` or `https://`, ignoring case: whether that means TLS, and the rest.
fn split_http_scheme(endpoint: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let is = |name| scheme.eq_ignore_ascii_case(name);
    (is("http") || is("https")).then(|| (is("https"), rest))
}

/// Whether the scheme of an endpoint means TLS.
pub(crate) fn is_https(endpoint: &str) -> bool {
    split_http_scheme(endpoint).is_some_and(|(https, _)| https)
}

/// An IPv6 address without the zone. The zone has a meaning on this machine only, not in a certificate or for the peer.
pub(crate) fn without_zone(host: &str) -> &str {
    match host.split_once('%') {
        Some((address, _)) if address.contains(':') => address,
        _ => host,
    }
}

/// Reads the endpoint of a server by its `transport`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_listen_endpoint(endpoint: &str, transport: &str) -> Result<Endpoint, EndpointError> {
    if transport.starts_with("unix") {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        return if path.is_empty() { Err(EndpointError::EmptyPath) } else { Ok(Endpoint::Unix(path.into())) };
    }
    let (host, port) = split_host_port(endpoint)?;
    Ok(Endpoint::Tcp { host, port })
}

/// Go's `net.SplitHostPort`, with the port as a number. IPv4 in brackets is accepted too, because Helm charts write it.
fn split_host_port(address: &str) -> Result<(String, u16), EndpointError> {
    let missing_port = || EndpointError::MissingPort(address.to_owned());
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(missing_port)?;
        (host, rest.strip_prefix(':').ok_or_else(missing_port)?)
    } else {
        let (host, port) = address.rsplit_once(':').ok_or_else(missing_port)?;
        if host.contains(':') {
            return Err(EndpointError::TooManyColons(address.to_owned()));
        }
        (host, port)
    };
    let port = port.parse().map_err(|_| EndpointError::InvalidPort(port.to_owned()))?;
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_target(host: &str, port: u16) -> Result<GrpcTarget, EndpointError> {
        Ok(GrpcTarget::Host { host: host.to_owned(), port })
    }

    #[test]
    fn endpoints_of_clients_are_parsed_as_in_grpc_go() {
        assert_eq!(GrpcTarget::parse("jaeger:14250"), host_target("jaeger", 14250));
        assert_eq!(GrpcTarget::parse("http://jaeger:14250"), host_target("jaeger", 14250));
        assert_eq!(GrpcTarget::parse("http://jaeger:14250/"), host_target("jaeger", 14250));
        assert_eq!(GrpcTarget::parse("dns:///jaeger:14250"), host_target("jaeger", 14250));
        assert_eq!(GrpcTarget::parse("passthrough:///[::1]:14250"), host_target("::1", 14250));
        assert_eq!(GrpcTarget::parse("[::1]:1").unwrap().authority(), "[::1]:1");
        assert_eq!(GrpcTarget::parse("unix:///run/x"), Ok(GrpcTarget::Unix("/run/x".into())));
        assert_eq!(GrpcTarget::parse("unix://"), Err(EndpointError::EmptyPath));
        assert_eq!(
            GrpcTarget::parse("localhost").unwrap_err().to_string(),
            "address localhost: missing port in address"
        );
        assert_eq!(GrpcTarget::parse("a:b").unwrap_err().to_string(), "invalid port \"b\"");
        assert_eq!(GrpcTarget::parse("::1:1").unwrap_err().to_string(), "address ::1:1: too many colons in address");
    }

    #[test]
    fn http_scheme_in_any_case_is_recognised() {
        assert_eq!(GrpcTarget::parse("HTTPS://jaeger:14250"), host_target("jaeger", 14250));
        assert_eq!(GrpcTarget::parse("Http://jaeger:14250/"), host_target("jaeger", 14250));
        assert!(is_https("HTTPS://jaeger:14250") && !is_https("HTTP://a:1") && !is_https("https:1"));
    }

    #[test]
    fn ipv6_zone_is_part_of_the_host_and_not_of_the_authority() {
        for written in ["[fe80::1%25eth0]:4317", "[fe80::1%eth0]:4317", "http://[fe80::1%25eth0]:4317"] {
            assert_eq!(GrpcTarget::parse(written), host_target("fe80::1%eth0", 4317), "{written}");
            assert_eq!(GrpcTarget::parse(written).unwrap().authority(), "[fe80::1]:4317");
        }
        assert_eq!(without_zone("a%b"), "a%b");
        let listen = parse_listen_endpoint("[fe80::1%eth0]:4317", "tcp");
        assert_eq!(listen, Ok(Endpoint::Tcp { host: "fe80::1%eth0".to_owned(), port: 4317 }));
    }

    #[test]
    fn endpoints_of_servers_are_parsed() {
        let tcp = |host: &str, port| Ok(Endpoint::Tcp { host: host.to_owned(), port });
        assert_eq!(parse_listen_endpoint("0.0.0.0:4317", "tcp"), tcp("0.0.0.0", 4317));
        assert_eq!(parse_listen_endpoint(":4317", "tcp"), tcp("", 4317));
        assert_eq!(parse_listen_endpoint("[10.1.2.3]:4317", "tcp"), tcp("10.1.2.3", 4317));
        assert_eq!(parse_listen_endpoint("/run/otel.sock", "unix"), Ok(Endpoint::Unix("/run/otel.sock".into())));
    }
}
