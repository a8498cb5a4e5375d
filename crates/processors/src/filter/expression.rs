//! Expressions on metrics and their points, as `match_type: expr` has them: the part of the language of the Go library
//! that uses what it offers here, `MetricName`, `MetricType`, `HasLabel` and `Label`.
//!
//! An expression is parsed when the configuration is read, and every part has a known type then, so that evaluation has
//! no errors. What else the Go library has is refused with its place. Never runs longer than linear in the text times
//! the labels of a point.

use std::cmp::Ordering;

use otelcore_go_regexp::GoRegexp;
use otelcore_pdata::views::{AnyValue, KeyValue};

/// Levels of parentheses and operators inside one another.
const MAX_DEPTH: u8 = 100;

/// Words, strings and symbols of an expression.
const MAX_TOKENS: usize = 1000;

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
        let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: MAX_DEPTH };
        let (value, at) = parser.operators(0)?;
        match parser.tokens.get(parser.next) {
            None => boolean(value, at),
            Some((token, at)) => Err(format!("unexpected {} at character {at}", token.shown())),
        }
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

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Symbol(&'static str),
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Self::Word(word) => format!("`{word}`"),
            Self::Text(_) => "a string".to_owned(),
            Self::Symbol(symbol) => format!("`{symbol}`"),
        }
    }

    /// The name of an operator.
    fn operator(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Text(_) => "",
            Self::Symbol(symbol) => symbol,
        }
    }
}

const SYMBOLS: [&str; 14] = ["==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ","];

/// The tokens of an expression, each with its position in characters, from 1.
fn tokens(text: &str) -> Result<Vec<(Token, usize)>, String> {
    let mut found = Vec::new();
    // The position of the byte `begin`.
    let (mut rest, mut at, mut begin) = (text, 1, 0);
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let before = std::mem::replace(&mut begin, text.len() - rest.len());
        at += text.get(before..begin).map_or(0, |between| between.chars().count());
        if found.len() > MAX_TOKENS {
            return Err(format!("the expression has more than {MAX_TOKENS} words and symbols"));
        }
        let Some(first) = rest.chars().next() else { return Ok(found) };
        if first.is_alphabetic() || first == '_' || first == '$' {
            let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(len).unwrap_or((rest, ""));
            found.push((Token::Word(word.to_owned()), at));
            rest = after;
        } else if let Some(inside) = rest.strip_prefix(['"', '\'', '`']) {
            let (literal, after) =
                string(inside, first).ok_or_else(|| format!("string at character {at} is not valid"))?;
            found.push((Token::Text(literal), at));
            rest = after;
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            found.push((Token::Symbol(symbol), at));
            rest = rest.get(symbol.len()..).unwrap_or_default();
        } else {
            return Err(format!("`{first}` at character {at} is not supported"));
        }
    }
}

/// The value of a string literal, and the text behind it.
fn string(inside: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((value, inside.get(at + 1..)?)),
            '\\' if quote != '`' => value.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                escaped @ ('\\' | '"' | '\'') => escaped,
                // Two digits of ASCII.
                'x' => {
                    let (first, second) = (chars.next()?.1.to_digit(16)?, chars.next()?.1.to_digit(16)?);
                    char::from_u32(first * 16 + second).filter(char::is_ascii)?
                }
                _ => return None,
            }),
            '\n' if quote != '`' => return None,
            c => value.push(c),
        }
    }
    None
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

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    depth: u8,
}

