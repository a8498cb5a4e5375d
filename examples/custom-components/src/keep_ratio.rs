//! The `keep_ratio` processor: passes a share of all payloads on, chosen at random.
//!
//! A processor either passes a payload on together with its ack, or settles the ack. Random numbers come from the
//! context, so that a simulated run is reproducible.

use otelcore::config::{ComponentId, Section};
use otelcore::pdata::Signal;
use otelcore::pipeline::{
    Ack, BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, Counter, Cx, Downstream, Factory,
    MetricsLevel, Outcome, Payload, Processor, StartError,
};

/// The section of a `keep_ratio`.
#[derive(Clone, Debug)]
pub struct KeepRatioConfig {
    ratio: f64,
}

/// Makes `keep_ratio` processors.
#[derive(Debug)]
pub struct KeepRatioFactory;

impl Factory for KeepRatioFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Processor,
            type_name: "keep_ratio",
            aliases: &[],
            signals: &Signal::ALL,
            stability: "Development",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let ratio = s.float("ratio", 1.0);
        if !(0.0..=1.0).contains(&ratio) {
            s.error("ratio", "'ratio' must be within [0, 1]");
        }
        s.finish();
        Some(Box::new(KeepRatioConfig { ratio }))
    }
}

impl ComponentConfig for KeepRatioConfig {
    fn create(&self, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let dropped = context.telemetry.counter(
            MetricsLevel::Basic,
            "otelcol_processor_keep_ratio_dropped_items",
            "Number of items that were not kept.",
            vec![("processor", context.id.to_string())],
        );
        Ok(Component::Processor(Box::new(KeepRatio { ratio: self.ratio, dropped })))
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
            ack.settle(Outcome::Delivered);
        }
    }
}
