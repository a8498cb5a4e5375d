//! The configuration of the collector, as the Go collector reads it.
//!
//! [`load`] fetches the sources through the [`Sources`] that the caller passes in, parses YAML with the position of
//! every key and value, merges, and expands `${..}`. A [`Section`] then reads typed values from the tree, records every
//! mistake in [`Diagnostics`] with file, line, column and path, and keeps the effective value of every key for
//! [`print`].
//!
//! This crate opens no file, reads no environment variable and contains no component: the caller provides all of that.
#![forbid(unsafe_code)]

pub mod declare;
mod diag;
pub mod duration;
mod expand;
mod gates;
mod id;
mod load;
mod nested;
mod node;
pub mod print;
mod scalar;
mod section;
pub mod steps;
mod suggest;
mod take;
mod yaml;

pub use diag::{Diagnostic, Diagnostics, Draft, Kind, SHOWN, Severity};
pub use duration::Dur;
pub use gates::{GateInfo, GateProblem, Gates, KNOWN_GATES, Stage};
pub use id::{ComponentId, IdError, PipelineId, SignalName};
pub use load::{Embedded, NoSources, Sources, documents, from_yaml, load, text_of};
pub use nested::Nested;
pub use node::{Entry, Located, Map, Node, Origin, SourceText, Value};
pub use print::Effective;
pub use section::{Flavour, Header, Recorder, Section};
pub use suggest::nearest;
pub use take::Integer;

#[cfg(test)]
mod tests;
