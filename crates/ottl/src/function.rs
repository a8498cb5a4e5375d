//! How a function is declared, and what it is built of.
//!
//! A [`Function`] lists its parameters; the compiler checks the arguments of a call against them as the Go collector
//! does, and passes them to `build`, which compiles what can be known when the configuration is read (patterns,
//! formats) and returns the [`Callable`] that runs for each item.
//!
//! ```
//! use otelcore_ottl::{Callable, Function, Parameter, ParameterKind, Value};
//!
//! const LEN_OF_STRING: Function = Function {
//!     name: "LenOfString",
//!     parameters: &[Parameter::new("Target", ParameterKind::String)],
//!     build: |_| {
//!         Ok(Callable::pure(|arguments| match &arguments[..] {
//!             [Value::String(text)] => Ok(Value::Int(text.len() as i64)),
//!             _ => Ok(Value::Nil),
//!         }))
//!     },
//! };
//! ```

use std::fmt;

use crate::error::{BuildError, EvalError};
pub use crate::evaluate::{Argument, Converter, ParameterKind, PureFunction};
use crate::evaluate::{Execution, Expression, FunctionArgument, PathExpression};
use crate::value::Value;

/// A function of the language.
#[derive(Clone, Copy)]
pub struct Function {
    /// Its name. An editor's begins with a lowercase letter, a converter's with an uppercase one.
    pub name: &'static str,
    /// Its parameters, in their order.
    pub parameters: &'static [Parameter],
    /// Builds a call from checked arguments. A [`Callable::Pure`] takes no arguments out: all of them are evaluated
    /// for it.
    pub build: fn(&mut Arguments) -> Result<Callable, BuildError>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Function").field(&self.name).finish()
    }
}

/// A parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The name of the field in Go, such as `RegexPattern`; statements name it `regex_pattern`.
    pub name: &'static str,
    /// What it takes.
    pub kind: ParameterKind,
    /// Whether it can be left out.
    pub is_optional: bool,
}

impl Parameter {
    /// A parameter that must be given.
    #[must_use]
    pub const fn new(name: &'static str, kind: ParameterKind) -> Self {
        Self { name, kind, is_optional: false }
    }

    /// A parameter that can be left out.
    #[must_use]
    pub const fn optional(name: &'static str, kind: ParameterKind) -> Self {
        Self { name, kind, is_optional: true }
    }
}

/// The arguments of a call, by the position of their parameter. Those that `build` needs by themselves are taken out;
/// what remains is evaluated for a [`Callable::Pure`].
#[derive(Debug, Default)]
pub struct Arguments {
    arguments: Vec<Option<Argument>>,
}

impl Arguments {
    /// The arguments by position; `None` for an optional one that was not given.
    #[must_use]
    pub fn new(arguments: Vec<Option<Argument>>) -> Self {
        Self { arguments }
    }

    /// What is left, by position.
    #[must_use]
    pub fn into_inner(self) -> Vec<Option<Argument>> {
        self.arguments
    }

