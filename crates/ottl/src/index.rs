//! Keys in brackets: reading and writing what they lead to.

use std::borrow::Cow;

use otelcore_pdata::Value as Tree;

use crate::error::EvalError;
use crate::value::{List, Map, TreeMap, Value};

/// The largest position at which an element can be set in a list that is not there yet: the elements before it are
/// added.
pub(crate) const MAX_NEW_INDEX: usize = 65_536;

/// A key in brackets.
#[derive(Clone, Debug)]
pub enum Key<'k> {
    /// A string literal.
    String(Cow<'k, [u8]>),
    /// An integer literal.
    Int(i64),
    /// The result of an expression. Its error is reported when the key is used.
    Expression(Result<Value<'k>, EvalError>),
}

impl Key<'_> {
    /// The key with nothing borrowed.
    #[must_use]
    pub fn into_owned(self) -> Key<'static> {
        match self {
            Self::String(v) => Key::String(Cow::Owned(v.into_owned())),
            Self::Int(v) => Key::Int(v),
            Self::Expression(result) => Key::Expression(result.map(Value::into_owned)),
        }
    }
}

fn wrong_key(value: &Value<'_>, expected: &str) -> EvalError {
    let found = if value.is_nil() { "<nil>" } else { value.go_type() };
    EvalError::new(format!("could not resolve key for map/slice, expecting '{expected}' but got '{found}'"))
}

/// The string of a key into a map.
///
/// # Errors
/// It is not a string.
#[inline]
pub(crate) fn map_key<'k>(key: &'k Key<'_>) -> Result<&'k [u8], EvalError> {
    match key {
        Key::String(name) | Key::Expression(Ok(Value::String(name))) => Ok(name),
        key => Err(no_map_key(key)),
    }
}

#[cold]
fn no_map_key(key: &Key<'_>) -> EvalError {
    let why = match key {
        Key::Expression(Ok(other)) => wrong_key(other, "string"),
        Key::Expression(Err(error)) => error.clone(),
        _ => EvalError::new("invalid key type"),
    };
    EvalError::new(format!("unable to resolve a string index in map: {why}"))
}

/// The position of a key into a list, which is not checked against its length.
fn position(key: &Key<'_>) -> Result<i64, EvalError> {
    let why = match key {
        Key::Int(index) | Key::Expression(Ok(Value::Int(index))) => return Ok(*index),
        Key::Expression(Ok(other)) => wrong_key(other, "int64"),
        Key::Expression(Err(error)) => error.clone(),
        Key::String(_) => EvalError::new("invalid key type"),
    };
    Err(EvalError::new(format!("unable to resolve an integer index in slice: {why}")))
}

/// The position of a key in a list of `len` elements.
///
/// # Errors
/// It is not an integer, or outside of the list.
pub(crate) fn list_index(key: &Key<'_>, len: usize) -> Result<usize, EvalError> {
    let index = position(key)?;
    match usize::try_from(index) {
        Ok(index) if index < len => Ok(index),
        _ => Err(EvalError::OutOfBounds { index }),
    }
}

/// What keys lead to in a value. A key that is not in a map leads to [`Value::Nil`].
///
/// # Errors
/// A key is not of the type that the value needs, is outside of a list, or the value has no keys.
pub(crate) fn value_at<'c>(mut value: Value<'c>, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
    for key in keys {
        value = match value {
            Value::Map(map) => match map.into_value(map_key(key)?) {
                Some(value) => value,
                None => return Ok(Value::Nil),
            },
            Value::List(list) => list_element(list, key)?,
            other => return Err(not_indexable(type_name(&other))),
        };
    }
    Ok(value)
}

fn list_element<'c>(list: List<'c>, key: &Key<'_>) -> Result<Value<'c>, EvalError> {
    let index = position(key)?;
    usize::try_from(index).ok().and_then(|at| list.into_element(at)).ok_or(EvalError::OutOfBounds { index })
}

/// What at least one key leads to in a map.
///
/// # Errors
/// As [`value_at`].
pub(crate) fn map_value_at<'c>(map: Map<'c>, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
    let Some((first, rest)) = keys.split_first() else {
        return Err(EvalError::new("cannot get map value without keys"));
    };
    let key = map_key(first).map_err(|error| EvalError::new(format!("cannot get map value: {error}")))?;
    map.into_value(key).map_or(Ok(Value::Nil), |value| value_at(value, rest))
}

/// Sets what keys lead to in a value. What is missing on the way is added, as in Go also if the value is then refused.
///
/// # Errors
/// A key does not fit, or the value can't be that of an attribute.
pub(crate) fn set_at(mut current: &mut Tree, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError> {
    for key in keys {
        if matches!(current, Tree::Empty) {
            *current = empty_container(key)?;
        }
        current = match current {
            Tree::Map(entries) => entry(entries, map_key(key)?),
            Tree::Array(elements) => {
                let index = list_index(key, elements.len())?;
                elements.get_mut(index).ok_or(EvalError::OutOfBounds { index: position(key)? })?
            }
            other => return Err(not_indexable(tree_type_name(other))),
        };
    }
    if !value.is_nil() {
        *current = value.to_tree()?;
    }
    Ok(())
}

/// The map or list that a key into an empty value makes of it.
fn empty_container(key: &Key<'_>) -> Result<Tree, EvalError> {
    let index = match key {
        Key::String(_) | Key::Expression(Ok(Value::String(_))) => return Ok(Tree::Map(Vec::new())),
        Key::Int(index) | Key::Expression(Ok(Value::Int(index))) => *index,
        Key::Expression(_) => {
            return Err(EvalError::new("neither a string nor an int index was given, this is an error in the OTTL"));
        }
    };
    // A negative position is the first one, as in Go.
    let before = usize::try_from(index.max(0)).unwrap_or(usize::MAX);
    if before > MAX_NEW_INDEX {
        return Err(EvalError::new(format!(
            "index {index} is above {MAX_NEW_INDEX}, the largest in a list that is new"
        )));
    }
    Ok(Tree::Array(vec![Tree::Empty; before + 1]))
}

/// The value under a key, added if it is not there.
fn entry<'t>(entries: &'t mut TreeMap, key: &[u8]) -> &'t mut Tree {
    let at = entries.iter().position(|(found, _)| found == key).unwrap_or_else(|| {
        entries.push((key.to_vec(), Tree::Empty));
        entries.len() - 1
    });
    &mut entries[at].1
}

