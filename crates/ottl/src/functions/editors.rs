//! Editors of maps and lists.

use std::collections::{BTreeMap, BTreeSet};

use otelcore_pdata::Value as Tree;

use super::common::{MAX_RESULT_BYTES, Pattern, error, optional, put_text, required, too_large};
use super::entries::Entries;
use crate::contexts::Change;
use crate::error::{BuildError, EvalError};
use crate::evaluate::{Evaluation, Execution, Expression, PathExpression};
use crate::function::{Arguments, Callable, Editor, Function, ParameterKind as Kind};
use crate::value::{List, ListKind, Map, Value};

pub(super) const DELETE_KEY: Function = Function {
    name: "delete_key",
    parameters: &[required("Target", Kind::MapPath), required("Key", Kind::String)],
    build: |arguments| Ok(Callable::editor(DeleteKey { target: arguments.path(0)?, key: arguments.expression(1)? })),
};

struct DeleteKey {
    target: PathExpression,
    key: Expression,
}

impl Editor for DeleteKey {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let evaluated;
        let key = match self.key.literal() {
            Some(Value::String(key)) => &key[..],
            _ => {
                evaluated = self.key.string(&execution.view())?.into_owned();
                &evaluated
            }
        };
        execution.edit_map(&self.target, &mut |map| {
            map.remove(key);
            Ok(())
        })
    }
}

pub(super) const DELETE_MATCHING_KEYS: Function = Function {
    name: "delete_matching_keys",
    parameters: &[required("Target", Kind::MapPath), required("Pattern", Kind::String)],
    build: |arguments| matching_keys("delete_matching_keys", arguments, false),
};

pub(super) const KEEP_MATCHING_KEYS: Function = Function {
    name: "keep_matching_keys",
    parameters: &[required("Target", Kind::MapPath), required("Pattern", Kind::String)],
    build: |arguments| matching_keys("keep_matching_keys", arguments, true),
};

fn matching_keys(name: &str, arguments: &mut Arguments, keeps_matching: bool) -> Result<Callable, BuildError> {
    let pattern = DynamicPattern::new(name, arguments, 1)?;
    Ok(Callable::editor(MatchingKeys { target: arguments.path(0)?, pattern, keeps_matching }))
}

struct MatchingKeys {
    target: PathExpression,
    pattern: DynamicPattern,
    keeps_matching: bool,
}

impl Editor for MatchingKeys {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let pattern = self.pattern.text(&execution.view())?;
        self.pattern.pattern.with(&pattern, |regexp| {
            execution.edit_map(&self.target, &mut |map| {
                map.retain(|key, _| regexp.is_match(key) == self.keeps_matching);
                Ok(())
            })
        })
    }
}

/// A pattern of an editor: compiled, or an expression.
pub(super) struct DynamicPattern {
    pub(super) pattern: Pattern,
    expression: Expression,
}

impl DynamicPattern {
    pub(super) fn new(function: &str, arguments: &mut Arguments, index: usize) -> Result<Self, BuildError> {
        let pattern = Pattern::new(function, arguments, index)?;
        Ok(Self { pattern, expression: arguments.expression(index)? })
    }

    /// The text of a pattern that is not compiled yet; empty for one that is.
    pub(super) fn text(&self, evaluation: &Evaluation<'_>) -> Result<Vec<u8>, EvalError> {
        match self.pattern {
            Pattern::Compiled(_) => Ok(Vec::new()),
            Pattern::Argument => Ok(self.expression.string(evaluation)?.into_owned()),
        }
    }
}

pub(super) const KEEP_KEYS: Function = Function {
    name: "keep_keys",
    parameters: &[required("Target", Kind::MapPath), required("Keys", Kind::ListOf(&Kind::String))],
    build: |arguments| {
        let (target, keys) = (arguments.path(0)?, arguments.expressions(1)?);
        let literal = |key: &Expression| match key.literal() {
            Some(Value::String(key)) => Some(key.to_vec()),
            _ => None,
        };
        let literals = keys.iter().map(literal).collect::<Option<BTreeSet<_>>>();
        Ok(Callable::editor(KeepKeys { target, keys, literals }))
    },
};

