//! Telemetry as OTLP bytes.
//!
//! Telemetry is kept as the request body: the body is validated once ([`check`]), carried as a [`Rope`] of
//! reference-counted buffers, cut only where a batch requires it ([`Splitter`]), and read through borrowed [`views`].
//! [`json`] is its other encoding. Nothing here decodes into owned structs, performs IO or reads a clock.
#![forbid(unsafe_code)]

pub mod build;
mod check;
mod checked_rope;
pub mod edit;
mod exponential_recorder;
pub mod json;
pub mod response;
mod rope;
pub mod schema;
mod signal;
mod split;
mod step_budget;
pub mod text;
mod utf8;
mod value;
pub mod views;
pub mod wire_format;

pub use check::{CheckSummary, MAX_NESTING, MalformedBody, MalformedBodyKind, check, check_value};
pub use checked_rope::checked_rope;
pub use exponential_recorder::ExponentialRecorder;
pub use rope::{Rope, RopePart};
pub use signal::Signal;
pub use split::{PieceLimit, Splitter, split_to};
pub use step_budget::StepBudget;
pub use utf8::repair_utf8;
pub use value::Value;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
