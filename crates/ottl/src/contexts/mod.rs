//! What statements are evaluated on.
//!
//! A context is two things. When a configuration is read, a [`ContextType`] says which paths and enums there are and
//! resolves each path to a [`Field`]. While data flows, a [`ContextView`] reads fields of one item, and a
//! [`ContextMut`] changes them.

mod access;
mod data_point;
mod entries;
mod enums;
mod fields;
mod log;
mod map_mut;
mod metric;
mod owned_metric;
mod paths;
mod request;
mod span;
#[cfg(test)]
mod tests;
pub mod trace_state;

pub use data_point::DataPointContext;
pub use entries::{ResourceContext, ScopeContext};
pub use fields::{
    DataPointField, LogField, MetricField, RequestField, ResourceField, ScopeField, SpanEventField, SpanField,
};
pub use log::LogContext;
pub use map_mut::{Change, MapMut};
pub use metric::MetricContext;
pub use owned_metric::OwnedMetric;
pub use paths::{DATA_POINT, LOG, METRIC, RESOURCE, SCOPE, SPAN, SPAN_EVENT};
pub use request::RequestMetadata;
pub use span::{SpanContext, SpanEventContext};

use otelcore_pdata::edit::MetricKind;

use crate::error::EvalError;
use crate::index::Key;
use crate::value::Value;

/// A path of a context, resolved. Its keys are apart from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Field {
    /// `cache`. Is read and written by the evaluation itself; no context sees it.
    Cache,
    /// Of the resource.
    Resource(ResourceField),
    /// Of the instrumentation scope.
    Scope(ScopeField),
    /// Of the span.
    Span(SpanField),
    /// Of the event of a span.
    SpanEvent(SpanEventField),
    /// Of the metric.
    Metric(MetricField),
    /// Of the data point.
    DataPoint(DataPointField),
    /// Of the log record.
    Log(LogField),
    /// Of the request with which the telemetry came.
    Request(RequestField),
    /// A path of a context that is defined outside of this crate, by a number of its own.
    Other(u16),
}

/// A segment of a path in a statement: `attributes["a"]` in `span.attributes["a"]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it is followed by keys in brackets.
    pub has_keys: bool,
}

/// A path that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResolvedPath {
    /// What it is.
    pub field: Field,
    /// How many of the segments it consists of. More segments are an error.
    pub segments: usize,
    /// The segment whose keys are passed to [`ContextView::get`]. Keys of another segment are an error.
    pub keyed: Option<usize>,
}

/// Why a path was not found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownPath {
    /// The Go collector's sentence.
    pub message: String,
    /// The segment at fault.
    pub segment: usize,
    /// Names that are valid there, from which the nearest is shown.
    pub valid: &'static [&'static str],
}

/// A context as the compiler sees it.
#[derive(Clone, Copy, Debug)]
pub struct ContextType {
    /// Its name, such as `span`.
    pub name: &'static str,
    /// The names with which its paths can begin: its own and those of the contexts above it.
    pub path_contexts: &'static [&'static str],
    /// Resolves a path of one of `path_contexts`, without the name of the context. `cache` is resolved by the compiler.
    pub resolve: fn(context: &str, path: &[Segment<'_>]) -> Result<ResolvedPath, UnknownPath>,
    /// The value of an enum's symbol.
    pub enum_value: fn(symbol: &str) -> Option<i64>,
    /// All symbols, from which the nearest is shown.
    pub enum_symbols: &'static [&'static str],
}

/// One item, to be read.
pub trait ContextView {
    /// The value of a field, or of what the keys lead to in it. What is not there is [`Value::Nil`].
    ///
    /// # Errors
    /// The keys don't fit.
    fn get<'c>(&'c self, field: Field, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError>;
}

/// One item, to be changed.
pub trait ContextMut: ContextView {
    /// Sets a field, or what the keys lead to in it. The value is not `nil`.
    ///
    /// # Errors
    /// The field does not accept a value of this type, or the keys don't fit.
    fn set(&mut self, field: Field, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError>;

    /// Changes a map in place.
    ///
    /// # Errors
    /// The value is not a map, the keys don't fit, or what `change` returns.
    fn edit_map(
        &mut self,
        field: Field,
        keys: &[Key<'_>],
        change: &mut dyn FnMut(&mut MapMut<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError>;

    /// The metric as a whole, for functions that change its structure; `None` in contexts without one.
    fn metric_access(&mut self) -> Option<&mut dyn MetricAccess> {
        None
    }
}

/// The metric of a context, or the one around its item, as a whole.
pub trait MetricAccess {
    /// What data it has now. Costs nothing, unlike a copy.
    fn kind(&self) -> MetricKind;

    /// A copy of it as it is now.
    fn copy(&self) -> OwnedMetric;

    /// Puts another one in its place.
    ///
    /// # Errors
    /// The metric can't be changed from here.
    fn replace(&mut self, metric: OwnedMetric) -> Result<(), EvalError>;

    /// Adds a metric after it.
    fn append(&mut self, metric: OwnedMetric);
}