struct KeepKeys {
    target: PathExpression,
    keys: Vec<Expression>,
    /// The keys, if all of them are literals.
    literals: Option<BTreeSet<Vec<u8>>>,
}

impl Editor for KeepKeys {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let evaluated;
        let keys = match &self.literals {
            Some(keys) => keys,
            None => {
                let view = execution.view();
                let key = |key: &Expression| key.string(&view).map(std::borrow::Cow::into_owned);
                evaluated = self.keys.iter().map(key).collect::<Result<BTreeSet<_>, _>>()?;
                &evaluated
            }
        };
        execution.edit_map(&self.target, &mut |map| {
            map.retain(|key, _| keys.contains(key));
            Ok(())
        })
    }
}

pub(super) const LIMIT: Function = Function {
    name: "limit",
    parameters: &[
        required("Target", Kind::MapPath),
        required("Limit", Kind::LiteralInt),
        required("PriorityKeys", Kind::ListOf(&Kind::LiteralString)),
    ],
    build: build_limit,
};

fn build_limit(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    let target = arguments.path(0)?;
    let limit = arguments.literal_int(1)?.unwrap_or(0);
    let keys = arguments.literal_strings(2)?.unwrap_or_default();
    let Ok(count) = usize::try_from(limit) else {
        return Err(BuildError::new(format!("invalid limit for limit function, {limit} cannot be negative")));
    };
    if count < keys.len() {
        return Err(BuildError::new(format!(
            "invalid limit for limit function, {limit} cannot be less than number of priority attributes {}",
            keys.len()
        )));
    }
    let priority_keys = keys.into_iter().map(String::into_bytes).collect();
    Ok(Callable::editor(Limit { target, count, priority_keys }))
}

struct Limit {
    target: PathExpression,
    count: usize,
    priority_keys: Vec<Vec<u8>>,
}

impl Editor for Limit {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        execution.edit_map(&self.target, &mut |map| {
            if map.len() <= self.count {
                return Ok(());
            }
            // A key that is named twice counts twice, as in Go.
            let mut kept = self.priority_keys.iter().filter(|key| map.get(key).is_some()).count();
            map.retain(|key, _| {
                if self.priority_keys.iter().any(|priority| priority == key) {
                    return true;
                }
                let is_kept = kept < self.count;
                kept += usize::from(is_kept);
                is_kept
            });
            Ok(())
        })
    }
}

pub(super) const MERGE_MAPS: Function = Function {
    name: "merge_maps",
    parameters: &[
        required("Target", Kind::MapPath),
        required("Source", Kind::Map),
        required("Strategy", Kind::LiteralString),
    ],
    build: |arguments| {
        let (target, source) = (arguments.path(0)?, arguments.expression(1)?);
        let strategy = arguments.literal_string(2)?.unwrap_or_default();
        let (inserts, updates) = match &*strategy {
            "insert" => (true, false),
            "update" => (false, true),
            "upsert" => (true, true),
            _ => {
                return Err(BuildError::new(format!(
                    "invalid value for strategy, {strategy}, must be 'insert', 'update' or 'upsert'"
                )));
            }
        };
        Ok(Callable::editor(MergeMaps { target, source, inserts, updates }))
    },
};

struct MergeMaps {
    target: PathExpression,
    source: Expression,
    inserts: bool,
    updates: bool,
}

/// Maps whose product of lengths is above this are merged through an index.
const MAX_COMPARISONS: usize = 4096;

