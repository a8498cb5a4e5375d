//! Tokens as a syntax tree, by the grammar of the Go collector.
//!
//! The Go grammar takes the first alternative that matches. This parser decides by the next tokens, and goes back in
//! two places only: a parenthesis at the beginning of a condition may begin arithmetic or a condition, and a bracket
//! behind a path a key or, in a list, another list. Each is tried once; nesting is limited, so that the work is at most
//! [`MAX_DEPTH`] times the length of the text.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::compile_error::{CompileError, line_and_column};
use crate::evaluate::{Comparison, MathOperator};
use crate::lexer::{Token, TokenKind as Kind, tokens, unquote};
use crate::syntax::{
    Argument, Boolean, BooleanKind, BooleanValue, Call, Factor, FactorKind, Key, Math, Operand, Path, PathField,
    Product, Statement, Value, ValueKind, keys_text,
};

/// How deep values, keys and parentheses can be nested.
pub(crate) const MAX_DEPTH: u32 = 100;

const LAMBDA: &str = "lambda expression arguments require the `ottl.functions.enableLambda` feature gate to be enabled, which otelcore \
     does not have: no function takes one";

/// What a text is, in messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TextKind {
    Statement,
    Condition,
    ValueExpression,
}

/// Parses a statement.
pub(crate) fn statement(text: &str) -> Result<Statement, CompileError> {
    parse(text, TextKind::Statement, Parser::statement)
}

/// Parses a condition.
pub(crate) fn condition(text: &str) -> Result<Boolean, CompileError> {
    parse(text, TextKind::Condition, Parser::boolean)
}

/// Parses a value expression.
pub(crate) fn value_expression(text: &str) -> Result<Value, CompileError> {
    parse(text, TextKind::ValueExpression, Parser::value)
}

/// Why parsing ended.
enum Failure {
    /// A token that does not fit; [`Parser::farthest`] has what was expected.
    Token,
    /// What can't be repaired by another alternative.
    Fatal(Box<CompileError>),
}

type Parsed<T> = Result<T, Failure>;

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
    depth: u32,
    /// The last token at which anything was expected, and what.
    farthest: (usize, Vec<&'static str>),
    /// Tokens at which no key and no comparison begins, so that each is tried once.
    no_keys: BTreeSet<usize>,
    no_comparisons: BTreeSet<usize>,
}

fn parse<'t, T>(
    text: &'t str,
    kind: TextKind,
    rule: impl FnOnce(&mut Parser<'t>) -> Parsed<T>,
) -> Result<T, CompileError> {
    let prefix = match kind {
        TextKind::Statement => "statement has invalid syntax",
        TextKind::Condition => "condition has invalid syntax",
        TextKind::ValueExpression => "expression has invalid syntax",
    };
    let invalid = |place: Range<usize>, why: &str| {
        let (line, column) = line_and_column(text, place.start);
        CompileError::new(place, format!("{prefix}: {line}:{column}: {why}"))
    };
    let tokens = tokens(text).map_err(|at| {
        let character = text.get(at..).and_then(|rest| rest.chars().next());
        let why = match character {
            Some('"') => "a string that does not end with \"".to_owned(),
            Some(c) => format!("invalid input text {:?}", c.to_string()),
            None => "invalid input text".to_owned(),
        };
        invalid(at..at + character.map_or(0, char::len_utf8), &why)
    })?;
    let mut parser = Parser {
        text,
        tokens,
        at: 0,
        depth: 0,
        farthest: (0, Vec::new()),
        no_keys: BTreeSet::new(),
        no_comparisons: BTreeSet::new(),
    };
    let result = rule(&mut parser).and_then(|tree| match parser.peek() {
        None => Ok(tree),
        Some(_) => Err(parser.expected("the end")),
    });
    result.map_err(|failure| match failure {
        Failure::Fatal(error) => *error,
        Failure::Token => {
            let (at, expected) = &parser.farthest;
            let place = parser.tokens.get(*at).map_or(text.len()..text.len(), |token| token.place.clone());
            let found = match text.get(place.clone()) {
                Some(found) if !found.is_empty() => format!("unexpected token {found:?}"),
                _ => "unexpected end".to_owned(),
            };
            invalid(place, &format!("{found} (expected {})", expected.join(" or ")))
        }
    })
}

