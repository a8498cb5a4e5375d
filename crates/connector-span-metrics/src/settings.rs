//! The configuration in the form that is used while spans arrive.

use std::sync::Arc;
use std::time::Duration;

use otelcore_go_regexp::Glob;

use crate::config::{DimensionConfig, DurationUnit, SpanMetricsConfig, glob, positive};

/// The name of the scope of the metrics, that of the Go collector.
pub(crate) const SCOPE_NAME: &[u8] = b"spanmetricsconnector";

const DEFAULT_BOUNDS_MS: [f64; 16] =
    [2.0, 4.0, 6.0, 8.0, 10.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1000.0, 1400.0, 2000.0, 5000.0, 10_000.0, 15_000.0];

/// What durations are collected in.
#[derive(Clone, Debug)]
pub(crate) enum HistogramKind {
    Explicit(Arc<[f64]>),
    /// With at most so many buckets, or the nearest number that is valid.
    Exponential(usize),
}

/// A dimension by name.
#[derive(Debug)]
pub(crate) struct NamedDimension {
    /// The position of its name in [`Settings::names`].
    pub(crate) slot: usize,
    pub(crate) default: Option<Box<[u8]>>,
}

/// The lists of dimensions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ListId {
    Common,
    Calls,
    Duration,
    Events,
}

/// One of them.
#[derive(Debug, Default)]
pub(crate) struct DimensionList {
    pub(crate) named: Vec<NamedDimension>,
    pub(crate) globs: Vec<Glob>,
}

/// Which dimensions of every metric there are.
#[derive(Debug)]
pub(crate) struct BaseDimensions {
    pub(crate) service_name: bool,
    pub(crate) span_name: bool,
    pub(crate) span_kind: bool,
    pub(crate) status_code: bool,
    pub(crate) instance_id: bool,
}

#[derive(Debug)]
pub(crate) struct Settings {
    /// The names of all dimensions, each once.
    pub(crate) names: Vec<Box<[u8]>>,
    /// By [`ListId`].
    lists: [DimensionList; 4],
    pub(crate) has_globs: bool,
    pub(crate) base: BaseDimensions,
    pub(crate) scopes: Vec<String>,
    pub(crate) resource_keys: Vec<String>,
    /// `None` without durations.
    pub(crate) histogram: Option<HistogramKind>,
    pub(crate) unit: DurationUnit,
    /// Whether durations have the dimensions of calls: one series then has both.
    pub(crate) shares_series: bool,
    pub(crate) is_delta: bool,
    /// Series of one metric and resource; zero for no limit.
    pub(crate) max_series: usize,
    pub(crate) max_resources: usize,
    pub(crate) max_timestamps: usize,
    /// At a point; zero without exemplars.
    pub(crate) max_exemplars: usize,
    pub(crate) has_events: bool,
    pub(crate) has_sampling_method: bool,
    pub(crate) calls_name: Vec<u8>,
    pub(crate) duration_name: Vec<u8>,
    pub(crate) events_name: Vec<u8>,
    pub(crate) interval: Duration,
    pub(crate) resource_expiration: Duration,
    pub(crate) series_expiration: Duration,
}

