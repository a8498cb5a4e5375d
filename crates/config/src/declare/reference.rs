//! The reference of a declared type, in Markdown.

use std::fmt::Write;

use super::field::Comparison;
use super::{Field, Shape, Status};
use crate::{EffectiveValue, OptionalFlavor, print};

/// Documentation without the links that only rustdoc resolves, on one line for each paragraph.
pub(super) fn plain(doc: &str) -> String {
    let paragraphs = doc.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let text = paragraphs.filter(|p| !p.is_empty()).collect::<Vec<_>>().join(" ");
    text.replace("[`", "`").replace("`]", "`")
}

/// Tables of the keys, of the old keys, and of those that are not supported. Each row is one key with its path, such as
/// `protocols::grpc::endpoint`.
#[must_use]
pub fn markdown(fields: &[Field]) -> String {
    let mut tables = Tables::default();
    tables.add(fields, "");
    let mut out = String::new();
    if !tables.keys.is_empty() {
        out.push_str("| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
        out.push_str(&tables.keys);
    } else {
        out.push_str("It has no keys.\n");
    }
    for (title, head, rows) in [
        ("Old keys", "| Key | Write instead |\n|---|---|\n", &tables.old),
        ("Keys of the Go collector that are not supported", "| Key | Reason |\n|---|---|\n", &tables.unsupported),
    ] {
        if !rows.is_empty() {
            let _ = write!(out, "\n## {title}\n\n{head}{rows}");
        }
    }
    out
}

/// The keys as plain text for a terminal: a line with path, type and default, and the meaning below it. Old keys and those that
/// are not supported say what to write instead, or why.
#[must_use]
pub fn plain_text(fields: &[Field]) -> String {
    let mut out = String::new();
    put_plain_text(&mut out, fields, "");
    out
}

fn put_plain_text(out: &mut String, fields: &[Field], above: &str) {
    for field in fields {
        let path = path_of(field, above);
        match field.status {
            Status::Deprecated(instead) => {
                let _ = writeln!(out, "  {path}\n      An old key: {instead}");
                continue;
            }
            Status::Unsupported(sentence) => {
                let _ = writeln!(out, "  {path}\n      Not supported: {sentence}");
                continue;
            }
            Status::Used | Status::NoEffect(..) => {}
        }
        let default = default(field).replace('`', "");
        let default = if default.is_empty() { String::new() } else { format!(", default {default}") };
        let _ = writeln!(out, "  {path}: {}{default}", kind(field).replace('`', ""));
        let meaning = meaning(field);
        if !meaning.is_empty() {
            let _ = writeln!(out, "      {meaning}");
        }
        put_plain_text(out, field.shape.fields(), &path_below(field, path));
    }
}

fn path_of(field: &Field, above: &str) -> String {
    if above.is_empty() { field.key.to_owned() } else { format!("{above}::{}", field.key) }
}

/// What the paths of the keys in a field begin with.
fn path_below(field: &Field, path: String) -> String {
    match &field.shape {
        Shape::List(_) | Shape::TextsOrList(_) => format!("{path}[]"),
        Shape::Map(_) => format!("{path}::NAME"),
        _ => path,
    }
}

#[derive(Default)]
struct Tables {
    keys: String,
    old: String,
    unsupported: String,
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

impl Tables {
    fn add(&mut self, fields: &[Field], above: &str) {
        for field in fields {
            let path = path_of(field, above);
            if let Some((old, instead)) = field.old_key {
                let old = path.strip_suffix(field.key).unwrap_or("").to_owned() + old;
                let _ = writeln!(self.old, "| `{old}` | {} |", cell(instead));
            }
            match field.status {
                Status::Deprecated(instead) => {
                    let _ = writeln!(self.old, "| `{path}` | {} |", cell(instead));
                    continue;
                }
                Status::Unsupported(sentence) => {
                    let _ = writeln!(self.unsupported, "| `{path}` | {} |", cell(sentence));
                    continue;
                }
                Status::Used | Status::NoEffect(..) => {}
            }
            let (kind, default, meaning) = (kind(field), default(field), meaning(field));
            let _ = writeln!(self.keys, "| `{path}` | {} | {} | {} |", cell(&kind), cell(&default), cell(&meaning));
            self.add(field.shape.fields(), &path_below(field, path));
        }
    }
}

fn kind(field: &Field) -> String {
    let name = shape_name(&field.shape);
    let name = match field.unit {
        Some(unit) => format!("{name}, {unit}"),
        None => name,
    };
    let bounds = field.rules.iter().map(|rule| {
        let words = match rule.comparison {
            Comparison::AtLeast => "at least",
            Comparison::Above => "above",
            Comparison::AtMost => "at most",
        };
        format!(", {words} {}", rule.bound.text())
    });
    name + &bounds.collect::<String>()
}

fn shape_name(shape: &Shape) -> String {
    match shape {
        Shape::Bool => "bool".to_owned(),
        Shape::Int { min, max } if *min > i64::MIN.into() && *max < i64::MAX.into() => {
            format!("integer from {min} to {max}")
        }
        Shape::Int { min: 0, .. } => "integer, not negative".to_owned(),
        Shape::Int { .. } => "integer".to_owned(),
        Shape::Float => "number".to_owned(),
        Shape::Str => "text".to_owned(),
        Shape::Secret => "text, redacted".to_owned(),
        Shape::Duration => "duration".to_owned(),
        Shape::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Shape::Words => "list of texts".to_owned(),
        Shape::TextsOrList(_) => "list of texts, or of sections".to_owned(),
        Shape::List(inner) => match **inner {
            Shape::Section { .. } => "list of sections".to_owned(),
            ref inner => format!("list of values: {}", shape_name(inner)),
        },
        Shape::Map(inner) => match **inner {
            Shape::Section { .. } => "map of sections".to_owned(),
            ref inner => format!("map of values: {}", shape_name(inner)),
        },
        Shape::Headers => "map of names and values".to_owned(),
        Shape::Section { .. } => "section".to_owned(),
        Shape::Optional { .. } => "optional section".to_owned(),
        Shape::Any => "any".to_owned(),
    }
}

fn default(field: &Field) -> String {
    match (&field.shape, &field.default) {
        (Shape::Optional { flavor: OptionalFlavor::Some, .. }, _) => "on".to_owned(),
        (Shape::Optional { flavor: OptionalFlavor::Default, .. }, _) => "off; on if it is written".to_owned(),
        (Shape::Optional { .. }, _) => "off".to_owned(),
        (Shape::Section { .. } | Shape::Map(_) | Shape::Headers, _) => String::new(),
        (_, EffectiveValue::Null | EffectiveValue::Opaque(_)) => String::new(),
        (_, EffectiveValue::Str(text)) if text.is_empty() => String::new(),
        (_, EffectiveValue::List(list)) if list.is_empty() => String::new(),
        (_, EffectiveValue::List(list)) => {
            let items = list.iter().map(|item| print::to_yaml(item, true).trim().to_owned());
            format!("`[{}]`", items.collect::<Vec<_>>().join(", "))
        }
        (_, value) => format!("`{}`", print::to_yaml(value, true).trim()),
    }
}

fn meaning(field: &Field) -> String {
    let mut text = plain(&field.doc);
    if let Status::NoEffect(reason, _) = field.status {
        if !text.is_empty() {
            text.push(' ');
        }
        let _ = write!(text, "Has no effect: {reason}.");
    }
    text
}
