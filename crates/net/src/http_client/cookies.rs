//! A small cookie jar (RFC 6265): keeps the cookies that servers set and sends them back.
//!
//! Bounded in number and size; the oldest is removed first. There is no list of public suffixes: a `Domain` without a
//! dot applies to the host only.

use std::time::Duration;

use otelcore_http::date;
use otelcore_pipeline::WallTime;

use crate::url::Url;

/// The largest number of cookies that are kept.
const MAX_COOKIES: usize = 64;
/// Bytes of name and value together; RFC 6265 requires a client to take at least this many.
const MAX_COOKIE_BYTES: usize = 4096;

#[derive(Clone, Debug)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    /// Only for that host, not for its subdomains.
    host_only: bool,
    path: String,
    secure: bool,
    expires_at: Option<WallTime>,
}

/// The cookies of one client.
#[derive(Debug, Default)]
pub(super) struct CookieJar(Vec<Cookie>);

impl CookieJar {
    /// Stores one `Set-Cookie` of a response from `url`. An invalid cookie is ignored, as by browsers and Go.
    pub(super) fn set(&mut self, now: WallTime, url: &Url, field: &[u8]) {
        let Some((cookie, expired)) = std::str::from_utf8(field).ok().and_then(|text| parse_set_cookie(now, url, text))
        else {
            return;
        };
        let same = |c: &Cookie| c.name == cookie.name && c.domain == cookie.domain && c.path == cookie.path;
        let position = self.0.iter().position(same);
        match position {
            Some(at) if expired => drop(self.0.remove(at)),
            // The position is kept: it represents the time of creation.
            Some(at) => self.0[at] = cookie,
            None if expired => {}
            None => {
                if self.0.len() == MAX_COOKIES {
                    self.0.remove(0);
                }
                self.0.push(cookie);
            }
        }
    }

    /// The value of `Cookie` for a request, longer paths first.
    pub(super) fn get(&mut self, now: WallTime, url: &Url) -> Option<String> {
        self.0.retain(|c| c.expires_at.is_none_or(|until| until > now));
        let domain_matches = |c: &Cookie| c.domain == url.host() || !c.host_only && is_subdomain(url.host(), &c.domain);
        let matches =
            |c: &&Cookie| domain_matches(c) && path_matches(url.path(), &c.path) && (url.is_https() || !c.secure);
        let mut found: Vec<&Cookie> = self.0.iter().filter(matches).collect();
        found.sort_by_key(|c| std::cmp::Reverse(c.path.len()));
        let pairs: Vec<String> = found.iter().map(|c| format!("{}={}", c.name, c.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// The cookie, and whether it has expired already and so only removes an older one.
fn parse_set_cookie(now: WallTime, url: &Url, field: &str) -> Option<(Cookie, bool)> {
    let mut parts = field.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let is_valid = |text: &str| text.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b';');
    if name.is_empty() || name.len() + value.len() > MAX_COOKIE_BYTES || !is_valid(name) || !is_valid(value) {
        return None;
    }
    let mut cookie = Cookie {
        name: name.to_owned(),
        value: value.to_owned(),
        domain: url.host().to_owned(),
        host_only: true,
        path: default_path(url.path()).to_owned(),
        secure: false,
        expires_at: None,
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
                    if ip || !domain.contains('.') || !is_subdomain(url.host(), &domain) {
                        return None;
                    }
                    (cookie.domain, cookie.host_only) = (domain, false);
                }
            }
            "path" if value.starts_with('/') && value.len() <= MAX_COOKIE_BYTES => cookie.path = value.to_owned(),
            "secure" => cookie.secure = true,
            "max-age" => max_age = value.parse::<i64>().ok(),
            "expires" => expires = date::parse_cookie_date(value).map(|at| WallTime(at.saturating_mul(1_000_000_000))),
            _ => {}
        }
    }
    // Max-Age takes precedence over Expires (RFC 6265, 5.3).
    cookie.expires_at = match (max_age, expires) {
        (Some(age), _) => {
            let age = Duration::from_secs(u64::try_from(age).unwrap_or(0));
            Some(WallTime(now.0.saturating_add(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX))))
        }
        (None, Some(at)) => Some(at),
        (None, None) => None,
    };
    let expired = cookie.expires_at.is_some_and(|until| until <= now);
    Some((cookie, expired))
}

fn is_subdomain(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

fn path_matches(path: &str, cookie_path: &str) -> bool {
    path.strip_prefix(cookie_path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || cookie_path.ends_with('/'))
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

    const NOW: WallTime = WallTime(1_767_225_600_000_000_000);

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn jar(from: &str, fields: &[&str]) -> CookieJar {
        let mut jar = CookieJar::default();
        for field in fields {
            jar.set(NOW, &url(from), field.as_bytes());
        }
        jar
    }

    #[test]
    fn cookie_is_sent_to_its_host_and_below_its_path_only() {
        let mut jar = jar("http://h.example/a/b", &["x=1; HttpOnly", "y=2; Path=/", "z=3; path=/a/b"]);
        assert_eq!(jar.get(NOW, &url("http://h.example/a/b/c")).unwrap(), "z=3; x=1; y=2");
        assert_eq!(jar.get(NOW, &url("http://h.example/ab")).unwrap(), "y=2");
        assert_eq!(jar.get(NOW, &url("http://sub.h.example/a")), None);
        assert_eq!(jar.get(NOW, &url("http://other/a")), None);
    }

    #[test]
    fn cookie_with_a_domain_is_sent_to_the_hosts_of_the_domain_only() {
        let mut jar =
            jar("http://a.h.example/", &["x=1; Domain=.h.example", "y=2; Domain=other.example", "z=3; Domain=example"]);
        assert_eq!(jar.get(NOW, &url("http://b.h.example/")).unwrap(), "x=1");
        assert_eq!(jar.get(NOW, &url("http://h.example/")).unwrap(), "x=1");
        assert_eq!(jar.get(NOW, &url("http://bh.example/")), None);
        assert_eq!(jar.get(NOW, &url("http://other.example/")), None);
    }

    #[test]
    fn cookies_expire_are_replaced_and_are_removed() {
        let mut jar = jar("http://h/", &["x=1; Max-Age=10", "y=2; Expires=Thu, 01 Jan 2026 00:00:20 GMT", "z=3"]);
        jar.set(NOW, &url("http://h/"), b"z=4");
        assert_eq!(jar.get(NOW, &url("http://h/")).unwrap(), "x=1; y=2; z=4");
        let later = |s: u64| WallTime(NOW.0 + s * 1_000_000_000);
        assert_eq!(jar.get(later(10), &url("http://h/")).unwrap(), "y=2; z=4");
        assert_eq!(jar.get(later(20), &url("http://h/")).unwrap(), "z=4");
        jar.set(NOW, &url("http://h/"), b"z=; Max-Age=0; Expires=Fri, 01 Jan 2100 00:00:00 GMT");
        assert_eq!(jar.get(NOW, &url("http://h/")), None);
    }

    #[test]
    fn secure_cookie_is_sent_over_tls_only_and_invalid_cookies_are_ignored() {
        let mut jar =
            jar("https://h/", &["x=1; Secure", "=2", "nothing", "y=\u{1}", &format!("z={}", "z".repeat(5000))]);
        assert_eq!(jar.get(NOW, &url("http://h/")), None);
        assert_eq!(jar.get(NOW, &url("https://h/")).unwrap(), "x=1");
        for i in 0..1000 {
            jar.set(NOW, &url("https://h/"), format!("c{i}=1").as_bytes());
        }
        assert_eq!(jar.0.len(), MAX_COOKIES);
    }
}
