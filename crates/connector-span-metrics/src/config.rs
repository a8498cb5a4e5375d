//! The `span_metrics` section.

use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_config::{GoDuration, Section, config_enum, config_struct};
use otelcore_go_regexp::{Glob, GlobError};
use otelcore_pdata::ExponentialRecorder;

const CUMULATIVE: &str = "AGGREGATION_TEMPORALITY_CUMULATIVE";
const DELTA: &str = "AGGREGATION_TEMPORALITY_DELTA";

/// The dimensions of every metric, by which no other can be named.
const BASE_DIMENSIONS: [&str; 5] = ["service.name", "span.kind", "status.code", "span.name", "collector.instance.id"];

config_enum! {
    /// The unit of durations.
    #[config(unknown = "unknown Unit \"{word}\", allowed units are \"ms\" and \"s\"", hint = "write ms or s")]
    pub enum DurationUnit {
        /// Milliseconds.
        Milliseconds = "ms" | "MS" | "Ms" | "mS",
        /// Seconds.
        Seconds = "s" | "S",
    }
}

impl DurationUnit {
    /// Nanoseconds in one unit.
    pub(crate) fn nanos(self) -> f64 {
        match self {
            Self::Milliseconds => 1e6,
            Self::Seconds => 1e9,
        }
    }
}

config_struct! {
    /// A dimension: an attribute of the span or of its resource, by its name, or all whose names a glob matches.
    #[derive(PartialEq)]
    pub struct DimensionConfig {
        /// The attribute's key.
        pub name: String,
        /// The value for spans without the attribute; without a default the dimension is then left out.
        pub default: Option<String>,
        /// A glob of keys, in which `*` matches up to the next `.`, and `**` everything.
        pub glob: String,
    }
}

config_struct! {
    /// Buckets of one exponential scale, which adapts to the durations.
    pub struct ExponentialConfig {
        /// The largest number of buckets, 2 to 16384; zero for 160.
        pub max_size: i32,
    }
}

config_struct! {
    /// Buckets with these bounds.
    pub struct ExplicitConfig {
        /// The upper bounds, ascending. Without any there is one bucket for all durations.
        pub buckets: Vec<GoDuration>,
    }
}

config_struct! {
    /// The histogram of durations.
    pub struct HistogramConfig {
        /// Makes no histogram.
        pub disable: bool,
        /// The unit of durations.
        pub unit: DurationUnit,
        /// An exponential histogram.
        pub exponential: Optional<ExponentialConfig>,
        /// Explicit bounds. By default they are from 2 ms to 15 s.
        pub explicit: Optional<ExplicitConfig>,
        /// Dimensions that only the histogram has, beside the others.
        pub dimensions: Vec<DimensionConfig>,
    }
}

config_struct! {
    /// Examples of spans at the points.
    pub struct ExemplarsConfig {
        /// Adds exemplars.
        pub enabled: bool,
        /// The largest number at a point, between two exports.
        pub max_per_data_point: i64 = 5,
    }
}

config_struct! {
    /// Counts events of spans.
    pub struct EventsConfig {
        /// Makes the metric `events`.
        pub enabled: bool,
        /// Dimensions that only this metric has: attributes of the span, of the event or of the resource.
        pub dimensions: Vec<DimensionConfig>,
    }
}

