//! Evaluates expressions over values.

use std::cmp::Ordering;

use crate::environment::{Environment, Steps};
use crate::functions;
use crate::parser::parse;
use crate::signatures;
use crate::syntax::{BinaryOperator, Node, NodeKind, UnaryOperator};
use crate::value::{Map, Value, View, key, not_a_string, to_double};

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Program {
    root: Node,
}

impl Program {
    /// Parses an expression of any type.
    ///
    /// # Errors
    /// What is wrong, or not supported, and at which character.
    pub fn parse(text: &str) -> Result<Self, String> {
        let root = parse(text)?;
        check(&root)?;
        Ok(Self { root })
    }

    /// Parses an expression whose value is a boolean.
    ///
    /// # Errors
    /// The same; also where its value is known to be something else.
    pub fn parse_condition(text: &str) -> Result<Self, String> {
        let program = Self::parse(text)?;
        let found = match &program.root.kind {
            NodeKind::Text(_) => "string",
            NodeKind::Int(_) => "int",
            NodeKind::Double(_) => "float64",
            NodeKind::Nil => "nil",
            NodeKind::Array(_) => "[]interface {}",
            NodeKind::Map(_) => "map[string]interface {}",
            NodeKind::Binary(operator, ..) if operator.is_arithmetic() => "a number or a string",
            _ => return Ok(program),
        };
        Err(format!("expected bool, but got {found} at character {}", program.root.at))
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// An operand that an operator or a function does not accept; too many steps.
    pub fn run(&self, environment: &dyn Environment) -> Result<Value, String> {
        let mut evaluation = Evaluation { environment, steps: Steps::default() };
        evaluation.node(&self.root, None).map(Operand::into_value)
    }

    /// Evaluates it as a condition; nil is false.
    ///
    /// # Errors
    /// As for [`Program::run`]; also where the value is no boolean.
    pub fn holds(&self, environment: &dyn Environment) -> Result<bool, String> {
        let mut evaluation = Evaluation { environment, steps: Steps::default() };
        match evaluation.node(&self.root, None)?.view() {
            View::Nil => Ok(false),
            View::Bool(v) => Ok(v),
            other => Err(format!("invalid operation: bool({})", other.go_type())),
        }
    }

    /// The names in the calls of `env`.
    #[must_use]
    pub fn env_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        visit(&self.root, &mut |node| {
            if let NodeKind::Call(name, arguments) = &node.kind
                && name == "env"
                && let Some(Node { kind: NodeKind::Text(name), .. }) = arguments.first()
            {
                names.push(String::from_utf8_lossy(name).into_owned());
            }
        });
        names
    }
}

/// Calls `found` with each node. The depth of a tree is limited by the parser.
fn visit(node: &Node, found: &mut dyn FnMut(&Node)) {
    found(node);
    match &node.kind {
        NodeKind::Member { base, key, .. } => [base, key].into_iter().for_each(|node| visit(node, found)),
        NodeKind::Slice { base, from, to } => {
            visit(base, found);
            [from, to].into_iter().flatten().for_each(|node| visit(node, found));
        }
        NodeKind::Call(_, nodes) | NodeKind::Array(nodes) => nodes.iter().for_each(|node| visit(node, found)),
        NodeKind::Unary(_, operand) | NodeKind::Matches(operand, _) => visit(operand, found),
        NodeKind::Binary(_, a, b) => [a, b].into_iter().for_each(|node| visit(node, found)),
        NodeKind::Conditional(a, b, c) => [a, b, c].into_iter().for_each(|node| visit(node, found)),
        NodeKind::Map(entries) => entries.iter().for_each(|(key, value)| {
            visit(key, found);
            visit(value, found);
        }),
        NodeKind::Nil
        | NodeKind::Bool(_)
        | NodeKind::Int(_)
        | NodeKind::Double(_)
        | NodeKind::Text(_)
        | NodeKind::Name(_)
        | NodeKind::Element => {}
    }
}

/// The type of a literal, for errors that are found before any evaluation.
fn literal_type(node: &Node) -> Option<&'static str> {
    match node.kind {
        NodeKind::Nil => Some("nil"),
        NodeKind::Bool(_) => Some("bool"),
        NodeKind::Int(_) => Some("int"),
        NodeKind::Double(_) => Some("float64"),
        NodeKind::Text(_) => Some("string"),
        _ => None,
    }
}

