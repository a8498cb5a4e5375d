//! Statements and conditions of OTTL in a configuration: lists of them with or without a context, their compilation
//! with places of errors, and what is reported when they fail while data flows.

mod compile;
mod config;
mod functions;
mod report;

pub(crate) use compile::GroupCompiler;
#[cfg(feature = "transform")]
pub(crate) use compile::StatementGroup;
pub(crate) use config::{ContextGroup, GroupPlace, TextPlace};
pub use config::{ErrorModeConfig, GroupsConfig};
#[cfg(feature = "transform")]
pub(crate) use functions::statement_functions;
pub(crate) use functions::{ContextFunctions, ContextKind, condition_functions};
pub(crate) use report::{FailureCounts, FailureReports, RequestHeaders, first_reports};

/// Units of work that a byte costs at most for a statement or condition; see [`StepBudget`](otelcore_pdata::StepBudget).
/// A path is read or written in a few, a function may decode a map, or search a text.
pub(crate) fn cost_of_text(text: &str) -> u64 {
    let calls = text.bytes().filter(|byte| *byte == b'(').count() - usize::from(text.trim_start().starts_with("set("));
    8 + 32 * calls as u64
}
