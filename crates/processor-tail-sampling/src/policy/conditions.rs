//! The policy `ottl_condition`: conditions about spans and events.

use otelcore_ottl::contexts::{SPAN, SPAN_EVENT, SpanContext, SpanEventContext};
use otelcore_ottl::evaluate::State;
use otelcore_ottl::{
    Compiler, ConditionSequence, ErrorMode, Evaluation, FixedEnvironment, Functions, LogicOperation, PathPrefix,
};
use otelcore_pdata::edit::{Descend, EditPass, Editor, EventMut, Keep, OutputLimit, SpanMut};
use otelcore_pdata::{Signal, StepBudget};

use super::TraceView;
use super::error::PolicyError;
use crate::config::OttlConditionConfig;

#[derive(Debug)]
pub(crate) struct Conditions {
    span: Option<ConditionSequence>,
    event: Option<ConditionSequence>,
    state: State,
}

impl Conditions {
    pub(super) fn new(config: &OttlConditionConfig) -> Result<Self, PolicyError> {
        if config.span.is_empty() && config.spanevent.is_empty() {
            return Err(PolicyError::new("expected at least one OTTL condition to filter on".to_owned()));
        }
        let error_mode = match config.error_mode.as_str() {
            // Without a mode, Go goes on and logs nothing.
            "" => ErrorMode::Silent,
            text => text
                .parse()
                .map_err(|e| PolicyError::new(format!("{e}")).with_hint("write ignore, silent or propagate"))?,
        };
        let functions = Functions::standard_converters();
        let compile = |context, texts: &[String]| {
            let compiler = Compiler { context, functions: &functions, prefix: PathPrefix::Implied };
            let conditions: Result<Vec<_>, PolicyError> = texts
                .iter()
                .map(|text| {
                    compiler.condition(text).map_err(|error| {
                        let (line, column) = error.line_and_column(text);
                        let message =
                            format!("unable to parse OTTL condition {text:?}: {} (at {line}:{column})", error.message);
                        let new = PolicyError::new(message);
                        match error.hint {
                            Some(hint) => new.with_hint(hint),
                            None => new,
                        }
                    })
                })
                .collect();
            let sequence = |conditions| ConditionSequence::new(conditions, LogicOperation::Or, error_mode);
            Ok::<_, PolicyError>((!texts.is_empty()).then_some(conditions?).map(sequence))
        };
        Ok(Self {
            span: compile(SPAN, &config.span)?,
            event: compile(SPAN_EVENT, &config.spanevent)?,
            state: State::default(),
        })
    }

    /// Whether a condition holds for a span or an event.
    ///
    /// # Errors
    /// One can't be evaluated.
    pub(super) fn hold(&mut self, trace: &TraceView<'_>) -> Result<bool, String> {
        let nanos = i64::try_from(trace.wall_time.0).unwrap_or(i64::MAX);
        let mut search = Search {
            conditions: self,
            environment: FixedEnvironment::new(nanos, trace.wall_time.0),
            event_index: 0,
            result: Ok(false),
        };
        // Nothing is changed, so that there is no output to be limited.
        let mut pass = EditPass::new(Signal::Traces, trace.body.clone(), OutputLimit::default());
        while !pass.step(&mut search, &mut StepBudget::unlimited()).map_err(|e| e.to_string())? {}
        search.result
    }
}

/// Looks for the first span or event for which a condition holds.
struct Search<'c> {
    conditions: &'c mut Conditions,
    environment: FixedEnvironment,
    event_index: i64,
    result: Result<bool, String>,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.result != Ok(false)
    }
}

impl Editor for Search<'_> {
    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        self.event_index = 0;
        if self.is_over() {
            return Descend::Skip;
        }
        if let Some(sequence) = &self.conditions.span {
            let context = SpanContext { span, request: None };
            let evaluation = Evaluation::new(&context, &self.conditions.state, &self.environment);
            self.result = sequence.evaluate(&evaluation, &mut |_, _| {}).map_err(|error| error.message);
        }
        if self.is_over() || self.conditions.event.is_none() { Descend::Skip } else { Descend::Children }
    }

    fn event(&mut self, event: &mut EventMut<'_>) -> Keep {
        if let (Some(sequence), false) = (&self.conditions.event, self.is_over()) {
            let context = SpanEventContext { event, index: self.event_index, request: None };
            let evaluation = Evaluation::new(&context, &self.conditions.state, &self.environment);
            self.result = sequence.evaluate(&evaluation, &mut |_, _| {}).map_err(|error| error.message);
        }
        self.event_index += 1;
        Keep::Keep
    }
}
