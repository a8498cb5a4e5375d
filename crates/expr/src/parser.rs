//! Parses expressions.

use otelcore_go_regexp::GoRegexp;

use crate::lexer::{Token, tokens};
use crate::signatures;
use crate::syntax::{BinaryOperator, Node, NodeKind, UnaryOperator};

/// Levels of parentheses and operators inside one another.
const MAX_DEPTH: u8 = 100;

/// Parses an expression.
///
/// # Errors
/// What is wrong, or not supported, and at which character.
pub fn parse(text: &str) -> Result<Node, String> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: MAX_DEPTH };
    let node = parser.expression()?;
    match parser.tokens.get(parser.next) {
        None => Ok(node),
        Some((token, at)) => Err(format!("unexpected {} at character {at}", token.shown())),
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    depth: u8,
}

/// What an operator between two operands is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Infix {
    Operator(BinaryOperator),
    Matches,
    Not,
}

/// How strongly an operator binds.
fn infix(token: &Token) -> Option<(Infix, u16)> {
    use BinaryOperator as B;
    let (operator, binding) = match token.operator() {
        "||" | "or" => (B::Or, 10),
        "&&" | "and" => (B::And, 15),
        "==" => (B::Equal, COMPARISON),
        "!=" => (B::NotEqual, COMPARISON),
        "<" => (B::Less, COMPARISON),
        "<=" => (B::LessOrEqual, COMPARISON),
        ">" => (B::Greater, COMPARISON),
        ">=" => (B::GreaterOrEqual, COMPARISON),
        "in" => (B::In, COMPARISON),
        "contains" => (B::Contains, COMPARISON),
        "startsWith" => (B::StartsWith, COMPARISON),
        "endsWith" => (B::EndsWith, COMPARISON),
        "matches" => return Some((Infix::Matches, COMPARISON)),
        "not" => return Some((Infix::Not, COMPARISON)),
        ".." => (B::Range, 25),
        "+" => (B::Add, 30),
        "-" => (B::Subtract, 30),
        "*" => (B::Multiply, 60),
        "/" => (B::Divide, 60),
        "%" => (B::Remainder, 60),
        "**" | "^" => (B::Power, 100),
        "??" => (B::Coalesce, 500),
        _ => return None,
    };
    Some((Infix::Operator(operator), binding))
}

const COMPARISON: u16 = 20;

