//! Metrics that a receiver measures: what receivers that scrape something have in common.
//!
//! A metric is declared once, in a [`metric_table!`]: name, unit, description, kind, attributes, and whether it is on by
//! default. The table gives the section `metrics` of the configuration, and what the [`Recorder`] needs to write the
//! metric. The attributes of resources are declared in a [`resource_attribute_table!`] in the same way. Keys, defaults and
//! the way points are joined are those of the code that `mdatagen` generates for Go receivers.
//!
//! - `metric_config`: the switches of metrics, and their table
//! - `resource`: the switches and filters of resource attributes, their table, and a resource
//! - `recorder`: the points of a scrape, and how they become OTLP
//! - `counters`, `scrape_log`: what is counted and logged of scrapes
//!
//! Knows no receiver, and reads nothing.
#![forbid(unsafe_code)]

mod counters;
mod metric_config;
mod recorder;
mod resource;
mod scrape_log;

pub use counters::ScraperCounters;
pub use metric_config::{
    AggregationStrategy, MetricConfig, MetricKind, MetricSetting, MetricSpec, MetricSwitchConfig, check_attributes,
};
pub use recorder::{PointValue, Recorder};
pub use resource::{
    AttributeFilter, AttributeFilterConfig, AttributeSetting, ResourceAttributeConfig, ResourceAttributes,
};
pub use scrape_log::ScrapeLog;
