//! The effective configuration, as `print-config` shows it: YAML with an indent of four, or JSON.
//!
//! Keys are sorted, opaque strings are redacted if the caller asks for it, durations are Go strings in YAML and
//! nanoseconds in JSON. Strings are quoted when they would read back as something else.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::duration::GoDuration;
use crate::node::{ConfigNode, NodeValue};
use crate::scalar;

/// A value after defaults.
#[derive(Clone, Debug, PartialEq)]
pub enum EffectiveValue {
    /// An unset optional.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any integer.
    Int(i128),
    /// Any number.
    Float(f64),
    /// Any string.
    Str(String),
    /// A string that is redacted.
    Opaque(String),
    /// A duration.
    Duration(GoDuration),
    /// A list.
    List(Vec<Self>),
    /// A section.
    Map(BTreeMap<String, Self>),
}

impl EffectiveValue {
    /// A section of these entries. The last of several with the same key is in it.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        // One by one: `collect` sorts, with code of its own for each type of iterator.
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            map.insert(key.into(), value);
        }
        Self::Map(map)
    }
}

impl From<&ConfigNode> for EffectiveValue {
    fn from(node: &ConfigNode) -> Self {
        match &node.value {
            NodeValue::Null => Self::Null,
            NodeValue::Bool(v) => Self::Bool(*v),
            NodeValue::Int(v) => Self::Int(*v),
            NodeValue::Float(v) => Self::Float(*v),
            NodeValue::Str(v) => Self::Str(v.to_string()),
            NodeValue::List(items) => Self::List(items.iter().map(Self::from).collect()),
            NodeValue::Map(map) => Self::map(map.iter().map(|e| (e.key.to_string(), Self::from(&e.node)))),
        }
    }
}

const REDACTED: &str = "[REDACTED]";