/// How strongly an operator binds; `None` if it is none.
fn precedence(operator: &str) -> Option<u8> {
    match operator {
        "||" | "or" => Some(1),
        "&&" | "and" => Some(2),
        "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not" | "matches" | "contains" | "startsWith" | "endsWith" => {
            Some(3)
        }
        _ => None,
    }
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(token, _)| token)
    }

    fn take(&mut self) -> Result<(Token, usize), String> {
        let found = self.tokens.get(self.next).cloned().ok_or("the expression ends too early")?;
        self.next += 1;
        Ok(found)
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), String> {
        let (token, at) = self.take()?;
        if token == Token::Symbol(symbol) {
            return Ok(());
        }
        Err(format!("`{symbol}` is expected at character {at}, not {}", token.shown()))
    }

    /// Operands joined by operators that bind at least so strongly, and where they begin.
    fn operators(&mut self, weakest: u8) -> Result<(Value, usize), String> {
        self.depth = self.depth.checked_sub(1).ok_or("the expression is nested too deep")?;
        let (mut left, at) = self.operand()?;
        let mut last = None;
        while let Some(binding) =
            self.peek().and_then(|token| precedence(token.operator())).filter(|binding| *binding >= weakest)
        {
            let (token, operator_at) = self.take()?;
            if binding == 3 && last == Some(3) {
                return Err(format!(
                    "{} at character {operator_at} follows another comparison: use parentheses",
                    token.shown()
                ));
            }
            last = Some(binding);
            let mut operator = token.operator().to_owned();
            let is_negated = operator == "not";
            if is_negated {
                let (token, at) = self.take()?;
                operator = token.operator().to_owned();
                if !matches!(&*operator, "in" | "matches" | "contains" | "startsWith" | "endsWith") {
                    return Err(format!("unexpected {} at character {at}", token.shown()));
                }
            }
            let (right, right_at) = self.operators(binding + 1)?;
            let joined = join((left, at), &operator, (right, right_at))?;
            left = Value::Boolean(if is_negated { Expression::Not(Box::new(joined)) } else { joined });
        }
        self.depth += 1;
        Ok((left, at))
    }

    fn operand(&mut self) -> Result<(Value, usize), String> {
        let (token, at) = self.take()?;
        let value = match token {
            Token::Text(literal) => Value::Text(Text::Literal(literal)),
            Token::Symbol("!") => self.negation()?,
            Token::Word(word) if word == "not" => self.negation()?,
            Token::Symbol("(") => {
                let (value, _) = self.operators(0)?;
                self.expect(")")?;
                value
            }
            Token::Symbol("[") => Value::Texts(self.texts()?),
            Token::Word(word) => match &*word {
                "true" | "false" => Value::Boolean(Expression::Literal(word == "true")),
                "MetricName" => Value::Text(Text::MetricName),
                "MetricType" => Value::Text(Text::MetricType),
                "HasLabel" => Value::Boolean(Expression::HasLabel(self.argument()?)),
                "Label" => Value::Text(Text::Label(Box::new(self.argument()?))),
                _ => return Err(format!("`{word}` at character {at} is not supported")),
            },
            Token::Symbol(_) => return Err(format!("unexpected {} at character {at}", token.shown())),
        };
        Ok((value, at))
    }

    /// What `!` is in front of: it binds more strongly than all operators.
    fn negation(&mut self) -> Result<Value, String> {
        self.depth = self.depth.checked_sub(1).ok_or("the expression is nested too deep")?;
        let (value, at) = self.operand()?;
        self.depth += 1;
        Ok(Value::Boolean(Expression::Not(Box::new(boolean(value, at)?))))
    }

    /// The one argument of a function.
    fn argument(&mut self) -> Result<Text, String> {
        self.expect("(")?;
        let (value, at) = self.operators(0)?;
        self.expect(")")?;
        text(value, at)
    }

    /// The strings of a list, behind its bracket.
    fn texts(&mut self) -> Result<Vec<String>, String> {
        let mut texts = Vec::new();
        while self.peek() != Some(&Token::Symbol("]")) {
            match self.take()? {
                (Token::Text(literal), _) => texts.push(literal),
                (token, at) => return Err(format!("a string is expected at character {at}, not {}", token.shown())),
            }
            if self.peek() != Some(&Token::Symbol("]")) {
                self.expect(",")?;
            }
        }
        self.expect("]")?;
        Ok(texts)
    }
}

/// What an operator makes of its operands.
fn join((left, at): (Value, usize), operator: &str, (right, right_at): (Value, usize)) -> Result<Expression, String> {
    Ok(match (operator, left, right) {
        ("||" | "or", left, right) => Expression::Or(Box::new(boolean(left, at)?), Box::new(boolean(right, right_at)?)),
        ("&&" | "and", left, right) => {
            Expression::And(Box::new(boolean(left, at)?), Box::new(boolean(right, right_at)?))
        }
        ("==", Value::Boolean(left), Value::Boolean(right)) => Expression::Same(Box::new(left), Box::new(right)),
        ("!=", Value::Boolean(left), Value::Boolean(right)) => {
            Expression::Not(Box::new(Expression::Same(Box::new(left), Box::new(right))))
        }
        ("in", left, Value::Texts(texts)) => Expression::In(text(left, at)?, texts),
        ("matches", left, Value::Text(Text::Literal(pattern))) => {
            let pattern = GoRegexp::compile(&pattern).map_err(|error| format!("{error} at character {right_at}"))?;
            Expression::Matches(text(left, at)?, Box::new(pattern))
        }
        ("matches", ..) => return Err(format!("a string literal is expected at character {right_at}")),
        ("in", ..) => return Err(format!("a list of strings is expected at character {right_at}")),
        (operator, left, right) => {
            let (left, right) = (text(left, at)?, text(right, right_at)?);
            match operator {
                "contains" => Expression::Contains(left, right),
                "startsWith" => Expression::StartsWith(left, right),
                "endsWith" => Expression::EndsWith(left, right),
                "<" => Expression::Compare(left, Ordering::is_lt, right),
                "<=" => Expression::Compare(left, Ordering::is_le, right),
                ">" => Expression::Compare(left, Ordering::is_gt, right),
                ">=" => Expression::Compare(left, Ordering::is_ge, right),
                "!=" => Expression::Compare(left, Ordering::is_ne, right),
                _ => Expression::Compare(left, Ordering::is_eq, right),
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