impl Editor for MergeMaps {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let source = self.source.map(&execution.view())?.into_tree();
        execution.edit_map(&self.target, &mut |map| {
            if source.len().saturating_mul(map.len() + source.len()) <= MAX_COMPARISONS {
                for (key, value) in &source {
                    let is_there = map.get(key).is_some();
                    if if is_there { self.updates } else { self.inserts } {
                        map.upsert(key, &Value::from_tree(value))?;
                    }
                }
                return Ok(());
            }
            let mut entries = Entries::default();
            map.to_tree().into_iter().for_each(|(key, value)| entries.put(&key, value));
            for (key, value) in &source {
                let is_there = entries.get_mut(key).is_some();
                if if is_there { self.updates } else { self.inserts } {
                    entries.put(key, value.clone());
                }
            }
            map.replace_all(entries.into_map());
            Ok(())
        })
    }
}

pub(super) const STRINGIFY_ALL: Function = Function {
    name: "stringify_all",
    parameters: &[required("Target", Kind::MapPath)],
    build: |arguments| Ok(Callable::editor(StringifyAll { target: arguments.path(0)? })),
};

struct StringifyAll {
    target: PathExpression,
}

impl Editor for StringifyAll {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        execution.edit_map(&self.target, &mut |map| {
            map.for_each(|_, value| match value {
                Value::String(_) => Ok(Change::Keep),
                value => {
                    let mut text = Vec::new();
                    put_text(&mut text, &value)?;
                    Ok(Change::SetValue(Value::string(text)))
                }
            })
        })
    }
}

pub(super) const TRUNCATE_ALL: Function = Function {
    name: "truncate_all",
    parameters: &[
        required("Target", Kind::MapPath),
        required("Limit", Kind::LiteralInt),
        optional("Utf8Safe", Kind::LiteralBool),
    ],
    build: |arguments| {
        let target = arguments.path(0)?;
        let limit = arguments.literal_int(1)?.unwrap_or(0);
        let is_utf8_safe = arguments.literal_bool(2)?.unwrap_or(true);
        match usize::try_from(limit) {
            Ok(limit) => Ok(Callable::editor(TruncateAll { target, limit, is_utf8_safe })),
            Err(_) => {
                let message = format!("invalid limit for truncate_all function, {limit} cannot be negative");
                Err(BuildError::new(message))
            }
        }
    },
};

struct TruncateAll {
    target: PathExpression,
    limit: usize,
    is_utf8_safe: bool,
}

impl Editor for TruncateAll {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        execution.edit_map(&self.target, &mut |map| {
            map.for_each(|_, value| {
                let Value::String(text) = &value else { return Ok(Change::Keep) };
                if text.len() <= self.limit {
                    return Ok(Change::Keep);
                }
                let mut end = self.limit;
                while self.is_utf8_safe && end > 0 && text.get(end).is_some_and(|b| b & 0xc0 == 0x80) {
                    end -= 1;
                }
                Ok(Change::SetValue(match value {
                    Value::String(std::borrow::Cow::Borrowed(text)) => Value::str(text.get(..end).unwrap_or_default()),
                    Value::String(text) => Value::string(text.get(..end).unwrap_or_default()),
                    other => other,
                }))
            })
        })
    }
}

pub(super) const FLATTEN: Function = Function {
    name: "flatten",
    parameters: &[
        required("Target", Kind::MapPath),
        optional("Prefix", Kind::LiteralString),
        optional("Depth", Kind::LiteralInt),
        optional("ResolveConflicts", Kind::LiteralBool),
    ],
    build: |arguments| {
        let target = arguments.path(0)?;
        let prefix = arguments.literal_string(1)?.unwrap_or_default();
        let depth = arguments.literal_int(2)?.unwrap_or(i64::MAX);
        if depth < 1 {
            return Err(BuildError::new(format!(
                "invalid depth '{depth}' for flatten function, must be greater than 0"
            )));
        }
        let resolves_conflicts = arguments.literal_bool(3)?.unwrap_or(false);
        Ok(Callable::editor(Flatten { target, prefix, depth, resolves_conflicts }))
    },
};

