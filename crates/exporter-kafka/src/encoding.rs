//! The encodings of messages by name. Encodes nothing.

use otelcore_pdata::Signal;

/// How telemetry is written in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// OTLP as protobuf.
    OtlpProto,
    /// OTLP as JSON.
    OtlpJson,
    /// Each span of Jaeger's model in a message of its own, as protobuf, with its trace id as the key.
    JaegerProto,
    /// The same as JSON.
    JaegerJson,
    /// Spans of Zipkin's API, version 2, as protobuf.
    ZipkinProto,
    /// The same as JSON.
    ZipkinJson,
    /// The body of each log record in a message of its own.
    Raw,
}

impl Encoding {
    /// Reads the name of an encoding of a signal.
    pub(crate) fn parse(signal: Signal, name: &str) -> Result<Self, String> {
        match (name, signal) {
            ("otlp_proto", _) => Ok(Self::OtlpProto),
            ("otlp_json", _) => Ok(Self::OtlpJson),
            ("raw", Signal::Logs) => Ok(Self::Raw),
            ("jaeger_proto", Signal::Traces) => Ok(Self::JaegerProto),
            ("zipkin_proto", Signal::Traces) => Ok(Self::ZipkinProto),
            ("zipkin_json", Signal::Traces) => Ok(Self::ZipkinJson),
            ("jaeger_json", Signal::Traces) => Ok(Self::JaegerJson),
            (name, signal) => Err(format!("unrecognized {} encoding {name:?}", signal.name())),
        }
    }
}
