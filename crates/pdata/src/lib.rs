//! Telemetry as OTLP bytes.
//!
//! Telemetry is kept as the request body: the body is validated once ([`check`]), carried as a [`Rope`] of
//! reference-counted buffers, cut only where a batch requires it ([`Splitter`]), and read through borrowed [`views`].
//! [`json`] is its other encoding. Nothing here decodes into owned structs, performs IO or reads a clock.
#![forbid(unsafe_code)]

mod admit;
mod check;
pub mod edit;
pub mod json;
pub mod response;
mod rope;
mod signal;
mod split;
pub mod text;
mod utf8;
mod value;
pub mod views;
pub mod wire;
mod work;

pub use admit::admit;
pub use check::{Fault, MAX_NESTING, Malformed, Summary, check};
pub use rope::{Part, Rope};
pub use signal::Signal;
pub use split::{PieceLimit, Splitter, split_off};
pub use utf8::repair_utf8;
pub use value::Value;
pub use work::Work;
