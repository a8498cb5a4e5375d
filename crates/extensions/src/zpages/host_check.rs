//! Which `Host` a request may name, so that a page of another site can't read these pages through a browser on this machine
//! (DNS rebinding).
//!
//! Decides from the configured address alone. A server that is bound to loopback answers requests for loopback names and
//! for its own name; one that is bound to other addresses is reached under names that it does not know, and checks nothing.

use std::net::IpAddr;

use otelcore_http::h1::RequestHead;
use otelcore_pipeline::Endpoint;

/// The check of a server's address.
#[derive(Clone, Debug)]
pub(super) enum HostCheck {
    /// It is bound to a loopback address of this name.
    Loopback(String),
    /// It can be reached from other machines.
    Open,
    /// It is a Unix socket, which no browser reaches.
    Local,
}

impl HostCheck {
    /// The check for a server at this address.
    pub(super) fn new(endpoint: Option<&Endpoint>) -> Self {
        match endpoint {
            Some(Endpoint::Tcp { host, .. }) if is_loopback(host) => Self::Loopback(host.clone()),
            Some(Endpoint::Unix(_)) => Self::Local,
            Some(Endpoint::Tcp { .. }) | None => Self::Open,
        }
    }

    /// Whether only processes of this machine reach the server.
    pub(super) fn is_local(&self) -> bool {
        !matches!(self, Self::Open)
    }

    /// Whether a request may be answered; otherwise the host that it names. HTTP/1.0 needs no `Host`, and browsers send one.
    pub(super) fn check(&self, head: &RequestHead) -> Result<(), String> {
        let Self::Loopback(own) = self else { return Ok(()) };
        let Some(field) = head.get("host") else { return Ok(()) };
        let field = String::from_utf8_lossy(field);
        let host = host_part(field.trim());
        if is_loopback(host) || host.eq_ignore_ascii_case(own) { Ok(()) } else { Err(host.chars().take(100).collect()) }
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host_part(authority: &str) -> &str {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// `localhost`, a name below it (RFC 6761), or a loopback address.
fn is_loopback(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    last.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port: 55679 }
    }

    #[test]
    fn address_decides_whether_hosts_are_checked() {
        for host in ["localhost", "127.0.0.1", "::1", "127.1.2.3", "LOCALHOST"] {
            assert!(matches!(HostCheck::new(Some(&tcp(host))), HostCheck::Loopback(_)), "{host}");
        }
        for host in ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example.com", "collector"] {
            assert!(matches!(HostCheck::new(Some(&tcp(host))), HostCheck::Open), "{host}");
        }
    }

    #[test]
    fn host_is_the_authority_without_port_and_brackets() {
        for (authority, host) in [
            ("localhost:55679", "localhost"),
            ("localhost", "localhost"),
            ("[::1]:55679", "::1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("a:b", "a:b"),
            ("", ""),
        ] {
            assert_eq!(host_part(authority), host);
        }
    }

    #[test]
    fn loopback_names_are_recognized_and_no_others() {
        for host in ["localhost", "Localhost.", "app.localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "128.0.0.1",
            "",
            "notlocalhost",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
