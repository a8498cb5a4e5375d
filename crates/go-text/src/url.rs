//! URLs, by the rules of Go's `net/url`, as attributes of the semantic conventions.

use std::net::{Ipv4Addr, Ipv6Addr};

use otelcore_pdata::Value as Tree;

use crate::entries::TreeMap;
use crate::entries::{Entries, string_tree};
use crate::quote::quote;
use memchr::memmem::find;

/// The parts of a URL; or, of a text that begins with `?`, the parameters of a query.
///
/// # Errors
/// The sentence of Go.
pub fn parse(text: &[u8]) -> Result<TreeMap, String> {
    if let Some(query) = text.strip_prefix(b"?") {
        return parse_query(query);
    }
    let (without_fragment, fragment) = cut(text, b"#");
    let failed = |about: &[u8], reason: String| format!("parse {}: {reason}", quote(about));
    let mut url = Url::parse(without_fragment, false).map_err(|reason| failed(without_fragment, reason))?;
    if let Some(fragment) = fragment.filter(|fragment| !fragment.is_empty()) {
        url.fragment = unescape(fragment, Part::Fragment).map_err(|reason| failed(text, reason))?;
        url.raw_fragment = fragment.to_vec();
    }
    url.to_map()
}

/// The parts of a URI that an HTTP client requests: `scheme`, `user`, `host`, `port`, `path` and `query`, without those
/// that are empty; or, of a text that begins with `?`, the parameters of a query.
///
/// # Errors
/// The sentence of Go.
pub fn parse_request_uri(text: &[u8]) -> Result<TreeMap, String> {
    if let Some(query) = text.strip_prefix(b"?") {
        return parse_query(query);
    }
    let url = Url::parse(text, true).map_err(|reason| format!("parse {}: {reason}", quote(text)))?;
    let (host, port) = url.host_and_port();
    let path = escaped_as_written(&url.raw_path, &url.path, Part::Path);
    let user = url.user.as_ref().map_or(&b""[..], |(name, _)| name);
    let parts: [(&[u8], &[u8]); 5] =
        [(b"scheme", &url.scheme), (b"user", user), (b"host", host), (b"port", port), (b"path", &path)];
    let parts = parts.into_iter().filter(|(_, part)| !part.is_empty());
    let mut map: TreeMap = parts.map(|(key, part)| (key.to_vec(), string_tree(part))).collect();
    let (parameters, _) = read_query(&url.query);
    if !parameters.is_empty() {
        map.push((b"query".to_vec(), Tree::Map(parameters)));
    }
    Ok(map)
}

/// The text before and after a separator.
fn cut<'t>(text: &'t [u8], separator: &[u8]) -> (&'t [u8], Option<&'t [u8]>) {
    match find(text, separator) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + separator.len()..)),
        None => (text, None),
    }
}

/// Where a text stands in a URL, which decides what is escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    User,
    Host,
    Zone,
    Query,
    Fragment,
}

fn must_escape(b: u8, part: Part) -> bool {
    if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') {
        return false;
    }
    !match part {
        Part::Path => matches!(b, b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@'),
        Part::User => matches!(b, b'$' | b'&' | b'+' | b',' | b';' | b'='),
        Part::Host | Part::Zone => matches!(
            b,
            b'!' | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'['
                | b']'
                | b'<'
                | b'>'
                | b'"'
        ),
        Part::Query => false,
        Part::Fragment => {
            matches!(b, b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'?' | b'@' | b'!' | b'(' | b')' | b'*')
        }
    }
}

fn escape(text: &[u8], part: Part) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for b in text {
        if must_escape(*b, part) {
            out.extend_from_slice(format!("%{b:02X}").as_bytes());
        } else {
            out.push(*b);
        }
    }
    out
}

