//! The `filter` processor: drops spans, events of spans, metrics, data points and log records that conditions name.
//!
//! Conditions are those of OTTL, by level or with the context inferred; the older `include` and `exclude` name what is
//! kept and dropped by names and attributes.

mod config;
mod editor;
mod expression;
mod older;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use otelcore_ottl::FixedEnvironment;
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, MetricsLevel, StartError, WallTime,
};

use crate::edit_processor::EditProcessor;
use crate::statements::FailureReports;
pub use config::{
    ConditionsConfig, FilterConfig, LogFiltersConfig, LogMatchConfig, LogSeverityConfig, MetricFiltersConfig,
    MetricPropertiesConfig, SpanMatchConfig, TraceFiltersConfig,
};
use editor::{FilterEditor, FilterMetrics};

/// Makes `filter` processors.
#[derive(Clone, Copy, Debug)]
pub struct FilterFactory;

impl ComponentType for FilterFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "filter",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Alpha",
    };
    type Config = FilterConfig;

    fn create(&self, config: &FilterConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let mut rules = [None, None, None];
        for signal in context.signals {
            if let Some(slot) = rules.get_mut(*signal as usize) {
                *slot = Some(Arc::new(config.compile(*signal)?));
            }
        }
        let counter = |name, help| {
            let labels = vec![("filter", context.id.to_string())];
            context.telemetry.counter(MetricsLevel::Basic, name, help, labels)
        };
        let metrics = FilterMetrics {
            spans: counter(
                "otelcol_processor_filter_spans_filtered",
                "Number of spans dropped by the filter processor",
            ),
            points: counter(
                "otelcol_processor_filter_datapoints_filtered",
                "Number of metric data points dropped by the filter processor",
            ),
            logs: counter("otelcol_processor_filter_logs_filtered", "Number of logs dropped by the filter processor"),
        };
        let (telemetry, id, log) = (context.telemetry.clone(), context.id.clone(), context.log.clone());
        let new_editor = move |now: WallTime, random| {
            let texts = rules.iter().flatten().flat_map(|rules| rules.texts());
            let reports = FailureReports::new(&telemetry, &id, &log, texts);
            FilterEditor::new(
                rules.clone(),
                reports,
                metrics.clone(),
                FixedEnvironment::new(now.0.cast_signed(), random),
            )
        };
        Ok(Component::Processor(Box::new(EditProcessor::new(new_editor))))
    }
}
