//! XPath 1.0 on documents of XML.
//!
//! A path is compiled when the configuration is read. Its work on a document is counted: a path that looks at nodes again
//! and again ends with an error.

mod parser;

use std::cell::Cell;

use self::parser::{Axis, Expression, Function, Operation, Start, Step, Test};
use super::case::{to_lower, to_upper, trim_space};
use super::xml_tree::{NodeId, NodeKind, ROOT, Tree};
use crate::evaluate::Comparison;

/// A compiled path.
pub(super) struct XPath {
    expression: Expression,
}

/// A node that a path has selected.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) node: NodeId,
    /// The position of an attribute of the node, if that is what was selected.
    pub(super) attribute: Option<usize>,
    /// The name, or the content.
    pub(super) data: String,
    /// The text inside.
    pub(super) text: String,
}

/// A node or one of its attributes, in the order of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    node: NodeId,
    /// One more than the position of the attribute; 0 for the node itself.
    attribute: usize,
}

impl Item {
    fn node(node: NodeId) -> Self {
        Self { node, attribute: 0 }
    }
}

/// The result of an expression.
enum Value {
    Nodes(Vec<Item>),
    Number(f64),
    Text(String),
    Boolean(bool),
}

/// Nodes that a path may look at, besides a multiple of those of the document.
const MIN_STEPS: usize = 100_000;

/// How often a path may look at each node of the document.
const STEPS_PER_NODE: usize = 64;

impl XPath {
    /// Compiles a path.
    ///
    /// # Errors
    /// It is not valid, or names a function that is not known.
    pub(super) fn compile(path: &str) -> Result<Self, String> {
        Ok(Self { expression: parser::parse(path)? })
    }

    /// The nodes that it selects, in the order of the document.
    ///
    /// # Errors
    /// It takes too much work.
    pub(super) fn select(&self, tree: &Tree) -> Result<Vec<Found>, String> {
        let steps_left = Cell::new(MIN_STEPS + STEPS_PER_NODE * tree.len());
        let evaluation = Evaluation { tree, steps_left };
        let at = Position { item: Item::node(ROOT), position: 1, size: 1 };
        let Value::Nodes(items) = evaluation.value(&self.expression, at)? else {
            // As in Go, a number or a text selects nothing.
            return Ok(Vec::new());
        };
        let found = |item: Item| -> Result<Found, String> {
            let text = evaluation.text_of(item)?;
            let data = match evaluation.attribute(item) {
                Some(attribute) => attribute.local.clone(),
                None => tree.node(item.node).data.clone(),
            };
            Ok(Found { node: item.node, attribute: item.attribute.checked_sub(1), data, text })
        };
        // The text inside is needed of attributes and sections only.
        items
            .into_iter()
            .map(|item| {
                let kind = tree.node(item.node).kind;
                if item.attribute > 0 || kind == NodeKind::CData {
                    return found(item);
                }
                let data = tree.node(item.node).data.clone();
                Ok(Found { node: item.node, attribute: None, data, text: String::new() })
            })
            .collect()
    }
}

/// Where an expression is evaluated.
#[derive(Clone, Copy)]
struct Position {
    item: Item,
    position: usize,
    size: usize,
}

struct Evaluation<'t> {
    tree: &'t Tree,
    steps_left: Cell<usize>,
}

