//! The keys of a section of the configuration that every client of Kafka has: brokers, TLS, authentication and metadata.
//!
//! Reads and checks them, and makes a [`ClientConfig`] of them. Connects to nothing.

use std::rc::Rc;
use std::time::Duration;

use otelcore_config::declare::OpaqueString;
use otelcore_config::{Section, config_struct};
use otelcore_net::tls::TlsClientConfig;
use otelcore_pipeline::{BuildContext, ClientAuth, OutgoingHeaders, RequestProtocol, StartError};

use crate::broker_address::parse_broker;
use crate::client_config::{ClientConfig, CredentialSource};
use crate::sasl::{Credentials, ScramHash};
use crate::versions::KafkaRelease;

config_struct! {
    /// `auth::plain_text`.
    pub struct PlainTextConfig {
        /// The user.
        pub username: String,
        /// The password.
        pub password: OpaqueString,
    }
}

config_struct! {
    /// `auth::sasl`.
    #[config(check = Self::check)]
    #[config(unsupported("aws_msk", "authentication with AWS_MSK_IAM_OAUTHBEARER is not supported yet"))]
    pub struct SaslConfig {
        /// The user.
        pub username: String,
        /// The password.
        pub password: OpaqueString,
        /// PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.
        pub mechanism: String,
        /// The version of the handshake.
        #[config(ignored = "it is negotiated")]
        pub version: i64,
        /// For OAUTHBEARER: the id of an extension that has a token, such as `bearertokenauth`.
        pub oauthbearer_token_source: String,
    }
}

impl SaslConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        match self.mechanism.as_str() {
            "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => {
                if self.username.is_empty() {
                    s.error("username", "username is required");
                }
                if self.password.0.is_empty() {
                    s.error("password", "password is required");
                }
            }
            "OAUTHBEARER" => {
                if self.oauthbearer_token_source.is_empty() {
                    s.error("oauthbearer_token_source", "oauth2authclient extension is required")
                        .help("write the id of an extension with a token, such as `bearertokenauth`");
                } else if let Err(e) = self.oauthbearer_token_source.parse::<otelcore_config::ComponentId>() {
                    s.error("oauthbearer_token_source", format!("'oauthbearer_token_source' {e}"));
                }
            }
            "AWS_MSK_IAM_OAUTHBEARER" => {
                s.error("mechanism", "authentication with AWS_MSK_IAM_OAUTHBEARER is not supported yet")
                    .help("use SCRAM-SHA-512, which MSK has too");
            }
            other => {
                let text = format!(
                    "mechanism should be one of 'PLAIN', 'AWS_MSK_IAM_OAUTHBEARER', 'SCRAM-SHA-256' or 'SCRAM-SHA-512'. \
                     configured value {other}"
                );
                s.error("mechanism", text).help("write PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER");
            }
        }
        if !(0..=1).contains(&self.version) {
            s.error("version", format!("version has to be either 0 or 1. configured value {}", self.version));
        }
    }
}

config_struct! {
    /// `auth`.
    #[config(unsupported("kerberos", "authentication with Kerberos is not supported yet"))]
    pub struct AuthConfig {
        /// User and password.
        #[config(deprecated = "`sasl:` with `mechanism: PLAIN`")]
        pub plain_text: Option<PlainTextConfig>,
        /// SASL.
        pub sasl: Option<SaslConfig>,
        /// TLS.
        #[config(deprecated = "`tls:` beside `auth:`")]
        pub tls: Option<TlsClientConfig>,
    }
}

config_struct! {
    /// `metadata::retry`.
    pub struct MetadataRetryConfig {
        /// How often a request for metadata is repeated.
        #[config(no_effect = "metadata is requested again as long as it is needed")]
        pub max: i64 = 3,
        /// The shortest pause between two requests for metadata.
        pub backoff: Duration = Duration::from_millis(250),
    }
}

config_struct! {
    /// `metadata`: what is known of topics and brokers.
    pub struct MetadataConfig {
        /// Reads the metadata of all topics.
        #[config(no_effect = "the metadata of the topics that are used is read, as in Go")]
        pub full: bool = true,
        /// How often metadata is read again.
        pub refresh_interval: Duration = Duration::from_secs(600),
        /// What happens when metadata can't be read.
        pub retry: MetadataRetryConfig,
    }
}

