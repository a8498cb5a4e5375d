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

use super::material::Authorities;
use super::x509::{CLIENT_AUTH, Facts, SERVER_AUTH};

/// The limit for the names of authorities that a server sends, in bytes; the protocol allows twice as much.
const HINT_BYTES: usize = 32 << 10;

/// Checks dates and purpose of a certificate that is trusted itself.
fn check(cert: &CertificateDer<'_>, purpose: &[u8], now: UnixTime) -> Result<(), rustls::Error> {
    let facts = Facts::read(cert).ok_or(CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < facts.not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > facts.not_after {
        return Err(CertificateError::Expired.into());
    }
    if !facts.serves(purpose) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    Ok(())
}

/// How a client verifies servers.
#[derive(Debug)]
pub(super) struct Servers {
    /// `None` without authorities.
    chains: Option<Arc<WebPkiServerVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Servers {
    pub(super) fn new(authorities: Authorities, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let Authorities { roots, pinned } = authorities;
        let chains = if roots.is_empty() {
            None
        } else {
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            Some(built.map_err(|e| e.to_string())?)
        };
        Ok(Self { chains, pinned, provider })
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chained = match &self.chains {
            Some(chains) => chains.verify_server_cert(leaf, others, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        if chained.is_ok() || !self.pinned.contains(leaf) {
            return chained;
        }
        check(leaf, SERVER_AUTH, now)?;
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
pub(super) struct Clients {
    /// `None` without authorities.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    /// The names that are sent to clients, so that they can choose a certificate by its issuer.
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl Clients {
    pub(super) fn new(authorities: Authorities, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let Authorities { roots, pinned } = authorities;
        let subjects = roots.roots.iter().map(|root| DistinguishedName::in_sequence(&root.subject).as_ref().to_vec());
        // Clients compare the issuer, which is not in the file if the file has the client's certificate itself.
        let issuers = pinned.iter().filter_map(|cert| Some(Facts::read(cert)?.issuer.to_vec()));
        let names: BTreeSet<Vec<u8>> = subjects.chain(issuers).collect();
        let length: usize = names.iter().map(|name| name.len() + 2).sum();
        // An empty list leaves the choice to the client.
        let hints = if length > HINT_BYTES { Vec::new() } else { names.into_iter().map(Into::into).collect() };
        let chains = if roots.is_empty() {
            None
        } else {
            let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            Some(built.map_err(|e| e.to_string())?)
        };
        Ok(Self { chains, pinned, hints, provider })
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chained = match &self.chains {
            Some(chains) => chains.verify_client_cert(leaf, others, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        if chained.is_ok() || !self.pinned.contains(leaf) {
            return chained;
        }
        // Unknown critical extensions are refused here, as in a chain.
        ParsedCertificate::try_from(leaf)?;
        check(leaf, CLIENT_AUTH, now)?;
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
