//! The `sum` connector: adds up an attribute of spans, their events, data points and log records.

use std::collections::BTreeMap;

use otelcore_config::{Section, config_struct};
use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

use crate::item_metrics::{ItemMetricConfig, ItemMetrics, Level, LevelMetrics, Measure, MetricDefinition, check};

config_struct! {
    /// A sum that is made.
    pub struct SumMetricConfig {
        /// What it has in common with a count.
        #[config(flatten)]
        pub metric: ItemMetricConfig,
        /// The attribute that is added up: a number, or a text that is one.
        pub source_attribute: String,
    }
}

config_struct! {
    /// Adds up attributes of items, each kind by metrics with conditions and attributes.
    #[config(check = Self::check)]
    pub struct SumConfig {
        /// Sums over spans, by name.
        pub spans: BTreeMap<String, SumMetricConfig>,
        /// Sums over events of spans, by name.
        pub spanevents: BTreeMap<String, SumMetricConfig>,
        /// Sums over metrics, by name. Metrics have no attributes, so that these are zero.
        pub metrics: BTreeMap<String, SumMetricConfig>,
        /// Sums over data points, by name.
        pub datapoints: BTreeMap<String, SumMetricConfig>,
        /// Sums over log records, by name.
        pub logs: BTreeMap<String, SumMetricConfig>,
    }
}

impl SumConfig {
    fn metrics_of(&self, level: Level) -> &BTreeMap<String, SumMetricConfig> {
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
                check(s, level, name, &config.metric);
                if config.source_attribute.is_empty() {
                    let key = level.key();
                    s.error(key, format!("{key}: metric source_attribute missing"));
                }
            }
        }
    }

    fn compile(&self, level: Level) -> Result<LevelMetrics, String> {
        let compile = |(name, config): (&String, &SumMetricConfig)| {
            MetricDefinition::compile(level, name, &config.metric, &config.source_attribute)
        };
        let definitions = self.metrics_of(level).iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        Ok(LevelMetrics { definitions })
    }
}

/// Makes `sum` connectors.
#[derive(Clone, Copy, Debug)]
pub struct SumFactory;

impl ComponentType for SumFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Connector,
        type_name: "sum",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Alpha",
    };
    const SIGNAL_PAIRS: &'static [(Signal, Signal)] = ItemMetrics::SIGNAL_PAIRS;
    type Config = SumConfig;

    fn create(&self, config: &SumConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        ItemMetrics::create(context, |level| config.compile(level), Measure::Sum, "")
    }
}
