//! Parses XPath 1.0.

use crate::evaluate::Comparison;

/// An expression.
#[derive(Debug)]
pub(super) enum Expression {
    Or(Box<Self>, Box<Self>),
    And(Box<Self>, Box<Self>),
    Compare(Comparison, Box<Self>, Box<Self>),
    Calculate(Operation, Box<Self>, Box<Self>),
    Negate(Box<Self>),
    Union(Box<Self>, Box<Self>),
    Literal(String),
    Number(f64),
    Call(Function, Vec<Self>),
    /// Steps from the root, from the node at hand, or from the nodes of an expression with conditions.
    Path(Start, Vec<Step>),
}

#[derive(Debug)]
pub(super) enum Start {
    Root,
    Current,
    Nodes(Box<Expression>, Vec<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) axis: Axis,
    pub(super) test: Test,
    pub(super) predicates: Vec<Expression>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Ancestor,
    AncestorOrSelf,
    Attribute,
    Child,
    Descendant,
    DescendantOrSelf,
    Following,
    FollowingSibling,
    Parent,
    Preceding,
    PrecedingSibling,
    Itself,
}

#[derive(Debug)]
pub(super) enum Test {
    /// Elements, or attributes, of any name.
    Any,
    /// Of any name with this prefix.
    Prefix(String),
    Name {
        prefix: String,
        local: String,
    },
    Node,
    Text,
    Comment,
    Instruction,
}

macro_rules! functions {
    ($($name:literal $variant:ident $least:literal $most:literal,)*) => {
        /// A function.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Function {
            $($variant,)*
        }

        impl Function {
            /// The function of a name, and the least and the largest number of its arguments.
            fn of(name: &str) -> Option<(Self, usize, usize)> {
                Some(match name {
                    $($name => (Self::$variant, $least, $most),)*
                    _ => return None,
                })
            }
        }
    };
}

functions! {
    "boolean" Boolean 1 1,
    "ceiling" Ceiling 1 1,
    "concat" Concat 2 99,
    "contains" Contains 2 2,
    "count" Count 1 1,
    "ends-with" EndsWith 2 2,
    "false" False 0 0,
    "floor" Floor 1 1,
    "last" Last 0 0,
    "local-name" LocalName 0 1,
    "lower-case" LowerCase 1 1,
    "name" Name 0 1,
    "normalize-space" NormalizeSpace 0 1,
    "not" Not 1 1,
    "number" Number 0 1,
    "position" Position 0 0,
    "round" Round 1 1,
    "starts-with" StartsWith 2 2,
    "string" String 0 1,
    "string-length" StringLength 0 1,
    "substring" Substring 2 3,
    "substring-after" SubstringAfter 2 2,
    "substring-before" SubstringBefore 2 2,
    "sum" Sum 1 1,
    "translate" Translate 3 3,
    "true" True 0 0,
    "upper-case" UpperCase 1 1,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Literal(String),
    Number(f64),
    Symbol(&'static str),
}

/// Symbols, longer ones first.
const SYMBOLS: [&str; 19] =
    ["::", "//", "..", "!=", "<=", ">=", "/", ".", "@", "(", ")", "[", "]", ",", "|", "+", "-", "=", "*"];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(c) = rest.chars().next() {
        let (token, len) = match c {
            '"' | '\'' => {
                let inside = rest.get(1..).unwrap_or_default();
                let Some((literal, _)) = inside.split_once(c) else {
                    return Err(format!("the text that begins at {rest:?} has no end"));
                };
                (Token::Literal(literal.to_owned()), literal.len() + 2)
            }
            '0'..='9' | '.'
                if c != '.' || rest.get(1..).is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit())) =>
            {
                let len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
                let number = rest.get(..len).and_then(|digits| digits.parse().ok());
                (Token::Number(number.ok_or_else(|| format!("{rest:?} does not begin with a number"))?), len)
            }
            '<' | '>' => {
                let symbol = match (c, rest.get(1..2)) {
                    ('<', Some("=")) => "<=",
                    ('<', _) => "<",
                    (_, Some("=")) => ">=",
                    _ => ">",
                };
                (Token::Symbol(symbol), symbol.len())
            }
            c if c.is_alphabetic() || c == '_' => {
                let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
                let mut len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                // A prefix and a name, or all names of a prefix; `::` ends the name of an axis.
                let after = rest.get(len..).unwrap_or_default();
                if let Some(local) = after.strip_prefix(':').filter(|local| !local.starts_with(':')) {
                    len +=
                        if local.starts_with('*') { 2 } else { 1 + local.find(|c| !is_part(c)).unwrap_or(local.len()) };
                }
                (Token::Name(rest.get(..len).unwrap_or_default().to_owned()), len)
            }
            _ => match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                Some(symbol) => (Token::Symbol(symbol), symbol.len()),
                None => return Err(format!("{c:?} has no meaning here: {rest:?}")),
            },
        };
        tokens.push(token);
        rest = rest.get(len..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

/// Levels of expressions inside expressions.
const MAX_LEVELS: usize = 64;

/// Parses an expression.
pub(super) fn parse(text: &str) -> Result<Expression, String> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, levels: 0 };
    if parser.tokens.is_empty() {
        return Err("expression is empty".to_owned());
    }
    let expression = parser.or()?;
    match parser.peek() {
        None => Ok(expression),
        Some(token) => Err(format!("{} does not belong after {:?}", shown(token), text)),
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Name(name) => format!("{name:?}"),
        Token::Literal(text) => format!("the text {text:?}"),
        Token::Number(number) => format!("the number {number}"),
        Token::Symbol(symbol) => format!("{symbol:?}"),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    levels: usize,
}

