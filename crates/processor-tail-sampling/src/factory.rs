//! The type of the component, and the check of its policies.

use otelcore_config::Section;
use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

use crate::config::TailSamplingConfig;
use crate::policy::Policies;
use crate::processor::TailSamplingProcessor;

impl TailSamplingConfig {
    /// Reports the first mistake of the policies.
    pub(crate) fn check(&mut self, s: &mut Section<'_>) {
        if let Err(error) = Policies::new(self) {
            let mut draft = s.error("policies", error.message);
            if let Some(hint) = error.hint {
                draft = draft.help(hint);
            }
            drop(draft);
        } else if self.policies.is_empty() {
            s.warn("policies", "without policies every trace is dropped")
                .help("write a policy, for example of the type `always_sample`");
        }
    }
}

/// The `tail_sampling` processor.
#[derive(Clone, Copy, Debug)]
pub struct TailSamplingFactory;

impl ComponentType for TailSamplingFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "tail_sampling",
        aliases: &[],
        signals: &[Signal::Traces],
        stability: "Beta",
    };
    type Config = TailSamplingConfig;

    fn create(&self, config: &TailSamplingConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let policies = Policies::new(config).map_err(|error| StartError::Config(error.message))?;
        let processor = TailSamplingProcessor::new(config, policies, context);
        Ok(Component::Processor(Box::new(processor)))
    }
}
