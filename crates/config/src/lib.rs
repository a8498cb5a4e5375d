//! The configuration of the collector, as the Go collector reads it.
//!
//! [`load`] fetches the sources through the [`ConfigSources`] of the caller, parses YAML with the position of
//! every key and value, merges, and expands `${..}`. A [`Section`] then reads typed values from the tree, records every
//! mistake in [`Diagnostics`] with file, line, column and path, and keeps the effective value of every key for
//! [`mod@print`].
//!
//! This crate opens no file, reads no environment variable and contains no component: the caller provides all of that.
#![forbid(unsafe_code)]

mod annotate;
pub mod codes;
mod convert;
pub mod declare;
mod diagnostics;
pub mod duration;
mod expand;
mod feature_gates;
mod id;
mod load;
mod merge;
mod nested_source;
mod node;
pub mod print;
mod scalar;
mod section;
mod sources;
pub mod steps;
mod suggest;
mod wildcard;
mod yaml;

pub use annotate::{ValueOrigins, to_annotated_yaml};
pub use convert::Integer;
pub use diagnostics::{Diagnostic, DiagnosticDraft, DiagnosticKind, Diagnostics, MAX_SHOWN, Severity};
pub use duration::GoDuration;
pub use feature_gates::{FeatureGateInfo, FeatureGateProblem, FeatureGateStage, FeatureGates, KNOWN_FEATURE_GATES};
pub use id::{ComponentId, IdError, PipelineId, SignalName};
pub use load::{from_yaml, load, parse_documents};
pub use nested_source::{NestedSource, location_in_text};
pub use node::{ConfigNode, Located, NodeEntry, NodeMap, NodeValue, SourceLocation, SourceText};
pub use print::EffectiveValue;
pub use section::{EffectiveRecorder, HeaderEntry, OptionalFlavor, Section};
pub use sources::{ConfigSources, EmbeddedSource, NoConfigSources, UnreadableSource, decode_text};
pub use suggest::nearest_name;
pub use wildcard::matches_wildcard;

#[cfg(test)]
mod tests;
