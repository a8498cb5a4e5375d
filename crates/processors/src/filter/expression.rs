//! Expressions on metrics and their points, as `match_type: expr` has them: the part of the language of `otelcore_expr`
//! that uses what it offers here, `MetricName`, `MetricType`, `HasLabel` and `Label`.
//!
//! An expression is parsed when the configuration is read, and every part has a known type then, so that evaluation has
//! no errors. What else the Go library has is refused with its place. Never runs longer than linear in the text times
//! the labels of a point.

use std::cmp::Ordering;

use otelcore_expr::{BinaryOperator, Node, NodeKind, UnaryOperator, parse};
use otelcore_go_regexp::GoRegexp;
use otelcore_pdata::views::{AnyValue, KeyValue};

/// What an expression reads.
pub(super) struct Point<'p, I> {
    pub(super) metric_name: &'p [u8],
    pub(super) metric_type: &'static str,
    /// Makes an iterator over the attributes of the point.
    pub(super) attributes: I,
}

impl<'p, A: Iterator<Item = KeyValue<'p>>, I: Fn() -> A> Point<'p, I> {
    fn attribute(&self, key: &[u8]) -> Option<AnyValue<'p>> {
        (self.attributes)().find(|attribute| attribute.key == key).map(|attribute| attribute.value)
    }
}

/// A compiled expression whose value is a boolean.
#[derive(Debug)]
pub(super) enum Expression {
    Literal(bool),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    /// Two booleans are equal.
    Same(Box<Self>, Box<Self>),
    HasLabel(Text),
    /// The order of two texts is one of those that the function accepts.
    Compare(Text, fn(Ordering) -> bool, Text),
    Contains(Text, Text),
    StartsWith(Text, Text),
    EndsWith(Text, Text),
    Matches(Text, Box<GoRegexp>),
    /// The text is one of these.
    In(Text, Vec<String>),
}

/// A part of an expression whose value is a text.
#[derive(Debug)]
pub(super) enum Text {
    Literal(String),
    MetricName,
    MetricType,
    /// The value of the attribute with this key; empty if there is none or it is no string.
    Label(Box<Self>),
}

impl Text {
    fn get<'v, 'p: 'v, A: Iterator<Item = KeyValue<'p>>, I: Fn() -> A>(&'v self, point: &Point<'p, I>) -> &'v [u8] {
        match self {
            Self::Literal(text) => text.as_bytes(),
            Self::MetricName => point.metric_name,
            Self::MetricType => point.metric_type.as_bytes(),
            Self::Label(key) => match point.attribute(key.get(point)) {
                Some(AnyValue::String(text)) => text,
                _ => b"",
            },
        }
    }
}

impl Expression {
    /// Parses an expression.
    ///
    /// # Errors
    /// What is wrong, or not supported, and at which character.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (value, at) = compile(parse(text)?)?;
        boolean(value, at)
    }

    /// Whether it holds for a point.
    pub(super) fn holds<'p, A: Iterator<Item = KeyValue<'p>>, I: Fn() -> A>(&self, point: &Point<'p, I>) -> bool {
        match self {
            Self::Literal(value) => *value,
            Self::Not(inner) => !inner.holds(point),
            Self::And(a, b) => a.holds(point) && b.holds(point),
            Self::Or(a, b) => a.holds(point) || b.holds(point),
            Self::Same(a, b) => a.holds(point) == b.holds(point),
            Self::HasLabel(key) => point.attribute(key.get(point)).is_some(),
            Self::Compare(a, accepts, b) => accepts(a.get(point).cmp(b.get(point))),
            Self::Contains(a, b) => {
                String::from_utf8_lossy(a.get(point)).contains(&*String::from_utf8_lossy(b.get(point)))
            }
            Self::StartsWith(a, b) => a.get(point).starts_with(b.get(point)),
            Self::EndsWith(a, b) => a.get(point).ends_with(b.get(point)),
            Self::Matches(a, pattern) => pattern.is_match(a.get(point)),
            Self::In(a, texts) => {
                let a = a.get(point);
                texts.iter().any(|text| text.as_bytes() == a)
            }
        }
    }
}

/// A part of an expression while it is parsed.
enum Value {
    Boolean(Expression),
    Text(Text),
    Texts(Vec<String>),
}

fn boolean(value: Value, at: usize) -> Result<Expression, String> {
    match value {
        Value::Boolean(expression) => Ok(expression),
        _ => Err(format!("a condition is expected at character {at}")),
    }
}

fn text(value: Value, at: usize) -> Result<Text, String> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(format!("a string is expected at character {at}")),
    }
}

