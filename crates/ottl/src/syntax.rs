//! The syntax tree of a statement, as it was written. Every part knows its bytes in the text.

use std::ops::Range;

use crate::evaluate::{Comparison, MathOperator};

/// Bytes of the text.
pub(crate) type Place = Range<usize>;

/// An editor with its condition.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) editor: Call,
    pub(crate) condition: Option<Boolean>,
}

/// A call of an editor or a converter.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Of the name.
    pub(crate) place: Place,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) keys: Vec<Key>,
}

#[derive(Debug)]
pub(crate) struct Argument {
    pub(crate) name: Option<String>,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) kind: ValueKind,
    pub(crate) place: Place,
}

#[derive(Debug)]
pub(crate) enum ValueKind {
    Nil,
    Bool(bool),
    String(String),
    Bytes(Vec<u8>),
    Enum(String),
    /// A name that is not followed by arguments; only as an argument.
    FunctionName(String),
    Operand(Operand),
    Math(Math),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

/// What arithmetic can be done with.
#[derive(Debug)]
pub(crate) enum Operand {
    Int(i64),
    Float(f64),
    Path(Path),
    Converter(Call),
}

/// Sums of products.
#[derive(Debug)]
pub(crate) struct Math {
    pub(crate) first: Product,
    pub(crate) rest: Vec<(MathOperator, Product)>,
}

#[derive(Debug)]
pub(crate) struct Product {
    pub(crate) first: Factor,
    pub(crate) rest: Vec<(MathOperator, Factor)>,
}

#[derive(Debug)]
pub(crate) struct Factor {
    pub(crate) is_negative: bool,
    pub(crate) kind: FactorKind,
}

#[derive(Debug)]
pub(crate) enum FactorKind {
    Operand(Operand),
    Parentheses(Box<Math>),
}

#[derive(Debug)]
pub(crate) struct Path {
    /// The first segment, if it has no keys and another one follows.
    pub(crate) context: Option<String>,
    /// At least one.
    pub(crate) fields: Vec<PathField>,
    pub(crate) place: Place,
}

#[derive(Debug)]
pub(crate) struct PathField {
    pub(crate) name: String,
    pub(crate) keys: Vec<Key>,
    /// Of the name.
    pub(crate) place: Place,
}

#[derive(Debug)]
pub(crate) enum Key {
    String(String),
    Int(i64),
    Math(Math),
}

/// Alternatives, each of which is a list of conditions that must all hold.
#[derive(Debug)]
pub(crate) struct Boolean {
    pub(crate) alternatives: Vec<Vec<BooleanValue>>,
}

#[derive(Debug)]
pub(crate) struct BooleanValue {
    pub(crate) is_negated: bool,
    pub(crate) kind: BooleanKind,
}

#[derive(Debug)]
pub(crate) enum BooleanKind {
    Comparison(Box<(Value, Comparison, Value)>),
    Literal(bool),
    Converter(Call),
    Parentheses(Boolean),
}

impl Path {
    /// The path as Go shows it in messages: keys without quotes, expressions left out.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(context) = &self.context {
            text.push_str(context);
            text.push('.');
        }
        for (i, field) in self.fields.iter().enumerate() {
            if i > 0 {
                text.push('.');
            }
            text.push_str(&field.name);
            text.push_str(&keys_text(&field.keys));
        }
        text
    }
}

/// Keys as Go shows them in messages.
pub(crate) fn keys_text(keys: &[Key]) -> String {
    let mut text = String::new();
    for key in keys {
        text.push('[');
        match key {
            Key::String(name) => text.push_str(name),
            Key::Int(index) => text.push_str(&index.to_string()),
            Key::Math(_) => {}
        }
        text.push(']');
    }
    text
}
