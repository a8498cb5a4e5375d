//! From a syntax tree to the compiled form: paths and enums are resolved, functions are looked up and their arguments
//! are checked, as the Go collector does when it reads a configuration.

mod arguments;
mod expressions;
mod functions;
mod infer;
mod sequence;

pub use crate::compile_error::CompileError;
pub use functions::Functions;
pub use infer::{Candidate, InferenceError, Sources, infer_context};
pub use sequence::{
    ConditionSequence, ErrorMode, EvaluationFailure, LogicOperation, StatementSequence, UnknownErrorMode,
    UnknownLogicOperation,
};

use crate::contexts::ContextType;
use crate::error::EvalError;
use crate::evaluate::{BoolNode, Evaluation, Execution, Expression};
use crate::function::{Callable, Editor};
use crate::parser;
use crate::value::{Map, MapKind, Value};

/// Which paths may leave out the name of their context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathPrefix {
    /// None: the context was inferred from the paths.
    Required,
    /// A path without the name of a context belongs to the compiler's context, which was named in the configuration.
    Implied,
}

/// Compiles statements, conditions and value expressions of one context.
#[derive(Clone, Copy, Debug)]
pub struct Compiler<'f> {
    /// The context.
    pub context: ContextType,
    /// The functions that may be called.
    pub functions: &'f Functions,
    /// Which paths may leave out the name of their context.
    pub prefix: PathPrefix,
}

impl Compiler<'_> {
    /// Compiles a statement: an editor, and a condition behind `where`.
    ///
    /// # Errors
    /// The statement is not valid in this context.
    pub fn statement(&self, text: &str) -> Result<Statement, CompileError> {
        let syntax = parser::statement(text)?;
        let Callable::Editor(editor) = self.call(&syntax.editor)? else {
            let message = format!("{} is not an editor", syntax.editor.name);
            return Err(CompileError::new(syntax.editor.place, message));
        };
        let condition = match &syntax.condition {
            Some(condition) => self.boolean(condition)?,
            None => BoolNode::Literal(true),
        };
        Ok(Statement { editor, condition, text: text.to_owned() })
    }

    /// Compiles a condition.
    ///
    /// # Errors
    /// The condition is not valid in this context.
    pub fn condition(&self, text: &str) -> Result<Condition, CompileError> {
        let node = self.boolean(&parser::condition(text)?)?;
        Ok(Condition { node, text: text.to_owned() })
    }

    /// Compiles a value expression.
    ///
    /// # Errors
    /// The expression is not valid in this context.
    pub fn value_expression(&self, text: &str) -> Result<ValueExpression, CompileError> {
        let expression = self.expression(&parser::value_expression(text)?)?;
        Ok(ValueExpression { expression, text: text.to_owned() })
    }
}

/// A compiled statement.
pub struct Statement {
    editor: Box<dyn Editor>,
    condition: BoolNode,
    text: String,
}

impl std::fmt::Debug for Statement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Statement").field(&self.text).finish()
    }
}

impl Statement {
    /// Runs the editor if the condition holds. Returns whether it did.
    ///
    /// # Errors
    /// The condition can't be evaluated, or the editor fails.
    pub fn execute(&self, execution: &mut Execution<'_>) -> Result<bool, EvalError> {
        if !self.condition.evaluate(&execution.view())? {
            return Ok(false);
        }
        self.editor.run(execution).map(|()| true)
    }

    /// The statement as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    node: BoolNode,
    text: String,
}

impl Condition {
    /// Whether it holds.
    ///
    /// # Errors
    /// A part of it can't be evaluated.
    pub fn evaluate(&self, evaluation: &Evaluation<'_>) -> Result<bool, EvalError> {
        self.node.evaluate(evaluation)
    }

    /// The result, if it is the same for all items.
    #[must_use]
    pub fn literal(&self) -> Option<bool> {
        match self.node {
            BoolNode::Literal(result) => Some(result),
            _ => None,
        }
    }

    /// The condition as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A compiled value expression.
#[derive(Debug)]
pub struct ValueExpression {
    expression: Expression,
    text: String,
}

impl ValueExpression {
    /// The value.
    ///
    /// # Errors
    /// A part of it can't be evaluated.
    pub fn evaluate<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        Ok(match self.expression.get(evaluation)? {
            Value::Map(map) => Value::Map(Map { kind: MapKind::Pdata, ..map }),
            value => value,
        })
    }

    /// The expression as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}