type Parsed = Result<Expression, String>;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let is_there = matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol);
        self.at += usize::from(is_there);
        is_there
    }

    fn word(&mut self, word: &str) -> bool {
        let is_there = matches!(self.peek(), Some(Token::Name(found)) if found == word);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), String> {
        if self.symbol(symbol) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(token) => format!("expected {symbol:?}, found {}", shown(token)),
            None => format!("expected {symbol:?} at the end"),
        })
    }

    fn or(&mut self) -> Parsed {
        self.levels += 1;
        if self.levels > MAX_LEVELS {
            return Err(format!("it has more than {MAX_LEVELS} levels"));
        }
        let mut left = self.and()?;
        while self.word("or") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        self.levels -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Parsed {
        let mut left = self.comparison()?;
        while self.word("and") {
            left = Expression::And(Box::new(left), Box::new(self.comparison()?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Parsed {
        let mut left = self.sum()?;
        loop {
            let comparison = match self.peek() {
                Some(Token::Symbol("=")) => Comparison::Equal,
                Some(Token::Symbol("!=")) => Comparison::NotEqual,
                Some(Token::Symbol("<")) => Comparison::Less,
                Some(Token::Symbol("<=")) => Comparison::LessOrEqual,
                Some(Token::Symbol(">")) => Comparison::Greater,
                Some(Token::Symbol(">=")) => Comparison::GreaterOrEqual,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Expression::Compare(comparison, Box::new(left), Box::new(self.sum()?));
        }
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        loop {
            let operation = if self.symbol("+") {
                Operation::Add
            } else if self.symbol("-") {
                Operation::Subtract
            } else {
                return Ok(left);
            };
            left = Expression::Calculate(operation, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.negation()?;
        loop {
            let operation = if self.symbol("*") {
                Operation::Multiply
            } else if self.word("div") {
                Operation::Divide
            } else if self.word("mod") {
                Operation::Modulo
            } else {
                return Ok(left);
            };
            left = Expression::Calculate(operation, Box::new(left), Box::new(self.negation()?));
        }
    }

    fn negation(&mut self) -> Parsed {
        let mut negations = 0;
        while self.symbol("-") {
            negations += 1;
        }
        let operand = self.union()?;
        Ok(if negations % 2 == 1 { Expression::Negate(Box::new(operand)) } else { operand })
    }

    fn union(&mut self) -> Parsed {
        let mut left = self.path()?;
        while self.symbol("|") {
            left = Expression::Union(Box::new(left), Box::new(self.path()?));
        }
        Ok(left)
    }

    /// A path of steps, or an expression with conditions and steps behind it.
    fn path(&mut self) -> Parsed {
        let is_call = matches!(
            (self.peek(), self.tokens.get(self.at + 1)),
            (Some(Token::Name(name)), Some(Token::Symbol("("))) if !is_node_type(name)
        );
        let primary = match self.peek() {
            Some(Token::Literal(text)) => Some(Expression::Literal(text.clone())),
            Some(Token::Number(number)) => Some(Expression::Number(*number)),
            _ => None,
        };
        let primary = if let Some(primary) = primary {
            self.at += 1;
            primary
        } else if self.symbol("(") {
            let inner = self.or()?;
            self.expect(")")?;
            inner
        } else if is_call {
            self.call()?
        } else {
            return self.location_path();
        };
        let predicates = self.predicates()?;
        let mut steps = Vec::new();
        self.more_steps(&mut steps)?;
        if predicates.is_empty() && steps.is_empty() {
            return Ok(primary);
        }
        Ok(Expression::Path(Start::Nodes(Box::new(primary), predicates), steps))
    }

    fn location_path(&mut self) -> Parsed {
        let mut steps = Vec::new();
        if self.symbol("//") {
            steps.push(any_descendant());
            steps.push(self.step()?);
            self.more_steps(&mut steps)?;
            return Ok(Expression::Path(Start::Root, steps));
        }
        let start = if self.symbol("/") { Start::Root } else { Start::Current };
        let begins_step = match self.peek() {
            Some(Token::Name(_) | Token::Symbol("." | ".." | "@" | "*")) => true,
            _ => matches!(start, Start::Current),
        };
        if begins_step {
            steps.push(self.step()?);
            self.more_steps(&mut steps)?;
        }
        Ok(Expression::Path(start, steps))
    }

    fn more_steps(&mut self, steps: &mut Vec<Step>) -> Result<(), String> {
        loop {
            if self.symbol("//") {
                steps.push(any_descendant());
            } else if !self.symbol("/") {
                return Ok(());
            }
            steps.push(self.step()?);
        }
    }

    fn step(&mut self) -> Result<Step, String> {
        if self.symbol("..") {
            return Ok(Step { axis: Axis::Parent, test: Test::Node, predicates: self.predicates()? });
        }
        if self.symbol(".") {
            return Ok(Step { axis: Axis::Itself, test: Test::Node, predicates: self.predicates()? });
        }
        let axis = if self.symbol("@") { Axis::Attribute } else { self.axis()? };
        let test = self.test()?;
        Ok(Step { axis, test, predicates: self.predicates()? })
    }

    fn axis(&mut self) -> Result<Axis, String> {
        let (Some(Token::Name(name)), Some(Token::Symbol("::"))) = (self.peek(), self.tokens.get(self.at + 1)) else {
            return Ok(Axis::Child);
        };
        let axis = match &**name {
            "ancestor" => Axis::Ancestor,
            "ancestor-or-self" => Axis::AncestorOrSelf,
            "attribute" => Axis::Attribute,
            "child" => Axis::Child,
            "descendant" => Axis::Descendant,
            "descendant-or-self" => Axis::DescendantOrSelf,
            "following" => Axis::Following,
            "following-sibling" => Axis::FollowingSibling,
            "parent" => Axis::Parent,
            "preceding" => Axis::Preceding,
            "preceding-sibling" => Axis::PrecedingSibling,
            "self" => Axis::Itself,
            _ => return Err(format!("unknown axe type: {name}")),
        };
        self.at += 2;
        Ok(axis)
    }

    fn test(&mut self) -> Result<Test, String> {
        if self.symbol("*") {
            return Ok(Test::Any);
        }
        let Some(Token::Name(name)) = self.peek().cloned() else {
            return Err(match self.peek() {
                Some(token) => format!("expected a name, found {}", shown(token)),
                None => "expected a name at the end".to_owned(),
            });
        };
        self.at += 1;
        if is_node_type(&name) && self.symbol("(") {
            // An instruction can be named.
            if let Some(Token::Literal(_)) = self.peek() {
                self.at += 1;
            }
            self.expect(")")?;
            return Ok(match &*name {
                "text" => Test::Text,
                "comment" => Test::Comment,
                "node" => Test::Node,
                _ => Test::Instruction,
            });
        }
        Ok(match name.split_once(':') {
            Some((prefix, "*")) => Test::Prefix(prefix.to_owned()),
            Some((prefix, local)) => Test::Name { prefix: prefix.to_owned(), local: local.to_owned() },
            None => Test::Name { prefix: String::new(), local: name },
        })
    }

    fn predicates(&mut self) -> Result<Vec<Expression>, String> {
        let mut predicates = Vec::new();
        while self.symbol("[") {
            predicates.push(self.or()?);
            self.expect("]")?;
        }
        Ok(predicates)
    }

    fn call(&mut self) -> Parsed {
        let Some(Token::Name(name)) = self.peek().cloned() else { return Err("expected a function".to_owned()) };
        self.at += 2;
        let mut arguments = Vec::new();
        if !self.symbol(")") {
            loop {
                arguments.push(self.or()?);
                if !self.symbol(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        let Some((function, least, most)) = Function::of(&name) else {
            return Err(format!("not yet support this function {name}()"));
        };
        if !(least..=most).contains(&arguments.len()) {
            return Err(format!("{name}() takes {least} to {most} arguments, found {}", arguments.len()));
        }
        Ok(Expression::Call(function, arguments))
    }
}

fn is_node_type(name: &str) -> bool {
    matches!(name, "text" | "comment" | "node" | "processing-instruction")
}

fn any_descendant() -> Step {
    Step { axis: Axis::DescendantOrSelf, test: Test::Node, predicates: Vec::new() }
}
