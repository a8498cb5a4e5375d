//! Certificates, keys and authorities in the types of rustls.

use otelcore_pipeline::{Cx, Field, Logger, Mono, ReadFile};
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::settings::{Common, Pem};
use super::x509::Facts;

/// The texts that were read, kept to detect changes.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Texts {
    pub(super) cert: Option<Vec<u8>>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) ca: Option<Vec<u8>>,
    pub(super) client_ca: Option<Vec<u8>>,
}

impl Pem {
    fn read<E>(&self, read: &mut dyn FnMut(&str) -> Result<Vec<u8>, E>) -> Result<Vec<u8>, E> {
        match self {
            Self::File(path) => read(path),
            Self::Inline(text) => Ok(text.clone().into_bytes()),
        }
    }

    /// Its name in messages.
    fn name(&self) -> &str {
        match self {
            Self::File(path) => path,
            Self::Inline(_) => "the PEM in the configuration",
        }
    }
}

impl Texts {
    /// Reads everything that the settings name. The messages are the Go collector's.
    pub(super) fn read(cx: &mut Cx<'_>, common: &Common, client_ca: Option<&Pem>) -> Result<Self, String> {
        let mut read = |pem: Option<&Pem>, what: &str| {
            pem.map(|pem| {
                pem.read(&mut |path| cx.read(path))
                    .map_err(|e| format!("failed to load TLS config: failed to load {what}: {e}"))
            })
            .transpose()
        };
        Ok(Self {
            ca: read(common.ca.as_ref(), "CA CertPool File: failed to load cert")?,
            cert: read(common.cert.as_ref(), "TLS cert and key")?,
            key: read(common.key.as_ref(), "TLS cert and key")?,
            client_ca: read(client_ca, "client CA CertPool: failed to load cert")?,
        })
    }

    /// The same for files that may not be available; `None` if one is not.
    pub(super) fn at_hand(read: ReadFile<'_>, common: &Common, client_ca: Option<&Pem>) -> Option<Self> {
        let read = |pem: Option<&Pem>| pem.map(|pem| pem.read(&mut |path| read(path).ok_or(()))).transpose();
        let (ca, cert, key) = (read(common.ca.as_ref()), read(common.cert.as_ref()), read(common.key.as_ref()));
        Some(Self { ca: ca.ok()?, cert: cert.ok()?, key: key.ok()?, client_ca: read(client_ca).ok()? })
    }

    /// The certificate chain and its key, where there are any.
    pub(super) fn identity(&self, common: &Common) -> Result<Option<Identity>, String> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else { return Ok(None) };
        let bad = |pem: Option<&Pem>, why: &str| {
            let name = pem.map_or("the PEM", Pem::name);
            format!("failed to load TLS config: failed to load TLS cert and key: {name}: {why}")
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<_, _>>()
            .map_err(|e| bad(common.cert.as_ref(), &text(&e)))?;
        if chain.is_empty() {
            return Err(bad(common.cert.as_ref(), "no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| {
            let why = match e {
                pem::Error::NoItemsFound => "no private key in it; an encrypted key can't be used".to_owned(),
                e => text(&e),
            };
            bad(common.key.as_ref(), &why)
        })?;
        let unusable = chain.first().and_then(|leaf| Facts::read(leaf)?.unusable_key(true));
        if let Some(why) = unusable {
            return Err(bad(common.cert.as_ref(), &why));
        }
        Ok(Some(Identity { chain, key }))
    }
}

/// The texts in use, and when the files were last compared with them.
pub(super) struct Watch {
    texts: Texts,
    checked: Mono,
}

impl Watch {
    pub(super) fn new(texts: Texts, now: Mono) -> Self {
        Self { texts, checked: now }
    }

    /// If the files have changed, the result of `build` with them. They are read every `every` nanoseconds; never if
    /// zero. If they can't be used, this is logged and the old texts stay in use.
    pub(super) fn look<C>(
        &mut self,
        cx: &mut Cx<'_>,
        every: u64,
        log: &Logger,
        read: impl FnOnce(&mut Cx<'_>, &Texts) -> Result<Texts, String>,
        build: impl FnOnce(&Texts) -> Result<C, String>,
    ) -> Option<C> {
        let now = cx.now();
        if every == 0 || now.0.saturating_sub(self.checked.0) < every {
            return None;
        }
        self.checked = now;
        let texts = read(cx, &self.texts);
        if texts.as_ref().is_ok_and(|texts| *texts == self.texts) {
            return None;
        }
        match texts.and_then(|texts| build(&texts).map(|config| (texts, config))) {
            Ok((texts, config)) => {
                self.texts = texts;
                log.info("TLS certificates were loaded again", &[]);
                Some(config)
            }
            Err(why) => {
                log.warn("Cannot load TLS certificates again; the old ones stay", &[("error", Field::Str(&why))]);
                None
            }
        }
    }
}

/// A certificate chain, the leaf first, and its key.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

fn text(e: &pem::Error) -> String {
    format!("no PEM that can be read: {e}")
}

/// The certificates that one side trusts.
pub(super) struct Authorities {
    /// Authorities that may have signed the peer's certificate.
    pub(super) roots: RootCertStore,
    /// Certificates that are accepted as the peer's own.
    pub(super) pinned: Vec<CertificateDer<'static>>,
}

impl Authorities {
    fn new() -> Self {
        Self { roots: RootCertStore::empty(), pinned: Vec::new() }
    }

    /// Adds the certificates of a PEM text.
    fn add_pem(&mut self, text: &[u8], pem: &Pem) -> Result<(), String> {
        let failed = |why: String| format!("failed to load TLS config: failed to parse cert {}: {why}", pem.name());
        let certs: Vec<_> =
            CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|e| failed(e.to_string()))?;
        let count = certs.len();
        let mut unusable = None;
        let before = self.pinned.len();
        for cert in certs {
            match Facts::read(&cert).map(|facts| (facts.unusable_key(false), facts.is_authority)) {
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
            (0, _) => Err(failed("no certificate in it".to_owned())),
            (1, Some(why)) => Err(failed(why)),
            (_, Some(why)) => Err(failed(format!("none of its {count} certificates can be used: {why}"))),
            (_, None) => Err(failed(format!("none of its {count} certificates can be used as an authority"))),
        }
    }

    /// The authorities that a client trusts: those of its settings, and the system's if the settings have none or ask
    /// for both.
    pub(super) fn of_client(common: &Common, texts: &Texts) -> Result<Self, String> {
        let mut authorities = Self::new();
        if let (Some(pem), Some(text)) = (&common.ca, &texts.ca) {
            authorities.add_pem(text, pem)?;
        }
        if common.ca.is_none() || common.system_roots {
            // A machine without authorities is not an error here: the handshake fails with a precise error.
            for cert in rustls_native_certs::load_native_certs().certs {
                let Some(facts) = Facts::read(&cert) else { continue };
                // A certificate without names can't be a server's own. Most authorities have none, so that few
                // certificates are kept twice.
                let (is_authority, has_names) = (facts.is_authority, facts.has_names);
                if has_names {
                    authorities.pinned.push(cert.clone());
                }
                if is_authority {
                    authorities.roots.add_parsable_certificates([cert]);
                }
            }
        }
        Ok(authorities)
    }

    /// Those of `client_ca_file`.
    pub(super) fn of_clients(text: &[u8], pem: &Pem) -> Result<Self, String> {
        let mut authorities = Self::new();
        authorities.add_pem(text, pem)?;
        Ok(authorities)
    }
}