/// Finds operators whose literals never have the right types.
fn check(root: &Node) -> Result<(), String> {
    let mut failed = Ok(());
    visit(root, &mut |node| {
        let NodeKind::Binary(operator, a, b) = &node.kind else { return };
        let needs_numbers = matches!(
            operator,
            BinaryOperator::Subtract | BinaryOperator::Multiply | BinaryOperator::Divide | BinaryOperator::Remainder
        );
        let is_wrong = match (literal_type(a), literal_type(b)) {
            (Some(a), Some(b)) => a != b && [a, b].contains(&"string") && *operator != BinaryOperator::In,
            (Some(one), None) | (None, Some(one)) => needs_numbers && matches!(one, "string" | "bool"),
            (None, None) => false,
        };
        if is_wrong && failed.is_ok() {
            let shown = |node| literal_type(node).unwrap_or("unknown");
            failed = Err(format!(
                "invalid operation: {} (mismatched types {} and {}) at character {}",
                operator.symbol(),
                shown(a),
                shown(b),
                node.at
            ));
        }
    });
    failed
}

/// A value during an evaluation, borrowed where it can be.
#[derive(Debug)]
enum Operand<'e> {
    Borrowed(View<'e>),
    Owned(Value),
}

impl<'e> Operand<'e> {
    fn view(&self) -> View<'_> {
        match self {
            Self::Borrowed(view) => *view,
            Self::Owned(value) => value.view(),
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Borrowed(view) => view.to_value(),
            Self::Owned(value) => value,
        }
    }
}

fn bool_operand<'e>(v: bool) -> Operand<'e> {
    Operand::Borrowed(View::Bool(v))
}

struct Evaluation<'e> {
    environment: &'e dyn Environment,
    steps: Steps,
}

impl<'e> Evaluation<'e> {
    /// The value of a predicate for one element of a list. It borrows nothing of the element.
    fn of_element(&mut self, predicate: &Node, element: &Value) -> Result<Value, String> {
        let mut inner = Evaluation { environment: self.environment, steps: std::mem::take(&mut self.steps) };
        let result = inner.node(predicate, Some(element)).map(Operand::into_value);
        self.steps = inner.steps;
        result
    }