config_struct! {
    /// Counts spans and their durations by dimensions.
    #[config(check = Self::check)]
    pub struct SpanMetricsConfig {
        /// Dimensions beside `service.name`, `span.name`, `span.kind`, `status.code` and `collector.instance.id`.
        pub dimensions: Vec<DimensionConfig>,
        /// Dimensions that only the metric `calls` has, beside the others.
        pub calls_dimensions: Vec<DimensionConfig>,
        /// Dimensions of every metric that are left out.
        pub exclude_dimensions: Vec<String>,
        /// Before 0.130: the number of combinations of dimensions.
        #[config(no_effect = "combinations are limited by `aggregation_cardinality_limit`")]
        pub dimensions_cache_size: i64,
        /// How many resources are remembered with cumulative counts. Above it the one without spans for the longest time is
        /// exported and forgotten.
        #[config(at_least(1, "must provide a positive size"))]
        pub resource_metrics_cache_size: i64 = 1000,
        /// Attributes that make resources different; by default all.
        pub resource_metrics_key_attributes: Vec<String>,
        /// `AGGREGATION_TEMPORALITY_CUMULATIVE` or `AGGREGATION_TEMPORALITY_DELTA`.
        pub aggregation_temporality: String = CUMULATIVE.to_owned(),
        /// The histogram of durations.
        pub histogram: HistogramConfig,
        /// The time between two exports.
        pub metrics_flush_interval: GoDuration = GoDuration::from_secs(60),
        /// After this time without spans a resource is forgotten; zero for never.
        pub metrics_expiration: GoDuration,
        /// After this time without spans a series is forgotten; zero for never.
        pub series_expiration: GoDuration,
        /// Of how many series the time of the last export is remembered with deltas, so that intervals have no gaps.
        pub metric_timestamp_cache_size: Option<i64>,
        /// The begin of the metrics' names.
        pub namespace: String = "traces.span.metrics".to_owned(),
        /// Examples of spans.
        pub exemplars: ExemplarsConfig,
        /// Counts events.
        pub events: EventsConfig,
        /// Names of instrumentation scopes that become dimensions, with their version.
        pub include_instrumentation_scope: Vec<String>,
        /// The largest number of series of a metric and resource. Spans of others are counted in a series with
        /// `otel.metric.overflow`; zero for no limit.
        pub aggregation_cardinality_limit: i64,
        /// Adds the attributes of the resource to its metrics.
        #[config(ignored = "they are always added, as by the Go collector unless a feature gate is on")]
        pub add_resource_attributes: bool,
        /// Adds `sampling.method`: `extrapolated` for spans whose trace state has a sampling threshold, or `counted`.
        pub enable_metrics_sampling_method: bool,
    }
}

impl SpanMetricsConfig {
    pub(crate) fn is_delta(&self) -> bool {
        self.aggregation_temporality == DELTA
    }

    pub(crate) fn timestamp_cache_size(&self) -> i64 {
        self.metric_timestamp_cache_size.unwrap_or(1000)
    }

    fn check(&mut self, s: &mut Section<'_>) {
        for (key, what, list) in [
            ("dimensions", "dimensions", &self.dimensions),
            ("calls_dimensions", "calls dimensions", &self.calls_dimensions),
            ("histogram::dimensions", "histogram dimensions", &self.histogram.dimensions),
        ] {
            if let Err(mistake) = check_dimensions(list) {
                s.error(key, format!("failed validating {what}: {mistake}"));
            }
        }
        if self.events.enabled {
            let none = || Err("no dimensions configured for events".to_owned());
            let checked =
                if self.events.dimensions.is_empty() { none() } else { check_dimensions(&self.events.dimensions) };
            if let Err(mistake) = checked {
                s.error("events::dimensions", format!("failed validating event dimensions: {mistake}"));
            }
        }
        if self.histogram.explicit.is_on() && self.histogram.exponential.is_on() {
            s.error("histogram", "use either `explicit` or `exponential` buckets histogram");
        }
        self.check_histogram(s);
        self.check_times(s);
        self.check_limits(s);
        if ![CUMULATIVE, DELTA].contains(&self.aggregation_temporality.as_str()) {
            let message = format!("unknown temporality {:?}: counts are cumulative", self.aggregation_temporality);
            s.warn("aggregation_temporality", message).help(format!("write {CUMULATIVE} or {DELTA}"));
        }
    }

