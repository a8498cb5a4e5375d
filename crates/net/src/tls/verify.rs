//! Verification of the peer's certificate: it has a chain to an authority, or is itself in the file of authorities.
//!
//! A file of authorities may contain the peer's own certificate, self-signed or not. Go accepts it; webpki requires an
//! authority that signed it, or refuses it because it is an authority itself. Such a certificate is compared byte for
//! byte. Then, as in Go, its dates, its purpose and (for a server's) its name are checked, and the handshake must be
//! signed with its key. Nothing else that webpki refuses is accepted.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::certificates::TrustedCerts;
use super::x509::{CLIENT_AUTH, CertificateInfo, SERVER_AUTH};

/// The limit for the names of authorities that a server sends, in bytes; the protocol allows twice as much.
const MAX_HINT_BYTES: usize = 32 << 10;

/// Checks dates and purpose of a certificate that is trusted itself.
fn check_pinned(cert: &CertificateDer<'_>, purpose: &[u8], now: UnixTime) -> Result<(), rustls::Error> {
    let facts = CertificateInfo::parse(cert).ok_or(CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < facts.not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > facts.not_after {
        return Err(CertificateError::Expired.into());
    }
    if !facts.allows_purpose(purpose) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    Ok(())
}

/// How a client verifies servers.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    /// `None` without authorities.
    chain_verifier: Option<Arc<WebPkiServerVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerVerifier {
    pub(super) fn new(trusted: TrustedCerts, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let TrustedCerts { roots, pinned } = trusted;
        let chain_verifier = if roots.is_empty() {
            None
        } else {
            let result = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            Some(result.map_err(|e| e.to_string())?)
        };
        Ok(Self { chain_verifier, pinned, provider })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let result = match &self.chain_verifier {
            Some(verifier) => verifier.verify_server_cert(leaf, others, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        if result.is_ok() || !self.pinned.contains(leaf) {
            return result;
        }
        check_pinned(leaf, SERVER_AUTH, now)?;
        verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// How a server verifies clients, each of which must have a certificate.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    /// `None` without authorities.
    chain_verifier: Option<Arc<dyn ClientCertVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    /// The names that are sent to clients, so that they can choose a certificate by its issuer.
    root_hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientVerifier {
    pub(super) fn new(trusted: TrustedCerts, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let TrustedCerts { roots, pinned } = trusted;
        let subjects = roots.roots.iter().map(|root| DistinguishedName::in_sequence(&root.subject).as_ref().to_vec());
        // Clients compare the issuer, which is not in the file if the file has the client's certificate itself.
        let issuers = pinned.iter().filter_map(|cert| Some(CertificateInfo::parse(cert)?.issuer.to_vec()));
        let names: BTreeSet<Vec<u8>> = subjects.chain(issuers).collect();
        let length: usize = names.iter().map(|name| name.len() + 2).sum();
        // An empty list leaves the choice to the client.
        let root_hints = if length > MAX_HINT_BYTES { Vec::new() } else { names.into_iter().map(Into::into).collect() };
        let chain_verifier = if roots.is_empty() {
            None
        } else {
            let result = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            Some(result.map_err(|e| e.to_string())?)
        };
        Ok(Self { chain_verifier, pinned, root_hints, provider })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.root_hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let result = match &self.chain_verifier {
            Some(verifier) => verifier.verify_client_cert(leaf, others, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        if result.is_ok() || !self.pinned.contains(leaf) {
            return result;
        }
        // Unknown critical extensions are refused here, as in a chain.
        ParsedCertificate::try_from(leaf)?;
        check_pinned(leaf, CLIENT_AUTH, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
