//! The `tls` sections of servers and clients. For what rustls does not support there is an error that lists what it
//! supports.

use otelcore_config::{GoDuration, OptionalFlavor, Section};
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

/// The keys that servers and clients share.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsCommonConfig {
    pub(crate) ca: Option<PemSource>,
    pub(crate) system_roots: bool,
    pub(crate) cert: Option<PemSource>,
    pub(crate) key: Option<PemSource>,
    /// Lowest and highest version, as indices into [`VERSIONS`].
    pub(crate) min_version: usize,
    pub(crate) max_version: usize,
    /// Suites of TLS 1.2; empty means all.
    pub(crate) cipher_suites: Vec<CipherSuite>,
    /// Groups; empty means all.
    pub(crate) groups: Vec<NamedGroup>,
    /// Nanoseconds after which files are read again; zero for never.
    pub(crate) reload_interval: u64,
}

/// A server's `tls` section.
#[derive(Clone, Debug)]
pub struct TlsServerConfig {
    pub(crate) common: TlsCommonConfig,
    pub(crate) client_ca: Option<PemSource>,
    /// Whether the clients' authorities are read again when their file changes.
    pub(crate) client_ca_reload: bool,
}

/// A client's `tls` section, for a connection that is TLS.
#[derive(Clone, Debug)]
pub struct TlsClientConfig {
    pub(crate) common: TlsCommonConfig,
    pub(crate) skip_verify: bool,
    pub(crate) server_name: Option<String>,
}

/// The contents of a client's `tls` section.
#[derive(Clone, Debug)]
pub struct TlsClientSection {
    /// The configuration, if the connection is to be TLS.
    pub tls: TlsClientConfig,
    /// Whether there is `insecure: true` and no authority, which would take precedence.
    pub insecure: bool,
}

/// Versions by index, with the names of the Go collector.
pub(crate) const VERSIONS: [(&str, &SupportedProtocolVersion); 2] =
    [("1.2", &version::TLS12), ("1.3", &version::TLS13)];

