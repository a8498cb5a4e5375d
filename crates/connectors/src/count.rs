//! The `count` connector: counts spans, their events, metrics, data points and log records.

use std::collections::BTreeMap;

use otelcore_config::{Section, config_struct};
use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

use crate::item_metrics::{ItemMetricConfig, ItemMetrics, Level, LevelMetrics, Measure, MetricDefinition, check};

/// The name of the scope of the metrics, that of the Go collector.
const SCOPE_NAME: &str = "github.com/open-telemetry/opentelemetry-collector-contrib/connector/countconnector";

config_struct! {
    /// Counts items, each kind by metrics with conditions and attributes. A kind without metrics has one that counts all.
    #[config(check = Self::check)]
    #[config(unsupported("profiles", "there is no signal of profiles yet: remove the counts of them"))]
    pub struct CountConfig {
        /// Metrics of spans, by name; by default `trace.span.count`.
        pub spans: BTreeMap<String, ItemMetricConfig>,
        /// Metrics of events of spans, by name; by default `trace.span.event.count`.
        pub spanevents: BTreeMap<String, ItemMetricConfig>,
        /// Metrics of metrics, by name; by default `metric.count`. They have no attributes.
        pub metrics: BTreeMap<String, ItemMetricConfig>,
        /// Metrics of data points, by name; by default `metric.datapoint.count`.
        pub datapoints: BTreeMap<String, ItemMetricConfig>,
        /// Metrics of log records, by name; by default `log.record.count`.
        pub logs: BTreeMap<String, ItemMetricConfig>,
    }
}

impl CountConfig {
    fn metrics_of(&self, level: Level) -> &BTreeMap<String, ItemMetricConfig> {
        match level {
            Level::Span => &self.spans,
            Level::SpanEvent => &self.spanevents,
            Level::Metric => &self.metrics,
            Level::DataPoint => &self.datapoints,
            Level::Log => &self.logs,
        }
    }

    fn check(&mut self, s: &mut Section<'_>) {
        for level in Level::ALL {
            for (name, config) in self.metrics_of(level) {
                check(s, level, name, config);
            }
        }
    }

    fn compile(&self, level: Level) -> Result<LevelMetrics, String> {
        let compile = |(name, config): (&String, &ItemMetricConfig)| MetricDefinition::compile(level, name, config, "");
        let mut definitions = self.metrics_of(level).iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        if definitions.is_empty() {
            let (name, description) = match level {
                Level::Span => ("trace.span.count", "The number of spans observed."),
                Level::SpanEvent => ("trace.span.event.count", "The number of span events observed."),
                Level::Metric => ("metric.count", "The number of metrics observed."),
                Level::DataPoint => ("metric.datapoint.count", "The number of data points observed."),
                Level::Log => ("log.record.count", "The number of log records observed."),
            };
            definitions.push(MetricDefinition::by_default(name, description));
        }
        Ok(LevelMetrics { definitions })
    }
}

/// Makes `count` connectors.
#[derive(Clone, Copy, Debug)]
pub struct CountFactory;

impl ComponentType for CountFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Connector,
        type_name: "count",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Alpha",
    };
    const SIGNAL_PAIRS: &'static [(Signal, Signal)] = ItemMetrics::SIGNAL_PAIRS;
    type Config = CountConfig;

    fn create(&self, config: &CountConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        ItemMetrics::create(context, |level| config.compile(level), Measure::Count, SCOPE_NAME)
    }
}
