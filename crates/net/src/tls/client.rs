//! TLS of a client.

use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use otelcore_pipeline::{Cx, JobResult, Logger, ReadFile, StartError, Stream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use super::certificates::{PemFiles, TrustedCerts};
use super::config::TlsClientConfig;
use super::error::TlsError;
use super::reload::{BuildConfig, MAX_FILE_BYTES, ReloadPlan, ReloadedConfig};
use super::stream::TlsStream;
use super::verify::ServerVerifier;
use crate::endpoint::without_zone;

/// A client's authorities and certificate, loaded.
pub struct TlsConnector {
    server_name: Option<String>,
    config: ReloadedConfig<ClientConfig>,
}

impl std::fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsConnector").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl TlsConnector {
    /// Reads authorities, certificate and key. `alpn` are the protocols that are offered, the preferred one first.
    ///
    /// # Errors
    /// [`TlsError::Settings`]: what can't be read or used.
    pub fn load(cx: &mut Cx<'_>, settings: &TlsClientConfig, alpn: &[&[u8]], log: Logger) -> Result<Self, TlsError> {
        let loaded = LoadedTls::read(|path| cx.read_file(path), settings, alpn).map_err(TlsError::Settings)?;
        Ok(Self::from_loaded(cx, loaded, settings, alpn, log))
    }

    fn from_loaded(cx: &Cx<'_>, loaded: LoadedTls, settings: &TlsClientConfig, alpn: &[&[u8]], log: Logger) -> Self {
        let plan = ReloadPlan {
            common: settings.common.clone(),
            client_ca: None,
            reloads_client_ca: false,
            interval: settings.common.reload_nanos(),
        };
        let server_name = settings.server_name().map(str::to_owned);
        let (settings, alpn) = (settings.clone(), owned(alpn));
        let build: BuildConfig<ClientConfig> = Arc::new(move |files| build_config(&settings, files, &alpn));
        Self { server_name, config: ReloadedConfig::from_loaded(cx, loaded.files, loaded.config, plan, build, log) }
    }

    /// Puts TLS on a connection to `host`, which is also the name that the certificate must have, unless
    /// `server_name_override` is set.
    ///
    /// # Errors
    /// [`TlsError::ServerName`]: the name is not valid in a certificate.
    pub fn connect(&mut self, cx: &mut Cx<'_>, io: Box<dyn Stream>, host: &str) -> Result<TlsStream, TlsError> {
        let pending = self.config.begin_reload(cx, io.event_key());
        let name = self.server_name.as_deref().unwrap_or_else(|| without_zone(host));
        let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))?;
        let tls = ClientConnection::new(self.config.current(), name.clone());
        let tls = tls.map_err(|e| TlsError::Settings(format!("tls: {e}")))?;
        let stream = TlsStream::new(io, tls.into());
        let new_connection = move |config| ClientConnection::new(config, name.clone()).ok().map(Into::into);
        Ok(match pending {
            Some(pending) => stream.waiting_for(move || pending.poll().map(&new_connection)),
            None => stream,
        })
    }
}

fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}

/// What a connector is made of. It is read on any thread.
struct LoadedTls {
    files: PemFiles,
    config: Arc<ClientConfig>,
}

impl LoadedTls {
    fn read<E: std::fmt::Display>(
        read: impl FnMut(&str) -> Result<Vec<u8>, E>,
        settings: &TlsClientConfig,
        alpn: &[&[u8]],
    ) -> Result<Self, String> {
        let files = PemFiles::read(read, &settings.common, None)?;
        let config = build_config(settings, &files, &owned(alpn))?;
        Ok(Self { files, config })
    }
}

/// A connector that is loaded when the first connection needs it, on a helper thread: authorities are many, and reading
/// and parsing them takes longer than a turn of the loop may take.
#[derive(Default)]
pub(crate) struct LazyConnector(LazyState);

#[derive(Default)]
enum LazyState {
    #[default]
    Unloaded,
    Loading(JobResult<Result<LoadedTls, String>>),
    Loaded(Box<TlsConnector>),
}

impl LazyConnector {
    /// The connector, if it is loaded.
    pub(crate) fn get(&mut self) -> Option<&mut TlsConnector> {
        match &mut self.0 {
            LazyState::Loaded(connector) => Some(connector),
            LazyState::Unloaded | LazyState::Loading(_) => None,
        }
    }

