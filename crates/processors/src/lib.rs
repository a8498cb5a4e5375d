//! Light processors that change telemetry in place, each behind a feature of its name: `attributes`, `resource`.
//!
//! A processor is a declared configuration, which is compiled once, and an [`Editor`](otelcore_pdata::edit::Editor).
//! What they share: actions on attributes, matching of items, and the processor
//! around an editor, which keeps the order of payloads and runs a long edit on a helper thread. Nothing here knows a
//! receiver or exporter, or performs IO.
#![forbid(unsafe_code)]

#[cfg(any(feature = "attributes", feature = "resource"))]
mod actions;
#[cfg(feature = "attributes")]
mod attributes;
#[cfg(any(feature = "attributes", feature = "resource"))]
mod edit_processor;
#[cfg(feature = "attributes")]
mod matching;
#[cfg(feature = "resource")]
mod resource;
#[cfg(any(feature = "attributes", feature = "resource"))]
mod value;

#[cfg(test)]
mod testing;

#[cfg(any(feature = "attributes", feature = "resource"))]
pub use actions::ActionConfig;
#[cfg(feature = "attributes")]
pub use attributes::{AttributesConfig, AttributesFactory};
#[cfg(feature = "attributes")]
pub use matching::{AttributeMatchConfig, LibraryMatchConfig, MatchConfig, RegexpConfig, SeverityMatchConfig};
#[cfg(feature = "resource")]
pub use resource::{ResourceConfig, ResourceFactory};