config_struct! {
    /// How the brokers are connected to.
    #[config(check = Self::check)]
    pub struct KafkaConnectionConfig {
        /// The brokers that are asked first, as `host:port`.
        pub brokers: Vec<String> = vec!["localhost:9092".to_owned()],
        /// Looks the names of the brokers up in both directions.
        #[config(no_effect = "brokers are connected to under the names that are written, as in Go")]
        pub resolve_canonical_bootstrap_servers_only: bool,
        /// The release of Kafka whose protocol is spoken, such as `3.9.0`; if empty, it is negotiated.
        pub protocol_version: String,
        /// What the client calls itself.
        pub client_id: String = "otel-collector".to_owned(),
        /// Authentication.
        pub auth: AuthConfig,
        /// TLS. Without this section connections are not encrypted.
        pub tls: Option<TlsClientConfig>,
        /// What is known of topics and brokers.
        pub metadata: MetadataConfig,
        /// A connection without requests is closed after this time.
        pub conn_idle_timeout: Duration = Duration::from_secs(540),
    }
}

impl KafkaConnectionConfig {
    /// The TLS of connections.
    #[must_use]
    pub fn client_tls(&self) -> Option<&TlsClientConfig> {
        self.tls.as_ref().or(self.auth.tls.as_ref()).filter(|tls| !tls.is_plaintext())
    }

    fn check(&mut self, s: &mut Section<'_>) {
        if self.brokers.is_empty() {
            s.error("brokers", "brokers must be specified");
        }
        if let Some(broker) = self.brokers.iter().find(|broker| parse_broker(broker).is_none()) {
            s.error("brokers", format!("{broker:?} is not the address of a broker")).help("write `host:port`");
        }
        if !self.protocol_version.is_empty() {
            match KafkaRelease::parse(&self.protocol_version) {
                None => {
                    let text = format!("invalid protocol version: {:?}", self.protocol_version);
                    s.error("protocol_version", text).help("write a release of Kafka such as 3.9.0, or leave it out");
                }
                Some(release) => {
                    if let Err(text) = release.check() {
                        s.error("protocol_version", text).help("leave it out");
                    }
                }
            }
        }
        if self.conn_idle_timeout.is_zero() {
            s.error("conn_idle_timeout", "conn_idle_timeout (0s) must be positive");
        }
        if self.auth.plain_text.is_some() && self.auth.sasl.is_some() {
            s.error("auth::plain_text", "plain_text and sasl cannot both be used").help("leave `plain_text` out");
        }
    }

    /// How a client connects.
    ///
    /// # Errors
    /// The extension with the token is not there.
    pub fn client_config(&self, context: &BuildContext<'_>) -> Result<ClientConfig, StartError> {
        Ok(ClientConfig {
            brokers: self.brokers.iter().filter_map(|broker| parse_broker(broker)).collect(),
            client_id: self.client_id.clone(),
            protocol_version: KafkaRelease::parse(&self.protocol_version),
            tls: self.client_tls().cloned(),
            credentials: self.credentials(context)?,
            idle_timeout: self.conn_idle_timeout,
            metadata_interval: self.metadata.refresh_interval,
            metadata_pause: self.metadata.retry.backoff,
        })
    }

    /// What connections authenticate with.
    fn credentials(&self, context: &BuildContext<'_>) -> Result<Option<CredentialSource>, StartError> {
        let fixed = |credentials: Credentials| -> CredentialSource { Rc::new(move |_| Ok(credentials.clone())) };
        if let Some(plain) = &self.auth.plain_text {
            let (username, password) = (plain.username.clone(), plain.password.0.clone());
            return Ok(Some(fixed(Credentials::Plain { username, password })));
        }
        let Some(sasl) = &self.auth.sasl else { return Ok(None) };
        let (username, password) = (sasl.username.clone(), sasl.password.0.clone());
        let scram = |hash| Credentials::Scram { hash, username: username.clone(), password: password.clone() };
        Ok(Some(match sasl.mechanism.as_str() {
            "SCRAM-SHA-256" => fixed(scram(ScramHash::Sha256)),
            "SCRAM-SHA-512" => fixed(scram(ScramHash::Sha512)),
            "OAUTHBEARER" => {
                let id = sasl.oauthbearer_token_source.parse();
                let id = id.map_err(|e| StartError::Config(format!("'oauthbearer_token_source' {e}")))?;
                token_source(context.capabilities.get::<dyn ClientAuth>(&id)?)
            }
            _ => fixed(Credentials::Plain { username, password }),
        }))
    }
}

/// The token that an extension puts into the header `Authorization` of requests.
fn token_source(auth: Rc<dyn ClientAuth>) -> CredentialSource {
    Rc::new(move |cx| {
        let mut headers = OutgoingHeaders::new(RequestProtocol::Http, None, Vec::new());
        auth.apply(cx, &mut headers).map_err(|e| e.to_string())?;
        let value = headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let token = value.ok_or_else(|| "the extension gives no bearer token".to_owned())?.to_owned();
        Ok(Credentials::OauthBearer { token })
    })
}
