//! TLS of a client's connections, to origins and to proxies.
//!
//! Certificates for URLs that are known at the start are read then, so that a mistake stops the start. Where only a
//! redirect leads to a URL with `https`, they are read on a helper thread, and the requests of that origin wait.

use std::task::{Poll, ready};

use otelcore_pipeline::{Cx, Logger};

use super::ConnectError;
use crate::tls::{LazyConnector, TlsClientConfig, TlsConnector, TlsError};

const ALPN: &[&[u8]] = &[b"http/1.1"];

pub(super) struct ClientTls {
    settings: TlsClientConfig,
    /// As in Go, a proxy has the same authorities and certificate, and its own name.
    proxy_settings: TlsClientConfig,
    log: Logger,
    /// The key under which the end of a job is reported.
    local: u64,
    origin: LazyConnector,
    proxy: LazyConnector,
}

impl ClientTls {
    pub(super) fn new(settings: &TlsClientConfig, log: Logger, local: u64) -> Self {
        let (origin, proxy) = (LazyConnector::default(), LazyConnector::default());
        Self { settings: settings.clone(), proxy_settings: proxy_tls_config(settings), log, local, origin, proxy }
    }

    /// Loads what is needed for a URL that is known at the start.
    pub(super) fn load_now(&mut self, cx: &mut Cx<'_>, is_origin: bool, is_proxy: bool) -> Result<(), TlsError> {
        if is_proxy {
            self.proxy.load_now(cx, &self.proxy_settings, ALPN, &self.log)?;
        }
        if is_origin {
            self.origin.load_now(cx, &self.settings, ALPN, &self.log)?;
        }
        Ok(())
    }

    /// Loads what a connection needs. While this is pending, the end of a job is awaited.
    pub(super) fn poll_load(&mut self, cx: &mut Cx<'_>, is_origin: bool, is_proxy: bool) -> Poll<Result<(), TlsError>> {
        if is_proxy {
            ready!(self.proxy.poll_load(cx, self.local, &self.proxy_settings, ALPN, &self.log))?;
        }
        if is_origin {
            ready!(self.origin.poll_load(cx, self.local, &self.settings, ALPN, &self.log))?;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn origin(&mut self) -> Result<&mut TlsConnector, ConnectError> {
        self.origin.get().ok_or_else(not_loaded)
    }

    pub(super) fn proxy(&mut self) -> Result<&mut TlsConnector, ConnectError> {
        self.proxy.get().ok_or_else(not_loaded)
    }
}

fn not_loaded() -> ConnectError {
    ConnectError::Fatal("tls: certificates are not loaded".to_owned())
}

/// The configuration for connections to proxies. As in Go, it has the same authorities and certificate, and expects the
/// proxy's own name.
pub(crate) fn proxy_tls_config(settings: &TlsClientConfig) -> TlsClientConfig {
    TlsClientConfig { server_name_override: String::new(), ..settings.clone() }
}
