//! `otlp_grpc`: one payload, one Export call.

use std::rc::Rc;

use http::uri::PathAndQuery;
use otelcore_config::{ComponentId, GoDuration, Section};
use otelcore_net::config::{Balancer, GrpcClientConfig, GrpcClientDefaults};
use otelcore_net::{BodyParts, GrpcProtocol, GrpcSender};
use otelcore_pdata::{Signal, response};
use otelcore_pipeline::{
    BuildContext, CallResult, Component, ComponentConfig, ComponentInfo, ComponentKind, Encode, EncodeLimits,
    EncodedMessage, EncodedPiece, ExporterQueueConfig, Factory, Logger, Piece, ReadFile, StartError,
};

use crate::partial_success::result_of_partial_success;

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
        let exporter = GrpcSender::new(OtlpGrpc, client, context)?;
        Ok(Component::Exporter(Box::new(exporter), self.exporter_queue.clone()))
    }

    fn check_files(&self, read_file: ReadFile<'_>) -> Result<(), String> {
        self.client.tls.as_ref().map_or(Ok(()), |tls| tls.check_files(read_file))
    }
}

/// Messages are the unchanged bodies, split where they are too long.
#[derive(Clone, Copy, Debug)]
struct OtlpGrpc;

impl Encode for OtlpGrpc {
    type Message = BodyParts;

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

impl GrpcProtocol for OtlpGrpc {
    fn method(&self, signal: Signal) -> PathAndQuery {
        PathAndQuery::from_static(METHODS[signal as usize])
    }

    fn read_response(&mut self, signal: Signal, items: u32, response: &[u8], log: &Logger) -> CallResult {
        // A response that can't be decoded still means that the peer accepted the data, so nothing is sent again.
        let partial = response::decode_partial_success(response).unwrap_or_default();
        result_of_partial_success(signal, items, &partial, log)
    }
}
