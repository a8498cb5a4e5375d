//! The compiled form of expressions and conditions.

use smallvec::SmallVec;

use super::Evaluation;
use super::compare::{Comparison, compare};
use super::convert::{convert, map_literal_value};
use super::math::{self, MathOperator};
use super::parameter_kind::ParameterKind;
use crate::contexts::Field;
use crate::error::EvalError;
use crate::index::{self, Key};
use crate::value::{List, ListKind, Map, Value};

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    pub(crate) node: Node,
}

#[derive(Debug)]
pub(crate) enum Node {
    Literal(Value<'static>),
    Path(PathExpression),
    Call(Box<Call>),
    Math(Box<MathChain>),
    Negate(Box<Expression>),
    /// A list literal of which an element is not a literal.
    List(Vec<Expression>),
    /// A map literal of which a value is not a literal. Keys are distinct.
    Map(Vec<(Vec<u8>, Expression)>),
    /// The string that a [`FunctionArgument`] is called with.
    Input,
}

/// A checked argument.
#[derive(Debug)]
pub enum Argument {
    /// An expression and the kind of its parameter.
    Expression(ParameterKind, Expression),
    /// A list of arguments.
    List(Vec<Self>),
    /// The value of a literal or of an enum's symbol.
    Literal(Value<'static>),
    /// A path.
    Path(PathExpression),
    /// A converter by name.
    Function(FunctionArgument),
}

/// A function that runs for each item of which all arguments are known values. It may move values out of its arguments.
/// An optional argument that was not given is [`Value::Nil`]; a list of getters is a [`crate::value::List`] of kind
/// `Any`.
pub type PureFunction = dyn for<'a> Fn(&mut [Value<'a>]) -> Result<Value<'a>, EvalError> + Send + Sync;

/// A converter that evaluates its arguments by itself: because it does so only if needed, or because they must not be
/// converted first.
pub trait Converter: Send + Sync {
    /// The result on one item.
    ///
    /// # Errors
    /// An argument can't be evaluated or is of another type, or there is no result.
    fn call<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError>;
}

/// Operands of equal precedence, from the left to the right.
#[derive(Debug)]
pub(crate) struct MathChain {
    pub(crate) first: Expression,
    pub(crate) rest: Vec<(MathOperator, Expression)>,
}

/// A call of a converter.
pub(crate) struct Call {
    pub(crate) callee: Callee,
    pub(crate) keys: Keys,
}

pub(crate) enum Callee {
    Pure(Box<PureFunction>, Vec<Option<Argument>>),
    Converter(Box<dyn Converter>),
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// The keys behind a path or a call.
#[derive(Debug)]
pub(crate) enum Keys {
    Literal(Vec<Key<'static>>),
    /// At least one is an expression.
    Evaluated(Vec<KeyExpression>),
}

#[derive(Debug)]
pub(crate) enum KeyExpression {
    Literal(Key<'static>),
    Expression(Expression),
}

impl Keys {
    pub(crate) const NONE: Self = Self::Literal(Vec::new());

    fn with<'c, R>(&'c self, evaluation: &Evaluation<'c>, body: impl FnOnce(&[Key<'c>]) -> R) -> R {
        match self {
            Self::Literal(keys) => body(keys),
            Self::Evaluated(keys) => {
                let keys: SmallVec<[Key<'c>; 2]> = keys.iter().map(|key| key.resolve(evaluation)).collect();
                body(&keys)
            }
        }
    }

    /// The keys with nothing borrowed.
    pub(crate) fn resolve_owned(&self, evaluation: &Evaluation<'_>) -> SmallVec<[Key<'static>; 2]> {
        match self {
            Self::Literal(keys) => keys.iter().cloned().collect(),
            Self::Evaluated(keys) => keys.iter().map(|key| key.resolve(evaluation).into_owned()).collect(),
        }
    }
}

impl KeyExpression {
    fn resolve<'c>(&'c self, evaluation: &Evaluation<'c>) -> Key<'c> {
        match self {
            Self::Literal(key) => key.clone(),
            Self::Expression(expression) => Key::Expression(expression.get(evaluation)),
        }
    }
}

/// A compiled path.
#[derive(Debug)]
pub struct PathExpression {
    pub(crate) field: Field,
    pub(crate) keys: Keys,
}

impl PathExpression {
    /// The value of the path; [`Value::Nil`] if there is none.
    ///
    /// # Errors
    /// The keys don't fit.
    #[inline]
    pub fn get<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        self.keys.with(evaluation, |keys| evaluation.field(self.field, keys))
    }

