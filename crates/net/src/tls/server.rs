//! TLS of a server.

use std::sync::Arc;

use otelcore_pipeline::{Cx, Logger, ReadFile, StartError, Stream};
use rustls::{ServerConfig, ServerConnection};

use super::certificates::{PemFiles, TrustedCerts};
use super::config::TlsServerConfig;
use super::error::TlsError;
use super::reload::{BuildConfig, ReloadPlan, ReloadedConfig};
use super::stream::TlsStream;
use super::verify::ClientVerifier;

/// The shortest time between two checks of the clients' authorities for changes, in nanoseconds.
const CA_CHECK_INTERVAL: u64 = 1_000_000_000;

/// A server's certificates, loaded. New connections use the newest ones that could be read.
pub struct TlsAcceptor {
    config: ReloadedConfig<ServerConfig>,
}

impl std::fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsAcceptor").finish_non_exhaustive()
    }
}

impl TlsAcceptor {
    /// Reads certificates and keys. `alpn` are the protocols that are offered, the preferred one first.
    ///
    /// # Errors
    /// [`TlsError::Settings`]: what can't be read or used.
    pub fn load(cx: &mut Cx<'_>, settings: &TlsServerConfig, alpn: &[&[u8]], log: Logger) -> Result<Self, TlsError> {
        let files = PemFiles::read(|path| cx.read_file(path), &settings.common, settings.client_ca().as_ref());
        let files = files.map_err(TlsError::Settings)?;
        let interval = match settings.common.reload_nanos() {
            0 if settings.client_ca_file_reload => CA_CHECK_INTERVAL,
            interval if settings.client_ca_file_reload => interval.min(CA_CHECK_INTERVAL),
            interval => interval,
        };
        let plan = ReloadPlan {
            common: settings.common.clone(),
            client_ca: settings.client_ca(),
            reloads_client_ca: settings.client_ca_file_reload,
            interval,
        };
        let (settings, alpn) = (settings.clone(), alpn.iter().map(|p| p.to_vec()).collect::<Vec<_>>());
        let build: BuildConfig<ServerConfig> = Arc::new(move |files| build_config(&settings, files, &alpn));
        Ok(Self { config: ReloadedConfig::new(cx, files, plan, build, log).map_err(TlsError::Settings)? })
    }

    /// Puts TLS on a connection that was just accepted. `None` if rustls refuses its configuration;
    /// [`TlsAcceptor::load`] refuses such settings before.
    pub fn accept(&mut self, cx: &mut Cx<'_>, io: Box<dyn Stream>) -> Option<TlsStream> {
        let pending = self.config.begin_reload(cx, io.event_key());
        let new_connection = |config| ServerConnection::new(config).ok().map(Into::into);
        let stream = TlsStream::new(io, new_connection(self.config.current())?);
        Some(match pending {
            Some(pending) => stream.waiting_for(move || pending.poll().map(new_connection)),
            None => stream,
        })
    }
}

impl TlsServerConfig {
    /// Checks the contents of its files, if all of them are available.
    ///
    /// # Errors
    /// As [`TlsAcceptor::load`].
    pub fn check_files(&self, read: ReadFile<'_>) -> Result<(), StartError> {
        let files = PemFiles::read_available(read, &self.common, self.client_ca().as_ref());
        files.map_or(Ok(()), |files| build_config(self, &files, &[]).map(drop).map_err(StartError::Config))
    }
}

fn build_config(tls_config: &TlsServerConfig, files: &PemFiles, alpn: &[Vec<u8>]) -> Result<Arc<ServerConfig>, String> {
    let failed = |e: String| format!("failed to load TLS config: {e}");
    let common = &tls_config.common;
    let provider = Arc::new(common.crypto_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&common.protocol_versions())
        .map_err(|e| failed(e.to_string()))?;
    let builder = match (tls_config.client_ca(), &files.client_ca) {
        (Some(pem), Some(text)) => {
            let verifier = ClientVerifier::new(TrustedCerts::for_server(text, &pem)?, provider).map_err(failed)?;
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
        _ => builder.with_no_client_auth(),
    };
    let identity = files.identity(common)?.ok_or_else(|| failed("no certificate".to_owned()))?;
    let mut config = builder
        .with_single_cert(identity.chain, identity.key)
        .map_err(|e| failed(format!("failed to load TLS cert and key: {e}")))?;
    config.alpn_protocols = alpn.to_vec();
    Ok(Arc::new(config))
}
