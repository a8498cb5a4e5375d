//! The `prometheus` exporter.
//!
//! Points update *series*, which are stored by identity; a scrape writes them to a page. Names and labels are
//! translated once, when a series is created, and are kept as bytes: a point of a known series costs a hash, a
//! comparison and a store; a scrape copies name, labels and value. [`Registry`] does this without sockets or clock; the
//! exporter adds the page server, a timer for expiry, and gzip.
//!
//! Memory grows with the number of distinct series and resources that arrived within `metric_expiration`, some hundreds
//! of bytes each. All of it is charged to the budget as kept state. Above the limit of a `memory_limiter` new series
//! are refused and known ones are still updated; without a `memory_limiter` they are not limited, as in the Go
//! collector.
#![forbid(unsafe_code)]

mod config;
mod exporter;
mod families;
mod identity;
mod intake;
mod labels;
mod names;
#[doc(hidden)]
pub mod oracle;
mod page;
mod reading;
mod registry;
mod report;
mod resources;
mod slots;
mod work;

pub use config::{PageSettings, Prometheus, PrometheusFactory, ResourceLabels};
pub use identity::{MAX_LABEL_BYTES, MAX_LABELS, MAX_NESTED_BYTES};
pub use intake::Intake;
pub use names::{MAX_NAME, Shape, Strategy, metric_name};
pub use page::{MAX_PAGE, PIECE, Progress, RenderError, Rendering};
pub use reading::MAX_BUCKETS;
pub use registry::{GatherError, Registry};
pub use report::{Reason, Report};
pub use work::Work;

#[cfg(test)]
mod tests;