impl Settings {
    pub(crate) fn new(config: &SpanMetricsConfig) -> Result<Self, String> {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let events: &[DimensionConfig] = if config.events.enabled { &config.events.dimensions } else { &[] };
        let mut compile = |list: &[DimensionConfig]| DimensionList::new(list, &mut names);
        let lists = [
            compile(&config.dimensions)?,
            compile(&config.calls_dimensions)?,
            compile(if config.histogram.disable { &[] } else { &config.histogram.dimensions })?,
            compile(events)?,
        ];
        let has = |name: &str| !config.exclude_dimensions.iter().any(|excluded| excluded == name);
        let name = |metric: &str| match config.namespace.as_str() {
            "" => metric.as_bytes().to_vec(),
            namespace => format!("{namespace}.{metric}").into_bytes(),
        };
        let count = |value: i64| usize::try_from(value).unwrap_or(0);
        Ok(Self {
            has_globs: lists.iter().any(|list| !list.globs.is_empty()),
            shares_series: !config.histogram.disable && config.calls_dimensions == config.histogram.dimensions,
            lists,
            names,
            base: BaseDimensions {
                service_name: has("service.name"),
                span_name: has("span.name"),
                span_kind: has("span.kind"),
                status_code: has("status.code"),
                instance_id: has("collector.instance.id"),
            },
            scopes: config.include_instrumentation_scope.iter().filter(|name| !name.is_empty()).cloned().collect(),
            resource_keys: config.resource_metrics_key_attributes.clone(),
            histogram: (!config.histogram.disable).then(|| histogram_kind(config)),
            unit: config.histogram.unit,
            is_delta: config.is_delta(),
            max_series: count(config.aggregation_cardinality_limit),
            max_resources: count(config.resource_metrics_cache_size).max(1),
            max_timestamps: count(config.timestamp_cache_size()).max(1),
            max_exemplars: if config.exemplars.enabled { count(config.exemplars.max_per_data_point) } else { 0 },
            has_events: config.events.enabled,
            has_sampling_method: config.enable_metrics_sampling_method,
            calls_name: name("calls"),
            duration_name: name("duration"),
            events_name: name("events"),
            interval: positive(config.metrics_flush_interval),
            resource_expiration: positive(config.metrics_expiration),
            series_expiration: positive(config.series_expiration),
        })
    }

    pub(crate) fn list(&self, id: ListId) -> &DimensionList {
        let [common, calls, duration, events] = &self.lists;
        match id {
            ListId::Common => common,
            ListId::Calls => calls,
            ListId::Duration => duration,
            ListId::Events => events,
        }
    }

    /// The lists, in the order of [`ListId`].
    pub(crate) fn lists(&self) -> &[DimensionList; 4] {
        &self.lists
    }

    /// The position of a name.
    #[inline]
    pub(crate) fn slot_of(&self, key: &[u8]) -> Option<usize> {
        self.names.iter().position(|name| **name == *key)
    }

    /// Units of work that a byte of a payload costs at most; see [`otelcore_pdata::StepBudget`]. An event or attribute has
    /// at least two bytes.
    pub(crate) fn work_per_byte(&self) -> u64 {
        let lookups = 12 + self.names.len() as u64;
        let globs: usize = self.lists.iter().map(|list| list.globs.len()).sum();
        lookups + 100 * globs as u64 + if self.has_events { 100 } else { 0 }
    }
}

impl DimensionList {
    fn new(list: &[DimensionConfig], names: &mut Vec<Box<[u8]>>) -> Result<Self, String> {
        let mut compiled = Self::default();
        for dimension in list {
            if !dimension.glob.is_empty() {
                compiled.globs.push(glob(&dimension.glob).map_err(|e| e.to_string())?);
                continue;
            }
            let name = dimension.name.as_bytes();
            let slot = names.iter().position(|known| **known == *name).unwrap_or_else(|| {
                names.push(name.into());
                names.len() - 1
            });
            let default = dimension.default.as_ref().map(|text| text.as_bytes().into());
            compiled.named.push(NamedDimension { slot, default });
        }
        Ok(compiled)
    }

    pub(crate) fn matches(&self, key: &[u8]) -> bool {
        self.globs.iter().any(|glob| glob.is_match(key))
    }
}

fn histogram_kind(config: &SpanMetricsConfig) -> HistogramKind {
    let histogram = &config.histogram;
    if let Some(exponential) = histogram.exponential.get() {
        let configured = usize::try_from(exponential.max_size).ok().filter(|size| *size > 0);
        return HistogramKind::Exponential(configured.unwrap_or(160));
    }
    HistogramKind::Explicit(match histogram.explicit.get() {
        Some(explicit) => explicit.buckets.iter().map(|bound| bound.0 as f64 / histogram.unit.nanos()).collect(),
        None if histogram.unit == DurationUnit::Seconds => DEFAULT_BOUNDS_MS.iter().map(|ms| ms / 1000.0).collect(),
        None => DEFAULT_BOUNDS_MS.into(),
    })
}
