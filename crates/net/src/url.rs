//! URLs of requests: parsed once, and kept as the parts that a request needs.
//!
//! Accepts the `http` and `https` URLs that Go's `net/url` accepts, and escapes characters that a request line cannot
//! carry. Never shows a password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;

use crate::endpoint::without_zone;
use crate::idn::{IdnError, ascii_host};

/// An `http` or `https` URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    https: bool,
    host: String,
    port: u16,
    authority: String,
    target: String,
    /// `user:password`, as Basic authentication sends it.
    userinfo: Option<(String, Option<String>)>,
}

/// Why a URL can't be used, with Go's text where Go has one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// Neither `http` nor `https`.
    #[error("unsupported protocol scheme \"{0}\"")]
    UnsupportedScheme(String),
    /// Nothing between `//` and the path.
    #[error("http: no Host in request URL")]
    NoHost,
    /// Brackets, spaces or the like where the host should be.
    #[error("invalid character in host name \"{0}\"")]
    InvalidHost(String),
    /// A name with non-ASCII characters that has no unique ASCII form.
    #[error("host \"{0}\" is not ASCII: {1}")]
    HostNotAscii(String, IdnError),
    /// Not a number up to 65535.
    #[error("invalid port \"{0}\" after host")]
    InvalidPort(String),
    /// ASCII control characters.
    #[error("net/url: invalid control character in URL")]
    ControlCharacter,
    /// `%` without two digits, in the part with user and password.
    #[error("net/url: invalid userinfo")]
    InvalidUserinfo,
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Url({self})")
    }
}

/// As in Go's errors: the whole URL, with `***` in place of the password.
impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.scheme())?;
        f.write_str("://")?;
        if let Some((user, password)) = &self.userinfo {
            f.write_str(user)?;
            f.write_str(if password.is_some() { ":***@" } else { "@" })?;
        }
        f.write_str(&self.authority)?;
        // An empty path and `/` give the same request.
        f.write_str(if self.target == "/" { "" } else { &self.target })
    }
}

impl Url {
    /// Reads an absolute URL. A fragment is left out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.bytes().any(|b| b.is_ascii_control()) {
            return Err(UrlError::ControlCharacter);
        }
        let text = text.split('#').next().unwrap_or_default();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
            UrlError::UnsupportedScheme(scheme.to_owned())
        })?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            other => return Err(UrlError::UnsupportedScheme(other.to_owned())),
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, rest)) => (Some(parse_userinfo(user)?), rest),
            None => (None, authority),
        };
        let default = if https { 443 } else { 80 };
        let (host, port) = parse_host_port(authority, default)?;
        let as_written = authority.strip_suffix(':').unwrap_or(authority);
        let authority = if !as_written.is_ascii() || host.contains('%') {
            // Neither a zone nor a non-ASCII name is sent to the peer.
            let bare_host = without_zone(&host);
            let host = if bare_host.contains(':') { format!("[{bare_host}]") } else { bare_host.to_owned() };
            if port == default { host } else { format!("{host}:{port}") }
        } else {
            as_written.to_owned()
        };
        Ok(Self { https, host, port, authority, target: percent_encode(target), userinfo: user })
    }

    /// The URL that a `Location` field means, which may be relative to this one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        if location.bytes().any(|b| b.is_ascii_control()) {
            return Err(UrlError::ControlCharacter);
        }
        let has_scheme = location.split(['/', '?', '#']).next().unwrap_or_default().contains(':');
        if has_scheme {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{}:{location}", self.scheme()));
        }
        let location = location.split('#').next().unwrap_or_default();
        let path = self.path();
        let target = match location.bytes().next() {
            None => self.target.clone(),
            Some(b'?') => format!("{path}{location}"),
            first => {
                let (relative, query) = location.split_at(location.find('?').unwrap_or(location.len()));
                let base = if first == Some(b'/') { "" } else { &path[..path.rfind('/').map_or(0, |at| at + 1)] };
                format!("{}{query}", remove_dot_segments(&format!("{base}{relative}")))
            }
        };
        Ok(Self { target: percent_encode(&target), ..self.clone() })
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// TLS is needed.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Name or address in lower case, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port as written, or the default of the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they were written: the value of `Host`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The value of `Authorization` for user and password.
    #[must_use]
    pub fn basic_authorization(&self) -> Option<String> {
        let (user, password) = self.userinfo.as_ref()?;
        let plain = format!("{user}:{}", password.as_deref().unwrap_or_default());
        Some(format!("Basic {}", STANDARD.encode(plain)))
    }
}

fn parse_host_port(authority: &str, default: u16) -> Result<(String, u16), UrlError> {
    let bad = || UrlError::InvalidHost(authority.to_owned());
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
        let (address, zone) = host.split_once("%25").map_or((host, None), |(address, zone)| (address, Some(zone)));
        let is_zone_id =
            |zone: &str| !zone.is_empty() && zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        if address.parse::<std::net::Ipv6Addr>().is_err() || !zone.is_none_or(is_zone_id) {
            return Err(bad());
        }
        match rest.strip_prefix(':') {
            Some(port) => (host, port),
            None if rest.is_empty() => (host, ""),
            None => return Err(bad()),
        }
    } else {
        authority.split_once(':').unwrap_or((authority, ""))
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let host = match host.split_once("%25").filter(|(address, _)| address.contains(':')) {
        Some((address, zone)) => format!("{}%{zone}", address.to_ascii_lowercase()),
        None => ascii_host(host).map_err(|why| UrlError::HostNotAscii(host.to_owned(), why))?.to_ascii_lowercase(),
    };
    if !without_zone(&host).bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(&b)) {
        return Err(bad());
    }
    let port = match port {
        "" => default,
        port if port.bytes().all(|b| b.is_ascii_digit()) => {
            port.parse().map_err(|_| UrlError::InvalidPort(format!(":{port}")))?
        }
        port => return Err(UrlError::InvalidPort(format!(":{port}"))),
    };
    Ok((host, port))
}

