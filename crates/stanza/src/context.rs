//! What a run of a pipeline is given, and what it reports.

use std::collections::BTreeMap;

use otelcore_go_text::time::{Location, Time};

/// What a run of a pipeline knows of the world.
#[derive(Debug)]
pub struct RunContext<'c> {
    /// The time of the day, in nanoseconds since the epoch.
    pub now_nanos: u64,
    /// The zone of times without one.
    pub local: &'c Location,
    /// Variables of the process's environment that expressions name.
    pub env: &'c BTreeMap<String, String>,
    /// A random number, from which others are made.
    pub seed: u64,
}

impl RunContext<'_> {
    pub(crate) fn now(&self) -> Time {
        Time::from_unix_nanos(i64::try_from(self.now_nanos).unwrap_or(i64::MAX))
    }
}

/// Entries that an operator could not process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The operator.
    pub operator_id: String,
    /// Its type.
    pub operator_type: &'static str,
    /// What was done with them: `send` or `drop`; empty where the rule of the operator has no part in it.
    pub action: &'static str,
    /// Why, for the first of them.
    pub error: String,
    /// How many.
    pub count: u64,
}
