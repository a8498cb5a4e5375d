//! Converters of lists and maps.

use std::cmp::Ordering;

use otelcore_pdata::Value as Tree;

use super::common::{error, optional, put_text, required, take, type_verb};
use super::entries::Entries;
use super::strings::find;
use crate::error::{BuildError, EvalError};
use crate::evaluate::{Comparison, Evaluation, Expression, compare};
use crate::function::{Arguments, Callable, Converter, Function, ParameterKind as Kind};
use crate::value::{List, ListKind, Map, Value};

pub(super) const COALESCE: Function = Function {
    name: "Coalesce",
    parameters: &[required("Values", Kind::ListOf(&Kind::Any))],
    build: |arguments| {
        let values = arguments.expressions(0)?;
        if values.is_empty() {
            return Err(BuildError::new("Coalesce requires at least one argument"));
        }
        Ok(Callable::converter(Coalesce { values }))
    },
};

struct Coalesce {
    values: Vec<Expression>,
}

impl Converter for Coalesce {
    fn call<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        for expression in &self.values {
            let value = expression.get(evaluation)?;
            if !value.is_nil() {
                return Ok(value);
            }
        }
        Ok(Value::Nil)
    }
}

pub(super) const KEYS: Function = Function {
    name: "Keys",
    parameters: &[required("Target", Kind::Map)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let Some(Value::Map(map)) = arguments.first() else { return Ok(Value::Nil) };
            let keys = map.iter().map(|(key, _)| Tree::String(key.to_vec())).collect();
            Ok(Value::List(List::owned(keys)))
        }))
    },
};

pub(super) const VALUES: Function = Function {
    name: "Values",
    parameters: &[required("Target", Kind::Map)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let Value::Map(map) = take(arguments, 0) else { return Ok(Value::Nil) };
            let values = map.into_tree().into_iter().map(|(_, value)| value).collect();
            Ok(Value::List(List::owned(values)))
        }))
    },
};

pub(super) const CONTAINS_VALUE: Function = Function {
    name: "ContainsValue",
    parameters: &[required("Target", Kind::List), required("Item", Kind::Any)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let [Value::List(list), item] = arguments else { return Ok(Value::Bool(false)) };
            Ok(Value::Bool(list.iter().any(|element| compare(&element, Comparison::Equal, item))))
        }))
    },
};

pub(super) const INDEX: Function = Function {
    name: "Index",
    parameters: &[required("Target", Kind::Any), required("Value", Kind::Any)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let [target, value] = arguments else { return Ok(Value::Nil) };
            let position = match target {
                Value::String(text) => match value {
                    Value::String(part) => find(text, part),
                    _ => return Err(error("invalid value type for Index function, value must be a string")),
                },
                Value::List(list) => {
                    if list.kind != ListKind::Pdata {
                        // Only what a list of pdata can contain.
                        target.to_tree()?;
                    }
                    let Value::List(list) = target else { return Ok(Value::Nil) };
                    list.iter().position(|element| compare(&element, Comparison::Equal, value))
                }
                other => return Err(other.type_error("pcommon.Slice")),
            };
            Ok(Value::Int(position.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
        }))
    },
};

pub(super) const SORT: Function = Function {
    name: "Sort",
    parameters: &[required("Target", Kind::Any), optional("Order", Kind::LiteralString)],
    build: build_sort,
};

fn build_sort(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    let order = arguments.literal_string(1)?.unwrap_or_else(|| "asc".to_owned());
    let is_descending = match &*order {
        "asc" => false,
        "desc" => true,
        _ => {
            return Err(BuildError::new(format!(
                "invalid arguments: {order}. Order should be either \"asc\" or \"desc\""
            )));
        }
    };
    Ok(Callable::pure(move |arguments| match take(arguments, 0) {
        Value::List(list) => sort(list, is_descending),
        other => Err(error(format!("sort with unsupported type: '{}'. Target is not a list", type_verb(&other)))),
    }))
}

/// Doubles in the order of Go's `cmp.Compare`: what is no number comes first, and zeros are equal.
fn compare_doubles(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// What elements are sorted by.
enum SortKey {
    Int(i64),
    Double(f64),
    Text(Vec<u8>),
}

impl SortKey {
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Double(a), Self::Double(b)) => compare_doubles(*a, *b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => Ordering::Equal,
        }
    }
}