    fn check_histogram(&mut self, s: &mut Section<'_>) {
        if let Some(explicit) = self.histogram.explicit.get_mut()
            && !explicit.buckets.is_sorted_by(|a, b| a < b)
        {
            s.warn("histogram::explicit::buckets", "bounds of a histogram ascend: these are sorted, each once");
            explicit.buckets.sort_unstable();
            explicit.buckets.dedup();
        }
        if let Some(exponential) = self.histogram.exponential.get()
            && exponential.max_size != 0
            && !usize::try_from(exponential.max_size).is_ok_and(|size| ExponentialRecorder::SIZES.contains(&size))
        {
            let message = format!("invalid histogram size: {}, the nearest valid one is used", exponential.max_size);
            s.warn("histogram::exponential::max_size", message).help("write a number from 2 to 16384");
        }
    }

    fn check_times(&self, s: &Section<'_>) {
        for (key, value) in [
            ("metrics_flush_interval", self.metrics_flush_interval),
            ("metrics_expiration", self.metrics_expiration),
            ("series_expiration", self.series_expiration),
        ] {
            if value.is_negative() {
                s.error(key, format!("invalid {key}: {value}, the duration should be positive"));
            }
        }
        if self.metrics_flush_interval.is_zero() {
            s.start_error("metrics_flush_interval", "non-positive interval for NewTicker")
                .help("write a time such as 60s");
        }
    }

    fn check_limits(&self, s: &Section<'_>) {
        let size = self.timestamp_cache_size();
        if self.is_delta() && size <= 0 {
            let message = format!(
                "invalid delta timestamp cache size: {size}, the maximum number of the items in the cache should be positive"
            );
            s.error("metric_timestamp_cache_size", message);
        }
        let limit = self.aggregation_cardinality_limit;
        if limit < 0 {
            let message = format!("invalid aggregation_cardinality_limit: {limit}, the limit should be positive");
            s.error("aggregation_cardinality_limit", message);
        }
        let exemplars = self.exemplars.max_per_data_point;
        if self.exemplars.enabled && exemplars < 0 {
            let message = format!("invalid max_per_data_point: {exemplars}, the value should be positive");
            s.error("exemplars::max_per_data_point", message);
        }
    }
}

/// Checks one list.
fn check_dimensions(list: &[DimensionConfig]) -> Result<(), String> {
    let mut names: std::collections::BTreeSet<&str> = BASE_DIMENSIONS.into_iter().collect();
    let mut globs = Vec::new();
    for dimension in list {
        let DimensionConfig { name, default, glob: pattern } = dimension;
        match (name.is_empty(), pattern.is_empty()) {
            (false, false) => {
                return Err(format!(
                    "dimension entry must set only one of `name` or `glob`, got both: name={name:?} glob={pattern:?}"
                ));
            }
            (true, true) => return Err("dimension entry must set one of `name` or `glob`".to_owned()),
            (false, true) => {
                if !names.insert(name) {
                    return Err(format!("duplicate dimension name {name:?}"));
                }
            }
            (true, false) => {
                if default.is_some() {
                    return Err(format!("`default` is not supported on `glob` dimension {pattern:?}"));
                }
                let compiled = glob(pattern).map_err(|e| format!("invalid dimension glob {pattern:?}: {e}"))?;
                globs.push((pattern, compiled));
            }
        }
    }
    for name in names {
        if let Some((pattern, _)) = globs.iter().find(|(_, glob)| glob.is_match(name.as_bytes())) {
            return Err(format!("duplicate dimension name {name:?} conflicting with glob {pattern:?}"));
        }
    }
    Ok(())
}

/// A duration that is not negative.
pub(crate) fn positive(value: GoDuration) -> Duration {
    Duration::from_nanos(value.nanos_or_zero())
}

/// Compiles a glob of a dimension.
pub(crate) fn glob(pattern: &str) -> Result<Glob, GlobError> {
    Glob::compile(pattern.as_bytes(), Some('.'))
}
