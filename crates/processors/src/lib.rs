//! Light processors, each behind a feature of its name. README.md lists them.
//!
//! A processor is a declared configuration, which is compiled once, and an [`Editor`](otelcore_pdata::edit::Editor) or a
//! function that makes a body anew. What they share: actions on attributes, matching of items, statements of OTTL and the
//! functions that only processors have, metrics as owned values, state by series, and the processor around an editor, which
//! keeps the order of payloads and runs a long edit on a helper thread. Nothing here knows a receiver or exporter, or performs IO.
#![forbid(unsafe_code)]
// What processors share is always compiled; with some of the features only, parts of it are unused.
#![cfg_attr(
    not(all(
        feature = "attributes",
        feature = "cumulativetodelta",
        feature = "deltatocumulative",
        feature = "filter",
        feature = "groupbyattrs",
        feature = "groupbytrace",
        feature = "metrics_transform",
        feature = "probabilistic_sampler",
        feature = "redaction",
        feature = "resource",
        feature = "span",
        feature = "transform"
    )),
    allow(dead_code, unused_imports)
)]

mod actions;
#[cfg(feature = "attributes")]
mod attributes;
#[cfg(feature = "cumulativetodelta")]
mod cumulative_to_delta;
#[cfg(feature = "deltatocumulative")]
mod delta_to_cumulative;
mod edit_processor;
mod exponential;
#[cfg(feature = "filter")]
mod filter;
#[cfg(feature = "groupbyattrs")]
mod group_by_attrs;
#[cfg(feature = "groupbytrace")]
mod group_by_trace;
mod matching;
#[cfg(feature = "metrics_transform")]
mod metrics_transform;
#[cfg(any(feature = "filter", feature = "transform"))]
mod ottl_functions;
mod owned_metric;
#[cfg(feature = "probabilistic_sampler")]
mod probabilistic_sampler;
#[cfg(feature = "redaction")]
mod redaction;
#[cfg(feature = "resource")]
mod resource;
mod series;
#[cfg(feature = "span")]
mod span;
#[cfg(any(feature = "filter", feature = "transform"))]
mod statements;
#[cfg(feature = "transform")]
mod transform;
mod value;

#[cfg(test)]
mod testing;

pub use actions::ActionConfig;
#[cfg(feature = "attributes")]
pub use attributes::{AttributesConfig, AttributesFactory};
#[cfg(feature = "cumulativetodelta")]
pub use cumulative_to_delta::{CumulativeToDeltaConfig, CumulativeToDeltaFactory, MetricMatchConfig};
#[cfg(feature = "deltatocumulative")]
pub use delta_to_cumulative::{DeltaToCumulativeConfig, DeltaToCumulativeFactory};
#[cfg(feature = "filter")]
pub use filter::{
    ConditionsConfig, FilterConfig, FilterFactory, LogFiltersConfig, LogMatchConfig, LogSeverityConfig,
    MetricFiltersConfig, MetricPropertiesConfig, SpanMatchConfig, TraceFiltersConfig,
};
#[cfg(feature = "groupbyattrs")]
pub use group_by_attrs::{GroupByAttrsConfig, GroupByAttrsFactory};
#[cfg(feature = "groupbytrace")]
pub use group_by_trace::{GroupByTraceConfig, GroupByTraceFactory};
pub use matching::{AttributeMatchConfig, LibraryMatchConfig, MatchConfig, RegexpConfig, SeverityMatchConfig};
#[cfg(feature = "metrics_transform")]
pub use metrics_transform::{
    MetricsTransformConfig, MetricsTransformFactory, OperationConfig, TransformConfig, ValueActionConfig,
};
#[cfg(feature = "probabilistic_sampler")]
pub use probabilistic_sampler::{ProbabilisticSamplerConfig, ProbabilisticSamplerFactory};
#[cfg(feature = "redaction")]
pub use redaction::{RedactionConfig, RedactionFactory};
#[cfg(feature = "resource")]
pub use resource::{ResourceConfig, ResourceFactory};
#[cfg(feature = "span")]
pub use span::{SpanConfig, SpanFactory, SpanNameConfig, SpanStatusConfig, ToAttributesConfig};
#[cfg(any(feature = "filter", feature = "transform"))]
pub use statements::{ErrorModeConfig, GroupsConfig};
#[cfg(feature = "transform")]
pub use transform::{StatementsConfig, TransformFactory, TransformProcessorConfig};
