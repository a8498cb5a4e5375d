//! The names of the functions that an expression can call, and how many arguments they have.

use crate::syntax::{Node, NodeKind};

/// Functions of values: name, and the least and the most arguments.
const FUNCTIONS: [(&str, usize, usize); 29] = [
    ("len", 1, 1),
    ("type", 1, 1),
    ("abs", 1, 1),
    ("ceil", 1, 1),
    ("floor", 1, 1),
    ("round", 1, 1),
    ("int", 1, 1),
    ("float", 1, 1),
    ("string", 1, 1),
    ("trim", 1, 2),
    ("trimPrefix", 2, 2),
    ("trimSuffix", 2, 2),
    ("upper", 1, 1),
    ("lower", 1, 1),
    ("split", 2, 3),
    ("replace", 3, 4),
    ("join", 1, 2),
    ("indexOf", 2, 2),
    ("lastIndexOf", 2, 2),
    ("hasPrefix", 2, 2),
    ("hasSuffix", 2, 2),
    ("first", 1, 1),
    ("last", 1, 1),
    ("get", 2, 2),
    ("keys", 1, 1),
    ("values", 1, 1),
    ("env", 1, 1),
    ("max", 1, 100),
    ("min", 1, 100),
];

/// Functions of a list and a predicate, in which `#` is an element.
const PREDICATES: [&str; 8] = ["all", "none", "any", "one", "filter", "map", "find", "count"];

/// Functions that are known by their callers only.
const OF_CALLERS: [&str; 2] = ["HasLabel", "Label"];

pub(crate) fn takes_predicate(name: &str) -> bool {
    PREDICATES.contains(&name)
}

/// Checks the name of a function and the number of its arguments.
pub(crate) fn check_call(name: &str, arguments: &[Node], at: usize) -> Result<(), String> {
    let (least, most) = match FUNCTIONS.iter().find(|(found, ..)| *found == name) {
        Some((_, least, most)) => (*least, *most),
        None if name == "count" => (1, 2),
        None if takes_predicate(name) => (2, 2),
        None if OF_CALLERS.contains(&name) => (1, 1),
        None => return Err(format!("`{name}` at character {at} is not supported")),
    };
    let count = arguments.len();
    if count < least {
        return Err(format!("not enough arguments to call {name} at character {at}"));
    }
    if count > most {
        return Err(format!("too many arguments to call {name} at character {at}"));
    }
    if name == "env" && !matches!(arguments.first(), Some(Node { kind: NodeKind::Text(_), .. })) {
        return Err(format!("a string literal is expected in the call of env at character {at}"));
    }
    Ok(())
}
