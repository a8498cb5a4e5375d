//! `otlp_grpc`: one payload, one Export call.

use http::uri::PathAndQuery;
use otelcore_config::config_struct;
use otelcore_http::Coding;
use otelcore_net::config::{Balancer, GrpcClientConfig, GrpcCompression};
use otelcore_net::{BodyParts, GrpcProtocol, GrpcSender};
use otelcore_pdata::{Signal, response};
use otelcore_pipeline::{
    BuildContext, CallResult, Component, ComponentInfo, ComponentKind, ComponentType, Encode, EncodeLimits,
    EncodedMessage, EncodedPiece, ExporterQueueConfig, Logger, Piece, ReadFile, StartError,
};

use crate::partial_success::result_of_partial_success;

/// Methods, by `Signal as usize`.
const METHODS: [&str; 3] = [
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
];

config_struct! {
    /// Sends OTLP over gRPC.
    pub struct OtlpGrpcExporterConfig {
        /// The peer.
        #[config(flatten)]
        pub client: GrpcClientConfig = GrpcClientConfig {
            compression: GrpcCompression(Coding::Gzip),
            balancer_name: Balancer::RoundRobin,
            ..GrpcClientConfig::default()
        },
        /// Queue, retry, and the timeout of one attempt.
        #[config(flatten)]
        pub exporter_queue: ExporterQueueConfig,
    }
}

/// The `otlp_grpc` exporter.
#[derive(Clone, Copy, Debug)]
pub struct OtlpGrpcFactory;

impl ComponentType for OtlpGrpcFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "otlp_grpc",
        aliases: &["otlp"],
        signals: &Signal::ALL,
        stability: "Stable",
    };
    type Config = OtlpGrpcExporterConfig;

    fn create(&self, config: &OtlpGrpcExporterConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let exporter = GrpcSender::new(OtlpGrpc, &config.client, context)?;
        Ok(Component::Exporter(Box::new(exporter), config.exporter_queue.clone()))
    }

    fn check_files(&self, config: &OtlpGrpcExporterConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        config.client.check_files(read)
    }
}

/// Messages are the unchanged bodies, split where they are too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OtlpGrpc;

impl Encode for OtlpGrpc {
    type Message = BodyParts;

    fn encode(&self, signal: Signal, piece: Piece, limits: EncodeLimits) -> EncodedPiece<Self::Message> {
        let (bodies, rest) = piece.cut(signal, limits.message_bytes, limits.max_messages);
        let message = |body: otelcore_pdata::Rope| {
            let content = body.parts().iter().map(|part| part.bytes.clone()).collect();
            EncodedMessage { content, bytes: body.len(), body, left_out: None }
        };
        EncodedPiece { messages: bodies.into_iter().map(message).collect(), rest }
    }

    fn estimate_work(&self, piece: &Piece, limit: usize) -> usize {
        piece.sharing_work(limit)
    }
}

impl GrpcProtocol for OtlpGrpc {
    const COUNTS_BY_DESTINATION: bool = true;

    fn method(&self, signal: Signal) -> PathAndQuery {
        PathAndQuery::from_static(METHODS[signal as usize])
    }

    fn read_response(&mut self, signal: Signal, items: u32, response: &[u8], log: &Logger) -> CallResult {
        // A response that can't be decoded still means that the peer accepted the data, so nothing is sent again.
        let partial = response::decode_partial_success(response).unwrap_or_default();
        result_of_partial_success(signal, items, &partial, log)
    }
}
