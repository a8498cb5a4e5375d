//! The functions that routes may call, and `IsRootSpan` and `route`, which are theirs.

use std::sync::LazyLock;

use otelcore_ottl::contexts::{Field, SpanField};
use otelcore_ottl::functions::STANDARD;
use otelcore_ottl::{Callable, Converter, Editor, EvalError, Evaluation, Execution, Function, Functions, Value};

/// Does nothing: the condition behind it decides.
const ROUTE: Function = Function { name: "route", parameters: &[], build: |_| Ok(Callable::editor(RouteEditor)) };

/// The standard editors that routes may call.
const EDITORS: [&str; 2] = ["delete_key", "delete_matching_keys"];

/// Whether the span has no parent.
const IS_ROOT_SPAN: Function =
    Function { name: "IsRootSpan", parameters: &[], build: |_| Ok(Callable::converter(IsRootSpan)) };

struct RouteEditor;

impl Editor for RouteEditor {
    fn run(&self, _: &mut Execution<'_>) -> Result<(), EvalError> {
        Ok(())
    }
}

struct IsRootSpan;

impl Converter for IsRootSpan {
    fn call<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        let parent = evaluation.context().get(Field::Span(SpanField::ParentSpanId), &[])?;
        Ok(Value::Bool(matches!(parent, Value::SpanId([0, 0, 0, 0, 0, 0, 0, 0]))))
    }
}

/// The functions of all contexts but `span`.
pub(super) fn of_others() -> &'static Functions {
    static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
        let editors: Vec<Function> =
            STANDARD.iter().filter(|function| EDITORS.contains(&function.name)).copied().collect();
        Functions::standard_converters().with(&editors).with(&[ROUTE])
    });
    &FUNCTIONS
}

/// The functions of the context `span`.
pub(super) fn of_spans() -> &'static Functions {
    static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| of_others().clone().with(&[IS_ROOT_SPAN]));
    &FUNCTIONS
}
