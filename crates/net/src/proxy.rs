//! Proxies: which requests use one, and the tunnel through it.
//!
//! The environment is read as Go's `http.ProxyFromEnvironment` does. A [`ProxyTunnel`] sends CONNECT to the proxy
//! before it passes any byte, so that TLS and gRPC can use it like any other stream.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::IpAddr;
use std::rc::Rc;

use otelcore_pipeline::Stream;

use crate::USER_AGENT;
use crate::url::{Url, UrlError};

/// A proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxy {
    url: Url,
}

/// Why a proxy that the user has configured can't be used. The address may contain a password and is not repeated.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProxyError {
    /// The protocol is not supported; its scheme.
    #[error("proxies with \"{0}\" are not supported: the scheme of a proxy is http or https")]
    Scheme(String),
    /// The address is not a URL.
    #[error("invalid proxy address: {0}")]
    Address(UrlError),
    /// The value of a variable of the environment.
    #[error("{variable}: {error}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        error: Box<Self>,
    },
}

/// Selects the proxy of a request, if it uses one.
#[derive(Clone, Debug, Default)]
pub struct ProxySelector {
    http: Option<Result<Rc<Proxy>, ProxyError>>,
    https: Option<Result<Rc<Proxy>, ProxyError>>,
    /// Hosts that are reached without a proxy; none if one proxy is configured for every request.
    no_proxy: Vec<NoProxyEntry>,
    /// Configured, not from the environment: there are no exceptions, not even for loopback addresses.
    is_fixed: bool,
}

/// An entry of `NO_PROXY`.
#[derive(Clone, PartialEq, Eq, Debug)]
enum NoProxyEntry {
    All,
    Network(IpAddr, u8),
    Address(IpAddr, Option<String>),
    /// Names with this ending (it begins with a dot), whether the name without the dot is meant too, and the port if
    /// there is one.
    Domain(String, bool, Option<String>),
}

impl Proxy {
    /// Reads a proxy's URL; without a scheme it is `http`.
    ///
    /// # Errors
    /// What is wrong with it, or that its protocol is not supported.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let url = match scheme.as_deref() {
            None => Url::parse(&format!("http://{text}")),
            Some("http" | "https") => Url::parse(text),
            Some(other) => return Err(ProxyError::Scheme(other.to_owned())),
        };
        url.map(|url| Self { url }).map_err(ProxyError::Address)
    }

    /// The connection to the proxy itself is TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.is_https()
    }

    /// Name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host()
    }

    /// Port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port()
    }

    /// The value of `Proxy-Authorization`, from user and password in the URL.
    #[must_use]
    pub fn authorization(&self) -> Option<String> {
        self.url.basic_authorization()
    }
}

impl ProxySelector {
    /// One proxy for every request.
    #[must_use]
    pub fn fixed(proxy: Proxy) -> Self {
        let proxy = Some(Ok(Rc::new(proxy)));
        Self { http: proxy.clone(), https: proxy, no_proxy: Vec::new(), is_fixed: true }
    }

    /// The proxies of the environment: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` or their names in lower case.
    #[must_use]
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Self {
        let first_set = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| Some((name, env(name).filter(|value| !value.is_empty())?)))
        };
        let proxy = |names| {
            let (variable, value) = first_set(names)?;
            let parsed = Proxy::parse(value.trim()).map(Rc::new);
            Some(parsed.map_err(|e| ProxyError::Variable { variable, error: Box::new(e) }))
        };
        // In a CGI process HTTP_PROXY would be the `Proxy` header of a request.
        let is_cgi = env("REQUEST_METHOD").is_some_and(|method| !method.is_empty());
        let http = if is_cgi { None } else { proxy(["HTTP_PROXY", "http_proxy"]) };
        let no_proxy = first_set(["NO_PROXY", "no_proxy"]).map_or_else(String::new, |(_, value)| value);
        let entries = no_proxy.split(',').filter_map(NoProxyEntry::parse).collect();
        Self { http, https: proxy(["HTTPS_PROXY", "https_proxy"]), no_proxy: entries, is_fixed: false }
    }

    /// Whether one configured proxy is used for every request.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// The proxy for a request to this scheme, host and port.
    ///
    /// # Errors
    /// The proxy of the environment can't be used.
    pub fn find(&self, https: bool, host: &str, port: u16) -> Result<Option<&Rc<Proxy>>, ProxyError> {
        let Some(proxy) = (if https { &self.https } else { &self.http }) else { return Ok(None) };
        let host = host.to_ascii_lowercase();
        let ip = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        let is_local = host == "localhost" || ip.is_some_and(|ip| ip.is_loopback());
        let port = port.to_string();
        if !self.is_fixed && (is_local || self.no_proxy.iter().any(|entry| entry.matches(&host, ip, &port))) {
            return Ok(None);
        }
        proxy.as_ref().map(Some).map_err(Clone::clone)
    }
}

