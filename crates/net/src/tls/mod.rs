//! TLS for every server and client: sections (`configtls`), certificates and their reload, and the stream.
//!
//! A [`TlsStream`] is between a socket and a protocol machine and has the socket's interface, so machines do not depend
//! on TLS. Files are read through the world when a server opens or a client starts, never while a configuration is
//! checked, as in the Go collector, and again by jobs on helper threads (`reload`).

mod certificates;
mod client;
mod config;
mod error;
mod reload;
mod server;
mod stream;
mod verify;
mod x509;

#[cfg(test)]
mod tests;

pub(crate) use client::LazyConnector;
pub use client::TlsConnector;
pub use config::{OldTlsConfig, TlsClientConfig, TlsCommonConfig, TlsServerConfig, TlsVersion};
pub use error::TlsError;
pub use server::TlsAcceptor;
pub(crate) use stream::PLAINTEXT_ERROR;
pub use stream::TlsStream;