    /// What it is, without its keys.
    #[must_use]
    pub fn field(&self) -> Field {
        self.field
    }
}

impl Expression {
    pub(crate) fn new(node: Node) -> Self {
        Self { node }
    }

    /// An expression whose value is known.
    #[must_use]
    pub fn of_literal(value: Value<'static>) -> Self {
        Self::new(Node::Literal(value))
    }

    /// The value, if it is the same for all items.
    #[must_use]
    #[inline]
    pub fn literal(&self) -> Option<&Value<'static>> {
        match &self.node {
            Node::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The value on one item, of any type.
    ///
    /// # Errors
    /// A part of it can't be evaluated.
    pub fn get<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        match &self.node {
            Node::Literal(value) => Ok(value.reborrow()),
            Node::Path(path) => path.get(evaluation),
            Node::Call(call) => call.get(evaluation),
            Node::Math(chain) => chain.get(evaluation),
            Node::Negate(operand) => math::negate(&operand.get(evaluation)?),
            Node::List(elements) => {
                let elements = elements.iter().map(|element| element.get(evaluation)).collect::<Result<_, _>>()?;
                Ok(Value::List(List::values(ListKind::Any, elements)))
            }
            Node::Map(entries) => {
                let entry =
                    |(key, value): &'c (Vec<u8>, Self)| Ok((key.clone(), map_literal_value(&value.get(evaluation)?)?));
                Ok(Value::Map(Map::owned(entries.iter().map(entry).collect::<Result<_, _>>()?)))
            }
            Node::Input => Ok(evaluation.input.map_or(Value::Nil, Value::str)),
        }
    }
}

impl Expression {
    /// Calls `body` with the value, in the place to which it was written: moving a value that was written just before
    /// costs more than most of what is done with it.
    #[inline]
    pub(crate) fn with<'c, R>(
        &'c self,
        evaluation: &Evaluation<'c>,
        body: impl FnOnce(&Value<'c>) -> R,
    ) -> Result<R, EvalError> {
        if let Node::Literal(value) = &self.node {
            return Ok(body(value));
        }
        match self.get(evaluation) {
            Ok(ref value) => Ok(body(value)),
            Err(error) => Err(error),
        }
    }
}

impl MathChain {
    fn get<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        let mut result = self.first.get(evaluation)?;
        for (operator, operand) in &self.rest {
            result = math::operate(&result, *operator, &operand.get(evaluation)?)?;
        }
        Ok(result)
    }
}

impl Call {
    fn get<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        let result = match &self.callee {
            Callee::Converter(converter) => converter.call(evaluation)?,
            Callee::Pure(function, arguments) => {
                let mut values: SmallVec<[Value<'c>; 4]> = SmallVec::new();
                for argument in arguments {
                    values.push(match argument {
                        Some(argument) => argument_value(argument, evaluation)?,
                        None => Value::Nil,
                    });
                }
                function(&mut values)?
            }
        };
        self.keys.with(evaluation, |keys| index::indexed_result(result, keys))
    }
}

