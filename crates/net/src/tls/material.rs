//! Certificates, keys and authorities as rustls wants them.

use std::io;

use otelcore_pipeline::{Cx, Field, Logger, Mono};
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::settings::{Common, Pem};

/// What was read, to see whether it has changed.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Texts {
    pub(super) cert: Option<Vec<u8>>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) ca: Option<Vec<u8>>,
    pub(super) client_ca: Option<Vec<u8>>,
}

impl Pem {
    fn read(&self, cx: &mut Cx<'_>) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => cx.read(path),
            Self::Inline(text) => Ok(text.clone().into_bytes()),
        }
    }

    /// What messages call it.
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
            pem.map(|pem| pem.read(cx).map_err(|e| format!("failed to load TLS config: failed to load {what}: {e}")))
                .transpose()
        };
        Ok(Self {
            ca: read(common.ca.as_ref(), "CA CertPool File: failed to load cert")?,
            cert: read(common.cert.as_ref(), "TLS cert and key")?,
            key: read(common.key.as_ref(), "TLS cert and key")?,
            client_ca: read(client_ca, "client CA CertPool: failed to load cert")?,
        })
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
        Ok(Some(Identity { chain, key }))
    }
}

/// The texts in use, and when they were last compared with the files.
pub(super) struct Watch {
    texts: Texts,
    checked: Mono,
}

impl Watch {
    pub(super) fn new(texts: Texts, now: Mono) -> Self {
        Self { texts, checked: now }
    }

    /// What `build` makes of files that have changed, looked at every so many nanoseconds; zero is never. Files that can't
    /// be used leave the old ones in place, which is logged.
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

/// The authorities in a PEM text.
pub(super) fn authorities(into: &mut RootCertStore, text: &[u8], pem: &Pem) -> Result<(), String> {
    let failed = |why: String| format!("failed to load TLS config: failed to parse cert {}: {why}", pem.name());
    let certs: Vec<_> =
        CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|e| failed(e.to_string()))?;
    let (added, ignored) = into.add_parsable_certificates(certs);
    if added == 0 {
        return Err(failed(if ignored == 0 {
            "no certificate in it".to_owned()
        } else {
            format!("none of its {ignored} certificates can be used as an authority")
        }));
    }
    Ok(())
}

/// The authorities that a client trusts: those it names, and the system's where it names none or wants both.
pub(super) fn roots(common: &Common, texts: &Texts) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let (Some(pem), Some(text)) = (&common.ca, &texts.ca) {
        authorities(&mut roots, text, pem)?;
    }
    if common.ca.is_none() || common.system_roots {
        // A machine without authorities is no error: a handshake will say what is missing.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
    }
    Ok(roots)
}
