//! The network sections that components share: `configgrpc` and `confighttp` of the Go collector.
//!
//! What is not built (middlewares) is refused by name here, once, so that no component can ignore it. A client without
//! `insecure` means TLS: it must not turn into plaintext.

mod client;
mod http_client;
mod server;

pub use client::{Balancer, GrpcClient, GrpcClientDefaults};
pub use http_client::{Compression, HttpClient, HttpClientDefaults};
pub use server::{Cors, GrpcServer, HttpAuth, HttpServer, HttpServerDefaults};

use http::{HeaderName, HeaderValue};
use otelcore_config::{ComponentId, Flavour, Section};

/// Refuses what every server and client has and we have not.
fn refuse_middlewares(s: &mut Section<'_>) {
    s.unsupported("middlewares", "middlewares are not supported yet; leave `middlewares` out");
}

/// Reads `auth::authenticator` and hands over the section for more.
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

/// Headers that go with every request, names in lower case.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// `headers`, with what HTTP can't carry refused.
fn headers(s: &mut Section<'_>) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in s.headers("headers") {
        let parsed = HeaderName::try_from(name.to_ascii_lowercase()).ok().zip(HeaderValue::from_str(&value).ok());
        match parsed {
            Some((name, mut value)) => {
                value.set_sensitive(true);
                headers.push((name, value));
            }
            None => {
                s.error("headers", format!("header \"{name}\" has characters that a header can't have"));
            }
        }
    }
    headers
}
