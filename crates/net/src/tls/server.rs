//! TLS of a server.

use std::sync::Arc;

use otelcore_pipeline::{Cx, Field, Logger, Mono, Stream};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::material::{self, Texts};
use super::settings::TlsServer;
use super::stream::TlsStream;

/// A changed authority of clients is looked for at most this often.
const CA_CHECK: u64 = 1_000_000_000;

/// A server's certificates, loaded. Connections take the newest that could be read.
pub struct ServerTls {
    settings: TlsServer,
    alpn: Vec<Vec<u8>>,
    texts: Texts,
    config: Arc<ServerConfig>,
    checked: Mono,
    log: Logger,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads certificates and keys. `alpn` are the protocols that are offered, the best first.
    ///
    /// # Errors
    /// What can't be read or used, in a sentence.
    pub fn load(cx: &mut Cx<'_>, settings: &TlsServer, alpn: &[&[u8]], log: Logger) -> Result<Self, String> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|p| p.to_vec()).collect();
        let texts = Texts::read(cx, &settings.common, settings.client_ca.as_ref())?;
        let config = build(settings, &texts, &alpn)?;
        Ok(Self { settings: settings.clone(), alpn, texts, config, checked: cx.now(), log })
    }

    /// Puts TLS on a connection that was just accepted. `None` when rustls refuses, which it does only for settings
    /// that [`ServerTls::load`] refuses before.
    pub fn accept(&mut self, cx: &mut Cx<'_>, io: Box<dyn Stream>) -> Option<TlsStream> {
        self.refresh(cx);
        let tls = ServerConnection::new(self.config.clone()).ok()?;
        Some(TlsStream::new(io, tls.into()))
    }

    /// Reads the files again when it is time. Files that can't be used leave the old ones in place.
    fn refresh(&mut self, cx: &mut Cx<'_>) {
        let common = &self.settings.common;
        let every = match common.reload_interval {
            0 if self.settings.client_ca_reload => CA_CHECK,
            0 => return,
            interval if self.settings.client_ca_reload => interval.min(CA_CHECK),
            interval => interval,
        };
        let now = cx.now();
        if now.0.saturating_sub(self.checked.0) < every {
            return;
        }
        self.checked = now;
        let read = Texts::read(cx, common, self.settings.client_ca.as_ref()).and_then(|mut texts| {
            if !self.settings.client_ca_reload {
                texts.client_ca = self.texts.client_ca.clone();
            }
            if texts == self.texts {
                return Ok(None);
            }
            build(&self.settings, &texts, &self.alpn).map(|config| Some((texts, config)))
        });
        match read {
            Ok(None) => {}
            Ok(Some((texts, config))) => {
                (self.texts, self.config) = (texts, config);
                self.log.info("TLS certificates were loaded again", &[]);
            }
            Err(why) => {
                self.log.warn("Cannot load TLS certificates again; the old ones stay", &[("error", Field::Str(&why))])
            }
        }
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
            let mut roots = RootCertStore::empty();
            material::authorities(&mut roots, text, pem)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|e| failed(e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
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