fn node(kind: NodeKind, at: usize) -> Node {
    Node { kind, at }
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(token, _)| token)
    }

    fn is_next(&self, symbol: &'static str) -> bool {
        self.peek() == Some(&Token::Symbol(symbol))
    }

    fn take(&mut self) -> Result<(Token, usize), String> {
        let found = self.tokens.get(self.next).cloned().ok_or("the expression ends too early")?;
        self.next += 1;
        Ok(found)
    }

    fn take_if(&mut self, symbol: &'static str) -> bool {
        let is_next = self.is_next(symbol);
        self.next += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), String> {
        let (token, at) = self.take()?;
        if token == Token::Symbol(symbol) {
            return Ok(());
        }
        Err(format!("`{symbol}` is expected at character {at}, not {}", token.shown()))
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        self.depth = self.depth.checked_sub(1).ok_or("the expression is nested too deep")?;
        let found = parse(self)?;
        self.depth += 1;
        Ok(found)
    }

    fn expression(&mut self) -> Result<Node, String> {
        let condition = self.operators(0)?;
        if !self.take_if("?") {
            return Ok(condition);
        }
        let at = condition.at;
        let (yes, no) = self.deeper(|parser| {
            let yes = parser.expression()?;
            parser.expect(":")?;
            Ok((yes, parser.expression()?))
        })?;
        Ok(node(NodeKind::Conditional(Box::new(condition), Box::new(yes), Box::new(no)), at))
    }

    /// Operands joined by operators that bind at least so strongly.
    fn operators(&mut self, weakest: u16) -> Result<Node, String> {
        self.deeper(|parser| parser.operators_here(weakest))
    }

    fn operators_here(&mut self, weakest: u16) -> Result<Node, String> {
        let mut left = self.operand()?;
        let at = left.at;
        let mut last = None;
        while let Some((mut operator, binding)) = self.peek().and_then(infix).filter(|(_, binding)| *binding >= weakest)
        {
            let (token, operator_at) = self.take()?;
            if binding == COMPARISON && last == Some(COMPARISON) {
                return Err(format!(
                    "{} at character {operator_at} follows another comparison: use parentheses",
                    token.shown()
                ));
            }
            last = Some(binding);
            let is_negated = operator == Infix::Not;
            if is_negated {
                let (token, at) = self.take()?;
                operator = infix(&token)
                    .map(|(operator, _)| operator)
                    .filter(|operator| {
                        use BinaryOperator as B;
                        matches!(
                            operator,
                            Infix::Matches | Infix::Operator(B::In | B::Contains | B::StartsWith | B::EndsWith)
                        )
                    })
                    .ok_or_else(|| format!("unexpected {} at character {at}", token.shown()))?;
            }
            // Powers are joined from the right.
            let right = self.operators(if binding == 100 { binding } else { binding + 1 })?;
            let joined = match operator {
                Infix::Operator(operator) => NodeKind::Binary(operator, Box::new(left), Box::new(right)),
                _ => matches(left, right)?,
            };
            left = node(joined, at);
            if is_negated {
                left = node(NodeKind::Unary(UnaryOperator::Not, Box::new(left)), at);
            }
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<Node, String> {
        let (token, at) = self.take()?;
        let kind = match token {
            Token::Text(literal) => NodeKind::Text(literal),
            Token::Int(v) => NodeKind::Int(v),
            Token::Double(v) => NodeKind::Double(v),
            Token::Symbol("!") => self.unary(UnaryOperator::Not, 50)?,
            Token::Symbol("-") => self.unary(UnaryOperator::Negate, 90)?,
            Token::Symbol("+") => self.unary(UnaryOperator::Plus, 90)?,
            Token::Word(word) if word == "not" => self.unary(UnaryOperator::Not, 50)?,
            Token::Symbol("(") => {
                let inner = self.deeper(Self::expression)?;
                self.expect(")")?;
                inner.kind
            }
            Token::Symbol("[") => NodeKind::Array(self.list("]", false)?),
            Token::Symbol("{") => self.map()?,
            Token::Symbol("#") => NodeKind::Element,
            // `.name` in a predicate is a member of the element.
            Token::Symbol(".") => {
                self.next -= 1;
                NodeKind::Element
            }
            Token::Word(word) => match &*word {
                "true" | "false" => NodeKind::Bool(word == "true"),
                "nil" => NodeKind::Nil,
                "let" | "if" => return Err(format!("`{word}` at character {at} is not supported")),
                _ if self.take_if("(") => {
                    let arguments = self.list(")", signatures::takes_predicate(&word))?;
                    signatures::check_call(&word, &arguments, at)?;
                    NodeKind::Call(word, arguments)
                }
                _ => NodeKind::Name(word),
            },
            Token::Symbol(_) => return Err(format!("unexpected {} at character {at}", token.shown())),
        };
        self.members(node(kind, at))
    }

    fn unary(&mut self, operator: UnaryOperator, binding: u16) -> Result<NodeKind, String> {
        let operand = self.operators(binding)?;
        Ok(NodeKind::Unary(operator, Box::new(operand)))
    }

    /// What is read of an operand: `.name`, `?.name`, `[..]`.
    fn members(&mut self, mut base: Node) -> Result<Node, String> {
        loop {
            let at = base.at;
            let is_optional = self.is_next("?.");
            if is_optional || self.is_next(".") {
                self.next += 1;
                if !(is_optional && self.is_next("[")) {
                    let (token, key_at) = self.take()?;
                    let Token::Word(name) = token else {
                        return Err(format!("a name is expected at character {key_at}, not {}", token.shown()));
                    };
                    if self.is_next("(") {
                        return Err(format!("the method `{name}` at character {key_at} is not supported"));
                    }
                    let key = Box::new(node(NodeKind::Text(name.into_bytes()), key_at));
                    base = node(NodeKind::Member { base: Box::new(base), key, is_optional }, at);
                    continue;
                }
            }
            if self.take_if("[") {
                base = self.brackets(base, is_optional)?;
            } else if self.is_next("|") {
                return Err("`|` is not supported: write the call with its arguments in parentheses".to_owned());
            } else {
                return Ok(base);
            }
        }
    }

    fn brackets(&mut self, base: Node, is_optional: bool) -> Result<Node, String> {
        let at = base.at;
        let base = Box::new(base);
        let from = if self.is_next(":") { None } else { Some(Box::new(self.deeper(Self::expression)?)) };
        let kind = if self.take_if(":") {
            let to = if self.is_next("]") { None } else { Some(Box::new(self.deeper(Self::expression)?)) };
            NodeKind::Slice { base, from, to }
        } else {
            let key = from.ok_or("the expression ends too early")?;
            NodeKind::Member { base, key, is_optional }
        };
        self.expect("]")?;
        Ok(node(kind, at))
    }

    /// Expressions with commas between them, up to the symbol that ends them. A predicate can be in braces.
    fn list(&mut self, end: &'static str, takes_predicate: bool) -> Result<Vec<Node>, String> {
        let mut items = Vec::new();
        while !self.is_next(end) {
            let is_predicate = takes_predicate && !items.is_empty() && self.take_if("{");
            items.push(self.deeper(Self::expression)?);
            if is_predicate {
                self.expect("}")?;
            }
            if !self.is_next(end) {
                self.expect(",")?;
            }
        }
        self.expect(end)?;
        Ok(items)
    }

    fn map(&mut self) -> Result<NodeKind, String> {
        let mut entries = Vec::new();
        while !self.is_next("}") {
            let (token, at) = self.take()?;
            let key = match token {
                Token::Word(word) => node(NodeKind::Text(word.into_bytes()), at),
                Token::Text(text) => node(NodeKind::Text(text), at),
                Token::Int(v) => node(NodeKind::Text(v.to_string().into_bytes()), at),
                Token::Symbol("(") => {
                    let key = self.deeper(Self::expression)?;
                    self.expect(")")?;
                    key
                }
                token => return Err(format!("a key is expected at character {at}, not {}", token.shown())),
            };
            self.expect(":")?;
            entries.push((key, self.deeper(Self::expression)?));
            if !self.is_next("}") {
                self.expect(",")?;
            }
        }
        self.expect("}")?;
        Ok(NodeKind::Map(entries))
    }
}

fn matches(text: Node, pattern: Node) -> Result<NodeKind, String> {
    let NodeKind::Text(literal) = pattern.kind else {
        return Err(format!("a string literal is expected at character {}", pattern.at));
    };
    let literal = String::from_utf8_lossy(&literal);
    let compiled = GoRegexp::compile(&literal).map_err(|error| format!("{error} at character {}", pattern.at))?;
    Ok(NodeKind::Matches(Box::new(text), Box::new(compiled)))
}
