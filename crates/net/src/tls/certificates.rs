//! Certificates, keys and authorities in the types of rustls.

use otelcore_pipeline::ReadFile;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::config::{PemSource, TlsCommonConfig};
use super::x509::CertificateInfo;

/// The contents of the PEM files that were read, kept to detect changes.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct PemFiles {
    pub(super) cert: Option<Vec<u8>>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) ca: Option<Vec<u8>>,
    pub(super) client_ca: Option<Vec<u8>>,
}

impl PemSource {
    fn read<E>(&self, read: &mut dyn FnMut(&str) -> Result<Vec<u8>, E>) -> Result<Vec<u8>, E> {
        match self {
            Self::File(path) => read(path),
            Self::Inline(text) => Ok(text.clone().into_bytes()),
        }
    }

    /// Its name in messages.
    fn display_name(&self) -> &str {
        match self {
            Self::File(path) => path,
            Self::Inline(_) => "the PEM in the configuration",
        }
    }
}

impl PemFiles {
    /// Reads everything that the settings name. The messages are the Go collector's.
    pub(super) fn read<E: std::fmt::Display>(
        mut read: impl FnMut(&str) -> Result<Vec<u8>, E>,
        common: &TlsCommonConfig,
        client_ca: Option<&PemSource>,
    ) -> Result<Self, String> {
        let mut read = |pem: Option<&PemSource>, description: &str| {
            pem.map(|pem| {
                pem.read(&mut read).map_err(|e| format!("failed to load TLS config: failed to load {description}: {e}"))
            })
            .transpose()
        };
        Ok(Self {
            ca: read(common.ca().as_ref(), "CA CertPool File: failed to load cert")?,
            cert: read(common.cert().as_ref(), "TLS cert and key")?,
            key: read(common.key().as_ref(), "TLS cert and key")?,
            client_ca: read(client_ca, "client CA CertPool: failed to load cert")?,
        })
    }

    /// What was read from a path.
    pub(super) fn content_of(
        &self,
        path: &str,
        common: &TlsCommonConfig,
        client_ca: Option<&PemSource>,
    ) -> Option<Vec<u8>> {
        let (ca, cert, key) = (common.ca(), common.cert(), common.key());
        let sources = [ca.as_ref(), cert.as_ref(), key.as_ref(), client_ca];
        let contents = [&self.ca, &self.cert, &self.key, &self.client_ca];
        let is_it = |source: &Option<&PemSource>| matches!(source, Some(PemSource::File(found)) if found == path);
        sources.iter().zip(contents).find(|(source, _)| is_it(source)).and_then(|(_, content)| content.clone())
    }

    /// The same for files that may not be available; `None` if one is not.
    pub(super) fn read_available(
        read: ReadFile<'_>,
        common: &TlsCommonConfig,
        client_ca: Option<&PemSource>,
    ) -> Option<Self> {
        let read = |pem: Option<&PemSource>| pem.map(|pem| pem.read(&mut |path| read(path).ok_or(()))).transpose();
        let (ca, cert, key) = (read(common.ca().as_ref()), read(common.cert().as_ref()), read(common.key().as_ref()));
        Some(Self { ca: ca.ok()?, cert: cert.ok()?, key: key.ok()?, client_ca: read(client_ca).ok()? })
    }

    /// The certificate chain and its key, where there are any.
    pub(super) fn identity(&self, common: &TlsCommonConfig) -> Result<Option<Identity>, String> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else { return Ok(None) };
        let error = |pem: Option<&PemSource>, why: &str| {
            let name = pem.map_or("the PEM", PemSource::display_name);
            format!("failed to load TLS config: failed to load TLS cert and key: {name}: {why}")
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<_, _>>()
            .map_err(|e| error(common.cert().as_ref(), &pem_error_text(&e)))?;
        if chain.is_empty() {
            return Err(error(common.cert().as_ref(), "no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| {
            let why = match e {
                pem::Error::NoItemsFound => "no private key in it; an encrypted key can't be used".to_owned(),
                e => pem_error_text(&e),
            };
            error(common.key().as_ref(), &why)
        })?;
        let problem = chain.first().and_then(|leaf| CertificateInfo::parse(leaf)?.unusable_key(true));
        if let Some(why) = problem {
            return Err(error(common.cert().as_ref(), &why));
        }
        Ok(Some(Identity { chain, key }))
    }
}

/// A certificate chain, the leaf first, and its key.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

fn pem_error_text(e: &pem::Error) -> String {
    format!("no PEM that can be read: {e}")
}

/// The certificates that one side trusts.
pub(super) struct TrustedCerts {
    /// Authorities that may have signed the peer's certificate.
    pub(super) roots: RootCertStore,
    /// Certificates that are accepted as the peer's own.
    pub(super) pinned: Vec<CertificateDer<'static>>,
}

impl TrustedCerts {
    fn new() -> Self {
        Self { roots: RootCertStore::empty(), pinned: Vec::new() }
    }

    /// Adds the certificates of a PEM text.
    fn add_pem(&mut self, text: &[u8], pem: &PemSource) -> Result<(), String> {
        let error =
            |why: String| format!("failed to load TLS config: failed to parse cert {}: {why}", pem.display_name());
        let certs: Vec<_> =
            CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|e| error(e.to_string()))?;
        let count = certs.len();
        let mut unusable = None;
        let before = self.pinned.len();
        for cert in certs {
            match CertificateInfo::parse(&cert).map(|facts| (facts.unusable_key(false), facts.is_ca)) {
                None => {}
                Some((Some(why), _)) => unusable = Some(why),
                Some((None, is_authority)) => {
                    // A certificate that is not an authority is not used to verify signatures, although it is in the
                    // list of authorities.
                    if is_authority {
                        self.roots.add_parsable_certificates([cert.clone()]);
                    }
                    self.pinned.push(cert);
                }
            }
        }
        match (count, unusable) {
            _ if self.pinned.len() > before => Ok(()),
            (0, _) => Err(error("no certificate in it".to_owned())),
            (1, Some(why)) => Err(error(why)),
            (_, Some(why)) => Err(error(format!("none of its {count} certificates can be used: {why}"))),
            (_, None) => Err(error(format!("none of its {count} certificates can be used as an authority"))),
        }
    }

    /// The authorities that a client trusts: those of its settings, and the system's if the settings have none or ask
    /// for both.
    pub(super) fn for_client(common: &TlsCommonConfig, files: &PemFiles) -> Result<Self, String> {
        let mut trusted = Self::new();
        if let (Some(pem), Some(text)) = (common.ca(), &files.ca) {
            trusted.add_pem(text, &pem)?;
        }
        if common.ca().is_none() || common.include_system_ca_certs_pool {
            // A machine without authorities is not an error here: the handshake fails with a precise error.
            for cert in rustls_native_certs::load_native_certs().certs {
                let Some(facts) = CertificateInfo::parse(&cert) else { continue };
                // A certificate without names can't be a server's own. Most authorities have none, so that few
                // certificates are kept twice.
                let (is_authority, has_names) = (facts.is_ca, facts.has_subject_alt_name);
                if has_names {
                    trusted.pinned.push(cert.clone());
                }
                if is_authority {
                    trusted.roots.add_parsable_certificates([cert]);
                }
            }
        }
        Ok(trusted)
    }

    /// The certificates that a server trusts: those of `client_ca_file`.
    pub(super) fn for_server(text: &[u8], pem: &PemSource) -> Result<Self, String> {
        let mut trusted = Self::new();
        trusted.add_pem(text, pem)?;
        Ok(trusted)
    }
}
