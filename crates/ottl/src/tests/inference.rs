//! Inference of the context.

use crate::testing::{ITEM, RESOURCE, functions};
use crate::{Candidate, Functions, Sources, infer_context};

fn inferred(statements: &[&str], conditions: &[&str]) -> Result<&'static str, String> {
    let (all, few) = (functions(), Functions::standard());
    let candidates = [Candidate { context: RESOURCE, functions: &few }, Candidate { context: ITEM, functions: &all }];
    let sources = Sources { statements, conditions, value_expressions: &[] };
    infer_context(&candidates, sources).map(|context| context.name).map_err(|error| error.to_string())
}

#[test]
fn context_is_that_of_the_lowest_path() {
    assert_eq!(inferred(&["set(resource.attributes[\"a\"], 1)"], &[]), Ok("resource"));
    assert_eq!(inferred(&["set(resource.attributes[\"a\"], span.name)"], &[]), Ok("span"));
    assert_eq!(inferred(&["set(resource.attributes[\"a\"], 1)"], &["span.name == 1"]), Ok("span"));
    assert_eq!(inferred(&["set(resource.attributes[span.name], 1)"], &[]), Ok("span"));
}

#[test]
fn context_below_is_taken_if_a_function_or_enum_needs_it() {
    assert_eq!(inferred(&["set(resource.attributes[\"a\"], IsText(1))"], &[]), Ok("span"));
    assert_eq!(inferred(&["set(resource.attributes[\"a\"], KIND_ONE)"], &[]), Ok("span"));
}

#[test]
fn context_that_can_not_be_inferred_says_why() {
    let error = inferred(&["set(name, 1)"], &[]).expect_err("no context");
    assert!(error.starts_with("unable to infer context from statements [\"set(name, 1)\"], path's first"), "{error}");
    let error = inferred(&["set(resource.attributes[\"a\"], Unknown(1))"], &[]).expect_err("no function");
    assert!(error.ends_with("inferred context \"resource\" does not support the function \"Unknown\""), "{error}");
    let error = inferred(&[], &["metric.name == 1"]).expect_err("not supported");
    assert!(error.starts_with("context \"metric\" inferred from the conditions"), "{error}");
    let error = inferred(&["set(status.code, 1)"], &[]).expect_err("no context");
    assert!(error.ends_with("inferred context \"status\" is not a valid candidate"), "{error}");
    let error = inferred(&["set("], &[]).expect_err("no statement");
    assert!(error.starts_with("statement has invalid syntax"), "{error}");
}
