//! The `set_attribute` processor: sets an attribute of every span, data point and log record.
//!
//! [`edit`] changes telemetry in one pass over its bytes: an [`Editor`] sees each item, and what it does not change is
//! not copied. [`ComponentType`] derives reader, diagnostics and documentation from the declared configuration.

use otelcore::config::config_struct;
use otelcore::pdata::Signal;
use otelcore::pdata::edit::{Descend, Editor, Keep, LogMut, PointMut, SpanMut, edit};
use otelcore::pdata::views::AnyValue;
use otelcore::pipeline::{
    Ack, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Downstream, Outcome, Payload,
    Processor, StartError,
};

config_struct! {
    /// Sets an attribute of every span, data point and log record.
    pub struct SetAttributeConfig {
        /// The key of the attribute.
        pub key: String,
        /// Its value.
        pub value: String,
    }
}

/// Makes `set_attribute` processors.
#[derive(Clone, Copy, Debug)]
pub struct SetAttributeFactory;

impl ComponentType for SetAttributeFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "set_attribute",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Development",
    };
    type Config = SetAttributeConfig;

    fn create(&self, config: &SetAttributeConfig, _: &BuildContext<'_>) -> Result<Component, StartError> {
        if config.key.is_empty() {
            return Err(StartError::Config("'key' must not be empty".to_owned()));
        }
        Ok(Component::Processor(Box::new(SetAttribute { key: config.key.clone(), value: config.value.clone() })))
    }
}

struct SetAttribute {
    key: String,
    value: String,
}

impl Processor for SetAttribute {
    fn process(&mut self, _: &mut Cx<'_>, mut payload: Payload, ack: Ack, downstream: &mut Downstream) {
        let items = payload.items();
        let mut body = std::mem::take(&mut payload.body);
        if let Err(e) = edit(payload.signal, &mut body, self) {
            return downstream.refuse(ack, items, Outcome::permanent(e.to_string()));
        }
        payload.body = body;
        // The changed bytes are charged in addition to those that arrived, which the old charge is for.
        payload.held.charge_copy(payload.body.len() as u64);
        downstream.send(payload, ack);
    }
}

impl Editor for SetAttribute {
    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        span.attributes().upsert(self.key.as_bytes(), AnyValue::String(self.value.as_bytes()));
        Descend::Skip
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        point.attributes().upsert(self.key.as_bytes(), AnyValue::String(self.value.as_bytes()));
        Keep::Keep
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        log.attributes().upsert(self.key.as_bytes(), AnyValue::String(self.value.as_bytes()));
        Keep::Keep
    }
}
