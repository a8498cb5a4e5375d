//! Values, paths, arithmetic and conditions.

use otelcore_pdata::Value as Tree;

use super::{CompileError, Compiler, PathPrefix};
use crate::contexts::{Field, Segment};
use crate::evaluate::{
    BoolNode, Expression, Key, KeyExpression, Keys, MathChain, MathOperator, Node, PathExpression, compare,
    map_literal_value, negate,
};
use crate::syntax::{
    Boolean, BooleanKind, BooleanValue, Factor, FactorKind, Key as SyntaxKey, Math, Operand, Path, PathField, Product,
    Value as SyntaxValue, ValueKind,
};
use crate::value::{List, ListKind, Map, Value};

/// The name of the path that is kept from statement to statement.
const CACHE: &str = "cache";

impl Compiler<'_> {
    pub(super) fn expression(&self, value: &SyntaxValue) -> Result<Expression, CompileError> {
        let literal = |literal| Ok(Expression::of_literal(literal));
        match &value.kind {
            ValueKind::Nil => literal(Value::Nil),
            ValueKind::Bool(v) => literal(Value::Bool(*v)),
            ValueKind::String(v) => literal(Value::string(v.as_bytes())),
            ValueKind::Bytes(v) => literal(Value::Bytes(v.clone().into())),
            ValueKind::Enum(symbol) => match (self.context.enum_value)(symbol) {
                Some(v) => literal(Value::Int(v)),
                None => Err(CompileError::new(value.place.clone(), format!("enum symbol, {symbol}, not found"))
                    .with_nearest(symbol, self.context.enum_symbols.iter().copied())),
            },
            ValueKind::FunctionName(name) => {
                Err(CompileError::new(value.place.clone(), format!("{name} is not followed by its arguments")))
            }
            ValueKind::Operand(operand) => self.operand(operand),
            ValueKind::Math(math) => self.math(math),
            ValueKind::List(elements) => self.list(elements),
            ValueKind::Map(entries) => self.map(entries, value),
        }
    }

    fn operand(&self, operand: &Operand) -> Result<Expression, CompileError> {
        Ok(Expression::new(match operand {
            Operand::Int(v) => Node::Literal(Value::Int(*v)),
            Operand::Float(v) => Node::Literal(Value::Double(*v)),
            Operand::Path(path) => Node::Path(self.path(path)?),
            Operand::Converter(call) => Node::Call(Box::new(self.converter(call)?)),
        }))
    }

    fn list(&self, elements: &[SyntaxValue]) -> Result<Expression, CompileError> {
        let elements: Vec<Expression> =
            elements.iter().map(|element| self.expression(element)).collect::<Result<_, _>>()?;
        if elements.iter().all(|element| element.literal().is_some()) {
            let values = elements.into_iter().filter_map(into_literal).collect();
            return Ok(Expression::of_literal(Value::List(List::values(ListKind::Any, values))));
        }
        Ok(Expression::new(Node::List(elements)))
    }

    /// Of equal keys, the last one counts.
    fn map(&self, entries: &[(String, SyntaxValue)], value: &SyntaxValue) -> Result<Expression, CompileError> {
        let mut compiled: Vec<(Vec<u8>, Expression)> = Vec::with_capacity(entries.len());
        let mut positions = std::collections::BTreeMap::new();
        for (key, value) in entries {
            let expression = self.expression(value)?;
            match positions.entry(key.as_str()) {
                std::collections::btree_map::Entry::Occupied(at) => {
                    if let Some((_, old)) = compiled.get_mut(*at.get()) {
                        *old = expression;
                    }
                }
                std::collections::btree_map::Entry::Vacant(at) => {
                    at.insert(compiled.len());
                    compiled.push((key.as_bytes().to_vec(), expression));
                }
            }
        }
        if !compiled.iter().all(|(_, value)| value.literal().is_some()) {
            return Ok(Expression::new(Node::Map(compiled)));
        }
        let literal = |(key, value): (Vec<u8>, Expression)| {
            let value = value.literal().map_or(Ok(Tree::Empty), map_literal_value)?;
            Ok((key, value))
        };
        match compiled.into_iter().map(literal).collect::<Result<_, crate::EvalError>>() {
            Ok(entries) => Ok(Expression::of_literal(Value::Map(Map::owned(entries)))),
            Err(error) => Err(CompileError::new(value.place.clone(), error.to_string())),
        }
    }

    fn math(&self, math: &Math) -> Result<Expression, CompileError> {
        let first = self.product(&math.first)?;
        let rest = math.rest.iter().map(|(operator, product)| Ok((*operator, self.product(product)?)));
        Ok(chain(first, rest.collect::<Result<_, _>>()?))
    }

    fn product(&self, product: &Product) -> Result<Expression, CompileError> {
        let first = self.factor(&product.first)?;
        let rest = product.rest.iter().map(|(operator, factor)| Ok((*operator, self.factor(factor)?)));
        Ok(chain(first, rest.collect::<Result<_, _>>()?))
    }

    fn factor(&self, factor: &Factor) -> Result<Expression, CompileError> {
        let operand = match &factor.kind {
            FactorKind::Operand(operand) => self.operand(operand)?,
            FactorKind::Parentheses(math) => self.math(math)?,
        };
        if !factor.is_negative {
            return Ok(operand);
        }
        // As in Go, the sign of a number is part of the literal; that of parentheses is applied for each item.
        if let (FactorKind::Operand(Operand::Int(_) | Operand::Float(_)), Some(number)) =
            (&factor.kind, operand.literal())
            && let Ok(negative) = negate(number)
        {
            return Ok(Expression::of_literal(negative));
        }
        Ok(Expression::new(Node::Negate(Box::new(operand))))
    }

    pub(super) fn path(&self, path: &Path) -> Result<PathExpression, CompileError> {
        let names = self.context.path_contexts;
        let named = path.context.as_deref().filter(|context| names.contains(context));
        let (context, leading) = match (named, self.prefix) {
            (Some(context), _) => (context, None),
            (None, PathPrefix::Implied) => (self.context.name, path.context.as_deref()),
            (None, PathPrefix::Required) => return Err(self.missing_context(path)),
        };
        // The first segment, if it is not the name of a context.
        let first = leading.map(|name| Segment { name, has_keys: false });
        let fields = path.fields.iter().map(|field| Segment { name: &field.name, has_keys: !field.keys.is_empty() });
        let segments: Vec<Segment<'_>> = first.into_iter().chain(fields).collect();
        let offset = usize::from(leading.is_some());
        let field_of = |segment: usize| segment.checked_sub(offset).and_then(|at| path.fields.get(at));
        let place_of =
            |segment: usize| field_of(segment).map_or_else(|| path.place.clone(), |field| field.place.clone());

        let is_cache = segments.first().is_some_and(|segment| segment.name == CACHE);
        let resolved = if is_cache && context == self.context.name {
            crate::contexts::ResolvedPath { field: Field::Cache, segments: 1, keyed: Some(0) }
        } else if is_cache {
            let text = path.text();
            let right = text.replacen(&format!("{context}."), &format!("{}.", self.context.name), 1);
            let message = format!(
                "access to cache must be performed using the same context, please replace {text:?} with {right:?}"
            );
            return Err(CompileError::new(path.place.clone(), message));
        } else {
            (self.context.resolve)(context, &segments).map_err(|unknown| {
                let written = segments.get(unknown.segment).map_or("", |segment| segment.name);
                CompileError::new(place_of(unknown.segment), unknown.message)
                    .with_nearest(written, unknown.valid.iter().copied())
            })?
        };
        if let Some(unused) = segments.get(resolved.segments) {
            let message = format!(
                "the path section {:?} was not used by the context - this likely means you are using extra path sections",
                unused.name
            );
            return Err(CompileError::new(place_of(resolved.segments), message));
        }
        let keys_of_other =
            segments.iter().enumerate().find(|(i, segment)| segment.has_keys && resolved.keyed != Some(*i));
        if let Some((i, segment)) = keys_of_other {
            let message = format!(
                "the keys indexing {:?} were not used by the context - this likely means you are trying to index a \
                 path that does not support indexing",
                segment.name
            );
            return Err(CompileError::new(place_of(i), message));
        }
        let keys = resolved.keyed.and_then(field_of).map_or(&[][..], |field: &PathField| &field.keys);
        Ok(PathExpression { field: resolved.field, keys: self.keys(keys)? })
    }

    fn missing_context(&self, path: &Path) -> CompileError {
        let names = self.context.path_contexts;
        let text = path.text();
        match &path.context {
            Some(context) => {
                let valid: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
                let message = format!(
                    "context \"{context}\" from path \"{text}\" is not valid, it must be replaced by one of: {}",
                    valid.join(", ")
                );
                CompileError::new(path.place.clone(), message).with_nearest(context, names.iter().copied())
            }
            None => {
                let valid: Vec<String> = names.iter().map(|name| format!("\"{name}.{text}\"")).collect();
                let message = format!(
                    "missing context name for path \"{text}\", possibly valid options are: {}",
                    valid.join(", ")
                );
                CompileError::new(path.place.clone(), message)
            }
        }
    }

    pub(super) fn keys(&self, keys: &[SyntaxKey]) -> Result<Keys, CompileError> {
        let key = |key: &SyntaxKey| {
            Ok(match key {
                SyntaxKey::String(name) => KeyExpression::Literal(Key::String(name.as_bytes().to_vec().into())),
                SyntaxKey::Int(index) => KeyExpression::Literal(Key::Int(*index)),
                SyntaxKey::Math(math) => match self.math(math)? {
                    Expression { node: Node::Literal(value) } => KeyExpression::Literal(Key::Expression(Ok(value))),
                    expression => KeyExpression::Expression(expression),
                },
            })
        };
        let keys: Vec<KeyExpression> = keys.iter().map(key).collect::<Result<_, _>>()?;
        if keys.iter().any(|key| matches!(key, KeyExpression::Expression(_))) {
            return Ok(Keys::Evaluated(keys));
        }
        let literal = |key| match key {
            KeyExpression::Literal(key) => Some(key),
            KeyExpression::Expression(_) => None,
        };
        Ok(Keys::Literal(keys.into_iter().filter_map(literal).collect()))
    }

    pub(super) fn boolean(&self, boolean: &Boolean) -> Result<BoolNode, CompileError> {
        let mut alternatives = Vec::with_capacity(boolean.alternatives.len());
        for conditions in &boolean.alternatives {
            let conditions = conditions.iter().map(|condition| self.boolean_value(condition));
            alternatives.push(all_of(conditions.collect::<Result<_, _>>()?));
        }
        Ok(any_of(alternatives))
    }

    fn boolean_value(&self, value: &BooleanValue) -> Result<BoolNode, CompileError> {
        let node = match &value.kind {
            BooleanKind::Literal(literal) => BoolNode::Literal(*literal),
            BooleanKind::Comparison(comparison) => {
                let (left, operator, right) = &**comparison;
                let (left, right) = (self.expression(left)?, self.expression(right)?);
                match (left.literal(), right.literal()) {
                    (Some(a), Some(b)) => BoolNode::Literal(compare(a, *operator, b)),
                    _ => BoolNode::Compare(left, *operator, right),
                }
            }
            BooleanKind::Converter(call) => {
                BoolNode::Converter(Expression::new(Node::Call(Box::new(self.converter(call)?))))
            }
            BooleanKind::Parentheses(boolean) => self.boolean(boolean)?,
        };
        Ok(match (value.is_negated, node) {
            (false, node) => node,
            (true, BoolNode::Literal(literal)) => BoolNode::Literal(!literal),
            (true, node) => BoolNode::Not(Box::new(node)),
        })
    }
}

