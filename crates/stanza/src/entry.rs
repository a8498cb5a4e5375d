//! One log record while operators work on it.

use std::any::Any;
use std::sync::Arc;

use otelcore_expr::{Environment, Map, Value, View};
use otelcore_go_text::time::Time;
use smallvec::SmallVec;

use crate::context::RunContext;

/// What the source of an entry counts: it is dropped with the last entry that was made of it.
pub type Origin = Arc<dyn Any + Send + Sync>;

/// The origins of one entry; several after entries were joined.
pub type Origins = SmallVec<[Origin; 1]>;

/// A log record.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// When it was read, in nanoseconds since the epoch.
    pub observed_nanos: u64,
    /// When it happened, if that is known.
    pub timestamp: Option<Time>,
    /// The body.
    pub body: Value,
    /// The attributes.
    pub attributes: Map,
    /// The attributes of the resource.
    pub resource: Map,
    /// `SeverityNumber`; zero where it is not known.
    pub severity: u8,
    /// The severity in the words of the source.
    pub severity_text: Vec<u8>,
    /// The span id, of any length.
    pub span_id: Option<Vec<u8>>,
    /// The trace id, of any length.
    pub trace_id: Option<Vec<u8>>,
    /// The trace flags, of any length.
    pub trace_flags: Option<Vec<u8>>,
    /// The name of the instrumentation scope.
    pub scope_name: Vec<u8>,
    /// Where it comes from.
    pub origins: Origins,
}

impl Entry {
    /// An entry with a body.
    #[must_use]
    pub fn new(body: Value, observed_nanos: u64) -> Self {
        Self { body, observed_nanos, ..Self::default() }
    }

    /// Takes over the origins of another entry, which becomes a part of this one.
    pub fn take_origins(&mut self, other: Origins) {
        for origin in other {
            // Lines of one file usually have the same origin.
            if !self.origins.last().is_some_and(|last| Arc::ptr_eq(last, &origin)) {
                self.origins.push(origin);
            }
        }
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        let maps = [&self.attributes, &self.resource];
        let values = maps.into_iter().flatten().map(|(key, value)| key.len() + 24 + value.memory_size());
        size_of::<Self>() + self.body.memory_size() + values.sum::<usize>() + self.severity_text.len()
    }
}

/// An entry as the variables of an expression.
pub(crate) struct EntryEnvironment<'e> {
    pub(crate) entry: &'e Entry,
    pub(crate) context: &'e RunContext<'e>,
}

impl Environment for EntryEnvironment<'_> {
    fn variable(&self, name: &str) -> Option<View<'_>> {
        match name {
            "body" | "$" => Some(self.entry.body.view()),
            "attributes" => Some(View::Map(&self.entry.attributes)),
            "resource" => Some(View::Map(&self.entry.resource)),
            "timestamp" => self.entry.timestamp.as_ref().map(View::Time),
            _ => None,
        }
    }

    fn env_var(&self, name: &str) -> String {
        self.context.env.get(name).cloned().unwrap_or_default()
    }
}
