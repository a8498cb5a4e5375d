//! `json_parser` and `json_array_parser`.

use otelcore_expr::{Key, Map, Value, View, key};
use otelcore_go_text::json;
use otelcore_pdata::Value as Tree;

use super::{Parse, from_tree, string};
use crate::context::RunContext;
use crate::entry::Entry;

/// Parses a JSON object.
pub(crate) struct JsonParser {
    pub(crate) parse_ints: bool,
}

impl Parse for JsonParser {
    fn parse(&mut self, value: View<'_>, _: &Entry, _: &RunContext<'_>) -> Result<Value, String> {
        let text = string(value, |found| format!("type {found} cannot be parsed as JSON"))?;
        let tree = if self.parse_ints { json::parse_first_with_integers(text)? } else { json::parse(text)? };
        object(tree)
    }
}

/// A JSON object as a map; null is an empty one.
pub(super) fn object(tree: Tree) -> Result<Value, String> {
    let kind = match tree {
        Tree::Map(_) => return Ok(from_tree(tree)),
        Tree::Empty => return Ok(Value::Map(Map::new())),
        Tree::Array(_) => "array",
        Tree::Bool(_) => "bool",
        Tree::Int(_) | Tree::Double(_) => "number",
        _ => "string",
    };
    Err(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}

/// Parses a JSON array into a list, or into a map if there is a header.
pub(crate) struct JsonArrayParser {
    pub(crate) header: Option<Vec<Key>>,
}

impl Parse for JsonArrayParser {
    fn parse(&mut self, value: View<'_>, _: &Entry, _: &RunContext<'_>) -> Result<Value, String> {
        let text = match value {
            View::String(text) | View::Bytes(text) => text,
            other => return Err(format!("type '{}' cannot be parsed as json array", other.go_type())),
        };
        let failed = || "failed to parse entry".to_owned();
        // A value that is no array has no elements.
        let elements = json::parse_array(text).map_err(|_| failed())?.unwrap_or_default();
        if let Some(header) = &self.header
            && header.len() != elements.len()
        {
            return Err(format!("wrong number of fields: expected {}, found {}", header.len(), elements.len()));
        }
        let mut values = Vec::with_capacity(elements.len());
        for (element, text) in elements {
            values.push(match element {
                Tree::Array(_) => return Err(failed()),
                // As the Go collector has it: what is no integer is zero.
                Tree::Double(_) => Value::Int(0),
                Tree::Map(_) => Value::String(without_spaces(text)),
                other => from_tree(other),
            });
        }
        Ok(match &self.header {
            None => Value::Array(values),
            Some(header) => Value::Map(header.iter().cloned().zip(values).collect()),
        })
    }
}

/// JSON without the spaces between its parts.
fn without_spaces(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let (mut is_in_string, mut is_escaped) = (false, false);
    for b in text {
        let is_space = matches!(b, b' ' | b'\t' | b'\r' | b'\n');
        if is_in_string || !is_space {
            out.push(*b);
        }
        if is_in_string {
            is_in_string = is_escaped || *b != b'"';
            is_escaped = !is_escaped && *b == b'\\';
        } else {
            is_in_string = *b == b'"';
        }
    }
    out
}

/// The keys of a header.
pub(crate) fn header_keys(header: &str) -> Vec<Key> {
    header.split(',').map(|name| key(name.as_bytes())).collect()
}
