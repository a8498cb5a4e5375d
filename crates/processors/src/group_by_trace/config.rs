//! The configuration of `groupbytrace`, and its rules.

use std::time::Duration;

use otelcore_config::{GoDuration, Section, config_struct};
use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

use super::GroupByTrace;

config_struct! {
    /// Waits for the spans of a trace, and passes them on together.
    #[config(check = Self::check)]
    pub struct GroupByTraceConfig {
        /// The time from the first span of a trace until the trace is passed on.
        #[config(at_least(GoDuration::ZERO, "'wait_duration' must be non-negative"))]
        pub wait_duration: Duration = Duration::from_secs(1),
        /// How many traces are kept at most. From there on the oldest is passed on early.
        #[config(at_least(1, "'num_traces' must be positive"))]
        pub num_traces: i64 = 1_000_000,
        /// Workers.
        #[config(ignored = "one thread does it")]
        pub num_workers: i64 = 1,
        /// Not supported, as in the Go collector.
        pub discard_orphans: bool,
        /// Not supported, as in the Go collector.
        pub store_on_disk: bool,
    }
}

impl GroupByTraceConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.store_on_disk {
            s.start_error("store_on_disk", "option 'disk storage' not supported in this release");
        }
        if self.discard_orphans {
            s.start_error("discard_orphans", "option 'discard orphans' not supported in this release");
        }
    }
}

/// Makes `groupbytrace` processors.
#[derive(Clone, Copy, Debug)]
pub struct GroupByTraceFactory;

impl ComponentType for GroupByTraceFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "groupbytrace",
        aliases: &[],
        signals: &[Signal::Traces],
        stability: "Beta",
    };
    type Config = GroupByTraceConfig;

    fn create(&self, config: &GroupByTraceConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        if config.store_on_disk || config.discard_orphans {
            return Err(StartError::Config(
                "option 'discard orphans' or 'disk storage' not supported in this release".to_owned(),
            ));
        }
        let id = context.id.to_string();
        let processor = GroupByTrace::new(config, &id, context.telemetry, context.budget, context.log.clone());
        Ok(Component::Processor(Box::new(processor)))
    }
}
