//! The `jaeger` section.

use std::rc::Rc;

use otelcore_config::{ComponentId, Dur, Section};
use otelcore_net::settings::{Balancer, GrpcClient, GrpcClientDefaults};
use otelcore_pdata::Signal;
use otelcore_pipeline::{About, Build, Component, Factory, Kind, ReadFile, SendingSettings, Settings, StartError};

use crate::exporter::JaegerExporter;

/// Settings of a `jaeger` exporter.
#[derive(Clone, Debug)]
pub struct Jaeger {
    /// Where Jaeger's collector listens, 14250 by default.
    pub client: GrpcClient,
    /// Queue, retry, and the timeout of one attempt.
    pub sending: SendingSettings,
}

impl Settings for Jaeger {
    fn create(&self, build: &Build<'_>) -> Result<Component, StartError> {
        let exporter = JaegerExporter::new(Rc::new(self.client.clone()), build)?;
        Ok(Component::Exporter(Box::new(exporter), self.sending.clone()))
    }

    fn check_files(&self, read: ReadFile<'_>) -> Result<(), String> {
        self.client.tls.as_ref().map_or(Ok(()), |tls| tls.check_files(read))
    }
}

/// Makes `jaeger` exporters.
#[derive(Debug)]
pub struct JaegerFactory;

const CLIENT: GrpcClientDefaults = GrpcClientDefaults {
    empty_endpoint: "must have a non-empty \"endpoint\"",
    compression: "",
    balancer: Balancer::PickFirst,
    tls_keys_outside: true,
};

impl Factory for JaegerFactory {
    fn about(&self) -> About {
        About {
            kind: Kind::Exporter,
            type_name: "jaeger",
            aliases: &[],
            signals: &[Signal::Traces],
            stability: "Stable",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn Settings>> {
        s.diagnostics()
            .warn(s.origin(), s.path(), "the jaeger exporter has been removed from the Go collector; it is kept here")
            .kind(otelcore_config::Kind::Deprecated)
            .hint("nothing has to change; a configuration for both sends OTLP to Jaeger's port 4317 with `otlp_grpc`");
        let client = GrpcClient::parse(&mut s, &CLIENT);
        let sending = SendingSettings::parse(&mut s, Dur::from_secs(5));
        s.finish();
        Some(Box::new(Jaeger { client: client?, sending }))
    }
}
