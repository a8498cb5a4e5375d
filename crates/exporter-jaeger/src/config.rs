//! The `jaeger` section.

use otelcore_config::{Section, config_struct};
use otelcore_net::GrpcSender;
use otelcore_net::config::GrpcClientConfig;
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, ExporterQueueConfig, ReadFile, StartError,
};

use crate::encode::RequestEncoder;

config_struct! {
    /// Sends traces to Jaeger's collector over gRPC, port 14250 by default there.
    #[config(check = Self::check)]
    pub struct JaegerConfig {
        /// Where Jaeger's collector listens.
        #[config(flatten)]
        pub client: GrpcClientConfig =
            GrpcClientConfig { empty_endpoint: "must have a non-empty \"endpoint\"", ..GrpcClientConfig::default() },
        /// Queue, retry, and the timeout of one attempt.
        #[config(flatten)]
        pub exporter_queue: ExporterQueueConfig,
    }
}

impl JaegerConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        s.diagnostics()
            .warn(s.origin(), s.path(), "the jaeger exporter has been removed from the Go collector; it is kept here")
            .kind(otelcore_config::DiagnosticKind::Deprecated)
            .help("nothing has to change; a configuration for both sends OTLP to Jaeger's port 4317 with `otlp_grpc`");
    }
}

/// The `jaeger` exporter.
#[derive(Clone, Copy, Debug)]
pub struct JaegerFactory;

impl ComponentType for JaegerFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "jaeger",
        aliases: &[],
        signals: &[Signal::Traces],
        stability: "Stable",
    };
    type Config = JaegerConfig;

    fn create(&self, config: &JaegerConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let exporter = GrpcSender::new(RequestEncoder, &config.client, context)?;
        Ok(Component::Exporter(Box::new(exporter), config.exporter_queue.clone()))
    }

    fn check_files(&self, config: &JaegerConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        config.client.check_files(read)
    }
}