fn unescape(text: &[u8], part: Part) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((b, after)) = rest.split_first() {
        rest = after;
        match b {
            b'%' => {
                let digits = match after {
                    [high, low, ..] => char::from(*high).to_digit(16).zip(char::from(*low).to_digit(16)),
                    _ => None,
                };
                let escaped = digits.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                let is_allowed = |b: u8| match part {
                    Part::Host => b >= 0x80 || b == b'%',
                    Part::Zone => b == b'%' || b == b' ' || !must_escape(b, Part::Host),
                    _ => true,
                };
                let Some(escaped) = escaped.filter(|b| is_allowed(*b)) else {
                    let shown: Vec<u8> = std::iter::once(b'%').chain(after.iter().take(2).copied()).collect();
                    return Err(format!("invalid URL escape {}", quote(&shown)));
                };
                out.push(escaped);
                rest = after.get(2..).unwrap_or_default();
            }
            b'+' if part == Part::Query => out.push(b' '),
            b if matches!(part, Part::Host | Part::Zone) && *b < 0x80 && must_escape(*b, part) => {
                return Err(format!("invalid character {} in host name", quote(&[*b])));
            }
            b => out.push(*b),
        }
    }
    Ok(out)
}

fn parse_query(query: &[u8]) -> Result<TreeMap, String> {
    let (parameters, failed) = read_query(query);
    match failed {
        Some(reason) => Err(reason),
        None if parameters.is_empty() => Ok(Vec::new()),
        None => Ok(vec![(b"query".to_vec(), Tree::Map(parameters))]),
    }
}

/// The parameters of a query that are valid, and the first error.
fn read_query(query: &[u8]) -> (TreeMap, Option<String>) {
    let mut parameters = Entries::default();
    let mut failed: Option<String> = None;
    // More parameters than Go accepts.
    if query.iter().filter(|b| **b == b'&').count() >= 10_000 {
        return (Vec::new(), Some("number of URL query parameters exceeded limit".to_owned()));
    }
    for parameter in query.split(|b| *b == b'&') {
        if parameter.contains(&b';') {
            failed = Some("invalid semicolon separator in query".to_owned());
            continue;
        }
        if parameter.is_empty() {
            continue;
        }
        let (key, value) = cut(parameter, b"=");
        let both =
            unescape(key, Part::Query).and_then(|key| Ok((key, unescape(value.unwrap_or_default(), Part::Query)?)));
        match both {
            Ok((key, value)) => match parameters.get_mut(&key) {
                Some(Tree::Array(values)) => values.push(Tree::String(value)),
                _ => parameters.put(&key, Tree::Array(vec![Tree::String(value)])),
            },
            Err(reason) => {
                failed.get_or_insert(reason);
            }
        }
    }
    (parameters.into_map(), failed)
}

#[derive(Default)]
struct Url {
    scheme: Vec<u8>,
    opaque: Vec<u8>,
    user: Option<(Vec<u8>, Option<Vec<u8>>)>,
    host: Vec<u8>,
    path: Vec<u8>,
    raw_path: Vec<u8>,
    /// There is a scheme and no authority.
    omits_host: bool,
    /// The URL ends with a `?`.
    has_empty_query: bool,
    query: Vec<u8>,
    fragment: Vec<u8>,
    raw_fragment: Vec<u8>,
}