/// Gives a node of an expression its type, and where it begins.
fn compile(node: Node) -> Result<(Value, usize), String> {
    let at = node.at;
    let not_supported = |what: &str| Err(format!("`{what}` at character {at} is not supported"));
    let value = match node.kind {
        NodeKind::Bool(value) => Value::Boolean(Expression::Literal(value)),
        NodeKind::Text(literal) => Value::Text(Text::Literal(literal_text(literal))),
        NodeKind::Name(name) => match &*name {
            "MetricName" => Value::Text(Text::MetricName),
            "MetricType" => Value::Text(Text::MetricType),
            _ => return not_supported(&name),
        },
        NodeKind::Call(name, arguments) => {
            let is_known = matches!(&*name, "HasLabel" | "Label");
            let Some(argument) = arguments.into_iter().next().filter(|_| is_known) else {
                return not_supported(&name);
            };
            let (argument, argument_at) = compile(argument)?;
            let key = text(argument, argument_at)?;
            if name == "Label" {
                Value::Text(Text::Label(Box::new(key)))
            } else {
                Value::Boolean(Expression::HasLabel(key))
            }
        }
        NodeKind::Unary(UnaryOperator::Not, operand) => {
            let (operand, operand_at) = compile(*operand)?;
            Value::Boolean(Expression::Not(Box::new(boolean(operand, operand_at)?)))
        }
        NodeKind::Binary(operator, a, b) => Value::Boolean(join(compile(*a)?, operator, compile(*b)?)?),
        NodeKind::Matches(operand, pattern) => {
            let (operand, operand_at) = compile(*operand)?;
            Value::Boolean(Expression::Matches(text(operand, operand_at)?, pattern))
        }
        NodeKind::Array(items) => {
            let item = |item: Node| match item.kind {
                NodeKind::Text(literal) => Ok(literal_text(literal)),
                _ => Err(format!("a string is expected at character {}", item.at)),
            };
            Value::Texts(items.into_iter().map(item).collect::<Result<_, String>>()?)
        }
        NodeKind::Nil => return not_supported("nil"),
        NodeKind::Int(value) => return not_supported(&value.to_string()),
        NodeKind::Double(value) => return not_supported(&value.to_string()),
        NodeKind::Element => return not_supported("#"),
        NodeKind::Member { .. } => return not_supported("."),
        NodeKind::Slice { .. } => return not_supported("["),
        NodeKind::Unary(UnaryOperator::Negate, _) => return not_supported("-"),
        NodeKind::Unary(UnaryOperator::Plus, _) => return not_supported("+"),
        NodeKind::Conditional(..) => return not_supported("?"),
        NodeKind::Map(_) => return not_supported("{"),
    };
    Ok((value, at))
}

fn literal_text(literal: Vec<u8>) -> String {
    String::from_utf8_lossy(&literal).into_owned()
}

/// What an operator makes of its operands.
fn join(
    (left, at): (Value, usize),
    operator: BinaryOperator,
    (right, right_at): (Value, usize),
) -> Result<Expression, String> {
    use BinaryOperator as B;
    Ok(match (operator, left, right) {
        (B::Or, left, right) => Expression::Or(Box::new(boolean(left, at)?), Box::new(boolean(right, right_at)?)),
        (B::And, left, right) => Expression::And(Box::new(boolean(left, at)?), Box::new(boolean(right, right_at)?)),
        (B::Equal, Value::Boolean(left), Value::Boolean(right)) => Expression::Same(Box::new(left), Box::new(right)),
        (B::NotEqual, Value::Boolean(left), Value::Boolean(right)) => {
            Expression::Not(Box::new(Expression::Same(Box::new(left), Box::new(right))))
        }
        (B::In, left, Value::Texts(texts)) => Expression::In(text(left, at)?, texts),
        (B::In, ..) => return Err(format!("a list of strings is expected at character {right_at}")),
        (operator, left, right) => {
            let (left, right) = (text(left, at)?, text(right, right_at)?);
            match operator {
                B::Contains => Expression::Contains(left, right),
                B::StartsWith => Expression::StartsWith(left, right),
                B::EndsWith => Expression::EndsWith(left, right),
                B::Less => Expression::Compare(left, Ordering::is_lt, right),
                B::LessOrEqual => Expression::Compare(left, Ordering::is_le, right),
                B::Greater => Expression::Compare(left, Ordering::is_gt, right),
                B::GreaterOrEqual => Expression::Compare(left, Ordering::is_ge, right),
                B::NotEqual => Expression::Compare(left, Ordering::is_ne, right),
                B::Equal => Expression::Compare(left, Ordering::is_eq, right),
                other => return Err(format!("`{}` at character {at} is not supported", other.symbol())),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expression_of_very_many_words_is_refused_and_positions_count_characters() {
        // Where each position is counted from the beginning, this does not end within minutes.
        let long = "!".repeat(4_000_000);
        assert_eq!(Expression::parse(&long).unwrap_err(), "the expression has more than 1000 words and symbols");
        let error = Expression::parse("MetricName == 'é€'  && wrong").unwrap_err();
        assert_eq!(error, "`wrong` at character 24 is not supported");
    }
}
