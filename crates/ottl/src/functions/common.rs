//! What several functions need: typed access to arguments, and texts in Go's form.

use std::fmt::Display;

use otelcore_go_regexp::GoRegexp;
pub(crate) use otelcore_go_text::quote::{is_printable, quote};

use crate::error::{BuildError, EvalError};
use crate::function::{Arguments, Parameter, ParameterKind};
use crate::value::Value;

pub(super) const fn required(name: &'static str, kind: ParameterKind) -> Parameter {
    Parameter::new(name, kind)
}

pub(super) const fn optional(name: &'static str, kind: ParameterKind) -> Parameter {
    Parameter::optional(name, kind)
}

/// The string argument at a position; empty if there is none.
pub(super) fn text<'v>(arguments: &'v [Value<'_>], index: usize) -> &'v [u8] {
    match arguments.get(index) {
        Some(Value::String(text) | Value::Bytes(text)) => text,
        _ => &[],
    }
}

/// The string argument at a position, if it was given.
pub(super) fn optional_text<'v>(arguments: &'v [Value<'_>], index: usize) -> Option<&'v [u8]> {
    match arguments.get(index) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// The argument at a position, moved out.
pub(super) fn take<'a>(arguments: &mut [Value<'a>], index: usize) -> Value<'a> {
    arguments.get_mut(index).map(std::mem::take).unwrap_or_default()
}

/// The integer argument at a position; zero if there is none.
pub(super) fn int(arguments: &[Value<'_>], index: usize) -> i64 {
    optional_int(arguments, index).unwrap_or(0)
}

/// The integer argument at a position, if it was given.
pub(super) fn optional_int(arguments: &[Value<'_>], index: usize) -> Option<i64> {
    match arguments.get(index) {
        Some(Value::Int(v) | Value::Duration(v)) => Some(*v),
        _ => None,
    }
}

/// The elements of a list argument.
pub(super) fn elements<'v>(arguments: &'v [Value<'_>], index: usize) -> impl Iterator<Item = Value<'v>> {
    let list = match arguments.get(index) {
        Some(Value::List(list)) => Some(list),
        _ => None,
    };
    list.into_iter().flat_map(|list| list.iter())
}

/// The longest result of a function whose result can be longer than its arguments by any factor.
pub(super) const MAX_RESULT_BYTES: usize = 64 << 20;

/// The error that a result would be longer than [`MAX_RESULT_BYTES`].
#[cold]
pub(super) fn too_large(function: &str) -> EvalError {
    error(format!("the result of {function} is larger than {MAX_RESULT_BYTES} bytes"))
}

#[cold]
pub(super) fn error(message: impl Into<String>) -> EvalError {
    EvalError::new(message.into())
}

/// Appends a value as the text of an attribute, as Go's `pcommon.Value.AsString`.
pub(super) fn put_text(out: &mut Vec<u8>, value: &Value<'_>) -> Result<(), EvalError> {
    let mut scratch = Vec::new();
    otelcore_pdata::text::put_value(out, value.to_any(&mut scratch)?);
    Ok(())
}

/// The type of a value as `%T` writes it.
pub(super) fn type_verb(value: &Value<'_>) -> &'static str {
    if value.is_nil() { "<nil>" } else { value.go_type() }
}

/// The sentence that a pattern is not valid.
pub(super) fn invalid_pattern(function: &str, pattern: &[u8], reason: impl Display) -> String {
    format!("the regex pattern supplied to {function} '{}' is not a valid pattern: {reason}", quote(pattern))
}

fn compile(pattern: &[u8]) -> Result<GoRegexp, String> {
    match std::str::from_utf8(pattern) {
        Ok(pattern) => GoRegexp::compile(pattern).map_err(|error| error.to_string()),
        Err(_) => Err(format!("error parsing regexp: invalid UTF-8: `{}`", String::from_utf8_lossy(pattern))),
    }
}

/// A regular expression that is known when the configuration is read, or one that is an argument of each call.
pub(super) enum Pattern {
    Compiled(GoRegexp),
    Argument,
}

impl Pattern {
    /// Compiles the argument at a position if it is a literal.
    pub(super) fn new(function: &str, arguments: &Arguments, index: usize) -> Result<Self, BuildError> {
        match arguments.literal_of(index) {
            Some(Value::String(pattern)) => match compile(pattern) {
                Ok(regexp) => Ok(Self::Compiled(regexp)),
                Err(reason) => Err(BuildError::new(invalid_pattern(function, pattern, reason))),
            },
            _ => Ok(Self::Argument),
        }
    }

    /// Calls `with` with the expression; one that is an argument is compiled first.
    pub(super) fn with<R>(
        &self,
        argument: &[u8],
        with: impl FnOnce(&GoRegexp) -> Result<R, EvalError>,
    ) -> Result<R, EvalError> {
        match self {
            Self::Compiled(regexp) => with(regexp),
            Self::Argument => with(&compile(argument).map_err(error)?),
        }
    }
}
