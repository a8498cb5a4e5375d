//! Names of metrics alone.

use super::config::{MatchConfig, MatchError};
use super::texts::TextFilter;

/// Names of metrics, one of which must match.
#[derive(Debug)]
pub(crate) struct MetricNames(TextFilter);

impl MetricNames {
    /// Compiles the names; `None` without any.
    ///
    /// # Errors
    /// A pattern is not valid.
    pub(crate) fn compile(config: &MatchConfig) -> Result<Option<Self>, MatchError> {
        Ok(super::filter::metric_names(config)?.map(Self))
    }

    /// Whether a name matches.
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        self.0.matches(name)
    }
}
