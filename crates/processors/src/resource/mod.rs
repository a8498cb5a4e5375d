//! The `resource` processor: changes attributes of resources.
//!
//! Changes nothing else; attributes of spans, data points and log records are those of the `attributes` processor.

#[cfg(test)]
mod tests;

use otelcore_config::{Section, config_struct};
use otelcore_pdata::Signal;
use otelcore_pdata::edit::{Descend, Editor, OutputLimit, ResourceMut};
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Payload, StartError};

use crate::actions::{ActionConfig, ActionState, Actions};
use crate::edit_processor::{EditProcessor, PayloadEditor};

config_struct! {
    /// Changes attributes of resources.
    #[config(check = Self::check)]
    pub struct ResourceConfig {
        /// What is done with attributes, in this order.
        pub attributes: Vec<ActionConfig>,
    }
}

impl ResourceConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.attributes.is_empty() {
            s.error("attributes", "missing required field \"attributes\"");
        }
    }
}

/// Makes `resource` processors.
#[derive(Clone, Copy, Debug)]
pub struct ResourceFactory;

impl ComponentType for ResourceFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "resource",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = ResourceConfig;

    fn create(&self, config: &ResourceConfig, _: &BuildContext<'_>) -> Result<Component, StartError> {
        let actions = Actions::compile(&config.attributes).map_err(|error| StartError::Config(error.message))?;
        let new_editor = move |_, _| ResourceEditor { actions: ActionState::new(actions.clone()) };
        Ok(Component::Processor(Box::new(EditProcessor::new(new_editor))))
    }
}

/// Applies the actions to resources.
struct ResourceEditor {
    actions: ActionState,
}

impl PayloadEditor for ResourceEditor {
    fn begin(&mut self, payload: &Payload) {
        self.actions.begin(payload.metadata.as_deref());
    }

    fn output_limit(&self, payload: &Payload) -> OutputLimit {
        self.actions.actions().output_limit(payload)
    }

    fn cost_per_byte(&self) -> u64 {
        self.actions.actions().cost_per_byte()
    }
}

impl Editor for ResourceEditor {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        self.actions.apply(&mut resource.attributes());
        Descend::Skip
    }
}
