//! The `transform` processor: runs statements of OTTL on spans, metrics, log records and what is around and in them.
//!
//! Each group of statements is a pass over the payload, in their order, as in the Go collector. What a statement reads
//! is what the statements before it have written.

mod editor;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use otelcore_config::{Section, config_struct};
use otelcore_ottl::{ErrorMode, FixedEnvironment};
use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError, WallTime};

use crate::edit_processor::EditProcessor;
use crate::statements::{
    ContextGroup, ErrorModeConfig, FailureReports, GroupCompiler, GroupPlace, GroupsConfig, StatementGroup,
};
use editor::TransformEditor;

config_struct! {
    /// Statements that share a context and conditions.
    pub struct StatementsConfig {
        /// The context in which they run: `resource`, `scope`, and `span`, `spanevent`, `metric`, `datapoint` or `log`. By
        /// default it is inferred from the paths, which then begin with the name of a context.
        pub context: String,
        /// The statements run on items for which one of these holds. Without any they run on all.
        pub conditions: Vec<String>,
        /// The statements, in their order.
        pub statements: Vec<String>,
        /// What is done when a statement or condition fails. By default that of the processor.
        pub error_mode: Option<ErrorModeConfig>,
    }
}

impl ContextGroup for StatementsConfig {
    const KEY: &'static str = "statements";

    fn without_context(texts: Vec<String>) -> Self {
        Self { statements: texts, ..Self::default() }
    }
}

config_struct! {
    /// Changes telemetry with statements of OTTL.
    #[config(check = Self::check)]
    #[config(unsupported("profile_statements", "there is no signal of profiles yet: remove the statements on them"))]
    #[config(unsupported(
        "flatten_data",
        "it requires the 'transform.flatten.logs' feature gate to be enabled, which there is not yet"
    ))]
    pub struct TransformProcessorConfig {
        /// What is done when a statement or condition fails on an item: it is counted and logged once (`ignore`), only
        /// counted (`silent`), or the payload is refused (`propagate`).
        pub error_mode: ErrorModeConfig,
        /// Statements on traces: texts, or groups.
        pub trace_statements: GroupsConfig<StatementsConfig>,
        /// Statements on metrics: texts, or groups.
        pub metric_statements: GroupsConfig<StatementsConfig>,
        /// Statements on logs: texts, or groups.
        pub log_statements: GroupsConfig<StatementsConfig>,
    }
}

impl TransformProcessorConfig {
    fn groups(&self, signal: Signal) -> (&'static str, &[StatementsConfig]) {
        match signal {
            Signal::Traces => ("trace_statements", &self.trace_statements.0),
            Signal::Metrics => ("metric_statements", &self.metric_statements.0),
            Signal::Logs => ("log_statements", &self.log_statements.0),
        }
    }

    fn check(&mut self, s: &mut Section<'_>) {
        for signal in Signal::ALL {
            let (key, groups) = self.groups(signal);
            for (index, group) in groups.iter().enumerate() {
                let place = GroupPlace::of::<StatementsConfig>(s, key, index);
                let mut compiler = GroupCompiler { signal, section: Some(s), place, error: None };
                compile(&mut compiler, group, self.error_mode.0);
            }
        }
    }

    /// The groups of a signal, compiled.
    fn compile(&self, signal: Signal) -> Result<Vec<StatementGroup>, StartError> {
        let (key, groups) = self.groups(signal);
        let one = |(index, group): (usize, &StatementsConfig)| {
            let place = GroupPlace { list: key.to_owned(), group: format!("{key}[{index}]") };
            let mut compiler = GroupCompiler { signal, section: None, place, error: None };
            compile(&mut compiler, group, self.error_mode.0)
                .ok_or_else(|| StartError::Config(compiler.error.take().unwrap_or_default()))
        };
        groups.iter().enumerate().map(one).collect()
    }
}

fn compile(
    compiler: &mut GroupCompiler<'_, '_>,
    group: &StatementsConfig,
    error_mode: ErrorMode,
) -> Option<StatementGroup> {
    let error_mode = group.error_mode.map_or(error_mode, |mode| mode.0);
    compiler.statements(&group.context, &group.statements, &group.conditions, error_mode)
}

/// Makes `transform` processors.
#[derive(Clone, Copy, Debug)]
pub struct TransformFactory;

impl ComponentType for TransformFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "transform",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = TransformProcessorConfig;

    fn create(&self, config: &TransformProcessorConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let mut groups: [Arc<[StatementGroup]>; 3] = [Arc::default(), Arc::default(), Arc::default()];
        for signal in context.signals {
            if let Some(slot) = groups.get_mut(*signal as usize) {
                *slot = config.compile(*signal)?.into();
            }
        }
        let all = groups.clone();
        let (telemetry, id) = (context.telemetry.clone(), context.id.clone());
        let log = context.log.clone();
        let new_editor = move |now: WallTime, random| {
            let statements = all.iter().flat_map(|groups| groups.iter().flat_map(StatementGroup::texts));
            let reports = FailureReports::new(&telemetry, &id, &log, statements);
            TransformEditor::new(groups.clone(), reports, FixedEnvironment::new(now.0.cast_signed(), random))
        };
        Ok(Component::Processor(Box::new(EditProcessor::new(new_editor))))
    }
}
