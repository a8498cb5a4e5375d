//! What several functions need: typed access to arguments, and texts in Go's form.

use std::fmt::Display;

use otelcore_go_regexp::GoRegexp;

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

/// A text in quotes, as Go's `strconv.Quote` and `%q` write it.
pub(crate) fn quote(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\x07' => out.push_str("\\a"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x0b' => out.push_str("\\v"),
                c if is_printable(c) => out.push(c),
                c if c < ' ' || c == '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c if u32::from(c) < 0x10000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
            }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out.push('"');
    out
}

/// Whether Go's `strconv.IsPrint` has a character: neither control, format, separator nor unassigned.
pub(super) fn is_printable(c: char) -> bool {
    // A mark that combines is escaped by Rust alone; it is not when it follows a letter.
    match c {
        ' '..='~' => true,
        _ => {
            let mut buffer = [0; 5];
            buffer[0] = b'a';
            let len = 1 + c.encode_utf8(&mut buffer[1..]).len();
            let pair = buffer.get(..len).and_then(|pair| std::str::from_utf8(pair).ok()).unwrap_or_default();
            pair.escape_debug().count() == 2
        }
    }
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
