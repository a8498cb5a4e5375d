//! How brokers are connected to, for every client. Connects to nothing.

use std::rc::Rc;
use std::time::Duration;

use otelcore_net::tls::TlsClientConfig;
use otelcore_pipeline::Cx;

use crate::sasl::Credentials;
use crate::versions::KafkaRelease;

/// The longest time for a look-up and a connection, and the longest for the handshake after it.
pub(crate) const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Gives the credentials of a new connection.
pub type CredentialSource = Rc<dyn Fn(&mut Cx<'_>) -> Result<Credentials, String>>;

/// How brokers are connected to.
#[derive(Clone)]
pub struct ClientConfig {
    /// `host:port` of the brokers that are asked first.
    pub brokers: Vec<(String, u16)>,
    /// What the client calls itself.
    pub client_id: String,
    /// The release of Kafka whose versions are used; without it they are negotiated.
    pub protocol_version: Option<KafkaRelease>,
    /// TLS, if connections have it.
    pub tls: Option<TlsClientConfig>,
    /// What connections authenticate with.
    pub credentials: Option<CredentialSource>,
    /// A connection without requests is closed after this time.
    pub idle_timeout: Duration,
    /// How often metadata is read again.
    pub metadata_interval: Duration,
    /// The shortest pause between two requests for metadata.
    pub metadata_pause: Duration,
}

impl ClientConfig {
    /// How long a request for metadata may take.
    pub(crate) fn metadata_timeout(&self) -> Duration {
        DIAL_TIMEOUT
    }
}

impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientConfig").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}
