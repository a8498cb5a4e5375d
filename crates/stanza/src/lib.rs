//! Operators on log entries, as receivers of logs have them: those of the Go collector's `pkg/stanza`.
//!
//! - [`Entry`]: one log record while it is parsed. [`Field`]: a place in it.
//! - [`OperatorConfig`]: the keys of an operator. [`OperatorPipeline`]: compiled operators, joined by their outputs.
//! - [`encode`]: entries as OTLP.
//!
//! Performs no IO and reads no clock. An operator takes time linear in the text of its entry, or n log n. What an
//! operator keeps is bounded: [`OperatorPipeline::held_entries`].
#![forbid(unsafe_code)]

mod blocks;
mod build;
mod byte_size;
mod checks;
mod config;
mod context;
pub mod encode;
mod entry;
mod field;
mod operator;
mod parsers;
mod pipeline;
mod recombine;
mod results;
mod severity;
mod template;
#[cfg(test)]
mod tests;
mod times;
mod transforms;

pub use build::{BuildError, env_names};
pub use byte_size::ByteSize;
pub use config::OperatorConfig;
pub use context::{Failure, RunContext};
pub use entry::{Entry, Origin, Origins};
pub use field::Field;
pub use otelcore_expr::{Key, Map, Value, View, key};
pub use pipeline::OperatorPipeline;
pub use template::TextTemplate;
