//! `set`.

use crate::error::{BuildError, EvalError};
use crate::evaluate::{Execution, Expression, PathExpression};
use crate::function::{Arguments, Callable, Editor, Function, Parameter, ParameterKind};

/// Sets a path to a value, unless the value is `nil`.
pub(super) const FUNCTION: Function = Function {
    name: "set",
    parameters: &[Parameter::new("Target", ParameterKind::Path), Parameter::new("Value", ParameterKind::Any)],
    build,
};

fn build(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    Ok(Callable::editor(Set { target: arguments.path(0)?, value: arguments.expression(1)? }))
}

struct Set {
    target: PathExpression,
    value: Expression,
}

impl Editor for Set {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        execution.set_to(&self.target, &self.value)
    }
}
