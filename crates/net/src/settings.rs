//! The network sections that components share: `configgrpc` and `confighttp` of the Go collector.
//!
//! What is not built yet (TLS, authentication, cross-origin requests, further codings) is refused by name here, once,
//! so that no component can ignore it. A client without `insecure` means TLS: it must not turn into plaintext.

mod client;
mod server;

pub use client::{Balancer, GrpcClient, GrpcClientDefaults};
pub use server::{GrpcServer, HttpServer, HttpServerDefaults};

use otelcore_config::{Flavour, Section};

/// Why TLS is refused, in one sentence for servers and clients.
const NO_TLS: &str = "TLS is not supported yet";

/// Refuses what every server has and we have not: `auth`, `middlewares`.
fn refuse_extensions(s: &mut Section<'_>) {
    s.unsupported("auth", "authentication is not supported yet; leave `auth` out");
    s.unsupported("middlewares", "middlewares are not supported yet; leave `middlewares` out");
}

/// Refuses a server's `tls` section when it is on. A null one stays off, as in the Go collector.
fn refuse_server_tls(s: &mut Section<'_>) {
    if s.optional("tls", Flavour::None).is_some_and(|mut tls| {
        // Its keys are not looked at: the section itself is the mistake.
        for key in tls.child_keys() {
            let _ = tls.node(&key.value);
        }
        let _ = tls.finish();
        true
    }) {
        s.error("tls", format!("{NO_TLS}: this server would listen in plaintext"))
            .hint("leave `tls` out, or put a proxy that ends TLS in front");
    }
}