struct Flatten {
    target: PathExpression,
    prefix: String,
    depth: i64,
    resolves_conflicts: bool,
}

impl Editor for Flatten {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        execution.edit_map(&self.target, &mut |map| {
            let mut flattened =
                Flattened { options: self, entries: Entries::default(), conflicts: BTreeMap::new(), key_bytes: 0 };
            flattened.put_map(map.to_tree(), self.prefix.as_bytes(), 0)?;
            map.replace_all(flattened.entries.into_map());
            Ok(())
        })
    }
}

struct Flattened<'o> {
    options: &'o Flatten,
    entries: Entries,
    /// How often a key was there already.
    conflicts: BTreeMap<Vec<u8>, u64>,
    /// Bytes of all keys and prefixes that were made.
    key_bytes: usize,
}

impl Flattened<'_> {
    /// A key of several parts. Each key has all keys above it as its prefix, so that a long one is there many times.
    fn joined(&mut self, parts: &[&[u8]]) -> Result<Vec<u8>, EvalError> {
        self.key_bytes = parts.iter().fold(self.key_bytes, |bytes, part| bytes.saturating_add(part.len()));
        if self.key_bytes > MAX_RESULT_BYTES { Err(too_large("flatten")) } else { Ok(parts.concat()) }
    }

    fn put_map(&mut self, map: Vec<(Vec<u8>, Tree)>, prefix: &[u8], depth: i64) -> Result<(), EvalError> {
        let prefix = if prefix.is_empty() { Vec::new() } else { self.joined(&[prefix, b"."])? };
        map.into_iter().try_for_each(|(key, value)| self.put(&key, value, depth, &prefix))
    }

    fn put(&mut self, key: &[u8], value: Tree, depth: i64, prefix: &[u8]) -> Result<(), EvalError> {
        let key = self.joined(&[prefix, key])?;
        match value {
            Tree::Map(map) if depth < self.options.depth => self.put_map(map, &key, depth + 1)?,
            Tree::Array(elements) if depth < self.options.depth => {
                for (index, element) in elements.into_iter().enumerate() {
                    let element_key = self.joined(&[&key, b".", index.to_string().as_bytes()])?;
                    match element {
                        Tree::Map(map) if depth + 1 < self.options.depth => {
                            self.put_map(map, &element_key, depth + 2)?;
                        }
                        // Between the positions in lists inside lists Go writes no dot.
                        Tree::Array(inner) if depth + 1 < self.options.depth => {
                            for (index, value) in inner.into_iter().enumerate() {
                                self.put(index.to_string().as_bytes(), value, depth + 3, &element_key)?;
                            }
                        }
                        element if self.options.resolves_conflicts => self.put_resolved(&key, element)?,
                        element => self.entries.put(&element_key, element),
                    }
                }
            }
            value if self.options.resolves_conflicts => self.put_resolved(&key, value)?,
            value => self.entries.put(&key, value),
        }
        Ok(())
    }

    /// Gives a key that is there already a number.
    fn put_resolved(&mut self, key: &[u8], value: Tree) -> Result<(), EvalError> {
        if self.entries.get_mut(key).is_none() {
            self.conflicts.insert(key.to_vec(), 0);
            self.entries.put(key, value);
            return Ok(());
        }
        let count = self.conflicts.entry(key.to_vec()).or_insert(0);
        let number = count.to_string();
        *count += 1;
        let numbered = self.joined(&[key, b".", number.as_bytes()])?;
        self.entries.put(&numbered, value);
        Ok(())
    }
}

