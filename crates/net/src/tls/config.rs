//! The `tls` sections of servers and clients. For what rustls does not support there is an error that lists what it
//! supports.

use std::time::Duration;

use otelcore_config::declare::{ConfigValue, OpaqueString, Shape};
use otelcore_config::{EffectiveValue, GoDuration, Section, config_struct};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite, SupportedProtocolVersion, version};

/// Where a certificate, key or authority comes from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum PemSource {
    /// A path, read when it is needed.
    File(String),
    /// Written in the configuration.
    Inline(String),
}

impl std::fmt::Debug for PemSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(_) => f.write_str("Inline"),
        }
    }
}

/// `min_version` and `max_version`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum TlsVersion {
    /// The lowest or highest that there is.
    #[default]
    Any,
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl TlsVersion {
    const fn name(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

impl ConfigValue for TlsVersion {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        match s.str(key, default.name()).as_str() {
            "" => return Self::Any,
            "1.2" => return Self::Tls12,
            "1.3" => return Self::Tls13,
            old @ ("1.0" | "1.1") => s.error(key, format!("TLS {old} is not supported: RFC 8996 forbids it")),
            other => s.error(key, format!("invalid TLS {key}: unsupported TLS version: \"{other}\"")),
        }
        .help("write \"1.2\" or \"1.3\"");
        *default
    }

    fn shape(_: &Self) -> Shape {
        Shape::OneOf(vec!["1.2", "1.3"])
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.name().to_owned())
    }
}

config_struct! {
    /// The keys that servers and clients share.
    #[config(unsupported("tpm", "keys in a TPM can't be used; write `key_file` or `key_pem`"))]
    #[config(check = Self::check)]
    pub struct TlsCommonConfig {
        /// Path of the authorities, in PEM. A client trusts the servers that they sign; without authorities those of the
        /// system are trusted.
        pub ca_file: Option<String>,
        /// The authorities themselves, in PEM.
        pub ca_pem: OpaqueString,
        /// Path of the certificate, in PEM.
        pub cert_file: Option<String>,
        /// The certificate itself, in PEM.
        pub cert_pem: OpaqueString,
        /// Path of the key of the certificate, in PEM.
        pub key_file: Option<String>,
        /// The key itself, in PEM.
        pub key_pem: OpaqueString,
        /// A client trusts the authorities of the system too.
        pub include_system_ca_certs_pool: bool,
        /// The lowest version of TLS.
        pub min_version: TlsVersion,
        /// The highest version of TLS.
        pub max_version: TlsVersion,
        /// Allows cipher suites that are not secure.
        #[config(ignored = "there are no insecure cipher suites to include")]
        pub include_insecure_cipher_suites: bool,
        /// Cipher suites of TLS 1.2; empty means all. Those of TLS 1.3 are always on.
        pub cipher_suites: Vec<String>,
        /// Groups of the key exchange: `X25519`, `P256`, `P384`; empty means all.
        pub curve_preferences: Vec<String>,
        /// How often files are read again; zero for never.
        #[config(at_least(GoDuration::ZERO, "'reload_interval' must be non-negative"))]
        pub reload_interval: Duration,
    }
}

config_struct! {
    /// TLS of a server.
    #[config(check = Self::check)]
    pub struct TlsServerConfig {
        /// Certificate, key and algorithms.
        #[config(flatten)]
        pub common: TlsCommonConfig,
        /// Path of the authorities of the clients, in PEM: clients without a certificate of theirs are refused.
        pub client_ca_file: Option<String>,
        /// Whether the clients' authorities are read again when their file changes.
        pub client_ca_file_reload: bool,
    }
}

config_struct! {
    /// TLS of a client.
    pub struct TlsClientConfig {
        /// Authorities, certificate, key and algorithms.
        #[config(flatten)]
        pub common: TlsCommonConfig,
        /// Connects in plaintext, unless there is an authority.
        pub insecure: bool,
        /// Accepts any certificate.
        pub insecure_skip_verify: bool,
        /// The name that the server's certificate must have, in place of the host of the endpoint.
        pub server_name_override: String,
    }
}

