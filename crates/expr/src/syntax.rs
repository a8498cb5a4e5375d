//! The tree that an expression is parsed into.

use otelcore_go_regexp::GoRegexp;

/// A part of an expression.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// The character at which it begins, from 1.
    pub at: usize,
}

/// What a part of an expression is.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// `nil`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A string literal.
    Text(Vec<u8>),
    /// A variable.
    Name(String),
    /// `#`: the element that a predicate is asked about.
    Element,
    /// `base.key`, `base["key"]`, `base[0]`
    Member {
        /// What has members.
        base: Box<Node>,
        /// The name or the position.
        key: Box<Node>,
        /// `?.`: nil has the member nil.
        is_optional: bool,
    },
    /// `base[from:to]`
    Slice {
        /// A list or a string.
        base: Box<Node>,
        /// The first position.
        from: Option<Box<Node>>,
        /// The position behind the last one.
        to: Option<Box<Node>>,
    },
    /// A call of a function by its name.
    Call(String, Vec<Node>),
    /// `!x`, `-x`, `+x`
    Unary(UnaryOperator, Box<Node>),
    /// Two operands.
    Binary(BinaryOperator, Box<Node>, Box<Node>),
    /// `x matches "pattern"`
    Matches(Box<Node>, Box<GoRegexp>),
    /// `a ? b : c`
    Conditional(Box<Node>, Box<Node>, Box<Node>),
    /// `[a, b]`
    Array(Vec<Node>),
    /// `{a: b}`
    Map(Vec<(Node, Node)>),
}

/// An operator in front of its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOperator {
    /// `!`, `not`
    Not,
    /// `-`
    Negate,
    /// `+`
    Plus,
}

/// An operator between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum BinaryOperator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Contains,
    StartsWith,
    EndsWith,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
    Coalesce,
}

impl BinaryOperator {
    /// The operator as it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::Range => "..",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Power => "**",
            Self::Coalesce => "??",
        }
    }
}