impl Url {
    fn parse(text: &[u8], is_request: bool) -> Result<Self, String> {
        if text.iter().any(|b| *b < b' ' || *b == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        let mut url = Self::default();
        if text.is_empty() && is_request {
            return Err("empty url".to_owned());
        }
        if text == b"*" {
            url.path = b"*".to_vec();
            return Ok(url);
        }
        let (scheme, mut rest) = scheme(text)?;
        url.scheme = scheme.to_ascii_lowercase();
        if rest.ends_with(b"?") && rest.iter().filter(|b| **b == b'?').count() == 1 {
            url.has_empty_query = true;
            rest = rest.strip_suffix(b"?").unwrap_or(rest);
        } else {
            let (before, query) = cut(rest, b"?");
            rest = before;
            url.query = query.unwrap_or_default().to_vec();
        }
        if !rest.starts_with(b"/") {
            if !url.scheme.is_empty() {
                url.opaque = rest.to_vec();
                return Ok(url);
            }
            if is_request {
                return Err("invalid URI for request".to_owned());
            }
            if cut(rest, b"/").0.contains(&b':') {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
        }
        if (!url.scheme.is_empty() || (!is_request && !rest.starts_with(b"///")))
            && let Some(authority) = rest.strip_prefix(b"//")
        {
            let end = authority.iter().position(|b| *b == b'/').unwrap_or(authority.len());
            let (authority, path) = authority.split_at_checked(end).unwrap_or((authority, &[]));
            rest = path;
            url.parse_authority(authority)?;
        } else if !url.scheme.is_empty() && rest.starts_with(b"/") {
            url.omits_host = true;
        }
        url.path = unescape(rest, Part::Path)?;
        if escape(&url.path, Part::Path) != rest {
            url.raw_path = rest.to_vec();
        }
        Ok(url)
    }

    fn parse_authority(&mut self, authority: &[u8]) -> Result<(), String> {
        let at = authority.iter().rposition(|b| *b == b'@');
        let host = authority.get(at.map_or(0, |at| at + 1)..).unwrap_or_default();
        self.host = parse_host(&self.scheme, host)?;
        let Some(user) = at.and_then(|at| authority.get(..at)) else { return Ok(()) };
        let is_valid = |b: &u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(b);
        if !user.iter().all(is_valid) {
            return Err("net/url: invalid userinfo".to_owned());
        }
        let (name, password) = cut(user, b":");
        let name = unescape(name, Part::User)?;
        let password = password.map(|password| unescape(password, Part::User)).transpose()?;
        self.user = Some((name, password));
        Ok(())
    }

    fn user_info(&self) -> Vec<u8> {
        let Some((name, password)) = &self.user else { return Vec::new() };
        let mut out = escape(name, Part::User);
        if let Some(password) = password {
            out.push(b':');
            out.extend(escape(password, Part::User));
        }
        out
    }

    /// The host without brackets and port, and the port.
    fn host_and_port(&self) -> (&[u8], &[u8]) {
        let (mut host, mut port) = (&self.host[..], &b""[..]);
        if let Some(colon) = host.iter().rposition(|b| *b == b':')
            && let Some((before, after)) = host.split_at_checked(colon)
            && is_optional_port(after)
        {
            host = before;
            port = after.get(1..).unwrap_or_default();
        }
        if let Some(inner) = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")) {
            host = inner;
        }
        (host, port)
    }

    fn text(&self) -> Vec<u8> {
        let mut out = self.scheme.clone();
        if !out.is_empty() {
            out.push(b':');
        }
        if self.opaque.is_empty() {
            self.put_hierarchy(&mut out);
        } else {
            out.extend_from_slice(&self.opaque);
        }
        if self.has_empty_query || !self.query.is_empty() {
            out.push(b'?');
            out.extend_from_slice(&self.query);
        }
        if !self.fragment.is_empty() {
            out.push(b'#');
            out.extend(escaped_as_written(&self.raw_fragment, &self.fragment, Part::Fragment));
        }
        out
    }

    fn put_hierarchy(&self, out: &mut Vec<u8>) {
        let has_user_or_host = !self.host.is_empty() || self.user.is_some();
        let has_authority = !self.scheme.is_empty() || has_user_or_host;
        if has_authority && (has_user_or_host || !self.omits_host) {
            if has_user_or_host || !self.path.is_empty() {
                out.extend_from_slice(b"//");
            }
            if self.user.is_some() {
                out.extend(self.user_info());
                out.push(b'@');
            }
            out.extend(escape(&self.host, Part::Host));
        }
        let path = if self.path == b"*" && self.raw_path.is_empty() {
            b"*".to_vec()
        } else {
            escaped_as_written(&self.raw_path, &self.path, Part::Path)
        };
        if path.first().is_some_and(|b| *b != b'/') && !self.host.is_empty() {
            out.push(b'/');
        }
        if out.is_empty() && cut(&path, b"/").0.contains(&b':') {
            out.extend_from_slice(b"./");
        }
        out.extend(path);
    }

    fn to_map(&self) -> Result<TreeMap, String> {
        let (host, port) = self.host_and_port();
        let mut map: TreeMap = Vec::new();
        let mut put = |key: &str, value: Tree| map.push((key.as_bytes().to_vec(), value));
        put("url.original", Tree::String(self.text()));
        put("url.domain", string_tree(host));
        put("url.scheme", string_tree(&self.scheme));
        put("url.path", string_tree(&self.path));
        if !port.is_empty() {
            let number = std::str::from_utf8(port).ok().and_then(|port| port.parse().ok());
            let Some(number) = number else {
                return Err(format!("strconv.Atoi: parsing {}: value out of range", quote(port)));
            };
            put("url.port", Tree::Int(number));
        }
        if !self.fragment.is_empty() {
            put("url.fragment", string_tree(&self.fragment));
        }
        if let Some((name, password)) = &self.user {
            put("url.user_info", Tree::String(self.user_info()));
            if !name.is_empty() {
                put("url.username", string_tree(name));
            }
            if let Some(password) = password {
                put("url.password", string_tree(password));
            }
        }
        if !self.query.is_empty() {
            put("url.query", string_tree(&self.query));
        }
        let dot = self.path.iter().rposition(|b| *b == b'.');
        if let Some(extension) = dot.and_then(|dot| self.path.get(dot + 1..)).filter(|e| !e.is_empty()) {
            put("url.extension", string_tree(extension));
        }
        Ok(map)
    }
}

/// The scheme and what follows its colon.
fn scheme(text: &[u8]) -> Result<(&[u8], &[u8]), String> {
    for (index, b) in text.iter().enumerate() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if index > 0 => {}
            b':' if index == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => {
                return Ok((text.get(..index).unwrap_or_default(), text.get(index + 1..).unwrap_or_default()));
            }
            _ => break,
        }
    }
    Ok((&[], text))
}

