//! The `span_metrics` connector: metrics of spans by dimensions.
//!
//! Spans are aggregated when they arrive, and their payload is then settled. What is aggregated is kept, charged to the
//! budget, until it is exported: at an interval, at a flush and at a shutdown. Without room for another series its spans
//! are counted in a series for all of them, so that no span is missing in the sums. Work is divided over turns; a long
//! payload is aggregated on a helper thread. Never changes or passes on a span.
#![forbid(unsafe_code)]

mod aggregator;
mod attribute_list;
mod config;
mod connector;
mod export;
mod globs;
mod histogram;
mod key;
mod key_table;
mod lookup;
mod points;
mod settings;
mod span_fields;
mod store;
mod timestamps;
mod trace_state;

pub use config::{
    DimensionConfig, DurationUnit, EventsConfig, ExemplarsConfig, ExplicitConfig, ExponentialConfig, HistogramConfig,
    SpanMetricsConfig,
};
pub use connector::SpanMetricsFactory;

#[cfg(test)]
mod tests;