fn sort(list: List<'_>, is_descending: bool) -> Result<Value<'_>, EvalError> {
    let kind = list.kind;
    match kind {
        ListKind::Pdata | ListKind::Strings | ListKind::Doubles => {}
        ListKind::Any => {
            let failed: Vec<String> = list.iter().filter_map(|value| super::editors::raw_tree(&value).err()).collect();
            if !failed.is_empty() {
                return Err(error(format!(
                    "sort with unsupported type: '[]interface {{}}'. Target is not a list of primitive types; {}",
                    failed.join("; ")
                )));
            }
        }
        ListKind::Uints => {
            return Err(error(format!("sort with unsupported type: '{}'. Target is not a list", kind.go_type())));
        }
    }
    let mut has_int = false;
    let mut has_double = false;
    let mut has_text = false;
    let mut has_other = false;
    for element in list.iter() {
        match element {
            Value::Int(_) => has_int = true,
            Value::Double(_) => has_double = true,
            Value::String(_) | Value::Bool(_) | Value::Nil => has_text = true,
            // Lists, maps and bytes have no order.
            _ => has_other = true,
        }
    }
    if has_other {
        return Ok(Value::List(as_pdata(list)));
    }
    let key = |value: &Value<'_>| -> Result<SortKey, EvalError> {
        Ok(match value {
            _ if has_text => {
                let mut text = Vec::new();
                put_text(&mut text, value)?;
                SortKey::Text(text)
            }
            #[expect(clippy::cast_precision_loss, reason = "as Go")]
            Value::Int(v) if has_double => SortKey::Double(*v as f64),
            Value::Int(v) => SortKey::Int(*v),
            Value::Double(v) => SortKey::Double(*v),
            _ => SortKey::Int(0),
        })
    };
    if !(has_int || has_double || has_text) {
        return Ok(Value::List(as_pdata(list)));
    }
    let mut keyed = Vec::new();
    for value in list.into_values() {
        keyed.push((key(&value)?, value));
    }
    keyed.sort_by(|(a, _), (b, _)| if is_descending { b.order(a) } else { a.order(b) });
    let kind = if kind == ListKind::Pdata { ListKind::Any } else { kind };
    Ok(Value::List(List::values(kind, keyed.into_iter().map(|(_, value)| value).collect())))
}

/// A list literal that is not sorted is a list of pdata afterwards.
fn as_pdata(list: List<'_>) -> List<'_> {
    if list.kind != ListKind::Any {
        return list;
    }
    match Value::List(list).to_tree() {
        Ok(Tree::Array(elements)) => List::owned(elements),
        _ => List::owned(Vec::new()),
    }
}

pub(super) const SLICE_TO_MAP: Function = Function {
    name: "SliceToMap",
    parameters: &[
        required("Target", Kind::List),
        optional("KeyPath", Kind::ListOf(&Kind::LiteralString)),
        optional("ValuePath", Kind::ListOf(&Kind::LiteralString)),
    ],
    build: |arguments| {
        let (key_path, value_path) = (arguments.literal_strings(1)?, arguments.literal_strings(2)?);
        Ok(Callable::pure(move |arguments| {
            let Value::List(list) = take(arguments, 0) else { return Ok(Value::Nil) };
            let mut entries = Entries::default();
            for (index, element) in list.iter().enumerate() {
                let element = element.to_tree()?;
                if (key_path.is_some() || value_path.is_some()) && !matches!(element, Tree::Map(_)) {
                    return Err(error(format!(
                        "slice elements must be maps when using `key_path` or `value_path`, but could not cast element of type `{}` to a map",
                        type_name(&element)
                    )));
                }
                let key = match &key_path {
                    None => index.to_string().into_bytes(),
                    Some(path) => match value_of(&element, path) {
                        Ok(Tree::String(key)) => key.clone(),
                        Ok(other) => {
                            return Err(error(format!(
                                "element {index}: extracted key attribute is not of type string, got \"{}\"",
                                type_name(other)
                            )));
                        }
                        Err(reason) => {
                            return Err(error(format!("could not extract key from element {index}: {reason}")));
                        }
                    },
                };
                let value = match &value_path {
                    None => element,
                    Some(path) => value_of(&element, path)
                        .cloned()
                        .map_err(|reason| error(format!("could not extract value from element {index}: {reason}")))?,
                };
                entries.put(&key, value);
            }
            Ok(Value::Map(Map::owned(entries.into_map())))
        }))
    },
};

/// The name of a type of `pcommon.Value`.
fn type_name(value: &Tree) -> &'static str {
    match value {
        Tree::Empty => "Empty",
        Tree::String(_) => "Str",
        Tree::Bool(_) => "Bool",
        Tree::Int(_) => "Int",
        Tree::Double(_) => "Double",
        Tree::Array(_) => "Slice",
        Tree::Map(_) => "Map",
        Tree::Bytes(_) => "Bytes",
    }
}

/// The value that a path of keys leads to.
fn value_of<'t>(element: &'t Tree, path: &[String]) -> Result<&'t Tree, String> {
    if path.is_empty() {
        return Err("must provide at least one path item".to_owned());
    }
    let mut current = element;
    for (index, key) in path.iter().enumerate() {
        let found = match current {
            Tree::Map(entries) => entries.iter().find(|(found, _)| found == key.as_bytes()).map(|(_, value)| value),
            _ => None,
        };
        // Go names what is left of the path where a key is not there, and the whole rest where there is no map.
        let from = if matches!(current, Tree::Map(_)) { index } else { index.saturating_sub(1) };
        let rest = path.get(from..).unwrap_or_default().join(" ");
        current = found.ok_or_else(|| format!("provided object does not contain the path [{rest}]"))?;
    }
    Ok(current)
}
