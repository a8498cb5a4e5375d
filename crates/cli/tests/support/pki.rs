//! An authority and certificates, made when a test needs them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// An authority and the certificates it has issued, as PEM files in one folder.
pub struct Pki {
    dir: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// Makes `ca.pem`, and `server.pem`/`server.key` and `client.pem`/`client.key`.
    pub fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "tests of the collector");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
        let pki = Self { dir: dir.to_owned(), authority };
        pki.issue("server", "first");
        pki.issue("client", "a client");
        pki
    }

    /// Writes `name.pem` and `name.key` for this machine's loopback, with a common name by which a test recognises it.
    pub fn issue(&self, name: &str, common_name: &str) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
    }

    /// A file's path.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The `tls` section of a server; with `client_ca_file` where clients must have a certificate.
    pub fn server(&self, mutual: bool) -> String {
        let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|f| self.path(f).display().to_string());
        let clients = if mutual { format!(", client_ca_file: {ca}") } else { String::new() };
        format!("{{cert_file: {cert}, key_file: {key}{clients}, reload_interval: 1s}}")
    }
}