config_struct! {
    /// The keys of a client's TLS before collector 0.36, beside `endpoint`.
    pub struct OldTlsConfig {
        /// Connects in plaintext.
        #[config(deprecated = "`tls:` with `insecure:` in it")]
        pub insecure: bool,
        /// Accepts any certificate.
        #[config(deprecated = "`tls:` with `insecure_skip_verify:` in it")]
        pub insecure_skip_verify: bool,
        /// Path of the authorities.
        #[config(deprecated = "`tls:` with `ca_file:` in it")]
        pub ca_file: Option<String>,
        /// Path of the certificate.
        #[config(deprecated = "`tls:` with `cert_file:` in it")]
        pub cert_file: Option<String>,
        /// Path of the key.
        #[config(deprecated = "`tls:` with `key_file:` in it")]
        pub key_file: Option<String>,
        /// The name that the server's certificate must have.
        #[config(deprecated = "`tls:` with `server_name_override:` in it")]
        pub server_name_override: String,
    }
}

impl OldTlsConfig {
    /// Moves these keys to where they are today. What is written there takes precedence.
    pub(crate) fn merge_into(&mut self, tls: &mut TlsClientConfig) {
        let old = std::mem::take(self);
        let common = &mut tls.common;
        for (file, pem, old) in [
            (&mut common.ca_file, &common.ca_pem, old.ca_file),
            (&mut common.cert_file, &common.cert_pem, old.cert_file),
            (&mut common.key_file, &common.key_pem, old.key_file),
        ] {
            if source(file.as_deref(), pem).is_none() {
                *file = old;
            }
        }
        tls.insecure |= old.insecure;
        tls.insecure_skip_verify |= old.insecure_skip_verify;
        if tls.server_name_override.is_empty() {
            tls.server_name_override = old.server_name_override;
        }
    }
}

/// Versions by index, with the names of the Go collector.
const VERSIONS: [(TlsVersion, &SupportedProtocolVersion); 2] =
    [(TlsVersion::Tls12, &version::TLS12), (TlsVersion::Tls13, &version::TLS13)];

/// Suites of TLS 1.2 by the names of the Go collector. Those of 1.3 are always on, as in Go.
const SUITES: [(&str, CipherSuite); 8] = [
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    // Go's older names of the two.
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
];
/// Where a certificate and its key can be written.
const MATERIAL: [&str; 4] = ["cert_file", "cert_pem", "key_file", "key_pem"];

/// Names that Go accepts and that have no effect.
const SUITES_13: [&str; 3] = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Groups by the names of the Go collector.
const GROUPS: [(&str, NamedGroup); 3] =
    [("X25519", NamedGroup::X25519), ("P256", NamedGroup::secp256r1), ("P384", NamedGroup::secp384r1)];

/// A path or a text; `None` for neither, and for both together, which is a mistake.
fn source(file: Option<&str>, inline: &OpaqueString) -> Option<PemSource> {
    let file = file.filter(|path| !path.is_empty());
    match (file, inline.0.as_str()) {
        (Some(path), "") => Some(PemSource::File(path.to_owned())),
        (None, text) if !text.is_empty() => Some(PemSource::Inline(text.to_owned())),
        _ => None,
    }
}

