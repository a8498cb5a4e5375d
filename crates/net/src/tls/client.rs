//! TLS of a client.

use std::sync::Arc;

use otelcore_pipeline::{Cx, Logger, ReadFile, Stream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use super::certificates::{PemFiles, TrustedCerts};
use super::config::TlsClientConfig;
use super::error::TlsError;
use super::reload::{BuildConfig, ReloadPlan, ReloadedConfig};
use super::stream::TlsStream;
use super::verify::ServerVerifier;
use crate::endpoint::without_zone;

/// A client's authorities and certificate, loaded.
pub struct TlsConnector {
    server_name: Option<String>,
    config: ReloadedConfig<ClientConfig>,
}

impl std::fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsConnector").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl TlsConnector {
    /// Reads authorities, certificate and key. `alpn` are the protocols that are offered, the preferred one first.
    ///
    /// # Errors
    /// [`TlsError::Settings`]: what can't be read or used.
    pub fn load(cx: &mut Cx<'_>, settings: &TlsClientConfig, alpn: &[&[u8]], log: Logger) -> Result<Self, TlsError> {
        let files = PemFiles::read(|path| cx.read_file(path), &settings.common, None).map_err(TlsError::Settings)?;
        let plan = ReloadPlan {
            common: settings.common.clone(),
            client_ca: None,
            reloads_client_ca: false,
            interval: settings.common.reload_nanos(),
        };
        let server_name = settings.server_name().map(str::to_owned);
        let (settings, alpn) = (settings.clone(), alpn.iter().map(|p| p.to_vec()).collect::<Vec<_>>());
        let build: BuildConfig<ClientConfig> = Arc::new(move |files| build_config(&settings, files, &alpn));
        Ok(Self { server_name, config: ReloadedConfig::new(cx, files, plan, build, log).map_err(TlsError::Settings)? })
    }

    /// Puts TLS on a connection to `host`, which is also the name that the certificate must have, unless
    /// `server_name_override` is set.
    ///
    /// # Errors
    /// [`TlsError::ServerName`]: the name is not valid in a certificate.
    pub fn connect(&mut self, cx: &mut Cx<'_>, io: Box<dyn Stream>, host: &str) -> Result<TlsStream, TlsError> {
        let pending = self.config.begin_reload(cx, io.event_key());
        let name = self.server_name.as_deref().unwrap_or_else(|| without_zone(host));
        let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))?;
        let tls = ClientConnection::new(self.config.current(), name.clone());
        let tls = tls.map_err(|e| TlsError::Settings(format!("tls: {e}")))?;
        let stream = TlsStream::new(io, tls.into());
        let new_connection = move |config| ClientConnection::new(config, name.clone()).ok().map(Into::into);
        Ok(match pending {
            Some(pending) => stream.waiting_for(move || pending.poll().map(&new_connection)),
            None => stream,
        })
    }
}

impl TlsClientConfig {
    /// Checks the contents of its files, if all of them are available.
    ///
    /// # Errors
    /// As [`TlsConnector::load`].
    pub fn check_files(&self, read: ReadFile<'_>) -> Result<(), String> {
        let files = PemFiles::read_available(read, &self.common, None);
        files.map_or(Ok(()), |files| build_config(self, &files, &[]).map(drop))
    }
}

fn build_config(tls_config: &TlsClientConfig, files: &PemFiles, alpn: &[Vec<u8>]) -> Result<Arc<ClientConfig>, String> {
    let failed = |e: String| format!("failed to load TLS config: {e}");
    let common = &tls_config.common;
    let crypto_provider = Arc::new(common.crypto_provider());
    let builder = ClientConfig::builder_with_provider(crypto_provider.clone())
        .with_protocol_versions(&common.protocol_versions())
        .map_err(|e| failed(e.to_string()))?;
    let verifier: Arc<dyn ServerCertVerifier> = if tls_config.insecure_skip_verify {
        Arc::new(SkipServerVerification(crypto_provider))
    } else {
        Arc::new(ServerVerifier::new(TrustedCerts::for_client(common, files)?, crypto_provider).map_err(failed)?)
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match files.identity(common)? {
        Some(identity) => builder
            .with_client_auth_cert(identity.chain, identity.key)
            .map_err(|e| failed(format!("failed to load TLS cert and key: {e}")))?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.to_vec();
    Ok(Arc::new(config))
}

/// `insecure_skip_verify`: any certificate is accepted, if the handshake is signed with its key.
#[derive(Debug)]
struct SkipServerVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for SkipServerVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
