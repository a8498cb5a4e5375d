//! A small cookie jar (RFC 6265): keeps the cookies that servers set and sends them back.
//!
//! Bounded in number and size; the oldest is removed first. There is no list of public suffixes: a `Domain` without a
//! dot applies to the host only.

use std::time::Duration;

use otelcore_http::date;
use otelcore_pipeline::Wall;

use super::Url;

/// The largest number of cookies that are kept.
const MOST: usize = 64;
/// Bytes of name and value together; RFC 6265 requires a client to take at least this many.
const LONGEST: usize = 4096;

#[derive(Clone, Debug)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    /// Only for that host, not for its subdomains.
    host_only: bool,
    path: String,
    secure: bool,
    until: Option<Wall>,
}

/// The cookies of one client.
#[derive(Debug, Default)]
pub(super) struct Jar(Vec<Cookie>);

impl Jar {
    /// Stores one `Set-Cookie` of a response from `url`. An invalid cookie is ignored, as by browsers and Go.
    pub(super) fn set(&mut self, now: Wall, url: &Url, field: &[u8]) {
        let Some((cookie, gone)) = std::str::from_utf8(field).ok().and_then(|text| parse(now, url, text)) else {
            return;
        };
        let same = |c: &Cookie| c.name == cookie.name && c.domain == cookie.domain && c.path == cookie.path;
        let old = self.0.iter().position(same);
        match old {
            Some(at) if gone => drop(self.0.remove(at)),
            // The position is kept: it represents the time of creation.
            Some(at) => self.0[at] = cookie,
            None if gone => {}
            None => {
                if self.0.len() == MOST {
                    self.0.remove(0);
                }
                self.0.push(cookie);
            }
        }
    }

    /// The value of `Cookie` for a request, longer paths first.
    pub(super) fn get(&mut self, now: Wall, url: &Url) -> Option<String> {
        self.0.retain(|c| c.until.is_none_or(|until| until > now));
        let host_fits = |c: &Cookie| c.domain == url.host() || !c.host_only && is_below(url.host(), &c.domain);
        let fits = |c: &&Cookie| host_fits(c) && path_fits(url.path(), &c.path) && (url.is_https() || !c.secure);
        let mut found: Vec<&Cookie> = self.0.iter().filter(fits).collect();
        found.sort_by_key(|c| std::cmp::Reverse(c.path.len()));
        let pairs: Vec<String> = found.iter().map(|c| format!("{}={}", c.name, c.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// The cookie, and whether it only removes an older one.
fn parse(now: Wall, url: &Url, field: &str) -> Option<(Cookie, bool)> {
    let mut parts = field.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let plain = |text: &str| text.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b';');
    if name.is_empty() || name.len() + value.len() > LONGEST || !plain(name) || !plain(value) {
        return None;
    }
    let mut cookie = Cookie {
        name: name.to_owned(),
        value: value.to_owned(),
        domain: url.host().to_owned(),
        host_only: true,
        path: default_path(url.path()).to_owned(),
        secure: false,
        until: None,
    };
    let (mut expires, mut max_age) = (None, None);
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "domain" => {
                let domain = value.trim_start_matches('.').to_ascii_lowercase();
                let ip = url.host().parse::<std::net::IpAddr>().is_ok();
                if domain == url.host() {
                    cookie.host_only = ip || !domain.contains('.');
                } else if !domain.is_empty() {
                    if ip || !domain.contains('.') || !is_below(url.host(), &domain) {
                        return None;
                    }
                    (cookie.domain, cookie.host_only) = (domain, false);
                }
            }
            "path" if value.starts_with('/') && value.len() <= LONGEST => cookie.path = value.to_owned(),
            "secure" => cookie.secure = true,
            "max-age" => max_age = value.parse::<i64>().ok(),
            "expires" => expires = date::loose(value).map(|at| Wall(at.saturating_mul(1_000_000_000))),
            _ => {}
        }
    }
    // Max-Age takes precedence over Expires (RFC 6265, 5.3).
    cookie.until = match (max_age, expires) {
        (Some(age), _) => {
            let age = Duration::from_secs(u64::try_from(age).unwrap_or(0));
            Some(Wall(now.0.saturating_add(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX))))
        }
        (None, Some(at)) => Some(at),
        (None, None) => None,
    };
    let gone = cookie.until.is_some_and(|until| until <= now);
    Some((cookie, gone))
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

fn path_fits(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || of.ends_with('/'))
}

/// RFC 6265, 5.1.4.
fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => path.get(..at).unwrap_or("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_767_225_600_000_000_000);

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn jar(from: &str, fields: &[&str]) -> Jar {
        let mut jar = Jar::default();
        for field in fields {
            jar.set(NOW, &url(from), field.as_bytes());
        }
        jar
    }

    #[test]
    fn a_cookie_goes_back_to_its_host_and_below_its_path() {
        let mut jar = jar("http://h.example/a/b", &["x=1; HttpOnly", "y=2; Path=/", "z=3; path=/a/b"]);
        assert_eq!(jar.get(NOW, &url("http://h.example/a/b/c")).unwrap(), "z=3; x=1; y=2");
        assert_eq!(jar.get(NOW, &url("http://h.example/ab")).unwrap(), "y=2");
        assert_eq!(jar.get(NOW, &url("http://sub.h.example/a")), None);
        assert_eq!(jar.get(NOW, &url("http://other/a")), None);
    }

    #[test]
    fn a_domain_reaches_its_hosts_and_no_others() {
        let mut jar =
            jar("http://a.h.example/", &["x=1; Domain=.h.example", "y=2; Domain=other.example", "z=3; Domain=example"]);
        assert_eq!(jar.get(NOW, &url("http://b.h.example/")).unwrap(), "x=1");
        assert_eq!(jar.get(NOW, &url("http://h.example/")).unwrap(), "x=1");
        assert_eq!(jar.get(NOW, &url("http://bh.example/")), None);
        assert_eq!(jar.get(NOW, &url("http://other.example/")), None);
    }

    #[test]
    fn cookies_end_are_replaced_and_are_taken_away() {
        let mut jar = jar("http://h/", &["x=1; Max-Age=10", "y=2; Expires=Thu, 01 Jan 2026 00:00:20 GMT", "z=3"]);
        jar.set(NOW, &url("http://h/"), b"z=4");
        assert_eq!(jar.get(NOW, &url("http://h/")).unwrap(), "x=1; y=2; z=4");
        let later = |s: u64| Wall(NOW.0 + s * 1_000_000_000);
        assert_eq!(jar.get(later(10), &url("http://h/")).unwrap(), "y=2; z=4");
        assert_eq!(jar.get(later(20), &url("http://h/")).unwrap(), "z=4");
        jar.set(NOW, &url("http://h/"), b"z=; Max-Age=0; Expires=Fri, 01 Jan 2100 00:00:00 GMT");
        assert_eq!(jar.get(NOW, &url("http://h/")), None);
    }

    #[test]
    fn what_is_secure_needs_tls_and_nonsense_is_ignored() {
        let mut jar =
            jar("https://h/", &["x=1; Secure", "=2", "nothing", "y=\u{1}", &format!("z={}", "z".repeat(5000))]);
        assert_eq!(jar.get(NOW, &url("http://h/")), None);
        assert_eq!(jar.get(NOW, &url("https://h/")).unwrap(), "x=1");
        for i in 0..1000 {
            jar.set(NOW, &url("https://h/"), format!("c{i}=1").as_bytes());
        }
        assert_eq!(jar.0.len(), MOST);
    }
}
