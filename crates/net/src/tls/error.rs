//! Why TLS can't be used.

use otelcore_pipeline::StartError;

/// Why TLS can't be used: something that the user has configured. Errors of a peer's handshake are those of its stream.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlsError {
    /// Certificates, keys, authorities or other settings; the text names the file or the key.
    #[error("{0}")]
    Settings(String),
    /// The name of a server can't be a name in a certificate.
    #[error("tls: {0:?} can't be the name in a certificate; set server_name_override")]
    ServerName(String),
}

impl From<TlsError> for StartError {
    fn from(e: TlsError) -> Self {
        Self::Config(e.to_string())
    }
}
