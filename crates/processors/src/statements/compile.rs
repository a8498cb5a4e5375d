//! Compiles groups of statements and conditions, in the context that they name or in the one that is inferred.

use otelcore_config::Section;
use otelcore_ottl::{
    Candidate, Compiler, Condition, ConditionSequence, ErrorMode, InferenceError, LogicOperation, PathPrefix, Sources,
    infer_context,
};
#[cfg(feature = "transform")]
use otelcore_ottl::{Statement, StatementSequence};
use otelcore_pdata::Signal;

#[cfg(feature = "transform")]
use super::statement_functions;
use super::{ContextFunctions, ContextKind, GroupPlace, TextPlace, condition_functions};

/// Statements with the conditions under which they run.
#[cfg(feature = "transform")]
#[derive(Debug)]
pub(crate) struct StatementGroup {
    pub(crate) kind: ContextKind,
    /// `None` without conditions.
    pub(crate) conditions: Option<ConditionSequence>,
    pub(crate) statements: StatementSequence,
}

#[cfg(feature = "transform")]
impl StatementGroup {
    /// The statements and then the conditions, each with what is done about its errors.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, ErrorMode)> {
        let error_mode = self.statements.error_mode();
        let statements = self.statements.statements().iter().map(Statement::text);
        let conditions = self.conditions.iter().flat_map(|sequence| sequence.conditions().iter().map(Condition::text));
        statements.chain(conditions).map(move |text| (text, error_mode))
    }

    /// The number of [`StatementGroup::texts`].
    pub(crate) fn reports(&self) -> usize {
        self.texts().count()
    }
}

/// Conditions of one context.
#[derive(Debug)]
pub(crate) struct ConditionGroup {
    pub(crate) kind: ContextKind,
    pub(crate) conditions: ConditionSequence,
}

/// Compiles the groups of a signal, and reports mistakes in the section that they are in. Without a section the first
/// mistake is returned.
pub(crate) struct GroupCompiler<'c, 's> {
    pub(crate) signal: Signal,
    pub(crate) section: Option<&'c mut Section<'s>>,
    pub(crate) place: GroupPlace,
    /// The first mistake.
    pub(crate) error: Option<String>,
}

impl GroupCompiler<'_, '_> {
    /// Compiles statements and conditions. `None` after a mistake.
    #[cfg(feature = "transform")]
    pub(crate) fn statements(
        &mut self,
        context: &str,
        statements: &[String],
        conditions: &[String],
        error_mode: ErrorMode,
    ) -> Option<StatementGroup> {
        let (kind, prefix) = self.context(context, statements, conditions)?;
        let list = self.place.list.clone();
        let compiler = compiler(kind, prefix, statement_functions());
        let compiled: Vec<_> = statements
            .iter()
            .enumerate()
            .filter_map(|(index, text)| self.report(&list, index, text, compiler.statement(text)))
            .collect();
        let condition_list = format!("{}::conditions", self.place.group);
        let compiler = self::compiler(kind, prefix, condition_functions());
        let compiled_conditions: Vec<_> = conditions
            .iter()
            .enumerate()
            .filter_map(|(index, text)| self.report(&condition_list, index, text, compiler.condition(text)))
            .collect();
        if compiled.len() < statements.len() || compiled_conditions.len() < conditions.len() {
            return None;
        }
        let sequence = ConditionSequence::new(compiled_conditions, LogicOperation::Or, error_mode);
        Some(StatementGroup {
            kind,
            conditions: (!conditions.is_empty()).then_some(sequence),
            statements: StatementSequence::new(compiled, error_mode),
        })
    }

    /// Compiles conditions of one context, of which one must hold. `None` after a mistake.
    pub(crate) fn conditions(
        &mut self,
        kind: ContextKind,
        conditions: &[String],
        error_mode: ErrorMode,
    ) -> Option<ConditionGroup> {
        let list = self.place.list.clone();
        let compiler = compiler(kind, PathPrefix::Implied, condition_functions());
        let compiled: Vec<Condition> = conditions
            .iter()
            .enumerate()
            .filter_map(|(index, text)| self.report(&list, index, text, compiler.condition(text)))
            .collect();
        if compiled.len() < conditions.len() {
            return None;
        }
        Some(ConditionGroup { kind, conditions: ConditionSequence::new(compiled, LogicOperation::Or, error_mode) })
    }

