//! The `jaeger` section.

use std::rc::Rc;

use otelcore_config::{ComponentId, GoDuration, Section};
use otelcore_net::GrpcSender;
use otelcore_net::config::{Balancer, GrpcClientConfig, GrpcClientDefaults};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, ExporterQueueConfig, Factory, ReadFile,
    StartError,
};

use crate::encode::RequestEncoder;

/// Configuration of a `jaeger` exporter.
#[derive(Clone, Debug)]
pub struct JaegerConfig {
    /// Where Jaeger's collector listens, 14250 by default.
    pub client: GrpcClientConfig,
    /// Queue, retry, and the timeout of one attempt.
    pub exporter_queue: ExporterQueueConfig,
}

impl ComponentConfig for JaegerConfig {
    fn create(&self, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let exporter = GrpcSender::new(RequestEncoder, Rc::new(self.client.clone()), context)?;
        Ok(Component::Exporter(Box::new(exporter), self.exporter_queue.clone()))
    }

    fn check_files(&self, read_file: ReadFile<'_>) -> Result<(), String> {
        self.client.tls.as_ref().map_or(Ok(()), |tls| tls.check_files(read_file))
    }
}

/// Makes `jaeger` exporters.
#[derive(Debug)]
pub struct JaegerFactory;

const CLIENT_DEFAULTS: GrpcClientDefaults = GrpcClientDefaults {
    empty_endpoint: "must have a non-empty \"endpoint\"",
    compression: "",
    balancer: Balancer::PickFirst,
    allow_top_level_tls_keys: true,
};

impl Factory for JaegerFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Exporter,
            type_name: "jaeger",
            aliases: &[],
            signals: &[Signal::Traces],
            stability: "Stable",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        s.diagnostics()
            .warn(s.origin(), s.path(), "the jaeger exporter has been removed from the Go collector; it is kept here")
            .kind(otelcore_config::DiagnosticKind::Deprecated)
            .help("nothing has to change; a configuration for both sends OTLP to Jaeger's port 4317 with `otlp_grpc`");
        let client = GrpcClientConfig::parse(&mut s, &CLIENT_DEFAULTS);
        let sending = ExporterQueueConfig::parse(&mut s, GoDuration::from_secs(5));
        s.finish();
        Some(Box::new(JaegerConfig { client: client?, exporter_queue: sending }))
    }
}
