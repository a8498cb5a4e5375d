//! `otlp_grpc`: one payload, one Export call.

use std::rc::Rc;

use http::uri::PathAndQuery;
use otelcore_config::{ComponentId, Dur, Section};
use otelcore_http::Bytes;
use otelcore_net::settings::{Balancer, GrpcClient, GrpcClientDefaults};
use otelcore_net::{Channel, NewCall};
use otelcore_pdata::{Signal, response};
use otelcore_pipeline::{
    About, Bounds, Build, CallResult, Component, Cx, Delivery, Done, Encode, Encoded, Event, Exporter, Factory, JobId,
    Kind, Logger, Message, Mono, Outcome, Payload, Piece, ReadFile, SendingSettings, Settings, StartError,
};
use smallvec::SmallVec;

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
            delivery: Delivery::new(Bodies, &build.id.to_string(), build.telemetry, build.log.clone()),
            paths: METHODS.map(PathAndQuery::from_static),
            log: build.log.clone(),
        };
        Ok(Component::Exporter(Box::new(exporter), self.sending.clone()))
    }

    fn check_files(&self, read: ReadFile<'_>) -> Result<(), String> {
        self.client.tls.as_ref().map_or(Ok(()), |tls| tls.check_files(read))
    }
}

/// Messages are the unchanged bodies, split where they are too long.
#[derive(Clone, Copy, Debug)]
struct Bodies;

impl Encode for Bodies {
    type Message = SmallVec<[Bytes; 4]>;

    fn encode(&self, signal: Signal, piece: Piece, bounds: Bounds) -> Encoded<Self::Message> {
        let (bodies, rest) = piece.cut(signal, bounds.message, bounds.messages);
        let message = |body: otelcore_pdata::Rope| {
            let content = body.parts().iter().map(|part| part.bytes.clone()).collect();
            Message { content, bytes: body.len(), body }
        };
        Encoded { messages: bodies.into_iter().map(message).collect(), rest }
    }

    fn work(&self, piece: &Piece, limit: usize) -> usize {
        let parts = piece.body.parts().len().saturating_mul(64);
        if piece.is_within(limit) { parts } else { parts.saturating_add(piece.body.len()) }
    }
}

#[derive(Debug)]
struct GrpcExporter {
    channel: Channel,
    delivery: Delivery<Bodies>,
    paths: [PathAndQuery; 3],
    log: Logger,
}

impl GrpcExporter {
    /// Starts the calls that are ready and handles the results of ended ones, until there are none of either.
    fn advance(&mut self, cx: &mut Cx<'_>, done: &mut Done) {
        loop {
            if let Some(call) = self.delivery.poll_call(cx.now()) {
                let path = self.paths[call.signal as usize].clone();
                self.channel.call(cx, call.token, NewCall { path, message: call.content, by: call.by });
            } else if let Some((token, result)) = self.channel.poll_done() {
                let Some((signal, items)) = self.delivery.call(token) else { continue };
                let result = match result {
                    Err(status) => answer::failure(status),
                    Ok(reply) => {
                        // A reply that can't be decoded still means that the peer took the data, so nothing is sent
                        // again.
                        let said = response::partial_success(&reply).unwrap_or_default();
                        answer::taken(signal, items, &said, &self.log)
                    }
                };
                self.delivery.handle_result(cx, token, result, done);
            } else {
                return;
            }
        }
    }
}

impl Exporter for GrpcExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)
    }

    fn send(&mut self, cx: &mut Cx<'_>, job: JobId, payload: &Payload, by: Mono, done: &mut Done) {
        if let Some(status) = self.channel.refusal()
            && let CallResult::Retry { after, why } = answer::failure(status)
        {
            // Nothing is encoded for a peer that can't be reached.
            return done.push(job, Outcome::Retry { after, why });
        }
        self.delivery.send(cx, job, payload, by, done);
        self.advance(cx, done);
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, done: &mut Done) {
        if !self.delivery.event(cx, local, done) {
            self.channel.event(cx, local, &event);
        }
        self.advance(cx, done);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.channel.close(cx);
    }
}