fn into_literal(expression: Expression) -> Option<Value<'static>> {
    match expression.node {
        Node::Literal(value) => Some(value),
        _ => None,
    }
}

/// Operands of equal precedence; a single one is itself.
fn chain(first: Expression, rest: Vec<(MathOperator, Expression)>) -> Expression {
    if rest.is_empty() { first } else { Expression::new(Node::Math(Box::new(MathChain { first, rest }))) }
}

/// All conditions hold. Literals are decided now.
fn all_of(mut conditions: Vec<BoolNode>) -> BoolNode {
    if conditions.iter().any(|condition| matches!(condition, BoolNode::Literal(false))) {
        return BoolNode::Literal(false);
    }
    conditions.retain(|condition| !matches!(condition, BoolNode::Literal(_)));
    if conditions.len() > 1 {
        return BoolNode::And(conditions);
    }
    conditions.pop().unwrap_or(BoolNode::Literal(true))
}

/// One of the conditions holds. Literals are decided now.
fn any_of(mut conditions: Vec<BoolNode>) -> BoolNode {
    if conditions.iter().any(|condition| matches!(condition, BoolNode::Literal(true))) {
        return BoolNode::Literal(true);
    }
    conditions.retain(|condition| !matches!(condition, BoolNode::Literal(_)));
    if conditions.len() > 1 {
        return BoolNode::Or(conditions);
    }
    conditions.pop().unwrap_or(BoolNode::Literal(false))
}
