//! `IsRootSpan`.

use crate::contexts::{Field, SpanField};
use crate::{Callable, Converter, EvalError, Evaluation, Function, Value};

/// Whether the span has no parent.
pub(super) const IS_ROOT_SPAN: Function =
    Function { name: "IsRootSpan", parameters: &[], build: |_| Ok(Callable::converter(IsRootSpan)) };

struct IsRootSpan;

impl Converter for IsRootSpan {
    fn call<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        let parent = evaluation.context().get(Field::Span(SpanField::ParentSpanId), &[])?;
        Ok(Value::Bool(matches!(parent, Value::SpanId([0, 0, 0, 0, 0, 0, 0, 0]))))
    }
}