    fn node(&mut self, node: &'e Node, element: Option<&'e Value>) -> Result<Operand<'e>, String> {
        self.steps.spend(1)?;
        Ok(Operand::Borrowed(match &node.kind {
            NodeKind::Nil => View::Nil,
            NodeKind::Bool(v) => View::Bool(*v),
            NodeKind::Int(v) => View::Int(*v),
            NodeKind::Double(v) => View::Double(*v),
            NodeKind::Text(text) => View::String(text),
            NodeKind::Name(name) => self.environment.variable(name).unwrap_or(View::Nil),
            NodeKind::Element => element.map_or(View::Nil, Value::view),
            NodeKind::Member { base, key, is_optional } => {
                let base = self.node(base, element)?;
                if *is_optional && matches!(base.view(), View::Nil) {
                    return Ok(base);
                }
                let key = self.node(key, element)?;
                return member(base, key.view());
            }
            NodeKind::Slice { base, from, to } => {
                let base = self.node(base, element)?;
                let mut bound = |bound: &'e Option<Box<Node>>| match bound {
                    Some(bound) => Ok::<_, String>(Some(self.node(bound, element)?.into_value())),
                    None => Ok(None),
                };
                let (from, to) = (bound(from)?, bound(to)?);
                return slice(base.view(), from.as_ref(), to.as_ref()).map(Operand::Owned);
            }
            NodeKind::Call(name, arguments) => return self.call(name, arguments, element).map(Operand::Owned),
            NodeKind::Unary(operator, operand) => {
                let operand = self.node(operand, element)?;
                return unary(*operator, operand.view()).map(Operand::Owned);
            }
            NodeKind::Binary(operator, a, b) => return self.binary(*operator, a, b, element),
            NodeKind::Matches(text, pattern) => {
                let text = self.node(text, element)?;
                View::Bool(match text.view() {
                    View::Nil => false,
                    View::String(text) | View::Bytes(text) => pattern.is_match(text),
                    other => return Err(not_a_string(other)),
                })
            }
            NodeKind::Conditional(condition, yes, no) => {
                let condition = self.node(condition, element)?;
                let chosen = if boolean(condition.view())? { yes } else { no };
                return self.node(chosen, element);
            }
            NodeKind::Array(items) => {
                let items = items.iter().map(|item| Ok(self.node(item, element)?.into_value()));
                return Ok(Operand::Owned(Value::Array(items.collect::<Result<_, String>>()?)));
            }
            NodeKind::Map(entries) => {
                let mut map = Map::new();
                for (name, value) in entries {
                    let name = self.node(name, element)?;
                    let View::String(name) = name.view() else { return Err(not_a_string(name.view())) };
                    let name = key(name);
                    map.insert(name, self.node(value, element)?.into_value());
                }
                return Ok(Operand::Owned(Value::Map(map)));
            }
        }))
    }

    fn call(&mut self, name: &str, arguments: &'e [Node], element: Option<&'e Value>) -> Result<Value, String> {
        if signatures::takes_predicate(name) {
            return self.predicate(name, arguments, element);
        }
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(self.node(argument, element)?);
        }
        let views: Vec<View<'_>> = values.iter().map(Operand::view).collect();
        functions::call(&mut self.steps, self.environment, name, &views)
    }

    fn predicate(&mut self, name: &str, arguments: &'e [Node], element: Option<&'e Value>) -> Result<Value, String> {
        let (Some(list), condition) = (arguments.first(), arguments.get(1)) else { return Ok(Value::Nil) };
        let list = self.node(list, element)?;
        let view = list.view();
        let View::Array(items) = view else {
            return Err(format!("builtin {name} takes only array (got {})", view.go_type()));
        };
        let mut kept = Vec::new();
        let mut matching = 0;
        for item in items {
            let result = match condition {
                Some(condition) => self.of_element(condition, item)?,
                None => item.clone(),
            };
            if name == "map" {
                kept.push(result);
                continue;
            }
            let Value::Bool(is_match) = result else {
                return Err(format!("interface conversion: interface {{}} is {}, not bool", result.go_type()));
            };
            matching += usize::from(is_match);
            match name {
                "all" if !is_match => return Ok(Value::Bool(false)),
                "any" if is_match => return Ok(Value::Bool(true)),
                "none" if is_match => return Ok(Value::Bool(false)),
                "find" if is_match => return Ok(item.clone()),
                "filter" if is_match => kept.push(item.clone()),
                _ => {}
            }
        }
        Ok(match name {
            "all" | "none" => Value::Bool(true),
            "any" => Value::Bool(false),
            "one" => Value::Bool(matching == 1),
            "count" => Value::Int(i64::try_from(matching).unwrap_or(i64::MAX)),
            "filter" | "map" => Value::Array(kept),
            _ => Value::Nil,
        })
    }

    fn binary(
        &mut self,
        operator: BinaryOperator,
        a: &'e Node,
        b: &'e Node,
        element: Option<&'e Value>,
    ) -> Result<Operand<'e>, String> {
        use BinaryOperator as B;
        let a = self.node(a, element)?;
        match operator {
            B::Or if boolean(a.view())? => return Ok(bool_operand(true)),
            B::And if !boolean(a.view())? => return Ok(bool_operand(false)),
            B::Coalesce if !matches!(a.view(), View::Nil) => return Ok(a),
            _ => {}
        }
        let b = self.node(b, element)?;
        if operator == B::Coalesce {
            return Ok(b);
        }
        let (a, b) = (a.view(), b.view());
        Ok(bool_operand(match operator {
            B::Or | B::And => boolean(b)?,
            B::Equal | B::NotEqual => {
                self.steps.spend(size_of_view(a).min(size_of_view(b)))?;
                a.equals(b) == (operator == B::Equal)
            }
            B::Less => order(operator, a, b)?.is_some_and(Ordering::is_lt),
            B::LessOrEqual => order(operator, a, b)?.is_some_and(Ordering::is_le),
            B::Greater => order(operator, a, b)?.is_some_and(Ordering::is_gt),
            B::GreaterOrEqual => order(operator, a, b)?.is_some_and(Ordering::is_ge),
            B::In => is_in(&mut self.steps, a, b)?,
            B::Contains | B::StartsWith | B::EndsWith => text_operator(operator, a, b)?,
            _ => return arithmetic(&mut self.steps, operator, a, b).map(Operand::Owned),
        }))
    }
}

