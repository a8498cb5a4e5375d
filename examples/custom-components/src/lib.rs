//! Custom components of every kind, built only from what `otelcore` exports.
//!
//! Each file is one component: its configuration, its factory, and the state that lives on the loop. [`registry`] adds
//! them to the built-in ones, after which a configuration can name them like any other.
#![forbid(unsafe_code)]

pub mod api_key_auth;
pub mod count_to_stdout;
pub mod error_logs;
pub mod keep_ratio;
pub mod lines_exporter;
pub mod lines_receiver;
pub mod set_attribute;
pub mod ticker;

use otelcore::config::{Diagnostics, FeatureGates, from_yaml};
use otelcore::{Plan, Registry};

/// The built-in components and these.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.add(ticker::TickerFactory);
    registry.add(keep_ratio::KeepRatioFactory);
    registry.add(count_to_stdout::CountFactory);
    registry.add(lines_receiver::LinesReceiverFactory);
    registry.add(set_attribute::SetAttributeFactory);
    registry.add(lines_exporter::LinesExporterFactory);
    registry.add(api_key_auth::ApiKeyAuthFactory);
    registry.add(error_logs::ErrorLogsFactory);
    registry
}

/// Reads a configuration that may name these components.
///
/// # Errors
/// Every error of the configuration, with line and column.
pub fn plan(yaml: &str) -> Result<Plan, String> {
    let diagnostics = Diagnostics::new();
    let (gates, _) = FeatureGates::parse::<&str>(&[]);
    from_yaml(yaml, &diagnostics)
        .and_then(|root| Plan::parse(&root, &registry(), &gates, &diagnostics))
        .ok_or_else(|| diagnostics.render_to_string(false))
}
