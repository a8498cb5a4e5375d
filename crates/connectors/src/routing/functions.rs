//! The functions that routes may call, and `route`, which is theirs.

use std::sync::LazyLock;

use otelcore_ottl::functions::{SPAN_CONDITIONS, STANDARD};
use otelcore_ottl::{Callable, Editor, EvalError, Execution, Function, Functions};

/// Does nothing: the condition behind it decides.
const ROUTE: Function = Function { name: "route", parameters: &[], build: |_| Ok(Callable::editor(RouteEditor)) };

/// The standard editors that routes may call.
const EDITORS: [&str; 2] = ["delete_key", "delete_matching_keys"];

struct RouteEditor;

impl Editor for RouteEditor {
    fn run(&self, _: &mut Execution<'_>) -> Result<(), EvalError> {
        Ok(())
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
    static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| of_others().clone().with(SPAN_CONDITIONS));
    &FUNCTIONS
}
