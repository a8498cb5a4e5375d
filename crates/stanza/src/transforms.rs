//! Operators that change an entry.

use otelcore_expr::{Key, Program, Value, View};
use otelcore_go_regexp::{GoRegexp, Template};
use otelcore_go_text::quote::unquote;

use crate::blocks::{TraceParser, parse_scope_name};
use crate::context::RunContext;
use crate::entry::{Entry, EntryEnvironment};
use crate::field::{Field, Root};
use crate::severity::SeverityParser;
use crate::times::TimeParser;

/// Changes an entry.
pub(crate) trait Transform: Send {
    /// # Errors
    /// Why the entry can't be changed; it may have been changed in part.
    fn transform(&mut self, entry: &mut Entry, context: &RunContext<'_>) -> Result<(), String>;
}

/// A transformer that is a closure.
impl<F: FnMut(&mut Entry, &RunContext<'_>) -> Result<(), String> + Send> Transform for F {
    fn transform(&mut self, entry: &mut Entry, context: &RunContext<'_>) -> Result<(), String> {
        self(entry, context)
    }
}

/// What `add` sets.
pub(crate) enum Added {
    Value(Value),
    Expression(Program),
}

pub(crate) fn add(field: Field, added: Added) -> Box<dyn Transform> {
    Box::new(move |entry: &mut Entry, context: &RunContext<'_>| {
        let value = match &added {
            Added::Value(value) => value.clone(),
            Added::Expression(program) => program
                .run(&EntryEnvironment { entry, context })
                .map_err(|error| format!("evaluate value_expr: {error}"))?,
        };
        field.set(entry, value)
    })
}

pub(crate) fn copy(from: Field, to: Field) -> Box<dyn Transform> {
    Box::new(move |entry: &mut Entry, _: &RunContext<'_>| {
        let Some(value) = from.get(entry) else {
            return Err(format!("copy: from field does not exist in this entry: {from}"));
        };
        let value = value.to_value();
        to.set(entry, value)
    })
}

pub(crate) fn move_field(from: Field, to: Field) -> Box<dyn Transform> {
    Box::new(move |entry: &mut Entry, _: &RunContext<'_>| match from.delete(entry) {
        Some(value) => to.set(entry, value),
        None => Err(format!("move: field does not exist: {from}")),
    })
}

pub(crate) fn remove(field: Field) -> Box<dyn Transform> {
    Box::new(move |entry: &mut Entry, _: &RunContext<'_>| match field.delete(entry) {
        Some(_) => Ok(()),
        None => Err(format!("remove: field does not exist: {field}")),
    })
}

/// Keeps these fields; a part of the entry of which none is named stays as it is.
pub(crate) fn retain(fields: Vec<Field>) -> Box<dyn Transform> {
    let names = |root| fields.iter().any(|field| field.root == root);
    let (body, attributes, resource) = (names(Root::Body), names(Root::Attributes), names(Root::Resource));
    Box::new(move |entry: &mut Entry, _: &RunContext<'_>| {
        let mut kept = Entry::default();
        for field in &fields {
            if let Some(value) = field.get(entry) {
                let value = value.to_value();
                field.set(&mut kept, value)?;
            }
        }
        if body {
            entry.body = kept.body;
        }
        if attributes {
            entry.attributes = kept.attributes;
        }
        if resource {
            entry.resource = kept.resource;
        }
        Ok(())
    })
}

pub(crate) fn flatten(field: Field) -> Box<dyn Transform> {
    Box::new(move |entry: &mut Entry, _: &RunContext<'_>| match field.delete(entry) {
        None => Err(format!("apply flatten: field {field} does not exist on entry")),
        Some(Value::Map(map)) => {
            let parent = field.parent();
            map.into_iter().try_for_each(|(key, value)| parent.child(key).set(entry, value))
        }
        Some(other) => {
            field.set(entry, other).map_err(|error| format!("reset non-map field: {error}"))?;
            Err(format!("apply flatten: field {field} is not a map"))
        }
    })
}