impl BinaryOperator {
    fn is_arithmetic(self) -> bool {
        matches!(self, Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Remainder | Self::Power)
    }
}

fn size_of_view(view: View<'_>) -> usize {
    match view {
        View::Array(list) => list.len(),
        View::Map(map) => map.len(),
        _ => 1,
    }
}

fn boolean(v: View<'_>) -> Result<bool, String> {
    match v {
        View::Bool(v) => Ok(v),
        View::Nil => Err("interface conversion: interface {} is nil, not bool".to_owned()),
        other => Err(format!("interface conversion: interface {{}} is {}, not bool", other.go_type())),
    }
}

fn shown(v: View<'_>) -> String {
    let mut out = Vec::new();
    v.print(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn member<'e>(base: Operand<'e>, key: View<'_>) -> Result<Operand<'e>, String> {
    let failed = |base: View<'_>| Err(format!("cannot fetch {} from {}", shown(key), base.go_type()));
    match base {
        Operand::Borrowed(View::Map(map)) => {
            let View::String(key) = key else { return failed(View::Map(map)) };
            Ok(Operand::Borrowed(map.get(key).map_or(View::Nil, Value::view)))
        }
        Operand::Borrowed(View::Array(list)) => {
            let at = position(key, list.len())?;
            Ok(Operand::Borrowed(list.get(at).map_or(View::Nil, Value::view)))
        }
        Operand::Owned(Value::Map(mut map)) => {
            let View::String(key) = key else { return failed(View::Map(&map)) };
            Ok(Operand::Owned(map.remove(key).unwrap_or_default()))
        }
        Operand::Owned(Value::Array(mut list)) => {
            let at = position(key, list.len())?;
            Ok(Operand::Owned(list.get_mut(at).map(std::mem::take).unwrap_or_default()))
        }
        base => match (base.view(), key) {
            (View::String(text) | View::Bytes(text), View::Int(_)) => {
                let at = position(key, text.len())?;
                Ok(Operand::Owned(Value::Int(text.get(at).copied().map_or(0, i64::from))))
            }
            (base, _) => failed(base),
        },
    }
}

/// The index of an element; a negative one counts from the end.
fn position(key: View<'_>, length: usize) -> Result<usize, String> {
    let View::Int(at) = key else { return Err(format!("invalid operation: int({})", key.go_type())) };
    let signed_length = i64::try_from(length).unwrap_or(i64::MAX);
    let from_start = if at < 0 { at + signed_length } else { at };
    usize::try_from(from_start)
        .ok()
        .filter(|at| *at < length)
        .ok_or_else(|| format!("index out of range: {at} (array length is {length})"))
}

fn slice(base: View<'_>, from: Option<&Value>, to: Option<&Value>) -> Result<Value, String> {
    let length = match base {
        View::String(text) => text.len(),
        View::Array(list) => list.len(),
        other => return Err(format!("cannot slice {}", shown(other))),
    };
    let signed_length = i64::try_from(length).unwrap_or(i64::MAX);
    let bound = |bound: Option<&Value>, default: i64| match bound {
        None => Ok(default),
        Some(Value::Int(at)) => Ok((if *at < 0 { at + signed_length } else { *at }).clamp(0, signed_length)),
        Some(other) => Err(format!("invalid operation: int({})", other.go_type())),
    };
    let (from, to) = (bound(from, 0)?, bound(to, signed_length)?);
    let range = usize::try_from(from.min(to)).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
    Ok(match base {
        View::String(text) => Value::String(text.get(range).unwrap_or_default().to_vec()),
        View::Array(list) => Value::Array(list.get(range).unwrap_or_default().to_vec()),
        _ => Value::Nil,
    })
}

fn unary(operator: UnaryOperator, v: View<'_>) -> Result<Value, String> {
    Ok(match (operator, v) {
        (UnaryOperator::Not, v) => Value::Bool(!boolean(v)?),
        (UnaryOperator::Negate, View::Int(v)) => Value::Int(v.wrapping_neg()),
        (UnaryOperator::Negate, View::Double(v)) => Value::Double(-v),
        (UnaryOperator::Plus, View::Int(_) | View::Double(_)) => v.to_value(),
        (UnaryOperator::Negate, v) => return Err(format!("invalid operation: - {}", v.go_type())),
        (UnaryOperator::Plus, v) => return Err(format!("invalid operation: + {}", v.go_type())),
    })
}

/// The order of two values; `None` with a number that is none.
fn order(operator: BinaryOperator, a: View<'_>, b: View<'_>) -> Result<Option<Ordering>, String> {
    Ok(match (a, b) {
        (View::Int(a), View::Int(b)) => Some(a.cmp(&b)),
        (View::Int(a), View::Double(b)) => to_double(a).partial_cmp(&b),
        (View::Double(a), View::Int(b)) => a.partial_cmp(&to_double(b)),
        (View::Double(a), View::Double(b)) => a.partial_cmp(&b),
        (View::String(a), View::String(b)) => Some(a.cmp(b)),
        (View::Time(a), View::Time(b)) => Some(a.instant().cmp(&b.instant())),
        (a, b) => return Err(mismatch(operator, a, b)),
    })
}

fn mismatch(operator: BinaryOperator, a: View<'_>, b: View<'_>) -> String {
    format!("invalid operation: {} {} {}", a.go_type(), operator.symbol(), b.go_type())
}

fn is_in(steps: &mut Steps, needle: View<'_>, haystack: View<'_>) -> Result<bool, String> {
    match haystack {
        View::Nil => Ok(false),
        View::Array(list) => {
            steps.spend(list.len())?;
            Ok(list.iter().any(|value| value.view().equals(needle)))
        }
        View::Map(map) => match needle {
            View::String(key) => Ok(map.contains_key(key)),
            View::Nil => Ok(false),
            other => Err(format!("cannot use {} as a key", other.go_type())),
        },
        other => Err(format!("operator \"in\" not defined on {}", other.go_type())),
    }
}

fn text_operator(operator: BinaryOperator, a: View<'_>, b: View<'_>) -> Result<bool, String> {
    let (a, b) = match (a, b) {
        (View::Nil, _) | (_, View::Nil) => return Ok(false),
        (View::String(a), View::String(b)) => (a, b),
        (View::String(_), other) | (other, _) => return Err(not_a_string(other)),
    };
    Ok(match operator {
        BinaryOperator::StartsWith => a.starts_with(b),
        BinaryOperator::EndsWith => a.ends_with(b),
        _ => functions::find(a, b).is_some(),
    })
}

fn arithmetic(steps: &mut Steps, operator: BinaryOperator, a: View<'_>, b: View<'_>) -> Result<Value, String> {
    use BinaryOperator as B;
    if let (View::Int(a), View::Int(b)) = (a, b) {
        match operator {
            B::Add => return Ok(Value::Int(a.wrapping_add(b))),
            B::Subtract => return Ok(Value::Int(a.wrapping_sub(b))),
            B::Multiply => return Ok(Value::Int(a.wrapping_mul(b))),
            B::Remainder if b == 0 => return Err("integer divide by zero".to_owned()),
            B::Remainder => return Ok(Value::Int(a.wrapping_rem(b))),
            B::Range => {
                let count = usize::try_from(b.saturating_sub(a).saturating_add(1)).unwrap_or(0);
                steps.spend(count)?;
                return Ok(Value::Array((a..=b).map(Value::Int).collect()));
            }
            _ => {}
        }
    }
    if let (View::String(a), View::String(b), B::Add) = (a, b, operator) {
        steps.spend((a.len() + b.len()) / 16)?;
        return Ok(Value::String([a, b].concat()));
    }
    let number = |v| match v {
        View::Int(v) => Some(to_double(v)),
        View::Double(v) => Some(v),
        _ => None,
    };
    let (Some(x), Some(y)) = (number(a), number(b)) else { return Err(mismatch(operator, a, b)) };
    Ok(Value::Double(match operator {
        B::Add => x + y,
        B::Subtract => x - y,
        B::Multiply => x * y,
        B::Divide => x / y,
        B::Power => x.powf(y),
        _ => return Err(mismatch(operator, a, b)),
    }))
}