    /// The value of a getter's argument that is a literal. The argument is not taken out.
    #[must_use]
    pub fn literal_of(&self, index: usize) -> Option<&Value<'static>> {
        match self.arguments.get(index)? {
            Some(Argument::Expression(_, expression)) => expression.literal(),
            _ => None,
        }
    }

    /// The same of each element of a list of getters.
    pub fn literals_of(&self, index: usize) -> impl Iterator<Item = Option<&Value<'static>>> {
        let elements = match self.arguments.get(index) {
            Some(Some(Argument::List(elements))) => &elements[..],
            _ => &[],
        };
        elements.iter().map(|element| match element {
            Argument::Expression(_, expression) => expression.literal(),
            _ => None,
        })
    }

    fn take(&mut self, index: usize) -> Option<Argument> {
        self.arguments.get_mut(index)?.take()
    }

    /// The argument of a required getter parameter.
    ///
    /// # Errors
    /// The parameter was declared with another kind.
    pub fn expression(&mut self, index: usize) -> Result<Expression, BuildError> {
        self.optional_expression(index)?.ok_or_else(|| misdeclared(index))
    }

    /// The argument of an optional getter parameter.
    ///
    /// # Errors
    /// The parameter was declared with another kind.
    pub fn optional_expression(&mut self, index: usize) -> Result<Option<Expression>, BuildError> {
        match self.take(index) {
            None => Ok(None),
            Some(Argument::Expression(_, expression)) => Ok(Some(expression)),
            Some(_) => Err(misdeclared(index)),
        }
    }

    /// The elements of a required list of getters.
    ///
    /// # Errors
    /// The parameter was declared with another kind.
    pub fn expressions(&mut self, index: usize) -> Result<Vec<Expression>, BuildError> {
        self.optional_expressions(index)?.ok_or_else(|| misdeclared(index))
    }

    /// The elements of an optional list of getters.
    ///
    /// # Errors
    /// The parameter was declared with another kind.
    pub fn optional_expressions(&mut self, index: usize) -> Result<Option<Vec<Expression>>, BuildError> {
        let Some(argument) = self.take(index) else { return Ok(None) };
        let Argument::List(elements) = argument else { return Err(misdeclared(index)) };
        let expression = |argument| match argument {
            Argument::Expression(_, expression) => Ok(expression),
            _ => Err(misdeclared(index)),
        };
        elements.into_iter().map(expression).collect::<Result<_, _>>().map(Some)
    }

    /// The path of a `Path`, `MapPath` or `ListPath` parameter.
    ///
    /// # Errors
    /// The parameter was declared with another kind.
    pub fn path(&mut self, index: usize) -> Result<PathExpression, BuildError> {
        match self.take(index) {
            Some(Argument::Path(path)) => Ok(path),
            _ => Err(misdeclared(index)),
        }
    }

    /// The value of a literal or enum parameter; `None` if it was left out.
    ///
    /// # Errors
    /// The parameter was declared with another kind.
    pub fn literal(&mut self, index: usize) -> Result<Option<Value<'static>>, BuildError> {
        match self.take(index) {
            None => Ok(None),
            Some(Argument::Literal(value)) => Ok(Some(value)),
            Some(_) => Err(misdeclared(index)),
        }
    }

    /// The string of a `LiteralString` parameter; `None` if it was left out.
    ///
    /// # Errors
    /// The parameter was declared with another kind.
    pub fn literal_string(&mut self, index: usize) -> Result<Option<String>, BuildError> {
        match self.literal(index)? {
            None => Ok(None),
            Some(value) => literal_text(index, value).map(Some),
        }
    }

    /// The integer of a `LiteralInt` parameter; `None` if it was left out.
    ///
    /// # Errors
    /// The parameter was declared with another kind.
    pub fn literal_int(&mut self, index: usize) -> Result<Option<i64>, BuildError> {
        match self.literal(index)? {
            None => Ok(None),
            Some(Value::Int(v)) => Ok(Some(v)),
            Some(_) => Err(misdeclared(index)),
        }
    }

    /// The double of a `LiteralFloat` parameter; `None` if it was left out.
    ///
    /// # Errors
    /// The parameter was declared with another kind.
    pub fn literal_float(&mut self, index: usize) -> Result<Option<f64>, BuildError> {
        match self.literal(index)? {
            None => Ok(None),
            Some(Value::Double(v)) => Ok(Some(v)),
            Some(_) => Err(misdeclared(index)),
        }
    }

    /// The doubles of a `ListOf(LiteralFloat)` parameter; `None` if it was left out.
    ///
    /// # Errors
    /// The parameter was declared with another kind.
    pub fn literal_floats(&mut self, index: usize) -> Result<Option<Vec<f64>>, BuildError> {
        let Some(argument) = self.take(index) else { return Ok(None) };
        let Argument::List(elements) = argument else { return Err(misdeclared(index)) };
        let double = |argument| match argument {
            Argument::Literal(Value::Double(v)) => Ok(v),
            _ => Err(misdeclared(index)),
        };
        elements.into_iter().map(double).collect::<Result<_, _>>().map(Some)
    }

    /// The boolean of a `LiteralBool` parameter; `None` if it was left out.
    ///
    /// # Errors
    /// The parameter was declared with another kind.
    pub fn literal_bool(&mut self, index: usize) -> Result<Option<bool>, BuildError> {
        match self.literal(index)? {
            None => Ok(None),
            Some(Value::Bool(v)) => Ok(Some(v)),
            Some(_) => Err(misdeclared(index)),
        }
    }

    /// The strings of a `ListOf(LiteralString)` parameter; `None` if it was left out.
    ///
    /// # Errors
    /// The parameter was declared with another kind.
    pub fn literal_strings(&mut self, index: usize) -> Result<Option<Vec<String>>, BuildError> {
        let Some(argument) = self.take(index) else { return Ok(None) };
        let Argument::List(elements) = argument else { return Err(misdeclared(index)) };
        let text = |argument| match argument {
            Argument::Literal(value) => literal_text(index, value),
            _ => Err(misdeclared(index)),
        };
        elements.into_iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    /// The converter of a `Function` parameter; `None` if it was left out.
    ///
    /// # Errors
    /// The parameter was declared with another kind.
    pub fn function(&mut self, index: usize) -> Result<Option<FunctionArgument>, BuildError> {
        match self.take(index) {
            None => Ok(None),
            Some(Argument::Function(function)) => Ok(Some(function)),
            Some(_) => Err(misdeclared(index)),
        }
    }
}

fn literal_text(index: usize, value: Value<'static>) -> Result<String, BuildError> {
    match value {
        Value::String(text) => {
            Ok(String::from_utf8(text.into_owned())
                .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
        }
        _ => Err(misdeclared(index)),
    }
}

#[cold]
fn misdeclared(index: usize) -> BuildError {
    BuildError::new(format!(
        "argument {index} is not of the kind that the function declares; this is an error in otelcore"
    ))
}

/// A function that changes telemetry.
pub trait Editor: Send + Sync {
    /// Changes one item.
    ///
    /// # Errors
    /// An argument can't be evaluated or is of another type, or the path does not accept the value.
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError>;
}

/// A function with its arguments.
pub enum Callable {
    /// A function of the values of its arguments.
    Pure(Box<PureFunction>),
    /// A converter.
    Converter(Box<dyn Converter>),
    /// An editor.
    Editor(Box<dyn Editor>),
}

impl Callable {
    /// A function of the values of its arguments, which have the types that their parameters declare.
    pub fn pure<F>(function: F) -> Self
    where
        F: for<'a> Fn(&mut [Value<'a>]) -> Result<Value<'a>, EvalError> + Send + Sync + 'static,
    {
        Self::Pure(Box::new(function))
    }

    /// A converter that evaluates its arguments by itself.
    pub fn converter(converter: impl Converter + 'static) -> Self {
        Self::Converter(Box::new(converter))
    }

    /// An editor.
    pub fn editor(editor: impl Editor + 'static) -> Self {
        Self::Editor(Box::new(editor))
    }
}

impl fmt::Debug for Callable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pure(_) => "Pure",
            Self::Converter(_) => "Converter",
            Self::Editor(_) => "Editor",
        })
    }
}
