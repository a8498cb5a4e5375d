//! The network sections that components share: `configgrpc` and `confighttp` of the Go collector.
//!
//! What is not implemented (middlewares) is refused by name here, in one place, so that no component can ignore it. A
//! client without `insecure` uses TLS; it must never fall back to plaintext.

mod client;
mod http_client;
mod server;

pub use client::{Balancer, ClientKeepaliveConfig, GrpcChannelConfig, GrpcClientConfig, GrpcCompression};
pub use http_client::{
    ClientProxy, CompressionConfig, CompressionParamsConfig, CookiesConfig, HttpClientConfig,
    HttpClientKeepaliveConfig, HttpCompression,
};
pub use server::{
    CorsConfig, DialerConfig, EnforcementPolicyConfig, GrpcServerConfig, HttpServerConfig, HttpServerKeepaliveConfig,
    ListenConfig, LoadSkewConfig, ServerKeepaliveConfig, ServerParametersConfig,
};

use http::{HeaderName, HeaderValue};
use otelcore_config::declare::{ConfigItem, ConfigValue, Shape};
use otelcore_config::{ComponentId, EffectiveValue, HeaderEntry, Section, config_struct};

/// Why `middlewares`, which every server and client of the Go collector has, is refused.
const MIDDLEWARES: &str = "middlewares are not supported yet; leave `middlewares` out";

config_struct! {
    /// `auth`: the extension that authenticates.
    #[config(check = Self::check)]
    pub struct AuthConfig {
        /// Its id, such as `bearertokenauth`.
        pub authenticator: String,
    }
}

impl AuthConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if let Err(e) = self.authenticator.parse::<ComponentId>() {
            s.error("authenticator", format!("'authenticator' {e}"))
                .help("write the id of an extension such as `bearertokenauth`");
        }
    }

    /// The id of the extension.
    #[must_use]
    pub fn id(&self) -> Option<ComponentId> {
        self.authenticator.parse().ok()
    }
}

config_struct! {
    /// `auth` of an HTTP server.
    pub struct HttpAuthConfig {
        /// The extension.
        #[config(flatten)]
        pub auth: AuthConfig,
        /// Query parameters that are used in place of header fields of the same name, and take precedence over them.
        pub request_params: Vec<String>,
    }
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

/// `headers` of a client. Those that HTTP can't carry are refused, and those that only the protocol may set are left
/// out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHeaders(pub Headers);

impl ConfigValue for RequestHeaders {
    fn read(s: &mut Section<'_>, key: &str, _: &Self) -> Self {
        let mut headers = Headers::new();
        for header in s.headers(key) {
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
        Self(headers)
    }

    fn shape(_: &Self) -> Shape {
        HeaderEntry::list_shape()
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Null
    }
}

/// A header as HTTP has it. One that HTTP can't carry is reported as an error.
fn parse_header(s: &Section<'_>, header: &HeaderEntry) -> Option<(HeaderName, HeaderValue)> {
    let HeaderEntry { name, value, key } = header;
    let field = HeaderName::try_from(name.to_ascii_lowercase()).ok();
    let value = HeaderValue::from_str(value).ok();
    if field.is_none() || value.is_none() {
        let part = if field.is_none() { "name" } else { "value" };
        let hint = match name.is_empty() {
            true => "it has no name".to_owned(),
            false => format!("its {part} holds a line break, a control character or one that is not ASCII"),
        };
        s.start_error(key, format!("header \"{name}\" has characters that a header can't have")).help(hint);
    }
    field.zip(value)
}

/// `response_headers`, which are set on every response. The rules for their characters are those for request headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeaders(pub Vec<(String, String)>);

impl ConfigValue for ResponseHeaders {
    fn read(s: &mut Section<'_>, key: &str, _: &Self) -> Self {
        let headers = s.headers(key);
        Self(
            headers.into_iter().filter(|header| parse_header(s, header).is_some()).map(|h| (h.name, h.value)).collect(),
        )
    }

    fn shape(_: &Self) -> Shape {
        HeaderEntry::list_shape()
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Null
    }
}

/// A text for one header field, without the line breaks at its end.
fn header_text(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

/// Bytes for a buffer: a size below zero is as zero.
fn buffer(size: isize, least: usize, most: usize) -> usize {
    usize::try_from(size).unwrap_or(0).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use otelcore_config::declare::Config;
    use otelcore_config::{Diagnostics, from_yaml};

    use super::*;

    #[test]
    fn headers_that_only_the_protocol_may_set_are_left_out_with_a_warning() {
        let messages = |yaml: &str, grpc: bool| {
            let d = Diagnostics::new();
            let node = from_yaml(yaml, &d).unwrap();
            let mut s = Section::new(Some(&node), "client", &d);
            if grpc {
                let _ = GrpcClientConfig::read_keys(&mut s, &GrpcClientConfig::default());
            } else {
                let _ = HttpClientConfig::read_keys(&mut s, &HttpClientConfig::default());
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
