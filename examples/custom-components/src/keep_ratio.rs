//! The `keep_ratio` processor: passes a share of all payloads on, chosen at random.
//!
//! A processor either passes a payload on together with its ack, or settles the ack. Random numbers come from the
//! context, so that a simulated run is reproducible.

use otelcore::config::config_struct;
use otelcore::pdata::Signal;
use otelcore::pipeline::{
    Ack, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Counter, Cx, Downstream, MetricsLevel,
    Outcome, Payload, Processor, StartError,
};

config_struct! {
    /// Passes a share of all payloads on, chosen at random.
    pub struct KeepRatioConfig {
        /// The share that is passed on.
        #[config(at_least(0, "'ratio' must be within [0, 1]"))]
        #[config(at_most(1, "'ratio' must be within [0, 1]"))]
        pub ratio: f64 = 1.0,
    }
}

/// The `keep_ratio` processor.
#[derive(Clone, Copy, Debug)]
pub struct KeepRatioFactory;

impl ComponentType for KeepRatioFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "keep_ratio",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Development",
    };
    type Config = KeepRatioConfig;

    fn create(&self, config: &KeepRatioConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let dropped = context.telemetry.counter(
            MetricsLevel::Basic,
            "otelcol_processor_keep_ratio_dropped_items",
            "Number of items that were not kept.",
            vec![("processor", context.id.to_string())],
        );
        Ok(Component::Processor(Box::new(KeepRatio { ratio: config.ratio, dropped })))
    }
}

struct KeepRatio {
    ratio: f64,
    dropped: Counter,
}

impl Processor for KeepRatio {
    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        // Uniform in [0, 1) from 53 random bits.
        let random = (cx.random() >> 11) as f64 / (1_u64 << 53) as f64;
        if random < self.ratio {
            downstream.send(payload, ack);
        } else {
            // Dropped on purpose: reported as delivered, so that the sender does not send it again.
            self.dropped.add(u64::from(payload.items()));
            downstream.record_dropped("not_kept", u64::from(payload.items()));
            ack.settle(Outcome::Delivered);
        }
    }
}
