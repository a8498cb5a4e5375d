//! OpenTelemetry metrics in Prometheus: names, units, types and labels, as otlptranslator 1.0 of the Go collector makes them.
//!
//! [`metric_name`] makes a name from name, unit and kind, [`label_name`] a label name from an attribute key. [`series_block`]
//! and [`target_block`] make the sorted labels of a series and of `target_info`, rendered for a page.
//!
//! Nothing here reads OTLP, keeps series or writes pages.
#![forbid(unsafe_code)]

mod label_name;
mod labels;
mod names;

pub use label_name::{LabelNameError, LabelNaming, label_name, put_label_name};
pub use labels::{
    LabelBlock, LabelError, ScopeLabels, SeriesLabels, TargetInfoError, merge_equal_names, series_block, target_block,
};
pub use names::{MAX_NAME_BYTES, NameError, OtlpMetricKind, TranslationStrategy, metric_name, unit_name};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
