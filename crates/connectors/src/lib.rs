//! Light connectors, each behind a feature of its name: `count`, `failover`, `forward`, `round_robin`, `routing`,
//! `service_graph`, `sum`.
//!
//! A connector gets payloads from the pipelines that end in it and passes payloads to those that begin with it. Nothing here
//! performs IO; a connector with machinery of its own is a crate of its own.
#![forbid(unsafe_code)]

#[cfg(any(feature = "failover", feature = "forward", feature = "round-robin", feature = "routing"))]
use otelcore_pdata::Signal;

#[cfg(any(feature = "count", feature = "routing", feature = "sum"))]
mod conditions;
#[cfg(feature = "count")]
mod count;
#[cfg(feature = "failover")]
mod failover;
#[cfg(feature = "forward")]
mod forward;
#[cfg(any(feature = "count", feature = "sum"))]
mod item_metrics;
#[cfg(all(feature = "count", feature = "sum"))]
#[cfg(test)]
mod item_metrics_tests;
#[cfg(any(feature = "count", feature = "routing", feature = "service-graph", feature = "sum"))]
mod ordered_work;
#[cfg(feature = "round-robin")]
mod round_robin;
#[cfg(feature = "routing")]
mod routing;
#[cfg(feature = "service-graph")]
mod service_graph;
#[cfg(feature = "sum")]
mod sum;

/// The pairs of connectors that pass on what they get.
#[cfg(any(feature = "failover", feature = "forward", feature = "round-robin", feature = "routing"))]
const SAME_SIGNAL_PAIRS: &[(Signal, Signal)] =
    &[(Signal::Traces, Signal::Traces), (Signal::Metrics, Signal::Metrics), (Signal::Logs, Signal::Logs)];

#[cfg(feature = "count")]
pub use count::{CountConfig, CountFactory};
#[cfg(feature = "failover")]
pub use failover::{FailoverConfig, FailoverFactory};
#[cfg(feature = "forward")]
pub use forward::{ForwardConfig, ForwardFactory};
#[cfg(any(feature = "count", feature = "sum"))]
pub use item_metrics::{ItemAttributeConfig, ItemMetricConfig};
#[cfg(feature = "round-robin")]
pub use round_robin::{RoundRobinConfig, RoundRobinFactory};
#[cfg(feature = "routing")]
pub use routing::{ErrorModeConfig, RouteConfig, RoutingConfig, RoutingFactory};
#[cfg(feature = "service-graph")]
pub use service_graph::{ServiceGraphConfig, ServiceGraphFactory, StoreConfig};
#[cfg(feature = "sum")]
pub use sum::{SumConfig, SumFactory, SumMetricConfig};