fn argument_value<'c>(argument: &'c Argument, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
    match argument {
        // Literals were converted when they were compiled.
        Argument::Expression(_, Expression { node: Node::Literal(value) }) | Argument::Literal(value) => {
            Ok(value.reborrow())
        }
        Argument::Expression(kind, expression) => convert(*kind, expression.get(evaluation)?),
        Argument::List(elements) => {
            let elements = elements.iter().map(|element| argument_value(element, evaluation));
            Ok(Value::List(List::values(ListKind::Any, elements.collect::<Result<_, _>>()?)))
        }
        Argument::Path(path) => path.get(evaluation),
        Argument::Function(_) => Ok(Value::Nil),
    }
}

/// A converter of one string, passed to a function by its name.
#[derive(Debug)]
pub struct FunctionArgument {
    pub(crate) call: Box<Call>,
}

impl FunctionArgument {
    /// Calls the converter.
    ///
    /// # Errors
    /// Those of the converter.
    pub fn call<'c>(&'c self, evaluation: &Evaluation<'c>, input: &'c [u8]) -> Result<Value<'c>, EvalError> {
        self.call.get(&Evaluation { input: Some(input), ..*evaluation })
    }
}

/// A compiled condition.
#[derive(Debug)]
pub(crate) enum BoolNode {
    Literal(bool),
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
    Compare(Expression, Comparison, Expression),
    Converter(Expression),
}

impl BoolNode {
    pub(crate) fn evaluate<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<bool, EvalError> {
        match self {
            Self::Literal(result) => Ok(*result),
            Self::Not(condition) => condition.evaluate(evaluation).map(|result| !result),
            Self::And(conditions) => {
                for condition in conditions {
                    if !condition.evaluate(evaluation)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(conditions) => {
                for condition in conditions {
                    if condition.evaluate(evaluation)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Compare(left, comparison, right) => {
                left.with(evaluation, |left| right.with(evaluation, |right| compare(left, *comparison, right)))?
            }
            Self::Converter(converter) => match converter.get(evaluation)? {
                Value::Bool(result) => Ok(result),
                other => Err(not_a_condition(&other)),
            },
        }
    }
}

#[cold]
pub(crate) fn not_a_condition(value: &Value<'_>) -> EvalError {
    let found = if value.is_nil() { "<nil>" } else { value.go_type() };
    EvalError::new(format!("value returned from Converter in constant expression must be bool but got {found}"))
}

/// Getters of one type.
macro_rules! typed_getters {
    ($( $(#[$doc:meta])* $name:ident $kind:ident -> $type:ty: $pattern:pat => $result:expr, )*) => {
        impl Expression {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// The expression can't be evaluated, or its value is of another type.
                #[inline]
                pub fn $name<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<$type, EvalError> {
                    match convert(ParameterKind::$kind, self.get(evaluation)?)? {
                        $pattern => Ok($result),
                        other => Err(other.type_error(stringify!($kind))),
                    }
                }
            )*
        }
    };
}

typed_getters! {
    /// The value, which is a string.
    string String -> std::borrow::Cow<'c, [u8]>: Value::String(v) => v,
    /// The value, which is an integer.
    int Int -> i64: Value::Int(v) => v,
    /// The value, which is a double.
    float Float -> f64: Value::Double(v) => v,
    /// The value, which is a boolean.
    bool Bool -> bool: Value::Bool(v) => v,
    /// The value, which is a map.
    map Map -> Map<'c>: Value::Map(v) => v,
    /// The value, which is a list.
    list List -> List<'c>: Value::List(v) => v,
    /// The value, which is a point in time.
    time Time -> crate::value::Time: Value::Time(v) => v,
    /// The value, which is a duration in nanoseconds.
    duration Duration -> i64: Value::Duration(v) => v,
}

impl Expression {
    /// The value as a double; `None` for `nil`.
    ///
    /// # Errors
    /// The expression can't be evaluated, or its value can't be converted.
    pub fn float_like(&self, evaluation: &Evaluation<'_>) -> Result<Option<f64>, EvalError> {
        match convert(ParameterKind::FloatLike, self.get(evaluation)?)? {
            Value::Nil => Ok(None),
            Value::Double(v) => Ok(Some(v)),
            other => Err(other.type_error("FloatLike")),
        }
    }
}
