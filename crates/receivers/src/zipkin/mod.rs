//! The `zipkin` receiver: spans of Zipkin's API, versions 1 and 2, become OTLP by the rules of the Go translator.
//!
//! `v1` and `v2` are the models of the two versions and map one span; `v1::json`, `v1::thrift`, `v2::json` and
//! `v2::protobuf` read bodies, a span at a time, so that only the OTLP of a body is held as a whole. Connections, limits
//! and responses are those of every receiver over HTTP.

mod config;
mod json;
mod protocol;
mod text;
mod v1;
mod v2;

pub use config::{ZipkinReceiverConfig, ZipkinReceiverFactory};

use otelcore_pdata::Rope;
use otelcore_pipeline::Held;

use crate::decode_error::DecodeError;
use crate::span_groups::SpanGroups;

/// The forms of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[doc(hidden)]
pub enum BodyFormat {
    /// A list of spans of version 1, in JSON.
    V1Json,
    /// The same in Thrift's binary protocol.
    V1Thrift,
    /// A list of spans of version 2, in JSON.
    V2Json,
    /// The same in protobuf.
    V2Protobuf,
}

/// The spans of a body as OTLP. `parses_tags`: tags that look like numbers and booleans become them.
///
/// # Errors
/// Why the body can't be read, or that there is no room for its spans.
#[doc(hidden)]
pub fn decode(format: BodyFormat, body: &[u8], parses_tags: bool, held: &mut Held) -> Result<Rope, DecodeError> {
    let mut groups = SpanGroups::new(held);
    match format {
        BodyFormat::V1Json => v1::json::read(body, parses_tags, &mut groups)?,
        BodyFormat::V1Thrift => v1::thrift::read(body, &mut groups)?,
        BodyFormat::V2Json => v2::json::read(body, parses_tags, &mut groups)?,
        BodyFormat::V2Protobuf => v2::protobuf::read(body, parses_tags, &mut groups)?,
    }
    Ok(groups.finish())
}