impl TlsCommonConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        for (file, pem, key, both) in [
            (&self.ca_file, &self.ca_pem, "ca_pem", "provide either a CA file or the PEM-encoded string, but not both"),
            (&self.cert_file, &self.cert_pem, "cert_pem", "provide either certificate file or PEM, but not both"),
            (&self.key_file, &self.key_pem, "key_pem", "provide either key file or PEM, but not both"),
        ] {
            if file.as_ref().is_some_and(|path| !path.is_empty()) && !pem.0.is_empty() {
                s.error(key, both);
            }
        }
        let (cert, key) = (self.cert(), self.key());
        let twice = (s.contains_key("cert_file") && s.contains_key("cert_pem"))
            || (s.contains_key("key_file") && s.contains_key("key_pem"));
        if cert.is_some() != key.is_some() && !twice {
            s.error_for_keys(
                &MATERIAL,
                "TLS configuration must include both certificate and key (CertFile/CertPem and KeyFile/KeyPem)",
            )
            .help(if cert.is_some() { "write `key_file:` too" } else { "write `cert_file:` too" });
        }
        if self.min_version > self.max_version && self.max_version != TlsVersion::Any {
            s.error("min_version", "invalid TLS configuration: min_version cannot be greater than max_version");
        }
        if self.include_insecure_cipher_suites {
            s.warn("include_insecure_cipher_suites", "there are no insecure cipher suites to include")
                .help("leave it out");
        }
        for name in self.cipher_suites.iter().filter(|name| suite(name).is_none()) {
            if !SUITES_13.contains(&name.as_str()) {
                let known: Vec<_> = SUITES.iter().take(6).map(|(name, _)| *name).collect();
                s.start_error("cipher_suites", format!("invalid TLS cipher suite: \"{name}\""))
                    .help(format!("what works is {}", known.join(", ")));
            }
        }
        for name in self.curve_preferences.iter().filter(|name| group(name).is_none()) {
            s.start_error("curve_preferences", format!("invalid curve type: {name}"))
                .help("what works is X25519, P256 and P384");
        }
    }

    pub(crate) fn ca(&self) -> Option<PemSource> {
        source(self.ca_file.as_deref(), &self.ca_pem)
    }

    pub(crate) fn cert(&self) -> Option<PemSource> {
        source(self.cert_file.as_deref(), &self.cert_pem)
    }

    pub(crate) fn key(&self) -> Option<PemSource> {
        source(self.key_file.as_deref(), &self.key_pem)
    }

    /// Nanoseconds after which files are read again; zero for never.
    pub(crate) fn reload_nanos(&self) -> u64 {
        u64::try_from(self.reload_interval.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The algorithms that these settings allow.
    pub(crate) fn crypto_provider(&self) -> CryptoProvider {
        let mut provider = rustls::crypto::ring::default_provider();
        let suites: Vec<CipherSuite> = self.cipher_suites.iter().filter_map(|name| suite(name)).collect();
        if !suites.is_empty() {
            provider
                .cipher_suites
                .retain(|suite| matches!(suite, SupportedCipherSuite::Tls13(_)) || suites.contains(&suite.suite()));
        }
        let groups: Vec<NamedGroup> = self.curve_preferences.iter().filter_map(|name| group(name)).collect();
        if !groups.is_empty() {
            let all = std::mem::take(&mut provider.kx_groups);
            let named = |group: &NamedGroup| all.iter().copied().find(|g: &&dyn SupportedKxGroup| g.name() == *group);
            provider.kx_groups = groups.iter().filter_map(named).collect();
        }
        provider
    }

    pub(crate) fn protocol_versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let max = if self.max_version == TlsVersion::Any { TlsVersion::Tls13 } else { self.max_version };
        let allowed = VERSIONS.iter().filter(|(version, _)| self.min_version <= *version && *version <= max);
        allowed.map(|(_, version)| *version).collect()
    }
}

fn suite(name: &str) -> Option<CipherSuite> {
    SUITES.iter().find(|(known, _)| *known == name).map(|(_, suite)| *suite)
}

fn group(name: &str) -> Option<NamedGroup> {
    GROUPS.iter().find(|(known, _)| *known == name).map(|(_, group)| *group)
}

impl TlsServerConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.common.cert().is_none() && self.common.key().is_none() {
            s.error_for_keys(
                &MATERIAL,
                "TLS configuration must include both certificate and key for server connections",
            )
            .help("write `cert_file:` and `key_file:`, or leave `tls` out to serve in plaintext");
        }
    }

    pub(crate) fn client_ca(&self) -> Option<PemSource> {
        self.client_ca_file.clone().filter(|path| !path.is_empty()).map(PemSource::File)
    }
}

impl TlsClientConfig {
    /// Whether connections are plaintext. An authority takes precedence over `insecure`.
    #[must_use]
    pub fn is_plaintext(&self) -> bool {
        self.insecure && self.common.ca().is_none()
    }

    pub(crate) fn server_name(&self) -> Option<&str> {
        Some(self.server_name_override.as_str()).filter(|name| !name.is_empty())
    }
}
