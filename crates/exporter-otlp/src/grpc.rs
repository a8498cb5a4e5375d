//! `otlp_grpc`: one payload, one Export call.

use std::rc::Rc;

use http::uri::PathAndQuery;
use otelcore_config::{ComponentId, Dur, Section};
use otelcore_net::settings::{Balancer, GrpcClient, GrpcClientDefaults};
use otelcore_net::{Channel, NewCall};
use otelcore_pdata::{Signal, response};
use otelcore_pipeline::{
    About, Build, Component, Cx, Done, Event, Exporter, Factory, JobId, Kind, Logger, Mono, Payload, ReadFile,
    SendingSettings, Settings, StartError,
};
use slab::Slab;

use crate::answer;

/// Methods, by `Signal as usize`.
const METHODS: [&str; 3] = [
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
];

/// Settings of an `otlp_grpc` exporter.
#[derive(Clone, Debug)]
pub struct OtlpGrpc {
    /// The peer.
    pub client: GrpcClient,
    /// Queue, retry, and the timeout of one attempt.
    pub sending: SendingSettings,
}

/// Makes `otlp_grpc` exporters.
#[derive(Debug)]
pub struct OtlpGrpcFactory;

const CLIENT: GrpcClientDefaults = GrpcClientDefaults {
    empty_endpoint: "requires a non-empty \"endpoint\"",
    compression: "gzip",
    balancer: Balancer::RoundRobin,
    tls_keys_outside: true,
};

impl Factory for OtlpGrpcFactory {
    fn about(&self) -> About {
        About {
            kind: Kind::Exporter,
            type_name: "otlp_grpc",
            aliases: &["otlp"],
            signals: &Signal::ALL,
            stability: "Stable",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn Settings>> {
        let client = GrpcClient::parse(&mut s, &CLIENT);
        let sending = SendingSettings::parse(&mut s, Dur::from_secs(5));
        s.finish();
        Some(Box::new(OtlpGrpc { client: client?, sending }))
    }
}

impl Settings for OtlpGrpc {
    fn create(&self, build: &Build<'_>) -> Result<Component, StartError> {
        let client = Rc::new(self.client.clone());
        let auth = client.auth.as_ref().map(|id| build.auth.client(id)).transpose()?;
        let exporter = GrpcExporter {
            channel: Channel::new(client, auth, build.log.clone(), 0),
            calls: Slab::new(),
            paths: METHODS.map(PathAndQuery::from_static),
            log: build.log.clone(),
        };
        Ok(Component::Exporter(Box::new(exporter), self.sending.clone()))
    }

    fn check_files(&self, read: ReadFile<'_>) -> Result<(), String> {
        self.client.tls.as_ref().map_or(Ok(()), |tls| tls.check_files(read))
    }
}

/// A call under way.
#[derive(Debug)]
struct Call {
    job: JobId,
    signal: Signal,
    items: u32,
}

#[derive(Debug)]
struct GrpcExporter {
    channel: Channel,
    calls: Slab<Call>,
    paths: [PathAndQuery; 3],
    log: Logger,
}

impl GrpcExporter {
    fn collect(&mut self, done: &mut Done) {
        while let Some((token, result)) = self.channel.poll_done() {
            let Some(call) = usize::try_from(token).ok().and_then(|t| self.calls.try_remove(t)) else { continue };
            match result {
                Err(status) => done.push(call.job, answer::outcome(status)),
                Ok(reply) => {
                    // A reply that can't be read has come after the peer took the data: nothing to send again.
                    let said = response::partial_success(&reply).unwrap_or_default();
                    done.pieces(call.job, answer::taken(call.signal, call.items, &said, &self.log));
                }
            }
        }
    }
}

impl Exporter for GrpcExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)
    }

    fn send(&mut self, cx: &mut Cx<'_>, job: JobId, payload: &Payload, by: Mono, done: &mut Done) {
        let token = self.calls.insert(Call { job, signal: payload.signal, items: payload.items() });
        let message = payload.body.parts().iter().map(|part| part.bytes.clone()).collect();
        let path = self.paths[payload.signal as usize].clone();
        self.channel.call(cx, token as u64, NewCall { path, message, by });
        self.collect(done);
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, done: &mut Done) {
        self.channel.event(cx, local, &event);
        self.collect(done);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.channel.close(cx);
    }
}
