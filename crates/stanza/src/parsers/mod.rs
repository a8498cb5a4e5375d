//! Operators that parse a field of an entry into values.

pub(crate) mod container;
mod csv;
mod json;
mod key_value;
mod regex;
mod uri;

pub(crate) use csv::{CsvParser, Header, header_keys as csv_keys};
pub(crate) use json::{JsonArrayParser, JsonParser, header_keys as json_keys};
pub(crate) use key_value::KeyValueParser;
pub(crate) use regex::RegexParser;
pub(crate) use uri::UriParser;

use otelcore_expr::{Value, View};
use otelcore_pdata::Value as Tree;

use crate::blocks::ParserBlocks;
use crate::context::RunContext;
use crate::entry::Entry;
use crate::field::Field;

/// Makes a value of the value of a field.
pub(crate) trait Parse: Send {
    fn parse(&mut self, value: View<'_>, entry: &Entry, context: &RunContext<'_>) -> Result<Value, String>;

    /// Runs after the result is in the entry.
    fn finish(&mut self, entry: &mut Entry) -> Result<(), String> {
        let _ = entry;
        Ok(())
    }
}

/// A value of another crate as one of an entry. Its depth is limited by what made it.
pub(crate) fn from_tree(tree: Tree) -> Value {
    match tree {
        Tree::Empty => Value::Nil,
        Tree::Bool(v) => Value::Bool(v),
        Tree::Int(v) => Value::Int(v),
        Tree::Double(v) => Value::Double(v),
        Tree::String(v) => Value::String(v),
        Tree::Bytes(v) => Value::Bytes(v),
        Tree::Array(values) => Value::Array(values.into_iter().map(from_tree).collect()),
        Tree::Map(entries) => {
            Value::Map(entries.into_iter().map(|(key, value)| (key.into(), from_tree(value))).collect())
        }
    }
}

/// The text of a field that must be a string.
fn string<'v>(value: View<'v>, refusal: impl FnOnce(&'static str) -> String) -> Result<&'v [u8], String> {
    match value {
        View::String(text) => Ok(text),
        other => Err(refusal(other.go_type())),
    }
}

/// Parses a field of an entry into another, and then what is in `blocks`.
pub(crate) fn parse_with(
    entry: &mut Entry,
    parse_from: &Field,
    parse_to: &Field,
    blocks: &ParserBlocks,
    parser: &mut dyn Parse,
    context: &RunContext<'_>,
) -> Result<(), String> {
    let Some(value) = parse_from.get(entry) else {
        return Err(format!("Entry is missing the expected parse_from field. parse_from: {parse_from}"));
    };
    let parsed = parser.parse(value, entry, context)?;
    parse_to.set(entry, parsed).map_err(|error| format!("set parse_to: {error}"))?;
    blocks.apply(entry, context)
}
