//! Light connectors, each behind a feature of its name: `failover`, `forward`, `round_robin`, `routing`, `service_graph`.
//!
//! A connector gets payloads from the pipelines that end in it and passes payloads to those that begin with it. Nothing here
//! performs IO; a connector with machinery of its own is a crate of its own.
#![forbid(unsafe_code)]

#[cfg(feature = "failover")]
mod failover;
#[cfg(feature = "forward")]
mod forward;
#[cfg(any(feature = "routing", feature = "service-graph"))]
mod ordered_work;
#[cfg(feature = "round-robin")]
mod round_robin;
#[cfg(feature = "routing")]
mod routing;
#[cfg(feature = "service-graph")]
mod service_graph;

#[cfg(feature = "failover")]
pub use failover::{FailoverConfig, FailoverFactory};
#[cfg(feature = "forward")]
pub use forward::{ForwardConfig, ForwardFactory};
#[cfg(feature = "round-robin")]
pub use round_robin::{RoundRobinConfig, RoundRobinFactory};
#[cfg(feature = "routing")]
pub use routing::{ErrorModeConfig, RouteConfig, RoutingConfig, RoutingFactory};
#[cfg(feature = "service-graph")]
pub use service_graph::{ServiceGraphConfig, ServiceGraphFactory, StoreConfig};
