//! The `jaeger` receiver: spans of Jaeger's clients and agents become OTLP by the rules of the Go translator.
//!
//! `model` and `attributes` map one span; `protobuf` and `thrift` read bodies, a span at a time, so that only the OTLP of
//! a body is held as a whole. Connections over gRPC and HTTP are those of every receiver; `agent` reads datagrams.

mod agent;
mod attributes;
mod config;
mod factory;
mod model;
mod protobuf;
mod protocol;
mod receiver;
mod thrift;

pub use config::{JaegerProtocolsConfig, JaegerReceiverConfig, ThriftUdpConfig};
pub use factory::JaegerReceiverFactory;

use otelcore_pdata::Rope;
use otelcore_pipeline::Held;
use otelcore_thrift::{Protocol, Reader};

use crate::decode_error::DecodeError;
use crate::span_groups::SpanGroups;

/// The forms of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[doc(hidden)]
pub enum BodyFormat {
    /// `jaeger.api_v2.PostSpansRequest`.
    Protobuf,
    /// A `Batch` in Thrift's binary protocol.
    ThriftBatch,
    /// A message for the agent, in Thrift's binary protocol.
    AgentBinary,
    /// A message for the agent, in Thrift's compact protocol.
    AgentCompact,
}

/// The spans of a body as OTLP.
///
/// # Errors
/// Why the body can't be read, or that there is no room for its spans.
#[doc(hidden)]
pub fn decode(format: BodyFormat, body: &[u8], held: &mut Held) -> Result<Rope, DecodeError> {
    let mut groups = SpanGroups::new(held);
    match format {
        BodyFormat::Protobuf => protobuf::read(body, &mut groups)?,
        BodyFormat::ThriftBatch => thrift::read_batch(&mut Reader::new(Protocol::Binary, body), &mut groups)?,
        BodyFormat::AgentBinary => thrift::read_message(Protocol::Binary, body, &mut groups)?,
        BodyFormat::AgentCompact => thrift::read_message(Protocol::Compact, body, &mut groups)?,
    }
    Ok(groups.finish())
}
