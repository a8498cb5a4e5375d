//! The `prometheus` exporter.
//!
//! Points update *series*, which are stored by identity; a scrape writes them to a page. Names and labels are translated
//! once for all series whose points have the same keys; a series has its values. A point of a known series costs a hash, a
//! comparison and a store, one of a new series not much more: series are sorted when a page needs them. A scrape copies
//! name, labels and value. [`SeriesRegistry`] uses no sockets and no clock; the exporter adds the page server, a timer for
//! expiry, and compression.
//!
//! Memory grows with the number of distinct series and resources that arrived within `metric_expiration`, 150 to some
//! hundreds of bytes each. All of it is charged to the budget as kept state. Above the limit of a `memory_limiter` new series
//! are refused and known ones are still updated; without a `memory_limiter` they are not limited, as in the Go
//! collector.
#![forbid(unsafe_code)]

mod body_reader;
mod config;
mod dropped_points;
mod expiry;
mod exporter;
mod factory;
mod families;
mod identity;
mod key_sets;
mod label_sets;
mod name_collisions;
#[doc(hidden)]
pub mod oracle;
mod page;
mod page_compressor;
mod page_rendering;
mod page_series;
mod partitioned;
mod registry;
mod resources;
mod series;
mod series_state;
mod series_store;
mod sorted_series;
mod step_budget;
mod stream;
mod streams;

pub use body_reader::BodyReader;
pub use config::{PageConfig, PrometheusConfig, ResourceConversionConfig, ResourceLabelsConfig};
pub use dropped_points::{DropReason, DroppedPoints};
pub use factory::PrometheusFactory;
pub use identity::{MAX_LABEL_BYTES, MAX_LABELS, MAX_NESTED_BYTES};
pub use otelcore_prometheus_translation::{MAX_NAME_BYTES, OtlpMetricKind, TranslationStrategy, metric_name};
pub use page::{MAX_PAGE_BYTES, RenderError, RenderProgress};
pub use page_rendering::{PIECE_SIZE, PageRendering};
pub use registry::SeriesRegistry;
pub use series_state::{MAX_BUCKETS, MAX_EXEMPLARS};
pub use step_budget::StepBudget;

#[cfg(test)]
mod tests;
