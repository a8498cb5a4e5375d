//! Functions of OTTL that only these processors have, by the context in which they can be called.

#[cfg(feature = "transform")]
mod logs;
#[cfg(feature = "transform")]
mod metric_statements;
#[cfg(feature = "transform")]
mod metrics;
#[cfg(feature = "transform")]
mod semconv_span_name;

use otelcore_ottl::Function;

/// What statements on spans may call.
#[cfg(feature = "transform")]
pub(crate) const SPAN_STATEMENTS: &[Function] = &[semconv_span_name::SET_SEMCONV_SPAN_NAME];

/// What statements on metrics may call.
#[cfg(feature = "transform")]
pub(crate) const METRIC_STATEMENTS: &[Function] = &[
    metric_statements::EXTRACT_SUM_METRIC,
    metric_statements::EXTRACT_COUNT_METRIC,
    metric_statements::EXTRACT_PERCENTILE_METRIC,
    metric_statements::CONVERT_GAUGE_TO_SUM,
    metric_statements::CONVERT_SUM_TO_GAUGE,
    metric_statements::COPY_METRIC,
    metric_statements::SCALE_METRIC,
    metric_statements::AGGREGATE_ON_ATTRIBUTES,
    metric_statements::AGGREGATE_ON_ATTRIBUTE_VALUE,
    metric_statements::CONVERT_EXPONENTIAL_HISTOGRAM_TO_HISTOGRAM,
    metric_statements::CONVERT_SUMMARY_QUANTILE_VAL_TO_GAUGE,
];

/// What statements on data points may call.
#[cfg(feature = "transform")]
pub(crate) const DATA_POINT_STATEMENTS: &[Function] = &[
    metric_statements::CONVERT_SUMMARY_SUM_VAL_TO_SUM,
    metric_statements::CONVERT_SUMMARY_COUNT_VAL_TO_SUM,
    metric_statements::MERGE_HISTOGRAM_BUCKETS,
];

/// What statements on log records may call.
#[cfg(feature = "transform")]
pub(crate) const LOG_STATEMENTS: &[Function] = &[logs::PARSE_CLF, logs::PARSE_LEEF];

/// The names of functions that add metrics to a payload.
#[cfg(feature = "transform")]
pub(crate) const ADDING_METRICS: &[&str] = &[
    "extract_sum_metric",
    "extract_count_metric",
    "extract_percentile_metric",
    "copy_metric",
    "convert_summary_quantile_val_to_gauge",
    "convert_summary_sum_val_to_sum",
    "convert_summary_count_val_to_sum",
];
