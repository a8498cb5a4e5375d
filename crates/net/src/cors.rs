//! Cross-origin requests (the Fetch standard's CORS protocol), for pages in a browser that send telemetry.
//!
//! Makes responses to preflights and adds the header fields of other responses. As in the Go collector, credentials are
//! allowed for origins that are listed, but not for `*`: the standard does not allow both together.

use otelcore_http::h1::{RequestHead, Response};

use crate::config::CorsConfig;

/// Header fields that a preflight may request if `allowed_headers` is empty.
const DEFAULT_HEADERS: [&str; 3] = ["accept", "content-type", "x-requested-with"];

fn header_field<'h>(head: &'h RequestHead, name: &str) -> Option<&'h str> {
    head.get(name).and_then(|v| std::str::from_utf8(v).ok()).map(str::trim)
}

impl CorsConfig {
    /// The response to a preflight, if the request is one.
    #[must_use]
    pub fn preflight_response(&self, head: &RequestHead) -> Option<Response> {
        let method = header_field(head, "access-control-request-method").filter(|_| head.method() == "OPTIONS")?;
        let response = Response::new(204, "", "")
            .header("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
        let Some(origin) = header_field(head, "origin").and_then(|origin| self.allow_origin(origin)) else {
            return Some(response);
        };
        if !method.eq_ignore_ascii_case("POST") {
            return Some(response);
        }
        let requested = header_field(head, "access-control-request-headers").unwrap_or_default();
        if !requested.split(',').map(str::trim).filter(|name| !name.is_empty()).all(|name| self.allows_header(name)) {
            return Some(response);
        }
        let grant = grant_fields(origin).into_iter().flatten();
        let mut response = grant.fold(response, |response, (name, value)| response.header(name, value));
        response = response.header("Access-Control-Allow-Methods", method);
        if !requested.is_empty() {
            response = response.header("Access-Control-Allow-Headers", requested);
        }
        if self.max_age > 0 {
            response = response.header("Access-Control-Max-Age", self.max_age.to_string());
        }
        Some(response)
    }

    /// The header fields that a response needs, so that the page that sent the request may read it.
    #[must_use]
    pub fn response_fields(&self, head: &RequestHead) -> Vec<(String, String)> {
        let mut fields = vec![("Vary".to_owned(), "Origin".to_owned())];
        if let Some(origin) = header_field(head, "origin").and_then(|origin| self.allow_origin(origin)) {
            let grant = grant_fields(origin).into_iter().flatten();
            fields.extend(grant.map(|(name, value)| (name.to_owned(), value.to_owned())));
            if !self.exposed_headers.is_empty() {
                fields.push(("Access-Control-Expose-Headers".to_owned(), self.exposed_headers.join(", ")));
            }
        }
        fields
    }

    /// The value of `Access-Control-Allow-Origin` for an allowed origin: the origin itself, or `*` if every origin is
    /// allowed.
    fn allow_origin<'o>(&self, origin: &'o str) -> Option<&'o str> {
        if self.allowed_origins.iter().any(|pattern| pattern == "*") {
            return Some("*");
        }
        self.allowed_origins.iter().any(|pattern| origin_matches(pattern, origin)).then_some(origin)
    }

    fn allows_header(&self, name: &str) -> bool {
        if self.allowed_headers.is_empty() {
            return DEFAULT_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name));
        }
        self.allowed_headers.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(name))
            || name.eq_ignore_ascii_case("origin")
    }
}

/// The header fields that grant access to an allowed origin. A response with `*` and credentials together may be read
/// by no page (Fetch, 3.2.5).
fn grant_fields(origin: &str) -> [Option<(&'static str, &str)>; 2] {
    let credentials = (origin != "*").then_some(("Access-Control-Allow-Credentials", "true"));
    [Some(("Access-Control-Allow-Origin", origin)), credentials]
}

/// Whether an origin matches a pattern with at most one `*`, ignoring case.
fn origin_matches(pattern: &str, origin: &str) -> bool {
    let (pattern, origin) = (pattern.to_ascii_lowercase(), origin.to_ascii_lowercase());
    match pattern.split_once('*') {
        None => pattern == origin,
        Some((before, after)) => {
            origin.len() >= before.len() + after.len() && origin.starts_with(before) && origin.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_granted_to_named_origins_and_not_to_every_origin() {
        assert_eq!(grant_fields("*"), [Some(("Access-Control-Allow-Origin", "*")), None]);
        let named = [("Access-Control-Allow-Origin", "https://a"), ("Access-Control-Allow-Credentials", "true")];
        assert_eq!(grant_fields("https://a"), named.map(Some));
    }

    #[test]
    fn star_in_an_origin_pattern_matches_any_text() {
        assert!(origin_matches("https://*.example.com", "https://a.example.com"));
        assert!(origin_matches("https://*.example.com", "HTTPS://A.b.example.com"));
        assert!(!origin_matches("https://*.example.com", "https://example.com"));
        assert!(!origin_matches("http://a*a", "http://a"));
        assert!(origin_matches("http://localhost:3000", "http://localhost:3000"));
        assert!(!origin_matches("http://localhost:3000", "http://localhost:30000"));
    }
}
