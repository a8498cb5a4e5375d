//! Zipkin's API as a protocol of requests: its paths, the formats of bodies, and its responses.

use otelcore_http::h1::{RequestHead, Response};
use otelcore_http::{Bytes, Status};
use otelcore_net::config::HttpServerConfig;
use otelcore_net::ingest::{DecodedBody, HttpRoute, Ingest, IngestProtocol, status_response};
use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Held, StartError};

use crate::zipkin::{BodyFormat, decode};

pub(crate) const V2_PATH: &str = "/api/v2/spans";
const V1_PATH: &str = "/api/v1/spans";

/// The routes, by version.
const V1: u32 = 1;
const V2: u32 = 2;

pub(crate) fn new_receiver(
    server: &HttpServerConfig,
    parses_tags: bool,
    context: &BuildContext<'_>,
) -> Result<Ingest<ZipkinProtocol>, StartError> {
    let route =
        |path: &str, route| HttpRoute { method: "POST", path: path.to_owned(), route, signals: vec![Signal::Traces] };
    let routes = vec![route(V1_PATH, V1), route(V2_PATH, V2)];
    Ingest::new(ZipkinProtocol { parses_tags }, context).with_http(server, routes, context)
}

pub(crate) struct ZipkinProtocol {
    parses_tags: bool,
}

/// What the media type of a request says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    /// Anything else, as in the Go receiver.
    Json,
    Protobuf,
    Thrift,
}

impl IngestProtocol for ZipkinProtocol {
    type Format = Encoding;

    fn read_format(&self, head: &RequestHead) -> Encoding {
        let media_type = head.media_type();
        if media_type.eq_ignore_ascii_case(b"application/x-protobuf") {
            Encoding::Protobuf
        } else if media_type.eq_ignore_ascii_case(b"application/x-thrift") {
            Encoding::Thrift
        } else {
            Encoding::Json
        }
    }

    fn max_inline_decoded(&self, _: &Encoding) -> usize {
        64 << 10
    }

    fn decode(&self, route: u32, encoding: &Encoding, body: Bytes, held: &mut Held) -> Result<DecodedBody, Status> {
        let format = match (route, encoding) {
            (V1, Encoding::Thrift) => BodyFormat::V1Thrift,
            (V1, _) => BodyFormat::V1Json,
            (_, Encoding::Protobuf) => BodyFormat::V2Protobuf,
            (_, _) => BodyFormat::V2Json,
        };
        Ok(DecodedBody::new(Signal::Traces, decode(format, &body, self.parses_tags, held)?))
    }

    fn respond(&self, _: Option<u32>, _: &Encoding, result: Result<(), &Status>) -> Response {
        match result {
            Ok(()) => Response::text(202, ""),
            Err(status) => status_response(status, "text/plain; charset=utf-8", format!("{}\n", status.message)),
        }
    }
}