/// Sets what at least one key leads to in a map.
///
/// # Errors
/// As [`set_at`].
pub(crate) fn set_in_map(map: &mut TreeMap, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError> {
    let Some((first, rest)) = keys.split_first() else {
        return Err(EvalError::new("cannot set map value without keys"));
    };
    let key = map_key(first).map_err(|error| EvalError::new(format!("cannot set map value: {error}")))?;
    set_at(entry(map, key), rest, value)
}

/// The entries of a value that replaces a map.
///
/// # Errors
/// It is not a map.
pub(crate) fn to_map(value: &Value<'_>) -> Result<TreeMap, EvalError> {
    match value.to_tree() {
        Ok(Tree::Map(entries)) => Ok(entries),
        Err(error) if matches!(value, Value::Map(_)) => Err(error),
        _ => {
            let found = value.go_type();
            Err(EvalError::new(format!("unsupported type provided for setting a pcommon.Map: {found}")))
        }
    }
}

/// The map that keys lead to in a decoded map, to be changed in place; the map itself if there are none.
///
/// # Errors
/// A key does not fit, or the value is not a map.
pub(crate) fn map_at_mut<'t>(map: &'t mut TreeMap, keys: &[Key<'_>]) -> Result<&'t mut TreeMap, EvalError> {
    let Some((first, rest)) = keys.split_first() else { return Ok(map) };
    let key = map_key(first).map_err(|error| EvalError::new(format!("cannot get map value: {error}")))?;
    let nothing = || Value::Nil.type_error("pcommon.Map");
    let mut current = find_mut(map, key).ok_or_else(nothing)?;
    for key in rest {
        current = match current {
            Tree::Map(entries) => find_mut(entries, map_key(key)?).ok_or_else(nothing)?,
            Tree::Array(elements) => {
                let index = list_index(key, elements.len())?;
                elements.get_mut(index).ok_or_else(nothing)?
            }
            other => return Err(not_indexable(tree_type_name(other))),
        };
    }
    match current {
        Tree::Map(entries) => Ok(entries),
        other => Err(Value::from_tree(other).type_error("pcommon.Map")),
    }
}

fn find_mut<'t>(entries: &'t mut TreeMap, key: &[u8]) -> Option<&'t mut Tree> {
    entries.iter_mut().find(|(found, _)| found == key).map(|(_, value)| value)
}

#[cold]
fn not_indexable(name: &str) -> EvalError {
    EvalError::new(format!("type {name} does not support string indexing"))
}

/// The name of a value's type in pdata.
fn type_name(value: &Value<'_>) -> &'static str {
    match value {
        Value::Nil => "Empty",
        Value::Bool(_) => "Bool",
        Value::Int(_) => "Int",
        Value::Double(_) => "Double",
        Value::String(_) => "Str",
        Value::Bytes(_) => "Bytes",
        Value::Map(_) => "Map",
        Value::List(_) => "Slice",
        other => other.go_type(),
    }
}

fn tree_type_name(tree: &Tree) -> &'static str {
    type_name(&Value::from_tree(tree))
}

/// What keys lead to in the result of a converter. Unlike in a path, a key that is missing is an error.
///
/// # Errors
/// A key is missing or does not fit.
pub(crate) fn indexed_result<'c>(mut value: Value<'c>, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
    for key in keys {
        let string = |name: &[u8], value: Value<'c>| match value {
            Value::Map(map) => map.into_value(name).ok_or_else(|| EvalError::new("key not found in map")),
            other => Err(EvalError::new(format!("type {} does not support string indexing", printed(&other)))),
        };
        let int = |index: i64, value: Value<'c>| match value {
            Value::List(list) => list_element(list, &Key::Int(index)),
            Value::Bytes(bytes) => usize::try_from(index)
                .ok()
                .and_then(|at| bytes.get(at))
                .map(|byte| Value::Int(i64::from(*byte)))
                .ok_or(EvalError::OutOfBounds { index }),
            other => Err(EvalError::new(format!("type {} does not support int indexing", printed(&other)))),
        };
        value = match key {
            Key::String(name) | Key::Expression(Ok(Value::String(name))) => string(name, value)?,
            Key::Int(index) | Key::Expression(Ok(Value::Int(index))) => int(*index, value)?,
            Key::Expression(Ok(Value::Nil)) => {
                return Err(EvalError::new("key expression returned nil, expected an int or string"));
            }
            Key::Expression(Ok(other)) => {
                let found = other.go_type();
                return Err(EvalError::new(format!("key expression must evaluate to string or int, got {found}")));
            }
            Key::Expression(Err(error)) => return Err(error.clone()),
        };
    }
    Ok(value)
}

fn printed(value: &Value<'_>) -> &'static str {
    if value.is_nil() { "<nil>" } else { value.go_type() }
}
