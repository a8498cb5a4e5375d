//! The `groupbyattrs` processor: moves attributes of items to their resources, and joins equal resources and scopes.
//!
//! Each body is grouped by itself. Never joins metrics that have different units, temporalities or monotonicity.

mod groups;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use groups::{Counts, Groups};
use otelcore_config::config_struct;
use otelcore_pdata::edit::{Edited, Editor, OutputLimit};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Counter, Held, Histogram, LogField,
    MetricsLevel, Outcome, Payload, StartError, Telemetry,
};

use crate::edit_processor::{EditProcessor, PayloadEditor};
use crate::series::IdentityHasher;

config_struct! {
    /// Moves attributes of spans, data points and log records to their resources, and joins equal resources.
    pub struct GroupByAttrsConfig {
        /// The keys of the attributes that are moved. Without one, equal resources and scopes are joined.
        pub keys: Vec<String>,
    }
}

/// Makes `groupbyattrs` processors.
#[derive(Clone, Copy, Debug)]
pub struct GroupByAttrsFactory;

impl ComponentType for GroupByAttrsFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "groupbyattrs",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = GroupByAttrsConfig;

    fn create(&self, config: &GroupByAttrsConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for key in config.keys.iter().filter(|key| !key.is_empty()) {
            if keys.iter().any(|other| other == key.as_bytes()) {
                context.log.warn("A grouping key is already present", &[("key", LogField::Str(key))]);
            } else {
                keys.push(key.as_bytes().to_vec());
            }
        }
        let keys: Arc<[Vec<u8>]> = keys.into();
        let telemetry = context.telemetry.clone();
        let new_editor = move |_, random| GroupByAttrs {
            keys: keys.clone(),
            hasher: IdentityHasher::new(random),
            signal: Signal::Traces,
            counts: None,
            metrics: Signal::ALL.map(|signal| Metrics::new(&telemetry, signal)),
        };
        Ok(Component::Processor(Box::new(EditProcessor::new(new_editor))))
    }
}

/// The bounds of the numbers of groups: those of OpenTelemetry.
const GROUP_BOUNDS: &[f64] =
    &[0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0];

struct Metrics {
    grouped: Counter,
    not_grouped: Counter,
    groups: Histogram,
}

impl Metrics {
    fn new(telemetry: &Telemetry, signal: Signal) -> Self {
        let level = MetricsLevel::Normal;
        let (grouped, not_grouped, groups) = match signal {
            Signal::Traces => (
                (
                    "otelcol_processor_groupbyattrs_num_grouped_spans",
                    "Number of spans that had attributes grouped [Development]",
                ),
                (
                    "otelcol_processor_groupbyattrs_num_non_grouped_spans",
                    "Number of spans that did not have attributes grouped [Development]",
                ),
                (
                    "otelcol_processor_groupbyattrs_span_groups",
                    "Distribution of groups extracted for spans [Development]",
                ),
            ),
            Signal::Metrics => (
                (
                    "otelcol_processor_groupbyattrs_num_grouped_metrics",
                    "Number of metrics that had attributes grouped [Development]",
                ),
                (
                    "otelcol_processor_groupbyattrs_num_non_grouped_metrics",
                    "Number of metrics that did not have attributes grouped [Development]",
                ),
                (
                    "otelcol_processor_groupbyattrs_metric_groups",
                    "Distribution of groups extracted for metrics [Development]",
                ),
            ),
            Signal::Logs => (
                (
                    "otelcol_processor_groupbyattrs_num_grouped_logs",
                    "Number of logs that had attributes grouped [Development]",
                ),
                (
                    "otelcol_processor_groupbyattrs_num_non_grouped_logs",
                    "Number of logs that did not have attributes grouped [Development]",
                ),
                (
                    "otelcol_processor_groupbyattrs_log_groups",
                    "Distribution of groups extracted for logs [Development]",
                ),
            ),
        };
        Self {
            grouped: telemetry.counter(level, grouped.0, grouped.1, Vec::new()),
            not_grouped: telemetry.counter(level, not_grouped.0, not_grouped.1, Vec::new()),
            groups: telemetry.histogram(level, groups.0, groups.1, Vec::new(), GROUP_BOUNDS),
        }
    }
}

struct GroupByAttrs {
    /// No key twice.
    keys: Arc<[Vec<u8>]>,
    hasher: IdentityHasher,
    /// That of the payload.
    signal: Signal,
    /// Of a payload that has been grouped.
    counts: Option<Counts>,
    /// By signal.
    metrics: [Metrics; 3],
}

impl Editor for GroupByAttrs {}

impl PayloadEditor for GroupByAttrs {
    const REBUILDS: bool = true;

    fn begin(&mut self, payload: &Payload) {
        self.signal = payload.signal;
    }

    fn output_limit(&self, _: &Payload) -> OutputLimit {
        OutputLimit::default()
    }

    fn cost_per_byte(&self) -> u64 {
        20 + 2 * self.keys.len() as u64
    }

    fn rebuild(&mut self, body: &Rope, output: &mut Held) -> Result<Option<Rope>, Outcome> {
        let mut groups = Groups::new(&self.keys, &self.hasher, self.signal, body.len());
        for part in body.parts() {
            groups.add_body(&part.bytes, output)?;
        }
        let (bytes, items, counts) = groups.finish();
        self.counts = Some(counts);
        Ok(Some(Rope::new(bytes.into(), items)))
    }

    fn end(&mut self, _: Option<&Edited>) {
        if let (Some(counts), Some(metrics)) = (self.counts.take(), self.metrics.get(self.signal as usize)) {
            if counts.grouped > 0 {
                metrics.grouped.add(counts.grouped);
            }
            if counts.not_grouped > 0 {
                metrics.not_grouped.add(counts.not_grouped);
            }
            metrics.groups.observe(counts.groups as f64);
        }
    }
}