pub(super) const APPEND: Function = Function {
    name: "append",
    parameters: &[
        required("Target", Kind::Path),
        optional("Value", Kind::Any),
        optional("Values", Kind::ListOf(&Kind::Any)),
    ],
    build: |arguments| {
        let target = arguments.path(0)?;
        let (value, values) = (arguments.optional_expression(1)?, arguments.optional_expressions(2)?);
        if value.is_none() && values.is_none() {
            return Err(BuildError::new(
                "at least one of the optional arguments ('value' or 'values') must be provided",
            ));
        }
        let values = value.into_iter().chain(values.unwrap_or_default()).collect();
        Ok(Callable::editor(Append { target, values }))
    },
};

struct Append {
    target: PathExpression,
    values: Vec<Expression>,
}

impl Editor for Append {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let view = execution.view();
        let mut failed = Vec::new();
        let mut raw = |value: &Value<'_>| match raw_tree(value) {
            Ok(tree) => tree,
            Err(reason) => {
                failed.push(reason);
                Tree::Empty
            }
        };
        let mut elements: Vec<Tree> = match self.target.get(&view)? {
            Value::Nil => Vec::new(),
            Value::List(list) if list.kind != ListKind::Uints => {
                list.iter().map(|element| element.to_tree()).collect::<Result<_, _>>()?
            }
            other => vec![raw(&other)],
        };
        for value in &self.values {
            elements.push(raw(&value.get(&view)?));
        }
        if !failed.is_empty() {
            return Err(error(failed.join("; ")));
        }
        execution.set(&self.target, &Value::List(List::owned(elements)))
    }
}

/// A value as an element of a list, as Go's `pcommon.Value.FromRaw`, which takes no types of pdata.
pub(super) fn raw_tree(value: &Value<'_>) -> Result<Tree, String> {
    let is_raw = match value {
        Value::Map(map) => map.kind == crate::value::MapKind::Native,
        Value::List(list) => list.kind == ListKind::Any,
        Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::String(_) | Value::Bytes(_) => true,
        _ => false,
    };
    if !is_raw {
        return Err(format!("<Invalid value type {}>", value.go_type()));
    }
    value.to_tree().map_err(|reason| reason.to_string())
}

pub(super) const DELETE_INDEX: Function = Function {
    name: "delete_index",
    parameters: &[
        required("Target", Kind::ListPath),
        required("StartIndex", Kind::Int),
        optional("EndIndex", Kind::Int),
    ],
    build: |arguments| {
        let target = arguments.path(0)?;
        let (start, end) = (arguments.expression(1)?, arguments.optional_expression(2)?);
        Ok(Callable::editor(DeleteIndex { target, start, end }))
    },
};

struct DeleteIndex {
    target: PathExpression,
    start: Expression,
    end: Option<Expression>,
}

impl Editor for DeleteIndex {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let view = execution.view();
        let target = self.target.get(&view)?;
        let Value::List(_) = &target else { return Err(target.type_error("pcommon.Slice")) };
        let Tree::Array(mut elements) = target.to_tree()? else { return Ok(()) };
        let start = self.start.int(&view)?;
        let end = match &self.end {
            Some(end) => end.int(&view)?,
            None => start.saturating_add(1),
        };
        let len = i64::try_from(elements.len()).unwrap_or(i64::MAX);
        if start == 0 && end == len {
            return execution.set(&self.target, &Value::List(List::owned(Vec::new())));
        }
        if start < 0 || start >= len {
            return Err(error(format!("startIndex {start} out of bounds for slice of length {len}")));
        }
        if end < start {
            return Err(error(format!("endIndex {end} cannot be less than startIndex {start}")));
        }
        if end > len {
            return Err(error(format!("deletion range [{start}:{end}] out of bounds for slice of length {len}")));
        }
        let (from, to) = (usize::try_from(start).unwrap_or(0), usize::try_from(end).unwrap_or(0));
        elements.drain(from..to);
        execution.set(&self.target, &Value::List(List::owned(elements)))
    }
}

/// A map whose entries were changed, for a path.
pub(super) fn map_of(entries: Vec<(Vec<u8>, Tree)>) -> Value<'static> {
    Value::Map(Map::owned(entries))
}
