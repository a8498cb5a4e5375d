//! OpenTelemetry metrics in Prometheus: names, units, types and labels, as otlptranslator 1.0 of the Go collector makes them.
//!
//! [`metric_name`] makes a name from name, unit and kind, [`label_name`] a label name from an attribute key. [`series_template`]
//! makes the sorted labels of series that differ only in values of attributes, and [`target_block`] those of `target_info`,
//! as a page has them.
//!
//! Nothing here reads OTLP, keeps series or writes pages.
#![forbid(unsafe_code)]

mod label_error;
mod label_name;
mod label_template;
mod labels;
mod names;

pub use label_error::LabelError;
pub use label_name::{LabelNameError, LabelNaming, label_name, put_label_name};
pub use label_template::LabelTemplate;
pub use labels::{
    LabelBlock, ScopeLabels, SeriesLabels, TargetInfoError, check_values, merge_equal_names, series_template,
    target_block,
};
pub use names::{MAX_NAME_BYTES, NameError, OtlpMetricKind, TranslationStrategy, metric_name, unit_name};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
