//! What `count` and `sum` have in common: metrics that are made of the items of a payload, by resource.
//!
//! A payload becomes one payload of metrics, or none; nothing is kept from one to the next. The outcome of a payload is
//! that of its metrics. What is collected and written is charged while it grows, and bounded by the length of the payload.
// With one of both features, what only the other one uses is unused.
#![cfg_attr(not(all(feature = "count", feature = "sum")), allow(dead_code))]

mod config;
mod connector;
mod level;
mod pass;
mod totals;

pub use config::{ItemAttributeConfig, ItemMetricConfig};
pub(crate) use config::{MetricDefinition, check};
pub(crate) use connector::ItemMetrics;
pub(crate) use level::Level;
pub(crate) use pass::LevelMetrics;
pub(crate) use totals::Measure;
