//! The `attributes` processor: changes attributes of spans, data points and log records.
//!
//! Changes nothing else; attributes of resources are those of the `resource` processor.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use otelcore_config::{Section, config_struct};
use otelcore_pdata::Signal;
use otelcore_pdata::edit::{
    Descend, Editor, Keep, LogMut, MetricMut, OutputLimit, PointMut, ResourceMut, ScopeMut, SpanMut,
};
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, LogField, Payload, StartError,
};

use crate::actions::{ActionConfig, ActionState, Actions};
use crate::edit_processor::{EditProcessor, PayloadEditor};
use crate::matching::{EntryMatch, MatchConfig, Matcher};

config_struct! {
    /// Changes attributes of spans, data points and log records.
    #[config(check = Self::check)]
    pub struct AttributesConfig {
        /// Only items that match are changed.
        pub include: Option<MatchConfig>,
        /// Items that match are not changed, also if they match `include`.
        pub exclude: Option<MatchConfig>,
        /// What is done with attributes, in this order.
        pub actions: Vec<ActionConfig>,
    }
}

impl AttributesConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.actions.is_empty() {
            s.error("actions", "missing required field \"actions\"");
        }
    }
}

/// Makes `attributes` processors.
#[derive(Clone, Copy, Debug)]
pub struct AttributesFactory;

impl ComponentType for AttributesFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "attributes",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = AttributesConfig;

    fn create(&self, config: &AttributesConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let actions = Actions::compile(&config.actions).map_err(|error| StartError::Config(error.message))?;
        let (include, exclude) = (config.include.as_ref(), config.exclude.as_ref());
        let mut matchers: Matchers = [None, None, None];
        for signal in context.signals {
            let matcher =
                Matcher::compile(include, exclude, *signal).map_err(|error| StartError::Config(error.message))?;
            if let Some(slot) = matchers.get_mut(*signal as usize) {
                *slot = Some(matcher);
            }
        }
        let matched = [("include", include), ("exclude", exclude)];
        for (key, _) in matched.into_iter().filter(|(_, config)| config.is_some_and(|c| !c.resources.is_empty())) {
            if context.signals.contains(&Signal::Metrics) {
                context.log.warn("'resources' has no effect on metrics", &[("section", LogField::Str(key))]);
            }
        }
        let matchers = Arc::new(matchers);
        let new_editor = move |_, _| AttributesEditor {
            matchers: matchers.clone(),
            signal: Signal::Traces,
            entry: EntryMatch::default(),
            actions: ActionState::new(actions.clone()),
        };
        Ok(Component::Processor(Box::new(EditProcessor::new(new_editor))))
    }
}

/// By signal; `None` for signals of which no pipeline uses the processor.
type Matchers = [Option<Matcher>; 3];

/// Applies the actions to what matches.
struct AttributesEditor {
    matchers: Arc<Matchers>,
    /// That of the payload.
    signal: Signal,
    entry: EntryMatch,
    actions: ActionState,
}

fn matcher_of(matchers: &Matchers, signal: Signal) -> Option<&Matcher> {
    matchers.get(signal as usize).and_then(Option::as_ref)
}

impl PayloadEditor for AttributesEditor {
    fn begin(&mut self, payload: &Payload) {
        self.signal = payload.signal;
        self.actions.begin(payload.metadata.as_deref());
    }

    fn output_limit(&self, payload: &Payload) -> OutputLimit {
        self.actions.actions().output_limit(payload)
    }

    fn cost_per_byte(&self) -> u64 {
        matcher_of(&self.matchers, self.signal).map_or(0, Matcher::cost_per_byte)
            + self.actions.actions().cost_per_byte()
    }
}

impl Editor for AttributesEditor {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        let Some(matcher) = matcher_of(&self.matchers, self.signal) else { return Descend::Skip };
        self.entry.resource(matcher, resource)
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        let Some(matcher) = matcher_of(&self.matchers, self.signal) else { return Descend::Skip };
        self.entry.scope(matcher, scope)
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        if let Some(matcher) = matcher_of(&self.matchers, self.signal)
            && self.entry.span(matcher, span)
        {
            self.actions.apply(&mut span.attributes());
        }
        // Events and links stay as they are.
        Descend::Skip
    }

    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        match matcher_of(&self.matchers, self.signal) {
            Some(matcher) if self.entry.metric(matcher, metric) => Descend::Children,
            _ => Descend::Skip,
        }
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        self.actions.apply(&mut point.attributes());
        Keep::Keep
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        if let Some(matcher) = matcher_of(&self.matchers, self.signal)
            && self.entry.log(matcher, log)
        {
            self.actions.apply(&mut log.attributes());
        }
        Keep::Keep
    }
}
