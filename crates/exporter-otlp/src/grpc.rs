//! `otlp_grpc`: one payload, one Export call.

use std::rc::Rc;

use http::uri::PathAndQuery;
use otelcore_config::{ComponentId, GoDuration, Section};
use otelcore_http::Bytes;
use otelcore_net::config::{Balancer, GrpcClientConfig, GrpcClientDefaults};
use otelcore_net::{GrpcChannel, UnaryRequest};
use otelcore_pdata::{Signal, response};
use otelcore_pipeline::{
    AttemptId, BuildContext, CallResult, Component, ComponentConfig, ComponentInfo, ComponentKind, Cx, Delivery,
    Encode, EncodeLimits, EncodedMessage, EncodedPiece, Event, Exporter, ExporterQueueConfig, Factory, Logger,
    MonotonicTime, Outcome, Outcomes, Payload, Piece, ReadFile, StartError,
};
use smallvec::SmallVec;

use crate::call_result;

/// Methods, by `Signal as usize`.
const METHODS: [&str; 3] = [
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
];

/// Configuration of an `otlp_grpc` exporter.
#[derive(Clone, Debug)]
pub struct OtlpGrpcExporterConfig {
    /// The peer.
    pub client: GrpcClientConfig,
    /// Queue, retry, and the timeout of one attempt.
    pub exporter_queue: ExporterQueueConfig,
}

/// Makes `otlp_grpc` exporters.
#[derive(Debug)]
pub struct OtlpGrpcFactory;

const CLIENT_DEFAULTS: GrpcClientDefaults = GrpcClientDefaults {
    empty_endpoint: "requires a non-empty \"endpoint\"",
    compression: "gzip",
    balancer: Balancer::RoundRobin,
    allow_top_level_tls_keys: true,
};

impl Factory for OtlpGrpcFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Exporter,
            type_name: "otlp_grpc",
            aliases: &["otlp"],
            signals: &Signal::ALL,
            stability: "Stable",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let client = GrpcClientConfig::parse(&mut s, &CLIENT_DEFAULTS);
        let sending = ExporterQueueConfig::parse(&mut s, GoDuration::from_secs(5));
        s.finish();
        Some(Box::new(OtlpGrpcExporterConfig { client: client?, exporter_queue: sending }))
    }
}

impl ComponentConfig for OtlpGrpcExporterConfig {
    fn create(&self, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let client = Rc::new(self.client.clone());
        let auth = client.auth.as_ref().map(|id| context.auth.client(id)).transpose()?;
        let exporter = GrpcExporter {
            channel: GrpcChannel::new(client, auth, context.log.clone(), 0),
            delivery: Delivery::new(BodyEncoder, &context.id.to_string(), context.telemetry, context.log.clone()),
            paths: METHODS.map(PathAndQuery::from_static),
            log: context.log.clone(),
        };
        Ok(Component::Exporter(Box::new(exporter), self.exporter_queue.clone()))
    }

    fn check_files(&self, read_file: ReadFile<'_>) -> Result<(), String> {
        self.client.tls.as_ref().map_or(Ok(()), |tls| tls.check_files(read_file))
    }
}

/// Messages are the unchanged bodies, split where they are too long.
#[derive(Clone, Copy, Debug)]
struct BodyEncoder;

impl Encode for BodyEncoder {
    type Message = SmallVec<[Bytes; 4]>;

    fn encode(&self, signal: Signal, piece: Piece, limits: EncodeLimits) -> EncodedPiece<Self::Message> {
        let (bodies, rest) = piece.cut(signal, limits.message_bytes, limits.max_messages);
        let message = |body: otelcore_pdata::Rope| {
            let content = body.parts().iter().map(|part| part.bytes.clone()).collect();
            EncodedMessage { content, bytes: body.len(), body }
        };
        EncodedPiece { messages: bodies.into_iter().map(message).collect(), rest }
    }

    fn estimate_work(&self, piece: &Piece, limit: usize) -> usize {
        let parts = piece.body.parts().len().saturating_mul(64);
        if piece.is_within(limit) { parts } else { parts.saturating_add(piece.body.len()) }
    }
}

#[derive(Debug)]
struct GrpcExporter {
    channel: GrpcChannel,
    delivery: Delivery<BodyEncoder>,
    paths: [PathAndQuery; 3],
    log: Logger,
}

impl GrpcExporter {
    /// Starts the calls that are ready and handles the results of ended ones, until there are none of either.
    fn advance(&mut self, cx: &mut Cx<'_>, outcomes: &mut Outcomes) {
        loop {
            if let Some(call) = self.delivery.poll_call(cx.now()) {
                let path = self.paths[call.signal as usize].clone();
                self.channel.start_call(
                    cx,
                    call.token,
                    UnaryRequest { path, message: call.content, deadline: call.deadline },
                );
            } else if let Some((token, result)) = self.channel.poll_result() {
                let Some((signal, items)) = self.delivery.call_info(token) else { continue };
                let result = match result {
                    Err(status) => call_result::from_status(status),
                    Ok(response_body) => {
                        // A response that can't be decoded still means that the peer accepted the data, so nothing is
                        // sent again.
                        let partial = response::decode_partial_success(&response_body).unwrap_or_default();
                        call_result::from_partial_success(signal, items, &partial, &self.log)
                    }
                };
                self.delivery.handle_result(cx, token, result, outcomes);
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

    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        attempt: AttemptId,
        payload: &Payload,
        deadline: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
        if let Some(status) = self.channel.unavailable_status()
            && let CallResult::Retry { after, why } = call_result::from_status(status)
        {
            // Nothing is encoded for a peer that can't be reached.
            return outcomes.push(attempt, Outcome::Retry { after, why });
        }
        self.delivery.send(cx, attempt, payload, deadline, outcomes);
        self.advance(cx, outcomes);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, outcomes: &mut Outcomes) {
        if !self.delivery.handle_event(cx, local, outcomes) {
            self.channel.handle_event(cx, local, &event);
        }
        self.advance(cx, outcomes);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.channel.close(cx);
    }
}
