//! What travels through a pipeline.

use std::sync::Arc;

use otelcore_pdata::{Rope, Signal};

use crate::Held;

/// A checked body of one signal, with what is known of its sender. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Which request message the body is.
    pub signal: Signal,
    /// The body, and the number of items in it.
    pub body: Rope,
    /// Headers of the request, where a receiver keeps them.
    pub meta: Option<Arc<Metadata>>,
    /// The charge for the body's bytes.
    pub held: Held,
}

impl Payload {
    /// Spans, data points or log records.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.body.items()
    }
}

/// Headers of the request that brought a payload, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metadata {
    entries: Vec<(String, Vec<String>)>,
}

impl Metadata {
    /// Adds a value to a header.
    pub fn add(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        match self.entries.iter_mut().find(|(n, _)| *n == name) {
            Some((_, values)) => values.push(value.to_owned()),
            None => self.entries.push((name, vec![value.to_owned()])),
        }
    }

    /// The values of a header, its name in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> &[String] {
        self.entries.iter().find(|(n, _)| n == name).map_or(&[], |(_, values)| values)
    }

    /// True without any header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The headers and their values, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.entries.iter().map(|(n, v)| (n.as_str(), v.as_slice()))
    }
}
