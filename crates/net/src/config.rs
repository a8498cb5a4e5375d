//! The network sections that components share: `configgrpc` and `confighttp` of the Go collector.
//!
//! What is not implemented (middlewares) is refused by name here, in one place, so that no component can ignore it. A
//! client without `insecure` uses TLS; it must never fall back to plaintext.

mod client;
mod http_client;
mod server;

pub use client::{Balancer, GrpcClientConfig, GrpcClientDefaults};
pub use http_client::{CompressionConfig, HttpClientConfig, HttpClientDefaults};
pub use server::{CorsConfig, GrpcServerConfig, HttpAuthConfig, HttpServerConfig, HttpServerDefaults};

use http::{HeaderName, HeaderValue};
use otelcore_config::{ComponentId, HeaderEntry, OptionalFlavor, Section};

/// Refuses `middlewares`, which every server and client of the Go collector has and which is not implemented here.
fn refuse_middlewares(s: &mut Section<'_>) {
    s.refuse_unsupported("middlewares", "middlewares are not supported yet; leave `middlewares` out");
}

/// Reads `auth::authenticator`, and returns the section for its other keys.
fn parse_auth<'a>(s: &mut Section<'a>) -> Option<(Option<ComponentId>, Section<'a>)> {
    let mut auth = s.optional_section("auth", OptionalFlavor::None)?;
    let name = auth.str("authenticator", "");
    let id = match name.parse::<ComponentId>() {
        Ok(id) => Some(id),
        Err(e) => {
            auth.error("authenticator", format!("'authenticator' {e}"))
                .help("write the id of an extension such as `bearertokenauth`");
            None
        }
    };
    Some((id, auth))
}

/// Headers that are sent with every request, names in lower case.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// Header fields that the protocols set themselves. Other values for them would break a connection.
const RESERVED_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads `headers`. Those that HTTP can't carry are refused, and those that only the protocol may set are left out.
fn parse_headers(s: &mut Section<'_>) -> Headers {
    let mut headers = Headers::new();
    for header in s.headers("headers") {
        match parse_header(s, &header) {
            Some((name, _)) if RESERVED_HEADERS.contains(&name.as_str()) => {
                s.warn(&header.key, format!("header \"{name}\" has no effect: it belongs to the protocol"))
                    .help("leave it out");
            }
            Some((name, mut value)) => {
                value.set_sensitive(true);
                headers.push((name, value));
            }
            None => {}
        }
    }
    headers
}

/// A header as HTTP has it. One that HTTP can't carry is reported as an error.
fn parse_header(s: &Section<'_>, header: &HeaderEntry) -> Option<(HeaderName, HeaderValue)> {
    let HeaderEntry { name, value, key } = header;
    let header_name = HeaderName::try_from(name.to_ascii_lowercase()).ok();
    let value = HeaderValue::from_str(value).ok();
    if header_name.is_none() || value.is_none() {
        let part = if header_name.is_none() { "name" } else { "value" };
        let hint = match name.is_empty() {
            true => "it has no name".to_owned(),
            false => format!("its {part} holds a line break, a control character or one that is not ASCII"),
        };
        s.start_error(key, format!("header \"{name}\" has characters that a header can't have")).help(hint);
    }
    header_name.zip(value)
}

/// Reads `response_headers`, which are set on every response. The rules for their characters are those for request
/// headers.
fn parse_response_headers(s: &mut Section<'_>) -> Vec<(String, String)> {
    let headers = s.headers("response_headers");
    headers.into_iter().filter(|header| parse_header(s, header).is_some()).map(|h| (h.name, h.value)).collect()
}

/// A text for one header field, without the line breaks at its end.
fn parse_header_text(s: &mut Section<'_>, key: &str) -> String {
    let text = s.str(key, "");
    text.trim_end_matches(['\r', '\n']).to_owned()
}

#[cfg(test)]
mod tests {
    use otelcore_config::{Diagnostics, GoDuration, from_yaml};

    use super::*;

    #[test]
    fn headers_that_only_the_protocol_may_set_are_left_out_with_a_warning() {
        let messages = |yaml: &str, grpc: bool| {
            let d = Diagnostics::new();
            let node = from_yaml(yaml, &d).unwrap();
            let mut s = Section::new(Some(&node), "client", &d);
            if grpc {
                let defaults = GrpcClientDefaults {
                    empty_endpoint: "",
                    compression: "",
                    balancer: Balancer::PickFirst,
                    allow_top_level_tls_keys: false,
                };
                let _ = GrpcClientConfig::parse(&mut s, &defaults);
            } else {
                let _ =
                    HttpClientConfig::parse(&mut s, &HttpClientDefaults { compression: "", timeout: GoDuration::ZERO });
            }
            let _ = s.finish();
            d.items().into_iter().map(|item| item.message).collect::<Vec<_>>()
        };
        let endpoint = "endpoint: 'h:1'\n";
        for grpc in [true, false] {
            let endpoint = if grpc { endpoint } else { "" };
            let yaml = format!("{endpoint}headers: {{Content-Length: '5', X-Tenant: a}}");
            assert_eq!(messages(&yaml, grpc), ["header \"content-length\" has no effect: it belongs to the protocol"]);
            let yaml = format!("{endpoint}headers: {{'a b': x}}");
            assert_eq!(messages(&yaml, grpc), ["header \"a b\" has characters that a header can't have"]);
            let yaml = format!("{endpoint}headers: [{{name: a, value: ''}}, x, {{nam: y}}]");
            assert_eq!(
                messages(&yaml, grpc),
                ["'headers[1]' expected a map or struct, got \"string\"", "'headers[2]' has invalid keys: nam"]
            );
        }
        let yaml = format!("{endpoint}headers: {{grpc-timeout: 1S}}");
        assert_eq!(messages(&yaml, true), ["header \"grpc-timeout\" has no effect: it belongs to gRPC"]);
        assert_eq!(messages("headers: {host: other, user-agent: me}", false), Vec::<String>::new());
    }
}
