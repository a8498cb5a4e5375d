//! Inference of the context from the names with which paths begin, and from the functions and enums that are used.

use std::collections::BTreeSet;
use std::fmt;

use super::{CompileError, Functions};
use crate::contexts::ContextType;
use crate::parser;
use crate::syntax::{Boolean, BooleanKind, Call, FactorKind, Key, Math, Operand, Path, Statement, Value, ValueKind};

/// Names by priority: the first that a path begins with is the context. Others come last.
const PRIORITY: &[&str] = &[
    "log",
    "exemplar",
    "datapoint",
    "metric",
    "spanevent",
    "span",
    "profile",
    "scope",
    "instrumentation_scope",
    "resource",
];

/// A context that may be inferred, with the functions that it has.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'f> {
    /// The context.
    pub context: ContextType,
    /// Its functions.
    pub functions: &'f Functions,
}

/// The texts from which a context is inferred.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'t> {
    /// Statements.
    pub statements: &'t [&'t str],
    /// Conditions.
    pub conditions: &'t [&'t str],
    /// Value expressions.
    pub value_expressions: &'t [&'t str],
}

/// A context could not be inferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InferenceError {
    /// One of the texts is not valid: its position among all statements, conditions and value expressions, in this
    /// order.
    Invalid(usize, CompileError),
    /// The Go collector's sentence.
    NoContext(String),
}