impl NoProxyEntry {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((ip, bits)) = entry.split_once('/')
            && let (Ok(ip), Ok(bits)) = (ip.parse::<IpAddr>(), bits.parse::<u8>())
            && bits <= if ip.is_ipv4() { 32 } else { 128 }
        {
            return Some(Self::Network(ip, bits));
        }
        let (host, port) = match entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => match entry.split_once(':') {
                Some((host, port)) if !port.contains(':') => (host, Some(port)),
                _ => (entry.as_str(), None),
            },
        };
        let port = port.filter(|p| !p.is_empty()).map(str::to_owned);
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Some(Self::Address(ip.to_canonical(), port));
        }
        let host = if host.starts_with("*.") { host.get(1..)? } else { host };
        match host.strip_prefix('.') {
            Some("") => None,
            Some(_) => Some(Self::Domain(host.to_owned(), false, port)),
            None if host.is_empty() => None,
            None => Some(Self::Domain(format!(".{host}"), true, port)),
        }
    }

    fn matches(&self, host: &str, ip: Option<IpAddr>, port: &str) -> bool {
        let port_matches = |of: &Option<String>| of.as_deref().is_none_or(|of| of == port);
        match self {
            Self::All => true,
            Self::Network(net, bits) => ip.is_some_and(|ip| is_in_network(ip, *net, *bits)),
            Self::Address(of, entry_port) => ip == Some(*of) && port_matches(entry_port),
            Self::Domain(of, itself, entry_port) => {
                (host.ends_with(of.as_str()) || *itself && of.strip_prefix('.') == Some(host))
                    && port_matches(entry_port)
            }
        }
    }
}

fn is_in_network(ip: IpAddr, net: IpAddr, bits: u8) -> bool {
    let difference = match (ip, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
        (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
        _ => return false,
    };
    difference.leading_zeros() >= u32::from(bits)
}

/// The longest head of a response to CONNECT, in bytes. Go's default limit is far larger.
const MAX_RESPONSE_HEAD: usize = 64 << 10;

/// A connection through a proxy.
pub struct ProxyTunnel {
    io: Box<dyn Stream>,
    /// `host:port`, for messages.
    target: String,
    state: State,
    /// A write returned `WouldBlock` because the tunnel was not open, and will be tried again.
    write_blocked: bool,
    layer_error: Option<String>,
}

enum State {
    /// CONNECT is being written: its bytes, and how many are written.
    WritingConnect(Vec<u8>, usize),
    /// The response is being read: what has arrived of it.
    ReadingResponse(Vec<u8>),
    /// The tunnel is open: bytes that arrived after the response and were not read yet.
    Open(Vec<u8>),
    Failed(ErrorKind),
}

impl std::fmt::Debug for ProxyTunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyTunnel").field("target", &self.target).finish_non_exhaustive()
    }
}

impl ProxyTunnel {
    /// A tunnel to `host:port` over a connection to `proxy`.
    #[must_use]
    pub fn new(io: Box<dyn Stream>, proxy: &Proxy, host: &str, port: u16) -> Self {
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {}\r\n", USER_AGENT);
        if let Some(credentials) = proxy.authorization() {
            request.push_str(&format!("Proxy-Authorization: {credentials}\r\n"));
        }
        request.push_str("\r\n");
        Self {
            io,
            target,
            state: State::WritingConnect(request.into_bytes(), 0),
            write_blocked: false,
            layer_error: None,
        }
    }

    fn fail(&mut self, kind: ErrorKind, why: Option<String>) -> io::Error {
        self.state = State::Failed(kind);
        if let Some(why) = why {
            self.layer_error.get_or_insert_with(|| format!("proxy: CONNECT {}: {why}", self.target));
        }
        kind.into()
    }

