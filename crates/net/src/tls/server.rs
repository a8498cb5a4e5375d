//! TLS of a server.

use std::sync::Arc;

use otelcore_pipeline::{Cx, Logger, ReadFile, Stream};
use rustls::{ServerConfig, ServerConnection};

use super::material::{Authorities, Texts, Watch};
use super::settings::TlsServer;
use super::stream::TlsStream;
use super::verify::Clients;

/// The clients' authorities are checked for changes at most this often, in nanoseconds.
const CA_CHECK: u64 = 1_000_000_000;

/// A server's certificates, loaded. New connections use the newest ones that could be read.
pub struct ServerTls {
    settings: TlsServer,
    alpn: Vec<Vec<u8>>,
    watch: Watch,
    config: Arc<ServerConfig>,
    log: Logger,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads certificates and keys. `alpn` are the protocols that are offered, the preferred one first.
    ///
    /// # Errors
    /// A text that says what can't be read or used.
    pub fn load(cx: &mut Cx<'_>, settings: &TlsServer, alpn: &[&[u8]], log: Logger) -> Result<Self, String> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|p| p.to_vec()).collect();
        let texts = Texts::read(cx, &settings.common, settings.client_ca.as_ref())?;
        let config = build(settings, &texts, &alpn)?;
        Ok(Self { settings: settings.clone(), alpn, watch: Watch::new(texts, cx.now()), config, log })
    }

    /// Puts TLS on a connection that was just accepted. `None` if rustls refuses its configuration; [`ServerTls::load`]
    /// refuses such settings before.
    pub fn accept(&mut self, cx: &mut Cx<'_>, io: Box<dyn Stream>) -> Option<TlsStream> {
        self.refresh(cx);
        let tls = ServerConnection::new(self.config.clone()).ok()?;
        Some(TlsStream::new(io, tls.into()))
    }

    /// Reads the files again when it is time.
    fn refresh(&mut self, cx: &mut Cx<'_>) {
        let Self { settings, alpn, watch, log, .. } = self;
        let every = match settings.common.reload_interval {
            0 if settings.client_ca_reload => CA_CHECK,
            interval if settings.client_ca_reload => interval.min(CA_CHECK),
            interval => interval,
        };
        let read = |cx: &mut Cx<'_>, before: &Texts| {
            let mut texts = Texts::read(cx, &settings.common, settings.client_ca.as_ref())?;
            if !settings.client_ca_reload {
                texts.client_ca = before.client_ca.clone();
            }
            Ok(texts)
        };
        let config = watch.look(cx, every, log, read, |texts| build(settings, texts, alpn));
        self.config = config.unwrap_or_else(|| self.config.clone());
    }
}

impl TlsServer {
    /// Checks the contents of its files, if all of them are available.
    ///
    /// # Errors
    /// As [`ServerTls::load`].
    pub fn check_files(&self, read: ReadFile<'_>) -> Result<(), String> {
        let texts = Texts::at_hand(read, &self.common, self.client_ca.as_ref());
        texts.map_or(Ok(()), |texts| build(self, &texts, &[]).map(drop))
    }
}

fn build(settings: &TlsServer, texts: &Texts, alpn: &[Vec<u8>]) -> Result<Arc<ServerConfig>, String> {
    let failed = |e: String| format!("failed to load TLS config: {e}");
    let common = &settings.common;
    let provider = Arc::new(common.provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&common.versions())
        .map_err(|e| failed(e.to_string()))?;
    let builder = match (&settings.client_ca, &texts.client_ca) {
        (Some(pem), Some(text)) => {
            let clients = Clients::new(Authorities::of_clients(text, pem)?, provider).map_err(failed)?;
            builder.with_client_cert_verifier(Arc::new(clients))
        }
        _ => builder.with_no_client_auth(),
    };
    let identity = texts.identity(common)?.ok_or_else(|| failed("no certificate".to_owned()))?;
    let mut config = builder
        .with_single_cert(identity.chain, identity.key)
        .map_err(|e| failed(format!("failed to load TLS cert and key: {e}")))?;
    config.alpn_protocols = alpn.to_vec();
    Ok(Arc::new(config))
}