/// Suites of TLS 1.2 by the names of the Go collector. Those of 1.3 are always on, as in Go.
const CIPHER_SUITES: [(&str, CipherSuite); 8] = [
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
const CERT_AND_KEY_KEYS: [&str; 4] = ["cert_file", "cert_pem", "key_file", "key_pem"];

/// Names that Go accepts and that have no effect.
const TLS13_CIPHER_SUITES: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Groups by the names of the Go collector.
const GROUPS: [(&str, NamedGroup); 3] =
    [("X25519", NamedGroup::X25519), ("P256", NamedGroup::secp256r1), ("P384", NamedGroup::secp384r1)];

impl TlsServerConfig {
    /// Reads a server's `tls` key: `None` without one, or with a null one, as in the Go collector. Errors are added to
    /// the section's diagnostics.
    pub fn parse(s: &mut Section<'_>) -> Option<Self> {
        // The key's name before collector 0.36.
        let use_old_key = !s.contains_key("tls") && s.warn_deprecated("tls_settings", "`tls:`");
        let mut tls = s.optional_section(if use_old_key { "tls_settings" } else { "tls" }, OptionalFlavor::None)?;
        let common = TlsCommonConfig::parse(&mut tls);
        let client_ca = tls.opt_str("client_ca_file").filter(|p| !p.is_empty()).map(PemSource::File);
        let client_ca_reload = tls.bool("client_ca_file_reload", false);
        if common.cert.is_none() && common.key.is_none() {
            tls.error_for_keys(
                &CERT_AND_KEY_KEYS,
                "TLS configuration must include both certificate and key for server connections",
            )
            .help("write `cert_file:` and `key_file:`, or leave `tls` out to serve in plaintext");
        }
        tls.finish();
        Some(Self { common, client_ca, client_ca_reload })
    }
}

impl TlsClientSection {
    /// Reads a client's `tls` section. Errors are added to its diagnostics.
    pub fn parse(mut tls: Section<'_>) -> Self {
        let common = TlsCommonConfig::parse(&mut tls);
        let insecure = tls.bool("insecure", false);
        let skip_verify = tls.bool("insecure_skip_verify", false);
        let server_name = tls.str("server_name_override", "");
        tls.finish();
        let insecure = insecure && common.ca.is_none();
        let server_name = Some(server_name).filter(|n| !n.is_empty());
        Self { tls: TlsClientConfig { common, skip_verify, server_name }, insecure }
    }
}

impl TlsClientSection {
    /// Reads the old form of a key of this section, beside `endpoint`.
    pub(crate) fn parse_top_level_key(&mut self, s: &mut Section<'_>, key: &str) {
        let parse_file = |s: &mut Section<'_>| s.opt_str(key).filter(|p| !p.is_empty()).map(PemSource::File);
        let common = &mut self.tls.common;
        match key {
            "insecure" => self.insecure |= s.bool(key, false) && common.ca.is_none(),
            "insecure_skip_verify" => self.tls.skip_verify |= s.bool(key, false),
            "ca_file" => common.ca = common.ca.take().or_else(|| parse_file(s)),
            "cert_file" => common.cert = common.cert.take().or_else(|| parse_file(s)),
            "key_file" => common.key = common.key.take().or_else(|| parse_file(s)),
            _ => {
                let name = s.opt_str(key).filter(|n| !n.is_empty());
                self.tls.server_name = self.tls.server_name.take().or(name);
            }
        }
        self.insecure &= common.ca.is_none();
    }
}

/// Reads a path or an inline text; both together are an error.
fn parse_pem(s: &mut Section<'_>, file: &str, inline: &str, both_error: &str) -> Option<PemSource> {
    let path = s.opt_str(file).filter(|p| !p.is_empty());
    let text = Some(s.opaque(inline, "")).filter(|t| !t.is_empty());
    match (path, text) {
        (Some(_), Some(_)) => {
            s.error(inline, both_error);
            None
        }
        (Some(path), None) => Some(PemSource::File(path)),
        (None, text) => text.map(PemSource::Inline),
    }
}

impl TlsCommonConfig {
    fn parse(s: &mut Section<'_>) -> Self {
        let ca = parse_pem(s, "ca_file", "ca_pem", "provide either a CA file or the PEM-encoded string, but not both");
        let cert = parse_pem(s, "cert_file", "cert_pem", "provide either certificate file or PEM, but not both");
        let key = parse_pem(s, "key_file", "key_pem", "provide either key file or PEM, but not both");
        let both_given = (s.contains_key("cert_file") && s.contains_key("cert_pem"))
            || (s.contains_key("key_file") && s.contains_key("key_pem"));
        if cert.is_some() != key.is_some() && !both_given {
            s.error_for_keys(
                &CERT_AND_KEY_KEYS,
                "TLS configuration must include both certificate and key (CertFile/CertPem and KeyFile/KeyPem)",
            )
            .help(if cert.is_some() { "write `key_file:` too" } else { "write `cert_file:` too" });
        }
        let system_roots = s.bool("include_system_ca_certs_pool", false);
        let min_version = parse_tls_version(s, "min_version", 0);
        let max_version = parse_tls_version(s, "max_version", VERSIONS.len() - 1);
        if min_version > max_version {
            s.error("min_version", "invalid TLS configuration: min_version cannot be greater than max_version");
        }
        if s.bool("include_insecure_cipher_suites", false) {
            s.warn("include_insecure_cipher_suites", "there are no insecure cipher suites to include")
                .help("leave it out");
        }
        let suites = parse_cipher_suites(s);
        let groups = parse_groups(s);
        let reload_interval = s.duration("reload_interval", GoDuration::ZERO);
        if reload_interval.is_negative() {
            s.error("reload_interval", "'reload_interval' must be non-negative");
        }
        s.refuse_unsupported("tpm", "keys in a TPM can't be used; write `key_file` or `key_pem`");
        let reload_interval = reload_interval.nanos_or_zero();
        Self { ca, system_roots, cert, key, min_version, max_version, cipher_suites: suites, groups, reload_interval }
    }

    /// The algorithms that these settings allow.
    pub(crate) fn crypto_provider(&self) -> CryptoProvider {
        let mut provider = rustls::crypto::ring::default_provider();
        if !self.cipher_suites.is_empty() {
            provider.cipher_suites.retain(|suite| {
                matches!(suite, SupportedCipherSuite::Tls13(_)) || self.cipher_suites.contains(&suite.suite())
            });
        }
        if !self.groups.is_empty() {
            let all = std::mem::take(&mut provider.kx_groups);
            let find_group =
                |group: &NamedGroup| all.iter().copied().find(|g: &&dyn SupportedKxGroup| g.name() == *group);
            provider.kx_groups = self.groups.iter().filter_map(find_group).collect();
        }
        provider
    }

    pub(crate) fn protocol_versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        VERSIONS
            .iter()
            .skip(self.min_version)
            .take(self.max_version + 1 - self.min_version.min(self.max_version))
            .map(|(_, v)| *v)
            .collect()
    }
}

fn parse_tls_version(s: &mut Section<'_>, key: &str, default: usize) -> usize {
    let version = s.str(key, "");
    match VERSIONS.iter().position(|(name, _)| *name == version) {
        Some(at) => at,
        None if version.is_empty() => default,
        None if matches!(version.as_str(), "1.0" | "1.1") => {
            s.error(key, format!("TLS {version} is not supported: RFC 8996 forbids it"))
                .help("write \"1.2\" or \"1.3\"");
            default
        }
        None => {
            s.error(key, format!("invalid TLS {key}: unsupported TLS version: \"{version}\""))
                .help("write \"1.2\" or \"1.3\"");
            default
        }
    }
}

fn parse_cipher_suites(s: &mut Section<'_>) -> Vec<CipherSuite> {
    let mut cipher_suites = Vec::new();
    for name in s.str_list("cipher_suites", &[]) {
        if let Some((_, suite)) = CIPHER_SUITES.iter().find(|(known, _)| *known == name) {
            cipher_suites.push(*suite);
        } else if !TLS13_CIPHER_SUITES.contains(&name.as_str()) {
            let known: Vec<_> = CIPHER_SUITES.iter().take(6).map(|(name, _)| *name).collect();
            s.start_error("cipher_suites", format!("invalid TLS cipher suite: \"{name}\""))
                .help(format!("what works is {}", known.join(", ")));
        }
    }
    cipher_suites
}

fn parse_groups(s: &mut Section<'_>) -> Vec<NamedGroup> {
    let mut groups = Vec::new();
    for name in s.str_list("curve_preferences", &[]) {
        match GROUPS.iter().find(|(known, _)| *known == name) {
            Some((_, group)) => groups.push(*group),
            None => {
                s.start_error("curve_preferences", format!("invalid curve type: {name}"))
                    .help("what works is X25519, P256 and P384");
            }
        }
    }
    groups
}
