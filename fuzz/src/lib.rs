//! Properties that otelcore must have for every input.
//!
//! Each target is a function of bytes that panics when a property is violated. libFuzzer's programs call them through
//! [`run`], and so does the test that replays the committed corpus on a stable compiler. No code here reads a clock,
//! opens a socket or keeps state from one input to the next.
#![forbid(unsafe_code)]

mod coding;
mod config;
mod edit;
mod frames;
mod grpc_client;
mod grpc_server;
mod http1;
mod http2_server;
pub mod input;
mod json;
mod kafka;
mod manifests;
mod otlp;
mod ottl;
mod page;
#[allow(dead_code, reason = "shared with the tests of the crate that it belongs to")]
#[path = "../../crates/http/src/pipe.rs"]
mod pipe;
mod response;
mod series;

use otelcore_http::Coding;

/// The longest input that a target reads; longer ones are cut.
pub const MAX_INPUT: usize = 1 << 16;

/// A function of bytes that panics when a property is violated.
pub type Target = fn(&[u8]);

/// Every target, by name.
pub const TARGETS: [(&str, Target); 27] = [
    ("grpc_server", grpc_server::raw),
    ("grpc_server_frames", grpc_server::script),
    ("grpc_client", grpc_client::script),
    ("http1_server", http1::server),
    ("http1_client", http1::client),
    ("http2_server", http2_server::script),
    ("json", json::run),
    ("otlp", otlp::run),
    ("edit", edit::run),
    ("ottl", ottl::run),
    ("decompress_gzip", |data| coding::run(&Coding::Gzip, data)),
    ("decompress_zlib", |data| coding::run(&Coding::Zlib, data)),
    ("decompress_deflate", |data| coding::run(&Coding::Deflate, data)),
    ("decompress_snappy", |data| coding::run(&Coding::Snappy, data)),
    ("decompress_snappy_framed", |data| coding::run(&Coding::SnappyFramed, data)),
    ("decompress_zstd", |data| coding::run(&Coding::Zstd, data)),
    ("decompress_lz4", |data| coding::run(&Coding::Lz4, data)),
    ("config", config::run),
    ("manifests", manifests::run),
    ("response", response::run),
    ("page", page::run),
    ("series", series::run),
    ("kafka_connection", kafka::connection),
    ("kafka_batch", kafka::batch),
    ("kafka_answer", kafka::answer),
    ("kafka_fetched", kafka::fetched),
    ("jaeger_json", kafka::jaeger_json),
];

/// Runs the target of that name.
///
/// # Panics
/// When there is no such target, or when a property is violated.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no target {name}"));
    target(&data[..data.len().min(MAX_INPUT)]);
}
