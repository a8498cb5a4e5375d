//! Arithmetic on the results of expressions.

use crate::error::EvalError;
use crate::value::Value;

/// An operator between two operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MathOperator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
}

/// The result of an operator. Integers wrap, and their division truncates; an integer beside a double becomes one.
pub(crate) fn operate<'c>(left: &Value<'_>, operator: MathOperator, right: &Value<'_>) -> Result<Value<'c>, EvalError> {
    match (left, right) {
        (Value::Int(x), Value::Int(y)) => int(*x, operator, *y).map(Value::Int),
        (Value::Int(x), Value::Double(y)) => double(as_double(*x), operator, *y).map(Value::Double),
        (Value::Double(x), Value::Int(y)) => double(*x, operator, as_double(*y)).map(Value::Double),
        (Value::Double(x), Value::Double(y)) => double(*x, operator, *y).map(Value::Double),
        (Value::Int(_) | Value::Double(_), other) => Err(not_a_number(other, "must be int64 or float64")),
        (Value::Time(time), other) => match (operator, other) {
            (MathOperator::Add, Value::Duration(nanos)) => Ok(Value::Time(time.add(*nanos))),
            (MathOperator::Subtract, Value::Duration(nanos)) => Ok(Value::Time(time.add(nanos.wrapping_neg()))),
            (MathOperator::Subtract, Value::Time(earlier)) => Ok(Value::Duration(time.since(earlier))),
            (MathOperator::Add, other) => Err(EvalError::new(format!(
                "time.Time must be added to time.Duration; found {} instead",
                other.go_type()
            ))),
            (MathOperator::Subtract, other) => Err(EvalError::new(format!(
                "time.Time or time.Duration must be subtracted from time.Time; found {} instead",
                other.go_type()
            ))),
            _ => Err(ONLY_SUMS),
        },
        (Value::Duration(nanos), other) => match (operator, other) {
            (MathOperator::Add, Value::Duration(other)) => Ok(Value::Duration(nanos.wrapping_add(*other))),
            (MathOperator::Add, Value::Time(time)) => Ok(Value::Time(time.add(*nanos))),
            (MathOperator::Subtract, Value::Duration(other)) => Ok(Value::Duration(nanos.wrapping_sub(*other))),
            (MathOperator::Add, other) => Err(EvalError::new(format!(
                "time.Duration must be added to time.Duration or time.Time; found {} instead",
                other.go_type()
            ))),
            (MathOperator::Subtract, other) => Err(EvalError::new(format!(
                "time.Duration must be subtracted from time.Duration; found {} instead",
                other.go_type()
            ))),
            _ => Err(ONLY_SUMS),
        },
        (other, _) => Err(not_a_number(other, "must be int64, float64, time.Time or time.Duration")),
    }
}

const ONLY_SUMS: EvalError = EvalError::Message(std::borrow::Cow::Borrowed(
    "only addition and subtraction supported for time.Time and time.Duration",
));

const DIVISION_BY_ZERO: EvalError = EvalError::Message(std::borrow::Cow::Borrowed("attempted to divide by 0"));

#[cold]
fn not_a_number(value: &Value<'_>, must: &str) -> EvalError {
    EvalError::new(format!("a value of type {} {must}", value.go_type()))
}

/// The nearest double, as Go converts.
#[expect(clippy::cast_precision_loss, reason = "the nearest double is meant")]
pub(crate) fn as_double(v: i64) -> f64 {
    v as f64
}

fn int(x: i64, operator: MathOperator, y: i64) -> Result<i64, EvalError> {
    Ok(match operator {
        MathOperator::Add => x.wrapping_add(y),
        MathOperator::Subtract => x.wrapping_sub(y),
        MathOperator::Multiply => x.wrapping_mul(y),
        MathOperator::Divide if y == 0 => return Err(DIVISION_BY_ZERO),
        MathOperator::Divide => x.wrapping_div(y),
    })
}

fn double(x: f64, operator: MathOperator, y: f64) -> Result<f64, EvalError> {
    Ok(match operator {
        MathOperator::Add => x + y,
        MathOperator::Subtract => x - y,
        MathOperator::Multiply => x * y,
        MathOperator::Divide if y == 0.0 => return Err(DIVISION_BY_ZERO),
        MathOperator::Divide => x / y,
    })
}

/// The result of the unary minus.
pub(crate) fn negate<'c>(value: &Value<'_>) -> Result<Value<'c>, EvalError> {
    match value {
        Value::Int(v) => Ok(Value::Int(v.wrapping_neg())),
        Value::Double(v) => Ok(Value::Double(-v)),
        other => {
            let found = if other.is_nil() { "<nil>" } else { other.go_type() };
            Err(EvalError::new(format!("unsupported unary minus operation on type {found}")))
        }
    }
}
