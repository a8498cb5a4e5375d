//! The network sections that components share: `configgrpc` and `confighttp` of the Go collector.
//!
//! What is not implemented (middlewares) is refused by name here, in one place, so that no component can ignore it. A
//! client without `insecure` uses TLS; it must never fall back to plaintext.

mod client;
mod http_client;
mod server;

pub use client::{Balancer, GrpcClient, GrpcClientDefaults};
pub use http_client::{Compression, HttpClient, HttpClientDefaults};
pub use server::{Cors, GrpcServer, HttpAuth, HttpServer, HttpServerDefaults};

use http::{HeaderName, HeaderValue};
use otelcore_config::{ComponentId, Flavour, Header, Section};

/// Refuses `middlewares`, which every server and client of the Go collector has and which is not implemented here.
fn refuse_middlewares(s: &mut Section<'_>) {
    s.unsupported("middlewares", "middlewares are not supported yet; leave `middlewares` out");
}

/// Reads `auth::authenticator`, and returns the section for its other keys.
fn auth<'a>(s: &mut Section<'a>) -> Option<(Option<ComponentId>, Section<'a>)> {
    let mut auth = s.optional("auth", Flavour::None)?;
    let name = auth.str("authenticator", "");
    let id = match name.parse::<ComponentId>() {
        Ok(id) => Some(id),
        Err(e) => {
            auth.error("authenticator", format!("'authenticator' {e}"))
                .hint("write the id of an extension such as `bearertokenauth`");
            None
        }
    };
    Some((id, auth))
}

/// Headers that are sent with every request, names in lower case.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// Header fields that the protocols set themselves. Other values for them would break a connection.
const RESERVED: [&str; 9] = [
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
fn headers(s: &mut Section<'_>) -> Headers {
    let mut headers = Headers::new();
    for header in s.headers("headers") {
        match parsed(s, &header) {
            Some((name, _)) if RESERVED.contains(&name.as_str()) => {
                s.warn(&header.key, format!("header \"{name}\" has no effect: it belongs to the protocol"))
                    .hint("leave it out");
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
fn parsed(s: &Section<'_>, header: &Header) -> Option<(HeaderName, HeaderValue)> {
    let Header { name, value, key } = header;
    let field = HeaderName::try_from(name.to_ascii_lowercase()).ok();
    let value = HeaderValue::from_str(value).ok();
    if field.is_none() || value.is_none() {
        let part = if field.is_none() { "name" } else { "value" };
        let hint = match name.is_empty() {
            true => "it has no name".to_owned(),
            false => format!("its {part} holds a line break, a control character or one that is not ASCII"),
        };
        s.start_error(key, format!("header \"{name}\" has characters that a header can't have")).hint(hint);
    }
    field.zip(value)
}

/// Reads `response_headers`, which are set on every response. The rules for their characters are those for request
/// headers.
fn response_headers(s: &mut Section<'_>) -> Vec<(String, String)> {
    let headers = s.headers("response_headers");
    headers.into_iter().filter(|header| parsed(s, header).is_some()).map(|h| (h.name, h.value)).collect()
}

/// A text for one header field, without the line breaks at its end.
fn header_text(s: &mut Section<'_>, key: &str) -> String {
    let text = s.str(key, "");
    text.trim_end_matches(['\r', '\n']).to_owned()
}

#[cfg(test)]
mod tests {
    use otelcore_config::{Diagnostics, Dur, from_yaml};

    use super::*;

    #[test]
    fn headers_that_would_break_a_connection_are_left_out() {
        let said = |yaml: &str, grpc: bool| {
            let d = Diagnostics::new();
            let node = from_yaml(yaml, &d).unwrap();
            let mut s = Section::new(Some(&node), "client", &d);
            if grpc {
                let defaults = GrpcClientDefaults {
                    empty_endpoint: "",
                    compression: "",
                    balancer: Balancer::PickFirst,
                    tls_keys_outside: false,
                };
                let _ = GrpcClient::parse(&mut s, &defaults);
            } else {
                let _ = HttpClient::parse(&mut s, &HttpClientDefaults { compression: "", timeout: Dur::ZERO });
            }
            let _ = s.finish();
            d.items().into_iter().map(|item| item.message).collect::<Vec<_>>()
        };
        let endpoint = "endpoint: 'h:1'\n";
        for grpc in [true, false] {
            let endpoint = if grpc { endpoint } else { "" };
            let yaml = format!("{endpoint}headers: {{Content-Length: '5', X-Tenant: a}}");
            assert_eq!(said(&yaml, grpc), ["header \"content-length\" has no effect: it belongs to the protocol"]);
            let yaml = format!("{endpoint}headers: {{'a b': x}}");
            assert_eq!(said(&yaml, grpc), ["header \"a b\" has characters that a header can't have"]);
            let yaml = format!("{endpoint}headers: [{{name: a, value: ''}}, x, {{nam: y}}]");
            assert_eq!(
                said(&yaml, grpc),
                ["'headers[1]' expected a map or struct, got \"string\"", "'headers[2]' has invalid keys: nam"]
            );
        }
        let yaml = format!("{endpoint}headers: {{grpc-timeout: 1S}}");
        assert_eq!(said(&yaml, true), ["header \"grpc-timeout\" has no effect: it belongs to gRPC"]);
        assert_eq!(said("headers: {host: other, user-agent: me}", false), Vec::<String>::new());
    }
}
