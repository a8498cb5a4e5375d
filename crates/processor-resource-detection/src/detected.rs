//! What detectors find: attributes, and the schema that their names are of.
//!
//! Owns the merge of several detectors' results, and their form for edits. Asks nothing.

use std::fmt::Write as _;

use otelcore_pdata::Value;

/// The schema of the semantic conventions whose names the detectors use.
pub(crate) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.40.0";

/// The resource that a detector has found. Without attributes: the collector does not run where it detects.
#[derive(Clone, Default, Debug, PartialEq)]
pub(crate) struct DetectedResource {
    pub(crate) attributes: Vec<(String, Value)>,
    /// Empty for none.
    pub(crate) schema_url: &'static str,
}

impl DetectedResource {
    /// Sets an attribute, and replaces one of the same key.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        match self.attributes.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((key.to_owned(), value)),
        }
    }

    /// Adds what another detector has found; keys that are there keep their values.
    pub(crate) fn merge(&mut self, other: Self) {
        if self.schema_url.is_empty() {
            self.schema_url = other.schema_url;
        }
        for (key, value) in other.attributes {
            if self.attributes.iter().all(|(k, _)| *k != key) {
                self.attributes.push((key, value));
            }
        }
    }

    /// `a=x, b=[y, z]`, for the log.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.attributes {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}{key}={}", value_text(value));
        }
        text
    }

    /// Keys with the encoded form of their values.
    pub(crate) fn encode(&self) -> EncodedResource {
        let encode = |(key, value): &(String, Value)| {
            let mut bytes = Vec::new();
            value.encode(&mut bytes);
            (key.clone().into_bytes(), bytes)
        };
        let attributes = self.attributes.iter().map(encode).collect();
        EncodedResource { attributes, schema_url: self.schema_url }
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => String::from_utf8_lossy(text).into_owned(),
        Value::Int(number) => number.to_string(),
        Value::Array(values) => format!("[{}]", values.iter().map(value_text).collect::<Vec<_>>().join(", ")),
        other => format!("{other:?}"),
    }
}

/// A detected resource in the form that edits read.
#[derive(Default, Debug)]
pub(crate) struct EncodedResource {
    /// Key, and the content of an `AnyValue` message.
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) schema_url: &'static str,
}

impl EncodedResource {
    /// Bytes that it can add to a resource, with tags and lengths.
    pub(crate) fn max_bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(key, value)| key.len() + value.len() + 32);
        attributes.sum::<usize>() + self.schema_url.len() + 32
    }
}

/// A resource in the making: attributes that the configuration turns off are left out.
pub(crate) struct ResourceBuilder<'a> {
    is_enabled: &'a dyn Fn(&str) -> bool,
    resource: DetectedResource,
}

impl<'a> ResourceBuilder<'a> {
    pub(crate) fn new(is_enabled: &'a dyn Fn(&str) -> bool) -> Self {
        Self { is_enabled, resource: DetectedResource::default() }
    }

    pub(crate) fn set_str(&mut self, key: &str, value: impl Into<String>) {
        self.set(key, Value::String(value.into().into_bytes()));
    }

    pub(crate) fn set_strings(&mut self, key: &str, values: Vec<String>) {
        let values = values.into_iter().map(|value| Value::String(value.into_bytes())).collect();
        self.set(key, Value::Array(values));
    }

    pub(crate) fn set(&mut self, key: &str, value: Value) {
        if (self.is_enabled)(key) {
            self.resource.set(key, value);
        }
    }

    /// Sets an attribute that no switch turns off: those of tags.
    pub(crate) fn set_always(&mut self, key: &str, value: &str) {
        self.resource.set(key, Value::String(value.as_bytes().to_vec()));
    }

    pub(crate) fn finish(mut self) -> DetectedResource {
        self.resource.schema_url = SCHEMA_URL;
        self.resource
    }
}
