//! The exporter that sends pushed telemetry: that of `otlp_grpc` or `otlp_http`, made from the keys of otelconf.

use std::sync::Arc;

use otelcore_pdata::Signal;
use otelcore_pipeline::{Budget, Exporter, Logger, StartError};

use super::push::OtlpPushConfig;

/// Makes the exporter of one signal. Opens nothing.
///
/// # Errors
/// A value that can't be used.
#[cfg(feature = "exporter-otlp")]
pub(crate) fn push_exporter(
    config: &OtlpPushConfig,
    signal: Signal,
    budget: &Arc<Budget>,
    log: Logger,
) -> Result<Box<dyn Exporter>, StartError> {
    use otelcore_exporter_otlp::{OtlpGrpcFactory, OtlpHttpFactory};
    use otelcore_pipeline::{BuildContext, Capabilities, Component, ComponentType, MetricsLevel, Telemetry};

    use super::push::PushProtocol;

    let id: otelcore_config::ComponentId = "otlp".parse().map_err(|e| StartError::Config(format!("otlp: {e}")))?;
    let context = BuildContext {
        id: &id,
        signals: &[signal],
        output_pipelines: &[],
        // The exporter of own telemetry has no metrics, as in the Go collector.
        telemetry: &Telemetry::new(MetricsLevel::None),
        log,
        budget,
        capabilities: &Capabilities::default(),
        forwards_outcomes: false,
    };
    let component = match config.push_protocol() {
        Some(PushProtocol::Grpc) => OtlpGrpcFactory.create(&configs::grpc(config), &context)?,
        Some(PushProtocol::HttpProtobuf) => OtlpHttpFactory.create(&configs::http(config, signal), &context)?,
        None => return Err(StartError::Config(format!("unsupported protocol \"{}\"", config.protocol))),
    };
    match component {
        Component::Exporter(exporter, _) => Ok(exporter),
        _ => Err(StartError::Config("no valid exporter".to_owned())),
    }
}

/// This build can't push.
///
/// # Errors
/// Always.
#[cfg(not(feature = "exporter-otlp"))]
pub(crate) fn push_exporter(
    _: &OtlpPushConfig,
    _: Signal,
    _: &Arc<Budget>,
    _: Logger,
) -> Result<Box<dyn Exporter>, StartError> {
    let message = "own telemetry can't be pushed: the exporter `otlp_grpc` is left out of this build; build the crate \
        `otelcore` with its feature `exporter-otlp`";
    Err(StartError::Config(message.to_owned()))
}

#[cfg(feature = "exporter-otlp")]
mod configs {
    use otelcore_exporter_otlp::{OtlpGrpcExporterConfig, OtlpHttpExporterConfig};
    use otelcore_http::Coding;
    use otelcore_net::config::{
        Balancer, GrpcClientConfig, GrpcCompression, HttpClientConfig, HttpCompression, RequestHeaders,
    };
    use otelcore_net::tls::{TlsClientConfig, TlsCommonConfig};
    use otelcore_pdata::Signal;

    use super::super::push::{OtlpPushConfig, PushCompression};

    fn tls(config: &OtlpPushConfig) -> TlsClientConfig {
        let common = TlsCommonConfig {
            ca_file: config.certificate.clone(),
            cert_file: config.client_certificate.clone(),
            key_file: config.client_key.clone(),
            ..TlsCommonConfig::default()
        };
        TlsClientConfig { common, insecure: config.url().starts_with("http://"), ..TlsClientConfig::default() }
    }

    pub(super) fn grpc(config: &OtlpPushConfig) -> OtlpGrpcExporterConfig {
        let url = config.url();
        let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let host = host.split_once(['/', '?', '#']).map_or(host, |(host, _)| host);
        let headers = config.headers.0.iter().filter(|(name, _)| {
            !(name.as_str().starts_with("grpc-") || matches!(name.as_str(), "content-type" | "host" | "user-agent"))
        });
        let client = GrpcClientConfig {
            endpoint: host.to_owned(),
            tls: tls(config),
            compression: GrpcCompression(match config.compression {
                PushCompression::None => Coding::Identity,
                PushCompression::Gzip => Coding::Gzip,
            }),
            headers: RequestHeaders(headers.cloned().collect()),
            balancer_name: Balancer::PickFirst,
            ..GrpcClientConfig::default()
        };
        OtlpGrpcExporterConfig { client, ..OtlpGrpcExporterConfig::default() }
    }

    pub(super) fn http(config: &OtlpPushConfig, signal: Signal) -> OtlpHttpExporterConfig {
        let url = config.url();
        let has_path = url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        let client = HttpClientConfig {
            tls: tls(config),
            timeout: config.request_timeout(),
            compression: match config.compression {
                PushCompression::None => HttpCompression::None,
                PushCompression::Gzip => HttpCompression::Gzip,
            },
            headers: config.headers.clone(),
            ..HttpClientConfig::default()
        };
        let mut all = OtlpHttpExporterConfig { client, ..OtlpHttpExporterConfig::default() };
        if !has_path {
            all.endpoint = url;
            return all;
        }
        match signal {
            Signal::Traces => all.traces_endpoint = url,
            Signal::Metrics => all.metrics_endpoint = url,
            Signal::Logs => all.logs_endpoint = url,
        }
        all
    }
}

/// Checks the files that it names, as far as `read` returns them.
///
/// # Errors
/// What is wrong with them.
#[cfg(feature = "commands")]
pub(crate) fn check_push_files(
    config: &OtlpPushConfig,
    read: otelcore_pipeline::ReadFile<'_>,
) -> Result<(), StartError> {
    #[cfg(feature = "exporter-otlp")]
    configs::grpc(config).client.check_files(read)?;
    let _ = (config, read);
    Ok(())
}
