//! `include` and `exclude`: which items a processor changes.
//!
//! A [`Matcher`] is compiled for a signal once. While a payload is edited, an [`EntryMatch`] keeps what the resource and
//! the scope have decided, so that nothing is evaluated again for each item, and entries that can't match are not
//! entered.

mod config;
mod filter;
#[cfg(feature = "filter")]
mod names;
#[cfg(test)]
mod tests;
mod texts;

pub(crate) use config::MatchError;
pub use config::{AttributeMatchConfig, LibraryMatchConfig, MatchConfig, RegexpConfig, SeverityMatchConfig};
use filter::{Filter, MatchedItem};
#[cfg(feature = "filter")]
pub(crate) use names::MetricNames;
use otelcore_pdata::Signal;
use otelcore_pdata::edit::{Descend, LogMut, MetricMut, ResourceMut, ScopeMut, SpanMut};
use otelcore_pdata::views::AnyValue;
pub(crate) use texts::{TextFilter, text_filter};

/// Compiled `include` and `exclude` of one signal.
#[derive(Debug)]
pub(crate) struct Matcher {
    include: Option<Filter>,
    exclude: Option<Filter>,
}

impl Matcher {
    /// Checks the configuration by the rules of a signal, and compiles it.
    ///
    /// # Errors
    /// The first mistake.
    pub(crate) fn compile(
        include: Option<&MatchConfig>,
        exclude: Option<&MatchConfig>,
        signal: Signal,
    ) -> Result<Self, MatchError> {
        let compile = |config: Option<&MatchConfig>| config.map_or(Ok(None), |config| Filter::compile(config, signal));
        Ok(Self { include: compile(include)?, exclude: compile(exclude)? })
    }

    /// Matches the attributes of resources alone.
    ///
    /// # Errors
    /// The first mistake.
    #[cfg(feature = "filter")]
    pub(crate) fn of_resources(config: &MatchConfig) -> Result<Self, MatchError> {
        Ok(Self { include: Some(Filter::of_resources(config)?), exclude: None })
    }

    /// Whether the attributes of a resource match `include`.
    #[cfg(feature = "filter")]
    pub(crate) fn matches_resource(&self, resource: &ResourceMut<'_>, buffer: &mut Vec<u8>) -> bool {
        let get = |key: &[u8]| resource.attribute(key);
        self.include.as_ref().is_none_or(|filter| filter.matches_resource(&get, buffer))
    }

    /// Units of work that a byte of an item costs at most; see [`StepBudget`](otelcore_pdata::StepBudget).
    pub(crate) fn cost_per_byte(&self) -> u64 {
        [&self.include, &self.exclude].into_iter().flatten().map(Filter::cost_per_byte).sum()
    }
}

/// What is known of the entry that is visited.
#[derive(Debug, Default)]
pub(crate) struct EntryMatch {
    /// The resource, and the scope, match `exclude`, if there is one.
    is_resource_excluded: bool,
    is_scope_excluded: bool,
    buffer: Vec<u8>,
}

impl EntryMatch {
    /// Begins an entry. [`Descend::Skip`]: nothing in it is changed.
    pub(crate) fn resource(&mut self, matcher: &Matcher, resource: &ResourceMut<'_>) -> Descend {
        let get = |key: &[u8]| resource.attribute(key);
        if matcher.include.as_ref().is_some_and(|filter| !filter.matches_resource(&get, &mut self.buffer)) {
            return Descend::Skip;
        }
        let exclude = matcher.exclude.as_ref();
        self.is_resource_excluded = exclude.is_some_and(|filter| filter.matches_resource(&get, &mut self.buffer));
        Descend::Children
    }

    /// Begins a scope. [`Descend::Skip`]: nothing in it is changed.
    pub(crate) fn scope(&mut self, matcher: &Matcher, scope: &ScopeMut<'_>) -> Descend {
        self.is_scope_excluded = self.is_resource_excluded;
        if [&matcher.include, &matcher.exclude].into_iter().flatten().any(Filter::reads_scopes) {
            let view = scope.view();
            let matches = |filter: &Filter| filter.matches_scope(view.name, view.version);
            if matcher.include.as_ref().is_some_and(|filter| !matches(filter)) {
                return Descend::Skip;
            }
            self.is_scope_excluded &= matcher.exclude.as_ref().is_some_and(matches);
        }
        let is_all_excluded = matcher.exclude.as_ref().is_some_and(|filter| !filter.reads_items());
        if self.is_scope_excluded && is_all_excluded { Descend::Skip } else { Descend::Children }
    }

    /// Whether a span is changed.
    pub(crate) fn span(&mut self, matcher: &Matcher, span: &SpanMut<'_>) -> bool {
        self.item(matcher, &SpanItem(span))
    }

    /// Whether a log record is changed.
    pub(crate) fn log(&mut self, matcher: &Matcher, log: &LogMut<'_>) -> bool {
        self.item(matcher, &LogItem(log))
    }

    /// Whether the points of a metric are changed.
    pub(crate) fn metric(&mut self, matcher: &Matcher, metric: &MetricMut<'_>) -> bool {
        if matcher.include.is_none() && matcher.exclude.is_none() {
            return true;
        }
        let name = metric.view().name;
        matcher.include.as_ref().is_none_or(|filter| filter.matches_name(name))
            && !(self.is_scope_excluded && matcher.exclude.as_ref().is_some_and(|filter| filter.matches_name(name)))
    }

    fn item(&mut self, matcher: &Matcher, item: &impl MatchedItem) -> bool {
        let buffer = &mut self.buffer;
        matcher.include.as_ref().is_none_or(|filter| filter.matches_item(item, buffer))
            && !(self.is_scope_excluded
                && matcher.exclude.as_ref().is_some_and(|filter| filter.matches_item(item, buffer)))
    }
}

struct SpanItem<'a, 'b>(&'a SpanMut<'b>);

impl MatchedItem for SpanItem<'_, '_> {
    fn attribute(&self, key: &[u8]) -> Option<AnyValue<'_>> {
        self.0.attribute(key)
    }

    fn name(&self) -> &[u8] {
        self.0.view().name
    }

    fn kind(&self) -> i32 {
        self.0.view().kind
    }
}

struct LogItem<'a, 'b>(&'a LogMut<'b>);

impl MatchedItem for LogItem<'_, '_> {
    fn attribute(&self, key: &[u8]) -> Option<AnyValue<'_>> {
        self.0.attribute(key)
    }

    fn body(&self) -> AnyValue<'_> {
        self.0.view().body
    }

    fn severity(&self) -> (&[u8], i32) {
        let view = self.0.view();
        (view.severity_text, view.severity_number)
    }
}