impl Evaluation<'_> {
    fn spend(&self, steps: usize) -> Result<(), String> {
        match self.steps_left.get().checked_sub(steps) {
            Some(left) => {
                self.steps_left.set(left);
                Ok(())
            }
            None => Err("the XPath takes too many steps on this document".to_owned()),
        }
    }

    fn attribute(&self, item: Item) -> Option<&super::xml_tree::NodeAttribute> {
        self.tree.node(item.node).attributes.get(item.attribute.checked_sub(1)?)
    }

    fn text_of(&self, item: Item) -> Result<String, String> {
        if let Some(attribute) = self.attribute(item) {
            self.spend(1 + attribute.value.len() / 64)?;
            return Ok(attribute.value.clone());
        }
        let node = self.tree.node(item.node);
        let (text, visited) = match node.kind {
            NodeKind::Comment | NodeKind::Directive | NodeKind::Instruction => (node.data.clone(), 1),
            _ => self.tree.inner_text(item.node),
        };
        self.spend(visited + text.len() / 64)?;
        Ok(text)
    }

    fn value(&self, expression: &Expression, at: Position) -> Result<Value, String> {
        self.spend(1)?;
        Ok(match expression {
            Expression::Literal(text) => Value::Text(text.clone()),
            Expression::Number(number) => Value::Number(*number),
            Expression::Negate(operand) => Value::Number(-self.number(operand, at)?),
            Expression::Or(left, right) => Value::Boolean(self.boolean(left, at)? || self.boolean(right, at)?),
            Expression::And(left, right) => Value::Boolean(self.boolean(left, at)? && self.boolean(right, at)?),
            Expression::Calculate(operation, left, right) => {
                let (left, right) = (self.number(left, at)?, self.number(right, at)?);
                Value::Number(match operation {
                    Operation::Add => left + right,
                    Operation::Subtract => left - right,
                    Operation::Multiply => left * right,
                    Operation::Divide => left / right,
                    Operation::Modulo => left % right,
                })
            }
            Expression::Compare(comparison, left, right) => {
                let (left, right) = (self.value(left, at)?, self.value(right, at)?);
                Value::Boolean(self.compare(*comparison, &left, &right)?)
            }
            Expression::Union(left, right) => {
                let mut items = self.nodes(left, at)?;
                items.extend(self.nodes(right, at)?);
                Value::Nodes(sorted(items))
            }
            Expression::Call(function, arguments) => self.call(*function, arguments, at)?,
            Expression::Path(start, steps) => {
                let mut items = match start {
                    Start::Root => vec![Item::node(ROOT)],
                    Start::Current => vec![at.item],
                    Start::Nodes(expression, predicates) => {
                        let mut items = self.nodes(expression, at)?;
                        for predicate in predicates {
                            items = self.filter(items, predicate)?;
                        }
                        items
                    }
                };
                for step in steps {
                    items = self.step(&items, step)?;
                }
                Value::Nodes(items)
            }
        })
    }

    fn nodes(&self, expression: &Expression, at: Position) -> Result<Vec<Item>, String> {
        match self.value(expression, at)? {
            Value::Nodes(items) => Ok(items),
            _ => Err("expression is not a node-set".to_owned()),
        }
    }

    fn boolean(&self, expression: &Expression, at: Position) -> Result<bool, String> {
        Ok(to_boolean(&self.value(expression, at)?))
    }

    fn number(&self, expression: &Expression, at: Position) -> Result<f64, String> {
        let value = self.value(expression, at)?;
        self.to_number(&value)
    }

    fn text(&self, expression: &Expression, at: Position) -> Result<String, String> {
        let value = self.value(expression, at)?;
        self.to_text(&value)
    }

    fn to_number(&self, value: &Value) -> Result<f64, String> {
        Ok(match value {
            Value::Number(number) => *number,
            Value::Boolean(value) => f64::from(u8::from(*value)),
            Value::Text(text) => number_of(text),
            Value::Nodes(_) => number_of(&self.to_text(value)?),
        })
    }

    fn to_text(&self, value: &Value) -> Result<String, String> {
        Ok(match value {
            Value::Text(text) => text.clone(),
            Value::Boolean(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Nodes(items) => match items.first() {
                Some(item) => self.text_of(*item)?,
                None => String::new(),
            },
        })
    }

    /// The items for which a condition holds.
    fn filter(&self, items: Vec<Item>, predicate: &Expression) -> Result<Vec<Item>, String> {
        let size = items.len();
        let mut kept = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let at = Position { item, position: index + 1, size };
            #[expect(clippy::cast_precision_loss, reason = "positions are compared with numbers")]
            let holds = match self.value(predicate, at)? {
                Value::Number(number) => number == at.position as f64,
                value => to_boolean(&value),
            };
            if holds {
                kept.push(item);
            }
        }
        Ok(kept)
    }

    fn step(&self, from: &[Item], step: &Step) -> Result<Vec<Item>, String> {
        let mut all = Vec::new();
        // Below nodes of which one is inside the other, what is inside is looked at once.
        let may_skip = from.len() > 1
            && step.predicates.is_empty()
            && matches!(step.axis, Axis::Descendant | Axis::DescendantOrSelf);
        let mut seen = Vec::new();
        if may_skip {
            self.spend(self.tree.len() / 64)?;
            seen.resize(self.tree.len(), false);
        }
        for item in from {
            let mut items = self.axis(*item, step.axis, &mut seen)?;
            items.retain(|item| self.passes(*item, step));
            for predicate in &step.predicates {
                items = self.filter(items, predicate)?;
            }
            all.extend(items);
        }
        Ok(sorted(all))
    }

    /// The items of an axis, those that are nearest first.
    fn axis(&self, item: Item, axis: Axis, seen: &mut [bool]) -> Result<Vec<Item>, String> {
        let node = self.tree.node(item.node);
        let is_node = item.attribute == 0;
        let mut items = Vec::new();
        match axis {
            Axis::Itself => items.push(item),
            Axis::Attribute if is_node && node.kind == NodeKind::Element => {
                items.extend((1..=node.attributes.len()).map(|attribute| Item { node: item.node, attribute }));
            }
            Axis::Child if is_node => items.extend(node.children.iter().map(|child| Item::node(*child))),
            Axis::Descendant | Axis::DescendantOrSelf => {
                if axis == Axis::DescendantOrSelf {
                    items.push(item);
                }
                if is_node {
                    self.put_descendants(item.node, seen, &mut items);
                }
            }
            Axis::Parent | Axis::Ancestor | Axis::AncestorOrSelf => {
                if axis == Axis::AncestorOrSelf {
                    items.push(item);
                }
                let mut parent = if is_node { node.parent } else { Some(item.node) };
                while let Some(id) = parent {
                    items.push(Item::node(id));
                    parent = if axis == Axis::Parent { None } else { self.tree.node(id).parent };
                }
            }
            Axis::FollowingSibling | Axis::PrecedingSibling if is_node => {
                let siblings = node.parent.map(|parent| self.tree.children(parent)).unwrap_or_default();
                self.spend(siblings.len())?;
                let position = siblings.iter().position(|sibling| *sibling == item.node).unwrap_or(0);
                if axis == Axis::FollowingSibling {
                    items.extend(siblings.iter().skip(position + 1).map(|sibling| Item::node(*sibling)));
                } else {
                    items.extend(siblings.iter().take(position).rev().map(|sibling| Item::node(*sibling)));
                }
            }
            Axis::Following | Axis::Preceding => {
                // All nodes behind what is inside the node, or in front of it without those above it.
                self.spend(self.tree.len())?;
                let mut all = Vec::new();
                self.put_descendants(ROOT, &mut [], &mut all);
                let mut inside = Vec::new();
                self.put_descendants(item.node, &mut [], &mut inside);
                let last = inside.last().map_or(item.node, |last| last.node);
                let mut above = vec![false; self.tree.len()];
                let mut parent = node.parent;
                while let Some(id) = parent {
                    if let Some(is_above) = above.get_mut(id) {
                        *is_above = true;
                    }
                    parent = self.tree.node(id).parent;
                }
                if axis == Axis::Following {
                    items.extend(all.into_iter().filter(|found| found.node > last));
                } else {
                    let is_above = |found: &Item| above.get(found.node).copied().unwrap_or(false);
                    items.extend(all.into_iter().rev().filter(|found| found.node < item.node && !is_above(found)));
                }
            }
            _ => {}
        }
        self.spend(1 + items.len())?;
        Ok(items)
    }

    fn put_descendants(&self, id: NodeId, seen: &mut [bool], items: &mut Vec<Item>) {
        let mut pending: Vec<NodeId> = self.tree.children(id).iter().rev().copied().collect();
        while let Some(id) = pending.pop() {
            if let Some(is_seen) = seen.get_mut(id) {
                if *is_seen {
                    continue;
                }
                *is_seen = true;
            }
            items.push(Item::node(id));
            pending.extend(self.tree.children(id).iter().rev());
        }
    }

    fn passes(&self, item: Item, step: &Step) -> bool {
        let node = self.tree.node(item.node);
        let attribute = self.attribute(item);
        let (prefix, local) = match attribute {
            Some(attribute) => (&attribute.space, &attribute.local),
            None => (&node.prefix, &node.data),
        };
        let is_principal = attribute.is_some() || step.axis != Axis::Attribute && node.kind == NodeKind::Element;
        match &step.test {
            Test::Node => true,
            Test::Any => is_principal,
            Test::Prefix(wanted) => is_principal && prefix == wanted,
            Test::Name { prefix: wanted, local: name } => is_principal && prefix == wanted && local == name,
            Test::Text => {
                attribute.is_none() && matches!(node.kind, NodeKind::Text | NodeKind::CData | NodeKind::Directive)
            }
            Test::Comment => attribute.is_none() && node.kind == NodeKind::Comment,
            Test::Instruction => attribute.is_none() && node.kind == NodeKind::Instruction,
        }
    }

    fn compare(&self, comparison: Comparison, left: &Value, right: &Value) -> Result<bool, String> {
        match (left, right) {
            (Value::Nodes(left), Value::Nodes(right)) => {
                for a in left {
                    let a = self.text_of(*a)?;
                    for b in right {
                        if compare_texts(comparison, &a, &self.text_of(*b)?) {
                            return Ok(true);
                        }
                    }
                }
                Ok(false)
            }
            (Value::Nodes(items), other) | (other, Value::Nodes(items)) => {
                let is_left = matches!(left, Value::Nodes(_));
                if let Value::Boolean(value) = other {
                    let both = (f64::from(u8::from(!items.is_empty())), f64::from(u8::from(*value)));
                    return Ok(if is_left { comparison.of(both.0, both.1) } else { comparison.of(both.1, both.0) });
                }
                for item in items {
                    let text = self.text_of(*item)?;
                    let holds = match other {
                        Value::Number(number) if is_left => comparison.of(number_of(&text), *number),
                        Value::Number(number) => comparison.of(*number, number_of(&text)),
                        Value::Text(other) if is_left => compare_texts(comparison, &text, other),
                        Value::Text(other) => compare_texts(comparison, other, &text),
                        _ => false,
                    };
                    if holds {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Value::Text(a), Value::Text(b)) => Ok(compare_texts(comparison, a, b)),
            (Value::Boolean(_), _) | (_, Value::Boolean(_)) => {
                let number = |value| f64::from(u8::from(to_boolean(value)));
                Ok(comparison.of(number(left), number(right)))
            }
            _ => Ok(comparison.of(self.to_number(left)?, self.to_number(right)?)),
        }
    }

    fn call(&self, function: Function, arguments: &[Expression], at: Position) -> Result<Value, String> {
        let argument = |index: usize| arguments.get(index).ok_or_else(|| "an argument is missing".to_owned());
        let text = |index: usize| match arguments.get(index) {
            Some(argument) => self.text(argument, at),
            None => self.text_of(at.item),
        };
        #[expect(clippy::cast_precision_loss, reason = "numbers of XPath are doubles")]
        let count = |count: usize| Value::Number(count as f64);
        Ok(match function {
            Function::True => Value::Boolean(true),
            Function::False => Value::Boolean(false),
            Function::Not => Value::Boolean(!self.boolean(argument(0)?, at)?),
            Function::Boolean => Value::Boolean(self.boolean(argument(0)?, at)?),
            Function::Position => count(at.position),
            Function::Last => count(at.size),
            Function::Count => count(self.nodes(argument(0)?, at)?.len()),
            Function::Sum => {
                let mut sum = 0.0;
                for item in self.nodes(argument(0)?, at)? {
                    sum += number_of(&self.text_of(item)?);
                }
                Value::Number(sum)
            }
            Function::Number => Value::Number(match arguments.first() {
                Some(argument) => self.number(argument, at)?,
                None => number_of(&text(0)?),
            }),
            Function::Ceiling => Value::Number(self.number(argument(0)?, at)?.ceil()),
            Function::Floor => Value::Number(self.number(argument(0)?, at)?.floor()),
            Function::Round => Value::Number((self.number(argument(0)?, at)? + 0.5).floor()),
            Function::Name | Function::LocalName => {
                let item = match arguments.first() {
                    Some(argument) => self.nodes(argument, at)?.first().copied(),
                    None => Some(at.item),
                };
                Value::Text(item.map_or_else(String::new, |item| self.name_of(item, function == Function::Name)))
            }
            Function::String => Value::Text(text(0)?),
            Function::StringLength => count(text(0)?.chars().count()),
            Function::NormalizeSpace => Value::Text(text(0)?.split_whitespace().collect::<Vec<_>>().join(" ")),
            Function::LowerCase => Value::Text(String::from_utf8_lossy(&to_lower(text(0)?.as_bytes())).into_owned()),
            Function::UpperCase => Value::Text(String::from_utf8_lossy(&to_upper(text(0)?.as_bytes())).into_owned()),
            Function::Concat => {
                let mut all = String::new();
                for argument in arguments {
                    all.push_str(&self.text(argument, at)?);
                }
                Value::Text(all)
            }
            Function::Contains => Value::Boolean(text(0)?.contains(&text(1)?)),
            Function::StartsWith => Value::Boolean(text(0)?.starts_with(&text(1)?)),
            Function::EndsWith => Value::Boolean(text(0)?.ends_with(&text(1)?)),
            Function::SubstringBefore => {
                let (whole, part) = (text(0)?, text(1)?);
                Value::Text(whole.split_once(&part).map_or("", |(before, _)| before).to_owned())
            }
            Function::SubstringAfter => {
                let (whole, part) = (text(0)?, text(1)?);
                Value::Text(whole.split_once(&part).map_or("", |(_, after)| after).to_owned())
            }
            Function::Substring => {
                let start = (self.number(argument(1)?, at)? + 0.5).floor();
                let end = match arguments.get(2) {
                    Some(length) => start + (self.number(length, at)? + 0.5).floor(),
                    None => f64::INFINITY,
                };
                let position = |index: usize| match count(index + 1) {
                    Value::Number(position) => position,
                    _ => 0.0,
                };
                let whole = text(0)?;
                let chars = whole.chars().enumerate().filter(|(index, _)| (start..end).contains(&position(*index)));
                Value::Text(chars.map(|(_, c)| c).collect())
            }
            Function::Translate => {
                let (whole, from, to) = (text(0)?, text(1)?, text(2)?);
                let to: Vec<char> = to.chars().collect();
                let mut changes = std::collections::BTreeMap::new();
                for (index, c) in from.chars().enumerate() {
                    changes.entry(c).or_insert_with(|| to.get(index).copied());
                }
                Value::Text(whole.chars().filter_map(|c| changes.get(&c).copied().unwrap_or(Some(c))).collect())
            }
        })
    }

    fn name_of(&self, item: Item, has_prefix: bool) -> String {
        let node = self.tree.node(item.node);
        let (prefix, local) = match self.attribute(item) {
            Some(attribute) => (&attribute.space, &attribute.local),
            None if node.kind == NodeKind::Element => (&node.prefix, &node.data),
            None => return String::new(),
        };
        if has_prefix && !prefix.is_empty() { format!("{prefix}:{local}") } else { local.clone() }
    }
}

/// In the order of the document, each item once.
fn sorted(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_unstable();
    items.dedup();
    items
}

fn to_boolean(value: &Value) -> bool {
    match value {
        Value::Boolean(value) => *value,
        Value::Number(number) => *number != 0.0 && !number.is_nan(),
        Value::Text(text) => !text.is_empty(),
        Value::Nodes(items) => !items.is_empty(),
    }
}

fn number_of(text: &str) -> f64 {
    std::str::from_utf8(trim_space(text.as_bytes())).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

/// Texts are equal or not; to be ordered, they are numbers.
fn compare_texts(comparison: Comparison, a: &str, b: &str) -> bool {
    match comparison {
        Comparison::Equal => a == b,
        Comparison::NotEqual => a != b,
        _ => comparison.of(number_of(a), number_of(b)),
    }
}