    /// Continues until the tunnel is open.
    fn establish(&mut self) -> io::Result<()> {
        loop {
            let result = match &mut self.state {
                State::Open(_) => return Ok(()),
                State::Failed(kind) => return Err((*kind).into()),
                State::WritingConnect(request, at) => match self.io.write(request.get(*at..).unwrap_or_default()) {
                    Ok(0) => Err(ErrorKind::WriteZero.into()),
                    Ok(n) => {
                        *at += n;
                        if *at >= request.len() {
                            self.state = State::ReadingResponse(Vec::new());
                        }
                        Ok(())
                    }
                    Err(e) => Err(e),
                },
                State::ReadingResponse(_) => self.read_response(),
            };
            match result {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Err(e),
                // The text of a refusal is set already; otherwise the layers below have the more precise text.
                Err(e) => return Err(self.fail(e.kind(), None)),
                Ok(()) => {}
            }
        }
    }

    /// Reads a part of the response to CONNECT.
    fn read_response(&mut self) -> io::Result<()> {
        match self.io.flush() {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            flushed => flushed?,
        }
        let mut piece = [0; 2048];
        let n = self.io.read(&mut piece)?;
        let State::ReadingResponse(head) = &mut self.state else { return Ok(()) };
        if n == 0 {
            return Err(self.fail(ErrorKind::UnexpectedEof, Some("EOF".to_owned())));
        }
        head.extend_from_slice(piece.get(..n).unwrap_or_default());
        while let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") {
            let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
            let line = String::from_utf8_lossy(line).into_owned();
            let status = line.strip_prefix("HTTP/1.").and_then(|l| l.get(2..));
            let code = status.and_then(|s| s.get(..3)).and_then(|c| c.parse::<u16>().ok());
            let rest = head.split_off(end + 4);
            match (code, status) {
                (Some(100..200), _) => *head = rest,
                (Some(200..300), _) => {
                    self.state = State::Open(rest);
                    return Ok(());
                }
                (Some(_), Some(status)) => {
                    let why = status.chars().filter(|c| !c.is_control()).take(200).collect();
                    return Err(self.fail(ErrorKind::ConnectionRefused, Some(why)));
                }
                _ => return Err(self.fail(ErrorKind::InvalidData, Some("malformed HTTP response".to_owned()))),
            }
        }
        if head.len() > MAX_RESPONSE_HEAD {
            return Err(self.fail(ErrorKind::InvalidData, Some("the answer is too long".to_owned())));
        }
        Ok(())
    }

    /// For a write: the stream below, once the tunnel is open.
    fn established_stream(&mut self) -> io::Result<&mut (dyn Stream + 'static)> {
        let result = self.establish();
        self.write_blocked = matches!(&result, Err(e) if e.kind() == ErrorKind::WouldBlock);
        result.map(|()| &mut *self.io)
    }
}

impl Read for ProxyTunnel {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // The response is left to the write that waits for it: if it were read here, no event would cause that write to
        // be tried again.
        if self.write_blocked && matches!(self.state, State::WritingConnect(..) | State::ReadingResponse(_)) {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.establish()?;
        if let State::Open(rest) = &mut self.state
            && !rest.is_empty()
        {
            let n = rest.len().min(buf.len());
            for (to, from) in buf.iter_mut().zip(rest.drain(..n)) {
                *to = from;
            }
            return Ok(n);
        }
        self.io.read(buf)
    }
}

impl Write for ProxyTunnel {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.established_stream()?.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.established_stream()?.write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.established_stream()?.flush()
    }
}

impl Stream for ProxyTunnel {
    fn peer_addr(&self) -> String {
        self.io.peer_addr()
    }

    fn event_key(&self) -> Option<u64> {
        self.io.event_key()
    }

    fn set_protocol(&mut self, protocol: &'static str) {
        self.io.set_protocol(protocol);
    }

    fn set_encrypted(&mut self) {
        self.io.set_encrypted();
    }

    fn shutdown_write(&mut self) {
        self.io.shutdown_write();
    }

    fn layer_error(&self) -> Option<String> {
        self.layer_error.clone().or_else(|| self.io.layer_error())
    }
}

#[cfg(test)]
mod tests;