    /// Loads it at once, on this thread: for the start of a component.
    ///
    /// # Errors
    /// As [`TlsConnector::load`].
    pub(crate) fn load_now(
        &mut self,
        cx: &mut Cx<'_>,
        settings: &TlsClientConfig,
        alpn: &[&[u8]],
        log: &Logger,
    ) -> Result<(), TlsError> {
        if self.get().is_none() {
            self.0 = LazyState::Loaded(Box::new(TlsConnector::load(cx, settings, alpn, log.clone())?));
        }
        Ok(())
    }

    /// Loads it on a helper thread. Where this is pending, `Event::Ready` under `local` follows. After an error the next
    /// call begins again.
    ///
    /// # Errors
    /// As [`TlsConnector::load`], or that the component has too many jobs on files.
    pub(crate) fn poll_load(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        settings: &TlsClientConfig,
        alpn: &'static [&'static [u8]],
        log: &Logger,
    ) -> Poll<Result<(), TlsError>> {
        match &self.0 {
            LazyState::Loaded(_) => return Poll::Ready(Ok(())),
            // The order matters: a job may end between the two calls.
            LazyState::Loading(job) => match (job.has_ended(), job.take()) {
                (false, None) => return Poll::Pending,
                (true, None) => {
                    self.0 = LazyState::Unloaded;
                    return Poll::Ready(Err(TlsError::Settings(
                        "failed to load TLS config: the job has panicked".to_owned(),
                    )));
                }
                (_, Some(Ok(loaded))) => {
                    let connector = TlsConnector::from_loaded(cx, loaded, settings, alpn, log.clone());
                    self.0 = LazyState::Loaded(Box::new(connector));
                    return Poll::Ready(Ok(()));
                }
                (_, Some(Err(why))) => {
                    self.0 = LazyState::Unloaded;
                    return Poll::Ready(Err(TlsError::Settings(why)));
                }
            },
            LazyState::Unloaded => {}
        }
        let of_job = settings.clone();
        let job = cx.run_file_job(local, move |files| {
            LoadedTls::read(|path| files.read(Path::new(path), MAX_FILE_BYTES), &of_job, alpn)
        });
        match job {
            Ok(job) => {
                self.0 = LazyState::Loading(job);
                Poll::Pending
            }
            Err(e) => Poll::Ready(Err(TlsError::Settings(format!("failed to load TLS config: {e}")))),
        }
    }
}

impl TlsClientConfig {
    /// Checks the contents of its files, if all of them are available.
    ///
    /// # Errors
    /// As [`TlsConnector::load`].
    pub fn check_files(&self, read: ReadFile<'_>) -> Result<(), StartError> {
        let files = PemFiles::read_available(read, &self.common, None);
        files.map_or(Ok(()), |files| build_config(self, &files, &[]).map(drop).map_err(StartError::Config))
    }
}

fn build_config(tls_config: &TlsClientConfig, files: &PemFiles, alpn: &[Vec<u8>]) -> Result<Arc<ClientConfig>, String> {
    let failed = |e: String| format!("failed to load TLS config: {e}");
    let common = &tls_config.common;
    let crypto_provider = Arc::new(common.crypto_provider());
    let builder = ClientConfig::builder_with_provider(crypto_provider.clone())
        .with_protocol_versions(&common.protocol_versions())
        .map_err(|e| failed(e.to_string()))?;
    let verifier: Arc<dyn ServerCertVerifier> = if tls_config.insecure_skip_verify {
        Arc::new(SkipServerVerification(crypto_provider))
    } else {
        Arc::new(ServerVerifier::new(TrustedCerts::for_client(common, files)?, crypto_provider).map_err(failed)?)
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match files.identity(common)? {
        Some(identity) => builder
            .with_client_auth_cert(identity.chain, identity.key)
            .map_err(|e| failed(format!("failed to load TLS cert and key: {e}")))?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.to_vec();
    Ok(Arc::new(config))
}

/// `insecure_skip_verify`: any certificate is accepted, if the handshake is signed with its key.
#[derive(Debug)]
struct SkipServerVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for SkipServerVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