impl fmt::Display for InferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(_, error) => error.fmt(f),
            Self::NoContext(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for InferenceError {}

/// The context of the texts: that of the path whose context has the highest priority; if that lacks a function or an
/// enum, the first context below it that has all of them.
///
/// # Errors
/// A text is not valid, no path names a context, or no context has all functions and enums.
pub fn infer_context(candidates: &[Candidate<'_>], sources: Sources<'_>) -> Result<ContextType, InferenceError> {
    let mut hints = Hints::default();
    let mut position = 0;
    for text in sources.statements {
        hints.statement(&parser::statement(text).map_err(|error| InferenceError::Invalid(position, error))?);
        position += 1;
    }
    for text in sources.conditions {
        hints.boolean(&parser::condition(text).map_err(|error| InferenceError::Invalid(position, error))?);
        position += 1;
    }
    for text in sources.value_expressions {
        hints.value(&parser::value_expression(text).map_err(|error| InferenceError::Invalid(position, error))?);
        position += 1;
    }
    infer_from_hints(candidates, &hints, sources)
}

fn infer_from_hints(
    candidates: &[Candidate<'_>],
    hints: &Hints,
    sources: Sources<'_>,
) -> Result<ContextType, InferenceError> {
    let Some(name) = hints.contexts.iter().min_by_key(|name| priority(name)).filter(|name| !name.is_empty()) else {
        return Err(InferenceError::NoContext(format!(
            "unable to infer context from {}, path's first segment must be a valid context name {}, and at least one \
             context must be capable of parsing all statements",
            described(sources),
            names(candidates)
        )));
    };
    let named = candidates.iter().find(|candidate| candidate.context.name == name.as_str());
    if hints.functions.is_empty() && hints.enums.is_empty() {
        return named.map(|candidate| candidate.context).ok_or_else(|| not_supported(name, candidates, sources));
    }
    let refusal = match named {
        Some(candidate) => match missing(candidate, hints) {
            None => return Ok(candidate.context),
            Some(what) => format!("inferred context \"{name}\" does not support the {what}"),
        },
        None => format!("inferred context \"{name}\" is not a valid candidate"),
    };
    // Contexts below the inferred one: those whose paths can begin with its name. Only a candidate has them.
    let mut lower: Vec<&Candidate<'_>> = Vec::new();
    if named.is_some() {
        lower.extend(candidates.iter().filter(|candidate| {
            candidate.context.name != name.as_str() && candidate.context.path_contexts.contains(&name.as_str())
        }));
        lower.sort_by_key(|candidate| priority(candidate.context.name));
    }
    match lower.iter().find(|candidate| missing(candidate, hints).is_none()) {
        Some(candidate) => Ok(candidate.context),
        None => Err(InferenceError::NoContext(format!(
            "unable to infer a valid context ({}) from {}: {refusal}",
            names(candidates),
            described(sources)
        ))),
    }
}

fn priority(name: &str) -> usize {
    PRIORITY.iter().position(|known| *known == name).unwrap_or(usize::MAX)
}

fn missing(candidate: &Candidate<'_>, hints: &Hints) -> Option<String> {
    if let Some(name) = hints.functions.iter().find(|name| candidate.functions.get(name).is_none()) {
        return Some(format!("function \"{name}\""));
    }
    let symbol = hints.enums.iter().find(|symbol| (candidate.context.enum_value)(symbol).is_none())?;
    Some(format!("enum symbol \"{symbol}\""))
}

fn not_supported(name: &str, candidates: &[Candidate<'_>], sources: Sources<'_>) -> InferenceError {
    let described = described(sources);
    let names = names(candidates);
    InferenceError::NoContext(format!(
        "context \"{name}\" inferred from the {described} is not a supported context: {names}"
    ))
}

fn names(candidates: &[Candidate<'_>]) -> String {
    quoted(candidates.iter().map(|candidate| candidate.context.name))
}

/// Texts as Go shows a list of strings.
fn quoted<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let texts: Vec<String> = texts.map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

fn described(sources: Sources<'_>) -> String {
    let kinds = [
        ("statements", sources.statements),
        ("conditions", sources.conditions),
        ("expressions", sources.value_expressions),
    ];
    let given: Vec<String> = kinds
        .iter()
        .filter(|(_, texts)| !texts.is_empty())
        .map(|(kind, texts)| format!("{kind} {}", quoted(texts.iter().copied())))
        .collect();
    given.join(" and ")
}

/// What the texts use.
#[derive(Debug, Default)]
struct Hints {
    /// The first segments of paths, in their order; empty for a path of one segment.
    contexts: Vec<String>,
    functions: BTreeSet<String>,
    enums: BTreeSet<String>,
}

impl Hints {
    fn statement(&mut self, statement: &Statement) {
        self.call(&statement.editor);
        if let Some(condition) = &statement.condition {
            self.boolean(condition);
        }
    }

    fn call(&mut self, call: &Call) {
        self.functions.insert(call.name.clone());
        call.arguments.iter().for_each(|argument| self.value(&argument.value));
        self.keys(&call.keys);
    }

    fn boolean(&mut self, boolean: &Boolean) {
        for value in boolean.alternatives.iter().flatten() {
            match &value.kind {
                BooleanKind::Comparison(comparison) => {
                    self.value(&comparison.0);
                    self.value(&comparison.2);
                }
                BooleanKind::Converter(call) => self.call(call),
                BooleanKind::Parentheses(boolean) => self.boolean(boolean),
                BooleanKind::Literal(_) => {}
            }
        }
    }

    fn value(&mut self, value: &Value) {
        match &value.kind {
            ValueKind::Enum(symbol) => {
                self.enums.insert(symbol.clone());
            }
            ValueKind::Operand(operand) => self.operand(operand),
            ValueKind::Math(math) => self.math(math),
            ValueKind::List(values) => values.iter().for_each(|value| self.value(value)),
            ValueKind::Map(entries) => entries.iter().for_each(|(_, value)| self.value(value)),
            ValueKind::Nil
            | ValueKind::Bool(_)
            | ValueKind::String(_)
            | ValueKind::Bytes(_)
            | ValueKind::FunctionName(_) => {}
        }
    }

    fn math(&mut self, math: &Math) {
        for product in std::iter::once(&math.first).chain(math.rest.iter().map(|(_, product)| product)) {
            for factor in std::iter::once(&product.first).chain(product.rest.iter().map(|(_, factor)| factor)) {
                match &factor.kind {
                    FactorKind::Operand(operand) => self.operand(operand),
                    FactorKind::Parentheses(math) => self.math(math),
                }
            }
        }
    }

    fn operand(&mut self, operand: &Operand) {
        match operand {
            Operand::Path(path) => self.path(path),
            Operand::Converter(call) => self.call(call),
            Operand::Int(_) | Operand::Float(_) => {}
        }
    }

    fn path(&mut self, path: &Path) {
        self.contexts.push(path.context.clone().unwrap_or_default());
        path.fields.iter().for_each(|field| self.keys(&field.keys));
    }

    fn keys(&mut self, keys: &[Key]) {
        for key in keys {
            if let Key::Math(math) = key {
                self.math(math);
            }
        }
    }
}
