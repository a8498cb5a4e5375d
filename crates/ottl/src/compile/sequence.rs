//! Statements and conditions in their order, with what is done about errors.

use std::fmt;
use std::str::FromStr;

use super::{Condition, Statement};
use crate::error::EvalError;
use crate::evaluate::{Evaluation, Execution};

/// What is done about an error of evaluation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ErrorMode {
    /// The error ends the sequence and is returned.
    #[default]
    Propagate,
    /// The error is reported; the sequence goes on.
    Ignore,
    /// The sequence goes on; the error is reported so that it can be counted, and is not logged.
    Silent,
}

/// The name of an error mode that there is not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownErrorMode(String);

impl fmt::Display for UnknownErrorMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown error mode {}", self.0)
    }
}

impl std::error::Error for UnknownErrorMode {}

impl FromStr for ErrorMode {
    type Err = UnknownErrorMode;

    /// Reads `propagate`, `ignore` or `silent`, in any case.
    fn from_str(text: &str) -> Result<Self, UnknownErrorMode> {
        match text.to_lowercase().as_str() {
            "propagate" => Ok(Self::Propagate),
            "ignore" => Ok(Self::Ignore),
            "silent" => Ok(Self::Silent),
            other => Err(UnknownErrorMode(other.to_owned())),
        }
    }
}

/// How the conditions of a sequence are joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogicOperation {
    /// One must hold.
    #[default]
    Or,
    /// All must hold.
    And,
}

/// The name of an operation that there is not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownLogicOperation(String);

impl fmt::Display for UnknownLogicOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown LogicOperation {}", self.0)
    }
}

impl std::error::Error for UnknownLogicOperation {}

impl FromStr for LogicOperation {
    type Err = UnknownLogicOperation;

    /// Reads `and` or `or`, in any case.
    fn from_str(text: &str) -> Result<Self, UnknownLogicOperation> {
        match text.to_lowercase().as_str() {
            "and" => Ok(Self::And),
            "or" => Ok(Self::Or),
            other => Err(UnknownLogicOperation(other.to_owned())),
        }
    }
}

/// An error that ended a sequence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvaluationFailure {
    /// The position of the statement or condition.
    pub index: usize,
    /// The Go collector's sentence.
    pub message: String,
    /// The error.
    pub error: EvalError,
}

impl fmt::Display for EvaluationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EvaluationFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Statements that are executed one after the other.
#[derive(Debug)]
pub struct StatementSequence {
    statements: Vec<Statement>,
    error_mode: ErrorMode,
}

impl StatementSequence {
    /// The statements in their order.
    #[must_use]
    pub fn new(statements: Vec<Statement>, error_mode: ErrorMode) -> Self {
        Self { statements, error_mode }
    }

    /// The statements.
    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// What is done about errors.
    #[must_use]
    pub fn error_mode(&self) -> ErrorMode {
        self.error_mode
    }

    /// Executes the statements on one item. `report` is called for each error that does not end the sequence, with the
    /// position of its statement.
    ///
    /// # Errors
    /// The first error, with [`ErrorMode::Propagate`].
    pub fn execute(
        &self,
        execution: &mut Execution<'_>,
        report: &mut dyn FnMut(usize, &EvalError),
    ) -> Result<(), EvaluationFailure> {
        for (index, statement) in self.statements.iter().enumerate() {
            match statement.execute(execution) {
                Ok(_) => {}
                Err(error) if self.error_mode == ErrorMode::Propagate => {
                    let message = format!("failed to execute statement: {}, {error}", statement.text());
                    return Err(EvaluationFailure { index, message, error });
                }
                Err(error) => report(index, &error),
            }
        }
        Ok(())
    }
}

/// Conditions of which one or all must hold.
#[derive(Debug)]
pub struct ConditionSequence {
    conditions: Vec<Condition>,
    operation: LogicOperation,
    error_mode: ErrorMode,
}

impl ConditionSequence {
    /// The conditions in their order.
    #[must_use]
    pub fn new(conditions: Vec<Condition>, operation: LogicOperation, error_mode: ErrorMode) -> Self {
        Self { conditions, operation, error_mode }
    }

    /// The conditions.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// What is done about errors.
    #[must_use]
    pub fn error_mode(&self) -> ErrorMode {
        self.error_mode
    }

    /// Whether the conditions hold for one item. Without conditions they do not. A condition that can't be evaluated is
    /// left out; if all that must hold are left out, they do not. `report` is called for each error that does not end
    /// the sequence, with the position of its condition.
    ///
    /// # Errors
    /// The first error, with [`ErrorMode::Propagate`].
    pub fn evaluate(
        &self,
        evaluation: &Evaluation<'_>,
        report: &mut dyn FnMut(usize, &EvalError),
    ) -> Result<bool, EvaluationFailure> {
        let mut one_holds = false;
        for (index, condition) in self.conditions.iter().enumerate() {
            match (condition.evaluate(evaluation), self.operation) {
                (Ok(true), LogicOperation::Or) => return Ok(true),
                (Ok(false), LogicOperation::And) => return Ok(false),
                (Ok(holds), _) => one_holds |= holds,
                (Err(error), _) if self.error_mode == ErrorMode::Propagate => {
                    let message = format!("failed to eval condition: {}, {error}", condition.text());
                    return Err(EvaluationFailure { index, message, error });
                }
                (Err(error), _) => report(index, &error),
            }
        }
        Ok(self.operation == LogicOperation::And && one_holds)
    }
}
