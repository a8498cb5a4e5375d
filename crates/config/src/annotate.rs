//! The effective configuration as YAML, each value with where it came from, as `print-config --annotate` and the live page show it.
//!
//! Owns the form. A value comes from a place in a source, from variables that an expression at that place names, or is a default.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::node::{ConfigNode, SourceLocation};
use crate::print::{self, EffectiveValue};

/// Where comments begin, unless a line is longer.
const COMMENT_COLUMN: usize = 60;

/// Where the values of a configuration are written: of what was read, before defaults, only the keys and their places.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValueOrigins {
    place: SourceLocation,
    /// Of the entries of a map.
    entries: BTreeMap<Arc<str>, Self>,
}

impl ValueOrigins {
    /// The places of this tree. Its depth is bounded when it is parsed.
    #[must_use]
    pub fn of(node: &ConfigNode) -> Self {
        let entries = node.as_map().into_iter().flat_map(|map| map.iter());
        let entries = entries.map(|entry| (entry.key.clone(), Self::of(&entry.node))).collect();
        Self { place: node.origin.clone(), entries }
    }
}

/// The whole configuration. `redact` hides secrets. `None`: it would have more than `limit` bytes.
#[must_use]
pub fn to_annotated_yaml(
    effective: &EffectiveValue,
    origins: &ValueOrigins,
    redact: bool,
    limit: usize,
) -> Option<String> {
    let mut out = String::new();
    put(&mut out, effective, Some(origins), redact, limit, 0, false);
    (out.len() <= limit).then_some(out)
}

/// The entries of a map. `has_other_keys`: the section that this map is in has keys with other names than the effective
/// configuration, so that a value that is not written may come from one of them.
fn put(
    out: &mut String,
    value: &EffectiveValue,
    origins: Option<&ValueOrigins>,
    redact: bool,
    limit: usize,
    indent: usize,
    has_other_keys: bool,
) {
    let EffectiveValue::Map(map) = value else { return };
    let written = origins.map(|origins| &origins.entries);
    let has_other_keys =
        has_other_keys || written.is_some_and(|written| written.keys().any(|key| !map.contains_key(&**key)));
    for (key, value) in map {
        if out.len() > limit {
            return;
        }
        let entry = written.and_then(|written| written.get(key.as_str()));
        let key = print::to_yaml(&EffectiveValue::Str(key.clone()), false);
        let line = format!("{:indent$}{}:", "", key.trim_end());
        let comment = match entry {
            Some(entry) => origin(&entry.place),
            None if has_other_keys => "default, or from an older key of this section".to_owned(),
            None => "default".to_owned(),
        };
        match value {
            EffectiveValue::Map(inner) if !inner.is_empty() => {
                let _ = writeln!(out, "{line}");
                put(out, value, entry, redact, limit, indent + 4, has_other_keys);
            }
            value => {
                let text = print::to_yaml(value, redact);
                let text = text.trim_end();
                let is_block = text.contains('\n') || matches!(value, EffectiveValue::List(items) if !items.is_empty());
                if is_block {
                    put_commented(out, &line, &comment);
                    // A literal block has its mark on the line of the key.
                    for part in text.lines() {
                        let _ = writeln!(out, "{:width$}{part}", "", width = indent + 4);
                    }
                } else {
                    put_commented(out, &format!("{line} {text}"), &comment);
                }
            }
        }
    }
}

fn put_commented(out: &mut String, line: &str, comment: &str) {
    let _ = writeln!(out, "{line:COMMENT_COLUMN$} # {comment}");
}

/// Where a value is written, and the variables that it is made of.
fn origin(origin: &SourceLocation) -> String {
    let line = origin.text.line(origin.line).unwrap_or_default();
    let from: String = line.chars().skip(usize::try_from(origin.column.saturating_sub(1)).unwrap_or(0)).collect();
    let names = expressions(&from);
    let place = if origin.source.starts_with("--set") || origin.source.starts_with("env:") {
        origin.source.to_string()
    } else {
        format!("{}:{}", origin.source, origin.line)
    };
    let place: String = place.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if names.is_empty() { place } else { format!("{} in {place}", names.join(", ")) }
}

/// The expressions `${...}` in the rest of a line, without their defaults: those may be secret.
fn expressions(mut text: &str) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((before, rest)) = text.split_once("${") {
        let Some((name, after)) = rest.split_once('}') else { break };
        let name = name.split_once(":-").map_or(name, |(name, _)| name);
        if !before.ends_with('$')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '.' | '/' | '-'))
        {
            found.push(format!("${{{name}}}"));
        }
        text = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::{Diagnostics, from_yaml};

    use super::*;

    #[test]
    fn value_has_its_place_or_is_a_default() {
        let d = Diagnostics::new();
        let root = from_yaml("a:\n  b: 1\n  old: 2\nc: x\n", &d).unwrap();
        let map = |entries: &[(&str, EffectiveValue)]| {
            EffectiveValue::map(entries.iter().map(|(key, value)| (*key, value.clone())))
        };
        let int = EffectiveValue::Int;
        let list = EffectiveValue::List(vec![int(1), int(2)]);
        let effective = map(&[
            ("a", map(&[("b", int(1)), ("new", int(2))])),
            ("c", EffectiveValue::Str("x".to_owned())),
            ("d", list),
            ("e", EffectiveValue::Opaque("hunter2".to_owned())),
        ]);
        let origins = ValueOrigins::of(&root);
        assert_eq!(to_annotated_yaml(&effective, &origins, true, 100), None, "it is longer");
        let text = to_annotated_yaml(&effective, &origins, true, usize::MAX).unwrap();
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = [
            "a:",
            "b: 1 # yaml::2",
            "new: 2 # default, or from an older key of this section",
            "c: x # yaml::4",
            "d: # default",
            "- 1",
            "- 2",
            "e: '[REDACTED]' # default",
        ];
        assert_eq!(lines, expected, "{text}");
        let again = from_yaml(&text, &d).unwrap();
        assert_eq!(again.get_path("a::new").map(EffectiveValue::from), Some(int(2)), "{text}");
    }

    #[test]
    fn expressions_of_a_line_are_named_without_their_defaults() {
        assert_eq!(expressions("${env:HOST}:${PORT:-secret} $${no}"), ["${env:HOST}", "${PORT}"]);
        assert!(expressions("plain").is_empty() && expressions("${x").is_empty());
    }
}
