//! Errors of building a function and of evaluation.

use std::borrow::Cow;
use std::fmt;

/// A function can't be built of its arguments. The text is the Go collector's sentence; the compiler adds the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError(pub Cow<'static, str>);

impl BuildError {
    /// An error with this sentence.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BuildError {}

/// An expression could not be evaluated on an item, or an editor could not be applied. Text is formatted only when it
/// is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalError {
    /// A value is of another type than the function or path expects. Names of types are those of Go.
    Type {
        /// What was expected, such as `string` or `pcommon.Map`.
        expected: &'static str,
        /// What was found; `nil` for no value.
        found: &'static str,
    },
    /// A value is of another type than the field to which it is written.
    Expects {
        /// What the field has.
        expected: &'static str,
        /// What was found.
        found: &'static str,
    },
    /// A value is of a type that can't be converted: Go's `unsupported type: ...`.
    Unsupported {
        /// The type that was found.
        found: &'static str,
    },
    /// A position is not in a list.
    OutOfBounds {
        /// The position.
        index: i64,
    },
    /// Anything else.
    Message(Cow<'static, str>),
}

impl EvalError {
    /// An error with this sentence.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Message(message.into())
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { expected, found } => write!(f, "expected {expected} but got {found}"),
            Self::Expects { expected, found } => write!(f, "expects {expected} but got {found}"),
            Self::Unsupported { found } => write!(f, "unsupported type: {found}"),
            Self::OutOfBounds { index } => write!(f, "index {index} out of bounds"),
            Self::Message(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for EvalError {}