fn parse_userinfo(text: &str) -> Result<(String, Option<String>), UrlError> {
    let decode = |text: &str| percent_decode(text).ok_or(UrlError::InvalidUserinfo);
    match text.split_once(':') {
        Some((user, password)) => Ok((decode(user)?, Some(decode(password)?))),
        None => Ok((decode(text)?, None)),
    }
}

/// Percent-decoding (RFC 3986, 2.1).
fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
            out.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).ok()
}

/// Path and query with everything escaped that would break a request line.
fn percent_encode(target: &str) -> String {
    let mut out = String::with_capacity(target.len() + 1);
    if !target.starts_with('/') {
        out.push('/');
    }
    percent_escape(&mut out, target, |b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
    out
}

/// Appends a text to a URL, with the bytes percent-encoded that are not plain.
pub fn percent_escape(url: &mut String, text: &str, is_plain: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if is_plain(byte) {
            url.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

/// Whether a byte is unreserved by RFC 3986: it means itself in every part of a URL.
#[must_use]
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)
}

/// The name or the value of a parameter in a query, as Go's `url.QueryEscape` writes it: a space is `+`.
#[must_use]
pub fn query_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 {
            escaped.push('+');
        }
        percent_escape(&mut escaped, word, is_unreserved);
    }
    escaped
}

/// RFC 3986, 5.2.4.
fn remove_dot_segments(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let last = path.rsplit('/').next().unwrap_or_default();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    if matches!(last, "." | "..") {
        parts.push("");
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn url_is_split_into_its_components() {
        let u = url("HTTPS://Collector.example:4318/v1/traces?a=b#c");
        assert_eq!((u.scheme(), u.host(), u.port()), ("https", "collector.example", 4318));
        assert_eq!((u.authority(), u.target(), u.path()), ("Collector.example:4318", "/v1/traces?a=b", "/v1/traces"));
        assert_eq!((url("http://h").port(), url("https://h:").port()), (80, 443));
        assert_eq!((url("http://h?x").target(), url("http://h:/").authority()), ("/?x", "h"));
        let six = url("http://[::1]:80/");
        assert_eq!((six.host(), six.authority()), ("::1", "[::1]:80"));
        assert_eq!(url("http://h/a b\u{e9}").target(), "/a%20b%C3%A9");
    }

    #[test]
    fn zone_and_non_ascii_name_are_not_sent_as_written() {
        let zone = url("http://[FE80::1%25eth0]:4318/x");
        assert_eq!((zone.host(), zone.authority()), ("fe80::1%eth0", "[fe80::1]:4318"));
        assert_eq!(url("http://[fe80::1%25eth0]/").authority(), "[fe80::1]");
        let name = url("https://B\u{fc}cher.example:4318/");
        assert_eq!((name.host(), name.authority()), ("xn--bcher-kva.example", "xn--bcher-kva.example:4318"));
        for (text, why) in [
            ("http://[fe80::1%eth0]:1/", "invalid character in host name \"[fe80::1%eth0]:1\""),
            ("http://[fe80::1%25]:1/", "invalid character in host name \"[fe80::1%25]:1\""),
            ("http://a%25b/", "invalid character in host name \"a%25b\""),
        ] {
            assert_eq!(Url::parse(text).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn invalid_url_is_refused_with_the_reason() {
        for (text, why) in [
            ("h:4318", "unsupported protocol scheme \"h\""),
            ("ftp://h", "unsupported protocol scheme \"ftp\""),
            ("http://", "http: no Host in request URL"),
            ("http://:80/", "http: no Host in request URL"),
            ("http://h:x/", "invalid port \":x\" after host"),
            ("http://h:70000/", "invalid port \":70000\" after host"),
            ("http://a b/", "invalid character in host name \"a b\""),
            ("http://[::1/", "invalid character in host name \"[::1\""),
            ("http://h/\r\nX: y", "net/url: invalid control character in URL"),
            ("http://%zz@h/", "net/url: invalid userinfo"),
        ] {
            assert_eq!(Url::parse(text).unwrap_err().to_string(), why, "{text}");
        }
    }

    #[test]
    fn user_and_password_become_basic_authentication_and_are_not_displayed() {
        let u = url("http://Aladdin:open%20sesame@h/x");
        assert_eq!(u.basic_authorization().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(u.to_string(), "http://Aladdin:***@h/x");
        assert_eq!(url("http://ab@h").basic_authorization().unwrap(), "Basic YWI6");
        assert_eq!(url("http://abc@h").basic_authorization().unwrap(), "Basic YWJjOg==");
        assert_eq!(url("http://h").basic_authorization(), None);
    }

    #[test]
    fn location_is_resolved_against_the_url_of_the_request() {
        let base = url("http://u:p@h:1/a/b/c?q");
        for (location, then) in [
            ("https://x/y", "https://x/y"),
            ("//x/y", "http://x/y"),
            ("/y?z#f", "http://u:***@h:1/y?z"),
            ("d", "http://u:***@h:1/a/b/d"),
            ("../d/", "http://u:***@h:1/a/d/"),
            ("../../../..", "http://u:***@h:1"),
            ("./x/./y", "http://u:***@h:1/a/b/x/y"),
            ("?n", "http://u:***@h:1/a/b/c?n"),
            ("", "http://u:***@h:1/a/b/c?q"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), then, "{location}");
        }
        assert!(base.join("mailto:x").is_err());
    }
}
