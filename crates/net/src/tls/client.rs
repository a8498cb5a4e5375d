//! TLS of a client.

use std::sync::Arc;

use otelcore_pipeline::{Cx, Logger, ReadFile, Stream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use super::material::{Authorities, Texts, Watch};
use super::settings::TlsClient;
use super::stream::TlsStream;
use super::verify::Servers;
use crate::target::without_zone;

/// A client's authorities and certificate, loaded.
pub struct ClientTls {
    settings: TlsClient,
    alpn: Vec<Vec<u8>>,
    watch: Watch,
    config: Arc<ClientConfig>,
    log: Logger,
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ClientTls {
    /// Reads authorities, certificate and key. `alpn` are the protocols that are offered, the preferred one first.
    ///
    /// # Errors
    /// A text that says what can't be read or used.
    pub fn load(cx: &mut Cx<'_>, settings: &TlsClient, alpn: &[&[u8]], log: Logger) -> Result<Self, String> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|p| p.to_vec()).collect();
        let texts = Texts::read(cx, &settings.common, None)?;
        let config = build(settings, &texts, &alpn)?;
        Ok(Self { settings: settings.clone(), alpn, watch: Watch::new(texts, cx.now()), config, log })
    }

    /// Puts TLS on a connection to `host`, which is also the name that the certificate must have, unless
    /// `server_name_override` is set.
    ///
    /// # Errors
    /// The name is not valid in a certificate.
    pub fn connect(&mut self, cx: &mut Cx<'_>, io: Box<dyn Stream>, host: &str) -> Result<TlsStream, String> {
        self.refresh(cx);
        let name = self.settings.server_name.as_deref().unwrap_or_else(|| without_zone(host));
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("tls: {name:?} can't be the name in a certificate; set server_name_override"))?;
        let tls = ClientConnection::new(self.config.clone(), name).map_err(|e| format!("tls: {e}"))?;
        Ok(TlsStream::new(io, tls.into()))
    }

    /// Reads the files again when it is time.
    fn refresh(&mut self, cx: &mut Cx<'_>) {
        let Self { settings, alpn, watch, log, .. } = self;
        let read = |cx: &mut Cx<'_>, _: &Texts| Texts::read(cx, &settings.common, None);
        let every = settings.common.reload_interval;
        let config = watch.look(cx, every, log, read, |texts| build(settings, texts, alpn));
        self.config = config.unwrap_or_else(|| self.config.clone());
    }
}

impl TlsClient {
    /// Checks the contents of its files, if all of them are available.
    ///
    /// # Errors
    /// As [`ClientTls::load`].
    pub fn check_files(&self, read: ReadFile<'_>) -> Result<(), String> {
        let texts = Texts::at_hand(read, &self.common, None);
        texts.map_or(Ok(()), |texts| build(self, &texts, &[]).map(drop))
    }
}

fn build(settings: &TlsClient, texts: &Texts, alpn: &[Vec<u8>]) -> Result<Arc<ClientConfig>, String> {
    let failed = |e: String| format!("failed to load TLS config: {e}");
    let common = &settings.common;
    let provider = Arc::new(common.provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&common.versions())
        .map_err(|e| failed(e.to_string()))?;
    let verifier: Arc<dyn ServerCertVerifier> = if settings.skip_verify {
        Arc::new(AnyCertificate(provider))
    } else {
        Arc::new(Servers::new(Authorities::of_client(common, texts)?, provider).map_err(failed)?)
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match texts.identity(common)? {
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
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
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
