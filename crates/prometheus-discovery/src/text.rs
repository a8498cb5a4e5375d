//! Texts of a configuration as YAML has them: a number or a boolean is its text.
//!
//! Elsewhere in a configuration `true` is not a string. Prometheus's own configuration is read by the rules of YAML, where
//! it is, and `regex: true` is common.

use std::fmt;
use std::ops::Deref;

use otelcore_config::declare::{ConfigValue, Shape};
use otelcore_config::{ConfigNode, EffectiveValue, NodeValue, Section};

/// A text, for which a number or a boolean may be written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct YamlString(pub String);

impl Deref for YamlString {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for YamlString {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for YamlString {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for YamlString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for YamlString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text of a scalar; `None` for a list or a map. Null is the empty text.
pub(crate) fn text_of(node: &ConfigNode) -> Option<String> {
    match &node.value {
        NodeValue::List(_) | NodeValue::Map(_) => None,
        NodeValue::Null => Some(String::new()),
        NodeValue::Bool(value) => Some(value.to_string()),
        _ => node.as_str().or_else(|| node.source_scalar()).map(str::to_owned),
    }
}

/// Reads a text; `None` if the key is not written, or has no text.
pub(crate) fn read_text(s: &mut Section<'_>, key: &str) -> Option<String> {
    let node = s.raw_node(key)?;
    let text = text_of(node);
    match &text {
        Some(text) => s.record(key, EffectiveValue::Str(text.clone())),
        None => drop(s.error(key, format!("'{key}' expected type 'string'"))),
    }
    text
}

impl ConfigValue for YamlString {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        read_text(s, key).map_or_else(|| default.clone(), Self)
    }

    fn shape(_: &Self) -> Shape {
        Shape::Str
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.0.clone())
    }
}

/// A map of names to texts, for which numbers and booleans may be written. Null is the empty text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct YamlLabels(pub Vec<(String, String)>);

impl ConfigValue for YamlLabels {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        let Some(node) = s.raw_node(key) else { return default.clone() };
        let entries = match &node.value {
            NodeValue::Null => return Self::default(),
            NodeValue::Map(map) => map,
            _ => {
                s.error(key, format!("'{key}' expected a map"));
                return default.clone();
            }
        };
        let mut labels = Vec::new();
        for entry in entries {
            match text_of(&entry.node) {
                Some(text) => labels.push((entry.key.to_string(), text)),
                None => drop(s.error(&format!("{key}::{}", entry.key), "a string is expected")),
            }
        }
        Self(labels)
    }

    fn shape(_: &Self) -> Shape {
        Shape::Map(Box::new(Shape::Str))
    }

    fn effective(&self) -> EffectiveValue {
        let texts = self.0.iter().map(|(name, value)| (name.clone(), EffectiveValue::Str(value.clone())));
        EffectiveValue::map(texts)
    }
}