/// The text as it was written if it is a valid form of what it stands for, or escaped anew.
fn escaped_as_written(raw: &[u8], text: &[u8], part: Part) -> Vec<u8> {
    let is_valid = |b: &u8| b"!$&'()*+,;=:@[]%".contains(b) || !must_escape(*b, part);
    if !raw.is_empty() && raw.iter().all(is_valid) && unescape(raw, part).is_ok_and(|found| found == text) {
        return raw.to_vec();
    }
    escape(text, part)
}

fn is_optional_port(port: &[u8]) -> bool {
    port.is_empty() || port.strip_prefix(b":").is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
}

fn parse_host(scheme: &[u8], host: &[u8]) -> Result<Vec<u8>, String> {
    let invalid_port = |port: &[u8]| format!("invalid port {} after host", quote(port));
    match host.iter().rposition(|b| *b == b'[') {
        Some(0) => {}
        Some(_) => return Err("invalid IP-literal".to_owned()),
        None => {
            let first = host.iter().position(|b| *b == b':');
            let last = host.iter().rposition(|b| *b == b':');
            let is_strict = scheme == b"http" || scheme == b"https";
            if let Some(colon) = if is_strict { first } else { last } {
                let port = host.get(colon..).unwrap_or_default();
                if !is_optional_port(port) {
                    return Err(invalid_port(port));
                }
            }
            return unescape(host, Part::Host);
        }
    }
    let Some(close) = host.iter().rposition(|b| *b == b']') else {
        return Err("missing ']' in host".to_owned());
    };
    let port = host.get(close + 1..).unwrap_or_default();
    if !is_optional_port(port) {
        return Err(invalid_port(port));
    }
    let name = host.get(1..close).unwrap_or_default();
    let name = match find(name, b"%25") {
        Some(zone) => {
            let mut name_and_zone = unescape(name.get(..zone).unwrap_or_default(), Part::Host)?;
            name_and_zone.extend(unescape(name.get(zone..).unwrap_or_default(), Part::Zone)?);
            name_and_zone
        }
        None => unescape(name, Part::Host)?,
    };
    let (address, zone) = cut(&name, b"%");
    let address = std::str::from_utf8(address).unwrap_or_default();
    if address.parse::<Ipv4Addr>().is_ok() {
        return Err("invalid IP-literal".to_owned());
    }
    if address.parse::<Ipv6Addr>().is_err() || zone.is_some_and(<[u8]>::is_empty) {
        return Err(format!("invalid host: ParseAddr({}): unable to parse IP", quote(&name)));
    }
    Ok([b"[", &name[..], b"]", port].concat())
}
