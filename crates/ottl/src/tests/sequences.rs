//! Sequences of statements and conditions, and what they do about errors.

use crate::testing::{Item, compiler, functions};
use crate::{
    ConditionSequence, ErrorMode, Evaluation, Execution, FixedEnvironment, LogicOperation, State, StatementSequence,
};

fn execute(mode: ErrorMode) -> (Item, Vec<usize>, Option<String>) {
    let functions = functions();
    let statements =
        ["set(name, \"a\")", "set(name, attributes[\"int\"] / 0)", "set(status.code, 7) where name == \"a\""];
    let statements = statements.iter().map(|text| compiler(&functions).statement(text).expect(text)).collect();
    let (mut item, mut state) = (Item::new(), State::default());
    let environment = FixedEnvironment::new(0, 0);
    let mut reported = Vec::new();
    let result = StatementSequence::new(statements, mode)
        .execute(&mut Execution::new(&mut item, &mut state, &environment), &mut |index, _| reported.push(index));
    (item, reported, result.err().map(|failure| failure.to_string()))
}

#[test]
fn error_ends_the_statements_only_if_it_is_propagated() {
    let (item, reported, error) = execute(ErrorMode::Propagate);
    let message = "failed to execute statement: set(name, attributes[\"int\"] / 0), attempted to divide by 0";
    assert_eq!((item.code, reported, error), (2, vec![], Some(message.to_owned())));
    for mode in [ErrorMode::Ignore, ErrorMode::Silent] {
        let (item, reported, error) = execute(mode);
        assert_eq!((item.code, reported, error), (7, vec![1], None));
    }
}

fn evaluate(conditions: &[&str], operation: LogicOperation, mode: ErrorMode) -> (Result<bool, usize>, Vec<usize>) {
    let functions = functions();
    let conditions = conditions.iter().map(|text| compiler(&functions).condition(text).expect(text)).collect();
    let (item, state, environment) = (Item::new(), State::default(), FixedEnvironment::new(0, 0));
    let mut reported = Vec::new();
    let result = ConditionSequence::new(conditions, operation, mode)
        .evaluate(&Evaluation::new(&item, &state, &environment), &mut |index, _| reported.push(index));
    (result.map_err(|failure| failure.index), reported)
}

#[test]
fn conditions_are_joined_and_those_with_errors_are_left_out() {
    const FAILS: &str = "attributes[\"int\"] / 0 == 1";
    use ErrorMode::{Ignore, Propagate};
    use LogicOperation::{And, Or};
    for (conditions, operation, mode, expected) in [
        (&[][..], Or, Propagate, (Ok(false), vec![])),
        (&[], And, Propagate, (Ok(false), vec![])),
        (&["name == 1", "status.code == 2", FAILS], Or, Propagate, (Ok(true), vec![])),
        (&["name == 1", "status.code == 3"], Or, Propagate, (Ok(false), vec![])),
        (&["status.code == 2", "name != nil"], And, Propagate, (Ok(true), vec![])),
        (&["status.code == 2", "name == 1", FAILS], And, Propagate, (Ok(false), vec![])),
        (&["name == 1", FAILS], Or, Propagate, (Err(1), vec![])),
        (&[FAILS, "status.code == 2"], Or, Ignore, (Ok(true), vec![0])),
        (&[FAILS, "status.code == 2"], And, Ignore, (Ok(true), vec![0])),
        (&[FAILS, FAILS], And, Ignore, (Ok(false), vec![0, 1])),
    ] {
        assert_eq!(evaluate(conditions, operation, mode), expected, "{conditions:?}");
    }
}

#[test]
fn modes_and_operations_are_read_in_any_case() {
    assert_eq!("Ignore".parse(), Ok(ErrorMode::Ignore));
    assert_eq!("silent".parse(), Ok(ErrorMode::Silent));
    assert_eq!("PROPAGATE".parse(), Ok(ErrorMode::Propagate));
    let error = "skip".parse::<ErrorMode>().expect_err("no mode");
    assert_eq!(error.to_string(), "unknown error mode skip");
    assert_eq!("AND".parse(), Ok(LogicOperation::And));
    let error = "xor".parse::<LogicOperation>().expect_err("no operation");
    assert_eq!(error.to_string(), "unknown LogicOperation xor");
}