pub(crate) fn assign_keys(field: Field, keys: Vec<Key>) -> Box<dyn Transform> {
    Box::new(move |entry: &mut Entry, _: &RunContext<'_>| {
        let values = match field.get(entry) {
            None => return Err(format!("apply assign_keys: field {field} does not exist on entry")),
            Some(View::Array(values)) => values,
            Some(_) => return Err(format!("apply assign_keys: couldn't convert field {field} to []any")),
        };
        if values.len() != keys.len() {
            let (values, keys) = (values.len(), keys.len());
            return Err(format!(
                "apply assign_keys: field {field} contains {values} values while expected keys contain {keys} keys"
            ));
        }
        let map = keys.iter().cloned().zip(values.iter().cloned()).collect();
        field.set(entry, Value::Map(map))
    })
}

pub(crate) fn regex_replace(field: Field, pattern: GoRegexp, replacement: &str) -> Box<dyn Transform> {
    let template = Template::parse(replacement);
    Box::new(move |entry: &mut Entry, _: &RunContext<'_>| {
        let text = match field.get(entry) {
            None => return Ok(()),
            Some(View::String(text)) => text,
            Some(other) => return Err(format!("type {} cannot be handled", other.go_type())),
        };
        let mut out = Vec::new();
        if pattern.replace_all(text, &template, &mut out) { field.set(entry, Value::String(out)) } else { Ok(()) }
    })
}

pub(crate) fn unquote_field(field: Field) -> Box<dyn Transform> {
    Box::new(move |entry: &mut Entry, _: &RunContext<'_>| {
        let text = match field.get(entry) {
            None => return Ok(()),
            Some(View::String(text)) => text,
            Some(other) => return Err(format!("type {} cannot be unquoted", other.go_type())),
        };
        let text = unquote(text).ok_or("invalid syntax")?;
        field.set(entry, Value::String(text))
    })
}

pub(crate) fn sanitize_utf8(field: Field) -> Box<dyn Transform> {
    Box::new(move |entry: &mut Entry, _: &RunContext<'_>| {
        let text = match field.get(entry) {
            None => return Ok(()),
            Some(View::String(text)) => text,
            Some(other) => return Err(format!("field '{field}' is not a string, got {}", other.go_type())),
        };
        if std::str::from_utf8(text).is_ok() {
            return Ok(());
        }
        let text = valid_utf8(text);
        field.set(entry, Value::String(text))
    })
}

/// The text with each run of bytes that are not UTF-8 replaced by one replacement character.
fn valid_utf8(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut was_invalid = false;
    for chunk in text.utf8_chunks() {
        if !chunk.valid().is_empty() {
            out.extend_from_slice(chunk.valid().as_bytes());
            was_invalid = false;
        }
        if !chunk.invalid().is_empty() && !was_invalid {
            out.extend_from_slice("\u{fffd}".as_bytes());
            was_invalid = true;
        }
    }
    out
}

pub(crate) fn noop() -> Box<dyn Transform> {
    Box::new(|_: &mut Entry, _: &RunContext<'_>| Ok(()))
}

pub(crate) fn time(parser: TimeParser) -> Box<dyn Transform> {
    Box::new(move |entry: &mut Entry, context: &RunContext<'_>| parser.parse(entry, context))
}

pub(crate) fn severity(parser: SeverityParser) -> Box<dyn Transform> {
    Box::new(move |entry: &mut Entry, _: &RunContext<'_>| parser.parse(entry))
}

pub(crate) fn trace(parser: TraceParser) -> Box<dyn Transform> {
    Box::new(move |entry: &mut Entry, _: &RunContext<'_>| parser.parse(entry))
}

pub(crate) fn scope_name(field: Field) -> Box<dyn Transform> {
    Box::new(move |entry: &mut Entry, _: &RunContext<'_>| parse_scope_name(&field, entry))
}