/// YAML, ending in a line break.
pub fn to_yaml(value: &EffectiveValue, redact: bool) -> String {
    let mut out = String::new();
    yaml_value(&mut out, value, redact, 0, true);
    // A scalar is written with a space before it.
    let text = out.trim_start_matches(' ');
    if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

/// Writes the value after a key or a dash: a space and the scalar, or a map or list on its own lines; with
/// `on_current_line`, the map or list begins on the current line.
fn yaml_value(out: &mut String, value: &EffectiveValue, redact: bool, indent: usize, on_current_line: bool) {
    crate::steps::add(1);
    match value {
        EffectiveValue::Map(map) if !map.is_empty() => {
            let mut here = on_current_line;
            for (key, inner) in map {
                if !std::mem::take(&mut here) {
                    break_line(out, indent);
                }
                out.push_str(&yaml_string(key));
                out.push(':');
                yaml_value(out, inner, redact, indent + 4, false);
            }
        }
        EffectiveValue::List(items) if !items.is_empty() => {
            let mut here = on_current_line;
            for item in items {
                if !std::mem::take(&mut here) {
                    break_line(out, indent);
                }
                out.push('-');
                // yaml.v3 starts a map or list on the line of its dash and indents its other lines by two columns.
                let nested = match item {
                    EffectiveValue::Map(map) => !map.is_empty(),
                    EffectiveValue::List(items) => !items.is_empty(),
                    _ => false,
                };
                if nested {
                    out.push(' ');
                }
                yaml_value(out, item, redact, indent + 2, true);
            }
        }
        EffectiveValue::Str(text) if text.contains('\n') && fits_literal(text) => {
            out.push_str(if text.ends_with('\n') { " |" } else { " |-" });
            for line in text.lines() {
                if line.is_empty() {
                    out.push('\n');
                } else {
                    break_line(out, indent.max(4));
                    out.push_str(line);
                }
            }
        }
        scalar => {
            out.push(' ');
            out.push_str(&yaml_scalar(scalar, redact));
        }
    }
}

fn break_line(out: &mut String, indent: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
}

fn yaml_scalar(value: &EffectiveValue, redact: bool) -> String {
    match value {
        EffectiveValue::Null => "null".to_owned(),
        EffectiveValue::Bool(v) => v.to_string(),
        EffectiveValue::Int(v) => v.to_string(),
        EffectiveValue::Float(v) if v.is_nan() => ".nan".to_owned(),
        EffectiveValue::Float(v) if v.is_infinite() => if *v > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
        EffectiveValue::Float(v) => float(*v, otelcore_go_number::put_general),
        EffectiveValue::Opaque(_) if redact => yaml_string(REDACTED),
        EffectiveValue::Str(text) | EffectiveValue::Opaque(text) => yaml_string(text),
        EffectiveValue::Duration(v) => v.to_string(),
        EffectiveValue::List(_) => "[]".to_owned(),
        EffectiveValue::Map(_) => "{}".to_owned(),
    }
}

fn fits_literal(text: &str) -> bool {
    let plain = |c: char| {
        c == '\n' || (!c.is_control() && c < '\u{10000}' && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}'))
    };
    let edges =
        !text.starts_with([' ', '\n', '\t']) && !text.ends_with("\n\n") && text.lines().all(|l| !l.ends_with(' '));
    edges && text.chars().all(plain)
}

/// Plain if that reads back as the same string, in single quotes if it only looks like syntax, else in double quotes.
fn yaml_string(text: &str) -> String {
    let special =
        |c: char| c.is_control() || c >= '\u{10000}' || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}');
    if text.is_empty()
        || text.chars().any(special)
        || !matches!(scalar::resolve(text), NodeValue::Str(_))
        || is_ambiguous(text)
    {
        return double_quoted(text);
    }
    let first = text.chars().next().unwrap_or(' ');
    let second_blank = text.chars().nth(1).is_none_or(char::is_whitespace);
    let syntax =
        matches!(first, ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`')
            || (matches!(first, '-' | '?' | ':') && second_blank)
            || text.starts_with("---")
            || text.starts_with("...")
            || text.contains(": ")
            || text.contains(" #")
            || text.ends_with(':')
            || text.starts_with(' ')
            || text.ends_with(' ');
    if syntax { format!("'{}'", text.replace('\'', "''")) } else { text.to_owned() }
}

/// Strings that YAML 1.1 parsers read as bools, dates, base 60 numbers or merge keys.
fn is_ambiguous(text: &str) -> bool {
    let old_bool = matches!(text.to_lowercase().as_str(), "y" | "yes" | "on" | "n" | "no" | "off");
    let date =
        text.len() >= 8 && text.bytes().take(4).all(|b| b.is_ascii_digit()) && text.as_bytes().get(4) == Some(&b'-');
    let base60 =
        text.contains(':') && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b':' | b'.' | b'_' | b'+' | b'-'));
    old_bool || date || base60 || text == "<<"
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c >= '\u{10000}' => escape(&mut out, format_args!("\\U{:08X}", u32::from(c))),
            c if c.is_control() && c < '\u{80}' => escape(&mut out, format_args!("\\x{:02X}", u32::from(c))),
            c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') => {
                escape(&mut out, format_args!("\\u{:04X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn escape(out: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(args);
}

/// A number in a form of Go, which is ASCII.
fn float(v: f64, put: fn(&mut Vec<u8>, f64)) -> String {
    let mut text = Vec::new();
    put(&mut text, v);
    String::from_utf8_lossy(&text).into_owned()
}

/// JSON with an indent of two, ending in a line break.
pub fn to_json(value: &EffectiveValue, redact: bool) -> String {
    let mut out = String::new();
    json_value(&mut out, value, redact, 0);
    out.push('\n');
    out
}

fn json_value(out: &mut String, value: &EffectiveValue, redact: bool, indent: usize) {
    match value {
        EffectiveValue::Map(map) if !map.is_empty() => {
            let mut separator = "{";
            for (key, inner) in map {
                out.push_str(separator);
                break_line(out, indent + 2);
                json_string(out, key);
                out.push_str(": ");
                json_value(out, inner, redact, indent + 2);
                separator = ",";
            }
            break_line(out, indent);
            out.push('}');
        }
        EffectiveValue::List(items) if !items.is_empty() => {
            let mut separator = "[";
            for item in items {
                out.push_str(separator);
                break_line(out, indent + 2);
                json_value(out, item, redact, indent + 2);
                separator = ",";
            }
            break_line(out, indent);
            out.push(']');
        }
        EffectiveValue::Opaque(_) if redact => json_string(out, REDACTED),
        EffectiveValue::Str(text) | EffectiveValue::Opaque(text) => json_string(out, text),
        EffectiveValue::Duration(v) => out.push_str(&v.0.to_string()),
        // JSON has no NaN and no infinity; with null the document is still valid.
        EffectiveValue::Float(v) if !v.is_finite() => out.push_str("null"),
        EffectiveValue::Float(v) => out.push_str(&float(*v, otelcore_go_number::put_json)),
        other => out.push_str(&yaml_scalar(other, redact)),
    }
}

fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Go's encoder also escapes the characters that are special in HTML.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => escape(out, format_args!("\\u{:04x}", u32::from(c))),
            c if c < ' ' => escape(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
