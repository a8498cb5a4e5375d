//! The `file` exporter: requests as OTLP/JSON, one a line, or as protobuf behind their length.
//!
//! Files are written by jobs on a helper thread, one at a time: what arrives while a job runs is written together by the
//! next one. A payload is delivered when its bytes are written; a file whose write fails is cut back to its last complete
//! request, so that the next attempt leaves no damaged one.
#![forbid(unsafe_code)]

mod config;
mod exporter;
mod paths;
mod rotation;
mod writer;

#[cfg(test)]
mod tests;

pub use config::{FileExporterConfig, FileExporterFactory, FileFormat, GroupByConfig, RotationConfig};
