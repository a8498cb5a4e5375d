//! OTLP as a protocol of requests: its paths and methods, the check of its bodies, and its responses.

use otelcore_http::h1::{RequestHead, Response};
use otelcore_http::{Bytes, Status};
use otelcore_net::config::{GrpcServerConfig, HttpServerConfig};
use otelcore_net::ingest::{
    DecodedBody, GrpcMethod, GrpcService, HttpRoute, Ingest, IngestProtocol, no_room_status, status_response,
};
use otelcore_pdata::{Signal, checked_rope, json};
use otelcore_pipeline::{BuildContext, Held, StartError};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
/// The response message of every Export method: an empty partial_success, always written, as the Go collector does.
const SUCCESS_RESPONSE: &[u8] = &[0x0a, 0x00];
/// The same in JSON, as the Go collector writes it.
const SUCCESS_JSON: &[u8] = b"{\"partialSuccess\":{}}";

/// A longer protobuf body is checked on a helper thread: in the worst case, fields of two bytes, one MiB takes three
/// milliseconds.
const MAX_INLINE_CHECKED: usize = 512 << 10;
/// A longer JSON body is decoded on a helper thread.
const MAX_INLINE_JSON: usize = 128 << 10;

/// Service names, by `Signal as usize`.
const SERVICES: [&str; 3] = [
    "opentelemetry.proto.collector.trace.v1.TraceService",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "opentelemetry.proto.collector.logs.v1.LogsService",
];

/// Makes a receiver. `http` has the path of each signal, by `Signal as usize`. A path or service exists only where a pipeline of its signal uses the receiver.
pub(crate) fn new_receiver(
    grpc: Option<&GrpcServerConfig>,
    http: Option<(&HttpServerConfig, &[String; 3])>,
    context: &BuildContext<'_>,
) -> Result<Ingest<OtlpProtocol>, StartError> {
    let mut ingest = Ingest::new(OtlpProtocol, context);
    if let Some(grpc) = grpc {
        let methods = context.signals.iter().map(|signal| GrpcMethod {
            path: format!("/{}/Export", SERVICES[*signal as usize]),
            route: *signal as u32,
            signal: *signal,
        });
        let response = Bytes::from_static(SUCCESS_RESPONSE);
        let service = GrpcService { methods: methods.collect(), format: OtlpFormat::Grpc, response };
        ingest = ingest.with_grpc(grpc, service, context)?;
    }
    if let Some((server, paths)) = http {
        let routes = context.signals.iter().map(|signal| HttpRoute {
            method: "POST",
            path: paths[*signal as usize].clone(),
            route: *signal as u32,
            signals: vec![*signal],
        });
        ingest = ingest.with_http(server, routes.collect(), context)?;
    }
    Ok(ingest)
}

/// The format of a request and of its response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OtlpFormat {
    /// Protobuf over gRPC.
    Grpc,
    /// Protobuf over HTTP.
    Protobuf,
    /// JSON over HTTP.
    Json,
}

pub(crate) struct OtlpProtocol;

impl IngestProtocol for OtlpProtocol {
    type Format = OtlpFormat;

    fn read_format(&self, head: &RequestHead) -> OtlpFormat {
        // A request that is not protobuf gets a response in JSON, as from the Go collector when the type is missing.
        if content_type(head) == Some(PROTOBUF) { OtlpFormat::Protobuf } else { OtlpFormat::Json }
    }

    fn refuse_head(&self, head: &RequestHead, _: &OtlpFormat) -> Option<Response> {
        content_type(head).is_none().then(|| {
            let text = "415 unsupported media type, supported: [application/json, application/x-protobuf]";
            Response::new(415, "text/plain", Bytes::from_static(text.as_bytes()))
        })
    }

    fn max_inline_decoded(&self, format: &OtlpFormat) -> usize {
        if *format == OtlpFormat::Json { MAX_INLINE_JSON } else { MAX_INLINE_CHECKED }
    }

    fn decode(&self, route: u32, format: &OtlpFormat, mut body: Bytes, held: &mut Held) -> Result<DecodedBody, Status> {
        let signal = Signal::ALL.into_iter().find(|signal| *signal as u32 == route).unwrap_or(Signal::Traces);
        if *format == OtlpFormat::Json {
            body = decode_json(signal, &body, held)?;
        }
        let rope = checked_rope(signal, body).map_err(|e| match format {
            OtlpFormat::Grpc => Status::internal(format!("grpc: error unmarshalling request: {e}")),
            OtlpFormat::Protobuf | OtlpFormat::Json => Status::invalid_argument(e.to_string()),
        })?;
        Ok(DecodedBody::new(signal, rope))
    }

    /// An error has the form of the request: `google.rpc.Status` in protobuf or JSON.
    fn respond(&self, _: Option<u32>, format: &OtlpFormat, result: Result<(), &Status>) -> Response {
        match (result, format) {
            (Ok(()), OtlpFormat::Json) => Response::new(200, JSON, Bytes::from_static(SUCCESS_JSON)),
            (Ok(()), _) => Response::new(200, PROTOBUF, Bytes::from_static(SUCCESS_RESPONSE)),
            (Err(status), OtlpFormat::Json) => {
                let mut body = format!("{{\"code\":{},\"message\":", status.code.number()).into_bytes();
                otelcore_pdata::text::put_json_string(&mut body, status.message.as_bytes());
                body.push(b'}');
                status_response(status, JSON, body)
            }
            (Err(status), _) => status_response(status, PROTOBUF, status.to_proto()),
        }
    }
}

/// The request's media type, if OTLP supports it.
fn content_type(head: &RequestHead) -> Option<&'static str> {
    let media_type = head.media_type();
    [PROTOBUF, JSON].into_iter().find(|known| media_type.eq_ignore_ascii_case(known.as_bytes()))
}

fn decode_json(signal: Signal, text: &Bytes, held: &mut Held) -> Result<Bytes, Status> {
    let mut out = Vec::new();
    // Charged before there is any output: the text and the protobuf, which is not longer than the text, except for the
    // numbers of an array. Those take at most eight bytes each.
    let numbers = text.windows(2).filter(|pair| pair[0] == b',' && pair[1].is_ascii_digit()).count() as u64;
    held.try_grow(2 * text.len() as u64 + 6 * numbers).map_err(no_room_status)?;
    json::decode(signal, text, &mut out).map_err(|e| Status::invalid_argument(e.to_string()))?;
    out.shrink_to_fit();
    held.try_grow(out.len() as u64).map_err(no_room_status)?;
    Ok(out.into())
}
