//! The collector's API of Jaeger as a protocol of requests: its method and path, the forms of bodies, and its responses.

use otelcore_http::h1::{RequestHead, Response};
use otelcore_http::{Bytes, Status};
use otelcore_net::config::{GrpcServerConfig, HttpServerConfig};
use otelcore_net::ingest::{DecodedBody, GrpcMethod, GrpcService, HttpRoute, Ingest, IngestProtocol, status_response};
use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Held, StartError};

use super::{BodyFormat, decode};
use crate::decode_error::DecodeError;

pub(super) const POST_SPANS: &str = "/jaeger.api_v2.CollectorService/PostSpans";
pub(super) const TRACES_PATH: &str = "/api/traces";

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
const MEDIA_TYPES: [&[u8]; 2] = [b"application/x-thrift", b"application/vnd.apache.thrift.binary"];

/// Only one thing is served, so that every route has this number.
const ROUTE: u32 = 0;

/// A receiver with these servers.
pub(super) fn new_ingest(
    grpc: Option<&GrpcServerConfig>,
    http: Option<&HttpServerConfig>,
    context: &BuildContext<'_>,
) -> Result<Ingest<JaegerProtocol>, StartError> {
    let mut ingest = Ingest::new(JaegerProtocol, context);
    if let Some(config) = grpc {
        let methods = vec![GrpcMethod { path: POST_SPANS.to_owned(), route: ROUTE, signal: Signal::Traces }];
        // The response is an empty message.
        let service = GrpcService { methods, format: JaegerFormat::Protobuf, response: Bytes::new() };
        ingest = ingest.with_grpc(config, service, context)?;
    }
    if let Some(config) = http {
        let (path, signals) = (TRACES_PATH.to_owned(), vec![Signal::Traces]);
        let routes = vec![HttpRoute { method: "POST", path, route: ROUTE, signals }];
        ingest = ingest.with_http(config, routes, context)?;
    }
    Ok(ingest)
}

pub(super) struct JaegerProtocol;

/// The form of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum JaegerFormat {
    /// Protobuf over gRPC.
    Protobuf,
    /// Thrift over HTTP.
    Thrift,
}

impl IngestProtocol for JaegerProtocol {
    type Format = JaegerFormat;

    const HTTP_TRANSPORT: &'static str = "collector_http";

    fn read_format(&self, _: &RequestHead) -> JaegerFormat {
        JaegerFormat::Thrift
    }

    fn refuse_head(&self, head: &RequestHead, _: &JaegerFormat) -> Option<Response> {
        let media_type = head.media_type();
        if MEDIA_TYPES.iter().any(|known| media_type.eq_ignore_ascii_case(known)) {
            return None;
        }
        let text = match media_type {
            b"" => "Cannot parse content type: mime: no media type".to_owned(),
            other => format!("Unsupported content type: {}", String::from_utf8_lossy(other).escape_default()),
        };
        Some(Response::new(400, PLAIN_TEXT, Bytes::from(format!("{text}\n"))))
    }

    fn max_inline_decoded(&self, _: &JaegerFormat) -> usize {
        64 << 10
    }

    fn decode(&self, _: u32, format: &JaegerFormat, body: Bytes, held: &mut Held) -> Result<DecodedBody, Status> {
        let result = match format {
            JaegerFormat::Protobuf => decode(BodyFormat::Protobuf, &body, held),
            JaegerFormat::Thrift => decode(BodyFormat::ThriftBatch, &body, held),
        };
        match (result, format) {
            (Ok(rope), _) => Ok(DecodedBody::new(Signal::Traces, rope)),
            (Err(DecodeError::Invalid(why)), JaegerFormat::Protobuf) => {
                Err(Status::internal(format!("grpc: error unmarshalling request: {why}")))
            }
            (Err(DecodeError::Invalid(why)), JaegerFormat::Thrift) => {
                Err(Status::invalid_argument(format!("Unable to process request body: {why}")))
            }
            (Err(no_room), _) => Err(no_room.into()),
        }
    }

    fn respond(&self, _: Option<u32>, _: &JaegerFormat, result: Result<(), &Status>) -> Response {
        match result {
            Ok(()) => Response::text(202, ""),
            Err(status) => status_response(status, PLAIN_TEXT, format!("{}\n", status.message)),
        }
    }
}