impl Parser<'_> {
    fn peek(&self) -> Option<Kind> {
        self.kind_at(self.at)
    }

    fn kind_at(&self, at: usize) -> Option<Kind> {
        self.tokens.get(at).map(|token| token.kind)
    }

    /// The text of the token at a position.
    fn text_at(&self, at: usize) -> &str {
        self.tokens.get(at).and_then(|token| self.text.get(token.place.clone())).unwrap_or_default()
    }

    /// The place from a token to before the next one.
    fn place_from(&self, start: usize) -> Range<usize> {
        let from = self.tokens.get(start).map_or(self.text.len(), |token| token.place.start);
        let last = self.tokens.get(self.at.saturating_sub(1).max(start));
        from..last.map_or(self.text.len(), |token| token.place.end)
    }

    fn expected(&mut self, what: &'static str) -> Failure {
        if self.at > self.farthest.0 || self.farthest.1.is_empty() {
            self.farthest = (self.at, vec![what]);
        } else if self.at == self.farthest.0 && !self.farthest.1.contains(&what) {
            self.farthest.1.push(what);
        }
        Failure::Token
    }

    fn fatal<T>(&self, place: Range<usize>, message: impl Into<String>) -> Parsed<T> {
        Err(Failure::Fatal(Box::new(CompileError::new(place, message.into()))))
    }

    fn take(&mut self, kind: Kind) -> bool {
        let is = self.peek() == Some(kind);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, kind: Kind, what: &'static str) -> Parsed<()> {
        if self.take(kind) { Ok(()) } else { Err(self.expected(what)) }
    }

    /// Runs a rule one level deeper.
    fn nested<T>(&mut self, rule: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            let place = self.place_from(self.at);
            return self.fatal(place, format!("the statement is nested more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let result = rule(self);
        self.depth -= 1;
        result
    }

    /// Where a name that begins at `at` ends: tokens of letters that follow each other. White space between them does
    /// not count, as in Go.
    fn name_end(&self, mut at: usize) -> usize {
        while matches!(self.kind_at(at), Some(Kind::Uppercase | Kind::Lowercase)) {
            at += 1;
        }
        at
    }

    fn name(&self, range: Range<usize>) -> String {
        range.map(|at| self.text_at(at)).collect()
    }

    fn statement(&mut self) -> Parsed<Statement> {
        let start = self.at;
        let is_editor = self.peek() == Some(Kind::Lowercase);
        if !is_editor && self.peek() != Some(Kind::Uppercase) {
            return Err(self.expected("an editor such as set(...)"));
        }
        let editor = self.call()?;
        if !is_editor {
            let message = format!("editor names must start with a lowercase letter but got '{}'", editor.name);
            return self.fatal(editor.place, message);
        }
        if !editor.keys.is_empty() {
            let keys = keys_text(&editor.keys);
            let message =
                format!("only paths and converters may be indexed, not editors, but got {}{keys}", editor.name);
            return self.fatal(self.place_from(start), message);
        }
        let condition = if self.peek() == Some(Kind::Lowercase) && self.text_at(self.at) == "where" {
            self.at += 1;
            Some(self.boolean()?)
        } else {
            if self.peek().is_some() {
                return Err(self.expected("where"));
            }
            None
        };
        Ok(Statement { editor, condition })
    }

    /// A name, arguments in parentheses, and keys.
    fn call(&mut self) -> Parsed<Call> {
        let start = self.at;
        let end = self.name_end(start);
        self.at = end;
        let (name, place) = (self.name(start..end), self.place_from(start));
        self.expect(Kind::OpenParenthesis, "(")?;
        let mut arguments = Vec::new();
        if !self.take(Kind::CloseParenthesis) {
            loop {
                arguments.push(self.argument()?);
                if !self.take(Kind::Comma) {
                    break;
                }
            }
            self.expect(Kind::CloseParenthesis, ") or ,")?;
        }
        let keys = self.keys()?;
        Ok(Call { name, place, arguments, keys })
    }

    fn argument(&mut self) -> Parsed<Argument> {
        let mut name = None;
        if self.peek() == Some(Kind::Lowercase) {
            let end = self.name_end(self.at);
            if self.kind_at(end) == Some(Kind::Equal) {
                name = Some(self.name(self.at..end));
                self.at = end + 1;
            }
        }
        let start = self.at;
        let end = self.name_end(start);
        let is_name = self.peek() == Some(Kind::Uppercase) && self.kind_at(end) != Some(Kind::OpenParenthesis);
        // One token of uppercase letters is the symbol of an enum, or the name of a function.
        if is_name && self.kind_at(start + 1) == Some(Kind::Lowercase) {
            self.at = end;
            let kind = ValueKind::FunctionName(self.name(start..end));
            return Ok(Argument { name, value: Value { kind, place: self.place_from(start) } });
        }
        Ok(Argument { name, value: self.value()? })
    }

    fn value(&mut self) -> Parsed<Value> {
        self.nested(|parser| {
            let start = parser.at;
            let kind = parser.value_kind()?;
            Ok(Value { kind, place: parser.place_from(start) })
        })
    }

    fn value_kind(&mut self) -> Parsed<ValueKind> {
        let at = self.at;
        match self.peek() {
            Some(Kind::Nil) => {
                self.at += 1;
                Ok(ValueKind::Nil)
            }
            Some(Kind::Boolean) => {
                self.at += 1;
                Ok(ValueKind::Bool(self.text_at(at) == "true"))
            }
            Some(Kind::String) => self.string().map(ValueKind::String),
            Some(Kind::Bytes) => self.bytes().map(ValueKind::Bytes),
            Some(Kind::OpenBracket) => self.list().map(ValueKind::List),
            Some(Kind::OpenBrace) => self.map().map(ValueKind::Map),
            Some(Kind::OpenParenthesis | Kind::AddSub) => self.math(None).map(ValueKind::Math),
            Some(Kind::Uppercase) if self.kind_at(self.name_end(at)) != Some(Kind::OpenParenthesis) => {
                if self.kind_at(at + 1) == Some(Kind::Lowercase) {
                    self.at = self.name_end(at);
                    return Err(self.expected("("));
                }
                self.at += 1;
                Ok(ValueKind::Enum(self.text_at(at).to_owned()))
            }
            Some(Kind::Uppercase | Kind::Lowercase | Kind::Int | Kind::Float) => {
                let operand = self.operand()?;
                match self.peek() {
                    Some(Kind::AddSub | Kind::MultDiv) => self.math(Some(operand)).map(ValueKind::Math),
                    _ => Ok(ValueKind::Operand(operand)),
                }
            }
            _ => Err(self.expected("a value")),
        }
    }

    fn string(&mut self) -> Parsed<String> {
        let token = self.text_at(self.at);
        let start = self.tokens.get(self.at).map_or(0, |token| token.place.start);
        let content = match unquote(token) {
            Ok(content) => content,
            Err(at) => {
                let place = start + at..start + at + 1;
                return self.fatal(place, "statement has invalid syntax: invalid escape in a string");
            }
        };
        self.at += 1;
        Ok(content)
    }

    fn bytes(&mut self) -> Parsed<Vec<u8>> {
        let digits = self.text_at(self.at).as_bytes().get(2..).unwrap_or_default();
        if digits.len() % 2 != 0 {
            let place = self.place_from(self.at);
            return self.fatal(place, "bytes must have an even number of hexadecimal digits");
        }
        let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
        let bytes = digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, b| byte << 4 | digit(b))).collect();
        self.at += 1;
        Ok(bytes)
    }

    /// Elements may follow each other without a comma, as in Go; after the first comma, each needs one.
    fn list(&mut self) -> Parsed<Vec<Value>> {
        self.at += 1;
        let mut values = Vec::new();
        while !matches!(self.peek(), None | Some(Kind::Comma | Kind::CloseBracket)) {
            values.push(self.value()?);
        }
        while self.take(Kind::Comma) {
            values.push(self.value()?);
        }
        self.expect(Kind::CloseBracket, "] or ,")?;
        Ok(values)
    }

    fn map(&mut self) -> Parsed<Vec<(String, Value)>> {
        self.at += 1;
        let mut entries = Vec::new();
        while self.peek() == Some(Kind::String) {
            let key = self.string()?;
            self.expect(Kind::Colon, ":")?;
            entries.push((key, self.value()?));
            self.take(Kind::Comma);
        }
        self.expect(Kind::CloseBrace, "} or a string as key")?;
        Ok(entries)
    }

    fn operand(&mut self) -> Parsed<Operand> {
        let at = self.at;
        match self.peek() {
            Some(Kind::Int) => self.int().map(Operand::Int),
            Some(Kind::Float) => {
                let number: f64 = self.text_at(at).parse().unwrap_or(f64::INFINITY);
                if number.is_infinite() {
                    return self.fatal(self.place_from(at), "the number is out of the range of a double");
                }
                self.at += 1;
                Ok(Operand::Float(number))
            }
            Some(Kind::Lowercase) => {
                let end = self.name_end(at);
                if self.kind_at(end) == Some(Kind::OpenParenthesis) {
                    let name = self.name(at..end);
                    self.at = end;
                    let message = format!("converter names must start with an uppercase letter but got '{name}'");
                    return self.fatal(self.place_from(at), message);
                }
                self.path().map(Operand::Path)
            }
            Some(Kind::Uppercase) => self.call().map(Operand::Converter),
            _ => Err(self.expected("a number, a path or a converter")),
        }
    }

    /// An integer; with a leading zero it is octal, as in Go.
    fn int(&mut self) -> Parsed<i64> {
        let digits = self.text_at(self.at);
        let parsed = match digits.strip_prefix('0') {
            Some("") => Ok(0),
            Some(octal) => i64::from_str_radix(octal, 8),
            None => digits.parse(),
        };
        let Ok(number) = parsed else {
            let why = if digits.starts_with('0') {
                "an integer with a leading zero is octal and has no digits above 7"
            } else {
                "the integer is above the largest, 9223372036854775807"
            };
            return self.fatal(self.place_from(self.at), why);
        };
        self.at += 1;
        Ok(number)
    }

    fn path(&mut self) -> Parsed<Path> {
        let start = self.at;
        let mut context = None;
        if self.kind_at(start + 1) == Some(Kind::Dot) {
            context = Some(self.text_at(start).to_owned());
            self.at += 2;
        }
        let mut fields = Vec::new();
        loop {
            let at = self.at;
            self.expect(Kind::Lowercase, "the name of a field")?;
            let (name, place) = (self.text_at(at).to_owned(), self.place_from(at));
            fields.push(PathField { name, place, keys: self.keys()? });
            if !self.take(Kind::Dot) {
                break;
            }
        }
        Ok(Path { context, fields, place: self.place_from(start) })
    }

    /// Keys in brackets. What is no key may be a list that follows, in a list without commas.
    fn keys(&mut self) -> Parsed<Vec<Key>> {
        let mut keys = Vec::new();
        while self.peek() == Some(Kind::OpenBracket) && !self.no_keys.contains(&self.at) {
            let start = self.at;
            match self.key() {
                Ok(key) => keys.push(key),
                Err(Failure::Token) => {
                    self.no_keys.insert(start);
                    self.at = start;
                }
                Err(fatal) => return Err(fatal),
            }
        }
        Ok(keys)
    }

    fn key(&mut self) -> Parsed<Key> {
        self.at += 1;
        let key = match self.peek() {
            Some(Kind::String) => Key::String(self.string()?),
            Some(Kind::Int) => Key::Int(self.int()?),
            _ => Key::Math(self.nested(|parser| parser.math(None))?),
        };
        self.expect(Kind::CloseBracket, "]")?;
        Ok(key)
    }

    /// Arithmetic, of which the first operand may have been read.
    fn math(&mut self, first: Option<Operand>) -> Parsed<Math> {
        let first = self.product(first)?;
        let mut rest = Vec::new();
        while let Some(operator) = self.operator(Kind::AddSub) {
            rest.push((operator, self.product(None)?));
        }
        Ok(Math { first, rest })
    }

    fn product(&mut self, first: Option<Operand>) -> Parsed<Product> {
        let first = match first {
            Some(operand) => Factor { is_negative: false, kind: FactorKind::Operand(operand) },
            None => self.factor()?,
        };
        let mut rest = Vec::new();
        while let Some(operator) = self.operator(Kind::MultDiv) {
            rest.push((operator, self.factor()?));
        }
        Ok(Product { first, rest })
    }

    fn operator(&mut self, kind: Kind) -> Option<MathOperator> {
        if self.peek() != Some(kind) {
            return None;
        }
        let operator = match self.text_at(self.at) {
            "+" => MathOperator::Add,
            "-" => MathOperator::Subtract,
            "*" => MathOperator::Multiply,
            _ => MathOperator::Divide,
        };
        self.at += 1;
        Some(operator)
    }

    fn factor(&mut self) -> Parsed<Factor> {
        let is_negative = self.operator(Kind::AddSub) == Some(MathOperator::Subtract);
        let kind = if self.peek() == Some(Kind::OpenParenthesis) {
            self.refuse_lambda()?;
            self.at += 1;
            let inner = self.nested(|parser| parser.math(None))?;
            self.expect(Kind::CloseParenthesis, ")")?;
            FactorKind::Parentheses(Box::new(inner))
        } else {
            FactorKind::Operand(self.operand()?)
        };
        Ok(Factor { is_negative, kind })
    }

    /// An error if `(a, b) =>` begins here.
    fn refuse_lambda(&self) -> Parsed<()> {
        let mut at = self.at + 1;
        while matches!(self.kind_at(at), Some(Kind::Lowercase | Kind::Underscore | Kind::Comma)) {
            at += 1;
        }
        if self.kind_at(at) == Some(Kind::CloseParenthesis) && self.kind_at(at + 1) == Some(Kind::Arrow) {
            let start = self.tokens.get(self.at).map_or(0, |token| token.place.start);
            let end = self.tokens.get(at + 1).map_or(start, |token| token.place.end);
            return self.fatal(start..end, LAMBDA);
        }
        Ok(())
    }

    fn boolean(&mut self) -> Parsed<Boolean> {
        let mut alternatives = Vec::new();
        loop {
            let mut conditions = vec![self.boolean_value()?];
            while self.take(Kind::And) {
                conditions.push(self.boolean_value()?);
            }
            alternatives.push(conditions);
            if !self.take(Kind::Or) {
                return Ok(Boolean { alternatives });
            }
        }
    }

    fn boolean_value(&mut self) -> Parsed<BooleanValue> {
        let is_negated = self.take(Kind::Not);
        let start = self.at;
        let kind = if self.peek() == Some(Kind::OpenParenthesis) {
            let comparison = if self.no_comparisons.contains(&start) { Err(Failure::Token) } else { self.comparison() };
            match comparison {
                Ok(comparison) => comparison,
                Err(Failure::Token) => {
                    self.no_comparisons.insert(start);
                    self.at = start + 1;
                    let inner = self.nested(Self::boolean)?;
                    self.expect(Kind::CloseParenthesis, ")")?;
                    BooleanKind::Parentheses(inner)
                }
                Err(fatal) => return Err(fatal),
            }
        } else {
            self.comparison()?
        };
        Ok(BooleanValue { is_negated, kind })
    }

    /// A comparison, a literal, or a converter.
    fn comparison(&mut self) -> Parsed<BooleanKind> {
        let left = self.value()?;
        if self.peek() == Some(Kind::Comparison) {
            let operator = match self.text_at(self.at) {
                "==" => Comparison::Equal,
                "!=" => Comparison::NotEqual,
                "<" => Comparison::Less,
                "<=" => Comparison::LessOrEqual,
                ">=" => Comparison::GreaterOrEqual,
                _ => Comparison::Greater,
            };
            self.at += 1;
            return Ok(BooleanKind::Comparison(Box::new((left, operator, self.value()?))));
        }
        match left.kind {
            ValueKind::Bool(literal) => Ok(BooleanKind::Literal(literal)),
            ValueKind::Operand(Operand::Converter(call)) => Ok(BooleanKind::Converter(call)),
            _ => Err(self.expected("a comparison such as ==")),
        }
    }
}