    /// Compiles conditions each in the context that is inferred from it. `None` after a mistake.
    pub(crate) fn inferred_conditions(&mut self, conditions: &[String]) -> Option<Vec<(ContextKind, Condition)>> {
        let list = self.place.list.clone();
        let mut compiled = Vec::new();
        for (index, text) in conditions.iter().enumerate() {
            match infer_and_compile_condition(self.signal, text) {
                Ok(condition) => compiled.push(condition),
                Err(InferenceError::Invalid(_, error)) => {
                    self.report::<()>(&list, index, text, Err(error));
                }
                Err(InferenceError::NoContext(message)) => self.fail(&format!("{list}[{index}]"), message),
            }
        }
        (compiled.len() == conditions.len()).then_some(compiled)
    }

    /// The context that is written, or the one that is inferred.
    #[cfg(feature = "transform")]
    fn context(
        &mut self,
        context: &str,
        statements: &[String],
        conditions: &[String],
    ) -> Option<(ContextKind, PathPrefix)> {
        if !context.is_empty() {
            return self.named_context(context, "statements", statements).map(|kind| (kind, PathPrefix::Implied));
        }
        let statement_texts: Vec<&str> = statements.iter().map(String::as_str).collect();
        let condition_texts: Vec<&str> = conditions.iter().map(String::as_str).collect();
        let sources = Sources { statements: &statement_texts, conditions: &condition_texts, ..Sources::default() };
        match infer_context(&candidates(self.signal, statement_functions()), sources) {
            Ok(found) => ContextKind::by_name(found.name).map(|kind| (kind, PathPrefix::Required)),
            Err(InferenceError::Invalid(index, error)) => {
                let list = self.place.list.clone();
                if let Some(text) = statements.get(index) {
                    self.report::<()>(&list, index, text, Err(error));
                } else if let Some(text) = conditions.get(index - statements.len().min(index)) {
                    let list = format!("{}::conditions", self.place.group);
                    self.report::<()>(&list, index - statements.len(), text, Err(error));
                }
                None
            }
            Err(InferenceError::NoContext(message)) => {
                let list = self.place.list.clone();
                self.fail(&list, message);
                None
            }
        }
    }

    /// The context of this name, if the signal has it.
    pub(crate) fn named_context(&mut self, name: &str, what: &str, texts: &[String]) -> Option<ContextKind> {
        let key = format!("{}::context", self.place.group);
        let kind = ContextKind::by_name(name);
        let valid = ContextKind::of_signal(self.signal);
        match kind {
            Some(kind) if valid.contains(&kind) => Some(kind),
            None if !name.eq_ignore_ascii_case("profile") => {
                self.fail(&key, format!("unknown context {}", name.to_lowercase()));
                None
            }
            _ => {
                let name = name.to_lowercase();
                self.fail(&key, format!("unknown context \"{name}\" for {what}: [{}]", texts.join(" ")));
                None
            }
        }
    }

    fn report<T>(
        &mut self,
        list: &str,
        index: usize,
        text: &str,
        result: Result<T, otelcore_ottl::CompileError>,
    ) -> Option<T> {
        match result {
            Ok(compiled) => Some(compiled),
            Err(error) => {
                if let Some(section) = &mut self.section {
                    TextPlace { list, index, text }.report(section, &error);
                }
                self.error.get_or_insert_with(|| error.to_string());
                None
            }
        }
    }

    fn fail(&mut self, key: &str, message: String) {
        if let Some(section) = &self.section {
            section.error(key, message.clone());
        }
        self.error.get_or_insert(message);
    }
}

fn compiler(kind: ContextKind, prefix: PathPrefix, functions: &'static ContextFunctions) -> Compiler<'static> {
    Compiler { context: kind.context_type(), functions: functions.of(kind), prefix }
}

fn candidates(signal: Signal, functions: &'static ContextFunctions) -> Vec<Candidate<'static>> {
    let candidate = |kind: &ContextKind| Candidate { context: kind.context_type(), functions: functions.of(*kind) };
    ContextKind::of_signal(signal).iter().map(candidate).collect()
}

/// Compiles a condition in the context that is inferred from it.
///
/// # Errors
/// The condition is not valid, or no context fits.
fn infer_and_compile_condition(signal: Signal, text: &str) -> Result<(ContextKind, Condition), InferenceError> {
    let functions = condition_functions();
    let sources = Sources { conditions: &[text], ..Sources::default() };
    let context = infer_context(&candidates(signal, functions), sources)?;
    let kind = ContextKind::by_name(context.name)
        .ok_or_else(|| InferenceError::NoContext(format!("unknown context {}", context.name)))?;
    let compiled = compiler(kind, PathPrefix::Required, functions).condition(text);
    compiled.map(|condition| (kind, condition)).map_err(|error| InferenceError::Invalid(0, error))
}
