//! The configuration of `cumulativetodelta`, and its rules.

use std::time::Duration;

use otelcore_config::{Section, config_struct};
use otelcore_pdata::edit::MetricKind;

use crate::matching::{MatchError, RegexpConfig, TextFilter, text_filter};

config_struct! {
    /// Makes monotonic sums and histograms with cumulative temporality deltas.
    #[config(check = Self::check)]
    pub struct CumulativeToDeltaConfig {
        /// The age of its last point at which a series is forgotten; zero keeps series for ever.
        pub max_staleness: Duration = Duration::from_secs(3600),
        /// What becomes of the first point of a series: `auto` (it is passed on if it has a start time that is after
        /// the start of the processor and is not its own time), `keep` (it is passed on) or `drop`.
        pub initial_value: String = "auto".to_owned(),
        /// Only metrics that match are converted.
        pub include: MetricMatchConfig,
        /// Metrics that match are not converted, also if they match `include`.
        pub exclude: MetricMatchConfig,
    }
}

config_struct! {
    /// Which metrics match: those of one of the names, if there are any, and of one of the types, if there are any.
    pub struct MetricMatchConfig {
        /// How names are compared: `strict` (equal) or `regexp` (a regular expression matches a part of them).
        pub match_type: String,
        /// Options of `regexp`.
        pub regexp: RegexpConfig,
        /// Names of metrics.
        pub metrics: Vec<String>,
        /// Types of metrics: `sum`, `histogram`, `exponentialhistogram`.
        pub metric_types: Vec<String>,
    }
}

/// What becomes of the first point of a series.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum InitialValue {
    #[default]
    Auto,
    Keep,
    Drop,
}

impl InitialValue {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "auto" => Self::Auto,
            "keep" => Self::Keep,
            "drop" => Self::Drop,
            _ => return None,
        })
    }
}

impl CumulativeToDeltaConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if InitialValue::parse(&self.initial_value).is_none() {
            s.error("initial_value", format!("unknown initial_value: {}", self.initial_value))
                .help("write `auto`, `keep` or `drop`");
        }
        for (key, config) in [("include", &self.include), ("exclude", &self.exclude)] {
            if !config.metrics.is_empty() && config.match_type.is_empty() {
                s.error(&format!("{key}::match_type"), "match_type must be set if metrics are supplied");
            } else if config.metrics.is_empty() && !config.match_type.is_empty() {
                s.error(&format!("{key}::metrics"), "metrics must be supplied if match_type is set");
            }
            for name in config.metric_types.iter().filter(|name| kind_of(name).is_none()) {
                s.error(
                    &format!("{key}::metric_types"),
                    format!(
                        "found invalid metric type in {key}.metric_types: {name}. Valid values are \
                         [sum histogram exponentialhistogram]"
                    ),
                );
            }
            if let Err(error) = names(key, config) {
                s.start_error(&error.key, error.message).maybe_help(error.hint);
            }
        }
    }
}

fn kind_of(name: &str) -> Option<MetricKind> {
    Some(match name.to_lowercase().as_str() {
        "sum" => MetricKind::Sum,
        "histogram" => MetricKind::Histogram,
        "exponentialhistogram" => MetricKind::ExponentialHistogram,
        _ => return None,
    })
}

fn names(key: &str, config: &MetricMatchConfig) -> Result<Option<TextFilter>, MatchError> {
    if config.metrics.is_empty() || config.match_type.is_empty() {
        return Ok(None);
    }
    text_filter(&config.metrics, &config.match_type, key, "metrics").map(Some)
}

/// Names and types of metrics.
#[derive(Debug)]
struct Filter {
    names: Option<TextFilter>,
    kinds: Vec<MetricKind>,
}

impl Filter {
    fn compile(key: &str, config: &MetricMatchConfig) -> Result<Self, MatchError> {
        let kinds = config.metric_types.iter().filter_map(|name| kind_of(name)).collect();
        Ok(Self { names: names(key, config)?, kinds })
    }
}

/// Which metrics are converted.
#[derive(Debug)]
pub(super) struct MetricMatcher {
    include: Filter,
    exclude: Filter,
}

impl MetricMatcher {
    pub(super) fn compile(config: &CumulativeToDeltaConfig) -> Result<Self, MatchError> {
        let include = Filter::compile("include", &config.include)?;
        Ok(Self { include, exclude: Filter::compile("exclude", &config.exclude)? })
    }

    pub(super) fn matches(&self, name: &[u8], kind: MetricKind) -> bool {
        let Self { include, exclude } = self;
        include.names.as_ref().is_none_or(|names| names.matches(name))
            && (include.kinds.is_empty() || include.kinds.contains(&kind))
            && !exclude.names.as_ref().is_some_and(|names| names.matches(name))
            && !exclude.kinds.contains(&kind)
    }

    /// Units of work that a byte of a metric costs at most.
    pub(super) fn cost_per_byte(&self) -> u64 {
        8 * [&self.include, &self.exclude].iter().filter(|filter| filter.names.is_some()).count() as u64
    }
}
