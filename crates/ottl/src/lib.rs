//! The OpenTelemetry Transformation Language over OTLP bytes.
//!
//! A statement is parsed and checked once, when the configuration is read, into a compiled form in which every path is
//! a small number and every literal a value. Evaluation borrows from the payload and writes through
//! [`otelcore_pdata::edit`]. Nothing here performs IO, reads a clock or draws random numbers: an
//! [`Environment`] provides both.
//!
//! - [`contexts`]: what statements are evaluated on: paths and enums of spans, log records, data points and so on.
//! - [`functions`]: editors (`set`, `delete_key`) and converters (`Concat`, `ParseJSON`).
//! - [`function`]: how a function is declared. [`value`]: what expressions evaluate to.
#![forbid(unsafe_code)]

mod compile;
mod compile_error;
pub mod contexts;
pub mod error;
pub mod evaluate;
pub mod function;
pub mod functions;
mod index;
mod lexer;
mod parser;
mod syntax;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod value;

use otelcore_go_text::time as go_time;

pub use compile::{
    Candidate, CompileError, Compiler, Condition, ConditionSequence, ErrorMode, EvaluationFailure, Functions,
    InferenceError, LogicOperation, PathPrefix, Sources, Statement, StatementSequence, UnknownErrorMode,
    UnknownLogicOperation, ValueExpression, infer_context,
};
pub use error::{BuildError, EvalError};
pub use evaluate::{
    Environment, Evaluation, Execution, Expression, FixedEnvironment, FunctionArgument, PathExpression, State,
};
pub use function::{Argument, Arguments, Callable, Converter, Editor, Function, Parameter, ParameterKind};
pub use value::{List, ListKind, Map, MapKind, MessageKind, Time, Value, Zone};
