//! The `otlp` receiver: the protocol and the section. Everything else is [`otelcore_net::ingest::Ingest`].
//!
//! Bodies are checked once and sent on as they are; JSON becomes protobuf on receipt. A client gets its response when
//! its data is delivered or in custody.
#![forbid(unsafe_code)]

mod config;
mod protocol;

pub use config::{OtlpFactory, OtlpHttpConfig, OtlpReceiverConfig, ProtocolsConfig};
