//! The encodings of messages by name. Encodes nothing.

use otelcore_pdata::Signal;

/// How telemetry is written in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// OTLP as protobuf.
    OtlpProto,
    /// OTLP as JSON.
    OtlpJson,
    /// The body of each log record in a message of its own.
    Raw,
}

/// Encodings of the Go collector that are not here yet.
const MISSING: [&str; 4] = ["jaeger_proto", "jaeger_json", "zipkin_proto", "zipkin_json"];

impl Encoding {
    /// Reads the name of an encoding of a signal.
    pub(crate) fn parse(signal: Signal, name: &str) -> Result<Self, String> {
        match (name, signal) {
            ("otlp_proto", _) => Ok(Self::OtlpProto),
            ("otlp_json", _) => Ok(Self::OtlpJson),
            ("raw", Signal::Logs) => Ok(Self::Raw),
            (name, Signal::Traces) if MISSING.contains(&name) => {
                Err(format!("the encoding {name} is not supported yet"))
            }
            (name, signal) => Err(format!("unrecognized {} encoding {name:?}", signal.name())),
        }
    }
}
